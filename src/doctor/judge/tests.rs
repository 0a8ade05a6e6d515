//! Each misconfiguration by its facts: exactly the finding that belongs to it, with a cure.

use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config;
use crate::doctor::facts::*;
use crate::doctor::finding::Severity::{Error, Note, Warning};
use crate::doctor::finding::{Finding, Severity};
use crate::model::{
    AccessLog, Driver, LogFormat, LogSink, Model, Overflow, Rotation, Stickiness, Workers,
};
use crate::net::limits::Room;
use crate::net::ring::{Engine, Flags};

const STATE: &str = "/var/lib/ringway";
const TOKEN: &str = "/etc/ringway/token";
const SOCKET: &str = "/run/ringway/control.sock";

fn model() -> Model {
    let text = format!(
        "[server]\nstate_dir = \"{STATE}\"\n\
         control = {{ socket = \"{SOCKET}\", address = \"10.0.0.1:9900\", \
         token_file = \"{TOKEN}\" }}\n\
         [[target_groups]]\nname = \"home\"\ntargets = [\"10.0.0.5:80\", \"10.0.0.6:80\"]\n\
         [[listeners]]\nname = \"web\"\naddress = \"0.0.0.0:80\"\nmode = \"l7\"\n\
         default = {{ forward = \"home\" }}\n"
    );
    config::parse(&text, "test").expect("good").model
}

fn file(kind: Kind, mode: u32) -> File {
    File { kind, mode, uid: 998, gid: 998 }
}

/// Facts of a machine where nothing needs doing, for a service of its own user.
fn good() -> Facts {
    let sysctls = [
        ("fs.file-nr", "1000 0 2000000"),
        ("kernel.io_uring_disabled", "0"),
        ("net.core.somaxconn", "4096"),
        ("net.ipv4.ip_local_port_range", "32768 60999"),
        ("net.ipv4.ip_local_reserved_ports", ""),
        ("net.ipv4.tcp_max_syn_backlog", "4096"),
        ("net.ipv4.tcp_tw_reuse", "2"),
        ("net.netfilter.nf_conntrack_count", "10"),
        ("net.netfilter.nf_conntrack_max", "262144"),
    ];
    let engine = Engine::IoUring { flags: Flags::Defer, entries: 4096 };
    let target = |address: &str| Target {
        group: "home".into(),
        address: address.parse().expect("address"),
        probe: format!("http://{address}/"),
        answer: Answer::Good,
    };
    Facts {
        kernel: "6.1.0-18-amd64".into(),
        uring: Uring { engine: Ok(engine), features: vec!["NODROP"] },
        sysctls: Sysctls(sysctls.map(|(name, value)| (name, value.to_owned())).into()),
        process: Process {
            pid: 4000,
            is_running_ringway: false,
            uid: 998,
            gid: 998,
            groups: vec![],
            capabilities: 1 << CAP_NET_BIND_SERVICE,
            seccomp: false,
            open_files: Some(1_048_576),
            locked_memory: Some(8 << 20),
            threads: Some(10_000),
        },
        cpus: Cpus { usable: 4, quota: None },
        running: None,
        control: Control::Absent,
        listeners: vec![listening(Some("web"), "0.0.0.0:80"), listening(None, "10.0.0.1:9900")],
        targets: vec![target("10.0.0.5:80"), target("10.0.0.6:80")],
        targets_left_out: 0,
        connections: [].into(),
        listen_overflows: Some(0),
        clock: Clock {
            seconds: 1_780_000_000,
            source: Some("tsc".into()),
            sources: vec!["tsc".into(), "hpet".into()],
        },
        paths: paths(),
    }
}

fn listening(name: Option<&str>, address: &str) -> Listening {
    let address = address.parse().expect("address");
    Listening { name: name.map(Into::into), address, outcome: Ok(()), owner: None }
}

