//! Trimming, and the pins that hold it back.

use super::offers::Offer;
use super::pack::{self, PackKey, Place};
use super::pointers::Pointer;
use super::search::{self, Located};
use super::tail::Tail;
use super::{Cursor, Log, Logs, packs};
use crate::bucket::{Bucket, Deletion, Metadata, PAGE_OBJECTS_MAX, Page, StoreTime};
use crate::collection::{Act, Listing, Reason, Report, Verdict};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::slots::retain::{
    Pinned, PinnedPlace, SWAP_ATTEMPTS_MAX, check_reader, check_ttl, ended_pins, oldest_pin,
    too_many_changes, valid_pins,
};
use crate::slots::{ChainState, Merged, Pin, StateReply, Swapped, refused};
use maybe_async::maybe_async;

/// A search for a byte bound looks at this many pages of segments.
const BYTES_PAGES_MAX: u32 = 1_000;

/// Which records to keep, at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those from this offset on.
    Start(u64),
    /// This many, the newest.
    Records(u64),
    /// Those in the newest segments that have together at most this many bytes.
    Bytes(u64),
    /// Those that the store accepted less than so many milliseconds ago.
    AgeMs(u64),
}

/// What kept a trim from going as far as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrimLimit {
    /// Nothing did.
    None,
    /// The next segment is younger than the grace period.
    Grace,
    /// The newest segment always stays.
    Newest,
    /// The pin of this reader.
    Pin(String),
}

/// What a trim did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrimReport {
    /// The first record that is kept now.
    pub first_kept: Cursor,
    /// How many objects this call deleted.
    pub deleted: u64,
    /// Whether objects below the first kept record are left.
    pub more: bool,
    /// What kept it from going further.
    pub limited_by: TrimLimit,
}

/// How setting a pin ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinOutcome {
    /// Every record from the pinned one on stays until this time.
    Pinned(StoreTime),
    /// The record was trimmed. The first one kept.
    Trimmed(Cursor),
    /// Nobody can tell yet.
    Indeterminate(String),
}

/// The start of a segment.
#[derive(Clone, Copy)]
struct Start {
    slot: Slot,
    /// Its base offset, where that is known; always if it is merged.
    offset: Option<u64>,
}

impl Start {
    fn of(slot: Slot) -> Start {
        Start { slot, offset: None }
    }

    fn of_merged(place: &Place) -> Start {
        Start {
            slot: place.slot,
            offset: Some(place.base_offset),
        }
    }

    /// The start of what is kept now.
    fn kept(reply: &StateReply) -> Start {
        Start {
            slot: reply.state().kept_slot(),
            offset: Some(reply.state().first_kept_offset),
        }
    }

    /// The start of the first segment that is not merged.
    fn unmerged(reply: &StateReply) -> Start {
        Start {
            slot: reply.first_kept(),
            offset: Some(reply.state().packs_end()),
        }
    }
}

/// How far a trim may go.
pub(super) struct Cut {
    /// The first segment to keep.
    start: Start,
    limited_by: TrimLimit,
    /// A listing of what lies below, if it was needed to find out.
    below: Option<Page>,
}

