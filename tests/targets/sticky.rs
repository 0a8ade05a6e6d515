//! Stickiness over sockets: who comes back to whom, and by which cookie.

use std::os::unix::fs::PermissionsExt;

use super::*;

const LB: &str = "stickiness = { type = \"lb_cookie\", duration = \"60s\" }";

/// A GET with these cookies.
fn get(client: &mut Client, cookies: &str) -> Response {
    let cookie = match cookies {
        "" => String::new(),
        cookies => format!("Cookie: {cookies}\r\n"),
    };
    client.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{cookie}\r\n"))
}

/// Name, value and attributes of each cookie that `response` sets.
fn set_cookies(response: &Response) -> Vec<(String, String, String)> {
    let split = |field: &str| {
        let (pair, attributes) = field.split_once("; ").unwrap_or((field, ""));
        let (name, value) = pair.split_once('=').expect("a cookie");
        (name.to_owned(), value.to_owned(), attributes.to_owned())
    };
    response.values("Set-Cookie").into_iter().map(split).collect()
}

/// `name=value` of the cookie `name` that `response` sets.
fn cookie(response: &Response, name: &str) -> String {
    let all = set_cookies(response);
    let found = all.iter().find(|cookie| cookie.0 == name);
    let (name, value, _) = found.unwrap_or_else(|| panic!("no {name}: {all:?}"));
    format!("{name}={value}")
}

fn three() -> [Target; 3] {
    ["a", "b", "c"].map(Target::named)
}

#[test]
fn lb_cookie_comes_twice_with_its_attributes_and_sticks() {
    let all = three();
    let balancer = http(&[&all[0], &all[1], &all[2]]).home(LB).start();
    let mut client = balancer.client();
    let first = get(&mut client, "");
    let cookies = set_cookies(&first);
    let names: Vec<_> = cookies.iter().map(|cookie| cookie.0.as_str()).collect();
    assert_eq!(names, ["AWSALB", "AWSALBCORS"]);
    assert_eq!(cookies[0].1, cookies[1].1);
    let (plain, cors) = (&cookies[0].2, &cookies[1].2);
    assert!(plain.starts_with("Expires=") && plain.ends_with(" GMT; Path=/"), "{plain}");
    assert!(cors.ends_with(" GMT; Path=/; SameSite=None; Secure"), "{cors}");
    for name in ["AWSALB", "AWSALBCORS"] {
        let bound = cookie(&first, name);
        for _ in 0..6 {
            let response = get(&mut balancer.client(), &format!("x=1; {bound}; y=2"));
            assert_eq!(response.text(), first.text());
            assert_eq!(set_cookies(&response).len(), 2, "renewed by each response");
        }
    }
    let seen = all.iter().flat_map(Target::requests);
    let seen: Vec<_> =
        seen.filter_map(|request| request.field("Cookie").map(str::to_owned)).collect();
    assert!(seen.iter().all(|cookies| cookies.starts_with("x=1; AWSALB")), "{seen:?}");
}

#[test]
fn forged_cookie_chooses_anew_and_is_replaced() {
    let all = three();
    let balancer = http(&[&all[0], &all[1], &all[2]]).home(LB).start();
    let mut client = balancer.client();
    let good = cookie(&get(&mut client, ""), "AWSALB");
    let middle = good.len() / 2;
    let flipped = if good.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let forged = [
        format!("{}{flipped}{}", &good[..middle], &good[middle + 1..]),
        good[..good.len() - 8].to_owned(),
        "AWSALB=".to_owned(),
        "AWSALB=bm90IG91cnM=".to_owned(),
        format!("AWSALB={}", "A".repeat(4000)),
    ];
    for forged in forged {
        let names: std::collections::HashSet<_> = (0..6)
            .map(|_| {
                let response = get(&mut client, &forged);
                assert_eq!(set_cookies(&response).len(), 2);
                response.text()
            })
            .collect();
        assert_eq!(names.len(), 3, "bound by a forged cookie: {names:?}");
    }
}

#[test]
fn cookie_outlives_the_other_targets_and_not_its_own() {
    let all = three();
    let config = |targets: &[&Target]| http(targets).home(LB).text();
    let balancer = Balancer::start(&config(&[&all[0], &all[1], &all[2]]));
    let mut client = balancer.client();
    let first = get(&mut client, "");
    let mut bound = cookie(&first, "AWSALB");
    let own = ["a", "b", "c"].iter().position(|name| *name == first.text()).expect("a name");
    let others: Vec<_> = (0..3).filter(|index| *index != own).collect();
    // Another one refuses.
    all[others[0]].stop_listening();
    for _ in 0..4 {
        let response = get(&mut client, &bound);
        assert_eq!(response.text(), first.text());
        bound = cookie(&response, "AWSALB");
    }
    // Its own drains: chosen anew, with another cookie, and it stays there.
    balancer.reload(&config(&[&all[others[1]]]));
    let moved = get(&mut client, &bound);
    assert_eq!(moved.text(), ["a", "b", "c"][others[1]]);
    let bound = cookie(&moved, "AWSALB");
    balancer.reload(&config(&[&all[own], &all[others[1]]]));
    for _ in 0..4 {
        assert_eq!(get(&mut client, &bound).text(), moved.text());
    }
}

#[test]
fn bound_target_that_refuses_gives_way_to_another() {
    let (a, b) = (Target::answering_once(ok("a")), Target::answering_once(ok("b")));
    let balancer = http(&[&a, &b]).home(LB).start();
    let first = get(&mut balancer.client(), "");
    let (own, other) = if first.text() == "a" { (&a, "b") } else { (&b, "a") };
    own.stop_listening();
    let response = get(&mut balancer.client(), &cookie(&first, "AWSALB"));
    assert_eq!(response.text(), other);
    let bound = cookie(&response, "AWSALB");
    assert_eq!(get(&mut balancer.client(), &bound).text(), other);
}

