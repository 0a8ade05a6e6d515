//! Bytes both ways between two connections, unread: L4 listeners and WebSockets.
//!
//! Each direction starts with a small buffer, moves to a larger one when that is filled, and to a
//! pipe when that is filled, too. A direction that is quiet holds none of them. The end of one
//! direction is carried through and the other goes on; a reset ends both as a reset.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::net::{Alarm, BODY_BUFFER_BYTES, Buffer, Buffers, PIPE_BYTES, TUNNEL_BUFFER_BYTES};

use super::body::{self, Pace, Stop};
use super::error::ErrorKind;
use super::http::RELEASE_AFTER;
use super::local::Local;
use super::record::{self, Record};
use super::stream::Stream;
use super::tallies;

/// So many reads in a row that the next smaller buffer would have held bring that one back.
const SMALL_READS_MAX: u32 = 16;
/// A pipe that is filled less than this, this many times in a row, is given back.
const THIN_BYTES: usize = BODY_BUFFER_BYTES / 2;
const THIN_FILLS_MAX: u32 = 4;

/// Why a tunnel ended before both directions did.
enum Fault {
    /// The side that bytes come from broke.
    From,
    /// The side that bytes go to broke.
    To,
    /// Nothing moved for too long.
    Silence,
}

/// One direction.
struct Pump<'a> {
    from: &'a Stream,
    to: &'a Stream,
    /// Whether it leads to the client.
    is_down: bool,
    pace: Pace<'a>,
    record: &'a Record,
    local: &'a Local,
}

/// Moves bytes until both directions have ended, one side breaks, or nothing has moved for
/// `limit`. `early` is what `client` has sent already. `record` learns what came of it.
pub(super) async fn run(
    client: &Stream,
    target: &Stream,
    early: Buffer,
    alarm: &Alarm,
    limit: Duration,
    record: &Record,
    local: &Local,
) {
    let moved = Cell::new(alarm.now());
    let pace = |bytes| Pace { alarm, limit, moved: &moved, bytes };
    let (from, to) = (client, target);
    let up = Pump { from, to, is_down: false, pace: pace(&record.received), record, local };
    let (from, to) = (target, client);
    let down = Pump { from, to, is_down: true, pace: pace(&record.sent), record, local };
    let Err((pump, fault)) = both(&up, &down, early).await else { return };
    let (kind, other) = match (fault, pump.is_down) {
        (Fault::Silence, _) => return record.error.set(Some(silent(alarm))),
        (Fault::From, false) | (Fault::To, true) => (ErrorKind::ClientClosed, target),
        (Fault::From, true) | (Fault::To, false) => (ErrorKind::ConnectionTerminated, client),
    };
    record.error.set(Some(kind));
    other.reset_on_close();
}

/// Why nothing moves any more.
fn silent(alarm: &Alarm) -> ErrorKind {
    match alarm.is_cut() {
        true => ErrorKind::DeregistrationDelay,
        false => ErrorKind::ConnectionReadTimeout,
    }
}

