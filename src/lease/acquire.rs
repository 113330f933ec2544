//! Taking a lease: at once, or after waiting for it.

use super::clock::ClockBounds;
use super::object::{Lease, State, TOKEN_MAX};
use super::place::Placed;
use super::{
    AcquireOutcome, CAMPAIGN_MS_MAX, Leases, Request, Seen, Status, check_duration, check_holder,
    check_note,
};
use crate::bucket::Bucket;
use crate::env::Env;
use crate::error::Error;
use crate::keys::Name;
use crate::token::Epoch;
use maybe_async::maybe_async;

/// How many versions one acquisition tries to replace.
const RACES_MAX: u32 = 8;

/// A candidate looks again after a quarter of the lease's duration, within these
/// bounds: that is how it notices a release.
const POLL_MS_RANGE: core::ops::RangeInclusive<u64> = 250..=5_000;

/// Candidates that wait for the same moment come back spread over an eighth of the
/// lease's duration, within these bounds.
const SPREAD_MS_RANGE: core::ops::RangeInclusive<u64> = 100..=1_000;

/// A candidate waits this long on top of a random time after an attempt whose
/// outcome it could not learn.
const DOUBT_MS: u64 = 100;

/// Where the store tells no time, the first token is drawn from below this. All
/// times of the store in milliseconds are higher.
const FIRST_TOKEN_END: u64 = 1 << 40;

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Leases<B, E> {
    /// Takes a lease if it is free for this holder. Does not wait for it.
    ///
    /// One request if this instance knows a version that is free, else two; two
    /// more for each race that it loses.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; the lease is then certainly not acquired.
    pub async fn acquire(&self, name: &str, request: &Request) -> Result<AcquireOutcome, Error> {
        let name = Name::parse(name)?;
        check_request(request)?;
        let known = self.memory.borrow().seen(&name);
        match known {
            Some(known) if self.is_free(&known, request) => self.take(&name, request, known).await,
            _ => self.look_and_take(&name, request).await,
        }
    }

    /// Waits for a lease, without writing while it is held.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; the lease is then certainly not acquired. Errors
    /// that may pass are waited for.
    pub async fn campaign(
        &self,
        name: &str,
        request: &Request,
        timeout_ms: u32,
    ) -> Result<AcquireOutcome, Error> {
        let name = Name::parse(name)?;
        check_request(request)?;
        if timeout_ms > CAMPAIGN_MS_MAX {
            return Err(Error::InvalidArgument(format!(
                "a campaign waits at most {CAMPAIGN_MS_MAX} ms, not {timeout_ms}"
            )));
        }
        let started_ms = self.store.monotonic_ms();
        loop {
            // Looks before each write: what was free when this instance last looked
            // may be held now, and a store that limits the writes to one key
            // counts those in vain as well.
            let result = self.look_and_take(&name, request).await;
            let wait_ms = match &result {
                Ok(AcquireOutcome::Acquired(_)) => return result,
                Ok(AcquireOutcome::Held(status)) => self.wait_ms(status),
                Ok(AcquireOutcome::Indeterminate(_))
                | Err(Error::Throttled(_) | Error::Unavailable(_)) => {
                    DOUBT_MS + self.store.draw_below(*SPREAD_MS_RANGE.end())
                }
                Err(_) => return result,
            };
            let spent_ms = self.store.monotonic_ms().saturating_sub(started_ms);
            let left_ms = u64::from(timeout_ms).saturating_sub(spent_ms);
            if left_ms == 0 {
                return result;
            }
            self.store.sleep_ms(wait_ms.min(left_ms)).await;
        }
    }

    /// How long a candidate waits before it looks again. Liveness only.
    fn wait_ms(&self, status: &Status) -> u64 {
        let duration_ms = u64::from(status.duration_ms);
        let poll_ms = clamp(duration_ms / 4, POLL_MS_RANGE);
        if status.free_in_ms > poll_ms {
            poll_ms / 2 + self.store.draw_below(poll_ms / 2 + 1)
        } else {
            let spread_ms = clamp(duration_ms / 8, SPREAD_MS_RANGE);
            status.free_in_ms + self.store.draw_below(spread_ms + 1)
        }
    }

    fn is_free(&self, seen: &Seen, request: &Request) -> bool {
        let now_ms = self.store.monotonic_ms();
        seen.view
            .as_ref()
            .is_none_or(|view| view.is_free_for(&request.holder, seen.observed_at, now_ms))
    }

    async fn look_and_take(&self, name: &Name, request: &Request) -> Result<AcquireOutcome, Error> {
        let seen = self.look(name).await?;
        self.take(name, request, seen).await
    }

    /// Takes the lease as it was seen, and as it is after each race that is lost.
    async fn take(
        &self,
        name: &Name,
        request: &Request,
        mut seen: Seen,
    ) -> Result<AcquireOutcome, Error> {
        for _ in 0..RACES_MAX {
            if !self.is_free(&seen, request) {
                break;
            }
            let lease = self.next_term(name, request, &seen)?;
            // From here on the lease may be under another token.
            self.memory.borrow_mut().stop_relying(name);
            let base = seen.view.as_ref().map(|view| &view.version);
            match self.place(base, lease).await? {
                Placed::Written {
                    view,
                    observed_at,
                    first_sent_ms,
                } => {
                    if let Some(grant) = self.grant(view.clone(), first_sent_ms) {
                        return Ok(AcquireOutcome::Acquired(grant));
                    }
                    seen = Seen {
                        view: Some(view),
                        observed_at,
                    };
                    break;
                }
                Placed::Lost(now) => seen = now,
                Placed::Unknown(why) => return Ok(AcquireOutcome::Indeterminate(why)),
            }
        }
        match seen.status(self.store.monotonic_ms()) {
            Some(status) => Ok(AcquireOutcome::Held(status)),
            None => Err(Error::Unavailable(format!(
                "{name}: the lease was created and deleted again and again"
            ))),
        }
    }

    /// What an acquisition writes in place of what was seen.
    fn next_term(&self, name: &Name, request: &Request, seen: &Seen) -> Result<Lease, Error> {
        let bounds = match &seen.view {
            Some(view) => view.lease.bounds,
            None => request.bounds.unwrap_or(ClockBounds::DEFAULT),
        };
        Ok(Lease {
            name: name.clone(),
            token: self.next_token(name, seen)?,
            holder: request.holder.clone(),
            nonce: self.store.draw_id(),
            renewals: 0,
            state: State::Held,
            duration_ms: request.duration_ms,
            bounds,
            note: request.note.clone(),
        })
    }

    /// A token above all that were ever granted on this lease.
    ///
    /// One more than the last is enough while the object exists. The store's time
    /// is what carries on if an operator deletes it: it has passed every token
    /// that was granted at an earlier time.
    fn next_token(&self, name: &Name, seen: &Seen) -> Result<Epoch, Error> {
        let last = seen.view.as_ref().map_or(0, |view| view.lease.token.0);
        let above = last.max(self.memory.borrow().highest(name)) + 1;
        let token = match seen.observed_at {
            Some(observed_at) => above.max(observed_at.unix_ms),
            // A random start. If the object is deleted, a lower token will be
            // refused by what it fences; only an equal one would not.
            None if above == 1 => above + self.store.draw_below(FIRST_TOKEN_END - 1),
            None => above,
        };
        if token > TOKEN_MAX {
            return Err(Error::Other(format!(
                "{name}: the tokens of this lease are used up"
            )));
        }
        Ok(Epoch(token))
    }
}

fn clamp(value: u64, range: core::ops::RangeInclusive<u64>) -> u64 {
    value.clamp(*range.start(), *range.end())
}

fn check_request(request: &Request) -> Result<(), Error> {
    check_holder(&request.holder)?;
    check_duration(request.duration_ms)?;
    check_note(&request.note)?;
    request.bounds.map_or(Ok(()), |bounds| bounds.check())
}
