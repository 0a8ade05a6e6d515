//! A request on its way to a target, and the response on its way back.
//!
//! [`Exchange::forward`] chooses and tries targets; [`Attempt::run`] is one try: the request goes
//! out while the response is awaited, so a target may answer before it has read everything.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::http1::{Parsed, parse_response};
use crate::message::{Method, ResponseHead, Version};
use crate::model::Retry;
use crate::net::{Buffer, Liveness, Socket, Tag};
use crate::snapshot::{GroupView, Load, TargetView};

use super::body::{Body, Pace, Stop, relay, write};
use super::connect::{self, Tried};
use super::error::ErrorKind;
use super::headers::{self, Arrival, Persistence, Shown};
use super::http::{Client, Exchange, Outcome, Scratch, Upgrade};
use super::local::Local;
use super::respond::Own;
use super::sticky::{Binding, ForwardBinding};

/// How often a client that waits for a response is looked at: one that has reset its connection
/// needs no response any more.
const CLIENT_CHECK: Duration = Duration::from_secs(1);

/// A request as it is sent, the same to each target that is tried.
struct Outgoing {
    /// Head, and what of the body had come with it.
    bytes: Buffer,
    /// Number of those bytes.
    len: usize,
    /// The rest of the body, which goes from socket to socket.
    body: Body,
}

/// What the rest of an exchange needs of the request, whose bytes are gone.
#[derive(Clone, Copy)]
struct Asked {
    method: Method,
    version: Version,
    websocket: bool,
    persists: bool,
}

/// Why an attempt failed.
struct Failure {
    kind: ErrorKind,
    /// How the end of the response was to be shown, if it has begun at the client.
    begun: Option<Shown>,
    /// Whether the target had sent any byte.
    answered: bool,
}

/// How an attempt succeeded.
struct Reply {
    /// Whether the target connection can be used again.
    reusable: bool,
    /// Whether the client connection stays open.
    keep: bool,
    /// Whether both connections have become a tunnel.
    upgraded: bool,
}

