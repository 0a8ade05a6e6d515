//! From the record of an exchange to its span, and what of them a worker has gathered.

use std::cell::RefCell;

use crate::access_log::Matched;
use crate::message::Version;
use crate::net::Moment;
use crate::span::{Context, Span};

use super::http::Client;
use super::local::Local;
use super::log::version;
use super::record::Record;

/// Spans that a worker keeps until its next tick; beyond it they are dropped.
const GATHERED_MAX: usize = 1024;

/// What a worker has gathered since its last tick.
#[derive(Debug, Default)]
pub(super) struct Spans(RefCell<Vec<Span>>);

/// Notes what is to be told of `record`, whose place in its trace is `context`.
pub(super) fn note(record: &Record, context: Context, client: &Client, local: &Local) {
    let mut gathered = local.spans.0.borrow_mut();
    match gathered.len() < GATHERED_MAX {
        true => gathered.push(span(record, context, client, local)),
        false => local.counters.spans_dropped.add(1),
    }
}

impl Local {
    /// The spans that were gathered since this was last asked.
    #[must_use]
    pub fn take_spans(&self) -> Vec<Span> {
        self.spans.0.take()
    }
}

fn span(record: &Record, context: Context, client: &Client, local: &Local) -> Span {
    let text = record.text.borrow();
    let of =
        |span: crate::message::Span| String::from_utf8_lossy(span.of(&text.bytes)).into_owned();
    let times = &record.times;
    let ended = times.ended.get().unwrap_or_else(Moment::now);
    let began = times.head.get().or_else(|| times.first.get()).unwrap_or(ended);
    let path_and_query = text.path_and_query.of(&text.bytes);
    let path = path_and_query.split(|byte| *byte == b'?').next().unwrap_or_default();
    let target = record.target.get().map(|(_, address)| address);
    Span {
        context,
        began: local.alarms.since_epoch(began),
        ended: local.alarms.since_epoch(ended),
        method: of(text.method),
        path: String::from_utf8_lossy(path).into_owned(),
        authority: of(text.authority),
        version: match version(&text, client) {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
            Version::Http2 => "2",
        },
        user_agent: of(text.user_agent),
        trace_id: of(text.trace),
        client: client.peer,
        listener: of(text.listener),
        rule: match record.matched.get() {
            Matched::Rule(priority) => Some(priority.value()),
            Matched::Default | Matched::Nothing => None,
        },
        group: of(text.group),
        target,
        attempts: record.given_up.borrow().len() + usize::from(target.is_some()),
        target_time: record.target_time(),
        status: record.status.get(),
        error: record.error.get().map(|kind| kind.row().name),
        bytes: (record.received.get(), record.sent.get()),
    }
}
