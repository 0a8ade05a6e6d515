//! TCP sockets of this host: who listens, and how many connections lead where.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::doctor::facts::{Listening, Owner};

/// State of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The kernel's table of TCP sockets.
#[derive(Debug, Default)]
pub(super) struct Table {
    listening: Vec<Socket>,
    /// How many connections lead to each address.
    pub(super) connections: HashMap<SocketAddr, usize>,
}

#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: SocketAddr,
    uid: u32,
    inode: u64,
}

impl Table {
    /// Of this network namespace.
    pub(super) fn read() -> Self {
        let mut table = Self::default();
        for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
            fs::read_to_string(file).unwrap_or_default().lines().for_each(|line| table.add(line));
        }
        table
    }

    fn add(&mut self, line: &str) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let &[_, local, remote, state, _, _, _, uid, _, inode, ..] = columns.as_slice() else {
            return;
        };
        if state != LISTEN {
            if let Some(address) = read_address(remote) {
                *self.connections.entry(address).or_default() += 1;
            }
        } else if let (Some(address), Ok(uid), Ok(inode)) =
            (read_address(local), uid.parse(), inode.parse())
        {
            self.listening.push(Socket { address, uid, inode });
        }
    }

    /// Says of each listener whose port is taken who has it.
    pub(super) fn name_owners(&self, taken: Vec<&mut Listening>) {
        let wanted: Vec<(&mut Listening, &Socket)> = taken
            .into_iter()
            .filter_map(|listening| {
                let socket =
                    self.listening.iter().find(|it| overlap(it.address, listening.address))?;
                Some((listening, socket))
            })
            .collect();
        let inodes: HashSet<u64> = wanted.iter().map(|(_, socket)| socket.inode).collect();
        let processes = if inodes.is_empty() { HashMap::new() } else { holders(&inodes) };
        for (listening, socket) in wanted {
            let process = processes.get(&socket.inode).cloned();
            listening.owner = Some(Owner { uid: socket.uid, process });
        }
    }
}

/// Whether both addresses cannot be listened on at once.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    let covers =
        |wide: IpAddr, ip: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || ip.is_ipv4());
    one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

/// Processes that hold the sockets `inodes`, as far as this user may see.
fn holders(inodes: &HashSet<u64>) -> HashMap<u64, (u32, String)> {
    let mut found = HashMap::new();
    let Ok(processes) = fs::read_dir("/proc") else { return found };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for link in descriptors.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()) {
            let inode = link.to_str().and_then(|link| link.strip_prefix("socket:["));
            let inode = inode.and_then(|link| link.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                let name = super::line(process.path().join("comm")).unwrap_or_default();
                found.insert(inode, (pid, name));
            }
        }
    }
    found
}

/// An address as `/proc/net/tcp` has it: the words of the IP address in the order of this
/// machine's bytes, the port as a number, all hexadecimal.
fn read_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    // An IPv4 connection of an IPv6 socket is one like any other.
    Some(SocketAddr::new(if ip.is_unspecified() { ip } else { ip.to_canonical() }, port))
}

/// Connections that were dropped because a listen queue was full, since the boot.
pub(super) fn listen_overflows() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/netstat").ok()?;
    counter(&text, "TcpExt:", "ListenOverflows")
}

/// The value under `name`: a line of names and a line of values begin with `prefix`.
fn counter(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|it| it == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn sockets_are_read() {
        let mut table = Table::default();
        let rows = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid",
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  \
             0 4242 1 0000000000000000 100 0 0 10 0",
            "   1: 0100007F:E1B2 0500000A:1F40 01 00000000:00000000 00:00000000 00000000     0  \
             0 4243 1 0000000000000000 20 4 30 10 -1",
            "   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A \
             00000000:00000000 00:00000000 00000000     0        0 4244 1 0 100 0 0 10 0",
            "   3: 0000000000000000FFFF00000100007F:E1B4 0000000000000000FFFF00000500000A:1F40 06 \
             00000000:00000000 03:00000000 00000000     0        0 0 3 0",
        ];
        rows.iter().for_each(|row| table.add(row));
        let socket =
            |address: &str, uid, inode| Socket { address: address.parse().unwrap(), uid, inode };
        assert_eq!(
            table.listening,
            [socket("127.0.0.1:8080", 1000, 4242), socket("[::]:80", 0, 4244)]
        );
        assert_eq!(table.connections.get(&"10.0.0.5:8000".parse().unwrap()), Some(&2));
    }

    #[test]
    fn addresses_overlap_where_one_covers_the_other() {
        let rows = [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "0.0.0.0:81", false),
        ];
        for (one, other, expected) in rows {
            assert_eq!(overlap(one.parse().unwrap(), other.parse().unwrap()), expected, "{one}");
        }
    }

    #[test]
    fn counters_are_found_by_their_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\n";
        assert_eq!(counter(text, "TcpExt:", "ListenOverflows"), Some(22));
        assert_eq!(counter(text, "TcpExt:", "Absent"), None);
    }
}
