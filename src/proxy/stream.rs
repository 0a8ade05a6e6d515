//! The bytes of a connection, plain or TLS, or of one stream among those of an HTTP/2 connection.
//!
//! A [`Stream`] reads and writes as its socket does. Of a plain one nothing else is there: every
//! call is that of the socket. A sealed one keeps its session beside the futures that use it, so
//! that a read that is given up loses nothing: ciphertext goes into a buffer of its own, and what
//! has come before it stays in the session until it has been read. While nothing is under way a
//! session holds no buffer. A stream among others is in `carried`.

mod core;

use std::cell::RefCell;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::Either;

use crate::net::{Buffer, Liveness, Socket};
use crate::tls::Negotiated;

use super::carried::Carried;
use super::local::Local;

pub(super) use core::Core;
use core::Opened;

/// Reads of what a TLS session says about itself while its connection is unused. What tells more
/// than that is not worth listening to: the connection closes.
const LATE_READS_MAX: usize = 8;

/// The bytes of a connection. At most one read and one write at once, as with a [`Socket`].
#[derive(Default)]
pub(super) enum Stream {
    /// As they are on the wire.
    Plain(Socket),
    /// Inside a TLS session.
    Sealed(Box<Sealed>),
    /// One stream among those of an HTTP/2 connection, in the form of HTTP/1.1.
    Carried(Box<Carried>),
    /// There is none: it has become part of another.
    #[default]
    Gone,
}

/// A connection with a TLS session.
pub(super) struct Sealed {
    socket: Socket,
    local: Rc<Local>,
    negotiated: Negotiated,
    /// How long both sides took to agree.
    handshake: Duration,
    core: RefCell<Core>,
}

impl Stream {
    /// The bytes as they are on the wire.
    pub(super) fn plain(socket: Socket) -> Self {
        Self::Plain(socket)
    }

    /// From now on, as the session of `core` says.
    /// Both sides took so long to agree.
    pub(super) fn seal(&mut self, core: Core, handshake: Duration, local: &Rc<Local>) {
        let negotiated = core.session.negotiated();
        let (local, core) = (local.clone(), RefCell::new(core));
        *self = match std::mem::take(self) {
            Self::Plain(socket) => {
                Self::Sealed(Box::new(Sealed { socket, local, negotiated, handshake, core }))
            }
            other => other,
        };
    }

    /// What was agreed on and how long it took, where it is TLS; of a stream among others what was
    /// agreed on for all.
    pub(super) fn negotiated(&self) -> Option<(&Negotiated, Duration)> {
        match self {
            Self::Plain(_) | Self::Gone => None,
            Self::Sealed(sealed) => Some((&sealed.negotiated, sealed.handshake)),
            Self::Carried(carried) => carried.under().negotiated(),
        }
    }

    /// The stream among others, where it is one.
    pub(super) fn as_carried(&self) -> Option<&Carried> {
        match self {
            Self::Carried(carried) => Some(carried),
            Self::Plain(_) | Self::Sealed(_) | Self::Gone => None,
        }
    }

