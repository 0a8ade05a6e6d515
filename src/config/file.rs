//! The configuration file as types: which keys exist, what they may hold, what they mean.
//!
//! These types are the one source of the JSON Schema, of the structural check (`structure`) and
//! of the parser; their doc comments are what an editor shows the operator, so they give unit,
//! range and default. They hold text that is not yet understood; `lower` turns it into a
//! [`crate::model::Model`]. Every key is optional here, also the required ones, so that one
//! missing key does not hide the mistakes beside it. Start with [`Config`].

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use crate::model::{
    LISTENERS_MAX, Priority, RULES_PER_LISTENER_MAX, TARGET_GROUPS_MAX, TARGETS_PER_GROUP_MAX,
    Weight,
};

/// What a duration looks like; the schema's mark of a duration, too.
pub(super) const DURATION_PATTERN: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

/// A value and where it stands in the file, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) at: Range<usize>,
    pub(super) value: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { at: spanned.span(), value: spanned.into_inner() })
    }
}

/// `Located<T>` looks in the file exactly as `T`.
impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A list; in the file one value may stand for a list of one. `structure` widens it.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Many<T>(pub(super) Vec<Located<T>>);

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Many_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [item, { "type": "array", "items": item }] })
    }
}

/// A table; in the file text may stand for a table with just its one required key. `structure`
/// widens it.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Brief<T>(pub(super) T);

impl<T: JsonSchema> JsonSchema for Brief<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Brief_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

/// A duration such as `"30s"`, `"500ms"` or `"1h30m"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct DurationText(pub(super) String);

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Hours, minutes, seconds, milliseconds, such as 30s, 500ms or 1h30m.",
            "pattern": DURATION_PATTERN,
            "minLength": 1,
            "examples": ["30s", "500ms", "1h30m"],
        })
    }
}

/// Text, or a whole number that is read as its digits.
#[derive(Debug, Clone)]
pub(super) struct TextOrNumber(pub(super) String);

impl<'de> Deserialize<'de> for TextOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = TextOrNumber;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text or a whole number")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(text.into()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(number.to_string()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<TextOrNumber, E> {
                Ok(TextOrNumber(number.to_string()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for TextOrNumber {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "TextOrNumber".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0, "maximum": 65_535 })
    }
}

/// A key that need not be there.
pub(super) type Key<T> = Option<Located<T>>;

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

/// Targets that share an algorithm, time limits and a health check.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetGroup {
    /// Unique name: 1 to 64 letters, digits, `-`, `_`, `.`. Required.
    #[schemars(required, extend("examples" = ["blog"]))]
    pub(super) name: Key<String>,
    /// How a target is chosen. Default "round_robin".
    pub(super) algorithm: Key<Algorithm>,
    /// Addresses that serve requests: "ADDRESS:PORT", or a table with a weight; at most 1,000. IP
    /// addresses only, names are not resolved. Default: none, and requests are answered with 503.
    #[serde(default)]
    #[schemars(length(max = TARGETS_PER_GROUP_MAX))]
    #[schemars(extend("examples" = [["127.0.0.1:8081"]]))]
    pub(super) targets: Vec<Located<Brief<Target>>>,
    /// Longest wait for a TCP connection to a target, 10ms to 10m; then 504. Default "10s".
    pub(super) connect_timeout: Key<DurationText>,
    /// Longest silence of a target that owes a response, 100ms to 24h; then 504. Default "60s".
    pub(super) response_timeout: Key<DurationText>,
    /// How long an unused connection to a target is kept, 100ms to 24h. Keep it shorter than the
    /// target's own limit. Default "60s".
    pub(super) idle_timeout: Key<DurationText>,
    /// Most unused connections kept per target and worker, 0 to 65536. Default 1024.
    #[schemars(range(min = 0, max = 65_536))]
    pub(super) idle_connections_max: Key<u32>,
    /// Whether a request that failed may be tried again. Default "safe".
    pub(super) retry: Key<Retry>,
    /// How long a deregistered target may finish what it has in flight, 0s to 3600s. Default
    /// "300s".
    pub(super) deregistration_delay: Key<DurationText>,
    /// How long a target that turned healthy takes to reach its full share: 0s (at once) or 30s to
    /// 900s; only with algorithm "round_robin". Default "0s".
    pub(super) slow_start: Key<DurationText>,
    /// How targets are probed. Default: every key at its default.
    pub(super) health_check: Key<HealthCheck>,
}

