//! Connections to targets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockRef, Socket as Raw, Type};

use super::Socket;

/// Connects to `address`. Dropping the future gives up the attempt. The caller sets the limit.
///
/// The socket is made here and connected without blocking, so that it carries `CLOEXEC` and
/// `NONBLOCK`, and so that giving up is nothing but closing it.
///
/// # Errors
/// What the kernel says: refused, unreachable, out of ports or files.
pub async fn connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = connect_any(address).await?;
    match is_own_end(&socket, address) {
        true => Err(io::ErrorKind::ConnectionRefused.into()),
        false => Ok(socket),
    }
}

/// Whether the connection is one with itself. The kernel makes such a one when nobody listens on
/// a local address whose port it happens to choose for our end as well; it would hand requests
/// back as responses, and keep the target from its port.
fn is_own_end(socket: &impl AsFd, address: SocketAddr) -> bool {
    let own = SockRef::from(socket).local_addr().ok();
    own.and_then(|own| own.as_socket()) == Some(address)
}

async fn connect_any(address: SocketAddr) -> io::Result<Socket> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connection_with_itself_is_told_from_others() {
        let raw = Raw::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        raw.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("free port");
        let own = raw.local_addr().expect("bound");
        raw.connect(&own).expect("TCP allows it");
        assert!(is_own_end(&raw, own.as_socket().expect("IPv4")));
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = listener.local_addr().expect("bound");
        let other = TcpStream::connect(address).expect("listening");
        assert!(!is_own_end(&other, address));
    }
}
