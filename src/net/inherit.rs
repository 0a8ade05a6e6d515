//! What passes from a process to its successor, or from the service manager to us, by descriptor:
//! listening sockets and, in a file in memory, text.
//!
//! The connections that wait in a socket's queue pass with it, so none is lost. A predecessor names
//! descriptors in environment variables. Each socket has a label there, `LABEL=DESCRIPTOR`,
//! separated by spaces: its address, and where the kernel chose the port also the name of the
//! listener that it was opened for, `web@127.0.0.1:40000`. The service manager (socket activation,
//! sd_listen_fds(3)) only counts its sockets; the kernel knows their addresses.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use socket2::SockRef;

/// The environment variable that names the sockets.
pub const SOCKETS: &str = "RINGWAY_INHERIT";
/// The environment variable that numbers the sockets of the control API.
pub const CONTROL: &str = "RINGWAY_INHERIT_CONTROL";
/// The environment variable that numbers the file with what the control API changed.
pub const CHANGES: &str = "RINGWAY_INHERIT_CHANGES";
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

/// Sockets of the process before, or of the service manager.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// The listener that it was opened for, where the kernel chose the port.
    name: Option<String>,
    address: SocketAddr,
    socket: OwnedFd,
}

impl Inherited {
    /// Takes what the environment names, once: later calls find nothing.
    #[must_use]
    pub fn from_environment() -> Self {
        let given = |socket| match prepare(&socket) {
            Ok(address) => Some(Entry { name: None, address, socket }),
            Err(error) => {
                let descriptor = number(&socket);
                tracing::warn!(descriptor, %error, "the service manager's is no listening socket");
                None
            }
        };
        let named = std::env::var(SOCKETS).unwrap_or_default();
        let entry = |text: &str| {
            let (label, number) = text.split_once('=')?;
            let (name, address) = match label.split_once('@') {
                Some((name, address)) => (Some(name.to_owned()), address.parse().ok()?),
                None => (None, label.parse().ok()?),
            };
            let socket = adopt(number.parse().ok()?)?;
            is_bound_to(&socket, address).then_some(Entry { name, address, socket })
        };
        let given = sockets_of_service_manager().filter_map(given);
        Self(given.chain(named.split_whitespace().filter_map(entry)).collect())
    }

    /// The sockets that fit a listener called `name` on `address`, if any were handed over: those
    /// on that address or, where its port is 0, those that were opened for a listener of this name
    /// with a port of the kernel's choice.
    #[must_use]
    pub fn take(&mut self, name: &str, address: SocketAddr) -> Vec<OwnedFd> {
        let fits = |entry: &mut Entry| match address.port() {
            0 => entry.name.as_deref() == Some(name) && entry.address.ip() == address.ip(),
            _ => entry.address == address,
        };
        self.0.extract_if(.., fits).map(|entry| entry.socket).collect()
    }

    /// Addresses of which nobody has taken the sockets.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        let addresses: BTreeSet<_> = self.0.iter().map(|entry| entry.address).collect();
        addresses.into_iter()
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

/// The label of a socket on `address`; `name` is that of its listener if the kernel chose the port.
#[must_use]
pub fn label(name: Option<&str>, address: SocketAddr) -> String {
    name.map_or_else(|| address.to_string(), |name| format!("{name}@{address}"))
}

/// The control API's sockets of the process before, if any were handed over.
#[must_use]
pub fn control_sockets() -> Vec<OwnedFd> {
    let numbers = std::env::var(CONTROL).unwrap_or_default();
    numbers.split_whitespace().filter_map(|number| adopt(number.parse().ok()?)).collect()
}

/// What the process before has written for its successor, if there was one.
///
/// # Errors
/// If it cannot be read, or has more than `bytes_max` bytes.
pub fn changes(bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let number = std::env::var(CHANGES).ok().and_then(|number| number.parse().ok());
    let Some(descriptor) = number.and_then(adopt) else { return Ok(None) };
    let mut text = Vec::new();
    File::from(descriptor).take(bytes_max + 1).read_to_end(&mut text)?;
    match text.len() as u64 > bytes_max {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(Some(text)),
    }
}

/// A file without a name that holds `text`, to be read from its beginning.
///
/// # Errors
/// If the process is out of files or of memory.
pub fn in_memory(text: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string, and the kernel copies it.
    let number = unsafe { libc::memfd_create(c"ringway-changes".as_ptr(), libc::MFD_CLOEXEC) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us, and nothing else owns it.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(number) });
    file.write_all(text)?;
    file.rewind()?;
    Ok(file.into())
}

/// Lets programs that are started have `descriptor`, for as long as it is open.
///
/// # Errors
/// When the descriptor is not open.
pub fn set_inheritable(descriptor: &OwnedFd) -> io::Result<()> {
    // SAFETY: fcntl on an open descriptor.
    let flags = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = flags & !libc::FD_CLOEXEC;
    // SAFETY: fcntl on an open descriptor.
    match unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFD, flags) } {
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

/// How sockets and their [labels](label) are named in [`SOCKETS`].
#[must_use]
pub fn entries<'a>(sockets: impl Iterator<Item = (&'a str, &'a OwnedFd)>) -> String {
    let named = sockets.map(|(label, socket)| format!("{label}={}", number(socket)));
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
