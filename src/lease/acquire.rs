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
use crate::guards::{Guard, off};
use crate::keys::Name;
use crate::token::Epoch;
use maybe_async::maybe_async;

/// How many versions one acquisition tries to replace.
const RACES_MAX: u32 = 8;

/// A candidate looks again after a quarter of the lease's duration, within these
/// bounds: that is how it notices a release.
const POLL_MS_RANGE: core::ops::RangeInclusive<u64> = 250..=5_000;

/// Candidates that wait for the same moment come back spread over a twentieth of
/// the lease's duration, within these bounds.
const SPREAD_MS_RANGE: core::ops::RangeInclusive<u64> = 100..=500;

/// A candidate waits this long on top of a random time, of up to as much again as
/// `DOUBT_SPREAD_MS`, after an attempt whose outcome it could not learn.
const DOUBT_MS: u64 = 100;

/// See [`DOUBT_MS`].
const DOUBT_SPREAD_MS: u64 = 1_000;

/// Where the store tells no time, the first token is drawn from below this. All
/// times of the store in milliseconds are higher.
const FIRST_TOKEN_END: u64 = 1 << 40;

/// How far tokens may run ahead of the store's time before each acquisition waits
/// for a millisecond: so many terms can begin at once.
const LEAD_MS: u64 = 1_000;

/// No wait of an acquisition sleeps more often, should sleeps end early.
const SLEEPS_MAX: u32 = 8;

