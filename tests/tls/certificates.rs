//! Which certificate is shown, and what becomes of files that change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{authority, connect, https};
use crate::harness::*;

/// Waits until a new connection is shown the certificate in `file`.
fn wait_shown(authority: &Authority, balancer: &Balancer, file: &str) {
    let wanted = der_of(&authority.path(file));
    balancer.wait(&format!("{file} to be shown"), || {
        connect(authority, balancer).certificate() == wanted
    });
}

/// Seconds since 1970, a minute after so many days from now.
fn in_days(days: u64) -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    since.as_secs() + days * 24 * 3600 + 60
}

#[test]
fn end_of_a_certificate_is_told_in_metrics_and_status_and_follows_the_file() {
    let (authority, target) = (Authority::new(), Target::named("hello"));
    let socket = authority.path("control.sock");
    let control = format!("control = {{ socket = \"{}\" }}", socket.display());
    let (soon, later) = (in_days(9), in_days(90));
    authority.issue_until("a", &["a.example"], soon);
    let balancer = https(&authority, &[&target]).server(&control).start();
    let api = Api::at(&socket);
    let file = authority.path("a.pem").display().to_string();
    let line = |end: u64| {
        let family = "ringway_certificate_not_after_timestamp_seconds";
        format!("{family}{{listener=\"web\",certificate=\"{file}\"}} {end}.0")
    };
    let page = api.ask("GET", "/metrics", "");
    assert!(page.lines().any(|it| it == line(soon)), "{page}");
    let table = || Ringway::output(&["status", "--socket", socket.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&table().stdout).into_owned();
    assert!(said.contains("a.example") && said.contains("expires in 9d"), "{said}");
    authority.issue_until("a", &["a.example"], later);
    balancer.wait("the new end to be told", || {
        let page = api.ask("GET", "/metrics", "");
        let status = api.ask("GET", "/v1/status", "");
        page.contains(&line(later)) && status.contains(&format!("\"not_after\":{later}"))
    });
}

#[test]
fn certificate_is_chosen_by_the_name_that_is_asked_for() {
    let (authority, target) = (authority(), Target::named("hello"));
    authority.issue("b", &["b.example"]);
    authority.issue("wild", &["*.wild.example"]);
    authority.issue_rsa("rsa", &["b.example"]);
    let names = ["a", "rsa", "b", "wild"];
    let balancer = http(&[&target]).web(&authority.listener(&names, "")).start();
    let config = authority.client();
    for (name, file) in [
        ("a.example", "a.pem"),
        ("b.example", "b.pem"),
        ("x.wild.example", "wild.pem"),
        ("127.0.0.1", "a.pem"),
    ] {
        let client = TlsClient::connect(&config, balancer.address("web"), name);
        assert_eq!(client.certificate(), der_of(&authority.path(file)), "{name}");
    }
    // No certificate for the name: the default one, which the client then refuses.
    let refused = TlsClient::try_connect(&config, balancer.address("web"), "other.example");
    assert!(refused.is_err());
}

#[test]
fn files_that_change_are_in_force_within_two_seconds() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let mut old = connect(&authority, &balancer);
    let before = old.certificate();
    authority.issue("a", &["a.example"]);
    wait_shown(&authority, &balancer, "a.pem");
    assert_eq!(old.get("/").text(), "hello", "connections that are there go on");
    assert_ne!(before, connect(&authority, &balancer).certificate());
    balancer.wait_log(&["certificates have changed and are in force"]);
}

