//! Collecting blobs that no version names: `docs/COLLECTION.md`.

use std::collections::BTreeSet;

use maybe_async::maybe_async;

use super::commit::Commit;
use super::known::Known;
use super::version::{Sweep, Version};
use super::{Change, CommitOutcome, Dependency, Manifest, Manifests, value};
use crate::blob::{Generation, Reference};
use crate::bucket::{Bucket, Deletion, PAGE_OBJECTS_MAX};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Slot, blobs_prefix, parse_blob_key};
use crate::token::Writer;

/// A sweep looks at this many pages of blobs.
const PAGES_MAX: u32 = 10_000;

/// A sweep deletes at most this many pages of blobs.
const DELETIONS_MAX: u32 = 100;

/// A report lists at most this many blobs.
const REPORTED_MAX: usize = 1_000;

/// How many versions are read at once, each of which can have 8 MiB.
const VERSIONS_AT_ONCE: u64 = 8;

/// How often the kept versions are read anew because a trim came between.
const RESTARTS_MAX: u32 = 5;

/// Changes nothing.
const NOTHING: &Change = &Change {
    base: 0,
    depends_on: Dependency::Nothing,
    edits: Vec::new(),
    writer: Writer::Shared,
    author: String::new(),
    message: String::new(),
    id: None,
};

/// What a sweep did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// The generation in force behind it.
    pub generation: Generation,
    /// How many blobs the kept versions name.
    pub named: u64,
    /// How many blobs were deleted, or would be.
    pub unnamed: u64,
    /// How many bytes they have.
    pub unnamed_bytes: u64,
    /// Some of them.
    pub blobs: Vec<Reference>,
    /// Whether some are left.
    pub more: bool,
}

