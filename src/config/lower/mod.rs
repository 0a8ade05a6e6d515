//! The file's types to the [`Model`]: reads every text, resolves every name, and checks what
//! only the whole can show.
//!
//! Nothing stops at a mistake. What cannot be read is reported and replaced by a placeholder, so
//! that the checks beside it still run; with an error reported, `parse` throws the model away.
//! Start with [`lower`].

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostic::{Findings, nearest, quote, quote_all};
use super::file::{self, DurationText, Key, Located};
use super::values::{self, Read};
use crate::model::{
    Action, GroupIndex, Listener, Mode, Model, ProtocolVersion, Stickiness, Target, TargetGroup,
};

mod access_log;
mod action;
mod group;
mod listener;
mod mutual;
mod rule;
mod server;
mod server_names;
mod stickiness;
mod tls;

/// Errors after which unknown names are no longer compared with all names: that many are not
/// typing errors, and thousands of names take seconds.
const SUGGESTING_ERRORS_MAX: usize = 100;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Between which limits a duration must lie.
struct Limits {
    min: Duration,
    max: Duration,
    /// Below this a duration works, but is likelier a mistake than a wish.
    odd_below: Duration,
}

/// Silences and waits of connections.
const WAIT: Limits = Limits { min: Duration::from_millis(100), max: DAY, odd_below: SECOND };

/// Whether files that the configuration names are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    /// They are: what is wrong with them is wrong with the configuration.
    Look,
    /// They are not: whoever needs them will see.
    Leave,
}

/// Makes the model; what is wrong goes to `findings`.
pub(super) fn lower(config: &file::Config, disk: Disk, findings: &mut Findings<'_>) -> Model {
    let groups = Groups::of(&config.target_groups, findings);
    let mut lowering = Lowering { findings, groups, disk, looked_for: HashSet::new() };
    let target_groups: Vec<_> =
        config.target_groups.iter().map(|group| lowering.group(&group.value)).collect();
    lowering.groups.stickiness =
        target_groups.iter().map(|group| group.stickiness.clone()).collect();
    let listeners = lowering.listeners(&config.listeners);
    let server = config.server.as_ref().map(|server| lowering.server(&server.value));
    let model = Model { server: server.unwrap_or_default(), target_groups, listeners };
    if lowering.findings.errors() == 0 {
        lowering.doubts(config, &model);
    }
    model
}

/// What lowering knows while it runs.
struct Lowering<'f, 't> {
    findings: &'f mut Findings<'t>,
    groups: Groups,
    disk: Disk,
    /// Files of those who vouch for targets that were looked at; `None`: whom the system trusts.
    looked_for: HashSet<Option<PathBuf>>,
}

/// The target groups of the file by name.
struct Groups {
    by_name: HashMap<String, GroupIndex>,
    /// Some group has no readable name, so an unknown name may be that group's.
    incomplete: bool,
    used: Vec<bool>,
    /// How each binds clients; empty until all are lowered.
    stickiness: Vec<Stickiness>,
}

impl Groups {
    fn of(groups: &[Located<file::TargetGroup>], findings: &mut Findings<'_>) -> Self {
        let mut by_name: HashMap<String, GroupIndex> = HashMap::new();
        for (group, index) in groups.iter().zip(0..) {
            let Some(name) = &group.value.name else { continue };
            match by_name.get(&name.value).copied() {
                Some(GroupIndex(first)) => {
                    let first = findings.name_of(&groups[first as usize].at);
                    let problem = format!("{} is already the name of {first}", quote(&name.value));
                    findings.error(&name.at, problem).help("give each target group its own name");
                }
                None => {
                    by_name.insert(name.value.clone(), GroupIndex(index));
                }
            }
        }
        let incomplete =
            !findings.is_intact(&(0..0)) || groups.iter().any(|group| group.value.name.is_none());
        let used = vec![false; groups.len()];
        Self { by_name, incomplete, used, stickiness: Vec::new() }
    }
}

impl Lowering<'_, '_> {
    /// Reads a value; `None` when the key is absent, or wrong and reported.
    fn read<T, U>(&mut self, key: &Key<T>, read: impl FnOnce(&T) -> Read<U>) -> Option<U> {
        self.read_value(key.as_ref()?, read)
    }

    fn read_value<T, U>(
        &mut self,
        located: &Located<T>,
        read: impl FnOnce(&T) -> Read<U>,
    ) -> Option<U> {
        match read(&located.value) {
            Ok(value) => Some(value),
            Err(flaw) => {
                let finding = self.findings.error(&located.at, flaw.problem);
                if let Some(help) = flaw.help {
                    finding.help(help);
                }
                None
            }
        }
    }

    /// Reads a duration into its place and checks it; an absent key leaves the default.
    fn duration(&mut self, key: &Key<DurationText>, limits: &Limits, into: &mut Duration) {
        let Some(located) = key else { return };
        let Some(value) = self.read_value(located, |text| values::duration(&text.0)) else {
            return;
        };
        let (at, name) = (&located.at, self.key_of(&located.at));
        let show = values::show_duration;
        if value < limits.min || value > limits.max {
            let problem = format!("`{name}` is out of range: {}", show(value));
            let help = format!("from {} to {}", show(limits.min), show(limits.max));
            self.findings.error(at, problem).help(help);
        } else if value < limits.odd_below {
            let problem = format!("`{name}` is suspiciously small: {}", show(value));
            let help = format!("most networks need at least {}", show(limits.odd_below));
            self.findings.warning(at, problem).help(help);
        }
        *into = value;
    }