/// How a target is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Algorithm {
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
pub(super) enum Retry {
    /// When a second try is harmless: the connection was never made, or a reused connection closed
    /// before the first byte of the response to an idempotent request.
    Safe,
    /// Never, as AWS ALB.
    Never,
}

/// An address that serves requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// IP address and port; IPv6 in brackets. Required.
    #[schemars(required, extend("examples" = ["127.0.0.1:8081", "[::1]:8081"]))]
    pub(super) address: Key<String>,
    /// Share of the group's traffic, 0 to 999; 0: no new traffic. Default 1.
    #[schemars(range(max = Weight::MAX))]
    pub(super) weight: Key<u16>,
}

/// How targets are probed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthCheck {
    /// What a probe speaks. Default "http".
    pub(super) protocol: Key<ProbeProtocol>,
    /// Port that is probed: "traffic-port" (the target's own) or 1 to 65535. Default
    /// "traffic-port".
    #[schemars(extend("examples" = ["traffic-port", 9000]))]
    pub(super) port: Key<TextOrNumber>,
    /// Path of an HTTP probe, beginning with `/`, query allowed, at most 1024 bytes. Default "/".
    #[schemars(extend("examples" = ["/healthz"]))]
    pub(super) path: Key<String>,
    /// Time between the starts of two probes of one target, 100ms to 300s. Default "30s".
    pub(super) interval: Key<DurationText>,
    /// Longest wait for the answer, 10ms to 120s and less than the interval. Default "5s".
    pub(super) timeout: Key<DurationText>,
    /// Successes in a row that make an unhealthy target healthy, 1 to 10. Default 5.
    #[schemars(range(min = 1, max = 10))]
    pub(super) healthy_threshold: Key<u32>,
    /// Failures in a row that make a healthy target unhealthy, 1 to 10. Default 2.
    #[schemars(range(min = 1, max = 10))]
    pub(super) unhealthy_threshold: Key<u32>,
    /// Statuses that count as success, 200 to 599: "200", "200,202", "200-204,301". Default
    /// "200-299".
    #[schemars(extend("examples" = ["200-299"]))]
    pub(super) matcher: Key<TextOrNumber>,
}

/// What a probe speaks.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProbeProtocol {
    /// An HTTP/1.1 GET whose status the matcher accepts succeeds.
    Http,
    /// A TCP connection that is made succeeds.
    Tcp,
}

/// An address, a mode, and what to do with what arrives there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    /// Unique name: 1 to 64 letters, digits, `-`, `_`, `.`. Required.
    #[schemars(required, extend("examples" = ["web"]))]
    pub(super) name: Key<String>,
    /// IP address and port to listen on; "0.0.0.0" and "[::]" are all addresses, port 0 is a free
    /// port that the kernel chooses. Required.
    #[schemars(required, extend("examples" = ["0.0.0.0:80", "[::]:80"]))]
    pub(super) address: Key<String>,
    /// Layer at which the listener works. Default "l7".
    pub(super) mode: Key<Mode>,
    /// Action for what no rule matches, and for every connection of mode l4. Required.
    #[schemars(required, extend("examples" = [{ "forward": "blog" }]))]
    pub(super) default: Key<DefaultAction>,
    /// Longest silence of a connection, 100ms to 24h. Default "60s".
    pub(super) idle_timeout: Key<DurationText>,
    /// Longest wait for a whole request head after its first byte, 100ms to 24h; then 408. Mode
    /// l7. Default "60s".
    pub(super) head_timeout: Key<DurationText>,
    /// Age at which a client connection is asked to close, 1s to 168h. Mode l7. Default "3600s".
    pub(super) client_keep_alive: Key<DurationText>,
    /// PROXY protocol header sent to targets at the start of each connection. Mode l4. Default:
    /// none.
    pub(super) proxy_protocol: Key<ProxyProtocol>,
    /// Whether each connection must begin with a PROXY protocol header (v1 or v2) of the front it
    /// comes from. Default false.
    pub(super) accept_proxy_protocol: Key<bool>,
    /// Fronts whose PROXY protocol header is believed: CIDR blocks or addresses; connections from
    /// elsewhere are closed. Only with accept_proxy_protocol = true. Default: any peer.
    #[schemars(extend("examples" = [["10.0.0.0/8"]]))]
    pub(super) trusted_fronts: Key<Many<String>>,
    /// What happens to X-Forwarded-For. Mode l7. Default "append".
    pub(super) xff_header_processing: Key<XffProcessing>,
    /// Whether X-Forwarded-For gets the client's port, too. Mode l7. Default false.
    pub(super) xff_client_port: Key<bool>,
    /// Whether Host reaches the target byte for byte. Mode l7. Default false.
    pub(super) preserve_host_header: Key<bool>,
    /// Whether header fields whose name is not letters, digits and hyphens are removed. Mode l7.
    /// Default false.
    pub(super) drop_invalid_header_fields: Key<bool>,
    /// What happens to requests that deviate from the standard harmlessly; ambiguous framing is
    /// refused always. Mode l7. Default "defensive".
    pub(super) desync_mitigation_mode: Key<DesyncMitigation>,
    /// Server field of the responses that ringway makes itself, at most 128 bytes; "": no such
    /// field. Mode l7. Default "ringway".
    pub(super) server_header: Key<String>,
    /// Rules, evaluated in ascending priority; the first whose conditions all hold decides. Mode
    /// l7.
    #[serde(default)]
    #[schemars(length(max = RULES_PER_LISTENER_MAX))]
    pub(super) rules: Vec<Located<Rule>>,
}

