//! One L7 client connection, from its first byte to its close.
//!
//! [`serve`] is the life of the connection, [`exchange`] that of one request; `forward` goes on
//! where a request goes to a target. While no request is there, a connection holds nothing but
//! its socket, its alarm and the state of `serve`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::message::{BodyLength, Method, Request, RequestHead, ResponseHead};
use crate::model::{Action, Listener, Redirect};
use crate::net::{Alarm, Buffer, Liveness, Tag};
use crate::routing::Routed;
use crate::routing::redirect::{self, RedirectParts};
use crate::snapshot::{ListenerView, OwnedInFlight, Snapshot, TargetId};

pub(super) use super::client::Client;
use super::dialect::Dialect;
use super::error::ErrorKind;
use super::http2::Spoken;
use super::local::Local;
use super::proxied;
use super::read::{NoRequest, read_request};
use super::record::{self, Record};
use super::respond::{Own, Page};
use super::stream::Stream;
use super::{handshake, headers, http2, sticky, tallies, tunnel};

/// How long a connection without a request keeps its buffer: a busy one needs it at once.
pub(super) const RELEASE_AFTER: Duration = Duration::from_secs(1);
const _: () = assert!(RELEASE_AFTER.as_millis() >= crate::net::PAUSE_MAX.as_millis());
/// Longest silence of a client that should close after us, and longest time for it in all. Closing
/// at once would reset the connection and may destroy our response on its way.
pub(super) const LINGER_SILENCE: Duration = Duration::from_secs(2);
/// Most bytes that such a client may still send.
pub(super) const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What an exchange works in; kept by the worker from one to the next, so that a steady stream of
/// requests allocates nothing.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) request: RequestHead,
    pub(super) response: ResponseHead,
    /// A response head on its way out, or a Location.
    pub(super) head: Vec<u8>,
    /// Bytes behind a body that has ended.
    pub(super) rest: Vec<u8>,
    /// What is to be said of the exchange.
    pub(super) record: Record,
}

/// One request and what becomes of it.
pub(super) struct Exchange<'a> {
    pub(super) client: &'a Client,
    pub(super) local: &'a Local,
    pub(super) snapshot: &'a Snapshot,
    pub(super) listener: &'a ListenerView,
    pub(super) scratch: &'a mut Scratch,
    /// What the client has sent, from the request head on.
    pub(super) input: &'a mut Buffer,
}

/// How an exchange ends, as far as the client connection is concerned.
pub(super) enum Outcome {
    /// The next request may come.
    Completed,
    /// No request has come for a while.
    Idle,
    /// The connection closes.
    Closed,
    /// The connection closes, but the client may still be sending.
    Lingering,
    /// The connection becomes a tunnel.
    Upgraded(Box<Upgrade>),
}

/// The target's side of a tunnel that began as a request.
pub(super) struct Upgrade {
    pub(super) socket: Stream,
    /// Counts as one request in flight for as long as it lives.
    pub(super) load: OwnedInFlight,
    pub(super) target: TargetId,
    /// What is to be said of the request, which ends with the tunnel.
    pub(super) record: Box<Record>,
}

/// Serves a client connection until it closes.
pub(super) async fn serve(mut client: Box<Client>, local: Rc<Local>) {
    let mut input = Buffer::default();
    if proxied::is_expected(&local, client.listener) {
        // Boxed like the exchanges below, so that waiting for a request stays small.
        match Box::pin(proxied::read(&client, &local)).await {
            Some(read) => (client.peer, input) = (read.peer, read.payload),
            None => return,
        }
    }
    if let Some(server) = handshake::server(&client, &local) {
        let early = std::mem::take(&mut input);
        if let Err(refused) = Box::pin(handshake::accept(&mut client, &server, early, &local)).await
        {
            return Box::pin(handshake::refuse(&client, refused, &local)).await;
        }
    }
    let speaks_http2 = match http2::is_spoken(&client, &local) {
        Spoken::No => false,
        Spoken::Agreed => true,
        Spoken::Perhaps => match Box::pin(http2::tell(&client, input, &local)).await {
            Some((told, early)) => {
                input = early;
                told
            }
            None => return,
        },
    };
    if speaks_http2 {
        return Box::pin(http2::serve(client, input, local)).await;
    }
    loop {
        let (outcome, rest) = Box::pin(exchanges(&client, input, &local)).await;
        match outcome {
            Outcome::Idle => {}
            Outcome::Upgraded(upgrade) => {
                return Box::pin(upgraded(&client, rest, *upgrade, &local)).await;
            }
            Outcome::Completed | Outcome::Closed | Outcome::Lingering => break,
        }
        let Some(limit) = idle_timeout(&client, &local) else { break };
        client.alarm.tag(super::idle_tag(client.listener));
        if !matches!(client.alarm.idle(limit, client.socket.readable()).await, Some(Ok(()))) {
            break;
        }
        client.alarm.tag(Tag::NONE);
        input = Buffer::default();
    }
    if client.socket.owes_an_end() {
        Box::pin(end(&client.socket, &client.alarm)).await;
    }
}

