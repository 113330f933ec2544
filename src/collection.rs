//! What collection deletes, or would: one report for logs, manifests and
//! transactions.
//!
//! `wit/protocols/collection.wit` describes what callers see, `docs/COLLECTION.md`
//! why nothing goes that anybody needs.

use maybe_async::maybe_async;

use crate::blob::Generation;
use crate::bucket::{Bucket, Deletion, Metadata, PAGE_OBJECTS_MAX, Page};
use crate::env::Env;
use crate::error::Error;
use crate::log::TrimLimit;
use crate::store::Store;

/// One listing looks at this many pages of objects.
const PAGES_MAX: u32 = 10_000;

/// Of one listing, at most this many pages of objects are deleted.
const DELETIONS_MAX: u32 = 100;

/// Of each removal, at most this many keys are listed.
pub const KEYS_LISTED_MAX: usize = 100;

/// Whether to delete, or to look only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Writes and deletes nothing.
    Plan,
    /// Deletes.
    Sweep,
}

/// Why an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It holds nothing that is kept.
    Trimmed,
    /// What it holds is in a pack.
    Merged,
    /// A blob that no kept version names, and none ever will.
    Unnamed,
    /// It decided a transaction that nobody has to ask about any more.
    Settled,
}

/// Objects that go for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The reason.
    pub reason: Reason,
    /// How many there are.
    pub objects: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// The keys of the first of them, at most [`KEYS_LISTED_MAX`].
    pub keys: Vec<String>,
}

/// What a call did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The first record or version that is kept.
    pub first_kept: u64,
    /// What kept a trim from going further.
    pub limited_by: TrimLimit,
    /// Readers whose pins have ended and are dropped.
    pub ended_pins: Vec<String>,
    /// What goes, at most one for each reason.
    pub removals: Vec<Removal>,
    /// Of a manifest: the generation in force behind it.
    pub generation: Generation,
    /// Of a manifest: how many blobs the kept versions name.
    pub named: u64,
    /// Whether there is more. The next call goes on.
    pub more: bool,
}

impl Report {
    pub(crate) fn new() -> Report {
        Report {
            first_kept: 0,
            limited_by: TrimLimit::None,
            ended_pins: Vec::new(),
            removals: Vec::new(),
            generation: Generation(0),
            named: 0,
            more: false,
        }
    }

    /// How many objects go for a reason.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        let mut removals = self.removals.iter();
        let found = removals.find(|removal| removal.reason == reason);
        found.map_or(0, |removal| removal.objects)
    }

    /// How many objects go in all.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.removals.iter().map(|removal| removal.objects).sum()
    }

    pub(crate) fn add(&mut self, reason: Reason, key: &str, size_bytes: u64) {
        let mut at = self.removals.len();
        for (known, removal) in self.removals.iter().enumerate() {
            if removal.reason == reason {
                at = known;
            }
        }
        if at == self.removals.len() {
            self.removals.push(Removal {
                reason,
                objects: 0,
                bytes: 0,
                keys: Vec::new(),
            });
        }
        if let Some(removal) = self.removals.get_mut(at) {
            removal.objects += 1;
            removal.bytes = removal.bytes.saturating_add(size_bytes);
            if removal.keys.len() < KEYS_LISTED_MAX {
                removal.keys.push(key.to_owned());
            }
        }
    }
}

/// What becomes of a listed object.
pub(crate) enum Verdict {
    Goes(Reason),
    Stays,
    /// It stays, and so does everything that is listed behind it.
    End,
}

/// What is listed to find objects that go.
pub(crate) struct Listing {
    pub(crate) prefix: String,
    pub(crate) after: Option<String>,
    /// The first page, if it was listed already.
    pub(crate) first_page: Option<Page>,
}

#[maybe_async(AFIT)]
impl Report {
    /// Judges all listed objects, and deletes those that go unless that is only
    /// planned.
    pub(crate) async fn sweep<B: Bucket + Deletion, E: Env>(
        &mut self,
        store: &Store<B, E>,
        act: Act,
        mut listing: Listing,
        judge: &dyn Fn(&Metadata) -> Verdict,
    ) -> Result<(), Error> {
        let mut deletions = 0;
        for _ in 0..PAGES_MAX {
            let page = match listing.first_page.take() {
                Some(page) => page,
                None => {
                    let after = listing.after.as_deref();
                    store.list(&listing.prefix, after, PAGE_OBJECTS_MAX).await?
                }
            };
            let mut keys = Vec::new();
            let mut more = page.more;
            for object in &page.objects {
                match judge(object) {
                    Verdict::Goes(reason) => {
                        self.add(reason, &object.key, object.size_bytes);
                        keys.push(object.key.clone());
                    }
                    Verdict::Stays => {}
                    Verdict::End => {
                        more = false;
                        break;
                    }
                }
            }
            if !keys.is_empty() {
                deletions += 1;
                if act == Act::Sweep {
                    store.delete_many(keys).await?;
                }
            }
            match page.objects.last() {
                Some(last) if more => listing.after = Some(last.key.clone()),
                _ => return Ok(()),
            }
            if deletions == DELETIONS_MAX {
                break;
            }
        }
        self.more = true;
        Ok(())
    }
}
