//! Changes, one at a time: checked, made to last, put in force, acknowledged, answered.
//!
//! Each is read from top to bottom here, and waits where it must. Meanwhile the actor goes on
//! with everything else, so nothing holds a borrow of it across a wait; what computes for long or
//! touches the disk is done on other threads. No two changes are under way at once. Start with
//! [`carry_out`].

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::{JoinHandle, yield_now};

use crate::config::Loaded;
use crate::model::Server;
use crate::net::inherit::Inherited;
use crate::net::limits;
use crate::overlay::{Change, Keyed, Overlay, Refusal};
use crate::snapshot::Load;
use crate::stickiness::keys;

use super::actor::{Actor, End, seconds};
use super::handle::{ChangeError, Changed, Event, Order};
use super::kept;
use super::listeners::{Means, Orders, Plan};
use super::{certificates, logs, registry, trust, upgrade};

/// How long leases that could not be ended are left alone.
const LEASES_REST: Duration = Duration::from_secs(5);

/// Carries out one order and answers whoever gave it; some end the actor.
pub(super) async fn carry_out(actor: &RefCell<Actor>, order: Order) -> Option<End> {
    // Whoever gave it may have gone: then nobody hears the answer.
    match order {
        Order::Change(generation, wanted, reply) => {
            let now = actor.borrow().generation;
            let result = match generation == now {
                true => change(actor, wanted).await,
                false => Err(ChangeError::Stale(now)),
            };
            drop(reply.send(result));
        }
        Order::Reload(reply) => drop(reply.send(reload(actor).await)),
        Order::EndLeases => end_leases(actor).await,
        Order::RotateKeys(reply) => drop(reply.send(rotate_keys(actor).await)),
        Order::Upgrade(reply) => {
            let upgraded = upgrade::upgrade(actor).await;
            let handed_over = upgraded.is_ok();
            drop(reply.send(upgraded));
            return handed_over.then_some(End::HandedOver);
        }
    }
    None
}

/// A configuration that was checked, and may be put in force.
struct Candidate {
    /// The operator's file and its text, if they were read anew.
    file: Option<(Keyed, String)>,
    overlay: Overlay,
    /// The file with the overlay, keyed.
    whole: Value,
    loaded: Loaded,
}

impl Candidate {
    /// `change` on top of what is in force.
    fn of_change(file: &Keyed, overlay: &Overlay, change: &Change) -> Result<Self, ChangeError> {
        let accepted = overlay.accept(file, change).map_err(refused)?;
        let whole = accepted.overlay.over(file).value().clone();
        Ok(Self { file: None, overlay: accepted.overlay, whole, loaded: accepted.loaded })
    }

    /// The file at `path` as it is now, under what of the overlay still fits it.
    fn of_file(path: &std::path::Path, overlay: &Overlay) -> Result<Self, ChangeError> {
        let (text, loaded) = crate::config::load_with_text(path).map_err(invalid)?;
        let file = Keyed::parse(&text).map_err(|error| ChangeError::Failed(error.to_string()))?;
        let mut overlay = overlay.clone();
        for warning in overlay.reconcile(&file) {
            tracing::warn!("{warning}");
        }
        let loaded = match overlay.is_empty() {
            true => loaded,
            false => overlay.load(&file).map_err(invalid)?,
        };
        let whole = overlay.over(&file).value().clone();
        Ok(Self { file: Some((file, text)), overlay, whole, loaded })
    }
}

fn refused(refusal: Refusal) -> ChangeError {
    match refusal {
        Refusal::Missing(path) => ChangeError::Missing(path),
        Refusal::Invalid(failure) => invalid(failure),
    }
}

fn invalid(failure: crate::config::Failure) -> ChangeError {
    ChangeError::Invalid(failure.errors)
}

/// Carries out a change of the control API.
async fn change(actor: &RefCell<Actor>, change: Change) -> Result<Changed, ChangeError> {
    let (file, overlay) = actor.borrow().configured();
    let checked = blocking(move || Candidate::of_change(&file, &overlay, &change));
    let checked = checked.await.flatten();
    conclude(actor, "api", checked).await
}

/// Reads the operator's file again.
async fn reload(actor: &RefCell<Actor>) -> Result<Changed, ChangeError> {
    actor.borrow_mut().service.reloading();
    let path = actor.borrow().source.path.clone();
    let (_, overlay) = actor.borrow().configured();
    let checked = match path {
        Some(path) => blocking(move || Candidate::of_file(&path, &overlay)).await.flatten(),
        None => Err(ChangeError::Failed("there is no configuration file to read".into())),
    };
    let result = conclude(actor, "file", checked).await;
    actor.borrow_mut().service.reloaded(result.is_ok());
    result
}

