use proptest::prelude::*;

use super::*;

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
        "[[listeners.rules]]\npriority = 1\nhttp_request_method = \"GET\"\nforward = \"blog\"\n{lines}"
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
fn syntax_errors_are_reported_once_and_with_a_cure() {
    refused(&[
        (listener("mode = ▸l7"), "must be quoted", "double quotes"),
        (group("retry▸"), "key with no value", "key = value"),
        (group("").replacen("\"]\n", "\"▸\n", 1), "unclosed array", "closing bracket"),
        (group("name = ▸\"unclosed"), "invalid basic string", ""),
        (format!("{}[[▸target_groups", listener("")), "unclosed array table", "closing bracket"),
        (listener("▸idle_timeout = \"5s\"\nidle_timeout = \"6s\"").replacen(MARK, "", 1).replace(
            "idle_timeout = \"6s\"", "▸idle_timeout = \"6s\""), "duplicate key", "keep one"),
        (format!("[server]\n[▸server]\n{}", listener("")), "duplicate key", "keep one"),
    ]);
}

#[test]
fn structural_mistakes_are_reported_with_a_cure() {
    refused(&[
        (group("▸algorithim = \"round_robin\""), "unknown key `algorithim`", "did you mean `algorithm`?"),
        (group("▸connect-timeout = \"1s\""), "unknown key", "`connect_timeout`"),
        (listener("▸xyzzy = 1"), "unknown key `xyzzy`", "keys here: `accept_proxy_protocol`"),
        (format!("▸listener = 1\n{}", listener("")), "unknown key", "`listeners`"),
        (rule("▸path = \"/\""), "unknown key `path`", "`path_"),
        (group("algorithm = ▸\"round_robbin\""), "not a value of `algorithm`", "did you mean `round_robin`?"),
        (group("algorithm = ▸\"ip_hash\""), "not a value", "possible: `round_robin`, "),
        (listener("mode = ▸\"tcp\""), "not a value of `mode`", "`l7`, `l4`"),
        (listener("proxy_protocol = ▸\"v3\""), "`v3` is not a value", "`v1`, `v2`"),
        (listener("desync_mitigation_mode = ▸\"monitor\""), "never forwarded", "defensive"),
        (group("response_timeout = ▸60"), "must be text in quotes", "response_timeout = \"60s\""),
        (group("response_timeout = ▸1.5"), "the fraction 1.5", "\"30s\""),
        (group("idle_connections_max = ▸\"10\""), "must be a whole number", "without quotes"),
        (group("idle_connections_max = ▸-1"), "out of range: -1", "from 0 to 65536"),
        (group("idle_connections_max = ▸99999999999999999999"), "out of range", "65536"),
        (listener("xff_client_port = ▸\"true\""), "true or false", "xff_client_port = true"),
        (listener("xff_client_port = ▸1"), "true or false, not the number 1", "xff_client_port = true"),
        (default("default = ▸\"blog\""), "must be a table, not the text `blog`", "{ forward = \"blog\" }"),
        (group("health_check = { healthy_threshold = ▸0 }"), "out of range: 0", "from 1 to 10"),
        (format!("[[target_groups]]\nname = \"a\"\ntargets = ▸\"127.0.0.1:1\"\n{LISTENER}default = {{ forward = \"a\" }}"),
            "`targets` must be a list", "[\"127.0.0.1:8081\"]"),
        (format!("{GROUP}[[target_groups]]\nname = \"a\"\ntargets = [▸5000]\n{LISTENER}{DEFAULT}"),
            "`targets[0]` must be text in quotes or a table", "\"5000\""),
        (format!("{GROUP}▸[listeners]\nname = \"a\""), "must be a list, not a table", "[[listeners]]"),
        (format!("▸[[server]]\n{}", listener("")), "must be a table, not a list", "`[server]`"),
        (format!("▸[[target_groups]]\ntargets = []\n{LISTENER}default = {{ fixed_response = {{ status = 404 }} }}"),
            "missing key `name`", "name = \"blog\""),
        (format!("{GROUP}▸[[listeners]]\nname = \"a\"\n{DEFAULT}"), "missing key `address`", "\"0.0.0.0:80\""),
        (format!("{GROUP}▸{LISTENER}"), "missing key `default`", "default = { forward = \"blog\" }"),
        (format!("▸{GROUP}").replace("name", "name"), "there is no listener", "[[listeners]]"),
        ("▸".into(), "there is no listener", "[[listeners]]"),
        (format!("[server]\nworkers = ▸true\n{}", listener("")), "text in quotes or a whole number", "\"auto\""),
        (format!("[server]\ndriver = ▸\"uring\"\n{}", listener("")), "`uring` is not", "`io_uring`"),
        (format!("[server]\nworkers = ▸0\n{}", listener("")), "number of workers", "1 to 1024"),
        (format!("[server]\nworkers = ▸\"many\"\n{}", listener("")), "`many`", "\"auto\" or"),
    ]);
}

