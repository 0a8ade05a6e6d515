//! What the operator asked for, valid by construction.
//!
//! A [`Model`] holds no text that still needs checking: names exist, addresses parse, patterns
//! compile, limits hold. `config` is the only room that makes one from a file. Nothing here does
//! I/O, reads a clock or draws a random number. Start with [`Model`], then [`Listener`] and
//! [`TargetGroup`].

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

mod access_log;
mod protocol_version;
mod server;
mod server_names;
mod tls;

pub use access_log::*;
pub use protocol_version::*;
pub use server::*;
pub use server_names::*;
pub use tls::*;

/// Longest request head that is buffered, in bytes (AWS ALB quota: 64 KB of request headers).
/// A longer one is answered with 400.
pub const REQUEST_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Longest request line, in bytes (AWS ALB quota: 16 KB). A longer one is answered with 414.
pub const REQUEST_LINE_BYTES_MAX: usize = 16 * 1024;
/// Longest single header field of a request, in bytes (AWS ALB quota: 16 KB); beyond it: 400.
pub const FIELD_BYTES_MAX: usize = 16 * 1024;
/// Longest response head that a target may send, in bytes (AWS ALB quota: 32 KB); beyond it: 502.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most header fields in one head. ALB counts bytes only; a bound keeps the parser's stack fixed.
pub const FIELDS_MAX: usize = 256;
/// Most addresses in X-Forwarded-For (AWS ALB quota); more are answered with 463.
pub const FORWARDED_FOR_ADDRESSES_MAX: usize = 30;
/// Longest `Location` a redirect may expand to, in bytes; beyond it: 507.
pub const LOCATION_BYTES_MAX: usize = 8 * 1024;
/// Most listeners in one model.
pub const LISTENERS_MAX: usize = 1_000;
/// Most target groups in one model (AWS: 3,000 per region).
pub const TARGET_GROUPS_MAX: usize = 3_000;
/// Most targets in one group (AWS: 1,000).
pub const TARGETS_PER_GROUP_MAX: usize = 1_000;
/// Most rules of one listener, the default rule not counted (AWS: 100 by default, adjustable).
pub const RULES_PER_LISTENER_MAX: usize = 10_000;
/// Most target groups in one weighted forward (AWS: 5).
pub const FORWARD_GROUPS_MAX: usize = 5;
/// Most condition values in one rule. AWS allows 5; here the operator may list more.
pub const CONDITION_VALUES_MAX: usize = 256;
/// Longest pattern or regular expression of a condition, in bytes (AWS: 128).
pub const PATTERN_BYTES_MAX: usize = 128;
/// Longest body of a fixed response, in bytes. AWS stops at 1,024.
pub const FIXED_BODY_BYTES_MAX: usize = 64 * 1024;

/// The whole of what the operator asked for.
#[derive(Debug, Clone)]
pub struct Model {
    /// Settings of the process.
    pub server: Server,
    /// Target groups, in the order of the file; names are unique.
    pub target_groups: Vec<TargetGroup>,
    /// Listeners, in the order of the file; names and addresses are unique.
    pub listeners: Vec<Listener>,
}

/// Index of a target group in [`Model::target_groups`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupIndex(pub u32);

/// Settings of the process.
#[derive(Debug, Clone)]
pub struct Server {
    /// How many worker threads.
    pub workers: Workers,
    /// Which kernel interface moves the bytes.
    pub driver: Driver,
    /// How long a stop waits for what is in flight; then it is cut.
    pub drain_timeout: Duration,
    /// Directory for what must outlast the process: changes made through the control API, the key
    /// of stickiness cookies. `None`: nothing outlasts it.
    pub state_dir: Option<PathBuf>,
    /// Where the control API listens.
    pub control: ControlApi,
    /// Where spans of requests go; `None`: nowhere.
    pub spans: Option<SpanExport>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            workers: Workers::Auto,
            driver: Driver::Auto,
            drain_timeout: Duration::from_secs(30),
            state_dir: None,
            control: ControlApi::default(),
            spans: None,
        }
    }
}

/// How many worker threads run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One per core that the process may use.
    Auto,
    /// This many.
    Count(NonZeroUsize),
}

/// Which kernel interface moves the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring where it works, else epoll with a warning.
    Auto,
    /// io_uring, or refuse to start.
    IoUring,
    /// epoll, also where io_uring would work.
    Epoll,
}

