//! The JSON Schema of the configuration file, generated from the types in `file`.
//!
//! Editors read it through the `#:schema` comment of a file; `structure` checks files against it.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::file::Config;

/// The JSON Schema (draft 2020-12) of the configuration file, pretty and the same on every call.
///
/// `conf/ringway.schema.json` holds this text.
#[must_use]
pub fn json_schema() -> String {
    format!("{:#}\n", schema())
}

/// The same as a value; made once, for every change of the configuration is checked against it.
pub(super) fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(generate)
}

fn generate() -> Value {
    let settings = SchemaSettings::draft2020_12();
    let mut schema = settings.into_generator().into_root_schema_for::<Config>();
    RecursiveTransform(remove_null).transform(&mut schema);
    RecursiveTransform(fold_lines).transform(&mut schema);
    schema.insert("title".into(), format!("{} configuration", env!("CARGO_PKG_NAME")).into());
    debug_assert_eq!(Config::schema_name(), "Config");
    schema.to_value()
}

/// TOML has no null: an `Option` is a key that may be absent.
fn remove_null(schema: &mut Schema) {
    let null = Value::from("null");
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| *name != null);
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    let Some(Value::Array(alternatives)) = schema.get_mut("anyOf") else { return };
    alternatives.retain(|alternative| alternative.get("type") != Some(&null));
    if let [Value::Object(only)] = alternatives.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        for (keyword, value) in only {
            // A description beside the reference is about the key, and tells more.
            if schema.get(&keyword).is_none() {
                schema.insert(keyword, value);
            }
        }
    }
}

/// Doc comments are wrapped for the source; a description is one line.
fn fold_lines(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
}
