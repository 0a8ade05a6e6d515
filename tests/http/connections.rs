//! How long connections on both sides live and who shares them.

use std::time::{Duration, Instant};

use super::{ok, path_target};
use crate::harness::*;

#[test]
fn balancer_says_where_it_listens_and_how() {
    let target = Target::named("a");
    let balancer = http(&[&target]).start();
    let ready = balancer.ready_line();
    assert!(ready.starts_with("ready workers=2 driver="), "{ready}");
    assert_ne!(balancer.port(), 0);
}

#[test]
fn persistent_connection_serves_many_requests() {
    let target = path_target();
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    for n in 0..20 {
        let response = client.get(&format!("/{n}"));
        assert_eq!((response.status, response.text()), (200, format!("/{n}")));
        assert_eq!(response.field("Connection"), None);
    }
    assert_eq!((target.connection_count(), target.requests().len()), (1, 20));
}

#[test]
fn clients_of_a_worker_share_target_connections() {
    let target = path_target();
    let balancer = http(&[&target]).one_worker().start();
    for n in 0..5 {
        assert_eq!(balancer.client().get(&format!("/{n}")).text(), format!("/{n}"));
    }
    assert_eq!(target.connection_count(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let target = path_target();
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    let get = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send((0..50).map(get).collect::<String>());
    for n in 0..50 {
        assert_eq!(client.response("GET").text(), format!("/{n}"));
    }
    target.expect_valid();
}

#[test]
fn pipelined_requests_reach_a_target_one_after_the_other() {
    let gate = Gate::new();
    let opened = gate.clone();
    let target = Target::start(move |peer| {
        while peer.request().is_some() {
            opened.wait();
            peer.send(&ok("done"));
        }
    });
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    target.wait("a request", |all| all.iter().any(|connection| !connection.requests.is_empty()));
    assert!(client.is_quiet_for(Duration::from_millis(300)));
    let record = &target.connections()[0];
    assert_eq!((target.connection_count(), record.parse().0.len()), (1, 1));
    gate.open();
    assert_eq!(client.response("GET").text(), "done");
    assert_eq!(client.response("GET").text(), "done");
}

#[test]
fn pipelined_request_behind_a_body_is_answered() {
    let target = Target::echo();
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
         POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
         GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    for body in ["hello", "abc", ""] {
        assert_eq!(client.response("POST").text(), body);
    }
    client.expect_close();
}

#[test]
fn close_asked_by_the_client_ends_only_its_own_connection() {
    let target = path_target();
    let balancer = http(&[&target]).one_worker().start();
    for _ in 0..3 {
        let mut client = balancer.client();
        let response = client.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(response.closes(), "{response:?}");
        client.expect_close();
    }
    assert_eq!(target.connection_count(), 1);
    assert!(target.requests().iter().all(|request| request.field("Connection").is_none()));
}

#[test]
fn bytes_behind_the_last_request_do_not_cut_its_response() {
    let body = "x".repeat(512 << 10);
    let length = body.len();
    let response =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    let [asked, answer, relayed] = [Gate::new(), Gate::new(), Gate::new()];
    let gates = [asked.clone(), answer.clone(), relayed.clone()];
    let target = Target::start(move |peer| {
        peer.request();
        gates[0].open();
        gates[1].wait();
        peer.send(response.as_bytes());
        peer.take_rest();
        gates[2].open();
    });
    let balancer = http(&[&target]).start();
    let mut client = Client::connect_narrow(balancer.address("web"), 4096);
    client.send("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi");
    asked.wait();
    client.send("\r\n");
    answer.open();
    relayed.wait();
    assert_eq!(client.response("POST").body.len(), body.len());
    client.expect_close();
}

#[test]
fn close_said_by_the_target_ends_only_its_own_connection() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let target = Target::answering_once(response);
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.field("Connection")), ("ok", None));
    }
    assert_eq!(target.connection_count(), 3);
}

#[test]
fn http_1_0_target_is_not_reused_and_does_not_show() {
    let target = Target::answering_once("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.version.as_str()), ("ok", "HTTP/1.1"));
    }
    assert_eq!(target.connection_count(), 3);
}

#[test]
fn http_1_0_client_is_served_in_http_1_1_and_then_closed() {
    let target = path_target();
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    let response = client.exchange("GET /x HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, "/x"));
    client.expect_close();
    assert_eq!(target.request().version, "HTTP/1.1");
}

#[test]
fn connection_without_a_request_is_closed_silently_when_idle() {
    let target = path_target();
    // Long enough for a busy machine to send a request.
    let balancer = http(&[&target]).web("idle_timeout = \"2s\"").start();
    let began = Instant::now();
    balancer.client().expect_close();
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());

    let mut used = balancer.client();
    assert_eq!(used.get("/").status, 200);
    used.expect_close();
}