/// Deregisters targets whose lease is over.
async fn end_leases(actor: &RefCell<Actor>) {
    let overlay = actor.borrow().overlay.clone();
    let now = seconds();
    for (group, target) in overlay.expired(now) {
        tracing::warn!(target_group = %group, %target, "the lease of the registration is over");
    }
    if let Err(error) = change(actor, overlay.end_leases(now)).await {
        tracing::error!(?error, "cannot end the registrations; trying again");
        actor.borrow_mut().due.leases_from = Instant::now() + LEASES_REST;
    }
}

/// Puts in force what was found good, and tells what came of it.
async fn conclude(
    actor: &RefCell<Actor>,
    by: &str,
    checked: Result<Candidate, ChangeError>,
) -> Result<Changed, ChangeError> {
    let result = match checked {
        Ok(candidate) => put_in_force(actor, candidate).await,
        Err(error) => Err(error),
    };
    actor.borrow().announce(by, &result);
    result
}

/// Puts a configuration in force: opens what it needs, makes it last, publishes it.
///
/// With thousands of targets each of the last steps takes milliseconds, so probe results may come
/// in between.
async fn put_in_force(
    actor: &RefCell<Actor>,
    candidate: Candidate,
) -> Result<Changed, ChangeError> {
    let Candidate { file, overlay, whole, loaded } = candidate;
    open_logs(actor, &loaded).await?;
    open_certificates(actor, &loaded).await?;
    open_trust(actor, &loaded).await?;
    let plan = actor.borrow().plan(&loaded)?;
    let overlay = Arc::new(overlay);
    let is_news = actor.borrow().overlay != overlay;
    if is_news {
        kept::save(actor, &overlay).await?;
    }
    actor.borrow_mut().take(file, overlay, whole);
    let Entered { orders, warnings, turned } = actor.borrow_mut().enter(loaded, plan);
    let leaving = actor.borrow().registry.leaving();
    let adopted = actor.borrow().publish();
    actor.borrow().tell_changes(&turned);
    yield_now().await;
    actor.borrow_mut().refresh_probes();
    adopted.await;
    keep_away(actor, &leaving).await;
    let unlistened = actor.borrow_mut().follow(orders);
    for unlistened in unlistened {
        unlistened.await;
    }
    actor.borrow_mut().answer_waiting();
    let generation = actor.borrow().generation;
    Ok(Changed { generation, warnings })
}

/// Opens the access logs that `loaded` needs. What is not used in the end is let go by the next
/// change.
async fn open_logs(actor: &RefCell<Actor>, loaded: &Loaded) -> Result<(), ChangeError> {
    let missing = actor.borrow().logs.missing(&loaded.model);
    if !missing.is_empty() {
        let opened = blocking(move || logs::open(missing)).await?;
        let opened = opened.map_err(|error| ChangeError::Unavailable(error.to_string()))?;
        actor.borrow_mut().logs.add(opened);
    }
    Ok(())
}

/// Reads the certificates that `loaded` needs, in the same way.
async fn open_certificates(actor: &RefCell<Actor>, loaded: &Loaded) -> Result<(), ChangeError> {
    let missing = actor.borrow().certificates.missing(&loaded.model);
    if !missing.is_empty() {
        let opened = blocking(move || certificates::open(missing)).await?;
        let opened = opened.map_err(|error| ChangeError::Unavailable(error.to_string()))?;
        actor.borrow_mut().certificates.add(opened);
    }
    Ok(())
}

/// Reads who vouches for the targets of `loaded`, in the same way.
async fn open_trust(actor: &RefCell<Actor>, loaded: &Loaded) -> Result<(), ChangeError> {
    let missing = actor.borrow().trust.missing(&loaded.model);
    if !missing.is_empty() {
        let opened = blocking(move || trust::open(missing)).await?;
        let opened = opened.map_err(|error| ChangeError::Unavailable(error.to_string()))?;
        actor.borrow_mut().trust.add(opened);
    }
    Ok(())
}

/// A configuration that the registry and the listeners are up to.
struct Entered {
    /// What workers are to be told once they act on it.
    orders: Orders,
    /// What is doubtful.
    warnings: Vec<String>,
    /// Targets whose state it changed; nobody has been told.
    turned: Vec<registry::Change>,
}

/// Keeps new requests away from targets that drain, whatever the snapshot that they act on.
async fn keep_away(actor: &RefCell<Actor>, leaving: &[Arc<Load>]) {
    leaving.iter().for_each(|load| load.set_draining(true));
    if !leaving.is_empty() {
        // Once more, for connections that were put into a pool meanwhile.
        let adopted = actor.borrow().publish();
        adopted.await;
    }
}

