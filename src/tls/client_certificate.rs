//! What a client has shown of itself, as targets and logs are told.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::ToDer;
use x509_parser::prelude::{ASN1Time, AttributeTypeAndValue, FromDer, X509Certificate, X509Name};

/// A client's certificate, said once per connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientCertificate {
    /// Lines of header fields for targets (AWS: "HTTP headers and mutual TLS"); each ends with CR
    /// LF, and nothing in it is beyond visible ASCII and the space.
    pub fields: Vec<u8>,
    /// Subject (RFC 4514).
    pub subject: String,
    /// Issuer (RFC 4514).
    pub issuer: String,
    /// Serial number, in hexadecimal.
    pub serial_number: String,
    /// First and last second, as `NotBefore=2026-01-01T00:00:00Z;NotAfter=...`.
    pub validity: String,
    /// Whether it was found to lead to an authority of the trust store.
    pub is_verified: bool,
}

impl ClientCertificate {
    /// Reads `chain`, the client's own first. What cannot be read is left empty.
    pub(super) fn read(chain: &[CertificateDer<'_>], is_verified: bool) -> Option<Self> {
        let leaf = chain.first()?;
        let mut told = Self { is_verified, ..Self::default() };
        if let Ok((_, parsed)) = X509Certificate::from_der(leaf) {
            let validity = parsed.validity();
            told.subject = name(parsed.subject());
            told.issuer = name(parsed.issuer());
            told.serial_number = serial_number(parsed.raw_serial());
            let (first, last) = (time(validity.not_before), time(validity.not_after));
            told.validity = format!("NotBefore={first};NotAfter={last}");
        }
        told.fields = match is_verified {
            false => field("", &chain.iter().map(|der| escaped_pem(der)).collect::<String>()),
            true => [
                field("-Serial-Number", &told.serial_number),
                field("-Issuer", &told.issuer),
                field("-Subject", &told.subject),
                field("-Validity", &told.validity),
                field("-Leaf", &escaped_pem(leaf)),
            ]
            .concat(),
        };
        Some(told)
    }
}

fn field(what: &str, value: &str) -> Vec<u8> {
    format!("X-Amzn-Mtls-Clientcert{what}: {value}\r\n").into_bytes()
}

/// A certificate as PEM (RFC 7468), URL-encoded but for `+`, `=` and `/`, as AWS says.
fn escaped_pem(der: &[u8]) -> String {
    const BEGIN: &str = "-----BEGIN%20CERTIFICATE-----%0A";
    const END: &str = "-----END%20CERTIFICATE-----%0A";
    /// Characters of a line.
    const LINE: usize = 64;
    let text = STANDARD.encode(der);
    let mut out = String::with_capacity(text.len() * 21 / 20 + BEGIN.len() + END.len());
    out.push_str(BEGIN);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(LINE));
        out.push_str(line);
        out.push_str("%0A");
        rest = behind;
    }
    out.push_str(END);
    out
}

/// Bytes of a number without the one that only tells its sign.
fn serial_number(bytes: &[u8]) -> String {
    let digits = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        bytes => bytes,
    };
    digits.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02X}");
        out
    })
}

fn time(time: ASN1Time) -> String {
    let time = time.to_datetime();
    let (month, date) = (u8::from(time.month()), time.day());
    let (hour, minute, second) = time.to_hms();
    format!("{:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z", time.year())
}

/// A name as text (RFC 4514), in ASCII alone.
fn name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|set| set.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let dotted = attribute.attr_type().to_id_string();
    let key = KEYS.iter().find(|(id, _)| *id == dotted);
    match (key, attribute.as_str()) {
        (Some((_, key)), Ok(text)) => format!("{key}={}", escaped(text)),
        (key, _) => {
            let key = key.map_or(dotted.as_str(), |(_, key)| key);
            let der = attribute.attr_value().to_der_vec().unwrap_or_default();
            der.iter().fold(format!("{key}=#"), |mut out, byte| {
                let _ = write!(out, "{byte:02X}");
                out
            })
        }
    }
}

/// Types of attributes that have a short name: those of RFC 4514 §3, and others as OpenSSL says.
const KEYS: [(&str, &str); 16] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.46", "dnQualifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The value of an attribute with what would end it escaped (RFC 4514 §2.4). A space at either end
/// and what is beyond visible ASCII are escaped by their numbers, so that a header field can carry
/// them.
fn escaped(text: &str) -> String {
    let last = text.len().saturating_sub(1);
    text.bytes().enumerate().fold(String::with_capacity(text.len()), |mut out, (at, byte)| {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => out.extend(['\\', char::from(byte)]),
            b'#' if at == 0 => out.push_str("\\#"),
            b' ' if at != 0 && at != last => out.push(' '),
            b'!'..=b'~' => out.push(char::from(byte)),
            _ => drop(write!(out, "\\{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_attributes_are_escaped() {
        for (text, expected) in [
            ("plain name", "plain name"),
            ("a,b+c\"d\\e<f>g;h=i", "a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h=i"),
            ("#first", "\\#first"),
            ("not#first", "not#first"),
            (" both ", "\\20both\\20"),
            ("line\r\nX: y", "line\\0D\\0AX: y"),
            ("Jürgen", "J\\C3\\BCrgen"),
            ("", ""),
        ] {
            assert_eq!(escaped(text), expected, "{text:?}");
        }
    }

    #[test]
    fn serial_numbers_are_whole_bytes_without_the_sign() {
        for (bytes, expected) in [
            (&[0x03, 0xa5, 0xb1][..], "03A5B1"),
            (&[0, 0xff], "FF"),
            (&[0], "00"),
            (&[0x7f, 0], "7F00"),
        ] {
            assert_eq!(serial_number(bytes), expected);
        }
    }

    #[test]
    fn pem_is_escaped_but_for_what_base64_needs() {
        let text = escaped_pem(&[0xfb; 50]);
        let lines: Vec<&str> = text.split("%0A").collect();
        assert_eq!(lines[0], "-----BEGIN%20CERTIFICATE-----");
        assert_eq!(lines[1].len(), 64);
        assert_eq!(lines[2], "+/s=");
        assert_eq!(&lines[3..], ["-----END%20CERTIFICATE-----", ""]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_of_a_client_break_a_line_or_panic(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            text in ".*",
        ) {
            let chain = [CertificateDer::from(bytes)];
            for is_verified in [false, true] {
                let told = ClientCertificate::read(&chain, is_verified).expect("a chain of one");
                let lines = told.fields.split(|&byte| byte == b'\n');
                for line in lines.filter(|line| !line.is_empty()) {
                    let (end, rest) = line.split_last().expect("a line");
                    proptest::prop_assert_eq!(*end, b'\r');
                    proptest::prop_assert!(rest.iter().all(|byte| (b' '..=b'~').contains(byte)));
                }
            }
            proptest::prop_assert!(escaped(&text).bytes().all(|b| (b' '..=b'~').contains(&b)));
        }
    }
}
