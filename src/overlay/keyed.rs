//! The keyed form of a configuration: groups and listeners by name, targets by address, rules by
//! priority, so that a change can say which one it means.
//!
//! ```json
//! { "server": { },
//!   "target_groups": { "blog": { "targets": { "127.0.0.1:8081": { "weight": 2 } } } },
//!   "listeners": { "web": { "mode": "l7", "rules": { "10": { "forward": "blog" } } } } }
//! ```
//!
//! Everything else is as in the file. What is not a configuration at all passes through, so that
//! `config::parse` refuses it in its own words; only what has no name, or the name of another, or
//! is a list where names are keys, has no place here and is [`Malformed`]. Start with
//! [`Keyed::parse`].

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use serde_json::{Map, Value};

use super::lease::EXPIRES;
use crate::config::quote;

/// Target groups by name, each with its targets by address.
pub(super) const GROUPS: Collection =
    Collection { list: "target_groups", key: "name", inner: "targets", inner_key: "address" };
/// Listeners by name, each with its rules by priority.
pub(super) const LISTENERS: Collection =
    Collection { list: "listeners", key: "name", inner: "rules", inner_key: "priority" };

/// A list of the file whose entries hold a list themselves, and the keys that name the entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Collection {
    pub(super) list: &'static str,
    pub(super) key: &'static str,
    pub(super) inner: &'static str,
    pub(super) inner_key: &'static str,
}

/// Most characters of a key that a path shows.
const KEY_SHOWN_MAX: usize = 80;

/// A configuration whose parts are found by name. It keeps the order of the file it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyed {
    pub(super) tree: Value,
    /// Place in the file of what was listed there, by path.
    rank: HashMap<String, usize>,
}

/// Why something has no keyed form: what it is cannot be told from something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Where, such as `listeners.web.rules`; empty: all of it.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

impl Malformed {
    fn at(path: &str, problem: String) -> Self {
        Self { path: path.replace('/', "."), problem }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.problem),
            path => write!(f, "{path}: {}", self.problem),
        }
    }
}

impl std::error::Error for Malformed {}

impl Keyed {
    /// Reads a configuration file's text.
    ///
    /// # Errors
    /// [`Malformed`] if it is not TOML or an entry has no name or another's name. A text that
    /// `config::parse` accepts never is.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let tree: Value =
            toml::from_str(text).map_err(|cause| Malformed::at("", cause.message().to_owned()))?;
        let mut rank = HashMap::new();
        let Value::Object(mut root) = tree else {
            return Err(Malformed::at("", "not a table".into()));
        };
        for of in [GROUPS, LISTENERS] {
            if let Some(list) = root.remove(of.list) {
                let mut entries = Value::Object(keyed(list, of.key, of.list, &mut rank)?);
                for (name, entry) in entries.as_object_mut().into_iter().flatten() {
                    key_inner(entry, of, &format!("{}/{name}", of.list), &mut rank)?;
                }
                root.insert(of.list.into(), entries);
            }
        }
        let mut keyed = Self { tree: Value::Object(root), rank };
        keyed.complete();
        Ok(keyed)
    }

    /// The keyed form, as an object.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.tree
    }

    /// What stands at `path`, such as `["target_groups", "blog", "algorithm"]`.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.tree, |value, key| value.get(key))
    }

    /// The same order of entries with another tree.
    pub(super) fn with(&self, tree: Value) -> Self {
        let mut keyed = Self { tree, rank: self.rank.clone() };
        keyed.complete();
        keyed
    }

    /// Every list that may be left out in the file is there in the keyed form, so that an entry
    /// more or less is never a list more or less.
    fn complete(&mut self) {
        let Value::Object(root) = &mut self.tree else { return };
        let empty = || Value::Object(Map::new());
        for of in [GROUPS, LISTENERS] {
            let entries = root.entry(of.list).or_insert_with(empty);
            for entry in entries.as_object_mut().into_iter().flat_map(Map::values_mut) {
                if let Value::Object(entry) = entry {
                    entry.entry(of.inner).or_insert_with(empty);
                }
            }
        }
    }

    /// The entries of the collection at `path` in the order in which they are written: those of
    /// the file as there, others after them by name; rules by priority.
    pub(super) fn entries<'k>(&self, path: &str, of: &'k Value) -> Vec<(&'k str, &'k Value)> {
        let entries = of.as_object().into_iter().flatten();
        let mut entries: Vec<_> = entries.map(|(name, value)| (name.as_str(), value)).collect();
        if path.ends_with("/rules") {
            entries.sort_by_key(|(name, _)| name.parse().unwrap_or(u64::MAX));
        } else {
            let rank = |name: &str| self.rank.get(&format!("{path}/{name}")).copied();
            entries.sort_by_key(|(name, _)| rank(name).unwrap_or(usize::MAX));
        }
        entries
    }
}

