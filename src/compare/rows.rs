//! Findings as people read them: a row per question, a cell per way, and what the difference
//! means. Whatever a cell says was seen; a dash is what was not.

use std::collections::BTreeSet;

use super::findings::{Column, Findings, Http2, Latency, Shares};

/// Separates the parts of a cell, each of which deserves a line of its own.
pub(super) const PARTS: &str = "; ";

/// A row of the table.
pub(super) struct Row {
    /// For anchors.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// One per column of the findings; `None` if it was not measured.
    pub(super) cells: Vec<Option<String>>,
    /// What the difference means.
    pub(super) means: &'static str,
    /// When to pick which.
    pub(super) pick: &'static str,
}

type Cell = fn(&Column) -> Option<String>;

/// Every row: anchor, title, cell, what it means, when to pick which.
const ROWS: [(&str, &str, Cell, &str, &str); 14] = [
    (
        "binding",
        "What is balanced",
        binding,
        "An L4 listener binds a whole connection to one target; an L7 listener sends each request \
         wherever it is best off.",
        "L7 where clients keep few, long connections; L4 where all bytes of a connection belong \
         together.",
    ),
    (
        "connections",
        "Connections opened to targets, per 1,000 requests",
        connections,
        "Through L4 every client connection costs a target connection. L7 keeps a few open and \
         sends the requests of many clients on them.",
        "L7 where clients come and go, or targets pay dearly for a connection (process per \
         connection, TLS).",
    ),
    (
        "head",
        "Bytes of the request head that were changed",
        head,
        "L4 passes on every byte. L7 reads the head and writes it anew: it adds what the target \
         should know and drops what concerned one connection only.",
        "L4 where bytes must arrive as they were sent; L7 where targets should be told of client, \
         protocol and trace.",
    ),
    (
        "client-address",
        "Client address that the target saw",
        client_address,
        "Behind any proxy the peer of the socket is the proxy. L7 tells the client in \
         X-Forwarded-For; L4 can only announce it in front of the first byte (PROXY protocol), \
         which the target has to understand.",
        "L7 where targets speak HTTP; L4 with the PROXY protocol where they can read it.",
    ),
    (
        "shares",
        "One of three targets 50 times slower: its share, in turn",
        shares,
        "Turn by turn, a slow target gets as much as the others, and whoever meets it waits.",
        "Round robin where targets and requests are alike.",
    ),
    (
        "shares-least",
        "The same, by what is in flight",
        shares_least,
        "By outstanding requests, L7 sees that the slow one is busy and spares it. L4 counts \
         connections, which stay where they are: clients that are bound to the slow one stay slow.",
        "L7 with least_outstanding_requests where targets or requests differ.",
    ),
    (
        "stickiness",
        "Clients that come back to their target",
        stickiness,
        "L7 marks the client with a cookie; L4 knows nothing but its address, so that all behind \
         one address (an office, a phone network) share one target.",
        "Cookies for browsers; the address for clients without cookies. Neither, where targets \
         keep no state.",
    ),
    (
        "killed",
        "Requests lost when one of three targets is killed",
        killed,
        "Through L4 the connections of a target end with it, and its clients notice. L7 still \
         holds the request and sends it to another target where that is harmless. The clients \
         here do not try again.",
        "L7 where clients should notice nothing; L4 where clients reconnect by themselves.",
    ),
    (
        "applications",
        "Applications behind one listener (three asked for)",
        applications,
        "L7 rules look at path, host and more. L4 never reads them, so a listener is one \
         application.",
        "L7 to share one address among many; an L4 listener for each application else.",
    ),
    (
        "web-socket",
        "What a WebSocket client gets",
        web_socket,
        "The handshake is an HTTP request, so L7 routes it by path and then passes bytes on. \
         L4 passes on the whole connection, to its one application.",
        "Either; L7 where the WebSocket is one path of several.",
    ),
    (
        "http2",
        "What an HTTP/2 client gets (prior knowledge; Upgrade: h2c)",
        http2,
        "L4 passes on whatever the client speaks, so HTTP/2 works as soon as the targets speak \
         it. L7 speaks it itself: over TLS with nothing to configure, without TLS where `h2c` is \
         on, as here; targets may go on with HTTP/1.1.",
        "L7, also for gRPC: its streams go to different targets. L4 where TLS or HTTP/2 must \
         reach the target untouched.",
    ),
    (
        "rate",
        "Requests per second, all connections busy",
        rate,
        "How much goes through before something is full. The share of its core that the balancer \
         used tells whether that was the balancer.",
        "Where one core of it is full: more workers, or L4.",
    ),
    (
        "cpu",
        "Processor time of the balancer per request",
        cpu,
        "L7 reads and writes heads, which L4 does not. At a low rate each request also pays for \
         waking the balancer; at a high one many share that. L4 has to open a connection for each \
         of the client's, which does not show here, where clients keep theirs.",
        "L4 where a request must cost as little as it can and needs none of the above.",
    ),
    (
        "memory",
        "Memory of the balancer per waiting connection",
        memory,
        "What thousands of idle clients cost. An L4 connection also holds one to its target for \
         all its life, and both sockets in the kernel, which is not counted.",
        "L7 where many clients wait: its targets see none of them.",
    ),
];

