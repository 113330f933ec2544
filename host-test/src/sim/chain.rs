//! What a log is, by everything that was ever written and deleted under its prefix.
//!
//! The object that was first written to a slot is the segment of that slot, for good,
//! whatever became of it. So the whole log can be told from the store's diary, also
//! of a log that was trimmed, and every change can be held against the rules of the
//! format: `docs/FORMAT.md` and `docs/PROTOCOLS.md`.

use crate::clock::UnixMs;
use crate::store::Deed;
use anyhow::{Result, anyhow};
use ifmatch::keys::{ChainKeys, Family, Name, Slot};
use ifmatch::log::{Offer, Segment};
use ifmatch::slots::ChainState;
use std::collections::{BTreeMap, BTreeSet};

/// A log as the store has it.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Every record that was ever part of it.
    pub records: Vec<Vec<u8>>,
    /// The epoch of each.
    pub epochs: Vec<u64>,
    /// The first record that is kept.
    pub first_kept: u64,
    /// What must not be.
    pub violations: Vec<String>,
}

struct Check {
    keys: ChainKeys,
    truth: Truth,
    /// When each slot was first written.
    written: BTreeMap<Slot, UnixMs>,
    present: BTreeSet<Slot>,
    previous_id: u128,
    epoch: u64,
    grace_ms: u64,
    margin_ms: u64,
    first_kept: Slot,
    ids: BTreeSet<u128>,
    /// The offers that stand, by key.
    offers: BTreeMap<String, Vec<u8>>,
    /// Which slot took an offer.
    taken: BTreeMap<String, Slot>,
}

/// The keys of a log.
///
/// # Errors
/// If that is not a name.
pub fn keys(log: &str) -> Result<ChainKeys> {
    let name = Name::parse(log).map_err(|error| anyhow!("{error}"))?;
    Ok(ChainKeys::new(Family::Log, name))
}

/// Checks a log from its first object on:
///
/// * slots are filled in order, each segment follows on the one before, offsets are
///   dense, epochs never fall, and commit ids are unique;
/// * the watermark never falls, stays at or below the newest segment, and passes
///   only segments that are as old as the grace period;
/// * only what lies below the watermark is deleted, and never the first segment;
/// * a slot is written again only below the watermark, where nobody looks;
/// * no offer is taken twice, changes, or goes while a kept segment takes it.
///
/// # Errors
/// If that is not the name of a log.
pub fn check(log: &str, diary: &[Deed]) -> Result<Truth> {
    let mut check = Check {
        keys: keys(log)?,
        truth: Truth::default(),
        written: BTreeMap::new(),
        present: BTreeSet::new(),
        previous_id: 0,
        epoch: 0,
        grace_ms: 0,
        margin_ms: 0,
        first_kept: Slot::FIRST,
        ids: BTreeSet::new(),
        offers: BTreeMap::new(),
        taken: BTreeMap::new(),
    };
    let state = check.keys.state();
    for deed in diary {
        let slot = check.keys.parse_slot(&deed.key);
        let broken = match (slot, &deed.body) {
            (Some(slot), Some(body)) => check.write(slot, deed.at, body),
            (Some(slot), None) => check.delete(slot),
            (None, Some(body)) if deed.key == state => check.change(deed.at, body),
            (None, None) if deed.key == state => Err("it is deleted".to_owned()),
            (None, _) if Offer::parse(&check.keys, &deed.key).is_some() => check.offer(deed),
            // Another part of the log, of which nothing is said here.
            (None, _) => Ok(()),
        };
        if let Err(what) = broken {
            let violation = format!("{}: {what}", deed.key);
            check.truth.violations.push(violation);
        }
    }
    Ok(check.truth)
}

