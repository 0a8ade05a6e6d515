//! The monotonic clock as one number: a difference is a subtraction, a moment that was not noted
//! takes no room of its own, and others may compare it with their own reading.

use std::num::NonZeroU64;
use std::time::Duration;

/// A moment of this boot, in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(NonZeroU64);

impl Moment {
    /// Reads the clock.
    #[must_use]
    pub fn now() -> Self {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid, writable timespec, and the call cannot fail for this clock.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        let nanos = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
        Self(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }

    /// The time since `earlier`; none if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// The moment `span` later.
    #[cfg(test)]
    pub(super) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Microseconds of `CLOCK_MONOTONIC`, which the service manager reads too.
#[must_use]
pub fn monotonic_micros() -> u64 {
    Moment::now().0.get() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_goes_forward_as_that_of_std() {
        let (first, std) = (Moment::now(), std::time::Instant::now());
        while std.elapsed() < Duration::from_millis(2) {}
        let second = Moment::now();
        assert!(second.since(first) >= Duration::from_millis(2));
        assert_eq!(first.since(second), Duration::ZERO);
    }
}
