//! When a second try is harmless, and that it is made only then.

use super::ok;
use crate::harness::*;

/// Serves one request on its first connection and ends it at the second; `later` serves all
/// other connections.
fn ends_at_second_request(
    resets: bool,
    later: impl Fn(&mut Peer) + Send + Sync + 'static,
) -> Target {
    Target::start(move |peer| {
        if peer.index > 0 {
            return later(peer);
        }
        peer.request();
        peer.send(&ok("first"));
        peer.request();
        if resets {
            peer.reset();
        }
    })
}

fn echo(peer: &mut Peer) {
    while let Some(request) = peer.request() {
        peer.send(&ok(&String::from_utf8_lossy(&request.body)));
    }
}

fn with_body(method: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
}

#[test]
fn refused_connection_tries_the_next_target() {
    let (refusing, good) = (Refusing::start(), Target::named("good"));
    let balancer = Config::new("l7", vec![refusing.address(), good.address()]).start();
    let mut client = balancer.client();
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "good");
        assert_eq!(client.exchange(with_body("POST")).text(), "good");
    }
}

#[test]
fn refused_connection_is_502_where_retries_are_off() {
    let (refusing, good) = (Refusing::start(), Target::named("good"));
    let balancer = Config::new("l7", vec![refusing.address(), good.address()])
        .home("retry = \"never\"")
        .start();
    let mut client = balancer.client();
    let statuses: Vec<u16> = (0..6).map(|_| client.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|&&status| status == 502).count(), 3, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 3, "{statuses:?}");
}

#[test]
fn idempotent_request_on_a_reused_connection_is_tried_once_more() {
    for resets in [false, true] {
        for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), with_body("PUT")] {
            let target = ends_at_second_request(resets, echo);
            let balancer = http(&[&target]).start();
            let mut client = balancer.client();
            assert_eq!(client.get("/").text(), "first");
            let response = client.exchange(&request);
            assert_eq!(response.status, 200, "resets={resets} {request}");
            let body = if request.starts_with("PUT") { "hello" } else { "" };
            assert_eq!(response.text(), body, "resets={resets} {request}");
            assert_eq!((target.connection_count(), target.requests().len()), (2, 3));
        }
    }
}

#[test]
fn second_try_goes_to_the_target_whose_connection_was_stale() {
    let (stale, other) = (ends_at_second_request(false, echo), Target::named("other"));
    let balancer = http(&[&stale, &other]).start();
    let mut client = balancer.client();
    let bodies: Vec<String> = (0..3).map(|_| client.get("/").text()).collect();
    assert!(bodies.contains(&"first".to_owned()), "{bodies:?}");
    client.get("/");
    assert_eq!((stale.connection_count(), stale.requests().len()), (2, 3));
    assert_eq!(other.requests().len(), 2);
}

#[test]
fn other_requests_on_a_reused_connection_are_not_tried_again() {
    for resets in [false, true] {
        for method in ["POST", "PATCH"] {
            let target = ends_at_second_request(resets, echo);
            let balancer = http(&[&target]).start();
            let mut client = balancer.client();
            assert_eq!(client.get("/").text(), "first");
            assert_eq!(client.exchange(with_body(method)).status, 502, "{method} {resets}");
            assert_eq!(target.requests().len(), 2, "{method} {resets}");
        }
    }
}

#[test]
fn nothing_is_tried_again_where_retries_are_off() {
    let target = ends_at_second_request(false, echo);
    let balancer = http(&[&target]).home("retry = \"never\"").start();
    let mut client = balancer.client();
    assert_eq!(client.get("/").text(), "first");
    assert_eq!(client.get("/").status, 502);
    assert_eq!(target.requests().len(), 2);
}

/// Reads a request of each connection and closes without an answer, as one that is killed.
fn dying() -> Target {
    Target::start(|peer| {
        peer.request();
    })
}

#[test]
fn idempotent_request_that_a_dying_target_took_goes_to_another() {
    let (dying, other) = (dying(), Target::named("other"));
    let balancer = http(&[&dying, &other]).start();
    for _ in 0..4 {
        assert_eq!(balancer.client().get("/").text(), "other");
    }
    assert!(!dying.requests().is_empty());
    let statuses: Vec<u16> =
        (0..4).map(|_| balancer.client().exchange(with_body("POST")).status).collect();
    assert!(statuses.contains(&502), "what may not be done twice is not: {statuses:?}");
}

#[test]
fn request_that_kills_its_targets_meets_two_of_them() {
    let targets = [dying(), dying(), dying(), dying()];
    let balancer = http(&targets.each_ref()).start();
    assert_eq!(balancer.client().get("/").status, 502);
    assert_eq!(targets.iter().map(|target| target.requests().len()).sum::<usize>(), 2);
}

#[test]
fn request_on_a_new_connection_is_not_tried_again_at_the_same_target() {
    let target = dying();
    let balancer = http(&[&target]).start();
    assert_eq!(balancer.client().get("/").status, 502);
    assert_eq!((target.connection_count(), target.requests().len()), (1, 1));
}

#[test]
fn request_is_not_tried_a_third_time() {
    let target = ends_at_second_request(false, |peer| {
        peer.request();
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    assert_eq!(client.get("/").text(), "first");
    assert_eq!(client.get("/").status, 502);
    assert_eq!((target.connection_count(), target.requests().len()), (2, 3));
}

#[test]
fn request_whose_response_has_begun_is_not_tried_again() {
    let target = Target::start(|peer| {
        peer.request();
        peer.send(&ok("first"));
        peer.request();
        peer.send(b"HTTP/1.1 2");
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    assert_eq!(client.get("/").text(), "first");
    assert_eq!(client.get("/").status, 502);
    assert_eq!(target.requests().len(), 2);
}

#[test]
fn request_whose_body_has_gone_is_not_tried_again() {
    const LENGTH: usize = 4 << 20;
    let target = ends_at_second_request(false, echo);
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    assert_eq!(client.get("/").text(), "first");
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
    client.send(vec![b'x'; LENGTH]);
    assert_eq!(client.response("PUT").status, 502);
    assert_eq!(target.requests().len(), 2);
}