/// The rows of these findings.
pub(super) fn rows(findings: &Findings) -> Vec<Row> {
    let row = |(id, title, cell, means, pick): (_, _, Cell, _, _)| Row {
        id,
        title,
        cells: findings.columns.iter().map(cell).collect(),
        means,
        pick,
    };
    let mut rows: Vec<Row> = ROWS.into_iter().map(row).collect();
    let latency = (
        "latency",
        latency_title(findings),
        latency as Cell,
        "What clients wait, from when their request was due: a stall counts for every request \
         that it delayed. The far end of the curve is where users complain.",
        "Compare at the rate that you expect, which --rate sets.",
    );
    let at = rows.iter().position(|row| row.id == "memory").unwrap_or(rows.len());
    rows.insert(at, row(latency));
    rows
}

fn latency_title(findings: &Findings) -> &'static str {
    let open = findings.columns.iter().filter_map(|column| column.latency.as_ref());
    match open.into_iter().all(|latency| latency.open_loop) {
        true => "Latency at the same rate: p50 / p90 / p99 / p99.9 / max",
        false => "Latency with all connections busy: p50 / p90 / p99 / p99.9 / max",
    }
}

/// Names of the columns, for people.
pub(super) fn title(column: &Column) -> &'static str {
    match column.name {
        "l4" => "L4",
        "l7" => "L7",
        "haproxy" => "HAProxy",
        other => other,
    }
}

fn binding(column: &Column) -> Option<String> {
    let binding = column.binding.as_ref()?;
    let (requests, targets) = (binding.requests, binding.targets);
    Some(match targets {
        1 => format!("the connection: its {requests} requests met 1 target"),
        _ => format!("the request: {requests} on one connection met {targets} targets"),
    })
}

fn connections(column: &Column) -> Option<String> {
    let connections = column.connections.as_ref()?;
    let (kept, anew) = (connections.kept, connections.anew);
    let clients = connections.clients;
    Some(format!(
        "{} from {clients} clients that keep theirs; {} if each request comes on a new one",
        count(kept),
        count(anew)
    ))
}

fn head(column: &Column) -> Option<String> {
    let head = column.head.as_ref()?;
    Some(match head.changed_bytes {
        0 => format!("0 of {}", head.sent_bytes),
        changed => format!(
            "{changed}: {} lines added, {} removed; {} bytes became {}",
            head.added.len(),
            head.removed.len(),
            head.sent_bytes,
            head.received_bytes
        ),
    })
}

fn client_address(column: &Column) -> Option<String> {
    let address = column.client_address.as_ref()?;
    let mut said = Vec::new();
    if address.socket == address.client {
        said.push(format!("{}, the peer of its socket", address.client));
    } else {
        said.push(format!("socket: {}, the balancer", address.socket));
    }
    said.extend(address.forwarded_for.as_ref().map(|value| format!("X-Forwarded-For: {value}")));
    said.extend(
        address.proxy_protocol.as_ref().map(|line| format!("PROXY protocol, if on: {line}")),
    );
    Some(said.join("; "))
}

fn share(shares: &Shares) -> String {
    format!(
        "{:.0} %; p50 {}, p99 {}",
        shares.slow_share * 100.0,
        time(shares.p50_ms * 1e3),
        time(shares.p99_ms * 1e3)
    )
}

fn shares(column: &Column) -> Option<String> {
    column.shares.as_ref().map(share)
}

fn shares_least(column: &Column) -> Option<String> {
    column.shares_least.as_ref().map(share)
}

fn stickiness(column: &Column) -> Option<String> {
    let stickiness = column.stickiness.as_ref()?;
    Some(format!(
        "{:.0} % by {} ({:.0} % without); {} clients of one address: {} target{}",
        stickiness.kept_share * 100.0,
        stickiness.by,
        stickiness.kept_share_without * 100.0,
        stickiness.clients,
        stickiness.targets,
        if stickiness.targets == 1 { "" } else { "s" }
    ))
}

fn killed(column: &Column) -> Option<String> {
    let killed = column.killed.as_ref()?;
    Some(format!("{} of {}", killed.failed, killed.answered + killed.failed))
}

fn applications(column: &Column) -> Option<String> {
    let applications = column.applications.as_ref()?;
    Some(format!("{}: {}", applications.reached.len(), applications.reached.join(", ")))
}

fn web_socket(column: &Column) -> Option<String> {
    let socket = column.web_socket.as_ref()?;
    let status = socket.status.map_or_else(|| "no".into(), |status| status.to_string());
    let echoed = if socket.echoed { "message came back" } else { "no message came back" };
    let from = socket.application.as_ref().map(|name| format!(" from {name}"));
    Some(format!("{status}, {echoed}{}", from.unwrap_or_default()))
}

