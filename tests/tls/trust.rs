//! Whom targets are believed to be: names, authorities, dates, and files that change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use super::authority;
use crate::harness::*;

/// What a client gets from a target that shows the certificate `name` of `authority`.
fn status(authority: &Authority, name: &str, group: &str) -> (u16, String) {
    let target = Target::named("hello").tls(&authority.server(name));
    let balancer = http(&[&target]).home(group).start();
    let status = balancer.client().get("/").status;
    let requests = target.requests().len();
    assert_eq!(requests == 1, status == 200, "{name}: a request went to whoever it was");
    if status == 502 {
        balancer.wait_log(&["cannot connect to target"]);
    }
    (status, balancer.log())
}

#[test]
fn target_must_be_whom_it_is_taken_for_unless_it_is_not_verified() {
    let (authority, stranger) = (authority(), authority());
    authority.issue("named", &["home.internal"]);
    authority.issue_until("expired", &["127.0.0.1"], 2001);
    let full = |more: &str| authority.group("HTTPS", more);
    let named = full("server_name = \"home.internal\"");
    let other = full("server_name = \"other.internal\"");
    let anybody = "protocol = \"HTTPS\"\ntls = { verify = \"none\" }";
    let system = "protocol = \"HTTPS\"";
    let rows: [(&str, &Authority, &str, &str, u16); 10] = [
        ("its address is in the certificate", &authority, "a", &full(""), 200),
        ("its name is asked for", &authority, "named", &named, 200),
        ("another name is", &authority, "named", &other, 502),
        ("only a name is in the certificate", &authority, "named", &full(""), 502),
        ("it has expired", &authority, "expired", &full(""), 502),
        ("another authority vouches for it", &stranger, "a", &full(""), 502),
        ("the system does not know the authority", &authority, "a", system, 502),
        ("another authority, not verified", &stranger, "a", anybody, 200),
        ("expired, not verified", &authority, "expired", anybody, 200),
        ("another name, not verified", &authority, "named", anybody, 200),
    ];
    for (what, shown_by, name, group, expected) in rows {
        let (status, log) = status(shown_by, name, group);
        assert_eq!(status, expected, "{what}: {log}");
        assert_eq!(log.contains("invalid peer certificate"), expected == 502, "{what}: {log}");
    }
}

#[test]
fn target_is_asked_for_the_name_that_it_must_have() {
    let authority = authority();
    authority.issue("named", &["home.internal"]);
    for (verify, name) in [("full", "named"), ("none", "a")] {
        let target = Target::named("hello").tls(&authority.server(name));
        let tls = format!("verify = \"{verify}\", server_name = \"home.internal\"");
        let tls = match verify {
            "full" => authority.group("HTTPS", "server_name = \"home.internal\""),
            _ => format!("protocol = \"HTTPS\"\ntls = {{ {tls} }}"),
        };
        let balancer = http(&[&target]).home(&tls).start();
        assert_eq!(balancer.client().get("/").text(), "hello");
        assert_eq!(target.sessions()[0].server_name.as_deref(), Some("home.internal"));
    }
}

