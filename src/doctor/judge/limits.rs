//! What the process may use: files, threads, memory, cores.

use super::workers;
use crate::doctor::facts::{CAP_NET_BIND_SERVICE, Facts};
use crate::doctor::finding::Finding;
use crate::model::{Model, Workers};

/// Files that suffice for a small service.
const FILES_USUAL: u64 = 65_536;
/// Files of the process itself: logs, control, state.
const FILES_OWN: u64 = 48;
/// Files of a worker beside its listening sockets: ring, bells, a few pipes.
const FILES_PER_WORKER: u64 = 16;
/// Threads beside the workers.
const THREADS_OWN: u64 = 4;

pub(super) fn judge(model: &Model, facts: &Facts) -> Vec<Finding> {
    let workers = workers(model, facts);
    let all = [
        open_files(model, facts, workers as u64),
        threads(facts, workers as u64),
        too_many_workers(facts, workers),
        idle_cores(model, facts, workers),
        quota(facts, workers),
        root(facts),
        privileges(facts),
    ];
    all.into_iter().flatten().collect()
}

fn open_files(model: &Model, facts: &Facts, workers: u64) -> Option<Finding> {
    let limit = facts.process.open_files.filter(|limit| *limit < FILES_USUAL)?;
    // A listener has a socket at each worker, and control keeps a duplicate.
    let own = FILES_OWN + workers * (FILES_PER_WORKER + 2 * model.listeners.len() as u64);
    let what = format!("at most {limit} files may be open");
    let finding = match limit.checked_sub(own) {
        None => Finding::error("open-files", what).why(format!(
            "{workers} workers and the listeners need about {own} before any traffic"
        )),
        Some(rest) => Finding::warning("open-files", what).why(format!(
            "a proxied connection takes two: about {} fit, further clients wait unaccepted",
            rest / 2
        )),
    };
    Some(
        finding
            .cure("LimitNOFILE=1048576    in the unit of systemd")
            .cure("ulimit -Hn 1048576    in a shell, as root"),
    )
}

fn threads(facts: &Facts, workers: u64) -> Option<Finding> {
    let limit = facts.process.threads.filter(|limit| *limit < workers + THREADS_OWN)?;
    let what = format!("the user may have {limit} threads, and there are to be {workers} workers");
    Some(
        Finding::error("threads", what)
            .why("a worker is a thread; without all of them nothing starts")
            .cure("LimitNPROC=infinity and TasksMax=infinity    in the unit of systemd")
            .cure("ulimit -u 4096    in a shell"),
    )
}

fn too_many_workers(facts: &Facts, workers: usize) -> Option<Finding> {
    let usable = facts.cpus.usable;
    (workers > usable).then(|| {
        Finding::warning("workers-exceed-cores", format!("{workers} workers share {usable} cores"))
            .why("they are not pinned then, and interrupt each other")
            .cure("workers = \"auto\"    in [server]")
    })
}

fn idle_cores(model: &Model, facts: &Facts, workers: usize) -> Option<Finding> {
    let usable = facts.cpus.usable;
    (model.server.workers != Workers::Auto && workers < usable).then(|| {
        Finding::note("idle-cores", format!("{workers} workers leave {} cores", usable - workers))
            .why("they serve nothing; right where targets run on this host, too")
            .cure("workers = \"auto\"    in [server], to use them all")
    })
}

fn quota(facts: &Facts, workers: usize) -> Option<Finding> {
    let quota = facts.cpus.quota.filter(|quota| *quota < workers as f64)?;
    let least = (quota.floor() as usize).max(1);
    let what =
        format!("the control group grants the time of {quota:.1} cores to {workers} workers");
    Some(
        Finding::warning("cpu-quota", what)
            .why("when it is used up, all workers stand still until the next period")
            .cure(format!("workers = {least}    in [server]"))
            .cure("CPUQuota=    (empty) in the unit of systemd, or more CPU for the container"),
    )
}

fn root(facts: &Facts) -> Option<Finding> {
    let process = &facts.process;
    (process.is_running_ringway && process.uid == 0).then(|| {
        Finding::note("runs-as-root", format!("ringway (pid {}) runs as root", process.pid))
            .why("it needs no more than CAP_NET_BIND_SERVICE, and that only for ports below 1024")
            .cure("User=ringway and AmbientCapabilities=CAP_NET_BIND_SERVICE    in the unit")
    })
}

fn privileges(facts: &Facts) -> Option<Finding> {
    let process = &facts.process;
    let more = process.capabilities & !(1 << CAP_NET_BIND_SERVICE);
    (process.is_running_ringway && process.uid != 0 && more != 0).then(|| {
        let what = format!("ringway (pid {}) has capabilities that it never uses", process.pid);
        Finding::note("capabilities", what)
            .why(format!("a fault could use them: {more:#x}"))
            .cure("CapabilityBoundingSet=CAP_NET_BIND_SERVICE    in the unit of systemd")
            .cure(format!("capsh --decode={more:016x}    names them"))
    })
}
