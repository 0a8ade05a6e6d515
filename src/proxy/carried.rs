//! One stream among those of an HTTP/2 connection, with the calls of a
//! [`Socket`](crate::net::Socket) and in the form of HTTP/1.1.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use crate::http2::{Inward, Outward, Reason};
use crate::net::{Buffer, Liveness};

use super::lines::Using;
use super::stream::Stream;
use super::wire::Wire;

/// One stream. Dropped before what is written has come to its end, it is reset.
pub(super) struct Carried {
    inward: RefCell<Inward>,
    outward: RefCell<Outward>,
    given_up: Cell<bool>,
    wire: Wire,
    /// Its share of a connection to a target; a stream of a client has none.
    using: Option<Using>,
}

impl Carried {
    /// A stream of the connection on `wire`.
    pub(super) fn new(inward: Inward, outward: Outward, wire: &Wire) -> Self {
        let (inward, outward) = (RefCell::new(inward), RefCell::new(outward));
        Self { inward, outward, given_up: Cell::new(false), wire: wire.clone(), using: None }
    }

    /// A stream to a target, on the connection on `wire`.
    pub(super) fn asking(inward: Inward, outward: Outward, wire: &Wire, using: Using) -> Self {
        let mut carried = Self::new(inward, outward, wire);
        carried.using = Some(using);
        carried
    }

    /// The connection that carries it.
    pub(super) fn under(&self) -> &Stream {
        self.wire.stream()
    }

    /// Sees to it that the task is woken when the peer gives the stream up, and notes whether it
    /// has. No other task may use the stream.
    pub(super) fn look(&self, cx: &mut Context<'_>) {
        if self.outward.borrow_mut().poll_reset(cx).is_ready() {
            self.given_up.set(true);
        }
    }

    /// Whether everything was said to a peer that still speaks.
    pub(super) fn is_answered_early(&self) -> bool {
        self.outward.borrow().is_ended() && !self.inward.borrow().is_ended()
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.get()
    }

    pub(super) async fn read(&self, mut buffer: Buffer) -> (io::Result<usize>, Buffer) {
        let room = buffer.room();
        let count = poll_fn(|cx| self.inward.borrow_mut().poll_read(cx, room, buffer.tail())).await;
        if let (Some(using), Ok(1..)) = (&self.using, &count) {
            using.note();
        }
        (count, buffer)
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.inward.borrow_mut().poll_readable(cx)).await
    }

    pub(super) async fn write_some(&self, buffer: Buffer) -> (io::Result<usize>, Buffer) {
        let count = poll_fn(|cx| self.poll_write(cx, buffer.filled())).await;
        (count, buffer)
    }

    pub(super) async fn write(&self, mut buffer: Buffer) -> (io::Result<()>, Buffer) {
        while !buffer.is_empty() {
            match poll_fn(|cx| self.poll_write(cx, buffer.filled())).await {
                Ok(count) => buffer.consume(count),
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut outward = self.outward.borrow_mut();
        let was_ended = outward.is_ended();
        let written = outward.poll_write(cx, bytes);
        if outward.is_ended() && !was_ended {
            self.wire.responded();
        }
        written
    }

    /// What it is doing, as far as is known without asking the connection.
    pub(super) fn liveness(&self) -> Liveness {
        match () {
            () if self.given_up.get() => Liveness::Broken,
            () if self.inward.borrow().has_bytes() => Liveness::Data,
            () if self.inward.borrow().is_ended() => Liveness::Ended,
            () => Liveness::Quiet,
        }
    }

    pub(super) fn untaken(&self) -> usize {
        // What other streams send says nothing of this one; what it sends is told step by step.
        match self.using {
            Some(_) => 0,
            None => self.wire.untaken(),
        }
    }

    /// Ends our direction; a response that is not whole is cut.
    pub(super) fn end(&self) {
        let ended = self.outward.borrow_mut().end();
        if ended.is_err() {
            self.outward.borrow_mut().reset(Reason::INTERNAL_ERROR);
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let outward = self.outward.get_mut();
        // A request that is given up is cancelled by `h2`.
        if self.using.is_none() && outward.is_begun() && !self.given_up.get() {
            outward.reset(Reason::INTERNAL_ERROR);
        }
    }
}
