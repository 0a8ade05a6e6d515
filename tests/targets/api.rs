//! Changes through the control API while traffic flows, and what outlasts the process.

use std::io::{BufRead, BufReader};

use super::*;

const TARGETS: &str = "/v1/target-groups/home/targets";

#[test]
fn registered_target_gets_traffic_and_deregistered_one_none_once_the_call_returns() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let controlled = Controlled::new();
    let balancer = Balancer::start(&controlled.text(&http(&[&a])));
    let stream = Stream::start(balancer.address("web"), 4);
    for _ in 0..20 {
        controlled.register(&registration(&b, ""));
        // The others take turns, too.
        balancer.wait("a turn of b", || answers(&balancer, 3).contains(&"b".into()));
        let path = format!("{TARGETS}?address={}&wait=40s", b.address());
        let answer = controlled.api.ask("DELETE", &path, "");
        assert!(answer.contains("\"drained\":true"), "{answer}");
        let before = b.connection_count();
        thread::sleep(Duration::from_millis(5));
        assert_eq!(b.connection_count(), before, "a request after the call returned");
    }
    stream.stop_clean();
}

#[test]
fn wait_of_a_deregistration_ends_with_what_is_in_flight() {
    let gate = Gate::new();
    let opens = gate.clone();
    let (a, b) = (
        Target::named("a"),
        Target::start(move |peer| {
            while peer.request().is_some() {
                opens.wait();
                peer.send(&ok("late"));
            }
        }),
    );
    let controlled = Controlled::new();
    let balancer = Balancer::start(&controlled.text(&http(&[&b])));
    let mut client = balancer.client();
    client.send_get("/");
    b.wait("a request", |all| all.iter().any(|connection| !connection.requests.is_empty()));
    controlled.register(&registration(&a, ""));
    let path = format!("{TARGETS}?address={}", b.address());
    let answer = controlled.api.ask("DELETE", &format!("{path}&wait=200ms"), "");
    assert!(answer.contains("\"drained\":false"), "{answer}");
    let (api, again) = (controlled.api.clone(), format!("{path}&wait=40s"));
    let waiting = thread::spawn(move || (api.ask("DELETE", &again, ""), Instant::now()));
    thread::sleep(Duration::from_millis(300));
    let opened = Instant::now();
    gate.open();
    let (answer, returned) = waiting.join().expect("call");
    assert!(answer.contains("\"drained\":true") && returned >= opened, "{answer}");
    assert_eq!(client.response("GET").text(), "late");
}

#[test]
fn lease_that_is_not_renewed_ends_in_draining() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let controlled = Controlled::new();
    let balancer = Balancer::start(&controlled.text(&http(&[&a])));
    let began = Instant::now();
    // Long enough for a busy machine to renew it in time.
    let lease = registration(&b, ", \"ttl\": \"4s\"");
    while began.elapsed() < Duration::from_secs(6) {
        controlled.register(&lease);
        assert!(answers(&balancer, 4).contains(&"b".into()), "renewed in time");
        thread::sleep(Duration::from_millis(200));
    }
    let drains = || controlled.targets().contains("Target.DeregistrationInProgress");
    balancer.wait("the end of the lease", drains);
    balancer.wait("only a", || answers(&balancer, 4) == ["a"; 4]);
    balancer.wait_log(&[&format!("target={} ", b.address()), "to=draining"]);
}

#[test]
fn weights_rules_and_modes_change_under_traffic() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let controlled = Controlled::new();
    let balancer = Balancer::start(&controlled.text(&http(&[&a, &b])));
    let stream = Stream::start(balancer.address("web"), 4);
    let weight = format!("{TARGETS}/{}/weight", b.address());
    let rule = "/v1/listeners/web/rules/5";
    for round in 0..10 {
        controlled.api.ask("PUT", &weight, &format!("{{\"weight\": {}}}", round % 2));
        match round % 2 {
            0 => assert_eq!(answers(&balancer, 20), ["a"; 20]),
            // The others take turns, too.
            _ => balancer.wait("a turn of b", || answers(&balancer, 4).contains(&"b".into())),
        }
        let answer = format!(
            "{{\"path_pattern\": \"/rule\", \
             \"fixed_response\": {{\"status\": 200, \"body\": \"{round}\"}}}}"
        );
        controlled.api.ask("PUT", rule, &answer);
        assert_eq!(balancer.client().get("/rule").text(), round.to_string());
        controlled.api.ask("DELETE", rule, "");
        let text = balancer.client().get("/rule").text();
        assert!(["a", "b"].contains(&text.as_str()), "{text}");
        let mode = ["l4", "l7"][round % 2];
        controlled.api.ask("PUT", "/v1/listeners/web/mode", &format!("{{\"mode\": \"{mode}\"}}"));
        controlled.api.ask("PUT", "/v1/listeners/web/mode", "{\"mode\": \"l7\"}");
    }
    stream.stop_clean();
}

