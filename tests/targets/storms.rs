//! Reloads in a storm: nothing breaks, nothing piles up.

use super::*;

#[test]
fn storm_of_signals_ends_in_the_last_file() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let balancer = http(&[&a]).start();
    let stream = Stream::start(balancer.address("web"), 4);
    for round in 0..50 {
        let config = if round % 2 == 0 { http(&[&b]) } else { http(&[&a]) };
        balancer.rewrite(&config.text());
        balancer.signal("HUP");
    }
    balancer.rewrite(&http(&[&b]).text());
    balancer.signal("HUP");
    balancer.wait("the last file", || answers(&balancer, 4) == ["b"; 4]);
    stream.stop_clean();
}

#[test]
fn reload_while_stopping_is_no_reason_to_hurry() {
    let gate = Gate::new();
    let opens = gate.clone();
    let a = Target::start(move |peer| {
        peer.request();
        opens.wait();
        peer.send(&ok("done"));
    });
    let mut balancer = http(&[&a]).start();
    let mut client = balancer.client();
    client.send_get("/");
    a.wait("a request", |all| all.iter().any(|connection| !connection.requests.is_empty()));
    balancer.signal("TERM");
    balancer.wait_log(&["stopping"]);
    for _ in 0..5 {
        balancer.signal("HUP");
        thread::sleep(Duration::from_millis(10));
    }
    gate.open();
    assert_eq!(client.response("GET").text(), "done");
    assert_eq!(balancer.process().wait(DEADLINE).code(), Some(0));
}

#[test]
fn reload_while_a_target_drains_does_not_disturb_it() {
    let gate = Gate::new();
    let opens = gate.clone();
    let a = Target::start(move |peer| {
        peer.request();
        opens.wait();
        peer.send(&ok("done"));
    });
    let b = Target::named("b");
    let balancer = http(&[&a]).start();
    let mut client = balancer.client();
    client.send_get("/");
    a.wait("a request", |all| all.iter().any(|connection| !connection.requests.is_empty()));
    for weight in 1..6 {
        let targets = format!("targets = [{{ address = \"{}\", weight = {weight} }}]", b.address());
        balancer.reload(&http(&[]).home(&targets).text());
        assert_eq!(answers(&balancer, 2), ["b"; 2]);
    }
    gate.open();
    assert_eq!(client.response("GET").text(), "done");
}

#[test]
fn reloads_that_add_and_remove_leave_no_file_open() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let (small, more) = (http(&[&a]).server("drain_timeout = \"100ms\""), free_address());
    let listener = format!(
        "[[listeners]]\nname = \"more\"\naddress = \"{more}\"\nmode = \"l7\"\n\
         default = {{ forward = \"home\" }}\n"
    );
    let large = http(&[&a, &b]).server("drain_timeout = \"100ms\"").text() + &listener;
    let balancer = small.start();
    let round = || {
        balancer.reload(&large);
        assert_eq!(Client::connect(more).get("/").status, 200);
        answers(&balancer, 2);
        balancer.reload(&small.text());
    };
    round();
    round();
    let before = balancer.open_files();
    for _ in 0..25 {
        round();
    }
    balancer.wait("files to be closed", || balancer.open_files() <= before + 4);
}

#[test]
fn killed_balancer_starts_again_where_it_was() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let controlled = Controlled::new();
    let text = controlled.text(&http(&[&a]));
    for _ in 0..3 {
        let mut balancer = Balancer::start(&text);
        controlled.register(&registration(&b, ""));
        balancer.signal("KILL");
        let _ = balancer.process().wait(DEADLINE);
    }
    let balancer = Balancer::start(&text);
    let mut names = answers(&balancer, 4);
    names.sort();
    assert_eq!(names, ["a", "a", "b", "b"]);
}