impl Cut {
    fn new(start: Start, limited_by: TrimLimit) -> Cut {
        Cut {
            start,
            limited_by,
            below: None,
        }
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Logs<B, E> {
    /// Trims a log.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes. The watermark may have been raised.
    pub async fn trim(&self, name: &str, keep: Keep) -> Result<TrimReport, Error> {
        let (first_kept, report) = self.cut_back(name, keep, Act::Sweep).await?;
        Ok(TrimReport {
            first_kept,
            deleted: report.objects(),
            more: report.more,
            limited_by: report.limited_by,
        })
    }

    /// Trims a log, drops the pins that have ended, and deletes whatever holds nothing
    /// that is kept; or tells what there is to do.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes. Any part may have been done; the next call goes on.
    pub async fn collect(&self, name: &str, keep: Keep, act: Act) -> Result<Report, Error> {
        Ok(self.cut_back(name, keep, act).await?.1)
    }

    async fn cut_back(&self, name: &str, keep: Keep, act: Act) -> Result<(Cursor, Report), Error> {
        let log = Log::new(self, name)?;
        let tail = log.fresh_tail().await?;
        let mut report = Report::new();
        let edit = Edit::Raise {
            tail: &tail,
            keep,
            act,
        };
        let (reply, edited) = match log.change_state(&edit).await? {
            Change::None(reply, edited) | Change::Made(reply, edited) => (reply, edited),
            Change::Unknown(why) => return Err(Error::Unavailable(why)),
        };
        let first_kept = search::first_kept(&tail, &reply);
        report.first_kept = first_kept.offset;
        report.limited_by = edited.cut.limited_by;
        report.ended_pins = edited.ended_pins;
        let (state, below) = (reply.state(), edited.cut.below);
        log.chain
            .delete_below(log.store(), act, state, below, &mut report)
            .await?;
        if state.merged.is_some() {
            log.delete_packs(state.first_kept_offset, act, &mut report)
                .await?;
        }
        Ok((first_kept, report))
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Logs<B, E> {
    /// Pins a reader's place, or moves and extends its pin.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; nothing is pinned then.
    pub async fn pin(
        &self,
        name: &str,
        reader: &str,
        at: Cursor,
        ttl_ms: u32,
    ) -> Result<PinOutcome, Error> {
        let log = Log::new(self, name)?;
        check_reader(reader)?;
        check_ttl(ttl_ms)?;
        log.pin(reader, at, ttl_ms).await
    }

    /// Removes a reader's pin, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn unpin(&self, name: &str, reader: &str) -> Result<(), Error> {
        let log = Log::new(self, name)?;
        check_reader(reader)?;
        match log.chain.set_pin(log.store(), reader, None, 0).await? {
            Pinned::Unknown(why) => Err(Error::Unavailable(why)),
            _ => Ok(()),
        }
    }

    /// The pins of a log.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn pins(&self, name: &str) -> Result<Vec<Pin>, Error> {
        let log = Log::new(self, name)?;
        let reply = log.chain.state(log.store()).await?;
        Ok(reply.state().pins.clone())
    }
}

/// A change of the state.
pub(super) enum Edit<'a> {
    /// Trim as far as this allows.
    Raise {
        tail: &'a Tail,
        keep: Keep,
        act: Act,
    },
    /// Plan to merge the slots from `from` up to `end`, unless there is a plan.
    Plan { from: Slot, end: Slot },
    /// What was planned is done: records up to `end_offset` are in packs. Plan to
    /// merge up to `next`.
    Merged {
        from: Slot,
        end: Slot,
        end_offset: u64,
        next: Option<Slot>,
    },
}

/// What a change comes to, behind the state in force.
pub(super) struct Edited {
    /// The new state, or `None` to leave the old one.
    state: Option<ChainState>,
    /// How far a trim went.
    cut: Cut,
    /// Whose pins it dropped.
    ended_pins: Vec<String>,
}

impl Edited {
    fn to(state: Option<ChainState>) -> Edited {
        Edited {
            state,
            cut: Cut::new(Start::of(Slot::FIRST), TrimLimit::None),
            ended_pins: Vec::new(),
        }
    }
}

/// How a change of the state ended. The reply holds the state that is in force.
pub(super) enum Change {
    None(StateReply, Edited),
    Made(StateReply, Edited),
    Unknown(String),
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Log<'_, B, E> {
    /// Makes a change to the state, again until nobody else comes between.
    pub(super) async fn change_state(&self, edit: &Edit<'_>) -> Result<Change, Error> {
        for round in 0..SWAP_ATTEMPTS_MAX {
            if round > 0 {
                self.store().back_off(round, None).await;
            }
            let reply = self.chain.state(self.store()).await?;
            let mut edited = match edit {
                Edit::Raise { tail, keep, .. } => match self.raised(tail, *keep, &reply).await {
                    Ok(edited) => edited,
                    Err(error) => {
                        self.unless_moved(&reply, error).await?;
                        continue;
                    }
                },
                Edit::Plan { from, end } => planned(&reply, *from, *end),
                Edit::Merged {
                    from,
                    end,
                    end_offset,
                    next,
                } => merged(&reply, (*from, *end), *end_offset, *next),
            };
            let Some(state) = edited.state.take() else {
                return Ok(Change::None(reply, edited));
            };
            if let Edit::Raise { act: Act::Plan, .. } = edit {
                return Ok(Change::None(reply.supposing(state), edited));
            }
            match self.chain.swap_state(self.store(), &reply, state).await? {
                Swapped::Done(reply) => return Ok(Change::Made(reply, edited)),
                Swapped::Lost => {}
                Swapped::Unknown(why) => return Ok(Change::Unknown(why)),
            }
        }
        Err(too_many_changes(&self.chain))
    }

