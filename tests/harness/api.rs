//! A client of the control API over its Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{DEADLINE, Parsed, Response, parse_response, show};

/// Where the control API of a balancer listens.
#[derive(Debug, Clone)]
pub struct Api(PathBuf);

impl Api {
    /// The socket at `path`.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Sends a request; why there is no response otherwise.
    ///
    /// # Errors
    /// When the socket refuses, or the connection ends before the response.
    pub fn try_ask(&self, method: &str, path: &str, body: &str) -> Result<Response, String> {
        let mut socket = UnixStream::connect(&self.0).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(DEADLINE)).expect("read timeout");
        let length = body.len();
        let media = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: ringway\r\nConnection: close\r\n\
             Content-Type: {media}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        socket.write_all(head.as_bytes()).map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        let ended = socket.read_to_end(&mut bytes);
        match parse_response(&bytes, method, true) {
            Parsed::Complete(response, _) => Ok(response),
            _ => Err(format!("{ended:?} after {}", show(&bytes))),
        }
    }

    /// Sends a request that has to succeed; the body of the response.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let response = self.try_ask(method, path, body);
        let response = response.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert!((200..300).contains(&response.status), "{method} {path} {body}: {response:?}");
        response.text()
    }

    /// Sends `bytes` as they are and reads until the connection ends.
    ///
    /// # Errors
    /// As [`Api::try_ask`]. Bytes that are not taken are no failure.
    pub fn send(&self, bytes: &[u8], method: &str) -> Result<Response, String> {
        let mut socket = UnixStream::connect(&self.0).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(DEADLINE)).expect("read timeout");
        socket.set_write_timeout(Some(DEADLINE)).expect("write timeout");
        let sent = socket.write_all(bytes);
        let mut answer = Vec::new();
        let ended = socket.read_to_end(&mut answer);
        match parse_response(&answer, method, true) {
            Parsed::Complete(response, _) => Ok(response),
            _ => Err(format!("{sent:?}, {ended:?} after {}", show(&answer))),
        }
    }

    /// Begins a request whose response goes on, such as the events.
    pub fn stream(&self, path: &str) -> UnixStream {
        let mut socket = UnixStream::connect(&self.0).expect("connect to the control API");
        socket.set_read_timeout(Some(DEADLINE)).expect("read timeout");
        let head = format!("GET {path} HTTP/1.1\r\nHost: ringway\r\n\r\n");
        socket.write_all(head.as_bytes()).expect("send");
        socket
    }
}
