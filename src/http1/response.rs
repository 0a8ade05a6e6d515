//! Response heads: bytes to [`ResponseHead`], or the rule that they break.

use crate::message::{BodyLength, FieldKind, Method, ResponseHead, Span, Version};
use crate::model::RESPONSE_HEAD_BYTES_MAX;

use super::HeadError;
use super::fields::{self, Connection, LineEnds};
use super::request::Parsed;

/// Reads the response head at the start of `bytes` into `head`; `method` is the request's.
///
/// # Errors
/// The rule that it breaks; `head` is then in no particular state.
pub fn parse_response(
    bytes: &[u8],
    method: Method,
    head: &mut ResponseHead,
) -> Result<Parsed, HeadError> {
    let mut slices = fields::slices();
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, &mut slices);
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() > RESPONSE_HEAD_BYTES_MAX => {
            return Err(HeadError::HeadTooLong);
        }
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(error) => return Err(fields::parse_error(error)),
    };
    if len > RESPONSE_HEAD_BYTES_MAX {
        return Err(HeadError::HeadTooLong);
    }
    let (Some(status), Some(reason), Some(version)) =
        (response.code, response.reason, response.version)
    else {
        return Err(HeadError::Malformed);
    };
    if !(100..=599).contains(&status) {
        return Err(HeadError::Status);
    }
    head.bytes = len;
    head.status = status;
    head.version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let first_field = read_status_line(bytes, len, reason, head);
    fields::read(bytes, response.headers, first_field, len, LineEnds::Lenient, &mut head.fields)?;
    read_fields(bytes, method, head)?;
    Ok(Parsed::Complete)
}

/// Notes the reason phrase and returns where the first field begins.
fn read_status_line(bytes: &[u8], len: usize, reason: &str, head: &mut ResponseHead) -> usize {
    let line = memchr::memchr(b'\n', &bytes[..len]).map_or(len, |at| at + 1);
    // httparse gives a reason that is empty or not ASCII a slice of its own.
    head.reason = match reason {
        "" => Span::default(),
        reason => {
            let start = fields::offset(bytes, reason.as_bytes());
            Span::new(start, start + reason.len())
        }
    };
    line
}

fn read_fields(bytes: &[u8], method: Method, head: &mut ResponseHead) -> Result<(), HeadError> {
    let mut connection = Connection::default();
    let (mut length, mut coding) = (None, None);
    for field in &head.fields {
        let value = field.value.of(bytes);
        match field.kind {
            FieldKind::Connection => connection.add(value),
            FieldKind::ContentLength => {
                let this = fields::content_length(value)?;
                // Equal repetitions are sloppy, not ambiguous; one of them is sent on.
                if length.is_some_and(|length| length != this) {
                    return Err(HeadError::ContentLength);
                }
                length = Some(this);
            }
            FieldKind::TransferEncoding if coding.is_some() => {
                return Err(HeadError::TransferEncoding);
            }
            FieldKind::TransferEncoding => coding = Some(value),
            _ => {}
        }
    }
    head.body = response_body(head, method, length, coding)?;
    // No such response has a body (RFC 9110 §8.6), but one that announces it may send it.
    let announces_none = matches!(head.status, 100..=199 | 204)
        && (coding.is_some() || length.is_some_and(|length| length > 0));
    head.persistent = match head.version {
        Version::Http11 | Version::Http2 => !connection.close,
        Version::Http10 => connection.keep_alive && !connection.close,
    } && head.body != BodyLength::UntilClose
        && !announces_none;
    head.connection_names_fields = connection.names_fields;
    Ok(())
}

/// How the body ends (RFC 9112 §6.3, for responses).
fn response_body(
    head: &ResponseHead,
    method: Method,
    length: Option<u64>,
    coding: Option<&[u8]>,
) -> Result<BodyLength, HeadError> {
    match (length, coding) {
        (Some(_), Some(_)) => return Err(HeadError::LengthAndChunked),
        (None, Some(coding))
            if head.version == Version::Http10 || !coding.eq_ignore_ascii_case(b"chunked") =>
        {
            return Err(HeadError::TransferEncoding);
        }
        _ => {}
    }
    Ok(match (method, head.status, length, coding) {
        (Method::Head, ..) | (_, 100..=199 | 204 | 304, ..) => BodyLength::None,
        (_, _, _, Some(_)) => BodyLength::Chunked,
        (_, _, Some(0), None) => BodyLength::None,
        (_, _, Some(length), None) => BodyLength::Known(length),
        (_, _, None, None) => BodyLength::UntilClose,
    })
}
