//! Changes to a small file: what they leave in the overlay, and what comes of the whole.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::*;
use crate::model::{Mode, Model};

mod export;
mod reconcile;

const FILE: &str = r#"
[[target_groups]]
name = "home"
targets = ["127.0.0.1:5000", { address = "127.0.0.1:4000", weight = 2 }]

[[target_groups]]
name = "blog"
algorithm = "least_outstanding_requests"
targets = ["127.0.0.1:8081"]

[[listeners]]
name = "web"
address = "127.0.0.1:8080"
default = { forward = "home" }

[[listeners.rules]]
priority = 20
path_pattern = "/new/*"
forward = { target_groups = ["home", "blog"], stickiness = "1h" }

[[listeners.rules]]
priority = 10
path_pattern = "/blog/*"
forward = "blog"

[[listeners]]
name = "raw.tcp"
address = "127.0.0.1:8443"
mode = "l4"
default = { forward = "blog" }
"#;

fn file() -> Keyed {
    Keyed::parse(FILE).unwrap()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn register(group: &str, port: u16, expires: Option<u64>) -> Change {
    Change::register(group, &[Registration { address: address(port), weight: None, expires }])
}

fn the_group(name: &str) -> Part {
    Part::TargetGroup(name.into())
}

fn the_listener(name: &str) -> Part {
    Part::Listener(name.into())
}

fn the_rule(listener: &str, priority: u16) -> Part {
    Part::Rule(listener.into(), priority)
}

fn set_mode(name: &str, mode: &str) -> Change {
    Change::patch(&the_listener(name), json!({ "mode": mode })).unwrap()
}

/// Shares the requests of a forward anew: of the rule with this priority, or of the default.
fn set_forward(name: &str, priority: Option<u16>, weights: &[(&str, u16)]) -> Change {
    let share = |(group, weight): &(&str, u16)| json!({"target_group": group, "weight": weight});
    let shares: Value = weights.iter().map(share).collect();
    let forward = json!({ "forward": { "target_groups": shares } });
    match priority {
        Some(priority) => Change::patch(&the_rule(name, priority), forward),
        None => Change::patch(&the_listener(name), json!({ "default": forward })),
    }
    .unwrap()
}

/// The overlay after these changes, each of which must be accepted.
fn after(changes: &[Change]) -> Overlay {
    after_on(&file(), Overlay::empty(), changes)
}

fn after_on(file: &Keyed, overlay: Overlay, changes: &[Change]) -> Overlay {
    changes.iter().fold(overlay, |overlay, change| {
        overlay.accept(file, change).unwrap_or_else(|refusal| panic!("{refusal}")).overlay
    })
}

fn model(overlay: &Overlay) -> Model {
    overlay.load(&file()).unwrap_or_else(|failure| panic!("{failure}")).model
}

fn targets(overlay: &Overlay, group: usize) -> Vec<(u16, u16)> {
    let targets = model(overlay).target_groups[group].targets.clone();
    targets.iter().map(|target| (target.address.port(), target.weight.value())).collect()
}

#[test]
fn a_change_is_what_differs_from_the_file() {
    let weight = Change::set_weight("home", address(5000), 7);
    let cases = [
        (vec![], json!({})),
        (
            vec![weight.clone()],
            json!({"target_groups": {"home": {"targets": {"127.0.0.1:5000": {"weight": 7}}}}}),
        ),
        (vec![weight, Change::set_weight("home", address(4000), 2)], {
            json!({"target_groups": {"home": {"targets": {"127.0.0.1:5000": {"weight": 7}}}}})
        }),
        (vec![set_mode("raw.tcp", "l7")], json!({"listeners": {"raw.tcp": {"mode": "l7"}}})),
        (vec![set_mode("raw.tcp", "l7"), set_mode("raw.tcp", "l4")], json!({})),
        (
            vec![set_forward("web", Some(20), &[("home", 1), ("blog", 0)])],
            json!({"listeners": {"web": {"rules": {"20": {"forward": {"target_groups": [
                {"target_group": "home", "weight": 1}, {"target_group": "blog", "weight": 0},
            ]}}}}}}),
        ),
        (
            vec![
                Change::patch(&the_group("blog"), json!({"algorithm": null, "retry": "never"}))
                    .unwrap(),
            ],
            json!({"target_groups": {"blog": {"algorithm": null, "retry": "never"}}}),
        ),
    ];
    for (changes, patch) in cases {
        let overlay = after(&changes);
        assert_eq!(overlay.patch(), &patch, "{changes:?}");
        assert_eq!(overlay.is_empty(), patch == json!({}));
    }
}

#[test]
fn targets_come_and_go_and_only_those_of_the_file_leave_a_tombstone() {
    let overlay = after(&[register("home", 6000, None)]);
    assert_eq!(targets(&overlay, 0), [(5000, 1), (4000, 2), (6000, 1)]);
    let overlay = after_on(&file(), overlay, &[Change::deregister("home", &[address(6000)])]);
    assert!(overlay.is_empty(), "{overlay:?}");

    let overlay = after(&[Change::deregister("home", &[address(4000), address(1)])]);
    assert_eq!(targets(&overlay, 0), [(5000, 1)]);
    let tombstone = json!({"target_groups": {"home": {"targets": {"127.0.0.1:4000": null}}}});
    assert_eq!(overlay.patch(), &tombstone);
    let again = Registration { address: address(4000), weight: Some(2), expires: None };
    let overlay = after_on(&file(), overlay, &[Change::register("home", &[again])]);
    assert!(overlay.is_empty(), "{overlay:?}");
}

#[test]
fn what_replaces_an_entry_keeps_nothing_of_it() {
    let group = json!({"name": "blog", "targets": {"127.0.0.1:1": {}, "[0::1]:1": {}}});
    let put = Change::put(&the_group("blog"), group).unwrap();
    let overlay = after(&[put.clone(), Change::deregister("blog", &[]), put]);
    assert_eq!(
        overlay.patch(),
        &json!({"target_groups": {"blog": {
            "algorithm": null,
            "targets": {"127.0.0.1:8081": null, "127.0.0.1:1": {}, "[::1]:1": {}},
        }}})
    );
    let rule = json!({"host_header": "a.example", "forward": "home", "priority": 10});
    let overlay = after(&[Change::put(&the_rule("web", 10), rule).unwrap()]);
    assert_eq!(
        overlay.patch()["listeners"]["web"]["rules"]["10"],
        json!({"path_pattern": null, "host_header": "a.example", "forward": "home"})
    );
    let rules = json!({"rules": null, "idle_timeout": "3m"});
    let rule = json!({"path_pattern": "/", "forward": "blog"});
    let overlay = after(&[
        Change::patch(&the_listener("web"), rules).unwrap(),
        Change::merge(json!({"listeners": {"web": {"rules": {"05": rule}}}})).unwrap(),
    ]);
    let rules = model(&overlay).listeners[0].rules.clone();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].priority.value(), 5);
}

