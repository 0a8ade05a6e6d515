//! Everything at once under load: targets registered, drained and killed, rules edited, reloads,
//! keys rotated, a listener switched between L4 and L7, the binary upgraded. No request fails that
//! the balancer could have saved.
//!
//! `RINGWAY_TEST_SECONDS` makes it longer (default 15). Prints its figures: run with
//! `--nocapture`.

// Tests are ordinary threads; the bans are about workers.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod harness;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Balancer, Control, FastTarget, Seen, free_address, shell, strict_client};
use serde_json::json;

/// Kills the processes that upgrades have started.
struct Successors(Mutex<Vec<u32>>);

impl Drop for Successors {
    fn drop(&mut self) {
        for pid in self.0.lock().expect("no panic").iter() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
}

/// Ends the clients, also when the script panics: their scope waits for them.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn seconds() -> u64 {
    let given = std::env::var("RINGWAY_TEST_SECONDS").ok();
    given.map_or(15, |text| text.parse().expect("a number"))
}

const PROBES: &str = "{ path = \"/health\", interval = \"500ms\", timeout = \"450ms\", \
                      healthy_threshold = 2 }";

fn configuration(web: SocketAddr, side: SocketAddr, targets: &[&FastTarget], dir: &Path) -> String {
    let driver = std::env::var("RINGWAY_TEST_DRIVER").unwrap_or_else(|_| "auto".into());
    let list: Vec<_> = targets.iter().map(|target| format!("\"{}\"", target.address)).collect();
    let (list, dir) = (list.join(", "), dir.display());
    format!(
        "[server]\nworkers = 2\ndriver = \"{driver}\"\nstate_dir = \"{dir}\"\n\
         control = {{ socket = \"{dir}/control.sock\" }}\ndrain_timeout = \"10m\"\n\
         [[target_groups]]\nname = \"home\"\ntargets = [{list}]\n\
         deregistration_delay = \"5s\"\nhealth_check = {PROBES}\n\
         stickiness = {{ type = \"lb_cookie\" }}\n\
         [[target_groups]]\nname = \"side\"\ntargets = [{list}]\n\
         deregistration_delay = \"5s\"\nhealth_check = {PROBES}\n\
         [[listeners]]\nname = \"web\"\naddress = \"{web}\"\nmode = \"l7\"\n\
         default = {{ forward = \"home\" }}\n\
         [[listeners]]\nname = \"side\"\naddress = \"{side}\"\nmode = \"l4\"\n\
         default = {{ forward = \"side\" }}\n"
    )
}

/// What the script does, and when it killed targets.
struct Script<'a> {
    control: &'a Control,
    successors: &'a Successors,
    spare: FastTarget,
    /// Targets that live for five seconds each.
    doomed: FastTarget,
    kills: Vec<Instant>,
    config: String,
    path: &'a str,
    until: Instant,
}

impl Script<'_> {
    fn run(&mut self) -> Vec<Instant> {
        let length = self.until.saturating_duration_since(Instant::now());
        let upgrades = [length / 6, length * 3 / 6, length * 4 / 6];
        let began = Instant::now();
        let mut upgraded = 0;
        let mut round = 0_u32;
        // A busy machine may need more than its time for all of it.
        while Instant::now() < self.until || upgraded < upgrades.len() {
            let next = Instant::now() + Duration::from_secs(1);
            self.round(round);
            if upgraded < upgrades.len() && began.elapsed() >= upgrades[upgraded] {
                let asked = Instant::now();
                let answer = self.control.done("POST", "/v1/upgrade", None);
                eprintln!("upgraded in {:?}", asked.elapsed());
                let pid = answer["pid"].as_u64().expect("pid") as u32;
                self.successors.0.lock().expect("no panic").push(pid);
                upgraded += 1;
            }
            round += 1;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        std::mem::take(&mut self.kills)
    }

    fn round(&mut self, round: u32) {
        let (control, spare) = (self.control, self.spare.address);
        match round % 2 {
            0 => control.register("home", spare),
            _ => drop(control.deregister("home", spare, Some("100ms"))),
        }
        let rule = json!({ "path_pattern": format!("/none/{round}/*"),
                           "fixed_response": { "status": 404 } });
        control.done("PUT", "/v1/listeners/web/rules/7", Some(&rule));
        control.done("POST", "/v1/keys/rotate", None);
        let mode = if round.is_multiple_of(2) { "l7" } else { "l4" };
        control.done("PUT", "/v1/listeners/side/mode", Some(&json!({ "mode": mode })));
        if round % 2 == 1 {
            let text = format!("{}idle_timeout = \"{}s\"\n", self.config, 60 + round);
            std::fs::write(self.path, text).expect("configuration");
            // The process that answers is the one that is to reload.
            shell(&format!("kill -HUP {}", control.pid()));
        }
        if round % 5 == 4 {
            self.kills.push(Instant::now());
            self.doomed.kill();
            let next = FastTarget::start("doomed");
            for group in ["home", "side"] {
                control.register(group, next.address);
                control.deregister(group, self.doomed.address, None);
            }
            self.doomed = next;
        }
    }
}

