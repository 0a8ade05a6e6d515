//! Targets come and go: health, draining, reload, stickiness, shares, end to end.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "rules for workers; here a pause is the pace of a target, or time in which nothing \
              may happen"
)]

mod api;
mod draining;
#[path = "../harness/mod.rs"]
mod harness;
mod health;
mod hostile;
mod operator;
mod reload;
mod shares;
mod sticky;
mod storms;
mod upgrade;
mod waits;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::*;

/// Probes as often as a busy machine can answer them in time: one that is late is a failure.
const OFTEN: &str = "interval = \"1s\", timeout = \"950ms\"";
/// In which a target that is probed [`OFTEN`] is probed more than once.
const PROBES: Duration = Duration::from_millis(2500);
/// Later than a probe waits.
const TOO_LATE: Duration = Duration::from_millis(1200);

/// What a client of a [`Stream`] waits before each request.
const PAUSE: Duration = Duration::from_micros(1500);

/// How a target answers probes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Health {
    /// With this status.
    Status(u16),
    /// Not in time.
    Late,
    /// By closing the connection.
    Close,
}

/// A target that answers `/health` as told and everything else with its name.
struct Checked {
    target: Target,
    health: Arc<Mutex<Health>>,
    probes: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
}

impl Checked {
    fn start(name: &str, health: Health) -> Self {
        let (health, name) = (Arc::new(Mutex::new(health)), name.to_owned());
        let (probes, served) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (state, probed, serves) = (health.clone(), probes.clone(), served.clone());
        let target = Target::start(move |peer| {
            while let Some(request) = peer.request() {
                if request.target != "/health" {
                    serves.fetch_add(1, SeqCst);
                    peer.send(&ok(&name));
                    continue;
                }
                probed.fetch_add(1, SeqCst);
                let now = *state.lock().unwrap_or_else(PoisonError::into_inner);
                match now {
                    Health::Status(status) => {
                        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                        peer.send(head.as_bytes());
                    }
                    Health::Late => thread::sleep(TOO_LATE),
                    Health::Close => return,
                }
            }
        });
        Self { target, health, probes, served }
    }

    fn turn(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    fn probes(&self) -> usize {
        self.probes.load(SeqCst)
    }

    fn served(&self) -> usize {
        self.served.load(SeqCst)
    }

    fn field(&self) -> String {
        format!("target={} ", self.target.address())
    }
}

/// A health check of `/health`, with these settings besides.
fn check(settings: &str) -> String {
    format!("health_check = {{ path = \"/health\", {OFTEN}, {settings} }}")
}

/// A response with this body.
fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Names of those that answer `count` requests on one connection, in turn.
fn answers(balancer: &Balancer, count: usize) -> Vec<String> {
    let mut client = balancer.client();
    (0..count).map(|_| client.get("/").text()).collect()
}

/// Waits until `expected` answer as many requests, in any order. Workers hear of another health a
/// moment before or after the log does.
fn wait_answers(balancer: &Balancer, expected: &[&str]) {
    balancer.wait(&format!("answers of {expected:?}"), || {
        let mut names = answers(balancer, expected.len());
        names.sort();
        names == expected
    });
}

/// Clients that send requests on keep-alive connections until they are stopped.
struct Stream {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Seen>>>,
}

/// A response as a client saw it: status and body, or why there was none.
type Seen = Result<(u16, String), String>;

impl Stream {
    /// `clients` of them, each with a connection that it opens anew when it is told to close.
    fn start(address: std::net::SocketAddr, clients: usize) -> Self {
        Self::with(clients, true, move || Client::connect(address))
    }

    /// As [`Stream::start`], with a new connection for each request.
    fn once(address: std::net::SocketAddr, clients: usize) -> Self {
        Self::with(clients, false, move || Client::connect(address))
    }

    fn with(
        clients: usize,
        keeps: bool,
        connect: impl Fn() -> Client + Clone + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (stop, connect) = (stop.clone(), connect.clone());
            thread::spawn(move || requests(&stop, keeps, &connect))
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// Ends the clients; what they saw.
    fn stop(self) -> Vec<Seen> {
        self.stop.store(true, SeqCst);
        let seen = self.clients.into_iter().flat_map(|client| client.join().expect("client"));
        seen.collect()
    }

    /// Ends the clients; panics unless each request got a 200. Returns the bodies.
    fn stop_clean(self) -> Vec<String> {
        let seen = self.stop();
        let failed: Vec<_> =
            seen.iter().filter(|seen| !matches!(seen, Ok((200, _)))).take(5).collect();
        assert!(failed.is_empty() && !seen.is_empty(), "of {}: {failed:?}", seen.len());
        seen.into_iter().flatten().map(|(_, body)| body).collect()
    }
}

fn requests(stop: &AtomicBool, keeps: bool, connect: &impl Fn() -> Client) -> Vec<Seen> {
    let mut seen = Vec::new();
    let (mut client, mut answered) = (connect(), Instant::now());
    while !stop.load(SeqCst) {
        // Scripted targets keep all that they receive.
        thread::sleep(PAUSE);
        // On a busy machine: it may have been closed as one that is not used.
        if answered.elapsed() > HANDED_OVER_GRACE {
            client = connect();
        }
        let sent = client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.try_response("GET") {
            Ok(response) => {
                seen.push(Ok((response.status, response.text())));
                if response.closes() || !keeps {
                    client = connect();
                }
                answered = Instant::now();
            }
            Err(error) => {
                seen.push(Err(format!("sent: {sent}, {error:?}")));
                client = connect();
            }
        }
    }
    seen
}

/// A balancer with a control API and a directory for what lasts.
struct Controlled {
    dir: tempfile::TempDir,
    api: Api,
}

impl Controlled {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let api = Api::at(&dir.path().join("control.sock"));
        Self { dir, api }
    }

    /// `config` with both.
    fn text(&self, config: &Config) -> String {
        let dir = self.dir.path().display();
        let state = format!("state_dir = \"{dir}\"");
        let socket = format!("control = {{ socket = \"{dir}/control.sock\" }}");
        config.clone().server(&state).server(&socket).text()
    }

    fn register(&self, targets: &str) {
        let path = "/v1/target-groups/home/targets";
        self.api.ask("POST", path, &format!("{{\"targets\": [{targets}]}}"));
    }

    fn targets(&self) -> String {
        self.api.ask("GET", "/v1/target-groups/home/targets", "")
    }
}

fn registration(target: &Target, more: &str) -> String {
    format!("{{\"address\": \"{}\"{more}}}", target.address())
}
