//! Reading records in order.

use maybe_async::maybe_async;
use std::collections::VecDeque;

use super::search::{self, Located, RESTARTS_MAX};
use super::segment::Segment;
use super::tail::Tail;
use super::unpack::MergedPart;
use super::{
    Cursor, Entry, Log, Logs, READ_BYTES_MAX, READ_RECORDS_MAX, ReadLimit, ReadOutcome, WAIT_MS_MAX,
};
use crate::bucket::{BATCH_OBJECTS_MAX, Bucket, BucketError, Found, Read, Reply, StoreTime};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Name, Slot};
use crate::list::list;
use crate::slots::{Grace, StateReply, at_key, refused};
use crate::token::Epoch;

/// An instance keeps this many bytes of segments that it has read ahead, or one
/// segment, within which the last read ended.
const CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One round of reading ahead asks for about this many bytes at most: all that one read
/// returns, so that large segments are fetched at once and not two by two.
pub(super) const AHEAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reading ahead further than this without knowing the tail would ask for segments
/// that do not exist, at a cost of more than the one listing that tells. Nor are more
/// asked for at first, as they may be much larger than the newest one.
const AHEAD_BLIND_MAX: usize = 4;

/// Where the tail is known to be far, each round asks for so many times as many
/// segments as the one before. Not for all at once: the next ones may be larger.
const AHEAD_GROWTH: usize = 8;

/// Requests are sent at once for what this many further reads will ask for.
const EXPECTED_READS_MAX: usize = 3;

/// The first pause between polls of a waiting read.
const POLL_FIRST_MS: u64 = 20;

/// No pause between polls is longer than this.
const POLL_MAX_MS: u64 = 1_000;

/// A segment as it was read.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) segment: Segment,
    /// When the store accepted it in its slot, if it tells.
    pub(super) modified_at: Option<StoreTime>,
    /// Whether it was in a pack. What is in a pack counts.
    pub(super) packed: bool,
}

/// What a slot held.
pub(super) enum Slotted {
    Segment(Box<Fetched>),
    Absent(Option<StoreTime>),
}

/// What to ask the store for next.
enum Ask {
    /// This many segments.
    For(usize),
    /// A listing showed that there are no more, at this time by the store's clock.
    Nothing(Option<StoreTime>),
}

/// Where a read stands.
pub(super) struct Position {
    pub(super) offset: u64,
    pub(super) slot: Slot,
    pub(super) absent_until: Option<StoreTime>,
    /// Commit id, end and epoch of the segment before, if it was read.
    pub(super) previous: Option<(u128, u64, Epoch)>,
}

/// A read under way.
pub(super) struct Run {
    pub(super) position: Position,
    pub(super) limit: ReadLimit,
    pub(super) bytes_left: u32,
    pub(super) entries: Vec<Entry>,
    pub(super) ahead: Ahead,
}

/// What the next slot brought.
pub(super) enum Step {
    /// Go on: the position has moved.
    Moved,
    /// The limit is reached.
    Done,
    /// The slot is empty, at this time by the store's clock.
    Absent(Option<StoreTime>),
    /// The cursor was wrong. Search by offset.
    Search,
    /// The record is in a pack, according to this state.
    Merged(StateReply),
    /// The record was trimmed.
    Trimmed(Cursor),
}

/// What the absence of a segment means.
enum Absence {
    /// The read ends here.
    End(ReadOutcome),
    /// The record is in a pack, according to this state.
    Merged(StateReply),
    /// Search by offset.
    Search,
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Logs<B, E> {
    /// Reads consecutive records.
    ///
    /// One request for each segment, overlapped, if the cursor knows its slot.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn read(
        &self,
        name: &str,
        start: Cursor,
        limit: ReadLimit,
    ) -> Result<ReadOutcome, Error> {
        let log = Log::new(self, name)?;
        let limit = check_limit(limit)?;
        log.read(start, limit).await
    }

