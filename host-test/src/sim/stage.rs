//! What the actors of one run share: the world, what has to go wrong yet, and the
//! notes of everything that was said and seen.

use super::Extent;
use super::report::{Run, VIOLATED};
use super::weather::{CLOCK_RATE, KINDS, Mishap, Weather};
use crate::random::Seeded;
use crate::store::{Credential, Deed};
use crate::world::{Settings, World};
use anyhow::{Context, Result};
use ifmatch::keys::ChainKeys;
use sha2::{Digest, Sha256};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A future of one run, which stays in its thread.
pub type Local<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// A family of calls in a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// Puts its actors on the stage.
    pub begin: fn(Rc<Stage>) -> Local<'static, Box<dyn Act>>,
}

/// The actors of one family, and what they were told.
pub trait Act {
    /// The family's name.
    fn name(&self) -> &'static str;

    /// Compares what they were told with what the store holds. The weather is calm,
    /// and nothing is on its way any more. What is wrong goes to [`Stage::violated`].
    fn judge<'a>(&'a self, stage: &'a Rc<Stage>) -> Local<'a, ()>;
}

/// One of so many calls, or starts, meets a mishap that is owed.
const OWED_ONE_IN: u64 = 8;
/// No run lasts longer than this, in its own time.
const VIRTUAL_TIME_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What the actors of one run share.
pub struct Stage {
    /// Where it takes place.
    pub world: Rc<World>,
    /// What goes wrong.
    pub weather: Weather,
    extent: Extent,
    dice: RefCell<Seeded>,
    owed: RefCell<Vec<Mishap>>,
    credentials: Cell<u64>,
    actors: RefCell<Vec<JoinHandle<Result<()>>>>,
    notes: RefCell<Notes>,
    filled: RefCell<Filled>,
}

/// How much of the diary was looked at, and what it says.
#[derive(Default)]
struct Filled {
    seen: usize,
    /// Objects that were written to slots, by the family and name of the chain.
    slots: BTreeMap<String, u32>,
}

#[derive(Default)]
struct Notes {
    lines: Vec<String>,
    calls: BTreeMap<&'static str, u64>,
    branches: BTreeMap<String, u64>,
    mishaps: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

impl Stage {
    /// A stage without actors.
    pub fn new(world: Rc<World>, weather: Weather, extent: Extent) -> Rc<Self> {
        let dice = RefCell::new(Seeded::fork(world.site().seed(), "stage"));
        Rc::new(Self {
            world,
            weather,
            extent,
            dice,
            owed: RefCell::new(Mishap::ALL.to_vec()),
            credentials: Cell::new(0),
            actors: RefCell::default(),
            notes: RefCell::default(),
            filled: RefCell::default(),
        })
    }

    /// From now on, things go wrong.
    pub fn break_out(&self) {
        let kept = self.world.store().tamper(|store| store.keep_diary());
        if let Err(error) = kept {
            self.violated(format!("the harness cannot keep a diary: {error}"));
        }
        self.world
            .faults()
            .rates(self.weather.rates.clone())
            .spans(self.weather.spans.clone())
            .owe(self.weather.owed.iter().cloned())
            .one_write_per_key_in(Some(self.weather.write_interval));
    }

    /// Ends all that goes wrong, and waits for what is still on its way.
    pub async fn calm_down(&self) {
        self.world.faults().calm();
        self.world.settle().await;
        self.line("calm".to_owned());
    }

    /// Puts an actor on the stage.
    pub fn spawn(&self, actor: impl Future<Output = Result<()>> + 'static) {
        let actor = tokio::task::spawn_local(actor);
        self.actors.borrow_mut().push(actor);
    }

    /// Waits until every actor has left.
    pub(super) async fn all_done(&self) -> Result<()> {
        loop {
            let Some(actor) = self.actors.borrow_mut().pop() else {
                return Ok(());
            };
            match actor.await.context("an actor panicked")? {
                Ok(()) => {}
                Err(error) => self.violated(format!("{error:#}")),
            }
        }
    }

    /// Whether actors should leave.
    pub fn is_over(&self) -> bool {
        let calls = self.calls();
        let missing = self.missing().len();
        let owed = self.world.faults().owed() + self.owed.borrow().len() + missing;
        let broken = !self.notes.borrow().violations.is_empty();
        broken
            || calls >= self.extent.calls && owed == 0
            || calls >= self.extent.calls_max
            || self.now() > VIRTUAL_TIME_MAX
    }

    /// What must go wrong and has not yet.
    fn missing(&self) -> Vec<&'static str> {
        let notes = self.notes.borrow();
        let faults = self.world.faults();
        let happened =
            |kind: &str| notes.mishaps.contains_key(kind) || faults.counts().contains_key(kind);
        KINDS.into_iter().filter(|kind| !happened(kind)).collect()
    }

    /// Time since the run began.
    pub fn now(&self) -> Duration {
        self.world.clock().elapsed()
    }

    /// Lets time pass: up to so many milliseconds.
    pub async fn idle(&self, dice: &mut Seeded, up_to_ms: u64) {
        tokio::time::sleep(Duration::from_millis(dice.below(up_to_ms))).await;
    }

    /// Whether a mishap is due now that has to happen yet.
    pub fn is_due(&self, mishap: Mishap) -> bool {
        self.owed.borrow().contains(&mishap) && self.dice.borrow_mut().below(OWED_ONE_IN) == 0
    }

