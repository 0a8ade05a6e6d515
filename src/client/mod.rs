//! The client of the control API: what `ringway status` and its like do.
//!
//! `connect` finds the API and speaks HTTP with it, `commands` says what each command asks and
//! prints, `named` does so for target groups and listeners, `rule` reads the text of these and of
//! rules, `status` draws the table and `watch` draws it again, `events` tells what happens. Nothing
//! here knows how the answers come about. Start with [`run`].

mod commands;
mod connect;
mod events;
mod look;
mod named;
mod rule;
mod status;
mod targets;
mod watch;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use hyper::Method;

use crate::cli::{ClientCommand, Reach};
use crate::config::Color;
use crate::control::api::Problem;
use crate::control::handle::Status;
use crate::log;
use connect::{Client, Question};
use look::Output;

/// Exit status when something failed.
const EXIT_FAILED: u8 = 1;
/// Exit status when the command line is wrong, as clap has it.
const EXIT_USAGE: u8 = 2;
/// Exit status when nothing answers (sysexits.h: EX_UNAVAILABLE).
const EXIT_UNAVAILABLE: u8 = 69;
/// Exit status when a change was refused (sysexits.h: EX_CONFIG), as of `check`.
const EXIT_REFUSED: u8 = 78;

/// Carries out `command`, prints what it tells, and returns the exit status.
#[must_use]
pub fn run(command: &ClientCommand) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(carry_out(command)),
        Err(cause) => Err(Trouble::Failed(format!("cannot start: {cause}"))),
    };
    match result {
        Ok(()) => 0,
        Err(trouble) => {
            log::complain(log::Level::ERROR, &trouble.render(color(io::stderr().is_terminal())));
            trouble.exit_status()
        }
    }
}

/// The status of the ringway that `reach` leads to.
///
/// # Errors
/// Why there is none, in words.
pub async fn status(reach: &Reach) -> Result<Status, String> {
    let trouble = |trouble: Trouble| trouble.render(Color::Off).trim_end().to_owned();
    let client = Client::new(reach, |_| None).map_err(trouble)?;
    client.ask(Question::new(Method::GET, "/v1/status")).await.map_err(trouble)
}

async fn carry_out(command: &ClientCommand) -> Result<(), Trouble> {
    let is_terminal = io::stdout().is_terminal();
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let client = Client::new(command.reach(), variable)?;
    let mut stdout = io::stdout();
    let mut output = Output { out: &mut stdout, color: color(is_terminal), is_terminal };
    commands::carry_out(&client, command, &mut output).await
}

fn color(is_terminal: bool) -> Color {
    let wanted = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { Color::On } else { Color::Off }
}

/// Why a command was not carried out.
#[derive(Debug)]
enum Trouble {
    /// Nothing answers; with the cure.
    Unavailable(String),
    /// The command line is wrong.
    Usage(String),
    /// The API said so.
    Problem(Problem),
    /// Anything else.
    Failed(String),
    /// Whoever read our output has gone; nothing needs to be said.
    OutputClosed,
}

impl Trouble {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Unavailable(_) => EXIT_UNAVAILABLE,
            Self::Usage(_) => EXIT_USAGE,
            Self::Problem(problem) if problem.status == 422 => EXIT_REFUSED,
            Self::Problem(problem) if problem.status == 503 => EXIT_UNAVAILABLE,
            Self::Problem(_) | Self::Failed(_) | Self::OutputClosed => EXIT_FAILED,
        }
    }

    /// What is printed: mistakes as `ringway check` prints them.
    fn render(&self, color: Color) -> String {
        match self {
            Self::Unavailable(text) | Self::Usage(text) | Self::Failed(text) => {
                format!("ringway: {text}\n")
            }
            Self::OutputClosed => String::new(),
            Self::Problem(problem) => render(problem, color),
        }
    }
}

fn render(problem: &Problem, color: Color) -> String {
    let mut out = String::new();
    let located = |path: &Option<String>| path.as_deref().is_some_and(|path| !path.is_empty());
    for mistake in &problem.problems {
        if located(&mistake.path) || mistake.place.is_some() {
            let _ = writeln!(out, "{}", mistake.to_diagnostic().render(color));
        }
    }
    let _ = writeln!(out, "ringway: {}", problem.detail);
    for mistake in problem.problems.iter().filter(|it| !located(&it.path) && it.place.is_none()) {
        if mistake.problem != problem.detail {
            let _ = writeln!(out, "  {}", mistake.problem);
        }
        if let Some(help) = &mistake.help {
            let _ = writeln!(out, "  = help: {help}");
        }
    }
    out
}

impl From<io::Error> for Trouble {
    fn from(cause: io::Error) -> Self {
        if cause.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Failed(cause.to_string())
    }
}
