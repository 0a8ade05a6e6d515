//! Where a worker counts: its own lanes in what is counted of listeners, rules, groups and targets.
//!
//! [`answer`] and [`end`] count what a record says, each exchange once. Lanes are found by place,
//! indexed and never hashed, in tables that each snapshot refreshes. What is gone stays in its
//! place until another takes it, so the tables do not grow with what comes and goes; a count for
//! something that has lost its place goes nowhere.

use std::sync::Arc;

use crate::metrics::{GroupCounters, ListenerCounters, Tally, TargetCounters, class, own_code};
use crate::model::Mode;
use crate::snapshot::{GroupId, ListenerId, ListenerView, Snapshot, TargetId};

use super::dialect::Dialect;
use super::error::ErrorKind;
use super::lines::Lines;
use super::local::Local;
use super::pool::Pools;
use super::record::Record;

// Every kind has a slot.
const _: () = assert!(ErrorKind::ALL.len() <= crate::metrics::ERRORS);

/// The tables of a worker.
pub(super) struct Tallies {
    worker: usize,
    listeners: Places<ListenerCounters>,
    groups: Places<GroupCounters>,
    targets: Places<TargetCounters>,
}

/// What is counted of things of one kind, by place; with the generation of who has the place.
struct Places<T>(Vec<Option<(u32, Arc<Tally<T>>)>>);

impl<T: crate::metrics::Counts> Places<T> {
    fn put(&mut self, slot: u32, generation: u32, tally: &Arc<Tally<T>>) {
        let slot = slot as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        let place = &mut self.0[slot];
        // Sharing a tally writes a line that all workers write: only where it is another one.
        if place.as_ref().is_none_or(|(known, _)| *known != generation) {
            *place = Some((generation, tally.clone()));
        }
    }

    /// The lane of `worker`, if who has the place is still this one.
    fn lane(&self, slot: u32, generation: u32, worker: usize) -> Option<&T> {
        match self.0.get(slot as usize) {
            Some(Some((known, tally))) if *known == generation => Some(tally.of(worker)),
            _ => None,
        }
    }

    /// The lanes of `worker`, with slots and generations.
    fn lanes(&self, worker: usize) -> impl Iterator<Item = ((u32, u32), &T)> {
        let taken = (0..).zip(&self.0).filter_map(|(slot, place)| Some((slot, place.as_ref()?)));
        taken.map(move |(slot, (generation, tally))| ((slot, *generation), tally.of(worker)))
    }
}

impl Tallies {
    /// The tables of `worker`, which acts on `snapshot`.
    pub(super) fn new(worker: usize, snapshot: &Snapshot) -> Self {
        let (listeners, groups) = (Places(Vec::new()), Places(Vec::new()));
        let mut tallies = Self { worker, listeners, groups, targets: Places(Vec::new()) };
        tallies.adopt(snapshot);
        tallies
    }

    /// Finds room for what is new in `snapshot`.
    pub(super) fn adopt(&mut self, snapshot: &Snapshot) {
        for listener in snapshot.listeners.iter().flatten() {
            self.listeners.put(
                listener.id.slot,
                listener.id.generation,
                &listener.tallies.listener,
            );
        }
        for group in &snapshot.groups {
            self.groups.put(group.id.slot, group.id.generation, &group.tally);
            for target in &group.targets {
                self.targets.put(target.id.slot, target.id.generation, &target.tally);
            }
        }
    }

    pub(super) fn listener(&self, id: ListenerId) -> Option<&ListenerCounters> {
        self.listeners.lane(id.slot, id.generation, self.worker)
    }

    fn group(&self, id: GroupId) -> Option<&GroupCounters> {
        self.groups.lane(id.slot, id.generation, self.worker)
    }

    pub(super) fn target(&self, id: TargetId) -> Option<&TargetCounters> {
        self.targets.lane(id.slot, id.generation, self.worker)
    }

    /// Shows of each target how many connections to it wait to be used, whatever they speak: its
    /// group may have changed what it speaks. How many there are in all.
    fn show_idle(&self, pools: &Pools, lines: &Lines) -> u64 {
        let mut all = 0;
        for (target, counters) in self.targets.lanes(self.worker) {
            let target = TargetId { slot: target.0, generation: target.1 };
            let idle = (pools.idle(target) + lines.idle(target)) as u64;
            counters.idle_connections.set(idle);
            all += idle;
        }
        all
    }
}

/// An exchange has its response, or has become a tunnel: counts it, once.
pub(super) fn answer(record: &Record, listener: &ListenerView, local: &Local) {
    if record.is_counted.replace(true) {
        return;
    }
    let status = record.status.get();
    let class = class(status);
    let counters = listener.tallies.listener.of(local.index);
    counters.requests.add(1);
    counters.responses[class].add(1);
    if record.is_own.get() {
        counters.own[own_code(status)].add(1);
    }
    if record.is_noncompliant.get() {
        counters.noncompliant.add(1);
    }
    if let Some(action) = record.action.get() {
        counters.actions[action as usize].add(1);
    }
    if record.target.get().is_some() {
        counters.targeted.add(1);
        if record.dialect.get() == Dialect::Grpc {
            counters.grpc.add(1);
        }
    }
    let rule = record.rank.get().and_then(|rank| listener.tallies.rules.get(rank as usize));
    if let Some(rule) = rule {
        rule.of(local.index).responses[class].add(1);
    }
    forwarded(record, &local.tallies.borrow());
}

