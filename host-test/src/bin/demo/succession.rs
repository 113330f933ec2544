//! The second act: candidates campaign for a lease, and whoever has it appends to a
//! log. The leader is killed or frozen, again and again, and somebody else takes
//! over; who was frozen wakes up, still believes that it leads, and writes.
//!
//! It is played in virtual time, so that minutes take moments and a seed repeats it.

use crate::screen::{Screen, Tone};
use crate::timeline::Timeline;
use anyhow::{Context, Result, bail, ensure};
use host_test::bindings::lease::{AcquireOutcome, Error, Grant, RenewOutcome, Request, Token};
use host_test::bindings::log::{AppendOptions, AppendOutcome, Producer, Writer};
use host_test::clock::GuestClock;
use host_test::faults::{Clocks, Fault, Moment, Pause, Rates, on};
use host_test::gate::Gate;
use host_test::history::{Attempt, Ending, History, Verdict};
use host_test::host::Instance;
use host_test::random::Seeded;
use host_test::readback::{from_objects, slots_prefix, through_component};
use host_test::store::Kind;
use host_test::world::{Site, World, simulate};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

const LEASE: &str = "leader";
const LOG: &str = "ledger";
/// Who campaigns.
pub const CANDIDATES: usize = 4;
/// For how long the lease holds without a renewal.
const LEASE_MS: u32 = 5_000;
/// How long it is played, in virtual time.
pub const LENGTH: Duration = Duration::from_secs(120);
/// No new trouble begins so shortly before the end.
const LAST_TROUBLE: Duration = Duration::from_secs(20);
/// How long somebody stands still: long enough for a successor.
const FREEZE: Duration = Duration::from_secs(13);
/// How long a killed one takes to start again.
const RESTART: Duration = Duration::from_secs(4);
/// How often one that was refused tries again before it gives in.
const STUBBORN: u64 = 3;
/// How much longer it waits then.
const REFLECTION_MS: u64 = 700;
/// How long anybody may wait for a next leader, or for a pause to begin.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(10);

/// What happened to a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was given the lease.
    Led,
    /// It leads no more, and knows it.
    Resigned,
    /// A record of it is durable.
    Appended,
    /// A record of it was refused by the log.
    Refused,
    /// It died.
    Killed,
    /// It was started again.
    Started,
    /// It stands still.
    Frozen,
    /// It goes on.
    Woke,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// When, from the start.
    pub at: Duration,
    /// To which candidate, from 0.
    pub candidate: usize,
    /// What.
    pub what: What,
}

/// A change of leaders after somebody was killed or frozen.
#[derive(Clone, Copy, Debug)]
pub struct TakeOver {
    /// When the trouble began, and whose it was.
    pub from: (Duration, usize),
    /// When the next leader could write, and who that is.
    pub to: (Duration, usize),
}

impl TakeOver {
    /// How long nobody led.
    pub fn time(&self) -> Duration {
        self.to.0 - self.from.0
    }
}

/// What happened, and what was found afterwards.
#[derive(Default)]
pub struct Outcome {
    /// What happened to whom.
    pub events: Vec<Event>,
    /// Every change of leaders.
    pub take_overs: Vec<TakeOver>,
    /// What the check of the history found.
    verdict: Verdict,
    /// What must hold besides.
    broken: Vec<String>,
    /// How long it took to play, in real time.
    real: Duration,
}

struct Board {
    site: Site,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    history: History,
    events: Vec<Event>,
    /// The tokens, in the order in which they were granted.
    tokens: Vec<u64>,
    /// Who may write now, and since when.
    leader: Option<(Duration, usize)>,
    bodies: Vec<Option<Body>>,
    starts: u64,
    broken: Vec<String>,
}

/// Where somebody can be hurt.
#[derive(Clone)]
struct Body {
    gate: Gate,
    clock: GuestClock,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.site.clock().elapsed()
    }

    fn is_over(&self) -> bool {
        self.now() >= LENGTH
    }

    fn note(&self, candidate: usize, what: What) {
        let at = self.now();
        self.state().events.push(Event {
            at,
            candidate,
            what,
        });
    }
}

