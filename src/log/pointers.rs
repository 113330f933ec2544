//! Pointers from a segment back to earlier ones, for logarithmic search.
//!
//! Segment n names the segments whose numbers arise from n by clearing its lowest
//! set bits one after another, except n itself and 0. So a million segments need
//! twenty pointers at most, ten on average, and each step of a search halves what
//! is left. A writer of n+1 has them all from the header of n.

use super::segment::POINTERS;
use crate::bucket::StoreTime;
use crate::codec::{DecodeError, Decoder, Header};
use crate::keys::Slot;

/// An earlier segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    /// Its slot.
    pub slot: Slot,
    /// The offset of its first record.
    pub base_offset: u64,
    /// When the store accepted it, if its successor's writer knew.
    pub modified_at: Option<StoreTime>,
}

/// Stands for an unknown time.
const NO_TIME: u64 = u64::MAX;

/// The slots that a segment in `slot` points to, nearest first.
pub(super) fn slots(slot: Slot) -> impl Iterator<Item = Slot> {
    let parent = |slot: Slot| {
        let cleared = slot.0 & slot.0.wrapping_sub(1);
        (cleared > 0).then_some(Slot(cleared))
    };
    core::iter::successors(parent(slot), move |slot| parent(*slot))
}

/// The pointers of the segment behind `previous`, which has pointers `earlier`.
#[must_use]
pub(super) fn following(previous: Pointer, earlier: &[Pointer]) -> Vec<Pointer> {
    let Some(next) = previous.slot.next() else {
        return Vec::new();
    };
    let mut pointers = Vec::new();
    for slot in slots(next) {
        if previous.slot == slot {
            pointers.push(previous);
        } else if let Some(pointer) = earlier.iter().find(|pointer| pointer.slot == slot) {
            pointers.push(*pointer);
        }
    }
    pointers
}

/// The bytes of the section. The slots follow from the segment's own.
#[must_use]
pub(super) fn encode(pointers: &[Pointer]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pointers.len() * 16);
    for pointer in pointers {
        let time = pointer.modified_at.map_or(NO_TIME, |time| time.unix_ms);
        bytes.extend_from_slice(&pointer.base_offset.to_le_bytes());
        bytes.extend_from_slice(&time.to_le_bytes());
    }
    bytes
}

/// Reads the section of a header.
///
/// # Errors
///
/// If it does not have the right length or its offsets are not in order.
pub(super) fn decode(header: &Header) -> Result<Vec<Pointer>, DecodeError> {
    let mut decoder = Decoder::new(header.section(POINTERS).unwrap_or_default());
    let mut pointers = Vec::new();
    let mut above = header.base_offset;
    for slot in slots(header.slot) {
        let base_offset = decoder.u64()?;
        let unix_ms = decoder.u64()?;
        if base_offset > above {
            return Err(DecodeError::Corrupt("its pointers are out of order"));
        }
        above = base_offset;
        pointers.push(Pointer {
            slot,
            base_offset,
            modified_at: (unix_ms != NO_TIME).then_some(StoreTime { unix_ms }),
        });
    }
    decoder.finish()?;
    Ok(pointers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(slot: u64) -> Pointer {
        Pointer {
            slot: Slot(slot),
            base_offset: slot * 10,
            modified_at: Some(StoreTime { unix_ms: slot }),
        }
    }

    #[test]
    fn every_segment_can_fill_its_pointers_from_the_one_before() {
        let mut pointers = Vec::new();
        for slot in 0..5_000 {
            let expected: Vec<Slot> = slots(Slot(slot)).collect();
            let found: Vec<Slot> = pointers
                .iter()
                .map(|pointer: &Pointer| pointer.slot)
                .collect();
            assert_eq!(found, expected, "slot {slot}");
            assert!(pointers.iter().all(|found| *found == pointer(found.slot.0)));
            pointers = following(pointer(slot), &pointers);
        }
    }

    #[test]
    fn a_million_segments_need_at_most_twenty_pointers() {
        let most = (0..1_000_000).map(|slot| slots(Slot(slot)).count()).max();
        assert_eq!(most, Some(18));
        assert_eq!(slots(Slot(u64::MAX)).count(), 63);
    }
}
