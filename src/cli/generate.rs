//! Shell completions and man pages, made from the command line's own types.
//!
//! Man pages are put together section by section, because EXAMPLES and EXIT STATUS stand at the
//! end of our help texts, where `clap_mangen` alone would call both EXTRA and fill their lines.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::builder::StyledStr;
use clap::{Command, CommandFactory};
use clap_mangen::roff::{Roff, roman};

use super::{Cli, Shell};

/// Writes the completions for `shell` to `out`.
///
/// # Errors
/// What `out` returns.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut command = visible(&Cli::command());
    let generator = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // Into memory first: clap_complete panics where a write fails, as on a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut command, "ringway", &mut script);
    out.write_all(&script)
}

/// Writes `ringway.1` and a page for each visible command and each of theirs, as `ringway-run.1`
/// and `ringway-targets-list.1`, into `dir`, which is made where it does not exist. Pages of the
/// same name are replaced.
///
/// # Errors
/// If `dir` cannot be made or a page cannot be written.
pub fn man_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut command = visible(&Cli::command()).disable_help_subcommand(true);
    command.build();
    write_pages(dir, &command)
}

/// The pages of `command` and of all below it.
fn write_pages(dir: &Path, command: &Command) -> io::Result<()> {
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    write_page(command, &man, &mut page)?;
    fs::write(dir.join(man.get_filename()), page)?;
    command.get_subcommands().try_for_each(|command| write_pages(dir, command))
}

/// The command without its hidden subcommands, which generated files are not to mention.
fn visible(command: &Command) -> Command {
    let text = |text: Option<&StyledStr>| text.cloned().unwrap_or_default();
    Command::new("ringway")
        .version(env!("CARGO_PKG_VERSION"))
        .about(text(command.get_about()))
        .long_about(text(command.get_long_about()))
        .after_long_help(text(command.get_after_long_help()))
        .subcommand_required(true)
        .subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()))
}

fn write_page(command: &Command, man: &clap_mangen::Man, page: &mut Vec<u8>) -> io::Result<()> {
    // By hand, for clap_mangen leaves an empty date out, and all that follows moves up by one.
    let title = command.get_display_name().unwrap_or_else(|| command.get_name());
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, ".TH {title} 1 \"\" \"ringway {version}\" \"Ringway Manual\"")?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    let Some(text) = command.get_after_long_help() else { return Ok(()) };
    closing_sections(&text.to_string()).to_writer(page)
}

/// The sections at the end of a help text: a line that ends with a colon and is not indented
/// begins one, and its lines are shown as they are.
fn closing_sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    let mut open = false;
    for line in text.lines() {
        if let Some(title) = line.strip_suffix(':').filter(|title| !title.starts_with(' ')) {
            if std::mem::replace(&mut open, true) {
                roff.control("fi", []);
            }
            roff.control("SH", [title]);
            roff.control("nf", []);
        } else if !line.is_empty() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
    }
    if open {
        roff.control("fi", []);
    }
    roff
}
