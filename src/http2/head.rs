//! Heads and trailers from the fields of HTTP/2 to HTTP/1.1 bytes, and back.
//!
//! Towards HTTP/1.1 every byte is checked here, whatever has been checked before: a line end or a
//! space in the wrong place would be a request of the client's own making. From HTTP/1.1 come only
//! heads that were written by us, line by line.

use std::fmt;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, request};

/// What most heads need, in bytes.
pub(super) const USUAL_BYTES: usize = 1024;
/// Most bytes of a head that we write: what was accepted, and what we add to it.
const OUT_BYTES_MAX: usize = 128 * 1024;

/// The key that a WebSocket begins with in HTTP/1.1 (RFC 6455 §4.1). Over HTTP/2 there is none, and
/// nothing depends on it: it only shows that a target has understood.
const WEBSOCKET_KEY: &[u8] = b"cmluZ3dheSBvdmVyIGgyLg==";

/// How the body behind a head is framed in HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// Exactly this many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Bytes of a tunnel, or until the end.
    Raw,
}

/// The rule of HTTP/2 that a message breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A byte stands in `:path` that may not (RFC 9113 §8.3.1).
    Path,
    /// `:authority` and `host` differ, or one holds what it may not (RFC 9113 §8.3.1).
    Authority,
    /// A value begins or ends with white space, or holds a control byte (RFC 9113 §8.2.1).
    Value,
    /// A field is about one connection only (RFC 9113 §8.2.2).
    Connection,
    /// A head that was to be sent is none of ours.
    Ours,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "character in the path",
            Self::Authority => "authority and host differ",
            Self::Value => "character in a field value",
            Self::Connection => "field of a connection",
            Self::Ours => "head without form",
        })
    }
}

impl std::error::Error for Malformed {}

/// Appends the head of the request `parts`, and says how its body is framed. `ended`: it has none.
pub(super) fn request(
    parts: &request::Parts,
    ended: bool,
    out: &mut Vec<u8>,
) -> Result<Framing, Malformed> {
    let websocket = is_websocket(parts);
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    request_line(parts, websocket, authority, out)?;
    if let Some(host) = host(&parts.headers, authority)? {
        field(b"Host", host, out);
    }
    if websocket {
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: websocket\r\n");
        field(b"Sec-WebSocket-Key", WEBSOCKET_KEY, out);
    }
    let mut framing = match (websocket, ended) {
        (true, _) => Framing::Raw,
        (false, true) => Framing::None,
        (false, false) => Framing::Chunked,
    };
    for (name, value) in &parts.headers {
        check(value)?;
        match *name {
            header::HOST | header::COOKIE => continue,
            header::CONTENT_LENGTH if websocket => continue,
            header::CONTENT_LENGTH => framing = length(value).unwrap_or(framing),
            header::SEC_WEBSOCKET_KEY if websocket => continue,
            _ if is_of_connection(name) => return Err(Malformed::Connection),
            _ => {}
        }
        field(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    cookies(&parts.headers, out);
    if framing == Framing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(framing)
}

/// Whether it asks for a WebSocket (RFC 8441 §4).
fn is_websocket(parts: &request::Parts) -> bool {
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    parts.method == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

fn request_line(
    parts: &request::Parts,
    websocket: bool,
    authority: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let is_connect = parts.method == Method::CONNECT;
    let target = match (is_connect, websocket) {
        // Refused further on, as every other CONNECT.
        (true, false) => authority.unwrap_or_default(),
        _ => parts.uri.path_and_query().map_or("", |path| path.as_str()),
    };
    let begins = match target.as_bytes() {
        [b'/', ..] => true,
        b"*" => parts.method == Method::OPTIONS,
        [] => false,
        _ => is_connect && !websocket,
    };
    let may_stand = |byte: &u8| matches!(byte, b'!'..=b'"' | b'$'..=b'~' | 0x80..);
    if !begins || !target.as_bytes().iter().all(may_stand) {
        return Err(Malformed::Path);
    }
    out.extend_from_slice(if websocket { b"GET" } else { parts.method.as_str().as_bytes() });
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    Ok(())
}

/// The value of Host: `:authority`, with which a `host` must agree, or else that.
fn host<'a>(
    fields: &'a HeaderMap,
    authority: Option<&'a str>,
) -> Result<Option<&'a [u8]>, Malformed> {
    let mut hosts = fields.get_all(header::HOST).iter();
    let host = match (authority, hosts.next()) {
        (Some(authority), None) => authority.as_bytes(),
        (None, Some(host)) => host.as_bytes(),
        (Some(authority), Some(host))
            if host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) =>
        {
            authority.as_bytes()
        }
        (Some(_), Some(_)) => return Err(Malformed::Authority),
        (None, None) => return Ok(None),
    };
    let may_stand = |byte: &u8| byte.is_ascii_graphic() && *byte != b'@';
    match hosts.next().is_none() && host.iter().all(may_stand) {
        true => Ok(Some(host)),
        false => Err(Malformed::Authority),
    }
}