/// How people call a candidate.
pub fn name_of(candidate: usize) -> String {
    format!("node-{}", candidate + 1)
}

/// Plays the act.
pub fn play(seed: u64, screen: &Screen) -> Result<Outcome> {
    let act = format!(
        "{CANDIDATES} candidates, one lease of {} s; the leader appends to a log.",
        LEASE_MS / 1_000
    );
    screen.line(&screen.toned(Tone::Strong, &format!("\nSecond act: {act}")));
    screen.line(&format!(
        "Leaders are killed and frozen. Who wakes up believes that it still leads, and writes.\n\
         {} s in virtual time; requests and replies get lost here, too.",
        LENGTH.as_secs()
    ));
    let began = std::time::Instant::now();
    let mut outcome = Outcome::default();
    simulate(seed, async |world| {
        outcome = run(world).await?;
        Ok(())
    })?;
    outcome.real = began.elapsed();
    Ok(outcome)
}

async fn run(world: &World) -> Result<Outcome> {
    let rates = Rates {
        lose_request: 0.01,
        lose_reply: 0.02,
        duplicate: 0.02,
        fail_after: 0.01,
        slow_down: 0.005,
        ..Rates::default()
    };
    let latency = Duration::from_millis(20);
    world.faults().latency(latency).rates(rates);
    let site = world
        .site()
        .clone()
        .with("IFMATCH_REQUEST_TIMEOUT_MS", "400");
    let board = Arc::new(Board {
        site,
        state: Mutex::default(),
    });
    board.state().bodies = vec![None; CANDIDATES];
    let mut lives: Vec<AbortHandle> = (0..CANDIDATES).map(|who| begin(&board, who)).collect();
    let take_overs = trouble(world, &board, &mut lives).await?;
    while lives.iter().any(|life| !life.is_finished()) {
        sleep(STEP).await;
    }
    world.faults().calm();
    world.settle().await;
    let mut judge = world.instance("judge").await?;
    let log = through_component(&mut judge, LOG).await?;
    let keys = world.store().keys(&slots_prefix(LOG)?).into_iter();
    let objects = keys.map(|key| {
        let object = world.store().object(&key).context("an object went away")?;
        Ok((key, object.body.to_vec()))
    });
    let raw = from_objects(LOG, objects.collect::<Result<Vec<_>>>()?)?;
    let mut state = std::mem::take(&mut *board.state());
    if raw != log {
        state
            .broken
            .push("the raw objects hold another log".to_owned());
    }
    if !state.tokens.is_sorted_by(|before, after| before < after) {
        state
            .broken
            .push(format!("tokens fell: {:?}", state.tokens));
    }
    Ok(Outcome {
        verdict: state.history.check(&log),
        events: state.events,
        take_overs,
        broken: state.broken,
        real: Duration::ZERO,
    })
}

/// Starts a candidate.
fn begin(board: &Arc<Board>, who: usize) -> AbortHandle {
    let board = board.clone();
    let task = tokio::spawn(async move {
        if let Err(error) = live(&board, who).await {
            let said = format!("{}: {error:#}", name_of(who));
            board.state().broken.push(said);
        }
    });
    task.abort_handle()
}

