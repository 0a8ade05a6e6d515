//! One client connection from its first byte to its close, at either layer.
//!
//! `http` is the life of an L7 connection and of each request on it, `forward` the part that
//! involves a target, `tcp` the life of an L4 connection, `tunnel` what both end in when bytes
//! are only moved. `headers` and `respond` write heads, `error` is the table of what can go wrong.
//! Everything a connection borrows from its worker is in [`Local`].

mod body;
mod connect;
mod error;
mod forward;
mod headers;
mod http;
mod local;
mod pool;
mod proxied;
mod respond;
mod tcp;
mod tunnel;

use std::net::SocketAddr;
use std::rc::Rc;

pub use error::{ErrorKind, Row};
pub use local::{Counted, Held, Local};

use crate::model::Mode;
use crate::net::{Socket, contain};
use crate::snapshot::ListenerId;

/// Serves one client connection in the mode that its listener has now, until it closes. A panic
/// ends this connection, is counted, and harms no other.
pub async fn serve(socket: Socket, peer: SocketAddr, listener: ListenerId, local: Rc<Local>) {
    let counted = local.count();
    let mode = local.snapshot().listener(listener).map(|listener| listener.settings.mode);
    let served = match mode {
        Some(Mode::L7) => contain(http::serve(socket, peer, listener, local.clone())).await,
        // Boxed: a tunnel is larger than an L7 connection that waits, which would pay for it.
        Some(Mode::L4) => {
            contain(Box::pin(tcp::serve(socket, peer, listener, local.clone()))).await
        }
        None => Some(()),
    };
    if served.is_none() {
        local.counters.panics.add(1);
        tracing::error!(client = %peer, "a connection panicked and was closed");
    }
    drop(counted);
}
