//! The certificates of listeners, and those that they believe: which are in use, and whether their
//! files have changed.
//!
//! Files are read when a listener needs them, and looked at once a second from then on. What cannot
//! be used is told on the log, and the listener goes on with what it has. Reading may wait for the
//! disk, so it is done on another thread.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::model::{CertificateFiles, Listener, Mode, Model, MutualAuthentication, Tls};
use crate::snapshot::ListenerView;
use crate::tls::{Certificate, Clients, Named, Server, Tickets, TrustFlaw, TrustStore};

use super::actor::{Actor, seconds};
use super::looking::Looking;
use super::start::StartError;

/// What is spoken inside HTTPS, the best first.
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// The same where HTTP/2 is turned off.
const HTTP_1: &[&[u8]] = &[b"http/1.1"];

/// What listeners encrypt with.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    served: Vec<Served>,
    looking: Looking<Look>,
}

/// A listener's encryption.
#[derive(Debug, Clone)]
pub(super) struct Served {
    wanted: Wanted,
    server: Arc<Server>,
    /// What the files were like when they were last read, well or not.
    stamps: Vec<Stamp>,
}

/// What a listener asks for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    listener: String,
    protocols: &'static [&'static [u8]],
    tls: Tls,
    /// Its sessions go on although its files have changed.
    tickets: Option<Tickets>,
}

/// Tells whether a file is still the one that it was: device, inode, time of change, length.
pub(super) type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// Files that are not what they were.
#[derive(Debug)]
struct Look {
    before: Arc<Server>,
    stamps: Vec<Stamp>,
    server: Result<Arc<Server>, String>,
}

/// Reads what is `wanted`. May wait for the disk.
///
/// # Errors
/// [`StartError::Certificate`].
pub(super) fn open(wanted: Vec<Wanted>) -> Result<Vec<Served>, StartError> {
    wanted.into_iter().map(open_one).collect()
}

fn open_one(wanted: Wanted) -> Result<Served, StartError> {
    let failed =
        |cause: String| StartError::Certificate { listener: wanted.listener.clone(), cause };
    // Before the files are read: what changes meanwhile is noticed at the next look.
    let stamps = stamps(&wanted.tls);
    let tickets = match &wanted.tickets {
        Some(tickets) => tickets.clone(),
        None => Tickets::new().map_err(|error| failed(error.to_string()))?,
    };
    let server = read(&wanted, tickets.clone()).map_err(failed)?;
    Ok(Served { wanted: Wanted { tickets: Some(tickets), ..wanted }, server, stamps })
}

fn read(wanted: &Wanted, tickets: Tickets) -> Result<Arc<Server>, String> {
    let certificates = wanted.tls.certificates.iter().map(read_files);
    let certificates = certificates.collect::<Result<_, _>>()?;
    let clients = clients(wanted.tls.mutual_authentication.as_ref())?;
    let (policy, protocols) = (wanted.tls.policy, wanted.protocols);
    let server = Server::new(certificates, policy, protocols, tickets, &clients);
    server.map(Arc::new).map_err(|error| error.to_string())
}

