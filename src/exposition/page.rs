//! Families of one kind each, as they are written.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::metrics::Distribution;

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
                let mut metric = metric.encode_family(&labels)?;
                metric.encode_histogram::<NoLabelSet>(times.seconds(), count, &buckets, None)?;
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
