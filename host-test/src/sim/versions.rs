//! What manifests are, by everything that was ever written and deleted: their versions
//! and what became of each, the decisions of transactions, and the blobs that the
//! versions name.

use super::slots::{Slots, keys};
use crate::bindings::manifest::{Change, Edit, Item};
use crate::clock::UnixMs;
use crate::store::Deed;
use crate::store::auth::hex;
use anyhow::Result;
use ifmatch::bucket::StoreTime;
use ifmatch::codec::Tag;
use ifmatch::keys::{Family, Slot};
use ifmatch::manifest::{Decision, Origin, Prepared, Version};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The items of one version, by key.
pub type Items = BTreeMap<String, Item>;

/// Every change that anybody asked for, by manifest and message, which tells it from
/// all others.
pub type Changes = BTreeMap<(&'static str, String), Change>;

/// The section of a header with the hash, the author and the message.
const ABOUT: Tag = Tag(3);
/// Length of the hash.
const HASH_BYTES: usize = 16;
/// A decision for a transaction counts only within this time of its beginning.
const TRANSACTION_MS_MAX: u64 = 600_000;
/// This close to it, the clocks of front ends decide, so nothing is said here.
const UNSURE_MS: u64 = 5_000;
/// A decision is not collected before it is this old.
const DECISION_MS_MIN: u64 = 3_600_000;

/// A version.
#[derive(Clone, Debug)]
pub struct Written {
    /// The token of its writer.
    pub epoch: u64,
    /// Its message.
    pub message: String,
    /// Whether it changed anything that was asked for: it is not empty, and no part of a
    /// transaction that did not happen.
    pub took_effect: bool,
    /// The keys that it changed.
    pub touched: Vec<String>,
    /// The items behind it.
    pub content: Items,
}

/// Manifests as the store has them.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// All versions of each, the first at first.
    pub versions: BTreeMap<&'static str, Vec<Written>>,
    /// The first version of each that is kept.
    pub first_kept: BTreeMap<&'static str, u64>,
    /// Which version of which manifest each fork began with.
    pub origins: BTreeMap<&'static str, (String, u64)>,
    /// What must not be.
    pub violations: Vec<String>,
}

/// A version as it was first read.
struct Draft {
    epoch: u64,
    message: String,
    has_edits: bool,
    is_full: bool,
    prepared: Option<Prepared>,
    /// What became of the version before.
    fate: Option<bool>,
    generation: u32,
    origin: Option<Origin>,
}

/// What was decided of a transaction, by the decision that came first.
struct Decided {
    happened: bool,
    /// Whether it was so close to the end of the time for it that nobody can tell here.
    unsure: bool,
    at: UnixMs,
    manifests: Vec<String>,
    standing: Standing,
}

/// What stands under the key of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The first decision.
    First,
    /// None any more.
    Nothing,
    /// One that was made when there was none any more.
    Later,
}

impl Decided {
    fn new(decision: Decision, at: UnixMs) -> Self {
        let time = StoreTime { unix_ms: at.0 };
        let age_ms = decision
            .begun_at
            .map_or(0, |begun_at| time.since_ms(begun_at));
        Self {
            happened: decision.takes_effect(Some(time)),
            unsure: decision.commits && age_ms.abs_diff(TRANSACTION_MS_MAX) < UNSURE_MS,
            at,
            manifests: decision.manifests,
            standing: Standing::First,
        }
    }
}

