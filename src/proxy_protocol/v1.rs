//! The text form: `PROXY TCP4 198.51.100.22 203.0.113.7 35646 80\r\n` (proxy-protocol.txt §2.1).
//!
//! Reads exactly what the specification lets a sender write: single spaces, canonical numbers,
//! addresses of the family that is named. Start with [`decode`].

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Addresses, Decoded, Ends, HeaderError, V1_HEADER_BYTES_MAX, decoded_end};

/// What every v1 header begins with.
pub(super) const PREFIX: &[u8] = b"PROXY ";

/// Appends the line.
pub(super) fn encode(ends: &Ends, out: &mut Vec<u8>) {
    let result = match *ends {
        Ends::V4 { ips, ports: [from, to] } => {
            let [source, destination] = ips.map(Ipv4Addr::from);
            write!(out, "PROXY TCP4 {source} {destination} {from} {to}\r\n")
        }
        Ends::V6 { ips, ports: [from, to] } => {
            let [source, destination] = ips.map(Ipv6Addr::from);
            write!(out, "PROXY TCP6 {source} {destination} {from} {to}\r\n")
        }
    };
    debug_assert!(result.is_ok(), "writing to a Vec cannot fail");
}

/// Reads the line at the start of `bytes`, which begin with [`PREFIX`] as far as they go.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    let window = &bytes[..bytes.len().min(V1_HEADER_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return match window.len() {
            V1_HEADER_BYTES_MAX => Err(HeaderError::LineTooLong),
            _ => Ok(Decoded::Incomplete),
        };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(HeaderError::LineEnd)?;
    let fields = line.strip_prefix(PREFIX).ok_or(HeaderError::Fields)?;
    Ok(Decoded::Complete { header_bytes: end + 1, addresses: decode_fields(fields)? })
}

/// Reads what stands between `PROXY ` and CRLF.
fn decode_fields(fields: &[u8]) -> Result<Option<Addresses>, HeaderError> {
    let mut fields = fields.split(|&byte| byte == b' ');
    let protocol = fields.next().unwrap_or_default();
    let parse: fn(&str) -> Option<IpAddr> = match protocol {
        b"TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        b"TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        // What follows UNKNOWN up to CRLF must be ignored (§2.1).
        b"UNKNOWN" => return Ok(None),
        _ => return Err(HeaderError::Protocol),
    };
    let mut field = || fields.next().ok_or(HeaderError::Fields);
    let [source, destination, from, to] = [field()?, field()?, field()?, field()?];
    if fields.next().is_some() {
        return Err(HeaderError::Fields);
    }
    let address =
        |text: &[u8]| std::str::from_utf8(text).ok().and_then(parse).ok_or(HeaderError::Address);
    Ok(Some(Addresses {
        source: decoded_end(address(source)?, port(from)?),
        destination: decoded_end(address(destination)?, port(to)?),
    }))
}

/// Reads a port. Stricter than `str::parse`, which takes `+80` and `080`.
fn port(text: &[u8]) -> Result<u16, HeaderError> {
    let canonical = match text {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let number = std::str::from_utf8(text).ok().filter(|_| canonical);
    number.and_then(|text| text.parse().ok()).ok_or(HeaderError::Port)
}
