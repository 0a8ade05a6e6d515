//! What passes from a process to its successor, by descriptor: listening sockets and, in a file
//! in memory, text.
//!
//! The connections that wait in a socket's queue pass with it, so none is lost. Descriptors are
//! named in environment variables. Each socket has a label there, `LABEL=DESCRIPTOR`, separated
//! by spaces: its address, and where the kernel chose the port also the name of the listener that
//! it was opened for, `web@127.0.0.1:40000`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The environment variable that names the sockets.
pub const SOCKETS: &str = "RINGWAY_INHERIT";
/// The environment variable that numbers the sockets of the control API.
pub const CONTROL: &str = "RINGWAY_INHERIT_CONTROL";
/// The environment variable that numbers the file with what the control API changed.
pub const CHANGES: &str = "RINGWAY_INHERIT_CHANGES";
/// The environment variable that names the descriptor through which the successor says that it is
/// ready.
pub const READY: &str = "RINGWAY_READY";

/// Sockets of the process before.
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
        Self(named.split_whitespace().filter_map(entry).collect())
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