    /// Raises the watermark as far as `keep` and the guards allow, and drops pins that
    /// have ended.
    async fn raised(&self, tail: &Tail, keep: Keep, reply: &StateReply) -> Result<Edited, Error> {
        let cut = self.cut(tail, reply, keep).await?;
        let ended_pins = ended_pins(reply);
        let state = if cut.start.slot > reply.state().kept_slot() {
            Some(self.cut_off(tail, reply, cut.start).await?)
        } else if ended_pins.is_empty() {
            None
        } else {
            Some(ChainState {
                pins: valid_pins(reply),
                ..reply.state().clone()
            })
        };
        Ok(Edited {
            state,
            cut,
            ended_pins,
        })
    }

    /// The state after everything before `start` has been trimmed.
    async fn cut_off(
        &self,
        tail: &Tail,
        reply: &StateReply,
        start: Start,
    ) -> Result<ChainState, Error> {
        let before = reply.state();
        let offset = match start.offset {
            Some(offset) => offset,
            None => self.base_offset(tail, start.slot).await?,
        };
        let first_kept = match off(Guard::WatermarkNeverSinks) {
            true => start.slot,
            false => before.first_kept.max(start.slot),
        };
        let merged = before.merged.map(|merged| Merged {
            first_slot: start.slot,
            end_offset: merged.end_offset.max(offset),
            // What is left of a run that is cut into is another run.
            plan: merged
                .plan
                .filter(|_| first_kept == before.first_kept || off(Guard::PlanCutOff)),
        });
        Ok(ChainState {
            first_kept,
            first_kept_offset: offset,
            pins: valid_pins(reply),
            merged,
        })
    }

    /// The offset of the first record in a slot that is not trimmed.
    async fn base_offset(&self, tail: &Tail, slot: Slot) -> Result<u64, Error> {
        let known = tail.pointers().and_then(|(newest, earlier)| {
            core::iter::once(&newest)
                .chain(earlier)
                .find(|pointer| pointer.slot == slot)
                .map(|pointer| pointer.base_offset)
        });
        match known {
            Some(base_offset) => Ok(base_offset),
            None => Ok(self.kept_link(slot).await?.header.base_offset),
        }
    }

    /// Decides how far a trim may go.
    async fn cut(&self, tail: &Tail, reply: &StateReply, keep: Keep) -> Result<Cut, Error> {
        let kept = Start::kept(reply);
        let Some((newest, _)) = tail.pointers() else {
            return Ok(Cut::new(kept, TrimLimit::None));
        };
        let asked = self.first_to_keep(tail, reply, keep).await?;
        let mut cut = Cut::new(asked, TrimLimit::None);
        // Without the newest segment, nobody could find the tail, the epoch or the
        // producers.
        if cut.start.slot > newest.slot && !off(Guard::NewestKept) {
            cut = Cut::new(Start::of(newest.slot), TrimLimit::Newest);
        }
        if let Some(pin) = oldest_pin(reply)
            && cut.start.slot > pin.slot
            && !off(Guard::PinsHold)
        {
            let start = if pin.slot >= reply.first_kept() || off(Guard::PinInPacks) {
                Start::of(pin.slot)
            } else {
                self.packed_start(reply, pin.offset).await?
            };
            cut = Cut::new(start, TrimLimit::Pin(pin.reader));
        }
        self.spare_the_young(tail, reply, cut).await
    }