/// Ends our direction, so that a client that reads knows that it has everything.
async fn end(stream: &Stream, alarm: &Alarm) {
    alarm.tag(Tag::NONE);
    alarm.within(LINGER_SILENCE, stream.end()).await;
}

/// Moves bytes both ways until the WebSocket ends. The snapshot of its request is gone by now.
async fn upgraded(client: &Client, early: Buffer, upgrade: Upgrade, local: &Local) {
    let record = &upgrade.record;
    if let Some(limit) = listener_settings(client, local, |settings| settings.idle_timeout) {
        client.alarm.tag(super::tag(upgrade.target));
        let (from, to) = (&client.socket, &upgrade.socket);
        tunnel::run(from, to, early, &client.alarm, limit, record, local).await;
    }
    drop(upgrade.load);
    let log = record.log.take();
    record::complete(record, client, None, log.as_deref(), local).await;
}

pub(super) fn listener_settings<R>(
    client: &Client,
    local: &Local,
    read: impl FnOnce(&Listener) -> R,
) -> Option<R> {
    local.snapshot().listener(client.listener).map(|listener| read(&listener.settings))
}

/// How long the connection may wait without a buffer; `None` when its listener is gone.
pub(super) fn idle_timeout(client: &Client, local: &Local) -> Option<Duration> {
    let idle_timeout = listener_settings(client, local, |settings| settings.idle_timeout)?;
    Some(match local.engine.reads_can_be_given_up() {
        true => idle_timeout.saturating_sub(RELEASE_AFTER),
        false => idle_timeout,
    })
}

/// Serves exchanges until the connection closes, is idle for a while, or becomes a tunnel, for
/// which it returns what the client has sent already.
async fn exchanges(client: &Client, mut input: Buffer, local: &Local) -> (Outcome, Buffer) {
    let mut scratch = local.take_scratch();
    let outcome = loop {
        match exchange(client, local, &mut scratch, &mut input).await {
            Outcome::Completed => {}
            Outcome::Lingering => {
                linger(&client.socket, &client.alarm, std::mem::take(&mut input)).await;
                break Outcome::Closed;
            }
            outcome => break outcome,
        }
    };
    local.put_scratch(scratch);
    if let Outcome::Upgraded(_) = outcome {
        return (outcome, input);
    }
    local.buffers.put(input);
    (outcome, Buffer::default())
}

/// Serves the one exchange of a stream, or the tunnel that it becomes.
pub(super) async fn serve_one(client: &Client, local: &Local) {
    let (outcome, rest) = Box::pin(one(client, local)).await;
    if let Outcome::Upgraded(upgrade) = outcome {
        Box::pin(upgraded(client, rest, *upgrade, local)).await;
    }
}

async fn one(client: &Client, local: &Local) -> (Outcome, Buffer) {
    let (mut scratch, mut input) = (local.take_scratch(), Buffer::default());
    let outcome = exchange(client, local, &mut scratch, &mut input).await;
    local.put_scratch(scratch);
    if let Outcome::Upgraded(_) = outcome {
        return (outcome, input);
    }
    local.buffers.put(input);
    (outcome, Buffer::default())
}

