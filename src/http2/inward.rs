//! A stream on its way in: frames of the peer, read as HTTP/1.1 bytes.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::RecvStream;

use super::asking::Answer;
use super::head::{self, Framing};
use super::io_error;
use crate::http1::chunked;

/// What a peer sends over one stream, as HTTP/1.1 bytes. The peer may send more as bytes are taken:
/// its window opens by what the reader has, and by nothing else.
pub struct Inward {
    /// Head, chunk-size lines, trailers: what comes before the data.
    staged: Vec<u8>,
    at: usize,
    /// Data of the last frame.
    data: Bytes,
    framing: Framing,
    state: State,
    /// Where the head has come.
    body: Option<RecvStream>,
    /// Where it has not.
    answer: Option<Rc<RefCell<Answer>>>,
}

/// What comes next from the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Data,
    Trailers,
    Ended,
}

impl Inward {
    /// `head`, and then `body`, framed as the head says.
    pub(super) fn new(head: Vec<u8>, framing: Framing, body: RecvStream) -> Self {
        let state = if framing == Framing::None { State::Ended } else { State::Data };
        let (data, body) = (Bytes::new(), Some(body));
        Self { staged: head, at: 0, data, framing, state, body, answer: None }
    }

    /// The answer of a target, once there is one.
    pub(super) fn awaited(answer: Rc<RefCell<Answer>>) -> Self {
        let (data, framing, state) = (Bytes::new(), Framing::None, State::Head);
        let answer = Some(answer);
        Self { staged: Vec::new(), at: 0, data, framing, state, body: None, answer }
    }

    /// Appends at most `room` bytes to `out`, which is how many; 0 at the end, or where there is no
    /// room.
    ///
    /// # Errors
    /// When the peer or the connection has ended the stream too early.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        let mut released = 0;
        let polled = loop {
            count += self.hand_over(room - count, out, &mut released);
            if count == room {
                break Poll::Ready(Ok(true));
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                other => break other,
            }
        };
        if released > 0
            && let Some(body) = &mut self.body
        {
            // It fails where the stream is gone, which the next read tells.
            let _ = body.flow_control().release_capacity(released);
        }
        match polled {
            // What has come is handed over first.
            _ if count > 0 => Poll::Ready(Ok(count)),
            Poll::Ready(result) => Poll::Ready(result.map(|_| 0)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Waits until there is something to read, the end included.
    ///
    /// # Errors
    /// As those of [`Inward::poll_read`].
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.has_bytes() {
            true => Poll::Ready(Ok(())),
            false => self.poll_fill(cx).map_ok(|_| ()),
        }
    }

    /// Whether bytes are there to be read.
    #[must_use]
    pub fn has_bytes(&self) -> bool {
        self.at < self.staged.len() || !self.data.is_empty()
    }

    /// Whether the end has been reached, and everything before it read.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended && !self.has_bytes()
    }

    /// Appends what is there, and `room` for it.
    fn hand_over(&mut self, room: usize, out: &mut Vec<u8>, released: &mut usize) -> usize {
        let staged = self.staged.get(self.at..).unwrap_or_default();
        let count = staged.len().min(room);
        out.extend_from_slice(&staged[..count]);
        self.at += count;
        if self.at < self.staged.len() || self.data.is_empty() {
            return count;
        }
        let bytes = self.data.len().min(room - count);
        out.extend_from_slice(&self.data[..bytes]);
        self.data.advance(bytes);
        *released += bytes;
        if self.data.is_empty() && self.framing == Framing::Chunked {
            self.stage(chunked::CRLF);
        }
        count + bytes
    }

    fn stage(&mut self, bytes: &[u8]) {
        self.staged.clear();
        self.staged.extend_from_slice(bytes);
        self.at = 0;
    }

    /// Waits for the next frame, where everything before it was handed over; `false` at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.has_bytes() {
            return Poll::Ready(Ok(true));
        }
        if let Some(answer) = &self.answer {
            self.staged.clear();
            self.at = 0;
            let answered = ready!(answer.borrow_mut().poll(cx, &mut self.staged));
            self.answer = None;
            let (framing, body) = answered?;
            (self.framing, self.body) = (framing, Some(body));
            self.state = if framing == Framing::None { State::Ended } else { State::Data };
            return Poll::Ready(Ok(true));
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        while self.state == State::Data {
            match ready!(body.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    if self.framing == Framing::Chunked {
                        let mut size = [0; chunked::PREFIX_BYTES];
                        self.stage(chunked::prefix(data.len(), &mut size));
                    }
                    self.data = data;
                    return Poll::Ready(Ok(true));
                }
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => self.state = State::Trailers,
            }
        }
        if self.state == State::Trailers {
            let trailers = ready!(body.poll_trailers(cx)).map_err(io_error)?;
            self.state = State::Ended;
            if self.framing == Framing::Chunked {
                self.stage(&[]);
                head::trailer_section(trailers.as_ref(), &mut self.staged);
                return Poll::Ready(Ok(true));
            }
        }
        Poll::Ready(Ok(false))
    }
}
