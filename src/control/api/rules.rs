//! Rules of a listener, by their priorities.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::Api;
use super::body::{At, Object, Precondition};
use super::change::{Kind, change, done, keys_of, put as put_part};
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::Problem;
use super::process::part;
use crate::config::{Flaw, quote};
use crate::control::handle::Changed;
use crate::model::Priority;

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
    part(&api, |config| {
        let rules = Kind::Listener.entry(config, &name)?.get("rules").cloned();
        Ok(rules.unwrap_or_else(|| Value::Object(Map::new())))
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
    part(&api, |config| {
        find(config, &name, &priority)?.ok_or_else(|| missing(config, &name, &priority))
    })
    .await
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
    let key = canonical(&priority).ok_or_else(|| no_priority(&priority))?;
    put_part(
        &api.handle,
        &precondition,
        wanted,
        |config| find(config, &name, &key),
        |rule| Kind::Listener.patch(&name, json!({ "rules": { key.as_str(): rule } })),
    )
    .await
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
    let changed = change(&api.handle, &precondition, |config| {
        let key = canonical(&priority).unwrap_or_else(|| priority.clone());
        find(config, &name, &key)?.ok_or_else(|| missing(config, &name, &priority))?;
        Ok(Some(Kind::Listener.patch(&name, json!({ "rules": { key: null } }))))
    });
    changed.await.map(done)
}

/// The rule, if the listener, which must exist, has it.
fn find(config: &Value, name: &str, priority: &str) -> Result<Option<Value>, Problem> {
    let listener = Kind::Listener.entry(config, name)?;
    let rules = listener.get("rules");
    Ok(rules.zip(canonical(priority)).and_then(|(rules, key)| rules.get(&key)).cloned())
}

/// A priority as the keyed form writes it.
fn canonical(text: &str) -> Option<String> {
    text.parse::<u16>()
        .ok()
        .filter(|value| (1..=Priority::MAX).contains(value))
        .map(|value| value.to_string())
}

fn no_priority(text: &str) -> Problem {
    let problem = format!("{} is not a priority", quote(text));
    Problem::flaw("priority", Flaw::new(problem, format!("1 to {}", Priority::MAX)))
}

fn missing(config: &Value, name: &str, priority: &str) -> Problem {
    let rules = Kind::Listener.find(config, name).and_then(|listener| listener.get("rules"));
    let mut known: Vec<u16> = keys_of(rules).iter().filter_map(|key| key.parse().ok()).collect();
    known.sort_unstable();
    let shown: Vec<String> = known.iter().take(10).map(u16::to_string).collect();
    let help = match shown.as_slice() {
        [] => "the listener has no rules".into(),
        shown => format!("its rules: {}", shown.join(", ")),
    };
    Problem::missing(format!("listener {} has no rule {}", quote(name), quote(priority)), help)
}