/// Runs both directions until both have ended or one has failed.
async fn both<'p>(
    up: &'p Pump<'p>,
    down: &'p Pump<'p>,
    early: Buffer,
) -> Result<(), (&'p Pump<'p>, Fault)> {
    let mut going_up = pin!(up.run(early));
    let mut going_down = pin!(down.run(Buffer::default()));
    let (mut up_ended, mut down_ended) = (false, false);
    poll_fn(|cx| {
        if !up_ended && let Poll::Ready(result) = going_up.as_mut().poll(cx) {
            result.map_err(|fault| (up, fault))?;
            up_ended = true;
        }
        if !down_ended && let Poll::Ready(result) = going_down.as_mut().poll(cx) {
            result.map_err(|fault| (down, fault))?;
            down_ended = true;
        }
        if up_ended && down_ended { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// How large a buffer a direction reads into, as what came lately suggests: every read and write
/// more costs microseconds, whatever it moves.
#[derive(Default)]
struct Width {
    size: Size,
    /// Reads in a row for which the next smaller size is enough.
    small_reads: u32,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Size {
    #[default]
    Tunnel,
    Body,
    /// Where there is no pipe. Held by no direction that waits.
    Bulk,
}

/// Why a direction leaves the pipe.
enum Left {
    /// There is none to be had.
    NoPipe,
    /// Too little comes for it.
    Thin,
    /// The direction has ended.
    Ended,
}

impl Width {
    fn buffer(&self, buffers: &Buffers) -> Buffer {
        match self.size {
            Size::Tunnel => buffers.tunnel(),
            Size::Body => buffers.body(),
            Size::Bulk => buffers.bulk(),
        }
    }

    fn is_largest(&self) -> bool {
        self.size == Size::Bulk
    }

    /// Notes that a read brought `len` bytes into an empty buffer of `capacity`. Returns whether so
    /// much comes that a pipe is cheaper.
    fn note(&mut self, len: usize, capacity: usize) -> bool {
        let (smaller, smaller_bytes, larger) = match self.size {
            Size::Tunnel => (Size::Tunnel, 0, Size::Body),
            Size::Body => (Size::Tunnel, TUNNEL_BUFFER_BYTES, Size::Bulk),
            Size::Bulk => (Size::Body, BODY_BUFFER_BYTES, Size::Bulk),
        };
        if len >= capacity {
            self.small_reads = 0;
            return std::mem::replace(&mut self.size, larger) != Size::Tunnel;
        }
        self.small_reads = if len <= smaller_bytes { self.small_reads + 1 } else { 0 };
        if self.small_reads >= SMALL_READS_MAX {
            *self = Self { size: smaller, small_reads: 0 };
        }
        false
    }
}

impl Pump<'_> {
    async fn run(&self, early: Buffer) -> Result<(), Fault> {
        let mut width = Width::default();
        if !early.is_empty() {
            self.write(early).await?;
        }
        loop {
            let Some(buffer) = self.read(&width).await? else { return self.end().await };
            let overflows = width.note(buffer.len(), buffer.capacity());
            self.write(buffer).await?;
            if overflows {
                match self.splice().await? {
                    Left::NoPipe => {}
                    Left::Thin => width = Width { size: Size::Body, small_reads: 0 },
                    Left::Ended => return self.end().await,
                }
            }
        }
    }

    /// Passes the end on.
    async fn end(&self) -> Result<(), Fault> {
        self.pace.wait(pin!(self.to.end())).await.ok_or(Fault::Silence)
    }

    /// Reads some bytes; `None` at the end. Gives the buffer up while nothing comes.
    async fn read(&self, width: &Width) -> Result<Option<Buffer>, Fault> {
        loop {
            if width.is_largest() || !self.local.engine.reads_can_be_given_up() {
                self.readable().await?;
            }
            let buffer = width.buffer(&self.local.buffers);
            match self.pace.alarm.within(RELEASE_AFTER, self.from.read(buffer)).await {
                Some((Ok(1..), buffer)) => {
                    self.pace.note();
                    self.came();
                    return Ok(Some(buffer));
                }
                Some((Ok(0), buffer)) => {
                    self.local.buffers.put(buffer);
                    return Ok(None);
                }
                Some((Err(_), _)) => return Err(Fault::From),
                None => self.readable().await?,
            }
        }
    }

    /// Notes when the first bytes came, those of the target.
    fn came(&self) {
        if self.is_down {
            self.record.mark_first(|times| &times.answered);
        }
    }

    /// Counts the bytes that were passed on, and notes when the first were.
    fn went(&self) {
        tallies::bytes(self.record, self.local);
        match self.is_down {
            true => self.record.mark_first(|times| &times.started),
            false => self.record.mark_first(|times| &times.sent),
        }
    }

    /// Waits without a buffer until there is something to read.
    async fn readable(&self) -> Result<(), Fault> {
        match self.pace.wait(pin!(self.from.readable())).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(Fault::From),
            None => Err(Fault::Silence),
        }
    }

    async fn write(&self, buffer: Buffer) -> Result<(), Fault> {
        match body::write(self.to, buffer, &self.pace).await {
            Ok(buffer) => {
                self.local.buffers.put(buffer);
                self.went();
                Ok(())
            }
            Err(Stop::ToTimeout) => Err(Fault::Silence),
            Err(_) => Err(Fault::To),
        }
    }

    /// Moves bytes through a pipe while they come thick.
    async fn splice(&self) -> Result<Left, Fault> {
        let (Some(from), Some(to)) = (self.from.as_plain(), self.to.as_plain()) else {
            return Ok(Left::NoPipe);
        };
        let Some(pipe) = self.local.pipes.take() else { return Ok(Left::NoPipe) };
        let mut thin_fills = 0;
        while thin_fills < THIN_FILLS_MAX {
            let filled = self.pace.alarm.within(RELEASE_AFTER, pipe.fill(from, PIPE_BYTES as u64));
            let count = match filled.await {
                // Quiet: the pipe is empty and others may need it.
                None => break,
                Some(Ok(0)) => {
                    self.local.pipes.put(pipe);
                    return Ok(Left::Ended);
                }
                Some(Ok(count)) => count,
                Some(Err(_)) => return Err(Fault::From),
            };
            thin_fills = if count < THIN_BYTES { thin_fills + 1 } else { 0 };
            let emptied = pin!(pipe.empty(to, count, || self.pace.note()));
            match self.pace.wait_write(|| to.untaken(), emptied).await {
                None => return Err(Fault::Silence),
                Some(Err(_)) => return Err(Fault::To),
                Some(Ok(())) => {
                    record::add(self.pace.bytes, count);
                    self.went();
                }
            }
        }
        self.local.pipes.put(pipe);
        Ok(Left::Thin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of the buffers that reads of these lengths meet, in KiB, and whether the last
    /// one overflowed.
    fn sizes(lens: &[usize]) -> (Vec<usize>, bool) {
        let (buffers, mut width, mut overflows) = (Buffers::default(), Width::default(), false);
        let sizes = lens.iter().map(|&len| {
            let capacity = width.buffer(&buffers).capacity();
            overflows = width.note(len.min(capacity), capacity);
            capacity / 1024
        });
        (sizes.collect(), overflows)
    }

    #[test]
    fn responses_of_a_size_are_soon_read_whole() {
        let (kib16, rest) = (16_500, 120);
        let (sizes, overflows) = sizes(&[kib16, rest, kib16, kib16, kib16]);
        assert_eq!(sizes, [16, 64, 64, 64, 64]);
        assert!(!overflows);
    }

    #[test]
    fn what_fills_a_buffer_for_bodies_goes_through_a_pipe_or_else_into_larger_ones() {
        assert_eq!(sizes(&[1 << 20]), (vec![16], false));
        assert_eq!(sizes(&[1 << 20; 2]), (vec![16, 64], true));
        assert_eq!(sizes(&[1 << 20; 4]), (vec![16, 64, 256, 256], true));
    }

    #[test]
    fn small_reads_bring_the_small_buffer_back() {
        let mut lens = vec![1 << 20; 2];
        lens.resize(2 + 2 * SMALL_READS_MAX as usize + 1, 100);
        let (sizes, _) = sizes(&lens);
        let count = |kib| sizes.iter().filter(|&&size| size == kib).count();
        assert_eq!((count(256), count(64), count(16)), (16, 17, 2));
    }
}
