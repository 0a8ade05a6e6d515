//! The load generator of the benchmarks: one thread, HTTP/1.1, prints one line of JSON.
//!
//! Closed loop: each of `--connections` sends its next request when it has the last response.
//! Open loop (`--rate`): requests fall due at fixed times, whatever the responses do, and latency
//! counts from when a request was due, so a stall is seen by all the requests that it delayed
//! (no coordinated omission). A request that finds every connection busy waits its turn.
//!
//! `--watch PID` measures the processor time of processes over exactly the window in which
//! requests are counted. With `--slices` there is such a window, and a line of output, for each
//! line on the standard input; in between this process stands still, and its connections stay
//! open. So several of them can take turns a few times a second. `--hold` opens the connections,
//! sends one request on each, says so and keeps them open and idle until its standard input ends.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use ringway::model::Driver;
use ringway::net::{self, Buffer, Socket, Timer, ring};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long after the end of the window responses that are under way may still come.
const GRACE: Duration = Duration::from_millis(500);
/// Shortest wait for requests to fall due, so that the timer leaves time for the answers.
const DUE_MIN: Duration = Duration::from_micros(50);
/// Room for a read of what is encrypted.
const SEALED_ROOM: usize = 64 * 1024;
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
    /// Encrypts; the file has the certificate to trust, which must be for the address.
    #[arg(long, value_name = "PEM")]
    tls: Option<PathBuf>,
    /// Takes up no TLS session again.
    #[arg(long, requires = "tls")]
    full_handshakes: bool,
    /// Processes whose processor time is measured.
    #[arg(long)]
    watch: Vec<u32>,
    /// A window for each line on the standard input, until that ends.
    #[arg(long)]
    slices: bool,
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
    tls: Option<Arc<ClientConfig>>,
    arrivals: Arrivals,
    /// Requests of the open loop that are being answered.
    under_way: Cell<usize>,
    /// Which window this is: what an earlier one began must not go on in it.
    window: Cell<u64>,
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

    fn waiting(&self) -> usize {
        self.due.borrow().len()
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
        tls: tls(&options),
        options,
        arrivals: Arrivals::default(),
        under_way: Cell::default(),
        window: Cell::default(),
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
    if !load.options.slices {
        return window(&load).await;
    }
    // So that everything is connected before the first of them.
    net::sleep(Duration::from_secs_f64(load.options.warm_up)).await;
    let mut line = String::new();
    // Blocks this thread, and with it the load.
    while std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        window(&load).await;
    }
}

/// Warms up, counts for as long as is asked for, and prints what was counted.
async fn window(load: &Rc<Load>) {
    load.over.set(false);
    load.window.set(load.window.get() + 1);
    if let Some(rate) = load.options.rate {
        net::spawn(make_due(load.clone(), rate));
    }
    net::sleep(Duration::from_secs_f64(load.options.warm_up)).await;
    for count in [&load.requests, &load.bytes, &load.errors] {
        count.set(0);
    }
    load.latency.borrow_mut().reset();
    let (began, cpu) = (Instant::now(), processor_ns(&load.options.watch));
    load.counting.set(true);
    net::sleep(Duration::from_secs_f64(load.options.seconds)).await;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), processor_ns(&load.options.watch) - cpu);
    load.over.set(true);
    if load.options.rate.is_some() {
        // What was due in the window and has no answer yet still belongs to it.
        let end = Instant::now() + GRACE;
        while Instant::now() < end && load.under_way.get() + load.arrivals.waiting() > 0 {
            net::sleep(Duration::from_millis(1)).await;
        }
        let unsent = std::mem::take(&mut *load.arrivals.due.borrow_mut()).len() as u64;
        load.errors.set(load.errors.get() + unsent);
    }
    load.counting.set(false);
    print(load, seconds, cpu);
}

fn print(load: &Load, seconds: f64, cpu_ns: u64) {
    let latency = load.latency.borrow();
    let counted = latency.iter_recorded();
    // Nanoseconds and how often, so that windows can be laid together.
    let histogram: Vec<(u64, u64)> =
        counted.map(|value| (value.value_iterated_to(), value.count_at_value())).collect();
    let result = serde_json::json!({
        "requests": load.requests.get(),
        "bytes": load.bytes.get(),
        "errors": load.errors.get(),
        "seconds": seconds,
        "cpu_seconds": cpu_ns as f64 / 1e9,
        "latencies": histogram,
    });
    println!("{result}");
}

/// Lets requests fall due, `rate` a second at even distances, until the window ends. Where the next
/// window has begun before this wakes, it adds nothing: all since the last one would be overdue.
async fn make_due(load: Rc<Load>, rate: f64) {
    let mut timer = Timer::new().expect("a timer");
    let began = Instant::now();
    let mut made = 0_u64;
    let window = load.window.get();
    loop {
        let next = Duration::from_secs_f64((made + 1) as f64 / rate);
        let wait = next.saturating_sub(began.elapsed());
        timer.sleep(wait.max(DUE_MIN)).await.expect("a timer on the ring");
        if load.over.get() || load.window.get() != window {
            return;
        }
        let due = (began.elapsed().as_secs_f64() * rate) as u64;
        for number in made..due {
            load.arrivals.add(began + Duration::from_secs_f64(number as f64 / rate));
        }
        made = made.max(due);
    }
}

