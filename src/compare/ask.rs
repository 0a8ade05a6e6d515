//! A client that asks one thing at a time and looks closely at what comes back. It blocks.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Longest wait for anything.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(3);
/// Most bytes that are read of a response.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;

/// A connection.
pub(super) struct Asker {
    stream: TcpStream,
}

/// A response: its head as text, and its body.
#[derive(Debug, Clone, Default)]
pub(super) struct Response {
    pub(super) head: String,
    pub(super) body: String,
}

impl Asker {
    /// Connects from `source`, an address of this host: all of 127.0.0.0/8 are.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn connect(address: SocketAddr, source: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
        if address.ip().is_loopback() && address.is_ipv4() {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        socket.connect_timeout(&address.into(), WAIT_MAX)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WAIT_MAX))?;
        stream.set_write_timeout(Some(WAIT_MAX))?;
        Ok(Self { stream })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads until `enough` says so, the peer ends, or [`WAIT_MAX`] is over; returns what came.
    pub(super) fn read_until(&mut self, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
        let until = Instant::now() + WAIT_MAX;
        while !enough(&bytes) && bytes.len() < RESPONSE_BYTES_MAX && Instant::now() < until {
            match self.stream.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
            }
        }
        bytes
    }

    /// Sends a GET with these lines, each with its CRLF, and reads the response.
    ///
    /// # Errors
    /// What the kernel says, and [`io::ErrorKind::UnexpectedEof`] when no whole response came.
    pub(super) fn get(&mut self, path: &str, host: &str, lines: &str) -> io::Result<Response> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n").as_bytes())?;
        let bytes = self.read_until(|bytes| Response::read(bytes).is_some());
        Response::read(&bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Response {
    /// Takes a whole response apart; its body must have a length.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
        let mut response = Self { head, body: String::new() };
        let length = response.field("content-length").map_or(Some(0), |text| text.parse().ok())?;
        response.body = String::from_utf8_lossy(bytes.get(end..end + length)?).into_owned();
        Some(response)
    }

    /// Its status.
    pub(super) fn status(&self) -> Option<u16> {
        self.head.split(' ').nth(1)?.parse().ok()
    }

    /// The value of the first field of this name, in small letters.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// Each cookie that it sets, as the client gives it back.
    pub(super) fn cookies(&self) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let set = lines.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        set.filter_map(|(_, value)| value.split(';').next()).map(str::trim).collect()
    }
}

/// The value of the first field of this name in a head.
pub(super) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_taken_apart_once_it_is_whole() {
        let text = "HTTP/1.1 200 OK\r\nSet-Cookie: A=1; Path=/\r\nset-cookie: B=2\r\n\
                    CONTENT-LENGTH: 3\r\n\r\nabc";
        for end in 0..text.len() {
            assert!(Response::read(&text.as_bytes()[..end]).is_none(), "{end}");
        }
        let response = Response::read(text.as_bytes()).unwrap();
        assert_eq!((response.status(), response.body.as_str()), (Some(200), "abc"));
        assert_eq!(response.cookies(), ["A=1", "B=2"]);
    }
}