    /// Waits until there is a record, or `timeout_ms` has passed, and reads.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn wait(
        &self,
        name: &str,
        start: Cursor,
        limit: ReadLimit,
        timeout_ms: u32,
    ) -> Result<ReadOutcome, Error> {
        let log = Log::new(self, name)?;
        let limit = check_limit(limit)?;
        if timeout_ms > WAIT_MS_MAX {
            return Err(Error::InvalidArgument(format!(
                "timeout-ms is at most {WAIT_MS_MAX}, not {timeout_ms}"
            )));
        }
        let started_ms = self.store.monotonic_ms();
        let mut cursor = start;
        let mut pause_ms = POLL_FIRST_MS;
        // The clock bounds this loop; the count does where the clock stands still.
        for _ in 0..=WAIT_MS_MAX / u32::try_from(POLL_FIRST_MS).unwrap_or(1) {
            match log.read(cursor, limit).await? {
                ReadOutcome::Records(entries, next) if entries.is_empty() => cursor = next,
                outcome => return Ok(outcome),
            }
            let waited_ms = self.store.monotonic_ms().saturating_sub(started_ms);
            let left_ms = u64::from(timeout_ms).saturating_sub(waited_ms);
            if left_ms == 0 {
                break;
            }
            let jitter_ms = self.store.draw_below(pause_ms / 2 + 1);
            self.store
                .sleep_ms((pause_ms / 2 + jitter_ms).clamp(1, left_ms))
                .await;
            pause_ms = (pause_ms * 2).min(POLL_MAX_MS);
        }
        Ok(ReadOutcome::Records(Vec::new(), cursor))
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Log<'_, B, E> {
    async fn read(&self, start: Cursor, limit: ReadLimit) -> Result<ReadOutcome, Error> {
        let mut cursor = start;
        for _ in 0..RESTARTS_MAX {
            let mut merged = None;
            if cursor.slot.is_none() {
                match self.locate_offset(cursor.offset).await? {
                    Located::Segment(found) => cursor = found,
                    Located::Merged(state) => merged = Some(state),
                    Located::Beyond(tail) => {
                        return Ok(ReadOutcome::Records(Vec::new(), tail));
                    }
                    Located::Trimmed(kept) => return Ok(ReadOutcome::Trimmed(kept)),
                }
            }
            let position = Position {
                offset: cursor.offset,
                slot: cursor.slot.unwrap_or(Slot::FIRST),
                absent_until: cursor.absent_until,
                previous: None,
            };
            match self.read_from(position, merged, limit).await? {
                Some(outcome) => return Ok(outcome),
                None => cursor = Cursor::at(start.offset),
            }
        }
        Err(self.too_fast())
    }

    /// Reads on from a known slot, or, if a state is given that says so, from the
    /// packs. Returns `None` if the offset is not there.
    async fn read_from(
        &self,
        position: Position,
        merged: Option<StateReply>,
        limit: ReadLimit,
    ) -> Result<Option<ReadOutcome>, Error> {
        let mut ahead = self
            .logs
            .segments
            .borrow_mut()
            .resume(self.name(), position.slot);
        if ahead.rounds == 0
            && let Some(tail) = self.logs.tails.borrow().get(self.name())
            && let Some(newest) = tail.last_size()
        {
            (ahead.segment_bytes, ahead.segment_records) = newest;
        }
        let mut run = Run {
            position,
            limit,
            bytes_left: limit.bytes,
            entries: Vec::new(),
            ahead,
        };
        if let Some(state) = &merged {
            run.ahead.enter_packs(state);
        }
        loop {
            match self.step(&mut run).await {
                Ok(Step::Moved) => {}
                Ok(Step::Done) => break,
                Ok(Step::Merged(state)) => run.ahead.enter_packs(&state),
                // What was read is returned. The next read finds the same again.
                Ok(_) | Err(_) if !run.entries.is_empty() => break,
                Ok(Step::Absent(observed_at)) => {
                    match self.at_absent(&run.position, observed_at).await? {
                        Absence::End(outcome) => return Ok(Some(outcome)),
                        Absence::Merged(state) => run.ahead.enter_packs(&state),
                        Absence::Search => return Ok(None),
                    }
                }
                Ok(Step::Trimmed(kept)) => return Ok(Some(ReadOutcome::Trimmed(kept))),
                Ok(Step::Search) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let Run {
            position,
            entries,
            ahead,
            ..
        } = run;
        self.logs
            .segments
            .borrow_mut()
            .keep(self.name(), position.slot, ahead);
        let next = Cursor {
            offset: position.offset,
            slot: Some(position.slot),
            absent_until: position.absent_until,
        };
        Ok(Some(ReadOutcome::Records(entries, next)))
    }

    /// Reads one segment and takes from it what the limit allows.
    async fn step(&self, run: &mut Run) -> Result<Step, Error> {
        if run.ahead.needs_packs(run.position.slot) {
            return self.unpack(run).await;
        }
        let fetched = match self.fetch(run).await? {
            Slotted::Segment(fetched) => *fetched,
            Slotted::Absent(observed_at) => {
                // At the tail there is nothing to read ahead.
                run.ahead.rounds = 0;
                return Ok(Step::Absent(observed_at));
            }
        };
        let slot = run.position.slot;
        let step = match self.check(&mut run.position, &fetched).await? {
            Step::Moved => take(&fetched, run),
            Step::Merged(state) => return Ok(Step::Merged(state)),
            step => step,
        };
        if run.position.slot == slot {
            run.ahead.fetched.push_front((slot, fetched));
        }
        Ok(step)
    }

    /// Decides whether a segment is the one that belongs at `position`.
    async fn check(&self, position: &mut Position, fetched: &Fetched) -> Result<Step, Error> {
        let header = &fetched.segment.header;
        let key = || self.chain.keys.slot(position.slot);
        // A trimmed slot can be filled again by a writer that was asleep. Such an
        // object is younger than the time until which the slot cannot have been
        // trimmed; if that does not tell, the watermark does.
        let genuine = fetched.packed
            || off(Guard::SegmentGenuine)
            || matches!(
                (fetched.modified_at, position.absent_until),
                (Some(modified_at), Some(until)) if modified_at < until
            );
        let missing = fetched.segment.offers().front();
        if !genuine || missing.is_some() {
            let state = self.chain.state(self.store()).await?;
            if state.first_kept() > position.slot {
                if position.offset >= state.state().first_kept_offset
                    && !off(Guard::MergedIsNotTrimmed)
                {
                    return Ok(Step::Merged(state));
                }
                let tail =
                    Tail::behind(header, None, None).map_err(|error| refused(&key(), error))?;
                return Ok(Step::Trimmed(search::first_kept(&tail, &state)));
            }
        }
        if let Some(offer) = missing {
            let key = offer.key(&self.chain.keys);
            return Err(Error::Corrupt(format!("{key}: the offer is missing")));
        }
        if let Some((commit_id, end, epoch)) = position.previous
            && (header.previous_id != commit_id
                || header.base_offset != end
                || header.epoch < epoch)
            && !off(Guard::FollowsOn)
        {
            return Err(Error::Corrupt(format!(
                "{}: it does not follow on the segment before it",
                key()
            )));
        }
        if position.offset < header.base_offset || position.offset > fetched.segment.end_offset() {
            return Ok(Step::Search);
        }
        let grace = Grace {
            period_ms: header.grace_ms,
            margin_ms: header.clock_margin_ms,
        };
        // Neither this slot nor the next was filled before this segment was.
        position.absent_until = grace.absent_until(fetched.modified_at);
        Ok(Step::Moved)
    }

    /// Decides what the absence of the segment at `position` means.
    async fn at_absent(
        &self,
        position: &Position,
        observed_at: Option<StoreTime>,
    ) -> Result<Absence, Error> {
        let unwritten = position.slot == Slot::FIRST
            || off(Guard::AbsenceIsTail)
            || matches!(
                (observed_at, position.absent_until),
                (Some(observed_at), Some(until)) if observed_at < until
            );
        if unwritten {
            let cursor = Cursor {
                offset: position.offset,
                slot: Some(position.slot),
                absent_until: position.absent_until,
            };
            return Ok(Absence::End(ReadOutcome::Records(Vec::new(), cursor)));
        }
        let tail = match self.remembered_tail() {
            Some(tail) if tail.next_slot()? > position.slot => tail,
            _ => self.discover().await?,
        };
        if tail.next_slot()? > position.slot {
            let state = self.chain.state(self.store()).await?;
            if state.first_kept() > position.slot {
                let kept = state.state().first_kept_offset;
                return Ok(if position.offset < kept {
                    Absence::End(ReadOutcome::Trimmed(search::first_kept(&tail, &state)))
                } else {
                    Absence::Merged(state)
                });
            }
            // Others may have filled it since it was read, but it cannot stay empty.
            let again = self.chain.link(self.store(), position.slot).await?;
            if again.object.is_none() {
                let missing = self.missing(position.slot).await;
                self.unless_moved(&state, missing).await?;
            }
        } else if tail.cursor().offset == position.offset {
            let outcome = ReadOutcome::Records(Vec::new(), tail.cursor());
            return Ok(Absence::End(outcome));
        }
        // Filled since it was read, or never the place of this offset.
        Ok(Absence::Search)
    }

    /// The next segment, from what was read ahead or from the store.
    async fn fetch(&self, run: &mut Run) -> Result<Slotted, Error> {
        let slot = run.position.slot;
        if let Some(fetched) = run.ahead.next(slot) {
            run.ahead.learn(&fetched);
            return Ok(Slotted::Segment(Box::new(fetched)));
        }
        let wanted = run
            .ahead
            .window(run.limit, run.bytes_left, run.entries.len());
        let count = match self.worth_asking(slot, wanted, &mut run.ahead).await? {
            Ask::For(count) => count,
            Ask::Nothing(observed_at) => return Ok(Slotted::Absent(observed_at)),
        };
        let slots = list((slot.0..).take(count.max(1)).map(Slot));
        self.expect(slot, slots.len(), run);
        let read = |slot: &Slot| Read::all(self.chain.keys.slot(*slot));
        let reads = list(slots.iter().map(read));
        let replies = self.store().get_many(reads).await;
        run.ahead.rounds = run.ahead.rounds.saturating_add(1);
        let mut read = Vec::new();
        for (slot, reply) in slots.into_iter().zip(replies) {
            match self.slotted(slot, reply) {
                Ok(Slotted::Segment(fetched)) => read.push((slot, *fetched)),
                // Only the first is needed now. What is wrong with a later one is
                // reported when it is its turn.
                first_or_later if read.is_empty() => return first_or_later,
                _ => break,
            }
        }
        self.join_offers(&mut read).await?;
        run.ahead.fetched = VecDeque::from(read);
        let Some(fetched) = run.ahead.next(slot) else {
            return Ok(Slotted::Absent(None));
        };
        run.ahead.learn(&fetched);
        Ok(Slotted::Segment(Box::new(fetched)))
    }

    /// A segment with the records of the offers that it takes, or `None` if one of
    /// those is absent.
    pub(super) async fn joined(
        &self,
        slot: Slot,
        fetched: Fetched,
    ) -> Result<Option<Fetched>, Error> {
        let mut segments = Vec::from([(slot, fetched)]);
        self.join_offers(&mut segments).await?;
        let joined = segments.pop().map(|(_, fetched)| fetched);
        Ok(joined.filter(|fetched| fetched.segment.offers().is_empty()))
    }

    /// Completes segments with the records of the offers that they take: one read
    /// for each offer, overlapped. Those behind a segment for which this fails are
    /// dropped; a segment whose offer is absent is left incomplete.
    async fn join_offers(&self, segments: &mut Vec<(Slot, Fetched)>) -> Result<(), Error> {
        let mut keys = Vec::new();
        for (_, fetched) in segments.iter() {
            for offer in fetched.segment.offers() {
                keys.push(offer.key(&self.chain.keys));
            }
        }
        let mut replies = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH_OBJECTS_MAX) {
            let reads = list(keys.iter().cloned().map(Read::all));
            replies.extend(self.store().get_many(reads).await);
        }
        let mut replies = keys.iter().zip(replies);
        for at in 0..segments.len() {
            let Some((_, fetched)) = segments.get_mut(at) else {
                break;
            };
            let wanted = fetched.segment.offers().len();
            match join(&mut fetched.segment, replies.by_ref().take(wanted)) {
                Ok(()) => {}
                Err(error) if at == 0 => return Err(error),
                Err(_) => segments.truncate(at),
            }
        }
        Ok(())
    }

    /// Has requests sent at once for segments that the next reads will probably ask
    /// for, behind the `asked` ones from `slot` on, as far as they are known to exist.
    ///
    /// None before a read that goes on where another one ended, and then, read by
    /// read, for no more than was read before: who stops has wasted little.
    fn expect(&self, slot: Slot, asked: usize, run: &Run) {
        let reads = usize::try_from(run.ahead.resumed).unwrap_or(usize::MAX);
        if reads == 0 {
            return;
        }
        let each = run.ahead.window(run.limit, run.limit.bytes, 0);
        let count = asked
            .saturating_add(each.saturating_mul(reads.min(EXPECTED_READS_MAX)))
            .min(BATCH_OBJECTS_MAX)
            .min(self.known_to_exist(slot, &run.ahead));
        let slots = (slot.0..).take(count).map(Slot);
        let keys = slots.map(|slot| self.chain.keys.slot(slot));
        self.store().expect(list(keys));
    }

    /// How many segments from `slot` on are known to exist.
    fn known_to_exist(&self, slot: Slot, ahead: &Ahead) -> usize {
        let tail = self.remembered_tail();
        let next = tail.and_then(|tail| tail.next_slot().ok());
        let next = next.map_or(ahead.exist_until, |next| next.max(ahead.exist_until));
        usize::try_from(next.0.saturating_sub(slot.0)).unwrap_or(usize::MAX)
    }

    /// How many of the `wanted` segments from `slot` on can be read at once without
    /// asking for many that do not exist.
    async fn worth_asking(
        &self,
        slot: Slot,
        wanted: usize,
        ahead: &mut Ahead,
    ) -> Result<Ask, Error> {
        if wanted <= 1 {
            return Ok(Ask::For(1));
        }
        let mut exist = self.known_to_exist(slot, ahead);
        if exist == 0 {
            let blind = ahead.grown(2);
            if wanted.min(blind) <= AHEAD_BLIND_MAX {
                return Ok(Ask::For(wanted.min(blind)));
            }
            let newest = self.chain.newest(self.store()).await?;
            ahead.exist_until = newest.slot.and_then(Slot::next).unwrap_or(Slot::FIRST);
            exist = self.known_to_exist(slot, ahead);
            if exist == 0 {
                return Ok(Ask::Nothing(newest.observed_at));
            }
        }
        let grown = ahead.grown(AHEAD_GROWTH).saturating_mul(AHEAD_GROWTH);
        Ok(Ask::For(wanted.min(exist).min(grown)))
    }

    pub(super) fn slotted(
        &self,
        slot: Slot,
        reply: Result<Reply, BucketError>,
    ) -> Result<Slotted, Error> {
        let key = self.chain.keys.slot(slot);
        let reply = reply.map_err(|error| at_key(&key, error))?;
        let Found::Object(object) = reply.found else {
            return Ok(Slotted::Absent(reply.observed_at));
        };
        let modified_at = object.metadata.modified_at;
        let segment = Segment::decode(object.body).map_err(|error| refused(&key, error))?;
        self.chain.check(&key, slot, &segment.header)?;
        Ok(Slotted::Segment(Box::new(Fetched {
            segment,
            modified_at,
            packed: false,
        })))
    }
}

/// Adds the records of the offers that a segment takes, up to one that is absent.
fn join<'k>(
    segment: &mut Segment,
    replies: impl Iterator<Item = (&'k String, Result<Reply, BucketError>)>,
) -> Result<(), Error> {
    let mut present = true;
    for (key, reply) in replies {
        let reply = reply.map_err(|error| at_key(key, error))?;
        match reply.found {
            Found::Object(object) if present => segment
                .join(&object.body)
                .map_err(|error| refused(key, error))?,
            _ => present = false,
        }
    }
    Ok(())
}

/// Takes records from a segment, and moves on.
fn take(fetched: &Fetched, run: &mut Run) -> Step {
    let segment = &fetched.segment;
    let header = &segment.header;
    let records_max = usize::try_from(run.limit.records).unwrap_or(usize::MAX);
    for (offset, body) in segment.records_from(run.position.offset) {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let full = run.entries.len() >= records_max || length > run.bytes_left;
        if full && !run.entries.is_empty() {
            return Step::Done;
        }
        run.bytes_left = run.bytes_left.saturating_sub(length);
        run.entries.push(Entry {
            offset,
            epoch: (header.epoch != Epoch::SHARED).then_some(header.epoch),
            appended_at: fetched.modified_at,
            body: body.to_vec(),
        });
        run.position.offset = offset.saturating_add(1);
    }
    let Some(next) = run.position.slot.next() else {
        return Step::Done;
    };
    run.position.slot = next;
    run.position.previous = Some((header.commit_id, segment.end_offset(), header.epoch));
    if run.entries.len() >= records_max || run.bytes_left == 0 {
        Step::Done
    } else {
        Step::Moved
    }
}

fn check_limit(limit: ReadLimit) -> Result<ReadLimit, Error> {
    if limit.records == 0 || limit.bytes == 0 {
        return Err(Error::InvalidArgument(
            "a read has a limit of at least 1 record and 1 byte".to_owned(),
        ));
    }
    Ok(ReadLimit {
        records: limit.records.min(READ_RECORDS_MAX),
        bytes: limit.bytes.min(READ_BYTES_MAX),
    })
}

/// What one read has read ahead, and how far it should.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub(super) fetched: VecDeque<(Slot, Fetched)>,
    /// Which records are in packs, if any of those that are read may be.
    pub(super) merged: Option<MergedPart>,
    /// Rounds of requests so far. The first asks for few segments, or for one where
    /// nothing tells how large they are.
    rounds: u32,
    /// How many reads in a row went on where the one before ended.
    resumed: u32,
    /// Bytes and records of the last segment, or before the first one of the newest
    /// of the log: a guess at the next ones.
    segment_bytes: usize,
    segment_records: usize,
    /// Slots below this are known to be filled.
    exist_until: Slot,
}

