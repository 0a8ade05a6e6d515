//! Header fields of a head: from httparse's slices to checked ranges.

use std::mem::MaybeUninit;

use crate::message::{Field, FieldKind, Span};
use crate::model::FIELDS_MAX;

use super::HeadError;

/// Room for httparse's slices, on the stack.
pub(super) type Slices<'b> = [MaybeUninit<httparse::Header<'b>>; FIELDS_MAX];

/// An uninitialised [`Slices`].
pub(super) const fn slices<'b>() -> Slices<'b> {
    [const { MaybeUninit::uninit() }; FIELDS_MAX]
}

/// Translates httparse's error, the limit of fields apart.
pub(super) fn parse_error(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version => HeadError::Version,
        httparse::Error::NewLine => HeadError::LineEnd,
        httparse::Error::Status => HeadError::Status,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::Token => {
            HeadError::Malformed
        }
    }
}

/// Where `part`, a slice of `whole`, begins in it.
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// How line ends are treated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnds {
    /// CR LF only: requests, where a bare LF may be read otherwise by a target.
    Strict,
    /// LF as well: responses, whose heads are written anew.
    Lenient,
}

/// Fills `fields` from `headers`, whose slices lie in `bytes`; `at` is where the first line
/// begins and `end` where the head ends. Checks that nothing lies between the parts of a line but
/// what the grammar allows, so that what is copied later is what was parsed.
pub(super) fn read(
    bytes: &[u8],
    headers: &[httparse::Header<'_>],
    mut at: usize,
    end: usize,
    line_ends: LineEnds,
    fields: &mut Vec<Field>,
) -> Result<(), HeadError> {
    fields.clear();
    for header in headers {
        let name = offset(bytes, header.name.as_bytes());
        let name = Span::new(name, name + header.name.len());
        // httparse gives an empty value a slice of its own that may lie elsewhere.
        let value = match header.value {
            [] => Span::new(name.range().end + 1, name.range().end + 1),
            value => {
                let start = offset(bytes, value);
                Span::new(start, start + value.len())
            }
        };
        let next = line_end(bytes, value.range().end, end, line_ends)?;
        let canonical = name.range().start == at
            && value.range().start == name.range().end + 2
            && bytes[name.range().end + 1] == b' '
            && bytes[value.range().end] == b'\r'
            && next == value.range().end + 2;
        if name.range().start != at && line_ends == LineEnds::Strict {
            return Err(HeadError::Malformed);
        }
        at = next;
        fields.push(Field { name, value, kind: FieldKind::of(header.name.as_bytes()), canonical });
    }
    match line_end(bytes, at, end, line_ends) {
        Ok(after) if after == end => Ok(()),
        Ok(_) => Err(HeadError::Malformed),
        Err(error) => Err(error),
    }
}

/// The position behind the line end that follows `at`, white space skipped.
pub(super) fn line_end(
    bytes: &[u8],
    mut at: usize,
    end: usize,
    line_ends: LineEnds,
) -> Result<usize, HeadError> {
    while at < end && matches!(bytes[at], b' ' | b'\t') {
        at += 1;
    }
    match &bytes[at.min(end)..end] {
        [b'\r', b'\n', ..] => Ok(at + 2),
        [b'\n', ..] if line_ends == LineEnds::Lenient => Ok(at + 1),
        _ => Err(HeadError::LineEnd),
    }
}

/// What the `Connection` fields of a head say (RFC 9110 §7.6.1).
#[derive(Default, Clone, Copy)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    pub(super) names_fields: bool,
}

impl Connection {
    pub(super) fn add(&mut self, value: &[u8]) {
        for token in tokens(value) {
            let is = |text: &str| token.eq_ignore_ascii_case(text.as_bytes());
            match token.len() {
                2 if is("te") => {}
                5 if is("close") => self.close = true,
                7 if is("upgrade") => self.upgrade = true,
                10 if is("keep-alive") => self.keep_alive = true,
                _ => self.names_fields = true,
            }
        }
    }
}

/// The elements of a comma-separated list, without white space and without empty ones.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Reads a Content-Length: digits only, no sign, no list (RFC 9110 §8.6).
pub(super) fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() || value.len() > 20 {
        return Err(HeadError::ContentLength);
    }
    value
        .iter()
        .try_fold(0_u64, |length, &byte| match byte {
            b'0'..=b'9' => length.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
            _ => None,
        })
        .ok_or(HeadError::ContentLength)
}
