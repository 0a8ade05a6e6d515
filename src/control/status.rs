//! Everything that an operator looks at, gathered from the actor and the workers; for the service
//! manager in one line.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::EXPIRES_SOON_SECONDS;
use crate::snapshot::ListenerView;
use crate::tls::Named;

use super::actor::Actor;
use super::registry::{Entry, Group};

/// Everything that an operator looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// Number of the configuration.
    pub generation: u64,
    /// The operator's file.
    pub config_file: String,
    /// Whether the program's file is another one than what runs, so that an upgrade would start it.
    #[serde(default)]
    pub program_changed: bool,
    /// `io_uring` or `epoll`.
    pub driver: String,
    /// Whether the process drains.
    pub draining: bool,
    /// Totals over all workers.
    pub totals: Counts,
    /// Per worker, in order.
    pub workers: Vec<Counts>,
    /// Listeners, in order of their names.
    pub listeners: Vec<ListenerStatus>,
    /// How long health flips take to reach the workers.
    pub health_flips: HealthFlips,
    /// Target groups, in order of their names.
    pub target_groups: Vec<GroupStatus>,
}

/// How long health flips took, from the end of the probe that decided one to the moment at which
/// the last worker acted on it. Flips that one picture brought to the workers count once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthFlips {
    /// Number of those that were measured, since the process started.
    pub count: u64,
    /// The last one, in microseconds; none before the first.
    pub last_us: Option<u64>,
    /// The longest, in microseconds.
    pub longest_us: Option<u64>,
}

