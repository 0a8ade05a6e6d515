//! One TLS session as a state machine over bytes: records in, plaintext out, and back.
//!
//! The caller keeps the bytes: what has come and was not used up is given again, with more behind
//! it, at the next step.

mod names;

use std::fmt;
use std::sync::Arc;

use rustls::client::{ClientConfig, ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConfig, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, HandshakeKind, ProtocolVersion};

use super::client_certificate::ClientCertificate;
use super::mutual::Asks;
use super::server::{self, Chosen};
use names::{cipher, key_exchange};

/// Most plaintext in one record (RFC 8446 §5.1).
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// What a record adds to its plaintext, at most: header, explicit nonce or content type, tag.
const RECORD_OVERHEAD: usize = 32;

/// What goes wrong in a session; the peer has broken a rule, or cannot agree with us.
#[derive(Debug, Clone, PartialEq)]
pub struct Error(pub(super) rustls::Error);

impl Error {
    /// Whether it is about the certificate that the peer has shown.
    #[must_use]
    pub fn is_of_certificate(&self) -> bool {
        use rustls::Error as E;
        matches!(
            self.0,
            E::InvalidCertificate(_) | E::NoCertificatesPresented | E::UnsupportedNameType
        )
    }

    /// Whether the peer has said so, by an alert.
    #[must_use]
    pub fn is_alert(&self) -> bool {
        matches!(self.0, rustls::Error::AlertReceived(_))
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Plaintext was handed over, or something to be sent was written; there may be more.
    Went,
    /// Every whole record is used up.
    NeedsMore,
    /// The peer has ended its direction in an orderly way.
    Ended,
}

/// A step, and how many bytes at the front of the input are used up by it.
#[derive(Debug, PartialEq)]
pub struct Stepped {
    /// Bytes to drop from the front of the input, before the next step.
    pub discard: usize,
    /// What it came to.
    pub result: Result<Step, Error>,
}

/// What both sides have agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// `TLSv1.2`, `TLSv1.3`.
    pub protocol: &'static str,
    /// Cipher, by its OpenSSL name.
    pub cipher: &'static str,
    /// Key exchange, by its IANA name.
    pub key_exchange: &'static str,
    /// Name that the client asked for and has a certificate; else empty. Ours as a client: empty.
    pub server_name: String,
    /// Path of the certificate that we have shown; `session-reused` where none was.
    pub certificate: String,
    /// Whether an earlier session goes on.
    pub is_resumed: bool,
    /// What is spoken inside, if that was agreed on (ALPN).
    pub inner: Option<Vec<u8>>,
    /// What the client has shown of itself, if it has.
    pub client: Option<Box<ClientCertificate>>,
}

/// A session.
pub struct Session {
    connection: Connection,
    chosen: Option<Box<Chosen>>,
    asks: Asks,
}

/// Which side we are. Both are as large as what a session needs, and behind a box where they live.
enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What is to be written once the session is ready for it.
#[derive(Clone, Copy)]
enum Write<'a> {
    /// This, in records of at most so many bytes.
    Plain(&'a [u8], usize),
    /// The word that ends our direction.
    End,
}

impl Session {
    /// A session that waits for its client.
    pub(super) fn accept(config: Arc<ServerConfig>, asks: Asks) -> Result<Self, Error> {
        let connection = Connection::Server(UnbufferedServerConnection::new(config)?);
        Ok(Self { connection, chosen: None, asks })
    }

    /// A session that begins at the server `name`: the first step writes what to send.
    pub(super) fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Error> {
        let connection = Connection::Client(UnbufferedClientConnection::new(config, name)?);
        Ok(Self { connection, chosen: None, asks: Asks::Nothing })
    }

    /// Whether both sides still agree on what and how to speak.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    fn state(&self) -> &CommonState {
        match &self.connection {
            Connection::Server(connection) => connection,
            Connection::Client(connection) => connection,
        }
    }

    /// Uses up input: takes one record, or writes one to `out` that is to be sent. Plaintext goes
    /// to `opened`. Input is decrypted in place.
    pub fn step(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        opened: impl FnMut(&[u8]),
    ) -> Stepped {
        match &mut self.connection {
            Connection::Client(connection) => take(connection.records(input), out, opened),
            Connection::Server(connection) => {
                let stepped = take(connection.records(input), out, opened);
                if let Some(chosen) = server::take_chosen() {
                    self.chosen = Some(Box::new(chosen));
                }
                stepped
            }
        }
    }

    /// Seals `plain` into records of at most `record_bytes`, appended to `out`. `input` is what has
    /// come and was not used up; what is whole in it is opened on the way. Returns how many bytes
    /// of it are used up by now.
    ///
    /// # Errors
    /// When the peer has broken a rule, or the session has been ended.
    pub fn seal(
        &mut self,
        input: &mut [u8],
        plain: &[u8],
        record_bytes: usize,
        out: &mut Vec<u8>,
        opened: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        let record_bytes = record_bytes.clamp(1, RECORD_BYTES_MAX);
        self.write(input, Write::Plain(plain, record_bytes), out, opened)
    }

    /// Appends the word that ends our direction to `out`; else as [`Session::seal`].
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub fn close(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        opened: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        self.write(input, Write::End, out, opened)
    }

    fn write(
        &mut self,
        input: &mut [u8],
        what: Write<'_>,
        out: &mut Vec<u8>,
        opened: impl FnMut(&[u8]),
    ) -> Result<usize, Error> {
        match &mut self.connection {
            Connection::Server(connection) => write(connection, input, what, out, opened),
            Connection::Client(connection) => write(connection, input, what, out, opened),
        }
    }

    /// Appends the alert that tells the peer what went wrong, after a step has failed. Records that
    /// were to be sent before it come first: in TLS 1.3 the hello that makes it readable.
    pub fn alert(&mut self, out: &mut Vec<u8>) {
        match &mut self.connection {
            Connection::Server(connection) => alert(connection, out),
            Connection::Client(connection) => alert(connection, out),
        }
    }

    /// What was agreed on, once there is something.
    #[must_use]
    pub fn negotiated(&self) -> Negotiated {
        let connection = self.state();
        let Chosen { server_name, certificate } =
            self.chosen.as_deref().cloned().unwrap_or_default();
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        Negotiated {
            protocol: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            },
            cipher: connection.negotiated_cipher_suite().map_or("", |suite| cipher(suite.suite())),
            key_exchange: connection
                .negotiated_key_exchange_group()
                .map_or("", |group| key_exchange(group.name())),
            server_name,
            certificate: if is_resumed { "session-reused".into() } else { certificate },
            is_resumed,
            inner: connection.alpn_protocol().map(<[u8]>::to_vec),
            client: self.asks.told(connection.peer_certificates()),
        }
    }
}

