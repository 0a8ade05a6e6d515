//! Addresses that do not answer, each in its own way.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

fn bound() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    // Whoever asks for this very address, with this option too, gets it for as long as nobody
    // listens there. The kernel gives it to nobody who asks for any port.
    socket.set_reuse_address(true).expect("reuse");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    let address = socket.local_addr().expect("bound").as_socket().expect("IPv4");
    (socket, address)
}

/// An address that refuses connections while nobody listens there by its number: bound, so that
/// nobody else is given it.
pub struct Refusing {
    address: SocketAddr,
    socket: Socket,
}

impl Refusing {
    /// Takes a free port.
    pub fn start() -> Self {
        let (socket, address) = bound();
        Self { address, socket }
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
        // One that is not taken in time may have met a busy machine; two in a row a full queue.
        let connect = || connect().or_else(connect);
        let queued = std::iter::from_fn(connect).take(64).collect();
        Self { address, _socket: socket, _queued: queued }
    }

    /// Where connections time out.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A port for a listener or target that must be known by its address: until the test program ends,
/// the kernel gives it to nobody who asks for any port.
pub fn free_address() -> SocketAddr {
    let Refusing { address, socket } = Refusing::start();
    std::mem::forget(socket);
    address
}
