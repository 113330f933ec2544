//! Immutable byte strings, named by what they contain.
//!
//! `wit/protocols/blob.wit` describes what callers see, `docs/COLLECTION.md` what
//! generations are for: a key that a collector may delete is never used again.

use core::fmt;
use std::rc::Rc;

use maybe_async::maybe_async;
use sha2::{Digest as _, Sha256};

use crate::bucket::{
    BATCH_OBJECTS_MAX, Bucket, BucketError, Found, Precondition, PutOutcome, Read, Reply, Write,
};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Name, blob_key, quoted};
use crate::list::{list, try_list};
use crate::slots::at_key;
use crate::store::Store;

/// The most bytes of one blob, and of all that are stored by one call.
pub const BLOB_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How often a blob is sent in all.
const PUT_ATTEMPTS_MAX: u32 = 6;

const DIGEST_BYTES: usize = 32;
const DIGEST_WORD: &str = "sha256:";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// SHA-256 of a byte string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; DIGEST_BYTES]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// Reads `sha256:` and 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for anything else.
    pub fn parse(text: &str) -> Result<Digest, Error> {
        let digits = text.strip_prefix(DIGEST_WORD);
        digits.and_then(Digest::from_hex).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "a digest is sha256: and 64 of 0-9 a-f, not {}",
                quoted(text)
            ))
        })
    }

    pub(crate) fn from_hex(digits: &str) -> Option<Digest> {
        let value = |digit: u8| {
            let at = HEX.iter().position(|&known| known == digit)?;
            u8::try_from(at).ok()
        };
        let mut bytes = [0; DIGEST_BYTES];
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        if pairs.len() != DIGEST_BYTES || !rest.is_empty() {
            return None;
        }
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = value(high)? << 4 | value(low)?;
        }
        Some(Digest(bytes))
    }

    /// The digits, without the word before them.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut hex = String::new();
        for byte in self.0 {
            for digit in [byte >> 4, byte & 15] {
                hex.extend(HEX.get(usize::from(digit)).copied().map(char::from));
            }
        }
        hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(DIGEST_WORD)?;
        f.write_str(&self.hex())
    }
}

/// Which sweeps a blob can fall to. Collection raises the generation of a
/// manifest; blobs are stored under the one in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u32);

/// Names a blob within its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The generation under which it was stored.
    pub generation: Generation,
    /// What it contains.
    pub digest: Digest,
}

impl Reference {
    /// The key of the blob in the space called `space`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a name that is none.
    pub fn key(&self, space: &str) -> Result<String, Error> {
        let space = Name::parse(space)?;
        Ok(blob_key(&space, self.generation, &self.digest))
    }
}

