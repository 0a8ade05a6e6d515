//! One target group as control knows it: its targets, their health, and the view that follows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::health::anomaly::{self, Observed};
use crate::health::{Outliers, Routable, SlowStart, State, TargetHealth, Transition, routable};
use crate::metrics::{Tally, TargetCounters};
use crate::model::{Target, TargetGroup, Weight};
use crate::snapshot::{GroupBase, GroupView, Load, TargetId, TargetView};
use crate::tls;

/// A target group.
#[derive(Debug)]
pub(in crate::control) struct Group {
    pub(in crate::control) base: GroupBase,
    pub(in crate::control) settings: Arc<TargetGroup>,
    pub(in crate::control) targets: BTreeMap<SocketAddr, Entry>,
    pub(in crate::control) fail_open: bool,
    /// Whether the model still has it; if not, its targets drain.
    pub(super) registered: bool,
    /// Whether something forwards to it.
    in_use: bool,
    outliers: Outliers,
    pub(super) view: Arc<GroupView>,
}

/// A target of a group.
#[derive(Debug)]
pub(in crate::control) struct Entry {
    pub(in crate::control) id: TargetId,
    pub(in crate::control) load: Arc<Load>,
    pub(in crate::control) tally: Arc<Tally<TargetCounters>>,
    pub(in crate::control) weight: Weight,
    pub(in crate::control) health: TargetHealth,
    slow_start: SlowStart,
    /// What anomaly mitigation multiplies the weight by, 0.05 to 1.
    factor: f64,
    /// Requests and failures at the end of the last window.
    seen: (u64, u64),
}

impl Group {
    pub(super) fn new(base: GroupBase, settings: &TargetGroup) -> Self {
        let settings = Arc::new(settings.clone());
        let view = GroupView::new(base.clone(), settings.clone(), Vec::new(), false);
        Self {
            base,
            settings,
            targets: BTreeMap::new(),
            fail_open: false,
            registered: false,
            in_use: false,
            outliers: Outliers::default(),
            view: Arc::new(view),
        }
    }

    /// Whether traffic itself has taken `target` out.
    pub(in crate::control) fn is_ejected(&self, target: SocketAddr) -> bool {
        self.outliers.is_ejected(target)
    }

    /// Whether it is registered with these settings already.
    pub(super) fn is(&self, settings: &TargetGroup, in_use: bool) -> bool {
        self.registered && self.in_use == in_use && *self.settings == *settings
    }

    pub(super) fn apply(
        &mut self,
        settings: &TargetGroup,
        in_use: bool,
        now: Instant,
        place: &mut impl FnMut() -> (TargetId, Arc<Tally<TargetCounters>>),
        note: &mut impl FnMut(SocketAddr, Transition),
    ) {
        (self.registered, self.in_use) = (true, in_use);
        let check_changed = self.settings.health_check != settings.health_check;
        self.settings = Arc::new(settings.clone());
        let steady = self.has_steady(None, now);
        let wanted: BTreeMap<SocketAddr, &Target> =
            settings.targets.iter().map(|target| (target.address, target)).collect();
        for (&address, &target) in &wanted {
            let entry = self.targets.entry(address).or_insert_with(|| {
                let (id, tally) = place();
                Entry {
                    id,
                    load: Arc::default(),
                    tally,
                    weight: target.weight,
                    health: TargetHealth::registered(in_use),
                    slow_start: SlowStart::registered(steady),
                    factor: 1.0,
                    seen: (0, 0),
                }
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

    /// Encrypts with `client` from now on, if that is another one.
    pub(super) fn encrypt(&mut self, client: Option<Arc<tls::Client>>, now: Instant) {
        let is_it = match (&self.base.tls, &client) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !is_it {
            self.base.tls = client;
            self.refresh(now);
        }
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

    pub(super) fn deregister_all(
        &mut self,
        now: Instant,
        mut note: impl FnMut(SocketAddr, Transition),
    ) {
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
    pub(super) fn turned(&mut self, target: SocketAddr, transition: Transition, now: Instant) {
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
    pub(super) fn refresh(&mut self, now: Instant) {
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
            tally: entry.tally.clone(),
            ramping_since: entry
                .slow_start
                .began()
                .filter(|_| entry.slow_start.is_ramping(ramp, now)),
        });
        let views = views.collect();
        let (base, settings) = (self.base.clone(), self.settings.clone());
        let view = GroupView::new(base, settings, views, self.fail_open);
        self.view = Arc::new(view);
    }

    /// Takes out targets that fail in a row and lets back those whose time is over.
    pub(super) fn eject(&mut self, now: Instant) -> bool {
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

    pub(super) fn collect_gone(&mut self, now: Instant) -> Vec<(SocketAddr, TargetId)> {
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
    pub(super) fn end_ramps(&mut self, now: Instant) -> bool {
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

    pub(super) fn reweigh(&mut self, now: Instant) -> bool {
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
    /// Whether it gets less because it fails more than its peers.
    pub(in crate::control) fn is_mitigated(&self) -> bool {
        self.factor < 1.0
    }

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
