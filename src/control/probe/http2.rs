//! A probe over HTTP/2: a GET and its status, or a gRPC call with an empty message and its code.

use std::pin::pin;

use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::{Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::health::Probe;
use crate::model::{HealthCheck, ProtocolVersion, RESPONSE_HEAD_BYTES_MAX};

/// A message of no bytes, not compressed (gRPC over HTTP/2: Length-Prefixed-Message).
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// Sends a request for `uri` over `stream` and judges the answer. The connection ends with it.
pub(super) async fn exchange<S>(stream: S, uri: Uri, check: &HealthCheck) -> Probe
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = Builder::new();
    // The limit that traffic has too, so that a target is not healthy and yet useless.
    builder.enable_push(false).max_header_list_size(RESPONSE_HEAD_BYTES_MAX as u32);
    let Ok((sender, connection)) = builder.handshake::<_, &'static [u8]>(stream).await else {
        return Probe::Failed;
    };
    let mut code = pin!(code(sender, uri, check.version));
    let code = tokio::select! {
        biased;
        code = code.as_mut() => code,
        // The connection may end in the same step that brings the answer.
        _ = connection => code.await,
    };
    match code {
        Some(code) if check.matcher.accepts(code) => Probe::Success,
        Some(code) => Probe::CodeMismatch(code),
        None => Probe::Failed,
    }
}

/// The code of the answer; `None` where there is none, or it makes no sense.
async fn code(
    sender: SendRequest<&'static [u8]>,
    uri: Uri,
    version: ProtocolVersion,
) -> Option<u16> {
    let mut sender = sender.ready().await.ok()?;
    let asked = request(uri, version)?;
    let is_call = version == ProtocolVersion::Grpc;
    let (response, mut body) = sender.send_request(asked, !is_call).ok()?;
    if is_call {
        body.send_data(EMPTY_MESSAGE, true).ok()?;
    }
    let (head, answer) = response.await.ok()?.into_parts();
    match version {
        ProtocolVersion::Http1 | ProtocolVersion::Http2 => Some(head.status.as_u16()),
        // Where there is no message, the trailers are in the head ("Trailers-Only").
        ProtocolVersion::Grpc => match grpc_status(&head.headers) {
            Some(code) => Some(code),
            None => grpc_status(&trailers(answer).await?),
        },
    }
}

fn request(uri: Uri, version: ProtocolVersion) -> Option<Request<()>> {
    let agent = "ELB-HealthChecker/2.0";
    let request = match version {
        ProtocolVersion::Http1 | ProtocolVersion::Http2 => {
            Request::get(uri).header(USER_AGENT, agent).header(ACCEPT_ENCODING, "gzip, compressed")
        }
        ProtocolVersion::Grpc => Request::post(uri)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, agent),
    };
    request.body(()).ok()
}

/// Reads over the messages. One without end ends with the time of the probe.
async fn trailers(mut body: RecvStream) -> Option<HeaderMap> {
    while let Some(data) = body.data().await {
        let bytes = data.ok()?.len();
        body.flow_control().release_capacity(bytes).ok()?;
    }
    body.trailers().await.ok()?
}

/// The gRPC code in `fields`: a number, of which 0 to 99 can be asked for.
fn grpc_status(fields: &HeaderMap) -> Option<u16> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
