//! What control knows of every target group and target: identity, health, and what follows from
//! it for the snapshot. Reads no clock and sends nothing; the actor does both.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::health::anomaly::{self, Observed};
use crate::health::{
    Outliers, Probe, Routable, SlowStart, State, TargetHealth, Transition, routable,
};
use crate::model::{HealthCheck, Model, Target, TargetGroup, Weight};
use crate::snapshot::{GroupId, GroupView, Load, TargetId, TargetView, Turn};

use super::probe::ProbeKey;

/// All target groups, draining targets included.
#[derive(Debug, Default)]
pub(super) struct Registry {
    groups: HashMap<Arc<str>, Group>,
    slots: Slots,
    next_group: u32,
}

/// A target group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) settings: Arc<TargetGroup>,
    pub(super) targets: BTreeMap<SocketAddr, Entry>,
    pub(super) fail_open: bool,
    /// Whether the model still has it; if not, its targets drain.
    registered: bool,
    /// Whether something forwards to it.
    in_use: bool,
    outliers: Outliers,
    turn: Arc<Turn>,
    view: Arc<GroupView>,
}

/// A target of a group.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: TargetId,
    pub(super) load: Arc<Load>,
    pub(super) weight: Weight,
    pub(super) health: TargetHealth,
    slow_start: SlowStart,
    /// What anomaly mitigation multiplies the weight by, 0.05 to 1.
    factor: f64,
    /// Requests and failures at the end of the last window.
    seen: (u64, u64),
}

/// A target's change of state.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) group: Arc<str>,
    pub(super) target: SocketAddr,
    pub(super) transition: Transition,
}

/// What the passing of time has brought.
#[derive(Debug, Default)]
pub(super) struct Elapsed {
    /// Targets whose draining is over: what they have in flight is cut.
    pub(super) gone: Vec<(Arc<str>, SocketAddr, TargetId)>,
    /// Whether a group's view is another one.
    pub(super) changed: bool,
}

/// Places in workers' tables.
#[derive(Debug, Default)]
struct Slots {
    free: Vec<u32>,
    used: u32,
    generation: u32,
}

impl Slots {
    fn take(&mut self) -> TargetId {
        self.generation = self.generation.wrapping_add(1).max(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        TargetId { slot, generation: self.generation }
    }
}

impl Registry {
    /// Makes this the registry of `model`: registers, deregisters, and keeps what stays. Groups
    /// that `in_use` does not name get no traffic and no probes.
    pub(super) fn apply(
        &mut self,
        model: &Model,
        in_use: &HashSet<&str>,
        now: Instant,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let wanted: HashSet<_> =
            model.target_groups.iter().map(|group| group.name.as_str()).collect();
        let gone = |(name, group): &(&Arc<str>, &mut Group)| {
            group.registered && !wanted.contains(name.as_ref())
        };
        for (name, group) in self.groups.iter_mut().filter(gone) {
            group.deregister_all(now, |target, transition| {
                changes.push(Change { group: name.clone(), target, transition });
            });
        }
        for settings in &model.target_groups {
            let name = settings.name.as_str();
            if !self.groups.contains_key(name) {
                let id = GroupId(self.next_group);
                self.next_group += 1;
                self.groups.insert(name.into(), Group::new(id, settings));
            }
            let used = in_use.contains(name);
            if let Some((name, (group, slots))) = self.entry(name)
                && !group.is(settings, used)
            {
                group.apply(settings, used, now, slots, &mut |target, transition| {
                    changes.push(Change { group: name.clone(), target, transition });
                });
            }
        }
        changes
    }

    /// The loads of targets that have begun to drain and that new requests on older snapshots are
    /// not kept away from yet. That is for [`Load::set_draining`], once the workers have the
    /// snapshot without them: the one before may know no others.
    pub(super) fn leaving(&self) -> Vec<Arc<Load>> {
        let entries = self.groups.values().flat_map(|group| group.targets.values());
        let draining = entries.filter(|entry| entry.health.state() == State::Draining);
        let new = draining.filter(|entry| !entry.load.is_draining());
        new.map(|entry| entry.load.clone()).collect()
    }

