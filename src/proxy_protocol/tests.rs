//! Headers by example, read back by an independent decoder, and properties for any bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use ppp::v2::{Builder, Command, Header, Protocol, Type, Version};
use proptest::prelude::*;

use super::*;

use HeaderError as E;
use ProxyProtocolVersion::{V1, V2};

/// The header of the reference capture, `PROXY`, TCP over IPv4, without TLVs.
const V2_PLAIN: &str = "0d0a0d0a000d0a515549540a 21 11 000c c6336409 0a010002 9cba 01bb";
const V2_CRC: &str =
    "0d0a0d0a000d0a515549540a 21 11 0013 c6336409 0a010002 9cba 01bb 030004 7717fda3";
const V2_CRC_AWS: &str = concat!(
    "0d0a0d0a000d0a515549540a 21 11 002d c6336409 0a010002 9cba 01bb 030004 f00d8cc6",
    "ea0017 01 767063652d3031323334353637383961626364656630",
);
const V2_LOCAL: &str = "0d0a0d0a000d0a515549540a 20 00 0000";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn sample() -> Addresses {
    addresses("198.51.100.9:40122", "10.1.0.2:443")
}

fn encoded(version: ProxyProtocolVersion, addresses: &Addresses) -> Vec<u8> {
    let mut out = Vec::new();
    encode(version, addresses, &mut out);
    out
}

fn complete(header_bytes: usize, addresses: Option<Addresses>) -> Result<Decoded, HeaderError> {
    Ok(Decoded::Complete { header_bytes, addresses })
}

#[test]
fn headers_are_written_as_aws_writes_them() {
    let cases = [
        (V1, sample(), b"PROXY TCP4 198.51.100.9 10.1.0.2 40122 443\r\n".to_vec()),
        (V2, sample(), hex(V2_CRC)),
        (
            V1,
            addresses("[2001:db8::21f:5bff:febf:ce22]:35646", "[2001:db8::12f:8baa:eafc:ce29]:80"),
            b"PROXY TCP6 2001:db8::21f:5bff:febf:ce22 2001:db8::12f:8baa:eafc:ce29 35646 80\r\n"
                .to_vec(),
        ),
        (
            V1,
            addresses("[::ffff:198.51.100.9]:1", "[::ffff:10.1.0.2]:2"),
            b"PROXY TCP4 198.51.100.9 10.1.0.2 1 2\r\n".to_vec(),
        ),
        (
            V1,
            addresses("198.51.100.9:1", "[2001:db8::1]:2"),
            b"PROXY TCP6 ::ffff:198.51.100.9 2001:db8::1 1 2\r\n".to_vec(),
        ),
    ];
    for (version, addresses, expected) in cases {
        assert_eq!(encoded(version, &addresses), expected, "{version:?} {addresses:?}");
    }
    let mut out = b"before".to_vec();
    encode(V2, &sample(), &mut out);
    assert_eq!(out, [b"before".as_slice(), &hex(V2_CRC)].concat());
}

#[test]
fn whole_headers_are_read() {
    let sample = Some(sample());
    let cases: Vec<(Vec<u8>, Option<Addresses>)> = vec![
        (b"PROXY TCP4 198.51.100.9 10.1.0.2 40122 443\r\n".to_vec(), sample),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 ffff::2  65535 x\r\n".to_vec(), None),
        (
            b"PROXY TCP6 2001:db8::1 ::ffff:10.1.0.2 0 65535\r\n".to_vec(),
            Some(addresses("[2001:db8::1]:0", "10.1.0.2:65535")),
        ),
        (hex(V2_PLAIN), sample),
        (hex(V2_CRC), sample),
        (hex(V2_CRC_AWS), sample),
        (hex(V2_LOCAL), None),
        // LOCAL with an unknown family and nonsense behind it: discarded.
        (hex("0d0a0d0a000d0a515549540a 20 ff 0004 ffffffff"), None),
        // PROXY of an unspecified family, of UDP, and of a UNIX socket.
        (hex("0d0a0d0a000d0a515549540a 21 00 0002 ffff"), None),
        (hex("0d0a0d0a000d0a515549540a 21 12 000c c6336409 0a010002 9cba 01bb"), None),
        ([hex("0d0a0d0a000d0a515549540a 21 31 00d8"), vec![0; 216]].concat(), None),
    ];
    for (header, addresses) in cases {
        let len = header.len();
        assert_eq!(decode(&header), complete(len, addresses), "{header:x?}");
        let with_payload = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(decode(&with_payload), complete(len, addresses), "{header:x?}");
        for end in 0..len {
            assert_eq!(decode(&header[..end]), Ok(Decoded::Incomplete), "{end} of {header:x?}");
        }
    }
}

