//! The files under `conf/`: they load, the reference is complete, the schema is not stale.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ringway::config;
use serde_json::Value;

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

fn files() -> Vec<PathBuf> {
    let directories = [conf(), conf().join("examples")];
    let entries = directories.iter().filter_map(|directory| std::fs::read_dir(directory).ok());
    let mut files: Vec<_> = entries.flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

#[test]
fn every_file_loads_without_warnings() {
    let files = files();
    assert!(files.len() >= 6, "{files:?}");
    for path in files {
        match config::load(&path) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{}", path.display()),
            Err(failure) => panic!("{failure}"),
        }
    }
}

#[test]
fn every_file_names_the_schema_for_editors_in_its_first_line() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        let schema =
            first.strip_prefix("#:schema ").unwrap_or_else(|| panic!("{}", path.display()));
        assert!(path.parent().unwrap().join(schema).exists(), "{}: {schema}", path.display());
    }
}

#[test]
fn every_example_needs_no_privilege() {
    for path in files().iter().filter(|path| path.to_string_lossy().contains("examples")) {
        for listener in config::load(path).unwrap().model.listeners {
            assert!(listener.address.port() >= 8000, "{}", path.display());
        }
    }
}

#[test]
fn reference_mentions_every_key() {
    let schema: Value = serde_json::from_str(&config::json_schema()).unwrap();
    let mut keys = BTreeSet::new();
    collect_keys(&schema, &mut keys);
    assert!(keys.len() > 50, "{keys:?}");
    let text = std::fs::read_to_string(conf().join("ringway.toml")).unwrap();
    let is_mentioned = |key: &String| {
        let tables = [format!("[[{key}]]"), format!("[{key}]"), format!(".{key}]")];
        text.contains(&format!("{key} =")) || tables.iter().any(|table| text.contains(table))
    };
    let missing: Vec<_> = keys.iter().filter(|key| !is_mentioned(key)).collect();
    assert!(missing.is_empty(), "conf/ringway.toml does not mention {missing:?}");
}

fn collect_keys(schema: &Value, keys: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                keys.extend(properties.keys().filter(|key| *key != "rules").cloned());
            }
            map.values().for_each(|value| collect_keys(value, keys));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

#[test]
fn reference_shows_the_defaults() {
    let full = config::load(&conf().join("ringway.toml")).unwrap().model;
    let least = config::parse(
        r#"
            [[target_groups]]
            name = "home"
            targets = ["127.0.0.1:5000"]
            [[listeners]]
            name = "web"
            address = "0.0.0.0:80"
            default = { forward = "home" }
        "#,
        "least.toml",
    );
    let least = least.unwrap().model;
    let shown = |value: &dyn std::fmt::Debug| format!("{value:#?}");
    assert_eq!(shown(&full.server), shown(&least.server));
    assert_eq!(shown(&full.target_groups[0]), shown(&least.target_groups[0]));
    let mut listener = full.listeners[0].clone();
    assert_eq!(listener.rules.len(), 3);
    listener.rules.clear();
    assert_eq!(shown(&listener), shown(&least.listeners[0]));
}

#[test]
fn schema_file_is_what_the_types_say() {
    let path = conf().join("ringway.schema.json");
    let schema = config::json_schema();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    let regenerate = "UPDATE=1 cargo test --test conf schema_file";
    assert!(stored == schema, "conf/ringway.schema.json is stale: run `{regenerate}`");
}

#[test]
fn openapi_document_is_not_stale() {
    let path = conf().join("openapi.json");
    let current = ringway::control::api::openapi_json();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, current).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == current, "run `UPDATE=1 cargo test --test conf` to write conf/openapi.json");
}
