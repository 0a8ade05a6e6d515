//! The process as a whole: status, configuration, and what an operator asks of it.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::Api;
use super::body::{Object, Precondition};
use super::change::{change, done, etag};
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::{Places, Problem};
use crate::control::change::blocking;
use crate::control::handle::{ChangeError, Changed, Status, Upgraded};
use crate::overlay::Change;

/// Everything that an operator looks at
///
/// Counters are those since the process started.
#[utoipa::path(
    get, path = "/v1/status", tag = "process",
    responses((status = 200, description = "The status", body = Status), ReadProblems),
)]
pub(super) async fn status(State(api): State<Api>) -> Result<Response, Problem> {
    let status = api.handle.status().await?;
    let text = written(move || serde_json::to_vec(&status)).await?;
    Ok((JSON, text).into_response())
}

/// The effective configuration
///
/// What the operator's file says, and over it what the API has changed.
#[utoipa::path(
    get, path = "/v1/config", tag = "configuration",
    responses(
        (status = 200, description = "The configuration",
         body = ref("#/components/schemas/Configuration"),
         headers(("ETag", description = "Its number"))),
        ReadProblems,
    ),
)]
pub(super) async fn read_config(State(api): State<Api>) -> Result<Response, Problem> {
    let effective = api.handle.effective().await?;
    let text = written(move || serde_json::to_vec(&*effective.config)).await?;
    Ok((JSON, [(header::ETAG, etag(effective.generation))], text).into_response())
}

/// Change anything, atomically
///
/// The body is a merge patch (RFC 7386) over the configuration as GET shows it: null removes.
#[utoipa::path(
    patch, path = "/v1/config", tag = "configuration",
    params(("If-Match" = Option<String>, Header, description = "ETag the change is made for")),
    request_body(
        content = ref("#/components/schemas/Patch"), content_type = "application/merge-patch+json",
        example = json!({"target_groups": {"blog": {"algorithm": "least_outstanding_requests"}}}),
    ),
    responses((status = 200, description = "In force", body = Changed), ChangeProblems),
)]
pub(super) async fn patch_config(
    State(api): State<Api>,
    precondition: Precondition,
    Object(patch): Object,
) -> Result<Response, Problem> {
    let wanted = Change::merge(Value::Object(patch))?;
    change(&api.handle, &precondition, |_| Ok(Some(wanted.clone()))).await.map(done)
}

/// The effective configuration as one TOML file
///
/// `ringway check` accepts it, and `ringway run` does the same with it.
#[utoipa::path(
    get, path = "/v1/config.toml", tag = "configuration",
    responses(
        (status = 200, description = "The file", body = String, content_type = "application/toml"),
        ReadProblems,
    ),
)]
pub(super) async fn export_config(State(api): State<Api>) -> Result<Response, Problem> {
    let text = api.handle.export().await?;
    Ok(([(header::CONTENT_TYPE, "application/toml")], text).into_response())
}

/// Read the operator's file again
///
/// A file with mistakes changes nothing; every mistake is told, with its place in the file.
#[utoipa::path(
    post, path = "/v1/reload", tag = "process",
    responses((status = 200, description = "In force", body = Changed), ChangeProblems),
)]
pub(super) async fn reload(State(api): State<Api>) -> Result<Response, Problem> {
    let changed = api.handle.reload().await?;
    changed.map(done).map_err(|error| Problem::of_change(error, Places::Shown))
}

/// Stop as on SIGTERM
///
/// Listeners close, what is in flight may finish within `drain_timeout`, then the process ends.
#[utoipa::path(
    post, path = "/v1/drain", tag = "process",
    responses((status = 202, description = "It has begun"), ReadProblems),
)]
pub(super) async fn drain(State(api): State<Api>) -> Result<StatusCode, Problem> {
    api.handle.drain().await?;
    Ok(StatusCode::ACCEPTED)
}

/// Hand over to a new process of the same path
///
/// The listening sockets go to the new process, and so does what this API has changed; the answer
/// comes once it is ready. Then the old one drains.
#[utoipa::path(
    post, path = "/v1/upgrade", tag = "process",
    responses((status = 200, description = "The new process", body = Upgraded), ChangeProblems),
)]
pub(super) async fn upgrade(State(api): State<Api>) -> Result<Json<Upgraded>, Problem> {
    let upgraded = api.handle.upgrade().await?;
    upgraded.map(Json).map_err(|error| Problem::of_change(error, Places::Shown))
}

/// Make a new key for stickiness cookies
///
/// Cookies that were sealed with the key before stay good.
#[utoipa::path(
    post, path = "/v1/keys/rotate", tag = "process",
    responses((status = 204, description = "New cookies have the new key"), ChangeProblems),
)]
pub(super) async fn rotate_keys(State(api): State<Api>) -> Result<StatusCode, Problem> {
    let rotated: Result<(), ChangeError> = api.handle.rotate_keys().await?;
    rotated.map_err(|error| Problem::of_change(error, Places::Hidden))?;
    Ok(StatusCode::NO_CONTENT)
}

const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// What `write` makes, on another thread: with thousands of targets a megabyte of text, which
/// takes longer than a health flip may wait.
async fn written(
    write: impl FnOnce() -> serde_json::Result<Vec<u8>> + Send + 'static,
) -> Result<Vec<u8>, Problem> {
    let text = blocking(write).await;
    let text = text.and_then(|text| text.map_err(|error| ChangeError::Failed(error.to_string())));
    text.map_err(|error| Problem::of_change(error, Places::Hidden))
}
