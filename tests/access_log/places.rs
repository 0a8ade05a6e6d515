//! Where lines go, and what happens when that place is moved, full, gone or stalled.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use super::*;

/// A balancer that answers every request itself, with a control API.
pub(crate) fn answering(log: &Log, key: &str) -> Balancer {
    let socket = log.dir.path().join("control.sock");
    let config = http(&[])
        .server(&format!("control = {{ socket = \"{}\" }}", socket.display()))
        .server("drain_timeout = \"2s\"")
        .web(key);
    let text = config.text().replace(
        "default = { forward = \"home\" }",
        "default = { fixed_response = { status = 200, body = \"ok\" } }",
    );
    Balancer::start(&text)
}

/// What all workers have counted under `name`.
pub(crate) fn total(log: &Log, name: &str) -> usize {
    let status = Control::at(&log.dir.path().join("control.sock")).status();
    usize::try_from(status["totals"][name].as_u64().expect("a count")).expect("small")
}

/// How many lines were written and dropped, once these are `count` in all: a request is counted
/// after it has been answered.
pub(crate) fn counted(balancer: &Balancer, log: &Log, count: usize) -> (usize, usize) {
    let now = || (total(log, "access_log_lines"), total(log, "access_log_dropped"));
    let all = || {
        let (lines, dropped) = now();
        lines + dropped >= count
    };
    balancer.wait("all lines to be counted", all);
    let (lines, dropped) = now();
    assert_eq!(lines + dropped, count);
    (lines, dropped)
}

/// Sends `count` requests on one connection, some at a time; each must be answered.
fn requests(balancer: &Balancer, count: usize) {
    requests_to(balancer.address("web"), count);
}

fn requests_to(address: SocketAddr, count: usize) {
    let mut client = Client::connect(address);
    let mut left = count;
    while left > 0 {
        let now = left.min(50);
        client.send("GET /some/path HTTP/1.1\r\nHost: a\r\n\r\n".repeat(now));
        for _ in 0..now {
            assert_eq!(client.response("GET").status, 200);
        }
        left -= now;
    }
}

#[test]
fn file_is_made_for_the_group_to_read_and_appended_to() {
    let log = Log::new();
    let mut balancer = answering(&log, &log.key(""));
    requests(&balancer, 3);
    balancer.stop();
    let mode = fs::metadata(log.path()).expect("the log").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let balancer = answering(&log, &log.key(""));
    requests(&balancer, 2);
    log.alb(5);
}

#[test]
fn stop_writes_what_is_on_its_way() {
    let log = Log::new();
    let mut balancer = answering(&log, &log.key(""));
    requests(&balancer, 500);
    assert!(balancer.stop().success());
    assert_eq!(lines(&log.path()).len(), 500);
}

#[test]
fn place_that_cannot_be_opened_refuses_the_start_and_the_reload_with_the_cure() {
    let log = Log::new();
    let missing = "access_log = \"/nonexistent/ringway/access.log\"";
    let config = http(&[]).web(missing).text();
    let file = log.dir.path().join("c.toml");
    fs::write(&file, &config).expect("write");
    let path = file.to_str().expect("UTF-8");
    let output = Ringway::output(&["run", "--config", path]);
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("/nonexistent/ringway/access.log cannot be opened"), "{stderr}");
    assert!(stderr.contains("make its directory"), "{stderr}");

    let checked = Ringway::output(&["check", "--config", path]);
    assert!(checked.status.success(), "another user may see the directory");
    let stderr = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(stderr.contains("/nonexistent/ringway cannot be looked at"), "{stderr}");

    let balancer = http(&[]).start();
    balancer.reload_refused(&config);
    assert_eq!(balancer.client().get("/").status, 503, "it goes on");
}

#[test]
fn file_that_was_moved_away_is_opened_anew_on_sigusr1() {
    let log = Log::new();
    let balancer = answering(&log, &log.key(""));
    requests(&balancer, 10);
    log.alb(10);
    let moved = log.dir.path().join("moved");
    fs::rename(log.path(), &moved).expect("rename");
    balancer.signal("USR1");
    balancer.wait("a new file", || log.path().exists());
    requests(&balancer, 5);
    log.alb(5);
    assert_eq!(lines(&moved).len(), 10);
}

