//! The header that every stored object except leases and blobs starts with.
//!
//! `docs/FORMAT.md` has the table of offsets and says what each checksum covers.

use super::{DecodeError, Decoder, crc32c};
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::token::Epoch;

/// Not text in any encoding, and broken by transfers that convert line ends.
const MAGIC: [u8; 8] = *b"\x89ifm\r\n\x1a\n";

/// Readers refuse a higher major version and accept any minor version.
const FORMAT_MAJOR: u16 = 1;
const FORMAT_MINOR: u16 = 0;

/// The flags that this version understands. Readers refuse any other.
const FLAGS_KNOWN: u32 = 0;

/// Length of the fixed part.
pub const HEADER_FIXED_BYTES: usize = 128;

/// The fixed part up to its own checksum.
const HEADER_CHECKED_BYTES: usize = HEADER_FIXED_BYTES - 4;

/// Where the length of the payload stands.
const PAYLOAD_LENGTH_AT: usize = 24;

/// The longest header, sections included.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A segment of a log.
    Segment,
    /// The mutable state of a chain: its watermark and pins.
    State,
    /// A version of a manifest.
    Version,
    /// The decision of a transaction.
    Decision,
    /// A batch that waits for another writer to put it into the log.
    Offer,
    /// A run of segments of a log, merged.
    Pack,
}

impl Kind {
    fn to_wire(self) -> u16 {
        match self {
            Self::Segment => 1,
            Self::State => 2,
            Self::Version => 3,
            Self::Decision => 4,
            Self::Offer => 5,
            Self::Pack => 6,
        }
    }

    fn from_wire(wire: u16) -> Option<Kind> {
        [
            Self::Segment,
            Self::State,
            Self::Version,
            Self::Decision,
            Self::Offer,
            Self::Pack,
        ]
        .into_iter()
        .find(|kind| kind.to_wire() == wire)
    }
}

/// Names a section of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u16);

/// A variable part of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is.
    pub tag: Tag,
    /// Whether a reader that does not know the tag must refuse the object.
    pub required: bool,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// The header of a stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the object is.
    pub kind: Kind,
    /// Which chain it belongs to; see [`crate::keys::ChainKeys::identity`].
    pub identity: u128,
    /// Its place in the chain; 0 for objects without one.
    pub slot: Slot,
    /// Drawn once for each logical operation, and kept across all its attempts.
    pub commit_id: u128,
    /// The commit id of the object in the slot before; 0 in the first slot.
    pub previous_id: u128,
    /// The highest epoch that has written, this object included.
    pub epoch: Epoch,
    /// The number of the first record.
    pub base_offset: u64,
    /// How many records there are.
    pub record_count: u32,
    /// The grace period of the chain in milliseconds.
    pub grace_ms: u32,
    /// The clock margin of the chain in milliseconds.
    pub clock_margin_ms: u32,
    /// Length of the payload in bytes.
    pub payload_bytes: u64,
    /// CRC-32C of the payload.
    pub payload_crc: u32,
    /// In ascending order of tag, at most one of each.
    pub sections: Vec<Section>,
}

