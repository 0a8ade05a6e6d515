//! What there is to measure, handed out by the actor and read elsewhere.
//!
//! The actor only lists what it has: names, states, and shares of the counters. Summing and writing
//! them takes milliseconds, which is for a thread that nobody waits for ([`Measure::read`]).

mod process;
mod rings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::access_log::{self, Names};
use crate::exposition::{self, Happened, Rings, STATES, Sample};
use crate::metrics::{
    Counters, GroupCounters, ListenerCounters, RuleCounters, Tally, TargetCounters, Totals,
};
use crate::model::{Action, Mode};
use crate::proxy::ErrorKind;
use crate::snapshot::{ListenerView, Load};
use crate::tls::Server;

use super::actor::Actor;
use super::handle::Event;
use super::registry::{Entry, Group};

pub(super) use rings::RingReader;

/// Everything that is counted, and what it is called.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    driver: &'static str,
    generation: u64,
    draining: bool,
    counters: Vec<Arc<Counters>>,
    listeners: Vec<Listener>,
    groups: Vec<GroupOf>,
}

#[derive(Debug)]
struct Listener {
    id: (u32, u32),
    name: String,
    resource: String,
    is_l4: bool,
    tally: Arc<Tally<ListenerCounters>>,
    rules: Vec<(String, Arc<Tally<RuleCounters>>)>,
    group: Option<usize>,
    tls: Option<Arc<Server>>,
}

/// A target group without what is counted of it and its targets.
#[derive(Debug)]
struct GroupOf {
    group: exposition::Group,
    tally: Arc<Tally<GroupCounters>>,
    targets: Vec<(Arc<Load>, Arc<Tally<TargetCounters>>)>,
}

impl Actor {
    /// What there is to measure now.
    pub(super) fn measure(&self) -> Measure {
        Measure {
            driver: self.ground.engine.driver(),
            generation: self.generation,
            draining: self.draining,
            counters: self.workers.counters(),
            listeners: self.listeners.live().map(|(_, view)| listener(view)).collect(),
            // In the order of the model, whose places listeners name their groups by.
            groups: self
                .model
                .target_groups
                .iter()
                .filter_map(|group| Some(group_of(&group.name, self.registry.group(&group.name)?)))
                .collect(),
        }
    }
}

fn listener(view: &ListenerView) -> Listener {
    let settings = &view.settings;
    let mut priorities: Vec<u16> =
        settings.rules.iter().map(|rule| rule.priority.value()).collect();
    priorities.sort_unstable();
    let labels = priorities.iter().map(u16::to_string).chain(["default".into()]);
    let is_l4 = settings.mode == Mode::L4;
    let group = match &settings.default {
        Action::Forward(forward) if is_l4 => forward.groups.first().map(|(at, _)| at.0 as usize),
        _ => None,
    };
    Listener {
        id: (view.id.slot, view.id.generation),
        name: settings.name.clone(),
        resource: Names::new(&settings.name, settings.mode, settings.address).elb,
        is_l4,
        tally: view.tallies.listener.clone(),
        rules: labels.zip(view.tallies.rules.iter().cloned()).collect(),
        group,
        tls: view.tls.clone(),
    }
}

fn group_of(name: &str, group: &Group) -> GroupOf {
    let mut states = [0; STATES.len()];
    for entry in group.targets.values() {
        states[entry.health.state() as usize] += 1;
    }
    let id = group.base.id;
    let target = |(address, entry): (&std::net::SocketAddr, &Entry)| exposition::Target {
        address: address.to_string(),
        is_healthy: entry.health.state() == crate::health::State::Healthy,
        weight: entry.weight.value(),
        ..exposition::Target::default()
    };
    let ejected = group.targets.keys().filter(|address| group.is_ejected(**address)).count();
    GroupOf {
        group: exposition::Group {
            id: (id.slot, id.generation),
            name: name.into(),
            resource: access_log::group_resource(name),
            states,
            ejected: ejected as u64,
            mitigated: group.targets.values().filter(|entry| entry.is_mitigated()).count() as u64,
            fail_open: group.fail_open,
            targets: group.targets.iter().map(target).collect(),
            ..exposition::Group::default()
        },
        tally: group.base.tally.clone(),
        targets: group
            .targets
            .values()
            .map(|entry| (entry.load.clone(), entry.tally.clone()))
            .collect(),
    }
}

