//! Whether the store honours conditions: the short check before anything is created,
//! and the [full examination](Report).
//!
//! Everything else here relies on conditional writes, and some stores accept the
//! conditions and ignore them, or keep them only while nobody else writes. So several
//! writes race for one key, again and again, and at most one may win each race. The
//! writes that lose show besides that a condition which does not hold is refused.
//! `docs/PROTOCOLS.md` says what the check can find and what it cannot.

mod examine;
mod race;

pub use examine::{Check, Finding, Report, Verdict};

use maybe_async::maybe_async;

use crate::bucket::{Bucket, Found, Object, Precondition, Read, Write};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::{PASSED_KEY, PROBES, probe_key};
use crate::list::list;
use crate::slots::at_key;
use crate::store::Store;
use race::{Lane, Race};

/// Keys that are raced for at once in the short check.
const LANES: u64 = 2;

/// How often the short check begins anew, where replies were lost.
const TRIES_MAX: u32 = 4;

/// What the note of a check that was passed begins with.
const PASSED: &[u8] = b"ifmatch passed 1";

/// How much of the note is read: it is shorter.
const NOTE_BYTES_MAX: u32 = 64;

/// By how much the time in the note and the time of its object may differ. In a copy
/// of a bucket they differ by more, and the copy may be in another store.
const NOTE_AGE_MS_MAX: u64 = 600_000;

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Store<B, E> {
    /// Refuses a store that does not keep conditions, before the first object of
    /// something new is written.
    ///
    /// Nothing, once it is known; one read in an instance that does not know yet; about
    /// forty requests in an installation that is new.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for such a store. [`Error::Unavailable`] if too many
    /// replies were lost to tell: the next call tries again.
    pub(crate) async fn check_conditions(&self) -> Result<(), Error> {
        if self.is_checked() || off(Guard::ConditionsChecked) {
            return Ok(());
        }
        let key = PASSED_KEY.to_owned();
        let reply = self
            .get(Read::first(key.clone(), NOTE_BYTES_MAX))
            .await
            .map_err(|error| at_key(PASSED_KEY, error))?;
        let precondition = match reply.found {
            Found::Object(object) if is_note(&object) => {
                self.set_checked();
                return Ok(());
            }
            Found::Object(object) => Precondition::Matches(object.metadata.version),
            _ => Precondition::Absent,
        };
        let passed_at_ms = self.short_check().await?;
        // Saves others the check. Whether it is written does not matter.
        let body = [PASSED, &passed_at_ms.to_le_bytes()].concat();
        let _ = self
            .put(&Write {
                key,
                body,
                precondition,
            })
            .await;
        self.set_checked();
        Ok(())
    }

    /// Races for two keys: eight creates each, and eight replaces of what won. Gives
    /// the store's time, or 0.
    async fn short_check(&self) -> Result<u64, Error> {
        for _ in 0..TRIES_MAX {
            // From a limited number, so that a store which is refused again and again is
            // not filled. Whoever finds one taken leaves it alone, so two who check at
            // once do not disturb each other.
            let first = self.draw_below(PROBES / LANES) * LANES;
            let lane = |number| Lane::new(probe_key(number));
            let mut lanes = list((first..first + LANES).map(lane));
            let mut won = true;
            let races = if off(Guard::ReplacesRaced) { 1 } else { 2 };
            for _ in 0..races {
                match self.race(&mut lanes).await? {
                    Race::Kept => {}
                    Race::Broken => {
                        return Err(Error::Unsupported(
                            "of several conditional writes of one object, the store accepted \
                             more than one"
                                .to_owned(),
                        ));
                    }
                    Race::Unclear => {
                        won = off(Guard::UnclearNotPassed);
                        break;
                    }
                }
            }
            if won {
                let at = lanes.iter().find_map(|lane| lane.observed_at);
                return Ok(at.map_or(0, |at| at.unix_ms));
            }
        }
        Err(Error::Unavailable(
            "too many replies were lost to tell whether the store keeps conditions".to_owned(),
        ))
    }
}

/// Whether an object is the note of a check that was passed here, and not a copy of
/// one.
fn is_note(object: &Object) -> bool {
    let Some(told) = object.body.strip_prefix(PASSED) else {
        return off(Guard::NoteRead);
    };
    let Ok(told_ms) = told.try_into().map(u64::from_le_bytes) else {
        return off(Guard::NoteRead);
    };
    let stored_at = object.metadata.modified_at;
    stored_at.is_none_or(|at| at.unix_ms.abs_diff(told_ms) <= NOTE_AGE_MS_MAX)
        || off(Guard::NoteOfHere)
}
