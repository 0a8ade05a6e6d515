//! L4 listeners that choose by the name in the ClientHello and decrypt nothing.

use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::clients::{curl, s_client};
use super::pattern;
use crate::harness::*;

/// A target that takes everything and sends it back at its end, behind its name.
fn named(name: &'static str) -> Target {
    Target::start(move |peer| {
        let taken = peer.take_rest();
        peer.send(&[name.as_bytes(), &taken].concat());
    })
}

/// A listener that sends `a.example` and `*.b.example` to `other`, and the rest to `home`.
fn by_name(home: &Target, other: &Target) -> Config {
    let names =
        "server_names = [{ names = [\"a.example\", \"*.b.example\"], forward = \"other\" }]";
    tcp(&[home]).group("other", &[other.address()]).web(names)
}

/// The first bytes of a client that asks for the server `name`.
fn hello(name: &str) -> Vec<u8> {
    let config = Authority::new().client();
    let name = ServerName::try_from(name.to_owned()).expect("name");
    let mut client = ClientConnection::new(config, name).expect("client");
    let mut sent = Vec::new();
    client.write_tls(&mut sent).expect("in memory");
    sent
}

/// What a client gets that sends `bytes` and its end: the name of the target, and the bytes.
fn answer(client: &mut Client, bytes: &[u8]) -> (String, Vec<u8>) {
    client.send(bytes);
    finish(client)
}

fn finish(client: &mut Client) -> (String, Vec<u8>) {
    client.half_close();
    let (mut all, end) = client.rest();
    assert_eq!(end, End::Closed);
    let rest = all.split_off(4);
    (String::from_utf8(all).expect("name"), rest)
}

#[test]
fn name_decides_and_every_byte_arrives() {
    let (home, other) = (named("home"), named("else"));
    let balancer = by_name(&home, &other).start();
    for (name, target) in [
        ("a.example", "else"),
        ("A.Example", "else"),
        ("x.b.example", "else"),
        ("y.x.b.example", "else"),
        ("b.example", "home"),
        ("nobody.example", "home"),
        ("192.0.2.1", "home"),
    ] {
        let bytes = [hello(name), pattern(100_000)].concat();
        let (by, got) = answer(&mut balancer.client(), &bytes);
        assert_eq!(by, target, "{name}");
        assert!(got == bytes, "{name}: changed on the way");
    }
}

#[test]
fn hello_may_come_in_pieces_and_in_many_records() {
    let (home, other) = (named("home"), named("else"));
    let balancer = by_name(&home, &other).start();
    let whole = hello("a.example");
    let message = &whole[5..];
    let cut: Vec<u8> = message
        .chunks(100)
        .flat_map(|part| [&[22, 3, 1, 0, part.len() as u8][..], part].concat())
        .collect();
    for bytes in [whole.clone(), cut] {
        let mut client = balancer.client();
        client.stream().set_nodelay(true).expect("no delay");
        for byte in &bytes {
            client.send([*byte]);
        }
        assert_eq!(finish(&mut client), ("else".into(), bytes.clone()));
        let mut client = balancer.client();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        client.send(first);
        thread::sleep(Duration::from_millis(1500));
        client.send(second);
        assert_eq!(finish(&mut client), ("else".into(), bytes));
    }
}

#[test]
fn what_asks_for_no_name_goes_by_default() {
    let (home, other) = (named("home"), named("else"));
    let balancer = by_name(&home, &other).start();
    let mut torn = hello("a.example");
    torn[5] = 2;
    let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xf0];
    endless.extend(pattern(40_000));
    let half = hello("a.example")[..100].to_vec();
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(),
        b"S".to_vec(),
        vec![22],
        torn,
        endless,
        half,
        Vec::new(),
    ] {
        assert_eq!(answer(&mut balancer.client(), &bytes), ("home".into(), bytes));
    }
    assert_eq!(other.connection_count(), 0);
}

#[test]
fn silent_client_may_wait_for_its_target_and_half_a_hello_may_not() {
    let home = Target::start(|peer| {
        peer.send(b"220 ready\r\n");
        peer.take_rest();
    });
    let other = named("else");
    let balancer = by_name(&home, &other).web("head_timeout = \"1s\"").start();
    let mut silent = balancer.client();
    assert_eq!(silent.take(11), b"220 ready\r\n");
    let mut slow = balancer.client();
    let began = Instant::now();
    slow.send(&hello("a.example")[..50]);
    let (bytes, end) = slow.rest();
    assert!(bytes.is_empty() && end == End::Reset, "{end:?}");
    assert!(began.elapsed() >= Duration::from_millis(900));
    assert_eq!((home.connection_count(), other.connection_count()), (1, 0));
}

#[test]
fn header_of_a_front_comes_before_the_hello_and_ours_in_front_of_it() {
    let (home, other) = (named("home"), named("else"));
    let config = by_name(&home, &other).web("accept_proxy_protocol = true");
    let header = b"PROXY TCP4 198.51.100.9 10.1.0.2 40122 443\r\n";
    let asks = hello("a.example");
    for line in ["", "proxy_protocol = \"v1\""] {
        let balancer = config.clone().web(line).start();
        let told = if line.is_empty() { &b""[..] } else { header };
        let expected = [told, &asks].concat();
        let bytes = [&header[..], &asks].concat();
        assert_eq!(answer(&mut balancer.client(), &bytes), ("else".into(), expected.clone()));
        let mut client = balancer.client();
        client.send(header);
        thread::sleep(Duration::from_millis(200));
        client.send(&asks);
        assert_eq!(finish(&mut client), ("else".into(), expected));
    }
}

