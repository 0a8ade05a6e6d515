//! Which target to try, and a connection to it.

use std::io;
use std::rc::Rc;

use crate::net::{self, Alarm};
use crate::snapshot::{GroupView, TargetId, TargetView};
use crate::tls::{self, Inner};

use super::client::Client;
use super::error::ErrorKind;
use super::handshake::{self, Disagreement};
use super::local::Local;
use super::stream::Stream;

/// Most targets tried for one request or connection. Each costs the client a wait.
const ATTEMPTS_MAX: usize = 8;

/// Targets that have been tried. Allocates nothing before the first failure.
#[derive(Default)]
pub(super) struct Tried(Vec<TargetId>);

impl Tried {
    /// Notes a failure at `target`.
    pub(super) fn add(&mut self, target: &TargetView) {
        self.0.push(target.id);
    }

    /// Whether `target` has been tried.
    pub(super) fn contains(&self, target: &TargetView) -> bool {
        self.0.contains(&target.id)
    }

    /// Whether no further target is tried.
    pub(super) fn is_enough(&self) -> bool {
        self.0.len() >= ATTEMPTS_MAX
    }
}

/// The next target to try; `None` when there is none, or enough have been tried.
pub(super) fn choose<'g>(
    group: &'g GroupView,
    tried: &Tried,
    local: &Local,
) -> Option<&'g TargetView> {
    match tried.is_enough() {
        true => None,
        false => group.choose(local.random(), |target| !tried.contains(target)),
    }
}

/// A connection to `target` for a request, and whether it has been used before; `fresh` asks for a
/// new one.
///
/// # Errors
/// The kind of the failure, which is also on the log.
pub(super) async fn for_request(
    group: &GroupView,
    target: &TargetView,
    fresh: bool,
    client: &Client,
) -> Result<(Stream, bool), ErrorKind> {
    let local = &client.local;
    if !fresh && let Some(socket) = local.pools.take(group, target) {
        local.counters.target_connections_reused.add(1);
        return Ok((socket, true));
    }
    Ok((new(group, target, &client.alarm, local).await?, false))
}

/// A new connection to `target` for HTTP.
///
/// # Errors
/// As [`for_request`].
pub(super) async fn new(
    group: &GroupView,
    target: &TargetView,
    alarm: &Alarm,
    local: &Rc<Local>,
) -> Result<Stream, ErrorKind> {
    Making { group, target, inner: Inner::Http, header: &[], alarm, local }.connect().await
}

/// A new connection to `target` for an L4 connection. Where it is encrypted, `header` has been sent
/// on it before.
///
/// # Errors
/// As [`for_request`].
pub(super) async fn for_tunnel(
    group: &GroupView,
    target: &TargetView,
    header: &[u8],
    client: &Client,
) -> Result<Stream, ErrorKind> {
    let (alarm, local) = (&client.alarm, &client.local);
    Making { group, target, inner: Inner::Opaque, header, alarm, local }.connect().await
}

/// A connection that is still to be made.
struct Making<'a> {
    group: &'a GroupView,
    target: &'a TargetView,
    /// What is to be spoken inside TLS, where that is.
    inner: Inner,
    /// What goes ahead of TLS, where that is.
    header: &'a [u8],
    alarm: &'a Alarm,
    local: &'a Rc<Local>,
}

impl Making<'_> {
    async fn connect(&self) -> Result<Stream, ErrorKind> {
        let Self { group, target, alarm, local, .. } = *self;
        let deadline = alarm.deadline(group.settings.connect_timeout);
        let connected = alarm.until(deadline, net::connect(target.address)).await;
        let result = connected.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
        let (of_group, of_target) = (group.tally.of(local.index), target.tally.of(local.index));
        let (kind, error) = match result {
            Ok(socket) => {
                local.counters.target_connections.add(1);
                of_group.connections.add(1);
                of_target.connections.add(1);
                let stream = Stream::plain(socket);
                if !group.settings.protocol.is_encrypted() {
                    return Ok(stream);
                }
                // Boxed: most connections do without.
                match Box::pin(self.seal(stream, deadline)).await {
                    Ok(stream) => return Ok(stream),
                    Err(failure) => {
                        of_group.tls_errors.add(1);
                        of_target.tls_errors.add(1);
                        failure
                    }
                }
            }
            Err(error) => {
                local.counters.target_connection_errors.add(1);
                of_group.connect_errors.add(1);
                of_target.connect_errors.add(1);
                (ErrorKind::of_connect(&error), error)
            }
        };
        target.load.failed();
        local.pools.complain(group, target, &error, alarm.now());
        Err(kind)
    }

    /// Sends the header as it is, then agrees with the target on a TLS session.
    async fn seal(
        &self,
        mut stream: Stream,
        deadline: u32,
    ) -> Result<Stream, (ErrorKind, io::Error)> {
        let Self { group, target, alarm, local, .. } = *self;
        let gone = |error| (ErrorKind::TargetTlsProtocolError, error);
        let too_slow = || (ErrorKind::ConnectionTimeout, io::ErrorKind::TimedOut.into());
        // Control gives one to every group that encrypts; without it nothing may go out.
        let Some(settings) = group.encrypts() else {
            return Err(gone(io::ErrorKind::NotConnected.into()));
        };
        let session = local.pools.dialer(target, settings).session(self.inner).map_err(broken)?;
        if !self.header.is_empty() {
            let mut out = local.buffers.head();
            out.tail().extend_from_slice(self.header);
            let written = alarm.until(deadline, stream.write(out)).await.ok_or_else(too_slow)?;
            written.0.map_err(gone)?;
            local.buffers.put(written.1);
        }
        match handshake::connect(&mut stream, session, alarm, deadline, local).await {
            Ok(()) => Ok(stream),
            Err(Disagreement::TooSlow) => Err(too_slow()),
            Err(Disagreement::Gone(error)) => Err(gone(error)),
            Err(Disagreement::Broken(error)) => Err(broken(error)),
            Err(Disagreement::PlainHttp) => {
                let says = io::Error::new(io::ErrorKind::InvalidData, "it speaks HTTP without TLS");
                Err(gone(says))
            }
        }
    }
}

/// The target has broken a rule of TLS, or is not whom it should be.
fn broken(error: tls::Error) -> (ErrorKind, io::Error) {
    let kind = match () {
        () if error.is_of_certificate() => ErrorKind::TlsCertificateError,
        () if error.is_alert() => ErrorKind::TlsAlertReceived,
        () => ErrorKind::TargetTlsProtocolError,
    };
    (kind, io::Error::new(io::ErrorKind::InvalidData, error))
}
