//! How listeners encrypt.

use schemars::JsonSchema;
use serde::Deserialize;

use super::form::{DurationText, Key, Many};

/// How connections of a listener are encrypted.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Tls {
    /// Certificates, of which a client is shown the best for the name that it asks for; the first
    /// is for those that ask for no name or another one. The files are looked at once a second and
    /// read again when they have changed. Required.
    #[schemars(required, extend("examples" = [[
        { "certificate": "/etc/ringway/example.pem", "key": "/etc/ringway/example.key" },
    ]]))]
    pub(in crate::config) certificates: Key<Many<CertificateFiles>>,
    /// Versions and ciphers, by the name of AWS's security policy. Default
    /// "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09".
    #[schemars(extend("examples" = [
        "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
        "ELBSecurityPolicy-TLS13-1-3-PQ-2025-09",
        "ELBSecurityPolicy-TLS13-1-3-2021-06",
        "ELBSecurityPolicy-FS-1-2-Res-2020-10",
    ]))]
    pub(in crate::config) policy: Key<String>,
    /// Longest handshake, 100ms to 24h; then the connection is closed. Default "10s".
    pub(in crate::config) handshake_timeout: Key<DurationText>,
}

/// A certificate and its key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct CertificateFiles {
    /// PEM file with the certificate, and behind it those that lead to its root. Required.
    #[schemars(required, extend("examples" = ["/etc/ringway/example.pem"]))]
    pub(in crate::config) certificate: Key<String>,
    /// PEM file with its private key, not encrypted. Required.
    #[schemars(required, extend("examples" = ["/etc/ringway/example.key"]))]
    pub(in crate::config) key: Key<String>,
}
