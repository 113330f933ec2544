//! CRC-32C (Castagnoli) as in iSCSI, RFC 3720 appendix B.4.
//!
//! A checksum is a remainder: that of the message, a polynomial over bits, divided by
//! the one of the code. Long inputs are folded first. The divisor divides
//!
//! 1 + y^14 + y^39 + y^54 + y^144 + y^209, where y = x^64,
//!
//! so the remainder stays the same if a word of 64 bits is taken out and added to five
//! words behind it. What is left is short, and goes through a table byte by byte.
//! Folding takes a fifth of the time of the fastest table, without special
//! instructions of the host.

/// The divisor without its highest term, its lowest bit first.
const REVERSED_DIVISOR: u32 = 0x82f6_3b78;

/// The remainder of each byte.
static TABLE: [u32; 256] = table();

/// How many words behind a word those are to which it can be added instead.
const DISTANCES: [usize; 5] = [NEAREST, 155, 170, 195, FARTHEST];
const NEAREST: usize = 65;
const FARTHEST: usize = 209;

/// So many words are folded in one run, none of which needs another of them.
const RUN_WORDS: usize = NEAREST;
const BLOCK_RUNS: usize = 8;

/// What is shorter is not worth folding.
const FOLD_WORDS_MIN: usize = FARTHEST + RUN_WORDS;

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
        let (words, _) = part.as_chunks();
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
fn folded(state: u32, bytes: &[u8], words: &[[u8; 8]]) -> u32 {
    // The words before the next one, as they were when they were folded, and room for
    // a block of further ones.
    let mut window = [0_u64; FARTHEST + RUN_WORDS * BLOCK_RUNS];
    // The state is added to the first bytes: as a word that lies so far before them.
    if let Some(first) = window.first_mut() {
        *first = state.into();
    }
    let count = words.len().saturating_sub(FARTHEST) / RUN_WORDS * RUN_WORDS;
    let (gone, left) = words.split_at_checked(count).unwrap_or_default();
    for block in gone.chunks(RUN_WORDS * BLOCK_RUNS) {
        for (run, words) in block.chunks(RUN_WORDS).enumerate() {
            let (before, next) = window.split_at_mut(FARTHEST + run * RUN_WORDS);
            let [a, b, c, d, e] = DISTANCES.map(|distance| last(before, distance));
            let sources = a.iter().zip(b).zip(c).zip(d).zip(e);
            for ((next, word), ((((a, b), c), d), e)) in next.iter_mut().zip(words).zip(sources) {
                *next = u64::from_le_bytes(*word) ^ a ^ b ^ c ^ d ^ e;
            }
        }
        window.copy_within(block.len()..block.len() + FARTHEST, 0);
    }
    let mut added = [0; FARTHEST];
    let before = window.get(..FARTHEST).unwrap_or_default();
    for distance in DISTANCES {
        for (added, word) in added.iter_mut().zip(last(before, distance)) {
            *added ^= word;
        }
    }
    let mut state = 0;
    for (word, added) in left.iter().zip(added) {
        let word = u64::from_le_bytes(*word) ^ added;
        state = by_table(state, &word.to_le_bytes());
    }
    let rest = bytes.get((count + FARTHEST) * 8..).unwrap_or_default();
    by_table(state, rest)
}

/// The last `count` of some words.
fn last(words: &[u64], count: usize) -> &[u64] {
    let start = words.len().saturating_sub(count);
    words.get(start..).unwrap_or_default()
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
        .take(40_000)
        .collect();
        let least = FOLD_WORDS_MIN * 8;
        let block = RUN_WORDS * BLOCK_RUNS * 8;
        for length in [least, least + block, least + 2 * block] {
            for length in length - 9..length + 9 {
                let bytes = &bytes[3..3 + length];
                assert_eq!(crc32c(&[bytes]), !by_table(u32::MAX, bytes), "{length}");
                let (first, second) = bytes.split_at(length / 2);
                assert_eq!(crc32c(&[first, second]), crc32c(&[bytes]), "{length}");
            }
        }
    }
}
