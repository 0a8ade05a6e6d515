//! Requests as spans: a collector that reads what arrives, and targets that see their parent.

mod harness;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Instant;

use harness::*;
use serde_json::Value;

/// The client's trace and span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that takes everything.
fn collector() -> Target {
    Target::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    )
}

/// Tells one in so many requests to the collector at `address`.
fn tracing(address: SocketAddr, one_in: u32) -> String {
    format!(
        "tracing = {{ endpoint = \"http://{address}\", sample_one_in = {one_in}, \
         service = \"shop\" }}"
    )
}

/// The spans that have arrived over these connections, in order.
fn arrived(connections: &[ConnectionRecord]) -> Vec<Value> {
    let requests = connections.iter().flat_map(|connection| &connection.requests);
    let spans = requests.flat_map(|request| {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/traces"));
        assert_eq!(request.field("content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "shop");
        resource["scopeSpans"][0]["spans"].as_array().expect("a list").clone()
    });
    spans.collect()
}

/// Waits for so many spans.
#[track_caller]
fn spans(collector: &Target, count: usize) -> Vec<Value> {
    collector.wait("spans", |connections| arrived(connections).len() >= count);
    let spans = arrived(&collector.connections());
    assert_eq!(spans.len(), count);
    spans
}

/// What an attribute of `span` is worth.
fn attribute<'v>(span: &'v Value, key: &str) -> Option<&'v Value> {
    let all = span["attributes"].as_array().expect("a list");
    let found = all.iter().find(|attribute| attribute["key"] == key)?;
    found["value"].as_object().expect("a table").values().next()
}

/// Number and parent of a `traceparent`, whose form is checked.
fn parts(value: &str) -> (String, String) {
    let parts: Vec<&str> = value.split('-').collect();
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{value}");
    assert!(parts[0] == "00" && matches!(parts[3], "01" | "03"), "{value}");
    (parts[1].into(), parts[2].into())
}

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example:8080\r\n{lines}\r\n")
}

#[test]
fn request_is_told_with_what_became_of_it() {
    let (target, collector) = (Target::named("one"), collector());
    let balancer = http(&[&target])
        .server(&tracing(collector.address(), 1))
        .rule(20, "path_pattern = [\"/cart/*\"]\nforward = \"home\"")
        .start();
    let mut client = balancer.client();
    let lines = "User-Agent: test/1\r\ntracestate: of=others\r\n";
    client.exchange(get("/cart/7?secret=1", lines));
    let span = &spans(&collector, 1)[0];
    let seen = target.request();
    let (trace, parent) = parts(seen.field("traceparent").expect("a parent for the target"));
    assert_eq!((&span["traceId"], &span["spanId"]), (&trace.into(), &parent.into()));
    assert_eq!(span.get("parentSpanId"), None);
    assert_eq!(seen.field("tracestate"), None, "it belongs to another trace");
    for (key, expected) in [
        ("http.request.method", "GET"),
        ("url.path", "/cart/7"),
        ("server.address", "shop.example"),
        ("server.port", "8080"),
        ("user_agent.original", "test/1"),
        ("http.response.status_code", "200"),
        ("client.address", "127.0.0.1"),
        ("ringway.listener", "web"),
        ("ringway.rule", "20"),
        ("ringway.target_group", "home"),
        ("ringway.target", &target.address().to_string()),
        ("ringway.attempts", "1"),
        ("ringway.trace_id", seen.field("x-amzn-trace-id").expect("there")),
    ] {
        assert_eq!(attribute(span, key), Some(&expected.into()), "{key}");
    }
    let nanos = |key: &str| span[key].as_str().and_then(|text| text.parse::<u64>().ok());
    let (began, ended) = (nanos("startTimeUnixNano"), nanos("endTimeUnixNano"));
    assert!(began.is_some() && began < ended, "{span}");
    let seconds = attribute(span, "ringway.target_seconds").and_then(Value::as_f64);
    assert!(seconds.is_some_and(|seconds| seconds > 0.0 && seconds < 15.0), "{span}");
    assert_eq!(span["status"], serde_json::json!({}));
}

#[test]
fn every_request_of_a_connection_has_a_trace_of_its_own() {
    let (target, collector) = (Target::named("one"), collector());
    let balancer = http(&[&target]).server(&tracing(collector.address(), 1)).start();
    let mut client = balancer.client();
    client.send(get("/1", "").repeat(20));
    (0..20).for_each(|_| drop(client.response("GET")));
    let spans = spans(&collector, 20);
    let distinct =
        |key: &str| spans.iter().map(|span| span[key].to_string()).collect::<HashSet<_>>();
    assert_eq!((distinct("traceId").len(), distinct("spanId").len()), (20, 20));
}

#[test]
fn sampled_request_is_told_as_part_of_its_trace() {
    let (target, collector) = (Target::named("one"), collector());
    let balancer = http(&[&target]).server(&tracing(collector.address(), 1_000_000_000)).start();
    let lines = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: of=others\r\n");
    balancer.client().exchange(get("/", &lines));
    let span = &spans(&collector, 1)[0];
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&TRACE.into(), &PARENT.into()));
    let seen = target.request();
    assert_eq!(seen.values("traceparent").len(), 1);
    let (trace, parent) = parts(seen.field("traceparent").expect("there"));
    assert_eq!((trace.as_str(), &parent.into()), (TRACE, &span["spanId"]));
    assert_eq!(seen.field("tracestate"), Some("of=others"));
}

