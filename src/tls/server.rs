//! What a listener shows: its certificates, by the name that a client asks for, and how it speaks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerConfig,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{SupportedCipherSuite, version};

use super::certificate::Certificate;
use super::mutual::{Asks, Clients};
use super::session::{Error, Session};
use crate::model::Policy;

/// A certificate as status and logs name it.
#[derive(Debug, Clone)]
pub struct Named {
    /// Path of its file.
    pub path: String,
    /// It.
    pub certificate: Certificate,
}

/// How a listener speaks TLS; the same to all its connections, until a file changes.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    certificates: Arc<Choice>,
    asks: Asks,
}

/// What seals session tickets: every worker opens what another has sealed. A key seals for six
/// hours and opens for twice that.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// With keys that nobody has seen.
    ///
    /// # Errors
    /// When there is no random number to be had.
    pub fn new() -> Result<Self, Error> {
        Ok(Self(aws_lc_rs::Ticketer::new()?))
    }
}

impl Server {
    /// Speaks as `policy` says, and shows one of `certificates`, of which the first is the default.
    /// `protocols`: what is spoken inside, the best first (ALPN); none: the client is not told.
    /// Where clients are asked for certificates no session is resumed, as on AWS.
    ///
    /// # Errors
    /// When there is no certificate.
    pub fn new(
        certificates: Vec<Named>,
        policy: Policy,
        protocols: &[&[u8]],
        tickets: Tickets,
        clients: &Clients,
    ) -> Result<Self, Error> {
        let certificates = Arc::new(Choice::new(certificates)?);
        let versions: &[_] = match (policy.tls13, policy.tls12) {
            (true, true) => &[&version::TLS13, &version::TLS12],
            (true, false) => &[&version::TLS13],
            (false, _) => &[&version::TLS12],
        };
        let verifier = clients.verifier()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider(policy)))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(
                verifier.clone().unwrap_or_else(WebPkiClientVerifier::no_client_auth),
            )
            .with_cert_resolver(certificates.clone());
        // The order of the policy decides, as on AWS.
        config.ignore_client_order = true;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // Tickets do it without a table that workers would share.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match verifier {
            None => config.ticketer = tickets.0,
            Some(_) => config.send_tls13_tickets = 0,
        }
        Ok(Self { config: Arc::new(config), certificates, asks: clients.asks() })
    }

    /// A session that waits for its client.
    ///
    /// # Errors
    /// Never with what [`Server::new`] accepts.
    pub fn session(&self) -> Result<Session, Error> {
        Session::accept(self.config.clone(), self.asks)
    }

    /// Its certificates, the default one first.
    #[must_use]
    pub fn certificates(&self) -> &[Named] {
        &self.certificates.named
    }
}

/// The provider, cut down to what `policy` names, in its order.
fn provider(policy: Policy) -> CryptoProvider {
    let cipher_suites: Vec<SupportedCipherSuite> = vec![
        suite::TLS13_AES_128_GCM_SHA256,
        suite::TLS13_AES_256_GCM_SHA384,
        suite::TLS13_CHACHA20_POLY1305_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ];
    let hybrid: &[&'static dyn SupportedKxGroup] = match policy.post_quantum {
        true => &[kx_group::X25519MLKEM768, kx_group::SECP256R1MLKEM768],
        false => &[],
    };
    let curves = [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    let kx_groups = hybrid.iter().copied().chain(curves).collect();
    CryptoProvider { cipher_suites, kx_groups, ..aws_lc_rs::default_provider() }
}

/// The certificates of a listener by name.
struct Choice {
    named: Vec<Named>,
    /// Which are for a name, the best first.
    exact: HashMap<String, Vec<usize>>,
    /// Which are for every name of one more label, the best first.
    wildcard: HashMap<String, Vec<usize>>,
}

impl Choice {
    fn new(named: Vec<Named>) -> Result<Self, Error> {
        if named.is_empty() {
            return Err(Error::from(rustls::Error::General("there is no certificate".into())));
        }
        let (mut exact, mut wildcard) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (index, each) in named.iter().enumerate() {
            for name in each.certificate.names() {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(index);
            }
        }
        for best in exact.values_mut().chain(wildcard.values_mut()) {
            best.sort_by_key(|&index| named[index].certificate.rank());
        }
        Ok(Self { named, exact, wildcard })
    }

    /// The certificate to show to a client that asks for `name` and accepts what `accepts` (AWS:
    /// "SNI"). Where none is for the name, or none of them is accepted: the default one.
    fn choose(&self, name: &str, accepts: impl Fn(&Certificate) -> bool) -> (usize, bool) {
        let name = name.to_ascii_lowercase();
        let parent = name.split_once('.').map_or("", |(_, parent)| parent);
        let exact = self.exact.get(&name).into_iter().flatten();
        let mut all: Vec<usize> =
            exact.chain(self.wildcard.get(parent).into_iter().flatten()).copied().collect();
        all.sort_by_key(|&index| self.named[index].certificate.rank());
        let chosen = all.into_iter().find(|&index| accepts(&self.named[index].certificate));
        chosen.map_or((0, false), |index| (index, true))
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.named.iter().map(|named| &named.path)).finish()
    }
}

/// What a client asked for, and what it was shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Chosen {
    /// The name, where a certificate was found for it; else empty.
    pub(super) server_name: String,
    /// Path of the certificate.
    pub(super) certificate: String,
}

thread_local! {
    /// What was chosen last on this thread. The library calls the resolver from inside the step
    /// that reads a ClientHello, and hands nothing of it back.
    static CHOSEN: RefCell<Option<Chosen>> = const { RefCell::new(None) };
}

/// What the step that has just been taken on this thread has chosen, if it has.
pub(super) fn take_chosen() -> Option<Chosen> {
    CHOSEN.with(RefCell::take)
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let accepts =
            |certificate: &Certificate| certificate.key.key.choose_scheme(schemes).is_some();
        let name = hello.server_name().unwrap_or_default();
        let (index, matched) = self.choose(name, accepts);
        let chosen = self.named.get(index)?;
        let server_name = if matched { name.to_owned() } else { String::new() };
        let certificate = chosen.path.clone();
        CHOSEN.with(|last| last.replace(Some(Chosen { server_name, certificate })));
        Some(chosen.certificate.key.clone())
    }
}
