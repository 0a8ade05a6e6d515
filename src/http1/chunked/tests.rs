//! Chunked bodies by example: good ones, and one for each rule that can be broken.

use super::*;

/// What came out of a decoder that was fed pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) bytes: Vec<u8>,
    pub(super) consumed: usize,
    pub(super) done: bool,
}

/// Feeds `input` in pieces that end at `cuts`, and checks what must hold after each.
pub(super) fn decode_cut(keep: Keep, input: &[u8], cuts: &[usize]) -> Result<Output, ChunkError> {
    let mut decoder = Decoder::new(keep);
    let mut output = Output { bytes: Vec::new(), consumed: 0, done: false };
    let mut ends: Vec<usize> = cuts.iter().map(|&cut| cut.min(input.len())).collect();
    ends.push(input.len());
    ends.sort_unstable();
    let mut start = 0;
    for end in ends {
        let mut piece = input[start..end].to_vec();
        let progress = decoder.decode(&mut piece)?;
        assert!(progress.kept <= progress.consumed && progress.consumed <= piece.len());
        assert!(progress.done || progress.consumed == piece.len());
        assert_eq!(&piece[progress.consumed..], &input[start + progress.consumed..end]);
        output.bytes.extend_from_slice(&piece[..progress.kept]);
        output.consumed += progress.consumed;
        output.done = progress.done;
        start = end;
        if progress.done {
            assert!(decoder.tail().len() <= 5 + TRAILER_BYTES_MAX + TRAILER_FIELDS_MAX);
            break;
        }
        assert!(decoder.tail().is_empty());
    }
    output.bytes.extend_from_slice(decoder.tail());
    Ok(output)
}

pub(super) fn decode(keep: Keep, input: &[u8]) -> Result<Output, ChunkError> {
    decode_cut(keep, input, &[])
}

pub(super) fn every_byte(input: &[u8]) -> Vec<usize> {
    (0..input.len()).collect()
}

