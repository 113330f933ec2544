//! Appending among others: a writer leaves its batch as an offer, or takes the
//! offers of others along with its own batch.
//!
//! `docs/PROTOCOLS.md` has the argument for why no offer is taken twice or lost.

use super::append::{Batch, Judgement};
use super::offers::{self, Offer, Settled, WITHDRAWN};
use super::open::OwnOffer;
use super::pace::{self, LOOK_AFTER_AMONG_STRANGERS, MISSES_MAX, Pace};
use super::producers::Verdict;
use super::segment::{self, BATCH_BYTES_MAX, RECORDS_MAX};
use super::tail::Tail;
use super::{AppendOutcome, Log};
use crate::bucket::{
    Bucket, PAGE_OBJECTS_MAX, Precondition, PutOutcome, StoreTime, Version, Write,
};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::slots::{Grace, Link, Placed, at_key};
use crate::token::Epoch;
use maybe_async::maybe_async;

/// How many offers, looks and combinations one append makes in all.
const STEPS_MAX: u32 = 256;

/// How often an offer is sent in all.
const OFFER_SENDS_MAX: u32 = 6;

/// A listing that only has to show whether others are about asks for so many keys.
pub(super) const GLANCE_OBJECTS: u32 = 32;

/// Offers younger than this, by the store's clock, are a sign of others.
const RECENT_MS: u64 = 2_000;

/// What a listing of the newest slots and offers showed.
#[derive(Debug)]
pub(super) struct Listing {
    /// The newest segment.
    pub(super) newest: Option<Slot>,
    /// The version of that.
    pub(super) version: Option<Version>,
    /// The newest first.
    offers: Vec<(Offer, Option<StoreTime>)>,
    pub(super) observed_at: Option<StoreTime>,
}

impl Listing {
    /// How many others seem to be about: those who left offers behind the newest
    /// segment, or behind the one before.
    fn others(&self) -> u64 {
        let newest = self.newest.unwrap_or(Slot::FIRST).0;
        let behind = |slot: u64| {
            let offers = self.offers.iter().filter(|(it, _)| it.base.0 == slot);
            u64::try_from(offers.count()).unwrap_or(u64::MAX)
        };
        behind(newest).max(behind(newest.saturating_sub(1)))
    }

    /// Whether others seem to be about: an offer waits, or was left a moment ago.
    pub(super) fn shows_others(&self) -> bool {
        self.offers.iter().any(|(offer, modified_at)| {
            Some(offer.base) == self.newest
                || matches!(
                    (self.observed_at, modified_at),
                    (Some(now), Some(then)) if now.since_ms(*then) <= RECENT_MS
                )
        })
    }
}

/// Where an append among others stands.
#[derive(Debug)]
pub(super) struct Contest<'a> {
    /// The newest segment that is known to be there.
    newest: Slot,
    /// The tail behind it, if its header was read.
    tail: Option<Tail>,
    /// A time at which the slot behind it had not been written.
    absent_at: Option<StoreTime>,
    /// The offer of this batch that may still be taken.
    open: OwnOffer<'a>,
    /// Looks in a row that found nothing new.
    misses: u32,
    /// Offers that nobody took.
    refused: u32,
    /// How many others seem to be about, if that is all that is known.
    strangers: Option<u64>,
}

impl<'a> Contest<'a> {
    /// Behind a known tail.
    pub(super) fn behind(open: OwnOffer<'a>, tail: Tail, newest: Slot) -> Contest<'a> {
        Contest {
            newest,
            absent_at: tail.absent_at,
            tail: Some(tail),
            open,
            misses: 0,
            refused: 0,
            strangers: None,
        }
    }

    /// Behind a slot that was just listed.
    pub(super) fn among_strangers(
        open: OwnOffer<'a>,
        newest: Slot,
        listing: &Listing,
    ) -> Contest<'a> {
        Contest {
            newest,
            absent_at: listing.observed_at,
            tail: None,
            open,
            misses: 0,
            refused: 0,
            strangers: Some(listing.others()),
        }
    }

