//! Tables of wrong and doubtful files: each has one mistake, at the mark.

use super::*;

#[test]
fn syntax_errors_are_reported_once_and_with_a_cure() {
    refused(&[
        (listener("mode = ▸l7"), "must be quoted", "double quotes"),
        (group("retry▸"), "key with no value", "key = value"),
        (group("").replacen("\"]\n", "\"▸\n", 1), "unclosed array", "closing bracket"),
        (group("retry = \"safe▸"), "invalid basic string", "closing quote"),
        (format!("{}[[target_groups▸", listener("")), "unclosed array table", "closing bracket"),
        (listener("idle_timeout = \"5s\"\n▸idle_timeout = \"6s\""), "duplicate key", "keep one"),
        (format!("[server]\n[▸server]\n{}", listener("")), "duplicate key", "keep one"),
    ]);
}

#[test]
fn structural_mistakes_are_reported_with_a_cure() {
    refused(&[
        (
            group("▸algorithim = \"round_robin\""),
            "unknown key `algorithim`",
            "did you mean `algorithm`?",
        ),
        (group("▸connect-timeout = \"1s\""), "unknown key", "`connect_timeout`"),
        (listener("▸xyzzy = 1"), "unknown key `xyzzy`", "keys here: `accept_proxy_protocol`"),
        (format!("▸listener = 1\n{}", listener("")), "unknown key", "`listeners`"),
        (rule("▸path = \"/\""), "unknown key `path`", "`path_"),
        (
            group("algorithm = ▸\"round_robbin\""),
            "not a value of `algorithm`",
            "did you mean `round_robin`?",
        ),
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
        (
            listener("xff_client_port = ▸1"),
            "true or false, not the number 1",
            "xff_client_port = true",
        ),
        (
            default("default = ▸\"blog\""),
            "must be a table, not the text `blog`",
            "{ forward = \"blog\" }",
        ),
        (group("health_check = { healthy_threshold = ▸0 }"), "out of range: 0", "from 1 to 10"),
        (
            format!(
                "[[target_groups]]\nname = \"blog\"\ntargets = ▸\"127.0.0.1:1\"\n\
                 {LISTENER}{DEFAULT}"
            ),
            "`targets` must be a list",
            "[\"127.0.0.1:8081\"]",
        ),
        (
            format!(
                "{GROUP}[[target_groups]]\nname = \"a\"\ntargets = [▸5000]\n{LISTENER}{DEFAULT}"
            ),
            "`targets[0]` must be text in quotes or a table",
            "\"5000\"",
        ),
        (
            listener("").replace("[[listeners]]", "▸[listeners]"),
            "must be a list, not a table",
            "[[listeners]]",
        ),
        (format!("▸[[server]]\n{}", listener("")), "must be a table, not a list", "`[server]`"),
        (
            format!(
                "▸[[target_groups]]\ntargets = []\n\
                 {LISTENER}default = {{ fixed_response = {{ status = 404 }} }}"
            ),
            "missing key `name`",
            "name = \"blog\"",
        ),
        (
            format!("{GROUP}▸[[listeners]]\nname = \"a\"\n{DEFAULT}"),
            "missing key `address`",
            "\"0.0.0.0:80\"",
        ),
        (
            format!("{GROUP}▸{LISTENER}"),
            "missing key `default`",
            "default = { forward = \"blog\" }",
        ),
        (format!("▸{GROUP}"), "there is no listener", "[[listeners]]"),
        ("▸".into(), "there is no listener", "[[listeners]]"),
        (
            format!("[server]\nworkers = ▸true\n{}", listener("")),
            "text in quotes or a whole number",
            "\"auto\"",
        ),
        (
            format!("[server]\ndriver = ▸\"uring\"\n{}", listener("")),
            "`uring` is not",
            "`io_uring`",
        ),
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
        (
            targets("[\"127.0.0.1:1\", ▸\"127.0.0.1:1\"]"),
            "already the address of targets[0] (line 3)",
            "weight",
        ),
        (
            targets("[{ address = \"127.0.0.1:1\", weight = ▸1000 }]"),
            "out of range: 1000",
            "0 to 999",
        ),
        (targets("[▸{ weight = 1 }]"), "missing key `address`", "127.0.0.1:8081"),
        (targets("[▸\"\"]"), "not an IP address", "127.0.0.1"),
        (targets("[\"[::1]:80\", ▸\"::1:80\"]"), "no port", "[::1:80]"),
        (group("connect_timeout = ▸\"10 s\""), "not a duration", "\"10s\""),
        (group("connect_timeout = ▸\"1ms\""), "out of range: 1ms", "10ms to 10m"),
        (group("idle_timeout = ▸\"25h\""), "out of range: 25h", "100ms to 24h"),
        (group("protocol_version = ▸\"HTTP3\""), "`HTTP3` is not", "`HTTP2`"),
        (
            group("protocol_version = \"GRPC\"\nhealth_check = { matcher = ▸\"200\" }"),
            "not a list of gRPC's codes",
            "\"0-99\"",
        ),
        (group("deregistration_delay = ▸\"2h\""), "out of range", "1h"),
        (group("slow_start = ▸\"20s\""), "out of range", "30s to 900s"),
        (
            group("slow_start = ▸\"30s\"\nalgorithm = \"weighted_random\""),
            "does not work with",
            "`round_robin`",
        ),
        (
            group("health_check = { interval = \"5s\", timeout = ▸\"5s\" }"),
            "smaller than its interval",
            "shorten",
        ),
        (
            group("health_check = { interval = ▸\"4s\" }"),
            "timeout (5s) must be smaller",
            "lengthen",
        ),
        (group("protocol = ▸\"HTTP2\""), "not a value of `protocol`", "`HTTP`, `HTTPS`"),
        (group("tls = ▸{ verify = \"full\" }"), "without anything that is encrypted", "HTTPS"),
        (
            group("protocol = \"HTTP\"\ntls = ▸{ verify = \"full\" }"),
            "without anything that is encrypted",
            "remove `tls`",
        ),
        (
            group("protocol = \"HTTPS\"\ntls = { server_name = ▸\"home:443\" }"),
            "`home:443` is no name of a server",
            "without a port",
        ),
        (
            group("protocol = \"HTTPS\"\ntls = { verify = ▸\"ca\" }"),
            "not a value of `verify`",
            "`full`, `none`",
        ),
        (group("health_check = { matcher = ▸\"2xx\" }"), "not a list of statuses", "200-204"),
        (group("health_check = { path = ▸\"health\" }"), "not the path", "begin with `/`"),
        (group("health_check = { port = ▸70000 }"), "out of range", "65535"),
        (group("health_check = { port = ▸\"http\" }"), "not a port", "traffic-port"),
        (
            format!(
                "[[target_groups]]\nname = \"blog\"\n{}",
                group("").replacen("\"blog\"", "▸\"blog\"", 1)
            ),
            "already the name of target_groups[0] (line 1)",
            "own name",
        ),
        (
            group("").replacen("\"blog\"", "▸\"my blog\"", 1).replacen(
                "forward = \"blog\"",
                "forward = \"my blog\"",
                1,
            ),
            "not a name",
            "letters, digits",
        ),
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
        (
            second("▸\"0.0.0.0:80\""),
            "clashes with 0.0.0.0:80 of listener `web`, listeners[0] (line 4)",
            "another port",
        ),
        (second("▸\"127.0.0.1:80\""), "127.0.0.1:80 clashes with 0.0.0.0:80", "another port"),
        (second("▸\"[::]:80\""), "[::]:80 clashes with 0.0.0.0:80", "another port"),
        (
            second("\"[::1]:80\"").replace("\"b\"", "▸\"web\""),
            "already the name of listeners[0]",
            "own name",
        ),
        (listener("idle_timeout = ▸\"0s\""), "out of range: 0s", "100ms to 24h"),
        (listener("client_keep_alive = ▸\"0s\""), "out of range", "1s"),
        (
            listener("trusted_fronts = ▸[\"10.0.0.0/8\"]"),
            "needs `accept_proxy_protocol = true`",
            "remove",
        ),
        (
            listener("accept_proxy_protocol = true\ntrusted_fronts = [▸\"10.0.0.0/33\"]"),
            "CIDR",
            "192.0.2.0/24",
        ),
        (
            listener("accept_proxy_protocol = true\ntrusted_fronts = ▸[]"),
            "is empty",
            "remove the key",
        ),
        (listener("server_header = ▸\"a\\r\\nb\""), "cannot be the value", "visible ASCII"),
        (
            default("mode = \"l4\"\ndefault = ▸{ fixed_response = { status = 404 } }"),
            "must be a forward",
            "{ forward",
        ),
        (
            default("default = { forward = ▸\"blgo\" }"),
            "no target group `blgo`",
            "did you mean `blog`?",
        ),
        (
            default("default = { forward = ▸\"zzz\" }"),
            "no target group `zzz`",
            "target groups: `blog`",
        ),
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
        (
            without("priority = 1\n", "").replace("[[listeners.rules", "▸[[listeners.rules"),
            "missing key `priority`",
            "10",
        ),
        (
            rule("[[listeners.rules]]\npriority = ▸1\npath_pattern = \"/\"\nforward = \"blog\""),
            "priority 1 is already used by rules[0] (line 8)",
            "unique",
        ),
        (
            without("http_request_method = \"GET\"\n", "")
                .replace("[[listeners.rules", "▸[[listeners.rules"),
            "has no condition",
            "`default`",
        ),
        (
            listener("▸[[listeners.rules]]\npriority = 1\npath_pattern = \"/\""),
            "no action",
            "redirect",
        ),
        (
            rule("redirect = ▸{ host = \"a.example\", status = 301 }"),
            "second action beside forward (line 11)",
            "exactly one",
        ),
        (
            rule("path_pattern = \"/a\"\npath_regex = ▸\"^/a\""),
            "`path_pattern` and `path_regex`",
            "use one",
        ),
        (
            rule("host_header = \"a\"\nhost_regex = ▸\"a\""),
            "cannot stand in one condition",
            "use one",
        ),
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
        (
            rule("http_header = { name = ▸\"Host\", values = \"a\" }"),
            "`Host` cannot",
            "`host_header`",
        ),
        (rule("http_header = { name = ▸\"X:Y\", values = \"a\" }"), "not the name", "letters"),
        (rule("http_header = ▸{ name = \"X\" }"), "neither `values` nor `regex`", "values ="),
        (rule("http_header = ▸{ values = \"x\" }"), "missing key `name`", "User-Agent"),
        (
            rule("http_header = { name = \"X\", values = \"a\", regex = ▸\"a\" }"),
            "`values` and `regex`",
            "use one",
        ),
        (
            without("http_request_method = \"GET\"\n", "http_request_method = ▸\"get\""),
            "not a request method",
            "\"GET\"",
        ),
        (
            without("http_request_method = \"GET\"\n", "http_request_method = ▸\"*\""),
            "not a request method",
            "wildcards",
        ),
        (rule("query_string = ▸{ key = \"a\" }"), "missing key `value`", "v1"),
        (rule("source_ip = ▸\"localhost\""), "CIDR", "127.0.0.1"),
        (rule("source_ip = [\"::1\", ▸5]"), "`source_ip[1]` must be text", "\"5\""),
        (
            rule(&format!(
                "▸[[listeners.rules]]\npriority = 2\nforward = \"blog\"\nhost_header = [{}]",
                (0..257).map(|n| format!("\"h{n}\",")).collect::<String>()
            )),
            "257 condition values",
            "at most 256",
        ),
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
        (
            action("redirect = ▸{ status = 301, query = \"a=b\" }"),
            "endless loop",
            "the query alone",
        ),
        (
            action("redirect = ▸{ status = 301, protocol = \"http\", port = 80 }"),
            "endless loop",
            "change",
        ),
        (action("redirect = ▸{ path = \"/new\" }"), "missing key `status`", "301"),
        (
            action("redirect = { path = \"/new\", status = ▸300 }"),
            "`300` is not a value of `status`",
            "301",
        ),
        (
            action("redirect = { path = ▸\"new\", status = 301 }"),
            "`new` cannot be the path",
            "\"/new\"",
        ),
        (
            action("redirect = { path = ▸\"/#{pth}\", status = 301 }"),
            "unknown placeholder",
            "`#{path}`",
        ),
        (
            action("redirect = { host = ▸\"#{query}\", status = 301 }"),
            "cannot stand in `host`",
            "`#{host}`",
        ),
        (
            action("redirect = { protocol = ▸\"ftp\", status = 301 }"),
            "cannot be the protocol",
            "https",
        ),
        (action("redirect = { port = ▸70000, status = 301 }"), "out of range", "65535"),
        (action("redirect = { port = ▸0, status = 301 }"), "cannot be the port", "1 to 65535"),
        (
            action("redirect = { query = ▸\"?a\", path = \"/b\", status = 301 }"),
            "cannot be the query",
            "\"a\"",
        ),
        (action("fixed_response = ▸{ body = \"x\" }"), "missing key `status`", "404"),
        (action("fixed_response = { status = ▸302 }"), "cannot have status 302", "redirect"),
        (action("fixed_response = { status = ▸199 }"), "out of range", "from 200 to 599"),
        (
            action("fixed_response = { status = 200, content_type = ▸\"html\" }"),
            "not a media type",
            "text/plain",
        ),
        (action("fixed_response = { status = 204, body = ▸\"x\" }"), "no body", "200"),
        (
            action(&format!(
                "fixed_response = {{ status = 200, body = ▸\"{}\" }}",
                "x".repeat(65_537)
            )),
            "65537 bytes",
            "65536",
        ),
        (
            action("forward = [\"blog\", ▸\"bolg\"]"),
            "no target group `bolg`",
            "did you mean `blog`?",
        ),
    ]);
}

