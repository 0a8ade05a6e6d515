//! Heads, to and from HTTP/1.1.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, request::Parts};
use proptest::prelude::*;

use super::head::{self, Framing, Malformed};
use crate::http1::{Parsed, parse_request};
use crate::message::RequestHead;
use crate::model::DesyncMitigation;

/// Names and values.
type Fields<'a> = &'a [(&'a str, &'a str)];

fn parts(method: &str, uri: &str, fields: Fields<'_>) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// The head as text, and the framing of what follows.
fn written(parts: &Parts, ended: bool) -> Result<(String, Framing), Malformed> {
    let mut out = Vec::new();
    let framing = head::request(parts, ended, &mut out)?;
    Ok((String::from_utf8_lossy(&out).into_owned(), framing))
}

#[test]
fn request_is_written_with_the_words_of_http_1() {
    let fields = [("cookie", "a=b"), ("x-one", "1"), ("cookie", "c"), ("host", "A:1")];
    let (text, framing) = written(&parts("GET", "https://a:1/x?y=%20", &fields), true).unwrap();
    let expected = "GET /x?y=%20 HTTP/1.1\r\nHost: a:1\r\nx-one: 1\r\ncookie: a=b; c\r\n\r\n";
    assert_eq!((text.as_str(), framing), (expected, Framing::None));
    let (text, framing) = written(&parts("OPTIONS", "*", &[("host", "b")]), true).unwrap();
    assert_eq!((text.as_str(), framing), ("OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n", Framing::None));
}

#[test]
fn body_without_a_length_is_chunked() {
    let cases: [(Fields, bool, Framing, &str); 4] = [
        (&[], false, Framing::Chunked, "Transfer-Encoding: chunked\r\n"),
        (&[], true, Framing::None, ""),
        (&[("content-length", "7")], false, Framing::Length(7), "content-length: 7\r\n"),
        (&[("content-length", "0")], true, Framing::Length(0), "content-length: 0\r\n"),
    ];
    for (fields, ended, framing, line) in cases {
        let (text, said) = written(&parts("POST", "http://a/", fields), ended).unwrap();
        let expected = format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n");
        assert_eq!((text, said), (expected, framing));
    }
}

#[test]
fn websocket_becomes_an_upgrade_and_any_other_connect_stays_one() {
    let mut asks = parts("CONNECT", "https://a/chat", &[("sec-websocket-version", "13")]);
    asks.extensions.insert(h2::ext::Protocol::from_static("websocket"));
    let (text, framing) = written(&asks, false).unwrap();
    assert_eq!(framing, Framing::Raw);
    let mut head = RequestHead::default();
    parse_request(text.as_bytes(), DesyncMitigation::Strictest, &mut head).unwrap();
    assert!(head.upgrade_websocket, "{text}");
    let (text, _) = written(&parts("CONNECT", "a:80", &[]), false).unwrap();
    assert!(text.starts_with("CONNECT a:80 HTTP/1.1\r\n"), "{text}");
}

#[test]
fn what_breaks_a_rule_is_refused() {
    let cases: [(Parts, Malformed); 9] = [
        (parts("GET", "http://a/", &[("host", "b")]), Malformed::Authority),
        (parts("GET", "/", &[("host", "a"), ("host", "a")]), Malformed::Authority),
        (parts("GET", "/", &[("host", "a b")]), Malformed::Authority),
        (parts("GET", "/", &[("host", "u@a")]), Malformed::Authority),
        (parts("GET", "*", &[("host", "a")]), Malformed::Path),
        (parts("GET", "http://a/", &[("connection", "x")]), Malformed::Connection),
        (parts("GET", "http://a/", &[("keep-alive", "x")]), Malformed::Connection),
        (parts("GET", "http://a/", &[("x", " y")]), Malformed::Value),
        (parts("GET", "http://a/", &[("cookie", "y\t")]), Malformed::Value),
    ];
    for (parts, malformed) in cases {
        assert_eq!(written(&parts, true), Err(malformed), "{parts:?}");
    }
}

#[test]
fn response_loses_what_is_of_the_connection() {
    let text = "HTTP/1.1 200 Fine\r\nConnection: close, x\r\nTransfer-Encoding: chunked\r\n\
        Upgrade: x\r\nX-A: b\r\nKeep-Alive: 5\r\nEmpty: \r\n\r\n";
    let said = head::response(&Bytes::from(text), false).unwrap();
    assert_eq!(said.framing, Framing::Chunked);
    let fields: Vec<_> = said.response.headers().iter().collect();
    let name = |name: &'static str| HeaderName::from_static(name);
    let value = HeaderValue::from_static;
    assert_eq!(fields, [(&name("x-a"), &value("b")), (&name("empty"), &value(""))]);
}

#[test]
fn response_says_how_its_body_ends() {
    let cases = [
        ("200 OK\r\nContent-Length: 5", false, 200, Framing::Length(5)),
        ("200 OK\r\nContent-Length: 5", true, 200, Framing::None),
        ("200 OK\r\nContent-Length: 0", false, 200, Framing::None),
        ("204 No Content", false, 204, Framing::None),
        ("304 Not Modified\r\nContent-Length: 5", false, 304, Framing::None),
        ("200 ", false, 200, Framing::Raw),
        ("101 Switching Protocols\r\nUpgrade: websocket", false, 200, Framing::Raw),
        ("100 Continue", false, 100, Framing::None),
    ];
    for (text, is_head, status, framing) in cases {
        let bytes = Bytes::from(format!("HTTP/1.1 {text}\r\n\r\n"));
        let said = head::response(&bytes, is_head).unwrap();
        assert_eq!((said.response.status().as_u16(), said.framing), (status, framing), "{text}");
    }
    for text in ["", "HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"] {
        assert!(head::response(&Bytes::from(text), false).is_err(), "{text}");
    }
}

#[test]
fn trailers_are_the_lines_behind_the_last_chunk() {
    for text in ["", "0\r\n\r\n"] {
        assert_eq!(head::trailers(&Bytes::from(text)), Ok(None), "{text}");
    }
    let trailers = head::trailers(&Bytes::from("0\r\nGrpc-Status: 0\r\nx: y\r\n\r\n"));
    let trailers = trailers.unwrap().unwrap();
    assert_eq!(trailers.get("grpc-status").map(HeaderValue::as_bytes), Some(&b"0"[..]));
    let mut section = Vec::new();
    head::trailer_section(Some(&trailers), &mut section);
    assert_eq!(section, b"0\r\ngrpc-status: 0\r\nx: y\r\n\r\n");
}

/// Bytes of fields, mostly those that may stand in them.
fn bytes_of_fields() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => 0x20_u8..0x7f, 1 => any::<u8>(), 1 => Just(b'\t')];
    prop::collection::vec(byte, 0..24)
}

