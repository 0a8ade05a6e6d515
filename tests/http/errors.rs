//! Responses that the balancer makes itself, row by row of spec 3.1 to 3.3.

use std::time::{Duration, Instant};

use super::path_target;
use crate::harness::*;

/// The page that AWS sends for a status text.
fn page(text: &str) -> String {
    format!(
        "<html>\r\n<head><title>{text}</title></head>\r\n<body>\r\n<center><h1>{text}</h1></center>\
         \r\n</body>\r\n</html>\r\n"
    )
}

/// Checks a response against its page: `text` begins with the status.
fn expect_page(response: &Response, text: &str) {
    let context = format!("{text}: {response:?}");
    assert_eq!(response.status.to_string(), text[..3], "{context}");
    assert_eq!(response.text(), page(text), "{context}");
    assert_eq!(response.field("Content-Type"), Some("text/html"), "{context}");
    assert_eq!(response.field("Server"), Some("ringway"), "{context}");
    let date = response.field("Date").expect("Date");
    assert!(httpdate::parse_http_date(date).is_ok(), "{context}");
}

/// Sends one request and checks page and persistence.
fn expect(balancer: &Balancer, request: &str, text: &str, closes: bool) {
    let mut client = balancer.client();
    let response = client.exchange(request);
    expect_page(&response, text);
    assert_eq!(response.closes(), closes, "{text}: {response:?}");
    if closes {
        assert_eq!(show(&client.rest().0), "", "{text}");
    } else {
        client.send(request);
        expect_page(&client.response("GET"), text);
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn pages_have_the_lengths_known_from_aws() {
    let known = [
        ("400 Bad Request", 122),
        ("405 Not Allowed", 122),
        ("408 Request Time-out", 132),
        ("414 Request-URI Too Large", 142),
        ("463", 98),
        ("501 Not Implemented", 130),
        ("502 Bad Gateway", 122),
        ("503 Service Temporarily Unavailable", 162),
        ("504 Gateway Time-out", 132),
        ("505 HTTP Version Not Supported", 152),
    ];
    for (text, length) in known {
        assert_eq!(page(text).len(), length, "{text}");
    }
}

#[test]
fn requests_that_cannot_be_served_get_their_page_and_a_close() {
    let target = path_target();
    let balancer = http(&[&target]).start();
    let long = "x".repeat(17 << 10);
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n".into(), "400 Bad Request"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".into(), "400 Bad Request"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), "400 Bad Request"),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "414 Request-URI Too Large"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".into(),
            "501 Not Implemented",
        ),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), "505 HTTP Version Not Supported"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "505 HTTP Version Not Supported"),
    ];
    for (request, text) in cases {
        expect(&balancer, &request, text, true);
    }
    assert_eq!(target.connection_count(), 0);
}

#[test]
fn trace_is_405() {
    let target = path_target();
    let balancer = http(&[&target]).start();
    let response = balancer.client().exchange("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_page(&response, "405 Not Allowed");
    assert_eq!(target.connection_count(), 0);
}

#[test]
fn more_than_30_forwarded_addresses_are_463_and_the_connection_stays() {
    let target = path_target();
    let balancer = http(&[&target]).start();
    let list = vec!["10.0.0.1"; 31].join(", ");
    let lines = "X-Forwarded-For: 10.0.0.1\r\n".repeat(31);
    for fields in [format!("X-Forwarded-For: {list}\r\n"), lines] {
        expect(&balancer, &format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), "463", false);
    }
    assert_eq!(target.connection_count(), 0);
}

