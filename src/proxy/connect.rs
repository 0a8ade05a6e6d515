//! Which target to try, and a connection to it.

use std::io;

use crate::net::{self, Alarm};
use crate::snapshot::{GroupView, TargetId, TargetView};

use super::error::ErrorKind;
use super::local::Local;
use super::stream::Stream;

/// Most targets tried for one request or connection. Each costs the client a wait.
const ATTEMPTS_MAX: usize = 8;

/// Targets that have been tried. Allocates nothing before the first failure.
#[derive(Default)]
pub(super) struct Tried(Vec<TargetId>);

impl Tried {
    /// Notes a failure at `target`.
    pub(super) fn add(&mut self, target: &TargetView) {
        self.0.push(target.id);
    }

    /// Whether `target` has been tried.
    pub(super) fn contains(&self, target: &TargetView) -> bool {
        self.0.contains(&target.id)
    }

    /// Whether no further target is tried.
    pub(super) fn is_enough(&self) -> bool {
        self.0.len() >= ATTEMPTS_MAX
    }
}

/// The next target to try; `None` when there is none, or enough have been tried.
pub(super) fn choose<'g>(
    group: &'g GroupView,
    tried: &Tried,
    local: &Local,
) -> Option<&'g TargetView> {
    match tried.is_enough() {
        true => None,
        false => group.choose(local.random(), |target| !tried.contains(target)),
    }
}

/// A connection to `target`, and whether it has been used before; `fresh` asks for a new one.
///
/// # Errors
/// The kind of the failure, which is also on the log.
pub(super) async fn connect(
    group: &GroupView,
    target: &TargetView,
    fresh: bool,
    alarm: &Alarm,
    local: &Local,
) -> Result<(Stream, bool), ErrorKind> {
    if !fresh && let Some(socket) = local.pools.take(target) {
        local.counters.target_connections_reused.add(1);
        return Ok((socket, true));
    }
    let connected = alarm.within(group.settings.connect_timeout, net::connect(target.address));
    let result = connected.await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
    match result {
        Ok(socket) => {
            local.counters.target_connections.add(1);
            group.tally.of(local.index).connections.add(1);
            target.tally.of(local.index).connections.add(1);
            Ok((Stream::plain(socket), false))
        }
        Err(error) => {
            local.counters.target_connection_errors.add(1);
            group.tally.of(local.index).connect_errors.add(1);
            target.tally.of(local.index).connect_errors.add(1);
            target.load.failed();
            local.pools.complain(group, target, &error, alarm.now());
            Err(ErrorKind::of_connect(&error))
        }
    }
}
