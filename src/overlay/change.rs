//! The changes that the control API makes, each a sequence of merge patches over the keyed form.
//!
//! A merge patch cannot replace an object, only merge into it: to replace, a first patch deletes
//! and a second one writes. Start with [`Change`].

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::keyed::{self, Collection, GROUPS, LISTENERS, Malformed};
use super::lease::EXPIRES;
use super::patch::{self, nest};

/// A part of the configuration that can be replaced, changed or removed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A target group, by its name.
    TargetGroup(String),
    /// A listener, by its name.
    Listener(String),
    /// A rule, by the name of its listener and its priority.
    Rule(String, u16),
}

impl Part {
    /// Where it stands in the keyed form.
    #[must_use]
    pub fn path(&self) -> Vec<String> {
        let entry = |of: Collection, name: &str| vec![of.list.to_owned(), name.to_owned()];
        match self {
            Self::TargetGroup(name) => entry(GROUPS, name),
            Self::Listener(name) => entry(LISTENERS, name),
            Self::Rule(listener, priority) => {
                let inner = [LISTENERS.inner.to_owned(), priority.to_string()];
                entry(LISTENERS, listener).into_iter().chain(inner).collect()
            }
        }
    }

    /// The same as diagnostics write it.
    fn shown(&self) -> String {
        super::shown(&self.path().iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Brings what a change says of it to the one form.
    fn normalise(&self, value: &mut Value) -> Result<(), Malformed> {
        let path = self.shown();
        match self {
            Self::TargetGroup(name) => keyed::normalise_entry(value, GROUPS, name, &path),
            Self::Listener(name) => keyed::normalise_entry(value, LISTENERS, name, &path),
            Self::Rule(_, priority) => {
                keyed::normalise_inner(value, LISTENERS, &priority.to_string(), &path)
            }
        }
    }
}

/// A change: what must be there for it, and what becomes of the configuration.
#[derive(Debug, Clone)]
pub struct Change {
    /// Path of what must exist.
    pub(super) needs: Option<Vec<String>>,
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
    /// Merges `patch` into the keyed form as a whole (RFC 7386).
    ///
    /// # Errors
    /// As [`Change::patch`], for each part that it speaks of.
    pub fn merge(mut patch: Value) -> Result<Self, Malformed> {
        keyed::normalise(&mut patch)?;
        Ok(Self { needs: None, steps: vec![patch] })
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
        let needs = Some(Part::TargetGroup(group.into()).path());
        Self { needs, steps: vec![nest(&path, targets.into())] }
    }

    /// Gives a registered target another weight.
    #[must_use]
    pub fn set_weight(group: &str, address: SocketAddr, weight: u16) -> Self {
        let address = address.to_string();
        let path = [GROUPS.list, group, GROUPS.inner, &address].map(str::to_owned).to_vec();
        let steps = vec![nest(&path, json!({ "weight": weight }))];
        Self { needs: Some(path), steps }
    }

    /// Makes a part, or replaces it and all that it holds.
    ///
    /// # Errors
    /// [`Malformed`] if `value` is not an object in the keyed form: it has another name inside, a
    /// list instead of an object, an entry twice, or a null.
    pub fn put(part: &Part, mut value: Value) -> Result<Self, Malformed> {
        part.normalise(&mut value)?;
        let path = part.path();
        keyed::without_null(&value, &part.shown())?;
        let needs = match part {
            Part::TargetGroup(_) | Part::Listener(_) => None,
            Part::Rule(listener, _) => Some(Part::Listener(listener.clone()).path()),
        };
        Ok(Self { needs, steps: vec![nest(&path, Value::Null), nest(&path, value)] })
    }

    /// Merges `value` into a part (RFC 7386).
    ///
    /// # Errors
    /// As [`Change::put`], but null removes.
    pub fn patch(part: &Part, mut value: Value) -> Result<Self, Malformed> {
        part.normalise(&mut value)?;
        let path = part.path();
        let steps = vec![nest(&path, value)];
        Ok(Self { needs: Some(path), steps })
    }

    /// Removes a part and all that it holds.
    #[must_use]
    pub fn delete(part: &Part) -> Self {
        let path = part.path();
        let steps = vec![nest(&path, Value::Null)];
        Self { needs: Some(path), steps }
    }

    /// The merge patches, as JSON, in their order.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> String {
        self.steps.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
    }

    /// Changes `tree`, a keyed form, unchecked.
    pub(crate) fn apply(&self, tree: &mut Value) {
        for step in &self.steps {
            patch::apply(tree, step);
        }
    }
}
