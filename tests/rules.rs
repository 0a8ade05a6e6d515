//! Rules of an HTTP listener: conditions, priorities and actions (spec 1.4 to 1.6, 14.1, 14.2).

mod harness;

use harness::*;

fn get(host: &str, path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
}

/// Checks which requests a rule with these lines takes away from the default rule.
fn expect_matches(rule: &str, requests: &[(String, bool)]) {
    let (home, hit) = (Target::named("home"), Target::named("hit"));
    let rule = format!("{rule}\nforward = \"hit\"");
    let balancer = http(&[&home]).rule(10, &rule).group("hit", &[hit.address()]).start();
    let mut client = balancer.client();
    for (request, matches) in requests {
        let expected = if *matches { "hit" } else { "home" };
        assert_eq!(client.exchange(request).text(), expected, "{rule}\n{request}");
    }
}

fn paths(paths: &[(&str, bool)]) -> Vec<(String, bool)> {
    paths.iter().map(|(path, matches)| (get("a.example", path, ""), *matches)).collect()
}

fn hosts(hosts: &[(&str, bool)]) -> Vec<(String, bool)> {
    hosts.iter().map(|(host, matches)| (get(host, "/", ""), *matches)).collect()
}

fn fields(fields: &[(&str, bool)]) -> Vec<(String, bool)> {
    fields.iter().map(|(fields, matches)| (get("a.example", "/", fields), *matches)).collect()
}

#[test]
fn path_patterns_match_the_whole_path_and_never_the_query() {
    let img = [("/img/", true), ("/img/a/b.png", true), ("/img", false), ("/IMG/a", false)];
    expect_matches("path_pattern = [\"/img/*\"]", &paths(&img));
    let pics = [("/img/a/b/pics", true), ("/img/pics", false), ("/img/a/pics/x", false)];
    expect_matches("path_pattern = [\"/img/*/pics\"]", &paths(&pics));
    let one = [("/abc", true), ("/ac", false), ("/abbc", false), ("/a/c", true)];
    expect_matches("path_pattern = [\"/a?c\"]", &paths(&one));
    let php = [("/x/y.php", true), ("/x.php?z=1", true), ("/x?y=.php", false)];
    expect_matches("path_pattern = [\"*.php\"]", &paths(&php));
    let blog = [("/blog", true), ("/blog/", true), ("/blog/2", true), ("/blogs", false)];
    expect_matches("path_pattern = [\"/blog\", \"/blog/*\"]", &paths(&blog));
}

#[test]
fn paths_are_normalised_for_matching_only() {
    let admin = [
        ("/admin/x", true),
        ("/img/../admin/x", true),
        ("/./admin/x", true),
        ("/%61dmin/x", true),
        ("/admin%2Fx", false),
        ("//admin/x", false),
    ];
    expect_matches("path_pattern = [\"/admin/*\"]", &paths(&admin));
    let target = Target::named("hit");
    let rule = "path_pattern = [\"/admin/*\"]\nforward = \"hit\"";
    let config = Config::new("l7", vec![]).rule(1, rule).group("hit", &[target.address()]);
    assert_eq!(config.start().client().get("/img/../%61dmin/x").status, 200);
    assert_eq!(target.request().target, "/img/../%61dmin/x");
}

#[test]
fn host_patterns_ignore_case_and_port() {
    let sub = [
        ("A.Example.COM", true),
        ("a.b.example.com", true),
        ("example.com", false),
        ("a.example.com:8080", true),
        ("a.example.com.evil.org", false),
    ];
    expect_matches("host_header = [\"*.example.com\"]", &hosts(&sub));
    let exact =
        [("shop.example.com", true), ("SHOP.example.com:1", true), ("xshop.example.com", false)];
    expect_matches("host_header = [\"Shop.Example.com\", \"b.example\"]", &hosts(&exact));
}