#[test]
fn partial_request_and_then_silence_is_408() {
    // Until a request begins a connection is idle: where the idle timeout is what is waited for, it
    // is longer than a busy machine needs to send.
    let (head, body) = ("head_timeout = \"700ms\"", "idle_timeout = \"3s\"");
    let starts = [
        (head, "GET / HT"),
        (head, "GET / HTTP/1.1\r\nHost: a\r\n"),
        (body, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhel"),
        (body, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel"),
    ];
    for (timeout, start) in starts {
        let target = path_target();
        let balancer = http(&[&target]).web(timeout).start();
        let mut client = balancer.client();
        client.send(start);
        let response = client.response("GET");
        expect_page(&response, "408 Request Time-out");
        assert!(response.closes(), "{start}");
        client.expect_close();
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the pace of a target, not the wait for a condition")]
fn response_head_that_never_ends_is_504() {
    let starts = [("", "HTTP/1.1 102 Processing\r\n\r\n"), ("HTTP/1.1 200 OK\r\n", "X: y\r\n")];
    for (start, again) in starts {
        let target = Target::start(move |peer| {
            peer.request();
            peer.send(start.as_bytes());
            while peer.send(again.as_bytes()) {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let balancer = http(&[&target]).home("response_timeout = \"700ms\"").start();
        expect_page(&balancer.client().exchange(GET), "504 Gateway Time-out");
    }
}

#[test]
fn head_that_dribbles_in_longer_than_its_timeout_is_408() {
    let target = path_target();
    let balancer = http(&[&target]).web("head_timeout = \"700ms\"").start();
    let mut client = balancer.client();
    client.send("GET / HTTP/1.1\r\n");
    let began = Instant::now();
    while client.is_quiet_for(Duration::from_millis(50)) && began.elapsed() < DEADLINE {
        client.try_send("X: y\r\n");
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    expect_page(&client.response("GET"), "408 Request Time-out");
}

#[test]
fn refused_connection_is_502() {
    let refusing = Refusing::start();
    let balancer = Config::new("l7", vec![refusing.address()]).start();
    expect(&balancer, GET, "502 Bad Gateway", false);
}

#[test]
fn connection_without_answer_is_504() {
    let silent = Silent::start();
    let config = Config::new("l7", vec![silent.address()]).home("connect_timeout = \"600ms\"");
    expect(&config.start(), GET, "504 Gateway Time-out", false);
}

#[test]
fn silent_target_is_504_and_its_connection_is_not_used_again() {
    let target = Target::start(|peer| {
        peer.take_until(b"\r\n\r\n");
        peer.take_rest();
    });
    let balancer = http(&[&target]).home("response_timeout = \"600ms\"").start();
    expect(&balancer, GET, "504 Gateway Time-out", false);
    assert_eq!(target.connection_count(), 2);
    target.wait_end(0);
    target.wait_end(1);
}

#[test]
fn group_without_targets_is_503() {
    expect(&Config::new("l7", vec![]).start(), GET, "503 Service Temporarily Unavailable", false);
}

#[test]
fn target_that_ends_before_its_head_is_502() {
    for begin in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        for resets in [false, true] {
            let target = Target::start(move |peer| {
                peer.request();
                peer.send(begin.as_bytes());
                if resets {
                    peer.reset();
                }
            });
            expect(&http(&[&target]).start(), GET, "502 Bad Gateway", false);
        }
    }
}

#[test]
fn malformed_heads_of_targets_are_502() {
    let heads = [
        "garbage\r\n\r\n",
        "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : z\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: z\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\0z\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\rz\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ];
    for head in heads {
        let target = Target::start(move |peer| {
            peer.request();
            peer.send(head.as_bytes());
            peer.take_rest();
        });
        let balancer = http(&[&target]).start();
        let response = balancer.client().get("/");
        assert_eq!(response.status, 502, "{head:?}: {response:?}");
        expect_page(&response, "502 Bad Gateway");
        target.wait_end(0);
    }
}

#[test]
fn bare_line_ends_in_the_head_of_a_target_never_reach_the_client() {
    for head in [
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\nok",
    ] {
        let target = Target::answering_once(head);
        // The client's parser takes CR LF only.
        let response = http(&[&target]).start().client().get("/");
        assert!(matches!(response.status, 200 | 502), "{head:?}: {response:?}");
    }
}

#[test]
fn page_for_a_head_request_has_no_body() {
    let balancer = Config::new("l7", vec![]).start();
    let mut client = balancer.client();
    for _ in 0..2 {
        let response = client.exchange("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((response.status, response.body.len()), (503, 0));
        assert_eq!(response.field("Content-Length"), Some("162"));
    }
}

#[test]
fn page_after_an_unread_body_does_not_confuse_the_next_request() {
    let refusing = Refusing::start();
    let balancer = Config::new("l7", vec![refusing.address()]).start();
    let mut client = balancer.client();
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 43\r\n\r\n\
                GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";
    client.send(post);
    let first = client.response("POST");
    expect_page(&first, "502 Bad Gateway");
    if !first.closes() {
        client.send(GET);
        expect_page(&client.response("GET"), "502 Bad Gateway");
        client.half_close();
    }
    assert_eq!(show(&client.rest().0), "");
}

#[test]
fn name_of_the_server_is_configurable() {
    let balancer = Config::new("l7", vec![]).web("server_header = \"edge/7\"").start();
    assert_eq!(balancer.client().get("/").field("Server"), Some("edge/7"));
}

#[test]
fn errors_of_the_target_itself_pass_unchanged() {
    let answer = b"HTTP/1.1 502 Own Words\r\nServer: t\r\nContent-Length: 3\r\n\r\nown";
    let target = Target::answering(answer.as_slice());
    let response = http(&[&target]).start().client().get("/");
    assert_eq!((response.reason.as_str(), response.text().as_str()), ("Own Words", "own"));
    assert_eq!(response.field("Server"), Some("t"));
}
