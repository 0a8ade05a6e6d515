//! Checks the TOML tree against the schema: keys, types, choices, ranges, lengths.
//!
//! Everything that is wrong is reported and taken out, so the types of `file` accept what is
//! left. Short forms are widened on the way: one value where a list may stand becomes a list, and
//! text or a list where a table may stand becomes a table with its one required key. The walk
//! follows the schema, not the file, so its depth is bounded. Start with [`check`].

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::diagnostic::{Findings, nearest, quote, quote_all};
use super::file::DURATION_PATTERN;

/// Values that are known elsewhere and refused here, with the reason: key, value, reason, cure.
const REFUSED: [(&str, &str, &str, &str); 1] = [(
    "desync_mitigation_mode",
    "monitor",
    "ambiguous framing is never forwarded here, so there is no mode that only watches",
    "use `defensive`, the default of AWS",
)];

/// Keys whose values AWS writes in capitals, and others do not: any case will do.
const ANY_CASE: [&str; 1] = ["protocol"];

/// Reports what does not fit `schema` and takes it out of `tree`.
pub(super) fn check(schema: &Value, tree: &mut Spanned<DeTable<'_>>, findings: &mut Findings<'_>) {
    let span = tree.span();
    let mut check = Check { root: schema, findings };
    check.table(schema, tree.get_mut(), &span, "");
}

type Node<'i> = Spanned<DeValue<'i>>;

struct Check<'s, 'f, 't> {
    root: &'s Value,
    findings: &'f mut Findings<'t>,
}

