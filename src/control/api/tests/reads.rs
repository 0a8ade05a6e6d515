//! Reading through the API.

use serde_json::json;

use super::super::openapi_json;
use super::*;
use crate::control::handle::Event;

#[tokio::test]
async fn reads_answer_parts_of_the_configuration_with_its_number() {
    let (_fake, router) = start();
    let config = fake::config();
    let cases = [
        ("/v1/config", config.clone()),
        ("/v1/listeners", config["listeners"].clone()),
        ("/v1/listeners/web", config["listeners"]["web"].clone()),
        ("/v1/listeners/web/rules", config["listeners"]["web"]["rules"].clone()),
        ("/v1/listeners/tcp/rules", json!({})),
        ("/v1/listeners/web/rules/10", config["listeners"]["web"]["rules"]["10"].clone()),
        ("/v1/target-groups", config["target_groups"].clone()),
        ("/v1/target-groups/blog", config["target_groups"]["blog"].clone()),
    ];
    for (path, expected) in cases {
        let answer = say(&router, &format!("GET {path}")).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.json(), expected, "{path}");
        assert_eq!(answer.field("etag"), "\"7\"", "{path}");
    }
}

#[tokio::test]
async fn status_and_targets_tell_the_health() {
    let (_fake, router) = start();
    let status = say(&router, "GET /v1/status").await.json();
    assert_eq!(status, serde_json::to_value(fake::status()).unwrap());
    let targets = say(&router, "GET /v1/target-groups/blog/targets").await.json();
    assert_eq!(targets["targets"], status["target_groups"][0]["targets"]);
    let problem = say(&router, "GET /v1/target-groups/blgo/targets").await.problem(404);
    assert_eq!(problem.problems[0].help.as_deref(), Some("did you mean `blog`?"));
}

#[tokio::test]
async fn export_is_toml() {
    let (_fake, router) = start();
    let answer = say(&router, "GET /v1/config.toml").await;
    assert_eq!(
        (answer.text.as_str(), answer.field("content-type")),
        ("[server]\n", "application/toml")
    );
}

#[tokio::test]
async fn unknown_names_get_the_nearest_or_those_there_are() {
    let (_fake, router) = start();
    let cases = [
        ("GET /v1/listeners/wbe", "there is no listener `wbe`", "did you mean `web`?"),
        ("PATCH /v1/listeners/q {}", "there is no listener `q`", "listeners: `tcp`, `web`"),
        ("DELETE /v1/listeners/q", "there is no listener `q`", "listeners: `tcp`, `web`"),
        (
            "PUT /v1/listeners/q/mode {\"mode\":\"l4\"}",
            "there is no listener `q`",
            "listeners: `tcp`, `web`",
        ),
        ("GET /v1/listeners/wbe/rules", "there is no listener `wbe`", "did you mean `web`?"),
        ("GET /v1/listeners/web/rules/11", "listener `web` has no rule 11", "its rules: 10"),
        (
            "DELETE /v1/listeners/web/rules/x",
            "listener `web` has no rule `x`",
            "priorities are 1 to 50000",
        ),
        (
            "DELETE /v1/listeners/tcp/rules/10",
            "listener `tcp` has no rule 10",
            "the listener has no rules",
        ),
        ("PUT /v1/listeners/wbe/rules/1 {}", "there is no listener `wbe`", "did you mean `web`?"),
        ("GET /v1/target-groups/blok", "there is no target group `blok`", "did you mean `blog`?"),
        (
            "PATCH /v1/target-groups/blok {}",
            "there is no target group `blok`",
            "did you mean `blog`?",
        ),
        (
            "DELETE /v1/target-groups/blok",
            "there is no target group `blok`",
            "did you mean `blog`?",
        ),
        (
            "POST /v1/target-groups/blok/targets {\"targets\":[{\"address\":\"127.0.0.1:1\"}]}",
            "there is no target group `blok`",
            "did you mean `blog`?",
        ),
        (
            "DELETE /v1/target-groups/blok/targets?address=127.0.0.1:1",
            "there is no target group `blok`",
            "did you mean `blog`?",
        ),
        (
            "PUT /v1/target-groups/blog/targets/127.0.0.1:8083/weight {\"weight\":1}",
            "there is no target `127.0.0.1:8083`",
            "did you mean `127.0.0.1:8082`?",
        ),
        (
            "GET /v2/status",
            "there is nothing at `/v2/status`",
            "GET /v1/openapi.json lists every path",
        ),
    ];
    for (line, detail, help) in cases {
        let problem = say(&router, line).await.problem(404);
        assert_eq!(problem.detail, detail, "{line}");
        assert_eq!(problem.problems[0].help.as_deref(), Some(help), "{line}");
    }
}

