//! One try of a request at one target, over one connection: the request goes out while the
//! response is awaited, so a target may answer before it has read everything.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::http1::{Parsed, parse_response};
use crate::http2;
use crate::message::{Method, ResponseHead, Version};
use crate::net::{BODY_BUFFER_BYTES, Buffer, HEAD_BUFFER_BYTES, Liveness};
use crate::snapshot::{GroupView, TargetView};

use super::body::{self, Body, Pace, Stop, relay, write};
use super::error::ErrorKind;
use super::headers::{self, Persistence, Shown};
use super::http::Client;
use super::local::Local;
use super::record::Record;
use super::sticky::Binding;
use super::stream::Stream;

/// How often a client that waits for a response is looked at: one that has reset its connection
/// needs no response any more.
const CLIENT_CHECK: Duration = Duration::from_secs(1);

/// Bytes of a request that are kept after they were sent over a stream, in case that the target
/// says that it has not looked at them.
const KEPT_BYTES_MAX: usize = BODY_BUFFER_BYTES;

/// A request as it is sent, the same to each target that is tried.
pub(super) struct Outgoing {
    /// Head, and what of the body had come with it.
    pub(super) bytes: Buffer,
    /// Number of those bytes.
    pub(super) len: usize,
    /// The rest of the body, which goes from socket to socket.
    pub(super) body: Body,
    /// Whether `bytes` hold everything that has come so far, so that it can be sent again.
    pub(super) is_kept: bool,
}

impl Outgoing {
    /// Takes back what has been sent of the bytes: all of them, or fewer where the target closed
    /// in between.
    pub(super) fn rewind(&mut self) {
        self.bytes.rewind(self.len - self.bytes.len());
    }

    /// Keeps `more` of the body, which goes out by itself, as long as that is little.
    fn keep(&mut self, more: &[u8]) {
        self.is_kept &= self.len + more.len() <= KEPT_BYTES_MAX;
        if self.is_kept {
            self.bytes.tail().extend_from_slice(more);
            self.len += more.len();
        }
    }
}

/// What the rest of an exchange needs of the request, whose bytes are gone.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) websocket: bool,
    pub(super) persists: bool,
}

/// Why an attempt failed.
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    /// How the end of the response was to be shown, if it has begun at the client.
    pub(super) begun: Option<Shown>,
    /// Whether the target had sent any byte.
    pub(super) answered: bool,
}

/// How an attempt succeeded.
pub(super) struct Reply {
    /// Whether the target connection can be used again.
    pub(super) reusable: bool,
    /// Whether the client connection stays open.
    pub(super) keep: bool,
    /// Whether both connections have become a tunnel.
    pub(super) upgraded: bool,
}

impl Failure {
    /// A failure before anything was sent to the target.
    pub(super) fn early(kind: ErrorKind) -> Self {
        Self { kind, begun: None, answered: false }
    }

    /// Whether the target said that it has not looked at the request.
    pub(super) fn is_unprocessed(&self) -> bool {
        self.kind == ErrorKind::StreamRefused && !self.answered
    }

    /// Whether the target closed before it answered.
    pub(super) fn is_early_end(&self) -> bool {
        self.kind == ErrorKind::ConnectionTerminated && !self.answered
    }
}

/// One try of a request at one target, over one connection.
pub(super) struct Attempt<'a> {
    pub(super) client: &'a Client,
    pub(super) local: &'a Local,
    pub(super) group: &'a GroupView,
    pub(super) target: &'a TargetView,
    pub(super) binding: &'a Binding<'a>,
    pub(super) socket: &'a Stream,
    pub(super) asked: Asked,
    pub(super) idle_timeout: Duration,
    /// Tick at which bytes last moved in either direction.
    pub(super) moved: &'a Cell<u32>,
    /// Whether the whole request has been sent.
    pub(super) whole: &'a Cell<bool>,
    /// Set once the response has begun at the client.
    pub(super) begun: Cell<Option<Shown>>,
    /// What is to be said of the exchange.
    pub(super) record: &'a Record,
}

