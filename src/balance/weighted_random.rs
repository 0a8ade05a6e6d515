//! `weighted_random`: at random, by weight.

use super::Shares;

/// A random eligible target; [`super::Balancer::choose`] says what the arguments mean.
///
/// The sum runs over eligible targets only, so what others would have got is spread by weight.
pub(super) fn choose(
    shares: &Shares,
    random: u64,
    eligible: impl Fn(usize) -> bool,
) -> Option<usize> {
    let point = scaled(random, shares.total(&eligible));
    shares.at(point, eligible)
}

/// `random`, uniform over all `u64`, brought into `0..total` (to 0 for a `total` of 0) by
/// multiplication: the uneven rest is below `total / 2^64`, and weak low bits do no harm.
fn scaled(random: u64, total: u64) -> u64 {
    ((u128::from(random) * u128::from(total)) >> 64) as u64
}
