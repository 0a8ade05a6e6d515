//! What the control API changed, laid over the operator's file.
//!
//! The file is the operator's word and is never written. A change is made to the [`Keyed`] form of
//! the whole, and what lasts of it is the [`Overlay`]: the merge patch (RFC 7386) that leads from
//! the file to the changed whole. So a setting that is changed back leaves no trace, what only the
//! API had and then removed neither, what the file has and the API removed leaves a null, and an
//! export that becomes the file leaves an empty overlay. Nothing here does I/O or reads a clock but
//! [`store`], which keeps the overlay in the state directory. Start with [`Overlay::accept`].

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::config::{self, Failure, Loaded};

mod change;
mod export;
mod keyed;
mod lease;
mod patch;
mod reconcile;
pub mod store;

pub use change::{Change, Part, Registration};
pub use keyed::{Keyed, Malformed};
pub use reconcile::uses;

use keyed::{GROUPS, LISTENERS, Names};

/// What messages call the text that a change is checked as.
pub const SOURCE: &str = "control API";

/// What was changed at run time, relative to the operator's file.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlay {
    /// From the file's keyed form to the effective one; an object.
    patch: Value,
    /// Paths of the entries that the patch changes in the file, rather than adds to it: when the
    /// file loses one, the change to it is void.
    over_file: BTreeSet<String>,
}

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The operator's file.
    File,
    /// A change made through the control API; also where that removed what the file says.
    Api,
    /// Neither: it is at its default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Api => "api",
            Self::Default => "default",
        })
    }
}

/// A change that may be made: store the overlay, then publish the model.
#[derive(Debug)]
pub struct Accepted {
    /// All changes, this one included.
    pub overlay: Overlay,
    /// The whole with the change, and what is doubtful in it.
    pub loaded: Loaded,
}

