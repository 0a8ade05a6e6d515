//! TLS listeners and TLS to targets, end to end: real clients, sessions that begin and end badly,
//! certificates.

#![allow(clippy::disallowed_methods, reason = "a pause is the pace of a client")]

mod certificates;
mod clients;
#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod l4;
mod l4_targets;
mod mutual;
mod probes;
mod server_names;
mod staple;
mod streams;
mod targets;
mod trust;

use harness::*;

/// An authority with a certificate for `a.example`, `localhost` and 127.0.0.1.
fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("a", &["a.example", "localhost", "127.0.0.1"]);
    authority
}

/// An HTTPS listener in front of `targets`.
fn https(authority: &Authority, targets: &[&Target]) -> Config {
    http(targets).web(&authority.listener(&["a"], ""))
}

/// A connection to the listener `web` that asks for `a.example`.
fn connect(authority: &Authority, balancer: &Balancer) -> TlsClient {
    TlsClient::connect(&authority.client(), balancer.address("web"), "a.example")
}

/// `length` bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(31) ^ (n >> 8)) as u8).collect()
}

/// A response with this body.
fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
