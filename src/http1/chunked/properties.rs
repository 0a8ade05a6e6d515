//! Properties of the decoder, with an independent one as the oracle.

use proptest::prelude::*;

use super::tests::{Output, decode, decode_cut, encode, every_byte};
use super::*;

/// What the naive decoder says about all the bytes at once.
#[derive(Debug, PartialEq, Eq)]
enum Naive {
    Bad,
    More,
    Done { data: Vec<u8>, trailers: Vec<(String, String)>, consumed: usize },
}

/// Takes a line that ends with CRLF and holds neither otherwise.
fn naive_line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Naive> {
    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { return Err(Naive::More) };
    let (line, behind) = rest.split_at(end + 1);
    *rest = behind;
    match line.strip_suffix(b"\r\n") {
        Some(line) if !line.contains(&b'\r') => Ok(line),
        _ => Err(Naive::Bad),
    }
}

fn naive_printable(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte == b'\t' || !(byte < 0x20 || byte == 0x7f))
}

/// An independent decoder: everything at once, with allocation, through text.
fn naive(input: &[u8]) -> Result<Naive, Naive> {
    let mut rest = input;
    let mut data = Vec::new();
    loop {
        let line = naive_line(&mut rest)?;
        let mut parts = line.splitn(2, |&byte| byte == b';');
        let size = std::str::from_utf8(parts.next().unwrap()).map_err(|_| Naive::Bad)?;
        let extension = parts.next().unwrap_or_default();
        let digits = !size.is_empty() && size.chars().all(|c| c.is_ascii_hexdigit());
        if !digits || size.len() > 16 || extension.len() > 1024 || !naive_printable(extension) {
            return Err(Naive::Bad);
        }
        let size = u64::from_str_radix(size, 16).map_err(|_| Naive::Bad)?;
        if size == 0 {
            break;
        }
        if (rest.len() as u64) < size.saturating_add(2) {
            return Err(Naive::More);
        }
        let (chunk, behind) = rest.split_at(size as usize);
        data.extend_from_slice(chunk);
        rest = behind.strip_prefix(b"\r\n").ok_or(Naive::Bad)?;
    }
    let mut trailers = Vec::new();
    loop {
        let line = naive_line(&mut rest)?;
        if line.is_empty() {
            return Ok(Naive::Done { data, trailers, consumed: input.len() - rest.len() });
        }
        let text: String = line.iter().map(|&byte| char::from(byte)).collect();
        let (name, value) = text.split_once(':').ok_or(Naive::Bad)?;
        let token = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c);
        if name.is_empty() || !name.chars().all(token) || !naive_printable(line) {
            return Err(Naive::Bad);
        }
        trailers.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
}

/// Checks the decoder against the naive one on any bytes.
fn agrees_with_naive(input: &[u8], cuts: &[usize]) {
    let naive = naive(input).unwrap_or_else(|other| other);
    let framing = decode_cut(Keep::Framing, input, cuts);
    let data_only = decode_cut(Keep::DataOnly, input, cuts);
    match (&data_only, &naive) {
        (Ok(output), Naive::Done { data, consumed, .. }) => {
            assert!(output.done);
            assert_eq!((&output.bytes, output.consumed), (data, *consumed));
        }
        (Ok(output), Naive::More) => assert!(!output.done),
        // A mistake may be seen before the line or the chunk is whole.
        (Err(_), Naive::Bad | Naive::More) => {}
        (Ok(_), Naive::Bad) | (Err(_), Naive::Done { .. }) => {
            panic!("{data_only:?}, but the naive decoder says {naive:?}")
        }
    }
    assert_eq!(framing.as_ref().err(), data_only.as_ref().err());
    if let (Ok(output), Naive::Done { data, trailers, .. }) = (&framing, &naive) {
        canonical_output_means_the_same(&output.bytes, data, trailers);
    }
}

/// Decoding what was made canonical changes nothing more, and gives the same data and trailers.
fn canonical_output_means_the_same(output: &[u8], data: &[u8], trailers: &[(String, String)]) {
    let again = decode(Keep::Framing, output).unwrap();
    assert_eq!(again.bytes, output);
    let Ok(Naive::Done { data: same, trailers: relayed, consumed }) = naive(output) else {
        panic!("the naive decoder refuses {output:?}")
    };
    assert_eq!((same.as_slice(), consumed), (data, output.len()));
    assert!(relayed.iter().all(|field| trailers.contains(field)));
    assert!(relayed.iter().all(|(name, _)| !name.eq_ignore_ascii_case("host")));
    assert!(
        output.iter().filter(|&&byte| byte == b';').count() <= {
            data.iter().filter(|&&byte| byte == b';').count()
                + trailers.iter().map(|(_, value)| value.matches(';').count()).sum::<usize>()
        }
    );
}

