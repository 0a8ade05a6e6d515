//! Lines as AWS shows them, and properties: whatever is in an entry, it is one line with the
//! fields that its format has.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const CART: &[u8] = b"cart";

fn listener(mode: Mode) -> Names {
    Names::new("shop", mode, ([0, 0, 0, 0], 80).into())
}

fn entry(listener: &Names) -> Entry<'_> {
    let target = Try { target: ([10, 1, 0, 5], 32801).into(), status: 200 };
    Entry {
        listener,
        protocol: Protocol::Http,
        client: ([198, 51, 100, 9], 40122).into(),
        local: [10, 1, 0, 2].into(),
        connection: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
        created: Duration::from_micros(1_770_091_506_098_000),
        ended: Duration::from_micros(1_770_091_506_123_456),
        spans: Spans {
            request: Some(Duration::from_micros(1_234)),
            connect: Some(Duration::from_micros(31)),
            target: Some(Duration::from_micros(24_010)),
            response: Some(Duration::from_micros(44)),
            whole: Duration::from_micros(25_456),
        },
        request: Some(Asked {
            method: b"GET",
            target: b"/cart?id=7",
            path_and_query: b"/cart?id=7",
            authority: b"shop.example.com",
            version: Version::Http11,
            user_agent: b"curl/8.5.0",
            referer: b"",
        }),
        matched: Matched::Rule(Priority::new(10).expect("in range")),
        action: Some(ActionKind::Forward),
        group: Some(CART),
        target: Some(target),
        given_up: &[],
        status: 200,
        received: Bytes { all: 812, head: 812 },
        sent: Bytes { all: 5120, head: 120 },
        trace: b"Root=1-69817432-0123456789abcdef01234567",
        location: b"",
        error: None,
        classification: None,
        tls: None,
        server_name: b"",
        refused_certificate: None,
    }
}

fn line(format: LogFormat, entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    encode(format, entry, &mut out);
    let line = String::from_utf8(out).expect("text");
    line.strip_suffix('\n').expect("a line end").to_owned()
}

#[test]
fn alb_line_has_the_34_fields_of_aws() {
    let listener = listener(Mode::L7);
    assert_eq!(
        line(LogFormat::Alb, &entry(&listener)),
        "http 2026-02-03T04:05:06.123456Z app/shop/46dc5e18e28e2409 198.51.100.9:40122 \
         10.1.0.5:32801 0.001 0.024 0.000 200 200 812 5120 \
         \"GET http://shop.example.com:80/cart?id=7 HTTP/1.1\" \"curl/8.5.0\" - - \
         arn:aws:elasticloadbalancing:local-1:000000000000:targetgroup/cart/b5615e90e87b608f \
         \"Root=1-69817432-0123456789abcdef01234567\" \"-\" \"-\" 10 \
         2026-02-03T04:05:06.098000Z \"forward\" \"-\" \"-\" \
         \"10.1.0.5:32801\" \"200\" \"-\" \"-\" \
         TID_0123456789abcdef0123456789abcdef \"-\" \"-\" \"-\" 10.1.0.2"
    );
}

#[test]
fn request_that_could_not_be_read_has_the_shape_of_aws() {
    let listener = listener(Mode::L7);
    let entry = Entry {
        spans: Spans::default(),
        request: None,
        matched: Matched::Nothing,
        action: None,
        group: None,
        target: None,
        status: 400,
        received: Bytes { all: 64, head: 64 },
        sent: Bytes { all: 272, head: 150 },
        trace: b"",
        error: Some(Reason { name: "http_request_error", proxy_status: "http_request_error" }),
        classification: Some(("Severe", "BadContentLength")),
        ..entry(&listener)
    };
    assert_eq!(
        line(LogFormat::Alb, &entry),
        "http 2026-02-03T04:05:06.123456Z app/shop/46dc5e18e28e2409 198.51.100.9:40122 - -1 -1 -1 \
         400 - 64 272 \"- http://10.1.0.2:80- -\" \"-\" - - - \"-\" \"-\" \"-\" - \
         2026-02-03T04:05:06.098000Z \"-\" \"-\" \"http_request_error\" \"-\" \"-\" \"Severe\" \
         \"BadContentLength\" TID_0123456789abcdef0123456789abcdef \"-\" \"-\" \"-\" 10.1.0.2"
    );
}

