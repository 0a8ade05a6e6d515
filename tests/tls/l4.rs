//! TLS on L4 listeners: decrypted, and passed on unread.

use ppp::v1;

use super::{authority, connect, pattern};
use crate::harness::*;

/// An L4 listener that encrypts, in front of `target`.
fn tls(authority: &Authority, target: &Target) -> Config {
    tcp(&[target]).web(&authority.listener(&["a"], ""))
}

#[test]
fn bytes_pass_in_both_directions() {
    let (authority, target) = (authority(), Target::echo_bytes());
    let balancer = tls(&authority, &target).start();
    let mut client = connect(&authority, &balancer);
    for length in [1, 100, 60_000] {
        for _ in 0..20 {
            let bytes = pattern(length);
            client.send(&bytes);
            assert!(client.take(length) == bytes, "{length} bytes came back changed");
        }
    }
    assert_eq!(target.connection_count(), 1);
}

#[test]
fn large_streams_pass_in_each_direction() {
    let authority = authority();
    let bytes = pattern(8_000_000);
    let sent = bytes.clone();
    let source = Target::start(move |peer| {
        peer.send(&sent);
    });
    let balancer = tls(&authority, &source).start();
    let mut client = connect(&authority, &balancer);
    assert!(client.rest() == (bytes.clone(), End::Closed), "the stream of the target came changed");
    let sink = Target::start(|peer| {
        peer.take_rest();
    });
    let balancer = tls(&authority, &sink).start();
    let mut client = connect(&authority, &balancer);
    client.send(&bytes);
    client.end();
    assert_eq!(sink.wait_end(0), End::Closed);
    assert!(sink.connections()[0].received == bytes, "the stream of the client came changed");
}

#[test]
fn target_may_speak_first() {
    let authority = authority();
    let target = Target::start(|peer| {
        peer.send(b"220 ready\r\n");
        peer.take_until(b"QUIT\r\n");
        peer.send(b"221 bye\r\n");
    });
    let balancer = tls(&authority, &target).start();
    let mut client = connect(&authority, &balancer);
    assert_eq!(client.take(11), b"220 ready\r\n");
    client.send("QUIT\r\n");
    assert_eq!(client.rest(), (b"221 bye\r\n".to_vec(), End::Closed));
}

#[test]
fn orderly_end_of_the_client_passes_and_the_other_direction_goes_on() {
    let authority = authority();
    let gate = Gate::new();
    let opened = gate.clone();
    let target = Target::start(move |peer| {
        let question = peer.take_rest();
        opened.wait();
        peer.send(&question);
    });
    let balancer = tls(&authority, &target).start();
    let mut client = connect(&authority, &balancer);
    client.send("question");
    client.end();
    assert_eq!(target.wait_end(0), End::Closed);
    gate.open();
    assert_eq!(client.rest(), (b"question".to_vec(), End::Closed));
}

#[test]
fn end_without_a_word_reaches_the_target_as_a_reset() {
    let authority = authority();
    let target = Target::start(|peer| {
        peer.take_rest();
    });
    let balancer = tls(&authority, &target).start();
    let mut client = connect(&authority, &balancer);
    client.send("half of it");
    target.wait("the bytes", |all| all.iter().any(|c| c.received == b"half of it"));
    client.socket().shutdown(std::net::Shutdown::Write).expect("shut down");
    assert_eq!(target.wait_end(0), End::Reset);
}

#[test]
fn target_is_told_the_client_by_the_proxy_protocol() {
    let authority = authority();
    let target = Target::start(|peer| {
        peer.take_rest();
    });
    let balancer = tls(&authority, &target).web("proxy_protocol = \"v1\"").start();
    let mut client = connect(&authority, &balancer);
    let address = client.socket().local_addr().expect("connected");
    client.send("hello");
    client.end();
    target.wait_end(0);
    let bytes = target.connections().remove(0).received;
    let header = v1::Header::try_from(bytes.as_slice()).expect("v1 header");
    assert_eq!(header.addresses, (address, balancer.address("web")).into());
    assert_eq!(&bytes[header.header.len()..], b"hello");
}

#[test]
fn header_of_a_front_comes_before_tls() {
    use std::io::Write;
    let authority = authority();
    for mode in ["l4", "l7"] {
        let target = Target::named("hello");
        let balancer = Config::new(mode, vec![target.address()])
            .web("accept_proxy_protocol = true")
            .web(&authority.listener(&["a"], ""))
            .start();
        let mut stream = balancer.client().into_stream();
        let header = b"PROXY TCP4 198.51.100.9 10.1.0.2 40122 443\r\n";
        stream.write_all(header).expect("send");
        let mut client = TlsClient::try_over(&authority.client(), stream, "a.example").expect(mode);
        assert_eq!(client.get("/").text(), "hello");
        if mode == "l7" {
            assert_eq!(target.request().field("X-Forwarded-For"), Some("198.51.100.9"));
        }
    }
}

#[test]
fn target_that_speaks_at_once_waits_for_the_handshake() {
    let authority = authority();
    let target = Target::named("hello");
    let balancer = tls(&authority, &target).start();
    let mut client = balancer.client();
    client.send("\u{16}");
    client.half_close();
    client.rest();
    assert_eq!(target.connection_count(), 0, "no target is asked before both sides agree");
}