#[test]
fn unhealthy_target_is_left_and_the_session_stays_where_it_went() {
    let all = ["a", "b"].map(|name| Checked::start(name, Health::Status(200)));
    let check = check("healthy_threshold = 1, unhealthy_threshold = 1");
    let balancer = http(&[&all[0].target, &all[1].target]).home(&check).home(LB).start();
    balancer.wait_log_count(&["to=healthy"], 2);
    let mut client = balancer.client();
    let first = get(&mut client, "");
    let own = usize::from(first.text() == "b");
    all[own].turn(Health::Status(500));
    balancer.wait_log(&["to=unhealthy"]);
    wait_answers(&balancer, &[["b", "a"][own]; 4]);
    let moved = get(&mut client, &cookie(&first, "AWSALB"));
    assert_ne!(moved.text(), first.text());
    all[own].turn(Health::Status(200));
    balancer.wait_log_count(&["to=healthy"], 3);
    let bound = cookie(&moved, "AWSALB");
    for _ in 0..4 {
        assert_eq!(get(&mut client, &bound).text(), moved.text());
    }
}

#[test]
fn app_cookie_begins_with_the_cookie_of_the_application() {
    let all = ["a", "b", "c"].map(|name| {
        Target::start(move |peer| {
            while let Some(request) = peer.request() {
                let login = request.method == "POST";
                let cookie = if login { "Set-Cookie: SID=1; HttpOnly\r\n" } else { "" };
                let head = format!("HTTP/1.1 200 OK\r\n{cookie}Content-Length: 1\r\n\r\n{name}");
                peer.send(head.as_bytes());
            }
        })
    });
    let sticky = "stickiness = { type = \"app_cookie\", cookie_name = \"SID\" }";
    let balancer = http(&[&all[0], &all[1], &all[2]]).home(sticky).start();
    let mut client = balancer.client();
    assert!(set_cookies(&get(&mut client, "")).is_empty(), "not before the application");
    let login = client.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let cookies = set_cookies(&login);
    assert_eq!((cookies[0].0.as_str(), cookies[0].2.as_str()), ("SID", "HttpOnly"));
    let bound = format!("SID=1; {}", cookie(&login, "AWSALBAPP-0"));
    for _ in 0..6 {
        assert_eq!(get(&mut client, &bound).text(), login.text());
    }
}

#[test]
fn sticky_forward_keeps_the_group() {
    let all = three();
    let rule = "path_pattern = \"/*\"\nforward = { target_groups = [\
                { target_group = \"home\", weight = 1 }, \
                { target_group = \"other\", weight = 1 }], stickiness = \"60s\" }";
    let config = http(&[&all[0]]).group("other", &[all[1].address(), all[2].address()]);
    let balancer = config.rule(1, rule).start();
    let mut client = balancer.client();
    for _ in 0..8 {
        let first = get(&mut client, "");
        let bound = cookie(&first, "AWSALBTG");
        assert_eq!(
            cookie(&first, "AWSALBTGCORS").split_once('=').map(|pair| pair.1),
            bound.split_once('=').map(|pair| pair.1)
        );
        let in_home = first.text() == "a";
        for _ in 0..6 {
            assert_eq!(get(&mut client, &bound).text() == "a", in_home);
        }
    }
}

#[test]
fn source_ip_binds_connections_of_an_address_at_l4() {
    let all = ["a", "b", "c", "d"].map(|name| {
        Target::start(move |peer| drop((peer.send(name.as_bytes()), peer.take_rest())))
    });
    let targets: Vec<_> = all.iter().collect();
    let balancer = tcp(&targets).home("stickiness = { type = \"source_ip\" }").start();
    let ask = |last: u8| Client::connect_from([127, 0, 9, last], balancer.address("web")).take(1);
    let first: Vec<_> = (1..30).map(ask).collect();
    for _ in 0..3 {
        assert_eq!((1..30).map(ask).collect::<Vec<_>>(), first);
    }
    let spread: std::collections::HashSet<_> = first.iter().collect();
    assert!(spread.len() >= 3, "{first:?}");
}

#[test]
fn key_outlasts_the_process_and_only_its_owner_may_read_it() {
    let all = three();
    let controlled = Controlled::new();
    let text = controlled.text(&http(&[&all[0], &all[1], &all[2]]).home(LB));
    let mut balancer = Balancer::start(&text);
    let first = get(&mut balancer.client(), "");
    let bound = cookie(&first, "AWSALB");
    balancer.signal("KILL");
    let _ = balancer.process().wait(DEADLINE);
    let balancer = Balancer::start(&text);
    for _ in 0..6 {
        assert_eq!(get(&mut balancer.client(), &bound).text(), first.text());
    }
    let files = std::fs::read_dir(controlled.dir.path()).expect("state directory");
    for file in files.map(|file| file.expect("file")) {
        let mode = file.metadata().expect("metadata").permissions().mode() & 0o777;
        let name = file.file_name();
        let most = if name == "control.sock" { 0o660 } else { 0o600 };
        assert_eq!(mode & !most, 0, "{name:?} has mode {mode:o}");
    }
    // One rotation is survived, two are not.
    controlled.api.ask("POST", "/v1/keys/rotate", "");
    assert_eq!(get(&mut balancer.client(), &bound).text(), first.text());
    controlled.api.ask("POST", "/v1/keys/rotate", "");
    let names: std::collections::HashSet<_> =
        (0..6).map(|_| get(&mut balancer.client(), &bound).text()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}
