//! The OpenAPI document: routes and bodies from the handlers, the parts of the configuration from
//! the schema of the file.
//!
//! OpenAPI 3.1 takes JSON Schema as it is, so what an editor knows of the file, a client of the
//! API knows of the keyed form: names, addresses and priorities are keys there, not members.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::openapi::response::{Response as Described, ResponseBuilder};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr};
use utoipa::{IntoResponses, OpenApi};

use super::problem::{self, Problem};
use crate::config;
use crate::control::handle::Event;
use crate::model::{
    LISTENERS_MAX, RULES_PER_LISTENER_MAX, TARGET_GROUPS_MAX, TARGETS_PER_GROUP_MAX,
};

/// What is said once.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "ringway control API",
        description = "Reads and changes a running ringway: listeners, rules, target groups, \
                       targets. Changes are atomic: one that is refused changes nothing, one that \
                       is accepted is in force at every worker when the answer comes. Errors are \
                       problem details (RFC 9457) with the texts of `ringway check`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(),
    ),
    servers((url = "http://localhost", description = "Over the Unix socket or on loopback")),
    components(schemas(Problem, Event)),
    modifiers(&BearerToken),
    security((), ("token" = [])),
    tags(
        (name = "process", description = "The process as a whole"),
        (name = "configuration", description = "All of the configuration"),
        (name = "listeners", description = "Addresses, modes and default actions"),
        (name = "rules", description = "Conditions and actions, in ascending priority"),
        (name = "target groups", description = "Targets with one algorithm and health check"),
        (name = "targets", description = "What serves requests"),
    ),
)]
struct Frame;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, document: &mut Document) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = document.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", scheme);
    }
}

/// The document without routes.
pub(super) fn frame() -> Document {
    Frame::openapi()
}

/// The OpenAPI 3.1 document, pretty and the same on every call.
///
/// `conf/openapi.json` holds this text.
#[must_use]
pub fn openapi_json() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let document = super::routes().to_openapi();
        let mut document = serde_json::to_value(document).unwrap_or_default();
        let schemas = document.pointer_mut("/components/schemas");
        if let Some(schemas) = schemas.and_then(Value::as_object_mut) {
            add_configuration(schemas);
        }
        tighten(&mut document);
        fold_lines(&mut document);
        format!("{document:#}\n")
    })
}

/// This document
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "process",
    responses((status = 200, description = "OpenAPI 3.1", body = Object), ReadProblems),
)]
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi_json()).into_response()
}

/// How a question can go wrong.
pub(super) struct ReadProblems;

/// How a change can go wrong.
pub(super) struct ChangeProblems;

/// Name of a listener or target group, as `config` has it.
const NAME: &str = "^[A-Za-z0-9._-]{1,64}$";
/// Priority of a rule as a key.
const PRIORITY: &str = "^([1-9][0-9]{0,3}|[1-4][0-9]{4}|50000)$";
/// IP address and port; that of an IPv6 one is looked at loosely.
const ADDRESS: &str = concat!(
    r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])",
    r"(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}",
    r"|\[[0-9A-Fa-f:.%]{2,60}\])",
    r":(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$",
);

const READ: [(StatusCode, &str); 5] = [
    (StatusCode::BAD_REQUEST, "The path cannot be decoded"),
    (StatusCode::UNAUTHORIZED, "The token is missing or wrong"),
    (StatusCode::FORBIDDEN, "The request comes from a web page elsewhere"),
    (StatusCode::NOT_FOUND, "There is nothing of that name; tells the nearest"),
    (StatusCode::SERVICE_UNAVAILABLE, "The process is ending, or too many streams are open"),
];

const CHANGE: [(StatusCode, &str); 7] = [
    (StatusCode::REQUEST_TIMEOUT, "The body did not come"),
    (
        StatusCode::CONFLICT,
        "It is in use, its address cannot be had, or other changes always came first",
    ),
    (StatusCode::PRECONDITION_FAILED, "The configuration is not the one of If-Match"),
    (StatusCode::PAYLOAD_TOO_LARGE, "The body is longer than 1 MiB"),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not declared as JSON"),
    (StatusCode::UNPROCESSABLE_ENTITY, "Refused, with every mistake; nothing has changed"),
    (StatusCode::INTERNAL_SERVER_ERROR, "It cannot be read or kept; nothing has changed"),
];

impl IntoResponses for ReadProblems {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        READ.into_iter().map(describe).collect()
    }
}

impl IntoResponses for ChangeProblems {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        READ.into_iter().chain(CHANGE).map(describe).collect()
    }
}

fn describe((status, description): (StatusCode, &str)) -> (String, RefOr<Described>) {
    let schema = Ref::from_schema_name("Problem");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response =
        ResponseBuilder::new().description(description).content(problem::MEDIA_TYPE, content);
    (status.as_str().into(), RefOr::T(response.build()))
}

