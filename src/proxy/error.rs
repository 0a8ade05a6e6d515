//! What ends an exchange without a target's response: kind → name, status, closing, retry, in one
//! table.

use std::io;

use crate::http1::HeadError;

/// What went wrong. The names are those of RFC 9209 §2.3 where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request cannot be read, or breaks a rule of the standard.
    HttpRequestError,
    /// The request line is too long.
    HttpRequestUriTooLong,
    /// The method may not pass (TRACE).
    HttpRequestDenied,
    /// The transfer coding is not supported.
    HttpTransferCodingUnsupported,
    /// The HTTP version is not supported.
    HttpVersionUnsupported,
    /// More addresses in X-Forwarded-For than allowed.
    ForwardedForTooLong,
    /// The client began a request and then went silent.
    HttpRequestTimeout,
    /// The client closed before its request was complete or its response had begun.
    ClientClosed,
    /// A front's PROXY protocol header is missing, malformed, or the front is not trusted.
    ProxyProtocolError,
    /// The client did not agree with us on how to encrypt, or not in time.
    TlsProtocolError,
    /// The client's certificate is not believed, or it has shown none.
    ClientCertificateError,
    /// The redirect's Location would be too long.
    RedirectTooLong,
    /// What the client speaks does not fit to what the targets of the group do.
    ProtocolVersionMismatch,
    /// The group has no target that could be tried.
    DestinationUnavailable,
    /// The target refused the connection, or it could not be reached.
    ConnectionRefused,
    /// The target did not accept the connection in time.
    ConnectionTimeout,
    /// The target has shown a certificate that is not accepted.
    TlsCertificateError,
    /// The target has refused the TLS session by an alert.
    TlsAlertReceived,
    /// The target did not agree with us on how to encrypt.
    TargetTlsProtocolError,
    /// The target refused the stream, or ends the connection, before it looked at the request.
    StreamRefused,
    /// The target closed or reset before its response head was complete.
    ConnectionTerminated,
    /// The target did not begin its response in time, or went silent in the middle of it.
    HttpResponseTimeout,
    /// Nothing moved on a tunnel in either direction.
    ConnectionReadTimeout,
    /// The target drains, and its deregistration delay is over.
    DeregistrationDelay,
    /// The target closed in the middle of its response body.
    HttpResponseIncomplete,
    /// The response head cannot be read, or its framing is in doubt.
    HttpProtocolError,
    /// The response head is too long.
    HttpResponseHeaderSectionSize,
}

/// The row of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Word for logs and metrics.
    pub name: &'static str,
    /// What RFC 9209 §2.3 calls it: the name itself, or the nearest that it has.
    pub proxy_status: &'static str,
    /// Status sent to the client if no response byte was; `None`: nothing can be sent.
    pub status: Option<u16>,
    /// Status on record if none was sent; 0: none either.
    pub logged: u16,
    /// Whether the client connection closes after it.
    pub closes: bool,
}

