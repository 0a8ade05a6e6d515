//! What takes many clients at once: connections, shares, a killed target, memory.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use crate::compare::Error;
use crate::compare::findings::{Connections, Killed, Memory, Shares};
use crate::compare::hold::Held;
use crate::compare::load::{self, End, Outcome, Pace, Plan};
use crate::compare::process;
use crate::compare::site::{Purpose, TIMES_SLOWER};
use crate::compare::target::Target;
use crate::compare::way::Way;

use super::{Bench, failed};

/// Requests behind "connections per 1,000 requests"; clients that keep their connections and how
/// often each asks; clients that do not, as many as ask at once.
const REQUESTS: u64 = 1000;
const CLIENTS: usize = 100;
const CLIENTS_PERIOD: Duration = Duration::from_millis(200);
const PASSERS_BY: usize = 8;
/// Clients of the group with a slow target, how often each asks, and for how long.
const STRANGERS: usize = 24;
const STRANGERS_PERIOD: Duration = Duration::from_millis(100);
const SHARES_WINDOW: Duration = Duration::from_millis(2000);
/// How often each client asks the group that loses a target, for how long, and when it does.
const KILLED_PERIOD: Duration = Duration::from_millis(20);
const KILLED_WINDOW: Duration = Duration::from_millis(2000);
const KILLED_AFTER: Duration = Duration::from_millis(600);
/// Connections that wait, those that come before so that the balancer is at its working size, and
/// how long after their request they are weighed.
const WAITING: usize = 1000;
const WAITING_BEFORE: usize = 128;
const SETTLE: Duration = Duration::from_millis(2500);

fn run(way: &Way, bench: &Bench<'_>, purpose: Purpose, plan: Plan) -> Result<Outcome, Error> {
    let addresses = way.addresses(purpose);
    let host = addresses.first().copied();
    let host = host.ok_or_else(|| failed(io::Error::other("there is no listener for it")))?;
    let request = load::request(host, "/", plan.anew);
    load::run(Plan { addresses, request, ..plan }, bench.cores, bench.stop)
}

/// A load without addresses.
fn plan(clients: usize, pace: Pace, end: End) -> Plan {
    Plan {
        addresses: Vec::new(),
        request: Vec::new(),
        clients,
        pace,
        end,
        warm_up: Duration::ZERO,
        anew: false,
        watch: None,
    }
}

/// Connections that are opened to targets.
pub(super) fn connections(way: &Way, bench: &Bench<'_>) -> Result<Connections, Error> {
    let opened =
        || -> u64 { way.site.app.iter().map(|target| target.seen.connections.load(Relaxed)).sum() };
    let per_1000 = |plan| {
        let before = opened();
        let outcome = run(way, bench, Purpose::App, plan)?;
        let answered = outcome.requests.max(1) as f64;
        Ok((opened() - before) as f64 * 1000.0 / answered)
    };
    let end = End::Requests(REQUESTS);
    let kept = per_1000(plan(CLIENTS, Pace::Each(CLIENTS_PERIOD), end))?;
    let anew = per_1000(Plan { anew: true, ..plan(PASSERS_BY, Pace::Closed, end) })?;
    Ok(Connections { clients: CLIENTS, kept, anew })
}

/// What each target gets with a slow one among them, in turn and by what is in flight. Without a
/// balancer there is only the client's own turn.
pub(super) fn shares(way: &Way, bench: &Bench<'_>) -> Result<(Shares, Option<Shares>), Error> {
    let even = share(way, bench, Purpose::Even, &way.site.even)?;
    let least = match way.balancer {
        Some(_) => Some(share(way, bench, Purpose::Least, &way.site.least)?),
        None => None,
    };
    Ok((even, least))
}

fn share(
    way: &Way,
    bench: &Bench<'_>,
    purpose: Purpose,
    targets: &[Target; 3],
) -> Result<Shares, Error> {
    let counts = || targets.each_ref().map(|target| target.seen.requests.load(Relaxed));
    let before = counts();
    let pace = Pace::Each(STRANGERS_PERIOD);
    let outcome = run(way, bench, purpose, plan(STRANGERS, pace, End::After(SHARES_WINDOW)))?;
    let requests: Vec<u64> =
        counts().iter().zip(before).map(|(after, before)| after - before).collect();
    let (all, slow) = (requests.iter().sum::<u64>(), requests.last().copied().unwrap_or_default());
    let milliseconds = |quantile| outcome.latency.value_at_quantile(quantile) as f64 / 1e6;
    Ok(Shares {
        times_slower: TIMES_SLOWER,
        slow_share: slow as f64 / all.max(1) as f64,
        requests,
        p50_ms: milliseconds(0.5),
        p99_ms: milliseconds(0.99),
    })
}

/// Kills a target under load.
pub(super) fn killed(way: &Way, bench: &Bench<'_>) -> Result<Killed, Error> {
    let pace = Pace::Each(KILLED_PERIOD);
    let plan = plan(STRANGERS, pace, End::After(KILLED_WINDOW));
    let [victim, ..] = &way.site.app;
    let outcome = thread::scope(|scope| {
        let load = scope.spawn(|| run(way, bench, Purpose::App, plan));
        bench.stop.wait(KILLED_AFTER);
        victim.kill();
        load.join().unwrap_or_else(|_| Err(failed(io::Error::other("the load has panicked"))))
    })?;
    Ok(Killed { answered: outcome.requests, failed: outcome.failures })
}

/// What the balancer needs for a connection that waits for its next request.
pub(super) fn memory(way: &Way, bench: &Bench<'_>) -> Result<Option<Memory>, Error> {
    let address = way.addresses(Purpose::Many).first().copied();
    let Some((pid, address)) = way.process().zip(address) else { return Ok(None) };
    let weigh = || process::memory_bytes(pid);
    let waiting = |count| hold(address, count, bench);
    let first = waiting(WAITING_BEFORE)?;
    let before = weigh();
    let all = waiting(WAITING)?;
    let after = weigh();
    drop(first);
    if bench.stop.is_asked() || all.len() == 0 {
        return Ok(None);
    }
    Ok(before.zip(after).map(|(before, after)| Memory {
        connections: all.len(),
        bytes_per_connection: (after as f64 - before as f64) / all.len() as f64,
    }))
}

/// Opens connections, asks once on each, and waits until the balancer has noticed that they are
/// idle.
fn hold(address: SocketAddr, count: usize, bench: &Bench<'_>) -> Result<Held, Error> {
    let held = Held::open(address, count, bench.stop).map_err(failed)?;
    bench.stop.wait(SETTLE);
    Ok(held)
}
