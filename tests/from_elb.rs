//! `docs/from-elb.md` names nothing that does not exist: keys, commands, operations of the control
//! API, fields of the status and of the access log, metrics, reasons. `docs/tutorial.md` shows no
//! command line that would be refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use ringway::access_log::{Bytes, Entry, Matched, Names, Protocol, Spans, encode};
use ringway::cli::Cli;
use ringway::config;
use ringway::control::api::openapi_json;
use ringway::health::Reason;
use ringway::model::{LogFormat, Mode};
use serde_json::Value;

/// What a cell says where there is nothing to name.
const WORDS: [&str; 4] = ["**not yet**", "**one host**", "always", "never"];
/// How names of ours begin.
const OURS: [&str; 7] =
    ["ringway ", "ringway_", "listeners.", "target_groups.", "server.", "status.", "log."];
/// A row of the table that says how to read the others.
const LEGEND: &str = "| written as | is |";

struct Documents {
    schema: Value,
    api: Value,
    log: Value,
    /// Families of `docs/metrics.md`, which a test of the exposition holds.
    metrics: BTreeSet<String>,
}

impl Documents {
    fn read() -> Self {
        Self {
            schema: serde_json::from_str(&config::json_schema()).unwrap(),
            api: serde_json::from_str(openapi_json()).unwrap(),
            log: log_line(),
            metrics: families(),
        }
    }

    /// Why `name` names nothing; `None` if it does.
    fn flaw(&self, name: &str) -> Option<String> {
        let mut words = name.split_whitespace();
        let first = words.next().unwrap_or_default();
        let flaw = match first {
            "ringway" => command_flaw(words),
            "GET" | "PUT" | "POST" | "PATCH" | "DELETE" => {
                let path = words.next().unwrap_or_default();
                let operation = &self.api["paths"][path][first.to_lowercase()];
                operation.is_null().then(|| "no operation".into())
            }
            _ if first.starts_with("Target.") || first.starts_with("Elb.") => {
                let is_one = reasons().iter().any(|reason| reason.code() == first);
                (!is_one).then(|| "no reason".into())
            }
            _ if first.starts_with("ringway_") || first.starts_with("aws_") => {
                (!self.metrics.contains(name)).then(|| "no metric".into())
            }
            _ => self.path_flaw(name),
        };
        flaw.map(|flaw| format!("`{name}`: {flaw}"))
    }

    fn path_flaw(&self, name: &str) -> Option<String> {
        let (path, value) = match name.split_once(" = ") {
            Some((path, value)) => (path, Some(value)),
            None => (name, None),
        };
        if let Some(key) = path.strip_prefix("log.") {
            return self.log.get(key).is_none().then(|| "no key of the access log".into());
        }
        let (document, start, path) = match path.strip_prefix("status.") {
            Some(rest) => (&self.api, &self.api["components"]["schemas"]["Status"], rest),
            None => (&self.schema, &self.schema, path),
        };
        let mut found = vec![start];
        for key in path.split('.') {
            found = found.into_iter().flat_map(|schema| below(document, schema, key)).collect();
        }
        let Some(value) = value else {
            return found.is_empty().then(|| "no such key".into());
        };
        let Ok(value) = serde_json::from_str::<Value>(value) else {
            return Some("the value is not in quotes".into());
        };
        let takes = found.iter().any(|schema| takes(document, schema, &value));
        (!takes).then(|| "no such key, or it does not take this value".into())
    }
}

/// What a schema refers to or is made of, itself first.
fn parts<'d>(document: &'d Value, schema: &'d Value) -> Vec<&'d Value> {
    let mut found = vec![schema];
    if let Some(pointer) = schema["$ref"].as_str() {
        let target = document.pointer(pointer.trim_start_matches('#')).unwrap();
        found.extend(parts(document, target));
    }
    for list in ["anyOf", "oneOf", "allOf"] {
        for one in schema[list].as_array().into_iter().flatten() {
            found.extend(parts(document, one));
        }
    }
    if schema["items"].is_object() {
        found.extend(parts(document, &schema["items"]));
    }
    found
}

/// The schemas of `key` in `schema`.
fn below<'d>(document: &'d Value, schema: &'d Value, key: &str) -> Vec<&'d Value> {
    let parts = parts(document, schema);
    parts.into_iter().filter_map(|part| part["properties"].get(key)).collect()
}

/// Whether `schema` lists `value` among what it takes.
fn takes(document: &Value, schema: &Value, value: &Value) -> bool {
    let is_listed = |part: &Value| {
        part["const"] == *value || part["enum"].as_array().is_some_and(|all| all.contains(value))
    };
    parts(document, schema).into_iter().any(is_listed)
}

/// Words of a command line: commands, then options.
fn command_flaw<'w>(words: impl Iterator<Item = &'w str>) -> Option<String> {
    let root = Cli::command();
    let mut command = &root;
    for word in words {
        let is_known = match word.strip_prefix("--") {
            Some(option) => command.get_arguments().any(|it| it.get_long() == Some(option)),
            None => match command.find_subcommand(word) {
                Some(inner) => {
                    command = inner;
                    true
                }
                None => false,
            },
        };
        if !is_known {
            return Some(format!("no `{word}`"));
        }
    }
    (command.get_name() == root.get_name()).then(|| "which command?".into())
}

/// Every reason that there is.
fn reasons() -> [Reason; 8] {
    [
        Reason::RegistrationInProgress,
        Reason::InitialHealthChecking,
        Reason::ResponseCodeMismatch(404),
        Reason::Timeout,
        Reason::FailedHealthChecks,
        Reason::NotInUse,
        Reason::DeregistrationInProgress,
        Reason::NotRegistered,
    ]
}

