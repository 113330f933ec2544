//! Segments: one batch of records in one object.
//!
//! Payload: the length of each record as `u32`, then the records, end to end. A
//! segment may take further batches in by reference, behind its own records; see
//! [`offers`].

use core::ops::Range;
use std::collections::VecDeque;

use super::offers::{self, Offer, Settled};
use super::pointers::{self, Pointer};
use super::producers::{self, Producers};
use crate::codec::{DecodeError, Decoder, Header, Kind, Section, Tag, crc32c};
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::token::Epoch;

/// At most this many records in one batch.
pub const RECORDS_MAX: usize = 10_000;

/// At most this many bytes in the records of one batch, together.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The section with the [`Pointer`]s.
pub(super) const POINTERS: Tag = Tag(1);

/// The section with the [`Producers`].
pub(super) const PRODUCERS: Tag = Tag(2);

/// The section with the [`Offer`]s that the segment takes.
pub(super) const OFFERS: Tag = Tag(8);

/// The section with the offers that were [`Settled`] before.
pub(super) const SETTLED: Tag = Tag(9);

/// The sections that a reader of segments understands.
pub(super) const SECTIONS: &[Tag] = &[POINTERS, PRODUCERS, OFFERS, SETTLED];

/// Bytes of one entry in the table of lengths.
const LENGTH_BYTES: usize = 4;

/// A header without what follows from the rest of the object.
pub(super) type Draft = Header;

/// What a header says besides its fixed part.
pub(super) struct Carried<'a> {
    pub(super) pointers: &'a [Pointer],
    pub(super) producers: &'a Producers,
    /// The offers that the segment takes.
    pub(super) offers: &'a [Offer],
    /// Those that were settled before.
    pub(super) settled: &'a [Settled],
}

/// The payload of a segment or an offer with these records.
///
/// # Errors
///
/// If a record is longer than the format can hold.
pub(super) fn payload(records: &[Vec<u8>]) -> Result<Vec<u8>, DecodeError> {
    let records_bytes: usize = records.iter().map(Vec::len).sum();
    let mut payload = Vec::with_capacity(records.len() * LENGTH_BYTES + records_bytes);
    for record in records {
        let length = u32::try_from(record.len())
            .map_err(|_| DecodeError::Corrupt("a record is too long"))?;
        payload.extend_from_slice(&length.to_le_bytes());
    }
    for record in records {
        payload.extend_from_slice(record);
    }
    Ok(payload)
}

/// Encodes a segment with its own `payload`. `draft` gives all of the header but
/// the payload's length and checksum, and the sections.
///
/// # Errors
///
/// If the header would be longer than the format can hold.
pub(super) fn encode(
    mut draft: Draft,
    payload: &[u8],
    carried: &Carried<'_>,
) -> Result<(Header, Vec<u8>), DecodeError> {
    draft.sections = sections(draft.slot, carried);
    let body = seal(&mut draft, payload)?;
    Ok((draft, body))
}

/// Encodes an offer.
///
/// # Errors
///
/// None for a header without sections.
pub(super) fn encode_offer(
    offer: &Offer,
    identity: u128,
    payload: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    let mut draft = Header {
        kind: Kind::Offer,
        identity,
        slot: offer.base,
        commit_id: offer.commit_id,
        previous_id: 0,
        epoch: Epoch::SHARED,
        base_offset: 0,
        record_count: offer.record_count,
        grace_ms: 0,
        clock_margin_ms: 0,
        payload_bytes: 0,
        payload_crc: 0,
        sections: Vec::new(),
    };
    seal(&mut draft, payload)
}

fn seal(draft: &mut Draft, payload: &[u8]) -> Result<Vec<u8>, DecodeError> {
    draft.payload_bytes = u64::try_from(payload.len())
        .map_err(|_| DecodeError::Corrupt("the payload is too long"))?;
    draft.payload_crc = crc32c(&[payload]);
    let mut body = draft.encode()?;
    body.extend_from_slice(payload);
    Ok(body)
}

fn sections(slot: Slot, carried: &Carried<'_>) -> Vec<Section> {
    let producers = match carried.producers.is_new() {
        true => Vec::new(),
        false => producers::encode(carried.producers),
    };
    // A writer that dropped the table or forgot what was settled would let batches
    // in twice; a reader that did not see the offers would lose their records.
    let mut sections = Vec::new();
    for (tag, required, data) in [
        (POINTERS, false, pointers::encode(carried.pointers)),
        (PRODUCERS, true, producers),
        (OFFERS, true, offers::encode(slot, carried.offers)),
        (SETTLED, true, offers::encode_settled(slot, carried.settled)),
    ] {
        if !data.is_empty() {
            sections.push(Section {
                tag,
                required,
                data,
            });
        }
    }
    sections
}

/// A decoded segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its header.
    pub header: Header,
    /// The offers that it takes and whose records are not in it yet.
    offers: VecDeque<Offer>,
    body: Vec<u8>,
    records: Vec<Range<usize>>,
}

