//! Values of stickiness cookies: what a client is bound to and since when, sealed so that clients
//! can neither read nor make them.
//!
//! A value is 128 characters of base64 (standard alphabet; AWS's have about 130), always:
//!
//! ```text
//! version 1 | nonce 12 | sealed 67 | tag 16                                     bytes: 96
//! sealed: family 1 | address 16 or group key 8 | port 2 | IPv6 scope 4 | issued 8 | zeros
//! ```
//!
//! Kind and group names are not in it but authenticated with it ([`Scope`]), exactly and not as a
//! hash. Sealed with AES-256-GCM-SIV (RFC 8452), which forgives a nonce that comes twice. Nonces
//! and clocks are arguments. Start with [`seal`] and [`open`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{Bound, GroupKey, Kind, Scope};

/// First byte of each value; a value with another one is not ours. Also authenticated.
pub const VERSION: u8 = 1;
/// Length of each value, in bytes of text.
pub const VALUE_BYTES: usize = 128;
/// Length of a key, in bytes.
pub const KEY_BYTES: usize = 32;
/// How far the clock of whoever sealed a cookie may be ahead, in seconds: workers read the time
/// once per tick, each on its own, and hosts that share a key differ a little.
pub const CLOCK_SKEW_SECONDS: u64 = 5;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Whatever fills 96 bytes, which base64 shows in 128 characters without `=`.
const PLAIN_BYTES: usize = 67;
const PACKED_BYTES: usize = 1 + NONCE_BYTES + PLAIN_BYTES + TAG_BYTES;
const _: () = assert!(PACKED_BYTES * 4 == VALUE_BYTES * 3);

/// Random bytes, new ones for each value. They need not be secret, and the same ones twice betray
/// only whether both values say the same (RFC 8452 §9).
pub type Nonce = [u8; NONCE_BYTES];

/// A key, ready for use; wiped when dropped, never shown.
#[derive(Clone)]
pub struct Key(Aes256GcmSiv);

/// The key that values are sealed with, and the one before it, which still opens them.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Seals, and opens.
    pub current: Key,
    /// Opens only; a value that it opened is sealed anew with the response.
    pub previous: Option<Key>,
}

/// A value of a cookie that was sealed here, and the kind of that cookie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    kind: Kind,
    text: [u8; VALUE_BYTES],
}

