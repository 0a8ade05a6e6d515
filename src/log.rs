//! The log of the process on stderr: text for people, or JSON; and what a command complains of.
//!
//! Under systemd, stderr is the journal's. Then each line begins with its priority (sd-daemon(3)),
//! so that `journalctl -p warning` finds warnings, and text has neither a time of its own nor
//! colours, since the journal has both. Lines of the access log do not come here.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

pub use tracing::Level;

/// The environment variable with what is logged: a level, or directives by module. Default "info".
const FILTER: &str = "RINGWAY_LOG";
/// The environment variable with the device and inode of the journal's stream.
const JOURNAL: &str = "JOURNAL_STREAM";

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The form that the log was started in.
static STARTED: OnceLock<Form> = OnceLock::new();

/// Starts the log. Later calls change nothing.
pub fn start(form: Form) {
    if STARTED.set(form).is_err() {
        return;
    }
    let journal = is_journal(&io::stderr());
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Stderr { journal })
        .with_ansi(!journal && has_color())
        .with_target(false);
    match (form, journal) {
        (Form::Json, _) => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        }
        (Form::Text, true) => log.without_time().init(),
        (Form::Text, false) => log.init(),
    }
}

/// Writes `text`, which ends with a line feed, to stderr: as it is, or in the form that the reader
/// of the log expects, as an error or whatever else `level` says.
pub fn complain(level: Level, text: &str) {
    let journal = is_journal(&io::stderr());
    // Who cannot read it cannot be told either.
    let _ = match STARTED.get() {
        Some(Form::Json) => return note(level, text.trim_end()),
        Some(Form::Text) | None if journal => {
            io::stderr().write_all(&marked(priority(level), text.as_bytes()))
        }
        Some(Form::Text) | None => io::stderr().write_all(text.as_bytes()),
    };
}

fn note(level: Level, text: &str) {
    match level {
        Level::ERROR => tracing::error!("{text}"),
        _ => tracing::warn!("{text}"),
    }
}

/// Whether stderr is a terminal that may be coloured (<https://no-color.org>).
#[must_use]
pub fn has_color() -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    wanted && io::stderr().is_terminal()
}

/// Whether `stream` is the one that the journal reads.
fn is_journal(stream: &impl AsFd) -> bool {
    let Some(named) = std::env::var_os(JOURNAL) else { return false };
    let file = stream.as_fd().try_clone_to_owned().map(File::from);
    let found = file.and_then(|file| file.metadata());
    found.is_ok_and(|found| *named == *format!("{}:{}", found.dev(), found.ino()))
}

/// Priority of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// `text` with the priority in front of each line: the journal takes each as a message.
fn marked(priority: u8, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        out.extend([b'<', b'0' + priority, b'>']);
        out.extend(line);
    }
    out
}

/// Makes the writers of events.
struct Stderr {
    journal: bool,
}

/// Writes an event, which comes in one piece.
struct Event {
    priority: Option<u8>,
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event { priority: self.journal.then(|| priority(Level::INFO)) }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Event {
        Event { priority: self.journal.then(|| priority(*event.level())) }
    }
}

impl Write for Event {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self.priority {
            Some(priority) => io::stderr().write_all(&marked(priority, text))?,
            None => io::stderr().write_all(text)?,
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_priority() {
        assert_eq!(marked(4, b"one\n two\n"), b"<4>one\n<4> two\n");
        assert_eq!(marked(3, b"no line feed"), b"<3>no line feed");
        let of = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        assert_eq!(of.map(priority), [3, 4, 6, 7, 7]);
    }
}
