//! The one task that owns the model, the health of targets and what is kept of both. Everything
//! else asks it through a [`Handle`](super::handle::Handle); what it decides, it publishes to the
//! workers.
//!
//! Nothing that waits is in its way: of all orders one is under way (`change`, `upgrade`), and
//! while that waits for the disk, for workers or for a new process, the loop goes on with probe
//! results, with what time brings, and with questions. So the actor is in a [`RefCell`], which
//! neither of the two holds across a wait. Start with [`run`].

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::health::Transition;
use crate::metrics::Counter;
use crate::model::{Action, Listener, Model, SpanExport};
use crate::overlay::store::Store;
use crate::overlay::{Keyed, Overlay};
use crate::snapshot::Snapshot;
use crate::span::Sampling;
use crate::stickiness::Keys;

use super::api::Servers;
use super::certificates::Certificates;
use super::change;
use super::flips::Flips;
use super::handle::{Effective, Event, Inbox, Order, Question};
use super::listeners::{Listeners, Placed};
use super::logs::Logs;
use super::news::News;
use super::probe::{ProbeResult, Prober};
use super::registry::{self, Registry};
use super::service::Service;
use super::start::Ground;
use super::tracer::Tracer;
use super::trust::Trust;
use super::workers::Pool;

/// How often time-driven things are looked at: draining, leases, ejections, slow starts.
const TICK: Duration = Duration::from_millis(100);
/// Most probe results that one snapshot brings to the workers.
const PROBES_AT_ONCE_MAX: usize = 256;
/// How long a stop waits for the order under way. One that takes longer is given up: whoever
/// gave it hears that the process ends.
const ORDER_GRACE: Duration = Duration::from_secs(1);

/// What there is to know of the process and to decide for it.
pub(super) struct Actor {
    pub(super) news: News,
    pub(super) source: Source,
    pub(super) ground: Ground,
    pub(super) started: Instant,
    pub(super) generation: u64,
    pub(super) draining: bool,
    pub(super) model: Model,
    pub(super) file: Arc<Keyed>,
    /// What was changed over the file.
    pub(super) overlay: Arc<Overlay>,
    /// Both in one, keyed: the effective configuration.
    pub(super) whole: Arc<Value>,
    /// The right to write to the state directory; elsewhere while that is done.
    pub(super) store: Option<Store>,
    pub(super) keys: Arc<Keys>,
    pub(super) registry: Registry,
    pub(super) listeners: Listeners,
    pub(super) logs: Logs,
    pub(super) tracer: Tracer,
    pub(super) certificates: Certificates,
    pub(super) trust: Trust,
    pub(super) workers: Pool,
    pub(super) prober: Prober,
    pub(super) flips: Flips,
    /// Who waits until targets have nothing in flight.
    pub(super) waiting: Vec<Waiting>,
    pub(super) reweighed: Instant,
    pub(super) due: Due,
    /// What a process that takes over has still to do.
    pub(super) successor: Option<Successor>,
    /// The doors of the control API, where it has any.
    pub(super) api: Option<Servers>,
    /// The service manager, and what it has been told.
    pub(super) service: Service,
    /// Counts on at each tick, for the watchdog.
    pub(super) beat: Arc<Counter>,
    /// The process that has taken over: tells when it has failed.
    pub(super) heir: Option<oneshot::Receiver<()>>,
}

/// Orders that nobody gives through a handle; carried out before any other.
pub(super) struct Due {
    /// The operator's file is to be read again.
    reload: bool,
    /// Leases are over.
    leases: bool,
    /// Leases are not looked at before: they could not be ended.
    pub(super) leases_from: Instant,
}

/// What a process that takes over has still to do: listen, once it knows the health of targets.
pub(super) struct Successor {
    pub(super) sockets: Vec<Placed>,
    pub(super) listen_by: Instant,
}

/// Where the operator's configuration comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file to read again on reload; `None`: the text is all there is.
    pub path: Option<PathBuf>,
    /// Its text as it was read.
    pub text: String,
    /// Path of the program, for an upgrade: by then its file may be another one.
    pub program: PathBuf,
}

/// Someone who waits until targets have nothing in flight.
pub(super) struct Waiting {
    group: String,
    targets: Vec<SocketAddr>,
    reply: oneshot::Sender<()>,
}

/// Why the actor ends.
pub(super) enum End {
    /// A signal or an order to drain.
    Drain,
    /// A new process has taken over.
    HandedOver,
}

/// What the actor waits for besides the passing of time.
pub(super) struct Inputs {
    pub(super) inbox: Inbox,
    pub(super) probes: mpsc::Receiver<ProbeResult>,
    pub(super) signals: super::Signals,
}

/// The order under way, if there is one.
type UnderWay<'a> = Option<Pin<Box<dyn Future<Output = Option<End>> + 'a>>>;

