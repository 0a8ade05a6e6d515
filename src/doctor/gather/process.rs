//! Limits and privileges of one process, from `/proc`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::doctor::facts::Process;

/// The process `running`, or this one.
pub(super) fn of(running: Option<u32>) -> Process {
    // One in another name space of processes cannot be looked at.
    let running = running.filter(|pid| Path::new(&format!("/proc/{pid}/limits")).exists());
    let pid = running.unwrap_or_else(std::process::id);
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let is_running_ringway = running.is_some();
    Process { pid, is_running_ringway, ..parse(&read("status"), &read("limits")) }
}

fn parse(status: &str, limits: &str) -> Process {
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("")
    };
    // Real, effective, saved and file system id.
    let effective =
        |name| field(name).split_whitespace().nth(1).and_then(|id| id.parse().ok()).unwrap_or(0);
    let groups = field("Groups").split_whitespace().filter_map(|id| id.parse().ok()).collect();
    let hard = |name| limit(limits, name, 1);
    Process {
        uid: effective("Uid"),
        gid: effective("Gid"),
        groups,
        capabilities: u64::from_str_radix(field("CapEff").trim(), 16).unwrap_or(0),
        seccomp: field("Seccomp").trim() == "2",
        open_files: hard("Max open files"),
        locked_memory: hard("Max locked memory"),
        threads: limit(limits, "Max processes", 0),
        ..Process::default()
    }
}

/// The soft (0) or hard (1) limit in the line that begins with `name`.
fn limit(limits: &str, name: &str, which: usize) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().nth(which)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Cores' worth of time that the control groups of process `pid` grant: the least of all above it.
pub(super) fn cpu_quota(pid: u32) -> Option<f64> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let dirs: Vec<PathBuf> = root
        .join(path)
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .map(Into::into)
        .collect();
    let quotas = dirs.iter().filter_map(|dir| {
        let text = fs::read_to_string(dir.join("cpu.max")).ok()?;
        quota(&text)
    });
    quotas.min_by(f64::total_cmp)
}

/// `QUOTA PERIOD` in microseconds, or `max PERIOD`.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_limits_are_read() {
        let status = "Name:\tringway\nUid:\t0\t998\t0\t0\nGid:\t0\t997\t0\t0\nGroups:\t4 27 \n\
                      CapEff:\t0000000000000400\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let limits = "Limit    Soft Limit    Hard Limit    Units \n\
                      Max processes    96365    96366    processes \n\
                      Max open files    1024    524288    files \n\
                      Max locked memory    8388608    unlimited    bytes \n";
        let process = parse(status, limits);
        assert_eq!((process.uid, process.gid, process.groups.as_slice()), (998, 997, &[4, 27][..]));
        assert!(process.can(10) && !process.can(1) && process.seccomp);
        assert_eq!(process.open_files, Some(524_288));
        assert_eq!(process.locked_memory, Some(u64::MAX));
        assert_eq!(process.threads, Some(96_365));
    }

    #[test]
    fn quota_of_a_control_group_is_in_cores() {
        assert_eq!(quota("150000 100000\n"), Some(1.5));
        assert_eq!(quota("max 100000\n"), None);
    }
}