#[test]
fn error_is_in_the_access_log_and_counted() {
    let (authority, stranger) = (authority(), authority());
    let target = Target::named("hello").tls(&stranger.server("a"));
    let path = authority.path("access.log");
    let log = format!("access_log = {{ path = \"{}\", format = \"json\" }}", path.display());
    let config = http(&[&target]).home(&authority.group("HTTPS", "")).web(&log);
    let socket = authority.path("control.sock");
    let control = format!("control = {{ socket = \"{}\" }}", socket.display());
    let balancer = config.server(&control).start();
    assert_eq!(balancer.client().get("/").status, 502);
    balancer.wait("the line", || {
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        log.contains("tls_certificate_error")
    });
    let metrics = Api::at(&socket).ask("GET", "/metrics", "");
    for line in [
        "ringway_group_tls_errors_total{target_group=\"home\"} 1",
        "ringway_errors_total{kind=\"tls_certificate_error\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn authority_that_changes_is_in_force_soon_and_a_bad_file_keeps_the_one_before() {
    let (authority, next) = (authority(), authority());
    let target = Target::named("hello").tls(&authority.server("a"));
    let config = http(&[&target]).home(&authority.group("HTTPS", ""));
    let balancer = config.start();
    let status = || balancer.client().get("/").status;
    assert_eq!(status(), 200);
    authority.put("ca.pem", b"nobody at all");
    balancer.wait_log(&["cannot be used", "ca.pem", "going on with those before"]);
    assert_eq!(status(), 200);
    let pem = std::fs::read(next.ca()).expect("certificate");
    authority.put("ca.pem", &pem);
    balancer.wait("connections of before to be closed", || status() == 502);
    target.set_tls(&next.server("a"));
    balancer.wait("the next authority", || status() == 200);
    balancer.wait_log(&["who is in it vouches for targets", "count=1"]);
}

#[test]
fn authorities_are_replaced_under_load_and_nothing_fails() {
    let (authority, next) = (authority(), authority());
    let target = Target::named("hello").tls(&authority.server("a"));
    let config =
        http(&[&target]).home(&authority.group("HTTPS", "")).home("idle_connections_max = 1");
    let balancer = config.start();
    let address = balancer.address("web");
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (stop, done) = (stop.clone(), done.clone());
            thread::spawn(move || {
                while !stop.load(Relaxed) {
                    let mut client = Client::connect(address);
                    for _ in 0..3 {
                        assert_eq!(client.get("/").text(), "hello");
                    }
                    done.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let (old, new) = (std::fs::read(authority.ca()), std::fs::read(next.ca()));
    let (old, new) = (old.expect("certificate"), new.expect("certificate"));
    // As one would: first both, then the targets, then the new one alone.
    authority.put("ca.pem", &[old, new.clone()].concat());
    balancer.wait_log(&["who is in it vouches for targets", "count=2"]);
    // Once it is answered, all workers know of what came before it, too.
    balancer.reload(&config.text());
    target.set_tls(&next.server("a"));
    authority.put("ca.pem", &new);
    balancer.wait_log(&["who is in it vouches for targets", "count=1"]);
    let before = done.load(Relaxed);
    balancer.wait("more requests", || done.load(Relaxed) > before + 20);
    stop.store(true, Relaxed);
    for thread in threads {
        thread.join().expect("no request fails");
    }
}

#[test]
fn openssl_is_a_target_like_any_other() {
    let authority = authority();
    let address = free_address();
    let file = |end: &str| authority.path(&format!("a.{end}")).display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut server = std::process::Command::new("openssl")
            .args(["s_server", "-www", "-quiet", version, "-accept", &address.to_string()])
            .args(["-cert", &file("pem"), "-key", &file("key")])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("openssl");
        let group = authority.group("HTTPS", "");
        let balancer = Config::new("l7", vec![address]).home(&group).start();
        balancer.wait("openssl to listen", || balancer.client().get("/").status != 502);
        for _ in 0..5 {
            let page = balancer.client().get("/");
            assert!(page.status == 200 && page.text().contains("s_server"), "{}", page.text());
        }
        server.kill().expect("kill");
        server.wait().expect("end");
    }
}

#[test]
fn check_tells_what_is_wrong_with_who_vouches() {
    let (authority, target) = (authority(), Target::named("hello"));
    let check = |group: &str| {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), http(&[&target]).home(group).text()).expect("write");
        let path = file.path().to_str().expect("UTF-8");
        let output = Ringway::output(&["check", "--config", path]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let good = authority.group("HTTPS", "");
    assert!(check(&good).0);
    for (file, problem) in
        [("nowhere.pem", "cannot be read"), ("a.key", "there is no certificate in it")]
    {
        let (good, said) = check(&good.replace("ca.pem", file));
        assert!(!good && said.contains(problem) && said.contains(file), "{said}");
        assert!(said.contains("help:"), "{said}");
    }
}

#[test]
fn file_that_is_no_authority_refuses_the_start_and_the_reload() {
    let (authority, target) = (authority(), Target::named("hello"));
    let target = target.tls(&authority.server("a"));
    let good = http(&[&target]).home(&authority.group("HTTPS", ""));
    let balancer = good.start();
    let bad = good.text().replace("ca.pem", "a.key");
    balancer.reload_refused(&bad);
    assert_eq!(balancer.client().get("/").text(), "hello");
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), bad).expect("write");
    let path = file.path().to_str().expect("UTF-8");
    let output = Ringway::output(&["run", "--config", path]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}