/// What both sides of the library have in common, and no trait of theirs says.
trait Records {
    type Data;

    /// As `process_tls_records`.
    fn records<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether records wait to be encoded.
    fn has_to_send(&self) -> bool;
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn records<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn has_to_send(&self) -> bool {
        self.wants_write()
    }
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn records<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }

    fn has_to_send(&self) -> bool {
        self.wants_write()
    }
}

fn write(
    connection: &mut impl Records,
    input: &mut [u8],
    what: Write<'_>,
    out: &mut Vec<u8>,
    mut opened: impl FnMut(&[u8]),
) -> Result<usize, Error> {
    let mut used = 0;
    loop {
        let rest = input.get_mut(used..).unwrap_or_default();
        let UnbufferedStatus { discard, state } = connection.records(rest);
        match (state?, what) {
            (ConnectionState::WriteTraffic(mut writer), Write::Plain(plain, record_bytes)) => {
                for piece in plain.chunks(record_bytes) {
                    append(out, piece.len() + RECORD_OVERHEAD, |room| writer.encrypt(piece, room))?;
                }
                return Ok(used + discard);
            }
            (ConnectionState::WriteTraffic(mut writer), Write::End) => {
                append(out, 2 + RECORD_OVERHEAD, |room| writer.queue_close_notify(room))?;
                return Ok(used + discard);
            }
            (ConnectionState::BlockedHandshake | ConnectionState::Closed, _) => {
                return Err(rustls::Error::HandshakeNotComplete.into());
            }
            (state, _) => {
                handle(state, out, &mut opened)?;
                used += discard;
            }
        }
    }
}

fn alert(connection: &mut impl Records, out: &mut Vec<u8>) {
    // What has failed must not be looked at again: rustls asserts that it fails once. So there is
    // no input, and no call beyond the last record.
    while connection.has_to_send()
        && let Ok(ConnectionState::EncodeTlsData(mut encoder)) = connection.records(&mut []).state
    {
        // Without it the peer sees the close alone.
        if append(out, RECORD_OVERHEAD, |room| encoder.encode(room)).is_err() {
            break;
        }
    }
}

/// Does what a status asks for.
fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Vec<u8>,
    mut opened: impl FnMut(&[u8]),
) -> Stepped {
    let UnbufferedStatus { discard, state } = status;
    let result = match state {
        Ok(state) => handle(state, out, &mut opened),
        Err(error) => Err(error.into()),
    };
    Stepped { discard, result }
}

fn handle<Data>(
    state: ConnectionState<'_, '_, Data>,
    out: &mut Vec<u8>,
    opened: &mut impl FnMut(&[u8]),
) -> Result<Step, Error> {
    match state {
        ConnectionState::ReadTraffic(mut records) => {
            while let Some(record) = records.next_record() {
                opened(record?.payload);
            }
            Ok(Step::Went)
        }
        ConnectionState::EncodeTlsData(mut encoder) => {
            append(out, RECORD_OVERHEAD, |room| encoder.encode(room))?;
            Ok(Step::Went)
        }
        ConnectionState::TransmitTlsData(transmitter) => {
            // It is in `out`, which the caller sends in order.
            transmitter.done();
            Ok(Step::Went)
        }
        ConnectionState::PeerClosed | ConnectionState::Closed => Ok(Step::Ended),
        ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => Ok(Step::NeedsMore),
        // Early data, which is never accepted.
        _ => Err(rustls::Error::General("a state that is not spoken here".into()).into()),
    }
}

/// What may not fit.
trait Insufficient {
    fn required(&self) -> Option<usize>;
}

impl Insufficient for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Insufficient for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Appends what `write` writes to `out`, which may be `guess` bytes or as many as it then asks for.
fn append<E: Insufficient + fmt::Display>(
    out: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let start = out.len();
    let mut room = guess;
    for _ in 0..2 {
        out.resize(start + room, 0);
        match write(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(error) => match error.required() {
                Some(required) if required > room => room = required,
                _ => {
                    out.truncate(start);
                    return Err(rustls::Error::General(error.to_string()).into());
                }
            },
        }
    }
    out.truncate(start);
    Err(rustls::Error::General("a record that grows".into()).into())
}
