//! Reading records in order.

use std::collections::{BTreeMap, VecDeque};

use super::search::{self, Located};
use super::segment::Segment;
use super::tail::Tail;
use super::{
    Cursor, Entry, Log, Logs, READ_BYTES_MAX, READ_RECORDS_MAX, ReadLimit, ReadOutcome, WAIT_MS_MAX,
};
use crate::bucket::{BATCH_OBJECTS_MAX, Bucket, BucketError, Found, Read, Reply, StoreTime};
use crate::env::Env;
use crate::error::Error;
use crate::keys::{Name, Slot};
use crate::slots::{Grace, at_key, refused};
use crate::token::Epoch;

/// An instance keeps this many bytes of segments that it has read ahead.
const CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One round of reading ahead asks for about this many bytes at most.
const AHEAD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reading ahead this far without knowing the tail would ask for segments that do
/// not exist, at a cost of more than the one listing that tells.
const AHEAD_BLIND_MAX: usize = 4;

/// How often a read starts over because what it relied on turned out wrong.
const RESTARTS_MAX: u32 = 3;

/// The first pause between polls of a waiting read.
const POLL_FIRST_MS: u64 = 20;

/// No pause between polls is longer than this.
const POLL_MAX_MS: u64 = 1_000;

/// A segment as it was read.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    segment: Segment,
    modified_at: Option<StoreTime>,
}

/// What a slot held.
enum Slotted {
    Segment(Fetched),
    Absent(Option<StoreTime>),
}

/// Where a read stands.
struct Position {
    offset: u64,
    slot: Slot,
    absent_until: Option<StoreTime>,
    /// Commit id, end and epoch of the segment before, if it was read.
    previous: Option<(u128, u64, Epoch)>,
}

/// What the next slot brought.
enum Step {
    /// Go on: the position has moved.
    Moved,
    /// The limit is reached, or the tail, or what follows has to be resolved by
    /// another call.
    Done,
    /// The cursor was wrong. Search by offset.
    Search,
    /// The record was trimmed.
    Trimmed(Cursor),
}

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

