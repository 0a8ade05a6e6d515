//! `/metrics`, `/healthz` and `/readyz` of a running balancer: what was sent is what is counted.

#[path = "../harness/mod.rs"]
mod harness;

mod page;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use harness::*;
use page::Page;
use serde_json::json;
use tempfile::TempDir;

/// Name, labels and value of a series.
type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], f64);

/// A balancer with a door for metrics.
struct Measured {
    balancer: Balancer,
    door: SocketAddr,
    dir: TempDir,
}

/// What a configuration needs for [`Measured`].
struct Doors {
    door: SocketAddr,
    dir: TempDir,
}

impl Doors {
    fn new() -> Self {
        Self { door: free_address(), dir: tempfile::tempdir().expect("directory") }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("control.sock")
    }

    fn line(&self) -> String {
        let (socket, door) = (self.socket(), self.door);
        format!("control = {{ socket = \"{}\", metrics_address = \"{door}\" }}", socket.display())
    }

    fn start(self, config: &Config) -> Measured {
        let Self { door, dir } = self;
        Measured { balancer: config.start(), door, dir }
    }
}

impl Measured {
    fn start(config: Config) -> Self {
        let doors = Doors::new();
        let config = config.server(&doors.line());
        doors.start(&config)
    }

    fn control(&self) -> Control {
        Control::at(&self.dir.path().join("control.sock"))
    }

    fn page(&self) -> Page {
        let response = Client::connect(self.door).get("/metrics");
        let kind = response.field("content-type").unwrap_or_default();
        assert_eq!(response.status, 200);
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        Page::read(&response.text())
    }

