//! Files and directories that the configuration names.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::doctor::facts::{File, Kind, Paths};
use crate::doctor::judge::JOURNAL;
use crate::model::{LogSink, Model};
use crate::net::limits;
use crate::overlay::store;
use crate::stickiness::keys;

/// What there is of what `model` and the file `config` name.
pub(super) fn of(model: &Model, config: &Path) -> Paths {
    let mut paths = Paths { config: config.into(), ..Paths::default() };
    paths.look_at(config);
    let control = &model.server.control;
    if let Some(socket) = &control.socket {
        paths.look_at(socket);
    }
    if let Some(token) = &control.token_file {
        paths.look_at(token);
        paths.token = Some(first_line(token));
    }
    for log in model.listeners.iter().filter_map(|listener| listener.access_log.as_ref()) {
        match &log.sink {
            LogSink::File { path, .. } | LogSink::Datagram(path) => paths.look_at(path),
            LogSink::Journal => paths.look_at(Path::new(JOURNAL)),
            LogSink::Stdout => {}
        }
    }
    if let Some(dir) = &model.server.state_dir {
        for path in [dir.clone(), dir.join(keys::KEY_FILE), dir.join(store::FILE)] {
            paths.look_at(&path);
        }
        paths.lock_holder = lock_holder(&dir.join(store::LOCK));
        paths.store = store::load(dir).err().map(|error| error.to_string());
    }
    paths
}

/// The process that has locked the file at `path`.
fn lock_holder(path: &Path) -> Option<u32> {
    let inode = fs::metadata(path).ok()?.ino();
    holder_of(inode, &fs::read_to_string("/proc/locks").ok()?)
}

/// Lines are `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END`. The numbers of the device
/// are those of the file system, which `stat` does not always tell, so the inode alone counts.
fn holder_of(inode: u64, locks: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let &[_, "FLOCK", _, "WRITE", pid, place, ..] = columns.as_slice() else { return None };
        let (_, number) = place.rsplit_once(':')?;
        (number.parse() == Ok(inode)).then(|| pid.parse().ok())?
    })
}

fn first_line(path: &Path) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|cause| cause.to_string())?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

impl Paths {
    /// Notes `path` and all above it.
    fn look_at(&mut self, path: &Path) {
        let above = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        for path in std::iter::once(path).chain(above.into_iter().flat_map(Path::ancestors)) {
            let Ok(metadata) = fs::metadata(path) else { continue };
            let file = describe(&metadata);
            if file.kind == Kind::Directory
                && let Ok(room) = limits::room(path)
            {
                self.rooms.insert(PathBuf::from(path), room);
            }
            self.files.insert(path.into(), file);
        }
    }
}

fn describe(metadata: &Metadata) -> File {
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_dir() => Kind::Directory,
        () if kind.is_file() => Kind::File,
        () if kind.is_socket() => Kind::Socket,
        () => Kind::Other,
    };
    let (uid, gid) = (metadata.uid(), metadata.gid());
    File { kind, mode: metadata.mode() & 0o7777, uid, gid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holder_of_a_lock_is_found() {
        let locks = "1: POSIX  ADVISORY  WRITE 700 fd:01:4242 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 812 fd:01:4242 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 900 fd:01:4242 0 EOF\n";
        assert_eq!(holder_of(4242, locks), Some(812));
        assert_eq!(holder_of(4243, locks), None);
    }
}
