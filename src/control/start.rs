//! From a model to running workers, or to one clear reason why not.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use socket2::SockRef;
use tokio::sync::oneshot;

use crate::mailbox;
use crate::metrics::Counters;
use crate::model::{Listener, Model, Workers};
use crate::net::ring::{self, Unusable};
use crate::net::{self, limits};
use crate::snapshot::{ListenerId, Snapshot};
use crate::worker;

use super::{Listening, Started, WorkerHandle};

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
    /// A worker thread or its ring cannot be made.
    Worker {
        /// Number of the worker.
        index: usize,
        /// What the kernel says.
        source: io::Error,
    },
    /// The control thread's own runtime cannot be made.
    Runtime(io::Error),
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
            Self::Worker { index, source } => write!(
                f,
                "worker {index} cannot start: {source}; {}",
                match source.raw_os_error() {
                    Some(libc::ENOMEM) =>
                        "its ring needs locked memory: raise `ulimit -l` (LimitMEMLOCK= in \
                         systemd), or lower `workers`",
                    Some(libc::EMFILE | libc::ENFILE) =>
                        "the process is out of files: raise `ulimit -n` (LimitNOFILE= in systemd)",
                    Some(libc::EAGAIN) =>
                        "no more threads: raise `ulimit -u` (TasksMax= in systemd), or lower \
                         `workers`",
                    _ => "`ringway version` shows what this machine offers",
                }
            ),
            Self::Runtime(source) => write!(f, "the control thread cannot start: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Driver(unusable) => Some(unusable),
            Self::Bind { source, .. } | Self::Worker { source, .. } | Self::Runtime(source) => {
                Some(source)
            }
        }
    }
}

fn bind_cure(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 need a privilege: run with CAP_NET_BIND_SERVICE (the systemd unit \
             has it), or use a port such as {}",
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

/// Starts everything; returns once every worker listens.
pub(super) async fn start(model: &Model) -> Result<(Vec<WorkerHandle>, Started), StartError> {
    let (engine, unusable) = ring::probe(model.server.driver).map_err(StartError::Driver)?;
    if let Some(unusable) = unusable {
        tracing::warn!("{unusable}; running on epoll");
    }
    set_limits();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let count = match model.server.workers {
        Workers::Auto => cores.len().max(1),
        Workers::Count(count) => count.get(),
    };
    let (addresses, sockets) = bind_all(&model.listeners, count)?;
    let snapshot = Arc::new(Snapshot::new(model, &addresses, None));
    let mut workers = Vec::with_capacity(count);
    let mut pending = Vec::with_capacity(count);
    for (index, listeners) in sockets.into_iter().enumerate() {
        // More workers than cores share them in turn; then pinning would only hinder.
        let core = (count <= cores.len()).then(|| cores[index]);
        let (mailbox, inbox) =
            mailbox::pair().map_err(|source| StartError::Worker { index, source })?;
        let counters = Arc::new(Counters::default());
        let (ready, is_ready) = oneshot::channel();
        let setup = worker::Setup {
            index,
            core,
            engine,
            listeners,
            snapshot: snapshot.clone(),
            inbox,
            counters: counters.clone(),
            ready,
        };
        let ended = spawn(setup).map_err(|source| StartError::Worker { index, source })?;
        workers.push(WorkerHandle { mailbox, counters, ended });
        pending.push(is_ready);
    }
    for (index, ready) in pending.into_iter().enumerate() {
        let result = ready.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        result.map_err(|source| StartError::Worker { index, source })?;
    }
    let listeners = model.listeners.iter().zip(&addresses).map(|(listener, &address)| Listening {
        name: listener.name.clone(),
        mode: listener.mode,
        address,
    });
    Ok((workers, Started { listeners: listeners.collect(), workers: count, engine }))
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

type Sockets = Vec<Vec<(ListenerId, OwnedFd)>>;

/// Opens each listener's socket once per worker. Returns the addresses that the listeners got and
/// the sockets by worker.
fn bind_all(
    listeners: &[Listener],
    workers: usize,
) -> Result<(Vec<SocketAddr>, Sockets), StartError> {
    let mut addresses = Vec::with_capacity(listeners.len());
    let mut sockets: Sockets = (0..workers).map(|_| Vec::new()).collect();
    for (index, listener) in listeners.iter().enumerate() {
        let fail = |source| StartError::Bind {
            listener: listener.name.clone(),
            address: listener.address,
            source,
        };
        // With reuse_port alone, a second ringway would share the port in silence.
        probe_exclusive(listener.address).map_err(fail)?;
        let mut address = listener.address;
        for worker in &mut sockets {
            let socket = net::bind(address).map_err(fail)?;
            address = local_address(&socket).map_err(fail)?;
            worker.push((ListenerId(index as u32), socket));
        }
        addresses.push(address);
    }
    Ok((addresses, sockets))
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = SockRef::from(&socket.as_fd()).local_addr()?;
    address.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Fails when another process listens on `address` already.
fn probe_exclusive(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    net::probe(address)
}
