//! A target whose behaviour is a closure, run once per connection on a thread of its own.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use socket2::SockRef;

use super::{DEADLINE, End, Parsed, Refusing, Request, parse_request, show};

/// A scripted target; it stops listening and closes its connections when dropped.
pub struct Target {
    address: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
    /// Keeps the port from others when it no longer listens.
    place: Refusing,
}

/// What happened on one connection so far.
#[derive(Debug, Clone, Default)]
pub struct ConnectionRecord {
    /// Every byte received.
    pub received: Vec<u8>,
    /// Requests that the script took with [`Peer::request`].
    pub requests: Vec<Request>,
    /// Why the received bytes are not HTTP/1.1, if [`Peer::request`] found that.
    pub problem: Option<String>,
    /// How the balancer ended the connection, once a read has seen it.
    pub end: Option<End>,
    /// What both sides have agreed on, once they have.
    pub tls: Option<Agreed>,
}

/// A TLS session as a target sees it.
#[derive(Debug, Clone)]
pub struct Agreed {
    /// Name that was asked for.
    pub server_name: Option<String>,
    /// What is spoken inside, if that was agreed on.
    pub inner: Option<Vec<u8>>,
    /// Whether an earlier session goes on.
    pub is_resumed: bool,
    /// Version.
    pub version: rustls::ProtocolVersion,
}

impl ConnectionRecord {
    /// Every complete request in the bytes received, and what the rest amounts to.
    pub fn parse(&self) -> (Vec<Request>, Parsed<Request>) {
        let mut requests = Vec::new();
        let mut at = 0;
        loop {
            match parse_request(&self.received[at..]) {
                Parsed::Complete(request, length) => {
                    requests.push(request);
                    at += length;
                }
                rest => return (requests, rest),
            }
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// How connections from now on are encrypted.
    tls: Mutex<Option<Arc<ServerConfig>>>,
}

#[derive(Default)]
struct State {
    connections: Vec<ConnectionRecord>,
    streams: Vec<Weak<TcpStream>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, index: usize, change: impl FnOnce(&mut ConnectionRecord)) {
        change(&mut self.lock().connections[index]);
        self.changed.notify_all();
    }
}

impl Target {
    /// Starts a target on a free loopback port; `script` serves each connection, which is closed
    /// when it returns.
    pub fn start(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let place = Refusing::start();
        let address = place.address();
        let listener = TcpListener::bind(address).expect("our own port");
        let shared = Arc::new(Shared::default());
        let (accepting, log) = (listener.try_clone().expect("clone"), Arc::clone(&shared));
        let script = Arc::new(script);
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let (mut peer, script) = (Peer::new(stream, &log), Arc::clone(&script));
                thread::spawn(move || {
                    script(&mut peer);
                    peer.close();
                });
            }
        });
        Self { address, listener, shared, place }
    }

    /// Answers every request with 200 and `name` as its body.
    pub fn named(name: &str) -> Self {
        let response =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()).into_bytes();
        Self::answering(response)
    }

    /// Answers every request with these bytes.
    pub fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |peer| while peer.request().is_some() && peer.send(&response) {})
    }

    /// Answers one request per connection with these bytes and closes.
    pub fn answering_once(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |peer| {
            if peer.request().is_some() {
                peer.send(&response);
            }
        })
    }

    /// Answers every request with the request's body.
    pub fn echo() -> Self {
        Self::start(|peer| {
            while let Some(request) = peer.request() {
                let length = request.body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                if !(peer.send(head.as_bytes()) && peer.send(&request.body)) {
                    break;
                }
            }
        })
    }

    /// Sends back every byte until the end of the connection.
    pub fn echo_bytes() -> Self {
        Self::start(|peer| {
            while let Some(byte) = peer.take(1) {
                let rest = peer.take_ready();
                if !(peer.send(&byte) && peer.send(&rest)) {
                    break;
                }
            }
        })
    }

    /// Speaks TLS.
    pub fn tls(self, config: &Arc<ServerConfig>) -> Self {
        self.set_tls(config);
        self
    }

    /// Speaks TLS as `config` says from the next connection on.
    pub fn set_tls(&self, config: &Arc<ServerConfig>) {
        *self.shared.tls.lock().expect("lock") = Some(Arc::clone(config));
    }

    /// The TLS sessions so far.
    pub fn sessions(&self) -> Vec<Agreed> {
        self.connections().into_iter().filter_map(|connection| connection.tls).collect()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses new connections from now on.
    pub fn stop_listening(&self) {
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }

    /// Records of all connections so far.
    pub fn connections(&self) -> Vec<ConnectionRecord> {
        self.shared.lock().connections.clone()
    }

    /// Number of connections so far.
    pub fn connection_count(&self) -> usize {
        self.shared.lock().connections.len()
    }

    /// All requests that scripts took, by connection.
    pub fn requests(&self) -> Vec<Request> {
        self.connections().into_iter().flat_map(|connection| connection.requests).collect()
    }

    /// The only request so far.
    pub fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at the target: {requests:#?}");
        requests.remove(0)
    }

    /// Waits until `holds`; panics with the records after the deadline.
    pub fn wait(&self, what: &str, holds: impl Fn(&[ConnectionRecord]) -> bool) {
        let until = Instant::now() + DEADLINE;
        let mut state = self.shared.lock();
        while !holds(&state.connections) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "target waited for {what}; saw {}", dump(&state.connections));
            let woken = self.shared.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end of connection `index` and says how it ended.
    pub fn wait_end(&self, index: usize) -> End {
        self.wait("the end of a connection", |all| {
            all.get(index).is_some_and(|connection| connection.end.is_some())
        });
        self.shared.lock().connections[index].end.expect("just seen")
    }

    /// Panics when a connection brought something that is not HTTP/1.1.
    pub fn expect_valid(&self) {
        for connection in self.connections() {
            let received = show(&connection.received);
            assert_eq!(connection.problem, None, "the target received {received}");
        }
    }
}

