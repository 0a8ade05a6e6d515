//! Certificates of clients: what is asked for, and whether the files are what they should be.

use std::path::Path;

use super::tls::now;
use super::{Disk, Lowering};
use crate::config::diagnostic::quote;
use crate::config::file::{self, Located};
use crate::config::values;
use crate::model::{MutualAuthentication, REVOCATION_LISTS_MAX, TrustStore};
use crate::tls::{self, TrustFlaw};

impl Lowering<'_, '_> {
    pub(super) fn mutual_authentication(
        &mut self,
        located: &Located<file::MutualAuthentication>,
    ) -> Option<MutualAuthentication> {
        let file = &located.value;
        let mode = file.mode.as_ref()?.value;
        if mode != file::MutualMode::Verify {
            fn at<T>(key: &file::Key<T>) -> Option<&std::ops::Range<usize>> {
                key.as_ref().map(|key| &key.at)
            }
            let help = "set `mode = \"verify\"`, or remove the key";
            let keys = [
                at(&file.trust_store),
                at(&file.revocations),
                at(&file.ignore_client_certificate_expiry),
                at(&file.advertise_trust_store_ca_names),
            ];
            self.without_effect("a listener that verifies no client", help, keys);
        }
        match mode {
            file::MutualMode::Off => None,
            file::MutualMode::Passthrough => Some(MutualAuthentication::Unverified),
            file::MutualMode::Verify => self.verify(located).map(MutualAuthentication::Verify),
        }
    }

    fn verify(&mut self, located: &Located<file::MutualAuthentication>) -> Option<TrustStore> {
        let file = &located.value;
        if file.trust_store.is_none() && self.findings.is_intact(&located.at) {
            let problem = "`mode = \"verify\"` needs `trust_store`";
            let help = "name a PEM file with the authorities whose certificates clients may show";
            self.findings.error(&located.at, problem).help(help);
        }
        let authorities = self.read(&file.trust_store, |text| values::file_path(text));
        let mut revocations = Vec::new();
        for path in file.revocations.iter().flat_map(|list| &list.value.0) {
            revocations.extend(self.read_value(path, |text| values::file_path(text)));
        }
        if let Some(list) = &file.revocations
            && list.value.0.len() > REVOCATION_LISTS_MAX
        {
            let problem = format!("more than {REVOCATION_LISTS_MAX} lists of revocations");
            self.findings.error(&list.at, problem).help("a PEM file may hold several; join them");
        }
        let is_set = |key: &file::Key<bool>| key.as_ref().is_some_and(|key| key.value);
        let store = TrustStore {
            authorities: authorities?,
            revocations,
            ignores_expiry: is_set(&file.ignore_client_certificate_expiry),
            advertises_names: is_set(&file.advertise_trust_store_ca_names),
        };
        if self.disk == Disk::Look {
            self.trust_files(file, &store);
        }
        Some(store)
    }

    /// Reports what is wrong with the files themselves.
    fn trust_files(&mut self, file: &file::MutualAuthentication, store: &TrustStore) -> Option<()> {
        let at = &file.trust_store.as_ref()?.at;
        let bytes = self.bytes_of(&store.authorities, at)?;
        let read = tls::TrustStore::read(&bytes);
        let mut read = self.or_flaw(read, &store.authorities, at)?;
        if store.advertises_names {
            let named = read.advertise_names();
            self.or_flaw(named, &store.authorities, at);
        }
        for (path, located) in store.revocations.iter().zip(&file.revocations.as_ref()?.value.0) {
            let Some(bytes) = self.bytes_of(path, &located.at) else { continue };
            let revoked = read.revoke(&bytes);
            if let Some(Some(next)) = self.or_flaw(revoked, path, &located.at)
                && next < now()
            {
                let shown = quote(&path.display().to_string());
                let problem = format!("the list of revocations in {shown} is overdue");
                let help = "fetch the next one; until then this one is used";
                self.findings.warning(&located.at, problem).help(help);
            }
        }
        Some(())
    }

    fn or_flaw<T>(
        &mut self,
        result: Result<T, TrustFlaw>,
        path: &Path,
        at: &std::ops::Range<usize>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(flaw) => {
                let problem = format!("{}: {flaw}", quote(&path.display().to_string()));
                self.findings.error(at, problem).help(flaw.cure());
                None
            }
        }
    }
}
