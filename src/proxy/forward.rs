//! A request on its way to a target: encoded once, then tried at one target after the other until
//! one answers or no second try is harmless. `attempt` is one such try.

use std::cell::Cell;

use crate::message::Method;
use crate::model::Retry;
use crate::net::Tag;
use crate::snapshot::{GroupView, Load, TargetView};

use super::attempt::{Asked, Attempt, Failure, Outgoing};
use super::body::{Body, Stop};
use super::connect::{self, Tried};
use super::dialect::Dialect;
use super::error::ErrorKind;
use super::headers::{self, Arrival, Shown};
use super::http::{Exchange, Outcome, Scratch, Upgrade};
use super::lines;
use super::record;
use super::respond::Own;
use super::sticky::{Binding, ForwardBinding};
use super::stream::Stream;

/// So often a request goes to a target again that did not look at it: the connection was about to
/// end, or carried as many as it could.
const REFUSALS_MAX: u8 = 3;

/// What has been sent again because a target closed before it answered. A request that kills
/// whoever reads it meets one more target at most.
#[derive(Default)]
struct Again {
    here: bool,
    elsewhere: bool,
    /// How often a target said that it had not looked at the request.
    refusals: u8,
}

/// Where to send a request again.
enum Place {
    /// To the same target: it has most likely closed an unused connection.
    Here,
    /// To another one: this one has most likely died.
    Elsewhere,
}

impl Again {
    fn is_begun(&self) -> bool {
        self.here || self.elsewhere
    }

    /// Where to, after the target has said that it did not look at the request.
    fn after_refusal(&mut self) -> Option<Place> {
        self.refusals += 1;
        match self.refusals {
            ..=REFUSALS_MAX => Some(Place::Here),
            _ => self.next(false),
        }
    }

    /// Where to, after a connection has failed that was `reused` or new.
    fn next(&mut self, reused: bool) -> Option<Place> {
        if reused && !self.is_begun() {
            self.here = true;
            return Some(Place::Here);
        }
        (!std::mem::replace(&mut self.elsewhere, true)).then_some(Place::Elsewhere)
    }
}

