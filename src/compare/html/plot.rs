//! Pictures, drawn as SVG with the colours of the page.
//!
//! They are drawn as wide as a phone, where letters have the size that they are given here; wider
//! screens show them larger.

use std::fmt::Write;

use crate::compare::findings::{Column, Findings, Shares};
use crate::compare::load::STEP;
use crate::compare::rows::{count, time, title};

/// Size of a picture, and of the part where curves are, in units of its own.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 350.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 196.0;
/// Of a bar, and of the space that a bar takes.
const BAR: f64 = 16.0;
const BAR_STEP: f64 = 24.0;

/// Heading, caption and picture of every plot that there is something for.
pub(super) fn all(findings: &Findings) -> Vec<(&'static str, String, String)> {
    let rate = match findings.open_rate {
        Some(rate) => format!("At {} requests a second, from when each was due", count(rate)),
        None => "With every connection busy".into(),
    };
    let latency = format!(
        "{rate}: how long the given share of requests took at most. Both axes are logarithmic, \
         lower is better."
    );
    let rate = "Requests answered, in each tenth of a second of a way's own time, all rounds in a \
                row, with every connection busy: higher is better.";
    let shares = "Requests of each of three targets, the slow one in the strongest colour. \"In \
                  turn\" is round robin, \"in flight\" is least outstanding requests.";
    let pictures = [
        ("Latency by percentile", latency, percentiles(&findings.columns)),
        ("Throughput over time", rate.to_owned(), throughput(&findings.columns)),
        (
            "Share of each target, one 50 times slower",
            shares.to_owned(),
            target_shares(&findings.columns),
        ),
    ];
    let drawn = pictures.into_iter();
    drawn.filter_map(|(heading, caption, picture)| Some((heading, caption, picture?))).collect()
}

/// What tells the line of a way without its colour.
pub(super) fn dashes(way: &str) -> &'static str {
    match way {
        "direct" => " stroke-dasharray=\"2 3\"",
        "l4" => " stroke-dasharray=\"7 3\"",
        "haproxy" => " stroke-dasharray=\"10 3 2 3\"",
        "nginx" => " stroke-dasharray=\"4 2\"",
        _ => "",
    }
}

