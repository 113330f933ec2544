//! Which batch each producer appended last, so that a repetition is recognised.
//!
//! The table travels in the header of every segment, so it survives trims, and a
//! writer that knows the tail knows the table.

use super::segment::PRODUCERS;
use super::{Extent, Producer, SequenceProblem};
use crate::codec::{DecodeError, Decoder, Header};
use crate::guards::{Guard, off};
use crate::keys::hash128;

/// A log remembers this many producers. The one that appended least recently is
/// forgotten first.
pub const PRODUCERS_MAX: usize = 64;

/// One batch of one producer, as the table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The first 16 bytes of the SHA-256 of the producer's id.
    pub(super) id_hash: u128,
    pub(super) sequence: u64,
    pub(super) started_at: u64,
}

impl Stamp {
    #[must_use]
    pub(super) fn of(producer: &Producer) -> Stamp {
        Stamp {
            id_hash: hash(&producer.id),
            sequence: producer.sequence,
            started_at: producer.started_at,
        }
    }
}

/// The last batch of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// The first 16 bytes of the SHA-256 of the producer's id.
    id_hash: u128,
    sequence: u64,
    start: u64,
    count: u32,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Producers {
    /// A producer that is not in the table has appended nothing from this offset
    /// on, but may have appended before it.
    horizon: u64,
    /// The most recent first.
    entries: Vec<Entry>,
}

/// What the table says of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the producer's next.
    Next,
    /// It is in the log already.
    Known(Extent),
    /// It cannot be accepted.
    Problem(SequenceProblem),
}

impl Producers {
    /// Whether no producer ever appended.
    #[must_use]
    pub(super) fn is_new(&self) -> bool {
        self.horizon == 0 && self.entries.is_empty()
    }

    /// Judges a batch.
    #[must_use]
    pub(super) fn judge(&self, batch: &Stamp) -> Verdict {
        let known = |entry: &&Entry| entry.id_hash == batch.id_hash;
        let Some(entry) = self.entries.iter().find(known) else {
            return if batch.started_at < self.horizon && !off(Guard::ProducerForgotten) {
                Verdict::Problem(SequenceProblem::Forgotten)
            } else if batch.sequence == 0 {
                Verdict::Next
            } else {
                Verdict::Problem(SequenceProblem::Gap(0))
            };
        };
        let next = entry.sequence.saturating_add(1);
        if batch.sequence == entry.sequence {
            Verdict::Known(Extent {
                start: entry.start,
                end: entry.start.saturating_add(entry.count.into()),
            })
        } else if batch.sequence < entry.sequence {
            Verdict::Problem(SequenceProblem::Superseded(entry.sequence))
        } else if batch.sequence == next {
            Verdict::Next
        } else {
            Verdict::Problem(SequenceProblem::Gap(next))
        }
    }

    /// The table after this batch.
    #[must_use]
    pub(super) fn with(&self, batch: &Stamp, start: u64, count: u32) -> Producers {
        let id_hash = batch.id_hash;
        let mut entries = Vec::with_capacity(PRODUCERS_MAX);
        entries.push(Entry {
            id_hash,
            sequence: batch.sequence,
            start,
            count,
        });
        let mut horizon = self.horizon;
        for entry in self.entries.iter().filter(|entry| entry.id_hash != id_hash) {
            if entries.len() < PRODUCERS_MAX {
                entries.push(*entry);
            } else {
                horizon = horizon.max(entry.start.saturating_add(entry.count.into()));
            }
        }
        Producers { horizon, entries }
    }
}

fn hash(id: &str) -> u128 {
    hash128(&[id.as_bytes()])
}

/// The bytes of the section.
#[must_use]
pub(super) fn encode(producers: &Producers) -> Vec<u8> {
    let mut bytes = producers.horizon.to_le_bytes().to_vec();
    for entry in &producers.entries {
        bytes.extend_from_slice(&entry.id_hash.to_le_bytes());
        bytes.extend_from_slice(&entry.sequence.to_le_bytes());
        bytes.extend_from_slice(&entry.start.to_le_bytes());
        bytes.extend_from_slice(&entry.count.to_le_bytes());
    }
    bytes
}

/// Reads the section of a header.
///
/// # Errors
///
/// If it ends in the middle of an entry or has too many.
pub(super) fn decode(header: &Header) -> Result<Producers, DecodeError> {
    let Some(section) = header.section(PRODUCERS) else {
        return Ok(Producers::default());
    };
    let mut decoder = Decoder::new(section);
    let horizon = decoder.u64()?;
    let mut entries = Vec::new();
    while !decoder.is_empty() {
        if entries.len() == PRODUCERS_MAX {
            return Err(DecodeError::Corrupt("it has too many producers"));
        }
        entries.push(Entry {
            id_hash: decoder.u128()?,
            sequence: decoder.u64()?,
            start: decoder.u64()?,
            count: decoder.u32()?,
        });
    }
    Ok(Producers { horizon, entries })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(id: &str, sequence: u64, started_at: u64) -> Stamp {
        Stamp {
            id_hash: hash(id),
            sequence,
            started_at,
        }
    }

    #[test]
    fn a_repetition_gets_the_original_offsets() {
        let table = Producers::default().with(&producer("a", 0, 0), 5, 3);
        assert_eq!(
            table.judge(&producer("a", 0, 0)),
            Verdict::Known(Extent { start: 5, end: 8 })
        );
        assert_eq!(table.judge(&producer("a", 1, 0)), Verdict::Next);
        assert_eq!(
            table.judge(&producer("a", 2, 0)),
            Verdict::Problem(SequenceProblem::Gap(1))
        );
        let table = table.with(&producer("a", 1, 0), 8, 1);
        assert_eq!(
            table.judge(&producer("a", 0, 0)),
            Verdict::Problem(SequenceProblem::Superseded(1))
        );
    }

    #[test]
    fn a_forgotten_producer_is_reported_and_a_new_one_is_not() {
        let mut table = Producers::default();
        for number in 0..=PRODUCERS_MAX as u64 {
            table = table.with(&producer(&format!("p{number}"), 0, 0), number * 10, 10);
        }
        // p0 appended offsets 0 to 9 and fell out.
        assert_eq!(table.horizon, 10);
        assert_eq!(
            table.judge(&producer("p0", 0, 0)),
            Verdict::Problem(SequenceProblem::Forgotten)
        );
        assert_eq!(
            table.judge(&producer("p1", 0, 0)),
            Verdict::Known(Extent { start: 10, end: 20 })
        );
        // A producer that began behind the horizon cannot have been forgotten.
        assert_eq!(table.judge(&producer("new", 0, 10)), Verdict::Next);
        assert_eq!(
            table.judge(&producer("new", 1, 10)),
            Verdict::Problem(SequenceProblem::Gap(0))
        );
    }

    #[test]
    fn appending_again_keeps_a_producer_in_the_table() {
        let mut table = Producers::default().with(&producer("old", 0, 0), 0, 1);
        for number in 0..200 {
            table = table.with(&producer(&format!("p{number}"), 0, 0), number, 1);
            table = table.with(&producer("old", number + 1, 0), number, 1);
        }
        assert_eq!(table.judge(&producer("old", 201, 0)), Verdict::Next);
        assert_eq!(table.entries.len(), PRODUCERS_MAX);
    }
}
