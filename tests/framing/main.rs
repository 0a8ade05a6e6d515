//! Where a request ends is never a matter of opinion: what a target receives is nothing or
//! exactly the intended request, however the bytes are cut.

mod bodies;
mod corpus;
mod fields;
#[path = "../harness/mod.rs"]
mod harness;
mod heads;
mod mutants;
mod oracle;

use corpus::{Case, Never, One, Refused, RefusedOrOne};
use harness::*;
use oracle::{Oracle, is_severe};

#[test]
fn corpus_is_large_and_its_names_are_unique() {
    let cases = corpus::all();
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 170, "{}", cases.len());
}

#[test]
fn corpus_agrees_with_the_desync_guardian_and_with_the_strict_parser() {
    for case in corpus::all() {
        let accepted = matches!(case.intent, One(_));
        assert!(!(accepted && is_severe(case.head())), "{} is severe", case.name);
        if let (One(body), Parsed::Complete(request, _)) = (case.intent, parse_request(&case.bytes))
        {
            assert_eq!(show(&request.body), show(body), "{}", case.name);
        }
    }
}

#[test]
fn targets_receive_nothing_or_exactly_the_intended_request() {
    check_corpus("whole", |_| Vec::new());
}

#[test]
fn cutting_a_request_after_every_byte_changes_nothing() {
    const EACH_BYTE_MAX: usize = 1_000;
    check_corpus("byte by byte", |case| {
        let step = if case.bytes.len() > EACH_BYTE_MAX { 997 } else { 1 };
        (1..case.bytes.len()).step_by(step).collect()
    });
}

#[test]
fn cutting_a_request_at_random_places_changes_nothing() {
    for seed in [1, 2] {
        let random = std::cell::RefCell::new(fastrand::Rng::with_seed(seed));
        check_corpus(&format!("cut with seed {seed}"), |case| {
            let mut random = random.borrow_mut();
            let mut cuts: Vec<usize> = (0..3).map(|_| random.usize(1..case.bytes.len())).collect();
            cuts.sort_unstable();
            cuts.dedup();
            cuts
        });
    }
}

/// Sends the whole corpus, cut as told, and lists every case that went wrong.
fn check_corpus(how: &str, cuts: impl Fn(&Case) -> Vec<usize>) {
    let oracle = Oracle::start();
    let problems: Vec<String> = corpus::all()
        .iter()
        .filter_map(|case| {
            let cuts = cuts(case);
            let problem = check(&oracle, case, &cuts).err()?;
            let cuts = &cuts[..cuts.len().min(8)];
            Some(format!("{} (cut at {cuts:?}): {problem}", case.name))
        })
        .collect();
    let count = problems.len();
    assert!(problems.is_empty(), "{how}: {count} cases\n{}", problems.join("\n"));
}

fn check(oracle: &Oracle, case: &Case, cuts: &[usize]) -> Result<(), String> {
    let outcome = oracle.send(&case.bytes, cuts, case.intent == Never)?;
    let bodies: Vec<String> = outcome.requests.iter().map(|request| show(&request.body)).collect();
    let expect_refusal = |statuses: &[u16]| match outcome.refusal {
        Some(status) if statuses.contains(&status) && bodies.is_empty() => Ok(()),
        _ => Err(format!("expected one of {statuses:?}; {outcome:?}")),
    };
    let expect_one = |body: &[u8]| match bodies.as_slice() {
        [only] if *only == show(body) && outcome.answered == 1 => Ok(()),
        _ => Err(format!("expected one request with {:?}; {outcome:?}", show(body))),
    };
    if is_severe(case.head()) && outcome.answered > 0 {
        return Err(format!("the desync guardian calls it severe; {outcome:?}"));
    }
    match case.intent {
        Refused(statuses) => expect_refusal(statuses),
        One(body) => expect_one(body),
        RefusedOrOne(_) if outcome.answered == 0 => expect_refusal(&[400, 501]),
        RefusedOrOne(body) => expect_one(body),
        Never if outcome.answered == 0 && bodies.is_empty() => Ok(()),
        Never => Err(format!("expected no request; {outcome:?}")),
    }
}
