//! Both ends of a session in memory: ours towards a target, and ours towards a client.

use std::net::Ipv4Addr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::model::Policy;
use crate::tls::{Certificate, Clients, Named, Server, Step, Stepped, Tickets};

const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5));

/// An authority, as PEM, and a server that it vouches for under these names.
fn target(names: &[&str], policy: Policy) -> (String, Server) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let certificate =
        Certificate::read(leaf.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let named = Named { path: "a.pem".into(), certificate };
    let tickets = Tickets::new().unwrap();
    let server =
        Server::new(vec![named], policy, &[b"http/1.1"], tickets, &Clients::Unasked).unwrap();
    (issuer.pem(), server)
}

fn client(pem: &str, settings: &TargetTls) -> Arc<Client> {
    let authorities = Authorities::read(pem.as_bytes()).unwrap();
    Arc::new(Client::new(settings, Some(&authorities), &[b"http/1.1"]).unwrap())
}

/// One end, with what it has not used up, has opened, and has to say.
struct End {
    session: Session,
    held: Vec<u8>,
    opened: Vec<u8>,
    out: Vec<u8>,
}

impl End {
    fn new(session: Session) -> Self {
        Self { session, held: Vec::new(), opened: Vec::new(), out: Vec::new() }
    }

    fn run(&mut self) -> Result<(), Error> {
        loop {
            let Self { session, held, opened, out } = self;
            let Stepped { discard, result } =
                session.step(held, out, |bytes| opened.extend_from_slice(bytes));
            held.drain(..discard);
            if result? != Step::Went {
                return Ok(());
            }
        }
    }

    fn seal(&mut self, plain: &[u8]) {
        let Self { session, held, opened, out } = self;
        let keep = |bytes: &[u8]| opened.extend_from_slice(bytes);
        let used = session.seal(held, plain, 1000, out, keep).unwrap();
        held.drain(..used);
    }

    fn hear(&mut self, bytes: &[u8], piece: usize) -> Result<(), Error> {
        for piece in bytes.chunks(piece) {
            self.held.extend_from_slice(piece);
            self.run()?;
        }
        Ok(())
    }
}

/// Both ends, ours towards the target first.
fn ends(dialer: &Dialer, server: &Server) -> (End, End) {
    (End::new(dialer.session(Inner::Http).unwrap()), End::new(server.session().unwrap()))
}

/// Moves bytes, so many at once, until nothing moves.
fn turn((ours, theirs): (&mut End, &mut End), piece: usize) -> Result<(), Error> {
    ours.run()?;
    loop {
        let (there, back) = (std::mem::take(&mut ours.out), std::mem::take(&mut theirs.out));
        if there.is_empty() && back.is_empty() {
            return Ok(());
        }
        theirs.hear(&there, piece)?;
        ours.hear(&back, piece)?;
    }
}

#[test]
fn bytes_pass_both_ways_however_they_are_cut() {
    let old = Policy::named("ELBSecurityPolicy-FS-1-2-Res-2020-10").unwrap();
    for (policy, version) in [(Policy::default(), "TLSv1.3"), (old, "TLSv1.2")] {
        let (pem, server) = target(&["10.0.0.5"], policy);
        for piece in [1, 7, 100_000] {
            let dialer = Dialer::new(&client(&pem, &TargetTls::default()), TARGET);
            let (mut ours, mut theirs) = ends(&dialer, &server);
            turn((&mut ours, &mut theirs), piece).unwrap();
            let negotiated = ours.session.negotiated();
            assert_eq!(negotiated.protocol, version);
            assert_eq!(negotiated.inner.as_deref(), Some(&b"http/1.1"[..]));
            assert!(!negotiated.cipher.is_empty() && !negotiated.key_exchange.is_empty());
            ours.seal(&[b'a'; 3000]);
            theirs.seal(&[b'b'; 5000]);
            turn((&mut ours, &mut theirs), piece).unwrap();
            assert_eq!((ours.opened, theirs.opened), (vec![b'b'; 5000], vec![b'a'; 3000]));
        }
    }
}