impl Segment {
    /// Reads a segment from a whole object. The records of the offers that it takes
    /// are read from objects of their own: see [`Segment::join`].
    ///
    /// # Errors
    ///
    /// If anything in it is not as it was written.
    pub fn decode(body: Vec<u8>) -> Result<Segment, DecodeError> {
        let (header, payload) = Header::decode_object(&body)?;
        if header.kind != Kind::Segment {
            return Err(DecodeError::Corrupt("it is not a segment of a log"));
        }
        pointers::decode(&header)?;
        producers::decode(&header)?;
        offers::settled(&header)?;
        let offers = VecDeque::from(offers::decode(&header)?);
        let taken: u32 = offers.iter().map(|offer| offer.record_count).sum();
        let own = header.record_count.saturating_sub(taken);
        let records = ranges(payload, own, body.len() - payload.len())?;
        Ok(Segment {
            header,
            offers,
            body,
            records,
        })
    }

    /// Whether it is the next segment behind `before`, as far as its header tells.
    #[must_use]
    pub(super) fn follows(&self, before: &Segment) -> bool {
        let (own, other) = (&self.header, &before.header);
        off(Guard::FollowsOn)
            || Some(own.slot) == other.slot.next()
                && own.previous_id == other.commit_id
                && own.base_offset == before.end_offset()
                && own.epoch >= other.epoch
                && (own.grace_ms, own.clock_margin_ms) == (other.grace_ms, other.clock_margin_ms)
    }

    /// The whole object, followed by those of the offers that were joined.
    #[must_use]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Reads a segment and the offers that it takes from [`Segment::bytes`].
    ///
    /// # Errors
    ///
    /// If anything in them is not as it was written.
    pub(super) fn decode_joined(mut bytes: &[u8]) -> Result<Segment, DecodeError> {
        let mut segment = Segment::decode(take_object(&mut bytes)?.to_vec())?;
        while !segment.offers.is_empty() {
            segment.join(take_object(&mut bytes)?)?;
        }
        Decoder::new(bytes).finish()?;
        Ok(segment)
    }

    /// The offers whose records are still missing, in order.
    #[must_use]
    pub fn offers(&self) -> &VecDeque<Offer> {
        &self.offers
    }

    /// Adds the records of the first offer that is missing, from its whole object.
    ///
    /// # Errors
    ///
    /// If the object is not the offer that the segment took.
    pub fn join(&mut self, object: &[u8]) -> Result<(), DecodeError> {
        let Some(offer) = self.offers.front() else {
            return Ok(());
        };
        let (header, payload) = Header::decode_object(object)?;
        header.require_only(&[])?;
        let stored = Offer {
            base: header.slot,
            commit_id: header.commit_id,
            record_count: header.record_count,
            payload_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            payload_crc: header.payload_crc,
            stamp: offer.stamp,
        };
        let taken = header.kind == Kind::Offer
            && header.identity == self.header.identity
            && stored == *offer;
        if !taken && !off(Guard::OfferCompared) {
            return Err(DecodeError::Corrupt("it is not the offer that was taken"));
        }
        let start = self.body.len() + object.len() - payload.len();
        let joined = ranges(payload, offer.record_count, start)?;
        self.body.extend_from_slice(object);
        self.records.extend(joined);
        self.offers.pop_front();
        Ok(())
    }

    /// The offset behind its last record.
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.header
            .base_offset
            .saturating_add(self.header.record_count.into())
    }

    /// Its records from `offset` on, with their offsets.
    pub fn records_from(&self, offset: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let skip = offset.saturating_sub(self.header.base_offset);
        self.records
            .iter()
            // Behind the last record there may be no number left.
            .zip(self.header.base_offset..)
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .filter_map(|(range, offset)| Some((offset, self.body.get(range.clone())?)))
    }

    /// How much memory it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.body.len() + self.records.len() * size_of::<Range<usize>>()
    }
}

/// Takes the first of several objects that stand end to end.
fn take_object<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = Header::object_length(bytes)?;
    let (object, rest) = bytes
        .split_at_checked(length)
        .ok_or(DecodeError::Corrupt("the object ends too early"))?;
    *bytes = rest;
    Ok(object)
}

/// Where the records of a payload lie, if it begins at `start`.
fn ranges(payload: &[u8], count: u32, start: usize) -> Result<Vec<Range<usize>>, DecodeError> {
    const MISFIT: DecodeError = DecodeError::Corrupt("its records do not fit into its payload");
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > payload.len() / LENGTH_BYTES {
        return Err(MISFIT);
    }
    let end_max = start + payload.len();
    let mut lengths = Decoder::new(payload);
    let mut records = Vec::with_capacity(count);
    let mut start = start + count * LENGTH_BYTES;
    for _ in 0..count {
        let end = usize::try_from(lengths.u32()?)
            .ok()
            .and_then(|length| start.checked_add(length))
            .filter(|end| *end <= end_max)
            .ok_or(MISFIT)?;
        records.push(start..end);
        start = end;
    }
    if start != end_max {
        return Err(DecodeError::Corrupt("its records do not fill its payload"));
    }
    Ok(records)
}