impl Attempt<'_> {
    pub(super) async fn run(
        &self,
        outgoing: &mut Outgoing,
        rest: &mut Vec<u8>,
        response: &mut ResponseHead,
        head: &mut Vec<u8>,
    ) -> Result<Reply, Failure> {
        let bytes = std::mem::take(&mut outgoing.bytes);
        let written = self
            .client
            .alarm
            .within(self.group.settings.response_timeout, self.socket.write(bytes));
        match written.await {
            // A target that has closed its side may have answered before: read what it said.
            Some((Ok(()) | Err(_), bytes)) => outgoing.bytes = bytes,
            None => return Err(Failure::early(ErrorKind::HttpResponseTimeout)),
        }
        self.moved.set(self.client.alarm.now());
        self.record.mark(|times| &times.sent);
        if outgoing.body.is_done() {
            return self.reply(response, head).await;
        }
        // Boxed, as is all that most requests do without: what a request in flight holds is walked
        // through again and again.
        Box::pin(self.exchange_bodies(outgoing, rest, response, head)).await
    }

    /// As [`Attempt::run`], until the client gives its stream up.
    pub(super) async fn run_unless_given_up(
        &self,
        outgoing: &mut Outgoing,
        rest: &mut Vec<u8>,
        response: &mut ResponseHead,
        head: &mut Vec<u8>,
    ) -> Result<Reply, Failure> {
        let mut running = pin!(self.run(outgoing, rest, response, head));
        poll_fn(|cx| match self.client.socket.is_given_up() {
            true => {
                let (kind, begun) = (ErrorKind::ClientClosed, self.begun.get());
                Poll::Ready(Err(Failure { kind, begun, answered: true }))
            }
            false => running.as_mut().poll(cx),
        })
        .await
    }

    /// Sends the rest of the request while the response is awaited and relayed.
    async fn exchange_bodies(
        &self,
        outgoing: &mut Outgoing,
        rest: &mut Vec<u8>,
        response: &mut ResponseHead,
        head: &mut Vec<u8>,
    ) -> Result<Reply, Failure> {
        let mut upload = pin!(self.upload(outgoing, rest));
        let mut reply = pin!(self.reply(response, head));
        let mut uploading = true;
        poll_fn(|cx| {
            if uploading && let Poll::Ready(result) = upload.as_mut().poll(cx) {
                uploading = false;
                if let Err(kind) = result {
                    let begun = self.begun.get();
                    return Poll::Ready(Err(Failure { kind, begun, answered: true }));
                }
            }
            reply.as_mut().poll(cx)
        })
        .await
    }

    /// Sends the rest of the request body. A target that stops reading is no error here: it may
    /// have answered already.
    async fn upload(&self, outgoing: &mut Outgoing, rest: &mut Vec<u8>) -> Result<(), ErrorKind> {
        // Of a stream among others, a read that is given up loses nothing.
        let keeps = self.socket.as_carried().is_some() && self.client.is_http2();
        outgoing.is_kept &= keeps;
        match self.upload_rest(outgoing, rest).await {
            Ok(()) => {
                self.whole.set(true);
                Ok(())
            }
            Err(Stop::To | Stop::ToTimeout) => Ok(()),
            Err(Stop::From | Stop::Framing) => Err(ErrorKind::HttpRequestError),
            Err(Stop::FromTimeout) => Err(ErrorKind::HttpRequestTimeout),
        }
    }

    async fn upload_rest(&self, outgoing: &mut Outgoing, rest: &mut Vec<u8>) -> Result<(), Stop> {
        let pace = Pace { bytes: &self.record.received, ..self.pace() };
        let (from, to) = (&self.client.socket, self.socket);
        let mut buffer = self.local.buffers.body();
        while outgoing.is_kept && !outgoing.body.is_done() {
            buffer = body::read(from, &mut outgoing.body, buffer, rest, &pace).await?;
            outgoing.keep(buffer.filled());
            buffer = write(to, buffer, &pace).await?;
        }
        buffer = relay(from, to, &mut outgoing.body, buffer, rest, pace, self.local).await?;
        self.local.buffers.put(buffer);
        Ok(())
    }

    /// Reads the response and relays it.
    async fn reply(
        &self,
        response: &mut ResponseHead,
        head: &mut Vec<u8>,
    ) -> Result<Reply, Failure> {
        let mut buffer = self.read_head(response).await?;
        if response.status == 101 {
            return Box::pin(self.upgrade(response, head, buffer)).await;
        }
        let shown = headers::shown(response, self.asked.version);
        let keep = self.asked.persists && self.whole.get() && shown != Shown::Close;
        let keep = keep && !self.local.alarms.is_draining();
        let persistence =
            if keep { Persistence::Keep(self.asked.version) } else { Persistence::Close };
        head.clear();
        let bytes = buffer.filled();
        let small = bytes.len() <= HEAD_BUFFER_BYTES;
        headers::response(response, bytes, self.asked.method, shown, persistence, head);
        self.finish_head(response, bytes, head);
        let length = response.body;
        buffer.consume(response.bytes);
        let mut body = Body::of_response(length, shown);
        // What a target sends behind its response answers nothing: it is dropped here, and the
        // connection with it.
        let mut excess = Vec::new();
        let answered = |kind| Failure { kind, begun: None, answered: true };
        body.take(&mut buffer, &mut excess).map_err(|_| answered(ErrorKind::HttpProtocolError))?;
        self.local.note_response(self.group.id, small && body.is_done());
        self.begun.set(Some(shown));
        self.record.starts(response.status, head.len());
        let sent = self.send_start(head, buffer).await;
        let ended = match sent {
            Ok(buffer) if body.is_done() => Ok(buffer),
            Ok(buffer) => Box::pin(self.relay_rest(&mut body, buffer, &mut excess)).await,
            Err(stop) => Err(stop),
        };
        match ended {
            Ok(buffer) => self.local.buffers.put(buffer),
            Err(stop) => return Err(response_failure(&stop, shown)),
        }
        let reusable = response.persistent && excess.is_empty();
        Ok(Reply { reusable, keep, upgraded: false })
    }

    /// Ends the head for the client with the cookies that bind it, and notes how the target did.
    fn finish_head(&self, response: &ResponseHead, bytes: &[u8], head: &mut Vec<u8>) {
        self.binding.write(self.group, self.target, response, bytes, self.local, head);
        head.extend_from_slice(b"\r\n");
        match response.status {
            500.. => self.target.load.failed(),
            _ => self.target.load.succeeded(),
        }
    }

    async fn relay_rest(
        &self,
        body: &mut Body,
        buffer: Buffer,
        excess: &mut Vec<u8>,
    ) -> Result<Buffer, Stop> {
        let buffer = match buffer.capacity() < BODY_BUFFER_BYTES {
            true => {
                self.local.buffers.put(buffer);
                self.local.buffers.body()
            }
            false => buffer,
        };
        let (from, to) = (self.socket, &self.client.socket);
        relay(from, to, body, buffer, excess, self.pace(), self.local).await
    }

    fn pace(&self) -> Pace<'_> {
        Pace {
            alarm: &self.client.alarm,
            limit: self.idle_timeout,
            moved: self.moved,
            bytes: &self.record.sent,
        }
    }

    /// Sends the response head and the first bytes of the body, in one write where they fit.
    async fn send_start(&self, head: &[u8], mut buffer: Buffer) -> Result<Buffer, Stop> {
        if !buffer.prepend(head) {
            let mut start = self.local.buffers.head();
            start.tail().extend_from_slice(head);
            let start = write(&self.client.socket, start, &self.pace()).await?;
            self.local.buffers.put(start);
        }
        write(&self.client.socket, buffer, &self.pace()).await
    }

    /// Reads until a whole response head is there that is not an interim one.
    async fn read_head(&self, head: &mut ResponseHead) -> Result<Buffer, Failure> {
        let mut buffer = self.local.response_buffer(self.group.id);
        let mut answered = false;
        loop {
            if !buffer.is_empty() {
                answered = true;
                let parsed = parse_response(buffer.filled(), self.asked.method, head);
                match parsed {
                    Ok(Parsed::Complete) if matches!(head.status, 100 | 102..=199) => {
                        buffer.consume(head.bytes);
                        continue;
                    }
                    Ok(Parsed::Complete) => {
                        self.pace().note();
                        self.record.answered(head.status);
                        return Ok(buffer);
                    }
                    Ok(Parsed::Partial) => {}
                    Err(error) => {
                        let kind = ErrorKind::of_response(error);
                        return Err(Failure { kind, begun: None, answered });
                    }
                }
            }
            buffer.reserve(1);
            let read = self.wait_for_target(buffer).await;
            buffer = read.map_err(|kind| Failure { kind, begun: None, answered })?;
        }
    }

    /// Reads some bytes of the response head. Looks now and then whether the client still waits.
    async fn wait_for_target(&self, buffer: Buffer) -> Result<Buffer, ErrorKind> {
        let (alarm, client) = (&self.client.alarm, &self.client.socket);
        let mut read = pin!(self.socket.read(buffer));
        loop {
            // Also before the first wait: what a target says without end comes in time each.
            let silence = alarm.now().saturating_sub(self.moved.get());
            if crate::net::TICK.saturating_mul(silence) >= self.group.settings.response_timeout {
                return Err(ErrorKind::HttpResponseTimeout);
            }
            let answer = poll_fn(|cx| match client.is_given_up() {
                true => Poll::Ready(None),
                false => read.as_mut().poll(cx).map(Some),
            });
            match alarm.within(CLIENT_CHECK, answer).await {
                Some(Some((Ok(1..), buffer))) => return Ok(buffer),
                Some(Some((Err(error), _))) if http2::is_unprocessed(&error) => {
                    return Err(ErrorKind::StreamRefused);
                }
                Some(Some((Ok(0) | Err(_), _))) => return Err(ErrorKind::ConnectionTerminated),
                Some(None) => return Err(ErrorKind::ClientClosed),
                None => {}
            }
            if alarm.is_cut() {
                return Err(ErrorKind::DeregistrationDelay);
            }
            // A client that has only ended its direction still reads.
            if client.liveness() == Liveness::Broken {
                return Err(ErrorKind::ClientClosed);
            }
        }
    }

    /// Tells the client that the target has agreed to a tunnel.
    async fn upgrade(
        &self,
        response: &ResponseHead,
        head: &mut Vec<u8>,
        mut buffer: Buffer,
    ) -> Result<Reply, Failure> {
        if !self.asked.websocket {
            let kind = ErrorKind::HttpProtocolError;
            return Err(Failure { kind, begun: None, answered: true });
        }
        head.clear();
        let (method, shown) = (self.asked.method, Shown::Length);
        let bytes = buffer.filled();
        headers::response(response, bytes, method, shown, Persistence::Upgrade, head);
        self.finish_head(response, bytes, head);
        buffer.consume(response.bytes);
        self.begun.set(Some(shown));
        self.record.starts(response.status, head.len());
        let sent = self.send_start(head, buffer).await;
        let buffer = sent.map_err(|stop| response_failure(&stop, shown))?;
        self.local.buffers.put(buffer);
        Ok(Reply { reusable: false, keep: false, upgraded: true })
    }
}

/// The failure of a response that had begun.
fn response_failure(stop: &Stop, shown: Shown) -> Failure {
    let kind = match stop {
        Stop::From => ErrorKind::HttpResponseIncomplete,
        Stop::Framing => ErrorKind::HttpProtocolError,
        Stop::FromTimeout => ErrorKind::HttpResponseTimeout,
        Stop::To | Stop::ToTimeout => ErrorKind::ClientClosed,
    };
    Failure { kind, begun: Some(shown), answered: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_sent_in_part_is_taken_back_to_its_first_byte() {
        for sent in 0..=7 {
            let mut bytes = Buffer::with_room(16);
            bytes.tail().extend_from_slice(b"request");
            let (len, body, is_kept) = (bytes.len(), Body::Done, true);
            let mut outgoing = Outgoing { len, bytes, body, is_kept };
            outgoing.bytes.consume(sent);
            outgoing.rewind();
            assert_eq!(outgoing.bytes.filled(), b"request", "{sent}");
        }
    }
}