/// From paths of diagnostics about [`Keyed::to_toml`] to such with names for numbers. What it has
/// put in order once it keeps, for there may be a thousand diagnostics.
pub(super) struct Names<'k> {
    keyed: &'k Keyed,
    /// Entries of the lists asked for so far, in the order in which they are written.
    written: HashMap<String, Vec<(&'k str, &'k Value)>>,
}

impl<'k> Names<'k> {
    pub(super) fn new(keyed: &'k Keyed) -> Self {
        Self { keyed, written: HashMap::new() }
    }

    /// `listeners.web.rules[10].priority` for `listeners[1].rules[0].priority`.
    pub(super) fn path(&mut self, path: &str) -> String {
        let named = [GROUPS, LISTENERS].into_iter().find_map(|of| self.of(of, path));
        named.unwrap_or_else(|| path.to_owned())
    }

    fn of(&mut self, of: Collection, path: &str) -> Option<String> {
        let (index, rest) = indexed(path, of.list)?;
        let tree = self.keyed.tree.get(of.list)?;
        let (name, entry) = self.entry(of.list.to_owned(), tree, index)?;
        let out = format!("{}.{}", of.list, quoted(name));
        let inner = rest.strip_prefix('.').and_then(|rest| indexed(rest, of.inner));
        let Some((index, rest)) = inner else { return Some(out + rest) };
        let path = format!("{}/{name}/{}", of.list, of.inner);
        let (key, _) = self.entry(path, entry.get(of.inner)?, index)?;
        Some(format!("{out}.{}[{key}]{rest}", of.inner))
    }

    fn entry(&mut self, path: String, of: &'k Value, index: usize) -> Option<(&'k str, &'k Value)> {
        let keyed = self.keyed;
        let written = self.written.entry(path);
        let written = written.or_insert_with_key(|path| keyed.entries(path, of));
        written.get(index).copied()
    }
}

/// `path` as the index behind `list` and what follows it.
fn indexed<'p>(path: &'p str, list: &str) -> Option<(usize, &'p str)> {
    let (index, rest) = path.strip_prefix(list)?.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

/// A name as a step of a path, in quotes where its dots would be taken for steps.
fn quoted(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}

/// Brings a merge patch over the whole to the one form: addresses and priorities as keys are
/// written in one way, names stand outside only.
pub(super) fn normalise(patch: &mut Value) -> Result<(), Malformed> {
    let Value::Object(root) = patch else { return Ok(()) };
    for of in [GROUPS, LISTENERS] {
        if let Some(entries) = root.get_mut(of.list) {
            normalise_map(entries, of.key, of.list, &|entry, name, path| {
                normalise_entry(entry, of, name, path)
            })?;
        }
    }
    Ok(())
}

/// The same for what a change says of one group or listener at `path`.
pub(super) fn normalise_entry(
    entry: &mut Value,
    of: Collection,
    name: &str,
    path: &str,
) -> Result<(), Malformed> {
    let table = table_of(entry, path)?;
    without_key(table, of.key, name, path)?;
    match table.get_mut(of.inner) {
        Some(inner) => {
            let path = format!("{path}.{}", of.inner);
            normalise_map(inner, of.inner_key, &path, &|entry, key, path| {
                normalise_inner(entry, of, key, path)
            })
        }
        None => Ok(()),
    }
}

/// The same for one target or rule at `path`.
pub(super) fn normalise_inner(
    entry: &mut Value,
    of: Collection,
    key: &str,
    path: &str,
) -> Result<(), Malformed> {
    let table = table_of(entry, path)?;
    without_key(table, of.inner_key, key, path)?;
    match table.get(EXPIRES).filter(|_| of.list == GROUPS.list) {
        None | Some(Value::Null) => Ok(()),
        Some(expires) if expires.is_u64() => Ok(()),
        Some(expires) => {
            let problem = format!(
                "is {}; seconds since 1970 are a whole number",
                quote(&expires.to_string())
            );
            Err(Malformed::at(&format!("{path}.{EXPIRES}"), problem))
        }
    }
}

/// Brings the keys of an object of entries to one form, and each entry that is not removed.
fn normalise_map(
    map: &mut Value,
    key: &str,
    path: &str,
    each: &dyn Fn(&mut Value, &str, &str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    if map.is_null() {
        return Ok(());
    }
    let Value::Object(entries) = map else {
        let problem = format!("must be an object with a key for each `{key}`");
        return Err(Malformed::at(path, problem));
    };
    for (name, mut entry) in std::mem::take(entries) {
        let name = canonical(key, &name);
        if !entry.is_null() {
            let shown = step(&name);
            let is_outer = key == GROUPS.key;
            let path =
                if is_outer { format!("{path}.{shown}") } else { format!("{path}[{shown}]") };
            each(&mut entry, &name, &path)?;
        }
        if entries.insert(name.clone(), entry).is_some() {
            return Err(Malformed::at(path, format!("{} is there twice", quote(&name))));
        }
    }
    Ok(())
}

fn table_of<'v>(entry: &'v mut Value, path: &str) -> Result<&'v mut Map<String, Value>, Malformed> {
    entry.as_object_mut().ok_or_else(|| Malformed::at(path, "must be an object".into()))
}

