//! A map from string keys to bytes that changes by atomic commits and keeps its
//! history.
//!
//! Version n is the object in slot n − 1 of a chain (`crate::slots`).
//! `wit/protocols/manifest.wit` describes what callers see, `docs/MANIFESTS.md` why
//! it is safe.

mod commit;
mod create;
mod decision;
mod known;
mod pace;
mod read;
mod recent;
mod settled;
mod sweep;
mod transaction;
mod trim;
mod value;
mod version;

use core::cell::RefCell;
use maybe_async::maybe_async;
use std::rc::Rc;

use crate::blob::{Generation, Reference};
use crate::bucket::{Bucket, Span, StoreTime};
use crate::codec::Kind;
use crate::env::Env;
use crate::error::Error;
use crate::keys::{ChainKeys, Family, Name, Slot};
use crate::slots::Chain;
use crate::store::Store;
use crate::token::{Epoch, Writer};

pub use create::ForkOutcome;
pub use decision::Decision;
pub use transaction::{PARTS_MAX, Part, TransactionOutcome};
pub use trim::{KeepVersions, VersionPin, VersionsReport};
pub use value::ITEM_BLOBS_MAX;
pub use version::{CONTENT_BYTES_MAX, EDITS_MAX, KEY_BYTES_MAX, Origin, Prepared, Version};

use known::{Known, Memory};

/// The longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// The longest author and the longest id of a change, in bytes.
pub const AUTHOR_BYTES_MAX: usize = 200;

/// One call of `history` returns at most this many versions.
pub const HISTORY_MAX: u32 = 1_000;

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// Its bytes.
    pub value: Vec<u8>,
    /// The blobs that it names, at most [`ITEM_BLOBS_MAX`].
    pub blobs: Vec<Reference>,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// The new value, or `None` to remove the key.
    pub value: Option<Vec<u8>>,
    /// The blobs that a new value names, at most [`ITEM_BLOBS_MAX`].
    pub blobs: Vec<Reference>,
}

/// What a commit depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// Nothing: the last commit wins.
    Nothing,
    /// The edited keys.
    Edits,
    /// The edited keys and these.
    Keys(Vec<String>),
    /// Everything.
    All,
}

/// A change to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The version that was read; 0 for none.
    pub base: u64,
    /// What must not have changed since.
    pub depends_on: Dependency,
    /// At most [`EDITS_MAX`], each of another key.
    pub edits: Vec<Edit>,
    /// Who writes.
    pub writer: Writer,
    /// At most [`AUTHOR_BYTES_MAX`] bytes.
    pub author: String,
    /// At most [`MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
    /// Recognise a repetition of this change with the same base.
    pub id: Option<String>,
}

/// Why a commit lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The latest version that is known.
    pub latest: u64,
    /// Keys on which the commits meet, some of them. Empty if the base is too old
    /// to tell.
    pub keys: Vec<String>,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The change is this version.
    Committed(u64),
    /// Others changed what it depends on.
    Conflict(Conflict),
    /// This epoch has written.
    Fenced(Epoch),
    /// It names blobs that may have been collected. The generation in force.
    Expired(Generation),
    /// Nobody can tell yet.
    Indeterminate(String),
}

/// Whether a version took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It did.
    Committed,
    /// It is part of a transaction that is not decided yet.
    Pending,
    /// It was part of a transaction that was aborted, and changed nothing.
    Aborted,
}

/// A version without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its number, from 1.
    pub version: u64,
    /// The epoch of its writer, or `None` for a shared writer.
    pub epoch: Option<Epoch>,
    /// When the store accepted it, if it tells.
    pub committed_at: Option<StoreTime>,
    /// Who committed it.
    pub author: String,
    /// What the author said of it.
    pub message: String,
    /// Whether it took effect.
    pub state: State,
    /// Under which generation blobs for the next version are stored.
    pub generation: Generation,
}

/// A manifest at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The version.
    pub summary: Summary,
    /// In ascending order of key.
    pub items: Vec<Item>,
}

/// What a read of one version showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The manifest at this version.
    Snapshot(Snapshot),
    /// The version does not exist yet.
    Absent,
    /// The version was trimmed. The first one kept.
    Trimmed(u64),
    /// The reader's pin has ended, or does not cover the version.
    PinExpired,
}

/// All manifests of a bucket, with what this instance knows about them.
///
/// What it remembers only saves requests: dropping it at any time is safe.
#[derive(Debug)]
pub struct Manifests<B, E> {
    store: Rc<Store<B, E>>,
    memory: RefCell<Memory>,
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Manifests<B, E> {
    /// The manifests in the bucket of `store`.
    #[must_use]
    pub fn new(store: Rc<Store<B, E>>) -> Manifests<B, E> {
        Manifests {
            store,
            memory: RefCell::default(),
        }
    }
}

/// One manifest, during one operation.
#[derive(Debug)]
struct Manifest<'a, B, E> {
    manifests: &'a Manifests<B, E>,
    chain: Chain,
}

impl<'a, B: Bucket, E: Env> Manifest<'a, B, E> {
    fn new(manifests: &'a Manifests<B, E>, name: &str) -> Result<Manifest<'a, B, E>, Error> {
        Ok(Manifest {
            manifests,
            chain: Chain {
                keys: ChainKeys::new(Family::Manifest, Name::parse(name)?),
                kind: Kind::Version,
                sections: version::SECTIONS,
                look: Span::All,
                needed_until: |_, _| None,
            },
        })
    }

    fn store(&self) -> &'a Store<B, E> {
        &self.manifests.store
    }

    /// Takes what this instance remembers, so that it is forgotten unless the
    /// operation keeps it again.
    fn recall(&self) -> Option<Known> {
        self.manifests
            .memory
            .borrow_mut()
            .take(self.chain.keys.name())
    }

    fn remember(&self, known: Known) {
        self.manifests
            .memory
            .borrow_mut()
            .keep(self.chain.keys.name(), known);
    }

    /// An error about one version.
    fn corrupt(&self, slot: Slot, what: &str) -> Error {
        Error::Corrupt(format!("{}: {what}", self.chain.keys.slot(slot)))
    }
}

/// The version in a slot.
fn version_of(slot: Slot) -> u64 {
    slot.0.saturating_add(1)
}