#[test]
fn bad_file_keeps_the_certificate_before_and_says_so() {
    let (authority, target) = (authority(), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let before = der_of(&authority.path("a.pem"));
    authority.put("a.pem", b"no certificate at all");
    balancer.wait_log(&["cannot be used", "a.pem", "going on with those before"]);
    let mut client = connect(&authority, &balancer);
    assert_eq!((client.certificate(), client.get("/").text()), (before, "hello".into()));
    authority.issue("a", &["a.example"]);
    wait_shown(&authority, &balancer, "a.pem");
}

#[test]
fn certificates_are_replaced_under_load_and_nothing_fails() {
    let (authority, target) = (Arc::new(authority()), Target::named("hello"));
    let balancer = https(&authority, &[&target]).start();
    let address = balancer.address("web");
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (stop, done, authority) = (stop.clone(), done.clone(), authority.clone());
            thread::spawn(move || {
                while !stop.load(Relaxed) {
                    let config = authority.client();
                    let mut client = TlsClient::connect(&config, address, "a.example");
                    for _ in 0..3 {
                        assert_eq!(client.get("/").text(), "hello");
                    }
                    done.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        authority.issue("a", &["a.example"]);
        wait_shown(&authority, &balancer, "a.pem");
    }
    stop.store(true, Relaxed);
    for thread in threads {
        thread.join().expect("no request fails");
    }
    assert!(done.load(Relaxed) > 10);
}

#[test]
fn upgrade_under_handshakes_fails_none() {
    let (authority, target) = (Arc::new(authority()), Target::named("hello"));
    let (web, socket) = (free_address(), authority.path("control.sock"));
    let control = format!("control = {{ socket = \"{}\" }}", socket.display());
    let text = https(&authority, &[&target]).server(&control).text();
    let balancer = Balancer::start(&text.replace("127.0.0.1:0", &web.to_string()));
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (stop, authority) = (stop.clone(), authority.clone());
            thread::spawn(move || {
                let (config, mut done) = (authority.client(), 0);
                while !stop.load(Relaxed) {
                    let mut client = TlsClient::connect(&config, web, "a.example");
                    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
                    assert_eq!(client.response("GET").text(), "hello");
                    done += 1;
                }
                done
            })
        })
        .collect();
    let answer = Control::at(&socket).try_ask("POST", "/v1/upgrade", None).expect("answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let digits: String = answer.body.to_string().chars().filter(char::is_ascii_digit).collect();
    let before = balancer.id();
    balancer.wait("the old process to end", || {
        let status = std::fs::read_to_string(format!("/proc/{before}/stat"));
        status.map_or(true, |status| status.contains(") Z "))
    });
    stop.store(true, Relaxed);
    let done: Vec<usize> =
        threads.into_iter().map(|thread| thread.join().expect("no request fails")).collect();
    shell(&format!("kill -KILL {digits}"));
    assert!(done.iter().all(|&done| done > 0), "{done:?}");
}

#[test]
fn check_tells_what_is_wrong_with_files() {
    let (authority, target) = (authority(), Target::named("hello"));
    authority.issue("other", &["other.example"]);
    authority.issue_until("old", &["old.example"], 1_577_836_800);
    authority.issue_until("soon", &["soon.example"], in_days(9));
    let check = |config: &Config| {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), config.text()).expect("write");
        let path = file.path().to_str().expect("UTF-8");
        let output = Ringway::output(&["check", "--config", path]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    assert!(check(&https(&authority, &[&target])).0);
    let (good, said) = check(&http(&[&target]).web(&authority.listener(&["old"], "")));
    assert!(good && said.contains("has expired"), "{said}");
    let (good, said) = check(&http(&[&target]).web(&authority.listener(&["soon"], "")));
    assert!(good && said.contains("expires in 9 days"), "{said}");
    let lines = authority.listener(&["a"], "");
    let bad = [
        (lines.replace("a.pem", "nowhere.pem"), "cannot be read", "nowhere.pem"),
        (lines.replace("a.key", "other.key"), "is that of another certificate", "other.key"),
        (lines.replace("a.pem", "a.key"), "there is no certificate in it", "a.key"),
        (lines.replace("a.key", "a.pem"), "there is no private key in it", "a.pem"),
        (
            authority.listener(&["a"], "policy = \"ELBSecurityPolicy-2016-08\""),
            "TLS 1.0 or 1.1",
            "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
        ),
    ];
    for (line, problem, place) in bad {
        let (good, said) = check(&http(&[&target]).web(&line));
        assert!(!good && said.contains(problem) && said.contains(place), "{line}: {said}");
        assert!(said.contains("help:"), "{said}");
    }
}
