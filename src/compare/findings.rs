//! What was seen: plain values, as `--json` gives them. What is not there was not measured.

use serde::Serialize;

/// A comparison, whole or as far as it came.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Findings {
    /// Version of ringway.
    pub(super) version: &'static str,
    /// Whether this program was built without optimisation, which makes every rate meaningless.
    pub(super) debug_build: bool,
    /// Whether it was ended before all was measured.
    pub(super) interrupted: bool,
    /// Seconds that it took.
    pub(super) seconds: f64,
    /// The kernel, and what io_uring it has.
    pub(super) machine: String,
    /// Processes that ran or wanted to before it began, on average over a minute.
    pub(super) load_average: Option<f64>,
    /// Cores that it could use.
    pub(super) cores: usize,
    /// What shared which core.
    pub(super) placement: String,
    /// What generated the load: `built-in`, `wrk` or `oha`.
    pub(super) tool: &'static str,
    /// Targets of the load rounds, where they were given.
    pub(super) targets: Vec<String>,
    /// Path of the requests of the load rounds.
    pub(super) path: String,
    /// Connections of the load rounds.
    pub(super) connections: usize,
    /// Requests per second of the open loop.
    pub(super) open_rate: Option<f64>,
    /// Rounds of load that were measured whole.
    pub(super) rounds: usize,
    /// What could not be measured, and why.
    pub(super) notes: Vec<String>,
    /// A way to the targets each.
    pub(super) columns: Vec<Column>,
}

/// What was seen on one way to the targets.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Column {
    /// `direct`, `l4`, `l7`, `haproxy`, `nginx`.
    pub(super) name: &'static str,
    /// Targets that the requests of one client connection reached.
    pub(super) binding: Option<Binding>,
    /// Connections opened to targets.
    pub(super) connections: Option<Connections>,
    /// The head of a request, before and after.
    pub(super) head: Option<Head>,
    /// The client's address, as the target saw it.
    pub(super) client_address: Option<ClientAddress>,
    /// Turn by turn, with one target far slower than its peers.
    pub(super) shares: Option<Shares>,
    /// The same with the algorithm that looks at what is in flight.
    pub(super) shares_least: Option<Shares>,
    /// Clients that come back.
    pub(super) stickiness: Option<Stickiness>,
    /// A target that ends under load.
    pub(super) killed: Option<Killed>,
    /// Applications behind one listener.
    pub(super) applications: Option<Applications>,
    /// A WebSocket client.
    pub(super) web_socket: Option<WebSocket>,
    /// A client of HTTP/2.
    pub(super) http2: Option<Http2>,
    /// As much as goes through.
    pub(super) peak: Option<Peak>,
    /// Latency at the same rate for all.
    pub(super) latency: Option<Latency>,
    /// What a connection that waits costs.
    pub(super) memory: Option<Memory>,
}

/// Targets that the requests of one client connection reached.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Binding {
    /// Requests that were sent on it.
    pub(super) requests: usize,
    /// Targets that answered one.
    pub(super) targets: usize,
}

/// Connections opened to targets per 1,000 requests.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Connections {
    /// Connections that the clients kept open, in all.
    pub(super) clients: usize,
    /// Where clients keep their connections.
    pub(super) kept: f64,
    /// Where each request comes on a new one.
    pub(super) anew: f64,
}

/// The head of a request, before and after.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Head {
    /// Bytes that the client sent.
    pub(super) sent_bytes: usize,
    /// Bytes that the target received.
    pub(super) received_bytes: usize,
    /// Bytes of the lines that differ, on either side.
    pub(super) changed_bytes: usize,
    /// Lines that only the target saw.
    pub(super) added: Vec<String>,
    /// Lines that only the client had.
    pub(super) removed: Vec<String>,
}

