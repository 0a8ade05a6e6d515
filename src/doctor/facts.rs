//! What the doctor knows before it judges: values only, as `gather` found them.
//!
//! A fact that could not be had is `None`, and then nothing is said about it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::net::limits::Room;
use crate::net::ring::Engine;

/// Everything.
#[derive(Debug)]
pub(super) struct Facts {
    /// `uname -r`.
    pub(super) kernel: String,
    pub(super) uring: Uring,
    pub(super) sysctls: Sysctls,
    /// The process whose limits and privileges count: a running ringway, else this one.
    pub(super) process: Process,
    pub(super) cpus: Cpus,
    /// A ringway that answers on the control socket.
    pub(super) running: Option<Running>,
    pub(super) control: Control,
    pub(super) listeners: Vec<Listening>,
    pub(super) targets: Vec<Target>,
    /// Targets that were not asked, for want of time.
    pub(super) targets_left_out: usize,
    /// Connections of this host by the address that they lead to, in whatever state.
    pub(super) connections: HashMap<SocketAddr, usize>,
    /// Connections that the kernel dropped since the boot because a listen queue was full.
    pub(super) listen_overflows: Option<u64>,
    pub(super) clock: Clock,
    pub(super) paths: Paths,
}

/// A ringway that runs, as far as it matters here.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) version: String,
    pub(super) pid: u32,
    /// The configuration that it has read.
    pub(super) config: String,
    /// `io_uring` or `epoll`.
    pub(super) driver: String,
    /// Addresses of its listeners.
    pub(super) listeners: Vec<String>,
}

/// What io_uring says.
#[derive(Debug)]
pub(super) struct Uring {
    /// The engine, or what the kernel said, as a number of `errno.h`.
    pub(super) engine: Result<Engine, Option<i32>>,
    /// `IORING_FEAT_*`.
    pub(super) features: Vec<&'static str>,
}

/// Values below `/proc/sys` by their dotted name.
#[derive(Debug, Default)]
pub(super) struct Sysctls(pub(super) BTreeMap<&'static str, String>);

impl Sysctls {
    /// The names that are read.
    pub(super) const NAMES: &[&str] = &[
        "fs.file-max",
        "fs.file-nr",
        "fs.nr_open",
        "kernel.io_uring_disabled",
        "kernel.io_uring_group",
        "net.core.somaxconn",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_max_syn_backlog",
        "net.ipv4.tcp_tw_reuse",
        "net.netfilter.nf_conntrack_count",
        "net.netfilter.nf_conntrack_max",
    ];

    /// All numbers of the value; none where there is no such sysctl.
    pub(super) fn numbers(&self, name: &str) -> Vec<i64> {
        let text = self.0.get(name).map(String::as_str).unwrap_or_default();
        text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
    }

    /// The first number of the value.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.numbers(name).first().copied()
    }

    /// First and last port for connections to targets.
    pub(super) fn local_ports(&self) -> Option<(u16, u16)> {
        match self.numbers("net.ipv4.ip_local_port_range").as_slice() {
            [first, last] => Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?)),
            _ => None,
        }
    }

    /// Whether the kernel gives `port` only to who asks for it.
    pub(super) fn is_reserved(&self, port: u16) -> bool {
        let text = self.0.get("net.ipv4.ip_local_reserved_ports");
        let ranges = text.map(String::as_str).unwrap_or_default().split([',', '\n']);
        ranges.filter(|range| !range.trim().is_empty()).any(|range| {
            let (first, last) =
                range.trim().split_once('-').unwrap_or_else(|| (range.trim(), range.trim()));
            let bounds = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
            bounds.is_some_and(|(first, last)| (first..=last).contains(&port))
        })
    }
}

/// Whose limits and privileges count.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Whether it is a ringway that runs, and not this command.
    pub(super) is_running_ringway: bool,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    /// Effective capabilities, a bit each.
    pub(super) capabilities: u64,
    /// Whether system calls are filtered.
    pub(super) seccomp: bool,
    /// Hard limit of open files; `u64::MAX`: unlimited. A soft limit is raised to it.
    pub(super) open_files: Option<u64>,
    /// Hard limit of locked memory, in bytes.
    pub(super) locked_memory: Option<u64>,
    /// Limit of threads of the user.
    pub(super) threads: Option<u64>,
}

