//! Addresses to listen on, and a ringway that has them already.

use std::io::ErrorKind;

use crate::doctor::facts::{Facts, Listening, Owner};
use crate::doctor::finding::Finding;
use crate::model::Model;

pub(super) fn judge(_: &Model, facts: &Facts) -> Vec<Finding> {
    let taken = facts.listeners.iter().filter_map(|listening| refused(facts, listening));
    let loose = facts.listeners.iter().filter_map(|listening| unreserved(facts, listening));
    let running = facts.running.iter().map(|status| {
        let what = format!(
            "ringway {} runs as process {} with {}",
            status.version, status.pid, status.config
        );
        Finding::note("already-running", what)
            .why("a second one with the same addresses would not start")
            .cure("ringway status    shows what it does")
            .cure("ringway reload    lets it read its file again")
    });
    taken.chain(loose).chain(running).collect()
}

/// How messages call it.
fn name(listening: &Listening) -> String {
    match &listening.name {
        Some(name) => format!("listener `{name}`"),
        None => "the control API".into(),
    }
}

fn refused(facts: &Facts, listening: &Listening) -> Option<Finding> {
    let error = listening.outcome.as_ref().err()?;
    let (name, address) = (name(listening), listening.address);
    let cannot = format!("{name} cannot listen on {address}");
    let key = "address = \"IP:PORT\"    another one in the configuration";
    Some(match error.kind() {
        ErrorKind::AddrInUse if is_ours(facts, listening) => return None,
        ErrorKind::AddrInUse => in_use(&cannot, listening),
        ErrorKind::PermissionDenied => {
            let port = address.port();
            Finding::error(
                "port-privileged",
                format!("{cannot}: ports below 1024 need a privilege"),
            )
            .why("this user lacks CAP_NET_BIND_SERVICE")
            .cure("AmbientCapabilities=CAP_NET_BIND_SERVICE    in the unit of systemd")
            .cure("setcap cap_net_bind_service=+ep \"$(command -v ringway)\"    without systemd")
            .cure(format!("or sysctl -w net.ipv4.ip_unprivileged_port_start={port}"))
        }
        ErrorKind::AddrNotAvailable => {
            Finding::error("address-missing", format!("{cannot}: this machine has no such address"))
                .why("only addresses of its own interfaces, or 0.0.0.0 and [::], can be had")
                .cure("ip -brief address    lists them")
                .cure(key)
        }
        _ if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            Finding::error("address-missing", format!("{cannot}: this kernel has no IPv6"))
                .why("IPv6 is switched off at boot")
                .cure("address = \"0.0.0.0:PORT\"    in the configuration")
        }
        _ => Finding::error("address-refused", format!("{cannot}: {error}"))
            .why("the kernel refuses the address")
            .cure(key),
    })
}

/// Whether the ringway that runs listens there.
fn is_ours(facts: &Facts, listening: &Listening) -> bool {
    let Some(status) = &facts.running else { return false };
    let owner = listening.owner.as_ref().and_then(|owner| owner.process.as_ref());
    let address = listening.address.to_string();
    listening.name.is_none()
        || owner.is_some_and(|(pid, _)| *pid == status.pid)
        || status.listeners.contains(&address)
}

fn in_use(cannot: &str, listening: &Listening) -> Finding {
    let port = listening.address.port();
    let who = match &listening.owner {
        Some(Owner { process: Some((pid, name)), .. }) => {
            format!("{name} (pid {pid}) has the port")
        }
        Some(Owner { uid, process: None }) => {
            format!("a process of user id {uid} has the port; root may see which")
        }
        None => "another process has the port".into(),
    };
    let finding = Finding::error("port-in-use", format!("{cannot}: {who}"))
        .why("two programs cannot listen on one port")
        .cure(format!("ss -ltnp 'sport = :{port}'    names it"));
    let finding = match &listening.owner {
        Some(Owner { process: Some((pid, _)), .. }) => {
            finding.cure(format!("systemctl status {pid}    names its service; stop that"))
        }
        _ => finding,
    };
    finding.cure("or address = \"IP:PORT\"    another one in the configuration")
}

/// A port that the kernel may give to an outgoing connection before it is listened on.
fn unreserved(facts: &Facts, listening: &Listening) -> Option<Finding> {
    let (first, last) = facts.sysctls.local_ports()?;
    let port = listening.address.port();
    let loose = (first..=last).contains(&port) && !facts.sysctls.is_reserved(port);
    loose.then(|| {
        let what = format!(
            "{} uses port {port}, which is among those for outgoing connections, {first} to {last}",
            name(listening)
        );
        Finding::warning("port-not-reserved", what)
            .why("a connection of any program may have it just when ringway starts")
            .sysctl("net.ipv4.ip_local_reserved_ports", port)
    })
}
