//! Rounds of load: in each, every way gets the same load in turn, so that what else the machine
//! does meets all alike. One half is as much as goes through, the other the same rate for all.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::cli::Tool;

use super::Error;
use super::cores::Cores;
use super::findings::{Column, Latency, Peak};
use super::load::{self, End, Pace, Plan, STEP};
use super::site::Purpose;
use super::stop::Stop;
use super::tool;
use super::way::Way;

/// Length that a slice of a round should have, and the least that still says something.
const SLICE: Duration = Duration::from_secs(1);
const SLICE_MIN: Duration = Duration::from_millis(150);
/// Rounds: fewer would have no median, more would only shorten the slices.
const ROUNDS_MIN: u32 = 2;
const ROUNDS_MAX: u32 = 20;
/// Load that finds the rate of the open loop.
const CALIBRATION: Duration = Duration::from_millis(300);
/// Share of the slowest way's peak that the open loop asks of all.
const OPEN_SHARE: f64 = 0.5;

/// Quantiles of the figures and of the plot.
pub(super) const QUANTILES: [f64; 16] = [
    0.0, 0.1, 0.25, 0.5, 0.625, 0.75, 0.875, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999,
    1.0,
];

/// What the rounds are to be.
pub(super) struct Setting<'a> {
    pub(super) duration: Duration,
    pub(super) connections: usize,
    pub(super) path: &'a str,
    /// Asked for; else half of the slowest way's peak.
    pub(super) rate: Option<f64>,
    pub(super) tool: Tool,
    pub(super) cores: &'a Cores,
    pub(super) stop: &'a Stop,
    /// Told after each slice.
    pub(super) done: &'a dyn Fn(&str),
}

/// Number and length of the slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) rounds: u32,
    pub(super) slice: Duration,
}

impl Schedule {
    /// Divides `duration` among the halves of each way's rounds.
    pub(super) fn of(duration: Duration, ways: usize) -> Self {
        let ways = u32::try_from(ways.max(1)).unwrap_or(u32::MAX);
        let each = duration / (2 * ways);
        let rounds = (each.as_secs_f64() / SLICE.as_secs_f64()).round() as u32;
        let rounds = rounds.clamp(ROUNDS_MIN, ROUNDS_MAX);
        Self { rounds, slice: (each / rounds).max(SLICE_MIN) }
    }
}

/// What one slice of one way showed.
pub(super) struct Slice {
    pub(super) requests: u64,
    pub(super) failures: u64,
    pub(super) window: Duration,
    pub(super) processor: Option<Duration>,
    /// Microseconds at each of [`QUANTILES`], as far as the tool tells.
    pub(super) latency: Vec<(f64, f64)>,
    /// Requests per second in each [`STEP`].
    pub(super) series: Vec<f64>,
    /// What `latency` comes from, where it is ours.
    pub(super) histogram: Option<Histogram<u64>>,
}

/// Slices of one way.
#[derive(Default)]
struct Slices {
    peak: Vec<Slice>,
    open: Vec<Slice>,
}

/// Loads every way in rounds, and fills in what came of it, also if the end is asked for before.
/// Returns the number of whole rounds and the rate of the open loop.
///
/// # Errors
/// If a way answers nothing at all, or a tool fails.
pub(super) fn run(
    ways: &[Way],
    columns: &mut [Column],
    setting: &Setting<'_>,
) -> Result<(usize, Option<f64>), Error> {
    let rate = match (setting.tool, setting.rate) {
        (Tool::Wrk, _) => None,
        (_, Some(rate)) => Some(rate),
        (_, None) => Some(calibrate(ways, setting)?),
    };
    let schedule = Schedule::of(setting.duration, ways.len());
    let mut slices: Vec<Slices> = ways.iter().map(|_| Slices::default()).collect();
    let mut rounds = 0;
    let mut result = Ok(());
    'rounds: for _ in 0..schedule.rounds {
        for (way, slices) in ways.iter().zip(&mut slices) {
            result = measure(way, schedule.slice, rate, setting, slices);
            if result.is_err() || setting.stop.is_asked() {
                break 'rounds;
            }
        }
        rounds += 1;
    }
    for (column, slices) in columns.iter_mut().zip(&slices) {
        column.peak = peak(&slices.peak);
        let has_open = rate.is_some();
        column.latency = latency(if has_open { &slices.open } else { &slices.peak }, has_open);
    }
    // The failure of a tool that was ended along with us is none.
    if setting.stop.is_asked() { Ok((rounds, rate)) } else { result.map(|()| (rounds, rate)) }
}

/// One turn of one way. A slice that was cut short is left out.
fn measure(
    way: &Way,
    length: Duration,
    rate: Option<f64>,
    setting: &Setting<'_>,
    slices: &mut Slices,
) -> Result<(), Error> {
    let kept = |slice: Result<Slice, Error>, place: &mut Vec<Slice>| {
        let slice = slice?;
        if !setting.stop.is_asked() {
            place.push(slice);
        }
        (setting.done)(&format!("{}: load", way.name));
        Ok(())
    };
    kept(load_way(way, length, None, setting), &mut slices.peak)?;
    if rate.is_none() || setting.stop.is_asked() {
        return Ok(());
    }
    kept(load_way(way, length, rate, setting), &mut slices.open)
}