/// Targets that share an algorithm, time limits and health check.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetGroup {
    /// Unique name.
    pub name: String,
    /// Which HTTP its targets speak; means nothing to L4 listeners.
    pub protocol_version: ProtocolVersion,
    /// How a target is chosen.
    pub algorithm: Algorithm,
    /// Targets; addresses are unique within the group. May be empty: requests then get 503.
    pub targets: Vec<Target>,
    /// What they speak.
    pub protocol: TargetProtocol,
    /// How connections to them and probes are encrypted, where they are.
    pub tls: TargetTls,
    /// Longest wait for a TCP connection to a target (ALB: 10 s); then 504.
    pub connect_timeout: Duration,
    /// Longest silence of a target that owes a response (ALB: the idle timeout, 60 s); then 504.
    pub response_timeout: Duration,
    /// How long an unused connection to a target is kept (ALB: the idle timeout, 60 s).
    pub idle_timeout: Duration,
    /// Most unused connections kept per target, by all workers together.
    pub idle_connections_max: usize,
    /// Whether a request may be tried again.
    pub retry: Retry,
    /// How targets are probed.
    pub health_check: HealthCheck,
    /// How long a deregistered target may finish what it has in flight (0 s to 3,600 s).
    pub deregistration_delay: Duration,
    /// How long a target that turned healthy takes to reach its full share; zero: at once.
    pub slow_start: Duration,
    /// How clients are bound to targets.
    pub stickiness: Stickiness,
    /// Below which number of healthy targets all are used (fail open).
    pub healthy_min: HealthyMin,
    /// Whether targets that fail more than their peers get less (AWS:
    /// `load_balancing.algorithm.anomaly_mitigation`); weighted random only.
    pub anomaly_mitigation: bool,
    /// Whether L4 connections to a deregistered target are cut at the end of its delay (AWS:
    /// `deregistration_delay.connection_termination.enabled`).
    pub connection_termination: bool,
    /// Whether and when traffic itself takes a target out; beyond ALB.
    pub outlier_detection: Option<OutlierDetection>,
}

/// How clients are bound to targets of a group (AWS: `stickiness.*`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stickiness {
    /// They are not.
    #[default]
    Off,
    /// By a cookie of ours, `AWSALB`, for this long after the last request (1 s to 7 days).
    LbCookie(Duration),
    /// By a cookie of ours, `AWSALBAPP-0`, from the first response that sets the application's
    /// cookie of this name, for this long after the last request.
    AppCookie {
        /// Name of the application's cookie.
        name: String,
        /// How long after the last request.
        duration: Duration,
    },
    /// By their address; L4 listeners only.
    SourceIp,
}

/// Thresholds of routing failover (AWS: `target_group_health.unhealthy_state_routing.*`). With
/// fewer healthy targets than either says, all that are not draining are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthyMin {
    /// Least number of healthy targets, from 1.
    pub count: u32,
    /// Least share of healthy targets among the registered ones, 1 to 100; `None`: off.
    pub percentage: Option<u8>,
}

impl Default for HealthyMin {
    fn default() -> Self {
        Self { count: 1, percentage: None }
    }
}

/// When traffic itself takes a target out for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Failures in a row, connections refused and 5xx, that eject a target.
    pub consecutive_failures: u32,
    /// Length of the first ejection; each further one is longer by this.
    pub base_ejection: Duration,
    /// Longest ejection.
    pub max_ejection: Duration,
    /// Largest share of the group's targets that may be ejected at once, 1 to 100.
    pub max_ejected_percentage: u8,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_percentage: 50,
        }
    }
}

impl TargetGroup {
    /// A group with every attribute at its default.
    #[must_use]
    pub fn new(name: impl Into<String>, targets: Vec<Target>) -> Self {
        Self {
            name: name.into(),
            protocol_version: ProtocolVersion::Http1,
            algorithm: Algorithm::RoundRobin,
            targets,
            protocol: TargetProtocol::default(),
            tls: TargetTls::default(),
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            idle_connections_max: 4096,
            retry: Retry::Safe,
            health_check: HealthCheck::default(),
            deregistration_delay: Duration::from_secs(300),
            slow_start: Duration::ZERO,
            stickiness: Stickiness::Off,
            healthy_min: HealthyMin::default(),
            anomaly_mitigation: false,
            connection_termination: false,
            outlier_detection: None,
        }
    }
}

/// How a target of a group is chosen (AWS: `load_balancing.algorithm.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// In turn, each as often as its weight says.
    RoundRobin,
    /// The one with the fewest requests (L4: connections) in flight per weight; ties in turn.
    LeastOutstandingRequests,
    /// At random, by weight.
    WeightedRandom,
}

