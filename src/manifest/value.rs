//! Values as they are stored: the blobs that an item names, and its own bytes.

use super::version::Entry;
use crate::blob::{Digest, Generation, Reference};
use crate::codec::{DecodeError, Decoder};

/// An item names at most this many blobs.
pub const ITEM_BLOBS_MAX: usize = 255;

/// The stored form of a value. `blobs` are at most [`ITEM_BLOBS_MAX`].
pub(super) fn encode(value: &[u8], blobs: &[Reference]) -> Vec<u8> {
    let mut stored = Vec::from([u8::try_from(blobs.len()).unwrap_or(u8::MAX)]);
    for blob in blobs {
        stored.extend_from_slice(&blob.generation.0.to_le_bytes());
        stored.extend_from_slice(&blob.digest.0);
    }
    stored.extend_from_slice(value);
    stored
}

/// What an item names, and its bytes.
pub(super) fn decode(stored: &[u8]) -> Result<(Vec<Reference>, &[u8]), DecodeError> {
    let mut decoder = Decoder::new(stored);
    let count = decoder.u8()?;
    let mut blobs = Vec::new();
    for _ in 0..count {
        blobs.push(Reference {
            generation: Generation(decoder.u32()?),
            digest: Digest(decoder.array()?),
        });
    }
    Ok((blobs, decoder.rest()))
}

/// Blobs that values name.
#[derive(Debug, Default)]
pub(super) struct Named(Vec<Reference>);

impl Named {
    /// Adds what a stored value names.
    pub(super) fn add(&mut self, stored: Option<&[u8]>) {
        if let Some(Ok((mut blobs, _))) = stored.map(decode) {
            self.0.append(&mut blobs);
        }
    }

    /// Adds what the values of entries name.
    pub(super) fn add_all(&mut self, entries: &[Entry]) {
        for (_, value) in entries {
            self.add(value.as_deref());
        }
    }

    /// Gets ready to be asked, after all was added.
    pub(super) fn sort(&mut self) {
        self.0.sort_unstable();
        self.0.dedup();
    }

    pub(super) fn contains(&self, blob: &Reference) -> bool {
        self.0.binary_search(blob).is_ok()
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }
}
