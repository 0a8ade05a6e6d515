//! A gRPC client: HTTP/2 over TLS, by the `h2` crate.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::*;
use crate::target::read_all;

/// Runs a test; no wait in it takes longer than the deadline.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("runtime");
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async { tokio::time::timeout(DEADLINE, test).await.expect("in time") })
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) head: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

impl Told {
    /// A field of the trailers, or of the head where that is all there is.
    pub(crate) fn last(&self, name: &str) -> Option<&str> {
        let value = self.trailers.get(name).or_else(|| self.head.get(name));
        value.and_then(|value| value.to_str().ok())
    }
}

/// A client connection.
#[derive(Clone)]
pub(crate) struct Caller {
    requests: SendRequest<Bytes>,
}

impl Caller {
    /// Connects to the listener `web` of `balancer`, whose certificate `authority` has signed.
    pub(crate) async fn connect(authority: &Authority, balancer: &Balancer) -> Self {
        Self::connect_to(authority, balancer.address("web")).await
    }

    /// Connects to `address`.
    pub(crate) async fn connect_to(authority: &Authority, address: SocketAddr) -> Self {
        let mut config = (*authority.client()).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await.expect("connect");
        let _ = stream.set_nodelay(true);
        let name = "a.example".try_into().expect("name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = stream.expect("handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (requests, connection) =
            client::Builder::new().handshake(stream).await.expect("preface");
        tokio::task::spawn_local(connection);
        Self { requests }
    }

    /// Begins a request.
    pub(crate) fn send(
        &self,
        request: Request<()>,
        end: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        self.requests.clone().send_request(request, end).expect("request")
    }

    /// Begins a gRPC call of `method`.
    pub(crate) fn begin(&self, method: &str) -> (ResponseFuture, SendStream<Bytes>) {
        self.send(call(method), false)
    }

    /// Calls `method` with one message.
    pub(crate) async fn call(&self, method: &str, message: &[u8]) -> Told {
        let (response, mut body) = self.begin(method);
        body.send_data(framed(message), true).expect("message");
        told(response).await.expect("answer")
    }

    /// Sends a request without a body.
    pub(crate) async fn get(&self, path: &str) -> Told {
        let uri = format!("https://a.example{path}");
        let request = Request::get(uri).body(()).expect("request");
        told(self.send(request, true).0).await.expect("answer")
    }
}

/// The head of a gRPC call.
pub(crate) fn call(method: &str) -> Request<()> {
    Request::post(format!("https://a.example{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-metadata", "mine")
        .header("grpc-timeout", "20S")
        .body(())
        .expect("request")
}

/// A message as gRPC sends it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).expect("short").to_be_bytes());
    framed.extend_from_slice(message);
    framed.into()
}

/// Waits for the whole answer.
pub(crate) async fn told(response: ResponseFuture) -> Result<Told, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let (bytes, trailers) = read_all(&mut body).await?;
    let trailers = trailers.unwrap_or_default();
    Ok(Told { status: head.status.as_u16(), head: head.headers, body: bytes, trailers })
}

/// Waits for the head of an answer.
pub(crate) async fn begun(response: ResponseFuture) -> (u16, HeaderMap, RecvStream) {
    let (head, body): (_, RecvStream) = response.await.map(Response::into_parts).expect("head");
    (head.status.as_u16(), head.headers, body)
}
