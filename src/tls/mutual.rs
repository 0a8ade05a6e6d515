//! Certificates of clients: whether they are asked for (AWS: "Mutual TLS authentication"), what is
//! checked, and what verification says when it refuses.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::client_certificate::ClientCertificate;
use super::trust_store::TrustStore;
use crate::model::CLIENT_CHAIN_MAX;

/// Whether clients are asked for certificates, and what becomes of those that they show.
#[derive(Debug, Clone, Default)]
pub enum Clients {
    /// They are not asked.
    #[default]
    Unasked,
    /// They may show one, of which nothing is checked but that its key is theirs.
    Unverified,
    /// They must show one that leads to an authority of the store.
    Verified(TrustStore),
}

/// What becomes of the certificates that clients show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    Nothing,
    Whole,
    Verified,
}

impl Asks {
    /// What the client has shown of itself: `chain`, its own certificate first.
    pub(super) fn told(
        self,
        chain: Option<&[CertificateDer<'_>]>,
    ) -> Option<Box<ClientCertificate>> {
        let is_verified = match self {
            Self::Nothing => return None,
            Self::Whole => false,
            Self::Verified => true,
        };
        ClientCertificate::read(chain?, is_verified).map(Box::new)
    }
}

impl super::Error {
    /// What AWS calls the reason why the client's certificate was refused, if that is what went
    /// wrong.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        refusal(&self.0)
    }
}

impl Clients {
    /// What verifies certificates; `None`: nobody is asked for one.
    ///
    /// # Errors
    /// Never with what [`TrustStore::read`] accepts.
    pub(super) fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, super::Error> {
        let algorithms = super::provider().signature_verification_algorithms;
        Ok(match self {
            Self::Unasked => None,
            Self::Unverified => Some(Arc::new(Unverified { algorithms })),
            Self::Verified(store) => {
                let inner = store.verifier();
                let inner = inner.map_err(|error| rustls::Error::General(error.to_string()))?;
                Some(Arc::new(Verified { inner, ignores_expiry: store.ignores_expiry() }))
            }
        })
    }

    pub(super) fn asks(&self) -> Asks {
        match self {
            Self::Unasked => Asks::Nothing,
            Self::Unverified => Asks::Whole,
            Self::Verified(_) => Asks::Verified,
        }
    }
}

/// A chain has more certificates than [`CLIENT_CHAIN_MAX`].
#[derive(Debug)]
struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a client's chain of more than {CLIENT_CHAIN_MAX} certificates")
    }
}

impl std::error::Error for TooDeep {}

fn check_depth(intermediates: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
    match intermediates.len() < CLIENT_CHAIN_MAX {
        true => Ok(()),
        false => Err(CertificateError::Other(OtherError(Arc::new(TooDeep))).into()),
    }
}

/// Takes any certificate whose key the client has.
#[derive(Debug)]
struct Unverified {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Unverified {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        check_depth(intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes certificates that the library believes, and expired ones where that is wanted.
#[derive(Debug)]
struct Verified {
    inner: Arc<dyn ClientCertVerifier>,
    ignores_expiry: bool,
}

impl ClientCertVerifier for Verified {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        check_depth(intermediates)?;
        let verify = |time| self.inner.verify_client_cert(end_entity, intermediates, time);
        match verify(now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) if self.ignores_expiry => {
                let chain = std::iter::once(end_entity).chain(intermediates);
                verify(first_end(chain).map_or(now, |end| end.min(now)))
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The last moment at which none of `chain` had expired.
fn first_end<'c>(chain: impl Iterator<Item = &'c CertificateDer<'c>>) -> Option<UnixTime> {
    let ends = chain.filter_map(|der| {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        u64::try_from(parsed.validity().not_after.timestamp()).ok()
    });
    let first = ends.min()?;
    Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(first)))
}

/// What AWS calls the reason why a client's certificate was refused; `None`: the handshake failed
/// for another reason (AWS: "Connection log entries").
fn refusal(error: &rustls::Error) -> Option<&'static str> {
    use rustls::{Error, InvalidMessage};
    let reason = match error {
        Error::NoCertificatesPresented => return Some("ClientCertRejected"),
        Error::InvalidCertRevocationList(_) => return Some("ClientCertCrlProcessingError"),
        Error::InvalidMessage(InvalidMessage::CertificatePayloadTooLarge) => {
            return Some("ClientCertMaxSizeExceeded");
        }
        Error::InvalidCertificate(reason) => reason,
        _ => return None,
    };
    Some(match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "ClientCertExpired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "ClientCertNotYetValid"
        }
        CertificateError::Revoked => "ClientCertCrlHit",
        CertificateError::UnknownIssuer => "ClientCertUntrusted",
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => "ClientCertCrlProcessingError",
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "ClientCertTypeUnsupported"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "ClientCertPurposeInvalid"
        }
        CertificateError::Other(OtherError(cause)) if cause.is::<TooDeep>() => {
            "ClientCertMaxChainDepthExceeded"
        }
        _ => "ClientCertInvalid",
    })
}
