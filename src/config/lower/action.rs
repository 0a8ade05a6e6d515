//! Actions: forward, redirect, fixed response.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::Lowering;
use super::stickiness::STICKINESS;
use crate::config::diagnostic::quote;
use crate::config::file::{self, Brief, Key, Located, Many};
use crate::config::template::Part;
use crate::config::values;
use crate::model::{
    Action, FIXED_BODY_BYTES_MAX, FORWARD_GROUPS_MAX, FixedResponse, Forward, GroupIndex, Redirect,
    Template, TemplatePart, Weight,
};

/// The action keys of a rule or a default.
pub(super) struct Keys<'k> {
    forward: &'k Key<file::Forward>,
    redirect: &'k Key<file::Redirect>,
    fixed_response: &'k Key<file::FixedResponse>,
}

impl<'k> From<&'k file::Rule> for Keys<'k> {
    fn from(rule: &'k file::Rule) -> Self {
        let file::Rule { forward, redirect, fixed_response, .. } = rule;
        Self { forward, redirect, fixed_response }
    }
}

impl<'k> From<&'k file::DefaultAction> for Keys<'k> {
    fn from(default: &'k file::DefaultAction) -> Self {
        let file::DefaultAction { forward, redirect, fixed_response } = default;
        Self { forward, redirect, fixed_response }
    }
}

impl Lowering<'_, '_> {
    /// The one action among `keys`, for a listener at `address` if that is known.
    pub(super) fn action(
        &mut self,
        keys: &Located<Keys<'_>>,
        address: Option<SocketAddr>,
    ) -> Option<Action> {
        let Keys { forward, redirect, fixed_response } = keys.value;
        let places = [
            forward.as_ref().map(|key| &key.at),
            redirect.as_ref().map(|key| &key.at),
            fixed_response.as_ref().map(|key| &key.at),
        ];
        self.exactly_one(&keys.at, places);
        let forward = forward.as_ref().map(|key| Action::Forward(self.forward(key)));
        let redirect = redirect.as_ref().and_then(|key| self.redirect(key, address));
        let redirect = redirect.map(Action::Redirect);
        let fixed = fixed_response.as_ref().and_then(|key| self.fixed_response(&key.value));
        let fixed = fixed.map(Action::FixedResponse);
        forward.or(redirect).or(fixed)
    }

    fn exactly_one(&mut self, at: &Range<usize>, places: [Option<&Range<usize>>; 3]) {
        let mut present: Vec<_> = places.into_iter().flatten().collect();
        present.sort_by_key(|place| place.start);
        let Some((first, others)) = present.split_first() else {
            if self.findings.is_intact(at) {
                let none = self.findings.error(at, "there is no action here");
                none.help("add `forward`, `redirect` or `fixed_response`");
            }
            return;
        };
        let first = self.findings.name_of(first);
        for other in others {
            let problem = format!("`{}` is a second action beside {first}", self.key_of(other));
            self.findings.error(other, problem).help("keep exactly one of them");
        }
    }

    pub(super) fn forward(&mut self, forward: &Located<file::Forward>) -> Forward {
        let groups = forward.value.target_groups.as_ref().map(|shares| self.shares(shares));
        let mut stickiness = None;
        if forward.value.stickiness.is_some() {
            let duration = stickiness.insert(Duration::ZERO);
            self.duration(&forward.value.stickiness, &STICKINESS, duration);
        }
        Forward { groups: groups.unwrap_or_default(), stickiness }
    }

    fn shares(&mut self, shares: &Located<Many<Brief<file::Share>>>) -> Vec<(GroupIndex, Weight)> {
        let at = &shares.at;
        let mut first: HashMap<&str, &Range<usize>> = HashMap::new();
        let mut groups = Vec::new();
        let count = shares.value.0.len();
        if count > FORWARD_GROUPS_MAX {
            let problem = format!("a forward to {count} target groups");
            self.findings.error(at, problem).help(format!("1 to {FORWARD_GROUPS_MAX} groups"));
        }
        if count == 0 && self.findings.is_intact(at) {
            let none = self.findings.error(at, "a forward to no target group");
            none.help(format!("name 1 to {FORWARD_GROUPS_MAX} groups"));
        }
        for Located { at, value: Brief(share) } in &shares.value.0 {
            let Some(name) = &share.target_group else { continue };
            if let Some(earlier) = first.insert(&name.value, at) {
                let earlier = self.findings.name_of(earlier);
                let problem = format!("{} is already in {earlier}", quote(&name.value));
                self.findings
                    .error(&name.at, problem)
                    .help("name each group once, with its weight");
            }
            let weight = share.weight.as_ref().and_then(|weight| Weight::new(weight.value));
            if let Some(index) = self.resolve(name) {
                groups.push((index, weight.unwrap_or(Weight::ONE)));
            }
        }
        if !groups.is_empty() && groups.iter().all(|(_, weight)| weight.value() == 0) {
            let problem = "all groups of this forward have weight 0";
            self.findings.warning(at, problem).help("every request gets 503; give one a weight");
        }
        groups
    }