fn paths() -> Paths {
    let root = File { uid: 0, gid: 0, ..file(Kind::Directory, 0o755) };
    let files = [
        ("/", root),
        ("/var/lib", root),
        (STATE, file(Kind::Directory, 0o700)),
        ("/var/lib/ringway/stickiness.key", file(Kind::File, 0o600)),
        ("/run", root),
        ("/run/ringway", file(Kind::Directory, 0o755)),
        ("/var/log/ringway", file(Kind::Directory, 0o750)),
        (TOKEN, file(Kind::File, 0o640)),
        ("/etc/ringway/ringway.toml", File { uid: 0, ..file(Kind::File, 0o644) }),
    ];
    let room = Room { bytes: 1 << 30, read_only: false };
    Paths {
        files: files.map(|(path, file)| (PathBuf::from(path), file)).into(),
        rooms: [(STATE.into(), room)].into(),
        token: Some(Ok("0123456789abcdef".into())),
        store: None,
        lock_holder: None,
        config: "/etc/ringway/ringway.toml".into(),
    }
}

fn file_sink(path: &str, bytes: Option<u64>) -> LogSink {
    LogSink::File { path: path.into(), rotation: Rotation { bytes, every: None, keep: 7 } }
}

fn logs_to(model: &mut Model, sink: LogSink) {
    let (format, overflow) = (LogFormat::Alb, Overflow::Drop);
    model.listeners[0].access_log = Some(AccessLog { sink, format, overflow });
}

fn running() -> Running {
    Running {
        version: "1.2.3".into(),
        pid: 700,
        config: "/etc/ringway/ringway.toml".into(),
        driver: "io_uring".into(),
        listeners: vec!["0.0.0.0:80".into()],
    }
}

/// Changes what is configured or what is.
type Spoil = fn(&mut Model, &mut Facts);

fn change(facts: &mut Facts, path: &str, with: impl FnOnce(&mut File)) {
    with(facts.paths.files.get_mut(Path::new(path)).expect("a path of the good machine"));
}

fn engine(facts: &mut Facts, flags: Flags, entries: u32) {
    facts.uring.engine = Ok(Engine::IoUring { flags, entries });
}

fn refuse(facts: &mut Facts, errno: i32) {
    facts.uring.engine = Err(Some(errno));
}

fn taken(facts: &mut Facts, by: Option<(u32, &str)>) {
    facts.listeners[0].outcome = Err(ErrorKind::AddrInUse.into());
    let process = by.map(|(pid, name)| (pid, name.to_owned()));
    facts.listeners[0].owner = Some(Owner { uid: 33, process });
}

fn all_targets(facts: &mut Facts, answer: fn() -> Answer) {
    facts.targets.truncate(1);
    facts.targets[0].answer = answer();
}

const KERNEL: &[(&str, Severity, &str, Spoil)] = &[
    ("kernel-old", Warning, "5.10", |_, it| it.kernel = "5.10.0-30".into()),
    ("driver-epoll", Note, "epoll", |model, _| model.server.driver = Driver::Epoll),
    ("io-uring-disabled", Warning, "io_uring_disabled=", |_, it| {
        refuse(it, libc::EPERM);
        it.sysctls.0.insert("kernel.io_uring_disabled", "2".into());
    }),
    ("io-uring-disabled", Error, "io_uring_group='998'", |model, it| {
        model.server.driver = Driver::IoUring;
        refuse(it, libc::EPERM);
        it.sysctls.0.insert("kernel.io_uring_disabled", "1".into());
    }),
    ("io-uring-filtered", Warning, "SystemCallFilter=", |_, it| refuse(it, libc::EPERM)),
    ("io-uring-filtered", Warning, "seccomp", |_, it| {
        refuse(it, libc::ENOSYS);
        it.process.seccomp = true;
    }),
    ("io-uring-missing", Warning, "CONFIG_IO_URING", |_, it| refuse(it, libc::ENOSYS)),
    ("io-uring-memory", Warning, "LimitMEMLOCK=", |_, it| refuse(it, libc::ENOMEM)),
    ("io-uring-files", Warning, "LimitNOFILE=", |_, it| refuse(it, libc::EMFILE)),
    ("io-uring-refused", Warning, "dmesg", |_, it| refuse(it, libc::EIO)),
    ("io-uring-flags", Warning, "COOP_TASKRUN", |_, it| engine(it, Flags::Coop, 4096)),
    ("io-uring-small", Warning, "8192 KiB", |_, it| engine(it, Flags::Defer, 256)),
];

