//! The client before the real API with a fake actor, over a Unix socket; and how things look.

use std::path::Path;
use std::time::Duration;

use clap::Parser;

use super::look::{COLUMNS, count, span, time, wrap};
use super::status::{View, table};
use super::*;
use crate::cli::{Cli, Command};
use crate::control::api::tests::fake::{self, Fake};
use crate::control::api::{Servers, serve};
use crate::control::handle::Event;
use crate::model::ControlApi;

struct Stand {
    fake: Fake,
    servers: Servers,
    dir: tempfile::TempDir,
}

impl Stand {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, "s3cret\n").unwrap();
        let api = ControlApi {
            socket: Some(dir.path().join("control.sock")),
            address: Some(([127, 0, 0, 1], 0).into()),
            token_file: Some(token_file),
            metrics_address: None,
            optional: false,
        };
        let fake = Fake::start();
        let servers = serve(&api, fake.handle.clone(), Vec::new()).await.unwrap();
        Self { fake, servers, dir }
    }

    /// What a command prints, with its exit status.
    async fn run(&self, line: &str) -> (u8, String) {
        let socket = self.dir.path().join("control.sock");
        run_at(line, &["--socket", socket.to_str().unwrap()]).await
    }
}

async fn run_at(line: &str, more: &[&str]) -> (u8, String) {
    // Words are parted by spaces, but for what is in single quotes.
    let mut words = vec!["ringway"];
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    words.extend(more);
    let Command::Client(command) = Cli::try_parse_from(words).unwrap().command else {
        panic!("not a client command: {line}");
    };
    let mut out = Vec::new();
    let mut output = Output { out: &mut out, color: Color::Off, is_terminal: false };
    let result = match Client::new(command.reach(), |_| None) {
        Ok(client) => commands::carry_out(&client, &command, &mut output).await,
        Err(trouble) => Err(trouble),
    };
    let mut text = String::from_utf8(out).unwrap();
    let status = result.map_or_else(
        |trouble| {
            text.push_str(&trouble.render(Color::Off));
            trouble.exit_status()
        },
        |()| 0,
    );
    (status, text)
}

#[tokio::test]
async fn commands_do_what_they_say() {
    let cases = [
        (
            "targets register blog 127.0.0.1:9000 [::1]:9000 --weight 3",
            "registered 2 targets in blog (generation 8)\n",
            concat!(
                r#"{"target_groups":{"blog":{"targets":{"#,
                r#""127.0.0.1:9000":{"expires":null,"weight":3},"#,
                r#""[::1]:9000":{"expires":null,"weight":3}}}}}"#,
            ),
        ),
        (
            "targets deregister blog 127.0.0.1:8081",
            "deregistered 1 target from blog (generation 8)\n",
            r#"{"target_groups":{"blog":{"targets":{"127.0.0.1:8081":null}}}}"#,
        ),
        (
            "targets weight home [::1]:5000 7",
            "[::1]:5000 in home has weight 7 (generation 8)\n",
            r#"{"target_groups":{"home":{"targets":{"[::1]:5000":{"weight":7}}}}}"#,
        ),
        (
            "rules put web 20 'path_pattern = [\"/a\"], forward = \"blog\"'",
            "listener web has rule 20 (generation 8)\n",
            concat!(
                r#"{"listeners":{"web":{"rules":{"20":null}}}} {"listeners":{"web":{"rules":"#,
                r#"{"20":{"forward":"blog","path_pattern":["/a"]}}}}}"#,
            ),
        ),
        (
            "rules put web 10 --json '{\"forward\":\"blog\"}'",
            "listener web has rule 10 (generation 8)\n",
            concat!(
                r#"{"listeners":{"web":{"rules":{"10":null}}}} "#,
                r#"{"listeners":{"web":{"rules":{"10":{"forward":"blog"}}}}}"#,
            ),
        ),
        (
            "rules delete web 10",
            "listener web has no rule 10 any more (generation 8)\n",
            r#"{"listeners":{"web":{"rules":{"10":null}}}}"#,
        ),
        (
            "groups put shop 'algorithm = \"round_robin\", slow_start = \"30s\"'",
            "there is target group shop (generation 8)\n",
            concat!(
                r#"{"target_groups":{"shop":null}} {"target_groups":{"shop":"#,
                r#"{"algorithm":"round_robin","slow_start":"30s"}}}"#,
            ),
        ),
        (
            "groups put home --json '{}'",
            "there is target group home (generation 8)\n",
            r#"{"target_groups":{"home":null}} {"target_groups":{"home":{}}}"#,
        ),
        (
            "groups delete spare",
            "there is no target group spare any more (generation 8)\n",
            r#"{"target_groups":{"spare":null}}"#,
        ),
        (
            "listeners put api 'address = \"127.0.0.1:0\", default = { forward = \"home\" }'",
            "there is listener api (generation 8)\n",
            concat!(
                r#"{"listeners":{"api":null}} {"listeners":{"api":"#,
                r#"{"address":"127.0.0.1:0","default":{"forward":"home"}}}}"#,
            ),
        ),
        (
            "listeners delete web",
            "there is no listener web any more (generation 8)\n",
            r#"{"listeners":{"web":null}}"#,
        ),
        (
            "mode web l4",
            "listener web is l4 (generation 8)\n",
            r#"{"listeners":{"web":{"mode":"l4"}}}"#,
        ),
        ("drain", "draining: it ends once nothing is in flight\n", "drain"),
        ("keys rotate", "new stickiness cookies have a new key\n", "rotate keys"),
    ];
    for (line, said, heard) in cases {
        let stand = Stand::start().await;
        assert_eq!(stand.run(line).await, (0, said.into()), "{line}");
        assert_eq!(stand.fake.heard(), [heard], "{line}");
    }
}

