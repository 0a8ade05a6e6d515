//! Which server a client of an L4 listener asks for, before a target is chosen.

use std::time::Duration;

use crate::client_hello::{self, Opening};
use crate::net::Buffer;

use super::error::ErrorKind;
use super::http::Client;
use super::local::Local;
use super::record::Record;

/// The name that the client asks for, where its listener wants to know, and what was read on the
/// way. `None` closes the connection; `record` knows why.
pub(super) async fn wanted(
    client: &Client,
    early: Buffer,
    record: &Record,
    local: &Local,
) -> Option<(Option<String>, Buffer)> {
    let Some(limit) = limit(client, local) else { return Some((None, early)) };
    let read = read(client, early, limit, local).await;
    record.error.set(read.as_ref().err().copied());
    let (name, early) = read.ok()?;
    record.asks_for(name.as_deref().unwrap_or_default());
    Some((name, early))
}

/// For how long a connection of the client's listener waits for a name; `None`: for none.
fn limit(client: &Client, local: &Local) -> Option<Duration> {
    let snapshot = local.snapshot();
    let listener = snapshot.listener(client.listener)?;
    listener.by_server_name.as_ref().map(|_| listener.settings.head_timeout)
}

/// Reads until the name that the client asks for is known, or that there is none: what is no
/// ClientHello, or too long, or ends too early, asks for no name. What was read comes with it. A
/// client that says nothing at all for `limit` asks for none either: it may wait for its server.
///
/// # Errors
/// When the connection breaks, or a ClientHello is not whole in time.
async fn read(
    client: &Client,
    early: Buffer,
    limit: Duration,
    local: &Local,
) -> Result<(Option<String>, Buffer), ErrorKind> {
    let deadline = client.alarm.deadline(limit);
    if early.is_empty() {
        match client.alarm.until(deadline, client.socket.readable()).await {
            Some(Ok(())) => {}
            Some(Err(_)) => return Err(ErrorKind::ClientClosed),
            None => return Ok((None, early)),
        }
    }
    let mut buffer = local.buffers.tunnel();
    buffer.tail().extend_from_slice(early.filled());
    local.buffers.put(early);
    loop {
        match client_hello::read(buffer.filled()) {
            Opening::Incomplete => {}
            Opening::Hello(name) => return Ok((name, buffer)),
            Opening::Other => return Ok((None, buffer)),
        }
        buffer.reserve(1);
        match client.alarm.until(deadline, client.socket.read(buffer)).await {
            Some((Ok(0), buffer)) => return Ok((None, buffer)),
            Some((Ok(_), filled)) => buffer = filled,
            Some((Err(_), _)) => return Err(ErrorKind::ClientClosed),
            None => return Err(ErrorKind::TlsProtocolError),
        }
    }
}
