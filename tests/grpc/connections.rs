//! Connections to targets: how many there are, how they end, and what becomes of their streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use h2::server;
use tokio::sync::Notify;

use super::*;
use crate::raw::{INTERNAL_ERROR, REFUSED_STREAM, Raw};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

fn serve_all(raw: &mut Raw) {
    while let Some(stream) = raw.request() {
        raw.answer(stream);
    }
}

#[test]
fn refused_stream_is_tried_again_whatever_the_method() {
    let refusals = Arc::new(AtomicUsize::new(1));
    let left = refusals.clone();
    let (address, connections) = raw::start(move |raw| {
        while let Some(stream) = raw.request() {
            match left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
                Ok(_) => raw.reset(stream, REFUSED_STREAM),
                Err(_) => raw.answer(stream),
            }
        }
    });
    let balancer = to("HTTP2", &[address]).one_worker().start();
    let mut client = balancer.client();
    for _ in 0..3 {
        refusals.store(1, SeqCst);
        client.send(POST);
        assert_eq!(client.response("POST").status, 200);
    }
    assert_eq!(connections.load(SeqCst), 1, "the connection is good");
    let never = to("HTTP2", &[address]).home("retry = \"never\"").start();
    refusals.store(1, SeqCst);
    let mut client = never.client();
    client.send(POST);
    assert_eq!(client.response("POST").status, 502, "as AWS");
}

#[test]
fn request_that_was_looked_at_is_not_sent_twice() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = requests.clone();
    let (address, _) = raw::start(move |raw| {
        while let Some(stream) = raw.request() {
            seen.fetch_add(1, SeqCst);
            raw.reset(stream, INTERNAL_ERROR);
        }
    });
    let balancer = to("HTTP2", &[address]).start();
    let mut client = balancer.client();
    client.send(POST);
    assert_eq!(client.response("POST").status, 502);
    assert_eq!(requests.load(SeqCst), 1);
}

#[test]
fn streams_that_a_goaway_leaves_out_go_elsewhere() {
    let (address, connections) = raw::start(move |raw| {
        if raw.number > 1 {
            return serve_all(raw);
        }
        let first = raw.request().expect("a request");
        raw.request().expect("another request");
        raw.go_away(first);
        raw.answer(first);
        while raw.next().is_some() {}
    });
    let balancer = to("HTTP2", &[address]).one_worker().start();
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = balancer.client();
            thread::spawn(move || {
                client.send(POST);
                client.response("POST").status
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().expect("client"), 200);
    }
    assert_eq!(connections.load(SeqCst), 2);
}

#[test]
fn target_that_retires_connections_loses_no_request() {
    let target = H2Target::start(|mut call| async move {
        let (body, _) = call.read().await;
        call.answer(200, body);
    });
    let balancer = to("HTTP2", &[target.address()]).start();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = balancer.client();
            thread::spawn(move || {
                (0..100).all(|_| {
                    client.send(POST);
                    client.response("POST").status == 200
                })
            })
        })
        .collect();
    while clients.iter().any(|client| !client.is_finished()) {
        target.retire();
        thread::sleep(Duration::from_millis(3));
    }
    assert!(clients.into_iter().all(|client| client.join().expect("client")));
    assert!(target.connections() > 2, "{}", target.connections());
}

#[test]
fn one_more_connection_is_made_when_the_target_allows_no_more_streams() {
    let gate = Arc::new(Notify::new());
    let opening = gate.clone();
    let mut settings = server::Builder::new();
    settings.max_concurrent_streams(1);
    let target = H2Target::with(settings, move |call| {
        let gate = opening.clone();
        async move {
            let opened = gate.notified();
            call.tell();
            opened.await;
            call.answer(200, "");
        }
    });
    let balancer = to("HTTP2", &[target.address()]).one_worker().start();
    let mut clients: Vec<_> = (0..3).map(|_| balancer.client()).collect();
    for (number, client) in (1..).zip(&mut clients) {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        balancer.wait("the request at the target", || target.told() == number);
    }
    assert_eq!(target.connections(), 3);
    gate.notify_waiters();
    for client in &mut clients {
        assert_eq!(client.response("GET").status, 200);
    }
}

