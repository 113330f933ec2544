//! Versions: one commit in one object.
//!
//! A version holds its own edits, and *carried* entries: either all other items,
//! which makes it *full*, or what changed since its parent. The parent of slot n is
//! n with its lowest set bit cleared, so a state is put together from few objects,
//! and each edit is written a logarithmic number of times.

use super::recent::Recent;
use super::{State, Summary, value};
use crate::blob::Generation;
use crate::bucket::StoreTime;
use crate::codec::{DecodeError, Decoder, Header, Kind, Section, Tag, crc32c};
use crate::keys::{Slot, hash128};
use crate::token::Epoch;

/// At most this many edits in one commit.
pub const EDITS_MAX: usize = 10_000;

/// At most this many bytes in the keys and values of a manifest, together.
pub const CONTENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// The section with the [`About`].
const ABOUT: Tag = Tag(3);

/// The section with the [`Prepared`] of a version that is part of a transaction.
const TRANSACTION: Tag = Tag(4);

/// The section with what became of the version before, if that was prepared.
const FATE: Tag = Tag(5);

/// The section with the parent of a fork.
const ORIGIN: Tag = Tag(6);

/// The section with the [`Sweep`]. Absent before the first.
const SWEEP: Tag = Tag(7);

/// The section with what competitors tell each other: [`Version::left`] and
/// [`Version::recent`]. Nobody needs it.
const COMPETITION: Tag = Tag(10);

/// The sections that a reader of versions understands.
pub(super) const SECTIONS: &[Tag] = &[ABOUT, TRANSACTION, FATE, ORIGIN, SWEEP, COMPETITION];

/// A version whose slot is a multiple of this is full, so no more than ten other
/// objects are needed to read any version.
const RUN_MAX: u64 = 1024;

/// The length of an object tells, modulo this, how many others it needs: a listing
/// shows what to read at once.
const HINT_MODULUS: usize = 16;

/// Stands for the length of a value that was removed.
const REMOVED: u32 = u32::MAX;

/// Bytes of an entry besides its key and value.
const ENTRY_HEAD_BYTES: usize = 6;

/// A key, and its value as it is stored, or `None` if it was removed.
pub(super) type Entry = (String, Option<Vec<u8>>);

/// An [`Entry`] of somebody else's.
pub(super) type EntryRef<'a> = (&'a str, Option<&'a [u8]>);

/// How many bytes an entry takes.
pub(super) fn entry_bytes((key, value): EntryRef<'_>) -> usize {
    ENTRY_HEAD_BYTES + key.len() + value.map_or(0, <[u8]>::len)
}

/// The share of one item in the hash of a content, which is the sum of them all.
pub(super) fn item_hash(key: &str, value: &[u8]) -> u128 {
    let length = u64::try_from(key.len()).unwrap_or(u64::MAX).to_le_bytes();
    hash128(&[&length, key.as_bytes(), value])
}

/// The parent of a slot.
pub(super) fn parent(slot: Slot) -> Slot {
    Slot(slot.0 & slot.0.wrapping_sub(1))
}

/// Whether a version in `slot` has to be full, given the last one that was.
pub(super) fn must_be_full(slot: Slot, base: Slot) -> bool {
    slot.0.is_multiple_of(RUN_MAX) || parent(slot) < base
}

/// The slots that a version in `slot` is put together from besides its own: its
/// parent, the parent of that, and so on to `base`, which is full. `None` if they
/// do not lead there.
pub(super) fn ancestors(slot: Slot, base: Slot) -> Option<Vec<Slot>> {
    let mut slots = Vec::new();
    let mut at = slot;
    while at > base {
        at = parent(at);
        slots.push(at);
    }
    (at == base).then_some(slots)
}

/// How many ancestors an object of this length has, if it is what it should be.
pub(super) fn hinted_ancestors(slot: Slot, size_bytes: u64) -> Vec<Slot> {
    let mut at = slot;
    let mut slots = Vec::new();
    let hint = usize::try_from(size_bytes).unwrap_or_default() % HINT_MODULUS;
    for _ in 0..hint {
        at = parent(at);
        slots.push(at);
    }
    slots.dedup();
    slots
}

