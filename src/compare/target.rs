//! Targets that tell what reached them: how a client appears, and each byte of a head as it came.
//!
//! All targets of a comparison share one thread and one ring, so that they cost little beside what
//! is measured. What a target does is chosen by the end of the path (`echo`, `ws`, `h2c`), anything
//! else gets the same few bytes. Start with [`Targets`]; HTTP/2 and WebSocket are in
//! `target/speak.rs`.

pub(super) mod speak;

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::model::Driver;
use crate::net::{self, Acceptor, Buffer, Socket, ring};

use super::Error;
use super::cores::Cores;

/// Longest head that a target reads; beyond it, it closes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Path of health probes, whose requests are counted apart.
pub(super) const PROBE_PATH: &str = "/health";
/// How often the thread looks for orders, and whether it should end.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What has reached a target since it began. One writer, the thread of the targets.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Connections that brought a request, probes left out.
    pub(super) connections: AtomicU64,
    /// Requests, probes left out.
    pub(super) requests: AtomicU64,
    /// Prefaces of HTTP/2.
    pub(super) prefaces: AtomicU64,
}

/// A target that listens. What it holds open closes when [`Targets`] is dropped.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    orders: Sender<Order>,
}

impl Target {
    /// Does to clients what the end of its process would: nobody listens any more, and every
    /// connection ends. It must have been opened as mortal.
    pub(super) fn kill(&self) {
        // Where its thread has ended, so has the target.
        let _ = self.orders.send(Order::Kill(self.address));
    }
}

/// What the thread of the targets is told.
enum Order {
    Open(OwnedFd, Served),
    Kill(SocketAddr),
}

/// What a target is to be, before it listens.
pub(super) struct Wanted {
    /// Name of its target group, which its answers carry.
    pub(super) application: &'static str,
    /// How long it takes for an answer.
    pub(super) delay: Duration,
    /// Whether [`Target::kill`] will be called.
    pub(super) mortal: bool,
}

/// A target as its thread has it.
struct Served {
    application: &'static str,
    address: SocketAddr,
    delay: Duration,
    seen: Arc<Seen>,
    answer: Vec<u8>,
    /// Its listening socket and its connections, where it may be killed.
    open: Option<RefCell<Vec<OwnedFd>>>,
}

impl Served {
    fn kill(&self) {
        for fd in self.open.iter().flat_map(RefCell::take) {
            // One that is closed already is what was wanted.
            let _ = SockRef::from(&fd).shutdown(Shutdown::Both);
        }
    }
}

