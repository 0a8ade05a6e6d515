//! One probe: what goes over the wire and how the answer is judged (spec 4.2).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use hyper::client::conn::http1;
use hyper::header::{ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http2;
use crate::health::Probe;
use crate::model::{FIELDS_MAX, HealthCheck, ProbeProtocol, RESPONSE_HEAD_BYTES_MAX};
use crate::tls::{self, Inner};

use super::How;

/// Probes `target` once, on a new connection, within the timeout of the health check. Dropping this
/// closes the connection. A TLS session begins anew each time, so that a certificate that is no
/// longer good is noticed.
///
/// # Errors
/// When the probe could not be made for want of files, ports or memory of our own: that says
/// nothing about the target.
pub(super) async fn probe<'a>(target: SocketAddr, how: impl Into<How<'a>>) -> io::Result<Probe> {
    let How { check, tls } = how.into();
    let mut address = target;
    if let Some(port) = check.port {
        address.set_port(port);
    }
    let answer = async {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) if is_own_echo(&stream) => return Ok(Probe::Failed),
            Ok(stream) => stream,
            Err(error) if is_own_fault(&error) => return Err(error),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Probe::Timeout),
            Err(_) => return Ok(Probe::Failed),
        };
        match check.protocol {
            ProbeProtocol::Tcp => Ok(Probe::Success),
            ProbeProtocol::Http => ask(stream, address, check).await,
            ProbeProtocol::Tls => Ok(match seal(stream, address, Inner::Opaque, tls).await {
                Some(_) => Probe::Success,
                None => Probe::Failed,
            }),
            ProbeProtocol::Https => match seal(stream, address, Inner::Http, tls).await {
                Some(stream) => ask(stream, address, check).await,
                None => Ok(Probe::Failed),
            },
        }
    };
    tokio::time::timeout(check.timeout, answer).await.unwrap_or(Ok(Probe::Timeout))
}

/// Asks over `stream`, in the version that the group speaks.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    check: &HealthCheck,
) -> io::Result<Probe> {
    match check.version.is_http2() {
        true => {
            let scheme = if check.protocol.is_encrypted() { "https" } else { "http" };
            Ok(http2::exchange(stream, uri(scheme, address, check)?, check).await)
        }
        false => exchange(stream, address, check).await,
    }
}

/// Agrees with the target on a TLS session.
async fn seal(
    stream: TcpStream,
    address: SocketAddr,
    inner: Inner,
    tls: Option<&Arc<tls::Client>>,
) -> Option<TlsStream<TcpStream>> {
    let tls = tls?;
    let connector = TlsConnector::from(tls.once(inner));
    connector.connect(tls.name_of(address.ip()), stream).await.ok()
}

/// See [`super::greet`].
pub(super) async fn greet(target: SocketAddr, tls: &tls::Client) -> io::Result<()> {
    let stream = TcpStream::connect(target).await?;
    let connector = TlsConnector::from(tls.once(Inner::Http));
    connector.connect(tls.name_of(target.ip()), stream).await.map(drop)
}

/// Whether connecting failed here and not there.
fn is_own_fault(error: &io::Error) -> bool {
    let own = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EADDRNOTAVAIL,
        libc::EAGAIN,
    ];
    error.raw_os_error().is_some_and(|code| own.contains(&code))
}

/// Whether the connection leads back to itself. When nothing listens on a local port, the kernel
/// may give a connection to it that very port as its own, and TCP's simultaneous open succeeds.
fn is_own_echo(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(own), Ok(peer)) if own == peer)
}

/// Sends the request and judges the status. Redirects are statuses like any other; the body is
/// not read; interim responses are passed over.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    check: &HealthCheck,
) -> io::Result<Probe> {
    let request = request(address, check)?;
    let mut http = http1::Builder::new();
    // The limits that traffic has too, so that a target is not healthy and yet useless.
    http.title_case_headers(true).max_buf_size(RESPONSE_HEAD_BYTES_MAX).max_headers(FIELDS_MAX);
    let Ok((mut sender, connection)) = http.handshake(TokioIo::new(stream)).await else {
        return Ok(Probe::Failed);
    };
    let mut response = pin!(sender.send_request(request));
    let response = tokio::select! {
        biased;
        response = response.as_mut() => response,
        // The connection may end in the same step that brings the response.
        _ = connection => response.await,
    };
    Ok(match response.map(|response| response.status().as_u16()) {
        Ok(status) if check.matcher.accepts(status) => Probe::Success,
        Ok(status) => Probe::CodeMismatch(status),
        Err(_) => Probe::Failed,
    })
}

