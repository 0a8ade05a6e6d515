//! What a client gets that speaks other than HTTP/1.1.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;

use crate::compare::Error;
use crate::compare::ask::{Asker, Response};
use crate::compare::findings::{Http2, WebSocket};
use crate::compare::site::Purpose;
use crate::compare::target::speak::{
    END, FRAME_HEAD_BYTES, GOAWAY, HEADERS, PREFACE, SETTINGS, SETTINGS_TYPE, STATUS_200, WS_KEY,
    frame,
};
use crate::compare::way::Way;

use super::failed;
use super::single::address;

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// A text message "hi", masked as clients have to, and as it comes back.
const MASKED: &[u8] = &[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
const CLEAR: &[u8] = &[0x81, 2, b'h', b'i'];
/// `GET http://a/h2c` in HPACK: method, scheme, path and authority.
const REQUEST: &[u8] = &[0x82, 0x86, 0x04, 4, b'/', b'h', b'2', b'c', 0x01, 1, b'a'];

/// Opens a WebSocket of the second application and sends a message.
pub(super) fn web_socket(way: &Way) -> Result<WebSocket, Error> {
    let address = address(way, Purpose::Many, 0)?;
    let mut asker = Asker::connect(address, CLIENT).map_err(failed)?;
    let lines = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {WS_KEY}\r\n"
    );
    let response = asker.get("/blog/ws", "home.example", &lines).map_err(failed)?;
    let switched = response.status() == Some(101);
    let echoed = switched
        && asker.send(MASKED).is_ok()
        && asker.read_until(|bytes| bytes.len() >= CLEAR.len()) == CLEAR;
    Ok(WebSocket {
        status: response.status(),
        echoed,
        application: response.field("x-application").map(str::to_owned),
    })
}

/// Sends what a client of HTTP/2 begins with, in both of its ways.
pub(super) fn http2(way: &Way) -> Result<Http2, Error> {
    let address = address(way, Purpose::Many, 0)?;
    let prefaces = || way.site.home.seen.prefaces.load(Relaxed);
    let before = prefaces();
    let mut asker = Asker::connect(address, CLIENT).map_err(failed)?;
    let mut bytes = [PREFACE, SETTINGS].concat();
    bytes.extend_from_slice(&[0, 0, REQUEST.len() as u8, HEADERS, END, 0, 0, 0, 1]);
    bytes.extend_from_slice(REQUEST);
    // One that closes at once is an answer as well.
    let sent = asker.send(&bytes).is_ok();
    let answer = if sent { asker.read_until(says_enough) } else { Vec::new() };
    let reached_target = prefaces() > before;
    let prior_knowledge = describe(&answer);

    let mut asker = Asker::connect(address, CLIENT).map_err(failed)?;
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n";
    let request = format!("GET /h2c HTTP/1.1\r\nHost: home.example\r\n{lines}\r\n");
    let sent = asker.send(request.as_bytes()).is_ok();
    let answer_to_upgrade =
        if sent { asker.read_until(|bytes| Response::read(bytes).is_some()) } else { Vec::new() };
    Ok(Http2 {
        prior_knowledge,
        upgrade: status_line(&answer_to_upgrade),
        answered: status(&answer) == Some(STATUS_200),
        reached_target,
    })
}

/// Whether the kind of the answer is clear.
fn says_enough(bytes: &[u8]) -> bool {
    match bytes.starts_with(b"HTTP/") {
        true => memchr::memmem::find(bytes, b"\r\n\r\n").is_some(),
        false => status(bytes).is_some() || frames(bytes).any(|(kind, ..)| kind == GOAWAY),
    }
}

/// The frames that came whole, if what came is HTTP/2: which begins with SETTINGS.
fn frames(bytes: &[u8]) -> impl Iterator<Item = (u8, u8, u32, &[u8], usize)> {
    let is_http2 = bytes.get(3) == Some(&SETTINGS_TYPE) && bytes.len() >= FRAME_HEAD_BYTES;
    let mut rest = if is_http2 { bytes } else { &[] };
    std::iter::from_fn(move || {
        let found = frame(rest)?;
        rest = rest.get(found.4..)?;
        Some(found)
    })
}

/// First byte of the response's head, which is the status where HPACK has that in its table.
fn status(bytes: &[u8]) -> Option<u8> {
    let (.., head, _) =
        frames(bytes).find(|(kind, _, stream, ..)| (*kind, *stream) == (HEADERS, 1))?;
    head.first().copied()
}

fn describe(bytes: &[u8]) -> String {
    match status(bytes) {
        Some(STATUS_200) => "HTTP/2, status 200".into(),
        Some(_) => "HTTP/2, another status".into(),
        None if frames(bytes).any(|(kind, ..)| kind == GOAWAY) => "HTTP/2, GOAWAY".into(),
        None if frames(bytes).next().is_some() => "HTTP/2, no response".into(),
        None => status_line(bytes),
    }
}

fn status_line(bytes: &[u8]) -> String {
    let line = String::from_utf8_lossy(bytes.split(|&byte| byte == b'\r').next().unwrap_or(bytes));
    match line.starts_with("HTTP/1.") {
        true => line.trim_end().to_owned(),
        false => "closed without an answer".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_http2_are_told_apart() {
        let response = [SETTINGS, &[0, 0, 1, HEADERS, END, 0, 0, 0, 1, STATUS_200]].concat();
        let goaway = [SETTINGS, &[0, 0, 0, GOAWAY, 0, 0, 0, 0, 0]].concat();
        let cases: [(&[u8], &str); 5] = [
            (&response, "HTTP/2, status 200"),
            (&goaway, "HTTP/2, GOAWAY"),
            (SETTINGS, "HTTP/2, no response"),
            (b"HTTP/1.1 400 Bad Request\r\nA: b\r\n\r\n", "HTTP/1.1 400 Bad Request"),
            (b"", "closed without an answer"),
        ];
        for (bytes, said) in cases {
            assert_eq!(describe(bytes), said);
        }
    }
}
