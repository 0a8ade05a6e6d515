//! The text of a key file: a version line, then one key per line. Empty lines and lines that
//! begin with `#` say nothing.

use zeroize::Zeroizing;

use super::{KEY_BYTES, KEY_FILE_BYTES_MAX, Secret, Secrets};

const VERSION_LINE: &str = "ringway stickiness keys, version 1";
const COMMENT: &str = "\
# Keys of stickiness cookies: AES-256-GCM-SIV (RFC 8452), 32 bytes each, in hexadecimal.
# Cookies are sealed with the current key; those of the previous one are accepted.
# Who can read this can make cookies that send clients to any target of a group.
";

/// The bytes of a file with these keys.
pub(super) fn write(secrets: &Secrets) -> Zeroizing<Vec<u8>> {
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX));
    out.extend_from_slice(VERSION_LINE.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(COMMENT.as_bytes());
    let current = ("current", Some(&secrets.current));
    for (name, secret) in [current, ("previous", secrets.previous.as_ref())] {
        let Some(secret) = secret else { continue };
        out.extend_from_slice(name.as_bytes());
        out.push(b' ');
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
        out.extend(secret.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        out.push(b'\n');
    }
    out
}

/// The keys in the bytes of a file.
///
/// # Errors
/// What is wrong with it, and in which line; never with a part of its text.
pub(super) fn read(bytes: &[u8]) -> Result<Secrets, String> {
    if bytes.len() > KEY_FILE_BYTES_MAX {
        return Err(format!("it has more than {KEY_FILE_BYTES_MAX} bytes"));
    }
    let mut lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).zip(1..);
    if lines.next().is_none_or(|(line, _)| line != VERSION_LINE.as_bytes()) {
        return Err(format!("its first line is not \"{VERSION_LINE}\""));
    }
    let (mut current, mut previous) = (None, None);
    for (line, number) in lines.filter(|(line, _)| !matches!(line.first(), None | Some(b'#'))) {
        let (place, digits) = if let Some(digits) = line.strip_prefix(b"current ") {
            (&mut current, digits)
        } else if let Some(digits) = line.strip_prefix(b"previous ") {
            (&mut previous, digits)
        } else {
            return Err(format!("line {number} names no key"));
        };
        let secret = secret(digits);
        let secret = secret.ok_or_else(|| format!("line {number} has no 64 hexadecimal digits"))?;
        if place.replace(secret).is_some() {
            return Err(format!("line {number} names a key that an earlier line has named"));
        }
    }
    let current = current.ok_or("it has no current key")?;
    Ok(Secrets { current, previous })
}

fn secret(digits: &[u8]) -> Option<Secret> {
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let mut secret = Secret::default();
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0])? << 4 | nibble(pair[1])?) as u8;
    }
    Some(secret)
}
