//! Changes through the API: what they ask of the actor and what they answer.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::*;

/// What the configuration is at `pointer` after `line`.
async fn after(router: &Router, line: &str, status: u16, pointer: &str) -> Value {
    let answer = say(router, line).await;
    assert_eq!(answer.status.as_u16(), status, "{line}: {answer:?}");
    let config = say(router, "GET /v1/config").await;
    assert_eq!(answer.field("etag"), config.field("etag"), "{line}");
    config.json().pointer(pointer).cloned().unwrap_or_default()
}

#[tokio::test]
async fn changes_of_listeners_and_rules_are_read_afterwards() {
    let cases = vec![
        (
            r#"PATCH /v1/config {"server":{"workers":null,"driver":"epoll"}}"#,
            200,
            "/server",
            json!({"driver": "epoll"}),
        ),
        (
            r#"PUT /v1/listeners/web {"address":"[::]:80",
                "default":{"fixed_response":{"status":503}}}"#,
            200,
            "/listeners/web",
            json!({"address": "[::]:80", "default": {"fixed_response": {"status": 503}}}),
        ),
        (
            r#"PUT /v1/listeners/new {"address":"[::]:82","default":{"forward":"blog"}}"#,
            201,
            "/listeners/new/default",
            json!({"forward": "blog"}),
        ),
        (
            r#"PATCH /v1/listeners/web {"idle_timeout":"9s"}"#,
            200,
            "/listeners/web/idle_timeout",
            json!("9s"),
        ),
        ("DELETE /v1/listeners/web", 200, "/listeners/web", Value::Null),
        (r#"PUT /v1/listeners/tcp/mode {"mode":"l7"}"#, 200, "/listeners/tcp/mode", json!("l7")),
        (
            r#"PUT /v1/listeners/web/rules/10 {"host_header":["a"],"forward":"home"}"#,
            200,
            "/listeners/web/rules",
            json!({"10": {"host_header": ["a"], "forward": "home"}}),
        ),
        (
            r#"PUT /v1/listeners/tcp/rules/020 {"forward":"home"}"#,
            201,
            "/listeners/tcp/rules",
            json!({"20": {"forward": "home"}}),
        ),
        ("DELETE /v1/listeners/web/rules/10", 200, "/listeners/web/rules", json!({})),
    ];
    all_after(cases).await;
}

#[tokio::test]
async fn changes_of_groups_and_targets_are_read_afterwards() {
    let cases = vec![
        (
            r#"PUT /v1/target-groups/blog {"targets":{"127.0.0.1:9":{}}}"#,
            200,
            "/target_groups/blog",
            json!({"targets": {"127.0.0.1:9": {}}}),
        ),
        (
            r#"PATCH /v1/target-groups/blog {"algorithm":"weighted_random"}"#,
            200,
            "/target_groups/blog/algorithm",
            json!("weighted_random"),
        ),
        ("DELETE /v1/target-groups/spare", 200, "/target_groups/spare", Value::Null),
        (
            r#"PUT /v1/target-groups/blog/targets/127.0.0.1:8081/weight {"weight":5}"#,
            200,
            "/target_groups/blog/targets/127.0.0.1:8081",
            json!({"weight": 5}),
        ),
        (
            r#"PUT /v1/target-groups/home/targets/%5B0:0::1%5D:5000/weight {"weight":5}"#,
            200,
            "/target_groups/home/targets/[::1]:5000",
            json!({"weight": 5}),
        ),
    ];
    all_after(cases).await;
}

/// Each request with its status, and what is then where in the configuration.
async fn all_after(cases: Vec<(&str, u16, &str, Value)>) {
    for (line, status, pointer, expected) in cases {
        let (_fake, router) = start();
        assert_eq!(after(&router, line, status, pointer).await, expected, "{line}");
    }
}

#[tokio::test]
async fn registering_is_atomic_idempotent_and_renews_leases() {
    let (fake, router) = start();
    let line = r#"POST /v1/target-groups/blog/targets {"targets":[
        {"address":"127.0.0.1:8081"},{"address":"127.0.0.1:9000","weight":3,"ttl":"30s"}]}"#;
    let line = line.replace('\n', "");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for _ in 0..2 {
        let targets = after(&router, &line, 200, "/target_groups/blog/targets").await;
        assert_eq!(targets["127.0.0.1:8081"], json!({"weight": 2}), "the weight stays");
        assert_eq!(targets["127.0.0.1:9000"]["weight"], 3);
        let expires = targets["127.0.0.1:9000"]["expires"].as_u64().unwrap();
        assert!((now + 30..now + 40).contains(&expires), "{expires}");
    }
    assert_eq!(fake.heard().len(), 2, "one change for a list");
    let line = r#"POST /v1/target-groups/blog/targets {"targets":[{"address":"127.0.0.1:9000"}]}"#;
    let target = after(&router, line, 200, "/target_groups/blog/targets/127.0.0.1:9000").await;
    assert_eq!(target, json!({"weight": 3}), "without a ttl it holds for good");
}

