//! How long health flips take to reach the workers, as a figure for the operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio::sync::Semaphore;

use super::status::HealthFlips;

/// Most flips that are waited for at once; beyond it they are not measured.
const MEASURED_MAX: usize = 64;

/// What has been measured.
#[derive(Debug)]
pub(super) struct Flips {
    figures: Arc<Figures>,
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Figures {
    count: AtomicU64,
    last_us: AtomicU64,
    longest_us: AtomicU64,
}

impl Flips {
    pub(super) fn new() -> Self {
        Self { figures: Arc::default(), room: Arc::new(Semaphore::new(MEASURED_MAX)) }
    }

    /// Waits, in a task of its own, until `adopted` says whether all workers act on a flip that
    /// was `decided` then.
    pub(super) fn follow(
        &self,
        decided: Instant,
        adopted: impl Future<Output = bool> + Send + 'static,
    ) {
        let Ok(permit) = self.room.clone().try_acquire_owned() else { return };
        let figures = self.figures.clone();
        tokio::spawn(async move {
            if adopted.await {
                figures.note(decided.elapsed().as_micros() as u64);
            }
            drop(permit);
        });
    }

    pub(super) fn status(&self) -> HealthFlips {
        let Figures { count, last_us, longest_us } = self.figures.as_ref();
        let count = count.load(Relaxed);
        let shown = |figure: &AtomicU64| (count > 0).then(|| figure.load(Relaxed));
        HealthFlips { count, last_us: shown(last_us), longest_us: shown(longest_us) }
    }
}

impl Figures {
    fn note(&self, micros: u64) {
        tracing::debug!(micros, "a health flip has reached every worker");
        self.last_us.store(micros, Relaxed);
        self.longest_us.fetch_max(micros, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn flip_counts_once_every_worker_has_it() {
        let flips = Flips::new();
        assert_eq!(flips.status(), HealthFlips::default());
        let (adopt, adopted) = tokio::sync::oneshot::channel::<bool>();
        let decided = Instant::now() - Duration::from_millis(40);
        flips.follow(decided, async { adopted.await.unwrap_or_default() });
        flips.follow(decided, async { false });
        tokio::task::yield_now().await;
        assert_eq!(flips.status().count, 0);
        adopt.send(true).expect("followed");
        while flips.status().count == 0 {
            tokio::task::yield_now().await;
        }
        let HealthFlips { count, last_us, longest_us } = flips.status();
        assert_eq!((count, last_us), (1, longest_us));
        assert!(last_us >= Some(40_000));
    }
}
