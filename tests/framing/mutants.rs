//! Valid requests with random damage. Whatever comes of them, both sides agree on it.

use crate::harness::*;
use crate::oracle::{Oracle, is_severe};

const SEEDS: u64 = 300;

const BASES: &[&[u8]] = &[
    b"GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nX-Y: z\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 11\r\nX-Y: z\r\n\r\nhello world",
    b"POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
      5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
];

const NASTY: &[u8] = b"\r\n\t \0:;,\"0159aFx+-_\x0b\x7f\x80\xff";

#[test]
fn damaged_requests_mean_the_same_to_the_target_as_to_a_strict_parser() {
    let oracle = Oracle::start();
    let mut problems = Vec::new();
    for seed in 0..SEEDS {
        let mutant = mutant(seed);
        if let Err(problem) = check(&oracle, &mutant) {
            problems.push(format!("seed {seed}: {problem}\n{}", show(&mutant)));
        }
    }
    assert!(problems.is_empty(), "{} mutants\n{}", problems.len(), problems.join("\n"));
}

fn check(oracle: &Oracle, mutant: &[u8]) -> Result<(), String> {
    let outcome = oracle.send(mutant, &[], true)?;
    let head_end = mutant.windows(4).position(|window| window == b"\r\n\r\n");
    let head = head_end.map_or(mutant, |at| &mutant[..at + 4]);
    if is_severe(head) && outcome.answered > 0 {
        return Err(format!("the desync guardian calls it severe; {outcome:?}"));
    }
    let sent = ConnectionRecord { received: mutant.to_vec(), ..Default::default() };
    let (strict, _) = sent.parse();
    // Beyond what the strict parser takes, the balancer may accept a harmless deviation.
    for (sent, received) in strict.iter().zip(&outcome.requests) {
        if (&sent.body, &sent.method) != (&received.body, &received.method) {
            return Err(format!("sent {sent:?}, target received {received:?}"));
        }
    }
    Ok(())
}

/// A base request with one to three random changes.
fn mutant(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = BASES[random.usize(..BASES.len())].to_vec();
    for _ in 0..random.usize(1..=3) {
        let at = random.usize(..bytes.len());
        let nasty = NASTY[random.usize(..NASTY.len())];
        match random.u8(..5) {
            0 => bytes[at] = nasty,
            1 => bytes.insert(at, nasty),
            2 => drop(bytes.remove(at)),
            3 => repeat_line(&mut bytes, at),
            _ => bytes.swap(at, random.usize(..at + 1)),
        }
    }
    bytes
}

fn repeat_line(bytes: &mut Vec<u8>, at: usize) {
    let start = bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let end =
        bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |n| at + n + 1);
    let line = bytes[start..end].to_vec();
    bytes.splice(start..start, line);
}
