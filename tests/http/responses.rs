//! What a client sees of a target's head (spec 2.6).

use super::ok;
use crate::harness::*;

fn relayed(answer: &str) -> Response {
    let target = Target::answering(answer);
    http(&[&target]).start().client().get("/")
}

#[test]
fn fields_of_the_target_pass_with_their_case_and_order() {
    let response = relayed(
        "HTTP/1.1 200 OK\r\nserver: t/1\r\nDATE: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
         Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty:\r\nvia: 1.1 t\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    let names: Vec<&str> = response.fields.iter().map(|(name, _)| name.as_str()).collect();
    let expected =
        ["server", "DATE", "Set-Cookie", "Set-Cookie", "X-Empty", "via", "Content-Length"];
    assert_eq!(names, expected);
    assert_eq!(response.values("Set-Cookie"), ["a=1", "b=2"]);
}

#[test]
fn nothing_is_added_that_the_target_did_not_say() {
    let response = relayed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(response.fields, [("Content-Length".to_owned(), "2".to_owned())]);
}

#[test]
fn status_and_reason_of_the_target_pass_unchanged() {
    let cases =
        [("299", "Odd but Fine"), ("404", "Nope"), ("500", "Oh"), ("503", "Mine"), ("200", "")];
    for (status, reason) in cases {
        let response = relayed(&format!("HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(
            (response.status.to_string(), response.reason.as_str()),
            (status.into(), reason)
        );
        assert!(!response.closes(), "{status}");
    }
}

#[test]
fn fields_of_one_hop_are_not_relayed() {
    let response = relayed(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Foo\r\nX-Foo: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    for name in ["Connection", "X-Foo", "Keep-Alive", "Proxy-Connection", "Upgrade"] {
        assert_eq!(response.values(name), Vec::<&str>::new(), "{name}");
    }
    assert_eq!(response.field("Proxy-Authenticate"), Some("Basic"));
}

#[test]
fn request_fields_of_the_balancer_do_not_come_back() {
    let response = relayed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    for name in ["X-Amzn-Trace-Id", "X-Forwarded-For", "Via", "Server", "Date"] {
        assert_eq!(response.values(name), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn head_of_nearly_32_kib_passes_and_a_larger_one_is_502() {
    for (length, status) in [(31_000, 200), (33_500, 502)] {
        let fields = format!("X-Large: {}\r\n", "x".repeat(length / 4 - 11)).repeat(4);
        let response = relayed(&format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"));
        assert_eq!(response.status, status, "{length}");
    }
}

#[test]
fn response_that_dribbles_in_is_relayed_whole() {
    let answer = ok("slowly");
    let target = Target::start(move |peer| {
        while peer.request().is_some() {
            for byte in &answer {
                peer.send(std::slice::from_ref(byte));
            }
        }
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "slowly");
    }
    assert_eq!(target.connection_count(), 1);
}
