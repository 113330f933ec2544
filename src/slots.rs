//! A chain of immutable objects in numbered slots: the mechanism under logs and
//! manifests.
//!
//! The object in slot n is created with `If-None-Match: *` by a writer that has
//! read the object in slot n−1 and names its commit id. So the slots fill in
//! order, each is decided once, and every writer of slot n knew all that came
//! before it. `docs/PROTOCOLS.md` has the argument and the counter-examples for
//! each guard below.

pub(crate) mod retain;
mod state;

use crate::bucket::{
    Bucket, BucketError, Found, Metadata, Precondition, PutOutcome, Read, Span, StoreTime, Version,
    Write,
};
use crate::codec::{DecodeError, HEADER_BYTES_MAX, Header, Kind, Tag};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{ChainKeys, Slot};
use crate::store::Store;
use maybe_async::maybe_async;

pub use state::{ChainState, Merged, PINS_MAX, Pin, StateReply, Swapped};

/// How many bytes of an object are read to learn its header. Enough for all but
/// the most unusual headers, which cost a second read.
pub(crate) const HEADER_READ: Span = Span::First(16_384);

/// How often a write to one slot is sent in all.
const PLACE_ATTEMPTS_MAX: u32 = 6;

/// How many slots one operation tries to win. With the waits between them, that
/// takes about half a minute.
pub(crate) const RACES_MAX: u32 = 64;

/// After this many lost races in a row, a writer waits and lists instead of
/// following the winners one by one.
pub(crate) const RACES_BEFORE_WAIT: u32 = 3;

/// The first wait after lost races is drawn from 0 to this, each later one from
/// twice as much.
const RACE_WAIT_FIRST_MS: u64 = 20;

/// No wait after a lost race is drawn from more than this.
const RACE_WAIT_MAX_MS: u64 = 1_000;

/// The bounds of `settings.grace-ms`, besides 0.
const GRACE_MS_RANGE: core::ops::RangeInclusive<u32> = 1_000..=604_800_000;

/// For how long a chain protects its slots from being re-opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// How old an object must be before it can be trimmed. 0 means that the
    /// store's times are not used at all.
    pub period_ms: u32,
    /// By how much the store's own clocks may disagree.
    pub margin_ms: u32,
}

impl Grace {
    /// One hour, with a margin of 5 minutes.
    pub const DEFAULT: Grace = Grace {
        period_ms: 3_600_000,
        margin_ms: 300_000,
    };

    /// Checks the settings of a chain that is to be created.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.period_ms != 0 && !GRACE_MS_RANGE.contains(&self.period_ms) {
            return Err(Error::InvalidArgument(format!(
                "grace-ms is 0 or from {} to {}, not {}",
                GRACE_MS_RANGE.start(),
                GRACE_MS_RANGE.end(),
                self.period_ms
            )));
        }
        if self.margin_ms > self.period_ms / 4 {
            return Err(Error::InvalidArgument(format!(
                "clock-margin-ms is at most a quarter of grace-ms ({}), not {}",
                self.period_ms, self.margin_ms
            )));
        }
        Ok(())
    }

    /// How long a slot that was known to be unwritten cannot have been trimmed.
    ///
    /// Four readings of the store's clocks take part: when the slot was known to be
    /// unwritten, when its object was accepted, when the trim looked, and when the
    /// store answered. The trim's own two may make the object look older by the
    /// margin, and the other two may make the time between them look shorter by it.
    fn window_ms(self) -> u64 {
        let times = if off(Guard::BothMargins) { 1 } else { 2 };
        let margins_ms = u64::from(self.margin_ms).saturating_mul(times);
        u64::from(self.period_ms).saturating_sub(margins_ms)
    }

    /// Until when the absence of an object that had not been written at `known_at`
    /// means that it still was not.
    #[must_use]
    pub fn absent_until(self, known_at: Option<StoreTime>) -> Option<StoreTime> {
        let window_ms = self.window_ms();
        known_at
            .filter(|_| window_ms > 0)
            .map(|known_at| StoreTime {
                unix_ms: known_at.unix_ms.saturating_add(window_ms),
            })
    }

    /// Whether `now` is so close to `known_at` that no slot which was empty at
    /// `known_at` can have been filled and trimmed since.
    ///
    /// A `known_at` that lies far in the future of `now` proves that the store's
    /// clocks disagree by more than the margin; then nothing is safe to conclude.
    fn covers(self, known_at: Option<StoreTime>, now: Option<StoreTime>) -> bool {
        let (Some(known_at), Some(now)) = (known_at, now) else {
            return false;
        };
        now.since_ms(known_at) < self.window_ms()
            && (off(Guard::FarClock) || known_at.since_ms(now) <= u64::from(self.margin_ms))
    }
}

