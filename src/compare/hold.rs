//! Connections that are open and wait.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::load;
use super::stop::Stop;

/// Longest wait for the answer to the one request of each.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Connections on which one request has been answered. They close when this is dropped.
pub(super) struct Held {
    streams: Vec<TcpStream>,
}

impl Held {
    /// Opens `count` connections one after the other: many at once would show what many requests
    /// at once need. Fewer if `stop` is asked for.
    ///
    /// # Errors
    /// If a connection cannot be had, or is not answered.
    pub(super) fn open(address: SocketAddr, count: usize, stop: &Stop) -> io::Result<Self> {
        let request = load::request(address, "/", false);
        let mut streams = Vec::with_capacity(count);
        let mut piece = [0; 2048];
        while streams.len() < count && !stop.is_asked() {
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            stream.write_all(&request)?;
            // The answer of a built-in target is short and comes in one piece.
            if stream.read(&mut piece)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            streams.push(stream);
        }
        Ok(Self { streams })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }
}
