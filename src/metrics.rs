//! Counters with one writer each, and their sum.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

/// Declares the counters of a worker and the totals over all.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What one worker has counted since it started.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_over_workers() {
        let workers = [Counters::default(), Counters::default()];
        workers[0].requests.add(2);
        workers[1].requests.add(3);
        assert_eq!(Totals::of(&workers), Totals { requests: 5, ..Totals::default() });
    }
}
