//! What is counted of one thing: a lane for each worker.

use super::Counts;

/// Counters of one thing, one set for each worker. Shared by control and the workers; whoever
/// holds it may read the sum, and each worker writes in its own lane only.
#[derive(Debug)]
pub struct Tally<T>(Box<[Lane<T>]>);

/// Counters of one worker, on cache lines that no other worker writes.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane<T>(T);

impl<T: Counts + Default> Tally<T> {
    /// Nothing counted yet, with room for `workers`; for one at least.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Lane::default()).collect())
    }
}

impl<T: Counts> Tally<T> {
    /// The lane of `worker`.
    #[must_use]
    pub fn of(&self, worker: usize) -> &T {
        // There is always a first one, and a worker that is not known has none to spoil.
        &self.0[worker.min(self.0.len() - 1)].0
    }

    /// The sum over all workers.
    #[must_use]
    pub fn sum(&self) -> T::Sum {
        let mut sum = T::Sum::default();
        self.0.iter().for_each(|lane| lane.0.add_to(&mut sum));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RuleCounters;

    #[test]
    fn lanes_are_apart_and_summed() {
        let tally = Tally::<RuleCounters>::new(3);
        let place = |worker| std::ptr::from_ref(tally.of(worker)).addr();
        assert!(place(1) - place(0) >= 64 && place(0) % 64 == 0);
        tally.of(0).responses[1].add(2);
        tally.of(2).responses[1].add(5);
        assert_eq!(tally.sum().responses, [0, 7, 0, 0, 0]);
    }

    #[test]
    fn tally_for_nobody_has_a_lane_all_the_same() {
        let tally = Tally::<RuleCounters>::new(0);
        tally.of(7).responses[0].add(1);
        assert_eq!(tally.sum().responses[0], 1);
    }
}
