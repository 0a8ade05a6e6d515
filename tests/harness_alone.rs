//! The harness checked without the balancer: scripted target and client against each other.

mod harness;

use std::time::Duration;

use harness::*;

#[test]
fn client_and_target_exchange_messages_with_every_framing() {
    let target = Target::start(|peer| {
        while let Some(request) = peer.request() {
            let body = String::from_utf8(request.body).expect("text");
            let response = match request.target.as_str() {
                "/length" => {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                }
                "/chunked" => format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\
                     X-Sum: 1\r\n\r\n",
                    body.len()
                ),
                _ => format!("HTTP/1.1 200 OK\r\n\r\n{body}"),
            };
            peer.send(response.as_bytes());
            if request.target == "/close" {
                break;
            }
        }
    });
    let mut client = Client::connect(target.address());
    let length =
        client.exchange("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!((length.text().as_str(), length.framing), ("abc", Framing::Length(3)));
    let request = "POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    client.send_cut(request.as_bytes(), &[1, 2, 60, 80]);
    let chunked = client.response("POST");
    assert_eq!((chunked.text().as_str(), chunked.framing), ("abc", Framing::Chunked));
    assert_eq!(chunked.trailers, [("X-Sum".into(), "1".into())]);
    let close = client.exchange("POST /close HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz");
    assert_eq!((close.text().as_str(), close.framing), ("z", Framing::UntilClose));
    assert_eq!((target.connection_count(), target.requests().len()), (1, 3));
    assert_eq!(target.connections()[0].parse().0.len(), 3);
}

#[test]
fn strict_parser_refuses_what_two_parsers_may_read_differently() {
    let heads = [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\n\r\na\r\n0\r\n\r\n",
    ];
    for head in heads {
        let parsed = parse_request(head.as_bytes());
        assert!(matches!(parsed, Parsed::Invalid(_)), "{head:?}: {parsed:?}");
    }
}

#[test]
fn strict_parser_reads_every_prefix_of_a_message_as_incomplete() {
    let request = b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                    a\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n";
    for end in 0..request.len() {
        assert_eq!(parse_request(&request[..end]), Parsed::Incomplete, "{end}");
    }
    assert!(
        matches!(parse_request(request), Parsed::Complete(_, length) if length == request.len())
    );
}

#[test]
fn ends_of_connections_are_told_apart() {
    let resetting = Target::start(|peer| {
        peer.take(1);
        peer.reset();
    });
    let mut client = Client::connect(resetting.address());
    client.send("x");
    assert_eq!(client.rest().1, End::Reset);

    let closing = Target::start(|peer| {
        peer.take(1);
        peer.send(b"bye");
        peer.half_close();
        assert_eq!(peer.take_rest(), b"tail");
        peer.take_rest();
    });
    let mut client = Client::connect(closing.address());
    client.send("x");
    assert_eq!(client.rest(), (b"bye".to_vec(), End::Closed));
    client.send("tail");
    client.half_close();
    assert_eq!(closing.wait_end(0), End::Closed);

    let mut client = Client::connect(closing.address());
    assert!(client.is_quiet_for(Duration::from_millis(50)));
    client.reset();
    assert_eq!(closing.wait_end(1), End::Reset);
}

#[test]
fn refusing_and_silent_addresses_do_what_they_say() {
    let refusing = Refusing::start();
    let connect =
        |address| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500));
    let refused = connect(refusing.address()).expect_err("refused").kind();
    assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    let silent = Silent::start();
    assert_eq!(connect(silent.address()).expect_err("silent").kind(), std::io::ErrorKind::TimedOut);
    let stopped = Target::echo();
    stopped.stop_listening();
    let refused = connect(stopped.address()).expect_err("refused").kind();
    assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn gate_lets_a_script_go_on() {
    let gate = Gate::new();
    let opened = gate.clone();
    let target = Target::start(move |peer| {
        peer.take(1);
        opened.wait();
        peer.send(b"ok");
    });
    let mut client = Client::connect(target.address());
    client.send("x");
    assert!(client.is_quiet_for(Duration::from_millis(50)));
    gate.open();
    assert_eq!(client.rest(), (b"ok".to_vec(), End::Closed));
}

#[test]
fn pieces_are_read_one_by_one() {
    let pieces = Target::start(|peer| {
        for expected in [b"abc".as_slice(), b"de", b"f"] {
            peer.take(1);
            let read = [b"?".as_slice(), &peer.take_ready()].concat();
            assert_eq!(read.len(), expected.len(), "{expected:?}");
        }
        peer.send(b"in three pieces");
    });
    let mut client = Client::connect(pieces.address());
    client.send_pieces(b"abcdef", &[3, 5]);
    assert_eq!(client.rest(), (b"in three pieces".to_vec(), End::Closed));
}
