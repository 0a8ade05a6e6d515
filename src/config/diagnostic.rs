//! What is wrong with a configuration, where, and how to cure it.
//!
//! [`Findings`] collects while the stages of `config` run; [`Diagnostic`] is what the operator
//! sees. Text of the file that appears in a message is quoted and escaped, so a hostile file
//! cannot drive a terminal. Start with [`Diagnostic::render`].

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::ops::Range;

/// Most diagnostics of one file. A file with more mistakes is not a configuration.
pub const DIAGNOSTICS_MAX: usize = 1_000;

/// Whether a configuration can be used in spite of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used, but probably does not mean what it says.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Whether rendered text carries ANSI colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Plain text.
    Off,
    /// ANSI escape sequences.
    On,
}

/// One mistake or doubt, with its place and its cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The file, as the caller named it.
    pub file: String,
    /// Where in the file; `None` when the file could not be read.
    pub place: Option<Place>,
    /// What is wrong: one line without a full stop.
    pub problem: String,
    /// What to write or do instead: one line.
    pub help: Option<String>,
}

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Key path such as `listeners[1].rules[0].priority`; empty at the top of the file and where
    /// the text is not TOML.
    pub path: String,
    /// The line of the file, fit for a terminal: tabs are spaces, control characters replaced.
    pub source: String,
    /// What the carets underline, in characters of `source`.
    pub caret: Range<usize>,
}

impl Diagnostic {
    /// The diagnostic as a reader of rustc's messages expects it, several lines, newline at the
    /// end.
    #[must_use]
    pub fn render(&self, color: Color) -> String {
        let paint = Paint(color);
        let tone = match self.severity {
            Severity::Error => "1;31",
            Severity::Warning => "1;33",
        };
        let mut out = String::new();
        let severity = paint.on(tone, &self.severity.to_string());
        let problem = paint.on("1", &format!(": {}", self.problem));
        let _ = writeln!(out, "{severity}{problem}");
        let margin = match &self.place {
            Some(place) => place.render(&mut out, &self.file, &paint, tone),
            None => {
                let _ = writeln!(out, " {} {}", paint.on("1;34", "-->"), self.file);
                1
            }
        };
        if let Some(help) = &self.help {
            if self.place.is_some() {
                let _ = writeln!(out, "{:margin$}{}", "", paint.on("1;34", "|"));
            }
            let bar = paint.on("1;34", "=");
            let _ = writeln!(out, "{:margin$}{bar} {}: {help}", "", paint.on("1", "help"));
        }
        out
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "severity": self.severity.to_string(),
            "file": self.file,
            "line": self.place.as_ref().map(|place| place.line),
            "column": self.place.as_ref().map(|place| place.column),
            "path": self.place.as_ref().map(|place| &place.path),
            "problem": self.problem,
            "help": self.help,
        })
    }
}

impl Place {
    /// Appends arrow, line and carets; returns the width of the margin left of the bars.
    fn render(&self, out: &mut String, file: &str, paint: &Paint, tone: &str) -> usize {
        let number = self.line.to_string();
        let margin = number.len() + 1;
        let bar = paint.on("1;34", "|");
        let arrow = paint.on("1;34", "-->");
        let _ = writeln!(
            out,
            "{:width$}{arrow} {file}:{}:{}",
            "",
            self.line,
            self.column,
            width = margin - 1
        );
        let _ = writeln!(out, "{:margin$}{bar}", "");
        let _ = writeln!(out, "{} {bar} {}", paint.on("1;34", &number), self.source);
        let carets = paint.on(tone, &"^".repeat(self.caret.len().max(1)));
        let _ =
            writeln!(out, "{:margin$}{bar} {:indent$}{carets}", "", "", indent = self.caret.start);
        margin
    }
}

/// The diagnostics as one JSON array, for programs. `line`, `column` and `path` are null when the
/// file could not be read; `help` is null when there is none.
#[must_use]
pub fn render_json<'d>(diagnostics: impl IntoIterator<Item = &'d Diagnostic>) -> String {
    let all: Vec<_> = diagnostics.into_iter().map(Diagnostic::to_json).collect();
    format!("{:#}", serde_json::Value::Array(all))
}

struct Paint(Color);

impl Paint {
    fn on(&self, code: &str, text: &str) -> String {
        match self.0 {
            Color::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Color::Off => text.into(),
        }
    }
}

/// Text from the file for use inside a message: in backticks, escaped, and not too long.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(escape).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let (kept, escaped) =
        if c.is_control() { (None, Some(c.escape_debug())) } else { (Some(c), None) };
    kept.into_iter().chain(escaped.into_iter().flatten())
}

/// Quoted words in a row: `` `a`, `b` ``.
pub(crate) fn quote_all<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

/// The name nearest to `word` that is near enough to be meant, if any.
pub(crate) fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    /// Below this similarity (0 to 1) a suggestion confuses more than it helps.
    const SIMILARITY_MIN: f64 = 0.55;
    /// A comparison costs the product of both lengths; no name we know is longer.
    const WORD_BYTES_MAX: usize = 80;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    names
        .into_iter()
        .map(|name| (similarity(&word, &name.to_ascii_lowercase().replace('-', "_")), name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

fn similarity(word: &str, name: &str) -> f64 {
    let part_of_the_other = word.len() >= 3 && name.contains(word) || word.contains(name);
    let part = if part_of_the_other && name.len() >= 3 { 0.6 } else { 0.0 };
    strsim::normalized_damerau_levenshtein(word, name).max(part)
}

/// A finding of a stage, before its position is turned into line and column.
#[derive(Debug)]
pub(super) struct Finding {
    severity: Severity,
    span: Range<usize>,
    problem: String,
    help: Option<String>,
}

impl Finding {
    pub(super) fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }
}

/// Collects what the stages find, in byte positions of one file.
#[derive(Debug)]
pub(super) struct Findings<'t> {
    source: Source<'t>,
    found: Vec<Finding>,
    errors: usize,
    /// Where each accepted key or value stands in the tree.
    paths: HashMap<Range<usize>, String>,
    /// Tables and lists of which something was taken out because it was wrong.
    damaged: HashSet<Range<usize>>,
    /// Parts of the text are not TOML, so anything may seem to be missing.
    partial: bool,
}

