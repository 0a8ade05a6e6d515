//! A thousand target groups with four targets each: a reload stays short, a health flip reaches
//! every worker at once, also while the configuration changes, and a scrape of all their metrics is
//! short and holds no request up.
//!
//! Prints its figures: run with `--nocapture`, and `RINGWAY_RELEASE_BIN` for those of a release
//! build. What is asserted is far above them: a busy machine must not fail.

// Tests are ordinary threads; the bans are about workers.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod harness;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use harness::*;

const GROUPS: usize = 1_000;
const TARGETS_PER_GROUP: usize = 4;

/// Longest reload that is not a failure. The aim is a second, on a release build.
const RELOAD_MAX: Duration = Duration::from_secs(30);
/// Longest way of a health flip to the last worker that is not a failure. The aim is 10 ms.
const FLIP_MAX: Duration = Duration::from_secs(5);
/// Longest scrape that is not a failure. The aim is 100 ms, on a release build.
const SCRAPE_MAX: Duration = Duration::from_secs(10);
/// How many spans of time are compared, with and without scrapes, and how long each is.
const SPANS: usize = 5;
const SPAN: Duration = Duration::from_secs(4);
/// Scrapes one after the other whose processor time is told.
const RESTING_SCRAPES: u32 = 20;
/// Pause between two scrapes of such a span.
const SCRAPE_PAUSE: Duration = Duration::from_secs(1);
/// Time for thousands of first probes on a busy machine.
const ALL_HEALTHY_MAX: Duration = Duration::from_secs(180);

/// All targets: one socket on every loopback address.
struct Targets {
    port: u16,
    /// Those whose health check fails.
    sick: Arc<Mutex<HashSet<SocketAddr>>>,
    /// Where metrics are read.
    door: SocketAddr,
}

impl Targets {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
        socket2::SockRef::from(&listener).listen(4096).expect("backlog");
        listener.set_nonblocking(true).expect("non-blocking");
        let port = listener.local_addr().expect("bound").port();
        let sick = Arc::<Mutex<HashSet<SocketAddr>>>::default();
        let known = Arc::clone(&sick);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a reactor");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&known)));
                }
            });
        });
        Self { port, sick, door: free_address() }
    }

    /// The target `index` of a group; `edition` tells those of one configuration from another.
    fn address(&self, group: usize, index: usize, edition: u8) -> SocketAddr {
        let (high, low) = ((group / 250) as u8, (group % 250) as u8);
        let last = 1 + index as u8 + 100 * edition;
        SocketAddr::from(([127, 1 + high, low, last], self.port))
    }

    fn turn(&self, target: SocketAddr, is_sick: bool) {
        let mut sick = self.sick.lock().unwrap_or_else(PoisonError::into_inner);
        match is_sick {
            true => sick.insert(target),
            false => sick.remove(&target),
        };
    }
}

/// Answers `/health` by the health, and everything else with the address that was asked.
async fn serve(mut stream: TcpStream, sick: Arc<Mutex<HashSet<SocketAddr>>>) -> Option<()> {
    let address = stream.local_addr().ok()?;
    let mut request = Vec::new();
    loop {
        request.clear();
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await.ok()? == 0 {
                return None;
            }
        }
        let is_sick = sick.lock().unwrap_or_else(PoisonError::into_inner).contains(&address);
        let status = match request.starts_with(b"GET /health ") && is_sick {
            true => "503 Service Unavailable",
            false => "200 OK",
        };
        let body = address.to_string();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.ok()?;
    }
}

