//! Committing.

use maybe_async::maybe_async;

use super::known::{self, Draft, Known};
use super::pace::Turn;
use super::read::MISSING;
use super::recent::{Recent, mark};
use super::value::{self, ITEM_BLOBS_MAX};
use super::version::{About, Entry, Prepared, Sweep, Version};
use super::{
    AUTHOR_BYTES_MAX, CONTENT_BYTES_MAX, Change, CommitOutcome, Conflict, Dependency, EDITS_MAX,
    KEY_BYTES_MAX, MESSAGE_BYTES_MAX, Manifest, Manifests, Origin, version_of,
};
use crate::blob::{Generation, Reference};
use crate::bucket::{Bucket, StoreTime};
use crate::codec::{Header, Kind};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Slot, hash128};
use crate::list::list;
use crate::slots::{Candidate, Grace, Placed, RACES_BEFORE_WAIT, RACES_MAX, wait_after_races};
use crate::token::Epoch;

/// How many versions a commit examines to find out whether it conflicts.
const EXAMINE_MAX: u64 = 1024;

/// A conflict names at most this many keys.
const CONFLICT_KEYS_MAX: usize = 100;

/// What is to be put into the next slot.
pub(super) struct Commit<'a> {
    pub(super) change: &'a Change,
    /// In ascending order of key.
    pub(super) edits: Vec<Entry>,
    pub(super) commit_id: u128,
    pub(super) prepared: Option<Prepared>,
    pub(super) origin: Option<Origin>,
    /// The grace of a manifest that does not exist yet.
    pub(super) grace: Grace,
    /// Raises the generation to this, whoever may write.
    pub(super) raise: Option<Sweep>,
}

