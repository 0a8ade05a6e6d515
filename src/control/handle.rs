//! The door to the control actor: what may be asked of it, and what it answers.
//!
//! The API speaks to the actor through a [`Handle`] only; every request is answered by exactly
//! one reply. Questions are answered at once; orders are carried out one after the other, and
//! those that come meanwhile wait in order.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot};
use utoipa::ToSchema;

use crate::config::Diagnostic;
use crate::exposition::Happened;
use crate::overlay::Change;

use super::measure::{Measure, Tale};

pub use super::status::{
    CertificateStatus, Counts, GroupStatus, HealthFlips, ListenerStatus, RuleStatus, Status,
    TargetStatus,
};

/// Questions that may wait for the actor; beyond it whoever asks waits.
pub const QUESTIONS_MAX: usize = 256;
/// Orders that may wait for the one under way; beyond it whoever gives one waits.
pub const ORDERS_MAX: usize = 256;
/// Events that a slow listener may lag behind before it misses some.
pub const EVENTS_MAX: usize = 1024;

/// What the actor answers at once, whatever change is under way.
#[derive(Debug)]
pub(super) enum Question {
    /// Everything that an operator looks at.
    Status(oneshot::Sender<Status>),
    /// The targets of a group; `None` if there is no such group.
    Targets(String, oneshot::Sender<Option<Vec<TargetStatus>>>),
    /// The effective configuration in its keyed form, and its number.
    Effective(oneshot::Sender<Effective>),
    /// The effective configuration as one TOML file.
    Export(oneshot::Sender<String>),
    /// What there is to measure.
    Measure(oneshot::Sender<Measure>),
    /// Whether clients may be sent here, or why not.
    Ready(oneshot::Sender<Result<(), String>>),
    /// Wait until nothing is in flight at these targets of a group.
    Drained(String, Vec<SocketAddr>, oneshot::Sender<()>),
    /// Stop as on SIGTERM.
    Drain(oneshot::Sender<()>),
}

/// What changes something.
#[derive(Debug)]
pub(super) enum Order {
    /// A change, if the configuration still has this number; else [`ChangeError::Stale`].
    Change(u64, Change, oneshot::Sender<Result<Changed, ChangeError>>),
    /// Read the file again.
    Reload(oneshot::Sender<Result<Changed, ChangeError>>),
    /// Deregister the targets whose lease is over.
    EndLeases,
    /// Make a new key for stickiness cookies.
    RotateKeys(oneshot::Sender<Result<(), ChangeError>>),
    /// Hand over to a new process.
    Upgrade(oneshot::Sender<Result<Upgraded, ChangeError>>),
}

/// The actor's end of all handles.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) orders: mpsc::Receiver<Order>,
}

/// A way to reach the actor; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    questions: mpsc::Sender<Question>,
    orders: mpsc::Sender<Order>,
    events: broadcast::Sender<Event>,
    tale: Arc<Tale>,
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
    /// A listener cannot have its address, or its access log cannot be opened.
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
    pub config: Arc<Value>,
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
    pub(super) fn new() -> (Self, Inbox) {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let (orders, given) = mpsc::channel(ORDERS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let tale = Arc::default();
        (Self { questions, orders, events, tale }, Inbox { questions: asked, orders: given })
    }

    /// Everything that an operator looks at.
    ///
    /// # Errors
    /// [`Gone`], as of every other method.
    pub async fn status(&self) -> Result<Status, Gone> {
        self.ask(Question::Status).await
    }

    /// The targets of a group, in order of their addresses; `None` if there is no such group.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn targets(&self, group: String) -> Result<Option<Vec<TargetStatus>>, Gone> {
        self.ask(|reply| Question::Targets(group, reply)).await
    }

    /// The effective configuration in its keyed form, and its number.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn effective(&self) -> Result<Effective, Gone> {
        self.ask(Question::Effective).await
    }

    /// The effective configuration as one TOML file.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn export(&self) -> Result<String, Gone> {
        self.ask(Question::Export).await
    }

    /// Waits until the deregistered `targets` of `group` have nothing in flight.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn drained(&self, group: String, targets: Vec<SocketAddr>) -> Result<(), Gone> {
        self.ask(|reply| Question::Drained(group, targets, reply)).await
    }

    /// Begins to stop, as on SIGTERM. What was ordered before and has not begun is dropped.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn drain(&self) -> Result<(), Gone> {
        self.ask(Question::Drain).await
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
        self.order(|reply| Order::Change(generation, change, reply)).await
    }

    /// Reads the operator's file again; a bad one changes nothing.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn reload(&self) -> Result<Result<Changed, ChangeError>, Gone> {
        self.order(Order::Reload).await
    }

    /// Makes a new key for stickiness cookies; those of the one before stay good.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn rotate_keys(&self) -> Result<Result<(), ChangeError>, Gone> {
        self.order(Order::RotateKeys).await
    }

    /// Hands over to a new process of the same binary path. Returns once that is ready.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn upgrade(&self) -> Result<Result<Upgraded, ChangeError>, Gone> {
        self.order(Order::Upgrade).await
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

    /// What there is to measure.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn measure(&self) -> Result<Measure, Gone> {
        self.ask(Question::Measure).await
    }

    /// Whether clients may be sent here: connections are taken, every worker's loop turns, and
    /// the first health of the targets is known. If not, why.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn ready(&self) -> Result<Result<(), String>, Gone> {
        self.ask(Question::Ready).await
    }

    /// Counts what happens.
    pub(super) fn tale(&self) -> Arc<Tale> {
        self.tale.clone()
    }

    /// How often what happened.
    pub(super) fn happened(&self) -> Happened {
        self.tale.read()
    }

    /// Tells everyone who listens.
    pub(crate) fn tell(&self, event: Event) {
        self.tale.note(&event);
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    async fn ask<R>(&self, what: impl FnOnce(oneshot::Sender<R>) -> Question) -> Result<R, Gone> {
        let (reply, answer) = oneshot::channel();
        self.questions.send(what(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    async fn order<R>(&self, what: impl FnOnce(oneshot::Sender<R>) -> Order) -> Result<R, Gone> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(what(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}