/// Serves until something ends it.
pub(super) async fn run(actor: &RefCell<Actor>, inputs: &mut Inputs) -> End {
    {
        let actor = &mut *actor.borrow_mut();
        actor.refresh_probes();
        actor.service.watch(actor.workers.beats(), actor.beat.clone());
    }
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut results = Vec::with_capacity(PROBES_AT_ONCE_MAX);
    let mut under_way: UnderWay<'_> = None;
    loop {
        if under_way.is_none() {
            let due = actor.borrow_mut().due.next();
            under_way = due.map(|order| Box::pin(change::carry_out(actor, order)) as _);
        }
        let is_free = under_way.is_none();
        tokio::select! {
            // The health of targets before all else.
            biased;
            1.. = inputs.probes.recv_many(&mut results, PROBES_AT_ONCE_MAX) => {
                actor.borrow_mut().probed(results.drain(..));
            }
            _ = tick.tick() => actor.borrow_mut().tick(),
            signal = inputs.signals.next() => match signal {
                super::Heard::Reload => actor.borrow_mut().due.reload = true,
                super::Heard::ReopenLogs => actor.borrow().logs.reopen(),
                super::Heard::Stop => return finish(under_way).await,
            },
            end = end_of(&mut under_way) => {
                under_way = None;
                if let Some(end) = end {
                    return end;
                }
            }
            Some(question) = inputs.inbox.questions.recv() => {
                let ends = actor.borrow_mut().answer(question);
                if ends {
                    return finish(under_way).await;
                }
            }
            Some(order) = inputs.inbox.orders.recv(), if is_free => {
                under_way = Some(Box::pin(change::carry_out(actor, order)));
            }
        }
    }
}

/// Waits for the end of the order under way; for ever if there is none.
async fn end_of(under_way: &mut UnderWay<'_>) -> Option<End> {
    match under_way {
        Some(order) => order.await,
        None => std::future::pending().await,
    }
}

/// Lets the order under way come to its end before a stop, if that is soon.
async fn finish(mut under_way: UnderWay<'_>) -> End {
    if under_way.is_none() {
        return End::Drain;
    }
    let ended = tokio::time::timeout(ORDER_GRACE, end_of(&mut under_way)).await;
    ended.ok().flatten().unwrap_or(End::Drain)
}

impl Due {
    pub(super) fn new(now: Instant) -> Self {
        Self { reload: false, leases: false, leases_from: now }
    }

    fn next(&mut self) -> Option<Order> {
        if std::mem::take(&mut self.reload) {
            // The log says what came of it; nobody waits for an answer.
            return Some(Order::Reload(oneshot::channel().0));
        }
        std::mem::take(&mut self.leases).then_some(Order::EndLeases)
    }
}

impl Actor {
    /// Answers; whether the process is to end.
    fn answer(&mut self, question: Question) -> bool {
        // Whoever asked may have gone: then nobody hears the answer.
        match question {
            Question::Status(reply) => {
                let status = self.status();
                tokio::spawn(async move { reply.send(status.await) });
            }
            Question::Targets(group, reply) => drop(reply.send(self.targets(&group))),
            Question::Measure(reply) => drop(reply.send(self.measure())),
            Question::Ready(reply) => self.answer_ready(reply),
            Question::Effective(reply) => {
                let (generation, config) = (self.generation, self.whole.clone());
                drop(reply.send(Effective { generation, config }));
            }
            Question::Export(reply) => {
                let (file, overlay) = (self.file.clone(), self.overlay.clone());
                let write = move || reply.send(overlay.over(&file).to_toml());
                drop(change::elsewhere(write));
            }
            Question::Drained(group, targets, reply) => {
                self.waiting.push(Waiting { group, targets, reply });
                self.answer_waiting();
            }
            Question::Drain(reply) => {
                let _ = reply.send(());
                return true;
            }
        }
        false
    }

    /// Takes in what probes say; what they change goes to the workers in one snapshot.
    pub(super) fn probed(&mut self, results: impl Iterator<Item = ProbeResult>) {
        let now = Instant::now();
        let mut flips = Vec::new();
        for result in results.filter(|result| self.prober.is_current(result)) {
            if let Some(transition) = self.registry.probed(&result.key, result.outcome, now) {
                flips.push((result, transition));
            }
        }
        let Some(decided) = flips.iter().map(|(result, _)| result.at).min() else { return };
        self.flips.follow(decided, self.publish());
        for (result, transition) in flips {
            self.tell_health(&result.key.group, result.key.target, transition);
        }
    }

    /// Takes connections from the predecessor's sockets once the health of the targets is known,
    /// and tells it that it may end.
    fn take_over(&mut self, now: Instant) {
        let due =
            |successor: &mut Successor| now >= successor.listen_by || !self.registry.has_initial();
        if let Some(successor) = self.successor.take_if(due) {
            self.workers.listen(successor.sockets);
            super::tell_predecessor();
            self.service.took_over(now, &self.serves());
        }
    }

