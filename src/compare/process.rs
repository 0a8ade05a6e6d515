//! What the kernel says of a process: the processor time that it used, and its memory.

use std::fs;
use std::time::Duration;

/// Processor time of all threads of a process, the kernel's on its behalf among them. Threads that
/// have ended are in the coarser figure of the whole process. Zero if there is no such process.
pub(super) fn processor_time(pid: u32) -> Duration {
    of_threads(pid).max(of_process(pid))
}

fn of_threads(pid: u32) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let texts = tasks.flatten().flat_map(|task| fs::read_to_string(task.path().join("schedstat")));
    let times = texts.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Duration::from_nanos(times.sum())
}

fn of_process(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    // A tick is a hundredth of a second for all programs, whatever the kernel's own.
    Duration::from_millis(10 * ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
}

/// Bytes of memory that a process has, its share of what it has in common with others (PSS).
pub(super) fn memory_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Processes that ran or wanted to on this machine, on average over the last minute.
pub(super) fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let own = std::process::id();
        assert!(processor_time(own) > Duration::ZERO);
        assert!(memory_bytes(own).expect("an own process") > 100 * 1024);
        assert_eq!(processor_time(u32::MAX), Duration::ZERO);
        assert_eq!(memory_bytes(u32::MAX), None);
        assert!(load_average().expect("a number") >= 0.0);
    }
}
