//! A log of shared writers: appends of all kinds, reads, waits, searches, trims and
//! pins, and what must be true of their answers.

pub mod calls;

use super::actor::{Actor, Call, is_expected};
use super::chain::{self, Truth};
use super::pins::Pins;
use super::stage::{Act, Local, Part, Stage};
use crate::bindings::collection::{Keep, MergeOptions, Reason};
use crate::bindings::log::{
    AppendOptions, AppendOutcome, CreateOutcome, Cursor, Error, Producer, ReadLimit, ReadOutcome,
    Settings,
};
use crate::bindings::retention::PinOutcome;
use crate::history::{Attempt, Ending, History, Seen, TailSeen};
use crate::host::Instance;
use anyhow::{Result, bail, ensure};
use calls::{
    Append, Create, ListPins, Locate, Merge, Pin, PlanTrim, Read, SHARED, Tail, Trim, Unpin, Wait,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The family.
pub const PART: Part = Part {
    name: "log",
    begin: |stage| Box::pin(begin(stage)),
};

const LOG: &str = "shared";
/// How often a producer sends one batch before it gives up.
const REPEATS_MAX: u32 = 60;
/// For so long nobody appends before the cost of an append is measured.
const SILENCE: Duration = Duration::from_secs(60);
/// What everybody was told.
#[derive(Default)]
struct Told {
    history: History,
    pins: Pins,
}

struct LogAct {
    told: Rc<RefCell<Told>>,
}

async fn begin(stage: Rc<Stage>) -> Result<Box<dyn Act>> {
    let told = Rc::new(RefCell::new(Told::default()));
    for (number, manner) in Manner::ALL.into_iter().enumerate() {
        let name = format!("writer-{number}");
        let writer = Member {
            actor: Actor::start(&stage, &name).await?,
            told: told.clone(),
        };
        stage.spawn(writer.write(manner, 0));
    }
    let reader = Member {
        actor: Actor::start(&stage, "reader").await?,
        told: told.clone(),
    };
    stage.spawn(reader.read());
    let collector = Member {
        actor: Actor::start(&stage, "collector").await?,
        told: told.clone(),
    };
    stage.spawn(collector.collect());
    let merger = Actor::start(&stage, "merger").await?;
    stage.spawn(merge_always(merger, LOG));
    Ok(Box::new(LogAct { told }))
}

/// How a writer goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Numbers its batches, and repeats each until it is acknowledged.
    Producer,
    /// Sends each once, and believes what it is told.
    Once,
    /// The same, but only behind a tail that it has asked for.
    Expecting,
}

impl Manner {
    const ALL: [Self; 4] = [Self::Producer, Self::Once, Self::Producer, Self::Expecting];
}

/// One actor of this family.
struct Member {
    actor: Actor,
    told: Rc<RefCell<Told>>,
}

/// Notes one attempt to append, and what came of it.
pub struct Noted {
    /// What is being appended.
    pub attempt: Attempt,
}

impl Noted {
    /// A batch that somebody is about to append, of 1 to 3 records.
    pub fn begin(actor: &mut Actor, what: &str) -> Self {
        let count = 1 + actor.dice.below(3);
        let name = actor.name();
        let bodies = (0..count).map(|record| format!("{name}.{what}.{record}").into_bytes());
        Self {
            attempt: Attempt {
                label: format!("{name} {what}"),
                bodies: bodies.collect(),
                began: actor.stage().now(),
                ended: None,
                ending: Ending::Unknown,
            },
        }
    }

    /// What is known in the end. A batch is not unknown to the check because the call
    /// did what it must not do.
    pub fn ended(self, actor: &Actor, ending: &Result<Ending>) -> Attempt {
        Attempt {
            ended: Some(actor.stage().now()),
            ending: ending.as_ref().map_or(Ending::Unknown, Ending::clone),
            ..self.attempt
        }
    }

    /// What a call says about it that was made once.
    ///
    /// # Errors
    /// If that must not be said.
    pub fn told(&self, answer: Option<Result<AppendOutcome, Error>>) -> Result<Ending> {
        Ok(match answer {
            None | Some(Ok(AppendOutcome::Indeterminate(_))) => Ending::Unknown,
            Some(Ok(AppendOutcome::Appended(extent))) => {
                Ending::Acknowledged(extent.start, extent.end)
            }
            Some(Ok(AppendOutcome::Mismatch(_) | AppendOutcome::Fenced(_))) => Ending::Rejected,
            // An error means: certainly not applied.
            Some(Err(error)) if is_expected(&error) => Ending::Rejected,
            Some(other) => bail!("{}: {other:?}", self.attempt.label),
        })
    }
}