/// Writes `data` as chunks of the given sizes (zeros left out) and a last chunk.
pub(super) fn encode(data: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = data;
    let sizes = sizes.iter().copied().chain([data.len()]);
    for size in sizes {
        let (chunk, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        if !chunk.is_empty() {
            out.extend_from_slice(prefix(chunk.len(), &mut [0; PREFIX_BYTES]));
            out.extend_from_slice(chunk);
            out.extend_from_slice(CRLF);
        }
    }
    out.extend_from_slice(LAST_CHUNK);
    out
}

#[test]
fn good_bodies_are_made_canonical() {
    let cases: &[(&str, &str, &str, &str)] = &[
        // input, framing kept, data, left over
        ("0\r\n\r\n", "0\r\n\r\n", "", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("5\r\nhello\r\n0\r\n\r\nGET", "5\r\nhello\r\n0\r\n\r\n", "hello", "GET"),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "=", "hello world", ""),
        ("0005\r\nhello\r\n000\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("000000000000005\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("A\r\n0123456789\r\n0\r\n\r\n", "=", "0123456789", ""),
        ("a\r\n0123456789\r\n0\r\n\r\n", "=", "0123456789", ""),
        ("10\r\n0123456789abcdef\r\n0\r\n\r\n", "=", "0123456789abcdef", ""),
        ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "=", "\r\n\r\n", ""),
        ("5;a=b;c=\"d e\"\r\nhello\r\n0;last\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("5;\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("0\r\nDigest: x\r\n\r\nGET", "0\r\nDigest: x\r\n\r\n", "", "GET"),
        ("1\r\na\r\n0\r\nD:\t x y \t\r\n\r\n", "1\r\na\r\n0\r\nD: x y\r\n\r\n", "a", ""),
        ("0\r\nEmpty:\r\nB: \u{e9}\r\n\r\n", "0\r\nEmpty: \r\nB: \u{e9}\r\n\r\n", "", ""),
        ("0\r\nHost: a\r\nDigest: x\r\nTE: b\r\n\r\n", "0\r\nDigest: x\r\n\r\n", "", ""),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\nX", "0\r\n\r\n", "", "X"),
    ];
    for &(input, framing, data, rest) in cases {
        let framing = if framing == "=" { input } else { framing };
        let consumed = input.len() - rest.len();
        for cuts in [vec![], every_byte(input.as_bytes())] {
            for (keep, expected) in [(Keep::Framing, framing), (Keep::DataOnly, data)] {
                let output = decode_cut(keep, input.as_bytes(), &cuts).expect(input);
                let bytes = expected.as_bytes().to_vec();
                assert_eq!(output, Output { bytes, consumed, done: true }, "{input:?} {keep:?}");
            }
        }
    }
}

#[test]
fn bodies_that_break_a_rule_are_refused() {
    use ChunkError::*;
    let cases: &[(&str, ChunkError)] = &[
        ("\r\n", SizeMissing),
        (";a\r\n", SizeMissing),
        (" 5\r\nhello", SizeMissing),
        ("+5\r\nhello", SizeMissing),
        ("-5\r\nhello", SizeMissing),
        ("\n", SizeMissing),
        ("g\r\n", SizeMissing),
        ("0x5\r\nhello", SizeCharacter),
        ("5 \r\nhello", SizeCharacter),
        ("5\t;a\r\nhello", SizeCharacter),
        ("5_0\r\n", SizeCharacter),
        ("5,\r\n", SizeCharacter),
        ("5\0\r\n", SizeCharacter),
        ("0000000000000005\r\nhello", SizeTooLong),
        ("10000000000000000\r\n", SizeTooLong),
        ("5\nhello", BareLf),
        ("5\rhello", BareCr),
        ("5\r\rhello", BareCr),
        ("5;a\nhello", BareLf),
        ("5;a\rb\r\nhello", BareCr),
        ("5;a\0b\r\nhello", ExtensionCharacter),
        ("5;a\u{7f}\r\nhello", ExtensionCharacter),
        ("5\r\nhello0\r\n\r\n", DataEnd),
        ("5\r\nhello\n0\r\n\r\n", DataEnd),
        ("5\r\nhello\r0\r\n\r\n", DataEnd),
        ("5\r\nhello world\r\n", DataEnd),
        ("5\r\nhello\r\n\r\n", SizeMissing),
        ("0\r\n\n", BareLf),
        ("0\r\n\r\r", BareCr),
        ("0\r\n\rX", BareCr),
        ("0\r\nName\r\n", TrailerName),
        ("0\r\n: value\r\n", TrailerName),
        ("0\r\nName : value\r\n", TrailerName),
        ("0\r\nNa me: value\r\n", TrailerName),
        ("0\r\nN\u{e9}: value\r\n", TrailerName),
        ("0\r\nName: a\n", BareLf),
        ("0\r\nName: a\rb\r\n", BareCr),
        ("0\r\nName: a\r\r\n", BareCr),
        ("0\r\nName: a\0b\r\n", TrailerValue),
        ("0\r\nHost: a\u{b}\r\n", TrailerValue),
        ("0\r\n folded: x\r\n", TrailerFold),
        ("0\r\nName: a\r\n\tb\r\n", TrailerFold),
    ];
    for &(input, error) in cases {
        for cuts in [vec![], every_byte(input.as_bytes())] {
            for keep in [Keep::Framing, Keep::DataOnly] {
                assert_eq!(decode_cut(keep, input.as_bytes(), &cuts), Err(error), "{input:?}");
            }
        }
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn every_limit_admits_its_value_and_refuses_one_more() {
    let extension = |count: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(count));
    let bytes = |count: usize| format!("0\r\nA: {}\r\n\r\n", "x".repeat(count - 5));
    let fields = |count: usize| format!("0\r\n{}\r\n", "Host:\r\n".repeat(count));
    let cases = [
        (extension(EXTENSION_BYTES_MAX), extension(EXTENSION_BYTES_MAX + 1)),
        (bytes(TRAILER_BYTES_MAX), bytes(TRAILER_BYTES_MAX + 1)),
        (fields(TRAILER_FIELDS_MAX), fields(TRAILER_FIELDS_MAX + 1)),
        ("f".repeat(SIZE_DIGITS_MAX), "f".repeat(SIZE_DIGITS_MAX + 1)),
    ];
    let errors = [
        ChunkError::ExtensionTooLong,
        ChunkError::TrailersTooLong,
        ChunkError::TrailersTooMany,
        ChunkError::SizeTooLong,
    ];
    for ((good, bad), error) in cases.iter().zip(errors) {
        assert!(decode(Keep::Framing, good.as_bytes()).is_ok(), "{error:?}");
        assert_eq!(decode(Keep::Framing, bad.as_bytes()), Err(error));
        assert_eq!(
            decode_cut(Keep::Framing, bad.as_bytes(), &every_byte(bad.as_bytes())),
            Err(error)
        );
    }
}

#[test]
fn trailers_that_frame_route_or_authenticate_are_dropped() {
    let dropped = [
        "Transfer-Encoding",
        "content-length",
        "HOST",
        "Connection",
        "Trailer",
        "TE",
        "Upgrade",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "X-Forwarded-For",
        "x-forwarded-proto",
        "X_Forwarded_For",
        "Content_Length",
        "X-Amzn-Trace-Id",
        "x-amzn-mtls-clientcert",
        "Expect",
    ];
    for name in dropped {
        let input = format!("0\r\n{name}: 1\r\n\r\n");
        let output = decode(Keep::Framing, input.as_bytes()).unwrap();
        assert_eq!(output.bytes, LAST_CHUNK, "{name}");
    }
    for name in ["Digest", "Grpc-Status", "X-Forwarded", "Hostname", "Server-Timing", "ETag"] {
        let input = format!("0\r\n{name}: 1\r\n\r\n");
        let output = decode(Keep::Framing, input.as_bytes()).unwrap();
        assert_eq!(output.bytes, input.as_bytes(), "{name}");
    }
}

#[test]
fn data_is_kept_as_it_arrives_and_a_canonical_body_needs_no_tail() {
    let mut decoder = Decoder::new(Keep::Framing);
    let mut piece = *b"ffffffff\r\nabc";
    let progress = decoder.decode(&mut piece).unwrap();
    assert_eq!(progress, Progress { consumed: 13, kept: 13, done: false });
    assert_eq!(&piece, b"ffffffff\r\nabc");

    let mut decoder = Decoder::new(Keep::Framing);
    let mut whole = *b"3\r\nabc\r\n0\r\n\r\n";
    let progress = decoder.decode(&mut whole).unwrap();
    assert_eq!(progress, Progress { consumed: 13, kept: 13, done: true });
    assert!(decoder.tail().is_empty() && decoder.trailers.is_none());
}

#[test]
fn a_last_chunk_in_pieces_is_withheld_and_comes_as_tail() {
    let mut decoder = Decoder::new(Keep::Framing);
    let pieces: [&[u8]; 3] = [b"1\r\na\r\n0", b"\r\n", b"\r\nGET /"];
    let kept: Vec<_> = pieces
        .iter()
        .map(|piece| decoder.decode(&mut piece.to_vec()).unwrap())
        .map(|progress| (progress.consumed, progress.kept, progress.done))
        .collect();
    assert_eq!(kept, [(7, 6, false), (2, 0, false), (2, 0, true)]);
    assert_eq!(decoder.tail(), LAST_CHUNK);
}

#[test]
fn a_decoder_that_ended_consumes_nothing_and_one_that_failed_stays_failed() {
    let mut decoder = Decoder::new(Keep::Framing);
    decoder.decode(&mut LAST_CHUNK.to_vec()).unwrap();
    let progress = decoder.decode(&mut b"5\r\n".to_vec()).unwrap();
    assert_eq!(progress, Progress { consumed: 0, kept: 0, done: true });

    let mut decoder = Decoder::new(Keep::Framing);
    assert_eq!(decoder.decode(&mut b"x".to_vec()), Err(ChunkError::SizeMissing));
    assert_eq!(decoder.decode(&mut b"".to_vec()), Err(ChunkError::SizeMissing));
}

#[test]
fn the_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 48, "{}", size_of::<Decoder>());
}

#[test]
fn prefix_is_the_size_in_hexadecimal() {
    for len in [1, 9, 10, 15, 16, 255, 4096, usize::MAX] {
        assert_eq!(prefix(len, &mut [0; PREFIX_BYTES]), format!("{len:x}\r\n").as_bytes());
    }
}
