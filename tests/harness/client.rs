//! A client that sends bytes as told and reads strictly.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::{DEADLINE, Parsed, Response, parse_response, show};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By FIN.
    Closed,
    /// By RST.
    Reset,
    /// It did not, within the deadline.
    TimedOut,
}

impl End {
    /// What a failed read means.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Reset,
        }
    }
}

/// Why there was no whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The connection ended with these bytes of it received.
    Ended(End, Vec<u8>),
    /// It is not HTTP/1.1.
    Invalid(String),
}

/// A client connection.
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects to `address`.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE);
        Self::over(stream.unwrap_or_else(|error| panic!("connect to {address}: {error}")))
    }

    /// Connects with receive buffer of `bytes`, so that little fits on the way.
    pub fn connect_narrow(address: SocketAddr, bytes: usize) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        socket.set_recv_buffer_size(bytes).expect("receive buffer");
        socket.connect(&address.into()).expect("connect");
        Self::over(socket.into())
    }

    /// Connects from the loopback address `from`.
    pub fn connect_from(from: [u8; 4], address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("bind");
        socket.connect(&address.into()).expect("connect");
        Self::over(socket.into())
    }

    /// Panics unless a connection from the loopback address `from` is ended without a byte, which
    /// may be so early that connecting itself fails.
    pub fn expect_no_service(from: [u8; 4], address: SocketAddr, bytes: &[u8]) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("bind");
        if let Err(error) = socket.connect(&address.into()) {
            return assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        }
        let mut client = Self::over(socket.into());
        client.try_send(bytes);
        let (rest, end) = client.rest();
        assert_eq!(show(&rest), "");
        assert_ne!(end, End::TimedOut, "the connection goes on");
    }

    fn over(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(DEADLINE)).expect("read timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("write timeout");
        Self { stream, unread: Vec::new() }
    }

    /// The address that the balancer sees.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("connected")
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The connection itself, for another protocol. Nothing may be left unread.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.unread.is_empty(), "left unread: {}", show(&self.unread));
        self.stream
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("send to the balancer");
    }

    /// Sends these bytes; `false` when the connection does not take them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends these bytes in one write per piece, cut at `cuts` (ascending). Stops silently where
    /// the balancer has closed: it may refuse before it has everything.
    pub fn send_cut(&mut self, bytes: &[u8], cuts: &[usize]) {
        let mut start = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            if !self.try_send(&bytes[start..cut]) {
                return;
            }
            start = cut;
        }
    }

    /// As [`Client::send_cut`], but sends a piece only when the peer, a process of this host, has
    /// read the one before.
    pub fn send_pieces(&mut self, bytes: &[u8], cuts: &[usize]) {
        let mut start = 0;
        for &cut in cuts.iter().chain([&bytes.len()]) {
            if !self.try_send(&bytes[start..cut]) {
                return;
            }
            self.wait_read();
            start = cut;
        }
    }

    /// Waits until the receive queue of the peer's socket is empty, as /proc/net/tcp tells.
    fn wait_read(&self) {
        let hex = |address: SocketAddr| match address {
            SocketAddr::V4(v4) => {
                format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port())
            }
            SocketAddr::V6(_) => panic!("tests listen on IPv4 only"),
        };
        let Ok(peer) = self.stream.peer_addr() else { return };
        let line = format!("{} {} ", hex(peer), hex(self.address()));
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
            let rest = table.split_once(&line).map_or("", |(_, rest)| rest);
            let queues = rest.split_whitespace().nth(1).unwrap_or("");
            if queues.split(':').nth(1).is_none_or(|waiting| waiting == "00000000") {
                return;
            }
        }
    }

    /// Sends a GET for `path`.
    pub fn send_get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test.example\r\n\r\n"));
    }

    /// Sends a GET for `path` and reads the response.
    pub fn get(&mut self, path: &str) -> Response {
        self.send_get(path);
        self.response("GET")
    }

    /// Sends a request and reads the response to it; the method is its first word.
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        self.send(request);
        let method = request.split(|&byte| byte == b' ').next().unwrap_or_default();
        self.response(&String::from_utf8_lossy(method))
    }

    /// Reads a whole response to a `method` request, or an interim one.
    pub fn response(&mut self, method: &str) -> Response {
        self.try_response(method).unwrap_or_else(|error| match error {
            ReadError::Ended(end, bytes) => panic!("no response: {end:?} after {}", show(&bytes)),
            ReadError::Invalid(problem) => {
                panic!("malformed response: {problem}\n{}", show(&self.unread))
            }
        })
    }

    /// Reads a whole response, or says why there is none.
    ///
    /// # Errors
    /// When the connection ends before, or what comes is not HTTP/1.1.
    pub fn try_response(&mut self, method: &str) -> Result<Response, ReadError> {
        let mut end = None;
        loop {
            let ended = end == Some(End::Closed);
            match (parse_response(&self.unread, method, ended), end) {
                (Parsed::Complete(response, length), _) => {
                    self.unread.drain(..length);
                    return Ok(response);
                }
                (Parsed::Invalid(problem), _) => return Err(ReadError::Invalid(problem)),
                (Parsed::Incomplete, Some(end)) => {
                    return Err(ReadError::Ended(end, std::mem::take(&mut self.unread)));
                }
                (Parsed::Incomplete, None) => end = self.receive().err(),
            }
        }
    }

    /// Reads only the head of a response; its body stays unread.
    pub fn response_head(&mut self) -> Response {
        while !self.unread.windows(4).any(|window| window == b"\r\n\r\n") {
            if let Err(end) = self.receive() {
                panic!("no response head: {end:?} after {}", show(&self.unread));
            }
        }
        self.response("HEAD")
    }

    /// Reads exactly `count` bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            if let Err(end) = self.receive() {
                panic!("{count} bytes wanted: {end:?} after {}", show(&self.unread));
            }
        }
        self.unread.drain(..count).collect()
    }

    /// Reads up to and with `text`.
    pub fn take_past(&mut self, text: &str) -> Vec<u8> {
        loop {
            let found = self.unread.windows(text.len()).position(|w| w == text.as_bytes());
            if let Some(at) = found {
                return self.unread.drain(..at + text.len()).collect();
            }
            if let Err(end) = self.receive() {
                panic!("{text:?} wanted: {end:?} after {}", show(&self.unread));
            }
        }
    }

    /// Reads to the end of the connection.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.receive() {
                return (std::mem::take(&mut self.unread), end);
            }
        }
    }

    /// Panics unless the balancer closes without a further byte.
    pub fn expect_close(&mut self) {
        let (rest, end) = self.rest();
        assert_eq!((show(&rest).as_str(), end), ("", End::Closed), "close expected");
    }

    /// Whether nothing arrives for `span`; for what must not happen.
    pub fn is_quiet_for(&mut self, span: Duration) -> bool {
        self.stream.set_read_timeout(Some(span)).expect("read timeout");
        let received = self.receive();
        self.stream.set_read_timeout(Some(DEADLINE)).expect("read timeout");
        self.unread.is_empty() && received == Err(End::TimedOut)
    }

    /// Sends FIN; responses may still arrive.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with RST.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("linger");
    }

    fn receive(&mut self) -> Result<(), End> {
        let mut buffer = vec![0; 256 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(End::Closed),
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(error) => Err(End::of(&error)),
        }
    }
}
