//! Numbers, times, addresses and escaped text, without the formatting machinery.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Asked, Entry};
use crate::message::{Version, split_port};

/// Appends `number` in decimal.
pub(super) fn decimal(number: u64, out: &mut Vec<u8>) {
    padded(number, 1, out);
}

/// Appends `number` in decimal, with at least `width` digits.
pub(super) fn padded(number: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = number;
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len().saturating_sub(width))..]);
}

/// Appends a duration in seconds, with 3 decimals.
pub(super) fn millis(duration: Duration, out: &mut Vec<u8>) {
    decimal(duration.as_secs(), out);
    out.push(b'.');
    padded(u64::from(duration.subsec_millis()), 3, out);
}

/// Appends a duration in seconds, with 6 decimals.
pub(super) fn micros(duration: Duration, out: &mut Vec<u8>) {
    decimal(duration.as_secs(), out);
    out.push(b'.');
    padded(u64::from(duration.subsec_micros()), 6, out);
}

/// Appends a status, or `-`.
pub(super) fn status(status: u16, out: &mut Vec<u8>) {
    match status {
        0 => out.push(b'-'),
        status => padded(u64::from(status), 3, out),
    }
}

/// Appends an address.
pub(super) fn ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            for (octet, end) in [(a, "."), (b, "."), (c, "."), (d, "")] {
                decimal(u64::from(octet), out);
                out.extend_from_slice(end.as_bytes());
            }
        }
        // Writing to a vector does not fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// Appends an address as it stands in front of a port.
pub(super) fn host(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(_) => ip(address, out),
        IpAddr::V6(ip) => drop(write!(out, "[{ip}]")),
    }
}

/// Appends `address:port`.
pub(super) fn socket(address: SocketAddr, out: &mut Vec<u8>) {
    host(address.ip(), out);
    out.push(b':');
    decimal(u64::from(address.port()), out);
}

/// Appends `2026-02-03T04:05:06.123456Z` for a time since 1970.
pub(super) fn time(since: Duration, out: &mut Vec<u8>) {
    let (year, month, day) = date(since.as_secs() / DAY_SECONDS);
    for (number, width, end) in [(year, 4, b'-'), (month, 2, b'-'), (day, 2, b'T')] {
        padded(number, width, out);
        out.push(end);
    }
    clock(since, out);
    out.push(b'.');
    padded(u64::from(since.subsec_micros()), 6, out);
    out.push(b'Z');
}

/// Appends `03/Feb/2026:04:05:06 +0000` for a time since 1970.
pub(super) fn common_time(since: Duration, out: &mut Vec<u8>) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = date(since.as_secs() / DAY_SECONDS);
    padded(day, 2, out);
    out.push(b'/');
    out.extend_from_slice(MONTHS[(month as usize + 11) % 12].as_bytes());
    out.push(b'/');
    padded(year, 4, out);
    out.push(b':');
    clock(since, out);
    out.extend_from_slice(b" +0000");
}

const DAY_SECONDS: u64 = 24 * 3600;

fn clock(since: Duration, out: &mut Vec<u8>) {
    let seconds = since.as_secs() % DAY_SECONDS;
    padded(seconds / 3600, 2, out);
    out.push(b':');
    padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    padded(seconds % 60, 2, out);
}

/// Year, month and day of the day that is `days` after 1 January 1970, in the Gregorian calendar.
///
/// Years are counted from 1 March, so that the leap day is the last of its year, and in cycles of
/// 400 years, which all have the same number of days.
fn date(days: u64) -> (u64, u64, u64) {
    const CYCLE_DAYS: u64 = 146_097;
    /// From 1 March of the year 0 to 1 January 1970.
    const OFFSET: u64 = 719_468;
    let days = days + OFFSET;
    let (cycle, day) = (days / CYCLE_DAYS, days % CYCLE_DAYS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months of 31 and 30 days alternate so that five of them have 153 days.
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next, month, day_of_month)
}

/// A number for a name, the same wherever and whenever it is asked for (FNV-1a, 64 bits).
pub(super) fn id(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Whether a byte may stand in a field as it is: visible ASCII and spaces, but for what ends or
/// escapes a quoted field.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = is_plain(byte as u8);
        byte += 1;
    }
    plain
};

/// Appends text of a quoted field; every byte that is not plain as `\xHH`.
pub(super) fn escaped(text: &[u8], out: &mut Vec<u8>) {
    escaped_but(text, |byte| PLAIN[usize::from(byte)], out);
}

/// As [`escaped`], and spaces too: a word of a line, or of a quoted request.
pub(super) fn word(text: &[u8], out: &mut Vec<u8>) {
    escaped_but(text, |byte| byte != b' ' && PLAIN[usize::from(byte)], out);
}

fn escaped_but(text: &[u8], is_plain: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| !is_plain(byte)) {
        let byte = rest[at];
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(b"\\x");
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 0xf)]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

const HEX: [u8; 16] = *b"0123456789ABCDEF";

/// Appends the low `digits` hexadecimal digits of `number`.
pub(super) fn hexadecimal(number: u128, digits: u32, out: &mut Vec<u8>) {
    let digit = |at| HEX[(number >> (4 * at) & 0xf) as usize].to_ascii_lowercase();
    out.extend((0..digits).rev().map(digit));
}

/// Appends `"text"`, or `"-"` if there is none.
pub(super) fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    match text {
        [] => out.push(b'-'),
        text => escaped(text, out),
    }
    out.push(b'"');
}

/// Appends a quoted request line as ALB shows it, with the whole URL.
pub(super) fn request_line(entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    match &entry.request {
        Some(request) => {
            word(request.method, out);
            out.push(b' ');
            url(entry, request, out);
            out.push(b' ');
            out.extend_from_slice(version(request.version).as_bytes());
        }
        None => {
            out.extend_from_slice(b"- ");
            out.extend_from_slice(entry.protocol.scheme().as_bytes());
            out.extend_from_slice(b"://");
            host(entry.local, out);
            out.push(b':');
            decimal(u64::from(entry.listener.address.port()), out);
            out.extend_from_slice(b"- -");
        }
    }
    out.push(b'"');
}

fn url(entry: &Entry<'_>, request: &Asked<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(entry.protocol.scheme().as_bytes());
    out.extend_from_slice(b"://");
    let (name, port) = split_port(request.authority);
    match name {
        [] => host(entry.local, out),
        name => word(name, out),
    }
    out.push(b':');
    match port {
        None | Some([]) => decimal(u64::from(entry.listener.address.port()), out),
        Some(port) => word(port, out),
    }
    word(request.path_and_query, out);
}

/// The version as a request line shows it.
pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    }
}
