//! What lies below HTTP/2: a [`Stream`] with the traits of tokio, for `h2`.
//!
//! Reads and writes of this program own their buffers, those of the traits borrow them, so bytes
//! are copied once in each direction. A read that has been begun is kept until it is ready. What is
//! written is gathered: `h2` writes and flushes frame by frame, but nothing leaves before whoever
//! polls the connection calls [`Wire::poll_out`], after everybody has said what there is to say. So
//! many frames leave in one write, and in one TLS record where they fit.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2::{Census, Reason};
use crate::net::{BODY_BUFFER_BYTES, Buffer, HEAD_BUFFER_BYTES, TUNNEL_BUFFER_BYTES};

use super::local::Local;
use super::stream::Stream;

/// Bytes that are gathered while others are on their way; then whoever writes waits.
const GATHERED_BYTES_MAX: usize = BODY_BUFFER_BYTES;

/// A connection that carries streams; its clones are the same one.
#[derive(Clone)]
pub(super) struct Wire(Rc<Shared>);

struct Shared {
    stream: Rc<Stream>,
    local: Rc<Local>,
    reading: RefCell<Reading>,
    writing: RefCell<Writing>,
    /// What the peer sends; where it is a client.
    census: RefCell<Option<Census>>,
    /// Why nothing more is read from it.
    stopped: Cell<Option<Reason>>,
    /// Whether the peer has sent anything.
    heard: Cell<bool>,
    /// Whether nothing has come for a while, so that no buffer waits for it.
    rests: Cell<bool>,
}

type Pending<T> = Pin<Box<dyn Future<Output = T>>>;

/// The read that is under way.
enum Reading {
    /// None, and these bytes have been read.
    Idle(Buffer),
    /// One into a buffer.
    Bytes(Pending<(io::Result<usize>, Buffer)>),
    /// None, before there is something to read.
    Readiness(Pending<io::Result<()>>),
}

/// The write that is under way, and what is gathered meanwhile.
#[derive(Default)]
struct Writing {
    out: Buffer,
    flight: Option<Pending<(io::Result<()>, Buffer)>>,
    failed: Option<io::ErrorKind>,
}

impl Wire {
    /// Over `stream`, whose peer has sent `early` already; `census` counts its frames.
    pub(super) fn new(
        stream: Stream,
        mut early: Buffer,
        mut census: Option<Census>,
        local: &Rc<Local>,
    ) -> Self {
        let stopped = count(&mut census, &mut early, local.alarms.now());
        Self(Rc::new(Shared {
            stream: Rc::new(stream),
            local: local.clone(),
            reading: RefCell::new(Reading::Idle(early)),
            writing: RefCell::default(),
            census: RefCell::new(census),
            stopped: Cell::new(stopped),
            heard: Cell::new(false),
            rests: Cell::new(false),
        }))
    }

    /// The connection.
    pub(super) fn stream(&self) -> &Stream {
        &self.0.stream
    }

    /// Why nothing more is read from the peer, if it sends what it must not, or nobody needs.
    pub(super) fn stopped(&self) -> Option<Reason> {
        self.0.stopped.get()
    }

    /// Whether the peer has sent anything that was read.
    pub(super) fn has_heard(&self) -> bool {
        self.0.heard.get()
    }

    /// Notes that a response was sent.
    pub(super) fn responded(&self) {
        if let Some(census) = self.0.census.borrow_mut().as_mut() {
            census.responded();
        }
    }

    /// Gives up the buffer that waits for bytes, which have not come for
    /// [`RELEASE_AFTER`](super::http::RELEASE_AFTER) at least; the next ones are waited for
    /// without.
    pub(super) fn rest(&self) {
        self.0.rests.set(true);
        let mut reading = self.0.reading.borrow_mut();
        if let Reading::Bytes(_) = *reading
            && self.0.local.engine.reads_can_be_given_up()
        {
            *reading = Reading::Idle(Buffer::default());
        }
    }

    /// Bytes that were written and that the peer has not taken, while there are more to be written.
    pub(super) fn untaken(&self) -> usize {
        match self.0.writing.borrow().flight {
            Some(_) => self.0.stream.untaken(),
            None => 0,
        }
    }

