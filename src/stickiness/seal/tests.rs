//! Sealed values: what opens again, and what does not.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::model::Stickiness;

const NOW: u64 = 1_800_000_000;
const HOUR: Duration = Duration::from_secs(3600);

fn key(number: u8) -> Key {
    Key::new(&[number; KEY_BYTES])
}

fn keys(current: u8, previous: Option<u8>) -> Keys {
    Keys { current: key(current), previous: previous.map(key) }
}

fn lb(group: &str) -> Scope {
    Scope::of_group(group, &Stickiness::LbCookie(HOUR)).unwrap()
}

fn app(group: &str) -> Scope {
    let app = Stickiness::AppCookie { name: "sid".into(), duration: HOUR };
    Scope::of_group(group, &app).unwrap()
}

fn target() -> Bound {
    Bound::Target("192.0.2.1:8080".parse().unwrap())
}

fn value(keys: &Keys, scope: &Scope) -> [u8; VALUE_BYTES] {
    seal(keys, scope, [7; 12], target(), NOW).text
}

fn bounds() -> impl Strategy<Value = Bound> {
    let target = (any::<IpAddr>(), any::<u16>(), any::<u32>()).prop_map(|(ip, port, scope)| {
        Bound::Target(match ip {
            IpAddr::V4(_) => SocketAddr::new(ip, port),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
        })
    });
    prop_oneof![target, any::<u64>().prop_map(|key| Bound::Group(GroupKey(key)))]
}

proptest! {
    #[test]
    fn what_was_sealed_opens_again(
        bound in bounds(),
        nonce: [u8; 12],
        now: u64,
        age in 0..=3600_u64,
    ) {
        let scope = match bound {
            Bound::Target(_) => lb("g"),
            Bound::Group(_) => Scope::of_forward(&["g", "h"]),
        };
        let keys = keys(1, None);
        let sealed = seal(&keys, &scope, nonce, bound, now);
        let later = now.saturating_add(age);
        prop_assert_eq!(open(&keys, &scope, sealed.text(), later, HOUR), Some(bound));
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
        prop_assert!(sealed.text().iter().all(plain));
    }

    #[test]
    fn any_bytes_open_to_nothing(value in vec(any::<u8>(), 0..200), same: [u8; VALUE_BYTES]) {
        let keys = keys(1, Some(2));
        prop_assert_eq!(open(&keys, &lb("g"), &value, NOW, Duration::MAX), None);
        prop_assert_eq!(open(&keys, &lb("g"), &same, NOW, Duration::MAX), None);
    }

    #[test]
    fn packed_bytes_that_were_not_sealed_open_to_nothing(
        mut packed in vec(any::<u8>(), PACKED_BYTES),
    ) {
        packed[0] = VERSION;
        let mut text = [0; VALUE_BYTES];
        STANDARD_NO_PAD.encode_slice(&packed, &mut text).unwrap();
        prop_assert_eq!(open(&keys(1, Some(2)), &lb("g"), &text, NOW, Duration::MAX), None);
    }
}

#[test]
fn value_with_any_bit_flipped_opens_to_nothing() {
    let keys = keys(1, Some(2));
    let sealed = value(&keys, &lb("g"));
    let mut packed = [0; PACKED_BYTES];
    STANDARD_NO_PAD.decode_slice(sealed, &mut packed).unwrap();
    for bit in 0..PACKED_BYTES * 8 {
        let mut flipped = packed;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut text = [0; VALUE_BYTES];
        STANDARD_NO_PAD.encode_slice(flipped, &mut text).unwrap();
        assert_eq!(open(&keys, &lb("g"), &text, NOW, HOUR), None, "bit {bit}");
    }
    for bit in 0..VALUE_BYTES * 8 {
        let mut flipped = sealed;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&keys, &lb("g"), &flipped, NOW, HOUR), None, "bit {bit} of the text");
    }
}

