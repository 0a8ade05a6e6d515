//! Headers of the PROXY protocol, versions 1 (text) and 2 (binary), to and from bytes.
//!
//! A header stands before the first byte of a connection and tells which client and which
//! address the connection is about (haproxy:doc/proxy-protocol.txt). [`encode`] writes what
//! Classic ELB (v1) and NLB (v2) send to targets; [`decode`] reads what a trusted front sends to
//! us. Whom to trust is decided elsewhere: here a header is believed or refused by its form only.
//!
//! Nothing is ever guessed: bytes that are no header are an error, never passed on as payload,
//! for a client that can choose whether there is a header can choose its address. Start with
//! [`decode`]; the two forms are in `proxy_protocol/v1.rs` and `proxy_protocol/v2.rs`.

mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::model::ProxyProtocolVersion;

/// Longest v1 header, in bytes, its CRLF included (proxy-protocol.txt §2.1).
pub const V1_HEADER_BYTES_MAX: usize = 107;
/// Most bytes of TLVs behind the addresses of a v2 header. AWS sends less than 100, a front with
/// client certificates a few hundred; the form would allow 64 KiB.
pub const TLV_BYTES_MAX: usize = 4 * 1024;
/// Longest header of either version, in bytes: a buffer of this size is always enough.
pub const HEADER_BYTES_MAX: usize = v2::FIXED_BYTES + v2::ADDRESS_BYTES_MAX + TLV_BYTES_MAX;

/// The two ends of the connection that a header speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where the client connected to.
    pub destination: SocketAddr,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// A whole header.
    Complete {
        /// Its length; what follows is payload.
        header_bytes: usize,
        /// Its addresses, IPv4-mapped ones as IPv4. `None` for a connection that the front made
        /// itself (LOCAL) or whose addresses are of no TCP kind (UNKNOWN, UNSPEC, UNIX, UDP):
        /// then those of the connection itself are meant.
        addresses: Option<Addresses>,
    },
    /// The beginning of a header; more bytes are needed, at most [`HEADER_BYTES_MAX`] in all.
    Incomplete,
}

/// Appends the header of `version` to `out`, as Classic ELB (v1) and NLB (v2, with the CRC-32C
/// TLV) send it.
///
/// IPv4-mapped addresses count as IPv4. Where one end is IPv4 and the other IPv6, both are
/// written as IPv6, the IPv4 one mapped (`::ffff:192.0.2.1`): a header has one family.
pub fn encode(version: ProxyProtocolVersion, addresses: &Addresses, out: &mut Vec<u8>) {
    let ends = Ends::of(addresses);
    match version {
        ProxyProtocolVersion::V1 => v1::encode(&ends, out),
        ProxyProtocolVersion::V2 => v2::encode(&ends, out),
    }
}

/// Reads the header at the start of `bytes`, whichever version it is.
///
/// # Errors
/// [`HeaderError`] as soon as `bytes` cannot become a header that we accept; the connection must
/// close (proxy-protocol.txt §2: a receiver must not guess).
pub fn decode(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    if begins_like(bytes, v2::SIGNATURE) {
        v2::decode(bytes)
    } else if begins_like(bytes, v1::PREFIX) {
        v1::decode(bytes)
    } else {
        Err(HeaderError::NotAHeader)
    }
}

/// Whether `bytes` begin with `prefix`, as far as they go.
fn begins_like(bytes: &[u8], prefix: &[u8]) -> bool {
    let len = bytes.len().min(prefix.len());
    bytes[..len] == prefix[..len]
}

/// Addresses in the one family that a header can have.
enum Ends {
    V4 { ips: [[u8; 4]; 2], ports: [u16; 2] },
    V6 { ips: [[u8; 16]; 2], ports: [u16; 2] },
}

impl Ends {
    fn of(addresses: &Addresses) -> Self {
        let Addresses { source, destination } = addresses;
        let ports = [source.port(), destination.port()];
        match (source.ip().to_canonical(), destination.ip().to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Self::V4 { ips: [source.octets(), destination.octets()], ports }
            }
            (source, destination) => {
                Self::V6 { ips: [source, destination].map(|ip| as_ipv6(ip).octets()), ports }
            }
        }
    }
}

fn as_ipv6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// The address of a decoded header. A mapped one becomes IPv4, so that rules on client addresses
/// see what they name.
fn decoded_end(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

/// Why bytes are not a header that we accept. Sections are those of proxy-protocol.txt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// The bytes begin with neither form's signature (§2).
    NotAHeader,
    /// A v1 line does not end within [`V1_HEADER_BYTES_MAX`] (§2.1).
    LineTooLong,
    /// A v1 line does not end with CRLF (§2.1).
    LineEnd,
    /// A v1 line names a protocol other than TCP4, TCP6 and UNKNOWN (§2.1).
    Protocol,
    /// A v1 line does not have six fields with a single space between each (§2.1).
    Fields,
    /// A v1 address is not in the canonical form of its family (§2.1).
    Address,
    /// A v1 port is not a decimal number from 0 to 65535 without leading zeros (§2.1).
    Port,
    /// The version of a binary header is not 2 (§2.2).
    Version,
    /// The command of a v2 header is neither LOCAL nor PROXY (§2.2).
    Command,
    /// A v2 header names an unassigned address family or transport (§2.2).
    Family,
    /// A v2 header is longer than [`HEADER_BYTES_MAX`] (§2.2).
    TooLong,
    /// A v2 header is too short for the addresses of its family (§2.2).
    TooShort,
    /// A TLV does not fit into what the header's length leaves, or a CRC-32C TLV is not 4 bytes
    /// long or comes twice (§2.2.7).
    Tlv,
    /// The CRC-32C of a v2 header is wrong (§2.2.3).
    Checksum,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAHeader => "connection does not begin with a PROXY protocol header",
            Self::LineTooLong => "PROXY v1 line longer than 107 bytes",
            Self::LineEnd => "PROXY v1 line that does not end with CRLF",
            Self::Protocol => "PROXY v1 protocol other than TCP4, TCP6 and UNKNOWN",
            Self::Fields => "PROXY v1 line without exactly six fields",
            Self::Address => "PROXY v1 address that is malformed or of the wrong family",
            Self::Port => "PROXY v1 port that is not a number from 0 to 65535",
            Self::Version => "PROXY binary header of a version other than 2",
            Self::Command => "PROXY v2 command other than LOCAL and PROXY",
            Self::Family => "PROXY v2 address family or transport that is not assigned",
            Self::TooLong => "PROXY v2 header with more than 4 KiB of TLVs",
            Self::TooShort => "PROXY v2 header too short for its addresses",
            Self::Tlv => "PROXY v2 header with a malformed TLV",
            Self::Checksum => "PROXY v2 header with a wrong CRC-32C",
        })
    }
}

impl std::error::Error for HeaderError {}