    /// Sends what was gathered; ready when all of it has been.
    ///
    /// # Errors
    /// When the connection has failed.
    pub(super) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writing = self.0.writing.borrow_mut();
        loop {
            if let Some(kind) = writing.failed {
                return Poll::Ready(Err(kind.into()));
            }
            if let Some(flight) = &mut writing.flight {
                let (result, buffer) = ready!(flight.as_mut().poll(cx));
                writing.flight = None;
                self.0.local.buffers.put(buffer);
                if let Err(error) = result {
                    writing.failed = Some(error.kind());
                }
                continue;
            }
            if writing.out.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let out = std::mem::take(&mut writing.out);
            if let Some(census) = self.0.census.borrow_mut().as_mut() {
                census.sent(out.len());
            }
            let stream = self.0.stream.clone();
            writing.flight = Some(Box::pin(async move { stream.write(out).await }));
        }
    }

    /// Waits for bytes; `None` where the connection does not speak any more.
    fn poll_bytes(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Shared { stream, local, reading, rests, census, .. } = &*self.0;
        let mut reading = reading.borrow_mut();
        loop {
            match &mut *reading {
                Reading::Idle(bytes) if !bytes.is_empty() => return Poll::Ready(Ok(())),
                Reading::Idle(_) if self.stopped().is_some() => return Poll::Ready(Ok(())),
                Reading::Idle(_) if rests.get() || !local.engine.reads_can_be_given_up() => {
                    let stream = stream.clone();
                    *reading = Reading::Readiness(Box::pin(async move { stream.readable().await }));
                }
                Reading::Idle(_) => *reading = self.begin(),
                Reading::Readiness(readable) => {
                    ready!(readable.as_mut().poll(cx))?;
                    rests.set(false);
                    *reading = self.begin();
                }
                Reading::Bytes(read) => {
                    let (read, mut buffer) = ready!(read.as_mut().poll(cx));
                    *reading = Reading::Idle(Buffer::default());
                    if read? == 0 {
                        local.buffers.put(buffer);
                        return Poll::Ready(Ok(()));
                    }
                    let now = local.alarms.now();
                    self.0.stopped.set(count(&mut census.borrow_mut(), &mut buffer, now));
                    *reading = Reading::Idle(buffer);
                }
            }
        }
    }

    /// Begins to read.
    fn begin(&self) -> Reading {
        let (stream, buffer) = (self.0.stream.clone(), self.0.local.buffers.tunnel());
        debug_assert!(buffer.room() >= TUNNEL_BUFFER_BYTES);
        Reading::Bytes(Box::pin(async move { stream.read(buffer).await }))
    }

    /// Gathers some of `bytes`; 0 where there is no room.
    fn gather(&self, bytes: &[u8]) -> usize {
        let mut writing = self.0.writing.borrow_mut();
        let count = bytes.len().min(GATHERED_BYTES_MAX.saturating_sub(writing.out.len()));
        let buffers = &self.0.local.buffers;
        if writing.out.room() < count {
            let wanted = writing.out.len() + count;
            let larger = match wanted <= HEAD_BUFFER_BYTES {
                true => buffers.head(),
                false => buffers.body(),
            };
            let smaller = std::mem::replace(&mut writing.out, larger);
            writing.out.tail().extend_from_slice(smaller.filled());
            buffers.put(smaller);
        }
        writing.out.tail().extend_from_slice(&bytes[..count]);
        count
    }
}

/// Counts the frames in `bytes`, which have come next, and drops those from which on the peer may
/// not go on. Returns why.
fn count(census: &mut Option<Census>, bytes: &mut Buffer, now: u32) -> Option<Reason> {
    let stop = census.as_mut()?.count(bytes.filled(), now).err()?;
    bytes.truncate(stop.good);
    Some(stop.reason)
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stopped().is_none() {
            ready!(self.poll_bytes(cx))?;
        }
        let mut reading = self.0.reading.borrow_mut();
        let Reading::Idle(bytes) = &mut *reading else { return Poll::Pending };
        if bytes.is_empty() && self.stopped().is_some() {
            // Whoever polls the connection sees it, too.
            return Poll::Pending;
        }
        let count = bytes.len().min(into.remaining());
        self.0.heard.set(true);
        into.put_slice(&bytes.filled()[..count]);
        bytes.consume(count);
        if bytes.is_empty() {
            self.0.local.buffers.put(std::mem::take(bytes));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let count = slices.iter().map(|slice| self.gather(slice)).sum();
            if count > 0 || slices.iter().all(|slice| slice.is_empty()) {
                return Poll::Ready(Ok(count));
            }
            ready!(self.poll_out(cx))?;
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What is gathered leaves with [`Wire::poll_out`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.writing.borrow().failed {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx)
    }
}
