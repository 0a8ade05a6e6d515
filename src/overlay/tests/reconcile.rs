//! The operator changes the file under the overlay.

use super::*;

/// What is left of the changes, and what was said, once `from` stands as `to` in the file.
fn edited(changes: &[Change], edits: &[(&str, &str)]) -> (Overlay, Vec<String>) {
    let mut overlay = after(changes);
    let text = edits.iter().fold(FILE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    config::parse(&text, "edited").unwrap_or_else(|failure| panic!("{failure}"));
    let file = Keyed::parse(&text).unwrap();
    let lines = overlay.reconcile(&file);
    overlay.load(&file).unwrap_or_else(|failure| panic!("{failure}"));
    let again = overlay.clone().reconcile(&file);
    assert_eq!(again, Vec::<String>::new(), "dropped twice");
    (overlay, lines)
}

const BLOG_GROUP: &str = "[[target_groups]]\nname = \"blog\"\n\
    algorithm = \"least_outstanding_requests\"\ntargets = [\"127.0.0.1:8081\"]\n";
const WITHOUT_BLOG: [(&str, &str); 4] = [
    (BLOG_GROUP, ""),
    ("default = { forward = \"blog\" }", "default = { forward = \"home\" }"),
    ("forward = \"blog\"", "forward = \"home\""),
    ("[\"home\", \"blog\"]", "[\"home\"]"),
];

#[test]
fn the_same_file_changes_nothing() {
    let changes = [
        Change::set_weight("home", address(5000), 7),
        register("home", 6000, Some(9)),
        Change::delete(&the_listener("raw.tcp")),
    ];
    let (overlay, lines) = edited(&changes, &[]);
    assert_eq!((overlay, lines), (after(&changes), vec![]));
}

#[test]
fn a_change_to_what_is_gone_is_dropped_but_an_addition_stays() {
    let changes = [Change::set_weight("home", address(4000), 7), register("home", 6000, None)];
    let edit = (", { address = \"127.0.0.1:4000\", weight = 2 }", "");
    let (overlay, lines) = edited(&changes, &[edit]);
    let only_added = json!({"target_groups": {"home": {"targets": {"127.0.0.1:6000": {}}}}});
    assert_eq!(overlay.patch(), &only_added);
    let line = "the change to target_groups.home.targets[127.0.0.1:4000] is dropped: \
                the file has it no longer";
    assert_eq!(lines, [line]);
}

#[test]
fn a_tombstone_of_what_is_gone_is_dropped() {
    let (overlay, lines) =
        edited(&[Change::delete(&the_rule("web", 20))], &[("priority = 20", "priority = 21")]);
    assert!(overlay.is_empty());
    let line = "the deletion of listeners.web.rules[20] is dropped: the file has it no longer";
    assert_eq!(lines, [line]);
}

#[test]
fn all_changes_inside_a_group_that_is_gone_are_dropped_with_it() {
    let changes = [
        register("blog", 6000, None),
        Change::deregister("blog", &[address(8081)]),
        Change::patch(&the_group("blog"), json!({"retry": "never"})).unwrap(),
    ];
    let (overlay, lines) = edited(&changes, &WITHOUT_BLOG);
    assert!(overlay.is_empty(), "{overlay:?}");
    let line = "the change to target_groups.blog is dropped: the file has it no longer";
    assert_eq!(lines, [line]);
}

#[test]
fn what_forwards_to_a_group_that_is_gone_is_dropped() {
    let rule = json!({"path_pattern": "/x", "forward": [{"target_group": "blog"}]});
    let extra = json!({"address": "127.0.0.1:9000", "default": {"forward": "blog"}});
    let default = json!({"default": {"forward": {"target_groups": ["blog"]}}});
    let changes = [
        Change::put(&the_rule("web", 5), rule).unwrap(),
        Change::put(&the_listener("extra"), extra).unwrap(),
        Change::patch(&the_listener("web"), default).unwrap(),
    ];
    let (overlay, mut lines) = edited(&changes, &WITHOUT_BLOG);
    assert!(overlay.is_empty(), "{overlay:?}");
    lines.sort();
    let because = "is dropped: there is no target group `blog`";
    let dropped = ["listeners.extra", "listeners.web.default", "listeners.web.rules[5]"];
    assert_eq!(lines, dropped.map(|path| format!("the change to {path} {because}")));
}

#[test]
fn a_group_that_was_deleted_comes_back_when_the_file_needs_it() {
    let changes = [
        Change::delete(&the_rule("web", 10)),
        set_forward("web", Some(20), &[("home", 1)]),
        set_forward("raw.tcp", None, &[("home", 1)]),
        Change::delete(&the_group("blog")),
    ];
    let needs_blog = ("priority = 10", "priority = 11");
    let (overlay, lines) = edited(&changes, &[needs_blog]);
    assert!(overlay.patch().get("target_groups").is_none(), "{overlay:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("deletion of target_groups.blog"), "{lines:?}");
    assert!(lines[1].contains("listeners.web.rules[11] forwards to it"), "{lines:?}");
}

#[test]
fn what_the_file_by_now_says_itself_needs_no_change() {
    let (overlay, lines) =
        edited(&[Change::set_weight("home", address(4000), 7)], &[("weight = 2", "weight = 7")]);
    assert_eq!((overlay, lines), (Overlay::empty(), vec![]));
}
