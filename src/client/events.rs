//! `ringway events`: from the stream of server-sent events to one line each.

use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;

use super::Trouble;
use super::connect::{Client, Question};
use super::look::{Output, Tone, fit, paint, tone_of};
use crate::config::Color;
use crate::control::handle::Event;

/// Longest line of the stream, in bytes; an event has at most some 100 mistakes.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Shows events until Ctrl-C, or until the server stops.
///
/// # Errors
/// If nothing answers, or the stream breaks off.
pub(super) async fn show(
    client: &Client,
    json: bool,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Ok(()),
        result = follow(client, json, output) => result,
    }
}

async fn follow(client: &Client, json: bool, output: &mut Output<'_>) -> Result<(), Trouble> {
    let mut body = client.open(Question::new(Method::GET, "/v1/events")).await?.into_body();
    let mut lines = Lines::default();
    let mut is_stopping = false;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| Trouble::Failed(format!("events broke off: {cause}")))?;
        let Ok(bytes) = frame.into_data() else { continue };
        for line in lines.push(&bytes)? {
            let Some(data) = line.strip_prefix("data:") else { continue };
            let data = data.trim_start();
            is_stopping |= matches!(serde_json::from_str(data), Ok(Event::Stopping { .. }));
            let text = if json { data.into() } else { tell(data, output.color) };
            output.say(&(text + "\n"))?;
        }
    }
    if is_stopping { Ok(()) } else { Err(Trouble::Failed("ringway has closed the stream".into())) }
}

/// Puts lines together from pieces.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// The lines that are whole with `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, Trouble> {
        self.0.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', &self.0) {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        if self.0.len() > LINE_BYTES_MAX {
            return Err(Trouble::Failed("an event is too long".into()));
        }
        Ok(lines)
    }
}

/// An event in one line.
pub(super) fn tell(data: &str, color: Color) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    match serde_json::from_value(event.clone()) {
        Ok(event) => tell_event(&event, color),
        Err(_) if event["type"] == "missed" => {
            let text = format!("missed {} events: this client is too slow", event["missed"]);
            paint(color, Tone::Bad, &text)
        }
        // What a newer server may tell.
        Err(_) => fit(data, 1024),
    }
}

fn tell_event(event: &Event, color: Color) -> String {
    let clean = |text: &str| fit(text, 1024);
    match event {
        Event::Health { time, target_group, target, from, to, reason, description } => {
            let why: Vec<String> =
                [reason, description].into_iter().flatten().map(|it| clean(it)).collect();
            let why = if why.is_empty() { String::new() } else { format!("  {}", why.join(": ")) };
            let to = paint(color, tone_of(to), to);
            let (time, group) = (stamp(*time), clean(target_group));
            format!("{time} health      {group} {} {from} -> {to}{why}", clean(target))
        }
        Event::Drained { time, target_group, target } => {
            let (time, group) = (stamp(*time), clean(target_group));
            format!("{time} drained     {group} {}", clean(target))
        }
        Event::Configured { time, generation, by } => {
            format!("{} configured  generation {generation}, by {by}", stamp(*time))
        }
        Event::Refused { time, by, problems } => {
            let problems: Vec<String> = problems.iter().map(|problem| clean(problem)).collect();
            let text = format!("refused     by {by}: {}", problems.join("; "));
            format!("{} {}", stamp(*time), paint(color, Tone::Bad, &text))
        }
        Event::Stopping { time } => {
            format!("{} {}", stamp(*time), paint(color, Tone::Doubtful, "stopping"))
        }
    }
}

/// Seconds since 1970 as RFC 3339 writes them.
pub(super) fn stamp(time: u64) -> String {
    let (days, seconds) = (time / 86_400, time % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of the Gregorian calendar, from days since 1970-01-01 (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era.saturating_mul(400) + year_of_era + u64::from(month <= 2);
    (year, month, day)
}
