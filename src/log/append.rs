//! Appending: creation, batches and claims.

use super::combine::{Contest, GLANCE_OBJECTS, Step};
use super::offers::{Offer, Settled};
use super::pace::{COMBINE_AFTER, Mode};
use super::producers::{Stamp, Verdict};
use super::segment::{self, BATCH_BYTES_MAX, Carried, RECORDS_MAX};
use super::tail::Tail;
use super::{
    AppendOptions, AppendOutcome, CreateOutcome, Extent, Log, Logs, PRODUCER_ID_BYTES_MAX,
    Producer, SequenceProblem, pointers,
};
use crate::bucket::{Bucket, StoreTime};
use crate::codec::{Header, Kind};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Slot, quoted};
use crate::slots::{Candidate, Grace, Placed, RACES_BEFORE_WAIT, RACES_MAX, wait_after_races};
use crate::token::{Epoch, Writer};
use maybe_async::maybe_async;

/// What is to be put into the next slot.
pub(super) struct Batch<'a> {
    pub(super) records: &'a [Vec<u8>],
    options: &'a AppendOptions,
    /// Drawn when the call began. The id of its offers.
    pub(super) commit_id: u128,
}

/// What a writer that knows nothing finds.
enum Glance<'a> {
    Tail(Tail),
    Others(Contest<'a>),
}

