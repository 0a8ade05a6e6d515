//! Listening sockets that pass from a process to its successor, or from the service manager to us,
//! by descriptor.
//!
//! The connections that wait in a socket's queue pass with it, so none is lost. A predecessor names
//! descriptors in an environment variable: `ADDRESS=DESCRIPTOR`, separated by spaces. The service
//! manager (socket activation, sd_listen_fds(3)) only counts them; the kernel knows their
//! addresses.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use socket2::SockRef;

/// The environment variable that names the sockets.
pub const SOCKETS: &str = "RINGWAY_INHERIT";
/// The environment variable that numbers the sockets of the control API.
pub const CONTROL: &str = "RINGWAY_INHERIT_CONTROL";
/// The environment variable that names the descriptor through which the successor says that it is
/// ready.
pub const READY: &str = "RINGWAY_READY";

/// The environment variable with the process that the service manager's sockets are for.
const LISTEN_PID: &str = "LISTEN_PID";
/// The environment variable with the number of the service manager's sockets.
const LISTEN_FDS: &str = "LISTEN_FDS";
/// The first of their descriptors; the others follow.
const LISTEN_FDS_START: RawFd = 3;
/// Most sockets that the service manager may pass: one per worker of very many listeners.
const LISTEN_FDS_MAX: RawFd = 65_536;

/// Sockets of the process before, or of the service manager, by address.
#[derive(Debug, Default)]
pub struct Inherited(HashMap<SocketAddr, Vec<OwnedFd>>);

impl Inherited {
    /// Takes what the environment names, once: later calls find nothing.
    #[must_use]
    pub fn from_environment() -> Self {
        let mut sockets: HashMap<_, Vec<OwnedFd>> = HashMap::new();
        for socket in sockets_of_service_manager() {
            match prepare(&socket) {
                Ok(address) => sockets.entry(address).or_default().push(socket),
                Err(error) => tracing::warn!(
                    descriptor = number(&socket), %error,
                    "a socket of the service manager is not a listening TCP socket"
                ),
            }
        }
        for entry in std::env::var(SOCKETS).unwrap_or_default().split_whitespace() {
            let Some((address, number)) = entry.split_once('=') else { continue };
            let (Ok(address), Ok(number)) = (address.parse(), number.parse()) else { continue };
            if let Some(socket) = adopt(number).filter(|socket| is_bound_to(socket, address)) {
                sockets.entry(address).or_default().push(socket);
            }
        }
        Self(sockets)
    }

    /// The sockets of `address`, if any were handed over.
    #[must_use]
    pub fn take(&mut self, address: SocketAddr) -> Vec<OwnedFd> {
        self.0.remove(&address).unwrap_or_default()
    }

    /// Addresses of which nobody has taken the sockets.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.keys().copied()
    }
}

/// Whether the service manager keeps sockets open that it has passed to this process or to one
/// before: then connections wait in them when this one ends.
#[must_use]
pub fn is_activated() -> bool {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_ours = has_predecessor() || number(LISTEN_PID) == Some(std::process::id());
    is_ours && number(LISTEN_FDS).is_some_and(|count| count > 0)
}

/// What the service manager has opened for this process.
fn sockets_of_service_manager() -> impl Iterator<Item = OwnedFd> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_ours = number(LISTEN_PID) == Some(std::process::id());
    let count = number(LISTEN_FDS).filter(|_| is_ours).and_then(|count| count.try_into().ok());
    let count: RawFd = count.unwrap_or(0).min(LISTEN_FDS_MAX);
    (LISTEN_FDS_START..LISTEN_FDS_START + count).filter_map(adopt)
}

/// Makes a socket that others have opened one like those of [`super::bind`]; its address.
fn prepare(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let view = SockRef::from(socket);
    if !view.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
    }
    view.set_nonblocking(true)?;
    let address = super::address_of(socket)?;
    view.set_tcp_nodelay(true)?;
    Ok(address)
}

/// The control API's sockets of the process before, if any were handed over.
#[must_use]
pub fn control_sockets() -> Vec<OwnedFd> {
    let numbers = std::env::var(CONTROL).unwrap_or_default();
    numbers.split_whitespace().filter_map(|number| adopt(number.parse().ok()?)).collect()
}

/// Lets the next program that is started have `socket`, or no longer.
///
/// # Errors
/// When the descriptor is not open.
pub fn set_inheritable(socket: &OwnedFd, inheritable: bool) -> io::Result<()> {
    // SAFETY: fcntl on an open descriptor.
    let flags = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_GETFD) };
    let flags = match inheritable {
        true => flags & !libc::FD_CLOEXEC,
        false => flags | libc::FD_CLOEXEC,
    };
    // SAFETY: fcntl on an open descriptor.
    match unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a process waits for this one to take over.
#[must_use]
pub fn has_predecessor() -> bool {
    std::env::var_os(READY).is_some()
}

/// The descriptor through which this process is to say that it is ready, if its predecessor waits.
#[must_use]
pub fn ready_pipe() -> Option<OwnedFd> {
    adopt(std::env::var(READY).ok()?.parse().ok()?)
}

/// The number of a descriptor, as [`READY`] names it.
#[must_use]
pub fn number(descriptor: &OwnedFd) -> RawFd {
    descriptor.as_raw_fd()
}

/// How `sockets` are numbered in [`CONTROL`].
#[must_use]
pub fn numbers<'a>(sockets: impl Iterator<Item = &'a OwnedFd>) -> String {
    sockets.map(|socket| number(socket).to_string()).collect::<Vec<_>>().join(" ")
}

/// How `entries` are named in [`SOCKETS`].
#[must_use]
pub fn name<'a>(entries: impl Iterator<Item = (SocketAddr, &'a OwnedFd)>) -> String {
    let named = entries.map(|(address, socket)| format!("{address}={}", socket.as_raw_fd()));
    named.collect::<Vec<_>>().join(" ")
}

/// Takes over a descriptor that the environment names, if it is open.
fn adopt(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: asks about a number; nothing is assumed of it.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if number < 3 || flags < 0 {
        return None;
    }
    // SAFETY: it is open, and the predecessor left it to us: nothing in this process owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    // SAFETY: fcntl on an open descriptor. Programs that we start do not get it.
    unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) };
    Some(owned)
}

fn is_bound_to(socket: &OwnedFd, address: SocketAddr) -> bool {
    super::address_of(socket).is_ok_and(|bound| bound == address)
}
