//! The same from the command line, as an operator's script would do it.

use super::*;

/// Runs `ringway` with these words and the socket of `controlled`; panics unless it ends with
/// `status`. Returns its stdout.
fn run(controlled: &Controlled, words: &str, status: i32) -> String {
    let socket = controlled.dir.path().join("control.sock");
    let mut arguments: Vec<&str> = words.split(' ').collect();
    arguments.extend(["--socket", socket.to_str().expect("UTF-8 path")]);
    let output = Ringway::output(&arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "ringway {words}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn rolling_update_by_script_fails_nothing() {
    let version = |name| [0; 4].map(|_| Checked::start(name, Health::Status(200)));
    let (old, new) = (version("v1"), version("v2"));
    let controlled = Controlled::new();
    let all: Vec<_> = old.iter().map(|checked| &checked.target).collect();
    let balancer =
        Balancer::start(&controlled.text(&http(&all).home(&check("healthy_threshold = 2"))));
    balancer.wait_log_count(&["to=healthy"], 4);
    let stream = Stream::start(balancer.address("web"), 8);
    for (old, new) in old.iter().zip(&new) {
        let (old, new) = (old.target.address(), new.target.address());
        run(&controlled, &format!("targets register home {new} --wait=40s"), 0);
        run(&controlled, &format!("targets deregister home {old} --wait=40s"), 0);
    }
    let before = old.iter().map(Checked::served).sum::<usize>();
    assert!(answers(&balancer, 20).iter().all(|name| name == "v2"));
    assert_eq!(old.iter().map(Checked::served).sum::<usize>(), before);
    stream.stop_clean();
}

#[test]
fn each_command_does_what_it_says() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let controlled = Controlled::new();
    let mut balancer = Balancer::start(&controlled.text(&http(&[&a])));
    let stream = Stream::start(balancer.address("web"), 2);
    run(&controlled, &format!("targets register home {}", b.address()), 0);
    assert!(run(&controlled, "targets list home", 0).contains(&b.address().to_string()));
    run(&controlled, &format!("targets weight home {} 0", b.address()), 0);
    assert_eq!(answers(&balancer, 6), ["a"; 6]);
    assert!(run(&controlled, "status", 0).contains("healthy"));
    run(&controlled, "keys rotate", 0);
    run(&controlled, "mode web l4", 0);
    assert!(run(&controlled, "rules list web", 0).is_ascii());
    run(&controlled, "mode web l7", 0);
    run(&controlled, "reload", 0);
    balancer.rewrite("[server\n");
    run(&controlled, "reload", 78);
    assert_eq!(answers(&balancer, 2), ["a"; 2]);
    stream.stop_clean();
    run(&controlled, "drain", 0);
    assert!(balancer.process().wait(DEADLINE).success());
    balancer.wait_log(&["stopped"]);
    run(&controlled, "status", 69);
}
