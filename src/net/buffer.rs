//! Buffers that move into the kernel and back, and the worker's stock of them.

use std::cell::RefCell;

use monoio::buf::{IoBuf, IoBufMut};

/// Room in front of the bytes, for a head that grew when it was written anew: with it, head and
/// first body bytes leave in one write.
pub const HEADROOM_BYTES: usize = 512;
/// Buffer of a client connection that waits for a request head; with its headroom one page.
/// Larger heads grow it.
pub const HEAD_BUFFER_BYTES: usize = 4 * 1024 - HEADROOM_BYTES;
/// Buffer of one direction of a tunnel, until it has been filled.
pub const TUNNEL_BUFFER_BYTES: usize = 16 * 1024;
/// Buffer of a response, a request body or a busy tunnel: below 32 KiB a body pays for extra sends.
pub const BODY_BUFFER_BYTES: usize = 64 * 1024;
/// Buffer of a body that keeps filling [`BODY_BUFFER_BYTES`].
pub const BULK_BUFFER_BYTES: usize = 256 * 1024;

/// Most buffers kept for later, by size. What is above goes back to the heap.
const KEPT_MAX: [usize; 4] = [1024, 1024, 256, 16];

/// Bytes between `start` and the end of a vector, with headroom before and spare room behind.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// An empty buffer with [`HEADROOM_BYTES`] in front and room for `room` bytes.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADROOM_BYTES + room);
        bytes.resize(HEADROOM_BYTES, 0);
        Self { bytes, start: HEADROOM_BYTES }
    }

    /// The bytes.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The bytes, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that can be read into it without moving anything.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Room for bytes when empty.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity().saturating_sub(HEADROOM_BYTES)
    }

    /// Drops the first `count` bytes, at most all. Their room stays in front until `clear` or
    /// `reserve`, so that `rewind` and `prepend` can use it.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len());
        self.start += count.min(self.len());
    }

    /// Takes back the last `count` bytes that were consumed.
    pub fn rewind(&mut self, count: usize) {
        debug_assert!(count + HEADROOM_BYTES <= self.start);
        self.start -= count;
    }

    /// Keeps the first `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        self.bytes.truncate(self.start + count);
    }

    /// Forgets all bytes.
    pub fn clear(&mut self) {
        self.bytes.truncate(HEADROOM_BYTES);
        self.bytes.resize(HEADROOM_BYTES, 0);
        self.start = HEADROOM_BYTES;
    }

    /// Makes room for at least `room` more bytes, moving the bytes to the front or growing.
    pub fn reserve(&mut self, room: usize) {
        if self.room() >= room {
            return;
        }
        if self.start > HEADROOM_BYTES {
            let len = self.len();
            self.bytes.copy_within(self.start.., HEADROOM_BYTES);
            self.bytes.truncate(HEADROOM_BYTES + len);
            self.start = HEADROOM_BYTES;
        }
        self.bytes.reserve(room);
    }

    /// Puts `head` in front of the bytes, or says that there is no room for it.
    #[must_use]
    pub fn prepend(&mut self, head: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(head.len()) else { return false };
        self.bytes[start..self.start].copy_from_slice(head);
        self.start = start;
        true
    }

    /// The vector behind, to append to.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

// SAFETY: the bytes live in a heap block that does not move with the value, and `start` never
// passes the initialised length.
unsafe impl IoBuf for Buffer {
    fn read_ptr(&self) -> *const u8 {
        self.filled().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.len()
    }
}

// SAFETY: the pointer is the spare room of the vector, `bytes_total` its length, and the kernel
// has initialised the `count` bytes that it reports.
unsafe impl IoBufMut for Buffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.bytes.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.room()
    }

    unsafe fn set_init(&mut self, count: usize) {
        let len = self.bytes.len() + count;
        debug_assert!(len <= self.bytes.capacity());
        // SAFETY: see above; the caller vouches for `count`.
        unsafe { self.bytes.set_len(len) };
    }
}

/// A worker's stock of buffers. The last one given back is the first one lent, so a busy worker
/// turns the same few, which stay in its cache.
#[derive(Default)]
pub struct Buffers {
    kept: RefCell<[Stock; 4]>,
}