impl Measure {
    /// Reads all counters. Takes a few microseconds per group, and more for those with traffic:
    /// not for the control thread.
    pub(super) fn read(self, happened: Happened, rings: Option<Rings>) -> Sample {
        let totals = |counters: &Arc<Counters>| Totals::of([counters.as_ref()]);
        Sample {
            version: env!("CARGO_PKG_VERSION"),
            driver: self.driver,
            generation: self.generation,
            draining: self.draining,
            happened,
            error_kinds: &ERROR_KINDS,
            workers: self.counters.iter().map(totals).collect(),
            rings,
            process: process::read(),
            listeners: self.listeners.into_iter().map(Listener::read).collect(),
            groups: self.groups.into_iter().map(GroupOf::read).collect(),
        }
    }
}

/// Names of errors by their number.
static ERROR_KINDS: std::sync::LazyLock<Vec<&'static str>> =
    std::sync::LazyLock::new(|| ErrorKind::ALL.iter().map(|kind| kind.row().name).collect());

impl Listener {
    fn read(self) -> exposition::Listener {
        let rules = self.rules.into_iter().map(|(rule, tally)| (rule, tally.sum()));
        let certificates = self.tls.iter().flat_map(|server| server.certificates());
        let certificates =
            certificates.map(|named| (named.path.clone(), named.certificate.not_after()));
        exposition::Listener {
            id: self.id,
            name: self.name,
            resource: self.resource,
            is_l4: self.is_l4,
            totals: self.tally.sum(),
            rules: rules.collect(),
            group: self.group,
            certificates: certificates.collect(),
        }
    }
}

impl GroupOf {
    fn read(self) -> exposition::Group {
        let mut group = self.group;
        group.totals = self.tally.sum();
        for (target, (load, tally)) in group.targets.iter_mut().zip(self.targets) {
            target.in_flight = load.in_flight().into();
            target.requests = load.requests();
            target.failures = load.failures();
            target.totals = tally.sum();
        }
        group
    }
}

/// How often what happened. Written by the control thread.
#[derive(Debug, Default)]
pub(super) struct Tale {
    changes: [[AtomicU64; 2]; 2],
    transitions: [AtomicU64; STATES.len()],
    drained: AtomicU64,
    spans: [AtomicU64; 2],
}

impl Tale {
    /// Counts spans that a collector took.
    pub(super) fn spans_exported(&self, count: usize) {
        self.spans[0].fetch_add(count as u64, Relaxed);
    }

    /// Counts spans that were dropped here, or refused by a collector.
    pub(super) fn spans_dropped(&self, count: usize) {
        self.spans[1].fetch_add(count as u64, Relaxed);
    }

    /// Counts `event`.
    pub(super) fn note(&self, event: &Event) {
        let by = |by: &str| usize::from(by != "file");
        let count = match event {
            Event::Configured { by: who, .. } => Some(&self.changes[by(who)][0]),
            Event::Refused { by: who, .. } => Some(&self.changes[by(who)][1]),
            Event::Health { to, .. } => {
                STATES.iter().position(|state| state == to).map(|at| &self.transitions[at])
            }
            Event::Drained { .. } => Some(&self.drained),
            Event::Stopping { .. } => None,
        };
        if let Some(count) = count {
            count.fetch_add(1, Relaxed);
        }
    }

    /// All counts.
    pub(super) fn read(&self) -> Happened {
        let value = |count: &AtomicU64| count.load(Relaxed);
        Happened {
            changes: self.changes.each_ref().map(|counts| counts.each_ref().map(value)),
            transitions: self.transitions.each_ref().map(value),
            drained: value(&self.drained),
            spans: self.spans.each_ref().map(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::State;

    #[test]
    fn states_are_numbered_in_the_order_of_their_labels() {
        let states =
            [State::Initial, State::Healthy, State::Unhealthy, State::Unused, State::Draining];
        for (state, label) in states.into_iter().zip(STATES) {
            assert_eq!((state.to_string().as_str(), STATES[state as usize]), (label, label));
        }
    }

    #[test]
    fn events_are_counted_by_what_they_are() {
        let tale = Tale::default();
        let by = |who: &str| Event::Configured { time: 0, generation: 2, by: who.into() };
        tale.note(&by("file"));
        tale.note(&by("api"));
        tale.note(&by("api"));
        tale.note(&Event::Refused { time: 0, by: "file".into(), problems: vec![] });
        tale.note(&Event::Drained { time: 0, target_group: "g".into(), target: "t".into() });
        tale.note(&Event::Stopping { time: 0 });
        let read = tale.read();
        assert_eq!((read.changes, read.drained), ([[1, 1], [2, 0]], 1));
    }
}
