//! How a listener encrypts: certificates, security policies; and how connections to targets are.

use std::path::PathBuf;
use std::time::Duration;

use super::{ProbeProtocol, TargetGroup};

/// Most certificates of one listener (AWS: 25 and the default one).
pub const CERTIFICATES_MAX: usize = 1_000;
/// A certificate that expires within so many seconds (14 days) is told of. Most are renewed
/// thirty days before their end, so one that is not by then will probably not be.
pub const EXPIRES_SOON_SECONDS: i64 = 14 * 24 * 3600;

/// Most authorities in a trust store (AWS: 25).
pub const AUTHORITIES_MAX: usize = 100;
/// Longest certificate of an authority, in bytes (AWS: 16 KB).
pub const AUTHORITY_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of their names that clients are told: TLS has 64 KiB for them, in one message.
pub const AUTHORITY_NAMES_BYTES_MAX: usize = 32 * 1024;
/// Most certificates that a client may show, its own and the last one included (AWS: "maximum
/// client certificate chain depth"). All of it, as one message, has 64 KiB (AWS: 64 KB).
pub const CLIENT_CHAIN_MAX: usize = 4;
/// Most lists of revocations in a trust store (AWS: 30).
pub const REVOCATION_LISTS_MAX: usize = 30;
/// Longest list of revocations, in bytes (AWS: 50 MB).
pub const REVOCATION_LIST_BYTES_MAX: usize = 50 * 1024 * 1024;

/// How a listener encrypts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificates; the first is the default one. At least one.
    pub certificates: Vec<CertificateFiles>,
    /// Versions and ciphers.
    pub policy: Policy,
    /// Longest handshake, from the first byte that is waited for; then the connection closes.
    pub handshake_timeout: Duration,
    /// Whether clients show certificates, too; `None`: they are not asked.
    pub mutual_authentication: Option<MutualAuthentication>,
}

/// What becomes of certificates that clients show (AWS: `MutualAuthentication`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MutualAuthentication {
    /// A client may show one; targets are told its whole chain, which nobody has verified.
    Unverified,
    /// A client must show one that leads to an authority of the store.
    Verify(TrustStore),
}

/// Authorities whose certificates clients may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustStore {
    /// PEM file with their certificates.
    pub authorities: PathBuf,
    /// Files with what they have revoked: PEM or DER.
    pub revocations: Vec<PathBuf>,
    /// Whether certificates are believed beyond their end.
    pub ignores_expiry: bool,
    /// Whether clients are told the names of the authorities.
    pub advertises_names: bool,
}

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// PEM file with the certificate and those that lead to its root, in this order.
    pub certificate: PathBuf,
    /// PEM file with the private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// DER file with what the authority says of the certificate's state (OCSP); shown to clients
    /// that ask for it.
    pub ocsp: Option<PathBuf>,
}

/// What targets of a group speak (AWS: `Protocol`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetProtocol {
    /// HTTP; or whatever an L4 listener passes on.
    #[default]
    Http,
    /// The same inside TLS.
    Https,
    /// Whatever an L4 listener passes on; as [`TargetProtocol::Http`], but probed by TCP unless the
    /// health check says otherwise.
    Tcp,
    /// The same inside TLS.
    Tls,
}

impl TargetProtocol {
    /// Whether connections to targets are encrypted.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }
}

/// How connections and probes to targets are encrypted, where they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetTls {
    /// How targets are verified.
    pub verify: Verify,
    /// PEM file with the certificates of those who may vouch for targets; `None`: those whom the
    /// system trusts.
    pub ca: Option<PathBuf>,
    /// The name that a target is asked for and must have; `None`: the address of the target, and
    /// no name is asked for.
    pub server_name: Option<String>,
}

/// How targets are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Chain, dates and name.
    #[default]
    Full,
    /// Not at all, as ALB.
    None,
}

impl TargetGroup {
    /// Whether anything that goes to its targets is encrypted: connections or probes.
    #[must_use]
    pub fn needs_tls(&self) -> bool {
        let probes = self.health_check.enabled && self.health_check.protocol.is_encrypted();
        self.protocol.is_encrypted() || probes
    }
}

