//! Bodies on their way from one side to the other, in pieces, with back-pressure: nothing is read
//! before what was read last has been written.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::time::Duration;

use crate::http1::chunked::{self, Decoder, Keep};
use crate::message::BodyLength;
use crate::net::{Alarm, BODY_BUFFER_BYTES, Buffer, Socket, TICK};

use super::headers::Shown;
use super::local::Local;
use super::record;
use super::stream::Stream;

/// From this many bytes on, the rest of a body of known length goes through a pipe.
const SPLICE_BYTES_MIN: u64 = 128 * 1024;
/// After this many reads that fill the buffer, a larger one pays.
const FULL_READS_MAX: u32 = 2;

/// What is still to come of a body, and the form in which it is sent on.
pub(super) enum Body {
    /// This many bytes, as they are.
    Known(u64),
    /// A chunked body, checked and written in canonical form, or as data alone.
    Chunked(Decoder),
    /// Until the end, as it is.
    UntilClose,
    /// Until the end, as chunks of our own; `begun` once there was one.
    Rechunked {
        /// Whether a chunk has been written.
        begun: bool,
    },
    /// Nothing.
    Done,
}

/// Why a body stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The side that it comes from ended too early or broke.
    From,
    /// The side that it comes from broke the rules of its framing.
    Framing,
    /// The side that it comes from went silent.
    FromTimeout,
    /// The side that it goes to broke.
    To,
    /// The side that it goes to stopped reading.
    ToTimeout,
}

/// The limits of a relay, and where it notes that something moved.
#[derive(Clone, Copy)]
pub(super) struct Pace<'a> {
    pub(super) alarm: &'a Alarm,
    /// Longest time in which no byte moves in either direction.
    pub(super) limit: Duration,
    /// Tick of the last movement.
    pub(super) moved: &'a Cell<u32>,
    /// Bytes that have been written.
    pub(super) bytes: &'a Cell<u64>,
}

impl Pace<'_> {
    /// Waits for `future` while bytes move, be it in the other direction; `None` after silence.
    pub(super) async fn wait<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        loop {
            let silence = TICK.saturating_mul(self.alarm.now().saturating_sub(self.moved.get()));
            let left = self.limit.saturating_sub(silence);
            if left.is_zero() || self.alarm.is_cut() {
                return None;
            }
            if let Some(output) = self.alarm.within(left, future.as_mut()).await {
                return Some(output);
            }
        }
    }

    /// As [`Pace::wait`], for a write to a peer that has not taken `left_bytes`. Bytes that a slow
    /// reader takes out of what the kernel holds for it are bytes that move, too, long before there
    /// is room to write more.
    pub(super) async fn wait_write<F: Future>(
        &self,
        left_bytes: impl Fn() -> usize,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        let mut untaken = 0;
        loop {
            let silence = TICK.saturating_mul(self.alarm.now().saturating_sub(self.moved.get()));
            let left = self.limit.saturating_sub(silence);
            if left.is_zero() || self.alarm.is_cut() {
                return None;
            }
            // Two looks, and what they tell, must come before the other direction gives up.
            let look = left.min((self.limit / 4).max(TICK));
            if let Some(output) = self.alarm.within(look, future.as_mut()).await {
                return Some(output);
            }
            let before = std::mem::replace(&mut untaken, left_bytes());
            if untaken < before {
                self.note();
            }
        }
    }

    /// Notes that bytes have moved.
    pub(super) fn note(&self) {
        self.moved.set(self.alarm.now());
    }
}

impl Body {
    /// The body of a request, on its way to a target.
    pub(super) fn of_request(length: BodyLength) -> Self {
        match length {
            BodyLength::None | BodyLength::UntilClose => Self::Done,
            BodyLength::Known(bytes) => Self::Known(bytes),
            BodyLength::Chunked => Self::Chunked(Decoder::new(Keep::Framing)),
        }
    }

