//! `ringway status --watch`: the table again and again, in place on a terminal.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::Method;
use tokio::time::MissedTickBehavior;

use super::Trouble;
use super::connect::{Client, Question};
use super::look::Output;
use super::status::{View, table};
use crate::control::handle::Status;

/// Enters the other screen and hides the cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The question for the status.
pub(super) fn question() -> Question {
    Question::new(Method::GET, "/v1/status")
}

/// Shows the status every `interval` until Ctrl-C. A server that goes away in between is awaited.
///
/// # Errors
/// If nothing answers at first, or the output is closed.
pub(super) async fn watch(
    client: &Client,
    interval: Duration,
    json: bool,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    // First without the other screen, so that an error stays on this one.
    client.ask::<Status>(question()).await?;
    let in_place = output.is_terminal && !json;
    if in_place {
        output.say(ENTER)?;
    }
    let result = tokio::select! {
        _ = tokio::signal::ctrl_c() => Ok(()),
        result = show(client, interval, json, output) => result,
    };
    if in_place {
        output.say(LEAVE)?;
    }
    result
}

async fn show(
    client: &Client,
    interval: Duration,
    json: bool,
    output: &mut Output<'_>,
) -> Result<(), Trouble> {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<(Status, Instant)> = None;
    loop {
        ticks.tick().await;
        let text = match client.ask::<Status>(question()).await {
            Ok(status) => {
                let at = Instant::now();
                let rate = before.as_ref().and_then(|(old, then)| rate(old, &status, at - *then));
                let text = match json {
                    true => serde_json::to_string(&status).unwrap_or_default() + "\n",
                    false => table(&status, View { color: output.color, rate, now: now() }),
                };
                before = Some((status, at));
                text
            }
            Err(Trouble::Unavailable(text)) => format!("{text}\n"),
            Err(trouble) => return Err(trouble),
        };
        if output.is_terminal && !json {
            let height = terminal_size::terminal_size().map_or(24, |(_, height)| height.0.into());
            output.say(&in_place(&text, height))?;
        } else {
            let gap = if json { "" } else { "\n" };
            output.say(&(text + gap))?;
        }
    }
}

/// Requests per second; none if the counters began anew.
pub(super) fn rate(old: &Status, new: &Status, elapsed: Duration) -> Option<f64> {
    let more = new.totals.requests.checked_sub(old.totals.requests)?;
    let is_same = old.pid == new.pid && !elapsed.is_zero();
    is_same.then(|| more as f64 / elapsed.as_secs_f64())
}

/// `text` over what was drawn before, cut to the height of the terminal.
pub(super) fn in_place(text: &str, height: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::from("\x1b[H");
    let fits = lines.len() <= height;
    let shown = if fits { lines.len() } else { height.saturating_sub(1) };
    for (index, line) in lines[..shown].iter().enumerate() {
        if index > 0 {
            out.push_str("\r\n");
        }
        out.push_str(line);
        out.push_str("\x1b[K");
    }
    if !fits {
        out.push_str(&format!("\r\n({} more lines)\x1b[K", lines.len() - shown));
    }
    out.push_str("\x1b[J");
    out
}
