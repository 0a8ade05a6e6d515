//! The effective whole as one TOML file: means the same, and is the same whenever written.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::*;
use crate::model::Action;

fn shown(text: &str) -> String {
    let loaded = config::parse(text, "t").unwrap_or_else(|failure| panic!("{failure}\n{text}"));
    format!("{:#?}", loaded.model)
}

/// The export of `text`, which must mean the same and be its own export.
fn exported(text: &str) -> String {
    let export = Keyed::parse(text).unwrap().to_toml();
    assert_eq!(shown(&export), shown(text), "{export}");
    assert_eq!(Keyed::parse(&export).unwrap().to_toml(), export);
    export
}

#[test]
fn an_export_is_readable() {
    let rule = json!({"path_regex": r"^/v\d+/", "host_header": ["a.example", "b.example"],
        "redirect": {"host": "a-name-long-enough-that-this-table-does-not-fit-on-a-line.example",
            "path": "/#{path}", "status": 302}});
    let overlay = after(&[
        Change::put(&the_rule("web", 5), rule).unwrap(),
        register("home", 6000, Some(9)),
        Change::delete(&the_listener("raw.tcp")),
    ]);
    let expected = r##"[[target_groups]]
name = "home"
targets = ["127.0.0.1:5000", { address = "127.0.0.1:4000", weight = 2 }, "127.0.0.1:6000"]

[[target_groups]]
name = "blog"
algorithm = "least_outstanding_requests"
targets = ["127.0.0.1:8081"]

[[listeners]]
name = "web"
address = "127.0.0.1:8080"
default = { forward = "home" }

[[listeners.rules]]
priority = 5
host_header = ["a.example", "b.example"]
path_regex = '^/v\d+/'

[listeners.rules.redirect]
host = "a-name-long-enough-that-this-table-does-not-fit-on-a-line.example"
path = "/#{path}"
status = 302

[[listeners.rules]]
priority = 10
path_pattern = "/blog/*"
forward = "blog"

[[listeners.rules]]
priority = 20
path_pattern = "/new/*"
forward = { target_groups = ["home", "blog"], stickiness = "1h" }
"##;
    let export = overlay.over(&file()).to_toml();
    assert_eq!(export, expected);
    assert_eq!(exported(&export), export);
}

#[test]
fn an_export_that_becomes_the_file_leaves_no_change() {
    let changes = [
        register("home", 6000, None),
        set_mode("raw.tcp", "l7"),
        Change::delete(&the_rule("web", 20)),
    ];
    let mut overlay = after(&changes);
    let export = Keyed::parse(&overlay.over(&file()).to_toml()).unwrap();
    let line = "the deletion of listeners.web.rules[20] is dropped: the file has it no longer";
    assert_eq!(overlay.reconcile(&export), [line]);
    assert_eq!(overlay, Overlay::empty());
}

#[test]
fn every_shipped_file_is_exported_as_what_it_means() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let entries = [conf.clone(), conf.join("examples")];
    let entries = entries.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(files.len() >= 6);
    for path in files {
        exported(&std::fs::read_to_string(path).unwrap());
    }
}

#[test]
fn text_and_keys_survive_however_odd() {
    let body = "a\"b\\c'd\ne\tf\r\u{1}\u{7f}é";
    let fixed = json!({"status": 200, "body": body});
    let rule = json!({"path_pattern": "/", "fixed_response": fixed});
    let overlay = after(&[Change::put(&the_rule("web", 1), rule).unwrap()]);
    let Action::FixedResponse(fixed) = &model(&overlay).listeners[0].rules[0].action else {
        panic!("{overlay:?}")
    };
    assert_eq!(fixed.body, body);
    let odd = Change::patch(&the_group("home"), json!({"a.b \"c\"\n": 1})).unwrap();
    let refusal = Overlay::empty().accept(&file(), &odd).unwrap_err().to_string();
    assert!(refusal.contains("unknown key `a.b \"c\"\\n`"), "{refusal}");
}

