//! The router as a whole: tables of what matches, and agreement with a reference that tries every
//! rule in order.

use std::net::IpAddr;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::string::string_regex;

use super::*;
use crate::message::{Field, FieldKind, Method, RequestHead, Span};
use crate::model::{Condition, QueryMatch, TextMatch, Weight, Wildcard, WildcardToken};

/// A request to be built.
#[derive(Debug, Clone)]
struct Asked {
    method: String,
    authority: String,
    path: String,
    query: Option<String>,
    fields: Vec<(String, String)>,
    peer: IpAddr,
}

fn asked(path_and_query: &str) -> Asked {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query.into())),
        None => (path_and_query, None),
    };
    Asked {
        method: "GET".into(),
        authority: "example.com".into(),
        path: path.into(),
        query,
        fields: Vec::new(),
        peer: "192.0.2.7".parse().unwrap(),
    }
}

fn to_host(authority: &str) -> Asked {
    Asked { authority: authority.into(), ..asked("/") }
}

fn with_field(name: &str, value: &str) -> Asked {
    Asked { fields: vec![("Other".into(), "x".into()), (name.into(), value.into())], ..asked("/") }
}

fn from_peer(peer: &str) -> Asked {
    let fields = vec![("X-Forwarded-For".into(), "10.0.0.1".into())];
    Asked { peer: peer.parse().unwrap(), fields, ..asked("/") }
}

