//! `ringway compare`: what must differ between L4 and L7 does, in the right direction; Ctrl-C; and
//! the report in a real browser, where the machine has one.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests take turns, or they would share cores; and a look with a deadline pauses"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod browser;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use browser::{Browser, Page};
use harness::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest that a comparison of a few seconds may take, on a machine that is busy with others.
const COMPARED_MAX: Duration = Duration::from_secs(120);

/// One comparison at a time: each measures on cores of its own choice.
static TURN: Mutex<()> = Mutex::new(());

/// What a comparison said, and its report.
struct Compared {
    said: Value,
    report: String,
}

/// One that all tests look at which need nothing special.
static COMPARED: LazyLock<Compared> =
    LazyLock::new(|| compared(&["--duration", "3s", "--connections", "16"]));

fn command(arguments: &[&str], report: &Path) -> Command {
    let mut command = Command::new(binary());
    command.args(["compare", "--json", "--report"]).arg(report).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn compared(arguments: &[&str]) -> Compared {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TempDir::new().expect("a directory");
    let report = dir.path().join("report.html");
    let began = Instant::now();
    let output = command(arguments, &report).output().expect("start ringway");
    assert!(began.elapsed() < COMPARED_MAX, "it took {:?}", began.elapsed());
    read(&output, &report)
}

fn read(output: &Output, report: &Path) -> Compared {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    let said = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    Compared { said, report: fs::read_to_string(report).expect("a report") }
}

/// What was seen on a way.
fn way<'a>(said: &'a Value, name: &str) -> &'a Value {
    let columns = said["columns"].as_array().expect("columns");
    columns.iter().find(|column| column["name"] == name).expect("a column")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

#[test]
fn every_row_is_measured() {
    let said = &COMPARED.said;
    assert_eq!(said["interrupted"], false);
    assert_eq!(said["notes"], json!([]), "{said:#}");
    assert_eq!(said["debug_build"], std::env::var_os("RINGWAY_RELEASE_BIN").is_none());
    assert_eq!(COMPARED.report.contains("without optimisation"), said["debug_build"] == true);
    for name in ["direct", "l4", "l7"] {
        let column = way(said, name).as_object().expect("an object");
        let missing: Vec<_> = column.iter().filter(|(_, v)| v.is_null()).map(|(k, _)| k).collect();
        // Nobody balances on the direct way.
        let expected: &[&str] =
            if name == "direct" { &["memory", "shares_least", "stickiness"] } else { &[] };
        assert_eq!(missing, expected, "{name}");
        assert!(number(&column["peak"]["rate"]) > 0.0);
        assert_eq!(column["peak"]["failures"], 0);
        assert_eq!(column["peak"]["cpu_us"].is_null(), name == "direct");
        let latency = &column["latency"];
        assert_eq!((&latency["failures"], &latency["open_loop"]), (&json!(0), &json!(true)));
        let ends = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
        assert!(ends.map(|end| number(&latency[end])).is_sorted(), "{latency}");
        assert_eq!(latency["cpu_us"].is_null(), name == "direct");
    }
}

#[test]
fn requests_or_connections_are_balanced() {
    let targets = |name| way(&COMPARED.said, name)["binding"]["targets"].clone();
    assert_eq!((targets("direct"), targets("l4"), targets("l7")), (json!(1), json!(1), json!(3)));
    let opened = |name, which| number(&way(&COMPARED.said, name)["connections"][which]);
    for name in ["direct", "l4"] {
        assert_eq!((opened(name, "kept"), opened(name, "anew")), (100.0, 1000.0), "{name}");
    }
    // How many it takes depends on how many requests meet, which a machine that stalls raises.
    let (kept, anew) = (opened("l7", "kept"), opened("l7", "anew"));
    assert!(kept <= 100.0 && kept + anew < 550.0, "{kept} and {anew} through L7");
}

