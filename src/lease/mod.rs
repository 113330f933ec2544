//! Leases, for electing a leader.
//!
//! One small object for each lease (`object`), created with `If-None-Match: *`,
//! replaced with `If-Match` and never deleted. `wit/protocols/lease.wit` describes
//! what callers see, `docs/LEASES.md` why it is safe.
//!
//! Two things are told apart throughout. *Safety* is the token: it grows with
//! every acquisition, and what is written under it is ordered by the store.
//! *Exclusion in time*, at most one holder that believes to be one, holds as long
//! as clocks keep to the bounds that are stored in the lease.

mod acquire;
mod clock;
mod hold;
mod memory;
mod object;
mod place;

use core::cell::RefCell;
use maybe_async::maybe_async;
use std::rc::Rc;

use crate::bucket::{Bucket, StoreTime, Version};
use crate::env::Env;
use crate::error::Error;
use crate::keys::Name;
use crate::store::Store;
use crate::token::Epoch;

pub use clock::ClockBounds;
pub use memory::LEASES_MAX;
pub use object::{
    DURATION_MS_RANGE, HOLDER_BYTES_MAX, Lease, NOTE_BYTES_MAX, OBJECT_BYTES_MAX, State, TOKEN_MAX,
};

use memory::{Memory, View};

/// The longest campaign, in milliseconds.
pub const CAMPAIGN_MS_MAX: u32 = 300_000;

/// What a candidate asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Unique to this candidate and this start of it, 1 to 200 bytes.
    pub holder: String,
    /// For how long the lease is to hold without a renewal.
    pub duration_ms: u32,
    /// Published to observers.
    pub note: String,
    /// For a lease that does not exist yet; an existing one keeps its own.
    pub bounds: Option<ClockBounds>,
}

/// A lease held by the caller. All that a later call needs is in it, so that any
/// instance can renew or release what another acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub name: Name,
    /// Who holds it.
    pub holder: String,
    /// What fences everybody before.
    pub token: Epoch,
    /// How long the grant can be relied on, from the return of the call that gave
    /// it. Never 0 in a grant that a call returns.
    pub valid_for_ms: u64,
    /// When others may take the lease, by the store's clock, if it tells.
    pub expires_at: Option<StoreTime>,
    /// The duration that was asked for.
    pub duration_ms: u32,
    /// Renewals so far.
    pub renewals: u64,
    /// What is published. A renewal publishes the note of the grant it is given.
    pub note: String,
    /// What the lease assumes about clocks.
    pub bounds: ClockBounds,
    /// The version of the lease object that this grant wrote.
    pub version: Version,
}

/// What a lease object says, and when it can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who acquired it last.
    pub holder: String,
    /// The token of that acquisition.
    pub token: Epoch,
    /// What the holder has said.
    pub state: State,
    /// After this time from the return of the call, anybody may take the lease,
    /// unless it is renewed. 0 if that is now.
    pub free_in_ms: u64,
    /// The same by the store's clock, if it tells.
    pub expires_at: Option<StoreTime>,
    /// For how long `state` binds others.
    pub duration_ms: u32,
    /// Renewals under this token.
    pub renewals: u64,
    /// What the holder publishes.
    pub note: String,
    /// What the lease assumes about clocks.
    pub bounds: ClockBounds,
}

/// How an acquisition ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcquireOutcome {
    /// The caller holds the lease under a token never granted before.
    Acquired(Grant),
    /// The caller does not hold it.
    Held(Status),
    /// Nobody can tell yet.
    Indeterminate(String),
}

/// How a renewal ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenewOutcome {
    /// The grant to use from now on.
    Renewed(Grant),
    /// The caller does not hold the lease any more. What the lease says now, or
    /// `None` if it was deleted.
    Lost(Option<Status>),
    /// Nobody can tell yet. The old grant stays valid for its time.
    Indeterminate(String),
}

/// How a release ended. Whichever way, the caller does not hold the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// The lease is released or handed over.
    Released,
    /// It was no longer the caller's; nothing was changed.
    Lost(Option<Status>),
    /// Nobody can tell yet. If it is not released, it ends by itself.
    Indeterminate(String),
}

/// To whom a lease is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    /// The name that it acquires with.
    pub holder: String,
    /// For how long nobody else may take the lease, in the range of durations.
    pub within_ms: u32,
}

/// All leases of a bucket, with what this instance knows about them.
///
/// What it remembers saves requests, and where the store tells no time it is how
/// the end of a lease is noticed. Dropping it at any time is safe.
#[derive(Debug)]
pub struct Leases<B, E> {
    store: Rc<Store<B, E>>,
    memory: RefCell<Memory>,
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Leases<B, E> {
    /// The leases in the bucket of `store`.
    #[must_use]
    pub fn new(store: Rc<Store<B, E>>) -> Leases<B, E> {
        Leases {
            store,
            memory: RefCell::default(),
        }
    }

    /// Reads what a lease says, or `None` if it was never acquired.
    ///
    /// One request, without a body if this instance knows the current version.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes.
    pub async fn observe(&self, name: &str) -> Result<Option<Status>, Error> {
        let name = Name::parse(name)?;
        let seen = self.look(&name).await?;
        Ok(seen.status(self.store.monotonic_ms()))
    }
}

/// What one reply showed of a lease.
#[derive(Clone, Debug)]
struct Seen {
    /// The lease, or `None` if there is no object.
    view: Option<View>,
    /// The store's clock when it answered, if it tells.
    observed_at: Option<StoreTime>,
}

impl Seen {
    fn status(&self, now_ms: u64) -> Option<Status> {
        let view = self.view.as_ref()?;
        Some(Status {
            holder: view.lease.holder.clone(),
            token: view.lease.token,
            state: view.lease.state.clone(),
            free_in_ms: view.free_in_ms(self.observed_at, now_ms),
            expires_at: view.expires_at(),
            duration_ms: view.lease.duration_ms,
            renewals: view.lease.renewals,
            note: view.lease.note.clone(),
            bounds: view.lease.bounds,
        })
    }
}

fn check_holder(holder: &str) -> Result<(), Error> {
    if object::is_holder(holder) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "a holder has 1 to {HOLDER_BYTES_MAX} bytes, not {}",
        holder.len()
    )))
}

fn check_note(note: &str) -> Result<(), Error> {
    if note.len() <= NOTE_BYTES_MAX {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "a note has at most {NOTE_BYTES_MAX} bytes, not {}",
        note.len()
    )))
}

fn check_duration(duration_ms: u32) -> Result<(), Error> {
    if DURATION_MS_RANGE.contains(&duration_ms) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "a duration is from {} to {} ms, not {duration_ms}",
        DURATION_MS_RANGE.start(),
        DURATION_MS_RANGE.end()
    )))
}