    /// The last key on the path of the value at `at`.
    fn key_of(&self, at: &Range<usize>) -> String {
        let path = self.findings.path(at);
        path.rsplit('.').next().unwrap_or(path).to_owned()
    }

    /// The group called `name`, which is thereby used; an unknown name is reported.
    fn resolve(&mut self, name: &Located<String>) -> Option<GroupIndex> {
        if let Some(&index) = self.groups.by_name.get(&name.value) {
            self.groups.used[index.0 as usize] = true;
            return Some(index);
        }
        let mut known: Vec<&str> = self.groups.by_name.keys().map(String::as_str).collect();
        known.sort_unstable();
        let is_worthwhile = self.findings.errors() < SUGGESTING_ERRORS_MAX;
        let meant = is_worthwhile.then(|| nearest(&name.value, known.iter().copied())).flatten();
        if self.groups.incomplete && meant.is_none() {
            return None;
        }
        let help = match meant {
            Some(meant) => format!("did you mean {}?", quote(meant)),
            None if known.is_empty() => "define it: a `[[target_groups]]` with that name".into(),
            None => format!("target groups: {}", quote_all(known.into_iter().take(10))),
        };
        let problem = format!("there is no target group {}", quote(&name.value));
        self.findings.error(&name.at, problem).help(help);
        None
    }

    /// Warns of what is allowed, but can hardly be meant. Only for files without errors: a
    /// mistake elsewhere may be why something looks unused.
    fn doubts(&mut self, config: &file::Config, model: &Model) {
        for ((file, group), used) in
            config.target_groups.iter().zip(&model.target_groups).zip(&self.groups.used)
        {
            let name = quote(&group.name);
            if !used {
                let problem = format!("target group {name} is used by no listener");
                self.findings.warning(&file.at, problem).help("forward to it, or remove it");
            }
            if group.targets.is_empty() {
                let problem = format!("target group {name} has no targets");
                let help = "requests to it get 503, connections are closed; add `targets`";
                self.findings.warning(&file.at, problem).help(help);
            } else if group.targets.iter().all(|target| target.weight.value() == 0) {
                let problem = format!("all targets of {name} have weight 0");
                let help = "requests to it get 503; give one of them a weight";
                self.findings.warning(&file.at, problem).help(help);
            }
        }
        for (file, listener) in config.listeners.iter().zip(&model.listeners) {
            self.forwards_to_itself(file, listener, &model.target_groups);
            self.stickiness_of_mode(&config.target_groups, listener, &model.target_groups);
            self.versions_of_listener(&config.target_groups, listener, &model.target_groups);
        }
    }

    /// Warns of a protocol version that means nothing to a listener that uses it, or that none of
    /// its clients can speak.
    fn versions_of_listener(
        &mut self,
        files: &[Located<file::TargetGroup>],
        listener: &Listener,
        groups: &[TargetGroup],
    ) {
        for index in reached(listener) {
            let at = index.0 as usize;
            let (Some(file), Some(group)) = (files.get(at), groups.get(at)) else { continue };
            let Some(key) = &file.value.protocol_version else { continue };
            let name = quote(&listener.name);
            if listener.mode == Mode::L4 && group.protocol_version.is_http2() {
                let problem = format!("`protocol_version` has no effect on l4 listener {name}");
                let help = "an l4 listener passes bytes on unread; probes speak it all the same";
                self.findings.warning(&key.at, problem).help(help);
            }
            let speaks_http2 = match listener.tls {
                Some(_) => listener.http.http2,
                None => listener.http.h2c,
            };
            let is_mute = listener.mode == Mode::L7 && !speaks_http2;
            if is_mute && group.protocol_version == ProtocolVersion::Grpc {
                let problem = format!("no client of listener {name} can speak gRPC");
                let help = "every request gets 464; give the listener `tls`, or `h2c = true`";
                self.findings.warning(&key.at, problem).help(help);
            }
        }
    }

    /// Warns of a target that is the listener it gets its traffic from.
    fn forwards_to_itself(
        &mut self,
        file: &Located<file::Listener>,
        listener: &Listener,
        groups: &[TargetGroup],
    ) {
        let own = listener.address;
        let is_own = |target: &Target| {
            let ip = target.address.ip();
            let same_ip = ip == own.ip() || own.ip().is_unspecified() && ip.is_loopback();
            target.address.port() == own.port() && own.is_ipv4() == ip.is_ipv4() && same_ip
        };
        let reached = reached(listener);
        for group in reached.into_iter().filter_map(|index| groups.get(index.0 as usize)) {
            if let Some(target) = group.targets.iter().find(|target| is_own(target)) {
                let at = file.value.address.as_ref().map_or(&file.at, |address| &address.at);
                let (address, name) = (target.address, quote(&group.name));
                let problem = format!("target {address} of {name} is this listener itself");
                self.findings.warning(at, problem).help("requests would go round in a circle");
            }
        }
    }
}

/// The groups that a listener forwards to in its mode, each once.
fn reached(listener: &Listener) -> Vec<GroupIndex> {
    let (rules, names): (&[_], &[_]) = match listener.mode {
        Mode::L4 => (&[], &listener.server_names),
        Mode::L7 => (&listener.rules, &[]),
    };
    let named = names.iter().map(|names| &names.action);
    let actions = rules.iter().map(|rule| &rule.action).chain(named).chain([&listener.default]);
    let mut reached: Vec<GroupIndex> = actions
        .filter_map(|action| match action {
            Action::Forward(forward) => Some(&forward.groups),
            Action::Redirect(_) | Action::FixedResponse(_) => None,
        })
        .flatten()
        .map(|(index, _)| *index)
        .collect();
    reached.sort_unstable();
    reached.dedup();
    reached
}