/// The thread of all targets. It ends, and its connections close, when this is dropped.
pub(super) struct Targets {
    orders: Sender<Order>,
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Targets {
    /// Starts the thread, still without a target.
    ///
    /// # Errors
    /// If the thread or its ring cannot be had.
    pub(super) fn start(cores: &Cores) -> Result<Self, Error> {
        let (orders, incoming) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let (seen_over, core) = (Arc::clone(&over), cores.targets);
        let (engine, _) = ring::probe(Driver::Auto)
            .map_err(|error| Error::new("the targets need a ring", io::Error::other(error)))?;
        let run = move || {
            core.map(core_affinity::set_for_current);
            match ring::build(engine) {
                Ok(mut runtime) => runtime.block_on(take_orders(&incoming, &seen_over)),
                Err(error) => tracing::error!("the targets have no ring: {error}"),
            }
        };
        let thread = thread::Builder::new().name("compare-targets".into()).spawn(run);
        let thread = thread.map_err(|source| Error::new("no thread for the targets", source))?;
        Ok(Self { orders, over, thread: Some(thread) })
    }

    /// Opens a target on a port of 127.0.0.1 that the kernel chooses.
    ///
    /// # Errors
    /// If there is no port, or the thread has ended.
    pub(super) fn open(&self, wanted: &Wanted) -> Result<Target, Error> {
        let what = "a target cannot listen on 127.0.0.1";
        let failed = |source| Error::new(what, source);
        let listener = net::bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(failed)?;
        let address = net::address_of(&listener).map_err(failed)?;
        let seen = Arc::new(Seen::default());
        let open = match wanted.mortal {
            true => Some(RefCell::new(vec![listener.try_clone().map_err(failed)?])),
            false => None,
        };
        let served = Served {
            application: wanted.application,
            address,
            delay: wanted.delay,
            seen: Arc::clone(&seen),
            answer: answer(wanted.application, address, b"ok\n"),
            open,
        };
        let orders = self.orders.clone();
        if orders.send(Order::Open(listener, served)).is_err() {
            return Err(failed(io::Error::other("the thread of the targets has ended")));
        }
        Ok(Target { address, seen, orders })
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

async fn take_orders(incoming: &Receiver<Order>, over: &AtomicBool) {
    let mut mortal: Vec<Rc<Served>> = Vec::new();
    while !over.load(Relaxed) {
        for order in incoming.try_iter() {
            match order {
                Order::Open(listener, served) => {
                    let served = Rc::new(served);
                    mortal.extend(served.open.is_some().then(|| Rc::clone(&served)));
                    match Acceptor::new(listener) {
                        Ok(acceptor) => drop(net::spawn(accept(acceptor, served))),
                        Err(error) => tracing::error!("a target cannot listen: {error}"),
                    }
                }
                Order::Kill(address) => {
                    mortal.iter().filter(|served| served.address == address).for_each(|s| s.kill());
                }
            }
        }
        net::sleep(LOOK_EVERY).await;
    }
}

async fn accept(acceptor: Acceptor, served: Rc<Served>) {
    while acceptor.ready().await.is_ok() {
        let take = |fd: OwnedFd, peer| {
            if let Some(open) = &served.open {
                open.borrow_mut().push(fd.try_clone()?);
            }
            let connection = Connection {
                socket: Socket::new(fd)?,
                peer,
                target: served.clone(),
                proxy_line: None,
                counted: false,
            };
            net::spawn(connection.serve());
            Ok(())
        };
        if acceptor.accept(take).is_err() {
            return;
        }
    }
}

/// A response with this body.
fn answer(application: &str, address: SocketAddr, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nX-Application: {application}\r\nX-Target: {address}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

struct Connection {
    socket: Socket,
    peer: SocketAddr,
    target: Rc<Served>,
    /// The line of the PROXY protocol that came first, if one did.
    proxy_line: Option<String>,
    /// Whether a request has come that was no probe.
    counted: bool,
}

impl Connection {
    /// Serves until the peer ends, breaks, or says what is not understood.
    async fn serve(mut self) -> Option<()> {
        let mut input = Buffer::with_room(4096);
        let mut output = Buffer::with_room(self.target.answer.len());
        let mut first = true;
        loop {
            let Some(end) = memchr::memmem::find(input.filled(), b"\r\n\r\n") else {
                input = self.read(input).await?;
                self.take_proxy_line(&mut input, &mut first);
                continue;
            };
            let head = input.filled().get(..end + 4)?;
            if head.starts_with(b"PRI * HTTP/2.0\r\n") {
                self.target.seen.prefaces.fetch_add(1, Relaxed);
                return speak::http2(&self.socket, input, speak::PREFACE.len()).await;
            }
            let kind = Kind::of(head);
            self.count(kind);
            let echo = (kind == Kind::Echo).then(|| self.echo(head));
            input.consume(end + 4);
            match kind {
                Kind::WebSocket => return speak::web_socket(self, input).await,
                Kind::Http2Upgrade => return speak::http2_upgrade(&self.socket, input).await,
                Kind::Probe | Kind::Echo | Kind::Plain => {}
            }
            if !self.target.delay.is_zero() && kind != Kind::Probe {
                net::sleep(self.target.delay).await;
            }
            output.clear();
            output.tail().extend_from_slice(echo.as_ref().unwrap_or(&self.target.answer));
            let (result, sent) = self.socket.write(output).await;
            result.ok()?;
            output = sent;
            if input.is_empty() {
                input.clear();
            }
        }
    }

    async fn read(&self, mut input: Buffer) -> Option<Buffer> {
        if input.len() > HEAD_BYTES_MAX {
            return None;
        }
        input.reserve(1024);
        let (count, input) = self.socket.read(input).await;
        (count.ok()? > 0).then_some(input)
    }

    /// Takes a PROXY protocol line (version 1) off the start of a connection.
    fn take_proxy_line(&mut self, input: &mut Buffer, first: &mut bool) {
        if !*first || !input.filled().starts_with(b"PROXY ") {
            *first = false;
        } else if let Some(end) = memchr::memmem::find(input.filled(), b"\r\n") {
            let line = input.filled().get(..end).unwrap_or_default();
            self.proxy_line = Some(String::from_utf8_lossy(line).into_owned());
            input.consume(end + 2);
            *first = false;
        }
    }

    fn count(&mut self, kind: Kind) {
        if kind == Kind::Probe {
            return;
        }
        self.target.seen.requests.fetch_add(1, Relaxed);
        if !self.counted {
            self.counted = true;
            self.target.seen.connections.fetch_add(1, Relaxed);
        }
    }

    /// An answer that holds who connected, how it was announced, and the head as it came.
    fn echo(&self, head: &[u8]) -> Vec<u8> {
        let proxy = self.proxy_line.as_deref().unwrap_or("-");
        let body = format!("{}\n{proxy}\n{}", self.peer, String::from_utf8_lossy(head));
        answer(self.target.application, self.target.address, body.as_bytes())
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Probe,
    Echo,
    WebSocket,
    Http2Upgrade,
}

impl Kind {
    fn of(head: &[u8]) -> Self {
        let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
        let path = line.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        match path {
            path if path == PROBE_PATH.as_bytes() => Self::Probe,
            path if path.ends_with(b"/echo") => Self::Echo,
            path if path.ends_with(b"/ws") => Self::WebSocket,
            path if path.ends_with(b"/h2c") && asks_for_h2c(head) => Self::Http2Upgrade,
            _ => Self::Plain,
        }
    }
}

/// Whether the head still asks for the upgrade: a balancer may have taken that out.
fn asks_for_h2c(head: &[u8]) -> bool {
    let lower = head.to_ascii_lowercase();
    memchr::memmem::find(&lower, b"\r\nupgrade: h2c\r\n").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_asks_for_is_the_end_of_its_path() {
        let cases = [
            ("GET / HTTP/1.1\r\n\r\n", Kind::Plain),
            ("GET /health HTTP/1.1\r\n\r\n", Kind::Probe),
            ("GET /blog/echo HTTP/1.1\r\n\r\n", Kind::Echo),
            ("GET /blog/ws HTTP/1.1\r\n\r\n", Kind::WebSocket),
            ("GET /h2c HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", Kind::Http2Upgrade),
            ("GET /h2c HTTP/1.1\r\n\r\n", Kind::Plain),
            ("\r\n\r\n", Kind::Plain),
        ];
        for (head, kind) in cases {
            assert_eq!(Kind::of(head.as_bytes()), kind, "{head}");
        }
    }
}
