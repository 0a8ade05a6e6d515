//! The commands that ask a running ringway, through its control API.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::named::{Groups, Listeners};

/// Where the client looks for the control API unless told otherwise.
pub const SOCKET_PATH: &str = "/run/ringway/control.sock";

/// The end of a client command's help: its examples, then what all of them have in common.
macro_rules! help {
    ($($example:literal)*) => {
        concat!(
            "EXAMPLES:\n",
            $("  ", $example, "\n",)*
            "\nEXIT STATUS:\n",
            "  0   done\n",
            "  1   it failed; the message says why\n",
            "  2   the command line is wrong\n",
            "  69  nothing answers on the socket; the message says what to do\n",
            "  78  refused, with every mistake; nothing has changed\n",
            "\nENVIRONMENT:\n",
            "  RINGWAY_SOCKET   as --socket\n",
            "  RINGWAY_URL      as --url\n",
            "  NO_COLOR         no colours if set",
        )
    };
}

pub(super) use help;

/// How the running ringway is reached.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Control API")]
pub struct Reach {
    /// Unix socket of the control API [default: /run/ringway/control.sock]
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with = "url")]
    pub socket: Option<PathBuf>,
    /// TCP address of the control API instead, such as http://127.0.0.1:9900
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
    /// File whose first line is the token that the TCP address wants
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
}

/// What is asked of a running ringway.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Show listeners, rules, target groups and targets as they are
    ///
    /// Each target has its state, and below it the reason if it is not healthy, with the codes
    /// and words of AWS. p50 and p99 are times from request head to end of response.
    #[command(after_long_help = help!(
        "ringway status                      once"
        "ringway status --watch              every second, until Ctrl-C"
        "ringway status --watch=5            every five seconds"
        "ringway status --json | jq .totals  for programs"
    ))]
    Status(Status),
    /// Register, deregister, list and weight the targets of a group
    #[command(after_long_help = help!(
        "ringway targets list blog"
        "ringway targets register blog 127.0.0.1:8083 --wait"
        "ringway targets deregister blog 127.0.0.1:8081 --wait=60s"
        "ringway targets weight blog 127.0.0.1:8083 5"
    ))]
    Targets(Targets),
    /// Show, make, replace and remove target groups
    #[command(after_long_help = help!(
        "ringway groups list"
        "ringway groups put blog 'health_check = { path = \"/health\" }'"
        "ringway groups delete blog"
    ))]
    Groups(Groups),
    /// Show, make, replace and remove listeners
    #[command(after_long_help = help!(
        "ringway listeners list"
        "ringway listeners put web 'address = \"0.0.0.0:80\", default = { forward = \"home\" }'"
        "ringway listeners delete web"
    ))]
    Listeners(Listeners),
    /// List, put and delete the rules of a listener
    #[command(after_long_help = help!(
        "ringway rules list web"
        "ringway rules put web 10 'path_pattern = [\"/blog\"], forward = \"blog\"'"
        "ringway rules delete web 10"
    ))]
    Rules(Rules),
    /// Switch a listener between L4 and L7
    ///
    /// New connections follow the new mode at once; existing ones end in the mode they began in.
    #[command(after_long_help = help!("ringway mode web l4"))]
    Mode(Mode),
    /// Read the configuration file again
    ///
    /// A file with mistakes changes nothing, and all of them are reported, as by `check`.
    #[command(after_long_help = help!(
        "ringway reload"
        "ringway check && ringway reload"
        "ringway reload --or-upgrade         what systemctl reload does"
    ))]
    Reload(Reload),
    /// Stop gently, as on SIGTERM
    ///
    /// Listeners close at once, what is in flight may finish within `drain_timeout`.
    #[command(after_long_help = help!("ringway drain"))]
    Drain(Alone),
    /// Hand over to a new process of the same path, without a lost connection
    ///
    /// The listening sockets go to the new process, and so does what was changed at run time.
    /// Returns once it is ready; the old one drains.
    #[command(after_long_help = help!(
        "ringway upgrade                     after the package was upgraded"
    ))]
    Upgrade(Alone),
    /// Look after the keys of stickiness cookies
    #[command(after_long_help = help!("ringway keys rotate"))]
    Keys(Keys),
    /// Show what happens, as it happens
    ///
    /// Changes of health, drained targets, changes of the configuration. Ctrl-C ends it.
    #[command(after_long_help = help!(
        "ringway events"
        "ringway events --json | jq 'select(.type == \"health\")'"
    ))]
    Events(Events),
    /// Show the effective configuration
    ///
    /// What the file says, and over it what was changed while running.
    #[command(after_long_help = help!(
        "ringway config export > ringway.toml"
        "ringway config show | jq .target_groups"
    ))]
    Config(Config),
}

/// Options of a command that has none of its own.
#[derive(Debug, Args)]
pub struct Alone {
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// Options of `reload`.
#[derive(Debug, Args)]
pub struct Reload {
    /// Hand over to a new process instead where the program itself has been replaced
    ///
    /// A new process reads the file too.
    #[arg(long)]
    pub or_upgrade: bool,
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Show it again every so many seconds, in place
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "1", value_parser = seconds)]
    pub watch: Option<f64>,
    /// For programs: the answer of the control API
    #[arg(long)]
    pub json: bool,
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// Reads the interval of `--watch`.
fn seconds(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.1..=3600.0).contains(value));
    value.ok_or_else(|| "a number of seconds, 0.1 to 3600".into())
}

