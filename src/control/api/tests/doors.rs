//! Who may enter: sockets, tokens, rebinding.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::super::access::Token;
use super::super::{Servers, looking_router, serve};
use super::*;
use crate::model::ControlApi;

fn tcp(access: Access) -> Router {
    let (_, closing) = watch::channel(false);
    router(api(Fake::start().handle, closing), access)
}

#[tokio::test]
async fn a_token_is_wanted_where_one_is_configured() {
    let router = tcp(Access::Token(Token::new("s3cret")));
    let with = |value| [("host", "127.0.0.1:9900"), ("authorization", value)];
    let good = ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret"];
    for value in good {
        assert_eq!(say_with(&router, "GET /v1/status", &with(value)).await.status, 200, "{value}");
    }
    for value in ["Bearer s3cre", "Bearer s3cret1", "Bearer", "Basic s3cret", "s3cret", "é"] {
        let answer = say_with(&router, "GET /v1/status", &with(value)).await;
        answer.problem(401);
        assert_eq!(answer.field("www-authenticate"), "Bearer");
    }
    say(&router, "GET /v1/nothing").await.problem(401);
}

#[tokio::test]
async fn whether_it_is_alive_and_ready_is_told_to_anybody_and_metrics_are_not() {
    for router in [tcp(Access::Token(Token::new("s3cret"))), tcp(Access::Loopback)] {
        assert_eq!(say(&router, "GET /healthz").await.text, "ok\n");
        // The fake says that it drains.
        let problem = say(&router, "GET /readyz").await.problem(503);
        assert_eq!(problem.detail, "not ready: draining");
        let refused = say(&router, "GET /metrics").await.status.as_u16();
        assert!(matches!(refused, 401 | 403), "{refused}");
    }
}

#[tokio::test]
async fn door_for_metrics_has_nothing_else() {
    let (_, closing) = watch::channel(false);
    let router = looking_router(api(Fake::start().handle, closing));
    assert_eq!(say(&router, "GET /healthz").await.status, 200);
    let answer = say(&router, "GET /metrics").await;
    assert_eq!((answer.status.as_u16(), answer.text.ends_with("# EOF\n")), (200, true));
    assert!(answer.field("content-type").starts_with("application/openmetrics-text"));
    for line in ["GET /v1/status", "POST /v1/drain", "GET /", "PATCH /v1/config {}"] {
        say(&router, line).await.problem(404);
    }
    say(&router, "POST /metrics").await.problem(405);
}

#[tokio::test]
async fn web_pages_from_elsewhere_are_kept_out_of_loopback() {
    let router = tcp(Access::Loopback);
    let hosts = [
        ("127.0.0.1:9900", 200),
        ("localhost", 200),
        ("LOCALHOST:9900", 200),
        ("localhost.:9900", 200),
        ("[::1]:9900", 200),
        ("127.8.9.1", 200),
        ("rebound.example.com:9900", 403),
        ("localhost.example.com", 403),
        ("127.0.0.1.example.com", 403),
        ("192.0.2.1:9900", 403),
        ("", 403),
    ];
    for (host, status) in hosts {
        let answer = say_with(&router, "GET /v1/status", &[("host", host)]).await;
        assert_eq!(answer.status.as_u16(), status, "{host}");
    }
    say(&router, "GET /v1/status").await.problem(403);
    let origins = [
        ("http://localhost:3000", 202),
        ("https://127.0.0.1", 202),
        ("http://[::1]:1", 202),
        ("https://example.com", 403),
        ("http://localhost.example.com", 403),
        ("null", 403),
    ];
    for (origin, status) in origins {
        let fields = [("host", "localhost:9900"), ("origin", origin)];
        let answer = say_with(&router, "POST /v1/drain", &fields).await;
        assert_eq!(answer.status.as_u16(), status, "{origin}");
    }
}

fn at(path: &Path) -> ControlApi {
    ControlApi { socket: Some(path.into()), ..ControlApi::default() }
}

async fn open(api: &ControlApi) -> std::io::Result<Servers> {
    serve(api, Fake::start().handle, Vec::new()).await
}

async fn status_over(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> String {
    let request = b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn the_unix_socket_is_made_with_its_directory_and_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run").join("control.sock");
    let servers = open(&at(&path)).await.unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    let text = status_over(UnixStream::connect(&path).await.unwrap()).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\"pid\":4242"), "{text}");
    servers.close().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_but_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    let servers = open(&at(&path)).await.unwrap();
    let error = open(&at(&path)).await.unwrap_err().to_string();
    assert!(error.contains("another process answers there; stop it"), "{error}");
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    drop(servers);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    let error = open(&at(&path)).await.unwrap_err().to_string();
    assert!(error.contains("a file that is no socket; remove it"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let long = dir.path().join("x".repeat(120));
    let error = open(&at(&long)).await.unwrap_err().to_string();
    assert!(error.contains("at most 107 bytes"), "{error}");
}

#[tokio::test]
async fn sockets_are_handed_over_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut api = at(&dir.path().join("control.sock"));
    let path = api.socket.clone().unwrap();
    let first = serve(&with_tcp(&api, 0), Fake::start().handle, Vec::new()).await.unwrap();
    let address = first.address().unwrap();
    api.address = Some(address);
    let sockets = first.sockets().unwrap();
    let second = serve(&api, Fake::start().handle, sockets).await.unwrap();
    first.leave().await;
    for _ in 0..8 {
        let text = status_over(UnixStream::connect(&path).await.unwrap()).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        let text = status_over(TcpStream::connect(address).await.unwrap()).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    }
    second.close().await;
    assert!(TcpStream::connect(address).await.is_err());
}

fn with_tcp(api: &ControlApi, port: u16) -> ControlApi {
    ControlApi { address: Some(([127, 0, 0, 1], port).into()), ..api.clone() }
}

#[tokio::test]
async fn where_one_door_cannot_be_had_none_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = with_tcp(&at(&path), taken.local_addr().unwrap().port());
    let error = open(&api).await.unwrap_err().to_string();
    assert!(error.contains("another process listens there"), "{error}");
    assert!(!path.exists());
    drop(taken);
    open(&api).await.unwrap().close().await;
}

#[tokio::test]
async fn closing_ends_idle_connections_and_event_streams() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let servers = open(&at(&path)).await.unwrap();
    let mut idle = UnixStream::connect(&path).await.unwrap();
    let mut events = UnixStream::connect(&path).await.unwrap();
    events.write_all(b"GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    events.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    servers.close().await;
    let (mut rest, mut nothing) = (Vec::new(), Vec::new());
    events.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "it was cut");
    idle.read_to_end(&mut nothing).await.unwrap();
    assert_eq!(nothing, b"");
}

#[tokio::test]
async fn other_hosts_need_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let address = Some(([0, 0, 0, 0], 0).into());
    let mut api = ControlApi { socket: None, address, ..ControlApi::default() };
    let error = open(&api).await.unwrap_err().to_string();
    assert!(error.contains("no token_file; name one"), "{error}");
    api.token_file = Some(file.clone());
    let error = open(&api).await.unwrap_err().to_string();
    assert!(error.contains("cannot read the token file") && error.contains("openssl"), "{error}");
    fs::write(&file, "\nsecond line\n").unwrap();
    let error = open(&api).await.unwrap_err().to_string();
    assert!(error.contains("is no token"), "{error}");
    fs::write(&file, "s3cret\n").unwrap();
    let servers = open(&api).await.unwrap();
    let port = servers.address().unwrap().port();
    let text = status_over(TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await;
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
}