#[test]
fn files_are_put_aside_by_size_and_only_so_many_are_kept() {
    let log = Log::new();
    let key = log.key(", overflow = \"block\", rotate_bytes = 65536, keep = 2");
    let balancer = answering(&log, &key);
    requests(&balancer, 1_500);
    let aside = |number: u32| log.dir.path().join(format!("access.log.{number}"));
    balancer.wait("two files", || aside(2).exists());
    requests(&balancer, 1_500);
    balancer.wait("the lines", || total(&log, "access_log_lines") == 3_000);
    thread::sleep(Duration::from_millis(300));
    assert!(!aside(3).exists());
    for path in [log.path(), aside(1), aside(2)] {
        let text = fs::read_to_string(&path).expect("a file");
        assert!(text.is_empty() || text.ends_with('\n'), "{}", path.display());
        lines(&path).iter().for_each(|line| drop(alb(line)));
    }
}

#[test]
fn listeners_share_a_place_only_with_equal_settings() {
    let log = Log::new();
    let config = http(&[]).web(&log.key(", format = \"json\"")).text();
    let other = |format: &str| {
        let key = log.key(&format!(", format = \"{format}\""));
        format!(
            "{config}\n[[listeners]]\nname = \"other\"\naddress = \"127.0.0.1:0\"\n\
             default = {{ forward = \"home\" }}\n{key}\n"
        )
    };
    let balancer = Balancer::start(&other("json"));
    balancer.client().get("/");
    Client::connect(balancer.address("other")).get("/");
    let names: Vec<String> = log.lines(2);
    for name in ["web", "other"] {
        let field = format!("\"listener\":\"{name}\"");
        assert_eq!(names.iter().filter(|line| line.contains(&field)).count(), 1, "{names:?}");
    }
    balancer.reload_refused(&other("alb"));
    assert!(balancer.log().contains("has other settings"), "{}", balancer.log());
}

#[test]
fn log_moves_with_a_reload() {
    let (log, other) = (Log::new(), Log::new());
    let balancer = http(&[]).web(&log.key("")).start();
    let mut client = balancer.client();
    client.get("/1");
    log.alb(1);
    balancer.reload(&http(&[]).web(&other.key(", format = \"json\"")).text());
    client.get("/2");
    assert!(other.lines(1)[0].starts_with('{'));
    balancer.reload(&http(&[]).text());
    client.get("/3");
    assert_eq!((lines(&log.path()).len(), lines(&other.path()).len()), (1, 1));
    // The threads of logs that nobody writes to have ended.
    let tasks = format!("/proc/{}/task", balancer.id());
    let threads = || {
        let tasks = fs::read_dir(&tasks).expect("tasks").flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim() == "access-log").count()
    };
    balancer.wait("the writers to end", || threads() == 0);
}

#[test]
fn stdout_takes_lines() {
    let log = Log::new();
    let mut balancer = answering(&log, "access_log = \"stdout\"");
    requests(&balancer, 2);
    for _ in 0..2 {
        let line = balancer.process().line().expect("a line");
        alb(&line);
    }
}

#[test]
fn datagram_socket_gets_one_line_per_datagram() {
    let log = Log::new();
    let path = log.dir.path().join("log.sock");
    let balancer = answering(&log, &format!("access_log = \"unix:{}\"", path.display()));
    // Nobody listens yet: lines wait.
    requests(&balancer, 5);
    balancer.wait_log(&["cannot write the access log"]);
    let socket = UnixDatagram::bind(&path).expect("bind");
    socket.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let mut buffer = [0; 4096];
    for _ in 0..5 {
        let count = socket.recv(&mut buffer).expect("a datagram");
        alb(std::str::from_utf8(&buffer[..count]).expect("text"));
    }
    balancer.wait_log(&["the access log is written again"]);
}

/// Sends more than can wait for a place that takes nothing, then lets `drain` read what was
/// written. Every line was written or dropped, and the drops are known.
fn stalls(log: &Log, path: &str, drain: impl FnOnce(usize) -> usize) {
    const COUNT: usize = 30_000;
    let balancer = answering(log, &format!("access_log = \"{path}\""));
    let address = balancer.address("web");
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || requests_to(address, COUNT / 2));
        }
    });
    let (_, dropped) = counted(&balancer, log, COUNT);
    assert!(dropped > 0, "more than fits");
    balancer.wait_log(&["lines of the access log were dropped"]);
    assert_eq!(drain(COUNT - dropped), COUNT - dropped);
}

#[test]
fn pipe_that_nobody_reads_costs_lines_and_no_request() {
    let log = Log::new();
    let path = log.dir.path().join("pipe");
    shell(&format!("mkfifo {}", path.display()));
    let mut pipe = OpenOptions::new().read(true).write(true).open(&path).expect("pipe");
    stalls(&log, path.to_str().expect("UTF-8"), |count| {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 65_536];
        let lines = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count();
        while lines(&bytes) < count {
            let read = pipe.read(&mut buffer).expect("read");
            bytes.extend_from_slice(&buffer[..read]);
        }
        let text = String::from_utf8(bytes).expect("text");
        text.lines().map(alb).count()
    });
}