impl Exchange<'_> {
    /// Sends the request to a target of `group` and the response to the client.
    pub(super) async fn forward(
        mut self,
        group: &GroupView,
        bound: Option<ForwardBinding>,
    ) -> Outcome {
        let began = self.scratch.record.forwards(group);
        let dialect = self.scratch.record.dialect.get();
        if !dialect.fits(&self.request(), group.settings.protocol_version) {
            return self.refuse(ErrorKind::ProtocolVersionMismatch).await;
        }
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
            self.scratch.record.error.set(Some(ErrorKind::ClientClosed));
            return Outcome::Closed;
        }
        if self.input.is_empty() {
            self.local.buffers.put(std::mem::take(self.input));
        }
        let result = self.try_targets(group, &binding, asked, &mut outgoing).await;
        self.client.alarm.tag(Tag::NONE);
        let took = self.scratch.record.ends().since(began);
        group.tally.of(self.local.index).duration.record(took);
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
            Ok(Outcome::Closed) => self.close(),
            Ok(outcome) => outcome,
            Err(Failure { begun: Some(shown), kind, .. }) => {
                self.scratch.record.error.set(Some(kind));
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
            random: local.randoms(),
            tls: self.client.socket.negotiated().map(|(negotiated, _)| negotiated),
            traced: Cell::default(),
            span: self.scratch.record.span.get(),
        };
        let out = bytes.tail();
        headers::request(&self.request(), &arrival, out)?;
        self.scratch.record.traced(arrival.traced.get().of(out));
        let body = Body::of_request(self.scratch.request.body);
        Ok(Outgoing { len: bytes.len(), bytes, body, is_kept: true })
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
        record::add(&self.scratch.record.received, self.input.len());
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
        // A body that goes from socket to socket cannot be sent again, and what is not idempotent
        // may not be (RFC 9110 §9.2.2).
        let replayable = outgoing.body.is_done();
        let repeatable = may_retry && replayable && asked.method.is_idempotent();
        let mut again = Again::default();
        while let Some(target) =
            sticky.take().or_else(|| connect::choose(group, &tried, self.local))
        {
            let in_flight = target.load.enter();
            self.scratch.record.tries(target);
            self.client.alarm.tag(super::tag(target.id));
            let fresh = again.is_begun();
            let connected = match group.settings.protocol_version.is_http2() {
                false => connect::for_request(group, target, fresh, self.client).await,
                true => {
                    let (alarm, local) = (&self.client.alarm, &self.client.local);
                    Box::pin(lines::call(group, target, alarm, local)).await
                }
            };
            if let Ok((_, false)) = connected {
                self.scratch.record.connects();
            }
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
            failure = match self.attempt(group, target, binding, socket, asked, outgoing).await {
                Err(closed) if repeatable && closed.is_early_end() => closed,
                Err(refused) if may_retry && outgoing.is_kept && refused.is_unprocessed() => {
                    refused
                }
                result => return result,
            };
            let place = match failure.is_unprocessed() {
                true => again.after_refusal(),
                false => again.next(reused),
            };
            match place {
                // Only the connection was stale; the client may be bound to the target.
                Some(Place::Here) => sticky = Some(target),
                Some(Place::Elsewhere) => tried.add(target),
                None => break,
            }
            outgoing.rewind();
            self.local.counters.retries.add(1);
            drop(in_flight);
        }
        Err(failure)
    }

    async fn attempt(
        &mut self,
        group: &GroupView,
        target: &TargetView,
        binding: &Binding<'_>,
        socket: Stream,
        asked: Asked,
        outgoing: &mut Outgoing,
    ) -> Result<Outcome, Failure> {
        let moved = Cell::new(self.client.alarm.now());
        let whole = Cell::new(outgoing.body.is_done());
        let Scratch { response, head, rest, record, .. } = &mut *self.scratch;
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
            record: &*record,
        };
        let reply = match self.client.is_http2() {
            false => attempt.run(outgoing, rest, response, head).await,
            true => Box::pin(attempt.run_unless_given_up(outgoing, rest, response, head)).await,
        };
        let reply = match reply {
            Err(failure) if self.client.alarm.is_cut() => {
                let kind = ErrorKind::DeregistrationDelay;
                return Err(Failure { kind, answered: true, ..failure });
            }
            reply => reply?,
        };
        if reply.upgraded {
            let load = Load::enter_owned(&target.load);
            let record = Box::new(std::mem::take(&mut self.scratch.record));
            record.log.replace(self.listener.log.clone());
            let upgrade = Upgrade { socket, load, target: target.id, record };
            return Ok(Outcome::Upgraded(Box::new(upgrade)));
        }
        // What carried one request carries no other.
        if reply.reusable && whole.get() && socket.as_carried().is_none() {
            self.local.pools.put(group, target, socket, self.client.alarm.now());
        }
        Ok(if reply.keep { Outcome::Completed } else { Outcome::Closed })
    }

    /// Answers a request whose head has been consumed, `whole` if its body has been too.
    async fn give_up(self, kind: ErrorKind, asked: Asked, whole: bool) -> Outcome {
        let row = kind.row();
        self.scratch.record.error.set(Some(kind));
        let Some(status) = row.status else { return Outcome::Closed };
        let closes = row.closes || !whole || !asked.persists;
        let grpc = self.scratch.record.dialect.get() == Dialect::Grpc;
        let own = Own::standard(status, asked.method == Method::Head, closes).in_grpc(grpc);
        match (self.send(&own).await, closes) {
            (false, _) => Outcome::Closed,
            (true, false) => Outcome::Completed,
            (true, true) if whole => self.close(),
            (true, true) => Outcome::Lingering,
        }
    }
}
