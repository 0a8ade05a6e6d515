//! Ctrl-C while measuring: what is under way ends soon, and what was measured is still reported.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::Error;

/// How long a wait goes on without looking.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether somebody asked for the end. Cheap to copy and to look at.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    asked: Arc<AtomicBool>,
}

impl Stop {
    /// Has SIGINT and SIGTERM ask from here on. Its thread lives as long as the process.
    ///
    /// # Errors
    /// If the thread or the signals cannot be had.
    pub(super) fn on_signals() -> Result<Self, Error> {
        let stop = Self::default();
        let asked = Arc::clone(&stop.asked);
        let (begun, begin) = mpsc::sync_channel(1);
        let failed = |source| Error::new("cannot wait for Ctrl-C", source);
        let wait = move || drop(wait_for_signals(&asked, &begun));
        thread::Builder::new().name("compare-signals".into()).spawn(wait).map_err(failed)?;
        // Without a word, the thread has ended.
        let ended = || Err(io::Error::other("the thread for signals has ended"));
        begin.recv_timeout(Duration::from_secs(5)).unwrap_or_else(|_| ended()).map_err(failed)?;
        Ok(stop)
    }

    /// Whether the end was asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// Waits for `length`, or until the end is asked for. Blocks the thread.
    pub(super) fn wait(&self, length: Duration) {
        let until = Instant::now() + length;
        while !self.is_asked() && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            thread::park_timeout(left.min(LOOK_EVERY));
        }
    }
}

fn wait_for_signals(
    asked: &AtomicBool,
    begun: &mpsc::SyncSender<io::Result<()>>,
) -> io::Result<()> {
    let signals = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let both = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        drop(guard);
        Ok((runtime, both))
    };
    let (runtime, (mut interrupt, mut terminate)) = match signals() {
        Ok(signals) => signals,
        Err(error) => return begun.send(Err(error)).map_err(io::Error::other),
    };
    begun.send(Ok(())).map_err(io::Error::other)?;
    runtime.block_on(async {
        loop {
            tokio::select! {
                _ = interrupt.recv() => asked.store(true, Relaxed),
                _ = terminate.recv() => asked.store(true, Relaxed),
            }
        }
    })
}
