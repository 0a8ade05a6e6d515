//! The state machine of one target, by example.

use crate::health::*;
use crate::model::{HealthCheck, HealthyMin};

use super::{at, secs};

use Probe::{CodeMismatch, Failed, Success, Timeout};
use State::{Draining, Healthy, Initial, Unhealthy, Unused};

/// Healthy threshold 3, unhealthy threshold 2, as in 14.10.
fn check() -> HealthCheck {
    HealthCheck { healthy_threshold: 3, unhealthy_threshold: 2, ..HealthCheck::default() }
}

/// A new target after these probes.
fn after(probes: &[Probe]) -> TargetHealth {
    let mut health = TargetHealth::registered(true);
    health.probing_began();
    for &probe in probes {
        health.probed(probe, &check(), at(0));
    }
    health
}

fn seen(health: &TargetHealth) -> (State, Option<Reason>) {
    (health.state(), health.reason())
}

#[test]
fn new_target_waits_for_the_workers_then_for_its_first_probe() {
    let mut health = TargetHealth::registered(true);
    assert_eq!(seen(&health), (Initial, Some(Reason::RegistrationInProgress)));
    health.probing_began();
    assert_eq!(seen(&health), (Initial, Some(Reason::InitialHealthChecking)));
    let unattached = TargetHealth::registered(false);
    assert_eq!(seen(&unattached), (Unused, Some(Reason::NotInUse)));
    assert!(!unattached.wants_probes());
}

#[test]
fn state_and_reason_follow_from_the_probes() {
    let mismatch = |status| Some(Reason::ResponseCodeMismatch(status));
    let failed = Some(Reason::FailedHealthChecks);
    let checking = Some(Reason::InitialHealthChecking);
    let rows: &[(&[Probe], State, Option<Reason>)] = &[
        (&[Success], Healthy, None),
        (&[Timeout], Initial, checking),
        (&[Timeout, Success], Healthy, None),
        (&[Timeout, CodeMismatch(404)], Unhealthy, mismatch(404)),
        (&[CodeMismatch(404), Timeout], Unhealthy, Some(Reason::Timeout)),
        (&[Success, Failed], Healthy, None),
        (&[Success, Failed, Success, Failed], Healthy, None),
        (&[Success, Timeout, Failed], Unhealthy, failed),
        (&[Success, Failed, Failed, CodeMismatch(503)], Unhealthy, mismatch(503)),
        (&[Failed, Failed, Success, Success], Unhealthy, failed),
        (&[Failed, Failed, Success, Success, Success], Healthy, None),
        (&[Failed, Failed, Success, Success, Timeout, Success], Unhealthy, Some(Reason::Timeout)),
        (&[Failed, Failed, Success, Success, Success, Failed], Healthy, None),
    ];
    for (probes, state, reason) in rows {
        assert_eq!(seen(&after(probes)), (*state, *reason), "{probes:?}");
    }
}

#[test]
fn time_line_of_the_spec() {
    let mut health = TargetHealth::registered(true);
    let timeout = Some(Reason::Timeout);
    let rows = [
        (0, Success, Some((Initial, Healthy, None))),
        (10, Success, None),
        (20, CodeMismatch(503), None),
        (30, Timeout, Some((Healthy, Unhealthy, timeout))),
        (40, Success, None),
        (50, Success, None),
        (60, CodeMismatch(503), None),
        (70, Success, None),
        (80, Success, None),
        (90, Success, Some((Unhealthy, Healthy, None))),
    ];
    for (time, probe, expected) in rows {
        let transition = health.probed(probe, &check(), at(time));
        let expected =
            expected.map(|(from, to, reason)| Transition { from, to, reason, at: at(time) });
        assert_eq!(transition, expected, "t={time}");
    }
    assert_eq!(health.healthy_since(), Some(at(90)));
}

#[test]
fn another_health_check_restarts_counting_and_keeps_the_state() {
    let mut health = after(&[Success, Failed]);
    health.health_check_changed();
    assert_eq!(health.probed(Failed, &check(), at(1)), None);
    assert_eq!(health.state(), Healthy);
    assert!(health.probed(Failed, &check(), at(2)).is_some());
}

#[test]
fn draining_time_line_of_the_spec() {
    let mut health = after(&[Success]);
    let began = health.deregister(secs(30), at(0));
    let reason = Some(Reason::DeregistrationInProgress);
    assert_eq!(began, Some(Transition { from: Healthy, to: Draining, reason, at: at(0) }));
    assert_eq!(health.drain().map(|drain| drain.left(at(4))), Some(secs(26)));
    assert_eq!(health.deregister(secs(99), at(10)), None, "the delay does not begin anew");
    assert_eq!(health.elapsed(at(29)), None);
    let reason = Some(Reason::NotRegistered);
    let ended = health.elapsed(at(30));
    assert_eq!(ended, Some(Transition { from: Draining, to: Unused, reason, at: at(30) }));
    assert!(health.is_gone());
    assert_eq!(health.elapsed(at(31)), None);
    assert_eq!(health.probed(Success, &check(), at(31)), None);
}

#[test]
fn any_target_may_be_deregistered() {
    let rows: &[&[Probe]] = &[&[], &[Success], &[Failed, Failed]];
    for probes in rows {
        let mut health = after(probes);
        assert!(health.deregister(secs(0), at(5)).is_some());
        assert_eq!(seen(&health), (Draining, Some(Reason::DeregistrationInProgress)));
        assert!(health.elapsed(at(5)).is_some(), "no delay ends at once");
    }
    let mut unused = TargetHealth::registered(false);
    assert!(unused.deregister(secs(1), at(0)).is_some());
    assert!(!unused.wants_probes());
}