#[test]
fn real_clients_reach_the_server_that_they_ask_for() {
    let (a, b) = (Authority::new(), Authority::new());
    a.issue("a", &["a.example"]);
    b.issue("b", &["x.b.example"]);
    let (one, two) = (Target::named("one"), Target::named("two"));
    let ends = [
        http(&[&one]).web(&a.listener(&["a"], "")).start(),
        http(&[&two]).web(&b.listener(&["b"], "")).start(),
    ];
    let names = "server_names = [{ names = \"a.example\", forward = \"a\" },
                                 { names = \"*.b.example\", forward = [\"b\"] }]";
    let nowhere = Target::named("nowhere");
    let balancer = tcp(&[&nowhere])
        .group("a", &[ends[0].address("web")])
        .group("b", &[ends[1].address("web")])
        .web(names)
        .start();
    for (authority, name, expected) in [(&a, "a.example", "one"), (&b, "x.b.example", "two")] {
        let (url, to) = (
            format!("https://{name}:{}/", balancer.port()),
            format!("{name}:{}:127.0.0.1", balancer.port()),
        );
        let output = curl(&["--cacert", &authority.ca(), "--resolve", &to, &url]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
    }
    let said = s_client(&format!("127.0.0.1:{}", balancer.port()), &["-CAfile", &a.ca()]);
    assert!(said.contains("Verify return code: 0 (ok)") && said.contains("one"), "{said}");
    assert_eq!(nowhere.connection_count(), 0);
}

#[test]
fn log_names_the_server_and_status_shows_where_it_goes() {
    let (home, other) = (named("home"), named("else"));
    let dir = tempfile::tempdir().expect("directory");
    let (file, socket) = (dir.path().join("log"), dir.path().join("control.sock"));
    let balancer = by_name(&home, &other)
        .server(&format!("control = {{ socket = \"{}\" }}", socket.display()))
        .web(&format!("access_log = {{ path = \"{}\", format = \"json\" }}", file.display()))
        .start();
    answer(&mut balancer.client(), &hello("x.b.example"));
    answer(&mut balancer.client(), b"no name");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    balancer.wait("two lines", || lines().lines().count() == 2);
    let mut lines: Vec<serde_json::Value> =
        lines().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    lines.sort_by_key(|line| line["target_group"] == "home");
    assert_eq!(lines[0]["tls_server_name"], "x.b.example");
    assert_eq!(lines[0]["target_group"], "other");
    assert_eq!(lines[1]["tls_server_name"], serde_json::Value::Null);
    assert_eq!(lines[1]["target_group"], "home");
    let status = Ringway::output(&["status", "--socket", socket.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("a.example | *.b.example -> forward other"), "{said}");
    let api = Api::at(&socket);
    let change = r#"{"server_names": [{"names": ["c.example"], "forward": "other"}]}"#;
    api.ask("PATCH", "/v1/listeners/web", change);
    assert_eq!(answer(&mut balancer.client(), &hello("a.example")).0, "home");
    assert_eq!(answer(&mut balancer.client(), &hello("c.example")).0, "else");
}

#[test]
fn check_tells_what_is_wrong_with_names() {
    let (authority, target) = (super::authority(), Target::named("hello"));
    let check = |config: &Config| {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), config.text()).expect("write");
        let path = file.path().to_str().expect("UTF-8");
        let output = Ringway::output(&["check", "--config", path]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let line =
        |names: &str| format!("server_names = [{{ names = [{names}], forward = \"home\" }}]");
    let (good, said) =
        check(&tcp(&[&target]).web(&line("\"a.example\"")).web("head_timeout = \"5s\""));
    assert!(good && !said.contains("warning"), "{said}");
    for (names, problem) in [
        ("\"a..example\"", "is not the name of a server"),
        ("\"a.*.example\"", "is not the name of a server"),
        ("\"*\"", "is not the name of a server"),
        ("\"a.example:443\"", "is not the name of a server"),
        ("\"a.example\", \"A.example\"", "is already in"),
        ("", "there is no name"),
    ] {
        let (good, said) = check(&tcp(&[&target]).web(&line(names)));
        assert!(!good && said.contains(problem) && said.contains("help:"), "{names}: {said}");
    }
    let group = line("\"a.example\"").replace("home", "hme");
    let (good, said) = check(&tcp(&[&target]).web(&group));
    assert!(!good && said.contains("home"), "{said}");
    let ends = tcp(&[&target]).web(&line("\"a.example\"")).web(&authority.listener(&["a"], ""));
    let (good, said) = check(&ends);
    assert!(!good && said.contains("beside `tls`"), "{said}");
    let (good, said) = check(&http(&[&target]).web(&line("\"a.example\"")));
    assert!(good && said.contains("has no effect"), "{said}");
}
