//! `ringway doctor`: what is wrong with this machine and this configuration, and what to do.
//!
//! `gather` looks and `facts` is what it saw; `judge` turns that into findings without looking at
//! anything itself, so that every misconfiguration can be tested without provoking it; `finding`
//! writes the report. Nothing is changed. Start with [`examine`].

mod facts;
mod finding;
mod gather;
mod judge;

use std::path::Path;

use crate::cli;
use crate::config::{self, Color, Failure, Loaded};
use crate::model::{Model, Server};
use crate::overlay::{self, Keyed};

pub use finding::{Finding, Report, Severity};

/// Exit status when only warnings were found.
const EXIT_WARNINGS: u8 = 3;
/// Exit status when errors were found.
const EXIT_ERRORS: u8 = 1;
/// Exit status for a configuration that cannot be read (sysexits.h: EX_NOINPUT), as of `check`.
const EXIT_NO_INPUT: u8 = 66;
/// Exit status for a configuration with mistakes (sysexits.h: EX_CONFIG), as of `check`.
const EXIT_CONFIG: u8 = 78;

/// What was found, as text or JSON, and the exit status that goes with it.
///
/// # Errors
/// When there is no runtime to ask targets with.
pub fn run(options: &cli::Doctor, color: Color) -> Result<(String, u8), std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (report, status) = runtime.block_on(examine(&options.config));
    let text = match options.format {
        cli::Format::Text => report.text(color),
        cli::Format::Json => report.json()?,
    };
    Ok((text, status))
}

/// Examines this machine for running the configuration at `path`. Takes half a minute at most, and
/// a few milliseconds where all targets answer.
pub async fn examine(path: &Path) -> (Report, u8) {
    let loaded = load(path);
    let (model, mut findings) = match &loaded {
        Ok(loaded) => (loaded.model.clone(), judge::doubtful(&loaded.warnings)),
        Err(failure) => (nothing(), judge::refused(failure)),
    };
    let facts = gather::facts(&model, path).await;
    findings.extend(judge::judge(&model, &facts));
    findings.sort_by_key(|finding| finding.severity);
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        config: path.display().to_string(),
        judged: judge::judged(&facts),
        overview: judge::overview(&model, &facts),
        findings,
    };
    let status = match loaded {
        Err(failure) if failure.unreadable.is_some() => EXIT_NO_INPUT,
        Err(_) => EXIT_CONFIG,
        Ok(_) if report.count(Severity::Error) > 0 => EXIT_ERRORS,
        Ok(_) if report.count(Severity::Warning) > 0 => EXIT_WARNINGS,
        Ok(_) => 0,
    };
    (report, status)
}

/// The file, and what was changed over it through the control API, if that can be read.
fn load(path: &Path) -> Result<Loaded, Failure> {
    let (text, loaded) = config::load_with_text(path)?;
    let Some(dir) = &loaded.model.server.state_dir else { return Ok(loaded) };
    // What cannot be read there is a finding of its own.
    let (Ok(mut changes), Ok(file)) = (overlay::store::load(dir), Keyed::parse(&text)) else {
        return Ok(loaded);
    };
    drop(changes.reconcile(&file));
    match changes.is_empty() {
        true => Ok(loaded),
        false => changes.load(&file),
    }
}

/// What is judged where there is no configuration: the machine alone.
fn nothing() -> Model {
    Model { server: Server::default(), target_groups: Vec::new(), listeners: Vec::new() }
}