/// Brings trouble over leaders, and waits for their successors.
async fn trouble(
    world: &World,
    board: &Arc<Board>,
    lives: &mut [AbortHandle],
) -> Result<Vec<TakeOver>> {
    let mut dice = Seeded::fork(world.site().seed(), "trouble");
    let mut take_overs = Vec::new();
    for round in 0_u64.. {
        let (_, leader) = leader_after(board, None).await?;
        sleep(Duration::from_millis(3_000 + dice.below(4_000))).await;
        if board.now() + LAST_TROUBLE > LENGTH {
            break;
        }
        // Every kind in turn, from a random one on.
        let kind = (world.site().seed() + round) % 3;
        let Some(body) = board.state().bodies[leader].clone() else {
            bail!("a leader without a body");
        };
        let mut frozen = None;
        match kind {
            0 => {
                lives[leader].abort();
                board.note(leader, What::Killed);
            }
            1 => {
                body.clock.stop();
                frozen = Some(body.gate.close());
                board.note(leader, What::Frozen);
            }
            _ => {
                // Between its look at the clock and the moment that its bytes leave.
                let pause = Pause {
                    moment: Moment::BeforeSending,
                    length: FREEZE,
                    clocks: Clocks::Stop,
                };
                let next = on(Kind::Put).by(&name_of(leader)).under("log/");
                world.faults().script(next.then(Fault::Pause(pause)));
                let begun = async {
                    while !body.gate.is_closed() {
                        sleep(STEP).await;
                    }
                };
                timeout(PATIENCE, begun).await.context("nobody writes")?;
                board.note(leader, What::Frozen);
            }
        }
        let began = board.now();
        if kind == 0 {
            sleep(RESTART).await;
            lives[leader] = begin(board, leader);
        }
        let next = leader_after(board, Some(began)).await?;
        take_overs.push(TakeOver {
            from: (began, leader),
            to: next,
        });
        if frozen.is_some() {
            sleep(FREEZE.saturating_sub(board.now() - began)).await;
            body.clock.resume();
            drop(frozen.take());
        }
        if kind != 0 {
            body.gate.open().await;
            board.note(leader, What::Woke);
        }
    }
    Ok(take_overs)
}

/// The leader that could write first after a moment.
async fn leader_after(board: &Board, moment: Option<Duration>) -> Result<(Duration, usize)> {
    let found = async {
        loop {
            let leader = board.state().leader;
            match leader {
                Some((since, who)) if moment.is_none_or(|moment| since > moment) => {
                    return (since, who);
                }
                _ => sleep(STEP).await,
            }
        }
    };
    timeout(PATIENCE, found).await.context("nobody leads")
}

