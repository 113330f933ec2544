//! Everything that a store must do, tried one after the other.

use maybe_async::maybe_async;

use super::race::{Lane, Race};
use crate::bucket::{
    Bucket, BucketError, Deletion, Found, Precondition, PutOutcome, Read, StoreTime, Version, Write,
};
use crate::env::Env;
use crate::error::Error;
use crate::guards::{Guard, off};
use crate::keys::examination_prefix;
use crate::slots::at_key;
use crate::store::Store;

/// Keys that are raced for at once.
const LANES: [&str; 4] = ["b", "c", "d", "e"];

/// Races of replaces for each of them.
const REPLACES: usize = 3;

/// How often one write is sent in all.
const SENDS_MAX: u32 = 6;

/// More objects than an examination writes.
const PAGE: u32 = 100;

/// How far the time of an object may be from that of the reply that accepted it.
const DRIFT_MS_MAX: u64 = 300_000;

/// What is tried. The WIT enum of the same name describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A create where an object exists is refused.
    Create,
    /// A replace of the current version is accepted, and any other refused.
    Replace,
    /// Of several creates at once, one wins.
    RacingCreates,
    /// Of several replaces at once, one wins.
    RacingReplaces,
    /// A read shows what was written.
    Read,
    /// A read that names the current version gets no body.
    UnchangedRead,
    /// A listing shows what was written, in order.
    Listing,
    /// Replies and objects carry the store's time.
    Time,
    /// What is deleted is gone.
    Deletion,
}

impl Check {
    /// What finds that it is not passed.
    fn guard(self) -> Guard {
        match self {
            Check::Create => Guard::CreateExamined,
            Check::Replace => Guard::ReplaceExamined,
            Check::RacingCreates => Guard::RacingCreatesExamined,
            Check::RacingReplaces => Guard::RacingReplacesExamined,
            Check::Read => Guard::ReadExamined,
            Check::UnchangedRead => Guard::UnchangedReadExamined,
            Check::Listing => Guard::ListingExamined,
            Check::Time => Guard::TimeExamined,
            Check::Deletion => Guard::DeletionExamined,
        }
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be.
    Passed,
    /// The protocols work, at a price.
    Limited,
    /// Replies were lost.
    Unclear,
    /// The store must not be used.
    Failed,
}

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was tried.
    pub check: Check,
    /// How it ended.
    pub verdict: Verdict,
    /// Why, for people; empty if it was passed.
    pub detail: &'static str,
}

/// What an examination found, in the order of its checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One for each check.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of all verdicts.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let severity = |verdict: &Verdict| match verdict {
            Verdict::Passed => 0,
            Verdict::Limited => 1,
            Verdict::Unclear => 2,
            Verdict::Failed => 3,
        };
        let mut verdicts = self.findings.iter().map(|finding| finding.verdict);
        if off(Guard::WorstVerdict) {
            return verdicts.next().unwrap_or(Verdict::Unclear);
        }
        verdicts.max_by_key(severity).unwrap_or(Verdict::Unclear)
    }

    /// Notes `failure`, unless there is none.
    fn note(&mut self, check: Check, failure: Option<(Verdict, &'static str)>) {
        let failure = failure.filter(|_| !off(check.guard()));
        let (verdict, detail) = failure.unwrap_or((Verdict::Passed, ""));
        self.findings.push(Finding {
            check,
            verdict,
            detail,
        });
    }
}

