//! The control API before clients that are careless, broken or hostile: each gets an answer with
//! what is wrong, none changes what it should not, and none holds up the others.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::*;

/// Most event streams, and most connections to one door; as `control::api` has them.
const EVENT_STREAMS_MAX: usize = 64;
const CONNECTIONS_MAX: usize = 256;

/// A request in one piece, of which `body` may be no text.
fn request(method: &str, path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const JSON: &str = "Content-Type: application/json\r\n";

/// The problem that `response` tells; panics if it is none of this status.
fn problem(what: &str, response: &Response, status: u16) -> Value {
    assert_eq!(response.status, status, "{what}: {response:?}");
    let kind = response.field("Content-Type");
    assert_eq!(kind, Some("application/problem+json"), "{what}: {response:?}");
    let problem: Value = serde_json::from_str(&response.text()).expect("JSON");
    assert_eq!(problem["status"], status, "{what}");
    for key in ["type", "title", "detail"] {
        assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{what}: {problem}");
    }
    problem
}

fn started(config: &Config) -> (Controlled, Balancer) {
    let controlled = Controlled::new();
    let balancer = Balancer::start(&controlled.text(config));
    (controlled, balancer)
}

#[test]
fn bodies_that_mean_nothing_or_two_things_are_refused_with_a_problem() {
    let (controlled, _balancer) = started(&http(&[&Target::named("a")]));
    let before = controlled.api.ask("GET", "/v1/config", "");
    let deep = "[".repeat(100_000);
    let bodies: &[(&[u8], u16)] = &[
        (b"", 400),
        (b"{", 400),
        (b"{} {}", 400),
        (b"\xef\xbb\xbf{}", 400),
        (b"{\"server\": \"\xff\"}", 400),
        (b"{\"server\": \"\\ud800\"}", 400),
        (b"{\"server\": {\"workers\": 1e400}}", 400),
        (deep.as_bytes(), 400),
        (b"null", 422),
        (b"[]", 422),
        (b"{\"a\": 1}", 422),
        (b"{\"server\": {\"workers\": 1, \"workers\": 2}}", 422),
        (b"{\"server\": {\"workers\": 18446744073709551615}}", 422),
        (b"{\"server\": {\"workers\": 1.5}}", 422),
        (b"{\"listeners\": null}", 422),
        (b"{\"listeners\": []}", 422),
        (b"{\"listeners\": {\"a/b\": {}}}", 422),
        (b"{\"listeners\": {\"\\u0000\": {}}}", 422),
        (b"{\"target_groups\": {\"home\": {\"targets\": [\"127.0.0.1:1\"]}}}", 422),
        (b"{\"target_groups\": {\"home\": {\"name\": \"other\"}}}", 422),
        (
            b"{\"target_groups\": {\"home\": {\"targets\": {\"127.0.0.1:1\": {\"expires\": -1}}}}}",
            422,
        ),
    ];
    for (body, status) in bodies {
        let what = show(&body[..body.len().min(80)]);
        let response = controlled.api.send(&request("PATCH", "/v1/config", JSON, body), "PATCH");
        problem(&what, &response.expect("response"), *status);
    }
    assert_eq!(controlled.api.ask("GET", "/v1/config", ""), before);
}

#[test]
fn requests_that_make_no_sense_are_refused_with_a_problem() {
    let (controlled, _balancer) = started(&http(&[&Target::named("a")]));
    let before = controlled.api.ask("GET", "/v1/config", "");
    let listener = r#"{"address": "127.0.0.1:0", "default": {"forward": "home"}}"#;
    let long = format!("/v1/listeners/{}", "a".repeat(8000));
    let two = "/v1/target-groups/home/targets?address=127.0.0.1:1&wait=1s&wait=2s";
    let null = r#"{"default": {"forward": null}, "address": "127.0.0.1:0"}"#;
    let same = r#"{"targets": [{"address": "[::1]:5"}, {"address": "[0::1]:5"}]}"#;
    let targets = "/v1/target-groups/home/targets";
    for (method, path, fields, body, status) in [
        ("GET", "/", "", "", 404),
        ("GET", "/v2/%01", "", "", 404),
        ("GET", "/v1/listeners/", "", "", 404),
        ("GET", "//v1/listeners", "", "", 404),
        ("OPTIONS", "*", "", "", 404),
        ("OPTIONS", "/v1/status", "", "", 405),
        ("TRACE", "/v1/status", "", "", 405),
        ("get", "/v1/status", "", "", 405),
        ("GET", "/v1/listeners/..", "", "", 404),
        ("GET", "/v1/listeners/a%2Fb", "", "", 404),
        ("GET", "/v1/listeners/%00", "", "", 404),
        ("GET", "/v1/listeners/%zz", "", "", 404),
        ("GET", "/v1/listeners/%ff", "", "", 400),
        ("GET", long.as_str(), "", "", 404),
        ("PUT", "/v1/listeners/a%2Fb", JSON, listener, 422),
        ("PUT", "/v1/listeners/web", JSON, null, 422),
        ("PUT", "/v1/listeners/web/rules/70000", JSON, "{}", 422),
        ("DELETE", "/v1/listeners/web/rules/-1", "", "", 404),
        ("PATCH", "/v1/config", "", "{}", 415),
        ("PATCH", "/v1/config", "Content-Type: text/plain\r\n", "{}", 415),
        ("PATCH", "/v1/config", "Content-Type: application/json\r\nIf-Match: x\r\n", "{}", 412),
        ("POST", targets, JSON, r#"{"targets": []}"#, 422),
        ("POST", targets, JSON, r#"{"targets": [{"address": "localhost:1"}]}"#, 422),
        ("POST", targets, JSON, r#"{"targets": [{"address": "0.0.0.0:1"}]}"#, 422),
        ("POST", targets, JSON, same, 422),
        ("DELETE", targets, "", "", 422),
        ("DELETE", two, "", "", 422),
        ("PUT", "/v1/target-groups/home/targets/x/weight", JSON, r#"{"weight": 1}"#, 404),
    ] {
        let response = controlled.api.send(&request(method, path, fields, body.as_bytes()), method);
        let response = response.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        problem(&format!("{method} {path} {body}"), &response, status);
        assert_eq!(response.field("Allow").is_some(), status == 405, "{method} {path}");
    }
    assert_eq!(controlled.api.ask("GET", "/v1/config", ""), before);
    let encoded = controlled.api.ask("GET", "/v1/listeners/%77e%62", "");
    assert_eq!(encoded, controlled.api.ask("GET", "/v1/listeners/web", ""));
    let head = controlled.api.try_ask("HEAD", "/v1/status", "").expect("response");
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    let no_http = controlled.api.send(b"\x16\x03\x01\x02\x00\x01\r\n\r\n", "GET");
    assert_eq!(no_http.expect("response").status, 400);
    let fields: String = (0..300).map(|n| format!("X-{n}: a\r\n")).collect();
    let many = controlled.api.send(&request("GET", "/v1/status", &fields, b""), "GET");
    assert_eq!(many.expect("response").status, 431);
}

#[test]
fn long_and_broken_bodies_are_answered_even_while_they_are_sent() {
    let (controlled, _balancer) = started(&http(&[&Target::named("a")]));
    let long = vec![b' '; 8 * 1024 * 1024];
    let response = controlled.api.send(&request("PATCH", "/v1/config", JSON, &long), "PATCH");
    problem("8 MiB", &response.expect("response"), 413);
    let head = "PATCH /v1/config HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                Content-Type: application/json\r\n";
    let announced = format!("{head}Content-Length: 1099511627776\r\n\r\n");
    let response = controlled.api.send(announced.as_bytes(), "PATCH");
    problem("1 TiB", &response.expect("response"), 413);
    let asks = format!("{head}Expect: 100-continue\r\nContent-Length: 2000000\r\n\r\n");
    let response = controlled.api.send(asks.as_bytes(), "PATCH").expect("response");
    problem("Expect", &response, 413);
    let chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n");
    let response = controlled.api.send(chunks.as_bytes(), "PATCH").expect("response");
    problem("chunks", &response, 400);
}

#[test]
fn slow_clients_get_408_or_nothing_and_hold_up_nobody_at_the_other_door() {
    let controlled = Controlled::new();
    let text = controlled.text(&http(&[&Target::named("a")]));
    let socket = "control = { socket";
    let text = text.replace(socket, "control = { address = \"127.0.0.1:0\", socket");
    let balancer = Balancer::start(&text);
    let address = door(&balancer);
    let connect = || {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
        stream
    };
    let mut slow = connect();
    let head = "PATCH /v1/config HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).expect("send");
    let halves = (1..CONNECTIONS_MAX + 20).map(|_| {
        let mut stream = connect();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: loc").expect("send");
        stream
    });
    let halves: Vec<_> = halves.collect();
    balancer.wait_log(&["connections to the control API are open"]);
    controlled.register(&registration(&Target::named("b"), ""));
    // This one waits in the queue until those before it are closed.
    let mut late = connect();
    late.set_read_timeout(Some(DEADLINE * 2)).expect("timeout");
    late.write_all(&request("GET", "/v1/status", "", b"")).expect("send");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("an end");
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("problem+json"), "{answer}");
    for mut half in halves.into_iter().take(3) {
        let mut rest = Vec::new();
        half.read_to_end(&mut rest).expect("an end");
        assert_eq!(rest, b"");
    }
    let mut answer = String::new();
    late.read_to_string(&mut answer).expect("an end");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// The TCP address of the control API.
fn door(balancer: &Balancer) -> SocketAddr {
    let words = ["the control API listens", " address="];
    balancer.wait_log(&words);
    let log = balancer.log();
    let mut lines = log.lines().filter(|line| words.iter().all(|word| line.contains(word)));
    let line = lines.next().expect("line");
    line.rsplit("address=").next().and_then(|it| it.trim().parse().ok()).expect("address")
}

#[test]
fn subscribers_that_do_not_read_hold_up_nobody() {
    let (controlled, balancer) = started(&http(&[&Target::named("a")]));
    let mut streams: Vec<UnixStream> =
        (0..EVENT_STREAMS_MAX).map(|_| controlled.api.stream("/v1/events")).collect();
    let open = |stream: &mut UnixStream| {
        let mut head = [0; 15];
        stream.read_exact(&mut head).expect("head");
        assert_eq!(&head, b"HTTP/1.1 200 OK");
    };
    streams.iter_mut().for_each(open);
    let one_more = controlled.api.try_ask("GET", "/v1/events", "").expect("response");
    problem("one more", &one_more, 503);
    // Each refusal is an event, and more than 1024 of them are more than a socket and a queue hold.
    let keys = (0..40).map(|n| (format!("unknown{n}"), json!(n)));
    let bad = Value::Object(keys.collect()).to_string();
    for _ in 0..1200 {
        let refused = controlled.api.try_ask("PATCH", "/v1/config", &bad).expect("response");
        assert_eq!(refused.status, 422);
    }
    let mut reads = BufReader::new(streams.pop().expect("stream"));
    let mut line = String::new();
    while !line.contains("\"missed\":") {
        line.clear();
        assert!(reads.read_line(&mut line).expect("line") > 0, "the stream goes on");
    }
    drop((streams, reads));
    balancer.wait("room for a stream", || {
        let mut stream = controlled.api.stream("/v1/events");
        let mut head = [0; 12];
        stream.read_exact(&mut head).is_ok() && head.ends_with(b"200")
    });
}

#[test]
fn only_the_token_opens_the_tcp_door() {
    let controlled = Controlled::new();
    let file = controlled.dir.path().join("token");
    std::fs::write(&file, "s3cret\nnot this\n").expect("token");
    let text = controlled.text(&http(&[&Target::named("a")]));
    let more = format!("control = {{ address = \"127.0.0.1:0\", token_file = {file:?}, socket");
    let balancer = Balancer::start(&text.replace("control = { socket", &more));
    let address = door(&balancer);
    let ask = |method: &str, path: &str, fields: &str| {
        let mut client = Client::connect(address);
        client.send(request(method, path, fields, b""));
        client.response(method)
    };
    for (path, fields) in [
        ("/v1/status", ""),
        ("/v1/nothing", ""),
        ("/v1/status?token=s3cret", ""),
        ("/v1/status", "Authorization: Bearer\r\n"),
        ("/v1/status", "Authorization: Bearer s3cre\r\n"),
        ("/v1/status", "Authorization: Bearer s3cret2\r\n"),
        ("/v1/status", "Authorization: Bearer not this\r\n"),
        ("/v1/status", "Authorization: Basic s3cret\r\n"),
        ("/v1/status", "Authorization: Bearer x\r\nAuthorization: Bearer s3cret\r\n"),
        ("/v1/status", "X-Forwarded-For: 127.0.0.1\r\nCookie: token=s3cret\r\n"),
    ] {
        let response = ask("GET", path, fields);
        problem(fields, &response, 401);
        assert_eq!(response.field("WWW-Authenticate"), Some("Bearer"), "{fields}");
        assert!(!response.text().contains("s3cret"), "{response:?}");
    }
    problem("drain", &ask("POST", "/v1/drain", ""), 401);
    assert_eq!(ask("GET", "/v1/status", "Authorization: Bearer s3cret\r\n").status, 200);
    assert!(!balancer.log().contains("s3cret"), "{}", balancer.log());
}

#[test]
fn listener_without_its_address_or_its_log_is_a_conflict_and_nothing_has_changed() {
    let a = Target::named("a");
    let (controlled, balancer) = started(&http(&[&a]));
    let before = controlled.api.ask("GET", "/v1/config", "");
    let taken = TcpListener::bind("127.0.0.1:0").expect("port");
    let taken = taken.local_addr().expect("address");
    for address in [taken.to_string(), "192.0.2.1:80".into()] {
        let body = format!(r#"{{"address": "{address}", "default": {{"forward": "home"}}}}"#);
        let response = controlled.api.try_ask("PUT", "/v1/listeners/more", &body);
        let problem = problem(&address, &response.expect("response"), 409);
        assert!(problem["detail"].as_str().is_some_and(|it| it.contains(&address)), "{problem}");
    }
    let log = r#""access_log": "/nowhere/at/all.log""#;
    let body = format!(r#"{{"address": "127.0.0.1:0", "default": {{"forward": "home"}}, {log}}}"#);
    let response = controlled.api.try_ask("PUT", "/v1/listeners/more", &body);
    let problem = problem("log", &response.expect("response"), 409);
    assert!(problem["detail"].as_str().is_some_and(|it| it.contains("make its directory")));
    assert_eq!(controlled.api.ask("GET", "/v1/config", ""), before);
    assert_eq!(answers(&balancer, 2), ["a"; 2]);
}

#[test]
fn thousands_of_mistakes_in_one_body_do_not_hold_up_control() {
    let (controlled, _balancer) = started(&http(&[&Target::named("a")]));
    let groups = (0..3000).map(|n| (format!("g{n}"), json!({ "bad": 1 })));
    let groups = Value::Object(groups.collect());
    let body = json!({ "target_groups": groups }).to_string();
    let response = controlled.api.try_ask("PATCH", "/v1/config", &body).expect("response");
    let problem = problem("3000 mistakes", &response, 422);
    assert_eq!(problem["problems"].as_array().map(Vec::len), Some(1000));
    assert_eq!(problem["problems"][0]["path"], "target_groups.g0.bad");
}