#[test]
fn targets_that_were_tried_are_listed_in_order() {
    let listener = listener(Mode::L7);
    let before = [
        Try { target: ([10, 1, 0, 6], 80).into(), status: 0 },
        Try { target: ([10, 1, 0, 7], 80).into(), status: 502 },
    ];
    let entry = Entry { given_up: &before, ..entry(&listener) };
    let line = line(LogFormat::Alb, &entry);
    assert!(line.contains("\"10.1.0.6:80 10.1.0.7:80 10.1.0.5:32801\" \"- 502 200\""), "{line}");
}

#[test]
fn classic_line_has_the_15_fields_of_aws() {
    let listener = listener(Mode::L7);
    assert_eq!(
        line(LogFormat::Classic, &entry(&listener)),
        "2026-02-03T04:05:06.098000Z shop 198.51.100.9:40122 10.1.0.5:32801 0.001234 0.024010 \
         0.000044 200 200 0 5000 \"GET http://shop.example.com:80/cart?id=7 HTTP/1.1\" \
         \"curl/8.5.0\" - -"
    );
}

fn connection(listener: &Names) -> Entry<'_> {
    Entry {
        protocol: Protocol::Tcp,
        request: None,
        matched: Matched::Default,
        status: 0,
        target: Some(Try { target: ([10, 1, 0, 7], 25).into(), status: 0 }),
        received: Bytes { all: 512, head: 0 },
        sent: Bytes { all: 1204, head: 0 },
        trace: b"",
        ..entry(listener)
    }
}

#[test]
fn connection_has_a_line_in_every_format() {
    let listener = listener(Mode::L4);
    let connection = connection(&listener);
    assert_eq!(
        line(LogFormat::Alb, &connection),
        "2026-02-03T04:05:06.098000Z 198.51.100.9 40122 80 - - - \"-\" - - - \
         TID_0123456789abcdef0123456789abcdef - app/shop/46dc5e18e28e2409 10.1.0.2"
    );
    assert_eq!(
        line(LogFormat::Classic, &connection),
        "2026-02-03T04:05:06.098000Z shop 198.51.100.9:40122 10.1.0.7:25 0.001234 0.000031 \
         0.000044 - - 512 1204 \"- - - \" \"-\" - -"
    );
    assert_eq!(
        line(LogFormat::Combined, &connection),
        "198.51.100.9 - - [03/Feb/2026:04:05:06 +0000] \"TCP 10.1.0.7:25 -\" 000 1204 \"-\" \"-\""
    );
    let json: Value = serde_json::from_str(&line(LogFormat::Json, &connection)).expect("JSON");
    assert_eq!(json["type"], "tcp");
    assert_eq!(json["target"], "10.1.0.7:25");
    assert_eq!(json["status"], Value::Null);
    assert_eq!(json["received_bytes"], 512);
}

#[test]
fn combined_line_is_that_of_web_servers() {
    let listener = listener(Mode::L7);
    assert_eq!(
        line(LogFormat::Combined, &entry(&listener)),
        "198.51.100.9 - - [03/Feb/2026:04:05:06 +0000] \"GET /cart?id=7 HTTP/1.1\" 200 5000 \"-\" \
         \"curl/8.5.0\""
    );
}

#[test]
fn json_line_holds_everything() {
    let listener = listener(Mode::L7);
    let json: Value =
        serde_json::from_str(&line(LogFormat::Json, &entry(&listener))).expect("JSON");
    let mut expected = serde_json::json!({
        "time": "2026-02-03T04:05:06.123456Z", "created": "2026-02-03T04:05:06.098000Z",
        "type": "http", "listener": "shop", "client": "198.51.100.9:40122",
        "local_ip": "10.1.0.2", "connection_id": "TID_0123456789abcdef0123456789abcdef",
        "method": "GET", "host": "shop.example.com", "target_uri": "/cart?id=7",
        "http_version": "HTTP/1.1", "user_agent": "curl/8.5.0", "referer": null,
        "trace_id": "Root=1-69817432-0123456789abcdef01234567", "status": 200, "rule": 10,
        "action": "forward", "redirect_url": null, "target_group": "cart",
        "target": "10.1.0.5:32801", "target_status": 200,
        "attempts": [{ "target": "10.1.0.5:32801", "status": 200 }],
        "received_bytes": 812, "received_body_bytes": 0, "sent_bytes": 5120,
        "sent_body_bytes": 5000, "request_processing_time": 0.001_234,
        "target_connect_time": 0.000_031, "target_processing_time": 0.024_01,
        "response_processing_time": 0.000_044, "duration": 0.025_456, "error": null,
        "proxy_status": null, "classification": null, "classification_reason": null,
    });
    for key in [
        "protocol",
        "cipher",
        "key_exchange",
        "server_name",
        "certificate",
        "handshake_time",
        "client_subject",
        "client_issuer",
        "client_serial_number",
        "client_validity",
        "verify_status",
    ] {
        expected[format!("tls_{key}")] = Value::Null;
    }
    assert_eq!(json, expected);
}