#[test]
fn value_cut_lengthened_or_written_otherwise_opens_to_nothing() {
    let keys = keys(1, None);
    let sealed = value(&keys, &lb("g"));
    assert_eq!(open(&keys, &lb("g"), &sealed, NOW, HOUR), Some(target()));
    for length in 0..VALUE_BYTES {
        assert_eq!(open(&keys, &lb("g"), &sealed[..length], NOW, HOUR), None, "{length}");
    }
    let quoted = [b"\"", &sealed[..], b"\""].concat();
    let padded = [&sealed[..], b"=="].concat();
    let percent = String::from_utf8(sealed.to_vec()).unwrap().replace('A', "%41").into_bytes();
    for other in [quoted, padded, percent] {
        assert_eq!(open(&keys, &lb("g"), &other, NOW, HOUR), None);
    }
}

#[test]
fn value_opens_only_where_it_was_sealed_for() {
    let keys = keys(1, None);
    let forward = Scope::of_forward(&["g", "h"]);
    let group = seal(&keys, &forward, [7; 12], Bound::Group(GroupKey::of("g")), NOW).text;
    let cases = [
        (value(&keys, &lb("g")), lb("g")),
        (value(&keys, &lb("h")), lb("h")),
        (value(&keys, &app("g")), app("g")),
        (group, forward),
    ];
    let others = [Scope::of_forward(&["g"]), Scope::of_forward(&["g", "h", "i"]), app("h")];
    for (sealed, scope) in &cases {
        for other in cases.iter().map(|(_, scope)| scope).chain(&others) {
            let opened = open(&keys, other, sealed, NOW, HOUR);
            assert_eq!(opened.is_some(), other == scope, "{scope:?} {other:?}");
        }
    }
}

#[test]
fn value_lives_from_a_little_before_its_time_to_the_end_of_the_duration() {
    let keys = keys(1, None);
    let sealed = value(&keys, &lb("g"));
    let skew = CLOCK_SKEW_SECONDS;
    let cases = [
        (0, HOUR, false),
        (NOW - skew - 1, HOUR, false),
        (NOW - skew, HOUR, true),
        (NOW, HOUR, true),
        (NOW + 3600, HOUR, true),
        (NOW + 3601, HOUR, false),
        (NOW + 1, Duration::from_secs(1), true),
        (NOW + 2, Duration::from_secs(1), false),
        (u64::MAX, HOUR, false),
    ];
    for (now, duration, lives) in cases {
        let opened = open(&keys, &lb("g"), &sealed, now, duration);
        assert_eq!(opened.is_some(), lives, "{now} {duration:?}");
    }
}

#[test]
fn previous_key_opens_and_an_older_one_does_not() {
    let sealed = value(&keys(1, None), &lb("g"));
    let opened = |keys: Keys| open(&keys, &lb("g"), &sealed, NOW, HOUR);
    assert_eq!(opened(keys(1, None)), Some(target()));
    assert_eq!(opened(keys(2, Some(1))), Some(target()));
    assert_eq!(opened(keys(3, Some(2))), None);
    assert_eq!(opened(keys(2, None)), None);
}

#[test]
fn same_nonce_gives_no_two_values_alike_unless_they_say_the_same() {
    let keys = keys(1, None);
    assert_eq!(value(&keys, &lb("g")), value(&keys, &lb("g")));
    let later = seal(&keys, &lb("g"), [7; 12], target(), NOW + 1).text;
    let (head, rest) = later.split_at(17);
    assert_eq!(head, &value(&keys, &lb("g"))[..17], "version and nonce");
    assert_ne!(rest, &value(&keys, &lb("g"))[17..]);
}

#[test]
fn format_stays_what_it_is() {
    // Checked with another implementation (AESGCMSIV of Python's cryptography 48): it opens with
    // the associated data 01 01 04 00 00 00 00 00 00 00 "home". It has to open for ever.
    let value = "AQcHBwcHBwcHBwcHB5HqrpWmTIhBS+zcExckNv9OmDpUI3Ke9v78OU0OSme7hYRo\
                 BIfRrH1ssRYBWJ8aM+BqDTOt2txo0Iy0ZuXBYGiGo3U390xCMf42SUxGpXpF9pq+";
    let keys = keys(1, None);
    assert_eq!(open(&keys, &lb("home"), value.as_bytes(), NOW, HOUR), Some(target()));
    let again = seal(&keys, &lb("home"), [7; 12], target(), NOW);
    assert_eq!(again.text(), value.as_bytes());
}

#[test]
fn keys_are_not_shown() {
    assert_eq!(format!("{:?}", keys(1, None)), "Keys { current: Key(..), previous: None }");
}
