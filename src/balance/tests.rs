//! Properties of all three algorithms, as [`Balancer::choose`] shows them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::RoundRobin, Algorithm::LeastOutstandingRequests, Algorithm::WeightedRandom];

fn balancer(algorithm: Algorithm, weights: &[u16]) -> Balancer {
    let weights: Vec<_> = weights.iter().map(|&weight| Weight::new(weight).unwrap()).collect();
    Balancer::new(algorithm, &weights)
}

fn sum(weights: &[u16]) -> usize {
    weights.iter().map(|&weight| usize::from(weight)).sum()
}

/// How often each target was chosen in these turns, nothing being in flight.
fn counts(
    balancer: &Balancer,
    targets: usize,
    turns: std::ops::Range<u32>,
    eligible: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut counts = vec![0; targets];
    for turn in turns {
        if let Some(index) = balancer.choose(turn, random.u64(..), &eligible, |_| 0) {
            counts[index] += 1;
        }
    }
    counts
}

/// Weights, which of their targets are eligible, and how much each has in flight.
fn groups() -> impl Strategy<Value = Vec<(u16, bool, u32)>> {
    let weight = prop_oneof![Just(0), Just(1), 1_u16..5, 0..=Weight::MAX];
    let outstanding = prop_oneof![0_u32..4, any::<u32>()];
    vec((weight, any::<bool>(), outstanding), 0..12)
}

proptest! {
    #[test]
    fn choice_is_eligible_and_has_weight_and_is_made_whenever_there_is_one(
        group in groups(), turn: u32, random: u64,
    ) {
        let weights: Vec<_> = group.iter().map(|target| target.0).collect();
        let eligible = |index: usize| group[index].1;
        let possible = (0..group.len()).any(|index| eligible(index) && weights[index] > 0);
        for algorithm in ALGORITHMS {
            let outstanding = |index: usize| group[index].2;
            let choice =
                balancer(algorithm, &weights).choose(turn, random, eligible, outstanding);
            prop_assert_eq!(choice.is_some(), possible, "{}", algorithm);
            prop_assert!(choice.is_none_or(|index| eligible(index) && weights[index] > 0));
        }
    }

    #[test]
    fn round_robin_shares_are_exact_over_any_full_round(
        weights in vec(0_u16..20, 1..8), start in 0_u32..1000,
    ) {
        let total = sum(&weights) as u32;
        let balancer = balancer(Algorithm::RoundRobin, &weights);
        let counts = counts(&balancer, weights.len(), start..start + total, |_| true);
        let expected: Vec<_> = weights.iter().map(|&weight| usize::from(weight)).collect();
        prop_assert_eq!(counts, expected);
    }

    #[test]
    fn round_robin_never_gives_a_target_much_more_than_its_share_of_a_window(
        weights in vec(1_u16..10, 1..6), start in 0_u32..100, window in 1_u32..40,
    ) {
        let balancer = balancer(Algorithm::RoundRobin, &weights);
        let counts = counts(&balancer, weights.len(), start..start + window, |_| true);
        for (count, &weight) in counts.iter().zip(&weights) {
            let share = (window as usize * usize::from(weight)).div_ceil(sum(&weights));
            prop_assert!(*count <= share + 1, "{:?} of {:?}", counts, weights);
        }
    }

    #[test]
    fn round_robin_shares_stay_exact_when_some_targets_are_not_eligible(
        targets in vec((1_u16..5, any::<bool>()), 1..6),
    ) {
        let weights: Vec<_> = targets.iter().map(|target| target.0).collect();
        let eligible = |index: usize| targets[index].1;
        let left: usize = (0..weights.len())
            .filter(|&index| eligible(index))
            .map(|index| usize::from(weights[index]))
            .sum();
        // Weights 2 and 2 are 1 and 1 to the balancer; these turns are whole periods all the same.
        let turns = (sum(&weights) * left) as u32;
        let balancer = balancer(Algorithm::RoundRobin, &weights);
        let counts = counts(&balancer, weights.len(), 0..turns, eligible);
        for (index, count) in counts.into_iter().enumerate() {
            let share = if eligible(index) { usize::from(weights[index]) } else { 0 };
            prop_assert_eq!(count, share * sum(&weights));
        }
    }

    #[test]
    fn least_outstanding_chooses_a_minimum(group in groups(), turn: u32) {
        let weights: Vec<_> = group.iter().map(|target| target.0).collect();
        let balancer = balancer(Algorithm::LeastOutstandingRequests, &weights);
        let choice = balancer.choose(turn, 0, |index| group[index].1, |index| group[index].2);
        for other in group.iter().filter(|target| target.0 > 0 && target.1) {
            let (weight, _, outstanding) = group[choice.unwrap()];
            let crosswise = u64::from(outstanding) * u64::from(other.0);
            prop_assert!(crosswise <= u64::from(other.2) * u64::from(weight));
        }
    }
}

