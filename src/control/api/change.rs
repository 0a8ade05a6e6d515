//! From what a request asks to one change, and to the response.
//!
//! A change is computed from the configuration with a certain number and applied only if it still
//! has that number, so that two clients never overwrite each other unseen.

use axum::Json;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::body::Precondition;
use super::problem::{Places, Problem};
use crate::control::handle::{ChangeError, Changed, Effective, Handle};
use crate::overlay::Change;

/// How often a change is computed anew because another came first; then 409.
const TRIES_MAX: usize = 16;

/// Computes a change from the configuration and makes it; `None`: there is nothing to change.
///
/// # Errors
/// What `make` says; 412 of the precondition; 422 and 500 of the actor; 409 if others always come
/// first; 503.
pub(super) async fn change(
    handle: &Handle,
    precondition: &Precondition,
    mut make: impl FnMut(&Value) -> Result<Option<Change>, Problem>,
) -> Result<Changed, Problem> {
    let mut last = 0;
    for _ in 0..TRIES_MAX {
        let Effective { generation, config } = handle.effective().await?;
        precondition.check(generation)?;
        let Some(change) = make(&config)? else {
            return Ok(Changed { generation, warnings: Vec::new() });
        };
        match handle.change_at(generation, change).await? {
            Ok(changed) => return Ok(changed),
            Err(ChangeError::Stale(now)) => last = now,
            Err(error) => return Err(Problem::of_change(error, Places::Hidden)),
        }
    }
    Err(Problem::of_change(ChangeError::Stale(last), Places::Hidden))
}

/// The response to a change.
pub(super) fn done(changed: Changed) -> Response {
    tagged(changed.generation, changed)
}

/// `body` as JSON with the number of the configuration as its ETag.
pub(super) fn tagged(generation: u64, body: impl Serialize) -> Response {
    ([(header::ETAG, etag(generation))], Json(body)).into_response()
}

/// The ETag of the configuration with the number `generation`.
pub(super) fn etag(generation: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{generation}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}
