//! The workers as control sees them: what it mails, and what it hears back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::mailbox::{Draining, Mailbox, Message, Report};
use crate::metrics::{Counter, Counters, Totals};
use crate::snapshot::{ListenerId, Snapshot, TargetId};

use super::handle::Counts;
use super::listeners::Placed;

/// Longest wait for a worker's answer. One that needs longer is stuck; the change goes on.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a worker to say that it is alive.
const ALIVE_MAX: Duration = Duration::from_secs(1);
/// Time that workers get beyond the drain timeout before the process ends without them.
const END_GRACE: Duration = Duration::from_secs(2);

/// A worker.
pub(super) struct WorkerHandle {
    pub(super) mailbox: Mailbox,
    pub(super) counters: Arc<Counters>,
    pub(super) beat: Arc<Counter>,
    pub(super) ended: oneshot::Receiver<()>,
}

/// All workers.
pub(super) struct Pool(Vec<WorkerHandle>);

impl Pool {
    pub(super) fn new(workers: Vec<WorkerHandle>) -> Self {
        Self(workers)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What each counts on for as long as its loop turns.
    pub(super) fn beats(&self) -> Vec<Arc<Counter>> {
        self.0.iter().map(|worker| worker.beat.clone()).collect()
    }

    /// What each counts.
    pub(super) fn counters(&self) -> Vec<Arc<Counters>> {
        self.0.iter().map(|worker| worker.counters.clone()).collect()
    }

    /// Asks whether every worker's loop turns; resolves to the first that does not say so in time.
    pub(super) fn are_alive(&self) -> impl Future<Output = Result<(), usize>> + Send + use<> {
        let asked = self.ask(Message::Report);
        async {
            let by = tokio::time::Instant::now() + ALIVE_MAX;
            for (worker, answer) in asked.into_iter().enumerate() {
                let answer = tokio::time::timeout_at(by, answer).await;
                answer.ok().and_then(Result::ok).ok_or(worker)?;
            }
            Ok(())
        }
    }

    /// Mails `snapshot`; what it returns resolves once every worker acts on it: to whether they
    /// all said so.
    pub(super) fn adopt(
        &self,
        snapshot: &Arc<Snapshot>,
    ) -> impl Future<Output = bool> + Send + use<> {
        let asked = self.0.iter().map(|worker| worker.mailbox.adopt(snapshot.clone())).collect();
        answers(asked, "a snapshot")
    }

    /// Takes the sockets of removed listeners away; resolves once no worker accepts on them.
    pub(super) fn unlisten(&self, id: ListenerId) -> impl Future<Output = bool> + use<> {
        let asked = self.ask(|reply| Message::Unlisten(id, reply));
        answers(asked, "the end of a listener")
    }

    /// Hands out new sockets.
    pub(super) fn listen(&self, sockets: Vec<Placed>) {
        for (place, id, socket) in sockets {
            self.0[place % self.0.len()].mailbox.send(Message::Listen(id, socket));
        }
    }

    /// Closes the unused L7 connections of `listeners`.
    pub(super) fn close_idle(&self, listeners: &[ListenerId]) {
        for worker in self.0.iter().filter(|_| !listeners.is_empty()) {
            worker.mailbox.send(Message::CloseIdle(listeners.to_vec()));
        }
    }

    /// Ends what is in flight at `targets`.
    pub(super) fn cut(&self, targets: &[TargetId]) {
        for worker in &self.0 {
            worker.mailbox.send(Message::Cut(targets.to_vec()));
        }
    }

    /// Asks what each worker has counted.
    pub(super) fn reports(&self) -> impl Future<Output = Vec<Counts>> + Send + use<> {
        let asked = self.ask(Message::Report);
        let counters: Vec<_> = self.0.iter().map(|worker| worker.counters.clone()).collect();
        async move {
            let mut counts = Vec::with_capacity(counters.len());
            for (counters, report) in counters.iter().zip(asked) {
                let answer = tokio::time::timeout(ANSWER_MAX, report).await;
                let report = answer.ok().and_then(Result::ok).unwrap_or_else(Report::default);
                let totals = Totals::of([counters.as_ref()]);
                counts.push(count(report.open_connections, &totals));
            }
            counts
        }
    }

    /// Drains the workers; they stop at once when `hurry` resolves.
    pub(super) async fn stop(self, how: Draining, hurry: impl Future<Output = ()>) -> Totals {
        for worker in &self.0 {
            worker.mailbox.send(Message::Drain(how));
        }
        let limit = how.limit;
        let counters: Vec<_> = self.0.iter().map(|worker| worker.counters.clone()).collect();
        let (mailboxes, ended): (Vec<_>, Vec<_>) =
            self.0.into_iter().map(|worker| (worker.mailbox, worker.ended)).unzip();
        let mut all_ended = std::pin::pin!(async {
            for ended in ended {
                // A worker that panicked has ended too.
                let _ = ended.await;
            }
        });
        let in_time = tokio::select! {
            () = all_ended.as_mut() => true,
            () = hurry => false,
            () = tokio::time::sleep(limit + END_GRACE) => false,
        };
        if !in_time {
            for mailbox in &mailboxes {
                mailbox.send(Message::Stop);
            }
            // Then the process ends, and the kernel closes what is left.
            let _ = tokio::time::timeout(END_GRACE, all_ended).await;
        }
        Totals::of(counters.iter().map(AsRef::as_ref))
    }

    /// Asks every worker.
    fn ask<R>(&self, message: impl Fn(oneshot::Sender<R>) -> Message) -> Vec<oneshot::Receiver<R>> {
        let ask = |worker: &WorkerHandle| {
            let (reply, answer) = oneshot::channel();
            worker.mailbox.send(message(reply));
            answer
        };
        self.0.iter().map(ask).collect()
    }
}

/// Waits until all workers have answered; whether they did.
async fn answers(asked: Vec<oneshot::Receiver<()>>, what: &'static str) -> bool {
    let mut all = true;
    for (worker, answer) in asked.into_iter().enumerate() {
        match tokio::time::timeout(ANSWER_MAX, answer).await {
            Ok(answer) => all &= answer.is_ok(),
            Err(_) => {
                all = false;
                tracing::error!(worker, "the worker does not take {what}: is it stuck?");
            }
        }
    }
    all
}

fn count(open_connections: usize, totals: &Totals) -> Counts {
    Counts {
        open_connections: open_connections as u64,
        connections: totals.connections,
        requests: totals.requests,
        own_responses: totals.own_responses,
        target_connections: totals.target_connections,
        target_connection_errors: totals.target_connection_errors,
        target_connections_reused: totals.target_connections_reused,
        retries: totals.retries,
        panics: totals.panics,
        access_log_lines: totals.access_log_lines,
        access_log_dropped: totals.access_log_dropped,
    }
}

impl std::ops::AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.open_connections += other.open_connections;
        self.connections += other.connections;
        self.requests += other.requests;
        self.own_responses += other.own_responses;
        self.target_connections += other.target_connections;
        self.target_connection_errors += other.target_connection_errors;
        self.target_connections_reused += other.target_connections_reused;
        self.retries += other.retries;
        self.panics += other.panics;
        self.access_log_lines += other.access_log_lines;
        self.access_log_dropped += other.access_log_dropped;
    }
}
