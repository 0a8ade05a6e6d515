//! Control to worker: messages in one direction, replies in the other.
//!
//! The only place where the two kinds of threads meet. A worker reads its messages between
//! exchanges of its connections; nothing on the request path takes a lock.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::metrics::Latencies;
use crate::net::{Bell, Doorbell, Listening};
use crate::snapshot::{ListenerId, Snapshot, TargetId};

/// What control tells a worker.
#[derive(Debug)]
pub enum Message {
    /// Act on this picture from the next exchange on; then acknowledge.
    Adopt(Arc<Snapshot>, oneshot::Sender<()>),
    /// Take connections from one more socket.
    Listen(ListenerId, OwnedFd),
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
    /// Time from request head to end of response, per target group.
    pub latencies: Latencies,
}

/// Control's end.
#[derive(Debug)]
pub struct Mailbox {
    messages: Sender<Message>,
    bell: Bell,
}

/// A worker's end, before it has a ring.
#[derive(Debug)]
pub struct Inbox {
    messages: Receiver<Message>,
    doorbell: Doorbell,
}

/// A worker's end on its ring.
pub struct OpenInbox {
    messages: Receiver<Message>,
    doorbell: Listening,
}

/// Makes a pair. The queue is bounded by its use: control waits for the acknowledgement of each
/// change before it makes the next.
///
/// # Errors
/// When the process is out of files.
pub fn pair() -> io::Result<(Mailbox, Inbox)> {
    let (sender, receiver) = channel();
    let (bell, doorbell) = Bell::pair()?;
    Ok((Mailbox { messages: sender, bell }, Inbox { messages: receiver, doorbell }))
}

impl Mailbox {
    /// Sends `message`. A worker that has ended does not read it.
    pub fn send(&self, message: Message) {
        if self.messages.send(message).is_ok() {
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
        Ok(OpenInbox { messages: self.messages, doorbell: self.doorbell.listen()? })
    }
}

impl OpenInbox {
    /// The next message if one is there.
    pub fn try_next(&mut self) -> Option<Message> {
        match self.messages.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Message::Stop),
        }
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