/// What is offered to the clients of `listener`.
fn protocols(listener: &Listener) -> &'static [&'static [u8]] {
    match (listener.mode, listener.http.http2) {
        (Mode::L7, true) => HTTP,
        (Mode::L7, false) => HTTP_1,
        (Mode::L4, _) => &[],
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

/// Whether clients show certificates, and who is believed.
fn clients(wanted: Option<&MutualAuthentication>) -> Result<Clients, String> {
    let files = match wanted {
        None => return Ok(Clients::Unasked),
        Some(MutualAuthentication::Unverified) => return Ok(Clients::Unverified),
        Some(MutualAuthentication::Verify(files)) => files,
    };
    let of = |path: &Path, flaw: TrustFlaw| format!("{}: {flaw}; {}", path.display(), flaw.cure());
    let authorities = &files.authorities;
    let mut store = TrustStore::read(&bytes(authorities)?).map_err(|flaw| of(authorities, flaw))?;
    for path in &files.revocations {
        store.revoke(&bytes(path)?).map_err(|flaw| of(path, flaw))?;
    }
    if files.ignores_expiry {
        store.ignore_expiry();
    }
    if files.advertises_names {
        store.advertise_names().map_err(|flaw| of(authorities, flaw))?;
    }
    Ok(Clients::Verified(store))
}

fn read_files(files: &CertificateFiles) -> Result<Named, String> {
    let (chain, key) = (bytes(&files.certificate)?, bytes(&files.key)?);
    let certificate = Certificate::read(&chain, &key).map_err(|flaw| {
        let path = if flaw.is_of_key() { &files.key } else { &files.certificate };
        format!("{}: {flaw}; {}", path.display(), flaw.cure())
    })?;
    let mut named = Named { path: files.certificate.display().to_string(), certificate };
    if let Some(path) = &files.ocsp {
        staple(&mut named, path);
    }
    Ok(named)
}

/// Shows what the authority says of a certificate. Without it, it is as good to most clients.
fn staple(named: &mut Named, path: &Path) {
    let now = i64::try_from(seconds()).unwrap_or(i64::MAX);
    let shown = bytes(path).and_then(|response| {
        let stapled = named.certificate.staple(response, now);
        stapled.map_err(|flaw| format!("{}: {flaw}; {}", path.display(), flaw.cure()))
    });
    if let Err(cause) = shown {
        let certificate = named.path.as_str();
        tracing::error!(certificate, "its OCSP response is not shown: {cause}");
    }
}

fn stamps(tls: &Tls) -> Vec<Stamp> {
    let own = tls
        .certificates
        .iter()
        .flat_map(|files| [&files.certificate, &files.key].into_iter().chain(&files.ocsp));
    let trusted = tls.mutual_authentication.iter().flat_map(MutualAuthentication::files);
    own.chain(trusted).map(|path| stamp(path)).collect()
}

/// What the file at `path` is like.
pub(super) fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
}

/// Whether an OCSP response that is shown is of no use any more.
fn has_overdue(server: &Server) -> bool {
    let mut ends = server.certificates().iter().filter_map(|it| it.certificate.staple_until());
    ends.any(|end| end <= i64::try_from(seconds()).unwrap_or(i64::MAX))
}

/// Reads again what has changed, or may not be shown any more.
fn look(served: Vec<Served>) -> Vec<Look> {
    let looks = served.into_iter().filter_map(|Served { wanted, server, stamps: before }| {
        let stamps = stamps(&wanted.tls);
        let is_due = stamps != before || has_overdue(&server);
        let tickets = wanted.tickets.clone().filter(|_| is_due)?;
        Some(Look { before: server, stamps, server: read(&wanted, tickets) })
    });
    looks.collect()
}

impl Certificates {
    /// What `model` asks for and is not there yet: to be [opened](open).
    pub(super) fn missing(&self, model: &Model) -> Vec<Wanted> {
        let wanted = model.listeners.iter().filter_map(|listener| {
            let tls = listener.tls.clone().filter(|_| self.find(listener).is_none())?;
            let namesake =
                self.served.iter().find(|served| served.wanted.listener == listener.name);
            let tickets = namesake.and_then(|served| served.wanted.tickets.clone());
            let (listener, protocols) = (listener.name.clone(), protocols(listener));
            Some(Wanted { listener, protocols, tls, tickets })
        });
        wanted.collect()
    }

    /// Takes in what was opened; it stays until [`Certificates::forget_unused`].
    pub(super) fn add(&mut self, opened: Vec<Served>) {
        self.served.extend(opened);
    }

    /// Lets go of what no listener uses.
    pub(super) fn forget_unused(&mut self, listeners: &[Option<Arc<ListenerView>>]) {
        self.served.retain(|served| {
            let used = listeners.iter().flatten().filter_map(|listener| listener.tls.as_ref());
            used.into_iter().any(|server| Arc::ptr_eq(server, &served.server))
        });
    }

    /// What `listener` encrypts with.
    pub(super) fn server(&self, listener: &Listener) -> Option<Arc<Server>> {
        self.find(listener).map(|served| served.server.clone())
    }

    fn find(&self, listener: &Listener) -> Option<&Served> {
        self.served.iter().find(|Served { wanted, .. }| {
            wanted.listener == listener.name
                && wanted.protocols == protocols(listener)
                && Some(&wanted.tls) == listener.tls.as_ref()
        })
    }

    /// Looks at the files when it is time; what they have become since the last look.
    fn tick(&mut self, now: Instant) -> Vec<Look> {
        self.looking.tick(now, || self.served.clone(), look)
    }
}

impl Actor {
    /// Takes in files that have changed; whether workers are to be told.
    pub(super) fn look_at_certificates(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for Look { before, stamps, server } in self.certificates.tick(now) {
            let mut all = self.certificates.served.iter_mut();
            let Some(served) = all.find(|served| Arc::ptr_eq(&served.server, &before)) else {
                continue;
            };
            served.stamps = stamps;
            let listener = served.wanted.listener.as_str();
            match server {
                Ok(server) => {
                    tracing::info!(listener, "its certificates have changed and are in force");
                    served.server = server.clone();
                    self.listeners.encrypt_anew(&before, &server);
                    changed = true;
                }
                Err(cause) => tracing::error!(
                    listener,
                    "its certificates have changed and cannot be used: {cause}; going on with \
                     those before"
                ),
            }
        }
        changed
    }
}