impl Header {
    /// The bytes of the header.
    ///
    /// # Errors
    ///
    /// If the sections make it longer than [`HEADER_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        let sections_bytes: usize = self
            .sections
            .iter()
            .map(|section| SECTION_HEAD_BYTES + section.data.len())
            .sum();
        let header_bytes = HEADER_FIXED_BYTES + sections_bytes;
        if header_bytes > HEADER_BYTES_MAX {
            return Err(DecodeError::Corrupt("the header is too long"));
        }
        let mut sections = Vec::with_capacity(sections_bytes);
        for section in &self.sections {
            sections.extend_from_slice(&section.tag.0.to_le_bytes());
            sections.extend_from_slice(&u16::from(section.required).to_le_bytes());
            sections.extend_from_slice(&wire_len(section.data.len())?.to_le_bytes());
            sections.extend_from_slice(&section.data);
        }
        let mut bytes = Vec::with_capacity(header_bytes);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_MAJOR.to_le_bytes());
        bytes.extend_from_slice(&FORMAT_MINOR.to_le_bytes());
        bytes.extend_from_slice(&FLAGS_KNOWN.to_le_bytes());
        bytes.extend_from_slice(&self.kind.to_wire().to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&wire_len(header_bytes)?.to_le_bytes());
        bytes.extend_from_slice(&self.payload_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.payload_crc.to_le_bytes());
        bytes.extend_from_slice(&self.record_count.to_le_bytes());
        bytes.extend_from_slice(&self.identity.to_le_bytes());
        bytes.extend_from_slice(&self.slot.0.to_le_bytes());
        bytes.extend_from_slice(&self.commit_id.to_le_bytes());
        bytes.extend_from_slice(&self.previous_id.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&self.base_offset.to_le_bytes());
        bytes.extend_from_slice(&self.grace_ms.to_le_bytes());
        bytes.extend_from_slice(&self.clock_margin_ms.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&crc32c(&[&bytes, &sections]).to_le_bytes());
        bytes.extend_from_slice(&sections);
        Ok(bytes)
    }

    /// How long the whole header is, judged by the first bytes of an object.
    ///
    /// # Errors
    ///
    /// If they do not start an object of a format that this version reads.
    pub fn length(bytes: &[u8]) -> Result<usize, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        if decoder.take(MAGIC.len())? != MAGIC {
            return Err(DecodeError::Corrupt(
                "it does not start like an object of this library",
            ));
        }
        let major = decoder.u16()?;
        let minor = decoder.u16()?;
        if major != FORMAT_MAJOR {
            return Err(DecodeError::Newer(format!(
                "it has format {major}.{minor}, and this version reads {FORMAT_MAJOR}.x"
            )));
        }
        let unknown = decoder.u32()? & !FLAGS_KNOWN;
        if unknown != 0 {
            return Err(DecodeError::Newer(format!(
                "it needs features {unknown:#x} that this version does not have"
            )));
        }
        decoder.take(4)?;
        let length = usize::try_from(decoder.u32()?).unwrap_or(usize::MAX);
        if (HEADER_FIXED_BYTES..=HEADER_BYTES_MAX).contains(&length) {
            Ok(length)
        } else {
            Err(DecodeError::Corrupt(
                "the length of its header is out of range",
            ))
        }
    }

    /// How long the whole object is, judged by the first bytes of it.
    ///
    /// # Errors
    ///
    /// As [`Header::length`].
    pub fn object_length(bytes: &[u8]) -> Result<usize, DecodeError> {
        let length = Header::length(bytes)?;
        let mut decoder = Decoder::new(bytes);
        decoder.take(PAYLOAD_LENGTH_AT)?;
        let payload = usize::try_from(decoder.u64()?).unwrap_or(usize::MAX);
        Ok(length.saturating_add(payload))
    }

    /// Reads a header from the first bytes of an object, which may be longer or
    /// shorter than [`Header::length`], of `object_bytes` bytes in all.
    ///
    /// # Errors
    ///
    /// If anything in it is not as it was written, or the payload's length does
    /// not fit the object's.
    pub fn decode(bytes: &[u8], object_bytes: u64) -> Result<Header, DecodeError> {
        let length = Header::length(bytes)?;
        let mut all = Decoder::new(bytes);
        let fixed = all.take(HEADER_FIXED_BYTES)?;
        let sections = all.take(length - HEADER_FIXED_BYTES)?;
        let (checked, crc) = fixed
            .split_at_checked(HEADER_CHECKED_BYTES)
            .ok_or(DecodeError::Corrupt("the object ends too early"))?;
        if crc32c(&[checked, sections]) != Decoder::new(crc).u32()? && !off(Guard::Checksums) {
            return Err(DecodeError::Corrupt(
                "the checksum of its header does not match",
            ));
        }
        let mut decoder = Decoder::new(checked);
        decoder.take(16)?; // magic, version and flags: see `length`
        let kind = Kind::from_wire(decoder.u16()?).ok_or_else(|| {
            DecodeError::Newer("it is of a kind that this version does not know".to_owned())
        })?;
        decoder.take(2 + 4)?; // reserved; the header's length: see `length`
        let payload_bytes = decoder.u64()?;
        let payload_crc = decoder.u32()?;
        let record_count = decoder.u32()?;
        let header = Header {
            kind,
            identity: decoder.u128()?,
            slot: Slot(decoder.u64()?),
            commit_id: decoder.u128()?,
            previous_id: decoder.u128()?,
            epoch: Epoch(decoder.u64()?),
            base_offset: decoder.u64()?,
            record_count,
            grace_ms: decoder.u32()?,
            clock_margin_ms: decoder.u32()?,
            payload_bytes,
            payload_crc,
            sections: decode_sections(sections)?,
        };
        let expected = u64::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(payload_bytes));
        if expected != Some(object_bytes) {
            return Err(DecodeError::Corrupt(
                "the object's length does not match its header",
            ));
        }
        if header
            .base_offset
            .checked_add(record_count.into())
            .is_none()
        {
            return Err(DecodeError::Corrupt("its offsets are out of range"));
        }
        Ok(header)
    }

    /// Reads a header and the payload behind it from a whole object.
    ///
    /// # Errors
    ///
    /// As [`Header::decode`], and if the payload's checksum does not match.
    pub fn decode_object(bytes: &[u8]) -> Result<(Header, &[u8]), DecodeError> {
        let header = Header::decode(bytes, u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        let mut all = Decoder::new(bytes);
        all.take(Header::length(bytes)?)?;
        let payload = all.rest;
        if crc32c(&[payload]) != header.payload_crc && !off(Guard::Checksums) {
            return Err(DecodeError::Corrupt(
                "the checksum of its payload does not match",
            ));
        }
        Ok((header, payload))
    }

    /// The bytes of the section with this tag, or `None`.
    #[must_use]
    pub fn section(&self, tag: Tag) -> Option<&[u8]> {
        self.sections
            .iter()
            .find(|section| section.tag == tag)
            .map(|section| section.data.as_slice())
    }

    /// Refuses sections that the caller does not know but must.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Newer`] if there is one.
    pub fn require_only(&self, known: &[Tag]) -> Result<(), DecodeError> {
        match self.sections.iter().find(|section| {
            section.required && !known.contains(&section.tag) && !off(Guard::SectionsKnown)
        }) {
            None => Ok(()),
            Some(section) => Err(DecodeError::Newer(format!(
                "it needs section {} that this version does not know",
                section.tag.0
            ))),
        }
    }
}

const SECTION_HEAD_BYTES: usize = 8;

fn wire_len(length: usize) -> Result<u32, DecodeError> {
    u32::try_from(length).map_err(|_| DecodeError::Corrupt("a length is out of range"))
}

fn decode_sections(bytes: &[u8]) -> Result<Vec<Section>, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let mut sections: Vec<Section> = Vec::new();
    while !decoder.is_empty() {
        let tag = Tag(decoder.u16()?);
        let flags = decoder.u16()?;
        let length = usize::try_from(decoder.u32()?).unwrap_or(usize::MAX);
        if sections.last().is_some_and(|last| last.tag.0 >= tag.0) {
            return Err(DecodeError::Corrupt(
                "the sections of its header are out of order",
            ));
        }
        sections.push(Section {
            tag,
            required: flags & 1 == 1,
            data: decoder.take(length)?.to_vec(),
        });
    }
    Ok(sections)
}
