//! A request as a span of a distributed trace: whether it is told, which trace it belongs to
//! (W3C Trace Context), and what is told of it.
//!
//! Values only. `proxy` decides with [`Sampling::choose`] once a request head is whole, and makes a
//! [`Span`] of the record of the exchange; control sends spans away. Where a request is told, the
//! target gets a `traceparent` that names this span as the parent of its own; all others keep
//! theirs.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::message::{FieldKind, Request};

/// Which requests are told that come without a `traceparent`: a random number below this. One that
/// has a `traceparent` says itself whether it is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling(u64);

/// The place of a span in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Number of the trace; not 0.
    pub trace: u128,
    /// Number of the span; not 0.
    pub id: u64,
    /// Number of the client's span, if the request came with one.
    pub parent: Option<u64>,
    /// Whether the number of the trace is random in its last seven bytes.
    random: bool,
}

/// What is told of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its place.
    pub context: Context,
    /// When its head was whole, since 1970.
    pub began: Duration,
    /// When it was over, since 1970.
    pub ended: Duration,
    /// Method.
    pub method: String,
    /// Path, without the query: that may hold secrets.
    pub path: String,
    /// Host and port that it asked for.
    pub authority: String,
    /// HTTP version: `1.0`, `1.1`, `2`.
    pub version: &'static str,
    /// User-Agent.
    pub user_agent: String,
    /// X-Amzn-Trace-Id, by which the access log knows it.
    pub trace_id: String,
    /// The client.
    pub client: SocketAddr,
    /// Name of the listener.
    pub listener: String,
    /// Priority of the rule that decided; `None`: the default rule, or none.
    pub rule: Option<u16>,
    /// Name of the target group; empty: none.
    pub group: String,
    /// The target that was tried last.
    pub target: Option<SocketAddr>,
    /// How many targets were tried.
    pub attempts: usize,
    /// From the moment that the request could be sent to the target until its response head came.
    pub target_time: Option<Duration>,
    /// Status that the client was sent; 0: none.
    pub status: u16,
    /// Why it did not end well.
    pub error: Option<&'static str>,
    /// Bytes from the client and to it, heads included.
    pub bytes: (u64, u64),
}

impl Sampling {
    /// One request in so many.
    #[must_use]
    pub fn one_in(count: NonZeroU32) -> Self {
        Self(u64::MAX / u64::from(count.get()))
    }

    /// Whether `request` is told, and as what. `random`: three random numbers.
    #[must_use]
    pub fn choose(self, request: &Request<'_>, random: [u64; 3]) -> Option<Context> {
        let [chance, high, low] = random;
        let id = chance.rotate_left(32) ^ high | 1;
        match Parent::of(request) {
            Some(Parent { flags, .. }) if flags & SAMPLED == 0 => None,
            Some(Parent { trace, id: parent, flags }) => {
                Some(Context { trace, id, parent: Some(parent), random: flags & RANDOM != 0 })
            }
            None if chance > self.0 => None,
            None => {
                let trace = u128::from(high) << 64 | u128::from(low | 1);
                Some(Context { trace, id, parent: None, random: true })
            }
        }
    }
}

/// Bit of the flags: the caller records its span.
const SAMPLED: u8 = 1;
/// Bit of the flags: the number of the trace is random.
const RANDOM: u8 = 2;

impl Context {
    /// Appends the value of `traceparent` that makes this span the parent (W3C Trace Context
    /// §3.2).
    pub fn write(&self, out: &mut Vec<u8>) {
        let flags = SAMPLED | if self.random { RANDOM } else { 0 };
        let text = format!("00-{:032x}-{:016x}-{flags:02x}", self.trace, self.id);
        out.extend_from_slice(text.as_bytes());
    }
}

/// What a `traceparent` says.
struct Parent {
    trace: u128,
    id: u64,
    flags: u8,
}

