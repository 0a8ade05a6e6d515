//! Against targets that speak HTTP/2, on 127.0.0.1.

use std::net::SocketAddr;
use std::time::Duration;

use h2::server::{self, SendResponse};
use hyper::Response;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::control::probe::attempt::probe;
use crate::model::Matcher;

type Answering = SendResponse<&'static [u8]>;

/// A target that answers each request as it is told, and what it was asked: method, URI, fields
/// and length of the body.
async fn target(
    answer: fn(&mut Answering),
) -> (SocketAddr, mpsc::UnboundedReceiver<(String, HeaderMap, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer, asked.clone()));
        }
    });
    (address, seen)
}

async fn serve(
    stream: TcpStream,
    answer: fn(&mut Answering),
    asked: mpsc::UnboundedSender<(String, HeaderMap, usize)>,
) {
    let handshake = server::Builder::new().handshake::<_, &'static [u8]>(stream);
    let Ok(mut connection) = handshake.await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let asked = asked.clone();
        tokio::spawn(async move {
            let (head, mut body) = request.into_parts();
            let mut bytes = 0;
            while let Some(Ok(data)) = body.data().await {
                bytes += data.len();
            }
            let line = format!("{} {}", head.method, head.uri);
            asked.send((line, head.headers, bytes)).unwrap();
            answer(&mut respond);
        });
    }
}

fn check(version: ProtocolVersion) -> HealthCheck {
    HealthCheck { timeout: Duration::from_secs(20), ..HealthCheck::of(version) }
}

fn codes(low: u16, high: u16) -> HealthCheck {
    HealthCheck { matcher: Matcher(vec![(low, high)]), ..check(ProtocolVersion::Grpc) }
}

fn fields(status: u16, code: Option<&str>) -> Response<()> {
    let mut response = Response::builder().status(status);
    if let Some(code) = code {
        response = response.header("grpc-status", code);
    }
    response.body(()).unwrap()
}

/// A message and then `code`, as a server sends it that knows the method.
fn message(respond: &mut Answering, code: &'static str) {
    let mut body = respond.send_response(fields(200, None), false).unwrap();
    body.send_data(&[0, 0, 0, 0, 2, 8, 1], false).unwrap();
    body.send_trailers(
        [("grpc-status".parse().unwrap(), code.parse().unwrap())].into_iter().collect(),
    )
    .unwrap();
}

#[tokio::test]
async fn http2_probe_is_a_get_that_is_judged_by_its_status() {
    let (address, mut seen) =
        target(|respond| drop(respond.send_response(fields(204, None), true))).await;
    let good = HealthCheck { path: "/health?a=<b>".into(), ..check(ProtocolVersion::Http2) };
    assert_eq!(probe(address, &good).await.unwrap(), Probe::Success);
    let (line, fields_seen, bytes) = seen.recv().await.unwrap();
    assert_eq!(line, format!("GET http://{address}/health?a=%3Cb%3E"));
    assert_eq!((fields_seen.len(), bytes), (2, 0), "{fields_seen:?}");
    assert_eq!(fields_seen[USER_AGENT], "ELB-HealthChecker/2.0");
    assert_eq!(fields_seen[ACCEPT_ENCODING], "gzip, compressed");

    let (address, _seen) =
        target(|respond| drop(respond.send_response(fields(503, None), true))).await;
    assert_eq!(probe(address, &good).await.unwrap(), Probe::CodeMismatch(503));
}

#[tokio::test]
async fn grpc_probe_is_a_call_with_an_empty_message() {
    let (address, mut seen) = target(|respond| message(respond, "0")).await;
    let path = "/grpc.health.v1.Health/Check";
    let good = HealthCheck { path: path.into(), ..codes(0, 0) };
    assert_eq!(probe(address, &good).await.unwrap(), Probe::Success);
    let (line, fields, bytes) = seen.recv().await.unwrap();
    assert_eq!(line, format!("POST http://{address}{path}"));
    assert_eq!(bytes, 5);
    assert_eq!(fields[CONTENT_TYPE], "application/grpc");
    assert_eq!(fields[TE], "trailers");
}

#[tokio::test]
async fn grpc_probe_is_judged_by_its_code() {
    type Row = (fn(&mut Answering), HealthCheck, Probe);
    let unknown: fn(&mut Answering) = |respond| {
        drop(respond.send_response(fields(200, Some("12")), true));
    };
    let rows: [Row; 7] = [
        (unknown, check(ProtocolVersion::Grpc), Probe::Success),
        (unknown, codes(0, 0), Probe::CodeMismatch(12)),
        (unknown, codes(0, 99), Probe::Success),
        (|respond| message(respond, "14"), codes(0, 0), Probe::CodeMismatch(14)),
        (|respond| message(respond, "no number"), codes(0, 99), Probe::Failed),
        (
            |respond| drop(respond.send_response(fields(200, None), true)),
            codes(0, 99),
            Probe::Failed,
        ),
        (|respond| respond.send_reset(h2::Reason::INTERNAL_ERROR), codes(0, 99), Probe::Failed),
    ];
    for (row, (answer, check, expected)) in rows.into_iter().enumerate() {
        let (address, _seen) = target(answer).await;
        assert_eq!(probe(address, &check).await.unwrap(), expected, "row {row}");
    }
}

#[tokio::test]
async fn target_that_speaks_another_protocol_fails_and_a_silent_one_takes_too_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let check = check(ProtocolVersion::Grpc);
    let (outcome, _) = tokio::join!(probe(address, &check), async {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        stream
    });
    assert_eq!(outcome.unwrap(), Probe::Failed);
    let impatient = HealthCheck { timeout: Duration::from_millis(100), ..check };
    assert_eq!(probe(address, &impatient).await.unwrap(), Probe::Timeout);
}
