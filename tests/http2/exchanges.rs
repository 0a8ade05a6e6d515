//! Each stream is an exchange like any other.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Method};

use crate::harness::*;
use crate::peer::*;
use crate::{h2c, ok, pattern};

#[test]
fn target_gets_a_request_of_http_1_1_as_alb_writes_it() {
    run(async {
        let target = Target::named("hello");
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        let mut asks = request(Method::GET, "/a%20b?c=d");
        let fields = asks.headers_mut();
        for (name, value) in [("x-one", "1"), ("cookie", "a=b"), ("cookie", "c=d"), ("x-one", "2")]
        {
            fields.append(name, HeaderValue::from_static(value));
        }
        fields.append("te", HeaderValue::from_static("trailers"));
        let answer = peer.ask(asks).await.expect("answer");
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "hello"));
        target.expect_valid();
        let request = target.request();
        assert_eq!(request.target, "/a%20b?c=d");
        assert_eq!(
            request.field("Host"),
            Some("a.example:".to_owned() + &balancer.port().to_string()).as_deref()
        );
        assert_eq!(request.values("x-one"), ["1", "2"]);
        assert_eq!(request.values("cookie"), ["a=b; c=d"]);
        assert_eq!(request.field("te"), None);
        assert_eq!(request.field("X-Forwarded-For"), Some("127.0.0.1"));
        assert!(request.names().contains(&"X-Amzn-Trace-Id"), "{request:?}");
        assert!(request.names().contains(&"x-one"), "{request:?}");
    });
}

#[test]
fn response_has_names_in_lower_case_and_nothing_of_the_connection() {
    run(async {
        let response = "HTTP/1.1 201 Made\r\nX-Custom: A\r\nConnection: close, X-Hop\r\n\
            X-Hop: 1\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\
            Content-Length: 2\r\n\r\nok";
        let target = Target::answering_once(response);
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        for _ in 0..2 {
            let answer = peer.get("/").await.expect("answer");
            assert_eq!(answer.status, 201);
            let names: Vec<_> = answer.fields.keys().map(http::HeaderName::as_str).collect();
            assert_eq!(names, ["x-custom", "set-cookie", "content-length"]);
            let cookies: Vec<_> = answer.fields.get_all("set-cookie").iter().collect();
            assert_eq!(cookies, ["a=b", "c=d"]);
            assert_eq!(answer.text(), "ok");
        }
    });
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    run(async {
        let target = Target::start(|peer| {
            while let Some(request) = peer.request() {
                let head = match (request.method.as_str(), request.target.as_str()) {
                    ("HEAD", _) => "200 OK\r\nContent-Length: 100",
                    (_, "/204") => "204 No Content",
                    (_, "/304") => "304 Not Modified\r\nContent-Length: 100",
                    _ => "200 OK\r\nContent-Length: 0",
                };
                peer.send(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes());
            }
        });
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        for (method, path, status, length) in [
            (Method::HEAD, "/", 200, Some("100")),
            (Method::GET, "/204", 204, None),
            (Method::GET, "/304", 304, Some("100")),
            (Method::GET, "/", 200, Some("0")),
        ] {
            let (response, _) = peer.begin(request(method, path), true).await.expect("begun");
            let (head, body) = response.await.expect("head").into_parts();
            assert_eq!(head.status, status);
            assert!(body.is_end_stream(), "{path}");
            let said = head.headers.get("content-length").map(|value| value.to_str().unwrap());
            assert_eq!(said, length, "{path}");
        }
    });
}

#[test]
fn bodies_go_both_ways_with_a_length_and_without() {
    run(async {
        let target = Target::start(|peer| {
            while let Some(request) = peer.request() {
                let head = match request.field("content-length").is_some() {
                    true => format!("Content-Length: {}\r\n\r\n", request.body.len()).into_bytes(),
                    false => b"Transfer-Encoding: chunked\r\n\r\n".to_vec(),
                };
                peer.send(b"HTTP/1.1 200 OK\r\n");
                peer.send(&head);
                if request.field("content-length").is_some() {
                    peer.send(&request.body);
                    continue;
                }
                for chunk in request.body.chunks(10_000) {
                    peer.send(format!("{:x}\r\n", chunk.len()).as_bytes());
                    peer.send(chunk);
                    peer.send(b"\r\n");
                }
                peer.send(b"0\r\n\r\n");
            }
        });
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        for length in [1, 100, 5000, 70_000, 1_000_000] {
            let body = pattern(length);
            for says_length in [true, false] {
                let mut asks = request(Method::POST, "/");
                if says_length {
                    asks.headers_mut().insert("content-length", length.into());
                }
                let answer = peer.send(asks, &body, None).await.expect("answer");
                assert!(answer.body == body, "{length} {says_length}: {}", answer.body.len());
                assert_eq!(answer.field("content-length").is_some(), says_length);
                assert_eq!(answer.field("transfer-encoding"), None);
            }
        }
        target.expect_valid();
    });
}

