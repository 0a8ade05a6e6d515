//! What came of a probe, and the reasons of health states in the words of AWS.

use std::borrow::Cow;
use std::fmt;

/// What came of one probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Probe {
    /// The target answered as the health check asks.
    Success,
    /// It answered in time with this status, which the matcher does not accept.
    CodeMismatch(u16),
    /// It did not answer in time.
    Timeout,
    /// The connection was refused or reset, or the answer was malformed.
    Failed,
}

impl Probe {
    /// Why a target is unhealthy whose most recent failed probe this is; `None` for a success.
    #[must_use]
    pub fn failure(self) -> Option<Reason> {
        match self {
            Self::Success => None,
            Self::CodeMismatch(status) => Some(Reason::ResponseCodeMismatch(status)),
            Self::Timeout => Some(Reason::Timeout),
            Self::Failed => Some(Reason::FailedHealthChecks),
        }
    }
}

/// Why a target is in a state other than healthy (AWS: `Reason` of `DescribeTargetHealth`).
///
/// Those of AWS that cannot arise on one host are missing: `Target.InvalidState`,
/// `Target.IpUnusable`, `Target.HealthCheckDisabled`, `Elb.InternalError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Initial: registered, and nothing probes it yet.
    RegistrationInProgress,
    /// Initial: probed, without a success and without enough failures.
    InitialHealthChecking,
    /// Unhealthy: its most recent failed probe got this status.
    ResponseCodeMismatch(u16),
    /// Unhealthy: its most recent failed probe got no answer in time.
    Timeout,
    /// Unhealthy: its most recent failed probe got no connection or no proper answer.
    FailedHealthChecks,
    /// Unused: no listener and no rule forwards to its group.
    NotInUse,
    /// Draining.
    DeregistrationInProgress,
    /// Unused: its draining is over.
    NotRegistered,
}

impl Reason {
    /// The reason code of AWS, such as `Target.Timeout`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::RegistrationInProgress => "Elb.RegistrationInProgress",
            Self::InitialHealthChecking => "Elb.InitialHealthChecking",
            Self::ResponseCodeMismatch(_) => "Target.ResponseCodeMismatch",
            Self::Timeout => "Target.Timeout",
            Self::FailedHealthChecks => "Target.FailedHealthChecks",
            Self::NotInUse => "Target.NotInUse",
            Self::DeregistrationInProgress => "Target.DeregistrationInProgress",
            Self::NotRegistered => "Target.NotRegistered",
        }
    }

    /// The sentence of AWS, such as `Health checks failed with these codes: [404]`.
    #[must_use]
    pub fn description(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::ResponseCodeMismatch(status) => {
                return Cow::Owned(format!("Health checks failed with these codes: [{status}]"));
            }
            Self::RegistrationInProgress => "Target registration is in progress",
            Self::InitialHealthChecking => "Initial health checks in progress",
            Self::Timeout => "Request timed out",
            Self::FailedHealthChecks => "Health checks failed",
            Self::NotInUse => {
                "Target group is not configured to receive traffic from the load balancer"
            }
            Self::DeregistrationInProgress => "Target deregistration is in progress",
            Self::NotRegistered => "Target is not registered to the target group",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
