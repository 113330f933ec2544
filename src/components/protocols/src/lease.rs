//! The interface `lease`.

use ifmatch::bucket::Version;
use ifmatch::error;
use ifmatch::keys::Name;
use ifmatch::lease as core;
use ifmatch::token::Epoch;

use crate::Component;
use crate::bindings::exports::ifmatch::protocols::lease::{
    AcquireOutcome, ClockBounds, GrantResult as Grant, Guest, ReleaseOutcome, RenewOutcome,
    RequestResult as Request, State, Status, SuccessorResult as Successor,
};
use crate::bindings::exports::ifmatch::protocols::types::Token;
use crate::convert::to_token;
use crate::error::{Error, to_error};
use crate::instance::run;

impl Guest for Component {
    fn acquire(name: String, request: Request) -> Result<AcquireOutcome, Error> {
        let request = from_request(request);
        run(|instance| instance.leases.acquire(&name, &request))
            .map(to_acquire_outcome)
            .map_err(to_error)
    }

    fn campaign(name: String, request: Request, timeout_ms: u32) -> Result<AcquireOutcome, Error> {
        let request = from_request(request);
        run(|instance| instance.leases.campaign(&name, &request, timeout_ms))
            .map(to_acquire_outcome)
            .map_err(to_error)
    }

    fn renew(grant: Grant, duration_ms: u32) -> Result<RenewOutcome, Error> {
        let grant = from_grant(grant).map_err(to_error)?;
        run(|instance| instance.leases.renew(&grant, duration_ms))
            .map(|outcome| match outcome {
                core::RenewOutcome::Renewed(grant) => RenewOutcome::Renewed(to_grant(grant)),
                core::RenewOutcome::Lost(status) => RenewOutcome::Lost(status.map(to_status)),
                core::RenewOutcome::Indeterminate(why) => RenewOutcome::Indeterminate(why),
            })
            .map_err(to_error)
    }

    fn release(grant: Grant, successor: Option<Successor>) -> Result<ReleaseOutcome, Error> {
        let grant = from_grant(grant).map_err(to_error)?;
        let successor = successor.map(|successor| core::Successor {
            holder: successor.holder,
            within_ms: successor.within_ms,
        });
        run(|instance| instance.leases.release(&grant, successor.as_ref()))
            .map(|outcome| match outcome {
                core::ReleaseOutcome::Released => ReleaseOutcome::Released,
                core::ReleaseOutcome::Lost(status) => ReleaseOutcome::Lost(status.map(to_status)),
                core::ReleaseOutcome::Indeterminate(why) => ReleaseOutcome::Indeterminate(why),
            })
            .map_err(to_error)
    }

    fn remaining_ms(name: String, token: Token) -> Result<u32, Error> {
        run(|instance| instance.leases.remaining_ms(&name, Epoch(token.epoch)))
            .map(to_ms)
            .map_err(to_error)
    }

    fn observe(name: String) -> Result<Option<Status>, Error> {
        run(|instance| instance.leases.observe(&name))
            .map(|status| status.map(to_status))
            .map_err(to_error)
    }
}

fn from_request(request: Request) -> core::Request {
    core::Request {
        holder: request.holder,
        duration_ms: request.duration_ms,
        note: request.note,
        bounds: request.bounds.map(from_bounds),
    }
}

fn from_bounds(bounds: ClockBounds) -> core::ClockBounds {
    core::ClockBounds {
        rate_ppm: bounds.rate_ppm,
        margin_ms: bounds.margin_ms,
    }
}

fn from_grant(grant: Grant) -> Result<core::Grant, error::Error> {
    Ok(core::Grant {
        name: Name::parse(&grant.name)?,
        holder: grant.holder,
        token: Epoch(grant.token.epoch),
        valid_for_ms: grant.valid_for_ms.into(),
        // Informative; a grant that comes back is judged by what the store has.
        expires_at: None,
        duration_ms: grant.duration_ms,
        renewals: grant.renewals,
        note: grant.note,
        bounds: from_bounds(grant.bounds),
        version: Version(grant.version),
    })
}

fn to_bounds(bounds: core::ClockBounds) -> ClockBounds {
    ClockBounds {
        rate_ppm: bounds.rate_ppm,
        margin_ms: bounds.margin_ms,
    }
}

/// No time of a lease comes near the end of 32 bits.
fn to_ms(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

fn to_grant(grant: core::Grant) -> Grant {
    Grant {
        name: grant.name.to_string(),
        holder: grant.holder,
        token: to_token(grant.token),
        valid_for_ms: to_ms(grant.valid_for_ms),
        expires_at: grant.expires_at.map(|time| time.unix_ms),
        duration_ms: grant.duration_ms,
        renewals: grant.renewals,
        note: grant.note,
        bounds: to_bounds(grant.bounds),
        version: grant.version.0,
    }
}

fn to_status(status: core::Status) -> Status {
    Status {
        holder: status.holder,
        token: to_token(status.token),
        state: match status.state {
            core::State::Held => State::Held,
            core::State::Released => State::Released,
            core::State::Handover(to) => State::Handover(to),
        },
        free_in_ms: to_ms(status.free_in_ms),
        expires_at: status.expires_at.map(|time| time.unix_ms),
        duration_ms: status.duration_ms,
        renewals: status.renewals,
        note: status.note,
        bounds: to_bounds(status.bounds),
    }
}

fn to_acquire_outcome(outcome: core::AcquireOutcome) -> AcquireOutcome {
    match outcome {
        core::AcquireOutcome::Acquired(grant) => AcquireOutcome::Acquired(to_grant(grant)),
        core::AcquireOutcome::Held(status) => AcquireOutcome::Held(to_status(status)),
        core::AcquireOutcome::Indeterminate(why) => AcquireOutcome::Indeterminate(why),
    }
}
