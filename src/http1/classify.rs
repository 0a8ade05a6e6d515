//! How AWS's desync mitigation calls a request that deviates from the standard, for access logs:
//! a class and a reason. Nothing is decided by it.
//!
//! What the parser refused is looked at once more, coarsely: it knows which rule was broken, AWS
//! tells more cases apart.

use super::HeadError;
use super::fields::tokens;
use crate::message::{BodyLength, FieldKind, Method, RequestHead};

/// Class and reason, in AWS's words.
pub type Classification = (&'static str, &'static str);

const ACCEPTABLE: &str = "Acceptable";
const AMBIGUOUS: &str = "Ambiguous";
const SEVERE: &str = "Severe";

/// The classification of a request that was accepted; `None`: it is compliant.
#[must_use]
pub fn accepted(head: &RequestHead) -> Option<Classification> {
    let bodiless = matches!(head.method, Method::Get | Method::Head);
    let has_length = || head.fields.iter().any(|field| field.kind == FieldKind::ContentLength);
    match head.body {
        _ if !bodiless => None,
        BodyLength::Known(_) => Some((AMBIGUOUS, "UndefinedContentLengthSemantics")),
        BodyLength::Chunked => Some((AMBIGUOUS, "UndefinedTransferEncodingSemantics")),
        BodyLength::None if has_length() => Some((ACCEPTABLE, "GetHeadZeroContentLength")),
        BodyLength::None | BodyLength::UntilClose => None,
    }
}

/// The classification of `bytes`, which were refused as a request because of `error`; `None`: AWS
/// has no word for it. `head` is as far as it was read.
#[must_use]
pub fn refused(error: HeadError, head: &RequestHead, bytes: &[u8]) -> Option<Classification> {
    match error {
        HeadError::Malformed => Some((SEVERE, malformed(bytes))),
        HeadError::LineEnd if has_lone_cr(bytes) => Some((SEVERE, "BadHeader")),
        HeadError::LineEnd => Some((ACCEPTABLE, "NonCrLfLineTermination")),
        HeadError::Version => Some((SEVERE, "BadVersion")),
        HeadError::Target => Some(match target(bytes) {
            target if target.contains(&0) => (SEVERE, "BadUri"),
            _ => (AMBIGUOUS, "AmbiguousUri"),
        }),
        HeadError::ContentLength => Some(length(bytes)),
        HeadError::LengthAndChunked => Some((AMBIGUOUS, "BothTeClPresent")),
        HeadError::TransferEncoding => Some(coding(bytes)),
        HeadError::SuspiciousField => Some((AMBIGUOUS, "SuspiciousHeader")),
        HeadError::NotCompliant => accepted(head).or(Some((AMBIGUOUS, "AmbiguousUri"))),
        HeadError::RequestLineTooLong
        | HeadError::FieldTooLong
        | HeadError::HeadTooLong
        | HeadError::TooManyFields
        | HeadError::Host
        | HeadError::TransferCodingUnsupported
        | HeadError::Status => None,
    }
}

/// The first line, without its end.
fn request_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What stands between the method and the version.
fn target(bytes: &[u8]) -> &[u8] {
    let line = request_line(bytes);
    let start = line.iter().position(|&byte| byte == b' ').map_or(0, |at| at + 1);
    let end = line.iter().rposition(|&byte| byte == b' ').unwrap_or(line.len());
    line.get(start..end).unwrap_or_default()
}

fn malformed(bytes: &[u8]) -> &'static str {
    let method = request_line(bytes).split(|&byte| byte == b' ').next().unwrap_or_default();
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let version = request_line(bytes).rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    match () {
        () if method.is_empty() || !method.iter().all(is_token) => "BadMethod",
        () if !version.starts_with(b"HTTP/1.") => "BadVersion",
        () => "BadHeader",
    }
}

fn has_lone_cr(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\r', bytes).any(|at| bytes.get(at + 1).is_some_and(|&next| next != b'\n'))
}

/// The values of all fields called `name`.
fn values<'b>(bytes: &'b [u8], name: &str) -> impl Iterator<Item = &'b [u8]> {
    let lines = bytes.split(|&byte| byte == b'\n').skip(1);
    lines.filter_map(move |line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let found = line[..colon].eq_ignore_ascii_case(name.as_bytes());
        found.then(|| line[colon + 1..].trim_ascii())
    })
}

fn length(bytes: &[u8]) -> Classification {
    let all = || values(bytes, "content-length");
    let is_number = |value: &[u8]| {
        let text = std::str::from_utf8(value).ok();
        text.is_some_and(|text| {
            text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u64>().is_ok()
        })
    };
    let first = all().next();
    if !all().all(is_number) {
        return (SEVERE, "BadContentLength");
    }
    match all().all(|value| Some(value) == first) {
        true => (AMBIGUOUS, "DuplicateContentLength"),
        false => (SEVERE, "MultipleContentLength"),
    }
}

fn coding(bytes: &[u8]) -> Classification {
    const KNOWN: [&str; 5] = ["chunked", "compress", "deflate", "gzip", "identity"];
    let all = || values(bytes, "transfer-encoding").flat_map(tokens);
    let is = |coding: &[u8], word: &str| coding.eq_ignore_ascii_case(word.as_bytes());
    if !all().all(|coding| KNOWN.iter().any(|known| is(coding, known))) {
        return (SEVERE, "BadTransferEncoding");
    }
    match all().filter(|coding| is(coding, "chunked")).count() {
        2.. => (SEVERE, "MultipleTransferEncodingChunked"),
        _ if request_line(bytes).ends_with(b"HTTP/1.0") => {
            (AMBIGUOUS, "UndefinedTransferEncodingSemantics")
        }
        _ => (SEVERE, "BadTransferEncoding"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Parsed, parse_request};
    use crate::model::DesyncMitigation;

    fn classify(text: &str, mitigation: DesyncMitigation) -> Option<Classification> {
        let mut head = RequestHead::default();
        match parse_request(text.as_bytes(), mitigation, &mut head) {
            Ok(Parsed::Complete) => accepted(&head),
            Ok(Parsed::Partial) => panic!("a whole head: {text:?}"),
            Err(error) => refused(error, &head, text.as_bytes()),
        }
    }

    /// What AWS's own classifier says.
    fn aws(text: &str) -> Option<(String, String)> {
        use http_desync_guardian::request_analyzer::HttpRequestData;
        let verdict = HttpRequestData::analyze_raw_request(text.as_bytes());
        let (tier, reason) = (format!("{:?}", verdict.tier), format!("{:?}", verdict.reason));
        (tier != "Compliant").then_some((tier, reason))
    }

    const SAMPLES: [&str; 17] = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTPT/1.1\r\nHost: a\r\n\r\n",
    ];

    #[test]
    fn classes_and_reasons_are_those_of_aws() {
        for sample in SAMPLES {
            let ours = classify(sample, DesyncMitigation::Defensive);
            let ours = ours.map(|(class, reason)| (class.to_owned(), reason.to_owned()));
            assert_eq!(ours, aws(sample), "{sample}");
        }
    }

    #[test]
    fn refusals_of_strictest_mode_keep_their_class() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let found = classify(get, DesyncMitigation::Strictest);
        assert_eq!(found, Some((ACCEPTABLE, "GetHeadZeroContentLength")));
    }

    #[test]
    fn limits_have_no_class() {
        let head = RequestHead::default();
        assert_eq!(refused(HeadError::HeadTooLong, &head, b""), None);
        assert_eq!(refused(HeadError::Host, &head, b"GET / HTTP/1.1\r\n\r\n"), None);
    }
}
