//! Two manifests that several instances commit to: single commits, with and without
//! conflicts, once and again until they are acknowledged; transactions over both; blobs
//! that they name; and trims, pins and sweeps beside them.
//!
//! A manifest answers with its own order, as a log does: a commit is told its version,
//! and versions are dense. So the same check serves: each version is one record, its
//! message, at the offset of its version less one.

pub(super) mod calls;

use super::actor::{Actor, Call, is_expected};
use super::pins::Pins;
use super::stage::{Act, Local, Part, Stage};
use super::versions::{self, Changes, Items, Truth};
use crate::bindings::blob::Reference;
use crate::bindings::collection::{KeepVersions, Reason};
use crate::bindings::log::{CreateOutcome, Settings};
use crate::bindings::manifest::{
    AtOutcome, Change, CommitOutcome, Conflict, Dependency, Edit, Error, ForkOutcome, Item,
    PinOutcome, Snapshot, Writer,
};
use crate::bindings::transaction;
use crate::history::{Attempt, Ending, History, TailSeen};
use anyhow::{Result, bail, ensure};
use calls::{
    At, Commit, Create, Fork, GetBlobs, Latest, Pin, Plan, PlanDecisions, PutBlob, Sweep,
    SweepDecisions, Transact, Trim, Unpin, Versions,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
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
/// What the first manifest, or a fork of it, is forked to, one after the other.
const FORKS: [&str; 3] = ["fork-1", "fork-2", "fork-3"];
/// How often a fork is made again whose fate is not known.
const FORKS_MAX: u32 = 20;
/// The longest pause of whoever collects decisions.
const DECISIONS_MS: u64 = 2 * 3_600_000;

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
    /// Every call that was to make a fork.
    forks: Vec<Forked>,
}