    fn redirect(
        &mut self,
        redirect: &Located<file::Redirect>,
        address: Option<SocketAddr>,
    ) -> Option<Redirect> {
        let file = &redirect.value;
        let port = file
            .port
            .as_ref()
            .map(|port| Located { at: port.at.clone(), value: port.value.0.clone() });
        let errors_before = self.findings.errors();
        let [protocol, host, port, path, query] = [
            (Part::Protocol, &file.protocol),
            (Part::Host, &file.host),
            (Part::Port, &port),
            (Part::Path, &file.path),
            (Part::Query, &file.query),
        ]
        .map(|(part, key)| {
            self.read(key, |text| part.read(text)).unwrap_or_else(|| part.unchanged())
        });
        let status = file.status.as_ref().map(|status| status.value);
        let lowered = Redirect { status: status?, protocol, host, port, path, query };
        if self.findings.errors() == errors_before && self.findings.is_intact(&redirect.at) {
            self.redirect_leads_away(redirect, &lowered, address);
        }
        Some(lowered)
    }

    /// Refuses a redirect to the request's own address, and warns of one to a port without TLS.
    fn redirect_leads_away(
        &mut self,
        located: &Located<file::Redirect>,
        redirect: &Redirect,
        address: Option<SocketAddr>,
    ) {
        let port = address.map(|address| address.port()).filter(|&port| port != 0);
        let own_port = |template: &Template| {
            *template == Part::Port.unchanged()
                || port.is_some_and(|port| is_text(template, &port.to_string()))
        };
        // Every listener speaks plain HTTP, so "http" is what the request came with.
        let same_protocol =
            redirect.protocol == Part::Protocol.unchanged() || is_text(&redirect.protocol, "http");
        let same = same_protocol
            && redirect.host == Part::Host.unchanged()
            && own_port(&redirect.port)
            && redirect.path == Part::Path.unchanged();
        if same {
            let problem = "this redirect leads to the request's own address: an endless loop";
            let help = "change protocol, host, port or path; the query alone is not enough";
            self.findings.error(&located.at, problem).help(help);
        }
        if is_text(&redirect.protocol, "https") && own_port(&redirect.port) {
            let at = located.value.protocol.as_ref().map_or(&located.at, |key| &key.at);
            let problem =
                "this redirect to https keeps the port of this listener, which speaks http";
            self.findings.warning(at, problem).help("add `port = \"443\"`");
        }
    }

    fn fixed_response(&mut self, file: &file::FixedResponse) -> Option<FixedResponse> {
        let content_type = self.read(&file.content_type, |text| values::media_type(text));
        let default = || "text/plain; charset=utf-8".to_owned();
        let body = file.body.as_ref().map(|body| body.value.clone()).unwrap_or_default();
        if let (Some(located), true) = (&file.body, body.len() > FIXED_BODY_BYTES_MAX) {
            let problem = format!("the body has {} bytes", body.len());
            let help = format!("at most {FIXED_BODY_BYTES_MAX}; serve longer ones from a target");
            self.findings.error(&located.at, problem).help(help);
        }
        let status = file.status.as_ref()?;
        if (300..400).contains(&status.value) {
            let problem = format!("a fixed response cannot have status {}", status.value);
            self.findings.error(&status.at, problem).help("use `redirect`, or 2xx, 4xx, 5xx");
        }
        if let (204 | 205, Some(located), false) = (status.value, &file.body, body.is_empty()) {
            let problem = format!("a response with status {} has no body", status.value);
            self.findings.error(&located.at, problem).help("remove the body, or use status 200");
        }
        let content_type = content_type.unwrap_or_else(default);
        Some(FixedResponse { status: status.value, content_type, body })
    }
}

fn is_text(template: &Template, text: &str) -> bool {
    matches!(template.0.as_slice(), [TemplatePart::Text(literal)] if literal == text)
}
