//! What is to be said of one exchange (L7) or connection (L4): gathered while it runs, completed
//! once, in [`complete`], whatever happened to it.
//!
//! Everything is written through a shared reference, since both directions of an exchange run at
//! once. What costs time is only noted in a detailed record, where the listener keeps an access
//! log. A steady stream of requests allocates nothing here: the record is part of the worker's
//! scratch, and keeps its memory from one exchange to the next.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::access_log::{ActionKind, Matched, Try};
use crate::http1::HeadError;
use crate::http1::classify::{self, Classification};
use crate::message::{FieldKind, Request, RequestHead, Span, Version};
use crate::model::{Action, Mode, Priority};
use crate::net::Moment;
use crate::snapshot::{
    GroupId, GroupView, ListenerId, ListenerView, LogView, TargetId, TargetView,
};
use crate::span::Context;

use super::dialect::Dialect;
use super::error::ErrorKind;
use super::http::Client;
use super::local::Local;
use super::tallies;

/// Longest user agent that is kept, in bytes (AWS: 8 KB), and longest referrer.
const AGENT_BYTES_MAX: usize = 8 * 1024;
/// Memory for text that a record keeps for the next exchange, in bytes; more is given back.
const TEXT_BYTES_KEPT_MAX: usize = 4 * 1024;

/// One exchange or L4 connection.
#[derive(Debug, Default)]
pub(super) struct Record {
    detailed: Cell<bool>,
    /// At which layer it was; `None` before anything began.
    pub(super) mode: Option<Mode>,
    facts: Facts,
    /// Targets that were tried before the last, in order.
    pub(super) given_up: RefCell<Vec<Try>>,
    /// What was asked for; only in a detailed record.
    pub(super) text: RefCell<Text>,
    /// Its place in a trace, if it is told as a span; only in a detailed record.
    pub(super) span: Cell<Option<Context>>,
    /// The log that the line goes to, of what may outlive the snapshot that it began with.
    pub(super) log: RefCell<Option<Arc<LogView>>>,
}

/// What is forgotten at once; a record lends it as its own.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// When what happened.
    pub(super) times: Times,
    /// The listener that it came by.
    pub(super) listener: Cell<Option<ListenerId>>,
    /// What decided.
    pub(super) matched: Cell<Matched>,
    /// Place of the rule that decided, among those of its listener.
    pub(super) rank: Cell<Option<u32>>,
    /// What it decided.
    pub(super) action: Cell<Option<ActionKind>>,
    /// The target group that the request was for.
    pub(super) group: Cell<Option<GroupId>>,
    /// Whether it used all its targets, for want of healthy ones.
    pub(super) fails_open: Cell<bool>,
    /// The target that was tried last; its status is in `target_status`.
    pub(super) target: Cell<Option<(TargetId, SocketAddr)>>,
    /// Status that the client was sent; 0: none.
    pub(super) status: Cell<u16>,
    /// Whether that was not a target's.
    pub(super) is_own: Cell<bool>,
    /// Status that the target sent last; 0: none.
    pub(super) target_status: Cell<u16>,
    /// Bytes from the client, heads included, as far as they were read for this exchange. Of a
    /// chunked body, those that were sent on.
    pub(super) received: Cell<u64>,
    /// Bytes sent to the client, heads included.
    pub(super) sent: Cell<u64>,
    /// Why it did not end well.
    pub(super) error: Cell<Option<ErrorKind>>,
    /// What the client speaks.
    pub(super) dialect: Cell<Dialect>,
    /// Why the client's certificate is not believed (L4).
    pub(super) refused_certificate: Cell<Option<&'static str>>,
    /// Whether the request head breaks a rule of the standard.
    pub(super) is_noncompliant: Cell<bool>,
    /// How the request head deviates from the standard; only in a detailed record.
    pub(super) class: Cell<Option<Classification>>,
    /// Bytes of the request head, and of the head of the response.
    pub(super) received_head: Cell<u64>,
    pub(super) sent_head: Cell<u64>,
    /// Whether it was counted, but for bytes and errors.
    pub(super) is_counted: Cell<bool>,
    /// Bytes in both directions that were counted.
    pub(super) counted_bytes: Cell<(u64, u64)>,
}

