//! The access log and the connection log of an Application Load Balancer.

use std::ops::Range;
use std::time::Duration;

use super::text;
use super::{Entry, Matched, Try};

/// A target group in front of its name (AWS: `arn:...:targetgroup/NAME/ID`). There is no account
/// here, and one place.
const GROUP_ARN: &[u8] = b"arn:aws:elasticloadbalancing:local-1:000000000000:targetgroup/";

/// Appends the 34 fields of a request (AWS: "Access log entries").
pub(super) fn request(entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(entry.protocol.name().as_bytes());
    out.push(b' ');
    text::time(entry.ended, out);
    out.push(b' ');
    out.extend_from_slice(entry.listener.elb.as_bytes());
    out.push(b' ');
    text::socket(entry.client, out);
    out.push(b' ');
    let target_at = out.len();
    target(entry.target, out);
    let target_is = target_at..out.len();
    for span in [entry.spans.request, entry.spans.target, entry.spans.response] {
        out.push(b' ');
        seconds(span, out);
    }
    out.push(b' ');
    text::status(entry.status, out);
    out.push(b' ');
    text::status(last_status(entry), out);
    out.push(b' ');
    text::decimal(entry.received.all, out);
    out.push(b' ');
    text::decimal(entry.sent.all, out);
    out.push(b' ');
    asked(entry, out);
    decided(entry, out);
    tried(entry, target_is, out);
    connection_id(entry.connection, out);
    // Host and URL rewrites do not exist here.
    out.extend_from_slice(b" \"-\" \"-\" \"-\" ");
    text::ip(entry.local, out);
}

/// Fields 13 to 20: what was asked for and over what connection, and the target group between.
fn asked(entry: &Entry<'_>, out: &mut Vec<u8>) {
    text::request_line(entry, out);
    out.push(b' ');
    text::quoted(entry.request.map_or(&[][..], |request| request.user_agent), out);
    match &entry.tls {
        Some(tls) => {
            out.push(b' ');
            word(tls.cipher, out);
            out.push(b' ');
            word(tls.protocol, out);
            out.push(b' ');
        }
        None => out.extend_from_slice(b" - - "),
    }
    group(entry.group, out);
    out.push(b' ');
    text::quoted(entry.trace, out);
    match &entry.tls {
        Some(tls) => {
            out.push(b' ');
            text::quoted(tls.server_name, out);
            out.push(b' ');
            text::quoted(tls.certificate, out);
            out.push(b' ');
        }
        None => out.extend_from_slice(b" \"-\" \"-\" "),
    }
}

/// Fields 21 to 25: what was decided, and why it did not end well.
fn decided(entry: &Entry<'_>, out: &mut Vec<u8>) {
    priority(entry.matched, out);
    out.push(b' ');
    text::time(entry.created, out);
    out.extend_from_slice(b" \"");
    out.extend_from_slice(entry.action.map_or("-", |action| action.name()).as_bytes());
    out.extend_from_slice(b"\" ");
    text::quoted(entry.location, out);
    out.push(b' ');
    // AWS's own codes are about authentication, Lambda and its firewall, which do not exist here.
    text::quoted(entry.error.map_or("", |error| error.name).as_bytes(), out);
}

/// Fields 26 to 29: the targets that were tried, in order, and how the request deviates from the
/// standard. `last`: where the last target stands already.
fn tried(entry: &Entry<'_>, last: Range<usize>, out: &mut Vec<u8>) {
    out.extend_from_slice(b" \"");
    for tried in entry.given_up {
        text::socket(tried.target, out);
        out.push(b' ');
    }
    out.extend_from_within(last);
    out.extend_from_slice(b"\" \"");
    for tried in entry.given_up {
        text::status(tried.status, out);
        out.push(b' ');
    }
    text::status(last_status(entry), out);
    out.extend_from_slice(b"\" ");
    match entry.classification {
        Some((class, reason)) => {
            text::quoted(class.as_bytes(), out);
            out.push(b' ');
            text::quoted(reason.as_bytes(), out);
            out.push(b' ');
        }
        None => out.extend_from_slice(b"\"-\" \"-\" "),
    }
}

fn last_status(entry: &Entry<'_>) -> u16 {
    entry.target.map_or(0, |last| last.status)
}

/// Appends the 15 fields of an L4 connection (AWS: "Connection log entries").
pub(super) fn connection(entry: &Entry<'_>, out: &mut Vec<u8>) {
    text::time(entry.created, out);
    out.push(b' ');
    text::ip(entry.client.ip(), out);
    out.push(b' ');
    text::decimal(u64::from(entry.client.port()), out);
    out.push(b' ');
    text::decimal(u64::from(entry.listener.address.port()), out);
    out.push(b' ');
    word(entry.tls.map_or(&[][..], |tls| tls.protocol), out);
    out.push(b' ');
    word(entry.tls.map_or(&[][..], |tls| tls.cipher), out);
    out.push(b' ');
    match &entry.tls {
        Some(tls) => text::millis(tls.handshake, out),
        None => out.push(b'-'),
    }
    let client = entry.client_certificate();
    out.push(b' ');
    text::quoted(client.map_or(&[][..], |client| client.subject), out);
    for value in [client.map(|client| client.validity), client.map(|client| client.serial_number)] {
        out.push(b' ');
        word(value.unwrap_or_default(), out);
    }
    out.push(b' ');
    let (status, reason) = entry.verify_status().unwrap_or(("-", ""));
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(reason.as_bytes());
    out.push(b' ');
    connection_id(entry.connection, out);
    out.push(b' ');
    word(entry.tls.map_or(&[][..], |tls| tls.key_exchange), out);
    out.push(b' ');
    out.extend_from_slice(entry.listener.elb.as_bytes());
    out.push(b' ');
    text::ip(entry.local, out);
}

/// Appends the name of a connection.
pub(super) fn connection_id(number: u128, out: &mut Vec<u8>) {
    out.extend_from_slice(b"TID_");
    text::hexadecimal((number >> 64) as u64, out);
    text::hexadecimal(number as u64, out);
}

fn target(target: Option<Try>, out: &mut Vec<u8>) {
    match target {
        Some(tried) => text::socket(tried.target, out),
        None => out.push(b'-'),
    }
}

fn seconds(span: Option<Duration>, out: &mut Vec<u8>) {
    match span {
        Some(span) => text::millis(span, out),
        None => out.extend_from_slice(b"-1"),
    }
}

/// Appends a word of ours or of the TLS library, or `-`.
fn word(word: &[u8], out: &mut Vec<u8>) {
    match word {
        [] => out.push(b'-'),
        word => text::word(word, out),
    }
}

fn group(name: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(name) = name else { return out.push(b'-') };
    out.extend_from_slice(GROUP_ARN);
    text::word(name, out);
    out.push(b'/');
    text::hexadecimal(text::id(name), out);
}

fn priority(matched: Matched, out: &mut Vec<u8>) {
    match matched {
        Matched::Nothing => out.push(b'-'),
        Matched::Default => out.push(b'0'),
        Matched::Rule(priority) => text::decimal(u64::from(priority.value()), out),
    }
}