    fn entry(&mut self, name: &str) -> Option<(Arc<str>, (&mut Group, &mut Slots))> {
        let key = self.groups.get_key_value(name)?.0.clone();
        let group = self.groups.get_mut(name)?;
        Some((key, (group, &mut self.slots)))
    }

    /// A probe has ended. Returns what it changed.
    pub(super) fn probed(
        &mut self,
        key: &ProbeKey,
        outcome: Probe,
        now: Instant,
    ) -> Option<Transition> {
        let group = self.groups.get_mut(&key.group)?;
        let check = &group.settings.health_check;
        let transition = group.targets.get_mut(&key.target)?.health.probed(outcome, check, now)?;
        group.turned(key.target, transition, now);
        group.refresh(now);
        Some(transition)
    }

    /// Ends draining, ejections and slow starts whose time is over, and begins ejections.
    pub(super) fn elapsed(&mut self, now: Instant) -> Elapsed {
        let mut elapsed = Elapsed::default();
        for (name, group) in &mut self.groups {
            elapsed.changed |= group.eject(now);
            let gone = group.collect_gone(now);
            for (target, id) in gone {
                self.slots.free.push(id.slot);
                elapsed.gone.push((name.clone(), target, id));
            }
            elapsed.changed |= group.end_ramps(now);
        }
        self.groups.retain(|_, group| group.registered || !group.targets.is_empty());
        elapsed
    }

    /// Looks for targets that fail more than their peers; once per [`anomaly::WINDOW`].
    pub(super) fn reweigh(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for group in self.groups.values_mut().filter(|group| group.settings.anomaly_mitigation) {
            changed |= group.reweigh(now);
        }
        changed
    }

    /// The views of the groups of `model`, in its order.
    pub(super) fn views(&self, model: &Model) -> Vec<Arc<GroupView>> {
        let groups = model.target_groups.iter();
        groups.filter_map(|group| self.group(&group.name)).map(|group| group.view.clone()).collect()
    }

    /// A group by name.
    pub(super) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// What is to be probed.
    pub(super) fn probes(&self) -> impl Iterator<Item = (ProbeKey, &HealthCheck)> {
        self.groups.iter().flat_map(|(name, group)| {
            let wanted = group.targets.iter().filter(|(_, entry)| entry.health.wants_probes());
            let check = &group.settings.health_check;
            wanted
                .filter(|_| check.enabled)
                .map(move |(&target, _)| (ProbeKey { group: name.clone(), target }, check))
        })
    }

    /// Whether a target that is probed has not been judged yet.
    pub(super) fn has_initial(&self) -> bool {
        let mut entries = self.groups.values().flat_map(|group| group.targets.values());
        entries.any(|entry| entry.health.state() == State::Initial)
    }

    /// How many targets are healthy, and how many there are, of those that are in use and do not
    /// drain.
    pub(super) fn healthy(&self) -> (usize, usize) {
        let entries = self.groups.values().flat_map(|group| group.targets.values());
        let states = entries.map(|entry| entry.health.state());
        states.fold((0, 0), |(healthy, all), state| match state {
            State::Healthy => (healthy + 1, all + 1),
            State::Initial | State::Unhealthy => (healthy, all + 1),
            State::Unused | State::Draining => (healthy, all),
        })
    }

    /// Notes that the probes just asked for have begun.
    pub(super) fn probing_began(&mut self) {
        for entry in self.groups.values_mut().flat_map(|group| group.targets.values_mut()) {
            entry.health.probing_began();
        }
    }
}

impl Group {
    fn new(id: GroupId, settings: &TargetGroup) -> Self {
        let settings = Arc::new(settings.clone());
        let turn = Arc::<Turn>::default();
        let view = GroupView::new(id, settings.clone(), Vec::new(), turn.clone());
        Self {
            id,
            settings,
            targets: BTreeMap::new(),
            fail_open: false,
            registered: false,
            in_use: false,
            outliers: Outliers::default(),
            turn,
            view: Arc::new(view),
        }
    }