/// An object of a chain, known by its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its header.
    pub header: Header,
    /// Its version.
    pub version: Version,
    /// When the store accepted it, if it tells.
    pub modified_at: Option<StoreTime>,
    /// The whole object, where [`Chain::look`] asks for it; else empty.
    pub body: Vec<u8>,
}

/// What a read of a slot showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReply<T> {
    /// The object, or `None` if the slot is empty: not yet written, or trimmed.
    pub object: Option<T>,
    /// The store's clock when it answered.
    pub observed_at: Option<StoreTime>,
}

/// What a listing showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// The highest slot that is filled, or `None` in an empty chain.
    pub slot: Option<Slot>,
    /// What the listing says of its object.
    pub object: Option<Metadata>,
    /// The store's clock when it answered: at this time, the next slot was empty.
    pub observed_at: Option<StoreTime>,
}

/// An object to put into a slot.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The slot behind the newest that is known.
    pub slot: Slot,
    /// The whole object, which carries `commit_id`.
    pub body: Vec<u8>,
    /// What tells this object from any other.
    pub commit_id: u128,
    /// A time at which the slot had not been written.
    pub absent_at: Option<StoreTime>,
    /// The grace of the chain.
    pub grace: Grace,
}

/// How putting an object into a slot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The object is in the slot, for good. `at` is a time not long after the
    /// store accepted it.
    Committed {
        /// The store's clock.
        at: Option<StoreTime>,
    },
    /// Another object is in the slot. This one is not, and never will be.
    Lost(Link),
    /// The slot was filled by another object and trimmed since. This one does not
    /// count, whether the store has it or not.
    Overtaken,
    /// Nobody can tell yet.
    Unknown(String),
}

/// One chain in the bucket.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its keys.
    pub keys: ChainKeys,
    /// The kind of its objects.
    pub kind: Kind,
    /// The header sections that its readers understand.
    pub sections: &'static [Tag],
    /// What is read of an object to learn who won its slot: its first bytes, or all
    /// of it where a loser needs to know what the winner wrote.
    pub look: Span,
    /// The last slot that may need an object whose key begins with that of a slot
    /// but is not one; `None` for keys that do not belong here.
    pub needed_until: fn(&ChainKeys, &str) -> Option<Slot>,
}

#[maybe_async(AFIT)]
impl Chain {
    /// Finds the newest object: one listing.
    pub(crate) async fn newest<B: Bucket, E: Env>(
        &self,
        store: &Store<B, E>,
    ) -> Result<Newest, Error> {
        let prefix = self.keys.slots_prefix();
        let page = store.list(&prefix, None, 1).await?;
        let mut highest = None;
        for object in &page.objects {
            let slot = self.keys.parse_slot(&object.key).ok_or_else(|| {
                Error::Corrupt(format!("{}: this key does not belong here", object.key))
            })?;
            if highest.is_some_and(|highest| highest < slot) && !off(Guard::ListingInOrder) {
                // The tail must never be understated, so an unsorted listing is of no use.
                return Err(Error::Unsupported(format!(
                    "the store does not list {prefix} in order"
                )));
            }
            highest = highest.or(Some(slot));
        }
        if highest.is_none() && page.more {
            return Err(Error::Unsupported(format!(
                "the store lists {prefix} without objects but says that there are more"
            )));
        }
        Ok(Newest {
            slot: highest,
            object: page.objects.into_iter().next(),
            observed_at: page.observed_at,
        })
    }

