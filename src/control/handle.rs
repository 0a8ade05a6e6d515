//! The door to the control actor: what may be asked of it, and what it answers.
//!
//! The API speaks to the actor through a [`Handle`] only; every request is answered by exactly
//! one reply, and changes are carried out one after the other.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot};
use utoipa::ToSchema;

use crate::config::Diagnostic;
use crate::overlay::Change;

/// Requests that may wait for the actor; beyond it the sender waits.
pub const COMMANDS_MAX: usize = 256;
/// Events that a slow listener may lag behind before it misses some.
pub const EVENTS_MAX: usize = 1024;

/// What is asked of the actor.
#[derive(Debug)]
pub(super) enum Command {
    /// Everything that an operator looks at.
    Status(oneshot::Sender<Status>),
    /// The effective configuration as one TOML file.
    Export(oneshot::Sender<String>),
    /// The effective configuration in its keyed form, and its number.
    Effective(oneshot::Sender<Effective>),
    /// A change, if the configuration still has this number; else [`ChangeError::Stale`].
    ChangeAt(u64, Change, oneshot::Sender<Result<Changed, ChangeError>>),
    /// Read the file again.
    Reload(oneshot::Sender<Result<Changed, ChangeError>>),
    /// Make a new key for stickiness cookies.
    RotateKeys(oneshot::Sender<Result<(), ChangeError>>),
    /// Stop as on SIGTERM.
    Drain(oneshot::Sender<()>),
    /// Hand over to a new process.
    Upgrade(oneshot::Sender<Result<Upgraded, ChangeError>>),
    /// Wait until nothing is in flight at these targets of a group.
    Drained(String, Vec<std::net::SocketAddr>, oneshot::Sender<()>),
}

/// A way to reach the actor; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<Event>,
}

/// The actor has ended; so has, or will at once, the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Why a change was refused; nothing has changed then.
#[derive(Debug)]
pub enum ChangeError {
    /// The result would be no good configuration. Positions are in the effective file; their key
    /// paths are what tells.
    Invalid(Vec<Diagnostic>),
    /// It is about something that does not exist; its path.
    Missing(String),
    /// A listener cannot have its address.
    Unavailable(String),
    /// The configuration file cannot be read, or what was accepted cannot be kept.
    Failed(String),
    /// The configuration has another number than the change was made for: this one.
    Stale(u64),
}

/// The effective configuration at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// Its number.
    pub generation: u64,
    /// Its keyed form.
    pub config: Value,
}

/// What a change has done. It is in force at every worker, and kept if there is a state directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// Number of the configuration, counted from 1 at the start of the process.
    pub generation: u64,
    /// What the configuration is doubtful about.
    pub warnings: Vec<String>,
}

/// A new process has taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upgraded {
    /// Process id of the new process.
    pub pid: u32,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A target has changed its health state.
    Health {
        /// Seconds since 1970.
        time: u64,
        /// Target group.
        target_group: String,
        /// Target.
        target: String,
        /// State before.
        from: String,
        /// State now.
        to: String,
        /// AWS's reason code, if the state has one.
        reason: Option<String>,
        /// The reason in words.
        description: Option<String>,
    },
    /// A target has ended its draining and is gone.
    Drained {
        /// Seconds since 1970.
        time: u64,
        /// Target group.
        target_group: String,
        /// Target.
        target: String,
    },
    /// Another configuration is in force.
    Configured {
        /// Seconds since 1970.
        time: u64,
        /// Its number.
        generation: u64,
        /// `file` or `api`.
        by: String,
    },
    /// A change or a reload was refused.
    Refused {
        /// Seconds since 1970.
        time: u64,
        /// `file` or `api`.
        by: String,
        /// Why.
        problems: Vec<String>,
    },
    /// The process drains and will end.
    Stopping {
        /// Seconds since 1970.
        time: u64,
    },
}

impl Event {
    /// Its type, as in its JSON form.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Health { .. } => "health",
            Self::Drained { .. } => "drained",
            Self::Configured { .. } => "configured",
            Self::Refused { .. } => "refused",
            Self::Stopping { .. } => "stopping",
        }
    }
}

/// Everything that an operator looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// Number of the configuration.
    pub generation: u64,
    /// The operator's file.
    pub config_file: String,
    /// Whether the program's file is another one than what runs, so that an upgrade would start it.
    #[serde(default)]
    pub program_changed: bool,
    /// `io_uring` or `epoll`.
    pub driver: String,
    /// Whether the process drains.
    pub draining: bool,
    /// Totals over all workers.
    pub totals: Counts,
    /// Per worker, in order.
    pub workers: Vec<Counts>,
    /// Listeners, in order of their names.
    pub listeners: Vec<ListenerStatus>,
    /// Target groups, in order of their names.
    pub target_groups: Vec<GroupStatus>,
}

