//! The configuration file: from TOML to a valid [`Model`], or every mistake in it at once.
//!
//! Five stages, each in its file: `syntax` reads TOML and steps over what is not; `structure`
//! checks keys, types and ranges against the schema and takes out what is wrong; the types of
//! `file` receive the rest; `lower` turns their text into the model and checks what only the
//! whole can show, such as names and addresses; `diagnostic` says what was found, and where.
//! Nothing here listens or resolves names. Start with [`parse`].

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::Deserialize as _;

use crate::model::Model;

mod diagnostic;
mod file;
mod lower;
mod schema;
mod structure;
mod syntax;
mod template;
mod values;

pub use diagnostic::{Color, DIAGNOSTICS_MAX, Diagnostic, Place, Severity, render_json};
pub use schema::json_schema;

pub(crate) use diagnostic::{nearest, quote, quote_all};
pub(crate) use values::{Flaw, duration, target_address};

use diagnostic::Findings;
use lower::Disk;

/// Longest configuration file that is read, in bytes: room for half a million targets, while a
/// device or a log given by mistake does not fill the memory.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the operator asked for.
    pub model: Model,
    /// What it probably does not mean.
    pub warnings: Vec<Diagnostic>,
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub struct Failure {
    /// Why it is refused; never empty, in the order of the file.
    pub errors: Vec<Diagnostic>,
    /// What else is doubtful, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// The cause when the file could not be read; `errors` then tells it in words.
    pub unreadable: Option<io::Error>,
}

impl Failure {
    /// All errors, then all warnings, then how many there were.
    #[must_use]
    pub fn render(&self, color: Color) -> String {
        let all = self.errors.iter().chain(&self.warnings);
        let mut out: String = all.map(|diagnostic| diagnostic.render(color) + "\n").collect();
        let file = self.errors.first().map_or("configuration", |error| error.file.as_str());
        out.push_str(&format!("{file}: {}", count(self.errors.len(), "error")));
        if !self.warnings.is_empty() {
            out.push_str(&format!(", {}", count(self.warnings.len(), "warning")));
        }
        out.push('\n');
        out
    }
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Color::Off).trim_end())
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.unreadable.as_ref().map(|cause| cause as _)
    }
}

/// Reads the file at `path` and parses it. Blocks while it reads.
///
/// # Errors
/// [`Failure`] with one error without a place when the file cannot be read, is not UTF-8 or is
/// longer than [`FILE_BYTES_MAX`]; else as [`parse`].
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    load_with_text(path).map(|(_, loaded)| loaded)
}

/// As [`load`], and returns the text as well.
///
/// # Errors
/// As [`load`].
pub fn load_with_text(path: &Path) -> Result<(String, Loaded), Failure> {
    let name = path.display().to_string();
    let text = read(path).map_err(|cause| unreadable(&name, cause))?;
    let loaded = parse_with(&text, &name, Disk::Look)?;
    Ok((text, loaded))
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let limit = format!("longer than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, limit));
    }
    String::from_utf8(bytes).map_err(|cause| {
        let good = cause.utf8_error().valid_up_to();
        let line = 1 + cause.as_bytes()[..good].iter().filter(|&&byte| byte == b'\n').count();
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
    })
}

fn unreadable(name: &str, cause: io::Error) -> Failure {
    let help = match cause.kind() {
        io::ErrorKind::NotFound => "give the path of a file that exists",
        io::ErrorKind::PermissionDenied => "let the user that runs ringway read the file",
        io::ErrorKind::IsADirectory => "give the file inside that directory",
        io::ErrorKind::InvalidData => "save the file as UTF-8",
        _ => "give the path of a TOML file",
    };
    let error = Diagnostic {
        severity: Severity::Error,
        file: name.into(),
        place: None,
        problem: format!("cannot read the configuration: {cause}"),
        help: Some(help.into()),
    };
    Failure { errors: vec![error], warnings: Vec::new(), unreadable: Some(cause) }
}

/// Parses `text`; messages call it `name`. Certificates that it names are not looked at: whether
/// a change is good does not depend on one that is just being replaced.
///
/// # Errors
/// [`Failure`] with every mistake that was found, at most [`DIAGNOSTICS_MAX`].
pub fn parse(text: &str, name: &str) -> Result<Loaded, Failure> {
    parse_with(text, name, Disk::Leave)
}

fn parse_with(text: &str, name: &str, disk: Disk) -> Result<Loaded, Failure> {
    let mut findings = Findings::new(name, text);
    let clean = syntax::clean(text, &mut findings);
    let mut tree = syntax::parse(&clean, &mut findings);
    structure::check(schema::schema(), &mut tree, &mut findings);
    let model = match file::Config::deserialize(toml::de::Deserializer::from(tree)) {
        Ok(config) => Some(lower::lower(&config, disk, &mut findings)),
        Err(cause) => {
            // The structural check let something pass that the types refuse: still no panic.
            findings.error(&cause.span().unwrap_or(0..0), cause.message().trim_end());
            None
        }
    };
    let (errors, warnings) = findings.into_diagnostics();
    match model {
        Some(model) if errors.is_empty() => Ok(Loaded { model, warnings }),
        _ => Err(Failure { errors, warnings, unreadable: None }),
    }
}

#[cfg(test)]
mod tests;