#[test]
fn mistakes_in_target_groups_are_reported_with_a_cure() {
    let targets = |list: &str| {
        format!("[[target_groups]]\nname = \"blog\"\ntargets = {list}\n{LISTENER}{DEFAULT}")
    };
    refused(&[
        (targets("[▸\"app:8081\"]"), "names are not resolved", "IP address"),
        (targets("[{ address = ▸\"localhost\", weight = 2 }]"), "not resolved", "127.0.0.1:8081"),
        (targets("[\"127.0.0.1:1\", ▸\"127.0.0.1:1\"]"), "already the address of targets[0] (line 3)", "weight"),
        (targets("[{ address = \"127.0.0.1:1\", weight = ▸1000 }]"), "out of range: 1000", "0 to 999"),
        (targets("[▸{ weight = 1 }]"), "missing key `address`", "127.0.0.1:8081"),
        (targets("[▸\"\"]"), "not an IP address", "127.0.0.1"),
        (targets("[\"[::1]:80\", ▸\"::1:80\"]"), "no port", "[::1:80]"),
        (group("connect_timeout = ▸\"10 s\""), "not a duration", "\"10s\""),
        (group("connect_timeout = ▸\"1ms\""), "out of range: 1ms", "10ms to 10m"),
        (group("idle_timeout = ▸\"25h\""), "out of range: 25h", "100ms to 24h"),
        (group("deregistration_delay = ▸\"2h\""), "out of range", "1h"),
        (group("slow_start = ▸\"20s\""), "out of range", "30s to 900s"),
        (group("slow_start = ▸\"30s\"\nalgorithm = \"weighted_random\""), "does not work with", "`round_robin`"),
        (group("health_check = { interval = \"5s\", timeout = ▸\"5s\" }"), "smaller than its interval", "shorten"),
        (group("health_check = { interval = ▸\"4s\" }"), "timeout (5s) must be smaller", "lengthen"),
        (group("health_check = { matcher = ▸\"2xx\" }"), "not a list of statuses", "200-204"),
        (group("health_check = { path = ▸\"health\" }"), "not the path", "begin with `/`"),
        (group("health_check = { port = ▸70000 }"), "out of range", "65535"),
        (group("health_check = { port = ▸\"http\" }"), "not a port", "traffic-port"),
        (format!("{GROUP}{}", listener("")).replacen("name = ", "name = ", 1).replacen(
            "[[listeners]]", "[[listeners]]", 1).replacen("targets = [\"127.0.0.1:8081\"]\n[[target_groups]]\nname = ",
            "targets = []\n[[target_groups]]\nname = ▸", 1), "already the name of target_groups[0] (line 1)", "own name"),
        (group("").replacen("\"blog\"", "▸\"my blog\"", 1).replacen("forward = \"blog\"", "forward = \"my blog\"", 1),
            "not a name", "letters, digits"),
    ]);
}

