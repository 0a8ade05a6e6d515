//! Chunked bodies that end elsewhere for another parser, and requests that break off.

use crate::corpus::{BAD, FINE, Intent, One, RefusedOrOne};

const HELLO: Intent = One(b"hello");
const HELLO_OR_BAD: Intent = RefusedOrOne(b"hello");

/// Bodies of a chunked POST.
pub(crate) const CHUNKED_BODIES: &[(&str, &[u8], Intent)] = &[
    ("chunk", b"5\r\nhello\r\n0\r\n\r\n", HELLO),
    ("several chunks", b"2\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n0\r\n\r\n", HELLO),
    ("no chunk", b"0\r\n\r\n", FINE),
    (
        "chunk size in upper and lower case",
        b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        One(b"01234567890123456789"),
    ),
    ("chunk size with zeros", b"0005\r\nhello\r\n0\r\n\r\n", HELLO_OR_BAD),
    ("chunk size of 17 digits", b"00000000000000005\r\nhello\r\n0\r\n\r\n", HELLO_OR_BAD),
    ("last chunk of many zeros", b"5\r\nhello\r\n00000\r\n\r\n", HELLO_OR_BAD),
    ("chunk extension", b"5;a=b\r\nhello\r\n0\r\n\r\n", HELLO),
    ("chunk extension quoted", b"5;a=\"b c\"\r\nhello\r\n0;z\r\n\r\n", HELLO_OR_BAD),
    ("chunk extension behind space", b"5 ;a=b\r\nhello\r\n0\r\n\r\n", HELLO_OR_BAD),
    ("chunk extension empty", b"5;\r\nhello\r\n0\r\n\r\n", HELLO_OR_BAD),
    ("space behind chunk size", b"5 \r\nhello\r\n0\r\n\r\n", HELLO_OR_BAD),
    ("tab behind chunk size", b"5\t\r\nhello\r\n0\r\n\r\n", HELLO_OR_BAD),
    ("trailer", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", HELLO),
    ("length as trailer", b"5\r\nhello\r\n0\r\nContent-Length: 47\r\n\r\n", HELLO_OR_BAD),
    ("coding as trailer", b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", HELLO_OR_BAD),
    ("Host as trailer", b"5\r\nhello\r\n0\r\nHost: b.example\r\n\r\n", HELLO_OR_BAD),
    ("LF behind chunk size", b"5\nhello\r\n0\r\n\r\n", BAD),
    ("CR behind chunk size", b"5\rhello\r\n0\r\n\r\n", BAD),
    ("CR CR LF behind chunk size", b"5\r\r\nhello\r\n0\r\n\r\n", BAD),
    ("space before chunk size", b" 5\r\nhello\r\n0\r\n\r\n", BAD),
    ("plus before chunk size", b"+5\r\nhello\r\n0\r\n\r\n", BAD),
    ("minus before chunk size", b"-5\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size with h", b"5h\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size with underscore", b"0_5\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size of a word", b"five\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size empty", b"\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size quoted", b"\"5\"\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size with comma", b"5,5\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size with fraction", b"5.0\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size with NUL", b"5\x00\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size with 0xa0", b"5\xa0\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size of 2^64 + 5", b"10000000000000005\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size of 2^32 times 2^40", b"1000000000000000000\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk size beyond 64 bits", b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", BAD),
    ("two numbers as chunk size", b"5 5\r\nhello\r\n0\r\n\r\n", BAD),
    ("LF in chunk extension", b"5;a\nhello\r\n0\r\n\r\n", BAD),
    ("LF ends quoted extension", b"5;a=\"\nhello\r\n0\r\n\r\n", BAD),
    ("bare CR in chunk extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n", BAD),
    ("NUL in chunk extension", b"5;a\x00b\r\nhello\r\n0\r\n\r\n", BAD),
    ("request hidden in chunk extension", b"5;\nGET /smuggled HTTP/1.1\r\nhello\r\n0\r\n\r\n", BAD),
    ("chunk longer than its size", b"5\r\nhello!\r\n0\r\n\r\n", BAD),
    ("chunk shorter than its size", b"6\r\nhello\r\n0\r\n\r\n", BAD),
    ("LF behind chunk", b"5\r\nhello\n0\r\n\r\n", BAD),
    ("CR behind chunk", b"5\r\nhello\r0\r\n\r\n", BAD),
    ("nothing behind chunk", b"5\r\nhello0\r\n\r\n", BAD),
    ("two other bytes behind chunk", b"5\r\nhelloXX0\r\n\r\n", BAD),
    ("CR and another byte behind chunk", b"5\r\nhello\rX0\r\n\r\n", BAD),
    ("LF CR behind chunk", b"5\r\nhello\n\r0\r\n\r\n", BAD),
    ("empty line between chunks", b"5\r\nhello\r\n\r\n0\r\n\r\n", BAD),
    ("last chunk, LF", b"5\r\nhello\r\n0\n\r\n", BAD),
    ("last chunk, CR CR LF", b"5\r\nhello\r\n0\r\r\n\r\n", BAD),
    ("LF as the empty line", b"5\r\nhello\r\n0\r\n\n", BAD),
    ("CR as the empty line", b"5\r\nhello\r\n0\r\n\rX", BAD),
    ("last chunk minus zero", b"5\r\nhello\r\n-0\r\n\r\n", BAD),
    ("trailer without colon", b"5\r\nhello\r\n0\r\nX\r\n\r\n", BAD),
    ("trailer with space before colon", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", BAD),
    ("trailer with empty name", b"5\r\nhello\r\n0\r\n: y\r\n\r\n", BAD),
    ("trailer with bare LF", b"5\r\nhello\r\n0\r\nX: y\n\r\n", BAD),
    ("trailer with bare CR", b"5\r\nhello\r\n0\r\nX: y\rz\r\n\r\n", BAD),
    ("trailer with NUL", b"5\r\nhello\r\n0\r\nX: y\x00\r\n\r\n", BAD),
    ("trailer folded", b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", BAD),
    ("trailer led by space", b"5\r\nhello\r\n0\r\n X: y\r\n\r\n", BAD),
    ("request in place of trailers", b"0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
];

/// Requests after which the client sends FIN.
pub(crate) const TRUNCATED: &[(&str, &[u8])] = &[
    ("ends in the method", b"GE"),
    ("ends in the request line", b"GET /case HTTP/1.1"),
    ("ends after the request line", b"GET /case HTTP/1.1\r\n"),
    ("ends in a field", b"GET /case HTTP/1.1\r\nHost: a.exam"),
    ("ends before the empty line", b"GET /case HTTP/1.1\r\nHost: a.example\r\n"),
    ("ends in the empty line", b"GET /case HTTP/1.1\r\nHost: a.example\r\n\r"),
    ("ends before the body", b"POST /case HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"),
    ("ends in the body", b"POST /case HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell"),
    (
        "ends far from a huge length",
        b"POST /case HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n\
          hello",
    ),
    (
        "ends before the chunks",
        b"POST /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "ends in a chunk size",
        b"POST /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5",
    ),
    (
        "ends in a chunk",
        b"POST /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ),
    (
        "ends in a huge chunk",
        b"POST /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
          ffffffffffffffff\r\nhel",
    ),
    (
        "ends behind a chunk",
        b"POST /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\
          hello\r\n",
    ),
    (
        "ends behind the last chunk",
        b"POST /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\
          hello\r\n0\r\n",
    ),
    (
        "ends in the trailers",
        b"POST /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\
          hello\r\n0\r\nX: y\r\n",
    ),
];
