//! JSON bodies, read strictly: a key that is there twice is refused, for which of its values is
//! meant nobody can tell. A number without a fraction is whole however it was written, as JSON
//! Schema has it. Nesting is bounded by `serde_json`, at 128 levels.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::config::quote;

/// The one value that `bytes` hold.
///
/// # Errors
/// If they hold no JSON, or more than one value, or an object with a key twice.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes).map(|Strict(value)| value)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        /// Beyond this, not every whole number has a form of its own.
        const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
        let is_whole = value.fract() == 0.0 && value.abs() <= WHOLE_MAX;
        Ok(if is_whole { (value as i64).into() } else { value.into() })
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(Error::custom(format!("the key {} is there twice", quote(&key))));
            }
            let Strict(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_json_schema_counts_them() {
        let cases = [
            ("null", json!(null)),
            ("[true, \"a\", {\"b\": {}}]", json!([true, "a", {"b": {}}])),
            ("[5.0, -5e2, 0.0, 5.5]", json!([5, -500, 0, 5.5])),
            ("18446744073709551615", json!(u64::MAX)),
            ("1e300", json!(1e300)),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text.as_bytes()).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn what_means_two_things_or_nests_without_end_is_refused() {
        let deep = "[".repeat(100_000);
        let cases = [
            ("{\"a\": 1, \"b\": {\"a\": 1, \"a\": 2}}", "the key `a` is there twice"),
            ("{\"a\": 1, \"\\u0061\": 1}", "the key `a` is there twice"),
            ("1e400", "number out of range"),
            ("{} {}", "trailing characters"),
            ("", "EOF"),
            (deep.as_str(), "recursion limit exceeded"),
        ];
        for (text, problem) in cases {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }
}
