//! What has been counted, as OpenMetrics text.
//!
//! A [`Sample`] is what there was to count at one moment, summed over the workers; values only.
//! [`encode`] writes it, and [`Minute`] in the names of CloudWatch (`aws`). Labels come from the
//! configuration alone, never from a client, so the number of series is bounded by it.
//! `docs/metrics.md` lists every family, and a test compares.

mod aws;
mod balancer;
mod groups;
mod listeners;
mod page;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_protobuf, text as open_metrics};
use prometheus_client::registry::Registry;

use crate::metrics::{GroupTotals, ListenerTotals, RuleTotals, TargetTotals, Totals};
use page::Page;

/// Media types of [`Form`].
const OPEN_METRICS: &str = "application/openmetrics-text";
const PROTOBUF: &str = "application/vnd.google.protobuf";

/// How a sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics text. Histograms have their classic buckets.
    Text,
    /// Prometheus' protobuf messages, each behind its length. Histograms have native buckets, too.
    Protobuf,
}

/// Health states in the order of [`Group::states`].
pub const STATES: [&str; 5] = ["initial", "healthy", "unhealthy", "unused", "draining"];

/// What there was to count at one moment.
#[derive(Debug, Default)]
pub struct Sample {
    /// Version of the program.
    pub version: &'static str,
    /// `io_uring` or `epoll`.
    pub driver: &'static str,
    /// Number of the configuration.
    pub generation: u64,
    /// Whether the process drains.
    pub draining: bool,
    /// What happened to the configuration and to targets.
    pub happened: Happened,
    /// Names of the kinds in [`Totals::errors`].
    pub error_kinds: &'static [&'static str],
    /// By worker.
    pub workers: Vec<Totals>,
    /// The rings of all workers, if they can be looked at.
    pub rings: Option<Rings>,
    /// The process as the kernel sees it.
    pub process: Process,
    /// Listeners.
    pub listeners: Vec<Listener>,
    /// Target groups.
    pub groups: Vec<Group>,
}

/// What happened since the process started.
#[derive(Debug, Default, Clone)]
pub struct Happened {
    /// Changes of the configuration, by the file and by the API: accepted, refused.
    pub changes: [[u64; 2]; 2],
    /// Changes of a target's health, by the state that it got.
    pub transitions: [u64; 5],
    /// Targets that have ended their draining.
    pub drained: u64,
    /// Spans of requests: exported, and dropped by control or refused by the collector.
    pub spans: [u64; 2],
}

/// Rings, summed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Rings {
    /// Operations submitted.
    pub submissions: u64,
    /// Operations completed.
    pub completions: u64,
    /// Completions that wait beyond a full queue.
    pub overflowing: u64,
}

/// The process as the kernel sees it; what cannot be had is `None`.
#[derive(Debug, Default, Clone)]
pub struct Process {
    /// Processor time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Memory in use, in bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// Most open files.
    pub open_files_max: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// When it started, in seconds since 1970.
    pub started: Option<f64>,
}

/// A listener.
#[derive(Debug, Default)]
pub struct Listener {
    /// Distinguishes it from those of its name before and after it.
    pub id: (u32, u32),
    /// Name.
    pub name: String,
    /// What AWS would call it: `app/NAME/ID`.
    pub resource: String,
    /// Whether it works at L4.
    pub is_l4: bool,
    /// What was counted.
    pub totals: ListenerTotals,
    /// Rules by priority, the last being `default`.
    pub rules: Vec<(String, RuleTotals)>,
    /// For a listener at L4, the group that it leads to: its place in [`Sample::groups`].
    pub group: Option<usize>,
    /// Files of its certificates, and when each expires, in seconds since 1970.
    pub certificates: Vec<(String, i64)>,
}

/// A target group.
#[derive(Debug, Default)]
pub struct Group {
    /// Distinguishes it from those of its name before and after it.
    pub id: (u32, u32),
    /// Name.
    pub name: String,
    /// What AWS would call it: `targetgroup/NAME/ID`.
    pub resource: String,
    /// What was counted.
    pub totals: GroupTotals,
    /// Targets by state, in the order of [`STATES`].
    pub states: [u64; 5],
    /// Targets that traffic itself has taken out.
    pub ejected: u64,
    /// Targets that get less because they fail more than their peers.
    pub mitigated: u64,
    /// Whether too few are healthy, so that all are used.
    pub fail_open: bool,
    /// Targets.
    pub targets: Vec<Target>,
}

/// A target.
#[derive(Debug, Default)]
pub struct Target {
    /// Address and port.
    pub address: String,
    /// Whether it is healthy.
    pub is_healthy: bool,
    /// Weight.
    pub weight: u16,
    /// Requests (L4: connections) in flight.
    pub in_flight: u64,
    /// Requests (L4: connections) sent to it.
    pub requests: u64,
    /// Responses with status 5xx, and connections that could not be made.
    pub failures: u64,
    /// What was counted.
    pub totals: TargetTotals,
}

/// Two moments, a minute apart: what CloudWatch tells is about whole minutes.
#[derive(Debug, Clone)]
pub struct Minute {
    /// The first.
    pub before: Arc<Sample>,
    /// The second.
    pub after: Arc<Sample>,
}

/// What is written.
#[derive(Debug)]
struct Exposed {
    sample: Sample,
    minute: Option<Minute>,
}

impl Collector for Exposed {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page::new(encoder);
        balancer::write(&self.sample, &mut page)?;
        listeners::write(&self.sample, &mut page)?;
        groups::write(&self.sample, &mut page)?;
        self.minute.iter().try_for_each(|minute| aws::write(minute, &mut page))
    }
}

impl Form {
    /// The form that whoever sends `accept` likes best (RFC 9110 §12.5.1): protobuf where that is
    /// named with at least the weight of the text, which is for everybody else.
    #[must_use]
    pub fn of(accept: &str) -> Self {
        let weight = |media: &str, needs: &str| {
            let ranges = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media));
                let parts: Vec<&str> = parts.collect();
                let has_it = parts.iter().any(|part| part.eq_ignore_ascii_case(needs));
                let weight = parts.iter().find_map(|part| part.strip_prefix("q="));
                let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
                (is_it && (needs.is_empty() || has_it)).then_some(weight)
            });
            ranges.fold(0.0, f32::max)
        };
        let protobuf = weight(PROTOBUF, "encoding=delimited");
        match protobuf > 0.0 && protobuf >= weight(OPEN_METRICS, "") {
            true => Self::Protobuf,
            false => Self::Text,
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        }
    }
}

/// All of it in this form. Takes some milliseconds per thousand series, so it is not for a thread
/// that others wait for.
///
/// # Errors
/// None: writing to memory does not fail.
pub fn encode(form: Form, sample: Sample, minute: Option<Minute>) -> Result<Vec<u8>, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposed { sample, minute }));
    match form {
        Form::Text => {
            let mut text = String::new();
            open_metrics::encode(&mut text, &registry)?;
            Ok(text.into_bytes())
        }
        Form::Protobuf => prometheus_protobuf::encode_to_vec(&registry).map_err(|_| fmt::Error),
    }
}
