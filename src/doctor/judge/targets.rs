//! Targets, by what they said.

use std::collections::{BTreeMap, HashSet};
use std::io::{Error, ErrorKind};

use crate::doctor::facts::{Answer, Facts, Target};
use crate::doctor::finding::Finding;
use crate::model::{Action, Listener, Model, Stickiness};

/// Targets that are told apart; of further ones only the number is said.
const TOLD_MAX: usize = 20;

pub(super) fn judge(model: &Model, facts: &Facts) -> Vec<Finding> {
    let in_use = groups_in_use(model);
    let mut findings: Vec<Finding> = bad(facts, &in_use);
    let empty = model.target_groups.iter().filter(|group| group.targets.is_empty());
    findings.extend(empty.filter(|group| in_use.contains(group.name.as_str())).map(|group| {
        Finding::warning("group-empty", format!("target group `{}` has no targets", group.name))
            .why("requests to it get 503, and connections are reset")
            .cure("targets = [\"IP:PORT\"]    in its table")
            .cure(format!("ringway targets register {} IP:PORT    while it runs", group.name))
    }));
    if facts.targets_left_out > 0 {
        let what = format!("{} targets were not asked: the time was over", facts.targets_left_out);
        findings.push(
            Finding::note("targets-left-out", what)
                .why("many targets were slow or silent")
                .cure("ringway status    shows the health of all while ringway runs"),
        );
    }
    findings.extend(forgetful(model));
    findings
}

/// Names of the groups that some listener forwards to.
fn groups_in_use(model: &Model) -> HashSet<&str> {
    let actions = model.listeners.iter().flat_map(Listener::actions);
    let forwards = actions.filter_map(|action| match action {
        Action::Forward(forward) => Some(forward),
        Action::Redirect(_) | Action::FixedResponse(_) => None,
    });
    let indices = forwards.flat_map(|forward| &forward.groups);
    let groups = indices.filter_map(|(index, _)| model.target_groups.get(index.0 as usize));
    groups.map(|group| group.name.as_str()).collect()
}

fn bad(facts: &Facts, in_use: &HashSet<&str>) -> Vec<Finding> {
    let mut good_in: BTreeMap<&str, usize> = BTreeMap::new();
    for target in &facts.targets {
        *good_in.entry(&target.group).or_default() += usize::from(is_good(target));
    }
    let bad: Vec<&Target> = facts.targets.iter().filter(|target| !is_good(target)).collect();
    let told = bad.iter().take(TOLD_MAX).filter_map(|target| {
        let group = target.group.as_str();
        let is_last = good_in.get(group) == Some(&0) && in_use.contains(group);
        tell(target, is_last)
    });
    let mut findings: Vec<Finding> = told.collect();
    if bad.len() > TOLD_MAX {
        let what = format!("{} more targets do not answer as they should", bad.len() - TOLD_MAX);
        findings.push(
            Finding::warning("targets-more", what)
                .why("what they have in common is perhaps their network, or this host's way to it")
                .cure("cure the first ones, then examine again"),
        );
    }
    findings
}

fn is_good(target: &Target) -> bool {
    matches!(target.answer, Answer::Good)
}

/// `is_last`: no target of its group answers, and the group is in use.
fn tell(target: &Target, is_last: bool) -> Option<Finding> {
    let Target { group, address, probe, answer } = target;
    let name = format!("target {address} of `{group}`");
    let finding = |check, what: String| match is_last {
        true => Finding::error(check, what)
            .why(format!("no target of `{group}` answers: clients get 502, 503 or 504")),
        false => Finding::warning(check, what)
            .why("it gets no traffic, and the other targets carry its share"),
    };
    let try_it = format!("curl -v {probe}");
    Some(match answer {
        Answer::Good => return None,
        Answer::NoConnection(time) => {
            finding("target-timeout", format!("{name}: no connection within {time:?}"))
                .cure("is its host up, and does no firewall drop the packets?")
                .cure(format!("ip route get {}", address.ip()))
                .cure("on that host: nft list ruleset, and the security groups of the cloud")
        }
        Answer::Refused(error) => refused(target, error, finding),
        Answer::NoSession(cause) => {
            finding("target-tls", format!("{name}: no TLS session: {cause}"))
                .cure(format!(
                    "openssl s_client -connect {address} </dev/null    shows its certificate"
                ))
                .cure("tls = { ca = \"FILE.pem\" }    in its group: who vouches for it")
                .cure("tls = { server_name = \"NAME\" }    if its certificate is for a name")
                .cure("protocol = \"HTTP\"    if it does not speak TLS")
        }
        Answer::Silent(time) => {
            finding("target-silent", format!("{name}: no answer to the probe within {time:?}"))
                .cure(format!("{try_it}    shows how long it takes"))
                .cure("timeout = \"10s\"    in its health_check, if it is only slow")
        }
        Answer::Code(code) => finding(
            "target-status",
            format!("{name}: {probe} answers with gRPC's code {code}"),
        )
        .cure(format!("matcher = \"{code}\"    in its health_check, if that is good"))
        .cure(
            "path = \"/grpc.health.v1.Health/Check\"    in its health_check, and matcher = \"0\"",
        ),
        Answer::Status(status) => {
            finding("target-status", format!("{name}: {probe} answers {status}"))
                .cure(format!("{try_it}    shows the answer"))
                .cure(format!(
                    "matcher = \"200-299,{status}\"    in its health_check, if that is good"
                ))
                .cure("path = \"/...\"    in its health_check, if another path tells better")
        }
        Answer::Malformed => {
            finding("target-malformed", format!("{name}: the answer to the probe is no HTTP"))
                .cure(format!("{try_it}    shows it; does that port speak TLS?"))
                .cure("protocol = \"tcp\"    in its health_check, if it does not speak HTTP")
        }
    })
}

fn refused(
    target: &Target,
    error: &Error,
    finding: impl Fn(&'static str, String) -> Finding,
) -> Finding {
    let Target { group, address, .. } = target;
    let name = format!("target {address} of `{group}`");
    let port = address.port();
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            finding("target-refused", format!("{name}: nothing listens on port {port}"))
                .cure(format!(
                    "start it; on its host `ss -ltn 'sport = :{port}'` shows it listening"
                ))
                .cure("does it listen on 127.0.0.1 only, and the target names another address?")
        }
        ErrorKind::AddrNotAvailable => {
            finding("target-no-port", format!("{name}: no local port is free for a connection"))
                .sysctl("net.ipv4.ip_local_port_range", "1024 65535")
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            finding("target-unreachable", format!("{name}: {error}"))
                .cure(format!("ip route get {}    shows the way there", address.ip()))
        }
        _ => finding("target-unreachable", format!("{name}: {error}"))
            .cure(format!("curl -v http://{address}/")),
    }
}

/// Clients that are bound to targets by a key that ends with the process.
fn forgetful(model: &Model) -> Option<Finding> {
    let by_cookie = |sticky: &Stickiness| {
        matches!(sticky, Stickiness::LbCookie(_) | Stickiness::AppCookie { .. })
    };
    let sticky = model.target_groups.iter().find(|group| by_cookie(&group.stickiness))?;
    model.server.state_dir.is_none().then(|| {
        let what = format!("`{}` is sticky, and there is no state_dir", sticky.name);
        Finding::warning("no-state-dir", what)
            .why("the key of its cookies ends with the process: every restart rebinds all clients")
            .cure("state_dir = \"/var/lib/ringway\"    in [server]")
    })
}
