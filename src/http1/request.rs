//! Request heads: bytes to [`RequestHead`], or the rule that they break.
//!
//! Parsing is strict: whatever RFC 9112 calls ambiguous is an error, so that no target can read a
//! request otherwise than it was routed. Start with [`parse_request`].

use crate::message::{BodyLength, FieldKind, Method, RequestHead, Span, Version, split_port};
use crate::model::{
    DesyncMitigation, FIELD_BYTES_MAX, REQUEST_HEAD_BYTES_MAX, REQUEST_LINE_BYTES_MAX,
};

use super::HeadError;
use super::fields::{self, Connection, LineEnds};

/// Whether a head is there as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// It is; the head says how many bytes it takes.
    Complete,
    /// More bytes are needed.
    Partial,
}

/// Reads the request head at the start of `bytes` into `head`.
///
/// # Errors
/// The rule that it breaks; `head` is then in no particular state.
pub fn parse_request(
    bytes: &[u8],
    mitigation: DesyncMitigation,
    head: &mut RequestHead,
) -> Result<Parsed, HeadError> {
    let start = leading_line(bytes)?;
    let rest = &bytes[start..];
    let mut slices = fields::slices();
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(rest, &mut slices) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return check_partial(rest).map(|()| Parsed::Partial),
        // How a version that we do not speak goes on decides between 400 and 505.
        Err(_) if is_in_version(rest) => return check_partial(rest).map(|()| Parsed::Partial),
        Err(error) => return Err(refine(rest, fields::parse_error(error))),
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(HeadError::Malformed);
    };
    head.bytes = start + len;
    head.version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let first_field = read_request_line(bytes, start, method, target, head)?;
    let end = head.bytes;
    fields::read(bytes, request.headers, first_field, end, LineEnds::Strict, &mut head.fields)?;
    check_limits(head, first_field - start)?;
    read_fields(bytes, mitigation, head)?;
    Ok(Parsed::Complete)
}

/// Skips one empty line in front of the request (RFC 9112 §2.2).
fn leading_line(bytes: &[u8]) -> Result<usize, HeadError> {
    match bytes {
        [b'\r', b'\n', b'\r' | b'\n', ..] | [b'\n', ..] => Err(HeadError::Malformed),
        [b'\r', b'\n', ..] => Ok(2),
        _ => Ok(0),
    }
}

/// Bounds a head that is still growing.
fn check_partial(bytes: &[u8]) -> Result<(), HeadError> {
    let line = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    if line > REQUEST_LINE_BYTES_MAX {
        return Err(HeadError::RequestLineTooLong);
    }
    if bytes.len() > REQUEST_HEAD_BYTES_MAX {
        return Err(HeadError::HeadTooLong);
    }
    Ok(())
}

fn check_limits(head: &RequestHead, line_bytes: usize) -> Result<(), HeadError> {
    if line_bytes > REQUEST_LINE_BYTES_MAX {
        return Err(HeadError::RequestLineTooLong);
    }
    if head.bytes > REQUEST_HEAD_BYTES_MAX {
        return Err(HeadError::HeadTooLong);
    }
    match head.fields.iter().any(|field| field.name.len() + field.value.len() > FIELD_BYTES_MAX) {
        true => Err(HeadError::FieldTooLong),
        false => Ok(()),
    }
}

