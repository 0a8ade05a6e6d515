//! One probe: what goes over the wire and how the answer is judged (spec 4.2).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

use hyper::client::conn::http1;
use hyper::header::{ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::http2;
use crate::health::Probe;
use crate::model::{FIELDS_MAX, HealthCheck, ProbeProtocol, RESPONSE_HEAD_BYTES_MAX};

/// Probes `target` once, on a new connection, within the timeout of `check`. Dropping this closes
/// the connection.
///
/// # Errors
/// When the probe could not be made for want of files, ports or memory of our own: that says
/// nothing about the target.
pub(super) async fn probe(target: SocketAddr, check: &HealthCheck) -> io::Result<Probe> {
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
            ProbeProtocol::Http if check.version.is_http2() => {
                Ok(http2::exchange(stream, uri("http", address, check)?, check).await)
            }
            ProbeProtocol::Http => exchange(stream, address, check).await,
        }
    };
    tokio::time::timeout(check.timeout, answer).await.unwrap_or(Ok(Probe::Timeout))
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
    stream: TcpStream,
    address: SocketAddr,
    check: &HealthCheck,
) -> io::Result<Probe> {
    let request = request(address, &check.path)?;
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
/// None for a `path` that the model allows.
fn request(address: SocketAddr, path: &str) -> io::Result<Request<String>> {
    let path = PathAndQuery::try_from(request_target(path)).map_err(io::Error::other)?;
    Request::get(Uri::from(path))
        .header(HOST, host(address))
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
        .authority(host(address))
        .path_and_query(path)
        .build()
        .map_err(io::Error::other)
}

/// Host field: the address, and the port unless it is HTTP's own.
fn host(address: SocketAddr) -> String {
    let port = match address.port() {
        80 => String::new(),
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
    fn host_field_has_the_port_unless_it_is_80() {
        let rows = [
            ("10.0.0.5:8080", "10.0.0.5:8080"),
            ("10.0.0.5:80", "10.0.0.5"),
            ("10.0.0.5:443", "10.0.0.5:443"),
            ("[fd00::5]:8080", "[fd00::5]:8080"),
            ("[fd00::5]:80", "[fd00::5]"),
        ];
        for (address, expected) in rows {
            assert_eq!(host(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn every_path_that_the_model_allows_makes_a_request() {
        let address = "10.0.0.5:80".parse().unwrap();
        let visible: String = ('!'..='~').collect();
        let rows = [
            ("/", "/"),
            ("/health?deep=1&x=%20", "/health?deep=1&x=%20"),
            ("//health", "//health"),
            ("/a<b>#c|d", "/a%3Cb%3E%23c%7Cd"),
        ];
        for (path, expected) in rows {
            assert_eq!(request(address, path).unwrap().uri().to_string(), expected);
        }
        request(address, &format!("/{visible}")).unwrap();
    }

    #[tokio::test]
    async fn connection_that_leads_back_to_itself_is_recognised() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        assert!(is_own_echo(&socket.connect(address).await.unwrap()));
    }
}
