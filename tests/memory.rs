//! What the balancer keeps in memory: next to nothing for a connection that is idle, and no more
//! for a large body than for a small one.
//!
//! `RINGWAY_TEST_BODY_GIB` (default 1) is the size of a body; `RINGWAY_RELEASE_BIN` names a release
//! build to measure instead of the debug one; the bounds are the same. Prints its figures: run with
//! `--nocapture`.

// Tests are ordinary threads; the bans are about workers.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod harness;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use harness::*;

/// One measurement at a time: they would slow each other down.
static TURN: Mutex<()> = Mutex::new(());

/// Idle connections, unless the limit of open files allows fewer.
const CONNECTIONS: usize = 8_000;
/// Files that the test needs for itself.
const OTHER_FILES: usize = 500;
/// Idle for longer than it takes to give everything back: a connection keeps its buffer for a
/// second (`RELEASE_AFTER` in `proxy/http.rs`), its worker frees what it does not need every second
/// (`SWEEP` in `worker.rs`), and the allocator keeps free pages for another.
const IDLE: Duration = Duration::from_secs(5);
/// Longest that this may take a busy machine.
const GIVEN_BACK_MAX: Duration = Duration::from_secs(45);
/// Most memory of an idle connection, in bytes.
const IDLE_BYTES_MAX: usize = 2 * 1024;

/// Most memory that a body may cost, of whatever size: buffers, pipes and slack.
const GROWTH_BYTES_MAX: usize = 64 << 20;
const PIECE_BYTES: usize = 256 << 10;
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(20);

#[test]
fn idle_connection_holds_no_buffer() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let files = ringway::net::limits::raise_open_files().expect("limit of open files");
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let count = CONNECTIONS.min(files.saturating_sub(OTHER_FILES));
    let target = Target::named("a");
    let balancer = http(&[&target]).start();
    assert_eq!(balancer.client().get("/").status, 200);
    thread::sleep(IDLE);
    let before = balancer.memory();
    let mut clients: Vec<Client> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = balancer.client();
        assert_eq!(client.get("/").status, 200);
        clients.push(client);
    }
    thread::sleep(IDLE);
    let until = Instant::now() + GIVEN_BACK_MAX;
    let (after, each) = loop {
        let after = balancer.memory();
        let each = after.saturating_sub(before) / count;
        if each <= IDLE_BYTES_MAX || Instant::now() >= until {
            break (after, each);
        }
        thread::sleep(SAMPLE);
    };
    eprintln!(
        "{count} idle connections, {}: {before} bytes before, {after} after, {each} each",
        balancer.ready_line()
    );
    assert!(each <= IDLE_BYTES_MAX, "{each} bytes per idle connection");
    for client in clients.iter_mut().step_by(100) {
        assert_eq!(client.get("/").status, 200, "it still serves");
    }
}

fn body_bytes() -> u64 {
    let given = std::env::var("RINGWAY_TEST_BODY_GIB").ok();
    let gib = given.map_or(1, |text| text.parse().expect("RINGWAY_TEST_BODY_GIB: a number"));
    gib << 30
}

/// Moves a body by `work` while it watches the memory of `balancer`.
fn watch(name: &str, balancer: &mut Balancer, work: impl FnOnce(&Balancer)) {
    let process = balancer.process().id();
    let before = resident(process);
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let watcher = thread::spawn(move || {
        let mut most = 0;
        while !is_done.load(Relaxed) {
            most = most.max(resident(process));
            thread::sleep(SAMPLE);
        }
        most
    });
    let began = Instant::now();
    work(balancer);
    let took = began.elapsed();
    done.store(true, Relaxed);
    let most = watcher.join().expect("watcher");
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let gib = body_bytes() >> 30;
    eprintln!(
        "{name}, {gib} GiB, {}: {took:.1?}, resident {:.1} MiB before, {:.1} MiB at most",
        balancer.ready_line(),
        mib(before),
        mib(most),
    );
    let growth = most.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{name}: memory grew by {growth} bytes");
}

/// Resident memory of a process, in bytes.
fn resident(process: u32) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("number") * 1024
}

/// Writes `count` bytes.
fn pour(mut to: &TcpStream, mut count: u64) {
    let piece = vec![b'x'; PIECE_BYTES];
    while count > 0 {
        let len = usize::try_from(count).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        to.write_all(&piece[..len]).expect("send");
        count -= len as u64;
    }
}

/// Reads `limit` bytes, or to the end, and says how many there were.
fn drain(mut from: &TcpStream, limit: u64) -> u64 {
    let mut piece = vec![0; PIECE_BYTES];
    let mut count = 0;
    while count < limit {
        let len = usize::try_from(limit - count).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        match from.read(&mut piece[..len]) {
            Ok(0) => break,
            Ok(read) => count += read as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("after {count} bytes: {error}"),
        }
    }
    count
}

/// Reads a head, byte by byte so that nothing behind it is taken.
fn read_head(mut from: &TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte).expect("head");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("UTF-8")
}

#[test]
fn large_request_body_costs_no_memory() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let count = body_bytes();
    let target = Target::start(move |peer| {
        read_head(peer.stream());
        let received = drain(peer.stream(), count).to_string();
        let length = received.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{received}");
        peer.send(head.as_bytes());
    });
    watch("request body, l7", &mut http(&[&target]).start(), |balancer| {
        let mut client = balancer.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {count}\r\n\r\n"));
        pour(client.stream(), count);
        assert_eq!(client.response("POST").text(), count.to_string());
    });
}

#[test]
fn large_response_body_costs_no_memory() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let count = body_bytes();
    let target = Target::start(move |peer| {
        read_head(peer.stream());
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n").as_bytes());
        pour(peer.stream(), count);
    });
    watch("response body, l7", &mut http(&[&target]).start(), |balancer| {
        let mut client = balancer.client();
        client.send_get("/");
        read_head(client.stream());
        assert_eq!(drain(client.stream(), count), count);
    });
}

#[test]
fn large_chunked_response_costs_no_memory() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let count = body_bytes();
    let target = Target::start(move |peer| {
        read_head(peer.stream());
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut chunk = format!("{PIECE_BYTES:x}\r\n").into_bytes();
        chunk.resize(chunk.len() + PIECE_BYTES, b'x');
        chunk.extend_from_slice(b"\r\n");
        for _ in 0..count / PIECE_BYTES as u64 {
            peer.send(&chunk);
        }
        peer.send(b"0\r\n\r\n");
    });
    watch("chunked response body, l7", &mut http(&[&target]).start(), |balancer| {
        let mut client = balancer.client();
        // To a client of HTTP/1.0 the data goes without chunks.
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        read_head(client.stream());
        assert_eq!(drain(client.stream(), u64::MAX), count);
    });
}

#[test]
fn large_transfer_both_ways_costs_no_memory() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let count = body_bytes();
    let target = Target::start(move |peer| {
        let stream = peer.stream();
        thread::scope(|scope| {
            scope.spawn(|| pour(stream, count));
            assert_eq!(drain(stream, count), count);
        });
    });
    watch("both ways at once, l4", &mut tcp(&[&target]).start(), |balancer| {
        let client = balancer.client();
        thread::scope(|scope| {
            scope.spawn(|| pour(client.stream(), count));
            // To the end, which comes once the target has read everything too.
            assert_eq!(drain(client.stream(), u64::MAX), count);
        });
    });
}