impl Ahead {
    /// Drops what lies before `slot` and takes what is there.
    fn next(&mut self, slot: Slot) -> Option<Fetched> {
        while let Some((at, _)) = self.fetched.front() {
            match (*at).cmp(&slot) {
                core::cmp::Ordering::Less => drop(self.fetched.pop_front()),
                core::cmp::Ordering::Equal => {
                    return self.fetched.pop_front().map(|(_, fetched)| fetched);
                }
                core::cmp::Ordering::Greater => return None,
            }
        }
        None
    }

    fn learn(&mut self, fetched: &Fetched) {
        self.segment_bytes = fetched.segment.memory_bytes();
        self.segment_records = fetched.segment.records_from(0).count();
    }

    /// How many segments to ask for: no more than the read can still return, as what is
    /// left over is dropped where it is large.
    fn window(&self, limit: ReadLimit, bytes_left: u32, entries: usize) -> usize {
        let most = match (self.rounds, self.segment_bytes) {
            (0, 0) => 1,
            (0, _) => AHEAD_BLIND_MAX,
            _ => BATCH_OBJECTS_MAX,
        };
        let records_left = usize::try_from(limit.records)
            .unwrap_or(usize::MAX)
            .saturating_sub(entries);
        let by_records = records_left.div_ceil(self.segment_records.max(1));
        let bytes = usize::try_from(bytes_left)
            .unwrap_or(usize::MAX)
            .min(AHEAD_BYTES_MAX);
        let by_bytes = bytes.div_ceil(self.segment_bytes.max(1));
        by_records.min(by_bytes).clamp(1, most)
    }