impl Member {
    fn note(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.borrow_mut());
    }

    fn now(&self) -> Duration {
        self.actor.stage().now()
    }

    /// Creates the log, as everybody tries to who comes first.
    async fn create(&mut self) -> Result<()> {
        let (grace_ms, clock_margin_ms) = self.actor.stage().weather.grace_ms;
        let settings = Settings {
            grace_ms,
            clock_margin_ms,
        };
        loop {
            let create = Create { log: LOG, settings };
            match self.actor.ask(create).await? {
                Some(CreateOutcome::Exists(found)) => {
                    ensure!(found == settings, "created with {found:?}");
                    return Ok(());
                }
                Some(CreateOutcome::Created) => return Ok(()),
                None | Some(CreateOutcome::Indeterminate(_)) => {}
            }
            let stage = self.actor.stage().clone();
            stage.idle(&mut self.actor.dice, 1_000).await;
        }
    }

    fn write(mut self, manner: Manner, from: u64) -> Local<'static, ()> {
        Box::pin(async move {
            let stage = self.actor.stage().clone();
            if from == 0 {
                self.create().await?;
            }
            for sequence in from.. {
                if stage.is_over() {
                    return Ok(());
                }
                let thought_ms = stage.weather.thought_ms;
                stage.idle(&mut self.actor.dice, thought_ms).await;
                // A copy of a producer would be a second one of its name: the caller
                // decides who of the two is the producer. Here it is the first.
                if let Some(twin) = self.actor.twin().await? {
                    let twin = Self {
                        actor: twin,
                        told: self.told.clone(),
                    };
                    stage.spawn(twin.write(Manner::Once, sequence + 1));
                }
                if manner == Manner::Producer && self.actor.dice.below(10) == 0 {
                    self.stray(sequence).await?;
                }
                let tail = match manner {
                    Manner::Expecting => self.tail().await?,
                    Manner::Producer | Manner::Once => None,
                };
                let noted = Noted::begin(&mut self.actor, &sequence.to_string());
                let ending = match (manner, tail) {
                    (Manner::Producer, _) => self.repeat(&noted, sequence).await,
                    (Manner::Once, _) => self.once(&noted, SHARED).await,
                    (Manner::Expecting, Some(tail)) => self.expecting(&noted, tail).await,
                    (Manner::Expecting, None) => continue,
                };
                let noted = noted.ended(&self.actor, &ending);
                self.note(|told| told.history.attempts.push(noted));
                if ending? == Ending::Unknown && manner == Manner::Producer {
                    // The next sequence would be refused if this one is not there.
                    return Ok(());
                }
            }
            Ok(())
        })
    }

    async fn once(&mut self, noted: &Noted, options: AppendOptions) -> Result<Ending> {
        let records = noted.attempt.bodies.clone();
        let append = Append {
            log: LOG,
            records,
            options,
        };
        let answer = self.actor.make(append).await?;
        noted.told(answer)
    }

    async fn expecting(&mut self, noted: &Noted, tail: u64) -> Result<Ending> {
        let options = AppendOptions {
            expected: Some(tail),
            ..SHARED
        };
        let ending = self.once(noted, options).await?;
        if let Ending::Acknowledged(start, _) = ending {
            ensure!(start == tail, "appended at {start} instead of {tail}");
        }
        Ok(ending)
    }

    async fn repeat(&mut self, noted: &Noted, sequence: u64) -> Result<Ending> {
        let append = Append {
            log: LOG,
            records: noted.attempt.bodies.clone(),
            options: self.produced(sequence),
        };
        for _ in 0..REPEATS_MAX {
            match self.actor.ask(append.clone()).await? {
                Some(AppendOutcome::Appended(extent)) => {
                    return Ok(Ending::Acknowledged(extent.start, extent.end));
                }
                None | Some(AppendOutcome::Indeterminate(_)) => {}
                Some(other) => bail!("{}: {other:?}", noted.attempt.label),
            }
            let stage = self.actor.stage().clone();
            stage.idle(&mut self.actor.dice, 1_000).await;
        }
        Ok(Ending::Unknown)
    }

    /// Sends a batch whose sequence is not the producer's next. It must be refused.
    async fn stray(&mut self, sequence: u64) -> Result<()> {
        let stray = match self.actor.dice.below(2) {
            0 => sequence + 1 + self.actor.dice.below(3),
            _ => self.actor.dice.below(sequence.saturating_sub(1)),
        };
        // The last one, and the next, are no strays.
        if stray == sequence || stray + 1 == sequence {
            return Ok(());
        }
        let noted = Noted::begin(&mut self.actor, &format!("{sequence}-as-{stray}"));
        let append = Append {
            log: LOG,
            records: noted.attempt.bodies.clone(),
            options: self.produced(stray),
        };
        let ending = match self.actor.make(append).await? {
            Some(Ok(AppendOutcome::OutOfSequence(_))) => Ok(Ending::Rejected),
            answer => noted.told(answer),
        };
        let attempt = noted.ended(&self.actor, &ending);
        let acknowledged = matches!(attempt.ending, Ending::Acknowledged(..));
        self.note(|told| {
            // Whatever was said, it must not be there.
            told.history.attempts.push(Attempt {
                ending: Ending::Rejected,
                ..attempt
            });
        });
        ensure!(!acknowledged, "sequence {stray} in place of {sequence}");
        ending.map(drop)
    }

    fn produced(&self, sequence: u64) -> AppendOptions {
        AppendOptions {
            producer: Some(Producer {
                id: self.actor.name().to_owned(),
                sequence,
                started_at: 0,
            }),
            ..SHARED
        }
    }

    /// Asks for the tail, and notes the answer.
    async fn tail(&mut self) -> Result<Option<u64>> {
        let began = self.now();
        let offset = self.actor.ask(Tail(LOG)).await?.map(|tail| tail.offset);
        if let Some(offset) = offset {
            self.saw_tail(began, offset);
        }
        Ok(offset)
    }

    fn saw_tail(&self, began: Duration, offset: u64) {
        let seen = TailSeen {
            label: format!("{} at {:.3} s", self.actor.name(), began.as_secs_f64()),
            began,
            ended: self.now(),
            offset,
        };
        self.note(|told| told.history.tails.push(seen));
    }

    fn saw_trim(&self, began: Duration, first_kept: u64) {
        let ended = self.now();
        self.note(|told| told.pins.trimmed(first_kept, began, ended));
    }

    /// Follows the log, from its start and sometimes from somewhere else, and pins
    /// its place now and then.
    async fn read(mut self) -> Result<()> {
        let stage = self.actor.stage().clone();
        let mut cursor = Cursor::at(0);
        let mut end = 0;
        while !stage.is_over() {
            let limit = ReadLimit {
                records: 1 + u32::try_from(self.actor.dice.below(20))?,
                bytes: 1 << 20,
            };
            let read = Read {
                log: LOG,
                start: cursor,
                limit,
            };
            let began = self.now();
            let (answer, waited) = match self.actor.dice.below(3) {
                0 => (self.actor.ask(read).await?, false),
                _ => (self.actor.ask(Wait(read)).await?, true),
            };
            match answer {
                None => {}
                Some(ReadOutcome::Records(batch)) => {
                    if batch.entries.is_empty() && !waited {
                        self.saw_tail(began, cursor.offset);
                    }
                    for (expected, entry) in (cursor.offset..).zip(batch.entries) {
                        let offset = entry.offset;
                        ensure!(offset == expected, "{offset} instead of {expected}");
                        ensure!(entry.token.is_none(), "a shared record has {entry:?}");
                        let label = self.actor.name().to_owned();
                        let seen = Seen {
                            label,
                            offset,
                            body: entry.body,
                        };
                        self.note(|told| told.history.seen.push(seen));
                    }
                    cursor = batch.next;
                    end = end.max(cursor.offset);
                }
                Some(ReadOutcome::Trimmed(kept)) => {
                    ensure!(kept.offset > cursor.offset, "{cursor:?} trimmed: {kept:?}");
                    self.saw_trim(began, kept.offset);
                    cursor = kept;
                }
            }
            match self.actor.dice.below(12) {
                0 => drop(self.tail().await?),
                1 => cursor = Cursor::at(self.actor.dice.below(end + 1)),
                2 => self.pin(cursor).await?,
                3 => self.locate().await?,
                4 => stage.idle(&mut self.actor.dice, 600_000).await,
                _ => stage.idle(&mut self.actor.dice, 10_000).await,
            }
        }
        Ok(())
    }

    async fn locate(&mut self) -> Result<()> {
        let now = self.actor.stage().world.clock().now_ms().0;
        let time = now.saturating_sub(self.actor.dice.below(3_600_000));
        self.actor.ask(Locate(time)).await.map(drop)
    }

    /// Pins a place, and removes the pin after a while or lets it expire.
    async fn pin(&mut self, at: Cursor) -> Result<()> {
        let ttl_ms = 1_000 + u32::try_from(self.actor.dice.below(600_000))?;
        let reader = self.actor.name().to_owned();
        // From here on, an earlier pin of this reader may be gone.
        let now = self.now();
        self.note(|told| told.pins.end(now));
        let pin = Pin {
            reader: reader.clone(),
            at,
            ttl_ms,
        };
        match self.actor.ask(pin).await? {
            Some(PinOutcome::Pinned(expires_at)) => {
                let (from, left) = (self.now(), self.actor.stage().left_until(expires_at));
                self.note(|told| told.pins.hold(at.offset, from, left));
                let stage = self.actor.stage().clone();
                stage.idle(&mut self.actor.dice, 120_000).await;
                if self.actor.dice.below(2) == 0 {
                    let now = self.now();
                    self.note(|told| told.pins.end(now));
                    self.actor.ask(Unpin(reader)).await?;
                }
            }
            Some(PinOutcome::Trimmed(kept)) => {
                ensure!(kept.offset > at.offset, "{at:?} trimmed: {kept:?}");
            }
            None | Some(PinOutcome::Indeterminate(_)) => {}
        }
        Ok(())
    }

    /// Trims and merges now and then.
    async fn collect(mut self) -> Result<()> {
        let stage = self.actor.stage().clone();
        while !stage.is_over() {
            stage
                .idle(&mut self.actor.dice, stage.weather.collect_ms)
                .await;
            match self.actor.dice.below(8) {
                0 => drop(self.actor.ask(ListPins).await?),
                1 => {
                    let plan = PlanTrim(self.keep());
                    self.actor.ask(plan).await?;
                }
                2 => merge(&mut self.actor, LOG).await?,
                _ => self.trim().await?,
            }
        }
        Ok(())
    }

    async fn trim(&mut self) -> Result<()> {
        let trim = Trim(self.keep());
        let began = self.now();
        if let Some(report) = self.actor.ask(trim).await? {
            self.saw_trim(began, report.first_kept);
            for (reason, what) in [
                (Reason::Trimmed, "trim deletes"),
                (Reason::Merged, "trim deletes what is merged"),
            ] {
                if report.count(reason) > 0 {
                    self.actor.stage().passed(what.to_owned());
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self) -> Keep {
        let dice = &mut self.actor.dice;
        match dice.below(4) {
            0 => Keep::Start(dice.below(100)),
            1 => Keep::Records(dice.below(30)),
            2 => Keep::Bytes(dice.below(5_000)),
            _ => Keep::AgeMs(dice.below(60_000)),
        }
    }
}

/// Merges now and then.
pub(super) async fn merge_always(mut actor: Actor, log: &'static str) -> Result<()> {
    let stage = actor.stage().clone();
    while !stage.is_over() {
        stage.idle(&mut actor.dice, stage.weather.collect_ms).await;
        merge(&mut actor, log).await?;
    }
    Ok(())
}

/// Merges all that can be, or spares some; in packs of any size.
async fn merge(actor: &mut Actor, log: &'static str) -> Result<()> {
    let options = MergeOptions {
        spare: match actor.dice.below(3) {
            0 => Keep::Records(actor.dice.below(20)),
            1 => Keep::AgeMs(actor.dice.below(60_000)),
            _ => Keep::Records(0),
        },
        at_least: 1 + u32::try_from(actor.dice.below(8))?,
    };
    if let Some(report) = actor.ask(Merge(log, options)).await? {
        for (counted, what) in [
            (u64::from(report.packs), "merge makes packs"),
            (report.deleted, "merge deletes"),
        ] {
            if counted > 0 {
                actor.stage().passed(what.to_owned());
            }
        }
    }
    Ok(())
}

impl Act for LogAct {
    fn name(&self) -> &'static str {
        PART.name
    }

    fn judge<'a>(&'a self, stage: &'a Rc<Stage>) -> Local<'a, ()> {
        Box::pin(async move {
            let last = last_appends(stage, LOG, SHARED).await?;
            self.told.borrow_mut().history.attempts.extend(last);
            let truth = read_back(stage, LOG).await?;
            let told = self.told.borrow();
            let verdict = told.history.check(&truth.records);
            for violation in verdict.violations.into_iter().chain(told.pins.check()) {
                stage.violated(violation);
            }
            Ok(())
        })
    }
}

/// Appends in calm weather, by an instance that knows nothing and by the same one
/// again, at the documented cost.
///
/// # Errors
/// If that fails.
pub async fn last_appends(
    stage: &Rc<Stage>,
    log: &'static str,
    options: AppendOptions,
) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    let mut first = stage
        .world
        .instance("last")
        .settings(stage.issue_credentials()?)
        .await?;
    // It may find offers of those who were killed, and take them along.
    attempts.push(
        append_calmly(stage, &mut first, log, options.clone(), 0)
            .await?
            .0,
    );
    // From now on, nobody seems to be about.
    tokio::time::sleep(SILENCE).await;
    let mut other = stage
        .world
        .instance("last-cold")
        .settings(stage.issue_credentials()?)
        .await?;
    for (number, allowed) in [(1, 3), (2, 1)] {
        let (attempt, used) =
            append_calmly(stage, &mut other, log, options.clone(), number).await?;
        ensure!(
            used == allowed,
            "append {number} in calm weather: {used} requests instead of {allowed}"
        );
        attempts.push(attempt);
    }
    Ok(attempts)
}

