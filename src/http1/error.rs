//! What can be wrong with a head: one variant per broken rule.

use std::fmt;

/// A rule that a head breaks. The connection it came on cannot be used further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// The bytes are not a message head at all (RFC 9112 §2.1, §3, §4).
    Malformed,
    /// An HTTP version that is not 1.0 or 1.1, an HTTP/2 preface included (RFC 9112 §2.3).
    Version,
    /// A line that ends with a bare LF or holds a bare CR (RFC 9112 §2.2).
    LineEnd,
    /// The request target is none of the four forms, or holds bytes that no URI may
    /// (RFC 9112 §3.2).
    Target,
    /// The request line is longer than its limit.
    RequestLineTooLong,
    /// One header field is longer than its limit.
    FieldTooLong,
    /// The whole head is longer than its limit.
    HeadTooLong,
    /// More header fields than the limit.
    TooManyFields,
    /// No Host, several, or one that is not a host (RFC 9112 §3.2).
    Host,
    /// Content-Length is not a number, is too large, or comes several times (RFC 9112 §6.3).
    ContentLength,
    /// Content-Length and Transfer-Encoding together (RFC 9112 §6.1: a smuggling attempt).
    LengthAndChunked,
    /// Transfer-Encoding that is not exactly `chunked`, comes several times, or comes with
    /// HTTP/1.0 (RFC 9112 §6.1).
    TransferEncoding,
    /// A transfer coding that exists and that we do not do (RFC 9112 §7: answered with 501).
    TransferCodingUnsupported,
    /// A name that others may take for Content-Length or Transfer-Encoding, as
    /// `Transfer_Encoding` (AWS desync mitigation: SuspiciousHeader).
    SuspiciousField,
    /// A status code outside 100 to 599 (RFC 9110 §15).
    Status,
    /// A deviation that is harmless and refused only in strictest mode (AWS desync mitigation:
    /// Acceptable, Ambiguous).
    NotCompliant,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed head",
            Self::Version => "unsupported HTTP version",
            Self::LineEnd => "line does not end with CR LF",
            Self::Target => "invalid request target",
            Self::RequestLineTooLong => "request line too long",
            Self::FieldTooLong => "header field too long",
            Self::HeadTooLong => "head too long",
            Self::TooManyFields => "too many header fields",
            Self::Host => "Host missing, repeated or invalid",
            Self::ContentLength => "invalid or repeated Content-Length",
            Self::LengthAndChunked => "both Content-Length and Transfer-Encoding",
            Self::TransferEncoding => "invalid Transfer-Encoding",
            Self::TransferCodingUnsupported => "unsupported transfer coding",
            Self::SuspiciousField => "field name resembles a framing field",
            Self::Status => "invalid status code",
            Self::NotCompliant => "request deviates from the standard",
        })
    }
}

impl std::error::Error for HeadError {}
