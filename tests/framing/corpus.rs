//! Malformed and ambiguous requests, each with what may come of it.
//!
//! The tables hold what varies; [`all`] puts the rest around it. Whatever must be refused is
//! followed by a whole request for `/smuggled`, which no target may ever see.

use std::iter;

use crate::bodies::{CHUNKED_BODIES, TRUNCATED};
use crate::fields::{CHUNKED_FIELDS, HELLO_FIELDS, SMUGGLING_FIELDS};
use crate::heads::HEADS;

/// What may come of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// One of these statuses, then the connection closes; nothing complete at the target.
    Refused(&'static [u16]),
    /// One request with this body at the target.
    One(&'static [u8]),
    /// Either 400 and close, or one request with this body.
    RefusedOrOne(&'static [u8]),
    /// The client ends in the middle: nothing complete at the target.
    Never,
}

pub(crate) use Intent::{Never, One, Refused, RefusedOrOne};

/// The status of nearly every refusal.
pub(crate) const BAD: Intent = Refused(&[400]);
/// One request without a body.
pub(crate) const FINE: Intent = One(b"");
/// Refused, or one request without a body.
pub(crate) const EITHER: Intent = RefusedOrOne(b"");

/// What is hidden behind requests that must be refused.
pub(crate) const HIDDEN: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A request of the corpus.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) intent: Intent,
}

impl Case {
    fn new(name: &str, parts: &[&[u8]], intent: Intent) -> Self {
        let hidden = if matches!(intent, Refused(_)) { HIDDEN } else { b"" };
        let bytes = [&parts.concat(), hidden].concat();
        Self { name: name.to_owned(), bytes, intent }
    }

    /// The head: everything up to the first empty line, or all if there is none.
    pub(crate) fn head(&self) -> &[u8] {
        let end = self.bytes.windows(4).position(|window| window == b"\r\n\r\n");
        end.map_or(&self.bytes, |at| &self.bytes[..at + 4])
    }
}

/// The whole corpus.
pub(crate) fn all() -> Vec<Case> {
    let start: &[u8] = b"POST /case HTTP/1.1\r\nHost: a.example\r\n";
    let chunked: &[u8] =
        b"POST /case HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    let smuggling = SMUGGLING_FIELDS.iter().map(|&(name, fields, statuses)| {
        Case::new(name, &[start, fields, b"\r\n\r\n0\r\n\r\n"], Refused(statuses))
    });
    let hello = HELLO_FIELDS
        .iter()
        .map(|&(name, fields, intent)| Case::new(name, &[start, fields, b"\r\n\r\nhello"], intent));
    let chunked_fields = CHUNKED_FIELDS.iter().map(|&(name, fields, intent)| {
        Case::new(name, &[start, fields, b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"], intent)
    });
    let heads = HEADS.iter().map(|&(name, head, intent)| Case::new(name, &[head], intent));
    let bodies = CHUNKED_BODIES
        .iter()
        .map(|&(name, body, intent)| Case::new(name, &[chunked, body], intent));
    let truncated = TRUNCATED.iter().map(|&(name, bytes)| Case::new(name, &[bytes], Never));
    let all = smuggling.chain(hello).chain(chunked_fields).chain(heads).chain(bodies);
    all.chain(truncated).chain(limits()).collect()
}

/// Requests at and beyond the limits on sizes and counts.
fn limits() -> impl Iterator<Item = Case> {
    let get: &[u8] = b"GET /case HTTP/1.1\r\nHost: a.example\r\n";
    let long = |length: usize| iter::repeat_n(b'a', length).collect::<Vec<u8>>();
    let line = |length: usize| [b"GET /case?", &*long(length), b" HTTP/1.1\r\n"].concat();
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>();
    let field = |length: usize| [b"X-Long: ", &*long(length), b"\r\n"].concat();
    let addresses = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!("10.0.0.{n}")).collect();
        format!("X-Forwarded-For: {}\r\n", list.join(", "))
    };
    let chunk = |extension: usize| [b"5;a=", &*long(extension), b"\r\nhello\r\n0\r\n\r\n"].concat();
    let (host, coding, end): (&[u8], &[u8], &[u8]) =
        (b"Host: a.example\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n");
    [
        Case::new("request line of 15 KiB", &[&line(15 << 10), host, end], FINE),
        Case::new("request line of 17 KiB", &[&line(17 << 10), host, end], Refused(&[414])),
        Case::new("request line of 70 KiB", &[&line(70 << 10), host, end], Refused(&[414])),
        Case::new("field of 15 KiB", &[get, &field(15 << 10), end], FINE),
        Case::new("field of 17 KiB", &[get, &field(17 << 10), end], BAD),
        Case::new("head of 60 KiB", &[get, &field(15 << 10).repeat(4), end], FINE),
        Case::new("head of 75 KiB", &[get, &field(15 << 10).repeat(5), end], BAD),
        Case::new("200 fields", &[get, fields(200).as_bytes(), end], FINE),
        Case::new("257 fields", &[get, fields(256).as_bytes(), end], BAD),
        Case::new("2000 fields", &[get, fields(2000).as_bytes(), end], BAD),
        Case::new("30 forwarded addresses", &[get, addresses(30).as_bytes(), end], FINE),
        Case::new("chunk extension of 100 KiB", &[get, coding, &chunk(100 << 10)], HELLO_OR_BAD),
        Case::new(
            "trailers of 80 KiB",
            &[get, coding, b"0\r\n", &field(16_000).repeat(5), end],
            BAD,
        ),
    ]
    .into_iter()
}

const HELLO_OR_BAD: Intent = RefusedOrOne(b"hello");
