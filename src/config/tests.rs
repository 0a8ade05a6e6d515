//! Configuration texts: what they mean, and what is said about the wrong ones.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{Action, ControlApi, HealthyMin, OutlierDetection, SpanExport, Stickiness};

mod attributes;
mod mistakes;

/// Marks, in a test's text, where its mistake is expected to be reported.
const MARK: char = '▸';

const GROUP: &str = "[[target_groups]]\nname = \"blog\"\ntargets = [\"127.0.0.1:8081\"]\n";
const LISTENER: &str = "[[listeners]]\nname = \"web\"\naddress = \"0.0.0.0:80\"\n";
const DEFAULT: &str = "default = { forward = \"blog\" }\n";

/// A valid file with `lines` added to its target group.
fn group(lines: &str) -> String {
    format!("{GROUP}{lines}\n{LISTENER}{DEFAULT}")
}

/// A valid file with `lines` added to its listener.
fn listener(lines: &str) -> String {
    format!("{GROUP}{LISTENER}{DEFAULT}{lines}\n")
}

/// A valid file whose listener has `lines` for a default.
fn default(lines: &str) -> String {
    format!("{GROUP}{LISTENER}{lines}\n")
}

/// A valid file with a rule that has `lines` beside a priority, a condition and an action.
fn rule(lines: &str) -> String {
    listener(&format!(
        "[[listeners.rules]]\npriority = 1\nhttp_request_method = \"GET\"\n\
         forward = \"blog\"\n{lines}"
    ))
}

/// A valid file with a rule whose action is `lines`.
fn action(lines: &str) -> String {
    listener(&format!("[[listeners.rules]]\npriority = 1\npath_pattern = \"/\"\n{lines}"))
}

/// A text without its mark, and where the mark was: line and column from 1.
fn unmark(text: &str) -> (String, usize, usize) {
    let (before, _) = text.split_once(MARK).unwrap_or_else(|| panic!("no mark in\n{text}"));
    let line = before.split('\n').count();
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    (text.replace(MARK, ""), line, column)
}

fn check(diagnostics: &[Diagnostic], marked: &str, problem: &str, help: &str) {
    let (text, line, column) = unmark(marked);
    let shown: String = diagnostics.iter().map(|found| found.render(Color::Off)).collect();
    let [found] = diagnostics else { panic!("not exactly one in\n{text}\n{shown}") };
    let place = found.place.as_ref().unwrap();
    assert_eq!((place.line, place.column), (line, column), "{shown}");
    assert!(found.problem.contains(problem), "problem lacks {problem:?}:\n{shown}");
    let given = found.help.as_deref().unwrap_or_default();
    assert!(given.contains(help), "help lacks {help:?}:\n{shown}");
}

fn failure(text: &str) -> Failure {
    parse(text, "test.toml").err().unwrap_or_else(|| panic!("loads:\n{text}"))
}

/// Each file has one mistake, which is the one error reported.
fn refused(cases: &[(String, &str, &str)]) {
    for (marked, problem, help) in cases {
        let errors = failure(&unmark(marked).0).errors;
        check(&errors, marked, problem, help);
    }
}

#[test]
fn many_mistakes_are_all_reported_in_one_run() {
    let text = r#"
[server]
worker = 2
drain_timeout = 30

[[target_groups]]
name = "blog"
algorithim = "round_robin"
targets = ["app:80", "127.0.0.1:8081", "127.0.0.1:8081"]
slow_start = "5s"

[[listeners]]
name = "web"
address = "0.0.0.0:80"
mode = "l8"
default = { forward = "blgo" }

[[listeners.rules]]
priority = 1
path_pattern = "blog"
forward = "blog"

[[listeners.rules]]
priority = 1
redirect = { status = 301 }

[[listeners]]
name = "web"
address = "127.0.0.1:80"
default = { fixed_response = { status = 302 } }
trusted_fronts = "10.0.0.0/8"
idle_timeout = soon
"#;
    let failure = failure(text);
    let found: Vec<(usize, &str)> = failure
        .errors
        .iter()
        .map(|error| (error.place.as_ref().unwrap().line, error.problem.as_str()))
        .collect();
    let expected = [
        (3, "unknown key `worker`"),
        (4, "`drain_timeout` must be text"),
        (8, "unknown key `algorithim`"),
        (9, "names are not resolved"),
        (9, "already the address"),
        (10, "`slow_start` is out of range"),
        (15, "`l8` is not a value"),
        (16, "no target group `blgo`"),
        (20, "a path begins with"),
        (24, "priority 1 is already used by rules[0] (line 18)"),
        (25, "endless loop"),
        (28, "already the name of listeners[0]"),
        (29, "clashes with"),
        (30, "cannot have status 302"),
        (31, "needs `accept_proxy_protocol"),
        (32, "must be quoted"),
    ];
    assert_eq!(found.len(), expected.len(), "{failure}");
    for ((line, problem), (expected_line, words)) in found.into_iter().zip(expected) {
        assert_eq!(line, expected_line, "{problem}");
        assert!(problem.contains(words), "{problem}");
    }
}

