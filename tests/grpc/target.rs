//! A target that speaks HTTP/2: every request is a call of a closure.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Response, request};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio_rustls::TlsAcceptor;

/// A request and where its response goes.
pub(crate) struct Call {
    pub(crate) head: request::Parts,
    pub(crate) body: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
    /// Number of the request at this target, from 1.
    pub(crate) number: usize,
    /// To be set by the target when something has happened that a test waits for.
    pub(crate) told: Arc<watch::Sender<usize>>,
}

impl Call {
    /// Reads the whole body and the trailers.
    pub(crate) async fn read(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        read_all(&mut self.body).await.expect("whole request")
    }

    /// Sends a response with this body.
    pub(crate) fn answer(mut self, status: u16, body: impl Into<Bytes>) {
        let head = Response::builder().status(status).body(()).expect("head");
        let mut stream = self.respond.send_response(head, false).expect("response");
        let _ = stream.send_data(body.into(), true);
    }

    /// Begins a gRPC response.
    pub(crate) fn begin(&mut self) -> SendStream<Bytes> {
        let head = Response::builder().header("content-type", "application/grpc");
        let head = head.header("x-initial", "first").body(()).expect("head");
        self.respond.send_response(head, false).expect("response")
    }

    /// Tells whoever waits that one more thing has happened.
    pub(crate) fn tell(&self) {
        self.told.send_modify(|count| *count += 1);
    }
}

/// Reads a whole body and the trailers.
pub(crate) async fn read_all(
    body: &mut RecvStream,
) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, body.trailers().await?))
}

/// Sends `bytes` as fast as the peer reads.
pub(crate) async fn send_all(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let capacity = capacity.ok_or_else(|| h2::Error::from(h2::Reason::CANCEL))??;
        let part = bytes.split_to(capacity.min(bytes.len()));
        stream.send_data(part, false)?;
    }
    Ok(())
}

/// The code of a gRPC answer, as trailers.
pub(crate) fn status(code: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().expect("code"));
    trailers.insert("x-final", "last".parse().expect("value"));
    trailers
}

/// A scripted target on a thread of its own; gone when dropped.
pub(crate) struct H2Target {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    told: Arc<watch::Sender<usize>>,
    retire: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
}

type Serving = Pin<Box<dyn Future<Output = ()>>>;

impl H2Target {
    /// A target that serves each request with `serve`.
    pub(crate) fn start<F, Served>(serve: F) -> Self
    where
        F: Fn(Call) -> Served + Send + 'static,
        Served: Future<Output = ()> + 'static,
    {
        Self::with(server::Builder::new(), serve)
    }

    /// The same with these settings.
    pub(crate) fn with<F, Served>(builder: server::Builder, serve: F) -> Self
    where
        F: Fn(Call) -> Served + Send + 'static,
        Served: Future<Output = ()> + 'static,
    {
        Self::sealed(None, builder, serve)
    }

    /// The same inside TLS, where that is wanted.
    pub(crate) fn sealed<F, Served>(
        tls: Option<Arc<ServerConfig>>,
        builder: server::Builder,
        serve: F,
    ) -> Self
    where
        F: Fn(Call) -> Served + Send + 'static,
        Served: Future<Output = ()> + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel();
        let this = Self {
            address,
            connections: Arc::default(),
            open: Arc::default(),
            requests: Arc::default(),
            told: Arc::new(watch::Sender::new(0)),
            retire: Arc::default(),
            stop: Some(stop),
        };
        let (connections, open, requests) =
            (this.connections.clone(), this.open.clone(), this.requests.clone());
        let (told, retire) = (this.told.clone(), this.retire.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let serve: std::rc::Rc<dyn Fn(Call) -> Serving> =
                std::rc::Rc::new(move |call| Box::pin(serve(call)));
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime.expect("runtime"), async move {
                let listener = TcpListener::from_std(listener).expect("listener");
                let accept = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        connections.fetch_add(1, SeqCst);
                        let connection = Connection {
                            open: open.clone(),
                            requests: requests.clone(),
                            told: told.clone(),
                            retire: retire.clone(),
                            serve: serve.clone(),
                        };
                        let (builder, tls) = (builder.clone(), tls.clone());
                        tokio::task::spawn_local(async move {
                            let _ = stream.set_nodelay(true);
                            match tls.map(TlsAcceptor::from) {
                                None => connection.run(stream, builder).await,
                                Some(tls) => {
                                    if let Ok(stream) = tls.accept(stream).await {
                                        connection.run(stream, builder).await;
                                    }
                                }
                            }
                        });
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        this
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }

    /// Asks for the end of all connections with GOAWAY; what is under way is served.
    pub(crate) fn retire(&self) {
        self.retire.notify_waiters();
    }

    /// What [`Call::tell`] counted.
    pub(crate) fn told(&self) -> usize {
        *self.told.borrow()
    }
}

impl Drop for H2Target {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

struct Connection {
    open: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    told: Arc<watch::Sender<usize>>,
    retire: Arc<Notify>,
    serve: std::rc::Rc<dyn Fn(Call) -> Serving>,
}

impl Connection {
    async fn run(self, stream: impl AsyncRead + AsyncWrite + Unpin, builder: server::Builder) {
        self.open.fetch_add(1, SeqCst);
        if let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await {
            loop {
                let accepted = tokio::select! {
                    accepted = connection.accept() => accepted,
                    () = self.retire.notified() => {
                        connection.graceful_shutdown();
                        continue;
                    }
                };
                let Some(Ok((request, respond))) = accepted else { break };
                let (head, body) = request.into_parts();
                let number = self.requests.fetch_add(1, SeqCst) + 1;
                let told = self.told.clone();
                let call = Call { head, body, respond, number, told };
                tokio::task::spawn_local((self.serve)(call));
            }
        }
        self.open.fetch_sub(1, SeqCst);
    }
}