#[test]
fn empty_lines_begin_no_request() {
    let target = path_target();
    let log = tempfile::NamedTempFile::new().expect("log");
    let access_log = format!("access_log = {{ path = \"{}\" }}", log.path().display());
    // A request that has begun would have ended as 408 long before the connection is idle.
    let times = "idle_timeout = \"4s\"\nhead_timeout = \"500ms\"";
    let balancer = http(&[&target]).web(&access_log).web(times).start();

    let (mut fresh, mut used) = (balancer.client(), balancer.client());
    fresh.send("\r\n");
    assert_eq!(used.exchange("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\n").text(), "/1");
    // In pieces, and to a connection that has given its buffer up.
    let mut late = balancer.client();
    late.send("\r\n");
    assert!(late.is_quiet_for(Duration::from_millis(1500)), "nothing is answered");
    late.send_cut(b"\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n\r", &[1, 3, 6, 7]);
    assert_eq!(late.response("GET").text(), "/2");
    late.send("\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(late.response("GET").text(), "/3");
    for client in [&mut fresh, &mut used, &mut late] {
        client.expect_close();
    }

    let lines = || std::fs::read_to_string(log.path()).expect("UTF-8");
    balancer.wait("lines of all requests", || lines().lines().count() >= 3);
    for path in ["/1", "/2", "/3"] {
        assert_eq!(lines().matches(&format!("{path} HTTP/1.1")).count(), 1, "{}", lines());
    }
    assert_eq!(lines().lines().count(), 3, "{}", lines());
}

#[test]
fn empty_lines_without_end_are_refused() {
    let target = path_target();
    let balancer = http(&[&target]).start();
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = balancer.client();
    for _ in 0..3 {
        let request = format!("{}{get}", "\r\n".repeat(8));
        assert_eq!(client.exchange(request).status, 200, "counted anew for each request");
    }
    client.send("\r\n".repeat(4));
    assert!(client.is_quiet_for(Duration::from_millis(200)));
    let response = client.exchange("\r\n".repeat(6));
    assert_eq!((response.status, response.closes()), (400, true));
    client.expect_close();
    assert_eq!(target.requests().len(), 3);
}

#[test]
fn unused_target_connection_is_closed_after_its_idle_timeout() {
    let target = path_target();
    let balancer = http(&[&target]).home("idle_timeout = \"500ms\"").start();
    balancer.client().get("/");
    assert_eq!(target.wait_end(0), End::Closed);
}

#[test]
fn connection_past_its_age_is_closed_with_the_next_response() {
    let target = path_target();
    let balancer = http(&[&target]).web("client_keep_alive = \"1s\"").start();
    let mut client = balancer.client();
    let until = Instant::now() + DEADLINE;
    loop {
        let response = client.get("/");
        assert_eq!(response.status, 200);
        if response.closes() {
            break;
        }
        assert!(Instant::now() < until, "never closed");
    }
    client.expect_close();
}

#[test]
fn no_more_unused_connections_are_kept_than_configured() {
    keeps_one_of_four(1);
}

#[test]
fn limit_of_unused_connections_is_that_of_all_workers_together() {
    keeps_one_of_four(2);
}

fn keeps_one_of_four(workers: usize) {
    let gate = Gate::new();
    let opened = gate.clone();
    let target = Target::start(move |peer| {
        while peer.request().is_some() {
            opened.wait();
            peer.send(&ok("done"));
        }
    });
    let balancer = http(&[&target]).workers(workers).home("idle_connections_max = 1").start();
    let mut clients: Vec<Client> = (0..4).map(|_| balancer.client()).collect();
    for client in &mut clients {
        client.send_get("/");
    }
    target.wait("four requests", |all| all.iter().map(|c| c.requests.len()).sum::<usize>() == 4);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").text(), "done");
    }
    target.wait("three closes", |all| all.iter().filter(|c| c.end.is_some()).count() >= 3);
}

#[test]
fn target_connection_with_bytes_beyond_the_response_is_not_reused() {
    let evil = [ok("fine"), ok("evil")].concat();
    let target = Target::start(move |peer| {
        while peer.request().is_some() {
            let response = if peer.index == 0 { evil.clone() } else { ok("good") };
            peer.send(&response);
        }
    });
    let balancer = http(&[&target]).one_worker().start();
    let mut client = balancer.client();
    assert_eq!(client.get("/1").text(), "fine");
    assert_eq!(client.get("/2").text(), "good");
    assert_eq!(target.wait_end(0), End::Closed);
}

#[test]
fn target_connection_with_unasked_bytes_while_unused_is_not_reused() {
    let (gate, sent) = (Gate::new(), Gate::new());
    let (opened, done) = (gate.clone(), sent.clone());
    let target = Target::start(move |peer| {
        while peer.request().is_some() {
            peer.send(&ok("good"));
            if peer.index == 0 {
                opened.wait();
                peer.send(&ok("evil"));
                done.open();
            }
        }
    });
    let balancer = http(&[&target]).one_worker().start();
    let mut client = balancer.client();
    assert_eq!(client.get("/1").text(), "good");
    gate.open();
    sent.wait();
    assert_eq!(client.get("/2").text(), "good");
    assert_eq!(client.get("/3").text(), "good");
}

#[test]
fn target_connection_closed_while_unused_is_replaced_unseen() {
    let target = Target::answering_once(ok("once"));
    let balancer = http(&[&target]).start();
    let mut client = balancer.client();
    for n in 0..20 {
        assert_eq!(client.get(&format!("/{n}")).status, 200, "{n}");
    }
}
