//! Access logs of listeners.

use schemars::JsonSchema;
use serde::Deserialize;

use super::form::{DurationText, Key};
use crate::model::{ROTATE_BYTES_MAX, ROTATE_BYTES_MIN, ROTATED_FILES_MAX};

/// Where a line goes for each request, for each connection of mode l4.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AccessLog {
    /// Absolute path of a file, made with mode 0640 and opened anew on SIGUSR1; "journal";
    /// "stdout"; or "unix:" and the path of a datagram socket, which gets a line per datagram.
    /// Listeners that name the same place share it. Required.
    #[schemars(required, extend("examples" = ["/var/log/ringway/access.log", "journal"]))]
    pub(in crate::config) path: Key<String>,
    /// What a line looks like. Default "alb".
    pub(in crate::config) format: Key<LogFormat>,
    /// What happens to lines when the place does not keep up. Default "drop".
    pub(in crate::config) overflow: Key<Overflow>,
    /// Size in bytes from which on a file is put aside, 65536 to 1099511627776. Default: none.
    #[schemars(range(min = ROTATE_BYTES_MIN, max = ROTATE_BYTES_MAX))]
    #[schemars(extend("examples" = [104_857_600]))]
    pub(in crate::config) rotate_bytes: Key<u64>,
    /// Age at which a file is put aside, 1s to 8784h, in spans that are counted from 1970 in UTC:
    /// "24h" is at midnight. Default: none.
    #[schemars(extend("examples" = ["24h"]))]
    pub(in crate::config) rotate_every: Key<DurationText>,
    /// How many files that were put aside are kept, as .1, .2 and so on, 1 to 1000. Default 7.
    #[schemars(range(min = 1, max = ROTATED_FILES_MAX))]
    pub(in crate::config) keep: Key<u32>,
}

/// What a line of an access log looks like.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum LogFormat {
    /// As the access log of AWS ALB; mode l4: as its connection log.
    Alb,
    /// As the access log of AWS Classic ELB, for both modes.
    Classic,
    /// The combined format of web servers.
    Combined,
    /// One JSON object per line, with everything that is known.
    Json,
}

/// What happens to lines when the place does not keep up.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Overflow {
    /// They are dropped and counted.
    Drop,
    /// Connections wait, and no line is lost.
    Block,
}
