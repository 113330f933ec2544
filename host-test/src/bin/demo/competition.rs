//! The first act: writers compete for one log, a reader follows it, and some of the
//! writers are killed.

use crate::arguments::Arguments;
use crate::figures::Figures;
use crate::screen::{Screen, Tone};
use crate::stage::{LOG, Stage};
use anyhow::{Context, Result, anyhow, bail};
use host_test::bindings::log::{
    AppendOptions, AppendOutcome, Error, Producer, ReadLimit, ReadOutcome, Writer,
};
use host_test::history::{Attempt, Ending, History, Seen};
use host_test::host::Instance;
use host_test::random::Seeded;
use host_test::readback::{START, from_objects, through_component};
use std::future::pending;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How long a writer may take to hear the end of its last append.
const LAST_WORD: Duration = Duration::from_secs(30);
/// A writer appends so many batches at a stretch, at most, and then thinks.
const STRETCH_MAX: u64 = 8;
/// The longest pause for thought.
const THOUGHT_MS_MAX: u64 = 150;
/// Most records in one batch.
const RECORDS_MAX: u64 = 4;
/// The pause between two killings is drawn from this to twice as much.
const KILL_INTERVAL_MS: u64 = 900;
/// The pause before a call is repeated that brought no answer.
const REPEAT_AFTER: Duration = Duration::from_millis(20);
/// How long one call of the reader waits for records.
const WAIT_MS: u32 = 500;
/// Cells of the bar.
const BAR_CELLS: usize = 14;

/// What all of them share.
struct Board {
    stage: Arc<Stage>,
    screen: Arc<Screen>,
    history: Mutex<History>,
    /// Appends that somebody has begun.
    begun: AtomicU64,
    acknowledged: AtomicUsize,
    tailed: AtomicUsize,
    kills: AtomicU64,
    began: Instant,
    /// No append is begun after this.
    deadline: Instant,
    appends_max: u64,
}

impl Board {
    /// Lets a writer begin one more append.
    fn may_begin(&self) -> bool {
        Instant::now() < self.deadline
            && self.begun.fetch_add(1, Ordering::SeqCst) < self.appends_max
    }