    /// Waits until each of these series has its value: an exchange is counted just after the
    /// client has its last byte.
    #[track_caller]
    fn expect(&self, rows: &[Row<'_>]) -> Page {
        let mut page = self.page();
        let is_wrong = |page: &Page| {
            let found = rows.iter().map(|(name, labels, _)| page.value(name, labels));
            rows.iter().zip(found).find(|((_, _, value), found)| *found != Some(*value)).map(
                |((name, labels, value), found)| {
                    format!("{name} {labels:?}: {found:?}, not {value}")
                },
            )
        };
        let until = Instant::now() + DEADLINE;
        while let Some(wrong) = is_wrong(&page) {
            assert!(Instant::now() < until, "{wrong}");
            page = self.page();
        }
        page
    }
}

fn failing() -> Target {
    Target::answering("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
}

/// Sends `count` requests for `path` and takes the responses.
fn send(client: &mut Client, path: &str, count: usize) {
    for _ in 0..count {
        client.get(path);
    }
}

#[test]
fn requests_are_counted_by_listener_rule_group_and_target() {
    let (one, two, bad) = (Target::named("one"), Target::named("two"), failing());
    let config = http(&[&one, &two])
        .group("bad", &[bad.address()])
        .group("empty", &[])
        .rule(10, "path_pattern = [\"/bad\"]\nforward = \"bad\"")
        .rule(20, "path_pattern = [\"/fixed\"]\nfixed_response = { status = 404 }")
        .rule(30, "path_pattern = [\"/old\"]\nredirect = { path = \"/new\", status = 301 }")
        .rule(40, "path_pattern = [\"/empty\"]\nforward = \"empty\"");
    let measured = Measured::start(config);
    let mut client = measured.balancer.client();
    send(&mut client, "/", 10);
    send(&mut client, "/bad", 3);
    send(&mut client, "/fixed", 4);
    send(&mut client, "/old", 5);
    send(&mut client, "/empty", 2);
    drop(client);
    let mut rude = measured.balancer.client();
    rude.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n");
    rude.response("GET");
    drop(rude);
    let [web, home, bad_group] =
        [("listener", "web"), ("target_group", "home"), ("target_group", "bad")];
    let (one, two, bad) =
        (one.address().to_string(), two.address().to_string(), bad.address().to_string());
    let page = measured.expect(&[
        ("ringway_listener_requests_total", &[web], 25.0),
        ("ringway_listener_connections_accepted_total", &[web], 2.0),
        ("ringway_listener_connections_closed_total", &[web], 2.0),
        ("ringway_listener_connections_active", &[web], 0.0),
        ("ringway_listener_responses_total", &[web, ("class", "2xx")], 10.0),
        ("ringway_listener_responses_total", &[web, ("class", "3xx")], 5.0),
        ("ringway_listener_responses_total", &[web, ("class", "4xx")], 5.0),
        ("ringway_listener_responses_total", &[web, ("class", "5xx")], 5.0),
        ("ringway_listener_responses_total", &[web, ("class", "none")], 0.0),
        ("ringway_listener_own_responses_total", &[web, ("code", "4xx")], 4.0),
        ("ringway_listener_own_responses_total", &[web, ("code", "400")], 1.0),
        ("ringway_listener_own_responses_total", &[web, ("code", "3xx")], 5.0),
        ("ringway_listener_own_responses_total", &[web, ("code", "503")], 2.0),
        ("ringway_listener_own_responses_total", &[web, ("code", "5xx")], 0.0),
        ("ringway_listener_actions_total", &[web, ("action", "forward")], 15.0),
        ("ringway_listener_actions_total", &[web, ("action", "redirect")], 5.0),
        ("ringway_listener_actions_total", &[web, ("action", "fixed-response")], 4.0),
        ("ringway_listener_noncompliant_requests_total", &[web], 1.0),
        ("ringway_rule_requests_total", &[web, ("rule", "10")], 3.0),
        ("ringway_rule_requests_total", &[web, ("rule", "20")], 4.0),
        ("ringway_rule_requests_total", &[web, ("rule", "30")], 5.0),
        ("ringway_rule_requests_total", &[web, ("rule", "40")], 2.0),
        ("ringway_rule_requests_total", &[web, ("rule", "default")], 10.0),
        ("ringway_rule_responses_total", &[web, ("rule", "10"), ("class", "5xx")], 3.0),
        ("ringway_rule_responses_total", &[web, ("rule", "default"), ("class", "2xx")], 10.0),
        ("ringway_group_requests_total", &[home], 10.0),
        ("ringway_group_responses_total", &[home, ("class", "2xx")], 10.0),
        ("ringway_group_requests_total", &[bad_group], 3.0),
        ("ringway_group_responses_total", &[bad_group, ("class", "5xx")], 3.0),
        ("ringway_group_unavailable_total", &[("target_group", "empty")], 2.0),
        ("ringway_group_request_duration_seconds_count", &[home], 10.0),
        ("ringway_group_target_time_seconds_count", &[home], 10.0),
        ("ringway_target_responses_total", &[home, ("target", &one), ("class", "2xx")], 5.0),
        ("ringway_target_responses_total", &[home, ("target", &two), ("class", "2xx")], 5.0),
        ("ringway_target_responses_total", &[bad_group, ("target", &bad), ("class", "5xx")], 3.0),
        ("ringway_target_requests_total", &[home, ("target", &one)], 5.0),
        ("ringway_target_failures_total", &[bad_group, ("target", &bad)], 3.0),
        ("ringway_target_healthy", &[home, ("target", &one)], 1.0),
        ("ringway_group_targets", &[home, ("state", "healthy")], 2.0),
        ("ringway_errors_total", &[("kind", "http_request_error")], 1.0),
        ("ringway_errors_total", &[("kind", "destination_unavailable")], 2.0),
        ("ringway_config_generation", &[], 1.0),
        ("ringway_draining", &[], 0.0),
    ]);
    // One client connection, so at most one to each target; but each worker has its own.
    let connections = page.sum("ringway_group_connections_total");
    assert_eq!(connections, 3.0, "all others were used again");
    assert_eq!(page.sum("ringway_worker_target_connections_reused_total"), 10.0);
    assert_eq!(page.sum("ringway_worker_requests_total"), 24.0, "one could not be read");
    assert!(page.value("process_resident_memory_bytes", &[]).is_some_and(|it| it > 1e6));
}

#[test]
fn bytes_both_ways_are_those_on_the_wire() {
    let target = Target::echo();
    let measured = Measured::start(http(&[&target]));
    let mut client = measured.balancer.client();
    let body = "x".repeat(100_000);
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{body}");
    client.send(&request);
    let head = client.take_past("\r\n\r\n");
    client.take(100_000);
    let web = ("listener", "web");
    measured.expect(&[
        ("ringway_listener_received_bytes_total", &[web], request.len() as f64),
        ("ringway_listener_sent_bytes_total", &[web], (head.len() + 100_000) as f64),
    ]);
}

#[test]
fn l4_connections_and_their_bytes_are_counted_while_they_live() {
    let target = Target::start(|peer| {
        while let Some(bytes) = peer.take(1000) {
            peer.send(&bytes);
            peer.send(&bytes);
        }
    });
    let measured = Measured::start(tcp(&[&target]));
    let mut client = measured.balancer.client();
    client.send([b'x'; 1000]);
    client.take(2000);
    let (web, home) = (("listener", "web"), ("target_group", "home"));
    let address = target.address().to_string();
    measured.expect(&[
        ("ringway_listener_connections_active", &[web], 1.0),
        ("ringway_listener_received_bytes_total", &[web], 1000.0),
        ("ringway_listener_sent_bytes_total", &[web], 2000.0),
        ("ringway_group_requests_total", &[home], 1.0),
        ("ringway_group_target_time_seconds_count", &[home], 1.0),
        ("ringway_target_in_flight", &[home, ("target", &address)], 1.0),
    ]);
    client.send([b'x'; 1000]);
    client.take(2000);
    drop(client);
    let page = measured.expect(&[
        ("ringway_listener_connections_active", &[web], 0.0),
        ("ringway_listener_received_bytes_total", &[web], 2000.0),
        ("ringway_listener_sent_bytes_total", &[web], 4000.0),
        ("ringway_group_requests_total", &[home], 1.0),
        ("ringway_target_in_flight", &[home, ("target", &address)], 0.0),
    ]);
    assert_eq!(page.value("ringway_listener_requests_total", &[web]), Some(0.0), "no HTTP");
}

#[test]
fn failures_are_counted_where_they_happen() {
    let (refusing, good) = (Refusing::start(), Target::named("good"));
    let closing = Target::start(|peer| drop(peer.request()));
    let config = Config::new("l7", vec![refusing.address(), good.address()])
        .one_worker()
        .group("closing", &[closing.address()])
        .rule(10, "path_pattern = [\"/closing\"]\nforward = \"closing\"");
    let measured = Measured::start(config);
    let mut client = measured.balancer.client();
    send(&mut client, "/", 6);
    client.exchange("POST /closing HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let home = ("target_group", "home");
    let page = measured.expect(&[
        ("ringway_group_requests_total", &[home], 6.0),
        ("ringway_group_responses_total", &[home, ("class", "2xx")], 6.0),
        ("ringway_group_responses_total", &[("target_group", "closing"), ("class", "none")], 1.0),
        ("ringway_errors_total", &[("kind", "connection_terminated")], 1.0),
        ("ringway_listener_own_responses_total", &[("listener", "web"), ("code", "502")], 1.0),
    ]);
    // Each request that met the refusing target first went to the other one then.
    let errors = page.value("ringway_group_connect_errors_total", &[home]);
    assert!(errors.is_some_and(|errors| (3.0..=6.0).contains(&errors)), "{errors:?}");
    let refused = refusing.address().to_string();
    let target = [home, ("target", refused.as_str())];
    let rows: [(&str, &[(&str, &str)]); 4] = [
        ("ringway_group_retries_total", &[home]),
        ("ringway_target_connect_errors_total", &target),
        ("ringway_target_failures_total", &target),
        ("ringway_worker_target_connection_errors_total", &[("worker", "0")]),
    ];
    for (name, labels) in rows {
        assert_eq!(page.value(name, labels), errors, "{name}");
    }
}

#[test]
fn websocket_is_counted_when_it_begins() {
    let target = Target::start(|peer| {
        if peer.request().is_some() {
            let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
            peer.send(head.as_bytes());
            peer.take_rest();
        }
    });
    let measured = Measured::start(http(&[&target]));
    let mut client = measured.balancer.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    client.take_past("\r\n\r\n");
    let rows: [Row<'_>; 3] = [
        ("ringway_listener_requests_total", &[("listener", "web")], 1.0),
        ("ringway_group_requests_total", &[("target_group", "home")], 1.0),
        ("ringway_rule_requests_total", &[("listener", "web"), ("rule", "default")], 1.0),
    ];
    measured.expect(&rows);
    drop(client);
    target.wait_end(0);
    measured.expect(&rows);
}

#[test]
fn counts_stay_through_changes_and_go_with_what_they_are_of() {
    let (one, two) = (Target::named("one"), Target::named("two"));
    let doors = Doors::new();
    let config = |rules: &str| {
        http(&[&one])
            .server(&doors.line())
            .group("extra", &[two.address()])
            .home("deregistration_delay = \"0s\"")
            .web(rules)
            .text()
    };
    let rule = |priority: u32, path: &str, group: &str| {
        format!(
            "[[listeners.rules]]\npriority = {priority}\npath_pattern = [\"{path}\"]\n\
             forward = \"{group}\"\n"
        )
    };
    let both = rule(10, "/a", "home") + &rule(20, "/extra", "extra");
    let (door, socket) = (doors.door, doors.socket());
    let text = config(&both);
    let measured = Measured { balancer: Balancer::start(&text), door, dir: doors.dir };
    let mut client = measured.balancer.client();
    send(&mut client, "/a", 3);
    send(&mut client, "/extra", 2);
    let web = ("listener", "web");
    measured.expect(&[
        ("ringway_rule_requests_total", &[web, ("rule", "10")], 3.0),
        ("ringway_rule_requests_total", &[web, ("rule", "20")], 2.0),
    ]);
    // A rule before them, and the last one gone: places move, counts stay with their rule.
    let text = text.replace(&rule(20, "/extra", "extra"), &rule(5, "/new", "home"));
    measured.balancer.reload(&text);
    send(&mut client, "/a", 1);
    send(&mut client, "/new", 4);
    let page = measured.expect(&[
        ("ringway_rule_requests_total", &[web, ("rule", "5")], 4.0),
        ("ringway_rule_requests_total", &[web, ("rule", "10")], 4.0),
        ("ringway_config_changes_total", &[("by", "file"), ("result", "accepted")], 1.0),
        ("ringway_config_generation", &[], 2.0),
        ("ringway_group_requests_total", &[("target_group", "home")], 8.0),
    ]);
    assert_eq!(page.value("ringway_rule_requests_total", &[web, ("rule", "20")]), None);
    // A target that goes takes its series along, and comes back at zero.
    let control = Control::at(&socket);
    let (home, address) = (("target_group", "home"), one.address().to_string());
    let labels = [home, ("target", address.as_str())];
    control.register("home", two.address());
    control.deregister("home", one.address(), Some("5s"));
    measured.balancer.wait("the target to be gone", || {
        measured.page().value("ringway_target_requests_total", &labels).is_none()
    });
    control.register("home", one.address());
    measured.expect(&[
        ("ringway_target_requests_total", &labels, 0.0),
        ("ringway_config_changes_total", &[("by", "api"), ("result", "accepted")], 3.0),
        ("ringway_targets_drained_total", &[], 1.0),
        ("ringway_group_requests_total", &[home], 8.0),
    ]);
    measured.balancer.reload_refused("nonsense");
    measured.expect(&[(
        "ringway_config_changes_total",
        &[("by", "file"), ("result", "refused")],
        1.0,
    )]);
}

#[test]
fn groups_that_come_and_go_leave_nothing_behind() {
    let target = Target::named("a");
    let measured = Measured::start(http(&[&target]));
    let control = measured.control();
    let series = measured.page().labelled();
    for round in 0..20 {
        let group = json!({
            "targets": { target.address().to_string(): {} }, "health_check": { "enabled": false },
            "deregistration_delay": "0s",
        });
        let name = format!("group-{round}");
        control.done("PUT", &format!("/v1/target-groups/{name}"), Some(&group));
        let forward = json!({ "forward": name });
        let patch = json!({ "listeners": { "web": { "default": forward } } });
        control.done("PATCH", "/v1/config", Some(&patch));
        assert_eq!(measured.balancer.client().get("/").status, 200);
        measured.expect(&[("ringway_group_requests_total", &[("target_group", &name)], 1.0)]);
        let patch = json!({ "listeners": { "web": { "default": { "forward": "home" } } } });
        control.done("PATCH", "/v1/config", Some(&patch));
        control.done("DELETE", &format!("/v1/target-groups/{name}"), None);
    }
    measured
        .balancer
        .wait("the last group to be gone", || measured.page().values_of("target_group").len() == 1);
    // Those of the changes and of the histograms of `home` are there from the start or not at all.
    assert_eq!(measured.page().labelled(), series);
}

#[test]
fn page_is_whole_under_load_and_counters_never_fall() {
    let target = Target::named("a");
    let measured = Measured::start(http(&[&target]));
    let (stop, address) = (AtomicBool::new(false), measured.balancer.address("web"));
    let sent: f64 = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(address);
                    let mut sent = 0;
                    while !stop.load(Relaxed) {
                        assert_eq!(client.get("/").status, 200);
                        sent += 1;
                    }
                    f64::from(sent)
                })
            })
            .collect();
        let mut before = measured.page();
        for _ in 0..30 {
            let page = measured.page();
            for (key, value) in before.growing() {
                let now = page.growing().find(|(it, _)| *it == key).map(|(_, value)| value);
                assert!(now.is_some_and(|now| now >= value), "{key:?}: {value}, then {now:?}");
            }
            before = page;
        }
        stop.store(true, Relaxed);
        clients.into_iter().map(|client| client.join().expect("client")).sum()
    });
    assert!(sent > 0.0);
    let web = ("listener", "web");
    measured.expect(&[
        ("ringway_listener_requests_total", &[web], sent),
        ("ringway_listener_responses_total", &[web, ("class", "2xx")], sent),
        ("ringway_group_target_time_seconds_count", &[("target_group", "home")], sent),
    ]);
}