/// Whether a request that failed may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// When a second try is harmless: the connection was never made, or a reused connection
    /// closed before the first response byte of an idempotent request.
    Safe,
    /// Never, as ALB.
    Never,
}

/// An address and port that serves requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share; zero: no new traffic.
    pub weight: Weight,
}

/// A share of traffic, 0 to 999 (AWS: weights of a forward action).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// The greatest weight.
    pub const MAX: u16 = 999;
    /// The weight of a target or group that names none.
    pub const ONE: Self = Self(1);

    /// The weight `value`, or `None` above [`Weight::MAX`].
    #[must_use]
    pub fn new(value: u16) -> Option<Self> {
        (value <= Self::MAX).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> u16 {
        self.0
    }
}

/// How targets of a group are probed (AWS: section "Health checks" of the user guide).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Whether targets are probed; if not, they count as healthy.
    pub enabled: bool,
    /// What a probe speaks.
    pub protocol: ProbeProtocol,
    /// Which HTTP an HTTP probe speaks: that of the group.
    pub version: ProtocolVersion,
    /// The port that is probed; `None`: the target's own (`traffic-port`).
    pub port: Option<u16>,
    /// Path and query of an HTTP probe, beginning with `/`.
    pub path: String,
    /// Time between the starts of two probes of one target (5 s to 300 s on AWS; here from 100 ms).
    pub interval: Duration,
    /// Longest wait for the answer; less than `interval`.
    pub timeout: Duration,
    /// Successes in a row that make an unhealthy target healthy.
    pub healthy_threshold: u32,
    /// Failures in a row that make a healthy target unhealthy.
    pub unhealthy_threshold: u32,
    /// Codes that count as success: HTTP's statuses, or gRPC's codes where targets speak gRPC.
    pub matcher: Matcher,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            enabled: true,
            protocol: ProbeProtocol::Http,
            version: ProtocolVersion::Http1,
            port: None,
            path: "/".into(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            healthy_threshold: 5,
            unhealthy_threshold: 2,
            matcher: Matcher(vec![(200, 299)]),
        }
    }
}

/// What a probe speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeProtocol {
    /// A TCP connection that is made succeeds.
    Tcp,
    /// A request whose code the matcher accepts succeeds: a GET and its status, or where targets
    /// speak gRPC a call with an empty message and its `grpc-status`.
    Http,
    /// A TLS session that is made succeeds.
    Tls,
    /// As [`ProbeProtocol::Http`], inside TLS.
    Https,
}

/// Codes that count as success: inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher(pub Vec<(u16, u16)>);

impl Matcher {
    /// Whether `code` counts as success.
    #[must_use]
    pub fn accepts(&self, code: u16) -> bool {
        self.0.iter().any(|&(low, high)| (low..=high).contains(&code))
    }
}

/// An address, a mode, and what to do with what arrives there.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Unique name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// L4 or L7.
    pub mode: Mode,
    /// What happens to a request that no rule matches, and to every L4 connection.
    pub default: Action,
    /// Rules in ascending priority; L7 only.
    pub rules: Vec<Rule>,
    /// Where L4 connections go by the name of the server that they ask for.
    pub server_names: Vec<ServerNames>,
    /// Longest silence of a connection (AWS: `idle_timeout.timeout_seconds`, 60 s).
    pub idle_timeout: Duration,
    /// Longest wait for a whole request head after its first byte; then 408.
    pub head_timeout: Duration,
    /// Age at which a client connection is asked to close (AWS: `client_keep_alive.seconds`).
    pub client_keep_alive: Duration,
    /// PROXY protocol header sent to targets at the start of each L4 connection.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// Fronts whose connections must begin with a PROXY protocol header, v1 or v2.
    /// `None`: no header is expected. A connection from elsewhere is closed.
    pub accept_proxy_protocol: Option<TrustedFronts>,
    /// How connections are encrypted; `None`: they are not.
    pub tls: Option<Tls>,
    /// How heads are treated; L7 only.
    pub http: HttpOptions,
    /// Where a line goes for each request (L4: connection); `None`: nowhere.
    pub access_log: Option<AccessLog>,
}

