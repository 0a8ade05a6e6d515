//! Registrations that end by themselves: until when, and which have ended.
//!
//! The end of a lease stands in the target's entry of the overlay, in seconds since 1970, under a
//! key that no file has. A lease is renewed by registering again; what ends is up to the caller,
//! who deregisters it.

use std::net::SocketAddr;

use serde_json::{Map, Value};

use super::Overlay;
use super::keyed::GROUPS;

/// Key of a target's entry: when its registration ends, in seconds since 1970.
pub(super) const EXPIRES: &str = "expires";

/// Takes the lease out of a target's entry. Anything else under its name stays, to be refused.
pub(super) fn strip(target: &mut Map<String, Value>) {
    if target.get(EXPIRES).is_some_and(Value::is_u64) {
        target.remove(EXPIRES);
    }
}

impl Overlay {
    /// The registrations that have ended at `now` (seconds since 1970): group and address, to be
    /// deregistered.
    #[must_use]
    pub fn expired(&self, now: u64) -> Vec<(String, SocketAddr)> {
        let ended = self.leases().filter(|(_, _, expires)| *expires <= now);
        ended.map(|(group, address, _)| (group.to_owned(), address)).collect()
    }

    /// When the next registration ends, in seconds since 1970; `None` when none does.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.leases().map(|(_, _, expires)| expires).min()
    }

    /// When the registration of a target ends, in seconds since 1970; `None` when it does not.
    #[must_use]
    pub fn expires(&self, group: &str, address: SocketAddr) -> Option<u64> {
        self.leases().find_map(|lease| ((lease.0, lease.1) == (group, address)).then_some(lease.2))
    }

    fn leases(&self) -> impl Iterator<Item = (&str, SocketAddr, u64)> {
        let groups = self.patch.get(GROUPS.list).and_then(Value::as_object).into_iter().flatten();
        groups.flat_map(|(group, entry)| {
            let targets = entry.get(GROUPS.inner).and_then(Value::as_object).into_iter().flatten();
            targets.filter_map(move |(address, target)| {
                let expires = target.get(EXPIRES)?.as_u64()?;
                Some((group.as_str(), address.parse().ok()?, expires))
            })
        })
    }
}