impl<B: Bucket, E: Env> Log<'_, B, E> {
    async fn read(&self, start: Cursor, limit: ReadLimit) -> Result<ReadOutcome, Error> {
        let mut cursor = start;
        for _ in 0..RESTARTS_MAX {
            let Some(slot) = cursor.slot else {
                match self.locate_offset(cursor.offset).await? {
                    Located::Segment(found) => cursor = found,
                    Located::Beyond(tail) => {
                        return Ok(ReadOutcome::Records(Vec::new(), tail));
                    }
                    Located::Trimmed(kept) => return Ok(ReadOutcome::Trimmed(kept)),
                }
                continue;
            };
            let position = Position {
                offset: cursor.offset,
                slot,
                absent_until: cursor.absent_until,
                previous: None,
            };
            match self.read_from(position, limit).await? {
                Some(outcome) => return Ok(outcome),
                None => cursor = Cursor::at(start.offset),
            }
        }
        Err(Error::Unavailable(format!(
            "{}: the log changes faster than it can be read",
            self.chain.keys.slots_prefix()
        )))
    }

    /// Reads on from a known slot, or returns `None` if the offset is not there.
    async fn read_from(
        &self,
        mut position: Position,
        limit: ReadLimit,
    ) -> Result<Option<ReadOutcome>, Error> {
        let mut entries = Vec::new();
        let mut bytes_left = limit.bytes;
        let mut ahead = Ahead::default();
        ahead.rounds = self
            .logs
            .segments
            .borrow()
            .rounds(self.name(), position.slot);
        loop {
            let slotted = self
                .fetch(&position, &mut ahead, limit, entries.len())
                .await?;
            let step = match slotted {
                Slotted::Absent(observed_at) => {
                    if !entries.is_empty() {
                        break;
                    }
                    return self.at_absent(&position, observed_at).await;
                }
                Slotted::Segment(fetched) => {
                    let step = self.check(&mut position, &fetched).await?;
                    let slot = position.slot;
                    let step = match step {
                        Step::Moved => take(
                            &fetched,
                            &mut position,
                            limit,
                            &mut bytes_left,
                            &mut entries,
                        ),
                        step => step,
                    };
                    if position.slot == slot {
                        ahead.fetched.push_front((slot, fetched));
                    }
                    step
                }
            };
            match step {
                Step::Moved => {}
                Step::Done => break,
                Step::Trimmed(_) | Step::Search if !entries.is_empty() => break,
                Step::Trimmed(kept) => return Ok(Some(ReadOutcome::Trimmed(kept))),
                Step::Search => return Ok(None),
            }
        }
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

    /// Decides whether a segment is the one that belongs at `position`.
    async fn check(&self, position: &mut Position, fetched: &Fetched) -> Result<Step, Error> {
        let header = &fetched.segment.header;
        let key = || self.chain.keys.slot(position.slot);
        // A trimmed slot can be filled again by a writer that was asleep. Such an
        // object is younger than the time until which the slot cannot have been
        // trimmed; if that does not tell, the watermark does.
        let genuine = matches!(
            (fetched.modified_at, position.absent_until),
            (Some(modified_at), Some(until)) if modified_at < until
        );
        if !genuine {
            let state = self.chain.state(self.store()).await?;
            if state.first_kept() > position.slot {
                let tail =
                    Tail::behind(header, None, None).map_err(|error| refused(&key(), error))?;
                return Ok(Step::Trimmed(search::first_kept(&tail, &state)));
            }
        }
        if let Some((commit_id, end, epoch)) = position.previous
            && (header.previous_id != commit_id
                || header.base_offset != end
                || header.epoch < epoch)
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
    ) -> Result<Option<ReadOutcome>, Error> {
        let unwritten = position.slot == Slot::FIRST
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
            return Ok(Some(ReadOutcome::Records(Vec::new(), cursor)));
        }
        let tail = self.discover().await?;
        if tail.next_slot()? > position.slot {
            let state = self.chain.state(self.store()).await?;
            if state.first_kept() > position.slot {
                return Ok(Some(ReadOutcome::Trimmed(search::first_kept(
                    &tail, &state,
                ))));
            }
            // Others may have filled it since it was read, but it cannot stay empty.
            let again = self.chain.link(self.store(), position.slot).await?;
            if again.object.is_none() {
                return Err(self.missing(position.slot).await);
            }
        } else if tail.cursor().offset == position.offset {
            return Ok(Some(ReadOutcome::Records(Vec::new(), tail.cursor())));
        }
        // Filled since it was read, or never the place of this offset.
        Ok(None)
    }

    /// The segment at `position`, from what was read ahead or from the store.
    async fn fetch(
        &self,
        position: &Position,
        ahead: &mut Ahead,
        limit: ReadLimit,
        entries: usize,
    ) -> Result<Slotted, Error> {
        if let Some(fetched) = ahead.next(position.slot) {
            return Ok(Slotted::Segment(fetched));
        }
        if let Some(fetched) = self
            .logs
            .segments
            .borrow_mut()
            .take(self.name(), position.slot)
        {
            ahead.learn(&fetched);
            return Ok(Slotted::Segment(fetched));
        }
        let wanted = ahead.window(limit, entries);
        let count = self.known_to_exist(position.slot, wanted, ahead).await?;
        let slots: Vec<Slot> = (position.slot.0..).take(count.max(1)).map(Slot).collect();
        let reads: Vec<Read> = slots
            .iter()
            .map(|slot| Read::all(self.chain.keys.slot(*slot)))
            .collect();
        let replies = match reads.as_slice() {
            [read] => vec![self.store().get(read.clone()).await],
            _ => self.store().get_many(reads).await,
        };
        ahead.rounds += 1;
        let mut replies = slots.into_iter().zip(replies);
        let first = match replies.next() {
            Some((slot, reply)) => self.slotted(slot, reply)?,
            None => Slotted::Absent(None),
        };
        for (slot, reply) in replies {
            // Only the first is needed now. What is wrong with a later one is
            // reported when it is its turn.
            let Ok(Slotted::Segment(fetched)) = self.slotted(slot, reply) else {
                break;
            };
            ahead.fetched.push_back((slot, fetched));
        }
        if let Slotted::Segment(fetched) = &first {
            ahead.learn(fetched);
        }
        Ok(first)
    }

    /// How many of the `wanted` segments from `slot` on can be read at once without
    /// asking for many that do not exist.
    async fn known_to_exist(
        &self,
        slot: Slot,
        wanted: usize,
        ahead: &mut Ahead,
    ) -> Result<usize, Error> {
        if wanted <= 1 {
            return Ok(1);
        }
        let known = |tail: &Tail| {
            tail.next_slot()
                .map_or(0, |next| next.0.saturating_sub(slot.0))
        };
        let mut exist = self.remembered_tail().as_ref().map_or(0, known);
        exist = exist.max(ahead.exist_until.0.saturating_sub(slot.0));
        if exist == 0 && wanted > AHEAD_BLIND_MAX {
            let newest = self.chain.newest(self.store()).await?;
            ahead.exist_until = newest.slot.and_then(Slot::next).unwrap_or(Slot::FIRST);
            exist = ahead.exist_until.0.saturating_sub(slot.0);
        }
        let exist = usize::try_from(exist).unwrap_or(usize::MAX);
        Ok(if exist == 0 {
            wanted.min(AHEAD_BLIND_MAX)
        } else {
            wanted.min(exist)
        })
    }

    fn slotted(&self, slot: Slot, reply: Result<Reply, BucketError>) -> Result<Slotted, Error> {
        let key = self.chain.keys.slot(slot);
        let reply = reply.map_err(|error| at_key(&key, error))?;
        let Found::Object(object) = reply.found else {
            return Ok(Slotted::Absent(reply.observed_at));
        };
        let modified_at = object.metadata.modified_at;
        let segment = Segment::decode(object.body).map_err(|error| refused(&key, error))?;
        self.chain.check(&key, slot, &segment.header)?;
        Ok(Slotted::Segment(Fetched {
            segment,
            modified_at,
        }))
    }
}

