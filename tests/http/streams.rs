//! Bytes that flow while a message is unfinished: no buffering, bounded memory, cuts.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use super::{ok, pattern};
use crate::harness::*;

const LARGE: usize = 32 << 20;
/// What a balancer may hold for one stalled exchange, its first use of heaps and rings included.
const HELD_MAX: usize = 16 << 20;

/// Writes `LARGE` bytes; opens `stalled` the first time that no byte moves for a while.
fn write_large(mut stream: &TcpStream, stalled: &Gate) {
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("write timeout");
    let piece = pattern(64 << 10);
    let mut left = LARGE;
    while left > 0 {
        match stream.write(&piece[..piece.len().min(left)]) {
            Ok(count) => left -= count,
            Err(error) if End::of(&error) == End::TimedOut => stalled.open(),
            Err(error) => panic!("{left} bytes left: {error}"),
        }
    }
    stalled.open();
}

#[test]
fn slow_client_does_not_fill_the_memory() {
    let stalled = Gate::new();
    let at_target = stalled.clone();
    let target = Target::start(move |peer| {
        peer.request();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes());
        write_large(peer.stream(), &at_target);
        peer.take_rest();
    });
    let balancer = http(&[&target]).start();
    let before = balancer.memory();
    let mut client = Client::connect_narrow(balancer.address("web"), 64 << 10);
    client.send_get("/");
    stalled.wait();
    let held = balancer.memory().saturating_sub(before);
    assert!(held < HELD_MAX, "{held} bytes held");
    assert_eq!(client.response("GET").body.len(), LARGE);
}

#[test]
fn slow_target_does_not_fill_the_memory() {
    let gate = Gate::new();
    let opened = gate.clone();
    let target = Target::start(move |peer| {
        opened.wait();
        let length = peer.request().map_or(0, |request| request.body.len());
        peer.send(&ok(&length.to_string()));
    });
    let balancer = http(&[&target]).start();
    let before = balancer.memory();
    let mut client = balancer.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    let stalled = Gate::new();
    let (stream, writer) = (client.stream().try_clone().expect("clone"), stalled.clone());
    let writing = std::thread::spawn(move || write_large(&stream, &writer));
    stalled.wait();
    let held = balancer.memory().saturating_sub(before);
    assert!(held < HELD_MAX, "{held} bytes held");
    gate.open();
    assert_eq!(client.response("POST").text(), LARGE.to_string());
    writing.join().expect("written");
}

#[test]
fn parts_of_a_response_pass_at_once() {
    for (framing, parts) in [
        ("Transfer-Encoding: chunked", ["3\r\none\r\n", "3\r\ntwo\r\n", "0\r\n\r\n"]),
        ("Content-Length: 9", ["one", "two", "end"]),
        ("Connection: close", ["one", "two", "end"]),
    ] {
        let gates = [Gate::new(), Gate::new()];
        let opened = gates.clone();
        let target = Target::start(move |peer| {
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{}", parts[0]).as_bytes());
            opened[0].wait();
            peer.send(parts[1].as_bytes());
            opened[1].wait();
            peer.send(parts[2].as_bytes());
        });
        let balancer = http(&[&target]).start();
        let mut client = balancer.client();
        client.send_get("/");
        client.response_head();
        client.take_past("one");
        gates[0].open();
        client.take_past("two");
        gates[1].open();
    }
}

#[test]
fn parts_of_a_request_pass_at_once() {
    for (framing, parts) in [
        ("Transfer-Encoding: chunked", ["3\r\none\r\n", "3\r\ntwo\r\n", "0\r\n\r\n"]),
        ("Content-Length: 9", ["one", "two", "end"]),
    ] {
        let target = Target::start(|peer| {
            peer.request();
            peer.send(&ok("done"));
        });
        let received = |part: &'static str| {
            target.wait(part, |all| {
                all.iter().any(|c| c.received.windows(3).any(|window| window == part.as_bytes()))
            });
        };
        let balancer = http(&[&target]).start();
        let mut client = balancer.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{}", parts[0]));
        received("one");
        client.send(parts[1]);
        received("two");
        client.send(parts[2]);
        assert_eq!(client.response("POST").text(), "done");
    }
}

