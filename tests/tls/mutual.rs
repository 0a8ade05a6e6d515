//! Clients that show certificates: who is believed, and what targets and logs are told.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ClientConfig, SupportedProtocolVersion};

use super::clients::{curl, s_client};
use super::{authority, pattern};
use crate::harness::*;

/// How names of fields begin.
const FIELD: &str = "X-Amzn-Mtls-Clientcert";
const BOTH: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

/// The server's authority, and one for clients with files beside those of the other.
struct Two {
    servers: Authority,
    clients: CertifiedIssuer<'static, KeyPair>,
}

impl Two {
    /// The certificate of the clients' authority is in `clients.pem`.
    fn new() -> Self {
        let clients = CertifiedIssuer::self_signed(ca("ca of clients"), key()).expect("authority");
        let two = Self { servers: authority(), clients };
        two.servers.put("clients.pem", two.clients.pem().as_bytes());
        two
    }

    fn path(&self, file: &str) -> PathBuf {
        self.servers.path(file)
    }

    fn shown(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    /// Writes `NAME.pem` and `NAME.key`, the certificate with `params`, signed by the clients'
    /// authority.
    fn issue(&self, name: &str, params: &CertificateParams) {
        self.issue_by(name, params, &self.clients, "");
    }

    /// The same, signed by `issuer`, with `rest` of the chain behind it.
    fn issue_by(
        &self,
        name: &str,
        params: &CertificateParams,
        issuer: &Issuer<'_, KeyPair>,
        rest: &str,
    ) {
        let key = key();
        let certificate = params.signed_by(&key, issuer).expect("certificate");
        self.servers.put(&format!("{name}.pem"), (certificate.pem() + rest).as_bytes());
        self.servers.put(&format!("{name}.key"), key.serialize_pem().as_bytes());
    }

    /// Writes a list that revokes these serial numbers to `clients.crl`.
    fn revoke(&self, serials: &[u64]) {
        let since = SystemTime::now() - Duration::from_secs(3600);
        let revoked = serials.iter().map(|&serial| RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: since.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: since.into(),
            next_update: (since + Duration::from_secs(7200)).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.clients).expect("list");
        self.servers.put("clients.crl", list.pem().expect("PEM").as_bytes());
    }

    /// The line of a listener with this `mutual_authentication`.
    fn listener(&self, mutual: &str) -> String {
        self.servers.listener(&["a"], &format!("mutual_authentication = {{ {mutual} }}"))
    }

    /// The line of a listener that verifies clients.
    fn verify(&self, more: &str) -> String {
        let store = self.shown("clients.pem");
        self.listener(&format!("mode = \"verify\", trust_store = \"{store}\"{more}"))
    }

    /// How a client speaks that shows `NAME.pem`.
    fn client(&self, name: &str) -> Arc<ClientConfig> {
        self.client_in(name, ALL_VERSIONS)
    }

    fn client_in(
        &self,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let path = |end: &str| self.path(&format!("{name}.{end}"));
        self.servers.client_showing(&path("pem"), &path("key"), versions)
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("key")
}

fn ca(name: &str) -> CertificateParams {
    let mut params = client(name, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages.clear();
    params
}

/// A certificate of a client called `name`.
fn client(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "CH");
    params.distinguished_name.push(DnType::OrganizationName, "Example, \"Inc\" + <Söhne>");
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial.into());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// What the target answers to a client that is let in; `None`: it is not.
fn ask(balancer: &Balancer, config: &Arc<ClientConfig>) -> Option<String> {
    let mut client = TlsClient::try_connect(config, balancer.address("web"), "a.example").ok()?;
    // In TLS 1.3 the client learns after its handshake that it was refused.
    let is_sent = client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    is_sent.then(|| client.try_response("GET").ok()).flatten().map(|response| response.text())
}

/// Waits until the log tells that a client was refused for `reason`. There is a line a second.
fn expect_refused(balancer: &Balancer, config: &Arc<ClientConfig>, reason: &str) {
    balancer.wait(reason, || {
        assert_eq!(ask(balancer, config), None, "{reason}");
        balancer.log_count(&["the certificate of a client was refused", reason]) > 0
    });
}

/// What openssl says of the certificate in `file`.
fn openssl(file: &str, what: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-in", file])
        .args(what)
        .output()
        .expect("openssl");
    let text = String::from_utf8(output.stdout).expect("text");
    text.trim_end().split_once('=').expect("a value").1.to_owned()
}

/// Takes the escapes of a URL back.
fn unescape(text: &str) -> String {
    let mut parts = text.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| {
        let (digits, rest) = part.split_at(2);
        let byte = u8::from_str_radix(digits, 16).expect("hexadecimal");
        out + &char::from(byte).to_string() + rest
    })
}

#[test]
fn verified_client_is_told_to_the_target_in_the_fields_of_aws() {
    let (two, target) = (Two::new(), Target::named("hello"));
    two.issue("dev", &client("dev", 0x00ff_03a5));
    let balancer = http(&[&target]).web(&two.verify("")).start();
    let forged = "GET / HTTP/1.1\r\nHost: a\r\nX-Amzn-Mtls-Clientcert: me\r\n\
                  x-amzn-mtls-clientcert-subject: CN=admin\r\n\
                  X_Amzn_Mtls_Clientcert_Subject: CN=admin\r\n\
                  X-Amzn-Mtls-Clientcert-Other: me\r\n\r\n";
    for versions in BOTH {
        let config = two.client_in("dev", versions);
        let mut connection = TlsClient::connect(&config, balancer.address("web"), "a.example");
        for _ in 0..2 {
            connection.send(forged);
            assert_eq!(connection.response("GET").text(), "hello");
        }
    }
    let (file, key) = (two.shown("dev.pem"), two.shown("dev.key"));
    let output = curl(&[
        "--http2",
        "--cacert",
        &two.servers.ca(),
        "--cert",
        &file,
        "--key",
        &key,
        "--header",
        "x-amzn-mtls-clientcert-subject: CN=admin",
        "--write-out",
        " over %{http_version}",
        &format!("https://localhost:{}/", balancer.port()),
    ]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello over 2", "{output:?}");
    let name = |what| openssl(&file, &[what, "-nameopt", "RFC2253"]);
    let ours = |request: &Request, what: &str| {
        let name = format!("{FIELD}{what}");
        let values = request.values(&name);
        assert_eq!(values.len(), 1, "{name}: {:?}", request.names());
        values[0].to_owned()
    };
    let requests = target.requests();
    assert_eq!(requests.len(), 5);
    for request in requests {
        let fields = request.names();
        let told =
            fields.iter().filter(|name| name.to_lowercase().replace('_', "-").contains("mtls"));
        assert_eq!(told.count(), 5, "{fields:?}");
        assert_eq!(ours(&request, "-Serial-Number"), openssl(&file, &["-serial"]));
        assert_eq!(ours(&request, "-Subject"), name("-subject"));
        assert_eq!(ours(&request, "-Issuer"), name("-issuer"));
        let leaf = std::fs::read_to_string(two.path("dev.pem")).expect("file");
        assert_eq!(unescape(&ours(&request, "-Leaf")), leaf.replace("\r\n", "\n"));
        let (first, last) = ("1975-01-01T00:00:00Z", "4096-01-01T00:00:00Z");
        assert_eq!(ours(&request, "-Validity"), format!("NotBefore={first};NotAfter={last}"));
    }
}

#[test]
fn fields_of_certificates_reach_no_target_from_a_client() {
    let (two, target) = (Two::new(), Target::named("hello"));
    for line in ["", &two.listener("mode = \"passthrough\""), &two.listener("mode = \"off\"")] {
        let balancer = http(&[&target]).web(line).start();
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{FIELD}-Subject: CN=admin\r\n\r\n");
        if line.is_empty() {
            let mut client = balancer.client();
            client.send(request);
            assert_eq!(client.response("GET").text(), "hello");
        } else {
            let config = two.servers.client();
            let mut client = TlsClient::connect(&config, balancer.address("web"), "a.example");
            client.send(request);
            assert_eq!(client.response("GET").text(), "hello");
        }
    }
    for request in target.requests() {
        assert!(!request.names().iter().any(|name| name.contains("Mtls")), "{:?}", request.names());
    }
}

#[test]
fn clients_that_are_not_believed_get_no_answer_and_the_log_says_why() {
    let (two, target) = (Two::new(), Target::named("hello"));
    let stranger = CertifiedIssuer::self_signed(ca("stranger"), key()).expect("authority");
    two.issue_by("stranger", &client("dev", 2), &stranger, "");
    let mut old = client("old", 3);
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    two.issue("old", &old);
    let mut early = client("early", 4);
    early.not_before = rcgen::date_time_ymd(2090, 1, 1);
    two.issue("early", &early);
    let mut server = client("server", 5);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    two.issue("server", &server);
    let chain = two.clients.pem().repeat(4);
    two.issue_by("deep", &client("deep", 6), &two.clients, &chain);
    let socket = two.path("control.sock");
    let control = format!("control = {{ socket = \"{}\" }}", socket.display());
    let balancer = http(&[&target]).server(&control).web(&two.verify("")).start();
    for (name, reason) in [
        ("stranger", "ClientCertUntrusted"),
        ("old", "ClientCertExpired"),
        ("early", "ClientCertNotYetValid"),
        ("server", "ClientCertPurposeInvalid"),
        ("deep", "ClientCertMaxChainDepthExceeded"),
    ] {
        for versions in BOTH {
            assert_eq!(ask(&balancer, &two.client_in(name, versions)), None, "{name}");
        }
        expect_refused(&balancer, &two.client(name), reason);
    }
    expect_refused(&balancer, &two.servers.client(), "ClientCertRejected");
    assert_eq!(target.connection_count(), 0);
    let page = Api::at(&socket).ask("GET", "/metrics", "");
    let counted = "ringway_errors_total{kind=\"client_certificate_error\"} ";
    let line = page.lines().find_map(|line| line.strip_prefix(counted)).expect("a count");
    assert!(line.parse::<u32>().expect("a number") >= 16, "{line}");
}

#[test]
fn certificates_between_lead_to_the_store_and_expired_ones_where_that_is_wanted() {
    let (two, target) = (Two::new(), Target::named("hello"));
    let between =
        CertifiedIssuer::signed_by(ca("between"), key(), &two.clients).expect("authority");
    two.issue_by("far", &client("far", 7), &between, &between.pem());
    two.issue_by("torn", &client("torn", 8), &between, "");
    let mut old = client("old", 9);
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    two.issue("old", &old);
    let stranger = CertifiedIssuer::self_signed(ca("stranger"), key()).expect("authority");
    two.issue_by("stranger", &old, &stranger, "");
    let more = ", ignore_client_certificate_expiry = true";
    let balancer = http(&[&target]).web(&two.verify(more)).start();
    let hello = || Some("hello".to_owned());
    assert_eq!(ask(&balancer, &two.client("far")), hello());
    assert_eq!(ask(&balancer, &two.client("old")), hello());
    assert_eq!(ask(&balancer, &two.client("torn")), None);
    assert_eq!(ask(&balancer, &two.client("stranger")), None);
}

#[test]
fn revocations_and_trust_store_are_followed_and_bad_files_change_nothing() {
    let (two, target) = (Two::new(), Target::named("hello"));
    two.issue("dev", &client("dev", 10));
    two.issue("lost", &client("lost", 11));
    two.revoke(&[]);
    let more = format!(", revocations = \"{}\"", two.shown("clients.crl"));
    let balancer = http(&[&target]).web(&two.verify(&more)).start();
    let (dev, lost) = (two.client("dev"), two.client("lost"));
    let hello = || Some("hello".to_owned());
    assert_eq!((ask(&balancer, &dev), ask(&balancer, &lost)), (hello(), hello()));
    let mut open = TlsClient::connect(&lost, balancer.address("web"), "a.example");
    assert_eq!(open.get("/").text(), "hello");
    two.revoke(&[11]);
    balancer.wait("the revocation", || ask(&balancer, &lost).is_none());
    expect_refused(&balancer, &lost, "ClientCertCrlHit");
    assert_eq!(ask(&balancer, &dev), hello());
    assert_eq!(open.get("/").text(), "hello", "connections that are there go on");
    for (file, what) in
        [("clients.crl", "no list of revocations"), ("clients.pem", "no certificate")]
    {
        let good = std::fs::read(two.path(file)).expect("file");
        two.servers.put(file, b"nothing of the kind");
        balancer.wait_log(&["cannot be used", file, what, "going on with those before"]);
        assert_eq!((ask(&balancer, &dev), ask(&balancer, &lost)), (hello(), None));
        two.servers.put(file, &good);
    }
    let other = CertifiedIssuer::self_signed(ca("another"), key()).expect("authority");
    two.issue_by("other", &client("other", 12), &other, "");
    assert_eq!(ask(&balancer, &two.client("other")), None);
    two.servers.put("clients.pem", other.pem().as_bytes());
    let config = two.client("other");
    balancer.wait("the new authority", || ask(&balancer, &config) == hello());
    assert_eq!(ask(&balancer, &dev), None, "the authority before is believed no more");
}

#[test]
fn chain_that_nobody_verified_is_passed_through_whole() {
    let (two, target) = (Two::new(), Target::named("hello"));
    let stranger = CertifiedIssuer::self_signed(ca("stranger"), key()).expect("authority");
    let mut old = client("old", 13);
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    two.issue_by("old", &old, &stranger, &stranger.pem());
    let balancer = http(&[&target]).web(&two.listener("mode = \"passthrough\"")).start();
    for versions in BOTH {
        let config = two.client_in("old", versions);
        let mut connection = TlsClient::connect(&config, balancer.address("web"), "a.example");
        assert_eq!(connection.get("/").text(), "hello");
    }
    assert_eq!(ask(&balancer, &two.servers.client()).as_deref(), Some("hello"), "none is needed");
    let output = curl(&[
        "--cacert",
        &two.servers.ca(),
        "--cert",
        &two.shown("old.pem"),
        "--key",
        &two.shown("old.key"),
        &format!("https://localhost:{}/", balancer.port()),
    ]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello", "{output:?}");
    let chain = std::fs::read_to_string(two.path("old.pem")).expect("file").replace("\r\n", "\n");
    let requests = target.requests();
    let (without, with): (Vec<_>, Vec<_>) = requests
        .iter()
        .partition(|request| request.field("Host").is_some_and(|h| h.contains("a:")));
    assert_eq!((without.len(), with.len()), (1, 3));
    assert_eq!(without[0].field(FIELD), None);
    for request in with {
        let value = request.field(FIELD).expect("the chain");
        assert_eq!(unescape(value), chain);
        assert!(!value.contains("%3D") && !value.contains("%2F") && !value.contains("%2B"));
    }
}

#[test]
fn certificate_without_its_key_is_worth_nothing() {
    let (two, target) = (Two::new(), Target::named("hello"));
    two.issue("dev", &client("dev", 20));
    two.issue("thief", &client("thief", 21));
    for line in [two.verify(""), two.listener("mode = \"passthrough\"")] {
        let balancer = http(&[&target]).web(&line).start();
        for versions in BOTH {
            let (chain, key) = (two.path("dev.pem"), two.path("thief.key"));
            let config = two.servers.client_showing(&chain, &key, versions);
            assert_eq!(ask(&balancer, &config), None);
            assert_eq!(ask(&balancer, &two.client_in("dev", versions)).as_deref(), Some("hello"));
        }
    }
}

#[test]
fn sessions_are_not_resumed_and_names_are_told_where_that_is_wanted() {
    let (two, target) = (Two::new(), Target::named("hello"));
    two.issue("dev", &client("dev", 14));
    let lines = [
        (two.listener("mode = \"passthrough\""), false),
        (two.verify(""), false),
        (two.verify(", advertise_trust_store_ca_names = true"), true),
    ];
    for (line, tells) in lines {
        let balancer = http(&[&target]).web(&line).start();
        let address = format!("127.0.0.1:{}", balancer.port());
        let (cert, key) = (two.shown("dev.pem"), two.shown("dev.key"));
        for version in ["-tls1_2", "-tls1_3"] {
            let session = two.shown("session");
            let _ = std::fs::remove_file(&session);
            let shows = [version, "-cert", &cert, "-key", &key, "-sess_out", &session];
            let first = s_client(&address, &shows);
            assert!(first.contains("hello"), "{first}");
            assert_eq!(first.contains("CN = ca of clients"), tells, "{first}");
            if std::fs::exists(&session).expect("directory") {
                let again = s_client(
                    &address,
                    &[version, "-cert", &cert, "-key", &key, "-sess_in", &session],
                );
                assert!(again.contains("hello") && !again.contains("Reused,"), "{again}");
            }
        }
    }
}

#[test]
fn l4_listener_verifies_clients_and_its_log_tells_them() {
    let (two, target) = (Two::new(), Target::echo_bytes());
    two.issue("dev", &client("dev", 15));
    let log = |name: &str, format: &str| {
        format!("access_log = {{ path = \"{}\", format = \"{format}\" }}", two.shown(name))
    };
    let lines = |name: &str| {
        let text = std::fs::read_to_string(two.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for format in ["json", "alb"] {
        let file = format!("log.{format}");
        let balancer = tcp(&[&target]).web(&two.verify("")).web(&log(&file, format)).start();
        let config = two.client("dev");
        let mut client = TlsClient::connect(&config, balancer.address("web"), "a.example");
        let bytes = pattern(60_000);
        client.send(&bytes);
        assert!(client.take(bytes.len()) == bytes);
        client.end();
        balancer.wait("the first line", || lines(&file).len() == 1);
        assert!(
            TlsClient::try_connect(&two.servers.client(), balancer.address("web"), "a.example")
                .map_or(true, |mut client| client.rest().1 != End::Closed
                    || client.rest().0.is_empty())
        );
        balancer.wait("the second line", || lines(&file).len() == 2);
        let (good, bad) = (lines(&file).remove(0), lines(&file).remove(1));
        match format {
            "json" => {
                let good: serde_json::Value = serde_json::from_str(&good).expect("JSON");
                let subject = openssl(&two.shown("dev.pem"), &["-subject", "-nameopt", "RFC2253"]);
                assert_eq!(good["tls_client_subject"], subject);
                assert_eq!(good["tls_client_serial_number"], "0F");
                assert_eq!(good["tls_verify_status"], "Success");
                let bad: serde_json::Value = serde_json::from_str(&bad).expect("JSON");
                assert_eq!(bad["tls_verify_status"], "Failed:ClientCertRejected");
                assert_eq!(bad["error"], "client_certificate_error");
            }
            _ => {
                assert!(good.contains(";NotAfter=4096-01-01T00:00:00Z 0F Success TID_"), "{good}");
                assert!(bad.contains(" \"-\" - - Failed:ClientCertRejected TID_"), "{bad}");
            }
        }
    }
    assert_eq!(target.connection_count(), 2);
}

#[test]
fn check_tells_what_is_wrong_with_trust_stores() {
    let (two, target) = (Two::new(), Target::named("hello"));
    two.issue("dev", &client("dev", 16));
    two.revoke(&[]);
    let check = |line: &str| {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), http(&[&target]).web(line).text()).expect("write");
        let path = file.path().to_str().expect("UTF-8");
        let output = Ringway::output(&["check", "--config", path]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let revocations = format!(", revocations = [\"{}\"]", two.shown("clients.crl"));
    for good in [
        two.listener("mode = \"off\""),
        two.listener("mode = \"passthrough\""),
        two.verify(&revocations),
    ] {
        let (is_good, said) = check(&good);
        assert!(is_good && !said.contains("warning"), "{good}: {said}");
    }
    for (line, problem) in [
        (two.listener("mode = \"verify\""), "needs `trust_store`"),
        (two.listener("trust_store = \"/x\""), "`mode`"),
        (two.verify("").replace("clients.pem", "nowhere.pem"), "cannot be read"),
        (two.verify("").replace("clients.pem", "dev.key"), "there is no certificate in it"),
        (two.verify("").replace("clients.pem", "dev.pem"), "number 1 is not that of an authority"),
        (two.verify(&revocations.replace("clients.crl", "clients.pem")), "no list of revocations"),
        (two.listener("mode = \"verfy\""), "verify"),
    ] {
        let (is_good, said) = check(&line);
        assert!(!is_good && said.contains(problem) && said.contains("help:"), "{line}: {said}");
    }
    let idle = two.listener("mode = \"passthrough\", trust_store = \"/x\"");
    let (is_good, said) = check(&idle);
    assert!(is_good && said.contains("has no effect"), "{said}");
}