#[test]
fn listeners_and_groups_come_and_go() {
    let group = Change::put(&the_group("new"), json!({"targets": {"127.0.0.1:9": {"weight": 3}}}));
    let listener = json!({"address": "127.0.0.1:9000", "default": {"forward": "new"}});
    let overlay = after(&[group.unwrap(), Change::put(&the_listener("extra"), listener).unwrap()]);
    let whole = model(&overlay);
    assert_eq!(whole.target_groups[2].name, "new");
    assert_eq!(whole.listeners[2].name, "extra");
    let gone = [Change::delete(&the_listener("extra")), Change::delete(&the_group("new"))];
    assert!(after_on(&file(), overlay, &gone).is_empty());
    let overlay =
        after(&[Change::delete(&the_listener("raw.tcp")), Change::delete(&the_rule("web", 20))]);
    let tombstones = json!({"listeners": {"raw.tcp": null, "web": {"rules": {"20": null}}}});
    assert_eq!(overlay.patch(), &tombstones);
    assert_eq!(model(&overlay).listeners.len(), 1);
}

#[test]
fn refused_changes_say_why_with_names_in_their_paths() {
    let rule = |rule: Value| Change::put(&the_rule("web", 30), rule).unwrap();
    let cases = [
        (
            rule(json!({"path_pattern": "/a", "forward": "blgo"})),
            "listeners.web.rules[30].forward",
            "there is no target group `blgo`",
        ),
        (
            rule(json!({"path_pattern": ["/a", null], "forward": "blog"})),
            "listeners.web.rules[30].path_pattern[1]",
            "must be text",
        ),
        (
            Change::set_weight("home", address(4000), 1000),
            "target_groups.home.targets[127.0.0.1:4000].weight",
            "out of range: 1000",
        ),
        (
            Change::patch(&the_listener("raw.tcp"), json!({"mode": "l5"})).unwrap(),
            "listeners.\"raw.tcp\".mode",
            "`l5` is not a value of `mode`",
        ),
        (Change::delete(&the_group("blog")), "listeners.web.rules[10].forward", "no target group"),
        (
            Change::patch(&the_group("home"), json!({"wieght": 1})).unwrap(),
            "target_groups.home.wieght",
            "unknown key",
        ),
        (
            Change::patch(&the_group("home"), json!({"targets": {"app:80": {}}})).unwrap(),
            "target_groups.home.targets[app:80]",
            "names are not resolved",
        ),
    ];
    for (change, path, problem) in cases {
        let refusal = Overlay::empty().accept(&file(), &change).unwrap_err();
        let Refusal::Invalid(failure) = refusal else { panic!("{refusal:?}") };
        let place = failure.errors[0].place.as_ref().unwrap();
        assert_eq!(place.path, path, "{failure}");
        assert!(failure.errors[0].problem.contains(problem), "{failure}");
        assert_eq!(failure.errors[0].file, "control API");
    }
}

