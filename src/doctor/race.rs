//! Writes that race for one key.

use maybe_async::maybe_async;

use crate::bucket::{Bucket, Precondition, PutOutcome, StoreTime, Version, Write};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::slots::at_key;
use crate::store::Store;

/// Writes that race for each key.
const RACERS: u32 = 8;

/// How often writes are sent until a race is decided.
const ROUNDS_MAX: u32 = 5;

/// How races ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Race {
    /// None had two winners, and at least one had a winner and a loser.
    Kept,
    /// One had two winners.
    Broken,
    /// Too many replies were lost.
    Unclear,
}

/// A key for which writes race.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) key: String,
    /// What is to be replaced, if the key is not new.
    pub(super) version: Option<Version>,
    /// The store's clock when it told of a winner.
    pub(super) observed_at: Option<StoreTime>,
    winner: Option<Version>,
    written: u32,
    refused: u32,
}

impl Lane {
    /// A key at which there is no object.
    pub(super) fn new(key: String) -> Lane {
        Lane {
            key,
            version: None,
            observed_at: None,
            winner: None,
            written: 0,
            refused: 0,
        }
    }

    pub(super) fn precondition(&self) -> Precondition {
        match &self.version {
            None => Precondition::Absent,
            Some(version) => Precondition::Matches(version.clone()),
        }
    }

    /// How many writes are to be sent next. A store that limits the writes to one key
    /// refuses racers for that alone, which shows nothing: then one comes later.
    fn racers(&self) -> u32 {
        match (self.written, self.refused) {
            (0, 0) => RACERS,
            (1, 0) => 1,
            _ => 0,
        }
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Store<B, E> {
    /// Lets writes race for the key of each lane, all under the same condition. Lanes
    /// whose race shows nothing are dropped; the others stand at the version that won.
    pub(super) async fn race(&self, lanes: &mut Vec<Lane>) -> Result<Race, Error> {
        let mut refusal = None;
        for round in 0..ROUNDS_MAX {
            let mut writes = Vec::new();
            for lane in lanes.iter() {
                for _ in 0..lane.racers() {
                    writes.push(self.probe(&lane.key, lane.precondition()));
                }
            }
            if writes.is_empty() {
                break;
            }
            if round > 0 {
                self.back_off(round, refusal.as_ref()).await;
            }
            for (write, outcome) in writes.iter().zip(self.put_many(&writes).await) {
                let Some(lane) = lanes.iter_mut().find(|lane| lane.key == write.key) else {
                    continue;
                };
                match outcome {
                    Ok(PutOutcome::Written {
                        version,
                        observed_at,
                    }) => {
                        lane.written += 1;
                        lane.winner = Some(version);
                        lane.observed_at = observed_at;
                    }
                    Ok(PutOutcome::PreconditionFailed) => lane.refused += 1,
                    // It may have won, and so may any other that was not answered.
                    Ok(PutOutcome::Indeterminate(_)) => {}
                    Err(error) if error.is_transient() => refusal = Some(error),
                    Err(error) => return Err(at_key(&write.key, error)),
                }
            }
        }
        let broken = lanes.iter().any(|lane| lane.written > 1) && !off(Guard::TwoWinnersSeen);
        lanes.retain(|lane| match lane.written {
            0 => false,
            1 => lane.refused > 0 || off(Guard::LoserAwaited),
            _ => true,
        });
        for lane in lanes.iter_mut() {
            lane.version = lane.winner.take();
            (lane.written, lane.refused) = (0, 0);
        }
        Ok(match (broken, lanes.is_empty()) {
            (true, _) => Race::Broken,
            (_, true) => Race::Unclear,
            _ => Race::Kept,
        })
    }

    /// A write like no other, so that no two versions have one entity tag.
    pub(super) fn probe(&self, key: &str, precondition: Precondition) -> Write {
        Write {
            key: key.to_owned(),
            body: match off(Guard::ProbesDiffer) {
                true => b"alike".to_vec(),
                false => self.draw_id().to_le_bytes().to_vec(),
            },
            precondition,
        }
    }
}
