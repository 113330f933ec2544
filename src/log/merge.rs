//! Merging old segments into packs, so that reading a long history takes few
//! requests.
//!
//! A merge has a plan in the state: which slots become the next pack. Whoever
//! carries it out makes the same pack, so any number of them do, and they can stop
//! anywhere. `docs/PROTOCOLS.md` has the argument for each step.

use super::pack::{self, PACK_BYTES_MAX, PACK_SEGMENTS_MAX, PackKey};
use super::read::{Fetched, Slotted};
use super::search::RESTARTS_MAX;
use super::tail::Tail;
use super::trim::{Change, Edit, Keep};
use super::{Log, Logs};
use crate::bucket::{
    BATCH_OBJECTS_MAX, Bucket, Deletion, PAGE_OBJECTS_MAX, Precondition, PutOutcome, Read, Write,
};
use crate::codec::Header;
use crate::collection::{Act, Report};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::list::list;
use crate::slots::{StateReply, at_key, refused};
use maybe_async::maybe_async;

/// One call finishes at most this many packs.
const PACKS_MAX: u32 = 16;

/// How often one call starts on a plan, or makes one, in all. More than it needs
/// unless others change the log meanwhile.
const ROUNDS_MAX: u32 = 4 * PACKS_MAX;

/// A run of segments, and the offers to them, are on at most this many pages of a
/// listing.
const RUN_PAGES_MAX: u32 = 132;

/// How often one pack is sent in all.
const SENDS_MAX: u32 = 5;

/// What to merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeOptions {
    /// Records whose segments stay as they are, at least.
    pub spare: Keep,
    /// A rest of fewer segments than this stays as it is as well, 1 to
    /// [`PACK_SEGMENTS_MAX`].
    pub at_least: u32,
}