impl Key {
    /// The key of these bytes, which the caller wipes.
    #[must_use]
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(Aes256GcmSiv::new(bytes.into()))
    }

    fn open(&self, scope: &Scope, packed: &[u8; PACKED_BYTES]) -> Option<[u8; PLAIN_BYTES]> {
        let (nonce, rest) = packed[1..].split_first_chunk::<NONCE_BYTES>()?;
        let (sealed, tag) = rest.split_first_chunk::<PLAIN_BYTES>()?;
        let tag: &[u8; TAG_BYTES] = tag.try_into().ok()?;
        let mut plain = *sealed;
        let opened = self.0.decrypt_inout_detached(
            nonce.into(),
            &scope.associated,
            plain.as_mut_slice().into(),
            tag.into(),
        );
        opened.ok().map(|()| plain)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Sealed {
    /// Of which kind the cookie is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The value: letters, digits, `+` and `/`, which need no quotes in a cookie.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Seals that a client is `bound` in this scope, as of `now` (seconds since 1970).
#[must_use]
pub fn seal(keys: &Keys, scope: &Scope, nonce: Nonce, bound: Bound, now: u64) -> Sealed {
    debug_assert_eq!(scope.kind() == Kind::Group, matches!(bound, Bound::Group(_)));
    let mut plain = write(bound, now);
    let tag = keys
        .current
        .0
        .encrypt_inout_detached(&nonce.into(), &scope.associated, plain.as_mut_slice().into())
        .expect("only more than 64 GiB are refused");
    let mut packed = [0; PACKED_BYTES];
    let (head, tail) = packed.split_at_mut(1 + NONCE_BYTES);
    head[0] = VERSION;
    head[1..].copy_from_slice(&nonce);
    tail[..PLAIN_BYTES].copy_from_slice(&plain);
    tail[PLAIN_BYTES..].copy_from_slice(&tag);
    let mut text = [0; VALUE_BYTES];
    let written = STANDARD_NO_PAD.encode_slice(packed, &mut text);
    debug_assert_eq!(written, Ok(VALUE_BYTES));
    Sealed { kind: scope.kind(), text }
}

/// What the client that sent `value` is bound to in this scope, or `None` to choose anew.
///
/// `None` for whatever was not sealed with one of these keys for this very scope, for a value
/// sealed more than `duration` before `now` (seconds since 1970), and for one sealed more than
/// [`CLOCK_SKEW_SECONDS`] after it. Values of another length or version cost no cryptography, any
/// other at most one attempt per key.
#[must_use]
pub fn open(
    keys: &Keys,
    scope: &Scope,
    value: &[u8],
    now: u64,
    duration: Duration,
) -> Option<Bound> {
    let value: &[u8; VALUE_BYTES] = value.try_into().ok()?;
    let mut packed = [0; PACKED_BYTES];
    // The first four characters alone show the version.
    STANDARD_NO_PAD.decode_slice(&value[..4], &mut packed).ok().filter(|_| packed[0] == VERSION)?;
    STANDARD_NO_PAD.decode_slice(value, &mut packed).ok()?;
    let plain = keys.current.open(scope, &packed);
    let plain = plain.or_else(|| keys.previous.as_ref()?.open(scope, &packed))?;
    let (bound, issued) = read(&plain)?;
    let fresh = match now.checked_sub(issued) {
        Some(age) => Duration::from_secs(age) <= duration,
        None => issued - now <= CLOCK_SKEW_SECONDS,
    };
    fresh.then_some(bound)
}

/// Families in the first byte of the plaintext.
const GROUP: u8 = 0;
const IPV4: u8 = 4;
const IPV6: u8 = 6;

fn write(bound: Bound, issued: u64) -> [u8; PLAIN_BYTES] {
    let mut plain = [0; PLAIN_BYTES];
    match bound {
        Bound::Group(GroupKey(key)) => {
            plain[0] = GROUP;
            plain[1..9].copy_from_slice(&key.to_be_bytes());
        }
        Bound::Target(SocketAddr::V4(address)) => {
            plain[0] = IPV4;
            plain[1..5].copy_from_slice(&address.ip().octets());
            plain[17..19].copy_from_slice(&address.port().to_be_bytes());
        }
        Bound::Target(SocketAddr::V6(address)) => {
            plain[0] = IPV6;
            plain[1..17].copy_from_slice(&address.ip().octets());
            plain[17..19].copy_from_slice(&address.port().to_be_bytes());
            plain[19..23].copy_from_slice(&address.scope_id().to_be_bytes());
        }
    }
    plain[23..31].copy_from_slice(&issued.to_be_bytes());
    plain
}

/// The reverse of [`write`]; `None` only for what no version of this program has sealed.
fn read(plain: &[u8; PLAIN_BYTES]) -> Option<(Bound, u64)> {
    let port = u16::from_be_bytes(part(plain, 17));
    let bound = match plain[0] {
        GROUP => Bound::Group(GroupKey(u64::from_be_bytes(part(plain, 1)))),
        IPV4 => {
            let ip: [u8; 4] = part(plain, 1);
            Bound::Target(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port))
        }
        IPV6 => {
            let (ip, scope): ([u8; 16], _) = (part(plain, 1), part(plain, 19));
            let (ip, scope) = (Ipv6Addr::from(ip), u32::from_be_bytes(scope));
            Bound::Target(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
        }
        _ => return None,
    };
    Some((bound, u64::from_be_bytes(part(plain, 23))))
}

/// The `N` bytes of `plain` from `start`, which every caller knows to be there.
fn part<const N: usize>(plain: &[u8; PLAIN_BYTES], start: usize) -> [u8; N] {
    std::array::from_fn(|index| plain[start + index])
}

#[cfg(test)]
mod tests;