#[test]
fn draining_target_stays_so_whatever_probes_say_and_registering_it_again_ends_that() {
    let checking = Some(Reason::InitialHealthChecking);
    let new = Some(Reason::RegistrationInProgress);
    type Row = (&'static [Probe], &'static [Probe], State, Option<Reason>);
    let rows: &[Row] = &[
        (&[Success], &[], Healthy, None),
        (&[Success], &[Failed, Failed], Initial, checking),
        (&[Success], &[Failed, Failed, Success, Success, Success], Healthy, None),
        (&[Failed, Failed], &[], Initial, checking),
        (&[Failed], &[], Initial, checking),
        (&[], &[Success], Healthy, None),
        (&[], &[], Initial, checking),
    ];
    for (before, while_draining, state, reason) in rows {
        let mut health = after(before);
        health.deregister(secs(300), at(10));
        for &probe in *while_draining {
            assert_eq!(health.probed(probe, &check(), at(20)), None);
            assert_eq!(health.state(), Draining);
            assert_eq!(health.healthy_since(), None);
        }
        assert!(health.register(true, at(30)).is_some());
        assert_eq!(seen(&health), (*state, *reason), "{before:?} {while_draining:?}");
        assert_eq!(health.healthy_since(), (*state == Healthy).then(|| at(30)));
        assert_eq!(health.elapsed(at(1000)), None);
    }
    let mut unprobed = TargetHealth::registered(true);
    unprobed.deregister(secs(300), at(0));
    unprobed.register(true, at(1));
    assert_eq!(seen(&unprobed), (Initial, new));
}

#[test]
fn registering_what_is_registered_changes_nothing() {
    for probes in [&[][..], &[Success], &[Failed, Failed], &[Success, Failed]] {
        let mut health = after(probes);
        let before = health;
        assert_eq!(health.register(true, at(9)), None);
        assert_eq!(health, before);
    }
}

#[test]
fn target_that_is_gone_may_come_back_as_a_new_one() {
    let mut health = after(&[Success]);
    health.deregister(secs(0), at(0));
    health.elapsed(at(0));
    assert!(health.register(true, at(1)).is_some());
    assert_eq!(health, TargetHealth::registered(true));
}

#[test]
fn target_follows_the_use_of_its_group() {
    let mut health = after(&[Success]);
    let reason = Some(Reason::NotInUse);
    let unused = health.group_in_use(false, at(1));
    assert_eq!(unused, Some(Transition { from: Healthy, to: Unused, reason, at: at(1) }));
    assert_eq!(health.probed(Success, &check(), at(2)), None, "a late probe does not count");
    assert_eq!(health.group_in_use(false, at(3)), None);
    assert!(health.group_in_use(true, at(4)).is_some());
    assert_eq!(health, TargetHealth::registered(true));
    health.deregister(secs(9), at(5));
    assert_eq!(health.group_in_use(false, at(6)), None);
    assert_eq!(health.state(), Draining);
    assert_eq!(health.group_in_use(true, at(7)), None);
    assert_eq!(health.drain(), Some(Drain { until: at(14) }));
    assert!(health.wants_probes());
}

#[test]
fn reasons_carry_the_codes_and_sentences_of_aws() {
    let rows = [
        (
            Reason::RegistrationInProgress,
            "Elb.RegistrationInProgress",
            "Target registration is in progress",
        ),
        (
            Reason::InitialHealthChecking,
            "Elb.InitialHealthChecking",
            "Initial health checks in progress",
        ),
        (
            Reason::ResponseCodeMismatch(404),
            "Target.ResponseCodeMismatch",
            "Health checks failed with these codes: [404]",
        ),
        (Reason::Timeout, "Target.Timeout", "Request timed out"),
        (Reason::FailedHealthChecks, "Target.FailedHealthChecks", "Health checks failed"),
        (
            Reason::NotRegistered,
            "Target.NotRegistered",
            "Target is not registered to the target group",
        ),
        (
            Reason::NotInUse,
            "Target.NotInUse",
            "Target group is not configured to receive traffic from the load balancer",
        ),
        (
            Reason::DeregistrationInProgress,
            "Target.DeregistrationInProgress",
            "Target deregistration is in progress",
        ),
    ];
    for (reason, code, description) in rows {
        assert_eq!((reason.to_string().as_str(), &*reason.description()), (code, description));
    }
}

#[test]
fn group_with_too_few_healthy_targets_uses_all_that_do_not_drain() {
    let min = |count, percentage| HealthyMin { count, percentage };
    let rows: &[(&[State], HealthyMin, bool, usize)] = &[
        (&[], min(1, None), true, 0),
        (&[Healthy], min(1, None), false, 1),
        (&[Healthy, Unhealthy, Initial], min(1, None), false, 1),
        (&[Unhealthy, Initial], min(1, None), true, 2),
        (&[Unhealthy, Draining], min(1, None), true, 1),
        (&[Draining, Unused], min(1, None), true, 0),
        (&[Healthy, Unhealthy, Unhealthy], min(2, None), true, 3),
        (&[Healthy, Healthy, Unhealthy], min(2, None), false, 2),
        (&[Healthy, Unhealthy], min(1, Some(50)), false, 1),
        (&[Healthy, Unhealthy, Initial], min(1, Some(50)), true, 3),
        (&[Healthy, Unhealthy, Draining], min(1, Some(50)), false, 1),
        (&[Healthy, Healthy], min(3, Some(100)), true, 2),
        (&[Healthy, Healthy], min(1, Some(100)), false, 2),
    ];
    for (states, min, fail_open, included) in rows {
        let routable = routable(states.iter().copied(), *min);
        assert_eq!(routable.fail_open, *fail_open, "{states:?} {min:?}");
        let count = states.iter().filter(|&&state| routable.includes(state)).count();
        assert_eq!(count, *included, "{states:?} {min:?}");
    }
}