/// What a merge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeReport {
    /// The first record that is not in a pack.
    pub merged_until: u64,
    /// How many packs this call finished.
    pub packs: u32,
    /// How many segments are in them.
    pub segments: u64,
    /// How many objects this call deleted.
    pub deleted: u64,
    /// Whether there is more to merge or to delete.
    pub more: bool,
}

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Logs<B, E> {
    /// Merges segments into packs, at most 16 in one call.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes. Some packs may have been finished.
    pub async fn merge(&self, name: &str, options: &MergeOptions) -> Result<MergeReport, Error> {
        let log = Log::new(self, name)?;
        if !(1..=PACK_SEGMENTS_MAX).contains(&options.at_least) {
            return Err(Error::InvalidArgument(format!(
                "at-least is from 1 to {PACK_SEGMENTS_MAX}, not {}",
                options.at_least
            )));
        }
        let (state, mut report) = log.merge(options).await?;
        let mut swept = Report::new();
        log.chain
            .delete_below(log.store(), Act::Sweep, state.state(), None, &mut swept)
            .await?;
        report.deleted = swept.objects();
        report.more |= swept.more;
        Ok(report)
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Log<'_, B, E> {
    async fn merge(&self, options: &MergeOptions) -> Result<(StateReply, MergeReport), Error> {
        let tail = self.fresh_tail().await?;
        let (mut state, limit) = self.find_limit(&tail, options.spare).await?;
        let mut report = MergeReport {
            merged_until: 0,
            packs: 0,
            segments: 0,
            deleted: 0,
            more: false,
        };
        for _ in 0..ROUNDS_MAX {
            let from = state.first_kept();
            let plan = match state.state().plan() {
                Some(end) => Some(end),
                None => self.next_run(from, limit, options.at_least).await?,
            };
            report.more = plan.is_some();
            let Some(end) = plan.filter(|_| report.packs < PACKS_MAX) else {
                break;
            };
            let edit = match state.state().plan() {
                None => Edit::Plan { from, end },
                Some(_) => {
                    let Some(segments) = self.collect(from, end).await? else {
                        state = self.chain.state(self.store()).await?;
                        continue;
                    };
                    // A slot that counts now was never deleted, so what was read in it
                    // before is what was acknowledged. Without this look, somebody who
                    // slept might pack what others put into deleted slots.
                    let now = self.chain.state(self.store()).await?;
                    let still = now.first_kept() == from && now.state().plan() == Some(end);
                    if !still && !off(Guard::PlanSeenAgain) {
                        state = now;
                        continue;
                    }
                    let pack = self.put_pack(&segments).await?;
                    report.packs += 1;
                    report.segments += end.0.saturating_sub(from.0);
                    let next = if report.packs < PACKS_MAX {
                        self.next_run(end, limit, options.at_least).await?
                    } else {
                        None
                    };
                    Edit::Merged {
                        from,
                        end,
                        end_offset: pack.end,
                        next,
                    }
                }
            };
            state = match self.change_state(&edit).await? {
                Change::None(reply, _) | Change::Made(reply, _) => reply,
                Change::Unknown(why) => return Err(Error::Unavailable(why)),
            };
        }
        report.merged_until = state.state().packs_end();
        Ok((state, report))
    }

    async fn find_limit(&self, tail: &Tail, spare: Keep) -> Result<(StateReply, Slot), Error> {
        for _ in 0..RESTARTS_MAX {
            let state = self.chain.state(self.store()).await?;
            match self.merge_limit(tail, &state, spare).await {
                Ok(limit) => return Ok((state, limit)),
                Err(error) => self.unless_moved(&state, error).await?,
            }
        }
        Err(self.too_fast())
    }

    /// The end of the run of segments from `from` on that become one pack, or `None`
    /// if they are too few. One listing.
    async fn next_run(
        &self,
        from: Slot,
        limit: Slot,
        at_least: u32,
    ) -> Result<Option<Slot>, Error> {
        let end = Slot(from.0.saturating_add(PACK_SEGMENTS_MAX.into())).min(limit);
        if end <= from {
            return Ok(None);
        }
        // Keys sort the newest first.
        let mut sizes: Vec<(Slot, u64)> = Vec::new();
        let mut after = self.chain.keys.slot(end);
        for _ in 0..RUN_PAGES_MAX {
            let page = self
                .store()
                .list(
                    &self.chain.keys.slots_prefix(),
                    Some(&after),
                    PAGE_OBJECTS_MAX,
                )
                .await?;
            for object in &page.objects {
                if let Some(slot) = self.slot_named(&object.key) {
                    sizes.push((slot, object.size_bytes));
                }
            }
            // The slots of a run alone fit into one page; offers come in between.
            match page.objects.last() {
                Some(last) if page.more && sizes.last().is_some_and(|(slot, _)| *slot > from) => {
                    after.clone_from(&last.key);
                }
                _ => break,
            }
        }
        sizes.retain(|(slot, _)| (from..end).contains(slot));
        sizes.reverse();
        let mut bytes = 0_u64;
        let too_many = sizes.iter().find_map(|(slot, size)| {
            bytes = bytes.saturating_add(*size);
            (bytes > PACK_BYTES_MAX && *slot > from).then_some(*slot)
        });
        let run = too_many.unwrap_or(end);
        let is_full = too_many.is_some() || end < limit;
        let segments = run.0.saturating_sub(from.0);
        Ok((is_full || segments >= at_least.into()).then_some(run))
    }

    /// The segments in these slots, checked, or `None` if one of them has been
    /// merged or trimmed meanwhile.
    async fn collect(&self, from: Slot, end: Slot) -> Result<Option<Vec<Fetched>>, Error> {
        let slots = list((from.0..end.0).map(Slot));
        let mut segments: Vec<Fetched> = Vec::with_capacity(slots.len());
        for some in slots.chunks(BATCH_OBJECTS_MAX) {
            let read = |slot: &Slot| Read::all(self.chain.keys.slot(*slot));
            let reads = list(some.iter().map(read));
            let replies = self.store().get_many(reads).await;
            for (slot, reply) in some.iter().zip(replies) {
                let fetched = match self.slotted(*slot, reply)? {
                    Slotted::Segment(fetched) => self.joined(*slot, *fetched).await?,
                    Slotted::Absent(_) => None,
                };
                let Some(fetched) = fetched else {
                    let state = self.chain.state(self.store()).await?;
                    return if state.first_kept() > *slot {
                        Ok(None)
                    } else {
                        Err(self.missing(*slot).await)
                    };
                };
                if let Some(before) = segments.last()
                    && !fetched.segment.follows(&before.segment)
                {
                    let state = self.chain.state(self.store()).await?;
                    return if state.first_kept() > *slot {
                        Ok(None)
                    } else {
                        Err(Error::Corrupt(format!(
                            "{}: it does not follow on the segment before it",
                            self.chain.keys.slot(*slot)
                        )))
                    };
                }
                segments.push(fetched);
            }
        }
        Ok(Some(segments))
    }

    /// Makes sure that there is a pack with these segments.
    async fn put_pack(&self, segments: &[Fetched]) -> Result<PackKey, Error> {
        let (pack, header, body) = pack::encode(segments)
            .map_err(|error| refused(&PackKey::prefix(self.name()), error))?;
        let write = Write {
            key: pack.key(self.name()),
            body,
            precondition: Precondition::Absent,
        };
        let mut refusal = None;
        for round in 0..SENDS_MAX {
            if round > 0 {
                self.store().count(|receipt| receipt.retries += 1);
                self.store().back_off(round, refusal.as_ref()).await;
            }
            match self.store().put(&write).await {
                Ok(PutOutcome::Written { .. }) => return Ok(pack),
                Ok(PutOutcome::Indeterminate(_)) if off(Guard::PackStored) => return Ok(pack),
                Ok(PutOutcome::PreconditionFailed | PutOutcome::Indeterminate(_)) => {}
                Err(error) if error.is_transient() => {
                    refusal = Some(error);
                    continue;
                }
                Err(error) => return Err(at_key(&write.key, error)),
            }
            match self.pack_header(pack).await? {
                Some(found) if holds_the_same(&found, &header) || off(Guard::PackCompared) => {
                    return Ok(pack);
                }
                Some(_) => {
                    return Err(Error::Corrupt(format!(
                        "{}: it holds other segments than the log does",
                        write.key
                    )));
                }
                None => {}
            }
        }
        Err(match refusal {
            Some(error) => at_key(&write.key, error),
            None => Error::Unavailable(format!("{}: the store does not keep the pack", write.key)),
        })
    }
}

/// Whether two packs hold the same segments. Times are not compared: providers tell
/// those of one object in seconds or in milliseconds.
fn holds_the_same(a: &Header, b: &Header) -> bool {
    let untimed = |header: &Header| Header {
        sections: Vec::new(),
        ..header.clone()
    };
    untimed(a) == untimed(b)
}
