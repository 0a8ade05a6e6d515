//! The floor of the benchmarks: what a proxy must do at the least, and nothing else.
//!
//! Two receives and two sends per exchange, over the rings and buffers of `net`: no parsing, no
//! headers, no rules, no timeouts. Each client connection has a target connection of its own.
//! Right for requests and responses that fit one read. Usage: `relay ADDRESS TARGET`

use std::net::SocketAddr;

use ringway::model::Driver;
use ringway::net::{self, Acceptor, Buffer, Socket, ring};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let addresses: Vec<SocketAddr> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [address, target] = addresses[..] else { panic!("usage: relay ADDRESS TARGET") };
    let (engine, _) = ring::probe(Driver::Auto).expect("epoll always works");
    let mut runtime = ring::build(engine).expect("a runtime");
    runtime.block_on(async move {
        let listener = net::bind(address).expect("a free port");
        let acceptor = Acceptor::new(listener).expect("a ring");
        while acceptor.ready().await.is_ok() {
            let spawn = |fd, _| {
                net::spawn(relay(Socket::new(fd)?, target));
                Ok(())
            };
            if acceptor.accept(spawn).is_err() {
                return;
            }
        }
    });
}

async fn relay(client: Socket, target: SocketAddr) -> Option<()> {
    let target = net::connect(target).await.ok()?;
    let mut buffer = Buffer::with_room(net::HEAD_BUFFER_BYTES);
    loop {
        buffer = pass(&client, &target, buffer).await?;
        buffer = pass(&target, &client, buffer).await?;
    }
}

/// One receive and one send.
async fn pass(from: &Socket, to: &Socket, buffer: Buffer) -> Option<Buffer> {
    let (count, buffer) = from.read(buffer).await;
    if count.ok()? == 0 {
        return None;
    }
    let (result, mut buffer) = to.write(buffer).await;
    result.ok()?;
    buffer.clear();
    Some(buffer)
}
