//! Leaders: members that run for a lease, and write to a log and to a manifest under its
//! token while they hold it; and what must be true of their answers.

use super::actor::{Actor, Call, answered, is_expected};
use super::log::calls::{Append, Claim, SHARED};
use super::log::{Noted, last_appends, merge_always, read_back};
use super::manifest::{self, calls::Commit};
use super::reigns::{Reign, Reigns, check_versions};
use super::stage::{Act, Local, Part, Stage};
use super::versions;
use crate::bindings::lease::{
    AcquireOutcome, ClockBounds, Error, Grant, ReleaseOutcome, RenewOutcome, Request, Status,
    Successor, Token,
};
use crate::bindings::log::{AppendOptions, AppendOutcome, Writer};
use crate::bindings::manifest::{Change, CommitOutcome, Dependency, Edit, Item};
use crate::clock::GuestClock;
use crate::history::{Attempt, Ending, History};
use crate::host::Instance;
use anyhow::{Result, bail, ensure};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The family.
pub const PART: Part = Part {
    name: "lease",
    begin: |stage| Box::pin(begin(stage)),
};

const LEASE: &str = "leader";
const LEASE_PREFIX: &str = "lease/leader/";
const LOG: &str = "led";
const MANIFEST: &str = "led";
const MEMBERS: u64 = 3;
const DURATION_MS: u32 = 10_000;
/// For how long a member waits for the lease in one call.
const CAMPAIGN_MS: u32 = 20_000;

/// `lease.acquire`, or `lease.campaign` for so many milliseconds.
#[derive(Clone, Debug)]
struct Acquire(Request);

#[derive(Clone, Debug)]
struct Campaign(Request);

/// `lease.renew`.
#[derive(Clone, Debug)]
struct Renew(Grant);

/// `lease.release`.
#[derive(Clone, Debug)]
struct Release(Grant, Option<Successor>);

/// `lease.remaining-ms`.
#[derive(Clone, Debug)]
struct RemainingMs(Token);

/// `lease.observe`.
#[derive(Clone, Debug)]
struct Observe;

impl Call for Acquire {
    type Answer = Result<AcquireOutcome, Error>;
    const NAME: &'static str = "acquire";
    const CREATES: bool = true;
    // Each of up to 8 races that are lost costs a write and a look.
    const REQUESTS: u32 = 2 + 8 * 2;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.lease().acquire(LEASE, &self.0).await
    }
}

impl Call for Campaign {
    type Answer = Result<AcquireOutcome, Error>;
    const NAME: &'static str = "campaign";
    const CREATES: bool = true;
    // A look every 1.25 to 2.5 s, and every 100 ms after an attempt of unknown outcome.
    const REQUESTS: u32 = 2 + CAMPAIGN_MS / 100;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        let mut lease = instance.lease();
        lease.campaign(LEASE, &self.0, CAMPAIGN_MS).await
    }
}

impl Call for Renew {
    type Answer = Result<RenewOutcome, Error>;
    const NAME: &'static str = "renew";
    // A rival that took over costs a look.
    const REQUESTS: u32 = 3;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.lease().renew(&self.0, self.0.duration_ms).await
    }
}

impl Call for Release {
    type Answer = Result<ReleaseOutcome, Error>;
    const NAME: &'static str = "release";
    const REQUESTS: u32 = 3;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.lease().release(&self.0, self.1.as_ref()).await
    }
}

impl Call for RemainingMs {
    type Answer = Result<u32, Error>;
    const NAME: &'static str = "remaining-ms";
    const REQUESTS: u32 = 0;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.lease().remaining_ms(LEASE, self.0).await
    }
}

impl Call for Observe {
    type Answer = Result<Option<Status>, Error>;
    const NAME: &'static str = "observe";
    const REQUESTS: u32 = 1;

    async fn make(&self, instance: &mut Instance) -> Result<Self::Answer> {
        instance.lease().observe(LEASE).await
    }
}

