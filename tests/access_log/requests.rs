//! What a request that was answered leaves behind.

use std::time::Duration;

use tungstenite::{Message, accept, client as websocket};

use super::*;

#[test]
fn forwarded_request_is_on_record_in_every_field() {
    let (log, target) = (Log::new(), Target::named("a"));
    let balancer = log.of(http(&[&target]), "alb").start();
    let mut client = balancer.client();
    let request =
        "GET /cart?id=7 HTTP/1.1\r\nHost: Shop.example.com\r\nUser-Agent: test/1.0\r\n\r\n";
    let response = client.exchange(request);
    let line = log.one();
    let url = format!("http://Shop.example.com:{}/cart?id=7", balancer.port());
    assert_eq!(line.kind, "http");
    assert_eq!(line.client, client.address());
    assert_eq!(line.target, Some(target.address()));
    assert!(line.times.iter().all(Option::is_some), "{line:?}");
    assert_eq!((line.elb_status, line.target_status), (Some(200), Some(200)));
    assert_eq!(line.received, request.len() as u64);
    assert_eq!(line.sent, wire_bytes(&response));
    assert_eq!(line.request, ["GET".to_owned(), url, "HTTP/1.1".to_owned()]);
    assert_eq!(line.user_agent, "test/1.0");
    assert_eq!(line.group.as_deref(), Some("home"));
    let seen = target.request();
    assert_eq!(line.trace.as_deref(), seen.field("X-Amzn-Trace-Id"));
    assert_eq!((line.priority, line.actions.as_slice()), (Some(0), &["forward".to_owned()][..]));
    assert_eq!((line.redirect, line.reason, line.class), (None, None, None));
    assert_eq!(line.targets, [target.address()]);
    assert_eq!(line.node.to_string(), "127.0.0.1");
}

#[test]
fn requests_of_a_connection_have_its_id_and_traces_of_their_own() {
    let (log, target) = (Log::new(), Target::named("a"));
    let balancer = log.of(http(&[&target]), "alb").start();
    let mut client = balancer.client();
    // The second comes together with the first.
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    client.response("GET");
    client.response("GET");
    balancer.client().get("/3");
    let lines = log.alb(3);
    let of = |path: &str| {
        let found = lines.iter().find(|line| line.request[1].ends_with(path));
        found.unwrap_or_else(|| panic!("{path} in {lines:#?}"))
    };
    assert_eq!(of("/1").connection, of("/2").connection);
    assert_ne!(of("/1").connection, of("/3").connection);
    assert_ne!(of("/1").trace, of("/2").trace);
}

#[test]
fn what_a_client_sends_cannot_break_a_line() {
    let (log, target) = (Log::new(), Target::named("a"));
    let balancer = log.of(http(&[&target]), "alb").start();
    let agent = "a \"quoted\\\" b\\x22\tc\u{e4}";
    let request = format!("GET /\"x\" HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\n\r\n");
    balancer.client().exchange(request);
    let line = log.one();
    assert_eq!(line.user_agent, agent);
    assert!(line.request[1].ends_with("/\"x\""), "{line:?}");
}