impl Asked {
    fn with<R>(&self, work: impl FnOnce(&Request<'_>) -> R) -> R {
        let mut bytes = Vec::new();
        let mut put = |text: &str| {
            let start = bytes.len();
            bytes.extend_from_slice(text.as_bytes());
            Span::new(start, bytes.len())
        };
        let head = RequestHead {
            method: Method::of(self.method.as_bytes()),
            method_span: put(&self.method),
            authority: put(&self.authority),
            path: put(&self.path),
            query: self.query.as_ref().map(|query| put(query)),
            fields: (self.fields.iter())
                .map(|(name, value)| Field {
                    name: put(name),
                    value: put(value),
                    kind: FieldKind::of(name.as_bytes()),
                    canonical: true,
                })
                .collect(),
            ..RequestHead::default()
        };
        work(&Request { head: &head, bytes: &bytes, peer: self.peer })
    }
}

fn glob(pattern: &str) -> TextMatch {
    TextMatch::Wildcard(Wildcard::parse(pattern, false))
}

fn path(pattern: &str) -> Condition {
    Condition::PathPattern(vec![glob(pattern)])
}

fn host(pattern: &str) -> Condition {
    Condition::HostHeader(vec![glob(pattern)])
}

fn query(key: Option<&str>, value: &str) -> Condition {
    let key = key.map(|key| Wildcard::parse(key, true));
    Condition::QueryString(vec![QueryMatch { key, value: Wildcard::parse(value, true) }])
}

fn source_ip(block: &str) -> Condition {
    Condition::SourceIp(vec![block.parse().unwrap()])
}

fn user_agent(pattern: &str) -> Condition {
    Condition::HttpHeader { name: "User-Agent".into(), values: vec![glob(pattern)] }
}

fn to_group(group: u32) -> Action {
    Action::Forward(Forward { groups: vec![(GroupIndex(group), Weight::ONE)], stickiness: None })
}

fn rule(priority: u16, conditions: Vec<Condition>) -> Rule {
    let action = to_group(priority.into());
    Rule { priority: Priority::new(priority).unwrap(), conditions, action }
}

/// Priority of the rule that `asked` gets; `None`: the default rule.
fn routed(rules: &[Rule], asked: &Asked) -> Option<u16> {
    let router = Router::new(rules, &to_group(0));
    let (priority, group) = asked.with(|request| {
        let Routed { action, priority, rank } = router.route(request);
        let below = rules.iter().filter(|rule| priority.is_none_or(|own| rule.priority < own));
        assert_eq!(rank as usize, below.count(), "its place among {} rules", rules.len());
        let Action::Forward(forward) = action else { panic!("not a forward") };
        (priority.map(Priority::value), forward.groups[0].0)
    });
    assert_eq!(group.0, u32::from(priority.unwrap_or(0)), "action of another rule");
    priority
}

#[test]
fn conditions_match_as_in_the_examples_of_aws() {
    let cases = [
        (path("/img/*"), asked("/img/"), true),
        (path("/img/*"), asked("/img/a/b.png"), true),
        (path("/img/*"), asked("/img"), false),
        (path("/img/*"), asked("/IMG/a"), false),
        (path("/img/*/pics"), asked("/img/a/b/pics"), true),
        (path("/a?c"), asked("/abc"), true),
        (path("/a?c"), asked("/ac"), false),
        (path("*.php"), asked("/x/y.php"), true),
        (path("*.php"), asked("/x.php?z=1"), true),
        (host("*.example.com"), to_host("A.Example.COM"), true),
        (host("*.example.com"), to_host("example.com"), false),
        (host("*.example.com"), to_host("a.example.com:8080"), true),
        (host("*.Example.com"), to_host("a.b.example.com"), true),
        (user_agent("*Chrome*"), with_field("user-agent", "Mozilla chrome/1"), true),
        (query(Some("version"), "v1"), asked("/?VERSION=V1&x=2"), true),
        (query(None, "*example*"), asked("/?k=an-example-x"), true),
        (query(None, r"100\*"), asked("/?p=100*"), true),
        (query(None, r"100\*"), asked("/?p=1000"), false),
        (source_ip("192.0.2.0/24"), from_peer("192.0.2.7"), true),
        (source_ip("10.0.0.0/8"), from_peer("192.0.2.7"), false),
        (Condition::HttpRequestMethod(vec!["GET".into()]), asked("/"), true),
        (
            Condition::HttpRequestMethod(vec!["GET".into()]),
            Asked { method: "get".into(), ..asked("/") },
            false,
        ),
    ];
    for (condition, asked, expected) in cases {
        let matches = routed(&[rule(1, vec![condition.clone()])], &asked).is_some();
        assert_eq!(matches, expected, "{condition:?} {asked:?}");
    }
}

#[test]
fn conditions_match_at_the_edges() {
    let path_regex = |text| Condition::PathPattern(vec![TextMatch::Regex(regex(text))]);
    let cases = [
        (query(Some("q"), "a b"), asked("/?q=a%20b"), true),
        (query(Some("q"), "a b"), asked("/?q=a+b"), false),
        (query(Some("q"), "a%20b"), asked("/?q=a%20b"), true),
        (query(Some("a&b"), "c=d"), asked("/?a%26b=c%3Dd"), true),
        (query(Some("q"), "*"), asked("/?q"), true),
        (query(Some("q"), ""), asked("/?x=1&&q="), true),
        (query(None, "*"), asked("/?"), false),
        (query(None, "*"), asked("/"), false),
        (query(Some("q"), "caf\u{e9}"), asked("/?q=CAF%C3%A9"), true),
        (query(Some("q"), "a?b"), asked("/?q=a%00b"), false),
        (source_ip("192.0.2.0/24"), from_peer("::ffff:192.0.2.7"), true),
        (source_ip("::/0"), from_peer("::ffff:192.0.2.7"), false),
        (source_ip("2001:db8::/32"), from_peer("2001:db8::1"), true),
        (host("[::1]"), to_host("[::1]:80"), true),
        (host("*"), to_host(""), true),
        (host("a.*"), to_host("a.example"), true),
        (host(&"a".repeat(128)), to_host(&"a".repeat(129)), false),
        (host(&"a".repeat(128)), to_host(&"a".repeat(128)), true),
        (host(&"a".repeat(129)), to_host(&"a".repeat(129)), true),
        (host("*.a"), to_host(&format!("{}.a", "b".repeat(500))), true),
        (user_agent("?"), with_field("User-Agent", "\t"), false),
        (user_agent("x"), with_field("Other", "x"), false),
        (path("/"), asked(""), true),
        (path("*"), Asked { path: "*".into(), ..asked("") }, true),
        (path("/%7Euser"), asked("/~user"), true),
        (path("/~user"), asked("/%7euser"), true),
        (path("/caf%c3%a9"), asked("/caf%C3%A9"), true),
        (path_regex("^/caf%c3"), asked("/caf%c3%a9"), true),
        (path_regex("^/caf%C3"), asked("/caf%c3%a9"), true),
        (path_regex("^/public/"), asked("/public/%2e%2e/admin"), false),
    ];
    for (condition, asked, expected) in cases {
        let matches = routed(&[rule(1, vec![condition.clone()])], &asked).is_some();
        assert_eq!(matches, expected, "{condition:?} {asked:?}");
    }
}

fn regex(text: &str) -> regex::bytes::Regex {
    regex::bytes::Regex::new(text).unwrap()
}

#[test]
fn dot_segments_neither_dodge_a_rule_nor_borrow_another() {
    let rules = [rule(1, vec![path("/public/*")]), rule(2, vec![path("/admin/*")])];
    for dodge in ["/public/../admin/x", "/public/%2e%2E/admin/x", "/./admin/x", "/x/.%2e/admin/"] {
        assert_eq!(routed(&rules, &asked(dodge)), Some(2), "{dodge}");
    }
    assert_eq!(routed(&rules, &asked("/admin/../public/x")), Some(1));
}

#[test]
fn first_rule_in_priority_wins_wherever_it_is_indexed() {
    let rules = [
        rule(40, vec![path("/a/*")]),
        rule(30, vec![path("*.png")]),
        rule(20, vec![host("*.example.com"), path("/a/b/*")]),
        rule(10, vec![path("/a/b/c"), Condition::HttpRequestMethod(vec!["PUT".into()])]),
        rule(50, vec![]),
    ];
    let to_shop = |path| Asked { authority: "shop.example.com".into(), ..asked(path) };
    let cases = [
        (asked("/a/x"), Some(40)),
        (asked("/a/x.png"), Some(30)),
        (to_shop("/a/b/x.png"), Some(20)),
        (to_shop("/a/b/c"), Some(20)),
        (Asked { method: "PUT".into(), ..to_shop("/a/b/c") }, Some(10)),
        (asked("/b"), Some(50)),
    ];
    for (asked, expected) in cases {
        assert_eq!(routed(&rules, &asked), expected, "{asked:?}");
    }
    assert_eq!(routed(&rules[..4], &asked("/b")), None);
}

#[test]
fn groups_of_a_forward_are_chosen_by_weight() {
    let forward = |weights: &[u16]| Forward {
        groups: (0..).map(GroupIndex).zip(weights.iter().filter_map(|&w| Weight::new(w))).collect(),
        stickiness: None,
    };
    let mut random = fastrand::Rng::with_seed(3);
    let mut counts = [0_i32; 4];
    let weighted = forward(&[10, 0, 70, 20]);
    for _ in 0..10_000 {
        counts[choose_group(&weighted, random.u64(..)).unwrap().0 as usize] += 1;
    }
    for (count, expected) in counts.into_iter().zip([1000, 0, 7000, 2000]) {
        assert!((count - expected).abs() <= expected / 10, "{counts:?}");
    }
    assert_eq!(choose_group(&forward(&[0, 0]), u64::MAX), None);
    assert_eq!(choose_group(&forward(&[]), 0), None);
    assert_eq!(choose_group(&forward(&[999, 1]), u64::MAX), Some(GroupIndex(1)));
}

/// Whether `tokens` match the whole of `text`, said as briefly as it can be.
fn naive_glob(tokens: &[WildcardToken], text: &[u8]) -> bool {
    match tokens {
        [] => text.is_empty(),
        [WildcardToken::AnyRun, rest @ ..] => {
            (0..=text.len()).any(|skip| naive_glob(rest, &text[skip..]))
        }
        [WildcardToken::AnyOne, rest @ ..] => !text.is_empty() && naive_glob(rest, &text[1..]),
        [WildcardToken::Literal(literal), rest @ ..] => {
            text.strip_prefix(literal.as_slice()).is_some_and(|text| naive_glob(rest, text))
        }
    }
}

/// In lower case, what is to be compared in any case.
fn lower(wildcard: &Wildcard) -> Vec<WildcardToken> {
    let mut tokens = wildcard.tokens.clone();
    for token in &mut tokens {
        if let WildcardToken::Literal(text) = token {
            text.make_ascii_lowercase();
        }
    }
    tokens
}

fn naive_text(values: &[TextMatch], text: &[u8]) -> bool {
    values.iter().any(|value| match value {
        TextMatch::Wildcard(wildcard) => naive_glob(&wildcard.tokens, text),
        TextMatch::Regex(regex) => regex.is_match(text),
    })
}

fn naive_text_any_case(values: &[TextMatch], text: &[u8]) -> bool {
    values.iter().any(|value| match value {
        TextMatch::Wildcard(wildcard) => naive_glob(&lower(wildcard), &text.to_ascii_lowercase()),
        TextMatch::Regex(regex) => regex.is_match(text),
    })
}

fn naive_holds(condition: &Condition, request: &Request<'_>) -> bool {
    match condition {
        Condition::HostHeader(values) => naive_text_any_case(values, request.host()),
        Condition::PathPattern(values) => {
            path::with_seen(request.path(), |path| naive_text(values, path.seen.bytes))
        }
        Condition::HttpHeader { name, values } => {
            let name = name.clone().into_bytes();
            let fields = request.head.fields.iter();
            let mut named = fields
                .filter(|field| field.name.of(request.bytes).eq_ignore_ascii_case(&name))
                .map(|field| field.value.of(request.bytes));
            named.any(|value| naive_text_any_case(values, value))
        }
        Condition::HttpRequestMethod(methods) => {
            methods.iter().any(|method| method.as_bytes() == request.method())
        }
        Condition::QueryString(wanted) => {
            let query = request.query().to_ascii_lowercase();
            query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).any(|pair| {
                let mut parts = pair.splitn(2, |&byte| byte == b'=');
                let (key, value) = (parts.next().unwrap(), parts.next().unwrap_or_default());
                wanted.iter().any(|wanted| {
                    wanted.key.as_ref().is_none_or(|wildcard| naive_glob(&lower(wildcard), key))
                        && naive_glob(&lower(&wanted.value), value)
                })
            })
        }
        Condition::SourceIp(blocks) => blocks.iter().any(|block| block.contains(&request.peer)),
    }
}

