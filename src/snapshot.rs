//! The immutable picture that workers act on: the model, indexed for lookup, and the few counts
//! that all workers share.
//!
//! Control builds one per change and mails it; an exchange sees exactly one from head to end.
//! A target keeps its identity, and so its count of requests in flight and its pooled
//! connections, from one snapshot to the next for as long as its group and address stay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::balance::Balancer;
use crate::model::{GroupIndex, Listener, Model, Target, TargetGroup};
use crate::routing::Router;

/// What workers act on.
#[derive(Debug)]
pub struct Snapshot {
    listeners: Vec<ListenerView>,
    groups: Vec<GroupView>,
}

/// A listener's identity for as long as the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u32);

/// A target's identity: which place it takes in a worker's tables, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TargetId {
    /// Place in a worker's tables; used again once the target is gone.
    pub slot: u32,
    /// Distinguishes the targets that take the same place one after the other.
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
}

/// A target group, compiled.
#[derive(Debug)]
pub struct GroupView {
    /// Attributes.
    pub settings: TargetGroup,
    /// Targets, in the order of `settings.targets`.
    pub targets: Vec<TargetView>,
    balancer: Balancer,
    turn: Arc<Padded>,
}

/// A target of a group.
#[derive(Debug)]
pub struct TargetView {
    /// Identity.
    pub id: TargetId,
    /// Address.
    pub address: SocketAddr,
    /// What it has in flight, over all workers.
    pub load: Arc<Load>,
}

/// Number of requests (L4: connections) that a target has in flight, over all workers.
///
/// The one thing that workers write in common: with a count per worker and one connection each,
/// least outstanding requests would see nothing.
#[derive(Debug, Default)]
pub struct Load(Padded);

/// A count with cache lines of its own; two, since neighbours are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU32);

/// One request in flight; counts until it is dropped.
#[derive(Debug)]
pub struct InFlight<'a>(&'a Load);

/// As [`InFlight`], for what outlives the snapshot that it began with.
#[derive(Debug)]
pub struct OwnedInFlight(Arc<Load>);

impl Drop for OwnedInFlight {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Relaxed);
    }
}

impl Load {
    /// As [`Load::enter`], without borrowing.
    #[must_use]
    pub fn enter_owned(load: &Arc<Self>) -> OwnedInFlight {
        load.0.0.fetch_add(1, Relaxed);
        OwnedInFlight(load.clone())
    }

    /// Counts one more request until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlight<'_> {
        self.0.0.fetch_add(1, Relaxed);
        InFlight(self)
    }

    /// Requests in flight now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.0.0.load(Relaxed)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Relaxed);
    }
}

impl GroupView {
    /// Chooses a target among those that `eligible` accepts, and moves the rotation on.
    pub fn choose(&self, random: u64, eligible: impl Fn(usize) -> bool) -> Option<&TargetView> {
        let turn = self.turn.0.fetch_add(1, Relaxed);
        let outstanding = |index: usize| self.targets[index].load.in_flight();
        let index = self.balancer.choose(turn, random, eligible, outstanding)?;
        self.targets.get(index)
    }
}

impl Snapshot {
    /// The picture of `model`. `addresses` are those that the listeners got, in the model's
    /// order; what `previous` knows of the same targets is carried over.
    #[must_use]
    pub fn new(model: &Model, addresses: &[SocketAddr], previous: Option<&Self>) -> Self {
        let mut identities = Identities::of(previous);
        let groups = model.target_groups.iter().map(|group| identities.group(group)).collect();
        let listeners = model.listeners.iter().zip(addresses).enumerate();
        let listeners = listeners.map(|(index, (listener, &address))| ListenerView {
            id: ListenerId(index as u32),
            router: Router::new(&listener.rules, &listener.default),
            settings: Listener { address, ..listener.clone() },
        });
        Self { listeners: listeners.collect(), groups }
    }