#[tokio::test]
async fn deregistering_is_idempotent_by_query_or_body() {
    let lines = [
        "DELETE /v1/target-groups/blog/targets?address=127.0.0.1:8081&address=127.0.0.1:8082",
        r#"DELETE /v1/target-groups/blog/targets {"targets":["127.0.0.1:8081","127.0.0.1:8082"]}"#,
    ];
    for line in lines {
        let (fake, router) = start();
        let targets = after(&router, line, 200, "/target_groups/blog/targets").await;
        assert_eq!(targets, json!({}));
        let again = say(&router, line).await.json();
        assert_eq!(again, json!({"generation": 8, "warnings": []}));
        assert_eq!(fake.heard().len(), 1, "nothing was left to change");
    }
}

#[tokio::test(start_paused = true)]
async fn deregistering_waits_until_nothing_is_in_flight_or_the_time_is_over() {
    let (fake, router) = start();
    let path = "DELETE /v1/target-groups/blog/targets";
    let answer = say(&router, &format!("{path}?address=127.0.0.1:8081&wait=30s")).await.json();
    assert_eq!(answer["drained"], true);
    assert_eq!(fake.heard()[1], "drained blog [127.0.0.1:8081]");
    let answer = say(&router, &format!("{path}?address=127.0.0.1:8082&wait=30s")).await.json();
    assert_eq!(answer["drained"], false);
}

#[tokio::test]
async fn the_process_does_what_it_is_told() {
    let (fake, router) = start();
    assert_eq!(say(&router, "POST /v1/drain").await.status, 202);
    assert_eq!(say(&router, "POST /v1/keys/rotate").await.status, 204);
    let problem = say(&router, "POST /v1/upgrade").await.problem(500);
    assert_eq!(problem.detail, "no such binary; install it");
    let problem = say(&router, "POST /v1/reload").await.problem(422);
    let place = problem.problems[0].place.as_ref().expect("the file is the operator's");
    assert_eq!((place.file.as_str(), place.line), ("/etc/ringway/ringway.toml", Some(3)));
    assert_eq!(fake.heard(), ["drain", "rotate keys", "upgrade", "reload"]);
}

#[tokio::test]
async fn refused_changes_tell_every_mistake_and_change_nothing() {
    let register = "POST /v1/target-groups/blog/targets";
    let cases = [
        (
            r#"PATCH /v1/config {"target_groups":{"blog":{"targets":{
                "127.0.0.1:8081":{"weight":1000}}}},
                "listeners":{"web":{"mode":"l5"}}}"#
                .into(),
            vec!["target_groups.blog.targets.127.0.0.1:8081.weight", "listeners.web.mode"],
        ),
        (r#"PUT /v1/listeners/web/mode {"mode":"l5"}"#.into(), vec!["listeners.web.mode"]),
        (
            format!(
                r#"{register} {{"targets":[{{"address":"localhost"}},
                {{"address":"1.2.3.4:5","ttl":"soon"}},{{"address":"1.2.3.4:6","ttl":"1ms"}}]}}"#
            ),
            vec!["targets[0].address", "targets[1].ttl", "targets[2].ttl"],
        ),
        (format!(r#"{register} {{"targets":[]}}"#), vec!["targets"]),
        ("DELETE /v1/target-groups/blog/targets".into(), vec!["targets"]),
        ("DELETE /v1/target-groups/blog/targets?address=1.2.3.4".into(), vec!["targets[0]"]),
        ("DELETE /v1/target-groups/blog/targets?adress=1.2.3.4:5".into(), vec!["adress"]),
        ("DELETE /v1/target-groups/blog/targets?address=1.2.3.4:5&wait=2h".into(), vec!["wait"]),
        ("PUT /v1/listeners/web/rules/0 {}".into(), vec!["priority"]),
    ];
    for (line, paths) in cases {
        let (_fake, router) = start();
        let problem = say(&router, &line).await.problem(422);
        let found: Vec<_> = problem.problems.iter().filter_map(|it| it.path.as_deref()).collect();
        assert_eq!(found, paths, "{line}");
        for mistake in &problem.problems {
            assert!(mistake.help.is_some() && mistake.place.is_none(), "{line}: {mistake:?}");
        }
        assert_eq!(say(&router, "GET /v1/config").await.json(), fake::config(), "{line}");
    }
}

