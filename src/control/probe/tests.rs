//! Over real sockets: scripted targets on 127.0.0.1, ports given by the kernel, and a deadline on
//! every wait.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::*;
use crate::model::{Matcher, ProbeProtocol};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
const LONG: Duration = Duration::from_secs(300);

/// Fails the test when `future` takes too long.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(45), future).await.expect("in time")
}

fn key(group: &str, target: SocketAddr) -> ProbeKey {
    ProbeKey { group: group.into(), target }
}

/// An HTTP check that is not repeated within a test.
fn once() -> HealthCheck {
    HealthCheck { interval: LONG, timeout: Duration::from_secs(5), ..HealthCheck::default() }
}

fn every(interval_ms: u64) -> HealthCheck {
    let timeout = Duration::from_millis(interval_ms * 9 / 10);
    HealthCheck { interval: Duration::from_millis(interval_ms), timeout, ..once() }
}

/// A prober and its results.
struct Probing {
    prober: Prober,
    results: mpsc::Receiver<ProbeResult>,
}

impl Probing {
    fn start() -> Self {
        Self::with_limit(PROBES_IN_FLIGHT_MAX)
    }

    fn with_limit(limit: usize) -> Self {
        let (sender, results) = mpsc::channel(64);
        Self { prober: Prober::with_limit(sender, limit), results }
    }

    fn set(&mut self, wanted: impl IntoIterator<Item = (ProbeKey, HealthCheck)>) {
        let wanted: Vec<_> = wanted.into_iter().collect();
        self.prober.set(wanted.iter().map(|(key, check)| (key.clone(), check)));
    }

    async fn next(&mut self) -> ProbeResult {
        soon(self.results.recv()).await.expect("a result")
    }

    /// Waits until this many tasks are alive.
    async fn tasks(&self, count: usize) {
        soon(async {
            while self.prober.shared.results.strong_count() != 1 + count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A target that treats each connection as it is told; gone when dropped.
struct Scripted {
    address: SocketAddr,
    task: AbortHandle,
}

impl Scripted {
    async fn start<F, Served>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> Served + Send + 'static,
        Served: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        };
        Self { address, task: tokio::spawn(accept).abort_handle() }
    }

    /// Answers every request with `response` and closes.
    async fn answering(response: &'static [u8]) -> Self {
        Self::start(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(response).await;
        })
        .await
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    head
}

/// The outcome of one probe.
async fn outcome(target: SocketAddr, check: HealthCheck) -> Probe {
    let mut probing = Probing::start();
    probing.set([(key("home", target), check)]);
    probing.next().await.outcome
}

/// A socket on 127.0.0.1 that does not listen, yet keeps others from its port.
struct Nobody(Socket);

impl Nobody {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap().as_socket().unwrap()
    }
}

/// A response with a head of about `bytes`.
fn wide(bytes: usize) -> &'static [u8] {
    let fields = "X: 0123456789\r\n".repeat(bytes / 150);
    let long = "y".repeat(bytes - fields.len());
    format!("HTTP/1.1 200 OK\r\nLong: {long}\r\n{fields}\r\n").leak().as_bytes()
}

#[tokio::test]
async fn answer_is_judged_by_its_status_alone() {
    let rows: &[(&[u8], Probe)] = &[
        (OK, Probe::Success),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", Probe::Success),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Probe::Success),
        (b"HTTP/1.0 200 OK\r\n\r\n", Probe::Success),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Probe::Success),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", Probe::CodeMismatch(302)),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Probe::CodeMismatch(404)),
        (b"HTTP/1.1 503 Busy\r\n\r\n", Probe::CodeMismatch(503)),
        (b"", Probe::Failed),
        (b"HTTP/1.1 200 OK\r\n", Probe::Failed),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Probe::Failed),
        (wide(24 * 1024), Probe::Success),
        (wide(64 * 1024), Probe::Failed),
    ];
    for (response, expected) in rows {
        let target = Scripted::answering(response).await;
        let start = &response[..response.len().min(60)];
        assert_eq!(outcome(target.address, once()).await, *expected, "{}", start.escape_ascii());
    }
}

#[tokio::test]
async fn matcher_says_which_statuses_succeed() {
    let target = Scripted::answering(b"HTTP/1.1 404 Not Found\r\n\r\n").await;
    let check = HealthCheck { matcher: Matcher(vec![(200, 200), (404, 410)]), ..once() };
    assert_eq!(outcome(target.address, check).await, Probe::Success);
}

