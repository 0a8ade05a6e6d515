//! A timer for whoever needs better than monoio's own, which ticks once in a millisecond.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::Acceptor;

/// A timer of the kernel on the ring of the calling thread.
pub struct Timer {
    timer: OwnedFd,
    ready: Acceptor,
}

impl Timer {
    /// One that is not running yet.
    ///
    /// # Errors
    /// When the kernel has no timer to give.
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: takes two integers and touches no memory of ours.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just returned this descriptor and nobody else owns it.
        let timer = unsafe { OwnedFd::from_raw_fd(fd) };
        let ready = Acceptor::new(timer.try_clone()?)?;
        Ok(Self { timer, ready })
    }

    /// Waits for `length`, some microseconds more at most. One wait at a time.
    ///
    /// # Errors
    /// When the kernel or the driver refuses the timer.
    pub async fn sleep(&mut self, length: Duration) -> io::Result<()> {
        // Zero would stop the timer.
        let length = length.max(Duration::from_nanos(1));
        let value = libc::timespec {
            tv_sec: length.as_secs().cast_signed(),
            tv_nsec: i64::from(length.subsec_nanos()),
        };
        let once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = libc::itimerspec { it_interval: once, it_value: value };
        let old = std::ptr::null_mut();
        // SAFETY: `spec` is valid for the length of the call, and the old value is not asked for.
        if unsafe { libc::timerfd_settime(self.timer.as_raw_fd(), 0, &raw const spec, old) } != 0 {
            return Err(io::Error::last_os_error());
        }
        self.ready.ready().await?;
        let mut expired = 0_u64;
        // SAFETY: `expired` is valid for the eight bytes that a timer gives. That there are none
        // is no harm.
        unsafe { libc::read(self.timer.as_raw_fd(), (&raw mut expired).cast(), 8) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::model::Driver;
    use crate::net::ring;

    use super::*;

    #[test]
    fn no_wait_is_too_short() {
        let (engine, _) = ring::probe(Driver::Auto).expect("auto never fails");
        ring::build(engine).expect("a runtime").block_on(async {
            let mut timer = Timer::new().expect("a timer");
            for microseconds in [0, 1, 100, 2500] {
                let (began, length) = (Instant::now(), Duration::from_micros(microseconds));
                timer.sleep(length).await.expect("a timer on the ring");
                assert!(began.elapsed() >= length, "{microseconds}");
            }
        });
    }
}
