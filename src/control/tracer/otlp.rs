//! Spans as OTLP's JSON (opentelemetry-proto 1.x): identifiers in hexadecimal, 64-bit numbers as
//! text, names of OpenTelemetry's semantic conventions for HTTP where they have one.
//!
//! JSON and not protobuf: every collector takes both, and this needs no further crate. The SDK
//! for Rust would bring its own runtime of batches and timers, and build tonic or reqwest.

use serde::Serialize;
use serde_json::Value;

use crate::span::Span;

/// `SPAN_KIND_SERVER`.
const SERVER: u8 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;
/// Flag of a span: whether its parent is remote is known, and that it is.
const REMOTE_PARENT: u32 = 0x300;
/// Flag of a span, as in `traceparent`.
const SAMPLED: u32 = 1;
/// Methods by their names (semantic conventions for HTTP, `http.request.method`).
const METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// `spans` as the body of a request, of the service of this name.
pub(super) fn encode(service: &str, spans: &[Span]) -> Vec<u8> {
    let whole = Export {
        resource_spans: [ResourceSpans {
            resource: Resource {
                attributes: vec![
                    text("service.name", service),
                    text("service.version", env!("CARGO_PKG_VERSION")),
                ],
            },
            scope_spans: [ScopeSpans {
                scope: Scope { name: "ringway", version: env!("CARGO_PKG_VERSION") },
                spans: spans.iter().map(Told::from).collect(),
            }],
        }],
    };
    // Text and numbers always become JSON.
    serde_json::to_vec(&whole).unwrap_or_default()
}

/// How many spans the collector has refused, by what it answers.
pub(super) fn refused(answer: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedSpans"];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok());
    count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Export<'s> {
    resource_spans: [ResourceSpans<'s>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'s> {
    resource: Resource<'s>,
    scope_spans: [ScopeSpans<'s>; 1],
}

#[derive(Serialize)]
struct Resource<'s> {
    attributes: Vec<Attribute<'s>>,
}

#[derive(Serialize)]
struct ScopeSpans<'s> {
    scope: Scope,
    spans: Vec<Told<'s>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'s> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    flags: u32,
    name: &'s str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'s>>,
    status: Status<'s>,
}

#[derive(Serialize)]
struct Status<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'s str>,
}

#[derive(Serialize)]
struct Attribute<'s> {
    key: &'static str,
    value: Worth<'s>,
}

/// What an attribute is worth.
#[derive(Serialize)]
enum Worth<'s> {
    #[serde(rename = "stringValue")]
    Borrowed(&'s str),
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "intValue")]
    Number(String),
    #[serde(rename = "doubleValue")]
    Fraction(f64),
}

fn text<'s>(key: &'static str, value: &'s str) -> Attribute<'s> {
    Attribute { key, value: Worth::Borrowed(value) }
}

fn number(key: &'static str, value: impl Into<u64>) -> Attribute<'static> {
    Attribute { key, value: Worth::Number(value.into().to_string()) }
}

impl<'s> From<&'s Span> for Told<'s> {
    fn from(span: &'s Span) -> Self {
        let context = span.context;
        let remote = if context.parent.is_some() { REMOTE_PARENT } else { REMOTE_PARENT & 0x100 };
        // What a client did wrong is no error of a server's span.
        let failed =
            !matches!(span.status, 400..500) && (span.error.is_some() || span.status >= 500);
        Self {
            trace_id: format!("{:032x}", context.trace),
            span_id: format!("{:016x}", context.id),
            parent_span_id: context.parent.map(|parent| format!("{parent:016x}")),
            flags: SAMPLED | remote,
            name: method(span),
            kind: SERVER,
            start_time_unix_nano: span.began.as_nanos().to_string(),
            end_time_unix_nano: span.ended.as_nanos().to_string(),
            attributes: attributes(span),
            status: Status {
                code: failed.then_some(ERROR),
                message: span.error.filter(|_| failed),
            },
        }
    }
}

/// The name of the method, of those that are known; so names of spans are few.
fn method(span: &Span) -> &str {
    METHODS.into_iter().find(|name| *name == span.method).unwrap_or("HTTP")
}

