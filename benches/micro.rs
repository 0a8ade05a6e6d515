//! What the pure rooms take for one request. `cargo bench --bench micro`, or with a name behind
//! `--` for some of them.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use divan::{Bencher, counter::BytesCount};
use ringway::access_log::{
    self, ActionKind, Asked, Bytes, Entry, Matched, Names, Protocol, Spans, Try,
};
use ringway::balance::Balancer;
use ringway::http1::chunked::{Decoder, Keep};
use ringway::http1::{Parsed, encode, parse_request};
use ringway::message::{FieldKind, Request, RequestHead, Version};
use ringway::model::{
    Action, Algorithm, Condition, DesyncMitigation, Forward, GroupIndex, LogFormat, Mode, Priority,
    Rule, TextMatch, Weight, Wildcard,
};
use ringway::routing::Router;

/// As a browser sends it.
const HEAD: &[u8] = b"GET /shop/basket?item=17&count=2 HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=3f2a9c7e51d84b06\r\n\r\n";

fn main() {
    divan::main();
}

fn parsed() -> RequestHead {
    let mut head = RequestHead::default();
    let parsed = parse_request(HEAD, DesyncMitigation::Defensive, &mut head);
    assert_eq!(parsed, Ok(Parsed::Complete));
    head
}

#[divan::bench]
fn parse_request_head(bencher: Bencher<'_, '_>) {
    let mut head = RequestHead::default();
    bencher.counter(BytesCount::new(HEAD.len())).bench_local(|| {
        let parsed = parse_request(black_box(HEAD), DesyncMitigation::Defensive, &mut head);
        assert_eq!(parsed, Ok(Parsed::Complete));
    });
}

/// The last of the rules matches.
#[divan::bench(args = [1, 10, 100])]
fn route(bencher: Bencher<'_, '_>, rules: u16) {
    let forward = |group| {
        Action::Forward(Forward {
            groups: vec![(GroupIndex(group), Weight::ONE)],
            stickiness: None,
        })
    };
    let rule = |number: u16| {
        let path = if number == rules { "/shop/*".to_owned() } else { format!("/app-{number}/*") };
        Rule {
            priority: Priority::new(number).expect("in range"),
            conditions: vec![Condition::PathPattern(vec![TextMatch::Wildcard(Wildcard::parse(
                &path, false,
            ))])],
            action: forward(1),
        }
    };
    let rules: Vec<Rule> = (1..=rules).map(rule).collect();
    let router = Router::new(&rules, &forward(0));
    let head = parsed();
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let request = Request { head: &head, bytes: HEAD, peer };
    assert!(router.route(&request).priority.is_some());
    bencher.bench_local(|| router.route(black_box(&request)).priority);
}

/// Of ten targets, all healthy and all idle.
#[divan::bench(args = [
    Algorithm::RoundRobin,
    Algorithm::LeastOutstandingRequests,
    Algorithm::WeightedRandom,
])]
fn choose(bencher: Bencher<'_, '_>, algorithm: Algorithm) {
    let balancer = Balancer::new(algorithm, &[Weight::ONE; 10]);
    let (mut turn, mut random) = (0_u32, 0_u64);
    bencher.bench_local(|| {
        turn = turn.wrapping_add(1);
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        balancer.choose(turn, random, |_| true, |_| 0)
    });
}

/// The fields of a request as they are copied into the head that the target gets.
#[divan::bench]
fn encode_fields(bencher: Bencher<'_, '_>) {
    let head = parsed();
    let mut out = Vec::with_capacity(4096);
    bencher.counter(BytesCount::new(HEAD.len())).bench_local(|| {
        out.clear();
        encode::fields(black_box(HEAD), &head.fields, &mut out, |field| {
            !matches!(field.kind, FieldKind::Connection | FieldKind::Host)
        });
        out.len()
    });
}

/// A body of 64 KiB in chunks of this many bytes.
#[divan::bench(args = [64, 1024, 16384])]
fn decode_chunked(bencher: Bencher<'_, '_>, chunk: usize) {
    let mut body = Vec::new();
    for _ in 0..64 * 1024 / chunk {
        body.extend_from_slice(format!("{chunk:x}\r\n").as_bytes());
        body.resize(body.len() + chunk, b'x');
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    // Canonical, so decoding leaves it as it is.
    bencher.counter(BytesCount::new(body.len())).bench_local(|| {
        let progress = Decoder::new(Keep::Framing).decode(black_box(&mut body));
        assert!(progress.is_ok_and(|progress| progress.done));
    });
}

/// The line of a request that a target answered.
#[divan::bench(args = [LogFormat::Alb, LogFormat::Classic, LogFormat::Combined, LogFormat::Json])]
fn log_line(bencher: Bencher<'_, '_>, format: LogFormat) {
    let names = Names::new("web", Mode::L7, (Ipv4Addr::UNSPECIFIED, 80).into());
    let micros = |count| Some(Duration::from_micros(count));
    let entry = Entry {
        listener: &names,
        protocol: Protocol::Http,
        client: ([198, 51, 100, 9], 40122).into(),
        local: Ipv4Addr::LOCALHOST.into(),
        connection: 0x0123_4567_89ab_cdef,
        created: Duration::from_micros(1_770_091_506_098_000),
        ended: Duration::from_micros(1_770_091_506_123_456),
        spans: Spans {
            request: micros(120),
            connect: None,
            target: micros(24_010),
            response: micros(4),
            whole: Duration::from_micros(24_456),
        },
        request: Some(Asked {
            method: b"GET",
            target: b"/shop/basket?item=17&count=2",
            path_and_query: b"/shop/basket?item=17&count=2",
            authority: b"www.example.com",
            version: Version::Http11,
            user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            referer: b"",
        }),
        matched: Matched::Default,
        action: Some(ActionKind::Forward),
        group: Some(b"home"),
        target: Some(Try { target: ([10, 0, 0, 5], 8080).into(), status: 200 }),
        given_up: &[],
        status: 200,
        received: Bytes { all: 412, head: 412 },
        sent: Bytes { all: 5120, head: 160 },
        trace: b"Root=1-69817432-0123456789abcdef01234567",
        location: b"",
        error: None,
        classification: None,
        tls: None,
        server_name: b"",
        refused_certificate: None,
    };
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        access_log::encode(format, black_box(&entry), &mut out);
        out.len()
    });
}
