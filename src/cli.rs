//! The command line: which commands and options exist, and what their help says.
//!
//! Types only: [`Cli`] is what `main` parses, and each command is carried out elsewhere. From the
//! same types come the shell completions and man pages that packages install
//! ([`completions`], [`man_pages`], in `cli/generate.rs`). Start with [`Command`].

mod client;
mod compare;
mod generate;
mod named;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

pub use client::{
    Alone, ClientCommand, Config, ConfigCommand, Events, Keys, KeysCommand, Layer, Mode, Reach,
    Reload, Rules, RulesCommand, SOCKET_PATH, Status, Targets, TargetsCommand,
};
pub use compare::{Compare, Peer, Tool};
pub use generate::{completions, man_pages};
pub use named::{Groups, GroupsCommand, Listeners, ListenersCommand};

/// Where `run` and `check` look for the configuration unless told otherwise.
pub const CONFIG_PATH: &str = "/etc/ringway/ringway.toml";

/// A load balancer for one Linux host: HTTP with rules, and plain TCP
///
/// Ringway accepts connections on listeners and hands them to targets. An L7 listener reads HTTP
/// and picks a target group for every request, by rules on host, path, header, method, query and
/// source address. An L4 listener passes TCP through, connection by connection. The terms and
/// the behaviour are those of AWS Elastic Load Balancing.
///
/// New here? `ringway demo` needs no configuration and shows everything in a minute.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, after_long_help = CLI_AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const CLI_AFTER: &str = "\
EXAMPLES:
  ringway demo                        try it, without any configuration
  ringway compare                     see what L4 and L7 do, side by side
  ringway check --config my.toml      find every mistake in a configuration
  ringway doctor --config my.toml     find what is wrong with this machine for it
  ringway run --config my.toml        run it
  ringway status --watch              see what it does
  ringway targets register blog 127.0.0.1:8083 --wait
  ringway help run                    all about one command

EXIT STATUS:
  0   success
  1   it could not start, or failed while it ran; the message says why
  2   the command line is wrong
  66  the configuration file cannot be read
  69  nothing answers on the control socket
  78  the configuration has mistakes, or a change was refused

FILES:
  /etc/ringway/ringway.toml           the configuration, unless --config names another
  /run/ringway/control.sock           the control API, unless --socket names another";

/// What the process is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the load balancer in the foreground
    ///
    /// Reads the configuration, opens every listener and serves until it is stopped. A
    /// configuration with mistakes is not started: all of them are reported, as by `check`.
    ///
    /// SIGTERM and Ctrl-C end it gently: listeners close at once, what is in flight may finish
    /// within `drain_timeout` (30 s unless configured), then it is cut. SIGHUP reloads the
    /// configuration, SIGUSR1 opens the access logs anew.
    #[command(after_long_help = RUN_AFTER)]
    Run(Run),
    /// Report every mistake in a configuration at once
    ///
    /// Reads the configuration as `run` would, opens nothing, and reports every mistake at once:
    /// file, line and column, what is wrong (the cause) and how to put it right (the cure).
    #[command(after_long_help = CHECK_AFTER)]
    Check(Check),
    /// Try it: targets, listeners and rules without any configuration
    ///
    /// Needs no configuration at all. Starts two `home` and two `blog` targets in this process,
    /// an L7 listener on 127.0.0.1:8080 that sends /blog to the blog targets and everything else
    /// to the home targets, and an L4 listener on 127.0.0.1:8081 that passes connections to the
    /// home targets. Where one of these ports is taken, a free one is used instead.
    ///
    /// Prints the commands to try, for a terminal and for a browser. Ctrl-C ends it; nothing is
    /// left behind.
    #[command(after_long_help = DEMO_AFTER)]
    Demo(Demo),
    /// Compare L4 with L7, and with no balancer, on this machine
    ///
    /// Starts targets, an L4 and an L7 listener, and drives the same load through both and to the
    /// targets directly. Shows, row by row, what actually happened: connections opened to targets,
    /// what a target sees of its client, the share of a slow target, what a killed one costs, what
    /// WebSocket and HTTP/2 clients get, rates, latencies, processor time, memory.
    ///
    /// Balancers run as processes of their own on ports that the kernel chooses, and end with it.
    /// Ctrl-C ends the measuring; what was measured until then is reported.
    #[command(after_long_help = COMPARE_AFTER)]
    Compare(Compare),
    /// Find out what is wrong with this machine, and what to do about it
    ///
    /// Looks at the kernel and its io_uring, sysctls, limits, cores, capabilities, the addresses
    /// to listen on and who has them, every target (one connection and one probe each), the clock,
    /// the state directory, keys, tokens, the control socket and the configuration itself. Says of
    /// each finding what is, why it matters, and the command or line that cures it. Changes
    /// nothing, and takes half a minute at most.
    ///
    /// Where a ringway runs, the limits and privileges of that process are judged; else those of
    /// whoever runs this command, so run it as the user of the service.
    #[command(after_long_help = DOCTOR_AFTER)]
    Doctor(Doctor),
    /// One that asks a running ringway.
    #[command(flatten)]
    Client(ClientCommand),
    /// Show the version, the kernel, and which io_uring features are on
    ///
    /// Prints the version of ringway and of the kernel, whether io_uring is usable by this user
    /// on this host (if not, why, and that epoll is used instead), and which of its features are
    /// on. Worth pasting into a bug report.
    #[command(after_long_help = VERSION_AFTER)]
    Version,
    /// Print the JSON Schema of the configuration
    ///
    /// For editors that complete and check TOML while one types.
    #[command(hide = true)]
    Schema,
    /// Print completions for a shell
    ///
    /// For packages, which install them where the shell looks for them.
    #[command(hide = true)]
    Completions(Completions),
    /// Write man pages: ringway.1 and one for each command
    ///
    /// For packages, which install them below /usr/share/man/man1.
    #[command(hide = true)]
    Man(Man),
}