/// Options of `targets`.
#[derive(Debug, Args)]
pub struct Targets {
    /// What to do with them.
    #[command(subcommand)]
    pub command: TargetsCommand,
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// What `targets` does.
#[derive(Debug, Subcommand)]
pub enum TargetsCommand {
    /// Register targets in a group, all of them or none
    ///
    /// One that is registered already is changed to what the options say; with --ttl its lease is
    /// renewed.
    #[command(after_long_help = help!(
        "ringway targets register blog 127.0.0.1:8083 127.0.0.1:8084 --wait"
        "ringway targets register blog 127.0.0.1:8083 --weight 5 --ttl 30s"
    ))]
    Register {
        /// The target group
        group: String,
        /// Addresses and ports
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<String>,
        /// Share of the group's traffic, 0 to 999 [default: as it is, else 1]
        #[arg(long)]
        weight: Option<u16>,
        /// Deregister them by themselves unless registered again within this time, such as 30s
        #[arg(long, value_name = "DURATION")]
        ttl: Option<String>,
        /// Return only once all of them are healthy, at most after this time
        #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "30s")]
        wait: Option<String>,
    },
    /// Deregister targets: they get no new request from now on, and drain
    ///
    /// Addresses that are not registered are passed over.
    #[command(after_long_help = help!(
        "ringway targets deregister blog 127.0.0.1:8081"
        "ringway targets deregister blog 127.0.0.1:8081 --wait=60s && systemctl stop blog"
    ))]
    Deregister {
        /// The target group
        group: String,
        /// Addresses and ports
        #[arg(required = true, value_name = "ADDRESS")]
        addresses: Vec<String>,
        /// Return only once nothing is in flight there, at most after this time
        #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true)]
        #[arg(default_missing_value = "30s")]
        wait: Option<String>,
    },
    /// Show the targets of a group, with state and reason
    #[command(after_long_help = help!("ringway targets list blog"))]
    List {
        /// The target group
        group: String,
        /// For programs: the answer of the control API
        #[arg(long)]
        json: bool,
    },
    /// Change the weight of a target
    #[command(after_long_help = help!(
        "ringway targets weight blog 127.0.0.1:8081 5"
        "ringway targets weight blog 127.0.0.1:8081 0    no new traffic, but registered"
    ))]
    Weight {
        /// The target group
        group: String,
        /// Address and port
        address: String,
        /// Share of the group's traffic, 0 to 999
        weight: u16,
    },
}

/// Options of `rules`.
#[derive(Debug, Args)]
pub struct Rules {
    /// What to do with them.
    #[command(subcommand)]
    pub command: RulesCommand,
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// What `rules` does.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Show the rules of a listener, in the order in which they are evaluated
    #[command(after_long_help = help!("ringway rules list web"))]
    List {
        /// The listener
        listener: String,
        /// For programs: the answer of the control API
        #[arg(long)]
        json: bool,
    },
    /// Make a rule, or replace the one of this priority
    ///
    /// RULE has the keys of a rule in the configuration file, as TOML: one after the other with
    /// commas, or line by line. Without RULE and --json it is read from standard input.
    #[command(after_long_help = help!(
        "ringway rules put web 10 'path_pattern = [\"/blog\"], forward = \"blog\"'"
        "ringway rules put web 10 --json '{\"path_pattern\": [\"/blog\"], \"forward\": \"blog\"}'"
        "ringway rules put web 10 < rule.toml"
    ))]
    Put {
        /// The listener
        listener: String,
        /// Rank, 1 to 50000, lower first
        priority: u16,
        /// The rule, as TOML
        #[arg(conflicts_with = "json")]
        rule: Option<String>,
        /// The rule, as JSON
        #[arg(long, value_name = "RULE")]
        json: Option<String>,
    },
    /// Remove a rule
    #[command(after_long_help = help!("ringway rules delete web 10"))]
    Delete {
        /// The listener
        listener: String,
        /// Its priority
        priority: u16,
    },
}

/// Options of `mode`.
#[derive(Debug, Args)]
pub struct Mode {
    /// The listener
    pub listener: String,
    /// The mode
    #[arg(value_enum)]
    pub mode: Layer,
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// At which layer a listener is to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layer {
    /// TCP, each connection to one target
    L4,
    /// HTTP, each request by rules
    L7,
}

/// Options of `keys`.
#[derive(Debug, Args)]
pub struct Keys {
    /// What to do with them.
    #[command(subcommand)]
    pub command: KeysCommand,
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// What `keys` does.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum KeysCommand {
    /// Make a new key; cookies sealed with the one before stay good
    #[command(after_long_help = help!("ringway keys rotate"))]
    Rotate,
}

/// Options of `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// For programs: one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// Options of `config`.
#[derive(Debug, Args)]
pub struct Config {
    /// What to show.
    #[command(subcommand)]
    pub command: ConfigCommand,
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// What `config` shows.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// As one TOML file that `check` accepts
    #[command(after_long_help = help!("ringway config export > ringway.toml"))]
    Export,
    /// As JSON, keyed by names, addresses and priorities, as the control API has it
    #[command(after_long_help = help!("ringway config show | jq .target_groups"))]
    Show,
}

impl ClientCommand {
    /// How ringway is reached.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        match self {
            Self::Status(options) => &options.reach,
            Self::Targets(options) => &options.reach,
            Self::Groups(options) => &options.reach,
            Self::Listeners(options) => &options.reach,
            Self::Rules(options) => &options.reach,
            Self::Mode(options) => &options.reach,
            Self::Reload(options) => &options.reach,
            Self::Drain(options) | Self::Upgrade(options) => &options.reach,
            Self::Keys(options) => &options.reach,
            Self::Events(options) => &options.reach,
            Self::Config(options) => &options.reach,
        }
    }
}