#[tokio::test]
async fn probe_is_byte_for_byte_that_of_aws() {
    let (heads, mut seen) = mpsc::channel(1);
    let target = Scripted::start(move |mut stream| {
        let heads = heads.clone();
        async move {
            let head = read_head(&mut stream).await;
            let _ = stream.write_all(OK).await;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            heads.send([head, rest].concat()).await.unwrap();
        }
    })
    .await;
    let other_port = SocketAddr::from(([127, 0, 0, 1], 1));
    let check =
        HealthCheck { path: "/health?deep=1".into(), port: Some(target.address.port()), ..once() };
    assert_eq!(outcome(other_port, check).await, Probe::Success);
    let expected = format!(
        "GET /health?deep=1 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         User-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n",
        target.address
    );
    let seen = soon(seen.recv()).await.unwrap();
    assert_eq!(String::from_utf8(seen).unwrap(), expected);
}

#[tokio::test]
async fn tcp_probe_connects_and_closes_without_a_byte() {
    let (ends, mut end) = mpsc::channel(1);
    let target = Scripted::start(move |mut stream| {
        let ends = ends.clone();
        async move {
            let mut bytes = Vec::new();
            ends.send(stream.read_to_end(&mut bytes).await.unwrap()).await.unwrap();
        }
    })
    .await;
    let check = HealthCheck { protocol: ProbeProtocol::Tcp, ..once() };
    assert_eq!(outcome(target.address, check.clone()).await, Probe::Success);
    assert_eq!(soon(end.recv()).await, Some(0));
    let nobody = Nobody::new();
    assert_eq!(outcome(nobody.address(), check).await, Probe::Failed, "refused");
}

#[tokio::test]
async fn connection_refused_or_reset_is_a_failure() {
    let nobody = Nobody::new();
    assert_eq!(outcome(nobody.address(), once()).await, Probe::Failed);
    let resetting = Scripted::start(|mut stream| async move {
        read_head(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_eq!(outcome(resetting.address, once()).await, Probe::Failed);
}

#[tokio::test]
async fn timeout_covers_connection_and_head() {
    let timeout = Duration::from_millis(100);
    let check = HealthCheck { timeout, ..once() };
    // A full queue of a listener that accepts nothing leaves the connection unanswered.
    let deaf = Nobody::new();
    deaf.0.listen(0).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(timeout, TcpStream::connect(deaf.address())).await {
        waiting.push(stream.unwrap());
    }
    let silent = Scripted::start(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending().await
    })
    .await;
    let halting = Scripted::start(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await.unwrap();
        std::future::pending().await
    })
    .await;
    for target in [deaf.address(), silent.address, halting.address] {
        let mut probing = Probing::start();
        probing.set([(key("home", target), check.clone())]);
        let result = probing.next().await;
        assert_eq!(result.outcome, Probe::Timeout);
        assert!(result.took >= timeout, "{:?}", result.took);
    }
}

#[tokio::test]
async fn probes_are_spaced_by_the_interval_however_long_answers_take() {
    let target = Scripted::start(|mut stream| async move {
        read_head(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let _ = stream.write_all(OK).await;
    })
    .await;
    let check = every(500);
    let mut probing = Probing::start();
    probing.set([(key("home", target.address), check.clone())]);
    let mut starts = Vec::new();
    for _ in 0..6 {
        let result = probing.next().await;
        assert!(result.took >= Duration::from_millis(300));
        starts.push(result.at - result.took);
    }
    let gaps: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|&gap| gap >= check.interval), "{gaps:?}");
    // 800 ms is what an interval that began at the answer would take. The shortest, since a
    // busy machine may delay any.
    assert!(gaps.iter().any(|&gap| gap < Duration::from_millis(750)), "{gaps:?}");
}

#[tokio::test]
async fn set_keeps_what_is_unchanged_and_probes_what_is_new_at_once() {
    let target = Scripted::answering(OK).await;
    let (kept, changed, new) =
        (key("kept", target.address), key("changed", target.address), key("new", target.address));
    let mut probing = Probing::start();
    probing.set([(kept.clone(), once()), (changed.clone(), once())]);
    let mut results = [probing.next().await, probing.next().await];
    results.sort_by(|a, b| a.key.group.cmp(&b.key.group));
    assert_eq!((&results[0].key, &results[1].key), (&changed, &kept));
    assert!(results.iter().all(|result| probing.prober.is_current(result)));

    let another = HealthCheck { path: "/other".into(), ..once() };
    let both = [(kept.clone(), once()), (changed.clone(), another.clone())];
    probing.set(both.clone());
    let again = probing.next().await;
    assert_eq!(again.key, changed);
    assert!(!probing.prober.is_current(&results[0]), "from the health check before");
    assert!(probing.prober.is_current(&again));

    let [first, second] = both;
    probing.set([first, second, (new.clone(), once())]);
    assert_eq!(probing.next().await.key, new);
    probing.set([(new.clone(), once())]);
    assert!(!probing.prober.is_current(&again), "gone");
    probing.tasks(1).await;
    assert!(probing.results.try_recv().is_err(), "what is unchanged was not probed again");
}

