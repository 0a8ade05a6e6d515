//! PROXY protocol headers, sent and accepted (spec 5.3, 5.8, 14.8).

use std::net::SocketAddr;

use ppp::{v1, v2};

use crate::harness::*;

/// Takes the connection's bytes to its end.
fn sink() -> Target {
    Target::start(|peer| {
        peer.take_rest();
    })
}

/// What a target gets from a client that sends `bytes` and FIN.
fn received(config: &Config, target: &Target, bytes: &[u8]) -> (Vec<u8>, SocketAddr, SocketAddr) {
    let balancer = config.start();
    let mut client = balancer.client();
    client.send(bytes);
    client.half_close();
    target.wait_end(0);
    let connection = target.connections().remove(0);
    (connection.received, client.address(), balancer.address("web"))
}

/// A v2 header for these IPv4 addresses, written by hand from the layout of spec 5.8.
fn v2_header(source: [u8; 4], source_port: u16, tlvs: &[u8]) -> Vec<u8> {
    let length = 12 + tlvs.len() as u16;
    [
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11".as_slice(),
        &length.to_be_bytes(),
        &source,
        &[10, 1, 0, 2],
        &source_port.to_be_bytes(),
        &443_u16.to_be_bytes(),
        tlvs,
    ]
    .concat()
}

const V1: &[u8] = b"PROXY TCP4 198.51.100.9 10.1.0.2 40122 443\r\n";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

#[test]
fn header_v1_tells_the_target_both_addresses() {
    let target = sink();
    let config = tcp(&[&target]).web("proxy_protocol = \"v1\"");
    let (bytes, client, listener) = received(&config, &target, b"hello");
    let header = v1::Header::try_from(bytes.as_slice()).expect("v1 header");
    let expected = (client, listener).into();
    assert_eq!(header.addresses, expected);
    assert_eq!(&bytes[header.header.len()..], b"hello");
    assert!(header.header.ends_with("\r\n") && header.header.len() <= 107);
}

#[test]
fn header_v2_tells_the_target_both_addresses() {
    let target = sink();
    let config = tcp(&[&target]).web("proxy_protocol = \"v2\"");
    let (bytes, client, listener) = received(&config, &target, b"hello");
    let header = v2::Header::try_from(bytes.as_slice()).expect("v2 header");
    assert_eq!((header.command, header.protocol), (v2::Command::Proxy, v2::Protocol::Stream));
    assert_eq!(header.addresses, (client, listener).into());
    assert_eq!(&bytes[header.len()..], b"hello");
}

#[test]
fn headers_are_sent_for_ipv6_too() {
    for version in ["v1", "v2"] {
        let target = sink();
        let config = tcp(&[&target]).web(&format!("proxy_protocol = \"{version}\""));
        let balancer = Balancer::start(&config.text().replace("127.0.0.1:0", "[::1]:0"));
        let mut client = balancer.client();
        client.half_close();
        target.wait_end(0);
        let bytes = target.connections().remove(0).received;
        let addresses = (client.address(), balancer.address("web"));
        if version == "v1" {
            let header = v1::Header::try_from(bytes.as_slice()).expect("v1 header");
            assert_eq!(header.addresses, addresses.into());
        } else {
            let header = v2::Header::try_from(bytes.as_slice()).expect("v2 header");
            assert_eq!(header.addresses, addresses.into());
        }
    }
}

#[test]
fn header_is_sent_before_the_client_says_anything() {
    let target = sink();
    let balancer = tcp(&[&target]).web("proxy_protocol = \"v1\"").start();
    let _client = balancer.client();
    target.wait("a header", |all| all.iter().any(|c| c.received.ends_with(b"\r\n")));
}

#[test]
fn header_of_a_client_is_payload_where_none_is_accepted() {
    let target = sink();
    let config = tcp(&[&target]).web("proxy_protocol = \"v1\"");
    let (bytes, _, _) = received(&config, &target, V1);
    assert!(bytes.ends_with(V1) && bytes.len() > V1.len(), "{}", show(&bytes));
}

fn accepting(target: &Target, lines: &str) -> Config {
    tcp(&[target]).web("accept_proxy_protocol = true").web(lines)
}

#[test]
fn accepted_headers_are_removed_and_their_addresses_passed_on() {
    let noop = [0x04, 0, 3, 1, 2, 3];
    let headers = [
        V1.to_vec(),
        v2_header([198, 51, 100, 9], 40_122, b""),
        v2_header([198, 51, 100, 9], 40_122, &noop),
    ];
    for header in headers {
        let target = sink();
        let config = accepting(&target, "proxy_protocol = \"v1\"");
        let sent = [header.as_slice(), b"hello"].concat();
        let (bytes, _, _) = received(&config, &target, &sent);
        let expected = [V1, b"hello"].concat();
        assert_eq!(show(&bytes), show(&expected), "{}", show(&header));
    }
}

