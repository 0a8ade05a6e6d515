//! A target for benchmarks: one thread, keep-alive, as little work per request as can be.
//!
//! `GET /N` is answered with N bytes (any number), `GET /accepted` with how many connections this
//! address has taken, anything else with two bytes; a request body of known length is read and
//! dropped. Usage: `target ADDRESS...`

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use ringway::http1::{Parsed, parse_request};
use ringway::message::{BodyLength, RequestHead};
use ringway::model::{DesyncMitigation, Driver};
use ringway::net::{self, Acceptor, Buffer, Socket, ring};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longest piece of a body that is written at once.
const PIECE_BYTES: usize = 1 << 20;

fn main() {
    let addresses: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let (engine, _) = ring::probe(Driver::Auto).expect("epoll always works");
    let mut runtime = ring::build(engine).expect("a runtime");
    runtime.block_on(async move {
        for address in addresses {
            let listener = net::bind(address.parse().expect("an address")).expect("a free port");
            net::spawn(accept(listener));
        }
        std::future::pending::<()>().await;
    });
}

async fn accept(listener: OwnedFd) {
    let acceptor = Acceptor::new(listener).expect("a ring");
    let accepted = Rc::new(Cell::new(0));
    while acceptor.ready().await.is_ok() {
        let spawn = |fd, _| {
            accepted.set(accepted.get() + 1);
            net::spawn(serve(Socket::new(fd)?, accepted.clone()));
            Ok(())
        };
        if acceptor.accept(spawn).is_err() {
            return;
        }
    }
}

async fn serve(socket: Socket, accepted: Rc<Cell<u64>>) -> Option<()> {
    let mut payload = Buffer::with_room(0);
    let mut input = Buffer::with_room(16 * 1024);
    let mut head = RequestHead::default();
    loop {
        input.reserve(1024);
        let (count, filled) = socket.read(input).await;
        input = filled;
        if count.ok()? == 0 {
            return None;
        }
        let parsed = parse_request(input.filled(), DesyncMitigation::Defensive, &mut head);
        if parsed != Ok(Parsed::Complete) {
            continue;
        }
        let path = std::str::from_utf8(head.path.of(input.filled())).ok()?;
        if path == "/accepted" {
            return tell(&socket, accepted.get()).await;
        }
        let bytes: usize = path.trim_start_matches('/').parse().unwrap_or(2);
        input.consume(head.bytes);
        let mut left = match head.body {
            BodyLength::Known(bytes) => bytes as usize,
            _ => 0,
        };
        loop {
            let here = left.min(input.len());
            input.consume(here);
            left -= here;
            if left == 0 {
                break;
            }
            input.clear();
            input.reserve(256 * 1024);
            let (count, filled) = socket.read(input).await;
            input = filled;
            count.ok()?;
        }
        payload = answer(&socket, payload, bytes).await?;
        if input.is_empty() {
            input.clear();
        }
    }
}

/// Answers with a number and closes.
async fn tell(socket: &Socket, number: u64) -> Option<()> {
    let mut out = Buffer::with_room(net::HEAD_BUFFER_BYTES);
    let number = number.to_string();
    let length = number.len();
    out.tail().extend_from_slice(
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{number}")
            .as_bytes(),
    );
    socket.write(out).await.0.ok()
}

/// Writes a response of `bytes` bytes. Its last bytes lie in `payload`, where what was sent is
/// taken back, so that no body is copied together twice.
async fn answer(socket: &Socket, mut payload: Buffer, bytes: usize) -> Option<Buffer> {
    let mut left = bytes;
    let mut head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
    if payload.len() < bytes.min(PIECE_BYTES) {
        payload = Buffer::with_room(bytes.min(PIECE_BYTES));
        payload.tail().resize(net::HEADROOM_BYTES + bytes.min(PIECE_BYTES), b'x');
    }
    let whole = payload.len();
    while left > 0 || !head.is_empty() {
        let piece = left.min(whole);
        payload.consume(whole - piece);
        if !payload.prepend(std::mem::take(&mut head).as_bytes()) {
            return None;
        }
        let (result, sent) = socket.write(payload).await;
        result.ok()?;
        payload = sent;
        payload.rewind(whole);
        left -= piece;
    }
    Some(payload)
}