const GROUP_KINDS: [&str; 6] = [
    "",
    "algorithm = \"weighted_random\"\nanomaly_mitigation = true\n",
    "slow_start = \"30s\"\n",
    "stickiness = { type = \"lb_cookie\" }\n",
    "[target_groups.stickiness]\ntype = \"lb_cookie\"\nduration = \"1h\"\n",
    "algorithm = \"least_outstanding_requests\"\nstickiness = { type = \"source_ip\" }\n",
];
const GROUP_LINES: [&str; 6] = [
    "connect_timeout = \"2s\"\n",
    "retry = 'never'\n",
    "health_check = { protocol = \"http\", port = 9_000, interval = \"10s\", matcher = 200 }\n",
    "healthy_min = { count = 2, percentage = 50 }\n",
    "outlier_detection = true\n",
    "idle_connections_max = 0x10\n",
];
const TARGETS: [&str; 5] = [
    "\"127.0.0.1:9\"",
    "{ address = \"127.0.0.1:10\" }",
    "{ weight = 0, address = \"10.0.0.1:80\" }",
    "\"[2001:DB8:0::1]:80\"",
    "{ address = \"[::1]:81\", weight = 999 }",
];
const LISTENER_LINES: [&str; 5] = [
    "idle_timeout = \"2m\"\n",
    "accept_proxy_protocol = true\ntrusted_fronts = \"10.0.0.0/8\"\n",
    "xff_client_port = true\n",
    "server_header = \"\"\n",
    "desync_mitigation_mode = \"strictest\"\n",
];
const CONDITIONS: [&str; 7] = [
    "path_pattern = [\"/a\", \"/b/*\"]\n",
    "host_regex = '^a\\.\"?b\"?$'\n",
    "http_request_method = \"GET\"\n",
    "source_ip = [\"192.0.2.0/24\", \"::1\"]\n",
    "query_string = [{ key = \"k\", value = \"\\\\*v\" }, \"*x*\", { value = \"\" }]\n",
    "http_header = [{ name = \"A\", values = \"1\" }, { name = \"B\", regex = ['^2[.]'] }]\n",
    "[listeners.rules.http_header]\nname = \"User-Agent\"\nvalues = \"*'*\"\n",
];

fn group(number: usize) -> impl Strategy<Value = String> {
    let targets = subsequence(&TARGETS[..], 0..=TARGETS.len()).prop_shuffle();
    let lines = subsequence(&GROUP_LINES[..], 0..=GROUP_LINES.len()).prop_shuffle();
    (targets, lines, 0..GROUP_KINDS.len()).prop_map(move |(targets, lines, kind)| {
        let (targets, lines) = (targets.join(", "), lines.concat());
        let kind = GROUP_KINDS[kind];
        format!("[[target_groups]]\nname = \"g{number}\"\ntargets = [{targets}]\n{lines}{kind}\n")
    })
}

fn action(kind: usize) -> String {
    match kind {
        0 => "forward = \"g0\"".into(),
        1 => "forward = [{ target_group = \"g1\", weight = 9 }]".into(),
        2 => "forward = { target_groups = [\"g2\", { target_group = \"g0\", weight = 0 }], \
              stickiness = \"168h\" }"
            .into(),
        3 => "redirect = { host = \"www.#{host}\", port = 443, status = 301 }".into(),
        _ => "fixed_response = { status = 503, body = \"one 'two' \\\"three\\\"\\n\" }".into(),
    }
}

fn listener(number: usize) -> impl Strategy<Value = String> {
    let conditions = subsequence((0..CONDITIONS.len()).collect::<Vec<_>>(), 1..4);
    let rules = prop::collection::btree_map(1..50_000u16, (conditions, 0..5usize), 0..4);
    let lines = subsequence(&LISTENER_LINES[..], 0..=LISTENER_LINES.len()).prop_shuffle();
    (lines, rules, any::<bool>(), 0..5usize, any::<Index>()).prop_map(
        move |(lines, rules, l4, default, turn)| {
            let (mode, default) = if l4 { ("l4", default % 3) } else { ("l7", default) };
            let mut text = format!(
                "[[listeners]]\nname = \"l.{number}\"\naddress = \"127.0.0.1:{}\"\n\
                 mode = \"{mode}\"\ndefault = {{ {} }}\n{}",
                9000 + number,
                action(default),
                lines.concat()
            );
            let mut rules: Vec<_> = rules.into_iter().collect();
            if !rules.is_empty() {
                let length = rules.len();
                rules.rotate_left(turn.index(length));
            }
            for (priority, (conditions, kind)) in rules {
                // Both forms of one condition cannot stand in one rule.
                let conditions =
                    conditions.iter().filter(|at| **at != 5 || !conditions.contains(&6));
                let conditions: String = conditions.map(|at| CONDITIONS[*at]).collect();
                let action = action(kind);
                text +=
                    &format!("[[listeners.rules]]\npriority = {priority}\n{action}\n{conditions}");
            }
            text
        },
    )
}

