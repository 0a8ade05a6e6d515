//! The table of `ringway status`.

use std::fmt::Write as _;

use serde_json::Value;

use super::look::{COLUMNS, Tone, count, fit, paint, span, time, wrap};
use super::targets;
use crate::config::Color;
use crate::control::handle::{CertificateStatus, GroupStatus, ListenerStatus, RuleStatus, Status};

/// What the table shows beside the status.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) color: Color,
    /// Requests per second, if there was a status before.
    pub(super) rate: Option<f64>,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// The table, in lines of at most 80 characters.
pub(super) fn table(status: &Status, view: View) -> String {
    let mut out = head(status, view);
    for listener in &status.listeners {
        out.push('\n');
        out.push_str(&listener_block(listener, view));
    }
    for group in &status.target_groups {
        out.push('\n');
        out.push_str(&group_block(group, view));
    }
    out
}

fn head(status: &Status, view: View) -> String {
    let mut out = paint(view.color, Tone::Bold, &format!("ringway {}", status.version));
    let Status { pid, driver, generation, .. } = status;
    let workers = match status.workers.len() {
        1 => "1 worker".into(),
        n => format!("{n} workers"),
    };
    let up = span(status.uptime_seconds);
    let _ = write!(out, "  pid {pid}  up {up}  {driver}  {workers}  generation {generation}");
    if status.draining {
        let _ = write!(out, "  {}", paint(view.color, Tone::Doubtful, "DRAINING"));
    }
    let totals = &status.totals;
    let (open, requests) = (count(totals.open_connections), count(totals.requests));
    let _ = write!(out, "\nconnections {open}  requests {requests}");
    if let Some(rate) = view.rate {
        let _ = write!(out, " ({}/s)", count(rate.round() as u64));
    }
    let _ = write!(out, "  own responses {}", count(totals.own_responses));
    let _ = write!(out, "  retries {}", count(totals.retries));
    if totals.panics > 0 {
        let panics = format!("panics {}", totals.panics);
        let _ = write!(out, "  {}", paint(view.color, Tone::Bad, &panics));
    }
    out.push('\n');
    out
}

/// A listener, its certificates and its rules.
pub(super) fn listener_block(listener: &ListenerStatus, view: View) -> String {
    let color = view.color;
    let mut out = paint(color, Tone::Bold, &format!("listener {}", fit(&listener.name, 30)));
    let ListenerStatus { address, mode, origin, .. } = listener;
    let _ = writeln!(out, "  {mode}  {}  {}", fit(address, 24), paint(color, Tone::Dim, origin));
    for certificate in &listener.certificates {
        out.push_str(&certificate_line(certificate, view));
    }
    for entry in &listener.server_names {
        let names = entry.get("names").map(words).unwrap_or_default();
        out.push_str(&line_of("name", &names, &action(entry)));
    }
    out.push_str(&rules(&listener.rules));
    out.push_str(&line_of("default", "", &action(&listener.default)));
    out
}

/// A certificate, and how long it is still good.
fn certificate_line(certificate: &CertificateStatus, view: View) -> String {
    const SOON_SECONDS: u64 = CertificateStatus::SOON_SECONDS;
    let names = match certificate.names.as_slice() {
        [] => "without a name".into(),
        [name] => fit(name, 30),
        [name, others @ ..] => format!("{} and {} more", fit(name, 30), others.len()),
    };
    let left = u64::try_from(certificate.not_after).unwrap_or(0).checked_sub(view.now);
    let (tone, until) = match left {
        None => (Tone::Bad, "EXPIRED".into()),
        Some(left @ ..SOON_SECONDS) => (Tone::Doubtful, format!("expires in {}", span(left))),
        Some(left) => (Tone::Good, format!("expires in {}", span(left))),
    };
    let file = certificate.path.rsplit('/').next().unwrap_or(&certificate.path);
    let until = paint(view.color, tone, &until);
    format!("      tls  {}  {names}  {until}\n", fit(file, 20))
}

