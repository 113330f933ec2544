//! Transactions: changes of several manifests that take effect together or not at
//! all.

use maybe_async::maybe_async;

use super::commit::Commit;
use super::decision::{self, Decided};
use super::{Change, CommitOutcome, Conflict, Manifest, Manifests, Prepared};
use crate::blob::Generation;
use crate::bucket::{Bucket, StoreTime};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::Slot;
use crate::list::list;
use crate::token::Epoch;

/// At most this many manifests take part in one transaction.
pub const PARTS_MAX: usize = 8;

/// A change of one of several manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The name of the manifest.
    pub name: String,
    /// The change, without an id.
    pub change: Change,
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// All changes are these versions, in the order of the parts.
    Committed(Vec<u64>),
    /// Others changed what the change of this manifest depends on.
    Conflict(String, Conflict),
    /// This epoch has written to this manifest.
    Fenced(String, Epoch),
    /// The change of this manifest names blobs that may have been collected. The
    /// generation in force.
    Expired(String, Generation),
    /// It took too long, and somebody else decided against it.
    Aborted,
    /// Nobody can tell yet.
    Indeterminate(String),
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifests<B, E> {
    /// Commits changes of 2 to [`PARTS_MAX`] manifests together.
    ///
    /// What the single commits cost, and one request.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; none of the changes then takes effect.
    pub async fn transact(&self, parts: &[Part]) -> Result<TransactionOutcome, Error> {
        // In ascending order of name, so that no two transactions wait for each other.
        let mut order: Vec<&Part> = list(parts);
        order.sort_by(|one, other| one.name.cmp(&other.name));
        check_parts(&order)?;
        let prepared = Prepared {
            transaction: self.store.draw_id(),
            manifests: list(order.iter().map(|part| part.name.clone())),
        };
        let mut versions: Vec<(&str, u64)> = Vec::new();
        let mut begun_at: Option<StoreTime> = None;
        for part in order {
            let end = match self.prepare(part, &prepared).await {
                Ok((CommitOutcome::Committed(version), at)) => {
                    if versions.is_empty() || off(Guard::BegunFirst) {
                        begun_at = at;
                    }
                    versions.push((&part.name, version));
                    continue;
                }
                Ok((CommitOutcome::Conflict(conflict), _)) => {
                    Ok(TransactionOutcome::Conflict(part.name.clone(), conflict))
                }
                Ok((CommitOutcome::Fenced(epoch), _)) => {
                    Ok(TransactionOutcome::Fenced(part.name.clone(), epoch))
                }
                Ok((CommitOutcome::Expired(generation), _)) => {
                    Ok(TransactionOutcome::Expired(part.name.clone(), generation))
                }
                Ok((CommitOutcome::Indeterminate(_), _)) => Ok(TransactionOutcome::Aborted),
                Err(error) => Err(error),
            };
            let may_be_prepared = !versions.is_empty() || end == Ok(TransactionOutcome::Aborted);
            if may_be_prepared {
                // Only this call could decide for the transaction, and it does not.
                // Saying so spares the others the wait.
                let _ = decision::decide(&self.store, &prepared, false, None).await;
            }
            return end;
        }
        let mut decided = decision::decide(&self.store, &prepared, true, begun_at).await?;
        if let (Decided::Is(false), Some((name, version))) = (&decided, versions.first())
            && !off(Guard::RefusalCompared)
        {
            // Said by somebody who slept, perhaps, after it was decided otherwise.
            let slot = Slot(version.saturating_sub(1));
            let manifest = Manifest::new(self, name)?;
            let fate = manifest.fate(slot, prepared.transaction).await;
            // Read last: what follows on a version that is kept was there to stay.
            decided = match (fate, manifest.is_trimmed(slot).await) {
                (Ok(Some(commits)), Ok(trimmed)) if !trimmed || off(Guard::FateOfKept) => {
                    Decided::Is(commits)
                }
                (Ok(_), Ok(_)) => Decided::Unknown("the decision is gone".to_owned()),
                (Err(error), _) | (_, Err(error)) => Decided::Unknown(error.to_string()),
            };
        }
        Ok(match decided {
            Decided::Is(true) => {
                for (name, _) in &versions {
                    self.learn(name, prepared.transaction)?;
                }
                let version = |part: &Part| {
                    let mut found = versions.iter().filter(|(name, _)| *name == part.name);
                    found.next().map_or(0, |(_, version)| *version)
                };
                TransactionOutcome::Committed(list(parts.iter().map(version)))
            }
            Decided::Is(false) => TransactionOutcome::Aborted,
            Decided::Unknown(why) => TransactionOutcome::Indeterminate(why),
        })
    }

    async fn prepare(
        &self,
        part: &Part,
        prepared: &Prepared,
    ) -> Result<(CommitOutcome, Option<StoreTime>), Error> {
        let manifest = Manifest::new(self, &part.name)?;
        let mut commit = Commit::new(&part.change, self.store.draw_id())?;
        commit.prepared = Some(prepared.clone());
        manifest.commit(&commit).await
    }
}

impl<B: Bucket, E: Env> Manifests<B, E> {
    /// Takes note that the version of a manifest that this call prepared takes effect.
    fn learn(&self, name: &str, transaction: u128) -> Result<(), Error> {
        let manifest = Manifest::new(self, name)?;
        if let Some(mut known) = manifest.recall() {
            if known.prepared().map(|prepared| prepared.transaction) == Some(transaction) {
                known.decide(true);
            }
            manifest.remember(known);
        }
        Ok(())
    }
}

fn check_parts(order: &[&Part]) -> Result<(), Error> {
    if !(2..=PARTS_MAX).contains(&order.len()) {
        return Err(Error::InvalidArgument(format!(
            "a transaction has 2 to {PARTS_MAX} parts, not {}",
            order.len()
        )));
    }
    let twice = order.iter().zip(order.iter().skip(1));
    for (part, next) in twice {
        if part.name == next.name {
            return Err(Error::InvalidArgument(
                "a manifest has two parts in the transaction".to_owned(),
            ));
        }
    }
    if order.iter().any(|part| part.change.id.is_some()) {
        return Err(Error::InvalidArgument(
            "a part of a transaction has no id".to_owned(),
        ));
    }
    Ok(())
}