/// Loads `web` with oha; what it counted besides responses with 200.
fn oha(web: SocketAddr, length: u64) -> Option<(u64, String)> {
    let (time, url) = (format!("{length}s"), format!("http://{web}/"));
    let mut command = Command::new("oha");
    command.args(["-z", &time, "-c", "128", "--no-tui", "-w", "--output-format", "json", &url]);
    match command.output() {
        Ok(output) => {
            let report: serde_json::Value =
                serde_json::from_slice(&output.stdout).expect("JSON of oha");
            let good = report["statusCodeDistribution"]["200"].as_u64().unwrap_or(0);
            let mut bad = String::new();
            for (status, count) in report["statusCodeDistribution"].as_object().expect("statuses") {
                if status != "200" {
                    bad += &format!("{count} of {status}; ");
                }
            }
            for (error, count) in report["errorDistribution"].as_object().expect("errors") {
                bad += &format!("{count} of {error}; ");
            }
            Some((good, bad))
        }
        Err(error) => {
            eprintln!("SKIPPED: oha cannot be run ({error}); scripts/check.sh installs it");
            None
        }
    }
}

#[test]
fn nothing_that_is_done_under_load_fails_a_request_that_could_be_saved() {
    // In memory: changes wait for the disk, and that of a busy machine may take seconds.
    let shm = Path::new("/dev/shm");
    let place = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(place).expect("directory");
    let lasting = [FastTarget::start("one"), FastTarget::start("two")];
    let (spare, doomed) = (FastTarget::start("spare"), FastTarget::start("doomed"));
    let (web, side) = (free_address(), free_address());
    let config = configuration(web, side, &[&lasting[0], &lasting[1]], dir.path());
    let balancer = Balancer::start(&config);
    let control = Control::at(&dir.path().join("control.sock"));
    let successors = Successors(Mutex::default());
    for group in ["home", "side"] {
        control.register(group, doomed.address);
        control.wait_state(group, doomed.address, "healthy");
    }
    let (length, stop) = (seconds(), AtomicBool::new(false));
    let until = Instant::now() + Duration::from_secs(length);
    let path = balancer.config_path();
    let mut script = Script {
        control: &control,
        successors: &successors,
        spare,
        doomed,
        kills: Vec::new(),
        config,
        path,
        until,
    };
    let client =
        |address, pause| strict_client(address, Duration::from_millis(pause), &stop, |_| ());
    thread::scope(|scope| {
        let load = scope.spawn(|| oha(web, length));
        let paces = [0, 1, 10, 150, 700];
        let strict: Vec<_> = paces.map(|pause| scope.spawn(move || client(web, pause))).into();
        let aside: Vec<_> = [5, 100].map(|pause| scope.spawn(move || client(side, pause))).into();
        let stopping = Stopping(&stop);
        let kills = script.run();
        let load = load.join().expect("oha");
        drop(stopping);
        let strict: Vec<Seen> = strict.into_iter().map(|it| it.join().expect("client")).collect();
        let aside: Vec<Seen> = aside.into_iter().map(|it| it.join().expect("client")).collect();
        report(&control, &kills, load.as_ref(), &strict, &aside);
        if let Some((good, bad)) = load {
            assert!(good > 0 && bad.is_empty(), "oha: {good} good; {bad}");
        }
        assert!(strict.iter().all(|seen| seen.failures.is_empty()), "{strict:?}");
        // On L4 a connection to a killed target dies with it; nothing else may.
        let killed = |at: &Instant| kills.iter().any(|kill| is_shortly_after(*at, *kill));
        for seen in &aside {
            let others: Vec<_> = seen.failures.iter().filter(|(at, _)| !killed(at)).collect();
            assert!(seen.good > 0 && others.is_empty(), "{others:?}");
        }
    });
}

/// Targets are killed five seconds apart at least.
fn is_shortly_after(at: Instant, kill: Instant) -> bool {
    at.checked_duration_since(kill).is_some_and(|after| after < Duration::from_secs(3))
}

fn report(
    control: &Control,
    kills: &[Instant],
    load: Option<&(u64, String)>,
    strict: &[Seen],
    aside: &[Seen],
) {
    let sum = |seen: &[Seen]| seen.iter().map(|seen| seen.good).sum::<u64>();
    let causes = |seen: &[Seen]| {
        let failures = seen.iter().flat_map(|seen| &seen.failures);
        let with_kill = failures.map(|(at, cause)| {
            let killed = kills.iter().any(|kill| is_shortly_after(*at, *kill));
            format!("{cause}{}", if killed { " (a target was killed)" } else { "" })
        });
        with_kill.collect::<Vec<_>>()
    };
    eprintln!("{} targets killed; oha: {load:?}", kills.len());
    eprintln!("strict clients on l7: {} good, failures {:?}", sum(strict), causes(strict));
    eprintln!(
        "clients of the switched listener: {} good, failures {:?}",
        sum(aside),
        causes(aside)
    );
    eprintln!("totals of the last process: {}", control.status()["totals"]);
}
