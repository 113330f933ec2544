//! Packs: a run of merged segments in one object, byte for byte.
//!
//! Payload: the segments, end to end, each with the offers that it takes. A section of the header is the index, so that
//! the header alone tells where each record is and when the store accepted it.

use core::ops::Range;

use super::read::Fetched;
use super::segment::{SECTIONS, Segment};
use crate::bucket::StoreTime;
use crate::codec::{DecodeError, Decoder, Header, Kind, Section, Tag, crc32c};
use crate::guards::{Guard, off};
use crate::keys::{Name, Slot};

/// At most this many segments become one pack: what one page of a listing shows.
pub const PACK_SEGMENTS_MAX: u32 = 1000;

/// The segments in a pack have together at most this many bytes, unless it is only
/// one. So little that reading a single record of a pack is not too dear, and so
/// much that the time for a request does not matter beside it.
pub(super) const PACK_BYTES_MAX: u64 = 1024 * 1024;

/// The section with the index.
const INDEX: Tag = Tag(17);

/// The only kind of object in a pack so far.
const SEGMENT: u32 = 0;

/// Stands for an unknown time.
const NO_TIME: u64 = u64::MAX;

/// Bytes of one entry of the index.
const ENTRY_BYTES: usize = 20;

/// Which records a pack holds. That is also its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackKey {
    /// The offset of its first record.
    pub(super) start: u64,
    /// The offset behind its last record.
    pub(super) end: u64,
    /// The slot of its first segment.
    pub(super) slot: Slot,
}

impl PackKey {
    /// The prefix of the keys of all packs of a log.
    pub(super) fn prefix(name: &Name) -> String {
        format!("log/{name}/_pack/")
    }

    /// The key: `log/<name>/_pack/<end>.<start>.<slot>`, in ascending order of end.
    pub(super) fn key(self, name: &Name) -> String {
        format!(
            "{}{:016x}.{:016x}.{:016x}",
            PackKey::prefix(name),
            self.end,
            self.start,
            self.slot.0
        )
    }

    /// A key behind those of all packs that end at or before `offset`, and before
    /// all others.
    pub(super) fn behind(name: &Name, offset: u64) -> String {
        let last = PackKey {
            start: u64::MAX,
            end: offset,
            slot: Slot(u64::MAX),
        };
        last.key(name)
    }

    /// Reads a key that a listing gave, or `None` if it is not that of a pack of
    /// this log.
    pub(super) fn parse(name: &Name, key: &str) -> Option<PackKey> {
        let mut parts = key.strip_prefix(&PackKey::prefix(name))?.split('.');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (end, start, slot) = (number()?, number()?, Slot(number()?));
        let parsed = PackKey { start, end, slot };
        (parsed.key(name) == key).then_some(parsed)
    }

    pub(super) fn holds(self, offset: u64) -> bool {
        self.start <= offset && offset < self.end
    }
}

/// A segment in a pack, as the index describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: Slot,
    pub(super) base_offset: u64,
    pub(super) end_offset: u64,
    /// When the store accepted it in its slot, if it told.
    pub(super) modified_at: Option<StoreTime>,
    /// Where it is in the payload.
    pub(super) bytes: Range<usize>,
}

/// Encodes consecutive segments as a pack. The same segments give the same bytes.
///
/// # Errors
///
/// If there are none, or more than a pack can hold.
pub(super) fn encode(segments: &[Fetched]) -> Result<(PackKey, Header, Vec<u8>), DecodeError> {
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return Err(DecodeError::Corrupt("a pack has at least one segment"));
    };
    let too_large = |_| DecodeError::Corrupt("the segments are too large for a pack");
    let mut payload = Vec::new();
    let mut index = Vec::with_capacity(segments.len() * ENTRY_BYTES);
    for fetched in segments {
        // What a segment needs to be whole must be packed along with it, since its slot
        // and its offers are deleted.
        fetched.segment.header.require_only(SECTIONS)?;
        if !fetched.segment.offers().is_empty() {
            return Err(DecodeError::Corrupt("a segment lacks an offer"));
        }
        let bytes = fetched.segment.bytes();
        let length = u32::try_from(bytes.len()).map_err(too_large)?;
        let time = fetched.modified_at.map_or(NO_TIME, |time| time.unix_ms);
        index.extend_from_slice(&SEGMENT.to_le_bytes());
        index.extend_from_slice(&fetched.segment.header.record_count.to_le_bytes());
        index.extend_from_slice(&length.to_le_bytes());
        index.extend_from_slice(&time.to_le_bytes());
        payload.extend_from_slice(bytes);
    }
    let (oldest, newest) = (&first.segment, &last.segment.header);
    let key = PackKey {
        start: oldest.header.base_offset,
        end: last.segment.end_offset(),
        slot: match off(Guard::PackNamesSlot) {
            true => Slot::FIRST,
            false => oldest.header.slot,
        },
    };
    let header = Header {
        kind: Kind::Pack,
        commit_id: newest.commit_id,
        epoch: newest.epoch,
        record_count: u32::try_from(key.end.saturating_sub(key.start)).map_err(too_large)?,
        payload_bytes: u64::try_from(payload.len()).map_err(too_large)?,
        payload_crc: crc32c(&[&payload]),
        sections: Vec::from([Section {
            tag: INDEX,
            required: true,
            data: index,
        }]),
        ..oldest.header.clone()
    };
    let mut body = header.encode()?;
    body.append(&mut payload);
    // The segments are deleted for it, so it is read once before it is written.
    Pack::decode(&body)?;
    Ok((key, header, body))
}

