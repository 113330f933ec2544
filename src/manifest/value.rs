//! Values as they are stored: the blobs that an item names, and its own bytes.

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