impl Parent {
    /// Of the request's only `traceparent`; `None` if it has none, several, or one that is broken.
    fn of(request: &Request<'_>) -> Option<Self> {
        let fields = request.head.fields.iter();
        let mut all = fields.filter(|field| field.kind == FieldKind::TraceParent);
        let (first, None) = (all.next()?, all.next()) else { return None };
        Self::parse(first.value.of(request.bytes))
    }

    /// Reads `VERSION-TRACE-PARENT-FLAGS` in lower-case hexadecimal. A later version may go on
    /// behind another hyphen (§3.2.4).
    fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(55)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let mut number = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let text = std::str::from_utf8(part).ok().filter(|_| part.iter().all(is_digit))?;
            u128::from_str_radix(text, 16).ok()
        };
        let (version, trace, id, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
        let goes_on = version > 0 && rest.first() == Some(&b'-');
        let is_whole = rest.is_empty() || goes_on;
        (version != 0xff && trace != 0 && id != 0 && is_whole).then_some(Self {
            trace,
            id: id as u64,
            flags: flags as u8,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Parsed, parse_request};
    use crate::message::RequestHead;
    use crate::model::DesyncMitigation;

    const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
    const PARENT: u64 = 0xb7ad_6b71_6920_3331;

    /// What is chosen for a request with these lines, at a chance of one in `count`.
    fn chosen(lines: &str, count: u32, random: [u64; 3]) -> Option<Context> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut head = RequestHead::default();
        let parsed = parse_request(text.as_bytes(), DesyncMitigation::Defensive, &mut head);
        assert!(matches!(parsed, Ok(Parsed::Complete)), "{lines}");
        let request = Request { head: &head, bytes: text.as_bytes(), peer: [0; 4].into() };
        Sampling::one_in(NonZeroU32::new(count).expect("not 0")).choose(&request, random)
    }

    #[test]
    fn request_says_itself_whether_it_is_sampled() {
        let value = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        for (flags, random) in [("01", false), ("03", true), ("ff", true)] {
            let line = format!("traceparent: 00-{value}-{flags}\r\n");
            let context = chosen(&line, u32::MAX, [u64::MAX, 5, 6]).expect("sampled");
            assert_eq!((context.trace, context.parent), (TRACE, Some(PARENT)));
            assert_eq!(context.random, random, "{flags}");
            assert_ne!(context.id, 0);
        }
        for flags in ["00", "02"] {
            let line = format!("TraceParent: 00-{value}-{flags}\r\n");
            assert_eq!(chosen(&line, 1, [0, 5, 6]), None, "{flags}");
        }
    }

    #[test]
    fn broken_traceparent_is_as_none() {
        let broken = [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "",
        ];
        for value in broken {
            let context = chosen(&format!("traceparent: {value}\r\n"), 1, [9, 5, 6]);
            let context = context.expect("one in one");
            assert_eq!((context.trace, context.parent), (5 << 64 | 7, None), "{value}");
        }
        let one = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
        assert_eq!(chosen(&one.repeat(2), 1, [9, 5, 6]).expect("one in one").parent, None);
    }

    #[test]
    fn later_version_may_go_on() {
        let line = "traceparent: cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more\r\n";
        assert_eq!(chosen(line, u32::MAX, [u64::MAX, 0, 0]).expect("sampled").trace, TRACE);
    }

    #[test]
    fn share_of_the_others_is_sampled() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut share = |count| {
            let draws = 0..20_000;
            let chosen = draws.filter(|_| chosen("", count, [random.u64(..), 1, 2]).is_some());
            chosen.count()
        };
        assert_eq!(share(1), 20_000);
        assert!((1_800..2_200).contains(&share(10)));
        assert_eq!(share(u32::MAX), 0);
    }

    #[test]
    fn traceparent_of_a_span_reads_back_as_its_parent() {
        for random in [false, true] {
            let context = Context { trace: TRACE, id: 0xab, parent: None, random };
            let mut out = Vec::new();
            context.write(&mut out);
            let parent = Parent::parse(&out).expect("well formed");
            assert_eq!((parent.trace, parent.id), (TRACE, 0xab));
            assert_eq!(parent.flags, if random { 3 } else { 1 });
        }
    }
}
