//! What recent versions changed, in so few bytes that each version can tell it: who
//! was left behind reads the newest version alone, not all that came between.
//!
//! Only says for certain what was *not* changed. Keys and commit ids are kept as marks of
//! 32 bits, so a mark that is there may be that of another key: then the versions
//! themselves are read.

use super::version::Entry;
use crate::codec::{DecodeError, Decoder, crc32c};
use crate::guards::{Guard, off};

/// All of it in at most so many words of 32 bits, which are in the header.
const WORDS_MAX: usize = 2_560;

/// What one version changed is told for at most so many keys.
const KEYS_MAX: usize = 255;

/// Where an instance is in the order of those who take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank {
    /// How many of them have not had a turn for longer, if it had one itself.
    pub(super) before: Option<u64>,
    /// How many versions a turn has, on average.
    pub(super) turn: u64,
}

/// The last few versions in a row up to some version.
///
/// For each the number of words that follow, the instance that wrote it, or 0 if it did
/// not say, the mark of its commit id, and those of the keys that it edits, whether it
/// takes effect or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recent {
    words: Vec<u32>,
}

pub(super) fn mark(bytes: &[u8]) -> u32 {
    crc32c(&[bytes])
}

impl Recent {
    /// Goes on to the next version.
    pub(super) fn push(&mut self, instance: u32, commit_id: u128, edits: &[Entry]) {
        if edits.len() > KEYS_MAX {
            self.words.clear();
            return;
        }
        let follow = u32::try_from(edits.len() + 2).unwrap_or(u32::MAX);
        let id = mark(&commit_id.to_le_bytes());
        self.words.extend_from_slice(&[follow, instance, id]);
        for (key, _) in edits {
            self.words.push(mark(key.as_bytes()));
        }
        let surplus = self.words.len().saturating_sub(WORDS_MAX);
        let mut first = 0;
        for version in self.versions() {
            if first >= surplus {
                break;
            }
            first += 1 + version.len();
        }
        self.words.drain(..first);
    }

    /// What is told of each version, without the number of words.
    fn versions(&self) -> Vec<&[u32]> {
        let mut versions = Vec::new();
        let mut words = self.words.as_slice();
        while let Some((follow, rest)) = words.split_first() {
            let follow = usize::try_from(*follow).unwrap_or(usize::MAX);
            let (version, behind) = rest.split_at(follow.min(rest.len()));
            versions.push(version);
            words = behind;
        }
        versions
    }

    /// Whether the last one was written among others.
    pub(super) fn tells(&self) -> bool {
        let versions = self.versions();
        versions.last().and_then(|version| version.first()) > Some(&0)
    }

    /// The last `count` of them.
    pub(super) fn last(&self, count: usize) -> Recent {
        let mut words = 0;
        for version in self.versions().iter().rev().take(count) {
            words += 1 + version.len();
        }
        let first = self.words.len().saturating_sub(words);
        Recent {
            words: self.words.get(first..).unwrap_or_default().to_vec(),
        }
    }

    /// Where an instance stands, or how long turns are if it had none yet.
    pub(super) fn rank(&self, instance: u32) -> Rank {
        // The last turn of each, as how many turns ago it was, the latest first.
        let mut last: Vec<(u32, u64)> = Vec::new();
        let (mut turns, mut after) = (0, None);
        let versions = self.versions();
        for version in versions.iter().rev() {
            let writer = version.first().copied().unwrap_or_default();
            turns += u64::from(after != Some(writer));
            after = Some(writer);
            if writer != 0 && !last.iter().any(|(known, _)| *known == writer) {
                last.push((writer, turns));
            }
        }
        let others = u64::try_from(last.len()).unwrap_or(u64::MAX);
        let at = last.iter().position(|(writer, _)| *writer == instance);
        let before = at.map(|at| {
            // Who let its turn go by has left.
            let waits = |(_, turns): &&(u32, u64)| *turns <= others;
            let count = last.iter().skip(at + 1).filter(waits).count();
            u64::try_from(count).unwrap_or(u64::MAX)
        });
        Rank {
            before,
            turn: u64::try_from(versions.len()).unwrap_or(u64::MAX) / turns.max(1),
        }
    }

    /// Whether the last `count` versions are told of, and none of them has one of
    /// `marks`, which are in ascending order.
    pub(super) fn excludes(&self, count: u64, marks: &[u32]) -> bool {
        let versions = self.versions();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > versions.len() && !off(Guard::RecentReachesBack) {
            return false;
        }
        for version in versions.iter().rev().take(count) {
            // The first word is the instance.
            for word in version.iter().skip(1) {
                if marks.binary_search(word).is_ok() && !off(Guard::RecentHeeded) {
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn encode(&self, data: &mut Vec<u8>) {
        for word in &self.words {
            data.extend_from_slice(&word.to_le_bytes());
        }
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Recent, DecodeError> {
        let mut words = Vec::new();
        while !decoder.is_empty() {
            words.push(decoder.u32()?);
        }
        Ok(Recent { words })
    }
}
