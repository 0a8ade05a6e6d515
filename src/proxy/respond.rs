//! Responses that we make ourselves: errors, redirects, fixed bodies.

use std::cell::{Cell, RefCell};
use std::time::{Duration, UNIX_EPOCH};

use crate::http1::encode;
use crate::model::{FixedResponse, HttpOptions};

use super::headers::status_line;

/// A response of our own.
pub(super) struct Own<'a> {
    pub(super) status: u16,
    pub(super) content_type: &'a str,
    pub(super) location: Option<&'a [u8]>,
    pub(super) body: Page<'a>,
    /// Whether the request was HEAD: then the body is only announced.
    pub(super) head_only: bool,
    /// Whether the connection closes afterwards.
    pub(super) closes: bool,
    /// Whether a gRPC client reads it, which looks for a code and not for a page.
    pub(super) grpc: bool,
}

/// The body of a response of our own.
pub(super) enum Page<'a> {
    /// The page that ALB shows for the status.
    Standard,
    /// This text.
    Text(&'a str),
}

impl<'a> Own<'a> {
    /// The standard page of `status`.
    pub(super) fn standard(status: u16, head_only: bool, closes: bool) -> Self {
        let (content_type, body) = ("text/html", Page::Standard);
        Self { status, content_type, location: None, body, head_only, closes, grpc: false }
    }

    /// The same for a gRPC client, if it is one: a code and a word in place of the page, in a
    /// head that is all there is ("Trailers-Only"; AWS: observed of ALB).
    pub(super) fn in_grpc(self, grpc: bool) -> Self {
        match grpc {
            true => Self { content_type: "application/grpc", body: Page::Text(""), grpc, ..self },
            false => self,
        }
    }

    /// A fixed response.
    pub(super) fn fixed(fixed: &'a FixedResponse, head_only: bool, closes: bool) -> Self {
        Self {
            status: fixed.status,
            content_type: &fixed.content_type,
            location: None,
            body: Page::Text(&fixed.body),
            head_only,
            closes,
            grpc: false,
        }
    }

    /// Appends head and body.
    pub(super) fn encode(&self, options: &HttpOptions, date: &str, out: &mut Vec<u8>) {
        let mut title = Vec::with_capacity(48);
        title.extend_from_slice(self.status.to_string().as_bytes());
        let reason = encode::reason(self.status);
        if !reason.is_empty() {
            title.push(b' ');
            title.extend_from_slice(reason.as_bytes());
        }
        let length = match self.body {
            Page::Standard => page_bytes(&title),
            Page::Text(text) => text.len(),
        };
        status_line(self.status, reason.as_bytes(), out);
        if let Some(server) = &options.server_header {
            encode::field(b"Server", server.as_bytes(), out);
        }
        encode::field(b"Date", date.as_bytes(), out);
        if !self.content_type.is_empty() {
            encode::field(b"Content-Type", self.content_type.as_bytes(), out);
        }
        out.extend_from_slice(b"Content-Length: ");
        encode::decimal(length as u64, out);
        out.extend_from_slice(b"\r\n");
        if self.grpc {
            encode::field(b"grpc-status", GRPC_UNAVAILABLE, out);
            encode::field(b"grpc-message", b"unavailable", out);
        }
        if let Some(location) = self.location {
            encode::field(b"Location", location, out);
        }
        let connection: &[u8] = if self.closes { b"close" } else { b"keep-alive" };
        encode::field(b"Connection", connection, out);
        out.extend_from_slice(b"\r\n");
        match self.body {
            _ if self.head_only => {}
            Page::Standard => page(&title, out),
            Page::Text(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

/// gRPC's code for a server that cannot be reached, which a client may try again.
const GRPC_UNAVAILABLE: &[u8] = b"14";

/// The page's text around the title (AWS: observed error pages of ALB).
const PAGE: [&str; 3] = [
    "<html>\r\n<head><title>",
    "</title></head>\r\n<body>\r\n<center><h1>",
    "</h1></center>\r\n</body>\r\n</html>\r\n",
];

fn page_bytes(title: &[u8]) -> usize {
    PAGE.iter().map(|part| part.len()).sum::<usize>() + 2 * title.len()
}

fn page(title: &[u8], out: &mut Vec<u8>) {
    for (part, title) in PAGE.iter().zip([title, title, b""]) {
        out.extend_from_slice(part.as_bytes());
        out.extend_from_slice(title);
    }
}

/// The value of Date, formatted once a second at most.
#[derive(Default)]
pub(super) struct DateLine {
    epoch: Cell<u64>,
    text: RefCell<String>,
}

impl DateLine {
    /// Calls `use_it` with the date `epoch` seconds after 1970 (RFC 9110 §5.6.7).
    pub(super) fn with<R>(&self, epoch: u64, use_it: impl FnOnce(&str) -> R) -> R {
        let mut text = self.text.borrow_mut();
        if self.epoch.replace(epoch) != epoch || text.is_empty() {
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(epoch));
        }
        use_it(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_the_lengths_that_were_observed_on_alb() {
        let lengths = [(400, 122), (502, 122), (503, 162), (504, 132), (301, 134), (302, 110)];
        for (status, length) in lengths {
            let mut out = Vec::new();
            let own = Own::standard(status, false, false);
            own.encode(&HttpOptions::default(), "now", &mut out);
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(body.len(), length, "{status}");
            assert!(head.contains(&format!("Content-Length: {length}")), "{head}");
        }
    }

    #[test]
    fn grpc_clients_get_a_code_and_no_page() {
        let mut out = Vec::new();
        let own = Own::standard(503, false, false).in_grpc(true);
        own.encode(&HttpOptions::default(), "now", &mut out);
        let text = String::from_utf8(out).unwrap();
        for line in [
            "HTTP/1.1 503 Service Temporarily Unavailable",
            "Content-Type: application/grpc",
            "Content-Length: 0",
            "grpc-status: 14",
            "grpc-message: unavailable",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line}: {text}");
        }
        assert!(text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn date_is_formatted_for_its_second() {
        let line = DateLine::default();
        assert_eq!(line.with(0, str::to_owned), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(line.with(784_111_777, str::to_owned), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
