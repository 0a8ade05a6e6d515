//! The chunked transfer coding (RFC 9112 §7.1): finds where a body ends and makes it canonical.
//!
//! [`Decoder::decode`] works in place: it walks over the bytes as they came from the socket and
//! closes the gaps where something is left out (chunk extensions, leading zeros, forbidden
//! trailers, or all framing for [`Keep::DataOnly`]). A body that is canonical already is not
//! moved: its data is skipped by length. What peers read differently is refused, never repaired
//! (bare CR or LF, white space, signs, folded trailers), for that is what request smuggling is
//! made of.
//!
//! It never buffers data, never allocates unless trailers come, and bounds what it keeps of them.
//! Start with [`Decoder`]; trailers are in `chunked/trailers.rs`.

mod trailers;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;

use trailers::Trailers;

/// Most hexadecimal digits of a chunk size, leading zeros included. Sixteen fill 64 bits, which a
/// target that counts in signed ones overflows (RFC 9112 §7.1 demands that none does).
pub const SIZE_DIGITS_MAX: usize = 15;
/// Room for the longest chunk-size line that [`prefix`] writes.
pub const PREFIX_BYTES: usize = 18;
/// Most bytes of chunk extensions in one chunk-size line. Nobody sends any; RFC 9112 §7.1.1 asks
/// recipients to bound them.
pub const EXTENSION_BYTES_MAX: usize = 1024;
/// Most bytes of a trailer section, line ends included and the final empty line not.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Most fields in a trailer section.
pub const TRAILER_FIELDS_MAX: usize = 64;

/// The end of a line, and of the data of a chunk.
pub const CRLF: &[u8] = b"\r\n";
/// The last chunk of a body without trailers, and the empty line that ends it.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What remains in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// A canonical chunked body: sizes without leading zeros or extensions, data, and the
    /// trailers that may be relayed. For peers that speak HTTP/1.1.
    Framing,
    /// The data alone; trailers are checked and dropped. For HTTP/1.0 clients.
    DataOnly,
    /// The data alone; the trailers that may be relayed are the [tail](Decoder::tail). For HTTP/2.
    DataAndTrailers,
}

/// How far [`Decoder::decode`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belong to the body: all of them, unless the body is done.
    pub consumed: usize,
    /// Bytes at the start of the input that are to be sent on; at most `consumed`.
    pub kept: usize,
    /// Whether the body has ended. [`Decoder::tail`] is then still to be sent.
    pub done: bool,
}

/// Reads one chunked body, in pieces of any size.
///
/// ```text
///             ┌──────────────── size > 0 ───────────────┐
///             │                                         ▼
/// Size ─┬─ CR ─► SizeLf ── size = 0 ─► Trailer      Data ─► DataCr ─► DataLf ─► Size
///  ▲    │ ';'     ▲                    │  ▲ │
///  │    ▼         │                    │  └─┘ a field line
/// start Extension ┘ CR                 └─ CR ─► LastLf ─► Done
/// ```
#[derive(Debug)]
pub struct Decoder {
    keep: Keep,
    state: State,
    /// Made when the first byte of a trailer comes.
    trailers: Option<Box<Trailers>>,
}

/// What the next byte belongs to. Sizes are in bytes.
#[derive(Debug, Clone, Copy)]
enum State {
    /// A digit of a chunk size, or what ends it.
    Size { size: u64, digits: usize },
    /// An extension of a chunk-size line, of which `bytes` have come.
    Extension { size: u64, bytes: usize },
    /// The LF of a chunk-size line.
    SizeLf { size: u64 },
    /// Data, of which `remaining` (at least one) are still to come.
    Data { remaining: u64 },
    /// The CR behind data.
    DataCr,
    /// The LF behind data.
    DataLf,
    /// A trailer line, or the CR of the empty line.
    Trailer,
    /// The LF of the empty line.
    LastLf,
    /// Nothing: the body has ended.
    Done(Tail),
    /// Nothing: a rule was broken.
    Failed(ChunkError),
}

