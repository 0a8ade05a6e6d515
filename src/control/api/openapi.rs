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

const READ: [(StatusCode, &str); 5] = [
    (StatusCode::BAD_REQUEST, "The path cannot be decoded"),
    (StatusCode::UNAUTHORIZED, "The token is missing or wrong"),
    (StatusCode::FORBIDDEN, "The request comes from a web page elsewhere"),
    (StatusCode::NOT_FOUND, "There is nothing of that name; tells the nearest"),
    (StatusCode::SERVICE_UNAVAILABLE, "The process is ending, or too many streams are open"),
];

const CHANGE: [(StatusCode, &str); 7] = [
    (StatusCode::REQUEST_TIMEOUT, "The body did not come"),
    (StatusCode::CONFLICT, "It is in use, or other changes always came first"),
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
    for (name, part, description) in [
        ("Listeners", "Listener", "Listeners by name."),
        ("TargetGroups", "TargetGroup", "Target groups by name."),
        ("Rules", "Rule", "Rules by priority."),
    ] {
        parts.insert(name.into(), map_of(part, description));
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
        let by = if of == "Target" { "Targets by address." } else { "Rules by priority." };
        properties.insert(list.into(), map_of(of, by));
    }
}

fn map_of(part: &str, description: &str) -> Value {
    let part = format!("#/components/schemas/{part}");
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": { "$ref": part },
    })
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
