//! TLS without sockets: certificates, which of them a client is shown, and sessions as state
//! machines over bytes.
//!
//! Control builds one [`Server`] per listener from the bytes of its files; workers make a
//! [`Session`] of it per connection and move its bytes. Everything a worker touches is immutable
//! but the tickets, whose keys change now and then. Start with [`Server`], then [`Session`].

mod certificate;
mod server;
mod session;
#[cfg(test)]
mod tests;

pub use certificate::{Certificate, Flaw};
pub use server::{Named, Server, Tickets};
pub use session::{Error, Negotiated, RECORD_BYTES_MAX, Session, Step, Stepped};

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// What does the arithmetic, with everything that it offers.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