#[test]
fn heads_pass_l4_unchanged_and_l7_tells_the_client() {
    for name in ["direct", "l4"] {
        let head = &way(&COMPARED.said, name)["head"];
        assert_eq!((&head["changed_bytes"], &head["added"]), (&json!(0), &json!([])), "{name}");
    }
    let head = &way(&COMPARED.said, "l7")["head"];
    let lines = |which: &str| head[which].as_array().expect("lines").clone();
    assert!(number(&head["changed_bytes"]) > 0.0);
    assert!(lines("removed").contains(&json!("X-Hop: 1")), "{head}");
    assert!(lines("added").contains(&json!("X-Forwarded-For: 127.0.0.2")), "{head}");

    let address = |name| way(&COMPARED.said, name)["client_address"].clone();
    let (direct, l4, l7) = (address("direct"), address("l4"), address("l7"));
    assert_eq!((&direct["client"], &direct["socket"]), (&json!("127.0.0.2"), &json!("127.0.0.2")));
    assert_eq!((&l4["socket"], &l4["forwarded_for"]), (&json!("127.0.0.1"), &Value::Null));
    let announced = l4["proxy_protocol"].as_str().expect("a line");
    assert!(announced.starts_with("PROXY TCP4 127.0.0.2 127.0.0.1 "), "{announced}");
    assert_eq!(l7["socket"], "127.0.0.1");
    assert_eq!((&l7["forwarded_for"], &l7["proxy_protocol"]), (&json!("127.0.0.2"), &Value::Null));
}

#[test]
fn only_l7_spares_a_slow_target() {
    let share = |name, which| number(&way(&COMPARED.said, name)[which]["slow_share"]);
    for name in ["direct", "l4", "l7"] {
        assert!((0.25..0.42).contains(&share(name, "shares")), "{name}: {}", share(name, "shares"));
    }
    let (l4, l7) = (share("l4", "shares_least"), share("l7", "shares_least"));
    assert!(l7 < 0.3 && l7 < l4, "L4 {l4}, L7 {l7}");
}

#[test]
fn clients_stick_by_address_or_by_cookie() {
    for (name, by) in [("l4", "address"), ("l7", "cookie AWSALB")] {
        let stickiness = &way(&COMPARED.said, name)["stickiness"];
        assert_eq!(stickiness["by"], by);
        assert_eq!(number(&stickiness["kept_share"]), 1.0, "{name}");
        assert!(number(&stickiness["kept_share_without"]) < 0.9, "{name}");
    }
    let targets = |name| number(&way(&COMPARED.said, name)["stickiness"]["targets"]);
    assert_eq!(targets("l4"), 1.0, "all behind one address");
    assert!(targets("l7") > 1.0);
}

#[test]
fn a_killed_target_costs_nothing_on_l7() {
    let failed = |name| number(&way(&COMPARED.said, name)["killed"]["failed"]);
    assert_eq!(failed("l7"), 0.0);
    assert!(failed("l4") > 0.0, "its connections end");
    assert!(failed("direct") > failed("l4"), "whoever knows one target only has none");
}

#[test]
fn l7_hosts_applications_and_l4_passes_protocols() {
    let way = |name| way(&COMPARED.said, name);
    for (name, reached, socket_of) in [
        ("direct", json!(["home"]), "home"),
        ("l4", json!(["home"]), "home"),
        ("l7", json!(["blog", "home", "shop"]), "blog"),
    ] {
        assert_eq!(way(name)["applications"]["reached"], reached, "{name}");
        let expected = json!({ "status": 101, "echoed": true, "application": socket_of });
        assert_eq!(way(name)["web_socket"], expected, "{name}");
    }
    for name in ["direct", "l4"] {
        let http2 = &way(name)["http2"];
        assert_eq!((&http2["answered"], &http2["reached_target"]), (&json!(true), &json!(true)));
        assert_eq!(http2["upgrade"], "HTTP/1.1 101 Switching Protocols", "{name}");
    }
    // L7 speaks it itself, and to the target as ever.
    let http2 = &way("l7")["http2"];
    assert_eq!(http2["prior_knowledge"], "HTTP/2, status 200");
    assert_eq!(http2["answered"], true, "{http2}");
    assert_eq!(http2["reached_target"], false, "{http2}");
    assert_eq!(http2["upgrade"], "HTTP/1.1 200 OK");
}

#[test]
fn load_goes_to_given_targets() {
    let target = Target::named("own");
    let address = target.address().to_string();
    let arguments = ["--duration", "1s", "--rate", "100", "--path", "/own", "--targets", &address];
    let compared = compared(&arguments);
    assert_eq!(compared.said["targets"], json!([address]));
    assert_eq!(compared.said["open_rate"], 100.0);
    assert!(number(&way(&compared.said, "l7")["peak"]["rate"]) > 0.0, "{:#}", compared.said);
    assert!(compared.report.contains(&address));
    assert!(target.connection_count() > 0);
}

