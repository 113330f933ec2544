//! What an instance knows about the end of a log, and how it learns it.

use super::offers::{self, Settled};
use super::pace::Pace;
use super::pointers::{self, Pointer};
use super::producers::{self, Producers};
use super::{Cursor, Log};
use crate::bucket::{Bucket, StoreTime, Version};
use crate::codec::{Header, Kind};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Name, Slot};
use crate::slots::{Chain, Grace, Link, refused};
use crate::token::Epoch;
use maybe_async::maybe_async;

/// How many segments that others appended are followed one by one before a
/// listing is cheaper.
const FOLLOW_MAX: u32 = 2;

/// An instance remembers the tails of this many logs.
const TAILS_MAX: usize = 64;

/// The newest segment that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Last {
    slot: Slot,
    pub(super) commit_id: u128,
    pub(super) epoch: Epoch,
    base_offset: u64,
    payload_bytes: u64,
    modified_at: Option<StoreTime>,
    pointers: Vec<Pointer>,
}

/// What is known about the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// The newest segment, or `None` in a log that does not exist.
    pub(super) last: Option<Last>,
    /// The offset of the next record.
    pub(super) next_offset: u64,
    pub(super) grace: Grace,
    pub(super) producers: Producers,
    /// The offers that were taken lately.
    pub(super) settled: Vec<Settled>,
    /// A time at which the next slot had not been written.
    pub(super) absent_at: Option<StoreTime>,
}

impl Tail {
    /// A log that did not exist at `observed_at`.
    pub(super) fn empty(observed_at: Option<StoreTime>) -> Tail {
        Tail {
            last: None,
            next_offset: 0,
            grace: Grace::DEFAULT,
            producers: Producers::default(),
            settled: Vec::new(),
            absent_at: observed_at,
        }
    }

    /// The tail behind a segment. `absent_at` is a time at which the slot behind it
    /// had not been written.
    pub(super) fn behind(
        header: &Header,
        modified_at: Option<StoreTime>,
        absent_at: Option<StoreTime>,
    ) -> Result<Tail, crate::codec::DecodeError> {
        Ok(Tail {
            last: Some(Last {
                slot: header.slot,
                commit_id: header.commit_id,
                epoch: header.epoch,
                base_offset: header.base_offset,
                payload_bytes: header.payload_bytes,
                modified_at,
                pointers: pointers::decode(header)?,
            }),
            next_offset: header
                .base_offset
                .saturating_add(header.record_count.into()),
            grace: Grace {
                period_ms: header.grace_ms,
                margin_ms: header.clock_margin_ms,
            },
            producers: producers::decode(header)?,
            settled: offers::settled(header)?,
            absent_at,
        })
    }

    /// The slot for the next segment.
    pub(super) fn next_slot(&self) -> Result<Slot, Error> {
        match &self.last {
            None => Ok(Slot::FIRST),
            Some(last) => last
                .slot
                .next()
                .ok_or_else(|| Error::Other("the log has used up its slots".to_owned())),
        }
    }

    /// The slot of the newest segment.
    pub(super) fn last_slot(&self) -> Option<Slot> {
        self.last.as_ref().map(|last| last.slot)
    }

    /// Bytes and records of the newest segment.
    pub(super) fn last_size(&self) -> Option<(usize, usize)> {
        let last = self.last.as_ref()?;
        let records = self.next_offset.saturating_sub(last.base_offset);
        Some((
            usize::try_from(last.payload_bytes).ok()?,
            usize::try_from(records).ok()?,
        ))
    }

    /// The highest epoch that has written.
    pub(super) fn epoch(&self) -> Epoch {
        self.last.as_ref().map_or(Epoch::SHARED, |last| last.epoch)
    }

    /// The commit id of the newest segment, or 0.
    pub(super) fn last_id(&self) -> u128 {
        self.last.as_ref().map_or(0, |last| last.commit_id)
    }

    /// The newest segment as a pointer, and its own pointers.
    pub(super) fn pointers(&self) -> Option<(Pointer, &[Pointer])> {
        let last = self.last.as_ref()?;
        let pointer = Pointer {
            slot: last.slot,
            base_offset: last.base_offset,
            modified_at: last.modified_at,
        };
        Some((pointer, &last.pointers))
    }

