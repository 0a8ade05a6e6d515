//! Tables of the spec (AWS ELB, sections 1.9, 1.10, 1.14, 4.3, 14.9, 14.10), row by row.

mod simulation;
mod states;
mod traffic;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The virtual clock's zero.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The instant `seconds` after the virtual clock's zero.
fn at(seconds: u64) -> Instant {
    *ORIGIN + secs(seconds)
}