/// What the known tail says of a batch before anything is written.
pub(super) enum Judgement {
    /// It may be appended behind this tail.
    Admitted,
    /// It may not, and no later tail can change that.
    Final(AppendOutcome),
    /// It may not behind this tail, but perhaps behind a later one.
    Unless(AppendOutcome),
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Logs<B, E> {
    /// Creates a log with settings of its own: two requests.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; [`Error::InvalidArgument`] for settings out of range.
    pub async fn create(&self, name: &str, grace: Grace) -> Result<CreateOutcome, Error> {
        let log = Log::new(self, name)?;
        grace.check()?;
        let tail = log.discover().await?;
        if tail.last.is_some() {
            return Ok(CreateOutcome::Exists(tail.grace));
        }
        let tail = Tail { grace, ..tail };
        let batch = Batch {
            records: &[],
            options: &AppendOptions::SHARED,
            commit_id: self.store.draw_id(),
        };
        match log.place(&tail, &batch, &[], None).await? {
            (Placed::Committed { .. }, _) => Ok(CreateOutcome::Created),
            (Placed::Lost(link), _) => Ok(CreateOutcome::Exists(Grace {
                period_ms: link.header.grace_ms,
                margin_ms: link.header.clock_margin_ms,
            })),
            (Placed::Unknown(why), _) => Ok(CreateOutcome::Indeterminate(why)),
            (Placed::Overtaken, _) => Ok(CreateOutcome::Indeterminate(
                "the log was created and trimmed by others meanwhile".to_owned(),
            )),
        }
    }

    /// Appends a batch of records, atomically and in order.
    ///
    /// One request if this instance knows the tail and nobody else appends; three
    /// if it knows nothing; two more for a race that it loses. Shared writers that
    /// go on losing combine their batches.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; the batch is then certainly not appended.
    pub async fn append(
        &self,
        name: &str,
        records: &[Vec<u8>],
        options: &AppendOptions,
    ) -> Result<AppendOutcome, Error> {
        let log = Log::new(self, name)?;
        check_records(records)?;
        check_options(options)?;
        log.append(records, options).await
    }

    /// Fences every writer with a lower epoch, with an empty batch.
    ///
    /// Claiming again with the same epoch changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; the claim has then certainly no effect.
    pub async fn claim(&self, name: &str, epoch: Epoch) -> Result<AppendOutcome, Error> {
        let log = Log::new(self, name)?;
        let options = AppendOptions {
            writer: Writer::Fenced(epoch),
            ..AppendOptions::SHARED
        };
        check_options(&options)?;
        log.append(&[], &options).await
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Log<'_, B, E> {
    /// Appends `records`, or claims if there are none.
    async fn append(
        &self,
        records: &[Vec<u8>],
        options: &AppendOptions,
    ) -> Result<AppendOutcome, Error> {
        let batch = Batch {
            records,
            options,
            commit_id: self.store().draw_id(),
        };
        let began_ms = self.store().monotonic_ms();
        let mode = match self.may_offer(&batch) {
            true => self.mode(),
            false => Mode::Straight,
        };
        let mut fresh = false;
        let mut tail = match self.remembered_tail() {
            Some(tail) => tail,
            None => {
                fresh = true;
                match self.glance(&batch).await? {
                    Glance::Tail(tail) => tail,
                    Glance::Others(contest) => {
                        return self.append_among_others(&batch, contest, Step::Offer).await;
                    }
                }
            }
        };
        let mut lost = 0;
        for race in 0..RACES_MAX {
            match batch.judge(&tail) {
                Judgement::Admitted => {}
                Judgement::Final(outcome) => return Ok(outcome),
                Judgement::Unless(outcome) if fresh || off(Guard::RefusalFresh) => {
                    return Ok(outcome);
                }
                Judgement::Unless(_) => {
                    tail = self.fresh_tail().await?;
                    fresh = true;
                    continue;
                }
            }
            if self.may_offer(&batch)
                && let Some(newest) = tail.last_slot()
                && let Some(step) = self.step_among_others(mode, lost, &tail).await
            {
                let contest = Contest::behind(self.own_offer(), tail, newest);
                return self.append_among_others(&batch, contest, step).await;
            }
            self.withdraw_offers(&mut tail);
            let placed = self.place(&tail, &batch, &[], None).await;
            if !matches!(placed, Ok((Placed::Committed { .. } | Placed::Lost(_), _))) {
                self.forget_tail();
            }
            let (placed, header) = placed?;
            match placed {
                Placed::Committed { at } => {
                    let absent_at = at.max(tail.absent_at);
                    self.advance(&header, at, absent_at);
                    let round_trip_us = self.store().round_trip_us();
                    self.note(|pace, now_ms| pace.went_straight(began_ms, now_ms, round_trip_us));
                    return Ok(AppendOutcome::Appended(batch.extent(tail.next_offset)));
                }
                Placed::Lost(link) => {
                    lost += 1;
                    // Everything below this slot is decided and does not hold this
                    // batch, so it may go on behind whatever tail it finds.
                    tail = if race < RACES_BEFORE_WAIT {
                        match self.follow(&tail, &link).await? {
                            Some(next) => next,
                            None => self.discover().await?,
                        }
                    } else {
                        wait_after_races(self.store(), race).await;
                        self.discover().await?
                    };
                    // Whoever won, won after this call began or before a listing.
                    fresh = race >= RACES_BEFORE_WAIT;
                }
                Placed::Overtaken => {
                    tail = self.discover().await?;
                    fresh = true;
                }
                Placed::Unknown(why) => return Ok(AppendOutcome::Indeterminate(why)),
            }
        }
        Err(Error::Unavailable(format!(
            "{}: other writers won every slot that was tried",
            self.chain.keys.slots_prefix()
        )))
    }

    /// Finds the tail from nothing, or that others are about, to whom the batch can be
    /// offered with the newest slot alone.
    async fn glance(&self, batch: &Batch<'_>) -> Result<Glance<'_>, Error> {
        if !self.may_offer(batch) {
            return self.discover().await.map(Glance::Tail);
        }
        let listing = self.listing(GLANCE_OBJECTS).await?;
        match listing.newest {
            None => Ok(Glance::Tail(Tail::empty(listing.observed_at))),
            Some(newest) if listing.shows_others() => Ok(Glance::Others(Contest::among_strangers(
                self.own_offer(),
                newest,
                &listing,
            ))),
            Some(newest) => self
                .tail_at(newest, listing.version, listing.observed_at)
                .await
                .map(Glance::Tail),
        }
    }

    /// Whether another writer may put the batch into the log.
    fn may_offer(&self, batch: &Batch<'_>) -> bool {
        batch.may_be_offered() && self.has_no_open_offer()
    }

    /// How to go on among others, if they seem to be about.
    async fn step_among_others(&self, mode: Mode, lost: u32, tail: &Tail) -> Option<Step> {
        match (lost, mode) {
            (0, Mode::Straight) => None,
            (0, Mode::Offer) => Some(Step::Offer),
            (0, Mode::Combine { .. }) => {
                // Those who were taken last come back after a round trip.
                self.store().pause(COMBINE_AFTER).await;
                Some(Step::Combine)
            }
            // One race is lost to whoever appended last, long ago perhaps.
            (1, _) if tail.settled.is_empty() => None,
            _ => Some(Step::Offer),
        }
    }

    /// Puts a batch, and the offers that it takes along, into the slot behind `tail`.
    /// The batch may be an offer itself, based on `own_base`.
    pub(super) async fn place(
        &self,
        tail: &Tail,
        batch: &Batch<'_>,
        taken: &[Offer],
        own_base: Option<Slot>,
    ) -> Result<(Placed, Header), Error> {
        let slot = tail.next_slot()?;
        let mut record_count = u32::try_from(batch.records.len()).unwrap_or(u32::MAX);
        let mut producers = tail.producers.clone();
        if let Some(stamp) = batch.stamp() {
            producers = producers.with(&stamp, tail.next_offset, record_count);
        }
        for offer in taken {
            if let Some(stamp) = &offer.stamp {
                let start = tail.next_offset.saturating_add(record_count.into());
                producers = producers.with(stamp, start, offer.record_count);
            }
            record_count = record_count.saturating_add(offer.record_count);
        }
        let mut settled = tail.settled.clone();
        settled.retain(|_| !off(Guard::SettledHandedOn));
        settled.extend(own_base.map(|base| Settled {
            base,
            commit_id: batch.commit_id,
            start: tail.next_offset,
        }));
        let pointers = tail
            .pointers()
            .map(|(last, earlier)| pointers::following(last, earlier))
            .unwrap_or_default();
        let commit_id = batch.commit_id_in(slot);
        let draft = Header {
            kind: Kind::Segment,
            identity: self.chain.keys.identity(),
            slot,
            commit_id,
            previous_id: tail.last_id(),
            epoch: batch.options.writer.epoch(),
            base_offset: tail.next_offset,
            record_count,
            grace_ms: tail.grace.period_ms,
            clock_margin_ms: tail.grace.margin_ms,
            payload_bytes: 0,
            payload_crc: 0,
            sections: Vec::new(),
        };
        let carried = Carried {
            pointers: &pointers,
            producers: &producers,
            offers: taken,
            settled: &settled,
        };
        let (header, body) = segment::payload(batch.records)
            .and_then(|payload| segment::encode(draft, &payload, &carried))
            .map_err(|error| Error::InvalidArgument(error.to_string()))?;
        let candidate = Candidate {
            slot,
            body,
            commit_id,
            absent_at: tail.absent_at,
            grace: tail.grace,
        };
        let placed = self.chain.place(self.store(), candidate).await?;
        Ok((placed, header))
    }

    /// Remembers the segment that this instance has just written.
    pub(super) fn advance(
        &self,
        header: &Header,
        at: Option<StoreTime>,
        absent_at: Option<StoreTime>,
    ) {
        match Tail::behind(header, at, absent_at) {
            Ok(tail) => self.remember_tail(&tail),
            Err(_) => self.forget_tail(),
        }
    }
}

impl Batch<'_> {
    /// Whether the caller's conditions allow another writer to put it into the log.
    fn may_be_offered(&self) -> bool {
        self.options.writer == Writer::Shared
            && self.options.expected.is_none()
            && !self.records.is_empty()
    }

    /// The commit id of its segment in `slot`. Two copies of an instance that write
    /// the same segment give it the same id, so that both are told of it; in different
    /// slots, they write different segments.
    fn commit_id_in(&self, slot: Slot) -> u128 {
        match off(Guard::CommitIdOfSlot) {
            true => self.commit_id,
            false => self.commit_id.wrapping_add(slot.0.into()),
        }
    }

    /// The batch as the table of producers knows it.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.options.producer.as_ref().map(Stamp::of)
    }

    /// Its offsets, if it begins at `start`.
    pub(super) fn extent(&self, start: u64) -> Extent {
        let count = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        Extent {
            start,
            end: start.saturating_add(count),
        }
    }

    /// Decides what may be decided without writing.
    ///
    /// The known tail can lag behind. Epochs and producers' sequences only grow, so
    /// some refusals hold for every later tail as well.
    pub(super) fn judge(&self, tail: &Tail) -> Judgement {
        let own = self.options.writer.epoch();
        // Closes the race of a former leader with its successor: once the
        // successor's segment is in a slot, nobody goes on behind it with a lower
        // epoch.
        if own < tail.epoch() && !off(Guard::EpochRule) {
            return Judgement::Final(AppendOutcome::Fenced(tail.epoch()));
        }
        if self.records.is_empty() && own == tail.epoch() && tail.last.is_some() {
            // Claimed before. The tail that is returned has to be fresh.
            let end = tail.next_offset;
            return Judgement::Unless(AppendOutcome::Appended(Extent { start: end, end }));
        }
        if let Some(stamp) = self.stamp() {
            match tail.producers.judge(&stamp) {
                Verdict::Next => {}
                Verdict::Known(_) if off(Guard::ProducerKnown) => {}
                Verdict::Known(extent) => {
                    return Judgement::Final(AppendOutcome::Appended(extent));
                }
                Verdict::Problem(problem @ SequenceProblem::Superseded(_)) => {
                    return Judgement::Final(AppendOutcome::OutOfSequence(problem));
                }
                Verdict::Problem(problem) => {
                    return Judgement::Unless(AppendOutcome::OutOfSequence(problem));
                }
            }
        }
        match self.options.expected {
            Some(expected) if expected != tail.next_offset && !off(Guard::ExpectedOffset) => {
                Judgement::Unless(AppendOutcome::Mismatch(tail.next_offset))
            }
            _ => Judgement::Admitted,
        }
    }
}

fn check_records(records: &[Vec<u8>]) -> Result<(), Error> {
    if records.is_empty() || records.len() > RECORDS_MAX {
        return Err(Error::InvalidArgument(format!(
            "a batch has 1 to {RECORDS_MAX} records, not {}",
            records.len()
        )));
    }
    let bytes: usize = records.iter().map(Vec::len).sum();
    if bytes > BATCH_BYTES_MAX {
        return Err(Error::InvalidArgument(format!(
            "a batch has at most {BATCH_BYTES_MAX} bytes, not {bytes}"
        )));
    }
    Ok(())
}

fn check_options(options: &AppendOptions) -> Result<(), Error> {
    options.writer.check()?;
    options.producer.as_ref().map_or(Ok(()), check_producer)
}

fn check_producer(producer: &Producer) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let length = producer.id.len();
    if length == 0 || length > PRODUCER_ID_BYTES_MAX || !producer.id.chars().all(allowed) {
        return Err(Error::InvalidArgument(format!(
            "a producer id has 1 to {PRODUCER_ID_BYTES_MAX} bytes of A-Z a-z 0-9 . _ -, not {}",
            quoted(&producer.id)
        )));
    }
    if producer.sequence == u64::MAX {
        return Err(Error::InvalidArgument(format!(
            "a producer's sequence numbers end before {}",
            u64::MAX
        )));
    }
    Ok(())
}