    /// Whether the offer of this batch is settled by a segment that names these.
    fn settled(&self, settled: &[Settled]) -> Option<Settled> {
        let open = self.open.offer.as_ref()?;
        settled.iter().find(|it| it.is(open)).copied()
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Leave an offer.
    Offer,
    /// Look at what stands in this slot.
    Look(Slot),
    /// Look for the newest segment, and leave an offer there.
    Seek,
    /// Put the batch and all offers into the next slot.
    Combine,
}

/// How a step ended.
enum Turn {
    End(AppendOutcome),
    Go(Step),
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Log<'_, B, E> {
    /// Appends a batch while others do.
    pub(super) async fn append_among_others(
        &self,
        batch: &Batch<'_>,
        mut contest: Contest<'_>,
        step: Step,
    ) -> Result<AppendOutcome, Error> {
        match self.contend(batch, &mut contest, step).await {
            // Somebody may take the offer yet.
            Err(error) if contest.open.offer.is_some() && !off(Guard::OfferInDoubt) => {
                Ok(AppendOutcome::Indeterminate(error.to_string()))
            }
            ended => ended,
        }
    }

    async fn contend(
        &self,
        batch: &Batch<'_>,
        contest: &mut Contest<'_>,
        mut step: Step,
    ) -> Result<AppendOutcome, Error> {
        for _ in 0..STEPS_MAX {
            let turn = match step {
                Step::Offer => self.offer(batch, contest).await?,
                Step::Look(slot) => self.look(batch, contest, slot).await?,
                Step::Seek => self.seek(contest).await?,
                Step::Combine => self.combine(batch, contest).await?,
            };
            step = match turn {
                Turn::End(outcome) => return Ok(outcome),
                Turn::Go(step) => step,
            };
        }
        Err(Error::Unavailable(format!(
            "{}: nobody took the offers of this writer, and it lost every slot",
            self.chain.keys.slots_prefix()
        )))
    }

    /// Leaves the batch as an offer: one write if all goes well.
    async fn offer(&self, batch: &Batch<'_>, contest: &mut Contest<'_>) -> Result<Turn, Error> {
        let invalid = |error: crate::codec::DecodeError| Error::InvalidArgument(error.to_string());
        let payload = segment::payload(batch.records).map_err(invalid)?;
        let offer = Offer::new(
            contest.newest,
            batch.commit_id,
            batch.records.len(),
            &payload,
            batch.stamp(),
        );
        let body =
            segment::encode_offer(&offer, self.chain.keys.identity(), &payload).map_err(invalid)?;
        let write = Write {
            key: offer.key(&self.chain.keys),
            body,
            precondition: Precondition::Absent,
        };
        let first_look = Step::Look(Slot(offer.base.0.saturating_add(1)));
        // From here on somebody may take it, now or later.
        contest.open.offer = Some(offer);
        let mut in_doubt = false;
        for round in 0..OFFER_SENDS_MAX {
            if round > 0 {
                self.store().count(|receipt| receipt.retries += 1);
                self.store().back_off(round, None).await;
            }
            match self.store().put(&write).await {
                // The key holds the commit id, so whatever stands there is this offer.
                Ok(PutOutcome::Written { .. } | PutOutcome::PreconditionFailed) => {
                    match contest.strangers.take() {
                        Some(strangers) if self.volunteers(strangers) => {
                            return Ok(Turn::Go(Step::Combine));
                        }
                        Some(_) => self.store().pause(LOOK_AFTER_AMONG_STRANGERS).await,
                        None => self.store().pause(self.pace().look_after()).await,
                    }
                    return Ok(Turn::Go(first_look));
                }
                Ok(PutOutcome::Indeterminate(_)) => in_doubt = !off(Guard::DoubtfulOfferOpen),
                Err(error) if error.is_transient() => {
                    in_doubt |= error.leaves_doubt() && !off(Guard::DoubtfulOfferOpen);
                }
                Err(error) => {
                    contest.open.offer.take_if(|_| !in_doubt);
                    return Err(at_key(&write.key, error));
                }
            }
        }
        if in_doubt {
            return Ok(Turn::Go(first_look));
        }
        contest.open.offer = None;
        Err(Error::Unavailable(format!(
            "{}: the store refuses the write",
            write.key
        )))
    }