/// The client's address, as the target saw it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ClientAddress {
    /// The client's own.
    pub(super) client: String,
    /// Address of the peer of the target's socket.
    pub(super) socket: String,
    /// X-Forwarded-For.
    pub(super) forwarded_for: Option<String>,
    /// The line of the PROXY protocol, where the listener has it on.
    pub(super) proxy_protocol: Option<String>,
}

/// What each target got, with one of them far slower than its peers.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Shares {
    /// How many times as long the slow one takes.
    pub(super) times_slower: u32,
    /// Requests per target; the slow one is the last.
    pub(super) requests: Vec<u64>,
    /// Share of the slow one, 0 to 1.
    pub(super) slow_share: f64,
    /// Half of the requests were answered within so many milliseconds.
    pub(super) p50_ms: f64,
    /// 99 of 100 requests.
    pub(super) p99_ms: f64,
}

/// Clients that come back.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Stickiness {
    /// Share of returning requests that reached the client's first target, 0 to 1.
    pub(super) kept_share: f64,
    /// The same through a listener without stickiness.
    pub(super) kept_share_without: f64,
    /// What binds a client: `cookie NAME`, or `address`.
    pub(super) by: String,
    /// Clients behind one address that were asked.
    pub(super) clients: usize,
    /// Targets that these reached.
    pub(super) targets: usize,
}

/// A target that ends under load.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Killed {
    /// Requests that were answered well.
    pub(super) answered: u64,
    /// Requests that were not.
    pub(super) failed: u64,
}

/// Applications behind one listener.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Applications {
    /// Applications that were asked for, by path and by host.
    pub(super) asked: usize,
    /// Those that answered.
    pub(super) reached: Vec<String>,
}

/// A WebSocket client.
#[derive(Debug, Clone, Serialize)]
pub(super) struct WebSocket {
    /// Status of the answer to the handshake.
    pub(super) status: Option<u16>,
    /// Whether a message came back.
    pub(super) echoed: bool,
    /// The application that its path led to.
    pub(super) application: Option<String>,
}

/// A client of HTTP/2.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Http2 {
    /// One that begins with HTTP/2.
    pub(super) prior_knowledge: String,
    /// One that asks to switch to it, as RFC 7540 had it.
    pub(super) upgrade: String,
    /// Whether the first got a 200 by HTTP/2.
    pub(super) answered: bool,
    /// Whether its target was spoken to in HTTP/2.
    pub(super) reached_target: bool,
}

/// As much as goes through, with every connection busy.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Peak {
    /// Requests per second, of each round.
    pub(super) rates: Vec<f64>,
    /// Their median.
    pub(super) rate: f64,
    /// Requests that were not answered well.
    pub(super) failures: u64,
    /// Share of its core that the balancer used, 0 to 1.
    pub(super) core_share: Option<f64>,
    /// Processor time of the balancer per request, in microseconds.
    pub(super) cpu_us: Option<f64>,
    /// Requests per second in each tenth of a second, round after round.
    pub(super) series: Vec<f64>,
}

/// Latency at the same rate for all, from when a request was due.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Latency {
    /// Requests that were answered well.
    pub(super) requests: u64,
    /// Requests that were not.
    pub(super) failures: u64,
    /// Whether requests fell due at fixed times.
    pub(super) open_loop: bool,
    /// Microseconds.
    pub(super) p50_us: f64,
    /// Microseconds.
    pub(super) p90_us: f64,
    /// Microseconds.
    pub(super) p99_us: f64,
    /// Microseconds.
    pub(super) p999_us: Option<f64>,
    /// Microseconds.
    pub(super) max_us: f64,
    /// Processor time of the balancer per request, in microseconds.
    pub(super) cpu_us: Option<f64>,
    /// Quantile (0 to 1) and microseconds, for the plot.
    pub(super) curve: Vec<(f64, f64)>,
}

/// What a connection that waits costs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Memory {
    /// Connections that waited.
    pub(super) connections: usize,
    /// Bytes of the balancer per connection (PSS), sockets in the kernel not counted.
    pub(super) bytes_per_connection: f64,
}
