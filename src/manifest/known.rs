//! What an instance knows of a manifest: the content of one version, put together
//! from objects and followed from there.

use super::pace::Pace;
use super::recent::Recent;
use super::value::{self, Named};
use super::version::{
    Entry, Prepared, Sweep, Version, entry_bytes, item_hash, must_be_full, parent,
};
use super::{Item, State, Summary};
use crate::bucket::StoreTime;
use crate::guards::{Guard, off};
use crate::keys::{Name, Slot};
use crate::list::list;
use crate::slots::Grace;
use crate::token::Epoch;

/// An instance remembers about this many bytes of manifests.
const KNOWN_BYTES_MAX: usize = 24 * 1024 * 1024;

/// An instance remembers this many manifests.
const KNOWN_MAX: usize = 64;

/// Of each manifest, the changed keys of this many versions are remembered.
const RECENT_MAX: usize = 256;

/// At most so many entries are applied one by one, more of them in one pass.
const FEW_ENTRIES: usize = 8;

/// So long after a version its writer's competitors are taken to be there.
const OTHERS_MS: u64 = 2_000;

/// A state of at most this many bytes is written with every version.
const SMALL_BYTES: usize = 4096;

/// A value, or the trace of one that was removed.
#[derive(Clone, Debug)]
struct Held {
    key: String,
    value: Option<Vec<u8>>,
    /// The slot of the object that tells of it.
    touched: Slot,
}

/// Which keys a version changed.
#[derive(Clone, Debug)]
pub(super) struct Changed {
    pub(super) slot: Slot,
    pub(super) commit_id: u128,
    pub(super) keys: Vec<String>,
    /// Whether the version before took effect, if that was prepared.
    fate_before: Option<bool>,
}

/// A prepared version whose fate is not known yet.
#[derive(Clone, Debug)]
struct Pending {
    prepared: Prepared,
    edits: Vec<Entry>,
}

/// A manifest as of one version.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) slot: Slot,
    pub(super) commit_id: u128,
    pub(super) epoch: Epoch,
    pub(super) grace: Grace,
    pub(super) modified_at: Option<StoreTime>,
    /// A time at which the next slot had not been written.
    pub(super) absent_at: Option<StoreTime>,
    /// Set while the version is prepared and nothing more is known of it.
    pending: Option<Pending>,
    /// Whether the version took effect, if it was prepared and that is known.
    pub(super) fate: Option<bool>,
    pub(super) sweep: Sweep,
    /// The same of the version before.
    pub(super) fate_before: Option<bool>,
    pub(super) base: Slot,
    hash: u128,
    author: String,
    message: String,
    /// In ascending order of key.
    entries: Vec<Held>,
    items_bytes: usize,
    held_bytes: usize,
    /// What versions behind `changes_since` changed, in ascending order.
    changes: Vec<Changed>,
    pub(super) changes_since: Slot,
    /// What the versions up to this one changed, as far back as anybody told.
    pub(super) recent: Recent,
    /// How many more versions its writer will probably put behind it at once.
    pub(super) left: u8,
    /// How this instance gets on with others who commit.
    pub(super) pace: Pace,
}

/// What is to become the next version.
pub(super) struct Draft<'a> {
    pub(super) edits: &'a [Entry],
    /// Whether it takes effect only with a transaction.
    pub(super) prepares: bool,
}

/// What a draft comes to behind a known version.
pub(super) struct Next {
    pub(super) base: Slot,
    pub(super) hash: u128,
    pub(super) carried: Vec<Entry>,
    /// Bytes of the content behind it, if it takes effect.
    pub(super) content_bytes: usize,
}

pub(super) const BROKEN: &str = "its content is not what the versions before it come to";

impl Known {
    /// Whether the version was written just now, and among others.
    pub(super) fn tells_of_others(&self) -> bool {
        let age_ms = match (self.absent_at, self.modified_at) {
            (Some(now), Some(modified_at)) => now.since_ms(modified_at),
            _ => u64::MAX,
        };
        age_ms < OTHERS_MS && self.recent.tells()
    }

    /// Whether a version can be put together from this one and what lies between.
    pub(super) fn leads_on(&self) -> bool {
        self.pending.is_none() && self.fate.is_none()
    }

