//! Hands over to a new process of the same program without losing a connection.
//!
//! The listening sockets go to the new process by descriptor, with the connections that wait in
//! them. Once it says that it is ready, this process takes no more connections and drains.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::net::{child, inherit};
use crate::overlay::store::Store;

use super::actor::{Actor, Source};
use super::api::Servers;
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

impl Actor {
    /// Starts the new process and waits until it is ready. If it does not get there, everything
    /// stays as it was.
    pub(super) async fn upgrade(&mut self) -> Result<Upgraded, ChangeError> {
        let state_dir = self.model.server.state_dir.clone();
        // The successor takes the lock of the state directory; changes wait until then.
        if let Some(store) = self.store.take() {
            store.release().map_err(|error| ChangeError::Failed(error.to_string()))?;
        }
        self.service.reloading();
        let result = self.hand_over().await;
        match (&result, state_dir) {
            (Ok(upgraded), _) => {
                self.service.handed_over(upgraded.pid);
                self.heir = Some(watch(upgraded.pid));
            }
            (Err(_), dir) => {
                self.service.reloaded(false);
                self.store = dir.and_then(|dir| Store::open(&dir).ok());
            }
        }
        result.map_err(|error| ChangeError::Failed(format!("the upgrade failed: {error}")))
    }

    async fn hand_over(&mut self) -> io::Result<Upgraded> {
        let (ready, mut child) = self.spawn()?;
        let pid = child.id();
        let waited = tokio::task::spawn_blocking(move || wait_ready(ready));
        let is_ready = match tokio::time::timeout(READY_MAX, waited).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match is_ready {
            Ok(()) => {
                tracing::info!(pid, "the new process is ready; draining");
                Ok(Upgraded { pid })
            }
            Err(error) => {
                // It may have ended by itself.
                let _ = child.kill();
                let status = child.wait()?;
                Err(io::Error::new(error.kind(), format!("the new process {status}; see its log")))
            }
        }
    }

    /// Starts the program anew, with the listening sockets and a pipe to say that it is ready.
    fn spawn(&self) -> io::Result<(OwnedFd, Child)> {
        let (reader, writer) = io::pipe()?;
        let writer = OwnedFd::from(writer);
        let sockets: Vec<_> = self.listeners.sockets().collect();
        let control = self.api.as_ref().map_or_else(|| Ok(Vec::new()), Servers::sockets)?;
        let pass = |inheritable| {
            let listeners = sockets.iter().map(|(_, socket)| *socket);
            let mut all = listeners.chain(&control).chain([&writer]);
            all.try_for_each(|socket| inherit::set_inheritable(socket, inheritable))
        };
        let mut command = Command::new(&self.source.program);
        command
            .args(std::env::args_os().skip(1))
            .env(inherit::SOCKETS, inherit::name(sockets.iter().copied()))
            .env(inherit::CONTROL, inherit::numbers(control.iter()))
            .env(inherit::READY, inherit::number(&writer).to_string())
            // It names this process; the watchdog is meant for the new one too.
            .env_remove("WATCHDOG_PID");
        pass(true)?;
        let child = command.spawn();
        pass(false)?;
        Ok((reader.into(), child?))
    }
}

/// Waits for the one byte that says ready; the end without it means that the process has ended.
fn wait_ready(ready: OwnedFd) -> io::Result<()> {
    io::PipeReader::from(ready).read_exact(&mut [0])
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
