//! Heads to bytes: fields are copied from the head that was parsed, lines are written anew.

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

/// Appends `digits` lower-case hexadecimal digits of `number`, the lowest last.
pub fn hexadecimal(number: u128, digits: usize, out: &mut Vec<u8>) {
    out.extend((0..digits).rev().map(|digit| {
        let nibble = (number >> (4 * digit) & 0xf) as usize;
        b"0123456789abcdef"[nibble]
    }));
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
