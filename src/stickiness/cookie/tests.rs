//! Cookies in heads, by example and for any bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::message::{RequestHead, Span};
use crate::stickiness::{Bound, GroupKey, Keys, Scope, seal, seal::Key};

/// A head with these fields, whose bytes are returned with it.
fn fields(fields: &[(&[u8], &[u8])]) -> (Vec<Field>, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut push = |part: &[u8]| {
        bytes.extend_from_slice(part);
        Span::new(bytes.len() - part.len(), bytes.len())
    };
    let field = |&(name, value): &(&[u8], &[u8])| {
        let kind = FieldKind::of(name);
        Field { name: push(name), value: push(value), kind, canonical: true }
    };
    (fields.iter().map(field).collect(), bytes)
}

/// What `ask` says about a request with these Cookie lines.
fn with_cookies<T>(lines: &[&[u8]], ask: impl Fn(&Request<'_>) -> T) -> T {
    let lines: Vec<_> = lines.iter().map(|&line| (&b"cookie"[..], line)).collect();
    let (fields, bytes) = fields(&lines);
    let head = RequestHead { fields, ..RequestHead::default() };
    ask(&Request { head: &head, bytes: &bytes, peer: [127, 0, 0, 1].into() })
}

fn find(lines: &[&str], kind: Kind) -> Option<String> {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    with_cookies(&lines, |request| value(request, kind).map(text))
}

#[test]
fn value_is_found_among_other_cookies() {
    use Kind::{App, Group, Lb};
    let cases: [(&[&str], Kind, Option<&str>); 19] = [
        (&[], Lb, None),
        (&[""], Lb, None),
        (&["AWSALB=x"], Lb, Some("x")),
        (&["a=b; AWSALB=x; c=d"], Lb, Some("x")),
        (&["a=b;AWSALB=x;c=d"], Lb, Some("x")),
        (&["a=b", "AWSALB=x"], Lb, Some("x")),
        (&["AWSALB=x=; y"], Lb, Some("x=")),
        (&["AWSALB=\"x\""], Lb, Some("\"x\"")),
        (&["AWSALB="], Lb, Some("")),
        (&["AWSALB"], Lb, None),
        (&["awsalb=x"], Lb, None),
        (&["XAWSALB=x; AWSALB2=y"], Lb, None),
        (&["AWSALB=x; AWSALB=y"], Lb, Some("x")),
        (&["AWSALB=x; AWSALBCORS=y"], Lb, Some("y")),
        (&["AWSALBCORS=y; AWSALB=x"], Lb, Some("y")),
        (&["AWSALBTG=x; AWSALB=y", "AWSALBTGCORS=z"], Group, Some("z")),
        (&["AWSALBTG=x; AWSALB=y"], Group, Some("x")),
        (&["AWSALBAPP-0=x; AWSALBAPP-1=y"], App, Some("x")),
        (&["a=\";AWSALB=x\""], Lb, Some("x\"")),
    ];
    for (lines, kind, expected) in cases {
        assert_eq!(find(lines, kind).as_deref(), expected, "{lines:?}");
    }
}

#[test]
fn cookies_beyond_the_limit_are_not_looked_at() {
    let line = |before: usize| format!("{}AWSALB=x", "a=b; ".repeat(before));
    assert_eq!(find(&[&line(COOKIES_MAX - 1)], Kind::Lb).as_deref(), Some("x"));
    assert_eq!(find(&[&line(COOKIES_MAX)], Kind::Lb), None);
}

#[test]
fn application_cookie_must_come_along() {
    let hour = Duration::from_secs(3600);
    let app = Stickiness::AppCookie { name: "sid".into(), duration: hour };
    let offers = |line: &str, stickiness: &Stickiness| {
        with_cookies(&[line.as_bytes()], |request| offered(request, stickiness).is_some())
    };
    let cases = [
        ("AWSALBAPP-0=x; sid=1", &app, true),
        ("sid=; AWSALBAPP-0=x", &app, true),
        ("AWSALBAPP-0=x", &app, false),
        ("AWSALBAPP-0=x; SID=1", &app, false),
        ("AWSALB=x; sid=1", &app, false),
        ("AWSALB=x", &Stickiness::LbCookie(hour), true),
        ("AWSALB=x", &Stickiness::Off, false),
        ("AWSALB=x", &Stickiness::SourceIp, false),
    ];
    for (line, stickiness, expected) in cases {
        assert_eq!(offers(line, stickiness), expected, "{line} {stickiness:?}");
    }
}

#[test]
fn response_sets_a_cookie_of_exactly_this_name() {
    let cases = [
        ("Set-Cookie", "sid=1; Path=/", true),
        ("set-cookie", " sid = 1", true),
        ("Set-Cookie", "sid=", true),
        ("Set-Cookie", "SID=1", false),
        ("Set-Cookie", "sid", false),
        ("Set-Cookie", "sid; x=1", false),
        ("Set-Cookie", "a=1; sid=1", false),
        ("Set-Cookie", "sid2=1", false),
        ("Set-Cookie2", "sid=1", false),
        ("Cookie", "sid=1", false),
    ];
    for (name, value, expected) in cases {
        let lines = [(&b"Set-Cookie"[..], &b"other=1"[..]), (name.as_bytes(), value.as_bytes())];
        let (fields, bytes) = fields(&lines);
        let response = ResponseHead { fields, ..ResponseHead::default() };
        assert_eq!(is_set(&response, &bytes, "sid"), expected, "{name}: {value}");
    }
}

#[test]
fn lines_are_those_of_aws() {
    let keys = Keys { current: Key::new(&[1; 32]), previous: None };
    let hour = Duration::from_secs(3600);
    let sealed = |scope: Scope, bound| seal(&keys, &scope, [2; 12], bound, 0);
    let target = Bound::Target(([127, 0, 0, 1], 80).into());
    let app = Stickiness::AppCookie { name: "sid".into(), duration: hour };
    let lb = sealed(Scope::of_group("g", &Stickiness::LbCookie(hour)).unwrap(), target);
    let app = sealed(Scope::of_group("g", &app).unwrap(), target);
    let group = sealed(Scope::of_forward(&["g"]), Bound::Group(GroupKey::of("g")));
    let date = "Expires=Sun, 13 Nov 1994 08:49:37 GMT; Path=/";
    for (sealed, plain, cors) in [
        (lb, "AWSALB", Some("AWSALBCORS")),
        (app, "AWSALBAPP-0", None),
        (group, "AWSALBTG", Some("AWSALBTGCORS")),
    ] {
        let value = std::str::from_utf8(sealed.text()).unwrap();
        let mut expected = format!("Set-Cookie: {plain}={value}; {date}\r\n");
        if let Some(cors) = cors {
            expected += &format!("Set-Cookie: {cors}={value}; {date}; SameSite=None; Secure\r\n");
        }
        let mut out = Vec::new();
        set(&sealed, 784_111_777, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
    let mut out = Vec::new();
    set(&lb, u64::MAX, &mut out);
    assert!(String::from_utf8(out).unwrap().contains("Expires=Fri, 31 Dec 9999 23:59:59 GMT"));
}

/// What [`value`] says, put naively.
fn naive(lines: &[Vec<u8>], kind: Kind) -> Option<Vec<u8>> {
    let mut pairs = Vec::new();
    for line in lines {
        for part in line.split(|&byte| byte == b';') {
            let part = part.trim_ascii();
            let mut sides = part.splitn(2, |&byte| byte == b'=');
            let (name, value) = (sides.next().unwrap(), sides.next());
            pairs.push(value.map(|value| (name.to_vec(), value.to_vec())));
        }
    }
    pairs.truncate(COOKIES_MAX);
    let named = |name: &str| {
        let mut found = pairs.iter().flatten().filter(|(found, _)| found == name.as_bytes());
        found.next().map(|(_, value)| value.clone())
    };
    match kind {
        Kind::Lb => named("AWSALBCORS").or_else(|| named("AWSALB")),
        Kind::App => named("AWSALBAPP-0"),
        Kind::Group => named("AWSALBTGCORS").or_else(|| named("AWSALBTG")),
    }
}

/// Bytes that are often about our cookies.
fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    const NAMES: [&str; 8] =
        ["AWSALB", "AWSALBCORS", "AWSALBTG", "AWSALBTGCORS", "AWSALBAPP-0", "=", ";", " "];
    let name = prop::sample::select(&NAMES[..]).prop_map(|name| name.as_bytes().to_vec());
    let part = prop_oneof![3 => name, 1 => vec(any::<u8>(), 0..8)];
    vec(vec(part, 0..24).prop_map(|parts| parts.concat()), 0..4)
}

proptest! {
    #[test]
    fn any_bytes_are_read_as_a_naive_parser_reads_them(lines in lines()) {
        let slices: Vec<_> = lines.iter().map(Vec::as_slice).collect();
        for kind in [Kind::Lb, Kind::App, Kind::Group] {
            let found = with_cookies(&slices, |request| value(request, kind).map(<[u8]>::to_vec));
            prop_assert_eq!(found, naive(&lines, kind));
        }
        for line in &lines {
            let (fields, bytes) = fields(&[(b"set-cookie", line)]);
            let response = ResponseHead { fields, ..ResponseHead::default() };
            let first = line.split(|&byte| byte == b';').next().unwrap();
            let mut sides = first.splitn(2, |&byte| byte == b'=');
            let name = sides.next().unwrap().trim_ascii();
            let naive = name == b"AWSALB" && sides.next().is_some();
            prop_assert_eq!(is_set(&response, &bytes, "AWSALB"), naive);
        }
    }
}
