//! The changes that the control API makes, each a sequence of merge patches over the keyed form.
//!
//! A merge patch cannot replace an object, only merge into it: to replace, a first patch deletes
//! and a second one writes.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::keyed::{self, Collection, GROUPS, LISTENERS, Malformed};
use super::lease::EXPIRES;
use super::patch::nest;
use crate::model::Mode;

/// A change: what must be there for it, and what becomes of the configuration.
#[derive(Debug, Clone)]
pub struct Change {
    /// Paths of what must exist.
    pub(super) needs: Vec<Vec<String>>,
    /// Merge patches, applied in this order.
    pub(super) steps: Vec<Value>,
}

/// A target to register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share; `None`: what it has, or 1.
    pub weight: Option<u16>,
    /// When the registration ends unless it is renewed, in seconds since 1970; `None`: never.
    pub expires: Option<u64>,
}

impl Change {
    fn new(needs: &[&[&str]], steps: Vec<Value>) -> Self {
        let owned = |path: &&[&str]| path.iter().map(|step| (*step).to_owned()).collect();
        Self { needs: needs.iter().map(owned).collect(), steps }
    }

    /// Merges `patch` into the keyed form as a whole (RFC 7386).
    #[must_use]
    pub fn merge(patch: Value) -> Self {
        Self::new(&[], vec![patch])
    }

    /// Registers targets in a group, or renews their registrations; all or none.
    #[must_use]
    pub fn register(group: &str, targets: &[Registration]) -> Self {
        let entry = |target: &Registration| {
            // A null takes away the lease that an earlier registration had.
            let mut entry = Map::from_iter([(EXPIRES.to_owned(), json!(target.expires))]);
            entry.extend(target.weight.map(|weight| ("weight".to_owned(), weight.into())));
            (target.address.to_string(), Value::Object(entry))
        };
        Self::targets(group, targets.iter().map(entry).collect())
    }

    /// Deregisters targets; those that are not registered stay so.
    #[must_use]
    pub fn deregister(group: &str, addresses: &[SocketAddr]) -> Self {
        let gone = |address: &SocketAddr| (address.to_string(), Value::Null);
        Self::targets(group, addresses.iter().map(gone).collect())
    }

    fn targets(group: &str, targets: Map<String, Value>) -> Self {
        let path = [GROUPS.list, group, GROUPS.inner];
        Self::new(&[&path[..2]], vec![nest(&path, targets.into())])
    }

    /// Gives a registered target another weight.
    #[must_use]
    pub fn set_weight(group: &str, address: SocketAddr, weight: u16) -> Self {
        let address = address.to_string();
        let path = [GROUPS.list, group, GROUPS.inner, &address];
        Self::new(&[&path], vec![nest(&path, json!({ "weight": weight }))])
    }

    /// Adds a rule to a listener, or replaces the one of that priority.
    ///
    /// # Errors
    /// [`Malformed`] if `rule` is not an object, or names another priority.
    pub fn put_rule(listener: &str, priority: u16, mut rule: Value) -> Result<Self, Malformed> {
        let priority = priority.to_string();
        let Value::Object(table) = &mut rule else {
            return Err(Malformed("a rule is an object".into()));
        };
        keyed::without_key(table, LISTENERS.inner_key, &priority)?;
        let path = [LISTENERS.list, listener, LISTENERS.inner, &priority];
        Ok(Self::new(&[&path[..2]], replace(&path, rule)))
    }

    /// Removes a rule.
    #[must_use]
    pub fn delete_rule(listener: &str, priority: u16) -> Self {
        let priority = priority.to_string();
        let path = [LISTENERS.list, listener, LISTENERS.inner, &priority];
        Self::new(&[&path], vec![nest(&path, Value::Null)])
    }

    /// Shares the requests of a forward anew: of the rule with this priority, or of the default.
    /// Its stickiness stays.
    #[must_use]
    pub fn set_forward_weights(
        listener: &str,
        priority: Option<u16>,
        weights: &[(&str, u16)],
    ) -> Self {
        let share =
            |(group, weight): &(&str, u16)| json!({"target_group": group, "weight": weight});
        let shares: Value = weights.iter().map(share).collect();
        let forward = json!({ "forward": { "target_groups": shares } });
        let number = priority.map(|priority| priority.to_string());
        let path = match &number {
            Some(priority) => vec![LISTENERS.list, listener, LISTENERS.inner, priority],
            None => vec![LISTENERS.list, listener, "default"],
        };
        Self::new(&[&path], vec![nest(&path, forward)])
    }

    /// Switches a listener to another layer.
    #[must_use]
    pub fn set_mode(listener: &str, mode: Mode) -> Self {
        let path = [LISTENERS.list, listener];
        Self::new(&[&path], vec![nest(&path, json!({ "mode": mode.to_string() }))])
    }

    /// Adds a target group, or replaces it. Its targets are a list as in the file, or an object
    /// by address.
    ///
    /// # Errors
    /// [`Malformed`] if `group` is not an object, has another name inside, or has a target twice
    /// or without an address.
    pub fn put_group(name: &str, group: Value) -> Result<Self, Malformed> {
        Self::put(GROUPS, name, group)
    }

    /// Merges `patch` into a target group. A list of targets replaces them all.
    ///
    /// # Errors
    /// As [`Change::put_group`].
    pub fn patch_group(name: &str, patch: Value) -> Result<Self, Malformed> {
        Self::patch(GROUPS, name, patch)
    }

    /// Removes a target group.
    #[must_use]
    pub fn delete_group(name: &str) -> Self {
        Self::delete(GROUPS, name)
    }

    /// Adds a listener, or replaces it and its rules. Those are a list as in the file, or an
    /// object by priority.
    ///
    /// # Errors
    /// [`Malformed`] if `listener` is not an object, has another name inside, or has two rules of
    /// one priority or a rule without.
    pub fn put_listener(name: &str, listener: Value) -> Result<Self, Malformed> {
        Self::put(LISTENERS, name, listener)
    }

    /// Merges `patch` into a listener. A list of rules replaces them all.
    ///
    /// # Errors
    /// As [`Change::put_listener`].
    pub fn patch_listener(name: &str, patch: Value) -> Result<Self, Malformed> {
        Self::patch(LISTENERS, name, patch)
    }

    /// Removes a listener and its rules.
    #[must_use]
    pub fn delete_listener(name: &str) -> Self {
        Self::delete(LISTENERS, name)
    }

    fn put(of: Collection, name: &str, value: Value) -> Result<Self, Malformed> {
        let entry = keyed::entry(value, of, name)?;
        Ok(Self::new(&[], replace(&[of.list, name], entry)))
    }

    fn patch(of: Collection, name: &str, value: Value) -> Result<Self, Malformed> {
        let is_list = value.get(of.inner).is_some_and(Value::is_array);
        let step = nest(&[of.list, name], keyed::entry(value, of, name)?);
        let emptied = is_list.then(|| nest(&[of.list, name, of.inner], Value::Null));
        let steps = emptied.into_iter().chain([step]).collect();
        Ok(Self::new(&[&[of.list, name]], steps))
    }

    fn delete(of: Collection, name: &str) -> Self {
        let path = [of.list, name];
        Self::new(&[&path], vec![nest(&path, Value::Null)])
    }
}

fn replace(path: &[&str], value: Value) -> Vec<Value> {
    vec![nest(path, Value::Null), nest(path, value)]
}