impl Listener {
    /// A listener with every attribute at its default.
    #[must_use]
    pub fn new(name: impl Into<String>, address: SocketAddr, mode: Mode, default: Action) -> Self {
        Self {
            name: name.into(),
            address,
            mode,
            default,
            rules: Vec::new(),
            server_names: Vec::new(),
            idle_timeout: Duration::from_secs(60),
            head_timeout: Duration::from_secs(60),
            client_keep_alive: Duration::from_secs(3600),
            proxy_protocol: None,
            accept_proxy_protocol: None,
            tls: None,
            http: HttpOptions::default(),
            access_log: None,
        }
    }
}

/// At which layer a listener works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Connections are bound 1:1 to target connections and never read (Classic ELB, TCP).
    L4,
    /// HTTP: each request is routed on its own (ALB).
    L7,
}

/// Version of the PROXY protocol header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocolVersion {
    /// Text (Classic ELB).
    V1,
    /// Binary (NLB).
    V2,
}

/// Addresses that may send a PROXY protocol header; empty: any peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedFronts(pub Vec<IpNet>);

impl TrustedFronts {
    /// Whether a connection from `peer` may bring a header.
    #[must_use]
    pub fn trusts(&self, peer: std::net::IpAddr) -> bool {
        self.0.is_empty() || self.0.iter().any(|net| net.contains(&peer))
    }
}

/// How heads are treated, under the names of the ALB attributes where such exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// `routing.http.xff_header_processing.mode`
    pub xff_header_processing: XffProcessing,
    /// `routing.http.xff_client_port.enabled`
    pub xff_client_port: bool,
    /// `routing.http.preserve_host_header.enabled`
    pub preserve_host_header: bool,
    /// `routing.http.drop_invalid_header_fields.enabled`
    pub drop_invalid_header_fields: bool,
    /// `routing.http.desync_mitigation_mode`
    pub desync_mitigation: DesyncMitigation,
    /// `routing.http.x_amzn_tls_version_and_cipher_suite.enabled`; needs TLS.
    pub tls_version_and_cipher_suite: bool,
    /// Whether HTTP/2 is offered to clients over TLS (`routing.http2.enabled`).
    pub http2: bool,
    /// Whether HTTP/2 is understood from clients without TLS, beside HTTP/1.1.
    pub h2c: bool,
    /// The `Server` field of the responses we make ourselves; `None`: no such field
    /// (`routing.http.response.server.enabled`).
    pub server_header: Option<String>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            xff_header_processing: XffProcessing::Append,
            xff_client_port: false,
            preserve_host_header: false,
            drop_invalid_header_fields: false,
            desync_mitigation: DesyncMitigation::Defensive,
            tls_version_and_cipher_suite: false,
            http2: true,
            h2c: false,
            server_header: Some("ringway".into()),
        }
    }
}

/// What happens to X-Forwarded-For.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XffProcessing {
    /// The client's address is appended; the field is created where absent.
    Append,
    /// Left as it came; not created.
    Preserve,
    /// Removed.
    Remove,
}

/// What happens to requests that deviate from the standard harmlessly. Ambiguous framing is
/// refused in either mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DesyncMitigation {
    /// Harmless deviations are forwarded.
    Defensive,
    /// Every deviation is answered with 400.
    Strictest,
}

/// Conditions and the action to take when all of them hold.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Lower is evaluated first; unique within the listener.
    pub priority: Priority,
    /// All must hold; at least one.
    pub conditions: Vec<Condition>,
    /// What to do.
    pub action: Action,
}

/// Rank of a rule, 1 to 50,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u16);

impl Priority {
    /// The greatest priority number.
    pub const MAX: u16 = 50_000;

    /// The priority `value`, or `None` outside 1 to 50,000.
    #[must_use]
    pub fn new(value: u16) -> Option<Self> {
        (1..=Self::MAX).contains(&value).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> u16 {
        self.0
    }
}

/// One condition of a rule; it holds when any of its values matches.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Host without port, letters in any case.
    HostHeader(Vec<TextMatch>),
    /// Path without query, case matters.
    PathPattern(Vec<TextMatch>),
    /// Any occurrence of the named field; name and value in any case.
    HttpHeader {
        /// Field name.
        name: String,
        /// Values.
        values: Vec<TextMatch>,
    },
    /// Request method, case matters.
    HttpRequestMethod(Vec<String>),
    /// Any key/value pair of the query, letters in any case.
    QueryString(Vec<QueryMatch>),
    /// Address of the client connection; never X-Forwarded-For.
    SourceIp(Vec<IpNet>),
}