    /// Where the next record will be.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            offset: self.next_offset,
            slot: self.next_slot().ok(),
            absent_until: self.grace.absent_until(self.absent_at),
        }
    }

    /// Checks that a segment follows on this tail.
    pub(super) fn check_next(&self, header: &Header) -> Result<(), &'static str> {
        if off(Guard::FollowsOn) {
            return Ok(());
        }
        if header.previous_id != self.last_id() {
            return Err("it does not follow on the segment before it");
        }
        if header.base_offset != self.next_offset {
            return Err("its offsets do not follow on those of the segment before it");
        }
        if header.epoch < self.epoch() {
            return Err("its epoch is lower than that of the segment before it");
        }
        if self.last.is_some()
            && (header.grace_ms, header.clock_margin_ms)
                != (self.grace.period_ms, self.grace.margin_ms)
        {
            return Err("its grace differs from that of the segment before it");
        }
        Ok(())
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Log<'_, B, E> {
    /// Finds the tail from nothing: a listing and, in a log that exists, the
    /// newest header.
    pub(super) async fn discover(&self) -> Result<Tail, Error> {
        let newest = self.chain.newest(self.store()).await?;
        match newest.slot {
            None => Ok(Tail::empty(newest.observed_at)),
            Some(slot) => {
                let listed = newest.object.map(|object| object.version);
                self.tail_at(slot, listed, newest.observed_at).await
            }
        }
    }

    /// The tail behind the segment in `slot`, which a listing at `observed_at` showed
    /// as the newest, in the version `listed`.
    pub(super) async fn tail_at(
        &self,
        slot: Slot,
        listed: Option<Version>,
        observed_at: Option<StoreTime>,
    ) -> Result<Tail, Error> {
        let mut link = self.chain.link(self.store(), slot).await?.object;
        // Another object than the one that was listed could be that of a writer that
        // slept through a trim.
        let listed = |link: &Link| listed == Some(link.version.clone());
        if !off(Guard::ListedCompared)
            && !link.as_ref().is_some_and(listed)
            && self.chain.state(self.store()).await?.first_kept() > slot
        {
            link = None;
        }
        // The newest segment is never trimmed, so it can only be missing if others
        // appended and trimmed in the moment between, or the store lost it.
        let link = link.ok_or_else(|| {
            Error::Unavailable(format!(
                "{}: the segment was listed but cannot be read",
                self.chain.keys.slot(slot)
            ))
        })?;
        let tail = self.behind(&link, observed_at.max(link.modified_at))?;
        self.remember_tail(&tail);
        Ok(tail)
    }

    /// The tail as it is at some moment during this call.
    ///
    /// One request if this instance knew a recent tail and it is still the tail.
    pub(super) async fn fresh_tail(&self) -> Result<Tail, Error> {
        let Some(mut tail) = self.remembered_tail() else {
            return self.discover().await;
        };
        for _ in 0..=FOLLOW_MAX {
            let slot = tail.next_slot()?;
            let seen = self.chain.link(self.store(), slot).await?;
            match seen.object {
                None if off(Guard::EmptySlotIsTail)
                    || Chain::is_unwritten(tail.grace, tail.absent_at, seen.observed_at) =>
                {
                    tail.absent_at = seen.observed_at;
                    self.remember_tail(&tail);
                    return Ok(tail);
                }
                None => break,
                Some(link) => match self.follow(&tail, &link).await? {
                    Some(next) => tail = next,
                    None => break,
                },
            }
        }
        self.discover().await
    }

    /// The tail behind `link`, which was found in the slot behind `tail`, or `None`
    /// if the log has been trimmed past that slot.
    ///
    /// A trimmed slot can be filled again by a writer that was asleep. What stands
    /// there then never counts, and nothing may be concluded from it: neither who
    /// won, nor which epoch wrote, nor that the next slot was empty lately.
    pub(super) async fn follow(&self, tail: &Tail, link: &Link) -> Result<Option<Tail>, Error> {
        let genuine = link.header.slot == Slot::FIRST
            || off(Guard::WinnerGenuine)
            || Chain::is_unwritten(tail.grace, tail.absent_at, link.modified_at);
        if !genuine {
            let state = self.chain.state(self.store()).await?;
            if state.first_kept() > link.header.slot {
                return Ok(None);
            }
        }
        tail.check_next(&link.header).map_err(|what| {
            Error::Corrupt(format!(
                "{}: {what}",
                self.chain.keys.slot(link.header.slot)
            ))
        })?;
        let next = self.behind(link, link.modified_at.max(tail.absent_at))?;
        self.remember_tail(&next);
        Ok(Some(next))
    }

    pub(super) fn behind(&self, link: &Link, absent_at: Option<StoreTime>) -> Result<Tail, Error> {
        debug_assert_eq!(link.header.kind, Kind::Segment);
        Tail::behind(&link.header, link.modified_at, absent_at)
            .map_err(|error| refused(&self.chain.keys.slot(link.header.slot), error))
    }
}

/// The tails of the logs that were used last, the latest last, and how it went
/// with others who write to them.
#[derive(Debug, Default)]
pub(super) struct TailCache {
    tails: Vec<(Name, Option<Tail>, Pace)>,
}

impl TailCache {
    pub(super) fn get(&self, name: &Name) -> Option<&Tail> {
        self.find(name).and_then(|(_, tail, _)| tail.as_ref())
    }

    pub(super) fn pace(&self, name: &Name) -> Pace {
        self.find(name)
            .map(|(_, _, pace)| *pace)
            .unwrap_or_default()
    }

    fn find(&self, name: &Name) -> Option<&(Name, Option<Tail>, Pace)> {
        self.tails.iter().find(|(known, _, _)| known == name)
    }

    pub(super) fn insert(&mut self, name: &Name, tail: Option<Tail>) {
        let pace = self.pace(name);
        self.keep(name, tail, pace);
    }

    pub(super) fn set_pace(&mut self, name: &Name, pace: Pace) {
        let tail = self.get(name).cloned();
        self.keep(name, tail, pace);
    }

    fn keep(&mut self, name: &Name, tail: Option<Tail>, pace: Pace) {
        self.tails.retain(|(known, _, _)| known != name);
        if self.tails.len() == TAILS_MAX {
            self.tails.remove(0);
        }
        self.tails.push((name.clone(), tail, pace));
    }
}
