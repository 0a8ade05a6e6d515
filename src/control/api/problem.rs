//! What was wrong with a request: problem details (RFC 9457).
//!
//! Every answer that is not a success is a [`Problem`]; its mistakes have the texts that
//! `ringway check` prints.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::{self, Diagnostic, Flaw, Place, Severity};
use crate::control::handle::{ChangeError, Gone};
use crate::overlay::Malformed;

/// Media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Problem details (RFC 9457).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Kind of the problem; `about:blank`: what the status says.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the status.
    pub title: String,
    /// Status of the response.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened, in one line.
    pub detail: String,
    /// What is wrong in particular; every mistake at once, with its cure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Mistake>,
}

/// One mistake and its cure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mistake {
    /// Key path, such as `listeners[1].rules[0].priority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to write or do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where in the operator's file, if that is what was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<FilePlace>,
}

/// A place in the operator's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilePlace {
    /// The file.
    pub file: String,
    /// Line, from 1; absent when the file could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The line itself, fit for a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// First character of `source` that is meant, from 0.
    #[serde(default)]
    pub caret_start: usize,
    /// First character of `source` after those that are meant.
    #[serde(default)]
    pub caret_end: usize,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Problem").into(),
            status: status.as_u16(),
            detail: detail.into(),
            problems: Vec::new(),
        }
    }

    fn with(mut self, mistakes: Vec<Mistake>) -> Self {
        self.problems = mistakes;
        self
    }

    fn with_help(self, help: impl Into<String>) -> Self {
        let problem = self.detail.clone();
        self.with(vec![Mistake { problem, help: Some(help.into()), ..Mistake::default() }])
    }

    /// 400 and its like: the request itself cannot be understood.
    pub(super) fn request(
        status: StatusCode,
        detail: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::new(status, detail).with_help(help)
    }

    /// 404.
    pub(super) fn missing(detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::request(StatusCode::NOT_FOUND, detail, help)
    }

    /// 404 for a name: tells the nearest one, else those there are.
    pub(super) fn unknown<'n>(
        noun: &str,
        name: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) -> Self {
        let help = match config::nearest(name, known.clone()) {
            Some(meant) => format!("did you mean {}?", config::quote(meant)),
            None => match config::quote_all(known.take(10)) {
                none if none.is_empty() => format!("there is no {noun} at all"),
                names => format!("{noun}s: {names}"),
            },
        };
        Self::missing(format!("there is no {noun} {}", config::quote(name)), help)
    }

    /// 405.
    pub(super) fn method(detail: String) -> Self {
        let help = "the field Allow lists those it knows";
        Self::request(StatusCode::METHOD_NOT_ALLOWED, detail, help)
    }

    /// 422 with every mistake.
    pub(super) fn refused(mistakes: Vec<Mistake>) -> Self {
        let count = match mistakes.len() {
            1 => "1 mistake".into(),
            n => format!("{n} mistakes"),
        };
        let detail = format!("refused, nothing has changed: {count}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with(mistakes)
    }

    /// 422 for one value at `path`; empty: the whole body.
    pub(super) fn flaw(path: impl Into<String>, flaw: Flaw) -> Self {
        let Flaw { problem, help } = flaw;
        let path = Some(path.into()).filter(|path| !path.is_empty());
        Self::refused(vec![Mistake { path, problem, help, place: None }])
    }

    /// 409, with what is in the way.
    pub(super) fn conflict(detail: impl Into<String>, mistakes: Vec<Mistake>) -> Self {
        Self::new(StatusCode::CONFLICT, detail).with(mistakes)
    }

    /// What a refused change tells; places only where they are in a file that the operator has.
    pub(super) fn of_change(error: ChangeError, places: Places) -> Self {
        match error {
            ChangeError::Invalid(diagnostics) => {
                let mistakes = diagnostics.iter().map(|found| Mistake::of(found, places));
                Self::refused(mistakes.collect())
            }
            ChangeError::Missing(path) => {
                Self::new(StatusCode::NOT_FOUND, format!("there is no `{path}`"))
            }
            ChangeError::Unavailable(why) => Self::conflict(why, Vec::new()),
            ChangeError::Failed(why) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, why),
            ChangeError::Stale(now) => Self::conflict(
                format!("the configuration changed meanwhile; it has number {now}"),
                Vec::new(),
            ),
        }
    }
}

/// Whether the places of diagnostics mean anything to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Places {
    /// They are in the operator's file.
    Shown,
    /// They are in a file that exists only in memory.
    Hidden,
}

impl Mistake {
    fn of(found: &Diagnostic, places: Places) -> Self {
        let path = found.place.as_ref().map(|place| place.path.clone());
        let place = match places {
            Places::Shown => Some(FilePlace::of(found)),
            Places::Hidden => None,
        };
        let path = path.filter(|path| !path.is_empty());
        Self { path, problem: found.problem.clone(), help: found.help.clone(), place }
    }

    /// The mistake in the form that `ringway check` prints.
    #[must_use]
    pub fn to_diagnostic(&self) -> Diagnostic {
        let path = self.path.clone().unwrap_or_default();
        let in_file = self.place.as_ref();
        let file = in_file.map_or_else(|| path.clone(), |place| place.file.clone());
        let place = in_file.and_then(|place| {
            let (line, column) = (place.line?, place.column?);
            let source = place.source.clone()?;
            Some(Place { line, column, path, source, caret: place.caret_start..place.caret_end })
        });
        Diagnostic {
            severity: Severity::Error,
            file,
            place,
            problem: self.problem.clone(),
            help: self.help.clone(),
        }
    }
}

impl FilePlace {
    fn of(found: &Diagnostic) -> Self {
        let place = found.place.as_ref();
        Self {
            file: found.file.clone(),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            source: place.map(|place| place.source.clone()),
            caret_start: place.map_or(0, |place| place.caret.start),
            caret_end: place.map_or(0, |place| place.caret.end),
        }
    }
}

/// 422: it has no place in the configuration's keyed form.
impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        let help = "GET /v1/openapi.json describes every body";
        Self::flaw(malformed.path, Flaw::new(malformed.problem, help))
    }
}

/// 503: the process ends.
impl From<Gone> for Problem {
    fn from(Gone: Gone) -> Self {
        Self::request(
            StatusCode::SERVICE_UNAVAILABLE,
            "the process is ending",
            "try again once the next one runs",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            fields.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
