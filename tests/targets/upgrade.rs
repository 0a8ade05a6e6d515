//! A new process takes over, and nobody notices.

use super::*;

/// Whether the process `id` runs; one that has ended and was not waited for does not.
pub(super) fn runs(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/stat"));
    status.is_ok_and(|status| !status.contains(") Z "))
}

/// Ends the process `id` when dropped.
pub(super) struct Ends(pub(super) u32);

impl Drop for Ends {
    fn drop(&mut self) {
        if runs(self.0) {
            shell(&format!("kill -KILL {}", self.0));
        }
    }
}

fn upgrade(controlled: &Controlled) -> u32 {
    upgraded(&controlled.api.ask("POST", "/v1/upgrade", ""))
}

/// Process id of the new process, from what the API answered.
pub(super) fn upgraded(answer: &str) -> u32 {
    let digits: String = answer.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a process id")
}

fn upgrades(keep_alive: bool) {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let controlled = Controlled::new();
    let web = free_address();
    let text = controlled.text(&http(&[&a]).server("drain_timeout = \"5s\""));
    let text = text.replace("127.0.0.1:0", &web.to_string());
    let balancer = Balancer::start(&text);
    controlled.register(&registration(&b, ""));
    let stream = match keep_alive {
        true => Stream::start(web, 8),
        false => Stream::once(web, 8),
    };
    let mut processes = vec![Ends(balancer.id())];
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(300));
        processes.push(Ends(upgrade(&controlled)));
    }
    thread::sleep(Duration::from_millis(300));
    let names = stream.stop_clean();
    for name in ["a", "b"] {
        assert!(names.iter().any(|seen| seen == name), "{name} of {}", names.len());
    }
    let last = processes.pop().expect("the newest");
    for process in &processes {
        balancer.wait("an old process to end", || !runs(process.0));
    }
    assert!(runs(last.0));
    assert_eq!(Client::connect(web).get("/").status, 200);
}

#[test]
fn upgrades_under_new_connections_refuse_and_fail_none() {
    upgrades(false);
}

#[test]
fn upgrades_under_requests_on_kept_connections_fail_none() {
    upgrades(true);
}

#[test]
fn upgrade_that_fails_leaves_everything_as_it_was() {
    let a = Target::named("a");
    let controlled = Controlled::new();
    let balancer = Balancer::start(&controlled.text(&http(&[&a])));
    balancer.rewrite("[server\n");
    let response = controlled.api.try_ask("POST", "/v1/upgrade", "").expect("response");
    assert!(response.status >= 400, "{response:?}");
    assert_eq!(answers(&balancer, 2), ["a"; 2]);
    let b = Target::named("b");
    controlled.register(&registration(&b, ""));
    assert!(answers(&balancer, 4).contains(&"b".into()));
}

#[test]
fn request_in_flight_is_answered_by_the_old_process() {
    let gate = Gate::new();
    let opens = gate.clone();
    let a = Target::start(move |peer| {
        while let Some(request) = peer.request() {
            if request.target == "/slow" {
                opens.wait();
            }
            peer.send(&ok("done"));
        }
    });
    let controlled = Controlled::new();
    let web = free_address();
    let text = controlled.text(&http(&[&a]).one_worker());
    let balancer = Balancer::start(&text.replace("127.0.0.1:0", &web.to_string()));
    let (mut client, mut other) = (balancer.client(), balancer.client());
    client.send_get("/slow");
    a.wait("a request", |all| all.iter().any(|connection| !connection.requests.is_empty()));
    let _new = Ends(upgrade(&controlled));
    assert_eq!(Client::connect(web).get("/").text(), "done");
    // The order to drain is on its way to the worker when the API has answered. From then on the
    // worker closes with the next response, or without one whom it has not heard for a while.
    let until = Instant::now() + DEADLINE;
    loop {
        other.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        match other.try_response("GET") {
            Ok(response) if response.closes() => break,
            Err(ReadError::Ended(End::Closed | End::Reset, _)) => break,
            other => assert!(other.is_ok(), "{other:?}"),
        }
        assert!(Instant::now() < until, "the old process does not drain");
    }
    gate.open();
    let response = client.response("GET");
    assert!(response.text() == "done" && response.closes(), "{response:?}");
}

/// `text` without a state directory.
fn without_state(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("state_dir")).collect();
    lines.join("\n")
}

/// What the API says of the targets of `home`: addresses and weights.
fn weights(controlled: &Controlled) -> Vec<(String, u64)> {
    let list: serde_json::Value = serde_json::from_str(&controlled.targets()).expect("JSON");
    let targets = list["targets"].as_array().expect("targets").iter();
    let text = |target: &serde_json::Value| target["address"].as_str().expect("text").to_owned();
    targets.map(|target| (text(target), target["weight"].as_u64().expect("weight"))).collect()
}

#[test]
fn changes_and_a_port_of_the_kernels_choice_pass_on_without_a_state_directory() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let controlled = Controlled::new();
    let balancer = Balancer::start(&without_state(&controlled.text(&http(&[&a]))));
    controlled.register(&registration(&b, ", \"weight\": 7"));
    let before = weights(&controlled);
    assert!(before.contains(&(b.address().to_string(), 7)), "{before:?}");
    let stream = Stream::start(balancer.address("web"), 4);
    let mut processes = vec![Ends(balancer.id())];
    for _ in 0..2 {
        processes.push(Ends(upgrade(&controlled)));
        let old = processes[processes.len() - 2].0;
        balancer.wait("the old process to end", || !runs(old));
        assert_eq!(weights(&controlled), before);
        assert!(answers(&balancer, 8).contains(&"b".into()), "at the same port");
    }
    stream.stop_clean();
}

#[test]
fn changes_last_in_a_state_directory_that_only_the_new_process_has() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let controlled = Controlled::new();
    let text = controlled.text(&http(&[&a]));
    let balancer = Balancer::start(&without_state(&text));
    controlled.register(&registration(&b, ""));
    balancer.rewrite(&text);
    let new = Ends(upgrade(&controlled));
    balancer.wait("the old process to end", || !runs(balancer.id()));
    let kept = std::fs::read_to_string(controlled.dir.path().join("changes.json"));
    assert!(kept.expect("changes.json").contains(&b.address().to_string()));
    assert!(runs(new.0));
}
