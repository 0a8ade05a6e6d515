//! HTTP/2 over TLS: what is agreed on, and curl.

use std::process::{Command, Output};
use std::sync::Arc;

use crate::harness::*;
use crate::{h2c, ok, pattern};

fn curl(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "15", "--noproxy", "*"])
        .args(arguments)
        .output()
        .expect("curl")
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.issue("a", &["a.example", "localhost", "127.0.0.1"]);
    authority
}

/// What is agreed on with a client that offers `protocols`; an error where nothing is.
fn agreed(
    authority: &Authority,
    balancer: &Balancer,
    protocols: &[&str],
) -> Result<String, String> {
    let mut config = (*authority.client()).clone();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let config = Arc::new(config);
    match TlsClient::try_connect(&config, balancer.address("web"), "a.example") {
        Ok(client) => {
            let protocol = client.session().alpn_protocol().unwrap_or_default();
            Ok(String::from_utf8_lossy(protocol).into_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn http2_is_preferred_where_it_is_on() {
    let (authority, target) = (authority(), Target::named("hello"));
    let config = http(&[&target]).web(&authority.listener(&["a"], ""));
    let balancer = config.start();
    let agrees = |protocols: &[&str]| agreed(&authority, &balancer, protocols);
    assert_eq!(agrees(&["http/1.1", "h2"]).as_deref(), Ok("h2"));
    assert_eq!(agrees(&["http/1.1"]).as_deref(), Ok("http/1.1"));
    assert_eq!(agrees(&[]).as_deref(), Ok(""));
    assert!(agrees(&["spdy/3"]).is_err());
    let off = http(&[&target]).web("http2 = false").web(&authority.listener(&["a"], ""));
    balancer.reload(&off.text());
    balancer.wait("the new setting", || agrees(&["h2", "http/1.1"]).as_deref() == Ok("http/1.1"));
    assert!(agrees(&["h2"]).is_err());
}

#[test]
fn curl_speaks_http2() {
    let (authority, target) = (authority(), Target::echo());
    let balancer = http(&[&target]).web(&authority.listener(&["a"], "")).start();
    let url = format!("https://localhost:{}/path?a=b", balancer.port());
    let (ca, show) = (authority.ca(), "%{http_version} %{http_code} %{size_download}");
    let body = authority.path("body").display().to_string();
    std::fs::write(&body, pattern(3_000_000)).expect("write");
    let post = format!("@{body}");
    for more in [&["-H", "Expect: 100-continue"][..], &["-H", "Content-Length:"], &[]] {
        let mut arguments = vec!["--cacert", &ca, "--http2", "-o", "/dev/null", "-w", show];
        arguments.extend(["--data-binary", &post]);
        arguments.extend(more);
        arguments.push(&url);
        let output = curl(&arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, "2 200 3000000", "{more:?} {output:?}");
    }
    let requests = target.requests();
    let request = requests.first().expect("a request");
    assert_eq!(request.field("X-Forwarded-Proto"), Some("https"));
    assert_eq!(request.target, "/path?a=b");
    let head = curl(&["--cacert", &ca, "--http2", "--head", &url]);
    assert!(head.stdout.starts_with(b"HTTP/2 200"), "{head:?}");
}

#[test]
fn curl_sees_an_answer_that_comes_before_its_request_has_ended() {
    let target = Target::start(|peer| {
        if peer.take_until(b"\r\n\r\n").is_some() {
            peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge");
            peer.half_close();
            peer.take_rest();
        }
    });
    let balancer = h2c(&[&target]).start();
    let url = format!("http://127.0.0.1:{}/", balancer.port());
    let dir = tempfile::tempdir().expect("directory");
    let body = dir.path().join("body");
    std::fs::write(&body, pattern(3_000_000)).expect("write");
    let post = format!("@{}", body.display());
    let output = curl(&["--http2-prior-knowledge", "--data-binary", &post, &url]);
    assert_eq!(output.stdout, b"large", "{output:?}");
}

#[test]
fn connection_over_tls_ends_in_an_orderly_way() {
    let (authority, target) = (authority(), Target::answering(ok("done")));
    let config = http(&[&target]).web("idle_timeout = \"300ms\"");
    let balancer = config.web(&authority.listener(&["a"], "")).start();
    let mut config = (*authority.client()).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = TlsClient::connect(&Arc::new(config), balancer.address("web"), "a.example");
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    // GOAWAY, then close_notify, then the end.
    let (bytes, end) = client.rest();
    assert_eq!(end, End::Closed, "{bytes:?}");
}
