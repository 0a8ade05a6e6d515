//! Configuration text for the shapes that most tests need.

use std::fmt::Write;
use std::net::SocketAddr;

use super::{Balancer, Target};

/// One target group `home`, one listener `web` that forwards to it, and what a test adds.
#[derive(Debug, Clone)]
pub struct Config {
    mode: &'static str,
    targets: Vec<SocketAddr>,
    workers: usize,
    server: String,
    home: String,
    web: String,
    more: String,
}

/// An HTTP listener in front of `targets`.
pub fn http(targets: &[&Target]) -> Config {
    Config::new("l7", targets.iter().map(|target| target.address()).collect())
}

/// A TCP listener in front of `targets`.
pub fn tcp(targets: &[&Target]) -> Config {
    Config::new("l4", targets.iter().map(|target| target.address()).collect())
}

impl Config {
    /// A listener of `mode` in front of the targets at these addresses.
    pub fn new(mode: &'static str, targets: Vec<SocketAddr>) -> Self {
        let empty = String::new;
        let (server, home, web, more) = (empty(), empty(), empty(), empty());
        Self { mode, targets, workers: 2, server, home, web, more }
    }

    /// One worker: target connections and turns are then shared by all clients.
    pub fn one_worker(self) -> Self {
        self.workers(1)
    }

    /// So many workers, whatever the number of cores.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Adds a line to `[server]`.
    pub fn server(mut self, line: &str) -> Self {
        let _ = writeln!(self.server, "{line}");
        self
    }

    /// Adds a line to the target group `home`.
    pub fn home(mut self, line: &str) -> Self {
        let _ = writeln!(self.home, "{line}");
        self
    }

    /// Adds a line to the listener `web`.
    pub fn web(mut self, line: &str) -> Self {
        let _ = writeln!(self.web, "{line}");
        self
    }

    /// Adds a rule to the listener `web`. Lines of the listener itself come before.
    pub fn rule(self, priority: u32, lines: &str) -> Self {
        self.web(&format!("[[listeners.rules]]\npriority = {priority}\n{lines}"))
    }

    /// Adds a target group.
    pub fn group(mut self, name: &str, targets: &[SocketAddr]) -> Self {
        let targets = quoted(targets);
        let group = format!("[[target_groups]]\nname = \"{name}\"\ntargets = [{targets}]");
        let _ = writeln!(self.more, "{group}\n{NO_PROBES}");
        self
    }

    /// The text.
    pub fn text(&self) -> String {
        let driver = std::env::var("RINGWAY_TEST_DRIVER").unwrap_or_else(|_| "auto".into());
        let Self { mode, targets, workers, server, home, web, more } = self;
        let targets = match home.contains("targets =") {
            true => String::new(),
            false => format!("targets = [{}]", quoted(targets)),
        };
        // Scripted targets count their connections: probes only where a test asks for them.
        let probes = if home.contains("health_check") { "" } else { NO_PROBES };
        format!(
            "[server]\nworkers = {workers}\ndriver = \"{driver}\"\n{server}\n\
             [[target_groups]]\nname = \"home\"\n{targets}\n{probes}\n{home}\n{more}\n\
             [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nmode = \"{mode}\"\n\
             default = {{ forward = \"home\" }}\n{web}"
        )
    }

    /// Starts a balancer with it.
    pub fn start(&self) -> Balancer {
        Balancer::start(&self.text())
    }
}

const NO_PROBES: &str = "health_check = { enabled = false }";

fn quoted(addresses: &[SocketAddr]) -> String {
    let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    quoted.join(", ")
}
