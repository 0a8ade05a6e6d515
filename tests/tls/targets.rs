//! TLS to targets: requests, bodies, pooled connections, and sessions that end badly.

use rustls::ProtocolVersion;

use super::{authority, ok, pattern};
use crate::harness::*;

/// An HTTP listener in front of `target`, which is verified.
fn to(authority: &Authority, target: &Target) -> Config {
    http(&[target]).home(&authority.group("HTTPS", ""))
}

#[test]
fn requests_go_to_targets_inside_tls_over_one_connection() {
    let authority = authority();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = authority.server_of("a", &[version], &["h2", "http/1.1"]);
        let target = Target::named("hello").tls(&config);
        let balancer = to(&authority, &target).one_worker().start();
        let mut client = balancer.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "hello");
        }
        assert_eq!(target.connection_count(), 1, "tickets that come late are no reason to close");
        let session = target.sessions().remove(0);
        assert_eq!(session.version, version.version);
        assert_eq!(session.inner.as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(session.server_name, None, "an address is no name to ask for");
    }
}

#[test]
fn target_that_knows_no_alpn_is_spoken_to() {
    let authority = authority();
    let target = Target::named("hello").tls(&authority.server("a"));
    let balancer = to(&authority, &target).start();
    assert_eq!(balancer.client().get("/").text(), "hello");
    assert_eq!(target.sessions()[0].inner, None);
    assert_eq!(target.sessions()[0].version, ProtocolVersion::TLSv1_3);
}

#[test]
fn bodies_of_any_size_pass_both_ways() {
    let authority = authority();
    let target = Target::echo().tls(&authority.server("a"));
    let balancer = to(&authority, &target).start();
    let mut client = balancer.client();
    for length in [1, 16_384, 100_000, 3_000_000] {
        let body = pattern(length);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(&body);
        let response = client.response("POST");
        assert!(response.body == body, "{length} bytes came back changed");
    }
    let _ = ok(b"");
}
