//! The thread that owns the model and the health of targets: it starts the workers, probes the
//! targets, answers the control API, hears the signals, and ends it all.
//!
//! It runs on ordinary tokio and never on a worker's core loop; workers hear of it through their
//! mailboxes only. [`run`] is the life of the process; `actor` is the one task that owns the
//! state, `change` and `upgrade` what is done to it by order, `registry` what it knows of targets,
//! `listeners` which sockets are open, `kept` what outlasts the process, [`handle`] the way to
//! reach it.

mod actor;
pub mod api;
mod certificates;
mod change;
mod flips;
pub mod handle;
mod kept;
mod listeners;
mod logs;
mod looking;
mod measure;
mod news;
pub mod probe;
mod ready;
mod registry;
mod service;
mod start;
mod status;
mod tracer;
pub mod trust;
mod upgrade;
mod workers;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::Loaded;
use crate::mailbox::Draining;
use crate::metrics::Totals;
use crate::model::{ControlApi, Mode, Model};
use crate::net::inherit::{self, Inherited};
use crate::net::ring::Engine;

use actor::{Actor, Due, End, Inputs, Successor};
use certificates::Certificates;
use flips::Flips;
use handle::{Event, Handle};
use kept::Kept;
use listeners::{Listeners, Means};
use logs::Logs;
use news::News;
use probe::Prober;
use registry::Registry;
use service::Service;
use start::Ground;
use tracer::Tracer;
use trust::Trust;
use workers::Pool;

pub use actor::Source;
pub use start::StartError;

/// Probe results that may wait for the actor; beyond it probes wait.
const PROBE_RESULTS_MAX: usize = 1024;

/// Threads for what waits for the disk or computes for long: one for the order under way, one for
/// exports and for freeing what is large, one for a scrape of metrics, one for a minute's,
/// one each for certificates of listeners and of those who vouch for targets that may have changed.
const BLOCKING_THREADS_MAX: usize = 6;

/// Longest wait for the first health of every target, of a process that takes over and of a demo.
const FIRST_HEALTH_MAX: Duration = Duration::from_secs(5);

/// How long client connections without a request stay open where another process goes on. A close
/// could cross a request on its way; one that comes within this time is answered, with
/// `Connection: close`.
const HANDED_OVER_GRACE: Duration = Duration::from_secs(2);

/// A listener as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Name.
    pub name: String,
    /// Mode.
    pub mode: Mode,
    /// Address, with the port that the kernel gave where the model says 0.
    pub address: SocketAddr,
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening {} {} {}", self.name, self.mode, self.address)
    }
}

/// What has been started.
#[derive(Debug, Clone)]
pub struct Started {
    /// Listeners in the order of the model.
    pub listeners: Vec<Listening>,
    /// Number of workers.
    pub workers: usize,
    /// What they run on.
    pub engine: Engine,
}

/// Runs the configuration of `source`, which `loaded` was read from, until something ends it.
/// `started` is called once every worker listens.
///
/// # Errors
/// [`StartError`] when something that is asked for cannot be had; nothing runs then.
pub fn run(
    source: Source,
    loaded: Loaded,
    started: impl FnOnce(&Started),
) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(StartError::Runtime)?;
    let result = runtime.block_on(async {
        let signals = Signals::new().map_err(StartError::Runtime)?;
        let shows_health = source.path.is_none();
        let (mut actor, mut inputs) = start_actor(source, loaded, signals).await?;
        if shows_health {
            actor.wait_for_health(&mut inputs).await;
        }
        let facts = actor.facts();
        started(&facts);
        tracing::info!(workers = facts.workers, driver = facts.engine.driver(), "started");
        let actor = RefCell::new(actor);
        let end = actor::run(&actor, &mut inputs).await;
        let Inputs { inbox, mut signals, .. } = inputs;
        // From now on nobody answers, and those who wait hear so.
        drop(inbox);
        actor.into_inner().stop(end, &mut signals).await;
        Ok(())
    });
    // A disk that hangs does not keep the process from ending.
    runtime.shutdown_background();
    result
}

/// Starts everything.
async fn start_actor(
    source: Source,
    loaded: Loaded,
    signals: Signals,
) -> Result<(Actor, Inputs), StartError> {
    let kept = Kept::open(&source, loaded)?;
    let model = kept.loaded.model;
    let ground = start::survey(&model.server)?;
    let now = Instant::now();
    let mut inherited = Inherited::from_environment();
    let mut listeners = Listeners::new(ground.workers);
    let (logs, certificates, mut trust) = open_files(&model)?;
    let plan = listeners.plan(&model, ground.workers, &mut inherited)?;
    for address in inherited.left() {
        tracing::warn!(%address, "no listener has the address of a socket that was handed over");
    }
    let groups = (&[][..], model.target_groups.as_slice());
    let means = Means { logs: &logs, certificates: &certificates };
    let orders = listeners.carry_out(plan, groups, means, model.server.drain_timeout, now);
    let mut registry = Registry::new(ground.workers);
    // Targets that are new at the start are no news.
    drop(registry.apply(&model, &actor::groups_in_use(&model, std::iter::empty()), now));
    registry.encrypt(&mut trust, now);
    let (handle, inbox) = Handle::new();
    let (results, probes) = mpsc::channel(PROBE_RESULTS_MAX);
    let (takes_over, health_by) = (inherit::has_predecessor(), now + FIRST_HEALTH_MAX);
    let (tracer, spans) = Tracer::start(model.server.spans.clone(), handle.tale());
    let mut actor = Actor {
        news: News::new(handle.clone()),
        source,
        ground,
        started: now,
        generation: 1,
        draining: false,
        model,
        file: Arc::new(kept.file),
        overlay: Arc::new(kept.overlay),
        whole: Arc::new(kept.whole),
        store: kept.store,
        keys: Arc::new(kept.keys),
        registry,
        listeners,
        logs,
        tracer,
        certificates,
        trust,
        workers: Pool::new(Vec::new()),
        prober: Prober::new(results),
        flips: Flips::new(),
        waiting: Vec::new(),
        reweighed: now,
        due: Due::new(now),
        successor: None,
        api: None,
        service: Service::from_environment((!takes_over).then_some(health_by)),
        beat: Arc::default(),
        heir: None,
    };
    let mut sockets = orders.listen;
    if takes_over {
        // The one before serves until we know which targets are healthy.
        actor.successor =
            Some(Successor { sockets: std::mem::take(&mut sockets), listen_by: health_by });
    }
    let workers = start::start(ground, &actor.snapshot(), sockets, &spans).await?;
    actor.workers = Pool::new(workers);
    actor.api = open_api(&actor.model.server.control, handle).await?;
    Ok((actor, Inputs { inbox, probes, signals }))
}