/// Takes records from a segment, and moves on.
fn take(
    fetched: &Fetched,
    position: &mut Position,
    limit: ReadLimit,
    bytes_left: &mut u32,
    entries: &mut Vec<Entry>,
) -> Step {
    let segment = &fetched.segment;
    let header = &segment.header;
    for (offset, body) in segment.records_from(position.offset) {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let full = entries.len() >= usize::try_from(limit.records).unwrap_or(usize::MAX)
            || length > *bytes_left;
        if full && !entries.is_empty() {
            return Step::Done;
        }
        *bytes_left = bytes_left.saturating_sub(length);
        entries.push(Entry {
            offset,
            epoch: (header.epoch != Epoch::SHARED).then_some(header.epoch),
            appended_at: fetched.modified_at,
            body: body.to_vec(),
        });
        position.offset = offset.saturating_add(1);
    }
    let Some(next) = position.slot.next() else {
        return Step::Done;
    };
    position.slot = next;
    position.previous = Some((header.commit_id, segment.end_offset(), header.epoch));
    let full =
        entries.len() >= usize::try_from(limit.records).unwrap_or(usize::MAX) || *bytes_left == 0;
    if full { Step::Done } else { Step::Moved }
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
struct Ahead {
    fetched: VecDeque<(Slot, Fetched)>,
    /// Rounds of requests so far. Each asks for twice as many as the one before.
    rounds: u32,
    /// Bytes and records of the last segment: a guess at the next ones.
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
        self.segment_bytes = fetched.segment.memory_bytes().max(1);
        self.segment_records = fetched.segment.records_from(0).count().max(1);
    }

    /// How many segments to ask for.
    fn window(&self, limit: ReadLimit, entries: usize) -> usize {
        if self.rounds == 0 {
            return 1;
        }
        let by_rounds = 1_usize << self.rounds.min(6);
        let records_left = usize::try_from(limit.records)
            .unwrap_or(usize::MAX)
            .saturating_sub(entries);
        let by_records = records_left.div_ceil(self.segment_records);
        let bytes = usize::try_from(limit.bytes)
            .unwrap_or(usize::MAX)
            .min(AHEAD_BYTES_MAX);
        let by_bytes = bytes.div_ceil(self.segment_bytes);
        by_rounds
            .min(by_records)
            .min(by_bytes)
            .clamp(1, BATCH_OBJECTS_MAX)
    }
}

/// Segments that were read ahead of need. They never change, so they stay right.
#[derive(Debug, Default)]
pub(super) struct SegmentCache {
    segments: BTreeMap<(Name, Slot), Fetched>,
    bytes: usize,
    /// Where the last read ended, and how many rounds of requests led there.
    ended: Option<(Name, Slot, u32)>,
}

impl SegmentCache {
    /// How many rounds of requests led to a read that goes on at `slot`.
    fn rounds(&self, name: &Name, slot: Slot) -> u32 {
        match &self.ended {
            Some((ended, at, rounds)) if ended == name && *at == slot => *rounds,
            _ => 0,
        }
    }

    fn take(&mut self, name: &Name, slot: Slot) -> Option<Fetched> {
        let fetched = self.segments.remove(&(name.clone(), slot))?;
        self.bytes = self.bytes.saturating_sub(fetched.segment.memory_bytes());
        Some(fetched)
    }

    fn keep(&mut self, name: &Name, from: Slot, ahead: Ahead) {
        self.ended = Some((name.clone(), from, ahead.rounds));
        for (slot, fetched) in ahead.fetched {
            let bytes = fetched.segment.memory_bytes();
            if slot < from || bytes > CACHE_BYTES_MAX {
                continue;
            }
            if self.bytes.saturating_add(bytes) > CACHE_BYTES_MAX {
                self.segments.clear();
                self.bytes = 0;
            }
            self.bytes += bytes;
            let replaced = self.segments.insert((name.clone(), slot), fetched);
            let freed = replaced.map_or(0, |old| old.segment.memory_bytes());
            self.bytes = self.bytes.saturating_sub(freed);
        }
    }
}