/// Buffers of one size.
#[derive(Default)]
struct Stock {
    buffers: Vec<Buffer>,
    /// Fewest buffers here since the last trim: that many were not needed.
    spare: usize,
}

impl Buffers {
    /// An empty buffer for request heads.
    #[must_use]
    pub fn head(&self) -> Buffer {
        self.take(0, HEAD_BUFFER_BYTES)
    }

    /// An empty buffer for one direction of a tunnel.
    #[must_use]
    pub fn tunnel(&self) -> Buffer {
        self.take(1, TUNNEL_BUFFER_BYTES)
    }

    /// An empty buffer for bodies.
    #[must_use]
    pub fn body(&self) -> Buffer {
        self.take(2, BODY_BUFFER_BYTES)
    }

    /// An empty buffer for long bodies.
    #[must_use]
    pub fn bulk(&self) -> Buffer {
        self.take(3, BULK_BUFFER_BYTES)
    }

    fn take(&self, class: usize, room: usize) -> Buffer {
        let stock = &mut self.kept.borrow_mut()[class];
        let buffer = stock.buffers.pop();
        stock.spare = stock.spare.min(stock.buffers.len());
        buffer.unwrap_or_else(|| Buffer::with_room(room))
    }

    /// Room of the buffers that wait to be lent, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let kept = self.kept.borrow();
        kept.iter().flat_map(|stock| &stock.buffers).map(|it| HEADROOM_BYTES + it.capacity()).sum()
    }

    /// Frees the buffers that have not been lent since the last call.
    pub fn trim(&self) {
        for stock in self.kept.borrow_mut().iter_mut() {
            stock.buffers.drain(..stock.spare);
            stock.spare = stock.buffers.len();
        }
    }

    /// Takes a buffer back; its bytes are forgotten.
    pub fn put(&self, mut buffer: Buffer) {
        let class = match buffer.capacity() {
            HEAD_BUFFER_BYTES => 0,
            TUNNEL_BUFFER_BYTES => 1,
            BODY_BUFFER_BYTES => 2,
            BULK_BUFFER_BYTES => 3,
            _ => return,
        };
        let kept = &mut self.kept.borrow_mut()[class].buffers;
        if kept.len() < KEPT_MAX[class] {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_put_in_front_of_what_is_left() {
        let mut buffer = Buffer::with_room(16);
        buffer.tail().extend_from_slice(b"headbody");
        buffer.consume(4);
        assert!(buffer.prepend(b"longer head "));
        assert_eq!(buffer.filled(), b"longer head body");
        assert!(!buffer.prepend(&[0; HEADROOM_BYTES]));
    }

    #[test]
    fn reserve_moves_bytes_to_the_front_before_it_grows() {
        let mut buffer = Buffer::with_room(16);
        buffer.tail().extend_from_slice(b"0123456789abcdef");
        buffer.consume(10);
        assert_eq!(buffer.room(), 0);
        buffer.reserve(10);
        assert_eq!((buffer.filled(), buffer.capacity()), (&b"abcdef"[..], 16));
        buffer.reserve(100);
        assert!(buffer.room() >= 100);
    }

    #[test]
    fn stock_lends_the_last_buffer_first_and_forgets_its_bytes() {
        let buffers = Buffers::default();
        let mut buffer = buffers.head();
        buffer.tail().extend_from_slice(b"secret");
        let address = buffer.filled().as_ptr();
        buffers.put(buffer);
        let buffer = buffers.head();
        assert!(buffer.is_empty());
        assert_eq!(buffer.filled().as_ptr(), address);
    }
    #[test]
    fn trim_frees_what_was_not_lent_since_the_last_one() {
        let buffers = Buffers::default();
        let lent = [buffers.head(), buffers.head(), buffers.head()];
        lent.into_iter().for_each(|buffer| buffers.put(buffer));
        let count = || buffers.kept.borrow()[0].buffers.len();
        buffers.trim();
        assert_eq!(count(), 3, "all three were in use");
        buffers.put(buffers.head());
        buffers.trim();
        assert_eq!(count(), 1, "one was");
        buffers.trim();
        assert_eq!(count(), 0);
    }
}
