//! The health of one target as a state machine.
//!
//! ```text
//!               in use ▶ ┌─────────┐ first success   ┌─────────┐
//!   ┌────────┐ ────────▶ │ initial │ ──────────────▶ │ healthy │ ◀┐
//!   │ unused │           └─────────┘                 └─────────┘  │ healthy_threshold
//!   └────────┘ ◀─ not in use  │ unhealthy_threshold       │       │ successes in a row
//!       ▲                     │ failures in a row         ▼       │
//!       │ delay over          └────────────────────▶ ┌───────────┐┘
//!  ┌──────────┐ ◀──────── deregister (from any) ──── │ unhealthy │
//!  │ draining │                                      └───────────┘
//!  └──────────┘ ── register ▶ healthy if the probes still say so, else initial
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use crate::model::HealthCheck;

use super::{Drain, Probe, Reason};

/// State of a target (AWS: `TargetHealth.State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Registered, with no verdict of the probes yet.
    Initial,
    /// May get traffic.
    Healthy,
    /// Gets none, except when its group fails open.
    Unhealthy,
    /// Gets none: its group is not in use, or the target is gone.
    Unused,
    /// Deregistered; gets nothing new and finishes what it has.
    Draining,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initial => "initial",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unused => "unused",
            Self::Draining => "draining",
        })
    }
}

/// A change of state, for events and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state that it left.
    pub from: State,
    /// The state that it is in.
    pub to: State,
    /// Why; `None` if `to` is healthy.
    pub reason: Option<Reason>,
    /// When.
    pub at: Instant,
}

/// The health of one registered target (AWS user guide, "Target health status").
///
/// Every method that may change the state returns the [`Transition`] if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetHealth {
    phase: Phase,
    /// Probes in a row that speak against the verdict: failures of a target that is new or
    /// healthy, successes of an unhealthy one.
    run: u32,
}

/// Where in the life of a registration a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Registered in a group that nothing forwards to; not probed.
    NotInUse,
    /// Registered, and what the probes say.
    InUse(Verdict),
    /// Deregistered, and what the probes say; `None` if it was not in use.
    Draining(Drain, Option<Verdict>),
    /// No longer registered.
    Gone,
}

/// What the probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Not yet anything; whether they have begun.
    Pending { probed: bool },
    /// Healthy, since when.
    Healthy { since: Instant },
    /// Unhealthy, by the kind of the most recent failure.
    Unhealthy(Reason),
}

const NEW: Verdict = Verdict::Pending { probed: false };

impl TargetHealth {
    /// A target that has been registered just now. `in_use`: whether a listener or a rule
    /// forwards to its group.
    #[must_use]
    pub fn registered(in_use: bool) -> Self {
        Self { phase: if in_use { Phase::InUse(NEW) } else { Phase::NotInUse }, run: 0 }
    }

