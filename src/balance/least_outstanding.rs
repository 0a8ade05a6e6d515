//! `least_outstanding_requests`: the target with the fewest requests in flight per weight; among
//! equals in turn, by weight.

use std::cmp::Ordering;

use super::Shares;

/// The least loaded target; [`super::Balancer::choose`] says what the arguments mean.
///
/// Every target of an idle group has the least load. Sharing those ties by weight, as nginx's
/// `least_conn` does, keeps weights in force when nothing is busy.
pub(super) fn choose(
    shares: &Shares,
    turn: u32,
    eligible: impl Fn(usize) -> bool,
    outstanding: impl Fn(usize) -> u32,
) -> Option<usize> {
    let least = Least::of(shares, &eligible, &outstanding)?;
    if least.tied == least.load.share {
        return Some(least.index);
    }
    let tied = |index| {
        let share = u64::from(shares.0[index]);
        eligible(index) && Load { requests: outstanding(index), share }.compare(least.load).is_eq()
    };
    // Loads move while we look. When no tie is left, the one seen first is still a good choice.
    shares.at(u64::from(turn) % least.tied, tied).or(Some(least.index))
}

/// The first of the least loaded targets.
struct Least {
    index: usize,
    load: Load,
    /// Sum of the shares of all targets with this load.
    tied: u64,
}

impl Least {
    fn of(
        shares: &Shares,
        eligible: impl Fn(usize) -> bool,
        outstanding: impl Fn(usize) -> u32,
    ) -> Option<Self> {
        let mut least: Option<Self> = None;
        for (index, share) in shares.each(eligible) {
            let load = Load { requests: outstanding(index), share };
            match least.as_mut().map(|least| (load.compare(least.load), least)) {
                Some((Ordering::Greater, _)) => {}
                Some((Ordering::Equal, least)) => least.tied += share,
                Some((Ordering::Less, _)) | None => {
                    least = Some(Self { index, load, tied: share });
                }
            }
        }
        least
    }
}

/// Requests in flight for a share of the traffic; the share is not zero.
#[derive(Clone, Copy)]
struct Load {
    requests: u32,
    share: u64,
}

impl Load {
    /// Compares requests per share, multiplied crosswise: no division, so no rounding. Fits, as
    /// shares are below 1,000.
    fn compare(self, other: Self) -> Ordering {
        (u64::from(self.requests) * other.share).cmp(&(u64::from(other.requests) * self.share))
    }
}
