//! WebSocket: the upgrade is routed like any request, then bytes pass unread.

use std::io::Write;

use tungstenite::{Message, accept, client as websocket};

use super::{ok, pattern};
use crate::harness::*;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                         Upgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn websocket_messages_pass_in_both_directions() {
    let target = Target::start(|peer| {
        let mut socket = accept(peer.stream().try_clone().expect("clone")).expect("handshake");
        while let Ok(message) = socket.read() {
            if message.is_text() || message.is_binary() {
                socket.send(message).expect("echo");
            }
        }
    });
    let balancer = http(&[&target]).start();
    let stream = balancer.client().into_stream();
    let (mut socket, response) = websocket("ws://chat.example/room?x=1", stream).expect("upgrade");
    assert_eq!(response.status().as_u16(), 101);
    for length in [0, 1, 125, 126, 70_000, 2_000_000] {
        let message = Message::binary(pattern(length));
        socket.send(message.clone()).expect("send");
        assert!(socket.read().expect("echo") == message, "{length} bytes came back changed");
    }
    socket.send(Message::Ping(b"here?".to_vec().into())).expect("ping");
    assert_eq!(socket.read().expect("pong"), Message::Pong(b"here?".to_vec().into()));
    socket.close(None).expect("close");
    while socket.read().is_ok() {}
}

/// A target that takes an upgrade, sends `first` in the same write, then echoes bytes.
fn switching(first: &'static str) -> Target {
    Target::start(move |peer| {
        peer.request();
        peer.send(format!("{SWITCHING}{first}").as_bytes());
        while let Some(byte) = peer.take(1) {
            peer.send(&byte);
        }
    })
}

#[test]
fn upgrade_reaches_the_target_with_its_fields() {
    let target = switching("");
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send(UPGRADE);
    let response = client.response("GET");
    assert_eq!((response.status, response.field("Upgrade")), (101, Some("websocket")));
    assert_eq!(response.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(response.field("Connection").expect("Connection").eq_ignore_ascii_case("upgrade"));
    let request = target.request();
    assert!(request.field("Connection").expect("Connection").eq_ignore_ascii_case("upgrade"));
    assert_eq!(request.field("Upgrade"), Some("websocket"));
    assert_eq!(request.field("Sec-WebSocket-Key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.1"));
}

#[test]
fn bytes_sent_along_with_the_upgrade_are_not_lost() {
    let target = switching("welcome");
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send(format!("{UPGRADE}early"));
    assert_eq!(client.response("GET").status, 101);
    assert_eq!(client.take(12), b"welcomeearly");
    client.send("GET /not-a-request HTTP/1.1\r\n\r\n");
    assert_eq!(client.take(31), b"GET /not-a-request HTTP/1.1\r\n\r\n");
}

#[test]
fn half_close_passes_through_an_upgraded_connection() {
    let target = Target::start(|peer| {
        peer.request();
        peer.send(SWITCHING.as_bytes());
        assert_eq!(peer.take_rest(), b"ping");
        peer.send(b"pong");
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send(UPGRADE);
    assert_eq!(client.response("GET").status, 101);
    client.send("ping");
    client.half_close();
    assert_eq!(client.rest(), (b"pong".to_vec(), End::Closed));
}

#[test]
fn refused_upgrade_is_an_ordinary_exchange() {
    let target = Target::answering(ok("no"));
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send(UPGRADE);
    assert_eq!(client.response("GET").text(), "no");
    assert_eq!(client.get("/next").text(), "no");
    assert_eq!(target.requests()[1].target, "/next");
}

#[test]
fn upgrades_to_other_protocols_are_not_forwarded() {
    let target = Target::answering(ok("plain"));
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    let asks = [
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Upgrade: websocket\r\n",
    ];
    for ask in asks {
        client.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{ask}\r\n"));
    }
    for request in target.requests() {
        let upgrade = request.field("Upgrade");
        assert!(matches!(upgrade, None | Some("websocket")), "{request:?}");
        assert_eq!(upgrade.is_some(), request.field("Connection").is_some(), "{request:?}");
    }
}

#[test]
fn silent_upgraded_connection_is_closed_on_both_sides_when_idle() {
    let target = switching("");
    let balancer = http(&[&target])
        .home("idle_timeout = \"3s\"\nresponse_timeout = \"3s\"")
        .web("idle_timeout = \"3s\"")
        .start();
    let mut client = balancer.client();
    client.send(UPGRADE);
    assert_eq!(client.response("GET").status, 101);
    assert_ne!(client.rest().1, End::TimedOut);
    target.wait_end(0);
}

#[test]
fn reset_of_an_upgraded_client_ends_the_target_connection() {
    let target = switching("");
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send(UPGRADE);
    assert_eq!(client.response("GET").status, 101);
    client.stream().flush().expect("flush");
    client.reset();
    target.wait_end(0);
}