/// Layer at which a listener works.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// HTTP: each request is routed on its own (AWS ALB).
    L7,
    /// TCP: each connection is bound to one target and never read (AWS Classic ELB).
    L4,
}

/// Version of the PROXY protocol header.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProxyProtocol {
    /// Text (AWS Classic ELB).
    V1,
    /// Binary (AWS NLB).
    V2,
}

/// What happens to X-Forwarded-For.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum XffProcessing {
    /// The client's address is appended; the field is created where absent.
    Append,
    /// Left as it came; not created.
    Preserve,
    /// Removed.
    Remove,
}

/// What happens to requests that deviate from the standard harmlessly.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DesyncMitigation {
    /// Harmless deviations are forwarded.
    Defensive,
    /// Every deviation is answered with 400.
    Strictest,
}

/// What happens to a request that no rule matches: exactly one of the three keys.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DefaultAction {
    /// Name of a target group, or one to five groups with weights.
    pub(super) forward: Key<Many<Brief<Share>>>,
    /// Answer with another address.
    pub(super) redirect: Key<Redirect>,
    /// Answer with a fixed body.
    pub(super) fixed_response: Key<FixedResponse>,
}

/// Conditions, all of which must hold, and exactly one action: forward, redirect or
/// fixed_response.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Rank, 1 to 50000; lower is evaluated first; unique within the listener. Required.
    #[schemars(required, range(min = 1, max = Priority::MAX), extend("examples" = [10]))]
    pub(super) priority: Key<u16>,
    /// Path without query, case matters; `*` is any run of characters, `?` exactly one; at most
    /// 128 bytes. One text or a list of which one must match.
    #[schemars(extend("examples" = ["/blog/*"]))]
    pub(super) path_pattern: Key<Many<String>>,
    /// Like path_pattern, as regular expressions: they match anywhere unless anchored.
    #[schemars(extend("examples" = ["^/v[0-9]+/"]))]
    pub(super) path_regex: Key<Many<String>>,
    /// Host without port, letters in any case; `*` and `?` as in path_pattern.
    #[schemars(extend("examples" = ["*.example.com"]))]
    pub(super) host_header: Key<Many<String>>,
    /// Like host_header, as regular expressions.
    #[schemars(extend("examples" = ["^(www|shop)[.]example[.]com$"]))]
    pub(super) host_regex: Key<Many<String>>,
    /// A header field and what its value must match, letters in any case. A list means that each
    /// of its conditions must hold.
    #[schemars(extend("examples" = [{ "name": "User-Agent", "values": ["*Chrome*"] }]))]
    pub(super) http_header: Key<Many<HeaderCondition>>,
    /// Request methods, case matters: `A` to `Z`, `-`, `_`, at most 40 bytes.
    #[schemars(extend("examples" = [["GET", "HEAD"]]))]
    pub(super) http_request_method: Key<Many<String>>,
    /// Pairs of the query, letters in any case: a value, or a table with key and value; `*` and
    /// `?` as in path_pattern, escaped with a backslash.
    #[schemars(extend("examples" = [{ "key": "version", "value": "v1" }]))]
    pub(super) query_string: Key<Many<Brief<QueryPair>>>,
    /// Address of the client's connection: CIDR blocks or addresses; never X-Forwarded-For.
    #[schemars(extend("examples" = ["192.0.2.0/24"]))]
    pub(super) source_ip: Key<Many<String>>,
    /// Name of a target group, or one to five groups with weights.
    #[schemars(extend("examples" = ["blog"]))]
    pub(super) forward: Key<Many<Brief<Share>>>,
    /// Answer with another address.
    pub(super) redirect: Key<Redirect>,
    /// Answer with a fixed body.
    pub(super) fixed_response: Key<FixedResponse>,
}

