//! Ringway as a service of systemd: what the service manager hears, the sockets that it passes, and
//! what its journal gets. The service manager is played by the test; `scripts/test-service.sh` has
//! a real one.

// Tests are ordinary threads; the bans are about workers.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod harness;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Balancer, Client, Config, Control, DEADLINE, Target, binary, http};
use socket2::SockRef;

/// As often as a busy machine can answer them in time: one that is late is a failure.
const PROBES: &str = "health_check = { interval = \"1s\", timeout = \"950ms\" }";

/// The service manager's end of sd_notify(3).
struct Manager {
    path: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Manager {
    fn start(dir: &Path) -> Self {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len) = socket.recv(&mut buffer) {
                let text = std::str::from_utf8(&buffer[..len]).expect("UTF-8");
                hears.lock().expect("no panic").push(text.trim_end().replace('\n', " "));
            }
        });
        Self { path, heard }
    }

    /// What it has heard so far, pings left out.
    fn heard(&self) -> Vec<String> {
        let heard = self.heard.lock().expect("no panic");
        heard.iter().filter(|message| *message != "WATCHDOG=1").cloned().collect()
    }

    fn pings(&self) -> usize {
        let heard = self.heard.lock().expect("no panic");
        heard.iter().filter(|message| *message == "WATCHDOG=1").count()
    }

    /// Waits for a message that begins with this; what was heard up to it is forgotten.
    fn wait(&self, message: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let mut heard = self.heard.lock().expect("no panic");
            if let Some(at) = heard.iter().position(|heard| heard.starts_with(message)) {
                return heard.drain(..=at).next_back().expect("it");
            }
            assert!(Instant::now() < until, "waited for {message:?}; heard {heard:?}");
            drop(heard);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Ringway under `manager`, with its control socket and what it keeps in `dir`.
fn start(config: &Config, dir: &Path, manager: &Manager) -> (Balancer, Control) {
    let mut command = Command::new(binary());
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "2000000");
    let text = with_control(config, dir).text();
    (Balancer::start_as(&text, command), Control::at(&dir.join("control.sock")))
}

fn with_control(config: &Config, dir: &Path) -> Config {
    let dir = dir.display();
    let config = config.clone().server(&format!("state_dir = \"{dir}/state\""));
    config.server(&format!("control = {{ socket = \"{dir}/control.sock\" }}"))
}

/// A process that took over; killed when dropped.
struct New(u64);

impl Drop for New {
    fn drop(&mut self) {
        // It may have ended.
        let _ = Command::new("kill").args(["-KILL", &self.0.to_string()]).status();
    }
}

fn upgrade(control: &Control) -> New {
    New(control.done("POST", "/v1/upgrade", None)["pid"].as_u64().expect("a process"))
}

/// Waits until the process before has drained. Its stdout stays open: the new one has it too.
fn wait_for_end(balancer: &mut Balancer) {
    let until = Instant::now() + DEADLINE;
    while !balancer.process().has_ended() {
        assert!(Instant::now() < until, "it runs on: {}", balancer.log());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_service_manager_hears_of_start_reload_and_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    let (manager, target) = (Manager::start(dir.path()), Target::named("a"));
    let config = http(&[&target]).home(PROBES);
    let (mut balancer, _) = start(&config, dir.path(), &manager);
    let ready = manager.wait("READY=1");
    assert!(ready.contains("STATUS=1 listeners, 2 workers on "), "{ready}");
    assert!(ready.ends_with(", 1 of 1 targets healthy"), "health was waited for: {ready}");
    manager.wait("WATCHDOG=1");

    balancer.reload(&with_control(&config, dir.path()).text());
    manager.wait("RELOADING=1 MONOTONIC_USEC=");
    manager.wait("READY=1");
    balancer.reload_refused("nonsense");
    manager.wait("RELOADING=1");
    manager.wait("READY=1");
    let status = manager.wait("STATUS=");
    assert!(status.ends_with("; the last reload or upgrade failed, see the log"), "{status}");

    assert!(balancer.stop().success());
    let stopping = manager.wait("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=45000000 STATUS=draining"), "{stopping}");
    assert_eq!(manager.heard(), Vec::<String>::new(), "that was the last");
}

