//! Finds the rules whose path or host values match, without trying each.
//!
//! Keys are sorted. Of those that a text begins with, the longest is either the greatest key that
//! is not above the text or one that this key begins with; so one binary search and a walk from
//! key to shorter key meet them all. Hosts are read backwards, which makes `*.example.com` a
//! beginning. Start with [`Index::first`].

use std::collections::BTreeMap;

use super::glob::{Case, Text};
use super::path::normalised_pattern;
use crate::model::{Condition, Rule, TextMatch, Wildcard, WildcardToken};

/// Longest key, in bytes; patterns are not longer (`PATTERN_BYTES_MAX`). Longer ones are not
/// indexed, so that of a host only this much and one byte more needs to be read backwards.
const KEY_BYTES_MAX: usize = 128;

/// What a key is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Path,
    /// In lower case, backwards.
    Host,
}

/// A value of a condition that an index can answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    text: Box<[u8]>,
    /// Whether anything may follow.
    open: bool,
}

/// A condition of a rule whose values are all keys.
pub(super) struct Place {
    side: Side,
    /// Position of the condition in the rule.
    pub(super) condition: usize,
    keys: Vec<Key>,
}

impl Place {
    pub(super) fn side_and_keys(&self) -> impl Iterator<Item = (Side, &Key)> {
        self.keys.iter().map(|key| (self.side, key))
    }
}

/// The conditions by which `rule` can be indexed.
pub(super) fn places(rule: &Rule) -> Vec<Place> {
    let place = |(condition, kind): (usize, &Condition)| {
        let (side, values) = match kind {
            Condition::PathPattern(values) => (Side::Path, values),
            Condition::HostHeader(values) => (Side::Host, values),
            Condition::HttpHeader { .. }
            | Condition::HttpRequestMethod(_)
            | Condition::QueryString(_)
            | Condition::SourceIp(_) => return None,
        };
        let keys = values.iter().map(|value| Key::new(side, value)).collect::<Option<_>>()?;
        Some(Place { side, condition, keys })
    };
    rule.conditions.iter().enumerate().filter_map(place).collect()
}

impl Key {
    /// `None` when the value is more than plain text and one star at the far end.
    fn new(side: Side, value: &TextMatch) -> Option<Self> {
        let TextMatch::Wildcard(wildcard) = value else { return None };
        let tokens = match side {
            Side::Path => normalised_pattern(wildcard).tokens,
            Side::Host => backwards(wildcard),
        };
        let (text, open) = match tokens.as_slice() {
            [] => (&[] as &[u8], false),
            [WildcardToken::AnyRun] => (&[] as &[u8], true),
            [WildcardToken::Literal(text)] => (text.as_slice(), false),
            [WildcardToken::Literal(text), WildcardToken::AnyRun] => (text.as_slice(), true),
            _ => return None,
        };
        // Text with control bytes is looked up nowhere, so such a key would only never be found.
        (text.len() <= KEY_BYTES_MAX).then(|| Self { text: text.into(), open })
    }
}

/// Tokens of a host pattern in lower case and in reverse.
fn backwards(wildcard: &Wildcard) -> Vec<WildcardToken> {
    let reversed = |token: &WildcardToken| match token {
        WildcardToken::Literal(text) => WildcardToken::Literal(
            text.iter().rev().map(|&byte| Case::Insensitive.fold(byte)).collect(),
        ),
        WildcardToken::AnyOne => WildcardToken::AnyOne,
        WildcardToken::AnyRun => WildcardToken::AnyRun,
    };
    wildcard.tokens.iter().rev().map(reversed).collect()
}

/// Rules by the keys of one side.
#[derive(Debug, Clone)]
pub(super) struct Index {
    side: Side,
    /// Sorted by text; no text twice.
    entries: Box<[Entry]>,
}

/// A text and the ranks, ascending, of the rules that it leads to.
#[derive(Debug, Clone, Default)]
struct Entry {
    text: Box<[u8]>,
    /// Rules that want exactly this text.
    exact: Vec<u32>,
    /// Rules that want a text that begins so.
    open: Vec<u32>,
    /// The longest other entry that this text begins with.
    shorter: Option<u32>,
}

impl Index {
    /// An index of the rules whose place is on `side`; `places` is in order of rank.
    pub(super) fn new(side: Side, places: &[Option<Place>]) -> Self {
        let mut sorted: BTreeMap<&[u8], Entry> = BTreeMap::new();
        for (rank, place) in places.iter().enumerate() {
            for key in place.iter().filter(|place| place.side == side).flat_map(|place| &place.keys)
            {
                let entry = sorted.entry(&key.text).or_default();
                let ranks = if key.open { &mut entry.open } else { &mut entry.exact };
                ranks.push(rank as u32);
            }
        }
        let with_text = |(text, entry): (&[u8], Entry)| Entry { text: text.into(), ..entry };
        let mut index = Self { side, entries: sorted.into_iter().map(with_text).collect() };
        for at in 0..index.entries.len() {
            let text = index.entries[at].text.clone();
            let previous = at.checked_sub(1);
            let shorter = index.beginnings(previous, &text).next().map(|at| at as u32);
            index.entries[at].shorter = shorter;
        }
        index
    }

    /// The lowest rank below `best` of a rule that has a key for `text` and for which
    /// `holds(rank)`; `best` when there is none.
    pub(super) fn first(&self, text: Text<'_>, best: u32, holds: impl Fn(u32) -> bool) -> u32 {
        if self.entries.is_empty() || !text.visible {
            return best;
        }
        match self.side {
            Side::Path => self.search(text.bytes, best, holds),
            Side::Host => {
                // One byte more than a key has: enough not to take a longer host for a key.
                let mut host = [0; KEY_BYTES_MAX + 1];
                let mut len = 0;
                for (slot, &byte) in host.iter_mut().zip(text.bytes.iter().rev()) {
                    *slot = Case::Insensitive.fold(byte);
                    len += 1;
                }
                self.search(&host[..len], best, holds)
            }
        }
    }

    fn search(&self, text: &[u8], mut best: u32, holds: impl Fn(u32) -> bool) -> u32 {
        let mut lower = |ranks: &[u32]| {
            let outranking = ranks.iter().copied().take_while(|&rank| rank < best);
            if let Some(rank) = outranking.into_iter().find(|&rank| holds(rank)) {
                best = rank;
            }
        };
        let above = self.entries.partition_point(|entry| *entry.text <= *text);
        for at in self.beginnings(above.checked_sub(1), text) {
            let entry = &self.entries[at];
            if entry.text.len() == text.len() {
                lower(&entry.exact);
            }
            lower(&entry.open);
        }
        best
    }

    /// Entries that `text` begins with, longest first, searched for from entry `from` towards
    /// shorter ones.
    fn beginnings(&self, from: Option<usize>, text: &[u8]) -> impl Iterator<Item = usize> {
        let shorter = |&at: &usize| self.entries[at].shorter.map(|at| at as usize);
        std::iter::successors(from, shorter)
            .filter(move |&at| text.starts_with(&self.entries[at].text))
    }
}
