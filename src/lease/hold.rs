//! What the holder of a lease does with it: rely on it, renew it, release it.

use super::memory::View;
use super::object::{Lease, State, TOKEN_MAX};
use super::place::Placed;
use super::{
    Grant, Leases, ReleaseOutcome, RenewOutcome, Seen, Status, Successor, check_duration,
    check_holder, check_note,
};
use crate::bucket::{Bucket, Version};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::Name;
use crate::token::Epoch;
use maybe_async::maybe_async;

/// How many of its own earlier writes one renewal or release goes on from.
const REBASES_MAX: u32 = 4;

/// The version that a holder's next write replaces.
struct Base {
    version: Version,
    renewals: u64,
    duration_ms: u32,
}

/// How a holder's write ended.
enum Changed {
    /// The lease is in the state that was wanted.
    Written { view: View, first_sent_ms: u64 },
    /// It is not the holder's to change.
    Lost(Option<Status>),
    /// Nobody can tell yet.
    Unknown(String),
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Leases<B, E> {
    /// How long the grant of this token can still be relied on, by this instance's
    /// clock. No request. 0 if it is over, was given up, or was not given by this
    /// instance.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for what is not a name.
    pub fn remaining_ms(&self, name: &str, token: Epoch) -> Result<u64, Error> {
        let name = Name::parse(name)?;
        Ok(self
            .memory
            .borrow()
            .reliable_until_ms(&name, token)
            .saturating_sub(self.store.monotonic_ms()))
    }

    /// Extends a grant from now. The token does not change.
    ///
    /// One request; one or two more if a reply was lost.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; the lease is then certainly not extended.
    /// [`Error::InvalidArgument`] for a shorter duration than before: until the
    /// reply is there, the holder relies on the longer one.
    pub async fn renew(&self, grant: &Grant, duration_ms: u32) -> Result<RenewOutcome, Error> {
        check_grant(grant)?;
        check_duration(duration_ms)?;
        grant.bounds.check_duration(duration_ms)?;
        Ok(match self.change(grant, State::Held, duration_ms).await? {
            Changed::Written {
                view,
                first_sent_ms,
            } => match self.grant(view, first_sent_ms) {
                Some(grant) => RenewOutcome::Renewed(grant),
                None => RenewOutcome::Lost(self.remembered_status(grant)),
            },
            Changed::Lost(status) => {
                if !off(Guard::RelianceEnds) {
                    self.memory.borrow_mut().stop_relying(&grant.name);
                }
                RenewOutcome::Lost(status)
            }
            Changed::Unknown(why) => RenewOutcome::Indeterminate(why),
        })
    }

    /// Gives a grant up, to anybody or to a successor.
    ///
    /// One request; one or two more if a reply was lost.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; the lease then certainly stays as it is until it
    /// ends by itself.
    pub async fn release(
        &self,
        grant: &Grant,
        successor: Option<&Successor>,
    ) -> Result<ReleaseOutcome, Error> {
        check_grant(grant)?;
        let (state, duration_ms) = match successor {
            None => (State::Released, grant.duration_ms),
            Some(successor) => {
                check_holder(&successor.holder)?;
                check_duration(successor.within_ms)?;
                (
                    State::Handover(successor.holder.clone()),
                    successor.within_ms,
                )
            }
        };
        // Before anything is sent: from then on others may take the lease.
        if !off(Guard::GiveUpFirst) {
            self.memory.borrow_mut().stop_relying(&grant.name);
        }
        Ok(match self.change(grant, state, duration_ms).await? {
            Changed::Written { .. } => ReleaseOutcome::Released,
            Changed::Lost(status) => ReleaseOutcome::Lost(status),
            Changed::Unknown(why) => ReleaseOutcome::Indeterminate(why),
        })
    }

    /// Writes `state` in place of the version that `grant` wrote, or of one that
    /// this instance wrote for it later.
    async fn change(
        &self,
        grant: &Grant,
        state: State,
        duration_ms: u32,
    ) -> Result<Changed, Error> {
        let known = self.memory.borrow().seen(&grant.name);
        let known = known
            .and_then(|known| self.own(grant, &known))
            .filter(|view| view.lease.state == State::Held);
        let mut base = known.map_or_else(|| grant.into(), |view| Base::from(&view));
        for _ in 0..REBASES_MAX {
            let lease = self.next_version(grant, &base, &state, duration_ms)?;
            let seen = match self.place(Some(&base.version), lease).await? {
                Placed::Written {
                    view,
                    first_sent_ms,
                    ..
                } => {
                    return Ok(Changed::Written {
                        view,
                        first_sent_ms,
                    });
                }
                Placed::Unknown(why) => return Ok(Changed::Unknown(why)),
                Placed::Lost(seen) => seen,
            };
            match self.own(grant, &seen) {
                // An earlier release, of which the caller did not learn.
                Some(view) if view.lease.state == state && state != State::Held => {
                    return Ok(Changed::Written {
                        view,
                        first_sent_ms: 0,
                    });
                }
                Some(view) if view.lease.state == State::Held || state != State::Held => {
                    base = Base::from(&view);
                }
                _ => return Ok(Changed::Lost(seen.status(self.store.monotonic_ms()))),
            }
        }
        Err(Error::Unavailable(format!(
            "{}: this instance changes the lease in several calls at once",
            grant.name
        )))
    }

    fn next_version(
        &self,
        grant: &Grant,
        base: &Base,
        state: &State,
        duration_ms: u32,
    ) -> Result<Lease, Error> {
        let renewed = *state == State::Held;
        if renewed && duration_ms < base.duration_ms && !off(Guard::RenewalNotShorter) {
            return Err(Error::InvalidArgument(format!(
                "a renewal does not shorten a lease from {} to {duration_ms} ms: release it",
                base.duration_ms
            )));
        }
        Ok(Lease {
            name: grant.name.clone(),
            token: grant.token,
            holder: grant.holder.clone(),
            nonce: self.store.draw_id(),
            renewals: base.renewals.saturating_add(renewed.into()),
            state: state.clone(),
            duration_ms,
            bounds: grant.bounds,
            note: grant.note.clone(),
        })
    }

    /// What was seen, if this instance wrote it under `grant`.
    ///
    /// The token and the holder are not enough: a host may copy a running
    /// instance, and only one of the copies may go on.
    fn own(&self, grant: &Grant, seen: &Seen) -> Option<View> {
        let view = seen.view.as_ref()?;
        let lease = &view.lease;
        let own = (lease.token == grant.token || off(Guard::GrantToken))
            && lease.holder == grant.holder
            && (off(Guard::OwnNonces) || self.memory.borrow().is_own(&grant.name, lease.nonce));
        own.then(|| view.clone())
    }

    fn remembered_status(&self, grant: &Grant) -> Option<Status> {
        let seen = self.memory.borrow().seen(&grant.name)?;
        seen.status(self.store.monotonic_ms())
    }
}

impl From<&Grant> for Base {
    fn from(grant: &Grant) -> Base {
        Base {
            version: grant.version.clone(),
            renewals: grant.renewals,
            duration_ms: grant.duration_ms,
        }
    }
}

impl From<&View> for Base {
    fn from(view: &View) -> Base {
        Base {
            version: view.version.clone(),
            renewals: view.lease.renewals,
            duration_ms: view.lease.duration_ms,
        }
    }
}

/// A grant is plain data, and the caller may have kept it anywhere.
fn check_grant(grant: &Grant) -> Result<(), Error> {
    check_holder(&grant.holder)?;
    check_note(&grant.note)?;
    check_duration(grant.duration_ms)?;
    grant.bounds.check()?;
    if grant.token == Epoch::SHARED || grant.token.0 > TOKEN_MAX {
        return Err(Error::InvalidArgument(format!(
            "a token is from 1 to {TOKEN_MAX}, not {}",
            grant.token.0
        )));
    }
    Ok(())
}