#[test]
fn trailers_go_both_ways() {
    run(async {
        let target = Target::start(|peer| {
            while let Some(bytes) = peer.take_until(b"\r\n\r\n") {
                let mut all = bytes;
                while !all.ends_with(b"x-sum: 42\r\n\r\n") {
                    let Some(byte) = peer.take(1) else { return };
                    all.extend(byte);
                }
                peer.send(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n\
                      5\r\nhello\r\n0\r\nx-end: yes\r\nContent-Length: 7\r\n\r\n",
                );
            }
        });
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        let asks = request(Method::POST, "/");
        let answer = peer.send(asks, b"body", Some(trailers)).await.expect("answer");
        assert_eq!(answer.text(), "hello");
        let trailers = answer.trailers.expect("trailers");
        assert_eq!(trailers.get("x-end").map(HeaderValue::as_bytes), Some(&b"yes"[..]));
        assert_eq!(trailers.len(), 1, "{trailers:?}");
    });
}

#[test]
fn client_that_expects_to_be_told_to_go_on_is() {
    run(async {
        let target = Target::echo();
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        let mut asks = request(Method::POST, "/");
        asks.headers_mut().insert("expect", HeaderValue::from_static("100-continue"));
        let (mut response, mut stream) = peer.begin(asks, false).await.expect("begun");
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        assert_eq!(interim.expect("interim").expect("well").status(), 100);
        push(&mut stream, b"hello", true).await.expect("sent");
        assert_eq!(answer(response).await.expect("answer").text(), "hello");
        assert_eq!(target.request().field("expect"), None);
    });
}

#[test]
fn responses_of_our_own_and_limits_are_those_of_http_1() {
    run(async {
        let target = Target::named("home");
        let balancer = h2c(&[&target])
            .group("empty", &[])
            .rule(
                1,
                "path_pattern = [\"/fixed\"]\nfixed_response = { status = 418, body = \"tea\" }",
            )
            .rule(2, "path_pattern = [\"/moved\"]\nredirect = { status = 301, path = \"/there\" }")
            .rule(3, "path_pattern = [\"/none\"]\nforward = \"empty\"")
            .start();
        let peer = Http2::connect(balancer.address("web")).await;
        let long = format!("/{}", "a".repeat(17_000));
        let mut wide = request(Method::GET, "/");
        wide.headers_mut().insert("x", HeaderValue::from_str(&"a".repeat(17_000)).unwrap());
        let mut huge = request(Method::GET, "/");
        for _ in 0..5 {
            huge.headers_mut().append("x", HeaderValue::from_str(&"a".repeat(15_000)).unwrap());
        }
        let cases = [
            (request(Method::GET, "/fixed"), 418),
            (request(Method::GET, "/moved"), 301),
            (request(Method::GET, "/none"), 503),
            (request(Method::TRACE, "/"), 405),
            (request(Method::GET, &long), 414),
            (wide, 400),
            (huge, 431),
            (request(Method::GET, "/"), 200),
        ];
        for (request, status) in cases {
            let uri = request.uri().path().chars().take(10).collect::<String>();
            let answer = peer.ask(request).await.unwrap_or_else(|e| panic!("{uri}: {e}"));
            assert_eq!(answer.status, status, "{uri}");
            assert_eq!(answer.field("connection"), None);
            if status == 301 {
                let there = format!("http://a.example:{}/there", balancer.port());
                assert_eq!(answer.field("location"), Some(there.as_str()));
            }
        }
        let connect = http::Request::builder().method("CONNECT").uri("a.example:80").body(());
        let answer = peer.ask(connect.expect("request")).await.expect("answer");
        assert_eq!(answer.status, 400);
    });
}

#[test]
fn requests_that_break_a_rule_of_http_2_are_reset_and_the_connection_goes_on() {
    run(async {
        let target = Target::named("home");
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        let with = |name: &'static str, value: &'static str| {
            let mut asks = request(Method::GET, "/");
            asks.headers_mut().insert(name, HeaderValue::from_static(value));
            asks
        };
        let cases = [
            with("host", "b.example"),
            with("connection", "close"),
            with("transfer-encoding", "chunked"),
            with("upgrade", "h2c"),
            with("te", "gzip"),
            with("x", " begins with a space"),
            with("x", "ends with a tab\t"),
        ];
        for asks in cases {
            let said = format!("{:?}", asks.headers());
            let error = peer.ask(asks).await.expect_err(&said);
            assert!(
                error.reason() == Some(Reason::PROTOCOL_ERROR) || error.reason().is_none(),
                "{said} {error:?}"
            );
        }
        let mut same = request(Method::GET, "/");
        same.headers_mut().insert("host", HeaderValue::from_static("A.example"));
        assert_eq!(peer.ask(same).await.expect("answer").status, 200);
        assert_eq!(target.requests().len(), 1);
    });
}

