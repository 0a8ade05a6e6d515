//! Listening sockets and the connections they hand out.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use monoio::net::TcpStream;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as Raw, Type};

/// Connections that may wait for a worker, per socket; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;
/// Connections taken in one go before other work of the worker gets its turn.
const ACCEPTS_MAX: usize = 64;

/// Opens a listening socket on `address`. Each worker opens its own: the kernel spreads new
/// connections over the sockets of one address by a hash. What is set here is inherited by the
/// accepted connections. An IPv6 wildcard takes IPv4 as well.
///
/// # Errors
/// What the kernel says: address in use, not available, or not permitted.
pub fn bind(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Raw::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The address that `socket` is bound to.
///
/// # Errors
/// When it is no TCP socket.
pub fn address_of(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = SockRef::from(socket).local_addr()?;
    address.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Fails when another process listens on `address`. [`bind`] alone would then share the port with
/// it in silence.
///
/// # Errors
/// What the kernel says to a socket that wants the address for itself.
pub fn probe(address: SocketAddr) -> io::Result<()> {
    bind_alone(address)?.listen(1)
}

/// Fails where [`probe`] does, but never listens, so that no client can meet it.
///
/// # Errors
/// What the kernel says to a socket that wants the address for itself.
pub fn try_address(address: SocketAddr) -> io::Result<()> {
    bind_alone(address).map(drop)
}

fn bind_alone(address: SocketAddr) -> io::Result<Raw> {
    let socket = Raw::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listening socket on a worker's ring.
///
/// It waits for readiness and takes connections by `accept4`, not by an accept operation: so they
/// come with `CLOEXEC` and `NONBLOCK`, and giving up the wait can neither lose nor leak one.
pub struct Acceptor {
    /// monoio offers readiness on this type only; it is never read.
    ready: TcpStream,
}

impl Acceptor {
    /// Binds `listener` to the ring of the calling worker.
    ///
    /// # Errors
    /// When the driver refuses the socket.
    pub fn new(listener: OwnedFd) -> io::Result<Self> {
        Ok(Self { ready: TcpStream::from_std(StdStream::from(listener))? })
    }

    /// Waits until a connection can be taken.
    ///
    /// # Errors
    /// When the socket has been closed.
    pub async fn ready(&self) -> io::Result<()> {
        self.ready.readable(false).await
    }

    /// Takes the connections that wait, at most a fixed number, and gives each to `take`.
    ///
    /// # Errors
    /// What `take` says, and what `accept4` says, other than that nobody waits or that the one who
    /// did has gone.
    pub fn accept(
        &self,
        mut take: impl FnMut(OwnedFd, SocketAddr) -> io::Result<()>,
    ) -> io::Result<()> {
        for _ in 0..ACCEPTS_MAX {
            match accept_one(self.ready.as_raw_fd()) {
                Ok((fd, peer)) => take(fd, peer)?,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(()),
                    Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO) => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}

fn accept_one(listener: RawFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: all-zero bytes are a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the pointers are valid for `len` bytes for the length of the call.
    let fd = unsafe { libc::accept4(listener, (&raw mut storage).cast(), &raw mut len, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let peer = read_address(&storage).ok_or(io::ErrorKind::Unsupported)?;
    Ok((fd, peer))
}

fn read_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the kernel filled in an address of the family that it names.
    let address = unsafe {
        let mut copy = mem::zeroed::<libc::sockaddr_storage>();
        std::ptr::copy_nonoverlapping(storage, &raw mut copy, 1);
        SockAddr::new(mem::transmute::<libc::sockaddr_storage, socket2::SockAddrStorage>(copy), len)
    };
    let address = address.as_socket()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
