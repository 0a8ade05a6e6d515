//! Rules: conditions and actions.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::form::{Brief, DurationText, Key, Many, TextOrNumber};
use crate::model::{Priority, Weight};

/// What happens to a request that no rule matches: exactly one of the three keys.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DefaultAction {
    /// Name of a target group, a list of one to five groups with weights, or a table with
    /// target_groups and stickiness.
    pub(in crate::config) forward: Key<Forward>,
    /// Answer with another address.
    pub(in crate::config) redirect: Key<Redirect>,
    /// Answer with a fixed body.
    pub(in crate::config) fixed_response: Key<FixedResponse>,
}

/// Conditions, all of which must hold, and exactly one action: forward, redirect or
/// fixed_response.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Rule {
    /// Rank, 1 to 50000; lower is evaluated first; unique within the listener. Required.
    #[schemars(required, range(min = 1, max = Priority::MAX), extend("examples" = [10]))]
    pub(in crate::config) priority: Key<u16>,
    /// Path without query, case matters; `*` is any run of characters, `?` exactly one; at most
    /// 128 bytes. One text or a list of which one must match.
    #[schemars(extend("examples" = ["/blog/*"]))]
    pub(in crate::config) path_pattern: Key<Many<String>>,
    /// Like path_pattern, as regular expressions: they match anywhere unless anchored.
    #[schemars(extend("examples" = ["^/v[0-9]+/"]))]
    pub(in crate::config) path_regex: Key<Many<String>>,
    /// Host without port, letters in any case; `*` and `?` as in path_pattern.
    #[schemars(extend("examples" = ["*.example.com"]))]
    pub(in crate::config) host_header: Key<Many<String>>,
    /// Like host_header, as regular expressions.
    #[schemars(extend("examples" = ["^(www|shop)[.]example[.]com$"]))]
    pub(in crate::config) host_regex: Key<Many<String>>,
    /// A header field and what its value must match, letters in any case. A list means that each
    /// of its conditions must hold.
    #[schemars(extend("examples" = [{ "name": "User-Agent", "values": ["*Chrome*"] }]))]
    pub(in crate::config) http_header: Key<Many<HeaderCondition>>,
    /// Request methods, case matters: `A` to `Z`, `-`, `_`, at most 40 bytes.
    #[schemars(extend("examples" = [["GET", "HEAD"]]))]
    pub(in crate::config) http_request_method: Key<Many<String>>,
    /// Pairs of the query, letters in any case: a value, or a table with key and value; `*` and
    /// `?` as in path_pattern, escaped with a backslash.
    #[schemars(extend("examples" = [{ "key": "version", "value": "v1" }]))]
    pub(in crate::config) query_string: Key<Many<Brief<QueryPair>>>,
    /// Address of the client's connection: CIDR blocks or addresses; never X-Forwarded-For.
    #[schemars(extend("examples" = ["192.0.2.0/24"]))]
    pub(in crate::config) source_ip: Key<Many<String>>,
    /// Name of a target group, a list of one to five groups with weights, or a table with
    /// target_groups and stickiness.
    #[schemars(extend("examples" = ["blog"]))]
    pub(in crate::config) forward: Key<Forward>,
    /// Answer with another address.
    pub(in crate::config) redirect: Key<Redirect>,
    /// Answer with a fixed body.
    pub(in crate::config) fixed_response: Key<FixedResponse>,
}

/// A header field and what its value must match: values or regex, not both.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HeaderCondition {
    /// Name of the field, at most 40 bytes, no wildcards, not Host. Required.
    #[schemars(required, extend("examples" = ["User-Agent"]))]
    pub(in crate::config) name: Key<String>,
    /// Patterns with `*` and `?`; one must match the whole value.
    #[schemars(extend("examples" = ["*Chrome*"]))]
    pub(in crate::config) values: Key<Many<String>>,
    /// Regular expressions; one must match.
    #[schemars(extend("examples" = ["^2[.]"]))]
    pub(in crate::config) regex: Key<Many<String>>,
}

