//! Clients that others have written: curl, openssl s_client.

use std::process::{Command, Output, Stdio};

use super::{authority, connect, https};
use crate::harness::*;

pub(super) fn curl(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "15", "--noproxy", "*"])
        .args(arguments)
        .output()
        .expect("curl")
}

/// What `openssl s_client` says of a connection on which it sends one request.
pub(super) fn s_client(address: &str, more: &[&str]) -> String {
    use std::io::Write;
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", address, "-servername", "a.example", "-ign_eof"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl");
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    child.stdin.take().expect("piped").write_all(request).expect("request");
    let output = child.wait_with_output().expect("openssl");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn curl_trusts_the_certificate_and_the_target_is_told_of_https() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    for version in ["1.2", "1.3"] {
        let url = format!("https://localhost:{}/path", balancer.port());
        let output = curl(&["--cacert", &authority.ca(), "--tls-max", version, &url]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello", "{output:?}");
    }
    let request = &target.requests()[0];
    assert_eq!(request.field("X-Forwarded-Proto"), Some("https"));
    let port = balancer.port().to_string();
    assert_eq!(request.field("X-Forwarded-Port"), Some(port.as_str()));
    assert_eq!(request.field("X-Amzn-Tls-Version"), None, "only where it is asked for");
}

#[test]
fn openssl_resumes_sessions_of_either_version() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).workers(3).start();
    let address = format!("127.0.0.1:{}", balancer.port());
    for (version, protocol) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let session = authority.path(&format!("session{version}")).display().to_string();
        let ca = authority.ca();
        let first = s_client(&address, &[version, "-CAfile", &ca, "-sess_out", &session]);
        assert!(first.contains("hello") && first.contains("Verify return code: 0 (ok)"), "{first}");
        assert!(first.contains(&format!("New, {protocol}")), "{first}");
        for _ in 0..4 {
            // The workers share what opens tickets.
            let again = s_client(&address, &[version, "-CAfile", &ca, "-sess_in", &session]);
            assert!(again.contains(&format!("Reused, {protocol}")), "{again}");
            assert!(again.contains("hello"), "{again}");
        }
    }
}

#[test]
fn policy_decides_on_versions() {
    let (authority, target) = (authority(), Target::named("hello"));
    let only_13 = "policy = \"ELBSecurityPolicy-TLS13-1-3-2021-06\"";
    let balancer = http(&[&target]).web(&authority.listener(&["a"], only_13)).start();
    let url = format!("https://localhost:{}/", balancer.port());
    let refused = curl(&["--cacert", &authority.ca(), "--tls-max", "1.2", &url]);
    assert!(!refused.status.success(), "{refused:?}");
    let served = curl(&["--cacert", &authority.ca(), "--tls-max", "1.3", &url]);
    assert_eq!(String::from_utf8_lossy(&served.stdout), "hello", "{served:?}");
}

#[test]
fn old_versions_are_refused() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let address = format!("127.0.0.1:{}", balancer.port());
    let cipher = ["-cipher", "ALL:@SECLEVEL=0"];
    let said = s_client(&address, &[&["-tls1_1"], cipher.as_slice()].concat());
    assert!(!said.contains("hello"), "{said}");
}

#[test]
fn request_that_is_not_encrypted_is_told_so() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let response = balancer.client().get("/");
    assert_eq!(response.status, 400);
    assert!(response.text().contains("plain HTTP request was sent to HTTPS port"));
    assert_eq!(target.connection_count(), 0);
}

#[test]
fn redirects_know_that_the_request_was_https() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target])
        .rule(1, "path_pattern = \"/old\"\nredirect = { path = \"/new\", status = 301 }")
        .start();
    let response = connect(&authority, &balancer).get("/old");
    let location = format!("https://test.example:{}/new", balancer.port());
    assert_eq!(response.field("Location"), Some(location.as_str()));
}

#[test]
fn target_is_told_version_and_cipher_where_that_is_asked_for() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer =
        https(&authority, &[&target]).web("x_amzn_tls_version_and_cipher_suite = true").start();
    let mut client = connect(&authority, &balancer);
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\nx-amzn-tls-version: forged\r\n\r\n");
    assert_eq!(client.response("GET").text(), "hello");
    let request = target.request();
    assert_eq!(request.values("X-Amzn-Tls-Version"), ["TLSv1.3"]);
    assert_eq!(request.field("X-Amzn-Tls-Cipher-Suite"), Some("TLS_AES_128_GCM_SHA256"));
}
