//! The overlay in the state directory: what was changed at run time survives any end of the
//! process.
//!
//! One file, `changes.json`, replaced as a whole: written beside, synced, renamed over the old one,
//! and the directory synced, so that after `kill -9` or a power cut there is the old file or the
//! new one, never a half. A file and not an embedded database, because there is one writer, the
//! whole is small (some hundred KiB at a thousand groups) and is needed as a whole, an operator can
//! read it, copy it and remove it, and there is no log to replay, compact or repair.
//!
//! Whoever writes holds the lock on the file `lock` beside it ([`Store`]); [`load`] only reads and
//! needs no lock. Start with [`Store::open`].

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::Overlay;

/// Name of the file that holds the changes.
pub const FILE: &str = "changes.json";
/// Name of the file that is locked by the one who writes.
pub const LOCK: &str = "lock";
/// Name of the file that is written before it takes the place of [`FILE`].
const TEMPORARY: &str = "changes.json.new";

/// Longest file that is read, in bytes: twice what a configuration file may have, for the same
/// settings take more room in JSON.
pub const FILE_BYTES_MAX: u64 = 2 * crate::config::FILE_BYTES_MAX;

/// Version of the format; a file of another one is refused.
const VERSION: u64 = 1;

/// What stands in the file beside its version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Merge patch over the keyed form of the configuration file.
    changes: Value,
    /// Entries that `changes` alters in the file, rather than adds to it.
    over_file: std::collections::BTreeSet<String>,
}

/// Why the state directory cannot be used: what, where and the cure.
#[derive(Debug)]
pub struct StoreError {
    path: PathBuf,
    kind: ErrorKind,
}

#[derive(Debug)]
enum ErrorKind {
    /// The kernel refused, doing this.
    Io(&'static str, io::Error),
    /// Another process holds the lock.
    Locked,
    /// The file does not hold changes that this program can read.
    Text(Unreadable),
}

/// Why a text is no overlay.
#[derive(Debug)]
enum Unreadable {
    /// It is not what was written.
    Corrupt(String),
    /// It has another version.
    Version(u64),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            ErrorKind::Io(doing, cause) => {
                write!(f, "cannot {doing} {path}: {cause}; {}", io_cure(cause))
            }
            ErrorKind::Locked => write!(
                f,
                "{path} is locked: another ringway uses this state directory; stop it, or give \
                 each its own `state_dir`"
            ),
            ErrorKind::Text(Unreadable::Corrupt(why)) => write!(
                f,
                "{path} is damaged: {why}; put a copy of it back, or move it away to start with \
                 the configuration file alone"
            ),
            ErrorKind::Text(Unreadable::Version(version)) => write!(
                f,
                "{path} has version {version}, this ringway knows version {VERSION}; run the \
                 ringway that wrote it, or move it away to start with the configuration file alone"
            ),
        }
    }
}

fn io_cure(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied => "let the user that runs ringway write there",
        io::ErrorKind::ReadOnlyFilesystem => "choose a `state_dir` that can be written",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room there",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "`state_dir` must be a directory"
        }
        _ => "check that `state_dir` is a directory on a disk that works",
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Io(_, cause) => Some(cause),
            ErrorKind::Locked | ErrorKind::Text(_) => None,
        }
    }
}

/// The right to write to a state directory; one process has it at a time, until it drops this,
/// [releases](Store::release) it or ends.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    lock: File,
}