/// Reads the index out of the header of a pack.
///
/// # Errors
///
/// If it is not that of a pack, or contradicts itself.
pub(super) fn index(header: &Header) -> Result<Vec<Place>, DecodeError> {
    if header.kind != Kind::Pack {
        return Err(DecodeError::Corrupt("it is not a pack of a log"));
    }
    header.require_only(&[INDEX])?;
    let mut decoder = Decoder::new(header.section(INDEX).unwrap_or_default());
    let mut places = Vec::new();
    let (mut slot, mut offset, mut at) = (Some(header.slot), header.base_offset, 0_usize);
    while !decoder.is_empty() {
        if decoder.u32()? != SEGMENT {
            return Err(DecodeError::Newer(
                "it holds objects of a kind that this version does not know".to_owned(),
            ));
        }
        let records = decoder.u32()?;
        let length = usize::try_from(decoder.u32()?).unwrap_or(usize::MAX);
        let unix_ms = decoder.u64()?;
        let place = Place {
            slot: slot.ok_or(WRONG_INDEX)?,
            base_offset: offset,
            end_offset: offset.checked_add(records.into()).ok_or(WRONG_INDEX)?,
            modified_at: (unix_ms != NO_TIME).then_some(StoreTime { unix_ms }),
            bytes: at..at.checked_add(length).ok_or(WRONG_INDEX)?,
        };
        (slot, offset, at) = (place.slot.next(), place.end_offset, place.bytes.end);
        places.push(place);
    }
    let whole = offset.checked_sub(header.base_offset) == Some(header.record_count.into())
        && u64::try_from(at) == Ok(header.payload_bytes)
        && !places.is_empty();
    whole.then_some(places).ok_or(WRONG_INDEX)
}

const WRONG_INDEX: DecodeError = DecodeError::Corrupt("its index does not match what it holds");

/// A decoded pack.
#[derive(Clone, Debug)]
pub struct Pack {
    /// Its header.
    pub header: Header,
    pub(super) segments: Vec<Fetched>,
}

impl Pack {
    /// Reads a pack from a whole object, and checks every segment in it.
    ///
    /// # Errors
    ///
    /// If anything in it is not as it was written.
    pub fn decode(body: &[u8]) -> Result<Pack, DecodeError> {
        let (header, payload) = Header::decode_object(body)?;
        let mut segments: Vec<Fetched> = Vec::new();
        for place in index(&header)? {
            let bytes = payload.get(place.bytes).ok_or(WRONG_INDEX)?;
            let segment = Segment::decode_joined(bytes)?;
            segment.header.require_only(SECTIONS)?;
            let follows = match segments.last() {
                Some(before) => segment.follows(&before.segment),
                None => segment.header.previous_id == header.previous_id,
            };
            let in_place = segment.header.identity == header.identity
                && segment.header.slot == place.slot
                && segment.header.base_offset == place.base_offset
                && segment.end_offset() == place.end_offset;
            if (!follows || !in_place) && !off(Guard::PackInPlace) {
                return Err(WRONG_INDEX);
            }
            segments.push(Fetched {
                segment,
                modified_at: place.modified_at,
                packed: true,
            });
        }
        let last = segments.last().map(|last| last.segment.header.commit_id);
        if last != Some(header.commit_id) {
            return Err(WRONG_INDEX);
        }
        Ok(Pack { header, segments })
    }

    /// The segments in it, with the times at which the store accepted them.
    pub fn segments(&self) -> impl Iterator<Item = (&Segment, Option<StoreTime>)> {
        self.segments
            .iter()
            .map(|fetched| (&fetched.segment, fetched.modified_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_end_and_parse_back() {
        let name = Name::parse("orders/eu").unwrap();
        let key = |end, start, slot| PackKey {
            start,
            end,
            slot: Slot(slot),
        };
        let keys = [key(7, 0, 3), key(7, 5, 2), key(8, 1, 0), key(1 << 40, 8, 9)];
        for pair in keys.windows(2) {
            assert!(pair[0].key(&name) < pair[1].key(&name));
        }
        for key in keys {
            assert_eq!(PackKey::parse(&name, &key.key(&name)), Some(key));
            let behind = PackKey::behind(&name, 7);
            assert_eq!(key.key(&name) > behind, key.end > 7);
        }
        for foreign in ["log/orders/eu/_pack/7.0.3", "log/orders/_pack/", "x"] {
            assert_eq!(PackKey::parse(&name, foreign), None);
        }
    }
}