#[test]
fn changes_to_what_does_not_exist_are_refused() {
    let cases = [
        (Change::set_weight("home", address(1), 1), "target_groups.home.targets[127.0.0.1:1]"),
        (register("nowhere", 1, None), "target_groups.nowhere"),
        (Change::delete(&the_rule("web", 11)), "listeners.web.rules[11]"),
        (set_mode("wbe", "l4"), "listeners.wbe"),
        (set_forward("web", Some(1), &[]), "listeners.web.rules[1]"),
        (Change::delete(&the_group("x")), "target_groups.x"),
        (Change::patch(&the_group("x"), json!({})).unwrap(), "target_groups.x"),
    ];
    for (change, path) in cases {
        let refusal = Overlay::empty().accept(&file(), &change).unwrap_err();
        assert_eq!(refusal.to_string(), format!("there is no `{path}`"));
    }
}

#[test]
fn what_is_not_in_the_keyed_form_is_malformed() {
    let group = |value| Change::put(&the_group("a"), value);
    let cases = [
        (group(json!(5)), "target_groups.a: must be an object"),
        (group(json!({"name": "b"})), "target_groups.a.name: is `\"b\"` inside, but `a` outside"),
        (group(json!({"name": null})), "target_groups.a.name: is `null` inside"),
        (
            group(json!({"targets": ["127.0.0.1:1"]})),
            "target_groups.a.targets: must be an object with a key for each `address`",
        ),
        (
            group(json!({"targets": {"[::1]:1": {}, "[0::1]:1": {}}})),
            "target_groups.a.targets: `[::1]:1` is there twice",
        ),
        (
            group(json!({"targets": {"127.0.0.1:1": null}})),
            "targets.127.0.0.1:1: null says nothing",
        ),
        (group(json!({"health_check": {"path": null}})), "a.health_check.path: null says nothing"),
        (
            Change::put(&the_rule("web", 1), json!({"priority": 2})),
            "listeners.web.rules[1].priority: is `2` inside, but `1` outside",
        ),
        (
            Change::patch(&the_listener("web"), json!({"rules": {"01": {}, "1": {}}})),
            "listeners.web.rules: `1` is there twice",
        ),
        (
            Change::patch(&the_group("a"), json!({"targets": {"127.0.0.1:7": 5}})),
            "target_groups.a.targets[127.0.0.1:7]: must be an object",
        ),
        (
            Change::merge(json!({"listeners": []})),
            "listeners: must be an object with a key for each",
        ),
        (Change::merge(json!({"listeners": {"web": "x"}})), "listeners.web: must be an object"),
        (
            Change::merge(json!({"listeners": {"web": {"rules": {"1": {"priority": 2}}}}})),
            "listeners.web.rules[1].priority: is `2` inside",
        ),
    ];
    for (change, problem) in cases {
        let malformed = change.unwrap_err().to_string();
        assert!(malformed.contains(problem), "{malformed}");
    }
    for text in ["a = ", "[[listeners]]\n", "listeners = 5\n"] {
        assert!(Keyed::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_lease_ends_is_renewed_and_never_reaches_the_file() {
    let first = after(&[register("home", 6000, Some(100)), register("blog", 6001, Some(90))]);
    assert_eq!(first.next_expiry(), Some(90));
    assert_eq!(first.expired(89), []);
    assert_eq!(first.expired(90), [("blog".to_owned(), address(6001))]);
    assert_eq!(first.expired(100).len(), 2);
    assert_eq!(first.leases().find(|lease| lease.0 == "home"), Some(("home", address(6000), 100)));
    assert!(!first.over(&file()).to_toml().contains("expires"));

    let renewed = after_on(&file(), first.clone(), &[register("blog", 6001, Some(190))]);
    assert_eq!(renewed.next_expiry(), Some(100));
    let kept = after_on(&file(), renewed.clone(), &[register("home", 6000, None)]);
    assert_eq!(kept.next_expiry(), Some(190));
    assert!(kept.leases().all(|lease| lease.0 != "home"));
    let gone = after_on(&file(), renewed, &[Change::deregister("blog", &[address(6001)])]);
    assert_eq!(gone.next_expiry(), Some(100));
}

#[test]
fn leases_that_are_over_end_together_however_their_address_is_written() {
    let odd = json!({"target_groups": {"home": {"targets": {"[0::1]:6000": {"expires": 70}}}}});
    let changes = [
        register("home", 6000, Some(80)),
        register("blog", 6001, Some(90)),
        Change::merge(odd).unwrap(),
    ];
    let leased = after(&changes);
    assert_eq!(leased.expired(85).len(), 2);
    let left = after_on(&file(), leased.clone(), &[leased.end_leases(85)]);
    assert_eq!(left.expired(u64::MAX), [("blog".to_owned(), address(6001))]);
    let none = after_on(&file(), left.clone(), &[left.end_leases(90)]);
    assert!(none.is_empty(), "{:?}", none.lines());
}

#[test]
fn a_weight_survives_a_renewal_that_names_none() {
    let heavy = Registration { address: address(6000), weight: Some(5), expires: Some(10) };
    let overlay = after(&[Change::register("home", &[heavy]), register("home", 6000, Some(20))]);
    assert_eq!(targets(&overlay, 0)[2], (6000, 5));
}

#[test]
fn every_setting_has_an_origin() {
    let changes = [
        Change::set_weight("home", address(5000), 7),
        register("home", 6000, None),
        Change::patch(&the_group("blog"), json!({"algorithm": null})).unwrap(),
        Change::put(&the_group("new"), json!({"retry": "never"})).unwrap(),
    ];
    let (overlay, file) = (after(&changes), file());
    let groups = "target_groups";
    let cases: [(&[&str], Origin); 10] = [
        (&[groups, "home"], Origin::File),
        (&[groups, "home", "algorithm"], Origin::Default),
        (&[groups, "home", "targets", "127.0.0.1:5000"], Origin::File),
        (&[groups, "home", "targets", "127.0.0.1:5000", "weight"], Origin::Api),
        (&[groups, "home", "targets", "127.0.0.1:6000"], Origin::Api),
        (&[groups, "blog", "algorithm"], Origin::Api),
        (&[groups, "new"], Origin::Api),
        (&[groups, "new", "retry"], Origin::Api),
        (&["listeners", "web", "address"], Origin::File),
        (&["listeners", "web", "mode"], Origin::Default),
    ];
    for (path, origin) in cases {
        assert_eq!(overlay.origin(&file, path), origin, "{path:?}");
    }
}

#[test]
fn a_listener_with_rules_can_be_switched_to_l4_and_back() {
    let change = set_mode("web", "l4");
    let accepted = Overlay::empty().accept(&file(), &change).unwrap();
    let warnings = &accepted.loaded.warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].problem.contains("rules of an l4 listener sleep"));
    assert_eq!(warnings[0].place.as_ref().unwrap().path, "listeners.web.rules[10]");
    let back = [set_mode("web", "l7")];
    let listener = model(&after_on(&file(), accepted.overlay, &back)).listeners[0].clone();
    assert_eq!((listener.mode, listener.rules.len()), (Mode::L7, 2));
}

#[test]
fn changes_are_told_line_by_line() {
    let file = Keyed::parse(
        "[[target_groups]]\nname = \"home\"\ntargets = [\"127.0.0.1:1\"]\n\
         [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:80\"\n\
         default = { forward = \"home\" }\n",
    )
    .unwrap();
    assert_eq!(Overlay::empty().lines(), Vec::<String>::new());
    let change = Change::merge(serde_json::json!({
        "target_groups": { "home": { "targets": { "127.0.0.1:1": null, "127.0.0.1:2": {} } } },
        "listeners": { "web": { "mode": "l4" } },
    }));
    let lines = Overlay::empty().merged(&file, &change.unwrap()).lines();
    assert_eq!(
        lines,
        [
            "listeners.web.mode = \"l4\"",
            "target_groups.home.targets[127.0.0.1:1]: removed",
            "target_groups.home.targets[127.0.0.1:2]: added",
        ]
    );
}
