//! Health checks: each transition with its reason, and what it means for traffic.

use super::*;

const HOME: &str = "target_group=\"home\"";

fn home(targets: &[&Checked], settings: &str) -> Config {
    let targets: Vec<_> = targets.iter().map(|checked| &checked.target).collect();
    http(&targets).home(&check(settings))
}

/// The lines about the health of `target`, each as `from to reason`.
fn transitions(balancer: &Balancer, target: &Checked) -> Vec<String> {
    let log = balancer.log();
    let lines = log.lines().filter(|line| line.contains("target health"));
    let word = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}="))?;
        Some(rest.split(' ').next().unwrap_or("").trim_matches('"').to_owned())
    };
    let of_target = lines.filter(|line| line.contains(&target.field()));
    let words = of_target.map(|line| {
        let words = ["from", "to", "reason"].map(|name| word(line, name).unwrap_or_default());
        words.join(" ").trim_end().to_owned()
    });
    words.collect()
}

/// Waits until the last transition of `target` is this one.
fn wait_state(balancer: &Balancer, target: &Checked, last: &str) {
    balancer.wait(last, || transitions(balancer, target).last().is_some_and(|seen| seen == last));
}

#[test]
fn first_success_makes_a_target_healthy() {
    let target = Checked::start("a", Health::Status(200));
    let balancer = home(&[&target], "healthy_threshold = 10").start();
    wait_state(&balancer, &target, "initial healthy");
    balancer.wait("more probes", || target.probes() >= 5);
    assert_eq!(transitions(&balancer, &target), ["initial healthy"]);
    wait_answers(&balancer, &["a", "a"]);
}

#[test]
fn each_kind_of_failure_gives_its_reason_and_successes_bring_the_target_back() {
    let rows = [
        (Health::Status(503), "Target.ResponseCodeMismatch"),
        (Health::Late, "Target.Timeout"),
        (Health::Close, "Target.FailedHealthChecks"),
    ];
    let fails = |(failure, reason)| {
        let target = Checked::start("a", Health::Status(200));
        let settings = "healthy_threshold = 3, unhealthy_threshold = 2";
        let balancer = home(&[&target], settings).start();
        wait_state(&balancer, &target, "initial healthy");
        target.turn(failure);
        let before = target.probes();
        wait_state(&balancer, &target, &format!("healthy unhealthy {reason}"));
        assert!(target.probes() >= before + 2, "{failure:?}: one failure was enough");
        target.turn(Health::Status(200));
        let before = target.probes();
        wait_state(&balancer, &target, "unhealthy healthy");
        assert!(target.probes() >= before + 2, "{failure:?}: fewer than three successes");
    };
    thread::scope(|scope| rows.into_iter().for_each(|row| drop(scope.spawn(move || fails(row)))));
}

#[test]
fn target_that_refuses_is_unhealthy_and_never_was_anything_else() {
    let refusing = Refusing::start();
    let config = Config::new("l7", vec![refusing.address()]).home(&check("healthy_threshold = 2"));
    let balancer = config.start();
    balancer.wait_log(&[
        &format!("target={} ", refusing.address()),
        "from=initial to=unhealthy reason=\"Target.FailedHealthChecks\"",
    ]);
}

#[test]
fn target_that_says_nothing_is_unhealthy_by_timeout() {
    let silent = Silent::start();
    let balancer =
        Config::new("l7", vec![silent.address()]).home(&check("matcher = \"200\"")).start();
    balancer.wait_log(&[HOME, "from=initial to=unhealthy reason=\"Target.Timeout\""]);
}

#[test]
fn one_failure_among_successes_changes_nothing() {
    let target = Checked::start("a", Health::Status(200));
    let balancer = home(&[&target], "unhealthy_threshold = 3").start();
    wait_state(&balancer, &target, "initial healthy");
    for _ in 0..3 {
        target.turn(Health::Status(500));
        let before = target.probes();
        balancer.wait("one failed probe", || target.probes() > before);
        target.turn(Health::Status(200));
        let before = target.probes();
        balancer.wait("two good probes", || target.probes() >= before + 2);
    }
    assert_eq!(transitions(&balancer, &target), ["initial healthy"]);
}