#[test]
fn mistakes_in_listeners_are_reported_with_a_cure() {
    let second = |address: &str| {
        listener(&format!("[[listeners]]\nname = \"b\"\naddress = {address}\n{DEFAULT}"))
    };
    let address = |address: &str| listener("").replacen("\"0.0.0.0:80\"", address, 1);
    refused(&[
        (address("▸\":80\""), "no IP address", "\"0.0.0.0:80\""),
        (address("▸\"80\""), "no IP address", "\"[::]:80\""),
        (address("▸\"localhost:80\""), "names are not resolved", "127.0.0.1:80"),
        (second("▸\"0.0.0.0:80\""), "clashes with 0.0.0.0:80 of listener `web`, listeners[0] (line 4)", "another port"),
        (second("▸\"127.0.0.1:80\""), "127.0.0.1:80 clashes with 0.0.0.0:80", "another port"),
        (second("\"[::]:80\"").replace("\"b\"", "▸\"web\""), "already the name of listeners[0]", "own name"),
        (listener("idle_timeout = ▸\"0s\""), "out of range: 0s", "100ms to 24h"),
        (listener("client_keep_alive = ▸\"0s\""), "out of range", "1s"),
        (listener("trusted_fronts = ▸[\"10.0.0.0/8\"]"), "needs `accept_proxy_protocol = true`", "remove"),
        (listener("accept_proxy_protocol = true\ntrusted_fronts = [▸\"10.0.0.0/33\"]"), "CIDR", "192.0.2.0/24"),
        (listener("accept_proxy_protocol = true\ntrusted_fronts = ▸[]"), "is empty", "remove the key"),
        (listener("server_header = ▸\"a\\r\\nb\""), "cannot be the value", "visible ASCII"),
        (listener("mode = \"l4\"\n▸[[listeners.rules]]\npriority = 1\npath_pattern = \"/\"\nforward = \"blog\""),
            "cannot have rules", "l7"),
        (default("mode = \"l4\"\ndefault = ▸{ fixed_response = { status = 404 } }"), "must be a forward", "{ forward"),
        (default("default = { forward = ▸\"blgo\" }"), "no target group `blgo`", "did you mean `blog`?"),
        (default("default = { forward = ▸\"zzz\" }"), "no target group `zzz`", "target groups: `blog`"),
        (format!("{LISTENER}default = {{ forward = ▸\"x\" }}"), "no target group", "define it"),
        (default("default = ▸{ }"), "no action", "`forward`, `redirect` or `fixed_response`"),
    ]);
}

#[test]
fn mistakes_in_rules_are_reported_with_a_cure() {
    let without = |line: &str, lines: &str| rule(lines).replacen(line, "", 1);
    refused(&[
        (rule("").replace("priority = 1", "priority = ▸0"), "out of range: 0", "1 to 50000"),
        (rule("").replace("priority = 1", "priority = ▸50001"), "out of range: 50001", "50000"),
        (without("priority = 1\n", "").replace("[[listeners.rules", "▸[[listeners.rules"), "missing key `priority`", "10"),
        (rule("[[listeners.rules]]\npriority = ▸1\npath_pattern = \"/\"\nforward = \"blog\""),
            "priority 1 is already used by rules[0] (line 8)", "unique"),
        (without("http_request_method = \"GET\"\n", "").replace("[[listeners.rules", "▸[[listeners.rules"),
            "has no condition", "`default`"),
        (without("forward = \"blog\"\n", "").replace("[[listeners.rules", "▸[[listeners.rules")
            .replace("\"0.0.0.0:80\"\n", "\"0.0.0.0:80\"\ndefault = { forward = \"blog\" }\n"), "no action", "redirect"),
        (rule("redirect = ▸{ host = \"a.example\", status = 301 }"), "second action beside forward (line 11)", "exactly one"),
        (rule("path_pattern = \"/a\"\npath_regex = ▸\"^/a\""), "`path_pattern` and `path_regex`", "use one"),
        (rule("host_header = \"a\"\nhost_regex = ▸\"a\""), "cannot stand in one condition", "use one"),
        (rule("path_pattern = ▸[]"), "lists nothing", "remove the key"),
        (rule("path_pattern = ▸\"blog/*\""), "a path begins with `/`", "\"/blog/*\""),
        (rule("path_pattern = [\"/\", ▸\"/a b\"]"), "visible ASCII", "percent-encode"),
        (rule(&format!("path_pattern = ▸\"/{}\"", "a".repeat(128))), "129 bytes", "at most 128"),
        (rule("path_regex = ▸'^/(a'"), "unclosed group", "docs.rs/regex"),
        (rule(r"path_regex = ▸'^/\p{L}'"), "Unicode classes", "ASCII"),
        (rule("path_regex = ▸'(?=a)'"), "look-around", "syntax"),
        (rule("host_header = ▸\"http://a.example\""), "not a host", "no scheme"),
        (rule("host_header = ▸\"a.example:80\""), "not a host", "port out"),
        (rule("host_header = ▸\"a,b\""), "not a host", "wildcards"),
        (rule("http_header = { name = ▸\"Host\", values = \"a\" }"), "`Host` cannot", "`host_header`"),
        (rule("http_header = { name = ▸\"X:Y\", values = \"a\" }"), "not the name", "letters"),
        (rule("http_header = ▸{ name = \"X\" }"), "neither `values` nor `regex`", "values ="),
        (rule("http_header = ▸{ values = \"x\" }"), "missing key `name`", "User-Agent"),
        (rule("http_header = { name = \"X\", values = \"a\", regex = ▸\"a\" }"), "`values` and `regex`", "use one"),
        (without("http_request_method = \"GET\"\n", "http_request_method = ▸\"get\""), "not a request method", "\"GET\""),
        (without("http_request_method = \"GET\"\n", "http_request_method = ▸\"*\""), "not a request method", "wildcards"),
        (rule("query_string = ▸{ key = \"a\" }"), "missing key `value`", "v1"),
        (rule("source_ip = ▸\"localhost\""), "CIDR", "127.0.0.1"),
        (rule("source_ip = [\"::1\", ▸5]"), "`source_ip[1]` must be text", "\"5\""),
        (rule(&format!("▸[[listeners.rules]]\npriority = 2\nforward = \"blog\"\nhost_header = [{}]",
            (0..257).map(|n| format!("\"h{n}\",")).collect::<String>())), "257 condition values", "at most 256"),
    ]);
}

