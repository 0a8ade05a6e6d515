//! Outlier detection: traffic itself takes a target out for a while. Beyond ALB.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::model::OutlierDetection;

/// A target has been taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// When it returns.
    pub until: Instant,
    /// Which one in a row this is, from 1.
    pub times: u32,
}

/// What is known of the targets of one group. Ejection is apart from the health state: a target
/// gets traffic if it is [`super::Routable`] and not ejected.
#[derive(Debug, Clone, Default)]
pub struct Outliers {
    targets: HashMap<SocketAddr, Record>,
}

/// What is known of one target; one without failures has none.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    /// Failures in a row.
    run: u32,
    /// Its ejection, or the last one.
    last: Option<Ejection>,
    ejected: bool,
}

impl Outliers {
    /// A request or connection of `target` went well: its run of failures is over.
    pub fn succeeded(&mut self, target: SocketAddr) {
        if let Some(record) = self.targets.get_mut(&target) {
            record.run = 0;
        }
    }

    /// A request or connection of `target` failed (no connection, or a 5xx). Ejects it if that is
    /// one too many in a row and at most `max_ejected_percentage` of the group's `targets` are
    /// ejected with it; if they are not, each further failure asks again. Failures of a target
    /// that is out already, by requests begun before, do not count.
    pub fn failed(
        &mut self,
        target: SocketAddr,
        targets: usize,
        settings: &OutlierDetection,
        now: Instant,
    ) -> Option<Ejection> {
        let room = (self.ejected() + 1) * 100
            <= targets.saturating_mul(usize::from(settings.max_ejected_percentage));
        let record = self.targets.entry(target).or_default();
        if record.ejected {
            return None;
        }
        record.run = record.run.saturating_add(1);
        if record.run < settings.consecutive_failures || !room {
            return None;
        }
        let times = record.times_remembered(settings.base_ejection, now).saturating_add(1);
        let length = settings.base_ejection.saturating_mul(times).min(settings.max_ejection);
        let ejection = Ejection { until: now + length, times };
        *record = Record { run: 0, last: Some(ejection), ejected: true };
        Some(ejection)
    }

    /// The targets whose ejection is over at `now`, each reported once, in order of address. They
    /// begin without failures.
    pub fn elapsed(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut returned = Vec::new();
        for (&target, record) in &mut self.targets {
            if record.ejected && record.last.is_none_or(|last| last.until <= now) {
                record.ejected = false;
                returned.push(target);
            }
        }
        returned.sort_unstable();
        returned
    }

    /// When the next target returns; `None` if none is out.
    #[must_use]
    pub fn next_return(&self) -> Option<Instant> {
        let out = self.targets.values().filter(|record| record.ejected);
        out.filter_map(|record| record.last).map(|last| last.until).min()
    }

    /// Whether `target` is out.
    #[must_use]
    pub fn is_ejected(&self, target: SocketAddr) -> bool {
        self.targets.get(&target).is_some_and(|record| record.ejected)
    }

    /// How many targets are out.
    #[must_use]
    pub fn ejected(&self) -> usize {
        self.targets.values().filter(|record| record.ejected).count()
    }

    /// Forgets every target that `registered` does not accept.
    pub fn retain(&mut self, registered: impl Fn(SocketAddr) -> bool) {
        self.targets.retain(|&target, _| registered(target));
    }
}

impl Record {
    /// How many earlier ejections still count: one less for each `base` since the last return, so
    /// that a target which fails now and then does not stay out for ever longer.
    fn times_remembered(&self, base: Duration, now: Instant) -> u32 {
        let Some(last) = self.last else { return 0 };
        let good = now.saturating_duration_since(last.until).as_nanos();
        let forgotten = good.checked_div(base.as_nanos()).unwrap_or(u128::MAX);
        last.times.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }
}
