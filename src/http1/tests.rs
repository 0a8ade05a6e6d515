//! Heads by example, and properties that hold for any bytes.

use super::*;
use crate::message::{BodyLength, FieldKind, Method, RequestHead, ResponseHead};
use crate::model::DesyncMitigation::{Defensive, Strictest};
use proptest::prelude::*;

fn request(text: &str) -> Result<(Parsed, RequestHead), HeadError> {
    let mut head = RequestHead::default();
    parse_request(text.as_bytes(), Defensive, &mut head).map(|parsed| (parsed, head))
}

fn response(text: &str, method: Method) -> Result<(Parsed, ResponseHead), HeadError> {
    let mut head = ResponseHead::default();
    parse_response(text.as_bytes(), method, &mut head).map(|parsed| (parsed, head))
}

#[test]
fn request_is_split_into_its_parts() {
    let text = "POST /a/b?c=d HTTP/1.1\r\nHost: Example.com:81\r\nContent-Length: 5\r\n\r\nhello";
    let (parsed, head) = request(text).unwrap();
    assert_eq!(parsed, Parsed::Complete);
    let bytes = text.as_bytes();
    assert_eq!(head.method_span.of(bytes), b"POST");
    assert_eq!(head.path.of(bytes), b"/a/b");
    assert_eq!(head.query.unwrap().of(bytes), b"c=d");
    assert_eq!(head.authority.of(bytes), b"Example.com:81");
    assert_eq!(head.body, BodyLength::Known(5));
    assert_eq!(&bytes[head.bytes..], b"hello");
    assert!(head.persistent);
    assert!(head.fields.iter().all(|field| field.canonical));
}

#[test]
fn absolute_target_gives_authority_and_path() {
    let text = "GET HTTP://Other:8080?q HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let (_, head) = request(text).unwrap();
    assert_eq!(head.authority.of(text.as_bytes()), b"Other:8080");
    assert_eq!(head.path.of(text.as_bytes()), b"");
    assert_eq!(head.path_and_query.of(text.as_bytes()), b"?q");
}

#[test]
fn requests_that_break_a_rule_are_refused_by_its_name() {
    use HeadError as E;
    let long = "x".repeat(17 * 1024);
    let cases: Vec<(String, E)> = [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", E::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", E::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", E::LineEnd),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", E::Malformed),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", E::Malformed),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", E::Malformed),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", E::Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", E::Malformed),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", E::Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", E::Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", E::Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\u{e9}: b\r\n\r\n", E::Malformed),
        ("\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::Malformed),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", E::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", E::Version),
        ("GET / HTTPS/1.1\r\nHost: a\r\n\r\n", E::Malformed),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", E::Target),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", E::Target),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", E::Target),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", E::Host),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", E::Target),
        ("GET / HTTP/1.1\r\n\r\n", E::Host),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", E::Host),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", E::Host),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", E::Host),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", E::Host),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            E::ContentLength,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\n\r\n", E::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", E::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", E::ContentLength),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
            E::ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::LengthAndChunked,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", E::TransferEncoding),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            E::TransferCodingUnsupported,
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", E::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", E::SuspiciousField),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent.Length: 1\r\n\r\n", E::SuspiciousField),
    ]
    .into_iter()
    .map(|(text, error)| (text.to_owned(), error))
    .chain([
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), E::RequestLineTooLong),
        (format!("GET /{long}"), E::RequestLineTooLong),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), E::FieldTooLong),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}",
                format!("X: {}\r\n", &long[..15000]).repeat(5)
            ),
            E::HeadTooLong,
        ),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(256)), E::TooManyFields),
    ])
    .collect();
    for (text, error) in cases {
        assert_eq!(request(&text).map(|(parsed, _)| parsed), Err(error), "{text:.80}");
    }
}

