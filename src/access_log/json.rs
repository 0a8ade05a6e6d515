//! One JSON object per line, with everything that is known. Every line has every key: what is not
//! known is null.

use std::time::Duration;

use super::{Entry, Matched, Try, alb, text};

/// Appends the object.
pub(super) fn line(entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    quoted(b"time", |out| text::time(entry.ended, out), out);
    quoted(b"created", |out| text::time(entry.created, out), out);
    string(b"type", Some(entry.protocol.name().as_bytes()), out);
    string(b"listener", Some(entry.listener.name.as_bytes()), out);
    quoted(b"client", |out| text::socket(entry.client, out), out);
    quoted(b"local_ip", |out| text::ip(entry.local, out), out);
    quoted(b"connection_id", |out| alb::connection_id(entry.connection, out), out);
    request(entry, out);
    number(b"status", known(entry.status), out);
    outcome(entry, out);
    for (key, bytes) in [(&b"received"[..], entry.received), (b"sent", entry.sent)] {
        name(key, b"_bytes", out);
        text::decimal(bytes.all, out);
        name(key, b"_body_bytes", out);
        text::decimal(bytes.all.saturating_sub(bytes.head), out);
    }
    seconds(b"request_processing_time", entry.spans.request, out);
    seconds(b"target_connect_time", entry.spans.connect, out);
    seconds(b"target_processing_time", entry.spans.target, out);
    seconds(b"response_processing_time", entry.spans.response, out);
    seconds(b"duration", Some(entry.spans.whole), out);
    failure(entry, out);
    let tls = entry.tls.as_ref();
    string(b"tls_protocol", tls.map(|tls| tls.protocol), out);
    string(b"tls_cipher", tls.map(|tls| tls.cipher), out);
    string(b"tls_key_exchange", tls.map(|tls| tls.key_exchange), out);
    string(b"tls_server_name", Some(tls.map_or(entry.server_name, |tls| tls.server_name)), out);
    string(b"tls_certificate", tls.map(|tls| tls.certificate), out);
    seconds(b"tls_handshake_time", tls.map(|tls| tls.handshake), out);
    let client = entry.client_certificate();
    string(b"tls_client_subject", client.map(|client| client.subject), out);
    string(b"tls_client_issuer", client.map(|client| client.issuer), out);
    string(b"tls_client_serial_number", client.map(|client| client.serial_number), out);
    string(b"tls_client_validity", client.map(|client| client.validity), out);
    match entry.verify_status() {
        Some((status, reason)) => quoted(
            b"tls_verify_status",
            |out| {
                out.extend_from_slice(status.as_bytes());
                out.extend_from_slice(reason.as_bytes());
            },
            out,
        ),
        None => string(b"tls_verify_status", None, out),
    }
    out.push(b'}');
}

fn request(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let asked = entry.request.as_ref();
    string(b"method", asked.map(|asked| asked.method), out);
    string(b"host", asked.map(|asked| asked.authority), out);
    string(b"target_uri", asked.map(|asked| asked.target), out);
    string(b"http_version", asked.map(|asked| text::version(asked.version).as_bytes()), out);
    string(b"user_agent", asked.map(|asked| asked.user_agent), out);
    string(b"referer", asked.map(|asked| asked.referer), out);
    string(b"trace_id", Some(entry.trace), out);
}

/// What was decided, and what came of it.
fn outcome(entry: &Entry<'_>, out: &mut Vec<u8>) {
    match entry.matched {
        Matched::Nothing => number(b"rule", None, out),
        Matched::Default => string(b"rule", Some(b"default"), out),
        Matched::Rule(priority) => number(b"rule", Some(priority.value().into()), out),
    }
    string(b"action", entry.action.map(|action| action.name().as_bytes()), out);
    string(b"redirect_url", Some(entry.location), out);
    string(b"target_group", entry.group, out);
    match entry.target {
        Some(last) => quoted(b"target", |out| text::socket(last.target, out), out),
        None => string(b"target", None, out),
    }
    number(b"target_status", entry.target.and_then(|last| known(last.status)), out);
    name(b"attempts", b"", out);
    let attempts = entry.given_up.iter().chain(&entry.target);
    list(attempts, out);
}

fn list<'t>(attempts: impl Iterator<Item = &'t Try>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, attempt) in attempts.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'{');
        quoted(b"target", |out| text::socket(attempt.target, out), out);
        number(b"status", known(attempt.status), out);
        out.push(b'}');
    }
    out.push(b']');
}

fn failure(entry: &Entry<'_>, out: &mut Vec<u8>) {
    string(b"error", entry.error.map(|error| error.name.as_bytes()), out);
    string(b"proxy_status", entry.error.map(|error| error.proxy_status.as_bytes()), out);
    let class = entry.classification;
    string(b"classification", class.map(|(class, _)| class.as_bytes()), out);
    string(b"classification_reason", class.map(|(_, reason)| reason.as_bytes()), out);
}

fn known(status: u16) -> Option<u64> {
    (status != 0).then_some(status.into())
}

/// Appends a key; the first of an object without a comma.
fn name(key: &[u8], rest: &[u8], out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(key);
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\":");
}

fn number(key: &[u8], number: Option<u64>, out: &mut Vec<u8>) {
    name(key, b"", out);
    match number {
        Some(number) => text::decimal(number, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn seconds(key: &[u8], span: Option<Duration>, out: &mut Vec<u8>) {
    name(key, b"", out);
    match span {
        Some(span) => text::micros(span, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// A string that needs no escape.
fn quoted(key: &[u8], write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    name(key, b"", out);
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// A string, or null where there is none or an empty one.
fn string(key: &[u8], text: Option<&[u8]>, out: &mut Vec<u8>) {
    name(key, b"", out);
    match text {
        None | Some([]) => out.extend_from_slice(b"null"),
        Some(text) => {
            out.push(b'"');
            escaped(text, out);
            out.push(b'"');
        }
    }
}

/// Appends text of a JSON string (RFC 8259 §7). Bytes that are no UTF-8 become U+FFFD.
fn escaped(text: &[u8], out: &mut Vec<u8>) {
    let special = |byte: u8| !matches!(byte, b' '..=b'~') | (byte == b'"') | (byte == b'\\');
    // Almost all text is plain.
    if !text.iter().fold(false, |any, &byte| any | special(byte)) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        let special = |byte: &u8| matches!(byte, 0..=0x1f | b'"' | b'\\' | 0x7f);
        while let Some(at) = rest.iter().position(special) {
            out.extend_from_slice(&rest[..at]);
            let byte = rest[at];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', text::high(byte), text::low(byte)]);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}
