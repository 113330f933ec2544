//! Deleting what is trimmed, and the pins that hold a trim back.

use super::{Chain, ChainState, PINS_MAX, Pin, StateReply, Swapped};
use crate::bucket::{Bucket, Deletion, Metadata, Page, StoreTime};
use crate::collection::{Act, Listing, Reason, Report, Verdict};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Slot, quoted};
use crate::list::list;
use crate::store::Store;
use maybe_async::maybe_async;

/// How often a change of the state is tried against others' changes.
pub(crate) const SWAP_ATTEMPTS_MAX: u32 = 8;

/// The longest name of a reader, in bytes.
const READER_BYTES_MAX: usize = 64;

/// The bounds of a pin's time to live.
const PIN_TTL_MS_RANGE: core::ops::RangeInclusive<u32> = 1_000..=2_592_000_000;

/// A place to pin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PinnedPlace {
    pub(crate) offset: u64,
    pub(crate) slot: Slot,
}

/// How setting or removing a pin ended.
pub(crate) enum Pinned {
    /// It is set, until this time; or removed.
    Until(StoreTime),
    /// The place is trimmed.
    Trimmed(StateReply),
    /// Nobody can tell yet.
    Unknown(String),
}

/// The pins that have not expired. Without the store's time, none has.
pub(crate) fn valid_pins(reply: &StateReply) -> Vec<Pin> {
    let valid = |pin: &&Pin| {
        off(Guard::PinsExpire) || reply.observed_at.is_none_or(|now| now < pin.expires_at)
    };
    list(reply.state().pins.iter().filter(valid).cloned())
}

/// The one of them that holds a trim back the most.
pub(crate) fn oldest_pin(reply: &StateReply) -> Option<Pin> {
    let mut oldest: Option<Pin> = None;
    for pin in valid_pins(reply) {
        if oldest.as_ref().is_none_or(|oldest| pin.slot < oldest.slot) {
            oldest = Some(pin);
        }
    }
    oldest
}

/// Who had the pins that have expired.
pub(crate) fn ended_pins(reply: &StateReply) -> Vec<String> {
    let mut ended = Vec::new();
    for pin in &reply.state().pins {
        if reply.observed_at.is_some_and(|now| now >= pin.expires_at) {
            ended.push(pin.reader.clone());
        }
    }
    ended
}

/// What to say if nothing gets through.
pub(crate) fn too_many_changes(chain: &Chain) -> Error {
    Error::Unavailable(format!(
        "{}: others change the state all the time",
        chain.keys.state()
    ))
}

#[maybe_async(AFIT)]
impl Chain {
    /// Sets, moves or extends a reader's pin; removes it without a place.
    pub(crate) async fn set_pin<B: Bucket, E: Env>(
        &self,
        store: &Store<B, E>,
        reader: &str,
        place: Option<PinnedPlace>,
        ttl_ms: u32,
    ) -> Result<Pinned, Error> {
        for round in 0..SWAP_ATTEMPTS_MAX {
            if round > 0 {
                store.back_off(round, None).await;
            }
            let reply = self.state(store).await?;
            let mut pins = match place {
                // The pin and the watermark are in one object, so that neither can
                // pass the other.
                Some(place)
                    if reply.state().kept_slot() > place.slot && !off(Guard::PinAboveWatermark) =>
                {
                    return Ok(Pinned::Trimmed(reply));
                }
                Some(_) => valid_pins(&reply),
                None => reply.state().pins.clone(),
            };
            pins.retain(|pin| pin.reader != reader);
            let mut until = StoreTime { unix_ms: 0 };
            if let Some(place) = place {
                until = self.insert_pin(&reply, &mut pins, reader, place, ttl_ms)?;
            } else if pins.len() == reply.state().pins.len() {
                return Ok(Pinned::Until(until));
            }
            let state = ChainState {
                pins,
                ..reply.state().clone()
            };
            match self.swap_state(store, &reply, state).await? {
                Swapped::Done(_) => return Ok(Pinned::Until(until)),
                Swapped::Lost => {}
                Swapped::Unknown(why) => return Ok(Pinned::Unknown(why)),
            }
        }
        Err(too_many_changes(self))
    }

    /// Deletes all slots below the first that counts but slot 0. `below` is a listing of
    /// them, if there is one already.
    pub(crate) async fn delete_below<B: Bucket + Deletion, E: Env>(
        &self,
        store: &Store<B, E>,
        act: Act,
        state: &ChainState,
        below: Option<Page>,
        report: &mut Report,
    ) -> Result<(), Error> {
        if state.first_kept == Slot::FIRST {
            return Ok(());
        }
        let listing = Listing {
            prefix: self.keys.slots_prefix(),
            after: Some(self.keys.slot(state.first_kept)),
            first_page: below,
        };
        let judge = |object: &Metadata| self.judge(&object.key, state);
        report.sweep(store, act, listing, &judge).await
    }
}

impl Chain {
    fn insert_pin(
        &self,
        reply: &StateReply,
        pins: &mut Vec<Pin>,
        reader: &str,
        place: PinnedPlace,
        ttl_ms: u32,
    ) -> Result<StoreTime, Error> {
        let now = reply.observed_at.ok_or_else(|| {
            Error::Unsupported(format!(
                "{}: pins need the store's time, which it does not tell",
                self.keys.state()
            ))
        })?;
        if pins.len() >= PINS_MAX {
            return Err(Error::InvalidArgument(format!(
                "{PINS_MAX} readers have pins here already"
            )));
        }
        let expires_at = StoreTime {
            unix_ms: now.unix_ms.saturating_add(ttl_ms.into()),
        };
        let at = pins.partition_point(|pin| pin.reader.as_str() < reader);
        pins.insert(
            at,
            Pin {
                reader: reader.to_owned(),
                offset: place.offset,
                slot: place.slot,
                expires_at,
            },
        );
        Ok(expires_at)
    }

    /// What becomes of a listed slot, or of an object that only slots need.
    ///
    /// The first slot stays, so that it can never be re-opened by a writer that saw
    /// an empty chain long ago and knows neither its grace nor its watermark.
    fn judge(&self, key: &str, state: &ChainState) -> Verdict {
        let last = match self.keys.parse_slot(key) {
            Some(Slot::FIRST) if !off(Guard::FirstSlotKept) => None,
            Some(slot) => Some(slot),
            None => (self.needed_until)(&self.keys, key),
        };
        match last {
            Some(last) if last < state.kept_slot() => Verdict::Goes(Reason::Trimmed),
            Some(last) if last < state.first_kept => Verdict::Goes(Reason::Merged),
            _ => Verdict::Stays,
        }
    }
}

/// Checks how long a pin is to hold.
pub(crate) fn check_ttl(ttl_ms: u32) -> Result<(), Error> {
    if !PIN_TTL_MS_RANGE.contains(&ttl_ms) {
        return Err(Error::InvalidArgument(format!(
            "ttl-ms is from {} to {}, not {ttl_ms}",
            PIN_TTL_MS_RANGE.start(),
            PIN_TTL_MS_RANGE.end()
        )));
    }
    Ok(())
}

/// Checks the name of a reader.
pub(crate) fn check_reader(reader: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let length = reader.len();
    if length == 0 || length > READER_BYTES_MAX || !reader.chars().all(allowed) {
        return Err(Error::InvalidArgument(format!(
            "a reader has 1 to {READER_BYTES_MAX} bytes of A-Z a-z 0-9 . _ -, not {}",
            quoted(reader)
        )));
    }
    Ok(())
}