/// A pair of the query.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct QueryPair {
    /// Pattern of the key. Default: any key.
    #[schemars(extend("examples" = ["version"]))]
    pub(in crate::config) key: Key<String>,
    /// Pattern of the value. Required.
    #[schemars(required, extend("examples" = ["v1"]))]
    pub(in crate::config) value: Key<String>,
}

/// Target groups that share the requests, and how long a client stays with the one it got.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Forward {
    pub(in crate::config) target_groups: Key<Many<Brief<Share>>>,
    pub(in crate::config) stickiness: Key<DurationText>,
}

/// In the file the groups alone, as text or as a list, may stand for the table; `structure` widens
/// them.
impl JsonSchema for Forward {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Forward".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let share = generator.subschema_for::<Brief<Share>>();
        let table = generator.subschema_for::<ForwardTable>();
        json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": share }, table]
        })
    }
}

/// Target groups that share the requests, and how long a client stays with the one it got.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "describes the table of `Forward` for the schema")]
struct ForwardTable {
    /// Name of a target group, or a list of one to five groups with weights. Required.
    #[schemars(required, extend("examples" = [["blue", "green"]]))]
    target_groups: Key<Many<Brief<Share>>>,
    /// How long after its last request a client stays with the group that it got first, by the
    /// cookie AWSALBTG: 1s to 604800s (7 days). Mode l7. Default: each request on its own.
    #[schemars(extend("examples" = ["1h"]))]
    stickiness: Key<DurationText>,
}

/// A target group and its share.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Share {
    /// Name of a target group. Required.
    #[schemars(required, extend("examples" = ["blog"]))]
    pub(in crate::config) target_group: Key<String>,
    /// Share of the requests, 0 to 999; 0: no new traffic. Default 1.
    #[schemars(range(max = Weight::MAX))]
    pub(in crate::config) weight: Key<u16>,
}

/// An answer with another address. At least one of protocol, host, port, path must differ from
/// the request's.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Redirect {
    /// "http", "https" or "#{protocol}". Default "#{protocol}".
    #[schemars(extend("examples" = ["https"]))]
    pub(in crate::config) protocol: Key<String>,
    /// Host; may hold #{host}. Default "#{host}".
    #[schemars(extend("examples" = ["www.#{host}"]))]
    pub(in crate::config) host: Key<String>,
    /// Port, 1 to 65535, or "#{port}". Default "#{port}".
    #[schemars(extend("examples" = ["443"]))]
    pub(in crate::config) port: Key<TextOrNumber>,
    /// Path, beginning with `/`; may hold #{host}, #{port}, #{path} (which has no leading slash).
    /// Default "/#{path}".
    #[schemars(extend("examples" = ["/new/#{path}"]))]
    pub(in crate::config) path: Key<String>,
    /// Query without `?`; may hold every placeholder. Default "#{query}".
    #[schemars(extend("examples" = ["#{query}"]))]
    pub(in crate::config) query: Key<String>,
    /// Status: 301, 302, 303, 307 or 308. Required.
    #[schemars(required, extend("enum" = [301, 302, 303, 307, 308], "examples" = [301]))]
    pub(in crate::config) status: Key<u16>,
}

/// An answer with a fixed body.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct FixedResponse {
    /// Status: 200 to 299 or 400 to 599. Required.
    #[schemars(required, range(min = 200, max = 599), extend("examples" = [404]))]
    pub(in crate::config) status: Key<u16>,
    /// Media type of the body. Default "text/plain".
    #[schemars(extend("examples" = ["text/plain"]))]
    pub(in crate::config) content_type: Key<String>,
    /// Body, at most 65536 bytes. Default: empty.
    #[schemars(extend("examples" = ["not here"]))]
    pub(in crate::config) body: Key<String>,
}