#[test]
fn labels_are_names_of_the_configuration_whatever_clients_send() {
    let target = Target::named("a");
    let measured = Measured::start(http(&[&target]));
    let series = measured.page().labelled();
    let mut client = measured.balancer.client();
    for number in 0..50 {
        client.exchange(format!(
            "GET /{number} HTTP/1.1\r\nHost: h{number}.example.com\r\nUser-Agent: u{number}\r\n\
             X-{number}: {number}\r\n\r\n"
        ));
    }
    let page =
        measured.expect(&[("ringway_listener_requests_total", &[("listener", "web")], 50.0)]);
    // The two histograms of the group begin with its first request.
    let histograms = 2 * 22;
    assert_eq!(page.labelled(), series + histograms);
}

#[test]
fn a_thousand_groups_make_one_page() {
    let target = Target::named("a");
    let mut config = http(&[&target]);
    for number in 1..1000 {
        config = config.group(&format!("group-{number}"), &[target.address()]);
    }
    let measured = Measured::start(config);
    let page = measured.page();
    assert_eq!(page.values_of("target_group").len(), 1000);
    assert!(page.labelled() > 30_000, "{}", page.labelled());
    assert_eq!(measured.balancer.client().get("/").status, 200);
}

#[test]
fn alive_and_ready_until_it_drains() {
    let gate = Gate::new();
    let waiting = gate.clone();
    let target = Target::start(move |peer| {
        while peer.request().is_some() {
            waiting.wait();
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut measured = Measured::start(http(&[&target]));
    let ask = |path: &str| Client::connect(measured.door).get(path);
    assert_eq!((ask("/healthz").status, ask("/healthz").text().as_str()), (200, "ok\n"));
    measured.balancer.wait("it to be ready", || ask("/readyz").status == 200);
    let mut client = measured.balancer.client();
    client.send_get("/");
    target.wait("the request", |connections| {
        connections.iter().any(|connection| !connection.requests.is_empty())
    });
    let mut asking = Client::connect(measured.door);
    measured.balancer.signal("TERM");
    measured.balancer.wait("the drain", || measured.balancer.log_count(&["stopping"]) == 1);
    // Draining, it says so, or has closed the door: both keep traffic away.
    asking.send_get("/readyz");
    if let Ok(response) = asking.try_response("GET") {
        assert_eq!(response.status, 503, "{}", response.text());
    }
    gate.open();
    assert_eq!(client.response("GET").status, 200);
    assert_eq!(measured.balancer.process().wait(DEADLINE).code(), Some(0));
}

#[test]
fn not_ready_before_the_first_health_is_known_and_ready_with_unhealthy_targets() {
    let silent = Silent::start();
    let config = Config::new("l7", vec![silent.address()])
        .home("health_check = { interval = \"5s\", timeout = \"4s\" }");
    let measured = Measured::start(config);
    let ask = || Client::connect(measured.door).get("/readyz");
    let first = ask();
    assert_eq!(first.status, 503, "{}", first.text());
    assert!(first.text().contains("targets are being probed"), "{}", first.text());
    measured.balancer.wait("it to be ready", || ask().status == 200);
    measured.expect(&[(
        "ringway_group_targets",
        &[("target_group", "home"), ("state", "unhealthy")],
        1.0,
    )]);
    assert_eq!(ask().status, 200, "a front would take every balancer out at once");
}

#[test]
fn page_is_protobuf_for_those_who_ask_for_it() {
    let target = Target::named("a");
    let measured = Measured::start(http(&[&target]));
    assert_eq!(measured.balancer.client().get("/").status, 200);
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                  encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8";
    let request = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
    let response = Client::connect(measured.door).exchange(request);
    let kind = response.field("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/vnd.google.protobuf"), "{kind}");
    // A message is its length and then its first field, the name: tag 1, length, text.
    let name = b"ringway_build_info";
    let body = &response.body;
    assert_eq!((body[0] & 0x80, body[1], body[2] as usize), (0, 0x0a, name.len()));
    assert_eq!(&body[3..3 + name.len()], name);
}

#[test]
fn trace_context_of_the_client_passes_through() {
    let target = Target::named("a");
    let measured = Measured::start(http(&[&target]));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    measured.balancer.client().exchange(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nTraceparent: {parent}\r\ntracestate: a=1,b=2\r\n\
         Tracestate: c=3\r\nbaggage: user=7\r\n\r\n"
    ));
    let request = target.request();
    assert_eq!(request.field("traceparent"), Some(parent));
    assert_eq!(request.values("tracestate"), ["a=1,b=2", "c=3"]);
    assert_eq!(request.field("baggage"), Some("user=7"));
}
