//! One HTTP/2 connection of a client: each of its streams is an exchange like any other, in a task
//! of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use crate::http2::{self, Census, Incoming, PREFACE, Reason, Serving};
use crate::model::Listener;
use crate::net::{self, Buffer, Tag, contain};

use super::carried::Carried;
use super::error::ErrorKind;
use super::http::{self, Client, LINGER_BYTES_MAX, LINGER_SILENCE, RELEASE_AFTER, idle_timeout};
use super::local::Local;
use super::stream::Stream;
use super::wire::Wire;

/// Requests that one connection brings (AWS: 10,000); then it ends as soon as they are answered.
const REQUESTS_MAX: u32 = 10_000;
/// Exchanges of one connection that are under way, those included whose streams the client has
/// reset and that have not noticed; a stream beyond them is refused.
const EXCHANGES_MAX: usize = 2 * http2::STREAMS_MAX as usize;
/// How often a connection with exchanges is looked at: whether it is to end.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for a client to see that the connection ends, once it has nothing more to wait for.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Whether a client speaks HTTP/2.
pub(super) enum Spoken {
    No,
    /// Both sides agreed on it.
    Agreed,
    /// Its first bytes will [tell](tell).
    Perhaps,
}

/// Whether `client` speaks HTTP/2.
pub(super) fn is_spoken(client: &Client, local: &Local) -> Spoken {
    match client.socket.negotiated() {
        Some((negotiated, _)) if negotiated.inner.as_deref() == Some(http2::ALPN) => Spoken::Agreed,
        Some(_) => Spoken::No,
        None => match http::listener_settings(client, local, |settings| settings.http.h2c) {
            Some(true) => Spoken::Perhaps,
            _ => Spoken::No,
        },
    }
}

/// Waits for the first bytes of a client, of which there are `early`, as long as they may be those
/// of HTTP/2. Returns whether they are, and them; `None` where too little came.
pub(super) async fn tell(client: &Client, early: Buffer, local: &Local) -> Option<(bool, Buffer)> {
    let limits = |settings: &Listener| (settings.idle_timeout, settings.head_timeout);
    let (idle, head) = http::listener_settings(client, local, limits)?;
    let mut bytes = early;
    if bytes.is_empty() {
        client.alarm.tag(super::idle_tag(client.listener));
        client.alarm.idle(idle, client.socket.readable()).await?.ok()?;
        client.alarm.tag(Tag::NONE);
    }
    let deadline = client.alarm.deadline(head);
    loop {
        let known = bytes.len().min(PREFACE.len());
        if bytes.filled()[..known] != PREFACE[..known] {
            return Some((false, bytes));
        }
        if known == PREFACE.len() {
            return Some((true, bytes));
        }
        if bytes.capacity() == 0 {
            bytes = local.buffers.head();
        }
        bytes.reserve(1);
        match client.alarm.until(deadline, client.socket.read(bytes)).await? {
            (Ok(1..), read) => bytes = read,
            // HTTP/1.1 knows what to say to it.
            (Ok(0), read) if !read.is_empty() => return Some((false, read)),
            _ => return None,
        }
    }
}

/// Exchanges of a connection that are under way.
#[derive(Default)]
struct UnderWay(Rc<Cell<usize>>);

/// One of them; counts until it is dropped.
struct OneUnderWay(Rc<Cell<usize>>);

impl UnderWay {
    fn enter(&self) -> OneUnderWay {
        self.0.set(self.0.get() + 1);
        OneUnderWay(self.0.clone())
    }

    fn count(&self) -> usize {
        self.0.get()
    }
}

impl Drop for OneUnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// A connection and how it stands.
struct Connection<'a> {
    client: &'a Client,
    local: &'a Rc<Local>,
    wire: Wire,
    serving: Serving<Wire>,
    under_way: UnderWay,
    /// Requests so far.
    requests: u32,
    /// Whether the client has been told that the connection ends.
    ending: bool,
}

