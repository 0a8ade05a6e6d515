//! Registrations that end by themselves: until when, and which have ended.
//!
//! The end of a lease stands in the target's entry of the overlay, in seconds since 1970, under a
//! key that no file has. A lease is renewed by registering again; what ends is up to the caller,
//! who deregisters it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::keyed::GROUPS;
use super::{Change, Overlay};

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
        let ended = self.leased().filter(|(_, _, expires)| *expires <= now);
        let ended = ended.filter_map(|(group, address, _)| Some((group, address.parse().ok()?)));
        ended.map(|(group, address)| (group.to_owned(), address)).collect()
    }

    /// The change that deregisters what [`Overlay::expired`] names, all at once.
    #[must_use]
    pub fn end_leases(&self, now: u64) -> Change {
        let mut groups: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for (group, address, _) in self.leased().filter(|(_, _, expires)| *expires <= now) {
            groups.entry(group).or_default().insert(address.to_owned(), Value::Null);
        }
        let of = |(group, targets)| (String::from(group), json!({ GROUPS.inner: targets }));
        let groups: Map<String, Value> = groups.into_iter().map(of).collect();
        Change { needs: None, steps: vec![json!({ GROUPS.list: groups })] }
    }

    /// When the next registration ends, in seconds since 1970; `None` when none does.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        self.leased().map(|(_, _, expires)| expires).min()
    }

    /// Every registration that ends: group, address, and when in seconds since 1970.
    pub fn leases(&self) -> impl Iterator<Item = (&str, SocketAddr, u64)> {
        let parsed =
            |(group, address, expires): (_, &str, _)| Some((group, address.parse().ok()?, expires));
        self.leased().filter_map(parsed)
    }

    /// As [`Overlay::leases`], with addresses as they are written.
    fn leased(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        let groups = self.patch.get(GROUPS.list).and_then(Value::as_object).into_iter().flatten();
        groups.flat_map(|(group, entry)| {
            let targets = entry.get(GROUPS.inner).and_then(Value::as_object).into_iter().flatten();
            targets.filter_map(move |(address, target)| {
                Some((group.as_str(), address.as_str(), target.get(EXPIRES)?.as_u64()?))
            })
        })
    }
}
