//! Target groups: targets, attributes, health checks.

use schemars::JsonSchema;
use serde::Deserialize;

use super::form::{Brief, DurationText, Key, Located, Switch, TextOrNumber};
use crate::model::{TARGETS_PER_GROUP_MAX, Weight};

/// Targets that share an algorithm, time limits and a health check.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TargetGroup {
    /// Unique name: 1 to 64 letters, digits, `-`, `_`, `.`. Required.
    #[schemars(required, extend("examples" = ["blog"]))]
    pub(in crate::config) name: Key<String>,
    /// Which HTTP the targets speak to l7 listeners and to HTTP probes. Default "HTTP1".
    pub(in crate::config) protocol_version: Key<ProtocolVersion>,
    /// How a target is chosen. Default "round_robin".
    pub(in crate::config) algorithm: Key<Algorithm>,
    /// Addresses that serve requests: "ADDRESS:PORT", or a table with a weight; at most 1,000. IP
    /// addresses only, names are not resolved. Default: none, and requests are answered with 503.
    #[serde(default)]
    #[schemars(length(max = TARGETS_PER_GROUP_MAX))]
    #[schemars(extend("examples" = [["127.0.0.1:8081"]]))]
    pub(in crate::config) targets: Vec<Located<Brief<Target>>>,
    /// What targets speak: "HTTPS" and "TLS" inside TLS. Listeners of both modes may forward to any
    /// group; one of mode l7 always speaks HTTP. Default "HTTP".
    pub(in crate::config) protocol: Key<TargetProtocol>,
    /// How targets are verified, for protocol "HTTPS" and "TLS" and such health checks. Default:
    /// fully, against those whom the system trusts, by the address of the target.
    #[schemars(extend("examples" = [{ "ca": "/etc/ringway/targets-ca.pem" }]))]
    pub(in crate::config) tls: Key<TargetTls>,
    /// Longest wait for a connection to a target, its TLS session included, 10ms to 10m; then 504.
    /// Default "10s".
    pub(in crate::config) connect_timeout: Key<DurationText>,
    /// Longest silence of a target that owes a response, 100ms to 24h; then 504. Default "60s".
    pub(in crate::config) response_timeout: Key<DurationText>,
    /// How long an unused connection to a target is kept, 100ms to 24h. Keep it shorter than the
    /// target's own limit. Default "60s".
    pub(in crate::config) idle_timeout: Key<DurationText>,
    /// Most unused connections kept per target, by all workers together, 0 to 65536. Default
    /// 4096.
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
    /// How clients are bound to targets; not with algorithm "weighted_random". Default: they are
    /// not.
    #[schemars(extend("examples" = [{ "type": "lb_cookie" }]))]
    pub(in crate::config) stickiness: Key<Stickiness>,
    /// With fewer healthy targets than this, all that are not draining are used (fail open).
    /// Default: count = 1.
    #[schemars(extend("examples" = [{ "count": 1 }]))]
    pub(in crate::config) healthy_min: Key<HealthyMin>,
    /// Whether targets that fail more than their peers get less; only with algorithm
    /// "weighted_random". Default false.
    pub(in crate::config) anomaly_mitigation: Key<bool>,
    /// Whether connections of mode l4 to a deregistered target are cut when its
    /// deregistration_delay ends. Default false.
    pub(in crate::config) connection_termination: Key<bool>,
    /// Whether and when failures of the traffic itself take a target out for a while: false, true
    /// (every key at its default) or a table. Default false.
    #[schemars(extend("examples" = [true]))]
    pub(in crate::config) outlier_detection: Key<Switch<OutlierDetection>>,
}

/// Which HTTP targets speak.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(in crate::config) enum ProtocolVersion {
    /// HTTP/1.1.
    #[serde(rename = "HTTP1", alias = "http1")]
    Http1,
    /// HTTP/2, over few connections with many requests at once.
    #[serde(rename = "HTTP2", alias = "http2")]
    Http2,
    /// HTTP/2 as gRPC uses it; other requests than POST over HTTP/2 get 464.
    #[serde(rename = "GRPC", alias = "grpc")]
    Grpc,
}

/// How clients are bound to targets.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Stickiness {
    /// By what a client is known. Required.
    #[schemars(required, extend("examples" = ["lb_cookie"]))]
    pub(in crate::config) r#type: Key<StickinessType>,
    /// How long after its last request a client stays bound, 1s to 604800s (7 days). Types
    /// lb_cookie and app_cookie. Default "86400s".
    pub(in crate::config) duration: Key<DurationText>,
    /// Name of the application's cookie, not beginning with AWSALB. Required for type app_cookie.
    #[schemars(extend("examples" = ["JSESSIONID"]))]
    pub(in crate::config) cookie_name: Key<String>,
}

