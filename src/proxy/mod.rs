//! One client connection from its first byte to its close, at either layer.
//!
//! `http` is the life of an L7 connection and of each request on it, `forward` the part that
//! involves targets, `attempt` one try at one of them, `tcp` the life of an L4 connection,
//! `tunnel` what both end in when bytes are only moved. `headers` and `respond` write heads,
//! `sticky` binds clients to targets, `error` is the table of what can go wrong, `record` what is
//! to be said of an exchange once it is over, `tallies` what is counted then, `spans` what is told
//! to a collector. Everything a connection borrows from its worker is in [`Local`].

mod attempt;
mod body;
mod carried;
mod client;
mod connect;
mod dialect;
mod error;
mod forward;
mod handshake;
mod headers;
mod http;
mod http2;
mod lines;
mod local;
mod log;
mod pool;
mod proxied;
mod read;
mod record;
mod respond;
mod server_name;
mod spans;
mod sticky;
mod stream;
mod tallies;
mod tcp;
mod tunnel;
mod wire;

use std::net::SocketAddr;
use std::rc::Rc;

pub use error::{ErrorKind, Row};
pub use local::{Held, Local};
pub use pool::Share;

use http::Client;

use crate::model::Mode;
use crate::net::{self, Socket, Tag, contain};
use crate::snapshot::{ListenerId, TargetId};

/// Starts to serve a client connection, which is counted as open already, in the mode that its
/// listener has now, until it closes. A panic ends this connection, is counted, and harms no other.
pub fn spawn(socket: Socket, peer: SocketAddr, listener: ListenerId, local: &Rc<Local>) {
    let mode = local.snapshot().listener(listener).map(|listener| listener.settings.mode);
    let Some(mode) = mode else { return local.counters.open.leave() };
    // Boxed: an async function holds an argument twice.
    let client = Box::new(Client::new(socket, peer, listener, local));
    let counters = local.clone();
    let panicked = move || {
        counters.counters.panics.add(1);
        tracing::error!(client = %peer, "a connection panicked and was closed");
    };
    match mode {
        Mode::L7 => drop(net::spawn(contain(http::serve(client, local.clone()), panicked))),
        Mode::L4 => drop(net::spawn(contain(tcp::serve(client, local.clone()), panicked))),
    }
}

/// What the waits of a connection that depend on a target are tagged with.
#[must_use]
pub fn tag(target: TargetId) -> Tag {
    Tag(u64::from(target.slot) << 32 | u64::from(target.generation))
}

/// What the waits of an L7 connection without a request are tagged with. The top two bits tell
/// tags of targets, of connections without a request, and of acceptors apart.
#[must_use]
pub fn idle_tag(listener: ListenerId) -> Tag {
    Tag(1 << 62 | u64::from(listener.slot) << 32 | u64::from(listener.generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl Fn(Box<Client>, Rc<Local>) -> F) -> usize {
        size_of::<F>()
    }

    /// What a connection costs while it waits: these and its client, socket and alarm.
    #[test]
    fn futures_of_connections_are_small() {
        assert!(size(http::serve) <= 320, "{}", size(http::serve));
        assert!(size(tcp::serve) <= 1860, "{}", size(tcp::serve));
        assert!(size_of::<Client>() <= 168, "{}", size_of::<Client>());
    }
}
