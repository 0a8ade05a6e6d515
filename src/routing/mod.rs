//! Decides which action a request gets: the rules of a listener, against a request head.
//!
//! A [`Router`] is compiled once from the rules and never changes. The first rule in ascending
//! priority whose conditions all hold wins; the default rule comes last. Rules whose path or host
//! values are plain text, `text*` or `*text` are found through a sorted index, so that a hundred
//! of them cost little more than one; only the others are tried one by one.
//!
//! Nothing here chooses a target, looks at a target group's health, reads a clock or allocates
//! per request. Start with [`Router::route`]; `path` says what a path-pattern condition sees.

mod condition;
mod glob;
mod index;
mod path;
mod percent;
pub mod redirect;
mod server_name;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::message::Request;
use crate::model::{Action, Forward, GroupIndex, Priority, Rule};
use condition::{Subject, Test};
use glob::Text;
use index::{Index, Place, Side};

pub use server_name::ByServerName;

/// The rules of a listener, compiled for lookup.
///
/// Regular expressions keep scratch space that threads would contend for; a worker that wants
/// its own makes its own `Router`.
#[derive(Debug, Clone)]
pub struct Router {
    /// In ascending priority; a rule's position here is its rank.
    rules: Box<[Compiled]>,
    default: Action,
    by_path: Index,
    by_host: Index,
    /// Ranks of the rules that neither index holds, ascending.
    unindexed: Box<[u32]>,
}

/// A rule, ready to be tried.
#[derive(Debug, Clone)]
struct Compiled {
    priority: Priority,
    /// Conditions, but for the one that the index answers.
    tests: Box<[Test]>,
    action: Action,
}

/// What a request gets.
#[derive(Debug, Clone, Copy)]
pub struct Routed<'r> {
    /// The action to take.
    pub action: &'r Action,
    /// Priority of the rule that matched; `None`: the default rule.
    pub priority: Option<Priority>,
    /// Its place among the rules in ascending priority; of the default rule, their number.
    pub rank: u32,
}

impl Router {
    /// Compiles `rules`, given in any order, and the action of the default rule.
    #[must_use]
    pub fn new(rules: &[Rule], default: &Action) -> Self {
        let mut ordered: Vec<&Rule> = rules.iter().collect();
        ordered.sort_by_key(|rule| rule.priority);
        let places = best_places(&ordered);
        let ranks_without_place = (0..places.len()).filter(|&rank| places[rank].is_none());
        Self {
            unindexed: ranks_without_place.map(|rank| rank as u32).collect(),
            by_path: Index::new(Side::Path, &places),
            by_host: Index::new(Side::Host, &places),
            rules: ordered.iter().zip(&places).map(|(rule, at)| Compiled::new(rule, at)).collect(),
            default: default.clone(),
        }
    }

    /// The action of the first rule that matches `request`, else of the default rule.
    #[must_use]
    pub fn route<'r>(&'r self, request: &Request<'_>) -> Routed<'r> {
        let rank = path::with_seen(request.path(), |path| {
            self.first_match(&Subject { request, path, host: Text::new(request.host()) })
        });
        match self.rules.get(rank as usize) {
            Some(rule) => Routed { action: &rule.action, priority: Some(rule.priority), rank },
            None => Routed { action: &self.default, priority: None, rank },
        }
    }

    /// Rank of the first rule that matches; the number of rules when none does.
    fn first_match(&self, subject: &Subject<'_>) -> u32 {
        let holds =
            |rank: u32| self.rules[rank as usize].tests.iter().all(|test| test.holds(subject));
        // `best` only falls, and nothing of a higher rank is tried any more.
        let mut best = self.rules.len() as u32;
        best = self.by_path.first(subject.path.seen, best, holds);
        best = self.by_host.first(subject.host, best, holds);
        let outranking = self.unindexed.iter().copied().take_while(|&rank| rank < best);
        outranking.into_iter().find(|&rank| holds(rank)).unwrap_or(best)
    }
}

impl Compiled {
    fn new(rule: &Rule, place: &Option<Place>) -> Self {
        let indexed = place.as_ref().map(|place| place.condition);
        let conditions = rule.conditions.iter().enumerate();
        let rest = conditions.filter(|(at, _)| Some(*at) != indexed);
        Self {
            priority: rule.priority,
            tests: rest.map(|(_, condition)| Test::new(condition)).collect(),
            action: rule.action.clone(),
        }
    }
}

/// Where each rule is indexed, if it can be. A rule with several places gets the one whose keys
/// it shares with the fewest rules: a thousand hosts with the same paths are told apart by host.
fn best_places(rules: &[&Rule]) -> Vec<Option<Place>> {
    let places: Vec<Vec<Place>> = rules.iter().map(|rule| index::places(rule)).collect();
    let mut crowd = HashMap::new();
    for (side, key) in places.iter().flatten().flat_map(Place::side_and_keys) {
        *crowd.entry((side, key.clone())).or_insert(0) += 1;
    }
    let crowding =
        |place: &Place| place.side_and_keys().map(|(side, key)| crowd[&(side, key.clone())]).max();
    places.into_iter().map(|places| places.into_iter().min_by_key(crowding)).collect()
}

/// The group that a request for `forward` goes to, by weight. `random` is uniform over all `u64`.
///
/// `None` when every weight is zero: the request gets 503. Groups do not fail over to one
/// another, so health plays no part.
#[must_use]
pub fn choose_group(forward: &Forward, random: u64) -> Option<GroupIndex> {
    let weights = || forward.groups.iter().map(|&(group, weight)| (group, weight.value().into()));
    let total: u64 = weights().map(|(_, weight)| weight).sum();
    let mut point = ((u128::from(random) * u128::from(total)) >> 64) as u64;
    for (group, weight) in weights() {
        if point < weight {
            return Some(group);
        }
        point -= weight;
    }
    None
}
