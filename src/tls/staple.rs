//! What an authority says of a certificate's state, to be shown beside it (OCSP stapling, RFC 6960
//! §4.2, RFC 6066 §8).
//!
//! Clients verify its signature; here it is only made sure that it is about the certificate, says
//! that it is good, and is still of use: anything else would make clients refuse what they accept
//! without it.

use std::fmt;

use x509_parser::prelude::{ASN1Time, FromDer};

/// Largest response that is read, in bytes; they have some hundred, some thousand with their
/// signer's certificate. It goes out with every handshake that asks for it.
const STAPLE_BYTES_MAX: usize = 16 * 1024;

/// Tags of DER.
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;
/// Good, and an explicit `nextUpdate`, by their places in a choice and a sequence.
const GOOD: u8 = 0x80;
const EXPLICIT_0: u8 = 0xa0;

/// Why a response is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StapleFlaw {
    /// It is no OCSP response, or too large.
    Unreadable,
    /// The responder has not answered, for the reason of this number.
    Refused(u8),
    /// It is about other certificates.
    Other,
    /// It does not say that the certificate is good.
    NotGood,
    /// It should have been replaced by its next one.
    Overdue,
}

impl StapleFlaw {
    /// What to do about it.
    #[must_use]
    pub fn cure(self) -> &'static str {
        match self {
            Self::Unreadable => {
                "the file must hold DER, at most 16 KiB: `openssl ocsp -issuer CA -cert CERTIFICATE \
                 -url URL -respout FILE`"
            }
            Self::Refused(_) | Self::Overdue => "ask the responder again",
            Self::Other => "ask for the certificate that is beside it",
            Self::NotGood => "`openssl ocsp -respin FILE -text -noverify` shows what it says",
        }
    }
}

impl fmt::Display for StapleFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("it is no OCSP response"),
            Self::Refused(status) => write!(f, "the responder has refused (status {status})"),
            Self::Other => f.write_str("it is about other certificates"),
            Self::NotGood => f.write_str("it does not say that the certificate is good"),
            Self::Overdue => f.write_str("it is overdue"),
        }
    }
}

impl std::error::Error for StapleFlaw {}

/// Looks at the response `der` about the certificate with this serial number. Returns the second
/// since 1970 from which on it is of no use, if it says so.
pub(super) fn check(der: &[u8], serial: &[u8], now: i64) -> Result<Option<i64>, StapleFlaw> {
    if der.len() > STAPLE_BYTES_MAX {
        return Err(StapleFlaw::Unreadable);
    }
    let status = status(der).ok_or(StapleFlaw::Unreadable)?;
    if status != 0 {
        return Err(StapleFlaw::Refused(status));
    }
    let mut answers = answers(der).ok_or(StapleFlaw::Unreadable)?;
    while !answers.is_empty() {
        let answer = take(&mut answers, SEQUENCE).and_then(answer);
        let (about, state, next) = answer.ok_or(StapleFlaw::Unreadable)?;
        if about != serial {
            continue;
        }
        return match next {
            _ if state != GOOD => Err(StapleFlaw::NotGood),
            Some(next) if next <= now => Err(StapleFlaw::Overdue),
            next => Ok(next),
        };
    }
    Err(StapleFlaw::Other)
}

fn status(mut der: &[u8]) -> Option<u8> {
    let mut response = take(&mut der, SEQUENCE)?;
    take(&mut response, ENUMERATED)?.first().copied()
}

/// The single answers of a response.
fn answers(mut der: &[u8]) -> Option<&[u8]> {
    let mut response = take(&mut der, SEQUENCE)?;
    take(&mut response, ENUMERATED)?;
    let mut bytes = take(&mut response, EXPLICIT_0)?;
    let mut bytes = take(&mut bytes, SEQUENCE)?;
    any(&mut bytes)?;
    let mut basic = take(&mut bytes, OCTETS)?;
    let mut basic = take(&mut basic, SEQUENCE)?;
    let mut data = take(&mut basic, SEQUENCE)?;
    if data.first() == Some(&EXPLICIT_0) {
        any(&mut data)?;
    }
    // Who answers, and when.
    any(&mut data)?;
    any(&mut data)?;
    take(&mut data, SEQUENCE)
}

/// Serial number, state and end of an answer.
fn answer(mut single: &[u8]) -> Option<(&[u8], u8, Option<i64>)> {
    let mut about = take(&mut single, SEQUENCE)?;
    any(&mut about)?;
    any(&mut about)?;
    any(&mut about)?;
    let serial = take(&mut about, INTEGER)?;
    let state = *single.first()?;
    any(&mut single)?;
    any(&mut single)?;
    let next = match single.first() {
        Some(&EXPLICIT_0) => {
            let (_, time) = ASN1Time::from_der(take(&mut single, EXPLICIT_0)?).ok()?;
            Some(time.timestamp())
        }
        _ => None,
    };
    Some((serial, state, next))
}

/// Takes the content of the value with this tag.
fn take<'b>(bytes: &mut &'b [u8], tag: u8) -> Option<&'b [u8]> {
    let is_it = bytes.first() == Some(&tag);
    is_it.then(|| any(bytes)).flatten()
}

/// Takes the content of a value (X.690 §8.1).
fn any<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (_, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ ..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, behind) = rest.split_at_checked(length)?;
    *bytes = behind;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        [&[tag, 0x82][..], &length, content].concat()
    }

    fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
        value(SEQUENCE, &parts.concat())
    }

    /// A response about `serial`, of this state, good up to the year 2040.
    fn response(serial: &[u8], state: u8) -> Vec<u8> {
        let time = value(0x18, b"20400101000000Z");
        let id = [sequence(&[]), value(OCTETS, b"n"), value(OCTETS, b"k"), value(INTEGER, serial)];
        let next = value(EXPLICIT_0, &time);
        let single = sequence(&[sequence(&id), value(state, b""), time.clone(), next]);
        let data = sequence(&[value(0xa1, b"who"), time, sequence(&[single])]);
        let basic = value(OCTETS, &sequence(&[data, sequence(&[]), value(3, b"signature")]));
        let bytes = sequence(&[value(6, b"id"), basic]);
        sequence(&[value(ENUMERATED, &[0]), value(EXPLICIT_0, &bytes)])
    }

    #[test]
    fn response_is_shown_while_it_says_that_the_certificate_is_good() {
        let end = 2_208_988_800;
        let good = response(&[1, 2], GOOD);
        assert_eq!(check(&good, &[1, 2], end - 1), Ok(Some(end)));
        assert_eq!(check(&good, &[1, 2], end), Err(StapleFlaw::Overdue));
        assert_eq!(check(&good, &[1, 3], 0), Err(StapleFlaw::Other));
        assert_eq!(check(&response(&[1, 2], 0xa1), &[1, 2], 0), Err(StapleFlaw::NotGood));
        let later = sequence(&[value(ENUMERATED, &[3])]);
        assert_eq!(check(&later, &[1, 2], 0), Err(StapleFlaw::Refused(3)));
        assert_eq!(check(b"nothing of the kind", &[1], 0), Err(StapleFlaw::Unreadable));
        for length in 0..good.len() {
            assert!(check(&good[..length], &[1, 2], 0).is_err(), "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            at in proptest::prelude::any::<proptest::sample::Index>(),
            byte in proptest::prelude::any::<u8>(),
        ) {
            let _ = check(&bytes, &[1], 0);
            let mut changed = response(&[1], GOOD);
            let at = at.index(changed.len());
            changed[at] = byte;
            let _ = check(&changed, &[1], 0);
        }
    }
}
