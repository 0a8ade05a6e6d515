//! How a connection goes on, and how it ends.

use std::io::Write;
use std::time::{Duration, Instant};

use http::Method;

use crate::harness::*;
use crate::peer::*;
use crate::{h2c, ok};

/// Answers each request when the gate is open.
fn waiting(gate: &Gate) -> Target {
    let gate = gate.clone();
    Target::start(move |peer| {
        while peer.request().is_some() {
            gate.wait();
            peer.send(&ok("done"));
        }
    })
}

#[test]
fn hundred_streams_are_served_at_once() {
    run(async {
        let gate = Gate::new();
        let target = waiting(&gate);
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        let mut responses = Vec::new();
        for _ in 0..100 {
            responses.push(peer.begin(request(Method::GET, "/"), true).await.expect("begun").0);
        }
        let waits = tokio::task::spawn_blocking(move || {
            let asked = |all: &[ConnectionRecord]| {
                all.iter().filter(|one| !one.requests.is_empty()).count() == 100
            };
            target.wait("all requests at once", asked);
            target
        });
        let _target = waits.await.expect("requests");
        gate.open();
        for response in responses {
            assert_eq!(answer(response).await.expect("answer").text(), "done");
        }
    });
}

#[test]
fn connection_ends_after_ten_thousand_requests_none_of_which_fails() {
    run(async {
        let target = Target::named("hello");
        let balancer = h2c(&[&target]).one_worker().start();
        let peer = Http2::connect(balancer.address("web")).await;
        let mut served = 0;
        'all: loop {
            let mut responses = Vec::new();
            for _ in 0..100 {
                match peer.begin(request(Method::GET, "/"), true).await {
                    Ok((response, _)) => responses.push(response),
                    // Refused here, after the GOAWAY.
                    Err(error) => {
                        assert!(!error.is_io(), "{error:?}");
                        break;
                    }
                }
            }
            let begun = responses.len();
            for response in responses {
                match answer(response).await {
                    Ok(answer) => assert_eq!(answer.status, 200),
                    Err(error) => panic!("after {served}: {error:?}"),
                }
                served += 1;
            }
            if begun < 100 {
                break 'all;
            }
            assert!(served < 11_000, "it goes on and on");
        }
        assert!(served >= 10_000, "{served}");
        peer.ended().await.expect("an orderly end");
        let again = Http2::connect(balancer.address("web")).await;
        assert_eq!(again.get("/").await.expect("answer").status, 200);
    });
}

#[test]
fn unused_connection_ends_after_the_idle_timeout() {
    run(async {
        let target = Target::named("hello");
        for limit in ["300ms", "1500ms"] {
            let line = format!("idle_timeout = \"{limit}\"");
            let balancer = h2c(&[&target]).web(&line).start();
            let began = Instant::now();
            let fresh = Http2::connect(balancer.address("web")).await;
            let used = Http2::connect(balancer.address("web")).await;
            assert_eq!(used.get("/").await.expect("answer").status, 200);
            fresh.ended().await.expect("an orderly end");
            used.ended().await.expect("an orderly end");
            assert!(began.elapsed() >= Duration::from_millis(300));
        }
    });
}

#[test]
fn pings_do_not_keep_a_connection_open() {
    let target = Target::named("hello");
    let balancer = h2c(&[&target]).web("idle_timeout = \"1500ms\"").start();
    let mut raw = Raw::connect(balancer.address("web"));
    let until = Instant::now() + DEADLINE;
    while raw.send(&frame(PING, 0, 0, &[7; 8])) {
        let Some(came) = raw.frame() else { return };
        if came.kind == GOAWAY {
            assert_eq!(raw.goaway().unwrap_or(0), 0);
            return;
        }
        assert!(Instant::now() < until, "open for ever");
    }
}

#[test]
fn silent_stream_ends_by_the_limits_of_an_exchange() {
    run(async {
        let gate = Gate::new();
        let target = waiting(&gate);
        let balancer =
            h2c(&[&target]).web("idle_timeout = \"500ms\"").home("response_timeout = \"500ms\"");
        let balancer = balancer.start();
        let peer = Http2::connect(balancer.address("web")).await;
        assert_eq!(peer.get("/").await.expect("answer").status, 504);
        let (response, _stream) =
            peer.begin(request(Method::POST, "/"), false).await.expect("begun");
        assert_eq!(answer(response).await.expect("answer").status, 408);
        gate.open();
    });
}

