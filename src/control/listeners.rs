//! The listening sockets: which are open, for which listener, at which worker.
//!
//! A listener is known by the address that it is configured with: another name or another mode
//! on the same address keeps its sockets. Each worker has a socket of its own; control keeps a
//! duplicate of each, so that they can be handed to a new process.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::{ListenerCounters, RuleCounters, Tally};
use crate::model::{Action, GroupIndex, Listener, Model, Priority, TargetGroup};
use crate::net;
use crate::net::inherit::{self, Inherited};
use crate::snapshot::{ListenerId, ListenerTallies, ListenerView, LogView};
use crate::tls;

use super::certificates::Certificates;
use super::logs::Logs;
use super::start::StartError;

/// All listeners, by [`ListenerId`].
#[derive(Debug, Default)]
pub(super) struct Listeners {
    slots: Vec<Option<Slot>>,
    generation: u32,
    /// Number of workers, each of which counts apart.
    workers: usize,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    address: SocketAddr,
    view: Arc<ListenerView>,
    tallies: Tallies,
    /// Duplicates of the workers' sockets; empty once the listener is removed.
    sockets: Vec<OwnedFd>,
    /// When a removed listener is forgotten.
    forgotten_at: Option<Instant>,
}

impl Slot {
    /// From now on workers see the listener with these `settings`.
    fn show(&mut self, settings: Listener, retired: bool, (tls, log): Opens) {
        let settings = Listener { address: self.address, ..settings };
        let tallies = self.tallies.of(&settings);
        let id = self.view.id;
        self.view = Arc::new(ListenerView::new(id, settings, retired, tls, log, tallies));
    }
}

/// What is counted of a listener and its rules, for as long as there are such.
#[derive(Debug)]
struct Tallies {
    workers: usize,
    listener: Arc<Tally<ListenerCounters>>,
    /// By priority; `None`: the default rule.
    rules: HashMap<Option<Priority>, Arc<Tally<RuleCounters>>>,
}

impl Tallies {
    fn new(workers: usize) -> Self {
        Self { workers, listener: Arc::new(Tally::new(workers)), rules: HashMap::new() }
    }

    /// Those of the listener with these `settings`. Rules that are gone are forgotten.
    fn of(&mut self, settings: &Listener) -> ListenerTallies {
        let mut priorities: Vec<_> = settings.rules.iter().map(|rule| rule.priority).collect();
        priorities.sort_unstable();
        let ranks = priorities.into_iter().map(Some).chain([None]);
        let mut before = std::mem::take(&mut self.rules);
        let rules = ranks.map(|rank| {
            let known = before.remove(&rank);
            let tally = known.unwrap_or_else(|| Arc::new(Tally::new(self.workers)));
            self.rules.insert(rank, tally.clone());
            tally
        });
        let rules = rules.collect();
        ListenerTallies { listener: self.listener.clone(), rules }
    }
}

/// What a listener is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Address(SocketAddr),
    /// Port 0 asks for another port each time.
    Name(String),
}

impl Key {
    fn of(listener: &Listener) -> Self {
        match listener.address.port() {
            0 => Self::Name(listener.name.clone()),
            _ => Self::Address(listener.address),
        }
    }
}

/// A socket on its way to a worker.
pub(super) type Placed = (usize, ListenerId, OwnedFd);

/// What becomes of the listeners when another model is in force. Sockets are open already, so
/// that carrying it out cannot fail.
#[derive(Debug)]
pub(super) struct Plan {
    kept: Vec<(ListenerId, Listener)>,
    opened: Vec<Opened>,
    removed: Vec<ListenerId>,
}

#[derive(Debug)]
struct Opened {
    settings: Listener,
    address: SocketAddr,
    sockets: Vec<OwnedFd>,
}

/// What was opened for a listener.
type Opens = (Option<Arc<tls::Server>>, Option<Arc<LogView>>);

/// What listeners use that was opened for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) logs: &'a Logs,
    pub(super) certificates: &'a Certificates,
}

impl Means<'_> {
    /// The means of `listener`, which listens on `address`.
    fn of(self, listener: &Listener, address: SocketAddr) -> Opens {
        (self.certificates.server(listener), self.logs.view(listener, address))
    }
}

