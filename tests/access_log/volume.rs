//! Full load: no line is lost where none may be, and what is dropped is counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::places::{answering, counted};
use super::*;

const REQUEST: &str = "GET /some/path?with=a&query HTTP/1.1\r\nHost: load.example\r\n\
                       User-Agent: load/1.0\r\n\r\n";
/// Requests that are sent together.
const PIPELINED: usize = 16;
const CLIENTS: usize = 4;

/// Sends `count` requests over some connections, as fast as they are answered; all must be.
fn load(address: SocketAddr, count: usize) {
    let share = count.div_ceil(CLIENTS);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let count = share.min(count.saturating_sub(client * share));
            scope.spawn(move || send(address, count));
        }
    });
}

fn send(address: SocketAddr, count: usize) {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let mut left = count;
    let mut answers = Vec::new();
    let mut buffer = vec![0; 65_536];
    while left > 0 {
        let now = left.min(PIPELINED);
        stream.write_all(REQUEST.repeat(now).as_bytes()).expect("send");
        answers.clear();
        // Each ends with its two bytes of body.
        while memchr::memmem::find_iter(&answers, b"\r\n\r\nok").count() < now {
            let read = stream.read(&mut buffer).expect("an answer");
            assert!(read > 0, "closed with {left} requests left");
            answers.extend_from_slice(&buffer[..read]);
        }
        assert_eq!(memchr::memmem::find_iter(&answers, b"HTTP/1.1 200 OK\r\n").count(), now);
        left -= now;
    }
}

/// Reads every line of these files; how many there are, and of how many connections.
fn read(paths: &[PathBuf]) -> (usize, usize) {
    let mut count = 0;
    let mut connections = std::collections::HashSet::new();
    for path in paths {
        let text = fs::read_to_string(path).expect("a log");
        assert!(text.is_empty() || text.ends_with('\n'), "{}", path.display());
        for line in text.lines() {
            let line = alb(line);
            assert_eq!(line.elb_status, Some(200), "{line:?}");
            assert_eq!(line.received, REQUEST.len() as u64, "{line:?}");
            connections.insert(line.connection);
            count += 1;
        }
    }
    (count, connections.len())
}

#[test]
fn blocking_log_has_a_line_for_each_request_at_full_load() {
    let (log, target) = (Log::new(), FastTarget::start("ok"));
    let config = Config::new("l7", vec![target.address]);
    let mut balancer = log.of(config, "alb").start();
    let began = Instant::now();
    load(balancer.address("web"), many());
    let took = began.elapsed();
    assert!(balancer.stop().success());
    assert_eq!(target.requests(), many() as u64);
    assert_eq!(read(&[log.path()]), (many(), CLIENTS));
    let bytes = fs::metadata(log.path()).expect("log").len();
    println!("{} requests in {took:.1?}, {bytes} bytes of log, each line read", many());
}

#[test]
fn dropping_log_counts_what_it_drops_at_full_load() {
    let log = Log::new();
    let mut balancer = answering(&log, &log.key(""));
    load(balancer.address("web"), many());
    let (lines, dropped) = counted(&balancer, &log, many());
    assert!(balancer.stop().success());
    assert_eq!(read(&[log.path()]), (lines, CLIENTS));
    println!("{lines} lines written, {dropped} dropped");
}

#[test]
fn files_moved_away_under_load_have_every_line_between_them() {
    let log = Log::new();
    let mut balancer = answering(&log, &log.key(", overflow = \"block\""));
    let done = AtomicBool::new(false);
    let (id, address) = (balancer.id(), balancer.address("web"));
    let moved = thread::scope(|scope| {
        let mover = scope.spawn(|| {
            let mut moved = Vec::new();
            while !done.load(Relaxed) {
                thread::sleep(Duration::from_millis(30));
                let to = log.dir.path().join(format!("moved-{}", moved.len()));
                if fs::rename(log.path(), &to).is_ok() {
                    moved.push(to);
                    shell(&format!("kill -USR1 {id}"));
                }
            }
            moved
        });
        load(address, many());
        done.store(true, Relaxed);
        mover.join().expect("mover")
    });
    assert!(balancer.stop().success());
    assert!(!moved.is_empty());
    let mut paths = moved;
    paths.extend(Some(log.path()).filter(|path| path.exists()));
    assert_eq!(read(&paths), (many(), CLIENTS));
}

#[test]
fn rotation_under_load_keeps_every_line() {
    let log = Log::new();
    let key = log.key(", overflow = \"block\", rotate_bytes = 262144, keep = 1000");
    let mut balancer = answering(&log, &key);
    let count = many().min(100_000);
    load(balancer.address("web"), count);
    assert!(balancer.stop().success());
    let aside = |number| log.dir.path().join(format!("access.log.{number}"));
    let paths: Vec<_> = (1..=1000).map(aside).take_while(|path| path.exists()).collect();
    assert!(paths.len() > 2, "{paths:?}");
    assert_eq!(read(&[paths, vec![log.path()]].concat()), (count, CLIENTS));
}

#[test]
fn upgrade_under_load_loses_no_line() {
    let log = Log::new();
    let socket = log.dir.path().join("control.sock");
    let address = free_address();
    let target = FastTarget::start("ok");
    let config = Config::new("l7", vec![target.address])
        .server(&format!("control = {{ socket = \"{}\" }}", socket.display()))
        .server("drain_timeout = \"5s\"");
    let text = log.of(config, "alb").text().replace("127.0.0.1:0", &address.to_string());
    let balancer = Balancer::start(&text);
    let control = Control::at(&socket);
    let stop = AtomicBool::new(false);
    let (good, processes) = thread::scope(|scope| {
        let client = || {
            let pause = Duration::from_micros(200);
            strict_client(address, pause, &stop, |_| {})
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        let mut processes = vec![balancer.id()];
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(300));
            control.done("POST", "/v1/upgrade", None);
            processes.push(control.pid());
        }
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Relaxed);
        let mut good = 0;
        for client in clients {
            let seen = client.join().expect("client");
            assert!(seen.failures.is_empty(), "{:?}", seen.failures);
            good += seen.good;
        }
        (good, processes)
    });
    let last = processes[processes.len() - 1];
    shell(&format!("kill -TERM {last}"));
    let runs = |id: &u32| {
        let status = fs::read_to_string(format!("/proc/{id}/stat"));
        status.is_ok_and(|status| !status.contains(") Z "))
    };
    balancer.wait("all processes to end", || !processes.iter().any(runs));
    let logged = lines(&log.path());
    logged.iter().for_each(|line| drop(alb(line)));
    assert_eq!(logged.len() as u64, good);
}
