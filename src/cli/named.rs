//! The commands about what has a name of its own: target groups and listeners.

use clap::{Args, Subcommand};

use super::client::{Reach, help};

/// Options of `groups`.
#[derive(Debug, Args)]
pub struct Groups {
    /// What to do with them.
    #[command(subcommand)]
    pub command: GroupsCommand,
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// What `groups` does.
#[derive(Debug, Subcommand)]
pub enum GroupsCommand {
    /// Show the target groups, with their targets
    #[command(after_long_help = help!("ringway groups list"))]
    List {
        /// For programs: the answer of the control API
        #[arg(long)]
        json: bool,
    },
    /// Make a target group, or replace the one of this name
    ///
    /// GROUP has the keys of a target group in the configuration file, as TOML: one after the
    /// other with commas, or line by line. Without GROUP and --json it is read from standard
    /// input. A group that is replaced loses the targets that GROUP does not name; to add and
    /// remove targets there is `targets`.
    #[command(after_long_help = help!(
        "ringway groups put blog 'health_check = { path = \"/health\" }'"
        "ringway groups put blog 'targets = { \"127.0.0.1:8081\" = { weight = 2 } }'"
        "ringway groups put blog --json '{}'                   every key at its default"
        "ringway groups put blog < group.toml"
    ))]
    Put {
        /// The target group
        name: String,
        /// The target group, as TOML
        #[arg(conflicts_with = "json")]
        group: Option<String>,
        /// The target group, as JSON
        #[arg(long, value_name = "GROUP")]
        json: Option<String>,
    },
    /// Remove a target group that nothing forwards to
    #[command(after_long_help = help!("ringway groups delete blog"))]
    Delete {
        /// The target group
        name: String,
    },
}

/// Options of `listeners`.
#[derive(Debug, Args)]
pub struct Listeners {
    /// What to do with them.
    #[command(subcommand)]
    pub command: ListenersCommand,
    /// How ringway is reached.
    #[command(flatten)]
    pub reach: Reach,
}

/// What `listeners` does.
#[derive(Debug, Subcommand)]
pub enum ListenersCommand {
    /// Show the listeners, with their rules
    #[command(after_long_help = help!("ringway listeners list"))]
    List {
        /// For programs: the answer of the control API
        #[arg(long)]
        json: bool,
    },
    /// Make a listener, or replace the one of this name with its rules
    ///
    /// LISTENER has the keys of a listener in the configuration file, as TOML: one after the
    /// other with commas, or line by line. Without LISTENER and --json it is read from standard
    /// input. Rules are put one by one, with `rules`.
    #[command(after_long_help = help!(
        "ringway listeners put web 'address = \"0.0.0.0:80\", default = { forward = \"home\" }'"
        "ringway listeners put web < listener.toml"
    ))]
    Put {
        /// The listener
        name: String,
        /// The listener, as TOML
        #[arg(conflicts_with = "json")]
        listener: Option<String>,
        /// The listener, as JSON
        #[arg(long, value_name = "LISTENER")]
        json: Option<String>,
    },
    /// Remove a listener; its connections close after their next response
    #[command(after_long_help = help!("ringway listeners delete web"))]
    Delete {
        /// The listener
        name: String,
    },
}
