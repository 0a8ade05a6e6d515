//! Where connections go by the name that a ClientHello asks for.

use super::{Action, Listener};

/// Most names of one listener.
pub const SERVER_NAMES_MAX: usize = 10_000;

/// Names of servers, and where connections for them go; L4 only.
#[derive(Debug, Clone)]
pub struct ServerNames {
    /// Names in lower case. `*.` in front stands for one label or more.
    pub names: Vec<String>,
    /// A forward.
    pub action: Action,
}

impl Listener {
    /// Everything that may be done with what arrives, in either mode; the default comes last.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        let rules = self.rules.iter().map(|rule| &rule.action);
        let names = self.server_names.iter().map(|names| &names.action);
        rules.chain(names).chain([&self.default])
    }

    /// The same, to be changed.
    pub fn actions_mut(&mut self) -> impl Iterator<Item = &mut Action> {
        let rules = self.rules.iter_mut().map(|rule| &mut rule.action);
        let names = self.server_names.iter_mut().map(|names| &mut names.action);
        rules.chain(names).chain([&mut self.default])
    }
}
