//! An io_uring, thread-per-core TCP and HTTP load balancer for one Linux host.

pub mod balance;
pub mod message;
pub mod model;
pub mod routing;
