//! Whose certificates clients may show: authorities, and what they have revoked.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientCertVerifierBuilder, VerifierBuilderError, WebPkiClientVerifier};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::model::{
    AUTHORITIES_MAX, AUTHORITY_BYTES_MAX, AUTHORITY_NAMES_BYTES_MAX, REVOCATION_LIST_BYTES_MAX,
};

/// Authorities that are believed, and what they have revoked.
#[derive(Clone)]
pub struct TrustStore {
    roots: Arc<RootCertStore>,
    revocations: Vec<CertificateRevocationListDer<'static>>,
    names_bytes: usize,
    ignores_expiry: bool,
    advertises_names: bool,
}

impl fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustStore({} and {})", self.roots.len(), self.revocations.len())
    }
}

/// Why a file is no trust store, or no list of revocations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustFlaw {
    /// No certificate in it.
    Empty,
    /// A certificate cannot be read: its number, and why.
    Certificate(usize, String),
    /// A certificate is not that of an authority.
    NotAuthority(usize),
    /// A certificate is too large.
    TooLarge(usize),
    /// Too many certificates.
    TooMany,
    /// The names of the authorities are too long to be told to clients.
    NamesTooLong,
    /// No list of revocations, and why.
    Revocations(String),
    /// A list of revocations is too large.
    RevocationsTooLarge,
}

impl TrustFlaw {
    /// What to do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Empty | Self::Certificate(..) => {
                "the file must hold certificates as PEM: `-----BEGIN CERTIFICATE-----`"
            }
            Self::NotAuthority(_) => {
                "name the certificate of the authority that issues those of clients, which has \
                 `CA:TRUE` in its basic constraints, not one of a client"
            }
            Self::TooLarge(_) | Self::TooMany => {
                "leave out authorities that no client's certificate leads to"
            }
            Self::NamesTooLong => "set `advertise_trust_store_ca_names = false`",
            Self::Revocations(_) => {
                "the file must hold a version 2 list, as PEM or DER; `openssl crl -in FILE -noout \
                 -text` shows what it holds"
            }
            Self::RevocationsTooLarge => "leave out what has expired anyway",
        }
    }
}

impl fmt::Display for TrustFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no certificate in it"),
            Self::Certificate(at, cause) => {
                write!(f, "its certificate number {at} cannot be used: {cause}")
            }
            Self::NotAuthority(at) => {
                write!(f, "its certificate number {at} is not that of an authority")
            }
            Self::TooLarge(at) => {
                write!(f, "its certificate number {at} has more than {AUTHORITY_BYTES_MAX} bytes")
            }
            Self::TooMany => write!(f, "it holds more than {AUTHORITIES_MAX} certificates"),
            Self::NamesTooLong => write!(
                f,
                "the names of its authorities have more than {AUTHORITY_NAMES_BYTES_MAX} bytes, \
                 too many to be told to clients"
            ),
            Self::Revocations(cause) => write!(f, "it is no list of revocations: {cause}"),
            Self::RevocationsTooLarge => {
                write!(f, "it has more than {REVOCATION_LIST_BYTES_MAX} bytes")
            }
        }
    }
}

impl std::error::Error for TrustFlaw {}

impl TrustStore {
    /// Reads the authorities from the bytes of a PEM file.
    ///
    /// # Errors
    /// [`TrustFlaw`]. Dates are not checked: authorities are believed for as long as they are in
    /// the store.
    pub fn read(pem: &[u8]) -> Result<Self, TrustFlaw> {
        let mut roots = RootCertStore::empty();
        let mut names_bytes = 0;
        for (at, der) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
            let unreadable =
                |error: &dyn fmt::Display| TrustFlaw::Certificate(at, error.to_string());
            let der = der.map_err(|error| unreadable(&error))?;
            if at > AUTHORITIES_MAX {
                return Err(TrustFlaw::TooMany);
            }
            if der.len() > AUTHORITY_BYTES_MAX {
                return Err(TrustFlaw::TooLarge(at));
            }
            let (_, parsed) =
                X509Certificate::from_der(&der).map_err(|error| unreadable(&error))?;
            if !parsed.is_ca() {
                return Err(TrustFlaw::NotAuthority(at));
            }
            // Each is told behind its length.
            names_bytes += parsed.subject().as_raw().len() + 2;
            roots.add(der.clone()).map_err(|error| unreadable(&error))?;
        }
        match roots.is_empty() {
            true => Err(TrustFlaw::Empty),
            false => Ok(Self {
                roots: Arc::new(roots),
                revocations: Vec::new(),
                names_bytes,
                ignores_expiry: false,
                advertises_names: false,
            }),
        }
    }

    /// Adds what the bytes of a file revoke: lists as PEM, or one as DER. Returns when the first of
    /// them should have been replaced by its next, in seconds since 1970.
    ///
    /// # Errors
    /// [`TrustFlaw`]. Such dates are not checked.
    pub fn revoke(&mut self, bytes: &[u8]) -> Result<Option<i64>, TrustFlaw> {
        let flaw = |error: &dyn fmt::Display| TrustFlaw::Revocations(error.to_string());
        if bytes.len() > REVOCATION_LIST_BYTES_MAX {
            return Err(TrustFlaw::RevocationsTooLarge);
        }
        let lists: Vec<_> = match bytes.first() {
            // A sequence, which no PEM begins with.
            Some(0x30) => vec![CertificateRevocationListDer::from(bytes.to_vec())],
            _ => CertificateRevocationListDer::pem_slice_iter(bytes)
                .collect::<Result<_, _>>()
                .map_err(|error| flaw(&error))?,
        };
        if lists.is_empty() {
            return Err(flaw(&"there is none in it"));
        }
        let mut next: Option<i64> = None;
        for list in &lists {
            let parsed = CertificateRevocationList::from_der(list).map_err(|error| flaw(&error))?;
            let update = parsed.1.next_update().map(|time| time.timestamp());
            next = next.into_iter().chain(update).min();
        }
        self.builder().with_crls(lists.clone()).build().map_err(|error| flaw(&error))?;
        self.revocations.extend(lists);
        Ok(next)
    }

    /// Believes certificates of clients beyond their end as well.
    pub fn ignore_expiry(&mut self) {
        self.ignores_expiry = true;
    }

    /// Tells clients the names of the authorities, so that they can choose a certificate.
    ///
    /// # Errors
    /// [`TrustFlaw::NamesTooLong`].
    pub fn advertise_names(&mut self) -> Result<(), TrustFlaw> {
        if self.names_bytes > AUTHORITY_NAMES_BYTES_MAX {
            return Err(TrustFlaw::NamesTooLong);
        }
        self.advertises_names = true;
        Ok(())
    }

    pub(super) fn ignores_expiry(&self) -> bool {
        self.ignores_expiry
    }

    /// What verifies certificates of clients.
    pub(super) fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        self.builder().with_crls(self.revocations.clone()).build()
    }

    fn builder(&self) -> ClientCertVerifierBuilder {
        let builder =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), super::provider());
        // An authority without a list has revoked nothing.
        let builder = builder.allow_unknown_revocation_status();
        match self.advertises_names {
            true => builder,
            false => builder.clear_root_hint_subjects(),
        }
    }
}
