//! The keys of stickiness cookies, kept in a file of the state directory.
//!
//! The one place in `stickiness` that does I/O, for the control thread and the command line only.
//! The file is text, mode 0600, and always whole: it is written under another name, flushed to the
//! disk, and only then put in place. Who creates it first wins; who rotates it replaces it. Without
//! a state directory keys last as long as the process ([`in_memory`]).
//!
//! ```text
//! ringway stickiness keys, version 1
//! current 000102..1f
//! previous 202122..3f
//! ```

mod error;
mod text;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use super::seal::{Key, Keys};
pub use error::KeyError;

use super::seal::KEY_BYTES;

/// Name of the key file in the state directory.
pub const KEY_FILE: &str = "stickiness.key";
/// Longest key file that is read, in bytes; ours have less than 512, the rest is for comments.
pub const KEY_FILE_BYTES_MAX: usize = 4096;

/// Bytes of a key, wiped when dropped.
type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// What the key file holds.
struct Secrets {
    current: Secret,
    previous: Option<Secret>,
}

/// Reads the key file in the directory `dir`, or creates it with a new key. Of several processes
/// that create it at once all get the same key.
///
/// # Errors
/// The file can be read by others than its owner, is not ours, or cannot be read or created;
/// `dir` itself is not created. Random numbers are not to be had.
pub fn load_or_create(dir: &Path) -> Result<Keys, KeyError> {
    let path = dir.join(KEY_FILE);
    if let Some(file) = open(&path)? {
        return Ok(read(&file, &path)?.keys());
    }
    let secrets = Secrets { current: random()?, previous: None };
    let draft = Draft::write(dir, &secrets)?;
    // Unlike a rename, a link never replaces what another process has put there meanwhile.
    match fs::hard_link(&draft.0, &path) {
        Ok(()) => {
            drop(draft);
            sync(dir)?;
            Ok(secrets.keys())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let file = File::open(&path).map_err(|error| KeyError::io("open", &path, error))?;
            Ok(read(&file, &path)?.keys())
        }
        Err(error) => Err(KeyError::io("create", &path, error)),
    }
}

/// Makes a new current key in the key file of `dir` and keeps the one before as the previous.
/// Cookies of that one are accepted until the next rotation, so rotations are to be further apart
/// than the longest duration of stickiness. Running processes have to load the file again.
///
/// # Errors
/// As [`load_or_create`]; and another process is rotating the file.
pub fn rotate(dir: &Path) -> Result<Keys, KeyError> {
    load_or_create(dir)?;
    let path = dir.join(KEY_FILE);
    let file = File::open(&path).map_err(|error| KeyError::io("open", &path, error))?;
    // The lock goes with the process, so a crash leaves none; but it is one of the file that was
    // opened, which another rotation may have replaced since.
    match file.try_lock() {
        Ok(()) if is_in_place(&file, &path) => {}
        Ok(()) | Err(TryLockError::WouldBlock) => return Err(KeyError::Rotating { path }),
        Err(TryLockError::Error(error)) => return Err(KeyError::io("lock", &path, error)),
    }
    let secrets = read(&file, &path)?.rotated()?;
    let draft = Draft::write(dir, &secrets)?;
    fs::rename(&draft.0, &path).map_err(|error| KeyError::io("replace", &path, error))?;
    sync(dir)?;
    Ok(secrets.keys())
}

/// A new key that is kept nowhere: clients are sticky until the process ends.
///
/// # Errors
/// Random numbers are not to be had.
pub fn in_memory() -> Result<Keys, KeyError> {
    Ok(Secrets { current: random()?, previous: None }.keys())
}

/// As [`rotate`], for keys that are kept nowhere.
///
/// # Errors
/// Random numbers are not to be had.
pub fn rotate_in_memory(keys: &Keys) -> Result<Keys, KeyError> {
    Ok(Keys { current: Key::new(&*random()?), previous: Some(keys.current.clone()) })
}

impl Secrets {
    fn keys(&self) -> Keys {
        let previous = self.previous.as_deref().map(Key::new);
        Keys { current: Key::new(&self.current), previous }
    }

    fn rotated(self) -> Result<Self, KeyError> {
        Ok(Self { current: random()?, previous: Some(self.current) })
    }
}

/// Random bytes from the operating system.
fn random() -> Result<Secret, KeyError> {
    let mut bytes = Secret::default();
    getrandom::fill(&mut *bytes).map_err(KeyError::Random)?;
    Ok(bytes)
}

/// Opens the key file; `None` if there is none.
fn open(path: &Path) -> Result<Option<File>, KeyError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KeyError::io("open", path, error)),
    }
}

fn read(file: &File, path: &Path) -> Result<Secrets, KeyError> {
    let failed = |error| KeyError::io("read", path, error);
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.into(), mode });
    }
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * KEY_FILE_BYTES_MAX));
    file.take(KEY_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    text::read(&bytes).map_err(|problem| KeyError::Malformed { path: path.into(), problem })
}

/// Whether `path` still names the file that was opened.
fn is_in_place(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(opened), Ok(named)) => (opened.dev(), opened.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Makes the names in `dir` as they are now outlast a crash.
fn sync(dir: &Path) -> Result<(), KeyError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| KeyError::io("flush", dir, error))
}

/// A whole key file under a name of its own; that name goes when this is dropped.
struct Draft(PathBuf);

impl Draft {
    fn write(dir: &Path, secrets: &Secrets) -> Result<Self, KeyError> {
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(KeyError::Random)?;
        let path = dir.join(format!(".{KEY_FILE}.{:016x}", u64::from_ne_bytes(suffix)));
        let failed = |error| KeyError::io("create", &path, error);
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let draft = Self(path.clone());
        file.write_all(&text::write(secrets)).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; a name that stays does no harm.
        drop(fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests;