/// Reads one request and answers it.
async fn exchange(
    client: &Client,
    local: &Local,
    scratch: &mut Scratch,
    input: &mut Buffer,
) -> Outcome {
    let read = read_request(client, local, scratch, input).await;
    let snapshot = local.snapshot();
    let Some(listener) = snapshot.listener(client.listener) else { return Outcome::Closed };
    let exchange =
        Exchange { client, local, snapshot: &snapshot, listener, scratch: &mut *scratch, input };
    let outcome = match read {
        Ok(()) => exchange.answer().await,
        Err(NoRequest::Idle) => return Outcome::Idle,
        Err(NoRequest::Ended) => return Outcome::Closed,
        Err(NoRequest::Refused(kind)) => exchange.refuse_unread(kind).await,
    };
    if let Outcome::Upgraded(upgrade) = &outcome {
        tallies::answer(&upgrade.record, listener, local);
    } else {
        let log = listener.log.as_deref();
        record::complete(&scratch.record, client, Some(listener), log, local).await;
    }
    outcome
}

/// Ends our direction and reads into `buffer` until the client ends its own, or takes too long.
pub(super) async fn linger(stream: &Stream, alarm: &Alarm, mut buffer: Buffer) {
    end(stream, alarm).await;
    let Some(socket) = stream.socket() else { return };
    let deadline = alarm.deadline(LINGER_SILENCE * 4);
    let mut bytes = 0;
    while bytes < LINGER_BYTES_MAX && alarm.now() < deadline {
        buffer.clear();
        buffer.reserve(1);
        match alarm.within(LINGER_SILENCE, socket.read(buffer)).await {
            Some((Ok(count @ 1..), filled)) => {
                bytes += count;
                buffer = filled;
            }
            _ => return,
        }
    }
}

