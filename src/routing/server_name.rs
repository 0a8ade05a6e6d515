//! The name that a ClientHello asks for → where its connection goes.

use std::collections::HashMap;

use crate::model::{Action, ServerNames};

/// Names of servers, compiled for lookup.
#[derive(Debug, Clone, Default)]
pub struct ByServerName {
    actions: Vec<Action>,
    exact: HashMap<Box<str>, usize>,
    /// By what follows `*.`.
    below: HashMap<Box<str>, usize>,
}

impl ByServerName {
    /// Compiles `all`; `None` where nothing depends on a name. Of a name that comes twice the first
    /// counts.
    #[must_use]
    pub fn new(all: &[ServerNames]) -> Option<Self> {
        let mut compiled = Self::default();
        for ServerNames { names, action } in all {
            for name in names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut compiled.below, parent),
                    None => (&mut compiled.exact, name.as_str()),
                };
                map.entry(name.into()).or_insert(compiled.actions.len());
            }
            compiled.actions.push(action.clone());
        }
        (!compiled.actions.is_empty()).then_some(compiled)
    }

    /// The action for `name`, which is in lower case: that of the name itself, else of the longest
    /// pattern with `*.` in front; `None` where there is neither.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<&Action> {
        let mut parents = std::iter::successors(Some(name), |name| Some(name.split_once('.')?.1));
        let index = match self.exact.get(name) {
            Some(index) => Some(index),
            None => parents.by_ref().skip(1).find_map(|parent| self.below.get(parent)),
        };
        self.actions.get(*index?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Forward, GroupIndex, Weight};

    fn to(group: u32) -> Action {
        let groups = vec![(GroupIndex(group), Weight::ONE)];
        Action::Forward(Forward { groups, stickiness: None })
    }

    fn names(names: &[&str], group: u32) -> ServerNames {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        ServerNames { names, action: to(group) }
    }

    #[test]
    fn name_itself_comes_before_the_longest_pattern() {
        let by = ByServerName::new(&[
            names(&["a.example", "*.b.example"], 1),
            names(&["*.example", "x.b.example"], 2),
            names(&["*.deep.b.example", "a.example"], 3),
        ])
        .expect("names");
        for (name, group) in [
            ("a.example", Some(1)),
            ("x.b.example", Some(2)),
            ("y.b.example", Some(1)),
            ("z.y.b.example", Some(1)),
            ("y.deep.b.example", Some(3)),
            ("deep.b.example", Some(1)),
            ("b.example", Some(2)),
            ("other.example", Some(2)),
            ("example", None),
            ("a.example.org", None),
            ("", None),
        ] {
            let found = by.route(name).map(|action| format!("{action:?}"));
            assert_eq!(found, group.map(|group| format!("{:?}", to(group))), "{name}");
        }
        assert!(ByServerName::new(&[]).is_none());
    }
}