fn attributes(span: &Span) -> Vec<Attribute<'_>> {
    let mut all = Vec::with_capacity(24);
    match method(span) {
        "HTTP" => {
            all.push(text("http.request.method", "_OTHER"));
            all.push(text("http.request.method_original", &span.method));
        }
        known => all.push(text("http.request.method", known)),
    }
    all.push(text("url.scheme", "http"));
    all.push(text("url.path", &span.path));
    let (host, port) = server(&span.authority);
    let some = [
        ("server.address", host),
        ("user_agent.original", span.user_agent.as_str()),
        ("ringway.listener", span.listener.as_str()),
        ("ringway.target_group", span.group.as_str()),
        ("ringway.trace_id", span.trace_id.as_str()),
    ];
    all.extend(some.into_iter().filter(|(_, it)| !it.is_empty()).map(|(key, it)| text(key, it)));
    all.extend(port.map(|port| number("server.port", port)));
    let client = span.client.ip().to_canonical().to_string();
    all.push(Attribute { key: "client.address", value: Worth::Text(client) });
    all.push(number("client.port", span.client.port()));
    all.push(text("network.protocol.version", span.version));
    if span.status != 0 {
        all.push(number("http.response.status_code", span.status));
    }
    if let Some(error) = span.error {
        all.push(text("error.type", error));
    } else if span.status >= 500 {
        let status = Worth::Text(span.status.to_string());
        all.push(Attribute { key: "error.type", value: status });
    }
    all.extend(span.rule.map(|rule| number("ringway.rule", rule)));
    if let Some(target) = span.target {
        let target = Worth::Text(target.to_string());
        all.push(Attribute { key: "ringway.target", value: target });
        all.push(number("ringway.attempts", span.attempts as u64));
    }
    if let Some(time) = span.target_time {
        let time = Worth::Fraction(time.as_secs_f64());
        all.push(Attribute { key: "ringway.target_seconds", value: time });
    }
    all.push(number("ringway.received_bytes", span.bytes.0));
    all.push(number("ringway.sent_bytes", span.bytes.1));
    all
}

/// Host and port of an authority.
fn server(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Sampling;
    use std::time::Duration;

    fn span() -> Span {
        let request = crate::message::Request {
            head: &crate::message::RequestHead::default(),
            bytes: b"",
            peer: [0; 4].into(),
        };
        let context = Sampling::one_in(std::num::NonZeroU32::MIN).choose(&request, [1, 2, 3]);
        Span {
            context: context.expect("one in one"),
            began: Duration::from_nanos(1_700_000_000_000_000_001),
            ended: Duration::from_nanos(1_700_000_000_250_000_001),
            method: "GET".into(),
            path: "/a\"b".into(),
            authority: "shop.example:8080".into(),
            version: "1.1",
            user_agent: String::new(),
            trace_id: "Root=1-0-0".into(),
            client: "[::ffff:10.0.0.9]:4242".parse().expect("address"),
            listener: "web".into(),
            rule: Some(10),
            group: "home".into(),
            target: Some("10.0.0.1:80".parse().expect("address")),
            attempts: 2,
            target_time: Some(Duration::from_millis(250)),
            status: 503,
            error: None,
            bytes: (17, 42),
        }
    }

    fn told(span: &Span) -> Value {
        let whole: Value =
            serde_json::from_slice(&encode("shop", std::slice::from_ref(span))).expect("JSON");
        let resource = &whole["resourceSpans"][0];
        let service = &resource["resource"]["attributes"][0];
        assert_eq!(service["key"], "service.name");
        assert_eq!(service["value"]["stringValue"], "shop");
        resource["scopeSpans"][0]["spans"][0].clone()
    }

    fn attribute<'v>(span: &'v Value, key: &str) -> Option<&'v Value> {
        let all = span["attributes"].as_array().expect("a list");
        let found = all.iter().find(|attribute| attribute["key"] == key)?;
        found["value"].as_object().expect("a table").values().next()
    }

    #[test]
    fn span_is_written_as_the_json_mapping_of_otlp_asks() {
        let span = told(&span());
        assert_eq!(span["traceId"], "00000000000000020000000000000003");
        assert_eq!(span["spanId"].as_str().map(str::len), Some(16));
        assert_eq!(span.get("parentSpanId"), None);
        assert_eq!((span["kind"].as_u64(), span["flags"].as_u64()), (Some(2), Some(0x101)));
        assert_eq!(span["startTimeUnixNano"], "1700000000000000001");
        assert_eq!(span["endTimeUnixNano"], "1700000000250000001");
        assert_eq!((&span["name"], &span["status"]["code"]), (&"GET".into(), &2.into()));
        for (key, expected) in [
            ("url.path", Value::from("/a\"b")),
            ("server.address", "shop.example".into()),
            ("server.port", "8080".into()),
            ("client.address", "10.0.0.9".into()),
            ("http.response.status_code", "503".into()),
            ("error.type", "503".into()),
            ("ringway.rule", "10".into()),
            ("ringway.target", "10.0.0.1:80".into()),
            ("ringway.attempts", "2".into()),
            ("ringway.target_seconds", 0.25.into()),
        ] {
            assert_eq!(attribute(&span, key), Some(&expected), "{key}");
        }
        assert_eq!(attribute(&span, "user_agent.original"), None);
    }

    #[test]
    fn method_that_nobody_knows_makes_no_name() {
        let span = told(&Span { method: "BREW".into(), status: 200, ..span() });
        assert_eq!(span["name"], "HTTP");
        assert_eq!(attribute(&span, "http.request.method"), Some(&"_OTHER".into()));
        assert_eq!(attribute(&span, "http.request.method_original"), Some(&"BREW".into()));
        assert_eq!(span["status"], serde_json::json!({}));
    }

    #[test]
    fn authority_is_host_and_port() {
        let rows = [
            ("a", ("a", None)),
            ("a:80", ("a", Some(80))),
            ("[::1]", ("[::1]", None)),
            ("[::1]:80", ("[::1]", Some(80))),
            ("a:", ("a", None)),
        ];
        for (authority, expected) in rows {
            assert_eq!(server(authority), expected, "{authority}");
        }
    }
}
