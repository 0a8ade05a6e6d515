//! Numbers, times, addresses and escaped text, without the formatting machinery.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Asked, Entry};
use crate::http1::encode;
use crate::message::{Version, split_port};

/// All numbers of two digits.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// The last two digits of `number`.
fn pair(number: u32) -> [u8; 2] {
    PAIRS[(number % 100) as usize]
}

/// Appends `number` in decimal.
pub(super) fn decimal(number: u64, out: &mut Vec<u8>) {
    let mut text = [0; 20];
    let mut at = text.len();
    let mut rest = number;
    while rest >= 10 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    // What is left is the one digit in front, or nothing in front of a pair.
    if rest > 0 || number == 0 {
        at -= 1;
        text[at] = b'0' + rest as u8;
    }
    out.extend_from_slice(&text[at..]);
}

/// Appends a duration in seconds, with 3 decimals.
pub(super) fn millis(duration: Duration, out: &mut Vec<u8>) {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let ([a, b], [_, c]) = (pair(millis / 10), pair(millis % 10));
    match seconds {
        // Almost always: written at one go.
        0..10 => out.extend_from_slice(&[b'0' + seconds as u8, b'.', a, b, c]),
        _ => {
            decimal(seconds, out);
            out.extend_from_slice(&[b'.', a, b, c]);
        }
    }
}

/// Appends a duration in seconds, with 6 decimals.
pub(super) fn micros(duration: Duration, out: &mut Vec<u8>) {
    let (seconds, micros) = (duration.as_secs(), duration.subsec_micros());
    let ([a, b], [c, d], [e, f]) = (pair(micros / 10_000), pair(micros / 100), pair(micros));
    match seconds {
        0..10 => out.extend_from_slice(&[b'0' + seconds as u8, b'.', a, b, c, d, e, f]),
        _ => {
            decimal(seconds, out);
            out.extend_from_slice(&[b'.', a, b, c, d, e, f]);
        }
    }
}

/// Appends a status, or `-`.
pub(super) fn status(status: u16, out: &mut Vec<u8>) {
    match status {
        0 => out.push(b'-'),
        status => three_digits(status, out),
    }
}

/// Appends the last three digits of `number`.
pub(super) fn three_digits(number: u16, out: &mut Vec<u8>) {
    let ([_, a], [b, c]) = (pair(u32::from(number / 100)), pair(u32::from(number)));
    out.extend_from_slice(&[a, b, c]);
}

/// Appends an address.
pub(super) fn ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => encode::ipv4(ip, out),
        // Writing to a vector does not fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// Appends an address as it stands in front of a port.
pub(super) fn host(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(ip) => encode::ipv4(ip, out),
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
    let ([a, b], [c, d], [e, f], [g, h]) = (pair(year / 100), pair(year), pair(month), pair(day));
    let [hours, minutes, seconds] = clock(since);
    let ([i, j], [k, l], [m, n]) = (hours, minutes, seconds);
    let micros = since.subsec_micros();
    let ([o, p], [q, r], [s, t]) = (pair(micros / 10_000), pair(micros / 100), pair(micros));
    out.extend_from_slice(&[
        a, b, c, d, b'-', e, f, b'-', g, h, b'T', i, j, b':', k, l, b':', m, n, b'.', o, p, q, r,
        s, t, b'Z',
    ]);
}

/// Appends `03/Feb/2026:04:05:06 +0000` for a time since 1970.
pub(super) fn common_time(since: Duration, out: &mut Vec<u8>) {
    const MONTHS: [[u8; 3]; 12] = [
        *b"Jan", *b"Feb", *b"Mar", *b"Apr", *b"May", *b"Jun", *b"Jul", *b"Aug", *b"Sep", *b"Oct",
        *b"Nov", *b"Dec",
    ];
    let (year, month, day) = date(since.as_secs() / DAY_SECONDS);
    let ([a, b], [c, d], [e, f]) = (pair(day), pair(year / 100), pair(year));
    let [x, y, z] = MONTHS[(month as usize + 11) % 12];
    let [[g, h], [i, j], [k, l]] = clock(since);
    out.extend_from_slice(&[
        a, b, b'/', x, y, z, b'/', c, d, e, f, b':', g, h, b':', i, j, b':', k, l,
    ]);
    out.extend_from_slice(b" +0000");
}

const DAY_SECONDS: u64 = 24 * 3600;

/// Hours, minutes and seconds.
fn clock(since: Duration) -> [[u8; 2]; 3] {
    let seconds = (since.as_secs() % DAY_SECONDS) as u32;
    [pair(seconds / 3600), pair(seconds / 60 % 60), pair(seconds % 60)]
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
    // All of it, in blocks without a branch per byte: almost no text needs an escape.
    let any = |block: &[u8; BLOCK]| block.iter().fold(false, |any, &byte| any | special(byte));
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut last = [b'x'; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    if !blocks.iter().fold(any(&last), |found, block| found | any(block)) {
        return out.extend_from_slice(text);
    }
    for &byte in text {
        match special(byte) {
            true => out.extend_from_slice(&[b'\\', b'x', high(byte), low(byte)]),
            false => out.push(byte),
        }
    }
}

/// Bytes that are looked at together: a register of SSE2.
const BLOCK: usize = 16;

/// The first hexadecimal digit of `byte`.
pub(super) fn high(byte: u8) -> u8 {
    HEX[usize::from(byte >> 4)]
}

/// The last hexadecimal digit of `byte`.
pub(super) fn low(byte: u8) -> u8 {
    HEX[usize::from(byte & 0xf)]
}

const HEX: [u8; 16] = *b"0123456789ABCDEF";

/// Appends the 16 hexadecimal digits of `number`.
pub(super) fn hexadecimal(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&eight_digits((number >> 32) as u32));
    out.extend_from_slice(&eight_digits(number as u32));
}

/// The eight hexadecimal digits of `number`, all at once: a digit per byte, to which `0` is added,
/// and the way from behind `9` to `a` where it is a letter.
fn eight_digits(number: u32) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(number);
    digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff;
    digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff;
    digits = (digits << 4 | digits) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits + 6 * EACH) >> 4 & EACH;
    (digits + u64::from(b'0') * EACH + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
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
            out.extend_from_slice(entry.scheme().as_bytes());
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
    out.extend_from_slice(entry.scheme().as_bytes());
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
        Version::Http2 => "HTTP/2.0",
    }
}
