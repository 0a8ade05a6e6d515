//! The state of a TLS session between its steps: what has come, what is opened, what is sealed.

use std::io;

use crate::net::{BODY_BUFFER_BYTES, Buffer, HEAD_BUFFER_BYTES, TICK, TUNNEL_BUFFER_BYTES};
use crate::proxy::local::Local;
use crate::tls::{Error, RECORD_BYTES_MAX, Session, Step, Stepped};

/// Plaintext in a record at the beginning, and after a pause: what comes with it in three packets
/// can be opened as soon as they are there.
const EARLY_RECORD_BYTES: usize = 4 * 1024;
/// So many bytes go out in such records; then the client reads faster than it would notice.
const EARLY_BYTES: usize = 16 * 1024;
/// A silence of so many ticks is a pause.
const PAUSE_TICKS: u32 = (1000 / TICK.as_millis()) as u32;
/// What is sealed in one go: three records in a buffer of [`BODY_BUFFER_BYTES`].
const SEALED_BYTES: usize = 3 * RECORD_BYTES_MAX;
/// What records may add to the plaintext that is sealed in one go.
const OVERHEAD_BYTES: usize = 512;
/// Ciphertext that is kept until it makes a whole message. No record and no handshake message that
/// is accepted needs as much; only one cut into tiny records would.
const HELD_BYTES_MAX: usize = BODY_BUFFER_BYTES;
/// Header of a record (RFC 8446 §5.1).
const RECORD_HEADER_BYTES: usize = 5;

/// The state of a session between its steps.
pub(in crate::proxy) struct Core {
    pub(super) session: Session,
    /// What has come and was not used up.
    held: Buffer,
    /// What was opened and found no room at the reader, from `at` on.
    opened: Vec<u8>,
    at: usize,
    /// What was sealed and is not sent.
    pub(super) out: Buffer,
    /// What the protocol itself has to say, in front of what is sealed next.
    reply: Vec<u8>,
    /// How many bytes at the front of the writer's buffer are in `out`, or were.
    pub(super) owed: usize,
    /// Bytes sealed since the last pause, and when the last ones were.
    burst: usize,
    sealed_at: u32,
    /// The peer has ended its direction, in an orderly way.
    ended: bool,
    /// We have ended ours, or may not: what has been sent is not the whole.
    pub(super) closed: bool,
}

/// What came of opening.
pub(super) enum Opened {
    Bytes(usize),
    Ended,
    NeedsMore,
    Failed(io::Error),
}

impl Core {
    /// A session that has read `held` and has still to use it up.
    pub(in crate::proxy) fn new(session: Session, held: Buffer) -> Self {
        Self {
            session,
            held,
            opened: Vec::new(),
            at: 0,
            out: Buffer::default(),
            reply: Vec::new(),
            owed: 0,
            burst: 0,
            sealed_at: 0,
            ended: false,
            closed: false,
        }
    }

    /// Its session.
    pub(in crate::proxy) fn session(&self) -> &Session {
        &self.session
    }

    /// Takes a step of the handshake; what is to be sent is appended to `out`.
    pub(in crate::proxy) fn step(&mut self, out: &mut Vec<u8>) -> Result<Step, Error> {
        let Self { session, held, opened, .. } = self;
        let Stepped { discard, result } =
            session.step(held.filled_mut(), out, |bytes| opened.extend_from_slice(bytes));
        held.consume(discard);
        if result.is_err() {
            session.alert(out);
        }
        result
    }

    /// Whether both sides have agreed, and the client has begun to speak.
    pub(in crate::proxy) fn is_done_but_for_data(&self) -> bool {
        !self.opened.is_empty() && !self.session.is_handshaking()
    }

    /// The bytes that have come and were not used up.
    pub(in crate::proxy) fn held(&self) -> &[u8] {
        self.held.filled()
    }

    /// Whether a read would bring something without asking the socket.
    pub(super) fn has_something(&self) -> bool {
        self.ended || !self.opened.is_empty() || record_bytes(&self.held) <= self.held.len()
    }

    /// Opens what has come into the room of `buffer`.
    pub(super) fn open(&mut self, buffer: &mut Buffer, local: &Local) -> Opened {
        let before = buffer.len();
        self.hand_over(buffer);
        let mut failed = None;
        while !self.ended && self.opened.is_empty() && buffer.room() > 0 {
            let Self { session, held, opened, reply, .. } = self;
            let Stepped { discard, result } = session.step(held.filled_mut(), reply, |bytes| {
                let (fits, rest) = bytes.split_at(bytes.len().min(buffer.room()));
                buffer.tail().extend_from_slice(fits);
                opened.extend_from_slice(rest);
            });
            held.consume(discard);
            match result {
                Ok(Step::Went) => {}
                Ok(Step::NeedsMore) => break,
                Ok(Step::Ended) => self.ended = true,
                Err(error) => {
                    session.alert(reply);
                    failed = Some(io::Error::new(io::ErrorKind::InvalidData, error));
                    break;
                }
            }
        }
        if self.held.is_empty() {
            local.buffers.put(std::mem::take(&mut self.held));
        }
        match (buffer.len() - before, failed) {
            (count @ 1.., _) => Opened::Bytes(count),
            (0, Some(error)) => Opened::Failed(error),
            (0, None) if self.ended => Opened::Ended,
            (0, None) if self.held.len() >= HELD_BYTES_MAX => {
                Opened::Failed(io::ErrorKind::InvalidData.into())
            }
            (0, None) => Opened::NeedsMore,
        }
    }

