//! Certificates, the choice among them, and whole sessions in memory.

use std::io::{Read, Write};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::model::Policy;

/// An authority, and certificates of it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// PEM of a certificate for `names`, and of its key.
    fn issue(&self, names: &[&str], key: &KeyPair, year: i32) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn certificate(&self, path: &str, names: &[&str], key: &KeyPair, year: i32) -> Named {
        let (chain, key) = self.issue(names, key, year);
        let certificate = Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap();
        Named { path: path.into(), certificate }
    }

    fn client(&self) -> ClientConfig {
        self.client_of(rustls::DEFAULT_VERSIONS)
    }

    fn client_of(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap()
}

fn server(certificates: Vec<Named>) -> Server {
    let tickets = Tickets::new().unwrap();
    Server::new(certificates, Policy::default(), &[b"http/1.1"], tickets, &Clients::Unasked)
        .unwrap()
}

/// Both ends, and what is on its way between them.
struct Pair {
    client: ClientConnection,
    session: Session,
    /// What the session has not used up.
    held: Vec<u8>,
    opened: Vec<u8>,
    /// What the client has opened.
    said: Vec<u8>,
    /// How many bytes reach the session at once.
    piece: usize,
    ended: bool,
    /// What a session that has failed wanted to send.
    unsent: Vec<u8>,
}

impl Pair {
    fn new(server: &Server, config: &ClientConfig, name: &str, piece: usize) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let client = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
        let session = server.session().unwrap();
        Self {
            client,
            session,
            held: Vec::new(),
            opened: Vec::new(),
            said: Vec::new(),
            piece,
            ended: false,
            unsent: Vec::new(),
        }
    }

    /// Moves bytes until nothing moves.
    fn turn(&mut self) -> Result<(), Error> {
        loop {
            let mut sent = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut sent).unwrap();
            }
            let quiet = sent.is_empty();
            let mut out = Vec::new();
            for piece in sent.chunks(self.piece) {
                self.held.extend_from_slice(piece);
                if let Err(error) = self.step(&mut out) {
                    self.unsent = out;
                    return Err(error);
                }
            }
            if quiet && out.is_empty() {
                return Ok(());
            }
            self.deliver(&out);
        }
    }

    fn step(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            let Stepped { discard, result } =
                self.session.step(&mut self.held, out, |bytes| self.opened.extend(bytes));
            self.held.drain(..discard);
            match result? {
                Step::Went => {}
                Step::NeedsMore => return Ok(()),
                Step::Ended => {
                    self.ended = true;
                    return Ok(());
                }
            }
        }
    }

    fn deliver(&mut self, mut out: &[u8]) {
        while !out.is_empty() {
            self.client.read_tls(&mut out).unwrap();
            let read = self.client.process_new_packets().unwrap().plaintext_bytes_to_read();
            let start = self.said.len();
            self.said.resize(start + read, 0);
            self.client.reader().read_exact(&mut self.said[start..]).unwrap();
        }
    }
}

#[test]
fn bytes_pass_both_ways_however_they_are_cut() {
    let authority = Authority::new();
    let server = server(vec![authority.certificate(
        "a.pem",
        &["a.example"],
        &KeyPair::generate().unwrap(),
        2099,
    )]);
    for piece in [1, 5, 333, 100_000] {
        let mut pair = Pair::new(&server, &authority.client(), "a.example", piece);
        pair.turn().unwrap();
        assert!(!pair.session.is_handshaking());
        let negotiated = pair.session.negotiated();
        assert_eq!((negotiated.protocol, negotiated.cipher), ("TLSv1.3", "TLS_AES_128_GCM_SHA256"));
        assert_eq!((negotiated.server_name.as_str(), negotiated.is_resumed), ("a.example", false));
        pair.client.writer().write_all(b"question").unwrap();
        pair.turn().unwrap();
        assert_eq!(pair.opened, b"question");
        let answer: Vec<u8> = (0..40_000).map(|n: u32| ((n * 7) >> 3) as u8).collect();
        let mut out = Vec::new();
        pair.session.seal(&mut pair.held, &answer, 4096, &mut out, |_| {}).unwrap();
        pair.deliver(&out);
        assert!(pair.said == answer);
        pair.client.send_close_notify();
        pair.turn().unwrap();
        assert!(pair.ended);
    }
}

/// In TLS 1.3 the alert follows a hello that has not been sent yet, and cannot be read without it.
#[test]
fn client_that_speaks_nothing_that_is_spoken_here_is_told() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let server = server(vec![authority.certificate("a.pem", &["a.example"], &key, 2099)]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = authority.client_of(&[version]);
        config.alpn_protocols = vec![b"spdy/3".to_vec()];
        let mut pair = Pair::new(&server, &config, "a.example", usize::MAX);
        assert!(pair.turn().is_err(), "{version:?}");
        let mut out = std::mem::take(&mut pair.unsent);
        pair.session.alert(&mut out);
        pair.client.read_tls(&mut out.as_slice()).unwrap();
        let error = pair.client.process_new_packets().unwrap_err();
        let told = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
        assert_eq!(error, told, "{version:?}");
        let length = out.len();
        pair.session.alert(&mut out);
        assert_eq!(out.len(), length, "once is enough");
    }
}

