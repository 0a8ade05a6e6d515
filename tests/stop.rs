//! How it ends: what is in flight is answered, the rest closes, and the process goes.

mod harness;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::*;

/// Answers each request when the gate is open.
fn waiting(gate: &Gate) -> Target {
    let gate = gate.clone();
    Target::start(move |peer| {
        while peer.request().is_some() {
            gate.wait();
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    })
}

/// `config` with so much time to drain that an end within the deadline is none by its timeout.
fn patient(config: Config) -> Balancer {
    config.server("drain_timeout = \"10m\"").start()
}

fn wait_request(target: &Target) {
    target.wait("a request", |all| all.iter().any(|connection| !connection.requests.is_empty()));
}

/// Waits until the listener is closed.
fn wait_refusal(balancer: &Balancer) {
    let until = Instant::now() + DEADLINE;
    while TcpStream::connect(balancer.address("web")).is_ok() {
        assert!(Instant::now() < until, "still accepting");
    }
}

#[test]
fn idle_balancer_ends_at_once_with_status_0() {
    for signal in ["TERM", "INT"] {
        let target = Target::named("a");
        let mut balancer = patient(http(&[&target]));
        balancer.signal(signal);
        assert_eq!(balancer.process().wait(DEADLINE).code(), Some(0), "SIG{signal}");
    }
}

#[test]
fn unused_client_connections_are_closed_and_do_not_delay_the_end() {
    let target = Target::named("a");
    let mut balancer = patient(http(&[&target]));
    let (mut fresh, mut used) = (balancer.client(), balancer.client());
    assert_eq!(used.get("/").status, 200);
    assert_eq!(balancer.stop().code(), Some(0));
    fresh.expect_close();
    used.expect_close();
}

#[test]
fn request_in_flight_is_answered_and_its_connection_closed() {
    let gate = Gate::new();
    let target = waiting(&gate);
    let mut balancer = patient(http(&[&target]));
    let mut client = balancer.client();
    client.send_get("/");
    wait_request(&target);
    balancer.signal("TERM");
    wait_refusal(&balancer);
    assert!(!balancer.process().has_ended());
    gate.open();
    let response = client.response("GET");
    assert_eq!(response.text(), "done");
    assert!(response.closes(), "{response:?}");
    client.expect_close();
    assert_eq!(balancer.process().wait(DEADLINE).code(), Some(0));
}

#[test]
fn request_body_in_flight_may_finish() {
    let target = Target::echo();
    let mut balancer = patient(http(&[&target]));
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    target.wait("the begin", |all| all.iter().any(|c| c.received.ends_with(b"hello")));
    balancer.signal("TERM");
    wait_refusal(&balancer);
    client.send("world");
    assert_eq!(client.response("POST").text(), "helloworld");
    client.expect_close();
    assert_eq!(balancer.process().wait(DEADLINE).code(), Some(0));
}

#[test]
fn what_is_in_flight_is_cut_after_the_drain_timeout() {
    let gate = Gate::new();
    let target = waiting(&gate);
    let mut balancer = http(&[&target]).server("drain_timeout = \"700ms\"").start();
    let mut client = balancer.client();
    client.send_get("/");
    wait_request(&target);
    let began = Instant::now();
    assert_eq!(balancer.stop().code(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    assert_ne!(client.rest().1, End::TimedOut);
    gate.open();
}

#[test]
fn second_signal_ends_at_once() {
    let gate = Gate::new();
    let target = waiting(&gate);
    let mut balancer = patient(http(&[&target]));
    let mut client = balancer.client();
    client.send_get("/");
    wait_request(&target);
    balancer.signal("TERM");
    wait_refusal(&balancer);
    assert!(!balancer.process().has_ended());
    balancer.signal("TERM");
    balancer.process().wait(DEADLINE);
    assert_ne!(client.rest().1, End::TimedOut);
    gate.open();
}

#[test]
fn tcp_connection_in_flight_goes_on_until_its_end() {
    let target = Target::start(|peer| {
        while let Some(byte) = peer.take(1) {
            peer.send(&byte);
        }
    });
    let mut balancer = patient(tcp(&[&target]));
    let mut client = balancer.client();
    client.send("a");
    assert_eq!(client.take(1), b"a");
    balancer.signal("TERM");
    wait_refusal(&balancer);
    client.send("b");
    assert_eq!(client.take(1), b"b");
    client.half_close();
    client.expect_close();
    assert_eq!(balancer.process().wait(DEADLINE).code(), Some(0));
}

#[test]
fn tcp_connection_is_cut_after_the_drain_timeout() {
    let target = Target::start(|peer| {
        peer.take_rest();
    });
    let mut balancer = tcp(&[&target]).server("drain_timeout = \"700ms\"").start();
    let mut client = balancer.client();
    client.send("a");
    target.wait("a byte", |all| all.iter().any(|connection| !connection.received.is_empty()));
    assert_eq!(balancer.stop().code(), Some(0));
    assert_ne!(client.rest().1, End::TimedOut);
    target.wait_end(0);
}

#[test]
fn address_of_a_stopped_balancer_can_be_used_at_once() {
    let target = Target::named("a");
    let address = format!("\"{}\"", free_address());
    let text = http(&[&target]).text().replace("\"127.0.0.1:0\"", &address);
    let mut first = Balancer::start(&text);
    let mut client = first.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(first.stop().code(), Some(0));
    let again = Balancer::start(&text);
    assert_eq!(again.client().get("/").status, 200);
}
