//! Bytes both ways between two connections, unread: L4 listeners and WebSockets.
//!
//! Each direction starts with a small buffer, moves to a larger one when that is filled, and to a
//! pipe when the larger one is filled several times in a row. A direction that is quiet holds
//! none of them. The end of one direction is carried through and the other goes on; a reset ends
//! both as a reset.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::net::{Alarm, BODY_BUFFER_BYTES, Buffer, PIPE_BYTES, Socket, TUNNEL_BUFFER_BYTES};

use super::body::{self, Pace, Stop};
use super::error::ErrorKind;
use super::http::RELEASE_AFTER;
use super::local::Local;
use super::record::{self, Record};
use super::tallies;

/// Reads that fill the largest buffer, in a row, after which a pipe is cheaper.
const FULL_READS_MAX: u32 = 3;
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
    from: &'a Socket,
    to: &'a Socket,
    /// Whether it leads to the client.
    is_down: bool,
    pace: Pace<'a>,
    record: &'a Record,
    local: &'a Local,
}

/// Moves bytes until both directions have ended, one side breaks, or nothing has moved for
/// `limit`. `early` is what `client` has sent already. `record` learns what came of it.
pub(super) async fn run(
    client: &Socket,
    target: &Socket,
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

impl Pump<'_> {
    async fn run(&self, early: Buffer) -> Result<(), Fault> {
        let mut full_reads = 0;
        if !early.is_empty() {
            self.write(early).await?;
        }
        loop {
            let buffer = match full_reads {
                0 => self.local.buffers.tunnel(),
                _ => self.local.buffers.body(),
            };
            let room = buffer.room();
            let Some(buffer) = self.read(buffer).await? else {
                self.to.end();
                return Ok(());
            };
            full_reads = match buffer.len() {
                len if len == room => full_reads + 1,
                len if len < TUNNEL_BUFFER_BYTES / 2 => 0,
                _ => full_reads.min(1),
            };
            self.write(buffer).await?;
            if full_reads > FULL_READS_MAX {
                full_reads = 0;
                if self.splice().await? {
                    self.to.end();
                    return Ok(());
                }
            }
        }
    }

    /// Reads some bytes; `None` at the end. Gives the buffer up while nothing comes.
    async fn read(&self, buffer: Buffer) -> Result<Option<Buffer>, Fault> {
        let mut spare = Some(buffer);
        loop {
            if !self.local.engine.reads_can_be_given_up() {
                self.readable().await?;
            }
            let buffer = spare.take().unwrap_or_else(|| self.local.buffers.tunnel());
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

    /// Moves bytes through a pipe while they come thick; `true` at the end of the direction.
    async fn splice(&self) -> Result<bool, Fault> {
        let Some(pipe) = self.local.pipes.take() else { return Ok(false) };
        let mut thin_fills = 0;
        while thin_fills < THIN_FILLS_MAX {
            let filled =
                self.pace.alarm.within(RELEASE_AFTER, pipe.fill(self.from, PIPE_BYTES as u64));
            let count = match filled.await {
                // Quiet: the pipe is empty and others may need it.
                None => break,
                Some(Ok(0)) => {
                    self.local.pipes.put(pipe);
                    return Ok(true);
                }
                Some(Ok(count)) => count,
                Some(Err(_)) => return Err(Fault::From),
            };
            thin_fills = if count < THIN_BYTES { thin_fills + 1 } else { 0 };
            let emptied = pin!(pipe.empty(self.to, count, || self.pace.note()));
            match self.pace.wait_write(self.to, emptied).await {
                None => return Err(Fault::Silence),
                Some(Err(_)) => return Err(Fault::To),
                Some(Ok(())) => {
                    record::add(self.pace.bytes, count);
                    self.went();
                }
            }
        }
        self.local.pipes.put(pipe);
        Ok(false)
    }
}