fn dump(connections: &[ConnectionRecord]) -> String {
    let describe = |connection: &ConnectionRecord| {
        let (end, problem) = (connection.end, &connection.problem);
        format!("\n[end {end:?}, problem {problem:?}]\n{}", show(&connection.received))
    };
    connections.iter().map(describe).collect()
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop_listening();
        for stream in &self.shared.lock().streams {
            let _ = stream.upgrade().map(|stream| stream.shutdown(Shutdown::Both));
        }
        if thread::panicking() {
            eprintln!("target {} saw {}", self.address, dump(&self.connections()));
        }
    }
}

/// The target's side of one connection, in the hands of a script.
pub struct Peer {
    stream: Arc<TcpStream>,
    shared: Arc<Shared>,
    /// Counts connections of this target from 0.
    pub index: usize,
    unread: Vec<u8>,
    resets: bool,
    tls: Option<Box<ServerConnection>>,
}

impl Peer {
    fn new(stream: TcpStream, shared: &Arc<Shared>) -> Self {
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(DEADLINE)).expect("read timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("write timeout");
        let mut state = shared.lock();
        let index = state.connections.len();
        state.connections.push(ConnectionRecord::default());
        let stream = Arc::new(stream);
        state.streams.push(Arc::downgrade(&stream));
        shared.changed.notify_all();
        drop(state);
        let tls = shared.tls.lock().expect("lock").clone();
        let tls = tls.map(|config| Box::new(ServerConnection::new(config).expect("session")));
        Self { stream, shared: Arc::clone(shared), index, unread: Vec::new(), resets: false, tls }
    }

    /// The next whole request; `None` at the end of the connection or when it is malformed.
    pub fn request(&mut self) -> Option<Request> {
        loop {
            match parse_request(&self.unread) {
                Parsed::Complete(request, length) => {
                    self.unread.drain(..length);
                    let taken = request.clone();
                    self.shared.record(self.index, |record| record.requests.push(taken));
                    return Some(request);
                }
                Parsed::Invalid(problem) => {
                    self.shared.record(self.index, |record| record.problem = Some(problem));
                    return None;
                }
                Parsed::Incomplete => {}
            }
            if !self.receive() {
                return None;
            }
        }
    }

