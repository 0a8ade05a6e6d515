//! The command line: `check`, `version`, `run` with a bad file, and the demo.

mod harness;

use std::io::Write;
use std::net::SocketAddr;
use std::process::Output;

use harness::*;
use tempfile::NamedTempFile;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("temporary file");
    file.write_all(text.as_bytes()).expect("write");
    file
}

fn with_config(command: &str, text: &str) -> Output {
    let file = file(text);
    Ringway::output(&[command, "--config", file.path().to_str().expect("UTF-8 path")])
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

const MISTAKES: &str = r#"
[server]
workers = 0

[[target_groups]]
name = "home"
algoritm = "round_robin"
targets = ["127.0.0.1:99999"]
connect_timeout = "ten seconds"

[[listeners]]
name = "web"
address = "127.0.0.1:0"
mode = "l7"
default = { forward = "nowhere" }

[[listeners.rules]]
priority = 0
path_pattern = ["/a"]
forward = "home"
"#;

#[test]
fn check_reports_every_mistake_at_once() {
    let output = with_config("check", MISTAKES);
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    for about in ["workers", "algoritm", "99999", "ten seconds", "nowhere", "priority"] {
        assert!(said(&output).contains(about), "nothing about {about}:\n{}", said(&output));
    }
}

#[test]
fn run_refuses_what_check_refuses() {
    let output = with_config("run", MISTAKES);
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing may listen");
    assert!(said(&output).contains("nowhere"), "{}", said(&output));
}

#[test]
fn check_accepts_what_run_accepts_and_opens_nothing() {
    let target = Target::named("a");
    let output = with_config("check", &http(&[&target]).text());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!said(&output).contains("listening"), "{}", said(&output));
}

#[test]
fn text_that_is_no_toml_is_a_mistake_with_a_line() {
    let output = with_config("check", "[[listeners]]\nname = \n");
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    assert!(said(&output).contains(":2"), "{}", said(&output));
}

#[test]
fn missing_file_is_told_from_a_bad_one() {
    let output = Ringway::output(&["check", "--config", "/nonexistent/ringway.toml"]);
    assert_eq!(output.status.code(), Some(66), "{}", said(&output));
    assert!(said(&output).contains("/nonexistent/ringway.toml"), "{}", said(&output));
}

#[test]
fn address_in_use_is_a_failure_that_names_it() {
    let target = Target::named("a");
    let address = target.address().to_string();
    let text = http(&[&target])
        .text()
        .replace("address = \"127.0.0.1:0\"", &format!("address = \"{address}\""));
    let output = with_config("run", &text);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains(&address), "{}", said(&output));
}

#[test]
fn version_tells_version_and_driver() {
    let output = Ringway::output(&["version"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    for about in [env!("CARGO_PKG_VERSION"), "io_uring"] {
        assert!(said(&output).contains(about), "nothing about {about}:\n{}", said(&output));
    }
    let short = Ringway::output(&["--version"]);
    let expected = format!("ringway {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&short.stdout), expected);
}

#[test]
fn wrong_command_line_is_status_2() {
    for arguments in [["frobnicate"], ["--frobnicate"]] {
        let output = Ringway::output(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
    }
}

/// Reads the demo's instructions as far as the addresses of its L7 and L4 listeners.
fn demo_addresses(demo: &mut Ringway) -> (SocketAddr, SocketAddr) {
    let mut find = |layer: &str| loop {
        let line = demo.line().expect("instructions of the demo");
        let address = line.trim().strip_prefix("http://").and_then(|rest| rest.split('/').next());
        if let (true, Some(address)) = (line.contains(layer), address) {
            return address.parse().expect("address");
        }
    };
    (find("L7:"), find("L4:"))
}

#[test]
fn demo_answers_from_alternating_targets_and_ends_at_ctrl_c() {
    let mut demo = Ringway::spawn(&["demo"]);
    let (l7, l4) = demo_addresses(&mut demo);
    let mut client = Client::connect(l7);
    for (path, site) in [("/", "home"), ("/blog", "blog")] {
        let answers: Vec<String> = (0..4).map(|_| client.get(path).text()).collect();
        let names = answers.iter().map(|text| {
            let number =
                text.split(&format!("{site}-")).nth(1).and_then(|rest| rest.chars().next());
            number.unwrap_or_else(|| panic!("{path}: {text}"))
        });
        let names: Vec<char> = names.collect();
        assert_eq!((names[0], names[1]), (names[2], names[3]), "{path}: {names:?}");
        assert_ne!(names[0], names[1], "{path}: {names:?}");
    }
    assert!(Client::connect(l4).get("/").text().contains("home-"));
    demo.signal("INT");
    assert_eq!(demo.wait(DEADLINE).code(), Some(0), "{}", demo.stderr());
}

#[test]
fn demo_shows_how_to_reach_its_https_listener() {
    let mut demo = Ringway::spawn(&["demo", "--tls"]);
    let command = loop {
        let line = demo.line().expect("instructions of the demo");
        if line.trim().starts_with("curl --cacert") {
            break line.trim().to_owned();
        }
    };
    let shell = format!("{command}blog --silent --max-time 15 --noproxy '*' | grep blog-");
    harness::shell(&shell);
    let dir = command.split_whitespace().nth(2).expect("path").replace("/ca.pem", "");
    assert!(std::path::Path::new(&dir).is_dir());
    demo.signal("INT");
    assert_eq!(demo.wait(DEADLINE).code(), Some(0), "{}", demo.stderr());
    assert!(!std::path::Path::new(&dir).exists(), "nothing is left behind");
}

#[test]
fn two_demos_run_side_by_side() {
    let (mut first, mut second) = (Ringway::spawn(&["demo"]), Ringway::spawn(&["demo"]));
    let first_addresses = demo_addresses(&mut first);
    let second_addresses = demo_addresses(&mut second);
    for (l7, _) in [first_addresses, second_addresses] {
        assert_eq!(Client::connect(l7).get("/blog").status, 200);
    }
}
