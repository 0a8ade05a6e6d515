//! The client's side of an exchange: a connection, or one stream of it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::net::{Alarm, Socket};
use crate::snapshot::ListenerId;

use super::local::Local;
use super::stream::Stream;

/// A client connection.
pub(super) struct Client {
    pub(super) socket: Stream,
    pub(super) alarm: Alarm,
    /// The client, as a trusted front names it or as connected.
    pub(super) peer: SocketAddr,
    pub(super) listener: ListenerId,
    /// Tick of the accept.
    pub(super) opened: u32,
    /// A random number for it, once somebody has asked; 0 before.
    number: Cell<u64>,
    /// Empty lines that have come since the last request.
    pub(super) empty_lines: Cell<u8>,
    /// Whether it is counted as a connection: all but a stream among others.
    counted: bool,
    /// Where.
    pub(super) local: Rc<Local>,
}

impl Client {
    pub(super) fn new(
        socket: Socket,
        peer: SocketAddr,
        listener: ListenerId,
        local: &Rc<Local>,
    ) -> Self {
        let (opened, alarm) = (local.alarms.now(), local.alarms.alarm());
        let socket = Stream::plain(socket);
        local.enters(listener);
        let (number, empty_lines) = (Cell::default(), Cell::default());
        let (counted, local) = (true, local.clone());
        Self { socket, alarm, peer, listener, opened, number, empty_lines, counted, local }
    }

    /// The client of `connection` as that of one stream of it, `socket`.
    pub(super) fn carried(socket: Stream, connection: &Self) -> Self {
        let Self { peer, listener, opened, .. } = *connection;
        let (alarm, local) = (connection.local.alarms.alarm(), connection.local.clone());
        connection.number();
        let (number, empty_lines) = (connection.number.clone(), Cell::default());
        let counted = false;
        Self { socket, alarm, peer, listener, opened, number, empty_lines, counted, local }
    }

    /// Whether it is a stream of HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.socket.as_carried().is_some()
    }

    /// A number that no other connection has, the same on every call.
    pub(super) fn number(&self) -> u128 {
        if self.number.get() == 0 {
            self.number.set(self.local.random() | 1);
        }
        let high = self.number.get();
        // Spreads the same number once more; the odd factor is that of the golden ratio.
        let low = (high ^ high >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        u128::from(high) << 64 | u128::from(low)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.counted {
            self.local.leaves(self.listener);
        }
    }
}
