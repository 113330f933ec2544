//! Seeded random runs on a very bad day.
//!
//! Writers of three kinds append, ask and die while requests get lost, arrive twice
//! or minutes late, fail after they were applied, and whole instances stand still
//! for hours. Then everything arrives, the log is read back, and every answer that
//! anybody was given is compared with it. A failure names its seed and how to run it
//! again.

use crate::calls::{SHARED, batch, contents, produced};
use anyhow::{Context, Result, anyhow, bail, ensure};
use host_test::bindings::log::{AppendOptions, AppendOutcome, Error, ReadOutcome};
use host_test::faults::{Rates, Spans};
use host_test::history::{Attempt, Ending, History, Seen, TailSeen, Verdict};
use host_test::host::Instance;
use host_test::random::Seeded;
use host_test::readback::START;
use host_test::world::{Site, World, simulate};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How many seeds run unless `IFMATCH_SEEDS` says otherwise.
const SEEDS: u64 = 48;
const WRITERS: u64 = 4;
const APPENDS: u64 = 20;
/// One append in so many is cut off by the death of its instance.
const KILLED_ONE_IN: u64 = 12;
/// How often a producer sends one batch before it gives up.
const REPEATS_MAX: u32 = 100;

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

type Shared = Arc<Mutex<History>>;