fn http2(column: &Column) -> Option<String> {
    let Http2 { prior_knowledge, upgrade, answered, reached_target } = column.http2.as_ref()?;
    let by = match (answered, reached_target) {
        (true, true) => " (by the target)",
        (true, false) => " (by the balancer)",
        (false, _) => "",
    };
    Some(format!("{prior_knowledge}{by}; {upgrade}"))
}

fn rate(column: &Column) -> Option<String> {
    let peak = column.peak.as_ref()?;
    let used = peak.core_share.map(|share| format!(", {:.0} % of its core", share * 100.0));
    let failures = match peak.failures {
        0 => String::new(),
        failures => format!(", {failures} failed"),
    };
    Some(format!("{}{}{failures}", count(peak.rate), used.unwrap_or_default()))
}

fn cpu(column: &Column) -> Option<String> {
    let busy = column.peak.as_ref()?.cpu_us.map(time)?;
    let open = column.latency.as_ref().filter(|latency| latency.open_loop);
    let open = open.and_then(|latency| latency.cpu_us).map(time);
    let open = open.map(|open| format!("{PARTS}{open} at the rate of the latencies"));
    Some(format!("{busy} with all connections busy{}", open.unwrap_or_default()))
}

fn latency(column: &Column) -> Option<String> {
    let Latency { p50_us, p90_us, p99_us, p999_us, max_us, failures, .. } =
        column.latency.as_ref()?;
    let p999 = p999_us.map_or_else(|| "–".into(), time);
    let failed = match failures {
        0 => String::new(),
        failures => format!(" ({failures} failed)"),
    };
    let ends = [time(*p50_us), time(*p90_us), time(*p99_us)].join(" / ");
    Some(format!("{ends} / {p999} / {}{failed}", time(*max_us)))
}

fn memory(column: &Column) -> Option<String> {
    let memory = column.memory.as_ref()?;
    let bytes = memory.bytes_per_connection.max(0.0);
    Some(format!("{} bytes ({} connections)", count(bytes), count(memory.connections as f64)))
}

/// A time of so many microseconds, with three digits.
pub(super) fn time(microseconds: f64) -> String {
    let (value, unit) = match microseconds {
        us if us < 999.5 => (us, "µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    match value {
        value if value < 9.995 => format!("{value:.2} {unit}"),
        value if value < 99.95 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

/// A whole number, its thousands apart.
pub(super) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Sentences that concern the whole: conditions first, then what could not be measured.
pub(super) fn remarks(findings: &Findings) -> Vec<String> {
    let mut remarks = Vec::new();
    if findings.debug_build {
        remarks.push(
            "WARNING: this ringway was built without optimisation. Its rates, latencies, processor \
             time and memory mean little: build with --release."
                .to_owned(),
        );
    }
    if findings.interrupted {
        remarks.push("Ended before all was measured: a dash is what is missing.".into());
    }
    let load = findings.load_average.filter(|load| *load > findings.cores as f64);
    remarks.extend(load.map(|load| {
        format!(
            "WARNING: the machine was busy before it began (load average {load:.1}, {} cores), so \
             rates and latencies are worse than they could be.",
            findings.cores
        )
    }));
    remarks.push(findings.placement.clone());
    remarks.push(match findings.targets.as_slice() {
        [] => "Built-in targets, which answer a few bytes at once.".into(),
        some => format!(
            "The load went to {} ({}); the rows for which a target has to tell what it saw, or to \
             be slow or killed, used built-in ones.",
            some.join(", "),
            findings.path
        ),
    });
    let rate =
        findings.open_rate.map(|rate| format!(", {} a second in the open loop", count(rate)));
    remarks.push(format!(
        "Load: {}, {} connections{}, {} rounds.",
        findings.tool,
        findings.connections,
        rate.unwrap_or_default(),
        findings.rounds
    ));
    if findings.tool != "built-in" {
        let first = "That tool asks one address: on the direct way, the first target only.";
        remarks.push(first.into());
    }
    let notes: BTreeSet<&String> = findings.notes.iter().collect();
    remarks.extend(notes.into_iter().map(|note| format!("Not measured: {note}")));
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let cases = [
            (0.5, "0.50 µs"),
            (12.34, "12.3 µs"),
            (999.0, "999 µs"),
            (999.6, "1.00 ms"),
            (50_100.0, "50.1 ms"),
            (2_000_000.0, "2.00 s"),
        ];
        for (microseconds, text) in cases {
            assert_eq!(time(microseconds), text);
        }
        for (value, text) in
            [(0.0, "0"), (999.0, "999"), (1000.0, "1,000"), (1234567.0, "1,234,567")]
        {
            assert_eq!(count(value), text);
        }
    }
}