/// Refuses a null in `value`, which stands at `path`: a patch would remove what it should write.
/// Lists are for `config::parse` to refuse.
pub(super) fn without_null(value: &Value, path: &str) -> Result<(), Malformed> {
    match value {
        Value::Null => Err(Malformed::at(path, "null says nothing here: leave it out".into())),
        Value::Object(table) => {
            let mut each = table.iter();
            each.try_for_each(|(key, value)| without_null(value, &format!("{path}.{}", step(key))))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Ok(()),
    }
}

/// Takes the key that names an entry out of it; it has to say the same.
fn without_key(
    table: &mut Map<String, Value>,
    key: &str,
    name: &str,
    path: &str,
) -> Result<(), Malformed> {
    match table.remove(key) {
        Some(inside) if key_text(&inside).is_none_or(|inside| canonical(key, &inside) != name) => {
            let (inside, name) = (quote(&inside.to_string()), quote(name));
            let problem = format!("is {inside} inside, but {name} outside");
            Err(Malformed::at(&format!("{path}.{key}"), problem))
        }
        Some(_) | None => Ok(()),
    }
}

/// A key as a step of a path, fit for a terminal and at a length that can be read.
fn step(key: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    key.chars().take(KEY_SHOWN_MAX).map(shown).collect()
}

/// Replaces the inner list of a group or listener by its keyed form.
fn key_inner(
    entry: &mut Value,
    of: Collection,
    path: &str,
    rank: &mut HashMap<String, usize>,
) -> Result<(), Malformed> {
    if let Some(inner) = entry.get_mut(of.inner) {
        let path = format!("{path}/{}", of.inner);
        *inner = Value::Object(keyed(inner.take(), of.inner_key, &path, rank)?);
    }
    Ok(())
}

/// A list as an object by `key`.
fn keyed(
    list: Value,
    key: &str,
    path: &str,
    rank: &mut HashMap<String, usize>,
) -> Result<Map<String, Value>, Malformed> {
    let Value::Array(entries) = list else {
        return Err(Malformed::at(path, "must be a list".into()));
    };
    let mut map = Map::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let (Some(name), entry) = split(entry, key) else {
            return Err(Malformed::at(&format!("{path}[{index}]"), format!("has no `{key}`")));
        };
        rank.insert(format!("{path}/{name}"), index);
        if map.insert(name.clone(), entry).is_some() {
            return Err(Malformed::at(path, format!("{} is there twice", quote(&name))));
        }
    }
    Ok(map)
}

/// An entry of a list as its name and the rest; text alone is a name.
fn split(entry: Value, key: &str) -> (Option<String>, Value) {
    match entry {
        Value::Object(mut table) => {
            let name = table.remove(key).and_then(|name| key_text(&name));
            (name.map(|name| canonical(key, &name)), Value::Object(table))
        }
        Value::String(name) => (Some(canonical(key, &name)), Value::Object(Map::new())),
        _ => (None, entry),
    }
}

fn key_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// One form for each address and priority, however it was written.
fn canonical(key: &str, name: &str) -> String {
    let written = if key == GROUPS.inner_key {
        name.parse::<SocketAddr>().ok().map(|address| address.to_string())
    } else if key == LISTENERS.inner_key {
        name.parse::<u64>().ok().map(|priority| priority.to_string())
    } else {
        None
    };
    written.unwrap_or_else(|| name.to_owned())
}
