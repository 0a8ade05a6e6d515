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
//! `config::parse` refuses it in its own words; only what has no name, or the name of another,
//! has no place here and is [`Malformed`]. Start with [`Keyed::parse`].

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use serde_json::{Map, Value};

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

/// A configuration whose parts are found by name. It keeps the order of the file it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyed {
    pub(super) tree: Value,
    /// Place in the file of what was listed there, by path.
    rank: HashMap<String, usize>,
}

/// Why a text has no keyed form: something in it cannot be told from something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub(super) String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
            toml::from_str(text).map_err(|cause| Malformed(cause.message().to_owned()))?;
        let mut rank = HashMap::new();
        let Value::Object(mut root) = tree else { return Err(Malformed("not a table".into())) };
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

    /// The path of a diagnostic about [`Keyed::to_toml`], with names for numbers:
    /// `listeners.web.rules[10].priority` for `listeners[1].rules[0].priority`.
    #[must_use]
    pub fn named_path(&self, path: &str) -> String {
        let named = [GROUPS, LISTENERS].iter().find_map(|of| {
            let (index, rest) = indexed(path, of.list)?;
            let (name, entry) = *self.entries(of.list, self.tree.get(of.list)?).get(index)?;
            let mut out = format!("{}.{}", of.list, quoted(name));
            let inner = rest.strip_prefix('.').and_then(|rest| indexed(rest, of.inner));
            let Some((index, rest)) = inner else { return Some(out + rest) };
            let path = format!("{}/{name}/{}", of.list, of.inner);
            let (key, _) = *self.entries(&path, entry.get(of.inner)?).get(index)?;
            out.push_str(&format!(".{}[{key}]{rest}", of.inner));
            Some(out)
        });
        named.unwrap_or_else(|| path.to_owned())
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

/// The keyed form of a single group or listener, as it stands in the file or in the keyed form.
/// A `name` in it must be `name`.
pub(super) fn entry(mut value: Value, of: Collection, name: &str) -> Result<Value, Malformed> {
    let Value::Object(table) = &mut value else {
        return Err(Malformed("an object is needed".into()));
    };
    without_key(table, of.key, name)?;
    key_inner(&mut value, of, name, &mut HashMap::new())?;
    Ok(value)
}

/// Takes the key that names an entry out of it.
pub(super) fn without_key(
    table: &mut Map<String, Value>,
    key: &str,
    name: &str,
) -> Result<(), Malformed> {
    match table.remove(key).map(|value| key_text(&value)) {
        Some(inside) if inside.as_deref() != Some(name) => {
            let inside = inside.unwrap_or_default();
            Err(Malformed(format!("`{key}` is `{inside}` inside, but `{name}` outside")))
        }
        _ => Ok(()),
    }
}

/// Replaces the inner list of a group or listener by its keyed form.
fn key_inner(
    entry: &mut Value,
    of: Collection,
    path: &str,
    rank: &mut HashMap<String, usize>,
) -> Result<(), Malformed> {
    let Some(inner) = entry.get_mut(of.inner) else { return Ok(()) };
    if inner.is_array() || inner.is_object() {
        let path = format!("{path}/{}", of.inner);
        *inner = Value::Object(keyed(inner.take(), of.inner_key, &path, rank)?);
    }
    Ok(())
}

/// A list as an object by `key`; an object has its keys brought to one form.
fn keyed(
    list: Value,
    key: &str,
    path: &str,
    rank: &mut HashMap<String, usize>,
) -> Result<Map<String, Value>, Malformed> {
    let named: Vec<(Option<String>, Value)> = match list {
        Value::Array(entries) => entries.into_iter().map(|entry| split(entry, key)).collect(),
        Value::Object(entries) => {
            entries.into_iter().map(|(name, entry)| (Some(canonical(key, &name)), entry)).collect()
        }
        _ => return Err(Malformed(format!("`{path}` is not a list"))),
    };
    let mut map = Map::new();
    for (index, (name, entry)) in named.into_iter().enumerate() {
        let Some(name) = name else {
            return Err(Malformed(format!("`{path}[{index}]` has no `{key}`")));
        };
        rank.insert(format!("{path}/{name}"), index);
        if map.contains_key(&name) {
            return Err(Malformed(format!("`{name}` is twice in `{path}`")));
        }
        map.insert(name, entry);
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

/// One form for each address, however it was written.
fn canonical(key: &str, name: &str) -> String {
    let address = (key == GROUPS.inner_key).then(|| name.parse::<SocketAddr>().ok()).flatten();
    address.map_or_else(|| name.to_owned(), |address| address.to_string())
}
