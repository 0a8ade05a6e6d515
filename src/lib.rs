//! An io_uring, thread-per-core TCP and HTTP load balancer for one Linux host.

pub mod balance;
pub mod cli;
pub mod control;
pub mod demo;
pub mod http1;
pub mod mailbox;
pub mod message;
pub mod metrics;
pub mod model;
pub mod net;
pub mod proxy;
pub mod proxy_protocol;
pub mod routing;
pub mod snapshot;
pub mod worker;