/// Where a commit stands.
pub(super) struct Place {
    pub(super) known: Option<Known>,
    /// A time at which the next slot had not been written.
    absent_at: Option<StoreTime>,
    /// Versions up to this one are known not to conflict.
    examined: u64,
    /// When the commit began, by the instance's clock.
    pub(super) began_ms: u64,
    /// When somebody asked for what is known, by the instance's clock.
    pub(super) seen_ms: u64,
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifests<B, E> {
    /// Commits a change atomically.
    ///
    /// One request if this instance knows the latest version and nobody else
    /// commits; two more for each race that it loses. Who goes on among others takes
    /// turns with them, and waits at most 30 s.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; the change is then certainly not committed.
    pub async fn commit(&self, name: &str, change: &Change) -> Result<CommitOutcome, Error> {
        let manifest = Manifest::new(self, name)?;
        let commit = Commit::new(change, self.store.draw_id())?;
        Ok(manifest.commit(&commit).await?.0)
    }
}

impl<'a> Commit<'a> {
    pub(super) fn new(change: &'a Change, drawn: u128) -> Result<Commit<'a>, Error> {
        Ok(Commit {
            edits: check_change(change)?,
            commit_id: match &change.id {
                // Never 0, which stands for "none".
                Some(id) => hash128(&[id.as_bytes()]).max(1),
                None => drawn,
            },
            prepared: None,
            origin: None,
            grace: Grace::DEFAULT,
            raise: None,
            change,
        })
    }

    fn own_epoch(&self) -> Epoch {
        self.change.writer.epoch()
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifest<'_, B, E> {
    /// Commits, and tells when the store accepted it, if this call made it do so.
    pub(super) async fn commit(
        &self,
        commit: &Commit<'_>,
    ) -> Result<(CommitOutcome, Option<StoreTime>), Error> {
        let mut fresh = false;
        let mut place = Place {
            known: self.recall(),
            absent_at: None,
            examined: commit.change.base,
            began_ms: self.store().monotonic_ms(),
            seen_ms: 0,
        };
        if place.known.is_none() {
            fresh = true;
            self.rediscover(&mut place).await?;
        }
        // A part of a transaction makes others wait, so it does not wait for them.
        let paced = commit.prepared.is_none();
        for race in 0..RACES_MAX {
            let mut turn = Turn::new(race, fresh);
            loop {
                if let Some(outcome) = self.judge(&mut place, commit).await? {
                    return Ok((self.end(place, outcome), None));
                }
                if !paced || !self.waits_for_turn(&mut place, &mut turn).await? {
                    break;
                }
            }
            let latest = place
                .known
                .as_ref()
                .map_or(0, |known| version_of(known.slot));
            let sweep = place.known.as_ref().map(|known| known.sweep);
            let in_force = sweep.unwrap_or_default().generation;
            let ahead = commit.change.base > latest || commit.newest_blob() > Some(in_force);
            if ahead && !off(Guard::NothingAhead) {
                if fresh {
                    return Err(Error::InvalidArgument(format!(
                        "the latest version is {latest} and its generation {}, so base \
                         cannot be {}, nor a blob of a later generation",
                        in_force.0, commit.change.base
                    )));
                }
                place.known = match place.known.take() {
                    Some(known) => self.refresh(known).await?,
                    None => self.discover().await?.1,
                };
                fresh = true;
                continue;
            }
            place.seen_ms = self.store().monotonic_ms();
            let (placed, version) = self.place(&place, commit).await?;
            match placed {
                Placed::Committed { at } => {
                    let slot = version.header.slot;
                    place.known = match place.known.take() {
                        // What was written is known. If it did not follow, it is
                        // committed all the same, and the next call will say so.
                        Some(mut known) => known.advance(version, at).is_ok().then_some(known),
                        None => {
                            let absent_at = place.absent_at.max(at);
                            Known::fold(None, version, Vec::new(), at, absent_at).ok()
                        }
                    };
                    if let Some(known) = &mut place.known {
                        known.left = 0;
                        known.pace.has_committed(self.now());
                    }
                    let outcome = CommitOutcome::Committed(version_of(slot));
                    return Ok((self.end(place, outcome), at));
                }
                Placed::Lost(link) => {
                    if let Some(known) = &mut place.known {
                        self.meet(known);
                    }
                    let followed = match &mut place.known {
                        Some(known) if paced || race < RACES_BEFORE_WAIT => {
                            self.follow(known, link).await?
                        }
                        _ => false,
                    };
                    if !followed {
                        if race >= RACES_BEFORE_WAIT && !paced {
                            wait_after_races(self.store(), race).await;
                        }
                        self.rediscover(&mut place).await?;
                    }
                }
                Placed::Overtaken => self.rediscover(&mut place).await?,
                Placed::Unknown(why) => return Ok((CommitOutcome::Indeterminate(why), None)),
            }
        }
        Err(Error::Unavailable(format!(
            "{}: other writers won every slot that was tried",
            self.chain.keys.slots_prefix()
        )))
    }

    pub(super) async fn rediscover(&self, place: &mut Place) -> Result<(), Error> {
        let before = place.known.as_ref().map(|known| (known.slot, known.pace));
        place.seen_ms = self.store().monotonic_ms();
        let (newest, mut known) = self.catch_up(place.known.take()).await?;
        if let (Some((slot, pace)), Some(known)) = (before, &mut known) {
            known.pace = pace;
            if known.slot != slot {
                self.meet(known);
            }
        }
        place.absent_at = newest.observed_at;
        place.known = known;
        Ok(())
    }

    fn end(&self, place: Place, outcome: CommitOutcome) -> CommitOutcome {
        if let Some(known) = place.known {
            self.remember(known);
        }
        outcome
    }

    /// Decides what may be decided without writing. Whatever the known version says
    /// against a commit holds for every later one as well.
    async fn judge(
        &self,
        place: &mut Place,
        commit: &Commit<'_>,
    ) -> Result<Option<CommitOutcome>, Error> {
        let Some(known) = &mut place.known else {
            return Ok(None);
        };
        if !off(Guard::SettledBeforeCommit) {
            self.settle(known).await?;
        }
        if let Some(raise) = commit.raise {
            // Raised by another collector, or by an earlier attempt.
            let done = known.sweep.generation >= raise.generation;
            let version = version_of(known.slot);
            return Ok(done.then_some(CommitOutcome::Committed(version)));
        }
        let epoch = known.epoch;
        let outcome = self.examine(known, place.examined, commit).await?;
        if outcome.is_none() {
            // What became of a prepared version is certain only once another follows:
            // the decision may have been collected, and made anew against it.
            let certain = match known.fate {
                Some(_) if !off(Guard::FateCertain) => known.slot.0,
                _ => version_of(known.slot),
            };
            place.examined = place.examined.max(certain);
        }
        Ok(match outcome {
            // Committed before, whoever wrote since.
            Some(CommitOutcome::Committed(version)) => Some(CommitOutcome::Committed(version)),
            // Closes the race of a former leader with its successor.
            _ if commit.own_epoch() < epoch && !off(Guard::ManifestEpoch) => {
                Some(CommitOutcome::Fenced(epoch))
            }
            // Closes the race with a collector that has read this version and does
            // not expect the blob to be named any more.
            None if !commit.names_only_kept(known) && !off(Guard::BlobsKept) => {
                Some(CommitOutcome::Expired(known.sweep.generation))
            }
            outcome => outcome,
        })
    }

    /// Looks at the versions behind `examined`: is one of them this very commit, or
    /// does one touch what it depends on?
    async fn examine(
        &self,
        known: &Known,
        examined: u64,
        commit: &Commit<'_>,
    ) -> Result<Option<CommitOutcome>, Error> {
        let change = commit.change;
        let latest = version_of(known.slot);
        let blind = change.depends_on == Dependency::Nothing && change.id.is_none();
        if examined >= latest || blind {
            return Ok(None);
        }
        let conflict = |keys| Some(CommitOutcome::Conflict(Conflict { latest, keys }));
        // Version n is in slot n − 1, so this is the first slot to look at.
        let first = examined;
        let end = version_of(known.changes_since);
        let mut keys = Vec::new();
        if first < end
            && change.depends_on != Dependency::All
            && known.recent.excludes(latest - first, &commit.marks())
        {
            return Ok(None);
        }
        if first < end {
            if end - first > EXAMINE_MAX {
                return Ok(conflict(keys));
            }
            let slots = list((first..end).map(Slot));
            let mut fetched = self.fetch(&slots).await?;
            let kept = self.chain.state(self.store()).await?.first_kept();
            if kept > Slot(first) && !off(Guard::ExaminedKept) {
                return Ok(conflict(keys));
            }
            let mut fate = known.fate_since();
            for (slot, fetched) in slots.into_iter().zip(fetched.drain(..)).rev() {
                let Some(fetched) = fetched else {
                    return Err(self.corrupt(slot, MISSING));
                };
                let version = fetched.version;
                if version.header.commit_id == commit.commit_id && !off(Guard::CommitKnown) {
                    return Ok(Some(CommitOutcome::Committed(version_of(slot))));
                }
                if version.prepared.is_none() || (fate == Some(true) && !off(Guard::ExaminedFate)) {
                    for (key, _) in version.edits {
                        keys.push(key);
                    }
                }
                fate = version.fate;
            }
        }
        for changed in known.changes_from(Slot(first)) {
            if changed.commit_id == commit.commit_id && !off(Guard::CommitKnown) {
                return Ok(Some(CommitOutcome::Committed(version_of(changed.slot))));
            }
            keys.extend_from_slice(&changed.keys);
        }
        keys.retain(|key| commit.depends_on(key) && !off(Guard::ConflictSeen));
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(CONFLICT_KEYS_MAX);
        if keys.is_empty() && change.depends_on != Dependency::All {
            return Ok(None);
        }
        Ok(conflict(keys))
    }

    /// Puts a commit into the slot behind what is known.
    async fn place(&self, place: &Place, commit: &Commit<'_>) -> Result<(Placed, Version), Error> {
        let known = place.known.as_ref();
        let next = known::next(
            known,
            &Draft {
                edits: &commit.edits,
                prepares: commit.prepared.is_some(),
            },
        );
        if next.content_bytes > CONTENT_BYTES_MAX {
            return Err(Error::InvalidArgument(format!(
                "a manifest has at most {CONTENT_BYTES_MAX} bytes, not {}",
                next.content_bytes
            )));
        }
        let grace = known.map_or(commit.grace, |known| known.grace);
        let slot = known.map_or(Slot::FIRST, Known::next_slot);
        let mut version = Version {
            header: Header {
                kind: Kind::Version,
                identity: self.chain.keys.identity(),
                slot,
                commit_id: commit.commit_id,
                previous_id: known.map_or(0, |known| known.commit_id),
                epoch: match (commit.raise, known) {
                    (Some(_), Some(known)) if !off(Guard::RaiseKeepsEpoch) => known.epoch,
                    _ => commit.own_epoch(),
                },
                base_offset: next.base.0,
                record_count: 0,
                grace_ms: grace.period_ms,
                clock_margin_ms: grace.margin_ms,
                payload_bytes: 0,
                payload_crc: 0,
                sections: Vec::new(),
            },
            about: About {
                hash: next.hash,
                author: commit.change.author.clone(),
                message: commit.change.message.clone(),
            },
            prepared: commit.prepared.clone(),
            fate: known.and_then(|known| known.fate),
            origin: commit.origin.clone().filter(|_| slot == Slot::FIRST),
            sweep: commit
                .raise
                .or(known.map(|known| known.sweep))
                .unwrap_or_default(),
            edits: commit.edits.clone(),
            carried: next.carried,
            left: 0,
            instance: 0,
            recent: Recent::default(),
        };
        if let Some(known) = known
            && let Some((left, told)) = known.pace.tells(self.now(), &known.recent)
        {
            version.left = left;
            version.instance = known.pace.instance;
            version.recent = known.recent.last(told);
        }
        let body = version
            .encode()
            .map_err(|error| Error::InvalidArgument(error.to_string()))?;
        let candidate = Candidate {
            slot,
            body,
            commit_id: commit.commit_id,
            absent_at: known.map_or(place.absent_at, |known| known.absent_at),
            grace,
        };
        let placed = self.chain.place(self.store(), candidate).await?;
        Ok((placed, version))
    }
}

impl Commit<'_> {
    /// The blobs that its edits name.
    fn blobs(&self) -> Vec<&Reference> {
        let mut blobs = Vec::new();
        for edit in &self.change.edits {
            for blob in &edit.blobs {
                blobs.push(blob);
            }
        }
        blobs
    }

    fn newest_blob(&self) -> Option<Generation> {
        let mut newest = None;
        for blob in self.blobs() {
            newest = newest.max(Some(blob.generation));
        }
        newest
    }

    /// Whether no collector can have taken a blob that it names for unnamed:
    /// `docs/COLLECTION.md`, rule 1.
    fn names_only_kept(&self, known: &Known) -> bool {
        let first_kept = known.sweep.generation.0.saturating_sub(1);
        let mut named = None;
        for blob in self.blobs() {
            let is_old = blob.generation.0 < first_kept;
            if is_old && !named.get_or_insert_with(|| known.named()).contains(blob) {
                return false;
            }
        }
        true
    }

    /// What it has to look for in versions that others committed, in ascending order.
    fn marks(&self) -> Vec<u32> {
        let mut marks = Vec::from([mark(&self.commit_id.to_le_bytes())]);
        if self.change.depends_on != Dependency::Nothing {
            for (key, _) in &self.edits {
                marks.push(mark(key.as_bytes()));
            }
        }
        if let Dependency::Keys(keys) = &self.change.depends_on {
            for key in keys {
                marks.push(mark(key.as_bytes()));
            }
        }
        marks.sort_unstable();
        marks
    }

    fn depends_on(&self, key: &str) -> bool {
        let edits_it = || {
            self.edits
                .binary_search_by(|(own, _)| own.as_str().cmp(key))
                .is_ok()
        };
        match &self.change.depends_on {
            Dependency::Nothing => false,
            Dependency::All => true,
            Dependency::Edits => edits_it(),
            Dependency::Keys(keys) => edits_it() || keys.iter().any(|own| own == key),
        }
    }
}

/// Checks a change, and sorts its edits.
fn check_change(change: &Change) -> Result<Vec<Entry>, Error> {
    change.writer.check()?;
    let invalid = |what: String| Err(Error::InvalidArgument(what));
    if change.edits.len() > EDITS_MAX {
        return invalid(format!(
            "a commit has at most {EDITS_MAX} edits, not {}",
            change.edits.len()
        ));
    }
    for (what, text, max) in [
        ("an author", &change.author, AUTHOR_BYTES_MAX),
        ("a message", &change.message, MESSAGE_BYTES_MAX),
    ] {
        if text.len() > max {
            return invalid(format!(
                "{what} has at most {max} bytes, not {}",
                text.len()
            ));
        }
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(change.edits.len());
    for edit in &change.edits {
        if edit.key.is_empty() || edit.key.len() > KEY_BYTES_MAX {
            return invalid(format!(
                "a key has 1 to {KEY_BYTES_MAX} bytes, not {}",
                edit.key.len()
            ));
        }
        let blobs = edit.blobs.len();
        if blobs > ITEM_BLOBS_MAX || (edit.value.is_none() && blobs > 0) {
            return invalid(format!(
                "an item names at most {ITEM_BLOBS_MAX} blobs and no item none, not {blobs}"
            ));
        }
        let value = edit.value.as_ref();
        let stored = value.map(|value| value::encode(value, &edit.blobs));
        entries.push((edit.key.clone(), stored));
    }
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    let twice = entries.iter().zip(entries.iter().skip(1));
    for ((key, _), (next, _)) in twice {
        if key == next {
            return invalid(format!(
                "the key {} is edited twice",
                crate::keys::quoted(key)
            ));
        }
    }
    if change
        .id
        .as_ref()
        .is_some_and(|id| id.is_empty() || id.len() > AUTHOR_BYTES_MAX)
    {
        return invalid(format!("an id has 1 to {AUTHOR_BYTES_MAX} bytes"));
    }
    Ok(entries)
}