/// What is to be sent behind the kept bytes of a body that is done.
#[derive(Debug, Clone, Copy)]
enum Tail {
    Nothing,
    LastChunk,
    Trailers,
}

/// The input of one call: `bytes[..kept]` is to be sent on, `bytes[read..]` is unread.
struct Window<'a> {
    bytes: &'a mut [u8],
    read: usize,
    kept: usize,
}

impl Decoder {
    /// A decoder at the first byte behind the head of a message.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self { keep, state: State::Size { size: 0, digits: 0 }, trailers: None }
    }

    /// Reads `input`, moves what is to be sent on to its start and says how much that is.
    ///
    /// The bytes between `kept` and `consumed` are then meaningless; those from `consumed` are
    /// untouched. Everything is consumed until the body ends; behind its end, nothing is. The
    /// last chunk is withheld until its final byte, so `kept` may be 0 for a few bytes of input.
    ///
    /// # Errors
    /// [`ChunkError`] at the first broken rule, and again at every later call. What earlier calls
    /// kept may have been sent; the connection must close on both sides.
    pub fn decode(&mut self, input: &mut [u8]) -> Result<Progress, ChunkError> {
        let mut window = Window { bytes: input, read: 0, kept: 0 };
        let done = loop {
            match self.state {
                State::Done(_) => break true,
                State::Failed(error) => return Err(error),
                state if window.read == window.bytes.len() => {
                    debug_assert!(!matches!(state, State::Data { remaining: 0 }));
                    break false;
                }
                state => {
                    self.state = self.step(state, &mut window).unwrap_or_else(State::Failed);
                }
            }
            debug_assert!(window.kept <= window.read && window.read <= window.bytes.len());
        };
        Ok(Progress { consumed: window.read, kept: window.kept, done })
    }

    /// Bytes still to be sent behind the kept ones once the body is done: the trailer section, or
    /// a last chunk that came in pieces. Empty before that, and for [`Keep::DataOnly`].
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        let State::Done(tail) = self.state else { return &[] };
        match tail {
            Tail::Nothing => &[],
            Tail::LastChunk => LAST_CHUNK,
            Tail::Trailers => self.trailers.as_ref().map_or(&[], |trailers| trailers.section()),
        }
    }

    /// Reads at least one byte of `window`, which has one, and returns the state behind it.
    fn step(&mut self, state: State, window: &mut Window<'_>) -> Result<State, ChunkError> {
        let framing = self.keep == Keep::Framing;
        match state {
            State::Size { size, digits } => read_size(size, digits, framing, window),
            State::Extension { size, bytes } => read_extension(size, bytes, framing, window),
            State::SizeLf { size: 0 } => {
                window.expect(b'\n', false, ChunkError::BareCr)?;
                Ok(State::Trailer)
            }
            State::SizeLf { size } => {
                window.expect(b'\n', framing, ChunkError::BareCr)?;
                Ok(State::Data { remaining: size })
            }
            State::Data { remaining } => Ok(read_data(remaining, window)),
            State::DataCr => {
                window.expect(b'\r', framing, ChunkError::DataEnd)?;
                Ok(State::DataLf)
            }
            State::DataLf => {
                window.expect(b'\n', framing, ChunkError::DataEnd)?;
                Ok(State::Size { size: 0, digits: 0 })
            }
            State::Trailer => self.read_trailer(window),
            State::LastLf => {
                window.expect(b'\n', false, ChunkError::BareCr)?;
                Ok(State::Done(self.end(window)))
            }
            State::Done(_) | State::Failed(_) => Ok(state),
        }
    }

    /// Reads up to the end of a trailer line, or the CR of the empty line.
    fn read_trailer(&mut self, window: &mut Window<'_>) -> Result<State, ChunkError> {
        let at_line_start = self.trailers.as_ref().is_none_or(|t| t.at_line_start());
        if at_line_start && window.peek() == b'\r' {
            window.take(1, false);
            return Ok(State::LastLf);
        }
        let relay = self.keep != Keep::DataOnly;
        let trailers = self.trailers.get_or_insert_with(|| Box::new(Trailers::new(relay)));
        let taken = trailers.take(&window.bytes[window.read..])?;
        window.take(taken, false);
        Ok(State::Trailer)
    }

    /// Ends the body. The last chunk has been withheld so far: its `0` might have been the start
    /// of `0A`, and trailers might have followed. Now it is put where it came from, if that was
    /// in this input, or else into the tail.
    fn end(&mut self, window: &mut Window<'_>) -> Tail {
        match (self.keep, &mut self.trailers) {
            (Keep::Framing | Keep::DataAndTrailers, Some(trailers)) if trailers.any_relayed() => {
                trailers.end();
                Tail::Trailers
            }
            (Keep::DataOnly | Keep::DataAndTrailers, _) => Tail::Nothing,
            (Keep::Framing, _) if window.read - window.kept >= LAST_CHUNK.len() => {
                let end = window.kept + LAST_CHUNK.len();
                window.bytes[window.kept..end].copy_from_slice(LAST_CHUNK);
                window.kept = end;
                Tail::Nothing
            }
            (Keep::Framing, _) => Tail::LastChunk,
        }
    }
}