#[test]
fn turn_of_an_ineligible_target_rotates_over_the_others() {
    let balancer = balancer(Algorithm::RoundRobin, &[1, 1, 1]);
    let eligible = |index: usize| index != 1;
    let chosen: Vec<_> =
        (0..12).filter_map(|turn| balancer.choose(turn, 0, eligible, |_| 0)).collect();
    assert_eq!(chosen, [0, 2, 2, 0, 0, 2, 0, 2, 2, 0, 0, 2]);
}

#[test]
fn least_outstanding_ties_rotate_over_the_tied_by_weight() {
    let cases: [(&[u16], &[u32], &[usize]); 4] = [
        (&[1, 1, 1], &[0, 0, 0], &[0, 1, 2, 0, 1, 2]),
        (&[1, 1, 1], &[4, 9, 4], &[0, 2, 0, 2, 0, 2]),
        (&[9, 9], &[3, 3], &[0, 1, 0, 1, 0, 1]),
        (&[2, 1], &[4, 2], &[0, 0, 1, 0, 0, 1]),
    ];
    for (weights, outstanding, expected) in cases {
        let balancer = balancer(Algorithm::LeastOutstandingRequests, weights);
        let choose = |turn| balancer.choose(turn, 0, |_| true, |index| outstanding[index]);
        assert_eq!((0..6).filter_map(choose).collect::<Vec<_>>(), expected, "{weights:?}");
    }
}

#[test]
fn random_choices_follow_the_weights_of_the_eligible() {
    let weights = [5, 0, 1, 10, 3, 1];
    let eligible = |index: usize| index != 3;
    let balancer = balancer(Algorithm::WeightedRandom, &weights);
    let turns = 100_000;
    let counts = counts(&balancer, weights.len(), 0..turns, eligible);
    let chi_square: f64 = [0, 2, 4, 5]
        .map(|index: usize| {
            let expected = f64::from(turns) * f64::from(weights[index]) / 10.0;
            (counts[index] as f64 - expected).powi(2) / expected
        })
        .iter()
        .sum();
    // Three degrees of freedom: above 16.3 once in a thousand seeds; the seed is fixed.
    assert!(chi_square < 16.3, "{chi_square} {counts:?}");
    assert_eq!((counts[1], counts[3]), (0, 0));
}

#[test]
fn targets_that_cease_to_be_eligible_while_it_chooses_do_no_harm() {
    for (algorithm, answers) in ALGORITHMS.into_iter().flat_map(|a| (0..9).map(move |n| (a, n))) {
        let asked = std::cell::Cell::new(0);
        let eligible = |_| asked.replace(asked.get() + 1) < answers;
        let choice = balancer(algorithm, &[1, 1, 1]).choose(5, u64::MAX, eligible, |_| 0);
        assert!(choice.is_none_or(|index| index < 3 && answers > 0), "{algorithm} {answers}");
    }
}
