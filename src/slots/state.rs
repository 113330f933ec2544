//! What may change about a chain: how far it is trimmed and merged, and who still
//! reads.
//!
//! One small object that is replaced with `If-Match` and never deleted. A chain
//! that was never trimmed, merged or pinned has none.

use super::{Chain, at_key, refused};
use crate::bucket::{Bucket, Found, Precondition, PutOutcome, Read, StoreTime, Version, Write};
use crate::codec::{DecodeError, Decoder, Header, Kind, Section, Tag, crc32c};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::list::list;
use crate::store::Store;
use maybe_async::maybe_async;

/// How often one change is sent in all.
const SWAP_SENDS_MAX: u32 = 5;

/// At most this many pins on one chain.
pub const PINS_MAX: usize = 128;

/// A reader that must not be overtaken by a trim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The reader's name, 1 to 64 bytes.
    pub reader: String,
    /// The first record that it still needs.
    pub offset: u64,
    /// The slot that holds it.
    pub slot: Slot,
    /// When the pin ends, by the store's clock.
    pub expires_at: StoreTime,
}

/// The section with [`Merged`].
const MERGED: Tag = Tag(16);

/// Which part of a chain lies in packs instead of in slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The slot that held the first record that is kept.
    pub first_slot: Slot,
    /// The offset behind the last record in packs: the base offset of the first slot
    /// that counts.
    pub end_offset: u64,
    /// The slots from the first that counts up to this one are to become a pack.
    pub plan: Option<Slot>,
}

impl Merged {
    fn decode(data: &[u8]) -> Result<Merged, DecodeError> {
        let mut decoder = Decoder::new(data);
        let merged = Merged {
            first_slot: Slot(decoder.u64()?),
            end_offset: decoder.u64()?,
            plan: Some(Slot(decoder.u64()?)).filter(|plan| *plan != Slot::FIRST),
        };
        decoder.finish()?;
        Ok(merged)
    }

    fn encode(self) -> Vec<u8> {
        let plan = self.plan.unwrap_or(Slot::FIRST);
        [self.first_slot.0, self.end_offset, plan.0]
            .map(u64::to_le_bytes)
            .concat()
    }
}

/// The mutable state of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainState {
    /// Slots below this are trimmed or merged, whether their objects exist or not.
    pub first_kept: Slot,
    /// The first record that is kept.
    pub first_kept_offset: u64,
    /// In ascending order of reader, at most [`PINS_MAX`].
    pub pins: Vec<Pin>,
    /// Where packs end, in a chain of which a part was ever to be merged.
    pub merged: Option<Merged>,
}

impl ChainState {
    /// The state of a chain that was never trimmed or pinned.
    pub const NEW: ChainState = ChainState {
        first_kept: Slot::FIRST,
        first_kept_offset: 0,
        pins: Vec::new(),
        merged: None,
    };

    /// The slot that holds the first record that is kept, or held it before it was
    /// merged.
    #[must_use]
    pub fn kept_slot(&self) -> Slot {
        self.merged
            .map_or(self.first_kept, |merged| merged.first_slot)
    }

    /// The offset behind the last record in packs; the first that is kept if there
    /// are none.
    #[must_use]
    pub fn packs_end(&self) -> u64 {
        self.merged
            .map_or(self.first_kept_offset, |merged| merged.end_offset)
    }

    /// Up to where the slots from the first that counts are to become a pack.
    #[must_use]
    pub fn plan(&self) -> Option<Slot> {
        self.merged.and_then(|merged| merged.plan)
    }

