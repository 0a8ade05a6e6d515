//! What the authority says of a certificate, shown beside it (OCSP stapling).

use std::process::Command;

use super::authority;
use super::clients::s_client;
use crate::harness::*;

/// Writes `NAME.ocsp`: what the authority says of `NAME.pem`, in the word of openssl's index: `V`
/// (good) or `R` (revoked).
fn respond(authority: &Authority, name: &str, word: char) {
    let path = |file: &str| authority.path(file).display().to_string();
    let certificate = path(&format!("{name}.pem"));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let serial = openssl(&["x509", "-noout", "-serial", "-in", &certificate]);
    let serial = serial.strip_prefix("serial=").expect("a serial number");
    let revoked = if word == 'R' { "200101000000Z" } else { "" };
    let line = format!("{word}\t490101000000Z\t{revoked}\t{serial}\tunknown\t/CN={name}\n");
    authority.put("index", line.as_bytes());
    authority.put("ca.key", authority.issuer().key().serialize_pem().as_bytes());
    let (index, ca, key, asks) = (path("index"), path("ca.pem"), path("ca.key"), path("asks"));
    openssl(&["ocsp", "-issuer", &ca, "-cert", &certificate, "-no_nonce", "-reqout", &asks]);
    openssl(&[
        "ocsp",
        "-index",
        &index,
        "-CA",
        &ca,
        "-rsigner",
        &ca,
        "-rkey",
        &key,
        "-reqin",
        &asks,
        "-ndays",
        "7",
        "-respout",
        &path("response"),
    ]);
    let response = std::fs::read(path("response")).expect("response");
    authority.put(&format!("{name}.ocsp"), &response);
}

/// The line of a listener that shows `a.pem` with `a.ocsp`.
fn listener(authority: &Authority) -> String {
    let key = format!("a.key\", ocsp = \"{}\"", authority.path("a.ocsp").display());
    authority.listener(&["a"], "").replace("a.key\"", &key)
}

/// What openssl says of the response that it is shown.
fn said(balancer: &Balancer, authority: &Authority, version: &str) -> String {
    let address = format!("127.0.0.1:{}", balancer.port());
    s_client(&address, &["-status", version, "-CAfile", &authority.ca()])
}

#[test]
fn response_is_shown_and_followed_and_a_bad_one_is_not() {
    let (authority, target) = (authority(), Target::named("hello"));
    respond(&authority, "a", 'V');
    let balancer = http(&[&target]).web(&listener(&authority)).start();
    let good = ["OCSP Response Status: successful", "Cert Status: good", "hello"];
    let shows = |version: &str| {
        let said = said(&balancer, &authority, version);
        good.iter().all(|word| said.contains(word))
    };
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(shows(version), "{}", said(&balancer, &authority, version));
    }
    let shows_none = || {
        let said = said(&balancer, &authority, "-tls1_3");
        said.contains("OCSP response: no response sent") && said.contains("hello")
    };
    for (word, what) in [('R', "does not say that the certificate is good"), ('x', "no OCSP")] {
        match word {
            'R' => respond(&authority, "a", word),
            _ => authority.put("a.ocsp", b"nothing of the kind"),
        }
        balancer.wait("no response", shows_none);
        balancer.wait_log(&["its OCSP response is not shown", "a.ocsp", what]);
        respond(&authority, "a", 'V');
        balancer.wait("the response", || shows("-tls1_3"));
    }
    // The response is about the certificate before.
    authority.issue("a", &["a.example"]);
    balancer.wait_log(&["its OCSP response is not shown", "is about other certificates"]);
    balancer.wait("no response", shows_none);
}

#[test]
fn check_warns_of_a_response_that_is_not_shown() {
    let (authority, target) = (authority(), Target::named("hello"));
    let check = || {
        let file = tempfile::NamedTempFile::new().expect("file");
        let config = http(&[&target]).web(&listener(&authority));
        std::fs::write(file.path(), config.text()).expect("write");
        let output = Ringway::output(&["check", "--config", file.path().to_str().expect("UTF-8")]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let (good, text) = check();
    assert!(!good && text.contains("a.ocsp") && text.contains("cannot be read"), "{text}");
    authority.put("a.ocsp", b"nothing of the kind");
    let (good, text) = check();
    assert!(good && text.contains("it is no OCSP response, so it is not shown"), "{text}");
    respond(&authority, "a", 'V');
    let (good, text) = check();
    assert!(good && !text.contains("warning"), "{text}");
}
