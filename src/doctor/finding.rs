//! What the doctor says: findings, and how a report of them is written.

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::Color;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It will not start, or will not serve what is configured.
    Error,
    /// It serves, but worse than it could, or not for long.
    Warning,
    /// Good to know; nothing needs doing.
    Note,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }

    /// ANSI colour.
    fn tone(self) -> &'static str {
        match self {
            Self::Error => "1;31",
            Self::Warning => "1;33",
            Self::Note => "1;36",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check, which stays the same between versions.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do: commands and lines of configuration, one each.
    pub cure: Vec<String>,
}

impl Finding {
    fn new(severity: Severity, check: &'static str, what: impl Into<String>) -> Self {
        Self { check, severity, what: what.into(), why: String::new(), cure: Vec::new() }
    }

    pub(super) fn error(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, check, what)
    }

    pub(super) fn warning(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, check, what)
    }

    pub(super) fn note(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(Severity::Note, check, what)
    }

    /// Why it matters.
    pub(super) fn why(self, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..self }
    }

    /// One more thing to do.
    pub(super) fn cure(mut self, line: impl Into<String>) -> Self {
        self.cure.push(line.into());
        self
    }

    /// The cure of a sysctl that is to have another value: now, and after the next boot.
    pub(super) fn sysctl(self, name: &str, value: impl std::fmt::Display) -> Self {
        let file = "/etc/sysctl.d/90-ringway.conf";
        self.cure(format!("sysctl -w {name}='{value}'"))
            .cure(format!("echo '{name} = {value}' >> {file}    # for the next boot"))
    }
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of the program.
    pub version: &'static str,
    /// The configuration file.
    pub config: String,
    /// Whose limits and privileges were judged.
    pub judged: String,
    /// What this machine offers, a name and a line each.
    pub overview: Vec<(&'static str, String)>,
    /// Errors first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// For programs: one JSON document.
    ///
    /// # Errors
    /// None; serde asks for it.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        let mut whole = serde_json::to_value(self)?;
        for (key, severity) in [
            ("errors", Severity::Error),
            ("warnings", Severity::Warning),
            ("notes", Severity::Note),
        ] {
            whole[key] = self.count(severity).into();
        }
        Ok(format!("{whole:#}\n"))
    }

    /// For people.
    #[must_use]
    pub fn text(&self, color: Color) -> String {
        let paint = |tone: &str, text: &str| match color {
            Color::On => format!("\u{1b}[{tone}m{text}\u{1b}[0m"),
            Color::Off => text.to_owned(),
        };
        // Writing to a string does not fail.
        let mut out = format!("{}, judged for {}\n\n", self.config, self.judged);
        for (name, line) in &self.overview {
            let _ = writeln!(out, "  {name:<10} {line}");
        }
        for Finding { check, severity, what, why, cure } in &self.findings {
            let name = paint(severity.tone(), &format!("{:<8}", severity.name()));
            let _ = writeln!(out, "\n{name} {}  [{check}]", paint("1", what));
            if !why.is_empty() {
                let _ = writeln!(out, "  why      {why}");
            }
            for (index, line) in cure.iter().enumerate() {
                let _ = writeln!(out, "  {:<8} {line}", if index == 0 { "do" } else { "" });
            }
        }
        let _ = writeln!(out, "\n{}", self.sum());
        out
    }

    fn sum(&self) -> String {
        let some = |severity: Severity| match self.count(severity) {
            1 => format!("1 {}", severity.name()),
            count => format!("{count} {}s", severity.name()),
        };
        let [errors, warnings, notes] =
            [Severity::Error, Severity::Warning, Severity::Note].map(some);
        format!("{errors}, {warnings}, {notes}")
    }
}
