//! Rules and their conditions.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;

use super::Lowering;
use crate::config::diagnostic::quote;
use crate::config::file::{self, HeaderCondition, Key, Located, Many};
use crate::config::values::{self, Read};
use crate::model::{
    CONDITION_VALUES_MAX, Condition, Priority, QueryMatch, Rule, TextMatch, Wildcard,
};

/// The keys of a condition that may be written as wildcards or as regular expressions.
struct Text<'k> {
    wildcards: &'k Key<Many<String>>,
    regexes: &'k Key<Many<String>>,
    case_insensitive: bool,
    read: fn(&str) -> Read<Wildcard>,
}

impl Lowering<'_, '_> {
    /// The rules of a listener at `address`, in ascending priority.
    pub(super) fn rules(&mut self, file: &[Located<file::Rule>], address: SocketAddr) -> Vec<Rule> {
        let mut first: HashMap<u16, &Range<usize>> = HashMap::new();
        let mut rules = Vec::with_capacity(file.len());
        for located in file {
            if let Some(priority) = &located.value.priority {
                if let Some(earlier) = first.get(&priority.value) {
                    let earlier = self.findings.name_of(earlier);
                    let problem =
                        format!("priority {} is already used by {earlier}", priority.value);
                    let help = "priorities are unique within a listener; lower ones come first";
                    self.findings.error(&priority.at, problem).help(help);
                } else {
                    first.insert(priority.value, &located.at);
                }
            }
            rules.extend(self.rule(located, address));
        }
        rules.sort_by_key(|rule| rule.priority);
        rules
    }

    fn rule(&mut self, located: &Located<file::Rule>, address: SocketAddr) -> Option<Rule> {
        let file = &located.value;
        let errors_before = self.findings.errors();
        let conditions = self.conditions(file);
        let readable = self.findings.errors() == errors_before;
        if conditions.is_empty() && readable && self.findings.is_intact(&located.at) {
            let problem = "this rule has no condition, so it would hide all that follow";
            let help = "add one, such as `path_pattern`; for what no rule matches use `default`";
            self.findings.error(&located.at, problem).help(help);
        }
        self.condition_values(located, &conditions);
        let action = Located { at: located.at.clone(), value: file.into() };
        let action = self.action(&action, Some(address));
        let priority = file.priority.as_ref().and_then(|priority| Priority::new(priority.value));
        Some(Rule { priority: priority?, conditions, action: action? })
    }

