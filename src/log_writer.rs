//! Moves lines of access logs from workers to files, to the journal and to sockets, off the path of
//! requests.
//!
//! Each place has one [`Writer`]: a thread with plain blocking I/O that does nothing else, so that
//! a disk that stalls holds up neither traffic nor another log. Each worker has [`Pens`]: it
//! gathers lines into batches and hands a batch over when it is full or a moment old; the writer
//! gives the memory back. A worker has at most [`BATCHES_MAX`] batches per writer, so memory is
//! bounded, and what happens then is the operator's choice: lines are dropped and counted, or
//! exchanges wait.
//!
//! What cannot be written is tried again until it can: a full disk costs no line that a batch
//! holds, and no line is written in part.

mod pens;
mod place;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::model::LogSink;

pub use pens::{BATCH_BYTES, BATCHES_MAX, Pens};

use pens::Batch;
use place::Place;

/// Pause before what could not be written is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How often it is said on the log that lines cannot be written.
const COMPLAINT: Duration = Duration::from_secs(10);

/// A place that lines go to. Its thread ends once nobody holds this any more and everything is
/// written.
#[derive(Debug)]
pub struct Writer {
    sink: LogSink,
    orders: Sender<Order>,
    shared: Arc<Shared>,
    thread: Thread,
}

/// What a writer's thread shares with the others.
#[derive(Debug, Default)]
struct Shared {
    /// The file is to be opened anew.
    reopens: AtomicBool,
    /// The process ends: what cannot be written is given up.
    gives_up: AtomicBool,
    /// Everything that was handed over before the end is written or given up.
    is_closed: AtomicBool,
    written: AtomicU64,
    lost: AtomicU64,
}

/// What a writer is told. The queue is bounded by its use: each worker has at most [`BATCHES_MAX`]
/// batches.
#[derive(Debug)]
enum Order {
    Write(Batch),
    /// Look at what is shared.
    Look,
    Close,
}

/// Lines that a writer has been given so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lines {
    /// Written.
    pub written: u64,
    /// Given up: too long for a datagram, or impossible to write when the process ended.
    pub lost: u64,
}

impl Writer {
    /// Opens the place and starts its thread.
    ///
    /// # Errors
    /// When the file cannot be opened, or the thread not be made. A socket that nobody listens at
    /// is no error: somebody may yet.
    pub fn open(sink: &LogSink) -> io::Result<Arc<Self>> {
        let place = Place::open(sink)?;
        let (orders, received) = channel();
        let shared = Arc::<Shared>::default();
        let desk = Desk { place, shared: shared.clone(), complained: None };
        let thread =
            thread::Builder::new().name("access-log".into()).spawn(|| desk.run(received))?;
        let thread = thread.thread().clone();
        Ok(Arc::new(Self { sink: sink.clone(), orders, shared, thread }))
    }

    /// Where its lines go.
    #[must_use]
    pub fn sink(&self) -> &LogSink {
        &self.sink
    }

    /// Opens the file anew, after it was moved away. Returns before that is done; no line is lost.
    pub fn reopen(&self) {
        self.shared.reopens.store(true, Ordering::Release);
        // A thread that has ended has nothing to open.
        let _ = self.orders.send(Order::Look);
        self.thread.unpark();
    }

    /// Writes what has been handed over and ends the thread; [`Writer::is_closed`] says when.
    pub fn close(&self) {
        let _ = self.orders.send(Order::Close);
    }

    /// Whether the thread has ended after [`Writer::close`].
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    /// Gives up what cannot be written at once.
    pub fn give_up(&self) {
        self.shared.gives_up.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn lines(&self) -> Lines {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Lines { written: count(&self.shared.written), lost: count(&self.shared.lost) }
    }

    fn hand_over(&self, batch: Batch) {
        // Only a thread that was closed has ended; then the process ends, too.
        let _ = self.orders.send(Order::Write(batch));
    }
}

/// The thread's side.
struct Desk {
    place: Place,
    shared: Arc<Shared>,
    /// When it was last said that lines cannot be written; `None`: they can.
    complained: Option<Instant>,
}

impl Desk {
    fn run(mut self, orders: Receiver<Order>) {
        // The end of the queue: nobody is left who could send a line.
        while let Ok(order) = orders.recv() {
            self.reopen();
            match order {
                Order::Write(batch) => {
                    let lost = self.write(&batch.bytes);
                    let count = |counter: &AtomicU64, lines| {
                        counter.fetch_add(lines, Ordering::Relaxed);
                    };
                    count(&self.shared.written, batch.lines.saturating_sub(lost));
                    count(&self.shared.lost, lost);
                    batch.give_back();
                }
                Order::Look => {}
                Order::Close => break,
            }
        }
        self.shared.is_closed.store(true, Ordering::Release);
    }

    /// Writes whole lines, however long it takes. Returns how many had to be given up.
    fn write(&mut self, bytes: &[u8]) -> u64 {
        let mut lost = 0;
        let mut at = 0;
        while at < bytes.len() {
            match self.place.write(&bytes[at..]) {
                Ok(count @ 1..) => {
                    at += count;
                    self.recovered();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if Place::never_takes(&error) => {
                    self.complain(&error, "a line is too long for a datagram and was dropped");
                    at = line_end(bytes, at);
                    lost += 1;
                }
                result => {
                    let error = result.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    self.complain(&error, "cannot write the access log; trying again");
                    if self.shared.gives_up.load(Ordering::Acquire) {
                        return lost + lines(&bytes[at..]);
                    }
                    thread::park_timeout(RETRY);
                    if self.reopen() {
                        // A file has whole lines only.
                        at = line_start(bytes, at);
                    }
                }
            }
        }
        self.place.rotate();
        lost
    }

    /// Opens the file anew if that was asked for; whether it did.
    fn reopen(&mut self) -> bool {
        if !self.shared.reopens.swap(false, Ordering::AcqRel) {
            return false;
        }
        match self.place.reopen() {
            Ok(()) => true,
            Err(error) => {
                let place = self.place.name();
                tracing::error!(%place, %error, "cannot open the access log anew; keeping the old");
                false
            }
        }
    }

    fn complain(&mut self, error: &io::Error, what: &str) {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAINT) {
            self.complained = Some(Instant::now());
            tracing::error!(place = %self.place.name(), %error, "{what}");
        }
    }

    fn recovered(&mut self) {
        if self.complained.take().is_some() {
            tracing::info!(place = %self.place.name(), "the access log is written again");
        }
    }
}

/// Number of lines that end in `bytes`.
fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// One past the end of the line that `at` is in.
fn line_end(bytes: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end + 1)
}

/// The start of the line that `at` is in.
fn line_start(bytes: &[u8], at: usize) -> usize {
    memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |end| end + 1)
}