    /// The listener `id`, if it is still there.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&ListenerView> {
        self.listeners.get(id.0 as usize)
    }

    /// Listeners in the order of the model.
    #[must_use]
    pub fn listeners(&self) -> &[ListenerView] {
        &self.listeners
    }

    /// The group at `index`, which a validated model always has.
    #[must_use]
    pub fn group(&self, index: GroupIndex) -> &GroupView {
        &self.groups[index.0 as usize]
    }

    /// Target groups in the order of the model.
    #[must_use]
    pub fn groups(&self) -> &[GroupView] {
        &self.groups
    }
}

/// Hands out target identities, the known ones to whom they belong.
struct Identities<'a> {
    previous: &'a [GroupView],
    taken: Vec<bool>,
    next_generation: u32,
}

impl<'a> Identities<'a> {
    fn of(previous: Option<&'a Snapshot>) -> Self {
        let groups = previous.map_or(&[][..], |snapshot| &snapshot.groups);
        let ids = groups.iter().flat_map(|group| &group.targets).map(|target| target.id);
        let mut taken = Vec::new();
        let mut next_generation = 0;
        for id in ids {
            taken.resize(taken.len().max(id.slot as usize + 1), false);
            taken[id.slot as usize] = true;
            next_generation = next_generation.max(id.generation + 1);
        }
        Self { previous: groups, taken, next_generation }
    }

    fn group(&mut self, settings: &TargetGroup) -> GroupView {
        let known = self.previous.iter().find(|group| group.settings.name == settings.name);
        let weights: Vec<_> = settings.targets.iter().map(|target| target.weight).collect();
        GroupView {
            balancer: Balancer::new(settings.algorithm, &weights),
            turn: known.map(|group| group.turn.clone()).unwrap_or_default(),
            targets: settings.targets.iter().map(|target| self.target(known, target)).collect(),
            settings: settings.clone(),
        }
    }

    fn target(&mut self, group: Option<&GroupView>, target: &Target) -> TargetView {
        let mut known = group.iter().flat_map(|group| &group.targets);
        let known = known.find(|known| known.address == target.address);
        TargetView {
            id: known.map_or_else(|| self.new_id(), |known| known.id),
            address: target.address,
            load: known.map(|known| known.load.clone()).unwrap_or_default(),
        }
    }

    fn new_id(&mut self) -> TargetId {
        let slot = self.taken.iter().position(|taken| !taken).unwrap_or(self.taken.len());
        self.taken.resize(self.taken.len().max(slot + 1), false);
        self.taken[slot] = true;
        TargetId { slot: slot as u32, generation: self.next_generation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Server, Weight};

    fn model(targets: &[u16]) -> Model {
        let target = |&port: &u16| Target {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            weight: Weight::ONE,
        };
        let group = TargetGroup::new("home", targets.iter().map(target).collect());
        Model { server: Server::default(), target_groups: vec![group], listeners: vec![] }
    }

    #[test]
    fn target_that_stays_keeps_its_identity_and_its_count() {
        let first = Snapshot::new(&model(&[1, 2]), &[], None);
        let _in_flight = first.groups[0].targets[1].load.enter();
        let second = Snapshot::new(&model(&[2, 3]), &[], Some(&first));
        let (kept, new) = (&second.groups[0].targets[0], &second.groups[0].targets[1]);
        assert_eq!(kept.id, first.groups[0].targets[1].id);
        assert_eq!(kept.load.in_flight(), 1);
        assert_eq!(new.load.in_flight(), 0);
        let third = Snapshot::new(&model(&[2, 3, 4]), &[], Some(&second));
        let id = third.groups[0].targets[2].id;
        assert_eq!(id.slot, first.groups[0].targets[0].id.slot, "the free place is taken again");
        assert_ne!(id, first.groups[0].targets[0].id, "by another target");
    }

    #[test]
    fn guard_gives_its_count_back() {
        let load = Load::default();
        let guard = load.enter();
        assert_eq!(load.in_flight(), 1);
        drop(guard);
        assert_eq!(load.in_flight(), 0);
    }
}
