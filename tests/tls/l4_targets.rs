//! L4 listeners in front of targets that speak TLS.

use ppp::v1;

use super::{authority, connect, pattern};
use crate::harness::*;

#[test]
fn bytes_are_encrypted_on_their_way_to_the_target() {
    let authority = authority();
    let target = Target::echo_bytes().tls(&authority.server("a"));
    let balancer = tcp(&[&target]).home(&authority.group("TLS", "")).start();
    let mut client = balancer.client();
    for length in [1, 100, 60_000, 1_000_000] {
        let bytes = pattern(length);
        client.send(&bytes);
        assert!(client.take(length) == bytes, "{length} bytes came back changed");
    }
    let session = target.sessions().remove(0);
    assert_eq!(session.inner, None, "what is inside is the client's");
}

#[test]
fn bytes_are_decrypted_and_encrypted_again() {
    let authority = authority();
    let bytes = pattern(3_000_000);
    let sent = bytes.clone();
    let target = Target::start(move |peer| {
        let question = peer.take(8);
        peer.send(&sent);
        peer.send(&question.unwrap_or_default());
    });
    let target = target.tls(&authority.server("a"));
    let balancer = tcp(&[&target])
        .home(&authority.group("TLS", ""))
        .web(&authority.listener(&["a"], ""))
        .start();
    let mut client = connect(&authority, &balancer);
    client.send("question");
    let whole = [bytes, b"question".to_vec()].concat();
    assert!(client.rest() == (whole, End::Closed), "the stream of the target came changed");
}

#[test]
fn target_that_is_cut_off_is_a_reset_for_the_client() {
    let authority = authority();
    let target = Target::start(|peer| {
        peer.take(5);
        peer.send(b"half of it");
        peer.truncate();
    });
    let target = target.tls(&authority.server("a"));
    let balancer = tcp(&[&target]).home(&authority.group("TLS", "")).start();
    let mut client = balancer.client();
    client.send("hello");
    let (_, end) = client.rest();
    assert_eq!(end, End::Reset);
}

#[test]
fn proxy_protocol_header_goes_ahead_of_tls() {
    let authority = authority();
    let config = authority.server("a");
    let target = Target::start(move |peer| {
        let header = peer.take_until(b"\r\n").expect("header");
        v1::Header::try_from(header.as_slice()).expect("v1 header");
        peer.begin_tls(&config);
        let question = peer.take(5).expect("question");
        peer.send(&question);
    });
    let balancer =
        tcp(&[&target]).home(&authority.group("TLS", "")).web("proxy_protocol = \"v1\"").start();
    let mut client = balancer.client();
    client.send("hello");
    assert_eq!(client.take(5), b"hello");
}

#[test]
fn next_target_is_tried_where_there_is_no_session() {
    let (authority, stranger) = (authority(), authority());
    let wrong = Target::echo_bytes().tls(&stranger.server("a"));
    let good = Target::echo_bytes().tls(&authority.server("a"));
    let config = tcp(&[&wrong, &good]).home(&authority.group("TLS", ""));
    let balancer = config.start();
    for _ in 0..6 {
        let mut client = balancer.client();
        client.send("hello");
        assert_eq!(client.take(5), b"hello");
    }
    assert!(wrong.sessions().is_empty());
    let balancer = tcp(&[&wrong]).home(&authority.group("TLS", "")).start();
    let mut client = balancer.client();
    client.try_send("hello");
    assert_eq!(client.rest().1, End::Reset);
}

#[test]
fn one_group_serves_listeners_of_both_modes() {
    let authority = authority();
    let config = authority.server_of("a", rustls::DEFAULT_VERSIONS, &["http/1.1"]);
    let target = Target::named("hello").tls(&config);
    let balancer = http(&[&target])
        .home(&authority.group("HTTPS", ""))
        .web(
            "[[listeners]]\nname = \"raw\"\naddress = \"127.0.0.1:0\"\nmode = \"l4\"\n\
              default = { forward = \"home\" }",
        )
        .start();
    assert_eq!(Client::connect(balancer.address("web")).get("/").text(), "hello");
    assert_eq!(Client::connect(balancer.address("raw")).get("/").text(), "hello");
    let inner: Vec<_> = target.sessions().into_iter().map(|session| session.inner).collect();
    assert_eq!(inner, [Some(b"http/1.1".to_vec()), None]);
}
