//! Which driver a worker runs on, and why.
//!
//! The set-up flags decide the speed of a ring: without them every completion interrupts the
//! worker. The ladder goes from the best flags and the largest ring down to what this kernel and
//! these limits grant, and ends with epoll.

use std::io;

use io_uring::IoUring;
use monoio::time::TimeDriver;
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

use crate::model::Driver;

/// Submission entries of a ring, from best to least. A smaller one fits a low memory lock limit.
const ENTRIES: [u32; 3] = [4096, 1024, 256];

/// A worker's runtime.
pub type Runtime = FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>;

/// What a worker runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// io_uring with these flags and this many entries.
    IoUring {
        /// Flags.
        flags: Flags,
        /// Submission entries.
        entries: u32,
    },
    /// epoll.
    Epoll,
}

/// Set-up flags of a ring, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// `SINGLE_ISSUER | DEFER_TASKRUN` (Linux 6.1).
    Defer,
    /// `COOP_TASKRUN` (Linux 5.19).
    Coop,
    /// None.
    None,
}

impl Engine {
    /// Name of the driver as the configuration spells it.
    #[must_use]
    pub fn driver(self) -> &'static str {
        match self {
            Self::IoUring { .. } => "io_uring",
            Self::Epoll => "epoll",
        }
    }

    /// Whether a read can be given up without losing bytes that arrive at that moment. Rings
    /// without deferred work may have put them into the buffer that goes down with the read.
    #[must_use]
    pub fn reads_can_be_given_up(self) -> bool {
        match self {
            Self::IoUring { flags, .. } => flags == Flags::Defer,
            Self::Epoll => true,
        }
    }
}

impl Flags {
    /// The flags by the names of the kernel's header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Defer => "SINGLE_ISSUER|DEFER_TASKRUN",
            Self::Coop => "COOP_TASKRUN",
            Self::None => "no flags",
        }
    }

    fn builder(self, entries: u32) -> io_uring::Builder {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(entries * 4);
        match self {
            Self::Defer => builder.setup_single_issuer().setup_defer_taskrun(),
            Self::Coop => builder.setup_coop_taskrun(),
            Self::None => &mut builder,
        };
        builder
    }
}

/// Why io_uring cannot be used here, with the cure.
#[derive(Debug)]
pub struct Unusable {
    source: io::Error,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cause = match self.source.raw_os_error() {
            Some(libc::ENOSYS) => {
                "this kernel has no io_uring; Linux 5.19 or later has what is used"
            }
            Some(libc::EPERM | libc::EACCES) => {
                "it is switched off: see sysctl kernel.io_uring_disabled (0 allows it), or a \
                 seccomp filter (containers, SystemCallFilter=) that must let io_uring_setup, \
                 io_uring_enter and io_uring_register through"
            }
            Some(libc::ENOMEM) => {
                "too little memory may be locked: raise `ulimit -l` (LimitMEMLOCK= in systemd) \
                 to 64 MiB or more"
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                "the process is out of files: raise `ulimit -n` (LimitNOFILE= in systemd)"
            }
            _ => "the kernel refused the ring",
        };
        write!(f, "io_uring cannot be used: {cause} ({})", self.source)
    }
}

impl Unusable {
    /// What the kernel said, as a number of `errno.h`.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

impl std::error::Error for Unusable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Finds the best engine for `driver` on this machine by making a ring and letting it go.
/// The second value says why it is not io_uring where that was wanted.
///
/// # Errors
/// When `driver` insists on io_uring and it cannot be used.
pub fn probe(driver: Driver) -> Result<(Engine, Option<Unusable>), Unusable> {
    if driver == Driver::Epoll {
        return Ok((Engine::Epoll, None));
    }
    match best_ring() {
        Ok(engine) => Ok((engine, None)),
        Err(unusable) if driver == Driver::Auto => Ok((Engine::Epoll, Some(unusable))),
        Err(unusable) => Err(unusable),
    }
}

/// Features of the rings that this kernel makes, by the names of its header without
/// `IORING_FEAT_`; none where a ring cannot be made.
#[must_use]
pub fn features() -> Vec<&'static str> {
    let Ok(ring) = IoUring::new(8) else { return Vec::new() };
    let offered = ring.params();
    let all = [
        ("NODROP", offered.is_feature_nodrop()),
        ("SUBMIT_STABLE", offered.is_feature_submit_stable()),
        ("FAST_POLL", offered.is_feature_fast_poll()),
        ("EXT_ARG", offered.is_feature_ext_arg()),
        ("NATIVE_WORKERS", offered.is_feature_native_workers()),
        ("RSRC_TAGS", offered.is_feature_resource_tagging()),
        ("CQE_SKIP", offered.is_feature_skip_cqe_on_success()),
    ];
    all.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}

fn best_ring() -> Result<Engine, Unusable> {
    let mut last = io::Error::from_raw_os_error(libc::ENOSYS);
    for entries in ENTRIES {
        for flags in [Flags::Defer, Flags::Coop, Flags::None] {
            match flags.builder(entries).build(entries) {
                Ok(_ring) => return Ok(Engine::IoUring { flags, entries }),
                Err(error) => last = error,
            }
            // Only a kernel that does not know the flags is worth asking with fewer.
            if last.raw_os_error() != Some(libc::EINVAL) {
                break;
            }
        }
        if last.raw_os_error() != Some(libc::ENOMEM) {
            break;
        }
    }
    Err(Unusable { source: last })
}

/// Builds the runtime of the calling worker on `engine`. A ring must be built by the thread that
/// uses it. Memory lock limits are charged per user and released late, so a ring that a probe got
/// may be refused here: then a smaller one is tried.
///
/// # Errors
/// When the kernel refuses.
pub fn build(engine: Engine) -> io::Result<Runtime> {
    let (flags, largest) = match engine {
        Engine::Epoll => {
            return Ok(RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?.into());
        }
        Engine::IoUring { flags, entries } => (flags, entries),
    };
    let mut last = io::Error::from_raw_os_error(libc::ENOMEM);
    for entries in ENTRIES.into_iter().filter(|&entries| entries <= largest) {
        let builder = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(entries)
            .uring_builder(flags.builder(entries));
        match builder.enable_timer().build() {
            Ok(runtime) => return Ok(runtime.into()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoll_is_taken_when_asked_for() {
        let (engine, reason) = probe(Driver::Epoll).expect("epoll always works");
        assert_eq!(engine, Engine::Epoll);
        assert!(reason.is_none());
    }

    #[test]
    fn auto_never_fails_and_every_engine_it_finds_can_be_built() {
        let (engine, _) = probe(Driver::Auto).expect("auto falls back");
        let mut runtime = build(engine).expect("what was probed can be built");
        assert_eq!(runtime.block_on(async { 1 + 1 }), 2);
    }
}