    /// State.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::NotInUse | Phase::Gone => State::Unused,
            Phase::InUse(Verdict::Pending { .. }) => State::Initial,
            Phase::InUse(Verdict::Healthy { .. }) => State::Healthy,
            Phase::InUse(Verdict::Unhealthy(_)) => State::Unhealthy,
            Phase::Draining(..) => State::Draining,
        }
    }

    /// Why it is in that state; `None` if and only if it is healthy.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self.phase {
            Phase::NotInUse => Some(Reason::NotInUse),
            Phase::InUse(Verdict::Pending { probed: false }) => {
                Some(Reason::RegistrationInProgress)
            }
            Phase::InUse(Verdict::Pending { probed: true }) => Some(Reason::InitialHealthChecking),
            Phase::InUse(Verdict::Healthy { .. }) => None,
            Phase::InUse(Verdict::Unhealthy(reason)) => Some(reason),
            Phase::Draining(..) => Some(Reason::DeregistrationInProgress),
            Phase::Gone => Some(Reason::NotRegistered),
        }
    }

    /// Since when it is healthy; `None` if it is not.
    #[must_use]
    pub fn healthy_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::InUse(Verdict::Healthy { since }) => Some(since),
            Phase::NotInUse | Phase::InUse(_) | Phase::Draining(..) | Phase::Gone => None,
        }
    }

    /// Its draining; `None` if it does not drain.
    #[must_use]
    pub fn drain(&self) -> Option<Drain> {
        match self.phase {
            Phase::Draining(drain, _) => Some(drain),
            Phase::NotInUse | Phase::InUse(_) | Phase::Gone => None,
        }
    }

    /// Whether it should be probed: in use, or draining, so that a target that is registered
    /// again is known.
    #[must_use]
    pub fn wants_probes(&self) -> bool {
        match self.phase {
            Phase::InUse(_) | Phase::Draining(_, Some(_)) => true,
            Phase::NotInUse | Phase::Draining(_, None) | Phase::Gone => false,
        }
    }

    /// The workers know the target and probes begin; changes the reason of a new target only.
    pub fn probing_began(&mut self) {
        if let Phase::InUse(verdict) | Phase::Draining(_, Some(verdict)) = &mut self.phase
            && *verdict == NEW
        {
            *verdict = Verdict::Pending { probed: true };
        }
    }

    /// A probe has ended. While the target drains it counts in silence; if it is not in use or
    /// gone, it does not count.
    pub fn probed(
        &mut self,
        outcome: Probe,
        check: &HealthCheck,
        now: Instant,
    ) -> Option<Transition> {
        self.change(now, |health| match &mut health.phase {
            Phase::InUse(verdict) | Phase::Draining(_, Some(verdict)) => {
                (*verdict, health.run) = verdict.after(outcome, health.run, check, now);
            }
            Phase::NotInUse | Phase::Draining(_, None) | Phase::Gone => {}
        })
    }

    /// The target is not probed and counts as healthy.
    pub fn assume_healthy(&mut self, now: Instant) -> Option<Transition> {
        self.change(now, |health| match &mut health.phase {
            Phase::InUse(verdict) | Phase::Draining(_, Some(verdict)) => {
                if !matches!(verdict, Verdict::Healthy { .. }) {
                    (*verdict, health.run) = (Verdict::Healthy { since: now }, 0);
                }
            }
            Phase::NotInUse | Phase::Draining(_, None) | Phase::Gone => {}
        })
    }

    /// The health check is another one: counting begins anew, the state stays.
    pub fn health_check_changed(&mut self) {
        self.run = 0;
    }

    /// A listener or a rule forwards to the group (`in_use`), or no longer does. A draining
    /// target goes on draining.
    pub fn group_in_use(&mut self, in_use: bool, now: Instant) -> Option<Transition> {
        self.change(now, |health| {
            let phase = match (health.phase, in_use) {
                (Phase::NotInUse, true) => Phase::InUse(NEW),
                (Phase::InUse(_), false) => Phase::NotInUse,
                (Phase::Draining(drain, None), true) => Phase::Draining(drain, Some(NEW)),
                (Phase::Draining(drain, Some(_)), false) => Phase::Draining(drain, None),
                (Phase::NotInUse | Phase::Draining(_, None) | Phase::Gone, false)
                | (Phase::InUse(_) | Phase::Draining(_, Some(_)) | Phase::Gone, true) => return,
            };
            *health = Self { phase, run: 0 };
        })
    }

    /// The target is registered again: ends its draining, or brings it back. What is registered
    /// already stays as it is. `in_use` as in [`TargetHealth::registered`].
    pub fn register(&mut self, in_use: bool, now: Instant) -> Option<Transition> {
        self.change(now, |health| match health.phase {
            Phase::NotInUse | Phase::InUse(_) => {}
            Phase::Gone => *health = Self::registered(in_use),
            // Healthy from now on, so that slow start begins anew (spec 1.10).
            Phase::Draining(_, Some(Verdict::Healthy { .. })) if in_use => {
                health.phase = Phase::InUse(Verdict::Healthy { since: now });
            }
            Phase::Draining(_, verdict) => {
                *health = Self::registered(in_use);
                if verdict.is_some_and(|verdict| verdict != NEW) {
                    health.probing_began();
                }
            }
        })
    }

    /// The target is deregistered and drains for `delay`. One that drains already goes on as it
    /// began, whatever `delay` is.
    pub fn deregister(&mut self, delay: Duration, now: Instant) -> Option<Transition> {
        self.change(now, |health| {
            let verdict = match health.phase {
                Phase::NotInUse => None,
                Phase::InUse(verdict) => Some(verdict),
                Phase::Draining(..) | Phase::Gone => return,
            };
            health.phase = Phase::Draining(Drain::new(now, delay), verdict);
        })
    }

    /// Ends the draining if its time is over: the target is then [`TargetHealth::is_gone`].
    pub fn elapsed(&mut self, now: Instant) -> Option<Transition> {
        self.change(now, |health| {
            if health.drain().is_some_and(|drain| drain.is_over(now)) {
                *health = Self { phase: Phase::Gone, run: 0 };
            }
        })
    }

    /// Whether it is registered no longer and may be forgotten.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    fn change(&mut self, at: Instant, act: impl FnOnce(&mut Self)) -> Option<Transition> {
        let from = self.state();
        act(self);
        let to = self.state();
        (from != to).then(|| Transition { from, to, reason: self.reason(), at })
    }
}

impl Verdict {
    /// The verdict and the run of contrary probes after one more `outcome`.
    fn after(self, outcome: Probe, run: u32, check: &HealthCheck, now: Instant) -> (Self, u32) {
        let run = run.saturating_add(1);
        match (self, outcome.failure()) {
            (Self::Pending { .. }, None) => (Self::Healthy { since: now }, 0),
            (Self::Pending { .. } | Self::Healthy { .. }, Some(reason))
                if run >= check.unhealthy_threshold =>
            {
                (Self::Unhealthy(reason), 0)
            }
            (Self::Pending { .. }, Some(_)) => (Self::Pending { probed: true }, run),
            (Self::Healthy { .. }, Some(_)) => (self, run),
            (Self::Healthy { .. }, None) => (self, 0),
            (Self::Unhealthy(_), Some(reason)) => (Self::Unhealthy(reason), 0),
            (Self::Unhealthy(_), None) if run >= check.healthy_threshold => {
                (Self::Healthy { since: now }, 0)
            }
            (Self::Unhealthy(_), None) => (self, run),
        }
    }
}
