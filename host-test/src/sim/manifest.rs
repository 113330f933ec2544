//! Two manifests that several instances commit to: single commits, with and without
//! conflicts, once and again until they are acknowledged; transactions over both; blobs
//! that they name; and trims, pins and sweeps beside them.
//!
//! A manifest answers with its own order, as a log does: a commit is told its version,
//! and versions are dense. So the same check serves: each version is one record, its
//! message, at the offset of its version less one.

use super::actor::{Actor, Call};
use super::log::is_expected;
use super::pins::Pins;
use super::slots::keys;
use super::stage::{Act, Local, Part, Stage};
use super::versions::{self, Changes, Items, Truth};
use crate::bindings::blob::Reference;
use crate::bindings::collection::{KeepVersions, Reason, Report, Target};
use crate::bindings::log::{CreateOutcome, Settings};
use crate::bindings::manifest::{
    AtOutcome, Change, CommitOutcome, Conflict, Dependency, Edit, Error, Item, PinOutcome,
    Snapshot, Summary, Writer,
};
use crate::bindings::transaction;
use crate::history::{Attempt, Ending, History, TailSeen};
use crate::host::Instance;
use anyhow::{Result, bail, ensure};
use ifmatch::keys::{ChainKeys, Family};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// The family.
pub const PART: Part = Part {
    name: "manifest",
    begin: |stage| Box::pin(begin(stage)),
};

/// The manifests. Most happens to the first.
const NAMES: [&str; 2] = ["table", "index"];
/// Keys that commits touch: few, so that they conflict.
const KEYS: u64 = 6;
/// Blobs that several writers store, beside those of one commit.
const SHARED_BLOBS: u64 = 3;
/// How often a commit with an id is sent before it is given up.
const REPEATS_MAX: u32 = 60;
/// The longest pause of a writer for thought.
const THOUGHT_MS: u64 = 4_000;
/// The longest pause of the keeper.
const KEEP_MS: u64 = 30_000;
/// Versions that are read in one call.
const HISTORY_LIMIT: u32 = 1_000;
/// Who waits for a transaction looks at most so often, then decides it.
const WAIT_REQUESTS: u32 = 55;