    /// A mishap has happened.
    pub fn happened(&self, mishap: Mishap) {
        self.owed.borrow_mut().retain(|owed| *owed != mishap);
        self.count(mishap.name());
    }

    /// An instance was started whose clocks run wrong.
    pub fn clock_runs_wrong(&self) {
        self.count(CLOCK_RATE);
    }

    fn count(&self, name: &'static str) {
        *self.notes.borrow_mut().mishaps.entry(name).or_default() += 1;
    }

    /// A number that tells this draw from all others.
    pub fn draw(&self) -> u64 {
        self.dice.borrow_mut().draw()
    }

    /// The settings of one start of an instance, with credentials of its own.
    pub fn issue_credentials(&self) -> Result<Settings> {
        self.credentials.set(self.credentials.get() + 1);
        let number = self.credentials.get();
        let credential = Credential::temporary(
            &format!("access-key-{number}-"),
            "a-secret-of-the-harness",
            &format!("token-{number}"),
            None,
        );
        let settings = [
            ("AWS_ACCESS_KEY_ID", credential.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", credential.secret_key.clone()),
            ("AWS_SESSION_TOKEN", format!("token-{number}")),
        ];
        self.world
            .store()
            .tamper(|store| store.options_mut().credentials.push(credential))?;
        Ok(settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect())
    }

    /// Notes a line of the history.
    pub fn line(&self, line: String) {
        let now = self.now();
        let mut notes = self.notes.borrow_mut();
        notes
            .lines
            .push(format!("{:>14.6}s {line}", now.as_secs_f64()));
    }

    /// Notes that a call ended.
    pub fn called(&self, call: &'static str, branch: String) {
        let mut notes = self.notes.borrow_mut();
        *notes.calls.entry(call).or_default() += 1;
        *notes.branches.entry(branch).or_default() += 1;
    }

    /// Notes that something happened inside a call.
    pub fn passed(&self, branch: String) {
        *self.notes.borrow_mut().branches.entry(branch).or_default() += 1;
    }

    /// Notes what must not be.
    pub fn violated(&self, violation: String) {
        self.line(format!("{VIOLATED} {violation}"));
        self.notes.borrow_mut().violations.push(violation);
    }

    /// Calls that ended so far.
    pub fn calls(&self) -> u64 {
        self.notes.borrow().calls.values().sum()
    }

    /// Everything that was written and deleted under a prefix.
    pub fn diary(&self, prefix: &str) -> Result<Vec<Deed>> {
        self.world.store().tamper(|store| {
            let diary = store.diary().iter();
            diary
                .filter(|deed| deed.key.starts_with(prefix))
                .cloned()
                .collect()
        })
    }

    /// How many objects were written to the slots of logs and manifests so far.
    pub fn filled(&self, chains: &[ChainKeys]) -> u32 {
        if chains.is_empty() {
            return 0;
        }
        let mut filled = self.filled.borrow_mut();
        let looked = self.world.store().tamper(|store| {
            let diary = store.diary();
            for deed in diary.get(filled.seen..).unwrap_or_default() {
                if let Some((chain, rest)) = deed.key.split_once("/_slot/")
                    && deed.body.is_some()
                    // Offers stand beside the slots.
                    && !rest.contains('-')
                {
                    *filled.slots.entry(chain.to_owned()).or_default() += 1;
                }
            }
            filled.seen = diary.len();
        });
        // The diary is kept from the start, or else the run is a failure already.
        looked.map_or(0, |()| {
            let of = |keys: &ChainKeys| {
                let prefix = keys.slots_prefix();
                let chain = prefix.trim_end_matches("/_slot/");
                filled.slots.get(chain).copied().unwrap_or_default()
            };
            chains.iter().map(of).sum()
        })
    }

    /// How long a time by the store's clock is away, for certain.
    pub fn left_until(&self, store_time_ms: u64) -> Duration {
        let left_ms = store_time_ms.saturating_sub(self.world.clock().now_ms().0);
        // By this much, front ends may be ahead of each other.
        let margin_ms = u64::from(self.weather.lease_margin_ms);
        Duration::from_millis(left_ms.saturating_sub(margin_ms))
    }

    /// What came of it all.
    pub(super) fn finish(&self, found: Result<()>) -> Run {
        if let Err(error) = found {
            self.violated(format!("{error:#}"));
        }
        let missing = self.missing();
        let notes = self.notes.take();
        let sent = self.world.sent();
        let mut faults: BTreeMap<&'static str, u64> = self.world.faults().counts().clone();
        faults.extend(notes.mishaps);
        let mut violations = notes.violations;
        if violations.is_empty() && !missing.is_empty() {
            violations.push(format!("nothing is proven: there was no {missing:?}"));
        }
        let mut trace = notes.lines;
        trace.extend(sent.iter().map(ToString::to_string));
        let mut digest = Sha256::new();
        for line in &trace {
            digest.update(line);
            digest.update("\n");
        }
        let digest = digest.finalize();
        Run {
            seed: self.world.site().seed(),
            calls: notes.calls,
            branches: notes.branches,
            faults,
            requests: self.world.store().totals().all(),
            virtual_time: self.now(),
            digest: crate::store::auth::hex(&digest),
            violations,
            trace,
        }
    }
}
