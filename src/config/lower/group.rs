//! Target groups and their health checks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::{DAY, HOUR, Limits, Lowering, SECOND, WAIT};
use crate::config::diagnostic::quote;
use crate::config::file::{self, Brief, Located, Switch};
use crate::config::values::{self, show_duration};
use crate::model::{
    Algorithm, HealthCheck, OutlierDetection, ProbeProtocol, ProtocolVersion, Retry, Target,
    TargetGroup, TargetProtocol, Weight,
};

/// Making a connection takes a round trip, so less than a second is no mistake.
const CONNECT: Limits = Limits {
    min: Duration::from_millis(10),
    max: Duration::from_secs(600),
    odd_below: Duration::from_millis(100),
};

impl Lowering<'_, '_> {
    pub(super) fn group(&mut self, file: &file::TargetGroup) -> TargetGroup {
        let name = self.read(&file.name, |name| values::name(name)).unwrap_or_default();
        let mut group = TargetGroup::new(name, self.targets(&file.targets));
        group.protocol_version = match file.protocol_version.as_ref().map(|key| key.value) {
            Some(file::ProtocolVersion::Http1) | None => ProtocolVersion::Http1,
            Some(file::ProtocolVersion::Http2) => ProtocolVersion::Http2,
            Some(file::ProtocolVersion::Grpc) => ProtocolVersion::Grpc,
        };
        group.health_check = HealthCheck::of(group.protocol_version);
        if let Some(algorithm) = &file.algorithm {
            group.algorithm = match algorithm.value {
                file::Algorithm::RoundRobin => Algorithm::RoundRobin,
                file::Algorithm::LeastOutstandingRequests => Algorithm::LeastOutstandingRequests,
                file::Algorithm::WeightedRandom => Algorithm::WeightedRandom,
            };
        }
        if let Some(protocol) = &file.protocol {
            group.protocol = match protocol.value {
                file::TargetProtocol::Http => TargetProtocol::Http,
                file::TargetProtocol::Https => TargetProtocol::Https,
                file::TargetProtocol::Tcp => TargetProtocol::Tcp,
                file::TargetProtocol::Tls => TargetProtocol::Tls,
            };
            group.health_check.protocol = group.protocol.into();
        }
        if let Some(retry) = &file.retry {
            group.retry = match retry.value {
                file::Retry::Safe => Retry::Safe,
                file::Retry::Never => Retry::Never,
            };
        }
        if let Some(max) = &file.idle_connections_max {
            group.idle_connections_max = usize::try_from(max.value).unwrap_or(usize::MAX);
        }
        self.duration(&file.connect_timeout, &CONNECT, &mut group.connect_timeout);
        self.duration(&file.response_timeout, &WAIT, &mut group.response_timeout);
        self.duration(&file.idle_timeout, &WAIT, &mut group.idle_timeout);
        let delay = Limits { min: Duration::ZERO, max: HOUR, odd_below: Duration::ZERO };
        self.duration(&file.deregistration_delay, &delay, &mut group.deregistration_delay);
        self.slow_start(file, &mut group);
        if let Some(check) = &file.health_check {
            group.health_check = self.health_check(&check.value, &group);
        }
        self.target_tls(file, &mut group);
        if let Some(stickiness) = &file.stickiness {
            group.stickiness = self.stickiness(stickiness, group.algorithm);
        }
        self.mitigation(file, &mut group);
        group
    }

    /// What a group does about targets that fail.
    fn mitigation(&mut self, file: &file::TargetGroup, group: &mut TargetGroup) {
        if let Some(min) = &file.healthy_min {
            let min = &min.value;
            let count = min.count.as_ref().map(|count| count.value);
            group.healthy_min.count = count.unwrap_or(group.healthy_min.count);
            group.healthy_min.percentage = min.percentage.as_ref().map(|key| key.value);
        }
        if let Some(anomaly) = &file.anomaly_mitigation {
            group.anomaly_mitigation = anomaly.value;
            if anomaly.value && group.algorithm != Algorithm::WeightedRandom {
                let problem = format!(
                    "`anomaly_mitigation` does not work with algorithm `{}`",
                    group.algorithm
                );
                let help = "use algorithm `weighted_random`, or remove `anomaly_mitigation`";
                self.findings.error(&anomaly.at, problem).help(help);
            }
        }
        let termination = file.connection_termination.as_ref().is_some_and(|cut| cut.value);
        group.connection_termination = termination;
        group.outlier_detection = match file.outlier_detection.as_ref().map(|key| &key.value) {
            None | Some(Switch::Off) => None,
            Some(Switch::Defaults) => Some(OutlierDetection::default()),
            Some(Switch::On(table)) => Some(self.outlier_detection(table)),
        };
    }

    fn outlier_detection(&mut self, file: &file::OutlierDetection) -> OutlierDetection {
        let mut detection = OutlierDetection::default();
        if let Some(failures) = &file.consecutive_failures {
            detection.consecutive_failures = failures.value;
        }
        if let Some(percentage) = &file.max_ejected_percentage {
            detection.max_ejected_percentage = percentage.value;
        }
        let base = Limits { min: SECOND, max: HOUR, odd_below: SECOND };
        let max = Limits { min: SECOND, max: DAY, odd_below: SECOND };
        let errors_before = self.findings.errors();
        self.duration(&file.base_ejection, &base, &mut detection.base_ejection);
        self.duration(&file.max_ejection, &max, &mut detection.max_ejection);
        let named = file.max_ejection.as_ref().or(file.base_ejection.as_ref());
        let is_readable = self.findings.errors() == errors_before;
        let is_shorter = detection.max_ejection < detection.base_ejection;
        if let (Some(key), true) = (named, is_readable && is_shorter) {
            let problem = format!(
                "`max_ejection` ({}) must not be smaller than `base_ejection` ({})",
                show_duration(detection.max_ejection),
                show_duration(detection.base_ejection)
            );
            let help = "lengthen `max_ejection` or shorten `base_ejection`";
            self.findings.error(&key.at, problem).help(help);
        }
        detection
    }

