//! The demo's targets over real sockets, and the model that it runs.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::model::{Action, Condition, GroupIndex, Mode, Model, TargetGroup};

use super::*;

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(45))).unwrap();
    stream
}

/// Asks for `path` and returns the whole response.
fn request(address: SocketAddr, path: &str, fields: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn each_target_says_who_it_is() {
    let targets = Targets::start().unwrap();
    let cases = [("Home", "home", "/", targets.home()), ("Blog", "blog", "/blog", targets.blog())];
    for (title, name, path, addresses) in cases {
        for (address, number) in addresses.iter().zip(1..) {
            let response = request(*address, path, "Accept: */*\r\n");
            assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
            assert!(response.contains("content-type: text/plain"), "{response}");
            let expected = format!("{title}, answered by {name}-{number} at {address}\n");
            assert_eq!(body(&response), expected);
        }
    }
}

#[test]
fn home_serves_every_path_and_blog_its_own() {
    let targets = Targets::start().unwrap();
    let (home, blog) = (targets.home()[0], targets.blog()[0]);
    let cases = [
        (home, "/", "200"),
        (home, "/any/path?q", "200"),
        (home, "*", "200"),
        (blog, "/blog", "200"),
        (blog, "/blog?page=2", "200"),
        (blog, "/blog/", "200"),
        (blog, "/blog/2026/post", "200"),
        (blog, "/", "404"),
        (blog, "/blogs", "404"),
    ];
    for (address, path, status) in cases {
        let response = request(address, path, "");
        assert_eq!(response.split(' ').nth(1), Some(status), "{path}");
    }
}

#[test]
fn browsers_get_a_page_with_the_request_escaped() {
    let targets = Targets::start().unwrap();
    let fields = "Accept: text/html,application/xhtml+xml\r\nX-Forwarded-For: 192.0.2.1\r\n\
                  X-Evil: <script>alert('x')</script>\r\n";
    let response = request(targets.home()[1], "/?'&", fields);
    assert!(response.contains("content-type: text/html"), "{response}");
    assert!(response.contains("<b>home-2</b>"), "{response}");
    assert!(response.contains("<tr><th>x-forwarded-for</th><td>192.0.2.1</td></tr>"), "{response}");
    assert!(response.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{response}");
    assert!(response.contains("/?&#39;&amp;") && !response.contains("<script"), "{response}");
    assert!(response.contains("href=\"/blog\"") && response.contains("href=\"data:,\""));
    assert!(!response.contains("Nothing."), "{response}");

    let response = request(targets.home()[1], "/", "Accept: text/html\r\n");
    assert!(response.contains("Nothing."), "{response}");
}

#[test]
fn the_slow_page_takes_a_second_and_holds_nobody_up() {
    let targets = Targets::start().unwrap();
    let begin = Instant::now();
    // So many that one after the other they would take far longer than a busy machine.
    let mut all = [(); 20].map(|()| connect(targets.blog()[0]));
    for slow in &mut all {
        slow.write_all(b"GET /blog/slow HTTP/1.0\r\n\r\n").unwrap();
    }
    request(targets.blog()[0], "/blog", "");
    assert!(begin.elapsed() < Duration::from_secs(15));
    let [slow, ..] = &mut all;
    let mut response = String::new();
    slow.read_to_string(&mut response).unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert!(response.contains("answered by blog-1"), "{response}");
}

#[test]
fn a_connection_serves_many_requests() {
    let targets = Targets::start().unwrap();
    let mut stream = connect(targets.home()[0]);
    let pipelined = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(99);
    stream.write_all(pipelined.as_bytes()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut responses = String::new();
    stream.read_to_string(&mut responses).unwrap();
    assert_eq!(responses.matches("answered by home-1").count(), 100);
}

#[test]
fn dropping_the_targets_closes_listeners_and_connections() {
    let targets = Targets::start().unwrap();
    let addresses = [targets.home(), targets.blog()].concat();
    let mut waiting = connect(targets.blog()[1]);
    waiting.write_all(b"GET /blog/slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    drop(targets);
    for address in addresses {
        assert!(TcpStream::connect(address).is_err());
    }
    // Closed or reset, but without an answer.
    let mut answer = Vec::new();
    let _ = waiting.read_to_end(&mut answer);
    assert!(answer.is_empty());
}

#[test]
fn targets_may_start_and_stop_within_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { drop(Targets::start().unwrap()) });
}

fn model(home: &[SocketAddr], blog: &[SocketAddr]) -> Model {
    let text = configuration(home, blog, L7_ADDRESS, L4_ADDRESS);
    crate::config::parse(&text, "demo").expect("a good configuration").model
}

#[test]
fn the_model_is_what_the_tutorial_says() {
    let home = ["127.0.0.1:3001", "127.0.0.1:3002"].map(|address| address.parse().unwrap());
    let blog = ["127.0.0.1:3003", "127.0.0.1:3004"].map(|address| address.parse().unwrap());
    let model = model(&home, &blog);
    let targets = |group: &TargetGroup| group.targets.iter().map(|t| t.address).collect::<Vec<_>>();
    assert_eq!(model.target_groups[0].name, "home");
    assert_eq!(targets(&model.target_groups[0]), home);
    assert_eq!(model.target_groups[1].name, "blog");
    assert_eq!(targets(&model.target_groups[1]), blog);

    let group_of = |action: &Action| match action {
        Action::Forward(forward) => forward.groups[0].0,
        other => panic!("not a forward: {other:?}"),
    };
    let [web, home_tcp] = &model.listeners[..] else { panic!("two listeners") };
    assert_eq!((web.name.as_str(), web.mode, web.address), ("web", Mode::L7, L7_ADDRESS));
    assert_eq!(group_of(&web.default), GroupIndex(0));
    assert_eq!(web.rules.len(), 1);
    assert_eq!(web.rules[0].priority.value(), 10);
    assert_eq!(group_of(&web.rules[0].action), GroupIndex(1));
    assert!(matches!(&web.rules[0].conditions[..], [Condition::PathPattern(p)] if p.len() == 2));
    assert_eq!((home_tcp.mode, home_tcp.address), (Mode::L4, L4_ADDRESS));
    assert_eq!(group_of(&home_tcp.default), GroupIndex(0));
}

#[test]
fn probes_of_the_model_find_its_targets_healthy() {
    let targets = Targets::start().unwrap();
    let model = model(targets.home(), targets.blog());
    let mut addresses = HashSet::new();
    for group in &model.target_groups {
        assert!(group.health_check.timeout < group.health_check.interval);
        for target in &group.targets {
            let response = request(target.address, &group.health_check.path, "");
            assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
            assert!(addresses.insert(target.address));
        }
    }
    assert_eq!(addresses.len(), 4);
}

#[test]
fn a_taken_address_gives_way_to_any_port() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    assert_eq!(free_address(address), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    drop(taken);
    assert_eq!(free_address(address), address);
}

#[test]
fn the_instructions_show_the_addresses_and_the_configuration() {
    let (l7, l4) = ("127.0.0.1:4711".parse().unwrap(), "127.0.0.1:4712".parse().unwrap());
    let file = configuration(&[L7_ADDRESS], &[L4_ADDRESS], l7, l4);
    let text = instructions(l7, l4, &file);
    for part in ["curl http://127.0.0.1:4711/blog", "http://127.0.0.1:4712/", "name = \"home-tcp\""]
    {
        assert!(text.contains(part), "{part}");
    }
}
