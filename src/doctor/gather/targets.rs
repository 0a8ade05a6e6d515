//! Asks every target once: a connection, then what its health check asks.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::control::probe::{self, How};
use crate::control::trust::{self, Client};
use crate::doctor::facts::{Answer, Target};
use crate::health::Probe;
use crate::model::{HealthCheck, Model, ProbeProtocol, ProtocolVersion, TargetGroup};

/// Targets that are asked at once.
const AT_ONCE_MAX: usize = 64;
/// Longest wait for a connection, where the group would wait longer.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(3);
/// Longest time for all targets together.
const ALL_MAX: Duration = Duration::from_secs(20);

/// What every target of `model` says, in the order of the file, and how many could not be asked in
/// time.
pub(super) async fn ask(model: &Model) -> (Vec<Target>, usize) {
    let deadline = Instant::now() + ALL_MAX;
    let room = Arc::new(Semaphore::new(AT_ONCE_MAX));
    let mut asked = JoinSet::new();
    let mut known = HashSet::new();
    let mut clients = HashMap::new();
    for (place, (group, address)) in pairs(model).enumerate() {
        if !known.insert((group.name.clone(), address)) {
            continue;
        }
        let (room, name) = (room.clone(), group.name.clone());
        let new = || Arc::new(trust::client_of(group));
        let tls = clients.entry(group.name.as_str()).or_insert_with(new).clone();
        let group = group.clone();
        asked.spawn(timeout_at(deadline, async move {
            let permit = room.acquire().await;
            let answer = ask_one(address, &group, &tls).await;
            drop(permit);
            let probe = describe(&group.health_check, address);
            (place, Target { group: name, address, probe, answer })
        }));
    }
    let all = asked.len();
    let mut answers = Vec::with_capacity(all);
    while let Some(ended) = asked.join_next().await {
        answers.extend(ended.ok().and_then(Result::ok));
    }
    answers.sort_by_key(|(place, _)| *place);
    let left_out = all - answers.len();
    (answers.into_iter().map(|(_, target)| target).collect(), left_out)
}

fn pairs(model: &Model) -> impl Iterator<Item = (&TargetGroup, SocketAddr)> {
    let groups = model.target_groups.iter();
    groups.flat_map(|group| group.targets.iter().map(move |target| (group, target.address)))
}

async fn ask_one(
    address: SocketAddr,
    group: &TargetGroup,
    tls: &Result<Option<Arc<Client>>, String>,
) -> Answer {
    let check = &group.health_check;
    let patience = group.connect_timeout.min(CONNECT_TIMEOUT_MAX);
    match timeout(patience, TcpStream::connect(address)).await {
        Ok(Ok(_stream)) => {}
        Ok(Err(cause)) => return Answer::Refused(cause),
        Err(_) => return Answer::NoConnection(patience),
    }
    let tls = match tls {
        Ok(tls) => tls.as_ref(),
        Err(cause) => return Answer::NoSession(cause.clone()),
    };
    if let Some(tls) = tls.filter(|_| group.protocol.is_encrypted()) {
        match timeout(patience, probe::greet(address, tls)).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => return Answer::NoSession(cause.to_string()),
            Err(_) => return Answer::NoSession(format!("no handshake within {patience:?}")),
        }
    }
    if !check.enabled {
        return Answer::Good;
    }
    match probe::once(address, How { check, tls }).await {
        Ok(Probe::Success) => Answer::Good,
        Ok(Probe::CodeMismatch(code)) if check.version == ProtocolVersion::Grpc => {
            Answer::Code(code)
        }
        Ok(Probe::CodeMismatch(status)) => Answer::Status(status),
        Ok(Probe::Timeout) => Answer::Silent(check.timeout),
        Ok(Probe::Failed) => Answer::Malformed,
        Err(cause) => Answer::Refused(cause),
    }
}

/// The probe in words.
fn describe(check: &HealthCheck, target: SocketAddr) -> String {
    let port = check.port.unwrap_or_else(|| target.port());
    let address = SocketAddr::new(target.ip(), port);
    match check.protocol {
        ProbeProtocol::Http if check.version == ProtocolVersion::Grpc => {
            format!("gRPC {address}{}", check.path)
        }
        ProbeProtocol::Http => format!("http://{address}{}", check.path),
        ProbeProtocol::Https => format!("https://{address}{}", check.path),
        ProbeProtocol::Tcp => format!("tcp {address}"),
        ProbeProtocol::Tls => format!("tls {address}"),
    }
}