/// What a version says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    /// The hash of the content behind this version; of a prepared one, before it.
    pub(super) hash: u128,
    pub(super) author: String,
    pub(super) message: String,
}

/// A part of a transaction, which takes effect if that is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Names the transaction.
    pub transaction: u128,
    /// The manifests that take part.
    pub manifests: Vec<String>,
}

/// Where a manifest was forked from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The name of the parent.
    pub name: String,
    /// The version of it that the fork began with.
    pub version: u64,
}

/// How far collection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// The generation in force.
    pub generation: Generation,
    /// A time shortly before it was raised, in milliseconds by the store's clock; 0
    /// if the store tells none. No safety rests on it.
    pub raised_at_ms: u64,
}

impl Sweep {
    fn decode(section: &[u8]) -> Result<Sweep, DecodeError> {
        let mut decoder = Decoder::new(section);
        let generation = Generation(decoder.u32()?);
        let raised_at_ms = decoder.u64()?;
        decoder.finish()?;
        Ok(Sweep {
            generation,
            raised_at_ms,
        })
    }
}

/// A decoded version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its header.
    pub header: Header,
    pub(super) about: About,
    /// The transaction that it is part of.
    pub prepared: Option<Prepared>,
    /// Whether the version before, which was prepared, took effect.
    pub fate: Option<bool>,
    /// Where the manifest came from. Only in the first version.
    pub origin: Option<Origin>,
    /// How far collection has come.
    pub sweep: Sweep,
    /// How many more versions its writer will probably put behind it at once.
    pub(super) left: u8,
    /// The instance that wrote it, or 0 if it does not say.
    pub(super) instance: u32,
    /// What the versions before it changed, as far back as it tells.
    pub(super) recent: Recent,
    /// What it changed, in ascending order of key.
    pub(super) edits: Vec<Entry>,
    /// The other items, or other changes since its parent.
    pub(super) carried: Vec<Entry>,
}

impl Version {
    /// The last full version at or before this one.
    #[must_use]
    pub fn base(&self) -> Slot {
        Slot(self.header.base_offset)
    }

