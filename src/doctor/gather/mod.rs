//! Looks at this machine. Changes nothing: ports are bound for an instant and never listened on,
//! targets get one connection and one probe each, files are looked at.

mod paths;
mod process;
mod sockets;
mod targets;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cli::Reach;
use crate::client;
use crate::control::handle::Status;
use crate::model::{ControlApi, Driver, Model};
use crate::net::{self, ring};

use super::facts::{Clock, Control, Cpus, Facts, Listening, Running, Sysctls, Uring};

/// Longest wait for the status of a ringway that runs.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that there is to know about running `model`, which the file `config` asks for.
pub(super) async fn facts(model: &Model, config: &Path) -> Facts {
    let (control, running) = find_running(&model.server.control).await;
    let process = process::of(running.as_ref().map(|status| status.pid));
    let table = sockets::Table::read();
    let (targets, targets_left_out) = targets::ask(model).await;
    Facts {
        kernel: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
        uring: uring(),
        sysctls: sysctls(),
        cpus: Cpus { usable: usable_cores(), quota: process::cpu_quota(process.pid) },
        listeners: listeners(model, &table),
        targets,
        targets_left_out,
        connections: table.connections,
        listen_overflows: sockets::listen_overflows(),
        clock: clock(),
        paths: paths::of(model, config),
        process,
        running,
        control,
    }
}

/// The first line of the file at `path`.
fn line(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn usable_cores() -> usize {
    core_affinity::get_core_ids().map_or(1, |cores| cores.len().max(1))
}

fn uring() -> Uring {
    let engine = match ring::probe(Driver::IoUring) {
        Ok((engine, _)) => Ok(engine),
        Err(unusable) => Err(unusable.os_error()),
    };
    Uring { engine, features: ring::features() }
}

fn sysctls() -> Sysctls {
    let read = |name: &&'static str| {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        Some((*name, fs::read_to_string(path).ok()?.trim().to_owned()))
    };
    Sysctls(Sysctls::NAMES.iter().filter_map(read).collect())
}

fn clock() -> Clock {
    let seconds = |since: Duration| i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let seconds = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => -seconds(before.duration()),
    };
    let dir = Path::new("/sys/devices/system/clocksource/clocksource0");
    let sources = line(dir.join("available_clocksource")).unwrap_or_default();
    let sources = sources.split_whitespace().map(str::to_owned).collect();
    Clock { seconds, source: line(dir.join("current_clocksource")), sources }
}

/// Tries each address that is to be listened on.
fn listeners(model: &Model, table: &sockets::Table) -> Vec<Listening> {
    let listeners = model.listeners.iter();
    let all = listeners.map(|listener| (Some(listener.name.clone()), listener.address));
    let settings = &model.server.control;
    let control = [settings.address, settings.metrics_address].into_iter().flatten();
    let control = control.map(|address| (None, address));
    let concrete = |(_, address): &(_, SocketAddr)| address.port() != 0;
    let mut found: Vec<Listening> = all
        .chain(control)
        .filter(concrete)
        .map(|(name, address)| {
            let outcome = net::try_address(address);
            Listening { name, address, outcome, owner: None }
        })
        .collect();
    let taken: Vec<&mut Listening> =
        found.iter_mut().filter(|listening| listening.outcome.is_err()).collect();
    table.name_owners(taken);
    found
}

/// Who answers where the control API of this configuration would.
async fn find_running(control: &ControlApi) -> (Control, Option<Running>) {
    let mut reach = Reach { token_file: control.token_file.clone(), ..Reach::default() };
    match (&control.socket, control.address) {
        (Some(path), _) => match connect(path) {
            Ok(()) => reach.socket = Some(PathBuf::from(path)),
            Err(control) => return (control, None),
        },
        (None, Some(address)) if address.port() != 0 => {
            if net::try_address(address).is_ok() {
                return (Control::Absent, None);
            }
            reach.url = Some(format!("http://{address}"));
        }
        (None, _) => return (Control::Absent, None),
    }
    match tokio::time::timeout(STATUS_TIMEOUT, client::status(&reach)).await {
        Ok(Ok(status)) => (Control::Ringway, Some(running(status))),
        Ok(Err(why)) => (Control::Stranger(why), None),
        Err(_) => (Control::Stranger("it does not answer".into()), None),
    }
}

fn running(status: Status) -> Running {
    Running {
        version: status.version,
        pid: status.pid,
        config: status.config_file,
        driver: status.driver,
        listeners: status.listeners.into_iter().map(|listener| listener.address).collect(),
    }
}

/// Whether somebody listens on the socket at `path`.
fn connect(path: &Path) -> Result<(), Control> {
    use std::io::ErrorKind;
    match UnixStream::connect(path) {
        Ok(_) => Ok(()),
        Err(cause) => Err(match cause.kind() {
            ErrorKind::NotFound => Control::Absent,
            ErrorKind::ConnectionRefused => Control::Stale,
            ErrorKind::PermissionDenied => Control::Denied,
            _ => Control::Stranger(cause.to_string()),
        }),
    }
}