    fn targets(&mut self, file: &[Located<Brief<file::Target>>]) -> Vec<Target> {
        let mut first: HashMap<SocketAddr, Range<usize>> = HashMap::new();
        let mut targets = Vec::with_capacity(file.len());
        for Located { at, value: Brief(target) } in file {
            let Some(text) = &target.address else { continue };
            let Some(address) = self.read_value(text, |text| values::target_address(text)) else {
                continue;
            };
            if let Some(earlier) = first.get(&address) {
                let earlier = self.findings.name_of(earlier);
                let problem = format!("{} is already the address of {earlier}", quote(&text.value));
                let help = "a target is in a group once; a greater share is a greater `weight`";
                self.findings.error(&text.at, problem).help(help);
                continue;
            }
            first.insert(address, at.clone());
            let weight = target.weight.as_ref().and_then(|weight| Weight::new(weight.value));
            targets.push(Target { address, weight: weight.unwrap_or(Weight::ONE) });
        }
        targets
    }

    /// Slow start is 0 s or 30 s to 900 s, and only with round robin (AWS: "Slow start mode").
    fn slow_start(&mut self, file: &file::TargetGroup, group: &mut TargetGroup) {
        let limits = Limits {
            min: Duration::ZERO,
            max: Duration::from_secs(900),
            odd_below: Duration::ZERO,
        };
        self.duration(&file.slow_start, &limits, &mut group.slow_start);
        let Some(located) = &file.slow_start else { return };
        if group.slow_start.is_zero() {
            return;
        }
        if group.slow_start < Duration::from_secs(30) {
            let problem =
                format!("`slow_start` is out of range: {}", show_duration(group.slow_start));
            self.findings.error(&located.at, problem).help("0s (off), or from 30s to 900s");
        }
        if group.algorithm != Algorithm::RoundRobin {
            let problem =
                format!("`slow_start` does not work with algorithm `{}`", group.algorithm);
            let help = "use algorithm `round_robin`, or set `slow_start` to \"0s\"";
            self.findings.error(&located.at, problem).help(help);
        }
    }

    fn health_check(&mut self, file: &file::HealthCheck, group: &TargetGroup) -> HealthCheck {
        let mut check = group.health_check.clone();
        if let Some(enabled) = &file.enabled {
            check.enabled = enabled.value;
        }
        if let Some(protocol) = &file.protocol {
            check.protocol = match protocol.value {
                file::ProbeProtocol::Http => ProbeProtocol::Http,
                file::ProbeProtocol::Tcp => ProbeProtocol::Tcp,
                file::ProbeProtocol::Https => ProbeProtocol::Https,
                file::ProbeProtocol::Tls => ProbeProtocol::Tls,
            };
        }
        let port = self.read(&file.port, |text| values::port_or(&text.0, "traffic-port"));
        check.port = port.flatten();
        if let Some(path) = self.read(&file.path, |text| values::probe_path(text)) {
            check.path = path;
        }
        if let Some(matcher) =
            self.read(&file.matcher, |text| values::matcher(&text.0, group.protocol_version))
        {
            check.matcher = matcher;
        }
        if let Some(threshold) = &file.healthy_threshold {
            check.healthy_threshold = threshold.value;
        }
        if let Some(threshold) = &file.unhealthy_threshold {
            check.unhealthy_threshold = threshold.value;
        }
        self.probe_times(file, &mut check);
        if !check.protocol.is_http() {
            self.without_effect(
                "a tcp or tls health check",
                "only http and https probes have a path and a status",
                [file.path.as_ref().map(|key| &key.at), file.matcher.as_ref().map(|key| &key.at)],
            );
        }
        check
    }

    fn probe_times(&mut self, file: &file::HealthCheck, check: &mut HealthCheck) {
        let interval = Limits {
            min: Duration::from_millis(100),
            max: Duration::from_secs(300),
            odd_below: SECOND,
        };
        let timeout = Limits {
            min: Duration::from_millis(10),
            max: Duration::from_secs(120),
            odd_below: Duration::from_millis(100),
        };
        self.duration(&file.interval, &interval, &mut check.interval);
        self.duration(&file.timeout, &timeout, &mut check.timeout);
        let Some(Located { at, .. }) = file.timeout.as_ref().or(file.interval.as_ref()) else {
            return;
        };
        if check.timeout >= check.interval {
            let problem = format!(
                "the health check's timeout ({}) must be smaller than its interval ({})",
                show_duration(check.timeout),
                show_duration(check.interval)
            );
            self.findings.error(at, problem).help("shorten `timeout` or lengthen `interval`");
        }
    }

    /// Warns of keys that mean nothing where they stand.
    pub(super) fn without_effect<'k>(
        &mut self,
        place: &str,
        help: &str,
        keys: impl IntoIterator<Item = Option<&'k Range<usize>>>,
    ) {
        for at in keys.into_iter().flatten() {
            let problem = format!("`{}` has no effect on {place}", self.key_of(at));
            self.findings.warning(at, problem).help(help);
        }
    }
}