    /// Whether it holds all items.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.base() == self.header.slot
    }

    /// The bytes of an object.
    ///
    /// # Errors
    ///
    /// If something is longer than the format can hold.
    pub(super) fn encode(&mut self) -> Result<Vec<u8>, DecodeError> {
        let mut payload = Vec::new();
        payload.extend_from_slice(&wire_len(self.carried.len())?.to_le_bytes());
        for (key, value) in self.edits.iter().chain(&self.carried) {
            let key_bytes = u16::try_from(key.len()).map_err(|_| TOO_LONG)?;
            let value_bytes = match value {
                Some(value) => wire_len(value.len())?,
                None => REMOVED,
            };
            payload.extend_from_slice(&key_bytes.to_le_bytes());
            payload.extend_from_slice(&value_bytes.to_le_bytes());
            payload.extend_from_slice(key.as_bytes());
            payload.extend_from_slice(value.as_deref().unwrap_or_default());
        }
        self.header.kind = Kind::Version;
        self.header.record_count = wire_len(self.edits.len())?;
        self.header.sections = self.sections()?;
        let depth = ancestors(self.header.slot, self.base())
            .map(|slots| slots.len())
            .ok_or(DecodeError::Corrupt("it does not lead to a full version"))?;
        let header_bytes = self.header.encode()?.len();
        while (header_bytes + payload.len()) % HINT_MODULUS != depth % HINT_MODULUS {
            payload.push(0);
        }
        self.header.payload_bytes = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        self.header.payload_crc = crc32c(&[&payload]);
        let mut body = self.header.encode()?;
        body.append(&mut payload);
        Ok(body)
    }

    fn sections(&self) -> Result<Vec<Section>, DecodeError> {
        let mut sections = Vec::new();
        let mut add = |tag, data| {
            sections.push(Section {
                tag,
                required: true,
                data,
            });
        };
        let mut data = self.about.hash.to_le_bytes().to_vec();
        put_text(&mut data, &self.about.author)?;
        data.extend_from_slice(self.about.message.as_bytes());
        add(ABOUT, data);
        if let Some(prepared) = &self.prepared {
            let mut data = prepared.transaction.to_le_bytes().to_vec();
            for name in &prepared.manifests {
                put_text(&mut data, name)?;
            }
            add(TRANSACTION, data);
        }
        if let Some(fate) = self.fate {
            add(FATE, Vec::from([u8::from(fate)]));
        }
        if let Some(origin) = &self.origin {
            let mut data = origin.version.to_le_bytes().to_vec();
            put_text(&mut data, &origin.name)?;
            add(ORIGIN, data);
        }
        if self.sweep.generation > Generation(0) {
            let mut data = self.sweep.generation.0.to_le_bytes().to_vec();
            data.extend_from_slice(&self.sweep.raised_at_ms.to_le_bytes());
            add(SWEEP, data);
        }
        if self.instance != 0 {
            let mut data = Vec::from([self.left]);
            data.extend_from_slice(&self.instance.to_le_bytes());
            self.recent.encode(&mut data);
            sections.push(Section {
                tag: COMPETITION,
                required: false,
                data,
            });
        }
        Ok(sections)
    }

    /// Reads a version from a whole object.
    ///
    /// # Errors
    ///
    /// If anything in it is not as it was written.
    pub fn decode(body: &[u8]) -> Result<Version, DecodeError> {
        let (header, payload) = Header::decode_object(body)?;
        let mut version = Version::decode_header(header)?;
        let header = &version.header;
        let mut decoder = Decoder::new(payload);
        let carried = decoder.u32()?;
        let edits = decode_entries(&mut decoder, header.record_count)?;
        let carried = decode_entries(&mut decoder, carried)?;
        let padding = decoder.rest();
        let depth = ancestors(header.slot, version.base()).map(|slots| slots.len());
        let fits = padding.len() < HINT_MODULUS && padding.iter().all(|byte| *byte == 0);
        if !fits || depth.map(|depth| depth % HINT_MODULUS) != Some(body.len() % HINT_MODULUS) {
            return Err(DecodeError::Corrupt("its padding is not as it should be"));
        }
        if version.is_full() && carried.iter().any(|(_, value)| value.is_none()) {
            return Err(DecodeError::Corrupt("a full version has removed items"));
        }
        version.edits = edits;
        version.carried = carried;
        Ok(version)
    }

    /// Reads what the first bytes of an object tell of a version.
    ///
    /// # Errors
    ///
    /// If anything in its header is not as it was written.
    pub(super) fn decode_head(bytes: &[u8], object_bytes: u64) -> Result<Version, DecodeError> {
        Header::decode(bytes, object_bytes).and_then(Version::decode_header)
    }

    /// What it is without its content. `fate` tells whether it took effect, if that
    /// is known.
    pub(super) fn summary(&self, committed_at: Option<StoreTime>, fate: Option<bool>) -> Summary {
        Summary {
            version: self.header.slot.0.saturating_add(1),
            epoch: (self.header.epoch != Epoch::SHARED).then_some(self.header.epoch),
            committed_at,
            author: self.about.author.clone(),
            message: self.about.message.clone(),
            state: match fate {
                Some(true) => State::Committed,
                Some(false) => State::Aborted,
                None => State::Pending,
            },
            generation: self.sweep.generation,
        }
    }

    /// Reads what the header tells of a version.
    ///
    /// # Errors
    ///
    /// If anything in it is not as it was written.
    pub(super) fn decode_header(header: Header) -> Result<Version, DecodeError> {
        if header.kind != Kind::Version {
            return Err(DecodeError::Corrupt("it is not a version of a manifest"));
        }
        if ancestors(header.slot, Slot(header.base_offset)).is_none() {
            return Err(DecodeError::Corrupt("it does not lead to a full version"));
        }
        let section = header.section(ABOUT);
        let mut decoder =
            Decoder::new(section.ok_or(DecodeError::Corrupt("a section is missing"))?);
        let about = About {
            hash: decoder.u128()?,
            author: take_text(&mut decoder)?,
            message: text(decoder.rest())?,
        };
        let prepared = match header.section(TRANSACTION) {
            None => None,
            Some(section) => Some(Prepared::decode(section)?),
        };
        let fate = match header.section(FATE) {
            None => None,
            Some([0]) => Some(false),
            Some([1]) => Some(true),
            Some(_) => return Err(DecodeError::Corrupt("the fate of a version is unknown")),
        };
        let origin = match header.section(ORIGIN) {
            None => None,
            Some(section) => {
                let mut decoder = Decoder::new(section);
                let version = decoder.u64()?;
                let name = take_text(&mut decoder)?;
                decoder.finish()?;
                Some(Origin { name, version })
            }
        };
        let (left, instance, recent) = match header.section(COMPETITION) {
            None => (0, 0, Recent::default()),
            Some(section) => {
                let mut decoder = Decoder::new(section);
                (decoder.u8()?, decoder.u32()?, Recent::decode(&mut decoder)?)
            }
        };
        Ok(Version {
            about,
            left,
            instance,
            recent,
            prepared,
            fate,
            origin,
            sweep: match header.section(SWEEP) {
                None => Sweep::default(),
                Some(section) => Sweep::decode(section)?,
            },
            edits: Vec::new(),
            carried: Vec::new(),
            header,
        })
    }
}