#[test]
fn strictest_mode_refuses_what_is_harmless_too() {
    let mut head = RequestHead::default();
    let cases = [
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for text in cases {
        let strictest = parse_request(text.as_bytes(), Strictest, &mut head);
        assert_eq!(strictest, Err(HeadError::NotCompliant), "{text}");
        assert_eq!(parse_request(text.as_bytes(), Defensive, &mut head), Ok(Parsed::Complete));
    }
}

#[test]
fn persistence_follows_version_and_connection() {
    let cases = [
        ("HTTP/1.1\r\nHost: a\r\n", true),
        ("HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n", false),
        ("HTTP/1.0\r\n", false),
        ("HTTP/1.0\r\nConnection: Keep-Alive\r\n", true),
    ];
    for (rest, persistent) in cases {
        let (_, head) = request(&format!("GET / {rest}\r\n")).unwrap();
        assert_eq!(head.persistent, persistent, "{rest}");
    }
}

#[test]
fn response_bodies_end_as_the_standard_says() {
    use BodyLength::{Chunked, Known, None, UntilClose};
    let cases = [
        ("200 OK\r\nContent-Length: 3", Method::Get, Known(3)),
        ("200 OK\r\nContent-Length: 3\r\nContent-Length: 3", Method::Get, Known(3)),
        ("200 OK\r\nContent-Length: 0", Method::Get, None),
        ("200 OK\r\nContent-Length: 3", Method::Head, None),
        ("204 No Content\r\nX: y", Method::Get, None),
        ("304 Not Modified\r\nContent-Length: 9", Method::Get, None),
        ("200 OK\r\nTransfer-Encoding: Chunked", Method::Get, Chunked),
        ("200 OK\r\nX: y", Method::Get, UntilClose),
        ("200\r\nX: y", Method::Get, UntilClose),
    ];
    for (text, method, body) in cases {
        let (_, head) = response(&format!("HTTP/1.1 {text}\r\n\r\n"), method).unwrap();
        assert_eq!(head.body, body, "{text}");
    }
    let wrong = [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 999 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "<html>",
    ];
    for text in wrong {
        assert!(response(text, Method::Get).is_err(), "{text}");
    }
}

#[test]
fn response_that_announces_a_body_it_must_not_have_ends_the_connection() {
    let cases = [
        ("204 No Content\r\nContent-Length: 0", true),
        ("204 No Content\r\nContent-Length: 5", false),
        ("204 No Content\r\nTransfer-Encoding: chunked", false),
        ("304 Not Modified\r\nContent-Length: 5", true),
    ];
    for (text, persistent) in cases {
        let (_, head) = response(&format!("HTTP/1.1 {text}\r\n\r\n"), Method::Get).unwrap();
        assert_eq!(head.persistent, persistent, "{text}");
    }
}

#[test]
fn fields_are_written_in_one_form_however_they_came() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB:2\r\nC: \t 3 \r\nD:\r\nE: 5\r\n\r\n";
    let (_, head) = request(text).unwrap();
    let mut out = Vec::new();
    encode::fields(text.as_bytes(), &head.fields, &mut out, |field| field.kind != FieldKind::Host);
    assert_eq!(out, b"A: 1\r\nB: 2\r\nC: 3\r\nD: \r\nE: 5\r\n");
}

#[test]
fn bare_line_ends_of_a_response_are_written_as_crlf() {
    let text = "HTTP/1.1 200 OK\nA: 1 \nB: 2\nC: 3\r\n\n";
    let (_, head) = response(text, Method::Get).unwrap();
    let mut out = Vec::new();
    encode::fields(text.as_bytes(), &head.fields, &mut out, |_| true);
    assert_eq!(out, b"A: 1\r\nB: 2\r\nC: 3\r\n");
}

#[test]
fn any_prefix_of_a_good_request_is_partial() {
    let text =
        "POST /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nX-A:  b \r\nContent-Length: 5\r\n\r\n";
    for cut in 0..text.len() {
        assert_eq!(request(&text[..cut]).unwrap().0, Parsed::Partial, "{cut}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_request(&bytes, Defensive, &mut RequestHead::default());
        let _ = parse_response(&bytes, Method::Get, &mut ResponseHead::default());
    }

    #[test]
    fn nearly_good_requests_never_panic_and_are_written_anew_as_they_were_read(
        at in 0_usize..90, byte in any::<u8>(), insert in any::<bool>(),
    ) {
        let mut bytes = b"POST /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nX-A: b\r\n\
            Content-Length: 5\r\nConnection: x\r\n\r\n".to_vec();
        let at = at.min(bytes.len() - 1);
        if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        let mut head = RequestHead::default();
        if parse_request(&bytes, Defensive, &mut head) == Ok(Parsed::Complete) {
            let mut out = b"GET / HTTP/1.1\r\n".to_vec();
            encode::fields(&bytes, &head.fields, &mut out, |_| true);
            out.extend_from_slice(b"\r\n");
            let mut again = RequestHead::default();
            prop_assert_eq!(parse_request(&out, Defensive, &mut again), Ok(Parsed::Complete));
            prop_assert_eq!(again.fields.len(), head.fields.len());
            prop_assert_eq!(again.body, head.body);
        }
    }
}
