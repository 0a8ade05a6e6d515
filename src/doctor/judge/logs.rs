//! Where access logs go.

use std::path::Path;

use super::files::{ALL_BUT_READ, owner};
use crate::doctor::facts::{Facts, Kind};
use crate::doctor::finding::Finding;
use crate::model::{LogSink, Model, Rotation};

/// Where the journal listens.
pub(crate) const JOURNAL: &str = "/run/systemd/journal/socket";
/// Room below which a log file is soon cut short, in bytes.
const ROOM_MIN: u64 = 16 * 1024 * 1024;
/// Permission to write.
const WRITE: u32 = 2;

pub(super) fn judge(model: &Model, facts: &Facts) -> Vec<Finding> {
    let mut sinks: Vec<&LogSink> = Vec::new();
    for log in model.listeners.iter().filter_map(|listener| listener.access_log.as_ref()) {
        if !sinks.contains(&&log.sink) {
            sinks.push(&log.sink);
        }
    }
    let of = |sink: &&LogSink| match sink {
        LogSink::File { path, rotation } => file(path, rotation, facts),
        LogSink::Datagram(path) => socket(path, facts),
        LogSink::Journal => socket(Path::new(JOURNAL), facts),
        LogSink::Stdout => None,
    };
    sinks.iter().filter_map(of).collect()
}

fn file(path: &Path, rotation: &Rotation, facts: &Facts) -> Option<Finding> {
    let (shown, uid) = (path.display(), facts.process.uid);
    let dir = path.parent()?;
    let Some(above) = facts.paths.file(dir).filter(|file| file.kind == Kind::Directory) else {
        let what = format!("the access log {shown} has no directory");
        return Some(
            Finding::error("log-dir-missing", what)
                .why("ringway does not start where it cannot log")
                .cure(format!("install -d -m 750 -o {uid} {}    as root", dir.display()))
                .cure("LogsDirectory=ringway    in the unit of systemd does that"),
        );
    };
    let exists = facts.paths.file(path);
    let may_write = match exists {
        Some(file) => facts.process.may(file, WRITE),
        None => facts.process.may(above, ALL_BUT_READ),
    };
    if !may_write {
        let at = exists.unwrap_or(above);
        let what = format!("user id {uid} may not write the access log {shown} ({})", owner(at));
        return Some(
            Finding::error("log-not-writable", what)
                .why("ringway does not start where it cannot log")
                .cure(format!("chown {uid} {}", exists.map_or(dir, |_| path).display())),
        );
    }
    let rotates = rotation.bytes.is_some() || rotation.every.is_some();
    if rotates && !facts.process.may(above, ALL_BUT_READ) {
        let what = format!("user id {uid} may not rename files beside {shown} ({})", owner(above));
        return Some(
            Finding::warning("log-not-rotatable", what)
                .why("it is to be put aside by size or age, and grows on instead")
                .cure(format!("chown {uid} {}", dir.display())),
        );
    }
    room(dir, path, facts)
}

fn room(dir: &Path, path: &Path, facts: &Facts) -> Option<Finding> {
    let room = facts.paths.rooms.get(dir)?;
    let shown = path.display();
    (room.read_only || room.bytes < ROOM_MIN).then(|| {
        let what = match room.read_only {
            true => format!("the access log {shown} is on a file system that cannot be written"),
            false => format!("the file system of {shown} has {} bytes left", room.bytes),
        };
        Finding::error("log-disk-full", what)
            .why("lines are dropped, or clients wait, as `overflow` says")
            .cure(format!("df {0}; du -x --max-depth=2 {0} | sort -n | tail", dir.display()))
            .cure("rotate_bytes and keep    in access_log bound what it takes")
    })
}

fn socket(path: &Path, facts: &Facts) -> Option<Finding> {
    let is_there = facts.paths.file(path).is_some_and(|file| file.kind == Kind::Socket);
    (!is_there).then(|| {
        let what = format!("nobody has a socket at {}, where an access log goes", path.display());
        Finding::warning("log-socket-missing", what)
            .why("its lines are dropped until somebody listens there")
            .cure("start what reads it; for the journal: systemctl status systemd-journald")
    })
}
