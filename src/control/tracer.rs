//! Sends spans of requests to a collector, as OpenTelemetry's OTLP over HTTP.
//!
//! Workers hand over what they have gathered (`worker::tick`); here it waits, up to
//! [`WAITING_MAX`], and goes out in batches. A collector that cannot be reached or is busy is tried
//! again, ever more rarely; what has no room meanwhile is dropped and counted. Spans are told at
//! most once, but for a collector that took them and could not say so.

mod otlp;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::model::SpanExport;
use crate::span::Span;

use super::measure::Tale;

/// Handed over by workers and not looked at yet, in lists of a tenth of a second each.
const HANDED_OVER_MAX: usize = 256;
/// Spans that wait for the collector; beyond it new ones are dropped.
const WAITING_MAX: usize = 8192;
/// Spans that go out in one request.
const BATCH_MAX: usize = 256;
/// Longest wait of a span for others to go out with.
const GATHER_MAX: Duration = Duration::from_secs(1);
/// Longest time for one request to the collector.
const EXPORT_MAX: Duration = Duration::from_secs(10);
/// Pause after a failure; doubled by each that follows.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest wait at the end of the process until everything is sent.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Most of an answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Who sends spans away.
pub(super) struct Tracer {
    settings: watch::Sender<Option<SpanExport>>,
    task: JoinHandle<()>,
}

impl Tracer {
    /// Begins; what workers put into the second half is sent. That it is gone is the end.
    pub(super) fn start(
        settings: Option<SpanExport>,
        tale: Arc<Tale>,
    ) -> (Self, mpsc::Sender<Vec<Span>>) {
        let (sender, spans) = mpsc::channel(HANDED_OVER_MAX);
        let (settings, known) = watch::channel(settings);
        let exporter = Exporter {
            settings: known,
            spans: Some(spans),
            waiting: VecDeque::new(),
            tale,
            pause: None,
        };
        (Self { settings, task: tokio::spawn(exporter.run()) }, sender)
    }

    /// From now on these are the settings.
    pub(super) fn set(&self, settings: Option<SpanExport>) {
        self.settings.send_if_modified(|known| {
            let differs = *known != settings;
            *known = settings;
            differs
        });
    }

    /// Waits until everything is sent that the workers, who have ended, have handed over.
    pub(super) async fn close(self) {
        let Self { task, .. } = self;
        let abort = task.abort_handle();
        if timeout(CLOSE_MAX, task).await.is_err() {
            abort.abort();
            tracing::warn!("the last spans could not be sent to the collector in time");
        }
    }
}

struct Exporter {
    settings: watch::Receiver<Option<SpanExport>>,
    /// `None`: nobody hands over any more.
    spans: Option<mpsc::Receiver<Vec<Span>>>,
    waiting: VecDeque<Span>,
    tale: Arc<Tale>,
    /// The pause after the last failure; `None` while all goes well.
    pause: Option<Duration>,
}

/// Why a batch was not taken.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// It may be next time.
    Passing(String),
    /// It never will.
    Lasting(String),
}

impl Exporter {
    async fn run(mut self) {
        while self.gather().await {
            let Some(settings) = self.settings.borrow_and_update().clone() else {
                // Switched off meanwhile.
                self.waiting.clear();
                continue;
            };
            let count = self.waiting.len().min(BATCH_MAX);
            let batch: Vec<Span> = self.waiting.drain(..count).collect();
            let body = otlp::encode(&settings.service, &batch);
            let late = || Failure::Passing("no answer in time".into());
            let sent = timeout(EXPORT_MAX, send(&settings, body));
            let sent = self.meanwhile(sent).await.unwrap_or_else(|_| Err(late()));
            self.judge(sent, batch, &settings).await;
        }
    }

    /// Waits until spans are to go out; `false` when none will come any more.
    async fn gather(&mut self) -> bool {
        let mut until = Instant::now() + GATHER_MAX;
        while self.waiting.len() < BATCH_MAX {
            let Some(spans) = &mut self.spans else { return !self.waiting.is_empty() };
            let more = match self.waiting.is_empty() {
                true => {
                    let more = spans.recv().await;
                    until = Instant::now() + GATHER_MAX;
                    more
                }
                false => match timeout_at(until, spans.recv()).await {
                    Ok(more) => more,
                    Err(_) => return true,
                },
            };
            self.take(more);
        }
        true
    }