/// Half of what the slowest way can, to two digits.
fn calibrate(ways: &[Way], setting: &Setting<'_>) -> Result<f64, Error> {
    let mut slowest = f64::INFINITY;
    for way in ways {
        let slice = built_in(way, CALIBRATION, None, setting)?;
        if slice.requests == 0 && !setting.stop.is_asked() {
            let why = format!("no status below 400 for {} in {CALIBRATION:?}", setting.path);
            let what = format!("the way \"{}\" answers nothing well; see --path", way.name);
            return Err(Error::new(what, std::io::Error::other(why)));
        }
        slowest = slowest.min(slice.requests as f64 / slice.window.as_secs_f64());
    }
    let rate = (slowest * OPEN_SHARE).max(1.0);
    let digit = 10_f64.powf(rate.log10().floor() - 1.0);
    Ok((rate / digit).round() * digit)
}

fn load_way(
    way: &Way,
    length: Duration,
    rate: Option<f64>,
    setting: &Setting<'_>,
) -> Result<Slice, Error> {
    match setting.tool {
        Tool::BuiltIn => built_in(way, length, rate, setting),
        Tool::Wrk | Tool::Oha => tool::run(way, length, rate, setting),
    }
}

fn built_in(
    way: &Way,
    length: Duration,
    rate: Option<f64>,
    setting: &Setting<'_>,
) -> Result<Slice, Error> {
    let addresses = way.addresses(Purpose::Load);
    let host = addresses.first().copied().unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
    let plan = Plan {
        addresses,
        request: load::request(host, setting.path, false),
        clients: setting.connections,
        pace: rate.map_or(Pace::Closed, Pace::Open),
        end: End::After(length.mul_f64(0.8)),
        warm_up: length.mul_f64(0.2),
        anew: false,
        watch: way.process(),
    };
    let outcome = load::run(plan, setting.cores, setting.stop)?;
    // The last step is not a whole one.
    let whole = (outcome.window.as_nanos() / STEP.as_nanos()) as usize;
    let series = outcome.series.iter().take(whole);
    Ok(Slice {
        requests: outcome.requests,
        failures: outcome.failures,
        window: outcome.window,
        processor: outcome.processor,
        latency: Vec::new(),
        series: series.map(|count| *count as f64 / STEP.as_secs_f64()).collect(),
        histogram: Some(outcome.latency),
    })
}

fn peak(slices: &[Slice]) -> Option<Peak> {
    let rates: Vec<f64> =
        slices.iter().map(|slice| slice.requests as f64 / slice.window.as_secs_f64()).collect();
    let rate = median(&rates)?;
    let shares: Vec<f64> = slices
        .iter()
        .filter_map(|slice| Some(slice.processor?.as_secs_f64() / slice.window.as_secs_f64()))
        .collect();
    Some(Peak {
        rate,
        rates,
        failures: slices.iter().map(|slice| slice.failures).sum(),
        core_share: median(&shares),
        cpu_us: per_request(slices),
        series: slices.iter().flat_map(|slice| slice.series.iter().copied()).collect(),
    })
}

fn latency(slices: &[Slice], open_loop: bool) -> Option<Latency> {
    let curve = curve(slices)?;
    let at = |wanted: f64| {
        curve
            .iter()
            .find(|(quantile, _)| *quantile == wanted)
            .map(|(_, microseconds)| *microseconds)
    };
    let requests: u64 = slices.iter().map(|slice| slice.requests).sum();
    Some(Latency {
        requests,
        failures: slices.iter().map(|slice| slice.failures).sum(),
        open_loop,
        p50_us: at(0.5)?,
        p90_us: at(0.9)?,
        p99_us: at(0.99)?,
        p999_us: at(0.999),
        max_us: at(1.0)?,
        cpu_us: per_request(slices),
        curve,
    })
}

/// Processor time of the balancer per request, in microseconds.
fn per_request(slices: &[Slice]) -> Option<f64> {
    let requests: u64 = slices.iter().map(|slice| slice.requests).sum();
    let used: Option<Duration> = slices.iter().map(|slice| slice.processor).sum();
    used.map(|used| used.as_secs_f64() * 1e6 / requests.max(1) as f64)
}

/// Latency by quantile: over all requests where every one is known, else the median over rounds.
fn curve(slices: &[Slice]) -> Option<Vec<(f64, f64)>> {
    if let Some(first) = slices.first().and_then(|slice| slice.histogram.as_ref()) {
        let mut all = first.clone();
        for histogram in slices.iter().skip(1).filter_map(|slice| slice.histogram.as_ref()) {
            // Cannot fail: all have the same bounds.
            let _ = all.add(histogram);
        }
        let at = |quantile| (quantile, all.value_at_quantile(quantile) as f64 / 1e3);
        return (!all.is_empty()).then(|| QUANTILES.into_iter().map(at).collect());
    }
    let at = |quantile: f64| {
        let of = |slice: &Slice| {
            let found = slice.latency.iter().find(|(found, _)| *found == quantile);
            found.map(|(_, microseconds)| *microseconds)
        };
        let values: Vec<f64> = slices.iter().filter_map(of).collect();
        Some((quantile, median(&values)?))
    };
    (!slices.is_empty()).then(|| QUANTILES.into_iter().filter_map(at).collect())
}

/// The value in the middle; the mean of both where there are two.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (above, below) = (sorted.get(sorted.len() / 2)?, sorted.get((sorted.len() - 1) / 2)?);
    Some(f64::midpoint(*above, *below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_fill_the_duration_and_no_more() {
        for seconds in [1, 2, 5, 20, 60, 600] {
            for ways in 1..=5 {
                let duration = Duration::from_secs(seconds);
                let Schedule { rounds, slice } = Schedule::of(duration, ways);
                assert!((ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds));
                let all = slice * rounds * 2 * ways as u32;
                let least = SLICE_MIN * ROUNDS_MIN * 2 * ways as u32;
                assert!(all <= duration.max(least) && all.mul_f64(1.01) >= duration, "{all:?}");
            }
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
    }
}
