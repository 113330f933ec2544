//! Finding a segment by offset or time, through the back-pointers.

use super::packs;
use super::pointers::{self, Pointer};
use super::tail::Tail;
use super::{Cursor, Log, Logs};
use crate::bucket::{Bucket, StoreTime};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::slots::{Link, StateReply, refused};
use maybe_async::maybe_async;

/// More steps than any search needs while the pointers have offsets or times.
const SEARCH_STEPS_MAX: u32 = 128;

/// How often a search starts over because slots were trimmed or merged meanwhile.
pub(super) const RESTARTS_MAX: u32 = 3;

/// Where a record is, as far as headers tell.
pub(super) enum Located {
    /// In this segment, whose slot was not trimmed at the time that the cursor
    /// gives.
    Segment(Cursor),
    /// In a pack, according to this state.
    Merged(StateReply),
    /// It is not there yet.
    Beyond(Cursor),
    /// It was trimmed. The first one kept.
    Trimmed(Cursor),
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Logs<B, E> {
    /// The first record whose batch the store accepted at `time` or later, or the
    /// tail.
    ///
    /// A logarithmic number of requests.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; [`Error::Unsupported`] where the store tells no
    /// times.
    pub async fn locate(&self, name: &str, time: StoreTime) -> Result<Cursor, Error> {
        Log::new(self, name)?.locate_time(time).await
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Log<'_, B, E> {
    /// Finds the segment that holds the record at `offset`.
    pub(super) async fn locate_offset(&self, offset: u64) -> Result<Located, Error> {
        let mut tail = match self.remembered_tail() {
            Some(tail) => tail,
            None => self.discover().await?,
        };
        if offset >= tail.next_offset {
            tail = self.fresh_tail().await?;
        }
        if offset >= tail.next_offset {
            return Ok(Located::Beyond(if offset == tail.next_offset {
                tail.cursor()
            } else {
                Cursor::at(offset)
            }));
        }
        for _ in 0..RESTARTS_MAX {
            let state = self.chain.state(self.store()).await?;
            match self.locate_kept(offset, &tail, state.clone()).await {
                Ok(located) => return Ok(located),
                Err(error) => self.unless_moved(&state, error).await?,
            }
        }
        Err(self.too_fast())
    }

    async fn locate_kept(
        &self,
        offset: u64,
        tail: &Tail,
        state: StateReply,
    ) -> Result<Located, Error> {
        let kept = state.state();
        if offset < kept.first_kept_offset {
            return Ok(Located::Trimmed(first_kept(tail, &state)));
        }
        if offset < kept.packs_end() {
            return Ok(Located::Merged(state));
        }
        let mut slot = None;
        if offset > kept.packs_end() {
            let at_or_before = |pointer: &Pointer| Some(pointer.base_offset <= offset);
            slot = self
                .last_where(tail, kept.first_kept, &at_or_before)
                .await?;
        }
        Ok(Located::Segment(Cursor {
            offset,
            slot: slot.or(Some(kept.first_kept)),
            absent_until: present_at(tail, &state),
        }))
    }

    async fn locate_time(&self, time: StoreTime) -> Result<Cursor, Error> {
        let tail = self.fresh_tail().await?;
        let Some((newest, _)) = tail.pointers() else {
            return Ok(tail.cursor());
        };
        if newest.modified_at.is_none() {
            return Err(Error::Unsupported(format!(
                "{}: the store tells no times",
                self.chain.keys.slot(newest.slot)
            )));
        }
        for _ in 0..RESTARTS_MAX {
            let state = self.chain.state(self.store()).await?;
            match self.locate_time_in(time, &tail, &state).await {
                Ok(cursor) => return Ok(cursor),
                Err(error) => self.unless_moved(&state, error).await?,
            }
        }
        Err(self.too_fast())
    }

    async fn locate_time_in(
        &self,
        time: StoreTime,
        tail: &Tail,
        state: &StateReply,
    ) -> Result<Cursor, Error> {
        let is_before = |at: StoreTime| at < time;
        let before = |pointer: &Pointer| pointer.modified_at.map(is_before);
        let Some(slot) = self.last_where(tail, state.first_kept(), &before).await? else {
            let packed = self.last_packed_where(state, &is_before).await?;
            return Ok(match packed {
                Some(place) => Cursor::at(place.end_offset),
                None => first_kept(tail, state),
            });
        };
        if Some(slot.0) == tail.next_slot()?.0.checked_sub(1) {
            return Ok(tail.cursor());
        }
        let header = self.kept_link(slot).await?.header;
        Ok(Cursor {
            offset: header
                .base_offset
                .saturating_add(header.record_count.into()),
            slot: slot.next(),
            absent_until: present_at(tail, state),
        })
    }

    /// The last slot from `floor` on for which `before` holds, given that it holds
    /// for every slot before one for which it holds; or `None` if there is none.
    /// `before` answers `None` where a pointer does not tell.
    pub(super) async fn last_where(
        &self,
        tail: &Tail,
        floor: Slot,
        before: &dyn Fn(&Pointer) -> Option<bool>,
    ) -> Result<Option<Slot>, Error> {
        let Some((mut node, earlier)) = tail.pointers() else {
            return Ok(None);
        };
        let mut earlier = earlier.to_vec();
        for _ in 0..SEARCH_STEPS_MAX {
            if before(&node) == Some(true) {
                return Ok(Some(node.slot));
            }
            let mut lower = None;
            let mut upper = node.slot;
            for pointer in earlier.iter().take_while(|pointer| pointer.slot >= floor) {
                match before(pointer) {
                    Some(false) => upper = pointer.slot,
                    Some(true) => {
                        lower = Some(pointer.slot);
                        break;
                    }
                    None => {}
                }
            }
            // What is sought lies from `lower` to just before `upper`.
            let Some(probe) = upper
                .0
                .checked_sub(1)
                .map(Slot)
                .filter(|probe| *probe >= floor)
            else {
                return Ok(None);
            };
            if lower == Some(probe) {
                return Ok(Some(probe));
            }
            let link = self.kept_link(probe).await?;
            node = Pointer {
                slot: probe,
                base_offset: link.header.base_offset,
                modified_at: link.modified_at,
            };
            earlier = pointers::decode(&link.header)
                .map_err(|error| refused(&self.chain.keys.slot(probe), error))?;
        }
        Err(Error::Unsupported(format!(
            "{}: too few of the segments have times",
            self.chain.keys.slots_prefix()
        )))
    }

    /// The header in a slot that was not trimmed a moment ago.
    pub(super) async fn kept_link(&self, slot: Slot) -> Result<Link, Error> {
        match self.chain.link(self.store(), slot).await?.object {
            Some(link) => Ok(link),
            None => Err(self.missing(slot).await),
        }
    }

    /// Passes an error on, unless slots have been trimmed or merged since `state`
    /// was read, so that it may come from looking for what is no longer there.
    pub(super) async fn unless_moved(&self, state: &StateReply, error: Error) -> Result<(), Error> {
        if matches!(error, Error::Unavailable(_)) {
            let now = self.chain.state(self.store()).await?;
            let watermarks =
                |reply: &StateReply| (reply.first_kept(), reply.state().first_kept_offset);
            if watermarks(&now) != watermarks(state) && !off(Guard::MovedIsNoError) {
                return Ok(());
            }
        }
        Err(error)
    }

    /// What to say where others trimmed or merged again and again.
    pub(super) fn too_fast(&self) -> Error {
        Error::Unavailable(format!(
            "{}: the log changes faster than it can be read",
            self.chain.keys.slots_prefix()
        ))
    }

    /// What to say of a segment that should be there and is not.
    pub(super) async fn missing(&self, slot: Slot) -> Error {
        let key = self.chain.keys.slot(slot);
        match self.chain.state(self.store()).await {
            Ok(state) if state.first_kept() > slot => Error::Unavailable(format!(
                "{key}: the segment was trimmed or merged during this call"
            )),
            Ok(_) => Error::Corrupt(format!("{key}: the segment is missing")),
            Err(error) => error,
        }
    }
}

/// The first record that is kept, according to `state`.
pub(super) fn first_kept(tail: &Tail, state: &StateReply) -> Cursor {
    let kept = packs::first_kept(state);
    Cursor {
        absent_until: kept.slot.and_then(|_| present_at(tail, state)),
        ..kept
    }
}

/// A slot that `state` shows as kept was not trimmed when the store answered, so
/// what was in it earlier than that, clocks considered, was not put there after a
/// trim.
pub(super) fn present_at(tail: &Tail, state: &StateReply) -> Option<StoreTime> {
    state.observed_at.map(|time| StoreTime {
        unix_ms: time.unix_ms.saturating_sub(tail.grace.margin_ms.into()),
    })
}
