//! Addresses that do not answer, each in its own way.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

fn bound() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    let address = socket.local_addr().expect("bound").as_socket().expect("IPv4");
    (socket, address)
}

/// An address that refuses connections: bound, so that nobody else gets it, but not listening.
pub struct Refusing {
    address: SocketAddr,
    _socket: Socket,
}

impl Refusing {
    /// Takes a free port.
    pub fn start() -> Self {
        let (socket, address) = bound();
        Self { address, _socket: socket }
    }

    /// Where connections are refused.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An address that leaves SYNs unanswered: its accept queue is full.
pub struct Silent {
    address: SocketAddr,
    _socket: Socket,
    _queued: Vec<TcpStream>,
}

impl Silent {
    /// Fills the accept queue of a listening socket that never accepts.
    pub fn start() -> Self {
        let (socket, address) = bound();
        socket.listen(0).expect("listen");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        let queued = std::iter::from_fn(connect).take(64).collect();
        Self { address, _socket: socket, _queued: queued }
    }

    /// Where connections time out.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A port that was free a moment ago, for a listener or target that must be known by its address.
pub fn free_address() -> SocketAddr {
    // Not listening and never connected, so that the port is free again at once.
    bound().1
}
