//! What kinds of frames a client sends: some cost us more than they cost it, and bring nobody
//! anything. Who sends many of them, compared to what else is done on the connection, is told to
//! calm down (RFC 9113 §10.5).
//!
//! The frames are counted by their headers as the bytes pass; nothing is kept of them. What `h2`
//! limits by itself (streams reset before they were looked at, CONTINUATION frames of one head,
//! small DATA frames that nobody has read) is limited there as well.

use super::PREFACE;

/// What a connection may spend at the beginning, and at most. A browser that leaves a page of a
/// hundred images spends less than half of it.
const BUDGET_MAX: u32 = 1000;
/// What a tenth of a second pays in.
const TICK_PAYS: u32 = 2;
/// Bytes of bodies, in either direction, that pay 1: a client that opens its windows for each frame
/// of 16 KiB, its stream's and the connection's, spends an eighth of what it earns.
const BYTES_PAY: u32 = 1024;
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
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
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
    budget: u32,
    /// Bytes that have not paid yet.
    bytes: u32,
    /// Tick of the last payment.
    paid: u32,
}

impl Census {
    /// Nothing has come yet; the clock shows `now` in ticks.
    #[must_use]
    pub fn new(now: u32) -> Self {
        let header = [0; HEADER_BYTES];
        Self { header, held: 0, skip: PREFACE.len(), budget: BUDGET_MAX, bytes: 0, paid: now }
    }

    /// Counts the frames that begin in `bytes`, which have come next. Returns whether the client
    /// may go on.
    #[must_use]
    pub fn counts(&mut self, mut bytes: &[u8], now: u32) -> bool {
        self.earns(now.saturating_sub(self.paid).saturating_mul(TICK_PAYS));
        self.paid = now;
        let mut calm = true;
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
                calm &= self.spends();
            }
        }
        calm
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

    /// Takes the price of the frame whose header is there; `false` when there is not enough.
    fn spends(&mut self) -> bool {
        let [high, middle, low, kind, flags, ..] = self.header;
        let len = u32::from_be_bytes([0, high, middle, low]);
        self.held = 0;
        self.skip = len as usize;
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
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, high, middle, low] = (payload as u32).to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER_BYTES + payload, 0);
        frame
    }

    /// How many of `frame` a client may send in one tick, however they are cut; at most 10000.
    fn allowed(frame: &[u8], cut: usize) -> usize {
        let mut census = Census::new(0);
        assert!(census.counts(PREFACE, 0));
        let passes = |_: &usize| frame.chunks(cut).all(|bytes| census.counts(bytes, 0));
        (0..10_000).take_while(passes).count()
    }

    #[test]
    fn frames_that_bring_nothing_are_bounded_however_they_are_cut() {
        let cases = [
            (frame(4, 0, 0), 1000),
            (frame(6, 0, 8), 1000),
            (frame(2, 0, 5), 1000),
            (frame(8, 0, 4), 1000),
            (frame(0xbe, 0, 40), 1000),
            (frame(RST_STREAM, 0, 4), 250),
            (frame(DATA, 0, 0), 62),
            (frame(CONTINUATION, 0, 1), 62),
            (frame(HEADERS, 0, 0), 62),
            (frame(HEADERS, END_HEADERS, 20), 10_000),
            (frame(DATA, 0, 1), 10_000),
            (frame(DATA, END_STREAM, 0), 10_000),
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
        let ping = frame(6, 0, 8);
        assert!(census.counts(PREFACE, 0));
        assert!(census.counts(&ping.repeat(1000), 0));
        assert!(!census.counts(&ping, 0));
        census.sent(BYTES_PAY as usize * 3);
        assert!(census.counts(&ping.repeat(3), 0));
        census.responded();
        assert!(census.counts(&ping.repeat(8), 0));
        assert!(census.counts(&frame(DATA, 0, 5 * 1024), 0));
        assert!(census.counts(&ping.repeat(5), 0));
        assert!(census.counts(&ping.repeat(20), 10));
        assert!(!census.counts(&ping, 10));
        assert!(census.counts(&ping.repeat(1000), u32::MAX), "never more than at the beginning");
        assert!(!census.counts(&ping, u32::MAX));
    }
}
