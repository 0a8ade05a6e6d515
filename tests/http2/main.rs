//! HTTP/2 to clients, end to end: real clients, streams and their limits, the life of a connection,
//! floods.

mod exchanges;
mod floods;
#[path = "../harness/mod.rs"]
mod harness;
mod life;
mod peer;
mod tls;

use harness::*;

/// A listener that understands HTTP/2 without TLS, in front of `targets`.
fn h2c(targets: &[&Target]) -> Config {
    http(targets).web("h2c = true")
}

/// A response with this body.
fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// `length` bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(31) ^ (n >> 8)) as u8).collect()
}
