//! Everything that touches the kernel: rings, sockets, buffers, alarms, pipes.
//!
//! The rest of the crate sees bytes that arrive and bytes that leave. This is the only room with
//! `unsafe` and the only one that names monoio, so a trap of the runtime is worked around once,
//! here. Start with [`Socket`] (reads and writes), [`Alarm`] (every wait has a limit) and
//! [`ring`] (which driver runs and why).

#![allow(unsafe_code)]

mod alarm;
mod buffer;
pub mod child;
mod clock;
mod connect;
mod contain;
mod doorbell;
pub mod inherit;
pub mod limits;
mod listen;
pub mod ring;
mod socket;
mod splice;
mod timer;

pub use alarm::{Alarm, Alarms, PAUSE_MAX, TICK, Tag};
pub use buffer::{
    BODY_BUFFER_BYTES, BULK_BUFFER_BYTES, Buffer, Buffers, HEAD_BUFFER_BYTES, HEADROOM_BYTES,
    TUNNEL_BUFFER_BYTES,
};
pub use clock::{Moment, monotonic_micros};
pub use connect::connect;
pub use contain::contain;
pub use doorbell::{Bell, Doorbell, Listening};
pub use listen::{Acceptor, address_of, bind, probe, try_address};
pub use socket::{Liveness, Socket};
pub use splice::{PIPE_BYTES, Pipe, Pipes};
pub use timer::Timer;

pub use monoio::spawn;
pub use monoio::time::sleep;
