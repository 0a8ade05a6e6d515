//! The load generator: one thread with a ring of its own, HTTP/1.1.
//!
//! In the open loop requests fall due at fixed times, whatever the responses do, and latency
//! counts from when a request was due: a stall is seen by all the requests that it delayed (no
//! coordinated omission). A request that finds every connection busy waits its turn. The closed
//! loop finds out how much goes through. Start with [`run`]; one connection is in `exchange.rs`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::model::Driver;
use crate::net::{self, Timer, ring};

use super::Error;
use super::cores::Cores;
use super::exchange::Client;
use super::process;
use super::stop::Stop;

/// How long after the end of the window responses that are under way may still come.
const GRACE: Duration = Duration::from_millis(500);
/// How often it is looked whether the load is over. Every client is asked to stop within that.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Pause of a client whose request failed, so that a target that is gone is not asked in a tight
/// loop.
const FAILURE_PAUSE: Duration = Duration::from_millis(5);
/// Requests that are due within so long may be sent together: else each would cost a wait.
const DUE_TOGETHER: Duration = Duration::from_micros(50);
/// Longest latency that is told from a longer one.
const LATENCY_MAX: Duration = Duration::from_secs(60);
/// Longest that a number of requests may take.
const REQUESTS_MAX: Duration = Duration::from_secs(15);
/// Length of one step of [`Outcome::series`].
pub(super) const STEP: Duration = Duration::from_millis(100);

/// A load.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Where connections go, in turn.
    pub(super) addresses: Vec<SocketAddr>,
    /// What each sends.
    pub(super) request: Vec<u8>,
    /// Connections open at once.
    pub(super) clients: usize,
    pub(super) pace: Pace,
    pub(super) end: End,
    /// Load in front of what is counted; not for [`End::Requests`].
    pub(super) warm_up: Duration,
    /// Whether each request gets a connection of its own.
    pub(super) anew: bool,
    /// The process whose processor time is measured.
    pub(super) watch: Option<u32>,
}

/// When a request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// When its client has the response before.
    Closed,
    /// So many a second, by whichever client is free.
    Open(f64),
    /// Each client has its own requests, one every so often.
    Each(Duration),
}

/// When it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After so long.
    After(Duration),
    /// After so many requests.
    Requests(u64),
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Requests that were answered with a status below 400, in the window.
    pub(super) requests: u64,
    /// Requests that got another answer, or none.
    pub(super) failures: u64,
    /// Length of the window.
    pub(super) window: Duration,
    /// Processor time of the watched process, over the window.
    pub(super) processor: Option<Duration>,
    /// Nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// Answers in each [`STEP`] of the window.
    pub(super) series: Vec<u64>,
}

/// What all connections share.
struct Load {
    plan: Plan,
    arrivals: Arrivals,
    counting: Cell<Option<Instant>>,
    over: Cell<bool>,
    sent: Cell<u64>,
    under_way: Cell<usize>,
    requests: Cell<u64>,
    failures: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    series: RefCell<Vec<u64>>,
}

/// Runs the load on a thread of its own and waits for its end, or for `stop`.
///
/// # Errors
/// If the thread or its ring cannot be had.
pub(super) fn run(plan: Plan, cores: &Cores, stop: &Stop) -> Result<Outcome, Error> {
    let core = cores.load;
    let failed = |source| Error::new("the load generator cannot run", source);
    let stop = stop.clone();
    let work = move || {
        core.map(core_affinity::set_for_current);
        let (engine, _) = ring::probe(Driver::Auto).map_err(io::Error::other)?;
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, 3);
        let load = Rc::new(Load {
            plan,
            arrivals: Arrivals::default(),
            counting: Cell::default(),
            over: Cell::default(),
            sent: Cell::default(),
            under_way: Cell::default(),
            requests: Cell::default(),
            failures: Cell::default(),
            latency: RefCell::new(latency.map_err(io::Error::other)?),
            series: RefCell::default(),
        });
        ring::build(engine)?.block_on(load.run(&stop))
    };
    let thread = thread::Builder::new().name("compare-load".into()).spawn(work).map_err(failed)?;
    let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread has panicked")));
    ended.map_err(failed)
}