/// Whether to delete, or to look only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Plan,
    Sweep,
}

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Manifests<B, E> {
    /// Tells what [`Manifests::sweep`] would do now.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn plan(&self, name: &str) -> Result<SweepReport, Error> {
        self.collect(name, Act::Plan).await
    }

    /// Raises the generation, unless that was done less than the grace period ago,
    /// and deletes the blobs that no kept version names and no later one may.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes. Any part may have been done; the next sweep goes on.
    pub async fn sweep(&self, name: &str) -> Result<SweepReport, Error> {
        self.collect(name, Act::Sweep).await
    }

    async fn collect(&self, name: &str, act: Act) -> Result<SweepReport, Error> {
        let manifest = Manifest::new(self, name)?;
        let mut report = SweepReport::default();
        let (newest, Some(mut known)) = manifest.discover().await? else {
            return Ok(report);
        };
        let mut sweep = known.sweep;
        let now_ms = newest.observed_at.map_or(0, |now| now.unix_ms);
        let age_ms = now_ms.saturating_sub(sweep.raised_at_ms);
        // Gives writers that have stored blobs the time to commit. Liveness only.
        if age_ms >= u64::from(known.grace.period_ms) || sweep == Sweep::default() {
            sweep = Sweep {
                generation: Generation(sweep.generation.0.saturating_add(1)),
                raised_at_ms: now_ms,
            };
            if act == Act::Sweep && !off(Guard::FloorBeforeSweep) {
                known = manifest.raise(known, sweep).await?;
                sweep = known.sweep;
            }
        }
        report.generation = sweep.generation;
        let named = manifest.named(known.slot).await?;
        report.named = u64::try_from(named.len()).unwrap_or(u64::MAX);
        manifest.delete_unnamed(&named, act, &mut report).await?;
        Ok(report)
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifest<'_, B, E> {
    /// Raises the generation, and returns the version in which it is in force.
    async fn raise(&self, known: Known, sweep: Sweep) -> Result<Known, Error> {
        self.remember(known);
        let mut commit = Commit::new(NOTHING, self.store().draw_id())?;
        commit.raise = Some(sweep);
        if let (CommitOutcome::Indeterminate(why), _) = self.commit(&commit).await? {
            return Err(Error::Unavailable(why));
        }
        let known = match self.recall() {
            Some(known) => Some(known),
            None => self.discover().await?.1,
        };
        known
            .filter(|known| known.sweep.generation >= sweep.generation)
            .ok_or_else(|| self.corrupt(Slot::FIRST, "the generation was raised in vain"))
    }

    /// The blobs that are named by the versions that are kept, up to the one in
    /// `last` at least.
    async fn named(&self, last: Slot) -> Result<BTreeSet<Reference>, Error> {
        for _ in 0..RESTARTS_MAX {
            let first = self.chain.state(self.store()).await?.first_kept();
            let named = self.named_between(first, last).await?;
            // Read last: what was in a slot that is kept now was there to stay.
            let still = self.chain.state(self.store()).await?.first_kept() == first;
            if still || off(Guard::KeptReadAgain) {
                return named
                    .ok_or_else(|| self.corrupt(first, "a version that is kept is missing"));
            }
        }
        Err(Error::Unavailable(format!(
            "{}: others trim the manifest all the time",
            self.chain.keys.state()
        )))
    }

    /// The same, or `None` if a version is not there.
    async fn named_between(
        &self,
        first: Slot,
        last: Slot,
    ) -> Result<Option<BTreeSet<Reference>>, Error> {
        let Some((target, ancestors)) = self.load(first, Vec::new()).await? else {
            return Ok(None);
        };
        let known = Known::fold(target.version, ancestors, None, None)
            .map_err(|what| self.corrupt(first, what))?;
        let mut named: BTreeSet<Reference> = known.named().collect();
        let mut next = first.0.saturating_add(1);
        while next <= last.0 {
            let end = next
                .saturating_add(VERSIONS_AT_ONCE)
                .min(last.0.saturating_add(1));
            let slots: Vec<Slot> = (next..end).map(Slot).collect();
            for fetched in self.fetch(&slots).await? {
                let Some(fetched) = fetched else {
                    return Ok(None);
                };
                // Whether a transaction took effect or not: it may, until then.
                if fetched.version.prepared.is_none() || !off(Guard::PreparedIsNamed) {
                    named.extend(newly_named(&fetched.version));
                }
            }
            next = end;
        }
        Ok(Some(named))
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Manifest<'_, B, E> {
    /// Deletes the blobs that nobody names and nobody may name any more: those two
    /// generations behind the one in force.
    async fn delete_unnamed(
        &self,
        named: &BTreeSet<Reference>,
        act: Act,
        report: &mut SweepReport,
    ) -> Result<(), Error> {
        let space = self.chain.keys.name();
        let prefix = blobs_prefix(space);
        let mut after: Option<String> = None;
        let mut deletions = 0;
        for _ in 0..PAGES_MAX {
            let page = self
                .store()
                .list(&prefix, after.as_deref(), PAGE_OBJECTS_MAX)
                .await?;
            report.more = page.more;
            let mut keys = Vec::new();
            for object in &page.objects {
                let Some(blob) = parse_blob_key(space, &object.key) else {
                    continue;
                };
                let behind = match off(Guard::TwoGenerations) {
                    true => 1,
                    false => 2,
                };
                if blob.generation.0.saturating_add(behind) > report.generation.0 {
                    // Listed by generation, so all others are as young.
                    report.more = false;
                    break;
                }
                if named.contains(&blob) && !off(Guard::NamedKept) {
                    continue;
                }
                report.unnamed += 1;
                report.unnamed_bytes = report.unnamed_bytes.saturating_add(object.size_bytes);
                if report.blobs.len() < REPORTED_MAX {
                    report.blobs.push(blob);
                }
                keys.push(object.key.clone());
            }
            if act == Act::Sweep && !keys.is_empty() {
                self.store().delete_many(keys).await?;
                deletions += 1;
            }
            match page.objects.last() {
                Some(last) if report.more && deletions < DELETIONS_MAX => {
                    after = Some(last.key.clone());
                }
                _ => break,
            }
        }
        Ok(())
    }
}

/// The blobs that a version's own edits name.
fn newly_named(version: &Version) -> impl Iterator<Item = Reference> {
    let values = version
        .edits
        .iter()
        .filter_map(|(_, value)| value.as_deref());
    values
        .filter_map(|stored| value::decode(stored).ok())
        .flat_map(|(blobs, _)| blobs)
}