impl<'t> Findings<'t> {
    pub(super) fn new(name: &'t str, text: &'t str) -> Self {
        Self {
            source: Source::new(name, text),
            found: Vec::new(),
            errors: 0,
            paths: HashMap::new(),
            damaged: HashSet::new(),
            partial: false,
        }
    }

    pub(super) fn error(&mut self, at: &Range<usize>, problem: impl Into<String>) -> &mut Finding {
        self.errors += 1;
        self.push(Severity::Error, at, problem.into())
    }

    pub(super) fn warning(
        &mut self,
        at: &Range<usize>,
        problem: impl Into<String>,
    ) -> &mut Finding {
        self.push(Severity::Warning, at, problem.into())
    }

    fn push(&mut self, severity: Severity, at: &Range<usize>, problem: String) -> &mut Finding {
        let finding = Finding { severity, span: at.clone(), problem, help: None };
        self.found.push(finding);
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// Notes that the value at `span` stands at `path`.
    pub(super) fn note_path(&mut self, span: Range<usize>, path: &str) {
        // A list of `[[tables]]` has the span of its first table: the table, noted later, wins.
        self.paths.insert(span, path.into());
    }

    /// The path of the value at `span`; empty when unknown.
    pub(super) fn path(&self, span: &Range<usize>) -> &str {
        self.paths.get(span).map_or("", String::as_str)
    }

    /// How another place refers to the value at `span`: the last step of its path, and its line.
    pub(super) fn name_of(&self, span: &Range<usize>) -> String {
        let path = self.path(span);
        let step = path.rsplit('.').next().unwrap_or(path);
        format!("{step} (line {})", self.source.line(span.start))
    }

    pub(super) fn note_damage(&mut self, span: Range<usize>) {
        self.damaged.insert(span);
    }

    pub(super) fn note_partial(&mut self) {
        self.partial = true;
    }

    /// Whether all of the text is TOML, so that a key that seems to be missing is missing.
    pub(super) fn is_whole(&self) -> bool {
        !self.partial
    }

    /// Whether nothing was taken out of the table or list at `span`, so that what seems to be
    /// missing is missing. An inline table is one piece: TOML, or gone as a whole.
    pub(super) fn is_intact(&self, span: &Range<usize>) -> bool {
        let is_inline = self.source.text.as_bytes().get(span.start) == Some(&b'{');
        !self.damaged.contains(span) && (is_inline || !self.partial)
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// Errors and warnings, each in the order of the file and without repetitions.
    pub(super) fn into_diagnostics(mut self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|finding| (finding.span.start, finding.span.end));
        let all = found.into_iter().map(|finding| self.diagnostic(finding));
        let (mut errors, mut warnings): (Vec<_>, Vec<_>) =
            all.partition(|diagnostic| diagnostic.severity == Severity::Error);
        for list in [&mut errors, &mut warnings] {
            list.dedup();
            list.truncate(DIAGNOSTICS_MAX);
        }
        (errors, warnings)
    }

    fn diagnostic(&self, finding: Finding) -> Diagnostic {
        let Finding { severity, span, problem, help } = finding;
        let place = self.source.place(&span, self.path(&span));
        Diagnostic { severity, file: self.source.name.into(), place: Some(place), problem, help }
    }
}

/// The file's text, with the positions of its lines.
#[derive(Debug)]
struct Source<'t> {
    name: &'t str,
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Source<'t> {
    fn new(name: &'t str, text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let line_starts = std::iter::once(0).chain(ends.map(|(end, _)| end + 1)).collect();
        Self { name, text, line_starts }
    }

    /// The line of byte `offset`, from 1.
    fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }

    fn place(&self, span: &Range<usize>, path: &str) -> Place {
        let line = self.line(span.start);
        let start = self.line_starts[line - 1];
        let end = self.line_starts.get(line).map_or(self.text.len(), |next| next - 1);
        let source = self.text.get(start..end).unwrap_or_default().trim_end_matches('\r');
        let from = characters(source, span.start - start);
        let to = characters(source, span.end.saturating_sub(start)).max(from);
        Place { line, column: from + 1, path: path.into(), ..Self::shown(source, from..to) }
    }

    /// The part of a place that is shown: the line fit for a terminal, and where its carets are.
    fn shown(line: &str, marked: Range<usize>) -> Place {
        /// Characters of a long line that are shown.
        const SHOWN_MAX: usize = 160;
        /// Characters left of the mark that are shown when the line is long.
        const BEFORE: usize = 40;
        let skipped = if marked.end > SHOWN_MAX { marked.start.saturating_sub(BEFORE) } else { 0 };
        let visible = |c: char| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        };
        let source: String = line.chars().skip(skipped).take(SHOWN_MAX).map(visible).collect();
        let length = source.chars().count();
        let start = marked.start - skipped;
        let caret = start..(marked.end - skipped).min(length).max(start);
        Place { line: 0, column: 0, path: String::new(), source, caret }
    }
}

/// How many characters of `line` lie before byte `offset`.
fn characters(line: &str, offset: usize) -> usize {
    line.char_indices().take_while(|(at, _)| *at < offset).count()
}
