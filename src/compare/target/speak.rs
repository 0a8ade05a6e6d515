//! As much of HTTP/2 and of WebSocket as it takes to tell who answers a client.
//!
//! A target answers any stream with status 200 and no body, and sends back any short frame.

use std::sync::atomic::Ordering::Relaxed;

use crate::net::{Buffer, Socket};

use super::Connection;

/// What a client of HTTP/2 says first (RFC 9113 §3.4).
pub(in crate::compare) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame head of HTTP/2.
pub(in crate::compare) const FRAME_HEAD_BYTES: usize = 9;
/// An empty SETTINGS frame.
pub(in crate::compare) const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The answer to it.
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
/// Types of frames (RFC 9113 §6).
pub(in crate::compare) const HEADERS: u8 = 1;
pub(in crate::compare) const SETTINGS_TYPE: u8 = 4;
pub(in crate::compare) const GOAWAY: u8 = 7;
/// `:status: 200` in HPACK's static table (RFC 7541, appendix A, index 8).
pub(in crate::compare) const STATUS_200: u8 = 0x88;
/// END_STREAM and END_HEADERS.
pub(in crate::compare) const END: u8 = 0x5;

/// The key of RFC 6455 §1.3, and what it has to be answered with.
pub(in crate::compare) const WS_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(in crate::compare) const WS_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Longest frame of a WebSocket that is sent back.
const WS_PAYLOAD_MAX: usize = 125;

/// A frame of HTTP/2: type, flags, stream, payload; and how many bytes it takes.
pub(in crate::compare) fn frame(bytes: &[u8]) -> Option<(u8, u8, u32, &[u8], usize)> {
    let &[l1, l2, l3, kind, flags, s1, s2, s3, s4] = bytes.first_chunk::<FRAME_HEAD_BYTES>()?;
    let end = FRAME_HEAD_BYTES + u32::from_be_bytes([0, l1, l2, l3]) as usize;
    let stream = u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]);
    Some((kind, flags, stream, bytes.get(FRAME_HEAD_BYTES..end)?, end))
}

/// Answers frames behind the preface, `preface` bytes long, which may not have come whole.
pub(super) async fn http2(socket: &Socket, mut input: Buffer, preface: usize) -> Option<()> {
    while input.len() < preface {
        input = more(socket, input).await?;
    }
    input.consume(preface);
    write(socket, SETTINGS).await?;
    loop {
        let Some((kind, flags, stream, _, length)) = frame(input.filled()) else {
            input = more(socket, input).await?;
            continue;
        };
        match kind {
            SETTINGS_TYPE if flags & 1 == 0 => write(socket, SETTINGS_ACK).await?,
            HEADERS => write(socket, &response(stream)).await?,
            GOAWAY => return None,
            _ => {}
        }
        input.consume(length);
    }
}

/// Switches to HTTP/2 as RFC 7540 had it (RFC 9113 has it no more), and answers stream 1.
pub(super) async fn http2_upgrade(socket: &Socket, input: Buffer) -> Option<()> {
    let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    write(socket, &[head, SETTINGS, &response(1)].concat()).await?;
    http2(socket, input, PREFACE.len()).await
}

fn response(stream: u32) -> Vec<u8> {
    let mut frame = vec![0, 0, 1, HEADERS, END];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.push(STATUS_200);
    frame
}

/// Opens a WebSocket and sends back each short frame.
pub(super) async fn web_socket(connection: Connection, mut input: Buffer) -> Option<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {WS_ACCEPT}\r\nX-Application: {}\r\n\r\n",
        connection.target.application
    );
    let socket = &connection.socket;
    write(socket, head.as_bytes()).await?;
    loop {
        let Some((frame, length)) = unmasked(input.filled()) else {
            input = more(socket, input).await?;
            continue;
        };
        connection.target.seen.requests.fetch_add(1, Relaxed);
        write(socket, &frame).await?;
        input.consume(length);
    }
}

/// The frame at the start of `bytes` as a server sends it, and the bytes that it took.
fn unmasked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let &[opcode, length, m1, m2, m3, m4] = bytes.first_chunk::<6>()?;
    let length = usize::from(length & 0x7f).min(WS_PAYLOAD_MAX);
    let payload = bytes.get(6..6 + length)?;
    let mut frame = vec![opcode, u8::try_from(length).ok()?];
    frame.extend(payload.iter().zip([m1, m2, m3, m4].iter().cycle()).map(|(byte, key)| byte ^ key));
    Some((frame, 6 + length))
}

async fn more(socket: &Socket, mut input: Buffer) -> Option<Buffer> {
    input.reserve(1024);
    let (count, input) = socket.read(input).await;
    (count.ok()? > 0).then_some(input)
}

async fn write(socket: &Socket, bytes: &[u8]) -> Option<()> {
    let mut output = Buffer::with_room(bytes.len());
    output.tail().extend_from_slice(bytes);
    socket.write(output).await.0.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_whole_or_not_at_all() {
        let bytes = response(3);
        assert_eq!(frame(&bytes), Some((HEADERS, END, 3, &[STATUS_200][..], 10)));
        for end in 0..bytes.len() {
            assert_eq!(frame(&bytes[..end]), None);
        }
    }

    #[test]
    fn a_masked_frame_comes_back_in_the_clear() {
        let masked = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2, 0xff];
        assert_eq!(unmasked(&masked), Some((vec![0x81, 2, b'h', b'i'], 8)));
        assert_eq!(unmasked(&masked[..7]), None);
    }
}