#[test]
fn mistakes_in_actions_are_reported_with_a_cure() {
    refused(&[
        (action("forward = ▸[]"), "no target group", "1 to 5"),
        (action("forward = [{ target_group = \"blog\", weight = ▸1000 }]"), "out of range", "999"),
        (action("forward = [▸{ weight = 1 }]"), "missing key `target_group`", "blog"),
        (action("forward = [\"blog\", ▸\"blog\"]"), "already in forward[0]", "once"),
        (action("redirect = ▸{ status = 301 }"), "endless loop", "the query alone"),
        (action("redirect = ▸{ status = 301, query = \"a=b\" }"), "endless loop", "the query alone"),
        (action("redirect = ▸{ status = 301, protocol = \"http\", port = 80 }"), "endless loop", "change"),
        (action("redirect = ▸{ path = \"/new\" }"), "missing key `status`", "301"),
        (action("redirect = { path = \"/new\", status = ▸300 }"), "`300` is not a value of `status`", "301"),
        (action("redirect = { path = ▸\"new\", status = 301 }"), "`new` cannot be the path", "\"/new\""),
        (action("redirect = { path = ▸\"/#{pth}\", status = 301 }"), "unknown placeholder", "`#{path}`"),
        (action("redirect = { host = ▸\"#{query}\", status = 301 }"), "cannot stand in `host`", "`#{host}`"),
        (action("redirect = { protocol = ▸\"ftp\", status = 301 }"), "cannot be the protocol", "https"),
        (action("redirect = { port = ▸70000, status = 301 }"), "out of range", "65535"),
        (action("redirect = { port = ▸0, status = 301 }"), "cannot be the port", "1 to 65535"),
        (action("redirect = { query = ▸\"?a\", path = \"/b\", status = 301 }"), "cannot be the query", "\"a\""),
        (action("fixed_response = ▸{ body = \"x\" }"), "missing key `status`", "404"),
        (action("fixed_response = { status = ▸302 }"), "cannot have status 302", "redirect"),
        (action("fixed_response = { status = ▸199 }"), "out of range", "from 200 to 599"),
        (action("fixed_response = { status = 200, content_type = ▸\"html\" }"), "not a media type", "text/plain"),
        (action("fixed_response = { status = 204, body = ▸\"x\" }"), "no body", "200"),
        (action(&format!("fixed_response = {{ status = 200, body = ▸\"{}\" }}", "x".repeat(65_537))),
            "65537 bytes", "65536"),
        (action(&format!("forward = ▸[{}]", "\"blog\", ".repeat(1) + &"{ target_group = \"blog\" }, ".repeat(0)))
            .replace("▸[\"blog\", ]", "[\"blog\", ▸\"bolg\"]"), "no target group `bolg`", "`blog`"),
    ]);
}