/// The lines of rules.
pub(super) fn rules(rules: &[RuleStatus]) -> String {
    let each = rules.iter().map(|rule| {
        let from = if rule.origin == "api" { " (api)" } else { "" };
        let action = action(&rule.rule) + from;
        line_of(&rule.priority.to_string(), &conditions(&rule.rule), &action)
    });
    each.collect()
}

/// Label, conditions and action; on two lines where one is too short.
fn line_of(label: &str, conditions: &str, action: &str) -> String {
    let line = match conditions {
        "" => format!("  {label:>7}  {action}"),
        conditions => format!("  {label:>7}  {conditions} -> {action}"),
    };
    if line.chars().count() <= COLUMNS {
        return line + "\n";
    }
    let first = wrap(&format!("{conditions} ->"), 11);
    let rest = wrap(action, 13);
    let mut lines = first.into_iter().chain(rest);
    let first = lines.next().unwrap_or_default();
    let mut out = format!("  {label:>7}  {}\n", first.trim_start());
    for line in lines {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn conditions(rule: &Value) -> String {
    let actions = ["forward", "redirect", "fixed_response"];
    let Some(rule) = rule.as_object() else { return String::new() };
    let conditions = rule.iter().filter(|(key, _)| !actions.contains(&key.as_str()));
    conditions.map(|(key, value)| format!("{key} {}", words(value))).collect::<Vec<_>>().join(", ")
}

fn action(action: &Value) -> String {
    let known = ["forward", "redirect", "fixed_response"];
    let found = known.iter().find_map(|key| action.get(*key).map(|value| (*key, value)));
    match found {
        Some(("forward", value)) => format!("forward {}", shares(value)),
        Some((key, value)) => format!("{key} {}", words(value)),
        None => "?".into(),
    }
}

/// The groups of a forward, with their weights where there are several.
fn shares(forward: &Value) -> String {
    let name = |share: &Value| {
        let name = share.as_str().or_else(|| share.get("target_group")?.as_str());
        fit(name.unwrap_or("?"), 64)
    };
    match forward {
        Value::Array(shares) if shares.len() > 1 => {
            let weight = |share: &Value| share.get("weight").and_then(Value::as_u64).unwrap_or(1);
            let each = shares.iter().map(|share| format!("{} {}", name(share), weight(share)));
            each.collect::<Vec<_>>().join(", ")
        }
        Value::Array(shares) => shares.first().map_or_else(|| "?".into(), name),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            name(forward)
        }
    }
}

/// A value in words: lists with `|`, tables as `key=value`.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => fit(text, 128),
        Value::Array(values) => values.iter().map(words).collect::<Vec<_>>().join(" | "),
        Value::Object(map) => {
            let each = map.iter().map(|(key, value)| format!("{key}={}", words(value)));
            each.collect::<Vec<_>>().join(" ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A target group and its targets.
pub(super) fn group_block(group: &GroupStatus, view: View) -> String {
    let title = format!("target group {}", fit(&group.name, 30));
    let mut out = paint(view.color, Tone::Bold, &title);
    let _ = write!(out, "  {}", group.algorithm);
    if group.fail_open {
        let _ = write!(out, "  {}", paint(view.color, Tone::Bad, "FAIL OPEN"));
    }
    let _ = write!(out, "\n  {} requests", count(group.requests));
    if let (Some(p50), Some(p99)) = (group.p50_us, group.p99_us) {
        let _ = write!(out, "  p50 {}  p99 {}", time(p50), time(p99));
    }
    let _ = writeln!(out, "  {}", paint(view.color, Tone::Dim, &group.origin));
    if group.targets.is_empty() {
        out.push_str("  no targets: requests get 503\n");
        return out;
    }
    out.push_str(&targets::head(view.color));
    for target in &group.targets {
        out.push_str(&targets::row(target, view.color, view.now));
    }
    out
}
