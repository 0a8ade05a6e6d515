//! How long a deregistered target may finish what it has in flight.

use std::time::{Duration, Instant};

/// The draining of one target. It lasts the whole deregistration delay, also when nothing is in
/// flight: as on AWS, the state is shown until then, while connections go as they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When what is still in flight is cut and the target is gone.
    pub until: Instant,
}

impl Drain {
    /// Draining that began at `now` and lasts for `deregistration_delay`; zero ends it at once.
    #[must_use]
    pub fn new(now: Instant, deregistration_delay: Duration) -> Self {
        Self { until: now + deregistration_delay }
    }

    /// Whether it is over at `now`.
    #[must_use]
    pub fn is_over(self, now: Instant) -> bool {
        now >= self.until
    }

    /// What is left of it at `now`.
    #[must_use]
    pub fn left(self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }
}