/// Reads one byte of a chunk size. Zeros are kept only behind another digit: that drops leading
/// ones, and withholds the last chunk.
fn read_size(
    size: u64,
    digits: usize,
    framing: bool,
    window: &mut Window<'_>,
) -> Result<State, ChunkError> {
    let byte = window.peek();
    let next = match (byte, hex_value(byte)) {
        (_, Some(_)) if digits == SIZE_DIGITS_MAX => return Err(ChunkError::SizeTooLong),
        (_, Some(digit)) => {
            let size = size << 4 | digit;
            window.take(1, framing && size > 0);
            return Ok(State::Size { size, digits: digits + 1 });
        }
        _ if digits == 0 => return Err(ChunkError::SizeMissing),
        (b'\r', None) => State::SizeLf { size },
        (b';', None) => State::Extension { size, bytes: 0 },
        (b'\n', None) => return Err(ChunkError::BareLf),
        (_, None) => return Err(ChunkError::SizeCharacter),
    };
    window.take(1, framing && size > 0 && byte == b'\r');
    Ok(next)
}

/// Reads one byte of an extension and drops it (RFC 9112 §7.1.1: an unknown one is ignored).
fn read_extension(
    size: u64,
    bytes: usize,
    framing: bool,
    window: &mut Window<'_>,
) -> Result<State, ChunkError> {
    match window.peek() {
        b'\r' => {
            window.take(1, framing && size > 0);
            Ok(State::SizeLf { size })
        }
        b'\n' => Err(ChunkError::BareLf),
        byte if !is_text(byte) => Err(ChunkError::ExtensionCharacter),
        _ if bytes == EXTENSION_BYTES_MAX => Err(ChunkError::ExtensionTooLong),
        _ => {
            window.take(1, false);
            Ok(State::Extension { size, bytes: bytes + 1 })
        }
    }
}

/// Skips the data that is there, whatever it holds.
fn read_data(remaining: u64, window: &mut Window<'_>) -> State {
    let present = window.bytes.len() - window.read;
    let count = usize::try_from(remaining).map_or(present, |remaining| remaining.min(present));
    window.take(count, true);
    match remaining - count as u64 {
        0 => State::DataCr,
        remaining => State::Data { remaining },
    }
}

impl Window<'_> {
    /// The next byte; there must be one.
    fn peek(&self) -> u8 {
        self.bytes[self.read]
    }

    /// Reads `count` bytes, and keeps them or not. Nothing moves unless something before them
    /// was left out.
    fn take(&mut self, count: usize, keep: bool) {
        if keep {
            if self.kept != self.read {
                self.bytes.copy_within(self.read..self.read + count, self.kept);
            }
            self.kept += count;
        }
        self.read += count;
    }

    /// Reads one byte that must be `byte`.
    fn expect(&mut self, byte: u8, keep: bool, otherwise: ChunkError) -> Result<(), ChunkError> {
        if self.peek() != byte {
            return Err(otherwise);
        }
        self.take(1, keep);
        Ok(())
    }
}

