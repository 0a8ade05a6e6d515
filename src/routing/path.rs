//! What a path-pattern condition sees: the path in normal form (RFC 3986 §6.2.2).
//!
//! AWS says that rules are matched "after URI normalization" without saying which. Here, escapes
//! of unreserved characters are decoded, other escapes put in upper case, and dot segments, also
//! encoded ones, removed (§5.2.4); `//` and `%2F` stay. Patterns have their escapes put in the
//! same form.
//!
//! This is about security. `/public/../admin` reaches `/admin` at most targets, which receive the
//! path as it came. Were it to match `/public/*` as well, a rule with that pattern would open
//! everything behind it; so it matches `/admin` and nothing else. The price: a pattern with a dot
//! segment matches nothing. What only some targets take for a separator or a dot segment
//! (`%2F`, `\`, `..;`) is not known here; a target that decodes those must guard itself.

use crate::model::{Wildcard, WildcardToken};

use super::glob::Text;
use super::percent::{Unit, escape, units, with_scratch};

/// The path of a request, as conditions see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'a> {
    /// In normal form.
    pub(super) seen: Text<'a>,
    /// As it came, where only escapes differ. Regular expressions match either form, as their
    /// own escapes cannot be normalised.
    pub(super) received: Option<&'a [u8]>,
}

/// Calls `work` with what conditions see of `path`.
///
/// An empty path is `/` (RFC 9110 §4.2.3). What does not begin with `/`, as the `*` of
/// `OPTIONS *`, is not a path and has no other form.
pub(super) fn with_seen<R>(path: &[u8], work: impl FnOnce(Path<'_>) -> R) -> R {
    if path.is_empty() {
        return work(Path { seen: Text::new(b"/"), received: None });
    }
    if !may_differ(path) {
        return work(Path { seen: Text::new(path), received: None });
    }
    with_normalised(path, work)
}

/// Whether `path` has something that normalising would change.
fn may_differ(path: &[u8]) -> bool {
    let dot_segment = |at: usize| at > 0 && path[at - 1] == b'/';
    path.first() == Some(&b'/')
        && memchr::memchr2_iter(b'%', b'.', path).any(|at| path[at] == b'%' || dot_segment(at))
}

/// Out of line: few requests come here, and its stack frame is large.
#[cold]
#[inline(never)]
fn with_normalised<R>(path: &[u8], work: impl FnOnce(Path<'_>) -> R) -> R {
    with_scratch(path.len(), |scratch| {
        let Some(scratch) = scratch else {
            return work(Path { seen: Text::new(path), received: None });
        };
        let decoded = normalise_escapes(path, scratch);
        let len = remove_dot_segments(&mut scratch[..decoded]);
        let received = (len == decoded).then_some(path);
        work(Path { seen: Text::new(&scratch[..len]), received })
    })
}

/// Writes `text` with its escapes in normal form to `out`, which is at least as long. Returns how
/// many bytes that took.
fn normalise_escapes(text: &[u8], out: &mut [u8]) -> usize {
    let mut len = 0;
    let mut push = |bytes: &[u8]| {
        out[len..len + bytes.len()].copy_from_slice(bytes);
        len += bytes.len();
    };
    for unit in units(text) {
        match unit {
            Unit::Plain(byte) => push(&[byte]),
            Unit::Escaped(byte) if is_unreserved(byte) => push(&[byte]),
            Unit::Escaped(byte) => push(&escape(byte)),
        }
    }
    len
}

/// Removes dot segments in place (RFC 3986 §5.2.4) from `path`, which begins with `/`. Returns
/// how many bytes are left.
fn remove_dot_segments(path: &mut [u8]) -> usize {
    // `path[..kept]` is done; `path[at]` is the slash of the next segment.
    let (mut kept, mut at) = (0, 0);
    while at < path.len() {
        let end = memchr::memchr(b'/', &path[at + 1..]).map_or(path.len(), |len| at + 1 + len);
        let dots = match &path[at + 1..end] {
            b"." => true,
            b".." => {
                kept = memchr::memrchr(b'/', &path[..kept]).unwrap_or(0);
                true
            }
            _ => false,
        };
        if !dots {
            path.copy_within(at..end, kept);
            kept += end - at;
        } else if end == path.len() {
            path[kept] = b'/';
            kept += 1;
        }
        at = end;
    }
    kept
}

/// `pattern` with the escapes of its text in normal form.
pub(super) fn normalised_pattern(pattern: &Wildcard) -> Wildcard {
    let normalised = |token: &WildcardToken| match token {
        WildcardToken::Literal(text) => {
            let mut out = text.clone();
            let len = normalise_escapes(text, &mut out);
            out.truncate(len);
            WildcardToken::Literal(out)
        }
        WildcardToken::AnyOne => WildcardToken::AnyOne,
        WildcardToken::AnyRun => WildcardToken::AnyRun,
    };
    Wildcard { tokens: pattern.tokens.iter().map(normalised).collect() }
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::REQUEST_LINE_BYTES_MAX;

    fn seen(path: &[u8]) -> (Vec<u8>, bool) {
        with_seen(path, |path| (path.seen.bytes.to_vec(), path.received.is_some()))
    }

    #[test]
    fn path_is_seen_in_normal_form() {
        let cases = [
            ("", "/"),
            ("/", "/"),
            ("*", "*"),
            ("/a/b.html", "/a/b.html"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/public/../admin", "/admin"),
            ("/public/%2e%2E/admin", "/admin"),
            ("/public/.%2e/admin/", "/admin/"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("/..", "/"),
            ("/a//../b", "/a/b"),
            ("//a", "//a"),
            ("/a/..%2fb", "/a/..%2Fb"),
            ("/%7Euser/caf%c3%a9", "/~user/caf%C3%A9"),
            ("/%2541", "/%2541"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
            ("/%00%0d%0A", "/%00%0D%0A"),
            ("../a", "../a"),
        ];
        for (path, expected) in cases {
            assert_eq!(String::from_utf8(seen(path.as_bytes()).0).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn path_as_received_is_offered_only_when_no_dot_segment_was_removed() {
        assert!(seen(b"/caf%c3%a9").1);
        assert!(!seen(b"/a/%2e%2e/b").1);
    }

    #[test]
    fn longer_paths_than_a_request_line_may_have_are_seen_as_received() {
        let long = [b"/a/../".as_slice(), &[b'x'; REQUEST_LINE_BYTES_MAX]].concat();
        assert_eq!(seen(&long).0, long);
        assert_eq!(seen(&long[..REQUEST_LINE_BYTES_MAX]).0[..2], *b"/x");
    }

    proptest! {
        #[test]
        fn normal_form_is_its_own_normal_form(path in "/([a./]|%2[eEfF5]|%41){0,12}") {
            let (once, _) = seen(path.as_bytes());
            prop_assert_eq!(&seen(&once).0, &once);
            let is_dots = |segment: &[u8]| segment == b"." || segment == b"..";
            prop_assert!(!once.split(|&byte| byte == b'/').any(is_dots));
        }

        #[test]
        fn any_bytes_are_normalised_without_panic(path: Vec<u8>) {
            seen(&[b"/", path.as_slice()].concat());
        }
    }
}
