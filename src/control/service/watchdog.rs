//! The watchdog: pings the service manager for as long as every loop of the process turns.
//!
//! Each worker counts on once a second, on its own loop; the actor does at each tick. A loop whose
//! count stands still is stuck, and with it every connection that it owns. Then no more is said,
//! the service manager ends the process when its patience is over, and starts another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::metrics::Counter;

use super::Notifier;

/// The environment variable with the service manager's patience, in microseconds.
const PERIOD: &str = "WATCHDOG_USEC";
/// The environment variable with the process that it is meant for.
const PROCESS: &str = "WATCHDOG_PID";
/// Pings within the service manager's patience.
const PINGS: u32 = 4;
/// A loop may be silent for the service manager's patience divided by this.
const SILENCE: u32 = 2;
/// It may be so at least for this long: three beats of a worker.
const SILENCE_MIN: Duration = Duration::from_secs(3);
/// How long the actor may be silent. Nothing that waits is in its way, but the sockets of a
/// thousand new listeners take it a while.
const ACTOR_SILENCE: Duration = Duration::from_secs(20);

/// The service manager's patience, if it has a watchdog for this process.
pub(super) fn period() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    read_period(variable(PERIOD)?, variable(PROCESS), std::process::id())
}

fn read_period(micros: String, meant: Option<String>, own: u32) -> Option<Duration> {
    let micros = micros.parse().ok().filter(|&micros| micros > 0)?;
    let is_meant = meant.is_none_or(|pid| pid.parse() == Ok(own));
    is_meant.then(|| Duration::from_micros(micros))
}

/// The task that pings; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    task: JoinHandle<()>,
    ends: Arc<AtomicBool>,
}

impl Watchdog {
    /// Begins to ping.
    pub(super) fn start(
        notifier: Notifier,
        period: Duration,
        workers: Vec<Arc<Counter>>,
        control: Arc<Counter>,
    ) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let over = ends.clone();
        let task = tokio::spawn(async move {
            let mut loops = Loops::new(period, workers, control, Instant::now());
            // Not at once: who takes over is not yet known to the service manager.
            let pause = period / PINGS;
            let mut turn = tokio::time::interval_at(tokio::time::Instant::now() + pause, pause);
            loop {
                turn.tick().await;
                if over.load(Relaxed) || loops.all_turn(Instant::now()) {
                    notifier.tell("WATCHDOG=1\n");
                }
            }
        });
        Self { task, ends }
    }

    /// Workers and the actor may end from now on: only that this task runs is told.
    pub(super) fn expect_ends(&self) {
        self.ends.store(true, Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The loops and when each was last seen to turn.
struct Loops(Vec<Loop>);

struct Loop {
    /// Number of the worker; `None`: the actor.
    worker: Option<usize>,
    beat: Arc<Counter>,
    silence_max: Duration,
    seen: (u64, Instant),
    is_stuck: bool,
}

impl Loops {
    fn new(
        period: Duration,
        workers: Vec<Arc<Counter>>,
        control: Arc<Counter>,
        now: Instant,
    ) -> Self {
        let silence_max = (period / SILENCE).max(SILENCE_MIN);
        let workers = workers.into_iter().enumerate();
        let workers = workers.map(|(index, beat)| (Some(index), beat, silence_max));
        let all = workers.chain([(None, control, ACTOR_SILENCE)]);
        let watched = |(worker, beat, silence_max): (_, Arc<Counter>, _)| {
            let seen = (beat.value(), now);
            Loop { worker, beat, silence_max, seen, is_stuck: false }
        };
        Self(all.map(watched).collect())
    }

    /// Whether all have turned lately; those that have not are named on the log, once.
    fn all_turn(&mut self, now: Instant) -> bool {
        // Each is looked at, also behind one that is stuck.
        self.0.iter_mut().map(|watched| watched.turns(now)).fold(true, |all, turns| all & turns)
    }
}

impl Loop {
    fn turns(&mut self, now: Instant) -> bool {
        let beats = self.beat.value();
        if beats != self.seen.0 {
            self.seen = (beats, now);
        }
        let silence = now.duration_since(self.seen.1);
        let was_stuck = std::mem::replace(&mut self.is_stuck, silence > self.silence_max);
        match (was_stuck, self.is_stuck, self.worker) {
            (false, true, Some(worker)) => tracing::error!(
                worker,
                ?silence,
                "the worker is stuck; the service manager is left to end the process"
            ),
            (false, true, None) => tracing::error!(
                ?silence,
                "control is stuck; the service manager is left to end the process"
            ),
            (true, false, worker) => tracing::warn!(?worker, "it turns again"),
            (true, true, _) | (false, false, _) => {}
        }
        !self.is_stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patience_is_that_of_this_process() {
        let read = |micros: &str, pid: Option<&str>| {
            read_period(micros.into(), pid.map(Into::into), 7).map(|period| period.as_millis())
        };
        assert_eq!(read("3000000", Some("7")), Some(3_000));
        assert_eq!(read("3000000", None), Some(3_000), "a process that took over");
        assert_eq!(read("3000000", Some("8")), None, "meant for another");
        assert_eq!(read("0", None), None);
        assert_eq!(read("soon", None), None);
    }

    #[test]
    fn one_loop_that_stands_still_is_enough() {
        let beats: Vec<_> = (0..3).map(|_| Arc::new(Counter::default())).collect();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let period = Duration::from_secs(20);
        let mut loops = Loops::new(period, beats[..2].to_vec(), beats[2].clone(), start);
        for second in 1..=10 {
            beats[0].add(1);
            assert!(loops.all_turn(at(second)), "after {second} seconds");
        }
        beats[0].add(1);
        assert!(!loops.all_turn(at(11)), "worker 1 has not turned for more than half of 20 s");
        beats[0].add(1);
        beats[1].add(1);
        assert!(loops.all_turn(at(12)), "it turns again");
        for second in 13..=20 {
            beats[0].add(1);
            beats[1].add(1);
            assert!(loops.all_turn(at(second)), "after {second} seconds");
        }
        beats[0].add(1);
        beats[1].add(1);
        assert!(!loops.all_turn(at(21)), "the actor has not turned for more than 20 s");
    }

    #[test]
    fn a_short_patience_leaves_workers_their_three_beats() {
        let beat = Arc::new(Counter::default());
        let start = Instant::now();
        let mut loops = Loops::new(Duration::from_secs(1), vec![beat.clone()], beat, start);
        assert!(loops.all_turn(start + Duration::from_secs(3)));
        assert!(!loops.all_turn(start + Duration::from_secs(4)));
    }
}
