//! Which places in workers' tables are free: they are used again, so that tables do not grow with
//! what comes and goes.

use std::sync::Arc;

use crate::metrics::{Tally, TargetCounters};
use crate::snapshot::TargetId;

/// Places in workers' tables.
#[derive(Debug, Default)]
pub(super) struct Slots {
    free: Vec<u32>,
    used: u32,
    generation: u32,
}

impl Slots {
    /// Lets another take this place.
    pub(super) fn put_back(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// A free place, and the number of those who have had one so far.
    pub(super) fn take(&mut self) -> (u32, u32) {
        self.generation = self.generation.wrapping_add(1).max(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        (slot, self.generation)
    }

    /// A place for a target, and its counters.
    pub(super) fn target(&mut self, workers: usize) -> (TargetId, Arc<Tally<TargetCounters>>) {
        let (slot, generation) = self.take();
        (TargetId { slot, generation }, Arc::new(Tally::new(workers)))
    }
}
