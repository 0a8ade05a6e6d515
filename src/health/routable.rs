//! Which targets of a group get traffic, and when a group fails open.

use crate::model::HealthyMin;

use super::State;

/// Which targets of a group get traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routable {
    /// Whether the group has too few healthy targets and so uses all that are registered, also
    /// the unhealthy and the initial ones (AWS: routing failover; each request counts in
    /// `UnhealthyRoutingRequestCount`).
    pub fail_open: bool,
}

impl Routable {
    /// Whether a target in `state` gets traffic. A draining one never does.
    #[must_use]
    pub fn includes(self, state: State) -> bool {
        match state {
            State::Healthy => true,
            State::Initial | State::Unhealthy => self.fail_open,
            State::Draining | State::Unused => false,
        }
    }
}

/// Decides which targets get traffic in a group whose targets are in `states` (AWS: target group
/// health, `unhealthy_state_routing`). Either threshold of `min`, if missed, fails open; initial
/// targets count as not healthy. The percentage is of the registered targets, draining ones not
/// counted.
///
/// A group without any target that the answer includes has to answer with 503.
#[must_use]
pub fn routable(states: impl IntoIterator<Item = State>, min: HealthyMin) -> Routable {
    let (mut healthy, mut registered) = (0_u64, 0_u64);
    for state in states {
        match state {
            State::Healthy => {
                healthy += 1;
                registered += 1;
            }
            State::Initial | State::Unhealthy => registered += 1,
            State::Draining | State::Unused => {}
        }
    }
    let below_percentage = |percentage: u8| 100 * healthy < u64::from(percentage) * registered;
    let fail_open = healthy < u64::from(min.count) || min.percentage.is_some_and(below_percentage);
    Routable { fail_open }
}
