//! From the record of an exchange to its line in the access log.

use std::net::IpAddr;
use std::time::Duration;

use crate::access_log::{self, Asked, Bytes, Entry, Protocol, Reason, Spans, Tls, Try};
use crate::message::Version;
use crate::model::{Mode, Overflow};
use crate::net::{Moment, Tag};
use crate::snapshot::LogView;
use crate::tls::{ClientCertificate, Negotiated};

use super::dialect::Dialect;
use super::http::Client;
use super::local::Local;
use super::record::{Record, Text, Times};

/// Hands the line of `record` to the log. Where it must not be dropped, waits for room; only the
/// end of the worker ends that.
pub(super) async fn write(record: &Record, client: &Client, log: &LogView, local: &Local) {
    let writer = &log.writer;
    let has_room = match log.overflow {
        _ if local.pens.has_room(writer) => true,
        Overflow::Drop => false,
        Overflow::Block => {
            client.alarm.tag(Tag::NONE);
            client.alarm.within(Duration::MAX, local.pens.room(writer)).await.is_some()
        }
    };
    if !has_room {
        local.counters.access_log_dropped.add(1);
        return local.pens.drop_line(writer);
    }
    local.counters.access_log_lines.add(1);
    local.pens.write(writer, |out| {
        with_entry(record, client, log, local, |entry| access_log::encode(log.format, entry, out));
    });
}

fn with_entry(
    record: &Record,
    client: &Client,
    log: &LogView,
    local: &Local,
    use_it: impl FnOnce(&Entry<'_>),
) {
    let text = record.text.borrow();
    let given_up = record.given_up.borrow();
    let times = &record.times;
    let ended = times.ended.get().unwrap_or_else(Moment::now);
    let first = times.first.get().unwrap_or(ended);
    let target_status = record.target_status.get();
    let row = record.error.get().map(|kind| kind.row());
    use_it(&Entry {
        listener: &log.names,
        protocol: protocol(record, client),
        client: client.peer,
        local: local_ip(client, log),
        connection: client.number(),
        created: local.alarms.since_epoch(first),
        ended: local.alarms.since_epoch(ended),
        spans: spans(times, first, ended),
        request: asked(&text, client),
        matched: record.matched.get(),
        action: record.action.get(),
        group: Some(text.group.of(&text.bytes)).filter(|name| !name.is_empty()),
        target: record.target.get().map(|(_, target)| Try { target, status: target_status }),
        given_up: &given_up,
        status: record.status.get(),
        received: Bytes { all: record.received.get(), head: record.received_head.get() },
        sent: Bytes { all: record.sent.get(), head: record.sent_head.get() },
        trace: text.trace.of(&text.bytes),
        location: text.location.of(&text.bytes),
        error: row.map(|row| Reason { name: row.name, proxy_status: row.proxy_status }),
        classification: record.class.get(),
        tls: client.socket.negotiated().map(tls),
        server_name: text.server_name.of(&text.bytes),
        refused_certificate: record.refused_certificate.get(),
    });
}

fn protocol(record: &Record, client: &Client) -> Protocol {
    let is_sealed = client.socket.negotiated().is_some();
    match (record.mode, record.status.get(), is_sealed) {
        (Some(Mode::L4), ..) => Protocol::Tcp,
        (_, 101, false) => Protocol::Ws,
        (_, 101, true) => Protocol::Wss,
        (_, _, true) if record.dialect.get() == Dialect::Grpc => Protocol::Grpcs,
        _ if client.socket.as_carried().is_some() => Protocol::H2,
        (_, _, false) => Protocol::Http,
        (_, _, true) => Protocol::Https,
    }
}

fn tls((negotiated, handshake): (&Negotiated, Duration)) -> Tls<'_> {
    Tls {
        cipher: negotiated.cipher.as_bytes(),
        protocol: negotiated.protocol.as_bytes(),
        server_name: negotiated.server_name.as_bytes(),
        certificate: negotiated.certificate.as_bytes(),
        handshake,
        key_exchange: negotiated.key_exchange.as_bytes(),
        client: negotiated.client.as_deref().map(client_certificate),
    }
}

fn client_certificate(told: &ClientCertificate) -> access_log::ClientCertificate<'_> {
    access_log::ClientCertificate {
        subject: told.subject.as_bytes(),
        issuer: told.issuer.as_bytes(),
        serial_number: told.serial_number.as_bytes(),
        validity: told.validity.as_bytes(),
        is_verified: told.is_verified,
    }
}

/// The address that the client connected to.
fn local_ip(client: &Client, log: &LogView) -> IpAddr {
    match log.names.address.ip() {
        any if any.is_unspecified() => {
            client.socket.local_address().map_or(any, |address| address.ip())
        }
        ip => ip,
    }
}

fn spans(times: &Times, first: Moment, ended: Moment) -> Spans {
    let between = |from: Option<Moment>, to: Option<Moment>| Some(to?.since(from?));
    let (sent, answered) = (times.sent.get(), times.answered.get());
    Spans {
        request: between(Some(first), sent),
        connect: between(times.connecting.get(), times.connected.get()),
        target: between(sent, answered),
        response: between(answered, times.started.get()),
        whole: ended.since(first),
    }
}

/// The version that the client speaks.
pub(super) fn version(text: &Text, client: &Client) -> Version {
    match client.socket.as_carried() {
        Some(_) => Version::Http2,
        None => text.version.unwrap_or_default(),
    }
}

fn asked<'a>(text: &'a Text, client: &Client) -> Option<Asked<'a>> {
    text.version?;
    let of = |span: crate::message::Span| span.of(&text.bytes);
    Some(Asked {
        method: of(text.method),
        target: of(text.target),
        path_and_query: of(text.path_and_query),
        authority: of(text.authority),
        version: version(text, client),
        user_agent: of(text.user_agent),
        referer: of(text.referer),
    })
}