/// Whether the bytes end within the version of a request line that is good so far.
fn is_in_version(bytes: &[u8]) -> bool {
    let mut words = bytes.split(|&byte| byte == b' ');
    let (Some([_, ..]), Some([_, ..]), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    let form = b"HTTP/9.9\r";
    let fits = |(&byte, &form): (&u8, &u8)| match form {
        b'9' => byte.is_ascii_digit(),
        form => byte == form,
    };
    version.len() <= form.len() && version.iter().zip(form).all(fits)
}

/// Tells a version that we do not speak and a line that is too long from other nonsense: they
/// have status codes of their own.
fn refine(bytes: &[u8], error: HeadError) -> HeadError {
    let line = &bytes[..memchr::memchr(b'\n', bytes).unwrap_or(bytes.len())];
    if line.len() > REQUEST_LINE_BYTES_MAX {
        return HeadError::RequestLineTooLong;
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|&byte| byte == b' ');
    let (method, _, version) = (words.next(), words.next(), words.next());
    let known = |digit: &u8| digit.is_ascii_digit();
    match (version, words.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if known(major) && known(minor) && method.is_some_and(|m| !m.is_empty()) =>
        {
            match (major, minor) {
                (b'1', b'0' | b'1') => error,
                _ => HeadError::Version,
            }
        }
        _ if error == HeadError::Version => HeadError::Malformed,
        _ => error,
    }
}

/// Checks the request line to the byte and returns where the first field begins.
fn read_request_line(
    bytes: &[u8],
    start: usize,
    method: &str,
    target: &str,
    head: &mut RequestHead,
) -> Result<usize, HeadError> {
    let method_end = start + method.len();
    head.method = Method::of(method.as_bytes());
    head.method_span = Span::new(start, method_end);
    let target_start = fields::offset(bytes, target.as_bytes());
    let target_end = target_start + target.len();
    head.target = Span::new(target_start, target_end);
    // One space, the target, one space, `HTTP/1.x`: eight bytes.
    if target_start != method_end + 1 || bytes[method_end] != b' ' || bytes[target_end] != b' ' {
        return Err(HeadError::Malformed);
    }
    let version_end = target_end + 9;
    if bytes.get(version_end..version_end + 2) != Some(b"\r\n") {
        return Err(HeadError::LineEnd);
    }
    read_target(bytes, head)?;
    Ok(version_end + 2)
}

/// Splits the request target by its form (RFC 9112 §3.2).
fn read_target(bytes: &[u8], head: &mut RequestHead) -> Result<(), HeadError> {
    let target = head.target.of(bytes);
    if target.iter().any(|&byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
        return Err(HeadError::Target);
    }
    head.authority = Span::default();
    let Span { start, end } = head.target;
    let path_start = match target {
        [b'/', ..] => start,
        b"*" if head.method == Method::Options => start,
        // The authority form; refused further on, like every CONNECT.
        _ if head.method == Method::Connect => end,
        _ => {
            let scheme = scheme_bytes(target).ok_or(HeadError::Target)?;
            let rest = &target[scheme..];
            let len = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
            let authority = start as usize + scheme;
            head.authority = Span::new(authority, authority + len);
            if len == 0 || !is_authority(&rest[..len]) {
                return Err(HeadError::Host);
            }
            start + (scheme + len) as u32
        }
    };
    head.path_and_query = Span { start: path_start, end };
    let path_and_query = head.path_and_query.of(bytes);
    let query = memchr::memchr(b'?', path_and_query).map(|at| path_start + at as u32);
    head.path = Span { start: path_start, end: query.unwrap_or(end) };
    head.query = query.map(|at| Span { start: at + 1, end });
    Ok(())
}

/// Length of the scheme at the start of an absolute target.
fn scheme_bytes(target: &[u8]) -> Option<usize> {
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    let starts = |scheme: &[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    schemes.into_iter().find(|scheme| starts(scheme)).map(<[u8]>::len)
}

/// Whether `text` is `host` or `host:port` (RFC 3986 §3.2.2), without user information.
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = split_port(text);
    let port_ok = port.is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit));
    let host_ok = match host {
        [] => false,
        [b'[', inner @ .., b']'] => {
            inner.iter().all(|&byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }
        name => name
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(&byte)),
    };
    port_ok && host_ok
}

