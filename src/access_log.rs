//! One line per request (L7) or connection (L4), in four formats: as an Application Load Balancer,
//! as a Classic one, as web servers do, as JSON.
//!
//! Values in, bytes out. Whatever a client or a target sends, an [`Entry`] becomes exactly one
//! line: bytes that could end it or a quoted field are escaped. Start with [`encode`].

mod alb;
mod classic;
mod combined;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::message::Version;
use crate::model::{LogFormat, Mode, Priority};

/// What there is to say of one request or connection.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Where it arrived.
    pub listener: &'a Names,
    /// What was spoken.
    pub protocol: Protocol,
    /// The client.
    pub client: SocketAddr,
    /// Our address that it connected to.
    pub local: IpAddr,
    /// A number for the connection, the same for each request on it.
    pub connection: u128,
    /// When the request (L4: the connection) came, since 1970.
    pub created: Duration,
    /// When all was over, since 1970.
    pub ended: Duration,
    /// How long what took.
    pub spans: Spans,
    /// What was asked for; `None` where no request could be read.
    pub request: Option<Asked<'a>>,
    /// What decided.
    pub matched: Matched,
    /// What was decided.
    pub action: Option<ActionKind>,
    /// Name of the target group.
    pub group: Option<&'a [u8]>,
    /// The last target that was tried, and the status that it sent.
    pub target: Option<Try>,
    /// Targets that were tried before it.
    pub given_up: &'a [Try],
    /// Status that the client was sent; 0: none.
    pub status: u16,
    /// Bytes from the client.
    pub received: Bytes,
    /// Bytes to the client.
    pub sent: Bytes,
    /// X-Amzn-Trace-Id as the target got it; empty: none.
    pub trace: &'a [u8],
    /// Location of a redirect; empty: none.
    pub location: &'a [u8],
    /// Why it did not end well.
    pub error: Option<Reason>,
    /// Class and reason of a request that deviates from the standard (AWS: desync mitigation).
    pub classification: Option<(&'static str, &'static str)>,
    /// How the connection is encrypted.
    pub tls: Option<Tls<'a>>,
    /// Name of the server that the client asked for, where the connection is not decrypted; empty:
    /// none.
    pub server_name: &'a [u8],
    /// Why the client's certificate is not believed, in AWS's words.
    pub refused_certificate: Option<&'static str>,
}

/// A listener as lines name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Its name.
    pub name: String,
    /// Its layer.
    pub mode: Mode,
    /// Where it listens.
    pub address: SocketAddr,
    /// What ALB's format calls the load balancer: `app/NAME/ID`.
    pub elb: String,
}

/// What was spoken on the client connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Bytes, unread.
    Tcp,
    /// HTTP/1.
    Http,
    /// HTTP/1 over TLS.
    Https,
    /// HTTP/2.
    H2,
    /// gRPC over TLS.
    Grpcs,
    /// A WebSocket.
    Ws,
    /// A WebSocket over TLS.
    Wss,
}

/// How long what took; `None` where it did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spans {
    /// From the first byte until the request was sent to a target.
    pub request: Option<Duration>,
    /// To make a new connection to the target.
    pub connect: Option<Duration>,
    /// From there until the response head had come.
    pub target: Option<Duration>,
    /// From there until the response was begun.
    pub response: Option<Duration>,
    /// All of it.
    pub whole: Duration,
}

/// A request, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Method.
    pub method: &'a [u8],
    /// Request target.
    pub target: &'a [u8],
    /// Path and query of it.
    pub path_and_query: &'a [u8],
    /// Host and port asked for; may be empty.
    pub authority: &'a [u8],
    /// HTTP version.
    pub version: Version,
    /// User-Agent; empty: none.
    pub user_agent: &'a [u8],
    /// Referer; empty: none.
    pub referer: &'a [u8],
}

/// What decided what becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Matched {
    /// Nothing: it was never routed.
    #[default]
    Nothing,
    /// No rule matched: the listener's default.
    Default,
    /// The rule of this priority.
    Rule(Priority),
}