const RUN_AFTER: &str = "\
EXAMPLES:
  ringway run                         with /etc/ringway/ringway.toml
  ringway run --config my.toml        with another file
  systemctl start ringway             as a service, where the package installed one

ENVIRONMENT:
  RINGWAY_LOG   what is logged: error, warn, info (unless set), debug, trace
  NO_COLOR      no colours if set

EXIT STATUS:
  0   stopped by a signal, everything in flight finished or cut
  1   a listener could not be opened, or the kernel refused something; the message says which
  66  the configuration file cannot be read
  78  the configuration has mistakes";

const CHECK_AFTER: &str = "\
EXAMPLES:
  ringway check                       checks /etc/ringway/ringway.toml
  ringway check --config my.toml      checks another file
  ringway check --format json | jq .  for editors and pipelines
  ringway check && systemctl reload ringway

EXIT STATUS:
  0   the configuration is good
  66  the configuration file cannot be read
  78  the configuration has mistakes";

const DEMO_AFTER: &str = "\
EXAMPLES:
  ringway demo                        then, in another terminal:
  curl http://127.0.0.1:8080/         home-1 and home-2 take turns
  curl http://127.0.0.1:8080/blog     blog-1 and blog-2 take turns
  curl http://127.0.0.1:8081/         through the L4 listener
  ringway demo --tls                  and an HTTPS listener on 127.0.0.1:8443

EXIT STATUS:
  0   ended by Ctrl-C
  1   it could not start; the message says why";

const DOCTOR_AFTER: &str = "\
EXAMPLES:
  ringway doctor                      with /etc/ringway/ringway.toml
  ringway doctor --config my.toml     with another file
  sudo -u ringway ringway doctor      as the user of the service
  ringway doctor --format json | jq '.findings[] | select(.severity == \"error\")'

EXIT STATUS:
  0   nothing needs doing; there may be notes
  1   errors: it does not start, or does not serve what is configured
  3   warnings only: it serves, but worse than it could
  66  the configuration file cannot be read; the machine was examined all the same
  78  the configuration has mistakes; the machine was examined all the same";

const COMPARE_AFTER: &str = "\
EXAMPLES:
  ringway compare                                   some 35 seconds, a table
  ringway compare --report report.html              and a page with plots
  ringway compare --peer haproxy --peer nginx       with two more columns
  ringway compare --targets 127.0.0.1:5000,127.0.0.1:5001 --path /blog
  ringway compare --json | jq '.columns[] | {name, peak: .peak.rate}'

EXIT STATUS:
  0   measured, or ended by Ctrl-C and what was measured until then is reported
  1   something could not be started or written; the message says what
  2   the command line is wrong";

const VERSION_AFTER: &str = "\
EXAMPLES:
  ringway version                     version, kernel and io_uring
  ringway --version                   the version alone, for scripts

EXIT STATUS:
  0   always, also where io_uring is not usable";

/// Options of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(default_value = CONFIG_PATH)]
    pub config: PathBuf,
    /// What the log on stderr looks like
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; in the journal of systemd without a time of its own
    Text,
    /// One JSON object per line
    Json,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Also an HTTPS listener on 127.0.0.1:8443, with a certificate that is made for it
    #[arg(long)]
    pub tls: bool,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(default_value = CONFIG_PATH)]
    pub config: PathBuf,
    /// How mistakes are reported
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = CONFIG_PATH)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// How findings are reported
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub format: Format,
}

/// How `check` and `doctor` report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, with the line it is about
    Text,
    /// For programs: one JSON document
    Json,
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell that we write completions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Options of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory to write to; it is made where it does not exist
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}
