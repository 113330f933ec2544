//! Collecting versions, and blobs that no version names: `docs/COLLECTION.md`.

use maybe_async::maybe_async;

use super::commit::Commit;
use super::known::Known;
use super::value::Named;
use super::version::Sweep;
use super::{Change, CommitOutcome, Dependency, KeepVersions, Manifest, Manifests};
use crate::blob::Generation;
use crate::bucket::{Bucket, Deletion, Metadata};
use crate::collection::{Act, Listing, Reason, Report, Verdict};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Slot, blobs_prefix, parse_blob_key};
use crate::list::list;
use crate::token::Writer;

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

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Manifests<B, E> {
    /// Trims versions, drops the pins that have ended, raises the generation, unless
    /// that was done less than the grace period ago, and deletes the blobs that no
    /// kept version names and no later one may; or tells what there is to do.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes. Any part may have been done; the next call goes on.
    pub async fn collect(&self, name: &str, keep: KeepVersions, act: Act) -> Result<Report, Error> {
        let manifest = Manifest::new(self, name)?;
        let mut report = Report::new();
        // What only trimmed versions named goes with them.
        let first_kept = manifest.cut_back(keep, act, &mut report).await?;
        let (newest, Some(mut known)) = manifest.discover().await? else {
            report.first_kept = 0;
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
        let named = manifest.named(first_kept, known.slot).await?;
        report.named = named.count();
        let space = manifest.chain.keys.name();
        let listing = Listing {
            prefix: blobs_prefix(space),
            after: None,
            first_page: None,
        };
        let spared = if off(Guard::TwoGenerations) { 1 } else { 2 };
        let judge = |object: &Metadata| match parse_blob_key(space, &object.key) {
            // Listed by generation, so all others are as young.
            Some(blob) if blob.generation.0.saturating_add(spared) > sweep.generation.0 => {
                Verdict::End
            }
            Some(blob) if !named.contains(&blob) || off(Guard::NamedKept) => {
                Verdict::Goes(Reason::Unnamed)
            }
            _ => Verdict::Stays,
        };
        report.sweep(&self.store, act, listing, &judge).await?;
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

    /// The blobs that are named by the versions that are kept, from the one in `from`
    /// up to the one in `last` at least.
    async fn named(&self, from: Slot, last: Slot) -> Result<Named, Error> {
        let mut first = from;
        for _ in 0..RESTARTS_MAX {
            let named = self.named_between(first, last).await;
            // Read last: what was in a slot that is kept now was there to stay.
            let kept = self.chain.state(self.store()).await?.first_kept();
            if kept > first && !off(Guard::KeptReadAgain) {
                first = kept;
            } else {
                return named?
                    .ok_or_else(|| self.corrupt(first, "a version that is kept is missing"));
            }
        }
        Err(Error::Unavailable(format!(
            "{}: others trim the manifest all the time",
            self.chain.keys.state()
        )))
    }

    /// The same, or `None` if a version is not there.
    async fn named_between(&self, first: Slot, last: Slot) -> Result<Option<Named>, Error> {
        let Some((target, ancestors)) = self.load(first, &[], None).await? else {
            return Ok(None);
        };
        let known = Known::fold(None, target.version, ancestors, None, None)
            .map_err(|what| self.corrupt(first, what))?;
        let mut named = known.named();
        let mut next = first.0.saturating_add(1);
        while next <= last.0 {
            let end = next
                .saturating_add(VERSIONS_AT_ONCE)
                .min(last.0.saturating_add(1));
            let slots = list((next..end).map(Slot));
            for fetched in self.fetch(&slots).await? {
                let Some(fetched) = fetched else {
                    return Ok(None);
                };
                // Whether a transaction took effect or not: it may, until then.
                if fetched.version.prepared.is_none() || !off(Guard::PreparedIsNamed) {
                    named.add_all(&fetched.version.edits);
                }
            }
            next = end;
        }
        named.sort();
        Ok(Some(named))
    }
}