const LIMITS: &[(&str, Severity, &str, Spoil)] = &[
    ("open-files", Warning, "LimitNOFILE=", |_, it| it.process.open_files = Some(1024)),
    ("open-files", Error, "LimitNOFILE=", |_, it| it.process.open_files = Some(64)),
    ("threads", Error, "LimitNPROC=", |_, it| it.process.threads = Some(7)),
    ("workers-exceed-cores", Warning, "workers = \"auto\"", |model, _| {
        model.server.workers = Workers::Count(NonZeroUsize::new(8).expect("not zero"));
    }),
    ("idle-cores", Note, "3 cores", |model, _| {
        model.server.workers = Workers::Count(NonZeroUsize::MIN);
    }),
    ("cpu-quota", Warning, "workers = 1", |_, it| it.cpus.quota = Some(1.5)),
    ("somaxconn", Warning, "net.core.somaxconn='4096'", |_, it| {
        it.sysctls.0.insert("net.core.somaxconn", "128".into());
    }),
    ("syn-backlog", Warning, "tcp_max_syn_backlog=", |_, it| {
        it.sysctls.0.insert("net.ipv4.tcp_max_syn_backlog", "128".into());
    }),
    ("few-local-ports", Warning, "leaves 1001 ports", |_, it| {
        it.sysctls.0.insert("net.ipv4.ip_local_port_range", "50000\t51000".into());
    }),
    ("few-local-ports", Warning, "leaves 10000 ports", |_, it| {
        it.sysctls.0.insert("net.ipv4.ip_local_reserved_ports", "32768-50999,8080".into());
    }),
    ("local-ports-used", Warning, "10.0.0.5:80", |_, it| {
        it.connections.insert("10.0.0.5:80".parse().expect("address"), 23_000);
    }),
    ("local-ports-used", Error, "10.0.0.5:80", |_, it| {
        it.connections.insert("10.0.0.5:80".parse().expect("address"), 28_000);
    }),
    ("tw-reuse", Warning, "tcp_tw_reuse='1'", |_, it| {
        it.sysctls.0.insert("net.ipv4.tcp_tw_reuse", "0".into());
    }),
    ("file-max", Warning, "fs.file-max='8000000'", |_, it| {
        it.sysctls.0.insert("fs.file-nr", "1700000\t0\t2000000".into());
    }),
    ("file-max", Error, "fs.file-max=", |_, it| {
        it.sysctls.0.insert("fs.file-nr", "1950000\t0\t2000000".into());
    }),
    ("conntrack-full", Error, "nf_conntrack_max='1048576'", |_, it| {
        it.sysctls.0.insert("net.netfilter.nf_conntrack_count", "262000".into());
    }),
    ("conntrack-full", Warning, "notrack", |_, it| {
        it.sysctls.0.insert("net.netfilter.nf_conntrack_count", "220000".into());
    }),
    ("listen-overflows", Note, "nstat", |_, it| it.listen_overflows = Some(7)),
    ("clock-wrong", Warning, "the year 1970", |_, it| it.clock.seconds = 86_400),
    ("clock-wrong", Warning, "the year 1969", |_, it| it.clock.seconds = -1),
    ("clocksource-slow", Warning, "echo tsc >", |_, it| it.clock.source = Some("hpet".into())),
    ("clocksource-slow", Warning, "command line", |_, it| {
        it.clock.source = Some("xen".into());
        it.clock.sources = vec!["xen".into()];
    }),
];

