//! How connections to targets are encrypted: who vouches for them, and what one worker remembers of
//! one target.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificate::Flaw;
use super::session::{Error, Session};
use crate::model::{TargetTls, Verify};

/// Sessions that a worker remembers of a target; the library keeps eight tickets per name.
const SESSIONS_REMEMBERED: usize = 8;

/// Who may vouch for a target.
#[derive(Debug, Clone)]
pub struct Authorities(Arc<RootCertStore>);

/// How connections to the targets of a group are encrypted; the same for all of them, until a file
/// changes.
pub struct Client {
    config: ClientConfig,
    /// What a target must be called; `None`: by its address.
    name: Option<ServerName<'static>>,
    /// What is offered inside an L7 connection, the best first (ALPN).
    protocols: Vec<Vec<u8>>,
}

/// How one worker speaks to one target: it remembers sessions, so that the next connection costs no
/// certificate.
pub struct Dialer {
    client: Arc<Client>,
    name: ServerName<'static>,
    http: Arc<ClientConfig>,
    opaque: Arc<ClientConfig>,
}

/// What is spoken inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inner {
    /// What the group's targets speak to an L7 listener.
    Http,
    /// Whatever the client of an L4 listener speaks: nothing is offered.
    Opaque,
}

impl Authorities {
    /// What to do about a file that is none.
    pub const CURE: &'static str = "the file must hold PEM: `-----BEGIN CERTIFICATE-----`, the \
        certificates of those who may vouch for targets";

    /// Reads the certificates in a PEM file.
    ///
    /// # Errors
    /// [`Flaw::NoCertificate`], [`Flaw::Certificate`].
    pub fn read(pem: &[u8]) -> Result<Self, Flaw> {
        let unreadable = |error: &dyn fmt::Display| Flaw::Certificate(error.to_string());
        let mut roots = RootCertStore::empty();
        for each in CertificateDer::pem_slice_iter(pem) {
            let each = each.map_err(|error| unreadable(&error))?;
            roots.add(each).map_err(|error| unreadable(&error))?;
        }
        Self::some(roots)
    }

    /// Those of the system, of which one that cannot be read is passed over.
    ///
    /// # Errors
    /// [`Flaw::NoCertificate`], when none is left.
    pub fn of_system(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Flaw> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        Self::some(roots)
    }

    fn some(roots: RootCertStore) -> Result<Self, Flaw> {
        match roots.is_empty() {
            true => Err(Flaw::NoCertificate),
            false => Ok(Self(Arc::new(roots))),
        }
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Client {
    /// Encrypts as `settings` say, trusting `authorities` where anybody is verified. `protocols`:
    /// what is offered inside an L7 connection, the best first.
    ///
    /// # Errors
    /// When targets are to be verified and there are no authorities, or the name is none.
    pub fn new(
        settings: &TargetTls,
        authorities: Option<&Authorities>,
        protocols: &[&[u8]],
    ) -> Result<Self, Error> {
        let provider = super::provider();
        let verifier: Arc<dyn ServerCertVerifier> = match (settings.verify, authorities) {
            (Verify::None, _) => Arc::new(Anybody(provider.clone())),
            (Verify::Full, None) => return Err(other("nobody may vouch for targets")),
            (Verify::Full, Some(Authorities(roots))) => {
                let roots = roots.clone();
                let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
                builder.build().map_err(|error| other(&error.to_string()))?
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // Whoever remembers has a memory of its own.
        config.resumption = Resumption::disabled();
        let name = settings.server_name.clone().map(ServerName::try_from).transpose();
        let name = name.map_err(|_| other("the server name is none"))?;
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Self { config, name, protocols })
    }

    /// What the target at `address` must be called: by a name that it is asked for as well, or by
    /// its address, which nobody is asked for (RFC 6066 §3).
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> ServerName<'static> {
        let by_address = || ServerName::IpAddress(address.to_canonical().into());
        self.name.clone().unwrap_or_else(by_address)
    }

    /// For one connection that is not to be remembered: of a probe.
    #[must_use]
    pub fn once(&self, inner: Inner) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        if inner == Inner::Http {
            config.alpn_protocols.clone_from(&self.protocols);
        }
        Arc::new(config)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Dialer {
    /// Speaks to the target at `address`, of which nothing is known yet.
    #[must_use]
    pub fn new(client: &Arc<Client>, address: IpAddr) -> Self {
        let mut opaque = client.config.clone();
        opaque.resumption = Resumption::in_memory_sessions(SESSIONS_REMEMBERED);
        let mut http = opaque.clone();
        http.alpn_protocols.clone_from(&client.protocols);
        let (http, opaque) = (Arc::new(http), Arc::new(opaque));
        Self { client: client.clone(), name: client.name_of(address), http, opaque }
    }

    /// Whether it speaks as `client` says. What was remembered under another trust is no good.
    #[must_use]
    pub fn is_of(&self, client: &Arc<Client>) -> bool {
        Arc::ptr_eq(&self.client, client)
    }

    /// A session that has still to begin.
    ///
    /// # Errors
    /// When there is no random number to be had.
    pub fn session(&self, inner: Inner) -> Result<Session, Error> {
        let config = match inner {
            Inner::Http => &self.http,
            Inner::Opaque => &self.opaque,
        };
        Session::connect(config.clone(), self.name.clone())
    }
}

/// Whether `text` can be the name of a target: a host name or an IP address.
#[must_use]
pub fn is_server_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

fn other(what: &str) -> Error {
    rustls::Error::General(what.to_owned()).into()
}

/// Takes whoever answers for the target (AWS: certificates of targets are not validated). Whoever
/// can change what is on the way could show a certificate of its own, so its signature is not
/// looked at either.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