#[test]
fn tls_fields_stand_where_aws_has_them() {
    let listener = listener(Mode::L7);
    let tls = Tls {
        cipher: b"TLS_AES_128_GCM_SHA256",
        protocol: b"TLSv1.3",
        server_name: b"shop.example.com",
        certificate: b"web",
        handshake: Duration::from_millis(4),
        key_exchange: b"X25519",
        client: None,
    };
    let entry = Entry { protocol: Protocol::Https, tls: Some(tls), ..entry(&listener) };
    let fields = fields(&line(LogFormat::Alb, &entry));
    assert_eq!(fields[12], "GET https://shop.example.com:80/cart?id=7 HTTP/1.1");
    assert_eq!(fields[14..16], ["TLS_AES_128_GCM_SHA256", "TLSv1.3"]);
    assert_eq!(fields[18..20], ["shop.example.com", "web"]);
}

#[test]
fn certificate_of_a_client_is_told_where_aws_has_it() {
    let listener = listener(Mode::L4);
    let client = ClientCertificate {
        subject: b"CN=dev,O=\"Example\"",
        issuer: b"CN=ca",
        serial_number: b"5FF3A1",
        validity: b"NotBefore=2026-01-01T00:00:00Z;NotAfter=2027-01-01T00:00:00Z",
        is_verified: true,
    };
    let tls = Tls {
        cipher: b"TLS_AES_128_GCM_SHA256",
        protocol: b"TLSv1.3",
        server_name: b"",
        certificate: b"web",
        handshake: Duration::from_millis(4),
        key_exchange: b"X25519",
        client: Some(client),
    };
    let verified = Entry { tls: Some(tls), ..entry(&listener) };
    let told = fields(&line(LogFormat::Alb, &verified));
    assert_eq!(plain(&told[7]), b"CN=dev,O=\"Example\"");
    assert_eq!(told[8], "NotBefore=2026-01-01T00:00:00Z;NotAfter=2027-01-01T00:00:00Z");
    assert_eq!(told[9..11], ["5FF3A1", "Success"]);
    let refused = Some("ClientCertExpired");
    let refused = Entry { refused_certificate: refused, ..entry(&listener) };
    let told = fields(&line(LogFormat::Alb, &refused));
    assert_eq!(told[7..11], ["-", "-", "-", "Failed:ClientCertExpired"]);
    let json: Value = serde_json::from_str(&line(LogFormat::Json, &refused)).expect("JSON");
    assert_eq!(json["tls_verify_status"], "Failed:ClientCertExpired");
    let json: Value = serde_json::from_str(&line(LogFormat::Json, &verified)).expect("JSON");
    assert_eq!(json["tls_verify_status"], "Success");
    assert_eq!(json["tls_client_issuer"], "CN=ca");
}

