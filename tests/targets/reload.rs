//! Another configuration while traffic flows: all of it or nothing, and nobody notices.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use super::*;

/// How long connections of a removed listener are served.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A configuration with these groups and listeners; health checks are off.
fn text(groups: &[(&str, &[&Target])], listeners: &[String]) -> String {
    let mut text = String::from("[server]\nworkers = 2\ndrain_timeout = \"5s\"\n");
    for (name, targets) in groups {
        let targets: Vec<_> = targets.iter().map(|t| format!("\"{}\"", t.address())).collect();
        text += &format!(
            "[[target_groups]]\nname = \"{name}\"\ntargets = [{}]\n\
             health_check = {{ enabled = false }}\n",
            targets.join(", ")
        );
    }
    text + &listeners.concat()
}

fn listener(name: &str, address: SocketAddr, mode: &str, group: &str) -> String {
    format!(
        "[[listeners]]\nname = \"{name}\"\naddress = \"{address}\"\nmode = \"{mode}\"\n\
         default = {{ forward = \"{group}\" }}\n"
    )
}

fn web() -> String {
    listener("web", "127.0.0.1:0".parse().expect("address"), "l7", "home")
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

#[test]
fn bad_file_is_refused_whole_with_every_error_in_the_log() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let good = text(&[("home", &[&a])], &[web()]);
    let balancer = Balancer::start(&good);
    let mut client = balancer.client();
    let new = free_address();
    let bad = text(&[("home", &[&b])], &[web(), listener("other", new, "l9", "nowhere")]);
    balancer
        .reload_refused(&bad.replace("drain_timeout = \"5s\"", "drain_timeout = \"2 parsecs\""));
    let log = balancer.log();
    let line = log.lines().find(|line| line.contains("change refused")).expect("refused");
    for word in ["parsecs", "l9"] {
        assert!(line.contains(word), "{word} is missing: {line}");
    }
    assert_eq!(
        (client.get("/").text(), balancer.client().get("/").text()),
        ("a".into(), "a".into())
    );
    assert!(refuses(new));
    balancer.reload_refused("[server\n");
    balancer.reload_refused("");
    assert_eq!(client.get("/").text(), "a");
    balancer.reload(&text(&[("home", &[&b])], &[web()]));
    assert_eq!(client.get("/").text(), "b");
}

#[test]
fn address_that_another_program_has_is_refused_and_nothing_changes() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let balancer = Balancer::start(&text(&[("home", &[&a])], &[web()]));
    let taken = Target::named("another program");
    let other = listener("other", taken.address(), "l7", "home");
    let free = free_address();
    let listeners = [web(), listener("free", free, "l7", "home"), other];
    balancer.reload_refused(&text(&[("home", &[&b])], &listeners));
    assert_eq!(answers(&balancer, 4), ["a"; 4]);
    assert!(refuses(free), "opened by a change that was refused");
}

#[test]
fn targets_are_replaced_under_traffic_and_no_request_fails() {
    let all = ["a", "b", "c", "d"].map(Target::named);
    let config = |target: &Target| text(&[("home", &[target])], &[web()]);
    let balancer = Balancer::start(&config(&all[0]));
    let stream = Stream::start(balancer.address("web"), 8);
    for round in 1..40 {
        balancer.reload(&config(&all[round % 4]));
    }
    let names = stream.stop_clean();
    for name in ["a", "b", "c", "d"] {
        assert!(names.iter().any(|seen| seen == name), "{name} of {}", names.len());
    }
}

#[test]
fn after_a_reload_no_request_goes_by_the_file_before() {
    let all = ["a", "b"].map(Target::named);
    let config = |target: &Target| text(&[("home", &[target])], &[web()]);
    let balancer = Balancer::start(&config(&all[0]));
    let stream = Stream::start(balancer.address("web"), 4);
    for round in 1..10 {
        balancer.reload(&config(&all[round % 2]));
        // Those before may still be on their way.
        let mut client = balancer.client();
        let name = ["a", "b"][round % 2];
        for _ in 0..10 {
            assert_eq!(client.get("/").text(), name);
        }
    }
    stream.stop_clean();
}

#[test]
fn listeners_are_added_renamed_and_moved() {
    let a = Target::named("a");
    let (first, second) = (free_address(), free_address());
    let groups: &[(&str, &[&Target])] = &[("home", &[&a])];
    let balancer = Balancer::start(&text(groups, &[web()]));
    balancer.reload(&text(groups, &[web(), listener("more", first, "l7", "home")]));
    let mut kept = Client::connect(first);
    assert_eq!(kept.get("/").text(), "a");
    balancer.reload(&text(groups, &[web(), listener("renamed", first, "l7", "home")]));
    assert_eq!(kept.get("/").text(), "a", "another name closes nothing");
    assert!(!kept.get("/").closes());
    balancer.reload(&text(groups, &[web(), listener("renamed", second, "l7", "home")]));
    assert_eq!(Client::connect(second).get("/").text(), "a");
    balancer.wait("the old address to close", || refuses(first));
    let last = kept.get("/");
    assert!(last.text() == "a" && last.closes(), "{last:?}");
    kept.expect_close();
    assert_eq!(answers(&balancer, 1), ["a"]);
}

