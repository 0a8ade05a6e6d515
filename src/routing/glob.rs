//! Matches text with wildcards: `*` is any run of characters, `?` exactly one, and the match is
//! anchored at both ends. Iterative, and linear but for patterns that repeat themselves.

use crate::model::{Wildcard, WildcardToken};

/// Text to be matched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether no byte is a control byte. Those (0x00-0x1F, 0x7F) match no pattern character
    /// (AWS: rule conditions), so text that holds one matches no wildcard, not even `*`.
    pub(super) visible: bool,
}

impl<'a> Text<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        // Without a way out of the loop, the compiler looks at many bytes at once.
        let visible = bytes.iter().fold(true, |all, &b| all & (b >= 0x20) & (b != 0x7f));
        Self { bytes, visible }
    }
}

/// Whether `a` and `A` are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Sensitive,
    Insensitive,
}

/// A wildcard pattern, cut at its stars.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    case: Case,
    /// What the text begins with; all of it when there is no star.
    first: Segment,
    /// What must follow between the stars, in this order.
    between: Box<[Segment]>,
    /// What the text ends with; `None` when there is no star.
    last: Option<Segment>,
}

impl Glob {
    pub(super) fn new(wildcard: &Wildcard, case: Case) -> Self {
        let stars = wildcard.tokens.split(|token| *token == WildcardToken::AnyRun);
        let mut segments: Vec<_> = stars.map(|tokens| Segment::new(tokens, case)).collect();
        let last = if segments.len() > 1 { segments.pop() } else { None };
        let mut segments = segments.into_iter();
        Self {
            case,
            first: segments.next().unwrap_or_default(),
            between: segments.filter(|segment| segment.len() > 0).collect(),
            last,
        }
    }

    /// Whether the whole of `text` matches.
    ///
    /// Cutting at the stars is right because of anchoring: both ends are fixed, and each segment
    /// between may as well stand as far left as it can.
    pub(super) fn matches(&self, text: Text<'_>) -> bool {
        let bytes = text.bytes;
        let Some(last) = &self.last else {
            return text.visible
                && bytes.len() == self.first.len()
                && self.first.fits(bytes, self.case);
        };
        if !text.visible || bytes.len() < self.first.len() + last.len() {
            return false;
        }
        let (first_text, rest) = bytes.split_at(self.first.len());
        let (mut rest, last_text) = rest.split_at(rest.len() - last.len());
        self.first.fits(first_text, self.case)
            && last.fits(last_text, self.case)
            && self.between.iter().all(|segment| match segment.find(rest, self.case) {
                Some(at) => {
                    rest = &rest[at + segment.len()..];
                    true
                }
                None => false,
            })
    }
}

/// A run of characters without star; `None` stands for `?`. Letters are in lower case where
/// case does not matter.
#[derive(Debug, Clone, Default)]
struct Segment(Box<[Option<u8>]>);

impl Segment {
    fn new(tokens: &[WildcardToken], case: Case) -> Self {
        let mut characters = Vec::new();
        for token in tokens {
            match token {
                WildcardToken::Literal(bytes) => {
                    characters.extend(bytes.iter().map(|&byte| Some(case.fold(byte))));
                }
                WildcardToken::AnyOne => characters.push(None),
                WildcardToken::AnyRun => {}
            }
        }
        Self(characters.into())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `bytes`, which are as many, match.
    fn fits(&self, bytes: &[u8], case: Case) -> bool {
        debug_assert_eq!(bytes.len(), self.len());
        let mut pairs = self.0.iter().zip(bytes);
        pairs.all(|(&character, &byte)| character.is_none_or(|c| c == byte || c == case.fold(byte)))
    }

    /// Where in `bytes` it first fits. Takes `bytes.len() * self.len()` steps at worst, which
    /// needs a pattern that repeats itself, as `aaaab`; such come from the operator only.
    fn find(&self, bytes: &[u8], case: Case) -> Option<usize> {
        bytes.windows(self.len()).position(|window| self.fits(window, case))
    }
}

impl Case {
    pub(super) fn fold(self, byte: u8) -> u8 {
        match self {
            Self::Sensitive => byte,
            Self::Insensitive => byte.to_ascii_lowercase(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &[u8], case: Case) -> bool {
        Glob::new(&Wildcard::parse(pattern, false), case).matches(Text::new(text))
    }

    /// What a glob means, as briefly as it can be said.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            ([b'?', rest @ ..], [_, text @ ..]) => naive(rest, text),
            ([literal, rest @ ..], [byte, text @ ..]) => literal == byte && naive(rest, text),
            ([_, ..], []) => false,
        }
    }

    proptest! {
        #[test]
        fn glob_agrees_with_its_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let expected = naive(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(&pattern, text.as_bytes(), Case::Sensitive), expected);
            let upper = text.to_ascii_uppercase();
            prop_assert_eq!(matches(&pattern, upper.as_bytes(), Case::Insensitive), expected);
        }

        #[test]
        fn any_bytes_are_matched_without_panic(pattern: String, text: Vec<u8>) {
            matches(&pattern, &text, Case::Insensitive);
        }
    }

    #[test]
    fn control_bytes_match_no_pattern_character() {
        let cases: [(&str, &[u8], bool); 6] = [
            ("a?c", b"a\tc", false),
            ("*", b"a\x7fc", false),
            ("a*", b"ab\0", false),
            ("a\t", b"a\t", false),
            ("a?c", b"a c", true),
            ("a?c", b"a\xffc", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text, Case::Sensitive), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn longest_text_against_a_repetitive_pattern_is_still_bounded() {
        let pattern = format!("*{}b*", "a".repeat(125));
        assert!(!matches(&pattern, &vec![b'a'; 16 * 1024], Case::Insensitive));
    }
}
