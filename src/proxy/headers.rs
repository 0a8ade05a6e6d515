//! Heads as they leave us: requests to targets, responses to clients.
//!
//! What is added, replaced and dropped follows ALB (AWS: "HTTP headers and Application Load
//! Balancers") and RFC 9110 §7.6. Heads are never passed through: every line is one that we chose
//! to write.

use std::cell::Cell;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use crate::http1::{encode, fields};
use crate::message::{
    BodyLength, Field, FieldKind, Method, Request, ResponseHead, Span, Version, split_port,
};
use crate::model::{FORWARDED_FOR_ADDRESSES_MAX, HttpOptions, XffProcessing};
use crate::snapshot::ListenerView;
use crate::span::Context;
use crate::tls::Negotiated;

use super::error::ErrorKind;

/// Beyond this many bytes of head, X-Amzn-Trace-Id is begun anew (AWS: 7 KB).
const TRACED_HEAD_BYTES_MAX: usize = 7 * 1024;

/// How the client's connection is encrypted (AWS:
/// `routing.http.x_amzn_tls_version_and_cipher_suite.enabled`).
const TLS_VERSION: &str = "X-Amzn-Tls-Version";
const TLS_CIPHER_SUITE: &str = "X-Amzn-Tls-Cipher-Suite";

/// What is known of the client besides its request.
pub(super) struct Arrival<'a> {
    /// Address of the client.
    pub(super) peer: SocketAddr,
    /// Listener that it connected to.
    pub(super) listener: &'a ListenerView,
    /// Address that it connected to, where the request does not name a host.
    pub(super) local: SocketAddr,
    /// Seconds since 1970.
    pub(super) epoch: u64,
    /// Random numbers for the trace id.
    pub(super) random: [u64; 2],
    /// How the connection is encrypted, if it is.
    pub(super) tls: Option<&'a Negotiated>,
    /// Where the trace id was written, once it is.
    pub(super) traced: Cell<Span>,
    /// Its place in a trace, if it is told as a span.
    pub(super) span: Option<Context>,
}

/// What one pass over the fields finds.
#[derive(Default)]
struct Survey {
    has_length: bool,
    has_host: bool,
    forwarded_for: bool,
    trace: Option<Span>,
}

