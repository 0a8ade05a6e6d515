//! The program under test as a child process, killed when dropped.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::{Client, DEADLINE};

/// A `ringway` process.
pub struct Ringway {
    child: Child,
    lines: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    collector: Option<JoinHandle<()>>,
}

impl Ringway {
    /// Starts `ringway` with these arguments.
    pub fn spawn(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments);
        Self::spawn_as(command)
    }

    /// Starts `command`, which is or becomes `ringway`.
    pub fn spawn_as(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start ringway");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|l| send.send(l)));
        let stderr = Arc::new(Mutex::new(String::new()));
        let (pipe, log) = (child.stderr.take().expect("piped"), Arc::clone(&stderr));
        let collector = Some(thread::spawn(move || collect(pipe, &log)));
        Self { child, lines, stderr, collector }
    }

    /// Runs `ringway` to its end.
    pub fn output(arguments: &[&str]) -> Output {
        let mut process = Self::spawn(arguments);
        let mut stdout = String::new();
        while let Some(line) = process.line() {
            stdout += &line;
            stdout.push('\n');
        }
        let status = process.wait(DEADLINE);
        let stderr = process.stderr().into_bytes();
        Output { status, stdout: stdout.into_bytes(), stderr }
    }

    /// The next line on stdout; `None` at its end.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("ringway says nothing; {}", self.stderr()),
        }
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        shell(&format!("kill -{name} {}", self.id()));
    }

    /// Waits for the end of the process: its stdout ends with it. Then all that it wrote to stderr
    /// is known.
    pub fn wait(&mut self, longest: Duration) -> ExitStatus {
        let until = Instant::now() + longest;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("ringway runs on; {}", self.stderr()),
            }
        }
        // Its end is not yet the end of what it wrote; who has its stdout has its stderr, too.
        self.collector.take().map(JoinHandle::join);
        self.child.wait().expect("wait")
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }
}

/// The program under test: the one that cargo built along with the tests, or the release build that
/// `RINGWAY_RELEASE_BIN` names.
pub fn binary() -> String {
    std::env::var("RINGWAY_RELEASE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_ringway").into())
}

fn collect(mut pipe: impl Read, log: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..count]);
        log.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
    }
}

impl Drop for Ringway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("stderr of ringway:\n{}", self.stderr());
        }
    }
}

/// What the log says of a reload.
const IN_FORCE: &str = "configuration in force";
const REFUSED: &str = "change refused";

/// A running balancer.
pub struct Balancer {
    process: Ringway,
    addresses: HashMap<String, SocketAddr>,
    ready: String,
    config: NamedTempFile,
}

impl Balancer {
    /// Starts `ringway run` with this configuration and waits until it is ready.
    pub fn start(config: &str) -> Self {
        Self::start_as(config, Command::new(binary()))
    }

    /// The same by `command`, which is or becomes `ringway` and gets the arguments.
    pub fn start_as(config: &str, mut command: Command) -> Self {
        let mut file = NamedTempFile::new().expect("temporary file");
        file.write_all(config.as_bytes()).expect("write config");
        let path = file.path().to_str().expect("UTF-8 path");
        command.args(["run", "--config", path]);
        let mut process = Ringway::spawn_as(command);
        let mut addresses = HashMap::new();
        let ready = loop {
            let Some(line) = process.line() else {
                let status = process.wait(DEADLINE);
                panic!("ringway ended, {status}: {}\nconfig:\n{config}", process.stderr());
            };
            if line.starts_with("ready ") {
                break line;
            }
            let words: Vec<&str> = line.split(' ').collect();
            let &["listening", name, _mode, address] = words.as_slice() else {
                panic!("line on stdout: {line:?}");
            };
            addresses.insert(name.to_owned(), address.parse().expect("address of a listener"));
        };
        Self { process, addresses, ready, config: file }
    }

    /// Address of the listener called `name`.
    pub fn address(&self, name: &str) -> SocketAddr {
        self.addresses[name]
    }

    /// Port of the listener `web`.
    pub fn port(&self) -> u16 {
        self.address("web").port()
    }

    /// A new connection to the listener `web`.
    pub fn client(&self) -> Client {
        Client::connect(self.address("web"))
    }

    /// The line that said it is ready.
    pub fn ready_line(&self) -> &str {
        &self.ready
    }

    /// The process.
    pub fn process(&mut self) -> &mut Ringway {
        &mut self.process
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.process.wait(DEADLINE)
    }

    /// Overwrites the configuration file; a signal is still to follow.
    pub fn rewrite(&self, config: &str) {
        std::fs::write(self.config.path(), config).expect("write config");
    }

    /// Path of the configuration file.
    pub fn config_path(&self) -> &str {
        self.config.path().to_str().expect("UTF-8 path")
    }

    /// Reloads with another configuration and waits until it is in force.
    pub fn reload(&self, config: &str) {
        let (good, bad) = self.reload_with(config);
        assert_eq!((good, bad), (1, 0), "{}", self.log());
    }

    /// Reloads with a configuration that has to be refused.
    pub fn reload_refused(&self, config: &str) {
        let (good, bad) = self.reload_with(config);
        assert_eq!((good, bad), (0, 1), "{}", self.log());
    }

    /// Reloads; how many were accepted and refused meanwhile.
    fn reload_with(&self, config: &str) -> (usize, usize) {
        let count = || (self.log_count(&[IN_FORCE]), self.log_count(&[REFUSED]));
        let before = count();
        self.rewrite(config);
        self.signal("HUP");
        self.wait("a reload to end", || count() != before);
        let after = count();
        (after.0 - before.0, after.1 - before.1)
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Number of log lines so far that hold each of `words`.
    pub fn log_count(&self, words: &[&str]) -> usize {
        let log = self.log();
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Waits for a log line that holds each of `words`.
    pub fn wait_log(&self, words: &[&str]) {
        self.wait_log_count(words, 1);
    }

    /// Waits for `count` such lines.
    pub fn wait_log_count(&self, words: &[&str], count: usize) {
        self.wait(&format!("{count} log lines with {words:?}"), || self.log_count(words) >= count);
    }

    /// Waits until `holds`; panics with the log after the deadline.
    pub fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + DEADLINE;
        while !holds() {
            assert!(Instant::now() < until, "waited for {what}; log:\n{}", self.log());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Number of files that the process has open.
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(path).expect("its files").count()
    }

    /// Memory that only this process uses plus its part of what it shares (PSS), in bytes.
    pub fn memory(&self) -> usize {
        let path = format!("/proc/{}/smaps_rollup", self.process.id());
        let text = std::fs::read_to_string(path).expect("smaps_rollup");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("Pss");
        let kib = line.trim().trim_end_matches(" kB").trim().parse::<usize>().expect("number");
        kib * 1024
    }
}

/// Runs a line of shell.
pub fn shell(line: &str) {
    let status = Command::new("sh").args(["-c", line]).status().expect("sh");
    assert!(status.success(), "{line}: {status}");
}
