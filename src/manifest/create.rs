//! Creating a manifest with settings of its own, or as a fork of another.

use maybe_async::maybe_async;

use super::commit::Commit;
use super::version::Entry;
use super::{
    At, Change, CommitOutcome, Dependency, Item, Manifest, Manifests, Origin, VersionPin, read,
    value, version_of,
};
use crate::blob::{Blobs, Generation, Reference};
use crate::bucket::Bucket;
use crate::codec::Header;
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{Slot, hash128};
use crate::list::list;
use crate::log::CreateOutcome;
use crate::slots::Grace;
use crate::token::Writer;

/// While a fork copies blobs, a pin keeps them for this long.
const COPY_MS: u32 = 3_600_000;

/// How a fork ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForkOutcome {
    /// The fork exists now, whether by this call or by an earlier one.
    Forked,
    /// Another manifest has that name.
    Exists,
    /// The parent has no such version yet.
    Absent,
    /// The version of the parent was trimmed. The first one kept.
    Trimmed(u64),
    /// Nobody can tell yet.
    Indeterminate(String),
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifests<B, E> {
    /// Creates a manifest with settings of its own, as a first version without items.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; [`Error::InvalidArgument`] for settings out of range.
    pub async fn create(&self, name: &str, grace: Grace) -> Result<CreateOutcome, Error> {
        let manifest = Manifest::new(self, name)?;
        grace.check()?;
        let change = first_change();
        let mut commit = Commit::new(&change, self.store.draw_id())?;
        commit.grace = grace;
        Ok(match manifest.begin(&commit).await? {
            Begun::Yes => CreateOutcome::Created,
            Begun::Otherwise(header) => CreateOutcome::Exists(Grace {
                period_ms: header.grace_ms,
                margin_ms: header.clock_margin_ms,
            }),
            Begun::Unknown(why) => CreateOutcome::Indeterminate(why),
        })
    }

    /// Creates a manifest with the items of a version of another one, and with copies
    /// of the blobs that they name. The two have nothing in common from then on.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; the fork then certainly does not exist.
    pub async fn fork(&self, name: &str, version: u64, fork: &str) -> Result<ForkOutcome, Error> {
        let parent = Manifest::new(self, name)?;
        let child = Manifest::new(self, fork)?;
        let slot = read::slot_of(version)?;
        let mut snapshot = match parent.at(slot, None).await? {
            At::Snapshot(snapshot) => snapshot,
            At::Trimmed(first_kept) => return Ok(ForkOutcome::Trimmed(first_kept)),
            At::Absent | At::PinExpired => return Ok(ForkOutcome::Absent),
        };
        // The same fork has the same id, so that repeating it is recognised.
        let id = hash128(&[b"fork/", &version.to_le_bytes(), name.as_bytes()]).max(1);
        if snapshot.items.iter().any(|item| !item.blobs.is_empty()) {
            // What is pinned is kept, and so are the blobs that it names.
            let reader = format!("fork.{id:032x}");
            if !off(Guard::ForkPinned) {
                match self.pin(name, &reader, version, COPY_MS).await? {
                    VersionPin::Pinned(_) => {}
                    VersionPin::Trimmed(first_kept) => return Ok(ForkOutcome::Trimmed(first_kept)),
                    VersionPin::Indeterminate(why) => return Err(Error::Unavailable(why)),
                }
            }
            let copied = self.copy_blobs(name, fork, &mut snapshot.items).await;
            // If this fails, the pin ends by itself.
            let _ = self.unpin(name, &reader).await;
            if let Some(missing) = copied? {
                // A pin that ended while the fork slept keeps nothing.
                let kept = parent.chain.state(&self.store).await?.first_kept();
                if kept > slot {
                    return Ok(ForkOutcome::Trimmed(version_of(kept)));
                }
                return Err(Error::Corrupt(format!(
                    "{}: the blob is missing",
                    missing.key(name)?
                )));
            }
        }
        let change = first_change();
        let mut commit = Commit::new(&change, id)?;
        commit.edits = list(snapshot.items.into_iter().map(entry));
        commit.origin = Some(Origin {
            name: name.to_owned(),
            version,
        });
        Ok(match child.begin(&commit).await? {
            Begun::Yes => ForkOutcome::Forked,
            Begun::Otherwise(_) => ForkOutcome::Exists,
            Begun::Unknown(why) => ForkOutcome::Indeterminate(why),
        })
    }

    /// Copies what items name from one space to another, and names the copies. Gives
    /// the first blob that is not there.
    async fn copy_blobs(
        &self,
        from: &str,
        to: &str,
        items: &mut [Item],
    ) -> Result<Option<Reference>, Error> {
        let blobs = Blobs::new(self.store.clone());
        for item in items {
            for blob in &mut item.blobs {
                let Some(body) = blobs.get(from, &[*blob]).await?.pop().flatten() else {
                    return Ok(Some(*blob));
                };
                let put = blobs.put(to, Generation(0), Vec::from([body])).await?;
                let copy: Option<&Reference> = put.first();
                *blob = *copy.ok_or_else(|| Error::Other("nothing was stored".to_owned()))?;
            }
        }
        Ok(None)
    }
}

/// How putting the first version into its slot ended.
enum Begun {
    Yes,
    /// This is the header of another first version.
    Otherwise(Header),
    Unknown(String),
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifest<'_, B, E> {
    async fn begin(&self, commit: &Commit<'_>) -> Result<Begun, Error> {
        if self.chain.newest(self.store()).await?.slot.is_none() {
            match self.commit(commit).await?.0 {
                CommitOutcome::Committed(_) => return Ok(Begun::Yes),
                CommitOutcome::Indeterminate(why) => return Ok(Begun::Unknown(why)),
                _ => {}
            }
        }
        // The object in the first slot is never deleted.
        let header = self.head(Slot::FIRST).await?.header;
        Ok(match header.commit_id == commit.commit_id {
            true => Begun::Yes,
            false => Begun::Otherwise(header),
        })
    }
}

/// The commit that only a manifest which does not exist yet takes.
fn first_change() -> Change {
    Change {
        base: 0,
        depends_on: Dependency::All,
        edits: Vec::new(),
        writer: Writer::Shared,
        author: String::new(),
        message: String::new(),
        id: None,
    }
}

fn entry(item: Item) -> Entry {
    let stored = value::encode(&item.value, &item.blobs);
    (item.key, Some(stored))
}
