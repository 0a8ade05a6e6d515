//! Listeners: read, replace, change, remove, and switch their mode.

use axum::extract::State;
use axum::response::Response;
use serde_json::Map;

use super::Api;
use super::body::{At, Json, Object, Precondition};
use super::entry;
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::Problem;
use super::wire::ModeChange;
use crate::control::handle::Changed;
use crate::overlay::Part;

/// All listeners, by name
#[utoipa::path(
    get, path = "/v1/listeners", tag = "listeners", operation_id = "list_listeners",
    responses(
        (status = 200, description = "The listeners",
         body = ref("#/components/schemas/Listeners"),
         headers(("ETag", description = "Number of the configuration"))),
        ReadProblems,
    ),
)]
pub(super) async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    entry::read(&api, |config| Ok(config["listeners"].clone())).await
}

/// A listener
#[utoipa::path(
    get, path = "/v1/listeners/{name}", tag = "listeners", operation_id = "read_listener",
    params(("name" = String, Path, description = "Name of the listener")),
    responses(
        (status = 200, description = "The listener",
         body = ref("#/components/schemas/Listener"),
         headers(("ETag", description = "Number of the configuration"))),
        ReadProblems,
    ),
)]
pub(super) async fn read(
    State(api): State<Api>,
    At(name): At<String>,
) -> Result<Response, Problem> {
    entry::show(&api, &Part::Listener(name)).await
}

/// Make a listener, or replace it with its rules
#[utoipa::path(
    put, path = "/v1/listeners/{name}", tag = "listeners", operation_id = "put_listener",
    params(
        ("name" = String, Path, description = "Name of the listener"),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    request_body(
        content = ref("#/components/schemas/Listener"), content_type = "application/json",
        example = json!({"address": "127.0.0.1:8080", "default": {"forward": "home"}}),
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
    entry::put(&api, &Part::Listener(name), &precondition, wanted).await
}

/// Change a listener
///
/// The body is a merge patch (RFC 7386) over the listener as GET shows it: null removes.
#[utoipa::path(
    patch, path = "/v1/listeners/{name}", tag = "listeners", operation_id = "patch_listener",
    params(
        ("name" = String, Path, description = "Name of the listener"),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    request_body(
        content = ref("#/components/schemas/Patch"), content_type = "application/merge-patch+json",
        example = json!({"idle_timeout": "120s"}),
    ),
    responses((status = 200, description = "In force", body = Changed), ChangeProblems),
)]
pub(super) async fn patch(
    State(api): State<Api>,
    At(name): At<String>,
    precondition: Precondition,
    Object(patch): Object,
) -> Result<Response, Problem> {
    entry::patch(&api, &Part::Listener(name), &precondition, patch).await
}

/// Remove a listener
///
/// It accepts no connection any more; those it has go on to their ends.
#[utoipa::path(
    delete, path = "/v1/listeners/{name}", tag = "listeners", operation_id = "delete_listener",
    params(
        ("name" = String, Path, description = "Name of the listener"),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    responses((status = 200, description = "Removed", body = Changed), ChangeProblems),
)]
pub(super) async fn delete(
    State(api): State<Api>,
    At(name): At<String>,
    precondition: Precondition,
) -> Result<Response, Problem> {
    entry::delete(&api, &Part::Listener(name), &precondition).await
}

/// Switch a listener between L4 and L7
///
/// New connections follow the new mode at once; existing ones end in the mode they began in.
#[utoipa::path(
    put, path = "/v1/listeners/{name}/mode", tag = "listeners", operation_id = "put_mode",
    params(
        ("name" = String, Path, description = "Name of the listener"),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    request_body = ModeChange,
    responses((status = 200, description = "In force", body = Changed), ChangeProblems),
)]
pub(super) async fn put_mode(
    State(api): State<Api>,
    At(name): At<String>,
    precondition: Precondition,
    Json(wanted): Json<ModeChange>,
) -> Result<Response, Problem> {
    let patch = Map::from_iter([("mode".to_owned(), wanted.mode.into())]);
    entry::patch(&api, &Part::Listener(name), &precondition, patch).await
}
