//! Control to worker: messages in one direction, replies in the other; and connections that one
//! worker hands to another.
//!
//! The only place where threads meet. A worker reads its messages between
//! exchanges of its connections; nothing on the request path takes a lock.

#![allow(
    clippy::disallowed_types,
    reason = "held for the length of a swap, by control and by a worker that reads its messages"
)]

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::metrics::Counters;
use crate::net::{Bell, Doorbell, Listening};
use crate::snapshot::{ListenerId, Snapshot, TargetId};

/// A worker hands a connection over when it has more than the other by 1 and this part of the
/// other's: within that the hash is even enough, and a hand-over costs a wake-up.
const UNEVEN_SHARE: usize = 8;
/// Most workers whose connections are counted for one accept, in turn.
const LOOKED_AT_MAX: usize = 8;

/// What control tells a worker.
#[derive(Debug)]
pub enum Message {
    /// Act on this picture from the next exchange on; then acknowledge to all who wait for that.
    Adopt(Arc<Snapshot>, Vec<oneshot::Sender<()>>),
    /// Take connections from one more socket.
    Listen(ListenerId, OwnedFd),
    /// Serve a connection of this listener from this address, which another worker has accepted and
    /// counted here.
    Serve(ListenerId, OwnedFd, SocketAddr),
    /// Take no more connections from the sockets of a listener; then acknowledge.
    Unlisten(ListenerId, oneshot::Sender<()>),
    /// Close the unused L7 connections of these listeners: they are served no longer.
    CloseIdle(Vec<ListenerId>),
    /// End what is in flight at these targets: their deregistration delay is over.
    Cut(Vec<TargetId>),
    /// Say what has been measured and counted.
    Report(oneshot::Sender<Report>),
    /// Take no new connections, finish what is in flight.
    Drain(Draining),
    /// End now.
    Stop,
}

/// How a worker is to drain.
#[derive(Debug, Clone, Copy)]
pub struct Draining {
    /// It ends by then at the latest.
    pub limit: Duration,
    /// How long client connections without a request stay open: for the request that may be on
    /// its way. It is answered with `Connection: close`.
    pub grace: Duration,
}

/// What a worker has measured since it started.
#[derive(Debug, Default)]
pub struct Report {
    /// Client connections open now.
    pub open_connections: usize,
}

/// Control's end, and that of the other workers.
#[derive(Debug, Clone)]
pub struct Mailbox {
    letters: Sender<Letter>,
    newest: Arc<Mutex<Newest>>,
    bell: Arc<Bell>,
}

/// What lies in the queue.
#[derive(Debug)]
enum Letter {
    Message(Message),
    /// Look into the slot for the newest picture.
    Newest,
}

/// The picture that a worker has not adopted yet. One that is late gets the newest only: health
/// changes pictures at any rate, and a stuck worker must not collect them.
#[derive(Debug, Default)]
struct Newest {
    snapshot: Option<Arc<Snapshot>>,
    /// Who waits for the worker to act on it, or on one before.
    waiting: Vec<oneshot::Sender<()>>,
}

/// The workers of a process as one of them sees them.
pub struct Peers {
    me: usize,
    all: Arc<[Peer]>,
    /// Where the next look at the others begins.
    next: Cell<usize>,
}

/// A worker as the others see it.
pub struct Peer {
    /// Where to send what it should serve.
    pub mailbox: Mailbox,
    /// What it counts, its open connections among it.
    pub counters: Arc<Counters>,
}

/// A worker's end, before it has a ring.
#[derive(Debug)]
pub struct Inbox {
    letters: Receiver<Letter>,
    newest: Arc<Mutex<Newest>>,
    doorbell: Doorbell,
}

/// A worker's end on its ring.
pub struct OpenInbox {
    letters: Receiver<Letter>,
    newest: Arc<Mutex<Newest>>,
    doorbell: Listening,
}

/// Makes a pair. The queue is bounded by its use: of pictures only the newest waits, control waits
/// for the acknowledgement of each change before it makes the next, and workers hand connections
/// over only to those with fewer.
///
/// # Errors
/// When the process is out of files.
pub fn pair() -> io::Result<(Mailbox, Inbox)> {
    let (sender, letters) = channel();
    let newest = Arc::<Mutex<Newest>>::default();
    let (bell, doorbell) = Bell::pair()?;
    let mailbox = Mailbox { letters: sender, newest: newest.clone(), bell: Arc::new(bell) };
    Ok((mailbox, Inbox { letters, newest, doorbell }))
}

impl Peers {
    /// How worker `me` sees `all`.
    #[must_use]
    pub fn new(me: usize, all: Arc<[Peer]>) -> Self {
        Self { me, all, next: Cell::new(me + 1) }
    }