/// What happened, in order, as far as it concerns blobs.
enum Event {
    /// The next version was written.
    Version(&'static str),
    /// The versions before this slot are trimmed.
    Kept(&'static str, Slot),
    Stored(String),
    Deleted(String),
}

/// Of each transaction, in how many manifests it took effect, and in how many it is.
type Parts = BTreeMap<u128, (usize, usize)>;

struct Check<'a> {
    changes: &'a Changes,
    slots: BTreeMap<&'static str, Slots>,
    drafts: BTreeMap<&'static str, Vec<Draft>>,
    decisions: BTreeMap<u128, Decided>,
    events: Vec<Event>,
    truth: Truth,
}

/// Checks manifests from their first object on:
///
/// * what holds for all slots: see [`Slots`]; a trim ends at a full version, and the
///   generation of blobs never goes down;
/// * a transaction is decided once, and what is written behind its parts says what was
///   decided; it takes effect in all of its manifests or in none;
/// * a decision is deleted only when it is old enough and nobody waits for it, and
///   whatever is decided afterwards is against the transaction;
/// * a fork begins with what was in the version that it was made from;
/// * blobs are what they are called;
/// * every version names only blobs that are there, and no blob goes that a kept version
///   names.
///
/// # Errors
/// If one of them is not the name of a manifest.
pub fn check(manifests: &[&'static str], changes: &Changes, diary: &[Deed]) -> Result<Truth> {
    let mut slots = BTreeMap::new();
    for name in manifests {
        slots.insert(*name, Slots::new(keys(Family::Manifest, name)?));
    }
    let mut check = Check {
        changes,
        slots,
        drafts: manifests.iter().map(|name| (*name, Vec::new())).collect(),
        decisions: BTreeMap::new(),
        events: Vec::new(),
        truth: Truth::default(),
    };
    for deed in diary {
        if let Err(what) = check.take(deed) {
            check.broken(format!("{}: {what}", deed.key));
        }
    }
    check.tell();
    check.follow_blobs();
    for (name, slots) in &check.slots {
        let first = slots.first_kept.0 + 1;
        check.truth.first_kept.insert(*name, first);
    }
    Ok(check.truth)
}

impl Check<'_> {
    fn broken(&mut self, violation: String) {
        self.truth.violations.push(violation);
    }

    fn take(&mut self, deed: &Deed) -> Result<(), String> {
        if let Some(id) = deed.key.strip_prefix("_transaction/") {
            return self.decide(id, deed);
        }
        if let Some((_, digest)) = deed
            .key
            .strip_prefix("blob/")
            .and(deed.key.rsplit_once('/'))
        {
            let Some(body) = &deed.body else {
                self.events.push(Event::Deleted(deed.key.clone()));
                return Ok(());
            };
            self.events.push(Event::Stored(deed.key.clone()));
            return match hex(&Sha256::digest(body)) == digest {
                true => Ok(()),
                false => Err("these bytes have another digest".to_owned()),
            };
        }
        for (name, slots) in &mut self.slots {
            let drafts = self.drafts.entry(*name).or_default();
            match (slots.keys.parse_slot(&deed.key), &deed.body) {
                (Some(slot), None) => return slots.delete(slot),
                (Some(slot), Some(body)) => {
                    let version = Version::decode(body).map_err(|error| error.to_string())?;
                    if !slots.write(slot, deed.at, &version.header)? {
                        return Ok(());
                    }
                    let (name, draft) = (*name, Draft::new(version)?);
                    return self.write(name, draft);
                }
                (None, body) if deed.key == slots.keys.state() => {
                    let body = body.as_ref().ok_or("it is deleted")?;
                    let first = slots.change(deed.at, body)?.first_kept;
                    self.events.push(Event::Kept(name, first));
                    let at = usize::try_from(first.0).unwrap_or(usize::MAX);
                    return match drafts.get(at) {
                        Some(draft) if !draft.is_full => {
                            Err(format!("slot {first} is the first kept, and not full"))
                        }
                        _ => Ok(()),
                    };
                }
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// The next version of a manifest.
    fn write(&mut self, name: &'static str, draft: Draft) -> Result<(), String> {
        if let Some(Origin { name, version }) = &draft.origin {
            let parent = self.drafts.get(name.as_str());
            if parent.is_none_or(|versions| (versions.len() as u64) < *version) {
                return Err(format!("there is no version {version} of {name} to fork"));
            }
        }
        let drafts = self.drafts.entry(name).or_default();
        let before = drafts.last().map_or(0, |before| before.generation);
        let falls = draft.generation < before;
        drafts.push(draft);
        self.events.push(Event::Version(name));
        match falls {
            false => Ok(()),
            true => Err("its generation is below that of the one before".to_owned()),
        }
    }

    fn decide(&mut self, id: &str, deed: &Deed) -> Result<(), String> {
        let transaction = u128::from_str_radix(id, 16).map_err(|error| error.to_string())?;
        let Some(body) = &deed.body else {
            return self.forget(transaction, deed.at);
        };
        let (header, decision) = Decision::decode(body).map_err(|error| error.to_string())?;
        if header.identity != transaction {
            return Err("the object was written for another place".to_owned());
        }
        let decided = Decided::new(decision, deed.at);
        let Some(first) = self.decisions.get_mut(&transaction) else {
            self.decisions.insert(transaction, decided);
            return Ok(());
        };
        if first.standing != Standing::Nothing {
            return Err("it is decided twice".to_owned());
        }
        first.standing = Standing::Later;
        match decided.happened && !decided.unsure {
            true => Err("it is decided for it, after its decision was collected".to_owned()),
            false => Ok(()),
        }
    }

    /// A decision is deleted. One that was made when there was none any more is against
    /// the transaction, and may go at any time.
    fn forget(&mut self, transaction: u128, at: UnixMs) -> Result<(), String> {
        let Some(decided) = self.decisions.get_mut(&transaction) else {
            return Ok(());
        };
        let standing = std::mem::replace(&mut decided.standing, Standing::Nothing);
        if standing != Standing::First {
            return Ok(());
        }
        let taking_part = || decided.manifests.iter().map(String::as_str);
        let margins_ms = taking_part()
            .filter_map(|name| self.slots.get(name))
            .map(|slots| 2 * slots.margin_ms());
        let needed_ms = TRANSACTION_MS_MAX + margins_ms.max().unwrap_or(0);
        let age_ms = at.0.saturating_sub(decided.at.0);
        if age_ms + UNSURE_MS < needed_ms.max(DECISION_MS_MIN) {
            return Err(format!("it is deleted after {age_ms} ms"));
        }
        // Who waits for one that was against it makes it again.
        let waits = |name: &&str| {
            let newest = self.drafts.get(*name).and_then(|versions| versions.last());
            let prepared = newest.and_then(|newest| newest.prepared.as_ref());
            prepared.is_some_and(|prepared| prepared.transaction == transaction)
        };
        match taking_part().find(waits) {
            Some(name) if decided.happened => {
                Err(format!("it is deleted although {name} waits for it"))
            }
            _ => Ok(()),
        }
    }

    /// Puts every version together from what was asked for.
    fn tell(&mut self) {
        let mut parts = Parts::new();
        let mut waiting = std::mem::take(&mut self.drafts);
        // Parents come before their forks.
        let ready = |waiting: &BTreeMap<&'static str, Vec<Draft>>| {
            let origin = |drafts: &[Draft]| drafts.first().and_then(|first| first.origin.clone());
            let found = waiting.iter().find(|(_, drafts)| {
                origin(drafts).is_none_or(|origin| !waiting.contains_key(origin.name.as_str()))
            });
            found.map(|(name, _)| *name)
        };
        while let Some(name) = ready(&waiting) {
            let drafts = waiting.remove(name).unwrap_or_default();
            let versions = self.tell_one(name, &drafts, &mut parts);
            self.truth.versions.insert(name, versions);
        }
        for (transaction, (done, all)) in parts {
            if done != 0 && done != all {
                self.broken(format!(
                    "transaction {transaction:032x} took effect in {done} of {all} manifests"
                ));
            }
        }
    }

    fn tell_one(
        &mut self,
        name: &'static str,
        drafts: &[Draft],
        parts: &mut Parts,
    ) -> Vec<Written> {
        let mut content = Items::new();
        let mut versions = Vec::new();
        for (at, draft) in drafts.iter().enumerate() {
            let next = drafts.get(at + 1);
            let happened = match &draft.prepared {
                None => true,
                Some(prepared) => {
                    let happened = self.fate(name, at, prepared, next);
                    let (done, all) = parts.entry(prepared.transaction).or_default();
                    *done += usize::from(happened);
                    *all = prepared.manifests.len();
                    happened
                }
            };
            let mut took_effect = happened && draft.has_edits;
            let mut touched = Vec::new();
            if let Some(origin) = &draft.origin {
                // Nobody's commit is this version, and yet it has items.
                took_effect = false;
                content = self.forked(name, origin);
                touched = content.keys().cloned().collect();
            } else if took_effect {
                match self.changes.get(&(name, draft.message.clone())) {
                    Some(change) => touched = apply(change, &mut content),
                    None => self.broken(format!(
                        "version {} of {name} is nobody's: {}",
                        at + 1,
                        draft.message
                    )),
                }
            }
            versions.push(Written {
                epoch: draft.epoch,
                message: draft.message.clone(),
                took_effect,
                touched,
                content: content.clone(),
            });
        }
        versions
    }

    /// What a fork begins with: the items of its parent, and copies of their blobs.
    fn forked(&mut self, fork: &'static str, origin: &Origin) -> Items {
        let Origin { name, version } = origin;
        self.truth.origins.insert(fork, (name.clone(), *version));
        let at = usize::try_from(version.saturating_sub(1)).unwrap_or(usize::MAX);
        let parent = self.truth.versions.get(name.as_str());
        let mut content = parent
            .and_then(|versions| versions.get(at))
            .map_or_else(Items::new, |version| version.content.clone());
        for blob in content.values_mut().flat_map(|item| &mut item.blobs) {
            blob.generation = 0;
        }
        content
    }

    /// Whether a prepared version took effect.
    fn fate(&mut self, name: &str, at: usize, prepared: &Prepared, next: Option<&Draft>) -> bool {
        let decided = self.decisions.get(&prepared.transaction);
        let (happened, unsure) =
            decided.map_or((false, false), |decided| (decided.happened, decided.unsure));
        let Some(next) = next else { return happened };
        let said = next.fate;
        if said != Some(happened) && !unsure {
            self.broken(format!(
                "version {} of {name}: {said:?} is said of it, and {happened} was decided",
                at + 1
            ));
        }
        said.unwrap_or(happened)
    }

    /// Nothing that a kept version names is ever missing.
    fn follow_blobs(&mut self) {
        let mut stored: BTreeSet<&str> = BTreeSet::new();
        let mut kept: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let named: BTreeMap<&str, Vec<BTreeSet<String>>> = self
            .truth
            .versions
            .iter()
            .map(|(name, versions)| {
                let named = versions.iter();
                (*name, named.map(|it| named_by(name, &it.content)).collect())
            })
            .collect();
        let mut violations = Vec::new();
        for event in &self.events {
            match event {
                Event::Stored(key) => drop(stored.insert(key)),
                Event::Kept(name, first) => {
                    kept.entry(name).or_default().0 = usize::try_from(first.0).unwrap_or(0);
                }
                Event::Version(name) => {
                    let (_, count) = kept.entry(name).or_default();
                    let own = named.get(name).and_then(|versions| versions.get(*count));
                    *count += 1;
                    for key in own.into_iter().flatten() {
                        if !stored.contains(key.as_str()) {
                            violations.push(format!(
                                "version {count} of {name} names {key}, which is not there"
                            ));
                        }
                    }
                }
                Event::Deleted(key) => {
                    stored.remove(key.as_str());
                    for (name, (first, count)) in &kept {
                        let versions = named.get(name).map_or(&[][..], Vec::as_slice);
                        let here = versions.get(*first..*count).unwrap_or_default();
                        if let Some(at) = here.iter().position(|keys| keys.contains(key)) {
                            violations.push(format!(
                                "{key} is deleted, and version {} of {name} names it",
                                first + at + 1
                            ));
                        }
                    }
                }
            }
        }
        self.truth.violations.append(&mut violations);
    }
}

impl Draft {
    fn new(version: Version) -> Result<Self, String> {
        let about = version.header.section(ABOUT).unwrap_or_default();
        let author = about
            .get(HASH_BYTES)
            .map_or(0, |length| usize::from(*length));
        let message = about.get(HASH_BYTES + 1 + author..);
        let message = message.ok_or("it has no message")?.to_vec();
        Ok(Self {
            epoch: version.header.epoch.0,
            message: String::from_utf8(message).map_err(|error| error.to_string())?,
            has_edits: version.header.record_count > 0,
            is_full: version.is_full(),
            generation: version.sweep.generation.0,
            origin: version.origin,
            fate: version.fate,
            prepared: version.prepared,
        })
    }
}

/// Applies a change, and returns the keys that it touches.
fn apply(change: &Change, content: &mut Items) -> Vec<String> {
    let apply = |edit: &Edit| match edit {
        Edit::Set(item) => {
            content.insert(item.key.clone(), item.clone());
            item.key.clone()
        }
        Edit::Remove(key) => {
            content.remove(key);
            key.clone()
        }
    };
    change.edits.iter().map(apply).collect()
}

/// The keys of the blobs that a content names.
fn named_by(space: &str, content: &Items) -> BTreeSet<String> {
    let blobs = content.values().flat_map(|item| &item.blobs);
    blobs
        .map(|blob| {
            let digest = blob.digest.trim_start_matches("sha256:");
            format!("blob/{space}/_{:08x}/{digest}", blob.generation)
        })
        .collect()
}