/// A configuration in which group `n` serves `/n/`. The first group is probed often, the others
/// every 30 s. Another `edition` has other settings and another last target in every group.
fn configuration(targets: &Targets, dir: &std::path::Path, edition: u8) -> String {
    let driver = std::env::var("RINGWAY_TEST_DRIVER").unwrap_or_else(|_| "auto".into());
    let (dir, door) = (dir.display(), targets.door);
    let mut text = format!(
        "[server]\nworkers = 2\ndriver = \"{driver}\"\nstate_dir = \"{dir}\"\n\
         control = {{ socket = \"{dir}/control.sock\", metrics_address = \"{door}\" }}\n"
    );
    for group in 0..GROUPS {
        let last = TARGETS_PER_GROUP - 1;
        let addresses = (0..TARGETS_PER_GROUP)
            .map(|at| targets.address(group, at, if at == last { edition } else { 0 }));
        let addresses: Vec<_> = addresses.map(|address| format!("\"{address}\"")).collect();
        let (interval, timeout) = if group == 0 { ("1s", "950ms") } else { ("30s", "25s") };
        let _ = write!(
            text,
            "[[target_groups]]\nname = \"group-{group}\"\ntargets = [{}]\n\
             deregistration_delay = \"1s\"\nidle_timeout = \"{}s\"\n\
             health_check = {{ path = \"/health\", interval = \"{interval}\", \
             timeout = \"{timeout}\", unhealthy_threshold = 2, healthy_threshold = 2 }}\n",
            addresses.join(", "),
            30 + edition,
        );
    }
    text.push_str(
        "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nmode = \"l7\"\n\
         default = { forward = \"group-0\" }\n",
    );
    for group in 0..GROUPS {
        let _ = write!(
            text,
            "[[listeners.rules]]\npriority = {}\npath_pattern = \"/{group}/*\"\n\
             forward = \"group-{group}\"\n",
            group + 1
        );
    }
    text
}

/// A balancer with all groups, and what speaks to it.
struct Scale {
    targets: Targets,
    dir: tempfile::TempDir,
    control: Control,
    balancer: Balancer,
}

impl Scale {
    /// Starts it and waits until every target is healthy.
    fn start() -> Self {
        let (targets, dir) = (Targets::start(), tempfile::tempdir().expect("a directory"));
        let control = Control::at(&dir.path().join("control.sock"));
        let text = configuration(&targets, dir.path(), 0);
        let began = Instant::now();
        let balancer = Balancer::start(&text);
        eprintln!("start: {:.0?}", began.elapsed());
        let scale = Self { targets, dir, control, balancer };
        scale.wait_states("healthy", GROUPS * TARGETS_PER_GROUP);
        eprintln!("{} targets healthy: {:.1?}", GROUPS * TARGETS_PER_GROUP, began.elapsed());
        scale
    }

    /// Waits until so many targets have this state.
    fn wait_states(&self, state: &str, count: usize) {
        let until = Instant::now() + ALL_HEALTHY_MAX;
        loop {
            let status = self.control.status();
            let groups = status["target_groups"].as_array().expect("groups").iter();
            let targets = groups.flat_map(|group| group["targets"].as_array().expect("targets"));
            let now = targets.filter(|target| target["state"] == state).count();
            if now == count {
                return;
            }
            assert!(Instant::now() < until, "{now} of {count} are {state}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Changes every group by a reload; how long it took.
    fn reload(&self, edition: u8) -> Duration {
        self.balancer.rewrite(&configuration(&self.targets, self.dir.path(), edition));
        let began = Instant::now();
        self.control.done("POST", "/v1/reload", None);
        began.elapsed()
    }

    /// Turns a target of the first group sick and well again; waits until requests say so.
    fn flip(&self) {
        let target = self.targets.address(0, 0, 0);
        let name = target.to_string();
        let mut clients = [self.balancer.client(), self.balancer.client()];
        let mut asked = move || -> Vec<String> {
            let ask = |client: &mut Client| [0; TARGETS_PER_GROUP].map(|_| client.get("/").text());
            clients.iter_mut().flat_map(ask).collect()
        };
        for is_sick in [true, false] {
            self.targets.turn(target, is_sick);
            let until = Instant::now() + DEADLINE;
            while asked().contains(&name) == is_sick {
                assert!(Instant::now() < until, "sick: {is_sick}, and no flip; {}", self.flips());
            }
        }
    }

    fn flips(&self) -> Value {
        self.control.status()["health_flips"].take()
    }

    /// Sends requests one after the other, to one group after the other, until `is_over`; how long
    /// each took.
    fn ask_groups(&self, is_over: impl Fn() -> bool) -> Vec<Duration> {
        let mut client = self.balancer.client();
        let groups = (0..GROUPS).cycle().take_while(|_| !is_over());
        let ask = |group| {
            let began = Instant::now();
            assert_eq!(client.get(&format!("/{group}/")).status, 200);
            began.elapsed()
        };
        groups.map(ask).collect()
    }

    /// Processor time of the process so far.
    fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.control.pid());
        let stat = std::fs::read_to_string(path).expect("it runs");
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u32>().expect("a number");
        Duration::from_millis(10) * (ticks(12) + ticks(13))
    }

    fn say_memory(&self, when: &str) {
        let mib = self.balancer.memory() as f64 / f64::from(1 << 20);
        eprintln!("memory (PSS) {when}: {mib:.1} MiB");
    }
}

/// Ends the reloads when dropped, also by a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn thousand_groups_reload_and_flip_at_once() {
    let scale = Scale::start();
    scale.say_memory("at the start");
    eprintln!("first flips: {}", scale.flips());