#[test]
fn many_requests_at_once_share_a_connection() {
    let target = H2Target::start(|call| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        call.answer(200, "");
    });
    let balancer = to("HTTP2", &[target.address()]).one_worker().start();
    let mut clients: Vec<_> = (0..60).map(|_| balancer.client()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response("GET").status, 200);
        }
    }
    assert_eq!((target.connections(), target.requests()), (1, 180));
}

#[test]
fn unused_connection_is_closed_after_the_idle_timeout() {
    let target = H2Target::start(|call| async move { call.answer(200, "") });
    let balancer = to("HTTP2", &[target.address()]).home("idle_timeout = \"1s\"").start();
    assert_eq!(balancer.client().get("/").status, 200);
    assert_eq!(target.open(), 1);
    balancer.wait("the end of the connection", || target.open() == 0);
    assert_eq!(balancer.client().get("/").status, 200, "the next one is made");
}

#[test]
fn deregistered_target_finishes_its_request_and_loses_its_connection() {
    let gate = Arc::new(Notify::new());
    let opening = gate.clone();
    let target = H2Target::start(move |call| {
        let gate = opening.clone();
        async move {
            let opened = gate.notified();
            call.tell();
            opened.await;
            call.answer(200, "done");
        }
    });
    let other = H2Target::start(|call| async move { call.answer(200, "other") });
    let config = to("HTTP2", &[target.address()]);
    let balancer = config.start();
    let mut client = balancer.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    balancer.wait("the request at the target", || target.told() == 1);
    balancer.reload(&to("HTTP2", &[other.address()]).text());
    assert_eq!(balancer.client().get("/").body, b"other");
    gate.notify_waiters();
    assert_eq!(client.response("GET").body, b"done");
    balancer.wait("the end of the connection", || target.open() == 0);
}

#[test]
fn client_that_leaves_cancels_its_request() {
    let target = H2Target::start(|mut call| async move {
        call.tell();
        let reset = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
        assert_eq!(reset.expect("a reset"), h2::Reason::CANCEL);
        call.tell();
    });
    let balancer = to("HTTP2", &[target.address()]).start();
    let mut client = balancer.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    balancer.wait("the request at the target", || target.told() == 1);
    client.reset();
    balancer.wait("the reset at the target", || target.told() == 2);
}

#[test]
fn slow_readers_stop_neither_others_nor_fill_memory() {
    const LARGE: usize = 16_000_000;
    let target = H2Target::start(|mut call| async move {
        let large = call.head.uri.path() == "/large";
        let head = http::Response::builder().body(()).unwrap();
        let mut stream = call.respond.send_response(head, false).unwrap();
        if large {
            let _ = target::send_all(&mut stream, vec![b'x'; LARGE].into()).await;
        }
        let _ = stream.send_data(bytes::Bytes::new(), true);
    });
    let balancer = to("HTTP2", &[target.address()]).one_worker().start();
    let before = balancer.memory();
    let mut slow: Vec<_> =
        (0..20).map(|_| Client::connect_narrow(balancer.address("web"), 4096)).collect();
    for client in &mut slow {
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        client.response_head();
    }
    let mut client = balancer.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200);
    }
    let grown = balancer.memory().saturating_sub(before);
    assert!(grown < 20 * 600 * 1024, "{grown} bytes for 20 slow readers");
    assert_eq!(target.connections(), 1);
}

#[test]
fn connection_that_does_not_answer_is_given_up() {
    let (address, connections) = raw::start(|raw| match raw.number {
        // It answers once, and says nothing any more, like a host that is gone.
        1 => {
            let stream = raw.request().expect("a request");
            raw.answer(stream);
            while raw.next().is_some() {}
        }
        _ => serve_all(raw),
    });
    let balancer = to("HTTP2", &[address]).one_worker().start();
    let mut client = balancer.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.get("/").status, 200, "the next connection answers");
    assert_eq!(connections.load(SeqCst), 2);
}