const LISTENERS: &[(&str, Severity, &str, Spoil)] = &[
    ("port-in-use", Error, "nginx (pid 812)", |_, it| taken(it, Some((812, "nginx")))),
    ("port-in-use", Error, "user id 33", |_, it| taken(it, None)),
    ("port-in-use", Error, "another process", |_, it| {
        taken(it, None);
        it.listeners[0].owner = None;
    }),
    ("port-in-use", Error, "the control API", |_, it| {
        it.listeners[1].outcome = Err(ErrorKind::AddrInUse.into());
    }),
    ("port-privileged", Error, "CAP_NET_BIND_SERVICE", |_, it| {
        it.listeners[0].outcome = Err(ErrorKind::PermissionDenied.into());
    }),
    ("address-missing", Error, "ip -brief address", |_, it| {
        it.listeners[0].outcome = Err(ErrorKind::AddrNotAvailable.into());
    }),
    ("address-missing", Error, "IPv6", |_, it| {
        it.listeners[0].outcome = Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    }),
    ("address-refused", Error, "the kernel refuses", |_, it| {
        it.listeners[0].outcome = Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    }),
    ("port-not-reserved", Warning, "ip_local_reserved_ports='40080'", |_, it| {
        it.listeners[0].address.set_port(40_080);
    }),
    ("already-running", Note, "process 700", |_, it| {
        it.running = Some(running());
        it.control = Control::Ringway;
    }),
    ("already-running", Note, "process 700", |_, it| {
        taken(it, Some((700, "ringway")));
        it.running = Some(running());
        it.control = Control::Ringway;
        it.paths.lock_holder = Some(700);
    }),
];

const TARGETS: &[(&str, Severity, &str, Spoil)] = &[
    ("target-refused", Warning, "10.0.0.6:80", |_, it| {
        it.targets[1].answer = Answer::Refused(ErrorKind::ConnectionRefused.into());
    }),
    ("target-refused", Error, "no target of `home`", |_, it| {
        all_targets(it, || Answer::Refused(ErrorKind::ConnectionRefused.into()));
    }),
    ("target-unreachable", Error, "ip route get", |_, it| {
        all_targets(it, || Answer::Refused(ErrorKind::HostUnreachable.into()));
    }),
    ("target-no-port", Error, "ip_local_port_range=", |_, it| {
        all_targets(it, || Answer::Refused(ErrorKind::AddrNotAvailable.into()));
    }),
    ("target-timeout", Error, "3s", |_, it| {
        all_targets(it, || Answer::NoConnection(Duration::from_secs(3)));
    }),
    ("target-silent", Error, "timeout = ", |_, it| {
        all_targets(it, || Answer::Silent(Duration::from_secs(5)));
    }),
    ("target-status", Error, "matcher = \"200-299,404\"", |_, it| {
        all_targets(it, || Answer::Status(404));
    }),
    ("target-tls", Error, "server_name", |_, it| {
        all_targets(it, || Answer::NoSession("expired".into()));
    }),
    ("target-malformed", Error, "protocol = \"tcp\"", |_, it| {
        all_targets(it, || Answer::Malformed);
    }),
    ("group-empty", Warning, "targets register home", |model, it| {
        model.target_groups[0].targets.clear();
        it.targets.clear();
    }),
    ("targets-left-out", Note, "3 targets", |_, it| it.targets_left_out = 3),
];

