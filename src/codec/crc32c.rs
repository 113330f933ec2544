//! CRC-32C (Castagnoli) as in iSCSI, RFC 3720 appendix B.4.
//!
//! A checksum is a remainder: that of the message, a polynomial over bits, divided by
//! the one of the code. Long inputs are folded first. The divisor divides
//!
//! 1 + y^14 + y^39 + y^54 + y^144 + y^209, where y = x^64,
//!
//! and so the square of it, which over bits is the same with y = x^128. So the remainder
//! stays the same if a word of 128 bits is taken out and added to five words behind it.
//! What is left is short, and goes through a table byte by byte.
//! Folding takes far less time than the fastest table, without special
//! instructions of the host. That sparse multiples of the divisor do this is the idea of
//! S. Russell, "Chorba: A novel CRC32 implementation", arXiv 2412.16398; the multiple here
//! is one of this divisor.

use word::{Word, add, halves, word};

/// Words of 128 bits as the processor has them.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod word {
    use core::arch::wasm32::{u64x2, u64x2_extract_lane, v128, v128_xor};

    pub(super) type Word = v128;

    pub(super) fn word([low, high]: [u64; 2]) -> Word {
        u64x2(low, high)
    }

    pub(super) fn halves(word: Word) -> [u64; 2] {
        [u64x2_extract_lane::<0>(word), u64x2_extract_lane::<1>(word)]
    }

    pub(super) fn add(one: Word, other: Word) -> Word {
        v128_xor(one, other)
    }
}

/// Words of 128 bits.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod word {
    pub(super) type Word = [u64; 2];

    pub(super) fn word(halves: [u64; 2]) -> Word {
        halves
    }

    pub(super) fn halves(word: Word) -> [u64; 2] {
        word
    }

    pub(super) fn add([a, b]: Word, [c, d]: Word) -> Word {
        [a ^ c, b ^ d]
    }
}

/// A word as it stands in a message.
type Stored = [[u8; 8]; 2];

/// The divisor without its highest term, its lowest bit first.
const REVERSED_DIVISOR: u32 = 0x82f6_3b78;

/// The remainder of each byte.
static TABLE: [u32; 256] = table();

/// The exponents of x^128 below the highest.
const EXPONENTS: [usize; 5] = [0, 14, 39, 54, 144];

/// The highest exponent: so far before the others lies the word that is taken out.
const SPAN_WORDS: usize = 209;

/// So many words are folded in one run, none of which needs another of them.
const RUN_WORDS: usize = SPAN_WORDS - 144;

/// So many runs are made before what the next ones need is moved to the front.
const RUNS_MAX: usize = 16;

/// What is shorter is not worth folding.
const FOLD_WORDS_MIN: usize = SPAN_WORDS + RUN_WORDS;

#[allow(
    clippy::indexing_slicing,
    reason = "done by the compiler, which would say so"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut remainder = byte;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ (REVERSED_DIVISOR * (remainder & 1));
            bit += 1;
        }
        table[byte as usize] = remainder;
        byte += 1;
    }
    table
}

/// CRC-32C of the concatenation of `parts`.
#[must_use]
pub fn crc32c(parts: &[&[u8]]) -> u32 {
    !parts.iter().fold(u32::MAX, |state, part| {
        let (words, _) = part.as_chunks().0.as_chunks();
        match words.len() >= FOLD_WORDS_MIN {
            true => folded(state, part, words),
            false => by_table(state, part),
        }
    })
}

fn by_table(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |state, byte| {
        let [low, ..] = state.to_le_bytes();
        let at = usize::from(low ^ byte);
        (state >> 8) ^ TABLE.get(at).copied().unwrap_or_default()
    })
}

/// The state behind `bytes`, which start with `words`.
fn folded(state: u32, bytes: &[u8], words: &[Stored]) -> u32 {
    // The words before the next one, with all that was added to them, and room for
    // the next ones.
    let mut window = [word([0; 2]); SPAN_WORDS + RUN_WORDS * RUNS_MAX];
    // The state is added to the first bytes, as if it had been taken out before them.
    if let Some(first) = window.first_mut() {
        *first = word([state.into(), 0]);
    }
    let count = words.len().saturating_sub(SPAN_WORDS) / RUN_WORDS * RUN_WORDS;
    let (gone, left) = words.split_at_checked(count).unwrap_or_default();
    for runs in gone.as_chunks().0.chunks(RUNS_MAX) {
        for (run, words) in runs.iter().enumerate() {
            let window = window.get_mut(run * RUN_WORDS..);
            if let Some(window) = window.and_then(<[_]>::first_chunk_mut) {
                fold(window, words);
            }
        }
        let end = runs.len() * RUN_WORDS;
        window.copy_within(end..end + SPAN_WORDS, 0);
    }
    let mut added = [word([0; 2]); SPAN_WORDS];
    for exponent in EXPONENTS {
        let taken_out = window.get(exponent..SPAN_WORDS).unwrap_or_default();
        for (added, word) in added.iter_mut().zip(taken_out) {
            *added = add(*added, *word);
        }
    }
    let mut state = 0;
    for (word, added) in left.iter().zip(added) {
        for half in halves(add(read(word), added)) {
            state = by_table(state, &half.to_le_bytes());
        }
    }
    let rest = bytes.get((count + SPAN_WORDS) * 16..).unwrap_or_default();
    by_table(state, rest)
}

/// Takes `words` out, given those before them.
#[allow(
    clippy::indexing_slicing,
    reason = "no sum is as large as the length, as the compiler sees"
)]
fn fold(window: &mut [Word; SPAN_WORDS + RUN_WORDS], words: &[Stored; RUN_WORDS]) {
    let [a, b, c, d, e] = EXPONENTS;
    for at in 0..RUN_WORDS {
        let one = add(window[at + a], window[at + b]);
        let other = add(window[at + c], window[at + d]);
        let word = add(window[at + e], read(&words[at]));
        window[at + SPAN_WORDS] = add(word, add(one, other));
    }
}

fn read([low, high]: &Stored) -> Word {
    word([u64::from_le_bytes(*low), u64::from_le_bytes(*high)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_matches_the_published_check_value() {
        // The check value of CRC-32/ISCSI in the catalogue of parametrised CRCs.
        assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(&[b"1234", b"", b"56789"]), 0xe306_9283);
    }

    #[test]
    fn folding_changes_nothing() {
        let mut state = 1_u64;
        let bytes: Vec<u8> = core::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(45_000)
        .collect();
        let least = FOLD_WORDS_MIN * 16;
        let block = RUN_WORDS * RUNS_MAX * 16;
        for length in [least, least + block, least + 2 * block] {
            for length in length - 17..length + 17 {
                let bytes = &bytes[3..3 + length];
                assert_eq!(crc32c(&[bytes]), !by_table(u32::MAX, bytes), "{length}");
                let (first, second) = bytes.split_at(length / 2);
                assert_eq!(crc32c(&[first, second]), crc32c(&[bytes]), "{length}");
            }
        }
    }
}
