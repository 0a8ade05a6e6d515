//! What a request leaves behind that was not answered as it should have been: every status that
//! is ours, and every reason.

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends `bytes` to a balancer in front of `target` and expects `status`; the line.
fn refused(config: Config, bytes: &str, status: u16) -> Alb {
    let log = Log::new();
    let balancer = log.of(config, "alb").start();
    let mut client = balancer.client();
    client.send(bytes);
    assert_eq!(client.response("GET").status, status, "{bytes:?}");
    let line = log.one();
    assert_eq!(line.elb_status, Some(status), "{bytes:?}");
    assert_eq!((line.target_status, line.times[1]), (None, None), "{bytes:?}");
    line
}

#[test]
fn requests_that_cannot_be_read_are_on_record() {
    let long = "x".repeat(20_000);
    let cases = [
        ("BROKEN\r\n\r\n".to_owned(), 400, "http_request_error"),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, "http_request_uri_too_long"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), 505, "http_version_unsupported"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".into(),
            501,
            "http_transfer_coding_unsupported",
        ),
    ];
    let target = Target::named("never");
    for (bytes, status, reason) in cases {
        let line = refused(http(&[&target]), &bytes, status);
        assert_eq!(line.reason.as_deref(), Some(reason));
        assert_eq!(line.request[0], "-");
        assert_eq!(line.request[2], "-");
        assert!(line.request[1].starts_with("http://127.0.0.1:"), "{line:?}");
        assert_eq!((line.target, line.group, line.priority), (None, None, None));
        assert_eq!(line.actions, Vec::<String>::new());
        assert!(line.received > 0 && line.sent > 0);
    }
    assert_eq!(target.connection_count(), 0);
}

#[test]
fn smuggling_attempts_are_classified() {
    let head = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let cases = [
        ("Content-Length: 5\r\nContent-Length: 6", ("Severe", "MultipleContentLength")),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", ("Ambiguous", "BothTeClPresent")),
        ("Transfer-Encoding: xchunked", ("Severe", "BadTransferEncoding")),
        ("Transfer_Encoding: chunked", ("Ambiguous", "SuspiciousHeader")),
    ];
    for (fields, (class, reason)) in cases {
        let line = refused(http(&[]), &head(fields), 400);
        assert_eq!(line.class, Some((class.into(), reason.into())), "{fields}");
    }
}

#[test]
fn requests_that_may_not_pass_are_on_record_with_what_they_asked() {
    let addresses = vec!["10.0.0.1"; 31].join(", ");
    let cases = [
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405, "http_request_denied", None),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {addresses}\r\n\r\n"),
            463,
            "forwarded_for_too_long",
            Some(0),
        ),
    ];
    for (bytes, status, reason, priority) in cases {
        let target = Target::named("never");
        let line = refused(http(&[&target]), &bytes, status);
        assert_eq!((line.reason.as_deref(), line.priority), (Some(reason), priority));
        assert_eq!(line.request[2], "HTTP/1.1");
    }
}

#[test]
fn redirect_that_is_too_long_is_507() {
    let query = "q".repeat(9_000);
    let rule = "path_pattern = \"/\"\nredirect = { status = 302, path = \"/else\" }";
    let config = http(&[]);
    let log = Log::new();
    let balancer = log.of(config, "alb").rule(3, rule).start();
    let response = balancer.client().get(&format!("/?{query}"));
    assert_eq!(response.status, 507);
    let line = log.one();
    assert_eq!((line.elb_status, line.reason.as_deref()), (Some(507), Some("redirect_too_long")));
    assert_eq!((line.redirect, line.priority), (None, Some(3)));
}

#[test]
fn targets_that_do_not_answer_are_named_with_the_reason() {
    let silent = Silent::start();
    let refusing = Refusing::start();
    let closing = Target::start(|peer| drop(peer.request()));
    let mute = Target::start(|peer| {
        peer.request();
        peer.take_rest();
    });
    let nonsense = Target::answering("what?\r\n\r\n");
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(40_000));
    let long = Target::answering(head);
    let cases = [
        (refusing.address(), "", 502, "connection_refused", false),
        (silent.address(), "connect_timeout = \"200ms\"", 504, "connection_timeout", false),
        (closing.address(), "", 502, "connection_terminated", true),
        (mute.address(), "response_timeout = \"200ms\"", 504, "http_response_timeout", true),
        (nonsense.address(), "", 502, "http_protocol_error", true),
        (long.address(), "", 502, "http_response_header_section_size", true),
    ];
    for (address, home, status, reason, was_sent) in cases {
        let config = Config::new("l7", vec![address]).home(home);
        let line = refused(config, GET, status);
        assert_eq!(line.reason.as_deref(), Some(reason));
        assert_eq!((line.target, line.group.as_deref()), (Some(address), Some("home")));
        assert_eq!(line.times[0].is_some(), was_sent, "{reason}: {line:?}");
        assert!(line.target_statuses.iter().all(Option::is_none), "{line:?}");
        assert!(line.trace.is_some());
    }
}