    /// Reads the header in a slot: one read, rarely two.
    /// With [`Span::All`] as [`Chain::look`], the whole object.
    pub(crate) async fn link<B: Bucket, E: Env>(
        &self,
        store: &Store<B, E>,
        slot: Slot,
    ) -> Result<SlotReply<Link>, Error> {
        let key = self.keys.slot(slot);
        let mut span = self.look;
        loop {
            let read = Read {
                span,
                ..Read::all(key.clone())
            };
            let reply = match store.get(read).await {
                Ok(reply) => reply,
                Err(error) => return Err(at_key(&key, error)),
            };
            let Found::Object(object) = reply.found else {
                return Ok(SlotReply {
                    object: None,
                    observed_at: reply.observed_at,
                });
            };
            let length = Header::length(&object.body).map_err(|error| refused(&key, error))?;
            let read_bytes = u64::try_from(object.body.len()).unwrap_or(u64::MAX);
            if length > object.body.len()
                && read_bytes < object.metadata.size_bytes
                && span == HEADER_READ
            {
                span = Span::First(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX));
                continue;
            }
            let header = Header::decode(&object.body, object.metadata.size_bytes)
                .map_err(|error| refused(&key, error))?;
            self.check(&key, slot, &header)?;
            return Ok(SlotReply {
                object: Some(Link {
                    header,
                    version: object.metadata.version,
                    modified_at: object.metadata.modified_at,
                    body: match self.look {
                        Span::All => object.body,
                        Span::First(_) => Vec::new(),
                    },
                }),
                observed_at: reply.observed_at,
            });
        }
    }

    /// Checks that an object with this header belongs into `slot` of this chain.
    pub(crate) fn check(&self, key: &str, slot: Slot, header: &Header) -> Result<(), Error> {
        header
            .require_only(self.sections)
            .map_err(|error| refused(key, error))?;
        let misplaced = header.kind != self.kind
            || header.identity != self.keys.identity()
            || header.slot != slot;
        if misplaced && !off(Guard::PlaceChecked) {
            return Err(Error::Corrupt(format!(
                "{key}: the object was written for another place"
            )));
        }
        Ok(())
    }

    /// Puts an object into its slot and finds out whether it is there to stay.
    ///
    /// One write if all goes well. Whatever else happens, the slot itself is asked:
    /// the commit id in it says who won.
    ///
    /// # Errors
    ///
    /// An error means that the object is not in the slot and never will be.
    pub(crate) async fn place<B: Bucket, E: Env>(
        &self,
        store: &Store<B, E>,
        candidate: Candidate,
    ) -> Result<Placed, Error> {
        let Candidate {
            slot,
            body,
            commit_id,
            absent_at,
            grace,
        } = candidate;
        if slot == Slot::FIRST {
            // Whoever wrote the slots behind it has checked the store.
            store.check_conditions().await?;
        }
        let write = Write {
            key: self.keys.slot(slot),
            body,
            precondition: Precondition::Absent,
        };
        // Why an earlier attempt may have been applied, or may still be.
        let mut doubt: Option<String> = None;
        let mut refusal = BucketError::Unavailable(format!(
            "{}: the store refuses the write but shows no object",
            write.key
        ));
        for round in 0..PLACE_ATTEMPTS_MAX {
            if round > 0 {
                store.count(|receipt| receipt.retries += 1);
                store.back_off(round, Some(&refusal)).await;
            }
            let mut existed = false;
            match store.put(&write).await {
                Ok(PutOutcome::Written { observed_at, .. }) => {
                    return Ok(self
                        .confirm(store, slot, observed_at, absent_at, grace, doubt)
                        .await);
                }
                Ok(PutOutcome::PreconditionFailed) => existed = true,
                Ok(PutOutcome::Indeterminate(_)) if off(Guard::SlotUntilDecided) => {
                    return Ok(Placed::Overtaken);
                }
                Ok(PutOutcome::Indeterminate(why)) => doubt = Some(why),
                Err(error) if error.is_transient() => {
                    if error.leaves_doubt() {
                        doubt.get_or_insert(format!("{}: {error}", write.key));
                    }
                    refusal = error;
                }
                Err(error) => return unless_in_doubt(doubt, at_key(&write.key, error)),
            }
            // The same bytes go to the same slot in every attempt, so whichever of
            // them arrived, and whenever, the commit id tells.
            let seen = match self.link(store, slot).await {
                Ok(seen) => seen,
                Err(error) => return unless_in_doubt(doubt, error),
            };
            match seen.object {
                Some(link)
                    if off(Guard::CommitIdCompared)
                        || link.header.commit_id == commit_id
                            && !off(Guard::CommitIdAfterRefusal) =>
                {
                    let why = doubt.or(Some("an earlier attempt was applied".to_owned()));
                    return Ok(self
                        .confirm(store, slot, link.modified_at, absent_at, grace, why)
                        .await);
                }
                Some(link) => {
                    // In a slot that was trimmed since, and filled again by somebody who
                    // slept, it says nothing about an own attempt from before.
                    if let Some(why) = doubt
                        && !Self::is_unwritten(grace, absent_at, link.modified_at)
                        && !off(Guard::OvertakenWithoutDoubt)
                    {
                        match self.state(store).await {
                            Ok(state) if state.first_kept() <= slot => {}
                            Ok(_) => return Ok(Placed::Unknown(why)),
                            Err(error) => return unless_in_doubt(Some(why), error),
                        }
                    }
                    store.count(|receipt| receipt.races_lost += 1);
                    return Ok(Placed::Lost(link));
                }
                // Somebody's object was there and is gone: it was trimmed, or the
                // store contradicts itself, which the next round shows.
                None if existed => match self.state(store).await {
                    Ok(state) if state.first_kept() > slot => {
                        return Ok(match doubt {
                            Some(why) if !off(Guard::OvertakenWithoutDoubt) => Placed::Unknown(why),
                            _ => Placed::Overtaken,
                        });
                    }
                    Ok(_) => {}
                    Err(error) => return unless_in_doubt(doubt, error),
                },
                None => {}
            }
        }
        unless_in_doubt(doubt, refusal.into())
    }

    /// Decides whether an object that the store accepted at `applied_at` counts.
    ///
    /// It does, unless the slot had been filled by somebody else and trimmed, which
    /// re-opened it. That takes longer than the grace period from when the slot
    /// was known to be empty, so a quick writer need not ask.
    async fn confirm<B: Bucket, E: Env>(
        &self,
        store: &Store<B, E>,
        slot: Slot,
        applied_at: Option<StoreTime>,
        absent_at: Option<StoreTime>,
        grace: Grace,
        doubt: Option<String>,
    ) -> Placed {
        // The first slot is never deleted, so it is never re-opened.
        if slot == Slot::FIRST
            || grace.covers(absent_at, applied_at)
            || off(Guard::WatermarkAfterWrite)
        {
            return Placed::Committed { at: applied_at };
        }
        store.count(|receipt| receipt.grace_checks += 1);
        let state = match self.state(store).await {
            Ok(state) => state,
            Err(error) => {
                return Placed::Unknown(format!(
                    "the write was accepted, but the watermark could not be read: {error}"
                ));
            }
        };
        if state.first_kept() <= slot {
            return Placed::Committed { at: applied_at };
        }
        match doubt {
            // What is trimmed was older than the grace period, and this write is
            // younger, so it is not what was trimmed.
            None if grace.covers(applied_at, state.observed_at) => Placed::Overtaken,
            None => Placed::Unknown(format!("slot {slot} was trimmed after or before the write")),
            Some(_) if off(Guard::OvertakenWithoutDoubt) => Placed::Overtaken,
            Some(why) => Placed::Unknown(why),
        }
    }

    /// Whether a slot that was empty in a reply at `observed_at` has not been
    /// written yet, as opposed to trimmed, given that it was unwritten at
    /// `absent_at`.
    pub(crate) fn is_unwritten(
        grace: Grace,
        absent_at: Option<StoreTime>,
        observed_at: Option<StoreTime>,
    ) -> bool {
        grace.covers(absent_at, observed_at)
    }
}

