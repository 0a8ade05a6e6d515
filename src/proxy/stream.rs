//! The bytes of a connection, plain or TLS.
//!
//! A [`Stream`] reads and writes as its socket does. Of a plain one nothing else is there: every
//! call is that of the socket. A sealed one keeps its session beside the futures that use it, so
//! that a read that is given up loses nothing: ciphertext goes into a buffer of its own, and what
//! has come before it stays in the session until it has been read. While nothing is under way a
//! session holds no buffer.

mod core;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::Either;

use crate::net::{Buffer, Liveness, Socket};
use crate::tls::Negotiated;

use super::local::Local;

pub(super) use core::Core;
use core::Opened;

/// The bytes of a connection. At most one read and one write at once, as with its [`Socket`].
pub(super) struct Stream {
    socket: Socket,
    sealed: Option<Box<Sealed>>,
}

/// The TLS side of a connection.
struct Sealed {
    local: Rc<Local>,
    negotiated: Negotiated,
    /// How long both sides took to agree.
    handshake: Duration,
    core: RefCell<Core>,
}

impl Stream {
    /// The bytes as they are on the wire.
    pub(super) fn plain(socket: Socket) -> Self {
        Self { socket, sealed: None }
    }

    /// From now on, as the session of `core` says.
    /// Both sides took so long to agree.
    pub(super) fn seal(&mut self, core: Core, handshake: Duration, local: &Rc<Local>) {
        let negotiated = core.session.negotiated();
        let (local, core) = (local.clone(), RefCell::new(core));
        self.sealed = Some(Box::new(Sealed { local, negotiated, handshake, core }));
    }

    /// What was agreed on and how long it took, where it is TLS.
    pub(super) fn negotiated(&self) -> Option<(&Negotiated, Duration)> {
        self.sealed.as_ref().map(|sealed| (&sealed.negotiated, sealed.handshake))
    }

    /// The socket, where its bytes are those of the stream: such may be spliced.
    pub(super) fn as_plain(&self) -> Option<&Socket> {
        self.sealed.is_none().then_some(&self.socket)
    }

    /// The socket, whatever its bytes are.
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// As [`Socket::read`]. An end without the word that ends a TLS session is an error: what has
    /// come may not be the whole.
    pub(super) fn read(&self, buffer: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        match &self.sealed {
            None => Either::Left(self.socket.read(buffer)),
            Some(sealed) => Either::Right(Box::pin(sealed.read(&self.socket, buffer))),
        }
    }

    /// As [`Socket::write_some`]. What a sealed stream takes of `buffer` is on its way when all of
    /// `buffer` has been taken, and not before.
    pub(super) fn write_some(
        &self,
        buffer: Buffer,
    ) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        match &self.sealed {
            None => Either::Left(self.socket.write_some(buffer)),
            Some(sealed) => Either::Right(Box::pin(sealed.write_some(&self.socket, buffer))),
        }
    }

    /// As [`Socket::write`].
    pub(super) fn write(&self, buffer: Buffer) -> impl Future<Output = (io::Result<()>, Buffer)> {
        match &self.sealed {
            None => Either::Left(self.socket.write(buffer)),
            Some(sealed) => Either::Right(Box::pin(sealed.write(&self.socket, buffer))),
        }
    }

    /// As [`Socket::readable`].
    pub(super) fn readable(&self) -> impl Future<Output = io::Result<()>> {
        match &self.sealed {
            Some(sealed) if sealed.core.borrow().has_something() => {
                Either::Left(std::future::ready(Ok(())))
            }
            _ => Either::Right(self.socket.readable()),
        }
    }

    /// As [`Socket::liveness`]; of a sealed stream bytes may be of the protocol alone.
    pub(super) fn liveness(&self) -> Liveness {
        match &self.sealed {
            Some(sealed) if sealed.core.borrow().has_something() => Liveness::Data,
            _ => self.socket.liveness(),
        }
    }

    /// As [`Socket::end`], after the word that ends a TLS session. It waits until that is sent; the
    /// caller sets the limit.
    pub(super) fn end(&self) -> impl Future<Output = ()> {
        match &self.sealed {
            None => {
                self.socket.end();
                Either::Left(std::future::ready(()))
            }
            Some(sealed) => Either::Right(Box::pin(async {
                sealed.close(&self.socket).await;
                self.socket.end();
            })),
        }
    }

    /// Whether our direction has still to be ended, so that the peer knows that it has everything.
    pub(super) fn owes_an_end(&self) -> bool {
        self.sealed.as_ref().is_some_and(|sealed| !sealed.core.borrow().closed)
    }

    /// As [`Socket::reset_on_close`]. The peer of a TLS session is not told that it has everything.
    pub(super) fn reset_on_close(&self) {
        if let Some(sealed) = &self.sealed {
            sealed.core.borrow_mut().closed = true;
        }
        self.socket.reset_on_close();
    }

    /// As [`Socket::local_address`].
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_address()
    }
}

impl Sealed {
    async fn read(&self, socket: &Socket, mut buffer: Buffer) -> (io::Result<usize>, Buffer) {
        loop {
            match self.core.borrow_mut().open(&mut buffer, &self.local) {
                Opened::Bytes(count) => return (Ok(count), buffer),
                Opened::Ended => return (Ok(0), buffer),
                Opened::Failed(error) => return (Err(error), buffer),
                Opened::NeedsMore => {}
            }
            if !self.local.engine.reads_can_be_given_up()
                && let Err(error) = socket.readable().await
            {
                return (Err(error), buffer);
            }
            let fresh = self.core.borrow().fresh(buffer.room(), &self.local);
            let (count, fresh) = socket.read(fresh).await;
            match count {
                Ok(1..) => self.core.borrow_mut().hold(fresh, &self.local),
                Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), buffer),
                Err(error) => return (Err(error), buffer),
            }
        }
    }

    async fn write_some(&self, socket: &Socket, buffer: Buffer) -> (io::Result<usize>, Buffer) {
        if let Err(error) = self.core.borrow_mut().fill(buffer.filled(), &self.local) {
            return (Err(error), buffer);
        }
        loop {
            let out = std::mem::take(&mut self.core.borrow_mut().out);
            let (count, mut out) = socket.write_some(out).await;
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

    async fn write(&self, socket: &Socket, mut buffer: Buffer) -> (io::Result<()>, Buffer) {
        while !buffer.is_empty() {
            let (count, rest) = self.write_some(socket, buffer).await;
            buffer = rest;
            match count {
                Ok(count) => buffer.consume(count),
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Tells the peer that it has everything, unless it was told or has not.
    async fn close(&self, socket: &Socket) {
        let out = self.core.borrow_mut().close(&self.local);
        if let Some(out) = out
            && let (Ok(()), out) = socket.write(out).await
        {
            self.local.buffers.put(out);
        }
    }
}
