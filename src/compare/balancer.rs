//! The balancers that are compared, each a process of its own: so its processor time and its
//! memory are its own as well.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::cli::Peer;
use crate::net::child;

use super::Error;
use super::cores::Cores;
use super::site::{Purpose, Site};
use super::stop::Stop;

/// How long a balancer may take to listen.
const START_MAX: Duration = Duration::from_secs(15);
/// How often a peer is asked whether it listens.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A running balancer; killed when dropped.
pub(super) struct Balancer {
    child: Child,
    listeners: HashMap<String, SocketAddr>,
}

impl Balancer {
    /// Starts this program as a balancer whose listeners are all in `mode`. What it needs is
    /// written to `dir`.
    ///
    /// # Errors
    /// If it does not come up; with what it said.
    pub(super) fn ringway(
        site: &Site,
        mode: &'static str,
        dir: &Path,
        cores: &Cores,
    ) -> Result<Self, Error> {
        let path = |end: &str| dir.join(format!("{mode}.{end}"));
        let failed = |source| Error::new("ringway does not start", source);
        let text = site.configuration(mode, &path("sock").display().to_string());
        fs::write(path("toml"), text).map_err(failed)?;
        // The program that runs, whatever has become of its file.
        let mut command = Command::new("/proc/self/exe");
        command.args(["run", "--config"]).arg(path("toml")).env("RINGWAY_LOG", "warn");
        let mut child = spawn(command, &path("log"), cores).map_err(failed)?;
        let (send, lines) = channel();
        let out = child.stdout.take().map(BufReader::new);
        let mut balancer = Self { child, listeners: HashMap::new() };
        thread::spawn(move || {
            // Reads on when nobody listens any more, so that the child can go on writing.
            for line in out.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let until = Instant::now() + START_MAX;
        loop {
            let line = lines.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.map_err(|error| failed(what_it_said(error, &path("log"))))?;
            let words: Vec<&str> = line.split(' ').collect();
            match *words.as_slice() {
                ["ready", ..] => return Ok(balancer),
                ["listening", name, _, address] => {
                    let address = address.parse().map_err(io::Error::other).map_err(failed)?;
                    balancer.listeners.insert(name.to_owned(), address);
                }
                _ => {}
            }
        }
    }

    /// Starts another program in its HTTP mode.
    ///
    /// # Errors
    /// If it does not come up; with what it said.
    pub(super) fn peer(
        peer: Peer,
        site: &Site,
        dir: &Path,
        cores: &Cores,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let (program, template) = match peer {
            Peer::Haproxy => ("haproxy", include_str!("peer/haproxy.cfg")),
            Peer::Nginx => ("nginx", include_str!("peer/nginx.conf")),
        };
        let failed = |source| Error::new(format!("{program} does not start"), source);
        let (config, log) = (dir.join(format!("{program}.conf")), dir.join(program));
        let listeners = free_addresses(template).map_err(failed)?;
        let text = filled(template, peer, site, &listeners, dir);
        fs::write(&config, text).map_err(failed)?;
        let mut command = Command::new(program);
        match peer {
            Peer::Haproxy => command.arg("-db").arg("-f"),
            Peer::Nginx => command.arg("-p").arg(dir).args(["-e", "stderr", "-c"]),
        };
        command.arg(config);
        let child = spawn(command, &log, cores).map_err(failed)?;
        let mut balancer = Self { child, listeners };
        let until = Instant::now() + START_MAX;
        for address in balancer.listeners.values() {
            while TcpStream::connect(address).is_err() {
                let ended = balancer.child.try_wait().map_err(failed)?.is_some();
                if ended || Instant::now() > until || stop.is_asked() {
                    return Err(failed(what_it_said(RecvTimeoutError::Timeout, &log)));
                }
                stop.wait(ASK_EVERY);
            }
        }
        Ok(balancer)
    }

    /// Process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where the listener for this purpose is.
    pub(super) fn address(&self, purpose: Purpose) -> Option<SocketAddr> {
        self.listeners.get(purpose.name()).copied()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(mut command: Command, log: &Path, cores: &Cores) -> io::Result<Child> {
    // A group of its own: Ctrl-C at the terminal is for us alone.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(File::create(log)?);
    child::confine(&mut command, cores.balancer.map(|core| core.id));
    command.spawn()
}

fn what_it_said(error: RecvTimeoutError, log: &Path) -> io::Error {
    let said = fs::read_to_string(log).unwrap_or_default();
    match (said.trim(), error) {
        ("", RecvTimeoutError::Timeout) => io::Error::other("it says nothing"),
        ("", RecvTimeoutError::Disconnected) => io::Error::other("it ended"),
        (said, _) => io::Error::other(said.to_owned()),
    }
}

/// An address that is free at the moment, for each listener that the template has.
fn free_addresses(template: &str) -> io::Result<HashMap<String, SocketAddr>> {
    let names = Purpose::ALL.iter().map(|purpose| purpose.name());
    let names = names.filter(|name| template.contains(&format!("{{{name}}}")));
    // All open at once: else the kernel may choose one twice.
    let open = names.map(|name| Ok((name, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)));
    let open = open.collect::<io::Result<Vec<_>>>()?;
    open.iter().map(|(name, open)| Ok(((*name).to_owned(), open.local_addr()?))).collect()
}

/// A peer's configuration, with addresses in place of names.
fn filled(
    template: &str,
    peer: Peer,
    site: &Site,
    listeners: &HashMap<String, SocketAddr>,
    dir: &Path,
) -> String {
    let mut text = template.replace("{dir}", &dir.display().to_string());
    for (name, address) in listeners {
        text = text.replace(&format!("{{{name}}}"), &address.to_string());
    }
    for (name, targets) in site.groups() {
        let lines: Vec<String> = targets.iter().map(|target| server(peer, target)).collect();
        text = text.replace(&format!("{{servers-{name}}}"), &lines.join("\n    "));
    }
    text
}

fn server(peer: Peer, target: &SocketAddr) -> String {
    match peer {
        Peer::Haproxy => format!("server t{} {target}", target.port()),
        Peer::Nginx => format!("server {target};"),
    }
}
