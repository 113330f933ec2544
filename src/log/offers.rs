//! Offers: batches that wait for another writer to put them into the log.
//!
//! A writer that meets others leaves its batch in an object of its own, behind the
//! newest segment that it knows: the *base*. Whoever writes one of the next
//! [`WINDOW`] segments may take it in by reference. Its key says all that is needed
//! for that, so offers are taken from a listing and never read. Each header names
//! the offers that were taken lately, so none is taken twice, and the writer of an
//! offer finds there what became of it.

use core::fmt::Write as _;

use super::producers::Stamp;
use super::segment::{OFFERS, RECORDS_MAX, SETTLED};
use crate::codec::{DecodeError, Decoder, Header, crc32c};
use crate::guards::{Guard, off};
use crate::keys::{ChainKeys, Slot};

/// An offer based on slot n may be taken in slots n + 1 to n + `WINDOW`, and
/// nowhere else.
pub(super) const WINDOW: u64 = 4;

/// One segment takes at most this many offers.
pub const OFFERS_MAX: usize = 128;

/// Stands in a key between the base and the description.
const MARK: &str = "-o";

/// Length of a description without a producer, and of what a producer adds.
const PLAIN_BYTES: usize = 28;
const STAMP_BYTES: usize = 32;

/// An offer, as its key and the segment that takes it describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The newest segment that its writer knew.
    pub(super) base: Slot,
    pub(super) commit_id: u128,
    pub(super) record_count: u32,
    pub(super) payload_bytes: u32,
    pub(super) payload_crc: u32,
    pub(super) stamp: Option<Stamp>,
}

impl Offer {
    /// Describes an offer of these bytes.
    #[must_use]
    pub(super) fn new(
        base: Slot,
        commit_id: u128,
        records: usize,
        payload: &[u8],
        stamp: Option<Stamp>,
    ) -> Offer {
        Offer {
            base,
            commit_id,
            record_count: u32::try_from(records).unwrap_or(u32::MAX),
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            payload_crc: crc32c(&[payload]),
            stamp,
        }
    }

    /// What a header says of it if nobody is to take it.
    #[must_use]
    pub(super) fn withdrawn(&self) -> Settled {
        Settled {
            base: self.base,
            commit_id: self.commit_id,
            start: WITHDRAWN,
        }
    }

    /// Where it is stored: right behind its base in a listing.
    #[must_use]
    pub fn key(&self, keys: &ChainKeys) -> String {
        let mut key = keys.slot(self.base);
        key.push_str(MARK);
        for byte in self.description() {
            // Writing to a string cannot fail.
            let _ = write!(key, "{byte:02x}");
        }
        key
    }

    /// Reads a key that a listing gave, or returns `None` if it is not that of an
    /// offer to this log.
    #[must_use]
    pub fn parse(keys: &ChainKeys, key: &str) -> Option<Offer> {
        // The mark ends with a character that is no digit.
        let (slot_key, digits) = key.rsplit_once('o')?;
        let base = keys.parse_slot(slot_key.strip_suffix('-')?)?;
        let mut bytes = Vec::new();
        for pair in digits.as_bytes().chunks(2) {
            bytes.push(u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?);
        }
        let mut decoder = Decoder::new(&bytes);
        let offer = Offer::take(base, bytes.len() > PLAIN_BYTES, &mut decoder).ok()?;
        let records = 1..=u32::try_from(RECORDS_MAX).unwrap_or(u32::MAX);
        (records.contains(&offer.record_count) && offer.key(keys) == key).then_some(offer)
    }

    /// The last slot that can have taken the offer with this key, or `None` if it is
    /// not that of an offer.
    pub(super) fn needed_until(keys: &ChainKeys, key: &str) -> Option<Slot> {
        Offer::parse(keys, key).map(|offer| match off(Guard::OffersKept) {
            true => offer.base,
            false => last_chance(offer.base),
        })
    }

    /// The bytes that describe it, besides its base.
    fn description(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PLAIN_BYTES + STAMP_BYTES);
        bytes.extend_from_slice(&self.commit_id.to_le_bytes());
        bytes.extend_from_slice(&self.record_count.to_le_bytes());
        bytes.extend_from_slice(&self.payload_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.payload_crc.to_le_bytes());
        if let Some(stamp) = &self.stamp {
            bytes.extend_from_slice(&stamp.id_hash.to_le_bytes());
            bytes.extend_from_slice(&stamp.sequence.to_le_bytes());
            bytes.extend_from_slice(&stamp.started_at.to_le_bytes());
        }
        bytes
    }

    fn take(base: Slot, stamped: bool, decoder: &mut Decoder<'_>) -> Result<Offer, DecodeError> {
        let mut offer = Offer {
            base,
            commit_id: decoder.u128()?,
            record_count: decoder.u32()?,
            payload_bytes: decoder.u32()?,
            payload_crc: decoder.u32()?,
            stamp: None,
        };
        if stamped {
            offer.stamp = Some(Stamp {
                id_hash: decoder.u128()?,
                sequence: decoder.u64()?,
                started_at: decoder.u64()?,
            });
        }
        Ok(offer)
    }
}

/// An offer that nobody may take any more, and where its records begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) base: Slot,
    pub(super) commit_id: u128,
    /// [`WITHDRAWN`] if it was not taken.
    pub(super) start: u64,
}

/// Stands for the start of the records of an offer that its writer withdrew.
pub(super) const WITHDRAWN: u64 = u64::MAX;

impl Settled {
    /// Whether this is about `offer`.
    pub(super) fn is(&self, offer: &Offer) -> bool {
        (self.base, self.commit_id) == (offer.base, offer.commit_id)
    }

