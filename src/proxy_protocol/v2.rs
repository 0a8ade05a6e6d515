//! The binary form (proxy-protocol.txt §2.2): signature, command, addresses, TLVs.
//!
//! TLVs are walked over for one thing only, the CRC-32C, which is checked when it is there and
//! always written, as NLB does. Start with [`decode`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Addresses, Decoded, Ends, HEADER_BYTES_MAX, HeaderError, TLV_BYTES_MAX, decoded_end};

/// What every v2 header begins with.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
pub(super) const FIXED_BYTES: usize = 16;
/// Two IPv4 addresses and two ports.
const V4_ADDRESS_BYTES: usize = 2 * 4 + 2 * 2;
/// Two IPv6 addresses and two ports.
const V6_ADDRESS_BYTES: usize = 2 * 16 + 2 * 2;
/// Two names of UNIX sockets, the longest of the address forms.
pub(super) const ADDRESS_BYTES_MAX: usize = 2 * 108;

/// Version 2, command LOCAL: the front speaks for itself.
const LOCAL: u8 = 0x20;
/// Version 2, command PROXY: the front speaks for a client.
const PROXY: u8 = 0x21;
/// TCP over IPv4.
const TCP4: u8 = 0x11;
/// TCP over IPv6.
const TCP6: u8 = 0x21;
/// `PP2_TYPE_CRC32C`
const TLV_CRC32C: u8 = 0x03;
/// Type and length of a TLV.
const TLV_FIXED_BYTES: usize = 3;
/// Length of a CRC-32C.
const CRC_BYTES: usize = 4;

/// Appends the header.
pub(super) fn encode(ends: &Ends, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(SIGNATURE);
    match ends {
        Ends::V4 { ips, ports } => encode_addresses(TCP4, ips.as_flattened(), ports, out),
        Ends::V6 { ips, ports } => encode_addresses(TCP6, ips.as_flattened(), ports, out),
    }
    out.extend_from_slice(&[TLV_CRC32C, 0, CRC_BYTES as u8]);
    let crc = crc32c_of_header(&out[start..], &[]);
    out.extend_from_slice(&crc.to_be_bytes());
}

/// Appends command, family, length and addresses.
fn encode_addresses(family: u8, ips: &[u8], ports: &[u16; 2], out: &mut Vec<u8>) {
    let length = ips.len() + 2 * ports.len() + TLV_FIXED_BYTES + CRC_BYTES;
    debug_assert!(length <= usize::from(u8::MAX));
    out.extend_from_slice(&[PROXY, family, 0, length as u8]);
    out.extend_from_slice(ips);
    for port in ports {
        out.extend_from_slice(&port.to_be_bytes());
    }
}

/// Reads the header at the start of `bytes`, which begin with [`SIGNATURE`] as far as they go.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, HeaderError> {
    let Some((fixed, behind)) = bytes.split_at_checked(FIXED_BYTES) else {
        return Ok(Decoded::Incomplete);
    };
    let (command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let address_bytes = match command {
        LOCAL => 0,
        PROXY => address_bytes(family)?,
        other if other & 0xf0 != LOCAL & 0xf0 => return Err(HeaderError::Version),
        _ => return Err(HeaderError::Command),
    };
    if length < address_bytes {
        return Err(HeaderError::TooShort);
    }
    let header_bytes = FIXED_BYTES + length;
    if header_bytes > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    if behind.len() < length {
        return Ok(Decoded::Incomplete);
    }
    let header = &bytes[..header_bytes];
    let addresses = match (command, family) {
        (PROXY, TCP4 | TCP6) => {
            check_tlvs(header, FIXED_BYTES + address_bytes)?;
            Some(decode_addresses(&header[FIXED_BYTES..FIXED_BYTES + address_bytes])?)
        }
        // §2.2: of LOCAL, and of kinds that are not ours, the rest of the header is discarded.
        _ => None,
    };
    Ok(Decoded::Complete { header_bytes, addresses })
}

/// How many bytes the addresses of a family and transport take.
fn address_bytes(family: u8) -> Result<usize, HeaderError> {
    match (family >> 4, family & 0x0f) {
        // Unspecified: whatever is there is skipped.
        (0, 0..=2) => Ok(0),
        (1, 0..=2) => Ok(V4_ADDRESS_BYTES),
        (2, 0..=2) => Ok(V6_ADDRESS_BYTES),
        (3, 0..=2) => Ok(ADDRESS_BYTES_MAX),
        _ => Err(HeaderError::Family),
    }
}

/// Reads source, destination and their ports; the length tells the family.
fn decode_addresses(bytes: &[u8]) -> Result<Addresses, HeaderError> {
    let (ips, &[a, b, c, d]) = bytes.split_last_chunk().ok_or(HeaderError::TooShort)?;
    let (source, destination) = ips.split_at(ips.len() / 2);
    Ok(Addresses {
        source: decoded_end(ip(source)?, u16::from_be_bytes([a, b])),
        destination: decoded_end(ip(destination)?, u16::from_be_bytes([c, d])),
    })
}

fn ip(bytes: &[u8]) -> Result<IpAddr, HeaderError> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(Ipv4Addr::from(octets).into());
    }
    let octets = <[u8; 16]>::try_from(bytes).map_err(|_| HeaderError::TooShort)?;
    Ok(Ipv6Addr::from(octets).into())
}

/// Walks over the TLVs, which begin at `start`, and checks the CRC-32C if there is one.
fn check_tlvs(header: &[u8], start: usize) -> Result<(), HeaderError> {
    if header.len() - start > TLV_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    let mut rest = &header[start..];
    let mut crc_seen = false;
    while !rest.is_empty() {
        let &[kind, high, low, ref behind @ ..] = rest else { return Err(HeaderError::Tlv) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, behind) = behind.split_at_checked(length).ok_or(HeaderError::Tlv)?;
        rest = behind;
        if kind == TLV_CRC32C {
            let crc = <[u8; CRC_BYTES]>::try_from(value).map_err(|_| HeaderError::Tlv)?;
            if std::mem::replace(&mut crc_seen, true) {
                return Err(HeaderError::Tlv);
            }
            let before = header.len() - rest.len() - CRC_BYTES;
            if crc32c_of_header(&header[..before], rest) != u32::from_be_bytes(crc) {
                return Err(HeaderError::Checksum);
            }
        }
    }
    Ok(())
}

/// The checksum of a header whose CRC-32C field, counted as zero, stands between `before` and
/// `behind` (§2.2.3).
pub(super) fn crc32c_of_header(before: &[u8], behind: &[u8]) -> u32 {
    let parts = [before, &[0; CRC_BYTES], behind];
    !parts.into_iter().fold(!0, crc32c)
}

/// Continues a CRC-32C (Castagnoli, reflected) over `bytes`. Bytewise: a header is 35 bytes.
fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, &byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

/// Remainders of every byte by the Castagnoli polynomial.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_has_the_check_value_of_castagnoli() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }
}