/// Joins what a client may have sent in pieces (RFC 9113 §8.2.3).
fn cookies(fields: &HeaderMap, out: &mut Vec<u8>) {
    let mut separator: &[u8] = b"cookie: ";
    for crumb in fields.get_all(header::COOKIE) {
        out.extend_from_slice(separator);
        out.extend_from_slice(crumb.as_bytes());
        separator = b"; ";
    }
    if separator == b"; " {
        out.extend_from_slice(b"\r\n");
    }
}

pub(super) fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

pub(super) fn check(value: &HeaderValue) -> Result<(), Malformed> {
    let bytes = value.as_bytes();
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let may_stand = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    match is_space(bytes.first()) || is_space(bytes.last()) || !bytes.iter().all(may_stand) {
        true => Err(Malformed::Value),
        false => Ok(()),
    }
}

/// Whether a field says something of one connection (RFC 9113 §8.2.2).
pub(super) fn is_of_connection(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 3] = [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE];
    NAMES.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// What a length says; `None` where it is none, which `http1` refuses.
pub(super) fn length(value: &HeaderValue) -> Option<Framing> {
    Some(Framing::Length(value.to_str().ok()?.parse().ok()?))
}

/// Appends the last chunk, `trailers`, and the empty line.
pub(super) fn trailer_section(trailers: Option<&HeaderMap>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if check(value).is_ok() {
            field(name.as_str().as_bytes(), value.as_bytes(), out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A response head of ours, as HTTP/2 says it.
#[derive(Debug)]
pub(super) struct Responding {
    pub(super) response: Response<()>,
    /// How the body behind the head is framed.
    pub(super) framing: Framing,
}

/// Where the head at the start of `bytes` ends; `None` while it is not whole.
///
/// # Errors
/// [`Malformed::Ours`] where it does not end.
pub(super) fn end(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match memchr::memmem::find(bytes, b"\r\n\r\n") {
        Some(at) => Ok(Some(at + 4)),
        None if bytes.len() > OUT_BYTES_MAX => Err(Malformed::Ours),
        None => Ok(None),
    }
}

/// Reads the whole response head `head`, which answers a HEAD if `is_head`.
pub(super) fn response(head: &Bytes, is_head: bool) -> Result<Responding, Malformed> {
    let line = memchr::memchr(b'\n', head).ok_or(Malformed::Ours)?;
    let status = head.get(9..12).ok_or(Malformed::Ours)?;
    let status = StatusCode::from_bytes(status).map_err(|_| Malformed::Ours)?;
    let mut fields = HeaderMap::with_capacity(16);
    let said = read_fields(head, line + 1, &mut fields)?;
    let (mut parts, ()) = Response::new(()).into_parts();
    let framing = match (status.as_u16(), said) {
        (101, _) => Framing::Raw,
        (100..=199 | 204 | 304, _) | (_, Some(Framing::Length(0))) => Framing::None,
        _ if is_head => Framing::None,
        (_, said) => said.unwrap_or(Framing::Raw),
    };
    parts.status = match status {
        StatusCode::SWITCHING_PROTOCOLS => {
            fields.remove(header::SEC_WEBSOCKET_ACCEPT);
            StatusCode::OK
        }
        status => status,
    };
    parts.headers = fields;
    Ok(Responding { response: Response::from_parts(parts, ()), framing })
}

/// The trailers of a section that begins with the last chunk.
pub(super) fn trailers(section: &Bytes) -> Result<Option<HeaderMap>, Malformed> {
    let Some(line) = memchr::memchr(b'\n', section) else { return Ok(None) };
    let mut fields = HeaderMap::new();
    read_fields(section, line + 1, &mut fields)?;
    Ok((!fields.is_empty()).then_some(fields))
}

/// Reads the lines from `at` to the empty one. Fields about the connection are left out; what they
/// say of the body is returned.
pub(super) fn read_fields(
    head: &Bytes,
    mut at: usize,
    fields: &mut HeaderMap,
) -> Result<Option<Framing>, Malformed> {
    let mut framing = None;
    while let Some(len) = head.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let line = head.slice(at..at + len.saturating_sub(1));
        at += len + 1;
        if line.is_empty() {
            break;
        }
        let colon = memchr::memchr(b':', &line).ok_or(Malformed::Ours)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| Malformed::Ours)?;
        let start = line.len() - line[colon + 1..].trim_ascii_start().len();
        let value = HeaderValue::from_maybe_shared(line.slice(start..));
        let value = value.map_err(|_| Malformed::Ours)?;
        match name {
            header::TRANSFER_ENCODING => framing = Some(Framing::Chunked),
            _ if is_of_connection(&name) => {}
            name => {
                if name == header::CONTENT_LENGTH {
                    framing = length(&value);
                }
                fields.append(name, value);
            }
        }
    }
    Ok(framing)
}