#[test]
fn sessions_are_remembered_of_one_target_and_under_one_trust() {
    let (pem, server) = target(&["10.0.0.5"], Policy::default());
    let trust = client(&pem, &TargetTls::default());
    let resumed = |dialer: &Dialer| {
        let (mut ours, mut theirs) = ends(dialer, &server);
        turn((&mut ours, &mut theirs), 100_000).unwrap();
        ours.session.negotiated().is_resumed
    };
    let dialer = Dialer::new(&trust, TARGET);
    assert_eq!([resumed(&dialer), resumed(&dialer)], [false, true]);
    assert!(!resumed(&Dialer::new(&trust, TARGET)), "another target, or another worker");
    assert!(dialer.is_of(&trust));
    assert!(!dialer.is_of(&client(&pem, &TargetTls::default())), "a file has changed");
}

#[test]
fn certificate_that_is_not_accepted_is_told_from_other_mistakes() {
    let (pem, _) = target(&["10.0.0.5"], Policy::default());
    let (_, stranger) = target(&["10.0.0.5"], Policy::default());
    let dialer = Dialer::new(&client(&pem, &TargetTls::default()), TARGET);
    let (mut ours, mut theirs) = ends(&dialer, &stranger);
    let error = turn((&mut ours, &mut theirs), 100_000).unwrap_err();
    assert!(error.is_of_certificate() && !error.is_alert(), "{error}");
    let mut out = std::mem::take(&mut ours.out);
    ours.session.alert(&mut out);
    assert!(!out.is_empty(), "the target is told");
    let error = theirs.hear(&out, 100_000).unwrap_err();
    assert!(error.is_alert() && !error.is_of_certificate(), "{error}");
    let (mut ours, _) = ends(&dialer, &stranger);
    ours.run().unwrap();
    let error = ours.hear(b"HTTP/1.1 400 Bad Request\r\n\r\n", 100_000).unwrap_err();
    assert!(!error.is_of_certificate() && !error.is_alert(), "{error}");
}

#[test]
fn whoever_is_not_verified_needs_nobody_who_vouches() {
    let (_, server) = target(&["other.example"], Policy::default());
    let settings = TargetTls { verify: Verify::None, ..TargetTls::default() };
    let trust = Arc::new(Client::new(&settings, None, &[b"http/1.1"]).unwrap());
    let (mut ours, mut theirs) = ends(&Dialer::new(&trust, TARGET), &server);
    turn((&mut ours, &mut theirs), 100_000).unwrap();
    assert!(!ours.session.is_handshaking());
    assert!(Client::new(&TargetTls::default(), None, &[]).is_err());
}

#[test]
fn name_is_the_address_unless_there_is_one() {
    let (pem, _) = target(&["a"], Policy::default());
    let name = |settings: &TargetTls, address: &str| {
        client(&pem, settings).name_of(address.parse().unwrap()).to_str().into_owned()
    };
    let plain = TargetTls::default();
    assert_eq!(name(&plain, "10.0.0.5"), "10.0.0.5");
    assert_eq!(name(&plain, "::ffff:10.0.0.5"), "10.0.0.5");
    assert_eq!(name(&plain, "fd00::5"), "fd00::5");
    let named = TargetTls { server_name: Some("home.internal".into()), ..plain };
    assert_eq!(name(&named, "10.0.0.5"), "home.internal");
}

#[test]
fn files_that_name_nobody_are_told_by_what_is_wrong() {
    let flaw = |pem: &[u8]| Authorities::read(pem).map(|_| ()).unwrap_err();
    assert_eq!(flaw(b""), Flaw::NoCertificate);
    assert_eq!(flaw(KeyPair::generate().unwrap().serialize_pem().as_bytes()), Flaw::NoCertificate);
    let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(flaw(garbage), Flaw::Certificate(_)));
    let (one, _) = target(&["a"], Policy::default());
    let (other, _) = target(&["a"], Policy::default());
    assert_eq!(Authorities::read((one + &other).as_bytes()).unwrap().count(), 2);
}

proptest::proptest! {
    #[test]
    fn no_bytes_of_a_target_make_a_session_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        begins_well in proptest::prelude::any::<bool>(),
    ) {
        let settings = TargetTls { verify: Verify::None, ..TargetTls::default() };
        let trust = Arc::new(Client::new(&settings, None, &[]).unwrap());
        let mut ours = End::new(Dialer::new(&trust, TARGET).session(Inner::Opaque).unwrap());
        ours.run().unwrap();
        let start: &[u8] = if begins_well { &[22, 3, 3] } else { &[] };
        if ours.hear(&[start, &bytes].concat(), 100_000).is_err() {
            ours.session.alert(&mut ours.out);
        }
    }
}
