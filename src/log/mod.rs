//! A durable, totally ordered log of records.
//!
//! Each batch is one object, a segment, in the next slot of a chain
//! (`crate::slots`). Old segments can be merged into larger objects, packs. `wit/protocols/log.wit` describes what callers see,
//! `docs/PROTOCOLS.md` why it is safe.

mod append;
mod combine;
mod merge;
mod offers;
mod open;
mod pace;
mod pack;
mod packs;
mod pointers;
mod producers;
mod read;
mod search;
mod segment;
mod tail;
mod trim;
mod unpack;

use core::cell::RefCell;
use maybe_async::maybe_async;
use std::rc::Rc;

use crate::bucket::{Bucket, StoreTime};
use crate::codec::Kind;
use crate::env::Env;
use crate::error::Error;
use crate::keys::{ChainKeys, Family, Name, Slot};
use crate::slots::{Chain, Grace, HEADER_READ};
use crate::store::Store;
use crate::token::{Epoch, Writer};

pub use merge::{MergeOptions, MergeReport};
pub use offers::{OFFERS_MAX, Offer};
pub use pack::{PACK_SEGMENTS_MAX, Pack};
pub use producers::PRODUCERS_MAX;
pub use segment::{BATCH_BYTES_MAX, RECORDS_MAX, Segment};
pub use trim::{Keep, PinOutcome, TrimLimit, TrimReport};

use open::OpenOffers;
use pace::Pace;
use read::SegmentCache;
use tail::{Tail, TailCache};

/// The longest producer id, in bytes.
pub const PRODUCER_ID_BYTES_MAX: usize = 64;

/// Never more than this many bytes of records are returned by one read.
pub const READ_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Never more than this many records are returned by one read.
pub const READ_RECORDS_MAX: u32 = 10_000;

/// The longest wait, in milliseconds.
pub const WAIT_MS_MAX: u32 = 300_000;

/// Where to read, with what is known about the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The offset to read.
    pub offset: u64,
    /// The object that holds it, or will.
    pub slot: Option<Slot>,
    /// Until this time the absence of that object means that it was not written
    /// yet.
    pub absent_until: Option<StoreTime>,
}

impl Cursor {
    /// A place of which only the offset is known.
    #[must_use]
    pub fn at(offset: u64) -> Cursor {
        Cursor {
            offset,
            slot: None,
            absent_until: None,
        }
    }
}

/// Offsets from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first.
    pub start: u64,
    /// The one behind the last.
    pub end: u64,
}

/// Names one batch of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// 1 to 64 bytes of `A-Z a-z 0-9 . _ -`.
    pub id: String,
    /// 0 for the first batch, and one more for each that follows.
    pub sequence: u64,
    /// A tail observed before the first batch was sent, or 0.
    pub started_at: u64,
}

/// Why a producer's sequence number was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceProblem {
    /// The batch is durable, but its offsets are no longer known. The producer's
    /// last sequence.
    Superseded(u64),
    /// Batches are missing. The next sequence to send.
    Gap(u64),
    /// The log may have forgotten this producer.
    Forgotten,
}

/// Where and as whom to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendOptions {
    /// Who writes.
    pub writer: Writer,
    /// Append only if this is the tail.
    pub expected: Option<u64>,
    /// Recognise a repetition of this batch.
    pub producer: Option<Producer>,
}

impl AppendOptions {
    /// A shared writer without conditions.
    pub const SHARED: AppendOptions = AppendOptions {
        writer: Writer::Shared,
        expected: None,
        producer: None,
    };
}

/// How an append ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The batch is durable at these offsets.
    Appended(Extent),
    /// The expected offset is not the tail; this is.
    Mismatch(u64),
    /// This epoch has written.
    Fenced(Epoch),
    /// The producer's sequence does not follow.
    OutOfSequence(SequenceProblem),
    /// Nobody can tell yet.
    Indeterminate(String),
}

/// How a creation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The log exists now.
    Created,
    /// It existed, with these settings.
    Exists(Grace),
    /// Nobody can tell yet.
    Indeterminate(String),
}

/// A record and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its offset.
    pub offset: u64,
    /// The epoch of its writer, or `None` for a shared writer.
    pub epoch: Option<Epoch>,
    /// When the store accepted its batch, if it tells.
    pub appended_at: Option<StoreTime>,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// Bounds on one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// At most this many records.
    pub records: u32,
    /// At most this many bytes, but at least one record.
    pub bytes: u32,
}

/// How a read ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Records, and where to read next.
    Records(Vec<Entry>, Cursor),
    /// The record was trimmed. The first one kept.
    Trimmed(Cursor),
}

/// All logs of a bucket, with what this instance knows about them.
///
/// What it remembers saves requests, and keeps the batches of one writer in order
/// whatever became of them. Dropping it at any time loses and doubles nothing.
#[derive(Debug)]
pub struct Logs<B, E> {
    store: Rc<Store<B, E>>,
    tails: RefCell<TailCache>,
    segments: RefCell<SegmentCache>,
    open: RefCell<OpenOffers>,
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Logs<B, E> {
    /// The logs in the bucket of `store`.
    #[must_use]
    pub fn new(store: Rc<Store<B, E>>) -> Logs<B, E> {
        Logs {
            store,
            tails: RefCell::default(),
            segments: RefCell::default(),
            open: RefCell::default(),
        }
    }

    /// Where the next record will be. Linearizable.
    ///
    /// One request if this instance knew a recent tail, else two.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn tail(&self, name: &str) -> Result<Cursor, Error> {
        let log = Log::new(self, name)?;
        Ok(log.fresh_tail().await?.cursor())
    }
}

/// One log, during one operation.
#[derive(Debug)]
struct Log<'a, B, E> {
    logs: &'a Logs<B, E>,
    chain: Chain,
}

impl<'a, B: Bucket, E: Env> Log<'a, B, E> {
    fn new(logs: &'a Logs<B, E>, name: &str) -> Result<Log<'a, B, E>, Error> {
        Ok(Log {
            logs,
            chain: Chain {
                keys: ChainKeys::new(Family::Log, Name::parse(name)?),
                kind: Kind::Segment,
                sections: segment::SECTIONS,
                look: HEADER_READ,
                needed_until: Offer::needed_until,
            },
        })
    }

    fn store(&self) -> &'a Store<B, E> {
        &self.logs.store
    }

    fn name(&self) -> &Name {
        self.chain.keys.name()
    }

    fn remembered_tail(&self) -> Option<Tail> {
        self.logs.tails.borrow().get(self.name()).cloned()
    }

    fn remember_tail(&self, tail: &Tail) {
        self.close_offers(tail);
        self.logs
            .tails
            .borrow_mut()
            .insert(self.name(), Some(tail.clone()));
    }

    fn forget_tail(&self) {
        self.logs.tails.borrow_mut().insert(self.name(), None);
    }

    fn pace(&self) -> Pace {
        self.logs.tails.borrow().pace(self.name())
    }

    fn set_pace(&self, pace: Pace) {
        self.logs.tails.borrow_mut().set_pace(self.name(), pace);
    }
}