#[test]
fn statuses_of_targets_are_told_from_our_own() {
    for status in [204, 304, 404, 500, 503] {
        let log = Log::new();
        let target = Target::answering(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        let balancer = log.of(http(&[&target]), "alb").start();
        assert_eq!(balancer.client().get("/").status, status);
        let line = log.one();
        assert_eq!((line.elb_status, line.target_status), (Some(status), Some(status)));
        assert_eq!((line.reason, line.target_statuses), (None, vec![Some(status)]));
    }
}

#[test]
fn bodies_are_counted_in_both_directions() {
    let (log, target) = (Log::new(), Target::echo());
    let balancer = log.of(http(&[&target]), "alb").start();
    let mut client = balancer.client();
    let body = "x".repeat(300_000);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n";
    let response = client.exchange(format!("{head}{body}"));
    assert_eq!(response.body.len(), body.len());
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    client.exchange(chunked);
    let lines = log.alb(2);
    assert_eq!(lines[0].received, (head.len() + body.len()) as u64);
    assert_eq!(lines[0].sent, wire_bytes(&response));
    assert_eq!(lines[1].received, chunked.len() as u64);
}

#[test]
fn large_response_through_a_pipe_is_counted() {
    let body = "y".repeat(3_000_000);
    let (log, target) = (Log::new(), Target::answering(ok(&body)));
    let balancer = log.of(http(&[&target]), "alb").start();
    let response = balancer.client().get("/");
    assert_eq!(log.one().sent, wire_bytes(&response));
}

#[test]
fn rules_redirects_and_fixed_responses_are_named() {
    let log = Log::new();
    let config = log.of(http(&[]), "alb");
    let fixed = "path_pattern = \"/fixed\"\nfixed_response = { status = 503, body = \"x\" }";
    let redirect = "path_pattern = \"/away\"\nredirect = { status = 302, path = \"/else\" }";
    let balancer = config.rule(7, fixed).rule(11, redirect).start();
    let mut client = balancer.client();
    let given = "Self=1-00000000-111111111111111111111111;Root=1-2-3";
    client.exchange(format!("GET /fixed HTTP/1.1\r\nHost: a\r\nX-Amzn-Trace-Id: {given}\r\n\r\n"));
    let response = client.get("/away");
    let lines = log.alb(2);
    assert_eq!(lines[0].priority, Some(7));
    assert_eq!(lines[0].actions, ["fixed-response"]);
    assert_eq!((lines[0].elb_status, lines[0].target), (Some(503), None));
    assert_eq!(lines[0].reason, None, "it was asked for");
    let trace = lines[0].trace.as_deref().expect("a trace id");
    assert!(trace.starts_with("Self=") && trace.ends_with(";Root=1-2-3"), "{trace}");
    assert_eq!(lines[1].priority, Some(11));
    assert_eq!(lines[1].actions, ["redirect"]);
    assert_eq!(lines[1].redirect.as_deref(), response.field("Location"));
    assert_eq!(lines[1].sent, wire_bytes(&response));
}

#[test]
fn targets_that_were_tried_in_vain_are_listed() {
    let (log, good) = (Log::new(), Target::named("good"));
    let refusing = Refusing::start();
    let config = Config::new("l7", vec![refusing.address(), good.address()]).one_worker();
    let balancer = log.of(config, "alb").start();
    let mut client = balancer.client();
    client.get("/1");
    client.get("/2");
    let lines = log.alb(2);
    let retried = lines.iter().find(|line| line.targets.len() == 2).expect("one met the refusal");
    assert_eq!(retried.targets, [refusing.address(), good.address()]);
    assert_eq!(retried.target_statuses, [None, Some(200)]);
    assert_eq!((retried.elb_status, &retried.reason), (Some(200), &None));
}

#[test]
fn websocket_is_on_record_when_it_ends_with_all_its_bytes() {
    let log = Log::new();
    let target = Target::start(|peer| {
        let mut socket = accept(peer.stream().try_clone().expect("clone")).expect("handshake");
        while let Ok(message) = socket.read() {
            if message.is_binary() {
                socket.send(message).expect("echo");
            }
        }
    });
    let balancer = log.of(http(&[&target]), "alb").start();
    let stream = balancer.client().into_stream();
    let (mut socket, _) = websocket("ws://chat.example/room", stream).expect("upgrade");
    socket.send(Message::binary(vec![0; 100_000])).expect("send");
    socket.read().expect("echo");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(lines(&log.path()), Vec::<String>::new(), "it goes on");
    socket.close(None).expect("close");
    while socket.read().is_ok() {}
    drop(socket);
    let line = log.one();
    assert_eq!((line.kind.as_str(), line.elb_status), ("ws", Some(101)));
    assert!(line.request[1].starts_with("http://chat.example:"), "{line:?}");
    assert!(line.received > 100_000 && line.sent > 100_000, "{line:?}");
    assert_eq!(line.group.as_deref(), Some("home"));
}

#[test]
fn deviations_that_are_forwarded_are_classified() {
    let (log, target) = (Log::new(), Target::named("a"));
    let balancer = log.of(http(&[&target]), "alb").start();
    let mut client = balancer.client();
    client.exchange("GET /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    client.exchange("GET /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    let classes: Vec<_> = log.alb(2).into_iter().filter_map(|line| line.class).collect();
    let expected = [
        ("Acceptable", "GetHeadZeroContentLength"),
        ("Ambiguous", "UndefinedContentLengthSemantics"),
    ];
    assert_eq!(classes, expected.map(|(class, reason)| (class.to_owned(), reason.to_owned())));
}