/// One of the connections, made anew when it breaks or when every request gets its own.
async fn connection(load: Rc<Load>) {
    let mut client: Option<Client> = None;
    let goes_on = load.options.slices || load.options.rate.is_some();
    while goes_on || !load.over.get() {
        let began = match load.options.rate {
            Some(_) => load.arrivals.next().await,
            None => Instant::now(),
        };
        load.under_way.set(load.under_way.get() + 1);
        let answer = match client.take() {
            Some(client) => client.answer(&load).await,
            None => match Client::connect(&load).await {
                Some(client) => client.answer(&load).await,
                None => None,
            },
        };
        load.under_way.set(load.under_way.get() - 1);
        match answer {
            Some(answered) => {
                load.answered(began);
                client = (!load.options.new_connections).then_some(answered);
            }
            None => load.failed().await,
        }
    }
}

impl Load {
    fn answered(&self, began: Instant) {
        if self.counting.get() {
            self.requests.set(self.requests.get() + 1);
            let nanoseconds = began.elapsed().as_nanos() as u64;
            self.latency.borrow_mut().saturating_record(nanoseconds);
        }
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
    /// Where the load is encrypted.
    tls: Option<Box<ClientConnection>>,
    /// Holds the request for good: written, it is taken back.
    request: Buffer,
    input: Buffer,
}

impl Client {
    /// Connects, and shakes hands where the load is encrypted.
    async fn connect(load: &Load) -> Option<Self> {
        let socket = net::connect(load.options.address).await.ok()?;
        let request = match load.tls {
            None => filled(&load.request),
            Some(_) => Buffer::default(),
        };
        let mut client = Self { socket, tls: None, request, input: Buffer::with_room(HEAD_ROOM) };
        if let Some(config) = &load.tls {
            let name = ServerName::from(load.options.address.ip());
            let mut tls = Box::new(ClientConnection::new(config.clone(), name).ok()?);
            while tls.is_handshaking() {
                client.flush(&mut tls).await?;
                if tls.is_handshaking() {
                    client.fill(&mut tls).await?;
                }
            }
            client.tls = Some(tls);
        }
        Some(client)
    }

    /// Sends what TLS has to send.
    async fn flush(&mut self, tls: &mut ClientConnection) -> Option<()> {
        let mut bytes = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut bytes).ok()?;
        }
        match bytes.is_empty() {
            true => Some(()),
            false => self.socket.write(filled(&bytes)).await.0.ok(),
        }
    }

    /// Reads what has come for TLS.
    async fn fill(&mut self, tls: &mut ClientConnection) -> Option<()> {
        let (count, sealed) = self.socket.read(Buffer::with_room(SEALED_ROOM)).await;
        let mut bytes = sealed.filled();
        if count.ok()? == 0 {
            return None;
        }
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).ok()?;
            tls.process_new_packets().ok()?;
        }
        Some(())
    }

    async fn send(&mut self, request: &[u8]) -> Option<()> {
        if let Some(mut tls) = self.tls.take() {
            tls.writer().write_all(request).ok()?;
            self.flush(&mut tls).await?;
            self.tls = Some(tls);
            return Some(());
        }
        let (result, mut sent) = self.socket.write(std::mem::take(&mut self.request)).await;
        sent.rewind(request.len());
        self.request = sent;
        result.ok()
    }

    /// Appends to the input what comes next, at least a byte.
    async fn read(&mut self) -> Option<()> {
        let mut input = std::mem::take(&mut self.input);
        if let Some(mut tls) = self.tls.take() {
            let before = input.len();
            while input.len() == before {
                self.fill(&mut tls).await?;
                // An error says that nothing more is there now.
                let _ = tls.reader().read_to_end(input.tail());
            }
            self.tls = Some(tls);
            self.input = input;
            return Some(());
        }
        let (count, input) = self.socket.read(input).await;
        self.input = input;
        count.ok().filter(|&count| count > 0).map(drop)
    }

    /// Sends the request and reads the response; `None` when anything is wrong.
    async fn answer(mut self, load: &Load) -> Option<Self> {
        self.send(&load.request).await?;
        self.input.clear();
        let (head, body) = loop {
            self.input.reserve(1024);
            self.read().await?;
            let bytes = self.input.filled();
            if let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") {
                break (end + 4, content_length(&bytes[..end])?);
            }
        };
        let mut left = (head as u64 + body).checked_sub(self.input.len() as u64)?;
        load.count_bytes(self.input.len());
        if left > 0 {
            self.input.clear();
            self.input.reserve((left as usize).min(BODY_ROOM));
        }
        while left > 0 {
            self.read().await?;
            left = left.checked_sub(self.input.len() as u64)?;
            load.count_bytes(self.input.len());
            self.input.clear();
        }
        Some(self)
    }
}

/// A buffer with exactly these bytes.
fn filled(bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::with_room(bytes.len());
    buffer.tail().extend_from_slice(bytes);
    buffer
}

/// TLS 1.3 with one cipher suite and one key exchange, so that every server does the same work.
fn tls(options: &Options) -> Option<Arc<ClientConfig>> {
    let ca = options.tls.as_ref()?;
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("a readable file") {
        roots.add(certificate.expect("a certificate")).expect("one that may be trusted");
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    if options.full_handshakes {
        config.resumption = Resumption::disabled();
    }
    Some(Arc::new(config))
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
            let Some(client) = Client::connect(&own).await else {
                return own.errors.set(own.errors.get() + 1);
            };
            match client.answer(&own).await {
                Some(client) => own.held.borrow_mut().push(client.socket),
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