    /// Receives until `text` has arrived and takes everything up to its end.
    pub fn take_until(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.unread.windows(text.len()).position(|window| window == text);
            if let Some(at) = found {
                return Some(self.unread.drain(..at + text.len()).collect());
            }
            if !self.receive() {
                return None;
            }
        }
    }

    /// Takes exactly `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            if !self.receive() {
                return None;
            }
        }
        Some(self.unread.drain(..count).collect())
    }

    /// Takes what has arrived and not been taken, without waiting.
    pub fn take_ready(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Takes all bytes up to the end of the connection.
    pub fn take_rest(&mut self) -> Vec<u8> {
        while self.receive() {}
        std::mem::take(&mut self.unread)
    }

    /// Receives some bytes into `unread`; `false` at the end.
    fn receive(&mut self) -> bool {
        let mut buffer = vec![0; 256 * 1024];
        let read = match &mut self.tls {
            Some(tls) => {
                let read = rustls::Stream::new(&mut **tls, &mut &*self.stream).read(&mut buffer);
                let agreed = agreed(tls);
                self.shared.record(self.index, |record| record.tls = agreed);
                read
            }
            None => (&*self.stream).read(&mut buffer),
        };
        let end = match read {
            Ok(0) => End::Closed,
            Ok(count) => {
                let received = &buffer[..count];
                self.unread.extend_from_slice(received);
                self.shared.record(self.index, |record| record.received.extend(received));
                return true;
            }
            Err(error) => End::of(&error),
        };
        self.shared.record(self.index, |record| {
            record.end.get_or_insert(end);
        });
        false
    }

    /// Sends these bytes; `false` when the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.tls {
            Some(tls) => {
                let mut stream = &*self.stream;
                let mut stream = rustls::Stream::new(&mut **tls, &mut stream);
                stream.write_all(bytes).and_then(|()| stream.flush()).is_ok()
            }
            None => (&*self.stream).write_all(bytes).is_ok(),
        }
    }

    /// The session, for what is not spoken through it.
    pub fn session(&mut self) -> &mut ServerConnection {
        self.tls.as_mut().expect("TLS")
    }

    /// Sends what the session has to say about itself.
    pub fn flush(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        while tls.wants_write() {
            tls.write_tls(&mut &*self.stream).expect("send");
        }
    }

    /// Agrees with the balancer; `false` where they do not.
    pub fn handshake(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { return true };
        while tls.is_handshaking() {
            if tls.complete_io(&mut &*self.stream).is_err() {
                return false;
            }
        }
        let agreed = agreed(tls);
        self.shared.record(self.index, |record| record.tls = agreed);
        true
    }

    /// Speaks TLS from now on; nothing may have come of it yet but what is left unread.
    pub fn begin_tls(&mut self, config: &Arc<ServerConfig>) {
        let mut tls = Box::new(ServerConnection::new(Arc::clone(config)).expect("session"));
        let mut early = self.unread.as_slice();
        while !early.is_empty() {
            tls.read_tls(&mut early).expect("room");
            tls.process_new_packets().expect("TLS");
        }
        self.unread.clear();
        self.tls = Some(tls);
    }

    /// The session and its connection, for another protocol. Nothing may be left unread.
    pub fn take_stream(&mut self) -> (ServerConnection, TcpStream) {
        assert!(self.unread.is_empty(), "left unread: {}", show(&self.unread));
        let tls = self.tls.take().expect("TLS");
        (*tls, self.stream.try_clone().expect("clone"))
    }

    /// Takes all bytes up to the end of the connection, as they are on the wire.
    pub fn take_raw(&mut self) -> Vec<u8> {
        self.tls = None;
        self.take_rest()
    }

    /// Leaves the word out that ends a session.
    pub fn truncate(&mut self) {
        self.tls = None;
    }

    /// Sends FIN; bytes may still arrive.
    pub fn half_close(&mut self) {
        self.end_session();
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes the close at the end of the script a reset (RST instead of FIN).
    pub fn reset(&mut self) {
        SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO)).expect("linger");
        self.resets = true;
    }

    fn end_session(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut &*self.stream);
        }
    }

    fn close(&mut self) {
        if !self.resets {
            self.end_session();
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

fn agreed(tls: &ServerConnection) -> Option<Agreed> {
    (!tls.is_handshaking()).then(|| Agreed {
        server_name: tls.server_name().map(str::to_owned),
        inner: tls.alpn_protocol().map(<[u8]>::to_vec),
        is_resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        version: tls.protocol_version().expect("agreed"),
    })
}

/// A latch that a test opens to let a script go on.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits until the gate is open; panics after the deadline.
    pub fn wait(&self) {
        let locked = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(locked, DEADLINE, |open| !*open);
        let (_open, result) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!result.timed_out(), "nobody opened the gate");
    }
}
