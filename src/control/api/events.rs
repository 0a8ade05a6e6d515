//! What happens, as a stream of server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse;
use axum::response::{IntoResponse, Response, Sse};
use futures_util::stream;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use super::Api;
use super::openapi::ReadProblems;
use super::problem::Problem;
use crate::control::handle::Event;

/// Most event streams at once; beyond it: 503.
pub(super) const EVENT_STREAMS_MAX: usize = 64;
/// Time between the comments that keep a silent stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What happens from now on
///
/// Server-sent events. The field `event` is the type, `data` the event as JSON (schema `Event`).
/// A client that is too slow gets an event `missed`, with how many it missed.
#[utoipa::path(
    get, path = "/v1/events", tag = "process",
    responses(
        (status = 200, description = "The stream", body = String,
         content_type = "text/event-stream"),
        ReadProblems,
    ),
)]
pub(super) async fn events(State(api): State<Api>) -> Result<Response, Problem> {
    let permit = api.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::request(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("there are {EVENT_STREAMS_MAX} event streams already"),
            "close one",
        )
    })?;
    let state =
        Stream { events: api.handle.events(), closing: api.closing.clone(), _permit: permit };
    let events = stream::unfold(state, |mut state| async {
        let event = state.next().await?;
        Some((Ok::<_, Infallible>(event), state))
    });
    let keep_alive = sse::KeepAlive::new().interval(KEEP_ALIVE).text("alive");
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

struct Stream {
    events: broadcast::Receiver<Event>,
    closing: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    /// The next event; none once the server closes.
    async fn next(&mut self) -> Option<sse::Event> {
        let received = tokio::select! {
            biased;
            received = self.events.recv() => received,
            _ = self.closing.wait_for(|closing| *closing) => return None,
        };
        match received {
            Ok(event) => sse::Event::default().event(event.name()).json_data(&event).ok(),
            Err(RecvError::Lagged(missed)) => {
                let event = json!({ "type": "missed", "missed": missed });
                sse::Event::default().event("missed").json_data(event).ok()
            }
            Err(RecvError::Closed) => None,
        }
    }
}