    /// How many workers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Counts a connection that was just accepted. `Some`: another worker has so many fewer that it
    /// should be the one to serve it, and it is counted there.
    ///
    /// The kernel spreads connections by a hash, which leaves workers uneven when connections are
    /// few and long.
    pub fn place(&self) -> Option<&Mailbox> {
        let mine = &self.all[self.me].counters;
        let least = self.least();
        let fewer = least.counters.open.count();
        if mine.open.count() > fewer + 1 + fewer / UNEVEN_SHARE && least.counters.open.try_enter() {
            mine.handed_over.add(1);
            return Some(&least.mailbox);
        }
        mine.open.enter();
        None
    }

    /// The one with the fewest connections of those that it is the turn to look at.
    fn least(&self) -> &Peer {
        let count = self.all.len().min(LOOKED_AT_MAX);
        let first = self.next.get();
        self.next.set((first + count) % self.all.len());
        let looked_at = (first..first + count).map(|at| &self.all[at % self.all.len()]);
        let own = &self.all[self.me];
        looked_at.min_by_key(|peer| peer.counters.open.count()).unwrap_or(own)
    }
}

impl Mailbox {
    /// Sends `message`. A worker that has ended does not read it.
    pub fn send(&self, message: Message) {
        self.post(Letter::Message(message));
    }

    /// Has the worker act on `snapshot`, in place of any that it has not adopted yet. What it
    /// returns resolves once the worker acts on this one or a newer one.
    #[must_use]
    pub fn adopt(&self, snapshot: Arc<Snapshot>) -> oneshot::Receiver<()> {
        let (reply, answer) = oneshot::channel();
        let is_first = {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            // Who has given up waiting for a stuck worker needs no answer.
            newest.waiting.retain(|waiting| !waiting.is_closed());
            newest.waiting.push(reply);
            newest.snapshot.replace(snapshot).is_none()
        };
        if is_first {
            self.post(Letter::Newest);
        }
        answer
    }

    fn post(&self, letter: Letter) {
        if self.letters.send(letter).is_ok() {
            self.bell.ring();
        }
    }
}

impl Inbox {
    /// Binds it to the ring of the calling worker.
    ///
    /// # Errors
    /// When the driver refuses the socket.
    pub fn open(self) -> io::Result<OpenInbox> {
        let Self { letters, newest, doorbell } = self;
        Ok(OpenInbox { letters, newest, doorbell: doorbell.listen()? })
    }
}

impl OpenInbox {
    /// The next message if one is there.
    pub fn try_next(&mut self) -> Option<Message> {
        loop {
            match self.letters.try_recv() {
                Ok(Letter::Message(message)) => return Some(message),
                Ok(Letter::Newest) => {
                    if let Some(message) = self.take_newest() {
                        return Some(message);
                    }
                }
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => return Some(Message::Stop),
            }
        }
    }

    fn take_newest(&self) -> Option<Message> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let Newest { snapshot, waiting } = std::mem::take(&mut *newest);
        Some(Message::Adopt(snapshot?, waiting))
    }

    /// Waits for the next message; [`Message::Stop`] when control is gone.
    pub async fn next(&mut self) -> Message {
        loop {
            if let Some(message) = self.try_next() {
                return message;
            }
            if self.doorbell.wait().await.is_err() {
                return Message::Stop;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stickiness::keys;

    #[test]
    fn worker_that_is_late_gets_the_newest_snapshot_only_and_all_are_answered() {
        let (mailbox, inbox) = pair().expect("files");
        let keys = Arc::new(keys::in_memory().expect("a key"));
        let snapshot = |places| {
            let (listeners, groups) = (vec![None; places], Vec::new());
            Arc::new(Snapshot { listeners, groups, keys: keys.clone(), sampling: None })
        };
        drop(mailbox.adopt(snapshot(1)));
        let mut answers = [mailbox.adopt(snapshot(2)), mailbox.adopt(snapshot(3))];
        assert!(matches!(inbox.letters.try_recv(), Ok(Letter::Newest)), "one letter for all");
        assert!(matches!(inbox.letters.try_recv(), Err(TryRecvError::Empty)));
        let mut newest = mailbox.newest.lock().expect("not poisoned");
        assert_eq!(newest.snapshot.take().map(|newest| newest.listeners.len()), Some(3));
        assert_eq!(newest.waiting.len(), 2, "who has given up is forgotten");
        newest.waiting.drain(..).for_each(|waiting| waiting.send(()).expect("waits"));
        assert!(answers.iter_mut().all(|answer| answer.try_recv().is_ok()));
    }
}
