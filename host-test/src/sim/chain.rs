//! What a log is, by everything that was ever written and deleted under its prefix.
//!
//! The object that was first written to a slot is the segment of that slot, for good,
//! whatever became of it. So the whole log can be told from the store's diary, also
//! of a log that was trimmed, and every change can be held against the rules of the
//! format: `docs/FORMAT.md` and `docs/PROTOCOLS.md`.

use super::slots::{self, Slots};
use crate::clock::UnixMs;
use crate::store::Deed;
use anyhow::Result;
use ifmatch::keys::{ChainKeys, Family, Slot};
use ifmatch::log::{Offer, Pack, Segment};
use std::collections::BTreeMap;
use std::ops::Range;

/// A log as the store has it.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Every record that was ever part of it.
    pub records: Vec<Vec<u8>>,
    /// The epoch of each.
    pub epochs: Vec<u64>,
    /// The first record that is kept.
    pub first_kept: u64,
    /// How many offers of others segments took.
    pub offers_taken: usize,
    /// What must not be.
    pub violations: Vec<String>,
}

/// The longest time by which what a pack says of a segment's age may be rounded.
const ROUNDED_MS: u64 = 1_000;

/// The segment of a slot, with the offers that it takes.
struct Placed {
    segment: Segment,
    at: UnixMs,
}

impl Placed {
    fn start(&self) -> u64 {
        self.segment.header.base_offset
    }
}

struct Check {
    slots: Slots,
    truth: Truth,
    /// The segment of each slot.
    segments: Vec<Placed>,
    /// The packs that stand, by key: which records they hold.
    packs: BTreeMap<String, Range<u64>>,
    /// Records before this one are in packs, if they are kept.
    packs_end: u64,
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
    slots::keys(Family::Log, log)
}

/// Checks a log from its first object on:
///
/// * what holds for all slots: see [`Slots`];
/// * offsets are dense;
/// * no offer is taken twice, changes, or goes while a kept segment takes it;
/// * a pack holds the segments of its slots, as they were and when they were written;
/// * the watermarks are those of one place, and every kept record before that place is
///   in a pack, at every moment.
///
/// # Errors
/// If that is not the name of a log.
pub fn check(log: &str, diary: &[Deed]) -> Result<Truth> {
    let mut check = Check {
        slots: Slots::new(keys(log)?),
        truth: Truth::default(),
        segments: Vec::new(),
        packs: BTreeMap::new(),
        packs_end: 0,
        offers: BTreeMap::new(),
        taken: BTreeMap::new(),
    };
    let state = check.slots.keys.state();
    let packs = format!("log/{log}/_pack/");
    for deed in diary {
        let slot = check.slots.keys.parse_slot(&deed.key);
        let broken = match (slot, &deed.body) {
            (Some(slot), Some(body)) => check.write(slot, deed.at, body),
            (Some(slot), None) => check.slots.delete(slot),
            (None, Some(body)) if deed.key == state => check.change(deed.at, body),
            (None, None) if deed.key == state => Err("it is deleted".to_owned()),
            (None, _) if Offer::parse(&check.slots.keys, &deed.key).is_some() => check.offer(deed),
            (None, _) if deed.key.starts_with(&packs) => check.pack(&deed.key[packs.len()..], deed),
            // Another part of the log, of which nothing is said here.
            (None, _) => Ok(()),
        };
        if let Err(what) = broken {
            let violation = format!("{}: {what}", deed.key);
            check.truth.violations.push(violation);
        }
    }
    check.truth.offers_taken = check.taken.len();
    Ok(check.truth)
}

impl Check {
    fn write(&mut self, slot: Slot, at: UnixMs, body: &[u8]) -> Result<(), String> {
        let segment = Segment::decode(body.to_vec()).map_err(|error| error.to_string())?;
        if !self.slots.write(slot, at, &segment.header)? {
            return Ok(());
        }
        let segment = self.joined(slot, segment)?;
        if segment.header.base_offset != self.truth.records.len() as u64 {
            return Err("its offsets do not follow on those before".to_owned());
        }
        for (_, body) in segment.records_from(0) {
            self.truth.records.push(body.to_vec());
            self.truth.epochs.push(segment.header.epoch.0);
        }
        self.segments.push(Placed { segment, at });
        Ok(())
    }

    /// A pack is what its key says, and holds what is in its slots.
    fn pack(&mut self, name: &str, deed: &Deed) -> Result<(), String> {
        let Some(body) = &deed.body else {
            self.packs.remove(&deed.key);
            return self.check_packs();
        };
        let pack = Pack::decode(body).map_err(|error| error.to_string())?;
        let (first, start) = (pack.header.slot.0, pack.header.base_offset);
        let end = start + u64::from(pack.header.record_count);
        if format!("{end:016x}.{start:016x}.{first:016x}") != name {
            return Err("the pack was written for another place".to_owned());
        }
        for (segment, at) in pack.segments() {
            let slot = segment.header.slot;
            let own = usize::try_from(slot.0).map(|slot| self.segments.get(slot));
            let Ok(Some(own)) = own else {
                return Err(format!("it holds slot {slot}, which nobody has filled"));
            };
            if own.segment != *segment {
                return Err(format!("it holds something else than slot {slot} did"));
            }
            if at.is_some_and(|at| at.unix_ms.abs_diff(own.at.0) > ROUNDED_MS) {
                return Err(format!("it has another time for slot {slot}"));
            }
        }
        self.packs.insert(deed.key.clone(), start..end);
        Ok(())
    }

    /// Every record that is kept and not in a slot any more is in a pack.
    fn check_packs(&self) -> Result<(), String> {
        let mut missing = self.truth.first_kept;
        // In ascending order of end.
        for pack in self.packs.values() {
            if pack.contains(&missing) {
                missing = pack.end;
            }
        }
        match missing < self.packs_end {
            true => Err(format!("record {missing} is kept, and in no pack or slot")),
            false => Ok(()),
        }
    }

    /// A segment with the offers that it takes.
    fn joined(&mut self, slot: Slot, mut segment: Segment) -> Result<Segment, String> {
        while let Some(offer) = segment.offers().front() {
            let key = offer.key(&self.slots.keys);
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
            None if taken.is_some_and(|slot| *slot >= self.slots.first_kept) => {
                Err("it is deleted although a segment that is kept takes it".to_owned())
            }
            None => {
                self.offers.remove(&key);
                Ok(())
            }
        }
    }

    fn change(&mut self, at: UnixMs, body: &[u8]) -> Result<(), String> {
        let state = self.slots.change(at, body)?;
        self.truth.first_kept = state.first_kept_offset;
        self.packs_end = state.packs_end();
        self.check_place(state.kept_slot(), state.first_kept_offset)?;
        self.check_place(state.first_kept, state.packs_end())?;
        self.check_packs()
    }

    /// A watermark says where the segment in its slot begins.
    fn check_place(&self, slot: Slot, offset: u64) -> Result<(), String> {
        let own = usize::try_from(slot.0).map(|slot| self.segments.get(slot));
        match own.ok().flatten().map(Placed::start) {
            Some(start) if start == offset => Ok(()),
            // The place where a log begins that does not exist yet.
            None if slot == Slot::FIRST && offset == 0 => Ok(()),
            start => Err(format!(
                "the watermark at slot {slot} is at record {offset}, and the slot at {start:?}"
            )),
        }
    }
}
