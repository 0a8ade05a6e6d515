//! Probes targets: when each is probed, and how many at once.
//!
//! Every target has a task of its own that sleeps, probes and reports: its story reads from top
//! to bottom, tokio's timer wheel is the queue, and a task asleep is smaller than a page. The
//! prober knows neither thresholds nor states: control hears each [`ProbeResult`] and tells
//! [`crate::health::TargetHealth`]. What a probe says and how it is judged is in `attempt`.
//!
//! Start with [`Prober::set`].

mod attempt;
mod http2;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::health::Probe;
use crate::model::HealthCheck;
use crate::tls;

/// Most probes in flight at once, each with a socket and about 16 KiB of buffers. Enough for
/// 3,000 targets that all time out at the default 5 s in each interval of 30 s; with more of them
/// intervals grow.
pub const PROBES_IN_FLIGHT_MAX: usize = 512;

/// By how much each further new target widens the time over which their first probes start, so
/// that 100 of them take 50 ms: soon, and yet no burst.
const FIRST_SPREAD: Duration = Duration::from_micros(500);
/// By how much each further new target widens the time over which their second probes start, up
/// to the whole interval.
const SECOND_SPREAD: Duration = Duration::from_millis(50);

/// What is probed: a target, for a target group. A target of two groups is probed for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProbeKey {
    /// Name of the target group.
    pub group: Arc<str>,
    /// Address of the target; the health check may probe another port of it.
    pub target: SocketAddr,
}

/// A probe has ended.
#[derive(Debug, Clone)]
pub struct ProbeResult {
    /// What was probed.
    pub key: ProbeKey,
    /// What came of it.
    pub outcome: Probe,
    /// Time from the start of the connection to the response head (TCP: to the connection).
    pub took: Duration,
    /// When it ended.
    pub at: std::time::Instant,
    /// Number of the schedule that it belongs to, see [`Prober::is_current`].
    pub schedule: u64,
}

/// Probes `target` once, as `how` says; for whoever asks apart from all schedules.
///
/// # Errors
/// When the probe could not be made for want of files, ports or memory of our own.
pub async fn once(target: SocketAddr, how: How<'_>) -> std::io::Result<Probe> {
    attempt::probe(target, how).await
}

/// Agrees with `target` on a TLS session as traffic does, and closes it.
///
/// # Errors
/// Why they do not agree, or there is no connection.
pub async fn greet(target: SocketAddr, tls: &tls::Client) -> std::io::Result<()> {
    attempt::greet(target, tls).await
}

/// How a target is probed.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// The health check of its group.
    pub check: &'a HealthCheck,
    /// How probes are encrypted, where they are.
    pub tls: Option<&'a Arc<tls::Client>>,
}

impl<'a> From<&'a HealthCheck> for How<'a> {
    /// Without encryption.
    fn from(check: &'a HealthCheck) -> Self {
        Self { check, tls: None }
    }
}

impl How<'_> {
    /// Whether a schedule with `check` and `tls` does the same.
    fn is(self, check: &HealthCheck, tls: Option<&Arc<tls::Client>>) -> bool {
        let is_same_tls = match (self.tls, tls) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (before, after) => before.is_none() && after.is_none(),
        };
        is_same_tls && self.check == check
    }
}

/// Probes targets until it is dropped, which closes every probe in flight.
///
/// Belongs on the control thread: [`Prober::set`] needs the tokio runtime whose tasks do the
/// probing.
#[derive(Debug)]
pub struct Prober {
    schedules: HashMap<ProbeKey, Schedule>,
    next_schedule: u64,
    shared: Shared,
}

/// The probing of one target by one health check; ends when dropped.
#[derive(Debug)]
struct Schedule {
    number: u64,
    check: Arc<HealthCheck>,
    tls: Option<Arc<tls::Client>>,
    task: JoinHandle<()>,
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What all tasks have in common.
#[derive(Debug, Clone)]
struct Shared {
    results: mpsc::Sender<ProbeResult>,
    in_flight: Arc<Semaphore>,
    /// The last probe could not be made, by our own fault, and that has been logged.
    hindered: Arc<AtomicBool>,
}

impl Prober {
    /// A prober that probes nothing yet and reports to `results`. While that channel is full,
    /// further probes wait; when its receiver is gone, they end.
    #[must_use]
    pub fn new(results: mpsc::Sender<ProbeResult>) -> Self {
        Self::with_limit(results, PROBES_IN_FLIGHT_MAX)
    }

    fn with_limit(results: mpsc::Sender<ProbeResult>, in_flight_max: usize) -> Self {
        let in_flight = Arc::new(Semaphore::new(in_flight_max));
        let shared = Shared { results, in_flight, hindered: Arc::default() };
        Self { schedules: HashMap::new(), next_schedule: 0, shared }
    }

