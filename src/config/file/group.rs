//! Target groups: targets, attributes, health checks.

use schemars::JsonSchema;
use serde::Deserialize;

use super::form::{Brief, DurationText, Key, Located, TextOrNumber};
use crate::model::{TARGETS_PER_GROUP_MAX, Weight};

/// Targets that share an algorithm, time limits and a health check.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TargetGroup {
    /// Unique name: 1 to 64 letters, digits, `-`, `_`, `.`. Required.
    #[schemars(required, extend("examples" = ["blog"]))]
    pub(in crate::config) name: Key<String>,
    /// How a target is chosen. Default "round_robin".
    pub(in crate::config) algorithm: Key<Algorithm>,
    /// Addresses that serve requests: "ADDRESS:PORT", or a table with a weight; at most 1,000. IP
    /// addresses only, names are not resolved. Default: none, and requests are answered with 503.
    #[serde(default)]
    #[schemars(length(max = TARGETS_PER_GROUP_MAX))]
    #[schemars(extend("examples" = [["127.0.0.1:8081"]]))]
    pub(in crate::config) targets: Vec<Located<Brief<Target>>>,
    /// Longest wait for a TCP connection to a target, 10ms to 10m; then 504. Default "10s".
    pub(in crate::config) connect_timeout: Key<DurationText>,
    /// Longest silence of a target that owes a response, 100ms to 24h; then 504. Default "60s".
    pub(in crate::config) response_timeout: Key<DurationText>,
    /// How long an unused connection to a target is kept, 100ms to 24h. Keep it shorter than the
    /// target's own limit. Default "60s".
    pub(in crate::config) idle_timeout: Key<DurationText>,
    /// Most unused connections kept per target and worker, 0 to 65536. Default 1024.
    #[schemars(range(min = 0, max = 65_536))]
    pub(in crate::config) idle_connections_max: Key<u32>,
    /// Whether a request that failed may be tried again. Default "safe".
    pub(in crate::config) retry: Key<Retry>,
    /// How long a deregistered target may finish what it has in flight, 0s to 3600s. Default
    /// "300s".
    pub(in crate::config) deregistration_delay: Key<DurationText>,
    /// How long a target that turned healthy takes to reach its full share: 0s (at once) or 30s to
    /// 900s; only with algorithm "round_robin". Default "0s".
    pub(in crate::config) slow_start: Key<DurationText>,
    /// How targets are probed. Default: every key at its default.
    pub(in crate::config) health_check: Key<HealthCheck>,
}

/// How a target is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Algorithm {
    /// In turn, each as often as its weight says.
    RoundRobin,
    /// The target with the fewest requests (mode l4: connections) in flight per weight.
    LeastOutstandingRequests,
    /// At random, by weight.
    WeightedRandom,
}

/// Whether a request that failed may be tried again.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Retry {
    /// When a second try is harmless: the connection was never made, or a reused connection closed
    /// before the first byte of the response to an idempotent request.
    Safe,
    /// Never, as AWS ALB.
    Never,
}

/// An address that serves requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Target {
    /// IP address and port; IPv6 in brackets. Required.
    #[schemars(required, extend("examples" = ["127.0.0.1:8081", "[::1]:8081"]))]
    pub(in crate::config) address: Key<String>,
    /// Share of the group's traffic, 0 to 999; 0: no new traffic. Default 1.
    #[schemars(range(max = Weight::MAX))]
    pub(in crate::config) weight: Key<u16>,
}

/// How targets are probed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HealthCheck {
    /// What a probe speaks. Default "http".
    pub(in crate::config) protocol: Key<ProbeProtocol>,
    /// Port that is probed: "traffic-port" (the target's own) or 1 to 65535. Default
    /// "traffic-port".
    #[schemars(extend("examples" = ["traffic-port", 9000]))]
    pub(in crate::config) port: Key<TextOrNumber>,
    /// Path of an HTTP probe, beginning with `/`, query allowed, at most 1024 bytes. Default "/".
    #[schemars(extend("examples" = ["/healthz"]))]
    pub(in crate::config) path: Key<String>,
    /// Time between the starts of two probes of one target, 100ms to 300s. Default "30s".
    pub(in crate::config) interval: Key<DurationText>,
    /// Longest wait for the answer, 10ms to 120s and less than the interval. Default "5s".
    pub(in crate::config) timeout: Key<DurationText>,
    /// Successes in a row that make an unhealthy target healthy, 1 to 10. Default 5.
    #[schemars(range(min = 1, max = 10))]
    pub(in crate::config) healthy_threshold: Key<u32>,
    /// Failures in a row that make a healthy target unhealthy, 1 to 10. Default 2.
    #[schemars(range(min = 1, max = 10))]
    pub(in crate::config) unhealthy_threshold: Key<u32>,
    /// Statuses that count as success, 200 to 599: "200", "200,202", "200-204,301". Default
    /// "200-299".
    #[schemars(extend("examples" = ["200-299"]))]
    pub(in crate::config) matcher: Key<TextOrNumber>,
}

/// What a probe speaks.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ProbeProtocol {
    /// An HTTP/1.1 GET whose status the matcher accepts succeeds.
    Http,
    /// A TCP connection that is made succeeds.
    Tcp,
}
