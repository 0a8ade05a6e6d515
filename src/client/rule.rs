//! The text of a rule, a target group or a listener: TOML, one key after the other with commas or
//! line by line, or JSON.

use std::io::{self, Read};

use serde_json::{Map, Value};

use super::Trouble;

/// What a text is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    noun: &'static str,
    example: &'static str,
    /// Whether all may be left out.
    may_be_empty: bool,
}

pub(super) const RULE: Kind = Kind {
    noun: "rule",
    example: r#"path_pattern = ["/blog"], forward = "blog""#,
    may_be_empty: false,
};
pub(super) const GROUP: Kind = Kind {
    noun: "target group",
    example: r#"algorithm = "round_robin", health_check = { path = "/health" }"#,
    may_be_empty: true,
};
pub(super) const LISTENER: Kind = Kind {
    noun: "listener",
    example: r#"address = "0.0.0.0:80", default = { forward = "home" }"#,
    may_be_empty: false,
};

/// Longest text that is read from standard input, in bytes; the API takes no longer one.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;

/// What the command line says, else what is on standard input.
pub(super) fn read(kind: Kind, toml: Option<&str>, json: Option<&str>) -> Result<Value, Trouble> {
    match (toml, json) {
        (_, Some(text)) => of_json(kind, text),
        (Some(text), None) => of_toml(kind, text),
        (None, None) => {
            let mut text = String::new();
            io::stdin().take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
            of_toml(kind, &text)
        }
    }
}

fn of_json(kind: Kind, text: &str) -> Result<Value, Trouble> {
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(table) => Ok(Value::Object(table)),
        Err(cause) => Err(Trouble::Usage(format!("the {} is no JSON object: {cause}", kind.noun))),
    }
}

/// Line by line, else as what stands in an inline table.
fn of_toml(kind: Kind, text: &str) -> Result<Value, Trouble> {
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(cause) => {
            let inline = text.trim().trim_start_matches('{').trim_end_matches('}');
            let inline = if text.trim().starts_with('{') { inline } else { text };
            match format!("all = {{ {} }}", inline.trim()).parse::<toml::Table>() {
                Ok(mut table) => match table.remove("all") {
                    Some(toml::Value::Table(all)) => all,
                    Some(_) | None => toml::Table::new(),
                },
                Err(_) => return Err(no_toml(kind, cause.message())),
            }
        }
    };
    if table.is_empty() && !kind.may_be_empty {
        return Err(no_toml(kind, "it is empty"));
    }
    serde_json::to_value(table).map_err(|cause| no_toml(kind, &cause.to_string()))
}

fn no_toml(kind: Kind, cause: &str) -> Trouble {
    let Kind { noun, example, .. } = kind;
    Trouble::Usage(format!("the {noun} is not TOML: {cause}; write it as '{example}'"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_read_in_a_line_or_line_by_line() {
        let expected = json!({ "path_pattern": ["/a", "/b"], "forward": "blog" });
        let texts = [
            r#"path_pattern = ["/a", "/b"], forward = "blog""#,
            r#"{ path_pattern = ["/a", "/b"], forward = "blog" }"#,
            "path_pattern = [\n  \"/a\", \"/b\",\n]\nforward = \"blog\"\n",
        ];
        for text in texts {
            assert_eq!(of_toml(RULE, text).unwrap(), expected, "{text}");
        }
        let nested =
            of_toml(RULE, r#"path_pattern = "/", redirect = { port = 443, status = 301 }"#);
        assert_eq!(nested.unwrap()["redirect"]["port"], 443);
        assert!(of_json(RULE, r#"{"forward":"blog"}"#).is_ok());
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "path_pattern", "a = 1, , b", "}{"] {
            assert!(of_toml(RULE, text).is_err(), "{text}");
        }
        for text in ["", "[]", "{'a':1}"] {
            assert!(of_json(RULE, text).is_err(), "{text}");
        }
        assert_eq!(of_toml(GROUP, "").unwrap(), json!({}), "all defaults");
        assert!(of_toml(LISTENER, "").is_err(), "an address at least");
    }
}