#[test]
fn accepted_headers_may_come_in_any_pieces() {
    for header in [V1.to_vec(), v2_header([198, 51, 100, 9], 40_122, b"")] {
        let target = sink();
        let balancer = accepting(&target, "").start();
        let sent = [header.as_slice(), b"hello"].concat();
        for cut in 1..sent.len() {
            let mut client = balancer.client();
            client.send_cut(&sent, &[cut]);
            client.half_close();
            target.wait_end(cut - 1);
            assert_eq!(show(&target.connections()[cut - 1].received), "hello", "cut at {cut}");
        }
    }
}

#[test]
fn headers_without_addresses_leave_those_of_the_connection() {
    for header in [b"PROXY UNKNOWN\r\n".as_slice(), V2_LOCAL] {
        let target = sink();
        let config = accepting(&target, "proxy_protocol = \"v2\"");
        let sent = [header, b"hello"].concat();
        let (bytes, client, _) = received(&config, &target, &sent);
        let header = v2::Header::try_from(bytes.as_slice()).expect("v2 header");
        let v2::Addresses::IPv4(addresses) = header.addresses else { panic!("{header:?}") };
        let source = SocketAddr::from((addresses.source_address, addresses.source_port));
        assert_eq!(source, client);
        assert_eq!(&bytes[header.len()..], b"hello");
    }
}

#[test]
fn malformed_headers_end_the_connection_before_any_target() {
    let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200], b"\r\n"].concat();
    let headers: [&[u8]; 10] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 198.51.100.9 10.1.0.2 40122\r\nhello",
        b"PROXY TCP4 198.51.100.999 10.1.0.2 40122 443\r\n",
        b"PROXY TCP4 198.51.100.9 10.1.0.2 70000 443\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY  TCP4 198.51.100.9 10.1.0.2 40122 443\r\n",
        b"proxy TCP4 198.51.100.9 10.1.0.2 40122 443\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\x01\x02\x03\x04\x01\x02\x03\x04\0\x01\0\x02hello",
        b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c\x01\x02\x03\x04\x01\x02\x03\x04\0\x01\0\x02hello",
        &long,
    ];
    let target = sink();
    let balancer = accepting(&target, "").start();
    for header in headers {
        let mut client = balancer.client();
        client.try_send(header);
        let (bytes, end) = client.rest();
        assert_eq!(bytes, b"", "{}", show(header));
        assert_ne!(end, End::TimedOut, "{}", show(header));
    }
    assert_eq!(target.connection_count(), 0);
}

#[test]
fn connection_that_never_brings_its_header_is_closed() {
    let target = sink();
    let lines = "head_timeout = \"700ms\"\nidle_timeout = \"700ms\"";
    for begin in ["", "PROXY TCP4 198"] {
        let balancer = accepting(&target, lines).start();
        let mut client = balancer.client();
        // On a busy machine it may be closed before.
        client.try_send(begin);
        assert_ne!(client.rest().1, End::TimedOut, "{begin:?}");
    }
    assert_eq!(target.connection_count(), 0);
}

#[test]
fn header_is_accepted_from_trusted_fronts_only() {
    let target = sink();
    let balancer = accepting(&target, "trusted_fronts = [\"127.0.0.2/32\"]").start();
    Client::expect_no_service([127, 0, 0, 3], balancer.address("web"), V1);
    assert_eq!(target.connection_count(), 0);
    let mut front = Client::connect_from([127, 0, 0, 2], balancer.address("web"));
    front.send([V1, b"hello"].concat());
    front.half_close();
    target.wait_end(0);
    assert_eq!(show(&target.connections()[0].received), "hello");
}

#[test]
fn accepted_address_is_the_client_of_an_http_listener() {
    let target = Target::named("ok");
    let rule = "source_ip = [\"203.0.113.0/24\"]\n\
                fixed_response = { status = 403, content_type = \"text/plain\", body = \"no\" }";
    let balancer = http(&[&target]).web("accept_proxy_protocol = true").rule(1, rule).start();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = balancer.client();
    client.send([V1, request, request].concat());
    assert_eq!(client.response("GET").text(), "ok");
    assert_eq!(client.response("GET").text(), "ok");
    for request in target.requests() {
        assert_eq!(request.field("X-Forwarded-For"), Some("198.51.100.9"));
    }
    let mut blocked = balancer.client();
    blocked.send([v2_header([203, 0, 113, 7], 1, b"").as_slice(), request].concat());
    assert_eq!(blocked.response("GET").status, 403);
}