#[test]
fn connection_ends_when_it_is_old_and_its_request_is_answered() {
    run(async {
        let gate = Gate::new();
        let target = waiting(&gate);
        let balancer = h2c(&[&target]).web("client_keep_alive = \"1s\"").start();
        let peer = Http2::connect(balancer.address("web")).await;
        let (response, _) = peer.begin(request(Method::GET, "/"), true).await.expect("begun");
        let idle = Http2::connect(balancer.address("web")).await;
        idle.ended().await.expect("an orderly end");
        // The other one was told meanwhile, and waits for its response.
        let until = Instant::now() + DEADLINE;
        while peer.begin(request(Method::GET, "/"), true).await.is_ok() {
            assert!(Instant::now() < until, "no GOAWAY");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        gate.open();
        assert_eq!(answer(response).await.expect("answer").text(), "done");
        peer.ended().await.expect("an orderly end");
    });
}

#[test]
fn drain_lets_streams_finish_and_ends_the_rest() {
    run(async {
        let gate = Gate::new();
        let target = waiting(&gate);
        let mut balancer = h2c(&[&target]).server("drain_timeout = \"10m\"").start();
        let peer = Http2::connect(balancer.address("web")).await;
        let idle = Http2::connect(balancer.address("web")).await;
        let (response, _) = peer.begin(request(Method::GET, "/"), true).await.expect("begun");
        target.wait("a request", |all| all.iter().any(|one| !one.requests.is_empty()));
        balancer.signal("TERM");
        idle.ended().await.expect("an orderly end");
        let until = Instant::now() + DEADLINE;
        while peer.begin(request(Method::GET, "/"), true).await.is_ok() {
            assert!(Instant::now() < until, "no GOAWAY");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        gate.open();
        assert_eq!(answer(response).await.expect("answer").text(), "done");
        peer.ended().await.expect("an orderly end");
        let ended = tokio::task::spawn_blocking(move || balancer.process().wait(DEADLINE));
        assert_eq!(ended.await.expect("wait").code(), Some(0));
    });
}

#[test]
fn what_is_open_is_cut_after_the_drain_timeout() {
    run(async {
        let gate = Gate::new();
        let target = waiting(&gate);
        let mut balancer = h2c(&[&target]).server("drain_timeout = \"700ms\"").start();
        let peer = Http2::connect(balancer.address("web")).await;
        let (response, _) = peer.begin(request(Method::GET, "/"), true).await.expect("begun");
        target.wait("a request", |all| all.iter().any(|one| !one.requests.is_empty()));
        let ended = tokio::task::spawn_blocking(move || balancer.stop());
        assert!(answer(response).await.is_err());
        assert_eq!(ended.await.expect("wait").code(), Some(0));
        gate.open();
    });
}

#[test]
fn connection_of_a_listener_that_is_gone_ends() {
    run(async {
        let target = Target::named("hello");
        let config = h2c(&[&target]);
        let balancer = config.start();
        let peer = Http2::connect(balancer.address("web")).await;
        assert_eq!(peer.get("/").await.expect("answer").status, 200);
        let (kept, _) = config
            .text()
            .split_once("[[listeners]]")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .expect("text");
        let other = "[[listeners]]\nname = \"other\"\naddress = \"127.0.0.1:0\"\n\
                     default = { forward = \"home\" }\n";
        balancer.reload(&(kept + other));
        peer.ended().await.expect("an orderly end");
    });
}

#[test]
fn first_bytes_tell_http_1_from_http_2() {
    run(async {
        let target = Target::named("hello");
        let balancer = h2c(&[&target]).start();
        let mut old = balancer.client();
        assert_eq!(old.get("/").text(), "hello");
        assert_eq!(old.get("/").text(), "hello");
        // Letters that both could begin with, in pieces.
        let mut old = balancer.client();
        old.send("P");
        old.send("R");
        old.send("OPFIND / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(old.response("PROPFIND").text(), "hello");
        let mut new = balancer.client().into_stream();
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
            new.write_all(&[*byte]).expect("write");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        new.write_all(b"\0\0\0\x04\0\0\0\0\0").expect("write");
        let mut header = [0; 9];
        std::io::Read::read_exact(&mut new, &mut header).expect("frame");
        assert_eq!(header[3], SETTINGS);
    });
}

#[test]
fn http_2_on_a_listener_without_it_is_another_version() {
    let target = Target::named("hello");
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    let response = client.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(response.status, 505);
}