    /// The socket, where its bytes are those of the stream: such may be spliced.
    pub(super) fn as_plain(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Sealed(_) | Self::Carried(_) | Self::Gone => None,
        }
    }

    /// The socket, whatever its bytes are, where no other stream shares it.
    pub(super) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Sealed(sealed) => Some(&sealed.socket),
            Self::Carried(_) | Self::Gone => None,
        }
    }

    /// As [`Socket::read`]. An end without the word that ends a TLS session is an error: what has
    /// come may not be the whole.
    pub(super) fn read(&self, buffer: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        match self {
            Self::Plain(socket) => Either::Left(socket.read(buffer)),
            Self::Sealed(sealed) => Either::Right(boxed(sealed.read(buffer))),
            Self::Carried(carried) => Either::Right(boxed(carried.read(buffer))),
            Self::Gone => Either::Right(boxed(ready((gone(), buffer)))),
        }
    }

    /// As [`Socket::write_some`]. What a stream that is not plain takes of `buffer` is on its way
    /// when all of `buffer` has been taken, and not before.
    pub(super) fn write_some(
        &self,
        buffer: Buffer,
    ) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        match self {
            Self::Plain(socket) => Either::Left(socket.write_some(buffer)),
            Self::Sealed(sealed) => Either::Right(boxed(sealed.write_some(buffer))),
            Self::Carried(carried) => Either::Right(boxed(carried.write_some(buffer))),
            Self::Gone => Either::Right(boxed(ready((gone(), buffer)))),
        }
    }

    /// As [`Socket::write`].
    pub(super) fn write(&self, buffer: Buffer) -> impl Future<Output = (io::Result<()>, Buffer)> {
        match self {
            Self::Plain(socket) => Either::Left(socket.write(buffer)),
            Self::Sealed(sealed) => Either::Right(boxed(sealed.write(buffer))),
            Self::Carried(carried) => Either::Right(boxed(carried.write(buffer))),
            Self::Gone => Either::Right(boxed(ready((gone(), buffer)))),
        }
    }

    /// As [`Socket::readable`].
    pub(super) fn readable(&self) -> impl Future<Output = io::Result<()>> {
        match self {
            Self::Plain(socket) => Either::Left(socket.readable()),
            Self::Sealed(sealed) if sealed.core.borrow().has_something() => {
                Either::Right(boxed(ready(Ok(()))))
            }
            Self::Sealed(sealed) => Either::Left(sealed.socket.readable()),
            Self::Carried(carried) => Either::Right(boxed(carried.readable())),
            Self::Gone => Either::Right(boxed(ready(gone()))),
        }
    }

    /// As [`Socket::liveness`]; of a sealed stream bytes may be of the protocol alone.
    pub(super) fn liveness(&self) -> Liveness {
        match self {
            Self::Plain(socket) => socket.liveness(),
            Self::Sealed(sealed) if sealed.core.borrow().has_something() => Liveness::Data,
            Self::Sealed(sealed) => sealed.socket.liveness(),
            Self::Carried(carried) => carried.liveness(),
            Self::Gone => Liveness::Broken,
        }
    }

    /// As [`Socket::untaken`].
    pub(super) fn untaken(&self) -> usize {
        match self {
            Self::Plain(socket) => socket.untaken(),
            Self::Sealed(sealed) => sealed.socket.untaken(),
            Self::Carried(carried) => carried.untaken(),
            Self::Gone => 0,
        }
    }

    /// Whether the peer has given up what the stream is for, so that nothing needs to be done any
    /// more. Only a stream among others tells; of all else reads and writes do.
    pub(super) fn is_given_up(&self) -> bool {
        match self {
            Self::Carried(carried) => carried.is_given_up(),
            Self::Plain(_) | Self::Sealed(_) | Self::Gone => false,
        }
    }

    /// Whether an unused connection to a target can be used: it is open, and has said nothing that
    /// nobody asked for. What a TLS session says about itself, such as tickets that come late, is
    /// taken in. No read may be under way.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.liveness() == Liveness::Quiet,
            Self::Sealed(sealed) => sealed.is_idle(),
            Self::Carried(_) | Self::Gone => false,
        }
    }

    /// As [`Socket::end`], after the word that ends a TLS session. It waits until that is sent; the
    /// caller sets the limit.
    pub(super) fn end(&self) -> impl Future<Output = ()> {
        match self {
            Self::Plain(socket) => {
                socket.end();
                Either::Left(ready(()))
            }
            Self::Sealed(sealed) => Either::Right(Box::pin(async {
                sealed.close().await;
                sealed.socket.end();
            })),
            Self::Carried(carried) => {
                carried.end();
                Either::Left(ready(()))
            }
            Self::Gone => Either::Left(ready(())),
        }
    }

    /// As [`Stream::end`] where that can be done at once, before an unused connection is closed.
    pub(super) fn end_at_once(&self) {
        if let Self::Sealed(sealed) = self
            && let Some(out) = sealed.core.borrow_mut().close(&sealed.local)
        {
            // A peer that does not hear it sees the close.
            let _ = sealed.socket.write_at_once(out.filled());
            sealed.local.buffers.put(out);
        }
    }

    /// Whether our direction has still to be ended, so that the peer knows that it has everything.
    pub(super) fn owes_an_end(&self) -> bool {
        match self {
            Self::Sealed(sealed) => !sealed.core.borrow().closed,
            Self::Plain(_) | Self::Carried(_) | Self::Gone => false,
        }
    }

    /// As [`Socket::reset_on_close`]. The peer of a TLS session is not told that it has everything.
    pub(super) fn reset_on_close(&self) {
        match self {
            Self::Plain(socket) => socket.reset_on_close(),
            Self::Sealed(sealed) => {
                sealed.core.borrow_mut().closed = true;
                sealed.socket.reset_on_close();
            }
            // It is reset where its end was not written.
            Self::Carried(_) | Self::Gone => {}
        }
    }

    /// As [`Socket::local_address`].
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.local_address(),
            Self::Sealed(sealed) => sealed.socket.local_address(),
            Self::Carried(carried) => carried.under().local_address(),
            Self::Gone => gone(),
        }
    }
}

