//! Tables of wrong and doubtful attributes: control API, stickiness, failing targets.

use super::*;

/// A valid file with `lines` in `[server]`.
fn server(lines: &str) -> String {
    format!("[server]\n{lines}\n{}", listener(""))
}

/// Two groups, the first with `blue` among its keys, and a default that forwards as `forward`.
fn blue_green(blue: &str, mode: &str, forward: &str) -> String {
    let group = |name: &str, lines: &str| {
        format!("[[target_groups]]\nname = {name:?}\ntargets = [\"127.0.0.1:1\"]\n{lines}\n")
    };
    let groups = group("blue", blue) + &group("green", "");
    format!("{groups}{LISTENER}mode = {mode:?}\ndefault = {{ forward = {forward} }}\n")
}

const STICKY: &str = "stickiness = { type = \"lb_cookie\" }";

#[test]
fn mistakes_about_the_control_api_are_reported_with_a_cure() {
    refused(&[
        (server("state_dir = ▸\"\""), "not a path", "/var/lib/ringway"),
        (
            server("control = { address = \"127.0.0.1:1\", metrics_address = ▸\"127.0.0.1:1\" }"),
            "the control API itself",
            "another port",
        ),
        (server("control = { address = ▸\"0.0.0.0:9900\" }"), "other hosts", "token_file"),
        (server("control = { address = ▸\"[::]:9900\" }"), "other hosts", "127.0.0.1:9900"),
        (server("control = { address = ▸\":9900\" }"), "no IP address", "0.0.0.0:9900"),
        (
            server(&format!("control = {{ socket = ▸\"/{}\" }}", "x".repeat(107))),
            "108 bytes",
            "at most 107",
        ),
        (server("control = { ▸sock = \"/x\" }"), "unknown key `sock`", "`socket`"),
        (server("control = ▸\"127.0.0.1:9900\""), "must be a table", "socket ="),
    ]);
}

#[test]
fn mistakes_about_tracing_are_reported_with_a_cure() {
    refused(&[
        (server("tracing = ▸{ sample_one_in = 5 }"), "missing key `endpoint`", "127.0.0.1:4318"),
        (server("tracing = ▸\"127.0.0.1:4318\""), "not the URL", "http://127.0.0.1:4318"),
        (server("tracing = ▸\"https://127.0.0.1:1\""), "asks for TLS", "http://127.0.0.1:1"),
        (server("tracing = ▸\"http://collector:4318\""), "a host name", "10.0.1.7:4318"),
        (server("tracing = ▸\"http://127.0.0.1\""), "no port", "127.0.0.1:"),
        (server("tracing = ▸\"http://127.0.0.1:1/a b\""), "not the path of a URL", "/v1/traces"),
        (
            server("tracing = { endpoint = \"http://127.0.0.1:1\", sample_one_in = ▸0 }"),
            "out of range",
            "from 1 to",
        ),
        (
            server("tracing = { endpoint = \"http://127.0.0.1:1\", service = ▸\"\" }"),
            "not the name of a service",
            "1 to 255",
        ),
    ]);
}

#[test]
fn mistakes_about_stickiness_are_reported_with_a_cure() {
    let forward = "[\"blue\", \"green\"]";
    let sticky_forward = "{ target_groups = [▸\"blue\", \"green\"], stickiness = \"1h\" }";
    refused(&[
        (group("stickiness = ▸{ duration = \"1h\" }"), "missing key `type`", "lb_cookie"),
        (group("stickiness = { type = ▸\"cookie\" }"), "not a value of `type`", "`lb_cookie`"),
        (
            group("stickiness = { type = \"lb_cookie\", duration = ▸\"169h\" }"),
            "out of range",
            "1s to 168h",
        ),
        (group("stickiness = ▸{ type = \"app_cookie\" }"), "needs `cookie_name`", "JSESSIONID"),
        (
            group("stickiness = { type = \"app_cookie\", cookie_name = ▸\"AWSALBX\" }"),
            "ringway's own",
            "application",
        ),
        (
            group("stickiness = { type = \"app_cookie\", cookie_name = ▸\"a b\" }"),
            "not the name of a cookie",
            "letters",
        ),
        (
            group(&format!("algorithm = \"weighted_random\"\n{STICKY}"))
                .replace("{ type", "▸{ type"),
            "`stickiness` does not work with algorithm `weighted_random`",
            "another algorithm",
        ),
        (
            blue_green(STICKY, "l7", forward).replace("[\"blue", "[▸\"blue"),
            "`blue` is sticky",
            "stickiness = \"1h\"",
        ),
        (
            blue_green(
                "stickiness = { type = \"app_cookie\", cookie_name = \"sid\" }",
                "l7",
                sticky_forward,
            ),
            "app_cookie",
            "alone",
        ),
        (
            default("default = { forward = { target_groups = \"blog\", stickiness = ▸\"0s\" } }"),
            "out of range: 0s",
            "1s to 168h",
        ),
        (default("default = { forward = ▸{ } }"), "missing key `target_groups`", "blue"),
        (default("default = { forward = ▸7 }"), "text in quotes or a list or a table", "\"7\""),
        (
            default("default = { forward = { target_groups = [\"blog\", ▸\"blog\"] } }"),
            "already in target_groups[0]",
            "once",
        ),
        (
            default("default = { forward = { ▸target_group = \"blog\" } }"),
            "unknown key `target_group`",
            "`target_groups`",
        ),
    ]);
}