#[test]
fn text_headers_that_break_a_rule_are_refused() {
    let cases = [
        ("GET / HTTP/1.1\r\n", E::NotAHeader),
        ("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", E::NotAHeader),
        ("PROXY\r\n", E::NotAHeader),
        ("PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n", E::NotAHeader),
        ("PROXY \r\n", E::Protocol),
        ("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", E::Protocol),
        ("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", E::Protocol),
        ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", E::Protocol),
        ("PROXY TCP4\r\n", E::Fields),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", E::Fields),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", E::Fields),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", E::Fields),
        ("PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", E::Fields),
        ("PROXY TCP4  1.2.3.4 1.2.3.4 1\r\n", E::Address),
        ("PROXY TCP4 1.2.3.4 ::1 1 2\r\n", E::Address),
        ("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", E::Address),
        ("PROXY TCP6 [::1] ::1 1 2\r\n", E::Address),
        ("PROXY TCP6 fe80::1%lo ::1 1 2\r\n", E::Address),
        ("PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", E::Address),
        ("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", E::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.\u{e9} 1 2\r\n", E::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", E::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 00 2\r\n", E::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", E::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", E::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n", E::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n", E::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", E::LineEnd),
        ("PROXY UNKNOWN a\nb\r\n", E::LineEnd),
    ];
    for (header, error) in cases {
        assert_eq!(decode(header.as_bytes()), Err(error), "{header:?}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn a_text_header_ends_within_107_bytes() {
    let unknown = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
    assert_eq!(decode(unknown(107).as_bytes()), complete(107, None));
    assert_eq!(decode(&unknown(107).as_bytes()[..106]), Ok(Decoded::Incomplete));
    assert_eq!(decode(unknown(108).as_bytes()), Err(E::LineTooLong));
    let longest = Ipv6Addr::from([0xffff, 0xffff, 0, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff]);
    let end = SocketAddr::new(longest.into(), 65535);
    let line = encoded(V1, &Addresses { source: end, destination: end });
    assert!(line.len() <= V1_HEADER_BYTES_MAX);
}

#[test]
fn binary_headers_that_break_a_rule_are_refused() {
    let cases = [
        ("0d0a0d0a000d0a515549540b", E::NotAHeader),
        ("0d0a0d0a000d0a515549540a 11 11 0000", E::Version),
        ("0d0a0d0a000d0a515549540a 31 11 0000", E::Version),
        ("0d0a0d0a000d0a515549540a 22 11 0000", E::Command),
        ("0d0a0d0a000d0a515549540a 2f 11 0000", E::Command),
        ("0d0a0d0a000d0a515549540a 21 41 0000", E::Family),
        ("0d0a0d0a000d0a515549540a 21 13 0000", E::Family),
        ("0d0a0d0a000d0a515549540a 21 11 000b", E::TooShort),
        ("0d0a0d0a000d0a515549540a 21 21 0023", E::TooShort),
        ("0d0a0d0a000d0a515549540a 21 31 00d7", E::TooShort),
        ("0d0a0d0a000d0a515549540a 21 11 ffff", E::TooLong),
        ("0d0a0d0a000d0a515549540a 20 00 10d9", E::TooLong),
        ("0d0a0d0a000d0a515549540a 21 11 000d c6336409 0a010002 9cba 01bb 04", E::Tlv),
        ("0d0a0d0a000d0a515549540a 21 11 000f c6336409 0a010002 9cba 01bb 040001", E::Tlv),
        ("0d0a0d0a000d0a515549540a 21 11 0010 c6336409 0a010002 9cba 01bb 03000100", E::Tlv),
        (
            "0d0a0d0a000d0a515549540a 21 11 0013 c6336409 0a010002 9cba 01bb 030004 7717fda4",
            E::Checksum,
        ),
        (
            "0d0a0d0a000d0a515549540a 21 11 0013 c6336409 0a010002 9cba 01bc 030004 7717fda3",
            E::Checksum,
        ),
    ];
    for (header, error) in cases {
        assert_eq!(decode(&hex(header)), Err(error), "{header}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn tlvs_are_bounded_and_a_checksum_comes_once() {
    let with_tlvs = |tlvs: &[u8]| {
        let mut header = hex(V2_PLAIN);
        let length = u16::try_from(12 + tlvs.len()).unwrap();
        header[14..16].copy_from_slice(&length.to_be_bytes());
        header.extend_from_slice(tlvs);
        header
    };
    let noop = |len: usize| {
        let mut tlv = vec![4];
        tlv.extend_from_slice(&u16::try_from(len - 3).unwrap().to_be_bytes());
        tlv.resize(len, 0);
        tlv
    };
    let most = with_tlvs(&noop(TLV_BYTES_MAX));
    assert_eq!(decode(&most), complete(most.len(), Some(sample())));
    assert!(most.len() <= HEADER_BYTES_MAX);
    assert_eq!(decode(&with_tlvs(&noop(TLV_BYTES_MAX + 1))), Err(E::TooLong));

    // With the second field zero, the first one is right; but so it would be the other way round.
    let twice = with_tlvs(&[[3, 0, 4, 0, 0, 0, 0], [3, 0, 4, 0, 0, 0, 0]].concat());
    let crc = v2::crc32c_of_header(&twice[..31], &twice[35..]);
    let twice = [&twice[..31], &crc.to_be_bytes(), &twice[35..]].concat();
    assert_eq!(decode(&twice), Err(E::Tlv));
}

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).into()),
        any::<[u8; 16]>().prop_map(|octets| Ipv6Addr::from(octets).into()),
        any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).to_ipv6_mapped().into()),
    ]
}