const FILES: &[(&str, Severity, &str, Spoil)] = &[
    ("no-state-dir", Warning, "state_dir = ", |model, _| {
        model.server.state_dir = None;
        model.target_groups[0].stickiness = Stickiness::LbCookie(Duration::from_secs(60));
    }),
    ("state-dir-missing", Error, "install -d -m 700 -o 998", |_, it| {
        it.paths.files.remove(Path::new(STATE));
        it.paths.files.remove(Path::new("/var/lib/ringway/stickiness.key"));
    }),
    ("state-dir-missing", Note, "it is made at the start", |_, it| {
        it.paths.files.remove(Path::new(STATE));
        it.process.capabilities = 1 << CAP_DAC_OVERRIDE;
    }),
    ("state-dir-no-directory", Error, "no directory", |_, it| {
        change(it, STATE, |file| file.kind = Kind::File);
    }),
    ("state-dir-not-writable", Error, "chown 998", |_, it| {
        change(it, STATE, |file| file.uid = 0);
    }),
    ("state-dir-exposed", Warning, "chmod 700", |_, it| {
        change(it, STATE, |file| file.mode = 0o777);
    }),
    ("state-dir-owner", Note, "sudo -u '#998'", |_, it| {
        it.process = Process { uid: 0, capabilities: u64::MAX, ..it.process.clone() };
    }),
    ("state-dir-read-only", Error, "ReadWritePaths=", |_, it| {
        it.paths.rooms.insert(STATE.into(), Room { bytes: 1 << 30, read_only: true });
    }),
    ("state-dir-full", Error, "4096 bytes left", |_, it| {
        it.paths.rooms.insert(STATE.into(), Room { bytes: 4096, read_only: false });
    }),
    ("state-dir-locked", Error, "process 900", |_, it| it.paths.lock_holder = Some(900)),
    ("changes-unreadable", Error, "move it away", |_, it| {
        it.paths.store = Some("changes.json is damaged: why; move it away".into());
    }),
    ("key-file-mode", Error, "chmod 600", |_, it| {
        change(it, "/var/lib/ringway/stickiness.key", |file| file.mode = 0o644);
    }),
    ("key-file-unreadable", Error, "chown 998", |_, it| {
        change(it, "/var/lib/ringway/stickiness.key", |file| file.uid = 0);
    }),
    ("token-file-unreadable", Error, "openssl rand", |_, it| {
        it.paths.token = Some(Err("permission denied".into()));
    }),
    ("token-file-empty", Error, "openssl rand", |_, it| it.paths.token = Some(Ok(String::new()))),
    ("token-short", Warning, "6 characters", |_, it| it.paths.token = Some(Ok("secret".into()))),
    ("token-file-mode", Warning, "chmod 640", |_, it| {
        change(it, TOKEN, |file| file.mode = 0o644);
    }),
    ("control-socket-stale", Note, "rm /run", |_, it| it.control = Control::Stale),
    ("control-socket-denied", Note, "usermod", |_, it| it.control = Control::Denied),
    ("control-socket-stranger", Error, "fuser", |_, it| {
        it.control = Control::Stranger("it does not answer".into());
    }),
    ("control-socket-no-socket", Error, "no socket", |_, it| {
        it.paths.files.insert(SOCKET.into(), file(Kind::File, 0o644));
        it.control = Control::Stale;
    }),
    ("control-socket-dir", Error, "RuntimeDirectory=", |_, it| {
        it.paths.files.remove(Path::new("/run/ringway"));
    }),
    ("control-socket-dir", Warning, "without the control API", |model, it| {
        it.paths.files.remove(Path::new("/run/ringway"));
        model.server.control.optional = true;
    }),
    ("log-dir-missing", Error, "LogsDirectory=", |model, _| {
        logs_to(model, file_sink("/var/log/other/access.log", None));
    }),
    ("log-not-writable", Error, "chown 998 /var/log/ringway", |model, it| {
        logs_to(model, file_sink("/var/log/ringway/access.log", None));
        change(it, "/var/log/ringway", |file| file.uid = 0);
    }),
    ("log-not-rotatable", Warning, "chown 998", |model, it| {
        logs_to(model, file_sink("/var/log/ringway/access.log", Some(1 << 20)));
        change(it, "/var/log/ringway", |file| file.uid = 0);
        it.paths.files.insert("/var/log/ringway/access.log".into(), file(Kind::File, 0o640));
    }),
    ("log-disk-full", Error, "4096 bytes left", |model, it| {
        logs_to(model, file_sink("/var/log/ringway/access.log", None));
        let room = Room { bytes: 4096, read_only: false };
        it.paths.rooms.insert("/var/log/ringway".into(), room);
    }),
    ("log-socket-missing", Warning, "/run/journal", |model, _| {
        logs_to(model, LogSink::Datagram("/run/journal".into()));
    }),
    ("config-exposed", Warning, "chmod 644", |_, it| {
        change(it, "/etc/ringway/ringway.toml", |file| file.mode = 0o666);
    }),
];

