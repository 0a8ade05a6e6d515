//! Who vouches for targets: the files with their certificates, and what follows from them for how
//! connections and probes to targets are encrypted.
//!
//! Files are read when a group needs them, and looked at once a second from then on. What cannot be
//! used is told on the log, and the group goes on with what it has. Those whom the system trusts
//! are read when the first group needs them. Reading may wait for the disk, so it is done on
//! another thread.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::model::{Model, TargetGroup, TargetTls, Verify};
use crate::tls::Authorities;
pub use crate::tls::Client;

use super::actor::Actor;
use super::certificates::{Stamp, stamp};
use super::looking::Looking;
use super::start::StartError;

/// What targets speak to an L7 listener inside TLS, the best first (ALPN).
fn protocols(group: &TargetGroup) -> &'static [&'static [u8]] {
    match group.protocol_version.is_http2() {
        true => &[b"h2"],
        false => &[b"http/1.1"],
    }
}

/// Who vouches for targets.
#[derive(Debug, Default)]
pub(super) struct Trust {
    /// By file; `None`: those whom the system trusts.
    files: HashMap<Option<PathBuf>, File>,
    clients: Vec<Known>,
    looking: Looking<Look>,
}

#[derive(Debug)]
struct File {
    authorities: Authorities,
    /// What the file was like when it was last read, well or not.
    stamp: Stamp,
}

/// How targets are spoken to; groups that ask for the same share it.
#[derive(Debug)]
struct Known {
    settings: TargetTls,
    protocols: &'static [&'static [u8]],
    client: Arc<Client>,
}

/// A file that a group asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    group: String,
    ca: Option<PathBuf>,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Opened(Option<PathBuf>, File);

/// A file that is not what it was.
#[derive(Debug)]
struct Look {
    path: PathBuf,
    stamp: Stamp,
    authorities: Result<Authorities, String>,
}

/// Reads what is `wanted`. May wait for the disk.
///
/// # Errors
/// [`StartError::Authorities`].
pub(super) fn open(wanted: Vec<Wanted>) -> Result<Vec<Opened>, StartError> {
    let open = |Wanted { group, ca }| {
        // Before the file is read: what changes meanwhile is noticed at the next look.
        let stamp = ca.as_deref().and_then(stamp);
        let authorities = read(ca.as_deref());
        let authorities = authorities.map_err(|cause| StartError::Authorities { group, cause })?;
        Ok(Opened(ca, File { authorities, stamp }))
    };
    wanted.into_iter().map(open).collect()
}

fn read(ca: Option<&Path>) -> Result<Authorities, String> {
    let Some(path) = ca else { return system() };
    let shown = path.display();
    let pem = fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    Authorities::read(&pem).map_err(|flaw| format!("{shown}: {flaw}; {}", Authorities::CURE))
}

/// Those whom the system trusts.
fn system() -> Result<Authorities, String> {
    let found = rustls_native_certs::load_native_certs();
    let errors: String = found.errors.iter().map(|error| format!(" ({error})")).collect();
    Authorities::of_system(found.certs).map_err(|_| {
        format!(
            "the system trusts nobody{errors}; install the package ca-certificates, or name who \
             vouches for the targets with `ca`"
        )
    })
}

/// How the targets of `group` are spoken to, for whoever asks apart from the process that serves.
///
/// # Errors
/// What is wrong, and the cure.
pub fn client_of(group: &TargetGroup) -> Result<Option<Arc<Client>>, String> {
    if !group.needs_tls() {
        return Ok(None);
    }
    let authorities = match group.tls.verify {
        Verify::Full => Some(read(group.tls.ca.as_deref())?),
        Verify::None => None,
    };
    let client = Client::new(&group.tls, authorities.as_ref(), protocols(group));
    client.map(|client| Some(Arc::new(client))).map_err(|error| error.to_string())
}