impl ErrorKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 27] = [
        Self::HttpRequestError,
        Self::HttpRequestUriTooLong,
        Self::HttpRequestDenied,
        Self::HttpTransferCodingUnsupported,
        Self::HttpVersionUnsupported,
        Self::ForwardedForTooLong,
        Self::HttpRequestTimeout,
        Self::ClientClosed,
        Self::ProxyProtocolError,
        Self::TlsProtocolError,
        Self::ClientCertificateError,
        Self::RedirectTooLong,
        Self::ProtocolVersionMismatch,
        Self::DestinationUnavailable,
        Self::ConnectionRefused,
        Self::ConnectionTimeout,
        Self::TlsCertificateError,
        Self::TlsAlertReceived,
        Self::TargetTlsProtocolError,
        Self::StreamRefused,
        Self::ConnectionTerminated,
        Self::HttpResponseTimeout,
        Self::ConnectionReadTimeout,
        Self::DeregistrationDelay,
        Self::HttpResponseIncomplete,
        Self::HttpProtocolError,
        Self::HttpResponseHeaderSectionSize,
    ];

    /// The table.
    #[must_use]
    pub fn row(self) -> Row {
        // RFC 9209 has words for what goes wrong on the target's side; of the client's it knows
        // `http_request_error` alone.
        const REQUEST: &str = "http_request_error";
        let row = |name, proxy_status, status, closes| Row {
            name,
            proxy_status,
            status: Some(status),
            logged: status,
            closes,
        };
        let same = |name, status, closes| row(name, name, status, closes);
        let silent = |name, proxy_status, logged| Row {
            name,
            proxy_status,
            status: None,
            logged,
            closes: true,
        };
        match self {
            Self::HttpRequestError => same(REQUEST, 400, true),
            Self::HttpRequestUriTooLong => row("http_request_uri_too_long", REQUEST, 414, true),
            Self::HttpRequestDenied => same("http_request_denied", 405, true),
            Self::HttpTransferCodingUnsupported => {
                row("http_transfer_coding_unsupported", REQUEST, 501, true)
            }
            Self::HttpVersionUnsupported => row("http_version_unsupported", REQUEST, 505, true),
            Self::ForwardedForTooLong => row("forwarded_for_too_long", REQUEST, 463, false),
            Self::HttpRequestTimeout => row("http_request_timeout", REQUEST, 408, true),
            // ALB's status for a client that left before its response began; never sent.
            Self::ClientClosed => silent("client_closed", REQUEST, 460),
            Self::ProxyProtocolError => silent("proxy_protocol_error", REQUEST, 0),
            Self::TlsProtocolError => silent("tls_protocol_error", "tls_protocol_error", 0),
            Self::ClientCertificateError => {
                silent("client_certificate_error", "tls_certificate_error", 0)
            }
            Self::RedirectTooLong => {
                row("redirect_too_long", "proxy_configuration_error", 507, false)
            }
            Self::ProtocolVersionMismatch => row("protocol_version_mismatch", REQUEST, 464, false),
            Self::DestinationUnavailable => same("destination_unavailable", 503, false),
            Self::ConnectionRefused => same("connection_refused", 502, false),
            Self::ConnectionTimeout => same("connection_timeout", 504, false),
            Self::TlsCertificateError => same("tls_certificate_error", 502, false),
            Self::TlsAlertReceived => same("tls_alert_received", 502, false),
            Self::TargetTlsProtocolError => {
                row("target_tls_protocol_error", "tls_protocol_error", 502, false)
            }
            Self::StreamRefused => row("stream_refused", "connection_terminated", 502, false),
            Self::ConnectionTerminated => same("connection_terminated", 502, false),
            Self::HttpResponseTimeout => same("http_response_timeout", 504, false),
            Self::ConnectionReadTimeout => {
                silent("connection_read_timeout", "connection_read_timeout", 0)
            }
            Self::DeregistrationDelay => {
                row("deregistration_delay", "connection_terminated", 502, false)
            }
            Self::HttpResponseIncomplete => same("http_response_incomplete", 502, false),
            Self::HttpProtocolError => same("http_protocol_error", 502, false),
            Self::HttpResponseHeaderSectionSize => {
                same("http_response_header_section_size", 502, false)
            }
        }
    }

    /// Whether another target may be tried: nothing has been sent to this one.
    #[must_use]
    pub fn is_connect_failure(self) -> bool {
        matches!(self, Self::ConnectionRefused | Self::ConnectionTimeout) || self.is_of_target_tls()
    }

    /// Whether there was a connection to the target, and no TLS session over it.
    #[must_use]
    pub fn is_of_target_tls(self) -> bool {
        matches!(
            self,
            Self::TlsCertificateError | Self::TlsAlertReceived | Self::TargetTlsProtocolError
        )
    }

    /// The kind of a failed attempt to connect.
    #[must_use]
    pub fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::ConnectionTimeout,
            _ => Self::ConnectionRefused,
        }
    }

    /// The kind of a response head that broke a rule.
    #[must_use]
    pub fn of_response(error: HeadError) -> Self {
        match error {
            HeadError::HeadTooLong => Self::HttpResponseHeaderSectionSize,
            _ => Self::HttpProtocolError,
        }
    }
}