fn text(finding: &Finding) -> String {
    let Finding { what, why, cure, .. } = finding;
    format!("{what}\n{why}\n{}", cure.join("\n"))
}

#[test]
fn good_machine_needs_nothing() {
    assert_eq!(super::judge(&model(), &good()), []);
}

#[test]
fn each_fault_is_found_alone_with_reason_and_cure() {
    for (check, severity, about, spoil) in [KERNEL, LIMITS, LISTENERS, TARGETS, FILES].concat() {
        let (mut model, mut facts) = (model(), good());
        spoil(&mut model, &mut facts);
        let findings = super::judge(&model, &facts);
        let [finding] = findings.as_slice() else { panic!("{check}: {findings:#?}") };
        assert_eq!((finding.check, finding.severity), (check, severity), "{finding:#?}");
        assert!(text(finding).contains(about), "{check}: nothing about {about}: {finding:#?}");
        assert!(!finding.why.is_empty() && !finding.cure.is_empty(), "{finding:#?}");
    }
}

#[test]
fn ringway_that_runs_is_judged_by_its_own_privileges() {
    let checks = |uid, capabilities, driver: &str| {
        let mut facts = good();
        facts.running = Some(Running { driver: driver.into(), ..running() });
        facts.control = Control::Ringway;
        facts.process = Process { is_running_ringway: true, uid, capabilities, ..facts.process };
        let findings = super::judge(&model(), &facts);
        findings.iter().map(|finding| finding.check).collect::<Vec<_>>()
    };
    assert_eq!(checks(998, 1 << CAP_NET_BIND_SERVICE, "io_uring"), ["already-running"]);
    assert!(checks(998, u64::MAX, "io_uring").contains(&"capabilities"));
    assert!(checks(0, u64::MAX, "io_uring").contains(&"runs-as-root"));
    assert!(checks(998, 0, "epoll").contains(&"io-uring-unused"));
}

#[test]
fn of_many_bad_targets_some_are_told_and_the_others_counted() {
    let mut facts = good();
    facts.targets = (0..30)
        .map(|port| Target {
            group: "home".into(),
            address: ([10, 0, 0, 5], 8000 + port).into(),
            probe: String::new(),
            answer: Answer::Malformed,
        })
        .collect();
    let findings = super::judge(&model(), &facts);
    assert_eq!(findings.len(), 21, "{findings:#?}");
    assert_eq!(findings[20].check, "targets-more");
}

#[test]
fn owner_and_mode_say_what_a_process_may() {
    let process = |uid, gid, groups: &[u32], capabilities| Process {
        uid,
        gid,
        groups: groups.to_vec(),
        capabilities,
        ..Process::default()
    };
    let rows = [
        (process(998, 1, &[], 0), 0o700, true),
        (process(998, 1, &[], 0), 0o077, false),
        (process(5, 998, &[], 0), 0o070, true),
        (process(5, 5, &[998], 0), 0o070, true),
        (process(5, 5, &[998], 0), 0o707, false),
        (process(5, 5, &[], 0), 0o007, true),
        (process(5, 5, &[], 0), 0o770, false),
        (process(0, 0, &[], 1 << CAP_DAC_OVERRIDE), 0o000, true),
    ];
    for (process, mode, expected) in rows {
        let file = file(Kind::Directory, mode);
        assert_eq!(process.may(&file, 7), expected, "{process:?} {mode:o}");
    }
}