    for edition in [0, 1, 0] {
        let took = scale.reload(edition);
        eprintln!("reload: {took:.0?}");
        assert!(took < RELOAD_MAX, "{took:?}");
    }
    let took = Instant::now();
    scale.control.register("group-7", scale.targets.address(7, 50, 0));
    eprintln!("registration: {:.0?}", took.elapsed());
    eprintln!("reload over a change of the API: {:.0?}", scale.reload(1));

    for _ in 0..3 {
        scale.flip();
        eprintln!("flips at rest: {}", scale.flips());
    }
    let is_done = AtomicBool::new(false);
    let texts = [0, 1].map(|edition| configuration(&scale.targets, scale.dir.path(), edition));
    let (control, path) = (&scale.control, scale.balancer.config_path());
    thread::scope(|scope| {
        scope.spawn(|| {
            for text in texts.iter().cycle().take_while(|_| !is_done.load(Relaxed)) {
                std::fs::write(path, text).expect("write the file");
                control.done("POST", "/v1/reload", None);
            }
        });
        let _stop = Stop(&is_done);
        for _ in 0..3 {
            scale.flip();
        }
    });
    let flips = scale.flips();
    eprintln!("flips while reloading: {flips}");
    let longest = Duration::from_micros(flips["longest_us"].as_u64().expect("measured"));
    assert!(longest < FLIP_MAX, "{longest:?}");
    scale.wait_states("draining", 0);
    scale.say_memory("at the end");
}

/// Reads all metrics; how long it took, and the page.
fn scrape(door: SocketAddr) -> (Duration, String) {
    let mut stream = std::net::TcpStream::connect(door).expect("the door");
    let mut page = String::new();
    let began = Instant::now();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .and_then(|()| stream.read_to_string(&mut page))
        .expect("metrics");
    (began.elapsed(), page)
}

/// The time that this share of `times` stays below.
fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share) as usize]
}

#[test]
fn scrape_of_a_thousand_groups_is_short_and_holds_nothing_up() {
    let scale = Scale::start();
    // Every group has something to tell.
    let asked = AtomicUsize::new(0);
    scale.ask_groups(|| asked.fetch_add(1, Relaxed) == GROUPS);
    let door = scale.targets.door;
    let mut took: Vec<Duration> = Vec::new();
    let (mut quiet, mut scraped) = (Vec::new(), Vec::new());
    for _ in 0..SPANS {
        let until = Instant::now() + SPAN;
        quiet.extend(scale.ask_groups(|| Instant::now() >= until));
        let until = Instant::now() + SPAN;
        thread::scope(|scope| {
            let scrapes = scope.spawn(move || {
                let mut took = Vec::new();
                while Instant::now() < until {
                    took.push(scrape(door).0);
                    thread::sleep(SCRAPE_PAUSE);
                }
                took
            });
            scraped.extend(scale.ask_groups(|| Instant::now() >= until));
            took.extend(scrapes.join().expect("no panic"));
        });
    }
    let (_, page) = scrape(door);
    assert!(page.ends_with("# EOF\n"));
    let last = format!("ringway_group_requests_total{{target_group=\"group-{}\"}}", GROUPS - 1);
    assert!(page.contains(&last));
    eprintln!("metrics: {:.1} MB, {} lines", page.len() as f64 / 1e6, page.lines().count());
    let middle = quantile(&mut took, 0.5);
    let (least, most) = (took[0], took[took.len() - 1]);
    eprintln!("{} scrapes: {least:.0?} to {most:.0?}, {middle:.0?} in the middle", took.len());
    let before = scale.cpu();
    (0..RESTING_SCRAPES).for_each(|_| drop(scrape(door)));
    eprintln!("processor time of a scrape: {:.0?}", (scale.cpu() - before) / RESTING_SCRAPES);
    for (name, times) in [("without", &mut quiet), ("with", &mut scraped)] {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| quantile(times, share));
        eprintln!(
            "{} requests {name} scrapes: p50 {p50:.0?}, p99 {p99:.0?}, p99.9 {p999:.0?}",
            times.len()
        );
    }
    assert!(middle < SCRAPE_MAX, "{middle:?}");
}