impl Deref for Record {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

/// When what happened. In a record that is not detailed, only `ended` and what
/// [`Record::target_time`] needs are noted, and they only where the request is forwarded.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// The first byte of the request was read; L4: the connection was accepted.
    pub(super) first: Cell<Option<Moment>>,
    /// The request head was whole.
    pub(super) head: Cell<Option<Moment>>,
    /// A connection to the target was asked for.
    pub(super) connecting: Cell<Option<Moment>>,
    /// There was a new connection to the target.
    pub(super) connected: Cell<Option<Moment>>,
    /// The request was sent, but for the rest of its body; L4: the first bytes.
    pub(super) sent: Cell<Option<Moment>>,
    /// The response head was read whole; L4: the target's first bytes.
    pub(super) answered: Cell<Option<Moment>>,
    /// The response began at the client; L4: its first bytes were sent.
    pub(super) started: Cell<Option<Moment>>,
    /// All was over.
    pub(super) ended: Cell<Option<Moment>>,
}

/// Text of a request, copied since its buffer is used again: ranges of `bytes`.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) bytes: Vec<u8>,
    pub(super) method: Span,
    /// Request target as it came.
    pub(super) target: Span,
    pub(super) path_and_query: Span,
    /// Host and port asked for.
    pub(super) authority: Span,
    pub(super) version: Option<Version>,
    pub(super) user_agent: Span,
    pub(super) referer: Span,
    /// Value of X-Amzn-Trace-Id as the target got it.
    pub(super) trace: Span,
    /// Location of a redirect.
    pub(super) location: Span,
    /// Name of the target group.
    pub(super) group: Span,
    /// Name of the server that was asked for, where it was not decrypted (L4).
    pub(super) server_name: Span,
    /// Name of the listener; only of what is told as a span.
    pub(super) listener: Span,
}

/// Adds to a count.
pub(super) fn add(count: &Cell<u64>, bytes: usize) {
    count.set(count.get() + bytes as u64);
}

impl Record {
    /// Forgets the exchange before. `detailed`: somebody wants all times and the text.
    pub(super) fn begin(&mut self, mode: Mode, detailed: bool) {
        if self.detailed.replace(detailed) {
            self.text.get_mut().clear();
            self.span.set(None);
        }
        self.given_up.get_mut().clear();
        self.log.take();
        self.mode = Some(mode);
        self.facts = Facts::default();
        self.mark(|times| &times.first);
    }

    /// Notes the time, where times are wanted.
    pub(super) fn mark(&self, time: impl Fn(&Times) -> &Cell<Option<Moment>>) {
        if self.detailed.get() {
            time(&self.times).set(Some(Moment::now()));
        }
    }

    /// Notes the time of what may happen again, the first time.
    pub(super) fn mark_first(&self, time: impl Fn(&Times) -> &Cell<Option<Moment>>) {
        if self.detailed.get() && time(&self.times).get().is_none() {
            self.mark(time);
        }
    }

    /// The exchange is told as a span of a trace, so its record is detailed.
    pub(super) fn tells(&self, context: Context, listener: &str) {
        self.detailed.set(true);
        self.mark_first(|times| &times.first);
        let mut text = self.text.borrow_mut();
        text.listener = text.add(listener.as_bytes());
        self.span.set(Some(context));
    }

    /// The request head is whole. `at_once`: with its first bytes.
    pub(super) fn read(&self, request: &Request<'_>, at_once: bool) {
        self.received.set(request.head.bytes as u64);
        self.received_head.set(request.head.bytes as u64);
        if !self.detailed.get() {
            return;
        }
        match at_once {
            true => self.times.head.set(self.times.first.get()),
            false => self.mark(|times| &times.head),
        }
        self.class.set(classify::accepted(request.head));
        self.text.borrow_mut().capture(request);
    }

    /// The request head, as far as it has come, breaks a rule.
    pub(super) fn breaks(&self, error: HeadError, head: &RequestHead, bytes: &[u8]) {
        self.received.set(bytes.len() as u64);
        self.received_head.set(bytes.len() as u64);
        self.is_noncompliant.set(true);
        if self.detailed.get() {
            self.class.set(classify::refused(error, head, bytes));
        }
    }

    /// A response of our own begins at the client.
    pub(super) fn responds(&self, status: u16, bytes: &[u8]) {
        self.status.set(status);
        self.is_own.set(true);
        if self.detailed.get() {
            let head = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(0, |end| end + 4);
            self.sent_head.set(head as u64);
        }
        self.mark(|times| &times.started);
    }

    /// The request goes to `group`. Returns since when it has been there.
    pub(super) fn forwards(&self, group: &GroupView) -> Moment {
        self.group.set(Some(group.id));
        self.fails_open.set(group.fail_open);
        if self.detailed.get() {
            let mut text = self.text.borrow_mut();
            text.group = text.add(group.settings.name.as_bytes());
        }
        let head = self.times.head.get().unwrap_or_else(Moment::now);
        self.times.head.set(Some(head));
        head
    }

