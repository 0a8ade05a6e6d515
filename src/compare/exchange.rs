//! One connection of the load generator: a request out, a response back.

use std::net::SocketAddr;

use crate::http1::chunked::{Decoder, Keep};
use crate::http1::{Parsed, parse_response};
use crate::message::{BodyLength, Method, ResponseHead};
use crate::net::{self, Buffer, Socket};

/// Room for a response head, and for as much of a body as one read should take.
const ROOM_BYTES: usize = 16 * 1024;

/// A connection and its two buffers.
pub(super) struct Client {
    socket: Socket,
    /// Holds the request for good: written, it is taken back.
    request: Option<Buffer>,
    input: Option<Buffer>,
    head: ResponseHead,
}

/// What a request brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    /// Whether the connection can take another request.
    pub(super) persistent: bool,
}

impl Client {
    /// Connects; `None` if that cannot be.
    pub(super) async fn connect(address: SocketAddr, request: &[u8]) -> Option<Self> {
        let socket = net::connect(address).await.ok()?;
        let mut buffer = Buffer::with_room(request.len());
        buffer.tail().extend_from_slice(request);
        let input = Some(Buffer::with_room(ROOM_BYTES));
        Some(Self { socket, request: Some(buffer), input, head: ResponseHead::default() })
    }

    /// Sends the request and reads the whole response; `None` when anything is wrong, and the
    /// connection then is of no use any more.
    pub(super) async fn exchange(&mut self) -> Option<Answer> {
        let request = self.request.take()?;
        let size = request.len();
        let (result, mut request) = self.socket.write(request).await;
        result.ok()?;
        request.rewind(size);
        self.request = Some(request);
        let mut input = self.input.take()?;
        input.clear();
        input = self.read_head(input).await?;
        input.consume(self.head.bytes);
        let input = match self.head.body {
            BodyLength::None => input,
            BodyLength::Known(length) => self.read_known(input, length).await?,
            BodyLength::Chunked => self.read_chunked(input).await?,
            BodyLength::UntilClose => self.read_rest(input).await?,
        };
        self.input = Some(input);
        Some(Answer { status: self.head.status, persistent: self.head.persistent })
    }

    async fn read_head(&mut self, mut input: Buffer) -> Option<Buffer> {
        loop {
            input = self.more(input).await?;
            match parse_response(input.filled(), Method::Get, &mut self.head) {
                // An interim response: the final one follows.
                Ok(Parsed::Complete) if (100..=199).contains(&self.head.status) => {
                    input.consume(self.head.bytes);
                }
                Ok(Parsed::Complete) => return Some(input),
                Ok(Parsed::Partial) => {}
                Err(_) => return None,
            }
        }
    }

    async fn read_known(&self, mut input: Buffer, length: u64) -> Option<Buffer> {
        let mut left = length.checked_sub(input.len() as u64)?;
        while left > 0 {
            input.clear();
            input = self.more(input).await?;
            left = left.checked_sub(input.len() as u64)?;
        }
        Some(input)
    }

    async fn read_chunked(&self, mut input: Buffer) -> Option<Buffer> {
        let mut decoder = Decoder::new(Keep::DataOnly);
        while !decoder.decode(input.filled_mut()).ok()?.done {
            input.clear();
            input = self.more(input).await?;
        }
        Some(input)
    }

    async fn read_rest(&self, mut input: Buffer) -> Option<Buffer> {
        loop {
            input.clear();
            input.reserve(ROOM_BYTES);
            let (count, filled) = self.socket.read(input).await;
            input = filled;
            if count.ok()? == 0 {
                return Some(input);
            }
        }
    }

    async fn more(&self, mut input: Buffer) -> Option<Buffer> {
        input.reserve(1024);
        let (count, input) = self.socket.read(input).await;
        (count.ok()? > 0).then_some(input)
    }
}