/// What a write that was answered made.
struct Made {
    body: Vec<u8>,
    version: Version,
    observed_at: Option<StoreTime>,
}

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Store<B, E> {
    /// Tries everything that the protocols need from the store, on objects of its own,
    /// which are deleted in the end: about 150 requests.
    ///
    /// # Errors
    ///
    /// As [`Error`] describes, where the store could not be examined:
    /// [`Error::Unsupported`] if it refuses conditions altogether,
    /// [`Error::Unavailable`] if a reply was lost that the rest depends on.
    pub async fn examine(&self) -> Result<Report, Error> {
        let prefix = examination_prefix(self.draw_id());
        let key = |name: &str| [prefix.as_str(), name].concat();
        let mut report = Report::default();
        let single = key("a");
        let mut lanes = Vec::new();
        let mut keys = Vec::from([single.clone()]);
        for name in LANES {
            lanes.push(Lane::new(key(name)));
            keys.push(key(name));
        }
        let missing = key("f");
        keys.push(missing.clone());

        let made = self.examine_writes(&mut report, &single, &missing).await?;
        for check in [Check::RacingCreates, Check::RacingReplaces] {
            let races = match check {
                Check::RacingCreates => 1,
                _ => REPLACES,
            };
            let mut failure = None;
            for _ in 0..races {
                match self.race(&mut lanes).await? {
                    Race::Kept => continue,
                    Race::Broken => {
                        failure = Some((Verdict::Failed, "two writes won one race"));
                    }
                    Race::Unclear => {
                        failure = Some((Verdict::Unclear, "too many replies were lost"));
                    }
                }
                break;
            }
            report.note(check, failure);
        }
        self.examine_reads(&mut report, &single, &made).await?;
        self.examine_listing(&mut report, &prefix, &single, &lanes)
            .await?;
        let failure = match self.delete_many(keys).await {
            Ok(()) => match self.get(Read::all(single)).await?.found {
                Found::Absent => None,
                _ => Some((Verdict::Failed, "a deleted object is still there")),
            },
            Err(BucketError::AccessDenied(_) | BucketError::Unsupported(_)) => Some((
                Verdict::Limited,
                "deletes are refused: nothing can be trimmed or collected",
            )),
            Err(error) => return Err(error.into()),
        };
        report.note(Check::Deletion, failure);
        Ok(report)
    }

    /// Creates and replaces, one after the other. Gives what stands in the end.
    async fn examine_writes(
        &self,
        report: &mut Report,
        key: &str,
        missing: &str,
    ) -> Result<Made, Error> {
        let absent = || Precondition::Absent;
        let Some(first) = self.send(key, absent()).await? else {
            return Err(Error::Unsupported(
                "the store refuses to create a new object".to_owned(),
            ));
        };
        let again = self.send(key, absent()).await?;
        let failure = again
            .as_ref()
            .map(|_| (Verdict::Failed, "an existing object was created again"));
        report.note(Check::Create, failure);
        // Where that was accepted, another version stands.
        let current = again.unwrap_or(first);
        let of = |version: &Version| Precondition::Matches(version.clone());
        let second = self.send(key, of(&current.version)).await?;
        let stale = self.send(key, of(&current.version)).await?;
        let nothing = self.send(missing, of(&current.version)).await?;
        let failure = if stale.is_some() && !off(Guard::OldVersionExamined) {
            Some("a replace of an old version was accepted")
        } else if nothing.is_some() && !off(Guard::MissingExamined) {
            Some("a replace of a missing object was accepted")
        } else if second.is_none() {
            Some("a replace of the current version was refused")
        } else {
            None
        };
        report.note(Check::Replace, failure.map(|what| (Verdict::Failed, what)));
        Ok(stale.or(second).unwrap_or(current))
    }

    async fn examine_reads(
        &self,
        report: &mut Report,
        key: &str,
        made: &Made,
    ) -> Result<(), Error> {
        let read = Read::all(key.to_owned());
        let reply = self.get(read.clone()).await?;
        let (modified_at, failure) = match reply.found {
            Found::Object(object) => {
                let same = object.body == made.body && object.metadata.version == made.version;
                let failure = match same {
                    true => None,
                    false => Some((Verdict::Failed, "a read showed something else")),
                };
                (object.metadata.modified_at, failure)
            }
            _ => (
                None,
                Some((Verdict::Failed, "a written object was not found")),
            ),
        };
        report.note(Check::Read, failure);
        let unless = |version: Version| Read {
            unless: Some(version),
            ..read.clone()
        };
        let same = self.get(unless(made.version.clone())).await?.found;
        let failure = match same {
            Found::Unchanged => None,
            _ => Some((
                Verdict::Limited,
                "what has not changed is sent all the same",
            )),
        };
        report.note(Check::UnchangedRead, failure);
        let failure = match (made.observed_at, modified_at) {
            (Some(at), Some(modified_at))
                if at.unix_ms.abs_diff(modified_at.unix_ms) <= DRIFT_MS_MAX =>
            {
                None
            }
            (Some(_), Some(_)) => Some((
                Verdict::Limited,
                "its clocks differ by more than the default margin",
            )),
            _ => Some((
                Verdict::Limited,
                "it does not tell its time: some operations need a request more",
            )),
        };
        report.note(Check::Time, failure);
        Ok(())
    }

    /// Lists the first object, and then those behind it, with the lanes among them.
    async fn examine_listing(
        &self,
        report: &mut Report,
        prefix: &str,
        first: &str,
        lanes: &[Lane],
    ) -> Result<(), Error> {
        let page = self.list(prefix, None, 1).await;
        let rest = self.list(prefix, Some(first), PAGE).await;
        let (page, rest) = match (page, rest) {
            (Ok(page), Ok(rest)) => (page, rest),
            (Err(BucketError::Unsupported(_)), _) | (_, Err(BucketError::Unsupported(_))) => {
                report.note(
                    Check::Listing,
                    Some((Verdict::Failed, "listings are not in order")),
                );
                return Ok(());
            }
            (Err(error), _) | (_, Err(error)) => return Err(error.into()),
        };
        let starts = page.objects.iter().all(|object| object.key == first)
            && page.objects.len() == 1
            && page.more != rest.objects.is_empty();
        let ordered = rest
            .objects
            .is_sorted_by(|before, after| before.key < after.key);
        let shown = lanes.iter().all(|lane| {
            rest.objects.iter().any(|object| {
                object.key == lane.key && Some(&object.version) == lane.version.as_ref()
            })
        });
        let failure = match starts && ordered && shown {
            true => None,
            false => Some((
                Verdict::Failed,
                "a listing does not show what was written, in order",
            )),
        };
        report.note(Check::Listing, failure);
        Ok(())
    }

    /// Sends a write until it is answered: what it made, or `None` if its condition did
    /// not hold.
    async fn send(&self, key: &str, precondition: Precondition) -> Result<Option<Made>, Error> {
        let write: Write = self.probe(key, precondition);
        let mut round = 0;
        loop {
            round += 1;
            match self.put(&write).await {
                Ok(PutOutcome::Written {
                    version,
                    observed_at,
                }) => {
                    return Ok(Some(Made {
                        body: write.body,
                        version,
                        observed_at,
                    }));
                }
                Ok(PutOutcome::PreconditionFailed) => return Ok(None),
                Ok(PutOutcome::Indeterminate(_)) if off(Guard::LostReplyExamined) => {
                    return Ok(None);
                }
                Ok(PutOutcome::Indeterminate(why)) => return Err(Error::Unavailable(why)),
                Err(error) if error.is_transient() && round < SENDS_MAX => {
                    self.back_off(round, Some(&error)).await;
                }
                Err(error) => return Err(at_key(key, error)),
            }
        }
    }
}