/// The request of a probe; hyper keeps the order of the fields.
///
/// # Errors
/// None for a path that the model allows.
fn request(address: SocketAddr, check: &HealthCheck) -> io::Result<Request<String>> {
    let path = PathAndQuery::try_from(request_target(&check.path)).map_err(io::Error::other)?;
    Request::get(Uri::from(path))
        .header(HOST, host(address, check.protocol))
        .header(CONNECTION, "close")
        .header(USER_AGENT, "ELB-HealthChecker/2.0")
        .header(ACCEPT_ENCODING, "gzip, compressed")
        .body(String::new())
        .map_err(io::Error::other)
}

/// What a probe over HTTP/2 asks for.
///
/// # Errors
/// None for a path that the model allows.
fn uri(scheme: &str, address: SocketAddr, check: &HealthCheck) -> io::Result<Uri> {
    let path = request_target(&check.path);
    Uri::builder()
        .scheme(scheme)
        .authority(host(address, check.protocol))
        .path_and_query(path)
        .build()
        .map_err(io::Error::other)
}

/// Host field: the address, and the port unless it is the protocol's own.
fn host(address: SocketAddr, protocol: ProbeProtocol) -> String {
    let own = if protocol.is_encrypted() { 443 } else { 80 };
    let port = match address.port() {
        port if port == own => String::new(),
        port => format!(":{port}"),
    };
    match address.ip() {
        IpAddr::V4(ip) => format!("{ip}{port}"),
        IpAddr::V6(ip) => format!("[{ip}]{port}"),
    }
}

/// `path` as it may stand in a request line (RFC 3986 §3.3, §3.4): other characters that the
/// model allows, such as `<` and `#`, percent-encoded.
fn request_target(path: &str) -> String {
    let mut target = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte) {
            target.push(byte.into());
        } else {
            target.push_str(&format!("%{byte:02X}"));
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_field_has_the_port_unless_it_is_that_of_the_protocol() {
        use ProbeProtocol::{Http, Https};
        let rows = [
            ("10.0.0.5:8080", Http, "10.0.0.5:8080"),
            ("10.0.0.5:80", Http, "10.0.0.5"),
            ("10.0.0.5:443", Http, "10.0.0.5:443"),
            ("[fd00::5]:8080", Http, "[fd00::5]:8080"),
            ("[fd00::5]:80", Http, "[fd00::5]"),
            ("10.0.0.5:80", Https, "10.0.0.5:80"),
            ("10.0.0.5:443", Https, "10.0.0.5"),
        ];
        for (address, protocol, expected) in rows {
            assert_eq!(host(address.parse().unwrap(), protocol), expected);
        }
    }

    #[test]
    fn every_path_that_the_model_allows_makes_a_request() {
        let address = "10.0.0.5:80".parse().unwrap();
        let check = |path: &str| HealthCheck { path: path.to_owned(), ..HealthCheck::default() };
        let visible: String = ('!'..='~').collect();
        let rows = [
            ("/", "/"),
            ("/health?deep=1&x=%20", "/health?deep=1&x=%20"),
            ("//health", "//health"),
            ("/a<b>#c|d", "/a%3Cb%3E%23c%7Cd"),
        ];
        for (path, expected) in rows {
            assert_eq!(request(address, &check(path)).unwrap().uri().to_string(), expected);
        }
        request(address, &check(&format!("/{visible}"))).unwrap();
    }

    #[tokio::test]
    async fn connection_that_leads_back_to_itself_is_recognised() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        assert!(is_own_echo(&socket.connect(address).await.unwrap()));
    }
}
