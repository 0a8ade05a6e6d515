//! Who may use the API.
//!
//! On the Unix socket the file's mode has decided. On TCP a bearer token decides; where none is
//! configured, which only a loopback address may do without, the request must look as if a
//! program on this host had made it: a web page that rebinds its name to 127.0.0.1 gives itself
//! away by `Host`, one that just sends by `Origin`.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::problem::Problem;

/// What is asked of those who come in by one door.
#[derive(Debug)]
pub(crate) enum Access {
    /// Nothing: the file system has let them in.
    Unix,
    /// The bearer token.
    Token(Token),
    /// That they are programs on this host.
    Loopback,
}

/// A bearer token; never shown.
pub(crate) struct Token(Vec<u8>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    #[cfg(test)]
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Reads the first line of the file at `path`.
    fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path).map_err(|cause| {
            let text = format!(
                "cannot read the token file {}: {cause}; make it with `openssl rand -hex 32`, \
                 readable by the user that runs ringway",
                path.display()
            );
            io::Error::new(cause.kind(), text)
        })?;
        let first = text.lines().next().unwrap_or_default().trim();
        if first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_graphic()) {
            let text = format!(
                "the first line of the token file {} is no token; make one with `openssl rand \
                 -hex 32`",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Self(first.into()))
    }

    /// In a time that does not tell how much of `given` is right.
    fn is(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }
}

impl Access {
    /// What is asked at `address`.
    ///
    /// # Errors
    /// If the token file is no good, or none is given and the address is not a loopback one.
    pub(super) fn of_tcp(address: SocketAddr, token_file: Option<&Path>) -> io::Result<Self> {
        match token_file {
            Some(path) => Token::read(path).map(Self::Token),
            None if address.ip().to_canonical().is_loopback() => Ok(Self::Loopback),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the control API on {address} can be reached by other hosts and has no \
                     token_file; name one, or listen on 127.0.0.1"
                ),
            )),
        }
    }

    fn verdict(&self, fields: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::Unix => Ok(()),
            Self::Token(token) => match bearer(fields) {
                Some(given) if token.is(given) => Ok(()),
                Some(_) => Err(unauthorized("this is not the token")),
                None => Err(unauthorized("this address wants a token")),
            },
            Self::Loopback => is_from_this_host(fields),
        }
    }
}

/// Answers those who may not enter; passes on the rest.
pub(super) async fn check(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    // They tell one word, and those who ask, such as another balancer, carry no token.
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    match access.verdict(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn unauthorized(detail: &str) -> Problem {
    let help = "send `Authorization: Bearer TOKEN` with the first line of the token file";
    Problem::request(StatusCode::UNAUTHORIZED, detail, help)
}

fn bearer(fields: &HeaderMap) -> Option<&[u8]> {
    let value = fields.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn is_from_this_host(fields: &HeaderMap) -> Result<(), Problem> {
    let forbidden = |detail, help| Err(Problem::request(StatusCode::FORBIDDEN, detail, help));
    let text = |name| fields.get(name).map(|value| value.to_str().unwrap_or_default());
    if !text(header::HOST).is_some_and(is_loopback) {
        let help = "ask localhost or 127.0.0.1, or configure a token_file";
        return forbidden("Host is not this host", help);
    }
    let local = |origin: &str| {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.is_some_and(is_loopback)
    };
    if text(header::ORIGIN).is_some_and(|origin| !local(origin)) {
        let help = "web pages from elsewhere need a token: configure a token_file";
        return forbidden("Origin is not this host", help);
    }
    Ok(())
}

/// Whether `authority`, a host with or without a port, is this host by its own word.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
