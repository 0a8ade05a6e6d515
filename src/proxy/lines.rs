//! Connections to targets that carry many requests at once: few per worker and target, each in a
//! task of its own.
//!
//! [`call`] is one request's stream on such a connection. The first is made when it is needed, and
//! whoever needs it at the same time waits for it; one more is made when as many streams are open
//! as the target allows. A connection that the target ends takes no new streams; one that nobody
//! uses is closed after the group's `idle_timeout`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::http2::{self, Caller, Calling, TARGET_STREAMS_MAX};
use crate::net::{self, Alarm, Alarms, Buffer, TICK, contain};
use crate::snapshot::{GroupView, Snapshot, TargetId, TargetView};
use crate::tls;

use super::carried::Carried;
use super::connect;
use super::error::ErrorKind;
use super::local::Local;
use super::pool::ticks;
use super::stream::Stream;
use super::wire::Wire;

/// Most connections of a worker to one target. Beyond them streams wait for each other.
const LINES_MAX: usize = 16;
/// After so long without a stream a connection gives up its buffer.
const REST_TICKS: u32 = 20;
/// So long a connection with open streams may be silent before it is asked whether it lives.
const SILENCE_TICKS: u32 = 100;
/// So long it may take to answer; then it is dead, and so are its streams.
const PONG_TICKS: u32 = 100;
/// Longest wait for the word that ends a TLS session to be sent.
const END_MAX: Duration = Duration::from_secs(2);
/// So long it is not asked again while nothing but that answer comes: targets count such questions
/// (gRPC's servers end connections that ask more than twice in five minutes).
const ASKED_TICKS: u32 = 3000;

/// A worker's connections to targets that carry many requests each.
#[derive(Default)]
pub struct Lines(RefCell<Vec<Shared>>);

/// Those to one target.
#[derive(Default)]
struct Shared {
    target: Option<TargetId>,
    lines: Vec<Rc<Line>>,
    opening: Option<Rc<Opening>>,
    idle_ticks_max: u32,
}

/// One connection.
struct Line {
    caller: Caller,
    is_sealed: bool,
    /// How it is encrypted, where it is.
    trust: Option<Arc<tls::Client>>,
    wire: Wire,
    /// Streams that are open.
    streams: Cell<usize>,
    /// Tick at which one was opened or closed, or brought something.
    used: Cell<u32>,
    /// Tick at which it was asked whether it lives.
    asked: Cell<Option<u32>>,
    signals: Rc<Signals>,
    alarms: Alarms,
}

/// What the task of a connection is told, and tells.
#[derive(Default)]
struct Signals {
    task: Cell<Option<Waker>>,
    ping: Cell<Ping>,
    /// Nothing has come for a while: no buffer need wait for it.
    rests: Cell<bool>,
    /// It is to end as it is.
    cut: Cell<bool>,
    /// It has ended.
    over: Cell<bool>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Ping {
    #[default]
    None,
    Wanted,
    Sent,
}

/// A connection that is being made.
#[derive(Default)]
struct Opening {
    over: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// The making of a connection; over when dropped.
struct Maker<'a> {
    lines: &'a Lines,
    target: TargetId,
    opening: Rc<Opening>,
}

/// One stream of a line, for as long as it is open.
pub(super) struct Using(Rc<Line>);

impl Using {
    fn new(line: &Rc<Line>) -> Self {
        line.streams.set(line.streams.get() + 1);
        line.used.set(line.alarms.now());
        Self(line.clone())
    }

