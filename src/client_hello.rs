//! The beginning of a TLS connection that is not ours to decrypt: which server it asks for.
//!
//! [`read`] looks at the first message of a client (RFC 8446 §4.1.2, RFC 6066 §3) for nothing but
//! the name, and says as soon as it can that there will be none. It is lenient towards what it does
//! not need, since it is the target that answers: TLS 1.0 is as good as a message cut into many
//! records. A library's parser would refuse both.

/// Most bytes of a ClientHello that are waited for, record headers included. Browsers send up to
/// 2 KiB, with keys against quantum computers.
pub const BYTES_MAX: usize = 16 * 1024;

/// Longest name (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 255;
/// Most plaintext in one record (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Content type of a record, and its major version.
const HANDSHAKE: [u8; 2] = [22, 3];
/// Type of the message.
const CLIENT_HELLO: u8 = 1;
/// Type and length in front of a message.
const MESSAGE_HEADER_BYTES: usize = 4;
/// Type of the extension, and of a name in it.
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// The beginning of a ClientHello; more bytes are needed, at most [`BYTES_MAX`] in all.
    Incomplete,
    /// A whole ClientHello, and the name that it asks for, in lower case.
    Hello(Option<String>),
    /// Something else, or a ClientHello that cannot be read.
    Other,
}

/// Says what `bytes`, the first of a connection, are.
#[must_use]
pub fn read(bytes: &[u8]) -> Opening {
    match message(bytes) {
        Some(Message::Incomplete) if bytes.len() < BYTES_MAX => Opening::Incomplete,
        Some(Message::Whole(hello)) => match name(&hello) {
            Some(name) => Opening::Hello(name),
            None => Opening::Other,
        },
        Some(Message::Incomplete) | None => Opening::Other,
    }
}

enum Message {
    Incomplete,
    Whole(Vec<u8>),
}

/// The first message, gathered from its records; `None`: it is no ClientHello.
fn message(mut bytes: &[u8]) -> Option<Message> {
    let mut message = Vec::new();
    loop {
        let known = bytes.len().min(HANDSHAKE.len());
        if bytes.get(..known)? != HANDSHAKE.get(..known)? {
            return None;
        }
        let [_, _, _, high, low, rest @ ..] = bytes else { return Some(Message::Incomplete) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 || length > RECORD_BYTES_MAX {
            return None;
        }
        let (part, behind) = rest.split_at(length.min(rest.len()));
        message.extend_from_slice(part);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return None;
        }
        if let [_, high, middle, low, ..] = message.as_slice() {
            let whole = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if whole > BYTES_MAX {
                return None;
            }
            if let Some(body) = message.get(MESSAGE_HEADER_BYTES..MESSAGE_HEADER_BYTES + whole) {
                return Some(Message::Whole(body.to_vec()));
            }
        }
        if part.len() < length || behind.is_empty() {
            return Some(Message::Incomplete);
        }
        bytes = behind;
    }
}

/// The name in the body of a ClientHello; `None`: it cannot be read.
fn name(body: &[u8]) -> Option<Option<String>> {
    let mut hello = Reader(body);
    hello.take(2 + 32)?;
    hello.list8()?;
    hello.list16()?;
    hello.list8()?;
    if hello.0.is_empty() {
        return Some(None);
    }
    let mut extensions = Reader(hello.list16()?);
    while !extensions.0.is_empty() {
        let (kind, content) = (extensions.number16()?, extensions.list16()?);
        if kind == SERVER_NAME {
            return host_name(content);
        }
    }
    Some(None)
}

fn host_name(content: &[u8]) -> Option<Option<String>> {
    let mut names = Reader(Reader(content).list16()?);
    while !names.0.is_empty() {
        let kind = *names.take(1)?.first()?;
        let name = names.list16()?;
        if kind == HOST_NAME {
            let name = name.strip_suffix(b".").unwrap_or(name);
            let is_one = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            let is_good = !name.is_empty() && name.len() <= NAME_BYTES_MAX;
            let text = std::str::from_utf8(name).ok().filter(|_| is_good);
            return Some(text.filter(|_| name.iter().all(is_one)).map(str::to_ascii_lowercase));
        }
    }
    Some(None)
}

