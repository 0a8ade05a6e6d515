//! The immutable picture that workers act on: the model and the health of targets, indexed for
//! lookup, and the few counts that all workers share.
//!
//! Control builds one per change and mails it; an exchange sees exactly one from head to end.
//! What has not changed is shared with the snapshot before, so the flip of one target costs its
//! group and a list of pointers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::access_log::Names;
use crate::balance::Balancer;
use crate::health;
use crate::log_writer::Writer;
use crate::metrics::{GroupCounters, ListenerCounters, RuleCounters, Tally, TargetCounters};
use crate::model::{GroupIndex, Listener, LogFormat, Mode, Overflow, TargetGroup, Weight};
use crate::routing::{ByServerName, Router};
use crate::span::Sampling;
use crate::stickiness::{Keys, Scope};
use crate::tls;

/// What workers act on.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// By the place in [`ListenerId`]; one that has been removed leaves its place empty in the end.
    pub listeners: Vec<Option<Arc<ListenerView>>>,
    /// By [`GroupIndex`].
    pub groups: Vec<Arc<GroupView>>,
    /// What stickiness cookies are sealed with.
    pub keys: Arc<Keys>,
    /// Which requests are told as spans; `None`: none.
    pub sampling: Option<Sampling>,
}

/// A listener's identity for as long as the process runs: which place it takes, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId {
    /// Place in [`Snapshot::listeners`]; used again once the listener is forgotten.
    pub slot: u32,
    /// Distinguishes the listeners that take the same place one after the other.
    pub generation: u32,
}

/// A target group's identity for as long as the process runs: its place in tables of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupId {
    /// Place in a worker's tables; used again once the group is gone.
    pub slot: u32,
    /// Distinguishes the groups that take the same place one after the other; from 1.
    pub generation: u32,
}

/// A target's identity: which place it takes in a worker's tables, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TargetId {
    /// Place in a worker's tables; used again once the target is gone.
    pub slot: u32,
    /// Distinguishes the targets that take the same place one after the other; from 1.
    pub generation: u32,
}

/// A listener, compiled.
#[derive(Debug)]
pub struct ListenerView {
    /// Identity.
    pub id: ListenerId,
    /// Attributes. Where the file says port 0, the address here has the port that was given.
    pub settings: Listener,
    /// Rules.
    pub router: Router,
    /// Where L4 connections go by the name that they ask for; `None`: they are not read. They are
    /// not where they are decrypted.
    pub by_server_name: Option<ByServerName>,
    /// What is counted of it.
    pub tallies: ListenerTallies,
    /// Whether it has been removed: requests on its connections are still served, and each
    /// connection closes after the next one.
    pub retired: bool,
    /// The lines that tell a target how the client came: X-Forwarded-Proto and -Port.
    pub forwarded: Box<[u8]>,
    /// How its connections are encrypted.
    pub tls: Option<Arc<tls::Server>>,
    /// Its access log.
    pub log: Option<Arc<LogView>>,
}

/// The access log of a listener, opened.
#[derive(Debug)]
pub struct LogView {
    /// What lines call the listener.
    pub names: Names,
    /// What a line looks like.
    pub format: LogFormat,
    /// What happens to lines for which there is no room.
    pub overflow: Overflow,
    /// What takes them.
    pub writer: Arc<Writer>,
}

/// A target group, compiled.
#[derive(Debug)]
pub struct GroupView {
    /// Identity.
    pub id: GroupId,
    /// Attributes.
    pub settings: Arc<TargetGroup>,
    /// The targets that get traffic: healthy ones, or all that are not draining when failing open.
    pub targets: Vec<TargetView>,
    /// What its stickiness cookies are sealed for; `None` where it uses none.
    pub scope: Option<Scope>,
    /// What is counted of it.
    pub tally: Arc<Tally<GroupCounters>>,
    /// Whether too few targets are healthy, so that all are used.
    pub fail_open: bool,
    /// How connections and probes to its targets are encrypted, where they are.
    pub tls: Option<Arc<tls::Client>>,
    balancer: Balancer,
    turn: Arc<Turn>,
    ramping: bool,
}

/// A target of a group.
#[derive(Debug, Clone)]
pub struct TargetView {
    /// Identity.
    pub id: TargetId,
    /// Address.
    pub address: SocketAddr,
    /// Its share, as the operator and anomaly mitigation set it.
    pub weight: Weight,
    /// What it has in flight, over all workers.
    pub load: Arc<Load>,
    /// What is counted of it.
    pub tally: Arc<Tally<TargetCounters>>,
    /// When its slow start began, if it is in one.
    pub ramping_since: Option<Instant>,
}