    /// Does what time brings.
    fn tick(&mut self) {
        let now = Instant::now();
        self.take_over(now);
        self.tell_service(now);
        self.logs.sweep();
        let over = self.listeners.forget(now);
        let mut changed = !over.is_empty();
        if changed {
            let turned = self.register(now);
            self.tell_changes(&turned);
            self.refresh_probes();
        }
        if now.duration_since(self.reweighed) >= crate::health::anomaly::WINDOW {
            self.reweighed = now;
            changed |= self.registry.reweigh(now);
        }
        changed |= self.look_at_certificates(now);
        if self.look_at_trust(now) {
            changed = true;
            self.refresh_probes();
        }
        let elapsed = self.registry.elapsed(now);
        if changed || elapsed.changed {
            drop(self.publish());
        }
        self.workers.close_idle(&over);
        if !elapsed.gone.is_empty() {
            let ids: Vec<_> = elapsed.gone.iter().map(|&(_, _, id)| id).collect();
            self.workers.cut(&ids);
            for (group, target, _) in elapsed.gone {
                let (target_group, target) = (group.to_string(), target.to_string());
                self.news.tell(Event::Drained { time: seconds(), target_group, target });
            }
            self.refresh_probes();
        }
        self.answer_waiting();
        self.due.leases =
            now >= self.due.leases_from && !self.overlay.expired(seconds()).is_empty();
    }

    /// Brings the registry up to the model; which targets have another state then. Nobody has
    /// been told.
    pub(super) fn register(&mut self, now: Instant) -> Vec<registry::Change> {
        let in_use = groups_in_use(&self.model, self.listeners.lingering());
        let turned = self.registry.apply(&self.model, &in_use, now);
        self.registry.encrypt(&mut self.trust, now);
        self.trust.forget_unused(&self.model);
        turned
    }

    /// Mails the picture to the workers; what it returns resolves once they act on it, to whether
    /// all said so. Mailed it is in any case.
    pub(super) fn publish(&self) -> impl Future<Output = bool> + Send + use<> {
        self.workers.adopt(&self.snapshot())
    }

    /// The picture as of now.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            listeners: self.listeners.views(),
            groups: self.registry.views(&self.model),
            keys: self.keys.clone(),
            sampling: self.model.server.spans.as_ref().map(sampling),
        })
    }

    pub(super) fn refresh_probes(&mut self) {
        self.prober.set(self.registry.probes());
        self.registry.probing_began();
    }

    pub(super) fn answer_waiting(&mut self) {
        let registry = &self.registry;
        let in_flight = |waiting: &Waiting| {
            // Who asked may have gone: then there is nobody to wait for.
            if waiting.reply.is_closed() {
                return false;
            }
            let Some(group) = registry.group(&waiting.group) else { return false };
            let entries = waiting.targets.iter().filter_map(|target| group.targets.get(target));
            entries.into_iter().any(|entry| entry.load.in_flight() > 0)
        };
        let (still, done): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(in_flight);
        self.waiting = still;
        for waiting in done {
            let _ = waiting.reply.send(());
        }
    }

    pub(super) fn tell_changes(&self, changes: &[registry::Change]) {
        for change in changes {
            self.tell_health(&change.group, change.target, change.transition);
        }
    }

    fn tell_health(&self, group: &str, target: SocketAddr, transition: Transition) {
        let Transition { from, to, reason, .. } = transition;
        self.news.tell(Event::Health {
            time: seconds(),
            target_group: group.into(),
            target: target.to_string(),
            from: from.to_string(),
            to: to.to_string(),
            reason: reason.map(|reason| reason.code().into()),
            description: reason.map(|reason| reason.description().into_owned()),
        });
    }
}

/// Which requests are told.
fn sampling(settings: &SpanExport) -> Sampling {
    Sampling::one_in(settings.sample_one_in)
}

/// The groups that something forwards to. Rules of an L4 listener count: connections that began
/// while it was an L7 one still use them. So do connections of listeners that are going.
pub(super) fn groups_in_use<'m>(
    model: &'m Model,
    going: impl Iterator<Item = &'m Listener>,
) -> HashSet<&'m str> {
    let actions = model.listeners.iter().chain(going).flat_map(Listener::actions);
    let forwards = actions.filter_map(|action| match action {
        Action::Forward(forward) => Some(forward),
        Action::Redirect(_) | Action::FixedResponse(_) => None,
    });
    let groups = forwards.flat_map(|forward| &forward.groups);
    groups.map(|(index, _)| model.target_groups[index.0 as usize].name.as_str()).collect()
}

/// Seconds since 1970.
pub(super) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