#[tokio::test]
async fn bodies_must_be_json_of_the_right_shape() {
    let cases = [
        ("PATCH /v1/config", 400),
        ("PATCH /v1/config {\"a\":", 400),
        ("PATCH /v1/config {'a':1}", 400),
        ("PATCH /v1/config []", 422),
        ("PATCH /v1/config null", 422),
        ("PUT /v1/listeners/web/mode {}", 422),
        ("PUT /v1/listeners/web/mode {\"mode\":\"l4\",\"more\":1}", 422),
        ("PUT /v1/target-groups/blog/targets/127.0.0.1:8081/weight {\"weight\":-1}", 422),
        ("POST /v1/target-groups/blog/targets {\"targets\":\"127.0.0.1:1\"}", 422),
    ];
    let (_fake, router) = start();
    for (line, status) in cases {
        assert_eq!(say(&router, line).await.problem(status).problems.len(), 1, "{line}");
    }
}

#[tokio::test]
async fn bodies_must_be_declared_as_json_and_not_too_long() {
    let (_fake, router) = start();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    say_with(&router, "PATCH /v1/config {}", &form).await.problem(415);
    let patch = [("content-type", "Application/Merge-Patch+JSON; charset=utf-8")];
    assert_eq!(say_with(&router, "PATCH /v1/config {}", &patch).await.status, 200);
    let long = format!("PATCH /v1/config {{\"a\":\"{}\"}}", "a".repeat(1024 * 1024));
    say(&router, &long).await.problem(413);
    let declared = [("content-length", "99999999")];
    say_with(&router, "PATCH /v1/config {}", &declared).await.problem(413);
}

#[tokio::test]
async fn if_match_holds_back_changes_for_another_configuration() {
    let (_fake, router) = start();
    let lines = [
        "PATCH /v1/config {}",
        "PUT /v1/listeners/web {}",
        "PATCH /v1/listeners/web {}",
        "DELETE /v1/listeners/web",
        "PUT /v1/listeners/web/mode {\"mode\":\"l4\"}",
        "PUT /v1/listeners/web/rules/10 {}",
        "DELETE /v1/listeners/web/rules/10",
        "PUT /v1/target-groups/blog {}",
        "PATCH /v1/target-groups/blog {}",
        "DELETE /v1/target-groups/spare",
        "POST /v1/target-groups/blog/targets {\"targets\":[{\"address\":\"127.0.0.1:1\"}]}",
        "DELETE /v1/target-groups/blog/targets?address=127.0.0.1:8081",
        "PUT /v1/target-groups/blog/targets/127.0.0.1:8081/weight {\"weight\":1}",
    ];
    for line in lines {
        for tag in ["\"6\"", "W/\"7\"", "nonsense"] {
            say_with(&router, line, &[("if-match", tag)]).await.problem(412);
        }
    }
    for tag in ["\"7\"", "\"1\", \"8\"", "*"] {
        let answer = say_with(&router, "PATCH /v1/config {}", &[("if-match", tag)]).await;
        assert_eq!(answer.status, 200, "{tag}");
    }
}

#[tokio::test]
async fn a_change_is_computed_anew_when_another_came_first() {
    let (fake, router) = start();
    fake.stale.store(3, Relaxed);
    let line = r#"PUT /v1/listeners/tcp/mode {"mode":"l7"}"#;
    assert_eq!(after(&router, line, 200, "/listeners/tcp/mode").await, "l7");
    fake.stale.store(u64::MAX, Relaxed);
    say(&router, line).await.problem(409);
}

#[tokio::test]
async fn a_group_in_use_is_not_removed() {
    let (_fake, router) = start();
    let problem = say(&router, "DELETE /v1/target-groups/home").await.problem(409);
    let paths: Vec<_> = problem.problems.iter().filter_map(|it| it.path.as_deref()).collect();
    assert_eq!(paths, ["listeners.tcp.default.forward", "listeners.web.default.forward"]);
    let problem = say(&router, "DELETE /v1/target-groups/blog").await.problem(409);
    assert_eq!(problem.problems[0].path.as_deref(), Some("listeners.web.rules[10].forward"));
}