/// All blobs of a bucket.
#[derive(Debug)]
pub struct Blobs<B, E> {
    store: Rc<Store<B, E>>,
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Blobs<B, E> {
    /// The blobs in the bucket of `store`.
    #[must_use]
    pub fn new(store: Rc<Store<B, E>>) -> Blobs<B, E> {
        Blobs { store }
    }

    /// Stores byte strings: one request for each, overlapped; one more for each
    /// that was there already, which is compared.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes. Any of them may have been stored then, which is
    /// harmless, as storing them again is.
    pub async fn put(
        &self,
        space: &str,
        generation: Generation,
        bodies: Vec<Vec<u8>>,
    ) -> Result<Vec<Reference>, Error> {
        let space = Name::parse(space)?;
        check_count(bodies.len())?;
        let bytes: usize = bodies.iter().map(Vec::len).sum();
        if bytes > BLOB_BYTES_MAX {
            return Err(Error::InvalidArgument(format!(
                "blobs stored at once have at most {BLOB_BYTES_MAX} bytes, not {bytes}"
            )));
        }
        let mut references = Vec::with_capacity(bodies.len());
        let mut writes = Vec::with_capacity(bodies.len());
        for body in bodies {
            let digest = Digest::of(&body);
            references.push(Reference { generation, digest });
            writes.push(Write {
                key: blob_key(&space, generation, &digest),
                body,
                precondition: Precondition::Absent,
            });
        }
        let outcomes = self.store.put_many(&writes).await;
        for (write, outcome) in writes.iter().zip(outcomes) {
            self.settle(write, outcome).await?;
        }
        Ok(references)
    }

    /// Sees to it that the store has what was written, given how the first attempt
    /// ended. All attempts have the same bytes, and so has everybody else's.
    async fn settle(
        &self,
        write: &Write,
        mut outcome: Result<PutOutcome, BucketError>,
    ) -> Result<(), Error> {
        let key = &write.key;
        let mut why = String::new();
        for round in 1..=PUT_ATTEMPTS_MAX {
            let refusal = match outcome {
                Ok(PutOutcome::Written { .. }) => return Ok(()),
                // Somebody without this library may have uploaded it, to a store that
                // does not check digests: it counts only if it is right.
                Ok(PutOutcome::PreconditionFailed) => {
                    let reply = self.store.get(Read::all(key.clone())).await;
                    match reply.map_err(|error| at_key(key, error))?.found {
                        Found::Object(object)
                            if object.body == write.body || off(Guard::StoredCompared) =>
                        {
                            return Ok(());
                        }
                        Found::Object(_) => return Err(differs(key)),
                        Found::Absent | Found::Unchanged => None,
                    }
                }
                Ok(PutOutcome::Indeterminate(reason)) => {
                    why = reason;
                    None
                }
                Err(error) if error.is_transient() => {
                    why = error.to_string();
                    Some(error)
                }
                Err(error) => return Err(error.into()),
            };
            if round == PUT_ATTEMPTS_MAX {
                break;
            }
            self.store.count(|receipt| receipt.retries += 1);
            self.store.back_off(round, refusal.as_ref()).await;
            outcome = self.store.put(write).await;
        }
        Err(Error::Unavailable(format!("{key}: {why}")))
    }

    /// Reads and verifies blobs: one request for each, overlapped. `None` for what
    /// is not stored.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; [`Error::Corrupt`] for bytes with another digest.
    pub async fn get(
        &self,
        space: &str,
        references: &[Reference],
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut bodies = Vec::with_capacity(references.len());
        let replies = self.read(space, references, Read::all).await?;
        for ((key, reply), reference) in replies.into_iter().zip(references) {
            bodies.push(match reply.found {
                Found::Object(object)
                    if Digest::of(&object.body) == reference.digest || off(Guard::DigestRead) =>
                {
                    Some(object.body)
                }
                Found::Object(_) => return Err(differs(&key)),
                Found::Absent | Found::Unchanged => None,
            });
        }
        Ok(bodies)
    }

    /// Tells which blobs are stored: one request for each, overlapped.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn contains(
        &self,
        space: &str,
        references: &[Reference],
    ) -> Result<Vec<bool>, Error> {
        let first = |key| Read::first(key, 1);
        let replies = self.read(space, references, first).await?;
        let stored = |(_, reply): &(String, Reply)| matches!(reply.found, Found::Object(_));
        Ok(list(replies.iter().map(stored)))
    }

    async fn read(
        &self,
        space: &str,
        references: &[Reference],
        read: fn(String) -> Read,
    ) -> Result<Vec<(String, Reply)>, Error> {
        let space = Name::parse(space)?;
        check_count(references.len())?;
        let key = |reference: &Reference| blob_key(&space, reference.generation, &reference.digest);
        let keys = list(references.iter().map(key));
        let reads = list(keys.iter().cloned().map(read));
        let replies = self.store.get_many(reads).await;
        let several = keys.len() > 1;
        try_list(
            keys.into_iter()
                .zip(replies)
                .map(|(key, reply)| match reply {
                    Ok(reply) => Ok((key, reply)),
                    Err(BucketError::TooLarge(bytes)) if several => Err(Error::InvalidArgument(
                        format!("{key}: more than {bytes} bytes; read fewer blobs at once"),
                    )),
                    Err(error) => Err(at_key(&key, error)),
                }),
        )
    }
}

fn check_count(count: usize) -> Result<(), Error> {
    if count > BATCH_OBJECTS_MAX {
        return Err(Error::InvalidArgument(format!(
            "at most {BATCH_OBJECTS_MAX} blobs at once, not {count}"
        )));
    }
    Ok(())
}

fn differs(key: &str) -> Error {
    Error::Corrupt(format!("{key}: the bytes have another digest"))
}