/// What lasts of a group while its view changes.
#[derive(Debug, Clone)]
pub struct GroupBase {
    /// Identity.
    pub id: GroupId,
    /// Its rotation.
    pub turn: Arc<Turn>,
    /// What is counted of it.
    pub tally: Arc<Tally<GroupCounters>>,
    /// How connections and probes to its targets are encrypted, where they are.
    pub tls: Option<Arc<tls::Client>>,
}

/// What is counted of a listener.
#[derive(Debug)]
pub struct ListenerTallies {
    /// Of the listener as a whole.
    pub listener: Arc<Tally<ListenerCounters>>,
    /// Of its rules, by rank; the last is the default rule.
    pub rules: Box<[Arc<Tally<RuleCounters>>]>,
}

/// The rotation of a group, over all workers: so targets alternate exactly.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Turn(AtomicU32);

/// What all workers count of one target: requests (L4: connections) in flight first of all.
///
/// The one thing that workers write in common: with a count per worker and one connection each,
/// least outstanding requests would see nothing. On cache lines of its own; two, since neighbours
/// are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    in_flight: AtomicU32,
    draining: AtomicBool,
    failures_in_a_row: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// One request in flight; counts until it is dropped.
#[derive(Debug)]
pub struct InFlight<'a>(&'a Load);

/// As [`InFlight`], for what outlives the snapshot that it began with.
#[derive(Debug)]
pub struct OwnedInFlight(Arc<Load>);

