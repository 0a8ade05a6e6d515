//! Where stickiness cookies stand in heads: found in the Cookie fields of requests, written as
//! Set-Cookie fields of responses (RFC 6265).
//!
//! Looks at names and cuts out values; what a value says is for [`mod@super::seal`] to find out.
//! Writes only what was sealed here, never a byte of a client or target. Allocates nothing but
//! the growth of the output. Start with [`offered`] and [`set`].

use std::io::Write;
use std::time::{Duration, SystemTime};

use crate::message::{Field, FieldKind, Request, ResponseHead};
use crate::model::Stickiness;

use super::{Kind, Sealed};

/// Most cookies of one request that are looked at; stickiness cookies behind them are not seen.
/// Browsers keep at most 180 per domain (Chromium); the head may hold 32,000.
pub const COOKIES_MAX: usize = 512;
/// How long clients are told to keep our cookies (AWS: 7 days, whatever the configured duration,
/// which is checked inside the cookie).
pub const EXPIRES: Duration = Duration::from_secs(7 * 24 * 3600);

/// The last second that the date of a cookie can show: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// The value that `request` offers for the stickiness of a target group; unopened.
///
/// With an application cookie, only if the request brings that one as well: a client that has lost
/// its session needs no particular target.
#[must_use]
pub fn offered<'a>(request: &Request<'a>, stickiness: &Stickiness) -> Option<&'a [u8]> {
    match stickiness {
        Stickiness::Off | Stickiness::SourceIp => None,
        Stickiness::LbCookie(_) => value(request, Kind::Lb),
        Stickiness::AppCookie { name, .. } => {
            let value = value(request, Kind::App)?;
            cookies(request).any(|(found, _)| found == name.as_bytes()).then_some(value)
        }
    }
}

/// The value of the cookie of this kind in `request`, as it came: quotes stay. Of cookies with the
/// same name the first, which a client puts there for the longest path (RFC 6265 §5.4); with and
/// without CORS, the one with (AWS: "the AWSALBCORS cookie takes precedence").
#[must_use]
pub fn value<'a>(request: &Request<'a>, kind: Kind) -> Option<&'a [u8]> {
    let Names { plain, cors } = names(kind);
    let mut found = None;
    for (name, value) in cookies(request) {
        if cors.is_some_and(|cors| name == cors.as_bytes()) {
            return Some(value);
        }
        if found.is_none() && name == plain.as_bytes() {
            found = Some(value);
        }
    }
    found
}

/// Whether the response, whose bytes are in `bytes`, sets a cookie of this name, letters in the
/// same case (RFC 6265 §5.2). Value and attributes do not matter, so deleting is setting too.
#[must_use]
pub fn is_set(response: &ResponseHead, bytes: &[u8], name: &str) -> bool {
    let set_cookie = |field: &&Field| field.name.of(bytes).eq_ignore_ascii_case(b"Set-Cookie");
    response.fields.iter().filter(set_cookie).any(|field| {
        let value = field.value.of(bytes);
        let end = memchr::memchr2(b'=', b';', value);
        let end = end.filter(|&end| value[end] == b'=');
        end.is_some_and(|end| value[..end].trim_ascii() == name.as_bytes())
    })
}

/// Appends the Set-Cookie lines that bind a client, each with its line end: one for an application
/// cookie, else two, the second for requests from pages of other sites. `now`: seconds since 1970.
pub fn set(sealed: &Sealed, now: u64, out: &mut Vec<u8>) {
    let Names { plain, cors } = names(sealed.kind());
    line(plain, sealed, out);
    let expires = out.len();
    let last = now.saturating_add(EXPIRES.as_secs()).min(LAST_SECOND);
    let date = httpdate::HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_secs(last));
    // Writing to a vector does not fail.
    drop(write!(out, "; Expires={date}; Path=/"));
    let expires = expires..out.len();
    out.extend_from_slice(b"\r\n");
    if let Some(cors) = cors {
        line(cors, sealed, out);
        out.extend_from_within(expires);
        out.extend_from_slice(b"; SameSite=None; Secure\r\n");
    }
}

fn line(name: &str, sealed: &Sealed, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Set-Cookie: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(sealed.text());
}

/// Names of the cookies of one kind; they have the same value.
struct Names {
    plain: &'static str,
    /// For requests from pages of other sites, which bring cookies with `SameSite=None` only.
    cors: Option<&'static str>,
}

fn names(kind: Kind) -> Names {
    match kind {
        Kind::Lb => Names { plain: "AWSALB", cors: Some("AWSALBCORS") },
        Kind::App => Names { plain: "AWSALBAPP-0", cors: None },
        Kind::Group => Names { plain: "AWSALBTG", cors: Some("AWSALBTGCORS") },
    }
}

/// Name and value of each cookie of `request`, of all its Cookie fields in order (RFC 6265 §4.2.1;
/// HTTP/2 splits them, RFC 9113 §8.2.3). What has no `=` is no cookie.
fn cookies<'a>(request: &Request<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
    let (bytes, fields) = (request.bytes, &request.head.fields);
    fields
        .iter()
        .filter(|field| field.kind == FieldKind::Cookie)
        .flat_map(move |field| field.value.of(bytes).split(|&byte| byte == b';'))
        .take(COOKIES_MAX)
        .filter_map(|part| {
            let part = part.trim_ascii();
            let end = memchr::memchr(b'=', part)?;
            Some((&part[..end], &part[end + 1..]))
        })
}

#[cfg(test)]
mod tests;