    /// The first slot that a merge must leave as it is.
    pub(super) async fn merge_limit(
        &self,
        tail: &Tail,
        reply: &StateReply,
        spare: Keep,
    ) -> Result<Slot, Error> {
        let Some((newest, _)) = tail.pointers() else {
            return Ok(Slot::FIRST);
        };
        let asked = self.first_to_keep(tail, reply, spare).await?;
        let start = match off(Guard::MergeSparesNewest) {
            true => Start::of(asked.slot),
            false => Start::of(asked.slot.min(newest.slot)),
        };
        let cut = Cut::new(start, TrimLimit::None);
        Ok(self.spare_the_young(tail, reply, cut).await?.start.slot)
    }

    /// The start of the segment that holds a record below the first slot that counts,
    /// but not below the first record that is kept.
    async fn packed_start(&self, reply: &StateReply, offset: u64) -> Result<Start, Error> {
        let kept = reply.state();
        if offset <= kept.first_kept_offset {
            Ok(Start::kept(reply))
        } else if offset >= kept.packs_end() {
            Ok(Start::unmerged(reply))
        } else {
            Ok(Start::of_merged(&self.packed_at(offset).await?))
        }
    }

    /// Takes a cut back to where everything below is older than the grace period.
    ///
    /// Nothing younger is trimmed: from that rule and the store's own times,
    /// writers and readers conclude what can and cannot have happened while they
    /// were not looking.
    async fn spare_the_young(
        &self,
        tail: &Tail,
        reply: &StateReply,
        cut: Cut,
    ) -> Result<Cut, Error> {
        let floor = reply.first_kept();
        // What is merged was old enough when it was.
        if cut.start.slot <= floor || tail.grace.period_ms == 0 {
            return Ok(cut);
        }
        let grace_ms = u64::from(tail.grace.period_ms);
        let now = reply.observed_at.ok_or_else(|| {
            Error::Unsupported(format!(
                "{}: trimming needs the store's time, which it does not tell; on such a store,                  create logs with grace-ms 0",
                self.chain.keys.state()
            ))
        })?;
        let old_enough = |modified_at: Option<StoreTime>| {
            modified_at
                .map(|modified_at| off(Guard::YoungSpared) || now.since_ms(modified_at) >= grace_ms)
        };
        // The listing is needed for the deletion anyway, newest first.
        let below = self
            .store()
            .list(
                &self.chain.keys.slots_prefix(),
                Some(&self.chain.keys.slot(cut.start.slot)),
                PAGE_OBJECTS_MAX,
            )
            .await?;
        let listed_old = below
            .objects
            .iter()
            .filter(|object| old_enough(object.modified_at) == Some(true))
            .find_map(|object| self.chain.keys.parse_slot(&object.key));
        let last_old = match listed_old {
            None if below.more => {
                self.last_where(tail, floor, &|pointer| old_enough(pointer.modified_at))
                    .await?
            }
            listed => listed,
        };
        let first_young = last_old.and_then(Slot::next).unwrap_or(floor).max(floor);
        if cut.start.slot > first_young {
            let start = if first_young == floor {
                Start::unmerged(reply)
            } else {
                Start::of(first_young)
            };
            return Ok(Cut::new(start, TrimLimit::Grace));
        }
        Ok(Cut {
            below: Some(below),
            ..cut
        })
    }