impl Load {
    /// Counts one more request until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlight<'_> {
        self.begin();
        InFlight(self)
    }

    /// As [`Load::enter`], without borrowing.
    #[must_use]
    pub fn enter_owned(load: &Arc<Self>) -> OwnedInFlight {
        load.begin();
        OwnedInFlight(load.clone())
    }

    fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
    }

    fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Notes that the target failed: no connection, or a response with status 5xx.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
        self.failures_in_a_row.fetch_add(1, Relaxed);
    }

    /// Notes that the target answered well.
    pub fn succeeded(&self) {
        // Almost always zero already; then the line is not written.
        if self.failures_in_a_row.load(Relaxed) != 0 {
            self.failures_in_a_row.store(0, Relaxed);
        }
    }

    /// Keeps new requests away, also those that act on an older snapshot; or lets them come again.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Relaxed);
    }

    /// Whether new requests are to be kept away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Requests in flight now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Requests sent to it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Requests that it failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Requests that it failed since the last that it did not.
    #[must_use]
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Relaxed)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for OwnedInFlight {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl GroupView {
    /// A group of which `targets` get traffic.
    #[must_use]
    pub fn new(
        base: GroupBase,
        settings: Arc<TargetGroup>,
        targets: Vec<TargetView>,
        fail_open: bool,
    ) -> Self {
        let GroupBase { id, turn, tally, tls } = base;
        let weights: Vec<_> = targets.iter().map(|target| target.weight).collect();
        Self {
            id,
            balancer: Balancer::new(settings.algorithm, &weights),
            scope: Scope::of_group(&settings.name, &settings.stickiness),
            ramping: targets.iter().any(|target| target.ramping_since.is_some()),
            settings,
            targets,
            tally,
            fail_open,
            tls,
            turn,
        }
    }

    /// Chooses a target among those that `eligible` accepts and that do not drain, and moves the
    /// rotation on. A target in slow start that is chosen gives way to the others as often as its
    /// share says.
    pub fn choose(
        &self,
        random: u64,
        eligible: impl Fn(&TargetView) -> bool,
    ) -> Option<&TargetView> {
        let turn = self.turn.0.fetch_add(1, Relaxed);
        let eligible = |index: usize| {
            let target = &self.targets[index];
            !target.load.is_draining() && eligible(target)
        };
        let chosen = self.pick(turn, random, eligible)?;
        if !self.ramping || self.keeps(chosen, random) {
            return Some(chosen);
        }
        let steady = |index: usize| eligible(index) && self.targets[index].ramping_since.is_none();
        Some(self.pick(turn, random, steady).unwrap_or(chosen))
    }

    /// How connections to its targets are encrypted, where they are.
    #[must_use]
    pub fn encrypts(&self) -> Option<&Arc<tls::Client>> {
        self.tls.as_ref().filter(|_| self.settings.protocol.is_encrypted())
    }

    fn pick(
        &self,
        turn: u32,
        random: u64,
        eligible: impl Fn(usize) -> bool,
    ) -> Option<&TargetView> {
        let outstanding = |index: usize| self.targets[index].load.in_flight();
        let index = self.balancer.choose(turn, random, eligible, outstanding)?;
        self.targets.get(index)
    }

    /// Whether a target keeps the request that it was chosen for.
    fn keeps(&self, target: &TargetView, random: u64) -> bool {
        let Some(since) = target.ramping_since else { return true };
        let share = health::share(since.elapsed(), self.settings.slow_start);
        // The top bits, as those below may have chosen the target.
        ((random >> 40) as f64) < share * (1_u64 << 24) as f64
    }
}

impl ListenerView {
    /// A listener with the address that it has really got.
    #[must_use]
    pub fn new(
        id: ListenerId,
        settings: Listener,
        retired: bool,
        tls: Option<Arc<tls::Server>>,
        log: Option<Arc<LogView>>,
        tallies: ListenerTallies,
    ) -> Self {
        let router = Router::new(&settings.rules, &settings.default);
        let by_server_name = match settings.mode {
            Mode::L4 if tls.is_none() => ByServerName::new(&settings.server_names),
            Mode::L4 | Mode::L7 => None,
        };
        let (port, protocol) =
            (settings.address.port(), if tls.is_some() { "https" } else { "http" });
        let forwarded = format!("X-Forwarded-Proto: {protocol}\r\nX-Forwarded-Port: {port}\r\n");
        let forwarded = forwarded.into_bytes().into();
        Self { id, settings, router, by_server_name, tallies, retired, forwarded, tls, log }
    }
}

impl Snapshot {
    /// The listener `id`, if it is still there.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&ListenerView> {
        let listener = self.listeners.get(id.slot as usize)?.as_deref();
        listener.filter(|listener| listener.id == id)
    }

    /// The group at `index`, which a validated model always has.
    #[must_use]
    pub fn group(&self, index: GroupIndex) -> &GroupView {
        &self.groups[index.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn group(ramping: &[bool], slow_start: u64) -> GroupView {
        let mut settings = TargetGroup::new("home", Vec::new());
        settings.slow_start = Duration::from_secs(slow_start);
        let target = |(index, &ramping): (usize, &bool)| TargetView {
            id: TargetId { slot: index as u32, generation: 1 },
            address: SocketAddr::from(([127, 0, 0, 1], 1 + index as u16)),
            weight: Weight::ONE,
            load: Arc::default(),
            tally: Arc::new(Tally::new(1)),
            ramping_since: ramping.then(Instant::now),
        };
        let targets = ramping.iter().enumerate().map(target).collect();
        let id = GroupId { slot: 0, generation: 1 };
        let base =
            GroupBase { id, turn: Arc::default(), tally: Arc::new(Tally::new(1)), tls: None };
        GroupView::new(base, Arc::new(settings), targets, false)
    }

    #[test]
    fn guard_gives_its_count_back() {
        let load = Load::default();
        let guard = load.enter();
        assert_eq!((load.in_flight(), load.requests()), (1, 1));
        drop(guard);
        assert_eq!((load.in_flight(), load.requests()), (0, 1));
    }

    #[test]
    fn draining_target_is_not_chosen_whatever_the_snapshot() {
        let group = group(&[false, false], 0);
        group.targets[0].load.set_draining(true);
        for _ in 0..4 {
            let chosen = group.choose(0, |_| true).map(|target| target.id.slot);
            assert_eq!(chosen, Some(1));
        }
        group.targets[1].load.set_draining(true);
        assert!(group.choose(0, |_| true).is_none());
    }

    #[test]
    fn target_in_slow_start_begins_with_a_hundredth_of_its_share() {
        let group = group(&[true, false], 900);
        let mut random = fastrand::Rng::with_seed(7);
        let slow = (0..100_000)
            .filter(|_| group.choose(random.u64(..), |_| true).is_some_and(|t| t.id.slot == 0))
            .count();
        assert!((300..700).contains(&slow), "{slow} of 100,000; its full share is half");
    }

    #[test]
    fn target_in_slow_start_is_used_when_there_is_no_other() {
        let group = group(&[true], 900);
        assert!((0..100).all(|random| group.choose(random << 40, |_| true).is_some()));
    }

    #[test]
    fn failures_in_a_row_end_with_a_success() {
        let load = Load::default();
        load.failed();
        load.failed();
        assert_eq!((load.failures(), load.failures_in_a_row()), (2, 2));
        load.succeeded();
        assert_eq!((load.failures(), load.failures_in_a_row()), (2, 0));
    }
}
