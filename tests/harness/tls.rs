//! A certificate authority, and a client that speaks TLS and reads strictly.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, ServerConfig, StreamOwned,
    SupportedProtocolVersion,
};
use tempfile::TempDir;

use super::{DEADLINE, End, Parsed, Response, parse_response, show};

/// The year 2099, in seconds since 1970.
const FAR: u64 = 4_070_908_800;

/// An authority, and the files of its certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    /// A new one; its own certificate is in `ca.pem`.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "tests of ringway");
        let key = KeyPair::generate().expect("key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("authority");
        let dir = TempDir::new().expect("temporary directory");
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).expect("write");
        Self { issuer, dir }
    }

    /// Path of one of its files.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// Path of its own certificate, as text.
    pub fn ca(&self) -> String {
        self.path("ca.pem").display().to_string()
    }

    /// Writes `NAME.pem` and `NAME.key`, for these host names, good up to and without `end`, in
    /// seconds since 1970.
    pub fn issue_until(&self, name: &str, hosts: &[&str], end: u64) {
        self.write(name, hosts, end, &KeyPair::generate().expect("key"));
    }

    /// The same, far into the future.
    pub fn issue(&self, name: &str, hosts: &[&str]) {
        self.issue_until(name, hosts, FAR);
    }

    /// The same, with an RSA key.
    pub fn issue_rsa(&self, name: &str, hosts: &[&str]) {
        let size = rcgen::RsaKeySize::_2048;
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).expect("key");
        self.write(name, hosts, FAR, &key);
    }

    fn write(&self, name: &str, hosts: &[&str], end: u64, key: &KeyPair) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("parameters");
        params.not_after = (UNIX_EPOCH + Duration::from_secs(end)).into();
        let certificate = params.signed_by(key, &self.issuer).expect("certificate");
        self.put(&format!("{name}.key"), key.serialize_pem().as_bytes());
        self.put(&format!("{name}.pem"), certificate.pem().as_bytes());
    }

    /// Replaces a file at once, as tools that renew certificates do.
    pub fn put(&self, file: &str, bytes: &[u8]) {
        let new = self.path(&format!("{file}.new"));
        std::fs::write(&new, bytes).expect("write");
        std::fs::rename(new, self.path(file)).expect("rename");
    }

    /// The line of a listener that shows these certificates.
    pub fn listener(&self, names: &[&str], more: &str) -> String {
        let files = names.iter().map(|name| {
            let path = |end: &str| self.path(&format!("{name}.{end}")).display().to_string();
            format!("{{ certificate = \"{}\", key = \"{}\" }}", path("pem"), path("key"))
        });
        let files = files.collect::<Vec<_>>().join(", ");
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        format!("tls = {{ certificates = [{files}]{more} }}")
    }

    /// How a target speaks that shows the certificate `name`, and remembers sessions.
    pub fn server(&self, name: &str) -> Arc<ServerConfig> {
        self.server_of(name, rustls::DEFAULT_VERSIONS, &[])
    }

    /// The same, with these versions and with what may be spoken inside.
    pub fn server_of(
        &self,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
        inner: &[&str],
    ) -> Arc<ServerConfig> {
        let read = |end: &str| std::fs::read(self.path(&format!("{name}.{end}"))).expect("file");
        let certificate = CertificateDer::from_pem_slice(&read("pem")).expect("certificate");
        let key = PrivateKeyDer::from_pem_slice(&read("key")).expect("key");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("certificate");
        config.alpn_protocols = inner.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// The lines of a target group whose targets this authority vouches for.
    pub fn group(&self, protocol: &str, more: &str) -> String {
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        format!("protocol = \"{protocol}\"\ntls = {{ ca = \"{}\"{more} }}", self.ca())
    }

    /// What signs its certificates.
    pub fn issuer(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.issuer
    }

    /// How a client speaks that trusts this authority, and remembers sessions.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::new(self.trusting(rustls::ALL_VERSIONS).with_no_client_auth())
    }

    /// The same, in these versions; it shows the certificates in the file `chain`, the first being
    /// its own, with the key in the file `key`.
    pub fn client_showing(
        &self,
        chain: &Path,
        key: &Path,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let chain = CertificateDer::pem_file_iter(chain).expect("file");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_file(key).expect("key");
        let key = aws_lc_rs::sign::any_supported_type(&key).expect("key");
        // Not checked: the key may be another's.
        let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        Arc::new(self.trusting(versions).with_client_cert_resolver(Arc::new(shown)))
    }

    fn trusting(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("root");
        let provider = Arc::new(aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A client connection with TLS.
pub struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
}

impl TlsClient {
    /// Connects to `address` and asks for the server `name`; panics where both do not agree.
    pub fn connect(config: &Arc<ClientConfig>, address: SocketAddr, name: &str) -> Self {
        Self::try_connect(config, address, name).expect("handshake")
    }

    /// The same; an error where both do not agree.
    ///
    /// # Errors
    /// What the client says of it.
    pub fn try_connect(
        config: &Arc<ClientConfig>,
        address: SocketAddr,
        name: &str,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        Self::try_over(config, stream, name)
    }

    /// The same over a connection that is there.
    ///
    /// # Errors
    /// What the client says of it.
    pub fn try_over(config: &Arc<ClientConfig>, stream: TcpStream, name: &str) -> io::Result<Self> {
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let name = ServerName::try_from(name.to_owned()).expect("name of a server");
        let connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, unread: Vec::new() })
    }

    /// What both sides have agreed on.
    pub fn session(&self) -> &ClientConnection {
        &self.stream.conn
    }

    /// The certificate that was shown, as it is on the wire.
    pub fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().expect("certificates")[0].to_vec()
    }

    /// The connection below.
    pub fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }

    /// The stream, for another protocol. Nothing may be left unread.
    pub fn into_stream(self) -> StreamOwned<ClientConnection, TcpStream> {
        assert!(self.unread.is_empty(), "left unread: {}", show(&self.unread));
        self.stream
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("send to the balancer");
        self.stream.flush().expect("send to the balancer");
    }

    /// Sends these bytes, if the connection takes them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Sends a GET for `path` and reads the response.
    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test.example\r\n\r\n"));
        self.response("GET")
    }

    /// Reads a whole response to a `method` request.
    pub fn response(&mut self, method: &str) -> Response {
        self.try_response(method).expect("response")
    }

    /// Reads a whole response, or says how the connection ended before.
    ///
    /// # Errors
    /// The end.
    pub fn try_response(&mut self, method: &str) -> Result<Response, End> {
        let mut end = None;
        loop {
            let ended = end == Some(End::Closed);
            match (parse_response(&self.unread, method, ended), end) {
                (Parsed::Complete(response, length), _) => {
                    self.unread.drain(..length);
                    return Ok(response);
                }
                (Parsed::Invalid(problem), _) => panic!("{problem}: {}", show(&self.unread)),
                (Parsed::Incomplete, Some(end)) => return Err(end),
                (Parsed::Incomplete, None) => end = self.receive().err(),
            }
        }
    }

    /// Reads exactly `count` bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            if let Err(end) = self.receive() {
                panic!("{count} bytes wanted: {end:?} after {}", show(&self.unread));
            }
        }
        self.unread.drain(..count).collect()
    }

    /// Reads to the end; [`End::Closed`] only where the session was ended in an orderly way.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.receive() {
                return (std::mem::take(&mut self.unread), end);
            }
        }
    }

    /// Ends our direction, in an orderly way.
    pub fn end(&mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.flush();
        let _ = self.stream.sock.shutdown(std::net::Shutdown::Write);
    }

    fn receive(&mut self) -> Result<(), End> {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(End::Closed),
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(error) => Err(End::of(&error)),
        }
    }
}

/// The certificate in the PEM file at `path`, as it is on the wire.
pub fn der_of(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).expect("certificate");
    CertificateDer::from_pem_slice(&bytes).expect("PEM").to_vec()
}
