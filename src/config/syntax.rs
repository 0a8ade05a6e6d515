//! Text to a TOML tree, with every syntax error and without their echoes.
//!
//! A forgotten bracket makes a parser misread everything after it. So the text is cut at its
//! table headers, each section is parsed alone, and what is not TOML is overwritten with spaces:
//! every other position stays valid and the rest of the file is still checked.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, Error};

use super::diagnostic::Findings;

/// `text` with spaces over what is not TOML, which is reported.
pub(super) fn clean<'t>(text: &'t str, findings: &mut Findings<'_>) -> Cow<'t, str> {
    if DeTable::parse(text).is_ok() {
        return Cow::Borrowed(text);
    }
    findings.note_partial();
    let mut kept = text.to_owned();
    for section in sections(text) {
        repair(&mut kept, section, findings);
    }
    Cow::Owned(kept)
}

/// The tree of a text from [`clean`]. What is reported here lies between sections, such as a
/// table that is defined twice; the tree lacks the second.
pub(super) fn parse<'t>(clean: &'t str, findings: &mut Findings<'_>) -> Spanned<DeTable<'t>> {
    let (table, errors) = DeTable::parse_recoverable(clean);
    for error in errors {
        report(&error, 0, findings);
    }
    table
}

/// Reports the syntax errors of one section and overwrites the lines they stand in.
fn repair(kept: &mut String, section: Range<usize>, findings: &mut Findings<'_>) {
    let (_, errors) = DeTable::parse_recoverable(&kept[section.clone()]);
    if errors.is_empty() {
        return;
    }
    // One line can break in several ways; the first says enough. After something unclosed,
    // nothing further that the parser says about the section is true.
    let mut reported: Option<Range<usize>> = None;
    let unclosed = errors.iter().any(|error| error.message().starts_with("unclosed"));
    let in_order = {
        let mut all: Vec<&Error> = errors.iter().collect();
        all.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        all
    };
    for error in in_order {
        let at = section.start + error.span().map_or(0, |span| span.start);
        let line = line_of(kept, at, &section);
        if reported.as_ref() == Some(&line) || (unclosed && reported.is_some()) {
            continue;
        }
        report(error, section.start, findings);
        blank(kept, line.clone());
        reported = Some(line);
    }
    let broken = !DeTable::parse_recoverable(&kept[section.clone()]).1.is_empty();
    if unclosed || broken {
        let header_end =
            kept[section.clone()].find('\n').map_or(section.end, |n| section.start + n);
        let has_header = kept[section.clone()].starts_with('[');
        blank(kept, if has_header { header_end } else { section.start }..section.end);
    }
}

fn report(error: &Error, offset: usize, findings: &mut Findings<'_>) {
    let span = error.span().unwrap_or(0..0);
    let span = span.start + offset..span.end + offset;
    let help = cure(error.message());
    let finding = findings.error(&span, error.message().lines().next().unwrap_or("not TOML"));
    if let Some(help) = help {
        finding.help(help);
    }
}

fn cure(message: &str) -> Option<&'static str> {
    let cures = [
        ("string values must be quoted", "put the value in double quotes; durations too: \"30s\""),
        ("unclosed", "a closing bracket or quote is missing on this line or above it"),
        ("invalid basic string", "the closing quote is missing, or a `\\` wants to be `\\\\`"),
        ("key with no value", "a setting is written `key = value`, a comment begins with `#`"),
        ("duplicate key", "keep one of them"),
        ("missing comma", "a comma or a closing bracket is missing here or above"),
    ];
    cures.iter().find(|(start, _)| message.starts_with(start)).map(|(_, cure)| *cure)
}

/// The text cut before every line that is a table header.
fn sections(text: &str) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if at > 0 && is_header(line) {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Whether a line is `[table]` or `[[table]]`, a comment allowed. A nested list that begins in
/// the first column looks different: its items have quotes, commas or digits only.
fn is_header(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or(line).trim_end();
    let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    let name = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(&byte))
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn line_of(text: &str, at: usize, within: &Range<usize>) -> Range<usize> {
    let at = at.clamp(within.start, within.end);
    let bytes = text.as_bytes();
    let start = bytes[within.start..at].iter().rposition(|&byte| byte == b'\n');
    let end = bytes[at..within.end].iter().position(|&byte| byte == b'\n');
    start.map_or(within.start, |n| within.start + n + 1)..end.map_or(within.end, |n| at + n)
}

/// Overwrites a range of whole lines with spaces, line ends kept, so that offsets stay.
fn blank(text: &mut String, range: Range<usize>) {
    let spaces: String =
        text[range.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(range, &spaces);
}