#[test]
fn request_that_is_not_sampled_passes_untouched() {
    let (target, collector) = (Target::named("one"), collector());
    let balancer = http(&[&target]).server(&tracing(collector.address(), 1)).start();
    let mut client = balancer.client();
    let value = format!("00-{TRACE}-{PARENT}-00");
    client.exchange(get("/quiet", &format!("traceparent: {value}\r\n")));
    client.exchange(get("/told", ""));
    assert_eq!(attribute(&spans(&collector, 1)[0], "url.path"), Some(&"/told".into()));
    assert_eq!(target.requests()[0].field("traceparent"), Some(value.as_str()));
}

#[test]
fn traceparent_passes_untouched_where_nothing_is_exported() {
    let target = Target::named("one");
    let balancer = http(&[&target]).start();
    let value = format!("00-{TRACE}-{PARENT}-01");
    let lines = format!("TraceParent: {value}\r\ntracestate: a=b\r\n");
    balancer.client().exchange(get("/", &lines));
    let seen = target.request();
    assert_eq!(seen.field("traceparent"), Some(value.as_str()));
    assert_eq!(seen.field("tracestate"), Some("a=b"));
}

#[test]
fn failures_and_answers_of_our_own_are_told() {
    let (refusing, collector) = (Refusing::start(), collector());
    let balancer = Config::new("l7", vec![refusing.address()])
        .server(&tracing(collector.address(), 1))
        .rule(10, "path_pattern = [\"/gone\"]\nfixed_response = { status = 410 }")
        .start();
    let mut client = balancer.client();
    client.get("/gone");
    client.get("/");
    let spans = spans(&collector, 2);
    let status = |span: &Value| attribute(span, "http.response.status_code").cloned();
    assert_eq!(status(&spans[0]), Some("410".into()));
    assert_eq!(
        (&spans[0]["status"], attribute(&spans[0], "error.type")),
        (&Value::Object(Default::default()), None)
    );
    assert_eq!(status(&spans[1]), Some("502".into()));
    assert_eq!(spans[1]["status"]["code"], 2);
    assert_eq!(attribute(&spans[1], "error.type"), Some(&"connection_refused".into()));
}

#[test]
fn collector_that_is_busy_gets_the_same_spans_again() {
    let target = Target::named("one");
    let collector = Target::start(|peer| {
        let status = if peer.index == 0 { "503 Busy" } else { "200 OK" };
        if peer.request().is_some() {
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes());
        }
    });
    let mut balancer = http(&[&target]).server(&tracing(collector.address(), 1)).start();
    let mut client = balancer.client();
    client.send(get("/early", "").repeat(5));
    (0..5).for_each(|_| drop(client.response("GET")));
    collector.wait("a second try", |connections| {
        connections.get(1).is_some_and(|second| !second.requests.is_empty())
    });
    let connections = collector.connections();
    let [first, second] = [0, 1].map(|at| arrived(&connections[at..=at]));
    assert!(!first.is_empty() && second.starts_with(&first), "{first:?} {second:?}");
    let log = balancer.process().stderr();
    assert_eq!(log.matches("spans cannot be exported; trying again").count(), 1, "{log}");
}

#[test]
fn spans_without_room_are_dropped_and_counted_and_requests_do_not_wait() {
    let (target, silent, door) = (Target::named("one"), Silent::start(), free_address());
    let balancer = http(&[&target])
        .one_worker()
        .server(&tracing(silent.address(), 1))
        .server(&format!("control = {{ metrics_address = \"{door}\" }}"))
        .start();
    let mut client = balancer.client();
    let batch = get("/", "").repeat(100);
    for _ in 0..100 {
        client.send(&batch);
        (0..100).for_each(|_| assert_eq!(client.response("GET").status, 200));
    }
    let until = Instant::now() + DEADLINE;
    let value = |name: &str| {
        let page = Client::connect(door).get("/metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect("there").parse::<u64>().expect("a number")
    };
    // One batch is on its way, and 8,192 spans may wait.
    let least = 10_000 - 8_192 - 256;
    while value("ringway_spans_dropped_total") < least {
        assert!(Instant::now() < until, "{}", value("ringway_spans_dropped_total"));
    }
    assert_eq!(value("ringway_spans_exported_total"), 0);
}

#[test]
fn reload_switches_it_on_and_off() {
    let (target, collector) = (Target::named("one"), collector());
    let dir = tempfile::tempdir().expect("directory");
    let socket = dir.path().join("control.sock");
    let control = format!("control = {{ socket = \"{}\" }}", socket.display());
    let off = http(&[&target]).server(&control);
    let on = off.clone().server(&tracing(collector.address(), 1));
    let balancer = off.start();
    let mut client = balancer.client();
    for (config, path) in [(&on, "/on"), (&off, "/off"), (&on, "/again")] {
        client.get("/before");
        balancer.rewrite(&config.text());
        Control::at(&socket).done("POST", "/v1/reload", None);
        client.get(path);
    }
    let told = spans(&collector, 3);
    let paths: Vec<_> = told.iter().filter_map(|span| attribute(span, "url.path")).collect();
    assert_eq!(paths, ["/on", "/before", "/again"]);
}

#[test]
fn last_spans_are_sent_at_the_end() {
    let (target, collector) = (Target::named("one"), collector());
    let mut balancer = http(&[&target]).server(&tracing(collector.address(), 1)).start();
    balancer.client().get("/last");
    balancer.signal("TERM");
    balancer.process().wait(DEADLINE);
    assert_eq!(attribute(&spans(&collector, 1)[0], "url.path"), Some(&"/last".into()));
}
