//! The kernel and its io_uring.

use crate::doctor::facts::{CAP_SYS_ADMIN, Facts};
use crate::doctor::finding::Finding;
use crate::model::{Driver, Model};
use crate::net::ring::{Engine, Flags};

/// Oldest kernel with all that is used on the way to a fast ring.
const KERNEL_MIN: (u32, u32) = (5, 19);
/// Entries of a ring where nothing limits it.
const ENTRIES_USUAL: u32 = 4096;

const SYSCALLS: &str = "io_uring_setup io_uring_enter io_uring_register";

pub(super) fn judge(model: &Model, facts: &Facts) -> Vec<Finding> {
    let driver = model.server.driver;
    let mut findings: Vec<Finding> = match (driver, facts.uring.engine) {
        (Driver::Epoll, Ok(Engine::IoUring { .. })) => vec![by_choice()],
        (Driver::Epoll, _) => Vec::new(),
        (Driver::Auto | Driver::IoUring, Ok(engine)) => slower(facts, engine),
        (Driver::Auto | Driver::IoUring, Err(errno)) => vec![unusable(driver, facts, errno)],
    };
    findings.extend(too_old(facts).filter(|_| driver != Driver::Epoll));
    findings.extend(not_in_use(driver, facts));
    findings
}

fn by_choice() -> Finding {
    Finding::note("driver-epoll", "io_uring works here, and the configuration asks for epoll")
        .why("io_uring serves more requests with the same cores")
        .cure("driver = \"auto\"    in [server]")
}

/// First two numbers of a kernel release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn too_old(facts: &Facts) -> Option<Finding> {
    let version = version(&facts.kernel).filter(|version| *version < KERNEL_MIN)?;
    let what = format!("Linux {}.{} is older than {}.{}", version.0, version.1, 5, 19);
    Some(
        Finding::warning("kernel-old", what)
            .why("io_uring lacks what makes it fast there, or is missing; epoll is used instead")
            .cure("install a newer kernel: Debian 12 has 6.1"),
    )
}

fn slower(facts: &Facts, engine: Engine) -> Vec<Finding> {
    let Engine::IoUring { flags, entries } = engine else { return Vec::new() };
    let mut findings = Vec::new();
    if flags != Flags::Defer {
        let what = format!("rings run with {}, not SINGLE_ISSUER|DEFER_TASKRUN", flags.name());
        findings.push(
            Finding::warning("io-uring-flags", what)
                .why("completions interrupt the workers; idle connections hold more memory")
                .cure("install Linux 6.1 or later"),
        );
    }
    if entries < ENTRIES_USUAL {
        let what = format!("rings have {entries} entries, not {ENTRIES_USUAL}");
        findings.push(memory(
            Finding::warning("io-uring-small", what)
                .why(format!("{}, so that bursts need more system calls", lockable(facts))),
        ));
    }
    findings
}

fn lockable(facts: &Facts) -> String {
    match facts.process.locked_memory {
        None | Some(u64::MAX) => "little memory may be locked".into(),
        Some(bytes) => format!("only {} KiB of memory may be locked", bytes / 1024),
    }
}

fn memory(finding: Finding) -> Finding {
    finding.cure("LimitMEMLOCK=64M    in the unit of systemd").cure("ulimit -l 65536    in a shell")
}

/// Why io_uring cannot be used, by what the kernel said and what is known otherwise.
fn unusable(driver: Driver, facts: &Facts, errno: Option<i32>) -> Finding {
    let finding = |check, what: String| match driver {
        Driver::IoUring => {
            Finding::error(check, what).why("`driver = \"io_uring\"` does not start without it")
        }
        Driver::Auto | Driver::Epoll => Finding::warning(check, what)
            .why("epoll is used instead: fewer requests with the same cores"),
    };
    let disabled = facts.sysctls.number("kernel.io_uring_disabled").unwrap_or(0);
    let denied = matches!(errno, Some(libc::EPERM | libc::EACCES));
    let filtered = facts.process.seccomp && errno == Some(libc::ENOSYS);
    match errno {
        _ if denied && disabled == 2 => {
            let what = "io_uring is switched off: sysctl kernel.io_uring_disabled is 2";
            finding("io-uring-disabled", what.into()).sysctl("kernel.io_uring_disabled", 0)
        }
        _ if denied && disabled == 1 && !facts.process.can(CAP_SYS_ADMIN) => {
            let gid = facts.process.gid;
            let what =
                "io_uring is for privileged users only: sysctl kernel.io_uring_disabled is 1";
            finding("io-uring-disabled", what.into())
                .sysctl("kernel.io_uring_group", gid)
                .cure("or, for everyone: sysctl -w kernel.io_uring_disabled=0")
        }
        _ if denied || filtered => {
            finding("io-uring-filtered", "io_uring is forbidden by a seccomp filter".into())
                .cure(format!("SystemCallFilter={SYSCALLS}    in the unit of systemd"))
                .cure(format!(
                    "containers: a --security-opt seccomp=PROFILE that allows {SYSCALLS}"
                ))
        }
        Some(libc::ENOMEM) => {
            let what = format!("no memory for a ring: {}", lockable(facts));
            memory(finding("io-uring-memory", what))
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            finding("io-uring-files", "there is no file left for a ring".into())
                .cure("LimitNOFILE=1048576    in the unit of systemd")
                .cure("ulimit -n 1048576    in a shell")
        }
        Some(libc::ENOSYS) => finding("io-uring-missing", "this kernel has no io_uring".into())
            .cure("install a kernel with CONFIG_IO_URING: those of Debian 12 and later have it"),
        other => {
            let said = other.map(std::io::Error::from_raw_os_error);
            let said = said.map_or_else(|| "no reason".into(), |said| said.to_string());
            finding("io-uring-refused", format!("the kernel refuses a ring: {said}"))
                .cure("dmesg | tail    may say more")
        }
    }
}

/// A ringway that runs on epoll where io_uring is wanted and works for this command.
fn not_in_use(driver: Driver, facts: &Facts) -> Option<Finding> {
    let status = facts.running.as_ref().filter(|status| status.driver == "epoll")?;
    if driver == Driver::Epoll || facts.uring.engine.is_err() {
        return None;
    }
    let what = format!("the ringway that runs (pid {}) is on epoll", status.pid);
    Some(
        Finding::warning("io-uring-unused", what)
            .why("io_uring works for this command, so something forbids it to the service alone")
            .cure("journalctl -u ringway | grep io_uring    says what")
            .cure(format!("SystemCallFilter={SYSCALLS}    in the unit of systemd")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        let rows = [
            ("6.1.0-18-amd64", Some((6, 1))),
            ("5.15.0", Some((5, 15))),
            ("4.19", Some((4, 19))),
            ("", None),
            ("next", None),
        ];
        for (release, expected) in rows {
            assert_eq!(version(release), expected, "{release}");
        }
    }
}
