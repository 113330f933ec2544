//! Finding a segment by offset or time, through the back-pointers.

use super::pointers::{self, Pointer};
use super::tail::Tail;
use super::{Cursor, Log, Logs};
use crate::bucket::{Bucket, StoreTime};
use crate::env::Env;
use crate::error::Error;
use crate::keys::Slot;
use crate::slots::{Link, StateReply, refused};
use maybe_async::maybe_async;

/// More steps than any search needs while the pointers have offsets or times.
const SEARCH_STEPS_MAX: u32 = 128;

/// Where a record is, as far as headers tell.
pub(super) enum Located {
    /// In this segment, whose slot was not trimmed at the time that the cursor
    /// gives.
    Segment(Cursor),
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
        let state = self.chain.state(self.store()).await?;
        let kept = state.state();
        let found = |slot| Cursor {
            offset,
            slot: Some(slot),
            absent_until: present_at(&tail, &state),
        };
        if offset < kept.first_kept_offset {
            return Ok(Located::Trimmed(first_kept(&tail, &state)));
        }
        if offset == kept.first_kept_offset {
            return Ok(Located::Segment(found(kept.first_kept)));
        }
        let at_or_before = |pointer: &Pointer| Some(pointer.base_offset <= offset);
        let slot = self
            .last_where(&tail, kept.first_kept, &at_or_before)
            .await?
            .unwrap_or(kept.first_kept);
        Ok(Located::Segment(found(slot)))
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
        let state = self.chain.state(self.store()).await?;
        let floor = state.first_kept();
        let before = |pointer: &Pointer| pointer.modified_at.map(|at| at < time);
        let Some(slot) = self.last_where(&tail, floor, &before).await? else {
            return Ok(first_kept(&tail, &state));
        };
        if slot == newest.slot {
            return Ok(tail.cursor());
        }
        let link = self.kept_link(slot).await?;
        Ok(Cursor {
            offset: link
                .header
                .base_offset
                .saturating_add(link.header.record_count.into()),
            slot: slot.next(),
            absent_until: present_at(&tail, &state),
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

    /// What to say of a segment that should be there and is not.
    pub(super) async fn missing(&self, slot: Slot) -> Error {
        let key = self.chain.keys.slot(slot);
        match self.chain.state(self.store()).await {
            Ok(state) if state.first_kept() > slot => {
                Error::Unavailable(format!("{key}: the segment was trimmed during this call"))
            }
            Ok(_) => Error::Corrupt(format!("{key}: the segment is missing")),
            Err(error) => error,
        }
    }
}

/// The first record that is kept, according to `state`.
pub(super) fn first_kept(tail: &Tail, state: &StateReply) -> Cursor {
    Cursor {
        offset: state.state().first_kept_offset,
        slot: Some(state.first_kept()),
        absent_until: present_at(tail, state),
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
