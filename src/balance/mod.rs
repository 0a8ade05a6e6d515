//! Chooses the target of a group that a request (L4: a connection) should try; one file per
//! algorithm.
//!
//! A [`Balancer`] is compiled once per target group and never changes. Whether a target may be
//! chosen at all (healthy, not draining, not tried already) and how busy it is are questions it
//! asks the caller for each choice. It neither connects nor counts, reads no clock, draws no
//! random number (turns and random numbers are arguments) and allocates nothing per choice.
//!
//! Weights are shares, not priorities: a target of weight 0 is never chosen, not even alone.
//! What an ineligible target leaves goes to all the eligible ones by weight, never to one
//! neighbour. Start with [`Balancer::choose`].

mod least_outstanding;
mod round_robin;
#[cfg(test)]
mod tests;
mod weighted_random;

use crate::model::{Algorithm, Weight};

/// The algorithm of a target group, compiled for the weights of its targets.
#[derive(Debug, Clone)]
pub struct Balancer {
    shares: Shares,
    method: Method,
}

/// How this balancer chooses.
#[derive(Debug, Clone)]
enum Method {
    RoundRobin(round_robin::Schedule),
    LeastOutstandingRequests,
    WeightedRandom,
}

impl Balancer {
    /// Compiles `algorithm` for targets with these `weights`, in the order of the group.
    ///
    /// Any weights will do, also none and only zeros: then nothing is ever chosen.
    #[must_use]
    pub fn new(algorithm: Algorithm, weights: &[Weight]) -> Self {
        let shares = Shares::new(weights);
        let method = match algorithm {
            Algorithm::RoundRobin => Method::RoundRobin(round_robin::Schedule::new(&shares)),
            Algorithm::LeastOutstandingRequests => Method::LeastOutstandingRequests,
            Algorithm::WeightedRandom => Method::WeightedRandom,
        };
        Self { shares, method }
    }

    /// Chooses the index of the target to try, among those for which `eligible(index)`; `None`
    /// when there is none of them with a weight above zero.
    ///
    /// - `turn`: the rotation counter of the group, advanced by one per choice by the caller; it
    ///   may wrap. Unused by `weighted_random`.
    /// - `random`: uniform over all `u64`. Used by `weighted_random` only.
    /// - `outstanding(index)`: requests (L4: connections) in flight at that target. Used by
    ///   `least_outstanding_requests` only.
    ///
    /// The answers of the closures may change while it chooses, as other workers go on working;
    /// then the choice is still a target that was eligible when it was asked about.
    ///
    /// Cost: round robin asks about one target when that one is eligible; everything else asks
    /// about each target at most three times.
    #[must_use]
    pub fn choose(
        &self,
        turn: u32,
        random: u64,
        eligible: impl Fn(usize) -> bool,
        outstanding: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        match &self.method {
            Method::RoundRobin(schedule) => schedule.choose(&self.shares, turn, eligible),
            Method::LeastOutstandingRequests => {
                least_outstanding::choose(&self.shares, turn, eligible, outstanding)
            }
            Method::WeightedRandom => weighted_random::choose(&self.shares, random, eligible),
        }
    }
}

/// Weights of the targets of a group, divided by their greatest common divisor so that equal
/// weights are all 1.
#[derive(Debug, Clone)]
struct Shares(Box<[u32]>);

impl Shares {
    fn new(weights: &[Weight]) -> Self {
        let divisor = weights.iter().map(|weight| u32::from(weight.value())).fold(0, gcd).max(1);
        Self(weights.iter().map(|weight| u32::from(weight.value()) / divisor).collect())
    }

    /// Index and share of every target that has a share and for which `among(index)`.
    fn each(&self, among: impl Fn(usize) -> bool) -> impl Iterator<Item = (usize, u64)> {
        self.0
            .iter()
            .enumerate()
            .filter(move |&(index, &share)| share > 0 && among(index))
            .map(|(index, &share)| (index, u64::from(share)))
    }

    /// Sum of the shares of the targets for which `among(index)`.
    fn total(&self, among: impl Fn(usize) -> bool) -> u64 {
        self.each(among).map(|(_, share)| share).sum()
    }

    /// The target that covers `point` when the shares of those for which `among(index)` are laid
    /// end to end. The last of them when `point` lies beyond, which happens when targets ceased
    /// to be eligible since the total was taken.
    fn at(&self, mut point: u64, among: impl Fn(usize) -> bool) -> Option<usize> {
        let mut last = None;
        for (index, share) in self.each(among) {
            if point < share {
                return Some(index);
            }
            point -= share;
            last = Some(index);
        }
        last
    }
}

/// Greatest common divisor; of zero and `b` it is `b`.
fn gcd(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
