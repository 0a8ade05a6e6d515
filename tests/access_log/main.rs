//! Access logs, end to end: what each request and connection leaves behind, and that lines are
//! neither lost nor broken, whatever happens to the place that they go to.
//!
//! `RINGWAY_TEST_REQUESTS` (default 20000) sets how many requests are logged at full load,
//! `RINGWAY_RELEASE_BIN` names a release build to test instead of the debug one.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "rules for workers; here a pause is the pace of a target or of a look with a deadline"
)]

mod connections;
mod endings;
mod formats;
#[path = "../harness/mod.rs"]
mod harness;
mod places;
mod requests;
mod spec;
mod volume;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use harness::*;
use tempfile::TempDir;

use spec::Alb;

/// A directory with a log.
struct Log {
    dir: TempDir,
}

impl Log {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("temporary directory") }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("access.log")
    }

    /// The line of the configuration that asks for it.
    fn key(&self, more: &str) -> String {
        format!("access_log = {{ path = \"{}\"{more} }}", self.path().display())
    }

    /// `config` with this log in this format.
    fn of(&self, config: Config, format: &str) -> Config {
        config.web(&self.key(&format!(", format = \"{format}\", overflow = \"block\"")))
    }

    /// Waits until there are `count` lines.
    fn lines(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + DEADLINE;
        loop {
            let lines = lines(&self.path());
            if lines.len() >= count {
                assert_eq!(lines.len(), count, "{lines:#?}");
                return lines;
            }
            assert!(Instant::now() < until, "{count} lines, after {DEADLINE:?}: {lines:#?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until there are `count` lines, in ALB's format.
    fn alb(&self, count: usize) -> Vec<Alb> {
        self.lines(count).iter().map(|line| alb(line)).collect()
    }

    /// Waits for the one line.
    fn one(&self) -> Alb {
        self.alb(1).remove(0)
    }
}

fn alb(line: &str) -> Alb {
    spec::alb(line).unwrap_or_else(|why| panic!("{why}"))
}

/// The whole lines of a file; none where there is no file.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8(text).expect("lines are text");
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// How many requests are logged at full load.
fn many() -> usize {
    let asked = std::env::var("RINGWAY_TEST_REQUESTS").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(20_000)
}

/// A response with this body.
fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Bytes of a response that is not chunked on the wire.
fn wire_bytes(response: &Response) -> u64 {
    let fields = response.fields.iter().map(|(name, value)| name.len() + value.len() + 4);
    let line = response.version.len() + response.reason.len() + 7;
    (line + fields.sum::<usize>() + 2 + response.body.len()) as u64
}
