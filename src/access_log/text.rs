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
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    digits(year, &mut text[0..4]);
    digits(month, &mut text[5..7]);
    digits(day, &mut text[8..10]);
    clock(since, &mut text[11..19]);
    digits(since.subsec_micros(), &mut text[20..26]);
    out.extend_from_slice(&text);
}

/// Appends `03/Feb/2026:04:05:06 +0000` for a time since 1970.
pub(super) fn common_time(since: Duration, out: &mut Vec<u8>) {
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let (year, month, day) = date(since.as_secs() / DAY_SECONDS);
    let mut text = *b"00/Mon/0000:00:00:00 +0000";
    digits(day, &mut text[0..2]);
    text[3..6].copy_from_slice(MONTHS[(month as usize + 11) % 12]);
    digits(year, &mut text[7..11]);
    clock(since, &mut text[12..20]);
    out.extend_from_slice(&text);
}

/// Fills `place` with the last digits of `number`.
fn digits(number: u32, place: &mut [u8]) {
    let mut rest = number;
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

const DAY_SECONDS: u64 = 24 * 3600;

/// Fills the digits of `00:00:00`.
fn clock(since: Duration, place: &mut [u8]) {
    let seconds = (since.as_secs() % DAY_SECONDS) as u32;
    for (at, number) in [(0, seconds / 3600), (3, seconds / 60 % 60), (6, seconds % 60)] {
        digits(number, &mut place[at..at + 2]);
    }
}

/// Year, month and day of the day that is `days` after 1 January 1970, in the Gregorian calendar.
///
/// Years are counted from 1 March, so that the leap day is the last of its year, and in cycles of
/// 400 years, which all have the same number of days.
fn date(days: u64) -> (u32, u32, u32) {
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
    ((cycle * 400 + year + next) as u32, month as u32, day_of_month as u32)
}

/// A number for a name, the same wherever and whenever it is asked for (FNV-1a, 64 bits).
pub(super) fn id(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Appends text of a quoted field; every byte that is not visible ASCII or a space, and those that
/// end or escape a quoted field, as `\xHH`.
pub(super) fn escaped(text: &[u8], out: &mut Vec<u8>) {
    escaped_but(text, b' ', out);
}

/// As [`escaped`], and spaces too: a word of a line, or of a quoted request.
pub(super) fn word(text: &[u8], out: &mut Vec<u8>) {
    escaped_but(text, b'!', out);
}

/// Bytes below `lowest` are escaped.
fn escaped_but(text: &[u8], lowest: u8, out: &mut Vec<u8>) {
    let special = |byte: u8| (byte < lowest) | (byte > b'~') | (byte == b'"') | (byte == b'\\');
    // All of it, without a branch per byte: almost no text needs an escape.
    if !text.iter().fold(false, |any, &byte| any | special(byte)) {
        return out.extend_from_slice(text);
    }
    for &byte in text {
        match special(byte) {
            true => out.extend_from_slice(&[b'\\', b'x', high(byte), low(byte)]),
            false => out.push(byte),
        }
    }
}

/// The first hexadecimal digit of `byte`.
pub(super) fn high(byte: u8) -> u8 {
    HEX[usize::from(byte >> 4)]
}

/// The last hexadecimal digit of `byte`.
pub(super) fn low(byte: u8) -> u8 {
    HEX[usize::from(byte & 0xf)]
}

const HEX: [u8; 16] = *b"0123456789ABCDEF";

/// Appends `number` in hexadecimal digits, all of them.
pub(super) fn hexadecimal(number: u64, out: &mut Vec<u8>) {
    let mut text = [0; 16];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        let digits = [high(byte), low(byte)];
        pair.copy_from_slice(&digits.map(|digit| digit.to_ascii_lowercase()));
    }
    out.extend_from_slice(&text);
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
