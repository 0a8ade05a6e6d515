//! The thread that owns the model: it starts the workers, hears the signals, and ends it all.
//!
//! It runs on ordinary tokio and never on a worker's core loop; workers hear of it through their
//! mailboxes only. Start with [`run`].

pub mod api;
pub mod handle;
pub mod probe;
mod start;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::mailbox::{Mailbox, Message};
use crate::metrics::{Counters, Totals};
use crate::model::{Mode, Model};
use crate::net::ring::Engine;

pub use start::StartError;

/// Time that workers get beyond the drain timeout before the process ends without them.
const WORKER_GRACE: Duration = Duration::from_secs(2);

/// A listener as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Name.
    pub name: String,
    /// Mode.
    pub mode: Mode,
    /// Address, with the port that the kernel gave where the model says 0.
    pub address: SocketAddr,
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listening {} {} {}", self.name, self.mode, self.address)
    }
}

/// What has been started.
#[derive(Debug, Clone)]
pub struct Started {
    /// Listeners in the order of the model.
    pub listeners: Vec<Listening>,
    /// Number of workers.
    pub workers: usize,
    /// What they run on.
    pub engine: Engine,
}

/// A worker as control sees it.
struct WorkerHandle {
    mailbox: Mailbox,
    counters: std::sync::Arc<Counters>,
    ended: oneshot::Receiver<()>,
}

/// Runs `model` until a signal ends it. `started` is called once every worker listens.
///
/// # Errors
/// [`StartError`] when something that the model asks for cannot be had; nothing runs then.
pub fn run(model: &Model, started: impl FnOnce(&Started)) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(StartError::Runtime)?;
        let (workers, facts) = start::start(model).await?;
        started(&facts);
        tracing::info!(workers = facts.workers, driver = facts.engine.driver(), "started");
        signals.next().await;
        stop(workers, model.server.drain_timeout, &mut signals).await;
        Ok(())
    })
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Drains the workers; a second signal stops them at once.
async fn stop(workers: Vec<WorkerHandle>, limit: Duration, signals: &mut Signals) {
    tracing::info!(drain_timeout = ?limit, "stopping; a second signal ends at once");
    for worker in &workers {
        worker.mailbox.send(Message::Drain(limit));
    }
    let counters: Vec<_> = workers.iter().map(|worker| worker.counters.clone()).collect();
    let (mailboxes, ended): (Vec<_>, Vec<_>) =
        workers.into_iter().map(|worker| (worker.mailbox, worker.ended)).unzip();
    let mut all_ended = std::pin::pin!(async {
        for ended in ended {
            // A worker that panicked has ended too.
            let _ = ended.await;
        }
    });
    let in_time = tokio::select! {
        () = all_ended.as_mut() => true,
        () = signals.next() => false,
        () = tokio::time::sleep(limit + WORKER_GRACE) => false,
    };
    if !in_time {
        for mailbox in &mailboxes {
            mailbox.send(Message::Stop);
        }
        // Then the process ends, and the kernel closes what is left.
        let _ = tokio::time::timeout(WORKER_GRACE, all_ended).await;
    }
    let Totals { connections, requests, own_responses, retries, panics, .. } =
        Totals::of(counters.iter().map(AsRef::as_ref));
    tracing::info!(connections, requests, own_responses, retries, panics, "stopped");
}