    /// The first segment that `keep` asks to keep.
    async fn first_to_keep(
        &self,
        tail: &Tail,
        reply: &StateReply,
        keep: Keep,
    ) -> Result<Start, Error> {
        match keep {
            Keep::Start(offset) => self.start_of(tail, reply, offset).await,
            Keep::Records(records) => {
                let offset = tail.next_offset.saturating_sub(records);
                self.start_of(tail, reply, offset).await
            }
            Keep::AgeMs(age_ms) => {
                let now = reply.observed_at.ok_or_else(|| {
                    Error::Unsupported(format!(
                        "{}: trimming by age needs the store's time, which it does not tell",
                        self.chain.keys.state()
                    ))
                })?;
                let is_old = |modified_at: StoreTime| now.since_ms(modified_at) >= age_ms;
                let older = |pointer: &Pointer| pointer.modified_at.map(is_old);
                let last = self.last_where(tail, reply.first_kept(), &older).await?;
                if let Some(next) = last.and_then(Slot::next) {
                    return Ok(Start::of(next));
                }
                match self.last_packed_where(reply, &is_old).await? {
                    None => Ok(Start::kept(reply)),
                    Some(place) => self.packed_start(reply, place.end_offset).await,
                }
            }
            Keep::Bytes(bytes) => self.start_of_bytes(reply, bytes).await,
        }
    }

    async fn start_of(&self, tail: &Tail, reply: &StateReply, offset: u64) -> Result<Start, Error> {
        if offset >= tail.next_offset {
            return tail.next_slot().map(Start::of);
        }
        if offset <= reply.state().packs_end() {
            return self.packed_start(reply, offset).await;
        }
        let at_or_before = |pointer: &Pointer| Some(pointer.base_offset <= offset);
        let floor = reply.first_kept();
        let slot = self.last_where(tail, floor, &at_or_before).await?;
        Ok(Start::of(slot.unwrap_or(floor)))
    }

    /// The oldest of the newest segments that together have at most `bytes`. An offer
    /// counts with the segment that it is based on.
    async fn start_of_bytes(&self, reply: &StateReply, bytes: u64) -> Result<Start, Error> {
        let floor = reply.first_kept();
        let prefix = self.chain.keys.slots_prefix();
        let mut left = bytes;
        let mut after = None;
        'pages: for _ in 0..BYTES_PAGES_MAX {
            let page = self
                .store()
                .list(&prefix, after.as_deref(), PAGE_OBJECTS_MAX)
                .await?;
            for object in &page.objects {
                let Some(slot) = self.slot_named(&object.key) else {
                    continue;
                };
                if slot < floor {
                    break 'pages;
                }
                match left.checked_sub(object.size_bytes) {
                    Some(rest) => left = rest,
                    // The newest is listed first, so this is never past the tail.
                    None => return Ok(Start::of(slot.next().unwrap_or(floor))),
                }
            }
            if !page.more {
                break;
            }
            after = page.objects.last().map(|object| object.key.clone());
        }
        self.packed_start_of_bytes(reply, left).await
    }

    /// The same for merged segments.
    async fn packed_start_of_bytes(&self, reply: &StateReply, bytes: u64) -> Result<Start, Error> {
        let kept = reply.state();
        let mut left = bytes;
        let mut start = Start::unmerged(reply);
        if kept.first_kept_offset >= kept.packs_end() {
            return Ok(start);
        }
        for listed in self.all_packs(kept.first_kept_offset).await?.iter().rev() {
            if let Some(rest) = left.checked_sub(listed.size_bytes) {
                left = rest;
                start = Start {
                    slot: listed.pack.slot,
                    offset: Some(listed.pack.start),
                };
                continue;
            }
            let Some(header) = self.pack_header(listed.pack).await? else {
                return Err(self.missing_record(listed.pack.start).await);
            };
            let places = pack::index(&header)
                .map_err(|error| refused(&listed.pack.key(self.name()), error))?;
            for place in places.iter().rev() {
                let size = u64::try_from(place.bytes.len()).unwrap_or(u64::MAX);
                let Some(rest) = left.checked_sub(size) else {
                    break;
                };
                left = rest;
                start = Start::of_merged(place);
            }
            break;
        }
        Ok(start)
    }

