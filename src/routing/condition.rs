//! Tries one condition against one request. Start with [`Test::holds`].

use std::net::IpAddr;

use ipnet::IpNet;
use regex::bytes::Regex;

use super::glob::{Case, Glob, Text};
use super::path::{Path, normalised_pattern};
use super::percent::{Unit, units, with_scratch};
use crate::message::Request;
use crate::model::{Condition, QueryMatch, TextMatch};

/// A request, with what more than one condition looks at.
pub(super) struct Subject<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) path: Path<'a>,
    /// Without port.
    pub(super) host: Text<'a>,
}

/// A condition, compiled.
#[derive(Debug, Clone)]
pub(super) enum Test {
    Host(Box<[Pattern]>),
    Path(Box<[Pattern]>),
    Header { name: Box<[u8]>, values: Box<[Pattern]> },
    Method(Box<[Box<[u8]>]>),
    Query(Box<[Pair]>),
    SourceIp(Box<[IpNet]>),
}

/// One value of a text condition.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    Glob(Glob),
    Regex(Regex),
}

/// One value of a query-string condition.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// `None`: any key.
    key: Option<Glob>,
    value: Glob,
}

impl Test {
    pub(super) fn new(condition: &Condition) -> Self {
        let insensitive = |values: &[TextMatch]| {
            values.iter().map(|value| Pattern::new(value, Case::Insensitive)).collect()
        };
        match condition {
            Condition::HostHeader(values) => Self::Host(insensitive(values)),
            Condition::PathPattern(values) => {
                Self::Path(values.iter().map(Pattern::of_path).collect())
            }
            Condition::HttpHeader { name, values } => {
                Self::Header { name: name.as_bytes().into(), values: insensitive(values) }
            }
            Condition::HttpRequestMethod(methods) => {
                Self::Method(methods.iter().map(|method| method.as_bytes().into()).collect())
            }
            Condition::QueryString(values) => Self::Query(values.iter().map(Pair::new).collect()),
            Condition::SourceIp(blocks) => Self::SourceIp(blocks.as_slice().into()),
        }
    }

    /// Whether the condition holds: whether any of its values matches.
    pub(super) fn holds(&self, subject: &Subject<'_>) -> bool {
        let request = subject.request;
        match self {
            Self::Host(patterns) => any_matches(patterns, subject.host),
            Self::Path(patterns) => {
                patterns.iter().any(|pattern| pattern.matches_path(subject.path))
            }
            Self::Header { name, values } => {
                request.values(name).any(|value| any_matches(values, Text::new(value)))
            }
            Self::Method(methods) => methods.iter().any(|method| **method == *request.method()),
            Self::Query(pairs) => query_holds(pairs, request.query()),
            Self::SourceIp(blocks) => {
                let peer: IpAddr = request.peer.to_canonical();
                blocks.iter().any(|block| block.contains(&peer))
            }
        }
    }
}

fn any_matches(patterns: &[Pattern], text: Text<'_>) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

impl Pattern {
    fn new(value: &TextMatch, case: Case) -> Self {
        match value {
            TextMatch::Wildcard(wildcard) => Self::Glob(Glob::new(wildcard, case)),
            TextMatch::Regex(regex) => Self::Regex(regex.clone()),
        }
    }

    fn of_path(value: &TextMatch) -> Self {
        match value {
            TextMatch::Wildcard(wildcard) => {
                Self::Glob(Glob::new(&normalised_pattern(wildcard), Case::Sensitive))
            }
            TextMatch::Regex(regex) => Self::Regex(regex.clone()),
        }
    }

    fn matches(&self, text: Text<'_>) -> bool {
        match self {
            Self::Glob(glob) => glob.matches(text),
            Self::Regex(regex) => regex.is_match(text.bytes),
        }
    }

    fn matches_path(&self, path: Path<'_>) -> bool {
        match self {
            Self::Glob(glob) => glob.matches(path.seen),
            Self::Regex(regex) => {
                regex.is_match(path.seen.bytes)
                    || path.received.is_some_and(|received| regex.is_match(received))
            }
        }
    }
}

impl Pair {
    fn new(value: &QueryMatch) -> Self {
        let glob = |wildcard| Glob::new(wildcard, Case::Insensitive);
        Self { key: value.key.as_ref().map(glob), value: glob(&value.value) }
    }

    fn matches(&self, key: &[u8], value: &[u8]) -> bool {
        self.key.as_ref().is_none_or(|glob| glob.matches(Text::new(key)))
            && self.value.matches(Text::new(value))
    }
}

/// Whether any key and value of `query` match one of `wanted`, as they came or percent-decoded.
fn query_holds(wanted: &[Pair], query: &[u8]) -> bool {
    let any = |key: &[u8], value: &[u8]| wanted.iter().any(|pair| pair.matches(key, value));
    pairs(query).any(|(key, value)| any(key, value))
        || memchr::memchr(b'%', query).is_some() && decoded_pair_exists(query, any)
}

/// Whether `any` says yes to a percent-decoded key and value of `query`. `+` is not a space.
#[cold]
#[inline(never)]
fn decoded_pair_exists(query: &[u8], any: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    with_scratch(query.len(), |scratch| {
        let Some(scratch) = scratch else { return false };
        pairs(query).any(|(key, value)| {
            let (decoded_key, rest) = scratch.split_at_mut(key.len());
            any(decode(key, decoded_key), decode(value, rest))
        })
    })
}

/// Keys and values of a query, split before any decoding so that `%26` and `%3D` separate
/// nothing. A key without `=` has an empty value; nothing between two `&` is no pair.
fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[] as &[u8]),
        }
    })
}

/// Percent-decodes `text` into `out`, which is at least as long.
fn decode<'o>(text: &[u8], out: &'o mut [u8]) -> &'o [u8] {
    let mut len = 0;
    for (slot, unit) in out.iter_mut().zip(units(text)) {
        *slot = match unit {
            Unit::Plain(byte) | Unit::Escaped(byte) => byte,
        };
        len += 1;
    }
    &out[..len]
}
