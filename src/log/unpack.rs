//! Reading from packs what is no longer in slots.

use std::collections::VecDeque;

use maybe_async::maybe_async;

use super::Log;
use super::pack::Pack;
use super::packs::{self, Listed};
use super::read::{AHEAD_BYTES_MAX, Ahead, Fetched, Run, Step};
use crate::bucket::{BATCH_OBJECTS_MAX, Bucket, BucketError, Found, Read, Reply};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::list::list;
use crate::slots::{StateReply, at_key, refused};

/// The part of a log that is in packs, as a state showed it. It can only have grown
/// since, or have been trimmed.
#[derive(Debug)]
pub(super) struct MergedPart {
    /// Slots below this are merged or trimmed.
    until: Slot,
    /// The offset behind the last record in packs.
    end_offset: u64,
    /// Packs that a listing showed and that are still to be read.
    packs: Vec<Listed>,
}

impl Ahead {
    /// Goes on in the packs.
    pub(super) fn enter_packs(&mut self, state: &StateReply) {
        self.merged = Some(MergedPart {
            until: state.first_kept(),
            end_offset: state.state().packs_end(),
            packs: Vec::new(),
        });
    }

    /// Whether a slot is merged and its segment has not been read yet.
    pub(super) fn needs_packs(&mut self, slot: Slot) -> bool {
        let is_merged = self.merged.as_ref().is_some_and(|part| slot < part.until);
        while self.fetched.front().is_some_and(|(at, _)| *at < slot) {
            self.fetched.pop_front();
        }
        is_merged && self.fetched.front().is_none_or(|(at, _)| *at != slot)
    }
}

impl Run {
    /// Goes to another slot, which holds the same offset.
    fn jump(&mut self, slot: Slot) {
        if slot != self.position.slot {
            self.position.slot = slot;
            // The segments between have no records, so the next one cannot be checked
            // against the last that was read.
            if !off(Guard::JumpForgetsPrevious) {
                self.position.previous = None;
            }
            self.position.absent_until = None;
        }
    }

    /// Goes to the segment that was read ahead and holds the next record.
    fn jump_to_fetched(&mut self) -> bool {
        let offset = self.position.offset;
        let found = self.ahead.fetched.iter().find_map(|(slot, fetched)| {
            let start = fetched.segment.header.base_offset;
            let holds = (start..fetched.segment.end_offset()).contains(&offset);
            (fetched.packed && holds).then_some(*slot)
        });
        if let Some(slot) = found {
            self.jump(slot);
        }
        found.is_some()
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Log<'_, B, E> {
    /// Moves to the segment that holds the next record, and reads the packs that it
    /// takes, ahead as far as the limits of the read ask for.
    pub(super) async fn unpack(&self, run: &mut Run) -> Result<Step, Error> {
        let Some(mut part) = run.ahead.merged.take() else {
            return Ok(Step::Search);
        };
        let offset = run.position.offset;
        if offset >= part.end_offset {
            run.jump(part.until);
            return Ok(Step::Moved);
        }
        if !run.jump_to_fetched() {
            let mut wanted = wanted(&part.packs, run);
            if wanted.is_empty() {
                part.packs = self.packs_from(offset).await?;
                wanted = self::wanted(&part.packs, run);
            }
            // What was read ahead before stood in slots that do not count.
            run.ahead.fetched = self.fetch_packs(&wanted).await?;
            let reached = wanted.last().map_or(offset, |listed| listed.pack.end);
            part.packs.retain(|listed| listed.pack.end > reached);
            if !run.jump_to_fetched() {
                return self.without_pack(offset).await;
            }
        }
        run.ahead.merged = Some(part);
        Ok(Step::Moved)
    }

    /// Reads packs, overlapped. What is wrong with one behind the first is reported
    /// when it is its turn.
    async fn fetch_packs(&self, wanted: &[Listed]) -> Result<VecDeque<(Slot, Fetched)>, Error> {
        let mut fetched = VecDeque::new();
        if wanted.is_empty() {
            return Ok(fetched);
        }
        let read = |listed: &Listed| Read::all(listed.pack.key(self.name()));
        let reads = list(wanted.iter().map(read));
        let replies = self.store().get_many(reads).await;
        for (number, (listed, reply)) in wanted.iter().zip(replies).enumerate() {
            let pack = match self.decode_pack(listed, reply) {
                Err(error) if number == 0 => return Err(error),
                Ok(Some(pack)) => pack,
                Ok(None) | Err(_) => break,
            };
            // What two packs hold is taken once: `Ahead` drops what lies behind.
            for segment in pack.segments {
                fetched.push_back((segment.segment.header.slot, segment));
            }
        }
        Ok(fetched)
    }

    fn decode_pack(
        &self,
        listed: &Listed,
        reply: Result<Reply, BucketError>,
    ) -> Result<Option<Pack>, Error> {
        let key = listed.pack.key(self.name());
        let reply = reply.map_err(|error| at_key(&key, error))?;
        let Found::Object(object) = reply.found else {
            return Ok(None);
        };
        let pack = Pack::decode(&object.body).map_err(|error| refused(&key, error))?;
        self.check_pack(listed.pack, &pack.header)?;
        Ok(Some(pack))
    }

    /// No pack holds a record that was merged: it has been trimmed, or packs are
    /// missing.
    async fn without_pack(&self, offset: u64) -> Result<Step, Error> {
        let state = self.chain.state(self.store()).await?;
        if state.state().first_kept_offset > offset {
            return Ok(Step::Trimmed(packs::first_kept(&state)));
        }
        Err(self.missing_record(offset).await)
    }
}

/// The packs to read next, each of which goes on where the one before ends.
fn wanted(packs: &[Listed], run: &Run) -> Vec<Listed> {
    let entries = u64::try_from(run.entries.len()).unwrap_or(u64::MAX);
    let records = u64::from(run.limit.records).saturating_sub(entries);
    let enough = run.position.offset.saturating_add(records);
    let mut bytes_left = AHEAD_BYTES_MAX.min(usize::try_from(run.bytes_left).unwrap_or(usize::MAX));
    let mut at = run.position.offset;
    let mut wanted: Vec<Listed> = Vec::new();
    for listed in packs {
        let full = at >= enough || bytes_left == 0 || wanted.len() == BATCH_OBJECTS_MAX;
        if full && !wanted.is_empty() {
            break;
        }
        if listed.pack.holds(at) {
            let size = usize::try_from(listed.size_bytes).unwrap_or(usize::MAX);
            bytes_left = bytes_left.saturating_sub(size);
            at = listed.pack.end;
            wanted.push(*listed);
        }
    }
    wanted
}
