//! TLS to targets: requests, bodies, pooled connections, and sessions that end badly.

use std::thread;
use std::time::Duration;

use rustls::ProtocolVersion;
use tungstenite::{Message, client as websocket};

use super::{authority, connect, ok, pattern};
use crate::harness::*;

/// An HTTP listener in front of `target`, which is verified.
fn to(authority: &Authority, target: &Target) -> Config {
    http(&[target]).home(&authority.group("HTTPS", ""))
}

#[test]
fn requests_go_to_targets_inside_tls_over_one_connection() {
    let authority = authority();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = authority.server_of("a", &[version], &["h2", "http/1.1"]);
        let target = Target::named("hello").tls(&config);
        let balancer = to(&authority, &target).one_worker().start();
        let mut client = balancer.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "hello");
        }
        assert_eq!(target.connection_count(), 1, "tickets that come late are no reason to close");
        let session = target.sessions().remove(0);
        assert_eq!(session.version, version.version);
        assert_eq!(session.inner.as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(session.server_name, None, "an address is no name to ask for");
    }
}

#[test]
fn target_that_knows_no_alpn_is_spoken_to() {
    let authority = authority();
    let target = Target::named("hello").tls(&authority.server("a"));
    let balancer = to(&authority, &target).start();
    assert_eq!(balancer.client().get("/").text(), "hello");
    assert_eq!(target.sessions()[0].inner, None);
    assert_eq!(target.sessions()[0].version, ProtocolVersion::TLSv1_3);
}

#[test]
fn bodies_of_any_size_pass_both_ways() {
    let authority = authority();
    let target = Target::echo().tls(&authority.server("a"));
    let balancer = to(&authority, &target).start();
    let mut client = balancer.client();
    for length in [1, 16_384, 100_000, 3_000_000] {
        let body = pattern(length);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(&body);
        let response = client.response("POST");
        assert!(response.body == body, "{length} bytes came back changed");
    }
}

#[test]
fn request_is_answered_while_its_body_is_sent() {
    let authority = authority();
    let target = Target::start(|peer| {
        peer.take_until(b"\r\n\r\n");
        peer.send(&ok(b"early"));
        peer.take_rest();
    });
    let target = target.tls(&authority.server("a"));
    let balancer = to(&authority, &target).start();
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    assert_eq!(client.response("POST").text(), "early");
}

#[test]
fn both_sides_may_be_encrypted() {
    let authority = authority();
    let body = pattern(2_000_000);
    let target = Target::answering(ok(&body)).tls(&authority.server("a"));
    let balancer = to(&authority, &target).web(&authority.listener(&["a"], "")).start();
    let mut client = connect(&authority, &balancer);
    for _ in 0..3 {
        assert!(client.get("/").body == body);
    }
}

#[test]
fn websocket_passes() {
    let authority = authority();
    let target = Target::start(|peer| {
        assert!(peer.handshake());
        let (tls, stream) = peer.take_stream();
        let mut socket = tungstenite::accept(rustls::StreamOwned::new(tls, stream)).expect("ws");
        while let Ok(message) = socket.read() {
            if message.is_binary() {
                socket.send(message).expect("echo");
            }
        }
    });
    let target = target.tls(&authority.server("a"));
    let balancer = to(&authority, &target).start();
    let stream = balancer.client().into_stream();
    let (mut socket, response) = websocket("ws://chat.example/room", stream).expect("upgrade");
    assert_eq!(response.status().as_u16(), 101);
    for length in [0, 1, 126, 70_000, 2_000_000] {
        let message = Message::binary(pattern(length));
        socket.send(message.clone()).expect("send");
        assert!(socket.read().expect("echo") == message, "{length} bytes came back changed");
    }
    socket.close(None).expect("close");
    while socket.read().is_ok() {}
}

#[test]
fn new_connections_go_on_with_earlier_sessions() {
    let authority = authority();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = authority.server_of("a", &[version], &[]);
        let target = Target::named("hello").tls(&config);
        let config = to(&authority, &target).home("idle_connections_max = 0").one_worker();
        let balancer = config.start();
        for _ in 0..4 {
            assert_eq!(balancer.client().get("/").text(), "hello");
        }
        let resumed: Vec<_> = target.sessions().iter().map(|session| session.is_resumed).collect();
        assert_eq!(resumed, [false, true, true, true], "{version:?}");
    }
}

#[test]
fn what_a_session_says_about_itself_leaves_an_unused_connection_usable() {
    let authority = authority();
    let (told, ask) = (Gate::new(), Gate::new());
    let (tell, asked) = (told.clone(), ask.clone());
    let target = Target::start(move |peer| {
        peer.request();
        peer.send(&ok(b"first"));
        asked.wait();
        peer.session().refresh_traffic_keys().expect("TLS 1.3");
        peer.flush();
        tell.open();
        while peer.request().is_some() && peer.send(&ok(b"second")) {}
    });
    let config = authority.server_of("a", &[&rustls::version::TLS13], &[]);
    let target = target.tls(&config);
    let balancer = to(&authority, &target).one_worker().start();
    let mut client = balancer.client();
    assert_eq!(client.get("/").text(), "first");
    ask.open();
    told.wait();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "second");
    }
    assert_eq!(target.connection_count(), 1);
}