/// How one value of a text condition is compared.
#[derive(Debug, Clone)]
pub enum TextMatch {
    /// The whole text, `*` for any run of characters and `?` for exactly one.
    Wildcard(Wildcard),
    /// A regular expression; matches anywhere unless anchored. Compiled with the case rule of
    /// the condition it stands in.
    Regex(regex::bytes::Regex),
}

/// A pattern with `*` (any run of characters, also none, also `/`) and `?` (exactly one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    /// The pattern's parts in order.
    pub tokens: Vec<WildcardToken>,
}

/// One part of a wildcard pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WildcardToken {
    /// These bytes.
    Literal(Vec<u8>),
    /// `?`
    AnyOne,
    /// `*`; never twice in a row.
    AnyRun,
}

impl Wildcard {
    /// Reads `pattern`. With `escapes` (query strings), `\*`, `\?` and `\\` are literals.
    #[must_use]
    pub fn parse(pattern: &str, escapes: bool) -> Self {
        let mut tokens = Vec::new();
        let mut literal = Vec::new();
        let mut bytes = pattern.bytes().peekable();
        while let Some(byte) = bytes.next() {
            let token = match byte {
                b'\\' if escapes && matches!(bytes.peek(), Some(b'*' | b'?' | b'\\')) => {
                    literal.extend(bytes.next());
                    continue;
                }
                b'*' => WildcardToken::AnyRun,
                b'?' => WildcardToken::AnyOne,
                other => {
                    literal.push(other);
                    continue;
                }
            };
            if !literal.is_empty() {
                tokens.push(WildcardToken::Literal(std::mem::take(&mut literal)));
            }
            if token != WildcardToken::AnyRun || tokens.last() != Some(&WildcardToken::AnyRun) {
                tokens.push(token);
            }
        }
        if !literal.is_empty() {
            tokens.push(WildcardToken::Literal(literal));
        }
        Self { tokens }
    }
}

/// One value of a query-string condition.
#[derive(Debug, Clone)]
pub struct QueryMatch {
    /// Key to look at; `None`: any.
    pub key: Option<Wildcard>,
    /// Value to compare with.
    pub value: Wildcard,
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// Send it to a target of a group.
    Forward(Forward),
    /// Answer with a `Location`.
    Redirect(Redirect),
    /// Answer with a fixed body.
    FixedResponse(FixedResponse),
}

/// Target groups that share the requests of a rule; one to five.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Groups and their shares. Groups do not fail over to one another.
    pub groups: Vec<(GroupIndex, Weight)>,
    /// How long a client stays with the group that it got first (AWS: `AWSALBTG`, 1 s to 7 days).
    pub stickiness: Option<Duration>,
}

/// A redirect; each part is a template over the request's own parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `http`, `https` or the request's.
    pub protocol: Template,
    /// Host.
    pub host: Template,
    /// Port.
    pub port: Template,
    /// Path; begins with `/`.
    pub path: Template,
    /// Query without `?`.
    pub query: Template,
}

/// Text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template(pub Vec<TemplatePart>);

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// These characters.
    Text(String),
    /// `#{protocol}`: `http` or `https`.
    Protocol,
    /// `#{host}`: host in lower case, without port.
    Host,
    /// `#{port}`: port of the listener.
    Port,
    /// `#{path}`: path without its leading slash.
    Path,
    /// `#{query}`: query without `?`.
    Query,
}

/// A response that is made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedResponse {
    /// 2xx, 4xx or 5xx.
    pub status: u16,
    /// Media type, with charset where it is text.
    pub content_type: String,
    /// Body.
    pub body: String,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobin => "round_robin",
            Self::LeastOutstandingRequests => "least_outstanding_requests",
            Self::WeightedRandom => "weighted_random",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L4 => "l4",
            Self::L7 => "l7",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_folds_runs_and_reads_escapes_only_where_asked() {
        use WildcardToken::{AnyOne, AnyRun, Literal};
        let literal = |text: &str| Literal(text.as_bytes().to_vec());
        let cases = [
            ("/blog", false, vec![literal("/blog")]),
            ("/a**b?", false, vec![literal("/a"), AnyRun, literal("b"), AnyOne]),
            (r"100\*", true, vec![literal("100*")]),
            (r"100\*", false, vec![literal(r"100\"), AnyRun]),
            ("", false, vec![]),
        ];
        for (pattern, escapes, tokens) in cases {
            assert_eq!(Wildcard::parse(pattern, escapes).tokens, tokens, "{pattern}");
        }
    }
}