/// What everybody was told.
#[derive(Default)]
struct Told {
    reigns: Reigns,
    history: History,
    /// Acknowledged appends: offset, epoch.
    appended: Vec<(u64, u64)>,
    /// Acknowledged claims: tail, epoch.
    claimed: Vec<(u64, u64)>,
    highest: u64,
    manifest: manifest::Told,
    /// Acknowledged commits: version, epoch.
    committed: Vec<(u64, u64)>,
}

struct LeaseAct {
    told: Rc<RefCell<Told>>,
}

async fn begin(stage: Rc<Stage>) -> Result<Box<dyn Act>> {
    let told = Rc::new(RefCell::new(Told::default()));
    for number in 0..MEMBERS {
        let member = Member {
            actor: Actor::start(&stage, &format!("member-{number}")).await?,
            told: told.clone(),
            terms: 0,
        };
        stage.spawn(member.run(None));
    }
    let merger = Actor::start(&stage, "led-merger").await?;
    stage.spawn(merge_always(merger, LOG));
    Ok(Box::new(LeaseAct { told }))
}

/// A candidate, and a leader at times.
struct Member {
    actor: Actor,
    told: Rc<RefCell<Told>>,
    terms: u64,
}

/// A grant, and until when its instance may rely on it by its own clock.
#[derive(Clone)]
struct Held {
    grant: Grant,
    until_ns: u64,
}

impl Member {
    fn now(&self) -> Duration {
        self.actor.stage().now()
    }

    /// Makes a call, and ends the reigns of instances that did not survive it.
    async fn make<C: Call>(&mut self, call: C) -> Result<Option<C::Answer>> {
        let clock = self.actor.clock().clone();
        let answer = self.actor.make(call).await?;
        for (instance, at) in self.actor.take_deaths() {
            let mut told = self.told.borrow_mut();
            told.reigns.stop(instance, at, &clock);
        }
        Ok(answer)
    }

    fn stop(&self) {
        let (instance, now) = (self.actor.instance(), self.now());
        let mut told = self.told.borrow_mut();
        told.reigns.stop(instance, now, self.actor.clock());
    }

    /// A call returned a grant: this instance relies on it for its time.
    fn rely(&self, asked: Duration, grant: Grant) -> Held {
        let clock: &GuestClock = self.actor.clock();
        let own = Duration::from_millis(grant.valid_for_ms.into());
        let now = self.now();
        self.told.borrow_mut().reigns.rely(Reign {
            holder: grant.holder.clone(),
            instance: self.actor.instance(),
            token: grant.token.epoch,
            asked,
            began: now,
            ended: now + clock.in_world_time(own),
            frozen: false,
        });
        let until_ns = clock.monotonic_ns() + u64::from(grant.valid_for_ms) * 1_000_000;
        Held { grant, until_ns }
    }