/// What every use of [`Stream::Gone`] brings.
fn gone<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotConnected.into())
}

/// Keeps what is not plain out of the futures of what is.
fn boxed<'a, F: Future + 'a>(future: F) -> Pin<Box<dyn Future<Output = F::Output> + 'a>> {
    Box::pin(future)
}

impl Sealed {
    async fn read(&self, mut buffer: Buffer) -> (io::Result<usize>, Buffer) {
        loop {
            match self.core.borrow_mut().open(&mut buffer, &self.local) {
                Opened::Bytes(count) => return (Ok(count), buffer),
                Opened::Ended => return (Ok(0), buffer),
                Opened::Failed(error) => return (Err(error), buffer),
                Opened::NeedsMore => {}
            }
            if !self.local.engine.reads_can_be_given_up()
                && let Err(error) = self.socket.readable().await
            {
                return (Err(error), buffer);
            }
            let fresh = self.core.borrow().fresh(buffer.room(), &self.local);
            let (count, fresh) = self.socket.read(fresh).await;
            match count {
                Ok(1..) => self.core.borrow_mut().hold(fresh, &self.local),
                Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), buffer),
                Err(error) => return (Err(error), buffer),
            }
        }
    }

    fn is_idle(&self) -> bool {
        let mut core = self.core.borrow_mut();
        for _ in 0..LATE_READS_MAX {
            if !core.settle(&self.local) {
                return false;
            }
            match self.socket.liveness() {
                // Part of a record may be of what nobody asked for.
                Liveness::Quiet => return core.held().is_empty(),
                Liveness::Data => {}
                Liveness::Ended | Liveness::Broken => return false,
            }
            let mut fresh = core.fresh(0, &self.local);
            let read = self.socket.read_at_once(&mut fresh);
            core.hold(fresh, &self.local);
            if !matches!(read, Ok(1..)) {
                return false;
            }
        }
        false
    }

    async fn write_some(&self, buffer: Buffer) -> (io::Result<usize>, Buffer) {
        if let Err(error) = self.core.borrow_mut().fill(buffer.filled(), &self.local) {
            return (Err(error), buffer);
        }
        loop {
            let out = std::mem::take(&mut self.core.borrow_mut().out);
            let (count, mut out) = self.socket.write_some(out).await;
            let count = match count {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                Ok(count) => count,
                Err(error) => return (Err(error), buffer),
            };
            out.consume(count);
            let mut core = self.core.borrow_mut();
            if out.is_empty() {
                self.local.buffers.put(out);
                return (Ok(std::mem::take(&mut core.owed)), buffer);
            }
            core.out = out;
            // What has gone is told, so that whoever waits sees that it goes on; but never all of
            // it before all is sent.
            let told = count.min(core.owed.saturating_sub(1));
            if told > 0 {
                core.owed -= told;
                return (Ok(told), buffer);
            }
        }
    }

    async fn write(&self, mut buffer: Buffer) -> (io::Result<()>, Buffer) {
        while !buffer.is_empty() {
            let (count, rest) = self.write_some(buffer).await;
            buffer = rest;
            match count {
                Ok(count) => buffer.consume(count),
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Tells the peer that it has everything, unless it was told or has not.
    async fn close(&self) {
        let out = self.core.borrow_mut().close(&self.local);
        if let Some(out) = out
            && let (Ok(()), out) = self.socket.write(out).await
        {
            self.local.buffers.put(out);
        }
    }
}
