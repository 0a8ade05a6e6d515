//! The one task that owns the model, the health of targets and what is kept of both. Everything
//! else asks it through a [`Handle`]; what it decides, it publishes to the workers.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};

use crate::config::{Failure, Loaded};
use crate::health::Transition;
use crate::metrics::Counter;
use crate::model::{Action, Listener, Model, Server};
use crate::net::inherit::Inherited;
use crate::overlay::store::Store;
use crate::overlay::{Change, Keyed, Overlay, Refusal};
use crate::snapshot::Snapshot;
use crate::stickiness::Keys;

use super::api::Servers;
use super::handle::{ChangeError, Changed, Command, Effective, Event, Handle};
use super::listeners::{Listeners, Placed};
use super::logs::Logs;
use super::probe::{ProbeResult, Prober};
use super::registry::Registry;
use super::service::Service;
use super::start::Ground;
use super::workers::Pool;

/// How often time-driven things are looked at: draining, leases, ejections, slow starts.
const TICK: Duration = Duration::from_millis(100);

/// What there is to know of the process and to decide for it.
pub(super) struct Actor {
    pub(super) handle: Handle,
    pub(super) source: Source,
    pub(super) ground: Ground,
    pub(super) started: Instant,
    pub(super) generation: u64,
    pub(super) draining: bool,
    pub(super) model: Model,
    pub(super) file: Keyed,
    pub(super) overlay: Overlay,
    pub(super) store: Option<Store>,
    pub(super) keys: Arc<Keys>,
    pub(super) registry: Registry,
    pub(super) listeners: Listeners,
    pub(super) logs: Logs,
    pub(super) workers: Pool,
    pub(super) prober: Prober,
    /// Who waits until targets have nothing in flight.
    pub(super) waiting: Vec<Waiting>,
    pub(super) reweighed: Instant,
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
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) probes: mpsc::Receiver<ProbeResult>,
    pub(super) signals: super::Signals,
}

