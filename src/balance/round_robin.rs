//! `round_robin`: targets in turn, each as often as its weight says and evenly spread.
//!
//! One round is worked out in advance, in the order of nginx's smooth weighted round robin
//! (nginx:src/http/ngx_http_upstream_round_robin.c), so that a choice is one look into a table.
//! Start with [`Schedule::choose`].

use super::Shares;

/// Most slots in one round, unless there are more targets than that. Weights that need a longer
/// round are scaled down to it; five targets always fit exactly, as 5 × 999 is less.
const SLOTS_MAX: usize = 8 * 1024;

/// One round: indices of targets in the order in which they get their turn.
#[derive(Debug, Clone)]
pub(super) struct Schedule(Box<[u32]>);

impl Schedule {
    /// The round for these shares; empty when no target has one.
    pub(super) fn new(shares: &Shares) -> Self {
        let weights = bounded(&shares.0);
        let total: i64 = weights.iter().sum();
        if weights.iter().all(|&weight| weight == 1) {
            return Self((0..weights.len() as u32).collect());
        }
        let mut credits = vec![0; weights.len()];
        Self((0..total).map(|_| next(&weights, total, &mut credits)).collect())
    }

    /// The target whose turn it is. When that one is not eligible, another gets its turn: over
    /// the rounds, each eligible target exactly as often as its weight says.
    pub(super) fn choose(
        &self,
        shares: &Shares,
        turn: u32,
        eligible: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let slots = self.0.len();
        let round = (turn as usize).checked_div(slots)?;
        let slot = turn as usize % slots;
        let scheduled = self.0[slot] as usize;
        if eligible(scheduled) {
            return Some(scheduled);
        }
        // The next eligible target in the schedule would always be the same one, and get double
        // its share. So the lost turns of a slot rotate from round to round; the slot is added
        // so that the lost turns of one round differ as well.
        let total = shares.total(&eligible);
        let point = (round + slot) as u64 % total.max(1);
        shares.at(point, eligible)
    }
}

/// `weights` scaled down where their sum is above [`SLOTS_MAX`]; none falls to zero by that.
fn bounded(weights: &[u32]) -> Vec<i64> {
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let scaled = |weight: u32| match (weight, total <= SLOTS_MAX as u64) {
        (0, _) => 0,
        (weight, true) => i64::from(weight),
        (weight, false) => (u64::from(weight) * SLOTS_MAX as u64 / total).max(1) as i64,
    };
    weights.iter().map(|&weight| scaled(weight)).collect()
}

/// One step of smooth weighted round robin: each target earns its weight, the richest gets the
/// turn (the first of equals) and pays the total.
fn next(weights: &[i64], total: i64, credits: &mut [i64]) -> u32 {
    let mut richest = 0;
    for (index, weight) in weights.iter().enumerate() {
        credits[index] += weight;
        if credits[index] > credits[richest] {
            richest = index;
        }
    }
    credits[richest] -= total;
    richest as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Weight;

    fn schedule(weights: &[u16]) -> Vec<u32> {
        let weights: Vec<_> = weights.iter().map(|&weight| Weight::new(weight).unwrap()).collect();
        Schedule::new(&Shares::new(&weights)).0.into_vec()
    }

    #[test]
    fn round_has_the_order_of_nginx_and_is_as_short_as_the_weights_allow() {
        let cases: [(&[u16], &[u32]); 8] = [
            (&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]),
            (&[4, 2], &[0, 1, 0]),
            (&[1, 1, 1], &[0, 1, 2]),
            (&[7, 7], &[0, 1]),
            (&[0, 3, 0, 3], &[1, 3]),
            (&[0, 9], &[1]),
            (&[0, 0], &[]),
            (&[], &[]),
        ];
        for (weights, expected) in cases {
            assert_eq!(schedule(weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn round_of_many_unequal_weights_is_scaled_down_and_leaves_no_target_out() {
        let weights: Vec<u16> = (0..1000).map(|index| index % 1000).collect();
        let round = schedule(&weights);
        assert!(round.len() <= SLOTS_MAX + weights.len(), "{}", round.len());
        let turns = |target| round.iter().filter(|&&index| index == target).count();
        assert_eq!(turns(0), 0);
        assert_eq!(turns(1), 1);
        assert_eq!(turns(999), 999 * SLOTS_MAX / (999 * 500));
    }
}