#[test]
fn refused_change_changes_nothing() {
    let a = Target::named("a");
    let controlled = Controlled::new();
    let balancer = Balancer::start(&controlled.text(&http(&[&a])));
    let before = controlled.api.ask("GET", "/v1/config.toml", "");
    let bad = format!("{{\"targets\": [{}, {{\"address\": \"x\"}}]}}", registration(&a, ""));
    let weight = "{\"targets\": [{\"address\": \"127.0.0.1:1\", \"weight\": 1000}]}";
    for (method, path, body) in [
        ("POST", TARGETS, bad.as_str()),
        ("POST", TARGETS, weight),
        ("POST", "/v1/target-groups/nowhere/targets", weight),
        ("DELETE", "/v1/target-groups/home", ""),
        ("PATCH", "/v1/config", "{\"server\": {\"workers\": 0}}"),
        ("PUT", "/v1/listeners/web/mode", "{\"mode\": \"l5\"}"),
    ] {
        let response = controlled.api.try_ask(method, path, body).expect("response");
        assert!((400..500).contains(&response.status), "{method} {path}: {response:?}");
        let kind = response.field("Content-Type").unwrap_or_default();
        assert_eq!(kind, "application/problem+json", "{response:?}");
    }
    assert_eq!(controlled.api.ask("GET", "/v1/config.toml", ""), before);
    assert_eq!(answers(&balancer, 2), ["a"; 2]);
}

#[test]
fn events_tell_of_health_draining_and_reloads() {
    let (a, b) = (Target::named("a"), Checked::start("b", Health::Status(500)));
    let controlled = Controlled::new();
    let check = check("unhealthy_threshold = 1, healthy_threshold = 1");
    let config = http(&[&a]).home(&check).home("deregistration_delay = \"300ms\"");
    let balancer = Balancer::start(&controlled.text(&config));
    let mut events = BufReader::new(controlled.api.stream("/v1/events"));
    // What happens before the response has begun is not told.
    let mut status = String::new();
    events.read_line(&mut status).expect("a response");
    assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
    controlled.register(&registration(&b.target, ""));
    balancer.wait_log(&[&b.field(), "to=unhealthy"]);
    controlled.api.ask("DELETE", &format!("{TARGETS}?address={}", b.target.address()), "");
    let wanted = ["configured", "\"to\":\"unhealthy\"", "\"to\":\"draining\"", "\"drained\""];
    let mut missing = wanted.to_vec();
    for line in events.lines().map_while(Result::ok) {
        missing.retain(|word| !line.contains(word));
        if missing.is_empty() {
            return;
        }
    }
    panic!("no event with {missing:?}");
}

#[test]
fn acknowledged_changes_outlast_kill_9_and_none_is_half_there() {
    let a = Target::named("a");
    let controlled = Controlled::new();
    let text = controlled.text(&http(&[&a]));
    // Each change registers two: one without the other would be half of it.
    let pair = |n: u32| (format!("127.1.0.1:{}", 1000 + n), format!("127.1.0.2:{}", 1000 + n));
    let (mut next, mut acknowledged) = (0, Vec::new());
    for round in 0..30 {
        let mut balancer = Balancer::start(&text);
        let there = controlled.targets();
        for n in 0..next {
            let (one, other) = pair(n);
            let found = [one, other].map(|address| there.contains(&format!("\"{address}\"")));
            assert_eq!(found[0], found[1], "round {round}: change {n} is half there");
            assert!(found[0] || !acknowledged.contains(&n), "round {round}: change {n} is lost");
        }
        let (api, first) = (controlled.api.clone(), next);
        let acknowledgements = Arc::<AtomicUsize>::default();
        let count = acknowledgements.clone();
        let writer = thread::spawn(move || {
            let mut done = Vec::new();
            for n in first.. {
                let (one, other) = pair(n);
                let body = format!(
                    "{{\"targets\": [{{\"address\": \"{one}\"}}, {{\"address\": \"{other}\"}}]}}"
                );
                match api.try_ask("POST", TARGETS, &body) {
                    Ok(response) if response.status == 200 => {
                        done.push(n);
                        count.store(done.len(), SeqCst);
                    }
                    Ok(response) => panic!("{response:?}"),
                    Err(_) => return (n + 1, done),
                }
            }
            unreachable!("it is killed before")
        });
        balancer.wait("changes", || acknowledgements.load(SeqCst) > round % 3);
        thread::sleep(Duration::from_micros(700 * (round as u64 % 17)));
        balancer.signal("KILL");
        let _ = balancer.process().wait(DEADLINE);
        let (end, done) = writer.join().expect("writer");
        next = end;
        acknowledged.extend(done);
    }
}

#[test]
fn rolling_update_fails_nothing_and_ends_version_1() {
    let version = |name| [0; 4].map(|_| Checked::start(name, Health::Status(200)));
    let (old, new) = (version("v1"), version("v2"));
    let controlled = Controlled::new();
    let all: Vec<_> = old.iter().map(|checked| &checked.target).collect();
    let config = http(&all).home(&check("healthy_threshold = 2"));
    let balancer = Balancer::start(&controlled.text(&config));
    for target in &old {
        balancer.wait_log(&[&target.field(), "to=healthy"]);
    }
    let stream = Stream::start(balancer.address("web"), 8);
    for (old, new) in old.iter().zip(&new) {
        controlled.register(&registration(&new.target, ""));
        balancer.wait_log(&[&new.field(), "to=healthy"]);
        let path = format!("{TARGETS}?address={}&wait=40s", old.target.address());
        assert!(controlled.api.ask("DELETE", &path, "").contains("\"drained\":true"));
    }
    let served = |all: &[Checked]| all.iter().map(Checked::served).sum::<usize>();
    let before = served(&old);
    assert!(answers(&balancer, 40).iter().all(|name| name == "v2"));
    thread::sleep(Duration::from_millis(200));
    assert_eq!(served(&old), before, "a request of version 1 after the last call returned");
    let names = stream.stop_clean();
    let last = names.iter().rposition(|name| name == "v1");
    assert!(last.is_some() && names.iter().any(|name| name == "v2"));
    assert!(new.iter().all(|target| target.served() > 0));
}
