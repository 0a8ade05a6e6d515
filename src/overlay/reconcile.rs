//! The overlay after the operator changed the file under it.
//!
//! A change to what the file no longer has is void, so is the deletion of it, and so is a change
//! that names a target group which is gone: each is dropped and told, none keeps ringway from
//! starting. Start with [`Overlay::reconcile`].

use serde_json::Value;

use super::keyed::{GROUPS, Keyed, LISTENERS};
use super::{Overlay, shown};

impl Overlay {
    /// Drops what has become void with this `file`, and what the file by now says itself; returns
    /// what was dropped as void, one line each. To be called whenever the file was read, with a
    /// file that `config::parse` accepts.
    pub fn reconcile(&mut self, file: &Keyed) -> Vec<String> {
        let mut dropped = self.drop_vanished(file);
        while let Some(line) = self.drop_dangling(file) {
            dropped.push(line);
        }
        *self = Self::between(file, &self.over(file));
        dropped
    }

    fn drop_vanished(&mut self, file: &Keyed) -> Vec<String> {
        let mut gone: Vec<(Vec<String>, &str)> = Vec::new();
        for (path, change) in self.entries() {
            let is_inside =
                gone.iter().any(|(outer, _)| path.iter().zip(outer).all(|(a, b)| a == b));
            let is_void = change.is_null() || self.over_file.contains(&path.join("/"));
            if !is_inside && is_void && file.at(&path).is_none() {
                let what = if change.is_null() { "the deletion of" } else { "the change to" };
                gone.push((path.into_iter().map(str::to_owned).collect(), what));
            }
        }
        let mut lines = Vec::with_capacity(gone.len());
        for (path, what) in gone {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            lines.push(format!("{what} {} is dropped: the file has it no longer", shown(&path)));
            self.forget(&path);
        }
        lines
    }

    /// Drops one change that makes an action forward to a group that does not exist.
    fn drop_dangling(&mut self, file: &Keyed) -> Option<String> {
        let whole = self.over(file);
        for (path, group) in forwards(whole.value()) {
            if whole.at(&[GROUPS.list, group]).is_some() {
                continue;
            }
            let forward = shown(&path);
            if file.at(&[GROUPS.list, group]).is_some() {
                self.forget(&[GROUPS.list, group]);
                return Some(format!(
                    "the deletion of {} is dropped: {forward} forwards to it",
                    shown(&[GROUPS.list, group])
                ));
            }
            // Of a listener that only the API has, the default cannot go without the rest.
            let is_own = path.len() == 3 && file.at(&path[..2]).is_none();
            let path = if is_own { &path[..2] } else { &path[..] };
            if self.forget(path) {
                let path = shown(path);
                return Some(format!(
                    "the change to {path} is dropped: there is no target group `{group}`"
                ));
            }
        }
        None
    }

    /// Takes what is at `path` out of the patch; whether there was anything.
    fn forget(&mut self, path: &[&str]) -> bool {
        let Some((last, outer)) = path.split_last() else { return false };
        let table = outer.iter().try_fold(&mut self.patch, |value, key| value.get_mut(key));
        let table = table.and_then(Value::as_object_mut);
        table.is_some_and(|table| table.remove(*last).is_some())
    }
}

/// Paths of the defaults and rules in `config`, a keyed form, that forward to `group`.
#[must_use]
pub fn uses(config: &Value, group: &str) -> Vec<String> {
    let uses = forwards(config).into_iter().filter(|(_, named)| *named == group);
    uses.map(|(path, _)| format!("{}.forward", shown(&path))).collect()
}

/// Every default and rule that forwards, and the groups that it names.
fn forwards(whole: &Value) -> Vec<(Vec<&str>, &str)> {
    let mut found = Vec::new();
    let listeners = whole.get(LISTENERS.list).and_then(Value::as_object).into_iter().flatten();
    for (name, listener) in listeners {
        let outer = [LISTENERS.list, name.as_str()];
        let default =
            listener.get("default").map(|action| ([&outer[..], &["default"]].concat(), action));
        let rules = listener.get(LISTENERS.inner).and_then(Value::as_object).into_iter().flatten();
        let rules = rules
            .map(|(key, rule)| ([&outer[..], &[LISTENERS.inner, key.as_str()]].concat(), rule));
        for (path, action) in default.into_iter().chain(rules) {
            let named = action.get("forward").map_or_else(Vec::new, named);
            found.extend(named.into_iter().map(|group| (path.clone(), group)));
        }
    }
    found
}

/// The groups that a forward names, in any of its forms.
fn named(forward: &Value) -> Vec<&str> {
    match forward {
        Value::String(name) => vec![name],
        Value::Array(shares) => shares.iter().flat_map(named).collect(),
        Value::Object(table) => {
            let keys = ["target_groups", "target_group"].iter();
            keys.filter_map(|key| table.get(*key)).flat_map(named).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}