/// What has not been read yet.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number16(&mut self) -> Option<u16> {
        let [high, low] = *self.take(2)? else { return None };
        Some(u16::from_be_bytes([high, low]))
    }

    /// Bytes behind their number, which has one byte.
    fn list8(&mut self) -> Option<&'b [u8]> {
        let count = *self.take(1)?.first()?;
        self.take(count.into())
    }

    /// Bytes behind their number, which has two bytes.
    fn list16(&mut self) -> Option<&'b [u8]> {
        let count = self.number16()?;
        self.take(count.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// The first bytes of a client of rustls.
    fn rustls_hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut sent = Vec::new();
        client.write_tls(&mut sent).expect("in memory");
        sent
    }

    /// A ClientHello of TLS 1.0 with these extensions; `None`: it ends before them.
    fn old_hello(extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = vec![3, 1];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
        if let Some(extensions) = extensions {
            body.extend((extensions.len() as u16).to_be_bytes());
            body.extend(extensions);
        }
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        message
    }

    fn server_name(name: &[u8]) -> Vec<u8> {
        let length = |more: usize| ((name.len() + more) as u16).to_be_bytes();
        [&[0, 0][..], &length(5), &length(3), &[0], &length(0), name].concat()
    }

    /// `message` in records of `piece` bytes.
    fn records(message: &[u8], piece: usize) -> Vec<u8> {
        let record = |part: &[u8]| {
            let [high, low] = (part.len() as u16).to_be_bytes();
            [&[22, 3, 1, high, low], part].concat()
        };
        message.chunks(piece).flat_map(record).collect()
    }

    fn asks(name: &str) -> Opening {
        Opening::Hello(Some(name.to_owned()))
    }

    #[test]
    fn name_is_found_at_the_last_byte_and_not_before() {
        let bytes = rustls_hello("Shop.Example");
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), Opening::Incomplete, "{length}");
        }
        assert_eq!(read(&bytes), asks("shop.example"));
        let more = [&bytes[..], b"and what follows"].concat();
        assert_eq!(read(&more), asks("shop.example"));
        assert_eq!(read(&rustls_hello("192.0.2.1")), Opening::Hello(None));
    }

    #[test]
    fn message_may_be_cut_into_records_of_any_size() {
        let message = old_hello(Some(&server_name(b"a.example")));
        for piece in 1..message.len() {
            let bytes = records(&message, piece);
            assert_eq!(read(&bytes), asks("a.example"), "{piece}");
            for length in 0..bytes.len() {
                assert_eq!(read(&bytes[..length]), Opening::Incomplete, "{piece} {length}");
            }
        }
    }

    #[test]
    fn hello_without_a_name_that_can_be_one_asks_for_none() {
        let other = [&[0, 5, 0, 1, 1][..], &server_name(b"a.example")].concat();
        for (extensions, expected) in [
            (None, Opening::Hello(None)),
            (Some(&[][..]), Opening::Hello(None)),
            (Some(&[0, 16, 0, 1, 9]), Opening::Hello(None)),
            (Some(&other), asks("a.example")),
            (Some(&server_name(b"a.example.")), asks("a.example")),
            (Some(&server_name(b"")), Opening::Hello(None)),
            (Some(&server_name(b"a/b")), Opening::Hello(None)),
            (Some(&server_name(b"a\r\nb")), Opening::Hello(None)),
            (Some(&server_name(&[b'a'; 255])), asks(&"a".repeat(255))),
            (Some(&server_name(&[b'a'; 256])), Opening::Hello(None)),
            (Some(&[0, 0, 0, 9, 1]), Opening::Other),
            (Some(&[0, 0, 0, 2, 0, 9]), Opening::Other),
        ] {
            let bytes = records(&old_hello(extensions), 1000);
            assert_eq!(read(&bytes), expected, "{extensions:?}");
        }
    }

    #[test]
    fn what_is_no_hello_is_known_as_soon_as_it_can_be() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"S",
            &[22, 2],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0x40, 1],
            &[22, 3, 1, 0, 9, 2],
            &[22, 3, 1, 0, 9, 1, 0, 0x40, 1],
            &[22, 3, 1, 0, 4, 1, 0, 0, 0],
            &[22, 3, 1, 0, 1, 1, 21, 3],
            &[0x80, 0x2e, 1, 3, 1],
        ] {
            assert_eq!(read(bytes), Opening::Other, "{bytes:?}");
        }
        let endless = records(&[&[1, 0, 0x3f, 0xff][..], &[0; 16 * 1024]].concat(), 2);
        assert_eq!(read(&endless[..BYTES_MAX - 1]), Opening::Incomplete);
        assert_eq!(read(&endless[..BYTES_MAX]), Opening::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
            let _ = read(&records(&old_hello(Some(&bytes)), 50));
        }

        #[test]
        fn no_change_of_a_hello_makes_it_panic_or_take_back_what_it_said(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            piece in 1_usize..200,
        ) {
            let mut message = old_hello(Some(&server_name(b"a.example")));
            for (at, byte) in changes {
                let at = at.index(message.len());
                message[at] = byte;
            }
            let bytes = records(&message, piece);
            let mut said = Opening::Incomplete;
            for length in 0..=bytes.len() {
                let now = read(&bytes[..length]);
                prop_assert!(said == Opening::Incomplete || now == said);
                said = now;
            }
        }
    }
}
