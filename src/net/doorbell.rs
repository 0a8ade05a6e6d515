//! Wakes a worker from another thread.
//!
//! monoio's own cross-thread wakers cost every park a flag and carry a lost-update bug in 0.2.4,
//! so a message is announced by one byte through a socket pair that the worker reads.

use std::io;
use std::io::Write;
use std::os::unix::net::UnixStream as StdStream;

use monoio::io::AsyncReadRent;
use monoio::net::UnixStream;

/// The control thread's end.
#[derive(Debug)]
pub struct Bell(StdStream);

/// The worker's end, still without a ring.
#[derive(Debug)]
pub struct Doorbell(StdStream);

/// The worker's end on its ring.
pub struct Listening(UnixStream);

impl Bell {
    /// Makes a pair.
    ///
    /// # Errors
    /// When the process is out of files.
    pub fn pair() -> io::Result<(Self, Doorbell)> {
        let (bell, doorbell) = StdStream::pair()?;
        bell.set_nonblocking(true)?;
        doorbell.set_nonblocking(true)?;
        Ok((Self(bell), Doorbell(doorbell)))
    }

    /// Wakes the worker. A full socket means that it has not woken yet: then one more byte adds
    /// nothing.
    pub fn ring(&self) {
        let _ = (&self.0).write(&[1]);
    }
}

impl Doorbell {
    /// Binds it to the ring of the calling worker.
    ///
    /// # Errors
    /// When the driver refuses the socket.
    pub fn listen(self) -> io::Result<Listening> {
        UnixStream::from_std(self.0).map(Listening)
    }
}

impl Listening {
    /// Waits for the next ring.
    ///
    /// # Errors
    /// `UnexpectedEof` when the control thread is gone.
    pub async fn wait(&mut self) -> io::Result<()> {
        let (count, _) = self.0.read(vec![0; 64]).await;
        match count? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
