//! HTTP message heads without a version: what `http1` parses into, `routing` looks at and
//! `proxy` writes anew.
//!
//! A head is ranges into the buffer that holds its bytes, never strings of its own, so reading
//! one allocates nothing once [`RequestHead`] has been used before. [`Request`] joins the ranges
//! with the bytes.

use std::net::IpAddr;
use std::ops::Range;

/// A range of bytes in the buffer of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end`. Heads are bounded far below 4 GiB, so offsets fit.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Self { start: start as u32, end: end as u32 }
    }

    /// The bytes of this range in `bytes`.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.range()]
    }

    /// As a range of `usize`.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it holds no byte.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One header field: `name: value`, where the value is without surrounding white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Field name as it came.
    pub name: Span,
    /// Field value as it came.
    pub value: Span,
    /// Which field it is, if it is one that we treat in some way.
    pub kind: FieldKind,
    /// Whether the line on the wire is exactly `name: value\r\n`, so that it may be copied whole.
    pub canonical: bool,
}

/// Fields that we look at, change or drop. The rest is [`FieldKind::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Any field that passes untouched.
    Other,
    /// `X-Amzn-Mtls-Clientcert` and all whose names begin so, also with `_` for `-`: many
    /// programs take both for the same.
    ClientCertificate,
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Cookie`
    Cookie,
    /// `Date`
    Date,
    /// `Expect`
    Expect,
    /// `Host`
    Host,
    /// `Keep-Alive`
    KeepAlive,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `Server`
    Server,
    /// `TE`
    Te,
    /// `Trailer`
    Trailer,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
    /// `X-Amzn-Trace-Id`
    TraceId,
    /// `traceparent`
    TraceParent,
    /// `X-Forwarded-For`
    ForwardedFor,
    /// `X-Forwarded-Port`
    ForwardedPort,
    /// `X-Forwarded-Proto`
    ForwardedProto,
}

impl FieldKind {
    /// Which field `name` is, letters in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            4 if is("date") => Self::Date,
            6 if is("cookie") => Self::Cookie,
            6 if is("expect") => Self::Expect,
            6 if is("server") => Self::Server,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("trailer") => Self::Trailer,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            11 if is("traceparent") => Self::TraceParent,
            14 if is("content-length") => Self::ContentLength,
            15 if is("x-forwarded-for") => Self::ForwardedFor,
            15 if is("x-amzn-trace-id") => Self::TraceId,
            16 if is("proxy-connection") => Self::ProxyConnection,
            16 if is("x-forwarded-port") => Self::ForwardedPort,
            17 if is("x-forwarded-proto") => Self::ForwardedProto,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            22.. if is_client_certificate(name) => Self::ClientCertificate,
            _ => Self::Other,
        }
    }
}

fn is_client_certificate(name: &[u8]) -> bool {
    let ours = b"x-amzn-mtls-clientcert";
    let same = |(name, ours): (&u8, &u8)| match ours {
        b'-' => matches!(name, b'-' | b'_'),
        letter => name.eq_ignore_ascii_case(letter),
    };
    name.first().is_some_and(|first| first | 0x20 == b'x') && name.iter().zip(ours).all(same)
}

/// HTTP version of a message on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2, of which only logs know: inside it has the form of HTTP/1.1.
    Http2,
}

/// Request methods that we treat in some way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `CONNECT`
    Connect,
    /// Any other token, `POST` among them.
    Other,
}

impl Method {
    /// Which method `token` is; methods are case-sensitive (RFC 9110 §9.1).
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// Whether sending the request twice means the same as once (RFC 9110 §9.2.2).
    #[must_use]
    pub fn is_idempotent(self) -> bool {
        match self {
            Self::Get | Self::Head | Self::Options | Self::Trace | Self::Put | Self::Delete => true,
            Self::Connect | Self::Other => false,
        }
    }
}

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyLength {
    /// There is none.
    #[default]
    None,
    /// Exactly this many bytes, at least one.
    Known(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

/// The head of a request, as ranges. Reused from one request to the next.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// Which method.
    pub method: Method,
    /// Method token.
    pub method_span: Span,
    /// Request target as it came (RFC 9112 §3.2).
    pub target: Span,
    /// Path and query of the target, `/` first; empty for an absolute form without path, and
    /// `*` for `OPTIONS *`.
    pub path_and_query: Span,
    /// Path without query.
    pub path: Span,
    /// Query without `?`; `None` when there is no `?`.
    pub query: Option<Span>,
    /// Host and port asked for: the authority of an absolute target, else the Host field.
    /// Empty for an HTTP/1.0 request without either.
    pub authority: Span,
    /// HTTP version.
    pub version: Version,
    /// Header fields in order.
    pub fields: Vec<Field>,
    /// Body length.
    pub body: BodyLength,
    /// Whether the client wants the connection kept after the response (RFC 9112 §9.3).
    pub persistent: bool,
    /// Whether the client waits for `100 Continue`.
    pub expects_continue: bool,
    /// Whether this asks to become a WebSocket (`Connection: upgrade`, `Upgrade: websocket`).
    pub upgrade_websocket: bool,
    /// Whether a `Connection` field names fields other than `close keep-alive upgrade te`.
    pub connection_names_fields: bool,
    /// Number of bytes of the head on the wire, the empty line included.
    pub bytes: usize,
}

/// The head of a response, as ranges. Reused from one response to the next.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// Status code, 100 to 999.
    pub status: u16,
    /// Reason phrase as it came.
    pub reason: Span,
    /// HTTP version.
    pub version: Version,
    /// Header fields in order.
    pub fields: Vec<Field>,
    /// Body length; the method of the request has been taken into account.
    pub body: BodyLength,
    /// Whether the target keeps the connection after this response.
    pub persistent: bool,
    /// Whether a `Connection` field names fields other than `close keep-alive upgrade te`.
    pub connection_names_fields: bool,
    /// Number of bytes of the head on the wire, the empty line included.
    pub bytes: usize,
}

/// A request head together with its bytes and the peer that sent it: what rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The ranges.
    pub head: &'a RequestHead,
    /// The buffer that the ranges point into.
    pub bytes: &'a [u8],
    /// Address of the client.
    pub peer: IpAddr,
}

impl<'a> Request<'a> {
    /// Method token.
    #[must_use]
    pub fn method(&self) -> &'a [u8] {
        self.head.method_span.of(self.bytes)
    }

    /// Path without query.
    #[must_use]
    pub fn path(&self) -> &'a [u8] {
        self.head.path.of(self.bytes)
    }

    /// Query without `?`; empty when there is none.
    #[must_use]
    pub fn query(&self) -> &'a [u8] {
        self.head.query.map_or(&[], |span| span.of(self.bytes))
    }

    /// Host asked for, without port; an IPv6 literal keeps its brackets.
    #[must_use]
    pub fn host(&self) -> &'a [u8] {
        split_port(self.head.authority.of(self.bytes)).0
    }

    /// Values of every field called `name`, letters in any case, in order.
    pub fn values(&self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (bytes, fields) = (self.bytes, &self.head.fields);
        fields
            .iter()
            .filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(name))
            .map(move |field| field.value.of(bytes))
    }
}

/// Splits `host:port` into host and port; `[::1]:80` keeps its brackets. The port is `None`
/// when there is no colon behind the host.
#[must_use]
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let host_end = match authority.first() {
        Some(b'[') => memchr::memchr(b']', authority).map_or(authority.len(), |at| at + 1),
        _ => 0,
    };
    match memchr::memchr(b':', &authority[host_end..]) {
        Some(at) => (&authority[..host_end + at], Some(&authority[host_end + at + 1..])),
        None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_split_also_for_ipv6() {
        let cases: [(&str, &str, Option<&str>); 6] = [
            ("example.com", "example.com", None),
            ("example.com:8080", "example.com", Some("8080")),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some("80")),
            ("", "", None),
            ("[::1", "[::1", None),
        ];
        for (authority, host, port) in cases {
            let expected = (host.as_bytes(), port.map(str::as_bytes));
            assert_eq!(split_port(authority.as_bytes()), expected, "{authority}");
        }
    }

    #[test]
    fn field_names_are_known_in_any_case() {
        assert_eq!(FieldKind::of(b"HOST"), FieldKind::Host);
        assert_eq!(FieldKind::of(b"transfer-Encoding"), FieldKind::TransferEncoding);
        assert_eq!(FieldKind::of(b"transfer_encoding"), FieldKind::Other);
        for name in ["X-Amzn-Mtls-Clientcert", "x_amzn-mtls_clientcert-leaf"] {
            assert_eq!(FieldKind::of(name.as_bytes()), FieldKind::ClientCertificate);
        }
        for name in ["X-Amzn-Mtls-Clientcer", "X-Amzn-Mtls-Client-Leaf", "Xx-Amzn-Mtls-Clientcert"]
        {
            assert_eq!(FieldKind::of(name.as_bytes()), FieldKind::Other);
        }
    }
}
