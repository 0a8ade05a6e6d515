//! Requests of HTTP/1.1 clients to targets that speak HTTP/2.

use super::*;

#[test]
fn request_and_response_are_translated() {
    let target = H2Target::start(|mut call| async move {
        let (body, _) = call.read().await;
        let fields = &call.head.headers;
        let known = ["x-forwarded-for", "x-mine", "content-length", "host", "connection", "te"];
        let known = known.map(|name| {
            format!("{name}={}", fields.get(name).map_or("", |value| value.to_str().unwrap()))
        });
        let (method, uri, length) = (&call.head.method, &call.head.uri, body.len());
        let text = format!("{method} {uri} {} {length}", known.join(" "));
        call.answer(201, text);
    });
    let balancer = to("HTTP2", &[target.address()]).start();
    let port = balancer.port();
    let mut client = balancer.client();
    client.send("GET /a?b=%20 HTTP/1.1\r\nHost: Test.example\r\nX-Mine: 1\r\nTE: trailers\r\n\r\n");
    let response = client.response("GET");
    assert_eq!(response.status, 201);
    let expected = format!(
        "GET http://test.example:{port}/a?b=%20 x-forwarded-for=127.0.0.1 x-mine=1 content-length= \
         host= connection= te= 0"
    );
    assert_eq!(String::from_utf8_lossy(&response.body), expected);
    client.send("POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let response = client.response("POST");
    let text = String::from_utf8_lossy(&response.body).into_owned();
    assert!(text.contains("content-length=5") && text.ends_with(" 5"), "{text}");
    client.send(
        "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    let response = client.response("POST");
    let text = String::from_utf8_lossy(&response.body).into_owned();
    assert!(text.contains("content-length= ") && text.ends_with(" 3"), "{text}");
    assert_eq!(target.connections(), 1, "one connection for all");
}

#[test]
fn large_bodies_come_and_go_unchanged() {
    let target = H2Target::start(|mut call| async move {
        let (body, _) = call.read().await;
        let head = http::Response::builder().header("content-length", body.len());
        let mut stream = call.respond.send_response(head.body(()).unwrap(), false).unwrap();
        target::send_all(&mut stream, body.into()).await.unwrap();
        stream.send_data(bytes::Bytes::new(), true).unwrap();
    });
    let balancer = to("HTTP2", &[target.address()]).start();
    let mut client = balancer.client();
    for length in [0, 1, 16_384, 16_385, 70_000, 5_000_000] {
        let body = pattern(length);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
        client.send(&body);
        let response = client.response("POST");
        assert!(response.body == body, "{length} bytes came back changed");
    }
}

#[test]
fn responses_without_a_body_and_heads_of_responses_are_whole() {
    let target = H2Target::start(|mut call| async move {
        let status = if call.head.uri.path() == "/none" { 204 } else { 200 };
        let mut head = http::Response::builder().status(status);
        if call.head.method == http::Method::HEAD {
            head = head.header("content-length", "77");
        }
        drop(call.respond.send_response(head.body(()).unwrap(), true));
    });
    let balancer = to("HTTP2", &[target.address()]).start();
    let mut client = balancer.client();
    for (method, path, status, length) in
        [("GET", "/", 200, Some("0")), ("GET", "/none", 204, None), ("HEAD", "/", 200, Some("77"))]
    {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response(method);
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(response.field("content-length"), length, "{method} {path}");
        assert!(response.body.is_empty());
    }
}

#[test]
fn what_does_not_fit_is_answered_with_464() {
    let target = H2Target::start(|call| async move { call.answer(200, "") });
    let home = target.address();
    let balancer = to("HTTP2", &[home]).start();
    let mut client = balancer.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response("GET").status, 464, "no WebSocket");
    assert_eq!(client.get("/").status, 200, "the connection goes on");
    let balancer = to("GRPC", &[home]).start();
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response("POST").status, 464, "HTTP/1.1 is no gRPC");
    assert_eq!(target.requests(), 1);
}

#[test]
fn target_that_speaks_no_http2_is_a_bad_gateway() {
    let target = Target::echo();
    let balancer = to("HTTP2", &[target.address()]).start();
    assert_eq!(balancer.client().get("/").status, 502);
}
