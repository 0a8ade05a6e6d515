//! What an L4 connection leaves behind.

use std::time::Duration;

use serde_json::Value;

use super::*;

/// A target that answers `ping` with `pong!` and reads to the end.
fn ponging() -> Target {
    Target::start(|peer| {
        if peer.take_until(b"ping").is_some() {
            peer.send(b"pong!");
            peer.take_rest();
        }
    })
}

/// One round of it.
fn ping(client: &mut Client) {
    client.send("ping");
    assert_eq!(client.take(5), b"pong!");
}

#[test]
fn connection_is_in_albs_connection_log() {
    let (log, target) = (Log::new(), ponging());
    let balancer = log.of(tcp(&[&target]), "alb").start();
    let mut client = balancer.client();
    ping(&mut client);
    let address = client.address();
    assert_eq!(lines(&log.path()), Vec::<String>::new(), "it goes on");
    drop(client);
    let line = log.lines(1).remove(0);
    let line = spec::connection_log(&line).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!((line.client, line.port), (address, balancer.port()));
}

#[test]
fn connection_is_in_the_log_of_a_classic_balancer() {
    let (log, target) = (Log::new(), ponging());
    let balancer = log.of(tcp(&[&target]), "classic").start();
    let mut client = balancer.client();
    ping(&mut client);
    drop(client);
    drop(balancer.client());
    let all = log.lines(2);
    let all: Vec<_> =
        all.iter().map(|line| spec::classic(line).unwrap_or_else(|why| panic!("{why}"))).collect();
    let line = all.iter().find(|line| line.received > 0).expect("the one with bytes");
    assert_eq!((line.received, line.sent), (4, 5));
    assert_eq!(line.target, Some(target.address()));
    assert!(line.times.iter().all(Option::is_some), "{line:?}");
    assert_eq!((line.statuses, line.request.as_str()), ([None, None], "- - - "));
    let silent = all.iter().find(|line| line.received == 0).expect("the one without");
    assert_eq!(silent.times[0], None, "it sent nothing: {silent:?}");
}

fn json(log: &Log) -> Value {
    serde_json::from_str(&log.lines(1)[0]).expect("JSON")
}

#[test]
fn bulk_through_a_pipe_is_counted() {
    const BYTES: usize = 20_000_000;
    let (log, target) = (
        Log::new(),
        Target::start(|peer| {
            if peer.take_until(b"go").is_some() {
                peer.send(&vec![b'x'; BYTES]);
            }
        }),
    );
    let balancer = log.of(tcp(&[&target]), "json").start();
    let mut client = balancer.client();
    client.send("go");
    client.take(BYTES);
    client.expect_close();
    drop(client);
    let line = json(&log);
    assert_eq!((&line["received_bytes"], &line["sent_bytes"]), (&2.into(), &BYTES.into()));
    assert_eq!((&line["type"], &line["error"]), (&"tcp".into(), &Value::Null));
}

#[test]
fn connection_without_a_target_says_why() {
    let refusing = Refusing::start();
    let config = Config::new("l4", vec![refusing.address()]);
    let log = Log::new();
    let balancer = log.of(config, "json").start();
    Client::expect_no_service([127, 0, 0, 1], balancer.address("web"), b"");
    let line = json(&log);
    assert_eq!(line["error"], "connection_refused");
    assert_eq!(
        (&line["target"], &line["status"]),
        (&refusing.address().to_string().into(), &Value::Null)
    );

    let log = Log::new();
    let balancer = log.of(tcp(&[]), "json").start();
    Client::expect_no_service([127, 0, 0, 1], balancer.address("web"), b"");
    let line = json(&log);
    assert_eq!(
        (&line["error"], &line["target"]),
        (&"destination_unavailable".into(), &Value::Null)
    );
}

#[test]
fn resets_are_told_apart_by_who_sent_them() {
    let (log, target) = (Log::new(), ponging());
    let balancer = log.of(tcp(&[&target]), "json").start();
    let mut client = balancer.client();
    ping(&mut client);
    client.reset();
    assert_eq!(json(&log)["error"], "client_closed");

    let log = Log::new();
    let resetting = Target::start(|peer| {
        peer.take_until(b"ping");
        peer.reset();
    });
    let balancer = log.of(tcp(&[&resetting]), "json").start();
    let mut client = balancer.client();
    client.send("ping");
    client.rest();
    assert_eq!(json(&log)["error"], "connection_terminated");
}

#[test]
fn silence_ends_a_connection_with_a_word() {
    let (log, target) = (Log::new(), ponging());
    let config = tcp(&[&target]).web("idle_timeout = \"3s\"");
    let balancer = log.of(config, "json").start();
    let mut client = balancer.client();
    ping(&mut client);
    client.rest();
    let line = json(&log);
    assert_eq!(line["error"], "connection_read_timeout");
    assert!(line["duration"].as_f64() >= Some(Duration::from_secs(3).as_secs_f64()));
}

#[test]
fn client_is_who_a_trusted_front_says_it_is() {
    let (log, target) = (Log::new(), ponging());
    let config = tcp(&[&target]).web("accept_proxy_protocol = true").web("proxy_protocol = \"v1\"");
    let balancer = log.of(config, "json").start();
    let mut client = balancer.client();
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n");
    ping(&mut client);
    drop(client);
    let line = json(&log);
    assert_eq!(line["client"], "192.0.2.7:4711");
    // The headers are between the balancers; the client sent four bytes.
    assert_eq!((&line["received_bytes"], &line["sent_bytes"]), (&4.into(), &5.into()));
}

#[test]
fn connection_that_outlives_its_listener_is_still_on_record() {
    let (log, target) = (Log::new(), ponging());
    let config = log.of(tcp(&[&target]), "json");
    let balancer = config.start();
    let mut client = balancer.client();
    ping(&mut client);
    let other = config.text().replace("name = \"web\"", "name = \"other\"");
    let other = other.replace(&log.path().display().to_string(), "/dev/null");
    balancer.reload(&other);
    drop(client);
    assert_eq!(json(&log)["listener"], "web");
}

#[test]
fn stop_waits_for_a_log_that_no_listener_names_any_more() {
    let (log, target) = (Log::new(), ponging());
    let config = tcp(&[&target]);
    let mut balancer = log.of(config.clone(), "json").start();
    let mut client = balancer.client();
    ping(&mut client);
    balancer.reload(&config.text());
    drop(client);
    assert!(balancer.stop().success());
    assert_eq!(json(&log)["received_bytes"], 4);
}
