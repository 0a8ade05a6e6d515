//! HTTP/2 streams as HTTP/1.1 bytes, and back, over the `h2` crate.
//!
//! HTTP/1.1 is the one form of a message inside this program. A stream of HTTP/2 is read from an
//! [`Inward`] and written to an [`Outward`], which speak HTTP/1.1 to the one side and frames to the
//! other: `head` translates heads (RFC 9113 §8.2, §8.3), the two others bodies. Whoever reads and
//! writes cannot tell that it is no connection of its own, but for what is said in [`Outward`].
//!
//! This room knows no socket: `h2` frames what it is given over whatever `proxy` puts below it. It
//! is a place where requests could be smuggled, so every byte of a head is checked here, although
//! `h2` checks most of them, and once more by `http1`, which reads what is written here.

mod asking;
mod census;
mod head;
mod inward;
mod outward;

#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use asking::{
    Caller, Calling, TARGET_STREAM_WINDOW_BYTES, TARGET_STREAMS_MAX, TARGET_WINDOW_BYTES, ask,
    calling, is_unprocessed,
};
pub use census::Census;
pub use head::{Framing, Malformed};
pub use inward::Inward;
pub use outward::Outward;

use crate::model::REQUEST_HEAD_BYTES_MAX;

/// The first bytes of every client (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Its name in ALPN (RFC 9113 §3.2).
pub const ALPN: &[u8] = b"h2";

/// Streams that a client may have open at once (AWS: 128); one more is refused.
pub const STREAMS_MAX: u32 = 128;
/// Bytes of a body that a peer may send before they are read, per stream: what a stream whose
/// reader is slow holds at most.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The same for all streams of a connection: what a connection holds of bodies at most.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of a body that wait in a stream for their turn to be sent.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Streams that were reset and of which frames may still come.
const RESET_STREAMS_MAX: usize = 64;
/// Streams that were reset before anybody has looked at them, and for errors of the peer; beyond
/// them the connection ends with ENHANCE_YOUR_CALM (CVE-2023-44487, CVE-2025-8671).
const EARLY_RESETS_MAX: usize = STREAMS_MAX as usize;
const ERROR_RESETS_MAX: usize = 256;

/// A connection with a client, over `T`.
pub type Serving<T> = h2::server::Connection<T, Bytes>;
/// A request and where its response goes.
pub type Incoming = (http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>);
/// Why a connection or a stream has ended.
pub use h2::{Error, Reason};

/// How connections with clients are served.
#[must_use]
pub fn serving() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(REQUEST_HEAD_BYTES_MAX as u32)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(EARLY_RESETS_MAX)
        .max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
        .enable_connect_protocol();
    builder
}

/// The bytes of the stream of `incoming`: its request is read from the one, its response written to
/// the other.
///
/// # Errors
/// The rule that the request breaks; the stream has been reset then.
pub fn serve((request, mut respond): Incoming) -> Result<(Inward, Outward), Malformed> {
    let (parts, body) = request.into_parts();
    let mut head = Vec::with_capacity(head::USUAL_BYTES);
    match head::request(&parts, body.is_end_stream(), &mut head) {
        Ok(framing) => {
            let is_head = parts.method == http::Method::HEAD;
            Ok((Inward::new(head, framing, body), Outward::respond(respond, is_head)))
        }
        Err(malformed) => {
            respond.send_reset(Reason::PROTOCOL_ERROR);
            Err(malformed)
        }
    }
}

/// A question whether the peer is there.
#[must_use]
pub fn ping() -> h2::Ping {
    h2::Ping::opaque()
}

/// `error` as one of reading and writing.
fn io_error(error: Error) -> std::io::Error {
    let kind = match error.is_reset() || error.is_go_away() {
        true => std::io::ErrorKind::ConnectionReset,
        false => std::io::ErrorKind::InvalidData,
    };
    std::io::Error::new(kind, error)
}
