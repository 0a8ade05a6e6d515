//! Targets of a group: their health, registering, deregistering and weights.
//!
//! Registering and deregistering are idempotent, and a whole list is one atomic change.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::Api;
use super::body::{At, Json, OptionalJson, Pairs, Precondition};
use super::change::{change, done, tagged};
use super::entry::entry;
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::{Mistake, Problem};
use super::wire::{Deregister, Deregistered, Register, Registration, TargetList, WeightChange};
use crate::config::{self, Flaw};
use crate::control::handle::Changed;
use crate::model::TARGETS_PER_GROUP_MAX;
use crate::overlay::{self, Change, Part};

/// Shortest and longest lease. Agents that die must be noticed; one that lives for a day is none.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
/// Longest wait of a deregistration: the longest deregistration delay.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Targets of a group and their health
///
/// States and reasons are those of AWS. Draining targets are shown until they are gone.
#[utoipa::path(
    get, path = "/v1/target-groups/{name}/targets", tag = "targets", operation_id = "list_targets",
    params(("name" = String, Path, description = "Name of the target group")),
    responses((status = 200, description = "The targets", body = TargetList), ReadProblems),
)]
pub(super) async fn list(
    State(api): State<Api>,
    At(name): At<String>,
) -> Result<Response, Problem> {
    if let Some(targets) = api.handle.targets(name.clone()).await? {
        return Ok(axum::Json(TargetList { targets }).into_response());
    }
    let config = api.handle.effective().await?.config;
    // If it is there by now, it was made a moment ago.
    entry(&config, &Part::TargetGroup(name))?;
    Ok(axum::Json(TargetList { targets: Vec::new() }).into_response())
}

/// Register targets, or renew their leases
///
/// All of them or, if one is no good, none. What is registered already is changed to what this
/// says. With a `ttl` the registration ends by itself, and the target drains, unless another
/// renews it in time; without one it holds for good.
#[utoipa::path(
    post, path = "/v1/target-groups/{name}/targets", tag = "targets",
    operation_id = "register_targets",
    params(
        ("name" = String, Path, description = "Name of the target group"),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    request_body = Register,
    responses((status = 200, description = "Registered", body = Changed), ChangeProblems),
)]
pub(super) async fn register(
    State(api): State<Api>,
    At(name): At<String>,
    precondition: Precondition,
    Json(wanted): Json<Register>,
) -> Result<Response, Problem> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wanted = registrations(&wanted.targets, now)?;
    let group = Part::TargetGroup(name.clone());
    let changed = change(&api.handle, &precondition, |config| {
        entry(config, &group)?;
        Ok(Some(Change::register(&name, &wanted)))
    });
    changed.await.map(done)
}

/// Deregister targets
///
/// When the answer comes they get no new request; what is in flight may finish within the
/// group's `deregistration_delay`. Addresses that are not registered are passed over. Name the
/// targets in the body or in the query. With `wait` the answer comes only once nothing is in
/// flight there, or the time is over.
#[utoipa::path(
    delete, path = "/v1/target-groups/{name}/targets", tag = "targets",
    operation_id = "deregister_targets",
    params(
        ("name" = String, Path, description = "Name of the target group"),
        ("address" = Option<Vec<String>>, Query, description = "Target; any number of times"),
        ("wait" = Option<String>, Query, description = "As in the body"),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    request_body = Option<Deregister>,
    responses((status = 200, description = "Deregistered", body = Deregistered), ChangeProblems),
)]
pub(super) async fn deregister(
    State(api): State<Api>,
    At(name): At<String>,
    Pairs(query): Pairs,
    precondition: Precondition,
    OptionalJson(body): OptionalJson<Deregister>,
) -> Result<Response, Problem> {
    let wanted = with_query(body.unwrap_or_default(), query)?;
    let wait = wanted.wait.as_deref().map(wait_time).transpose()?;
    let addresses = addresses(&wanted.targets)?;
    let Changed { generation, warnings } = change(&api.handle, &precondition, |config| {
        let targets = targets_of(config, &name)?;
        let is_there = addresses.iter().any(|it| targets.contains_key(&it.to_string()));
        Ok(is_there.then(|| Change::deregister(&name, &addresses)))
    })
    .await?;
    let drained = match wait {
        Some(limit) => {
            let drained = api.handle.drained(name, addresses);
            match tokio::time::timeout(limit, drained).await {
                Ok(drained) => Some(drained.is_ok()),
                Err(_) => Some(false),
            }
        }
        None => None,
    };
    Ok(tagged(generation, Deregistered { generation, warnings, drained }))
}

