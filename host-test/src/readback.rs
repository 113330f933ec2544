//! Reads a log back, in two ways that share nothing: through a component, and from
//! the raw objects.

use crate::bindings::log::{Cursor, ReadLimit, ReadOutcome};
use crate::host::Instance;
use anyhow::{Result, anyhow, bail, ensure};
use ifmatch::keys::{ChainKeys, Family, Name, Slot};
use ifmatch::log::{Offer, Segment};
use std::collections::BTreeMap;

/// Where a log begins.
pub const START: Cursor = Cursor {
    offset: 0,
    slot: None,
    absent_until: None,
};

/// As much as a read gives.
pub const ALL: ReadLimit = ReadLimit {
    records: u32::MAX,
    bytes: u32::MAX,
};

/// Every record of a log that was never trimmed, through a component.
///
/// # Errors
/// If a read fails, or the offsets are not dense.
pub async fn through_component(reader: &mut Instance, name: &str) -> Result<Vec<Vec<u8>>> {
    let mut bodies = Vec::new();
    let mut cursor = START;
    loop {
        match reader.log().read(name, cursor, ALL).await?? {
            ReadOutcome::Trimmed(kept) => bail!("{name} was trimmed up to {}", kept.offset),
            ReadOutcome::Records(batch) if batch.entries.is_empty() => return Ok(bodies),
            ReadOutcome::Records(batch) => {
                for entry in batch.entries {
                    let expected = bodies.len() as u64;
                    ensure!(
                        entry.offset == expected,
                        "{} instead of {expected}",
                        entry.offset
                    );
                    bodies.push(entry.body);
                }
                cursor = batch.next;
            }
        }
    }
}

/// The key under which a log keeps the segment in a slot.
///
/// # Errors
/// If the name is not one of a log.
pub fn slot_key(name: &str, slot: u64) -> Result<String> {
    Ok(keys_of(name)?.slot(Slot(slot)))
}

/// The prefix of a log's segments.
///
/// # Errors
/// If the name is not one of a log.
pub fn slots_prefix(name: &str) -> Result<String> {
    Ok(keys_of(name)?.slots_prefix())
}

fn keys_of(name: &str) -> Result<ChainKeys> {
    let name = Name::parse(name).map_err(|error| anyhow!("{error}"))?;
    Ok(ChainKeys::new(Family::Log, name))
}

/// Every record of a log that was never trimmed, from the objects under its prefix.
///
/// # Errors
/// If an object is damaged, belongs elsewhere or does not follow on the one before,
/// or a slot is missing.
pub fn from_objects(
    name: &str,
    objects: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Result<Vec<Vec<u8>>> {
    let keys = keys_of(name)?;
    let mut segments = BTreeMap::new();
    let mut offers = BTreeMap::new();
    for (key, body) in objects {
        match keys.parse_slot(&key) {
            Some(slot) => {
                let segment = Segment::decode(body).map_err(|error| anyhow!("{key}: {error}"))?;
                segments.insert(slot, segment);
            }
            None if Offer::parse(&keys, &key).is_some() => drop(offers.insert(key, body)),
            None => bail!("{key}: neither a segment's key nor an offer's"),
        }
    }
    for segment in segments.values_mut() {
        while let Some(offer) = segment.offers().front() {
            let key = offer.key(&keys);
            let body = offers
                .get(&key)
                .ok_or_else(|| anyhow!("{key}: the offer is missing"))?;
            segment
                .join(body)
                .map_err(|error| anyhow!("{key}: {error}"))?;
        }
    }
    let mut bodies: Vec<Vec<u8>> = Vec::new();
    let mut previous_id = 0;
    for (expected, (slot, segment)) in (0..).map(Slot).zip(&segments) {
        let header = &segment.header;
        ensure!(*slot == expected, "slot {expected} is missing");
        ensure!(
            header.identity == keys.identity() && header.slot == *slot,
            "slot {slot}: the object was written for another place"
        );
        ensure!(
            header.previous_id == previous_id && header.base_offset == bodies.len() as u64,
            "slot {slot}: it does not follow on the slot before it"
        );
        previous_id = header.commit_id;
        bodies.extend(segment.records_from(0).map(|(_, body)| body.to_vec()));
    }
    Ok(bodies)
}
