//! An actor that only remembers: a keyed configuration that it patches, and a canned status.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::config::{Diagnostic, Place, Severity};
use crate::control::handle::*;
use crate::control::measure::Measure;
use crate::overlay::Change;

/// What the fake actor has and does.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) handle: Handle,
    /// Commands other than questions, as words.
    pub(crate) heard: watch::Receiver<Vec<String>>,
    /// How many changes are to find the configuration changed.
    pub(crate) stale: Arc<std::sync::atomic::AtomicU64>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let (handle, inbox) = Handle::new();
        let (heard_here, heard) = watch::channel(Vec::new());
        let stale = Arc::default();
        let actor =
            Actor { config: config(), generation: 7, heard: heard_here, stale: Arc::clone(&stale) };
        tokio::spawn(actor.run(inbox));
        Self { handle, heard, stale }
    }

    /// A handle whose actor has ended.
    pub(crate) fn gone() -> Handle {
        Handle::new().0
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.borrow().clone()
    }
}

struct Actor {
    config: Value,
    generation: u64,
    heard: watch::Sender<Vec<String>>,
    stale: Arc<std::sync::atomic::AtomicU64>,
}

impl Actor {
    async fn run(mut self, mut inbox: Inbox) {
        loop {
            tokio::select! {
                Some(question) = inbox.questions.recv() => self.answer(question),
                Some(order) = inbox.orders.recv() => self.carry_out(order),
                else => return,
            }
        }
    }

    fn answer(&self, question: Question) {
        // Whoever asked may have gone: the answer is then for nobody.
        match question {
            Question::Status(reply) => drop(reply.send(self.status())),
            Question::Targets(name, reply) => {
                let group = self.status().target_groups.into_iter().find(|it| it.name == name);
                drop(reply.send(group.map(|group| group.targets)));
            }
            Question::Effective(reply) => {
                let config = Arc::new(self.config.clone());
                drop(reply.send(Effective { generation: self.generation, config }));
            }
            Question::Measure(reply) => drop(reply.send(Measure::default())),
            Question::Ready(reply) => drop(reply.send(Err("draining".into()))),
            Question::Export(reply) => drop(reply.send("[server]\n".into())),
            Question::Drain(reply) => {
                self.note("drain");
                let _ = reply.send(());
            }
            Question::Drained(group, targets, reply) => {
                self.note(&format!("drained {group} {targets:?}"));
                if targets.iter().any(|target| target.port() == 8082) {
                    // Never drains.
                    std::mem::forget(reply);
                } else {
                    let _ = reply.send(());
                }
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Change(generation, change, reply) => {
                use std::sync::atomic::Ordering::Relaxed;
                let meddle = |left: u64| left.checked_sub(1);
                if self.stale.fetch_update(Relaxed, Relaxed, meddle).is_ok() {
                    self.generation += 1;
                }
                let fits = generation == self.generation;
                let result = if fits {
                    self.change(&change)
                } else {
                    Err(ChangeError::Stale(self.generation))
                };
                drop(reply.send(result));
            }
            Order::Reload(reply) => {
                self.note("reload");
                drop(reply.send(Err(ChangeError::Invalid(vec![mistake_in_file()]))));
            }
            Order::EndLeases => self.note("end leases"),
            Order::RotateKeys(reply) => {
                self.note("rotate keys");
                drop(reply.send(Ok(())));
            }
            Order::Upgrade(reply) => {
                self.note("upgrade");
                drop(reply.send(Err(ChangeError::Failed("no such binary; install it".into()))));
            }
        }
    }

    fn note(&self, what: &str) {
        self.heard.send_modify(|heard| heard.push(what.into()));
    }

    fn change(&mut self, change: &Change) -> Result<Changed, ChangeError> {
        self.note(&change.shown());
        let mut config = self.config.clone();
        change.apply(&mut config);
        let mistakes = mistakes(&config);
        if !mistakes.is_empty() {
            return Err(ChangeError::Invalid(mistakes));
        }
        self.config = config;
        self.generation += 1;
        Ok(Changed { generation: self.generation, warnings: Vec::new() })
    }

    fn status(&self) -> Status {
        Status { generation: self.generation, ..status() }
    }
}

/// Every weight above 999 and every mode that does not exist.
fn mistakes(config: &Value) -> Vec<Diagnostic> {
    let each = |key: &str| config[key].as_object().cloned().unwrap_or_else(Map::new);
    let mut found = Vec::new();
    for (name, group) in each("target_groups") {
        for (address, target) in group["targets"].as_object().into_iter().flatten() {
            if target["weight"].as_u64().is_some_and(|weight| weight > 999) {
                let path = format!("target_groups.{name}.targets.{address}.weight");
                found.push(mistake(&path, "1000 is out of range", "0 to 999"));
            }
        }
    }
    for (name, listener) in each("listeners") {
        if listener["mode"].as_str().is_some_and(|mode| !["l4", "l7"].contains(&mode)) {
            let path = format!("listeners.{name}.mode");
            found.push(mistake(&path, "unknown mode", "\"l4\" or \"l7\""));
        }
    }
    found
}

fn mistake(path: &str, problem: &str, help: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file: "effective".into(),
        place: Some(Place {
            line: 3,
            column: 10,
            path: path.into(),
            source: "weight = 1000".into(),
            caret: 9..13,
        }),
        problem: problem.into(),
        help: Some(help.into()),
    }
}

