//! The keyed form as a TOML file: the same text for the same settings, and fit to be read.
//!
//! Entries stand in the order of the file they came from, keys in one fixed order. A table is one
//! line where it fits, else a table of its own.

use serde_json::{Map, Value};

use super::keyed::{Collection, GROUPS, Keyed, LISTENERS};
use super::lease;

/// Longest line that is written where it can be broken, in characters.
const COLUMNS_MAX: usize = 100;

/// Keys that stand first in their table, in this order; all but these and [`LAST`] are between
/// them in the order of the alphabet.
const FIRST: [&str; 11] = [
    "name",
    "type",
    "priority",
    "address",
    "target_group",
    "target_groups",
    "mode",
    "algorithm",
    "targets",
    "default",
    "key",
];
/// Keys that stand last in their table.
const LAST: [&str; 3] = ["forward", "redirect", "fixed_response"];

impl Keyed {
    /// One TOML file that holds these settings: `config::parse` makes the same model of it.
    /// Targets lose their lease: a file has none.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut writer = Writer::default();
        let Value::Object(root) = &self.tree else { return String::new() };
        let is_table = |key: &str| {
            let is_known = [GROUPS.list, LISTENERS.list, "server"].contains(&key);
            is_known && root.get(key).is_some_and(Value::is_object)
        };
        for (key, value) in root.iter().filter(|(key, _)| !is_table(key)) {
            writer.pair(key, value);
        }
        if let Some(server) = root.get("server").and_then(Value::as_object) {
            writer.table("server", "[server]", server);
        }
        for of in [GROUPS, LISTENERS] {
            let entries = root.get(of.list).filter(|list| list.is_object());
            for (name, entry) in entries.map_or_else(Vec::new, |list| self.entries(of.list, list)) {
                self.entry(&mut writer, of, name, entry);
            }
        }
        writer.out
    }

    fn entry(&self, writer: &mut Writer, of: Collection, name: &str, entry: &Value) {
        let mut table = listed(of.key, name, entry);
        let path = format!("{}/{name}/{}", of.list, of.inner);
        let inner = table.remove(of.inner).unwrap_or_default();
        let list: Vec<_> = self.entries(&path, &inner);
        let list: Vec<_> =
            list.into_iter().map(|(key, entry)| listed(of.inner_key, key, entry)).collect();
        if !inner.is_object() && !inner.is_null() {
            table.insert(of.inner.into(), inner);
        } else if of.inner == GROUPS.inner {
            table.insert(of.inner.into(), list.into_iter().map(short).collect());
            writer.table(of.list, &format!("[[{}]]", of.list), &table);
            return;
        }
        writer.table(of.list, &format!("[[{}]]", of.list), &table);
        for rule in list {
            let path = format!("{}.{}", of.list, of.inner);
            writer.table(&path, &format!("[[{path}]]"), &rule);
        }
    }
}

/// An entry of the keyed form as it stands in a list of the file.
fn listed(key: &str, name: &str, entry: &Value) -> Map<String, Value> {
    let mut table = match entry {
        Value::Object(table) => table.clone(),
        // Not a table: under a key that no table has, so that it is refused.
        other => std::iter::once(("entry".to_owned(), other.clone())).collect(),
    };
    let number = (key == LISTENERS.inner_key).then(|| name.parse::<u64>().ok()).flatten();
    table.insert(key.into(), number.map_or_else(|| name.into(), Value::from));
    table
}

/// A target without its lease; the address alone where that is all.
fn short(mut target: Map<String, Value>) -> Value {
    lease::strip(&mut target);
    match target.get(GROUPS.inner_key) {
        Some(address) if target.len() == 1 => address.clone(),
        _ => Value::Object(target),
    }
}

#[derive(Default)]
struct Writer {
    out: String,
}

impl Writer {
    /// A table under `header`; `path` is what the headers of its own tables begin with.
    fn table(&mut self, path: &str, header: &str, table: &Map<String, Value>) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(&format!("{header}\n"));
        let (long, short): (Vec<_>, Vec<_>) =
            ordered(table).into_iter().partition(|(key, value)| is_long_table(key, value));
        for (key, value) in short {
            self.pair(key, value);
        }
        for (key, value) in long {
            let path = format!("{path}.{}", bare_or_quoted(key));
            if let Value::Object(table) = value {
                self.table(&path, &format!("[{path}]"), table);
            }
        }
    }

    fn pair(&mut self, key: &str, value: &Value) {
        let key = bare_or_quoted(key);
        let line = format!("{key} = {}", inline(value));
        match value {
            Value::Array(items) if line.chars().count() > COLUMNS_MAX => {
                self.out.push_str(&format!("{key} = [\n"));
                for item in items {
                    self.out.push_str(&format!("    {},\n", inline(item)));
                }
                self.out.push_str("]\n");
            }
            _ => self.out.push_str(&(line + "\n")),
        }
    }
}

fn is_long_table(key: &str, value: &Value) -> bool {
    let length = || bare_or_quoted(key).len() + " = ".len() + inline(value).chars().count();
    value.is_object() && length() > COLUMNS_MAX
}

fn ordered(table: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let place = |key: &str| match FIRST.iter().position(|first| *first == key) {
        Some(place) => place,
        None => FIRST.len() + LAST.iter().position(|last| *last == key).map_or(0, |at| at + 1),
    };
    let mut pairs: Vec<_> = table.iter().map(|(key, value)| (key.as_str(), value)).collect();
    pairs.sort_by_key(|(key, _)| place(key));
    pairs
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Object(table) if table.is_empty() => "{}".into(),
        Value::Object(table) => {
            let pairs = ordered(table).into_iter();
            let pairs =
                pairs.map(|(k, value)| format!("{} = {}", bare_or_quoted(k), inline(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        // TOML has no null; no key takes a fraction, so this one is refused wherever it stands.
        Value::Null => "nan".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn bare_or_quoted(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { basic(key) }
}

/// Text as regular expressions are best read: without escapes, where it can be.
fn string(text: &str) -> String {
    let wants_literal = text.contains(['\\', '"']);
    if wants_literal && !text.contains('\'') && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    basic(text)
}

fn basic(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