    /// Replaces the whole set of what is probed. A key that was there with an equal health check
    /// keeps its schedule. A new key, or one with another health check or trust, is probed at once,
    /// within 50 ms per 100 of them. A key that is gone is probed no longer, and a probe of it that
    /// is in flight is dropped. Keys are unique; of one that comes twice the last counts.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn set<'a, H: Into<How<'a>>>(&mut self, wanted: impl Iterator<Item = (ProbeKey, H)>) {
        let mut previous = std::mem::take(&mut self.schedules);
        let mut new = Vec::new();
        for (key, how) in wanted {
            let how: How<'a> = how.into();
            match previous.remove(&key) {
                Some(known) if how.is(&known.check, known.tls.as_ref()) => {
                    drop(self.schedules.insert(key, known));
                }
                _ => new.push((key, how)),
            }
        }
        let now = Instant::now();
        let together = new.len();
        for (key, How { check, tls }) in new {
            let starts = Starts::new(&key, together, check.interval);
            let (check, tls, number) = (Arc::new(check.clone()), tls.cloned(), self.next_schedule);
            self.next_schedule += 1;
            let target = Target {
                key: key.clone(),
                check: check.clone(),
                tls: tls.clone(),
                schedule: number,
                starts,
            };
            let task = tokio::spawn(target.run(now, self.shared.clone()));
            self.schedules.insert(key, Schedule { number, check, tls, task });
        }
    }

    /// Whether `result` comes from what is probed now. Results that were on their way when
    /// [`Prober::set`] dropped or changed their health check do not, and should not count.
    #[must_use]
    pub fn is_current(&self, result: &ProbeResult) -> bool {
        self.schedules.get(&result.key).is_some_and(|known| known.number == result.schedule)
    }
}

/// When the first two probes of a target start. Each further one starts an interval after the
/// one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Starts {
    /// From now to the first.
    first: Duration,
    /// From the first to the second: the interval, moved by up to half of it so that targets that
    /// began together do not stay together. A target that comes alone has nobody to avoid.
    second: Duration,
}

impl Starts {
    /// For the target `key`, one of `together` that are new; its place among them is a hash.
    fn new(key: &ProbeKey, together: usize, interval: Duration) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let place = (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64;
        let others = u32::try_from(together.saturating_sub(1)).unwrap_or(u32::MAX);
        let width = SECOND_SPREAD.saturating_mul(others).min(interval);
        Self {
            first: FIRST_SPREAD.saturating_mul(others).mul_f64(place),
            second: interval - width / 2 + width.mul_f64(place),
        }
    }
}

/// A target as its task knows it.
struct Target {
    key: ProbeKey,
    check: Arc<HealthCheck>,
    tls: Option<Arc<tls::Client>>,
    schedule: u64,
    starts: Starts,
}

impl Target {
    /// Probes until aborted, or until nobody hears the results.
    async fn run(self, now: Instant, shared: Shared) {
        let how = How { check: &self.check, tls: self.tls.as_ref() };
        let mut start = now + self.starts.first;
        let mut until_next = self.starts.second;
        loop {
            sleep_until(start).await;
            let Ok(permit) = shared.in_flight.acquire().await else { return };
            // The target's time begins here, and so does the next interval: two probes are never
            // closer than that, and those that had to wait for each other stay apart.
            start = Instant::now();
            // In a box, so that a task asleep is small.
            let outcome = Box::pin(attempt::probe(self.key.target, how)).await;
            let at = Instant::now();
            drop(permit);
            if let Some(outcome) = shared.count(outcome) {
                let result = self.result(outcome, start, at);
                if shared.results.send(result).await.is_err() {
                    return;
                }
            }
            start += until_next;
            until_next = self.check.interval;
        }
    }

    fn result(&self, outcome: Probe, start: Instant, at: Instant) -> ProbeResult {
        ProbeResult {
            key: self.key.clone(),
            outcome,
            took: at - start,
            at: at.into_std(),
            schedule: self.schedule,
        }
    }
}

impl Shared {
    /// What a probe says about its target. One that could not be made says nothing: it is logged,
    /// once until another one could be made.
    fn count(&self, outcome: std::io::Result<Probe>) -> Option<Probe> {
        let hindered = self.hindered.swap(outcome.is_err(), Relaxed);
        match outcome {
            Ok(outcome) => Some(outcome),
            Err(error) => {
                if !hindered {
                    tracing::warn!(
                        %error,
                        "targets cannot be probed and keep their health states; if files are \
                         short, raise LimitNOFILE="
                    );
                }
                None
            }
        }
    }
}
