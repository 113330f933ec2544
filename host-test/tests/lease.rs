//! Goal: the lease keeps its promises through the artifact that is shipped, also
//! together with the log.
//!
//! Method: instances of `ifmatch.wasm` under wasmtime, in virtual time against the
//! store in this process, where faults are injected, and the main election against a
//! real SeaweedFS. Every span in which an instance relies on a grant is compared
//! with all others, and every token with all before it; what the log holds is read by
//! a fresh instance and from the raw objects.

use anyhow::{Context, Result, bail, ensure};
use host_test::artifact::Artifact;
use host_test::bindings::bucket::{Found, Read, Span};
use host_test::bindings::collection::Target;
use host_test::bindings::lease::{
    AcquireOutcome, ClockBounds, Error, Grant, ReleaseOutcome, RenewOutcome, Request, State,
    Status, Successor, Token,
};
use host_test::bindings::log::{AppendOptions, AppendOutcome, Writer};
use host_test::bindings::manifest::{Change, CommitOutcome, Dependency, Edit, Item};
use host_test::clock::WorldClock;
use host_test::faults::{Clocks, Fault, Loss, Moment, Pause, Rates, on};
use host_test::history::{Attempt, Ending, History};
use host_test::host::Instance;
use host_test::random::Seeded;
use host_test::readback::{from_objects, slots_prefix, through_component};
use host_test::seaweed::Seaweed;
use host_test::store::{Kind, Quirk};
use host_test::world::{Site, World, simulate};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

const LEASE: &str = "leader";
const LEASE_KEY: &str = "lease/leader/_lease";
const LOG: &str = "l";
const DURATION_MS: u32 = 10_000;
const DAY_MS: i64 = 86_400_000;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn request(holder: &str, duration_ms: u32) -> Request {
    Request {
        holder: holder.to_owned(),
        duration_ms,
        note: format!("{holder} leads"),
        bounds: None,
    }
}

fn granted(outcome: AcquireOutcome) -> Result<Grant> {
    match outcome {
        AcquireOutcome::Acquired(grant) => Ok(grant),
        other => bail!("{other:?}"),
    }
}

fn held(outcome: AcquireOutcome) -> Result<Status> {
    match outcome {
        AcquireOutcome::Held(status) => Ok(status),
        other => bail!("{other:?}"),
    }
}

async fn try_acquire(instance: &mut Instance) -> Result<AcquireOutcome> {
    let request = request(instance.name(), DURATION_MS);
    Ok(instance.lease().acquire(LEASE, &request).await??)
}

async fn acquire(instance: &mut Instance) -> Result<Grant> {
    granted(try_acquire(instance).await?)
}

async fn campaign(instance: &mut Instance, timeout_ms: u32) -> Result<AcquireOutcome> {
    let request = request(instance.name(), DURATION_MS);
    Ok(instance
        .lease()
        .campaign(LEASE, &request, timeout_ms)
        .await??)
}

async fn renew(instance: &mut Instance, grant: &Grant) -> Result<Grant> {
    match instance.lease().renew(grant, grant.duration_ms).await?? {
        RenewOutcome::Renewed(grant) => Ok(grant),
        other => bail!("{other:?}"),
    }
}

/// What the lease says when a renewal is told that it is lost.
async fn lost(instance: &mut Instance, grant: &Grant) -> Result<Status> {
    match instance.lease().renew(grant, grant.duration_ms).await?? {
        RenewOutcome::Lost(Some(status)) => Ok(status),
        other => bail!("{other:?}"),
    }
}

