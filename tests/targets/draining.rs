//! Draining: what a target that is taken out may still finish, and what becomes of the rest.

use super::*;

const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                           Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
                       Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn delay(text: &str) -> String {
    format!("deregistration_delay = \"{text}\"")
}

/// Answers `/slow` with `part`, then the rest once the gate is open; everything else at once.
fn slow(gate: &Gate, part: &'static [u8], rest: &'static [u8]) -> Target {
    let gate = gate.clone();
    Target::start(move |peer| {
        while let Some(request) = peer.request() {
            if request.target != "/slow" {
                peer.send(&ok("slow"));
                continue;
            }
            peer.send(part);
            gate.wait();
            if !peer.send(rest) {
                return;
            }
        }
    })
}

fn wait_request(target: &Target, path: &str) {
    target.wait("a request", |all| {
        all.iter().any(|connection| connection.requests.iter().any(|r| r.target == path))
    });
}

const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";

#[test]
fn target_taken_out_gets_nothing_new_and_finishes_what_it_has() {
    let gate = Gate::new();
    let (going, staying) = (slow(&gate, b"", WHOLE), Target::named("stays"));
    let home = delay("30s");
    let balancer = http(&[&going]).home(&home).start();
    let mut client = balancer.client();
    client.send_get("/slow");
    wait_request(&going, "/slow");
    let mut other = balancer.client();
    assert_eq!(other.get("/").text(), "slow");
    balancer.reload(&http(&[&staying]).home(&home).text());
    let sent = going.requests().len();
    for _ in 0..20 {
        assert_eq!(other.get("/").text(), "stays");
    }
    assert_eq!(going.requests().len(), sent);
    balancer.wait_log(&[
        "from=healthy to=draining reason=\"Target.DeregistrationInProgress\"",
        &format!("target={} ", going.address()),
    ]);
    gate.open();
    assert_eq!(client.response("GET").text(), "done");
    assert_eq!(client.get("/").text(), "stays", "the client's connection stays");
    let all = || going.connections().iter().all(|connection| connection.end == Some(End::Closed));
    balancer.wait("all connections to it to close", all);
}

#[test]
fn unused_connections_close_at_once() {
    let (going, staying) = (Target::named("goes"), Target::named("stays"));
    let config = http(&[&going]).one_worker();
    let balancer = config.home(&delay("300s")).start();
    let mut client = balancer.client();
    assert_eq!(client.get("/").text(), "goes");
    balancer.reload(&http(&[&staying]).one_worker().home(&delay("300s")).text());
    // Long before the delay, and before it has been idle for too long.
    assert_eq!(going.wait_end(0), End::Closed);
    assert_eq!(client.get("/").text(), "stays");
}

#[test]
fn at_the_end_of_the_delay_a_request_without_an_answer_gets_502() {
    let gate = Gate::new();
    let (going, staying) = (slow(&gate, b"", WHOLE), Target::named("stays"));
    let balancer = http(&[&going]).home(&delay("1s")).start();
    let mut client = balancer.client();
    client.send_get("/slow");
    wait_request(&going, "/slow");
    let began = Instant::now();
    balancer.reload(&http(&[&staying]).home(&delay("1s")).text());
    let response = client.response("GET");
    assert_eq!(response.status, 502, "{response:?}");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    balancer.wait_log(&["drained", &format!("target={}", going.address())]);
    assert_eq!(client.get("/").text(), "stays", "the client's connection stays");
    gate.open();
    going.wait_end(0);
}

#[test]
fn at_the_end_of_the_delay_an_upload_is_answered_with_502() {
    let going = Target::start(|peer| drop(peer.take_rest()));
    let balancer = http(&[&going]).home(&delay("500ms")).start();
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello");
    going.wait("the start of a body", |all| {
        all.iter().any(|connection| connection.received.ends_with(b"hello"))
    });
    balancer.reload(&http(&[&Target::named("stays")]).home(&delay("500ms")).text());
    let response = client.response("POST");
    assert_eq!(response.status, 502, "{response:?}");
    going.wait_end(0);
}

#[test]
fn at_the_end_of_the_delay_a_response_that_has_begun_is_cut() {
    let parts: [&[u8]; 2] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
    ];
    for part in parts {
        let gate = Gate::new();
        let (going, staying) = (slow(&gate, part, b""), Target::named("stays"));
        let balancer = http(&[&going]).home(&delay("500ms")).start();
        let mut client = balancer.client();
        client.send_get("/slow");
        client.take_past("begin");
        balancer.reload(&http(&[&staying]).home(&delay("500ms")).text());
        let (rest, end) = client.rest();
        assert_ne!(end, End::TimedOut);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "looks whole: {}", show(&rest));
        gate.open();
        going.wait_end(0);
    }
}