#[test]
fn unhealthy_target_gets_no_traffic_until_it_is_healthy_again() {
    let (good, bad) =
        (Checked::start("good", Health::Status(200)), Checked::start("bad", Health::Status(404)));
    let balancer = home(&[&good, &bad], "healthy_threshold = 2").start();
    wait_state(&balancer, &good, "initial healthy");
    wait_state(&balancer, &bad, "initial unhealthy Target.ResponseCodeMismatch");
    wait_answers(&balancer, &["good"; 6]);
    let served = bad.served();
    bad.turn(Health::Status(200));
    wait_state(&balancer, &bad, "unhealthy healthy");
    assert_eq!(bad.served(), served);
    wait_answers(&balancer, &["bad", "bad", "bad", "good", "good", "good"]);
}

#[test]
fn where_all_are_unhealthy_all_get_traffic() {
    let all = ["a", "b"].map(|name| Checked::start(name, Health::Status(500)));
    let balancer = home(&[&all[0], &all[1]], "matcher = \"200\"").start();
    for target in &all {
        wait_state(&balancer, target, "initial unhealthy Target.ResponseCodeMismatch");
    }
    // Fail open.
    wait_answers(&balancer, &["a", "a", "b", "b"]);
    all[1].turn(Health::Status(200));
    wait_state(&balancer, &all[1], "unhealthy healthy");
    wait_answers(&balancer, &["b"; 4]);
}

#[test]
fn fewer_healthy_targets_than_the_least_fail_open() {
    for least in ["{ count = 2 }", "{ percentage = 60 }", "{ count = 1, percentage = 34 }"] {
        let all = ["a", "b", "c"].map(|name| Checked::start(name, Health::Status(500)));
        all[0].turn(Health::Status(200));
        let config = home(&[&all[0], &all[1], &all[2]], "healthy_threshold = 1");
        let balancer = config.home(&format!("healthy_min = {least}")).start();
        wait_state(&balancer, &all[0], "initial healthy");
        wait_state(&balancer, &all[1], "initial unhealthy Target.ResponseCodeMismatch");
        wait_state(&balancer, &all[2], "initial unhealthy Target.ResponseCodeMismatch");
        wait_answers(&balancer, &["a", "a", "b", "b", "c", "c"]);
        all[1].turn(Health::Status(200));
        wait_state(&balancer, &all[1], "unhealthy healthy");
        wait_answers(&balancer, &["a", "a", "a", "b", "b", "b"]);
    }
}

#[test]
fn matcher_says_which_statuses_are_good() {
    let rows = [("200-399", 302, true), ("200,404", 404, true), ("200-299", 302, false)];
    for (matcher, status, good) in rows {
        let target = Checked::start("a", Health::Status(status));
        let balancer = home(&[&target], &format!("matcher = \"{matcher}\"")).start();
        let expected = match good {
            true => "initial healthy",
            false => "initial unhealthy Target.ResponseCodeMismatch",
        };
        wait_state(&balancer, &target, expected);
    }
}

#[test]
fn probe_may_go_to_another_port_and_is_as_aws_sends_it() {
    let target = Checked::start("a", Health::Status(500));
    let probed = Checked::start("probed", Health::Status(200));
    let port = probed.target.address().port();
    let balancer = home(&[&target], &format!("port = {port}")).start();
    wait_state(&balancer, &target, "initial healthy");
    assert_eq!(target.probes(), 0);
    let request = probed.target.requests().remove(0);
    assert_eq!(request.field("User-Agent"), Some("ELB-HealthChecker/2.0"));
    assert_eq!(request.field("Host"), Some(format!("127.0.0.1:{port}").as_str()));
    assert_eq!(request.field("Connection"), Some("close"));
    assert_eq!(answers(&balancer, 1), ["a"]);
}

