//! Reading the latest version, an earlier one, and the history.

use maybe_async::maybe_async;

use super::known::{BROKEN, Known};
use super::version::{self, Version};
use super::{At, HISTORY_MAX, Manifest, Manifests, Snapshot, Summary, decision, version_of};
use crate::bucket::{BATCH_OBJECTS_MAX, Bucket, Found, Read, Span, StoreTime};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::list::list;
use crate::slots::{Chain, HEADER_READ, Link, Newest, at_key, refused};

/// How many versions that others committed are followed one by one before a
/// listing is cheaper.
const FOLLOW_MAX: u32 = 2;

/// How often a read starts over because the manifest changed under it.
const RESTARTS_MAX: u32 = 3;

pub(super) const MISSING: &str = "the version is missing";

/// A version as it was read.
pub(super) struct Fetched {
    pub(super) version: Version,
    /// The opaque version of the object.
    tag: crate::bucket::Version,
    modified_at: Option<StoreTime>,
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifests<B, E> {
    /// Reads the latest version, or `None` if there is none. Linearizable.
    ///
    /// One request if this instance knew it, else a listing and a round of
    /// overlapped reads.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn latest(&self, name: &str) -> Result<Option<Snapshot>, Error> {
        let manifest = Manifest::new(self, name)?;
        let Some((known, summary)) = manifest.decided().await? else {
            return Ok(None);
        };
        let items = known.items();
        manifest.remember(known);
        Ok(summary.map(|summary| Snapshot { summary, items }))
    }

    /// Reads one version, for a reader only if its pin keeps the version.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn at(&self, name: &str, version: u64, reader: Option<&str>) -> Result<At, Error> {
        let manifest = Manifest::new(self, name)?;
        manifest.at(slot_of(version)?, reader).await
    }

    /// Versions below `before`, the newest first, at most `limit` and
    /// [`HISTORY_MAX`].
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn history(
        &self,
        name: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Summary>, Error> {
        let manifest = Manifest::new(self, name)?;
        manifest.history(before, limit.min(HISTORY_MAX)).await
    }
}

