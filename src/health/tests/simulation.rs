//! Seeded lives of one target on a virtual clock, beside a model that remembers everything and
//! decides naively.

use std::time::Instant;

use fastrand::Rng;

use crate::health::*;
use crate::model::HealthCheck;

use super::{at, secs};

const SEEDS: u64 = 256;
const STEPS: u64 = 400;

/// Everything that happened since the counting last began, and the state that it led to.
struct Naive {
    state: State,
    /// State under a draining.
    hidden: State,
    probes: Vec<Probe>,
    until: Option<Instant>,
}

impl Naive {
    fn new() -> Self {
        Self { state: State::Initial, hidden: State::Initial, probes: Vec::new(), until: None }
    }

    /// Whether the last `count` probes since the last change are all `good`, or all not.
    fn ends_in(&self, count: u32, good: bool) -> bool {
        let count = count as usize;
        let tail = self.probes.len().checked_sub(count).map(|from| &self.probes[from..]);
        tail.is_some_and(|tail| tail.iter().all(|&probe| (probe == Probe::Success) == good))
    }

    fn probed(&mut self, probe: Probe, check: &HealthCheck) {
        self.probes.push(probe);
        let verdict = match self.hidden {
            State::Initial if probe == Probe::Success => State::Healthy,
            State::Initial | State::Healthy if self.ends_in(check.unhealthy_threshold, false) => {
                State::Unhealthy
            }
            State::Unhealthy if self.ends_in(check.healthy_threshold, true) => State::Healthy,
            same => same,
        };
        if verdict != self.hidden {
            self.probes.clear();
        }
        self.hidden = verdict;
        if self.state != State::Draining {
            self.state = verdict;
        }
    }

    fn register(&mut self) {
        if self.state == State::Draining {
            self.until = None;
            if self.hidden != State::Healthy {
                self.hidden = State::Initial;
                self.probes.clear();
            }
            self.state = self.hidden;
        }
    }
}

fn probe(random: &mut Rng, good_percent: u32) -> Probe {
    if random.u32(..100) < good_percent {
        return Probe::Success;
    }
    match random.u8(..3) {
        0 => Probe::CodeMismatch(random.u16(400..600)),
        1 => Probe::Timeout,
        _ => Probe::Failed,
    }
}

fn live(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let mut check = HealthCheck {
        healthy_threshold: random.u32(1..=10),
        unhealthy_threshold: random.u32(1..=10),
        ..HealthCheck::default()
    };
    let mut good_percent = random.u32(..=100);
    let (mut health, mut naive) = (TargetHealth::registered(true), Naive::new());
    let mut last_failure = None;
    for step in 0..STEPS {
        let (now, before) = (at(step), health.state());
        let transition = match random.u8(..100) {
            0..3 => {
                naive.probes.clear();
                check.unhealthy_threshold = random.u32(1..=10);
                health.health_check_changed();
                None
            }
            3..6 => {
                good_percent = random.u32(..=100);
                None
            }
            6..8 => {
                if naive.state != State::Draining {
                    (naive.state, naive.until) = (State::Draining, Some(at(step + 20)));
                }
                health.deregister(secs(20), now)
            }
            8..14 => {
                naive.register();
                health.register(true, now)
            }
            _ => {
                let outcome = probe(&mut random, good_percent);
                last_failure = outcome.failure().or(last_failure);
                naive.probed(outcome, &check);
                health.probed(outcome, &check, now)
            }
        };
        assert_eq!(health.state(), naive.state, "seed {seed} step {step}");
        let changed = transition.map(|transition| (transition.from, transition.to));
        let expected = (before != naive.state).then_some((before, naive.state));
        assert_eq!(changed, expected, "seed {seed} step {step}");
        if health.state() == State::Unhealthy {
            assert_eq!(health.reason(), last_failure, "seed {seed} step {step}");
        }
        assert_eq!(health.reason().is_none(), health.state() == State::Healthy);
        assert_eq!(health.healthy_since().is_some(), health.state() == State::Healthy);
        if health.elapsed(now).is_some() {
            assert_eq!(naive.until, Some(now), "seed {seed} step {step}");
            (health, naive) = (TargetHealth::registered(true), Naive::new());
        }
    }
}

#[test]
fn target_lives_as_a_naive_model_says() {
    (0..SEEDS).for_each(live);
}
