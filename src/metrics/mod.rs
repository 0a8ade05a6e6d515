//! Counters with one writer each, and their sums.
//!
//! A worker counts on cache lines of its own with plain adds; whoever reads sums over the workers
//! and stops nobody. [`Tally`] is what is counted of one listener, rule, group or target: a lane
//! for each worker, shared by all who know the thing, and gone with the last of them. `histogram`
//! counts how long things took.

mod histogram;
mod tally;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

pub use histogram::{BUCKETS_PER_OCTAVE_LOG2, Distribution, Histogram};
pub use tally::Tally;

/// Slots for responses by class: none or informational, 2xx, 3xx, 4xx, 5xx.
pub const CLASSES: usize = 5;
/// Slots for responses of our own by code, see [`own_code`].
pub const OWN_CODES: usize = OWN_LABELS.len();
/// Slots for errors by kind; `proxy` says which is which.
pub const ERRORS: usize = 32;

/// What the slots of [`class`] are called.
pub const CLASS_LABELS: [&str; CLASSES] = ["none", "2xx", "3xx", "4xx", "5xx"];
/// What the slots of [`own_code`] are called. The statuses that the balancer chooses itself have
/// one each; those that the configuration chooses share one per class.
pub const OWN_LABELS: [&str; 17] = [
    "2xx", "3xx", "4xx", "5xx", "400", "405", "408", "414", "460", "463", "500", "501", "502",
    "503", "504", "505", "507",
];
/// Statuses from the fifth slot on.
const OWN_STATUSES: [u16; 13] = [400, 405, 408, 414, 460, 463, 500, 501, 502, 503, 504, 505, 507];

/// The slot of a status among [`CLASSES`]; 0 for none at all.
#[must_use]
pub fn class(status: u16) -> usize {
    match status {
        200..=299 => 1,
        300..=399 => 2,
        400..=499 => 3,
        500..=599 => 4,
        _ => 0,
    }
}

/// The slot of a status of our own among [`OWN_CODES`].
#[must_use]
pub fn own_code(status: u16) -> usize {
    match OWN_STATUSES.iter().position(|own| *own == status) {
        Some(at) => at + CLASSES - 1,
        None => class(status).saturating_sub(1),
    }
}

/// A number that one worker writes and anyone reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. Only the counter's worker may call it: with one writer a plain add needs no
    /// locked instruction.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Replaces the value: for what goes up and down. Only the counter's worker may call it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Client connections of one worker, its own and those that others are handing to it. In a cache
/// line of its own: other workers look at it when they accept.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Occupancy(AtomicUsize);

/// In an [`Occupancy`] that takes no more from others.
const CLOSED: usize = 1 << (usize::BITS - 1);

impl Occupancy {
    /// Counts a connection of the worker itself.
    pub fn enter(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Counts a connection that another worker is about to hand over; `false` when none is taken
    /// any more. Once it is counted, the worker waits for it before it ends.
    #[must_use]
    pub fn try_enter(&self) -> bool {
        let open = self.0.fetch_add(1, Relaxed) & CLOSED == 0;
        if !open {
            self.leave();
        }
        open
    }

    /// A connection has ended.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Lets no connection be handed over from now on.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Relaxed);
    }

    /// The number of connections.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Relaxed) & !CLOSED
    }
}

/// What can be summed over workers, and compared with what it was before.
pub trait Counts {
    /// The sum.
    type Sum: Default;

    /// Adds what was counted to `sum`.
    fn add_to(&self, sum: &mut Self::Sum);

    /// Adds one sum to another.
    fn join(sum: &mut Self::Sum, other: &Self::Sum);

    /// What has come on top of `before`.
    fn since(sum: &Self::Sum, before: &Self::Sum) -> Self::Sum;
}

impl Counts for Counter {
    type Sum = u64;

    fn add_to(&self, sum: &mut u64) {
        *sum = sum.wrapping_add(self.value());
    }

    fn join(sum: &mut u64, other: &u64) {
        *sum = sum.wrapping_add(*other);
    }

    fn since(sum: &u64, before: &u64) -> u64 {
        sum.saturating_sub(*before)
    }
}

impl Counts for Occupancy {
    type Sum = u64;