/// A line in the format `json`, which has every key.
fn log_line() -> Value {
    let listener = Names::new("web", Mode::L7, ([127, 0, 0, 1], 80).into());
    let entry = Entry {
        listener: &listener,
        protocol: Protocol::Http,
        client: ([127, 0, 0, 1], 1).into(),
        local: IpAddr::V4(Ipv4Addr::LOCALHOST),
        connection: 1,
        created: Duration::ZERO,
        ended: Duration::ZERO,
        spans: Spans::default(),
        request: None,
        matched: Matched::Nothing,
        action: None,
        group: None,
        target: None,
        given_up: &[],
        status: 0,
        received: Bytes::default(),
        sent: Bytes::default(),
        trace: &[],
        location: &[],
        error: None,
        classification: None,
        tls: None,
        server_name: b"",
        refused_certificate: None,
    };
    let mut line = Vec::new();
    encode(LogFormat::Json, &entry, &mut line);
    serde_json::from_slice(&line).unwrap()
}

/// First cells of the tables of `docs/metrics.md`.
fn families() -> BTreeSet<String> {
    let text = document("metrics.md");
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.map(str::to_owned).collect()
}

/// What stands in backticks.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Cells of the tables, with their line numbers: AWS's word, and ours.
fn rows(text: &str) -> Vec<(usize, &str, &str)> {
    let mut rows = Vec::new();
    let mut in_legend = false;
    for (index, line) in text.lines().enumerate() {
        in_legend = (in_legend || line == LEGEND) && line.starts_with('|');
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let (false, ["", theirs, ours, _, ""]) = (in_legend, cells.as_slice())
            && *ours != "here"
            && !ours.starts_with("---")
        {
            rows.push((index + 1, *theirs, *ours));
        }
    }
    rows
}

fn page() -> String {
    document("from-elb.md")
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn everything_in_the_column_of_ringway_exists() {
    let (page, documents) = (page(), Documents::read());
    let rows = rows(&page);
    assert!(rows.len() > 200, "only {} rows: does the search still work?", rows.len());
    let mut flaws = Vec::new();
    for (number, theirs, ours) in rows {
        let found: Vec<&str> = names(ours).collect();
        let says_why = WORDS.contains(&ours) || ours.contains("](");
        if theirs.is_empty() || (found.is_empty() && !says_why) {
            flaws.push(format!("line {number}: says neither what it is nor that it is not"));
        }
        let of_row = found.iter().filter_map(|name| documents.flaw(name));
        flaws.extend(of_row.map(|flaw| format!("line {number}: {flaw}")));
    }
    // Elsewhere on the page, what looks like ours.
    for (index, line) in page.lines().enumerate() {
        let found = names(line).filter(|name| OURS.iter().any(|start| name.starts_with(start)));
        let flaws_here = found.filter_map(|name| documents.flaw(name));
        flaws.extend(flaws_here.map(|flaw| format!("line {}: {flaw}", index + 1)));
    }
    assert!(flaws.is_empty(), "docs/from-elb.md:\n{}", flaws.join("\n"));
}

#[test]
fn every_reason_and_every_key_of_the_log_is_on_the_page() {
    let page = page();
    let named: BTreeSet<&str> = rows(&page).iter().flat_map(|(_, _, ours)| names(ours)).collect();
    for reason in reasons() {
        assert!(named.contains(reason.code()), "{reason}");
    }
    let log = Documents::read().log;
    // Of ours alone.
    let more = ["referer", "received_body_bytes", "sent_body_bytes", "duration", "proxy_status"];
    let keys = log.as_object().unwrap().keys().filter(|key| !more.contains(&key.as_str()));
    let missing: Vec<_> =
        keys.filter(|key| !named.contains(format!("log.{key}").as_str())).collect();
    assert!(missing.is_empty(), "docs/from-elb.md does not name {missing:?}");
}

#[test]
fn every_command_line_of_the_tutorial_is_understood() {
    let text = document("tutorial.md");
    let lines: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("$ ringway ")).collect();
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        // Words are parted by spaces, but for what is in single quotes.
        let mut words = vec!["ringway"];
        for (index, part) in line.trim_end_matches('&').split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part);
            } else {
                words.extend(part.split_whitespace());
            }
        }
        if let Err(cause) = Cli::try_parse_from(words) {
            panic!("{line}: {cause}");
        }
    }
}

#[test]
fn what_does_not_exist_is_found() {
    let documents = Documents::read();
    let good = [
        "target_groups.retry",
        "target_groups.health_check.interval",
        "listeners.rules.forward.weight",
        "listeners.mode = \"l4\"",
        "status.target_groups.targets.state",
        "log.attempts",
        "ringway targets register --wait",
        "GET /v1/status",
        "Target.Timeout",
        "ringway_errors",
        "aws_elb_latency_average",
    ];
    for name in good {
        assert_eq!(documents.flaw(name), None);
    }
    let bad = [
        "target_groups.retries",
        "interval",
        "listeners.rules.forward.stickiness.seconds",
        "listeners.mode = \"l5\"",
        "listeners.mode = l4",
        "status.targets",
        "log.attempt",
        "ringway",
        "ringway target",
        "ringway targets register --hurry",
        "GET /v1/nothing",
        "DELETE /v1/status",
        "Target.Gone",
        "ringway_error",
        "aws_elb_latency",
    ];
    for name in bad {
        assert!(documents.flaw(name).is_some(), "{name}");
    }
}
