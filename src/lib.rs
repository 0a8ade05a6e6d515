//! An io_uring, thread-per-core TCP and HTTP load balancer for one Linux host.

pub mod config;
pub mod message;
pub mod model;