proptest! {
    /// However a request looks, what is written of it is refused, or one head that is read as it
    /// was meant, with nothing behind it.
    #[test]
    fn what_is_written_is_one_head_and_the_right_one(
        path in "/[ -~]{0,16}",
        method in "[A-Z!#$%&'*+.^_`|~-]{1,8}",
        fields in prop::collection::vec(("[a-z0-9_!-]{1,12}", bytes_of_fields()), 0..8),
        ended: bool,
    ) {
        let request = Request::builder().method(method.as_str()).uri(format!("http://a.b{path}"));
        let Ok(request) = request.body(()) else { return Ok(()) };
        let (mut parts, ()) = request.into_parts();
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(&value);
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value) {
                parts.headers.append(name, value);
            }
        }
        let mut out = Vec::new();
        let Ok(framing) = head::request(&parts, ended, &mut out) else { return Ok(()) };
        let mut read = RequestHead::default();
        match parse_request(&out, DesyncMitigation::Defensive, &mut read) {
            Err(_) => {}
            Ok(Parsed::Partial) => prop_assert!(false, "a head that does not end"),
            Ok(Parsed::Complete) => {
                prop_assert_eq!(read.bytes, out.len());
                prop_assert_eq!(read.method_span.of(&out), parts.method.as_str().as_bytes());
                let path = parts.uri.path_and_query().unwrap().as_str().as_bytes();
                prop_assert_eq!(read.path_and_query.of(&out), path);
                prop_assert_eq!(read.authority.of(&out), b"a.b");
                let written = usize::from(framing == Framing::Chunked) + 1;
                let cookies = parts.headers.get_all("cookie").iter().count();
                let fields = parts.headers.len() - cookies + usize::from(cookies > 0);
                let hosts = parts.headers.get_all("host").iter().count();
                prop_assert_eq!(read.fields.len(), fields - hosts + written);
            }
        }
    }
}