/// Opens what the first model needs.
fn open_files(model: &Model) -> Result<(Logs, Certificates, Trust), StartError> {
    let mut logs = Logs::default();
    logs.add(logs::open(logs.missing(model))?);
    let mut certificates = Certificates::default();
    certificates.add(certificates::open(certificates.missing(model))?);
    let mut trust = Trust::default();
    trust.add(trust::open(trust.missing(model))?);
    Ok((logs, certificates, trust))
}

/// Opens the control API. Where nobody asked for it by name, the process goes on without.
async fn open_api(
    settings: &ControlApi,
    handle: Handle,
) -> Result<Option<api::Servers>, StartError> {
    match api::serve(settings, handle, inherit::control_sockets()).await {
        Ok(servers) => Ok(Some(servers)),
        Err(error) if settings.optional => {
            tracing::warn!("{error}; going on without the control API");
            Ok(None)
        }
        Err(error) => Err(StartError::Control(error.to_string())),
    }
}

/// Tells the process that started this one to hand over that it may end.
fn tell_predecessor() {
    if let Some(ready) = inherit::ready_pipe() {
        // If it has gone, there is nobody to tell.
        let _ = io::PipeWriter::from(ready).write_all(&[1]);
    }
}

impl Actor {
    /// Probes until the health of every target is known, for a demo that should show no surprise:
    /// until then, the first target to be found healthy answers alone.
    async fn wait_for_health(&mut self, inputs: &mut Inputs) {
        self.refresh_probes();
        let known = async {
            while self.registry.has_initial() {
                let Some(result) = inputs.probes.recv().await else { return };
                self.probed(std::iter::once(result));
            }
        };
        // In vain: then the demo begins all the same.
        let _ = tokio::time::timeout(FIRST_HEALTH_MAX, known).await;
    }

    fn facts(&self) -> Started {
        let listeners = self.model.listeners.iter().filter_map(|listener| {
            let (_, view) =
                self.listeners.live().find(|(_, view)| view.settings.name == listener.name)?;
            let address = view.settings.address;
            Some(Listening { name: listener.name.clone(), mode: listener.mode, address })
        });
        let Ground { engine, .. } = self.ground;
        Started { listeners: listeners.collect(), workers: self.workers.len(), engine }
    }

    /// Ends everything: what is in flight may finish, a second signal ends at once.
    async fn stop(mut self, end: End, signals: &mut Signals) {
        let limit = self.model.server.drain_timeout;
        match end {
            End::Drain => {
                tracing::info!(drain_timeout = ?limit, "stopping; a second signal ends at once");
            }
            End::HandedOver => tracing::info!(drain_timeout = ?limit, "handed over; draining"),
        }
        self.news.tell(Event::Stopping { time: actor::seconds() });
        self.news.end().await;
        self.service.stopping(limit);
        self.listeners.close();
        let heir = self.heir.take();
        let hurry = async {
            tokio::select! {
                () = async {
                    loop {
                        match signals.next().await {
                            Heard::Stop => return,
                            Heard::Reload => {}
                            Heard::ReopenLogs => self.logs.reopen(),
                        }
                    }
                } => {}
                () = upgrade::fails(heir) => {}
            }
        };
        // A service manager that keeps the sockets open will pass them to the next process.
        let grace = match end {
            End::Drain if !inherit::is_activated() => Duration::ZERO,
            End::Drain | End::HandedOver => HANDED_OVER_GRACE.min(limit / 2),
        };
        let drained = self.workers.stop(Draining { limit, grace }, hurry);
        let totals = match (end, self.api) {
            // The successor answers at the same doors.
            (End::HandedOver, Some(api)) => tokio::join!(drained, api.leave()).0,
            (End::Drain, Some(api)) => {
                let totals = drained.await;
                api.close().await;
                totals
            }
            (_, None) => drained.await,
        };
        tokio::join!(self.logs.close(), self.tracer.close());
        let Totals { connections, requests, own_responses, retries, panics, .. } = totals;
        tracing::info!(connections, requests, own_responses, retries, panics, "stopped");
    }
}

/// What a signal asks for.
enum Heard {
    Stop,
    Reload,
    ReopenLogs,
}

/// The signals that mean something to us.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::Stop,
            _ = self.interrupt.recv() => Heard::Stop,
            _ = self.hangup.recv() => Heard::Reload,
            _ = self.user1.recv() => Heard::ReopenLogs,
        }
    }
}
