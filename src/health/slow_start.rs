//! Slow start: a target that turned healthy reaches its full share over a while.

use std::time::{Duration, Instant};

/// Least share of a ramping target. AWS names no number; with none, a target would wait for its
/// first request for as long as the ramp takes to leave zero.
const SHARE_MIN: f64 = 0.01;

/// Share of its full traffic that a target gets `since_healthy` after it turned healthy, with a
/// ramp of `duration`: linear from 0.01 to 1, and 1 from the end of the ramp on (AWS:
/// `slow_start.duration_seconds`). Always above 0 and at most 1; a zero `duration` gives 1.
#[must_use]
pub fn share(since_healthy: Duration, duration: Duration) -> f64 {
    if since_healthy >= duration {
        return 1.0;
    }
    (since_healthy.as_secs_f64() / duration.as_secs_f64()).max(SHARE_MIN)
}

/// Whether and since when one target ramps. Control keeps one beside each
/// [`super::TargetHealth`] and tells it of every change to and from healthy.
///
/// A target ramps only beside a *steady* one, which is healthy and does not ramp: those that are
/// registered together into an empty group, or are there when ringway starts, get their full
/// share at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowStart {
    /// The registration found no steady target, so the first time healthy needs no ramp.
    exempt: bool,
    began: Option<Instant>,
}

impl SlowStart {
    /// For a target that is registered just now; `steady`: whether its group had a steady target
    /// before that (before all of them, if several are registered in one call).
    #[must_use]
    pub fn registered(steady: bool) -> Self {
        Self { exempt: !steady, began: None }
    }

    /// The target turned healthy; `steady`: whether another target of its group is steady now.
    /// With a zero `duration` (slow start is off) it is steady itself, and stays so when slow
    /// start is turned on later.
    pub fn turned_healthy(&mut self, steady: bool, duration: Duration, now: Instant) {
        let ramps = steady && !self.exempt && !duration.is_zero();
        *self = Self { exempt: false, began: ramps.then_some(now) };
    }

    /// The target turned unhealthy, unused or draining: its ramp is over, and the next time
    /// healthy begins one anew.
    pub fn ended(&mut self) {
        self.began = None;
    }

    /// Whether it ramps at `now`.
    #[must_use]
    pub fn is_ramping(&self, duration: Duration, now: Instant) -> bool {
        self.began.is_some_and(|began| now.saturating_duration_since(began) < duration)
    }

    /// When its ramp began, for the snapshot: workers take [`share`] of it. `None`: full share.
    #[must_use]
    pub fn began(&self) -> Option<Instant> {
        self.began
    }

    /// Its share at `now`; 1 if it does not ramp.
    #[must_use]
    pub fn share(&self, duration: Duration, now: Instant) -> f64 {
        self.began.map_or(1.0, |began| share(now.saturating_duration_since(began), duration))
    }
}
