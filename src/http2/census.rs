//! What kinds of frames a client sends: some cost us more than they cost it, and bring nobody
//! anything. Who sends many of them, compared to what else is done on the connection, is told to
//! calm down (RFC 9113 §10.5). And what their headers alone show to be wrong ends the connection
//! with the code that the standard names, where `h2` has but one for all.
//!
//! The frames are counted by their headers as the bytes pass; nothing is kept of them. What `h2`
//! limits by itself (streams reset before they were looked at, CONTINUATION frames of one head,
//! small DATA frames that nobody has read) is limited there as well.

use h2::Reason;

use super::PREFACE;

/// What a connection may spend at the beginning, and at most. A browser that leaves a page of a
/// hundred images spends less than half of it.
const BUDGET_MAX: u32 = 1000;
/// What a tenth of a second pays in.
const TICK_PAYS: u32 = 2;
/// Bytes of bodies, in either direction, that pay 1. A client that opens both windows by each frame
/// that it gets makes the frames smaller and smaller, as every piece that it grants is sent by
/// itself; down to 128 bytes it earns what it spends.
const BYTES_PAY: u32 = 64;
/// What a response pays in.
const RESPONSE_PAYS: u32 = 8;
/// What a reset costs: it throws away what was done so far.
const RESET_COSTS: u32 = 4;
/// A piece of a head that is smaller costs [`FRAGMENT_COSTS`].
const FRAGMENT_BYTES: u32 = 1024;
const FRAGMENT_COSTS: u32 = 16;

/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Flag of SETTINGS: ours were seen.
const ACK: u8 = 1;
/// Flag of DATA and HEADERS: nothing follows.
const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION: the head is whole.
const END_HEADERS: u8 = 4;

/// Bytes of the header of a frame (RFC 9113 §4.1).
const HEADER_BYTES: usize = 9;

/// The frames of one client.
#[derive(Debug)]
pub struct Census {
    /// The header of the next frame, as far as it has come.
    header: [u8; HEADER_BYTES],
    held: usize,
    /// Bytes until then.
    skip: usize,
    /// Whether a frame has begun.
    begun: bool,
    budget: u32,
    /// Bytes that have not paid yet.
    bytes: u32,
    /// Tick of the last payment.
    paid: u32,
}

/// Why a client may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// How many of the bytes came before the frame that is too much.
    pub good: usize,
    /// What it is told.
    pub reason: Reason,
}

impl Census {
    /// Nothing has come yet; the clock shows `now` in ticks.
    #[must_use]
    pub fn new(now: u32) -> Self {
        let header = [0; HEADER_BYTES];
        let skip = PREFACE.len();
        Self { header, held: 0, skip, begun: false, budget: BUDGET_MAX, bytes: 0, paid: now }
    }

    /// Counts the frames that begin in `bytes`, which have come next.
    ///
    /// # Errors
    /// When the client may not go on.
    pub fn count(&mut self, mut bytes: &[u8], now: u32) -> Result<(), Stop> {
        self.earns(now.saturating_sub(self.paid).saturating_mul(TICK_PAYS));
        self.paid = now;
        let (all, mut stop) = (bytes.len(), None);
        while !bytes.is_empty() {
            if self.skip > 0 {
                let count = self.skip.min(bytes.len());
                self.skip -= count;
                bytes = &bytes[count..];
                continue;
            }
            let count = (HEADER_BYTES - self.held).min(bytes.len());
            self.header[self.held..self.held + count].copy_from_slice(&bytes[..count]);
            self.held += count;
            bytes = &bytes[count..];
            if self.held == HEADER_BYTES {
                let good = (all - bytes.len()).saturating_sub(HEADER_BYTES);
                if let Err(reason) = self.judge() {
                    stop.get_or_insert(Stop { good, reason });
                }
            }
        }
        stop.map_or(Ok(()), Err)
    }

    /// So many bytes of bodies were sent.
    pub fn sent(&mut self, bytes: usize) {
        let bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.bytes = bytes % BYTES_PAY;
        self.earns(bytes / BYTES_PAY);
    }

    /// A response was sent.
    pub fn responded(&mut self) {
        self.earns(RESPONSE_PAYS);
    }

    fn earns(&mut self, payment: u32) {
        self.budget = self.budget.saturating_add(payment).min(BUDGET_MAX);
    }

    /// Looks at the frame whose header is there, and takes its price.
    fn judge(&mut self) -> Result<(), Reason> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let len = u32::from_be_bytes([0, high, middle, low]);
        self.held = 0;
        self.skip = len as usize;
        let is_first = !std::mem::replace(&mut self.begun, true);
        if is_first && (kind != SETTINGS || flags & ACK != 0) {
            // The first frame is SETTINGS (RFC 9113 §3.4).
            return Err(Reason::PROTOCOL_ERROR);
        }
        if !has_right_size(kind, flags, len) {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        let price = match (kind, len) {
            (DATA, 0) if flags & END_STREAM == 0 => FRAGMENT_COSTS,
            (DATA, len) => {
                self.sent(len as usize);
                0
            }
            (HEADERS, 0..FRAGMENT_BYTES) if flags & END_HEADERS == 0 => FRAGMENT_COSTS,
            (HEADERS, _) => 0,
            (CONTINUATION, 0..FRAGMENT_BYTES) if flags & END_HEADERS == 0 => FRAGMENT_COSTS,
            (RST_STREAM, _) => RESET_COSTS,
            _ => 1,
        };
        let left = self.budget.checked_sub(price);
        self.budget = left.unwrap_or(0);
        left.map(drop).ok_or(Reason::ENHANCE_YOUR_CALM)
    }
}

