//! Hands over to a new process of the same program without losing a connection.
//!
//! The listening sockets go to the new process by descriptor, with the connections that wait in
//! them; so do the changes of the control API, in a file in memory. Once it says that it is
//! ready, this process takes no more connections and drains. Until then it goes on as ever, but
//! for other orders, which wait.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::net::{child, inherit};
use crate::overlay::Overlay;
use crate::overlay::store::{self, Store};

use super::actor::{Actor, Source};
use super::api::Servers;
use super::change::blocking;
use super::handle::{ChangeError, Upgraded};

/// Longest wait for the new process to be ready.
const READY_MAX: Duration = Duration::from_secs(30);

impl Source {
    /// Whether the program's file is another one than what runs: a package has replaced it. A file
    /// that is gone is no other one.
    pub(super) fn program_changed(&self) -> bool {
        let identity = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino()))
        };
        let (on_disk, running) = (identity(&self.program), identity(Path::new("/proc/self/exe")));
        on_disk.is_some() && running.is_some() && on_disk != running
    }
}

/// Starts the new process and waits until it is ready. If it does not get there, everything
/// stays as it was.
pub(super) async fn upgrade(actor: &RefCell<Actor>) -> Result<Upgraded, ChangeError> {
    let failed =
        |error: &dyn std::fmt::Display| ChangeError::Failed(format!("the upgrade failed: {error}"));
    // The successor takes the lock of the state directory.
    let store = actor.borrow_mut().store.take();
    if let Some(store) = store {
        blocking(move || store.release()).await?.map_err(|error| failed(&error))?;
    }
    actor.borrow_mut().service.reloading();
    let result = hand_over(actor).await;
    match &result {
        Ok(upgraded) => {
            let actor = &mut *actor.borrow_mut();
            actor.service.handed_over(upgraded.pid);
            actor.heir = Some(watch(upgraded.pid));
        }
        Err(_) => {
            actor.borrow_mut().service.reloaded(false);
            take_lock(actor).await;
        }
    }
    result.map_err(|error| failed(&error))
}

/// Takes the lock of the state directory again, for further changes.
async fn take_lock(actor: &RefCell<Actor>) {
    let Some(dir) = actor.borrow().model.server.state_dir.clone() else { return };
    match blocking(move || Store::open(&dir)).await {
        Ok(Ok(store)) => actor.borrow_mut().store = Some(store),
        // The next change tries again, and is refused if it cannot be kept.
        Ok(Err(error)) => tracing::error!("{error}"),
        Err(error) => tracing::error!(?error, "cannot take the lock of the state directory"),
    }
}

async fn hand_over(actor: &RefCell<Actor>) -> io::Result<Upgraded> {
    let (reader, writer) = io::pipe()?;
    let ready = pipe::Receiver::from_owned_fd(reader.into())?;
    let estate = actor.borrow().estate(writer.into())?;
    let spawned = blocking(move || estate.spawn());
    let mut successor = spawned.await.map_err(|_| io::Error::other("a thread has panicked"))??;
    let pid = successor.0.id();
    let is_ready = tokio::time::timeout(READY_MAX, wait_ready(&ready)).await;
    match is_ready.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(()) => {
            std::mem::forget(successor);
            tracing::info!(pid, "the new process is ready; draining");
            Ok(Upgraded { pid })
        }
        Err(error) => {
            // It may have ended by itself.
            let _ = successor.0.kill();
            let status = successor.0.wait()?;
            Err(io::Error::new(error.kind(), format!("the new process {status}; see its log")))
        }
    }
}

/// Waits for the one byte that says ready; the end without it means that the process has ended.
async fn wait_ready(ready: &pipe::Receiver) -> io::Result<()> {
    loop {
        ready.readable().await?;
        match ready.try_read(&mut [0]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The new process; killed when dropped, for then nobody waits for it.
struct Successor(Child);

impl Drop for Successor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
    }
}

/// What the new process gets: duplicates of descriptors.
struct Estate {
    program: PathBuf,
    /// Listening sockets, by what [`inherit::SOCKETS`] calls them.
    listeners: Vec<(String, OwnedFd)>,
    /// Those of the control API.
    control: Vec<OwnedFd>,
    /// What the control API changed.
    changes: Arc<Overlay>,
    /// Where the new process says that it is ready.
    ready: OwnedFd,
}

impl Actor {
    fn estate(&self, ready: OwnedFd) -> io::Result<Estate> {
        let sockets = self.listeners.sockets();
        let duplicate = |(label, socket): (_, &OwnedFd)| Ok((label, socket.try_clone()?));
        Ok(Estate {
            program: self.source.program.clone(),
            listeners: sockets.map(duplicate).collect::<io::Result<_>>()?,
            control: self.api.as_ref().map_or_else(|| Ok(Vec::new()), Servers::sockets)?,
            changes: self.overlay.clone(),
            ready,
        })
    }
}

impl Estate {
    /// Starts the program anew with it.
    fn spawn(self) -> io::Result<Successor> {
        let changes = inherit::in_memory(store::text_of(&self.changes).as_bytes())?;
        let listeners = self.listeners.iter().map(|(_, socket)| socket);
        let mut all = listeners.chain(&self.control).chain([&changes, &self.ready]);
        all.try_for_each(inherit::set_inheritable)?;
        let listeners = self.listeners.iter().map(|(label, socket)| (label.as_str(), socket));
        let mut command = Command::new(&self.program);
        command
            .args(std::env::args_os().skip(1))
            .env(inherit::SOCKETS, inherit::entries(listeners))
            .env(inherit::CONTROL, inherit::numbers(self.control.iter()))
            .env(inherit::CHANGES, inherit::number(&changes).to_string())
            .env(inherit::READY, inherit::number(&self.ready).to_string())
            // It names this process; the watchdog is meant for the new one too.
            .env_remove("WATCHDOG_PID");
        command.spawn().map(Successor)
    }
}

/// Tells when the process `pid`, which has taken over, fails while this one still drains.
///
/// A service manager hears of the end of a process whose parent lives only from that parent, so
/// the service would be down for as long as this process drains. The thread ends with either.
fn watch(pid: u32) -> oneshot::Receiver<()> {
    let (failed, fails) = oneshot::channel();
    let wait = move || {
        if let Ok(false) = child::wait_for_end(pid) {
            // Nobody may be listening.
            let _ = failed.send(());
        }
    };
    if let Err(error) = std::thread::Builder::new().name("heir".into()).spawn(wait) {
        tracing::warn!(%error, "the end of the new process will be noticed late");
    }
    fails
}

/// Resolves when the process that has taken over fails, with a word on the log.
pub(super) async fn fails(heir: Option<oneshot::Receiver<()>>) {
    if let Some(heir) = heir
        && heir.await.is_ok()
    {
        tracing::error!("the new process has failed; ending at once, for the next one to begin");
        return;
    }
    std::future::pending().await
}
