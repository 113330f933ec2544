//! Segments: one batch of records in one object.
//!
//! Payload: the length of each record as `u32`, then the records, end to end.

use core::ops::Range;

use super::pointers::{self, Pointer};
use super::producers::{self, Producers};
use crate::codec::{DecodeError, Decoder, Header, Kind, Section, Tag, crc32c};

/// At most this many records in one batch.
pub const RECORDS_MAX: usize = 10_000;

/// At most this many bytes in the records of one batch, together.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The section with the [`Pointer`]s.
pub(super) const POINTERS: Tag = Tag(1);

/// The section with the [`Producers`].
pub(super) const PRODUCERS: Tag = Tag(2);

/// The sections that a reader of segments understands.
pub(super) const SECTIONS: &[Tag] = &[POINTERS, PRODUCERS];

/// Bytes of one entry in the table of lengths.
const LENGTH_BYTES: usize = 4;

/// A header without what follows from the rest of the object.
pub(super) type Draft = Header;

/// Encodes a segment. `draft` gives all of the header but the lengths, counts,
/// checksums and sections.
///
/// # Errors
///
/// If the records are more than the format can hold.
pub(super) fn encode(
    mut draft: Draft,
    records: &[Vec<u8>],
    pointers: &[Pointer],
    producers: &Producers,
) -> Result<(Header, Vec<u8>), DecodeError> {
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
    draft.kind = Kind::Segment;
    draft.record_count = u32::try_from(records.len())
        .map_err(|_| DecodeError::Corrupt("there are too many records"))?;
    draft.payload_bytes = u64::try_from(payload.len())
        .map_err(|_| DecodeError::Corrupt("the payload is too long"))?;
    draft.payload_crc = crc32c(&[&payload]);
    draft.sections = sections(pointers, producers);
    let mut body = draft.encode()?;
    body.append(&mut payload);
    Ok((draft, body))
}

fn sections(pointers: &[Pointer], producers: &Producers) -> Vec<Section> {
    let mut sections = Vec::new();
    if !pointers.is_empty() {
        sections.push(Section {
            tag: POINTERS,
            required: false,
            data: pointers::encode(pointers),
        });
    }
    if !producers.is_new() {
        sections.push(Section {
            tag: PRODUCERS,
            // A writer that dropped the table would let batches in twice.
            required: true,
            data: producers::encode(producers),
        });
    }
    sections
}

/// A decoded segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its header.
    pub header: Header,
    body: Vec<u8>,
    records: Vec<Range<usize>>,
}

impl Segment {
    /// Reads a segment from a whole object.
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
        let mut start = body.len() - payload.len();
        let count = usize::try_from(header.record_count).unwrap_or(usize::MAX);
        if count > payload.len() / LENGTH_BYTES {
            return Err(DecodeError::Corrupt(
                "its records do not fit into its payload",
            ));
        }
        let mut lengths = Decoder::new(payload);
        let mut records = Vec::with_capacity(count);
        start += count * LENGTH_BYTES;
        for _ in 0..count {
            let end = usize::try_from(lengths.u32()?)
                .ok()
                .and_then(|length| start.checked_add(length))
                .filter(|end| *end <= body.len())
                .ok_or(DecodeError::Corrupt(
                    "its records do not fit into its payload",
                ))?;
            records.push(start..end);
            start = end;
        }
        if start != body.len() {
            return Err(DecodeError::Corrupt("its records do not fill its payload"));
        }
        Ok(Segment {
            header,
            body,
            records,
        })
    }

    /// Whether it is the next segment behind `before`, as far as its header tells.
    #[must_use]
    pub(super) fn follows(&self, before: &Segment) -> bool {
        let (own, other) = (&self.header, &before.header);
        Some(own.slot) == other.slot.next()
            && own.previous_id == other.commit_id
            && own.base_offset == before.end_offset()
            && own.epoch >= other.epoch
            && (own.grace_ms, own.clock_margin_ms) == (other.grace_ms, other.clock_margin_ms)
    }

    /// The whole object.
    #[must_use]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.body
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
        (self.header.base_offset..)
            .zip(&self.records)
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .filter_map(|(offset, range)| Some((offset, self.body.get(range.clone())?)))
    }

    /// How much memory it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.body.len() + self.records.len() * size_of::<Range<usize>>()
    }
}
