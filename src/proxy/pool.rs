//! Unused connections to targets, per worker and target, and who failed lately.
//!
//! A connection is lent to one exchange at a time, never pipelined. The last one given back is
//! the first one lent. One that says anything while unused, or ends, is not lent again.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::net::TICK;
use crate::snapshot::{GroupView, Snapshot, TargetId, TargetView};
use crate::tls;

use super::stream::Stream;

/// A target that keeps failing costs one log line in this many ticks.
const COMPLAINT_TICKS: u32 = 100;

/// The idle pools of a worker.
pub struct Pools {
    share: Share,
    pools: RefCell<Vec<Pool>>,
}

/// Which part of what the whole host may keep falls to a worker.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Number of the worker, from 0.
    pub worker: usize,
    /// How many there are.
    pub workers: usize,
}

impl Share {
    /// Whether one more may be kept by a worker that keeps `kept`, where all workers together may
    /// keep `max`. The shares of all add up to `max`; they differ by one at most.
    fn allows_one_more(self, kept: usize, max: usize) -> bool {
        kept * self.workers + self.worker < max
    }
}

#[derive(Default)]
struct Pool {
    target: Option<TargetId>,
    /// All are encrypted as `dialer` does it, or not at all where there is none.
    idle: Vec<Idle>,
    idle_ticks_max: u32,
    complaint: Option<Complaint>,
    /// What is remembered of its TLS sessions.
    dialer: Option<Rc<tls::Dialer>>,
}

struct Idle {
    socket: Stream,
    since: u32,
}

struct Complaint {
    at: u32,
    suppressed: u32,
}

