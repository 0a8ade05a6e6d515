//! The API before a fake actor: every route, every way to be refused, and the doors.

mod changes;
mod doors;
pub(crate) mod fake;
mod reads;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tower_service::Service;

use super::access::Access;
use super::metrics::Period;
use super::{Api, router};
use crate::control::handle::Handle;
use fake::Fake;

/// A response, read whole.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    fields: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is a problem of this status, and returns it.
    fn problem(&self, status: u16) -> super::Problem {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.field("content-type"), "application/problem+json");
        let problem: super::Problem = serde_json::from_str(&self.text).unwrap();
        assert_eq!(problem.status, status);
        assert!(!problem.title.is_empty() && !problem.detail.is_empty(), "{problem:?}");
        problem
    }
}

/// What handlers reach, without a minute behind it.
fn api(handle: Handle, closing: watch::Receiver<bool>) -> Api {
    let (_, period) = watch::channel(Period::default());
    Api::new(handle, closing, period)
}

fn unix(handle: Handle) -> Router {
    // The sender goes, but only `true` closes.
    let (_, closing) = watch::channel(false);
    router(api(handle, closing), Access::Unix)
}

async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().call(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: head.status, fields: head.headers, text }
}

/// `GET /path` or `PUT /path {"json": "body"}`, over the Unix socket's router.
async fn say(router: &Router, line: &str) -> Answer {
    say_with(router, line, &[]).await
}

async fn say_with(router: &Router, line: &str, fields: &[(&str, &str)]) -> Answer {
    let (method, rest) = line.split_once(' ').unwrap();
    let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut request = Request::builder().method(method).uri(path);
    if !body.is_empty() && !fields.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    ask(router, request.body(Body::from(body.to_owned())).unwrap()).await
}

fn start() -> (Fake, Router) {
    let fake = Fake::start();
    let router = unix(fake.handle.clone());
    (fake, router)
}