/// Appends the head of `request` as the target gets it.
///
/// # Errors
/// [`ErrorKind::ForwardedForTooLong`] when X-Forwarded-For lists too many addresses.
pub(super) fn request(
    request: &Request<'_>,
    arrival: &Arrival<'_>,
    out: &mut Vec<u8>,
) -> Result<(), ErrorKind> {
    let survey = survey(request)?;
    let options = &arrival.listener.settings.http;
    request_line(request, out);
    if options.xff_header_processing == XffProcessing::Append {
        forwarded_for(request, &survey, arrival, out);
    }
    out.extend_from_slice(&arrival.listener.forwarded);
    out.extend_from_slice(b"Host: ");
    host(request, &survey, arrival, out);
    out.extend_from_slice(b"\r\nX-Amzn-Trace-Id: ");
    let start = out.len();
    trace_id(request, survey.trace, arrival, out);
    arrival.traced.set(Span::new(start, out.len()));
    out.extend_from_slice(b"\r\n");
    if options.tls_version_and_cipher_suite
        && let Some(tls) = arrival.tls
    {
        encode::field(TLS_VERSION.as_bytes(), tls.protocol.as_bytes(), out);
        encode::field(TLS_CIPHER_SUITE.as_bytes(), tls.cipher.as_bytes(), out);
    }
    if let Some(client) = arrival.tls.and_then(|tls| tls.client.as_ref()) {
        out.extend_from_slice(&client.fields);
    }
    let head = request.head;
    encode::fields(request.bytes, &head.fields, out, |field| {
        keep_in_request(request, options, field)
            && arrival.span.is_none_or(|span| is_apart(request, &span, field))
    });
    if let Some(span) = &arrival.span {
        out.extend_from_slice(b"traceparent: ");
        span.write(out);
        out.extend_from_slice(b"\r\n");
    }
    if head.upgrade_websocket {
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: websocket\r\n");
    }
    match head.body {
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyLength::Known(length) => content_length(length, out),
        BodyLength::None if survey.has_length => content_length(0, out),
        BodyLength::None | BodyLength::UntilClose => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn content_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    encode::decimal(length, out);
    out.extend_from_slice(b"\r\n");
}

fn survey(request: &Request<'_>) -> Result<Survey, ErrorKind> {
    let mut survey = Survey::default();
    let mut addresses = 0;
    for field in &request.head.fields {
        match field.kind {
            FieldKind::ContentLength => survey.has_length = true,
            FieldKind::Host => survey.has_host = true,
            FieldKind::TraceId => survey.trace = survey.trace.or(Some(field.value)),
            FieldKind::ForwardedFor => {
                survey.forwarded_for = true;
                let value = field.value.of(request.bytes);
                addresses += memchr::memchr_iter(b',', value).count() + 1;
            }
            _ => {}
        }
    }
    match addresses > FORWARDED_FOR_ADDRESSES_MAX {
        true => Err(ErrorKind::ForwardedForTooLong),
        false => Ok(survey),
    }
}

fn request_line(request: &Request<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(request.method());
    out.push(b' ');
    let path_and_query = request.head.path_and_query.of(request.bytes);
    // An absolute target may lack the path (RFC 9112 §3.2.1).
    if !matches!(path_and_query.first(), Some(b'/' | b'*')) {
        out.push(b'/');
    }
    out.extend_from_slice(path_and_query);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

fn forwarded_for(request: &Request<'_>, survey: &Survey, arrival: &Arrival<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    if survey.forwarded_for {
        for field in &request.head.fields {
            if field.kind == FieldKind::ForwardedFor && !field.value.is_empty() {
                out.extend_from_slice(field.value.of(request.bytes));
                out.extend_from_slice(b", ");
            }
        }
    }
    match arrival.listener.settings.http.xff_client_port {
        true => address_and_port(arrival.peer, out),
        false => address(arrival.peer.ip(), out),
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends an address as text; the common family without the formatting machinery.
fn address(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => encode::ipv4(ip, out),
        // Writing to a vector does not fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

fn address_and_port(peer: SocketAddr, out: &mut Vec<u8>) {
    match peer.ip() {
        ip @ IpAddr::V4(_) => address(ip, out),
        IpAddr::V6(ip) => drop(write!(out, "[{ip}]")),
    }
    out.push(b':');
    encode::decimal(u64::from(peer.port()), out);
}

/// Appends the value of Host (AWS: `routing.http.preserve_host_header.enabled`).
fn host(request: &Request<'_>, survey: &Survey, arrival: &Arrival<'_>, out: &mut Vec<u8>) {
    let settings = &arrival.listener.settings;
    if settings.http.preserve_host_header && survey.has_host {
        // The Host field, or the authority of an absolute target, by which the request was routed
        // and which replaces a Host that says otherwise (RFC 9112 §3.2.2).
        out.extend_from_slice(request.head.authority.of(request.bytes));
        return;
    }
    let port = settings.address.port();
    let standard = matches!(port, 80 | 443);
    let (host, named_port) = split_port(request.head.authority.of(request.bytes));
    match host {
        [] => match arrival.local.ip() {
            IpAddr::V6(ip) => drop(write!(out, "[{ip}]")),
            ip @ IpAddr::V4(_) => address(ip, out),
        },
        host => out.extend(host.iter().map(u8::to_ascii_lowercase)),
    }
    if standard {
        return;
    }
    out.push(b':');
    match named_port {
        Some(named) if !named.is_empty() => out.extend_from_slice(named),
        _ => encode::decimal(u64::from(port), out),
    }
}

/// Appends the value of X-Amzn-Trace-Id (AWS: "Request tracing").
pub(super) fn trace_id(
    request: &Request<'_>,
    known: Option<Span>,
    arrival: &Arrival<'_>,
    out: &mut Vec<u8>,
) {
    let known = known.map(|span| span.of(request.bytes));
    let known = known.filter(|_| request.head.bytes <= TRACED_HEAD_BYTES_MAX);
    let fresh = |key: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"=1-");
        encode::hexadecimal::<8>(arrival.epoch, out);
        out.push(b'-');
        let [high, low] = arrival.random;
        encode::hexadecimal::<8>(high, out);
        encode::hexadecimal::<16>(low, out);
    };
    let Some(known) = known.filter(|known| !known.is_empty()) else { return fresh("Root", out) };
    fresh("Self", out);
    for part in known.split(|&byte| byte == b';').map(<[u8]>::trim_ascii) {
        let is_self = part.get(..5).is_some_and(|key| key.eq_ignore_ascii_case(b"Self="));
        if !is_self && !part.is_empty() {
            out.push(b';');
            out.extend_from_slice(part);
        }
    }
}

fn keep_in_request(request: &Request<'_>, options: &HttpOptions, field: &Field) -> bool {
    match field.kind {
        // Written by us, or for this hop only.
        FieldKind::ClientCertificate
        | FieldKind::Connection
        | FieldKind::ContentLength
        | FieldKind::Expect
        | FieldKind::ForwardedPort
        | FieldKind::ForwardedProto
        | FieldKind::Host
        | FieldKind::KeepAlive
        | FieldKind::ProxyConnection
        | FieldKind::Te
        | FieldKind::TraceId
        | FieldKind::TransferEncoding
        | FieldKind::Upgrade => false,
        FieldKind::ForwardedFor => options.xff_header_processing == XffProcessing::Preserve,
        FieldKind::Trailer => request.head.body == BodyLength::Chunked,
        FieldKind::Cookie
        | FieldKind::Date
        | FieldKind::Server
        | FieldKind::TraceParent
        | FieldKind::Other => {
            let name = field.name.of(request.bytes);
            let named = request.head.connection_names_fields
                && is_named(request.bytes, &request.head.fields, name);
            // Nobody but us tells a target how the client's connection is encrypted.
            let forged = options.tls_version_and_cipher_suite
                && [TLS_VERSION, TLS_CIPHER_SUITE]
                    .iter()
                    .any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()));
            let valid = !options.drop_invalid_header_fields || is_valid_name(name);
            !named && !forged && valid
        }
    }
}