    /// Puts a version together from its object and those of its ancestors, nearest
    /// first; those that lie behind `start` suffice, if it leads there.
    pub(super) fn fold(
        start: Option<Known>,
        mut target: Version,
        ancestors: Vec<Version>,
        modified_at: Option<StoreTime>,
        absent_at: Option<StoreTime>,
    ) -> Result<Known, &'static str> {
        let header = &target.header;
        let mut known = Known {
            slot: header.slot,
            commit_id: header.commit_id,
            epoch: header.epoch,
            grace: Grace {
                period_ms: header.grace_ms,
                margin_ms: header.clock_margin_ms,
            },
            modified_at,
            absent_at,
            pending: None,
            fate: None,
            sweep: target.sweep,
            fate_before: target.fate,
            base: target.base(),
            hash: 0,
            author: String::new(),
            message: String::new(),
            entries: Vec::new(),
            items_bytes: 0,
            held_bytes: 0,
            changes: Vec::new(),
            changes_since: header.slot,
            recent: core::mem::take(&mut target.recent),
            left: target.left,
            pace: Pace::default(),
        };
        known
            .recent
            .push(target.instance, header.commit_id, &target.edits);
        if let Some(start) = start {
            known.pace = start.pace;
            if start.base == known.base {
                known.entries = start.entries;
                (known.items_bytes, known.held_bytes) = (start.items_bytes, start.held_bytes);
                known.hash = start.hash;
            }
        }
        for version in ancestors.into_iter().rev() {
            let slot = version.header.slot;
            known.apply_all(version.carried, slot);
            // What a prepared version changed is part of the version behind it.
            if version.prepared.is_none() || off(Guard::PreparedIsNotApplied) {
                known.apply_all(version.edits, slot);
            }
        }
        let (slot, is_full) = (target.header.slot, target.is_full());
        known.apply_all(target.carried, slot);
        match target.prepared {
            None => known.apply_all(target.edits, slot),
            Some(prepared) => {
                known.pending = Some(Pending {
                    prepared,
                    edits: target.edits,
                });
            }
        }
        if known.hash != target.about.hash && !off(Guard::ContentHash) {
            return Err(BROKEN);
        }
        if is_full {
            known.drop_traces();
        }
        known.author = target.about.author;
        known.message = target.about.message;
        Ok(known)
    }

    /// Goes on to the next version.
    pub(super) fn advance(
        &mut self,
        next: Version,
        modified_at: Option<StoreTime>,
    ) -> Result<(), &'static str> {
        let header = &next.header;
        if header.previous_id != self.commit_id && !off(Guard::VersionFollows) {
            return Err("it does not follow on the version before it");
        }
        if header.epoch < self.epoch {
            return Err("its epoch is lower than that of the version before it");
        }
        if next.sweep.generation < self.sweep.generation {
            return Err("its generation is lower than that of the version before it");
        }
        if (header.grace_ms, header.clock_margin_ms) != (self.grace.period_ms, self.grace.margin_ms)
        {
            return Err("its grace differs from that of the version before it");
        }
        if !next.is_full() && next.base() != self.base {
            return Err("it leads to another full version than the one before it");
        }
        match (next.fate, self.fate) {
            (None, None) if self.pending.is_none() => {}
            (Some(fate), None) if self.pending.is_some() => self.decide(fate),
            (Some(fate), Some(known)) if fate == known => {}
            _ => return Err("it contradicts what became of the version before it"),
        }
        self.slot = header.slot;
        self.commit_id = header.commit_id;
        self.epoch = header.epoch;
        self.modified_at = modified_at;
        self.absent_at = self.absent_at.max(modified_at);
        self.base = next.base();
        self.sweep = next.sweep;
        self.left = next.left;
        self.recent.push(next.instance, self.commit_id, &next.edits);
        (self.fate_before, self.fate) = (next.fate, None);
        let mut keys = Vec::new();
        if next.prepared.is_none() {
            for (key, _) in &next.edits {
                keys.push(key.clone());
            }
        }
        let (is_full, slot) = (next.is_full(), self.slot);
        match next.prepared {
            None => self.apply_all(next.edits, slot),
            Some(prepared) => {
                self.pending = Some(Pending {
                    prepared,
                    edits: next.edits,
                });
            }
        }
        if self.hash != next.about.hash && !off(Guard::ContentHash) {
            return Err(BROKEN);
        }
        if is_full {
            self.drop_traces();
        }
        self.changes.push(Changed {
            slot,
            commit_id: self.commit_id,
            keys,
            fate_before: self.fate_before,
        });
        if self.changes.len() > RECENT_MAX {
            self.changes_since = self.changes.remove(0).slot;
        }
        self.author = next.about.author;
        self.message = next.about.message;
        Ok(())
    }

    /// Takes note of whether the pending version takes effect.
    ///
    /// Its edits count as those of the next slot: that is where they are told for
    /// certain.
    pub(super) fn decide(&mut self, commits: bool) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        self.fate = Some(commits);
        if !commits {
            return;
        }
        if let Some(changed) = self.changes.last_mut() {
            changed.keys.clear();
            for (key, _) in &pending.edits {
                changed.keys.push(key.clone());
            }
        }
        let next = Slot(self.slot.0.saturating_add(1));
        self.apply_all(pending.edits, next);
    }

    /// Applies entries, which are in ascending order of key.
    fn apply_all(&mut self, entries: Vec<Entry>, touched: Slot) {
        let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
            return;
        };
        if entries.len() <= FEW_ENTRIES {
            for (key, value) in entries {
                self.apply(Held {
                    key,
                    value,
                    touched,
                });
            }
            return;
        }
        // What lies outside stays as it is.
        let start = self.entries.partition_point(|held| held.key < *first);
        let end = self.entries.partition_point(|held| held.key <= *last);
        let mut behind = self.entries.split_off(end.max(start));
        // One pass over both, so that many entries cost no more than many items.
        let mut old = self.entries.split_off(start).into_iter();
        let mut next = old.next();
        for (key, value) in entries {
            while let Some(held) = next.take_if(|held| held.key < key) {
                self.entries.push(held);
                next = old.next();
            }
            if let Some(held) = next.take_if(|held| held.key == key) {
                self.count(&held, false);
                next = old.next();
            }
            let held = Held {
                key,
                value,
                touched,
            };
            self.count(&held, true);
            self.entries.push(held);
        }
        while let Some(held) = next {
            self.entries.push(held);
            next = old.next();
        }
        self.entries.append(&mut behind);
    }

    /// Applies one entry in its place: most often another value of a key that is there.
    fn apply(&mut self, held: Held) {
        self.count(&held, true);
        let at = self.entries.partition_point(|other| other.key < held.key);
        match self.entries.get_mut(at) {
            Some(other) if other.key == held.key => {
                let old = core::mem::replace(other, held);
                self.count(&old, false);
            }
            _ => self.entries.insert(at, held),
        }
    }

    /// Adds an entry to the sums, or takes it out of them.
    fn count(&mut self, held: &Held, adds: bool) {
        let sum = |to: usize, bytes: usize| if adds { to + bytes } else { to - bytes };
        let bytes = entry_bytes((&held.key, held.value.as_deref()));
        self.held_bytes = sum(self.held_bytes, bytes);
        if let Some(value) = &held.value {
            self.items_bytes = sum(self.items_bytes, bytes);
            let hash = item_hash(&held.key, value);
            self.hash = match adds {
                true => self.hash.wrapping_add(hash),
                false => self.hash.wrapping_sub(hash),
            };
        }
    }

    /// Forgets what was removed: no later version carries what came before a full
    /// one.
    fn drop_traces(&mut self) {
        self.entries.retain(|held| held.value.is_some());
        self.held_bytes = self.items_bytes;
    }

    /// The transaction that decides over the version, while nothing is known of it.
    pub(super) fn prepared(&self) -> Option<&Prepared> {
        self.pending.as_ref().map(|pending| &pending.prepared)
    }

    /// The slot for the next version.
    pub(super) fn next_slot(&self) -> Slot {
        Slot(self.slot.0.saturating_add(1))
    }

    /// What versions from `slot` on changed, as far as that is remembered.
    pub(super) fn changes_from(&self, slot: Slot) -> impl Iterator<Item = &Changed> {
        self.changes
            .iter()
            .filter(move |changed| changed.slot >= slot)
    }

    /// Whether the version in `changes_since` took effect, if that was prepared.
    pub(super) fn fate_since(&self) -> Option<bool> {
        self.changes
            .first()
            .map_or(self.fate, |changed| changed.fate_before)
    }

    /// The number of the version, and what is known of it.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            version: self.next_slot().0,
            epoch: (self.epoch != Epoch::SHARED).then_some(self.epoch),
            committed_at: self.modified_at,
            author: self.author.clone(),
            message: self.message.clone(),
            state: match (&self.pending, self.fate) {
                (Some(_), _) => State::Pending,
                (None, Some(false)) => State::Aborted,
                (None, _) => State::Committed,
            },
            generation: self.sweep.generation,
        }
    }

    /// The items, in ascending order of key.
    pub(super) fn items(&self) -> Vec<Item> {
        let item = |held: &Held| {
            let (blobs, value) = value::decode(held.value.as_deref()?).ok()?;
            Some(Item {
                key: held.key.clone(),
                value: value.to_vec(),
                blobs,
            })
        };
        list(self.entries.iter().filter_map(item))
    }

    /// The blobs that the version names, those of a pending transaction included.
    pub(super) fn named(&self) -> Named {
        let mut named = Named::default();
        for held in &self.entries {
            named.add(held.value.as_deref());
        }
        if let Some(pending) = &self.pending {
            named.add_all(&pending.edits);
        }
        named.sort();
        named
    }

    fn memory_bytes(&self) -> usize {
        let keys: usize = self.changes.iter().map(|changed| changed.keys.len()).sum();
        let edits = self.pending.as_ref().map(|pending| &*pending.edits);
        let pending_bytes = entries_bytes(edits.unwrap_or_default());
        self.held_bytes + pending_bytes + (self.entries.len() + keys) * 64
    }
}

