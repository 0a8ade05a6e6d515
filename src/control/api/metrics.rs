//! Metrics, and the two questions that those who send traffic ask: is it alive, is it ready.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::Api;
use super::openapi::ReadProblems;
use super::problem::Problem;
use crate::control::handle::{Gone, Handle};
use crate::control::measure::RingReader;
use crate::exposition::{self, Form, Minute, Rings, Sample};

/// Scrapes at once; more wait.
const SCRAPES_MAX: usize = 1;
/// What the families of CloudWatch are about.
const PERIOD: Duration = Duration::from_secs(60);

/// What scrapes have in common.
#[derive(Debug)]
pub(super) struct Metrics {
    room: Semaphore,
    /// The last whole minute.
    period: watch::Receiver<Period>,
}

/// What is looked at once a minute.
#[derive(Debug, Default, Clone)]
pub(crate) struct Period {
    minute: Option<Minute>,
    rings: Option<Rings>,
}

impl Metrics {
    pub(super) fn new(period: watch::Receiver<Period>) -> Arc<Self> {
        Arc::new(Self { room: Semaphore::new(SCRAPES_MAX), period })
    }
}

/// Looks once a minute until `closing`.
pub(super) async fn watch_minutes(
    handle: Handle,
    period: watch::Sender<Period>,
    mut closing: watch::Receiver<bool>,
) {
    let mut reader = RingReader::find();
    let mut last: Option<Arc<Sample>> = None;
    let mut minutes = interval(PERIOD);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return,
            _ = minutes.tick() => {}
        }
        let Ok(sample) = sample(&handle, None).await else { return };
        let active =
            |it: &exposition::Listener| it.totals.accepted.saturating_sub(it.totals.closed);
        let rings = reader.read(sample.listeners.iter().map(active).sum());
        let after = Arc::new(sample);
        let minute = last.replace(after.clone()).map(|before| Minute { before, after });
        period.send_replace(Period { minute, rings });
    }
}

/// Everything that is counted, read on a thread that nobody waits for.
async fn sample(handle: &Handle, rings: Option<Rings>) -> Result<Sample, Gone> {
    let measure = handle.measure().await?;
    let happened = handle.happened();
    let read = tokio::task::spawn_blocking(move || measure.read(happened, rings));
    read.await.map_err(|_| Gone)
}

/// Everything that is counted
///
/// In OpenMetrics text, or in Prometheus' protobuf messages for those who prefer them. Labels hold
/// names of the configuration only.
#[utoipa::path(
    get, path = "/metrics", tag = "process",
    responses(
        (status = 200, description = "All families, as docs/metrics.md lists them", body = String,
         content_type = "application/openmetrics-text"),
        ReadProblems,
    ),
)]
pub(super) async fn metrics(
    State(api): State<Api>,
    fields: HeaderMap,
) -> Result<Response, Problem> {
    let accept = fields.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let form = Form::of(accept.unwrap_or_default());
    let room = api.metrics.room.acquire().await;
    let Period { minute, rings } = api.metrics.period.borrow().clone();
    let measure = api.handle.measure().await?;
    let happened = api.handle.happened();
    let write = move || exposition::encode(form, measure.read(happened, rings), minute);
    let page = tokio::task::spawn_blocking(write).await;
    drop(room);
    match page {
        Ok(Ok(page)) => Ok(([(header::CONTENT_TYPE, form.media_type())], page).into_response()),
        Ok(Err(_)) | Err(_) => Err(Gone.into()),
    }
}

/// Whether the process is alive
///
/// Asks for no token anywhere.
#[utoipa::path(
    get, path = "/healthz", tag = "process",
    responses((status = 200, description = "It is", body = String, content_type = "text/plain")),
)]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether clients may be sent here
///
/// Connections are taken, every worker's loop turns, the first health of the targets is known, and
/// the process does not drain. Unhealthy targets are no reason against it. Asks for no token
/// anywhere.
#[utoipa::path(
    get, path = "/readyz", tag = "process",
    responses(
        (status = 200, description = "They may", body = String, content_type = "text/plain"),
        (status = 503, description = "They may not, and why", body = Problem,
         content_type = "application/problem+json"),
    ),
)]
pub(super) async fn readyz(State(api): State<Api>) -> Result<&'static str, Problem> {
    match api.handle.ready().await? {
        Ok(()) => Ok("ready\n"),
        Err(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}"))),
    }
}