    fn decode(payload: &[u8]) -> Result<ChainState, DecodeError> {
        let mut decoder = Decoder::new(payload);
        let first_kept = Slot(decoder.u64()?);
        let first_kept_offset = decoder.u64()?;
        let count = usize::from(decoder.u16()?);
        if count > PINS_MAX {
            return Err(DecodeError::Corrupt("it has too many pins"));
        }
        let mut pins = Vec::with_capacity(count);
        for _ in 0..count {
            let reader_bytes = usize::from(decoder.u8()?);
            let reader = core::str::from_utf8(decoder.take(reader_bytes)?)
                .map_err(|_| DecodeError::Corrupt("a reader's name is not text"))?
                .to_owned();
            pins.push(Pin {
                reader,
                offset: decoder.u64()?,
                slot: Slot(decoder.u64()?),
                expires_at: StoreTime {
                    unix_ms: decoder.u64()?,
                },
            });
        }
        decoder.finish()?;
        Ok(ChainState {
            first_kept,
            first_kept_offset,
            pins,
            merged: None,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        payload.extend_from_slice(&self.first_kept.0.to_le_bytes());
        payload.extend_from_slice(&self.first_kept_offset.to_le_bytes());
        let count = u16::try_from(self.pins.len()).unwrap_or(u16::MAX);
        payload.extend_from_slice(&count.to_le_bytes());
        for pin in self.pins.iter().take(usize::from(count)) {
            let reader_bytes = u8::try_from(pin.reader.len()).unwrap_or(u8::MAX);
            payload.push(reader_bytes);
            payload.extend(pin.reader.bytes().take(usize::from(reader_bytes)));
            payload.extend_from_slice(&pin.offset.to_le_bytes());
            payload.extend_from_slice(&pin.slot.0.to_le_bytes());
            payload.extend_from_slice(&pin.expires_at.unix_ms.to_le_bytes());
        }
        payload
    }

    /// Reads a stored state object.
    ///
    /// # Errors
    ///
    /// If anything in it is not as it was written.
    pub fn decode_object(body: &[u8]) -> Result<(Header, ChainState), DecodeError> {
        let (header, payload) = Header::decode_object(body)?;
        if header.kind != Kind::State {
            return Err(DecodeError::Corrupt("it is not the state of a chain"));
        }
        header.require_only(&[MERGED])?;
        let mut state = ChainState::decode(payload)?;
        state.merged = header.section(MERGED).map(Merged::decode).transpose()?;
        let in_order = state.kept_slot() <= state.first_kept
            && state.first_kept_offset <= state.packs_end()
            && state.plan().is_none_or(|plan| plan > state.first_kept);
        if !in_order {
            return Err(DecodeError::Corrupt("its watermarks are out of order"));
        }
        Ok((header, state))
    }

    /// The bytes of a state object. `commit_id` makes every version unique, so
    /// that equal entity tags mean equal attempts.
    ///
    /// # Errors
    ///
    /// None for a state with valid names.
    pub fn encode_object(&self, identity: u128, commit_id: u128) -> Result<Vec<u8>, DecodeError> {
        let payload = self.encode();
        let header = Header {
            kind: Kind::State,
            identity,
            slot: Slot::FIRST,
            commit_id,
            previous_id: 0,
            epoch: crate::token::Epoch::SHARED,
            base_offset: 0,
            record_count: 0,
            grace_ms: 0,
            clock_margin_ms: 0,
            payload_bytes: u64::try_from(payload.len()).unwrap_or(u64::MAX),
            payload_crc: crc32c(&[&payload]),
            // Who did not know of packs would take merged records for trimmed ones.
            sections: list(self.merged.map(|merged| Section {
                tag: MERGED,
                required: !off(Guard::PacksMustBeKnown),
                data: merged.encode(),
            })),
        };
        let mut body = header.encode()?;
        body.extend_from_slice(&payload);
        Ok(body)
    }
}

/// The state of a chain as one read showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateReply {
    /// Its version and content, or `None` if there is no state object.
    pub stored: Option<(Version, u128, ChainState)>,
    /// The store's clock when it answered.
    pub observed_at: Option<StoreTime>,
}

impl StateReply {
    /// The first slot that is neither trimmed nor merged.
    #[must_use]
    pub fn first_kept(&self) -> Slot {
        self.stored
            .as_ref()
            .map_or(Slot::FIRST, |(_, _, state)| state.first_kept)
    }

    /// Whether this reader's pin keeps a slot.
    pub(crate) fn keeps(&self, reader: &str, slot: Slot) -> bool {
        self.state().pins.iter().any(|pin| {
            pin.reader == reader
                && pin.slot <= slot
                && self.observed_at.is_some_and(|now| now < pin.expires_at)
        })
    }

    /// The same, as if the state were this one.
    pub(crate) fn supposing(self, state: ChainState) -> StateReply {
        StateReply {
            stored: Some((Version(String::new()), 0, state)),
            ..self
        }
    }

    /// The version of the state object.
    #[must_use]
    pub fn version(&self) -> Option<&Version> {
        self.stored.as_ref().map(|(version, _, _)| version)
    }

