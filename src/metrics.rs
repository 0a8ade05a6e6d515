//! Counters with one writer each, and their sum; latencies of one worker.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency that is told apart, in microseconds (ten minutes).
const LATENCY_MICROS_MAX: u64 = 600_000_000;
/// Significant digits of a latency.
const LATENCY_DIGITS: u8 = 2;

/// Histograms of one worker, by a small number that stands for what is measured.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Option<Histogram<u64>>>);

impl Latencies {
    /// Notes one latency of `subject`.
    pub fn record(&mut self, subject: u32, latency: Duration) {
        let subject = subject as usize;
        if self.0.len() <= subject {
            self.0.resize_with(subject + 1, || None);
        }
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let histogram = &mut self.0[subject];
        if histogram.is_none() {
            *histogram = Histogram::new_with_max(LATENCY_MICROS_MAX, LATENCY_DIGITS).ok();
        }
        if let Some(histogram) = histogram {
            histogram.saturating_record(micros.max(1));
        }
    }

    /// Adds what another worker has noted.
    pub fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize_with(other.0.len(), || None);
        }
        for (mine, other) in self.0.iter_mut().zip(&other.0) {
            match (mine, other) {
                (_, None) => {}
                (mine @ None, Some(other)) => *mine = Some(other.clone()),
                // Both have the same bounds, so adding cannot fail.
                (Some(mine), Some(other)) => drop(mine.add(other)),
            }
        }
    }

    /// The latency that this share of `subject`'s stays below, in microseconds; `None` before the
    /// first.
    #[must_use]
    pub fn quantile(&self, subject: u32, share: f64) -> Option<u64> {
        let histogram = self.0.get(subject as usize)?.as_ref()?;
        Some(histogram.value_at_quantile(share))
    }
}

/// A number that one worker writes and anyone reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the counter's worker may call it: with one writer a plain add needs no
    /// locked instruction.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Client connections of one worker, its own and those that others are handing to it. In a cache
/// line of its own: other workers look at it when they accept.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Occupancy(AtomicUsize);

/// In an [`Occupancy`] that takes no more from others.
const CLOSED: usize = 1 << (usize::BITS - 1);

impl Occupancy {
    /// Counts a connection of the worker itself.
    pub fn enter(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Counts a connection that another worker is about to hand over; `false` when none is taken
    /// any more. Once it is counted, the worker waits for it before it ends.
    #[must_use]
    pub fn try_enter(&self) -> bool {
        let open = self.0.fetch_add(1, Relaxed) & CLOSED == 0;
        if !open {
            self.leave();
        }
        open
    }

    /// A connection has ended.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Lets no connection be handed over from now on.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Relaxed);
    }

    /// The number of connections.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Relaxed) & !CLOSED
    }
}

/// Declares the counters of a worker and the totals over all.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What one worker has counted since it started.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
            /// Client connections open now.
            pub open: Occupancy,
        }

        /// What all workers have counted.
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Totals {
            /// The sum over `workers`.
            pub fn of<'a>(workers: impl IntoIterator<Item = &'a Counters>) -> Self {
                let mut totals = Self::default();
                for counters in workers {
                    $(totals.$name += counters.$name.value();)*
                }
                totals
            }
        }
    };
}

counters! {
    /// Client connections accepted.
    connections,
    /// L7 requests that were read.
    requests,
    /// Responses that were made here and not by a target.
    own_responses,
    /// Client connections that were handed to a worker with fewer.
    handed_over,
    /// Connections made to targets.
    target_connections,
    /// Connections to targets that could not be made.
    target_connection_errors,
    /// Requests sent on a pooled connection.
    target_connections_reused,
    /// Requests tried a second time.
    retries,
    /// Connections that ended in a panic.
    panics,
    /// Lines of access logs.
    access_log_lines,
    /// Lines of access logs that were dropped, for want of room.
    access_log_dropped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_of_workers_are_added() {
        let mut one = Latencies::default();
        one.record(2, Duration::from_millis(1));
        let mut other = Latencies::default();
        other.record(2, Duration::from_millis(9));
        other.record(5, Duration::from_secs(3_600));
        one.add(&other);
        assert_eq!(one.quantile(0, 0.5), None);
        assert!((990..=1010).contains(&one.quantile(2, 0.5).unwrap()));
        assert!((8_900..=9_100).contains(&one.quantile(2, 0.99).unwrap()));
        assert!(one.quantile(5, 0.5).unwrap() >= LATENCY_MICROS_MAX, "capped, not lost");
    }

    #[test]
    fn totals_are_the_sum_over_workers() {
        let workers = [Counters::default(), Counters::default()];
        workers[0].requests.add(2);
        workers[1].requests.add(3);
        assert_eq!(Totals::of(&workers), Totals { requests: 5, ..Totals::default() });
    }
}
