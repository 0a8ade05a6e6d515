//! What comes in: JSON bodies, and the number of the configuration that a change is made for.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::json;
use super::problem::Problem;
use crate::config::Flaw;

/// Longest request body, in bytes: a group with the most targets has 100 KiB; beyond it: 413.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a longer body that are read before the answer; the rest meets a closed connection.
const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest wait for a whole request body; then 408.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

/// A JSON body, or none; `null` is none, too.
pub(super) struct OptionalJson<T>(pub(super) Option<T>);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request).await?.map(Json).ok_or_else(|| {
            Problem::request(
                StatusCode::BAD_REQUEST,
                "the request has no body",
                "send a JSON object, with Content-Type: application/json",
            )
        })
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read::<Option<T>>(request).await.map(|body| Self(body.flatten()))
    }
}

/// A JSON object as the body: a part of the configuration, or a patch of it.
pub(super) struct Object(pub(super) Map<String, Value>);

impl<S: Sync> FromRequest<S> for Object {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<Value>::from_request(request, state).await?.0 {
            Value::Object(object) => Ok(Self(object)),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                Err(Problem::flaw("", Flaw::new("the body is no JSON object", "send { ... }")))
            }
        }
    }
}

async fn read<T: DeserializeOwned>(request: Request) -> Result<Option<T>, Problem> {
    let is_json = is_json(request.headers());
    if is_hopeless(request.headers()) {
        return Err(too_large());
    }
    let whole = tokio::time::timeout(BODY_TIMEOUT, whole(request.into_body()));
    let bytes = whole.await.map_err(|_| {
        Problem::request(StatusCode::REQUEST_TIMEOUT, "the body did not come", "send it at once")
    })??;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json {
        return Err(Problem::request(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is not declared as JSON",
            "send Content-Type: application/json",
        ));
    }
    let value = json::parse(&bytes).and_then(serde_json::from_value);
    value.map(Some).map_err(|cause| malformed(&cause))
}

/// Whether what the body is declared to be need not even begin to be read.
fn is_hopeless(fields: &HeaderMap) -> bool {
    let declared = fields.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let declared = declared.and_then(|length| length.parse::<usize>().ok());
    // One that waits to be told to go on can as well be told not to.
    let max =
        if fields.contains_key(header::EXPECT) { BODY_BYTES_MAX } else { DISCARDED_BYTES_MAX };
    declared.is_some_and(|length| length > max)
}

/// The whole body. More than it may have is read in part, so that a client that sends first and
/// reads then gets the answer and not a reset.
async fn whole(mut body: Body) -> Result<Vec<u8>, Problem> {
    let mut whole = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| {
            let help = "send as much as Content-Length or the chunks say";
            let detail = format!("the body broke off: {cause}");
            Problem::request(StatusCode::BAD_REQUEST, detail, help)
        })?;
        let Ok(bytes) = frame.into_data() else { continue };
        length += bytes.len();
        if length > DISCARDED_BYTES_MAX {
            break;
        }
        if length <= BODY_BYTES_MAX {
            whole.extend_from_slice(&bytes);
        }
    }
    if length <= BODY_BYTES_MAX { Ok(whole) } else { Err(too_large()) }
}

fn too_large() -> Problem {
    Problem::request(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is longer than {BODY_BYTES_MAX} bytes"),
        "send the change in parts",
    )
}

/// 400 for what is not JSON, 422 for JSON of another shape.
fn malformed(cause: &serde_json::Error) -> Problem {
    match cause.classify() {
        serde_json::error::Category::Data => Problem::flaw(
            "",
            Flaw::new(cause.to_string(), "GET /v1/openapi.json describes every body"),
        ),
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => Problem::request(
            StatusCode::BAD_REQUEST,
            format!("the body is not JSON: {cause}"),
            "JSON has double quotes around keys and text, and no comma before a closing bracket",
        ),
    }
}

fn is_json(fields: &HeaderMap) -> bool {
    let value = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    ["application/json", "application/merge-patch+json"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

/// Names in the path, decoded.
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        read.map(|Path(value)| Self(value)).map_err(|cause| undecoded(&cause.body_text()))
    }
}

/// Keys and values of the query, decoded.
pub(super) struct Pairs(pub(super) Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(pairs)| Self(pairs)).map_err(|cause| undecoded(&cause.body_text()))
    }
}

fn undecoded(cause: &str) -> Problem {
    let help = "percent-encode UTF-8: `%3A` is a colon";
    Problem::request(StatusCode::BAD_REQUEST, cause, help)
}

/// The field If-Match: for which numbers of the configuration a change is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Precondition {
    /// Any.
    None,
    /// These; what is no number of ours is left out, and matches nothing.
    Numbers(Vec<u64>),
}

impl<S: Sync> FromRequestParts<S> for Precondition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut numbers = Vec::new();
        let mut values = parts.headers.get_all(header::IF_MATCH).iter().peekable();
        if values.peek().is_none() {
            return Ok(Self::None);
        }
        for tag in values.flat_map(|value| value.to_str().unwrap_or_default().split(',')) {
            match tag.trim() {
                "*" => return Ok(Self::None),
                tag => numbers.extend(tag.trim_matches('"').parse::<u64>()),
            }
        }
        Ok(Self::Numbers(numbers))
    }
}

impl Precondition {
    /// # Errors
    /// 412 if the change is not meant for the configuration with the number `generation`.
    pub(super) fn check(&self, generation: u64) -> Result<(), Problem> {
        match self {
            Self::None => Ok(()),
            Self::Numbers(numbers) if numbers.contains(&generation) => Ok(()),
            Self::Numbers(_) => Err(Problem::request(
                StatusCode::PRECONDITION_FAILED,
                format!("the configuration has number {generation}, not that of If-Match"),
                "read again, then change what is there",
            )),
        }
    }
}
