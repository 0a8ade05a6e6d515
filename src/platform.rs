//! What this machine offers, for `ringway version`.

use std::fmt::Write;

use crate::model::Driver;
use crate::net::ring::{self, Engine};

/// Version, kernel, and whether io_uring is usable and with which features.
#[must_use]
pub fn describe() -> String {
    let mut out = format!("ringway {}\n", env!("CARGO_PKG_VERSION"));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    let kernel = kernel.map_or_else(|_| "unknown".into(), |text| text.trim().to_owned());
    let cores = core_affinity::get_core_ids().map_or(0, |cores| cores.len());
    // Writing to a string does not fail.
    let _ = writeln!(out, "kernel    Linux {kernel}, {cores} cores usable");
    let _ = match ring::probe(Driver::Auto) {
        Ok((Engine::IoUring { flags, entries }, _)) => {
            writeln!(out, "io_uring  usable, rings of {entries} entries, {}", flags.name())
        }
        Ok((Engine::Epoll, Some(unusable))) => writeln!(out, "io_uring  not usable: {unusable}"),
        Ok((Engine::Epoll, None)) | Err(_) => writeln!(out, "io_uring  not usable"),
    };
    let features = [
        ("accept", "readiness + accept4 in batches, one SO_REUSEPORT socket per worker"),
        ("splice", "readiness + splice(2) through pooled pipes"),
    ];
    for (name, what) in features {
        let _ = writeln!(out, "{name:<9} {what}");
    }
    out
}
