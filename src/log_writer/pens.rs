//! A worker's half: lines gathered per writer, handed over in batches.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Poll, Waker};

use super::Writer;
use crate::net::{Bell, Doorbell};

/// Bytes from which on a batch is full; it holds at most one line more.
pub const BATCH_BYTES: usize = 64 * 1024;
/// Most batches that a worker has handed to one writer and not got back.
pub const BATCHES_MAX: usize = 16;
/// Batches up to which a batch that is not full is handed over: a writer that is behind gets full
/// ones only.
const HURRIED_MAX: usize = 2;
/// Empty batches that a worker keeps per writer.
const SPARE_MAX: usize = 2;
/// Waits that end when a batch comes back: about as many as there is room for lines.
const WOKEN_MAX: usize = BATCH_BYTES / 128;
/// Flushes after which a pen without a line is put away, and between two warnings.
const QUIET_FLUSHES: u32 = 100;

/// Lines on their way to a writer.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
    pen: u64,
    returns: Arc<Returns>,
}

/// The way back of empty batches.
#[derive(Debug)]
struct Returns {
    batches: Sender<(u64, Vec<u8>)>,
    /// Whether the worker is to be woken.
    waits: AtomicBool,
    bell: Bell,
}

impl Batch {
    /// Gives the memory back to its worker.
    pub(super) fn give_back(self) {
        let Self { mut bytes, pen, returns, .. } = self;
        bytes.clear();
        // A worker that has ended needs none.
        let _ = returns.batches.send((pen, bytes));
        if returns.waits.swap(false, Ordering::SeqCst) {
            returns.bell.ring();
        }
    }
}

/// The lines that a worker has gathered, per writer.
pub struct Pens {
    pens: RefCell<Vec<Pen>>,
    returns: Arc<Returns>,
    returned: Receiver<(u64, Vec<u8>)>,
}

struct Pen {
    number: u64,
    writer: Arc<Writer>,
    bytes: Vec<u8>,
    lines: u64,
    /// Batches that the writer has.
    out: usize,
    spare: Vec<Vec<u8>>,
    /// Who waits for room; at most one per connection.
    waiting: VecDeque<Waker>,
    /// Lines dropped since that was last said.
    dropped: u64,
    /// Flushes since the last line, and since the last warning.
    idle: u32,
    quiet: u32,
}

impl Pens {
    /// The pens of a new worker, and the bell that announces room after [`Pens::room`].
    ///
    /// # Errors
    /// When the process is out of files.
    pub fn new() -> io::Result<(Self, Doorbell)> {
        let (bell, doorbell) = Bell::pair()?;
        let (batches, returned) = channel();
        let returns = Arc::new(Returns { batches, waits: AtomicBool::new(false), bell });
        Ok((Self { pens: RefCell::default(), returns, returned }, doorbell))
    }

    /// Whether a line for `writer` has room.
    #[must_use]
    pub fn has_room(&self, writer: &Arc<Writer>) -> bool {
        self.with(writer, Pen::has_room) || {
            self.take_back();
            self.with(writer, Pen::has_room)
        }
    }

