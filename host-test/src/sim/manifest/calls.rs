//! The calls of manifests as data, and how many requests each may take.

use super::{KEYS, NAMES};
use crate::bindings::blob::Reference;
use crate::bindings::collection::{KeepVersions, Report, Target};
use crate::bindings::log::{CreateOutcome, Settings};
use crate::bindings::manifest::{
    AtOutcome, Change, CommitOutcome, Edit, Error, ForkOutcome, PinOutcome, Snapshot, Summary,
};
use crate::bindings::transaction;
use crate::host::Instance;
use crate::sim::actor::Call;
use crate::sim::slots::keys;
use anyhow::Result;
use ifmatch::keys::{ChainKeys, Family};
use std::fmt;

/// Versions that are read in one call.
const HISTORY_LIMIT: u32 = 1_000;
/// Who waits for a transaction looks at most so often, then decides it.
const WAIT_REQUESTS: u32 = 55;

/// `manifest.create`.
#[derive(Clone, Debug)]
pub(super) struct Create(pub(super) &'static str, pub(super) Settings);

/// `manifest.latest`.
#[derive(Clone, Debug)]
pub(super) struct Latest(pub(super) &'static str);

/// `manifest.at`, under the pin of this reader.
#[derive(Clone, Debug)]
pub(super) struct At(
    pub(super) &'static str,
    pub(super) u64,
    pub(super) Option<String>,
);

/// `manifest.commit`.
#[derive(Clone)]
pub(in crate::sim) struct Commit(pub(in crate::sim) &'static str, pub(in crate::sim) Change);

/// `transaction.commit`.
#[derive(Clone)]
pub(super) struct Transact(pub(super) Vec<(&'static str, Change)>);

/// `manifest.fork`: this version of the first, as the second.
#[derive(Clone, Debug)]
pub(super) struct Fork(
    pub(super) &'static str,
    pub(super) u64,
    pub(super) &'static str,
);

/// `manifest.history`.
#[derive(Clone, Debug)]
pub(super) struct Versions(pub(super) &'static str);

/// `manifest.pin`.
#[derive(Clone, Debug)]
pub(super) struct Pin(pub(super) String, pub(super) u64, pub(super) u32);

/// `manifest.unpin`.
#[derive(Clone, Debug)]
pub(super) struct Unpin(pub(super) String);

/// `retention.trim-versions`.
#[derive(Clone, Debug)]
pub(super) struct Trim(pub(super) &'static str, pub(super) KeepVersions);

/// `collection.sweep`, or `plan`.
#[derive(Clone, Debug)]
pub(super) struct Sweep(pub(super) &'static str);

#[derive(Clone, Debug)]
pub(super) struct Plan(pub(super) &'static str);

/// `collection.sweep` of decisions, or `plan`.
#[derive(Clone, Debug)]
pub(super) struct SweepDecisions;

#[derive(Clone, Debug)]
pub(super) struct PlanDecisions;

/// `blob.put`.
#[derive(Clone, Debug)]
pub(super) struct PutBlob(pub(super) &'static str, pub(super) u32, pub(super) Vec<u8>);

/// `blob.get`.
#[derive(Clone, Debug)]
pub(super) struct GetBlobs(pub(super) &'static str, pub(super) Vec<Reference>);

fn chain(name: &str) -> Vec<ChainKeys> {
    keys(Family::Manifest, name).into_iter().collect()
}

/// What a change is, in one line.
struct Shown<'a>(&'a Change);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change {
            base,
            depends_on,
            edits,
            message,
            id,
            ..
        } = self.0;
        write!(f, "{message} on {base} {depends_on:?}")?;
        for edit in edits {
            match edit {
                Edit::Set(item) => write!(f, " {}", item.key)?,
                Edit::Remove(key) => write!(f, " -{key}")?,
            }
        }
        match id {
            Some(_) => write!(f, " with its id"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commit {} {:?}", self.0, Shown(&self.1))
    }
}

impl fmt::Debug for Transact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transact")?;
        for (name, change) in &self.0 {
            write!(f, " {name} {:?}", Shown(change))?;
        }
        Ok(())
    }
}

impl Call for Create {
    type Answer = Result<CreateOutcome, Error>;
    const NAME: &'static str = "manifest create";
    const CREATES: bool = true;
    // If it is there already, as `latest`.
    const REQUESTS: u32 = 16;
    const REQUESTS_PER_RIVAL: u32 = 4;

    fn chains(&self) -> Vec<ChainKeys> {
        chain(self.0)
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.manifest().create(self.0, self.1).await
    }
}

impl Call for Latest {
    type Answer = Result<Option<Snapshot>, Error>;
    const NAME: &'static str = "latest";
    // A few versions that others committed, a listing and a round of reads; and the
    // decision of a transaction, with what may have followed on it.
    const REQUESTS: u32 = 24;
    const REQUESTS_PER_RIVAL: u32 = 6;

    fn chains(&self) -> Vec<ChainKeys> {
        chain(self.0)
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.manifest().latest(self.0).await
    }
}

impl Call for At {
    type Answer = Result<AtOutcome, Error>;
    const NAME: &'static str = "at";
    // At most 13, and 3 for a part of a transaction; twice, if it is committed meanwhile.
    const REQUESTS: u32 = 2 * 16;
    const REQUESTS_PER_RIVAL: u32 = 2;

    fn chains(&self) -> Vec<ChainKeys> {
        chain(self.0)
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let mut manifest = instance.manifest();
        manifest.at(self.0, self.1, self.2.as_deref()).await
    }
}

impl Call for Commit {
    type Answer = Result<CommitOutcome, Error>;
    const NAME: &'static str = "commit";
    const CREATES: bool = true;
    // Cold, with a wait for a transaction.
    const REQUESTS: u32 = 14 + WAIT_REQUESTS;
    const REQUESTS_PER_RIVAL: u32 = 4 + WAIT_REQUESTS;
    // What others committed since the base is read version by version.
    const REQUESTS_PER_SLOT: u32 = 1;

    fn chains(&self) -> Vec<ChainKeys> {
        chain(self.0)
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.manifest().commit(self.0, &self.1).await
    }
}

impl Call for Transact {
    type Answer = Result<transaction::Outcome, Error>;
    const NAME: &'static str = "transaction";
    const CREATES: bool = true;
    const REQUESTS: u32 = 2 * Commit::REQUESTS + 4;
    const REQUESTS_PER_RIVAL: u32 = Commit::REQUESTS_PER_RIVAL;
    const REQUESTS_PER_SLOT: u32 = Commit::REQUESTS_PER_SLOT;

    fn chains(&self) -> Vec<ChainKeys> {
        self.0.iter().flat_map(|(name, _)| chain(name)).collect()
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let part = |(name, change): &(&'static str, Change)| transaction::Part {
            manifest: (*name).to_owned(),
            change: change.clone(),
        };
        let parts: Vec<_> = self.0.iter().map(part).collect();
        instance.transaction().commit(&parts).await
    }
}

impl Call for Fork {
    type Answer = Result<ForkOutcome, Error>;
    const NAME: &'static str = "fork";
    const CREATES: bool = true;
    // As `at`, and a commit; a pin and its removal; each item names a blob at most.
    const REQUESTS: u32 = At::REQUESTS + Commit::REQUESTS + 2 * Unpin::REQUESTS + 2 * KEYS as u32;
    const REQUESTS_PER_RIVAL: u32 = Commit::REQUESTS_PER_RIVAL;
    const REQUESTS_PER_SLOT: u32 = 1;

    fn chains(&self) -> Vec<ChainKeys> {
        [self.0, self.2]
            .iter()
            .flat_map(|name| chain(name))
            .collect()
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.manifest().fork(self.0, self.1, self.2).await
    }
}

impl Call for Versions {
    type Answer = Result<Vec<Summary>, Error>;
    const NAME: &'static str = "history";
    // With what became of the newest.
    const REQUESTS: u32 = 6;
    const REQUESTS_PER_RIVAL: u32 = 2;
    const REQUESTS_PER_SLOT: u32 = 1;

    fn chains(&self) -> Vec<ChainKeys> {
        chain(self.0)
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let mut manifest = instance.manifest();
        manifest.history(self.0, None, HISTORY_LIMIT).await
    }
}

impl Call for Pin {
    type Answer = Result<PinOutcome, Error>;
    const NAME: &'static str = "manifest pin";
    const REQUESTS: u32 = 20;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let mut manifest = instance.manifest();
        manifest.pin(NAMES[0], &self.0, self.1, self.2).await
    }
}

impl Call for Unpin {
    type Answer = Result<(), Error>;
    const NAME: &'static str = "manifest unpin";
    const REQUESTS: u32 = 20;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.manifest().unpin(NAMES[0], &self.0).await
    }
}

impl Call for Trim {
    type Answer = Result<Report, Error>;
    const NAME: &'static str = "trim of versions";
    // A sweep, and a search by age.
    const REQUESTS: u32 = Sweep::REQUESTS + 20;
    const REQUESTS_PER_RIVAL: u32 = Sweep::REQUESTS_PER_RIVAL;
    const REQUESTS_PER_SLOT: u32 = Sweep::REQUESTS_PER_SLOT;

    fn chains(&self) -> Vec<ChainKeys> {
        chain(self.0)
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let target = Target::manifest(self.0, self.1);
        instance.collection().sweep(&target).await
    }
}

impl Call for Sweep {
    type Answer = Result<Report, Error>;
    const NAME: &'static str = "sweep";
    // The commit that raises the generation, and what is listed and deleted.
    const REQUESTS: u32 = Commit::REQUESTS + 20;
    const REQUESTS_PER_RIVAL: u32 = Commit::REQUESTS_PER_RIVAL;
    // Twice, if a trim comes between.
    const REQUESTS_PER_SLOT: u32 = 2;

    fn chains(&self) -> Vec<ChainKeys> {
        chain(self.0)
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let target = Target::manifest(self.0, KeepVersions::Start(1));
        instance.collection().sweep(&target).await
    }
}

impl Call for Plan {
    type Answer = Result<Report, Error>;
    const NAME: &'static str = "plan";
    const REQUESTS: u32 = 20;
    const REQUESTS_PER_SLOT: u32 = 2;

    fn chains(&self) -> Vec<ChainKeys> {
        chain(self.0)
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let target = Target::manifest(self.0, KeepVersions::Start(1));
        instance.collection().plan(&target).await
    }
}

/// What looks at every decision, and at every manifest that one names.
const DECISION_REQUESTS: u32 = 40;

impl Call for SweepDecisions {
    type Answer = Result<Report, Error>;
    const NAME: &'static str = "sweep of decisions";
    const REQUESTS: u32 = DECISION_REQUESTS;
    // Each transaction leaves a version in both manifests, if it is decided.
    const REQUESTS_PER_SLOT: u32 = 1;

    fn chains(&self) -> Vec<ChainKeys> {
        NAMES.iter().flat_map(|name| chain(name)).collect()
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.collection().sweep(&Target::Decisions).await
    }
}

impl Call for PlanDecisions {
    type Answer = Result<Report, Error>;
    const NAME: &'static str = "plan for decisions";
    const REQUESTS: u32 = DECISION_REQUESTS;
    const REQUESTS_PER_SLOT: u32 = SweepDecisions::REQUESTS_PER_SLOT;

    fn chains(&self) -> Vec<ChainKeys> {
        SweepDecisions.chains()
    }

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.collection().plan(&Target::Decisions).await
    }
}

impl Call for PutBlob {
    type Answer = Result<Vec<Reference>, Error>;
    const NAME: &'static str = "blob put";
    const REQUESTS: u32 = 2;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let bodies = [self.2.clone()];
        instance.blob().put(self.0, self.1, &bodies).await
    }
}

impl Call for GetBlobs {
    type Answer = Result<Vec<Option<Vec<u8>>>, Error>;
    const NAME: &'static str = "blob get";
    // An item names one at most.
    const REQUESTS: u32 = KEYS as u32;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.blob().get(self.0, &self.1).await
    }
}
