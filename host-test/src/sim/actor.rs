//! An instance that makes calls, and what befalls it.

use super::stage::Stage;
use super::weather::Mishap;
use crate::bindings::log::Error;
use crate::bindings::receipts::Receipt;
use crate::clock::GuestClock;
use crate::host::Instance;
use crate::random::Seeded;
use crate::tape::Tape;
use anyhow::{Context, Result, ensure};
use ifmatch::keys::ChainKeys;
use std::fmt::Debug;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// A call as data, so that it can be made again by a copy.
pub trait Call: Clone + Debug + 'static {
    /// What is answered.
    type Answer: Debug;
    /// Its name in reports.
    const NAME: &'static str;
    /// How many requests it takes at most if nothing goes wrong and nobody else writes.
    const REQUESTS: u32;
    /// How many more for each slot of [`Call::chains`] that was filled meanwhile.
    const REQUESTS_PER_RIVAL: u32 = 0;
    /// How many more for each slot of them that was ever filled.
    const REQUESTS_PER_SLOT: u32 = 0;
    /// Whether it may create something, so that the store has to be examined first if
    /// the note is not legible that it was.
    const CREATES: bool = false;

    /// The logs and manifests that it works on.
    fn chains(&self) -> Vec<ChainKeys> {
        Vec::new()
    }

    /// Makes it.
    fn make(&self, instance: &mut Instance) -> impl Future<Output = Result<Self::Answer>>;
}

/// A call of any kind.
trait Again {
    fn again<'a>(
        &'a self,
        instance: &'a mut Instance,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;
}

impl<C: Call> Again for C {
    fn again<'a>(
        &'a self,
        instance: &'a mut Instance,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>> {
        Box::pin(async move { self.make(instance).await.map(drop) })
    }
}

/// What no flipped bit makes of an object: checksums come first.
const IMPOSSIBLE: [&str; 5] = [
    "does not follow",
    "is missing",
    "come to",
    "its index does not match",
    "other segments",
];

/// Whether such a day may cause this error. A reply without the time makes calls
/// that need it fail, and a reply with a flipped bit is `corrupt`; but no bit makes an object go
/// or lets it pass with a wrong content.
pub fn is_expected(error: &Error) -> bool {
    match error {
        Error::Unavailable(_) | Error::Throttled(_) => true,
        Error::AccessDenied(text) => text.contains("expired"),
        Error::Corrupt(text) => !IMPOSSIBLE.iter().any(|what| text.contains(what)),
        // A flipped bit in the version or the features looks like a newer format.
        Error::Unsupported(text) => {
            text.contains("time") || text.contains("this version") || text.contains("format")
        }
        // One in the code of an error is none that S3 has.
        Error::Other(text) => text.contains("HTTP 4"),
        _ => false,
    }
}

/// What a call tells: nothing if the instance was killed meanwhile, or if such a day
/// may cause the error.
///
/// # Errors
/// If it may not.
pub fn answered<T>(answer: Option<Result<T, Error>>) -> Result<Option<T>> {
    match answer {
        None => Ok(None),
        Some(Ok(told)) => Ok(Some(told)),
        Some(Err(error)) if is_expected(&error) => Ok(None),
        Some(Err(error)) => Err(error.into()),
    }
}

/// How far a wall clock may jump.
const JUMP_MS: u64 = 86_400_000;
/// A call that is cut off lasts at most this long.
const LIFE_MS: u64 = 300;
/// A replay that takes any time at all, in the world's time, stands still.
const REPLAY_TIME: Duration = Duration::from_secs(1);
/// No call lasts longer than this, pauses and all.
const CALL_TIME_MAX: Duration = Duration::from_secs(5 * 86_400);
/// Requests that each repetition, lost race and look at the watermark explains.
const REQUESTS_PER_MISHAP: u32 = 4;
/// An examination of the store takes about 40 requests. Where the store asks to wait again
/// and again, it is five rounds of eight writes to two keys, twice, and some reads.
const EXAMINATION: u32 = 5 * 8 * 2 * 2 + 20;
/// Half of all instances have a clock that runs wrong.
const WRONG_CLOCK_ONE_IN: u64 = 2;