#[test]
fn mistakes_about_failing_targets_are_reported_with_a_cure() {
    refused(&[
        (group("healthy_min = { count = ▸0 }"), "out of range: 0", "from 1 to 1000"),
        (group("healthy_min = { percentage = ▸101 }"), "out of range: 101", "from 1 to 100"),
        (group("anomaly_mitigation = ▸true"), "`round_robin`", "use algorithm `weighted_random`"),
        (group("outlier_detection = ▸\"on\""), "true or false or a table", "true"),
        (
            group("outlier_detection = { consecutive_failures = ▸0 }"),
            "out of range: 0",
            "1 to 1000",
        ),
        (group("outlier_detection = { base_ejection = ▸\"2h\" }"), "out of range", "1s to 1h"),
        (
            group("outlier_detection = { base_ejection = ▸\"301s\" }"),
            "must not be smaller than `base_ejection` (5m1s)",
            "lengthen",
        ),
        (group("outlier_detection = { ▸failures = 3 }"), "unknown key", "consecutive_failures"),
    ]);
}

#[test]
fn attributes_without_effect_are_doubted() {
    let cases = [
        (server("control = ▸{ }"), "neither `socket` nor `address`", "socket ="),
        (
            server("control = { socket = \"/x\", token_file = ▸\"/y\" }"),
            "`token_file` has no effect",
            "0660",
        ),
        (
            group("stickiness = ▸{ type = \"source_ip\" }"),
            "source_ip stickiness has no effect on l7 listener `web`",
            "lb_cookie",
        ),
        (
            group("protocol_version = ▸\"GRPC\""),
            "no client of listener `web` can speak gRPC",
            "h2c = true",
        ),
        (
            group("stickiness = { type = \"lb_cookie\", cookie_name = ▸\"a\" }"),
            "`cookie_name` has no effect",
            "app_cookie",
        ),
        (
            blue_green(STICKY, "l4", "\"blue\"").replace("{ type", "▸{ type") + RULE_TO_GREEN,
            "lb_cookie stickiness has no effect on l4 listener `web`",
            "source_ip",
        ),
    ];
    for (marked, problem, help) in cases {
        let loaded = parse(&unmark(&marked).0, "test.toml").unwrap_or_else(|f| panic!("{f}"));
        let (text, line, column) = unmark(&marked);
        let is_there = |found: &Diagnostic| {
            let place = found.place.as_ref().unwrap();
            (place.line, place.column) == (line, column) && found.problem.contains(problem)
        };
        let found = loaded.warnings.iter().find(|found| is_there(found));
        let found = found.unwrap_or_else(|| panic!("{text}\n{:#?}", loaded.warnings));
        assert!(found.help.as_deref().unwrap_or_default().contains(help), "{found:?}");
    }
}

/// A rule that keeps `green` in use.
const RULE_TO_GREEN: &str =
    "[[listeners.rules]]\npriority = 1\npath_pattern = \"/\"\nforward = \"green\"\n";

#[test]
fn mistakes_about_access_logs_are_reported_with_a_cure() {
    let second = |first: &str, key: &str| {
        listener(&format!(
            "access_log = {first}\n[[listeners]]\nname = \"b\"\naddress = \"0.0.0.0:81\"\n\
             {DEFAULT}access_log = {key}"
        ))
    };
    refused(&[
        (listener("access_log = ▸{ }"), "missing key `path`", "access.log"),
        (listener("access_log = ▸\"access.log\""), "absolute path", "\"journal\""),
        (listener("access_log = ▸\"/tmp/\""), "absolute path", "unix:"),
        (listener("access_log = ▸\"/tmp\""), "/tmp is a directory", "/tmp/access.log"),
        (
            listener(&format!("access_log = ▸\"unix:/{}\"", "x".repeat(107))),
            "108 bytes",
            "at most 107",
        ),
        (
            listener("access_log = { path = \"/tmp/a\", format = ▸\"clf\" }"),
            "not a value of `format`",
            "`combined`",
        ),
        (
            listener("access_log = { path = \"/tmp/a\", rotate_bytes = ▸100 }"),
            "out of range: 100",
            "from 65536",
        ),
        (
            listener("access_log = { path = \"/tmp/a\", rotate_every = ▸\"10ms\" }"),
            "out of range",
            "from 1s",
        ),
        (
            second("\"/tmp/a\"", "▸{ path = \"/tmp/a\", format = \"json\" }"),
            "`/tmp/a` has other settings in listeners[0] (line 4)",
            "its own path",
        ),
    ]);
}

