//! Which core does what, so that load and targets do not take the time that a balancer is given.

use core_affinity::CoreId;

/// The cores of a comparison. A balancer always gets one, and has one worker.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cores {
    /// Cores that this process may use.
    pub(super) count: usize,
    /// The balancers'; one runs at a time.
    pub(super) balancer: Option<CoreId>,
    /// The load generator's, and this process's own.
    pub(super) load: Option<CoreId>,
    /// The built-in targets'.
    pub(super) targets: Option<CoreId>,
}

impl Cores {
    /// Divides what there is.
    pub(super) fn divide() -> Self {
        Self::of(&core_affinity::get_core_ids().unwrap_or_default())
    }

    fn of(cores: &[CoreId]) -> Self {
        let count = cores.len();
        let (balancer, load, targets) = match *cores {
            [] | [_] => (None, None, None),
            [first, second] => (Some(first), Some(second), Some(second)),
            [first, second, third, ..] => (Some(first), Some(second), Some(third)),
        };
        Self { count, balancer, load, targets }
    }

    /// What shares what, in a sentence.
    pub(super) fn describe(&self) -> String {
        let id = |core: Option<CoreId>| core.map_or(0, |core| core.id);
        let (balancer, load, targets) = (id(self.balancer), id(self.load), id(self.targets));
        match self.count {
            0 | 1 => "1 core: balancer, load generator and targets share it, so rates and \
                      latencies say little; processor time per request still does."
                .into(),
            2 => format!(
                "2 cores: the balancer that is measured has core {balancer} to itself (one \
                 worker); load generator and targets share core {load}, which limits the rates: \
                 see how much of its core each balancer used."
            ),
            count => format!(
                "{count} cores: the balancer that is measured has core {balancer} to itself (one \
                 worker), the load generator core {load}, the targets core {targets}."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_balancer_shares_its_core_only_where_there_is_one() {
        let cores: Vec<CoreId> = (0..8).map(|id| CoreId { id }).collect();
        for count in 0..=cores.len() {
            let divided = Cores::of(&cores[..count]);
            assert_eq!(divided.balancer.is_some(), count > 1);
            assert!(count < 2 || divided.balancer != divided.load);
            assert!(count < 2 || divided.balancer != divided.targets);
            assert!(count < 3 || divided.load != divided.targets);
            assert!(divided.describe().starts_with(&count.max(1).to_string()));
        }
    }
}
