//! Values of keys: what they are read as, and what is said about the wrong ones.

use super::*;

#[test]
fn duration_reads_what_it_shows() {
    let cases = [
        ("30s", 30_000),
        ("500ms", 500),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("1h2m3s4ms", 3_723_004),
        ("90s", 90_000),
        ("0s", 0),
    ];
    for (text, millis) in cases {
        let read = duration(text).unwrap();
        assert_eq!(read, Duration::from_millis(millis), "{text}");
        assert_eq!(duration(&show_duration(read)).unwrap(), read, "{text}");
    }
}

#[test]
fn duration_refuses_with_a_cure() {
    let cases = [
        ("", "30s"),
        ("30", "\"30s\""),
        ("30 s", "\"30s\""),
        ("30sec", "\"30s\""),
        ("5min", "\"5m\""),
        ("30S", "\"30s\""),
        ("1.5s", "whole numbers"),
        ("s", "whole numbers"),
        ("-1s", "whole numbers"),
        ("5s1h", "greatest unit first"),
        ("1s1s", "whole numbers"),
        ("99999999999999999999s", "whole numbers"),
        ("9999999999999999999h", "whole numbers"),
        ("30ſ", "whole numbers"),
    ];
    for (text, help) in cases {
        let flaw = duration(text).unwrap_err();
        assert!(flaw.help.as_ref().is_some_and(|h| h.contains(help)), "{text}: {flaw:?}");
    }
}

#[test]
fn media_type_gets_a_charset_only_where_aws_adds_one() {
    let cases = [
        ("text/plain", Some("text/plain; charset=utf-8")),
        ("text/html; charset=latin1", Some("text/html; charset=latin1")),
        ("application/JSON", Some("application/JSON; charset=utf-8")),
        ("image/svg+xml", Some("image/svg+xml")),
        ("text", None),
        ("text/", None),
        ("text/pl ain", None),
        ("text/plain;\r\nX: y", None),
    ];
    for (text, expected) in cases {
        assert_eq!(media_type(text).ok().as_deref(), expected, "{text}");
    }
}

#[test]
fn matcher_reads_lists_and_ranges() {
    let cases = [
        ("200", Some(vec![(200, 200)])),
        ("200,202", Some(vec![(200, 200), (202, 202)])),
        ("200-204, 301", Some(vec![(200, 204), (301, 301)])),
        ("204-200", None),
        ("199", None),
        ("600", None),
        ("", None),
        ("200,", None),
        ("2xx", None),
    ];
    for (text, expected) in cases {
        let read = matcher(text, ProtocolVersion::Http2).ok();
        assert_eq!(read.map(|matcher| matcher.0), expected, "{text}");
    }
    let cases = [
        ("0", Some(vec![(0, 0)])),
        ("0-99", Some(vec![(0, 99)])),
        ("0, 12-14", Some(vec![(0, 0), (12, 14)])),
        ("100", None),
        ("200", None),
    ];
    for (text, expected) in cases {
        let read = matcher(text, ProtocolVersion::Grpc).ok();
        assert_eq!(read.map(|matcher| matcher.0), expected, "gRPC: {text}");
    }
}

#[test]
fn addresses_say_what_is_missing() {
    let cases = [
        ("localhost:8081", "names are not resolved", "127.0.0.1:8081"),
        ("app.internal:80", "names are not resolved", "IP address"),
        ("127.0.0.1", "no port", "127.0.0.1:8081"),
        ("::1", "no port", "[::1]:8081"),
        ("http://127.0.0.1:8081/", "URL", "\"127.0.0.1:8081\""),
        ("127.0.0.1:99999", "address with a port", "1 to 65535"),
        ("0.0.0.0:80", "all addresses", "127.0.0.1:80"),
        ("127.0.0.1:0", "needs a port", "listens on"),
        ("300.0.0.1:80", "IP address and a port", "127.0.0.1"),
        ("", "IP address and a port", "127.0.0.1"),
    ];
    for (text, problem, help) in cases {
        let flaw = target_address(text).unwrap_err();
        assert!(flaw.problem.contains(problem), "{text}: {flaw:?}");
        assert!(flaw.help.as_ref().is_some_and(|h| h.contains(help)), "{text}: {flaw:?}");
    }
}
