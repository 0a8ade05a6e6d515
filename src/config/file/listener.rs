//! Listeners and their attributes.

use schemars::JsonSchema;
use serde::Deserialize;

use super::access_log::AccessLog;
use super::form::{Brief, DurationText, Key, Located, Many};
use super::rule::{DefaultAction, Forward, Rule};
use super::tls::Tls;
use crate::model::RULES_PER_LISTENER_MAX;

/// An address, a mode, and what to do with what arrives there.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Listener {
    /// Unique name: 1 to 64 letters, digits, `-`, `_`, `.`. Required.
    #[schemars(required, extend("examples" = ["web"]))]
    pub(in crate::config) name: Key<String>,
    /// IP address and port to listen on; "0.0.0.0" is every IPv4 address, "[::]" every IPv6 and
    /// IPv4 address, port 0 a free port that the kernel chooses. Required.
    #[schemars(required, extend("examples" = ["0.0.0.0:80", "[::]:80"]))]
    pub(in crate::config) address: Key<String>,
    /// Layer at which the listener works. Default "l7".
    pub(in crate::config) mode: Key<Mode>,
    /// Action for what no rule matches, and for every connection of mode l4. Required.
    #[schemars(required, extend("examples" = [{ "forward": "blog" }]))]
    pub(in crate::config) default: Key<DefaultAction>,
    /// Longest silence of a connection, 100ms to 24h. Default "60s".
    pub(in crate::config) idle_timeout: Key<DurationText>,
    /// Longest wait for a whole request head after its first byte, 100ms to 24h; then 408. Mode
    /// l7. Default "60s".
    pub(in crate::config) head_timeout: Key<DurationText>,
    /// Age at which a client connection is asked to close, 1s to 168h. Mode l7. Default "3600s".
    pub(in crate::config) client_keep_alive: Key<DurationText>,
    /// PROXY protocol header sent to targets at the start of each connection. Mode l4. Default:
    /// none.
    pub(in crate::config) proxy_protocol: Key<ProxyProtocol>,
    /// Whether each connection must begin with a PROXY protocol header (v1 or v2) of the front it
    /// comes from. Default false.
    pub(in crate::config) accept_proxy_protocol: Key<bool>,
    /// Fronts whose PROXY protocol header is believed: CIDR blocks or addresses; connections from
    /// elsewhere are closed. Only with accept_proxy_protocol = true. Default: any peer.
    #[schemars(extend("examples" = [["10.0.0.0/8"]]))]
    pub(in crate::config) trusted_fronts: Key<Many<String>>,
    /// How connections are encrypted. Mode l7: HTTPS; mode l4: what is inside goes to the targets
    /// unread. Default: they are not.
    pub(in crate::config) tls: Key<Tls>,
    /// Whether targets are told version and cipher of the client's connection, in
    /// X-Amzn-Tls-Version and X-Amzn-Tls-Cipher-Suite. Mode l7 with tls. Default false.
    pub(in crate::config) x_amzn_tls_version_and_cipher_suite: Key<bool>,
    /// Whether clients may speak HTTP/2, which is agreed on with ALPN. Mode l7 with tls. Default
    /// true.
    pub(in crate::config) http2: Key<bool>,
    /// Whether clients may speak HTTP/2 without TLS, which their first bytes tell. Mode l7 without
    /// tls. Default false.
    pub(in crate::config) h2c: Key<bool>,
    /// What happens to X-Forwarded-For. Mode l7. Default "append".
    pub(in crate::config) xff_header_processing: Key<XffProcessing>,
    /// Whether X-Forwarded-For gets the client's port, too. Mode l7. Default false.
    pub(in crate::config) xff_client_port: Key<bool>,
    /// Whether Host reaches the target byte for byte. Mode l7. Default false.
    pub(in crate::config) preserve_host_header: Key<bool>,
    /// Whether header fields whose name is not letters, digits and hyphens are removed. Mode l7.
    /// Default false.
    pub(in crate::config) drop_invalid_header_fields: Key<bool>,
    /// What happens to requests that deviate from the standard harmlessly; ambiguous framing is
    /// refused always. Mode l7. Default "defensive".
    pub(in crate::config) desync_mitigation_mode: Key<DesyncMitigation>,
    /// Server field of the responses that ringway makes itself, at most 128 bytes; "": no such
    /// field. Mode l7. Default "ringway".
    pub(in crate::config) server_header: Key<String>,
    /// Where a line goes for each request; mode l4: for each connection. Text alone is its path.
    /// Default: none.
    #[schemars(extend("examples" = [{ "path": "/var/log/ringway/access.log" }]))]
    pub(in crate::config) access_log: Key<Brief<AccessLog>>,
    /// Where TLS connections go by the name of the server that they ask for (SNI), unread but for
    /// that: the name itself counts before the longest pattern. Connections that ask for no such
    /// name, or are no TLS, go by default. Mode l4 without tls. Default: all go by default.
    #[schemars(extend("examples" = [[
        { "names": ["a.example", "*.b.example"], "forward": "blog" },
    ]]))]
    pub(in crate::config) server_names: Key<Many<ServerNames>>,
    /// Rules, evaluated in ascending priority; the first whose conditions all hold decides. Mode
    /// l7.
    #[serde(default)]
    #[schemars(length(max = RULES_PER_LISTENER_MAX))]
    pub(in crate::config) rules: Vec<Located<Rule>>,
}

/// Names of servers, and where connections for them go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ServerNames {
    /// Host names; `*.` in front stands for one label or more. Required.
    #[schemars(required, extend("examples" = [["a.example", "*.b.example"]]))]
    pub(in crate::config) names: Key<Many<String>>,
    /// Name of a target group, a list of one to five groups with weights, or a table with
    /// target_groups. Required.
    #[schemars(required, extend("examples" = ["blog"]))]
    pub(in crate::config) forward: Key<Forward>,
}

/// Layer at which a listener works.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Mode {
    /// HTTP: each request is routed on its own (AWS ALB).
    L7,
    /// TCP: each connection is bound to one target and never read (AWS Classic ELB).
    L4,
}

/// Version of the PROXY protocol header.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ProxyProtocol {
    /// Text (AWS Classic ELB).
    V1,
    /// Binary (AWS NLB).
    V2,
}

/// What happens to X-Forwarded-For.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum XffProcessing {
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
pub(in crate::config) enum DesyncMitigation {
    /// Harmless deviations are forwarded.
    Defensive,
    /// Every deviation is answered with 400.
    Strictest,
}