#[test]
fn response_that_ends_with_its_connection_is_cut_by_reset() {
    let gate = Gate::new();
    let part = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbegin";
    let going = slow(&gate, part, b"");
    let balancer = http(&[&going]).home(&delay("500ms")).start();
    let mut client = balancer.client();
    client.send("GET /slow HTTP/1.0\r\nHost: a\r\n\r\n");
    client.take_past("begin");
    balancer.reload(&http(&[&Target::named("stays")]).home(&delay("500ms")).text());
    assert_eq!(client.rest().1, End::Reset, "an orderly end would look like the whole");
    gate.open();
}

#[test]
fn delay_of_zero_cuts_at_once() {
    let gate = Gate::new();
    let going = slow(&gate, b"", WHOLE);
    let balancer = http(&[&going]).home(&delay("0s")).start();
    let mut client = balancer.client();
    client.send_get("/slow");
    wait_request(&going, "/slow");
    balancer.reload(&http(&[&Target::named("stays")]).home(&delay("0s")).text());
    // Nothing else would answer it before the response timeout of 60 s.
    assert_eq!(client.response("GET").status, 502);
    gate.open();
}

#[test]
fn websocket_lives_through_the_delay_and_is_cut_at_its_end() {
    let going = Target::start(|peer| {
        peer.request();
        peer.send(SWITCHING);
        while let Some(byte) = peer.take(1) {
            peer.send(&byte);
        }
    });
    let balancer = http(&[&going]).home(&delay("5s")).start();
    let mut client = balancer.client();
    client.send(UPGRADE);
    assert_eq!(client.response("GET").status, 101);
    let began = Instant::now();
    balancer.reload(&http(&[&Target::named("stays")]).home(&delay("5s")).text());
    client.send("x");
    assert_eq!(client.take(1), b"x", "it lives on for now");
    let (rest, end) = client.rest();
    assert!(rest.is_empty() && end != End::TimedOut, "{end:?} after {}", show(&rest));
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    going.wait_end(0);
}

#[test]
fn l4_connection_outlives_the_delay_unless_termination_is_asked_for() {
    // Where the delay ends it, it has to be long enough for a byte there and back.
    for (terminates, time) in [(false, "500ms"), (true, "5s")] {
        let going = Target::start(|peer| {
            while let Some(byte) = peer.take(1) {
                peer.send(&byte);
            }
        });
        let staying = Target::start(|peer| drop((peer.send(b"stays"), peer.take_rest())));
        let settings = format!("{}\nconnection_termination = {terminates}", delay(time));
        let balancer = tcp(&[&going]).home(&settings).start();
        let mut client = balancer.client();
        client.send("a");
        assert_eq!(client.take(1), b"a");
        balancer.reload(&tcp(&[&staying]).home(&settings).text());
        assert_eq!(balancer.client().take(5), b"stays");
        client.send("b");
        assert_eq!(client.take(1), b"b");
        balancer.wait_log(&["drained", &format!("target={}", going.address())]);
        if terminates {
            assert_ne!(client.rest().1, End::TimedOut);
        } else {
            thread::sleep(Duration::from_millis(300));
            client.send("c");
            assert_eq!(client.take(1), b"c");
        }
    }
}

#[test]
fn registering_again_ends_the_draining() {
    let gate = Gate::new();
    let going = slow(&gate, b"", WHOLE);
    let config = http(&[&going]).home(&delay("4s"));
    let balancer = config.start();
    let mut client = balancer.client();
    client.send_get("/slow");
    wait_request(&going, "/slow");
    balancer.reload(&http(&[]).home(&delay("4s")).text());
    assert_eq!(balancer.client().get("/").status, 503, "no target left");
    balancer.reload(&config.text());
    assert_eq!(answers(&balancer, 2), ["slow"; 2]);
    thread::sleep(Duration::from_millis(4500));
    assert_eq!(balancer.log_count(&[" drained "]), 0, "{}", balancer.log());
    gate.open();
    assert_eq!(client.response("GET").text(), "done");
}

#[test]
fn removed_group_drains_too() {
    let gate = Gate::new();
    let (going, staying) = (slow(&gate, b"", WHOLE), Target::named("stays"));
    let config = http(&[&staying]);
    let rule = "path_pattern = \"/slow\"\nforward = \"gone\"";
    let balancer = config.clone().group("gone", &[going.address()]).rule(1, rule).start();
    let mut client = balancer.client();
    client.send_get("/slow");
    wait_request(&going, "/slow");
    balancer.reload(&config.text());
    assert_eq!(balancer.client().get("/slow").text(), "stays");
    gate.open();
    assert_eq!(client.response("GET").text(), "done");
}