/// The slot of a version.
pub(super) fn slot_of(version: u64) -> Result<Slot, Error> {
    version
        .checked_sub(1)
        .map(Slot)
        .ok_or_else(|| Error::InvalidArgument("versions start at 1".to_owned()))
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifest<'_, B, E> {
    /// The manifest as it is at some moment during this call.
    pub(super) async fn fresh(&self) -> Result<Option<Known>, Error> {
        match self.recall() {
            Some(known) => self.refresh(known).await,
            None => Ok(self.discover().await?.1),
        }
    }

    /// The latest version that took effect or was aborted, as it is at some moment
    /// during this call. A pending one has not happened yet: what is known then are
    /// the items before it, and the summary is that of the version before, if there
    /// is one.
    async fn decided(&self) -> Result<Option<(Known, Option<Summary>)>, Error> {
        for _ in 0..RESTARTS_MAX {
            let Some(mut known) = self.fresh().await? else {
                return Ok(None);
            };
            let Some(prepared) = known.prepared() else {
                let summary = known.summary();
                return Ok(Some((known, Some(summary))));
            };
            let seen = decision::look(self.store(), prepared.transaction).await?;
            // A decision for it is the only one there ever was. Anything else counts if
            // nothing has followed yet: until then, no decision is collected.
            let trusted = match seen.commits {
                Some(commits) => commits || off(Guard::DecisionInForce),
                None => false,
            };
            let followed = !trusted && self.is_followed(&known).await?;
            if !followed {
                let summary = match seen.commits {
                    None => self.summary_before(&known).await?,
                    Some(commits) => {
                        known.decide(commits);
                        Some(known.summary())
                    }
                };
                return Ok(Some((known, summary)));
            }
            self.remember(known);
        }
        Err(Error::Unavailable(format!(
            "{}: the manifest changes faster than it can be read",
            self.chain.keys.slots_prefix()
        )))
    }

    /// The summary of the version before a known one.
    async fn summary_before(&self, known: &Known) -> Result<Option<Summary>, Error> {
        let Some(before) = known.slot.0.checked_sub(1).map(Slot) else {
            return Ok(None);
        };
        let Some(link) = self.chain.link(self.store(), before).await?.object else {
            return Err(self.missing(before).await);
        };
        let version = Version::decode_header(link.header)
            .map_err(|error| refused(&self.chain.keys.slot(before), error))?;
        Ok(Some(version.summary(
            link.modified_at,
            known.fate_before.or(Some(true)),
        )))
    }

    /// What the header of a version tells that is not trimmed.
    pub(super) async fn head(&self, slot: Slot) -> Result<Version, Error> {
        match self.fetch_as(&[slot], HEADER_READ).await?.pop().flatten() {
            Some(fetched) => Ok(fetched.version),
            None => Err(self.missing(slot).await),
        }
    }

    /// What to say of a version that should be there and is not.
    async fn missing(&self, slot: Slot) -> Error {
        match self.chain.state(self.store()).await {
            Ok(state) if state.first_kept() > slot => Error::Unavailable(format!(
                "{}: the version was trimmed during this call",
                self.chain.keys.slot(slot)
            )),
            Ok(_) => self.corrupt(slot, MISSING),
            Err(error) => error,
        }
    }

    /// Whether there is a version behind a known one.
    async fn is_followed(&self, known: &Known) -> Result<bool, Error> {
        let seen = self.chain.link(self.store(), known.next_slot()).await?;
        Ok(seen.object.is_some()
            || !Chain::is_unwritten(known.grace, known.absent_at, seen.observed_at)
                && self.chain.newest(self.store()).await?.slot != Some(known.slot))
    }

    /// Whether the version in `slot`, which was prepared, takes effect, or `None` if
    /// that is not decided.
    pub(super) async fn fate(&self, slot: Slot, transaction: u128) -> Result<Option<bool>, Error> {
        let above = [Slot(slot.0.saturating_add(1))];
        let mut decided = None;
        // What follows tells for certain. If nothing does, before and after, the
        // decision has not been collected.
        for last in [false, true] {
            if last && off(Guard::FateAboveTwice) {
                break;
            }
            if let Some(Some(above)) = self.fetch_as(&above, HEADER_READ).await?.pop() {
                return Ok(above.version.fate);
            }
            if !last {
                decided = decision::look(self.store(), transaction).await?.commits;
            }
        }
        Ok(decided)
    }

    /// Goes on from a known version to the latest.
    pub(super) async fn refresh(&self, mut known: Known) -> Result<Option<Known>, Error> {
        for _ in 0..=FOLLOW_MAX {
            let seen = self.chain.link(self.store(), known.next_slot()).await?;
            match seen.object {
                None if off(Guard::EmptySlotIsTail)
                    || Chain::is_unwritten(known.grace, known.absent_at, seen.observed_at) =>
                {
                    known.absent_at = seen.observed_at;
                    return Ok(Some(known));
                }
                None => break,
                Some(link) => {
                    if !self.follow(&mut known, link).await? {
                        break;
                    }
                }
            }
        }
        Ok(self.discover().await?.1)
    }

    /// Goes on to the version in `link`, which was found in the next slot, unless
    /// the manifest has been trimmed past it.
    ///
    /// A trimmed slot can be filled again by a writer that was asleep. What stands
    /// there then never counts.
    pub(super) async fn follow(&self, known: &mut Known, link: Link) -> Result<bool, Error> {
        let slot = link.header.slot;
        if !Chain::is_unwritten(known.grace, known.absent_at, link.modified_at)
            && !off(Guard::VersionGenuine)
        {
            let state = self.chain.state(self.store()).await?;
            if state.first_kept() > slot {
                return Ok(false);
            }
        }
        let next = Version::decode(&link.body)
            .map_err(|error| refused(&self.chain.keys.slot(slot), error))?;
        if known.fate.is_some() && known.fate != next.fate && !off(Guard::FateCompared) {
            // The transaction was decided otherwise, and the decision was collected
            // before this instance looked for it.
            return Ok(false);
        }
        known
            .advance(next, link.modified_at)
            .map_err(|what| self.corrupt(slot, what))?;
        Ok(true)
    }

    /// Finds the latest version from nothing.
    pub(super) async fn discover(&self) -> Result<(Newest, Option<Known>), Error> {
        self.catch_up(None).await
    }

    /// Finds the latest version: a listing, whose lengths tell which objects to read,
    /// and one round of overlapped reads. What is known already is not read again.
    pub(super) async fn catch_up(
        &self,
        mut known: Option<Known>,
    ) -> Result<(Newest, Option<Known>), Error> {
        let mut restarts = 0;
        loop {
            let newest = self.chain.newest(self.store()).await?;
            let (Some(slot), Some(listed)) = (newest.slot, &newest.object) else {
                return Ok((newest, None));
            };
            if let Some(mut known) = known.take_if(|known| known.slot == slot) {
                known.absent_at = newest.observed_at;
                return Ok((newest, Some(known)));
            }
            known = known.filter(Known::leads_on);
            let guess = version::hinted_ancestors(slot, listed.size_bytes);
            let reached = self.reach(&mut known, slot, guess, &newest).await?;
            let broken = match reached {
                Ok(known) => return Ok((newest, Some(known))),
                Err(broken) => broken,
            };
            restarts += 1;
            if restarts == RESTARTS_MAX {
                return Err(match broken {
                    Some(what) => self.corrupt(slot, what),
                    None => Error::Unavailable(format!(
                        "{}: the version was listed but cannot be read",
                        self.chain.keys.slot(slot)
                    )),
                });
            }
        }
    }

    /// Goes on by so many versions at once, or to the latest if they are not there.
    pub(super) async fn leap(&self, known: Known, by: u64) -> Result<Option<Known>, Error> {
        let slot = Slot(known.slot.0.saturating_add(by));
        let guess = version::ancestors(slot, known.base).unwrap_or_default();
        let newest = Newest {
            slot: None,
            object: None,
            observed_at: known.absent_at,
        };
        let leads_on = known.leads_on();
        let mut known = Some(known);
        if leads_on && let Ok(known) = self.reach(&mut known, slot, guess, &newest).await? {
            return Ok(Some(known));
        }
        Ok(self.catch_up(known).await?.1)
    }

    /// Puts the version in `slot` together, from `start` on if that leads there, with
    /// the ancestors that `guess` says it has. The version was listed by `newest`, or its
    /// slot had not been written then. An error tells what is wrong with it, if it is
    /// there and genuine.
    async fn reach(
        &self,
        start: &mut Option<Known>,
        slot: Slot,
        mut guess: Vec<Slot>,
        newest: &Newest,
    ) -> Result<Result<Known, Option<&'static str>>, Error> {
        let above = start.as_ref().map(|start| start.slot);
        guess.retain(|slot| Some(*slot) > above);
        let Some((target, ancestors)) = self.load(slot, &guess, above).await? else {
            return Ok(Err(None));
        };
        let at = target.modified_at;
        let genuine = match (&newest.object, &start) {
            // What was listed was the latest version then. Another object in its slot
            // could be that of a writer that slept through a trim.
            (Some(listed), _) => {
                off(Guard::ListedCompared)
                    || target.tag == listed.version
                    || !self.is_trimmed(slot).await?
            }
            (None, Some(start)) => {
                off(Guard::VersionGenuine)
                    || Chain::is_unwritten(start.grace, newest.observed_at, at)
            }
            (None, None) => false,
        };
        if !genuine {
            return Ok(Err(None));
        }
        let absent_at = newest.observed_at.max(at);
        Ok(Known::fold(start.take(), target.version, ancestors, at, absent_at).map_err(Some))
    }

    pub(super) async fn is_trimmed(&self, slot: Slot) -> Result<bool, Error> {
        Ok(self.chain.state(self.store()).await?.first_kept() > slot)
    }

    /// Reads a version and its ancestors, overlapped as far as `guess` says which
    /// they are. Those up to `known` are not needed. `None` if one is not there.
    pub(super) async fn load(
        &self,
        slot: Slot,
        guess: &[Slot],
        known: Option<Slot>,
    ) -> Result<Option<(Fetched, Vec<Version>)>, Error> {
        let mut slots = Vec::from([slot]);
        slots.extend_from_slice(guess);
        let mut fetched = self.fetch(&slots).await?.into_iter();
        let Some(Some(target)) = fetched.next() else {
            return Ok(None);
        };
        let mut read: Vec<Fetched> = list(fetched.flatten());
        let mut needed = version::ancestors(slot, target.version.base()).unwrap_or_default();
        needed.retain(|slot| Some(*slot) > known);
        let mut missing = Vec::new();
        for slot in &needed {
            if !read.iter().any(|read| read.version.header.slot == *slot) {
                missing.push(*slot);
            }
        }
        for fetched in self.fetch(&missing).await? {
            read.extend(fetched);
        }
        let mut ancestors = Vec::new();
        for slot in needed {
            let at = read
                .iter()
                .position(|read| read.version.header.slot == slot);
            match at {
                Some(at) => ancestors.push(read.swap_remove(at).version),
                None => return Ok(None),
            }
        }
        Ok(Some((target, ancestors)))
    }

    /// Reads whole versions, overlapped.
    pub(super) async fn fetch(&self, slots: &[Slot]) -> Result<Vec<Option<Fetched>>, Error> {
        self.fetch_as(slots, Span::All).await
    }

    /// Reads versions, or only what their headers tell of them.
    async fn fetch_as(&self, slots: &[Slot], span: Span) -> Result<Vec<Option<Fetched>>, Error> {
        let mut all = Vec::with_capacity(slots.len());
        for slots in slots.chunks(BATCH_OBJECTS_MAX) {
            let reads = list(slots.iter().map(|slot| Read {
                span,
                ..Read::all(self.chain.keys.slot(*slot))
            }));
            let replies = self.store().get_many(reads).await;
            for (slot, reply) in slots.iter().zip(replies) {
                let key = self.chain.keys.slot(*slot);
                let reply = reply.map_err(|error| at_key(&key, error))?;
                let Found::Object(object) = reply.found else {
                    all.push(None);
                    continue;
                };
                let decoded = match span {
                    Span::All => Version::decode(&object.body),
                    Span::First(_) => {
                        Version::decode_head(&object.body, object.metadata.size_bytes)
                    }
                };
                let version = decoded.map_err(|error| refused(&key, error))?;
                self.chain.check(&key, *slot, &version.header)?;
                all.push(Some(Fetched {
                    version,
                    tag: object.metadata.version,
                    modified_at: object.metadata.modified_at,
                }));
            }
        }
        Ok(all)
    }

    pub(super) async fn at(&self, slot: Slot, reader: Option<&str>) -> Result<At, Error> {
        for was_listed in [false, true] {
            let loaded = self.load(slot, &[], None).await?;
            let prepared = loaded
                .as_ref()
                .and_then(|(target, _)| target.version.prepared.as_ref());
            let fate = match prepared {
                Some(prepared) => self.fate(slot, prepared.transaction).await?,
                None => Some(true),
            };
            // Read last: what was in a slot that is kept now was there to stay.
            let state = self.chain.state(self.store()).await?;
            if reader.is_some_and(|reader| !state.keeps(reader, slot)) && !off(Guard::ReaderPinned)
            {
                return Ok(At::PinExpired);
            }
            if state.first_kept() > slot && !off(Guard::KeptReadLast) {
                return Ok(At::Trimmed(version_of(state.first_kept())));
            }
            let Some((target, ancestors)) = loaded else {
                if was_listed {
                    break;
                }
                match self.chain.newest(self.store()).await?.slot {
                    // It may have been committed between the two looks.
                    Some(newest) if newest >= slot => continue,
                    _ => return Ok(At::Absent),
                }
            };
            let mut known = Known::fold(None, target.version, ancestors, target.modified_at, None)
                .map_err(|what| self.corrupt(slot, what))?;
            match fate {
                Some(commits) => known.decide(commits),
                None => return Ok(At::Absent),
            }
            return Ok(At::Snapshot(Snapshot {
                summary: known.summary(),
                items: known.items(),
            }));
        }
        Err(self.corrupt(slot, MISSING))
    }

    async fn history(&self, before: Option<u64>, limit: u32) -> Result<Vec<Summary>, Error> {
        let newest = self.chain.newest(self.store()).await?;
        let count = newest.slot.map_or(0, version_of);
        let end = before.map_or(count, |before| before.saturating_sub(1).min(count));
        let first = end.saturating_sub(limit.into());
        // One more, which tells what became of the one before it.
        let slots = list((first..count.min(end.saturating_add(1))).map(Slot));
        let fetched = self.fetch_as(&slots, HEADER_READ).await?;
        let kept = self.chain.state(self.store()).await?.first_kept();
        let mut summaries = Vec::new();
        let mut above: Option<Version> = None;
        for (slot, fetched) in slots.into_iter().zip(fetched).rev() {
            if slot < kept && !off(Guard::KeptReadLast) {
                break;
            }
            let Some(Fetched {
                version,
                modified_at,
                ..
            }) = fetched
            else {
                return Err(self.corrupt(slot, MISSING));
            };
            if let Some(above) = &above
                && above.header.previous_id != version.header.commit_id
                && !off(Guard::VersionFollows)
            {
                return Err(self.corrupt(above.header.slot, BROKEN));
            }
            if slot.0 < end {
                let fate = match (&version.prepared, &above) {
                    (None, _) => Some(true),
                    (Some(_), Some(above)) => above.fate,
                    (Some(prepared), None) => self.fate(slot, prepared.transaction).await?,
                };
                summaries.push(version.summary(modified_at, fate));
            }
            above = Some(version);
        }
        Ok(summaries)
    }
}