impl Exchange<'_> {
    /// Sends the request to a target of `group` and the response to the client.
    pub(super) async fn forward(
        mut self,
        group: &GroupView,
        bound: Option<ForwardBinding>,
    ) -> Outcome {
        let began = Instant::now();
        let now = self.local.alarms.epoch_seconds();
        let binding = Binding::new(&self.request(), group, bound, &self.snapshot.keys, now);
        let mut outgoing = match self.encode() {
            Ok(outgoing) => outgoing,
            Err(kind) => return self.refuse(kind).await,
        };
        let asked = Asked {
            method: self.scratch.request.method,
            version: self.scratch.request.version,
            websocket: self.scratch.request.upgrade_websocket,
            persists: self.persists(),
        };
        let expects_continue = self.scratch.request.expects_continue;
        self.input.consume(self.scratch.request.bytes);
        if self.take_buffered_body(&mut outgoing).is_err() {
            return self.give_up(ErrorKind::HttpRequestError, asked, false).await;
        }
        if expects_continue && !outgoing.body.is_done() && !self.send_continue().await {
            return Outcome::Closed;
        }
        let result = self.try_targets(group, &binding, asked, &mut outgoing).await;
        self.client.alarm.tag(Tag::NONE);
        self.local.record(group.id, began.elapsed());
        let whole = outgoing.body.is_done();
        self.local.buffers.put(outgoing.bytes);
        if whole && !self.scratch.rest.is_empty() {
            // Requests that came behind the body of this one.
            let rest = std::mem::take(&mut self.scratch.rest);
            self.input.reserve(rest.len());
            self.input.tail().extend_from_slice(&rest);
        }
        match result {
            Ok(Outcome::Completed | Outcome::Closed) if !whole => Outcome::Lingering,
            Ok(outcome) => outcome,
            Err(Failure { begun: Some(shown), .. }) => {
                if shown == Shown::Close {
                    // An orderly end would make what the client has look like the whole.
                    self.client.socket.reset_on_close();
                }
                Outcome::Closed
            }
            Err(failure) => self.give_up(failure.kind, asked, whole).await,
        }
    }

    fn encode(&mut self) -> Result<Outgoing, ErrorKind> {
        let local = self.local;
        let mut bytes = local.buffers.head();
        let settings = &self.listener.settings;
        let host_is_missing = self.scratch.request.authority.is_empty();
        let arrival = Arrival {
            peer: self.client.peer,
            listener: self.listener,
            local: match host_is_missing {
                true => self.client.socket.local_address().unwrap_or(settings.address),
                false => settings.address,
            },
            epoch: local.alarms.epoch_seconds(),
            random: u128::from(local.random()) << 64 | u128::from(local.random()),
        };
        headers::request(&self.request(), &arrival, bytes.tail())?;
        Ok(Outgoing { len: bytes.len(), bytes, body: Body::of_request(self.scratch.request.body) })
    }

    /// Moves what of the body has come with the head behind the head that is sent.
    fn take_buffered_body(&mut self, outgoing: &mut Outgoing) -> Result<(), Stop> {
        self.scratch.rest.clear();
        if outgoing.body.is_done() || self.input.is_empty() {
            return Ok(());
        }
        outgoing.body.take(self.input, &mut self.scratch.rest)?;
        outgoing.bytes.tail().extend_from_slice(self.input.filled());
        outgoing.len = outgoing.bytes.len();
        self.input.clear();
        Ok(())
    }

    /// Tells the client to send its body (AWS ALB does so at once, without asking the target).
    async fn send_continue(&self) -> bool {
        let mut out = self.local.buffers.head();
        out.tail().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        let limit = self.listener.settings.idle_timeout;
        match self.client.alarm.within(limit, self.client.socket.write(out)).await {
            Some((Ok(()), out)) => {
                self.local.buffers.put(out);
                true
            }
            _ => false,
        }
    }

    /// Tries targets until one answers or no second try is harmless.
    async fn try_targets(
        &mut self,
        group: &GroupView,
        binding: &Binding<'_>,
        asked: Asked,
        outgoing: &mut Outgoing,
    ) -> Result<Outcome, Failure> {
        let mut sticky = binding.target(group);
        let mut tried = Tried::default();
        let mut failure = Failure::early(ErrorKind::DestinationUnavailable);
        let may_retry = group.settings.retry == Retry::Safe;
        // A body that goes from socket to socket cannot be sent again.
        let replayable = outgoing.body.is_done();
        let mut retried = false;
        while let Some(target) =
            sticky.take().or_else(|| connect::choose(group, &tried, self.local))
        {
            let in_flight = target.load.enter();
            self.client.alarm.tag(super::tag(target.id));
            let alarm = &self.client.alarm;
            let connected = connect::connect(group, target, retried, alarm, self.local).await;
            let (socket, reused) = match connected {
                Ok(connected) => connected,
                Err(kind) => {
                    failure = Failure::early(kind);
                    if !may_retry {
                        break;
                    }
                    tried.add(target);
                    continue;
                }
            };
            match self.attempt(group, target, binding, socket, asked, outgoing).await {
                Err(stale)
                    if reused
                        && may_retry
                        && replayable
                        && !retried
                        && stale.is_harmless(asked) =>
                {
                    outgoing.bytes.rewind(outgoing.len);
                    self.local.counters.retries.add(1);
                    retried = true;
                    failure = stale;
                }
                result => return result,
            }
            drop(in_flight);
        }
        Err(failure)
    }

    async fn attempt(
        &mut self,
        group: &GroupView,
        target: &TargetView,
        binding: &Binding<'_>,
        socket: Socket,
        asked: Asked,
        outgoing: &mut Outgoing,
    ) -> Result<Outcome, Failure> {
        let moved = Cell::new(self.client.alarm.now());
        let whole = Cell::new(outgoing.body.is_done());
        let attempt = Attempt {
            client: self.client,
            local: self.local,
            group,
            target,
            binding,
            socket: &socket,
            asked,
            idle_timeout: self.listener.settings.idle_timeout,
            moved: &moved,
            whole: &whole,
            begun: Cell::new(None),
        };
        let Scratch { response, head, rest, .. } = &mut *self.scratch;
        let reply = attempt.run(outgoing, rest, response, head).await;
        let reply = match reply {
            Err(failure) if self.client.alarm.is_cut() => {
                let kind = ErrorKind::DeregistrationDelay;
                return Err(Failure { kind, answered: true, ..failure });
            }
            reply => reply?,
        };
        if reply.upgraded {
            let load = Load::enter_owned(&target.load);
            let upgrade = Upgrade { socket, load, target: target.id };
            return Ok(Outcome::Upgraded(Box::new(upgrade)));
        }
        if reply.reusable && whole.get() {
            self.local.pools.put(group, target, socket, self.client.alarm.now());
        }
        Ok(if reply.keep { Outcome::Completed } else { Outcome::Closed })
    }

    /// Answers a request whose head has been consumed, `whole` if its body has been too.
    async fn give_up(self, kind: ErrorKind, asked: Asked, whole: bool) -> Outcome {
        let row = kind.row();
        let Some(status) = row.status else { return Outcome::Closed };
        let closes = row.closes || !whole || !asked.persists;
        let own = Own::standard(status, asked.method == Method::Head, closes);
        match (self.send(&own).await, closes) {
            (false, _) => Outcome::Closed,
            (true, false) => Outcome::Completed,
            (true, true) if whole && self.input.is_empty() => Outcome::Closed,
            (true, true) => Outcome::Lingering,
        }
    }
}

impl Failure {
    /// A failure before anything was sent to the target.
    fn early(kind: ErrorKind) -> Self {
        Self { kind, begun: None, answered: false }
    }

