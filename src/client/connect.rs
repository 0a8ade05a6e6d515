//! Finds the control API and speaks HTTP with it, one connection for each question.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Trouble;
use crate::cli::{Reach, SOCKET_PATH};
use crate::control::api::Problem;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer, beyond what a question itself asks to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer, in bytes: the status of half a million targets.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A way to the control API.
#[derive(Debug, Clone)]
pub(super) struct Client {
    route: Route,
    token: Option<String>,
}

#[derive(Debug, Clone)]
enum Route {
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Question {
    method: Method,
    path: String,
    body: Option<Value>,
    patience: Duration,
}

impl Question {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), body: None, patience: ANSWER_TIMEOUT }
    }

    pub(super) fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Waits so much longer for the answer.
    pub(super) fn wait(self, longer: Duration) -> Self {
        let patience = self.patience + longer;
        Self { patience, ..self }
    }
}

/// A segment of a path, percent-encoded.
pub(super) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let each = text.bytes().map(|byte| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    each.collect()
}

impl Client {
    /// The way that `reach` says, else the environment, else the default socket.
    pub(super) fn new(
        reach: &Reach,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Trouble> {
        let token = reach.token_file.as_ref().map(|path| {
            let text = fs::read_to_string(path).map_err(|cause| {
                Trouble::Failed(format!("cannot read the token file {}: {cause}", path.display()))
            })?;
            Ok::<_, Trouble>(text.lines().next().unwrap_or_default().trim().to_owned())
        });
        let route = match (&reach.url, &reach.socket) {
            (Some(url), _) => Route::of_url(url)?,
            (None, Some(path)) => Route::Unix(path.clone()),
            (None, None) => match (variable("RINGWAY_URL"), variable("RINGWAY_SOCKET")) {
                (Some(url), _) => Route::of_url(&url)?,
                (None, Some(path)) => Route::Unix(path.into()),
                (None, None) => Route::Unix(SOCKET_PATH.into()),
            },
        };
        Ok(Self { route, token: token.transpose()? })
    }

    /// The socket or the URL.
    pub(super) fn name(&self) -> String {
        self.route.name()
    }

    /// The answer, which is JSON.
    pub(super) async fn ask<T: DeserializeOwned>(&self, question: Question) -> Result<T, Trouble> {
        let bytes = self.ask_bytes(question).await?;
        serde_json::from_slice(&bytes).map_err(|cause| {
            Trouble::Failed(format!(
                "the answer is not what this version understands: {cause}; use the client of the \
                 running version"
            ))
        })
    }

    /// The body of the answer.
    pub(super) async fn ask_bytes(&self, question: Question) -> Result<Bytes, Trouble> {
        let patience = question.patience;
        let answer = async {
            let response = self.open(question).await?;
            read(response.into_body()).await
        };
        self.within(patience, answer).await?
    }

    /// What `answer` gives, if it comes in time.
    async fn within<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = T>,
    ) -> Result<T, Trouble> {
        let answer = tokio::time::timeout(patience, answer).await;
        answer.map_err(|_| Trouble::Unavailable(format!("{} does not answer", self.name())))
    }

    /// The answer, whose body is still to come.
    pub(super) async fn open(&self, question: Question) -> Result<Response<Incoming>, Trouble> {
        let patience = question.patience;
        let request = self.request(question)?;
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.send(request));
        let answer = connecting
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|cause| self.route.unavailable(&cause))?;
        let response = self
            .within(patience, answer)
            .await?
            .map_err(|cause| Trouble::Failed(format!("the answer broke off: {cause}")))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = read(response.into_body()).await?;
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Trouble::Problem(problem),
            Err(_) => Trouble::Failed(format!("{} answers {status}", self.name())),
        })
    }

    fn request(&self, question: Question) -> Result<Request<Full<Bytes>>, Trouble> {
        let host = match &self.route {
            Route::Unix(_) => "localhost",
            Route::Tcp(authority) => authority,
        };
        let Question { method, path, body, .. } = question;
        let mut builder = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Some(token) = &self.token {
            builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        builder.body(Full::new(bytes)).map_err(|cause| Trouble::Usage(cause.to_string()))
    }

    /// Connects, and returns the answer's future.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> io::Result<impl Future<Output = hyper::Result<Response<Incoming>>> + use<>> {
        let mut sender = match &self.route {
            Route::Unix(path) => handshake(UnixStream::connect(path).await?).await?,
            Route::Tcp(authority) => handshake(TcpStream::connect(authority).await?).await?,
        };
        Ok(async move { sender.send_request(request).await })
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<http1::SendRequest<Full<Bytes>>> {
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Its error is the answer's, too.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn read(body: Incoming) -> Result<Bytes, Trouble> {
    let read = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let read = read.map_err(|cause| Trouble::Failed(format!("the answer broke off: {cause}")))?;
    Ok(read.to_bytes())
}

impl Route {
    fn of_url(url: &str) -> Result<Self, Trouble> {
        let usage =
            |help: &str| Trouble::Usage(format!("`{url}` is no URL of the control API; {help}"));
        if url.starts_with("https://") {
            return Err(usage("it speaks plain HTTP: tunnel it, as `ssh -L 9900:localhost:9900`"));
        }
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match authority {
            Some(authority)
                if !authority.is_empty() && !authority.contains(['/', '?', '@', ' ']) =>
            {
                let port = authority.rsplit_once(':').map(|(_, port)| port);
                let is_whole = port.is_some_and(|port| port.parse::<u16>().is_ok());
                Ok(Self::Tcp(if is_whole { authority.into() } else { format!("{authority}:80") }))
            }
            Some(_) | None => Err(usage("write it as http://127.0.0.1:9900")),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Unix(path) => path.display().to_string(),
            Self::Tcp(authority) => format!("http://{authority}"),
        }
    }

    fn unavailable(&self, cause: &io::Error) -> Trouble {
        let cure = match (self, cause.kind()) {
            (Self::Unix(_), io::ErrorKind::NotFound) => {
                "is ringway running (`systemctl status ringway`), and is its control socket \
                 elsewhere (--socket)?"
            }
            (_, io::ErrorKind::PermissionDenied) => {
                "use sudo, or join the group of the socket (`usermod -aG ringway $USER`)"
            }
            (_, io::ErrorKind::ConnectionRefused) => {
                "ringway is not running; start it (`systemctl start ringway`)"
            }
            (_, io::ErrorKind::TimedOut) => "is the host up, and is ringway busy?",
            _ => "name another way with --socket or --url",
        };
        let cause = match cause.kind() {
            io::ErrorKind::NotFound => "it does not exist".into(),
            io::ErrorKind::ConnectionRefused => "nobody listens".into(),
            io::ErrorKind::TimedOut => "no answer in time".into(),
            _ => cause.to_string(),
        };
        Trouble::Unavailable(format!("nothing answers on {}: {cause}; {cure}", self.name()))
    }
}