    /// What 1 has become after the rounds behind the first, `times` as much in each.
    fn grown(&self, times: usize) -> usize {
        times.saturating_pow(self.rounds.saturating_sub(1))
    }
}

/// Segments that were read ahead of need, of the log that was read last. They never
/// change, so they stay right.
#[derive(Debug, Default)]
pub(super) struct SegmentCache {
    /// The log, where the last read of it ended, and what it had read ahead.
    ended: Option<(Name, Slot, Ahead)>,
}

impl SegmentCache {
    /// What was read ahead for a read that goes on at `slot`.
    fn resume(&mut self, name: &Name, slot: Slot) -> Ahead {
        match self.ended.take() {
            Some((ended, at, mut ahead)) if ended == *name && at == slot => {
                ahead.resumed = ahead.resumed.saturating_add(1);
                ahead
            }
            _ => Ahead::default(),
        }
    }

    fn keep(&mut self, name: &Name, ended: Slot, mut ahead: Ahead) {
        let mut bytes = 0_usize;
        ahead.fetched.retain(|(slot, fetched)| {
            bytes = bytes.saturating_add(fetched.segment.memory_bytes());
            bytes <= CACHE_BYTES_MAX || *slot == ended
        });
        self.ended = Some((name.clone(), ended, ahead));
    }
}