#[test]
fn days_are_those_of_the_calendar() {
    let cases = [
        (0, "1970-01-01T00:00:00.000000Z"),
        (951_782_400, "2000-02-29T00:00:00.000000Z"),
        (951_868_799, "2000-02-29T23:59:59.000000Z"),
        (951_868_800, "2000-03-01T00:00:00.000000Z"),
        (1_798_761_599, "2026-12-31T23:59:59.000000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        (253_402_300_799, "9999-12-31T23:59:59.000000Z"),
    ];
    for (seconds, expected) in cases {
        let mut out = Vec::new();
        text::time(Duration::from_secs(seconds), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

/// Splits a line at its spaces, those in quotes apart; a quote begins and ends a whole field.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("the closing quote"),
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        assert!(behind.is_empty() || behind.starts_with(' '), "{field:?} ends with its field");
        fields.push(field.to_owned());
        rest = behind.strip_prefix(' ').unwrap_or(behind);
    }
    fields
}

/// Takes the escapes back.
fn plain(field: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = field.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        assert_eq!(rest.next(), Some(b'x'), "the one escape in {field}");
        let digits: String = rest.by_ref().take(2).map(char::from).collect();
        bytes.push(u8::from_str_radix(&digits, 16).expect("two digits"));
    }
    bytes
}

/// What a client may have sent.
#[derive(Debug, Clone)]
struct Sent {
    request: Option<[Vec<u8>; 5]>,
    trace: Vec<u8>,
    location: Vec<u8>,
    group: Option<Vec<u8>>,
    tried: usize,
    status: u16,
    l4: bool,
    ipv6: bool,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let nasty = prop::sample::select(b"\"\\\r\n\t\0 -x\x7f\x80\xff".as_slice());
    vec(prop_oneof![nasty, any::<u8>()], 0..40)
}

fn sent() -> impl Strategy<Value = Sent> {
    let request = option::of([bytes(), bytes(), bytes(), bytes(), bytes()]);
    let group = option::of(bytes());
    let flags = (any::<bool>(), any::<bool>());
    (request, bytes(), bytes(), group, 0..9_usize, 0..1000_u16, flags).prop_map(
        |(request, trace, location, group, tried, status, (l4, ipv6))| Sent {
            request,
            trace,
            location,
            group,
            tried,
            status,
            l4,
            ipv6,
        },
    )
}

/// Calls `look` with the entry of what was sent.
fn with_entry(sent: &Sent, look: impl FnOnce(&Entry<'_>)) {
    let listener = listener(if sent.l4 { Mode::L4 } else { Mode::L7 });
    let target: SocketAddr = match sent.ipv6 {
        true => "[2001:db8::1]:8080".parse().expect("an address"),
        false => ([10, 0, 0, 1], 80).into(),
    };
    let tries = vec![Try { target, status: sent.status }; sent.tried];
    let (last, before) = match tries.split_last() {
        Some((last, before)) => (Some(*last), before),
        None => (None, &[][..]),
    };
    look(&Entry {
        client: target,
        local: target.ip(),
        request: sent.request.as_ref().map(|[method, target, authority, agent, referer]| Asked {
            method,
            target,
            path_and_query: target,
            authority,
            version: Version::Http10,
            user_agent: agent,
            referer,
        }),
        group: sent.group.as_deref(),
        target: last,
        given_up: before,
        status: sent.status,
        trace: &sent.trace,
        location: &sent.location,
        ..entry(&listener)
    });
}

fn is_null_or(value: &Value, bytes: &[u8]) -> bool {
    match bytes {
        [] => value.is_null(),
        bytes => value.as_str() == Some(&String::from_utf8_lossy(bytes)),
    }
}

proptest! {
    #[test]
    fn every_entry_is_one_printable_line(sent in sent()) {
        with_entry(&sent, |entry| {
            for format in [LogFormat::Alb, LogFormat::Classic, LogFormat::Combined] {
                let line = line(format, entry);
                assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
            }
            let json = line(LogFormat::Json, entry);
            assert!(!json.bytes().any(|byte| byte < b' '), "{json:?}");
        });
    }

    #[test]
    fn fields_are_as_many_as_the_format_has_and_can_be_read_back(sent in sent()) {
        with_entry(&sent, |entry| {
            let alb = fields(&line(LogFormat::Alb, entry));
            assert_eq!(alb.len(), if sent.l4 { 15 } else { 34 }, "{alb:?}");
            assert_eq!(fields(&line(LogFormat::Classic, entry)).len(), 15);
            if sent.l4 {
                return;
            }
            assert_eq!(alb[12].split(' ').count(), 3, "{}", alb[12]);
            let or_dash = |bytes: &[u8]| match bytes {
                [] => b"-".to_vec(),
                bytes => bytes.to_vec(),
            };
            assert_eq!(plain(&alb[17]), or_dash(&sent.trace));
            assert_eq!(plain(&alb[23]), or_dash(&sent.location));
            if let Some([method, target, _, agent, _]) = &sent.request {
                assert!(plain(&alb[12]).starts_with(method));
                assert!(plain(&alb[12]).ends_with(&[&target[..], b" HTTP/1.0"].concat()));
                assert_eq!(plain(&alb[13]), or_dash(agent));
            }
            assert_eq!(alb[25].split(' ').count(), sent.tried.max(1));
            assert_eq!(alb[26].split(' ').count(), sent.tried.max(1));
        });
    }

    #[test]
    fn json_can_be_read_back(sent in sent()) {
        with_entry(&sent, |entry| {
            let line = line(LogFormat::Json, entry);
            let json: Value = serde_json::from_str(&line).expect("JSON");
            assert!(is_null_or(&json["trace_id"], &sent.trace), "{line}");
            assert!(is_null_or(&json["redirect_url"], &sent.location), "{line}");
            assert_eq!(json["attempts"].as_array().map(Vec::len), Some(sent.tried));
            if let Some([method, _, host, agent, referer]) = &sent.request {
                assert!(is_null_or(&json["method"], method), "{line}");
                assert!(is_null_or(&json["host"], host), "{line}");
                assert!(is_null_or(&json["user_agent"], agent), "{line}");
                assert!(is_null_or(&json["referer"], referer), "{line}");
            }
        });
    }
}