    fn run(mut self, held: Option<Held>) -> Local<'static, ()> {
        Box::pin(async move {
            let stage = self.actor.stage().clone();
            if let Some(held) = held {
                self.lead(held).await?;
                self.stop();
            }
            while !stage.is_over() {
                if let Some(held) = self.campaign().await? {
                    self.lead(held).await?;
                    self.stop();
                }
                stage.idle(&mut self.actor.dice, 2_000).await;
            }
            Ok(())
        })
    }

    async fn campaign(&mut self) -> Result<Option<Held>> {
        // A process that starts anew has a name of its own, and waits.
        self.terms += 1;
        let weather = &self.actor.stage().weather;
        let request = Request {
            holder: format!("{}-{}", self.actor.name(), self.terms),
            duration_ms: DURATION_MS,
            note: String::new(),
            bounds: Some(ClockBounds {
                rate_ppm: weather.rate_ppm,
                margin_ms: weather.lease_margin_ms,
            }),
        };
        let asked = self.now();
        let answer = match self.actor.dice.below(5) {
            0 => {
                answered(self.make(Observe).await?)?;
                self.make(Acquire(request)).await?
            }
            _ => self.make(Campaign(request)).await?,
        };
        match answered(answer)? {
            Some(AcquireOutcome::Acquired(grant)) => {
                ensure!(grant.valid_for_ms > 0, "{grant:?}");
                {
                    let mut told = self.told.borrow_mut();
                    told.highest = told.highest.max(grant.token.epoch);
                }
                Ok(Some(self.rely(asked, grant)))
            }
            _ => Ok(None),
        }
    }

    async fn lead(&mut self, mut held: Held) -> Result<()> {
        let token = held.grant.token;
        if !self.claim(token).await? {
            return Ok(());
        }
        let deeds = 1 + self.actor.dice.below(6);
        for deed in 0..deeds {
            if self.actor.stage().is_over() || !self.is_leader(&held).await? {
                break;
            }
            if let Some(twin) = self.actor.twin().await? {
                let twin = Self {
                    actor: twin,
                    told: self.told.clone(),
                    terms: 0,
                };
                // Both copies believe what the one believed.
                let left_ms = held
                    .until_ns
                    .saturating_sub(twin.actor.clock().monotonic_ns())
                    / 1_000_000;
                let grant = Grant {
                    valid_for_ms: u32::try_from(left_ms)?,
                    ..held.grant.clone()
                };
                let copy = twin.rely(self.now(), grant);
                let stage = self.actor.stage().clone();
                stage.spawn(twin.run(Some(copy)));
            }
            if !self.append(token, deed).await? {
                return Ok(());
            }
            self.commit(token, deed).await?;
            // Mostly in time; sometimes so late that the grant is over.
            let pause_ms = match self.actor.dice.below(8) {
                0 => self.actor.dice.below(3 * u64::from(DURATION_MS)),
                _ => self.actor.dice.below(u64::from(DURATION_MS) / 2),
            };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            let asked = self.now();
            match self.make(Renew(held.grant.clone())).await? {
                Some(Ok(RenewOutcome::Renewed(grant))) => {
                    ensure!(grant.token == token, "another token: {grant:?}");
                    held = self.rely(asked, grant);
                }
                Some(Ok(RenewOutcome::Lost(_))) => return Ok(()),
                None | Some(Ok(RenewOutcome::Indeterminate(_))) => {}
                Some(Err(error)) => ensure!(is_expected(&error), "{error:?}"),
            }
        }
        let successor = Successor {
            holder: "nobody".to_owned(),
            within_ms: 3_000,
        };
        match self.actor.dice.below(3) {
            // Goes without a word, and starts anew.
            0 => {
                self.stop();
                self.actor.start_anew().await?;
                self.actor.take_deaths();
                Ok(())
            }
            1 => self.release(held.grant, None).await,
            _ => self.release(held.grant, Some(successor)).await,
        }
    }

    /// Asks the instance whether it still leads. Whatever it says must be within what
    /// it was promised.
    async fn is_leader(&mut self, held: &Held) -> Result<bool> {
        let instance = self.actor.instance();
        let Some(answer) = self.make(RemainingMs(held.grant.token)).await? else {
            return Ok(false);
        };
        let remaining_ms = answer?;
        let promised_ms = held
            .until_ns
            .saturating_sub(self.actor.clock().monotonic_ns())
            / 1_000_000;
        if self.actor.instance() == instance {
            ensure!(
                // Rounded twice, once for a copy.
                u64::from(remaining_ms) <= promised_ms + 2,
                "{remaining_ms} ms left of {promised_ms}"
            );
        }
        Ok(remaining_ms > 0)
    }

    async fn claim(&mut self, token: Token) -> Result<bool> {
        for _ in 0..3 {
            match answered(self.make(Claim { log: LOG, token }).await?)? {
                Some(AppendOutcome::Appended(extent)) => {
                    ensure!(extent.start == extent.end, "{extent:?}");
                    let mut told = self.told.borrow_mut();
                    told.claimed.push((extent.start, token.epoch));
                    return Ok(true);
                }
                Some(AppendOutcome::Fenced(by)) => {
                    ensure!(by.epoch > token.epoch, "fenced by {by:?}");
                    return Ok(false);
                }
                None | Some(AppendOutcome::Indeterminate(_)) => {}
                Some(other) => bail!("{other:?}"),
            }
        }
        Ok(false)
    }

    /// Appends once, and tells whether it still leads.
    async fn append(&mut self, token: Token, deed: u64) -> Result<bool> {
        let what = format!("{}.{deed}", token.epoch);
        let noted = Noted::begin(&mut self.actor, &what);
        let append = Append {
            log: LOG,
            records: noted.attempt.bodies.clone(),
            options: fenced_by(token),
        };
        let answer = self.make(append).await;
        let fenced = match &answer {
            Ok(Some(Ok(AppendOutcome::Fenced(by)))) => Some(by.epoch),
            _ => None,
        };
        let ending = answer.and_then(|answer| noted.told(answer));
        let noted = noted.ended(&self.actor, &ending);
        {
            let mut told = self.told.borrow_mut();
            if let Ending::Acknowledged(start, _) = noted.ending {
                told.appended.push((start, token.epoch));
            }
            told.history.attempts.push(noted);
        }
        ending?;
        ensure!(
            fenced.is_none_or(|epoch| epoch > token.epoch),
            "fenced by {fenced:?}"
        );
        Ok(fenced.is_none())
    }

    /// Commits once. A leader that is fenced finds out at its next append.
    async fn commit(&mut self, token: Token, deed: u64) -> Result<()> {
        let message = format!("{}.{}.{deed}", self.actor.name(), token.epoch);
        let change = Change {
            base: 0,
            depends_on: Dependency::Nothing,
            edits: vec![Edit::Set(Item {
                key: format!("k{}", deed % 3),
                value: message.clone().into_bytes(),
                blobs: Vec::new(),
            })],
            writer: Writer::Fenced(token),
            author: String::new(),
            message: message.clone(),
            id: None,
        };
        {
            let mut told = self.told.borrow_mut();
            let key = (MANIFEST, message.clone());
            told.manifest.changes.insert(key, change.clone());
        }
        let began = self.now();
        let answer = self.make(Commit(MANIFEST, change)).await;
        let ending = answer.and_then(|answer| match answer {
            None | Some(Ok(CommitOutcome::Indeterminate(_))) => Ok(Ending::Unknown),
            Some(Ok(CommitOutcome::Committed(version))) => {
                Ok(Ending::Acknowledged(version - 1, version))
            }
            Some(Ok(CommitOutcome::Fenced(by))) => {
                ensure!(by.epoch > token.epoch, "fenced by {by:?}");
                Ok(Ending::Rejected)
            }
            Some(Err(error)) if is_expected(&error) => Ok(Ending::Rejected),
            Some(other) => bail!("{other:?}"),
        });
        let attempt = Attempt {
            label: message.clone(),
            bodies: vec![message.into_bytes()],
            began,
            ended: Some(self.now()),
            ending: ending.as_ref().map_or(Ending::Unknown, Ending::clone),
        };
        let mut told = self.told.borrow_mut();
        if let Ending::Acknowledged(_, version) = attempt.ending {
            told.committed.push((version, token.epoch));
        }
        told.manifest.history(MANIFEST).attempts.push(attempt);
        ending.map(drop)
    }

    async fn release(&mut self, grant: Grant, successor: Option<Successor>) -> Result<()> {
        // Others may have it before the call returns.
        self.stop();
        answered(self.make(Release(grant, successor)).await?).map(drop)
    }
}