impl Store {
    /// Takes the lock of `dir`, which is made with mode 0700 where it does not exist, and removes
    /// what a killed writer left behind.
    ///
    /// # Errors
    /// If another process holds the lock, or the directory cannot be used.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|cause| failed("make", dir, cause))?;
        let path = dir.join(LOCK);
        let opened =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = opened.map_err(|cause| failed("open", &path, cause))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError { path, kind: ErrorKind::Locked });
            }
            Err(TryLockError::Error(cause)) => return Err(failed("lock", &path, cause)),
        }
        let store = Self { dir: dir.to_owned(), lock };
        store.remove_temporary()?;
        Ok(store)
    }

    /// The changes that were saved last; none where none were.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(&self) -> Result<Overlay, StoreError> {
        load(&self.dir)
    }

    /// Makes `overlay` what lasts. When this returns it is on the disk; blocks meanwhile, for some
    /// milliseconds.
    ///
    /// # Errors
    /// If it cannot be written; what was saved before then still is. If only the directory could
    /// not be synced, either may last.
    pub fn save(&self, overlay: &Overlay) -> Result<(), StoreError> {
        self.remove_temporary()?;
        let (new, path) = (self.dir.join(TEMPORARY), self.dir.join(FILE));
        write(&new, &text_of(overlay)).map_err(|cause| failed("write", &new, cause))?;
        fs::rename(&new, &path).map_err(|cause| failed("replace", &path, cause))?;
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|cause| failed("sync", &self.dir, cause))
    }

    /// Gives the lock to whoever takes it next: before a process hands over to its successor.
    ///
    /// # Errors
    /// If the kernel refuses; the lock then lasts as long as the process.
    pub fn release(self) -> Result<(), StoreError> {
        self.lock.unlock().map_err(|cause| failed("unlock", &self.dir.join(LOCK), cause))
    }

    fn remove_temporary(&self) -> Result<(), StoreError> {
        let path = self.dir.join(TEMPORARY);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path, cause))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Closing alone may come too late: a program that is just being started has the
        // descriptor for a moment. If the kernel refuses, closing is what is left.
        let _ = self.lock.unlock();
    }
}

/// The changes that were saved last in `dir`; none where none were. Needs no lock: a reader sees
/// one whole file whatever a writer does.
///
/// # Errors
/// If the file cannot be read, is not what was written, or has another version. It stays as it is.
pub fn load(dir: &Path) -> Result<Overlay, StoreError> {
    let path = dir.join(FILE);
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Overlay::empty()),
        Err(cause) => return Err(failed("read", &path, cause)),
    }
    parse(&text).map_err(|why| StoreError { path, kind: ErrorKind::Text(why) })
}

/// The changes in `text`, which [`text_of`] wrote, perhaps in another version of the program.
///
/// # Errors
/// What is wrong with it, in words.
pub fn overlay_of(text: &[u8]) -> Result<Overlay, String> {
    parse(text).map_err(|why| match why {
        Unreadable::Corrupt(why) => why,
        Unreadable::Version(version) => {
            format!("version {version}, while this ringway knows version {VERSION}")
        }
    })
}

fn parse(text: &[u8]) -> Result<Overlay, Unreadable> {
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Unreadable::Corrupt(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    let corrupt = |cause: serde_json::Error| Unreadable::Corrupt(cause.to_string());
    let mut value: Value = serde_json::from_slice(text).map_err(corrupt)?;
    // The version first: what another one has beside it is not known.
    let version = value.as_object_mut().and_then(|table| table.remove("version"));
    match version.as_ref().and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(other) => return Err(Unreadable::Version(other)),
        None => return Err(Unreadable::Corrupt("it has no version".into())),
    }
    let Stored { changes, over_file } = serde_json::from_value(value).map_err(corrupt)?;
    if !changes.is_object() {
        return Err(Unreadable::Corrupt("`changes` is not an object".into()));
    }
    Ok(Overlay { patch: changes, over_file })
}

/// `overlay` as it stands in the file.
#[must_use]
pub fn text_of(overlay: &Overlay) -> String {
    let Overlay { patch, over_file } = overlay;
    let stored =
        serde_json::json!({ "version": VERSION, "changes": patch, "over_file": over_file });
    format!("{stored:#}\n")
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn failed(doing: &'static str, path: &Path, cause: io::Error) -> StoreError {
    StoreError { path: path.to_owned(), kind: ErrorKind::Io(doing, cause) }
}