fn generated() -> impl Strategy<Value = String> {
    let server = prop_oneof![
        Just(""),
        Just("[server]\nworkers = 2\nstate_dir = '/s'\ncontrol = { socket = \"/c\" }\n"),
        Just("[server]\nworkers = \"auto\"\n[server.control]\naddress = \"127.0.0.1:0\"\n"),
    ];
    let groups = (group(0), group(1), group(2));
    let listeners = prop_oneof![
        listener(0).prop_map(|one| vec![one]),
        (listener(1), listener(0)).prop_map(|(one, two)| vec![one, two]),
    ];
    (server, groups, listeners, any::<bool>()).prop_map(|(server, groups, listeners, first)| {
        let (groups, listeners) = (groups.2 + &groups.0 + &groups.1, listeners.concat());
        match first {
            true => format!("{listeners}{groups}{server}"),
            false => format!("{server}{groups}{listeners}"),
        }
    })
}

fn change() -> impl Strategy<Value = Change> {
    let group = (0..3u8).prop_map(|n| format!("g{n}"));
    (group, 9..13u16, 0..12u8, 0..5u16, prop::option::of(0..9u64)).prop_map(
        |(group, port, kind, n, expires)| match kind {
            0..4 => {
                let weight = (n > 2).then_some(n);
                let target = Registration { address: address(port), weight, expires };
                Change::register(&group, &[target])
            }
            4..6 => Change::deregister(&group, &[address(port)]),
            6 => Change::set_weight(&group, address(port), n),
            7 => Change::put(&the_group(&group), json!({"targets": {"127.0.0.1:9": {}}})).unwrap(),
            8 => {
                let rule = json!({"path_pattern": "/api", "forward": group});
                Change::put(&the_rule("l.0", n + 1), rule).unwrap()
            }
            9 => Change::delete(&the_rule("l.0", n + 1)),
            10 => Change::patch(&the_group(&group), json!({"retry": "never", "slow_start": null}))
                .unwrap(),
            _ => Change::patch(&the_listener("l.0"), json!({"rules": null, "idle_timeout": "3m"}))
                .unwrap(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_file_is_exported_as_what_it_means(text in generated()) {
        exported(&text);
    }

    #[test]
    fn changes_compose_and_an_export_takes_them_in(
        text in generated(), changes in prop::collection::vec(change(), 1..8),
    ) {
        let file = Keyed::parse(&text).unwrap();
        let mut overlay = Overlay::empty();
        let mut whole = file.value().clone();
        for change in &changes {
            let Ok(accepted) = overlay.accept(&file, change) else { continue };
            overlay = accepted.overlay;
            change.steps.iter().for_each(|step| patch::apply(&mut whole, step));
            prop_assert_eq!(overlay.over(&file), file.with(whole.clone()));
        }
        let mut same = overlay.clone();
        prop_assert_eq!(same.reconcile(&file), Vec::<String>::new());
        prop_assert_eq!(&same, &overlay);
        let export = Keyed::parse(&exported(&overlay.over(&file).to_toml())).unwrap();
        let leases = overlay.expired(u64::MAX);
        let dropped = overlay.reconcile(&export);
        prop_assert!(dropped.iter().all(|line| line.starts_with("the deletion")), "{dropped:?}");
        prop_assert_eq!(overlay.expired(u64::MAX), leases.clone());
        prop_assert_eq!(overlay.is_empty(), leases.is_empty());
    }
}