#[tokio::test]
async fn what_is_there_is_shown() {
    let stand = Stand::start().await;
    let (status, text) = stand.run("status").await;
    assert_eq!((status, text.lines().next()), (0, table_of(None).lines().next()));
    let (_, text) = stand.run("status --json").await;
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, serde_json::to_value(fake::status()).unwrap());
    let (_, text) = stand.run("targets list blog").await;
    assert!(text.contains("  127.0.0.1:8082         draining "), "{text}");
    let (_, text) = stand.run("targets list blog --json").await;
    assert!(text.contains("\"Target.DeregistrationInProgress\""), "{text}");
    let (_, text) = stand.run("rules list web").await;
    assert_eq!(text, "       10  path_pattern /blog -> forward blog\n");
    let (_, text) = stand.run("rules list web --json").await;
    assert!(text.contains("\"path_pattern\": ["), "{text}");
    let (_, text) = stand.run("groups list").await;
    let blocks: Vec<_> = text.split("\n\n").filter_map(|block| block.lines().next()).collect();
    let expected = ["target group blog  round_robin", "target group spare  round_robin"];
    assert_eq!(blocks, expected, "{text}");
    let (_, text) = stand.run("groups list --json").await;
    let groups: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(groups, fake::config()["target_groups"]);
    let (_, text) = stand.run("listeners list").await;
    assert!(text.starts_with("listener tcp  l4  ") && text.contains("\nlistener web "), "{text}");
    assert!(text.contains("-> forward blog\n") && !text.contains("target group"), "{text}");
    let (_, text) = stand.run("listeners list --json").await;
    assert!(text.contains("\"web\": {"), "{text}");
    assert_eq!(stand.run("config export").await, (0, "[server]\n".into()));
    let (_, text) = stand.run("config show").await;
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(config, fake::config());
}

#[tokio::test]
async fn refusals_are_printed_as_check_prints_them() {
    let stand = Stand::start().await;
    let expected = "\
error: 1000 is out of range
 --> target_groups.blog.targets.127.0.0.1:8081.weight
 = help: 0 to 999

ringway: refused, nothing has changed: 1 mistake
";
    let answer = stand.run("targets weight blog 127.0.0.1:8081 1000").await;
    assert_eq!(answer, (78, expected.into()));
    let expected = "\
error: too much
 --> /etc/ringway/ringway.toml:3:10
  |
3 | weight = 1000
  |          ^^^^
  |
  = help: 0 to 999

ringway: refused, nothing has changed: 1 mistake
";
    assert_eq!(stand.run("reload").await, (78, expected.into()));
}

