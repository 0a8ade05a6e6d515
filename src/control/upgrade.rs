//! Hands over to a new process of the same program without losing a connection.
//!
//! The listening sockets go to the new process by descriptor, with the connections that wait in
//! them. Once it says that it is ready, this process takes no more connections and drains.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Duration;

use crate::net::inherit;
use crate::overlay::store::Store;

use super::actor::Actor;
use super::api::Servers;
use super::handle::{ChangeError, Upgraded};

/// Longest wait for the new process to be ready.
const READY_MAX: Duration = Duration::from_secs(30);

impl Actor {
    /// Starts the new process and waits until it is ready. If it does not get there, everything
    /// stays as it was.
    pub(super) async fn upgrade(&mut self) -> Result<Upgraded, ChangeError> {
        let state_dir = self.model.server.state_dir.clone();
        // The successor takes the lock of the state directory; changes wait until then.
        if let Some(store) = self.store.take() {
            store.release().map_err(|error| ChangeError::Failed(error.to_string()))?;
        }
        let result = self.hand_over().await;
        if result.is_err()
            && let Some(dir) = state_dir
        {
            self.store = Store::open(&dir).ok();
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
            .env(inherit::READY, inherit::number(&writer).to_string());
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
