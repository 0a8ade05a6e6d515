//! Clients that send what costs more than it brings: they are told to calm down, and nobody else
//! notices.

use crate::h2c;
use crate::harness::*;
use crate::peer::*;

/// ENHANCE_YOUR_CALM (RFC 9113 §7).
const CALM: u32 = 11;

/// Sends `frames` until the balancer has enough, and expects that it says so; another client is
/// served before, meanwhile and afterwards.
fn flood(begins: &[u8], frames: impl Fn(u32) -> Vec<u8>) {
    let target = Target::named("hello");
    let balancer = h2c(&[&target]).one_worker().start();
    let mut other = balancer.client();
    assert_eq!(other.get("/").text(), "hello");
    let before = balancer.memory();
    let mut raw = Raw::connect(balancer.address("web"));
    raw.send(begins);
    for turn in 0..200_000 {
        if !raw.send(&frames(turn)) {
            break;
        }
        if turn % 100 == 0 {
            assert_eq!(other.get("/").text(), "hello");
        }
    }
    let reason = raw.goaway();
    // A close that meets bytes nobody reads may destroy the word.
    assert!(matches!(reason, None | Some(CALM)), "{reason:?}");
    assert!(!raw.send(b"more") || raw.frame().is_none(), "still open");
    assert_eq!(other.get("/").text(), "hello");
    let held = balancer.memory().saturating_sub(before);
    assert!(held < 8 << 20, "{held} bytes");
}

#[test]
fn pings() {
    flood(&[], |_| frame(PING, 0, 0, &[0; 8]));
}

#[test]
fn settings() {
    flood(&[], |_| frame(SETTINGS, 0, 0, &[]));
}

#[test]
fn priorities() {
    flood(&[], |turn| frame(PRIORITY, 0, 2 * turn + 1, &[0, 0, 0, 0, 16]));
}

#[test]
fn windows() {
    let head = frame(HEADERS, END_HEADERS, 1, POST);
    flood(&head, |_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
}

#[test]
fn resets() {
    flood(&[], |turn| {
        let stream = 2 * turn + 1;
        let mut pair = frame(HEADERS, END_HEADERS | END_STREAM, stream, GET);
        pair.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        pair
    });
}

#[test]
fn resets_that_the_balancer_is_made_to_send() {
    // A window that overflows is an error of the stream (CVE-2025-8671).
    flood(&[], |turn| {
        let stream = 2 * turn + 1;
        let mut pair = frame(HEADERS, END_HEADERS, stream, POST);
        pair.extend(frame(WINDOW_UPDATE, 0, stream, &[0x7f, 255, 255, 255]));
        pair
    });
}

#[test]
fn empty_data() {
    let head = frame(HEADERS, END_HEADERS, 1, POST);
    flood(&head, |_| frame(DATA, 0, 1, &[]));
}

#[test]
fn fragments_of_a_head() {
    let head = frame(HEADERS, 0, 1, GET);
    flood(&head, |_| frame(CONTINUATION, 0, 1, &[]));
    flood(&head, |_| frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y"));
}

#[test]
fn unknown_frames() {
    flood(&[], |_| frame(0xbe, 0, 0, &[0; 20]));
}

#[test]
fn head_without_end() {
    let target = Target::named("hello");
    let balancer = h2c(&[&target]).one_worker().start();
    let mut raw = Raw::connect(balancer.address("web"));
    raw.send(&frame(HEADERS, 0, 1, GET));
    // Literals that are not indexed, 16 KiB each.
    let mut literal = b"\x00\x01x\x7f\xfb\x7b".to_vec();
    literal.resize(16_000, b'a');
    let before = balancer.memory();
    for _ in 0..1000 {
        if !raw.send(&frame(CONTINUATION, 0, 1, &literal)) {
            break;
        }
    }
    let reason = raw.goaway();
    assert!(matches!(reason, None | Some(CALM)), "{reason:?}");
    let held = balancer.memory().saturating_sub(before);
    assert!(held < 4 << 20, "{held} bytes of a head");
    assert_eq!(balancer.client().get("/").text(), "hello");
}

#[test]
fn client_that_behaves_is_not_told_to_calm_down() {
    use http::Method;
    run(async {
        let gate = Gate::new();
        let waits = gate.clone();
        let target = Target::start(move |peer| {
            while let Some(request) = peer.request() {
                if request.target == "/slow" {
                    waits.wait();
                }
                peer.send(&crate::ok(&"x".repeat(100_000)));
            }
        });
        let balancer = h2c(&[&target]).one_worker().start();
        let peer = Http2::connect(balancer.address("web")).await;
        // A page of a hundred images that is left, and one that is loaded.
        for _ in 0..100 {
            let (_, mut stream) =
                peer.begin(request(Method::GET, "/slow"), true).await.expect("begun");
            stream.send_reset(h2::Reason::CANCEL);
        }
        for _ in 0..200 {
            assert_eq!(peer.get("/").await.expect("answer").body.len(), 100_000);
        }
        gate.open();
    });
}