/// What a look at a connection brings.
#[allow(clippy::large_enum_variant, reason = "one at a time, moved once, for each request")]
enum Look {
    Request(Incoming),
    Over,
    /// Nothing, for as long as was asked.
    Silence,
    /// The client sends what it must not, or frames that bring nothing.
    Stopped(Reason),
}

/// Serves a client connection, of which `early` has been read, until it closes.
pub(super) async fn serve(mut client: Box<Client>, early: Buffer, local: Rc<Local>) {
    let stream = std::mem::take(&mut client.socket);
    let census = Census::new(local.alarms.now());
    let wire = Wire::new(stream, early, Some(census), &local);
    if let Some(serving) = begin(&client, &wire, &local).await {
        local.counters.http2_connections.add(1);
        let under_way = UnderWay::default();
        let (client, local, wire) = (&*client, &local, wire.clone());
        let connection =
            Connection { client, local, wire, serving, under_way, requests: 0, ending: false };
        connection.run().await;
    }
    http::linger(wire.stream(), &client.alarm, Buffer::default()).await;
}

/// Waits for the first words of the client.
async fn begin(client: &Client, wire: &Wire, local: &Local) -> Option<Serving<Wire>> {
    let limit = http::listener_settings(client, local, |settings| settings.head_timeout)?;
    let builder = http2::serving();
    let mut handshake = pin!(builder.handshake::<Wire, Bytes>(wire.clone()));
    let begun = poll_fn(|cx| {
        let begun = handshake.as_mut().poll(cx);
        match wire.poll_out(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(None),
            _ => begun.map(Result::ok),
        }
    });
    client.alarm.within(limit, begun).await.flatten()
}

impl Connection<'_> {
    async fn run(mut self) {
        loop {
            if !self.ending && self.must_end() {
                self.end();
            }
            let look = match (self.under_way.count(), self.ending) {
                (0, true) => self.look(CLOSE_MAX).await,
                (0, false) => self.idle().await,
                (1.., _) => self.look(LOOK).await,
            };
            match look {
                Look::Request(incoming) => self.request(incoming),
                Look::Stopped(reason) => {
                    if reason == Reason::ENHANCE_YOUR_CALM {
                        let client = self.client.peer;
                        self.local.counters.http2_floods.add(1);
                        tracing::debug!(%client, "HTTP/2 frames that bring nothing");
                    }
                    return self.close(reason).await;
                }
                Look::Over => return self.close(Reason::NO_ERROR).await,
                Look::Silence if self.local.alarms.is_cut() => return,
                Look::Silence if self.ending && self.under_way.count() == 0 => {
                    return self.close(Reason::NO_ERROR).await;
                }
                Look::Silence => {}
            }
        }
    }

    /// Whether no further request should come.
    fn must_end(&self) -> bool {
        let snapshot = self.local.snapshot();
        let Some(listener) = snapshot.listener(self.client.listener) else { return true };
        listener.retired
            || self.local.alarms.is_draining()
            || self.requests >= REQUESTS_MAX
            || self.age() >= listener.settings.client_keep_alive
    }

    fn age(&self) -> Duration {
        net::TICK.saturating_mul(self.client.alarm.now().saturating_sub(self.client.opened))
    }

    /// Tells the client that no further request will be taken; those on their way will.
    fn end(&mut self) {
        self.ending = true;
        self.serving.graceful_shutdown();
    }

    /// Waits for a request while there is none; when that takes too long, the connection ends.
    async fn idle(&mut self) -> Look {
        let look = self.look_idle(RELEASE_AFTER).await;
        if !matches!(look, Look::Silence) {
            return look;
        }
        let Some(limit) = idle_timeout(self.client, self.local) else { return Look::Over };
        let limits = |settings: &Listener| settings.client_keep_alive;
        let age_max = http::listener_settings(self.client, self.local, limits);
        let limit = limit.min(age_max.unwrap_or_default().saturating_sub(self.age()));
        self.wire.rest();
        self.client.alarm.tag(super::idle_tag(self.client.listener));
        let look = self.look_idle(limit).await;
        self.client.alarm.tag(Tag::NONE);
        if let Look::Silence = look {
            self.end();
        }
        look
    }

    async fn look(&mut self, limit: Duration) -> Look {
        let Self { client, wire, serving, .. } = self;
        client.alarm.within(limit, next(serving, wire)).await.unwrap_or(Look::Silence)
    }

    /// As [`Connection::look`], and a drain ends it, too.
    async fn look_idle(&mut self, limit: Duration) -> Look {
        let Self { client, wire, serving, .. } = self;
        client.alarm.idle(limit, next(serving, wire)).await.unwrap_or(Look::Silence)
    }

    /// Begins to serve a request.
    fn request(&mut self, mut incoming: Incoming) {
        self.requests = self.requests.saturating_add(1);
        self.local.counters.http2_requests.add(1);
        if self.under_way.count() >= EXCHANGES_MAX {
            return incoming.1.send_reset(Reason::REFUSED_STREAM);
        }
        let local = self.local;
        let Ok((inward, outward)) = http2::serve(incoming) else {
            local.counters.errors[ErrorKind::HttpRequestError as usize].add(1);
            return;
        };
        let carried = Carried::new(inward, outward, &self.wire);
        let stream = Stream::Carried(Box::new(carried));
        let client = Box::new(Client::carried(stream, self.client));
        let under_way = self.under_way.enter();
        let (peer, counters) = (client.peer, local.clone());
        let panicked = move || {
            counters.counters.panics.add(1);
            tracing::error!(client = %peer, "a stream panicked and was reset");
        };
        drop(net::spawn(contain(exchange(client, local.clone(), under_way), panicked)));
    }

    /// Ends the connection as it is.
    async fn close(mut self, reason: Reason) {
        self.serving.abrupt_shutdown(reason);
        let Self { client, wire, serving, .. } = &mut self;
        let closed = poll_fn(|cx| {
            let closed = serving.poll_closed(cx);
            match wire.poll_out(cx) {
                Poll::Ready(Ok(())) => closed.map(drop),
                Poll::Ready(Err(_)) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        });
        client.alarm.within(CLOSE_MAX, closed).await;
    }
}

