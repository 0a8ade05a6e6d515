//! Clients that are slow, broken or malicious.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{authority, connect, https};
use crate::harness::*;

#[test]
fn handshake_that_does_not_come_to_an_end_is_given_up() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer =
        http(&[&target]).web(&authority.listener(&["a"], "handshake_timeout = \"700ms\"")).start();
    let begun = [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01\x00"];
    let mut clients = begun.map(|bytes| {
        let mut client = balancer.client();
        client.send(bytes);
        client
    });
    for client in &mut clients {
        let (rest, end) = client.rest();
        assert_eq!(show(&rest), "");
        assert_ne!(end, End::TimedOut);
    }
    assert_eq!(connect(&authority, &balancer).get("/").text(), "hello");
}

#[test]
fn garbage_in_place_of_a_hello_ends_the_connection() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..60 {
        let mut bytes: Vec<u8> = (0..random.usize(1..400)).map(|_| random.u8(..)).collect();
        if round % 2 == 0 {
            bytes.splice(0..0, [0x16, 3, 1, 0, 200, 1, 0, 0, 196]);
        } else {
            bytes[0] |= 0x80;
        }
        let mut client = balancer.client();
        client.try_send(&bytes);
        client.half_close();
        assert_ne!(client.rest().1, End::TimedOut, "{}", show(&bytes));
    }
    assert_eq!(connect(&authority, &balancer).get("/").text(), "hello");
    assert_eq!(balancer.log_count(&["panicked"]), 0, "{}", balancer.log());
}

#[test]
fn hello_without_end_is_bounded() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let mut client = balancer.client();
    // A handshake message that says it is 64 KiB long, cut into records of one byte.
    let mut bytes = vec![0x16, 3, 1, 0, 4, 1, 0, 0xff, 0xf0];
    for _ in 0..40_000 {
        bytes.extend_from_slice(&[0x16, 3, 1, 0, 1, 0]);
    }
    client.try_send(&bytes);
    assert_ne!(client.rest().1, End::TimedOut);
    assert_eq!(connect(&authority, &balancer).get("/").text(), "hello");
}

/// Both ends of the socket of a TLS connection to the listener.
fn raw(authority: &Authority, balancer: &Balancer) -> (TlsClient, TcpStream) {
    let client = connect(authority, balancer);
    let socket = client.socket().try_clone().expect("clone");
    (client, socket)
}

#[test]
fn record_that_was_tampered_with_ends_the_connection() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let (_client, mut socket) = raw(&authority, &balancer);
    socket.write_all(&[&[0x17, 3, 3, 0, 40][..], &[7; 40]].concat()).expect("send");
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(!rest.windows(4).any(|window| window == b"HTTP"), "{}", show(&rest));
    assert_eq!(target.connection_count(), 0);
    assert_eq!(connect(&authority, &balancer).get("/").text(), "hello");
}

#[test]
fn end_without_a_word_in_the_middle_of_a_request_reaches_no_target_as_whole() {
    let (authority, target) = (authority(), Target::echo());
    let balancer = https(&authority, &[&target]).start();
    let (mut client, socket) = raw(&authority, &balancer);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    target.wait("the head", |all| all.iter().any(|c| c.received.ends_with(b"half")));
    socket.shutdown(std::net::Shutdown::Both).expect("shut down");
    target.wait_end(0);
    assert_eq!(target.requests().len(), 0);
    assert_eq!(connect(&authority, &balancer).get("/").status, 200);
}

#[test]
fn records_in_any_pieces_are_put_together() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let config = authority.client();
    let name = rustls::pki_types::ServerName::try_from("a.example").expect("name");
    let mut session = rustls::ClientConnection::new(config, name).expect("client");
    let mut socket = TcpStream::connect(balancer.address("web")).expect("connect");
    socket.set_nodelay(true).expect("no delay");
    socket.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let (mut answer, mut asked) = (Vec::new(), false);
    while !answer.ends_with(b"hello") {
        let mut out = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut out).expect("in memory");
        }
        for byte in out {
            socket.write_all(&[byte]).expect("send");
        }
        if !session.is_handshaking() && !asked {
            asked = true;
            session.writer().write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("in memory");
            continue;
        }
        assert!(session.read_tls(&mut socket).expect("read") > 0, "ended early");
        session.process_new_packets().expect("good records");
        let mut some = [0; 1024];
        if let Ok(count) = session.reader().read(&mut some) {
            answer.extend_from_slice(&some[..count]);
        }
    }
}

#[test]
fn client_that_goes_during_the_handshake_harms_nobody() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    for _ in 0..50 {
        let mut client = balancer.client();
        client.try_send(b"\x16\x03\x01\x02\x00\x01\x00");
        client.reset();
    }
    assert_eq!(connect(&authority, &balancer).get("/").text(), "hello");
    let before = balancer.open_files();
    balancer.wait("files to be closed", || balancer.open_files() <= before);
}
