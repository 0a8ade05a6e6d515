//! Settings of the process that have parts of their own.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// Where the control API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlApi {
    /// Unix socket, mode 0660; `None`: none.
    pub socket: Option<PathBuf>,
    /// TCP address; `None`: none.
    pub address: Option<SocketAddr>,
    /// File whose first line is the bearer token that TCP requests must bring; required for any
    /// address that is not a loopback one.
    pub token_file: Option<PathBuf>,
    /// TCP address where anybody may read metrics and ask whether it is alive and ready, and do
    /// nothing else; `None`: none.
    pub metrics_address: Option<SocketAddr>,
    /// Whether nobody asked for it by name: then the process goes on where it cannot be had.
    pub optional: bool,
}

impl Default for ControlApi {
    /// The Unix socket in its usual place, or nowhere.
    fn default() -> Self {
        let socket = Some(PathBuf::from("/run/ringway/control.sock"));
        Self { socket, address: None, token_file: None, metrics_address: None, optional: true }
    }
}

/// Export of spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanExport {
    /// Address of the collector.
    pub collector: SocketAddr,
    /// Path there.
    pub path: String,
    /// One in so many of the requests that come without a `traceparent` is told.
    pub sample_one_in: NonZeroU32,
    /// Name of the service that spans are of.
    pub service: String,
}
