//! The access log of a Classic Load Balancer, for both layers (AWS: "Access log entries").

use std::time::Duration;

use super::Entry;
use super::text;

/// Appends the 15 fields.
pub(super) fn line(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let is_l4 = entry.is_l4();
    text::time(entry.created, out);
    out.push(b' ');
    out.extend_from_slice(entry.listener.name.as_bytes());
    out.push(b' ');
    text::socket(entry.client, out);
    out.push(b' ');
    match entry.target {
        Some(tried) => text::socket(tried.target, out),
        None => out.push(b'-'),
    }
    let middle = if is_l4 { entry.spans.connect } else { entry.spans.target };
    for span in [entry.spans.request, middle, entry.spans.response] {
        out.push(b' ');
        seconds(span, out);
    }
    out.push(b' ');
    text::status(entry.status, out);
    out.push(b' ');
    text::status(entry.target.map_or(0, |last| last.status), out);
    // Bodies alone for HTTP, everything for TCP.
    for bytes in [entry.received, entry.sent] {
        out.push(b' ');
        let head = if is_l4 { 0 } else { bytes.head };
        text::decimal(bytes.all.saturating_sub(head), out);
    }
    out.push(b' ');
    match is_l4 {
        true => out.extend_from_slice(b"\"- - - \""),
        false => text::request_line(entry, out),
    }
    out.push(b' ');
    text::quoted(entry.request.map_or(&[][..], |request| request.user_agent), out);
    match &entry.tls {
        Some(tls) => {
            out.push(b' ');
            text::word(tls.cipher, out);
            out.push(b' ');
            text::word(tls.protocol, out);
        }
        None => out.extend_from_slice(b" - -"),
    }
}

fn seconds(span: Option<Duration>, out: &mut Vec<u8>) {
    match span {
        Some(span) => text::micros(span, out),
        None => out.extend_from_slice(b"-1"),
    }
}
