//! A request to a target over one stream: the other side of what clients do.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, response};

use super::head::{self, Framing, Malformed};
use super::{Error, Inward, Outward, Reason, io_error};
use crate::http1::encode;
use crate::model::RESPONSE_HEAD_BYTES_MAX;

/// Streams that we have open at once over one connection with a target, where it allows as many.
/// While it has not said how many, it gets one, since it might refuse more.
pub const TARGET_STREAMS_MAX: usize = 128;
/// Bytes of a body that a target may send before they are read, per stream.
pub const TARGET_STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// The same for all streams of a connection with a target: as much as they may hold together, so
/// that clients who read slowly, even all but one of them, never stop the one who does not.
pub const TARGET_WINDOW_BYTES: u32 = TARGET_STREAMS_MAX as u32 * TARGET_STREAM_WINDOW_BYTES;
/// Streams that we have reset and of which frames may still come.
const RESET_STREAMS_MAX: usize = 256;

/// A connection with a target, over `T`.
pub type Calling<T> = h2::client::Connection<T, Bytes>;
/// Where requests to a target go.
pub type Caller = h2::client::SendRequest<Bytes>;

/// How connections with targets are made.
#[must_use]
pub fn calling() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(1)
        .initial_window_size(TARGET_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(TARGET_WINDOW_BYTES)
        .max_header_list_size(RESPONSE_HEAD_BYTES_MAX as u32)
        .max_send_buffer_size(super::SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX);
    builder
}

/// The bytes of a new stream of `caller`: a request is written to the one, its response read from
/// the other. The request says `https` where the connection `is_sealed`.
#[must_use]
pub fn ask(caller: Caller, is_sealed: bool) -> (Inward, Outward) {
    let answer = Rc::new(RefCell::new(Answer::NotAsked));
    let scheme = if is_sealed { Scheme::HTTPS } else { Scheme::HTTP };
    let asking = Asking { caller, scheme, answer: answer.clone() };
    (Inward::awaited(answer), Outward::ask(asking))
}

/// Whether `error` says that the target has not looked at the request, whatever it asks for: it has
/// refused the stream, or says with GOAWAY that it did not get so far (RFC 9113 §8.7).
#[must_use]
pub fn is_unprocessed(error: &io::Error) -> bool {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return false;
    };
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

/// A request that is still to be written.
pub(super) struct Asking {
    caller: Caller,
    scheme: Scheme,
    answer: Rc<RefCell<Answer>>,
}

/// What there is of an answer.
pub(super) enum Answer {
    NotAsked,
    Awaited {
        response: ResponseFuture,
        is_head: bool,
    },
    /// The request could not be sent.
    Failed(Error),
    /// It has come, or has failed to.
    Over,
}

