//! An io_uring, thread-per-core TCP and HTTP load balancer for one Linux host.
//!
//! The rooms, in reading order. What a room may use is said in `ARCHITECTURE.md` and held by
//! `tests/tidy.rs`.
//!
//! * words: [`model`] (what the operator asked for), [`message`] (HTTP heads)
//! * decisions, values in and values out: [`routing`], [`balance`], [`health`], [`stickiness`]
//!   (but for its key file), [`http1`], [`http2`], [`proxy_protocol`], [`client_hello`], [`tls`],
//!   [`access_log`], [`span`]
//! * what workers act on: [`snapshot`]; what they count: [`metrics`]
//! * the kernel: [`net`], the only room with `unsafe`; [`log_writer`] writes access logs
//! * the joins: [`proxy`] (one connection, first byte to close), [`worker`] (one core)
//! * the control thread: [`config`], [`overlay`] (what the control API changed), [`mailbox`],
//!   [`exposition`] (what was counted, as text), [`control`]
//! * the command line: [`cli`], [`client`] (of the control API), [`demo`], [`compare`],
//!   [`platform`], [`log`], [`doctor`] (what is wrong with this machine)
//!
//! To follow a request: [`worker`] accepts, `proxy/http.rs` reads and routes, `proxy/forward.rs`
//! sends it to a target and the response back.

pub mod access_log;
pub mod balance;
pub mod cli;
pub mod client;
pub mod client_hello;
pub mod compare;
pub mod config;
pub mod control;
pub mod demo;
pub mod doctor;
pub mod exposition;
pub mod health;
pub mod http1;
pub mod http2;
pub mod log;
pub mod log_writer;
pub mod mailbox;
pub mod message;
pub mod metrics;
pub mod model;
pub mod net;
pub mod overlay;
pub mod platform;
pub mod proxy;
pub mod proxy_protocol;
pub mod routing;
pub mod snapshot;
pub mod span;
pub mod stickiness;
pub mod tls;
pub mod worker;