#[test]
fn early_answer_is_whole_and_the_connection_goes_on() {
    run(async {
        let target = Target::start(|peer| {
            if peer.take_until(b"\r\n\r\n").is_some() {
                peer.send(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly",
                );
                peer.half_close();
                peer.take_rest();
            }
        });
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        // What nobody reads of them must not use the window of the connection up.
        for _ in 0..8 {
            let (response, mut stream) =
                peer.begin(request(Method::POST, "/"), false).await.expect("begun");
            let body = pattern(600_000);
            let (_, answer) = tokio::join!(push(&mut stream, &body, true), answer(response));
            assert_eq!(answer.expect("answer").text(), "early");
        }
        assert_eq!(peer.get("/").await.expect("answer").text(), "early");
    });
}

#[test]
fn response_that_is_cut_resets_its_stream_and_no_other() {
    run(async {
        let gate = Gate::new();
        let waits = gate.clone();
        let target = Target::start(move |peer| {
            if let Some(request) = peer.request() {
                match request.target.as_str() {
                    "/cut" => drop(peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal")),
                    "/cut-chunks" => drop(
                        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhal"),
                    ),
                    _ => {
                        waits.wait();
                        peer.send(&ok("whole"));
                    }
                }
            }
        });
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        let (other, _) = peer.begin(request(Method::GET, "/"), true).await.expect("begun");
        for path in ["/cut", "/cut-chunks"] {
            let error = peer.get(path).await.expect_err("cut");
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{path} {error:?}");
        }
        gate.open();
        assert_eq!(answer(other).await.expect("answer").text(), "whole");
    });
}

#[test]
fn stream_that_its_client_resets_ends_at_the_target() {
    run(async {
        let target = Target::start(|peer| {
            peer.request();
            peer.take_rest();
        });
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        let (response, mut stream) =
            peer.begin(request(Method::GET, "/"), true).await.expect("begun");
        let came = |all: &[ConnectionRecord]| all.iter().any(|one| !one.requests.is_empty());
        target.wait("the request", came);
        stream.send_reset(Reason::CANCEL);
        drop(response);
        let waits = tokio::task::spawn_blocking(move || {
            target.wait_end(0);
            target
        });
        waits.await.expect("end");
    });
}

#[test]
fn slow_reader_holds_little_and_stops_nobody() {
    run(async {
        const LENGTH: usize = 64 << 20;
        let target = Target::start(|peer| {
            while let Some(request) = peer.request() {
                if request.target == "/small" {
                    peer.send(&ok("small"));
                    continue;
                }
                peer.send(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes(),
                );
                let part = [b'x'; 1 << 16];
                for _ in 0..LENGTH >> 16 {
                    if !peer.send(&part) {
                        return;
                    }
                }
            }
        });
        let balancer = h2c(&[&target]).one_worker().start();
        let peer = Http2::connect(balancer.address("web")).await;
        peer.get("/small").await.expect("answer");
        let before = balancer.memory();
        let mut slow = Vec::new();
        for _ in 0..8 {
            let (response, _) = peer.begin(request(Method::GET, "/"), true).await.expect("begun");
            slow.push(response.await.expect("head").into_body());
        }
        // The windows of the connection are used up; another connection's are not.
        let other = Http2::connect(balancer.address("web")).await;
        for _ in 0..20 {
            assert_eq!(other.get("/small").await.expect("answer").text(), "small");
        }
        let held = balancer.memory().saturating_sub(before);
        assert!(held < 16 << 20, "{held} bytes for 8 streams that nobody reads");
        slow.truncate(1);
        assert_eq!(whole(&mut slow[0]).await.expect("body").len(), LENGTH);
    });
}

#[test]
fn window_of_an_upload_follows_the_reading_of_its_target() {
    run(async {
        let gate = Gate::new();
        let waits = gate.clone();
        let target = Target::start(move |peer| {
            peer.take_until(b"\r\n\r\n");
            waits.wait();
            let mut left: usize = 64 << 20;
            while left > 0 {
                let Some(_) = peer.take(1) else { return };
                left = left.saturating_sub(1 + peer.take_ready().len());
            }
            peer.send(&ok("whole"));
        });
        let balancer = h2c(&[&target]).one_worker().start();
        let peer = Http2::connect(balancer.address("web")).await;
        let mut asks = request(Method::POST, "/");
        asks.headers_mut().insert("content-length", (64_usize << 20).into());
        let (response, mut stream) = peer.begin(asks, false).await.expect("begun");
        let part = Bytes::from(vec![b'x'; 1 << 16]);
        let mut sent = 0;
        let before = balancer.memory();
        // Until nothing moves for a while: sockets and windows are full.
        while let Ok(Some(room)) = tokio::time::timeout(Duration::from_millis(500), async {
            stream.reserve_capacity(part.len());
            std::future::poll_fn(|cx| stream.poll_capacity(cx)).await
        })
        .await
        {
            let room = room.expect("open").min(part.len());
            stream.send_data(part.slice(..room), false).expect("sent");
            sent += room;
        }
        assert!(sent < 32 << 20, "{sent} bytes for a target that does not read");
        let held = balancer.memory().saturating_sub(before);
        assert!(held < 4 << 20, "{held} bytes for an upload that stands");
        gate.open();
        let rest = vec![b'x'; (64 << 20) - sent];
        push(&mut stream, &rest, true).await.expect("sent");
        assert_eq!(answer(response).await.expect("answer").text(), "whole");
    });
}

#[test]
fn websocket_is_a_stream_among_others() {
    run(async {
        let target = Target::start(|peer| {
            let Some(head) = peer.take_until(b"\r\n\r\n") else { return };
            let head = String::from_utf8_lossy(&head).into_owned();
            let is = |text: &str| head.to_ascii_lowercase().contains(text);
            if !is("upgrade: websocket") {
                peer.send(&ok("plain"));
                return;
            }
            if !is("get /chat http/1.1") || !is("sec-websocket-key: ") || !is("connection: upgrade")
            {
                peer.send(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n");
                return;
            }
            peer.send(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\
                  Sec-WebSocket-Protocol: chat\r\n\r\nhello",
            );
            while let Some(bytes) = peer.take(4) {
                peer.send(&bytes);
            }
            peer.send(b"bye");
        });
        let balancer = h2c(&[&target]).start();
        let peer = Http2::connect(balancer.address("web")).await;
        peer.get("/").await.expect("the settings have come");
        assert!(peer.send.is_extended_connect_protocol_enabled());
        let mut asks = request(Method::CONNECT, "/chat");
        asks.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        asks.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("13"));
        let (response, mut stream) = peer.begin(asks, false).await.expect("begun");
        let (head, mut body) = response.await.expect("head").into_parts();
        assert_eq!(head.status, 200);
        assert_eq!(head.headers.get("sec-websocket-protocol").unwrap(), "chat");
        assert!(!head.headers.contains_key("sec-websocket-accept"), "{head:?}");
        let mut got = Vec::new();
        for (send, expect) in [("", "hello"), ("ping", "helloping"), ("pong", "hellopingpong")] {
            push(&mut stream, send.as_bytes(), false).await.expect("sent");
            while got.len() < expect.len() {
                let data = body.data().await.expect("open").expect("well");
                body.flow_control().release_capacity(data.len()).expect("well");
                got.extend_from_slice(&data);
            }
            assert_eq!(got, expect.as_bytes());
        }
        assert_eq!(peer.get("/").await.expect("answer").text(), "plain");
        stream.send_data(Bytes::new(), true).expect("sent");
        assert_eq!(whole(&mut body).await.expect("body"), "bye");
    });
}

#[test]
fn access_log_says_h2() {
    run(async {
        let target = Target::named("hello");
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("log");
        let log = format!("access_log = {{ path = \"{}\" }}", path.display());
        let balancer = h2c(&[&target]).web(&log).start();
        let peer = Http2::connect(balancer.address("web")).await;
        peer.get("/x").await.expect("answer");
        let says = |words: &[&str]| {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            text.lines().any(|line| words.iter().all(|word| line.contains(word)))
        };
        let line = format!("\"GET http://a.example:{}/x HTTP/2.0\"", balancer.port());
        balancer.wait("the line", || says(&["h2 ", &line, " 200 200 "]));
        let (response, mut stream) =
            peer.begin(request(Method::POST, "/gone"), false).await.expect("begun");
        push(&mut stream, b"x", false).await.expect("sent");
        target.wait("the request", |all| {
            all.iter().any(|one| one.received.windows(5).any(|w| w == b"/gone"))
        });
        stream.send_reset(Reason::CANCEL);
        drop(response);
        balancer.wait("the other line", || says(&["h2 ", "/gone HTTP/2.0\"", " 4"]));
    });
}