#[tokio::test]
async fn other_methods_are_405_with_allow() {
    let (_fake, router) = start();
    for line in ["DELETE /v1/status", "GET /v1/reload", "POST /v1/listeners/web"] {
        let answer = say(&router, line).await;
        answer.problem(405);
        assert!(!answer.field("allow").is_empty(), "{line}");
    }
}

#[tokio::test]
async fn paths_that_cannot_be_decoded_are_400() {
    let (_fake, router) = start();
    say(&router, "GET /v1/listeners/%ff").await.problem(400);
}

#[tokio::test]
async fn everything_is_503_once_the_actor_is_gone() {
    let router = unix(Fake::gone());
    let lines = [
        "GET /v1/status",
        "GET /v1/config",
        "GET /v1/config.toml",
        "GET /v1/listeners/web",
        "GET /v1/target-groups/blog/targets",
        "PATCH /v1/config {}",
        "DELETE /v1/listeners/web",
        "POST /v1/reload",
        "POST /v1/drain",
        "POST /v1/upgrade",
        "POST /v1/keys/rotate",
    ];
    for line in lines {
        say(&router, line).await.problem(503);
    }
}

#[tokio::test]
async fn every_documented_operation_has_a_handler_and_every_problem_its_schema() {
    let (_fake, router) = start();
    let document: Value = serde_json::from_str(openapi_json()).unwrap();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{path}");
            let problem = &operation["responses"]["503"]["content"]["application/problem+json"];
            // That it is alive cannot go wrong.
            if path != "/healthz" {
                assert_eq!(
                    problem["schema"]["$ref"], "#/components/schemas/Problem",
                    "{method} {path}"
                );
            }
            if path == "/v1/events" {
                continue;
            }
            let path =
                path.replace("{name}", "x").replace("{priority}", "1").replace("{address}", "y");
            let answer = say(&router, &format!("{} {path}", method.to_uppercase())).await;
            let nothing = format!("there is nothing at `{path}`");
            assert!(answer.status != 405 && !answer.text.contains(&nothing), "{method} {path}");
        }
    }
    assert_eq!(operations, 32);
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document: Value = serde_json::from_str(openapi_json()).unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            references.extend(map.get("$ref").and_then(Value::as_str).map(String::from));
            map.values().for_each(|value| collect(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The next block of a stream of events.
async fn block(body: &mut axum::body::BodyDataStream) -> String {
    use futures_util::StreamExt;
    let bytes = body.next().await.expect("the stream goes on").unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn events_are_streamed_and_a_slow_client_learns_how_many_it_missed() {
    let (fake, router) = start();
    let request = Request::get("/v1/events").body(Body::empty()).unwrap();
    let response = router.clone().call(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    fake.handle.tell(Event::Stopping { time: 5 });
    assert_eq!(
        block(&mut body).await,
        "event: stopping\ndata: {\"type\":\"stopping\",\"time\":5}\n\n"
    );
    for time in 0..1030 {
        fake.handle.tell(Event::Stopping { time });
    }
    assert_eq!(
        block(&mut body).await,
        "event: missed\ndata: {\"missed\":6,\"type\":\"missed\"}\n\n"
    );
    assert!(block(&mut body).await.contains("\"time\":6}"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_has_comments_and_ends_when_the_server_closes() {
    use futures_util::StreamExt;
    let fake = Fake::start();
    let (close, closing) = watch::channel(false);
    let router = router(api(fake.handle.clone(), closing), Access::Unix);
    let request = Request::get("/v1/events").body(Body::empty()).unwrap();
    let mut body = router.clone().call(request).await.unwrap().into_body().into_data_stream();
    assert_eq!(block(&mut body).await, ": alive\n\n");
    close.send_replace(true);
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn event_streams_are_bounded() {
    let (_fake, router) = start();
    let mut open = Vec::new();
    for _ in 0..super::super::events::EVENT_STREAMS_MAX {
        let request = Request::get("/v1/events").body(Body::empty()).unwrap();
        open.push(router.clone().call(request).await.unwrap());
    }
    say(&router, "GET /v1/events").await.problem(503);
    open.pop();
    let request = Request::get("/v1/events").body(Body::empty()).unwrap();
    assert_eq!(router.clone().call(request).await.unwrap().status(), 200);
}