impl Actor {
    /// Serves until something ends it.
    pub(super) async fn run(&mut self, inputs: &mut Inputs) -> End {
        self.refresh_probes();
        self.service.watch(self.workers.beats(), self.beat.clone());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(command) = inputs.commands.recv() => {
                    if let Some(end) = self.obey(command).await {
                        return end;
                    }
                }
                Some(result) = inputs.probes.recv() => self.probed(&result),
                _ = tick.tick() => self.tick().await,
                signal = inputs.signals.next() => match signal {
                    super::Heard::Reload => drop(self.reload().await),
                    super::Heard::ReopenLogs => self.logs.reopen(),
                    super::Heard::Stop => return End::Drain,
                },
            }
        }
    }

    /// Does what is asked; some orders end the actor.
    async fn obey(&mut self, command: Command) -> Option<End> {
        // Whoever asked may have gone: then nobody hears the answer.
        match command {
            Command::Status(reply) => drop(reply.send(self.status().await)),
            Command::Export(reply) => drop(reply.send(self.overlay.over(&self.file).to_toml())),
            Command::Effective(reply) => {
                let config = self.overlay.over(&self.file).value().clone();
                drop(reply.send(Effective { generation: self.generation, config }));
            }
            Command::ChangeAt(generation, change, reply) => {
                let result = match generation == self.generation {
                    true => self.change(&change).await,
                    false => Err(ChangeError::Stale(self.generation)),
                };
                drop(reply.send(result));
            }
            Command::Reload(reply) => drop(reply.send(self.reload().await)),
            Command::RotateKeys(reply) => drop(reply.send(self.rotate_keys().await)),
            Command::Drained(group, targets, reply) => {
                self.waiting.push(Waiting { group, targets, reply });
                self.answer_waiting();
            }
            Command::Drain(reply) => {
                let _ = reply.send(());
                return Some(End::Drain);
            }
            Command::Upgrade(reply) => {
                let upgraded = self.upgrade().await;
                let handed_over = upgraded.is_ok();
                drop(reply.send(upgraded));
                return handed_over.then_some(End::HandedOver);
            }
        }
        None
    }

    /// Carries out a change of the control API: checks it, makes it last, puts it in force.
    async fn change(&mut self, change: &Change) -> Result<Changed, ChangeError> {
        let accepted = self.overlay.accept(&self.file, change).map_err(refused);
        let result = match accepted {
            Ok(accepted) => self.put_in_force(accepted.overlay, None, accepted.loaded).await,
            Err(error) => Err(error),
        };
        self.announce("api", &result);
        result
    }

    /// Reads the operator's file again.
    async fn reload(&mut self) -> Result<Changed, ChangeError> {
        self.service.reloading();
        let result = self.try_reload().await;
        self.service.reloaded(result.is_ok());
        self.announce("file", &result);
        result
    }

    async fn try_reload(&mut self) -> Result<Changed, ChangeError> {
        let Some(path) = &self.source.path else {
            return Err(ChangeError::Failed("there is no configuration file to read".into()));
        };
        let loaded = crate::config::load_with_text(path);
        let (text, loaded) = loaded.map_err(|failure| ChangeError::Invalid(failure.errors))?;
        let file = Keyed::parse(&text).map_err(|error| ChangeError::Failed(error.to_string()))?;
        let mut overlay = self.overlay.clone();
        let void = overlay.reconcile(&file);
        for warning in &void {
            tracing::warn!("{warning}");
        }
        let whole = match overlay.is_empty() {
            true => loaded,
            false => overlay
                .load(&file)
                .map_err(|Failure { errors, .. }| ChangeError::Invalid(errors))?,
        };
        self.put_in_force(overlay, Some((file, text)), whole).await
    }

    /// Puts a configuration in force: opens what it needs, makes it last, publishes it.
    async fn put_in_force(
        &mut self,
        overlay: Overlay,
        file: Option<(Keyed, String)>,
        loaded: Loaded,
    ) -> Result<Changed, ChangeError> {
        self.logs.open(&loaded.model).map_err(|error| ChangeError::Failed(error.to_string()))?;
        let workers = self.workers.len();
        let plan = self.listeners.plan(&loaded.model, workers, &mut Inherited::default());
        let plan = plan.map_err(|error| ChangeError::Unavailable(error.to_string()))?;
        if overlay != self.overlay {
            self.keep(&overlay).await?;
        }
        self.overlay = overlay;
        if let Some((file, text)) = file {
            (self.file, self.source.text) = (file, text);
        }
        let before = std::mem::replace(&mut self.model, loaded.model);
        self.generation += 1;
        let now = Instant::now();
        let linger = self.model.server.drain_timeout;
        let groups = (before.target_groups.as_slice(), self.model.target_groups.as_slice());
        let orders = self.listeners.carry_out(plan, groups, &self.logs, linger, now);
        self.logs.forget_unused(&self.listeners.views());
        self.register(now);
        self.workers.adopt(&self.snapshot()).await;
        if self.registry.keep_away() {
            // Once more, for connections that were put into a pool meanwhile.
            self.workers.adopt(&self.snapshot()).await;
        }
        self.workers.listen(orders.listen);
        for id in orders.unlisten {
            self.workers.unlisten(id).await;
        }
        self.refresh_probes();
        self.answer_waiting();
        let mut warnings: Vec<_> =
            loaded.warnings.iter().map(|warning| warning.problem.clone()).collect();
        warnings.extend(self.waits_for_restart(before.server));
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Ok(Changed { generation: self.generation, warnings })
    }

    /// Brings the registry up to the model.
    fn register(&mut self, now: Instant) {
        let in_use = groups_in_use(&self.model, self.listeners.lingering());
        let changes = self.registry.apply(&self.model, &in_use, now);
        for change in changes {
            self.tell_health(&change.group, change.target, change.transition);
        }
    }

    /// What of `[server]` is only acted on by the next process.
    fn waits_for_restart(&mut self, before: Server) -> Vec<String> {
        let after = &mut self.model.server;
        let differs = [
            ("workers", after.workers != before.workers),
            ("driver", after.driver != before.driver),
            ("state_dir", after.state_dir != before.state_dir),
            ("control", after.control != before.control),
        ];
        // What runs is what the process goes on with.
        after.state_dir = before.state_dir;
        let differs = differs.into_iter().filter(|(_, differs)| *differs);
        let say = |(key, _)| format!("`server.{key}` takes effect with `ringway upgrade`");
        differs.map(say).collect()
    }

    /// Makes the changes last. The write waits for the disk, so it is done elsewhere.
    async fn keep(&mut self, overlay: &Overlay) -> Result<(), ChangeError> {
        let Some(store) = self.store.take() else { return Ok(()) };
        let overlay = overlay.clone();
        let written = tokio::task::spawn_blocking(move || {
            let result = store.save(&overlay);
            (store, result)
        });
        let lost = |_| ChangeError::Failed("the writer of changes.json has panicked".into());
        let (store, result) = written.await.map_err(lost)?;
        self.store = Some(store);
        result.map_err(|error| ChangeError::Failed(error.to_string()))
    }

    async fn rotate_keys(&mut self) -> Result<(), ChangeError> {
        let rotated = match &self.model.server.state_dir {
            Some(dir) => crate::stickiness::keys::rotate(dir),
            None => crate::stickiness::keys::rotate_in_memory(&self.keys),
        };
        let keys = rotated.map_err(|error| ChangeError::Failed(error.to_string()))?;
        self.keys = Arc::new(keys);
        self.workers.adopt(&self.snapshot()).await;
        tracing::info!("stickiness cookies are sealed with a new key");
        Ok(())
    }

    pub(super) fn probed(&mut self, result: &ProbeResult) {
        if !self.prober.is_current(result) {
            return;
        }
        let now = Instant::now();
        if let Some(transition) = self.registry.probed(&result.key, result.outcome, now) {
            self.publish();
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
    async fn tick(&mut self) {
        let now = Instant::now();
        self.take_over(now);
        self.tell_service(now);
        let over = self.listeners.forget(now);
        let mut changed = !over.is_empty();
        if changed {
            self.register(now);
            self.refresh_probes();
        }
        if now.duration_since(self.reweighed) >= crate::health::anomaly::WINDOW {
            self.reweighed = now;
            changed |= self.registry.reweigh(now);
        }
        let elapsed = self.registry.elapsed(now);
        if changed || elapsed.changed {
            self.publish();
        }
        self.workers.close_idle(&over);
        if !elapsed.gone.is_empty() {
            let ids: Vec<_> = elapsed.gone.iter().map(|&(_, _, id)| id).collect();
            self.workers.cut(&ids);
            for (group, target, _) in elapsed.gone {
                tracing::info!(target_group = %group, %target, "drained");
                let (target_group, target) = (group.to_string(), target.to_string());
                self.handle.tell(Event::Drained { time: seconds(), target_group, target });
            }
            self.refresh_probes();
        }
        self.answer_waiting();
        self.end_leases().await;
    }

    /// Deregisters targets whose lease is over.
    async fn end_leases(&mut self) {
        let expired = self.overlay.expired(seconds());
        for (group, target) in expired {
            tracing::warn!(target_group = %group, %target, "the lease of the registration is over");
            let change = Change::deregister(&group, &[target]);
            if let Err(error) = self.change(&change).await {
                tracing::error!(?error, "cannot end the registration");
            }
        }
    }

    /// Mails the picture to the workers without waiting for them.
    fn publish(&self) {
        drop(self.workers.adopt(&self.snapshot()));
    }

    /// The picture as of now.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            listeners: self.listeners.views(),
            groups: self.registry.views(&self.model),
            keys: self.keys.clone(),
        })
    }

    pub(super) fn refresh_probes(&mut self) {
        self.prober.set(self.registry.probes());
        self.registry.probing_began();
    }

    fn answer_waiting(&mut self) {
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

    fn tell_health(&self, group: &str, target: SocketAddr, transition: Transition) {
        let Transition { from, to, reason, .. } = transition;
        let code = reason.map(|reason| reason.code());
        tracing::info!(target_group = group, %target, %from, %to, reason = code, "target health");
        self.handle.tell(Event::Health {
            time: seconds(),
            target_group: group.into(),
            target: target.to_string(),
            from: from.to_string(),
            to: to.to_string(),
            reason: code.map(Into::into),
            description: reason.map(|reason| reason.description().into_owned()),
        });
    }

    fn announce(&self, by: &str, result: &Result<Changed, ChangeError>) {
        let (time, by) = (seconds(), by.to_owned());
        self.handle.tell(match result {
            Ok(changed) => {
                let generation = changed.generation;
                tracing::info!(generation, by, "configuration in force");
                Event::Configured { time, generation, by }
            }
            Err(error) => {
                let problems = error.problems();
                tracing::warn!(by, ?problems, "change refused; the configuration stays");
                Event::Refused { time, by, problems }
            }
        });
    }
}

fn refused(refusal: Refusal) -> ChangeError {
    match refusal {
        Refusal::Missing(path) => ChangeError::Missing(path),
        Refusal::Invalid(failure) => ChangeError::Invalid(failure.errors),
    }
}

/// The groups that something forwards to. Rules of an L4 listener count: connections that began
/// while it was an L7 one still use them. So do connections of listeners that are going.
pub(super) fn groups_in_use<'m>(
    model: &'m Model,
    going: impl Iterator<Item = &'m Listener>,
) -> HashSet<&'m str> {
    let actions = model.listeners.iter().chain(going).flat_map(|listener| {
        listener.rules.iter().map(|rule| &rule.action).chain([&listener.default])
    });
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