#[test]
fn an_unclosed_bracket_does_not_hide_or_echo_beyond_its_section() {
    let text = "[[target_groups]]\nname = \"a\"\ntargets = [\"127.0.0.1:1\"\n\
                [[listeners]]\nname = \"web\"\naddress = \"0.0.0.0\"\n\
                default = { forward = \"a\" }\n\
                [[listeners.rules]]\npriority = 0\npath_pattern = \"/\"\nforward = \"a\"\n";
    let lines: Vec<_> =
        failure(text).errors.iter().map(|error| error.place.as_ref().unwrap().line).collect();
    assert_eq!(lines, [3, 6, 9]);
}

#[test]
fn paths_name_the_value() {
    let text = rule(
        "[[listeners.rules]]\npriority = 99999\npath_pattern = [\"/\", \"x\"]\n\
         bogus = 1\nforward = \"blog\"",
    );
    let failure = failure(&text);
    let paths: Vec<_> =
        failure.errors.iter().map(|error| error.place.as_ref().unwrap().path.as_str()).collect();
    let rule = "listeners[0].rules[1]";
    let expected = ["priority", "path_pattern[1]", "bogus"].map(|key| format!("{rule}.{key}"));
    assert_eq!(paths, expected);
}

#[test]
fn short_and_long_forms_mean_the_same() {
    let short = action("forward = \"blog\"\nquery_string = \"*x*\"\nsource_ip = \"::1\"");
    let long = action(
        "forward = [{ target_group = \"blog\", weight = 1 }]\n\
         query_string = [{ value = \"*x*\" }]\nsource_ip = [\"::1/128\"]",
    )
    .replace("\"127.0.0.1:8081\"", "{ address = \"127.0.0.1:8081\", weight = 1 }");
    let model = |text: &str| format!("{:#?}", parse(text, "t").unwrap().model);
    assert_eq!(model(&short), model(&long));
}

#[test]
fn a_forward_is_one_group_a_list_or_a_table() {
    let models = ["\"blog\"", "[\"blog\"]", "{ target_groups = \"blog\" }"].map(|forward| {
        let text = default(&format!("default = {{ forward = {forward} }}"));
        format!("{:#?}", parse(&text, "t").unwrap_or_else(|f| panic!("{f}")).model)
    });
    assert!(models.iter().all(|model| *model == models[0]));
    let sticky = "default = { forward = { target_groups = [{ target_group = \"blog\" }], \
                  stickiness = \"1h\" } }";
    let model = parse(&default(sticky), "t").unwrap().model;
    let Action::Forward(forward) = &model.listeners[0].default else { panic!("{model:#?}") };
    assert_eq!(forward.stickiness, Some(Duration::from_secs(3600)));
}

#[test]
fn attributes_of_a_group_reach_the_model() {
    let read = |lines: &str| {
        let loaded = parse(&group(lines), "t").unwrap_or_else(|failure| panic!("{failure}"));
        loaded.model.target_groups[0].clone()
    };
    let sticky = |text: &str| read(&format!("stickiness = {{ {text} }}")).stickiness;
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
    assert_eq!(sticky("type = \"lb_cookie\""), Stickiness::LbCookie(day));
    let app = Stickiness::AppCookie { name: "sid".into(), duration: hour };
    let text = "type = \"app_cookie\", cookie_name = \"sid\", duration = \"1h\"";
    assert_eq!(sticky(text), app);
    assert_eq!(sticky("type = \"source_ip\""), Stickiness::SourceIp);
    let min = read("healthy_min = { percentage = 50 }").healthy_min;
    assert_eq!(min, HealthyMin { count: 1, percentage: Some(50) });
    let mitigated = read("algorithm = \"weighted_random\"\nanomaly_mitigation = true");
    assert!(mitigated.anomaly_mitigation);
    assert!(read("connection_termination = true").connection_termination);
    let default = Some(OutlierDetection::default());
    for (text, expected) in [("false", None), ("true", default), ("{ }", default)] {
        assert_eq!(read(&format!("outlier_detection = {text}")).outlier_detection, expected);
    }
    let detection = read("outlier_detection = { base_ejection = \"10s\" }").outlier_detection;
    assert_eq!(detection.unwrap().base_ejection, Duration::from_secs(10));
}