/// Bodies that are right, in every shape that the grammar allows.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let extension = prop_oneof![4 => Just(String::new()), 1 => ";[a-z]{0,9}(=\"[ -~]{0,5}\")?"];
    let data = prop::collection::vec(any::<u8>(), 1..40);
    let chunk = (0usize..4, any::<bool>(), extension, data);
    let trailer = prop_oneof![
        "[A-Za-z-]{1,8}: ?[ -~]{0,12}",
        Just("Host: evil".to_owned()),
        Just("content-length:\t4".to_owned()),
    ];
    let parts =
        (prop::collection::vec(chunk, 0..5), 1usize..4, prop::collection::vec(trailer, 0..3));
    (parts, prop::collection::vec(any::<u8>(), 0..8)).prop_map(
        |((chunks, zeros, trailers), rest)| {
            let mut body = Vec::new();
            for (zeros, upper, extension, data) in chunks {
                let size = data.len();
                let size = if upper { format!("{size:X}") } else { format!("{size:x}") };
                body.extend(format!("{}{size}{extension}\r\n", "0".repeat(zeros)).bytes());
                body.extend(data);
                body.extend(CRLF);
            }
            body.extend("0".repeat(zeros).bytes().chain(*b"\r\n"));
            for trailer in trailers {
                body.extend(trailer.bytes().chain(*b"\r\n"));
            }
            body.extend(CRLF);
            body.extend(rest);
            body
        },
    )
}

/// A byte that matters to the grammar, more often than not.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => prop::sample::select(b"\r\n\r\n 0015aF;:=\"\t\0xGH-".to_vec()),
        1 => any::<u8>(),
    ]
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..200, 0..12)
}

/// Failures are kept as tests of their own, not in files beside the source.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_split_of_a_body_gives_the_same_output(body in body(), cuts in cuts()) {
        for keep in [Keep::Framing, Keep::DataOnly] {
            let whole = decode(keep, &body);
            prop_assert!(whole.as_ref().is_ok_and(|output| output.done));
            prop_assert_eq!(&whole, &decode_cut(keep, &body, &cuts));
            prop_assert_eq!(&whole, &decode_cut(keep, &body, &every_byte(&body)));
        }
    }

    #[test]
    fn the_naive_decoder_agrees_on_good_bodies(body in body(), cuts in cuts()) {
        agrees_with_naive(&body, &cuts);
    }

    #[test]
    fn the_naive_decoder_agrees_on_damaged_bodies(
        body in body(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), byte(), 0..3u8), 1..4),
        cuts in cuts(),
    ) {
        let mut body = body;
        for (at, byte, how) in damage {
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => drop(body.remove(at)),
            }
            if body.is_empty() { break }
        }
        agrees_with_naive(&body, &cuts);
        for keep in [Keep::Framing, Keep::DataOnly] {
            prop_assert_eq!(decode(keep, &body), decode_cut(keep, &body, &every_byte(&body)));
        }
    }

    #[test]
    fn garbage_never_panics(input in prop::collection::vec(byte(), 0..200), cuts in cuts()) {
        agrees_with_naive(&input, &cuts);
    }

    #[test]
    fn decode_undoes_encode(
        data in prop::collection::vec(any::<u8>(), 0..600),
        sizes in prop::collection::vec(1usize..300, 0..5),
        cuts in cuts(),
    ) {
        let encoded = encode(&data, &sizes);
        let output = decode_cut(Keep::DataOnly, &encoded, &cuts).unwrap();
        prop_assert_eq!(output, Output { bytes: data, consumed: encoded.len(), done: true });
        let output = decode_cut(Keep::Framing, &encoded, &cuts).unwrap();
        prop_assert_eq!(output.bytes, encoded);
    }

    #[test]
    fn memory_stays_bounded_however_much_comes(
        line in "[A-Za-z]{1,20}: [ -~]{0,400}",
        piece in 1usize..3000,
    ) {
        let endless = format!("0\r\n{}", format!("{line}\r\n").repeat(400));
        let mut decoder = Decoder::new(Keep::Framing);
        for piece in endless.as_bytes().chunks(piece) {
            let result = decoder.decode(&mut piece.to_vec());
            let held = decoder.trailers.as_ref().map_or(0, |trailers| trailers.bytes_held());
            prop_assert!(held <= 2 * (TRAILER_BYTES_MAX + TRAILER_FIELDS_MAX + 5), "{}", held);
            if result.is_err() { return Ok(()) }
        }
        prop_assert!(false, "endless trailers were accepted");
    }
}
