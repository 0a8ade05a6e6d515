//! HTTP/1.1 on the wire, as functions over bytes: heads, bodies, lines.
//!
//! Nothing here reads a socket or a clock, and no input can make it panic. Requests are read
//! strictly, because a target must not be able to read them otherwise; responses are read as
//! robustly as their framing allows. Start with [`parse_request`]; [`encode`] is the way back,
//! [`chunked`] reads and writes the chunked transfer coding of bodies.

pub mod chunked;
pub mod classify;
pub mod encode;
mod error;
pub(crate) mod fields;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use error::HeadError;
pub use request::{Parsed, parse_request};
pub use response::parse_response;