impl<'s> Check<'s, '_, '_> {
    /// Whether `node` fits; what it holds that does not is reported and gone.
    fn value(&mut self, schema: &'s Value, node: &mut Node<'_>, path: &str) -> bool {
        let span = node.span();
        if self.types(schema).iter().all(|name| *name != type_name(node)) {
            self.wrong_type(schema, node, path);
            let is_single = matches!(node.get_ref(), DeValue::Table(_));
            if !(is_single && self.types(schema) == ["array"]) {
                return false;
            }
            // `[listeners]` for `[[listeners]]`: reported, and read on as it was meant.
            widen_to_list(node);
        }
        let schema = self.resolve(schema);
        if let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) {
            return self.alternatives(alternatives, node, path);
        }
        self.findings.note_path(span.clone(), path);
        match node.get_mut() {
            DeValue::Table(table) => self.table(schema, table, &span, path),
            DeValue::Array(array) => self.array(schema, array, &span, path),
            DeValue::Integer(number) => {
                return self.choice(schema, &number.to_string(), &span, path)
                    && self.range(schema, number, &span, path);
            }
            DeValue::String(text) => {
                if ANY_CASE.contains(&last_key(path)) {
                    spell(schema, text);
                }
                return self.choice(schema, text, &span, path);
            }
            DeValue::Boolean(_) | DeValue::Float(_) | DeValue::Datetime(_) => {}
        }
        true
    }

    fn resolve(&self, schema: &'s Value) -> &'s Value {
        let pointer =
            schema.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'));
        pointer.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema)
    }

    /// The JSON types that `schema` accepts.
    fn types(&self, schema: &'s Value) -> Vec<&'s str> {
        let schema = self.resolve(schema);
        let several = ["anyOf", "oneOf"].iter().find_map(|word| schema.get(word)?.as_array());
        if let Some(alternatives) = several {
            return alternatives.iter().flat_map(|schema| self.types(schema)).collect();
        }
        match &schema["type"] {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            name => name.as_str().into_iter().collect(),
        }
    }

    /// Checks `node` against the alternative of its type, and widens it to the last one.
    fn alternatives(&mut self, alternatives: &'s [Value], node: &mut Node<'_>, path: &str) -> bool {
        let Some(widest) = alternatives.last().map(|schema| self.resolve(schema)) else {
            return false;
        };
        let is_short = matches!(node.get_ref(), DeValue::String(_) | DeValue::Array(_));
        if let (true, Some(key)) = (is_short, widest["required"][0].as_str()) {
            // What stands for the table is its one required key, at the same place.
            let fits = self.value(&widest["properties"][key], node, path);
            if fits {
                widen_to_table(node, key);
            }
            return fits;
        }
        let found = type_name(node);
        let mut fitting = alternatives.iter().filter(|schema| self.types(schema).contains(&found));
        // A list of one's own type wins over an alternative that would widen to it.
        let Some(schema) = fitting.next() else { return false };
        if !self.value(schema, node, path) {
            return false;
        }
        if widest["type"] == "array" && !matches!(node.get_ref(), DeValue::Array(_)) {
            widen_to_list(node);
        }
        true
    }

    fn table(
        &mut self,
        schema: &'s Value,
        table: &mut DeTable<'_>,
        span: &Range<usize>,
        path: &str,
    ) {
        let Some(known) = schema["properties"].as_object() else { return };
        let mut present: Vec<&str> = Vec::new();
        for (key, mut node) in std::mem::take(table) {
            let name = key.get_ref().as_ref();
            let path = join(path, name);
            if let Some((name, schema)) = known.get_key_value(name) {
                present.push(name);
                if self.value(schema, &mut node, &path) {
                    table.insert(key, node);
                } else {
                    self.findings.note_damage(span.clone());
                }
                continue;
            }
            let meant = nearest(name, known.keys().map(String::as_str));
            if let Some(meant) = meant {
                // The key is there, only misspelt: its absence is not another mistake.
                present.push(meant);
                self.findings.note_damage(span.clone());
            }
            self.unknown_key(name, meant, known, &key.span(), &path);
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !present.contains(&name) && self.findings.is_whole() {
                let help = format!("for example {}", self.example(&known[name], name));
                self.findings.error(span, format!("missing key {}", quote(name))).help(help);
                self.findings.note_damage(span.clone());
            }
        }
    }

    fn unknown_key(
        &mut self,
        name: &str,
        meant: Option<&str>,
        known: &Map<String, Value>,
        span: &Range<usize>,
        path: &str,
    ) {
        let help = match meant {
            Some(meant) => format!("did you mean {}?", quote(meant)),
            None => format!("keys here: {}", quote_all(known.keys().map(String::as_str))),
        };
        self.findings.note_path(span.clone(), path);
        self.findings.error(span, format!("unknown key {}", quote(name))).help(help);
    }

    fn array(
        &mut self,
        schema: &'s Value,
        array: &mut DeArray<'_>,
        span: &Range<usize>,
        path: &str,
    ) {
        let key = last_key(path);
        let (items, length) = (&schema["items"], array.len());
        if let Some(max) = schema["maxItems"].as_u64().filter(|&max| length as u64 > max) {
            let excess = usize::try_from(max).ok().and_then(|max| array.get(max));
            let at = excess.map_or_else(|| span.clone(), Spanned::span);
            self.findings
                .error(&at, format!("`{key}` has {length} entries; at most {max} are allowed"));
        }
        let all = std::mem::replace(array, DeArray::new()).into_iter().enumerate();
        let fit = all.filter_map(|(index, mut node)| {
            self.value(items, &mut node, &format!("{path}[{index}]")).then_some(node)
        });
        *array = fit.collect();
        if array.len() < length {
            self.findings.note_damage(span.clone());
        }
    }

    /// Whether `text` is one of the values that the schema lists, if it lists any.
    fn choice(&mut self, schema: &'s Value, text: &str, span: &Range<usize>, path: &str) -> bool {
        let choices = choices(schema);
        if choices.is_empty() || choices.iter().any(|choice| choice == text) {
            return true;
        }
        let key = last_key(path);
        if let Some((_, _, why, cure)) = REFUSED.iter().find(|row| (row.0, row.1) == (key, text)) {
            let problem = format!("{} is refused as `{key}`: {why}", quote(text));
            self.findings.error(span, problem).help(*cure);
            return false;
        }
        let all = quote_all(choices.iter().map(String::as_str));
        let names = choices.iter().map(String::as_str).filter(|name| name.parse::<i64>().is_err());
        let help = match nearest(text, names) {
            Some(meant) => format!("did you mean {}? (possible: {all})", quote(meant)),
            None => format!("possible: {all}"),
        };
        self.findings.error(span, format!("{} is not a value of `{key}`", quote(text))).help(help);
        false
    }

    fn range(
        &mut self,
        schema: &'s Value,
        number: &DeInteger<'_>,
        span: &Range<usize>,
        path: &str,
    ) -> bool {
        let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let min = schema["minimum"].as_i64().unwrap_or(0);
        let max = schema["maximum"].as_i64().unwrap_or(i64::MAX);
        if value.is_some_and(|value| (i128::from(min)..=i128::from(max)).contains(&value)) {
            return true;
        }
        let problem = format!("`{}` is out of range: {number}", last_key(path));
        self.findings.error(span, problem).help(format!("a number from {min} to {max}"));
        false
    }

    fn wrong_type(&mut self, schema: &'s Value, node: &Node<'_>, path: &str) {
        let mut wanted = self.types(schema);
        wanted.dedup();
        let words: Vec<&str> = wanted.iter().map(|name| words(name)).collect();
        let found = words_of(node);
        let key = last_key(path);
        let problem = format!("`{key}` must be {}, not {found}", words.join(" or "));
        let help = self.type_cure(schema, &wanted, node, key);
        let span = node.span();
        self.findings.note_path(span.clone(), path);
        self.findings.error(&span, problem).help(help);
    }

    /// What to write instead of a value of the wrong type.
    fn type_cure(&self, schema: &'s Value, wanted: &[&str], node: &Node<'_>, key: &str) -> String {
        let is_duration = self.resolve(schema)["pattern"] == DURATION_PATTERN;
        match node.get_ref() {
            DeValue::Integer(number) if is_duration => {
                let text = format!("\"{}s\"", number.as_str());
                format!("write a duration with its unit: {}", assign(key, &text))
            }
            DeValue::Integer(number) if wanted.contains(&"string") => {
                let text = format!("\"{}\"", number.as_str());
                format!("put it in quotes: {}", assign(key, &text))
            }
            DeValue::String(text) if wanted.contains(&"integer") && text.parse::<i64>().is_ok() => {
                format!("write it without quotes: {}", assign(key, text))
            }
            DeValue::String(text) if wanted == ["boolean"] => {
                let value = nearest(text, ["true", "false"]).unwrap_or("true");
                format!("write it without quotes: {}", assign(key, value))
            }
            DeValue::Table(_) if self.types(&schema["items"]) == ["object"] => {
                format!("write `[[{key}]]` with two brackets: there can be several")
            }
            DeValue::Array(_) if wanted == ["object"] => {
                format!("write `[{key}]` with one bracket: there is only one")
            }
            _ => format!("for example {}", self.example(schema, key)),
        }
    }

    /// A line of TOML that sets `key` to the first example of its schema.
    fn example(&self, schema: &'s Value, key: &str) -> String {
        let from_list = |schema: &Value| schema["examples"].get(0).map(toml_of);
        let resolved = self.resolve(schema);
        let from_choices = || choices(resolved).first().map(|choice| format!("\"{choice}\""));
        let from_type = || match resolved["type"].as_str() {
            Some("boolean") => "true",
            Some("integer") => "1",
            Some("array") => "[]",
            Some("object") => "{ }",
            _ => "\"…\"",
        };
        let value = from_list(schema).or_else(|| from_list(resolved)).or_else(from_choices);
        assign(key, &value.unwrap_or_else(|| from_type().into()))
    }
}

