//! A hash that gives the same in every process and every release, for what outlasts one: cookies,
//! and which client goes to which target. Not against an adversary: whoever may choose the input
//! freely finds two that collide.

/// Where every hash begins and what each step adds: 2^64 divided by the golden ratio (SplitMix64).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash of `words`.
pub(super) fn words(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(GOLDEN, |state, word| mix((state ^ word).wrapping_add(GOLDEN)))
}

/// The hash of `bytes`; their number counts, so zeros at the end do too.
pub(super) fn bytes(bytes: &[u8]) -> u64 {
    let chunks = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words(std::iter::once(bytes.len() as u64).chain(chunks))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014): a permutation in which each bit depends on all.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_what_they_are() {
        // First output of SplitMix64 with seed 0, as published.
        assert_eq!(mix(GOLDEN), 0xE220_A839_7B1D_CDAF);
        // Of an implementation in Python. Changing these moves every sticky client once.
        let cases = [
            ("", 0x6E78_9E6A_A1B9_65F4),
            ("a", 0x333B_DA43_BEBC_7927),
            ("a\0", 0x3350_FD24_90F4_F7D8),
            ("blue-green", 0xC169_6E4F_9F92_C668),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text.as_bytes()), expected, "{text:?}");
        }
    }
}