/// Appends one record, and counts the requests.
async fn append_calmly(
    stage: &Rc<Stage>,
    instance: &mut Instance,
    log: &'static str,
    options: AppendOptions,
    number: u32,
) -> Result<(Attempt, u64)> {
    let records = vec![format!("last.{log}.{number}").into_bytes()];
    let began = stage.now();
    let before = stage.world.store().totals();
    let answer = instance.log().append(log, &records, &options).await??;
    let used = stage.world.store().totals().since(&before).all();
    let AppendOutcome::Appended(extent) = answer else {
        bail!("append {number} in calm weather: {answer:?}");
    };
    stage.called(Append::NAME, "append in calm weather".to_owned());
    let attempt = Attempt {
        label: format!("last {number}"),
        bodies: records,
        began,
        ended: Some(stage.now()),
        ending: Ending::Acknowledged(extent.start, extent.end),
    };
    Ok((attempt, used))
}

/// The log as the store's diary has it, checked, and compared with what a fresh
/// instance reads.
///
/// # Errors
/// If it cannot be read.
pub async fn read_back(stage: &Rc<Stage>, log: &'static str) -> Result<Truth> {
    let prefix = format!("log/{log}/");
    let truth = chain::check(log, &stage.diary(&prefix)?)?;
    for violation in &truth.violations {
        stage.violated(violation.clone());
    }
    for _ in 0..truth.offers_taken {
        stage.passed("append: offers were taken".to_owned());
    }
    let settings = stage.issue_credentials()?;
    let mut judge = stage.world.instance("judge").settings(settings).await?;
    let mut cursor = Cursor::at(0);
    let mut read = Vec::new();
    loop {
        match judge
            .log()
            .read(log, cursor, crate::readback::ALL)
            .await??
        {
            ReadOutcome::Trimmed(kept) => {
                ensure!(read.is_empty(), "trimmed in the middle of a read");
                ensure!(
                    kept.offset == truth.first_kept,
                    "trimmed up to {}, but the watermark is {}",
                    kept.offset,
                    truth.first_kept
                );
                cursor = kept;
            }
            ReadOutcome::Records(batch) if batch.entries.is_empty() => break,
            ReadOutcome::Records(batch) => {
                for entry in batch.entries {
                    let epoch = entry.token.map_or(0, |token| token.epoch);
                    read.push((entry.offset, epoch, entry.body));
                }
                cursor = batch.next;
            }
        }
    }
    let first = read
        .first()
        .map_or(truth.first_kept, |(offset, ..)| *offset);
    let expected = truth.records.iter().zip(&truth.epochs);
    let expected: Vec<_> = (0..)
        .zip(expected)
        .map(|(offset, (body, epoch))| (offset, *epoch, body.clone()))
        .skip(usize::try_from(first)?)
        .collect();
    ensure!(
        first <= truth.first_kept && read == expected,
        "a fresh instance reads {} records from {first}, the store has {} from {}",
        read.len(),
        expected.len(),
        truth.first_kept
    );
    Ok(truth)
}
