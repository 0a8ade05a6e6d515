//! The configuration file as types: which keys exist, what they may hold, what they mean.
//!
//! These types are the one source of the JSON Schema, of the structural check (`structure`) and
//! of the parser; their doc comments are what an editor shows the operator, so they give unit,
//! range and default. They hold text that is not yet understood; `lower` turns it into a
//! [`crate::model::Model`]. Every key is optional here, also the required ones, so that one
//! missing key does not hide the mistakes beside it. Start with [`Config`].

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::{LISTENERS_MAX, TARGET_GROUPS_MAX};

mod access_log;
mod form;
mod group;
mod listener;
mod rule;
mod tls;

pub(super) use access_log::*;
pub(super) use form::*;
pub(super) use group::*;
pub(super) use listener::*;
pub(super) use rule::*;
pub(super) use tls::*;

/// Configuration of ringway: listeners, their rules, and the target groups they forward to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Settings of the process.
    pub(super) server: Key<Server>,
    /// Target groups: targets that share an algorithm, time limits and a health check.
    #[serde(default)]
    #[schemars(length(max = TARGET_GROUPS_MAX))]
    pub(super) target_groups: Vec<Located<TargetGroup>>,
    /// Listeners: an address, a mode, rules, and a default for what no rule matches.
    #[serde(default)]
    #[schemars(length(min = 1, max = LISTENERS_MAX))]
    pub(super) listeners: Vec<Located<Listener>>,
}

/// Settings of the process.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    /// Worker threads: "auto" (one per core that the process may use) or 1 to 1024. Default
    /// "auto".
    #[schemars(extend("examples" = ["auto", 4]))]
    pub(super) workers: Key<TextOrNumber>,
    /// Kernel interface that moves the bytes. Default "auto".
    pub(super) driver: Key<Driver>,
    /// How long a stop waits for what is in flight, 0s to 1h. Default "30s".
    pub(super) drain_timeout: Key<DurationText>,
    /// Directory for what must outlast the process: changes made through the control API and the
    /// key of stickiness cookies. Default: none, and both end with the process; an upgrade hands on
    /// the changes even then, but not the key.
    #[schemars(extend("examples" = ["/var/lib/ringway"]))]
    pub(super) state_dir: Key<String>,
    /// Where the control API listens. Default: the Unix socket /run/ringway/control.sock, if it can
    /// be had.
    #[schemars(extend("examples" = [{ "socket": "/run/ringway/control.sock" }]))]
    pub(super) control: Key<ControlApi>,
    /// Export of requests as spans of distributed traces, to a collector that speaks OTLP over
    /// HTTP. Text alone is its endpoint. Default: none.
    #[schemars(extend("examples" = [{ "endpoint": "http://127.0.0.1:4318" }]))]
    pub(super) tracing: Key<Brief<Tracing>>,
}

/// Export of requests as spans of distributed traces.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tracing {
    /// Where the collector takes OTLP over HTTP: http://, its IP address and port, and a path if it
    /// is not /v1/traces. Required.
    #[schemars(required, extend("examples" = ["http://127.0.0.1:4318"]))]
    pub(super) endpoint: Key<String>,
    /// One in so many requests becomes a span, 1 to 1000000000; those that come with a traceparent
    /// say themselves whether they do. Default 100.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    #[schemars(extend("examples" = [100]))]
    pub(super) sample_one_in: Key<u32>,
    /// Name of the service that spans are of, 1 to 255 bytes. Default "ringway".
    #[schemars(extend("examples" = ["ringway"]))]
    pub(super) service: Key<String>,
}

/// Where the control API listens: on a Unix socket, a TCP address, or both.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlApi {
    /// Path of a Unix socket, at most 107 bytes; made with mode 0660. Default: none.
    #[schemars(extend("examples" = ["/run/ringway/control.sock"]))]
    pub(super) socket: Key<String>,
    /// IP address and port; one that is not a loopback address needs token_file. Default: none.
    #[schemars(extend("examples" = ["127.0.0.1:9900"]))]
    pub(super) address: Key<String>,
    /// File whose first line is the bearer token that requests to the address must bring.
    /// Default: none, and loopback addresses ask for no token.
    #[schemars(extend("examples" = ["/etc/ringway/token"]))]
    pub(super) token_file: Key<String>,
    /// IP address and port where anybody may read /metrics, /healthz and /readyz, and nothing else.
    /// Default: none; they are at the other doors too.
    #[schemars(extend("examples" = ["0.0.0.0:9901"]))]
    pub(super) metrics_address: Key<String>,
}

/// Kernel interface that moves the bytes.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Driver {
    /// io_uring where it works, else epoll with a warning.
    Auto,
    /// io_uring, or refuse to start.
    IoUring,
    /// epoll, also where io_uring would work.
    Epoll,
}
