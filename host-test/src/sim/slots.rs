//! What holds for the slots of logs and manifests alike, by everything that was ever
//! written to them and deleted: `docs/FORMAT.md` and `docs/PROTOCOLS.md`.

use crate::clock::UnixMs;
use anyhow::{Result, anyhow};
use ifmatch::codec::Header;
use ifmatch::keys::{ChainKeys, Family, Name, Slot};
use ifmatch::slots::ChainState;
use std::collections::{BTreeMap, BTreeSet};

/// The keys of a log or manifest.
///
/// # Errors
/// If that is not a name.
pub fn keys(family: Family, name: &str) -> Result<ChainKeys> {
    let name = Name::parse(name).map_err(|error| anyhow!("{error}"))?;
    Ok(ChainKeys::new(family, name))
}

/// The slots of one log or manifest, up to some moment.
#[derive(Debug)]
pub struct Slots {
    /// Their keys.
    pub keys: ChainKeys,
    /// The first slot that is kept.
    pub first_kept: Slot,
    /// When each slot was first written.
    written: BTreeMap<Slot, UnixMs>,
    present: BTreeSet<Slot>,
    previous_id: u128,
    epoch: u64,
    grace_ms: u64,
    margin_ms: u64,
    first_kept_offset: u64,
    ids: BTreeSet<u128>,
}

impl Slots {
    /// By how much the clocks may disagree that told the times.
    pub fn margin_ms(&self) -> u64 {
        self.margin_ms
    }

    /// Before anything was written.
    pub fn new(keys: ChainKeys) -> Self {
        Self {
            keys,
            first_kept: Slot::FIRST,
            written: BTreeMap::new(),
            present: BTreeSet::new(),
            previous_id: 0,
            epoch: 0,
            grace_ms: 0,
            margin_ms: 0,
            first_kept_offset: 0,
            ids: BTreeSet::new(),
        }
    }

    /// An object is written to a slot. Tells whether it is the one that counts there:
    /// slots are filled in order, each object follows on the one before, epochs never
    /// fall, commit ids are unique, and a slot is written again only below the
    /// watermark, where nobody looks.
    ///
    /// # Errors
    /// If that is not so.
    pub fn write(&mut self, slot: Slot, at: UnixMs, header: &Header) -> Result<bool, String> {
        if header.identity != self.keys.identity() || header.slot != slot {
            return Err("the object was written for another place".to_owned());
        }
        if self.written.contains_key(&slot) {
            self.present.insert(slot);
            return match slot < self.first_kept {
                true => Ok(false),
                false => Err("it is written again although it is not trimmed".to_owned()),
            };
        }
        let next = Slot(self.written.len() as u64);
        if slot != next {
            return Err(format!("it is written before slot {next}"));
        }
        if !self.ids.insert(header.commit_id) {
            return Err("its commit id is that of another slot".to_owned());
        }
        if header.previous_id != self.previous_id {
            return Err("it does not follow on the object before it".to_owned());
        }
        if header.epoch.0 < self.epoch {
            let (own, before) = (header.epoch.0, self.epoch);
            return Err(format!("epoch {own} follows on epoch {before}"));
        }
        let grace = (
            u64::from(header.grace_ms),
            u64::from(header.clock_margin_ms),
        );
        if slot != Slot::FIRST && grace != (self.grace_ms, self.margin_ms) {
            return Err("its grace is not that of the first".to_owned());
        }
        (self.grace_ms, self.margin_ms) = grace;
        self.previous_id = header.commit_id;
        self.epoch = header.epoch.0;
        self.written.insert(slot, at);
        self.present.insert(slot);
        Ok(true)
    }

    /// An object is deleted: only below the watermark, and never the first.
    ///
    /// # Errors
    /// If that is not so.
    pub fn delete(&mut self, slot: Slot) -> Result<(), String> {
        if !self.present.remove(&slot) {
            return Ok(());
        }
        if slot == Slot::FIRST {
            return Err("the first object is deleted".to_owned());
        }
        if slot >= self.first_kept {
            return Err("it is deleted although it is not trimmed".to_owned());
        }
        Ok(())
    }

    /// The state changes: the watermark never falls, stays at or below the newest
    /// slot, and passes only objects that are as old as the grace period.
    ///
    /// # Errors
    /// If that is not so.
    pub fn change(&mut self, at: UnixMs, body: &[u8]) -> Result<ChainState, String> {
        let (_, state) = ChainState::decode_object(body).map_err(|error| error.to_string())?;
        let (before, now) = (self.first_kept, state.first_kept);
        if now < before || state.first_kept_offset < self.first_kept_offset {
            return Err(format!("the watermark falls from {before} to {now}"));
        }
        if now > before && now.0 >= self.written.len() as u64 {
            return Err(format!("the watermark {now} passes the newest slot"));
        }
        self.first_kept = now;
        self.first_kept_offset = state.first_kept_offset;
        for (slot, written) in self.written.range(before..now) {
            let age_ms = at.0.saturating_sub(written.0);
            if age_ms + self.margin_ms < self.grace_ms {
                return Err(format!(
                    "slot {slot} is trimmed {age_ms} ms after it was written"
                ));
            }
        }
        Ok(state)
    }
}