    /// The client asks for the server of this name, and is not decrypted.
    pub(super) fn asks_for(&self, server_name: &str) {
        if self.detailed.get() {
            let mut text = self.text.borrow_mut();
            text.server_name = text.add(server_name.as_bytes());
        }
    }

    /// The request goes out with this trace id.
    pub(super) fn traced(&self, id: &[u8]) {
        if self.detailed.get() {
            let mut text = self.text.borrow_mut();
            text.trace = text.add(id);
        }
    }

    /// The target has done its part, well or not. Returns when.
    pub(super) fn ends(&self) -> Moment {
        let now = Moment::now();
        self.times.ended.set(Some(now));
        now
    }

    /// The request is answered here; `write` makes a trace id for it from the one that it brought.
    pub(super) fn trace_here(
        &self,
        head: &RequestHead,
        write: impl FnOnce(Option<Span>, &mut Vec<u8>),
    ) {
        if !self.detailed.get() {
            return;
        }
        let brought = head.fields.iter().find(|field| field.kind == FieldKind::TraceId);
        let mut text = self.text.borrow_mut();
        let start = text.bytes.len();
        write(brought.map(|field| field.value), &mut text.bytes);
        text.trace = Span::new(start, text.bytes.len());
    }

    /// The client is sent to `location`.
    pub(super) fn redirects(&self, location: &[u8]) {
        if self.detailed.get() {
            let mut text = self.text.borrow_mut();
            text.location = text.add(location);
        }
    }

    /// What a rule, or the default, has decided.
    pub(super) fn routed(&self, priority: Option<Priority>, rank: Option<u32>, action: &Action) {
        self.rank.set(rank);
        self.matched.set(priority.map_or(Matched::Default, Matched::Rule));
        self.action.set(Some(match action {
            Action::Forward(_) => ActionKind::Forward,
            Action::Redirect(_) => ActionKind::Redirect,
            Action::FixedResponse(_) => ActionKind::FixedResponse,
        }));
    }

    /// `target` is tried; one that was tried before has not done.
    pub(super) fn tries(&self, target: &TargetView) {
        let before = self.target.replace(Some((target.id, target.address)));
        let status = self.target_status.take();
        if let Some((_, target)) = before {
            self.given_up.borrow_mut().push(Try { target, status });
            for time in [&self.times.connected, &self.times.sent, &self.times.answered] {
                time.set(None);
            }
            return self.times.connecting.set(Some(Moment::now()));
        }
        // The first is tried at once.
        self.times.connecting.set(self.times.head.get());
    }

    /// There is a new connection to the target.
    pub(super) fn connects(&self) {
        self.times.connected.set(Some(Moment::now()));
    }

    /// How long the target took to answer, from the moment that the request could be sent to it;
    /// L4: how long connecting took. `None` if it did not.
    pub(super) fn target_time(&self) -> Option<Duration> {
        let Times { connecting, connected, answered, .. } = &self.times;
        let (from, to) = match self.mode? {
            Mode::L4 => (connecting.get(), connected.get()),
            Mode::L7 => (connected.get().or_else(|| connecting.get()), answered.get()),
        };
        Some(to?.since(from?))
    }

    /// The target has answered.
    pub(super) fn answered(&self, status: u16) {
        self.target_status.set(status);
        self.times.answered.set(Some(Moment::now()));
    }

    /// The response of the target begins at the client.
    pub(super) fn starts(&self, status: u16, head_bytes: usize) {
        self.status.set(status);
        self.sent_head.set(head_bytes as u64);
        self.mark(|times| &times.started);
    }
}

impl Text {
    fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        if bytes.capacity() > TEXT_BYTES_KEPT_MAX {
            bytes.shrink_to(TEXT_BYTES_KEPT_MAX);
        }
        *self = Self { bytes, ..Self::default() };
    }

    /// Copies `text`.
    pub(super) fn add(&mut self, text: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        Span::new(start, self.bytes.len())
    }

    fn capture(&mut self, request: &Request<'_>) {
        let (head, bytes) = (request.head, request.bytes);
        self.version = Some(head.version);
        self.method = self.add(request.method());
        self.target = self.add(head.target.of(bytes));
        self.path_and_query = self.add(head.path_and_query.of(bytes));
        self.authority = self.add(head.authority.of(bytes));
        for field in head.fields.iter().filter(|field| field.kind == FieldKind::Other) {
            let name = field.name.of(bytes);
            let value = field.value.of(bytes);
            let kept = &value[..value.len().min(AGENT_BYTES_MAX)];
            if self.user_agent.is_empty() && name.eq_ignore_ascii_case(b"user-agent") {
                self.user_agent = self.add(kept);
            } else if self.referer.is_empty() && name.eq_ignore_ascii_case(b"referer") {
                self.referer = self.add(kept);
            }
        }
    }
}

