//! Where connections go by the name of the server that they ask for.

use std::collections::HashMap;
use std::ops::Range;

use super::Lowering;
use crate::config::diagnostic::quote;
use crate::config::file::{self, Key, Many};
use crate::config::values::{Flaw, Read};
use crate::model::{Action, SERVER_NAMES_MAX, ServerNames};

impl Lowering<'_, '_> {
    pub(super) fn server_names(&mut self, file: &Key<Many<file::ServerNames>>) -> Vec<ServerNames> {
        let Some(list) = file else { return Vec::new() };
        let mut first: HashMap<String, &Range<usize>> = HashMap::new();
        let mut all = Vec::with_capacity(list.value.0.len());
        for entry in &list.value.0 {
            let mut names = Vec::new();
            for text in entry.value.names.iter().flat_map(|names| &names.value.0) {
                let name = self.read_value(text, |text| server_name(text));
                let Some(name) = name else { continue };
                if let Some(earlier) = first.get(&name) {
                    let earlier = self.findings.name_of(earlier);
                    let problem = format!("{} is already in {earlier}", quote(&name));
                    self.findings.error(&text.at, problem).help("name each once");
                    continue;
                }
                first.insert(name.clone(), &text.at);
                names.push(name);
            }
            if let Some(none) = entry.value.names.as_ref().filter(|names| names.value.0.is_empty())
                && self.findings.is_intact(&none.at)
            {
                let help = "for example `names = [\"a.example\"]`";
                self.findings.error(&none.at, "there is no name").help(help);
            }
            let Some(forward) = &entry.value.forward else { continue };
            if let Some(stickiness) = &forward.value.stickiness {
                let help = "an l4 listener passes bytes on unread; remove the key";
                self.without_effect("an l4 listener", help, [Some(&stickiness.at)]);
            }
            let action = Action::Forward(self.forward(forward));
            all.push(ServerNames { names, action });
        }
        if first.len() > SERVER_NAMES_MAX {
            let problem = format!("more than {SERVER_NAMES_MAX} names");
            self.findings.error(&list.at, problem).help("spread them over listeners");
        }
        all
    }
}

/// Reads the name of a server, in lower case; `*.` may stand in front.
fn server_name(text: &str) -> Read<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(text.to_ascii_lowercase());
    }
    let problem = format!("{} is not the name of a server", quote(text));
    Err(Flaw::new(problem, "letters, digits, `-` and `.`, for example `a.example`, `*.b.example`"))
}
