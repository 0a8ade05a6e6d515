//! Weighted random with anomaly mitigation (AWS: Automatic Target Weights).
//!
//! Every [`WINDOW`] the caller brings, for each target of a group, what traffic saw of it. A
//! target is *anomalous* if its share of failed requests stands out from those of its peers: more
//! than twice their median plus [`RATE_MARGIN`]. Comparing with the median means that a fault
//! which most targets share (a broken database, a bad client) changes nothing, and that never
//! more than half of the targets are anomalous.
//!
//! With mitigation an anomalous target's factor halves each window down to [`FACTOR_MIN`], so
//! that it keeps a trickle of requests by which to show that it recovered; any other's grows by
//! half of itself up to 1. From the floor that takes eight windows. AWS publishes neither rule
//! nor numbers; both are our choice. Health states never change by this.

use std::time::Duration;

/// How long requests are counted before the factors change (AWS: about every 5 s).
pub const WINDOW: Duration = Duration::from_secs(5);
/// Least number of healthy targets in a group for any to be anomalous (AWS: 3).
pub const HEALTHY_TARGETS_MIN: usize = 3;
/// By how much the share of failed requests must exceed twice that of the peers.
pub const RATE_MARGIN: f64 = 0.05;
/// Least factor: a twentieth of the full share.
pub const FACTOR_MIN: f64 = 0.05;

/// Failures in one window below which a target at its full share is not anomalous: fewer may be
/// chance. One that is reduced already sees too few requests for that and needs only one.
const FAILURES_MIN: u64 = 3;

/// What a window's traffic saw of one target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observed {
    /// Whether it is healthy; others are not compared, and return to factor 1.
    pub healthy: bool,
    /// Requests that ended in this window, those that found no connection included.
    pub requests: u64,
    /// Those of them that ended with a 5xx of the target or without a connection to it.
    pub failures: u64,
    /// Its factor so far; 1 for a new target.
    pub factor: f64,
}

/// What follows from it for one target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighed {
    /// AWS: `AnomalyDetection.Result` is `anomalous`, else `normal`.
    pub anomalous: bool,
    /// By what its weight is multiplied, [`FACTOR_MIN`] to 1 (AWS: `MitigationInEffect` is `yes`
    /// below 1).
    pub factor: f64,
}

/// Finds the anomalous targets of a group and, if `mitigate`, gives each target its new factor;
/// all are 1 otherwise. The answer is in the order of `group`.
#[must_use]
pub fn reweigh(group: &[Observed], mitigate: bool) -> Vec<Weighed> {
    let healthy = group.iter().filter(|target| target.healthy).count();
    let rates: Vec<_> = group.iter().map(failure_rate).collect();
    let weigh = |(index, target): (usize, &Observed)| {
        let anomalous = healthy >= HEALTHY_TARGETS_MIN && stands_out(index, target, &rates);
        let factor = if !mitigate || !target.healthy {
            1.0
        } else if anomalous {
            (target.factor / 2.0).max(FACTOR_MIN)
        } else {
            (target.factor * 1.5).clamp(FACTOR_MIN, 1.0)
        };
        Weighed { anomalous, factor }
    };
    group.iter().enumerate().map(weigh).collect()
}

/// Share of failed requests, 0 to 1; `None` for a target that shows nothing to compare.
fn failure_rate(target: &Observed) -> Option<f64> {
    (target.healthy && target.requests > 0)
        .then(|| (target.failures as f64 / target.requests as f64).min(1.0))
}

fn stands_out(index: usize, target: &Observed, rates: &[Option<f64>]) -> bool {
    let failures_min = if target.factor < 1.0 { 1 } else { FAILURES_MIN };
    let Some(rate) = rates[index].filter(|_| target.failures >= failures_min) else {
        return false;
    };
    let peers = rates.iter().enumerate().filter(|&(peer, _)| peer != index);
    let peers: Vec<_> = peers.filter_map(|(_, &rate)| rate).collect();
    median(peers).is_some_and(|median| rate > 2.0 * median + RATE_MARGIN)
}

/// The middle value; of an even number, the mean of the middle two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}