    /// Looks what became of the offer: one read.
    async fn look(
        &self,
        batch: &Batch<'_>,
        contest: &mut Contest<'_>,
        slot: Slot,
    ) -> Result<Turn, Error> {
        let Some(link) = self.chain.link(self.store(), slot).await?.object else {
            if contest.newest >= slot {
                // It was there.
                return Ok(Turn::End(self.trimmed_past(slot)));
            }
            contest.misses += 1;
            if contest.misses == 1 {
                self.note(Pace::was_early);
            }
            if contest.misses >= MISSES_MAX {
                return Ok(Turn::Go(Step::Combine));
            }
            self.store().pause(pace::miss_after(contest.misses)).await;
            return Ok(Turn::Go(Step::Look(slot)));
        };
        if !self.is_genuine(contest, &link).await? && !off(Guard::OfferAnswerGenuine) {
            return Ok(Turn::End(self.trimmed_past(slot)));
        }
        let tail = self.behind(&link, link.modified_at.max(contest.absent_at))?;
        if let Some(outcome) = self.learn(batch, contest, tail) {
            return Ok(Turn::End(outcome));
        }
        if contest.open.offer.is_none() {
            self.store().pause(0..=100 << contest.refused.min(4)).await;
            return Ok(Turn::Go(Step::Seek));
        }
        let combined = contest
            .tail
            .as_ref()
            .is_some_and(|tail| !tail.settled.is_empty());
        let next = match slot.next() {
            Some(next) if combined => next,
            _ => contest
                .open
                .offer
                .as_ref()
                .map_or(slot, |open| offers::last_chance(open.base)),
        };
        let slots = next.0.saturating_sub(slot.0);
        self.store().pause(pace::slots_after(slots)).await;
        Ok(Turn::Go(Step::Look(next)))
    }

    /// Finds the newest segment again: one listing.
    async fn seek(&self, contest: &mut Contest<'_>) -> Result<Turn, Error> {
        let listing = self.listing(GLANCE_OBJECTS).await?;
        let newest = listing.newest.unwrap_or(contest.newest);
        if newest > contest.newest {
            contest.newest = newest;
            contest.tail = None;
        }
        contest.absent_at = listing.observed_at.max(contest.absent_at);
        Ok(Turn::Go(Step::Offer))
    }

