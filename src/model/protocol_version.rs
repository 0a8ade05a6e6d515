//! Which HTTP the targets of a group speak.

use super::{HealthCheck, Matcher};

/// Which HTTP the targets of a group speak (AWS: `ProtocolVersion`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ProtocolVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, with prior knowledge where the connection is not TLS.
    Http2,
    /// HTTP/2 as gRPC uses it.
    Grpc,
}

impl ProtocolVersion {
    /// Whether it is spoken over HTTP/2.
    #[must_use]
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc)
    }
}

impl HealthCheck {
    /// The defaults for targets that speak `version` (AWS: `HealthCheckPath`, `Matcher`): a gRPC
    /// server that answers at all does not know the method, and says so with code 12.
    #[must_use]
    pub fn of(version: ProtocolVersion) -> Self {
        let http = Self { version, ..Self::default() };
        match version {
            ProtocolVersion::Http1 | ProtocolVersion::Http2 => http,
            ProtocolVersion::Grpc => Self {
                path: "/AWS.ALB/healthcheck".into(),
                matcher: Matcher(vec![(12, 12)]),
                ..http
            },
        }
    }
}
