//! The beginning of a TLS session, with a client or a target: both sides agree, or the connection
//! ends.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::{Alarm, Buffer};
use crate::tls::{self, Server, Session, Step};

use super::error::ErrorKind;
use super::http::Client;
use super::local::Local;
use super::stream::{Core, Stream};

/// Most handshakes under way per worker. Each takes a millisecond of it at worst: beyond this many
/// a client would have given up before its turn, so its connection is closed at once.
const HANDSHAKES_MAX: usize = 4096;
/// Longest wait for a client that is told why it is refused.
const REFUSAL_MAX: Duration = Duration::from_secs(2);
/// Ticks between two lines about certificates of clients.
const QUIET_TICKS: u32 = (1000 / crate::net::TICK.as_millis()) as u32;

/// What ALB answers to a request that is not encrypted.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\
    Content-Length: 220\r\nConnection: close\r\n\r\n\
    <html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n\
    <body>\r\n<center><h1>400 Bad Request</h1></center>\r\n\
    <center>The plain HTTP request was sent to HTTPS port</center>\r\n</body>\r\n</html>\r\n";

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The client speaks HTTP without TLS.
    PlainHttp,
    /// It has gone, was too slow, or does not agree.
    Failed,
    /// Its certificate is not believed, for what AWS calls this.
    Certificate(&'static str),
}

impl Refused {
    /// What it is counted as.
    pub(super) fn kind(self) -> ErrorKind {
        match self {
            Self::PlainHttp | Self::Failed => ErrorKind::TlsProtocolError,
            Self::Certificate(_) => ErrorKind::ClientCertificateError,
        }
    }

    /// Why the client's certificate is not believed, if that is it.
    pub(super) fn certificate(self) -> Option<&'static str> {
        match self {
            Self::Certificate(reason) => Some(reason),
            Self::PlainHttp | Self::Failed => None,
        }
    }
}

/// Why both sides do not agree.
#[derive(Debug)]
pub(super) enum Disagreement {
    /// The other side speaks HTTP without TLS.
    PlainHttp,
    /// It has gone, or has ended the session.
    Gone(io::Error),
    /// It was too slow.
    TooSlow,
    /// It has broken a rule, or there is nothing that both accept.
    Broken(tls::Error),
}

/// Handshakes of a worker that are under way.
#[derive(Default)]
pub(super) struct Handshakes {
    count: Cell<usize>,
    /// Tick before which no further refusal of a client's certificate is logged.
    quiet_until: Cell<u32>,
}

/// One of them; counts until it is dropped.
struct UnderWay<'a>(&'a Handshakes);

impl Handshakes {
    fn enter(&self) -> Option<UnderWay<'_>> {
        let count = self.count.get();
        (count < HANDSHAKES_MAX).then(|| {
            self.count.set(count + 1);
            UnderWay(self)
        })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get().saturating_sub(1));
    }
}

/// How connections of the client's listener are encrypted, and for how long a handshake may last.
pub(super) fn server(client: &Client, local: &Local) -> Option<(Arc<Server>, Duration)> {
    let snapshot = local.snapshot();
    let listener = snapshot.listener(client.listener)?;
    let limit = listener.settings.tls.as_ref()?.handshake_timeout;
    Some((listener.tls.clone()?, limit))
}

/// Agrees with the client, which has sent `early` already. From then on its stream is sealed.
pub(super) async fn accept(
    client: &mut Client,
    (server, limit): &(Arc<Server>, Duration),
    early: Buffer,
    local: &Rc<Local>,
) -> Result<(), Refused> {
    let agreed = match local.handshakes.enter() {
        Some(_under_way) => {
            let deadline = client.alarm.deadline(*limit);
            let session = server.session().map_err(|_| Refused::Failed)?;
            let core = Core::new(session, early);
            let agreed = agree(&client.socket, &client.alarm, deadline, core, local).await;
            agreed.map_err(|disagreement| match disagreement {
                Disagreement::PlainHttp => Refused::PlainHttp,
                Disagreement::Gone(_) | Disagreement::TooSlow => Refused::Failed,
                Disagreement::Broken(error) => {
                    error.refusal().map_or(Refused::Failed, Refused::Certificate)
                }
            })
        }
        None => Err(Refused::Failed),
    };
    match agreed {
        Ok((core, took)) => {
            client.socket.seal(core, took, local);
            Ok(())
        }
        Err(refused) => {
            if let Some(reason) = refused.certificate() {
                tell(client, reason, local);
            }
            Err(refused)
        }
    }
}