fn hex_value(byte: u8) -> Option<u64> {
    match byte {
        b'0'..=b'9' => Some(u64::from(byte - b'0')),
        b'a'..=b'f' => Some(u64::from(byte - b'a') + 10),
        b'A'..=b'F' => Some(u64::from(byte - b'A') + 10),
        _ => None,
    }
}

/// Whether `byte` may stand in a field value or a quoted string: HTAB, SP, VCHAR or obs-text
/// (RFC 9110 §5.5).
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Writes the chunk-size line of a chunk of `len` bytes into `out` and returns it. The data and
/// [`CRLF`] follow. `len` must not be zero: that would end the body, see [`LAST_CHUNK`].
pub fn prefix(len: usize, out: &mut [u8; PREFIX_BYTES]) -> &[u8] {
    debug_assert!(len > 0);
    let mut start = PREFIX_BYTES - CRLF.len();
    let mut rest = len;
    loop {
        start -= 1;
        out[start] = b"0123456789abcdef"[rest & 0xf];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out[PREFIX_BYTES - CRLF.len()..].copy_from_slice(CRLF);
    &out[start..]
}

/// The rule that a chunked body breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkError {
    /// A chunk-size line does not begin with a hexadecimal digit (RFC 9112 §7.1).
    SizeMissing,
    /// Something other than digits, `;` or CRLF stands in a chunk size (RFC 9112 §7.1).
    SizeCharacter,
    /// A chunk size has more than [`SIZE_DIGITS_MAX`] digits (RFC 9112 §7.1).
    SizeTooLong,
    /// A control byte stands in a chunk extension (RFC 9112 §7.1.1).
    ExtensionCharacter,
    /// The extensions of a chunk exceed [`EXTENSION_BYTES_MAX`] (RFC 9112 §7.1.1).
    ExtensionTooLong,
    /// A CR is not followed by LF (RFC 9112 §2.2).
    BareCr,
    /// A LF does not follow CR (RFC 9112 §2.2, §7.1: chunk lines end with CRLF).
    BareLf,
    /// The data of a chunk is not followed by CRLF (RFC 9112 §7.1): its size is wrong.
    DataEnd,
    /// A trailer line does not begin with a token and a colon (RFC 9112 §5.1, §7.1.2).
    TrailerName,
    /// A trailer value holds a control byte (RFC 9110 §5.5).
    TrailerValue,
    /// A trailer line begins with white space (RFC 9112 §5.2: obsolete line folding).
    TrailerFold,
    /// The trailer section exceeds [`TRAILER_BYTES_MAX`] (RFC 9112 §7.1.2).
    TrailersTooLong,
    /// The trailer section has more than [`TRAILER_FIELDS_MAX`] fields (RFC 9112 §7.1.2).
    TrailersTooMany,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SizeMissing => "chunk without a size",
            Self::SizeCharacter => "chunk size with a character that is not a hexadecimal digit",
            Self::SizeTooLong => "chunk size of more than 16 digits",
            Self::ExtensionCharacter => "chunk extension with a control character",
            Self::ExtensionTooLong => "chunk extensions longer than 1 KiB",
            Self::BareCr => "CR without LF in the framing of a chunked body",
            Self::BareLf => "LF without CR in the framing of a chunked body",
            Self::DataEnd => "chunk data that does not end where its size says",
            Self::TrailerName => "trailer that does not begin with a field name and a colon",
            Self::TrailerValue => "trailer value with a control character",
            Self::TrailerFold => "trailer line that begins with white space",
            Self::TrailersTooLong => "trailers longer than 8 KiB",
            Self::TrailersTooMany => "more than 64 trailers",
        })
    }
}

impl std::error::Error for ChunkError {}
