//! The kernel, limits and cores, spoilt for the doctor alone.

use super::*;

/// Runs the rest of its command line with a seccomp filter that answers EPERM to
/// `io_uring_setup`, whose number is the same on every architecture.
const WITHOUT_URING: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(rules), code)), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

const FILTERED: &[&str] = &["python3", "-c", WITHOUT_URING];

/// Whether io_uring works here when nothing is spoilt.
fn has_uring() -> bool {
    let diagnosis = Patient::new().examine();
    let has = !diagnosis.findings().any(|it| it["check"].as_str().is_some_and(is_about_uring));
    if !has {
        eprintln!("SKIPPED: io_uring does not work here as it is");
    }
    has
}

fn is_about_uring(check: &str) -> bool {
    check.starts_with("io-uring-") && check != "io-uring-small"
}

#[test]
fn io_uring_behind_a_seccomp_filter() {
    if !has_uring() {
        return;
    }
    let insisting = Patient::new().driver("io_uring");
    insisting.examine().expect_no("io-uring-filtered");
    let diagnosis = insisting.under(FILTERED).examine();
    diagnosis.expect("io-uring-filtered", "error", "SystemCallFilter=io_uring_setup");
    let falling_back = Patient::new().driver("auto").under(FILTERED);
    falling_back.examine().expect("io-uring-filtered", "warning", "epoll is used instead");
    let content = Patient::new().driver("epoll").under(FILTERED);
    content.examine().expect_no("io-uring-filtered");
}

#[test]
fn io_uring_switched_off_by_sysctl() {
    let sysctl = "/proc/sys/kernel/io_uring_disabled";
    let mount = ["unshare", "--mount", "mount", "--bind", "/proc/version", sysctl];
    if !has_uring() || !can(&mount) {
        return;
    }
    let patient = Patient::new();
    let disabled = patient.path("disabled");
    fs::write(&disabled, "2\n").expect("write");
    // The value is shown to the doctor alone, and the filter does what the kernel would.
    let script = format!("mount --bind {} {sysctl} && exec \"$@\"", disabled.display());
    let mut under = vec!["unshare", "--mount", "sh", "-c", &script, "sh"];
    under.extend(FILTERED);
    let patient = patient.driver("io_uring");
    let cure = "sysctl -w kernel.io_uring_disabled='0'";
    patient.under(&under).examine().expect("io-uring-disabled", "error", cure);
}

#[test]
fn few_files() {
    let patient = |files| Patient::new().under(&["prlimit", files]);
    let diagnosis = patient("--nofile=40:40").examine();
    diagnosis.expect("open-files", "error", "LimitNOFILE=1048576");
    let diagnosis = patient("--nofile=1024:1024").examine();
    diagnosis.expect("open-files", "warning", "about 4");
    if can(&["prlimit", "--nofile=100000:100000", "true"]) {
        patient("--nofile=100000:100000").examine().expect_no("open-files");
    }
}

#[test]
fn more_workers_than_cores() {
    let patient = |workers| Patient::new().with("workers = 1", workers);
    let diagnosis = patient("workers = 1000").examine();
    diagnosis.expect("workers-exceed-cores", "warning", "1000 workers");
    patient("workers = \"auto\"").examine().expect_no("workers-exceed-cores");
}

#[test]
fn sysctls_of_a_small_machine() {
    let script = "cd /proc/sys/net && echo 128 > core/somaxconn && \
                  echo 64 > ipv4/tcp_max_syn_backlog && echo 0 > ipv4/tcp_tw_reuse && \
                  echo '40000 40009' > ipv4/ip_local_port_range && exec \"$@\"";
    let under = ["unshare", "--net", "sh", "-c", script, "sh"];
    if !can(&[&under[..], &["true"]].concat()) {
        return;
    }
    let diagnosis = Patient::new().under(&under).examine();
    let expected = [
        ("somaxconn", "net.core.somaxconn='4096'"),
        ("syn-backlog", "net.ipv4.tcp_max_syn_backlog='4096'"),
        ("tw-reuse", "net.ipv4.tcp_tw_reuse='1'"),
        ("few-local-ports", "leaves 10 ports"),
    ];
    for (check, cure) in expected {
        let finding = diagnosis.find(check).unwrap_or_else(|| panic!("{:#}", diagnosis.report));
        assert!(finding.to_string().contains(cure), "{finding:#}");
    }
    let script = "cd /proc/sys/net && echo 4096 > core/somaxconn && \
                  echo 4096 > ipv4/tcp_max_syn_backlog && echo 1 > ipv4/tcp_tw_reuse && \
                  echo '1024 65535' > ipv4/ip_local_port_range && exec \"$@\"";
    let cured = Patient::new().under(&["unshare", "--net", "sh", "-c", script, "sh"]).examine();
    expected.iter().for_each(|(check, _)| cured.expect_no(check));
}
