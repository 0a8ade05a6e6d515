//! From facts to findings, and nothing else: no file is read here and no clock.
//!
//! One file per area; each takes what is configured and what is, and says what does not fit.

mod clock;
mod files;
mod kernel;
mod limits;
mod listeners;
mod logs;
mod sysctls;
mod targets;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use crate::config::{self, Diagnostic, Failure};
use crate::model::{Model, Workers};
use crate::net::ring::Engine;

pub(super) use logs::JOURNAL;

use super::facts::{Answer, Facts};
use super::finding::Finding;

/// Everything that does not fit, errors first.
pub(super) fn judge(model: &Model, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(kernel::judge(model, facts));
    findings.extend(limits::judge(model, facts));
    findings.extend(listeners::judge(model, facts));
    findings.extend(targets::judge(model, facts));
    findings.extend(files::judge(model, facts));
    findings.extend(logs::judge(model, facts));
    findings.extend(sysctls::judge(model, facts));
    findings.extend(clock::judge(&facts.clock));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// How many workers `model` asks for on this machine.
fn workers(model: &Model, facts: &Facts) -> usize {
    match model.server.workers {
        Workers::Auto => facts.cpus.usable,
        Workers::Count(count) => count.get(),
    }
}

/// The mistakes of a configuration that cannot be used.
pub(super) fn refused(failure: &Failure) -> Vec<Finding> {
    let check = if failure.unreadable.is_some() { "config-unreadable" } else { "config-mistake" };
    let why = "nothing starts with it, and a running ringway refuses to reload it";
    let errors = failure
        .errors
        .iter()
        .map(|error| of_diagnostic(Finding::error(check, in_one_line(error)).why(why), error));
    errors.chain(doubtful(&failure.warnings)).collect()
}

/// What is doubtful about a configuration.
pub(super) fn doubtful(warnings: &[Diagnostic]) -> Vec<Finding> {
    let why = "it is used, but probably does not mean or do what it should";
    let finding = |it| Finding::warning("config-doubtful", in_one_line(it)).why(why);
    warnings.iter().map(|it| of_diagnostic(finding(it), it)).collect()
}

fn in_one_line(diagnostic: &Diagnostic) -> String {
    let Diagnostic { file, place, problem, .. } = diagnostic;
    match place {
        Some(config::Place { line, column, .. }) => format!("{file}:{line}:{column}: {problem}"),
        None => format!("{file}: {problem}"),
    }
}

fn of_diagnostic(finding: Finding, diagnostic: &Diagnostic) -> Finding {
    match &diagnostic.help {
        Some(help) => finding.cure(help.clone()),
        None => finding,
    }
}

/// What this machine offers, in a few lines.
pub(super) fn overview(model: &Model, facts: &Facts) -> Vec<(&'static str, String)> {
    let uring = match facts.uring.engine {
        Ok(Engine::IoUring { flags, entries }) => {
            let features = facts.uring.features.join(" ");
            format!("rings of {entries} entries, {}; {features}", flags.name())
        }
        Ok(Engine::Epoll) | Err(_) => "not usable".into(),
    };
    let mut cores = format!("{} usable, {} workers", facts.cpus.usable, workers(model, facts));
    if let Some(quota) = facts.cpus.quota {
        let _ = write!(cores, ", time of {quota:.1} granted");
    }
    let number = |limit: Option<u64>| match limit {
        None => "unknown".into(),
        Some(u64::MAX) => "unlimited".into(),
        Some(number) => number.to_string(),
    };
    let good = facts.targets.iter().filter(|target| matches!(target.answer, Answer::Good)).count();
    let running = match &facts.running {
        Some(status) => format!("ringway {}, pid {}", status.version, status.pid),
        None => "no".into(),
    };
    vec![
        ("kernel", format!("Linux {}", facts.kernel)),
        ("io_uring", uring),
        ("cores", cores),
        ("open files", number(facts.process.open_files)),
        ("targets", format!("{good} of {} answer", facts.targets.len() + facts.targets_left_out)),
        ("running", running),
    ]
}

/// Whose limits and privileges were judged, in words.
pub(super) fn judged(facts: &Facts) -> String {
    let process = &facts.process;
    match process.is_running_ringway {
        true => format!("the ringway that runs (pid {}, user id {})", process.pid, process.uid),
        false => format!("whoever runs this command (user id {})", process.uid),
    }
}