/// Change the weight of a target
///
/// 0 sends it no new traffic, but leaves it registered.
#[utoipa::path(
    put, path = "/v1/target-groups/{name}/targets/{address}/weight", tag = "targets",
    operation_id = "put_weight",
    params(
        ("name" = String, Path, description = "Name of the target group"),
        ("address" = String, Path, description = "Address and port of the target"),
        ("If-Match" = Option<String>, Header, description = "ETag the change is made for"),
    ),
    request_body = WeightChange,
    responses((status = 200, description = "In force", body = Changed), ChangeProblems),
)]
pub(super) async fn put_weight(
    State(api): State<Api>,
    At((name, address)): At<(String, String)>,
    precondition: Precondition,
    Json(wanted): Json<WeightChange>,
) -> Result<Response, Problem> {
    let changed = change(&api.handle, &precondition, |config| {
        let targets = targets_of(config, &name)?;
        let target = address.parse().ok();
        let target = target.filter(|it: &SocketAddr| targets.contains_key(&it.to_string()));
        let Some(target) = target else {
            let known = targets.keys().map(String::as_str);
            return Err(Problem::unknown("target", &address, known));
        };
        Ok(Some(Change::set_weight(&name, target, wanted.weight)))
    });
    changed.await.map(done)
}

/// The group's targets, by address.
fn targets_of(config: &Value, group: &str) -> Result<Map<String, Value>, Problem> {
    let group = entry(config, &Part::TargetGroup(group.into()))?;
    Ok(group.get("targets").and_then(Value::as_object).cloned().unwrap_or_default())
}

/// What a body asks to register; `now` is the time since 1970.
fn registrations(
    wanted: &[Registration],
    now: Duration,
) -> Result<Vec<overlay::Registration>, Problem> {
    let mut seen = HashSet::new();
    all(wanted, |at, wanted| {
        let fail = |key: &str, flaw| (format!("targets[{at}].{key}"), flaw);
        let address =
            config::target_address(&wanted.address).map_err(|flaw| fail("address", flaw))?;
        if !seen.insert(address) {
            let problem = format!("{} is there twice", config::quote(&wanted.address));
            return Err(fail("address", Flaw::new(problem, "name each target once")));
        }
        let ttl = wanted.ttl.as_deref().map(|ttl| within(ttl, TTL.0, TTL.1, "1s to 24h"));
        let ttl = ttl.transpose().map_err(|flaw| fail("ttl", flaw))?;
        // Rounded up: a lease never ends early.
        let expires = ttl.map(|ttl| (now + ttl).as_millis().div_ceil(1000) as u64);
        Ok(overlay::Registration { address, weight: wanted.weight, expires })
    })
}

/// What `each` makes of all of them, or every mistake with its path.
fn all<T, R>(
    given: &[T],
    mut each: impl FnMut(usize, &T) -> Result<R, (String, Flaw)>,
) -> Result<Vec<R>, Problem> {
    let flaw = match given.len() {
        0 => Some(Flaw::new("no target is named", "name at least one")),
        1..=TARGETS_PER_GROUP_MAX => None,
        _ => Some(Flaw::new(
            format!("more than {TARGETS_PER_GROUP_MAX} targets are named"),
            "send them in parts",
        )),
    };
    if let Some(flaw) = flaw {
        return Err(Problem::flaw("targets", flaw));
    }
    let mut mistakes = Vec::new();
    let mut good = Vec::with_capacity(given.len());
    for (at, given) in given.iter().enumerate() {
        match each(at, given) {
            Ok(value) => good.push(value),
            Err((path, Flaw { problem, help })) => {
                mistakes.push(Mistake { path: Some(path), problem, help, place: None });
            }
        }
    }
    if mistakes.is_empty() { Ok(good) } else { Err(Problem::refused(mistakes)) }
}

fn with_query(mut body: Deregister, query: Vec<(String, String)>) -> Result<Deregister, Problem> {
    for (key, value) in query {
        match key.as_str() {
            "address" => body.targets.push(value),
            "wait" if body.wait.is_some() => {
                return Err(Problem::flaw(
                    "wait",
                    Flaw::new("`wait` is there twice", "say it once"),
                ));
            }
            "wait" => body.wait = Some(value),
            other => {
                let problem = format!("unknown key {}", config::quote(other));
                return Err(Problem::flaw(other, Flaw::new(problem, "known: `address`, `wait`")));
            }
        }
    }
    Ok(body)
}

fn wait_time(text: &str) -> Result<Duration, Problem> {
    within(text, Duration::ZERO, WAIT_MAX, "0s to 1h").map_err(|flaw| Problem::flaw("wait", flaw))
}

fn within(text: &str, min: Duration, max: Duration, range: &str) -> Result<Duration, Flaw> {
    let value = config::duration(text)?;
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(Flaw::new(format!("{} is out of range", config::quote(text)), range))
}

fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>, Problem> {
    all(texts, |at, text| {
        config::target_address(text).map_err(|flaw| (format!("targets[{at}]"), flaw))
    })
}