#[test]
fn regular_expressions_match_anywhere_unless_anchored() {
    let found = [("/a/42/b", true), ("/42", true), ("/a", false), ("/A/x", false)];
    expect_matches("path_regex = ['/[0-9]+']", &paths(&found));
    let anchored = [("/v1/x", true), ("/v12/x", true), ("/a/v1/x", false), ("/V1/x", false)];
    expect_matches("path_regex = ['^/v[0-9]+/']", &paths(&anchored));
    let host =
        [("api-7.example.com", true), ("API-7.example.com", true), ("api-x.example.com", false)];
    expect_matches("host_regex = ['^api-[0-9]+\\.example\\.com$']", &hosts(&host));
}

#[test]
fn field_conditions_look_at_every_occurrence_and_ignore_case() {
    let chrome = [
        ("User-Agent: Mozilla chrome/1\r\n", true),
        ("USER-AGENT: x CHROME y\r\n", true),
        ("User-Agent: Firefox\r\n", false),
        ("X: Chrome\r\n", false),
        ("", false),
        ("User-Agent: Firefox\r\nUser-Agent: Chrome\r\n", true),
    ];
    let rule = "http_header = [{ name = \"User-Agent\", values = [\"*Chrome*\"] }]";
    expect_matches(rule, &fields(&chrome));
    let both = [("A: 1\r\nB: 2\r\n", true), ("A: 1\r\n", false), ("B: 2\r\n", false)];
    let rule =
        "http_header = [{ name = \"A\", values = [\"1\"] }, { name = \"B\", values = [\"2\"] }]";
    expect_matches(rule, &fields(&both));
}

#[test]
fn method_conditions_mind_the_case() {
    let request = |method: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
    let methods = [("GET", true), ("PURGE", true), ("get", false), ("POST", false)];
    let requests = methods.map(|(method, matches)| (request(method), matches));
    expect_matches("http_request_method = [\"GET\", \"PURGE\"]", &requests);
}

#[test]
fn query_conditions_look_at_every_pair() {
    let version = [
        ("/?VERSION=V1&x=2", true),
        ("/?x=2&version=v1", true),
        ("/?version=v2", false),
        ("/?xversion=v1", false),
        ("/version=v1", false),
        ("/", false),
    ];
    expect_matches("query_string = [{ key = \"version\", value = \"v1\" }]", &paths(&version));
    let any = [("/?k=an-example-x", true), ("/?k=exampl", false), ("/?a=1&b=example", true)];
    expect_matches("query_string = [{ value = \"*example*\" }]", &paths(&any));
    let literal = [("/?p=100*", true), ("/?p=1000", false)];
    expect_matches("query_string = [{ value = '100\\*' }]", &paths(&literal));
}

#[test]
fn source_conditions_look_at_the_connection_and_not_at_fields() {
    let (home, hit) = (Target::named("home"), Target::named("hit"));
    let rule = "source_ip = [\"127.0.0.2/32\", \"10.0.0.0/8\"]\nforward = \"hit\"";
    let balancer = http(&[&home]).rule(10, rule).group("hit", &[hit.address()]).start();
    let web = balancer.address("web");
    assert_eq!(Client::connect_from([127, 0, 0, 2], web).get("/").text(), "hit");
    assert_eq!(Client::connect_from([127, 0, 0, 3], web).get("/").text(), "home");
    let claimed = get("a", "/", "X-Forwarded-For: 10.0.0.1\r\n");
    assert_eq!(balancer.client().exchange(claimed).text(), "home");
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let rule =
        "host_header = [\"a.example\"]\npath_pattern = [\"/x\"]\nhttp_request_method = [\"GET\"]";
    let requests = [
        (get("a.example", "/x", ""), true),
        (get("a.example", "/y", ""), false),
        (get("b.example", "/x", ""), false),
        ("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n".into(), false),
    ];
    expect_matches(rule, &requests);
}

fn fixed(body: &str) -> String {
    format!("fixed_response = {{ status = 200, content_type = \"text/plain\", body = \"{body}\" }}")
}