#[test]
fn doubtful_configurations_load_with_a_warning() {
    let cases = [
        (
            group("")
                .replacen("targets = [\"127.0.0.1:8081\"]\n", "", 1)
                .replacen("[[t", "▸[[t", 1),
            "`blog` has no targets",
            "503",
        ),
        (
            group("")
                .replacen("\"127.0.0.1:8081\"", "{ address = \"127.0.0.1:1\", weight = 0 }", 1)
                .replacen("[[t", "▸[[t", 1),
            "weight 0",
            "503",
        ),
        (
            format!("▸{GROUP}{LISTENER}default = {{ fixed_response = {{ status = 404 }} }}"),
            "used by no listener",
            "remove",
        ),
        (
            default("default = { forward = ▸[{ target_group = \"blog\", weight = 0 }] }"),
            "weight 0",
            "503",
        ),
        (group("response_timeout = ▸\"500ms\""), "suspiciously small: 500ms", "1s"),
        (group("connect_timeout = ▸\"20ms\""), "suspiciously small", "100ms"),
        (
            format!("[server]\ndrain_timeout = ▸\"0s\"\n{}", listener("")),
            "suspiciously small: 0s",
            "1s",
        ),
        (
            group("health_check = { protocol = \"tcp\", path = ▸\"/x\" }"),
            "`path` has no effect",
            "http",
        ),
        (
            group("protocol = \"TLS\"\nhealth_check = { path = ▸\"/x\" }"),
            "`path` has no effect on a tcp or tls health check",
            "https",
        ),
        (
            group("protocol = \"HTTPS\"\ntls = { verify = \"none\", ca = ▸\"/ca.pem\" }"),
            "`ca` has no effect on targets that are not verified",
            "full",
        ),
        (
            listener("proxy_protocol = ▸\"v1\""),
            "`proxy_protocol` has no effect on an l7",
            "X-Forwarded-For",
        ),
        (
            listener("mode = \"l4\"\nhead_timeout = ▸\"5s\""),
            "`head_timeout` has no effect on an l4",
            "remove",
        ),
        (
            listener(
                "mode = \"l4\"\n▸[[listeners.rules]]\npriority = 1\n\
                 path_pattern = \"/\"\nforward = \"blog\"",
            ),
            "rules of an l4 listener sleep",
            "l7",
        ),
        (rule("source_ip = ▸\"10.1.2.3/8\""), "bits beyond its prefix", "10.0.0.0/8"),
        (rule("host_header = [\"a\", ▸\"a\"]"), "listed twice", "remove"),
        (action("redirect = { protocol = ▸\"https\", status = 301 }"), "keeps the port", "443"),
        (
            listener("").replacen("\"0.0.0.0:80\"", "▸\"0.0.0.0:8081\"", 1),
            "is this listener itself",
            "circle",
        ),
    ];
    for (marked, problem, help) in cases {
        let loaded = parse(&unmark(&marked).0, "test.toml").unwrap_or_else(|f| panic!("{f}"));
        check(&loaded.warnings, &marked, problem, help);
    }
}

#[test]
fn a_forward_has_at_most_five_groups() {
    let groups: String = (0..6)
        .map(|n| format!("[[target_groups]]\nname = \"g{n}\"\ntargets = [\"127.0.0.1:1\"]\n"))
        .collect();
    let names = "\"g0\", \"g1\", \"g2\", \"g3\", \"g4\", \"g5\"";
    let text = format!("{groups}{LISTENER}default = {{ forward = ▸[{names}] }}");
    refused(&[(text, "a forward to 6 target groups", "1 to 5")]);
}
