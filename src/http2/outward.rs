//! A stream on its way out: HTTP/1.1 bytes of ours, sent as frames.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::HeaderMap;

use super::asking::Asking;
use super::head::{self, Framing, Malformed};
use super::io_error;
use crate::http1::chunked::{Decoder, Keep};

/// Bytes of a body that are taken in one go: what a stream holds that its peer does not read,
/// beside what waits in `h2`.
const STEP_BYTES: usize = 32 * 1024;

/// What we send over one stream, written as HTTP/1.1 bytes: heads and framing are taken out of
/// them, and the frame that is the last by what they say ends the stream. A tunnel, or a body until
/// the end, is ended by [`Outward::end`].
pub struct Outward {
    state: State,
    /// A head that is not whole yet.
    head: Vec<u8>,
    /// Data that has been taken and waits for the peer's window.
    pending: Bytes,
    /// Whether `pending` is all that there will be, and what comes behind it.
    last: bool,
    trailers: Option<HeaderMap>,
    /// How many bytes at the front of the writer's buffer have been taken and not been told.
    owed: usize,
}

enum State {
    /// A request is to be written.
    Asking(Asking),
    /// A response is to be written.
    Head { respond: SendResponse<Bytes>, is_head: bool },
    /// Its head has been sent.
    Body { stream: SendStream<Bytes>, rest: Rest },
    /// Everything has been sent.
    Ended,
}

/// What is still to be written of a body.
enum Rest {
    Length(u64),
    Chunked(Decoder),
    Raw,
}

impl Rest {
    /// That of a body that is framed so; `None` where there is none.
    fn of(framing: Framing) -> Option<Self> {
        match framing {
            Framing::None | Framing::Length(0) => None,
            Framing::Length(bytes) => Some(Self::Length(bytes)),
            Framing::Chunked => Some(Self::Chunked(Decoder::new(Keep::DataAndTrailers))),
            Framing::Raw => Some(Self::Raw),
        }
    }
}

impl Outward {
    /// The response to a request; `is_head`: to a HEAD.
    pub(super) fn respond(respond: SendResponse<Bytes>, is_head: bool) -> Self {
        Self::new(State::Head { respond, is_head })
    }

    /// A request.
    pub(super) fn ask(asking: Asking) -> Self {
        Self::new(State::Asking(asking))
    }

    fn new(state: State) -> Self {
        Self {
            state,
            head: Vec::new(),
            pending: Bytes::new(),
            last: false,
            trailers: None,
            owed: 0,
        }
    }