/// `manifest.create`.
#[derive(Clone, Debug)]
struct Create(&'static str, Settings);

/// `manifest.latest`.
#[derive(Clone, Debug)]
struct Latest(&'static str);

/// `manifest.at`, under the pin of this reader.
#[derive(Clone, Debug)]
struct At(&'static str, u64, Option<String>);

/// `manifest.commit`.
#[derive(Clone)]
pub(super) struct Commit(pub(super) &'static str, pub(super) Change);

/// `transaction.commit`.
#[derive(Clone)]
struct Transact(Vec<(&'static str, Change)>);

/// `manifest.history`.
#[derive(Clone, Debug)]
struct Versions(&'static str);

/// `manifest.pin`.
#[derive(Clone, Debug)]
struct Pin(String, u64, u32);

/// `manifest.unpin`.
#[derive(Clone, Debug)]
struct Unpin(String);

/// `retention.trim-versions`.
#[derive(Clone, Debug)]
struct Trim(&'static str, KeepVersions);

/// `collection.sweep`, or `plan`.
#[derive(Clone, Debug)]
struct Sweep(&'static str);

#[derive(Clone, Debug)]
struct Plan(&'static str);

/// `blob.put`.
#[derive(Clone, Debug)]
struct PutBlob(&'static str, u32, Vec<u8>);

/// `blob.get`.
#[derive(Clone, Debug)]
struct GetBlobs(&'static str, Vec<Reference>);

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
    // At most 13, and 3 for a part of a transaction.
    const REQUESTS: u32 = 16;
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

/// What everybody was told.
#[derive(Clone, Default)]
pub(super) struct Told {
    histories: BTreeMap<&'static str, History>,
    /// Every change that was asked for.
    pub(super) changes: Changes,
    /// Versions that somebody read, with their content.
    seen: Vec<(&'static str, u64, Items)>,
    /// Refused commits.
    conflicts: Vec<(&'static str, Change, Conflict)>,
    /// Blobs that were not there, and a version that names each.
    missing: Vec<(&'static str, u64, Reference)>,
    /// Of the first manifest.
    pins: Pins,
}

impl Told {
    /// What is known of one manifest.
    pub(super) fn history(&mut self, name: &'static str) -> &mut History {
        self.histories.entry(name).or_default()
    }
}

struct ManifestAct {
    told: Rc<RefCell<Told>>,
}

async fn begin(stage: Rc<Stage>) -> Result<Box<dyn Act>> {
    let told = Rc::new(RefCell::new(Told::default()));
    for (number, manner) in Manner::ALL.into_iter().enumerate() {
        let actor = Actor::start(&stage, &format!("committer-{number}")).await?;
        stage.spawn(Member::new(actor, &told).work(manner, 0));
    }
    let actor = Actor::start(&stage, "keeper").await?;
    stage.spawn(Member::new(actor, &told).keep());
    Ok(Box::new(ManifestAct { told }))
}

/// How a committer goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Gives each change an id, and repeats it until its fate is known.
    Named,
    /// Commits each once, and believes what it is told.
    Once,
    /// Changes both manifests together.
    Transactor,
}

impl Manner {
    const ALL: [Self; 3] = [Self::Named, Self::Once, Self::Transactor];
}

struct Member {
    actor: Actor,
    told: Rc<RefCell<Told>>,
    /// The latest version that it was told of, and the generation for blobs.
    known: BTreeMap<&'static str, (u64, u32)>,
}

/// A change that is being committed.
struct Noted {
    name: &'static str,
    message: String,
    began: Duration,
}

impl Member {
    fn new(actor: Actor, told: &Rc<RefCell<Told>>) -> Self {
        Self {
            actor,
            told: told.clone(),
            known: BTreeMap::new(),
        }
    }

    fn now(&self) -> Duration {
        self.actor.stage().now()
    }

    async fn idle(&mut self, up_to_ms: u64) {
        let stage = self.actor.stage().clone();
        stage.idle(&mut self.actor.dice, up_to_ms).await;
    }

    fn work(mut self, manner: Manner, from: u64) -> Local<'static, ()> {
        Box::pin(async move {
            let stage = self.actor.stage().clone();
            if from == 0 {
                for name in NAMES {
                    self.create(name).await?;
                }
            }
            for number in from.. {
                if stage.is_over() {
                    return Ok(());
                }
                self.idle(THOUGHT_MS).await;
                if let Some(actor) = self.actor.twin().await? {
                    let twin = Self {
                        known: self.known.clone(),
                        ..Self::new(actor, &self.told)
                    };
                    stage.spawn(twin.work(Manner::Once, number + 1));
                }
                let message = format!("{}.{number}", self.actor.name());
                if manner == Manner::Transactor {
                    for name in NAMES {
                        self.latest(name).await?;
                    }
                    self.transact(&message).await?;
                    continue;
                }
                let name = NAMES[usize::from(self.actor.dice.below(4) == 0)];
                if self.actor.dice.below(2) == 0 {
                    self.latest(name).await?;
                }
                self.commit(name, &message, manner == Manner::Named).await?;
            }
            Ok(())
        })
    }

    /// Creates a manifest, as everybody tries to who comes first.
    async fn create(&mut self, name: &'static str) -> Result<()> {
        let (grace_ms, clock_margin_ms) = self.actor.stage().weather.grace_ms;
        let settings = Settings {
            grace_ms,
            clock_margin_ms,
        };
        loop {
            match self.actor.make(Create(name, settings)).await? {
                Some(Ok(CreateOutcome::Exists(found))) => {
                    ensure!(found == settings, "created with {found:?}");
                    return Ok(());
                }
                Some(Ok(CreateOutcome::Created)) => return Ok(()),
                None | Some(Ok(CreateOutcome::Indeterminate(_))) => {}
                Some(Err(error)) => ensure!(is_expected(&error), "{error:?}"),
            }
            self.idle(1_000).await;
        }
    }

    /// Reads the latest version, and notes what it was.
    async fn latest(&mut self, name: &'static str) -> Result<Option<Snapshot>> {
        let began = self.now();
        match self.actor.make(Latest(name)).await? {
            Some(Ok(snapshot)) => {
                let version = snapshot.as_ref().map_or(0, |found| found.summary.version);
                let seen = TailSeen {
                    label: format!("{} at {:.3} s", self.actor.name(), began.as_secs_f64()),
                    began,
                    ended: self.now(),
                    offset: version,
                };
                let mut told = self.told.borrow_mut();
                told.history(name).tails.push(seen);
                if let Some(found) = &snapshot {
                    told.seen.push((name, version, items(found)));
                    let generation = found.summary.generation;
                    self.known.insert(name, (version, generation));
                }
                Ok(snapshot)
            }
            None => Ok(None),
            Some(Err(error)) if is_expected(&error) => Ok(None),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// A change of one or two keys, of which one may name a blob.
    async fn change(&mut self, name: &'static str, message: &str, named: bool) -> Result<Change> {
        let (base, generation) = self.known.get(name).copied().unwrap_or_default();
        let blob = match self.actor.dice.below(4) {
            0 => Some(message.as_bytes().to_vec()),
            1 => {
                let which = self.actor.dice.below(SHARED_BLOBS);
                Some(format!("blob {which}").into_bytes())
            }
            _ => None,
        };
        let mut blobs = Vec::new();
        if let Some(body) = blob {
            match self.actor.make(PutBlob(name, generation, body)).await? {
                Some(Ok(stored)) => {
                    ensure!(stored.len() == 1, "{stored:?}");
                    blobs = stored;
                }
                None => {}
                Some(Err(error)) => ensure!(is_expected(&error), "{error:?}"),
            }
        }
        let dice = &mut self.actor.dice;
        let mut key = || format!("k{}", dice.below(KEYS));
        let (one, other) = (key(), key());
        let mut edits = vec![Edit::Set(Item {
            key: one.clone(),
            value: message.as_bytes().to_vec(),
            blobs,
        })];
        if one != other && dice.below(2) == 0 {
            edits.push(Edit::Remove(other.clone()));
        }
        let change = Change {
            base,
            depends_on: match dice.below(5) {
                0 => Dependency::Nothing,
                1 => Dependency::Keys(vec![other]),
                2 => Dependency::All,
                _ => Dependency::Edits,
            },
            edits,
            writer: Writer::Shared,
            author: self.actor.name().to_owned(),
            message: message.to_owned(),
            id: named.then(|| message.to_owned()),
        };
        let key = (name, message.to_owned());
        self.told.borrow_mut().changes.insert(key, change.clone());
        Ok(change)
    }

    fn begin(&self, name: &'static str, message: &str) -> Noted {
        Noted {
            name,
            message: message.to_owned(),
            began: self.now(),
        }
    }

    fn ended(&self, noted: Noted, ending: Ending) {
        let attempt = Attempt {
            label: noted.message.clone(),
            bodies: vec![noted.message.into_bytes()],
            began: noted.began,
            ended: Some(self.now()),
            ending,
        };
        let mut told = self.told.borrow_mut();
        told.history(noted.name).attempts.push(attempt);
    }

    async fn commit(&mut self, name: &'static str, message: &str, named: bool) -> Result<()> {
        let change = self.change(name, message, named).await?;
        let noted = self.begin(name, message);
        let ending = self.send(name, change, named).await;
        self.ended(
            noted,
            ending.as_ref().map_or(Ending::Unknown, Ending::clone),
        );
        ending.map(drop)
    }

    async fn send(&mut self, name: &'static str, change: Change, named: bool) -> Result<Ending> {
        let sends = if named { REPEATS_MAX } else { 1 };
        // Whether a call before may have committed it.
        let mut doubt = false;
        for _ in 0..sends {
            match self.actor.make(Commit(name, change.clone())).await? {
                Some(Ok(CommitOutcome::Committed(version))) => {
                    ensure!(version > change.base, "version {version}: {change:?}");
                    self.known.entry(name).or_default().0 = version;
                    return Ok(Ending::Acknowledged(version - 1, version));
                }
                Some(Ok(CommitOutcome::Conflict(conflict))) => {
                    self.known.entry(name).or_default().0 = conflict.latest;
                    // Nobody can tell what was committed long ago.
                    let open = doubt && conflict.keys.is_empty();
                    let mut told = self.told.borrow_mut();
                    told.conflicts.push((name, change, conflict));
                    return Ok(if open {
                        Ending::Unknown
                    } else {
                        Ending::Rejected
                    });
                }
                Some(Ok(CommitOutcome::Expired(generation))) => {
                    self.known.entry(name).or_default().1 = generation;
                    return Ok(Ending::Rejected);
                }
                None | Some(Ok(CommitOutcome::Indeterminate(_))) => doubt = true,
                Some(Err(error)) if is_expected(&error) => {}
                Some(other) => bail!("{other:?}"),
            }
            self.idle(1_000).await;
        }
        // Of each call alone, an error is certain.
        Ok(if doubt {
            Ending::Unknown
        } else {
            Ending::Rejected
        })
    }

    async fn transact(&mut self, message: &str) -> Result<()> {
        let mut parts = Vec::new();
        for name in NAMES {
            parts.push((name, self.change(name, message, false).await?));
        }
        let noted: Vec<Noted> = NAMES.map(|name| self.begin(name, message)).into();
        let answer = self.actor.make(Transact(parts)).await;
        let (endings, fault) = match answer {
            Ok(answer) => self.decided(answer),
            Err(error) => (vec![Ending::Unknown; NAMES.len()], Err(error)),
        };
        for (noted, ending) in noted.into_iter().zip(endings) {
            self.ended(noted, ending);
        }
        fault
    }

    /// What an answer means for each part.
    fn decided(
        &mut self,
        answer: Option<Result<transaction::Outcome, Error>>,
    ) -> (Vec<Ending>, Result<()>) {
        use transaction::Outcome;
        let all = |ending: Ending| vec![ending; NAMES.len()];
        let fault = match answer {
            None | Some(Ok(Outcome::Indeterminate(_))) => return (all(Ending::Unknown), Ok(())),
            Some(Ok(Outcome::Committed(versions))) if versions.len() == NAMES.len() => {
                let acknowledged = |version: u64| Ending::Acknowledged(version - 1, version);
                return (versions.into_iter().map(acknowledged).collect(), Ok(()));
            }
            Some(Ok(Outcome::Aborted | Outcome::Conflict(_))) => Ok(()),
            Some(Ok(Outcome::Expired(expiring))) => {
                for (name, known) in &mut self.known {
                    if **name == *expiring.manifest {
                        known.1 = expiring.generation;
                    }
                }
                Ok(())
            }
            Some(Err(error)) if is_expected(&error) => Ok(()),
            Some(other) => Err(anyhow::anyhow!("{other:?}")),
        };
        (all(Ending::Rejected), fault)
    }

    /// Trims, sweeps, pins and looks, now and then.
    async fn keep(mut self) -> Result<()> {
        let stage = self.actor.stage().clone();
        while !stage.is_over() {
            self.idle(KEEP_MS).await;
            let name = NAMES[usize::from(self.actor.dice.below(4) == 0)];
            match self.actor.dice.below(8) {
                0 => self.plan(name).await?,
                1 | 2 => self.sweep(name).await?,
                3 => {
                    let keep = KeepVersions::Newest(self.actor.dice.below(10));
                    self.trim(name, keep).await?;
                }
                4 => {
                    let keep = KeepVersions::AgeMs(self.actor.dice.below(60_000));
                    self.trim(name, keep).await?;
                }
                5 => self.pin().await?,
                6 => self.versions(name).await?,
                _ => self.blobs(name).await?,
            }
        }
        Ok(())
    }

    async fn plan(&mut self, name: &'static str) -> Result<()> {
        match self.actor.make(Plan(name)).await? {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) if is_expected(&error) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    async fn sweep(&mut self, name: &'static str) -> Result<()> {
        match self.actor.make(Sweep(name)).await? {
            None => Ok(()),
            Some(Ok(report)) => {
                if report.count(Reason::Unnamed) > 0 {
                    self.actor.stage().passed("sweep deletes".to_owned());
                }
                Ok(())
            }
            Some(Err(error)) if is_expected(&error) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    async fn trim(&mut self, name: &'static str, keep: KeepVersions) -> Result<()> {
        let began = self.now();
        match self.actor.make(Trim(name, keep)).await? {
            None => Ok(()),
            Some(Ok(report)) => {
                self.saw_trim(name, began, report.first_kept);
                if report.count(Reason::Trimmed) > 0 {
                    self.actor
                        .stage()
                        .passed("trim-versions deletes".to_owned());
                }
                Ok(())
            }
            Some(Err(error)) if is_expected(&error) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    fn saw_trim(&self, name: &str, began: Duration, first_kept: u64) {
        if name == NAMES[0] {
            let ended = self.now();
            let mut told = self.told.borrow_mut();
            told.pins.trimmed(first_kept, began, ended);
        }
    }

    /// Pins the latest version, reads it under the pin and without, and lets go.
    async fn pin(&mut self) -> Result<()> {
        let Some(found) = self.latest(NAMES[0]).await? else {
            return Ok(());
        };
        let version = found.summary.version;
        let reader = self.actor.name().to_owned();
        let ttl_ms = 1_000 + u32::try_from(self.actor.dice.below(600_000))?;
        let now = self.now();
        // From here on, an earlier pin of this reader may be gone.
        self.told.borrow_mut().pins.end(now);
        match self
            .actor
            .make(Pin(reader.clone(), version, ttl_ms))
            .await?
        {
            Some(Ok(PinOutcome::Pinned(expires_at))) => {
                let (from, left) = (self.now(), self.actor.stage().left_until(expires_at));
                self.told.borrow_mut().pins.hold(version, from, left);
            }
            Some(Ok(PinOutcome::Trimmed(first))) => {
                ensure!(first > version, "version {version} is trimmed: {first}");
            }
            None | Some(Ok(PinOutcome::Indeterminate(_))) => {}
            Some(Err(error)) => ensure!(is_expected(&error), "{error:?}"),
        }
        self.idle(120_000).await;
        self.at(version, Some(reader.clone())).await?;
        self.at(version, None).await?;
        if self.actor.dice.below(2) == 0 {
            let now = self.now();
            self.told.borrow_mut().pins.end(now);
            if let Some(Err(error)) = self.actor.make(Unpin(reader)).await? {
                ensure!(is_expected(&error), "{error:?}");
            }
        }
        Ok(())
    }

    /// Reads a version of the first manifest that there is or was.
    async fn at(&mut self, version: u64, reader: Option<String>) -> Result<()> {
        let pinned = reader.is_some();
        let began = self.now();
        match self.actor.make(At(NAMES[0], version, reader)).await? {
            Some(Ok(AtOutcome::Snapshot(found))) => {
                ensure!(found.summary.version == version, "{:?}", found.summary);
                let seen = (NAMES[0], version, items(&found));
                self.told.borrow_mut().seen.push(seen);
            }
            Some(Ok(AtOutcome::PinExpired)) if pinned => {}
            Some(Ok(AtOutcome::Trimmed(first))) if !pinned && first > version => {
                self.saw_trim(NAMES[0], began, first);
            }
            Some(Ok(other)) => bail!("version {version}: {other:?}"),
            None => {}
            Some(Err(error)) => ensure!(is_expected(&error), "{error:?}"),
        }
        Ok(())
    }

    async fn versions(&mut self, name: &'static str) -> Result<()> {
        match self.actor.make(Versions(name)).await? {
            None => Ok(()),
            Some(Ok(summaries)) => {
                let gap = summaries
                    .windows(2)
                    .any(|pair| pair[0].version != pair[1].version + 1);
                ensure!(!gap, "a history with a gap: {summaries:?}");
                Ok(())
            }
            Some(Err(error)) if is_expected(&error) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Reads what the latest version names.
    async fn blobs(&mut self, name: &'static str) -> Result<()> {
        let Some(found) = self.latest(name).await? else {
            return Ok(());
        };
        let blobs = found.items.iter().flat_map(|item| item.blobs.clone());
        let blobs: Vec<Reference> = blobs.collect();
        match self.actor.make(GetBlobs(name, blobs.clone())).await? {
            None => Ok(()),
            Some(Ok(bodies)) => {
                ensure!(bodies.len() == blobs.len(), "{} blobs", bodies.len());
                let version = found.summary.version;
                let mut told = self.told.borrow_mut();
                for (blob, body) in blobs.into_iter().zip(bodies) {
                    if body.is_none() {
                        told.missing.push((name, version, blob));
                    }
                }
                Ok(())
            }
            Some(Err(error)) if is_expected(&error) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

fn items(snapshot: &Snapshot) -> Items {
    let items = snapshot.items.iter();
    items.map(|item| (item.key.clone(), item.clone())).collect()
}

impl Act for ManifestAct {
    fn name(&self) -> &'static str {
        PART.name
    }

    fn judge<'a>(&'a self, stage: &'a Rc<Stage>) -> Local<'a, ()> {
        Box::pin(async move {
            let mut told = self.told.borrow().clone();
            for name in NAMES {
                commit_calmly(stage, name, &mut told).await?;
            }
            let truth = versions::check(&NAMES, &told.changes, &stage.diary("")?)?;
            let found = truth.violations.iter().cloned();
            for violation in found.chain(told.check(&truth)) {
                stage.violated(violation);
            }
            Ok(())
        })
    }
}

/// Commits in calm weather, at the documented cost, and reads with an instance that
/// knows nothing.
async fn commit_calmly(stage: &Rc<Stage>, name: &'static str, told: &mut Told) -> Result<()> {
    let mut last = stage
        .world
        .instance("last-committer")
        .settings(stage.issue_credentials()?)
        .await?;
    let mut base = 0;
    // The first may have to decide a transaction of somebody who was killed.
    for number in 0..2 {
        let message = format!("last.{name}.{number}");
        let item = Item {
            key: "last".to_owned(),
            value: message.clone().into_bytes(),
            blobs: Vec::new(),
        };
        let change = Change {
            base,
            depends_on: Dependency::Nothing,
            edits: vec![Edit::Set(item)],
            writer: Writer::Shared,
            author: String::new(),
            message: message.clone(),
            id: None,
        };
        told.changes.insert((name, message.clone()), change.clone());
        let began = stage.now();
        let before = stage.world.store().totals();
        let answer = last.manifest().commit(name, &change).await??;
        let used = stage.world.store().totals().since(&before).all();
        let CommitOutcome::Committed(version) = answer else {
            bail!("a commit in calm weather: {answer:?}");
        };
        ensure!(
            number == 0 || used == 1,
            "a warm commit in calm weather: {used} requests"
        );
        base = version;
        stage.called(Commit::NAME, "commit in calm weather".to_owned());
        told.history(name).attempts.push(Attempt {
            label: message.clone(),
            bodies: vec![message.into_bytes()],
            began,
            ended: Some(stage.now()),
            ending: Ending::Acknowledged(version - 1, version),
        });
    }
    let mut judge = stage
        .world
        .instance("judge")
        .settings(stage.issue_credentials()?)
        .await?;
    let Some(found) = judge.manifest().latest(name).await?? else {
        bail!("{name} is not there");
    };
    told.seen.push((name, found.summary.version, items(&found)));
    let before = stage.world.store().totals();
    judge.manifest().latest(name).await??;
    let used = stage.world.store().totals().since(&before).all();
    ensure!(used == 1, "a warm look in calm weather: {used} requests");
    Ok(())
}

impl Told {
    /// What must not be: see [`History::check`], and besides
    ///
    /// * a version that was read with other items than those of its changes;
    /// * a commit behind another that touched what it depends on;
    /// * a conflict over keys that nobody touched;
    /// * a blob that is missing although a kept version names it;
    /// * a trim in spite of a pin.
    pub(super) fn check(&self, truth: &Truth) -> Vec<String> {
        let mut violations = self.pins.check();
        for (name, versions) in &truth.versions {
            let mut history = self.histories.get(name).cloned().unwrap_or_default();
            let mut names = Vec::new();
            for (number, version) in (1..).zip(versions) {
                if version.took_effect {
                    names.push(version.message.clone().into_bytes());
                    violations.extend(self.check_dependencies(name, number, versions));
                    continue;
                }
                // It changed nothing, so nobody's commit is this version.
                let nothing = format!("nothing, in version {number}");
                names.push(nothing.clone().into_bytes());
                history.attempts.push(Attempt {
                    label: nothing.clone(),
                    bodies: vec![nothing.into_bytes()],
                    began: Duration::ZERO,
                    ended: None,
                    ending: Ending::Unknown,
                });
            }
            let found = history.check(&names).violations.into_iter();
            violations.extend(found.map(|violation| format!("{name}: {violation}")));
        }
        let versions = |name| truth.versions.get(name).map_or(&[][..], Vec::as_slice);
        let first_kept = |name| truth.first_kept.get(name).copied().unwrap_or_default();
        for (name, version, seen) in &self.seen {
            let at = usize::try_from(version - 1).unwrap_or(usize::MAX);
            if versions(*name).get(at).map(|it| &it.content) != Some(seen) {
                violations.push(format!("version {version} of {name} was read as {seen:?}"));
            }
        }
        for (name, change, conflict) in &self.conflicts {
            let base = change.base;
            let (from, to) = (usize::try_from(base), usize::try_from(conflict.latest));
            let range = from.unwrap_or(usize::MAX)..to.unwrap_or(0);
            let between = versions(*name).get(range).unwrap_or_default();
            let known: Vec<&String> = between.iter().flat_map(|it| &it.touched).collect();
            let invented = conflict.keys.iter().find(|key| !known.contains(key));
            let unfounded = conflict.keys.is_empty()
                && change.depends_on != Dependency::All
                && first_kept(*name) <= base + 1;
            if invented.is_some() || unfounded {
                violations.push(format!("{name}, behind {base}: unfounded {conflict:?}"));
            }
        }
        for (name, version, blob) in &self.missing {
            if *version >= first_kept(*name) {
                violations.push(format!(
                    "version {version} of {name} names {blob:?}: missing"
                ));
            }
        }
        violations
    }

    /// Whether a version stands behind others that touched what it depends on.
    fn check_dependencies(
        &self,
        name: &'static str,
        number: u64,
        versions: &[versions::Written],
    ) -> Option<String> {
        let own = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let message = &versions.get(own)?.message;
        let change = self.changes.get(&(name, message.clone()))?;
        let base = usize::try_from(change.base).unwrap_or(usize::MAX);
        let behind = versions.get(base..own).unwrap_or_default();
        let touched = behind.iter().map(|it| &it.touched);
        let keys = touched
            .filter(|keys| !keys.is_empty())
            .find(|keys| depends(change, keys))?;
        Some(format!(
            "{message} is version {number} of {name} behind a change of {keys:?}"
        ))
    }
}

/// Whether a change depends on one of these keys.
fn depends(change: &Change, keys: &[String]) -> bool {
    let edits = |key: &String| {
        change.edits.iter().any(|edit| match edit {
            Edit::Set(item) => item.key == *key,
            Edit::Remove(removed) => removed == key,
        })
    };
    match &change.depends_on {
        Dependency::Nothing => false,
        Dependency::All => true,
        Dependency::Edits => keys.iter().any(edits),
        Dependency::Keys(own) => keys.iter().any(|key| own.contains(key) || edits(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::versions::Written;
    use super::*;

    const NAME: &str = "table";

    fn change(base: u64, key: &str, depends_on: Dependency) -> Change {
        Change {
            base,
            depends_on,
            edits: vec![Edit::Set(item(key))],
            writer: Writer::Shared,
            author: String::new(),
            message: String::new(),
            id: None,
        }
    }

    fn item(key: &str) -> Item {
        Item {
            key: key.to_owned(),
            value: b"v".to_vec(),
            blobs: Vec::new(),
        }
    }

    fn content(keys: &str) -> Items {
        let keys = keys.split_whitespace();
        keys.map(|key| (key.to_owned(), item(key))).collect()
    }

    /// Versions by message and the key that each sets; one without a key took no effect.
    fn truth(versions: &[(&str, &str)]) -> Truth {
        let mut keys = String::new();
        let written = versions.iter().map(|(message, key)| {
            keys = format!("{keys} {key}");
            Written {
                epoch: 0,
                message: (*message).to_owned(),
                took_effect: !key.is_empty(),
                touched: key.split_whitespace().map(str::to_owned).collect(),
                content: content(&keys),
            }
        });
        Truth {
            versions: BTreeMap::from([(NAME, written.collect())]),
            first_kept: BTreeMap::from([(NAME, 1)]),
            violations: Vec::new(),
        }
    }

    /// Two commits, `a` and `b`, acknowledged as versions 1 and 2.
    fn told(b: Change) -> Told {
        let attempt = |name: &str, at: u64| Attempt {
            label: name.to_owned(),
            bodies: vec![name.as_bytes().to_vec()],
            began: Duration::from_secs(at),
            ended: Some(Duration::from_secs(at + 1)),
            ending: Ending::Acknowledged(at, at + 1),
        };
        let mut told = Told::default();
        told.history(NAME).attempts = vec![attempt("a", 0), attempt("b", 1)];
        told.changes = BTreeMap::from([
            ((NAME, "a".to_owned()), change(0, "x", Dependency::All)),
            ((NAME, "b".to_owned()), b),
        ]);
        told
    }

    fn check(told: &Told, versions: &[(&str, &str)]) -> String {
        told.check(&truth(versions)).join("\n")
    }

    #[test]
    fn a_commit_in_spite_of_a_conflict_is_seen() {
        for right in [
            change(1, "x", Dependency::All),
            change(0, "y", Dependency::Edits),
            change(0, "x", Dependency::Nothing),
        ] {
            assert_eq!(check(&told(right), &[("a", "x"), ("b", "x")]), "");
        }
        for wrong in [
            change(0, "y", Dependency::All),
            change(0, "x", Dependency::Edits),
            change(0, "y", Dependency::Keys(vec!["x".to_owned()])),
        ] {
            let said = check(&told(wrong), &[("a", "x"), ("b", "y")]);
            assert!(said.contains("b is version 2 of table behind"), "{said}");
        }
    }

    #[test]
    fn lost_doubled_moved_and_foreign_commits_are_seen() {
        let told = told(change(1, "x", Dependency::All));
        for (versions, what) in [
            (&[("a", "x")][..], "b: acknowledged at 1, and lost"),
            (&[("a", "x"), ("b", "")], "b: acknowledged at 1, and lost"),
            (&[("a", "x"), ("b", "x"), ("b", "x")], "2 times"),
            (&[("b", "x"), ("a", "x")], "acknowledged at 0, found at 1"),
            (&[("a", "x"), ("b", "x"), ("c", "x")], "nobody"),
        ] {
            let said = check(&told, versions);
            assert!(said.contains(what), "{versions:?}: {said}");
        }
    }

    #[test]
    fn a_refused_commit_that_took_effect_is_seen() {
        let mut told = told(change(1, "x", Dependency::All));
        let history = told.history(NAME);
        history.attempts[1].ending = Ending::Rejected;
        assert_eq!(check(&told, &[("a", "x"), ("b", "")]), "");
        let said = check(&told, &[("a", "x"), ("b", "x")]);
        assert!(said.contains("b: rejected, and in the log at 1"), "{said}");
    }

    #[test]
    fn wrong_content_invented_conflicts_and_missing_blobs_are_seen() {
        let versions = &[("a", "x"), ("b", "y")];
        let conflict = |latest, key: &str| Conflict {
            latest,
            keys: key.split_whitespace().map(str::to_owned).collect(),
        };
        let mut told = told(change(1, "y", Dependency::All));
        told.seen = vec![(NAME, 1, content("x")), (NAME, 2, content("x y"))];
        let edits = change(0, "x", Dependency::Edits);
        told.conflicts = vec![(NAME, edits, conflict(1, "x"))];
        assert_eq!(check(&told, versions), "");
        told.seen.push((NAME, 2, content("x")));
        assert!(check(&told, versions).contains("version 2 of table was read as"));
        told.seen.pop();
        for (base, latest, key) in [(1, 2, "x"), (0, 2, "")] {
            let refused = change(base, "x", Dependency::Edits);
            told.conflicts.push((NAME, refused, conflict(latest, key)));
            assert!(check(&told, versions).contains("unfounded"), "{key}");
            told.conflicts.pop();
        }
        let blob = Reference {
            generation: 0,
            digest: String::new(),
        };
        told.missing.push((NAME, 1, blob));
        assert!(check(&told, versions).contains("missing"));
    }
}