/// What workers are to be told once the new snapshot is theirs.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) listen: Vec<Placed>,
    pub(super) unlisten: Vec<ListenerId>,
}

impl Listeners {
    /// None yet, for so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, ..Self::default() }
    }

    /// Opens what `model` asks for and is not open yet.
    ///
    /// # Errors
    /// [`StartError::Bind`]; nothing has changed then.
    pub(super) fn plan(
        &self,
        model: &Model,
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Plan, StartError> {
        let mut plan = Plan { kept: Vec::new(), opened: Vec::new(), removed: Vec::new() };
        for listener in &model.listeners {
            match self.find(&Key::of(listener)) {
                Some(id) => plan.kept.push((id, listener.clone())),
                None => {
                    let shared = self.has_port(listener.address.port());
                    plan.opened.push(open(listener, workers, shared, inherited)?);
                }
            }
        }
        let kept = |id: &ListenerId| plan.kept.iter().any(|(kept, _)| kept == id);
        plan.removed = self.live().map(|(id, _)| id).filter(|id| !kept(id)).collect();
        Ok(plan)
    }

    /// Carries out `plan`, which leads from the groups `before` to those `after`. Removed listeners
    /// are remembered for `linger`, so that requests on their connections are still served.
    pub(super) fn carry_out(
        &mut self,
        plan: Plan,
        (before, after): (&[TargetGroup], &[TargetGroup]),
        means: Means<'_>,
        linger: Duration,
        now: Instant,
    ) -> Orders {
        let mut orders = Orders { unlisten: plan.removed, ..Orders::default() };
        for id in &orders.unlisten {
            if let Some(slot) = &mut self.slots[id.slot as usize] {
                slot.sockets.clear();
                slot.forgotten_at = Some(now + linger);
            }
        }
        for slot in self.slots.iter_mut().flatten().filter(|slot| slot.forgotten_at.is_some()) {
            let settings = relocate(&slot.view.settings, before, after);
            let means = (slot.view.tls.clone(), slot.view.log.clone());
            slot.show(settings, true, means);
        }
        for (id, settings) in plan.kept {
            if let Some(slot) = &mut self.slots[id.slot as usize] {
                let means = means.of(&settings, slot.address);
                debug_assert_eq!(slot.view.id, id, "kept listeners keep their place");
                slot.show(settings, false, means);
            }
        }
        for opened in plan.opened {
            self.add(opened, means, &mut orders);
        }
        orders
    }

    fn add(&mut self, opened: Opened, means: Means<'_>, orders: &mut Orders) {
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        self.generation = self.generation.wrapping_add(1);
        let id = ListenerId { slot: free as u32, generation: self.generation };
        let mut sockets = Vec::with_capacity(opened.sockets.len());
        for (worker, socket) in opened.sockets.into_iter().enumerate() {
            // Without a duplicate the socket only cannot be handed over later.
            sockets.extend(socket.try_clone());
            orders.listen.push((worker, id, socket));
        }
        let (tls, log) = means.of(&opened.settings, opened.address);
        let mut tallies = Tallies::new(self.workers);
        let key = Key::of(&opened.settings);
        let settings = Listener { address: opened.address, ..opened.settings };
        let own = tallies.of(&settings);
        let slot = Slot {
            key,
            address: opened.address,
            view: Arc::new(ListenerView::new(id, settings, false, tls, log, own)),
            tallies,
            sockets,
            forgotten_at: None,
        };
        match self.slots.get_mut(free) {
            Some(place) => *place = Some(slot),
            None => self.slots.push(Some(slot)),
        }
    }

    /// Lets listeners that encrypt with `before` encrypt with `after`.
    pub(super) fn encrypt_anew(&mut self, before: &Arc<tls::Server>, after: &Arc<tls::Server>) {
        for slot in self.slots.iter_mut().flatten() {
            let old = slot.view.clone();
            if old.tls.as_ref().is_some_and(|tls| Arc::ptr_eq(tls, before)) {
                let means = (Some(after.clone()), old.log.clone());
                slot.show(old.settings.clone(), old.retired, means);
            }
        }
    }

    /// Forgets removed listeners whose time is over; which.
    pub(super) fn forget(&mut self, now: Instant) -> Vec<ListenerId> {
        let is_over = |slot: &mut Slot| slot.forgotten_at.is_some_and(|at| at <= now);
        let over = self.slots.iter_mut().filter_map(|place| place.take_if(is_over));
        over.map(|slot| slot.view.id).collect()
    }

    /// Listeners that are removed and not forgotten: their connections are still served.
    pub(super) fn lingering(&self) -> impl Iterator<Item = &Listener> {
        let removed = self.slots.iter().flatten().filter(|slot| slot.forgotten_at.is_some());
        removed.map(|slot| &slot.view.settings)
    }

    /// The views for a snapshot.
    pub(super) fn views(&self) -> Vec<Option<Arc<ListenerView>>> {
        self.slots.iter().map(|slot| slot.as_ref().map(|slot| slot.view.clone())).collect()
    }

    /// Listeners that are not removed.
    pub(super) fn live(&self) -> impl Iterator<Item = (ListenerId, &ListenerView)> {
        let live = self.slots.iter().flatten().filter(|slot| slot.forgotten_at.is_none());
        live.map(|slot| (slot.view.id, slot.view.as_ref()))
    }

    /// All sockets, each with the label by which a process that takes over knows it.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (String, &OwnedFd)> {
        self.slots.iter().flatten().flat_map(|slot| {
            let name = match &slot.key {
                Key::Address(_) => None,
                Key::Name(name) => Some(name.as_str()),
            };
            let label = inherit::label(name, slot.address);
            slot.sockets.iter().map(move |socket| (label.clone(), socket))
        })
    }

    /// Closes control's duplicates: from then on a socket closes when its worker closes it.
    pub(super) fn close(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            slot.sockets.clear();
        }
    }

    fn find(&self, key: &Key) -> Option<ListenerId> {
        let mut live = self.slots.iter().flatten().filter(|slot| slot.forgotten_at.is_none());
        live.find(|slot| slot.key == *key).map(|slot| slot.view.id)
    }

    /// Whether a listener, perhaps one that is just going, has this port.
    fn has_port(&self, port: u16) -> bool {
        self.slots.iter().flatten().any(|slot| slot.address.port() == port)
    }
}