fn fenced_by(token: Token) -> AppendOptions {
    AppendOptions {
        writer: Writer::Fenced(token),
        ..SHARED
    }
}

impl Act for LeaseAct {
    fn name(&self) -> &'static str {
        PART.name
    }

    fn judge<'a>(&'a self, stage: &'a Rc<Stage>) -> Local<'a, ()> {
        Box::pin(async move {
            let token = Token {
                epoch: self.told.borrow().highest + 1_000_000,
            };
            let last = last_appends(stage, LOG, fenced_by(token)).await?;
            self.told.borrow_mut().history.attempts.extend(last);
            let truth = read_back(stage, LOG).await?;
            let told = self.told.borrow();
            let changes = &told.manifest.changes;
            let versions = versions::check(&[MANIFEST], changes, &stage.diary("")?)?;
            let mut violations = told.history.check(&truth.records).violations;
            violations.extend(told.manifest.check(&versions));
            violations.extend(told.check_commits(&versions));
            violations.extend(versions.violations);
            violations.extend(told.check_epochs(&truth.epochs));
            violations.extend(told.reigns.check());
            violations.extend(check_versions(&stage.diary(LEASE_PREFIX)?));
            for violation in violations {
                stage.violated(violation);
            }
            for _ in told.reigns.0.iter().filter(|reign| reign.frozen) {
                stage.passed("a leader's clock stood still".to_owned());
            }
            Ok(())
        })
    }
}