    /// Notes that the target has sent something.
    pub(super) fn note(&self) {
        self.0.used.set(self.0.alarms.now());
        self.0.asked.set(None);
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        self.0.used.set(self.0.alarms.now());
    }
}

/// A stream to `target` for one request, and whether its connection was there before.
///
/// # Errors
/// As [`connect::for_request`].
pub(super) async fn call(
    group: &GroupView,
    target: &TargetView,
    alarm: &Alarm,
    local: &Rc<Local>,
) -> Result<(Stream, bool), ErrorKind> {
    let deadline = alarm.deadline(group.settings.connect_timeout);
    loop {
        match local.lines.find(group, target) {
            Found::Line(line) => {
                local.counters.target_connections_reused.add(1);
                return Ok((stream(&line), true));
            }
            Found::Opening(opening) => {
                if alarm.until(deadline, opening.over()).await.is_none() {
                    return Err(ErrorKind::ConnectionTimeout);
                }
            }
            Found::Nothing => {
                let maker = local.lines.make(group, target);
                let connection = connect::new(group, target, alarm, local).await?;
                let line = Line::begin(connection, group, target, local).await?;
                let stream = stream(&line);
                maker.made(line);
                return Ok((stream, false));
            }
        }
    }
}

fn stream(line: &Rc<Line>) -> Stream {
    let (inward, outward) = http2::ask(line.caller.clone(), line.is_sealed);
    Stream::Carried(Box::new(Carried::asking(inward, outward, &line.wire, Using::new(line))))
}

/// What there is for a new request.
enum Found {
    Line(Rc<Line>),
    Opening(Rc<Opening>),
    Nothing,
}

impl Lines {
    /// The connection for one more stream to `target`.
    fn find(&self, group: &GroupView, target: &TargetView) -> Found {
        self.with(target.id, |shared| {
            shared.lines.retain(|line| line.is_open() && line.encrypts_as(group));
            if let Some(line) = shared.lines.iter().find(|line| line.has_room()) {
                return Found::Line(line.clone());
            }
            if let Some(opening) = &shared.opening {
                return Found::Opening(opening.clone());
            }
            let least = shared.lines.iter().min_by_key(|line| line.streams.get());
            match least {
                Some(line) if shared.lines.len() >= LINES_MAX => Found::Line(line.clone()),
                _ => Found::Nothing,
            }
        })
    }

    fn make(&self, group: &GroupView, target: &TargetView) -> Maker<'_> {
        let opening = Rc::new(Opening::default());
        self.with(target.id, |shared| {
            shared.opening = Some(opening.clone());
            shared.idle_ticks_max = ticks(group.settings.idle_timeout);
        });
        Maker { lines: self, target: target.id, opening }
    }

    /// How many connections to `target` nobody uses.
    pub(super) fn idle(&self, target: TargetId) -> usize {
        match self.0.borrow().get(target.slot as usize) {
            Some(shared) if shared.target == Some(target) => {
                shared.lines.iter().filter(|line| line.streams.get() == 0).count()
            }
            _ => 0,
        }
    }

    /// Closes what nobody has used for too long, and what does not answer.
    pub fn sweep(&self, now: u32) {
        for shared in self.0.borrow_mut().iter_mut() {
            let limit = shared.idle_ticks_max;
            shared.lines.retain(|line| line.is_open() && line.goes_on(now, limit));
        }
    }

    /// Gives no new request to targets that are not in `snapshot` or drain. Their connections close
    /// when the last stream has ended.
    pub fn retain_targets_of(&self, snapshot: &Snapshot) {
        let mut alive = vec![None; self.0.borrow().len()];
        for target in snapshot.groups.iter().flat_map(|group| &group.targets) {
            if let Some(entry) = alive.get_mut(target.id.slot as usize)
                && !target.load.is_draining()
            {
                *entry = Some(target.id);
            }
        }
        for (shared, alive) in self.0.borrow_mut().iter_mut().zip(alive) {
            if shared.target != alive {
                *shared = Shared::default();
            }
        }
    }

    /// Gives no new request to any.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    fn with<R>(&self, target: TargetId, change: impl FnOnce(&mut Shared) -> R) -> R {
        let mut all = self.0.borrow_mut();
        let slot = target.slot as usize;
        if all.len() <= slot {
            all.resize_with(slot + 1, Shared::default);
        }
        let shared = &mut all[slot];
        if shared.target != Some(target) {
            *shared = Shared { target: Some(target), ..Shared::default() };
        }
        change(shared)
    }

    /// Knows `target`, and has no connection to it.
    #[cfg(test)]
    pub(super) fn pretend(&self, target: TargetId) {
        self.with(target, |_| {});
    }
}

impl Maker<'_> {
    fn made(self, line: Rc<Line>) {
        self.lines.with(self.target, |shared| shared.lines.push(line));
    }
}

impl Drop for Maker<'_> {
    fn drop(&mut self) {
        self.lines.with(self.target, |shared| {
            shared.opening.take_if(|opening| Rc::ptr_eq(opening, &self.opening));
        });
        self.opening.over.set(true);
        for waiting in self.opening.waiting.borrow_mut().drain(..) {
            waiting.wake();
        }
    }
}