impl Trust {
    /// What `model` asks for and is not there yet: to be [opened](open).
    pub(super) fn missing(&self, model: &Model) -> Vec<Wanted> {
        let mut missing: Vec<Wanted> = Vec::new();
        for group in model.target_groups.iter().filter(|group| asks(group)) {
            let ca = &group.tls.ca;
            let known = self.files.contains_key(ca) || missing.iter().any(|it| it.ca == *ca);
            if !known {
                missing.push(Wanted { group: group.name.clone(), ca: ca.clone() });
            }
        }
        missing
    }

    /// Takes in what was opened; it stays until [`Trust::forget_unused`].
    pub(super) fn add(&mut self, opened: Vec<Opened>) {
        self.files.extend(opened.into_iter().map(|Opened(path, file)| (path, file)));
    }

    /// Lets go of what no group of `model` uses.
    pub(super) fn forget_unused(&mut self, model: &Model) {
        let groups = &model.target_groups;
        self.files.retain(|ca, _| groups.iter().any(|group| asks(group) && group.tls.ca == *ca));
        // Whoever shares it holds it.
        self.clients.retain(|known| Arc::strong_count(&known.client) > 1);
    }

    /// How the targets of `group` are spoken to, where anything is encrypted.
    pub(super) fn client(&mut self, group: &TargetGroup) -> Option<Arc<Client>> {
        if !group.needs_tls() {
            return None;
        }
        let protocols = protocols(group);
        let is_it = |known: &&Known| known.settings == group.tls && known.protocols == protocols;
        if let Some(known) = self.clients.iter().find(is_it) {
            return Some(known.client.clone());
        }
        let authorities = self.files.get(&group.tls.ca).map(|file| &file.authorities);
        match Client::new(&group.tls, authorities, protocols) {
            Ok(client) => {
                let (settings, client) = (group.tls.clone(), Arc::new(client));
                self.clients.push(Known { settings, protocols, client: client.clone() });
                Some(client)
            }
            Err(error) => {
                // Its connections fail and say so.
                tracing::error!(target_group = %group.name, %error, "nothing can be encrypted");
                None
            }
        }
    }

    /// Looks at the files when it is time; what they have become since the last look.
    fn tick(&mut self, now: Instant) -> Vec<Look> {
        let named = |(path, file): (&Option<PathBuf>, &File)| Some((path.clone()?, file.stamp));
        let files = || self.files.iter().filter_map(named).collect();
        self.looking.tick(now, files, look)
    }
}

/// Whether a group needs somebody who vouches for its targets.
fn asks(group: &TargetGroup) -> bool {
    group.needs_tls() && group.tls.verify == Verify::Full
}

/// Reads again what has changed.
fn look(files: Vec<(PathBuf, Stamp)>) -> Vec<Look> {
    let looks = files.into_iter().filter_map(|(path, before)| {
        let stamp = stamp(&path);
        let authorities = (stamp != before).then(|| read(Some(&path)))?;
        Some(Look { path, stamp, authorities })
    });
    looks.collect()
}

impl Actor {
    /// Takes in files that have changed; whether workers and the prober are to be told.
    pub(super) fn look_at_trust(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for Look { path, stamp, authorities } in self.trust.tick(now) {
            let ca = path.display();
            let key = Some(path.clone());
            let Some(file) = self.trust.files.get_mut(&key) else { continue };
            file.stamp = stamp;
            match authorities {
                Ok(authorities) => {
                    let count = authorities.count();
                    tracing::info!(%ca, count, "the file has changed, and who is in it vouches \
                        for targets");
                    file.authorities = authorities;
                    self.trust.clients.retain(|known| known.settings.ca != key);
                    changed = true;
                }
                Err(cause) => tracing::error!(
                    "who vouches for targets has changed and cannot be used: {cause}; going on \
                     with those before"
                ),
            }
        }
        if changed {
            self.registry.encrypt(&mut self.trust, now);
        }
        changed
    }
}