#[tokio::test]
async fn target_that_is_gone_and_a_dropped_prober_close_their_connections() {
    let (events, mut seen) = mpsc::channel(8);
    let target = Scripted::start(move |mut stream| {
        let events = events.clone();
        async move {
            read_head(&mut stream).await;
            events.send("asked").await.unwrap();
            assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
            events.send("closed").await.unwrap();
        }
    })
    .await;
    let mut probing = Probing::start();
    probing.set([(key("home", target.address), once())]);
    assert_eq!(soon(seen.recv()).await, Some("asked"));
    probing.set([]);
    assert_eq!(soon(seen.recv()).await, Some("closed"));
    probing.tasks(0).await;

    probing.set([(key("home", target.address), once())]);
    assert_eq!(soon(seen.recv()).await, Some("asked"));
    drop(probing.prober);
    assert_eq!(soon(seen.recv()).await, Some("closed"));
    assert!(soon(probing.results.recv()).await.is_none(), "no task is left");
}

#[tokio::test]
async fn prober_ends_when_nobody_hears_it() {
    let target = Scripted::answering(OK).await;
    let mut probing = Probing::start();
    probing.results.close();
    probing.set([(key("home", target.address), every(100))]);
    probing.tasks(0).await;
}

#[tokio::test]
async fn waiting_for_other_probes_is_not_the_targets_time() {
    let hold = Duration::from_millis(200);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let most_seen = most.clone();
    let target = Scripted::start(move |mut stream| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            read_head(&mut stream).await;
            tokio::time::sleep(hold).await;
            now.fetch_sub(1, SeqCst);
            let _ = stream.write_all(OK).await;
        }
    })
    .await;
    let mut probing = Probing::with_limit(2);
    let timeout = hold * 18;
    let wanted = (0..40).map(|n| (key(&n.to_string(), target.address), once()));
    let began = Instant::now();
    probing.set(wanted.map(|(key, check)| (key, HealthCheck { timeout, ..check })));
    for _ in 0..40 {
        let result = probing.next().await;
        assert_eq!(result.outcome, Probe::Success);
        assert!(result.took < timeout);
    }
    assert!(began.elapsed() >= hold * 20, "40 probes, 2 at a time");
    assert_eq!(most_seen.load(SeqCst), 2);
}

#[tokio::test]
async fn four_thousand_targets_are_cheap() {
    let nobody = Nobody::new();
    let target = key("home", nobody.address());
    let mut probing = Probing::start();
    let starts = Starts { first: LONG, second: LONG };
    let check = Arc::new(once());
    let sleeping = Target { key: target.clone(), check, tls: None, schedule: 0, starts };
    let task = sleeping.run(Instant::now(), probing.prober.shared.clone());
    assert!(size_of_val(&task) <= 768, "{} bytes", size_of_val(&task));
    drop(task);
    let wanted = (0..4000).map(|n| (key(&n.to_string(), target.target), once()));
    probing.set(wanted);
    // Spread over 2 s, plus what a busy machine needs.
    soon(async {
        for _ in 0..4000 {
            assert_eq!(probing.next().await.outcome, Probe::Failed);
        }
    })
    .await;
}

#[test]
fn first_probes_start_soon_and_second_ones_are_spread_over_the_interval() {
    let interval = Duration::from_secs(30);
    let starts = |count: usize| {
        let target = SocketAddr::from(([10, 0, 0, 1], 80));
        let one = move |n: usize| Starts::new(&key(&n.to_string(), target), count, interval);
        (0..count).map(one)
    };
    let alone = Starts { first: Duration::ZERO, second: interval };
    assert_eq!(starts(1).collect::<Vec<_>>(), [alone]);
    assert!(starts(100).all(|starts| starts.first <= Duration::from_millis(50)));
    let mut per_tenth = [0; 10];
    for starts in starts(4000) {
        assert!(starts.first <= Duration::from_secs(2));
        assert!(starts.second >= interval / 2 && starts.second < interval * 3 / 2);
        per_tenth[((starts.second - interval / 2).as_secs() / 3) as usize] += 1;
    }
    assert!(per_tenth.iter().all(|count| (300..500).contains(count)), "{per_tenth:?}");
}