/// What has been counted since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Client connections open now.
    pub open_connections: u64,
    /// Client connections accepted.
    pub connections: u64,
    /// L7 requests read.
    pub requests: u64,
    /// Responses made by the balancer itself.
    pub own_responses: u64,
    /// Connections made to targets.
    pub target_connections: u64,
    /// Connections to targets that could not be made.
    pub target_connection_errors: u64,
    /// Requests sent on a pooled connection.
    pub target_connections_reused: u64,
    /// Requests tried a second time.
    pub retries: u64,
    /// Connections that ended in a panic.
    pub panics: u64,
    /// Lines of access logs.
    pub access_log_lines: u64,
    /// Lines of access logs that were dropped, for want of room.
    pub access_log_dropped: u64,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListenerStatus {
    /// Name.
    pub name: String,
    /// Address, with the port that the kernel gave.
    pub address: String,
    /// `l4` or `l7`.
    pub mode: String,
    /// What happens where no rule matches, as in the configuration.
    #[schema(value_type = Object)]
    pub default: Value,
    /// Rules in ascending priority.
    pub rules: Vec<RuleStatus>,
    /// Where connections go by the name of the server that they ask for, as in the configuration.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub server_names: Vec<Value>,
    /// Certificates that it shows, the default one first; none where it does not encrypt.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// Where the listener comes from: `file` or `api`, `file+api` where both speak.
    pub origin: String,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateStatus {
    /// Path of its file.
    pub path: String,
    /// Names that it is for.
    pub names: Vec<String>,
    /// Last second at which it is good, since 1970.
    pub not_after: i64,
}

impl CertificateStatus {
    /// One that is good for less than this, in seconds, should have been renewed by now.
    pub const SOON_SECONDS: u64 = EXPIRES_SOON_SECONDS.unsigned_abs();
}

impl From<&Named> for CertificateStatus {
    fn from(named: &Named) -> Self {
        let Named { path, certificate } = named;
        let (names, not_after) = (certificate.names().to_vec(), certificate.not_after());
        Self { path: path.clone(), names, not_after }
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleStatus {
    /// Priority.
    pub priority: u16,
    /// Conditions and action, as in the configuration.
    #[schema(value_type = Object)]
    pub rule: Value,
    /// Where it comes from.
    pub origin: String,
}

/// A target group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupStatus {
    /// Name.
    pub name: String,
    /// Algorithm.
    pub algorithm: String,
    /// Whether too few targets are healthy, so that all are used.
    pub fail_open: bool,
    /// Requests (L4: connections) sent to its targets.
    pub requests: u64,
    /// Median time from request head to end of response, in microseconds; none before the first.
    pub p50_us: Option<u64>,
    /// 99th percentile of the same.
    pub p99_us: Option<u64>,
    /// Targets, in order of their addresses; draining ones included.
    pub targets: Vec<TargetStatus>,
    /// Where the group comes from.
    pub origin: String,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetStatus {
    /// Address and port.
    pub address: String,
    /// Weight.
    pub weight: u16,
    /// `initial`, `healthy`, `unhealthy`, `unused` or `draining`.
    pub state: String,
    /// AWS's reason code, if the state has one.
    pub reason: Option<String>,
    /// The reason in words.
    pub description: Option<String>,
    /// Whether traffic itself has taken it out for a while.
    pub ejected: bool,
    /// Requests (L4: connections) in flight.
    pub in_flight: u64,
    /// Requests (L4: connections) sent to it.
    pub requests: u64,
    /// Responses with status 5xx, and connections that could not be made.
    pub failures: u64,
    /// Where it comes from.
    pub origin: String,
    /// Seconds since 1970 at which its lease ends, if it has one.
    pub expires: Option<u64>,
}

/// Groups whose latencies are summed before anything else has its turn.
const GROUPS_AT_ONCE: usize = 32;

/// One entry may stand for a list of one.
fn server_names(configured: Option<&Value>) -> Vec<Value> {
    match configured {
        None => Vec::new(),
        Some(Value::Array(entries)) => entries.clone(),
        Some(one) => vec![one.clone()],
    }
}

fn certificates(view: &ListenerView) -> Vec<CertificateStatus> {
    let server = view.tls.as_deref().into_iter();
    server.flat_map(|server| server.certificates()).map(Into::into).collect()
}

/// When leases end, by group and target.
type Leases<'a> = HashMap<(&'a str, SocketAddr), u64>;

impl Actor {
    /// The whole as of now; the workers' part is asked for now and waited for by whoever polls.
    pub(super) fn status(&self) -> impl Future<Output = Status> + Send + use<> {
        let reports = self.workers.reports();
        let names = self.model.target_groups.iter().map(|group| group.name.as_str());
        let mut groups: Vec<_> = names.filter_map(|name| self.registry.group(name)).collect();
        groups.sort_unstable_by(|a, b| a.settings.name.cmp(&b.settings.name));
        let tallies: Vec<_> = groups.iter().map(|group| group.base.tally.clone()).collect();
        let mut status = self.own_status(&groups);
        async move {
            let workers = reports.await;
            for counts in &workers {
                status.totals += counts;
            }
            status.workers = workers;
            for (at, (group, tally)) in status.target_groups.iter_mut().zip(tallies).enumerate() {
                if at % GROUPS_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
                let duration = tally.sum().duration;
                let micros = |share| Some(duration.quantile(share)?.as_micros() as u64);
                (group.p50_us, group.p99_us) = (micros(0.5), micros(0.99));
            }
            status
        }
    }

    /// What the actor itself knows, of these groups.
    fn own_status(&self, groups: &[&Group]) -> Status {
        let file = self.source.path.as_ref().map(|path| path.display().to_string());
        let leases = self.leases();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            generation: self.generation,
            config_file: file.unwrap_or_else(|| "built in".into()),
            program_changed: self.source.program_changed(),
            driver: self.ground.engine.driver().into(),
            draining: self.draining,
            totals: Counts::default(),
            workers: Vec::new(),
            listeners: self.listener_statuses(),
            health_flips: self.flips.status(),
            target_groups: groups.iter().map(|group| self.group_status(group, &leases)).collect(),
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

    /// The targets of the group called `name`, if the model has it.
    pub(super) fn targets(&self, name: &str) -> Option<Vec<TargetStatus>> {
        let mut names = self.model.target_groups.iter().map(|group| &group.name);
        let group = names.find(|known| *known == name).and_then(|_| self.registry.group(name))?;
        Some(self.target_statuses(group, &self.leases()))
    }

    fn leases(&self) -> Leases<'_> {
        let leases = self.overlay.leases();
        leases.map(|(group, target, ends)| ((group, target), ends)).collect()
    }

    fn listener_statuses(&self) -> Vec<ListenerStatus> {
        let live = self.listeners.live();
        let mut statuses: Vec<_> = live
            .map(|(_, view)| {
                let settings = &view.settings;
                let name = settings.name.as_str();
                let at = |key: &str| self.whole.get("listeners")?.get(name)?.get(key);
                ListenerStatus {
                    name: name.into(),
                    address: settings.address.to_string(),
                    mode: settings.mode.to_string(),
                    default: at("default").cloned().unwrap_or_default(),
                    rules: self.rule_statuses(name, at("rules")),
                    server_names: server_names(at("server_names")),
                    certificates: certificates(view),
                    origin: self.origin(&["listeners", name]),
                }
            })
            .collect();
        statuses.sort_by(|a, b| a.name.cmp(&b.name));
        statuses
    }

    fn rule_statuses(&self, listener: &str, rules: Option<&Value>) -> Vec<RuleStatus> {
        let rules = rules.and_then(Value::as_object).into_iter().flatten();
        let mut statuses: Vec<_> = rules
            .filter_map(|(priority, rule)| {
                let origin = self.origin(&["listeners", listener, "rules", priority]);
                Some(RuleStatus { priority: priority.parse().ok()?, rule: rule.clone(), origin })
            })
            .collect();
        statuses.sort_by_key(|rule| rule.priority);
        statuses
    }

    /// A group, without its latencies.
    fn group_status(&self, group: &Group, leases: &Leases<'_>) -> GroupStatus {
        let name = group.settings.name.as_str();
        GroupStatus {
            name: name.into(),
            algorithm: group.settings.algorithm.to_string(),
            fail_open: group.fail_open,
            requests: group.targets.values().map(|entry| entry.load.requests()).sum(),
            p50_us: None,
            p99_us: None,
            targets: self.target_statuses(group, leases),
            origin: self.origin(&["target_groups", name]),
        }
    }

    fn target_statuses(&self, group: &Group, leases: &Leases<'_>) -> Vec<TargetStatus> {
        let targets = group.targets.iter();
        targets.map(|(address, entry)| self.target_status(group, *address, entry, leases)).collect()
    }

    fn target_status(
        &self,
        group: &Group,
        address: SocketAddr,
        entry: &Entry,
        leases: &Leases<'_>,
    ) -> TargetStatus {
        let name = group.settings.name.as_str();
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
            expires: leases.get(&(name, address)).copied(),
            address: key,
        }
    }

    fn origin(&self, path: &[&str]) -> String {
        self.overlay.origin(&self.file, path).to_string()
    }
}