#[test]
fn rule_with_the_lowest_number_wins_whatever_its_place_in_the_file() {
    let rule =
        |pattern: &str, body: &str| format!("path_pattern = [\"{pattern}\"]\n{}", fixed(body));
    let home = Target::named("home");
    let balancer = http(&[&home])
        .rule(30, &rule("/*", "thirty"))
        .rule(10, &rule("/a/b/*", "ten"))
        .rule(20, &rule("/a/*", "twenty"))
        .start();
    let mut client = balancer.client();
    for (path, body) in [("/a/b/c", "ten"), ("/a/c", "twenty"), ("/c", "thirty")] {
        assert_eq!(client.get(path).text(), body);
    }
}

#[test]
fn request_does_not_fall_through_a_rule_whose_group_is_empty() {
    let rule = "path_pattern = [\"/a/*\"]\nforward = \"empty\"";
    let home = Target::named("home");
    let balancer = http(&[&home])
        .rule(10, rule)
        .rule(20, &format!("path_pattern = [\"/*\"]\n{}", fixed("later")))
        .group("empty", &[])
        .start();
    let mut client = balancer.client();
    assert_eq!(client.get("/a/x").status, 503);
    assert_eq!(client.get("/b").text(), "later");
}

#[test]
fn requests_of_one_connection_are_routed_one_by_one() {
    let (home, blog) = (Target::named("home"), Target::named("blog"));
    let rule = "path_pattern = [\"/blog\"]\nforward = \"blog\"";
    let balancer = http(&[&home]).rule(10, rule).group("blog", &[blog.address()]).start();
    let mut client = balancer.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "home");
        assert_eq!(client.get("/blog").text(), "blog");
    }
    assert_eq!((home.connection_count(), blog.connection_count()), (1, 1));
}

fn weighted(
    blue: u16,
    green: u16,
    green_targets: &[std::net::SocketAddr],
    requests: usize,
) -> [usize; 3] {
    let target = Target::named("blue");
    let forward = format!(
        "path_pattern = [\"/*\"]\nforward = [{{ target_group = \"blue\", weight = {blue} }}, \
         {{ target_group = \"green\", weight = {green} }}]"
    );
    let balancer = Config::new("l7", vec![])
        .rule(1, &forward)
        .group("blue", &[target.address()])
        .group("green", green_targets)
        .start();
    let mut client = balancer.client();
    let mut shares = [0; 3];
    for _ in 0..requests {
        let response = client.get("/");
        let index = match (response.status, response.text().as_str()) {
            (200, "blue") => 0,
            (200, "green") => 1,
            (503, _) => 2,
            _ => panic!("{response:?}"),
        };
        shares[index] += 1;
    }
    shares
}

#[test]
fn weighted_forward_shares_requests_between_groups() {
    let green = Target::named("green");
    // 450 of 500 expected, standard deviation 6.7 if drawn at random.
    let [blue, green_share, failed] = weighted(90, 10, &[green.address()], 500);
    assert!((405..=495).contains(&blue), "{blue}");
    assert_eq!((blue + green_share, failed), (500, 0));
    assert_eq!(weighted(1, 0, &[green.address()], 50), [50, 0, 0]);
}

#[test]
fn groups_of_a_weighted_forward_do_not_stand_in_for_one_another() {
    // 100 of 200 expected, standard deviation 7.1 if drawn at random.
    let [blue, green, failed] = weighted(1, 1, &[], 200);
    assert!((55..=145).contains(&failed), "{failed}");
    assert_eq!((blue + failed, green), (200, 0));
}

