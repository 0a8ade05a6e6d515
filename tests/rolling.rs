//! A rolling update by register, wait healthy, deregister: no failure, and nothing of the old
//! version begins after the last deregistration has been answered. And the API killed while it is
//! written to: what it acknowledged is there, wholly.

// Tests are ordinary threads; the bans are about workers.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod harness;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Balancer, Config, Control, FastTarget, strict_client};
use serde_json::json;

const PROBES: &str = "health_check = { path = \"/health\", interval = \"500ms\", \
                      timeout = \"450ms\", healthy_threshold = 2 }";
/// Rounds of killing the process while it is written to.
const KILLS: u32 = 30;

struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn start(targets: &[FastTarget], dir: &Path) -> (Balancer, Control) {
    let addresses = targets.iter().map(|target| target.address).collect();
    let dir = dir.display();
    let balancer = Config::new("l7", addresses)
        .server(&format!("state_dir = \"{dir}\""))
        .server(&format!("control = {{ socket = \"{dir}/control.sock\" }}"))
        .home(PROBES)
        .start();
    (balancer, Control::at(Path::new(&format!("{dir}/control.sock"))))
}

#[test]
fn rolling_update_fails_nothing_and_the_old_version_ends_with_the_last_deregistration() {
    let dir = tempfile::tempdir().expect("directory");
    let thinking = Duration::from_millis(3);
    let targets = |version| (0..4).map(|_| FastTarget::slow(version, thinking)).collect::<Vec<_>>();
    let (old, new) = (targets("v1"), targets("v2"));
    let (balancer, control) = start(&old, dir.path());
    old.iter().for_each(|target| control.wait_state("home", target.address, "healthy"));
    let (stop, last_old) = (AtomicBool::new(false), Mutex::new(None));
    let web = balancer.address("web");
    let client = &|pause| {
        strict_client(web, Duration::from_millis(pause), &stop, |response| {
            if response.ends_with(b"v1") {
                *last_old.lock().expect("no panic") = Some(Instant::now());
            }
        })
    };
    thread::scope(|scope| {
        let paces: [u64; 16] = std::array::from_fn(|at| at as u64 % 4);
        let clients: Vec<_> = paces.map(|pace| scope.spawn(move || client(pace))).into();
        let stopping = Stopping(&stop);
        thread::sleep(Duration::from_millis(300));
        for (old, new) in old.iter().zip(&new) {
            control.register("home", new.address);
            control.wait_state("home", new.address, "healthy");
            assert_eq!(control.deregister("home", old.address, Some("30s")), json!(true));
        }
        let answered = Instant::now();
        thread::sleep(Duration::from_millis(500));
        drop(stopping);
        let seen: Vec<_> = clients.into_iter().map(|it| it.join().expect("client")).collect();
        let good: u64 = seen.iter().map(|seen| seen.good).sum();
        let begun = old.iter().filter_map(FastTarget::last_response).max().expect("requests");
        eprintln!(
            "rolling update: {good} responses, last of v1 began {:?} before the last answer",
            answered.saturating_duration_since(begun)
        );
        assert!(seen.iter().all(|seen| seen.failures.is_empty() && seen.good > 0), "{seen:?}");
        assert!(begun < answered, "v1 answered {:?} late", begun - answered);
        assert!(new.iter().all(|target| target.requests() > 0));
    });
}

#[test]
fn killed_while_it_is_written_to_the_api_has_lost_nothing_that_it_acknowledged() {
    let dir = tempfile::tempdir().expect("directory");
    let targets = [FastTarget::start("one")];
    let mut acknowledged = 0;
    let mut surplus = 0;
    for round in 0..KILLS {
        let (mut balancer, control) = start(&targets, dir.path());
        // What is in force: number N is two rules and a weight, all with N, in one change.
        let number = |config: &serde_json::Value| {
            let rules = &config["listeners"]["web"]["rules"];
            let body = |key: &str| rules[key]["fixed_response"]["body"].as_str().map(str::to_owned);
            assert_eq!(body("1"), body("2"), "half a change after kill {round}: {rules}");
            body("1").map_or(0, |text| text.parse::<u32>().expect("a number"))
        };
        let found = number(&control.done("GET", "/v1/config", None));
        assert!(found >= acknowledged, "{acknowledged} was acknowledged, {found} is there");
        assert!(found <= acknowledged + 1, "{found} was never asked for");
        surplus += found - acknowledged;
        let last = AtomicU32::new(found);
        thread::scope(|scope| {
            scope.spawn(|| {
                for next in found + 1.. {
                    let rule = json!({ "path_pattern": "/x", "fixed_response":
                        { "status": 200, "body": next.to_string() } });
                    let patch = json!({ "listeners": { "web": { "rules":
                        { "1": rule, "2": rule } } } });
                    match control.try_ask("PATCH", "/v1/config", Some(&patch)) {
                        Some(answer) if answer.status == 200 => last.store(next, Relaxed),
                        Some(answer) => panic!("{answer:?}"),
                        None => return,
                    }
                }
            });
            balancer.wait("changes", || last.load(Relaxed) >= found + 2);
            thread::sleep(Duration::from_millis(u64::from(round * 7 % 60)));
            balancer.signal("KILL");
            balancer.process().wait(harness::DEADLINE);
        });
        acknowledged = last.into_inner();
    }
    eprintln!("{KILLS} kills: {acknowledged} changes acknowledged, {surplus} kept unacknowledged");
    assert!(acknowledged > KILLS, "changes were made");
}