    /// The body of a response, on its way to a client that is shown its end as `shown`.
    pub(super) fn of_response(length: BodyLength, shown: Shown) -> Self {
        match (length, shown) {
            (BodyLength::None, _) => Self::Done,
            (BodyLength::Known(bytes), _) => Self::Known(bytes),
            (BodyLength::Chunked, Shown::Close) => Self::Chunked(Decoder::new(Keep::DataOnly)),
            (BodyLength::Chunked, _) => Self::Chunked(Decoder::new(Keep::Framing)),
            (BodyLength::UntilClose, Shown::Chunked) => Self::Rechunked { begun: false },
            (BodyLength::UntilClose, _) => Self::UntilClose,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Brings the bytes in `buffer`, which came next, into the form in which they are sent on.
    /// What belongs to the next message goes to `rest`.
    pub(super) fn take(&mut self, buffer: &mut Buffer, rest: &mut Vec<u8>) -> Result<(), Stop> {
        match self {
            Self::Done => split_off(buffer, 0, 0, rest),
            Self::Known(left) => {
                let bytes = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                split_off(buffer, bytes, bytes, rest);
                *left -= bytes as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
            }
            Self::Chunked(decoder) => {
                let progress = decoder.decode(buffer.filled_mut()).map_err(|_| Stop::Framing)?;
                split_off(buffer, progress.kept, progress.consumed, rest);
                if progress.done {
                    buffer.tail().extend_from_slice(decoder.tail());
                    *self = Self::Done;
                }
            }
            Self::UntilClose => {}
            Self::Rechunked { begun } => {
                if !buffer.is_empty() {
                    chunk(buffer, std::mem::replace(begun, true));
                }
            }
        }
        Ok(())
    }

    /// The side that the body comes from has ended. Leaves in `buffer` what is still to be sent.
    fn end(&mut self, buffer: &mut Buffer) -> Result<(), Stop> {
        match self {
            Self::Known(_) | Self::Chunked(_) => return Err(Stop::From),
            Self::Rechunked { begun } => {
                if *begun {
                    buffer.tail().extend_from_slice(chunked::CRLF);
                }
                buffer.tail().extend_from_slice(chunked::LAST_CHUNK);
            }
            Self::UntilClose | Self::Done => {}
        }
        *self = Self::Done;
        Ok(())
    }
}

/// Keeps the first `kept` bytes of `buffer`, moves those from `consumed` to `rest`.
fn split_off(buffer: &mut Buffer, kept: usize, consumed: usize, rest: &mut Vec<u8>) {
    rest.extend_from_slice(&buffer.filled()[consumed..]);
    buffer.truncate(kept);
}

/// Puts the chunk-size line in front of the data, and in front of that the end of the chunk
/// before: so a chunk needs no byte behind its data and the buffer never grows.
fn chunk(buffer: &mut Buffer, begun: bool) {
    let mut size = [0; chunked::PREFIX_BYTES];
    let mut line = Vec::with_capacity(chunked::PREFIX_BYTES + 2);
    if begun {
        line.extend_from_slice(chunked::CRLF);
    }
    line.extend_from_slice(chunked::prefix(buffer.len(), &mut size));
    let fits = buffer.prepend(&line);
    debug_assert!(fits, "the headroom holds a chunk-size line");
}

/// Relays what is left of `body`. `buffer` is empty and comes back empty; `rest` takes what
/// belongs to the next message.
pub(super) async fn relay(
    from: &Stream,
    to: &Stream,
    body: &mut Body,
    mut buffer: Buffer,
    rest: &mut Vec<u8>,
    pace: Pace<'_>,
    local: &Local,
) -> Result<Buffer, Stop> {
    let mut full_reads = 0;
    while !body.is_done() {
        if let Body::Known(left) = body
            && *left >= SPLICE_BYTES_MIN
            && let (Some(from), Some(to)) = (from.as_plain(), to.as_plain())
            && splice_rest(from, to, left, pace, local).await?
        {
            *body = Body::Done;
            break;
        }
        buffer.clear();
        let room = buffer.room();
        let read = pace.wait(pin!(from.read(buffer))).await;
        let (count, filled) = read.ok_or(Stop::FromTimeout)?;
        buffer = filled;
        match count {
            Ok(0) => body.end(&mut buffer)?,
            Ok(count) => {
                full_reads = if count == room { full_reads + 1 } else { 0 };
                body.take(&mut buffer, rest)?;
            }
            Err(_) => return Err(Stop::From),
        }
        buffer = write(to, buffer, &pace).await?;
        if full_reads >= FULL_READS_MAX && buffer.capacity() == BODY_BUFFER_BYTES {
            local.buffers.put(std::mem::replace(&mut buffer, local.buffers.bulk()));
        }
    }
    buffer.clear();
    Ok(buffer)
}

/// Reads some bytes of `body` into `buffer`, in the form in which they are sent on.
pub(super) async fn read(
    from: &Stream,
    body: &mut Body,
    mut buffer: Buffer,
    rest: &mut Vec<u8>,
    pace: &Pace<'_>,
) -> Result<Buffer, Stop> {
    buffer.clear();
    let read = pace.wait(pin!(from.read(buffer))).await;
    let (count, mut buffer) = read.ok_or(Stop::FromTimeout)?;
    match count {
        Ok(0) => body.end(&mut buffer)?,
        Ok(_) => body.take(&mut buffer, rest)?,
        Err(_) => return Err(Stop::From),
    }
    Ok(buffer)
}

/// Writes all of `buffer`, however slowly it goes.
pub(super) async fn write(
    to: &Stream,
    mut buffer: Buffer,
    pace: &Pace<'_>,
) -> Result<Buffer, Stop> {
    while !buffer.is_empty() {
        let written = pace.wait_write(|| to.untaken(), pin!(to.write_some(buffer))).await;
        let (count, rest) = written.ok_or(Stop::ToTimeout)?;
        buffer = rest;
        match count {
            Ok(count @ 1..) => {
                buffer.consume(count);
                record::add(pace.bytes, count);
            }
            Ok(0) | Err(_) => return Err(Stop::To),
        }
        pace.note();
    }
    Ok(buffer)
}

/// Moves the last `left` bytes through a pipe; `false` when there is no pipe to be had and
/// nothing was moved.
async fn splice_rest(
    from: &Socket,
    to: &Socket,
    left: &mut u64,
    pace: Pace<'_>,
    local: &Local,
) -> Result<bool, Stop> {
    let Some(pipe) = local.pipes.take() else { return Ok(false) };
    while *left > 0 {
        let count = match pace.wait(pin!(pipe.fill(from, *left))).await {
            None => return Err(Stop::FromTimeout),
            Some(Ok(0) | Err(_)) => return Err(Stop::From),
            Some(Ok(count)) => count,
        };
        let emptied = pin!(pipe.empty(to, count, || pace.note()));
        let emptied = pace.wait_write(|| to.untaken(), emptied).await;
        emptied.ok_or(Stop::ToTimeout)?.map_err(|_| Stop::To)?;
        record::add(pace.bytes, count);
        *left -= count as u64;
    }
    local.pipes.put(pipe);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(body: &mut Body, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut buffer = Buffer::with_room(64);
        buffer.tail().extend_from_slice(bytes);
        let mut rest = Vec::new();
        body.take(&mut buffer, &mut rest).expect("good body");
        (buffer.filled().to_vec(), rest)
    }

    #[test]
    fn known_body_leaves_the_next_message_alone() {
        let mut body = Body::of_request(BodyLength::Known(5));
        assert_eq!(take(&mut body, b"hel"), (b"hel".to_vec(), vec![]));
        assert_eq!(take(&mut body, b"loGET"), (b"lo".to_vec(), b"GET".to_vec()));
        assert!(body.is_done());
    }

    #[test]
    fn body_until_close_becomes_chunks() {
        let mut body = Body::of_response(BodyLength::UntilClose, Shown::Chunked);
        assert_eq!(take(&mut body, b"hello").0, b"5\r\nhello");
        assert_eq!(take(&mut body, b"world!").0, b"\r\n6\r\nworld!");
        let mut buffer = Buffer::with_room(64);
        body.end(&mut buffer).expect("may end");
        assert_eq!(buffer.filled(), b"\r\n0\r\n\r\n");
        assert!(body.is_done());
    }

    #[test]
    fn body_that_ends_too_early_is_an_error() {
        let mut body = Body::of_response(BodyLength::Known(5), Shown::Length);
        assert!(matches!(body.end(&mut Buffer::with_room(8)), Err(Stop::From)));
    }
}