/// For whoever waits as long as it takes.
const NO_DEADLINE: u64 = u64::MAX;

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Leases<B, E> {
    /// Takes a lease if it is free for this holder. Does not wait for another
    /// holder.
    ///
    /// One request if this instance knows a version that is free, else two; two
    /// more for each race that it loses. A lease that does not exist takes three
    /// and a wait, of [`ClockBounds::settle_ms`], if the store tells its time.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes; the lease is then certainly not acquired.
    pub async fn acquire(&self, name: &str, request: &Request) -> Result<AcquireOutcome, Error> {
        let name = Name::parse(name)?;
        check_request(request)?;
        let known = self.memory.borrow().seen(&name);
        match known {
            Some(known) if self.is_free(&known, request) => {
                self.take(&name, request, known, NO_DEADLINE).await
            }
            _ => self.look_and_take(&name, request, NO_DEADLINE).await,
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
        let deadline_ms = self.store.monotonic_ms().saturating_add(timeout_ms.into());
        loop {
            // Looks before each write: what was free when this instance last looked
            // may be held now, and a store that limits the writes to one key
            // counts those in vain as well.
            let result = self.look_and_take(&name, request, deadline_ms).await;
            let wait_ms = match &result {
                Ok(AcquireOutcome::Acquired(_)) => return result,
                Ok(AcquireOutcome::Held(status)) => self.wait_ms(status),
                Ok(AcquireOutcome::Indeterminate(_))
                | Err(Error::Throttled(_) | Error::Unavailable(_)) => {
                    DOUBT_MS + self.store.draw_below(DOUBT_SPREAD_MS)
                }
                Err(_) => return result,
            };
            let left_ms = deadline_ms.saturating_sub(self.store.monotonic_ms());
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
            let spread_ms = clamp(duration_ms / 20, SPREAD_MS_RANGE);
            status.free_in_ms + self.store.draw_below(spread_ms + 1)
        }
    }

    fn is_free(&self, seen: &Seen, request: &Request) -> bool {
        let now_ms = self.store.monotonic_ms();
        seen.view
            .as_ref()
            .is_none_or(|view| view.is_free_for(&request.holder, seen.observed_at, now_ms))
    }

    async fn look_and_take(
        &self,
        name: &Name,
        request: &Request,
        deadline_ms: u64,
    ) -> Result<AcquireOutcome, Error> {
        let seen = self.look(name).await?;
        self.take(name, request, seen, deadline_ms).await
    }

    /// Takes the lease as it was seen, and as it is after each race that is lost.
    async fn take(
        &self,
        name: &Name,
        request: &Request,
        mut seen: Seen,
        deadline_ms: u64,
    ) -> Result<AcquireOutcome, Error> {
        for _ in 0..RACES_MAX {
            self.settle(&seen, request, deadline_ms).await;
            if !self.is_free(&seen, request) {
                break;
            }
            let lease = self.next_term(name, request, &seen)?;
            // From here on the lease may be under another token.
            if !off(Guard::GiveUpFirst) {
                self.memory.borrow_mut().stop_relying(name);
            }
            let base = seen.view.as_ref().map(|view| &view.version);
            match self.place(base, lease).await? {
                Placed::Written {
                    view,
                    observed_at,
                    first_sent_ms,
                } => {
                    let reserved = view.is_reservation();
                    seen = Seen {
                        view: Some(view.clone()),
                        observed_at,
                    };
                    if reserved {
                        continue;
                    }
                    match self.grant(view, first_sent_ms) {
                        Some(grant) => return Ok(AcquireOutcome::Acquired(grant)),
                        None => break,
                    }
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

    /// Waits where tokens need it: they must not run ahead of the store's time by
    /// more than what the next reservation adds to it.
    async fn settle(&self, seen: &Seen, request: &Request, deadline_ms: u64) {
        let (Some(view), Some(observed_at)) = (&seen.view, seen.observed_at) else {
            return;
        };
        let now_ms = self.store.monotonic_ms();
        let wait_ms = if view.is_reservation() && view.is_for(&request.holder) {
            view.settles_in_ms(now_ms)
        } else if !off(Guard::TokensNotFarAhead)
            && view.lease.token.0 >= observed_at.unix_ms.saturating_add(LEAD_MS)
            && self.is_free(seen, request)
        {
            view.lease.bounds.pause_ms()
        } else {
            0
        };
        let end_ms = now_ms.saturating_add(wait_ms).min(deadline_ms);
        for _ in 0..SLEEPS_MAX {
            let left_ms = end_ms.saturating_sub(self.store.monotonic_ms());
            if left_ms == 0 {
                break;
            }
            self.store.sleep_ms(left_ms).await;
        }
    }

    /// What an acquisition writes in place of what was seen.
    ///
    /// In place of nothing it is a reservation, which grants nothing yet. It makes
    /// sure that the object, once it is taken, has not been deleted since: whoever
    /// creates an object cannot know what was there between its look and its write.
    fn next_term(&self, name: &Name, request: &Request, seen: &Seen) -> Result<Lease, Error> {
        let bounds = match &seen.view {
            Some(view) => view.lease.bounds,
            None => request.bounds.unwrap_or(ClockBounds::DEFAULT),
        };
        bounds.check_duration(request.duration_ms)?;
        let mut lease = Lease {
            name: name.clone(),
            token: Epoch::SHARED,
            holder: request.holder.clone(),
            nonce: self.store.draw_id(),
            renewals: 0,
            state: State::Held,
            duration_ms: request.duration_ms,
            bounds,
            note: request.note.clone(),
        };
        if seen.view.is_none() && seen.observed_at.is_some() && !off(Guard::ReservationFirst) {
            lease.state = State::Handover(request.holder.clone());
            lease.duration_ms = bounds.reservation_ms();
        } else {
            lease.token = self.next_token(name, seen)?;
        }
        Ok(lease)
    }

    /// A token above all that were ever granted on this lease.
    ///
    /// One more than the last is enough while the object exists. After that, the
    /// store's time carries on: no token was granted that is further ahead of it
    /// than the first token after a reservation is.
    fn next_token(&self, name: &Name, seen: &Seen) -> Result<Epoch, Error> {
        let last = seen.view.as_ref().map_or(0, |view| view.lease.token.0);
        let step = u64::from(!off(Guard::TokenAboveLast));
        let above = match off(Guard::HighestTokenKnown) {
            true => last,
            false => last.max(self.memory.borrow().highest(name)),
        } + step;
        let token = match (&seen.view, seen.observed_at) {
            (Some(view), _) if view.is_reservation() => {
                let Some(modified_at) = view.modified_at else {
                    return Err(Error::Unsupported(format!(
                        "{name}: the store tells its time in some replies only"
                    )));
                };
                let ahead_ms = match off(Guard::TokenAfterReservation) {
                    true => 0,
                    false => u64::from(view.lease.bounds.margin_ms) + LEAD_MS + 2,
                };
                above.max(modified_at.unix_ms.saturating_add(ahead_ms))
            }
            (Some(_), Some(observed_at)) if !off(Guard::TokenAboveTime) => {
                above.max(observed_at.unix_ms)
            }
            (Some(_), _) => above,
            // A random start. If the object is deleted, a lower token will be
            // refused by what it fences; only an equal one would not.
            (None, _) => above.max(1 + self.store.draw_below(FIRST_TOKEN_END - 1)),
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
