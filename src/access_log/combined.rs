//! The combined format that web servers write and every analyser reads.

use super::Entry;
use super::text;

/// Appends `client - - [time] "request" status bytes "referrer" "user agent"`. Bytes are those of
/// the body. An L4 connection is the request `TCP target -` with status 000.
pub(super) fn line(entry: &Entry<'_>, out: &mut Vec<u8>) {
    text::ip(entry.client.ip(), out);
    out.extend_from_slice(b" - - [");
    text::common_time(entry.created, out);
    out.extend_from_slice(b"] \"");
    match (&entry.request, entry.is_l4()) {
        (Some(request), _) => {
            text::word(request.method, out);
            out.push(b' ');
            text::word(request.target, out);
            out.push(b' ');
            out.extend_from_slice(text::version(request.version).as_bytes());
        }
        (None, true) => {
            out.extend_from_slice(b"TCP ");
            match entry.target {
                Some(tried) => text::socket(tried.target, out),
                None => out.push(b'-'),
            }
            out.extend_from_slice(b" -");
        }
        (None, false) => out.push(b'-'),
    }
    out.extend_from_slice(b"\" ");
    text::three_digits(entry.status, out);
    out.push(b' ');
    text::decimal(entry.sent.all.saturating_sub(entry.sent.head), out);
    out.push(b' ');
    text::quoted(entry.request.map_or(&[][..], |request| request.referer), out);
    out.push(b' ');
    text::quoted(entry.request.map_or(&[][..], |request| request.user_agent), out);
}
