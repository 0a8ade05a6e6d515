//! The PROXY protocol header at the start of a client connection that comes through a front.

use std::net::SocketAddr;

use crate::net::Buffer;
use crate::proxy_protocol::{self, Decoded};
use crate::snapshot::ListenerId;

use super::http::Client;
use super::local::Local;

/// Whether connections of `listener` begin with a header.
pub(super) fn is_expected(local: &Local, listener: ListenerId) -> bool {
    let snapshot = local.snapshot();
    let listener = snapshot.listener(listener);
    listener.is_some_and(|listener| listener.settings.accept_proxy_protocol.is_some())
}

/// What a header says.
pub(super) struct Proxied {
    /// The client; the front itself where the header names none.
    pub(super) peer: SocketAddr,
    /// Where the client connected to, if the header says so.
    pub(super) destination: Option<SocketAddr>,
    /// The bytes that came behind the header.
    pub(super) payload: Buffer,
}

/// Reads the header. `None` closes the connection: the front is not trusted, or sent no header in
/// time.
pub(super) async fn read(client: &Client, local: &Local) -> Option<Proxied> {
    let deadline = {
        let snapshot = local.snapshot();
        let settings = &snapshot.listener(client.listener)?.settings;
        if !settings.accept_proxy_protocol.as_ref()?.trusts(client.peer.ip()) {
            return None;
        }
        client.alarm.deadline(settings.head_timeout)
    };
    let mut buffer = local.buffers.head();
    loop {
        buffer.reserve(1);
        let (count, filled) = client.alarm.until(deadline, client.socket.read(buffer)).await?;
        buffer = filled;
        if count.ok()? == 0 {
            return None;
        }
        // Incomplete headers are bounded: longer ones are an error.
        match proxy_protocol::decode(buffer.filled()).ok()? {
            Decoded::Incomplete => {}
            Decoded::Complete { header_bytes, addresses } => {
                buffer.consume(header_bytes);
                return Some(Proxied {
                    peer: addresses.map_or(client.peer, |addresses| addresses.source),
                    destination: addresses.map(|addresses| addresses.destination),
                    payload: buffer,
                });
            }
        }
    }
}
