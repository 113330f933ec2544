//! Collecting what decided transactions that nobody has to ask about any more:
//! `docs/COLLECTION.md`.

use maybe_async::maybe_async;

use super::decision::{Decision, TRANSACTION_MS_MAX, misplaced};
use super::{Manifest, Manifests, Version};
use crate::bucket::{
    BATCH_OBJECTS_MAX, Bucket, Deletion, Found, Metadata, PAGE_OBJECTS_MAX, Read, StoreTime,
};
use crate::collection::{Act, Reason, Report};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{DECISIONS_PREFIX, decision_key};
use crate::slots::{Grace, at_key, refused};

/// Decisions that are younger than this are not looked at.
const KEPT_MS: u64 = 3_600_000;

/// One call looks at this many pages of decisions.
const PAGES_MAX: u32 = 100;

/// What the newest version of a manifest says.
struct Newest {
    manifest: String,
    /// The transaction that it waits for, or waited for.
    transaction: Option<u128>,
    margin_ms: u32,
}

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Manifests<B, E> {
    /// Deletes the decisions of transactions whose manifests have all gone on, or
    /// tells which these are.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes. Any part may have been done; the next call goes on.
    pub async fn collect_decisions(&self, act: Act) -> Result<Report, Error> {
        let mut report = Report::new();
        let mut newest: Vec<Newest> = Vec::new();
        let mut began: Option<StoreTime> = None;
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let from = after.as_deref();
            let page = self
                .store
                .list(DECISIONS_PREFIX, from, PAGE_OBJECTS_MAX)
                .await?;
            // Age counts from before any manifest was looked at. Without the store's
            // time, nobody can tell a late decision from one in time, so all stay.
            began = began.or(page.observed_at);
            let mut old: Vec<&Metadata> = Vec::new();
            for object in &page.objects {
                if age_ms(began, object) >= KEPT_MS || off(Guard::DecisionAged) {
                    old.push(object);
                }
            }
            let mut keys = Vec::new();
            for some in old.chunks(BATCH_OBJECTS_MAX) {
                let mut reads = Vec::with_capacity(some.len());
                for object in some {
                    reads.push(Read::all(object.key.clone()));
                }
                let replies = self.store.get_many(reads).await;
                for (object, reply) in some.iter().zip(replies) {
                    let key = &object.key;
                    let Found::Object(found) = reply.map_err(|error| at_key(key, error))?.found
                    else {
                        // Another collector was here first.
                        continue;
                    };
                    let (header, decision) =
                        Decision::decode(&found.body).map_err(|error| refused(key, error))?;
                    if decision_key(header.identity) != *key {
                        return Err(misplaced(key));
                    }
                    let age_ms = age_ms(began, object);
                    if self
                        .is_settled(header.identity, &decision, age_ms, &mut newest)
                        .await?
                    {
                        report.add(Reason::Settled, key, object.size_bytes);
                        keys.push(key.clone());
                    }
                }
            }
            if act == Act::Sweep && !keys.is_empty() {
                self.store.delete_many(keys).await?;
            }
            match page.objects.last() {
                Some(last) if page.more => after = Some(last.key.clone()),
                _ => return Ok(report),
            }
        }
        report.more = true;
        Ok(report)
    }

    /// Whether each manifest of a transaction has gone on from it, or never took part,
    /// and whatever is decided from now on is against it.
    async fn is_settled(
        &self,
        transaction: u128,
        decision: &Decision,
        age_ms: u64,
        newest: &mut Vec<Newest>,
    ) -> Result<bool, Error> {
        for name in &decision.manifests {
            if !newest.iter().any(|known| known.manifest == *name) {
                newest.extend(self.newest(name).await?);
            }
            let Some(known) = newest.iter().find(|known| known.manifest == *name) else {
                return Ok(false);
            };
            // The times in a later decision may disagree with these by the margin, and
            // so may each pair of them.
            let margins_ms = 2 * u64::from(known.margin_ms);
            let needed = known.transaction == Some(transaction) && !off(Guard::DecisionNeeded);
            let young = age_ms < TRANSACTION_MS_MAX + margins_ms && !off(Guard::DecisionAged);
            if needed || young {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `None` if the manifest changes faster than it can be read.
    async fn newest(&self, name: &str) -> Result<Option<Newest>, Error> {
        let manifest = Manifest::new(self, name)?;
        let mut newest = Newest {
            manifest: name.to_owned(),
            transaction: None,
            margin_ms: Grace::DEFAULT.margin_ms,
        };
        if let Some(slot) = manifest.chain.newest(&self.store).await?.slot {
            let Some(link) = manifest.chain.link(&self.store, slot).await?.object else {
                return Ok(None);
            };
            newest.margin_ms = link.header.clock_margin_ms;
            let version = Version::decode_header(link.header)
                .map_err(|error| refused(&manifest.chain.keys.slot(slot), error))?;
            newest.transaction = version.prepared.map(|prepared| prepared.transaction);
        }
        Ok(Some(newest))
    }
}

/// How old a decision is, or 0 if nobody can tell.
fn age_ms(now: Option<StoreTime>, object: &Metadata) -> u64 {
    match (now, object.modified_at) {
        (Some(now), Some(modified_at)) => now.since_ms(modified_at),
        _ => 0,
    }
}