#[test]
fn socket_that_nobody_reads_costs_lines_and_no_request() {
    let log = Log::new();
    let path = log.dir.path().join("log.sock");
    let socket = UnixDatagram::bind(&path).expect("bind");
    socket.set_read_timeout(Some(DEADLINE)).expect("timeout");
    stalls(&log, &format!("unix:{}", path.display()), |count| {
        let mut buffer = [0; 4096];
        let lines = (0..count).map(|_| {
            let read = socket.recv(&mut buffer).expect("a datagram");
            alb(std::str::from_utf8(&buffer[..read]).expect("text"))
        });
        lines.count()
    });
}

#[test]
fn disk_that_is_full_for_good_costs_lines_only() {
    let log = Log::new();
    let mut balancer = answering(&log, "access_log = \"/dev/full\"");
    requests(&balancer, 20_000);
    balancer.wait_log(&["cannot write the access log", "No space left on device"]);
    let (_, dropped) = counted(&balancer, &log, 20_000);
    assert!(dropped > 0);
    requests(&balancer, 100);
    balancer.signal("USR1");
    requests(&balancer, 100);
    assert!(balancer.stop().success());
    let lost = format!("lost={}", total_lines_lost(&balancer));
    assert!(balancer.log().contains(&lost), "{}", balancer.log());
}

/// What the last line about lost lines says.
fn total_lines_lost(balancer: &Balancer) -> u64 {
    let log = balancer.log();
    let line = log.lines().find(|line| line.contains("lines of the access log were lost"));
    let (_, count) = line.and_then(|line| line.rsplit_once("lost=")).expect("a number");
    let count = count.trim().parse().expect("a number");
    assert!(count > 0);
    count
}

/// A file system of 256 KiB, until dropped; `None` for whom may not mount one.
struct Tiny(PathBuf);

impl Tiny {
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).expect("directory");
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&at);
        mount.status().is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn disk_that_is_full_for_a_while_costs_no_line_that_waits() {
    let log = Log::new();
    let Some(tiny) = Tiny::mount(log.dir.path().join("tiny")) else {
        eprintln!("SKIPPED: mounting a tmpfs needs root");
        return;
    };
    let file = tiny.0.join("access.log");
    let key = format!("access_log = {{ path = \"{}\", overflow = \"block\" }}", file.display());
    let balancer = answering(&log, &key);
    let filler = tiny.0.join("filler");
    let mut filling = File::create(&filler).expect("filler");
    while filling.write_all(&[0; 4096]).is_ok() {}
    requests(&balancer, 500);
    balancer.wait_log(&["cannot write the access log", "No space left on device"]);
    drop(filling);
    fs::remove_file(&filler).expect("remove");
    balancer.wait_log(&["the access log is written again"]);
    balancer.wait("all lines", || lines(&file).len() == 500);
    lines(&file).iter().for_each(|line| drop(alb(line)));
}

#[test]
fn blocked_log_holds_up_neither_control_nor_the_end() {
    let log = Log::new();
    let path = log.dir.path().join("pipe");
    shell(&format!("mkfifo {}", path.display()));
    let _pipe = OpenOptions::new().read(true).write(true).open(&path).expect("pipe");
    let key = format!("access_log = {{ path = \"{}\", overflow = \"block\" }}", path.display());
    let mut balancer = answering(&log, &key);
    // Until nothing is answered any more.
    let mut clients: Vec<_> = (0..4).map(|_| balancer.client()).collect();
    for client in &mut clients {
        client.stream().set_nonblocking(true).expect("non-blocking");
        let pipelined = "GET /some/path HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50_000);
        let mut answers = 0;
        let mut sent = 0;
        let mut buffer = vec![0; 65_536];
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(1500) {
            if let Ok(count @ 1..) = client.stream().write(&pipelined.as_bytes()[sent..]) {
                (sent, quiet) = (sent + count, Instant::now());
            }
            if let Ok(count @ 1..) = client.stream().read(&mut buffer) {
                (answers, quiet) = (answers + count, Instant::now());
            }
        }
        // An answer has more than a hundred bytes.
        assert!(answers < 100 * 50_000, "answers to everything: nothing waits");
    }
    assert_eq!(total(&log, "access_log_dropped"), 0);
    // Other connections are accepted, and wait; control answers and changes things.
    let text = fs::read_to_string(balancer.config_path()).expect("config");
    balancer.reload(&text.replace("body = \"ok\"", "body = \"else\""));
    assert!(balancer.stop().success());
    balancer.wait_log(&["could not be written in time"]);
}
