//! Waits for a request on a client connection and reads its head.

use crate::http1::{Parsed, parse_request};
use crate::message::Request;
use crate::model::{Mode, REQUEST_HEAD_BYTES_MAX};
use crate::net::Buffer;

use super::error::ErrorKind;
use super::http::{Client, RELEASE_AFTER, Scratch};
use super::local::Local;

/// Most empty lines in front of a request. Robust servers ignore one (RFC 9112 §2.2), which old
/// clients send behind a body; more are as cheap, but must not keep a connection for ever.
const EMPTY_LINES_MAX: u8 = 8;

/// Why there is no request to serve.
pub(super) enum NoRequest {
    /// None has been begun for a while.
    Idle,
    /// The client has closed, or its time without a request is over.
    Ended,
    /// What came cannot be served.
    Refused(ErrorKind),
}

/// Reads until `input` begins with a whole request head.
pub(super) async fn read_request(
    client: &Client,
    local: &Local,
    scratch: &mut Scratch,
    input: &mut Buffer,
) -> Result<(), NoRequest> {
    let Scratch { request: head, record, .. } = scratch;
    let mut scanned = 0;
    let mut deadline = None;
    loop {
        if input.filled().first() == Some(&b'\r') && skips_empty_lines(client, input) {
            // What is behind them is the beginning, and where there is nothing, none has been made.
            (scanned, deadline) = (0, None);
        }
        // A head can only be complete, or broken in a new way, once another line has ended.
        let new_line = memchr::memchr(b'\n', &input.filled()[scanned..]).is_some();
        let full = input.len() > REQUEST_HEAD_BYTES_MAX;
        if !input.is_empty() && (scanned == 0 || new_line || full) {
            let snapshot = local.snapshot();
            let listener = snapshot.listener(client.listener).ok_or(NoRequest::Ended)?;
            if scanned == 0 {
                record.begin(Mode::L7, listener.log.is_some());
                record.listener.set(Some(client.listener));
            }
            let mitigation = listener.settings.http.desync_mitigation;
            let bytes = input.filled();
            match parse_request(bytes, mitigation, head) {
                Ok(Parsed::Complete) => {
                    let request = Request { head, bytes, peer: client.peer.ip() };
                    if let Some(sampling) = snapshot.sampling
                        && let Some(context) = sampling.choose(&request, local.randoms())
                    {
                        record.tells(context, &listener.settings.name);
                    }
                    record.read(&request, scanned == 0);
                    client.empty_lines.set(0);
                    return Ok(());
                }
                Ok(Parsed::Partial) => record.received.set(bytes.len() as u64),
                Err(error) => {
                    record.breaks(error, head, bytes);
                    return Err(NoRequest::Refused(error.into()));
                }
            }
            let limit = listener.settings.head_timeout;
            deadline.get_or_insert_with(|| client.alarm.deadline(limit));
        }
        scanned = input.len();
        match deadline {
            None => read_first(client, local, input).await?,
            Some(deadline) => read_more(client, deadline, input).await?,
        }
    }
}

/// Drops empty lines in front of a request, as far as they are allowed; whether there are any.
#[cold]
fn skips_empty_lines(client: &Client, input: &mut Buffer) -> bool {
    let left = EMPTY_LINES_MAX.saturating_sub(client.empty_lines.get());
    let lines = input.filled().chunks_exact(2).take_while(|line| line == b"\r\n");
    let count = (0..left).zip(lines).count();
    input.consume(2 * count);
    client.empty_lines.set(EMPTY_LINES_MAX - left + count as u8);
    count > 0
}

/// Waits for the first byte of a request, at most [`RELEASE_AFTER`] with a buffer.
async fn read_first(client: &Client, local: &Local, input: &mut Buffer) -> Result<(), NoRequest> {
    if !local.engine.reads_can_be_given_up() && !has_bytes(client).await {
        return Err(NoRequest::Idle);
    }
    let mut buffer = std::mem::take(input);
    buffer.clear();
    if buffer.room() == 0 {
        buffer = local.buffers.head();
    }
    match client.alarm.idle(RELEASE_AFTER, client.socket.read(buffer)).await {
        None => Err(NoRequest::Idle),
        Some((Ok(1..), buffer)) => {
            *input = buffer;
            Ok(())
        }
        Some((Ok(0) | Err(_), buffer)) => {
            *input = buffer;
            Err(NoRequest::Ended)
        }
    }
}

/// Whether there is something to read within [`RELEASE_AFTER`], the end included.
async fn has_bytes(client: &Client) -> bool {
    client.alarm.idle(RELEASE_AFTER, client.socket.readable()).await.is_some()
}

/// Reads more of a head that has begun.
async fn read_more(client: &Client, deadline: u32, input: &mut Buffer) -> Result<(), NoRequest> {
    let mut buffer = std::mem::take(input);
    if buffer.room() == 0 {
        // Doubling keeps the cost of a large head linear; its limit bounds it.
        buffer.reserve(buffer.len());
    }
    let read = client.alarm.until(deadline, client.socket.read(buffer)).await;
    let Some((count, buffer)) = read else {
        return Err(NoRequest::Refused(ErrorKind::HttpRequestTimeout));
    };
    *input = buffer;
    match count {
        Ok(1..) => Ok(()),
        // The client has ended its direction: it may still read that its request was cut short.
        Ok(0) => Err(NoRequest::Refused(ErrorKind::HttpRequestError)),
        Err(_) => Err(NoRequest::Refused(ErrorKind::ClientClosed)),
    }
}
