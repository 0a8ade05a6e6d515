//! From a model to running workers, or to one clear reason why not.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::mailbox::{self, Peer, Peers};
use crate::metrics::Counter;
use crate::model::{Server, Workers};
use crate::net::limits;
use crate::net::ring::{self, Engine, Unusable};
use crate::snapshot::{ListenerId, Snapshot};
use crate::span::Span;
use crate::worker;

use super::listeners::Placed;
use super::workers::WorkerHandle;

/// Why nothing runs: what happened, why that is likely, and the cure.
#[derive(Debug)]
pub enum StartError {
    /// io_uring was asked for by name and cannot be used.
    Driver(Unusable),
    /// A listener's address cannot be had.
    Bind {
        /// Name of the listener.
        listener: String,
        /// Address.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// An access log cannot be opened.
    AccessLog {
        /// Where its lines would go.
        place: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The certificates of a listener cannot be used.
    Certificate {
        /// Name of the listener.
        listener: String,
        /// Which file, why, and the cure.
        cause: String,
    },
    /// Nobody vouches for the targets of a group.
    Authorities {
        /// Name of the group.
        group: String,
        /// Which file, why, and the cure.
        cause: String,
    },
    /// A worker thread or its ring cannot be made.
    Worker {
        /// Number of the worker.
        index: usize,
        /// What the kernel says.
        source: io::Error,
    },
    /// The control thread's own runtime cannot be made.
    Runtime(io::Error),
    /// The control API cannot listen, or what lasts cannot be read; the text says all.
    Control(String),
    /// The file with the changes of the control API over it is no good configuration.
    Changes(crate::config::Failure),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(unusable) => write!(
                f,
                "{unusable}; `driver = \"io_uring\"` refuses to start without it, \
                 `driver = \"auto\"` would run on epoll"
            ),
            Self::Bind { listener, address, source } => {
                write!(f, "listener `{listener}` cannot listen on {address}: {source}")?;
                write!(f, "; {}", bind_cure(*address, source))
            }
            Self::AccessLog { place, source } => {
                write!(f, "the access log {place} cannot be opened: {source}")?;
                write!(f, "; {}", log_cure(source))
            }
            Self::Certificate { listener, cause } => {
                write!(f, "the certificates of listener `{listener}` cannot be used: {cause}")
            }
            Self::Authorities { group, cause } => {
                write!(f, "targets of group `{group}` cannot be verified: {cause}")
            }
            Self::Worker { index, source } => {
                write!(f, "worker {index} cannot start: {source}; {}", worker_cure(source))
            }
            Self::Runtime(source) => write!(f, "the control thread cannot start: {source}"),
            Self::Control(text) => f.write_str(text),
            Self::Changes(failure) => write!(
                f,
                "the changes that were made through the control API do not fit the file any \
                 more:\n{failure}\nchange the file back, undo them through the control API while \
                 it runs, or remove changes.json from the state directory before a start"
            ),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Driver(unusable) => Some(unusable),
            Self::Bind { source, .. }
            | Self::AccessLog { source, .. }
            | Self::Worker { source, .. }
            | Self::Runtime(source) => Some(source),
            Self::Changes(failure) => Some(failure),
            Self::Certificate { .. } | Self::Authorities { .. } | Self::Control(_) => None,
        }
    }
}

fn bind_cure(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 need a privilege: run with CAP_NET_BIND_SERVICE, or use a port such \
             as {}",
            8000 + u32::from(address.port())
        ),
        io::ErrorKind::AddrInUse => format!(
            "another program has the port: `ss -ltnp 'sport = :{}'` names it",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: `ip address` lists those that it has".into()
        }
        _ => "check the address".into(),
    }
}

fn log_cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "make its directory",
        io::ErrorKind::PermissionDenied => {
            "give the user that ringway runs as the right to write there"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the place is read-only: name another, or list it in ReadWritePaths= of the unit"
        }
        _ => "check the path",
    }
}

fn worker_cure(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => {
            "its ring needs locked memory: raise `ulimit -l` (LimitMEMLOCK= in systemd), or lower \
             `workers`"
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "the process is out of files: raise `ulimit -n` (LimitNOFILE= in systemd)"
        }
        Some(libc::EAGAIN) => {
            "no more threads: raise `ulimit -u` (TasksMax= in systemd), or lower `workers`"
        }
        _ => "`ringway version` shows what this machine offers",
    }
}

