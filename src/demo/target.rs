//! What a target of the demo answers: one line of text, or a page for browsers.
//!
//! The line is made once per target, and nothing is logged, so that a load test measures the
//! balancer rather than this. Start with [`answer`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use super::page;

/// How long `/blog/slow` takes: long enough to see requests in flight, short enough to wait for.
const SLOW: Duration = Duration::from_secs(1);

/// What a target serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    /// Every path.
    Home,
    /// `/blog` and what is below.
    Blog,
}

/// A target of the demo.
#[derive(Debug)]
pub(super) struct DemoTarget {
    pub(super) site: Site,
    /// 1 or 2.
    pub(super) number: usize,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// What it answers to all but browsers.
    line: Bytes,
}

impl DemoTarget {
    pub(super) fn new(site: Site, number: usize, address: SocketAddr) -> Self {
        let (title, name) = (site.title(), site.name());
        let line = format!("{title}, answered by {name}-{number} at {address}\n").into();
        Self { site, number, address, line }
    }

    /// `home-1`, for example.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.site.name(), self.number)
    }
}

impl Site {
    /// Name of its target group.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Blog => "blog",
        }
    }

    /// Its name as a heading.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::Blog => "Blog",
        }
    }

    fn has(self, path: &str) -> bool {
        match self {
            Self::Home => true,
            Self::Blog => path == "/blog" || path.starts_with("/blog/"),
        }
    }
}

/// Serves `target` on `listener` until the runtime ends.
pub(super) async fn serve(listener: TcpListener, target: Arc<DemoTarget>) {
    let listener = listener.tap_io(|stream| {
        // Without it answers are only slower.
        let _ = stream.set_nodelay(true);
    });
    let router = Router::new().fallback(answer).with_state(target);
    // By its contract `axum::serve` never returns an error; it retries failed accepts itself.
    let _ = axum::serve(listener, router).await;
}

/// Answers any request, whatever its method; its body is not looked at.
async fn answer(State(target): State<Arc<DemoTarget>>, request: Request) -> Response {
    let path = request.uri().path();
    if !target.site.has(path) {
        let text = format!("{} serves /blog only\n", target.name());
        return (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, TEXT)], text).into_response();
    }
    if target.site == Site::Blog && path == "/blog/slow" {
        tokio::time::sleep(SLOW).await;
    }
    if !wants_html(request.headers()) {
        return ([(header::CONTENT_TYPE, TEXT)], target.line.clone()).into_response();
    }
    // Reloading must ask again, and then show another target.
    let fields = [(header::CONTENT_TYPE, HTML), (header::CACHE_CONTROL, "no-store")];
    (fields, page::render(&target, &request)).into_response()
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Whether the client is a browser, going by Accept.
fn wants_html(fields: &HeaderMap) -> bool {
    fields
        .get_all(header::ACCEPT)
        .iter()
        .any(|value| memchr::memmem::find(value.as_bytes(), b"text/html").is_some())
}