async fn release(
    instance: &mut Instance,
    grant: &Grant,
    successor: Option<&Successor>,
) -> Result<()> {
    match instance.lease().release(grant, successor).await?? {
        ReleaseOutcome::Released => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn remaining_ms(instance: &mut Instance, token: Token) -> Result<u32> {
    Ok(instance.lease().remaining_ms(LEASE, token).await??)
}

async fn observe(instance: &mut Instance) -> Result<Status> {
    let status = instance.lease().observe(LEASE).await??;
    status.context("the lease does not exist")
}

fn fenced_by(token: Token) -> AppendOptions {
    AppendOptions {
        writer: Writer::Fenced(token),
        expected: None,
        producer: None,
    }
}

async fn append(instance: &mut Instance, token: Token, text: &str) -> Result<AppendOutcome> {
    let records = [text.as_bytes().to_vec()];
    let mut log = instance.log();
    Ok(log.append(LOG, &records, &fenced_by(token)).await??)
}

/// Appends one record that must be acknowledged, and returns its offset.
async fn appended(instance: &mut Instance, token: Token, text: &str) -> Result<u64> {
    match append(instance, token, text).await? {
        AppendOutcome::Appended(extent) => Ok(extent.start),
        other => bail!("{text}: {other:?}"),
    }
}

async fn claim(instance: &mut Instance, token: Token) -> Result<u64> {
    match instance.log().claim(LOG, token).await?? {
        AppendOutcome::Appended(extent) => Ok(extent.start),
        other => bail!("{other:?}"),
    }
}

/// The whole log, as a fresh instance reads it and as the raw objects hold it.
async fn contents(site: &Site) -> Result<Vec<Vec<u8>>> {
    let read = through_component(&mut site.instance("judge").await?, LOG).await?;
    let mut port = site
        .instance("auditor")
        .artifact(Artifact::BucketS3)
        .await?;
    let page = port
        .bucket()
        .list_objects(&slots_prefix(LOG)?, None, 1_000)
        .await??;
    ensure!(!page.more, "more segments than one page lists");
    let mut segments = Vec::new();
    for object in page.objects {
        let read = Read {
            key: object.key.clone(),
            span: Span::All,
            unless: None,
        };
        match port.bucket().get(&read).await??.found {
            Found::Object(found) => segments.push((object.key, found.body)),
            other => bail!("{}: {other:?}", object.key),
        }
    }
    let raw = from_objects(LOG, segments)?;
    ensure!(read == raw, "read {read:?}, but the objects hold {raw:?}");
    Ok(read)
}

async fn texts(site: &Site) -> Result<Vec<String>> {
    let records = contents(site).await?.into_iter();
    Ok(records
        .map(|record| String::from_utf8_lossy(&record).into_owned())
        .collect())
}

/// One span of true time in which an instance relied on a grant.
#[derive(Clone, Debug)]
struct Reign {
    token: u64,
    began: Duration,
    /// The end of the last span that it was promised, or when it gave up or died.
    ended: Duration,
}

/// Everybody's spans.
#[derive(Clone, Default)]
struct Chronicle(Arc<Mutex<Vec<Reign>>>);

impl Chronicle {
    fn reigns(&self) -> Vec<Reign> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Reign>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A grant that a call returned now: the instance relies on it for its time.
    fn rely(&self, clock: &WorldClock, grant: &Grant) {
        let now = clock.elapsed();
        let until = now + ms(grant.valid_for_ms.into());
        self.change(|reigns| {
            let token = grant.token.epoch;
            match reigns.iter_mut().find(|reign| reign.token == token) {
                Some(reign) => reign.ended = reign.ended.max(until),
                None => reigns.push(Reign {
                    token,
                    began: now,
                    ended: until,
                }),
            }
        });
    }

    /// The holder stops relying on it now, whatever it was promised.
    fn stop(&self, clock: &WorldClock, token: Token) {
        let now = clock.elapsed();
        self.change(|reigns| {
            if let Some(reign) = reigns.iter_mut().find(|reign| reign.token == token.epoch) {
                reign.ended = reign.ended.min(now);
            }
        });
    }

    /// Spans do not overlap, and a later one has a higher token.
    fn check(&self) -> Result<Vec<Reign>> {
        let mut reigns = self.reigns();
        reigns.sort_by_key(|reign| reign.began);
        for pair in reigns.windows(2) {
            let [before, after] = pair else { continue };
            ensure!(
                before.ended <= after.began,
                "two at once: {before:?} and {after:?}"
            );
            ensure!(before.token < after.token, "{before:?} and {after:?}");
        }
        Ok(reigns)
    }
}

#[test]
fn a_chronicle_notices_two_leaders_and_a_token_that_falls() {
    let reign = |token, began, ended| Reign {
        token,
        began: ms(began),
        ended: ms(ended),
    };
    let check = |reigns: Vec<Reign>| {
        let chronicle = Chronicle::default();
        chronicle.change(|all| *all = reigns);
        chronicle.check().is_ok()
    };
    assert!(check(vec![reign(2, 20, 30), reign(1, 0, 20)]));
    assert!(!check(vec![reign(1, 0, 21), reign(2, 20, 30)]));
    assert!(!check(vec![reign(2, 0, 10), reign(1, 20, 30)]));
    assert!(!check(vec![reign(2, 0, 10), reign(2, 20, 30)]));
}

/// A member of an election: campaigns, leads for a while, and goes in one of the ways
/// in which leaders go.
struct Member {
    site: Site,
    name: String,
    instance: Instance,
    dice: Seeded,
    chronicle: Chronicle,
    history: Arc<Mutex<History>>,
    until: Duration,
}

impl Member {
    async fn new(
        site: &Site,
        number: u64,
        chronicle: &Chronicle,
        history: &Arc<Mutex<History>>,
        until: Duration,
    ) -> Result<Self> {
        let name = format!("m{number}");
        Ok(Self {
            site: site.clone(),
            instance: site.instance(&name).await?,
            dice: Seeded::fork(site.seed(), &name),
            chronicle: chronicle.clone(),
            history: history.clone(),
            until,
            name,
        })
    }

    fn is_over(&self) -> bool {
        self.site.clock().elapsed() > self.until
    }

    async fn run(mut self) -> Result<()> {
        for term in 0.. {
            // A process that starts anew has a name of its own, and waits.
            let request = request(&format!("{}-{term}", self.name), DURATION_MS);
            let grant = loop {
                if self.is_over() {
                    return Ok(());
                }
                let mut lease = self.instance.lease();
                match lease.campaign(LEASE, &request, 20_000).await? {
                    Ok(AcquireOutcome::Acquired(grant)) => break grant,
                    Ok(_) => {}
                    Err(error) => ensure!(passes(&error), "{error:?}"),
                }
            };
            self.chronicle.rely(self.site.clock(), &grant);
            let token = grant.token;
            self.lead(grant).await.context(self.name.clone())?;
            self.chronicle.stop(self.site.clock(), token);
        }
        Ok(())
    }

    async fn lead(&mut self, mut grant: Grant) -> Result<()> {
        let deeds = 1 + self.dice.below(6);
        for deed in 0..deeds {
            if !self.append(&grant, deed).await? {
                return Ok(());
            }
            sleep(ms(u64::from(DURATION_MS) / 3)).await;
            let mut lease = self.instance.lease();
            match lease.renew(&grant, grant.duration_ms).await? {
                Ok(RenewOutcome::Renewed(next)) => {
                    ensure!(next.token == grant.token, "another token: {next:?}");
                    self.chronicle.rely(self.site.clock(), &next);
                    grant = next;
                }
                Ok(RenewOutcome::Lost(_)) => return Ok(()),
                Ok(RenewOutcome::Indeterminate(_)) => {}
                Err(error) => ensure!(passes(&error), "{error:?}"),
            }
        }
        match self.dice.below(3) {
            // Dies.
            0 => self.instance = self.site.instance(&self.name).await?,
            // Resigns.
            1 => self.resign(&grant, None).await?,
            // Names somebody who may never come.
            _ => {
                let successor = Successor {
                    holder: "nobody".to_owned(),
                    within_ms: 3_000,
                };
                self.resign(&grant, Some(&successor)).await?;
            }
        }
        Ok(())
    }

    async fn resign(&mut self, grant: &Grant, successor: Option<&Successor>) -> Result<()> {
        // Others may have it before the call returns.
        self.chronicle.stop(self.site.clock(), grant.token);
        match self.instance.lease().release(grant, successor).await? {
            Ok(_) => Ok(()),
            Err(error) if passes(&error) => Ok(()),
            Err(error) => bail!("{error:?}"),
        }
    }

    /// Appends once, and tells whether it still leads.
    async fn append(&mut self, grant: &Grant, deed: u64) -> Result<bool> {
        if remaining_ms(&mut self.instance, grant.token).await? == 0 {
            return Ok(false);
        }
        let text = format!("{} {deed}", grant.holder);
        let mut attempt = Attempt {
            label: text.clone(),
            bodies: vec![text.clone().into_bytes()],
            began: self.site.clock().elapsed(),
            ended: None,
            ending: Ending::Unknown,
        };
        let records = [text.into_bytes()];
        let mut log = self.instance.log();
        let outcome = log.append(LOG, &records, &fenced_by(grant.token)).await?;
        attempt.ended = Some(self.site.clock().elapsed());
        attempt.ending = match &outcome {
            Ok(AppendOutcome::Appended(extent)) => Ending::Acknowledged(extent.start, extent.end),
            Ok(AppendOutcome::Fenced(by)) => {
                ensure!(by.epoch > grant.token.epoch, "fenced by {by:?}");
                Ending::Rejected
            }
            Ok(AppendOutcome::Indeterminate(_)) => Ending::Unknown,
            Ok(other) => bail!("{other:?}"),
            Err(error) => {
                ensure!(passes(error), "{error:?}");
                Ending::Rejected
            }
        };
        let fenced = matches!(outcome, Ok(AppendOutcome::Fenced(_)));
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.attempts.push(attempt);
        Ok(!fenced)
    }
}

/// Errors that such a day may cause.
fn passes(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Throttled(_))
}

/// One election from start to end; returns the number of terms.
async fn elect(world: &World, members: u64, time: Duration) -> Result<usize> {
    let (chronicle, history) = (Chronicle::default(), Arc::default());
    let mut running = JoinSet::new();
    for number in 0..members {
        let site = world.site();
        let member = Member::new(site, number, &chronicle, &history, time).await?;
        running.spawn(member.run());
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    world.faults().calm();
    world.settle().await;
    let reigns = chronicle.check()?;
    let log = contents(world.site()).await?;
    let history = std::mem::take(&mut *history.lock().unwrap_or_else(PoisonError::into_inner));
    let verdict = history.check(&log).into_result()?;
    ensure!(verdict.acknowledged > reigns.len() / 2, "{verdict}");
    Ok(reigns.len())
}

/// Five members lead in turn for ten minutes, resign, hand over to nobody and die.
#[test]
fn an_election_has_one_leader_at_a_time() -> Result<()> {
    for seed in 1..=4 {
        simulate(seed, async |world| {
            world.faults().latency(ms(20));
            let terms = elect(world, 5, Duration::from_secs(600)).await?;
            ensure!(terms >= 15, "only {terms} terms");
            Ok(())
        })?;
    }
    Ok(())
}

/// The same on a day on which requests and replies get lost, arrive twice or late.
#[test]
fn an_election_on_a_bad_day_has_one_leader_at_a_time() -> Result<()> {
    for seed in 11..=18 {
        simulate(seed, async |world| {
            let rates = Rates {
                // A host that stands still for hours belongs to other tests here.
                pause: 0.0,
                ..Rates::bad_day()
            };
            world.faults().latency(ms(20)).rates(rates);
            let terms = elect(world, 5, Duration::from_secs(900)).await?;
            ensure!(terms >= 10, "only {terms} terms");
            Ok(())
        })?;
    }
    Ok(())
}

/// A leader that is killed at any moment of an append is followed by one that finds
/// everything that was acknowledged, not before its time is over, and soon after.
#[test]
fn a_killed_leader_is_followed() -> Result<()> {
    for after_ms in (0..40).step_by(5) {
        simulate(21, async |world| {
            world.faults().latency(ms(20));
            let (mut leader, mut next) = (world.instance("a").await?, world.instance("b").await?);
            let grant = acquire(&mut leader).await?;
            let relied_until = world.clock().elapsed() + ms(grant.valid_for_ms.into());
            claim(&mut leader, grant.token).await?;
            appended(&mut leader, grant.token, "acknowledged").await?;
            {
                let mut leader = leader;
                let dying = append(&mut leader, grant.token, "unknown");
                let _ = tokio::time::timeout(ms(after_ms), dying).await;
            }
            let killed_at = world.clock().elapsed();
            let waiting = granted(campaign(&mut next, 60_000).await?)?;
            let at = world.clock().elapsed();
            ensure!(at >= relied_until, "{at:?}, but {relied_until:?}");
            ensure!(at - killed_at <= ms(12_000), "{:?}", at - killed_at);
            let tail = claim(&mut next, waiting.token).await?;
            let offset = appended(&mut next, waiting.token, "next").await?;
            ensure!(offset == tail, "claimed {tail}, appended at {offset}");
            world.settle().await;
            let log = texts(world.site()).await?;
            let expected = match log.len() {
                2 => vec!["acknowledged", "next"],
                _ => vec!["acknowledged", "unknown", "next"],
            };
            ensure!(log == expected, "{log:?}");
            Ok(())
        })
        .with_context(|| format!("killed after {after_ms} ms"))?;
    }
    Ok(())
}

/// `ifmatch-log.wasm` is cut out of the whole: what it exports must work with it.
#[test]
fn the_log_alone_and_the_whole_share_a_lease_and_a_log() -> Result<()> {
    simulate(37, async |world| {
        world.faults().latency(ms(20));
        let mut part = world
            .instance("part")
            .artifact(Artifact::IfmatchLog)
            .await?;
        let mut whole = world.instance("whole").await?;
        let grant = acquire(&mut part).await?;
        held(try_acquire(&mut whole).await?)?;
        claim(&mut part, grant.token).await?;
        appended(&mut part, grant.token, "one").await?;
        release(&mut part, &grant, None).await?;
        let next = acquire(&mut whole).await?;
        appended(&mut whole, next.token, "two").await?;
        let refused = append(&mut part, grant.token, "late").await?;
        ensure!(matches!(refused, AppendOutcome::Fenced(_)), "{refused:?}");
        let log = contents(world.site()).await?;
        ensure!(log == [b"one", b"two"], "{log:?}");
        let error = part
            .collection()
            .plan(&Target::Decisions)
            .await
            .unwrap_err();
        ensure!(error.to_string().contains("does not export"), "{error:?}");
        Ok(())
    })
}

#[test]
fn a_lease_that_is_released_is_free_at_once() -> Result<()> {
    simulate(31, async |world| {
        world.faults().latency(ms(20));
        let (mut a, mut b) = (world.instance("a").await?, world.instance("b").await?);
        let grant = acquire(&mut a).await?;
        let status = held(try_acquire(&mut b).await?)?;
        ensure!(
            status.holder == "a" && status.state == State::Held,
            "{status:?}"
        );
        ensure!(status.note == "a leads", "{status:?}");
        ensure!(
            status.free_in_ms >= 9_000 && status.free_in_ms <= 10_000,
            "{status:?}"
        );
        release(&mut a, &grant, None).await?;
        ensure!(remaining_ms(&mut a, grant.token).await? == 0);
        let next = acquire(&mut b).await?;
        ensure!(next.token.epoch > grant.token.epoch, "{next:?}");
        // Scenario 35: a release that comes late changes nothing.
        match a.lease().release(&grant, None).await?? {
            ReleaseOutcome::Lost(Some(status)) => ensure!(status.token == next.token, "{status:?}"),
            other => bail!("{other:?}"),
        }
        ensure!(observe(&mut a).await?.state == State::Held);
        ensure!(remaining_ms(&mut b, next.token).await? > 6_000);
        ensure!(
            remaining_ms(&mut a, next.token).await? == 0,
            "of another instance"
        );
        Ok(())
    })
}

/// Scenario 37, too.
#[test]
fn a_lease_is_handed_over() -> Result<()> {
    simulate(32, async |world| {
        world.faults().latency(ms(20));
        let (mut a, mut b) = (world.instance("a").await?, world.instance("b").await?);
        let mut c = world.instance("c").await?;
        let to = |holder: &str| Successor {
            holder: holder.to_owned(),
            within_ms: 4_000,
        };
        let first = acquire(&mut a).await?;
        release(&mut a, &first, Some(&to("b"))).await?;
        let status = held(try_acquire(&mut c).await?)?;
        ensure!(
            status.state == State::Handover("b".to_owned()),
            "{status:?}"
        );
        let second = acquire(&mut b).await?;
        ensure!(second.token.epoch > first.token.epoch, "{second:?}");
        // To somebody who is dead.
        release(&mut b, &second, Some(&to("x"))).await?;
        let began = world.clock().elapsed();
        let third = granted(campaign(&mut c, 60_000).await?)?;
        let waited = world.clock().elapsed() - began;
        ensure!(third.token.epoch > second.token.epoch, "{third:?}");
        ensure!(waited >= ms(3_000) && waited <= ms(6_000), "{waited:?}");
        Ok(())
    })
}

/// Scenarios 30 and 31: the write is applied, and its reply is lost.
#[test]
fn a_lost_reply_of_an_acquisition() -> Result<()> {
    for loss in [Loss::Reset, Loss::Silence] {
        for (duration_ms, time_is_left) in [(DURATION_MS, true), (3_500, loss == Loss::Reset)] {
            simulate(41, async |world| {
                world.faults().latency(ms(20));
                let patience = world
                    .instance("a")
                    .with("IFMATCH_REQUEST_TIMEOUT_MS", "2000");
                let (mut a, mut b) = (patience.await?, world.instance("b").await?);
                let before = acquire(&mut b).await?;
                release(&mut b, &before, None).await?;
                // So that the token of before is not ahead of the store's time.
                world.pass(ms(3_000)).await;
                let next = on(Kind::Put).under(LEASE_KEY);
                world.faults().script(next.then(Fault::LoseReply(loss)));
                let began = world.clock().elapsed();
                let request = request("a", duration_ms);
                let outcome = a.lease().acquire(LEASE, &request).await??;
                let took_ms = (world.clock().elapsed() - began).as_millis();
                ensure!(world.faults().count("lose-reply") == 1, "it did not happen");
                if time_is_left {
                    let grant = granted(outcome)?;
                    // Counted from the first send, which was one read after `began`.
                    let most = u128::from(duration_ms - 2_000) * 9 / 11 - 100 + 20 - took_ms;
                    let valid = u128::from(grant.valid_for_ms);
                    ensure!(valid <= most && valid + 50 > most, "{valid} of {most}");
                    ensure!(observe(&mut b).await?.token == grant.token);
                } else {
                    let status = held(outcome)?;
                    ensure!(status.holder == "a", "{status:?}");
                    ensure!(remaining_ms(&mut a, status.token).await? == 0);
                }
                ensure!(
                    world
                        .store()
                        .totals()
                        .statuses
                        .get(&412)
                        .is_none_or(|count| *count <= 1)
                );
                Ok(())
            })
            .with_context(|| format!("{loss:?}, {duration_ms} ms"))?;
        }
    }
    Ok(())
}

/// Scenarios 32 and 33.
#[test]
fn a_lost_reply_of_a_renewal() -> Result<()> {
    for loss in [Loss::Reset, Loss::Silence] {
        simulate(42, async |world| {
            world.faults().latency(ms(20));
            let patience = world
                .instance("a")
                .with("IFMATCH_REQUEST_TIMEOUT_MS", "2000");
            let (mut a, mut b) = (patience.await?, world.instance("b").await?);
            let grant = acquire(&mut a).await?;
            world.pass(ms(3_000)).await;
            world
                .faults()
                .script(on(Kind::Put).by("a").then(Fault::LoseReply(loss)));
            let renewed = renew(&mut a, &grant).await?;
            ensure!(renewed.token == grant.token, "{renewed:?}");
            ensure!(renewed.renewals == 1, "renewed twice: {renewed:?}");
            let status = observe(&mut b).await?;
            ensure!(status.renewals == 1 && status.holder == "a", "{status:?}");
            ensure!(renew(&mut a, &renewed).await?.renewals == 2);
            ensure!(world.faults().count("lose-reply") == 1, "it did not happen");
            Ok(())
        })
        .with_context(|| format!("{loss:?}"))?;
    }
    // A renewal that arrives when another has taken over and released.
    simulate(43, async |world| {
        world.faults().latency(ms(20));
        let (mut a, mut b) = (world.instance("a").await?, world.instance("b").await?);
        let grant = acquire(&mut a).await?;
        world
            .faults()
            .script(on(Kind::Put).by("a").then(Fault::Late(ms(40_000))));
        let renewing = async {
            let renewed = a.lease().renew(&grant, DURATION_MS).await?;
            anyhow::Ok(renewed)
        };
        let taking = async {
            let next = granted(campaign(&mut b, 25_000).await?)?;
            release(&mut b, &next, None).await?;
            anyhow::Ok(next)
        };
        let (renewed, next) = tokio::join!(renewing, taking);
        let next = next?;
        match renewed?? {
            RenewOutcome::Lost(Some(status)) => ensure!(status.token == next.token, "{status:?}"),
            other => bail!("{other:?}"),
        }
        world.settle().await;
        let status = observe(&mut b).await?;
        ensure!(
            status.token == next.token && status.state == State::Released,
            "{status:?}"
        );
        Ok(())
    })
}

/// Scenario 29: nothing is different if wall clocks jump a day, at any moment, but that
/// a signature with the wrong time costs the port a request before it knows better.
#[test]
fn wall_clocks_may_jump() -> Result<()> {
    let run = |jumps_ms: [i64; 2]| -> Result<(String, [u64; 4])> {
        let mut told = (String::new(), [0; 4]);
        simulate(51, async |world| {
            world.faults().latency(ms(20));
            let (mut a, mut b) = (world.instance("a").await?, world.instance("b").await?);
            let jump = |a: &Instance, b: &Instance| {
                a.clock().jump_wall_ms(jumps_ms[0]);
                b.clock().jump_wall_ms(jumps_ms[1]);
            };
            jump(&a, &b);
            let mut grant = acquire(&mut a).await?;
            jump(&a, &b);
            let refused = try_acquire(&mut b).await?;
            world.pass(ms(3_000)).await;
            jump(&a, &b);
            grant = renew(&mut a, &grant).await?;
            jump(&a, &b);
            let left_ms = remaining_ms(&mut a, grant.token).await?;
            let next = granted(campaign(&mut b, 60_000).await?)?;
            let at_ms = world.clock().now_ms().0;
            jump(&a, &b);
            let status = lost(&mut a, &grant).await?;
            ensure!(
                status.holder == "b" && status.token == next.token,
                "{status:?}"
            );
            let Grant {
                token, renewals, ..
            } = grant;
            let refused = held(refused)?;
            told = (
                format!(
                    "{token:?} {renewals} {} {:?}",
                    refused.holder, refused.state
                ),
                [
                    grant.valid_for_ms.into(),
                    left_ms.into(),
                    next.valid_for_ms.into(),
                    at_ms,
                ],
            );
            Ok(())
        })?;
        Ok(told)
    };
    let still = run([0, 0])?;
    ensure!(still == run([0, 0])?, "a run does not repeat");
    for jumps_ms in [[DAY_MS, -DAY_MS], [-DAY_MS, DAY_MS]] {
        let jumped = run(jumps_ms)?;
        // The last is when a candidate followed, which spreads over a second.
        let mut times = (jumped.1.iter().zip(&still.1)).zip([100, 100, 100, 1_500]);
        let alike =
            jumped.0 == still.0 && times.all(|((one, other), by)| one.abs_diff(*other) <= by);
        ensure!(alike, "{jumped:?} instead of {still:?}");
    }
    Ok(())
}

/// Scenario 28: the holder's clock runs a tenth too slow and the candidate's a tenth
/// too fast, on a store that tells times and on one that does not.
#[test]
fn clocks_may_run_wrong() -> Result<()> {
    for tells_time in [true, false] {
        for seed in 1..=8 {
            simulate(seed, async |world| {
                world.faults().latency(ms(20));
                if !tells_time {
                    let quirks = |store: &mut host_test::store::Store| {
                        store.options_mut().quirks.insert(Quirk::TellsNoTime)
                    };
                    world.store().tamper(quirks)?;
                }
                world.pass(ms(seed * 137)).await;
                let (mut a, mut b) = (world.instance("a").await?, world.instance("b").await?);
                a.clock().run_fast_ppm(-100_000);
                b.clock().run_fast_ppm(100_000);
                let grant = acquire(&mut a).await?;
                let clock = *world.clock();
                let granted_at = clock.elapsed();
                let relying = async {
                    let mut relied_until = clock.elapsed();
                    while remaining_ms(&mut a, grant.token).await? > 0 {
                        relied_until = clock.elapsed();
                        sleep(ms(10)).await;
                    }
                    anyhow::Ok(relied_until)
                };
                let taking = async {
                    let next = granted(campaign(&mut b, 60_000).await?)?;
                    anyhow::Ok((clock.elapsed(), next))
                };
                let (relied_until, taken) = tokio::join!(relying, taking);
                let (relied_until, (taken_at, next)) = (relied_until?, taken?);
                // It is used to the full: 6.4 s of a slow clock.
                ensure!(
                    relied_until - granted_at > ms(7_000),
                    "relied on until {relied_until:?} only"
                );
                ensure!(
                    taken_at > relied_until,
                    "{taken_at:?}, but {relied_until:?}"
                );
                ensure!(taken_at - granted_at < ms(13_000), "{taken_at:?}");
                ensure!(next.token.epoch > grant.token.epoch, "{next:?}");
                Ok(())
            })
            .with_context(|| format!("seed {seed}, the store tells times: {tells_time}"))?;
        }
    }
    Ok(())
}

/// Scenario 36: a store that takes one write per second and key, and 20 candidates.
/// The holder's renewals get through, and when it dies there is one winner, soon.
#[test]
fn twenty_candidates_where_one_write_per_second_is_taken() -> Result<()> {
    for seed in 61..=64 {
        simulate(seed, async |world| {
            let second = Some(Duration::from_secs(1));
            world.faults().latency(ms(20)).one_write_per_key_in(second);
            let mut leader = world.instance("leader").await?;
            let mut grant = acquire(&mut leader).await?;
            let mut candidates = JoinSet::new();
            for number in 0..20 {
                let mut candidate = world.instance(&format!("c{number}")).await?;
                let clock = *world.clock();
                candidates.spawn(async move {
                    // Long enough for the reign of the leader and the next holder's.
                    let outcome = campaign(&mut candidate, 60_000).await;
                    outcome.map(|outcome| (clock.elapsed(), outcome))
                });
            }
            for _ in 0..9 {
                world.pass(ms(3_333)).await;
                let before = world.store().totals();
                grant = renew(&mut leader, &grant).await?;
                let refused = world.store().totals().since(&before).statuses;
                ensure!(
                    !refused.contains_key(&429),
                    "a renewal was refused: {refused:?}"
                );
            }
            ensure!(grant.renewals == 9, "{grant:?}");
            let writes = world.store().totals().of(Kind::Put);
            ensure!(
                writes == 11,
                "{writes} writes, of which 11 are the leader's"
            );
            drop(leader);
            let died_at = world.clock().elapsed();
            let mut winners = Vec::new();
            while let Some(ended) = candidates.join_next().await {
                match ended?? {
                    (at, AcquireOutcome::Acquired(next)) => winners.push((at, next)),
                    (_, AcquireOutcome::Held(status)) => {
                        ensure!(status.token.epoch > grant.token.epoch, "{status:?}");
                    }
                    (at, AcquireOutcome::Indeterminate(why)) => bail!("at {at:?}: {why}"),
                }
            }
            // The winner does not renew, so that a second one may follow.
            let (first, rest) = winners.split_first().context("no winner")?;
            ensure!(first.0 - died_at < ms(12_000), "{:?}", first.0 - died_at);
            ensure!(first.1.token.epoch > grant.token.epoch, "{first:?}");
            let mut before = first;
            for next in rest {
                let relied_until = before.0 + ms(before.1.valid_for_ms.into());
                ensure!(next.0 > relied_until, "{before:?} and {next:?}");
                ensure!(
                    next.1.token.epoch > before.1.token.epoch,
                    "{before:?} and {next:?}"
                );
                before = next;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What the successor of a leader does that nobody hears from.
async fn succeed(next: &mut Instance) -> Result<Grant> {
    let grant = granted(campaign(next, 60_000).await?)?;
    claim(next, grant.token).await?;
    appended(next, grant.token, "successor").await?;
    Ok(grant)
}

/// Scenario 26: the leader stands still past the end of its lease. When it goes on, it
/// writes, whether its clock stood still with it or not.
#[test]
fn a_leader_that_slept_is_refused() -> Result<()> {
    for clocks in [Clocks::Run, Clocks::Stop] {
        simulate(71, async |world| {
            world.faults().latency(ms(20));
            let (mut old, mut new) = (world.instance("old").await?, world.instance("new").await?);
            let grant = acquire(&mut old).await?;
            claim(&mut old, grant.token).await?;
            appended(&mut old, grant.token, "acknowledged").await?;
            let closed = old.gate().close();
            if clocks == Clocks::Stop {
                old.clock().stop();
            }
            let next = succeed(&mut new).await?;
            old.clock().resume();
            drop(closed);
            // A clock that stood still has noticed nothing: only the store can tell.
            let left_ms = remaining_ms(&mut old, grant.token).await?;
            ensure!((left_ms > 6_000) == (clocks == Clocks::Stop), "{left_ms}");
            for _ in 0..3 {
                let late = append(&mut old, grant.token, "zombie").await?;
                ensure!(late == AppendOutcome::Fenced(next.token), "{late:?}");
            }
            let late = old.log().claim(LOG, grant.token).await??;
            ensure!(late == AppendOutcome::Fenced(next.token), "{late:?}");
            ensure!(lost(&mut old, &grant).await?.token == next.token);
            ensure!(remaining_ms(&mut old, grant.token).await? == 0);
            appended(&mut new, next.token, "more").await?;
            let log = texts(world.site()).await?;
            ensure!(log == ["acknowledged", "successor", "more"], "{log:?}");
            Ok(())
        })
        .with_context(|| format!("{clocks:?}"))?;
    }
    Ok(())
}

/// A change of one key, which meets no other here.
async fn set(instance: &mut Instance, token: Token, key: &str) -> Result<CommitOutcome> {
    let change = Change {
        base: 0,
        depends_on: Dependency::Edits,
        edits: vec![Edit::Set(Item {
            key: key.to_owned(),
            value: instance.name().as_bytes().to_vec(),
            blobs: Vec::new(),
        })],
        writer: Writer::Fenced(token),
        author: instance.name().to_owned(),
        message: String::new(),
        id: None,
    };
    Ok(instance.manifest().commit("m", &change).await??)
}

/// Scenario 26: the token of one lease orders the writes to a log and to a manifest.
#[test]
fn one_token_fences_a_log_and_a_manifest() -> Result<()> {
    for clocks in [Clocks::Run, Clocks::Stop] {
        simulate(75, async |world| {
            world.faults().latency(ms(20));
            let (mut old, mut new) = (world.instance("old").await?, world.instance("new").await?);
            let grant = acquire(&mut old).await?;
            appended(&mut old, grant.token, "acknowledged").await?;
            let first = set(&mut old, grant.token, "acknowledged").await?;
            ensure!(first == CommitOutcome::Committed(1), "{first:?}");
            let closed = old.gate().close();
            if clocks == Clocks::Stop {
                old.clock().stop();
            }
            let next = succeed(&mut new).await?;
            let second = set(&mut new, next.token, "successor").await?;
            ensure!(second == CommitOutcome::Committed(2), "{second:?}");
            old.clock().resume();
            drop(closed);
            for _ in 0..3 {
                let late = append(&mut old, grant.token, "zombie").await?;
                ensure!(late == AppendOutcome::Fenced(next.token), "{late:?}");
                let late = set(&mut old, grant.token, "zombie").await?;
                ensure!(late == CommitOutcome::Fenced(next.token), "{late:?}");
            }
            let log = texts(world.site()).await?;
            ensure!(log == ["acknowledged", "successor"], "{log:?}");
            let mut judge = world.instance("judge").await?;
            let latest = judge.manifest().latest("m").await??;
            let items = latest.context("no manifest")?.items;
            let keys: Vec<_> = items.iter().map(|item| item.key.as_str()).collect();
            ensure!(keys == ["acknowledged", "successor"], "{keys:?}");
            Ok(())
        })
        .with_context(|| format!("{clocks:?}"))?;
    }
    Ok(())
}

/// Scenario 27: the pause lies between the leader's look at its clock and the moment
/// that the bytes of its append leave.
#[test]
fn a_leader_that_is_stopped_before_its_bytes_leave_is_refused() -> Result<()> {
    for clocks in [Clocks::Run, Clocks::Stop] {
        simulate(72, async |world| {
            world.faults().latency(ms(20));
            let (mut old, mut new) = (world.instance("old").await?, world.instance("new").await?);
            let grant = acquire(&mut old).await?;
            claim(&mut old, grant.token).await?;
            appended(&mut old, grant.token, "acknowledged").await?;
            let pause = Pause {
                moment: Moment::BeforeSending,
                length: ms(60_000),
                clocks,
            };
            let first = on(Kind::Put).by("old").under("log/");
            world.faults().script(first.then(Fault::Pause(pause)));
            ensure!(remaining_ms(&mut old, grant.token).await? > 6_000);
            let (late, next) =
                tokio::join!(append(&mut old, grant.token, "zombie"), succeed(&mut new));
            let (late, next) = (late?, next?);
            ensure!(world.faults().count("pause") == 1, "it did not happen");
            ensure!(
                world.clock().elapsed() >= ms(60_000),
                "it did not stand still"
            );
            ensure!(late == AppendOutcome::Fenced(next.token), "{late:?}");
            let late = append(&mut old, grant.token, "zombie again").await?;
            ensure!(late == AppendOutcome::Fenced(next.token), "{late:?}");
            world.settle().await;
            let log = texts(world.site()).await?;
            ensure!(log == ["acknowledged", "successor"], "{log:?}");
            Ok(())
        })
        .with_context(|| format!("{clocks:?}"))?;
    }
    Ok(())
}

/// Scenarios 26 and 27 at every moment of an append: what was applied before the pause
/// is acknowledged and in the log; what was not is refused and never in the log.
#[test]
fn a_leader_that_is_stopped_anywhere_is_told_the_truth() -> Result<()> {
    let (mut acknowledged, mut refused) = (0, 0);
    for after_ms in 0..=62 {
        simulate(73, async |world| {
            world.faults().latency(ms(20));
            let (mut old, mut new) = (world.instance("old").await?, world.instance("new").await?);
            let grant = acquire(&mut old).await?;
            // The append that is stopped is the first after a claim of somebody else,
            // so that it takes several requests.
            claim(
                &mut new,
                Token {
                    epoch: grant.token.epoch,
                },
            )
            .await?;
            ensure!(remaining_ms(&mut old, grant.token).await? > 6_000);
            let gate = old.gate().clone();
            let around = async {
                sleep(ms(after_ms)).await;
                let _closed = gate.close();
                succeed(&mut new).await
            };
            let (late, next) = tokio::join!(append(&mut old, grant.token, "old"), around);
            let (late, next) = (late?, next?);
            world.settle().await;
            let log = texts(world.site()).await?;
            match late {
                AppendOutcome::Appended(extent) => {
                    acknowledged += 1;
                    ensure!((extent.start, extent.end) == (0, 1), "{extent:?}");
                    ensure!(log == ["old", "successor"], "{log:?}");
                }
                AppendOutcome::Fenced(by) => {
                    refused += 1;
                    ensure!(by == next.token && log == ["successor"], "{by:?} {log:?}");
                }
                other => bail!("{other:?}"),
            }
            Ok(())
        })
        .with_context(|| format!("stopped after {after_ms} ms"))?;
    }
    ensure!(
        acknowledged > 5 && refused > 5,
        "{acknowledged} and {refused}"
    );
    Ok(())
}

/// The bytes have left, and the network keeps them until a successor leads.
#[test]
fn an_append_that_arrives_late_is_refused() -> Result<()> {
    simulate(74, async |world| {
        world.faults().latency(ms(20));
        let (mut old, mut new) = (world.instance("old").await?, world.instance("new").await?);
        let grant = acquire(&mut old).await?;
        appended(&mut old, grant.token, "acknowledged").await?;
        let first = on(Kind::Put).by("old").under("log/");
        world.faults().script(first.then(Fault::Late(ms(25_000))));
        let (late, next) = tokio::join!(append(&mut old, grant.token, "zombie"), succeed(&mut new));
        let (late, next) = (late?, next?);
        ensure!(late == AppendOutcome::Fenced(next.token), "{late:?}");
        world.settle().await;
        let refused = world.store().totals().statuses;
        ensure!(
            refused.contains_key(&412),
            "the late copy did not arrive: {refused:?}"
        );
        ensure!(texts(world.site()).await? == ["acknowledged", "successor"]);
        Ok(())
    })
}

/// The main election on a real server, in real time: a leader is frozen and another
/// follows; the first wakes up and is refused; the second hands over.
#[test]
fn on_seaweedfs() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seaweed = Seaweed::shared()?;
    let election = async {
        let site = Site::on_this_machine(&seaweed.endpoint(), 81)
            // On one hot key its losers wait about a second for each waiter before them.
            .with("IFMATCH_REQUEST_TIMEOUT_MS", "60000")
            .with("IFMATCH_PREFIX", "lease-suite");
        let request = |holder: &str| Request {
            bounds: Some(ClockBounds {
                rate_ppm: 1_000,
                margin_ms: 1_000,
            }),
            ..request(holder, 3_000)
        };
        let mut old = site.instance("old").await?;
        let grant = granted(old.lease().acquire(LEASE, &request("old")).await??)?;
        let relied_until = site.clock().elapsed() + ms(grant.valid_for_ms.into());
        claim(&mut old, grant.token).await?;
        appended(&mut old, grant.token, "acknowledged").await?;
        old.clock().stop();
        let mut candidates = JoinSet::new();
        for name in ["b", "c"] {
            let (mut candidate, clock) = (site.instance(name).await?, *site.clock());
            candidates.spawn(async move {
                let request = request(name);
                let outcome = candidate.lease().campaign(LEASE, &request, 6_000).await??;
                anyhow::Ok((candidate, outcome, clock.elapsed()))
            });
        }
        let first = candidates.join_next().await.context("nobody")?;
        candidates.abort_all();
        let (mut new, outcome, at) = first??;
        let next = granted(outcome)?;
        ensure!(at > relied_until, "{at:?}, but {relied_until:?}");
        let next = renew(&mut new, &next).await?;
        claim(&mut new, next.token).await?;
        appended(&mut new, next.token, "successor").await?;
        old.clock().resume();
        ensure!(remaining_ms(&mut old, grant.token).await? > 0);
        let late = append(&mut old, grant.token, "zombie").await?;
        ensure!(late == AppendOutcome::Fenced(next.token), "{late:?}");
        ensure!(lost(&mut old, &grant).await?.token == next.token);
        let successor = Successor {
            holder: "old".to_owned(),
            within_ms: 3_000,
        };
        release(&mut new, &next, Some(&successor)).await?;
        let again = granted(old.lease().acquire(LEASE, &request("old")).await??)?;
        ensure!(again.token.epoch > next.token.epoch, "{again:?}");
        appended(&mut old, again.token, "again").await?;
        let log = texts(&site).await?;
        ensure!(log == ["acknowledged", "successor", "again"], "{log:?}");
        anyhow::Ok(())
    };
    runtime.block_on(election).context("on SeaweedFS")
}
