//! A lease that changes hands, by agreement and by silence.

use super::log::{bodies, options, own, read};
use super::manifest::change;
use super::{equal, text, unexpected};
use crate::ifmatch::acceptance::rival::{self, Leadership, Written};
use crate::ifmatch::protocols::lease::{
    self, AcquireOutcome, Grant, ReleaseOutcome, RenewOutcome, Request, Successor,
};
use crate::ifmatch::protocols::log::{self, AppendOptions, AppendOutcome, Writer};
use crate::ifmatch::protocols::manifest::{self, CommitOutcome};
use crate::ifmatch::protocols::types::Token;

/// Longer than any lease here can hold.
const PATIENCE_MS: u32 = 30_000;

/// Acquire, renew, hand over.
pub fn hand_over(prefix: &str) -> Result<String, String> {
    let name = format!("{prefix}/lease");
    let grant = acquire(&name, 10_000)?;
    match rival::lead(&name, "rival", 0)? {
        Leadership::Follows(holder) => equal("the holder", holder.as_str(), "first")?,
        other => return unexpected("the rival, while the lease is held", other),
    }
    let grant = match lease::renew(&grant, 10_000).map_err(text)? {
        RenewOutcome::Renewed(grant) => grant,
        other => return unexpected("renew", other),
    };
    equal("renewals", grant.renewals, 1)?;
    let successor = Successor {
        holder: "rival".to_owned(),
        within_ms: 10_000,
    };
    match lease::release(&grant, Some(&successor)).map_err(text)? {
        ReleaseOutcome::Released => {}
        other => return unexpected("release", other),
    }
    let old = grant.token.epoch;
    let epoch = match rival::lead(&name, "rival", 0)? {
        Leadership::Leads(epoch) if epoch > old => epoch,
        other => return unexpected("the successor", other),
    };
    let Some(status) = lease::observe(&name).map_err(text)? else {
        return unexpected("observe", "no lease");
    };
    equal("the holder", status.holder.as_str(), "rival")?;
    equal("its token", status.token.epoch, epoch)?;
    match lease::renew(&grant, 10_000).map_err(text)? {
        RenewOutcome::Lost(Some(_)) => Ok("renewed once, handed over".to_owned()),
        other => unexpected("renew after a release", other),
    }
}

/// The leader falls silent, the rival takes over, and the old leader is refused.
pub fn take_over(prefix: &str) -> Result<String, String> {
    let name = format!("{prefix}/take-over");
    let grant = acquire(&name, 3_500)?;
    match append(&name, "by the first", grant.token)? {
        AppendOutcome::Appended(_) => {}
        other => return unexpected("the leader's append", other),
    }
    let epoch = match rival::lead(&name, "rival", PATIENCE_MS)? {
        Leadership::Leads(epoch) if epoch > grant.token.epoch => epoch,
        other => return unexpected("the rival, after the lease", other),
    };
    match rival::append_fenced(&name, "by the rival", epoch)? {
        Written::At(offset) => equal("the new leader's append", offset, 1)?,
        other => return unexpected("the new leader's append", other),
    }
    let left_ms = lease::remaining_ms(&name, grant.token).map_err(text)?;
    equal("what is left of the grant", left_ms, 0)?;
    match append(&name, "too late", grant.token)? {
        AppendOutcome::Fenced(token) => equal("the token", token.epoch, epoch)?,
        other => return unexpected("the old leader's append", other),
    }
    equal(
        "the new leader's commit",
        rival::commit(&name, 0, "leader", "rival", Some(epoch))?,
        1,
    )?;
    let late = change(1, &[("leader", "first")], Writer::Fenced(grant.token));
    match manifest::commit(&name, &late).map_err(text)? {
        CommitOutcome::Fenced(token) => equal("the token", token.epoch, epoch)?,
        other => return unexpected("the old leader's commit", other),
    }
    equal(
        "the log",
        read(&name)?,
        own(&["by the first", "by the rival"]),
    )?;
    Ok("taken over, the old leader refused by log and manifest".to_owned())
}

fn acquire(name: &str, duration_ms: u32) -> Result<Grant, String> {
    let request = Request {
        holder: "first".to_owned(),
        duration_ms,
        note: String::new(),
        bounds: None,
    };
    match lease::acquire(name, &request).map_err(text)? {
        AcquireOutcome::Acquired(grant) => Ok(grant),
        other => unexpected("acquire", other),
    }
}

fn append(log: &str, body: &str, token: Token) -> Result<AppendOutcome, String> {
    let options = AppendOptions {
        writer: Writer::Fenced(token),
        ..options(None)
    };
    log::append(log, &bodies(&[body]), &options).map_err(text)
}