impl Opening {
    /// Waits until the connection is there, or could not be made.
    async fn over(&self) {
        poll_fn(|cx| {
            if self.over.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|known| known.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Line {
    /// Begins to speak HTTP/2 over `connection`, and starts the task that does.
    async fn begin(
        connection: Stream,
        group: &GroupView,
        target: &TargetView,
        local: &Rc<Local>,
    ) -> Result<Rc<Self>, ErrorKind> {
        let is_sealed = connection.negotiated().is_some();
        let wire = Wire::new(connection, Buffer::default(), None, local);
        // It writes what comes first, and waits for nothing.
        let begun = http2::calling().handshake::<Wire, Bytes>(wire.clone()).await;
        let (caller, calling) = begun.map_err(|_| ErrorKind::ConnectionRefused)?;
        let (signals, alarms) = (Rc::<Signals>::default(), local.alarms.clone());
        let address = target.address;
        let (counters, over) = (local.counters.clone(), signals.clone());
        let panicked = move || {
            counters.panics.add(1);
            over.over.set(true);
            tracing::error!(target = %address, "a connection to a target panicked and was closed");
        };
        drop(net::spawn(contain(
            drive(calling, wire.clone(), signals.clone(), local.alarms.alarm()),
            panicked,
        )));
        Ok(Rc::new(Self {
            caller,
            is_sealed,
            trust: group.encrypts().cloned(),
            wire,
            streams: Cell::new(0),
            used: Cell::new(local.alarms.now()),
            asked: Cell::new(None),
            signals,
            alarms,
        }))
    }

    /// Whether it is encrypted as connections of `group` are to be.
    fn encrypts_as(&self, group: &GroupView) -> bool {
        match (&self.trust, group.encrypts()) {
            (None, None) => true,
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether it takes new streams: neither side has ended it.
    fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.signals.over.get()
            && !matches!(self.caller.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Whether the target allows one more stream. While it has not said how many, `h2` lets one
    /// through and the others wait there.
    fn has_room(&self) -> bool {
        let allowed = match self.wire.has_heard() {
            true => self.caller.current_max_send_streams().min(TARGET_STREAMS_MAX),
            false => TARGET_STREAMS_MAX,
        };
        self.streams.get() < allowed
    }

    /// Whether it is kept: used within `limit` ticks, and not dead.
    fn goes_on(&self, now: u32, limit: u32) -> bool {
        let silence = now.saturating_sub(self.used.get());
        if self.streams.get() == 0 {
            // Once, since it is looked at once a second.
            if (REST_TICKS..2 * REST_TICKS).contains(&silence) {
                self.signals.rests.set(true);
                self.signals.wake();
            }
            return silence <= limit;
        }
        match (self.signals.ping.get(), self.asked.get()) {
            (Ping::None, Some(asked)) if now.saturating_sub(asked) < ASKED_TICKS => true,
            (Ping::None, _) => {
                if silence >= SILENCE_TICKS {
                    self.asked.set(Some(now));
                    self.signals.ping.set(Ping::Wanted);
                    self.signals.wake();
                }
                true
            }
            (Ping::Wanted | Ping::Sent, asked) => {
                let waits = asked.is_some_and(|asked| now.saturating_sub(asked) < PONG_TICKS);
                // Its other streams may have brought something meanwhile.
                let is_alive = waits || asked.is_none();
                if !is_alive {
                    self.signals.cut.set(true);
                    self.signals.wake();
                }
                is_alive
            }
        }
    }
}

impl Signals {
    fn wake(&self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

/// Moves the frames of a connection until it has ended, or is cut.
async fn drive(mut calling: Calling<Wire>, wire: Wire, signals: Rc<Signals>, alarm: Alarm) {
    let mut pings = calling.ping_pong();
    let mut calling = pin!(calling);
    poll_fn(|cx| {
        signals.task.set(Some(cx.waker().clone()));
        if signals.cut.get() {
            return Poll::Ready(());
        }
        if signals.rests.take() {
            wire.rest();
        }
        if let Some(pings) = &mut pings {
            if signals.ping.get() == Ping::Wanted && pings.send_ping(http2::ping()).is_ok() {
                signals.ping.set(Ping::Sent);
            }
            if signals.ping.get() == Ping::Sent && pings.poll_pong(cx).is_ready() {
                signals.ping.set(Ping::None);
            }
        }
        let ended = calling.as_mut().poll(cx);
        // What was read may still be of use where nothing can be written any more; `h2` sees that
        // at its next write.
        let _ = wire.poll_out(cx);
        ended.map(drop)
    })
    .await;
    signals.over.set(true);
    if wire.stream().owes_an_end() {
        alarm.within(END_MAX, wire.stream().end()).await;
    }
}

const _: () = assert!(SILENCE_TICKS as u128 * TICK.as_millis() == 10_000);