/// What a call to make a fork told.
#[derive(Clone, Debug)]
struct Forked {
    parent: &'static str,
    version: u64,
    fork: &'static str,
    /// Whether it is there by this call or an earlier one; not by this one; or nobody said.
    ending: Option<bool>,
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
    let actor = Actor::start(&stage, "forker").await?;
    stage.spawn(Member::new(actor, &told).fork_and_go_on());
    let actor = Actor::start(&stage, "decisions-keeper").await?;
    stage.spawn(Member::new(actor, &told).collect_decisions());
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
                self.idle(stage.weather.thought_ms).await;
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
            match self.actor.ask(Create(name, settings)).await? {
                Some(CreateOutcome::Exists(found)) => {
                    ensure!(found == settings, "created with {found:?}");
                    return Ok(());
                }
                Some(CreateOutcome::Created) => return Ok(()),
                None | Some(CreateOutcome::Indeterminate(_)) => {}
            }
            self.idle(1_000).await;
        }
    }

    /// Reads the latest version, and notes what it was.
    async fn latest(&mut self, name: &'static str) -> Result<Option<Snapshot>> {
        let began = self.now();
        let Some(snapshot) = self.actor.ask(Latest(name)).await? else {
            return Ok(None);
        };
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
        if let Some(body) = blob
            && let Some(stored) = self.actor.ask(PutBlob(name, generation, body)).await?
        {
            ensure!(stored.len() == 1, "{stored:?}");
            blobs = stored;
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
            self.idle(stage.weather.collect_ms / 2).await;
            let name = NAMES[usize::from(self.actor.dice.below(4) == 0)];
            match self.actor.dice.below(9) {
                0 => drop(self.actor.ask(Plan(name)).await?),
                1 | 2 => self.sweep(name).await?,
                3 | 4 => self.trim(name).await?,
                5 => self.pin().await?,
                6 => self.versions(name).await?,
                7 => self.some_version().await?,
                _ => self.blobs(name).await?,
            }
        }
        Ok(())
    }

    async fn sweep(&mut self, name: &'static str) -> Result<()> {
        let report = self.actor.ask(Sweep(name)).await?;
        if report.is_some_and(|report| report.count(Reason::Unnamed) > 0) {
            self.passed("sweep deletes");
        }
        Ok(())
    }

    async fn trim(&mut self, name: &'static str) -> Result<()> {
        let dice = &mut self.actor.dice;
        let keep = match dice.below(3) {
            0 => KeepVersions::Start(1 + dice.below(40)),
            1 => KeepVersions::Newest(dice.below(10)),
            _ => KeepVersions::AgeMs(dice.below(60_000)),
        };
        let began = self.now();
        if let Some(report) = self.actor.ask(Trim(name, keep)).await? {
            self.saw_trim(name, began, report.first_kept);
            if report.count(Reason::Trimmed) > 0 {
                self.passed("trim of versions deletes");
            }
        }
        Ok(())
    }

    fn passed(&self, what: &str) {
        self.actor.stage().passed(what.to_owned());
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
        let pin = Pin(reader.clone(), version, ttl_ms);
        match self.actor.ask(pin).await? {
            Some(PinOutcome::Pinned(expires_at)) => {
                let (from, left) = (self.now(), self.actor.stage().left_until(expires_at));
                self.told.borrow_mut().pins.hold(version, from, left);
            }
            Some(PinOutcome::Trimmed(first)) => {
                ensure!(first > version, "version {version} is trimmed: {first}");
            }
            None | Some(PinOutcome::Indeterminate(_)) => {}
        }
        self.idle(120_000).await;
        self.at(version, Some(reader.clone())).await?;
        self.at(version, None).await?;
        if self.actor.dice.below(2) == 0 {
            let now = self.now();
            self.told.borrow_mut().pins.end(now);
            self.actor.ask(Unpin(reader)).await?;
        }
        Ok(())
    }

    /// Reads a version of the first manifest that there is, was, or may be soon.
    async fn some_version(&mut self) -> Result<()> {
        if let Some(found) = self.latest(NAMES[0]).await? {
            let version = 1 + self.actor.dice.below(found.summary.version + 1);
            self.at(version, None).await?;
        }
        Ok(())
    }

    /// Reads a version of the first manifest that may be there.
    async fn at(&mut self, version: u64, reader: Option<String>) -> Result<()> {
        let pinned = reader.is_some();
        let (latest, _) = self.known.get(NAMES[0]).copied().unwrap_or_default();
        let began = self.now();
        match self.actor.ask(At(NAMES[0], version, reader)).await? {
            Some(AtOutcome::Snapshot(found)) => {
                ensure!(found.summary.version == version, "{:?}", found.summary);
                let seen = (NAMES[0], version, items(&found));
                self.told.borrow_mut().seen.push(seen);
            }
            Some(AtOutcome::PinExpired) if pinned => {}
            Some(AtOutcome::Trimmed(first)) if !pinned && first > version => {
                self.saw_trim(NAMES[0], began, first);
            }
            Some(AtOutcome::Absent) if !pinned && version > latest => {}
            Some(other) => bail!("version {version}: {other:?}"),
            None => {}
        }
        Ok(())
    }

    async fn versions(&mut self, name: &'static str) -> Result<()> {
        let summaries = self.actor.ask(Versions(name)).await?.unwrap_or_default();
        let gap = summaries
            .windows(2)
            .any(|pair| pair[0].version != pair[1].version + 1);
        ensure!(!gap, "a history with a gap: {summaries:?}");
        Ok(())
    }

    /// Reads what the latest version names.
    async fn blobs(&mut self, name: &'static str) -> Result<()> {
        let Some(found) = self.latest(name).await? else {
            return Ok(());
        };
        let blobs = found.items.iter().flat_map(|item| item.blobs.clone());
        let blobs: Vec<Reference> = blobs.collect();
        if let Some(bodies) = self.actor.ask(GetBlobs(name, blobs.clone())).await? {
            ensure!(bodies.len() == blobs.len(), "{} blobs", bodies.len());
            let version = found.summary.version;
            let mut told = self.told.borrow_mut();
            for (blob, body) in blobs.into_iter().zip(bodies) {
                if body.is_none() {
                    told.missing.push((name, version, blob));
                }
            }
        }
        Ok(())
    }

    /// Collects decisions now and then.
    async fn collect_decisions(mut self) -> Result<()> {
        let stage = self.actor.stage().clone();
        while !stage.is_over() {
            self.idle(DECISIONS_MS).await;
            if self.actor.dice.below(3) == 0 {
                self.actor.ask(PlanDecisions).await?;
            }
            let report = self.actor.ask(SweepDecisions).await?;
            if report.is_some_and(|report| report.count(Reason::Settled) > 0) {
                self.passed("decisions are collected");
            }
        }
        Ok(())
    }

    /// Forks the first manifest, or a fork, and goes on with what came of it.
    async fn fork_and_go_on(mut self) -> Result<()> {
        let stage = self.actor.stage().clone();
        let mut parents = vec![NAMES[0]];
        for number in 0.. {
            if stage.is_over() {
                return Ok(());
            }
            self.idle(stage.weather.collect_ms / 2).await;
            let fork = FORKS.get(parents.len() - 1).copied();
            let at = usize::try_from(self.actor.dice.below(parents.len() as u64))?;
            let parent = parents.get(at).copied().unwrap_or(NAMES[0]);
            let latest = self.latest(parent).await?;
            match (self.actor.dice.below(4), fork, latest) {
                (0, Some(fork), Some(found)) => {
                    let latest = found.summary.version;
                    if self.actor.dice.below(4) == 0 {
                        // Then there is a manifest of that name already.
                        let message = format!("{}.{number}", self.actor.name());
                        self.commit(fork, &message, true).await?;
                    }
                    let version = 1 + self.actor.dice.below(latest + 1);
                    if self.fork(parent, version, fork).await? {
                        parents.push(fork);
                    }
                }
                (1, ..) if parent != NAMES[0] => {
                    let message = format!("{}.{number}", self.actor.name());
                    self.commit(parent, &message, true).await?;
                }
                (2, ..) => self.sweep(parent).await?,
                (3, ..) => self.trim(parent).await?,
                _ => self.blobs(parent).await?,
            }
        }
        Ok(())
    }

    /// Forks until the fate of the fork is known, and tells whether there is one.
    async fn fork(
        &mut self,
        parent: &'static str,
        version: u64,
        fork: &'static str,
    ) -> Result<bool> {
        for _ in 0..FORKS_MAX {
            let answer = self.actor.make(Fork(parent, version, fork)).await?;
            let told = |ending| Forked {
                parent,
                version,
                fork,
                ending,
            };
            let (ending, exists) = match answer {
                Some(Ok(ForkOutcome::Forked)) => (Some(true), Some(true)),
                Some(Ok(ForkOutcome::Exists)) => (Some(false), Some(true)),
                Some(Ok(ForkOutcome::Absent)) => (Some(false), Some(false)),
                Some(Ok(ForkOutcome::Trimmed(first))) if first > version => {
                    (Some(false), Some(false))
                }
                None | Some(Ok(ForkOutcome::Indeterminate(_))) => (None, None),
                // An error means: not by this call.
                Some(Err(error)) if is_expected(&error) => (Some(false), None),
                Some(other) => bail!("version {version} of {parent} as {fork}: {other:?}"),
            };
            self.told.borrow_mut().forks.push(told(ending));
            if let Some(exists) = exists {
                return Ok(exists);
            }
            self.idle(1_000).await;
        }
        Ok(false)
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
            let forks = told.forks.iter().map(|told| told.fork);
            let used: BTreeSet<&'static str> = NAMES.into_iter().chain(forks).collect();
            let names: Vec<&'static str> = used.into_iter().collect();
            for name in &names {
                commit_calmly(stage, name, &mut told).await?;
            }
            let truth = versions::check(&names, &told.changes, &stage.diary("")?)?;
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
    /// * a trim in spite of a pin;
    /// * a fork that is not what its maker was told.
    pub(super) fn check(&self, truth: &Truth) -> Vec<String> {
        let mut violations = self.pins.check();
        violations.extend(self.check_forks(truth));
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

    /// A fork that was acknowledged begins with the version that was asked for; what was
    /// refused does not, and nobody's does not either.
    fn check_forks(&self, truth: &Truth) -> Vec<String> {
        let mut violations = Vec::new();
        for told in &self.forks {
            let own = truth.origins.get(told.fork) == Some(&(told.parent.to_owned(), told.version));
            if told.ending == Some(true) && !own {
                violations.push(format!("{told:?}: it is not"));
            }
        }
        for (name, (parent, version)) in &truth.origins {
            let made = |told: &&Forked| {
                told.fork == *name && told.parent == parent && told.version == *version
            };
            let mut calls = self.forks.iter().filter(made);
            if calls.all(|told| told.ending == Some(false)) {
                violations.push(format!(
                    "{name}: nobody forked version {version} of {parent}"
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
            ..Truth::default()
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
    fn forks_that_are_not_what_was_said_are_seen() {
        let forked = |version, ending| Forked {
            parent: NAME,
            version,
            fork: "fork",
            ending,
        };
        let check = |forks: &[Forked], origin: Option<u64>| {
            let told = Told {
                forks: forks.to_vec(),
                ..Told::default()
            };
            let origins = origin.map(|version| ("fork", (NAME.to_owned(), version)));
            let truth = Truth {
                origins: origins.into_iter().collect(),
                ..Truth::default()
            };
            told.check(&truth).len()
        };
        let done = [forked(3, Some(false)), forked(3, Some(true))];
        assert_eq!(check(&done, Some(3)), 0);
        assert_eq!(check(&done, None), 1);
        assert_eq!(check(&done, Some(2)), 2);
        assert_eq!(check(&[forked(3, None)], Some(3)), 0);
        assert_eq!(check(&[forked(3, None)], None), 0);
        assert_eq!(check(&[forked(3, Some(false))], Some(3)), 1);
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