    fn note(&self, change: impl FnOnce(&mut History)) {
        change(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn event(&self, tone: Tone, text: &str) {
        let time = self
            .screen
            .toned(Tone::Faint, &seconds(self.began.elapsed()));
        self.screen
            .line(&format!("{time}  {}", self.screen.toned(tone, text)));
    }
}

fn seconds(time: Duration) -> String {
    format!("{:>6.1} s", time.as_secs_f64())
}

/// Plays the act, and reads the log back.
pub async fn play(
    arguments: &Arguments,
    stage: &Arc<Stage>,
    screen: &Arc<Screen>,
) -> Result<Figures> {
    let Arguments { writers, seed, .. } = *arguments;
    screen.line(&screen.toned(
        Tone::Strong,
        &format!("{writers} writers append to one log in {}.", stage.place()),
    ));
    screen.line(match stage.is_rough() {
        true => {
            "Each is an instance of ifmatch.wasm, and they share nothing but the bucket.\n\
             Requests and replies get lost, arrive twice or late, or fail after they were\n\
             applied; writers are killed in the middle of an append."
        }
        false => {
            "Each is an instance of ifmatch.wasm, and they share nothing but the bucket.\n\
             Writers are killed in the middle of an append."
        }
    });
    screen.line(&screen.toned(Tone::Faint, &format!("seed {seed}\n")));
    let began = Instant::now();
    let board = Arc::new(Board {
        stage: stage.clone(),
        screen: screen.clone(),
        history: Mutex::default(),
        begun: AtomicU64::new(0),
        acknowledged: AtomicUsize::new(0),
        tailed: AtomicUsize::new(0),
        kills: AtomicU64::new(0),
        began,
        deadline: began + arguments.time,
        appends_max: arguments.appends,
    });
    let killers: Vec<Arc<Notify>> = (0..writers).map(|_| Arc::default()).collect();
    let (closing, closed) = watch::channel(None);
    let mut around = JoinSet::new();
    around.spawn(kill_now_and_then(board.clone(), killers.clone(), seed));
    around.spawn(show_progress(board.clone(), arguments.clone()));
    let counting = stage.clone();
    around.spawn(async move { counting.keep_counting().await });
    let reader = tokio::spawn(follow(board.clone(), closed));

    let mut at_work = JoinSet::new();
    for (number, killer) in (1..).zip(killers) {
        at_work.spawn(write(board.clone(), number, killer, seed));
    }
    let mut broken = Vec::new();
    while let Some(ended) = at_work.join_next().await {
        if let Err(error) = ended.context("a writer panicked")? {
            broken.push(format!("{error:#}"));
        }
    }
    let time = began.elapsed();
    around.shutdown().await;
    let requests = stage.requests_of("writer-");
    let mut faults = stage.faults();
    faults.insert("kill", board.kills.load(Ordering::SeqCst));

    board.event(
        Tone::Strong,
        "The writers are done. Waiting for what is still on its way, then",
    );
    board.event(
        Tone::Strong,
        "reading the log back: by a fresh instance, and from the raw objects.",
    );
    screen.line("");
    stage.calm_down().await;
    let log = match through_component(&mut stage.instance("judge").await?, LOG).await {
        Ok(log) => log,
        // Nothing goes wrong there any more, so it is the log that is broken.
        Err(error) if stage.is_rough() => {
            broken.push(format!("the log cannot be read: {error:#}"));
            Vec::new()
        }
        Err(error) => return Err(error.context("cannot read the log back")),
    };
    // The reader is through when it has seen the last record.
    closing.send_replace(Some(log.len() as u64));
    match timeout(LAST_WORD, reader).await {
        Ok(read) => {
            if let Err(error) = read.context("the reader panicked")? {
                broken.push(format!("the reader: {error:#}"));
            }
        }
        Err(_) => broken.push("the reader did not see the end of the log".to_owned()),
    }
    match from_objects(LOG, stage.raw_segments(LOG).await?) {
        Ok(raw) if raw == log => {}
        Ok(raw) => broken.push(format!(
            "the raw objects hold {} records, but {} were read",
            raw.len(),
            log.len()
        )),
        Err(error) => broken.push(format!("the raw objects: {error:#}")),
    }
    let history =
        std::mem::take(&mut *board.history.lock().unwrap_or_else(PoisonError::into_inner));
    let tailed = history.seen.len();
    if tailed != log.len() {
        broken.push(format!("the reader saw {tailed} records of {}", log.len()));
    }
    Ok(Figures {
        verdict: history.check(&log),
        records: log.len(),
        tailed,
        requests,
        faults,
        time,
        broken,
    })
}

/// One writer, with all instances that it lives through.
async fn write(board: Arc<Board>, number: u64, killer: Arc<Notify>, seed: u64) -> Result<()> {
    let name = format!("writer-{number}");
    let mut dice = Seeded::fork(seed, &name);
    let mut instance = board.stage.instance(&name).await?;
    let mut stretch = 0;
    let mut sequence = 0;
    while board.may_begin() {
        let records = 1 + dice.below(RECORDS_MAX);
        let bodies: Vec<Vec<u8>> = (0..records)
            .map(|record| format!("{name}, append {sequence}, record {record}").into_bytes())
            .collect();
        let batch = Batch {
            writer: &name,
            sequence,
            bodies,
        };
        batch.append(&board, &mut instance, &killer).await?;
        sequence += 1;
        stretch += 1;
        if stretch > dice.below(STRETCH_MAX) {
            stretch = 0;
            sleep(Duration::from_millis(dice.below(THOUGHT_MS_MAX + 1))).await;
        }
    }
    Ok(())
}

/// What an answer says about an append.
enum Heard {
    Ending(Ending),
    /// Not how it ended: the answer, for people.
    Nothing(String),
}

/// One batch of one writer.
struct Batch<'a> {
    writer: &'a str,
    sequence: u64,
    bodies: Vec<Vec<u8>>,
}

impl Batch<'_> {
    /// Appends it, however often that takes.
    async fn append(self, board: &Board, instance: &mut Instance, killer: &Notify) -> Result<()> {
        let began = board.stage.now();
        let give_up = Instant::now() + LAST_WORD;
        let mut killed = false;
        let mut strange = None;
        let mut last_said = String::from("nothing");
        let ending = loop {
            if Instant::now() > give_up {
                // The next append would be out of sequence.
                strange = Some(anyhow!(
                    "{}, append {}: nobody knows after {} s how it ended; said last: {last_said}",
                    self.writer,
                    self.sequence,
                    LAST_WORD.as_secs()
                ));
                break Ending::Unknown;
            }
            let answer = tokio::select! {
                answer = self.call(instance) => Some(answer),
                () = killer.notified() => None,
            };
            match answer {
                None => {
                    // The dropped call is what a crash is: what it sent is on its way,
                    // and nobody will hear the answer.
                    *instance = board.stage.instance(self.writer).await?;
                    killed = true;
                    board.kills.fetch_add(1, Ordering::SeqCst);
                    board.event(
                        Tone::Event,
                        &format!(
                            "{} killed in the middle of append {}; a new instance repeats it",
                            self.writer, self.sequence
                        ),
                    );
                }
                Some(answer) => match self.judge(answer) {
                    Ok(Heard::Ending(ending)) => break ending,
                    Ok(Heard::Nothing(said)) => {
                        last_said = said;
                        sleep(REPEAT_AFTER).await;
                    }
                    Err(error) => {
                        strange = Some(error);
                        break Ending::Unknown;
                    }
                },
            }
        };
        if let Ending::Acknowledged(start, _) = ending {
            board.acknowledged.fetch_add(1, Ordering::SeqCst);
            if killed {
                board.event(
                    Tone::Good,
                    &format!(
                        "{}, append {}: once, at offset {start}",
                        self.writer, self.sequence
                    ),
                );
            }
        }
        let attempt = Attempt {
            label: format!("{}, append {}", self.writer, self.sequence),
            bodies: self.bodies,
            began,
            ended: Some(board.stage.now()),
            ending,
        };
        board.note(|history| history.attempts.push(attempt));
        strange.map_or(Ok(()), Err)
    }