    /// Whether one of these is about the same offer.
    pub(super) fn is_among(&self, settled: &[Settled]) -> bool {
        let same = |it: &Settled| (it.base, it.commit_id) == (self.base, self.commit_id);
        settled.iter().any(same)
    }
}

/// The last slot in which an offer based on `base` may be taken.
#[must_use]
pub(super) fn last_chance(base: Slot) -> Slot {
    Slot(base.0.saturating_add(WINDOW))
}

/// Whether the segment in `slot` may take an offer based on `base`.
#[must_use]
pub(super) fn in_window(base: Slot, slot: Slot) -> bool {
    base < slot && slot <= last_chance(base)
}

/// The bytes of the section of offers that the segment in `slot` takes.
#[must_use]
pub(super) fn encode(slot: Slot, offers: &[Offer]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for offer in offers {
        bytes.push(distance(slot, offer.base));
        bytes.push(u8::from(offer.stamp.is_some()));
        bytes.extend_from_slice(&offer.description());
    }
    bytes
}

/// Reads the offers that a segment takes, in the order of their records.
///
/// # Errors
///
/// If one of them could not have been taken in this slot, or they have more
/// records than the segment.
pub(super) fn decode(header: &Header) -> Result<Vec<Offer>, DecodeError> {
    let mut decoder = Decoder::new(header.section(OFFERS).unwrap_or_default());
    let mut offers = Vec::new();
    let mut records = 0_u64;
    while !decoder.is_empty() {
        let base = base(header.slot, decoder.u8()?)?;
        let stamped = decoder.u8()? != 0;
        let offer = Offer::take(base, stamped, &mut decoder)?;
        records = records.saturating_add(offer.record_count.into());
        offers.push(offer);
    }
    if offers.len() > OFFERS_MAX || records > header.record_count.into() {
        return Err(DecodeError::Corrupt("it takes too many offers"));
    }
    Ok(offers)
}

/// The bytes of the section of offers that were settled before, without those that
/// cannot be taken behind `slot` any more, nor be missed there.
#[must_use]
pub(super) fn encode_settled(slot: Slot, settled: &[Settled]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for settled in settled.iter().filter(|it| in_window(it.base, slot)) {
        bytes.push(distance(slot, settled.base));
        bytes.extend_from_slice(&settled.commit_id.to_le_bytes());
        bytes.extend_from_slice(&settled.start.to_le_bytes());
    }
    bytes
}

/// All offers that were settled up to the segment with this header and are based on
/// one of the [`WINDOW`] slots before it.
///
/// # Errors
///
/// If a section is not as it was written.
pub(super) fn settled(header: &Header) -> Result<Vec<Settled>, DecodeError> {
    let mut decoder = Decoder::new(header.section(SETTLED).unwrap_or_default());
    let mut settled = Vec::new();
    while !decoder.is_empty() {
        settled.push(Settled {
            base: base(header.slot, decoder.u8()?)?,
            commit_id: decoder.u128()?,
            start: decoder.u64()?,
        });
    }
    let offers = decode(header)?;
    // The records of offers are the last of the segment.
    let taken: u64 = offers.iter().map(|it| u64::from(it.record_count)).sum();
    let end = header
        .base_offset
        .saturating_add(header.record_count.into());
    let mut start = end.saturating_sub(taken);
    for offer in offers {
        settled.push(Settled {
            base: offer.base,
            commit_id: offer.commit_id,
            start,
        });
        start = start.saturating_add(offer.record_count.into());
    }
    Ok(settled)
}

/// How far a base within the window lies before a slot.
fn distance(slot: Slot, base: Slot) -> u8 {
    u8::try_from(slot.0.saturating_sub(base.0)).unwrap_or(u8::MAX)
}

fn base(slot: Slot, distance: u8) -> Result<Slot, DecodeError> {
    slot.0
        .checked_sub(distance.into())
        .map(Slot)
        .filter(|base| in_window(*base, slot))
        .ok_or(DecodeError::Corrupt("an offer in it is out of its window"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Family, Name};

    fn keys() -> ChainKeys {
        ChainKeys::new(Family::Log, Name::parse("my-orders").unwrap())
    }

    fn offer(stamp: Option<Stamp>) -> Offer {
        Offer::new(Slot(7), 0x1234, 3, b"payload", stamp)
    }

    const STAMP: Stamp = Stamp {
        id_hash: 5,
        sequence: 6,
        started_at: 7,
    };

    #[test]
    fn keys_sort_behind_their_base_and_parse_back() {
        for stamp in [None, Some(STAMP)] {
            let offer = offer(stamp);
            let key = offer.key(&keys());
            assert!(keys().slot(Slot(7)) < key && key < keys().slot(Slot(6)));
            assert_eq!(Offer::parse(&keys(), &key), Some(offer));
            for at in 0..key.len() {
                // A description that stops before the producer is one without.
                if stamp.is_some() && key.len() - at == 2 * STAMP_BYTES {
                    continue;
                }
                let cut = key.get(..at).unwrap();
                assert_eq!(Offer::parse(&keys(), cut), None, "{cut}");
            }
            assert_eq!(Offer::parse(&keys(), &key.to_uppercase()), None);
            assert_eq!(Offer::parse(&keys(), &format!("{key}00")), None);
        }
        assert_eq!(Offer::parse(&keys(), &keys().slot(Slot(7))), None);
    }

    #[test]
    fn the_longest_key_fits_into_every_store() {
        let keys = ChainKeys::new(Family::Log, Name::parse(&"n".repeat(200)).unwrap());
        let offer = Offer {
            base: Slot(u64::MAX),
            ..offer(Some(STAMP))
        };
        assert_eq!(offer.key(&keys).len(), 370);
    }
}