    /// Takes some of `bytes`, which is how many; whatever it has taken is on its way when all of
    /// `bytes` has been taken, and not before. Called again after it was pending, `bytes` must
    /// begin as they did.
    ///
    /// # Errors
    /// When the peer or the connection has ended the stream, or `bytes` are not what they
    /// should be.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.owed == 0 {
            self.owed = self.take(bytes)?;
        }
        while !self.pending.is_empty() {
            let sent = ready!(self.poll_send(cx))?;
            // What has gone is told, so that whoever waits sees that it goes on; but never all of
            // it before all is sent.
            let told = sent.min(self.owed.saturating_sub(1));
            if !self.pending.is_empty() && told > 0 {
                self.owed -= told;
                return Poll::Ready(Ok(told));
            }
        }
        self.finish()?;
        Poll::Ready(Ok(std::mem::take(&mut self.owed)))
    }

    /// Ends a body that is not ended by what it says.
    ///
    /// # Errors
    /// When there is one that is.
    pub fn end(&mut self) -> io::Result<()> {
        match &self.state {
            State::Body { rest: Rest::Raw, .. } if self.pending.is_empty() => {
                self.last = true;
                self.finish()
            }
            State::Ended => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Whether everything has been written.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether a response has begun and is not whole.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        matches!(self.state, State::Body { .. })
    }

    /// Ends the stream as it is.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.state {
            State::Head { respond, .. } => respond.send_reset(reason),
            State::Body { stream, .. } => stream.send_reset(reason),
            State::Asking(_) | State::Ended => {}
        }
        self.state = State::Ended;
    }

    /// Waits until the peer has reset the stream, or the connection is gone. Never ready once
    /// everything has been written.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Head { respond, .. } => respond.poll_reset(cx).map(|_| ()),
            State::Body { stream, .. } => stream.poll_reset(cx).map(|_| ()),
            State::Asking(_) | State::Ended => Poll::Pending,
        }
    }

    /// Reads what is taken of `bytes`, and returns how much that is.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        if let State::Asking(_) = self.state {
            match self.take_request(bytes)? {
                Some(end) => at = end,
                None => return Ok(bytes.len()),
            }
        }
        while let State::Head { respond, is_head } = &mut self.state {
            let held = self.head.len();
            self.head.extend_from_slice(&bytes[at..]);
            let Some(end) = head::end(&self.head).map_err(wrong)? else {
                return Ok(bytes.len());
            };
            let head = Bytes::copy_from_slice(&self.head[..end]);
            at += end - held;
            self.head = Vec::new();
            let responding = head::response(&head, *is_head).map_err(wrong)?;
            if responding.response.status().is_informational() {
                respond.send_informational(responding.response).map_err(io_error)?;
                if at == bytes.len() {
                    return Ok(at);
                }
                continue;
            }
            let rest = Rest::of(responding.framing);
            let sent = respond.send_response(responding.response, rest.is_none());
            let stream = sent.map_err(io_error)?;
            self.state = match rest {
                Some(rest) => State::Body { stream, rest },
                None => State::Ended,
            };
        }
        let rest = &bytes[at..];
        self.take_body(&rest[..rest.len().min(STEP_BYTES)])?;
        Ok(at + rest.len().min(STEP_BYTES))
    }

    /// Reads the head of a request; returns how many bytes of `bytes` belong to it, `None` while it
    /// is not whole.
    fn take_request(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let held = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(end) = head::end(&self.head).map_err(wrong)? else { return Ok(None) };
        self.head.truncate(end);
        let head = Bytes::from(std::mem::take(&mut self.head));
        if let State::Asking(asking) = std::mem::replace(&mut self.state, State::Ended) {
            let (stream, framing) = asking.send(&head)?;
            if let Some(rest) = Rest::of(framing) {
                self.state = State::Body { stream, rest };
            }
        }
        Ok(Some(end - held))
    }

    fn take_body(&mut self, bytes: &[u8]) -> io::Result<()> {
        let State::Body { rest, .. } = &mut self.state else {
            return match bytes.is_empty() {
                true => Ok(()),
                false => Err(wrong(Malformed::Ours)),
            };
        };
        match rest {
            Rest::Raw => self.pending = Bytes::copy_from_slice(bytes),
            Rest::Length(left) => {
                *left =
                    left.checked_sub(bytes.len() as u64).ok_or_else(|| wrong(Malformed::Ours))?;
                self.pending = Bytes::copy_from_slice(bytes);
                self.last = *left == 0;
            }
            Rest::Chunked(decoder) => {
                let mut data = bytes.to_vec();
                let progress = decoder.decode(&mut data).map_err(|_| wrong(Malformed::Ours))?;
                if progress.done {
                    self.last = true;
                    let section = Bytes::copy_from_slice(decoder.tail());
                    self.trailers = head::trailers(&section).map_err(wrong)?;
                }
                data.truncate(progress.kept);
                self.pending = Bytes::from(data);
            }
        }
        Ok(())
    }

    /// Sends what the peer has room for, which is how many bytes.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let State::Body { stream, .. } = &mut self.state else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        stream.reserve_capacity(self.pending.len());
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = stream.capacity().min(self.pending.len());
        let data = self.pending.split_to(count);
        let ends = self.last && self.pending.is_empty() && self.trailers.is_none();
        let sent = stream.send_data(data, ends);
        if ends {
            self.state = State::Ended;
        }
        Poll::Ready(sent.map(|()| count).map_err(io_error))
    }

    /// Ends the stream where everything has been sent.
    fn finish(&mut self) -> io::Result<()> {
        let State::Body { stream, .. } = &mut self.state else { return Ok(()) };
        if !self.last {
            return Ok(());
        }
        let sent = match self.trailers.take() {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(Bytes::new(), true),
        };
        self.state = State::Ended;
        sent.map_err(io_error)
    }
}

/// What we have written is not what it should be.
fn wrong(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