#[test]
fn connections_of_a_removed_listener_are_served_by_its_own_rules() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let groups: &[(&str, &[&Target])] = &[("first", &[&a]), ("home", &[&b])];
    let going = free_address();
    let other = listener("other", going, "l7", "home");
    let balancer = Balancer::start(&text(groups, &[web(), other]));
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(going)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "b");
    }
    // The group is still there but nothing else forwards to it, and its place is another one.
    let rest = web().replace("\"home\"", "\"first\"");
    let text = text(&[("home", &[&b]), ("first", &[&a])], std::slice::from_ref(&rest));
    balancer.reload(&text);
    let response = clients[0].get("/");
    assert_eq!((response.text().as_str(), response.closes()), ("b", true));
    clients[0].expect_close();
    // Without the group there is nobody to answer; the connection ends orderly.
    balancer.reload(&self::text(&[("first", &[&a])], &[rest]));
    let response = clients[1].get("/");
    assert_eq!((response.status, response.closes()), (503, true));
    assert_eq!(answers(&balancer, 1), ["a"]);
    // After drain_timeout the unused one is closed.
    clients[2].expect_close();
}

#[test]
fn forgotten_listener_leaves_no_connection_to_the_one_that_takes_its_place() {
    let (a, b) = (Target::named("a"), Target::named("secret"));
    let groups: &[(&str, &[&Target])] = &[("home", &[&a]), ("secret", &[&b])];
    let (going, coming) = (free_address(), free_address());
    let balancer = Balancer::start(&text(groups, &[web(), listener("going", going, "l7", "home")]));
    let mut client = Client::connect(going);
    assert_eq!(client.get("/").text(), "a");
    // The last chunk keeps an exchange open while its listener is forgotten.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    balancer.reload(&text(groups, &[web()]));
    thread::sleep(DRAIN_TIMEOUT + Duration::from_millis(500));
    balancer.reload(&text(groups, &[web(), listener("coming", coming, "l7", "secret")]));
    client.send("0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (rest, _) = client.rest();
    assert!(!show(&rest).contains("secret"), "{}", show(&rest));
    assert_eq!(Client::connect(coming).get("/").text(), "secret");
}

#[test]
fn listener_may_move_to_a_wider_address_with_the_same_port() {
    let a = Target::named("a");
    let groups: &[(&str, &[&Target])] = &[("home", &[&a])];
    let narrow = free_address();
    let wide = SocketAddr::from(([0, 0, 0, 0], narrow.port()));
    let balancer = Balancer::start(&text(groups, &[web(), listener("more", narrow, "l7", "home")]));
    for address in [wide, narrow, wide] {
        balancer.reload(&text(groups, &[web(), listener("more", address, "l7", "home")]));
        assert_eq!(Client::connect(narrow).get("/").text(), "a");
    }
}

#[test]
fn listener_that_is_removed_and_added_at_once_is_there() {
    let a = Target::named("a");
    let groups: &[(&str, &[&Target])] = &[("home", &[&a])];
    let address = free_address();
    let balancer = Balancer::start(&text(groups, &[web()]));
    for _ in 0..10 {
        balancer.reload(&text(groups, &[web(), listener("more", address, "l7", "home")]));
        assert_eq!(Client::connect(address).get("/").text(), "a");
        balancer.reload(&text(groups, &[web()]));
    }
    balancer.wait("the address to close", || refuses(address));
}

/// Answers bytes with themselves, and HTTP requests among them with its name.
fn either(name: &'static str) -> Target {
    Target::start(move |peer| {
        let mut first = [0];
        while peer.stream().peek(&mut first).is_ok_and(|count| count > 0) {
            if first == *b"G" {
                if peer.request().is_none() {
                    return;
                }
                peer.send(&ok(name));
            } else if let Some(byte) = peer.take(1) {
                peer.send(&byte);
            }
        }
    })
}

#[test]
fn switch_between_l4_and_l7_is_for_new_connections() {
    let a = either("a");
    let config = |mode: &str| {
        let rule = "[[listeners.rules]]\npriority = 1\npath_pattern = \"/rule\"\n\
                    fixed_response = { status = 200, body = \"rule\" }\n";
        text(&[("home", &[&a])], &[web().replace("l7", mode), rule.into()])
    };
    let balancer = Balancer::start(&config("l7"));
    let mut http = balancer.client();
    assert_eq!(http.get("/rule").text(), "rule");
    balancer.reload(&config("l4"));
    let mut tcp = balancer.client();
    tcp.send("x");
    assert_eq!(tcp.take(1), b"x");
    assert_eq!(http.get("/rule").text(), "rule", "it began at l7");
    assert_eq!(balancer.client().get("/rule").text(), "a", "rules sleep");
    balancer.reload(&config("l7"));
    assert_eq!(balancer.client().get("/rule").text(), "rule");
    tcp.send("y");
    assert_eq!(tcp.take(1), b"y", "it began at l4");
    tcp.half_close();
    let mut rest = Vec::new();
    tcp.into_stream().read_to_end(&mut rest).expect("orderly end");
    assert!(rest.is_empty());
}

#[test]
fn rules_are_edited_under_traffic() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let config = |group: &str| {
        let rule = format!(
            "[[listeners.rules]]\npriority = 1\npath_pattern = \"/*\"\nforward = \"{group}\"\n"
        );
        text(&[("home", &[&a]), ("other", &[&b])], &[web(), rule])
    };
    let balancer = Balancer::start(&config("home"));
    let stream = Stream::start(balancer.address("web"), 4);
    for round in 1..20 {
        let (group, name) = [("home", "a"), ("other", "b")][round % 2];
        balancer.reload(&config(group));
        assert_eq!(answers(&balancer, 3), [name; 3]);
    }
    stream.stop_clean();
}