/// Reads what the fields say about framing, host and connection.
fn read_fields(
    bytes: &[u8],
    mitigation: DesyncMitigation,
    head: &mut RequestHead,
) -> Result<(), HeadError> {
    let mut connection = Connection::default();
    let (mut length, mut coding, mut host) = (None, None, None);
    let mut websocket = false;
    head.expects_continue = false;
    for field in &head.fields {
        let value = field.value.of(bytes);
        match field.kind {
            FieldKind::Connection => connection.add(value),
            FieldKind::ContentLength if length.is_some() => return Err(HeadError::ContentLength),
            FieldKind::ContentLength => length = Some(fields::content_length(value)?),
            FieldKind::TransferEncoding if coding.is_some() => {
                return Err(HeadError::TransferEncoding);
            }
            FieldKind::TransferEncoding => coding = Some(value),
            FieldKind::Host if host.is_some() => return Err(HeadError::Host),
            FieldKind::Host => host = Some(field.value),
            FieldKind::Expect => {
                head.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            FieldKind::Upgrade => websocket = value.eq_ignore_ascii_case(b"websocket"),
            FieldKind::Other => check_name(field.name.of(bytes))?,
            _ => {}
        }
    }
    head.body = request_body(head, length, coding)?;
    read_host(bytes, host, head)?;
    head.persistent = match head.version {
        Version::Http11 | Version::Http2 => !connection.close,
        Version::Http10 => connection.keep_alive && !connection.close,
    };
    head.expects_continue &= head.version == Version::Http11 && head.body != BodyLength::None;
    head.connection_names_fields = connection.names_fields;
    head.upgrade_websocket = websocket
        && connection.upgrade
        && head.version == Version::Http11
        && head.method == Method::Get
        && head.body == BodyLength::None;
    match mitigation {
        DesyncMitigation::Strictest => check_compliance(bytes, head, length),
        DesyncMitigation::Defensive => Ok(()),
    }
}

/// How the body ends (RFC 9112 §6.3, for requests).
fn request_body(
    head: &RequestHead,
    length: Option<u64>,
    coding: Option<&[u8]>,
) -> Result<BodyLength, HeadError> {
    match (length, coding) {
        (Some(_), Some(_)) => Err(HeadError::LengthAndChunked),
        (None, Some(_)) if head.version == Version::Http10 => Err(HeadError::TransferEncoding),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(BodyLength::Chunked),
        (None, Some(coding)) => Err(refuse_coding(coding)),
        (None | Some(0), None) => Ok(BodyLength::None),
        (Some(length), None) => Ok(BodyLength::Known(length)),
    }
}

/// A coding that exists gets 501, anything else 400.
fn refuse_coding(coding: &[u8]) -> HeadError {
    const KNOWN: [&str; 7] =
        ["gzip", "x-gzip", "deflate", "compress", "x-compress", "identity", "chunked"];
    let mut chunked = 0;
    let mut count = 0;
    for token in fields::tokens(coding) {
        count += 1;
        if !KNOWN.iter().any(|known| token.eq_ignore_ascii_case(known.as_bytes())) {
            return HeadError::TransferEncoding;
        }
        chunked += usize::from(token.eq_ignore_ascii_case(b"chunked"));
    }
    match (count, chunked) {
        (0, _) | (_, 2..) | (1, 1) => HeadError::TransferEncoding,
        _ => HeadError::TransferCodingUnsupported,
    }
}

fn read_host(bytes: &[u8], host: Option<Span>, head: &mut RequestHead) -> Result<(), HeadError> {
    match host {
        Some(host) if !is_authority(host.of(bytes)) => Err(HeadError::Host),
        // The authority of an absolute target takes the place of Host (RFC 9112 §3.2.2).
        Some(host) if head.authority.is_empty() => {
            head.authority = host;
            Ok(())
        }
        Some(_) => Ok(()),
        None if head.version == Version::Http10 => Ok(()),
        None => Err(HeadError::Host),
    }
}

/// Refuses names that differ from a framing field only by characters that others may drop.
fn check_name(name: &[u8]) -> Result<(), HeadError> {
    /// Shorter names cannot spell `contentlength`.
    const SHORTEST: usize = 13;
    let spells = |word: &str| {
        let letters = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
        letters.map(u8::to_ascii_lowercase).eq(word.bytes())
    };
    match name.len() >= SHORTEST && (spells("contentlength") || spells("transferencoding")) {
        true => Err(HeadError::SuspiciousField),
        false => Ok(()),
    }
}

/// What only strictest mode refuses (AWS desync mitigation, classes Acceptable and Ambiguous).
fn check_compliance(
    bytes: &[u8],
    head: &RequestHead,
    length: Option<u64>,
) -> Result<(), HeadError> {
    let bodiless = matches!(head.method, Method::Get | Method::Head);
    let body_where_none_is_defined =
        bodiless && (length.is_some() || head.body != BodyLength::None);
    let raw_target = head.target.of(bytes).iter().any(|byte| !byte.is_ascii());
    match body_where_none_is_defined || raw_target {
        true => Err(HeadError::NotCompliant),
        false => Ok(()),
    }
}