#[test]
fn the_control_api_and_the_state_directory_reach_the_model() {
    let text = "[server]\nstate_dir = \"/s\"\n[server.control]\nsocket = \"/c\"\n\
                address = \"10.0.0.1:9900\"\ntoken_file = \"/t\"\n\
                metrics_address = \"[::]:9901\"\n";
    let server = parse(&(text.to_owned() + &listener("")), "t").unwrap().model.server;
    assert_eq!(server.state_dir, Some("/s".into()));
    let control = ControlApi {
        metrics_address: Some("[::]:9901".parse().unwrap()),
        optional: false,
        socket: Some("/c".into()),
        address: Some("10.0.0.1:9900".parse().unwrap()),
        token_file: Some("/t".into()),
    };
    assert_eq!(server.control, control);
}

#[test]
fn tracing_reaches_the_model_in_both_forms() {
    let read = |value: &str| {
        let text = format!("[server]\ntracing = {value}\n{}", listener(""));
        parse(&text, "t").unwrap().model.server.spans.unwrap()
    };
    let brief = SpanExport {
        collector: "127.0.0.1:4318".parse().unwrap(),
        path: "/v1/traces".into(),
        sample_one_in: 100.try_into().unwrap(),
        service: "ringway".into(),
    };
    for endpoint in ["http://127.0.0.1:4318", "http://127.0.0.1:4318/"] {
        assert_eq!(read(&format!("\"{endpoint}\"")), brief);
    }
    let long = "{ endpoint = \"http://[::1]:1/otlp/traces\", sample_one_in = 1, service = \"a\" }";
    let expected = SpanExport {
        collector: "[::1]:1".parse().unwrap(),
        path: "/otlp/traces".into(),
        sample_one_in: 1.try_into().unwrap(),
        service: "a".into(),
    };
    assert_eq!(read(long), expected);
}

#[test]
fn rules_are_sorted_by_priority() {
    let rules = [30, 10, 20].map(|n| {
        format!(
            "[[listeners.rules]]\npriority = {n}\npath_pattern = \"/{n}\"\nforward = \"blog\"\n"
        )
    });
    let model = parse(&listener(&rules.concat()), "t").unwrap().model;
    let priorities: Vec<_> =
        model.listeners[0].rules.iter().map(|rule| rule.priority.value()).collect();
    assert_eq!(priorities, [10, 20, 30]);
}

#[test]
fn port_zero_and_different_families_do_not_clash() {
    let text = listener(
        "[[listeners]]\nname = \"b\"\naddress = \"[::1]:80\"\ndefault = { forward = \"blog\" }\n\
         [[listeners]]\nname = \"c\"\naddress = \"127.0.0.1:0\"\ndefault = { forward = \"blog\" }\n\
         [[listeners]]\nname = \"d\"\naddress = \"127.0.0.1:0\"\n\
         default = { forward = \"blog\" }\n",
    );
    assert_eq!(parse(&text, "t").unwrap().warnings, []);
}

#[test]
fn an_unknown_key_is_rendered_as_rustc_would() {
    let text = group("\talgorithim = \"round_robin\"");
    let expected = "\
error: unknown key `algorithim`
 --> test.toml:4:2
  |
4 |  algorithim = \"round_robin\"
  |  ^^^^^^^^^^
  |
  = help: did you mean `algorithm`?

test.toml: 1 error
";
    assert_eq!(failure(&text).render(Color::Off), expected);
}

#[test]
fn errors_come_before_warnings_and_both_are_counted() {
    let text = group("response_timeout = \"500ms\"\nretry = \"sfae\"\nslow_start = \"31\"");
    let expected = "\
error: `sfae` is not a value of `retry`
 --> test.toml:5:9
  |
5 | retry = \"sfae\"
  |         ^^^^^^
  |
  = help: did you mean `safe`? (possible: `safe`, `never`)

error: `31` is not a duration
 --> test.toml:6:14
  |
6 | slow_start = \"31\"
  |              ^^^^
  |
  = help: write \"31s\"

warning: `response_timeout` is suspiciously small: 500ms
 --> test.toml:4:20
  |
4 | response_timeout = \"500ms\"
  |                    ^^^^^^^
  |
  = help: most networks need at least 1s

test.toml: 2 errors, 1 warning
";
    assert_eq!(failure(&text).render(Color::Off), expected);
}