impl Told {
    /// Every acknowledged version is under the token of its writer.
    fn check_commits(&self, truth: &versions::Truth) -> Vec<String> {
        let versions = truth.versions.get(MANIFEST);
        let mut violations = Vec::new();
        for (version, epoch) in &self.committed {
            let at = usize::try_from(version - 1).unwrap_or(usize::MAX);
            let found = versions.and_then(|versions| versions.get(at));
            let found = found.map(|found| found.epoch);
            if found != Some(*epoch) {
                violations.push(format!(
                    "version {version} was acknowledged to {epoch}, and is that of {found:?}"
                ));
            }
        }
        violations
    }

    /// Every acknowledged record is under the token of its writer, and none behind a
    /// claim is under a lower one.
    fn check_epochs(&self, epochs: &[u64]) -> Vec<String> {
        let mut violations = Vec::new();
        for (offset, token) in &self.appended {
            let there = usize::try_from(*offset).ok().and_then(|at| epochs.get(at));
            if there != Some(token) {
                violations.push(format!("record {offset}: {there:?} instead of {token}"));
            }
        }
        for (tail, token) in &self.claimed {
            let behind = epochs
                .iter()
                .skip(usize::try_from(*tail).unwrap_or(usize::MAX));
            if let Some(lower) = behind.into_iter().find(|epoch| *epoch < token) {
                violations.push(format!("{lower} behind the claim of {token} at {tail}"));
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_old_leader_writes_behind_a_claim_is_seen() {
        let told = Told {
            appended: vec![(0, 5)],
            claimed: vec![(1, 7)],
            ..Told::default()
        };
        assert!(told.check_epochs(&[5, 7, 8]).is_empty());
        assert_eq!(told.check_epochs(&[5, 5, 8]).len(), 1);
        assert_eq!(told.check_epochs(&[4, 7]).len(), 1);
        assert_eq!(told.check_epochs(&[]).len(), 1);
    }

    #[test]
    fn a_commit_under_the_token_of_another_is_seen() {
        let told = |version| Told {
            committed: vec![(version, 5)],
            ..Told::default()
        };
        let written = versions::Written {
            epoch: 5,
            message: String::new(),
            took_effect: true,
            touched: Vec::new(),
            content: versions::Items::new(),
        };
        let other = versions::Written {
            epoch: 6,
            ..written.clone()
        };
        let truth = versions::Truth {
            versions: [(MANIFEST, vec![written, other])].into(),
            ..versions::Truth::default()
        };
        assert!(told(1).check_commits(&truth).is_empty());
        assert_eq!(told(2).check_commits(&truth).len(), 1);
        assert_eq!(told(3).check_commits(&truth).len(), 1);
    }
}
