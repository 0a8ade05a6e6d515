//! Health checks over TLS.

use super::authority;
use crate::harness::*;

const OFTEN: &str = "interval = \"100ms\", timeout = \"50ms\", healthy_threshold = 2";

/// Waits for this change of the state of the only target.
fn wait_flip(balancer: &Balancer, count: usize, flip: &str) {
    balancer.wait_log_count(&["target health", flip], count);
}

#[test]
fn probes_speak_what_the_group_speaks() {
    let authority = authority();
    for (protocol, requests) in [("HTTPS", true), ("TLS", false)] {
        let target = Target::named("hello").tls(&authority.server_of(
            "a",
            rustls::DEFAULT_VERSIONS,
            &["http/1.1"],
        ));
        let config = http(&[&target])
            .home(&authority.group(protocol, ""))
            .home("health_check = { interval = \"1s\", timeout = \"900ms\" }");
        let balancer = config.start();
        wait_flip(&balancer, 1, "to=healthy");
        let session = target.sessions().remove(0);
        assert_eq!(session.inner.is_some(), requests, "{protocol}");
        let hosts: Vec<_> =
            target.requests().iter().map(|it| it.field("Host").map(str::to_owned)).collect();
        let address = target.address().to_string();
        assert_eq!(!hosts.is_empty(), requests, "{protocol}");
        assert!(hosts.iter().all(|host| host.as_deref() == Some(&address)), "{hosts:?}");
    }
}

#[test]
fn target_is_healthy_while_it_is_whom_it_should_be() {
    let authority = authority();
    authority.issue("other", &["other.example"]);
    for probe in ["https", "tls"] {
        let target = Target::named("hello").tls(&authority.server("a"));
        let check = "interval = \"500ms\", timeout = \"450ms\", healthy_threshold = 2";
        let balancer = http(&[&target])
            .home(&authority.group("HTTPS", ""))
            .home(&format!("health_check = {{ protocol = \"{probe}\", {check} }}"))
            .start();
        wait_flip(&balancer, 1, "from=initial to=healthy");
        target.set_tls(&authority.server("other"));
        wait_flip(&balancer, 1, "from=healthy to=unhealthy");
        balancer.wait_log(&["Target.FailedHealthChecks"]);
        target.set_tls(&authority.server("a"));
        wait_flip(&balancer, 1, "from=unhealthy to=healthy");
        assert!(target.sessions().iter().all(|session| !session.is_resumed), "each begins anew");
    }
}

#[test]
fn status_counts_inside_tls_as_well() {
    let authority = authority();
    let response = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let target = Target::answering(response).tls(&authority.server("a"));
    let balancer = http(&[&target])
        .home(&authority.group("HTTPS", ""))
        .home("health_check = { interval = \"1s\", timeout = \"900ms\" }")
        .start();
    balancer.wait_log(&["target health", "Target.ResponseCodeMismatch"]);
}

#[test]
fn probe_that_waits_for_a_handshake_times_out() {
    let authority = authority();
    let target = Target::start(|peer| drop(peer.take_raw()));
    let balancer = http(&[&target])
        .home(&authority.group("HTTPS", ""))
        .home(&format!("health_check = {{ {OFTEN} }}"))
        .start();
    balancer.wait_log(&["target health", "Target.Timeout"]);
}

#[test]
fn probes_may_be_encrypted_where_traffic_is_not() {
    let (authority, stranger) = (authority(), authority());
    let traffic = Target::named("hello");
    let probed = Target::named("fine").tls(&authority.server("a"));
    let port = probed.address().port();
    let check = format!(
        "health_check = {{ protocol = \"https\", port = {port}, interval = \"1s\", \
         timeout = \"900ms\" }}"
    );
    let with = |ca: &Authority| {
        http(&[&traffic]).home(&check).home(&format!("tls = {{ ca = \"{}\" }}", ca.ca()))
    };
    let balancer = with(&authority).start();
    wait_flip(&balancer, 1, "to=healthy");
    assert_eq!(balancer.client().get("/").text(), "hello");
    let balancer = with(&stranger).start();
    wait_flip(&balancer, 1, "to=unhealthy");
}

#[test]
fn authority_that_changes_decides_about_health() {
    let (authority, next) = (authority(), authority());
    let target = Target::named("hello").tls(&authority.server("a"));
    let balancer = http(&[&target])
        .home(&authority.group("HTTPS", ""))
        .home("health_check = { interval = \"500ms\", timeout = \"450ms\" }")
        .start();
    wait_flip(&balancer, 1, "to=healthy");
    let pem = std::fs::read(next.ca()).expect("certificate");
    authority.put("ca.pem", &pem);
    wait_flip(&balancer, 1, "to=unhealthy");
    target.set_tls(&next.server("a"));
    wait_flip(&balancer, 2, "to=healthy");
}