fn any_addresses() -> impl Strategy<Value = Addresses> {
    (ip(), any::<u16>(), ip(), any::<u16>()).prop_map(|(source, from, destination, to)| Addresses {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    })
}

fn version() -> impl Strategy<Value = ProxyProtocolVersion> {
    prop_oneof![Just(V1), Just(V2)]
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

/// What the independent decoder reads, IPv4-mapped addresses as IPv4.
fn read_by_ppp(header: &[u8]) -> Option<Addresses> {
    let ends = match ppp::HeaderResult::parse(header) {
        ppp::HeaderResult::V1(header) => match header.ok()?.addresses {
            ppp::v1::Addresses::Unknown => return None,
            ppp::v1::Addresses::Tcp4(tcp) => [
                (IpAddr::from(tcp.source_address), tcp.source_port),
                (IpAddr::from(tcp.destination_address), tcp.destination_port),
            ],
            ppp::v1::Addresses::Tcp6(tcp) => [
                (IpAddr::from(tcp.source_address), tcp.source_port),
                (IpAddr::from(tcp.destination_address), tcp.destination_port),
            ],
        },
        ppp::HeaderResult::V2(header) => match header.ok()?.addresses {
            ppp::v2::Addresses::IPv4(ip) => [
                (IpAddr::from(ip.source_address), ip.source_port),
                (IpAddr::from(ip.destination_address), ip.destination_port),
            ],
            ppp::v2::Addresses::IPv6(ip) => [
                (IpAddr::from(ip.source_address), ip.source_port),
                (IpAddr::from(ip.destination_address), ip.destination_port),
            ],
            ppp::v2::Addresses::Unspecified | ppp::v2::Addresses::Unix(_) => return None,
        },
    };
    let [source, destination] = ends.map(|(ip, port)| canonical(SocketAddr::new(ip, port)));
    Some(Addresses { source, destination })
}

/// Failures are kept as tests of their own, not in files beside the source.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn decode_undoes_encode(version in version(), addresses in any_addresses(), payload: Vec<u8>) {
        let header = encoded(version, &addresses);
        prop_assert!(header.len() <= HEADER_BYTES_MAX);
        let bytes = [&header[..], &payload].concat();
        let expected = Addresses {
            source: canonical(addresses.source),
            destination: canonical(addresses.destination),
        };
        prop_assert_eq!(decode(&bytes), complete(header.len(), Some(expected)));
        prop_assert_eq!(read_by_ppp(&header), Some(expected));
        for end in 0..header.len() {
            prop_assert_eq!(decode(&header[..end]), Ok(Decoded::Incomplete));
        }
    }

    #[test]
    fn headers_of_an_independent_encoder_are_read(
        source: [u8; 4],
        destination: [u8; 4],
        ports: (u16, u16),
        tlvs in prop::collection::vec((4u8..0xff, prop::collection::vec(any::<u8>(), 0..20)), 0..4),
    ) {
        let addresses = Addresses {
            source: SocketAddr::new(IpAddr::from(source), ports.0),
            destination: SocketAddr::new(IpAddr::from(destination), ports.1),
        };
        let pair = (addresses.source, addresses.destination);
        let mut builder =
            Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, pair);
        for (kind, value) in &tlvs {
            builder = builder.write_tlv(*kind, value).unwrap();
        }
        let header = builder.build().unwrap();
        prop_assert_eq!(decode(&header), complete(header.len(), Some(addresses)));
    }

    #[test]
    fn a_changed_byte_of_a_binary_header_is_noticed(
        addresses in any_addresses(),
        at in 16usize..35,
        change in 1u8..,
    ) {
        let mut header = encoded(V2, &addresses);
        header[at] ^= change;
        // In its type or length a TLV may become one that is skipped; never anything else.
        let tlv = header.len() - 7..header.len() - 4;
        if !tlv.contains(&at) {
            prop_assert_eq!(decode(&header), Err(E::Checksum));
        }
    }

    #[test]
    fn any_bytes_are_answered_without_panic(
        start in 0usize..4,
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let start = match start {
            0 => vec![],
            1 => b"PROXY TCP4 ".to_vec(),
            2 => hex(V2_CRC_AWS),
            _ => hex("0d0a0d0a000d0a515549540a 21 11 00"),
        };
        let mut bytes = [start, bytes].concat();
        for (at, byte) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if let Ok(Decoded::Complete { header_bytes, addresses: Some(addresses) }) = decode(&bytes) {
            prop_assert!(header_bytes <= bytes.len().min(HEADER_BYTES_MAX));
            prop_assert_eq!(read_by_ppp(&bytes), Some(addresses));
        }
    }
}

#[test]
fn the_independent_decoder_finds_our_checksum() {
    let bytes = encoded(V2, &sample());
    let header = Header::try_from(&bytes[..]).unwrap();
    let tlvs: Vec<_> = header.tlvs().map(Result::unwrap).collect();
    assert_eq!(tlvs.len(), 1);
    assert_eq!(tlvs[0].kind, u8::from(Type::CRC32C));
}