impl ProbeProtocol {
    /// Whether probes are encrypted.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }

    /// Whether a probe asks for a status.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

impl From<TargetProtocol> for ProbeProtocol {
    /// What is probed where the health check does not say.
    fn from(protocol: TargetProtocol) -> Self {
        match protocol {
            TargetProtocol::Http => Self::Http,
            TargetProtocol::Https => Self::Https,
            TargetProtocol::Tcp => Self::Tcp,
            TargetProtocol::Tls => Self::Tls,
        }
    }
}

/// A security policy of AWS that is served as AWS serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// AWS's name.
    pub name: &'static str,
    /// Whether TLS 1.3 is spoken.
    pub tls13: bool,
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether keys are exchanged so that a quantum computer cannot find them later, where the
    /// client can do it.
    pub post_quantum: bool,
}

/// A policy that is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unserved {
    /// AWS has none of that name.
    Unknown,
    /// It needs what is not spoken here.
    Needs {
        /// What that is.
        what: &'static str,
        /// The nearest that is served.
        nearest: &'static str,
    },
}

const fn policy(name: &'static str, tls13: bool, tls12: bool, post_quantum: bool) -> Policy {
    Policy { name, tls13, tls12, post_quantum }
}

impl Policy {
    /// Those that are served, the default one first (AWS: "Security policies"; the default is that
    /// of its console).
    pub const ALL: [Self; 5] = [
        policy("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", true, true, true),
        policy("ELBSecurityPolicy-TLS13-1-2-Res-2021-06", true, true, false),
        policy("ELBSecurityPolicy-TLS13-1-3-PQ-2025-09", true, false, true),
        policy("ELBSecurityPolicy-TLS13-1-3-2021-06", true, false, false),
        policy("ELBSecurityPolicy-FS-1-2-Res-2020-10", false, true, false),
    ];

    /// Names of policies of AWS that need more than is spoken here.
    const OTHERS: [(&'static str, &'static str); 34] = [
        ("ELBSecurityPolicy-TLS13-1-2-2021-06", CBC),
        ("ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06", CBC),
        ("ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06", CBC),
        ("ELBSecurityPolicy-TLS13-1-1-2021-06", OLD),
        ("ELBSecurityPolicy-TLS13-1-0-2021-06", OLD),
        ("ELBSecurityPolicy-FS-1-2-Res-2019-08", CBC),
        ("ELBSecurityPolicy-FS-1-2-2019-08", CBC),
        ("ELBSecurityPolicy-FS-1-1-2019-08", OLD),
        ("ELBSecurityPolicy-FS-2018-06", OLD),
        ("ELBSecurityPolicy-TLS-1-2-Ext-2018-06", CBC),
        ("ELBSecurityPolicy-TLS-1-2-2017-01", CBC),
        ("ELBSecurityPolicy-TLS-1-1-2017-01", OLD),
        ("ELBSecurityPolicy-2016-08", OLD),
        ("ELBSecurityPolicy-2015-05", OLD),
        ("ELBSecurityPolicy-TLS-1-0-2015-04", OLD),
        ("ELBSecurityPolicy-TLS13-1-2-PQ-2025-09", CBC),
        ("ELBSecurityPolicy-TLS13-1-2-Ext1-PQ-2025-09", CBC),
        ("ELBSecurityPolicy-TLS13-1-2-Ext2-PQ-2025-09", CBC),
        ("ELBSecurityPolicy-TLS13-1-0-PQ-2025-09", OLD),
        ("ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04", FIPS),
        ("ELBSecurityPolicy-TLS13-1-2-FIPS-2023-04", FIPS),
        ("ELBSecurityPolicy-TLS13-1-2-Res-FIPS-2023-04", FIPS),
        ("ELBSecurityPolicy-TLS13-1-2-Ext0-FIPS-2023-04", FIPS),
        ("ELBSecurityPolicy-TLS13-1-2-Ext1-FIPS-2023-04", FIPS),
        ("ELBSecurityPolicy-TLS13-1-2-Ext2-FIPS-2023-04", FIPS),
        ("ELBSecurityPolicy-TLS13-1-1-FIPS-2023-04", FIPS),
        ("ELBSecurityPolicy-TLS13-1-0-FIPS-2023-04", FIPS),
        ("ELBSecurityPolicy-TLS13-1-3-FIPS-PQ-2025-09", FIPS),
        ("ELBSecurityPolicy-TLS13-1-2-FIPS-PQ-2025-09", FIPS),
        ("ELBSecurityPolicy-TLS13-1-2-Res-FIPS-PQ-2025-09", FIPS),
        ("ELBSecurityPolicy-TLS13-1-2-Ext0-FIPS-PQ-2025-09", FIPS),
        ("ELBSecurityPolicy-TLS13-1-2-Ext1-FIPS-PQ-2025-09", FIPS),
        ("ELBSecurityPolicy-TLS13-1-2-Ext2-FIPS-PQ-2025-09", FIPS),
        ("ELBSecurityPolicy-TLS13-1-0-FIPS-PQ-2025-09", FIPS),
    ];

