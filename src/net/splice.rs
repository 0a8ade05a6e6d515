//! Bytes from socket to socket through a pipe, without a copy into this process.
//!
//! Readiness plus `splice(2)`: monoio's own splice operation is always run by a kernel thread,
//! and costs several times a copy. Pays from about 128 KiB on, and sooner where other programs
//! thrash the cache that a copy needs. Pipes are pooled: making one costs three system calls, and
//! users other than root have few large ones.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::Socket;

/// Size of a pipe, in bytes, where the kernel grants it.
pub const PIPE_BYTES: usize = 1024 * 1024;
/// Below this a pipe is worse than a copy; the kernel gives such to users with many pipes.
const PIPE_BYTES_MIN: usize = 64 * 1024;
/// After so many bytes without a wait, other connections get their turn: two ends that are always
/// ready would hold the worker.
const TURN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most empty pipes kept per worker.
const PIPES_KEPT_MAX: usize = 64;

/// An empty pipe. One that still holds bytes must be dropped, never put back.
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Bytes taken in since somebody else could run.
    unpaused: Cell<usize>,
}

/// A worker's stock of pipes.
#[derive(Default)]
pub struct Pipes {
    kept: RefCell<Vec<Pipe>>,
}

impl Pipes {
    /// An empty pipe, or `None` when the kernel has no large one left: then copy.
    #[must_use]
    pub fn take(&self) -> Option<Pipe> {
        let kept = self.kept.borrow_mut().pop();
        kept.or_else(|| Pipe::open().ok())
    }

    /// Takes an empty pipe back.
    pub fn put(&self, pipe: Pipe) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < PIPES_KEPT_MAX {
            kept.push(pipe);
        }
    }
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let mut fds: [RawFd; 2] = [0; 2];
        // SAFETY: `fds` is valid for two descriptors.
        if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just returned both and nobody else owns them.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
        // SAFETY: fcntl on an open descriptor.
        let granted =
            unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES as i32) };
        // SAFETY: fcntl on an open descriptor.
        let size = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ) };
        if granted < 0 && usize::try_from(size).unwrap_or(0) < PIPE_BYTES_MIN {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(Self { read, write, unpaused: Cell::default() })
    }
}

impl Pipe {
    /// Waits for bytes of `from` and takes up to `limit` of them into the pipe, which must be
    /// empty. Returns how many; 0 is the end. Giving up leaves the pipe empty.
    ///
    /// # Errors
    /// What the kernel says of `from`.
    pub async fn fill(&self, from: &Socket, limit: u64) -> io::Result<usize> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(PIPE_BYTES);
        if self.unpaused.get() >= TURN_BYTES_MAX {
            self.unpaused.set(0);
            from.readable().await?;
        }
        loop {
            match splice_once(from.raw_fd(), self.write.as_raw_fd(), limit) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unpaused.set(0);
                    from.readable().await?;
                }
                Ok(count) => {
                    self.unpaused.set(self.unpaused.get() + count);
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves the `count` bytes in the pipe to `to`, and calls `moved` whenever some have moved.
    /// After an error, or when given up, the pipe may hold bytes: drop it.
    ///
    /// # Errors
    /// What the kernel says of `to`.
    pub async fn empty(&self, to: &Socket, mut count: usize, moved: impl Fn()) -> io::Result<()> {
        while count > 0 {
            match splice_once(self.read.as_raw_fd(), to.raw_fd(), count) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(some) => {
                    count -= some;
                    moved();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unpaused.set(0);
                    to.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn splice_once(from: RawFd, to: RawFd, len: usize) -> io::Result<usize> {
    // Without SPLICE_F_MORE, which holds small tails back for 200 ms like TCP_CORK.
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let none = std::ptr::null_mut();
    // SAFETY: both descriptors are open for the length of the call; no offsets are used.
    let count = unsafe { libc::splice(from, none, to, none, len, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
