//! Bodies in both directions, with every framing.

use super::{chunked, ok, path_target, pattern};
use crate::harness::*;

#[test]
fn bodies_with_a_length_pass_in_both_directions() {
    let target = Target::echo();
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    for length in [0, 1, 1_000, 16_384, 65_536, 100_001, 3_000_000] {
        let body = pattern(length);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(&body);
        let response = client.response("POST");
        assert_eq!((response.status, response.framing), (200, Framing::Length(length)));
        assert!(response.body == body, "{length} bytes came back changed");
    }
    assert_eq!(target.connection_count(), 1);
    let framings: Vec<Framing> = target.requests().iter().map(|r| r.framing).collect();
    assert!(framings[1..].iter().all(|f| matches!(f, Framing::Length(_))), "{framings:?}");
}

#[test]
fn chunked_bodies_pass_in_both_directions() {
    let sizes: [&[usize]; 5] = [&[1], &[3, 500, 1], &[4_096], &[16_384, 7], &[200_000]];
    let target = Target::start(|peer| {
        while let Some(request) = peer.request() {
            let body = chunked(&request.body, &[5_000, 1, 70_000], "");
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            peer.send(&[head.as_slice(), &body].concat());
        }
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    for sizes in sizes {
        let body = pattern(300 * sizes[0].min(700));
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunked(&body, sizes, ""));
        let response = client.response("POST");
        assert_eq!((response.status, response.framing), (200, Framing::Chunked), "{sizes:?}");
        assert!(response.body == body, "{sizes:?}: came back changed");
    }
    target.expect_valid();
    assert!(target.requests().iter().all(|request| request.framing == Framing::Chunked));
}

/// Responses that were small for a while are read into a small buffer: the first large one after
/// them, and those of any length around its size, arrive whole all the same.
#[test]
fn responses_of_any_length_after_many_small_ones_are_whole() {
    let target = Target::start(|peer| {
        while let Some(request) = peer.request() {
            let length = String::from_utf8_lossy(&request.body).parse().unwrap_or(0);
            let body = pattern(length);
            let (head, body) = match request.target == "/chunked" {
                true => ("Transfer-Encoding: chunked".into(), chunked(&body, &[70_000], "")),
                false => (format!("Content-Length: {length}"), body),
            };
            let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
            peer.send(&[head.as_bytes(), &body].concat());
        }
    });
    let balancer = http(&[&target]).one_worker().start();
    let mut client = balancer.client();
    let mut get = |path: &str, length: usize| {
        let body = length.to_string();
        let count = body.len();
        client.send(format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {count}\r\n\r\n"));
        client.send(body);
        let response = client.response("PUT");
        assert!(response.body == pattern(length), "{path}: {length} bytes came changed");
    };
    for length in [200_000, 3_400, 3_540, 3_545, 3_583, 3_584, 3_585, 4_096, 70_000, 2_000_000] {
        for path in ["/length", "/chunked"] {
            (0..12).for_each(|_| get(path, 2));
            get(path, length);
        }
    }
}

#[test]
fn chunked_bodies_survive_any_cut_in_both_directions() {
    let response = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(),
        &chunked(b"hello world", &[4, 1], "X-Sum: 1\r\n"),
    ]
    .concat();
    let cut = response.clone();
    let target = Target::start(move |peer| {
        while peer.request().is_some() {
            for byte in &cut {
                peer.send(&[*byte]);
            }
        }
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    let request = [
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(),
        &chunked(b"hello world", &[3, 2], "X-Sum: 2\r\n"),
    ]
    .concat();
    for start in 1..request.len() {
        client.send_cut(&request, &[start]);
        assert_eq!(client.response("POST").text(), "hello world", "cut at {start}");
    }
    target.expect_valid();
    assert!(target.requests().iter().all(|request| request.body == b"hello world"));
}

#[test]
fn trailers_are_relayed_in_both_directions_except_those_that_frame_or_route() {
    let forbidden = "Content-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: b\r\n";
    let trailers = format!("X-Sum: 1\r\n{forbidden}X-End: 2\r\n");
    let body = chunked(b"abc", &[3], &trailers);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
    let target = Target::answering([head, &body].concat());
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&body);
    let expected = [("X-Sum".to_owned(), "1".to_owned()), ("X-End".to_owned(), "2".to_owned())];
    let response = client.response("POST");
    assert_eq!((response.text().as_str(), response.trailers.as_slice()), ("abc", &expected[..]));
    assert_eq!(target.request().trailers, expected);
}

#[test]
fn responses_without_a_body_leave_the_connections_in_order() {
    let cases = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some("5")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n", Some("5")),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
    ];
    for (method, answer, length) in cases {
        let target = Target::answering(answer);
        let balancer = http(&[&target]).one_worker().start();
        let mut client = balancer.client();
        for _ in 0..2 {
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
            let response = client.exchange(&request);
            assert_eq!(response.body, b"", "{method} {answer}");
            assert_eq!(response.field("Content-Length"), length, "{method} {answer}");
            assert_eq!(response.status, answer[9..12].parse::<u16>().expect("status"));
        }
        assert_eq!(target.connection_count(), 1, "{method} {answer}");
    }
}

#[test]
fn response_until_close_reaches_the_client_whole() {
    let body = pattern(200_000);
    let response = [b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n".as_slice(), &body].concat();
    let target = Target::answering_once(response);
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send_get("/");
    let response = client.response("GET");
    assert!(response.body == body, "{} bytes", response.body.len());
    assert!(matches!(response.framing, Framing::Chunked | Framing::UntilClose), "{response:?}");
}

#[test]
fn http_1_0_client_gets_a_chunked_response_unchunked_and_ended_by_close() {
    let body = chunked(b"hello world", &[4], "X-Sum: 1\r\n");
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice();
    let target = Target::answering([head, &body].concat());
    let balancer = http(&[&target]).start();
    for fields in ["", "Connection: keep-alive\r\n"] {
        let mut client = balancer.client();
        let response = client.exchange(format!("GET / HTTP/1.0\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(response.text(), "hello world");
        assert_eq!(
            (response.framing, response.field("Transfer-Encoding")),
            (Framing::UntilClose, None)
        );
    }
}

#[test]
fn expectation_is_met_at_once_and_not_forwarded() {
    let target = Target::echo();
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
        ));
        let interim = client.response("POST");
        assert_eq!((interim.status, interim.reason.as_str()), (100, "Continue"));
        client.send(if framing.contains("Length") { "hello" } else { "5\r\nhello\r\n0\r\n\r\n" });
        assert_eq!(client.response("POST").text(), "hello");
    }
    assert!(target.requests().iter().all(|request| request.field("Expect").is_none()));
}

#[test]
fn interim_responses_of_targets_are_not_relayed() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let target = Target::answering([interim.as_slice(), &ok("final")].concat());
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "final"));
    }
    assert_eq!(target.connection_count(), 1);
}

#[test]
fn early_response_is_relayed_before_the_body_ends() {
    let early =
        b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    let target = Target::start(|peer| {
        peer.take_until(b"\r\n\r\n");
        peer.send(early);
        peer.take_rest();
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin");
    let response = client.response("POST");
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
    drop(client);
    target.wait_end(0);
}

#[test]
fn half_closed_client_still_gets_its_response() {
    let gate = Gate::new();
    let opened = gate.clone();
    let target = Target::start(move |peer| {
        while peer.request().is_some() {
            opened.wait();
            peer.send(&ok("late"));
        }
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send_get("/");
    client.half_close();
    target.wait("a request", |all| all.iter().any(|c| !c.requests.is_empty()));
    gate.open();
    assert_eq!(client.response("GET").text(), "late");
    client.expect_close();
}

#[test]
fn path_and_query_pass_unchanged() {
    let target = path_target();
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    for path in ["/", "/a/../b/./c", "//a//b", "/%41%2F%2f?x=%20&&=;", "/a?", "/?a?b?", "/~'()*!$,"]
    {
        assert_eq!(client.get(path).text(), path);
    }
    let long = format!("/{}", "x".repeat(10_000));
    assert_eq!(client.get(&long).text(), long);
}
