//! Target groups: read, replace, change and remove.

use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::Api;
use super::body::{At, Object, Precondition};
use super::change::{Kind, change, done, put as put_part};
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::{Mistake, Problem};
use super::process::part;
use crate::config::quote;
use crate::control::handle::Changed;

/// All target groups, by name
#[utoipa::path(
    get, path = "/v1/target-groups", tag = "target groups", operation_id = "list_target_groups",
    responses(
        (status = 200, description = "The target groups",
         body = ref("#/components/schemas/TargetGroups"),
         headers(("ETag", description = "Number of the configuration"))),
        ReadProblems,
    ),
)]
pub(super) async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    part(&api, |config| Ok(Value::Object(Kind::TargetGroup.all(config)))).await
}

/// A target group
#[utoipa::path(
    get, path = "/v1/target-groups/{name}", tag = "target groups",
    operation_id = "read_target_group",
    params(("name" = String, Path, description = "Name of the target group")),
    responses(
        (status = 200, description = "The target group",
         body = ref("#/components/schemas/TargetGroup"),
         headers(("ETag", description = "Number of the configuration"))),
        ReadProblems,
    ),
)]
pub(super) async fn read(
    State(api): State<Api>,
    At(name): At<String>,
) -> Result<Response, Problem> {
    part(&api, |config| Kind::TargetGroup.entry(config, &name).cloned()).await
}

/// Make a target group, or replace it with its targets
///
/// Targets that are in both stay as they are; those that are gone drain.
#[utoipa::path(
    put, path = "/v1/target-groups/{name}", tag = "target groups",
    operation_id = "put_target_group",
    params(
        ("name" = String, Path, description = "Name of the target group"),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    request_body(
        content = ref("#/components/schemas/TargetGroup"), content_type = "application/json",
        example = json!({"targets": {"127.0.0.1:8081": {"weight": 2}}}),
    ),
    responses(
        (status = 200, description = "Replaced", body = Changed),
        (status = 201, description = "Made", body = Changed),
        ChangeProblems,
    ),
)]
pub(super) async fn put(
    State(api): State<Api>,
    At(name): At<String>,
    precondition: Precondition,
    Object(wanted): Object,
) -> Result<Response, Problem> {
    put_part(
        &api.handle,
        &precondition,
        wanted,
        |config| Ok(Kind::TargetGroup.find(config, &name).cloned()),
        |patch| Kind::TargetGroup.patch(&name, patch),
    )
    .await
}

/// Change a target group
///
/// The body is a merge patch (RFC 7386) over the target group as GET shows it: null removes.
#[utoipa::path(
    patch, path = "/v1/target-groups/{name}", tag = "target groups",
    operation_id = "patch_target_group",
    params(
        ("name" = String, Path, description = "Name of the target group"),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    request_body(
        content = ref("#/components/schemas/Patch"), content_type = "application/merge-patch+json",
        example = json!({"health_check": {"path": "/healthz"}}),
    ),
    responses((status = 200, description = "In force", body = Changed), ChangeProblems),
)]
pub(super) async fn patch(
    State(api): State<Api>,
    At(name): At<String>,
    precondition: Precondition,
    Object(patch): Object,
) -> Result<Response, Problem> {
    let patch = Value::Object(patch);
    let changed = change(&api.handle, &precondition, |config| {
        Kind::TargetGroup.entry(config, &name)?;
        Ok(Some(Kind::TargetGroup.patch(&name, patch.clone())))
    });
    changed.await.map(done)
}

/// Remove a target group
///
/// Its targets drain. A group that a listener forwards to cannot be removed.
#[utoipa::path(
    delete, path = "/v1/target-groups/{name}", tag = "target groups",
    operation_id = "delete_target_group",
    params(
        ("name" = String, Path, description = "Name of the target group"),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    responses((status = 200, description = "Removed", body = Changed), ChangeProblems),
)]
pub(super) async fn delete(
    State(api): State<Api>,
    At(name): At<String>,
    precondition: Precondition,
) -> Result<Response, Problem> {
    let changed = change(&api.handle, &precondition, |config| {
        Kind::TargetGroup.entry(config, &name)?;
        let uses = uses(config, &name);
        if uses.is_empty() {
            return Ok(Some(Kind::TargetGroup.patch(&name, Value::Null)));
        }
        let mistakes = uses.into_iter().map(|path| Mistake {
            path: Some(path),
            problem: format!("this forwards to {}", quote(&name)),
            help: Some("forward to another target group, or remove this first".into()),
            place: None,
        });
        let detail = format!("target group {} is in use", quote(&name));
        Err(Problem::conflict(detail, mistakes.collect()))
    });
    changed.await.map(done)
}

/// Where listeners forward to the group called `name`.
fn uses(config: &Value, name: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (listener, value) in Kind::Listener.all(config) {
        if value.get("default").is_some_and(|action| forwards_to(action, name)) {
            paths.push(format!("listeners.{listener}.default.forward"));
        }
        let rules = value.get("rules").and_then(Value::as_object).into_iter().flatten();
        let rules = rules.filter(|(_, rule)| forwards_to(rule, name));
        paths.extend(
            rules.map(|(priority, _)| format!("listeners.{listener}.rules.{priority}.forward")),
        );
    }
    paths
}

fn forwards_to(action: &Value, name: &str) -> bool {
    let is_it = |share: &Value| {
        share.as_str().or_else(|| share.get("target_group")?.as_str()) == Some(name)
    };
    action.get("forward").is_some_and(|forward| match forward {
        Value::Array(shares) => shares.iter().any(is_it),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            is_it(forward)
        }
    })
}
