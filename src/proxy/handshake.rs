//! The beginning of a TLS session with a client: both sides agree, or the connection ends.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::{Alarm, Buffer};
use crate::tls::{Server, Step};

use super::error::ErrorKind;
use super::http::Client;
use super::local::Local;
use super::stream::{Core, Stream};

/// Most handshakes under way per worker. Each takes a millisecond of it at worst: beyond this many
/// a client would have given up before its turn, so its connection is closed at once.
const HANDSHAKES_MAX: usize = 4096;
/// Longest wait for a client that is told why it is refused.
const REFUSAL_MAX: Duration = Duration::from_secs(2);
/// Content type of a record with a handshake message (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

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
}

/// Handshakes of a worker that are under way.
#[derive(Default)]
pub(super) struct Handshakes(Cell<usize>);

/// One of them; counts until it is dropped.
struct UnderWay<'a>(&'a Handshakes);

impl Handshakes {
    fn enter(&self) -> Option<UnderWay<'_>> {
        let count = self.0.get();
        (count < HANDSHAKES_MAX).then(|| {
            self.0.set(count + 1);
            UnderWay(self)
        })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get().saturating_sub(1));
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
            agree(&client.socket, &client.alarm, deadline, server, early, local).await
        }
        None => Err(Refused::Failed),
    };
    match agreed {
        Ok((core, took)) => {
            client.socket.seal(core, took, local);
            Ok(())
        }
        Err(refused) => Err(refused),
    }
}

async fn agree(
    socket: &Stream,
    alarm: &Alarm,
    deadline: u32,
    server: &Server,
    early: Buffer,
    local: &Local,
) -> Result<(Core, Duration), Refused> {
    let began = Instant::now();
    let session = server.session().map_err(|_| Refused::Failed)?;
    let mut core = Core::new(session, early);
    loop {
        if let Some(refused) = refuses(core.held()) {
            return Err(refused);
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
            let written = alarm.until(deadline, socket.write(out)).await;
            let Some((Ok(()), written)) = written else { return Err(Refused::Failed) };
            out = written;
        }
        local.buffers.put(out);
        match stepped {
            Ok(Step::NeedsMore | Step::Went) if !core.session().is_handshaking() => {
                return Ok((core, began.elapsed()));
            }
            Ok(Step::NeedsMore) => {}
            Ok(Step::Went | Step::Ended) | Err(_) => return Err(Refused::Failed),
        }
        let fresh = core.fresh_for_handshake(local).ok_or(Refused::Failed)?;
        match alarm.until(deadline, socket.read(fresh)).await {
            Some((Ok(1..), fresh)) => core.hold(fresh, local),
            _ => return Err(Refused::Failed),
        }
    }
}

/// Whether what has come is no TLS at all.
fn refuses(held: &[u8]) -> Option<Refused> {
    match held.first()? {
        &HANDSHAKE => None,
        byte if byte.is_ascii_uppercase() => Some(Refused::PlainHttp),
        _ => None,
    }
}

/// Tells a client of an L7 listener why there is no session, if it would understand. No request
/// began, so there is no record either: the error is counted here.
pub(super) async fn refuse(client: &Client, refused: Refused, local: &Local) {
    local.counters.errors[ErrorKind::TlsProtocolError as usize].add(1);
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