    /// Whether the same request may be sent once more after a reused connection failed: the
    /// target closed it before it answered, most likely before it read the request.
    fn is_harmless(&self, asked: Asked) -> bool {
        self.kind == ErrorKind::ConnectionTerminated
            && !self.answered
            && asked.method.is_idempotent()
    }
}

/// One try of a request at one target, over one connection.
struct Attempt<'a> {
    client: &'a Client,
    local: &'a Local,
    group: &'a GroupView,
    target: &'a TargetView,
    binding: &'a Binding<'a>,
    socket: &'a Socket,
    asked: Asked,
    idle_timeout: Duration,
    /// Tick at which bytes last moved in either direction.
    moved: &'a Cell<u32>,
    /// Whether the whole request has been sent.
    whole: &'a Cell<bool>,
    /// Set once the response has begun at the client.
    begun: Cell<Option<Shown>>,
}

impl Attempt<'_> {
    async fn run(
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
        if outgoing.body.is_done() {
            return self.reply(response, head).await;
        }
        self.exchange_bodies(&mut outgoing.body, rest, response, head).await
    }

    /// Sends the rest of the request while the response is awaited and relayed.
    async fn exchange_bodies(
        &self,
        body: &mut Body,
        rest: &mut Vec<u8>,
        response: &mut ResponseHead,
        head: &mut Vec<u8>,
    ) -> Result<Reply, Failure> {
        let mut upload = pin!(self.upload(body, rest));
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
    async fn upload(&self, body: &mut Body, rest: &mut Vec<u8>) -> Result<(), ErrorKind> {
        let pace = Pace { alarm: &self.client.alarm, limit: self.idle_timeout, moved: self.moved };
        let buffer = self.local.buffers.body();
        let (from, to) = (&self.client.socket, self.socket);
        match relay(from, to, body, buffer, rest, pace, self.local).await {
            Ok(buffer) => {
                self.local.buffers.put(buffer);
                self.whole.set(true);
                Ok(())
            }
            Err(Stop::To | Stop::ToTimeout) => Ok(()),
            Err(Stop::From | Stop::Framing) => Err(ErrorKind::HttpRequestError),
            Err(Stop::FromTimeout) => Err(ErrorKind::HttpRequestTimeout),
        }
    }

    /// Reads the response and relays it.
    async fn reply(
        &self,
        response: &mut ResponseHead,
        head: &mut Vec<u8>,
    ) -> Result<Reply, Failure> {
        let mut buffer = self.read_head(response).await?;
        if response.status == 101 {
            return self.upgrade(response, head, buffer).await;
        }
        let shown = headers::shown(response, self.asked.version);
        let keep = self.asked.persists && self.whole.get() && shown != Shown::Close;
        let keep = keep && !self.local.alarms.is_draining();
        let persistence =
            if keep { Persistence::Keep(self.asked.version) } else { Persistence::Close };
        head.clear();
        let bytes = buffer.filled();
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
        self.begun.set(Some(shown));
        let sent = self.send_start(head, buffer).await;
        let ended = match sent {
            Ok(buffer) => self.relay_rest(&mut body, buffer, &mut excess).await,
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
        if body.is_done() {
            return Ok(buffer);
        }
        let (from, to) = (self.socket, &self.client.socket);
        relay(from, to, body, buffer, excess, self.pace(), self.local).await
    }

    fn pace(&self) -> Pace<'_> {
        Pace { alarm: &self.client.alarm, limit: self.idle_timeout, moved: self.moved }
    }

    /// Sends the response head and the first bytes of the body, in one write where they fit.
    async fn send_start(&self, head: &[u8], mut buffer: Buffer) -> Result<Buffer, Stop> {
        if !buffer.prepend(head) {
            let mut start = self.local.buffers.head();
            start.tail().extend_from_slice(head);
            let start = write(&self.client.socket, start, self.pace()).await?;
            self.local.buffers.put(start);
        }
        write(&self.client.socket, buffer, self.pace()).await
    }

    /// Reads until a whole response head is there that is not an interim one.
    async fn read_head(&self, head: &mut ResponseHead) -> Result<Buffer, Failure> {
        let mut buffer = self.local.buffers.body();
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
                    Ok(Parsed::Complete) => return Ok(buffer),
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
        let alarm = &self.client.alarm;
        let mut read = pin!(self.socket.read(buffer));
        loop {
            if let Some((count, buffer)) = alarm.within(CLIENT_CHECK, read.as_mut()).await {
                return match count {
                    Ok(1..) => Ok(buffer),
                    Ok(0) | Err(_) => Err(ErrorKind::ConnectionTerminated),
                };
            }
            if alarm.is_cut() {
                return Err(ErrorKind::DeregistrationDelay);
            }
            let silence = alarm.now().saturating_sub(self.moved.get());
            if crate::net::TICK.saturating_mul(silence) >= self.group.settings.response_timeout {
                return Err(ErrorKind::HttpResponseTimeout);
            }
            // A client that has only ended its direction still reads.
            if self.client.socket.liveness() == Liveness::Broken {
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
