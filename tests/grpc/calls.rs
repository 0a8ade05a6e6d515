//! gRPC calls of a real HTTP/2 client.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;

use super::*;
use crate::client::{begun, framed, told};
use crate::target::{read_all, send_all, status};

/// An HTTPS listener in front of gRPC targets.
fn grpc(authority: &Authority, target: &H2Target) -> Config {
    to("GRPC", &[target.address()]).web(&authority.listener(&["a"], ""))
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("a", &["a.example", "127.0.0.1"]);
    authority
}

/// Answers each message with itself, at once, and ends with code 0.
async fn echo(mut call: Call) {
    let mut answer = call.begin();
    while let Some(Ok(data)) = call.body.data().await {
        let _ = call.body.flow_control().release_capacity(data.len());
        if send_all(&mut answer, data).await.is_err() {
            return;
        }
    }
    let _ = answer.send_trailers(status("0"));
}

#[test]
fn unary_call_brings_metadata_and_trailers_both_ways() {
    let authority = authority();
    let target = H2Target::start(|mut call| async move {
        let (body, trailers) = call.read().await;
        assert_eq!(trailers.expect("trailers")["x-after"], "all");
        let fields = &call.head.headers;
        assert_eq!(call.head.uri.path(), "/a.B/C");
        assert_eq!(fields["x-metadata"], "mine");
        assert_eq!(fields["grpc-timeout"], "20S");
        assert_eq!(fields["te"], "trailers");
        assert_eq!(fields["content-type"], "application/grpc");
        assert!(fields.contains_key("x-forwarded-for"));
        let mut answer = call.begin();
        answer.send_data(body.into(), false).unwrap();
        answer.send_trailers(status("0")).unwrap();
    });
    let balancer = grpc(&authority, &target).start();
    run(async {
        let caller = Caller::connect(&authority, &balancer).await;
        let (response, mut body) = caller.begin("/a.B/C");
        body.send_data(framed(b"hello"), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-after", "all".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        let told = told(response).await.expect("answer");
        assert_eq!((told.status, &*told.body), (200, &*framed(b"hello")));
        assert_eq!(told.head["x-initial"], "first");
        assert_eq!(told.trailers["grpc-status"], "0");
        assert_eq!(told.trailers["x-final"], "last");
    });
}

#[test]
fn answer_that_is_trailers_alone_stays_so() {
    let authority = authority();
    let target = H2Target::start(|mut call| async move {
        let head = http::Response::builder().header("content-type", "application/grpc");
        let head = head.header("grpc-status", "12").body(()).unwrap();
        call.respond.send_response(head, true).unwrap();
    });
    let balancer = grpc(&authority, &target).start();
    run(async {
        let caller = Caller::connect(&authority, &balancer).await;
        let (response, mut body) = caller.begin("/a.B/C");
        body.send_data(framed(b""), true).unwrap();
        let (code, head, body) = begun(response).await;
        assert_eq!((code, &head["grpc-status"]), (200, &"12".parse().unwrap()));
        assert!(body.is_end_stream(), "the head ends the stream");
    });
}

#[test]
fn messages_of_both_sides_take_turns() {
    let authority = authority();
    let target = H2Target::start(echo);
    let balancer = grpc(&authority, &target).start();
    run(async {
        let caller = Caller::connect(&authority, &balancer).await;
        let (response, mut sending) = caller.begin("/a.B/Chat");
        let (code, _, mut receiving) = begun(response).await;
        assert_eq!(code, 200, "it begins before the first message");
        for number in 0..20_u8 {
            let message = framed(&[number; 100]);
            sending.send_data(message.clone(), false).unwrap();
            let mut came = Vec::new();
            while came.len() < message.len() {
                let data = receiving.data().await.expect("more").expect("data");
                receiving.flow_control().release_capacity(data.len()).unwrap();
                came.extend_from_slice(&data);
            }
            assert_eq!(came, message, "{number}");
        }
        sending.send_data(Bytes::new(), true).unwrap();
        let (rest, trailers) = read_all(&mut receiving).await.expect("end");
        assert!(rest.is_empty());
        assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
    });
}

#[test]
fn large_messages_and_many_calls_at_once_pass() {
    let authority = authority();
    let target = H2Target::start(echo);
    let balancer = grpc(&authority, &target).start();
    run(async {
        let caller = Caller::connect(&authority, &balancer).await;
        let message = framed(&pattern(4 * 1024 * 1024));
        for _ in 0..2 {
            let (response, mut sending) = caller.begin("/a.B/Large");
            let sent = message.clone();
            let sender = tokio::task::spawn_local(async move {
                send_all(&mut sending, sent).await.expect("all of it");
                sending.send_data(Bytes::new(), true).expect("end");
            });
            let answer = told(response).await.expect("answer");
            sender.await.unwrap();
            assert!(answer.body == message, "came back changed");
            assert_eq!(answer.last("grpc-status"), Some("0"));
        }
        let calls: Vec<_> = (0..100_u8)
            .map(|number| {
                let caller = caller.clone();
                tokio::task::spawn_local(async move {
                    let answer = caller.call("/a.B/C", &[number; 50]).await;
                    assert_eq!(answer.body, framed(&[number; 50]));
                })
            })
            .collect();
        for call in calls {
            call.await.expect("call");
        }
    });
}

#[test]
fn cancelled_call_is_cancelled_at_the_target() {
    let authority = authority();
    let target = H2Target::start(|mut call| async move {
        let mut answer = call.begin();
        answer.send_data(framed(b"one"), false).unwrap();
        call.tell();
        let reset = std::future::poll_fn(|cx| answer.poll_reset(cx)).await;
        assert_eq!(reset.expect("a reset"), Reason::CANCEL);
        call.tell();
    });
    let balancer = grpc(&authority, &target).start();
    run(async {
        let caller = Caller::connect(&authority, &balancer).await;
        // Once while the client still sends, once when it only listens, and nothing comes.
        for (ends, told) in [(false, 2), (true, 4)] {
            let (response, mut sending) = caller.begin("/a.B/Watch");
            sending.send_data(framed(b"go"), ends).unwrap();
            let (_, _, mut receiving) = begun(response).await;
            receiving.data().await.expect("a message").expect("data");
            sending.send_reset(Reason::CANCEL);
            drop(receiving);
            while target.told() < told {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        assert_eq!(target.connections(), 1, "the connection goes on");
    });
}

#[test]
fn errors_of_the_balancer_are_told_in_grpc() {
    let authority = authority();
    let nobody = Refusing::start();
    let config = to("GRPC", &[nobody.address()]).web(&authority.listener(&["a"], ""));
    let balancer = config.start();
    run(async {
        let caller = Caller::connect(&authority, &balancer).await;
        let answer = caller.call("/a.B/C", b"hello").await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.last("grpc-status"), Some("14"));
        assert_eq!(answer.last("grpc-message"), Some("unavailable"));
        assert_eq!(answer.head["content-type"], "application/grpc");
        assert!(answer.body.is_empty());
        let answer = caller.get("/").await;
        assert_eq!(answer.status, 464, "a GET is no gRPC");
        assert!(answer.last("grpc-status").is_none());
    });
    let target = Target::echo();
    let config = http(&[&target]).web(&authority.listener(&["a"], ""));
    let balancer = config.start();
    run(async {
        let caller = Caller::connect(&authority, &balancer).await;
        let answer = caller.call("/a.B/C", b"hello").await;
        assert_eq!((answer.status, answer.last("grpc-status")), (464, Some("14")));
        assert_eq!(caller.get("/").await.status, 200, "HTTP/2 to HTTP/1.1");
    });
}

#[test]
fn refused_call_is_sent_again_with_its_messages() {
    let authority = authority();
    let target = H2Target::start(|mut call| async move {
        if call.number == 1 {
            // Not before its message is on its way.
            call.body.data().await;
            return call.respond.send_reset(Reason::REFUSED_STREAM);
        }
        echo(call).await;
    });
    let balancer = grpc(&authority, &target).start();
    run(async {
        let caller = Caller::connect(&authority, &balancer).await;
        let (response, mut sending) = caller.begin("/a.B/C");
        tokio::time::sleep(Duration::from_millis(50)).await;
        sending.send_data(framed(b"first"), false).unwrap();
        let (code, _, mut receiving) = begun(response).await;
        assert_eq!(code, 200);
        sending.send_data(framed(b"second"), true).unwrap();
        let (body, _) = read_all(&mut receiving).await.expect("whole answer");
        assert_eq!(body, [framed(b"first"), framed(b"second")].concat());
        assert_eq!(target.requests(), 2);
    });
}

#[test]
fn access_log_tells_calls_from_other_requests() {
    let authority = authority();
    let target = H2Target::start(echo);
    let log = tempfile::NamedTempFile::new().unwrap();
    let path = log.path().to_str().unwrap().to_owned();
    let balancer = grpc(&authority, &target).web(&format!("access_log = \"{path}\"")).start();
    run(async {
        let caller = Caller::connect(&authority, &balancer).await;
        assert_eq!(caller.call("/a.B/C", b"hello").await.status, 200);
        assert_eq!(caller.get("/a").await.status, 464);
    });
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    balancer.wait("two lines", || lines().lines().count() == 2);
    let text = lines();
    let types: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(types, ["grpcs", "h2"], "{text}");
    let port = balancer.port();
    assert!(text.contains(&format!("\"POST https://a.example:{port}/a.B/C HTTP/2.0\"")), "{text}");
}

#[test]
fn calls_and_probes_reach_targets_inside_tls() {
    let authority = authority();
    let tls = authority.server_of("a", rustls::DEFAULT_VERSIONS, &["h2"]);
    let target = H2Target::sealed(Some(tls), h2::server::Builder::new(), |mut call| async move {
        assert_eq!(call.head.uri.scheme_str(), Some("https"));
        match call.head.uri.path() {
            "/AWS.ALB/healthcheck" => {
                call.tell();
                let head = http::Response::builder().header("grpc-status", "12");
                call.respond.send_response(head.body(()).unwrap(), true).unwrap();
            }
            _ => echo(call).await,
        }
    });
    let balancer = grpc(&authority, &target)
        .home(&authority.group("HTTPS", ""))
        .home("health_check = { protocol = \"https\", interval = \"500ms\", timeout = \"450ms\" }")
        .start();
    balancer.wait_log(&["target health", "to=healthy"]);
    assert!(target.told() > 0);
    run(async {
        let caller = Caller::connect(&authority, &balancer).await;
        let answer = caller.call("/a.B/C", b"hello").await;
        assert_eq!(
            (answer.body, &answer.trailers["grpc-status"]),
            (framed(b"hello").to_vec(), &"0".parse().unwrap())
        );
    });
}