    fn add_to(&self, sum: &mut u64) {
        *sum += self.count() as u64;
    }

    fn join(sum: &mut u64, other: &u64) {
        *sum += *other;
    }

    fn since(sum: &u64, _: &u64) -> u64 {
        *sum
    }
}

impl<const N: usize> Counts for [Counter; N]
where
    [u64; N]: Default,
{
    type Sum = [u64; N];

    fn add_to(&self, sum: &mut [u64; N]) {
        for (counter, sum) in self.iter().zip(sum) {
            counter.add_to(sum);
        }
    }

    fn join(sum: &mut [u64; N], other: &[u64; N]) {
        for (sum, other) in sum.iter_mut().zip(other) {
            *sum = sum.wrapping_add(*other);
        }
    }

    fn since(sum: &[u64; N], before: &[u64; N]) -> [u64; N] {
        std::array::from_fn(|at| sum[at].saturating_sub(before[at]))
    }
}

/// Declares counters of one worker and their sum over all.
macro_rules! counters {
    ($(
        $(#[$about:meta])*
        $counters:ident => $totals:ident {
            $($(#[$doc:meta])* $name:ident: $counts:ty,)*
        }
    )*) => {$(
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $counters {
            $($(#[$doc])* pub $name: $counts,)*
        }

        #[doc = concat!("The sum of [`", stringify!($counters), "`] over all workers.")]
        #[derive(Debug, Default, Clone, PartialEq, Eq)]
        pub struct $totals {
            $($(#[$doc])* pub $name: <$counts as Counts>::Sum,)*
        }

        impl Counts for $counters {
            type Sum = $totals;

            fn add_to(&self, sum: &mut $totals) {
                $(self.$name.add_to(&mut sum.$name);)*
            }

            fn join(sum: &mut $totals, other: &$totals) {
                $(<$counts as Counts>::join(&mut sum.$name, &other.$name);)*
            }

            fn since(sum: &$totals, before: &$totals) -> $totals {
                $totals { $($name: <$counts as Counts>::since(&sum.$name, &before.$name),)* }
            }
        }

        impl $totals {
            /// The sum over `workers`.
            pub fn of<'a>(workers: impl IntoIterator<Item = &'a $counters>) -> Self {
                let mut totals = Self::default();
                workers.into_iter().for_each(|counters| counters.add_to(&mut totals));
                totals
            }

            /// The sum of sums.
            #[must_use]
            pub fn of_all(all: &[Self]) -> Self {
                let mut whole = Self::default();
                all.iter().for_each(|sum| <$counters as Counts>::join(&mut whole, sum));
                whole
            }

            /// What has come on top of `before`.
            #[must_use]
            pub fn since(&self, before: &Self) -> Self {
                <$counters as Counts>::since(self, before)
            }
        }
    )*};
}

counters! {
    /// What one worker has counted since it started.
    #[repr(align(128))]
    Counters => Totals {
        /// Client connections accepted.
        connections: Counter,
        /// L7 requests that were read.
        requests: Counter,
        /// Responses that were made here and not by a target.
        own_responses: Counter,
        /// Client connections that speak HTTP/2.
        http2_connections: Counter,
        /// Requests that came over them.
        http2_requests: Counter,
        /// Of these connections, those that ended for frames that bring nothing.
        http2_floods: Counter,
        /// Client connections that were handed to a worker with fewer.
        handed_over: Counter,
        /// Connections made to targets.
        target_connections: Counter,
        /// Connections to targets that could not be made.
        target_connection_errors: Counter,
        /// Requests sent on a pooled connection.
        target_connections_reused: Counter,
        /// Requests tried a second time.
        retries: Counter,
        /// Connections that ended in a panic.
        panics: Counter,
        /// Lines of access logs.
        access_log_lines: Counter,
        /// Lines of access logs that were dropped, for want of room.
        access_log_dropped: Counter,
        /// Spans of requests that were dropped, for want of room.
        spans_dropped: Counter,
        /// Client connections open now.
        open: Occupancy,
        /// Times that connections could not be accepted, most often for want of files.
        accept_errors: Counter,
        /// Exchanges and connections that did not end well, by kind.
        errors: [Counter; ERRORS],
        /// Unused connections to targets, as of the last sweep.
        idle_connections: Counter,
        /// Bytes of the buffers kept for later, as of the last sweep.
        kept_buffer_bytes: Counter,
    }

    /// What one worker has counted of a listener.
    ListenerCounters => ListenerTotals {
        /// Client connections accepted.
        accepted: Counter,
        /// Of these, those that have ended.
        closed: Counter,
        /// L7 requests that began.
        requests: Counter,
        /// Requests (L4: connections) for which a target was chosen.
        targeted: Counter,
        /// Of these, those of gRPC.
        grpc: Counter,
        /// Responses to clients, by class of their status.
        responses: [Counter; CLASSES],
        /// Of these, those that were made here, by code.
        own: [Counter; OWN_CODES],
        /// What was decided: forward, redirect, fixed response.
        actions: [Counter; 3],
        /// Requests that break a rule of the standard.
        noncompliant: Counter,
        /// Bytes from clients, heads included.
        received_bytes: Counter,
        /// Bytes to clients, heads included.
        sent_bytes: Counter,
    }

    /// What one worker has counted of a rule.
    RuleCounters => RuleTotals {
        /// Requests that it decided, by class of the response.
        responses: [Counter; CLASSES],
    }

    /// What one worker has counted of a target group.
    GroupCounters => GroupTotals {
        /// Requests (L4: connections) for which a target was chosen.
        requests: Counter,
        /// Responses of targets, by class.
        responses: [Counter; CLASSES],
        /// Requests for which there was no target; L4: connections that no target took.
        unavailable: Counter,
        /// Further targets, or connections, that requests were tried on.
        retries: Counter,
        /// Connections to targets.
        connections: Counter,
        /// Connections to targets that could not be made.
        connect_errors: Counter,
        /// Connections to targets over which there was no TLS session.
        tls_errors: Counter,
        /// Requests routed while too few targets were healthy, so that all were used.
        fail_open_requests: Counter,
        /// From the whole request head to the end of the response.
        duration: Histogram,
        /// From the moment that a request goes to its target until the response head has come;
        /// L4: to connect.
        target_time: Histogram,
    }

    /// What one worker has counted of a target.
    TargetCounters => TargetTotals {
        /// Its responses, by class.
        responses: [Counter; CLASSES],
        /// Connections to it.
        connections: Counter,
        /// Connections to it that could not be made.
        connect_errors: Counter,
        /// Connections to it over which there was no TLS session.
        tls_errors: Counter,
        /// Unused connections to it, as of the last sweep.
        idle_connections: Counter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_over_workers() {
        let workers = [Counters::default(), Counters::default()];
        workers[0].requests.add(2);
        workers[1].requests.add(3);
        workers[1].errors[4].add(1);
        let mut errors = [0; ERRORS];
        errors[4] = 1;
        let expected = Totals { requests: 5, errors, ..Totals::default() };
        assert_eq!(Totals::of(&workers), expected);
    }

    #[test]
    fn difference_of_totals_is_what_came_on_top() {
        let counters = GroupCounters::default();
        counters.requests.add(2);
        counters.responses[1].add(2);
        let before = GroupTotals::of([&counters]);
        counters.requests.add(3);
        counters.responses[4].add(1);
        let since = GroupTotals::of([&counters]).since(&before);
        assert_eq!((since.requests, since.responses), (3, [0, 0, 0, 0, 1]));
    }

    #[test]
    fn every_status_has_a_slot_with_its_label() {
        let rows = [
            (0, "none", None),
            (101, "none", None),
            (200, "2xx", Some("2xx")),
            (301, "3xx", Some("3xx")),
            (404, "4xx", Some("4xx")),
            (400, "4xx", Some("400")),
            (463, "4xx", Some("463")),
            (502, "5xx", Some("502")),
            (507, "5xx", Some("507")),
            (599, "5xx", Some("5xx")),
        ];
        for (status, class_label, own_label) in rows {
            assert_eq!(CLASS_LABELS[class(status)], class_label, "{status}");
            if let Some(label) = own_label {
                assert_eq!(OWN_LABELS[own_code(status)], label, "{status}");
            }
        }
    }
}