    /// Whether traffic itself has taken `target` out.
    pub(super) fn is_ejected(&self, target: SocketAddr) -> bool {
        self.outliers.is_ejected(target)
    }

    /// Whether it is registered with these settings already.
    fn is(&self, settings: &TargetGroup, in_use: bool) -> bool {
        self.registered && self.in_use == in_use && *self.settings == *settings
    }

    fn apply(
        &mut self,
        settings: &TargetGroup,
        in_use: bool,
        now: Instant,
        slots: &mut Slots,
        note: &mut impl FnMut(SocketAddr, Transition),
    ) {
        (self.registered, self.in_use) = (true, in_use);
        let check_changed = self.settings.health_check != settings.health_check;
        self.settings = Arc::new(settings.clone());
        let steady = self.has_steady(None, now);
        let wanted: BTreeMap<SocketAddr, &Target> =
            settings.targets.iter().map(|target| (target.address, target)).collect();
        for (&address, &target) in &wanted {
            let entry = self.targets.entry(address).or_insert_with(|| Entry {
                id: slots.take(),
                load: Arc::default(),
                weight: target.weight,
                health: TargetHealth::registered(in_use),
                slow_start: SlowStart::registered(steady),
                factor: 1.0,
                seen: (0, 0),
            });
            entry.weight = target.weight;
            entry.load.set_draining(false);
            let back = entry.health.register(in_use, now);
            let used = entry.health.group_in_use(in_use, now);
            if check_changed {
                entry.health.health_check_changed();
            }
            let assumed = (!settings.health_check.enabled)
                .then(|| entry.health.assume_healthy(now))
                .flatten();
            for transition in [back, used, assumed].into_iter().flatten() {
                self.turned(address, transition, now);
                note(address, transition);
            }
        }
        self.deregister(now, |address| !wanted.contains_key(&address), note);
        self.refresh(now);
    }

    fn deregister(
        &mut self,
        now: Instant,
        gone: impl Fn(SocketAddr) -> bool,
        note: &mut impl FnMut(SocketAddr, Transition),
    ) {
        let delay = self.settings.deregistration_delay;
        for (&address, entry) in self.targets.iter_mut().filter(|(address, _)| gone(**address)) {
            if let Some(transition) = entry.health.deregister(delay, now) {
                entry.slow_start.ended();
                note(address, transition);
            }
        }
    }

    fn deregister_all(&mut self, now: Instant, mut note: impl FnMut(SocketAddr, Transition)) {
        self.registered = false;
        self.deregister(now, |_| true, &mut note);
        self.refresh(now);
    }

    /// Whether a healthy target other than `except` is not ramping.
    fn has_steady(&self, except: Option<SocketAddr>, now: Instant) -> bool {
        let ramp = self.settings.slow_start;
        self.targets.iter().any(|(address, entry)| {
            Some(*address) != except
                && entry.health.state() == State::Healthy
                && !entry.slow_start.is_ramping(ramp, now)
        })
    }

    /// A target has changed its state: what that means for its slow start.
    fn turned(&mut self, target: SocketAddr, transition: Transition, now: Instant) {
        let steady = self.has_steady(Some(target), now);
        let ramp = self.settings.slow_start;
        let Some(entry) = self.targets.get_mut(&target) else { return };
        match transition.to {
            State::Healthy => entry.slow_start.turned_healthy(steady, ramp, now),
            State::Initial | State::Unhealthy | State::Unused | State::Draining => {
                entry.slow_start.ended();
            }
        }
    }