/// Says on the log that a client's certificate is not believed: at most once a second per worker.
fn tell(client: &Client, reason: &str, local: &Local) {
    let (now, quiet_until) = (local.alarms.now(), &local.handshakes.quiet_until);
    if now >= quiet_until.get() {
        quiet_until.set(now + QUIET_TICKS);
        let client = client.peer.to_string();
        tracing::info!(client, reason, "the certificate of a client was refused");
    }
}

/// Agrees with the target, so that its stream is sealed from then on.
pub(super) async fn connect(
    stream: &mut Stream,
    session: Session,
    alarm: &Alarm,
    deadline: u32,
    local: &Rc<Local>,
) -> Result<(), Disagreement> {
    let core = Core::new(session, Buffer::default());
    let (core, took) = agree(stream, alarm, deadline, core, local).await?;
    stream.seal(core, took, local);
    Ok(())
}

async fn agree(
    socket: &Stream,
    alarm: &Alarm,
    deadline: u32,
    mut core: Core,
    local: &Local,
) -> Result<(Core, Duration), Disagreement> {
    let began = Instant::now();
    loop {
        if refuses(core.held()) {
            return Err(Disagreement::PlainHttp);
        }
        let mut out = local.buffers.head();
        let stepped = loop {
            match core.step(out.tail()) {
                Ok(Step::Went) if core.is_done_but_for_data() => break Ok(Step::Went),
                Ok(Step::Went) => {}
                other => break other,
            }
        };
        if !out.is_empty() {
            out = match alarm.until(deadline, socket.write(out)).await {
                Some((Ok(()), written)) => written,
                // What we have to say about a mistake may come too late.
                Some((Err(error), _)) => {
                    return Err(stepped
                        .err()
                        .map_or_else(|| Disagreement::Gone(error), Disagreement::Broken));
                }
                None => return Err(Disagreement::TooSlow),
            };
        }
        local.buffers.put(out);
        match stepped {
            Ok(Step::NeedsMore | Step::Went) if !core.session().is_handshaking() => {
                return Ok((core, began.elapsed()));
            }
            Ok(Step::NeedsMore) => {}
            Ok(Step::Went | Step::Ended) => return Err(gone()),
            Err(error) => return Err(Disagreement::Broken(error)),
        }
        let fresh = core.fresh_for_handshake(local).ok_or_else(gone)?;
        match alarm.until(deadline, socket.read(fresh)).await {
            Some((Ok(1..), fresh)) => core.hold(fresh, local),
            Some((Ok(0), _)) => return Err(gone()),
            Some((Err(error), _)) => return Err(Disagreement::Gone(error)),
            None => return Err(Disagreement::TooSlow),
        }
    }
}

/// The other side has gone without a word.
fn gone() -> Disagreement {
    Disagreement::Gone(io::ErrorKind::UnexpectedEof.into())
}

/// Whether what has come is no TLS at all, but HTTP.
fn refuses(held: &[u8]) -> bool {
    held.first().is_some_and(u8::is_ascii_uppercase)
}

/// Tells a client of an L7 listener why there is no session, if it would understand. No request
/// began, so there is no record either: the error is counted here.
pub(super) async fn refuse(client: &Client, refused: Refused, local: &Local) {
    local.counters.errors[refused.kind() as usize].add(1);
    if refused != Refused::PlainHttp {
        return;
    }
    let mut page = Buffer::with_room(PLAIN_HTTP.len());
    page.tail().extend_from_slice(PLAIN_HTTP.as_bytes());
    let Some(socket) = client.socket.socket() else { return };
    if client.alarm.within(REFUSAL_MAX, socket.write(page)).await.is_none() {
        return;
    }
    socket.end();
    // What the client has still to say would make the close a reset, which destroys the page.
    let mut rest = Buffer::with_room(PLAIN_HTTP.len());
    let deadline = client.alarm.deadline(REFUSAL_MAX);
    while let Some((Ok(1..), mut read)) = client.alarm.until(deadline, socket.read(rest)).await {
        read.clear();
        rest = read;
    }
}