#[test]
fn doubtful_configurations_load_with_a_warning() {
    let cases = [
        (group("").replacen("targets = [\"127.0.0.1:8081\"]\n", "", 1).replacen("[[t", "▸[[t", 1),
            "`blog` has no targets", "503"),
        (group("").replacen("\"127.0.0.1:8081\"", "{ address = \"127.0.0.1:1\", weight = 0 }", 1)
            .replacen("[[t", "▸[[t", 1), "weight 0", "503"),
        (format!("▸{GROUP}{LISTENER}default = {{ fixed_response = {{ status = 404 }} }}"), "used by no listener", "remove"),
        (default("default = { forward = ▸[{ target_group = \"blog\", weight = 0 }] }"), "weight 0", "503"),
        (group("response_timeout = ▸\"500ms\""), "suspiciously small: 500ms", "1s"),
        (group("connect_timeout = ▸\"20ms\""), "suspiciously small", "100ms"),
        (format!("[server]\ndrain_timeout = ▸\"0s\"\n{}", listener("")), "suspiciously small: 0s", "1s"),
        (group("health_check = { protocol = \"tcp\", path = ▸\"/x\" }"), "`path` has no effect", "http"),
        (listener("proxy_protocol = ▸\"v1\""), "`proxy_protocol` has no effect on an l7", "X-Forwarded-For"),
        (listener("mode = \"l4\"\nhead_timeout = ▸\"5s\""), "`head_timeout` has no effect on an l4", "remove"),
        (rule("source_ip = ▸\"10.1.2.3/8\""), "bits beyond its prefix", "10.0.0.0/8"),
        (rule("host_header = [\"a\", ▸\"a\"]"), "listed twice", "remove"),
        (action("redirect = { protocol = ▸\"https\", status = 301 }"), "keeps the port", "443"),
    ];
    for (marked, problem, help) in cases {
        let loaded = parse(&unmark(&marked).0, "test.toml").unwrap_or_else(|f| panic!("{f}"));
        check(&loaded.warnings, &marked, problem, help);
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
                [[listeners]]\nname = \"web\"\naddress = \"0.0.0.0\"\ndefault = { forward = \"a\" }\n\
                [[listeners.rules]]\npriority = 0\npath_pattern = \"/\"\nforward = \"a\"\n";
    let lines: Vec<_> =
        failure(text).errors.iter().map(|error| error.place.as_ref().unwrap().line).collect();
    assert_eq!(lines, [3, 6, 9]);
}

#[test]
fn paths_name_the_value() {
    let text = rule("[[listeners.rules]]\npriority = 99999\npath_pattern = [\"/\", \"x\"]\nbogus = 1\nforward = \"blog\"");
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
fn rules_are_sorted_by_priority() {
    let rules = [30, 10, 20].map(|n| {
        format!("[[listeners.rules]]\npriority = {n}\npath_pattern = \"/{n}\"\nforward = \"blog\"\n")
    });
    let model = parse(&listener(&rules.concat()), "t").unwrap().model;
    let priorities: Vec<_> = model.listeners[0].rules.iter().map(|rule| rule.priority.value()).collect();
    assert_eq!(priorities, [10, 20, 30]);
}

#[test]
fn port_zero_and_different_families_do_not_clash() {
    let text = listener(
        "[[listeners]]\nname = \"b\"\naddress = \"[::]:80\"\ndefault = { forward = \"blog\" }\n\
         [[listeners]]\nname = \"c\"\naddress = \"127.0.0.1:0\"\ndefault = { forward = \"blog\" }\n\
         [[listeners]]\nname = \"d\"\naddress = \"127.0.0.1:0\"\ndefault = { forward = \"blog\" }\n",
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
        edits in prop::collection::vec((0.0..1.0f64, 0usize..30, "[\\[\\]{}=\"'#,.a-z0-9 \n\u{e9}\\\\]{0,8}"), 1..6),
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