    /// Puts the batch and all offers into the next slot: a listing and a write, and
    /// a read if others have written.
    async fn combine(&self, batch: &Batch<'_>, contest: &mut Contest<'_>) -> Result<Turn, Error> {
        let expected = contest.tail.as_ref().map_or(64, |tail| tail.settled.len());
        let limit = u32::try_from(2 * expected + 32).unwrap_or(PAGE_OBJECTS_MAX);
        let listing = self.listing(limit.min(PAGE_OBJECTS_MAX)).await?;
        let newest = listing.newest.unwrap_or(Slot::FIRST);
        if let Some(open) = &contest.open.offer
            && newest > offers::last_chance(open.base)
            && !off(Guard::CombineInWindow)
        {
            // Only the last slot of its window still tells what became of it.
            contest.newest = newest;
            return Ok(Turn::Go(Step::Look(offers::last_chance(open.base))));
        }
        let mut tail = match contest.tail.take() {
            Some(tail) if tail.last_slot() == Some(newest) => Tail {
                absent_at: listing.observed_at.max(tail.absent_at),
                ..tail
            },
            _ => {
                let version = listing.version.clone();
                let tail = self.tail_at(newest, version, listing.observed_at).await?;
                if let Some(outcome) = self.learn(batch, contest, tail.clone()) {
                    return Ok(Turn::End(outcome));
                }
                tail
            }
        };
        match batch.judge(&tail) {
            _ if off(Guard::OwnBatchJudged) => {}
            Judgement::Admitted => {}
            Judgement::Final(outcome) | Judgement::Unless(outcome)
                if contest.open.offer.is_none() =>
            {
                return Ok(Turn::End(outcome));
            }
            // An offer out of its turn. Until its window is over, what somebody else
            // appends can make it the next.
            Judgement::Final(_) | Judgement::Unless(_) if contest.misses < MISSES_MAX => {
                let next = tail.next_slot()?;
                contest.tail = Some(tail);
                return Ok(Turn::Go(Step::Look(next)));
            }
            Judgement::Final(_) | Judgement::Unless(_) => {
                return Ok(Turn::End(AppendOutcome::Indeterminate(format!(
                    "{}: the batch is out of its turn, and others may still take it",
                    self.chain.keys.slot(newest)
                ))));
            }
        }
        let slot = tail.next_slot()?;
        self.withdraw_offers(&mut tail);
        let taken = chosen(batch, &tail, slot, &listing);
        let others = !taken.is_empty() || listing.shows_others();
        let own = contest.open.offer.as_ref().map(|offer| offer.base);
        let own = own.filter(|_| !off(Guard::OwnOfferNamed));
        let placed = self.place(&tail, batch, &taken, own).await;
        if !matches!(placed, Ok((Placed::Committed { .. } | Placed::Lost(_), _))) {
            self.forget_tail();
        }
        let (placed, header) = placed?;
        match placed {
            Placed::Committed { at } => {
                contest.open.offer = None;
                self.advance(&header, at, at.max(tail.absent_at));
                self.note(|pace, now_ms| pace.has_combined(others, now_ms));
                Ok(Turn::End(AppendOutcome::Appended(
                    batch.extent(tail.next_offset),
                )))
            }
            Placed::Lost(link) => {
                let Some(next) = self.follow(&tail, &link).await? else {
                    return Ok(Turn::Go(Step::Combine));
                };
                if let Some(outcome) = self.learn(batch, contest, next) {
                    return Ok(Turn::End(outcome));
                }
                match (&contest.open.offer, slot.next()) {
                    (Some(_), Some(next)) => {
                        self.store().pause(50..=150).await;
                        Ok(Turn::Go(Step::Look(next)))
                    }
                    _ => Ok(Turn::Go(Step::Offer)),
                }
            }
            Placed::Overtaken => Ok(Turn::Go(Step::Combine)),
            Placed::Unknown(why) => Ok(Turn::End(AppendOutcome::Indeterminate(why))),
        }
    }

    /// Takes in a tail that is later than the one known before, and says if it
    /// decides the append.
    fn learn(
        &self,
        batch: &Batch<'_>,
        contest: &mut Contest<'_>,
        tail: Tail,
    ) -> Option<AppendOutcome> {
        let slot = tail.last_slot()?;
        self.remember_tail(&tail);
        let settled = contest.settled(&tail.settled);
        let too_late =
            |open: &mut Offer| slot >= offers::last_chance(open.base) || off(Guard::OfferAwaited);
        if settled.is_some() || contest.open.offer.as_mut().is_some_and(too_late) {
            // From here on nobody can take it.
            contest.open.offer = None;
            contest.refused += 1;
        }
        // Only a copy of this instance can have withdrawn it.
        let taken = |it: &Settled| {
            (it.start != WITHDRAWN || off(Guard::WithdrawnNotTaken))
                && (tail.epoch() == Epoch::SHARED || !off(Guard::SettledBeforeClaim))
        };
        if let Some(settled) = settled.filter(taken) {
            self.note(Pace::was_combined);
            return Some(AppendOutcome::Appended(batch.extent(settled.start)));
        }
        let outcome = match batch.judge(&tail) {
            Judgement::Final(outcome) => {
                // Nor behind a claim, nor behind the same batch of its producer.
                contest.open.offer = None;
                Some(outcome)
            }
            // An offer that waits may still be taken when its turn has come.
            Judgement::Unless(outcome)
                if contest.open.offer.is_none() || off(Guard::RefusalWithoutOffer) =>
            {
                Some(outcome)
            }
            Judgement::Unless(_) | Judgement::Admitted => None,
        };
        contest.misses = 0;
        contest.newest = contest.newest.max(slot);
        contest.absent_at = tail.absent_at;
        contest.tail = Some(tail);
        outcome
    }

