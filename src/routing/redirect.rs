//! Writes the `Location` of a redirect action (AWS: `RedirectConfig`).
//!
//! What it writes is always a whole URI of visible ASCII: bytes that are not are percent-encoded,
//! so neither a client nor an operator can end the header field early. Start with [`location`].

use std::io::Write;

use super::percent::escape;
use crate::model::{LOCATION_BYTES_MAX, Redirect, Template, TemplatePart};

/// The parts of a request that a redirect may mention, as they came.
#[derive(Debug, Clone, Copy)]
pub struct RedirectParts<'a> {
    /// `http` or `https`.
    pub protocol: &'a str,
    /// Host without port. The caller puts something sensible here, such as the address of the
    /// listener, when the request names none.
    pub host: &'a [u8],
    /// Port of the listener.
    pub port: u16,
    /// Path without query, as received.
    pub path: &'a [u8],
    /// Query without `?`; empty when there is none.
    pub query: &'a [u8],
}

/// The `Location` would be longer than [`LOCATION_BYTES_MAX`]: the request gets 507.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the Location would be longer than {LOCATION_BYTES_MAX} bytes")
    }
}

impl std::error::Error for TooLong {}

/// Appends `protocol://host:port/path?query` to `out`.
///
/// The port is always written, also the default one. Protocol and host are in lower case. There
/// is no `?` when the query expands to nothing.
///
/// # Errors
/// [`TooLong`] above [`LOCATION_BYTES_MAX`]; `out` is then as before.
pub fn location(
    redirect: &Redirect,
    parts: &RedirectParts<'_>,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    let start = out.len();
    let written = Location { parts, start, out }.write(redirect);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// A `Location` that is being written behind `start`.
struct Location<'a> {
    parts: &'a RedirectParts<'a>,
    start: usize,
    out: &'a mut Vec<u8>,
}

impl Location<'_> {
    fn write(&mut self, redirect: &Redirect) -> Result<(), TooLong> {
        self.expand(&redirect.protocol)?;
        self.out.extend(b"://");
        let host = self.out.len();
        self.expand(&redirect.host)?;
        self.out[host..].make_ascii_lowercase();
        self.out.push(b':');
        self.expand(&redirect.port)?;
        self.expand(&redirect.path)?;
        self.out.push(b'?');
        let query = self.out.len();
        self.expand(&redirect.query)?;
        if self.out.len() == query {
            self.out.pop();
        }
        self.check()
    }

    fn expand(&mut self, template: &Template) -> Result<(), TooLong> {
        let parts = self.parts;
        for part in &template.0 {
            match part {
                TemplatePart::Text(text) => self.push(text.as_bytes(), |_| true),
                TemplatePart::Protocol => self.push(parts.protocol.as_bytes(), |_| true),
                TemplatePart::Host => {
                    let host = self.out.len();
                    self.push(parts.host, is_of_host);
                    self.out[host..].make_ascii_lowercase();
                }
                TemplatePart::Port => {
                    // Cannot fail: a Vec takes every write.
                    let _ = write!(self.out, "{}", parts.port);
                }
                TemplatePart::Path => {
                    self.push(parts.path.strip_prefix(b"/").unwrap_or(parts.path), is_of_path);
                }
                TemplatePart::Query => self.push(parts.query, is_of_path),
            }
            // After each part, so that a template cannot pile up much more than the limit.
            self.check()?;
        }
        Ok(())
    }

    /// Appends `text`, with every byte escaped that is not visible ASCII or not `allowed`.
    fn push(&mut self, text: &[u8], allowed: impl Fn(u8) -> bool) {
        for &byte in text {
            if byte.is_ascii_graphic() && allowed(byte) {
                self.out.push(byte);
            } else {
                self.out.extend(escape(byte));
            }
        }
    }

    fn check(&self) -> Result<(), TooLong> {
        let len = self.out.len() - self.start;
        if len > LOCATION_BYTES_MAX { Err(TooLong) } else { Ok(()) }
    }
}

/// Whether a client's host may hold `byte` (RFC 3986 §3.2.2); the rest could end the host or
/// make it a user name.
fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%[:]".contains(&byte)
}