/// Whether a frame of this type can have this length (RFC 9113 §6).
fn has_right_size(kind: u8, flags: u8, len: u32) -> bool {
    match kind {
        PRIORITY => len == 5,
        RST_STREAM | WINDOW_UPDATE => len == 4,
        SETTINGS if flags & ACK != 0 => len == 0,
        SETTINGS => len.is_multiple_of(6),
        PING => len == 8,
        GOAWAY => len >= 8,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, high, middle, low] = (payload as u32).to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER_BYTES + payload, 0);
        frame
    }

    /// How many of `frame` a client may send in one tick, however they are cut; at most 10000.
    fn allowed(frame: &[u8], cut: usize) -> usize {
        let mut census = Census::new(0);
        assert_eq!(census.count(PREFACE, 0), Ok(()));
        assert_eq!(census.count(&frame_of(SETTINGS, 0, 0), 0), Ok(()));
        census.sent(BYTES_PAY as usize);
        let passes = |_: &usize| frame.chunks(cut).all(|bytes| census.count(bytes, 0).is_ok());
        (0..10_000).take_while(passes).count()
    }

    #[test]
    fn frames_that_bring_nothing_are_bounded_however_they_are_cut() {
        let cases = [
            (frame_of(4, 0, 0), 1000),
            (frame_of(6, 0, 8), 1000),
            (frame_of(2, 0, 5), 1000),
            (frame_of(8, 0, 4), 1000),
            (frame_of(0xbe, 0, 40), 1000),
            (frame_of(RST_STREAM, 0, 4), 250),
            (frame_of(DATA, 0, 0), 62),
            (frame_of(CONTINUATION, 0, 1), 62),
            (frame_of(HEADERS, 0, 0), 62),
            (frame_of(HEADERS, END_HEADERS, 20), 10_000),
            (frame_of(DATA, 0, 1), 10_000),
            (frame_of(DATA, END_STREAM, 0), 10_000),
        ];
        for (frame, expected) in cases {
            for cut in [1, 2, 7, 1000] {
                assert_eq!(allowed(&frame, cut), expected, "{frame:?} by {cut}");
            }
        }
    }

    #[test]
    fn bodies_responses_and_time_pay() {
        let mut census = Census::new(0);
        let ping = frame_of(6, 0, 8);
        assert_eq!(census.count(PREFACE, 0), Ok(()));
        assert_eq!(census.count(&frame_of(SETTINGS, 0, 0), 0), Ok(()));
        census.sent(BYTES_PAY as usize);
        assert!(census.count(&ping.repeat(1000), 0).is_ok());
        assert!(census.count(&ping, 0).is_err());
        census.sent(BYTES_PAY as usize * 3);
        assert!(census.count(&ping.repeat(3), 0).is_ok());
        census.responded();
        assert!(census.count(&ping.repeat(8), 0).is_ok());
        assert!(census.count(&frame_of(DATA, 0, 5 * BYTES_PAY as usize), 0).is_ok());
        assert!(census.count(&ping.repeat(5), 0).is_ok());
        assert!(census.count(&ping.repeat(20), 10).is_ok());
        assert!(census.count(&ping, 10).is_err());
        // Never more than at the beginning.
        assert!(census.count(&ping.repeat(1000), u32::MAX).is_ok());
        assert!(census.count(&ping, u32::MAX).is_err());
    }

    #[test]
    fn headers_that_cannot_be_right_end_the_connection_where_they_stand() {
        let begun = || {
            let mut census = Census::new(0);
            let first = [PREFACE, &frame_of(SETTINGS, 0, 6)].concat();
            assert_eq!(census.count(&first, 0), Ok(()));
            census
        };
        let good = frame_of(HEADERS, END_HEADERS, 10);
        for (kind, flags, len) in [
            (PRIORITY, 0, 4),
            (RST_STREAM, 0, 5),
            (SETTINGS, 0, 7),
            (SETTINGS, ACK, 6),
            (PING, 0, 7),
            (GOAWAY, 0, 7),
            (WINDOW_UPDATE, 0, 0),
        ] {
            let bytes = [&good[..], &frame_of(kind, flags, len), &good].concat();
            let stop = Stop { good: good.len(), reason: Reason::FRAME_SIZE_ERROR };
            assert_eq!(begun().count(&bytes, 0), Err(stop), "{kind} {flags} {len}");
            let mut census = begun();
            let (start, rest) = bytes.split_at(good.len() + 5);
            assert_eq!(census.count(start, 0), Ok(()));
            assert_eq!(census.count(rest, 0), Err(Stop { good: 0, ..stop }));
        }
        for first in [frame_of(PING, 0, 8), frame_of(SETTINGS, ACK, 0), good] {
            let stop = Stop { good: PREFACE.len(), reason: Reason::PROTOCOL_ERROR };
            assert_eq!(Census::new(0).count(&[PREFACE, &first].concat(), 0), Err(stop));
        }
    }
}
