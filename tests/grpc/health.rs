//! Health checks over HTTP/2 and gRPC move traffic.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use super::*;
use crate::client::framed;
use crate::target::status;

const OFTEN: &str = "interval = \"200ms\", timeout = \"180ms\", healthy_threshold = 1, \
                     unhealthy_threshold = 1";

/// A target whose health is `code`, and which tells `name` to everybody else.
fn target(name: &'static str, code: Arc<AtomicU16>) -> H2Target {
    H2Target::start(move |mut call| {
        let code = code.clone();
        async move {
            let (body, _) = call.read().await;
            match call.head.uri.path() {
                "/grpc.health.v1.Health/Check" => {
                    assert_eq!(body, [0; 5]);
                    let mut answer = call.begin();
                    answer.send_data(framed(&[8, 1]), false).expect("message");
                    let _ = answer.send_trailers(status(&code.load(SeqCst).to_string()));
                }
                "/health" => call.answer(code.load(SeqCst), ""),
                _ => call.answer(200, name),
            }
        }
    })
}

/// Waits until every answer comes from one of `names`, and each of them answers.
fn wait_for(balancer: &Balancer, names: &[&str]) {
    let mut client = balancer.client();
    let client = RefCell::new(&mut client);
    balancer.wait(&format!("answers of {names:?} alone"), || {
        let answers: Vec<_> = (0..8)
            .map(|_| String::from_utf8(client.borrow_mut().get("/").body).expect("text"))
            .collect();
        let all = names.iter().all(|name| answers.iter().any(|answer| answer == name));
        all && answers.iter().all(|answer| names.contains(&answer.as_str()))
    });
}

fn flips(version: &str, path: &str, matcher: &str, good: u16, bad: u16) {
    let code = Arc::new(AtomicU16::new(good));
    let steady = target("steady", Arc::new(AtomicU16::new(good)));
    let fickle = target("fickle", code.clone());
    let check = format!("health_check = {{ path = \"{path}\", matcher = \"{matcher}\", {OFTEN} }}");
    let config = to(version, &[steady.address(), fickle.address()]).home(&check).one_worker();
    let balancer = config.start();
    wait_for(&balancer, &["steady", "fickle"]);
    code.store(bad, SeqCst);
    wait_for(&balancer, &["steady"]);
    code.store(good, SeqCst);
    wait_for(&balancer, &["steady", "fickle"]);
}

#[test]
fn status_over_http2_flips_a_target() {
    flips("HTTP2", "/health", "200", 200, 503);
}

#[test]
fn code_of_grpc_flips_a_target() {
    // Traffic over HTTP/1.1 does not reach a group of gRPC, so probes are looked at alone.
    let code = Arc::new(AtomicU16::new(0));
    let target = target("target", code.clone());
    let check = "health_check = { path = \"/grpc.health.v1.Health/Check\", matcher = \"0\", \
                 interval = \"200ms\", timeout = \"180ms\", healthy_threshold = 1, \
                 unhealthy_threshold = 1 }";
    let balancer = to("GRPC", &[target.address()]).home(check).start();
    balancer.wait_log(&["target health", "to=healthy"]);
    code.store(14, SeqCst);
    balancer.wait_log(&["to=unhealthy", "Target.ResponseCodeMismatch"]);
}