    /// Takes in what the protocol says about itself; whether nothing else has come, and neither
    /// side has ended its direction. Part of a record may be left.
    pub(super) fn settle(&mut self, local: &Local) -> bool {
        loop {
            let Self { session, held, opened, reply, ended, closed, .. } = self;
            if *ended || *closed || !opened.is_empty() {
                return false;
            }
            let Stepped { discard, result } =
                session.step(held.filled_mut(), reply, |bytes| opened.extend_from_slice(bytes));
            held.consume(discard);
            match result {
                Ok(Step::Went) => {}
                Ok(Step::NeedsMore) => break,
                Ok(Step::Ended) => *ended = true,
                Err(_) => return false,
            }
        }
        if self.held.is_empty() {
            local.buffers.put(std::mem::take(&mut self.held));
        }
        self.held.len() < HELD_BYTES_MAX
    }

    /// Hands over what was opened before.
    fn hand_over(&mut self, buffer: &mut Buffer) {
        let rest = self.opened.get(self.at..).unwrap_or_default();
        let (fits, left) = rest.split_at(rest.len().min(buffer.room()));
        buffer.tail().extend_from_slice(fits);
        if left.is_empty() {
            (self.opened, self.at) = (Vec::new(), 0);
        } else {
            self.at += fits.len();
        }
    }

    /// A buffer to read into: it begins with what is held, of which the session keeps its copy
    /// until the read has ended.
    pub(super) fn fresh(&self, room: usize, local: &Local) -> Buffer {
        let held = self.held.filled();
        let wanted = record_bytes(&self.held).max(room).max(held.len() + 1);
        let mut fresh = local.ciphertext_buffer(wanted);
        fresh.tail().extend_from_slice(held);
        fresh.reserve(1);
        fresh
    }

    /// Takes what was read into a [fresh](Self::fresh) buffer.
    pub(in crate::proxy) fn hold(&mut self, fresh: Buffer, local: &Local) {
        local.buffers.put(std::mem::replace(&mut self.held, fresh));
    }

    /// Seals the first bytes of `plain`, unless some are sealed and not sent.
    pub(super) fn fill(&mut self, plain: &[u8], local: &Local) -> io::Result<()> {
        if self.owed > 0 {
            return Ok(());
        }
        let now = local.alarms.now();
        if now.saturating_sub(self.sealed_at) >= PAUSE_TICKS {
            self.burst = 0;
        }
        let (most, record) = match self.burst < EARLY_BYTES {
            true => (EARLY_BYTES, EARLY_RECORD_BYTES),
            false => (SEALED_BYTES, RECORD_BYTES_MAX),
        };
        let (plain, _) = plain.split_at(plain.len().min(most));
        if self.out.capacity() == 0 {
            self.out = local.ciphertext_buffer(plain.len() + OVERHEAD_BYTES);
        }
        let Self { session, held, opened, out, reply, .. } = self;
        out.tail().append(reply);
        let keep = |bytes: &[u8]| opened.extend_from_slice(bytes);
        let used = session.seal(held.filled_mut(), plain, record, out.tail(), keep);
        held.consume(used.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?);
        self.owed = plain.len();
        self.burst = self.burst.saturating_add(plain.len());
        self.sealed_at = now;
        Ok(())
    }

    /// What is still to be sent, with the word that ends our direction; `None` where that has been
    /// said or must not be.
    pub(super) fn close(&mut self, local: &Local) -> Option<Buffer> {
        if std::mem::replace(&mut self.closed, true) || self.owed > 0 {
            return None;
        }
        let Self { session, held, opened, reply, .. } = self;
        let mut out = local.buffers.head();
        out.tail().append(reply);
        let keep = |bytes: &[u8]| opened.extend_from_slice(bytes);
        // It fails where an alert has said all; that may be in `out`.
        if let Ok(used) = session.close(held.filled_mut(), out.tail(), keep) {
            held.consume(used);
        }
        Some(out)
    }

    /// A buffer to read the next bytes of a handshake into; `None` where too many are held.
    pub(in crate::proxy) fn fresh_for_handshake(&self, local: &Local) -> Option<Buffer> {
        (self.held.len() < HELD_BYTES_MAX).then(|| self.fresh(HEAD_BUFFER_BYTES, local))
    }
}

/// Length of the record that `held` begins with, as far as its header is there.
fn record_bytes(held: &Buffer) -> usize {
    match held.filled() {
        [_, _, _, high, low, ..] => {
            RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => RECORD_HEADER_BYTES,
    }
}

impl Local {
    /// An empty buffer for `bytes` of ciphertext, or for as many as the largest takes.
    fn ciphertext_buffer(&self, bytes: usize) -> Buffer {
        match () {
            () if bytes <= HEAD_BUFFER_BYTES => self.buffers.head(),
            () if bytes <= TUNNEL_BUFFER_BYTES => self.buffers.tunnel(),
            () => self.buffers.body(),
        }
    }
}