#[test]
fn colours_only_add_escape_sequences() {
    let diagnostic = &failure(&group("retry = 1")).errors[0];
    let colored = diagnostic.render(Color::On);
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    assert_eq!(plain + rest, diagnostic.render(Color::Off));
    assert!(colored.contains("\x1b[1;31merror\x1b[0m"));
}

#[test]
fn json_names_place_problem_and_help() {
    let failure = failure(&group("retry = \"sfae\""));
    let json: serde_json::Value = serde_json::from_str(&render_json(&failure.errors)).unwrap();
    assert_eq!(
        json,
        serde_json::json!([{
            "severity": "error",
            "file": "test.toml",
            "line": 4,
            "column": 9,
            "path": "target_groups[0].retry",
            "problem": "`sfae` is not a value of `retry`",
            "help": "did you mean `safe`? (possible: `safe`, `never`)",
        }])
    );
}

#[test]
fn control_characters_of_the_file_do_not_reach_the_terminal() {
    let text = group("retry = \"\\u001b[31m\"\n# \u{1b}[2J\n\"k\\u001b\" = 1");
    let rendered = failure(&text).render(Color::Off);
    assert!(!rendered.chars().any(|c| c.is_control() && c != '\n'), "{rendered:?}");
}

#[test]
fn an_unreadable_file_says_why_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let latin = directory.path().join("latin.toml");
    std::fs::write(&latin, b"a = 1\n# caf\xe9\n").unwrap();
    let absent = directory.path().join("absent.toml");
    let cases = [
        (absent.as_path(), "No such file", "exists"),
        (directory.path(), "directory", "inside"),
        (latin.as_path(), "line 2 is not UTF-8", "save the file as UTF-8"),
    ];
    for (path, problem, help) in cases {
        let failure = load(path).unwrap_err();
        let rendered = failure.render(Color::Off);
        assert!(rendered.contains(problem) && rendered.contains(help), "{rendered}");
        assert!(failure.unreadable.is_some());
    }
}

#[test]
fn deep_or_endless_text_is_refused_without_a_panic() {
    let texts = [
        "a.".repeat(50_000) + "a = 1",
        format!("x = {}", "[".repeat(50_000)),
        format!("[{}a]", "a.".repeat(50_000)),
        format!("x = {}", "{a=".repeat(50_000)),
        "=\n".repeat(50_000),
        "a = [\n".repeat(20_000),
        "\u{feff}".into(),
        "\0".into(),
    ];
    for text in texts {
        let failure = failure(&text);
        assert!(failure.errors.len() <= DIAGNOSTICS_MAX);
        assert!(!failure.render(Color::Off).is_empty());
    }
}

/// What a mutation inserts: characters that mean something in TOML, and some that do not.
const INSERTED: &str = "[\\[\\]{}=\"'#,.a-z0-9 \n\u{e9}\\\\]{0,8}";
const REFERENCE: &str = include_str!("../../conf/ringway.toml");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        if let Err(failure) = parse(&text, "t") {
            prop_assert!(!failure.render(Color::On).is_empty());
        }
    }

    #[test]
    fn mutated_files_never_panic(
        edits in prop::collection::vec((0.0..1.0f64, 0usize..30, INSERTED), 1..6),
    ) {
        let mut text: Vec<char> = REFERENCE.chars().collect();
        for (at, removed, inserted) in edits {
            let at = ((text.len() as f64) * at) as usize;
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
        }
        let text: String = text.into_iter().collect();
        match parse(&text, "t") {
            Ok(loaded) => prop_assert!(!loaded.model.listeners.is_empty()),
            Err(failure) => {
                prop_assert!(!failure.errors.is_empty());
                for diagnostic in failure.errors.iter().chain(&failure.warnings) {
                    let place = diagnostic.place.as_ref();
                    let place = place.ok_or_else(|| TestCaseError::fail("no place"))?;
                    prop_assert!(place.line <= text.split('\n').count());
                    prop_assert!(!diagnostic.render(Color::Off).is_empty());
                }
            }
        }
    }
}

#[test]
fn a_table_with_one_bracket_too_few_is_still_checked_inside() {
    let text = listener("")
        .replace("[[target_groups]]", "[target_groups]")
        .replace("targets =", "target =")
        .replace("0.0.0.0:80", "0.0.0.0");
    let problems: Vec<_> = failure(&text).errors.into_iter().map(|error| error.problem).collect();
    let expected = [
        "`target_groups` must be a list, not a table",
        "unknown key `target`",
        "`0.0.0.0` has no port",
    ];
    assert_eq!(problems, expected);
}
