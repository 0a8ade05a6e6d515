//! Slow start, anomaly mitigation and outlier detection.

use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;

use crate::health::anomaly::{FACTOR_MIN, Observed, Weighed, reweigh};
use crate::health::*;
use crate::model::OutlierDetection;

use super::{at, secs};

const RAMP: Duration = Duration::from_secs(100);

#[test]
fn share_grows_in_a_straight_line_from_a_floor() {
    let rows = [(0, 0.01), (1, 0.01), (2, 0.02), (50, 0.5), (99, 0.99), (100, 1.0), (500, 1.0)];
    for (time, expected) in rows {
        let share = share(secs(time), RAMP);
        assert!((share - expected).abs() < 1e-9, "t={time}: {share}");
    }
    assert!((share(Duration::ZERO, Duration::ZERO) - 1.0).abs() < 1e-9, "off");
}

#[test]
fn target_ramps_beside_a_steady_one_only() {
    // (steady at registration, steady when it turned healthy, slow start on) -> ramps
    let rows = [
        (true, true, true, true),
        (true, false, true, false),
        (false, true, true, false),
        (false, false, true, false),
        (true, true, false, false),
    ];
    for (at_registration, when_healthy, on, ramps) in rows {
        let duration = if on { RAMP } else { Duration::ZERO };
        let mut target = SlowStart::registered(at_registration);
        target.turned_healthy(when_healthy, duration, at(10));
        assert_eq!(target.is_ramping(RAMP, at(20)), ramps);
        assert_eq!(target.share(RAMP, at(60)) < 1.0, ramps);
    }
}

#[test]
fn ramp_ends_with_its_time_or_with_health_and_begins_anew() {
    let mut target = SlowStart::registered(false);
    target.turned_healthy(true, RAMP, at(0));
    assert!(!target.is_ramping(RAMP, at(1)), "registered into an empty group");
    target.ended();
    target.turned_healthy(true, RAMP, at(50));
    assert!(target.is_ramping(RAMP, at(149)) && !target.is_ramping(RAMP, at(150)));
    target.ended();
    assert!(!target.is_ramping(RAMP, at(60)));
    target.turned_healthy(true, RAMP, at(70));
    assert_eq!(target.began(), Some(at(70)));
}

/// A group whose targets got 100 requests each, with these failures, at factor 1.
fn group(failures: &[u64]) -> Vec<Observed> {
    let target = |&failures| Observed { healthy: true, requests: 100, failures, factor: 1.0 };
    failures.iter().map(target).collect()
}

fn anomalous(group: &[Observed]) -> Vec<usize> {
    let weighed = reweigh(group, true).into_iter().enumerate();
    weighed.filter(|(_, target)| target.anomalous).map(|(index, _)| index).collect()
}

#[test]
fn target_that_fails_more_than_its_peers_is_anomalous() {
    let rows: &[(&[u64], &[usize])] = &[
        (&[0, 0, 0], &[]),
        (&[100, 0], &[]),
        (&[100, 0, 0], &[0]),
        (&[5, 0, 0], &[]),
        (&[6, 0, 0], &[0]),
        (&[100, 100, 100], &[]),
        (&[20, 10, 10], &[]),
        (&[30, 10, 10], &[0]),
        (&[100, 100, 0, 0], &[0, 1]),
        (&[100, 100, 100, 0], &[]),
        (&[0, 50, 1, 0, 2], &[1]),
    ];
    for (failures, expected) in rows {
        assert_eq!(anomalous(&group(failures)), *expected, "{failures:?}");
    }
}

#[test]
fn only_healthy_targets_with_traffic_and_enough_failures_are_compared() {
    let mut targets = group(&[100, 0, 0, 0]);
    targets[1].healthy = false;
    assert_eq!(anomalous(&targets), [0]);
    targets[2].healthy = false;
    assert_eq!(anomalous(&targets), [0; 0], "two healthy targets are too few");
    let mut idle = group(&[100, 0, 0]);
    (idle[1].requests, idle[2].requests) = (0, 0);
    assert_eq!(anomalous(&idle), [0; 0], "no peer shows how it should be");
    let mut few = group(&[2, 0, 0]);
    few[0].requests = 2;
    assert_eq!(anomalous(&few), [0; 0]);
    few[0].factor = 0.5;
    assert_eq!(anomalous(&few), [0], "a reduced target has to show that it recovered");
}

#[test]
fn without_mitigation_anomalies_are_seen_and_every_factor_is_one() {
    let mut targets = group(&[100, 0, 0]);
    targets[0].factor = 0.1;
    let full = |anomalous| Weighed { anomalous, factor: 1.0 };
    assert_eq!(reweigh(&targets, false), [full(true), full(false), full(false)]);
    targets[0].healthy = false;
    assert_eq!(reweigh(&targets, true)[0], full(false), "unhealthy is for health checks");
}

/// Runs `windows` windows of 3,000 requests over targets that fail with these probabilities.
fn simulate(targets: &mut [Observed], failing: &[f64], windows: u32, random: &mut Rng) {
    for _ in 0..windows {
        let total: f64 = targets.iter().map(|target| target.factor).sum();
        for (target, failing) in targets.iter_mut().zip(failing) {
            target.requests = (3000.0 * target.factor / total) as u64;
            target.failures =
                (0..target.requests).filter(|_| random.f64() < *failing).count() as u64;
        }
        let weighed = reweigh(targets, true);
        for (target, weighed) in targets.iter_mut().zip(weighed) {
            assert!((FACTOR_MIN..=1.0).contains(&weighed.factor));
            target.factor = weighed.factor;
        }
    }
}

