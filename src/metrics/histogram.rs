//! How long things took, counted in buckets whose bounds grow by a sixteenth of an octave.
//!
//! The buckets are those of Prometheus' native histograms (schema 4: bounds are powers of
//! 2^(1/16) seconds), so they are passed on as they are. One writer each, as all counters: a
//! reader copies nothing that a worker is at, and waits for nobody. A lane takes 4 KiB once it has
//! counted anything.

use std::sync::OnceLock;
use std::time::Duration;

use super::{Counter, Counts};

/// Buckets per octave, as a power of two: the schema of native histograms.
pub const BUCKETS_PER_OCTAVE_LOG2: u32 = 4;
const PER_OCTAVE: usize = 1 << BUCKETS_PER_OCTAVE_LOG2;
/// Everything below 2 to the power of this, in seconds, is in the first bucket (0.95 us).
const OCTAVE_MIN: i32 = -20;
/// Everything from 2 to the power of this on is in the last bucket (17 minutes).
const OCTAVE_MAX: i32 = 10;
const BUCKETS: usize = (OCTAVE_MAX - OCTAVE_MIN) as usize * PER_OCTAVE;

/// Durations are sorted in units of 2^-30 s, so that octaves are those of the second; this many
/// of 2^-30 of those make a nanosecond.
const UNITS_PER_NANO: u128 = ((1_u128 << 60) + 500_000_000) / 1_000_000_000;
const UNIT_OCTAVE: i32 = -30;
/// Bounds within an octave: 2^15 times 2^(1/16), 2^(2/16) and so on, rounded up.
const BOUNDS: [u32; PER_OCTAVE - 1] = [
    34219, 35734, 37316, 38968, 40694, 42495, 44377, 46341, 48393, 50536, 52773, 55109, 57549,
    60097, 62758,
];

/// Durations, counted by one worker.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Made by its worker when it counts for the first time.
    buckets: OnceLock<Box<[Counter]>>,
    nanos: Counter,
}

/// The sum of histograms.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// By bucket; empty as long as nothing was counted.
    buckets: Vec<u64>,
    nanos: u64,
}

impl Histogram {
    /// Counts one duration. Only the histogram's worker may call it.
    pub fn record(&self, duration: Duration) {
        let buckets =
            self.buckets.get_or_init(|| (0..BUCKETS).map(|_| Counter::default()).collect());
        let nanos = duration.as_secs().saturating_mul(1_000_000_000);
        let nanos = nanos.saturating_add(duration.subsec_nanos().into());
        if let Some(bucket) = buckets.get(bucket_of(nanos)) {
            bucket.add(1);
        }
        self.nanos.add(nanos);
    }
}

/// The bucket of a duration in nanoseconds.
fn bucket_of(nanos: u64) -> usize {
    let units = (u128::from(nanos) * UNITS_PER_NANO) >> 30;
    let units = u64::try_from(units).unwrap_or(u64::MAX).max(1);
    let log2 = 63 - units.leading_zeros();
    let octave = log2 as i32 + UNIT_OCTAVE;
    if octave < OCTAVE_MIN {
        return 0;
    }
    // The leading bit and the fifteen behind it.
    let mantissa = ((units << (63 - log2)) >> 48) as u32;
    let within = BOUNDS.partition_point(|bound| mantissa >= *bound);
    ((octave - OCTAVE_MIN) as usize * PER_OCTAVE + within).min(BUCKETS - 1)
}

impl Counts for Histogram {
    type Sum = Distribution;

    fn add_to(&self, sum: &mut Distribution) {
        let Some(buckets) = self.buckets.get() else { return };
        sum.buckets.resize(BUCKETS, 0);
        for (counter, sum) in buckets.iter().zip(&mut sum.buckets) {
            counter.add_to(sum);
        }
        self.nanos.add_to(&mut sum.nanos);
    }

    fn join(sum: &mut Distribution, other: &Distribution) {
        sum.buckets.resize(other.buckets.len().max(sum.buckets.len()), 0);
        for (sum, other) in sum.buckets.iter_mut().zip(&other.buckets) {
            *sum = sum.wrapping_add(*other);
        }
        sum.nanos = sum.nanos.wrapping_add(other.nanos);
    }

    fn since(sum: &Distribution, before: &Distribution) -> Distribution {
        let mut since = sum.clone();
        for (count, before) in since.buckets.iter_mut().zip(&before.buckets) {
            *count = count.saturating_sub(*before);
        }
        since.nanos = sum.nanos.saturating_sub(before.nanos);
        since
    }
}

impl Distribution {
    /// How many durations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }

    /// The duration that this share of them stays below, to within 2.2 %; `None` if there were
    /// none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let at = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= rank
        })?;
        Some(Duration::from_secs_f64(bound(at as f64 + 0.5)))
    }

    /// How many durations there were in each octave of `octaves`, given by its upper bound as a
    /// power of two of a second, all below the first one in the first; and how many beyond the
    /// last.
    #[must_use]
    pub fn by_octave(&self, octaves: std::ops::RangeInclusive<i32>) -> (Vec<(f64, u64)>, u64) {
        let index = |octave: i32| {
            let octaves = octave.clamp(OCTAVE_MIN, OCTAVE_MAX) - OCTAVE_MIN;
            (octaves as usize * PER_OCTAVE).min(self.buckets.len())
        };
        let mut from = 0;
        let within = octaves.map(|octave| {
            let to = index(octave).max(from);
            let count = self.buckets[from..to].iter().sum();
            from = to;
            (f64::from(octave).exp2(), count)
        });
        let within = within.collect();
        (within, self.buckets[from..].iter().sum())
    }

    /// The buckets that are not empty, with their index as native histograms number them: bucket
    /// `i` ends at 2^(i/16) seconds.
    pub fn native(&self) -> impl Iterator<Item = (i32, u64)> {
        let filled = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(at, count)| (at as i32 + 1 + OCTAVE_MIN * PER_OCTAVE as i32, *count))
    }

    /// The upper bound of the last bucket that is not empty, in seconds.
    #[must_use]
    pub fn maximum(&self) -> Option<f64> {
        let last = self.buckets.iter().rposition(|count| *count > 0)?;
        Some(bound(last as f64 + 1.0))
    }
}

/// Where bucket `at` begins, in seconds.
fn bound(at: f64) -> f64 {
    (f64::from(OCTAVE_MIN) + at / PER_OCTAVE as f64).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations: &[Duration]) -> Distribution {
        let histogram = Histogram::default();
        durations.iter().for_each(|duration| histogram.record(*duration));
        let mut sum = Distribution::default();
        histogram.add_to(&mut sum);
        sum
    }

    #[test]
    fn bounds_within_an_octave_are_powers_of_its_sixteenth_root() {
        for (at, bound) in BOUNDS.iter().enumerate() {
            let exact = (1 << 15) as f64 * ((at + 1) as f64 / PER_OCTAVE as f64).exp2();
            assert_eq!(f64::from(*bound), exact.ceil(), "{at}");
        }
    }

    #[test]
    fn every_duration_is_within_the_bounds_of_its_bucket() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..100_000 {
            let nanos = random.u64(1_000..900_000_000_000) >> random.u32(0..20);
            let seconds = nanos as f64 / 1e9;
            let at = bucket_of(nanos) as f64;
            // The mantissa has sixteen bits, so a bound may be off by one part in 2^15.
            let (from, to) = (bound(at) * 0.9999, bound(at + 1.0) * 1.0001);
            let first = at == 0.0 && seconds < to;
            assert!(first || (from..to).contains(&seconds), "{nanos} ns: {from} to {to}");
        }
    }

    #[test]
    fn extremes_are_kept_in_the_outer_buckets() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(900), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        let sum = of(&[Duration::ZERO, Duration::MAX]);
        assert_eq!(sum.count(), 2);
    }

    #[test]
    fn quantiles_are_within_a_bucket() {
        let durations: Vec<Duration> = (1..=1000).map(Duration::from_millis).collect();
        let sum = of(&durations);
        for (share, expected) in [(0.5, 0.5), (0.99, 0.99), (1.0, 1.0)] {
            let found = sum.quantile(share).expect("counted").as_secs_f64();
            assert!((found / expected - 1.0).abs() < 0.045, "{share}: {found}");
        }
        assert_eq!(Distribution::default().quantile(0.5), None);
    }

    #[test]
    fn octaves_hold_everything_once() {
        let millis = [1, 3, 500, 900, 1500, 100_000].map(Duration::from_millis);
        let (octaves, beyond) = of(&millis).by_octave(-3..=2);
        let counts: Vec<u64> = octaves.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts.as_slice(), beyond), (&[2, 0, 0, 2, 1, 0][..], 1));
        assert_eq!(octaves[0].0, 0.125);
        let (octaves, beyond) = Distribution::default().by_octave(-3..=2);
        assert_eq!((octaves.len(), beyond), (6, 0));
    }

    #[test]
    fn native_buckets_are_numbered_from_their_upper_bound() {
        // 1.02 s is between 1 s and 2^(1/16) s = 1.044 s: bucket 1; 0.99 s ends at 1 s: bucket 0.
        let sum = of(&[1020, 990, 990].map(Duration::from_millis));
        assert_eq!(sum.native().collect::<Vec<_>>(), [(0, 2), (1, 1)]);
    }

    #[test]
    fn difference_is_what_came_on_top() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(1));
        let (mut before, mut after) = (Distribution::default(), Distribution::default());
        histogram.add_to(&mut before);
        histogram.record(Duration::from_secs(3));
        histogram.add_to(&mut after);
        let since = <Histogram as Counts>::since(&after, &before);
        assert_eq!((since.count(), since.seconds()), (1, 3.0));
        assert_eq!(Histogram::since(&after, &Distribution::default()), after);
    }
}
