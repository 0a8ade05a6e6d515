//! A target for benchmarks: one thread, keep-alive, as little work per request as can be.
//!
//! `GET /N` is answered with N bytes, anything else with two; a request body of known length is
//! read and dropped. Usage: `target ADDRESS...`

use std::os::fd::OwnedFd;
use std::rc::Rc;

use ringway::http1::{Parsed, parse_request};
use ringway::message::{BodyLength, RequestHead};
use ringway::model::{DesyncMitigation, Driver};
use ringway::net::{self, Acceptor, Buffer, Socket, ring};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    let payload = Rc::new(vec![b'x'; 4 << 20]);
    while acceptor.ready().await.is_ok() {
        let spawn = |socket, _| drop(net::spawn(serve(socket, payload.clone())));
        if acceptor.accept(spawn).is_err() {
            return;
        }
    }
}

async fn serve(socket: Socket, payload: Rc<Vec<u8>>) -> Option<()> {
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
        let mut out = Buffer::with_room(bytes + 128);
        let status = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        out.tail().extend_from_slice(status.as_bytes());
        out.tail().extend_from_slice(payload.get(..bytes)?);
        socket.write(out).await.0.ok()?;
        if input.is_empty() {
            input.clear();
        }
    }
}
