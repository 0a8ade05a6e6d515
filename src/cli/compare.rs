//! The options of `compare`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

/// Bounds of `--duration`.
const DURATION_MIN: Duration = Duration::from_secs(1);
const DURATION_MAX: Duration = Duration::from_secs(3600);

/// Options of `compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// Targets of yours for the load, instead of built-in ones
    ///
    /// IP addresses and ports. They get GET requests for --path, and nothing is done to them; the
    /// rows for which a target has to tell what it saw, or to be slow or killed, still use
    /// built-in ones.
    #[arg(long, value_name = "ADDRESS,...", value_delimiter = ',')]
    pub targets: Vec<SocketAddr>,
    /// Path of the requests; a status below 400 counts as answered
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = path)]
    pub path: String,
    /// How long the load lasts, all rounds together: 1s to 60m
    ///
    /// The other rows take some 15 s in front of it.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub duration: Duration,
    /// Connections of the load: 1 to 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub connections: u16,
    /// Requests per second of the latency rounds; else half of what the slowest way can
    #[arg(long, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate: Option<u32>,
    /// What generates the load
    #[arg(long, value_name = "TOOL", value_enum, default_value_t = Tool::BuiltIn)]
    pub tool: Tool,
    /// Compare with this program as well, if it is installed; may be repeated
    #[arg(long, value_name = "PROGRAM", value_enum)]
    pub peer: Vec<Peer>,
    /// Write a report for browsers to this file: one page, with plots, that loads nothing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// For programs: what was seen, as one JSON document, instead of the table
    #[arg(long)]
    pub json: bool,
}

/// What generates load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tool {
    /// Our own: open loop, latency from when a request was due
    #[value(name = "built-in")]
    BuiltIn,
    /// wrk: no fixed rate, so latency is that of a balancer at its limit
    Wrk,
    /// oha
    Oha,
}

/// Another program to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// HAProxy in its HTTP mode
    Haproxy,
    /// nginx as an HTTP proxy
    Nginx,
}

fn path(text: &str) -> Result<String, String> {
    let is_good = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_good.then(|| text.to_owned()).ok_or_else(|| "begins with / and has no spaces".into())
}

/// Reads `20s`, `500ms` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().unwrap_or_default();
    let duration = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    };
    let duration = duration.filter(|duration| (DURATION_MIN..=DURATION_MAX).contains(duration));
    duration.ok_or_else(|| "a time such as 20s or 2m, from 1s to 60m".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        let cases = [
            ("20s", Some(20)),
            ("2m", Some(120)),
            ("1500ms", Some(1)),
            ("20", None),
            ("999ms", None),
            ("61m", None),
            ("s", None),
            ("-5s", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(duration(text).ok().map(|found| found.as_secs()), seconds, "{text}");
        }
    }
}