    /// Computes anew which targets get traffic and how much.
    fn refresh(&mut self, now: Instant) {
        let registered = |state: &State| *state != State::Draining;
        let states = self.targets.values().map(|entry| entry.health.state()).filter(registered);
        let routable = routable(states, self.settings.healthy_min);
        self.fail_open = routable.fail_open;
        let ramp = self.settings.slow_start;
        let good = |(address, entry): &(&SocketAddr, &Entry)| {
            routable.includes(entry.health.state()) && !self.outliers.is_ejected(**address)
        };
        // Where the healthy ones are all ejected, an ejected target is better than none.
        let any_good = self.targets.iter().any(|target| good(&target));
        let included = self.targets.iter().filter(|target| match any_good {
            true => good(target),
            false => Routable { fail_open: true }.includes(target.1.health.state()),
        });
        let views = included.map(|(&address, entry)| TargetView {
            id: entry.id,
            address,
            weight: entry.effective_weight(self.settings.anomaly_mitigation),
            load: entry.load.clone(),
            ramping_since: entry
                .slow_start
                .began()
                .filter(|_| entry.slow_start.is_ramping(ramp, now)),
        });
        let views = views.collect();
        let view = GroupView::new(self.id, self.settings.clone(), views, self.turn.clone());
        self.view = Arc::new(view);
    }

    /// Takes out targets that fail in a row and lets back those whose time is over.
    fn eject(&mut self, now: Instant) -> bool {
        let mut changed = !self.outliers.elapsed(now).is_empty();
        if let Some(settings) = self.settings.outlier_detection {
            let registered = self.targets.len();
            for (&address, entry) in &self.targets {
                if entry.load.failures_in_a_row() < settings.consecutive_failures {
                    continue;
                }
                entry.load.succeeded();
                for _ in 0..settings.consecutive_failures {
                    let ejection = self.outliers.failed(address, registered, &settings, now);
                    changed |= ejection.is_some();
                }
                self.outliers.succeeded(address);
            }
        }
        if changed {
            self.refresh(now);
        }
        changed
    }

    fn collect_gone(&mut self, now: Instant) -> Vec<(SocketAddr, TargetId)> {
        let mut gone = Vec::new();
        self.targets.retain(|&address, entry| {
            // The transition to gone has no state that anyone could see.
            let _ = entry.health.elapsed(now);
            if entry.health.is_gone() {
                gone.push((address, entry.id));
            }
            !entry.health.is_gone()
        });
        if !gone.is_empty() {
            let targets = &self.targets;
            self.outliers.retain(|address| targets.contains_key(&address));
        }
        gone
    }

    /// Ends slow starts whose time is over.
    fn end_ramps(&mut self, now: Instant) -> bool {
        let ramp = self.settings.slow_start;
        let mut changed = false;
        for entry in self.targets.values_mut() {
            if entry.slow_start.began().is_some() && !entry.slow_start.is_ramping(ramp, now) {
                entry.slow_start.ended();
                changed = true;
            }
        }
        if changed {
            self.refresh(now);
        }
        changed
    }

    fn reweigh(&mut self, now: Instant) -> bool {
        let observed: Vec<_> = self.targets.values_mut().map(Entry::observe).collect();
        let weighed = anomaly::reweigh(&observed, true);
        let mut changed = false;
        for (entry, weighed) in self.targets.values_mut().zip(weighed) {
            changed |= entry.factor != weighed.factor;
            entry.factor = weighed.factor;
        }
        if changed {
            self.refresh(now);
        }
        changed
    }
}

impl Entry {
    /// What happened since the last window.
    fn observe(&mut self) -> Observed {
        let now = (self.load.requests(), self.load.failures());
        let before = std::mem::replace(&mut self.seen, now);
        Observed {
            healthy: self.health.state() == State::Healthy,
            requests: now.0.wrapping_sub(before.0),
            failures: now.1.wrapping_sub(before.1),
            factor: self.factor,
        }
    }

