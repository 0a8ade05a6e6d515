//! One L4 client connection: bound to one target connection, never read.

use std::rc::Rc;
use std::time::Duration;

use crate::model::{Action, Retry};
use crate::net::{Buffer, Socket};
use crate::proxy_protocol::{self, Addresses};
use crate::snapshot::{Load, OwnedInFlight};

use super::connect::{self, Tried};
use super::http::Client;
use super::local::Local;
use super::{proxied, tunnel};

/// A target connection for a client, and what is still to be sent on it first.
struct Bound {
    socket: Socket,
    load: OwnedInFlight,
    idle_timeout: Duration,
    early: Buffer,
}

/// Serves a client connection until it closes.
pub(super) async fn serve(mut client: Box<Client>, local: Rc<Local>) {
    // Boxed, so that the connection keeps only what the tunnel needs.
    let Some(bound) = Box::pin(bind(&mut client, &local)).await else {
        // No target: as a Classic ELB does, the connection is closed without a word.
        return client.socket.reset_on_close();
    };
    let Bound { socket, load, idle_timeout, early } = bound;
    tunnel::run(&client.socket, &socket, early, &client.alarm, idle_timeout, &local).await;
    drop(load);
}

/// Connects to a target. Until a byte has moved, the next one may be tried.
async fn bind(client: &mut Client, local: &Local) -> Option<Bound> {
    let mut early = Buffer::default();
    let mut destination = None;
    if proxied::is_expected(local, client.listener) {
        let read = proxied::read(client, local).await?;
        (client.peer, destination, early) = (read.peer, read.destination, read.payload);
    }
    let snapshot = local.snapshot();
    let settings = &snapshot.listener(client.listener)?.settings;
    let Action::Forward(forward) = &settings.default else { return None };
    let group = snapshot.group(crate::routing::choose_group(forward, local.random())?);
    let mut tried = Tried::default();
    loop {
        let target = connect::choose(group, &tried, local)?;
        let load = Load::enter_owned(&target.load);
        let connected = connect::connect(group, target, true, &client.alarm, local).await;
        if let Ok((socket, _)) = connected {
            if let Some(version) = settings.proxy_protocol {
                let destination = match destination {
                    Some(destination) => destination,
                    None => client.socket.local_address().ok()?,
                };
                let addresses = Addresses { source: client.peer, destination };
                let mut header = local.buffers.head();
                proxy_protocol::encode(version, &addresses, header.tail());
                header.tail().extend_from_slice(early.filled());
                early = header;
            }
            return Some(Bound { socket, load, idle_timeout: settings.idle_timeout, early });
        }
        if group.settings.retry == Retry::Never {
            return None;
        }
        tried.add(group, target);
    }
}