/// By what a client is known.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum StickinessType {
    /// A cookie of ringway, AWSALB. Mode l7.
    LbCookie,
    /// A cookie of ringway, AWSALBAPP-0, from the first response that sets the application's
    /// cookie. Mode l7.
    AppCookie,
    /// The client's address. Mode l4.
    SourceIp,
}

/// With fewer healthy targets than either says, all that are not draining are used (fail open).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HealthyMin {
    /// Least number of healthy targets, 1 to 1000. Default 1.
    #[schemars(range(min = 1, max = TARGETS_PER_GROUP_MAX))]
    pub(in crate::config) count: Key<u32>,
    /// Least share of healthy targets among the registered ones, 1 to 100. Default: none.
    #[schemars(range(min = 1, max = 100), extend("examples" = [50]))]
    pub(in crate::config) percentage: Key<u8>,
}

/// When failures of the traffic itself take a target out for a while.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct OutlierDetection {
    /// Failures in a row that eject a target: connections not made, responses 500 to 599; 1 to
    /// 1000. Default 5.
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) consecutive_failures: Key<u32>,
    /// Length of the first ejection; each further one is longer by this; 1s to 1h. Default "30s".
    pub(in crate::config) base_ejection: Key<DurationText>,
    /// Longest ejection, 1s to 24h, not less than base_ejection. Default "300s".
    pub(in crate::config) max_ejection: Key<DurationText>,
    /// Largest share of the group's targets that may be ejected at once, 1 to 100. Default 50.
    #[schemars(range(min = 1, max = 100))]
    pub(in crate::config) max_ejected_percentage: Key<u8>,
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

/// What targets speak, as AWS spells it; any case is accepted.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::config) enum TargetProtocol {
    /// HTTP, or what a listener of mode l4 passes on.
    Http,
    /// The same inside TLS.
    Https,
    /// What a listener of mode l4 passes on. As HTTP, but probed by TCP unless the health check
    /// says otherwise.
    Tcp,
    /// The same inside TLS.
    Tls,
}

/// How targets are verified.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TargetTls {
    /// Whether the certificate of a target is verified. Default "full".
    pub(in crate::config) verify: Key<Verify>,
    /// PEM file with the certificates of those who may vouch for targets. It is looked at once a
    /// second and read again when it has changed. Default: those whom the system trusts.
    #[schemars(extend("examples" = ["/etc/ringway/targets-ca.pem"]))]
    pub(in crate::config) ca: Key<String>,
    /// Name that each target is asked for (SNI) and that its certificate must be for: a host name
    /// or an IP address. Default: the address of the target, and no name is asked for.
    #[schemars(extend("examples" = ["blog.internal"]))]
    pub(in crate::config) server_name: Key<String>,
}

/// Whether the certificate of a target is verified.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Verify {
    /// Its chain, dates and name.
    Full,
    /// Not at all, as AWS ALB: whoever answers in its place is taken for the target.
    None,
}

/// How targets are probed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HealthCheck {
    /// Whether targets are probed; if not, they count as healthy. Default true.
    pub(in crate::config) enabled: Key<bool>,
    /// What a probe speaks. Default: the protocol of the group.
    pub(in crate::config) protocol: Key<ProbeProtocol>,
    /// Port that is probed: "traffic-port" (the target's own) or 1 to 65535. Default
    /// "traffic-port".
    #[schemars(extend("examples" = ["traffic-port", 9000]))]
    pub(in crate::config) port: Key<TextOrNumber>,
    /// Path of an HTTP probe, beginning with `/`, query allowed, at most 1024 bytes; of a gRPC
    /// probe the method, as in "/grpc.health.v1.Health/Check". Default "/", with protocol_version
    /// "GRPC" "/AWS.ALB/healthcheck".
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
    /// "200-299". With protocol_version "GRPC" codes of gRPC, 0 to 99: "0", "0-99"; default "12".
    #[schemars(extend("examples" = ["200-299"]))]
    pub(in crate::config) matcher: Key<TextOrNumber>,
}

/// What a probe speaks.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ProbeProtocol {
    /// A GET whose status the matcher accepts succeeds; with protocol_version "GRPC" a call whose
    /// code it accepts.
    Http,
    /// A TCP connection that is made succeeds.
    Tcp,
    /// As http, inside TLS; the target is verified as `tls` of the group says.
    Https,
    /// A TLS session that is made succeeds; verified as with https.
    Tls,
}