fn entries_bytes(entries: &[Entry]) -> usize {
    let bytes = entries.iter();
    bytes
        .map(|(key, value)| entry_bytes((key, value.as_deref())))
        .sum()
}

/// What is held of a key.
fn held<'a>(entries: &'a [Held], key: &str) -> Option<&'a Held> {
    let at = entries.binary_search_by(|held| held.key.as_str().cmp(key));
    entries.get(at.ok()?)
}

/// The version behind `known`, or the first one.
pub(super) fn next(known: Option<&Known>, draft: &Draft<'_>) -> Next {
    let entries: &[Held] = known.map_or(&[], |known| &known.entries);
    let slot = known.map_or(Slot::FIRST, Known::next_slot);
    let mut hash = known.map_or(0, |known| known.hash);
    let mut items_bytes = known.map_or(0, |known| known.items_bytes);
    let before = (hash, items_bytes);
    for (key, value) in draft.edits {
        if let Some(value) = value {
            hash = hash.wrapping_add(item_hash(key, value));
            items_bytes += entry_bytes((key, Some(value)));
        }
        if let Some(old) = held(entries, key).and_then(|held| held.value.as_ref()) {
            hash = hash.wrapping_sub(item_hash(key, old));
            items_bytes -= entry_bytes((key, Some(old)));
        }
    }
    let content_bytes = items_bytes;
    let prepares = draft.prepares;
    if prepares {
        (hash, items_bytes) = before;
    }
    let is_own = |key: &String| {
        !prepares
            && draft
                .edits
                .binary_search_by(|(own, _)| own.cmp(key))
                .is_ok()
    };
    let since = parent(slot);
    let mut changes = Vec::new();
    let mut changes_bytes = 0;
    for held in entries {
        let traced = held.value.is_some() || !off(Guard::RemovalsCarried);
        if held.touched > since && traced && !is_own(&held.key) {
            changes_bytes += entry_bytes((&held.key, held.value.as_deref()));
            changes.push((held.key.clone(), held.value.clone()));
        }
    }
    if !prepares {
        changes_bytes += entries_bytes(draft.edits);
    }
    let base = known.map_or(Slot::FIRST, |known| known.base);
    // A commit without edits is how somebody asks for a full version.
    let is_full = must_be_full(slot, base)
        || draft.edits.is_empty()
        || items_bytes <= SMALL_BYTES.max(2 * changes_bytes);
    if is_full {
        changes.clear();
        for held in entries {
            if held.value.is_some() && !is_own(&held.key) {
                changes.push((held.key.clone(), held.value.clone()));
            }
        }
    }
    Next {
        base: if is_full { slot } else { base },
        hash,
        carried: changes,
        content_bytes,
    }
}

/// The manifests that were used last, the latest last.
#[derive(Debug, Default)]
pub(super) struct Memory {
    known: Vec<(Name, Known)>,
}

impl Memory {
    /// Takes what is known of a manifest, if anything is.
    pub(super) fn take(&mut self, name: &Name) -> Option<Known> {
        let at = self.known.iter().position(|(known, _)| known == name)?;
        Some(self.known.remove(at).1)
    }

    /// Keeps what is known, within bounds.
    pub(super) fn keep(&mut self, name: &Name, known: Known) {
        self.take(name);
        self.known.push((name.clone(), known));
        let mut bytes: usize = self
            .known
            .iter()
            .map(|(_, known)| known.memory_bytes())
            .sum();
        while bytes > KNOWN_BYTES_MAX || self.known.len() > KNOWN_MAX {
            let (_, forgotten) = self.known.remove(0);
            bytes -= forgotten.memory_bytes();
        }
    }
}