/// Capability to listen on ports below 1024.
pub(super) const CAP_NET_BIND_SERVICE: u32 = 10;
/// Capability to read and write what file modes forbid.
pub(super) const CAP_DAC_OVERRIDE: u32 = 1;
/// Capability that io_uring asks for where it is restricted.
pub(super) const CAP_SYS_ADMIN: u32 = 21;

impl Process {
    pub(super) fn can(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }

    fn is_member(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// Whether it may do to `file` what `bits` say (4 read, 2 write, 1 search), by owner and mode.
    /// Access control lists are not looked at.
    pub(super) fn may(&self, file: &File, bits: u32) -> bool {
        let shift = match file {
            _ if self.can(CAP_DAC_OVERRIDE) => return true,
            File { uid, .. } if *uid == self.uid => 6,
            File { gid, .. } if self.is_member(*gid) => 3,
            File { .. } => 0,
        };
        (file.mode >> shift) & bits == bits
    }
}

/// Cores.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cpus {
    /// Cores that the process may use.
    pub(super) usable: usize,
    /// Cores' worth of time that its control group grants, if that is limited.
    pub(super) quota: Option<f64>,
}

/// Who answers at the control socket, if anybody.
#[derive(Debug)]
pub(super) enum Control {
    /// No socket is configured, or there is nothing at its path.
    Absent,
    /// A ringway; see [`Facts::running`].
    Ringway,
    /// A socket that nobody listens on.
    Stale,
    /// Something that does not answer as ringway does; why.
    Stranger(String),
    /// This user may not ask.
    Denied,
}

/// A listener's address, and whether it can be had.
#[derive(Debug)]
pub(super) struct Listening {
    /// Name of the listener; of the control API: none.
    pub(super) name: Option<String>,
    pub(super) address: SocketAddr,
    pub(super) outcome: io::Result<()>,
    /// Who has the port, where it is taken.
    pub(super) owner: Option<Owner>,
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    /// Process id and name, where this user may look.
    pub(super) process: Option<(u32, String)>,
}

/// A target, and what it said.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) group: String,
    pub(super) address: SocketAddr,
    /// What was asked, after the connection was made.
    pub(super) probe: String,
    pub(super) answer: Answer,
}

/// What came of a target.
#[derive(Debug)]
pub(super) enum Answer {
    /// It answers as the health check asks.
    Good,
    /// No connection within this time.
    NoConnection(Duration),
    /// No connection, because.
    Refused(io::Error),
    /// A connection, but no TLS session, because.
    NoSession(String),
    /// A connection, but no answer to the probe within this time.
    Silent(Duration),
    /// A code of gRPC that the matcher does not accept.
    Code(u16),
    /// A status that the matcher does not accept.
    Status(u16),
    /// A connection, but what came was no HTTP response.
    Malformed,
}

/// Time.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    /// Seconds since 1970; negative before.
    pub(super) seconds: i64,
    /// What the kernel reads time from.
    pub(super) source: Option<String>,
    /// What it could read time from.
    pub(super) sources: Vec<String>,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    pub(super) kind: Kind,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Socket,
    Other,
}

/// Files and directories that matter, with those above them.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// What is there. A path that was looked at and is not here does not exist.
    pub(super) files: HashMap<PathBuf, File>,
    /// Room of the file systems that directories are on.
    pub(super) rooms: HashMap<PathBuf, Room>,
    /// First line of the token file, or why it cannot be read.
    pub(super) token: Option<Result<String, String>>,
    /// What cannot be used in the state directory, in words.
    pub(super) store: Option<String>,
    /// The process that holds the lock of the state directory.
    pub(super) lock_holder: Option<u32>,
    /// The configuration file.
    pub(super) config: PathBuf,
}

impl Paths {
    pub(super) fn file(&self, path: &Path) -> Option<&File> {
        self.files.get(path)
    }

    /// The nearest existing directory at or above `path`.
    pub(super) fn existing<'p>(&self, path: &'p Path) -> Option<(&'p Path, &File)> {
        path.ancestors().find_map(|path| Some((path, self.files.get(path)?)))
    }
}
