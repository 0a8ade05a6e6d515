//! What the operator asked for in the way of access logs.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Most places that access logs go to: each has a thread.
pub const ACCESS_LOGS_MAX: usize = 64;
/// Smallest size at which a log file is put aside, in bytes: that of a batch.
pub const ROTATE_BYTES_MIN: u64 = 64 * 1024;
/// Largest size at which a log file is put aside, in bytes.
pub const ROTATE_BYTES_MAX: u64 = 1 << 40;
/// Most files that were put aside and are kept.
pub const ROTATED_FILES_MAX: u32 = 1_000;

/// Where and how requests (L4: connections) are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where lines go; listeners that name the same place share it.
    pub sink: LogSink,
    /// What a line looks like.
    pub format: LogFormat,
    /// What happens to lines for which there is no room.
    pub overflow: Overflow,
}

/// Where lines of an access log go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogSink {
    /// Appended to a file, which is made with mode 0640 where it does not exist.
    File {
        /// Its path.
        path: PathBuf,
        /// When it is put aside and another one is begun.
        rotation: Rotation,
    },
    /// Standard output.
    Stdout,
    /// The journal of systemd, one entry per line.
    Journal,
    /// A Unix datagram socket of this path, one line per datagram.
    Datagram(PathBuf),
}

impl fmt::Display for LogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Stdout => f.write_str("stdout"),
            Self::Journal => f.write_str("journal"),
            Self::Datagram(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// When a log file is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rotation {
    /// From this many bytes on; `None`: never by size.
    pub bytes: Option<u64>,
    /// At this age; `None`: never by age.
    pub every: Option<Duration>,
    /// How many files that were put aside are kept.
    pub keep: u32,
}

/// What a line of an access log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// As an Application Load Balancer; L4: its connection log.
    Alb,
    /// As a Classic Load Balancer, for both layers.
    Classic,
    /// The combined format of web servers.
    Combined,
    /// One JSON object per line, with everything that is known.
    Json,
}

/// What happens to lines for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// They are dropped and counted.
    Drop,
    /// The exchange waits until there is room.
    Block,
}