#[test]
fn redirects_expand_their_placeholders() {
    let table = [
        ("protocol = \"https\", port = \"443\"", "https://shop.example.com:443/a/b?x=1"),
        ("path = \"/new/#{path}\"", "http://shop.example.com:PORT/new/a/b?x=1"),
        (
            "host = \"www.#{host}\", path = \"/#{path}\", query = \"from=#{host}&#{query}\"",
            "http://www.shop.example.com:PORT/a/b?from=shop.example.com&x=1",
        ),
        ("protocol = \"https\", query = \"\"", "https://shop.example.com:PORT/a/b"),
        ("protocol = \"https\", port = \"#{port}\"", "https://shop.example.com:PORT/a/b?x=1"),
        (
            "port = \"81\", path = \"/#{port}/#{host}\"",
            "http://shop.example.com:81/PORT/shop.example.com?x=1",
        ),
    ];
    for (parts, location) in table {
        let rule = format!("path_pattern = [\"/*\"]\nredirect = {{ {parts}, status = 301 }}");
        let balancer = Config::new("l7", vec![]).rule(1, &rule).start();
        let mut client = balancer.client();
        let expected = location.replace("PORT", &balancer.port().to_string());
        for _ in 0..2 {
            let response = client.exchange(get("Shop.example.com", "/a/b?x=1", ""));
            assert_eq!(response.field("Location"), Some(expected.as_str()), "{parts}");
            assert_eq!((response.status, response.body.len()), (301, 134), "{parts}");
        }
    }
}

#[test]
fn redirect_without_query_has_no_question_mark() {
    let rule = "path_pattern = [\"/*\"]\n\
                redirect = { protocol = \"https\", port = \"443\", status = 302 }";
    let balancer = Config::new("l7", vec![]).rule(1, rule).start();
    let response = balancer.client().exchange(get("a.example", "/", ""));
    assert_eq!(response.field("Location"), Some("https://a.example:443/"));
    assert_eq!((response.status, response.body.len()), (302, 110));
    assert_eq!(response.field("Server"), Some("ringway"));
}

#[test]
fn redirect_to_more_than_8_kib_is_507() {
    let rule = "path_pattern = [\"/*\"]\n\
                redirect = { protocol = \"https\", port = \"443\", status = 301 }";
    let balancer = Config::new("l7", vec![]).rule(1, rule).start();
    let mut client = balancer.client();
    assert_eq!(client.get(&format!("/{}", "x".repeat(7_000))).status, 301);
    assert_eq!(client.get(&format!("/{}", "x".repeat(9_000))).status, 507);
}

#[test]
fn fixed_responses_are_sent_as_configured() {
    let rule = |status: u16, kind: &str, body: &str| {
        format!(
            "path_pattern = [\"/{status}\"]\nfixed_response = {{ status = {status}, \
             content_type = \"{kind}\", body = '{body}' }}"
        )
    };
    let cases = [
        (200, "text/plain", "fine"),
        (404, "text/html", "<p>gone</p>"),
        (503, "application/json", "{\"down\":true}"),
    ];
    let config = Config::new("l7", vec![]);
    let config = cases.iter().zip(1..).fold(config, |config, (&(status, kind, body), priority)| {
        config.rule(priority, &rule(status, kind, body))
    });
    let balancer = config.start();
    let mut client = balancer.client();
    for (status, kind, body) in cases {
        let response = client.get(&format!("/{status}"));
        assert_eq!((response.status, response.text().as_str()), (status, body));
        let content_type = response.field("Content-Type").expect("Content-Type");
        assert_eq!(content_type, format!("{kind}; charset=utf-8"));
        assert_eq!(response.field("Server"), Some("ringway"));
        assert!(response.field("Date").is_some() && !response.closes());
        let head = client.exchange(format!("HEAD /{status} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((head.status, head.body.len()), (status, 0));
        assert_eq!(head.field("Content-Length"), response.field("Content-Length"));
    }
}

#[test]
fn body_of_a_request_with_a_fixed_response_is_never_a_request() {
    let rule = format!("path_pattern = [\"/*\"]\n{}", fixed("done"));
    let balancer = Config::new("l7", vec![]).rule(1, &rule).start();
    let mut client = balancer.client();
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = hidden.len();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{hidden}"));
    let first = client.response("POST");
    assert_eq!(first.text(), "done");
    if !first.closes() {
        assert_eq!(client.get("/").text(), "done");
        client.half_close();
    }
    assert_eq!(show(&client.rest().0), "");
}