/// A connection of an L4 listener has a target.
pub(super) fn bound(record: &Record, local: &Local) {
    record.is_counted.set(true);
    let tallies = local.tallies.borrow();
    if let Some(listener) = record.listener.get().and_then(|id| tallies.listener(id)) {
        listener.targeted.add(1);
    }
    forwarded(record, &tallies);
}

/// Counts the part that a group and a target had in it.
fn forwarded(record: &Record, tallies: &Tallies) {
    let Some(group) = record.group.get().and_then(|id| tallies.group(id)) else { return };
    let Some((target, _)) = record.target.get() else { return group.unavailable.add(1) };
    group.requests.add(1);
    if record.fails_open.get() {
        group.fail_open_requests.add(1);
    }
    match record.given_up.borrow().len() {
        0 => {}
        retries => group.retries.add(retries as u64),
    }
    if let Some(time) = record.target_time() {
        group.target_time.record(time);
    }
    let status = record.target_status.get();
    if record.mode == Some(Mode::L7) {
        group.responses[class(status)].add(1);
        if let Some(target) = tallies.target(target) {
            target.responses[class(status)].add(1);
        }
    }
}

/// Counts the bytes that have moved since it was last asked.
pub(super) fn bytes(record: &Record, local: &Local) {
    let moved = (record.received.get(), record.sent.get());
    let before = record.counted_bytes.replace(moved);
    let Some(listener) = record.listener.get() else { return };
    let tallies = local.tallies.borrow();
    if let Some(counters) = tallies.listener(listener) {
        counters.received_bytes.add(moved.0.saturating_sub(before.0));
        counters.sent_bytes.add(moved.1.saturating_sub(before.1));
    }
}

/// An exchange or connection is over: counts what is left to count.
pub(super) fn end(record: &Record, local: &Local) {
    if let Some(kind) = record.error.get() {
        local.counters.errors[kind as usize].add(1);
    }
    bytes(record, local);
    let found_none = record.mode == Some(Mode::L4) && !record.is_counted.get();
    if let (true, Some(group)) = (found_none, record.group.get()) {
        let tallies = local.tallies.borrow();
        if let Some(counters) = tallies.group(group) {
            counters.unavailable.add(1);
        }
    }
}

impl Local {
    /// Shows how many connections and buffers wait to be used.
    pub fn show_stock(&self) {
        let all = self.tallies.borrow().show_idle(&self.pools, &self.lines);
        self.counters.idle_connections.set(all);
        self.counters.kept_buffer_bytes.set(self.buffers.kept_bytes() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pool::Share;
    use super::*;

    fn tally() -> Arc<Tally<TargetCounters>> {
        Arc::new(Tally::new(2))
    }

    #[test]
    fn place_belongs_to_who_took_it_last() {
        let mut places = Places(Vec::new());
        let (first, second) = (tally(), tally());
        places.put(3, 1, &first);
        places.put(3, 1, &second);
        places.lane(3, 1, 1).unwrap().connections.add(1);
        assert_eq!((first.sum().connections, second.sum().connections), (1, 0), "it stays");
        places.put(3, 2, &second);
        assert!(places.lane(3, 1, 1).is_none(), "a count for the one before goes nowhere");
        places.lane(3, 2, 1).unwrap().connections.add(1);
        assert_eq!((first.sum().connections, second.sum().connections), (1, 1));
        assert_eq!(Arc::strong_count(&first), 1, "and it is let go");
        assert!(places.lane(0, 1, 0).is_none() && places.lane(9, 1, 0).is_none());
    }

    #[test]
    fn idle_connections_to_a_target_are_those_of_either_kind() {
        let tallies = [tally(), tally()];
        let mut targets = Places(Vec::new());
        targets.put(0, 1, &tallies[0]);
        targets.put(2, 1, &tallies[1]);
        let all = Tallies { worker: 1, listeners: Places(vec![]), groups: Places(vec![]), targets };
        let id = |slot| TargetId { slot, generation: 1 };
        let share = Share { worker: 1, workers: 2 };
        let (pools, lines) = (Pools::new(share), Lines::default());
        let idle = || tallies.each_ref().map(|tally| tally.sum().idle_connections);
        // Its group has spoken HTTP/2 to it before.
        lines.pretend(id(2));
        pools.pretend(id(2));
        pools.pretend(id(2));
        pools.pretend(id(0));
        assert_eq!((all.show_idle(&pools, &lines), idle()), (3, [1, 2]));
        // What has gone from the tables is not idle any more.
        pools.clear();
        lines.clear();
        assert_eq!((all.show_idle(&pools, &lines), idle()), (0, [0, 0]));
        pools.pretend(TargetId { slot: 0, generation: 2 });
        assert_eq!((all.show_idle(&pools, &lines), idle()), (0, [0, 0]), "another's");
    }
}