impl Asking {
    /// Sends the whole request head `head`; returns the stream of the body, and how that is framed.
    pub(super) fn send(mut self, head: &Bytes) -> io::Result<(h2::SendStream<Bytes>, Framing)> {
        let wrong = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let (request, framing) = request(head, self.scheme.clone()).map_err(wrong)?;
        let is_head = request.method() == Method::HEAD;
        match self.caller.send_request(request, framing == Framing::None) {
            Ok((response, body)) => {
                *self.answer.borrow_mut() = Answer::Awaited { response, is_head };
                Ok((body, framing))
            }
            Err(error) => {
                *self.answer.borrow_mut() = Answer::Failed(error);
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
    }
}

impl Answer {
    /// Waits for the response; appends its head to `out`.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<io::Result<(Framing, RecvStream)>> {
        let (answered, is_head) = match self {
            Self::Awaited { response, is_head } => {
                (ready!(std::pin::Pin::new(response).poll(cx)), *is_head)
            }
            Self::NotAsked | Self::Failed(_) | Self::Over => {
                return Poll::Ready(Err(match std::mem::replace(self, Self::Over) {
                    Self::Failed(error) => io_error(error),
                    _ => io::ErrorKind::NotConnected.into(),
                }));
            }
        };
        *self = Self::Over;
        let (parts, body) = answered.map_err(io_error)?.into_parts();
        let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let framing = response(&parts, body.is_end_stream(), is_head, out).map_err(wrong)?;
        Poll::Ready(Ok((framing, body)))
    }
}

/// Reads the whole request head `head`, one of ours.
fn request(head: &Bytes, scheme: Scheme) -> Result<(Request<()>, Framing), Malformed> {
    let line = memchr::memchr(b'\n', head).ok_or(Malformed::Ours)?;
    let mut words = head[..line].trim_ascii_end().splitn(3, |&byte| byte == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(Malformed::Ours);
    };
    let method = Method::from_bytes(method).map_err(|_| Malformed::Ours)?;
    let mut fields = HeaderMap::with_capacity(24);
    let framing = head::read_fields(head, line + 1, &mut fields)?;
    let host = fields.remove(header::HOST).ok_or(Malformed::Authority)?;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| Malformed::Authority)?);
    uri.path_and_query = Some(path_and_query(target)?);
    if is_grpc(&fields) {
        // It says that trailers reach us, without which servers answer nothing (gRPC over HTTP/2).
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Malformed::Path)?;
    *request.headers_mut() = fields;
    let framing = framing.filter(|framing| *framing != Framing::Length(0));
    Ok((request, framing.unwrap_or(Framing::None)))
}

