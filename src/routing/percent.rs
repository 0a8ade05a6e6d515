//! Percent-encoding (RFC 3986 §2.1), and the scratch space to decode into.

use crate::model::REQUEST_LINE_BYTES_MAX;

/// One character of a text that may be percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A byte that stands for itself; also each byte of a broken escape.
    Plain(u8),
    /// The byte that an escape stands for.
    Escaped(u8),
}

/// The characters of `text`, one by one.
pub(super) fn units(text: &[u8]) -> impl Iterator<Item = Unit> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if let [b'%', high, low, after @ ..] = rest
            && let Some(byte) = hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low)
        {
            rest = after;
            return Some(Unit::Escaped(byte));
        }
        let (&byte, after) = rest.split_first()?;
        rest = after;
        Some(Unit::Plain(byte))
    })
}

/// The escape that stands for `byte`, in upper case (RFC 3986 §6.2.2.1).
pub(super) fn escape(byte: u8) -> [u8; 3] {
    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
    [b'%', digit(byte >> 4), digit(byte & 0xf)]
}

/// Calls `work` with zeroed scratch space of at least `len` bytes, or without any when `len` is
/// above [`REQUEST_LINE_BYTES_MAX`], which no part of a request line is.
pub(super) fn with_scratch<R>(len: usize, work: impl FnOnce(Option<&mut [u8]>) -> R) -> R {
    // Zeroing is most of the cost, so the common case gets by with little space.
    const SHORT: usize = 1024;
    if len <= SHORT {
        work(Some(&mut [0; SHORT]))
    } else if len <= REQUEST_LINE_BYTES_MAX {
        work(Some(&mut [0; REQUEST_LINE_BYTES_MAX]))
    } else {
        work(None)
    }
}

/// Value of a hexadecimal digit in either case.
fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}