/// Patterns over `letters` that begin with `start`: plain, with a star at either end, any.
fn patterns(start: &str, letters: &str) -> impl Strategy<Value = Vec<TextMatch>> + use<> {
    let plain = format!("{start}[{letters}]{{0,4}}");
    let star_last = format!("{start}[{letters}]{{0,3}}\\*");
    let star_first = format!("\\*[{letters}]{{0,3}}");
    let any = format!("{start}[{letters}?*]{{0,4}}");
    let pattern = string_regex(&[plain, star_last, star_first, any].join("|")).unwrap();
    vec(pattern.prop_map(|pattern| glob(&pattern)), 1..3)
}

fn conditions() -> impl Strategy<Value = Condition> {
    let method = prop_oneof![Just("GET".to_owned()), Just("PUT".to_owned())];
    let wildcard = || "[aB*?]{0,2}".prop_map(|pattern| Wildcard::parse(&pattern, true));
    let pair = (proptest::option::of(wildcard()), wildcard())
        .prop_map(|(key, value)| QueryMatch { key, value });
    let regex_of_path = "[ab/]{1,3}".prop_map(|text| vec![TextMatch::Regex(regex(&text))]);
    prop_oneof![
        4 => patterns("/", "ab/").prop_map(Condition::PathPattern),
        2 => patterns("", "aB.").prop_map(Condition::HostHeader),
        1 => patterns("", "ab/").prop_map(Condition::PathPattern),
        1 => regex_of_path.prop_map(Condition::PathPattern),
        1 => patterns("", "aB")
            .prop_map(|values| Condition::HttpHeader { name: "X".into(), values }),
        1 => method.prop_map(|method| Condition::HttpRequestMethod(vec![method])),
        1 => vec(pair, 1..3).prop_map(Condition::QueryString),
        1 => (0_u8..3).prop_map(|n| source_ip(&format!("10.0.{n}.0/24"))),
    ]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rules = btree_map(1_u16..1000, vec(conditions(), 1..4), 0..12);
    rules
        .prop_map(|rules| rules.into_iter().map(|(at, conditions)| rule(at, conditions)).collect())
        .prop_shuffle()
}