/// `target` as it may stand in `:path`; what the URI of RFC 3986 does not know is escaped.
fn path_and_query(target: &[u8]) -> Result<PathAndQuery, Malformed> {
    if let Ok(path) = PathAndQuery::try_from(target) {
        return Ok(path);
    }
    let mut escaped = String::with_capacity(target.len() + 16);
    for &byte in target {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => {
                escaped.push(byte.into());
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    PathAndQuery::try_from(escaped).map_err(|_| Malformed::Path)
}

/// Whether what the fields are about is gRPC, which ends with trailers.
fn is_grpc(fields: &HeaderMap) -> bool {
    let media_type = fields.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    media_type.is_some_and(|text| text.starts_with(b"application/grpc"))
}

/// Appends the head of the response `parts` to a request that was a HEAD if `is_head`, and says how
/// its body is framed. `ended`: it has none.
fn response(
    parts: &response::Parts,
    ended: bool,
    is_head: bool,
    out: &mut Vec<u8>,
) -> Result<Framing, Malformed> {
    let status = parts.status.as_u16();
    if status < 200 {
        return Err(Malformed::Value);
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    encode::decimal(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(encode::reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(head::length);
    // What a length ends has no trailers in HTTP/1.1.
    let has_trailers = is_grpc(&parts.headers) || parts.headers.contains_key(header::TRAILER);
    let framing = match (is_head || matches!(status, 204 | 304), ended) {
        (true, _) | (false, true) => Framing::None,
        (false, false) if has_trailers => Framing::Chunked,
        (false, false) => length.unwrap_or(Framing::Chunked),
    };
    for (name, value) in &parts.headers {
        head::check(value)?;
        match *name {
            header::CONTENT_LENGTH if framing == Framing::Chunked => continue,
            _ if head::is_of_connection(name) => return Err(Malformed::Connection),
            _ => {}
        }
        head::field(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    match framing {
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None if !is_head && !matches!(status, 204 | 304) && length.is_none() => {
            out.extend_from_slice(b"Content-Length: 0\r\n");
        }
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok(framing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(head: &str) -> Result<(Request<()>, Framing), Malformed> {
        request(&Bytes::copy_from_slice(head.as_bytes()), Scheme::HTTP)
    }

    #[test]
    fn request_head_becomes_pseudo_fields_and_fields() {
        let (request, framing) = asked(
            "POST /a.B/C?x=1 HTTP/1.1\r\nX-Forwarded-For: 10.0.0.1\r\nHost: example.com:81\r\n\
             content-type: application/grpc+proto\r\ngrpc-timeout: 1S\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        )
        .unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri().to_string(), "http://example.com:81/a.B/C?x=1");
        let mut fields: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort_unstable();
        let expected = [
            "content-type: application/grpc+proto",
            "grpc-timeout: 1S",
            "te: trailers",
            "x-forwarded-for: 10.0.0.1",
        ];
        assert_eq!(fields, expected);
        assert_eq!(framing, Framing::Chunked);
    }

    #[test]
    fn bodies_of_requests_are_framed_as_they_say() {
        let rows = [
            ("", Framing::None),
            ("Content-Length: 5\r\n", Framing::Length(5)),
            ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
        ];
        for (fields, expected) in rows {
            let (request, framing) =
                asked(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).unwrap();
            assert_eq!(framing, expected, "{fields}");
            assert!(!request.headers().contains_key(header::TE), "no gRPC");
        }
    }

    #[test]
    fn what_no_uri_may_hold_is_escaped() {
        let rows = [
            ("/plain?q=1&r=%20", "/plain?q=1&r=%20"),
            ("/a|b^c?d\\e`f", "/a%7Cb%5Ec?d%5Ce%60f"),
            ("/a<b>", "/a%3Cb%3E"),
        ];
        for (path, expected) in rows {
            let (request, _) = asked(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            let known = request.uri().path_and_query().unwrap().as_str();
            assert!(known == expected || known == path, "{path}: {known}");
        }
        let (request, _) = asked("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(request.uri().path(), "*");
        assert!(asked("GET / HTTP/1.1\r\nHost: a b\r\n\r\n").is_err());
        assert!(asked("GET / HTTP/1.1\r\n\r\n").is_err(), "no Host");
    }

    fn answered(
        status: u16,
        fields: &[(&'static str, &'static str)],
        ended: bool,
        is_head: bool,
    ) -> Result<(String, Framing), Malformed> {
        let mut answer = http::Response::builder().status(status);
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        let (parts, ()) = answer.body(()).unwrap().into_parts();
        let mut out = Vec::new();
        let framing = response(&parts, ended, is_head, &mut out)?;
        Ok((String::from_utf8(out).unwrap(), framing))
    }

    #[test]
    fn response_head_says_how_its_body_ends() {
        let chunked = "Transfer-Encoding: chunked\r\n";
        let (length, grpc) = (("content-length", "3"), ("content-type", "application/grpc"));
        type Row<'a> = (u16, &'a [(&'static str, &'static str)], bool, bool, &'a str, Framing);
        let rows: [Row<'_>; 9] = [
            (200, &[], false, false, chunked, Framing::Chunked),
            (200, &[length], false, false, "content-length: 3\r\n", Framing::Length(3)),
            (200, &[length], true, true, "content-length: 3\r\n", Framing::None),
            (200, &[], true, true, "", Framing::None),
            (200, &[], true, false, "Content-Length: 0\r\n", Framing::None),
            (204, &[], true, false, "", Framing::None),
            (304, &[length], true, false, "content-length: 3\r\n", Framing::None),
            (200, &[grpc, length], false, false, chunked, Framing::Chunked),
            (404, &[("trailer", "x"), length], false, false, chunked, Framing::Chunked),
        ];
        for (status, fields, ended, is_head, end, expected) in rows {
            let (text, framing) = answered(status, fields, ended, is_head).unwrap();
            assert_eq!(framing, expected, "{status} {fields:?}");
            assert!(text.ends_with(&format!("{end}\r\n")), "{text}");
            let lines = text.to_lowercase();
            let framings =
                lines.matches("content-length").count() + lines.matches("chunked").count();
            assert_eq!(framings, usize::from(!end.is_empty()), "{text}");
        }
    }

    #[test]
    fn responses_that_http1_could_read_otherwise_are_refused() {
        assert!(answered(101, &[], false, false).is_err());
        assert!(answered(200, &[("connection", "close")], true, false).is_err());
        assert!(answered(200, &[("x", " padded")], true, false).is_err());
    }
}
