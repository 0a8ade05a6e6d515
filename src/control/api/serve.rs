//! From open doors to served connections, each bounded in number and in time.
//!
//! What is no HTTP, or has too long a head, never reaches a handler: hyper answers it with 400 or
//! 431 and no body, and closes. Everything else gets an answer of ours.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::access::Access;
use super::door::{Door, Guest};
use super::metrics::{Period, watch_minutes};
use super::patience::Patient;
use super::{Api, looking_router, router};
use crate::control::handle::Handle;
use crate::model::ControlApi;

/// Most connections at one door; more wait in the kernel's queue until one ends.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// Longest wait for a whole request head, and longest life of an idle connection: the connection
/// closes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a client to read on: the connection closes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest request head, in bytes; hyper wants at least 8 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long accepting rests when the process is out of files.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Shortest time between two warnings that there is no room for another connection.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How long a close waits for answers that are under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The doors of the API, served until closed. Dropping this stops accepting.
#[derive(Debug)]
pub struct Servers {
    doors: Vec<Arc<Door>>,
    tasks: Vec<JoinHandle<()>>,
    closing: watch::Sender<bool>,
}

/// Serves the API where `api` says, on sockets of `inherited` where they fit; of those, the
/// others are closed. Must be called within a tokio runtime, on which it goes on to run.
///
/// # Errors
/// If a door cannot be opened or the token file is no good, with cause and cure.
pub async fn serve(
    api: &ControlApi,
    handle: Handle,
    mut inherited: Vec<OwnedFd>,
) -> io::Result<Servers> {
    // All doors before any is served. The one that leaves a file behind comes last: if another
    // cannot be had, there is no trace.
    let mut doors = Vec::new();
    let metrics = api.metrics_address.map(|address| Door::tcp(address, &mut inherited));
    let metrics = metrics.transpose()?;
    if let Some(address) = api.address {
        let access = Access::of_tcp(address, api.token_file.as_deref())?;
        doors.push((Door::tcp(address, &mut inherited)?, access));
    }
    if let Some(path) = &api.socket {
        doors.push((Door::unix(path, &mut inherited)?, Access::Unix));
    }
    let (closing, closed) = watch::channel(false);
    let (period, minute) = watch::channel(Period::default());
    let state = Api::new(handle.clone(), closed.clone(), minute);
    let mut servers = Servers { doors: Vec::new(), tasks: Vec::new(), closing };
    for (door, access) in doors {
        // The address with the port that the kernel gave.
        if let Some(address) = door.address() {
            tracing::info!(%address, "the control API listens");
        } else if let Some(path) = &api.socket {
            tracing::info!(socket = %path.display(), "the control API listens");
        }
        servers.open(door, router(state.clone(), access));
    }
    if let Some(door) = metrics {
        if let Some(address) = door.address() {
            tracing::info!(%address, "metrics can be read");
        }
        servers.open(door, looking_router(state));
    }
    if !servers.doors.is_empty() {
        servers.tasks.push(tokio::spawn(watch_minutes(handle, period, closed)));
    }
    Ok(servers)
}

impl Servers {
    /// The TCP address, with the port that the kernel gave.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.doors.iter().find_map(|door| door.address())
    }

    /// The listening sockets once more, for a process that takes over.
    ///
    /// # Errors
    /// If the process is out of files.
    pub fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.doors.iter().map(|door| door.fd().try_clone_to_owned()).collect()
    }

    /// Closes the doors and removes the socket's file; answers under way have two seconds.
    pub async fn close(self) {
        for door in &self.doors {
            door.remove_file();
        }
        self.leave().await;
    }

    /// As [`Servers::close`], but leaves the file to the process that has taken over.
    pub async fn leave(mut self) {
        self.closing.send_replace(true);
        let ended = async {
            for task in &mut self.tasks {
                // One that panicked has ended, too.
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, ended).await;
    }

    fn open(&mut self, door: Door, router: Router) {
        let door = Arc::new(door);
        self.doors.push(door.clone());
        self.tasks.push(tokio::spawn(welcome(door, router, self.closing.subscribe())));
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Accepts until `closing`; ends with the last connection.
async fn welcome(door: Arc<Door>, router: Router, mut closing: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut told = None;
    loop {
        let guest = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => break,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            guest = next(&door, &room, &mut told) => guest,
        };
        let Some((guest, permit)) = guest else { continue };
        let (router, closing) = (router.clone(), closing.clone());
        connections.spawn(async move {
            match guest {
                Guest::Unix(stream) => converse(stream, router, closing).await,
                Guest::Tcp(stream) => converse(stream, router, closing).await,
            }
            drop(permit);
        });
    }
    drop(door);
    while connections.join_next().await.is_some() {}
}

/// The next connection, once there is room for it; `None` if accepting failed. `told`: when it was
/// last said that there is none.
async fn next(
    door: &Door,
    room: &Arc<Semaphore>,
    told: &mut Option<Instant>,
) -> Option<(Guest, tokio::sync::OwnedSemaphorePermit)> {
    let is_news = || told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
    if room.available_permits() == 0 && is_news() {
        *told = Some(Instant::now());
        tracing::warn!("{CONNECTIONS_MAX} connections to the control API are open; others wait");
    }
    let permit = room.clone().acquire_owned().await.ok()?;
    match door.accept().await {
        Ok(guest) => Some((guest, permit)),
        Err(cause) => {
            tracing::warn!(%cause, "the control API cannot accept");
            tokio::time::sleep(ACCEPT_REST).await;
            None
        }
    }
}

/// Serves one connection to its end, or until the answer under way when `closing`.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    mut closing: watch::Receiver<bool>,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let service = TowerToHyperService::new(router);
    let stream = Patient::new(stream, WRITE_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // An error is the client's: it went away, or what it sent is no HTTP and hyper has said so.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closing.wait_for(|closing| *closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
