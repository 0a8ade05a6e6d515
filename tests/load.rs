//! Load as wrk and oha make it, against both layers: no failed request, no socket error, and at
//! the targets exactly as many requests as the client counted.
//!
//! `RINGWAY_TEST_SECONDS` (wrk, default 3) and `RINGWAY_TEST_REQUESTS` (oha, default 50000) make it
//! longer; `RINGWAY_RELEASE_BIN` names a release build to load instead of the debug one;
//! `RINGWAY_TEST_DRIVER` chooses the driver. Prints its figures: run with `--nocapture`.

// Tests are ordinary threads; the ban is about workers.
#![allow(clippy::disallowed_types)]

mod harness;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use harness::{Balancer, Config};
use socket2::SockRef;

/// One load at a time: they would measure each other.
static TURN: Mutex<()> = Mutex::new(());

/// Connections that may wait to be accepted by a target: those of a load come all at once.
const BACKLOG: i32 = 4096;
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Two targets that count requests. A thread per connection and no parser: requests here have no
/// body, so each ends with its head.
struct Targets {
    addresses: Vec<SocketAddr>,
    requests: Arc<AtomicU64>,
}

impl Targets {
    fn start() -> Self {
        let requests = Arc::new(AtomicU64::new(0));
        let start = |_| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("free port");
            SockRef::from(&listener).listen(BACKLOG).expect("backlog");
            let address = listener.local_addr().expect("bound");
            let requests = Arc::clone(&requests);
            thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    let requests = Arc::clone(&requests);
                    thread::spawn(move || answer(stream, &requests));
                }
            });
            address
        };
        Self { addresses: (0..2).map(start).collect(), requests }
    }

    fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }
}

/// Answers each request on `stream` until it ends.
fn answer(mut stream: TcpStream, requests: &AtomicU64) {
    let _ = stream.set_nodelay(true);
    let mut buffer = [0; 16 * 1024];
    let mut len = 0;
    let mut out = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut buffer[len..]) {
        len += count;
        let mut start = 0;
        out.clear();
        while let Some(at) = memchr::memmem::find(&buffer[start..len], HEAD_END) {
            start += at + HEAD_END.len();
            out.extend_from_slice(RESPONSE);
            requests.fetch_add(1, Relaxed);
        }
        buffer.copy_within(start..len, 0);
        len -= start;
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

fn balancer(mode: &'static str, targets: &Targets) -> Balancer {
    Config::new(mode, targets.addresses.clone()).start()
}

fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Runs a tool and returns what it printed; `None`, said aloud, where it is not installed.
fn run(tool: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(tool).args(arguments).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{tool}: {}\n{text}{errors}", output.status);
            Some(text)
        }
        Err(error) => {
            eprintln!("SKIPPED: {tool} cannot be run ({error}); scripts/check.sh installs it");
            None
        }
    }
}

fn wrk(mode: &'static str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let targets = Targets::start();
    let balancer = balancer(mode, &targets);
    let duration = format!("-d{}s", number("RINGWAY_TEST_SECONDS", 3));
    let url = format!("http://{}/", balancer.address("web"));
    // By itself wrk calls it an error when a response takes 2 s, which may be the machine.
    let options = ["-t2", "-c256", &duration, "--timeout", "40s", "--latency", &url];
    let Some(text) = run("wrk", &options) else { return };
    let value = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_default().split_whitespace().last().unwrap_or_default().to_owned()
    };
    eprintln!(
        "wrk -t2 -c256 {duration}, {mode}, {}: {} requests/s, median {}, 99 % {}",
        balancer.ready_line(),
        value("Requests/sec:"),
        value("50%"),
        value("99%"),
    );
    // wrk prints these two lines only when there is something to say.
    assert!(!text.contains("Non-2xx"), "{text}");
    assert!(!text.contains("Socket errors"), "{text}");
    assert!(targets.requests() > 0, "{text}");
}

fn oha(mode: &'static str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let targets = Targets::start();
    let balancer = balancer(mode, &targets);
    let count = number("RINGWAY_TEST_REQUESTS", 50_000);
    let url = format!("http://{}/", balancer.address("web"));
    let requests = count.to_string();
    let arguments = ["-n", &requests, "-c", "128", "--no-tui", "--output-format", "json", &url];
    let Some(text) = run("oha", &arguments) else { return };
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON of oha");
    eprintln!(
        "oha -n {count} -c 128, {mode}, {}: {:.0} requests/s, statuses {}, {} at the targets",
        balancer.ready_line(),
        report["summary"]["requestsPerSec"].as_f64().unwrap_or_default(),
        report["statusCodeDistribution"],
        targets.requests(),
    );
    assert_eq!(report["statusCodeDistribution"], serde_json::json!({ "200": count }), "{text}");
    assert_eq!(report["errorDistribution"], serde_json::json!({}), "{text}");
    assert_eq!(targets.requests(), count, "at the targets");
}

#[test]
fn wrk_against_l7_has_no_error() {
    wrk("l7");
}

#[test]
fn wrk_against_l4_has_no_error() {
    wrk("l4");
}

#[test]
fn oha_against_l7_has_no_error_and_targets_see_each_request_once() {
    oha("l7");
}

#[test]
fn oha_against_l4_has_no_error_and_targets_see_each_request_once() {
    oha("l4");
}
