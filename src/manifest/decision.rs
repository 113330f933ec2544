//! What decides a transaction: one object that is created once and never replaced.
//!
//! Only whoever prepared all parts decides for the transaction. Anybody who waits for
//! it may decide against it. The store lets one of them win.

use maybe_async::maybe_async;

use super::known::Known;
use super::version::{put_text, take_text};
use super::{Manifest, Prepared};
use crate::bucket::{Bucket, Found, Precondition, PutOutcome, Read, StoreTime, Write};
use crate::codec::{DecodeError, Decoder, Header, Kind, crc32c};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Slot, decision_key};
use crate::slots::{at_key, refused};
use crate::store::Store;
use crate::token::Epoch;

/// A prepared version that is this old, by the store's time, may be decided against
/// by whoever wants to go on behind it. This is liveness only.
const PATIENCE_MS: u64 = 10_000;

/// A decision for a transaction counts only if the store accepted it within this
/// time of the first preparation. Far less than the time for which decisions are
/// kept, so that one that arrives after its predecessor was collected is void.
pub(super) const TRANSACTION_MS_MAX: u64 = 600_000;

/// Within this time, no disagreement of clocks makes a decision void.
const SURELY_IN_TIME_MS: u64 = TRANSACTION_MS_MAX / 2;

/// How often a decision is sent in all.
const SENDS_MAX: u32 = 6;

/// The pauses between looks at a decision that is awaited are drawn from half of
/// this to this.
const POLL_MS: u64 = 400;

/// Stands for an unknown time.
const NO_TIME: u64 = u64::MAX;

/// A stored decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the transaction takes effect, unless the decision came too late.
    pub commits: bool,
    /// When the first part was prepared, if the store told.
    pub begun_at: Option<StoreTime>,
    /// The manifests that take part.
    pub manifests: Vec<String>,
}

impl Decision {
    /// Reads a stored decision.
    ///
    /// # Errors
    ///
    /// If anything in it is not as it was written.
    pub fn decode(body: &[u8]) -> Result<(Header, Decision), DecodeError> {
        let (header, payload) = Header::decode_object(body)?;
        if header.kind != Kind::Decision {
            return Err(DecodeError::Corrupt(
                "it is not the decision of a transaction",
            ));
        }
        header.require_only(&[])?;
        let mut decoder = Decoder::new(payload);
        let commits = match decoder.u8()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Corrupt("the decision is unknown")),
        };
        let unix_ms = decoder.u64()?;
        let mut manifests = Vec::new();
        while !decoder.is_empty() {
            manifests.push(take_text(&mut decoder)?);
        }
        let decision = Decision {
            commits,
            begun_at: (unix_ms != NO_TIME).then_some(StoreTime { unix_ms }),
            manifests,
        };
        Ok((header, decision))
    }

    fn encode(&self, transaction: u128, commit_id: u128) -> Result<Vec<u8>, DecodeError> {
        let mut payload = Vec::from([u8::from(self.commits)]);
        let begun_at = self.begun_at.map_or(NO_TIME, |time| time.unix_ms);
        payload.extend_from_slice(&begun_at.to_le_bytes());
        for name in &self.manifests {
            put_text(&mut payload, name)?;
        }
        let header = Header {
            kind: Kind::Decision,
            identity: transaction,
            slot: Slot::FIRST,
            commit_id,
            previous_id: 0,
            epoch: Epoch::SHARED,
            base_offset: 0,
            record_count: 0,
            grace_ms: 0,
            clock_margin_ms: 0,
            payload_bytes: u64::try_from(payload.len()).unwrap_or(u64::MAX),
            payload_crc: crc32c(&[&payload]),
            sections: Vec::new(),
        };
        let mut body = header.encode()?;
        body.append(&mut payload);
        Ok(body)
    }

    /// What it comes to. Both times are in or at the object, so everybody comes to
    /// the same.
    #[must_use]
    pub fn takes_effect(&self, modified_at: Option<StoreTime>) -> bool {
        let in_time = match (modified_at, self.begun_at) {
            (Some(modified_at), Some(begun_at)) => {
                modified_at.since_ms(begun_at) < TRANSACTION_MS_MAX
            }
            // Decisions are collected where the store tells times, and there only.
            (Some(_), None) => false,
            (None, _) => true,
        };
        self.commits && (in_time || off(Guard::DecisionInTime))
    }
}

/// What a look at a decision showed.
///
/// A decision is collected long after other versions have followed on all that were
/// prepared. Somebody who slept until then may put another one in its place, always
/// against the transaction. So neither absence nor refusal means anything to who does
/// not know that nothing followed.
pub(super) struct Seen {
    /// Whether the transaction takes effect, or `None` if that is not decided.
    pub(super) commits: Option<bool>,
    pub(super) observed_at: Option<StoreTime>,
}

/// How deciding ended.
pub(super) enum Decided {
    /// The transaction takes effect, or not, whoever decided it.
    Is(bool),
    /// Nobody can tell yet.
    Unknown(String),
}

