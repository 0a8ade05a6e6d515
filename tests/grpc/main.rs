//! HTTP/2 to targets and gRPC, end to end: real frames on both sides, by the `h2` crate and by
//! hand.

#![allow(clippy::disallowed_methods, reason = "a pause is the pace of a client")]

mod calls;
mod client;
mod connections;
#[path = "../harness/mod.rs"]
mod harness;
mod health;
mod raw;
mod requests;
mod target;

use harness::*;

use client::{Caller, run};
use target::{Call, H2Target};

/// A configuration whose group `home` speaks `version` to the target at `address`.
fn to(version: &str, addresses: &[std::net::SocketAddr]) -> Config {
    Config::new("l7", addresses.to_vec()).home(&format!("protocol_version = \"{version}\""))
}

/// `length` bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(31) ^ (n >> 8)) as u8).collect()
}
