//! Access logs: where they go, and whether that can be.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use super::{DAY, Limits, Lowering, SECOND};
use crate::config::diagnostic::quote;
use crate::config::file::{self, Brief, Located};
use crate::config::values;
use crate::model::{ACCESS_LOGS_MAX, AccessLog, Listener, LogFormat, LogSink, Overflow, Rotation};

/// Ages of log files.
const AGES: Limits = Limits {
    min: SECOND,
    max: Duration::from_secs(366 * DAY.as_secs()),
    odd_below: Duration::from_secs(60),
};
/// How many files that were put aside are kept.
const KEEP: u32 = 7;

impl Lowering<'_, '_> {
    pub(super) fn access_log(&mut self, located: &Located<Brief<file::AccessLog>>) -> AccessLog {
        let file = &located.value.0;
        let format = match file.format.as_ref().map(|key| key.value) {
            Some(file::LogFormat::Alb) | None => LogFormat::Alb,
            Some(file::LogFormat::Classic) => LogFormat::Classic,
            Some(file::LogFormat::Combined) => LogFormat::Combined,
            Some(file::LogFormat::Json) => LogFormat::Json,
        };
        let overflow = match file.overflow.as_ref().map(|key| key.value) {
            Some(file::Overflow::Drop) | None => Overflow::Drop,
            Some(file::Overflow::Block) => Overflow::Block,
        };
        let mut sink =
            self.read(&file.path, |text| values::log_sink(text)).unwrap_or(LogSink::Stdout);
        let every = file.rotate_every.as_ref().map(|_| {
            let mut every = DAY;
            self.duration(&file.rotate_every, &AGES, &mut every);
            every
        });
        let bytes = file.rotate_bytes.as_ref().map(|key| key.value);
        let keep = file.keep.as_ref().map_or(KEEP, |key| key.value);
        let keep_at = file.keep.as_ref().map(|key| &key.at);
        let rotates = [
            file.rotate_bytes.as_ref().map(|key| &key.at),
            file.rotate_every.as_ref().map(|key| &key.at),
        ];
        match &mut sink {
            LogSink::File { path, rotation } => {
                *rotation = Rotation { bytes, every, keep };
                if let Some(at) = &file.path {
                    self.log_directory(path, &at.at);
                }
                if bytes.is_none() && every.is_none() {
                    let help = "add `rotate_bytes` or `rotate_every`, or remove the key";
                    self.without_effect("a file that is never put aside", help, [keep_at]);
                }
            }
            LogSink::Stdout | LogSink::Journal | LogSink::Datagram(_) => {
                let help = "only files are put aside; remove the key";
                let all = rotates.into_iter().chain([keep_at]);
                self.without_effect("what is no file", help, all);
            }
        }
        AccessLog { sink, format, overflow }
    }

    /// Warns where the file cannot be made or written. Only a warning: the user who checks may be
    /// another one than the user that ringway runs as.
    fn log_directory(&mut self, path: &Path, at: &Range<usize>) {
        let subject = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let problem = format!("{} is a directory", path.display());
                let help = format!("name a file in it: \"{}/access.log\"", path.display());
                self.findings.error(at, problem).help(help);
                return;
            }
            Ok(_) => path,
            Err(_) => path.parent().unwrap_or(path),
        };
        let shown = subject.display();
        match fs::metadata(subject) {
            Err(error) => {
                let problem = format!("{shown} cannot be looked at: {error}");
                let help = format!("make the directory: `install -d -o USER {shown}`");
                self.findings.warning(at, problem).help(help);
            }
            Ok(metadata) => {
                if let Some(user) = denied(&metadata) {
                    let problem = format!("user {user} may not write to {shown}");
                    let help = "let the user write there that ringway runs as";
                    self.findings.warning(at, problem).help(help);
                }
            }
        }
    }

    /// Listeners that write to one place must agree on what and how.
    pub(super) fn shared_logs(&mut self, file: &[Located<file::Listener>], lowered: &[Listener]) {
        let mut first: HashMap<String, (&AccessLog, &Range<usize>)> = HashMap::new();
        for (located, listener) in file.iter().zip(lowered) {
            let (Some(key), Some(log)) = (&located.value.access_log, &listener.access_log) else {
                continue;
            };
            match first.get(&log.sink.to_string()) {
                None => {
                    first.insert(log.sink.to_string(), (log, &located.at));
                }
                Some((other, _)) if *other == log => {}
                Some((_, at)) => {
                    let place = self.findings.name_of(at);
                    let problem =
                        format!("{} has other settings in {place}", quote(&log.sink.to_string()));
                    let help = "write the same in both, or give each its own path";
                    self.findings.error(&key.at, problem).help(help);
                }
            }
            if first.len() > ACCESS_LOGS_MAX {
                let problem = format!("more than {ACCESS_LOGS_MAX} different access logs");
                self.findings.error(&key.at, problem).help("let listeners share one");
                return;
            }
        }
    }
}

/// The user that runs this, if its mode bits keep it from writing.
fn denied(metadata: &fs::Metadata) -> Option<u32> {
    // The owner of our own entry is who we are.
    let own = fs::metadata("/proc/self").ok()?;
    let mode = metadata.permissions().mode();
    let bit = match () {
        () if own.uid() == 0 => return None,
        () if own.uid() == metadata.uid() => 0o200,
        () if own.gid() == metadata.gid() => 0o020,
        () => 0o002,
    };
    (mode & bit == 0).then_some(own.uid())
}