impl Prepared {
    fn decode(section: &[u8]) -> Result<Prepared, DecodeError> {
        let mut decoder = Decoder::new(section);
        let transaction = decoder.u128()?;
        let mut manifests = Vec::new();
        while !decoder.is_empty() {
            manifests.push(take_text(&mut decoder)?);
        }
        Ok(Prepared {
            transaction,
            manifests,
        })
    }
}

const TOO_LONG: DecodeError = DecodeError::Corrupt("a length is out of range");

fn wire_len(length: usize) -> Result<u32, DecodeError> {
    u32::try_from(length)
        .ok()
        .filter(|length| *length != REMOVED)
        .ok_or(TOO_LONG)
}

/// Appends a text of at most 255 bytes with its length in front.
pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) -> Result<(), DecodeError> {
    bytes.push(u8::try_from(text.len()).map_err(|_| TOO_LONG)?);
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Takes what [`put_text`] wrote.
pub(super) fn take_text(decoder: &mut Decoder<'_>) -> Result<String, DecodeError> {
    let length = usize::from(decoder.u8()?);
    text(decoder.take(length)?)
}

fn text(bytes: &[u8]) -> Result<String, DecodeError> {
    core::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| DecodeError::Corrupt("a text is not UTF-8"))
}

fn decode_entries(decoder: &mut Decoder<'_>, count: u32) -> Result<Vec<Entry>, DecodeError> {
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..count {
        let key_bytes = usize::from(decoder.u16()?);
        let value_bytes = decoder.u32()?;
        let key = text(decoder.take(key_bytes)?)?;
        if entries.last().is_some_and(|(last, _)| *last >= key) {
            return Err(DecodeError::Corrupt("its keys are out of order"));
        }
        let value = match value_bytes {
            REMOVED => None,
            bytes => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                let stored = decoder.take(bytes)?;
                value::decode(stored)?;
                Some(stored.to_vec())
            }
        };
        entries.push((key, value));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_needs_few_objects() {
        for slot in 0..5_000 {
            let base = Slot(slot - slot % RUN_MAX);
            let needed = ancestors(Slot(slot), base).unwrap();
            assert!(needed.len() <= 10, "slot {slot}");
            assert_eq!(needed.last().copied().unwrap_or(Slot(slot)), base);
        }
        assert_eq!(ancestors(Slot(12), Slot(10)), None);
    }
}