async fn rotate_keys(actor: &RefCell<Actor>) -> Result<(), ChangeError> {
    let dir = actor.borrow().model.server.state_dir.clone();
    let rotated = match dir {
        Some(dir) => blocking(move || keys::rotate(&dir)).await?,
        None => keys::rotate_in_memory(&actor.borrow().keys),
    };
    let keys = rotated.map_err(|error| ChangeError::Failed(error.to_string()))?;
    actor.borrow_mut().keys = Arc::new(keys);
    let adopted = actor.borrow().publish();
    adopted.await;
    tracing::info!("stickiness cookies are sealed with a new key");
    Ok(())
}

/// Does on another thread what waits for the disk, or computes for longer than a health flip may
/// wait. Once begun it goes on, also if this is dropped.
pub(super) async fn blocking<R: Send + 'static>(
    what: impl FnOnce() -> R + Send + 'static,
) -> Result<R, ChangeError> {
    let lost = |_| ChangeError::Failed("its thread has panicked; the log says where".into());
    elsewhere(what).await.map_err(lost)
}

/// Frees on another thread what takes its time.
fn discard(what: impl Send + 'static) {
    drop(elsewhere(move || drop(what)));
}

/// Begins something on another thread, which keeps no memory for the next time.
pub(super) fn elsewhere<R: Send + 'static>(
    what: impl FnOnce() -> R + Send + 'static,
) -> JoinHandle<R> {
    tokio::task::spawn_blocking(|| {
        let result = what();
        limits::give_all_memory_back();
        result
    })
}

/// The steps of a change that wait for nothing.
impl Actor {
    fn configured(&self) -> (Arc<Keyed>, Arc<Overlay>) {
        (self.file.clone(), self.overlay.clone())
    }

    /// Opens the sockets that `loaded` needs.
    fn plan(&self, loaded: &Loaded) -> Result<Plan, ChangeError> {
        let inherited = &mut Inherited::default();
        let plan = self.listeners.plan(&loaded.model, self.workers.len(), inherited);
        plan.map_err(|error| ChangeError::Unavailable(error.to_string()))
    }

    /// Makes this the configuration that further changes are made to.
    fn take(&mut self, file: Option<(Keyed, String)>, overlay: Arc<Overlay>, whole: Value) {
        let overlay = std::mem::replace(&mut self.overlay, overlay);
        let whole = std::mem::replace(&mut self.whole, Arc::new(whole));
        discard((overlay, whole));
        if let Some((file, text)) = file {
            discard(std::mem::replace(&mut self.file, Arc::new(file)));
            self.source.text = text;
        }
    }

    /// Brings listeners and registry up to the model.
    fn enter(&mut self, loaded: Loaded, plan: Plan) -> Entered {
        let before = std::mem::replace(&mut self.model, loaded.model);
        self.generation += 1;
        let now = Instant::now();
        let linger = self.model.server.drain_timeout;
        let groups = (before.target_groups.as_slice(), self.model.target_groups.as_slice());
        let means = Means { logs: &self.logs, certificates: &self.certificates };
        let orders = self.listeners.carry_out(plan, groups, means, linger, now);
        self.logs.forget_unused(&self.listeners.views());
        self.tracer.set(self.model.server.spans.clone());
        self.certificates.forget_unused(&self.listeners.views());
        let turned = self.register(now);
        let warnings = loaded.warnings.into_iter().map(|warning| warning.problem);
        let warnings: Vec<_> = warnings.chain(self.waits_for_restart(&before.server)).collect();
        discard(before);
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        Entered { orders, warnings, turned }
    }

    /// Hands new sockets to the workers and takes those of removed listeners away. What it
    /// returns resolves once no worker accepts on these.
    fn follow(&mut self, orders: Orders) -> Vec<impl Future<Output = bool> + use<>> {
        self.workers.listen(orders.listen);
        orders.unlisten.into_iter().map(|id| self.workers.unlisten(id)).collect()
    }

    /// What of `[server]` is only acted on by the next process.
    fn waits_for_restart(&mut self, before: &Server) -> Vec<String> {
        let after = &mut self.model.server;
        let differs = [
            ("workers", after.workers != before.workers),
            ("driver", after.driver != before.driver),
            ("state_dir", after.state_dir != before.state_dir),
            ("control", after.control != before.control),
        ];
        // What runs is what the process goes on with.
        after.state_dir.clone_from(&before.state_dir);
        let differs = differs.into_iter().filter(|(_, differs)| *differs);
        let say = |(key, _)| format!("`server.{key}` takes effect with `ringway upgrade`");
        differs.map(say).collect()
    }

    fn announce(&self, by: &str, result: &Result<Changed, ChangeError>) {
        let (time, by) = (seconds(), by.to_owned());
        self.news.tell(match result {
            Ok(changed) => Event::Configured { time, generation: changed.generation, by },
            Err(error) => Event::Refused { time, by, problems: error.problems() },
        });
    }
}