/// Whether a client's path or query may hold `byte`. Only the operator begins a fragment.
fn is_of_path(byte: u8) -> bool {
    byte != b'#'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::TemplatePart::{Host, Path, Port, Protocol, Query, Text};
    use super::*;

    fn text(text: &str) -> TemplatePart {
        Text(text.into())
    }

    /// A redirect that changes nothing: the defaults of AWS.
    fn unchanged() -> Redirect {
        Redirect {
            status: 301,
            protocol: Template(vec![Protocol]),
            host: Template(vec![Host]),
            port: Template(vec![Port]),
            path: Template(vec![text("/"), Path]),
            query: Template(vec![Query]),
        }
    }

    const PARTS: RedirectParts<'_> = RedirectParts {
        protocol: "http",
        host: b"Shop.example.com",
        port: 80,
        path: b"/a/b",
        query: b"x=1",
    };

    fn expanded(redirect: &Redirect, parts: &RedirectParts<'_>) -> String {
        let mut out = b"location: ".to_vec();
        location(redirect, parts, &mut out).unwrap();
        String::from_utf8(out).unwrap().strip_prefix("location: ").unwrap().into()
    }

    #[test]
    fn location_expands_as_in_the_examples_of_aws() {
        let https = Template(vec![text("https")]);
        let one = |part| Template(vec![part]);
        let query = Template(vec![text("from="), Host, text("&"), Query]);
        let host = Template(vec![text("WWW."), Host]);
        let new = Template(vec![text("/new/"), Path]);
        let cases = [
            (
                Redirect { protocol: https.clone(), port: one(text("443")), ..unchanged() },
                "https://shop.example.com:443/a/b?x=1",
            ),
            (Redirect { path: new, ..unchanged() }, "http://shop.example.com:80/new/a/b?x=1"),
            (
                Redirect { host, query, ..unchanged() },
                "http://www.shop.example.com:80/a/b?from=shop.example.com&x=1",
            ),
            (
                Redirect { query: Template::default(), ..unchanged() },
                "http://shop.example.com:80/a/b",
            ),
            (Redirect { protocol: https, ..unchanged() }, "https://shop.example.com:80/a/b?x=1"),
            (
                Redirect { path: one(text("/#/login")), ..unchanged() },
                "http://shop.example.com:80/#/login?x=1",
            ),
        ];
        for (redirect, expected) in cases {
            assert_eq!(expanded(&redirect, &PARTS), expected);
        }
    }

    #[test]
    fn parts_of_a_request_cannot_break_out_of_their_place() {
        let at = |host: &[u8], path: &[u8], query: &[u8]| {
            expanded(&unchanged(), &RedirectParts { host, path, query, ..PARTS })
        };
        assert_eq!(at(b"[::1]", b"/", b""), "http://[::1]:80/");
        assert_eq!(at(b"a", b"", b""), "http://a:80/");
        assert_eq!(at(b"a", b"/\r\nX: y", b"\0"), "http://a:80/%0D%0AX:%20y?%00");
        assert_eq!(at(b"a/b@c?d#e", b"/#f", b"#g"), "http://a%2fb%40c%3fd%23e:80/%23f?%23g");
        assert_eq!(at(b"a", b"/caf\xc3\xa9\x7f", b""), "http://a:80/caf%C3%A9%7F");
    }

    #[test]
    fn location_may_be_as_long_as_the_limit_and_no_longer() {
        let room = LOCATION_BYTES_MAX - "http://a:80/?".len();
        for (len, expected) in [(room, Ok(())), (room + 1, Err(TooLong))] {
            let query = vec![b'q'; len];
            let parts = RedirectParts { host: b"a", path: b"/", query: &query, ..PARTS };
            let mut out = b"before".to_vec();
            assert_eq!(location(&unchanged(), &parts, &mut out), expected);
            let written = if expected.is_ok() { LOCATION_BYTES_MAX } else { 0 };
            assert_eq!(out.len(), "before".len() + written);
        }
    }

    proptest! {
        #[test]
        fn location_is_visible_ascii_whatever_comes_in(
            host: Vec<u8>, path: Vec<u8>, query: Vec<u8>, operator: String,
        ) {
            let parts = RedirectParts { host: &host, path: &path, query: &query, ..PARTS };
            let text = Template(vec![Text(operator)]);
            let changed = Redirect { host: text.clone(), query: text, ..unchanged() };
            for redirect in [unchanged(), changed] {
                prop_assert!(expanded(&redirect, &parts).bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }
}
