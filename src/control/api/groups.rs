//! Target groups: read, replace, change and remove.

use axum::extract::State;
use axum::response::Response;

use super::Api;
use super::body::{At, Object, Precondition};
use super::entry;
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::Problem;
use crate::control::handle::Changed;
use crate::overlay::Part;

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
    entry::read(&api, |config| Ok(config["target_groups"].clone())).await
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
    entry::show(&api, &Part::TargetGroup(name)).await
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
    entry::put(&api, &Part::TargetGroup(name), &precondition, wanted).await
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
    entry::patch(&api, &Part::TargetGroup(name), &precondition, patch).await
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
    entry::delete(&api, &Part::TargetGroup(name), &precondition).await
}
