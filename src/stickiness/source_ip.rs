//! Stickiness by the address of the client, for L4: weighted rendezvous hashing.
//!
//! Each target draws a lot from the hash of client and target, and the best lot wins. Nothing is
//! remembered, so workers, processes and restarts agree; a target that goes loses its own clients
//! to the others by weight, one that comes takes its share from all, and no other client moves.

use std::net::{IpAddr, SocketAddr};

use crate::model::Weight;

use super::hash;

/// Chooses the target for a client at `client`: its index, or `None` when nothing in `routable`
/// has a weight above zero.
///
/// `routable` holds index, address and weight of every target that a connection may go to now, in
/// any order; a target that was tried in vain is left out, and the client's second best is chosen.
/// An IPv4 address counts as the same in its IPv6 form (`::ffff:192.0.2.1`), the port of the client
/// not at all.
///
/// Cost: a hash and a logarithm per target; no allocation.
#[must_use]
pub fn choose(
    client: IpAddr,
    routable: impl IntoIterator<Item = (usize, SocketAddr, Weight)>,
) -> Option<usize> {
    routable
        .into_iter()
        .filter(|(_, _, weight)| weight.value() > 0)
        .map(|(index, address, weight)| (lot(client, address, weight), address, index))
        // Two lots as good as equal never; then the address decides, so that order never does.
        .max_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)))
        .map(|(_, _, index)| index)
}

/// What `target` draws for `client`; the highest wins, each with the probability of its weight
/// (Schindelhauer, Schomaker: "Weighted Distributed Hash Tables", SPAA 2005).
fn lot(client: IpAddr, target: SocketAddr, weight: Weight) -> f64 {
    let [client_high, client_low] = words(client);
    let [target_high, target_low] = words(target.ip());
    let scope = match target {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(target) => target.scope_id(),
    };
    let port = u64::from(scope) << 16 | u64::from(target.port());
    let hash = hash::words([client_high, client_low, target_high, target_low, port]);
    // In the open interval from 0 to 1: 52 bits and a half, which a float holds exactly.
    let uniform = ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    -f64::from(weight.value()) / uniform.ln()
}

/// The address as two numbers, IPv4 in its IPv6 form.
fn words(ip: IpAddr) -> [u64; 2] {
    let bits = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const CLIENTS: u32 = 20_000;

    fn target(index: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8_000 + index as u16))
    }

    fn group(weights: &[u16]) -> Vec<(usize, SocketAddr, Weight)> {
        let target = |(index, &weight)| (index, target(index), Weight::new(weight).unwrap());
        weights.iter().enumerate().map(target).collect()
    }

    fn client(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0A00_0000 + number))
    }

    #[test]
    fn shares_follow_the_weights() {
        for weights in [&[1, 1][..], &[1, 1, 1, 1, 1], &[1, 2, 0, 5], &[999, 1, 499], &[3]] {
            let group = group(weights);
            let mut counts = vec![0_u32; weights.len()];
            for number in 0..CLIENTS {
                counts[choose(client(number), group.iter().copied()).unwrap()] += 1;
            }
            let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            for (&weight, &count) in weights.iter().zip(&counts) {
                let share = f64::from(weight) / sum;
                let deviation = (share * (1.0 - share) * f64::from(CLIENTS)).sqrt();
                let off = (f64::from(count) - share * f64::from(CLIENTS)).abs();
                assert!(off <= 4.0 * deviation, "{weights:?} {counts:?}");
            }
        }
    }

    #[test]
    fn only_clients_of_the_target_that_changes_move() {
        let all = group(&[1, 2, 3, 1, 2]);
        for number in 0..CLIENTS {
            let before = choose(client(number), all.iter().copied()).unwrap();
            for gone in 0..all.len() {
                let left = all.iter().copied().filter(|&(index, ..)| index != gone);
                let after = choose(client(number), left).unwrap();
                assert!(before == gone || after == before, "{number} moved from {before}");
                assert_ne!(after, gone);
            }
        }
    }

    #[test]
    fn greater_weight_of_one_target_moves_clients_to_it_only() {
        for number in 0..CLIENTS {
            let before = choose(client(number), group(&[1, 1, 1]));
            let after = choose(client(number), group(&[1, 2, 1]));
            assert!(after == before || after == Some(1), "{number}: {before:?} {after:?}");
        }
    }

    #[test]
    fn choice_is_the_same_in_every_process_and_release() {
        let group = group(&[1, 2, 3, 1, 2]);
        let chosen: Vec<_> =
            (0..16).map(|n| choose(client(n), group.iter().copied()).unwrap()).collect();
        // Of an implementation in Python. Another outcome moves every sticky client once.
        assert_eq!(chosen, [2, 4, 1, 2, 1, 2, 3, 2, 2, 1, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn address_family_of_the_socket_does_not_matter() {
        let group = group(&[1; 9]);
        for number in 0..100 {
            let IpAddr::V4(ip) = client(number) else { unreachable!("clients are IPv4") };
            let mapped = IpAddr::V6(ip.to_ipv6_mapped());
            let [one, other] = [ip.into(), mapped].map(|ip| choose(ip, group.iter().copied()));
            assert_eq!(one, other);
        }
    }

    #[test]
    fn no_weight_no_clients() {
        assert_eq!(choose(client(1), group(&[])), None);
        assert_eq!(choose(client(1), group(&[0, 0])), None);
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_weight_zero_gets_nothing(
            ip in any::<IpAddr>(),
            weights in vec(prop_oneof![Just(0), 0..=Weight::MAX], 0..12),
        ) {
            let group = group(&weights);
            let chosen = choose(ip, group.iter().copied());
            prop_assert_eq!(chosen, choose(ip, group.iter().rev().copied()));
            prop_assert_eq!(chosen.is_none(), weights.iter().all(|&weight| weight == 0));
            if let Some(index) = chosen {
                prop_assert!(weights[index] > 0);
            }
        }
    }
}
