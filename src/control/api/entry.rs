//! One flow for all that has a name in the configuration: listeners, target groups and rules are
//! read, replaced, changed and removed in the same way.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::Api;
use super::body::Precondition;
use super::change::{change, done, tagged};
use super::problem::{Mistake, Problem};
use crate::config::quote;
use crate::overlay::{self, Change, Part};

/// Most names that a problem lists.
const NAMES_SHOWN_MAX: usize = 10;

/// The part `take` of the effective configuration, with the number of the whole as its ETag.
pub(super) async fn read(
    api: &Api,
    take: impl FnOnce(&Value) -> Result<Value, Problem>,
) -> Result<Response, Problem> {
    let effective = api.handle.effective().await?;
    Ok(tagged(effective.generation, take(&effective.config)?))
}

/// What stands at `part`.
pub(super) async fn show(api: &Api, part: &Part) -> Result<Response, Problem> {
    read(api, |config| entry(config, part).cloned()).await
}

/// Makes `part`, or replaces it: 201 or 200.
pub(super) async fn put(
    api: &Api,
    part: &Part,
    precondition: &Precondition,
    wanted: Map<String, Value>,
) -> Result<Response, Problem> {
    let wanted = Change::put(part, Value::Object(wanted));
    let mut is_new = false;
    let changed = change(&api.handle, precondition, |config| {
        is_new = find(config, part)?.is_none();
        Ok(Some(wanted.clone()?))
    })
    .await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, done(changed)).into_response())
}

/// Merges `patch` into `part`, which must exist.
pub(super) async fn patch(
    api: &Api,
    part: &Part,
    precondition: &Precondition,
    patch: Map<String, Value>,
) -> Result<Response, Problem> {
    let wanted = Change::patch(part, Value::Object(patch));
    let changed = change(&api.handle, precondition, |config| {
        entry(config, part)?;
        Ok(Some(wanted.clone()?))
    });
    changed.await.map(done)
}

/// Removes `part`, which must exist and be used by nothing.
pub(super) async fn delete(
    api: &Api,
    part: &Part,
    precondition: &Precondition,
) -> Result<Response, Problem> {
    let changed = change(&api.handle, precondition, |config| {
        entry(config, part)?;
        is_unused(config, part)?;
        Ok(Some(Change::delete(part)))
    });
    changed.await.map(done)
}

/// What stands at `part` in `config`.
///
/// # Errors
/// 404, with the nearest name or those that there are.
pub(super) fn entry<'c>(config: &'c Value, part: &Part) -> Result<&'c Value, Problem> {
    find(config, part)?.ok_or_else(|| missing(config, part))
}

/// The same if there is anything; what it is in must exist.
fn find<'c>(config: &'c Value, part: &Part) -> Result<Option<&'c Value>, Problem> {
    let outer = match part {
        Part::TargetGroup(_) | Part::Listener(_) => None,
        Part::Rule(listener, _) => Some(Part::Listener(listener.clone())),
    };
    outer.map(|outer| entry(config, &outer)).transpose()?;
    Ok(part.path().iter().try_fold(config, |value, step| value.get(step)))
}

fn missing(config: &Value, part: &Part) -> Problem {
    let mut path = part.path();
    path.pop();
    let others = path.iter().try_fold(config, |value, step| value.get(step));
    let others: Vec<&str> = others
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect();
    match part {
        Part::TargetGroup(name) => Problem::unknown("target group", name, others.into_iter()),
        Part::Listener(name) => Problem::unknown("listener", name, others.into_iter()),
        Part::Rule(listener, priority) => {
            let mut known: Vec<u16> = others.iter().filter_map(|key| key.parse().ok()).collect();
            known.sort_unstable();
            let known: Vec<_> = known.iter().take(NAMES_SHOWN_MAX).map(u16::to_string).collect();
            let help = match known.as_slice() {
                [] => "the listener has no rules".into(),
                known => format!("its rules: {}", known.join(", ")),
            };
            Problem::missing(format!("listener {} has no rule {priority}", quote(listener)), help)
        }
    }
}

fn is_unused(config: &Value, part: &Part) -> Result<(), Problem> {
    let Part::TargetGroup(name) = part else { return Ok(()) };
    let mistakes = overlay::uses(config, name).into_iter().map(|path| Mistake {
        path: Some(path),
        problem: format!("this forwards to {}", quote(name)),
        help: Some("forward to another target group, or remove this first".into()),
        place: None,
    });
    let mistakes: Vec<_> = mistakes.collect();
    match mistakes.is_empty() {
        true => Ok(()),
        false => {
            let detail = format!("target group {} is in use", quote(name));
            Err(Problem::conflict(detail, mistakes))
        }
    }
}