#[test]
fn what_came_is_kept_while_something_is_sealed() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let server = server(vec![authority.certificate("a.pem", &["a.example"], &key, 2099)]);
    let mut pair = Pair::new(&server, &authority.client(), "a.example", 100_000);
    pair.turn().unwrap();
    pair.client.writer().write_all(b"first").unwrap();
    let mut sent = Vec::new();
    pair.client.write_tls(&mut sent).unwrap();
    pair.client.writer().write_all(b"second").unwrap();
    pair.client.write_tls(&mut sent).unwrap();
    let (mut out, mut opened) = (Vec::new(), Vec::new());
    let cut = sent.len() - 1;
    let used = pair
        .session
        .seal(&mut sent[..cut], b"answer", 4096, &mut out, |bytes| opened.extend_from_slice(bytes))
        .unwrap();
    assert_eq!(opened, b"first", "the second is not whole yet");
    pair.held = sent.split_off(used);
    pair.step(&mut Vec::new()).unwrap();
    assert_eq!(pair.opened, b"second");
    pair.deliver(&out);
    assert_eq!(pair.said, b"answer");
}

#[test]
fn ticket_of_one_server_is_good_at_another_with_the_same_keys() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let tickets = Tickets::new().unwrap();
    let make = |tickets: &Tickets| {
        let named = authority.certificate("a.pem", &["a.example"], &key, 2099);
        Server::new(vec![named], Policy::default(), &[], tickets.clone(), &Clients::Unasked)
            .unwrap()
    };
    let config = authority.client();
    let resumed = |server: &Server| {
        let mut pair = Pair::new(server, &config, "a.example", 100_000);
        pair.turn().unwrap();
        pair.session.negotiated()
    };
    assert!(!resumed(&make(&tickets)).is_resumed);
    let again = resumed(&make(&tickets));
    assert!(again.is_resumed);
    assert_eq!(again.certificate, "session-reused");
    assert!(!resumed(&make(&Tickets::new().unwrap())).is_resumed);
}

/// The path of the certificate that is shown to a client that asks for `name`.
fn shown(server: &Server, authority: &Authority, name: &str) -> String {
    let mut config = authority.client();
    config.dangerous().set_certificate_verifier(Arc::new(Trusting));
    let mut pair = Pair::new(server, &config, name, 100_000);
    pair.turn().unwrap();
    pair.session.negotiated().certificate
}

/// A client that takes what it is shown.
#[derive(Debug)]
struct Trusting;

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn certificate_is_chosen_by_name_then_key_then_date() {
    let authority = Authority::new();
    let (old, new, large) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), rsa());
    let server = server(vec![
        authority.certificate("default", &["default.example"], &old, 2099),
        authority.certificate("rsa", &["both.example"], &large, 2099),
        authority.certificate("old", &["both.example"], &old, 2050),
        authority.certificate("new", &["both.example", "also.example"], &new, 2060),
        authority.certificate("wild", &["*.example.org"], &new, 2060),
    ]);
    for (name, path) in [
        ("default.example", "default"),
        ("both.example", "new"),
        ("BOTH.example", "new"),
        ("also.example", "new"),
        ("a.example.org", "wild"),
        ("example.org", "default"),
        ("a.b.example.org", "default"),
        ("nobody.example", "default"),
    ] {
        assert_eq!(shown(&server, &authority, name), path, "{name}");
    }
}

#[test]
fn name_that_nothing_was_found_for_is_not_on_record() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let server = server(vec![authority.certificate("a.pem", &["a.example"], &key, 2099)]);
    let mut config = authority.client();
    config.dangerous().set_certificate_verifier(Arc::new(Trusting));
    for (name, recorded) in [("a.example", "a.example"), ("b.example", "")] {
        let mut pair = Pair::new(&server, &config, name, 100_000);
        pair.turn().unwrap();
        assert_eq!(pair.session.negotiated().server_name, recorded);
    }
}

#[test]
fn files_that_are_no_certificate_are_told_by_what_is_wrong() {
    let authority = Authority::new();
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (chain, key) = authority.issue(&["a.example"], &one, 2099);
    let other_key = other.serialize_pem();
    let read = |chain: &str, key: &str| Certificate::read(chain.as_bytes(), key.as_bytes());
    assert!(read(&chain, &key).is_ok());
    let flaw = |chain: &str, key: &str| read(chain, key).map(|_| ()).unwrap_err();
    assert_eq!(flaw("", &key), Flaw::NoCertificate);
    assert_eq!(flaw(&key, &key), Flaw::NoCertificate);
    assert_eq!(flaw(&chain, ""), Flaw::NoKey);
    assert_eq!(flaw(&chain, &chain), Flaw::NoKey);
    assert_eq!(flaw(&chain, &other_key), Flaw::Mismatch);
    let cut = &chain[..chain.len() / 2];
    assert!(matches!(flaw(cut, &key), Flaw::Certificate(_) | Flaw::NoCertificate));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(flaw(garbage, &key), Flaw::Certificate(_)));
}

#[test]
fn certificate_tells_its_names_and_dates() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let named = authority.certificate("a.pem", &["A.example", "*.b.example"], &key, 2040);
    assert_eq!(named.certificate.names(), ["a.example", "*.b.example"]);
    assert_eq!(named.certificate.not_after(), 2_208_988_800);
    assert!(named.certificate.not_before() < 1_700_000_000);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_session_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        begins_well in proptest::prelude::any::<bool>(),
    ) {
        let authority = Authority::new();
        let key = KeyPair::generate().unwrap();
        let server = server(vec![authority.certificate("a.pem", &["a.example"], &key, 2099)]);
        let mut session = server.session().unwrap();
        let mut held = if begins_well { vec![22, 3, 1] } else { Vec::new() };
        held.extend(bytes);
        let mut out = Vec::new();
        for _ in 0..10 {
            let Stepped { discard, result } = session.step(&mut held, &mut out, |_| {});
            held.drain(..discard);
            if result != Ok(Step::Went) {
                break;
            }
        }
        session.alert(&mut out);
    }
}