fn requests() -> impl Strategy<Value = Asked> {
    let method = prop_oneof![Just("GET".to_owned()), Just("PUT".to_owned())];
    let path = prop_oneof![
        3 => "/[ab/]{0,5}",
        1 => "/([ab/.]|%61|%2e){0,6}",
        1 => "(\\*)?",
    ];
    let query = proptest::option::of("[aAb=&]{0,6}");
    let fields = vec(("[xXy]", "[aAb]{0,3}"), 0..3);
    (method, "[aAb.]{0,4}(:80)?", path, query, fields, 0_u8..3).prop_map(
        |(method, authority, path, query, fields, n)| {
            let peer = IpAddr::from([10, 0, n, 1]);
            Asked { method, authority, path, query, fields, peer }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn router_agrees_with_trying_every_rule_in_order(
        rules in rules(), requests in vec(requests(), 1..8),
    ) {
        for asked in &requests {
            let mut ordered: Vec<_> = rules.iter().collect();
            ordered.sort_by_key(|rule| rule.priority);
            let expected = asked.with(|request| {
                let holds = |condition: &Condition| naive_holds(condition, request);
                ordered.into_iter().find(|rule| rule.conditions.iter().all(holds))
            });
            let expected = expected.map(|rule| rule.priority.value());
            prop_assert_eq!(routed(&rules, asked), expected, "{:?}", asked);
        }
    }

    #[test]
    fn any_text_is_routed_without_panic(
        rules in rules(), authority: String, path: String, query: String, value: String,
    ) {
        let fields = vec![("x".to_owned(), value)];
        let query = Some(query);
        routed(&rules, &Asked { authority, path, query, fields, ..asked("") });
    }
}
