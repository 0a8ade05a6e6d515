//! One L4 client connection: bound to one target connection, never read.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Action, Mode, Retry, Stickiness};
use crate::net::Buffer;
use crate::proxy_protocol::{self, Addresses};
use crate::snapshot::{GroupView, Load, LogView, OwnedInFlight, TargetView};
use crate::stickiness::source_ip;

use super::connect::{self, Tried};
use super::error::ErrorKind;
use super::http::Client;
use super::local::Local;
use super::record::{self, Record};
use super::stream::Stream;
use super::{handshake, proxied, server_name, tallies, tunnel};

/// A target connection for a client, and what is still to be sent on it first.
struct Bound {
    socket: Stream,
    load: OwnedInFlight,
    idle_timeout: Duration,
    early: Buffer,
    /// What of `early` is ours: a PROXY protocol header.
    header_bytes: u64,
}

/// Serves a client connection until it closes.
pub(super) async fn serve(mut client: Box<Client>, local: Rc<Local>) {
    let mut record = Box::<Record>::default();
    // Boxed, so that the connection keeps only what the tunnel needs.
    match Box::pin(bind(&mut client, &mut record, &local)).await {
        Some(Bound { socket, load, idle_timeout, early, header_bytes }) => {
            tallies::bound(&record, &local);
            let (from, alarm) = (&client.socket, &client.alarm);
            tunnel::run(from, &socket, early, alarm, idle_timeout, &record, &local).await;
            drop(load);
            let received = record.received.get().saturating_sub(header_bytes);
            record.received.set(received);
        }
        // No target: as a Classic ELB does, the connection is closed without a word.
        None => client.socket.reset_on_close(),
    }
    let log = record.log.take();
    record::complete(&record, &client, None, log.as_deref(), &local).await;
}

/// Connects to a target. Until a byte has moved, the next one may be tried.
async fn bind(client: &mut Client, record: &mut Record, local: &Rc<Local>) -> Option<Bound> {
    let log = log_of(client, local);
    record.begin(Mode::L4, log.is_some());
    record.log.replace(log);
    record.listener.set(Some(client.listener));
    let mut early = Buffer::default();
    let mut destination = None;
    if proxied::is_expected(local, client.listener) {
        let read = proxied::read(client, local).await;
        record.error.set(read.is_none().then_some(ErrorKind::ProxyProtocolError));
        let read = read?;
        (client.peer, destination, early) = (read.peer, read.destination, read.payload);
    }
    let early = decrypt(client, early, record, local).await?;
    let (name, mut early) = server_name::wanted(client, early, record, local).await?;
    let snapshot = local.snapshot();
    let listener = snapshot.listener(client.listener)?;
    let settings = &listener.settings;
    let named = name.and_then(|name| listener.by_server_name.as_ref()?.route(&name));
    let action = named.unwrap_or(&settings.default);
    let Action::Forward(forward) = action else { return None };
    record.routed(None, None, action);
    record.error.set(Some(ErrorKind::DestinationUnavailable));
    let group = snapshot.group(crate::routing::choose_group(forward, local.random())?);
    record.forwards(group);
    let header = match settings.proxy_protocol {
        Some(version) => {
            let destination = match destination {
                Some(destination) => destination,
                None => client.socket.local_address().ok()?,
            };
            let mut header = local.buffers.head();
            let addresses = Addresses { source: client.peer, destination };
            proxy_protocol::encode(version, &addresses, header.tail());
            header
        }
        None => Buffer::default(),
    };
    let mut tried = Tried::default();
    loop {
        let sticky = bound_by_address(client, group, &tried);
        let target = sticky.or_else(|| connect::choose(group, &tried, local))?;
        let load = Load::enter_owned(&target.load);
        record.tries(target);
        let connected = connect::for_tunnel(group, target, header.filled(), client).await;
        record.connects();
        record.error.set(connected.as_ref().err().copied());
        if let Ok(socket) = connected {
            let mut header_bytes = 0;
            // Else it has gone ahead of the TLS session.
            if socket.as_plain().is_some() && !header.is_empty() {
                header_bytes = header.len() as u64;
                let payload = std::mem::replace(&mut early, header);
                early.tail().extend_from_slice(payload.filled());
            }
            if group.settings.connection_termination {
                client.alarm.tag(super::tag(target.id));
            }
            let idle_timeout = settings.idle_timeout;
            return Some(Bound { socket, load, idle_timeout, early, header_bytes });
        }
        if group.settings.retry == Retry::Never {
            return None;
        }
        tried.add(target);
    }
}

/// Agrees with the client on how to encrypt, where its listener does. Gives back what it has sent
/// already where it does not; `None` closes the connection.
async fn decrypt(
    client: &mut Client,
    early: Buffer,
    record: &Record,
    local: &Rc<Local>,
) -> Option<Buffer> {
    let Some(server) = handshake::server(client, local) else { return Some(early) };
    let failed = handshake::accept(client, &server, early, local).await.err();
    record.error.set(failed.map(handshake::Refused::kind));
    record.refused_certificate.set(failed.and_then(handshake::Refused::certificate));
    failed.is_none().then(Buffer::default)
}

/// The access log of the listener. The connection holds it, since it may outlive the snapshot.
fn log_of(client: &Client, local: &Local) -> Option<Arc<LogView>> {
    local.snapshot().listener(client.listener)?.log.clone()
}

/// The target that the client's address is bound to, where the group binds by address. A target
/// that was tried in vain gives way to the client's second best.
fn bound_by_address<'g>(
    client: &Client,
    group: &'g GroupView,
    tried: &Tried,
) -> Option<&'g TargetView> {
    if group.settings.stickiness != Stickiness::SourceIp || tried.is_enough() {
        return None;
    }
    let targets = group.targets.iter().enumerate();
    let eligible =
        targets.filter(|(_, target)| !target.load.is_draining() && !tried.contains(target));
    let candidates = eligible.map(|(index, target)| (index, target.address, target.weight));
    source_ip::choose(client.peer.ip(), candidates).map(|index| &group.targets[index])
}