fn mistake_in_file() -> Diagnostic {
    let file = "/etc/ringway/ringway.toml".into();
    Diagnostic { file, ..mistake("target_groups[0].targets[0].weight", "too much", "0 to 999") }
}

/// The configuration at the start.
pub(crate) fn config() -> Value {
    json!({
        "server": { "workers": 2 },
        "target_groups": {
            "home": { "targets": { "127.0.0.1:5000": {}, "[::1]:5000": { "weight": 2 } } },
            "blog": {
                "algorithm": "round_robin",
                "targets": { "127.0.0.1:8081": { "weight": 2 }, "127.0.0.1:8082": {} },
            },
            "spare": {},
        },
        "listeners": {
            "web": {
                "address": "0.0.0.0:80", "mode": "l7", "default": { "forward": "home" },
                "rules": { "10": { "path_pattern": ["/blog"], "forward": "blog" } },
            },
            "tcp": { "address": "0.0.0.0:81", "mode": "l4", "default": { "forward": "home" } },
        },
    })
}

/// The status at the start.
pub(crate) fn status() -> Status {
    let counts = |n: u64| Counts {
        open_connections: n,
        connections: 9,
        requests: 100 * n,
        ..Counts::default()
    };
    Status {
        version: "0.1.0".into(),
        pid: 4242,
        uptime_seconds: 93_784,
        generation: 7,
        config_file: "/etc/ringway/ringway.toml".into(),
        program_changed: true,
        driver: "io_uring".into(),
        draining: false,
        totals: counts(3),
        workers: vec![counts(1), counts(2)],
        listeners: listeners(),
        health_flips: HealthFlips { count: 3, last_us: Some(900), longest_us: Some(1_200) },
        target_groups: vec![
            group(
                "blog",
                vec![
                    target("127.0.0.1:8081", "healthy", None),
                    target(
                        "127.0.0.1:8082",
                        "draining",
                        Some((
                            "Target.DeregistrationInProgress",
                            "Target deregistration is in progress",
                        )),
                    ),
                    target(
                        "[2001:db8:85a3::8a2e:370:7334]:8081",
                        "unhealthy",
                        Some((
                            "Target.ResponseCodeMismatch",
                            "Health checks failed with these codes: [503]",
                        )),
                    ),
                ],
            ),
            group("spare", Vec::new()),
        ],
    }
}

fn listeners() -> Vec<ListenerStatus> {
    let rule = |priority, rule| RuleStatus { priority, rule, origin: "file".into() };
    vec![
        ListenerStatus {
            certificates: Vec::new(),
            server_names: Vec::new(),
            name: "tcp".into(),
            address: "0.0.0.0:81".into(),
            mode: "l4".into(),
            default: json!({ "forward": "home" }),
            rules: Vec::new(),
            origin: "api".into(),
        },
        ListenerStatus {
            certificates: Vec::new(),
            server_names: Vec::new(),
            name: "web".into(),
            address: "0.0.0.0:80".into(),
            mode: "l7".into(),
            default: json!({ "forward": [
                { "target_group": "home", "weight": 90 }, { "target_group": "blog", "weight": 10 },
            ] }),
            rules: vec![
                rule(10, json!({ "path_pattern": ["/blog", "/blog/*"], "forward": "blog" })),
                rule(
                    20,
                    json!({ "host_header": "old.example.com",
                    "redirect": { "host": "www.example.com", "status": 301 } }),
                ),
                rule(
                    30,
                    json!({ "http_header": [{ "name": "User-Agent", "values": ["*Bot*"] }],
                    "fixed_response": { "status": 403 } }),
                ),
            ],
            origin: "file+api".into(),
        },
    ]
}

fn group(name: &str, targets: Vec<TargetStatus>) -> GroupStatus {
    GroupStatus {
        name: name.into(),
        algorithm: "round_robin".into(),
        fail_open: false,
        requests: 12_345,
        p50_us: (!targets.is_empty()).then_some(850),
        p99_us: (!targets.is_empty()).then_some(12_400),
        targets,
        origin: "file".into(),
    }
}

fn target(address: &str, state: &str, reason: Option<(&str, &str)>) -> TargetStatus {
    TargetStatus {
        address: address.into(),
        weight: 1,
        state: state.into(),
        reason: reason.map(|(code, _)| code.into()),
        description: reason.map(|(_, words)| words.into()),
        ejected: false,
        in_flight: 2,
        requests: 4_115,
        failures: 1,
        origin: "api".into(),
        expires: None,
    }
}
