//! Why there are no keys, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why there are no keys. Shows the cure, never a part of the file.
#[derive(Debug)]
pub enum KeyError {
    /// Others than the owner may read or write the key file.
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file is not one, or of a version that this program does not know.
    Malformed {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another process is rotating the key file.
    Rotating {
        /// The key file.
        path: PathBuf,
    },
    /// The operating system refused something.
    Io {
        /// What could not be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system gives no random numbers.
    Random(getrandom::Error),
}

impl KeyError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exposed { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "others may use the stickiness keys in {path} (mode {mode:04o}): \
                     run `chmod 600 {path}`, or remove the file to have new keys made \
                     (clients then choose targets anew)"
                )
            }
            Self::Malformed { path, problem } => {
                let path = path.display();
                write!(
                    f,
                    "{path} is no file of stickiness keys: {problem}; restore it, or remove it to \
                     have new keys made (clients then choose targets anew)"
                )
            }
            Self::Rotating { path } => {
                write!(f, "the stickiness keys in {} are being rotated already", path.display())
            }
            Self::Io { action, path, source } => write!(
                f,
                "cannot {action} {}: {source}; the state directory must exist and belong to the \
                 user that runs ringway",
                path.display()
            ),
            Self::Random(source) => {
                write!(
                    f,
                    "cannot make a stickiness key: no random numbers from the system: {source}"
                )
            }
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Exposed { .. } | Self::Malformed { .. } | Self::Rotating { .. } => None,
            // Is an error only with a feature that nothing else needs; its text is shown above.
            Self::Random(_) => None,
        }
    }
}
