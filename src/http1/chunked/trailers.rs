//! The trailer section of a chunked body (RFC 9112 §7.1.2): which fields may be relayed.
//!
//! Lines are collected until they are whole, checked as strictly as those of a head, and written
//! anew. A field that would change how the message is framed, routed, authenticated or processed
//! must not be in a trailer section (RFC 9110 §6.5.1); it is dropped, for a target that merges
//! trailers into the head would believe it. Start with [`Trailers::take`].

use super::{CRLF, ChunkError, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX, is_text};

/// The chunk-size line that comes before a trailer section.
const ZERO_CHUNK: &[u8] = b"0\r\n";

/// Trailers that have come so far. Both buffers are bounded by [`TRAILER_BYTES_MAX`], the
/// section being at most one byte per field longer.
#[derive(Debug)]
pub(super) struct Trailers {
    relay: bool,
    /// Last chunk and the fields to relay, canonical; empty while there are none.
    section: Vec<u8>,
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// Bytes that came, all lines together.
    bytes: usize,
    /// Fields that came.
    fields: usize,
}

impl Trailers {
    /// No trailers yet. Without `relay` they are checked only.
    pub(super) fn new(relay: bool) -> Self {
        Self { relay, section: Vec::new(), line: Vec::new(), bytes: 0, fields: 0 }
    }

    /// Whether the next byte begins a line.
    pub(super) fn at_line_start(&self) -> bool {
        self.line.is_empty()
    }

    /// Whether a field is to be relayed.
    pub(super) fn any_relayed(&self) -> bool {
        !self.section.is_empty()
    }

    /// The last chunk, the fields to relay and, after [`Trailers::end`], the empty line.
    pub(super) fn section(&self) -> &[u8] {
        &self.section
    }

    /// Reads `input` up to the end of the line and returns how many bytes that were.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<usize, ChunkError> {
        let line_end = memchr::memchr(b'\n', input);
        let taken = line_end.map_or(input.len(), |at| at + 1);
        self.bytes += taken;
        if self.bytes > TRAILER_BYTES_MAX {
            return Err(ChunkError::TrailersTooLong);
        }
        self.line.extend_from_slice(&input[..taken]);
        if line_end.is_some() {
            self.end_line()?;
            self.line.clear();
        }
        Ok(taken)
    }

    /// Ends the section with its empty line.
    pub(super) fn end(&mut self) {
        self.section.extend_from_slice(CRLF);
    }

    /// Bytes in both buffers.
    #[cfg(test)]
    pub(super) fn bytes_held(&self) -> usize {
        self.section.len() + self.line.len()
    }

    /// Checks the whole line and writes it anew where it may be relayed.
    fn end_line(&mut self) -> Result<(), ChunkError> {
        let Some(line) = self.line.strip_suffix(CRLF) else {
            return Err(ChunkError::BareLf);
        };
        let (name, value) = split_line(line)?;
        self.fields += 1;
        if self.fields > TRAILER_FIELDS_MAX {
            return Err(ChunkError::TrailersTooMany);
        }
        if self.relay && !is_forbidden(name) {
            if self.section.is_empty() {
                self.section.extend_from_slice(ZERO_CHUNK);
            }
            for part in [name, b": ", value, CRLF] {
                self.section.extend_from_slice(part);
            }
        }
        Ok(())
    }
}

/// Splits a line without its CRLF into name and value, the white space around the value removed.
fn split_line(line: &[u8]) -> Result<(&[u8], &[u8]), ChunkError> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(ChunkError::TrailerFold);
    }
    if line.contains(&b'\r') {
        return Err(ChunkError::BareCr);
    }
    let colon = memchr::memchr(b':', line).ok_or(ChunkError::TrailerName)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(ChunkError::TrailerName);
    }
    if !value.iter().copied().all(is_text) {
        return Err(ChunkError::TrailerValue);
    }
    // Only SP and HTAB can be trimmed here: other white space is a control byte.
    Ok((name, value.trim_ascii()))
}

/// Whether `byte` may stand in a token (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Fields that a trailer section must not have (RFC 9110 §6.5.1), in lower case.
const FORBIDDEN: &[&str] = &[
    // Framing and the connection.
    "transfer-encoding",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    // Routing, and what we tell targets about the client.
    "host",
    "forwarded",
    "x-real-ip",
    "x-http-method-override",
    // Authentication and state.
    "authorization",
    "proxy-authorization",
    "www-authenticate",
    "proxy-authenticate",
    "cookie",
    "set-cookie",
    // Modifiers of requests.
    "cache-control",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "pragma",
    "range",
    // What is needed before the body is processed, and control data of responses.
    "content-encoding",
    "content-range",
    "content-type",
    "age",
    "date",
    "expires",
    "location",
    "retry-after",
    "vary",
    "warning",
];

/// Beginnings of names that are forbidden likewise: `X-Forwarded-For`, `X-Amzn-Trace-Id`, …
const FORBIDDEN_PREFIXES: &[&str] = &["x-forwarded-", "x-amzn-"];

/// Whether a field `name` must not be relayed in trailers. `_` counts as `-`, as it does for
/// targets that turn names into environment variables.
fn is_forbidden(name: &[u8]) -> bool {
    let begins_with = |text: &str| {
        name.len() >= text.len()
            && name.iter().zip(text.bytes()).all(|(&byte, letter)| match byte {
                b'_' => letter == b'-',
                byte => byte.to_ascii_lowercase() == letter,
            })
    };
    FORBIDDEN.iter().any(|text| name.len() == text.len() && begins_with(text))
        || FORBIDDEN_PREFIXES.iter().any(|text| begins_with(text))
}