/// Makes a value the only entry of a list at the same place.
fn widen_to_list(node: &mut Node<'_>) {
    let single = std::mem::replace(node, Spanned::new(node.span(), DeValue::Boolean(false)));
    *node.get_mut() = DeValue::Array(std::iter::once(single).collect());
}

/// Makes a value the only key of a table at the same place.
fn widen_to_table(node: &mut Node<'_>, key: &str) {
    let span = node.span();
    let value = std::mem::replace(node, Spanned::new(span.clone(), DeValue::Boolean(false)));
    let mut table = DeTable::new();
    table.insert(Spanned::new(span, key.to_owned().into()), value);
    *node.get_mut() = DeValue::Table(table);
}

/// Writes `text` as `schema` spells it, where only the case differs.
fn spell(schema: &Value, text: &mut Cow<'_, str>) {
    let choices = choices(schema);
    if let Some(spelled) = choices.into_iter().find(|choice| choice.eq_ignore_ascii_case(text)) {
        *text = Cow::Owned(spelled);
    }
}

/// The values that a schema lists, as text.
fn choices(schema: &Value) -> Vec<String> {
    let constant = |schema: &Value| match &schema["const"] {
        Value::Null => schema["enum"].as_array().cloned().unwrap_or_default(),
        value => vec![value.clone()],
    };
    let alternatives = schema["oneOf"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let all = alternatives.iter().chain([schema]).flat_map(constant);
    all.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
}

/// The TOML that sets `key`; for an entry of a list just its value.
fn assign(key: &str, value: &str) -> String {
    if key.ends_with(']') { format!("`{value}`") } else { format!("`{key} = {value}`") }
}

fn toml_of(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        Value::Object(table) => {
            let pairs = table.iter().map(|(key, value)| format!("{key} = {}", toml_of(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// The JSON type of a TOML value; floats and dates have none that a schema of ours accepts.
fn type_name(node: &Node<'_>) -> &'static str {
    match node.get_ref() {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Boolean(_) => "boolean",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
        DeValue::Float(_) => "number",
        DeValue::Datetime(_) => "date",
    }
}

fn words_of(node: &Node<'_>) -> String {
    match node.get_ref() {
        DeValue::Float(number) => format!("the fraction {}", number.as_str()),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Boolean(value) => format!("the bare word {value}"),
        DeValue::String(text) => format!("the text {}", quote(text)),
        DeValue::Array(_) | DeValue::Table(_) => words(type_name(node)).into(),
    }
}

fn words(type_name: &str) -> &'static str {
    match type_name {
        "string" => "text in quotes",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "a table",
    }
}

/// `path` with `key` added, quoted where TOML would.
fn join(path: &str, key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let step = match key.bytes().all(bare) && !key.is_empty() {
        true => key.to_owned(),
        false => format!("\"{}\"", key.escape_debug()),
    };
    if path.is_empty() { step } else { format!("{path}.{step}") }
}

/// The key that a path ends with, or the index of the list it stands in: `targets[2]`.
fn last_key(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}
