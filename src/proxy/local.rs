//! What a worker lends to its connections: buffers, alarms, the snapshot, the idle pools.
//!
//! Everything here belongs to one thread. No borrow of it lives across an `.await`.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use crate::log_writer::Pens;
use crate::metrics::Counters;
use crate::net::ring::Engine;
use crate::net::{Alarms, Buffer, Buffers, Pipes};
use crate::snapshot::{GroupId, ListenerId, Snapshot};

use super::handshake::Handshakes;
use super::http::Scratch;
use super::lines::Lines;
use super::pool::{Pools, Share};
use super::respond::DateLine;
use super::spans::Spans;
use super::tallies::Tallies;

/// Most scratch areas kept for later; one is in use per exchange in flight.
const SCRATCH_KEPT_MAX: usize = 1024;

/// So many responses of a group in a row have to fit a small buffer before the next is read into
/// one. A response that does not fit costs a write more.
const SMALL_RESPONSES_MIN: u8 = 8;

/// Ticks between two warnings that connections cannot be accepted.
const ACCEPT_QUIET_TICKS: u32 = 100;

/// One worker's own things.
pub struct Local {
    /// Number of the worker.
    pub(super) index: usize,
    /// Time limits and the coarse clock.
    pub alarms: Alarms,
    /// Buffers.
    pub buffers: Buffers,
    /// Pipes for splicing.
    pub pipes: Pipes,
    /// Unused connections to targets.
    pub pools: Pools,
    /// Connections to targets that carry many requests each.
    pub lines: Lines,
    /// Lines of access logs on their way.
    pub pens: Pens,
    /// What has happened.
    pub counters: Arc<Counters>,
    /// What the worker runs on.
    pub engine: Engine,
    /// TLS handshakes under way.
    pub(super) handshakes: Handshakes,
    /// The Date field of our own responses.
    pub(super) date: DateLine,
    snapshot: RefCell<Rc<Held>>,
    scratch: RefCell<Vec<Scratch>>,
    /// Fewest scratch areas kept since the last trim: that many were not needed.
    scratch_spare: Cell<usize>,
    random: RefCell<fastrand::Rng>,
    /// Tick before which no further warning about accepting is logged.
    accept_quiet_until: Cell<u32>,
    /// Where its counts of listeners, groups and targets go.
    pub(super) tallies: RefCell<Tallies>,
    /// Spans since the last tick.
    pub(super) spans: Spans,
    /// By group: how many responses in a row were small, at most [`SMALL_RESPONSES_MIN`].
    small_responses: RefCell<Vec<u8>>,
}

/// A worker's own hold on a snapshot: cloned per exchange without touching the count that workers
/// share.
pub struct Held(Arc<Snapshot>);

impl Deref for Held {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

impl Local {
    /// The things of the new worker that has this `share`, on `engine`, which acts on `snapshot`.
    #[must_use]
    pub fn new(
        engine: Engine,
        snapshot: Arc<Snapshot>,
        counters: Arc<Counters>,
        pens: Pens,
        share: Share,
    ) -> Self {
        let index = share.worker;
        let tallies = RefCell::new(Tallies::new(index, &snapshot));
        Self {
            index,
            alarms: Alarms::new(),
            buffers: Buffers::default(),
            pipes: Pipes::default(),
            pools: Pools::new(share),
            lines: Lines::default(),
            pens,
            counters,
            engine,
            handshakes: Handshakes::default(),
            date: DateLine::default(),
            snapshot: RefCell::new(Rc::new(Held(snapshot))),
            scratch: RefCell::default(),
            scratch_spare: Cell::new(0),
            random: RefCell::new(fastrand::Rng::new()),
            accept_quiet_until: Cell::new(0),
            tallies,
            spans: Spans::default(),
            small_responses: RefCell::default(),
        }
    }

    /// The picture to act on; taking it touches no memory that another worker writes.
    #[must_use]
    pub fn snapshot(&self) -> Rc<Held> {
        self.snapshot.borrow().clone()
    }

    /// Acts on `snapshot` from the next exchange on, and closes the pooled connections of targets
    /// that are gone.
    pub fn adopt(&self, snapshot: Arc<Snapshot>) {
        self.pools.retain_targets_of(&snapshot);
        self.lines.retain_targets_of(&snapshot);
        self.tallies.borrow_mut().adopt(&snapshot);
        *self.snapshot.borrow_mut() = Rc::new(Held(snapshot));
    }

    /// A random number; not for secrets.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// Random numbers; not for secrets.
    pub(super) fn randoms<const N: usize>(&self) -> [u64; N] {
        let mut random = self.random.borrow_mut();
        std::array::from_fn(|_| random.u64(..))
    }

    /// An empty buffer for a response of `group`, of the size that its last ones needed: large ones
    /// that wait for small responses walk through memory that is not in cache.
    pub(super) fn response_buffer(&self, group: GroupId) -> Buffer {
        match self.small_responses.borrow().get(group.slot as usize) {
            Some(&SMALL_RESPONSES_MIN) => self.buffers.head(),
            _ => self.buffers.body(),
        }
    }

    /// Notes whether a response of `group` was `small` enough for a head buffer.
    pub(super) fn note_response(&self, group: GroupId, small: bool) {
        let mut known = self.small_responses.borrow_mut();
        let group = group.slot as usize;
        if known.len() <= group {
            known.resize(group + 1, 0);
        }
        known[group] = match small {
            true => (known[group] + 1).min(SMALL_RESPONSES_MIN),
            false => 0,
        };
    }

    /// Counts a client connection of `listener`; whoever accepted it has counted it for the worker.
    pub(super) fn enters(&self, listener: ListenerId) {
        if let Some(counters) = self.tallies.borrow().listener(listener) {
            counters.accepted.add(1);
        }
    }

    /// A client connection of `listener` has ended.
    pub(super) fn leaves(&self, listener: ListenerId) {
        if let Some(counters) = self.tallies.borrow().listener(listener) {
            counters.closed.add(1);
        }
        self.counters.open.leave();
    }

    /// Client connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.counters.open.count()
    }

    /// Whether a failure to accept may be logged now; if so, not again for a while.
    #[must_use]
    pub fn may_warn_of_accept(&self) -> bool {
        let now = self.alarms.now();
        let may = now >= self.accept_quiet_until.get();
        if may {
            self.accept_quiet_until.set(now + ACCEPT_QUIET_TICKS);
        }
        may
    }

    pub(super) fn take_scratch(&self) -> Scratch {
        let mut kept = self.scratch.borrow_mut();
        let scratch = kept.pop();
        self.scratch_spare.set(self.scratch_spare.get().min(kept.len()));
        scratch.unwrap_or_default()
    }

    /// Frees what connections have not needed since the last call.
    pub fn trim(&self) {
        self.buffers.trim();
        let mut kept = self.scratch.borrow_mut();
        kept.drain(..self.scratch_spare.get());
        self.scratch_spare.set(kept.len());
    }

    pub(super) fn put_scratch(&self, scratch: Scratch) {
        let mut kept = self.scratch.borrow_mut();
        if kept.len() < SCRATCH_KEPT_MAX {
            kept.push(scratch);
        }
    }
}
