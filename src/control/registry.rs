//! What control knows of every target group and target: identity, health, and what follows from
//! it for the snapshot. Reads no clock and sends nothing; the actor does both. What is about one
//! group alone is in `group`.

mod group;
mod slots;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::health::{Probe, State, Transition};
use crate::metrics::Tally;
use crate::model::Model;
use crate::snapshot::{GroupBase, GroupId, GroupView, Load, TargetId};

use super::probe::{How, ProbeKey};
use super::trust::Trust;

pub(super) use group::{Entry, Group};

use slots::Slots;

/// All target groups, draining targets included.
#[derive(Debug, Default)]
pub(super) struct Registry {
    groups: HashMap<Arc<str>, Group>,
    slots: Slots,
    group_slots: Slots,
    /// Number of workers, each of which counts apart.
    workers: usize,
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

impl Registry {
    /// A registry that knows nothing yet, for so many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, ..Self::default() }
    }

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
                let (slot, generation) = self.group_slots.take();
                let id = GroupId { slot, generation };
                let tally = Arc::new(Tally::new(self.workers));
                let base = GroupBase { id, turn: Arc::default(), tally, tls: None };
                self.groups.insert(name.into(), Group::new(base, settings));
            }
            let (used, workers) = (in_use.contains(name), self.workers);
            if let Some((name, (group, slots))) = self.entry(name)
                && !group.is(settings, used)
            {
                let places = &mut || slots.target(workers);
                group.apply(settings, used, now, places, &mut |target, transition| {
                    changes.push(Change { group: name.clone(), target, transition });
                });
            }
        }
        changes
    }

    /// Gives each group what it encrypts with.
    pub(super) fn encrypt(&mut self, trust: &mut Trust, now: Instant) {
        for group in self.groups.values_mut().filter(|group| group.registered) {
            let client = trust.client(&group.settings);
            group.encrypt(client, now);
        }
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
                self.slots.put_back(id.slot);
                elapsed.gone.push((name.clone(), target, id));
            }
            elapsed.changed |= group.end_ramps(now);
        }
        let is_over = |group: &Group| !group.registered && group.targets.is_empty();
        let over = self.groups.values().filter(|group| is_over(group));
        over.for_each(|group| self.group_slots.put_back(group.base.id.slot));
        self.groups.retain(|_, group| !is_over(group));
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
    pub(super) fn probes(&self) -> impl Iterator<Item = (ProbeKey, How<'_>)> {
        self.groups.iter().flat_map(|(name, group)| {
            let wanted = group.targets.iter().filter(|(_, entry)| entry.health.wants_probes());
            let how = How { check: &group.settings.health_check, tls: group.base.tls.as_ref() };
            wanted
                .filter(move |_| how.check.enabled)
                .map(move |(&target, _)| (ProbeKey { group: name.clone(), target }, how))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Target, TargetGroup, Weight};
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
