//! How listeners encrypt, and connections to targets: files, policies, and whether the files are
//! what they should be.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Disk, Lowering, WAIT};
use crate::config::diagnostic::{nearest, quote};
use crate::config::file::{self, Located};
use crate::config::values::{self, Flaw, Read};
use crate::model::{
    CERTIFICATES_MAX, CertificateFiles, EXPIRES_SOON_SECONDS, Policy, TargetGroup, TargetTls, Tls,
    Unserved, Verify,
};
use crate::tls::{Authorities, Certificate, is_server_name};

impl Lowering<'_, '_> {
    pub(super) fn tls(&mut self, located: &Located<file::Tls>) -> Tls {
        let file = &located.value;
        let mut certificates = Vec::new();
        if let Some(list) = &file.certificates {
            for each in &list.value.0 {
                certificates.extend(self.certificate(each));
            }
            if list.value.0.is_empty() && self.findings.is_intact(&list.at) {
                let help = "for example `[{ certificate = \"a.pem\", key = \"a.key\" }]`";
                self.findings.error(&list.at, "there is no certificate").help(help);
            }
            if list.value.0.len() > CERTIFICATES_MAX {
                let problem = format!("more than {CERTIFICATES_MAX} certificates");
                self.findings.error(&list.at, problem).help("spread them over listeners");
            }
        }
        let mut tls = Tls::new(certificates);
        tls.policy = self.read(&file.policy, |name| policy(name)).unwrap_or_default();
        self.duration(&file.handshake_timeout, &WAIT, &mut tls.handshake_timeout);
        let mutual = file.mutual_authentication.as_ref();
        tls.mutual_authentication = mutual.and_then(|mutual| self.mutual_authentication(mutual));
        tls
    }

    fn certificate(
        &mut self,
        located: &Located<file::CertificateFiles>,
    ) -> Option<CertificateFiles> {
        let file = &located.value;
        let certificate = self.read(&file.certificate, |text| values::file_path(text));
        let key = self.read(&file.key, |text| values::file_path(text));
        let ocsp = self.read(&file.ocsp, |text| values::file_path(text));
        let files = CertificateFiles { certificate: certificate?, key: key?, ocsp };
        if let (Disk::Look, Some(certificate), Some(key)) =
            (self.disk, &file.certificate, &file.key)
        {
            let read = self.certificate_files(&files, &certificate.at, &key.at);
            if let (Some(read), Some(path), Some(located)) = (read, &files.ocsp, &file.ocsp) {
                self.staple(read, path, &located.at);
            }
        }
        Some(files)
    }

    /// Warns of what is not shown beside its certificate.
    fn staple(&mut self, mut certificate: Certificate, path: &Path, at: &Range<usize>) {
        let Some(response) = self.bytes_of(path, at) else { return };
        if let Err(flaw) = certificate.staple(response, now()) {
            let problem =
                format!("{}: {flaw}, so it is not shown", quote(&path.display().to_string()));
            self.findings.warning(at, problem).help(flaw.cure());
        }
    }

    /// How targets are verified.
    pub(super) fn target_tls(&mut self, file: &file::TargetGroup, group: &mut TargetGroup) {
        let Some(Located { at, value: tls }) = &file.tls else {
            let at = file.protocol.as_ref().map(|key| &key.at);
            let at = at.or_else(|| file.health_check.as_ref().map(|key| &key.at));
            if let (true, Some(at)) = (group.needs_tls(), at) {
                self.authorities(&group.tls, at);
            }
            return;
        };
        let verify = tls.verify.as_ref().map(|verify| verify.value);
        group.tls.verify = match verify {
            Some(file::Verify::None) => Verify::None,
            Some(file::Verify::Full) | None => Verify::Full,
        };
        group.tls.ca = self.read(&tls.ca, |text| values::file_path(text));
        group.tls.server_name = self.read(&tls.server_name, |text| server_name(text));
        if !group.needs_tls() {
            // Whoever writes this counts on it: plain bytes would be a bad surprise.
            let help = "set `protocol` to \"HTTPS\" or \"TLS\", or remove `tls`";
            let problem = "`tls` without anything that is encrypted";
            self.findings.error(at, problem).help(help);
        } else if group.tls.verify == Verify::None {
            self.without_effect(
                "targets that are not verified",
                "remove it, or set `verify` to \"full\"",
                [tls.ca.as_ref().map(|key| &key.at)],
            );
        } else {
            let at = tls.ca.as_ref().map_or(at, |key| &key.at);
            self.authorities(&group.tls, at);
        }
    }

