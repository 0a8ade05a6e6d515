//! Settings of the kernel that a busy proxy runs into.

use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::model::Model;

/// Connections that should be able to wait for a worker.
const SOMAXCONN_MIN: i64 = 4096;
/// Handshakes that should be able to wait for their end.
const SYN_BACKLOG_MIN: i64 = 1024;
/// Local ports below which one target is soon used up.
const LOCAL_PORTS_MIN: usize = 16_384;
/// Files of the whole host below which it is soon used up.
const FILE_MAX_MIN: i64 = 65_536;

pub(super) fn judge(model: &Model, facts: &Facts) -> Vec<Finding> {
    let mut findings = used_up(model, facts);
    findings.extend(somaxconn(facts));
    findings.extend(syn_backlog(facts));
    findings.extend(few_ports(facts));
    findings.extend(tw_reuse(facts));
    findings.extend(files(facts));
    findings.extend(conntrack(facts));
    findings.extend(overflows(facts));
    findings
}

fn somaxconn(facts: &Facts) -> Option<Finding> {
    let name = "net.core.somaxconn";
    let value = facts.sysctls.number(name).filter(|value| *value < SOMAXCONN_MIN)?;
    Some(
        Finding::warning("somaxconn", format!("{name} is {value}"))
            .why("it caps the connections that may wait for a worker; a burst beyond it is dropped")
            .sysctl(name, SOMAXCONN_MIN),
    )
}

fn syn_backlog(facts: &Facts) -> Option<Finding> {
    let name = "net.ipv4.tcp_max_syn_backlog";
    let value = facts.sysctls.number(name).filter(|value| *value < SYN_BACKLOG_MIN)?;
    Some(
        Finding::warning("syn-backlog", format!("{name} is {value}"))
            .why("it caps the handshakes under way; beyond it cookies are used, or SYNs dropped")
            .sysctl(name, 4096),
    )
}

/// How many local ports there are for connections to one target.
fn local_ports(facts: &Facts) -> Option<usize> {
    let (first, last) = facts.sysctls.local_ports()?;
    Some((first..=last).filter(|port| !facts.sysctls.is_reserved(*port)).count())
}

fn few_ports(facts: &Facts) -> Option<Finding> {
    let name = "net.ipv4.ip_local_port_range";
    let ports = local_ports(facts).filter(|ports| *ports < LOCAL_PORTS_MIN)?;
    Some(
        Finding::warning("few-local-ports", format!("{name} leaves {ports} ports"))
            .why("so many connections to one target fit at once; those that just ended count too")
            .sysctl(name, "1024 65535"),
    )
}

/// Targets to which most local ports lead already.
fn used_up(model: &Model, facts: &Facts) -> Vec<Finding> {
    let Some(ports) = local_ports(facts).filter(|ports| *ports > 0) else { return Vec::new() };
    let mut addresses: Vec<_> = model
        .target_groups
        .iter()
        .flat_map(|group| &group.targets)
        .filter_map(|target| {
            let used = *facts.connections.get(&target.address)?;
            (used * 100 >= ports * 80).then_some((target.address, used))
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let finding = |(address, used): (_, usize)| {
        let what = format!("{used} of {ports} local ports lead to target {address}");
        let why = "when none is left, no further connection to it can be made: 502 and 503";
        let finding = match used * 100 >= ports * 95 {
            true => Finding::error("local-ports-used", what),
            false => Finding::warning("local-ports-used", what),
        };
        finding
            .why(why)
            .sysctl("net.ipv4.ip_local_port_range", "1024 65535")
            .cure("idle_connections_max    higher in its group, so that connections are reused")
            .cure("or another address or port of the same target, as a second target")
    };
    addresses.into_iter().map(finding).collect()
}

fn tw_reuse(facts: &Facts) -> Option<Finding> {
    let name = "net.ipv4.tcp_tw_reuse";
    facts.sysctls.number(name).filter(|value| *value == 0)?;
    Some(
        Finding::warning("tw-reuse", format!("{name} is 0"))
            .why("a local port rests for a minute after its connection to a target has ended")
            .sysctl(name, 1),
    )
}

fn files(facts: &Facts) -> Option<Finding> {
    let numbers = facts.sysctls.numbers("fs.file-nr");
    let &[used, _, most] = numbers.as_slice() else { return None };
    let what = format!("{used} of {most} files of this host are open");
    let finding = match () {
        () if used.saturating_mul(100) >= most.saturating_mul(95) => {
            Finding::error("file-max", what)
        }
        () if used.saturating_mul(100) >= most.saturating_mul(80) || most < FILE_MAX_MIN => {
            Finding::warning("file-max", what)
        }
        () => return None,
    };
    Some(
        finding
            .why("a connection is a file; without one nothing can be accepted")
            .sysctl("fs.file-max", most.saturating_mul(4).max(1_048_576)),
    )
}

fn conntrack(facts: &Facts) -> Option<Finding> {
    let used = facts.sysctls.number("net.netfilter.nf_conntrack_count")?;
    let most = facts.sysctls.number("net.netfilter.nf_conntrack_max").filter(|most| *most > 0)?;
    let what = format!("the firewall tracks {used} connections, and {most} are the most");
    let finding = match used.saturating_mul(100) / most {
        95.. => Finding::error("conntrack-full", what),
        80.. => Finding::warning("conntrack-full", what),
        _ => return None,
    };
    Some(
        finding
            .why("beyond it packets of new connections are dropped without a word to anybody")
            .sysctl("net.netfilter.nf_conntrack_max", most.saturating_mul(4))
            .cure("or `notrack` rules of nft for the ports of the listeners"),
    )
}

fn overflows(facts: &Facts) -> Option<Finding> {
    let count = facts.listen_overflows.filter(|count| *count > 0)?;
    let what = format!("{count} connections were dropped since the boot: a listen queue was full");
    Some(
        Finding::note("listen-overflows", what)
            .why(
                "of any program of this host; if it grows while ringway runs, workers are too busy",
            )
            .cure("nstat -az TcpExtListenOverflows    twice, to see whether it grows")
            .sysctl("net.core.somaxconn", 65_535),
    )
}
