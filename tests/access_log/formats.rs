//! The other formats, with real traffic.

use serde_json::Value;

use super::*;

#[test]
fn classic_lines_count_bodies_alone() {
    let (log, target) = (Log::new(), Target::echo());
    let balancer = log.of(http(&[&target]), "classic").start();
    let request =
        "POST /a HTTP/1.1\r\nHost: a.example\r\nUser-Agent: t\r\nContent-Length: 5\r\n\r\nhello";
    balancer.client().exchange(request);
    balancer.client().send("BROKEN\r\n\r\n");
    let lines: Vec<_> = log.lines(2).iter().map(|line| spec::classic(line)).collect();
    let good = lines.iter().flatten().find(|line| line.target.is_some()).expect("the good one");
    assert_eq!(good.elb, "web");
    assert_eq!(good.target, Some(target.address()));
    assert_eq!((good.received, good.sent), (5, 5));
    assert_eq!(good.statuses, [Some(200), Some(200)]);
    assert!(good.times.iter().all(Option::is_some), "{good:?}");
    assert_eq!(good.request, format!("POST http://a.example:{}/a HTTP/1.1", balancer.port()));
    let bad = lines.iter().flatten().find(|line| line.target.is_none()).expect("the bad one");
    assert_eq!((bad.statuses, bad.times), ([Some(400), None], [None; 3]));
    assert_eq!(bad.request, format!("- http://127.0.0.1:{}- -", balancer.port()));
}

#[test]
fn combined_lines_are_those_of_web_servers() {
    let (log, target) = (Log::new(), Target::named("hello"));
    let balancer = log.of(http(&[&target]), "combined").start();
    let mut client = balancer.client();
    client.exchange(
        "GET /a?b=c HTTP/1.1\r\nHost: a\r\nReferer: http://r/\r\nUser-Agent: t\"1\r\n\r\n",
    );
    client.send("BROKEN\r\n\r\n");
    let lines = log.lines(2);
    let form = regex::Regex::new(
        r#"^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d \+0000\] (.*)$"#,
    );
    let form = form.expect("a pattern");
    let rest = |line: &str| form.captures(line).expect("the form")[1].to_owned();
    assert_eq!(rest(&lines[0]), r#""GET /a?b=c HTTP/1.1" 200 5 "http://r/" "t\x221""#);
    assert_eq!(rest(&lines[1]), r#""-" 400 122 "-" "-""#);
}

#[test]
fn json_lines_say_everything() {
    let (log, target, refusing) = (Log::new(), Target::named("hello"), Refusing::start());
    let config = Config::new("l7", vec![refusing.address(), target.address()]).one_worker();
    let balancer = log.of(config, "json").start();
    let mut client = balancer.client();
    client.get("/1");
    client.get("/2");
    client.send("BROKEN\r\n\r\n");
    let lines = log.lines(3);
    let lines: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let retried =
        lines.iter().find(|line| line["attempts"].as_array().is_some_and(|a| a.len() == 2));
    let retried = retried.expect("one request met the refusal");
    assert_eq!(retried["attempts"][0]["target"], refusing.address().to_string());
    assert_eq!(retried["attempts"][0]["status"], Value::Null);
    assert_eq!(retried["attempts"][1]["status"], 200);
    assert_eq!((&retried["rule"], &retried["action"]), (&"default".into(), &"forward".into()));
    assert_eq!((&retried["listener"], &retried["target_group"]), (&"web".into(), &"home".into()));
    assert_eq!(retried["sent_body_bytes"], 5);
    assert!(retried["duration"].as_f64() >= retried["target_processing_time"].as_f64());
    let broken = &lines[2];
    assert_eq!((&broken["status"], &broken["error"]), (&400.into(), &"http_request_error".into()));
    assert_eq!(broken["proxy_status"], "http_request_error");
    assert_eq!(broken["method"], Value::Null);
}