/// Spreads out writers that compete for the same slots. Liveness only: each slot is
/// won by somebody whatever they do.
#[maybe_async]
pub(crate) async fn wait_after_races<B: Bucket, E: Env>(store: &Store<B, E>, races: u32) {
    let doublings = races.saturating_sub(RACES_BEFORE_WAIT).min(16);
    let ceiling_ms = RACE_WAIT_FIRST_MS
        .saturating_mul(1 << doublings)
        .min(RACE_WAIT_MAX_MS);
    let wait_ms = store.draw_below(ceiling_ms + 1);
    store.sleep_ms(wait_ms).await;
}

/// An error of the port about one object.
pub(crate) fn at_key(key: &str, error: BucketError) -> Error {
    match error {
        // Nothing that this library writes is too large to be read back.
        BucketError::TooLarge(bytes) => {
            Error::Corrupt(format!("{key}: the object exceeds {bytes} bytes"))
        }
        BucketError::Unavailable(text) => Error::Unavailable(format!("{key}: {text}")),
        BucketError::Other(text) => Error::Other(format!("{key}: {text}")),
        error => error.into(),
    }
}

/// An error of the decoder about one object.
pub(crate) fn refused(key: &str, error: DecodeError) -> Error {
    match error {
        DecodeError::Corrupt(what) => Error::Corrupt(format!("{key}: {what}")),
        DecodeError::Newer(what) => Error::Unsupported(format!("{key}: {what}")),
    }
}

fn unless_in_doubt(doubt: Option<String>, error: Error) -> Result<Placed, Error> {
    match doubt {
        Some(_) if off(Guard::ErrorWithoutDoubt) => Err(error),
        None => Err(error),
        Some(why) => Ok(Placed::Unknown(format!("{why}; then: {error}"))),
    }
}