/// Reads a decision.
#[maybe_async]
pub(super) async fn look<B: Bucket, E: Env>(
    store: &Store<B, E>,
    transaction: u128,
) -> Result<Seen, Error> {
    let key = decision_key(transaction);
    let reply = store
        .get(Read::all(key.clone()))
        .await
        .map_err(|error| at_key(&key, error))?;
    let Found::Object(object) = reply.found else {
        return Ok(Seen {
            commits: None,
            observed_at: reply.observed_at,
        });
    };
    let (header, decision) =
        Decision::decode(&object.body).map_err(|error| refused(&key, error))?;
    if header.identity != transaction && !off(Guard::PlaceChecked) {
        return Err(misplaced(&key));
    }
    Ok(Seen {
        commits: Some(decision.takes_effect(object.metadata.modified_at)),
        observed_at: reply.observed_at,
    })
}

/// What to say of a decision under the key of another one.
pub(super) fn misplaced(key: &str) -> Error {
    Error::Corrupt(format!("{key}: the object was written for another place"))
}

/// Decides a transaction, unless somebody else has: one write if all goes well.
///
/// # Errors
///
/// An error means that this call decided nothing and never will.
#[maybe_async]
pub(super) async fn decide<B: Bucket, E: Env>(
    store: &Store<B, E>,
    prepared: &Prepared,
    commits: bool,
    begun_at: Option<StoreTime>,
) -> Result<Decided, Error> {
    let key = decision_key(prepared.transaction);
    let decision = Decision {
        commits,
        begun_at,
        manifests: prepared.manifests.clone(),
    };
    let body = decision
        .encode(prepared.transaction, store.draw_id())
        .map_err(|error| Error::InvalidArgument(error.to_string()))?;
    let write = Write {
        key,
        body,
        precondition: Precondition::Absent,
    };
    let mut doubt = None;
    let mut refusal = None;
    for round in 0..SENDS_MAX {
        if round > 0 {
            store.count(|receipt| receipt.retries += 1);
            store.back_off(round, refusal.as_ref()).await;
        }
        match store.put(&write).await {
            Ok(PutOutcome::Written { observed_at, .. })
                if !commits
                    || surely_in_time(observed_at, begun_at)
                    || off(Guard::LateDecisionRead) =>
            {
                return Ok(Decided::Is(commits));
            }
            Ok(PutOutcome::Written { .. }) => doubt = Some("it may be too late".to_owned()),
            Ok(PutOutcome::PreconditionFailed) => {}
            Ok(PutOutcome::Indeterminate(why)) => doubt = Some(why),
            Err(error) if error.is_transient() => {
                if error.leaves_doubt() {
                    doubt.get_or_insert(error.to_string());
                }
                refusal = Some(error);
            }
            Err(error) => {
                return match doubt {
                    None => Err(at_key(&write.key, error)),
                    Some(why) => Ok(Decided::Unknown(why)),
                };
            }
        }
        // Whoever decided, the object tells what.
        match look(store, prepared.transaction).await {
            Ok(Seen {
                commits: Some(commits),
                ..
            }) => return Ok(Decided::Is(commits)),
            Ok(_) => {}
            Err(error) => return Ok(Decided::Unknown(error.to_string())),
        }
    }
    match (doubt, refusal) {
        (None, Some(error)) => Err(at_key(&write.key, error)),
        (doubt, _) => Ok(Decided::Unknown(doubt.unwrap_or_default())),
    }
}

fn surely_in_time(now: Option<StoreTime>, begun_at: Option<StoreTime>) -> bool {
    match (now, begun_at) {
        (Some(now), Some(begun_at)) => now.since_ms(begun_at) < SURELY_IN_TIME_MS,
        _ => false,
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifest<'_, B, E> {
    /// Finds out what becomes of a prepared version before anything is committed
    /// behind it. Waits for the decision, and decides against the transaction if
    /// that takes too long.
    pub(super) async fn settle(&self, known: &mut Known) -> Result<(), Error> {
        let Some(prepared) = known.prepared().cloned() else {
            return Ok(());
        };
        let started_ms = self.store().monotonic_ms();
        // Time bounds this loop; the count does where time stands still.
        for _ in 0..=2 * PATIENCE_MS / POLL_MS {
            let seen = look(self.store(), prepared.transaction).await?;
            if let Some(commits) = seen.commits {
                known.decide(commits);
                return Ok(());
            }
            let waited_ms = match (seen.observed_at, known.modified_at) {
                (Some(now), Some(modified_at)) => now.since_ms(modified_at),
                _ => self.store().monotonic_ms().saturating_sub(started_ms),
            };
            if waited_ms >= PATIENCE_MS {
                break;
            }
            let pause_ms = POLL_MS / 2 + self.store().draw_below(POLL_MS / 2 + 1);
            self.store().sleep_ms(pause_ms).await;
        }
        match decide(self.store(), &prepared, false, None).await? {
            Decided::Is(commits) => {
                known.decide(commits);
                Ok(())
            }
            Decided::Unknown(why) => Err(Error::Unavailable(format!(
                "{}: {why}",
                decision_key(prepared.transaction)
            ))),
        }
    }
}