fn note(history: &Shared, change: impl FnOnce(&mut History)) {
    change(&mut history.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Errors that such a day may cause.
fn is_expected(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Throttled(_))
}

struct Writer {
    site: Site,
    name: String,
    manner: Manner,
    instance: Instance,
    dice: Seeded,
    history: Shared,
}

impl Writer {
    async fn new(site: &Site, number: u64, history: &Shared) -> Result<Self> {
        let name = format!("w{number}");
        let manners = [
            Manner::Producer,
            Manner::Once,
            Manner::Producer,
            Manner::Expecting,
        ];
        Ok(Self {
            instance: site.instance(&name).await?,
            dice: Seeded::fork(site.seed(), &name),
            site: site.clone(),
            manner: manners[usize::try_from(number)? % manners.len()],
            history: history.clone(),
            name,
        })
    }

    async fn work(mut self) -> Result<()> {
        for sequence in 0..APPENDS {
            let thought = Duration::from_millis(self.dice.below(2_000));
            sleep(thought).await;
            let count = 1 + self.dice.below(3);
            let text: Vec<String> = (0..count)
                .map(|record| format!("{}.{sequence}.{record}", self.name))
                .collect();
            let label = format!("{} {sequence} ({:?})", self.name, self.manner);
            let mut attempt = Attempt {
                label,
                bodies: batch(&text.join(" ")),
                began: self.site.clock().elapsed(),
                ended: None,
                ending: Ending::Unknown,
            };
            let ending = match self.manner {
                Manner::Producer => self.repeat(&attempt, sequence).await,
                Manner::Once => self.send_once(&attempt, &SHARED).await,
                Manner::Expecting => self.send_expecting(&mut attempt).await,
            };
            attempt.ending = ending.with_context(|| attempt.label.clone())?;
            attempt.ended = Some(self.site.clock().elapsed());
            let given_up = attempt.ending == Ending::Unknown && self.manner == Manner::Producer;
            note(&self.history, |history| history.attempts.push(attempt));
            if given_up {
                // The next sequence would be refused if this one is not there.
                return Ok(());
            }
        }
        Ok(())
    }

    /// One call, or nothing if the instance dies in the middle of it.
    async fn call(
        &mut self,
        attempt: &Attempt,
        options: &AppendOptions,
    ) -> Result<Option<Result<AppendOutcome, Error>>> {
        let mut log = self.instance.log();
        let call = log.append("l", &attempt.bodies, options);
        if self.dice.below(KILLED_ONE_IN) > 0 {
            return call.await.map(Some);
        }
        let life = Duration::from_millis(self.dice.below(300));
        if let Ok(answer) = timeout(life, call).await {
            return answer.map(Some);
        }
        self.instance = self.site.instance(&self.name).await?;
        Ok(None)
    }

    async fn repeat(&mut self, attempt: &Attempt, sequence: u64) -> Result<Ending> {
        let options = produced(&self.name, sequence);
        for _ in 0..REPEATS_MAX {
            match self.call(attempt, &options).await? {
                Some(Ok(AppendOutcome::Appended(extent))) => {
                    return Ok(Ending::Acknowledged(extent.start, extent.end));
                }
                None | Some(Ok(AppendOutcome::Indeterminate(_))) => {}
                Some(Err(error)) if is_expected(&error) => {}
                Some(other) => bail!("{other:?}"),
            }
            let pause = Duration::from_millis(self.dice.below(1_000));
            sleep(pause).await;
        }
        Ok(Ending::Unknown)
    }

    async fn send_once(&mut self, attempt: &Attempt, options: &AppendOptions) -> Result<Ending> {
        match self.call(attempt, options).await? {
            Some(Ok(AppendOutcome::Appended(extent))) => {
                Ok(Ending::Acknowledged(extent.start, extent.end))
            }
            None | Some(Ok(AppendOutcome::Indeterminate(_))) => Ok(Ending::Unknown),
            // An error means: certainly not applied.
            Some(Err(error)) if is_expected(&error) => Ok(Ending::Rejected),
            Some(Ok(AppendOutcome::Mismatch(_))) if options.expected.is_some() => {
                Ok(Ending::Rejected)
            }
            Some(other) => bail!("{other:?}"),
        }
    }

    async fn send_expecting(&mut self, attempt: &mut Attempt) -> Result<Ending> {
        let Some(tail) =
            ask_tail(&self.site, &mut self.instance, &self.name, &self.history).await?
        else {
            return Ok(Ending::Rejected);
        };
        attempt.began = self.site.clock().elapsed();
        let options = AppendOptions {
            expected: Some(tail),
            ..SHARED
        };
        let ending = self.send_once(attempt, &options).await?;
        if let Ending::Acknowledged(start, _) = ending {
            ensure!(start == tail, "appended at {start} instead of {tail}");
        }
        Ok(ending)
    }
}

/// Asks for the tail, and notes the answer.
async fn ask_tail(
    site: &Site,
    instance: &mut Instance,
    name: &str,
    history: &Shared,
) -> Result<Option<u64>> {
    let began = site.clock().elapsed();
    match instance.log().tail("l").await? {
        Ok(cursor) => {
            let seen = TailSeen {
                label: format!("{name}, tail at {:.3} s", began.as_secs_f64()),
                began,
                ended: site.clock().elapsed(),
                offset: cursor.offset,
            };
            note(history, |history| history.tails.push(seen));
            Ok(Some(cursor.offset))
        }
        Err(error) if is_expected(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Follows the log, and asks for its tail now and then, until it is stopped.
async fn read(site: Site, history: Shared) -> Result<()> {
    let mut instance = site.instance("reader").await?;
    let mut dice = Seeded::fork(site.seed(), "reader");
    let mut cursor = START;
    loop {
        let limit = crate::calls::first(1 + u32::try_from(dice.below(20))?);
        match instance.log().wait("l", cursor, limit, 1_000).await? {
            Ok(ReadOutcome::Records(batch)) => {
                for (expected, entry) in (cursor.offset..).zip(batch.entries) {
                    ensure!(
                        entry.offset == expected,
                        "{} instead of {expected}",
                        entry.offset
                    );
                    let label = "reader".to_owned();
                    let seen = Seen {
                        label,
                        offset: entry.offset,
                        body: entry.body,
                    };
                    note(&history, |history| history.seen.push(seen));
                }
                cursor = batch.next;
            }
            Ok(other) => bail!("{other:?}"),
            Err(error) if is_expected(&error) => {}
            Err(error) => return Err(error.into()),
        }
        if dice.below(4) == 0 {
            ask_tail(&site, &mut instance, "reader", &history).await?;
        }
    }
}

/// One run.
async fn run(world: &World) -> Result<(History, Verdict, Vec<Vec<u8>>)> {
    world.faults().rates(Rates::bad_day()).spans(Spans {
        request: Duration::from_millis(1)..=Duration::from_millis(40),
        reply: Duration::from_millis(1)..=Duration::from_millis(40),
        ..Spans::default()
    });
    let history = Shared::default();
    let mut reading = JoinSet::new();
    reading.spawn(read(world.site().clone(), history.clone()));
    let mut writing = JoinSet::new();
    for number in 0..WRITERS {
        let writer = Writer::new(world.site(), number, &history).await?;
        writing.spawn(writer.work());
    }
    while let Some(written) = writing.join_next().await {
        written??;
    }
    if let Some(read) = reading.try_join_next() {
        read?.context("the reader")?;
    }
    reading.shutdown().await;
    world.faults().calm();
    world.settle().await;
    let log = contents(world.site(), "l").await?;
    let history = std::mem::take(&mut *history.lock().unwrap_or_else(PoisonError::into_inner));
    let verdict = history.check(&log);
    Ok((history, verdict, log))
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_answer_is_true() -> Result<()> {
    let seeds: Vec<u64> = match (variable("IFMATCH_SEED"), variable("IFMATCH_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (0..count.unwrap_or(SEEDS)).collect(),
    };
    let (mut acknowledged, mut surfaced, mut unknown, mut seen) = (0, 0, 0, 0);
    for seed in seeds.iter().copied() {
        simulate(seed, async |world| {
            let (history, verdict, _) = run(world).await?;
            let verdict = verdict.into_result()?;
            acknowledged += verdict.acknowledged;
            surfaced += verdict.surfaced;
            unknown += verdict.attempts - verdict.acknowledged;
            seen += history.seen.len();
            ensure!(world.store().totals().unconditional_puts == 0);
            Ok(())
        })
        .map_err(|error| {
            anyhow!(
                "seed {seed} failed. Run it again:\n  \
                 IFMATCH_SEED={seed} cargo test -p host-test --test log every_answer_is_true\n\
                 {error:#}"
            )
        })?;
    }
    println!(
        "{} seeds: {acknowledged} acknowledged, {unknown} not, of which {surfaced} in the log all \
         the same; {seen} records read on the way",
        seeds.len()
    );
    // A run in which nothing happens proves nothing.
    ensure!(acknowledged > 40 * seeds.len() && seen > 40 * seeds.len());
    Ok(())
}

/// The check itself: the same run, with the log tampered with.
#[test]
fn a_lie_is_noticed() -> Result<()> {
    simulate(1, async |world| {
        let (history, verdict, log) = run(world).await?;
        ensure!(verdict.is_clean(), "{verdict}");
        let lies: [fn(&mut Vec<Vec<u8>>); 4] = [
            |log| drop(log.remove(3)),
            |log| log.push(log[3].clone()),
            |log| log.swap(3, 30),
            |log| log[3][0] ^= 1,
        ];
        for (number, lie) in lies.into_iter().enumerate() {
            let mut told = log.clone();
            lie(&mut told);
            ensure!(!history.check(&told).is_clean(), "lie {number} passed");
        }
        Ok(())
    })
}