impl Exchange<'_> {
    /// Routes the request, and does what its rule says.
    async fn answer(self) -> Outcome {
        self.local.counters.requests.add(1);
        if self.client.is_http2() {
            self.scratch.record.dialect.set(Dialect::of(&self.request(), true));
        }
        match self.scratch.request.method {
            Method::Trace => return self.refuse(ErrorKind::HttpRequestDenied).await,
            Method::Connect => return self.refuse(ErrorKind::HttpRequestError).await,
            _ => {}
        }
        let Routed { action, priority, rank } = self.listener.router.route(&self.request());
        self.scratch.record.routed(priority, Some(rank), action);
        let snapshot = self.snapshot;
        if !matches!(action, Action::Forward(_)) {
            self.trace();
        }
        match action {
            Action::Forward(forward) => {
                match sticky::choose_group(forward, snapshot, &self.request(), self.local) {
                    Some((group, bound)) => self.forward(snapshot.group(group), bound).await,
                    None => self.refuse(ErrorKind::DestinationUnavailable).await,
                }
            }
            Action::Redirect(redirect) => self.redirect(redirect).await,
            Action::FixedResponse(fixed) => {
                self.respond(|head_only, closes| Own::fixed(fixed, head_only, closes)).await
            }
        }
    }

    /// Puts a trace id on record for a request that no target gets.
    fn trace(&self) {
        self.scratch.record.trace_here(&self.scratch.request, |brought, out| {
            let arrival = headers::Arrival {
                peer: self.client.peer,
                listener: self.listener,
                local: self.listener.settings.address,
                epoch: self.local.alarms.epoch_seconds(),
                random: self.local.randoms(),
                tls: self.client.socket.negotiated().map(|(negotiated, _)| negotiated),
                traced: Cell::default(),
                span: None,
            };
            headers::trace_id(&self.request(), brought, &arrival, out);
        });
    }

    /// The request as rules see it.
    pub(super) fn request(&self) -> Request<'_> {
        Request {
            head: &self.scratch.request,
            bytes: self.input.filled(),
            peer: self.client.peer.ip(),
        }
    }

    /// Whether the client connection stays open after this exchange.
    pub(super) fn persists(&self) -> bool {
        let limit = self.listener.settings.client_keep_alive;
        let age = self.client.alarm.now().saturating_sub(self.client.opened);
        self.scratch.request.persistent
            && !self.local.alarms.is_draining()
            && !self.listener.retired
            && crate::net::TICK.saturating_mul(age) < limit
    }

    /// Answers with the standard page of `kind`.
    pub(super) async fn refuse(self, kind: ErrorKind) -> Outcome {
        let row = kind.row();
        self.scratch.record.error.set(Some(kind));
        let Some(status) = row.status else { return Outcome::Closed };
        let grpc = self.scratch.record.dialect.get() == Dialect::Grpc;
        self.respond(|head_only, closes| {
            Own::standard(status, head_only, closes || row.closes).in_grpc(grpc)
        })
        .await
    }

    /// Answers a request that could not be read. Nothing is known of it, not even its method.
    async fn refuse_unread(self, kind: ErrorKind) -> Outcome {
        self.scratch.record.error.set(Some(kind));
        let Some(status) = kind.row().status else { return Outcome::Closed };
        self.send(&Own::standard(status, false, true)).await;
        Outcome::Lingering
    }

    /// How the connection closes after a response to a request that was read whole. Bytes behind it
    /// that nobody reads would make the close a reset, which destroys what the client has not
    /// received yet of the response (RFC 9112 §9.6).
    pub(super) fn close(&self) -> Outcome {
        match self.input.is_empty() && self.client.socket.liveness() != Liveness::Data {
            true => Outcome::Closed,
            false => Outcome::Lingering,
        }
    }

    async fn redirect(self, redirect: &Redirect) -> Outcome {
        let mut location = std::mem::take(&mut self.scratch.head);
        location.clear();
        let settings = &self.listener.settings;
        let request = self.request();
        let parts = RedirectParts {
            protocol: if self.listener.tls.is_some() { "https" } else { "http" },
            host: request.host(),
            port: settings.address.port(),
            path: request.path(),
            query: request.query(),
        };
        let written = redirect::location(redirect, &parts, &mut location);
        if written.is_err() {
            return self.refuse(ErrorKind::RedirectTooLong).await;
        }
        self.scratch.record.redirects(&location);
        self.respond(|head_only, closes| Own {
            status: redirect.status,
            content_type: "text/html",
            location: Some(&location),
            body: Page::Standard,
            head_only,
            closes,
            grpc: false,
        })
        .await
    }

    /// Sends a response of our own in answer to a request whose head is in the input.
    async fn respond<'o>(mut self, own: impl FnOnce(bool, bool) -> Own<'o>) -> Outcome {
        let read_whole = self.skip_request();
        let head_only = self.scratch.request.method == Method::Head;
        let own = own(head_only, !read_whole || !self.persists());
        let sent = self.send(&own).await;
        match (sent, own.closes, read_whole) {
            (false, ..) => Outcome::Closed,
            (true, false, _) => Outcome::Completed,
            (true, true, true) => self.close(),
            (true, true, _) => Outcome::Lingering,
        }
    }

    /// Drops head and body of the request, if all of the body has come.
    fn skip_request(&mut self) -> bool {
        let head = &self.scratch.request;
        let available = self.input.len().saturating_sub(head.bytes);
        let body = match head.body {
            BodyLength::None => 0,
            BodyLength::Known(bytes) if bytes <= available as u64 => bytes as usize,
            BodyLength::Known(_) | BodyLength::Chunked | BodyLength::UntilClose => return false,
        };
        record::add(&self.scratch.record.received, body);
        self.input.consume(head.bytes + body);
        true
    }

    /// Sends a response of our own.
    pub(super) async fn send(&self, own: &Own<'_>) -> bool {
        self.local.counters.own_responses.add(1);
        let record = &self.scratch.record;
        let mut out = self.local.buffers.head();
        let options = &self.listener.settings.http;
        self.local.date.with(self.local.alarms.epoch_seconds(), |date| {
            own.encode(options, date, out.tail());
        });
        record.responds(own.status, out.filled());
        let limit = self.listener.settings.idle_timeout;
        let bytes = out.len();
        match self.client.alarm.within(limit, self.client.socket.write(out)).await {
            Some((Ok(()), out)) => {
                record::add(&record.sent, bytes);
                self.local.buffers.put(out);
                true
            }
            _ => false,
        }
    }
}