    /// Waits for room for a line for `writer`. Dropping it waits no longer.
    pub async fn room(&self, writer: &Arc<Writer>) {
        poll_fn(|cx| {
            // First the wish, then the look: a batch that comes back in between rings.
            self.returns.waits.store(true, Ordering::SeqCst);
            if self.has_room(writer) {
                return Poll::Ready(());
            }
            self.with(writer, |pen| pen.waiting.push_back(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Takes a line that `write` appends. The batch is handed over once it is full.
    pub fn write(&self, writer: &Arc<Writer>, write: impl FnOnce(&mut Vec<u8>)) {
        self.with(writer, |pen| {
            if pen.bytes.capacity() == 0 {
                pen.bytes = pen.spare.pop().unwrap_or_default();
                // Lines behind the last that fits are rarely longer than this.
                pen.bytes.reserve(BATCH_BYTES + 4 * 1024);
            }
            write(&mut pen.bytes);
            pen.lines += 1;
            pen.idle = 0;
            pen.hand_over(BATCHES_MAX, BATCH_BYTES, &self.returns);
        });
    }

    /// Notes that a line for `writer` was dropped.
    pub fn drop_line(&self, writer: &Arc<Writer>) {
        self.with(writer, |pen| pen.dropped += 1);
    }

    /// Hands over what has been gathered, unless the writer is behind; says how many lines were
    /// dropped. To be called a few times a second.
    pub fn flush(&self) {
        self.take_back();
        let mut pens = self.pens.borrow_mut();
        for pen in pens.iter_mut() {
            pen.hand_over(HURRIED_MAX, 1, &self.returns);
            pen.wake(usize::MAX);
            pen.report();
        }
        // A pen that is not used holds its writer open.
        pens.retain(|pen| pen.out > 0 || pen.lines > 0 || pen.idle < QUIET_FLUSHES);
    }

    /// Hands everything over, whatever the writers have already: the worker ends.
    pub fn close(&self) {
        for pen in self.pens.borrow_mut().iter_mut() {
            pen.hand_over(usize::MAX, 1, &self.returns);
            pen.quiet = QUIET_FLUSHES;
            pen.report();
        }
    }

    /// Takes the batches that writers have given back, and wakes who waits for room.
    pub fn take_back(&self) {
        let waits = self.pens.borrow().iter().any(|pen| !pen.waiting.is_empty());
        if waits {
            // Not all of them may find room: the next batch rings again.
            self.returns.waits.store(true, Ordering::SeqCst);
        }
        for (number, bytes) in self.returned.try_iter() {
            let mut pens = self.pens.borrow_mut();
            let Some(pen) = pens.iter_mut().find(|pen| pen.number == number) else { continue };
            pen.out = pen.out.saturating_sub(1);
            if pen.spare.len() < SPARE_MAX && bytes.capacity() <= 2 * BATCH_BYTES {
                pen.spare.push(bytes);
            }
            pen.hand_over(BATCHES_MAX, BATCH_BYTES, &self.returns);
            pen.wake(WOKEN_MAX);
        }
    }

    fn with<R>(&self, writer: &Arc<Writer>, use_it: impl FnOnce(&mut Pen) -> R) -> R {
        let mut pens = self.pens.borrow_mut();
        let known = pens.iter().position(|pen| Arc::ptr_eq(&pen.writer, writer));
        let at = known.unwrap_or_else(|| {
            let number = pens.last().map_or(0, |pen| pen.number + 1);
            pens.push(Pen::new(number, writer.clone()));
            pens.len() - 1
        });
        use_it(&mut pens[at])
    }
}

impl Pen {
    fn new(number: u64, writer: Arc<Writer>) -> Self {
        Self {
            number,
            writer,
            bytes: Vec::new(),
            lines: 0,
            out: 0,
            spare: Vec::new(),
            waiting: VecDeque::new(),
            dropped: 0,
            idle: 0,
            // The first drop is said at once.
            quiet: QUIET_FLUSHES,
        }
    }

    fn has_room(&mut self) -> bool {
        self.bytes.len() < BATCH_BYTES
    }

    /// Ends up to `count` waits if there is room. Waking only queues the tasks.
    fn wake(&mut self, count: usize) {
        if self.has_room() {
            let count = count.min(self.waiting.len());
            self.waiting.drain(..count).for_each(Waker::wake);
        }
    }

    /// Hands the batch over if it has `bytes_min` bytes and the writer has fewer than `out_max`.
    fn hand_over(&mut self, out_max: usize, bytes_min: usize, returns: &Arc<Returns>) {
        if self.bytes.len() < bytes_min || self.out >= out_max {
            return;
        }
        self.out += 1;
        self.writer.hand_over(Batch {
            bytes: std::mem::take(&mut self.bytes),
            lines: std::mem::take(&mut self.lines),
            pen: self.number,
            returns: returns.clone(),
        });
    }

    /// Says how many lines were dropped, at most every few seconds. Gives memory back that was not
    /// needed.
    fn report(&mut self) {
        self.idle = self.idle.saturating_add(1);
        self.quiet = self.quiet.saturating_add(1);
        if self.idle > 1 {
            self.spare.clear();
        }
        if self.dropped > 0 && self.quiet >= QUIET_FLUSHES {
            let lines = std::mem::take(&mut self.dropped);
            self.quiet = 0;
            tracing::warn!(place = %self.writer.sink(), lines,
                "lines of the access log were dropped: the writer does not keep up");
        }
    }
}