#[test]
fn unused_connection_that_says_anything_else_or_ends_is_not_used_again() {
    type Then = fn(&mut Peer);
    let rows: [(&str, Then); 3] = [
        ("a response that nobody asked for", |peer| assert!(peer.send(&ok(b"unasked")))),
        ("an orderly end", Peer::half_close),
        ("an end without a word", |peer| {
            peer.truncate();
            peer.half_close();
        }),
    ];
    for (what, then) in rows {
        let authority = authority();
        let (told, ask) = (Gate::new(), Gate::new());
        let (tell, asked) = (told.clone(), ask.clone());
        let target = Target::start(move |peer| {
            peer.request();
            peer.send(&ok(b"hello"));
            if peer.index == 0 {
                asked.wait();
                then(peer);
                tell.open();
            }
            peer.take_rest();
        });
        let target = target.tls(&authority.server("a"));
        let balancer = to(&authority, &target).one_worker().start();
        let mut client = balancer.client();
        assert_eq!(client.get("/").text(), "hello");
        ask.open();
        told.wait();
        // Loopback brings it at once, but the kernel promises nothing.
        thread::sleep(Duration::from_millis(50));
        assert_eq!(client.get("/").text(), "hello", "{what}");
        assert_eq!(target.connection_count(), 2, "{what}");
    }
}

#[test]
fn unused_connection_is_closed_with_a_word() {
    let authority = authority();
    let target = Target::named("hello").tls(&authority.server("a"));
    let balancer = to(&authority, &target).home("idle_timeout = \"1s\"").start();
    assert_eq!(balancer.client().get("/").text(), "hello");
    assert_eq!(target.wait_end(0), End::Closed, "the target reads the word that ends a session");
}

#[test]
fn response_that_ends_with_its_connection_must_end_in_an_orderly_way() {
    let authority = authority();
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let whole = Target::start(move |peer| {
        peer.request();
        peer.send(head.as_bytes());
        peer.send(b"whole");
    });
    let whole = whole.tls(&authority.server("a"));
    let balancer = to(&authority, &whole).start();
    assert_eq!(balancer.client().get("/").text(), "whole");
    let cut = Target::start(move |peer| {
        peer.request();
        peer.send(head.as_bytes());
        peer.send(b"half of it");
        peer.truncate();
    });
    let cut = cut.tls(&authority.server("a"));
    let balancer = to(&authority, &cut).start();
    let mut client = balancer.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.try_response("GET").is_err(), "what was cut must not look like the whole");
    // Where the length is known, nothing is missing.
    let known = Target::start(|peer| {
        peer.request();
        peer.send(&ok(b"known"));
        peer.truncate();
    });
    let known = known.tls(&authority.server("a"));
    let balancer = to(&authority, &known).start();
    assert_eq!(balancer.client().get("/").text(), "known");
}

#[test]
fn handshake_that_stalls_ends_in_time() {
    let authority = authority();
    let target = Target::start(|peer| drop(peer.take_raw()));
    let config = to(&authority, &target).home("connect_timeout = \"300ms\"");
    let balancer = config.home("response_timeout = \"40s\"").start();
    assert_eq!(balancer.client().get("/").status, 504);
    balancer.wait_log(&["cannot connect to target", "timed out"]);
}

#[test]
fn next_target_is_tried_where_there_is_no_session() {
    let authority = authority();
    authority.issue("other", &["other.example"]);
    let plain = Target::answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let wrong = Target::named("wrong").tls(&authority.server("other"));
    let closes = Target::start(|_| {});
    let good = Target::named("good").tls(&authority.server("a"));
    let targets = [&plain, &wrong, &closes, &good];
    let config = http(&targets).home(&authority.group("HTTPS", "")).one_worker();
    let balancer = config.start();
    let mut client = balancer.client();
    for _ in 0..12 {
        assert_eq!(client.get("/").text(), "good");
    }
    assert!(plain.requests().is_empty() && wrong.requests().is_empty());
    let log = balancer.log();
    assert!(log.contains("not valid for"), "{log}");
    let balancer = config.home("retry = \"never\"").start();
    let mut client = balancer.client();
    let statuses: Vec<_> = (0..8).map(|_| client.get("/").status).collect();
    let good = statuses.iter().filter(|&&status| status == 200).count();
    assert_eq!(good, 2, "in turn: {statuses:?}");
    assert!(statuses.iter().all(|status| [200, 502].contains(status)), "{statuses:?}");
}

#[test]
fn group_that_begins_to_encrypt_uses_no_connection_of_before() {
    let authority = authority();
    let target = Target::named("hello");
    let plain = http(&[&target]).one_worker();
    let balancer = plain.start();
    let mut client = balancer.client();
    assert_eq!(client.get("/").text(), "hello");
    target.set_tls(&authority.server("a"));
    let encrypted = to(&authority, &target).one_worker();
    balancer.reload(&encrypted.text());
    assert_eq!(client.get("/").text(), "hello");
    assert_eq!(client.get("/").text(), "hello");
    assert_eq!((target.connection_count(), target.sessions().len()), (2, 1));
    assert_eq!(target.wait_end(0), End::Closed);
}

#[test]
fn failed_sessions_eject_a_target() {
    let authority = authority();
    authority.issue("other", &["other.example"]);
    let wrong = Target::named("wrong").tls(&authority.server("other"));
    let good = Target::named("good").tls(&authority.server("a"));
    let balancer = http(&[&wrong, &good])
        .home(&authority.group("HTTPS", ""))
        .home("outlier_detection = { consecutive_failures = 3 }")
        .one_worker()
        .start();
    let mut client = balancer.client();
    balancer.wait("the target to be left out", || {
        let before = wrong.connection_count();
        let mut client = balancer.client();
        (0..4).for_each(|_| assert_eq!(client.get("/").text(), "good"));
        before >= 3 && wrong.connection_count() == before
    });
    assert_eq!(client.get("/").text(), "good");
}
