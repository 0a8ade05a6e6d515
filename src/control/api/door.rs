//! The sockets on which the API listens.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Mode of the Unix socket: the user and the group of the process may use the API.
pub(super) const SOCKET_MODE: u32 = 0o660;
/// Mode of the directory that is made for it.
const DIRECTORY_MODE: u32 = 0o755;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Door {
    /// At a path.
    Unix(UnixListener, PathBuf),
    /// At an address.
    Tcp(TcpListener),
}

/// A connection that came in.
#[derive(Debug)]
pub(super) enum Guest {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Door {
    /// The door at `path`, from `inherited` if it is there.
    pub(super) fn unix(path: &Path, inherited: &mut Vec<OwnedFd>) -> io::Result<Self> {
        let matches = |address: &SockAddr| address.as_pathname() == Some(path);
        let socket = match take(inherited, matches) {
            Some(socket) => socket,
            None => bind_unix(path).map_err(|cause| unix_error(path, &cause))?,
        };
        Ok(Self::Unix(UnixListener::from_std(nonblocking(socket)?.into())?, path.into()))
    }

    /// The door at `address`, from `inherited` if it is there.
    pub(super) fn tcp(address: SocketAddr, inherited: &mut Vec<OwnedFd>) -> io::Result<Self> {
        let socket = match take(inherited, |local| local.as_socket() == Some(address)) {
            Some(socket) => socket,
            None => bind_tcp(address).map_err(|cause| tcp_error(address, &cause))?,
        };
        Ok(Self::Tcp(TcpListener::from_std(nonblocking(socket)?.into())?))
    }

    /// The TCP address, with the port that the kernel gave.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix(..) => None,
            Self::Tcp(listener) => listener.local_addr().ok(),
        }
    }

    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<Guest> {
        match self {
            Self::Unix(listener, _) => listener.accept().await.map(|(it, _)| Guest::Unix(it)),
            Self::Tcp(listener) => listener.accept().await.map(|(it, _)| Guest::Tcp(it)),
        }
    }

    /// The socket, for another process.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener, _) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }

    /// Takes the socket's file away, so that nobody tries it in vain.
    pub(super) fn remove_file(&self) {
        match self {
            // Somebody else may have removed it, which is as good.
            Self::Unix(_, path) => drop(fs::remove_file(path)),
            Self::Tcp(_) => {}
        }
    }
}

/// Takes the socket out whose own address is the wanted one.
fn take(inherited: &mut Vec<OwnedFd>, wanted: impl Fn(&SockAddr) -> bool) -> Option<Socket> {
    let is_wanted = |fd: &OwnedFd| SockRef::from(fd).local_addr().is_ok_and(|it| wanted(&it));
    let at = inherited.iter().position(is_wanted)?;
    Some(inherited.swap_remove(at).into())
}

fn nonblocking(socket: Socket) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_unix(path: &Path) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    if let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    }
    remove_stale(path, &address)?;
    let file = File::from(OwnedFd::from(Socket::new(Domain::UNIX, Type::STREAM, None)?));
    // Linux gives the file the mode of the socket, less the umask: it is never open to more than
    // it should be. What the umask took away is given back below.
    file.set_permissions(Permissions::from_mode(SOCKET_MODE))?;
    let socket = Socket::from(OwnedFd::from(file));
    socket.bind(&address)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Removes a socket file that nobody answers on.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(cause),
    };
    if !metadata.file_type().is_socket() {
        let text = "there is a file that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    // Nonblocking, so that a process that listens but does not accept cannot hold us up.
    let probe = nonblocking(Socket::new(Domain::UNIX, Type::STREAM, None)?)?;
    match probe.connect(address) {
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Err(cause),
        Ok(()) | Err(_) => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there"))
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn unix_error(path: &Path, cause: &io::Error) -> io::Error {
    let cure = match cause.kind() {
        io::ErrorKind::AddrInUse => "stop it, or give this one another control socket",
        io::ErrorKind::AlreadyExists => "remove it, or name another path",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let the user that runs ringway write there (RuntimeDirectory= in systemd), or name \
             another path"
        }
        io::ErrorKind::InvalidInput => "name a path of at most 107 bytes",
        _ => "name another path",
    };
    let text = format!("the control socket {} cannot be had: {cause}; {cure}", path.display());
    io::Error::new(cause.kind(), text)
}

fn tcp_error(address: SocketAddr, cause: &io::Error) -> io::Error {
    let cure = match cause.kind() {
        io::ErrorKind::AddrInUse => "another process listens there: stop it, or name another port",
        io::ErrorKind::AddrNotAvailable => "no interface has this address: name one of `ip addr`",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: name another port",
        _ => "name another address",
    };
    let text = format!("the control API cannot listen on {address}: {cause}; {cure}");
    io::Error::new(cause.kind(), text)
}
