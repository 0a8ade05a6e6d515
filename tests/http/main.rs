//! HTTP listeners, end to end: connections, bodies, heads, errors, retries, upgrades, balance.

mod balance;
mod bodies;
mod connections;
mod errors;
#[path = "../harness/mod.rs"]
mod harness;
mod heads;
mod responses;
mod retry;
mod streams;
mod upgrade;

use harness::*;

/// Answers every request with its request target as body.
fn path_target() -> Target {
    Target::start(|peer| {
        while let Some(request) = peer.request() {
            let (length, path) = (request.target.len(), request.target);
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}");
            if !peer.send(response.as_bytes()) {
                break;
            }
        }
    })
}

/// A response with this body.
fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// `length` bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(31) ^ (n >> 8)) as u8).collect()
}

/// `content` as a chunked body with chunks of these sizes in turn.
fn chunked(content: &[u8], sizes: &[usize], trailers: &str) -> Vec<u8> {
    let (mut left, mut body) = (content, Vec::new());
    let mut sizes = sizes.iter().cycle();
    while !left.is_empty() {
        let (chunk, rest) = left.split_at(left.len().min(*sizes.next().expect("cycle")));
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
        left = rest;
    }
    body.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    body
}
