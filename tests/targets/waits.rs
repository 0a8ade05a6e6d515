//! What makes an order wait makes neither the health of targets wait, nor time, nor questions.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::upgrade::{Ends, runs, upgraded};
use super::*;

/// A file that makes whoever reads it wait.
struct Hanging(PathBuf);

/// One that is being read: until this says something or is dropped.
struct Reading(File);

impl Hanging {
    /// In place of what is at `path`.
    fn at(path: &Path) -> Self {
        std::fs::remove_file(path).expect("remove the file");
        shell(&format!("mkfifo -m 600 '{}'", path.display()));
        Self(path.into())
    }

    /// Waits until somebody reads.
    fn wait(&self, balancer: &Balancer) -> Reading {
        let mut options = File::options();
        let writer = RefCell::new(None);
        options.write(true).custom_flags(libc::O_NONBLOCK);
        balancer.wait("a reader", || {
            writer.replace(options.open(&self.0).ok());
            writer.borrow().is_some()
        });
        Reading(writer.into_inner().expect("a reader"))
    }
}

impl Reading {
    fn say(mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("room in the pipe");
    }
}

/// A balancer with two targets that are probed, `a` and `b`.
struct Probed {
    targets: [Checked; 2],
    controlled: Controlled,
    balancer: Balancer,
    text: String,
}

impl Probed {
    fn start() -> Self {
        let targets = ["a", "b"].map(|name| Checked::start(name, Health::Status(200)));
        let controlled = Controlled::new();
        let config = http(&[&targets[0].target, &targets[1].target])
            .home(&check("healthy_threshold = 2, unhealthy_threshold = 2"))
            .home("deregistration_delay = \"1s\"");
        let text = controlled.text(&config);
        let balancer = Balancer::start(&text);
        balancer.wait_log_count(&["to=healthy"], 2);
        Self { targets, controlled, balancer, text }
    }

    /// Panics unless the health of `a` decides who gets requests, and questions are answered.
    fn expect_flips(&self) {
        let [a, _] = &self.targets;
        let names = || answers(&self.balancer, 4);
        a.turn(Health::Status(503));
        self.balancer.wait("a to get nothing", || names() == ["b"; 4]);
        let mismatch = || self.controlled.targets().contains("Target.ResponseCodeMismatch");
        self.balancer.wait("the reason", mismatch);
        assert!(self.controlled.api.ask("GET", "/v1/status", "").contains("\"unhealthy\""));
        a.turn(Health::Status(200));
        self.balancer.wait("a to be back", || names().contains(&"a".into()));
    }

    /// Gives an order; what the API answers.
    fn order(&self, path: &'static str) -> JoinHandle<Response> {
        let api = self.controlled.api.clone();
        thread::spawn(move || api.try_ask("POST", path, "").expect("an answer"))
    }
}

#[test]
fn health_flips_while_a_reload_waits_for_the_disk() {
    let probed = Probed::start();
    let file = Hanging::at(Path::new(probed.balancer.config_path()));
    let reload = probed.order("/v1/reload");
    let reading = file.wait(&probed.balancer);
    probed.expect_flips();
    assert!(!reload.is_finished());
    reading.say(&probed.text);
    assert_eq!(reload.join().expect("reload").status, 200);
}

#[test]
fn health_flips_while_the_key_waits_for_the_disk() {
    let probed = Probed::start();
    let key = Hanging::at(&probed.controlled.dir.path().join("stickiness.key"));
    let rotation = probed.order("/v1/keys/rotate");
    let reading = key.wait(&probed.balancer);
    probed.expect_flips();
    assert!(!rotation.is_finished());
    reading.say("no key\n");
    let response = rotation.join().expect("rotation");
    assert!(response.status >= 400 && response.text().contains("first line"), "{response:?}");
}

#[test]
fn health_flips_and_draining_ends_while_an_upgrade_waits_for_the_new_process() {
    let probed = Probed::start();
    let Probed { controlled, balancer, .. } = &probed;
    let c = Checked::start("c", Health::Status(200));
    controlled.register(&registration(&c.target, ""));
    let file = Hanging::at(Path::new(balancer.config_path()));
    let leaving = format!("{{\"targets\": [\"{}\"]}}", c.target.address());
    controlled.api.ask("DELETE", "/v1/target-groups/home/targets", &leaving);
    let upgrade = probed.order("/v1/upgrade");
    let reading = file.wait(balancer);
    probed.expect_flips();
    balancer.wait_log(&["drained", &c.target.address().to_string()]);
    // What changes something waits, in order.
    let rotation = probed.order("/v1/keys/rotate");
    probed.expect_flips();
    assert!(!upgrade.is_finished() && !rotation.is_finished());
    reading.say(&probed.text);
    let new = Ends(upgraded(&upgrade.join().expect("upgrade").text()));
    let rotation = rotation.join().expect("rotation");
    assert_eq!(rotation.status, 503, "the old process has ended: {rotation:?}");
    balancer.wait("the old process to end", || !runs(balancer.id()));
    assert!(answers(balancer, 4).contains(&"b".into()) && runs(new.0));
}

#[test]
fn stop_does_not_wait_for_the_disk() {
    let probed = Probed::start();
    let file = Hanging::at(Path::new(probed.balancer.config_path()));
    let api = probed.controlled.api.clone();
    let reload = thread::spawn(move || api.try_ask("POST", "/v1/reload", ""));
    let _reading = file.wait(&probed.balancer);
    let Probed { mut balancer, .. } = probed;
    assert_eq!(balancer.stop().code(), Some(0));
    let answer = reload.join().expect("reload");
    assert!(answer.as_ref().is_ok_and(|answer| answer.status == 503), "{answer:?}");
}
