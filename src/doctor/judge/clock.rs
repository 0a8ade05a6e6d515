//! The clock.

use crate::doctor::facts::Clock;
use crate::doctor::finding::Finding;

/// 1 January 2025: this program is younger.
const SECONDS_MIN: i64 = 1_735_689_600;
/// 1 January 2100.
const SECONDS_MAX: i64 = 4_102_444_800;
/// Clock sources that are read without a system call or an exit to the hypervisor.
const FAST: &[&str] = &[
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
    "riscv_clocksource",
    "timebase",
    "tod",
];
const PATH: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

pub(super) fn judge(clock: &Clock) -> Vec<Finding> {
    [wrong(clock), slow(clock)].into_iter().flatten().collect()
}

fn wrong(clock: &Clock) -> Option<Finding> {
    (!(SECONDS_MIN..SECONDS_MAX).contains(&clock.seconds)).then(|| {
        let year = 1970 + clock.seconds.div_euclid(31_556_952);
        Finding::warning("clock-wrong", format!("the clock says the year {year}"))
            .why("Date fields, logs, leases and the life of cookies follow it")
            .cure("timedatectl set-ntp true")
            .cure("date -s 'YYYY-MM-DD hh:mm:ss'    where there is no network time")
    })
}

fn slow(clock: &Clock) -> Option<Finding> {
    let source = clock.source.as_deref().filter(|source| !source.is_empty())?;
    let better = clock.sources.iter().find(|name| FAST.contains(&name.as_str()));
    (!FAST.contains(&source)).then(|| {
        let what = format!("the kernel reads time from {source}");
        let finding = Finding::warning("clocksource-slow", what)
            .why("each look at the clock is a slow system call then, and every request takes some");
        match better {
            Some(better) => finding
                .cure(format!("echo {better} > {PATH}"))
                .cure(format!("clocksource={better}    on the kernel's command line, for ever")),
            None => {
                finding.cure("clocksource=tsc    on the kernel's command line, if it is stable")
            }
        }
    })
}