/// An instance under a name, and its host.
pub struct Actor {
    stage: Rc<Stage>,
    name: String,
    instance: Instance,
    seed: u64,
    deaths: Vec<(u64, Duration)>,
    /// Of its choices. A copy makes choices of its own.
    pub dice: Seeded,
    /// Every call since it was started; nothing for a copy, which cannot be copied.
    journal: Option<Vec<Rc<dyn Again>>>,
}

impl Actor {
    /// Starts an instance.
    ///
    /// # Errors
    /// If the component cannot be started.
    pub async fn start(stage: &Rc<Stage>, name: &str) -> Result<Self> {
        let mut dice = Seeded::fork(stage.world.site().seed(), name);
        let seed = stage.draw();
        let instance = new_instance(stage, name, seed, &mut dice).await?;
        Ok(Self {
            stage: stage.clone(),
            name: name.to_owned(),
            instance,
            seed,
            deaths: Vec::new(),
            dice,
            journal: Some(Vec::new()),
        })
    }

    /// Where it plays.
    pub fn stage(&self) -> &Rc<Stage> {
        &self.stage
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells its instance from all others.
    pub fn instance(&self) -> u64 {
        self.seed
    }

    /// The instances that it had since the last call of this, and when they ended.
    pub fn take_deaths(&mut self) -> Vec<(u64, Duration)> {
        std::mem::take(&mut self.deaths)
    }

    /// What its instance believes about time.
    pub fn clock(&self) -> &GuestClock {
        self.instance.clock()
    }

    /// Starts a new instance in place of the one that there is.
    ///
    /// # Errors
    /// If the component cannot be started.
    pub async fn start_anew(&mut self) -> Result<()> {
        self.stage.line(format!("{} starts anew", self.name));
        self.deaths.push((self.seed, self.stage.now()));
        self.seed = self.stage.draw();
        self.instance = new_instance(&self.stage, &self.name, self.seed, &mut self.dice).await?;
        self.journal = Some(Vec::new());
        Ok(())
    }

    /// Makes a call. The answer is `None` if the instance was killed meanwhile.
    ///
    /// # Errors
    /// If the instance traps, or uses more requests than it should.
    pub async fn make<C: Call>(&mut self, call: C) -> Result<Option<C::Answer>> {
        self.befall().await?;
        let stage = self.stage.clone();
        stage.line(format!("{} {call:?}", self.name));
        let chains = call.chains();
        let filled_before = stage.filled(&chains);
        let killed = self.dice.below(stage.weather.killed_one_in) == 0;
        let answer = if killed || stage.is_due(Mishap::Kill) {
            let life = Duration::from_millis(self.dice.below(LIFE_MS));
            let answer = timeout(life, call.make(&mut self.instance)).await;
            answer.ok().transpose()?
        } else {
            let answer = timeout(CALL_TIME_MAX, call.make(&mut self.instance)).await;
            Some(answer.with_context(|| format!("{} does not end", C::NAME))??)
        };
        let Some(answer) = answer else {
            stage.happened(Mishap::Kill);
            stage.line(format!("{} is killed", self.name));
            self.start_anew().await?;
            return Ok(None);
        };
        let shown = format!("{answer:?}");
        stage.called(C::NAME, format!("{} {}", C::NAME, branch(&shown)));
        let receipt = self.instance.receipts().take().await?;
        stage.line(format!("{} <- {shown} {}", self.name, brief(&receipt)));
        let filled = stage.filled(&chains);
        if let Some(journal) = &mut self.journal {
            journal.push(Rc::new(call));
        }
        check_requests::<C>(&receipt, filled_before, filled)?;
        for (passed, what) in [
            (receipt.races_lost > 0, "lost a race"),
            (receipt.grace_checks > 0, "looked at the watermark"),
            (receipt.retries > 0, "sent again"),
        ] {
            if passed {
                stage.passed(format!("{} {what}", C::NAME));
            }
        }
        if shown.contains("have expired") {
            self.start_anew().await?;
        }
        Ok(Some(answer))
    }

    /// Makes a call, and gives what it [tells](answered).
    ///
    /// # Errors
    /// As [`Actor::make`], and if the call ends with an error that no such day explains.
    pub async fn ask<C, T>(&mut self, call: C) -> Result<Option<T>>
    where
        C: Call<Answer = Result<T, Error>>,
    {
        answered(self.make(call).await?)
    }

    /// What befalls it between two calls.
    async fn befall(&mut self) -> Result<()> {
        if self.stage.is_due(Mishap::ClockJump) {
            let by = i64::try_from(self.dice.below(2 * JUMP_MS))? - i64::try_from(JUMP_MS)?;
            self.instance.clock().jump_wall_ms(by);
            self.stage.happened(Mishap::ClockJump);
            let line = format!("the wall clock of {} jumps by {by} ms", self.name);
            self.stage.line(line);
        }
        if self.stage.is_due(Mishap::Restart) {
            self.stage.happened(Mishap::Restart);
            self.start_anew().await?;
        }
        Ok(())
    }

    /// A copy of the running instance, if it is time for one.
    ///
    /// # Errors
    /// If the component cannot be started.
    pub async fn twin(&mut self) -> Result<Option<Self>> {
        let journal = self.journal.as_ref().filter(|calls| !calls.is_empty());
        let (Some(journal), Some(tape)) = (journal, self.instance.tape()) else {
            return Ok(None);
        };
        if !self.stage.is_due(Mishap::Clone) {
            return Ok(None);
        }
        let mut instance = self
            .stage
            .world
            .instance(self.instance.name())
            .settings(self.instance.settings())
            .clock(self.instance.clock().clone())
            .random_seed(self.seed)
            .tape(tape.rewound())
            .await?;
        let replay = async {
            for call in journal {
                call.again(&mut instance).await?;
            }
            instance.receipts().take().await
        };
        // A replay waits for nothing, unless it has gone another way.
        let same = match timeout(REPLAY_TIME, replay).await {
            Err(_) => Err("the replay stands still".to_owned()),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Ok(Ok(_)) => instance.tape().map_or(Ok(()), |tape| tape.end_replay()),
        };
        if let Err(how) = same {
            self.stage.line(format!("no copy of {}: {how}", self.name));
            self.stage.passed("no copy".to_owned());
            return Ok(None);
        }
        self.stage.happened(Mishap::Clone);
        // The host gives fresh random bytes to each copy.
        let seed = self.stage.draw();
        instance.reseed(seed);
        let name = format!("{}'", self.name);
        self.stage
            .line(format!("{name} is a copy of {}", self.name));
        Ok(Some(Self {
            stage: self.stage.clone(),
            dice: Seeded::fork(seed, &name),
            name,
            instance,
            seed,
            deaths: Vec::new(),
            journal: None,
        }))
    }
}

async fn new_instance(
    stage: &Rc<Stage>,
    name: &str,
    seed: u64,
    dice: &mut Seeded,
) -> Result<Instance> {
    let clock = GuestClock::right(*stage.world.clock());
    if dice.below(WRONG_CLOCK_ONE_IN) == 0 {
        let rate = i64::from(stage.weather.rate_ppm);
        // The extremes are the likeliest to do harm.
        let ppm = match dice.below(4) {
            0 => rate,
            1 => -rate,
            _ => i64::try_from(dice.below(2 * rate.unsigned_abs() + 1))? - rate,
        };
        clock.run_fast_ppm(ppm);
        stage.clock_runs_wrong();
    }
    let settings = stage.issue_credentials()?;
    let site = stage.world.site();
    site.instance(name)
        .settings(site.settings().clone())
        .settings(settings)
        .clock(clock)
        .random_seed(seed)
        .tape(Tape::default())
        .await
}

/// A call that nothing disturbs keeps to its budget, and each disturbance costs a
/// known number of requests more. Slots were filled before and after it.
fn check_requests<C: Call>(receipt: &Receipt, before: u32, after: u32) -> Result<()> {
    let requests = receipt.gets + receipt.puts + receipt.lists + receipt.deletes;
    let rivals = after.saturating_sub(before);
    let allowed = C::REQUESTS
        + REQUESTS_PER_MISHAP * (receipt.retries + receipt.races_lost + receipt.grace_checks)
        + C::REQUESTS_PER_RIVAL * rivals
        + C::REQUESTS_PER_SLOT * after
        + if C::CREATES && before == 0 {
            EXAMINATION
        } else {
            0
        };
    ensure!(
        requests <= allowed,
        "{}: {requests} requests, and at most {allowed} are explained by {after} slots, {rivals} of \
         them filled meanwhile, and {receipt:?}",
        C::NAME
    );
    Ok(())
}

fn brief(receipt: &Receipt) -> String {
    let Receipt {
        gets,
        puts,
        lists,
        deletes,
        ..
    } = receipt;
    format!("[{gets} {puts} {lists} {deletes}]")
}

/// The variants of an answer, without what they hold: `Ok Mismatch`.
fn branch(shown: &str) -> String {
    let mut words = Vec::new();
    let mut rest = shown;
    while let Some(end) = rest.find(|c: char| !c.is_alphanumeric()) {
        let (word, after) = rest.split_at(end);
        // The name of the variant's type.
        if let Some(variant) = after.strip_prefix("::") {
            rest = variant;
            continue;
        }
        if !word.starts_with(char::is_uppercase) || after.starts_with(" {") {
            break;
        }
        words.push(word);
        rest = match after.strip_prefix('(') {
            Some(inner) => inner,
            None => break,
        };
    }
    if rest.chars().all(char::is_alphanumeric) && !rest.is_empty() {
        words.push(rest);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::log::calls::Append;
    use super::*;

    #[test]
    fn requests_that_nothing_explains_are_seen() {
        let receipt = |puts, retries, races_lost, grace_checks| Receipt {
            gets: 0,
            puts,
            lists: 0,
            deletes: 0,
            retries,
            races_lost,
            grace_checks,
            slept_ms: 0,
        };
        let check =
            |receipt, rivals: u32| check_requests::<Append>(&receipt, 7, 7 + rivals).is_ok();
        let (base, per_rival) = (Append::REQUESTS, Append::REQUESTS_PER_RIVAL);
        assert!(check(receipt(base, 0, 0, 0), 0));
        assert!(!check(receipt(base + 1, 0, 0, 0), 0));
        for (retries, races_lost, grace_checks) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
            let used = |puts| receipt(puts, retries, races_lost, grace_checks);
            assert!(check(used(base + REQUESTS_PER_MISHAP), 0));
            assert!(!check(used(base + REQUESTS_PER_MISHAP + 1), 0));
        }
        assert!(check(receipt(base + 2 * per_rival, 0, 0, 0), 2));
        assert!(!check(receipt(base + 2 * per_rival + 1, 0, 0, 0), 2));
    }

    #[test]
    fn answers_have_branches() {
        for (shown, expected) in [
            ("Ok(Out::Appended(Extent { start: 0 }))", "Ok Appended"),
            ("Ok(Out::OfSequence(Why::Gap(3)))", "Ok OfSequence Gap"),
            ("Ok(Out::Mismatch(5))", "Ok Mismatch"),
            ("Ok(Out::Indeterminate(\"no\"))", "Ok Indeterminate"),
            ("Err(Error::Unavailable(\"no\"))", "Err Unavailable"),
            ("Ok(Out::Released)", "Ok Released"),
            ("Ok(None)", "Ok None"),
            ("Ok(())", "Ok"),
            ("Ok(7)", "Ok"),
        ] {
            assert_eq!(branch(shown), expected, "{shown}");
        }
    }
}