    /// Reports what is wrong with those who vouch for targets.
    fn authorities(&mut self, tls: &TargetTls, at: &Range<usize>) {
        if self.disk == Disk::Leave || !self.looked_for.insert(tls.ca.clone()) {
            return;
        }
        let (read, shown) = match &tls.ca {
            Some(path) => {
                let Some(pem) = self.bytes_of(path, at) else { return };
                (Authorities::read(&pem), quote(&path.display().to_string()))
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                (Authorities::of_system(found.certs), "the list of whom the system trusts".into())
            }
        };
        if let Err(flaw) = read {
            let help = match tls.ca {
                Some(_) => Authorities::CURE,
                None => {
                    "install the package ca-certificates, or name who vouches for the targets: \
                     `tls = { ca = \"/etc/ringway/targets-ca.pem\" }`"
                }
            };
            self.findings.error(at, format!("{shown}: {flaw}")).help(help);
        }
    }

    /// Reports what is wrong with the files themselves.
    fn certificate_files(
        &mut self,
        files: &CertificateFiles,
        certificate_at: &Range<usize>,
        key_at: &Range<usize>,
    ) -> Option<Certificate> {
        let chain = self.bytes_of(&files.certificate, certificate_at);
        let key = self.bytes_of(&files.key, key_at);
        let (chain, key) = (chain?, key?);
        match Certificate::read(&chain, &key) {
            Ok(certificate) => {
                self.dates(&certificate, &files.certificate, certificate_at);
                Some(certificate)
            }
            Err(flaw) => {
                let (path, at) = match flaw.is_of_key() {
                    true => (&files.key, key_at),
                    false => (&files.certificate, certificate_at),
                };
                let problem = format!("{}: {flaw}", quote(&path.display().to_string()));
                self.findings.error(at, problem).help(flaw.cure());
                None
            }
        }
    }

    pub(super) fn bytes_of(&mut self, path: &Path, at: &Range<usize>) -> Option<Vec<u8>> {
        match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let shown = quote(&path.display().to_string());
                let help = match error.kind() {
                    io::ErrorKind::NotFound => "give the path of a file that exists",
                    io::ErrorKind::PermissionDenied => {
                        "let the user that ringway runs as read the file"
                    }
                    _ => "give the path of a PEM file",
                };
                let problem = format!("{shown} cannot be read: {error}");
                self.findings.error(at, problem).help(help);
                None
            }
        }
    }

    fn dates(&mut self, certificate: &Certificate, path: &Path, at: &Range<usize>) {
        let now = now();
        let shown = quote(&path.display().to_string());
        if now > certificate.not_after() {
            let days = (now - certificate.not_after()) / (24 * 3600);
            let problem = format!("the certificate in {shown} has expired, {days} days ago");
            self.findings.warning(at, problem).help("renew it: clients refuse it");
        } else if certificate.not_after() - now < EXPIRES_SOON_SECONDS {
            let days = (certificate.not_after() - now) / (24 * 3600);
            let problem = format!("the certificate in {shown} expires in {days} days");
            let help = "renew it; ringway takes the new file within two seconds of its change";
            self.findings.warning(at, problem).help(help);
        } else if now < certificate.not_before() {
            let problem = format!("the certificate in {shown} is not valid yet");
            self.findings.warning(at, problem).help("look at its dates, and at this host's clock");
        }
    }
}

/// Reads the name of a target.
fn server_name(text: &str) -> Read<String> {
    match is_server_name(text) {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(
            format!("{} is no name of a server", quote(text)),
            "a host name or an IP address, without a port: for example \"blog.internal\"",
        )),
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// Reads the name of a security policy.
fn policy(name: &str) -> Read<Policy> {
    Policy::named(name).map_err(|unserved| match unserved {
        Unserved::Needs { what, nearest } => Flaw::new(
            format!("the policy {} needs {what}, which is not spoken here", quote(name)),
            format!("the nearest that is safe is \"{nearest}\""),
        ),
        Unserved::Unknown => {
            let names = Policy::ALL.map(|policy| policy.name);
            let [usual, ..] = names;
            let meant = nearest(name, names).unwrap_or(usual);
            Flaw::new(
                format!("{} is no security policy", quote(name)),
                format!("for example \"{meant}\""),
            )
        }
    })
}