    fn commit_id(&self) -> Option<u128> {
        self.stored.as_ref().map(|(_, commit_id, _)| *commit_id)
    }

    /// The state, or that of a new chain.
    #[must_use]
    pub fn state(&self) -> &ChainState {
        const NEW: &ChainState = &ChainState::NEW;
        self.stored.as_ref().map_or(NEW, |(_, _, state)| state)
    }
}

#[maybe_async(AFIT)]
impl Chain {
    /// Reads the state: one read.
    pub(crate) async fn state<B: Bucket, E: Env>(
        &self,
        store: &Store<B, E>,
    ) -> Result<StateReply, Error> {
        let key = self.keys.state();
        let reply = store
            .get(Read::all(key.clone()))
            .await
            .map_err(|error| at_key(&key, error))?;
        let Found::Object(object) = reply.found else {
            return Ok(StateReply {
                stored: None,
                observed_at: reply.observed_at,
            });
        };
        let (header, state) =
            ChainState::decode_object(&object.body).map_err(|error| refused(&key, error))?;
        if header.identity != self.keys.identity() && !off(Guard::PlaceChecked) {
            return Err(Error::Corrupt(format!(
                "{key}: the object was written for another place"
            )));
        }
        Ok(StateReply {
            stored: Some((object.metadata.version, header.commit_id, state)),
            observed_at: reply.observed_at,
        })
    }
}

/// How replacing the state ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The new state is in force.
    Done(StateReply),
    /// Somebody else changed the state first.
    Lost,
    /// Nobody can tell yet.
    Unknown(String),
}

#[maybe_async(AFIT)]
impl Chain {
    /// Replaces the state that `before` shows: one write if all goes well.
    ///
    /// # Errors
    ///
    /// An error means that this call changed nothing and never will.
    pub(crate) async fn swap_state<B: Bucket, E: Env>(
        &self,
        store: &Store<B, E>,
        before: &StateReply,
        state: ChainState,
    ) -> Result<Swapped, Error> {
        let key = self.keys.state();
        let commit_id = store.draw_id();
        let body = state
            .encode_object(self.keys.identity(), commit_id)
            .map_err(|error| Error::InvalidArgument(error.to_string()))?;
        let precondition = match &before.stored {
            None => Precondition::Absent,
            Some((version, _, _)) => Precondition::Matches(version.clone()),
        };
        let write = Write {
            key: key.clone(),
            body,
            precondition,
        };
        let mut doubt = None;
        let mut refusal = None;
        for round in 0..SWAP_SENDS_MAX {
            if round > 0 {
                store.count(|receipt| receipt.retries += 1);
                store.back_off(round, refusal.as_ref()).await;
            }
            match store.put(&write).await {
                Ok(PutOutcome::Written {
                    version,
                    observed_at,
                }) => {
                    return Ok(Swapped::Done(StateReply {
                        stored: Some((version, commit_id, state)),
                        observed_at,
                    }));
                }
                Ok(PutOutcome::PreconditionFailed) if doubt.is_none() => return Ok(Swapped::Lost),
                Ok(PutOutcome::PreconditionFailed) => {}
                Ok(PutOutcome::Indeterminate(why)) => doubt = Some(why),
                Err(error) if error.is_transient() => {
                    if error.leaves_doubt() {
                        doubt.get_or_insert(error.to_string());
                    }
                    refusal = Some(error);
                    continue;
                }
                Err(error) => {
                    return match doubt {
                        None => Err(at_key(&key, error)),
                        Some(why) => Ok(Swapped::Unknown(why)),
                    };
                }
            }
            // An earlier attempt may have been applied. No two attempts of different
            // calls have the same bytes, so the commit id tells.
            match self.state(store).await {
                Ok(reply) if reply.commit_id() == Some(commit_id) => {
                    return Ok(Swapped::Done(reply));
                }
                // Every attempt names the version that was replaced, so none of them
                // can be applied any more.
                Ok(reply) if reply.version() != before.version() => return Ok(Swapped::Lost),
                Ok(_) => {}
                Err(error) => return Ok(Swapped::Unknown(error.to_string())),
            }
        }
        match (doubt, refusal) {
            (Some(why), _) => Ok(Swapped::Unknown(why)),
            (None, Some(error)) => Err(at_key(&key, error)),
            (None, None) => Ok(Swapped::Lost),
        }
    }
}
