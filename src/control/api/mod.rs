//! The control API: HTTP and JSON on a Unix socket and, where configured, on a TCP address.
//!
//! It turns requests into questions and changes for the actor behind a [`Handle`], and its
//! answers into responses; it decides nothing about the model itself. `door` opens the sockets,
//! `serve` and `patience` bound the connections, `access` says who may enter, `body` and `json`
//! read what comes in, `change` makes one change of it, `entry` is the flow for all that has a
//! name, `problem` says what was wrong. The handlers are in `process`, `listeners`, `rules`,
//! `groups`, `targets` and `events`; `openapi` describes them all. Start with [`serve`] and the
//! route table, `routes`.

mod access;
mod body;
mod change;
mod door;
mod entry;
mod events;
mod groups;
mod json;
mod listeners;
mod metrics;
mod openapi;
mod patience;
mod problem;
mod process;
mod rules;
mod serve;
mod targets;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::get;
use tokio::sync::{Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::handle::Handle;

pub use openapi::openapi_json;
pub use problem::{FilePlace, Mistake, Problem};
pub use serve::{Servers, serve};
pub use wire::{
    Deregister, Deregistered, ModeChange, Register, Registration, TargetList, WeightChange,
};

use access::Access;
use events::EVENT_STREAMS_MAX;
use metrics::{Metrics, Period};

/// What every handler can reach.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    handle: Handle,
    /// Room for event streams.
    streams: Arc<Semaphore>,
    /// Turns true when the servers close, so that event streams end.
    closing: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
}

impl Api {
    /// `period` is what was found in the last whole minute.
    pub(crate) fn new(
        handle: Handle,
        closing: watch::Receiver<bool>,
        period: watch::Receiver<Period>,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(EVENT_STREAMS_MAX));
        Self { handle, streams, closing, metrics: Metrics::new(period) }
    }
}

/// Every route, and its description.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(process::status))
        .routes(routes!(process::read_config, process::patch_config))
        .routes(routes!(process::export_config))
        .routes(routes!(process::reload))
        .routes(routes!(process::drain))
        .routes(routes!(process::upgrade))
        .routes(routes!(process::rotate_keys))
        .routes(routes!(events::events))
        .routes(routes!(metrics::metrics))
        .routes(routes!(metrics::healthz))
        .routes(routes!(metrics::readyz))
        .routes(routes!(openapi::document))
        .routes(routes!(listeners::list))
        .routes(routes!(listeners::read, listeners::put, listeners::patch, listeners::delete))
        .routes(routes!(listeners::put_mode))
        .routes(routes!(rules::list))
        .routes(routes!(rules::read, rules::put, rules::delete))
        .routes(routes!(groups::list))
        .routes(routes!(groups::read, groups::put, groups::patch, groups::delete))
        .routes(routes!(targets::list, targets::register, targets::deregister))
        .routes(routes!(targets::put_weight))
}

/// The router for those whom `access` lets in.
pub(crate) fn router(api: Api, access: Access) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(axum::middleware::from_fn_with_state(Arc::new(access), access::check))
        .with_state(api)
}

/// The router of those who only look: metrics, alive, ready. Anybody may ask.
pub(crate) fn looking_router(api: Api) -> Router {
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(metrics::healthz))
        .route("/readyz", get(metrics::readyz))
        .fallback(unknown_here)
        .method_not_allowed_fallback(unknown_method)
        .with_state(api)
}

async fn unknown_here(uri: Uri) -> Problem {
    Problem::missing(
        format!("there is nothing at {}", crate::config::quote(uri.path())),
        "here are /metrics, /healthz and /readyz alone",
    )
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::missing(
        format!("there is nothing at {}", crate::config::quote(uri.path())),
        "GET /v1/openapi.json lists every path",
    )
}

async fn unknown_method(method: Method, uri: Uri) -> Problem {
    let path = crate::config::quote(uri.path());
    Problem::method(format!("{path} does not know the method {method}"))
}
