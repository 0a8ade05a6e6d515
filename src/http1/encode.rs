//! Heads to bytes: fields are copied from the head that was parsed, lines are written anew.

use std::net::Ipv4Addr;

use crate::message::Field;

/// Appends the fields that `keep` accepts, each as `name: value\r\n`. Neighbours whose lines are
/// in that form already are copied as one run.
pub fn fields(
    bytes: &[u8],
    fields: &[Field],
    out: &mut Vec<u8>,
    mut keep: impl FnMut(&Field) -> bool,
) {
    let mut run: Option<(usize, usize)> = None;
    for field in fields {
        if !keep(field) {
            continue;
        }
        let line = (field.name.start as usize, field.value.end as usize + 2);
        run = match run {
            _ if !field.canonical => {
                flush(bytes, run, out);
                self::field(field.name.of(bytes), field.value.of(bytes), out);
                None
            }
            Some((start, end)) if end == line.0 => Some((start, line.1)),
            _ => {
                flush(bytes, run, out);
                Some(line)
            }
        };
    }
    flush(bytes, run, out);
}

fn flush(bytes: &[u8], run: Option<(usize, usize)>, out: &mut Vec<u8>) {
    if let Some((start, end)) = run {
        out.extend_from_slice(&bytes[start..end]);
    }
}

/// Appends `name: value\r\n`.
pub fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `number` in decimal.
pub fn decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The digits of each octet, left-aligned, and their number.
const OCTETS: [([u8; 3], u8); 256] = {
    let mut octets = [([0; 3], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let [hundreds, tens, ones] = [octet / 100, octet / 10 % 10, octet % 10];
        let [hundreds, tens, ones] = [b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8];
        octets[octet] = match octet {
            0..10 => ([ones, 0, 0], 1),
            10..100 => ([tens, ones, 0], 2),
            _ => ([hundreds, tens, ones], 3),
        };
        octet += 1;
    }
    octets
};

/// Appends an IPv4 address as text. Every forwarded request carries one, hence the table.
pub fn ipv4(ip: Ipv4Addr, out: &mut Vec<u8>) {
    let mut text = [0; 16];
    let mut len = 0;
    for octet in ip.octets() {
        let (digits, count) = OCTETS[octet as usize];
        text[len..len + 3].copy_from_slice(&digits);
        len += count as usize;
        text[len] = b'.';
        len += 1;
    }
    out.extend_from_slice(&text[..len - 1]);
}

/// Appends the lowest `N` lower-case hexadecimal digits of `number`, at most 16.
pub fn hexadecimal<const N: usize>(number: u64, out: &mut Vec<u8>) {
    const { assert!(N <= 16) };
    let digit = |at: usize| (number >> (4 * (N - 1 - at)) & 0xf) as u8;
    let digits: [u8; N] = std::array::from_fn(|at| match digit(at) {
        digit @ 0..10 => b'0' + digit,
        digit => b'a' + digit - 10,
    });
    out.extend_from_slice(&digits);
}

/// The reason phrase that is customary for `status`; ALB's own words where it has some.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        408 => "Request Time-out",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn addresses_are_those_of_the_standard_library() {
        for number in (0..=u32::MAX).step_by(65_521).chain([u32::MAX]) {
            let ip = Ipv4Addr::from(number);
            assert_eq!(written(|out| ipv4(ip, out)), ip.to_string());
        }
    }

    #[test]
    fn hexadecimal_keeps_the_lowest_digits() {
        assert_eq!(written(|out| hexadecimal::<8>(0x12_3456_789a, out)), "3456789a");
        assert_eq!(written(|out| hexadecimal::<16>(0xf, out)), "000000000000000f");
    }
}