/// Whether `field` says nothing of the trace of `span`: that is written anew, and what others know
/// of a trace does not belong to one that begins here (W3C Trace Context §3.3, §4.3).
fn is_apart(request: &Request<'_>, span: &Context, field: &Field) -> bool {
    let begins = span.parent.is_none();
    let is_state = || field.name.of(request.bytes).eq_ignore_ascii_case(b"tracestate");
    field.kind != FieldKind::TraceParent && !(begins && is_state())
}

/// Whether a `Connection` field of the head names `name` (RFC 9110 §7.6.1).
fn is_named(bytes: &[u8], fields: &[Field], name: &[u8]) -> bool {
    let connections = fields.iter().filter(|field| field.kind == FieldKind::Connection);
    connections
        .flat_map(|field| fields::tokens(field.value.of(bytes)))
        .any(|token| token.eq_ignore_ascii_case(name))
}

/// Whether ALB calls the name valid: letters, digits and hyphens.
fn is_valid_name(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// How the end of a response body is shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// By the length that the target gave, or there is no body.
    Length,
    /// By chunked transfer coding.
    Chunked,
    /// By closing the connection.
    Close,
}

/// Decides how the end of the body is shown to a client of `version`.
pub(super) fn shown(response: &ResponseHead, version: Version) -> Shown {
    match (response.body, version) {
        (BodyLength::None | BodyLength::Known(_), _) => Shown::Length,
        (BodyLength::Chunked | BodyLength::UntilClose, Version::Http10) => Shown::Close,
        (BodyLength::Chunked | BodyLength::UntilClose, _) => Shown::Chunked,
    }
}

/// What the client is told about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It stays open, which needs no word in HTTP/1.1.
    Keep(Version),
    /// It closes after this response.
    Close,
    /// It becomes a WebSocket.
    Upgrade,
}

/// Appends the head of `response`, whose bytes are in `bytes`, as the client gets it, but for the
/// empty line at its end: fields of our own may follow.
pub(super) fn response(
    response: &ResponseHead,
    bytes: &[u8],
    method: Method,
    shown: Shown,
    persistence: Persistence,
    out: &mut Vec<u8>,
) {
    status_line(response.status, response.reason.of(bytes), out);
    let without_length = matches!(response.status, 100..=199 | 204) && method != Method::Head;
    let mut has_length = without_length || shown != Shown::Length;
    encode::fields(bytes, &response.fields, out, |field| match field.kind {
        FieldKind::Connection
        | FieldKind::KeepAlive
        | FieldKind::ProxyConnection
        | FieldKind::TransferEncoding
        | FieldKind::Upgrade => false,
        FieldKind::ContentLength => !std::mem::replace(&mut has_length, true),
        FieldKind::Trailer => shown == Shown::Chunked,
        _ => {
            !(response.connection_names_fields
                && is_named(bytes, &response.fields, field.name.of(bytes)))
        }
    });
    if shown == Shown::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    match persistence {
        Persistence::Keep(Version::Http11 | Version::Http2) => {}
        Persistence::Keep(Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Persistence::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Persistence::Upgrade => {
            out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: websocket\r\n");
        }
    }
}

/// Appends a status line.
pub(super) fn status_line(status: u16, reason: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    encode::decimal(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}