#[tokio::test]
async fn failures_have_their_exit_status_and_a_cure() {
    let stand = Stand::start().await;
    let cases = [
        (
            "targets list blgo",
            1,
            "ringway: there is no target group `blgo`\n  = help: did you mean `blog`?\n",
        ),
        ("upgrade", 1, "ringway: no such binary; install it\n"),
        ("reload --or-upgrade", 1, "ringway: no such binary; install it\n"),
        ("groups delete blog", 1, "ringway: target group `blog` is in use\n"),
        ("listeners delete blgo", 1, "ringway: there is no listener `blgo`\n"),
        ("groups put blog nonsense", 2, "the target group is not TOML: "),
        ("listeners put web ''", 2, "the listener is not TOML: it is empty; write it as 'address"),
        (
            "rules put web 10 nonsense",
            2,
            "; write it as 'path_pattern = [\"/blog\"], forward = \"blog\"'\n",
        ),
        (
            "targets deregister blog 127.0.0.1:1 --wait=soon",
            2,
            "ringway: `soon` is not a duration; ",
        ),
        (
            "targets register blog localhost:1",
            78,
            "ringway: refused, nothing has changed: 1 mistake\n",
        ),
    ];
    for (line, status, text) in cases {
        let answer = stand.run(line).await;
        assert!(answer.0 == status && answer.1.contains(text), "{line}: {answer:?}");
    }
}

#[tokio::test]
async fn waiting_for_health_ends_with_health_or_in_time() {
    let stand = Stand::start().await;
    let answer = stand.run("targets register blog 127.0.0.1:8081 --wait").await;
    assert!(answer.0 == 0 && answer.1.ends_with("all of them are healthy\n"), "{answer:?}");
    let answer = stand.run("targets register blog 127.0.0.1:8082 --wait=1ms").await;
    let expected = "ringway: not healthy in time: 127.0.0.1:8082 is draining \
                    (Target deregistration is in progress)\n";
    assert!(answer.0 == 1 && answer.1.ends_with(expected), "{answer:?}");
}

#[tokio::test]
async fn waiting_for_a_target_to_drain_ends_with_that_or_in_time() {
    let stand = Stand::start().await;
    let answer = stand.run("targets deregister blog 127.0.0.1:8081 --wait").await;
    assert!(answer.0 == 0 && answer.1.contains("nothing is in flight there"), "{answer:?}");
    let answer = stand.run("targets deregister blog 127.0.0.1:8082 --wait=1ms").await;
    assert!(answer.0 == 1 && answer.1.contains("after 1ms"), "{answer:?}");
}

#[tokio::test]
async fn nothing_answers_is_69_with_the_cure() {
    let stand = Stand::start().await;
    let path = stand.dir.path().join("control.sock");
    let port = stand.servers.address().unwrap().port();
    stand.servers.close().await;
    let at = async |more: &[&str]| run_at("status", more).await;
    let socket = path.to_str().unwrap();
    let answer = at(&["--socket", socket]).await;
    assert!(answer.0 == 69 && answer.1.contains("it does not exist; is ringway running"));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let answer = at(&["--socket", socket]).await;
    assert!(answer.0 == 69 && answer.1.contains("nobody listens; ringway is not running"));
    let answer = at(&["--url", &format!("http://127.0.0.1:{port}")]).await;
    assert!(answer.0 == 69 && answer.1.contains("nobody listens"), "{answer:?}");
}

/// What `line` says before a server that answers each connection with these bytes; `None`: never.
async fn before(answer: Option<&'static str>, line: &str) -> (u8, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        match answer {
            Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            None => std::future::pending().await,
        }
    });
    let said = run_at(line, &["--socket", path.to_str().unwrap()]).await;
    server.abort();
    said
}