#[test]
fn body_cut_short_by_the_target_is_cut_short_for_the_client() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort",
    ];
    for answer in answers {
        for resets in [false, true] {
            let gate = Gate::new();
            let opened = gate.clone();
            let target = Target::start(move |peer| {
                peer.request();
                peer.send(answer.as_bytes());
                opened.wait();
                if resets {
                    peer.reset();
                }
            });
            let balancer = http(&[&target]).start();
            let mut client = balancer.client();
            client.send_get("/");
            assert_eq!(client.response_head().status, 200);
            client.take_past("short");
            gate.open();
            let (rest, end) = client.rest();
            assert_ne!(end, End::TimedOut, "{answer} resets={resets}");
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{answer} resets={resets}: {}", show(&rest));
        }
    }
}

#[test]
fn malformed_chunk_of_the_target_cuts_the_response() {
    for bad in ["x\r\nmore", "5\r\nshortXX0\r\n\r\n", "fffffffffffffffff\r\n", "-1\r\n"] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
        let gate = Gate::new();
        let opened = gate.clone();
        let target = Target::start(move |peer| {
            peer.request();
            peer.send(head.as_bytes());
            opened.wait();
            peer.send(bad.as_bytes());
            peer.take_rest();
        });
        let balancer = http(&[&target]).start();
        let mut client = balancer.client();
        client.send_get("/");
        assert_eq!(client.response_head().status, 200);
        client.take_past("one");
        gate.open();
        let (rest, end) = client.rest();
        assert_ne!(end, End::TimedOut, "{bad:?}");
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{bad:?}: {}", show(&rest));
        target.wait_end(0);
    }
}

#[test]
fn silence_in_the_middle_of_a_response_cuts_the_client() {
    let target = Target::start(|peer| {
        peer.request();
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
        peer.take_rest();
    });
    let balancer = http(&[&target])
        .home("response_timeout = \"3s\"\nidle_timeout = \"3s\"")
        .web("idle_timeout = \"3s\"")
        .start();
    let mut client = balancer.client();
    client.send_get("/");
    client.response_head();
    let (rest, end) = client.rest();
    assert_eq!(show(&rest), "short");
    assert_ne!(end, End::TimedOut);
    target.wait_end(0);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "paces the threads of a test")]
fn one_direction_may_be_silent_while_the_other_moves() {
    let step = Duration::from_millis(200);
    let target = Target::start(move |peer| {
        let head = peer.take_until(b"\r\n\r\n").unwrap_or_default();
        if head.starts_with(b"POST /up") {
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            peer.take(20);
            peer.send(b"ok");
        } else {
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
            (0..20).for_each(|_| {
                std::thread::sleep(step);
                peer.send(b"x");
            });
        }
    });
    let balancer = http(&[&target]).web("idle_timeout = \"3s\"").start();
    let (mut up, mut down) = (balancer.client(), balancer.client());
    down.send("POST /down HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhel");
    up.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n");
    for _ in 0..20 {
        std::thread::sleep(step);
        up.send("x");
    }
    assert_eq!(up.response("POST").text(), "ok");
    assert_eq!(down.response("POST").body.len(), 20);
}

#[test]
fn client_gone_in_the_middle_of_a_response_ends_the_target_connection() {
    let target = Target::start(|peer| {
        peer.request();
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while peer.send(&[b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat()) {}
        peer.take_rest();
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send_get("/");
    client.response_head();
    client.reset();
    target.wait_end(0);
}

#[test]
fn client_gone_before_the_response_ends_the_target_connection() {
    let target = Target::start(|peer| {
        peer.request();
        peer.take_rest();
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send_get("/");
    target.wait("a request", |all| all.iter().any(|c| !c.requests.is_empty()));
    client.reset();
    target.wait_end(0);
}

#[test]
fn client_gone_in_the_middle_of_a_request_ends_the_target_connection() {
    let target = Target::start(|peer| {
        peer.request();
    });
    let balancer = http(&[&target]).start();
    for resets in [false, true] {
        let mut client = balancer.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nbegin");
        let index = usize::from(resets);
        target.wait("the begin", |all| {
            all.get(index).is_some_and(|c| c.received.ends_with(b"begin"))
        });
        if resets {
            client.reset();
        } else {
            drop(client);
        }
        target.wait_end(index);
    }
    assert_eq!(target.requests(), []);
}
