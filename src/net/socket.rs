//! A TCP connection on a worker's ring.

use std::cell::UnsafeCell;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::TcpStream;
use socket2::SockRef;

use super::Buffer;

/// A TCP connection. Reads and writes go through a shared reference, so both directions can be
/// under way at once; at most one of each, or bytes would change places.
pub struct Socket {
    stream: UnsafeCell<TcpStream>,
}

/// What a connection that should be quiet is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Open, nothing to read.
    Quiet,
    /// Open, and bytes wait that have not been read.
    Data,
    /// The peer will send no more.
    Ended,
    /// Reset or otherwise broken.
    Broken,
}

impl Socket {
    /// Binds a connected socket to the ring of the calling worker.
    ///
    /// # Errors
    /// When the driver refuses the socket.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let stream = TcpStream::from_std(StdStream::from(fd))?;
        Ok(Self { stream: UnsafeCell::new(stream) })
    }

    /// Reads into the room of `buffer`, which must not be empty; 0 means that the peer has ended
    /// its direction. Dropping the future takes the buffer with it.
    pub fn read(&self, buffer: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        debug_assert!(buffer.room() > 0, "a read without room looks like the end");
        self.stream().read(buffer)
    }

    /// Writes some bytes of `buffer`.
    pub fn write_some(&self, buffer: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)> {
        self.stream().write(buffer)
    }

    /// Writes every byte of `buffer` and returns it empty, or with what could not be written.
    pub async fn write(&self, mut buffer: Buffer) -> (io::Result<()>, Buffer) {
        while !buffer.is_empty() {
            let (result, rest) = self.write_some(buffer).await;
            buffer = rest;
            match result {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                Ok(count) => buffer.consume(count),
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Waits until there is something to read, the end included.
    ///
    /// # Errors
    /// When the driver cannot watch the socket.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream().readable(false).await
    }

    /// Waits until bytes can be written, or the connection has failed.
    ///
    /// # Errors
    /// When the driver cannot watch the socket.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream().writable(false).await
    }

    /// Ends our direction: the peer reads the end after what was written.
    pub fn end(&self) {
        // A failure means that the connection is gone, which the next read tells.
        let _ = SockRef::from(self).shutdown(std::net::Shutdown::Write);
    }

    /// Makes the close that follows a reset, as the peer on the other side did.
    pub fn reset_on_close(&self) {
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    /// Looks without reading what the connection is doing.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        let mut byte = 0_u8;
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        // SAFETY: `byte` is valid for one byte for the length of the call.
        let count = unsafe { libc::recv(self.raw_fd(), (&raw mut byte).cast(), 1, flags) };
        match count {
            0 => Liveness::Ended,
            1.. => Liveness::Data,
            _ => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Liveness::Quiet,
                _ => Liveness::Broken,
            },
        }
    }

    /// Reads into the room of `buffer`, which must not be empty, what is there already; 0 means
    /// that the peer has ended its direction. No read may be under way.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where nothing is there; else the connection is broken.
    pub fn read_at_once(&self, buffer: &mut Buffer) -> io::Result<usize> {
        debug_assert!(buffer.room() > 0, "a read without room looks like the end");
        let tail = buffer.tail();
        let room = tail.spare_capacity_mut();
        // SAFETY: `room` is valid for writes of its length, and the kernel writes no more than
        // that.
        let count = unsafe {
            libc::recv(self.raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT)
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has just written `count` bytes behind those that were there.
        unsafe { tail.set_len(tail.len() + count) };
        Ok(count)
    }

    /// Writes what of `bytes` the kernel takes at once; how many. No write may be under way.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where it takes none; else the connection is broken.
    pub fn write_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `bytes` is valid for reads of its length for the length of the call.
        let count = unsafe { libc::send(self.raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Bytes that were written and that the peer's kernel has not taken yet.
    #[must_use]
    pub fn untaken(&self) -> usize {
        let mut count: libc::c_int = 0;
        // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes one int; `count` is valid for the call.
        let result = unsafe { libc::ioctl(self.raw_fd(), libc::TIOCOUTQ, &raw mut count) };
        if result < 0 { 0 } else { usize::try_from(count).unwrap_or(0) }
    }

    /// The address that the peer connected to.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        let address = self.stream().local_addr()?;
        Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// The error of a connection attempt, if it had one.
    pub(super) fn take_error(&self) -> io::Result<()> {
        SockRef::from(self).take_error()?.map_or(Ok(()), Err)
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.stream().as_raw_fd()
    }

    #[allow(clippy::mut_from_ref, reason = "see the SAFETY comment")]
    fn stream(&self) -> &mut TcpStream {
        // SAFETY: monoio marks TcpStream as `Split`: reading and writing at once is sound. Its
        // methods take `&mut self` but only clone the shared descriptor out of it; no reference
        // into the stream outlives the call that makes the operation. The type is not `Sync`.
        unsafe { &mut *self.stream.get() }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor stays open for as long as the socket lives.
        unsafe { BorrowedFd::borrow_raw(self.raw_fd()) }
    }
}
