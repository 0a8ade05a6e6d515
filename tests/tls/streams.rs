//! Bytes over TLS: large bodies, WebSockets, idle connections, orderly and other ends.

use std::thread;
use std::time::Duration;

use tungstenite::{Message, accept, client as websocket};

use super::{authority, connect, https, ok, pattern};
use crate::harness::*;

const LARGE: usize = 9_000_000;

#[test]
fn large_bodies_come_and_go_unchanged() {
    let authority = authority();
    let target = Target::start(|peer| {
        while let Some(request) = peer.request() {
            if !peer.send(&ok(&request.body)) {
                break;
            }
        }
    });
    let balancer = https(&authority, &[&target]).start();
    let mut client = connect(&authority, &balancer);
    for length in [0, 1, 3_500, 16_384, 16_385, 70_000, LARGE] {
        let body = pattern(length);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(&body);
        let response = client.response("POST");
        assert!(response.body == body, "{length} bytes came back changed");
    }
    assert_eq!(target.connection_count(), 1, "one connection is used again and again");
}

#[test]
fn chunked_bodies_pass() {
    let (authority, target) = (authority(), Target::echo());
    let balancer = https(&authority, &[&target]).start();
    let mut client = connect(&authority, &balancer);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..100 {
        client.send("4000\r\n");
        client.send(pattern(0x4000));
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response("POST").status, 200);
    assert_eq!(target.request().body.len(), 100 * 0x4000);
}

#[test]
fn many_small_requests_in_one_record_are_answered_in_order() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let mut client = connect(&authority, &balancer);
    let one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(one.repeat(300));
    for _ in 0..300 {
        assert_eq!(client.response("GET").text(), "hello");
    }
}

#[test]
fn websocket_messages_pass_in_both_directions() {
    let authority = authority();
    let target = Target::start(|peer| {
        let mut socket = accept(peer.stream().try_clone().expect("clone")).expect("handshake");
        while let Ok(message) = socket.read() {
            if message.is_text() || message.is_binary() {
                socket.send(message).expect("echo");
            }
        }
    });
    let balancer = https(&authority, &[&target]).start();
    let stream = connect(&authority, &balancer).into_stream();
    let (mut socket, response) = websocket("wss://a.example/room", stream).expect("upgrade");
    assert_eq!(response.status().as_u16(), 101);
    for length in [0, 1, 125, 126, 70_000, 900_000] {
        let message = Message::binary(pattern(length));
        socket.send(message.clone()).expect("send");
        assert!(socket.read().expect("echo") == message, "{length} bytes came back changed");
    }
    socket.close(None).expect("close");
    while socket.read().is_ok() {}
}

#[test]
fn connection_that_was_idle_goes_on() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let mut client = connect(&authority, &balancer);
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "hello");
        // Longer than an idle connection keeps its buffer.
        thread::sleep(Duration::from_millis(1500));
    }
    // A request that comes in two halves, with a pause in the middle of a record.
    let (mut client, mut socket) = {
        let client = connect(&authority, &balancer);
        let socket = client.socket().try_clone().expect("clone");
        (client.into_stream(), socket)
    };
    use std::io::{Read, Write};
    client.conn.writer().write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("in memory");
    let mut record = Vec::new();
    client.conn.write_tls(&mut record).expect("in memory");
    let (first, second) = record.split_at(record.len() / 2);
    socket.write_all(first).expect("send");
    thread::sleep(Duration::from_millis(1500));
    socket.write_all(second).expect("send");
    let mut answer = [0; 15];
    client.read_exact(&mut answer).expect("answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}

#[test]
fn session_is_ended_in_an_orderly_way() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).web("idle_timeout = \"1s\"").start();
    let mut client = connect(&authority, &balancer);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response("GET").text(), "hello");
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    let mut idle = connect(&authority, &balancer);
    assert_eq!(idle.get("/").text(), "hello");
    assert_eq!(idle.rest(), (Vec::new(), End::Closed), "after a second of silence");
}

#[test]
fn response_that_was_cut_does_not_end_in_an_orderly_way() {
    let authority = authority();
    let target = Target::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    let balancer = https(&authority, &[&target]).start();
    let mut client = connect(&authority, &balancer);
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(client.try_response("GET").is_err());
}

#[test]
fn client_that_reads_slowly_gets_everything() {
    let authority = authority();
    let body = pattern(8_000_000);
    let sent = ok(&body);
    let target = Target::answering(sent);
    let balancer = https(&authority, &[&target]).start();
    let stream = Client::connect_narrow(balancer.address("web"), 16 * 1024).into_stream();
    let mut client = TlsClient::try_over(&authority.client(), stream, "a.example").expect("client");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let whole = ok(&body);
    let mut got = Vec::new();
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(300));
        got.extend(client.take(100_000));
    }
    got.extend(client.take(whole.len() - got.len()));
    assert!(got == whole, "changed on the way");
}

#[test]
fn stop_lets_requests_finish_and_ends_sessions() {
    let authority = authority();
    let gate = Gate::new();
    let opened = gate.clone();
    let target = Target::start(move |peer| {
        while peer.request().is_some() {
            opened.wait();
            peer.send(&ok(b"late"));
        }
    });
    let mut balancer = https(&authority, &[&target]).start();
    let mut client = connect(&authority, &balancer);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    target.wait("the request", |all| all.iter().any(|c| c.received.ends_with(b"\r\n\r\n")));
    balancer.signal("TERM");
    balancer.wait_log(&["stopping"]);
    gate.open();
    let response = client.response("GET");
    assert_eq!(response.text(), "late");
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    assert!(balancer.process().wait(DEADLINE).success());
}
