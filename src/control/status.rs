//! Everything that an operator looks at, gathered from the actor and the workers; for the service
//! manager in one line.

use std::time::Instant;

use serde_json::Value;

use crate::metrics::Latencies;

use super::actor::Actor;
use super::handle::{Counts, GroupStatus, ListenerStatus, RuleStatus, Status, TargetStatus};
use super::registry::{Entry, Group};

impl Actor {
    /// The whole.
    pub(super) async fn status(&self) -> Status {
        let (workers, latencies) = self.workers.report().await;
        let mut totals = Counts::default();
        for counts in &workers {
            totals += counts;
        }
        let file = self.source.path.as_ref().map(|path| path.display().to_string());
        let mut names: Vec<&str> =
            self.model.target_groups.iter().map(|group| group.name.as_str()).collect();
        names.sort_unstable();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            generation: self.generation,
            config_file: file.unwrap_or_else(|| "built in".into()),
            program_changed: self.source.program_changed(),
            driver: self.ground.engine.driver().into(),
            draining: self.draining,
            totals,
            workers,
            listeners: self.listener_statuses(),
            target_groups: names
                .into_iter()
                .filter_map(|name| {
                    Some(self.group_status(name, self.registry.group(name)?, &latencies))
                })
                .collect(),
        }
    }

    /// Tells the service manager what it does not know yet.
    pub(super) fn tell_service(&mut self, now: Instant) {
        self.beat.add(1);
        if self.service.is_due(now) {
            let serves = self.serves();
            self.service.tick(now, !self.registry.has_initial(), serves);
        }
    }

    /// What is served, in one line.
    pub(super) fn serves(&self) -> String {
        let listeners = self.listeners.live().count();
        let (healthy, targets) = self.registry.healthy();
        let (workers, driver) = (self.workers.len(), self.ground.engine.driver());
        format!(
            "{listeners} listeners, {workers} workers on {driver}, {healthy} of {targets} targets \
             healthy"
        )
    }

    fn listener_statuses(&self) -> Vec<ListenerStatus> {
        let whole = self.overlay.over(&self.file);
        let live = self.listeners.live();
        let mut statuses: Vec<_> = live
            .map(|(_, view)| {
                let settings = &view.settings;
                let name = settings.name.as_str();
                let at = |key: &str| whole.at(&["listeners", name, key]).cloned();
                ListenerStatus {
                    name: name.into(),
                    address: settings.address.to_string(),
                    mode: settings.mode.to_string(),
                    default: at("default").unwrap_or_default(),
                    rules: self.rule_statuses(name, at("rules").unwrap_or_default()),
                    origin: self.origin(&["listeners", name]),
                }
            })
            .collect();
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
        statuses
    }

    fn rule_statuses(&self, listener: &str, rules: Value) -> Vec<RuleStatus> {
        let Value::Object(rules) = rules else { return Vec::new() };
        let mut statuses: Vec<_> = rules
            .into_iter()
            .filter_map(|(priority, rule)| {
                let origin = self.origin(&["listeners", listener, "rules", &priority]);
                Some(RuleStatus { priority: priority.parse().ok()?, rule, origin })
            })
            .collect();
        statuses.sort_by_key(|rule| rule.priority);
        statuses
    }

    fn group_status(&self, name: &str, group: &Group, latencies: &Latencies) -> GroupStatus {
        let targets = group.targets.iter();
        GroupStatus {
            name: name.into(),
            algorithm: group.settings.algorithm.to_string(),
            fail_open: group.fail_open,
            requests: group.targets.values().map(|entry| entry.load.requests()).sum(),
            p50_us: latencies.quantile(group.id.0, 0.5),
            p99_us: latencies.quantile(group.id.0, 0.99),
            targets: targets
                .map(|(address, entry)| self.target_status(name, group, *address, entry))
                .collect(),
            origin: self.origin(&["target_groups", name]),
        }
    }

    fn target_status(
        &self,
        name: &str,
        group: &Group,
        address: std::net::SocketAddr,
        entry: &Entry,
    ) -> TargetStatus {
        let reason = entry.health.reason();
        let key = address.to_string();
        TargetStatus {
            weight: entry.weight.value(),
            state: entry.health.state().to_string(),
            reason: reason.map(|reason| reason.code().into()),
            description: reason.map(|reason| reason.description().into_owned()),
            ejected: group.is_ejected(address),
            in_flight: entry.load.in_flight().into(),
            requests: entry.load.requests(),
            failures: entry.load.failures(),
            origin: self.origin(&["target_groups", name, "targets", &key]),
            expires: self.overlay.expires(name, address),
            address: key,
        }
    }

    fn origin(&self, path: &[&str]) -> String {
        self.overlay.origin(&self.file, path).to_string()
    }
}
