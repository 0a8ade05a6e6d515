//! What a target sees of the client's head (spec 2.2 to 2.6, 14.4).

use super::ok;
use crate::harness::*;

/// Starts a balancer whose listener has these lines, sends one request, and returns what the
/// target received together with the client's and the listener's port.
fn forwarded(lines: &str, request: &str) -> (Request, u16, u16) {
    let target = Target::answering(ok("x"));
    let balancer = http(&[&target]).web(lines).start();
    let mut client = balancer.client();
    let response = client.exchange(request.replace("PORT", &balancer.port().to_string()));
    assert_eq!(response.status, 200, "{lines} {request}: {response:?}");
    (target.request(), client.address().port(), balancer.port())
}

fn get(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")
}

#[test]
fn client_address_is_told_in_x_forwarded_for() {
    let with_port = "xff_client_port = true";
    let [append, preserve, remove] =
        ["append", "preserve", "remove"].map(|mode| format!("xff_header_processing = \"{mode}\""));
    let none = "";
    let one = "X-Forwarded-For: 10.0.0.9\r\n";
    let two = "X-Forwarded-For: 10.0.0.9\r\nX-A: b\r\nx-forwarded-for: 10.0.0.8, 10.0.0.7\r\n";
    let garbage = "X-Forwarded-For: not an address;\"\r\n";
    let cases = [
        (String::new(), none, Some("127.0.0.1")),
        (append.clone(), none, Some("127.0.0.1")),
        (append.clone(), one, Some("10.0.0.9, 127.0.0.1")),
        (append.clone(), two, Some("10.0.0.9, 10.0.0.8, 10.0.0.7, 127.0.0.1")),
        (append.clone(), garbage, Some("not an address;\", 127.0.0.1")),
        (with_port.into(), none, Some("127.0.0.1:CLIENT")),
        (with_port.into(), one, Some("10.0.0.9, 127.0.0.1:CLIENT")),
        (preserve.clone(), none, None),
        (preserve.clone(), one, Some("10.0.0.9")),
        (format!("{preserve}\n{with_port}"), one, Some("10.0.0.9")),
        (remove.clone(), none, None),
        (remove.clone(), two, None),
        (format!("{remove}\n{with_port}"), one, None),
    ];
    for (lines, fields, expected) in cases {
        let (request, client_port, _) = forwarded(&lines, &get(fields));
        let expected = expected.map(|text| text.replace("CLIENT", &client_port.to_string()));
        assert_eq!(request.field("X-Forwarded-For"), expected.as_deref(), "{lines} {fields}");
    }
}

#[test]
fn ipv6_client_address_has_brackets_only_with_a_port() {
    for (lines, with_port) in [("", false), ("xff_client_port = true", true)] {
        let target = Target::answering(ok("x"));
        let text = http(&[&target]).web(lines).text().replace("\"127.0.0.1:0\"", "\"[::1]:0\"");
        let balancer = Balancer::start(&text);
        let mut client = balancer.client();
        client.exchange(get("X-Forwarded-For: 10.0.0.9\r\n"));
        let address = client.address();
        let expected = if with_port { address.to_string() } else { address.ip().to_string() };
        let expected = format!("10.0.0.9, {expected}");
        assert_eq!(target.request().field("X-Forwarded-For"), Some(expected.as_str()));
    }
}

#[test]
fn protocol_and_port_are_told_whatever_the_client_claims() {
    let claimed = "X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nx-forwarded-port: 1\r\n";
    for fields in ["", claimed] {
        let (request, _, port) = forwarded("", &get(fields));
        assert_eq!(request.field("X-Forwarded-Proto"), Some("http"));
        assert_eq!(request.field("X-Forwarded-Port"), Some(port.to_string().as_str()));
    }
}

fn is_trace_id(text: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts.as_slice(), ["1", time, random]
        if time.len() == 8 && random.len() == 24 && hex(time) && hex(random))
}

#[test]
fn trace_id_is_made_extended_or_renewed() {
    let trace = |fields: &str| {
        let (request, _, _) = forwarded("", &get(fields));
        request.field("X-Amzn-Trace-Id").expect("trace id").to_owned()
    };
    let is_root = |text: &str| text.strip_prefix("Root=").is_some_and(is_trace_id);
    let fresh = trace("");
    assert!(is_root(&fresh), "{fresh}");
    assert_ne!(fresh, trace(""));

    let root = "Root=1-67891233-abcdef012345678912345678;CalledFrom=app";
    let extended = trace(&format!("X-Amzn-Trace-Id: {root}\r\n"));
    let own = extended.strip_suffix(&format!(";{root}")).and_then(|own| own.strip_prefix("Self="));
    assert!(own.is_some_and(is_trace_id), "{extended}");

    let other = "Self=1-67891234-000000000000000000000000";
    let renewed = trace(&format!("X-Amzn-Trace-Id: {other};{root}\r\n"));
    assert!(!renewed.contains(other), "{renewed}");
    let own = renewed.strip_suffix(&format!(";{root}")).and_then(|own| own.strip_prefix("Self="));
    assert!(own.is_some_and(is_trace_id), "{renewed}");

    let large = format!("X-Amzn-Trace-Id: {root}\r\nX-Large: {}\r\n", "x".repeat(7_500));
    let reset = trace(&large);
    assert!(is_root(&reset), "{reset}");
}