    /// Takes what was handed over; `None`: that was the last.
    fn take(&mut self, more: Option<Vec<Span>>) {
        let Some(mut more) = more else {
            self.spans = None;
            return;
        };
        let room = WAITING_MAX - self.waiting.len().min(WAITING_MAX);
        self.tale.spans_dropped(more.len().saturating_sub(room));
        more.truncate(room);
        self.waiting.extend(more);
    }

    /// Waits for something while workers go on handing over.
    async fn meanwhile<T>(&mut self, something: impl Future<Output = T>) -> T {
        let mut something = pin!(something);
        loop {
            let Some(spans) = &mut self.spans else { return something.await };
            let more = tokio::select! {
                done = something.as_mut() => return done,
                more = spans.recv() => more,
            };
            self.take(more);
        }
    }

    /// Draws the conclusions from what became of `batch`.
    async fn judge(
        &mut self,
        sent: Result<usize, Failure>,
        mut batch: Vec<Span>,
        settings: &SpanExport,
    ) {
        let collector = settings.collector;
        match sent {
            Ok(refused) => {
                let refused = refused.min(batch.len());
                self.tale.spans_exported(batch.len() - refused);
                self.tale.spans_dropped(refused);
                if self.pause.take().is_some() {
                    tracing::info!(%collector, "spans can be exported again");
                }
            }
            Err(Failure::Lasting(why)) => {
                self.tale.spans_dropped(batch.len());
                tracing::warn!(%collector, why, "spans were refused; check the endpoint's path");
                self.wait().await;
            }
            // There is no next time.
            Err(Failure::Passing(_)) if self.spans.is_none() => {
                self.tale.spans_dropped(batch.len());
            }
            Err(Failure::Passing(why)) => {
                if self.pause.is_none() {
                    tracing::warn!(%collector, why, "spans cannot be exported; trying again");
                }
                let room = WAITING_MAX - self.waiting.len().min(WAITING_MAX);
                self.tale.spans_dropped(batch.len().saturating_sub(room));
                batch.truncate(room);
                for span in batch.into_iter().rev() {
                    self.waiting.push_front(span);
                }
                self.wait().await;
            }
        }
    }

    /// Lets the collector rest after a failure; other settings, or the end, cut that short.
    async fn wait(&mut self) {
        let pause = self.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
        self.pause = Some(pause);
        let mut settings = self.settings.clone();
        let rest = async {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = settings.changed() => {}
            }
        };
        let mut rest = pin!(rest);
        while let Some(spans) = &mut self.spans {
            let more = tokio::select! {
                () = rest.as_mut() => return,
                more = spans.recv() => more,
            };
            self.take(more);
        }
    }
}

/// Sends one batch over a new connection; returns how many of its spans the collector refused.
async fn send(settings: &SpanExport, body: Vec<u8>) -> Result<usize, Failure> {
    let passing = |error: hyper::Error| Failure::Passing(error.to_string());
    let stream = TcpStream::connect(settings.collector).await;
    let stream = stream.map_err(|error| Failure::Passing(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(passing)?;
    let request = Request::post(&settings.path)
        .header(HOST, settings.collector.to_string())
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("ringway/", env!("CARGO_PKG_VERSION")))
        .body(http_body_util::Full::<hyper::body::Bytes>::from(body))
        .map_err(|error| Failure::Lasting(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(passing)?;
        let (status, body) = (response.status(), response.into_body());
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map(|body| body.to_bytes()).unwrap_or_default()))
    };
    let mut answer = pin!(answer);
    let (status, body) = tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        // The connection may end in the same step that brings the answer.
        _ = connection => answer.await,
    }?;
    verdict(status, &body)
}

/// What an answer means (OTLP specification 1.7, "OTLP/HTTP Response").
fn verdict(status: StatusCode, body: &[u8]) -> Result<usize, Failure> {
    match status.as_u16() {
        200..=299 => Ok(otlp::refused(body)),
        429 | 502..=504 => Err(Failure::Passing(format!("the collector answers {status}"))),
        _ => Err(Failure::Lasting(format!("the collector answers {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_as_otlp_says() {
        assert_eq!(verdict(StatusCode::OK, b"{}"), Ok(0));
        let partial = br#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}"#;
        assert_eq!(verdict(StatusCode::OK, partial), Ok(2));
        for status in [429, 502, 503, 504] {
            let status = StatusCode::from_u16(status).expect("status");
            assert!(matches!(verdict(status, b""), Err(Failure::Passing(_))), "{status}");
        }
        for status in [400, 404, 413, 500] {
            let status = StatusCode::from_u16(status).expect("status");
            assert!(matches!(verdict(status, b""), Err(Failure::Lasting(_))), "{status}");
        }
    }
}