#[test]
fn doubts_about_access_logs_are_warnings() {
    let cases = [
        (
            listener("access_log = ▸\"/nonexistent/ringway/a\""),
            "/nonexistent/ringway cannot be looked at",
            "make the directory",
        ),
        (
            listener("access_log = { path = \"journal\", rotate_bytes = ▸65536 }"),
            "`rotate_bytes` has no effect on what is no file",
            "only files",
        ),
        (
            listener("access_log = { path = \"/tmp/a\", keep = ▸3 }"),
            "`keep` has no effect",
            "`rotate_bytes`",
        ),
    ];
    for (marked, problem, help) in cases {
        let loaded = parse(&unmark(&marked).0, "test.toml").unwrap_or_else(|f| panic!("{f}"));
        check(&loaded.warnings, &marked, problem, help);
    }
}

#[test]
fn access_logs_are_read_in_their_short_and_their_long_form() {
    use crate::model::{AccessLog, LogFormat, LogSink, Overflow, Rotation};
    let log = |text: &str| {
        let text = listener(&format!("access_log = {text}"));
        parse(&text, "t").expect("valid").model.listeners[0].access_log.clone()
    };
    let file = |rotation| LogSink::File { path: "/tmp/a".into(), rotation };
    let never = Rotation { bytes: None, every: None, keep: 7 };
    let (format, overflow) = (LogFormat::Alb, Overflow::Drop);
    assert_eq!(log("\"/tmp/a\""), Some(AccessLog { sink: file(never), format, overflow }));
    let day = Duration::from_secs(24 * 3600);
    let sink = file(Rotation { bytes: Some(65_536), every: Some(day), keep: 2 });
    let (format, overflow) = (LogFormat::Json, Overflow::Block);
    let long = "{ path = \"/tmp/a\", format = \"json\", overflow = \"block\", \
                rotate_bytes = 65536, rotate_every = \"24h\", keep = 2 }";
    assert_eq!(log(long), Some(AccessLog { sink, format, overflow }));
    for (text, sink) in [
        ("journal", LogSink::Journal),
        ("stdout", LogSink::Stdout),
        ("unix:/run/x", LogSink::Datagram("/run/x".into())),
    ] {
        let found = log(&format!("\"{text}\"")).expect("a log").sink;
        assert_eq!((found.to_string(), found), (text.to_owned(), sink));
    }
}

#[test]
fn protocol_of_a_group_says_how_it_is_probed_and_any_case_will_do() {
    use crate::model::{ProbeProtocol as Probe, TargetProtocol as Spoken};
    let rows = [
        ("", Spoken::Http, Probe::Http),
        ("protocol = \"HTTP\"", Spoken::Http, Probe::Http),
        ("protocol = \"https\"", Spoken::Https, Probe::Https),
        ("protocol = \"Tcp\"", Spoken::Tcp, Probe::Tcp),
        ("protocol = \"TLS\"", Spoken::Tls, Probe::Tls),
        ("protocol = \"TLS\"\nhealth_check = { interval = \"9s\" }", Spoken::Tls, Probe::Tls),
        ("protocol = \"HTTPS\"\nhealth_check = { protocol = \"TCP\" }", Spoken::Https, Probe::Tcp),
        ("health_check = { protocol = \"HTTPS\" }", Spoken::Http, Probe::Https),
    ];
    for (lines, protocol, probe) in rows {
        let group = parse(&group(lines), "t").unwrap().model.target_groups.remove(0);
        assert_eq!((group.protocol, group.health_check.protocol), (protocol, probe), "{lines}");
    }
}

#[test]
fn targets_are_verified_unless_they_are_not_to_be() {
    use crate::model::{TargetTls, Verify};
    let tls = |lines: &str| parse(&group(lines), "t").unwrap().model.target_groups.remove(0).tls;
    assert_eq!(tls("protocol = \"HTTPS\"").verify, Verify::Full);
    let none = tls("protocol = \"HTTPS\"\ntls = { verify = \"none\" }");
    assert_eq!(none, TargetTls { verify: Verify::None, ..TargetTls::default() });
    let named = tls(
        "protocol = \"HTTPS\"\ntls = { ca = \"/etc/ca.pem\", server_name = \"home.internal\" }",
    );
    assert_eq!(named.ca.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert_eq!(named.server_name.as_deref(), Some("home.internal"));
}
