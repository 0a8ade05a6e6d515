//! The load generator of the benchmarks: one thread, HTTP/1.1, prints one line of JSON.
//!
//! Closed loop: each of `--connections` sends its next request when it has the last response.
//! Open loop (`--rate`): requests fall due at fixed times, whatever the responses do, and latency
//! counts from when a request was due, so a stall is seen by all the requests that it delayed
//! (no coordinated omission). A request that finds every connection busy waits its turn.
//!
//! `--watch PID` measures the processor time of processes over exactly the window in which
//! requests are counted. `--hold` opens the connections, sends one request on each, says so and
//! keeps them open and idle until its standard input ends.

#![allow(unsafe_code)] // The timer of the open loop: monoio's own ticks once in a millisecond.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use ringway::model::Driver;
use ringway::net::{self, Acceptor, Buffer, Socket, ring};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long after the end of the window responses that are under way may still come.
const GRACE: Duration = Duration::from_millis(500);
/// Room for a response head, and for as much of a body as one read should take.
const HEAD_ROOM: usize = 4 * 1024;
const BODY_ROOM: usize = 256 * 1024;
/// Connections that are being opened at once where they are to be held.
const HOLD_AT_ONCE: usize = 16;

#[derive(Parser)]
struct Options {
    /// Where to send requests.
    address: SocketAddr,
    /// Connections open at once.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Length of the window in which requests are counted.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Load in front of the window.
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
    /// Requests per second: makes it an open loop.
    #[arg(long)]
    rate: Option<f64>,
    /// Request target; the target server answers `/N` with N bytes.
    #[arg(long, default_value = "/2")]
    path: String,
    /// Bytes of request body: makes it a POST.
    #[arg(long, default_value_t = 0)]
    body: usize,
    /// A new connection for each request.
    #[arg(long)]
    new_connections: bool,
    /// Processes whose processor time is measured.
    #[arg(long)]
    watch: Vec<u32>,
    /// Open, ask once, hold until the standard input ends.
    #[arg(long)]
    hold: bool,
    /// What `cargo bench` passes; without meaning here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What all connections share.
struct Load {
    options: Options,
    request: Vec<u8>,
    arrivals: Arrivals,
    counting: Cell<bool>,
    over: Cell<bool>,
    requests: Cell<u64>,
    bytes: Cell<u64>,
    errors: Cell<u64>,
    /// Sockets and not their tasks: one that nothing can wake is dropped.
    held: RefCell<Vec<Socket>>,
    latency: RefCell<Histogram<u64>>,
}

/// Requests that are due and not yet sent, and connections that wait for one.
#[derive(Default)]
struct Arrivals {
    due: RefCell<VecDeque<Instant>>,
    idle: RefCell<VecDeque<Waker>>,
}

impl Arrivals {
    fn add(&self, due: Instant) {
        self.due.borrow_mut().push_back(due);
        let waker = self.idle.borrow_mut().pop_front();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn next(&self) -> Instant {
        poll_fn(|context| match self.due.borrow_mut().pop_front() {
            Some(due) => Poll::Ready(due),
            None => {
                self.idle.borrow_mut().push_back(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

fn main() {
    let options = Options::parse();
    let (engine, _) = ring::probe(Driver::Auto).expect("epoll always works");
    let mut runtime = ring::build(engine).expect("a runtime");
    let load = Rc::new(Load {
        request: request(&options),
        options,
        arrivals: Arrivals::default(),
        counting: Cell::default(),
        over: Cell::default(),
        requests: Cell::default(),
        bytes: Cell::default(),
        errors: Cell::default(),
        held: RefCell::default(),
        latency: RefCell::new(Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds")),
    });
    runtime.block_on(async move {
        match load.options.hold {
            true => hold(load).await,
            false => run(load).await,
        }
    });
}

/// The request as sent each time, with what an ordinary client sends.
fn request(options: &Options) -> Vec<u8> {
    let Options { address, path, body, .. } = options;
    let method = if *body > 0 { "POST" } else { "GET" };
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: ringway-load/1\r\n\
         Accept: */*\r\nAccept-Encoding: gzip\r\n"
    );
    if *body > 0 {
        head += &format!("Content-Length: {body}\r\n");
    }
    if options.new_connections {
        head += "Connection: close\r\n";
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.resize(bytes.len() + body, b'x');
    bytes
}

async fn run(load: Rc<Load>) {
    for _ in 0..load.options.connections {
        net::spawn(connection(load.clone()));
    }
    if let Some(rate) = load.options.rate {
        net::spawn(make_due(load.clone(), rate));
    }
    net::sleep(Duration::from_secs_f64(load.options.warm_up)).await;
    let (began, cpu) = (Instant::now(), processor_ns(&load.options.watch));
    load.counting.set(true);
    net::sleep(Duration::from_secs_f64(load.options.seconds)).await;
    load.over.set(load.options.rate.is_none());
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), processor_ns(&load.options.watch) - cpu);
    if load.options.rate.is_some() {
        // What was due in the window and has no answer yet still belongs to it.
        load.over.set(true);
        net::sleep(GRACE).await;
        let unsent = load.arrivals.due.borrow().len() as u64;
        load.errors.set(load.errors.get() + unsent);
    }
    load.counting.set(false);
    print(&load, seconds, cpu);
}

fn print(load: &Load, seconds: f64, cpu_ns: u64) {
    let latency = load.latency.borrow();
    let microseconds = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
    let result = serde_json::json!({
        "requests": load.requests.get(),
        "bytes": load.bytes.get(),
        "errors": load.errors.get(),
        "seconds": seconds,
        "cpu_seconds": cpu_ns as f64 / 1e9,
        "p50": microseconds(0.5),
        "p99": microseconds(0.99),
        "p999": microseconds(0.999),
        "max": latency.max() as f64 / 1e3,
    });
    println!("{result}");
}

/// Lets requests fall due, `rate` a second at even distances, until the window ends.
async fn make_due(load: Rc<Load>, rate: f64) {
    let timer = timer(Duration::from_secs_f64(1.0 / rate)).expect("a timer");
    let ready = Acceptor::new(timer.try_clone().expect("a descriptor")).expect("a ring");
    let began = Instant::now();
    let mut made = 0_u64;
    while !load.over.get() && ready.ready().await.is_ok() {
        let mut expired = 0_u64;
        // SAFETY: `expired` is valid for the eight bytes that a timer gives.
        unsafe { libc::read(timer.as_raw_fd(), (&raw mut expired).cast(), 8) };
        let due = (began.elapsed().as_secs_f64() * rate) as u64;
        for number in made..due {
            load.arrivals.add(began + Duration::from_secs_f64(number as f64 / rate));
        }
        made = made.max(due);
    }
}

/// A timer that expires every `interval`, at most ten thousand times a second.
fn timer(interval: Duration) -> std::io::Result<OwnedFd> {
    let interval = interval.max(Duration::from_micros(100));
    let time = libc::timespec {
        tv_sec: interval.as_secs().cast_signed(),
        tv_nsec: i64::from(interval.subsec_nanos()),
    };
    let spec = libc::itimerspec { it_interval: time, it_value: time };
    let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
    // SAFETY: the call takes two integers.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: `spec` is valid for the length of the call, and the old value is not asked for.
    match unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut()) }
    {
        0 => Ok(fd),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// One of the connections, made anew when it breaks or when every request gets its own.
async fn connection(load: Rc<Load>) {
    let mut client: Option<Client> = None;
    while !load.over.get() || load.options.rate.is_some() {
        let began = match load.options.rate {
            Some(_) => load.arrivals.next().await,
            None => Instant::now(),
        };
        let mut current = match client.take() {
            Some(client) => client,
            None => match net::connect(load.options.address).await {
                Ok(socket) => Client::new(socket, &load.request),
                Err(_) => {
                    load.failed().await;
                    continue;
                }
            },
        };
        let Some(bytes) = current.exchange(&load).await else {
            load.failed().await;
            continue;
        };
        load.answered(began, bytes);
        if !load.options.new_connections {
            client = Some(current);
        }
    }
}

impl Load {
    fn answered(&self, began: Instant, bytes: u64) {
        if self.counting.get() {
            self.requests.set(self.requests.get() + 1);
            let nanoseconds = began.elapsed().as_nanos() as u64;
            self.latency.borrow_mut().saturating_record(nanoseconds);
        }
        debug_assert!(bytes > 0);
    }

    /// Counts a failure, and waits so that a target that is gone is not asked in a tight loop.
    async fn failed(&self) {
        if self.counting.get() {
            self.errors.set(self.errors.get() + 1);
        }
        net::sleep(Duration::from_millis(5)).await;
    }
}

/// A connection and its two buffers.
struct Client {
    socket: Socket,
    /// Holds the request for good: written, it is taken back.
    request: Option<Buffer>,
    input: Option<Buffer>,
}

impl Client {
    fn new(socket: Socket, request: &[u8]) -> Self {
        let mut buffer = Buffer::with_room(request.len());
        buffer.tail().extend_from_slice(request);
        let input = Buffer::with_room(HEAD_ROOM);
        Self { socket, request: Some(buffer), input: Some(input) }
    }

    /// Sends the request and reads the response; its size, or `None` when anything is wrong.
    async fn exchange(&mut self, load: &Load) -> Option<u64> {
        let request = self.request.take()?;
        let size = request.len();
        let (result, mut request) = self.socket.write(request).await;
        result.ok()?;
        request.rewind(size);
        self.request = Some(request);
        let mut input = self.input.take()?;
        input.clear();
        let (head, body) = loop {
            input.reserve(1024);
            let (count, filled) = self.socket.read(input).await;
            input = filled;
            if count.ok()? == 0 {
                return None;
            }
            if let Some(end) = memchr::memmem::find(input.filled(), b"\r\n\r\n") {
                break (end + 4, content_length(&input.filled()[..end])?);
            }
        };
        let mut left = (head as u64 + body).checked_sub(input.len() as u64)?;
        load.count_bytes(input.len());
        if left > 0 {
            input.clear();
            input.reserve((left as usize).min(BODY_ROOM));
        }
        while left > 0 {
            let (count, filled) = self.socket.read(input).await;
            input = filled;
            let count = count.ok()?;
            left = left.checked_sub(count as u64).filter(|_| count > 0)?;
            load.count_bytes(count);
            input.clear();
        }
        self.input = Some(input);
        Some(head as u64 + body)
    }
}

impl Load {
    fn count_bytes(&self, count: usize) {
        if self.counting.get() {
            self.bytes.set(self.bytes.get() + count as u64);
        }
    }
}

/// The length of the body behind `head`, or `None` when it is not a 200 with a length.
fn content_length(head: &[u8]) -> Option<u64> {
    if head.get(9..12)? != b"200" {
        return None;
    }
    let lines = head.split(|&byte| byte == b'\n');
    let name = b"content-length:";
    let line = lines.into_iter().find(|line| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    })?;
    std::str::from_utf8(&line[name.len()..]).ok()?.trim().parse().ok()
}

/// Processor time, in nanoseconds, of all threads of these processes, the kernel's among them
/// (io-wq). Threads that have ended since are in the coarser figure of the whole process.
fn processor_ns(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| of_threads(*pid).max(of_process(*pid))).sum()
}

fn of_threads(pid: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let texts =
        tasks.flatten().flat_map(|task| std::fs::read_to_string(task.path().join("schedstat")));
    texts.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

fn of_process(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    // A tick is a hundredth of a second for all programs, whatever the kernel's own.
    ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10_000_000
}

async fn hold(load: Rc<Load>) {
    for number in 1..=load.options.connections {
        let own = load.clone();
        net::spawn(async move {
            let mut client = match net::connect(own.options.address).await {
                Ok(socket) => Client::new(socket, &own.request),
                Err(_) => return own.errors.set(own.errors.get() + 1),
            };
            match client.exchange(&own).await {
                Some(_) => own.held.borrow_mut().push(client.socket),
                None => own.errors.set(own.errors.get() + 1),
            }
        });
        // A few at a time: else what many requests at once need would be measured, not what idle
        // connections need.
        while number - load.held.borrow().len() - load.errors.get() as usize >= HOLD_AT_ONCE {
            net::sleep(Duration::from_millis(1)).await;
        }
    }
    while load.held.borrow().len() + (load.errors.get() as usize) < load.options.connections {
        net::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "{}",
        serde_json::json!({ "held": load.held.borrow().len(), "errors": load.errors.get() })
    );
    // Blocks this thread, which has nothing else to do: the connections are to be idle.
    let _ = std::io::stdin().read(&mut [0]);
}