/// The exchange or connection of `record` is over: the one place where its record is complete.
/// `listener`: where it came by, of an exchange that has not been counted yet. Waits where its line
/// must not be dropped and there is no room for it.
pub(super) async fn complete(
    record: &Record,
    client: &Client,
    listener: Option<&ListenerView>,
    log: Option<&LogView>,
    local: &Local,
) {
    if record.mode == Some(Mode::L7)
        && record.status.get() == 0
        && let Some(kind) = record.error.get()
    {
        record.status.set(kind.row().logged);
        record.is_own.set(kind.row().logged != 0);
    }
    if let Some(listener) = listener {
        tallies::answer(record, listener, local);
    }
    tallies::end(record, local);
    // What a target has answered has ended already; what came after is our own answer, or a tunnel.
    if record.error.get().is_some() || record.status.get() == 101 {
        record.times.ended.set(None);
    }
    record.mark_first(|times| &times.ended);
    if let Some(context) = record.span.get() {
        super::spans::note(record, context, client, local);
    }
    if let Some(log) = log {
        super::log::write(record, client, log, local).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::RequestHead;

    fn detailed() -> Record {
        let mut record = Record::default();
        record.begin(Mode::L7, true);
        record
    }

    #[test]
    fn record_that_nobody_reads_notes_no_time_and_no_text() {
        let mut record = Record::default();
        record.begin(Mode::L7, false);
        record.read(
            &Request { head: &RequestHead::default(), bytes: b"", peer: [0; 4].into() },
            false,
        );
        record.answered(200);
        record.starts(200, 17);
        let times = &record.times;
        let noted = [&times.first, &times.head, &times.sent, &times.started];
        assert!(noted.iter().all(|time| time.get().is_none()));
        assert!(record.text.borrow().bytes.is_empty());
    }

    #[test]
    fn first_time_stays() {
        let record = detailed();
        record.mark_first(|times| &times.sent);
        let first = record.times.sent.get();
        assert!(first.is_some());
        record.mark_first(|times| &times.sent);
        assert_eq!(record.times.sent.get(), first);
    }

    #[test]
    fn beginning_anew_forgets_everything() {
        for detailed in [false, true] {
            let mut record = Record::default();
            record.begin(Mode::L7, detailed);
            let now = Some(Moment::now());
            let times = &record.times;
            for time in [&times.head, &times.connected, &times.answered, &times.ended] {
                time.set(now);
            }
            if detailed {
                record.times.sent.set(now);
                record.redirects(b"/x");
            }
            record.matched.set(Matched::Default);
            record.action.set(Some(ActionKind::Forward));
            record.group.set(Some(GroupId { slot: 1, generation: 1 }));
            record.listener.set(Some(ListenerId { slot: 1, generation: 1 }));
            record.rank.set(Some(1));
            let said = [&record.fails_open, &record.is_own, &record.is_noncompliant];
            said.iter().for_each(|it| it.set(true));
            record.is_counted.set(true);
            record.counted_bytes.set((1, 1));
            let target = TargetId { slot: 1, generation: 1 };
            record.target.set(Some((target, ([127, 0, 0, 1], 80).into())));
            record.given_up.get_mut().push(Try { target: ([0; 4], 1).into(), status: 500 });
            record.error.set(Some(ErrorKind::ClientClosed));
            record.refused_certificate.set(Some("ClientCertExpired"));
            for status in [&record.status, &record.target_status] {
                status.set(200);
            }
            for bytes in [&record.received, &record.sent, &record.received_head, &record.sent_head]
            {
                bytes.set(1);
            }
            record.begin(Mode::L4, false);
            let mut fresh = Record::default();
            fresh.begin(Mode::L4, false);
            assert_eq!(format!("{record:?}"), format!("{fresh:?}"));
        }
    }

    #[test]
    fn beginning_anew_forgets_and_gives_memory_back() {
        let mut record = detailed();
        record.redirects(&[b'x'; 3 * TEXT_BYTES_KEPT_MAX]);
        record.status.set(200);
        record.begin(Mode::L7, true);
        assert_eq!(record.status.get(), 0);
        let text = record.text.borrow();
        assert!(text.location.is_empty() && text.bytes.is_empty());
        assert!(text.bytes.capacity() <= TEXT_BYTES_KEPT_MAX);
    }
}