    async fn call(&self, instance: &mut Instance) -> Result<Result<AppendOutcome, Error>> {
        let options = AppendOptions {
            writer: Writer::Shared,
            expected: None,
            producer: Some(Producer {
                id: self.writer.to_owned(),
                sequence: self.sequence,
                started_at: 0,
            }),
        };
        instance.log().append(LOG, &self.bodies, &options).await
    }

    /// What an answer means.
    fn judge(&self, answer: Result<Result<AppendOutcome, Error>>) -> Result<Heard> {
        let context = || format!("{}, append {}", self.writer, self.sequence);
        match answer.with_context(context)? {
            Ok(AppendOutcome::Appended(extent)) => Ok(Heard::Ending(Ending::Acknowledged(
                extent.start,
                extent.end,
            ))),
            Ok(outcome @ AppendOutcome::Indeterminate(_)) => {
                Ok(Heard::Nothing(format!("{outcome:?}")))
            }
            Err(error @ (Error::Unavailable(_) | Error::Throttled(_))) => {
                Ok(Heard::Nothing(error.to_string()))
            }
            Ok(other) => bail!("{}: {other:?}", context()),
            Err(error) => Err(error).with_context(context),
        }
    }
}

/// Kills one writer after the other.
async fn kill_now_and_then(board: Arc<Board>, killers: Vec<Arc<Notify>>, seed: u64) {
    let mut dice = Seeded::fork(seed, "kills");
    while Instant::now() < board.deadline {
        let pause_ms = KILL_INTERVAL_MS + dice.below(KILL_INTERVAL_MS + 1);
        sleep(Duration::from_millis(pause_ms)).await;
        let victim = usize::try_from(dice.below(killers.len() as u64)).unwrap_or(0);
        if let Some(killer) = killers.get(victim) {
            // Only a writer that is in the middle of an append hears it.
            killer.notify_waiters();
        }
    }
    pending().await
}

async fn show_progress(board: Arc<Board>, arguments: Arguments) {
    loop {
        board.screen.status(|| {
            let acknowledged = board.acknowledged.load(Ordering::SeqCst);
            let done = match arguments.appends {
                u64::MAX => board.began.elapsed().as_secs_f64() / arguments.time.as_secs_f64(),
                appends => acknowledged as f64 / appends as f64,
            };
            let cells = ((done * BAR_CELLS as f64) as usize).min(BAR_CELLS);
            let bar = format!("{}{}", "█".repeat(cells), "░".repeat(BAR_CELLS - cells));
            let tailed = board.tailed.load(Ordering::SeqCst);
            let faults: u64 = board.stage.faults().values().sum();
            let time = seconds(board.began.elapsed());
            // Short enough for 80 columns, where it is rewritten.
            format!(
                "{time}  {bar}  {acknowledged:>5} appends  {tailed:>5} records read live  \
                 {faults:>4} faults"
            )
        });
        sleep(Duration::from_millis(50)).await;
    }
}

/// Follows the log from its start to its end, which is known only later.
async fn follow(board: Arc<Board>, end: watch::Receiver<Option<u64>>) -> Result<()> {
    let mut instance = board.stage.instance("reader").await?;
    let (mut cursor, limit) = (
        START,
        ReadLimit {
            records: 1_000,
            bytes: 1 << 20,
        },
    );
    loop {
        if end.borrow().is_some_and(|end| cursor.offset >= end) {
            return Ok(());
        }
        match instance.log().wait(LOG, cursor, limit, WAIT_MS).await? {
            Ok(ReadOutcome::Records(batch)) => {
                board
                    .tailed
                    .fetch_add(batch.entries.len(), Ordering::SeqCst);
                for (expected, entry) in (cursor.offset..).zip(batch.entries) {
                    if entry.offset != expected {
                        bail!("read {} where {expected} was next", entry.offset);
                    }
                    let seen = Seen {
                        label: "the reader".to_owned(),
                        offset: entry.offset,
                        body: entry.body,
                    };
                    board.note(|history| history.seen.push(seen));
                }
                cursor = batch.next;
            }
            Ok(other) => bail!("{other:?}"),
            Err(Error::Unavailable(_) | Error::Throttled(_)) => sleep(REPEAT_AFTER).await,
            Err(error) => return Err(error.into()),
        }
    }
}
