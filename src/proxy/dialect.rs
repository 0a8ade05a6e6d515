//! What a client speaks against what the targets of a group do (AWS: "Protocol versions").

use crate::message::Request;
use crate::model::ProtocolVersion;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Dialect {
    /// HTTP/1.0 or HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC, which is a use of HTTP/2.
    Grpc,
}

impl Dialect {
    /// The one of `request`, which came over HTTP/2 or not.
    pub(super) fn of(request: &Request<'_>, is_http2: bool) -> Self {
        match is_http2 {
            false => Self::Http1,
            true if request.values(b"content-type").any(is_grpc) => Self::Grpc,
            true => Self::Http2,
        }
    }

    /// Whether `request` can be sent to targets that speak `version`; if not, AWS answers with 464.
    ///
    /// AWS refuses HTTP/1.1 to `HTTP2`, too. Nothing is lost in between, so here it passes, but for
    /// WebSockets.
    pub(super) fn fits(self, request: &Request<'_>, version: ProtocolVersion) -> bool {
        let is_websocket = request.head.upgrade_websocket;
        match (self, version) {
            (Self::Http1 | Self::Http2, ProtocolVersion::Http1)
            | (Self::Grpc, ProtocolVersion::Http2 | ProtocolVersion::Grpc) => true,
            (Self::Http1 | Self::Http2, ProtocolVersion::Http2) => !is_websocket,
            (Self::Http2, ProtocolVersion::Grpc) => request.method() == b"POST",
            (Self::Grpc, ProtocolVersion::Http1) | (Self::Http1, ProtocolVersion::Grpc) => false,
        }
    }
}

/// Whether a media type is that of gRPC: `application/grpc`, with or without a subtype as in
/// `+proto`. That of gRPC-Web begins with the same letters and is made for HTTP/1.1.
pub(super) fn is_grpc(media_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    media_type.split_at_checked(GRPC.len()).is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use ProtocolVersion::{Grpc, Http1, Http2};

    use super::*;
    use crate::http1::parse_request;
    use crate::message::RequestHead;
    use crate::model::DesyncMitigation;

    const PLAIN: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const CALL: &str = "POST /a.B/C HTTP/1.1\r\nHost: a\r\ncontent-type: application/grpc\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
    const WEBSOCKET: &str =
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

    #[test]
    fn what_fits_is_what_aws_says_and_http1_over_http2() {
        let rows = [
            (GET, false, Dialect::Http1, [true, true, false]),
            (PLAIN, false, Dialect::Http1, [true, true, false]),
            (CALL, false, Dialect::Http1, [true, true, false]),
            (GET, true, Dialect::Http2, [true, true, false]),
            (PLAIN, true, Dialect::Http2, [true, true, true]),
            (CALL, true, Dialect::Grpc, [false, true, true]),
            (WEBSOCKET, false, Dialect::Http1, [true, false, false]),
            (WEBSOCKET, true, Dialect::Http2, [true, false, false]),
        ];
        for (text, is_http2, dialect, fits) in rows {
            let mut head = RequestHead::default();
            parse_request(text.as_bytes(), DesyncMitigation::Defensive, &mut head).unwrap();
            let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let request = Request { head: &head, bytes: text.as_bytes(), peer };
            assert_eq!(Dialect::of(&request, is_http2), dialect, "{text}");
            let found = [Http1, Http2, Grpc].map(|version| dialect.fits(&request, version));
            assert_eq!(found, fits, "{text} over HTTP/2: {is_http2}");
        }
    }

    #[test]
    fn media_types_of_grpc_are_told_from_their_neighbours() {
        for good in ["application/grpc", "Application/GRPC+proto", "application/grpc;a=b"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for other in ["application/grpc-web", "application/grpcx", "application/json", ""] {
            assert!(!is_grpc(other.as_bytes()), "{other}");
        }
    }
}