#[test]
fn failing_target_falls_to_a_trickle_and_is_restored_step_by_step() {
    for seed in 0..256 {
        let mut random = Rng::with_seed(seed);
        let mut targets = group(&[0; 5]);
        simulate(&mut targets, &[0.01, 0.5, 0.02, 0.01, 0.0], 10, &mut random);
        assert!(targets[1].factor <= FACTOR_MIN, "seed {seed}: {}", targets[1].factor);
        let full = [0, 2, 3, 4].iter().filter(|&&peer| targets[peer].factor >= 1.0).count();
        assert_eq!(full, 4, "seed {seed}");
        simulate(&mut targets, &[0.01; 5], 1, &mut random);
        assert!(targets[1].factor < 0.1, "seed {seed}: not at once");
        simulate(&mut targets, &[0.0; 5], 10, &mut random);
        assert!(targets[1].factor >= 1.0, "seed {seed}: {}", targets[1].factor);
    }
}

fn target(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], number))
}

/// Three failures in a row eject for 10 s, 20 s, ... 25 s, half of the group at most.
fn detection() -> OutlierDetection {
    OutlierDetection {
        consecutive_failures: 3,
        base_ejection: secs(10),
        max_ejection: secs(25),
        max_ejected_percentage: 50,
    }
}

fn fail(outliers: &mut Outliers, number: u16, count: u32, now: u64) -> Option<Ejection> {
    (0..count).fold(None, |ejection, _| {
        outliers.failed(target(number), 4, &detection(), at(now)).or(ejection)
    })
}

#[test]
fn failures_in_a_row_eject_for_ever_longer_up_to_a_limit() {
    let mut outliers = Outliers::default();
    assert_eq!(fail(&mut outliers, 1, 2, 0), None);
    outliers.succeeded(target(1));
    assert_eq!(fail(&mut outliers, 1, 2, 0), None, "a success ended the run");
    let rows = [(0, 10, 1), (10, 30, 2), (30, 55, 3), (55, 80, 4)];
    outliers.succeeded(target(1));
    for (now, until, times) in rows {
        assert_eq!(outliers.elapsed(at(now)).len(), usize::from(now > 0));
        let ejection = fail(&mut outliers, 1, 3, now);
        assert_eq!(ejection, Some(Ejection { until: at(until), times }));
        assert!(outliers.is_ejected(target(1)));
        assert_eq!(fail(&mut outliers, 1, 9, now + 1), None, "it is out already");
        assert_eq!(outliers.next_return(), Some(at(until)));
        assert!(outliers.elapsed(at(until - 1)).is_empty());
    }
    assert_eq!(outliers.elapsed(at(80)), [target(1)]);
    assert!(outliers.elapsed(at(80)).is_empty() && outliers.next_return().is_none());
    let later = fail(&mut outliers, 1, 3, 80 + 25);
    assert_eq!(later.map(|ejection| ejection.times), Some(3), "two of four are forgotten");
}

#[test]
fn no_more_than_the_given_share_of_a_group_is_out() {
    let mut outliers = Outliers::default();
    for number in 1..=4 {
        assert_eq!(fail(&mut outliers, number, 3, 0).is_some(), number <= 2);
    }
    assert_eq!(outliers.ejected(), 2);
    assert_eq!(outliers.elapsed(at(10)), [target(1), target(2)]);
    assert!(fail(&mut outliers, 3, 1, 10).is_some(), "its run went on");
    outliers.retain(|known| known != target(3));
    assert_eq!(outliers.ejected(), 0);
    let alone = outliers.failed(target(9), 1, &detection(), at(10));
    assert_eq!(alone, None, "half of one is none");
}

#[test]
fn targets_are_ejected_for_their_failures_only_and_always_return() {
    for seed in 0..256 {
        let mut random = Rng::with_seed(seed);
        let (mut outliers, settings) = (Outliers::default(), detection());
        let (targets, failing) = (random.u16(1..12), random.f64());
        let mut runs = vec![0; usize::from(targets)];
        let mut out = vec![None; usize::from(targets)];
        for step in 0..600 {
            let number = random.u16(..targets);
            let index = usize::from(number);
            for returned in outliers.elapsed(at(step)) {
                let until = out[usize::from(returned.port())].take();
                assert!(until.is_some_and(|until| until <= at(step)), "seed {seed}");
            }
            if random.f64() >= failing {
                runs[index] = 0;
                outliers.succeeded(target(number));
                continue;
            }
            let was_out = outliers.is_ejected(target(number));
            runs[index] += u32::from(!was_out);
            let group = usize::from(targets);
            if let Some(ejection) = outliers.failed(target(number), group, &settings, at(step)) {
                assert!(!was_out && runs[index] >= settings.consecutive_failures, "seed {seed}");
                assert!(ejection.until <= at(step) + settings.max_ejection, "seed {seed}");
                (out[index], runs[index]) = (Some(ejection.until), 0);
            }
            let half = usize::from(targets) / 2;
            assert!(outliers.ejected() <= half, "seed {seed}: {}", outliers.ejected());
            assert_eq!(outliers.ejected(), out.iter().flatten().count(), "seed {seed}");
            assert_eq!(outliers.next_return(), out.iter().flatten().min().copied());
        }
    }
}
