//! A client that speaks HTTP/2, and one that writes its frames by hand.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::task::JoinHandle;

use crate::harness::DEADLINE;

/// Runs a test that waits for several things at once.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("runtime").block_on(async {
        tokio::time::timeout(DEADLINE * 3, test).await.expect("within the deadline");
    });
}

/// One connection.
pub(crate) struct Http2 {
    pub(crate) send: SendRequest<Bytes>,
    /// Ends with the connection: well after a GOAWAY, or with its error.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

/// A response that has come to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().expect("text"))
    }
}

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.expect("connection");
        let (send, connection) = h2::client::handshake(stream).await.expect("handshake");
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Begins a request whose head is all there is of it, if it `ends`.
    pub(crate) async fn begin(
        &self,
        request: Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut send = self.send.clone().ready().await?;
        send.send_request(request, ends)
    }

    /// Asks for `path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, h2::Error> {
        self.ask(request(Method::GET, path)).await
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&self, request: Request<()>) -> Result<Answer, h2::Error> {
        let (response, _) = self.begin(request, true).await?;
        answer(response).await
    }

    /// Sends a request with a body, and trailers if there are some.
    pub(crate) async fn send(
        &self,
        request: Request<()>,
        body: &[u8],
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        let (response, stream) = self.begin(request, false).await?;
        let sending = async {
            let mut stream = stream;
            push(&mut stream, body, trailers.is_none()).await?;
            trailers.map_or(Ok(()), |trailers| stream.send_trailers(trailers))
        };
        let (sent, answer) = tokio::join!(sending, answer(response));
        if answer.is_err() {
            sent?;
        }
        answer
    }

    /// Waits until the balancer ends the connection; a client without a handle would end it.
    pub(crate) async fn ended(self) -> Result<(), h2::Error> {
        let Self { send: _send, connection } = self;
        connection.await.expect("task")
    }
}

/// Sends all of `body` as fast as the windows allow.
pub(crate) async fn push(
    stream: &mut SendStream<Bytes>,
    body: &[u8],
    ends: bool,
) -> Result<(), h2::Error> {
    let mut rest = Bytes::copy_from_slice(body);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        while stream.capacity() == 0 {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(capacity) => drop(capacity?),
                None => return Err(Reason::CANCEL.into()),
            }
        }
        let part = rest.split_to(stream.capacity().min(rest.len()));
        stream.send_data(part, ends && rest.is_empty())?;
    }
    if ends && body.is_empty() {
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

/// Reads a response to its end.
pub(crate) async fn answer(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let bytes = whole(&mut body).await?;
    let trailers = body.trailers().await?;
    Ok(Answer { status: head.status, fields: head.headers, body: bytes, trailers })
}

/// Reads all of a body.
pub(crate) async fn whole(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// A request for `path` at `a.example`.
pub(crate) fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("http://a.example{path}");
    Request::builder().method(method).uri(uri).body(()).expect("request")
}

/// Types of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// Their flags.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `GET http://a/`, compressed with nothing but the static table (RFC 7541 appendix A).
pub(crate) const GET: &[u8] = b"\x82\x86\x84\x41\x01a";
/// The same with POST.
pub(crate) const POST: &[u8] = b"\x83\x86\x84\x41\x01a";

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![high, middle, low, kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A client that writes what it wants.
pub(crate) struct Raw(TcpStream);

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Raw {
    /// Says the first words.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("timeout");
        let mut raw = Self(stream);
        assert!(raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        assert!(raw.send(&frame(SETTINGS, 0, 0, &[])));
        raw
    }

    /// Whether the balancer still takes bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// The next frame; `None` at the end of the connection, however it ends.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).ok()?;
        let [high, middle, low, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The reason of the last GOAWAY before the end of the connection.
    pub(crate) fn goaway(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.frame() {
            if frame.kind == GOAWAY {
                reason = Some(u32::from_be_bytes(frame.payload[4..8].try_into().expect("four")));
            }
        }
        reason
    }
}