/// Which kind of action was decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionKind {
    /// Send it to a target.
    Forward,
    /// Answer with a Location.
    Redirect,
    /// Answer with a fixed body.
    FixedResponse,
}

/// A target that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    /// Its address.
    pub target: SocketAddr,
    /// Status that it sent; 0: none.
    pub status: u16,
}

/// Bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bytes {
    /// All, heads included.
    pub all: u64,
    /// Those of the head.
    pub head: u64,
}

/// Why an exchange did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// Our word, that of RFC 9209 where it has one.
    pub name: &'static str,
    /// The nearest word of RFC 9209.
    pub proxy_status: &'static str,
}

/// How a client connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tls<'a> {
    /// Cipher, by its OpenSSL name.
    pub cipher: &'a [u8],
    /// `TLSv1.2`, `TLSv1.3`.
    pub protocol: &'a [u8],
    /// Name that the client asked for; empty: none.
    pub server_name: &'a [u8],
    /// The certificate that was shown.
    pub certificate: &'a [u8],
    /// How long the handshake took.
    pub handshake: Duration,
    /// Key exchange.
    pub key_exchange: &'a [u8],
    /// What the client has shown of itself.
    pub client: Option<ClientCertificate<'a>>,
}

/// A client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientCertificate<'a> {
    /// Subject.
    pub subject: &'a [u8],
    /// Issuer.
    pub issuer: &'a [u8],
    /// Serial number, in hexadecimal.
    pub serial_number: &'a [u8],
    /// First and last second.
    pub validity: &'a [u8],
    /// Whether it was verified.
    pub is_verified: bool,
}

impl Names {
    /// The names of a listener.
    #[must_use]
    pub fn new(name: &str, mode: Mode, address: SocketAddr) -> Self {
        let elb = format!("app/{name}/{:016x}", text::id(name.as_bytes()));
        Self { name: name.into(), mode, address, elb }
    }
}

/// What ALB's format and CloudWatch call a target group: `targetgroup/NAME/ID`.
#[must_use]
pub fn group_resource(name: &str) -> String {
    format!("targetgroup/{name}/{:016x}", text::id(name.as_bytes()))
}

impl ActionKind {
    /// As ALB names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Redirect => "redirect",
            Self::FixedResponse => "fixed-response",
        }
    }
}

impl Protocol {
    /// As ALB names it; `tcp` for what it has no name for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Https => "https",
            Self::H2 => "h2",
            Self::Grpcs => "grpcs",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

impl Entry<'_> {
    fn is_l4(&self) -> bool {
        self.listener.mode == Mode::L4
    }

    /// The scheme of a URL; a WebSocket begins as a request for one like any other.
    fn scheme(&self) -> &'static str {
        match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::H2 | Protocol::Grpcs if self.tls.is_none() => "http",
            Protocol::Http | Protocol::Ws => "http",
            Protocol::Https | Protocol::H2 | Protocol::Grpcs | Protocol::Wss => "https",
        }
    }

    /// What came of verifying the client's certificate, in two parts (AWS: `tls_verify_status`);
    /// `None` where none was verified.
    fn verify_status(&self) -> Option<(&'static str, &'static str)> {
        let is_verified = || self.client_certificate().is_some_and(|client| client.is_verified);
        match self.refused_certificate {
            Some(reason) => Some(("Failed:", reason)),
            None => is_verified().then_some(("Success", "")),
        }
    }

    fn client_certificate(&self) -> Option<&ClientCertificate<'_>> {
        self.tls.as_ref()?.client.as_ref()
    }
}

/// Appends the line of `entry` in `format`, with its line end.
pub fn encode(format: LogFormat, entry: &Entry<'_>, out: &mut Vec<u8>) {
    match (format, entry.is_l4()) {
        (LogFormat::Alb, false) => alb::request(entry, out),
        (LogFormat::Alb, true) => alb::connection(entry, out),
        (LogFormat::Classic, _) => classic::line(entry, out),
        (LogFormat::Combined, _) => combined::line(entry, out),
        (LogFormat::Json, _) => json::line(entry, out),
    }
    out.push(b'\n');
}