    /// The slot that a listed key begins with, be it a segment's or an offer's.
    pub(super) fn slot_named(&self, key: &str) -> Option<Slot> {
        let keys = &self.chain.keys;
        keys.parse_slot(key)
            .or_else(|| Offer::parse(keys, key).map(|offer| offer.base))
    }

    async fn pin(&self, reader: &str, at: Cursor, ttl_ms: u32) -> Result<PinOutcome, Error> {
        let slot = match self.slot_to_pin(at).await? {
            Located::Segment(found) => found.slot.unwrap_or(Slot::FIRST),
            Located::Merged(_) => self.packed_at(at.offset).await?.slot,
            Located::Trimmed(kept) => return Ok(PinOutcome::Trimmed(kept)),
            Located::Beyond(tail) if tail.offset == at.offset => tail.slot.unwrap_or(Slot::FIRST),
            Located::Beyond(tail) => {
                return Err(Error::InvalidArgument(format!(
                    "there is no record {} to pin yet; the log ends before it ({})",
                    at.offset, tail.offset
                )));
            }
        };
        let place = PinnedPlace {
            offset: at.offset,
            slot,
        };
        let pinned = self
            .chain
            .set_pin(self.store(), reader, Some(place), ttl_ms)
            .await?;
        Ok(match pinned {
            Pinned::Until(until) => PinOutcome::Pinned(until),
            Pinned::Trimmed(reply) => PinOutcome::Trimmed(packs::first_kept(&reply)),
            Pinned::Unknown(why) => PinOutcome::Indeterminate(why),
        })
    }

    /// The slot that a cursor means. A slot that the caller gives is checked.
    async fn slot_to_pin(&self, at: Cursor) -> Result<Located, Error> {
        if let Some(slot) = at.slot
            && let Some(link) = self.chain.link(self.store(), slot).await?.object
        {
            let start = link.header.base_offset;
            let end = start.saturating_add(link.header.record_count.into());
            if (start..=end).contains(&at.offset) {
                return Ok(Located::Segment(at));
            }
        }
        self.locate_offset(at.offset).await
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Log<'_, B, E> {
    /// Deletes the packs that hold nothing from `offset` on.
    async fn delete_packs(&self, offset: u64, act: Act, report: &mut Report) -> Result<(), Error> {
        let name = self.name();
        let listing = Listing {
            prefix: PackKey::prefix(name),
            after: None,
            first_page: None,
        };
        let last = |pack: &PackKey| match off(Guard::PackKeptToItsEnd) {
            true => pack.start,
            false => pack.end,
        };
        // In ascending order of end.
        let judge = |object: &Metadata| match PackKey::parse(name, &object.key) {
            Some(pack) if last(&pack) <= offset => Verdict::Goes(Reason::Trimmed),
            Some(_) => Verdict::End,
            None => Verdict::Stays,
        };
        report.sweep(self.store(), act, listing, &judge).await
    }
}

fn planned(reply: &StateReply, from: Slot, end: Slot) -> Edited {
    let before = reply.state();
    let state = ChainState {
        merged: Some(Merged {
            first_slot: before.kept_slot(),
            end_offset: before.packs_end(),
            plan: Some(end),
        }),
        ..before.clone()
    };
    let still = before.first_kept == from && before.plan().is_none();
    Edited::to((still || off(Guard::PlannedOnce)).then_some(state))
}

fn merged(
    reply: &StateReply,
    (from, end): (Slot, Slot),
    end_offset: u64,
    next: Option<Slot>,
) -> Edited {
    let before = reply.state();
    let state = ChainState {
        first_kept: end,
        merged: Some(Merged {
            first_slot: before.kept_slot(),
            end_offset,
            plan: next,
        }),
        ..before.clone()
    };
    // Unless all of this still holds, the pack may have been trimmed already.
    let still = before.first_kept == from && before.plan() == Some(end);
    Edited::to((still || off(Guard::MergedAsPlanned)).then_some(state))
}
