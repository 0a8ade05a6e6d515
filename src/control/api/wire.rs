//! Bodies of requests and responses that are not parts of the configuration.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::handle::TargetStatus;

/// Targets to register, wholly or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The targets.
    #[schema(min_items = 1, max_items = 1000)]
    pub targets: Vec<Registration>,
}

/// A target to register. One that is registered already is changed to what this says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// IP address and port; IPv6 in brackets.
    #[schema(example = "127.0.0.1:8081")]
    pub address: String,
    /// Share of the group's traffic. Absent: as it is, for a new target 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 999)]
    pub weight: Option<u16>,
    /// How long the registration holds unless it is renewed by another, 1s to 24h. Absent: for
    /// good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "30s")]
    pub ttl: Option<String>,
}

/// Targets to deregister.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Deregister {
    /// Addresses; those that are not registered are passed over.
    #[schema(min_items = 1, max_items = 1000, example = json!(["127.0.0.1:8081"]))]
    pub targets: Vec<String>,
    /// Longest wait until nothing is in flight there, up to 1h. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "30s")]
    pub wait: Option<String>,
}

/// What a deregistration has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deregistered {
    /// Number of the configuration.
    pub generation: u64,
    /// What the configuration is doubtful about.
    pub warnings: Vec<String>,
    /// Whether nothing is in flight there any more; absent if nobody waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<bool>,
}

/// Another mode for a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModeChange {
    /// `l4` or `l7`.
    #[schema(example = "l4", pattern = "^l[47]$")]
    pub mode: String,
}

/// Another weight for a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightChange {
    /// Share of the group's traffic; 0: no new traffic.
    #[schema(minimum = 0, maximum = 999)]
    pub weight: u16,
}

/// Targets of a group and their health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetList {
    /// In order of their addresses; draining ones included.
    pub targets: Vec<TargetStatus>,
}