#[test]
fn a_target_that_does_not_answer_delays_readiness_by_a_bounded_time_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let manager = Manager::start(dir.path());
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("its address");
    let config = Config::new("l7", vec![address])
        .home("health_check = { interval = \"20s\", timeout = \"19s\" }");
    let began = Instant::now();
    let (_balancer, _) = start(&config, dir.path(), &manager);
    assert_eq!(manager.heard(), Vec::<String>::new(), "it listens, but is not ready");
    let ready = manager.wait("READY=1");
    assert!(ready.ends_with(", 0 of 1 targets healthy"), "{ready}");
    assert!(began.elapsed() >= Duration::from_secs(5), "the wait has a length");
}

#[test]
fn an_upgrade_names_the_new_process_which_pings_from_then_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (manager, target) = (Manager::start(dir.path()), Target::named("a"));
    let config = http(&[&target]).home(PROBES).server("drain_timeout = \"1s\"");
    let (mut balancer, control) = start(&config, dir.path(), &manager);
    manager.wait("READY=1");
    let new = upgrade(&control);
    manager.wait("RELOADING=1");
    manager.wait(&format!("MAINPID={} READY=1", new.0));
    wait_for_end(&mut balancer);
    let pings = manager.pings();
    balancer.wait("the new process to ping", || manager.pings() > pings);
    assert!(!manager.heard().iter().any(|message| message.contains("STOPPING")), "it goes on");
    control.done("POST", "/v1/drain", None);
    manager.wait("STOPPING=1");
}

#[test]
fn an_upgrade_that_fails_leaves_the_service_ready() {
    let dir = tempfile::tempdir().expect("a directory");
    let (manager, target) = (Manager::start(dir.path()), Target::named("a"));
    let (balancer, control) = start(&http(&[&target]), dir.path(), &manager);
    manager.wait("READY=1");
    balancer.rewrite("nonsense");
    assert_eq!(control.ask("POST", "/v1/upgrade", None).status, 500);
    manager.wait("RELOADING=1");
    manager.wait("READY=1");
    assert!(!manager.heard().iter().any(|message| message.contains("MAINPID")));
    assert_eq!(balancer.client().get("/").status, 200);
}

/// The process that takes over is killed while the one before still has a connection.
#[test]
fn a_new_process_that_fails_ends_the_one_before_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let (manager, target) = (Manager::start(dir.path()), Target::named("a"));
    let config = Config::new("l4", vec![target.address()]).server("drain_timeout = \"10m\"");
    let (mut balancer, control) = start(&config, dir.path(), &manager);
    manager.wait("READY=1");
    // It would be kept until the drain timeout.
    let mut held = balancer.client();
    assert_eq!(held.get("/").status, 200);
    drop(upgrade(&control));
    balancer.process().wait(DEADLINE);
    assert!(balancer.log_count(&["the new process has failed"]) == 1, "{}", balancer.log());
}

/// Starts ringway with `sockets` as a service manager passes them.
fn start_activated(config: &str, sockets: &[&TcpListener]) -> Balancer {
    let mut command = Command::new("bash");
    let mut script = String::new();
    for (at, socket) in sockets.iter().enumerate() {
        SockRef::from(*socket).set_cloexec(false).expect("inheritable");
        // Each to a high number first, so that none overwrites another.
        script += &format!("exec {}<&{}; ", 200 + at, socket.as_raw_fd());
    }
    for at in 0..sockets.len() {
        script += &format!("exec {}<&{}; ", 3 + at, 200 + at);
    }
    script += &format!("LISTEN_FDS={} LISTEN_PID=$$ exec \"$0\" \"$@\"", sockets.len());
    command.args(["-c", &script, &binary()]);
    let balancer = Balancer::start_as(config, command);
    for socket in sockets {
        SockRef::from(*socket).set_cloexec(true).expect("no longer");
    }
    balancer
}

