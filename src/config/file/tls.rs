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
    /// Whether clients show certificates, too. Default: they are not asked.
    pub(in crate::config) mutual_authentication: Key<MutualAuthentication>,
}

/// Certificates of clients. Where they are asked for, sessions are not resumed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct MutualAuthentication {
    /// What becomes of them. Required.
    #[schemars(required)]
    pub(in crate::config) mode: Key<MutualMode>,
    /// PEM file with the authorities whose certificates clients may show, at most 100. Looked at
    /// once a second, as certificates are. Required with mode "verify".
    #[schemars(extend("examples" = ["/etc/ringway/clients.pem"]))]
    pub(in crate::config) trust_store: Key<String>,
    /// Files with what these authorities have revoked, PEM or DER, at most 30; looked at as well.
    /// An authority without such a list has revoked nothing. Mode verify. Default: none.
    #[schemars(extend("examples" = [["/etc/ringway/clients.crl"]]))]
    pub(in crate::config) revocations: Key<Many<String>>,
    /// Whether certificates are believed beyond their end. Mode verify. Default false.
    pub(in crate::config) ignore_client_certificate_expiry: Key<bool>,
    /// Whether clients are told the names of the authorities, so that they can choose among their
    /// certificates. Mode verify. Default false.
    pub(in crate::config) advertise_trust_store_ca_names: Key<bool>,
}

/// What becomes of certificates of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum MutualMode {
    /// Clients are not asked for any.
    Off,
    /// A client may show one, which is not verified but for its key; l7 targets get its whole chain
    /// in X-Amzn-Mtls-Clientcert.
    Passthrough,
    /// A client must show one that leads to an authority of the trust store, else the handshake
    /// fails; l7 targets are told what it says, in X-Amzn-Mtls-Clientcert-Subject and its like.
    Verify,
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
    /// DER file with what the authority says of the certificate's state, shown to clients that ask
    /// for it (OCSP stapling). Looked at as the others are; not shown while it cannot be used.
    /// Default: none.
    #[schemars(extend("examples" = ["/etc/ringway/example.ocsp"]))]
    pub(in crate::config) ocsp: Key<String>,
}