/// A request for `path` as ordinary clients send it.
pub(super) fn request(host: SocketAddr, path: &str, anew: bool) -> Vec<u8> {
    let close = if anew { "Connection: close\r\n" } else { "" };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ringway-compare\r\nAccept: */*\r\n\
         {close}\r\n"
    )
    .into_bytes()
}

impl Load {
    async fn run(self: Rc<Self>, stop: &Stop) -> io::Result<Outcome> {
        for number in 0..self.plan.clients {
            net::spawn(self.clone().client(number));
        }
        if let Pace::Open(rate) = self.plan.pace {
            net::spawn(self.clone().make_due(Timer::new()?, rate.max(1.0)));
        }
        let before = |until: Instant| Instant::now() < until && !stop.is_asked();
        if matches!(self.plan.end, End::After(_)) {
            let until = Instant::now() + self.plan.warm_up;
            while before(until) {
                net::sleep(LOOK_EVERY).await;
            }
        }
        let (began, used) = (Instant::now(), self.processor());
        self.counting.set(Some(began));
        match self.plan.end {
            End::After(length) => {
                while before(began + length) {
                    net::sleep(LOOK_EVERY).await;
                }
            }
            End::Requests(count) => {
                let done = || self.requests.get() + self.failures.get() >= count;
                while before(began + REQUESTS_MAX) && !done() {
                    net::sleep(LOOK_EVERY).await;
                }
            }
        }
        let (window, processor) = (began.elapsed(), self.processor());
        self.over.set(true);
        if self.plan.pace != Pace::Closed {
            // What was due in the window and has no answer yet still belongs to it.
            let until = Instant::now() + GRACE;
            while Instant::now() < until && !self.is_quiet() {
                net::sleep(LOOK_EVERY).await;
            }
            self.failures.set(self.failures.get() + self.arrivals.due.borrow().len() as u64);
        }
        self.counting.set(None);
        Ok(Outcome {
            requests: self.requests.get(),
            failures: self.failures.get(),
            window,
            processor: processor.zip(used).map(|(after, before)| after.saturating_sub(before)),
            latency: self.latency.borrow().clone(),
            series: self.series.take(),
        })
    }

    /// Whether no request waits for a client, or for its answer.
    fn is_quiet(&self) -> bool {
        self.under_way.get() == 0 && self.arrivals.due.borrow().is_empty()
    }

    fn processor(&self) -> Option<Duration> {
        self.plan.watch.map(process::processor_time)
    }

    /// Lets requests fall due at even distances until the window ends.
    async fn make_due(self: Rc<Self>, mut timer: Timer, rate: f64) {
        let began = Instant::now();
        let at = |number: u64| began + Duration::from_secs_f64(number as f64 / rate);
        let mut next = 0;
        while !self.over.get() {
            let left = at(next).saturating_duration_since(Instant::now());
            if timer.sleep(left.max(DUE_TOGETHER)).await.is_err() {
                return;
            }
            while at(next) <= Instant::now() && !self.over.get() {
                self.arrivals.add(at(next));
                next += 1;
            }
        }
    }

    /// One of the connections, made anew when it breaks or when every request gets its own.
    async fn client(self: Rc<Self>, number: usize) {
        let Some(&address) = self.plan.addresses.get(number % self.plan.addresses.len().max(1))
        else {
            return;
        };
        let mut client: Option<Client> = None;
        let mut turns = Turns::new(&self.plan, number);
        while let Some(due) = self.next(&mut turns).await {
            self.under_way.set(self.under_way.get() + 1);
            let answered = self.exchange(address, client.take()).await;
            self.under_way.set(self.under_way.get() - 1);
            match answered {
                Some(rest) => {
                    self.answered(due);
                    client = rest;
                }
                None => self.failed().await,
            }
        }
    }

    /// One request and its answer, on this connection or a new one; the connection, if it can take
    /// another request. `None` if there was no good answer.
    async fn exchange(
        &self,
        address: SocketAddr,
        client: Option<Client>,
    ) -> Option<Option<Client>> {
        let mut client = match client {
            Some(client) => client,
            None => Client::connect(address, &self.plan.request).await?,
        };
        let answer = client.exchange().await?;
        let again = answer.persistent && !self.plan.anew;
        (answer.status < 400).then(|| again.then_some(client))
    }

    /// When the next request of a client is due; `None` when there is none.
    async fn next(&self, turns: &mut Turns) -> Option<Instant> {
        if let End::Requests(count) = self.plan.end {
            let sent = self.sent.get();
            self.sent.set(sent + 1);
            if sent >= count {
                return None;
            }
        }
        if let Pace::Open(_) = self.plan.pace {
            return Some(self.arrivals.next().await);
        }
        let due = match self.plan.pace {
            Pace::Each(period) => {
                turns.due += period;
                let wait = turns.due.saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    net::sleep(wait).await;
                }
                turns.due
            }
            Pace::Closed | Pace::Open(_) => Instant::now(),
        };
        (!self.over.get()).then_some(due)
    }

    fn answered(&self, due: Instant) {
        // One that was due in the warm-up is none of the window's.
        let Some(began) = self.counting.get().filter(|began| due >= *began) else { return };
        self.requests.set(self.requests.get() + 1);
        let nanoseconds = due.elapsed().as_nanos() as u64;
        self.latency.borrow_mut().saturating_record(nanoseconds);
        let step = (began.elapsed().as_nanos() / STEP.as_nanos()) as usize;
        let mut series = self.series.borrow_mut();
        if series.len() <= step {
            series.resize(step + 1, 0);
        }
        if let Some(answers) = series.get_mut(step) {
            *answers += 1;
        }
    }

    async fn failed(&self) {
        if self.counting.get().is_some() {
            self.failures.set(self.failures.get() + 1);
        }
        net::sleep(FAILURE_PAUSE).await;
    }
}

/// When the requests of one client are due, where each has its own.
struct Turns {
    due: Instant,
}

impl Turns {
    /// Clients begin one after the other within the period, as strangers would.
    fn new(plan: &Plan, number: usize) -> Self {
        let offset = match plan.pace {
            Pace::Each(period) => period.mul_f64(number as f64 / plan.clients.max(1) as f64),
            Pace::Closed | Pace::Open(_) => Duration::ZERO,
        };
        Self { due: Instant::now() + offset }
    }
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