#[test]
fn sockets_of_the_service_manager_are_listened_on_with_what_waits_in_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let target = Target::named("a");
    // Without SO_REUSEPORT: nothing else can listen there, so both workers have to share it.
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stray = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("its address");
    let mut early = Client::connect(address);
    early.send("GET /early HTTP/1.1\r\nHost: a\r\n\r\n");
    let text = with_control(&http(&[&target]), dir.path()).text();
    let text = text.replace("127.0.0.1:0", &address.to_string());
    let mut balancer = start_activated(&text, &[&stray, &socket]);
    assert_eq!(balancer.address("web"), address);
    assert_eq!(early.response("GET").status, 200);
    for _ in 0..20 {
        assert_eq!(balancer.client().get("/").status, 200);
    }
    let unused = stray.local_addr().expect("its address").to_string();
    balancer.wait_log(&["no listener has the address", &unused]);

    // Nor does an upgrade lose it, or a stop: the service manager keeps it open.
    let control = Control::at(&dir.path().join("control.sock"));
    let _new = upgrade(&control);
    wait_for_end(&mut balancer);
    assert_eq!(balancer.client().get("/").status, 200);
    control.done("POST", "/v1/drain", None);
    // Whoever comes before the workers have heard of it is served; the others wait for the next
    // process. Nobody is turned away.
    let began = Instant::now();
    loop {
        let mut late = Client::connect(address);
        late.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
        if late.is_quiet_for(Duration::from_millis(500)) {
            break;
        }
        assert_eq!(late.response("GET").status, 200);
        assert!(began.elapsed() < DEADLINE, "connections are taken for ever");
    }
}

#[test]
fn sockets_meant_for_another_process_are_left_alone() {
    let target = Target::named("a");
    let mut command = Command::new(binary());
    command.env("LISTEN_FDS", "2").env("LISTEN_PID", "1");
    let balancer = Balancer::start_as(&http(&[&target]).text(), command);
    assert_eq!(balancer.client().get("/").status, 200);
}

/// Runs `ringway` with these arguments and its stderr in the file that it takes for the journal.
fn journal_of(dir: &Path, arguments: &[&str], until: &str) -> String {
    let path = dir.join("journal");
    let file = File::create(&path).expect("a file");
    let found = file.metadata().expect("its inode");
    let mut child = Command::new(binary())
        .args(arguments)
        .env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()))
        .stderr(file)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("start ringway");
    let end = Instant::now() + DEADLINE;
    let mut text = String::new();
    while !text.contains(until) && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
        text = fs::read_to_string(&path).expect("UTF-8");
    }
    child.kill().expect("running or ended");
    child.wait().expect("ended");
    // A line that was being written is not there whole.
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    text
}

fn write_config(dir: &Path, text: &str) -> String {
    let path = dir.join("ringway.toml");
    fs::write(&path, text).expect("write");
    path.display().to_string()
}

#[test]
fn lines_for_the_journal_have_a_priority_and_no_time() {
    let dir = tempfile::tempdir().expect("a directory");
    // Nothing listens on the target's port: a warning of the configuration, and a log line.
    let config = Config::new("l7", vec![SocketAddr::from(([127, 0, 0, 1], 1))]).home(PROBES);
    let path = write_config(dir.path(), &config.text());
    let text = journal_of(dir.path(), &["run", "--config", &path], "ready: ");
    assert!(text.contains("\n<6> INFO ready: 1 listeners, 2 workers on "), "{text}");
    assert!(text.lines().all(|line| line.starts_with('<') && line.contains("> ")), "{text}");

    let path = write_config(dir.path(), "[[listeners]]\nname = 1\n");
    for command in ["check", "run"] {
        let text = journal_of(dir.path(), &[command, "--config", &path], "errors");
        assert!(text.starts_with("<3>error: "), "{text}");
        assert!(text.lines().all(|line| line.starts_with("<3>")), "{text}");
    }
}

#[test]
fn the_log_can_be_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config::new("l7", Vec::new()).text();
    let path = write_config(dir.path(), &config);
    let arguments = ["run", "--config", &path, "--log-format", "json"];
    for (line, number) in journal_of(dir.path(), &arguments, "ready: ").lines().zip(1..) {
        let (priority, json) = line.split_once('>').expect("a priority");
        let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
        assert!(value["timestamp"].is_string() && value["message"].is_string(), "{number}: {line}");
        let of = if value["level"] == "WARN" { "<4" } else { "<6" };
        assert_eq!(priority, of, "{line}");
    }
    let path = write_config(dir.path(), "[[listeners]]\nname = 1\n");
    let arguments = ["run", "--config", &path, "--log-format", "json"];
    let text = journal_of(dir.path(), &arguments, "errors");
    let value: serde_json::Value = serde_json::from_str(&text[3..]).expect("one JSON line");
    assert!(value["message"].as_str().expect("text").starts_with("error: "), "{text}");
}