/// Why a change is not made; nothing has changed.
#[derive(Debug)]
pub enum Refusal {
    /// What it is about does not exist; its path, such as `listeners.web.rules[10]`.
    Missing(String),
    /// The whole would not be valid: the errors of `ringway check`, with names in their paths.
    Invalid(Failure),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "there is no `{path}`"),
            Self::Invalid(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl Overlay {
    /// No changes.
    #[must_use]
    pub fn empty() -> Self {
        Self { patch: Value::Object(Map::new()), over_file: BTreeSet::new() }
    }

    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patch.as_object().is_none_or(Map::is_empty)
    }

    /// The merge patch from the file's keyed form to the effective one.
    #[must_use]
    pub fn patch(&self) -> &Value {
        &self.patch
    }

    /// The effective configuration: the file with all changes.
    #[must_use]
    pub fn over(&self, file: &Keyed) -> Keyed {
        let mut tree = file.value().clone();
        patch::apply(&mut tree, &self.patch);
        file.with(tree)
    }

    /// These changes and then `change`, unchecked; [`Overlay::accept`] checks.
    #[must_use]
    pub fn merged(&self, file: &Keyed, change: &Change) -> Self {
        let mut tree = self.over(file).tree;
        change.apply(&mut tree);
        Self::between(file, &file.with(tree))
    }

    /// Checks `change` on top of these changes, as `ringway check` checks a file.
    ///
    /// # Errors
    /// [`Refusal`]; this overlay stays what it was in either case.
    pub fn accept(&self, file: &Keyed, change: &Change) -> Result<Accepted, Refusal> {
        let before = self.over(file);
        if let Some(path) = &change.needs {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            if before.at(&path).is_none() {
                return Err(Refusal::Missing(shown(&path)));
            }
        }
        let overlay = self.merged(file, change);
        let loaded = overlay.load(file).map_err(Refusal::Invalid)?;
        Ok(Accepted { overlay, loaded })
    }

    /// The model of the file with all changes.
    ///
    /// # Errors
    /// As [`config::parse`]; paths have names instead of numbers, lines are those of
    /// [`Keyed::to_toml`] of the whole.
    pub fn load(&self, file: &Keyed) -> Result<Loaded, Failure> {
        let whole = self.over(file);
        let mut names = Names::new(&whole);
        let name = |found: &mut config::Diagnostic| {
            if let Some(place) = &mut found.place {
                place.path = names.path(&place.path);
            }
        };
        match config::parse(&whole.to_toml(), SOURCE) {
            Ok(mut loaded) => {
                loaded.warnings.iter_mut().for_each(name);
                Ok(loaded)
            }
            Err(mut failure) => {
                failure.errors.iter_mut().chain(&mut failure.warnings).for_each(name);
                Err(failure)
            }
        }
    }

    /// Where the setting at `path` comes from, such as `["listeners", "web", "mode"]`. An entry
    /// that the file has comes from there, whatever was changed inside.
    #[must_use]
    pub fn origin(&self, file: &Keyed, path: &[&str]) -> Origin {
        let mut change = Some(&self.patch);
        for step in path {
            change = match change {
                Some(Value::Object(table)) => table.get(*step),
                // Replaced or removed as a whole, further up.
                Some(_) => return Origin::Api,
                None => None,
            };
        }
        match (change, file.at(path)) {
            (Some(change), Some(_)) if !change.is_object() => Origin::Api,
            (_, Some(_)) => Origin::File,
            (Some(_), None) => Origin::Api,
            (None, None) => Origin::Default,
        }
    }

    /// What was changed, a line each: the path and what was done to it.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        leaves(&self.patch, &mut Vec::new(), &mut |path, value| {
            lines.push(match value {
                Value::Null => format!("{}: removed", shown(path)),
                Value::Object(_) => format!("{}: added", shown(path)),
                value => format!("{} = {value}", shown(path)),
            });
        });
        lines
    }

    /// The changes that lead from `file` to `whole`.
    fn between(file: &Keyed, whole: &Keyed) -> Self {
        let patch = patch::diff(file.value(), whole.value());
        let mut overlay = Self { patch: patch.unwrap_or_else(|| json!({})), ..Self::empty() };
        let over_file = overlay.entries().filter(|(path, _)| file.at(path).is_some());
        overlay.over_file = over_file.map(|(path, _)| path.join("/")).collect();
        overlay
    }

    /// Groups, targets, listeners and rules that the patch speaks of, outer ones first.
    fn entries(&self) -> impl Iterator<Item = (Vec<&str>, &Value)> {
        [GROUPS, LISTENERS].into_iter().flat_map(|of| {
            let outer = self.patch.get(of.list).and_then(Value::as_object).into_iter().flatten();
            outer.flat_map(move |(name, entry)| {
                let inner = entry.get(of.inner).and_then(Value::as_object).into_iter().flatten();
                let inner = inner.map(move |(key, value)| {
                    (vec![of.list, name.as_str(), of.inner, key.as_str()], value)
                });
                std::iter::once((vec![of.list, name.as_str()], entry)).chain(inner)
            })
        })
    }
}

/// Visits every end of a tree, with its path. An object without entries is an end.
fn leaves<'t>(tree: &'t Value, path: &mut Vec<&'t str>, visit: &mut impl FnMut(&[&str], &Value)) {
    match tree {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                path.push(key);
                leaves(value, path, visit);
                path.pop();
            }
        }
        _ if path.is_empty() => {}
        end => visit(path, end),
    }
}

/// A path of the keyed form as diagnostics write it.
fn shown(path: &[&str]) -> String {
    match path {
        [list, name, inner, key, rest @ ..] if [GROUPS.inner, LISTENERS.inner].contains(inner) => {
            let rest: String = rest.iter().map(|step| format!(".{step}")).collect();
            format!("{list}.{name}.{inner}[{key}]{rest}")
        }
        _ => path.join("."),
    }
}

#[cfg(test)]
mod tests;
