//! Shares of the targets of a group.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::ok;
use crate::harness::*;

/// Bodies of `count` responses on one connection, counted.
fn shares(client: &mut Client, count: usize) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for _ in 0..count {
        *shares.entry(client.get("/").text()).or_default() += 1;
    }
    shares
}

fn share(shares: &HashMap<String, usize>, name: &str) -> usize {
    shares.get(name).copied().unwrap_or(0)
}

fn weighted(algorithm: &str, targets: &[(&Target, u16)]) -> Config {
    let list: Vec<String> = targets
        .iter()
        .map(|(target, weight)| {
            format!("{{ address = \"{}\", weight = {weight} }}", target.address())
        })
        .collect();
    let lines = format!("algorithm = \"{algorithm}\"\ntargets = [{}]", list.join(", "));
    Config::new("l7", vec![]).one_worker().home(&lines)
}

#[test]
fn requests_of_one_connection_go_to_the_targets_in_turn() {
    let (a, b, c) = (Target::named("a"), Target::named("b"), Target::named("c"));
    let balancer = http(&[&a, &b, &c]).one_worker().start();
    let mut client = balancer.client();
    let turn: Vec<String> = (0..12).map(|_| client.get("/").text()).collect();
    for three in turn.chunks(3) {
        assert_eq!(three, &turn[..3], "{turn:?}");
    }
    assert_eq!(
        shares(&mut client, 9),
        [("a", 3), ("b", 3), ("c", 3)].map(|(n, k)| (n.into(), k)).into()
    );
}

#[test]
fn weights_give_each_target_its_share_of_the_turns() {
    let (a, b, c) = (Target::named("a"), Target::named("b"), Target::named("c"));
    let balancer = weighted("round_robin", &[(&a, 3), (&b, 1), (&c, 0)]).start();
    let shares = shares(&mut balancer.client(), 40);
    assert_eq!((share(&shares, "a"), share(&shares, "b"), share(&shares, "c")), (30, 10, 0));
}

#[test]
fn random_choice_follows_the_weights() {
    let (a, b, c) = (Target::named("a"), Target::named("b"), Target::named("c"));
    let balancer = weighted("weighted_random", &[(&a, 3), (&b, 1), (&c, 0)]).start();
    let shares = shares(&mut balancer.client(), 400);
    // 300 expected, standard deviation 8.7: outside of six deviations once in a billion runs.
    assert!((248..=352).contains(&share(&shares, "a")), "{shares:?}");
    assert_eq!(share(&shares, "c"), 0);
}

#[test]
fn busy_target_gets_no_more_while_another_is_free() {
    let gate = Gate::new();
    let opened = gate.clone();
    let slow = Target::start(move |peer| {
        while peer.request().is_some() {
            opened.wait();
            peer.send(&ok("slow"));
        }
    });
    let quick = Target::named("quick");
    let balancer = weighted("least_outstanding_requests", &[(&slow, 1), (&quick, 1)]).start();
    let mut waiting = Vec::new();
    while slow.requests().is_empty() {
        assert!(waiting.len() < 10, "the slow target is never chosen");
        let mut client = balancer.client();
        client.send_get("/");
        // Either the quick target answers or the slow one has it.
        let until = Instant::now() + DEADLINE;
        while slow.requests().is_empty() && client.is_quiet_for(Duration::from_millis(20)) {
            assert!(Instant::now() < until, "neither has it");
        }
        waiting.push(client);
    }
    assert_eq!(share(&shares(&mut balancer.client(), 20), "quick"), 20);
    gate.open();
}

#[test]
fn group_whose_targets_all_weigh_nothing_is_503() {
    let a = Target::named("a");
    let balancer = weighted("round_robin", &[(&a, 0)]).start();
    assert_eq!(balancer.client().get("/").status, 503);
}
