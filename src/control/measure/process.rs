//! The process as the kernel sees it.

use std::fs;

use crate::exposition::Process;

/// Ticks per second in `/proc`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// This process.
pub(super) fn read() -> Process {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let process = parse(&text("/proc/self/stat"), &text("/proc/self/status"), &text("/proc/stat"));
    Process {
        open_files: open_files(),
        open_files_max: limit(&text("/proc/self/limits")),
        ..process
    }
}

fn parse(stat: &str, status: &str, system: &str) -> Process {
    // The name in parentheses may hold anything; fields are counted from behind it, from 3.
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let booted = system.lines().find_map(|line| line.strip_prefix("btime "));
    let booted = booted.and_then(|seconds| seconds.trim().parse::<f64>().ok());
    Process {
        cpu_seconds: ticks(14)
            .zip(ticks(15))
            .map(|(user, system)| (user + system) / TICKS_PER_SECOND),
        started: booted.zip(ticks(22)).map(|(booted, at)| booted + at / TICKS_PER_SECOND),
        resident_bytes: kib("VmRSS").map(|kib| kib * 1024),
        virtual_bytes: kib("VmSize").map(|kib| kib * 1024),
        threads: kib("Threads"),
        ..Process::default()
    }
}

/// Number of open files: since Linux 6.2 the size of the directory, else counted.
fn open_files() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64),
        count => Some(count),
    }
}

fn limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 5 0 1000 1 2 3";
        let status = "Name:\ta\nVmSize:\t  2048 kB\nVmRSS:\t    1024 kB\nThreads:\t5\n";
        let process = parse(stat, status, "cpu 1 2\nbtime 1700000000\n");
        assert_eq!(process.cpu_seconds, Some(3.0));
        assert_eq!(process.started, Some(1_700_000_010.0));
        assert_eq!((process.resident_bytes, process.threads), (Some(1 << 20), Some(5)));
        assert_eq!(limit("Max open files    1024    4096    files\n"), Some(1024));
    }

    #[test]
    fn this_process_has_it_all() {
        let process = read();
        assert!(process.cpu_seconds.is_some() && process.started.is_some(), "{process:?}");
        assert!(process.open_files.is_some_and(|files| files > 2), "{process:?}");
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{process:?}");
    }
}
