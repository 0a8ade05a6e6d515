//! HTTP/1.1 as state machines over bytes (RFC 9112).
//!
//! Everything here turns bytes into values or values into bytes: no socket, no clock, no
//! randomness, and no input can make it panic. [`chunked`] reads and writes the chunked transfer
//! coding of bodies.

pub mod chunked;
