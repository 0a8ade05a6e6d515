//! Rules of a listener, by their priorities.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value};

use super::Api;
use super::body::{At, Object, Precondition};
use super::entry;
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::Problem;
use crate::config::{Flaw, quote};
use crate::control::handle::Changed;
use crate::model::Priority;
use crate::overlay::Part;

/// Rules of a listener, by priority
#[utoipa::path(
    get, path = "/v1/listeners/{name}/rules", tag = "rules", operation_id = "list_rules",
    params(("name" = String, Path, description = "Name of the listener")),
    responses(
        (status = 200, description = "The rules",
         body = ref("#/components/schemas/Rules"),
         headers(("ETag", description = "Number of the configuration"))),
        ReadProblems,
    ),
)]
pub(super) async fn list(
    State(api): State<Api>,
    At(name): At<String>,
) -> Result<Response, Problem> {
    entry::read(&api, |config| {
        let rules = entry::entry(config, &Part::Listener(name))?.get("rules");
        Ok(rules.cloned().unwrap_or_else(|| Value::Object(Map::new())))
    })
    .await
}

/// A rule
#[utoipa::path(
    get, path = "/v1/listeners/{name}/rules/{priority}", tag = "rules", operation_id = "read_rule",
    params(
        ("name" = String, Path, description = "Name of the listener"),
        ("priority" = u16, Path, description = "Priority", minimum = 1, maximum = 50000),
    ),
    responses(
        (status = 200, description = "The rule", body = ref("#/components/schemas/Rule"),
         headers(("ETag", description = "Number of the configuration"))),
        ReadProblems,
    ),
)]
pub(super) async fn read(
    State(api): State<Api>,
    At((name, priority)): At<(String, String)>,
) -> Result<Response, Problem> {
    entry::show(&api, &existing(name, &priority)?).await
}

/// Make a rule, or replace it
#[utoipa::path(
    put, path = "/v1/listeners/{name}/rules/{priority}", tag = "rules", operation_id = "put_rule",
    params(
        ("name" = String, Path, description = "Name of the listener"),
        ("priority" = u16, Path, description = "Priority", minimum = 1, maximum = 50000),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    request_body(
        content = ref("#/components/schemas/Rule"), content_type = "application/json",
        example = json!({"path_pattern": ["/blog", "/blog/*"], "forward": "blog"}),
    ),
    responses(
        (status = 200, description = "Replaced", body = Changed),
        (status = 201, description = "Made", body = Changed),
        ChangeProblems,
    ),
)]
pub(super) async fn put(
    State(api): State<Api>,
    At((name, priority)): At<(String, String)>,
    precondition: Precondition,
    Object(wanted): Object,
) -> Result<Response, Problem> {
    let rule = rule(&name, &priority).ok_or_else(|| {
        let problem = format!("{} is not a priority", quote(&priority));
        Problem::flaw("priority", Flaw::new(problem, format!("1 to {}", Priority::MAX)))
    })?;
    entry::put(&api, &rule, &precondition, wanted).await
}

/// Remove a rule
#[utoipa::path(
    delete, path = "/v1/listeners/{name}/rules/{priority}", tag = "rules",
    operation_id = "delete_rule",
    params(
        ("name" = String, Path, description = "Name of the listener"),
        ("priority" = u16, Path, description = "Priority", minimum = 1, maximum = 50000),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    responses((status = 200, description = "Removed", body = Changed), ChangeProblems),
)]
pub(super) async fn delete(
    State(api): State<Api>,
    At((name, priority)): At<(String, String)>,
    precondition: Precondition,
) -> Result<Response, Problem> {
    entry::delete(&api, &existing(name, &priority)?, &precondition).await
}

/// The rule of that priority.
fn rule(listener: &str, priority: &str) -> Option<Part> {
    let priority = priority.parse().ok().filter(|value| (1..=Priority::MAX).contains(value))?;
    Some(Part::Rule(listener.into(), priority))
}

/// The same; what cannot exist does not.
fn existing(listener: String, priority: &str) -> Result<Part, Problem> {
    rule(&listener, priority).ok_or_else(|| {
        let detail = format!("listener {} has no rule {}", quote(&listener), quote(priority));
        Problem::missing(detail, format!("priorities are 1 to {}", Priority::MAX))
    })
}