/// The next request. What `h2` has to say goes out after each look.
async fn next(serving: &mut Serving<Wire>, wire: &Wire) -> Look {
    poll_fn(|cx| {
        let polled = serving.poll_accept(cx);
        if let Poll::Ready(Err(_)) = wire.poll_out(cx) {
            return Poll::Ready(Look::Over);
        }
        match polled {
            Poll::Ready(Some(Ok(incoming))) => Poll::Ready(Look::Request(incoming)),
            Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Look::Over),
            Poll::Pending => {
                wire.stopped().map_or(Poll::Pending, |reason| Poll::Ready(Look::Stopped(reason)))
            }
        }
    })
    .await
}

/// Serves one stream.
async fn exchange(client: Box<Client>, local: Rc<Local>, under_way: OneUnderWay) {
    let _under_way = under_way;
    let mut serving = pin!(http::serve_one(&client, &local));
    poll_fn(|cx| {
        if let Some(carried) = client.socket.as_carried() {
            carried.look(cx);
        }
        Pin::as_mut(&mut serving).poll(cx)
    })
    .await;
    let early = client.socket.as_carried().is_some_and(Carried::is_answered_early);
    if early && !local.alarms.is_cut() {
        Box::pin(linger(&client, &local)).await;
    }
}

/// Drops what the client has still to send of a request that was answered. At last the stream is
/// reset, which says that nobody wants the rest (RFC 9113 §8.1); said at once, some clients would
/// take the response for broken.
async fn linger(client: &Client, local: &Local) {
    let deadline = client.alarm.deadline(LINGER_SILENCE * 4);
    client.alarm.tag(Tag::NONE);
    let (mut buffer, mut bytes) = (local.buffers.tunnel(), 0);
    while bytes < LINGER_BYTES_MAX && client.alarm.now() < deadline {
        buffer.clear();
        match client.alarm.within(LINGER_SILENCE, client.socket.read(buffer)).await {
            Some((Ok(count @ 1..), filled)) => {
                bytes += count;
                buffer = filled;
            }
            _ => return,
        }
    }
    local.buffers.put(buffer);
}
