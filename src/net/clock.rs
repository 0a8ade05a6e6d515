//! The kernel's monotonic clock as a number, for those who compare it with their own reading.

/// Microseconds of `CLOCK_MONOTONIC`, which the service manager reads too; 0 where there is none.
#[must_use]
pub fn monotonic_micros() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid, writable timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
    u64::try_from(micros).unwrap_or(0)
}