#[test]
fn group_without_targets_is_503_with_its_name() {
    let line = refused(http(&[]), GET, 503);
    assert_eq!(line.reason.as_deref(), Some("destination_unavailable"));
    assert_eq!((line.target, line.group.as_deref()), (None, Some("home")));
    assert_eq!(line.times, [None; 3]);
    assert_eq!((line.priority, line.actions), (Some(0), vec!["forward".to_owned()]));
}

#[test]
fn client_that_goes_silent_is_408() {
    let line = refused(http(&[]).web("head_timeout = \"200ms\""), "GET / HTTP/1.1\r\nHo", 408);
    assert_eq!(line.reason.as_deref(), Some("http_request_timeout"));
    assert_eq!(line.received, 18);
}

#[test]
fn client_that_leaves_before_the_response_is_460() {
    let (log, gate) = (Log::new(), Gate::new());
    let held = gate.clone();
    let target = Target::start(move |peer| {
        peer.request();
        held.wait();
    });
    let balancer = log.of(http(&[&target]), "alb").start();
    let mut client = balancer.client();
    client.send(GET);
    target.wait("the request", |connections| {
        connections.iter().any(|connection| !connection.requests.is_empty())
    });
    client.reset();
    let line = log.one();
    gate.open();
    assert_eq!((line.elb_status, line.sent), (Some(460), 0));
    assert_eq!(line.reason.as_deref(), Some("client_closed"));
    assert_eq!(line.target, Some(target.address()));
}

#[test]
fn client_that_leaves_in_the_middle_of_its_head_is_460() {
    let log = Log::new();
    let balancer = log.of(http(&[]), "alb").start();
    let mut client = balancer.client();
    client.send_pieces(b"GET / HTTP/1.1\r\nHo", &[]);
    client.reset();
    let line = log.one();
    assert_eq!((line.elb_status, line.sent, line.received), (Some(460), 0, 18));
    assert_eq!(line.reason.as_deref(), Some("client_closed"));
}

#[test]
fn client_that_ends_its_body_early_is_400() {
    let (log, target) = (Log::new(), Target::echo());
    let balancer = log.of(http(&[&target]), "alb").start();
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    client.half_close();
    assert_eq!(client.response("POST").status, 400);
    let line = log.one();
    assert_eq!((line.elb_status, line.reason.as_deref()), (Some(400), Some("http_request_error")));
}

#[test]
fn client_that_leaves_in_the_middle_of_a_response_is_told_from_a_target_that_does() {
    let log = Log::new();
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n";
    let endless = Target::start(move |peer| {
        peer.request();
        peer.send(begun.as_bytes());
        while peer.send(&[b'x'; 65_536]) {}
    });
    let balancer = log.of(http(&[&endless]), "alb").start();
    let mut client = balancer.client();
    client.send(GET);
    client.take(100_000);
    client.reset();
    let line = log.one();
    assert_eq!((line.elb_status, line.target_status), (Some(200), Some(200)));
    assert_eq!(line.reason.as_deref(), Some("client_closed"));
    assert!((100_000..50_000_000).contains(&line.sent), "{line:?}");

    let log = Log::new();
    let short = Target::answering_once(format!("{begun}hello"));
    let balancer = log.of(http(&[&short]), "alb").start();
    let mut client = balancer.client();
    client.send(GET);
    client.rest();
    let line = log.one();
    assert_eq!((line.elb_status, line.target_status), (Some(200), Some(200)));
    assert_eq!(line.reason.as_deref(), Some("http_response_incomplete"));
}

#[test]
fn connection_that_brings_no_request_leaves_no_line() {
    let log = Log::new();
    let balancer = log.of(http(&[]), "alb").start();
    drop(balancer.client());
    balancer.client().reset();
    balancer.client().get("/");
    assert_eq!(log.one().elb_status, Some(503));
}