impl Check {
    fn write(&mut self, slot: Slot, at: UnixMs, body: &[u8]) -> Result<(), String> {
        let segment = Segment::decode(body.to_vec()).map_err(|error| error.to_string())?;
        let header = &segment.header;
        if header.identity != self.keys.identity() || header.slot != slot {
            return Err("the object was written for another place".to_owned());
        }
        if self.written.contains_key(&slot) {
            self.present.insert(slot);
            return match slot < self.first_kept {
                true => Ok(()),
                false => Err("it is written again although it is not trimmed".to_owned()),
            };
        }
        let segment = self.joined(slot, segment)?;
        let header = &segment.header;
        let next = Slot(self.written.len() as u64);
        if slot != next {
            return Err(format!("it is written before slot {next}"));
        }
        if !self.ids.insert(header.commit_id) {
            return Err("its commit id is that of another segment".to_owned());
        }
        let offset = self.truth.records.len() as u64;
        if header.previous_id != self.previous_id || header.base_offset != offset {
            return Err("it does not follow on the segment before it".to_owned());
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
            return Err("its grace is not that of the log".to_owned());
        }
        (self.grace_ms, self.margin_ms) = grace;
        self.previous_id = header.commit_id;
        self.epoch = header.epoch.0;
        for (_, body) in segment.records_from(0) {
            self.truth.records.push(body.to_vec());
            self.truth.epochs.push(header.epoch.0);
        }
        self.written.insert(slot, at);
        self.present.insert(slot);
        Ok(())
    }

    /// A segment with the offers that it takes.
    fn joined(&mut self, slot: Slot, mut segment: Segment) -> Result<Segment, String> {
        while let Some(offer) = segment.offers().front() {
            let key = offer.key(&self.keys);
            let Some(body) = self.offers.get(&key) else {
                return Err(format!("it takes {key}, which is not there"));
            };
            segment
                .join(body)
                .map_err(|error| format!("{key}: {error}"))?;
            if let Some(other) = self.taken.insert(key, slot) {
                return Err(format!("it takes an offer that slot {other} has taken"));
            }
        }
        Ok(segment)
    }

    /// Offers never change while they stand, and stand while a segment needs them.
    fn offer(&mut self, deed: &Deed) -> Result<(), String> {
        let (key, taken) = (deed.key.clone(), self.taken.get(&deed.key));
        match &deed.body {
            Some(body) => match self.offers.insert(key, body.to_vec()) {
                Some(before) if before != body.to_vec() => Err("it changes".to_owned()),
                _ => Ok(()),
            },
            None if taken.is_some_and(|slot| *slot >= self.first_kept) => {
                Err("it is deleted although a segment that is kept takes it".to_owned())
            }
            None => {
                self.offers.remove(&key);
                Ok(())
            }
        }
    }

    fn delete(&mut self, slot: Slot) -> Result<(), String> {
        if !self.present.remove(&slot) {
            return Ok(());
        }
        if slot == Slot::FIRST {
            return Err("the first segment is deleted".to_owned());
        }
        if slot >= self.first_kept {
            return Err("it is deleted although it is not trimmed".to_owned());
        }
        Ok(())
    }

    fn change(&mut self, at: UnixMs, body: &[u8]) -> Result<(), String> {
        let (_, state) = ChainState::decode_object(body).map_err(|error| error.to_string())?;
        let (before, now) = (self.first_kept, state.first_kept);
        if now < before || state.first_kept_offset < self.truth.first_kept {
            return Err(format!("the watermark falls from {before} to {now}"));
        }
        if now > before && now.0 >= self.written.len() as u64 {
            return Err(format!("the watermark {now} passes the newest segment"));
        }
        self.first_kept = now;
        self.truth.first_kept = state.first_kept_offset;
        for (slot, written) in self.written.range(before..now) {
            let age_ms = at.0.saturating_sub(written.0);
            if age_ms + self.margin_ms < self.grace_ms {
                return Err(format!(
                    "slot {slot} is trimmed {age_ms} ms after it was written"
                ));
            }
        }
        Ok(())
    }
}