/// A header field and what its value must match: values or regex, not both.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderCondition {
    /// Name of the field, at most 40 bytes, no wildcards, not Host. Required.
    #[schemars(required, extend("examples" = ["User-Agent"]))]
    pub(super) name: Key<String>,
    /// Patterns with `*` and `?`; one must match the whole value.
    #[schemars(extend("examples" = ["*Chrome*"]))]
    pub(super) values: Key<Many<String>>,
    /// Regular expressions; one must match.
    #[schemars(extend("examples" = ["^2[.]"]))]
    pub(super) regex: Key<Many<String>>,
}

/// A pair of the query.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryPair {
    /// Pattern of the key. Default: any key.
    #[schemars(extend("examples" = ["version"]))]
    pub(super) key: Key<String>,
    /// Pattern of the value. Required.
    #[schemars(required, extend("examples" = ["v1"]))]
    pub(super) value: Key<String>,
}

/// A target group and its share.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Share {
    /// Name of a target group. Required.
    #[schemars(required, extend("examples" = ["blog"]))]
    pub(super) target_group: Key<String>,
    /// Share of the requests, 0 to 999; 0: no new traffic. Default 1.
    #[schemars(range(max = Weight::MAX))]
    pub(super) weight: Key<u16>,
}

/// An answer with another address. At least one of protocol, host, port, path must differ from
/// the request's.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Redirect {
    /// "http", "https" or "#{protocol}". Default "#{protocol}".
    #[schemars(extend("examples" = ["https"]))]
    pub(super) protocol: Key<String>,
    /// Host; may hold #{host}. Default "#{host}".
    #[schemars(extend("examples" = ["www.#{host}"]))]
    pub(super) host: Key<String>,
    /// Port, 1 to 65535, or "#{port}". Default "#{port}".
    #[schemars(extend("examples" = ["443"]))]
    pub(super) port: Key<TextOrNumber>,
    /// Path, beginning with `/`; may hold #{host}, #{port}, #{path} (which has no leading slash).
    /// Default "/#{path}".
    #[schemars(extend("examples" = ["/new/#{path}"]))]
    pub(super) path: Key<String>,
    /// Query without `?`; may hold every placeholder. Default "#{query}".
    #[schemars(extend("examples" = ["#{query}"]))]
    pub(super) query: Key<String>,
    /// Status: 301, 302, 303, 307 or 308. Required.
    #[schemars(required, extend("enum" = [301, 302, 303, 307, 308], "examples" = [301]))]
    pub(super) status: Key<u16>,
}

/// An answer with a fixed body.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FixedResponse {
    /// Status: 200 to 299 or 400 to 599. Required.
    #[schemars(required, range(min = 200, max = 599), extend("examples" = [404]))]
    pub(super) status: Key<u16>,
    /// Media type of the body. Default "text/plain".
    #[schemars(extend("examples" = ["text/plain"]))]
    pub(super) content_type: Key<String>,
    /// Body, at most 65536 bytes. Default: empty.
    #[schemars(extend("examples" = ["not here"]))]
    pub(super) body: Key<String>,
}