#[tokio::test]
async fn servers_that_are_no_control_api_end_in_a_line_and_an_exit_status() {
    let cases = [
        ("", "the answer broke off"),
        ("hello\r\n", "the answer broke off"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "the answer broke off"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "not what this version understands"),
        ("HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}", "answers 500"),
        ("HTTP/1.1 302 X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "answers 302"),
    ];
    for (answer, said) in cases {
        let (status, text) = before(Some(answer), "status").await;
        assert!(status == 1 && text.contains(said) && text.lines().count() == 1, "{text}");
    }
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n";
    let (status, text) = before(Some(stream), "events").await;
    assert!(status == 1 && text.ends_with("has closed the stream\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn servers_that_never_answer_are_given_up() {
    for line in ["status", "events", "targets list home"] {
        let (status, text) = before(None, line).await;
        assert!(status == 69 && text.contains("does not answer"), "{line}: {text}");
    }
}

#[tokio::test]
async fn names_that_are_no_names_are_sent_as_they_are_and_shown_fit_for_a_terminal() {
    let stand = Stand::start().await;
    for (name, shown) in [
        ("a/b", "`a/b`"),
        ("..", "`..`"),
        ("a?b#c%41", "`a?b#c%41`"),
        ("\u{1b}[2J", "`\\u{1b}[2J`"),
        ("é", "`é`"),
    ] {
        let (status, text) = stand.run(&format!("targets list '{name}'")).await;
        assert!(
            status == 1 && text.contains(&format!("there is no target group {shown}")),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[tokio::test]
async fn tcp_is_reached_with_the_token() {
    let stand = Stand::start().await;
    let url = format!("http://{}/", stand.servers.address().unwrap());
    let token = stand.dir.path().join("token");
    let token = token.to_str().unwrap();
    assert_eq!(run_at("drain", &["--url", &url, "--token-file", token]).await.0, 0);
    let answer = run_at("drain", &["--url", &url]).await;
    assert!(answer.0 == 1 && answer.1.contains("send `Authorization: Bearer"), "{answer:?}");
    for url in ["https://127.0.0.1:1", "127.0.0.1:1", "http://", "http://a/b"] {
        assert_eq!(run_at("drain", &["--url", url]).await.0, 2, "{url}");
    }
}

#[tokio::test]
async fn events_are_told_one_a_line() {
    let stand = Stand::start().await;
    let handle = stand.fake.handle.clone();
    let Stand { servers, dir, .. } = stand;
    let path = dir.path().join("control.sock");
    let telling = async move {
        // Nobody listens before the request has come.
        while handle.listeners() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for event in all_events() {
            handle.tell(event);
        }
        servers.close().await;
    };
    let ((status, text), ()) = tokio::join!(run_events(&path), telling);
    assert_eq!(status, 0, "the server said that it stops");
    let expected = "\
2026-07-27T08:00:00Z health      blog 127.0.0.1:8081 healthy -> unhealthy  \
Target.Timeout: Request timed out
2026-07-27T08:00:01Z drained     blog 127.0.0.1:8081
2026-07-27T08:00:02Z configured  generation 8, by api
2026-07-27T08:00:03Z refused     by file: too much
2026-07-27T08:00:04Z stopping
";
    assert_eq!(text, expected);
}

async fn run_events(path: &Path) -> (u8, String) {
    run_at("events", &["--socket", path.to_str().unwrap()]).await
}

fn all_events() -> [Event; 5] {
    let time = 1_785_139_200;
    let (target_group, target) = ("blog".to_owned(), "127.0.0.1:8081".to_owned());
    [
        Event::Health {
            time,
            target_group: target_group.clone(),
            target: target.clone(),
            from: "healthy".into(),
            to: "unhealthy".into(),
            reason: Some("Target.Timeout".into()),
            description: Some("Request timed out".into()),
        },
        Event::Drained { time: time + 1, target_group, target },
        Event::Configured { time: time + 2, generation: 8, by: "api".into() },
        Event::Refused { time: time + 3, by: "file".into(), problems: vec!["too much".into()] },
        Event::Stopping { time: time + 4 },
    ]
}

#[test]
fn unknown_events_and_broken_pieces_are_told_all_the_same() {
    assert_eq!(
        events::tell(r#"{"type":"missed","missed":6}"#, Color::Off),
        "missed 6 events: this client is too slow"
    );
    assert_eq!(events::tell(r#"{"type":"new"}"#, Color::Off), r#"{"type":"new"}"#);
    let mut lines = events::Lines::default();
    assert!(lines.push(b"data: a").unwrap().is_empty());
    assert_eq!(lines.push(b"b\r\n\ndata").unwrap(), ["data: ab", ""]);
}

#[test]
fn stamps_are_those_of_rfc_3339() {
    let cases = [
        (0, "1970-01-01T00:00:00Z"),
        (951_827_696, "2000-02-29T12:34:56Z"),
        (4_107_542_399, "2100-02-28T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ];
    for (time, expected) in cases {
        assert_eq!(events::stamp(time), expected);
    }
}

fn table_of(rate: Option<f64>) -> String {
    let mut status = fake::status();
    status.draining = rate.is_some();
    status.target_groups[0].fail_open = true;
    status.target_groups[0].targets[0].expires = Some(1_000);
    table(&status, View { color: Color::Off, rate, now: 977 })
}

#[test]
fn the_table_looks_as_in_the_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/client/tests/status.txt");
    let table = table_of(Some(1234.4));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(table, kept, "UPDATE=1 rewrites {}", path.display());
    for line in table.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
}

#[test]
fn colours_show_states_and_hostile_names_cannot_drive_the_terminal() {
    let mut status = fake::status();
    let view = View { color: Color::On, rate: None, now: 0 };
    let text = table(&status, view);
    assert!(text.contains("\x1b[32mhealthy  \x1b[0m") && text.contains("\x1b[31munhealthy\x1b[0m"));
    status.target_groups[0].targets[0].description = Some("\x1b]0;title\x07".into());
    status.target_groups[0].name = "\x1b[2J".into();
    let text = table(&status, View { color: Color::Off, ..view });
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
}

#[test]
fn the_table_is_drawn_in_place_and_cut_to_the_height() {
    assert_eq!(watch::in_place("a\nb\n", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    assert_eq!(watch::in_place("a\nb\nc\n", 2), "\x1b[Ha\x1b[K\r\n(2 more lines)\x1b[K\x1b[J");
}

#[test]
fn the_rate_is_that_between_two_looks_at_one_process() {
    let old = fake::status();
    let mut new = old.clone();
    new.totals.requests += 500;
    assert_eq!(watch::rate(&old, &new, Duration::from_millis(500)), Some(1000.0));
    assert_eq!(watch::rate(&new, &old, Duration::from_secs(1)), None);
    new.pid += 1;
    assert_eq!(watch::rate(&old, &new, Duration::from_secs(1)), None);
}

#[test]
fn numbers_are_short() {
    let counts = [(0, "0"), (99_999, "99999"), (100_000, "100.0k"), (12_345_678, "12.3M")];
    for (n, expected) in counts {
        assert_eq!(count(n), expected);
    }
    assert!(count(u64::MAX).ends_with('T'));
    let times = [
        (7, "7us"),
        (1_000, "1.00ms"),
        (12_400, "12.4ms"),
        (999_000, "999ms"),
        (2_500_000, "2.50s"),
    ];
    for (us, expected) in times {
        assert_eq!(time(us), expected);
    }
    let spans = [(0, "0s"), (59, "59s"), (61, "1m 1s"), (7_260, "2h 1m"), (93_784, "1d 2h")];
    for (seconds, expected) in spans {
        assert_eq!(span(seconds), expected);
    }
    let long = "word ".repeat(40) + &"x".repeat(200);
    assert!(wrap(&long, 4).iter().all(|line| line.chars().count() <= COLUMNS));
}

#[test]
fn the_way_is_that_of_the_options_then_of_the_environment() {
    let of = |line: &str, url: Option<&str>, socket: Option<&str>| {
        let words = ["ringway", "reload"].into_iter().chain(line.split_whitespace());
        let Command::Client(command) = Cli::try_parse_from(words).unwrap().command else {
            panic!("{line}");
        };
        let variable = |name: &str| match name {
            "RINGWAY_URL" => url.map(String::from),
            "RINGWAY_SOCKET" => socket.map(String::from),
            _ => None,
        };
        Client::new(command.reach(), variable).unwrap().name()
    };
    assert_eq!(of("", None, None), "/run/ringway/control.sock");
    assert_eq!(of("", None, Some("/s")), "/s");
    assert_eq!(of("", Some("http://[::1]:99"), Some("/s")), "http://[::1]:99");
    assert_eq!(of("--socket /o", Some("http://h:1"), Some("/s")), "/o");
    assert_eq!(of("--url http://h", None, Some("/s")), "http://h:80");
}