/// What workers are to run on, and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground {
    pub(super) engine: Engine,
    pub(super) workers: usize,
}

/// Finds out what this machine offers for `server`.
pub(super) fn survey(server: &Server) -> Result<Ground, StartError> {
    let (engine, unusable) = ring::probe(server.driver).map_err(StartError::Driver)?;
    if let Some(unusable) = unusable {
        tracing::warn!("{unusable}; running on epoll");
    }
    set_limits();
    let workers = match server.workers {
        Workers::Auto => core_affinity::get_core_ids().map_or(1, |cores| cores.len().max(1)),
        Workers::Count(count) => count.get(),
    };
    Ok(Ground { engine, workers })
}

/// Starts the workers with their sockets; returns once each listens.
pub(super) async fn start(
    ground: Ground,
    snapshot: &Arc<Snapshot>,
    sockets: Vec<Placed>,
    spans: &mpsc::Sender<Vec<Span>>,
) -> Result<Vec<WorkerHandle>, StartError> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut by_worker: Vec<Vec<(ListenerId, OwnedFd)>> =
        (0..ground.workers).map(|_| Vec::new()).collect();
    for (place, id, socket) in sockets {
        by_worker[place % ground.workers].push((id, socket));
    }
    let mut workers = Vec::with_capacity(ground.workers);
    let mut pending = Vec::with_capacity(ground.workers);
    let mut peers = Vec::with_capacity(ground.workers);
    let mut inboxes = Vec::with_capacity(ground.workers);
    for index in 0..ground.workers {
        let pair = mailbox::pair().map_err(|source| StartError::Worker { index, source })?;
        peers.push(Peer { mailbox: pair.0, counters: Arc::default() });
        inboxes.push(pair.1);
    }
    let peers: Arc<[Peer]> = peers.into();
    for (index, (listeners, inbox)) in by_worker.into_iter().zip(inboxes).enumerate() {
        let fail = |source| StartError::Worker { index, source };
        let Peer { mailbox, counters } = &peers[index];
        let (mailbox, counters) = (mailbox.clone(), counters.clone());
        let beat = Arc::new(Counter::default());
        let (ready, is_ready) = oneshot::channel();
        let setup = worker::Setup {
            index,
            // More workers than cores share them in turn; then pinning would only hinder.
            core: (ground.workers <= cores.len()).then(|| cores[index]),
            engine: ground.engine,
            listeners,
            snapshot: snapshot.clone(),
            inbox,
            counters: counters.clone(),
            peers: Peers::new(index, peers.clone()),
            spans: spans.clone(),
            beat: beat.clone(),
            ready,
        };
        let ended = spawn(setup).map_err(fail)?;
        workers.push(WorkerHandle { mailbox, counters, beat, ended });
        pending.push(is_ready);
    }
    for (index, ready) in pending.into_iter().enumerate() {
        let result = ready.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        result.map_err(|source| StartError::Worker { index, source })?;
    }
    Ok(workers)
}

/// Starts a worker's thread; the receiver hears when it has ended.
fn spawn(setup: worker::Setup) -> io::Result<oneshot::Receiver<()>> {
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new().name(format!("worker-{}", setup.index)).spawn(move || {
        // A panic outside of a connection leaves a worker in no known state: end the process,
        // so that the service manager starts it anew.
        let abort = AbortOnPanic;
        worker::run(setup);
        std::mem::forget(abort);
        drop(end);
    })?;
    Ok(ended)
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

fn set_limits() {
    if let Err(error) = limits::refuse_huge_pages() {
        tracing::warn!(%error, "cannot turn huge pages off; idle connections take more memory");
    }
    match limits::raise_open_files() {
        Ok(files) => tracing::info!(
            files,
            "open files are limited to this many; a proxied connection takes two"
        ),
        Err(error) => tracing::warn!(
            %error,
            "cannot raise the limit of open files; raise it with `ulimit -n` or LimitNOFILE="
        ),
    }
}