/// One candidate, from its start until it is killed or the act is over.
async fn live(board: &Board, who: usize) -> Result<()> {
    let mut instance = board.site.instance(&name_of(who)).await?;
    let start = {
        let mut state = board.state();
        state.bodies[who] = Some(Body {
            gate: instance.gate().clone(),
            clock: instance.clock().clone(),
        });
        state.starts += 1;
        state.starts
    };
    board.note(who, What::Started);
    let request = Request {
        // A name of its own for every start: nobody inherits.
        holder: format!("{}.{start}", name_of(who)),
        duration_ms: LEASE_MS,
        note: String::new(),
        bounds: None,
    };
    let mut dice = Seeded::fork(board.site.seed() ^ start, "pace");
    let mut sequence = 0;
    while !board.is_over() {
        let mut lease = instance.lease();
        let grant = match lease.campaign(LEASE, &request, 2_000).await? {
            Ok(AcquireOutcome::Acquired(grant)) => grant,
            Ok(_) | Err(Error::Unavailable(_) | Error::Throttled(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        board.state().tokens.push(grant.token.epoch);
        let mut term = Term {
            board,
            who,
            instance: &mut instance,
            grant,
            sequence: &mut sequence,
        };
        term.lead(&mut dice).await?;
        board.note(who, What::Resigned);
    }
    Ok(())
}

/// One candidate while it leads, or believes so.
struct Term<'a> {
    board: &'a Board,
    who: usize,
    instance: &'a mut Instance,
    grant: Grant,
    sequence: &'a mut u64,
}

impl Term<'_> {
    async fn lead(&mut self, dice: &mut Seeded) -> Result<()> {
        if !self.claim().await? {
            return Ok(());
        }
        self.board.note(self.who, What::Led);
        let now = self.board.now();
        self.board.state().leader = Some((now, self.who));
        let mut refused = 0;
        while !self.board.is_over() && self.remaining_ms().await? > 0 {
            if !self.append().await? {
                refused += 1;
                if refused == STUBBORN {
                    return Ok(());
                }
            }
            let pace_ms = 150 + dice.below(250) + refused.min(1) * REFLECTION_MS;
            sleep(Duration::from_millis(pace_ms)).await;
            // A zombie that asked for a renewal would learn of its end in time.
            let left_ms = self.remaining_ms().await?;
            if refused == 0 && left_ms < self.grant.valid_for_ms / 2 && !self.renew().await? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn token(&self) -> Token {
        self.grant.token
    }

    async fn remaining_ms(&mut self) -> Result<u32> {
        let token = self.token();
        Ok(self.instance.lease().remaining_ms(LEASE, token).await??)
    }

    /// Shuts the log to everybody before.
    async fn claim(&mut self) -> Result<bool> {
        while self.remaining_ms().await? > 0 {
            let token = self.token();
            match self.instance.log().claim(LOG, token).await? {
                Ok(AppendOutcome::Appended(_)) => return Ok(true),
                Ok(AppendOutcome::Fenced(_)) => return Ok(false),
                Ok(AppendOutcome::Indeterminate(_))
                | Err(Error::Unavailable(_) | Error::Throttled(_)) => {}
                Ok(other) => bail!("{other:?}"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    async fn renew(&mut self) -> Result<bool> {
        let mut lease = self.instance.lease();
        match lease.renew(&self.grant, LEASE_MS).await? {
            Ok(RenewOutcome::Renewed(grant)) => self.grant = grant,
            Ok(RenewOutcome::Lost(_)) => return Ok(false),
            Ok(RenewOutcome::Indeterminate(_))
            | Err(Error::Unavailable(_) | Error::Throttled(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Appends one record, however often that takes. Not if it is refused.
    async fn append(&mut self) -> Result<bool> {
        let (holder, token) = (self.grant.holder.clone(), self.token());
        let written = self.board.state().history.attempts.len();
        let body = format!("record {written}, by {holder}").into_bytes();
        self.board.state().history.attempts.push(Attempt {
            label: format!("record {written}, by {holder}"),
            bodies: vec![body.clone()],
            began: self.board.now(),
            ended: None,
            ending: Ending::Unknown,
        });
        let options = AppendOptions {
            writer: Writer::Fenced(token),
            expected: None,
            producer: Some(Producer {
                id: holder,
                sequence: *self.sequence,
                started_at: 0,
            }),
        };
        let (ending, what) = loop {
            let mut log = self.instance.log();
            match log
                .append(LOG, std::slice::from_ref(&body), &options)
                .await?
            {
                Ok(AppendOutcome::Appended(extent)) => {
                    *self.sequence += 1;
                    break (
                        Ending::Acknowledged(extent.start, extent.end),
                        What::Appended,
                    );
                }
                Ok(AppendOutcome::Fenced(by)) => {
                    ensure!(by.epoch > token.epoch, "refused by {by:?}");
                    break (Ending::Rejected, What::Refused);
                }
                Ok(AppendOutcome::Indeterminate(_))
                | Err(Error::Unavailable(_) | Error::Throttled(_)) => {}
                Ok(other) => bail!("{other:?}"),
                Err(error) => return Err(error.into()),
            }
        };
        let now = self.board.now();
        self.board.note(self.who, what);
        let mut state = self.board.state();
        let attempt = state.history.attempts.get_mut(written);
        let attempt = attempt.context("an attempt went away")?;
        (attempt.ended, attempt.ending) = (Some(now), ending);
        Ok(what == What::Appended)
    }
}

impl Outcome {
    fn count(&self, what: What) -> usize {
        self.events
            .iter()
            .filter(|event| event.what == what)
            .count()
    }

    /// The shortest, the middle and the longest time without a leader.
    fn take_over_ms(&self) -> [u128; 3] {
        let times = self
            .take_overs
            .iter()
            .map(|change| change.time().as_millis());
        let mut times: Vec<u128> = times.collect();
        times.sort_unstable();
        let at = |place: usize| times.get(place).copied().unwrap_or(0);
        [
            at(0),
            at(times.len() / 2),
            at(times.len().saturating_sub(1)),
        ]
    }

    /// Whether everything that had to hold did.
    pub fn is_clean(&self) -> bool {
        let Verdict {
            acknowledged,
            found,
            ..
        } = self.verdict;
        self.verdict.is_clean() && self.broken.is_empty() && acknowledged == found
    }

    /// Members of an object of JSON.
    pub fn json(&self) -> String {
        let [min, median, max] = self.take_over_ms();
        format!(
            r#""terms":{},"takeover_ms":{{"min":{min},"median":{median},"max":{max}}},"zombie_writes_refused":{}"#,
            self.count(What::Led),
            self.count(What::Refused),
        )
    }

    /// What happened, line by line.
    pub fn story(&self, screen: &Screen) -> String {
        let mut text = String::from("\n");
        let mut tell = |at: Duration, tone: Tone, said: String| {
            let time = screen.toned(Tone::Faint, &format!("{:>6.1} s", at.as_secs_f64()));
            let _ = writeln!(text, "{time}  {}", screen.toned(tone, &said));
        };
        let mut trouble: Option<Duration> = None;
        for Event {
            at,
            candidate,
            what,
        } in &self.events
        {
            let name = name_of(*candidate);
            match what {
                What::Led => {
                    let after = trouble.take().map(|since| *at - since);
                    let after = after.map_or(String::new(), |time| {
                        format!(", {:.1} s later", time.as_secs_f64())
                    });
                    tell(*at, Tone::Good, format!("{name} leads{after}"));
                }
                What::Killed => tell(*at, Tone::Event, format!("{name} is killed")),
                What::Frozen => tell(*at, Tone::Event, format!("{name} freezes")),
                What::Woke => tell(
                    *at,
                    Tone::Event,
                    format!("{name} wakes up and believes that it leads"),
                ),
                What::Refused => tell(
                    *at,
                    Tone::Good,
                    format!("{name} writes, and is refused by what the log says"),
                ),
                What::Resigned | What::Appended | What::Started => {}
            }
            if matches!(what, What::Killed | What::Frozen) {
                trouble = Some(*at);
            }
        }
        text
    }

    /// The closing table.
    pub fn table(&self, screen: &Screen) -> String {
        let Verdict {
            acknowledged,
            lost,
            duplicated,
            ..
        } = self.verdict;
        let mut text = String::new();
        let mut row = |name: &str, value: String, note: String| {
            let line = format!("  {name:<22}{value:>8}  {note}");
            let _ = writeln!(text, "{}", line.trim_end());
        };
        let judged = |count: usize| match count {
            0 => screen.toned(Tone::Good, "none"),
            _ => screen.toned(Tone::Bad, "THIS MUST NOT HAPPEN"),
        };
        let (killed, frozen) = (self.count(What::Killed), self.count(What::Frozen));
        row(
            "terms",
            self.count(What::Led).to_string(),
            format!("leaders killed {killed} times, frozen {frozen} times"),
        );
        let [min, median, max] = self.take_over_ms().map(|time| time as f64 / 1_000.0);
        row(
            "take-over",
            format!("{median:.1} s"),
            format!("in the median, from {min:.1} s to {max:.1} s"),
        );
        row(
            "records acknowledged",
            acknowledged.to_string(),
            format!("played in {:.1} s", self.real.as_secs_f64()),
        );
        let refused = self.count(What::Refused);
        let note = "and none of them in the log".to_owned();
        row("zombie writes refused", refused.to_string(), note);
        row("lost", lost.to_string(), judged(lost));
        row("doubled", duplicated.to_string(), judged(duplicated));
        for violation in self.verdict.violations.iter().chain(&self.broken) {
            let _ = writeln!(text, "  {}", screen.toned(Tone::Bad, violation));
        }
        text
    }

    /// Draws it, and returns where.
    pub fn draw(&self) -> Result<std::path::PathBuf> {
        let folder = host_test::artifact::target().join("demo");
        let path = folder.join("timeline.svg");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&path, Timeline::of(self).svg()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}