    /// Whether what stands in a slot behind those that were known to be filled
    /// counts: see `Log::follow`.
    async fn is_genuine(&self, contest: &Contest<'_>, link: &Link) -> Result<bool, Error> {
        let grace = Grace {
            period_ms: link.header.grace_ms,
            margin_ms: link.header.clock_margin_ms,
        };
        if crate::slots::Chain::is_unwritten(grace, contest.absent_at, link.modified_at) {
            return Ok(true);
        }
        let state = self.chain.state(self.store()).await?;
        Ok(state.first_kept() <= link.header.slot)
    }

    fn trimmed_past(&self, slot: Slot) -> AppendOutcome {
        AppendOutcome::Indeterminate(format!(
            "{}: trimmed before it told what became of this writer's offer",
            self.chain.keys.slot(slot)
        ))
    }

    /// Lists the newest slots and offers.
    pub(super) async fn listing(&self, limit: u32) -> Result<Listing, Error> {
        let prefix = self.chain.keys.slots_prefix();
        let page = self.store().list(&prefix, None, limit).await?;
        let mut listing = Listing {
            newest: None,
            version: None,
            offers: Vec::new(),
            observed_at: page.observed_at,
        };
        let mut before: Option<&str> = None;
        for object in &page.objects {
            if before.is_some_and(|before| before >= object.key.as_str())
                && !off(Guard::ListingInOrder)
            {
                return Err(Error::Unsupported(format!(
                    "the store does not list {prefix} in order"
                )));
            }
            before = Some(&object.key);
            if let Some(offer) = Offer::parse(&self.chain.keys, &object.key) {
                listing.offers.push((offer, object.modified_at));
                continue;
            }
            let slot = self.chain.keys.parse_slot(&object.key).ok_or_else(|| {
                Error::Corrupt(format!("{}: this key does not belong here", object.key))
            })?;
            if listing.newest.is_none() {
                listing.newest = Some(slot);
                listing.version = Some(object.version.clone());
            }
        }
        Ok(listing)
    }
}

/// The offers that the segment in `slot`, behind `tail`, takes besides `batch`: the
/// oldest first, so that none waits for ever.
fn chosen(batch: &Batch<'_>, tail: &Tail, slot: Slot, listing: &Listing) -> Vec<Offer> {
    let mut producers = tail.producers.clone();
    let mut next_offset = tail.next_offset;
    let mut account = |stamp: &Option<_>, records: u32| {
        if let Some(stamp) = stamp {
            if producers.judge(stamp) != Verdict::Next && !off(Guard::OfferSequence) {
                return false;
            }
            producers = producers.with(stamp, next_offset, records);
        }
        next_offset = next_offset.saturating_add(records.into());
        true
    };
    account(
        &batch.stamp(),
        u32::try_from(batch.records.len()).unwrap_or(u32::MAX),
    );
    let mut taken: Vec<Offer> = Vec::new();
    let (mut records, mut bytes) = (0_usize, 0_usize);
    for (offer, _) in listing.offers.iter().rev() {
        if (!offers::in_window(offer.base, slot) && !off(Guard::OfferWindow))
            || (offer.commit_id == batch.commit_id && !off(Guard::OwnOfferSkipped))
            || (tail.settled.iter().any(|it| it.is(offer)) && !off(Guard::OfferTakenOnce))
        {
            continue;
        }
        records = records.saturating_add(usize::try_from(offer.record_count).unwrap_or(usize::MAX));
        bytes = bytes.saturating_add(usize::try_from(offer.payload_bytes).unwrap_or(usize::MAX));
        let full = records > RECORDS_MAX || bytes > BATCH_BYTES_MAX;
        if taken.len() == offers::OFFERS_MAX || (full && !taken.is_empty()) {
            break;
        }
        if account(&offer.stamp, offer.record_count) {
            taken.push(offer.clone());
        }
    }
    taken
}
