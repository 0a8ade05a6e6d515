//! Decides which targets get traffic, and how much: probe results and the traffic's own failures,
//! thresholds and time in, health states and shares out.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time is an `Instant` or a
//! `Duration` that the caller brings. Control owns the values and publishes what follows from them
//! in snapshots.
//!
//! Start with [`TargetHealth`], the state machine of one target; [`Routable`] then says which
//! targets of a group may get traffic, [`SlowStart`] and [`anomaly`] how much of it, and
//! [`Outliers`] which of them traffic itself has taken out for a while.

pub mod anomaly;
mod drain;
mod outlier;
mod reason;
mod routable;
mod slow_start;
mod target;
#[cfg(test)]
mod tests;

pub use drain::Drain;
pub use outlier::{Ejection, Outliers};
pub use reason::{Probe, Reason};
pub use routable::{Routable, routable};
pub use slow_start::{SlowStart, share};
pub use target::{State, TargetHealth, Transition};
