//! Connections to targets.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket as Raw, Type};

use super::Socket;

/// Connects to `address`. Dropping the future gives up the attempt. The caller sets the limit.
///
/// The socket is made here and connected without blocking, so that it carries `CLOEXEC` and
/// `NONBLOCK`, and so that giving up is nothing but closing it.
///
/// # Errors
/// What the kernel says: refused, unreachable, out of ports or files.
pub async fn connect(address: SocketAddr) -> io::Result<Socket> {
    let raw = Raw::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    raw.set_tcp_nodelay(true)?;
    match raw.connect(&address.into()) {
        Ok(()) => Socket::new(raw.into()),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            let socket = Socket::new(raw.into())?;
            socket.writable().await?;
            socket.take_error()?;
            Ok(socket)
        }
        Err(error) => Err(error),
    }
}