/// Adds the schemas of the configuration's keyed form.
fn add_configuration(schemas: &mut Map<String, Value>) {
    let text = config::json_schema().replace("#/$defs/", "#/components/schemas/");
    let mut file: Value = serde_json::from_str(&text).unwrap_or_default();
    let Some(Value::Object(mut parts)) = file.get_mut("$defs").map(Value::take) else { return };
    for (part, key, map) in [
        ("TargetGroup", "name", Some(("targets", "Target"))),
        ("Listener", "name", Some(("rules", "Rule"))),
        ("Target", "address", None),
        ("Rule", "priority", None),
    ] {
        if let Some(part) = parts.get_mut(part) {
            into_keyed(part, key, map);
        }
    }
    if let Some(target) = parts.get_mut("Target").and_then(|part| part.get_mut("properties")) {
        target["expires"] = json!({
            "description": "Seconds since 1970 at which the registration ends unless renewed. \
                            Default: never.",
            "type": "integer", "minimum": 0,
        });
    }
    let object = |description: &str| json!({ "type": "object", "description": description });
    parts.insert("Patch".into(), object("A merge patch (RFC 7386): null removes."));
    for (name, part, description, keys, max) in [
        ("Listeners", "Listener", "Listeners by name.", NAME, LISTENERS_MAX),
        ("TargetGroups", "TargetGroup", "Target groups by name.", NAME, TARGET_GROUPS_MAX),
        ("Rules", "Rule", "Rules by priority.", PRIORITY, RULES_PER_LISTENER_MAX),
    ] {
        parts.insert(name.into(), map_of(part, description, keys, max));
    }
    let part = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let mut whole = object("The configuration in its keyed form.");
    whole["properties"] = json!({
        "server": part("Server"),
        "target_groups": part("TargetGroups"),
        "listeners": part("Listeners"),
    });
    parts.insert("Configuration".into(), whole);
    debug_assert!(parts.keys().all(|name| !schemas.contains_key(name)), "a name means two things");
    schemas.extend(parts);
}

/// Takes `key`, which the keyed form has outside, from the schema `part`, and makes its list
/// `map.0` a map of `map.1`.
fn into_keyed(part: &mut Value, key: &str, map: Option<(&str, &str)>) {
    if let Some(Value::Array(required)) = part.get_mut("required") {
        required.retain(|name| name != key);
    }
    let Some(Value::Object(properties)) = part.get_mut("properties") else { return };
    properties.remove(key);
    if let Some((list, of)) = map {
        let (by, keys, max) = match of {
            "Target" => ("Targets by address.", ADDRESS, TARGETS_PER_GROUP_MAX),
            _ => ("Rules by priority.", PRIORITY, RULES_PER_LISTENER_MAX),
        };
        properties.insert(list.into(), map_of(of, by, keys, max));
    }
}

/// An object of at most `max` entries whose keys are like the pattern `keys`.
fn map_of(part: &str, description: &str, keys: &str, max: usize) -> Value {
    let part = format!("#/components/schemas/{part}");
    json!({
        "type": "object",
        "description": description,
        "propertyNames": { "pattern": keys },
        "maxProperties": max,
        "additionalProperties": { "$ref": part },
    })
}

/// Says what the types alone do not: how names, addresses and durations look, and that a rule has
/// one action.
fn tighten(document: &mut Value) {
    let one_action =
        ["forward", "redirect", "fixed_response"].map(|key| json!({"required": [key]}));
    // Port 0 is one that the kernel chooses.
    let target = ADDRESS.replace(":(0|", ":(");
    let duration = document.pointer("/components/schemas/Duration/pattern").cloned();
    let duration = duration.unwrap_or_default();
    for (schema, keyword, value) in [
        ("Listener/properties/address", "pattern", ADDRESS.into()),
        ("Listener/properties/default", "oneOf", json!(one_action)),
        ("Rule", "oneOf", json!(one_action)),
        ("TargetGroup/properties/targets/propertyNames", "pattern", target.as_str().into()),
        ("Registration/properties/address", "pattern", target.as_str().into()),
        ("Registration/properties/ttl", "pattern", duration.clone()),
        ("Deregister/properties/targets/items", "pattern", target.as_str().into()),
        ("Deregister/properties/wait", "pattern", duration),
    ] {
        let schema = document.pointer_mut(&format!("/components/schemas/{schema}"));
        debug_assert!(schema.is_some(), "where {keyword} should stand");
        schema.into_iter().for_each(|schema| schema[keyword] = value.clone());
    }
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, operation) in paths.flat_map(|(_, path)| path.as_object_mut().into_iter().flatten()) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten().filter(|it| it["in"] == "path") {
            match parameter["name"].as_str() {
                Some("name") => parameter["schema"]["pattern"] = NAME.into(),
                Some("address") => parameter["schema"]["pattern"] = target.as_str().into(),
                Some(_) | None => {}
            }
        }
    }
}

/// Doc comments are wrapped for the source; a description has a line for each paragraph.
fn fold_lines(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get_mut("description") {
                let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
                *text = paragraphs.collect::<Vec<_>>().join("\n\n");
            }
            map.values_mut().for_each(fold_lines);
        }
        Value::Array(values) => values.iter_mut().for_each(fold_lines),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