impl Pools {
    /// No connections yet.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self { share, pools: RefCell::default() }
    }

    /// A live connection to `target` of `group`, if one is unused. Dead ones met on the way are
    /// closed.
    #[must_use]
    pub(super) fn take(&self, group: &GroupView, target: &TargetView) -> Option<Stream> {
        let mut pools = self.pools.borrow_mut();
        let pool = pools.get_mut(target.id.slot as usize)?;
        if pool.target != Some(target.id) || !pool.encrypts_as(group) {
            return None;
        }
        std::iter::from_fn(|| pool.idle.pop()).map(|idle| idle.socket).find(Stream::is_idle)
    }

    /// Keeps `socket` for the next exchange with `target`, unless this worker's share of the
    /// group's `idle_connections_max` is kept already or the target drains.
    pub(super) fn put(&self, group: &GroupView, target: &TargetView, socket: Stream, now: u32) {
        if target.load.is_draining() {
            return;
        }
        self.with(target.id, |pool| {
            let max = group.settings.idle_connections_max;
            // The exchange may have begun before the group changed.
            if pool.encrypts_as(group) && self.share.allows_one_more(pool.idle.len(), max) {
                pool.idle_ticks_max = ticks(group.settings.idle_timeout);
                pool.idle.push(Idle { socket, since: now });
            }
        });
    }

    /// What speaks TLS to `target` as `client` says, and remembers its sessions.
    pub(super) fn dialer(&self, target: &TargetView, client: &Arc<tls::Client>) -> Rc<tls::Dialer> {
        self.with(target.id, |pool| match &pool.dialer {
            Some(dialer) if dialer.is_of(client) => dialer.clone(),
            _ => {
                // Those of before were trusted for another reason, or not encrypted.
                pool.close_idle();
                let dialer = Rc::new(tls::Dialer::new(client, target.address.ip()));
                pool.dialer.insert(dialer).clone()
            }
        })
    }

    /// Says on the log that `target` failed: at once the first time, then at most every ten
    /// seconds with the number of failures in between.
    pub fn complain(&self, group: &GroupView, target: &TargetView, error: &io::Error, now: u32) {
        let suppressed = self.with(target.id, |pool| match &mut pool.complaint {
            Some(complaint) if now.saturating_sub(complaint.at) < COMPLAINT_TICKS => {
                complaint.suppressed += 1;
                None
            }
            complaint => {
                let suppressed = complaint.take().map_or(0, |complaint| complaint.suppressed);
                *complaint = Some(Complaint { at: now, suppressed: 0 });
                Some(suppressed)
            }
        });
        if let Some(suppressed) = suppressed {
            let (name, address) = (&group.settings.name, target.address);
            tracing::warn!(target_group = %name, target = %address, %error, suppressed,
                "cannot connect to target");
        }
    }

    /// How many connections to `target` wait to be used.
    pub(super) fn idle(&self, target: TargetId) -> usize {
        match self.pools.borrow().get(target.slot as usize) {
            Some(pool) if pool.target == Some(target) => pool.idle.len(),
            _ => 0,
        }
    }

    /// Closes what has been unused for too long and what targets have closed.
    pub fn sweep(&self, now: u32) {
        for pool in self.pools.borrow_mut().iter_mut() {
            let limit = pool.idle_ticks_max;
            pool.idle.retain(|idle| {
                let is_kept = now.saturating_sub(idle.since) <= limit;
                if !is_kept {
                    idle.socket.end_at_once();
                }
                is_kept && idle.socket.is_idle()
            });
        }
    }

    /// Closes the connections of targets that are not in `snapshot`, and those that are not
    /// encrypted as it says.
    pub fn retain_targets_of(&self, snapshot: &Snapshot) {
        let mut alive = vec![None; self.pools.borrow().len()];
        for group in &snapshot.groups {
            for target in &group.targets {
                if let Some(entry) = alive.get_mut(target.id.slot as usize) {
                    *entry = Some((target.id, group));
                }
            }
        }
        for (pool, alive) in self.pools.borrow_mut().iter_mut().zip(alive) {
            if pool.target != alive.map(|(id, _)| id) {
                pool.close_idle();
                *pool = Pool::default();
            } else if alive.is_some_and(|(_, group)| !pool.encrypts_as(group)) {
                pool.close_idle();
                pool.dialer = None;
            }
        }
    }

    /// Closes all.
    pub fn clear(&self) {
        self.pools.borrow_mut().iter_mut().for_each(Pool::close_idle);
        self.pools.borrow_mut().clear();
    }

    fn with<R>(&self, target: TargetId, change: impl FnOnce(&mut Pool) -> R) -> R {
        let mut pools = self.pools.borrow_mut();
        let slot = target.slot as usize;
        if pools.len() <= slot {
            pools.resize_with(slot + 1, Pool::default);
        }
        let pool = &mut pools[slot];
        if pool.target != Some(target) {
            *pool = Pool { target: Some(target), ..Pool::default() };
        }
        change(pool)
    }

    /// Has one more unused connection to `target`, to nowhere.
    #[cfg(test)]
    pub(super) fn pretend(&self, target: TargetId) {
        self.with(target, |pool| pool.idle.push(Idle { socket: Stream::Gone, since: 0 }));
    }
}

impl Pool {
    /// Whether its connections are encrypted as those of `group` are to be.
    fn encrypts_as(&self, group: &GroupView) -> bool {
        match (&self.dialer, group.encrypts()) {
            (None, None) => true,
            (Some(dialer), Some(client)) => dialer.is_of(client),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn close_idle(&mut self) {
        self.idle.drain(..).for_each(|idle| idle.socket.end_at_once());
    }
}

pub(super) fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_all_workers_add_up_to_the_limit_and_are_even() {
        for workers in [1, 2, 3, 4, 64] {
            for max in [0, 1, 2, 3, 63, 64, 65, 4096] {
                let shares: Vec<usize> = (0..workers)
                    .map(|worker| {
                        let share = Share { worker, workers };
                        (0..=max).find(|&kept| !share.allows_one_more(kept, max)).unwrap_or(max)
                    })
                    .collect();
                assert_eq!(shares.iter().sum::<usize>(), max, "{workers} workers: {shares:?}");
                let (least, most) = (shares.iter().min(), shares.iter().max());
                assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
            }
        }
    }
}
