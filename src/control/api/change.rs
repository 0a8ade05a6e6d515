//! From what a request asks to one merge patch, and to the response.
//!
//! A change is computed from the configuration with a certain number and applied only if it still
//! has that number, so that two clients never overwrite each other unseen.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::body::Precondition;
use super::problem::{Places, Problem};
use crate::control::handle::{ChangeError, Changed, Effective, Handle};

/// How often a change is computed anew because another came first; then 409.
const TRIES_MAX: usize = 16;

/// A part of the configuration that has names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Listener,
    TargetGroup,
}

impl Kind {
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Listener => "listeners",
            Self::TargetGroup => "target_groups",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::TargetGroup => "target group",
        }
    }

    /// All entries of this kind.
    pub(super) fn all(self, config: &Value) -> Map<String, Value> {
        config.get(self.key()).and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// The entry called `name`, if there is one.
    pub(super) fn find<'c>(self, config: &'c Value, name: &str) -> Option<&'c Value> {
        config.get(self.key())?.get(name)
    }

    /// The entry called `name`.
    ///
    /// # Errors
    /// 404 with the nearest name.
    pub(super) fn entry<'c>(self, config: &'c Value, name: &str) -> Result<&'c Value, Problem> {
        self.find(config, name).ok_or_else(|| {
            let names = keys_of(config.get(self.key()));
            Problem::unknown(self.noun(), name, names.iter().map(String::as_str))
        })
    }

    /// The patch that merges `change` into the entry called `name`.
    pub(super) fn patch(self, name: &str, change: Value) -> Value {
        json!({ self.key(): { name: change } })
    }
}

/// The keys of an object; none if it is none.
pub(super) fn keys_of(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_object).map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

/// The merge patch (RFC 7386) that turns `current` into `wanted`, in which null means absent.
pub(super) fn replacing(current: &Value, wanted: Value) -> Value {
    let Value::Object(mut wanted) = wanted else { return wanted };
    let Value::Object(current) = current else { return Value::Object(wanted) };
    for (key, old) in current {
        let new = wanted.remove(key).unwrap_or(Value::Null);
        wanted.insert(key.clone(), replacing(old, new));
    }
    Value::Object(wanted)
}

/// Computes a patch from the configuration and applies it; `None`: there is nothing to change.
///
/// # Errors
/// What `make` says; 412 of the precondition; 422 and 500 of the actor; 409 if others always come
/// first; 503.
pub(super) async fn change(
    handle: &Handle,
    precondition: &Precondition,
    mut make: impl FnMut(&Value) -> Result<Option<Value>, Problem>,
) -> Result<Changed, Problem> {
    let mut last = 0;
    for _ in 0..TRIES_MAX {
        let Effective { generation, config } = handle.effective().await?;
        precondition.check(generation)?;
        let Some(patch) = make(&config)? else {
            return Ok(Changed { generation, warnings: Vec::new() });
        };
        match handle.change_at(generation, patch).await? {
            Ok(changed) => return Ok(changed),
            Err(ChangeError::Stale(now)) => last = now,
            Err(error) => return Err(Problem::of_change(error, Places::Hidden)),
        }
    }
    Err(Problem::of_change(ChangeError::Stale(last), Places::Hidden))
}

/// Replaces or makes what `find` finds; `wrap` makes the patch of the whole from that of the part.
/// 200, or 201 if it was made.
pub(super) async fn put(
    handle: &Handle,
    precondition: &Precondition,
    wanted: Map<String, Value>,
    find: impl Fn(&Value) -> Result<Option<Value>, Problem>,
    wrap: impl Fn(Value) -> Value,
) -> Result<Response, Problem> {
    let mut made = false;
    let wanted = Value::Object(wanted);
    let changed = change(handle, precondition, |config| {
        let current = find(config)?;
        made = current.is_none();
        Ok(Some(wrap(replacing(&current.unwrap_or(Value::Null), wanted.clone()))))
    })
    .await?;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, done(changed)).into_response())
}

/// The response to a change.
pub(super) fn done(changed: Changed) -> Response {
    tagged(changed.generation, changed)
}

/// `body` as JSON with the number of the configuration as its ETag.
pub(super) fn tagged(generation: u64, body: impl Serialize) -> Response {
    ([(header::ETAG, etag(generation))], Json(body)).into_response()
}

/// The ETag of the configuration with the number `generation`.
pub(super) fn etag(generation: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{generation}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(target: &mut Value, patch: &Value) {
        super::super::tests::merge(target, patch);
    }

    #[test]
    fn the_patch_that_replaces_leaves_nothing_of_the_old() {
        let cases = [
            (json!({"a": 1}), json!({"b": 2})),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"c": 3, "d": 4}})),
            (json!({"a": {"b": 1}}), json!({"a": "text"})),
            (json!({"a": "text"}), json!({"a": {"b": 1}})),
            (json!({"a": [1, 2]}), json!({"a": [3]})),
            (json!({"a": {"b": {}}}), json!({})),
            (Value::Null, json!({"a": {"b": 1}})),
        ];
        for (current, wanted) in cases {
            let patch = replacing(&current, wanted.clone());
            let mut result = current.clone();
            merge(&mut result, &patch);
            assert_eq!(result, wanted, "{current} by {patch}");
        }
    }
}