/// `listener` as it was when the groups were those `before`, for the groups `after`. Where a group
/// is gone there is nobody to answer.
fn relocate(listener: &Listener, before: &[TargetGroup], after: &[TargetGroup]) -> Listener {
    let place = |index: GroupIndex| {
        let name = &before.get(index.0 as usize)?.name;
        let place = after.iter().position(|group| group.name == *name)?;
        Some(GroupIndex(place as u32))
    };
    let mut listener = listener.clone();
    for action in listener.actions_mut() {
        let Action::Forward(forward) = action else { continue };
        forward.groups = forward
            .groups
            .iter()
            .filter_map(|&(index, weight)| Some((place(index)?, weight)))
            .collect();
    }
    listener
}

/// Opens a listener's sockets, one per worker at least; those that were handed over come first.
/// `shared`: another listener of ours has the port, on another address or until a moment ago.
fn open(
    listener: &Listener,
    workers: usize,
    shared: bool,
    inherited: &mut Inherited,
) -> Result<Opened, StartError> {
    let fail = |source| StartError::Bind {
        listener: listener.name.clone(),
        address: listener.address,
        source,
    };
    let mut sockets = inherited.take(&listener.name, listener.address);
    let mut address = listener.address;
    if sockets.is_empty() && address.port() != 0 && !shared {
        // With reuse_port alone, a second ringway would share the port in silence.
        net::probe(address).map_err(fail)?;
    }
    if let Some(socket) = sockets.first() {
        address = net::address_of(socket).map_err(fail)?;
    }
    let given = sockets.len();
    while sockets.len() < workers {
        let socket = match net::bind(address) {
            // The service manager's sockets admit no others beside them: they are another user's,
            // or lack ReusePort=yes. Then workers share them, and the queue of each.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && given > 0 => {
                sockets[sockets.len() % given].try_clone()
            }
            opened => opened,
        };
        let socket = socket.map_err(fail)?;
        address = net::address_of(&socket).map_err(fail)?;
        sockets.push(socket);
    }
    Ok(Opened { settings: listener.clone(), address, sockets })
}