    fn conditions(&mut self, file: &file::Rule) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let path = Text {
            wildcards: &file.path_pattern,
            regexes: &file.path_regex,
            case_insensitive: false,
            read: values::path_pattern,
        };
        conditions.extend(self.text(&path).map(Condition::PathPattern));
        let host = Text {
            wildcards: &file.host_header,
            regexes: &file.host_regex,
            case_insensitive: true,
            read: values::host_pattern,
        };
        conditions.extend(self.text(&host).map(Condition::HostHeader));
        for header in file.http_header.iter().flat_map(|headers| &headers.value.0) {
            conditions.extend(self.header(header));
        }
        if let Some(methods) = self.listed(&file.http_request_method) {
            let read =
                methods.0.iter().filter_map(|text| self.read_value(text, |m| values::method(m)));
            conditions.extend(some(read.collect()).map(Condition::HttpRequestMethod));
        }
        if let Some(pairs) = self.listed(&file.query_string) {
            let read = pairs.0.iter().filter_map(|pair| self.query_pair(&pair.value.0));
            conditions.extend(some(read.collect()).map(Condition::QueryString));
        }
        if let Some(networks) = self.listed(&file.source_ip) {
            let networks = self.networks(networks);
            conditions.extend(some(networks).map(Condition::SourceIp));
        }
        conditions
    }

    /// The list of a key; an empty one is reported, as nothing would ever match it.
    fn listed<'k, T>(&mut self, key: &'k Key<Many<T>>) -> Option<&'k Many<T>> {
        let located = key.as_ref()?;
        if located.value.0.is_empty() && self.findings.is_intact(&located.at) {
            let problem =
                format!("`{}` lists nothing, so it never matches", self.key_of(&located.at));
            self.findings.error(&located.at, problem).help("list a value, or remove the key");
        }
        Some(&located.value)
    }

    /// A condition given as wildcards or as regular expressions, not both.
    fn text(&mut self, keys: &Text<'_>) -> Option<Vec<TextMatch>> {
        if let (Some(wildcards), Some(regexes)) = (keys.wildcards, keys.regexes) {
            let (one, other) = (self.key_of(&wildcards.at), self.key_of(&regexes.at));
            let problem = format!("`{one}` and `{other}` cannot stand in one condition");
            let help = "use one of them; a regular expression can say what a wildcard says";
            self.findings.error(&regexes.at, problem).help(help);
        }
        let mut matches = Vec::new();
        if let Some(texts) = self.listed(keys.wildcards) {
            let read = texts.0.iter().filter_map(|text| self.read_value(text, |t| (keys.read)(t)));
            matches.extend(read.map(TextMatch::Wildcard));
        }
        if let Some(texts) = self.listed(keys.regexes) {
            let fold = keys.case_insensitive;
            let read = texts
                .0
                .iter()
                .filter_map(|text| self.read_value(text, |text| values::regex(text, fold)));
            matches.extend(read.map(TextMatch::Regex));
        }
        some(matches)
    }

    fn header(&mut self, header: &Located<HeaderCondition>) -> Option<Condition> {
        let file = &header.value;
        let name = self.read(&file.name, |name| values::header_name(name));
        if file.values.is_none() && file.regex.is_none() && self.findings.is_intact(&header.at) {
            let problem = "this header condition has neither `values` nor `regex`";
            let help = "for example `values = [\"*Chrome*\"]`; `*` matches any value";
            self.findings.error(&header.at, problem).help(help);
        }
        let keys = Text {
            wildcards: &file.values,
            regexes: &file.regex,
            case_insensitive: true,
            read: values::header_pattern,
        };
        let values = self.text(&keys)?;
        Some(Condition::HttpHeader { name: name?, values })
    }

    fn query_pair(&mut self, pair: &file::QueryPair) -> Option<QueryMatch> {
        let key = self.read(&pair.key, |text| values::query_pattern(text));
        let value = self.read(&pair.value, |text| values::query_pattern(text))?;
        Some(QueryMatch { key, value })
    }

    fn condition_values(&mut self, rule: &Located<file::Rule>, conditions: &[Condition]) {
        let count: usize = conditions.iter().map(values_of).sum();
        if count > CONDITION_VALUES_MAX {
            let problem = format!("this rule has {count} condition values");
            let help = format!("at most {CONDITION_VALUES_MAX}; split it into several rules");
            self.findings.error(&rule.at, problem).help(help);
        }
        self.repeated_values(&rule.value);
    }

    /// Warns of a value that is listed twice in one condition.
    fn repeated_values(&mut self, rule: &file::Rule) {
        let keys =
            [&rule.path_pattern, &rule.host_header, &rule.http_request_method, &rule.source_ip];
        for texts in keys.into_iter().flatten() {
            let mut seen = std::collections::HashSet::new();
            for text in &texts.value.0 {
                if !seen.insert(text.value.as_str()) {
                    let problem = format!("{} is listed twice", quote(&text.value));
                    self.findings.warning(&text.at, problem).help("remove one of them");
                }
            }
        }
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn values_of(condition: &Condition) -> usize {
    match condition {
        Condition::HostHeader(values)
        | Condition::PathPattern(values)
        | Condition::HttpHeader { values, .. } => values.len(),
        Condition::HttpRequestMethod(values) => values.len(),
        Condition::QueryString(values) => values.len(),
        Condition::SourceIp(values) => values.len(),
    }
}
