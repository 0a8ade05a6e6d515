//! A certificate with its key: what its files say, and how good it is beside others.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::staple::{self, StapleFlaw};

/// A certificate with those that lead to its root, and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: i64,
    not_after: i64,
    is_ecdsa: bool,
    bits: usize,
    serial_number: Vec<u8>,
    staple_until: Option<i64>,
}

/// Why two files are no certificate with its key.
#[derive(Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No certificate in its file.
    NoCertificate,
    /// A certificate cannot be read.
    Certificate(String),
    /// No private key in its file.
    NoKey,
    /// The key cannot be read.
    Key(String),
    /// The key is that of another certificate.
    Mismatch,
}

impl Flaw {
    /// Whether it is about the file of the key.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        matches!(self, Self::NoKey | Self::Key(_) | Self::Mismatch)
    }

    /// What to do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::NoCertificate => {
                "the file must hold PEM: `-----BEGIN CERTIFICATE-----`, the server's own first, \
                 then those between it and the root"
            }
            Self::Certificate(_) => "`openssl x509 -in FILE -noout -text` shows what it holds",
            Self::NoKey => {
                "the file must hold PEM: `-----BEGIN PRIVATE KEY-----`, not encrypted; `openssl \
                 pkey -in FILE -out NEW` removes a passphrase"
            }
            Self::Key(_) => "use a key that is RSA of 2048 bits or more, or ECDSA on P-256, P-384",
            Self::Mismatch => "name the key that the certificate was made with",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("there is no certificate in it"),
            Self::Certificate(cause) => write!(f, "its certificate cannot be used: {cause}"),
            Self::NoKey => f.write_str("there is no private key in it"),
            Self::Key(cause) => write!(f, "its key cannot be used: {cause}"),
            Self::Mismatch => f.write_str("its key is that of another certificate"),
        }
    }
}

impl std::error::Error for Flaw {}

impl Certificate {
    /// Reads a certificate from the bytes of its two PEM files.
    ///
    /// # Errors
    /// [`Flaw`]. Names and dates are not checked: a certificate may be shown all the same.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, Flaw> {
        let unreadable = |error: &dyn fmt::Display| Flaw::Certificate(error.to_string());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| unreadable(&error))?;
        let leaf = chain.first().ok_or(Flaw::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| unreadable(&error))?;
        let (names, validity) = (names(&parsed), parsed.validity());
        let (not_before, not_after) =
            (validity.not_before.timestamp(), validity.not_after.timestamp());
        let (is_ecdsa, bits) = match parsed.public_key().parsed() {
            Ok(PublicKey::EC(point)) => (true, point.key_size()),
            Ok(PublicKey::RSA(key)) => (false, key.key_size()),
            _ => (false, 0),
        };
        let serial_number = parsed.raw_serial().to_vec();
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Flaw::NoKey)?;
        let key =
            CertifiedKey::from_der(chain, key, &super::provider()).map_err(
                |error| match error {
                    rustls::Error::InconsistentKeys(_) => Flaw::Mismatch,
                    rustls::Error::InvalidCertificate(_) => unreadable(&error),
                    error => Flaw::Key(error.to_string()),
                },
            )?;
        Ok(Self {
            key: Arc::new(key),
            names,
            not_before,
            not_after,
            is_ecdsa,
            bits,
            serial_number,
            staple_until: None,
        })
    }

    /// Shows `response`, what the authority says of it, to clients that ask for it (OCSP stapling).
    /// `now`: seconds since 1970.
    ///
    /// # Errors
    /// [`StapleFlaw`]; then it shows none.
    pub fn staple(&mut self, response: Vec<u8>, now: i64) -> Result<(), StapleFlaw> {
        let until = staple::check(&response, &self.serial_number, now)?;
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = Some(response);
        (self.key, self.staple_until) = (Arc::new(key), until);
        Ok(())
    }

    /// Second since 1970 from which on what it [shows](Self::staple) beside it is of no use.
    #[must_use]
    pub fn staple_until(&self) -> Option<i64> {
        self.staple_until
    }

    /// Names that it is for, in lower case; a wildcard stands for one label.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// First second at which it is good, since 1970.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Last second at which it is good, since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Orders certificates for the same name, the best first (AWS: "SNI": public key algorithm,
    /// hash, key length, validity; every hash that is served here is of the SHA family).
    pub(super) fn rank(&self) -> impl Ord + use<> {
        (Reverse(self.is_ecdsa), Reverse(self.bits), Reverse(self.not_after))
    }
}

/// The subject's alternative names; its common name where there are none.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = alternative
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name();
        names.extend(common.filter_map(|name| Some(name.as_str().ok()?.to_ascii_lowercase())));
    }
    names
}
