//! Which target gets how much, over sockets.

use super::*;

/// Answers with `status`, its name, after `delay`.
fn after(name: &'static str, status: u16, delay: Duration) -> Target {
    Target::start(move |peer| {
        while peer.request().is_some() {
            thread::sleep(delay);
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\n{name}");
            if !peer.send(head.as_bytes()) {
                return;
            }
        }
    })
}

/// The share of `name` in what `clients` got within `span`.
fn share(balancer: &Balancer, clients: usize, span: Duration, name: &str) -> f64 {
    let stream = Stream::start(balancer.address("web"), clients);
    thread::sleep(span);
    let names: Vec<_> = stream.stop().into_iter().map(|seen| seen.expect("a response").1).collect();
    names.iter().filter(|seen| *seen == name).count() as f64 / names.len() as f64
}

#[test]
fn slow_target_gets_less_than_a_tenth_by_outstanding_requests_and_half_in_turn() {
    let millis = Duration::from_millis;
    // The share follows from how long each takes: so slow that on a busy machine, too, the fast one
    // is more than ten times as fast.
    let (fast, slow) = (after("f", 200, millis(1)), after("s", 200, millis(2000)));
    let config = http(&[&fast, &slow]);
    let least = config.clone().home("algorithm = \"least_outstanding_requests\"").start();
    let seen = share(&least, 32, millis(3000), "s");
    assert!(seen < 0.1, "{:.1} % by outstanding requests", seen * 100.0);
    let turns = config.start();
    let seen = share(&turns, 32, millis(3000), "s");
    assert!((0.49..=0.51).contains(&seen), "{:.1} % in turn", seen * 100.0);
}

#[test]
fn target_that_fails_gets_less_where_anomalies_are_mitigated() {
    let none = Duration::ZERO;
    let all = [after("a", 200, none), after("b", 200, none), after("x", 500, none)];
    let settings = "algorithm = \"weighted_random\"\nanomaly_mitigation = true";
    let balancer = http(&[&all[0], &all[1], &all[2]]).home(settings).start();
    let mut client = balancer.client();
    let mut failed = |count| (0..count).filter(|_| client.get("/").status == 500).count();
    // 100 expected, standard deviation 8.2.
    let first = failed(300);
    assert!(first > 40, "{first} of 300");
    let until = Instant::now() + DEADLINE;
    // Each window of 5 s halves its weight.
    while failed(300) > 24 {
        assert!(Instant::now() < until, "its share does not fall");
    }
}

#[test]
fn target_that_turns_healthy_starts_slowly() {
    let all = ["a", "b"].map(|name| Checked::start(name, Health::Status(200)));
    let check = check("healthy_threshold = 1, unhealthy_threshold = 1");
    let config = http(&[&all[0].target, &all[1].target]).home(&check).home("slow_start = \"30s\"");
    let balancer = config.start();
    balancer.wait_log_count(&["to=healthy"], 2);
    assert!(answers(&balancer, 4).contains(&"b".into()), "those that begin together do not ramp");
    all[1].turn(Health::Status(500));
    balancer.wait_log(&[&all[1].field(), "to=unhealthy"]);
    // Of its turns it takes as many as time has passed of the ramp since it turned healthy, which
    // it does between these two instants. Each is drawn: standard deviation of 1000 requests
    // 0.011 at most.
    let expected = |healthy: Instant| (healthy.elapsed().as_secs_f64() / 30.0).min(1.0) / 2.0;
    let share = || {
        let names = answers(&balancer, 1000);
        names.iter().filter(|name| *name == "b").count() as f64 / 1000.0
    };
    let before = Instant::now();
    all[1].turn(Health::Status(200));
    balancer.wait_log_count(&[&all[1].field(), "to=healthy"], 2);
    let after = Instant::now();
    let first = share();
    assert!(first < expected(before) + 0.07, "{first} after {:?}", before.elapsed());
    thread::sleep(Duration::from_secs(5));
    let least = expected(after) - 0.07;
    let later = share();
    let most = expected(before) + 0.07;
    assert!((least..most).contains(&later) && later > first, "{first}, {later} of {most}");
}

#[test]
fn outlier_is_taken_out_for_a_while_and_let_back() {
    let good = Target::named("a");
    let failing = Arc::new(AtomicBool::new(true));
    let fails = failing.clone();
    let bad = Target::start(move |peer| {
        while peer.request().is_some() {
            let status = if fails.load(SeqCst) { 503 } else { 200 };
            peer.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\nb").as_bytes());
        }
    });
    let settings = "outlier_detection = { consecutive_failures = 3, base_ejection = \"2s\" }";
    let balancer = http(&[&good, &bad]).home(settings).start();
    let mut client = balancer.client();
    let mut ask = || client.get("/").text();
    let began = Instant::now();
    for _ in 0..6 {
        ask();
    }
    while (0..4).any(|_| ask() == "b") {
        assert!(began.elapsed() < DEADLINE, "not ejected");
        thread::sleep(Duration::from_millis(10));
    }
    failing.store(false, SeqCst);
    while (0..2).all(|_| ask() == "a") {
        assert!(began.elapsed() < DEADLINE * 2, "not let back");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
}

/// The kernel's hash alone leaves two workers with 24 to 39 of 64 connections.
#[test]
fn long_connections_are_spread_evenly_over_the_workers() {
    for (workers, connections) in [(2, 8), (2, 64), (2, 512), (4, 8), (4, 64), (4, 512)] {
        let target = Target::named("home");
        let dir = tempfile::tempdir().expect("directory");
        let socket = dir.path().join("control.sock");
        let balancer = http(&[&target])
            .workers(workers)
            .server(&format!("control = {{ socket = {socket:?} }}"))
            .start();
        let control = Control::at(&socket);
        let mut clients: Vec<_> = (0..connections).map(|_| balancer.client()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "home"));
        let status = control.status();
        let open = status["workers"].as_array().expect("workers").iter();
        let open: Vec<_> = open.map(|it| it["open_connections"].as_u64().expect("count")).collect();
        eprintln!("{connections} connections over {workers} workers: {open:?}");
        assert_eq!(open.iter().sum::<u64>(), connections, "{open:?}");
        let (least, most) = (open.iter().min().expect("one"), open.iter().max().expect("one"));
        assert!(*most <= least + 2 + least / 8, "{connections} over {workers}: {open:?}");
    }
}