impl From<HeadError> for ErrorKind {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::RequestLineTooLong => Self::HttpRequestUriTooLong,
            HeadError::Version => Self::HttpVersionUnsupported,
            HeadError::TransferCodingUnsupported => Self::HttpTransferCodingUnsupported,
            HeadError::Malformed
            | HeadError::LineEnd
            | HeadError::Target
            | HeadError::FieldTooLong
            | HeadError::HeadTooLong
            | HeadError::TooManyFields
            | HeadError::Host
            | HeadError::ContentLength
            | HeadError::LengthAndChunked
            | HeadError::TransferEncoding
            | HeadError::SuspiciousField
            | HeadError::Status
            | HeadError::NotCompliant => Self::HttpRequestError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_that_of_the_specification() {
        use ErrorKind as K;
        let rows = [
            (K::HttpRequestError, Some(400), true),
            (K::HttpRequestUriTooLong, Some(414), true),
            (K::HttpRequestDenied, Some(405), true),
            (K::HttpTransferCodingUnsupported, Some(501), true),
            (K::HttpVersionUnsupported, Some(505), true),
            (K::ForwardedForTooLong, Some(463), false),
            (K::HttpRequestTimeout, Some(408), true),
            (K::ClientClosed, None, true),
            (K::ProxyProtocolError, None, true),
            (K::TlsProtocolError, None, true),
            (K::RedirectTooLong, Some(507), false),
            (K::ProtocolVersionMismatch, Some(464), false),
            (K::DestinationUnavailable, Some(503), false),
            (K::ConnectionRefused, Some(502), false),
            (K::ConnectionTimeout, Some(504), false),
            (K::TlsCertificateError, Some(502), false),
            (K::TlsAlertReceived, Some(502), false),
            (K::TargetTlsProtocolError, Some(502), false),
            (K::StreamRefused, Some(502), false),
            (K::ConnectionTerminated, Some(502), false),
            (K::HttpResponseTimeout, Some(504), false),
            (K::ConnectionReadTimeout, None, true),
            (K::DeregistrationDelay, Some(502), false),
            (K::HttpResponseIncomplete, Some(502), false),
            (K::HttpProtocolError, Some(502), false),
            (K::HttpResponseHeaderSectionSize, Some(502), false),
        ];
        for (kind, status, closes) in rows {
            assert_eq!((kind.row().status, kind.row().closes), (status, closes), "{kind:?}");
        }
    }

    #[test]
    fn kinds_are_numbered_in_their_order_and_each_has_a_name_of_its_own() {
        let mut names: Vec<&str> = ErrorKind::ALL.iter().map(|kind| kind.row().name).collect();
        assert!((0..).zip(ErrorKind::ALL).all(|(number, kind)| number == kind as usize));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn what_was_sent_is_what_is_on_record() {
        use ErrorKind as K;
        for kind in [K::HttpRequestError, K::RedirectTooLong, K::DestinationUnavailable] {
            assert_eq!(Some(kind.row().logged), kind.row().status, "{kind:?}");
        }
        assert_eq!(K::ClientClosed.row().logged, 460, "as ALB");
    }

    #[test]
    fn only_a_failure_to_connect_lets_another_target_try() {
        assert!(ErrorKind::ConnectionRefused.is_connect_failure());
        assert!(ErrorKind::ConnectionTimeout.is_connect_failure());
        assert!(ErrorKind::TlsCertificateError.is_connect_failure());
        assert!(!ErrorKind::ConnectionTerminated.is_connect_failure());
    }
}