#[test]
fn host_is_lower_cased_and_has_the_port_unless_preserved() {
    let preserve = "preserve_host_header = true";
    let cases = [
        ("", "GET /x HTTP/1.1\r\nHost: example.com\r\n\r\n", "example.com:PORT"),
        ("", "GET /x HTTP/1.1\r\nHost: Example.COM\r\n\r\n", "example.com:PORT"),
        ("", "GET /x HTTP/1.1\r\nHost: Example.com:PORT\r\n\r\n", "example.com:PORT"),
        ("", "GET /x HTTP/1.1\r\nHost: example.com:81\r\n\r\n", "example.com:81"),
        ("", "GET /x HTTP/1.1\r\nHost: [::1]\r\n\r\n", "[::1]:PORT"),
        ("", "GET http://Name/x HTTP/1.1\r\nHost: name\r\n\r\n", "name:PORT"),
        ("", "GET /x HTTP/1.0\r\n\r\n", "127.0.0.1:PORT"),
        ("", "GET /x HTTP/1.0\r\nHost: Example.com\r\n\r\n", "example.com:PORT"),
        (preserve, "GET /x HTTP/1.1\r\nHost: example.com\r\n\r\n", "example.com"),
        (preserve, "GET /x HTTP/1.1\r\nHost: Example.COM:80\r\n\r\n", "Example.COM:80"),
        (preserve, "GET http://Name/x HTTP/1.1\r\nHost: other\r\n\r\n", "Name"),
    ];
    for (lines, request, expected) in cases {
        let (received, _, port) = forwarded(lines, request);
        let expected = expected.replace("PORT", &port.to_string());
        assert_eq!(received.field("Host"), Some(expected.as_str()), "{lines} {request}");
        assert!(received.target.ends_with("/x"), "{received:?}");
    }
}

#[test]
fn fields_keep_their_order_and_case_behind_those_of_the_balancer() {
    let fields =
        "b-LOWER: 1\r\nAccept: */*\r\nX-Twice: 1\r\nX-Twice: 2\r\nx_key: z\r\nCookie: a=b\r\n";
    let (request, _, _) = forwarded("", &get(fields));
    let own =
        ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Port", "Host", "X-Amzn-Trace-Id"];
    let clients = ["b-LOWER", "Accept", "X-Twice", "X-Twice", "x_key", "Cookie"];
    assert_eq!(request.names(), [own.as_slice(), &clients].concat());
    assert_eq!(request.values("X-Twice"), ["1", "2"]);
}

#[test]
fn fields_of_one_hop_are_not_forwarded() {
    let fields = "Connection: keep-alive, X-Foo ,x-bar\r\nX-Foo: 1\r\nX-Bar: 2\r\n\
                  Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
                  Upgrade: h2c\r\nX-Kept: 3\r\nProxy-Authorization: Basic eDp5\r\n";
    let (request, _, _) = forwarded("", &get(fields));
    let dropped =
        ["Connection", "X-Foo", "X-Bar", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade"];
    for name in dropped {
        assert_eq!(request.values(name), Vec::<&str>::new(), "{name}");
    }
    assert_eq!(request.field("X-Kept"), Some("3"));
    assert_eq!(request.field("Proxy-Authorization"), Some("Basic eDp5"));
}

#[test]
fn no_other_proxy_fields_are_added() {
    let (request, _, _) = forwarded("", &get("Via: 1.1 z\r\n"));
    assert_eq!(request.values("Via"), ["1.1 z"]);
    for name in ["X-Forwarded-Host", "Forwarded", "X-Real-IP", "X-Request-Id", "Connection"] {
        assert_eq!(request.values(name), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn methods_of_any_token_are_forwarded_as_they_came() {
    let target = Target::answering(ok("x"));
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    let methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "get", "M-X.1"];
    for method in methods {
        client.exchange(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    client.exchange("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    let requests = target.requests();
    let received: Vec<&str> = requests.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(received, [methods.as_slice(), &["OPTIONS"]].concat());
    assert_eq!(requests[methods.len()].target, "*");
}

#[test]
fn invalid_field_names_are_dropped_only_when_asked() {
    let fields = "x_key: 1\r\nX.Dot: 2\r\nX-Valid-1: 3\r\n";
    let (kept, _, _) = forwarded("", &get(fields));
    let (dropped, _, _) = forwarded("drop_invalid_header_fields = true", &get(fields));
    assert_eq!((kept.field("x_key"), kept.field("X.Dot")), (Some("1"), Some("2")));
    assert_eq!((dropped.field("x_key"), dropped.field("X.Dot")), (None, None));
    assert_eq!((kept.field("X-Valid-1"), dropped.field("X-Valid-1")), (Some("3"), Some("3")));
}

#[test]
fn harmless_deviations_are_refused_only_in_strictest_mode() {
    let deviations = [
        get("Content-Length: 0\r\n"),
        format!("{}hello", get("Content-Length: 5\r\n")),
        format!("{}0\r\n\r\n", get("Transfer-Encoding: chunked\r\n")),
    ];
    for request in deviations {
        forwarded("desync_mitigation_mode = \"defensive\"", &request);
        let target = Target::answering(ok("x"));
        let balancer = http(&[&target]).web("desync_mitigation_mode = \"strictest\"").start();
        let mut client = balancer.client();
        assert_eq!(client.exchange(&request).status, 400, "{request}");
        assert_eq!((client.rest().0, target.connection_count()), (Vec::new(), 0));
        assert_eq!(balancer.client().exchange(get("Accept: */*\r\n")).status, 200);
    }
}
