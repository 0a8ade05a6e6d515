//! What the operator asked for in the way of access logs.

use std::path::PathBuf;
use std::time::Duration;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSink {
    /// Appended to a file, which is made with mode 0640 where it does not exist.
    File {
        /// Its path.
        path: PathBuf,
        /// When it is put aside and another one is begun.
        rotation: Rotation,
    },
    /// Standard output, which systemd passes to the journal.
    Stdout,
    /// A Unix datagram socket of this path, one line per datagram.
    Datagram(PathBuf),
}

/// When a log file is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