/// What has been counted since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Client connections open now.
    pub open_connections: u64,
    /// Client connections accepted.
    pub connections: u64,
    /// L7 requests read.
    pub requests: u64,
    /// Responses made by the balancer itself.
    pub own_responses: u64,
    /// Connections made to targets.
    pub target_connections: u64,
    /// Connections to targets that could not be made.
    pub target_connection_errors: u64,
    /// Requests sent on a pooled connection.
    pub target_connections_reused: u64,
    /// Requests tried a second time.
    pub retries: u64,
    /// Connections that ended in a panic.
    pub panics: u64,
    /// Lines of access logs.
    pub access_log_lines: u64,
    /// Lines of access logs that were dropped, for want of room.
    pub access_log_dropped: u64,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListenerStatus {
    /// Name.
    pub name: String,
    /// Address, with the port that the kernel gave.
    pub address: String,
    /// `l4` or `l7`.
    pub mode: String,
    /// What happens where no rule matches, as in the configuration.
    #[schema(value_type = Object)]
    pub default: Value,
    /// Rules in ascending priority.
    pub rules: Vec<RuleStatus>,
    /// Where the listener comes from: `file` or `api`, `file+api` where both speak.
    pub origin: String,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleStatus {
    /// Priority.
    pub priority: u16,
    /// Conditions and action, as in the configuration.
    #[schema(value_type = Object)]
    pub rule: Value,
    /// Where it comes from.
    pub origin: String,
}

/// A target group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupStatus {
    /// Name.
    pub name: String,
    /// Algorithm.
    pub algorithm: String,
    /// Whether too few targets are healthy, so that all are used.
    pub fail_open: bool,
    /// Requests (L4: connections) sent to its targets.
    pub requests: u64,
    /// Median time from request head to end of response, in microseconds; none before the first.
    pub p50_us: Option<u64>,
    /// 99th percentile of the same.
    pub p99_us: Option<u64>,
    /// Targets, in order of their addresses; draining ones included.
    pub targets: Vec<TargetStatus>,
    /// Where the group comes from.
    pub origin: String,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetStatus {
    /// Address and port.
    pub address: String,
    /// Weight.
    pub weight: u16,
    /// `initial`, `healthy`, `unhealthy`, `unused` or `draining`.
    pub state: String,
    /// AWS's reason code, if the state has one.
    pub reason: Option<String>,
    /// The reason in words.
    pub description: Option<String>,
    /// Whether traffic itself has taken it out for a while.
    pub ejected: bool,
    /// Requests (L4: connections) in flight.
    pub in_flight: u64,
    /// Requests (L4: connections) sent to it.
    pub requests: u64,
    /// Responses with status 5xx, and connections that could not be made.
    pub failures: u64,
    /// Where it comes from.
    pub origin: String,
    /// Seconds since 1970 at which its lease ends, if it has one.
    pub expires: Option<u64>,
}

/// Seconds since 1970.
pub type Seconds = u64;

impl ChangeError {
    /// Each problem in one line, as `ringway check` words it.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        match self {
            Self::Invalid(errors) => errors.iter().map(one_line).collect(),
            Self::Missing(path) => vec![format!("there is no `{path}`")],
            Self::Unavailable(text) | Self::Failed(text) => vec![text.clone()],
            Self::Stale(now) => vec![format!("the configuration has changed; it is number {now}")],
        }
    }
}

fn one_line(error: &Diagnostic) -> String {
    let path = error.place.as_ref().map_or("", |place| place.path.as_str());
    match path {
        "" => error.problem.clone(),
        path => format!("{path}: {}", error.problem),
    }
}

impl Handle {
    /// A handle and the actor's end of it.
    pub(super) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        (Self { commands, events }, inbox)
    }

    /// Everything that an operator looks at.
    ///
    /// # Errors
    /// [`Gone`], as of every other method.
    pub async fn status(&self) -> Result<Status, Gone> {
        self.ask(Command::Status).await
    }

    /// The effective configuration as one TOML file.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn export(&self) -> Result<String, Gone> {
        self.ask(Command::Export).await
    }

    /// The effective configuration in its keyed form, and its number.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn effective(&self) -> Result<Effective, Gone> {
        self.ask(Command::Effective).await
    }

    /// Makes a change, wholly or not at all, if the configuration still has the number
    /// `generation`; else [`ChangeError::Stale`]. Returns once every worker acts on it and it is
    /// kept.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn change_at(
        &self,
        generation: u64,
        change: Change,
    ) -> Result<Result<Changed, ChangeError>, Gone> {
        self.ask(|reply| Command::ChangeAt(generation, change, reply)).await
    }

    /// Reads the operator's file again; a bad one changes nothing.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn reload(&self) -> Result<Result<Changed, ChangeError>, Gone> {
        self.ask(Command::Reload).await
    }

    /// Makes a new key for stickiness cookies; those of the one before stay good.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn rotate_keys(&self) -> Result<Result<(), ChangeError>, Gone> {
        self.ask(Command::RotateKeys).await
    }

    /// Begins to stop, as on SIGTERM.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn drain(&self) -> Result<(), Gone> {
        self.ask(Command::Drain).await
    }

    /// Hands over to a new process of the same binary path. Returns once that is ready.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn upgrade(&self) -> Result<Result<Upgraded, ChangeError>, Gone> {
        self.ask(Command::Upgrade).await
    }

    /// Waits until the deregistered `targets` of `group` have nothing in flight.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn drained(
        &self,
        group: String,
        targets: Vec<std::net::SocketAddr>,
    ) -> Result<(), Gone> {
        self.ask(|reply| Command::Drained(group, targets, reply)).await
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// How many listen to what happens.
    #[cfg(test)]
    pub(crate) fn listeners(&self) -> usize {
        self.events.receiver_count()
    }

    /// Tells everyone who listens.
    pub(crate) fn tell(&self, event: Event) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    async fn ask<R>(&self, command: impl FnOnce(oneshot::Sender<R>) -> Command) -> Result<R, Gone> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}
