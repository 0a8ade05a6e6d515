//! The text of a rule: TOML, one key after the other with commas or line by line, or JSON.

use std::io::{self, Read};

use serde_json::{Map, Value};

use super::Trouble;

/// Longest rule that is read from standard input, in bytes; the API takes no longer one.
const RULE_BYTES_MAX: u64 = 1024 * 1024;

/// The rule of the command line, else that on standard input.
pub(super) fn read(toml: Option<&str>, json: Option<&str>) -> Result<Value, Trouble> {
    match (toml, json) {
        (_, Some(text)) => of_json(text),
        (Some(text), None) => of_toml(text),
        (None, None) => {
            let mut text = String::new();
            io::stdin().take(RULE_BYTES_MAX).read_to_string(&mut text)?;
            of_toml(&text)
        }
    }
}

fn of_json(text: &str) -> Result<Value, Trouble> {
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(rule) => Ok(Value::Object(rule)),
        Err(cause) => Err(Trouble::Usage(format!("the rule is no JSON object: {cause}"))),
    }
}

/// Line by line, else as what stands in an inline table.
pub(super) fn of_toml(text: &str) -> Result<Value, Trouble> {
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(cause) => {
            let inline = text.trim().trim_start_matches('{').trim_end_matches('}');
            let inline = if text.trim().starts_with('{') { inline } else { text };
            match format!("rule = {{ {} }}", inline.trim()).parse::<toml::Table>() {
                Ok(mut table) => match table.remove("rule") {
                    Some(toml::Value::Table(rule)) => rule,
                    Some(_) | None => toml::Table::new(),
                },
                Err(_) => return Err(no_rule(cause.message())),
            }
        }
    };
    if table.is_empty() {
        return Err(no_rule("it is empty"));
    }
    serde_json::to_value(table).map_err(|cause| no_rule(&cause.to_string()))
}

fn no_rule(cause: &str) -> Trouble {
    let example = r#"'path_pattern = ["/blog"], forward = "blog"'"#;
    Trouble::Usage(format!("the rule is not TOML: {cause}; write it as {example}"))
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
            assert_eq!(of_toml(text).unwrap(), expected, "{text}");
        }
        let nested = of_toml(r#"path_pattern = "/", redirect = { port = 443, status = 301 }"#);
        assert_eq!(nested.unwrap()["redirect"]["port"], 443);
        assert!(of_json(r#"{"forward":"blog"}"#).is_ok());
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "path_pattern", "a = 1, , b", "}{"] {
            assert!(of_toml(text).is_err(), "{text}");
        }
        for text in ["", "[]", "{'a':1}"] {
            assert!(of_json(text).is_err(), "{text}");
        }
    }
}