/// Processes that `pid` has started.
fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    texts
        .flat_map(|text| {
            text.split_whitespace().map(|pid| pid.parse().expect("a number")).collect::<Vec<_>>()
        })
        .collect()
}

fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + COMPARED_MAX;
    while !condition() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn ctrl_c_reports_what_was_measured_until_then() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TempDir::new().expect("a directory");
    let report = dir.path().join("report.html");
    let child = command(&["--duration", "30m"], &report).spawn().expect("start ringway");
    wait_until("two balancers", || children(child.id()).len() == 2);
    let balancers = children(child.id());
    // The first row weighs a thousand connections, and is done when they are gone.
    wait_until("connections", || balancers.iter().all(|pid| open_files(*pid) > 1000));
    wait_until("their end", || balancers.iter().all(|pid| open_files(*pid) < 300));
    shell(&format!("kill -INT {}", child.id()));
    let output = child.wait_with_output().expect("its end");
    let Compared { said, report } = read(&output, &report);
    assert_eq!((&said["interrupted"], &said["notes"]), (&json!(true), &json!([])));
    assert!(way(&said, "l7")["memory"].is_object(), "{said:#}");
    assert!(way(&said, "l7")["peak"].is_null(), "{said:#}");
    assert!(report.contains("Ended before all was measured") && report.contains("</html>"));
    for pid in balancers {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "balancer {pid} is still there");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let output = command(&["--duration", "60m"], Path::new("/nowhere/report.html")).output();
    let output = output.expect("start ringway");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/report.html"));
}

#[test]
fn the_report_is_readable_in_a_browser_and_loads_nothing() {
    let page = COMPARED.report.as_bytes();
    let Some(browser) = Browser::start() else {
        println!("no Chromium here: the report was not opened");
        return;
    };
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("report.html");
    fs::write(&file, page).expect("write");
    for (width, screen) in [(390, "phone"), (1280, "desktop")] {
        for scheme in ["light", "dark"] {
            let mut page = browser.page();
            open(&mut page, &file, width, scheme);
            let case = format!("{screen}, {scheme}");
            check(&page, &case);
            // Nothing sticks out to the side, and letters of pictures can be read.
            let wide = page.value("document.documentElement.scrollWidth");
            assert!(number(&wide) <= f64::from(width), "{case}: {wide}");
            let small = page.value(
                "Math.min(...[...document.querySelectorAll('svg text')]\
                 .map(text => text.getBoundingClientRect().height))",
            );
            assert!(number(&small) >= 10.0, "{case}: letters of {small} pixels");
            assert_eq!(page.value("document.querySelectorAll('figure').length"), 3);
            let dark = page.value("getComputedStyle(document.body).backgroundColor");
            assert_eq!(dark == "rgb(17, 20, 26)", scheme == "dark", "{case}: {dark}");
            if let Some(dir) = std::env::var_os("RINGWAY_TEST_PICTURES") {
                page.shoot(&Path::new(&dir).join(format!("report-{screen}-{scheme}.png")));
            }
        }
    }
}

fn open(page: &mut Page, file: &Path, width: u32, scheme: &str) {
    for domain in ["Page", "Network", "Runtime", "Log"] {
        page.call(&format!("{domain}.enable"), json!({}));
    }
    let screen =
        json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600 });
    page.call("Emulation.setDeviceMetricsOverride", screen);
    let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
    page.call("Emulation.setEmulatedMedia", media);
    page.call("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
    page.wait_for("Page.loadEventFired");
}

/// No word on the console, and no request but for the page itself.
fn check(page: &Page, case: &str) {
    for event in &page.events {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().expect("an address");
                assert!(url.starts_with("file:") || url.starts_with("data:"), "{case}: {url}");
            }
            "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded" => {
                panic!("{case}: {params}");
            }
            _ => {}
        }
    }
    let loaded = |event: &&Value| event["method"] == "Network.requestWillBeSent";
    assert!(page.events.iter().any(|event| loaded(&event)), "{case}: nothing was watched");
}
