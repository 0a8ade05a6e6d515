//! TLS without sockets: certificates, which of them a client is shown, which of its own it may
//! show, and sessions as state machines over bytes.
//!
//! Control builds one [`Server`] per listener and one [`Client`] per way to encrypt to targets,
//! from the bytes of their files; workers make a [`Session`] of it per connection and move its
//! bytes. Everything a worker touches is immutable but the tickets, whose keys change now and then,
//! and the sessions that a worker remembers of a target ([`Dialer`]), which are its own. Start with
//! [`Server`], then [`Session`].

mod certificate;
mod client;
mod client_certificate;
mod mutual;
mod server;
mod session;
mod staple;
#[cfg(test)]
mod tests;
mod trust_store;

pub use certificate::{Certificate, Flaw};
pub use client::{Authorities, Client, Dialer, Inner, is_server_name};
pub use client_certificate::ClientCertificate;
pub use mutual::Clients;
pub use server::{Named, Server, Tickets};
pub use session::{Error, Negotiated, RECORD_BYTES_MAX, Session, Step, Stepped};
pub use staple::StapleFlaw;
pub use trust_store::{TrustFlaw, TrustStore};

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// What does the arithmetic, with everything that it offers.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