#[test]
fn tcp_probe_needs_a_connection_and_nothing_else() {
    let (target, refusing) = (Target::start(|peer| drop(peer.take_rest())), Refusing::start());
    let config = Config::new("l4", vec![target.address(), refusing.address()]);
    let check = format!("health_check = {{ protocol = \"tcp\", {OFTEN} }}");
    let balancer = config.home(&check).start();
    let of = |address| format!("target={address} ");
    balancer.wait_log(&[&of(target.address()), "from=initial to=healthy"]);
    let why = "from=initial to=unhealthy reason=\"Target.FailedHealthChecks\"";
    balancer.wait_log(&[&of(refusing.address()), why]);
    target.wait("the end of a probe", |all| all.iter().any(|connection| connection.end.is_some()));
    assert!(target.connections().iter().all(|connection| connection.received.is_empty()));
}

#[test]
fn without_health_checks_nothing_is_probed_and_all_count_as_healthy() {
    let all = ["a", "b"].map(|name| Checked::start(name, Health::Status(500)));
    let balancer = home(&[&all[0], &all[1]], "enabled = false").start();
    thread::sleep(Duration::from_millis(300));
    assert_eq!((all[0].probes(), all[1].probes()), (0, 0));
    let mut names = answers(&balancer, 4);
    names.sort();
    assert_eq!(names, ["a", "a", "b", "b"]);
}

#[test]
fn switching_health_checks_off_makes_unhealthy_targets_healthy() {
    let (good, bad) =
        (Checked::start("good", Health::Status(200)), Checked::start("bad", Health::Status(500)));
    let config = home(&[&good, &bad], "healthy_threshold = 5");
    let balancer = config.start();
    wait_state(&balancer, &bad, "initial unhealthy Target.ResponseCodeMismatch");
    balancer
        .reload(&config.text().replace("health_check = {", "health_check = { enabled = false,"));
    wait_state(&balancer, &bad, "unhealthy healthy");
    wait_answers(&balancer, &["bad", "bad", "good", "good"]);
    let probes = bad.probes();
    thread::sleep(PROBES);
    assert!(bad.probes() <= probes + 1, "still probed");
}

#[test]
fn group_that_nothing_forwards_to_is_not_probed_until_something_does() {
    let (used, idle) =
        (Checked::start("used", Health::Status(200)), Checked::start("idle", Health::Status(200)));
    let config = home(&[&used], "matcher = \"200\"");
    let group = format!(
        "[[target_groups]]\nname = \"other\"\ntargets = [\"{}\"]\n{}\n\n[[listeners]]",
        idle.target.address(),
        check("matcher = \"200\""),
    );
    let text = config.text().replace("[[listeners]]", &group);
    let balancer = Balancer::start(&text);
    wait_state(&balancer, &used, "initial healthy");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(idle.probes(), 0);
    let rule =
        "[[listeners.rules]]\npriority = 1\npath_pattern = \"/other\"\nforward = \"other\"\n";
    balancer.reload(&format!("{text}{rule}"));
    wait_state(&balancer, &idle, "initial healthy");
    let all = transitions(&balancer, &idle);
    assert_eq!(all, ["unused initial Elb.RegistrationInProgress", "initial healthy"]);
    assert_eq!(balancer.client().get("/other").text(), "idle");
    balancer.reload(&text);
    wait_state(&balancer, &idle, "healthy unused Target.NotInUse");
    let probes = idle.probes();
    thread::sleep(PROBES);
    assert!(idle.probes() <= probes + 1, "still probed");
}

#[test]
fn new_health_check_keeps_the_state_and_counts_anew() {
    let target = Checked::start("a", Health::Status(302));
    let config = home(&[&target], "matcher = \"200-399\", unhealthy_threshold = 3");
    let balancer = config.start();
    wait_state(&balancer, &target, "initial healthy");
    let probes = target.probes();
    balancer.reload(&config.text().replace("200-399", "200"));
    wait_state(&balancer, &target, "healthy unhealthy Target.ResponseCodeMismatch");
    assert!(target.probes() >= probes + 3);
}