    /// The operator's weight, reduced by mitigation: scaled up first, so that a weight of one can
    /// be reduced at all.
    fn effective_weight(&self, mitigates: bool) -> Weight {
        if !mitigates {
            return self.weight;
        }
        /// Weights up to 49 keep their proportions; above, all are capped alike.
        const SCALE: f64 = 20.0;
        let scaled = (f64::from(self.weight.value()) * SCALE * self.factor).ceil();
        Weight::new(scaled.min(f64::from(Weight::MAX)) as u16).unwrap_or(self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn model(targets: &[u16]) -> Model {
        let target = |&port: &u16| Target {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            weight: Weight::ONE,
        };
        let mut group = TargetGroup::new("home", targets.iter().map(target).collect());
        group.deregistration_delay = Duration::from_secs(10);
        Model { server: Default::default(), target_groups: vec![group], listeners: vec![] }
    }

    fn routed(registry: &Registry, model: &Model) -> Vec<u16> {
        let views = registry.views(model);
        views[0].targets.iter().map(|target| target.address.port()).collect()
    }

    fn probe(registry: &mut Registry, port: u16, outcome: Probe, now: Instant) {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        registry.probed(&ProbeKey { group: "home".into(), target }, outcome, now);
    }

    #[test]
    fn new_targets_are_used_until_one_is_healthy_and_then_only_that() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        let in_use = HashSet::from(["home"]);
        registry.apply(&model(&[1, 2]), &in_use, now);
        assert_eq!(routed(&registry, &model(&[1, 2])), [1, 2], "fail open");
        probe(&mut registry, 2, Probe::Success, now);
        assert_eq!(routed(&registry, &model(&[1, 2])), [2]);
    }

    #[test]
    fn target_that_stays_keeps_its_identity_and_one_that_goes_drains() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        let in_use = HashSet::from(["home"]);
        registry.apply(&model(&[1, 2]), &in_use, now);
        let id = |registry: &Registry, port: u16| {
            let target = SocketAddr::from(([127, 0, 0, 1], port));
            registry.group("home").and_then(|group| group.targets.get(&target)).map(|e| e.id)
        };
        let (first, second) = (id(&registry, 1), id(&registry, 2));
        let changes = registry.apply(&model(&[2, 3]), &in_use, now);
        assert_eq!(id(&registry, 2), second);
        assert_eq!(changes.len(), 1, "one begins to drain: {changes:?}");
        assert_eq!(routed(&registry, &model(&[2, 3])), [2, 3]);
        assert!(registry.elapsed(now + Duration::from_secs(9)).gone.is_empty());
        let gone = registry.elapsed(now + Duration::from_secs(10)).gone;
        assert_eq!(gone.iter().map(|gone| Some(gone.2)).collect::<Vec<_>>(), [first]);
        registry.apply(&model(&[2, 3, 4]), &in_use, now);
        let reused = id(&registry, 4);
        assert_eq!(reused.map(|id| id.slot), first.map(|id| id.slot), "the place is free again");
        assert_ne!(reused, first);
    }

    #[test]
    fn registering_again_ends_the_draining() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        let in_use = HashSet::from(["home"]);
        registry.apply(&model(&[1, 2]), &in_use, now);
        registry.apply(&model(&[2]), &in_use, now);
        let target = SocketAddr::from(([127, 0, 0, 1], 1));
        let group = registry.group("home").expect("known");
        assert!(!group.targets[&target].load.is_draining(), "workers know no other yet");
        let leaving = registry.leaving();
        assert_eq!(leaving.len(), 1);
        leaving.iter().for_each(|load| load.set_draining(true));
        let group = registry.group("home").expect("known");
        assert!(group.targets[&target].load.is_draining());
        assert!(registry.leaving().is_empty());
        registry.apply(&model(&[1, 2]), &in_use, now);
        let group = registry.group("home").expect("known");
        assert!(!group.targets[&target].load.is_draining());
        assert_eq!(routed(&registry, &model(&[1, 2])), [1, 2]);
    }

    #[test]
    fn group_that_is_removed_is_forgotten_once_its_targets_have_drained() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        registry.apply(&model(&[1]), &HashSet::from(["home"]), now);
        let nothing = Model { target_groups: vec![], ..model(&[]) };
        registry.apply(&nothing, &HashSet::new(), now);
        assert!(registry.group("home").is_some());
        registry.elapsed(now + Duration::from_secs(10));
        assert!(registry.group("home").is_none());
    }

    #[test]
    fn without_health_checks_targets_are_healthy_at_once() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        let mut model = model(&[1]);
        model.target_groups[0].health_check.enabled = false;
        registry.apply(&model, &HashSet::from(["home"]), now);
        let group = registry.group("home").expect("known");
        assert!(group.targets.values().all(|entry| entry.health.state() == State::Healthy));
        assert_eq!(registry.probes().count(), 0);
    }
}
