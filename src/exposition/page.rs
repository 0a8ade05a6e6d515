//! Families of one kind each, as they are written.

use std::collections::HashMap;
use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeLabelSet, NativeHistogram, NativeHistogramBuckets,
    NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::histogram::DEFAULT_NATIVE_HISTOGRAM_ZERO_THRESHOLD;
use prometheus_client::registry::Unit;

use crate::metrics::{BUCKETS_PER_OCTAVE_LOG2, Distribution};

/// Upper bounds of the classic buckets, as powers of two of a second: 244 us to 64 s.
const OCTAVES: std::ops::RangeInclusive<i32> = -12..=6;

/// Where families are written.
pub(super) struct Page<'a>(DescriptorEncoder<'a>);

/// What a family is called and what it tells.
#[derive(Clone, Copy)]
pub(super) struct Family {
    /// Without unit and `_total`, which the encoder appends.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) unit: Option<&'static Unit>,
}

/// A family without unit.
pub(super) const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: None }
}

/// A family of bytes.
pub(super) const fn bytes(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: Some(&Unit::Bytes) }
}

/// A family of seconds.
pub(super) const fn seconds(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: Some(&Unit::Seconds) }
}

impl<'a> Page<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Numbers that only grow.
    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        Family { name, help, unit }: Family,
        series: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        series.into_iter().try_for_each(|(labels, value)| {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }

    /// One number that only grows.
    pub(super) fn counter(&mut self, what: Family, value: impl EncodeCounterValue) -> fmt::Result {
        let Family { name, help, unit } = what;
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    /// One number that goes up and down.
    pub(super) fn gauge(&mut self, what: Family, value: f64) -> fmt::Result {
        let Family { name, help, unit } = what;
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// Numbers that go up and down.
    pub(super) fn gauges<L: EncodeLabelSet>(
        &mut self,
        Family { name, help, unit }: Family,
        series: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        series
            .into_iter()
            .try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
    }

    /// How long things took. Those that never happened are left out.
    pub(super) fn histograms<'d, L: EncodeLabelSet>(
        &mut self,
        Family { name, help, unit }: Family,
        series: impl IntoIterator<Item = (L, &'d Distribution)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (labels, times) in series {
            let (mut buckets, beyond) = times.by_octave(OCTAVES);
            buckets.push((f64::INFINITY, beyond));
            let count = buckets.iter().map(|(_, count)| count).sum();
            if count > 0 {
                let (spans, deltas) = sparse(times.native());
                let native = NativeHistogram {
                    schema: BUCKETS_PER_OCTAVE_LOG2 as i32,
                    zero_threshold: DEFAULT_NATIVE_HISTOGRAM_ZERO_THRESHOLD,
                    zero_count: 0,
                    negative: NativeHistogramBuckets { spans: &[], deltas: &[] },
                    positive: NativeHistogramBuckets { spans: &spans, deltas: &deltas },
                    created: None,
                };
                let mut metric = metric.encode_family(&labels)?;
                let sum = times.seconds();
                let none = None::<&HashMap<usize, Exemplar<NoLabelSet, f64>>>;
                metric.encode_histogram_with_native(sum, count, &buckets, none, native)?;
            }
        }
        Ok(())
    }

    /// A fact in labels.
    pub(super) fn info<L: EncodeLabelSet>(&mut self, what: Family, labels: &L) -> fmt::Result {
        let Family { name, help, unit } = what;
        self.0.encode_descriptor(name, help, unit, MetricType::Info)?.encode_info(labels)
    }
}

/// Buckets as native histograms have them: runs of neighbours, each by its distance from the end of
/// the one before and its length; and counts, each by its difference from the one before.
fn sparse(buckets: impl Iterator<Item = (i32, u64)>) -> (Vec<(i32, u32)>, Vec<i64>) {
    let (mut spans, mut deltas): (Vec<(i32, u32)>, Vec<i64>) = (Vec::new(), Vec::new());
    let (mut end, mut before) = (0, 0);
    for (index, count) in buckets {
        match spans.last_mut() {
            Some((_, length)) if index == end => *length += 1,
            _ => spans.push((index - end, 1)),
        }
        end = index + 1;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(count - before);
        before = count;
    }
    (spans, deltas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_make_a_run_and_counts_are_differences() {
        let buckets = [(-5, 2), (-4, 7), (-3, 7), (0, 1), (9, 4), (10, 2)];
        let (spans, deltas) = sparse(buckets.into_iter());
        assert_eq!(spans, [(-5, 3), (2, 1), (8, 2)]);
        assert_eq!(deltas, [2, 5, 0, -6, 3, -2]);
        assert_eq!(sparse(std::iter::empty()), (vec![], vec![]));
    }
}
