//! JSON merge patches (RFC 7386): applying one, and finding the one between two documents.

use serde_json::{Map, Value};

/// Changes `target` as `patch` says: objects are merged, null deletes, all else replaces.
pub(super) fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(table) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            table.remove(key);
        } else {
            apply(table.entry(key.as_str()).or_insert(Value::Null), change);
        }
    }
}

/// The smallest patch that makes `to` of `from`; `None` when they are equal. `to` holds no null
/// but in lists: no patch could make one.
pub(super) fn diff(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return Some(to.clone()) };
    let removed = from.keys().filter(|key| !to.contains_key(*key));
    let mut patch: Map<String, Value> = removed.map(|key| (key.clone(), Value::Null)).collect();
    for (key, to) in to {
        let change = match from.get(key) {
            Some(from) => diff(from, to),
            None => Some(to.clone()),
        };
        patch.extend(change.map(|change| (key.clone(), change)));
    }
    Some(Value::Object(patch))
}

/// The patch that makes `change` at `path`.
pub(super) fn nest(path: &[impl AsRef<str>], change: Value) -> Value {
    path.iter().rev().fold(change, |inner, key| {
        Value::Object(std::iter::once((key.as_ref().to_owned(), inner)).collect())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn applied(target: &Value, patch: &Value) -> Value {
        let mut result = target.clone();
        apply(&mut result, patch);
        result
    }

    #[test]
    fn the_examples_of_rfc_7386_hold() {
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), Value::Null, Value::Null),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (target, patch, result) in cases {
            assert_eq!(applied(&target, &patch), result, "{target} {patch}");
        }
    }

    fn document(with_null: bool) -> impl Strategy<Value = Value> {
        let scalar =
            prop_oneof![(0..4u8).prop_map(Value::from), any::<bool>().prop_map(Value::from)];
        let null = if with_null { 1 } else { 0 };
        let leaf = prop_oneof![4 => scalar, null => Just(Value::Null)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(0..3u8, 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_diff_leads_from_one_document_to_the_other(
            from in document(false), to in document(false),
        ) {
            match diff(&from, &to) {
                Some(patch) => prop_assert_eq!(applied(&from, &patch), to),
                None => prop_assert_eq!(from, to),
            }
        }

        #[test]
        fn a_patch_applied_twice_does_what_it_did_once(
            target in document(false), patch in document(true),
        ) {
            let once = applied(&target, &patch);
            prop_assert_eq!(applied(&once, &patch), once);
        }
    }
}
