//! How clients are bound to targets and groups, and what that excludes (AWS: "Sticky sessions").

use std::time::Duration;

use super::{Limits, Lowering, SECOND, reached};
use crate::config::diagnostic::quote;
use crate::config::file::{self, Located, StickinessType};
use crate::config::values;
use crate::model::{Algorithm, Listener, Mode, Stickiness, TargetGroup};

/// How long a client stays bound: at most 7 days, as on AWS.
pub(super) const STICKINESS: Limits =
    Limits { min: SECOND, max: Duration::from_secs(7 * 24 * 3600), odd_below: SECOND };

/// How long a client stays bound unless the file says otherwise (AWS: a day).
const DURATION: Duration = Duration::from_secs(86_400);

impl Lowering<'_, '_> {
    pub(super) fn stickiness(
        &mut self,
        located: &Located<file::Stickiness>,
        algorithm: Algorithm,
    ) -> Stickiness {
        if algorithm == Algorithm::WeightedRandom {
            let problem = format!("`stickiness` does not work with algorithm `{algorithm}`");
            let help = "use another algorithm, or remove `stickiness`";
            self.findings.error(&located.at, problem).help(help);
        }
        let file = &located.value;
        let mut duration = DURATION;
        self.duration(&file.duration, &STICKINESS, &mut duration);
        let name = self.read(&file.cookie_name, |name| values::cookie_name(name));
        let duration_at = file.duration.as_ref().map(|key| &key.at);
        let name_at = file.cookie_name.as_ref().map(|key| &key.at);
        let only_app = "only app_cookie looks at a cookie of the application";
        match file.r#type.as_ref().map(|key| key.value) {
            Some(StickinessType::LbCookie) => {
                self.without_effect("lb_cookie stickiness", only_app, [name_at]);
                Stickiness::LbCookie(duration)
            }
            Some(StickinessType::AppCookie) => {
                if file.cookie_name.is_none() && self.findings.is_intact(&located.at) {
                    let problem = "app_cookie stickiness needs `cookie_name`";
                    let help = "for example `cookie_name = \"JSESSIONID\"`";
                    self.findings.error(&located.at, problem).help(help);
                }
                Stickiness::AppCookie { name: name.unwrap_or_default(), duration }
            }
            Some(StickinessType::SourceIp) => {
                let help = "the client's address binds it for as long as the targets stay";
                self.without_effect("source_ip stickiness", help, [duration_at]);
                self.without_effect("source_ip stickiness", only_app, [name_at]);
                Stickiness::SourceIp
            }
            None => Stickiness::Off,
        }
    }

    /// Checks the forwards of an l7 listener to several groups: a client that is bound to a target
    /// must come back to the target's group.
    pub(super) fn sticky_forwards(&mut self, file: &file::Listener, mode: Mode) {
        if mode == Mode::L4 {
            return;
        }
        let default = file.default.as_ref().and_then(|default| default.value.forward.as_ref());
        let rules = file.rules.iter().filter_map(|rule| rule.value.forward.as_ref());
        for forward in default.into_iter().chain(rules) {
            self.sticky_forward(forward);
        }
    }

    fn sticky_forward(&mut self, forward: &Located<file::Forward>) {
        let Some(shares) = &forward.value.target_groups else { return };
        if shares.value.0.len() < 2 {
            return;
        }
        let is_bound = forward.value.stickiness.is_some() || !self.findings.is_intact(&forward.at);
        for name in shares.value.0.iter().filter_map(|share| share.value.0.target_group.as_ref()) {
            let index = self.groups.by_name.get(&name.value);
            let Some(stickiness) =
                index.and_then(|index| self.groups.stickiness.get(index.0 as usize))
            else {
                continue;
            };
            let group = quote(&name.value);
            match stickiness {
                Stickiness::Off | Stickiness::SourceIp => {}
                Stickiness::LbCookie(_) if is_bound => {}
                Stickiness::LbCookie(_) => {
                    let problem =
                        format!("{group} is sticky, so a forward to several groups must be, too");
                    let help = "add it: `forward = { target_groups = [...], stickiness = \"1h\" }`";
                    self.findings.error(&name.at, problem).help(help);
                    return;
                }
                Stickiness::AppCookie { .. } => {
                    let problem =
                        format!("{group} has app_cookie stickiness, which needs it to be alone");
                    let help = "forward to it alone, or use stickiness of type lb_cookie";
                    self.findings.error(&name.at, problem).help(help);
                }
            }
        }
    }

    /// Warns of stickiness that has no effect at the layer of a listener that uses it.
    pub(super) fn stickiness_of_mode(
        &mut self,
        files: &[Located<file::TargetGroup>],
        listener: &Listener,
        groups: &[TargetGroup],
    ) {
        for index in reached(listener) {
            let at = index.0 as usize;
            let (Some(file), Some(group)) = (files.get(at), groups.get(at)) else { continue };
            let Some(key) = &file.value.stickiness else { continue };
            let (kind, works_on) = match &group.stickiness {
                Stickiness::Off => continue,
                Stickiness::LbCookie(_) => ("lb_cookie", Mode::L7),
                Stickiness::AppCookie { .. } => ("app_cookie", Mode::L7),
                Stickiness::SourceIp => ("source_ip", Mode::L4),
            };
            if listener.mode != works_on {
                let (mode, name) = (listener.mode, quote(&listener.name));
                let problem = format!("{kind} stickiness has no effect on {mode} listener {name}");
                let help = match works_on {
                    Mode::L7 => "an l4 listener reads no cookies; use type source_ip",
                    Mode::L4 => "on l7 use type lb_cookie or app_cookie",
                };
                self.findings.warning(&key.at, problem).help(help);
            }
        }
    }
}