    /// The policy that AWS calls `name`.
    ///
    /// # Errors
    /// [`Unserved`], with the nearest that is served.
    pub fn named(name: &str) -> Result<Self, Unserved> {
        if let Some(policy) = Self::ALL.into_iter().find(|policy| policy.name == name) {
            return Ok(policy);
        }
        let other = Self::OTHERS.iter().find(|(other, _)| *other == name);
        let (name, what) = *other.ok_or(Unserved::Unknown)?;
        let has = |part: &str| name.contains(part);
        let [usual, plain, strict, strict_plain, without_13] = Self::ALL;
        let nearest = match (has("TLS13-1-3"), has("-PQ-"), has("-FS-1-2")) {
            (true, true, _) => strict,
            (true, false, _) => strict_plain,
            (_, true, _) => usual,
            (_, _, true) => without_13,
            _ => plain,
        };
        Err(Unserved::Needs { what, nearest: nearest.name })
    }
}

const CBC: &str = "ciphers in CBC mode or without forward secrecy";
const OLD: &str = "TLS 1.0 or 1.1";
const FIPS: &str = "a cryptographic module with a FIPS certificate";

impl Default for Policy {
    fn default() -> Self {
        let [usual, ..] = Self::ALL;
        usual
    }
}

impl MutualAuthentication {
    /// The files that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let store = match self {
            Self::Unverified => None,
            Self::Verify(store) => Some(store),
        };
        store
            .into_iter()
            .flat_map(|store| std::iter::once(&store.authorities).chain(&store.revocations))
    }
}

impl Tls {
    /// A listener's encryption with every attribute at its default.
    #[must_use]
    pub fn new(certificates: Vec<CertificateFiles>) -> Self {
        let handshake_timeout = Duration::from_secs(10);
        let policy = Policy::default();
        Self { certificates, policy, handshake_timeout, mutual_authentication: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_of_aws_are_served_or_answered_with_the_nearest() {
        for policy in Policy::ALL {
            assert_eq!(Policy::named(policy.name), Ok(policy));
        }
        let nearest = [
            ("ELBSecurityPolicy-2016-08", "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"),
            ("ELBSecurityPolicy-TLS13-1-2-2021-06", "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"),
            ("ELBSecurityPolicy-FS-1-2-2019-08", "ELBSecurityPolicy-FS-1-2-Res-2020-10"),
            (
                "ELBSecurityPolicy-TLS13-1-2-PQ-2025-09",
                "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
            ),
            ("ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04", "ELBSecurityPolicy-TLS13-1-3-2021-06"),
        ];
        for (name, expected) in nearest {
            match Policy::named(name) {
                Err(Unserved::Needs { nearest, .. }) => assert_eq!(nearest, expected, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert_eq!(Policy::named("ELBSecurityPolicy-2017"), Err(Unserved::Unknown));
    }

    #[test]
    fn nearest_policy_is_always_served() {
        for (name, _) in Policy::OTHERS {
            let Err(Unserved::Needs { nearest, .. }) = Policy::named(name) else {
                panic!("{name}")
            };
            assert!(Policy::named(nearest).is_ok(), "{name}: {nearest}");
        }
    }
}
