//! Scripted peers and a running `ringway` for the end-to-end tests.
//!
//! Nothing here shares code with the balancer: heads and bodies are read by the strict parser in
//! [`message`], so what it accepts has one meaning for every parser. Blocking sockets, a thread
//! per connection, a deadline on every wait. Start with [`Config`], [`Balancer`], [`Target`] and
//! [`Client`].

// Every test crate compiles this module and uses a part of it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "rules for workers; here a pause is the pace of a target or of a look with a deadline"
)]
#![allow(dead_code, unused_imports, unreachable_pub)]

mod api;
mod balancer;
mod client;
mod config;
mod control;
mod ends;
mod message;
mod target;
mod tls;

use std::time::Duration;

pub use api::Api;
pub use balancer::{Balancer, Ringway, binary, shell};
pub use client::{Client, End, ReadError};
pub use config::{Config, http, tcp};
pub use control::{Answer, Control, FastTarget, HANDED_OVER_GRACE, Seen, strict_client};
pub use ends::{Refusing, Silent, free_address};
pub use message::{Framing, Parsed, Request, Response, parse_request, parse_response};
pub use target::{Agreed, ConnectionRecord, Gate, Peer, Target};
pub use tls::{Authority, TlsClient, der_of};

/// Longest wait for anything. Far above what a busy machine needs, so passing it means "never";
/// below the 60 s after which ringway by itself ends what is silent.
pub const DEADLINE: Duration = Duration::from_secs(45);

/// `bytes` as text for messages, shortened.
pub fn show(bytes: &[u8]) -> String {
    const SHOWN: usize = 2_000;
    let text = bytes[..bytes.len().min(SHOWN)].escape_ascii().to_string().replace("\\n", "\\n\n");
    if bytes.len() > SHOWN { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