fn percentiles(columns: &[Column]) -> Option<String> {
    let curves: Vec<(&Column, &[(f64, f64)])> = columns
        .iter()
        .filter_map(|column| Some((column, column.latency.as_ref()?.curve.as_slice())))
        .collect();
    let values = || curves.iter().flat_map(|(_, curve)| curve.iter().map(|(_, value)| *value));
    let (low, high) = decades(values())?;
    // One nine per step: 0 %, 90 %, 99 %, ... The maximum stands at the right edge.
    let nines = 4.0;
    let x = |quantile: f64| {
        let at = if quantile >= 1.0 { nines } else { -(1.0 - quantile).log10() };
        LEFT + (RIGHT - LEFT) * at.clamp(0.0, nines) / nines
    };
    let y = |value: f64| {
        let at = (value.max(1e-3).log10() - low) / (high - low);
        BOTTOM - (BOTTOM - TOP) * at.clamp(0.0, 1.0)
    };
    let mut picture = begin("Latency by percentile, a curve for each way", HEIGHT);
    for (quantile, label) in
        [(0.0, "0 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (1.0, "max")]
    {
        push_vertical(&mut picture, x(quantile), label);
    }
    for decade in (low as i32)..=(high as i32) {
        let value = 10_f64.powi(decade);
        push_horizontal(&mut picture, y(value), &short_time(value));
    }
    for (column, curve) in curves {
        push_curve(&mut picture, column, curve.iter().map(|(q, value)| (x(*q), y(*value))));
    }
    Some(picture + "</svg>")
}

/// Whole decades around all values, as exponents.
fn decades(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    let positive = values.filter(|value| *value > 0.0);
    let low = positive.clone().min_by(f64::total_cmp)?.log10().floor();
    let high = positive.max_by(f64::total_cmp)?.log10().ceil();
    Some((low, high.max(low + 1.0)))
}

/// A power of ten of microseconds.
fn short_time(microseconds: f64) -> String {
    let text = time(microseconds);
    let (value, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let value = value.trim_end_matches('0').trim_end_matches('.');
    // What was 10.0 or 100 has lost zeros of its own.
    let whole = match (value, microseconds.log10().rem_euclid(3.0).round() as i32) {
        (_, 1) => "10",
        (_, 2) => "100",
        (value, _) => value,
    };
    format!("{whole} {unit}")
}

fn throughput(columns: &[Column]) -> Option<String> {
    let curves: Vec<(&Column, &[f64])> = columns
        .iter()
        .filter_map(|column| Some((column, column.peak.as_ref()?.series.as_slice())))
        .filter(|(_, series)| series.len() > 1)
        .collect();
    let steps = curves.iter().map(|(_, series)| series.len()).max()? - 1;
    let values = || curves.iter().flat_map(|(_, series)| series.iter().copied());
    let highest = ceiling(values().max_by(f64::total_cmp)?);
    let x = |step: f64| LEFT + (RIGHT - LEFT) * step / steps as f64;
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * value / highest;
    let mut picture = begin("Requests per second over time, a curve for each way", HEIGHT);
    for part in 0..=4 {
        let value = highest * f64::from(part) / 4.0;
        push_horizontal(&mut picture, y(value), &thousands(value));
        let step = steps as f64 * f64::from(part) / 4.0;
        push_vertical(&mut picture, x(step), &format!("{:.2} s", step * STEP.as_secs_f64()));
    }
    for (column, series) in curves {
        let points = series.iter().enumerate().map(|(step, value)| (x(step as f64), y(*value)));
        push_curve(&mut picture, column, points);
    }
    Some(picture + "</svg>")
}

/// The next of 1, 2, 4, 5, 8 times a power of ten.
fn ceiling(value: f64) -> f64 {
    let decade = 10_f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * decade).find(|step| *step >= value).unwrap_or(value)
}

fn thousands(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", short(value / 1e6)),
        value if value >= 1e3 => format!("{} k", short(value / 1e3)),
        value => short(value),
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn target_shares(columns: &[Column]) -> Option<String> {
    let bars = |column: &'static str, shares: fn(&Column) -> Option<&Shares>| {
        let found = columns.iter().filter_map(move |way| Some((way, column, shares(way)?)));
        found.filter(|(.., shares)| shares.requests.iter().sum::<u64>() > 0)
    };
    let mut all: Vec<(&Column, &str, &Shares)> = bars("in turn", |c| c.shares.as_ref())
        .chain(bars("in flight", |c| c.shares_least.as_ref()))
        .collect();
    if all.is_empty() {
        return None;
    }
    let place = |way: &Column| columns.iter().position(|column| column.name == way.name);
    all.sort_by_key(|(way, ..)| place(way));
    let left = 118.0;
    let height = all.len() as f64 * BAR_STEP + 8.0;
    let mut picture = begin("Share of each of three targets, a bar for each way", height);
    for (index, (way, algorithm, shares)) in all.into_iter().enumerate() {
        let top = 4.0 + index as f64 * BAR_STEP;
        let text = top + BAR - 4.0;
        let _ = writeln!(
            picture,
            "<text class=\"value\" x=\"0\" y=\"{text:.1}\">{}, {algorithm}</text>",
            title(way)
        );
        let sum: u64 = shares.requests.iter().sum();
        let mut x = left;
        for (target, requests) in shares.requests.iter().enumerate() {
            let share = *requests as f64 / sum as f64;
            let width = (RIGHT - 40.0 - left) * share;
            let opacity = if target + 1 == shares.requests.len() { 1.0 } else { 0.35 };
            let _ = writeln!(
                picture,
                "<rect class=\"bar {}\" opacity=\"{opacity}\" x=\"{x:.1}\" y=\"{top:.1}\" \
                 width=\"{width:.1}\" height=\"{BAR}\"><title>target {}: {:.1} %</title></rect>",
                way.name,
                target + 1,
                share * 100.0
            );
            x += width;
        }
        let slow = shares.slow_share * 100.0;
        let _ = writeln!(
            picture,
            "<text class=\"value\" x=\"{RIGHT}\" y=\"{text:.1}\" text-anchor=\"end\">\
             {slow:.0} %</text>"
        );
    }
    Some(picture + "</svg>")
}

fn begin(label: &str, height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">\n")
}

fn push_horizontal(picture: &mut String, y: f64, label: &str) {
    let _ = writeln!(
        picture,
        "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
        LEFT - 6.0,
        y + 4.0
    );
}

fn push_vertical(picture: &mut String, x: f64, label: &str) {
    // The last label would stick out.
    let anchor = if x > RIGHT - 8.0 { "end" } else { "middle" };
    let _ = writeln!(
        picture,
        "<path class=\"grid\" d=\"M{x:.1} {TOP}V{BOTTOM}\"/>\
         <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text>",
        BOTTOM + 16.0
    );
}

fn push_curve(picture: &mut String, column: &Column, points: impl Iterator<Item = (f64, f64)>) {
    let mut path = String::new();
    for (index, (x, y)) in points.enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' });
    }
    let _ = writeln!(
        picture,
        "<path class=\"curve {}\" d=\"{path}\"{}><title>{}</title></path>",
        column.name,
        dashes(column.name),
        title(column)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_hold_every_value() {
        for value in [0.0, 1.0, 3.0, 999.0, 1001.0, 43_210.0] {
            assert!(ceiling(value) >= value, "{value}");
        }
        assert_eq!(ceiling(43_210.0), 50_000.0);
        assert_eq!(thousands(12_500.0), "12.5 k");
        assert_eq!(decades([12.0, 900.0].into_iter()), Some((1.0, 3.0)));
        assert_eq!(decades([50.0].into_iter()), Some((1.0, 2.0)));
        let powers = ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"];
        for (decade, text) in (0..).zip(powers) {
            assert_eq!(short_time(10_f64.powi(decade)), text);
        }
    }
}
