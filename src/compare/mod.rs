//! `ringway compare`: L4 against L7, side by side, on this machine.
//!
//! The same targets behind an L4 and an L7 listener, and without any; every row of the comparison
//! is done and looked at, on both ends. The balancers are processes of their own, so what each
//! costs can be told apart. Start with [`run`]; `observe.rs` has the rows, `rounds.rs` the load,
//! `findings.rs` what comes of it, `rows.rs` how it is said.

mod ask;
mod balancer;
mod cores;
mod exchange;
mod findings;
mod hold;
mod html;
mod load;
mod observe;
mod process;
mod rounds;
mod rows;
mod site;
mod stop;
mod table;
mod target;
mod tool;
mod way;

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Compare, Peer, Tool};
use crate::net::limits;
use crate::platform;

use balancer::Balancer;
use cores::Cores;
use findings::Findings;
use observe::Bench;
use rounds::{Schedule, Setting};
use site::Site;
use stop::Stop;
use target::Targets;
use way::Way;

/// How often the bar shows that time passes.
const TICK: Duration = Duration::from_millis(200);

/// Why there is nothing to report.
#[derive(Debug)]
pub struct Error {
    what: String,
    source: io::Error,
}

impl Error {
    fn new(what: impl Into<String>, source: io::Error) -> Self {
        Self { what: what.into(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Compares, and says on standard output what came of it: a table, or JSON. Ctrl-C ends the
/// measuring, not the saying. Blocks; call it on the main thread, which the balancers are bound to,
/// and which is pinned to a core.
///
/// # Errors
/// If a balancer or the targets cannot be started, a way answers nothing, or the report cannot be
/// written.
pub fn run(options: &Compare) -> Result<(), Error> {
    if let Some(path) = &options.report {
        // Better now than after a minute.
        let opened = fs::OpenOptions::new().append(true).create(true).open(path);
        opened.map_err(|source| cannot_write(path, source))?;
    }
    let stop = Stop::on_signals()?;
    let findings = measure(options, &stop)?;
    let text = match options.json {
        true => serde_json::to_string_pretty(&findings).unwrap_or_default() + "\n",
        false => table::render(&findings),
    };
    if let Some(path) = &options.report {
        fs::write(path, html::render(&findings)).map_err(|source| cannot_write(path, source))?;
    }
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|source| Error::new("cannot write to standard output", source))
}

fn cannot_write(path: &Path, source: io::Error) -> Error {
    Error::new(format!("cannot write {}", path.display()), source)
}

fn measure(options: &Compare, stop: &Stop) -> Result<Findings, Error> {
    let began = Instant::now();
    // A thousand connections per way, and as many to the targets: fewer files make a row fail.
    let _ = limits::raise_open_files();
    let cores = Cores::divide();
    // Before the cores are divided: it counts them.
    let mut findings = findings(options, &cores);
    // Threads to come inherit it, unless they choose another.
    cores.load.map(core_affinity::set_for_current);
    let dir = tempfile::tempdir().map_err(|source| Error::new("no directory", source))?;
    let targets = Targets::start(&cores)?;
    let ways = ways(options, &targets, dir.path(), &cores, stop)?;
    let bar = progress(options, ways.len());
    let bench = Bench { cores: &cores, stop, done: &|what| advance(&bar, what) };
    findings.columns = observe::observe(&ways, &bench, &mut findings.notes);
    if !stop.is_asked() {
        let setting = Setting {
            duration: options.duration,
            connections: options.connections.into(),
            path: &options.path,
            rate: options.rate.map(f64::from),
            tool: options.tool,
            cores: &cores,
            stop,
            done: &|what| advance(&bar, what),
        };
        let (rounds, rate) = rounds::run(&ways, &mut findings.columns, &setting)?;
        (findings.rounds, findings.open_rate) = (rounds, rate);
    }
    bar.finish_and_clear();
    findings.interrupted = stop.is_asked();
    findings.seconds = began.elapsed().as_secs_f64();
    Ok(findings)
}

/// What is known before anything is measured.
fn findings(options: &Compare, cores: &Cores) -> Findings {
    let lines = platform::describe();
    let machine = lines.lines().skip(1).take(2).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.join(" ")
    });
    Findings {
        version: env!("CARGO_PKG_VERSION"),
        debug_build: cfg!(debug_assertions),
        interrupted: false,
        seconds: 0.0,
        machine: machine.collect::<Vec<_>>().join("; "),
        load_average: process::load_average(),
        cores: cores.count,
        placement: cores.describe(),
        tool: match options.tool {
            Tool::BuiltIn => "built-in",
            Tool::Wrk => "wrk",
            Tool::Oha => "oha",
        },
        targets: options.targets.iter().map(ToString::to_string).collect(),
        path: options.path.clone(),
        connections: options.connections.into(),
        open_rate: None,
        rounds: 0,
        notes: Vec::new(),
        columns: Vec::new(),
    }
}

/// Opens the ways: direct, L4, L7, and the peers that were asked for.
fn ways(
    options: &Compare,
    targets: &Targets,
    dir: &Path,
    cores: &Cores,
    stop: &Stop,
) -> Result<Vec<Way>, Error> {
    let site = || Site::open(targets, &options.targets);
    let mut ways = vec![Way { name: "direct", site: site()?, balancer: None }];
    for mode in ["l4", "l7"] {
        let site = site()?;
        let balancer = Some(Balancer::ringway(&site, mode, dir, cores)?);
        ways.push(Way { name: mode, site, balancer });
    }
    for peer in &options.peer {
        let name = match peer {
            Peer::Haproxy => "haproxy",
            Peer::Nginx => "nginx",
        };
        if ways.iter().any(|way| way.name == name) {
            continue;
        }
        let site = site()?;
        let balancer = Some(Balancer::peer(*peer, &site, dir, cores, stop)?);
        ways.push(Way { name, site, balancer });
    }
    Ok(ways)
}

/// A bar on standard error; nothing where that is no terminal.
fn progress(options: &Compare, ways: usize) -> ProgressBar {
    let schedule = Schedule::of(options.duration, ways);
    let halves = if options.tool == Tool::Wrk { 1 } else { 2 };
    let steps = ways as u64 * (observe::ROWS.len() as u64 + u64::from(schedule.rounds) * halves);
    let bar = ProgressBar::new(steps);
    // The template is constant and good; another would only look different.
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

fn advance(bar: &ProgressBar, what: &str) {
    bar.inc(1);
    bar.set_message(what.to_owned());
}
