//! The rows of targets: state, numbers, and below each what there is to explain.

use std::fmt::Write as _;

use super::look::{Tone, count, fit, paint, span, tone_of, wrap};
use crate::config::Color;
use crate::control::handle::TargetStatus;

/// Width of the addresses: the longest of IPv4 fits; a longer one has a line of its own.
const ADDRESS_COLUMNS: usize = 22;

/// The head of the rows.
pub(super) fn head(color: Color) -> String {
    let text = format!(
        "  {:ADDRESS_COLUMNS$} {:9} {:>6} {:>9} {:>8} {:>8} {}",
        "TARGET", "STATE", "WEIGHT", "IN FLIGHT", "REQUESTS", "FAILURES", "ORIGIN"
    );
    paint(color, Tone::Dim, &text) + "\n"
}

/// A target; `now` in seconds since 1970.
pub(super) fn row(target: &TargetStatus, color: Color, now: u64) -> String {
    let mut out = String::new();
    let mut address = target.address.as_str();
    if address.chars().count() > ADDRESS_COLUMNS {
        let _ = writeln!(out, "  {}", fit(address, 76));
        address = "";
    }
    let state = if target.ejected { "ejected" } else { &target.state };
    let _ = writeln!(
        out,
        "  {:ADDRESS_COLUMNS$} {} {:>6} {:>9} {:>8} {:>8} {}",
        fit(address, ADDRESS_COLUMNS),
        paint(color, tone_of(state), &format!("{:9}", fit(state, 9))),
        target.weight,
        count(target.in_flight),
        count(target.requests),
        count(target.failures),
        fit(&target.origin, 8),
    );
    for line in notes(target, now).iter().flat_map(|note| wrap(note, 4)) {
        out.push_str(&paint(color, Tone::Dim, &line));
        out.push('\n');
    }
    out
}

fn notes(target: &TargetStatus, now: u64) -> Vec<String> {
    let mut notes = Vec::new();
    match (&target.reason, &target.description) {
        (Some(code), Some(words)) => notes.push(format!("{code}: {words}")),
        (Some(one), None) | (None, Some(one)) => notes.push(one.clone()),
        (None, None) => {}
    }
    if target.ejected {
        notes.push("taken out for a while, because its responses failed".into());
    }
    if let Some(expires) = target.expires {
        notes.push(match expires.saturating_sub(now) {
            0 => "its lease is over".into(),
            left => format!("its lease ends in {}", span(left)),
        });
    }
    notes
}
