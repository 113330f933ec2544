//! Goal: nothing is created on a store that does not keep conditions, everything is on
//! one that does, and an examination tells the two apart.
//!
//! Method: the core on stores in memory, each with one flaw or trouble of those that
//! occur. What a flawed store holds in the end shows that nothing of the caller's was
//! written. Instances that check one good store at the same time run on the store of
//! `tests/model`, with their requests in random order.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod model;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ifmatch::bucket::{
    Bucket, BucketError, Deletion, Found, Metadata, Object, Page, Precondition, PutOutcome, Read,
    Reply, Span, StoreTime, Version, Write,
};
use ifmatch::doctor::{Check, Report, Verdict};
use ifmatch::env::Env;
use ifmatch::error::Error;
use ifmatch::lease::{AcquireOutcome, Leases, Request};
use ifmatch::log::{AppendOptions, AppendOutcome, CreateOutcome, Logs};
use ifmatch::manifest::{CommitOutcome, Manifests};
use ifmatch::slots::Grace;
use ifmatch::store::Store;
use model::World;
use model::log::batch;
use model::manifest::change;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    IgnoresAbsent,
    IgnoresMatches,
    IgnoresBoth,
    /// One after the other is right; so many at once all win.
    CreatesAtOnce(usize),
    ReplacesAtOnce(usize),
    ReplacesNothing,
    /// Any version of an object that is there is replaced.
    ReplacesOld,
    RefusesReplaces,
    /// A read shows the version before.
    ReadsLate,
    ListsNothing,
    ListsOutOfOrder,
    KeepsDeleted,
}

/// What makes a good store difficult.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// One write per second and key; whatever else comes is 429.
    Limits,
    /// 429 instead of 412.
    ThrottlesLosers,
    /// The next so many replies to writes are lost.
    LosesReplies(u32),
    TellsNoTime,
    RefusesDeletes,
    SendsUnchanged,
    ClocksDiffer,
    /// The version of an object is the hash of its bytes.
    NamesContent,
}

#[derive(Clone, Debug)]
struct Stored {
    body: Vec<u8>,
    version: u64,
    at_ms: u64,
}

struct Inner {
    flaw: Cell<Flaw>,
    trouble: Cell<Trouble>,
    objects: RefCell<BTreeMap<String, Vec<Stored>>>,
    now_ms: Cell<u64>,
    versions: Cell<u64>,
    random: Cell<u128>,
    requests: Cell<u32>,
    lost: Cell<u32>,
}

#[derive(Clone)]
struct Odd(Rc<Inner>);

impl Odd {
    fn new(flaw: Flaw, trouble: Trouble) -> Odd {
        Odd(Rc::new(Inner {
            flaw: Cell::new(flaw),
            trouble: Cell::new(trouble),
            objects: RefCell::default(),
            now_ms: Cell::new(1_700_000_000_000),
            versions: Cell::new(0),
            random: Cell::new(1),
            requests: Cell::new(0),
            lost: Cell::new(0),
        }))
    }

    /// As an instance sees it that knows nothing.
    fn store(&self) -> Rc<Store<Odd, Odd>> {
        Rc::new(Store::new(self.clone(), self.clone()))
    }

    fn create(&self, name: &str) -> Result<CreateOutcome, Error> {
        block_on(Logs::new(self.store()).create(name, Grace::DEFAULT))
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let objects = self.0.objects.borrow();
        let keys = objects.keys().filter(|key| key.starts_with(prefix));
        keys.cloned().collect()
    }

    /// Everything that is not of the check.
    fn created(&self) -> Vec<String> {
        let keys = self.keys("").into_iter();
        keys.filter(|key| !key.starts_with("_doctor/")).collect()
    }

    fn requests(&self) -> u32 {
        self.0.requests.take()
    }

    fn examine(&self) -> Report {
        block_on(self.store().examine()).unwrap()
    }

    fn time(&self, unix_ms: u64) -> Option<StoreTime> {
        (self.0.trouble.get() != Trouble::TellsNoTime).then_some(StoreTime { unix_ms })
    }

    /// Whether the condition holds for what stood there before.
    fn holds(&self, write: &Write, before: Option<&Stored>, winners: usize) -> bool {
        let flaw = self.0.flaw.get();
        match (&write.precondition, before) {
            (Precondition::Absent, None) => match flaw {
                Flaw::CreatesAtOnce(most) => winners < most,
                Flaw::IgnoresAbsent | Flaw::IgnoresBoth => true,
                _ => winners == 0,
            },
            (Precondition::Absent, Some(_)) => {
                matches!(flaw, Flaw::IgnoresAbsent | Flaw::IgnoresBoth)
            }
            (Precondition::Matches(version), Some(stored)) => match flaw {
                Flaw::IgnoresMatches | Flaw::IgnoresBoth | Flaw::ReplacesOld => true,
                Flaw::RefusesReplaces => false,
                Flaw::ReplacesAtOnce(most) => {
                    version.0 == stored.version.to_string() && winners < most
                }
                // What is replaced by the same has the same version.
                _ if stored.body == write.body && self.names_content() => {
                    version.0 == stored.version.to_string()
                }
                _ => version.0 == stored.version.to_string() && winners == 0,
            },
            (Precondition::Matches(_), None) => matches!(
                flaw,
                Flaw::IgnoresMatches | Flaw::IgnoresBoth | Flaw::ReplacesNothing
            ),
        }
    }

    /// All of these arrive at once.
    fn put_all(&self, writes: &[Write]) -> Vec<Result<PutOutcome, BucketError>> {
        let before = self.0.objects.borrow().clone();
        let mut winners: BTreeMap<&str, usize> = BTreeMap::new();
        let now_ms = self.0.now_ms.get();
        let outcome = |write: &Write, won: &mut usize| {
            self.0.requests.set(self.0.requests.get() + 1);
            let stood = before.get(&write.key).and_then(|versions| versions.last());
            let too_soon = stood.is_some_and(|stored| now_ms < stored.at_ms + 1_000) || *won > 0;
            if self.0.trouble.get() == Trouble::Limits && too_soon {
                return Err(BucketError::Throttled(1_000));
            }
            if !self.holds(write, stood, *won) {
                if self.0.trouble.get() == Trouble::ThrottlesLosers {
                    return Err(BucketError::Throttled(1_000));
                }
                return Ok(PutOutcome::PreconditionFailed);
            }
            *won += 1;
            let count = self.0.versions.get() + 1;
            self.0.versions.set(count);
            let version = match self.names_content() {
                true => write.body.iter().fold(7, |sum: u64, byte| {
                    sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte)
                }),
                false => count,
            };
            let mut objects = self.0.objects.borrow_mut();
            objects.entry(write.key.clone()).or_default().push(Stored {
                body: write.body.clone(),
                version,
                at_ms: now_ms,
            });
            if let Trouble::LosesReplies(most) = self.0.trouble.get()
                && self.0.lost.get() < most
            {
                self.0.lost.set(self.0.lost.get() + 1);
                return Ok(PutOutcome::Indeterminate("no answer".to_owned()));
            }
            Ok(PutOutcome::Written {
                version: Version(version.to_string()),
                observed_at: self.time(now_ms),
            })
        };
        writes
            .iter()
            .map(|write| outcome(write, winners.entry(&write.key).or_default()))
            .collect()
    }

    fn names_content(&self) -> bool {
        self.0.trouble.get() == Trouble::NamesContent
    }

    fn metadata(&self, key: &str, stored: &Stored) -> Metadata {
        let off_ms = match self.0.trouble.get() {
            Trouble::ClocksDiffer => 3_600_000,
            _ => 0,
        };
        Metadata {
            key: key.to_owned(),
            version: Version(stored.version.to_string()),
            size_bytes: stored.body.len() as u64,
            modified_at: self.time(stored.at_ms + off_ms),
        }
    }
}

impl Bucket for Odd {
    async fn get(&self, read: Read) -> Result<Reply, BucketError> {
        self.0.requests.set(self.0.requests.get() + 1);
        let objects = self.0.objects.borrow();
        let late = usize::from(self.0.flaw.get() == Flaw::ReadsLate);
        let versions = objects.get(&read.key);
        let found = match versions.and_then(|versions| versions.iter().rev().nth(late)) {
            None => Found::Absent,
            Some(stored)
                if read.unless == Some(Version(stored.version.to_string()))
                    && self.0.trouble.get() != Trouble::SendsUnchanged =>
            {
                Found::Unchanged
            }
            Some(stored) => {
                let mut body = stored.body.clone();
                if let Span::First(bytes) = read.span {
                    body.truncate(bytes as usize);
                }
                Found::Object(Object {
                    metadata: self.metadata(&read.key, stored),
                    body,
                })
            }
        };
        Ok(Reply {
            found,
            observed_at: self.time(self.0.now_ms.get()),
        })
    }

    async fn get_many(&self, reads: Vec<Read>) -> Vec<Result<Reply, BucketError>> {
        let mut replies = Vec::new();
        for read in reads {
            replies.push(self.get(read).await);
        }
        replies
    }

    async fn put(&self, write: &Write) -> Result<PutOutcome, BucketError> {
        self.put_all(std::slice::from_ref(write)).remove(0)
    }

    async fn put_many(&self, writes: &[Write]) -> Vec<Result<PutOutcome, BucketError>> {
        self.put_all(writes)
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> Result<Page, BucketError> {
        self.0.requests.set(self.0.requests.get() + 1);
        let objects = self.0.objects.borrow();
        let mut all: Vec<Metadata> = objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| start_after.is_none_or(|after| key.as_str() > after))
            .filter_map(|(key, versions)| Some(self.metadata(key, versions.last()?)))
            .collect();
        match self.0.flaw.get() {
            Flaw::ListsNothing => all.clear(),
            Flaw::ListsOutOfOrder => all.reverse(),
            _ => {}
        }
        let more = all.len() > limit as usize;
        all.truncate(limit as usize);
        Ok(Page {
            objects: all,
            more,
            observed_at: self.time(self.0.now_ms.get()),
        })
    }
}

impl Deletion for Odd {
    async fn delete_many(&self, keys: Vec<String>) -> Result<(), BucketError> {
        self.0.requests.set(self.0.requests.get() + 1);
        if self.0.trouble.get() == Trouble::RefusesDeletes {
            return Err(BucketError::AccessDenied("no deletes here".to_owned()));
        }
        if self.0.flaw.get() != Flaw::KeepsDeleted {
            let mut objects = self.0.objects.borrow_mut();
            keys.iter().for_each(|key| drop(objects.remove(key)));
        }
        Ok(())
    }
}

impl Env for Odd {
    fn monotonic_ms(&self) -> u64 {
        self.0.now_ms.get()
    }

    async fn sleep_ms(&self, ms: u64) {
        self.0.now_ms.set(self.0.now_ms.get() + ms);
    }

    fn random_u128(&self) -> u128 {
        let next = self.0.random.get().wrapping_mul(0xda94_2042_e4dd_58b5);
        self.0.random.set(next.wrapping_add(0x1_0000_0001));
        self.0.random.get() >> 7
    }
}

/// These stores answer at once.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits for nothing"),
    }
}

fn wish() -> Request {
    Request {
        holder: "a".to_owned(),
        duration_ms: 10_000,
        note: String::new(),
        bounds: None,
    }
}

/// Every store whose conditional writes are not what they seem.
const UNSAFE: [Flaw; 8] = [
    Flaw::IgnoresAbsent,
    Flaw::IgnoresMatches,
    Flaw::IgnoresBoth,
    Flaw::CreatesAtOnce(2),
    Flaw::CreatesAtOnce(8),
    Flaw::ReplacesAtOnce(2),
    Flaw::ReplacesAtOnce(8),
    Flaw::ReplacesOld,
];

/// Requests of the first creation in an installation, besides its own: the note is
/// read, two keys are created and replaced by eight each, and the note is written.
const CHECK_REQUESTS: u32 = 1 + 2 * 2 * 8 + 1;

#[test]
fn scenario_54_a_store_that_does_not_keep_conditions_is_refused_at_creation() {
    for flaw in UNSAFE {
        let odd = Odd::new(flaw, Trouble::None);
        // Each by an instance of its own, and again, as whoever retries does.
        for _ in 0..20 {
            let created = odd.create("l");
            assert!(matches!(created, Err(Error::Unsupported(_))), "{flaw:?}");
            let logs = Logs::new(odd.store());
            let appended = block_on(logs.append("l", &batch("a"), &AppendOptions::SHARED));
            assert!(matches!(appended, Err(Error::Unsupported(_))), "{flaw:?}");
            let leases = Leases::new(odd.store());
            let acquired = block_on(leases.acquire("l", &wish()));
            assert!(matches!(acquired, Err(Error::Unsupported(_))), "{flaw:?}");
            let manifests = Manifests::new(odd.store());
            let committed = block_on(manifests.commit("m", &change(0, "a=1")));
            assert!(matches!(committed, Err(Error::Unsupported(_))), "{flaw:?}");
            let created = block_on(manifests.create("m", Grace::DEFAULT));
            assert!(matches!(created, Err(Error::Unsupported(_))), "{flaw:?}");
        }
        assert_eq!(odd.created(), [""; 0], "{flaw:?}");
        assert_eq!(odd.keys("_doctor/passed"), [""; 0], "{flaw:?}");
        // Two objects of 16 bytes for each time, and of those not more than 65,536.
        assert!(odd.keys("").len() <= 2 * 20 * 5, "{flaw:?}");
    }
}

#[test]
fn a_store_that_keeps_conditions_is_checked_once() {
    let odd = Odd::new(Flaw::None, Trouble::None);
    assert_eq!(odd.create("first"), Ok(CreateOutcome::Created));
    assert_eq!(odd.requests(), 2 + CHECK_REQUESTS);
    // Others find the note: one request.
    assert_eq!(odd.create("second"), Ok(CreateOutcome::Created));
    assert_eq!(odd.requests(), 2 + 1);
    // And remember it.
    let logs = Logs::new(odd.store());
    block_on(logs.create("third", Grace::DEFAULT)).unwrap();
    odd.requests();
    block_on(logs.create("fourth", Grace::DEFAULT)).unwrap();
    assert_eq!(odd.requests(), 2);
    assert_eq!(odd.keys("_doctor/probe").len(), 2);
}

#[test]
fn what_exists_is_used_without_a_check() {
    let odd = Odd::new(Flaw::None, Trouble::None);
    odd.create("l").unwrap();
    odd.requests();
    let logs = Logs::new(odd.store());
    block_on(logs.append("l", &batch("a"), &AppendOptions::SHARED)).unwrap();
    assert_eq!(odd.requests(), 3);
    let manifests = Manifests::new(odd.store());
    block_on(manifests.commit("m", &change(0, "a=1"))).unwrap();
    let leases = Leases::new(odd.store());
    block_on(leases.acquire("l", &wish())).unwrap();
    let before = odd.keys("_doctor/");
    odd.requests();
    let manifests = Manifests::new(odd.store());
    block_on(manifests.commit("m", &change(1, "a=2"))).unwrap();
    assert!(odd.requests() <= 3);
    assert_eq!(odd.keys("_doctor/"), before);
}

#[test]
fn difficult_stores_that_keep_conditions_pass() {
    for trouble in [
        Trouble::Limits,
        Trouble::LosesReplies(2),
        Trouble::TellsNoTime,
        Trouble::RefusesDeletes,
        Trouble::SendsUnchanged,
        Trouble::NamesContent,
    ] {
        let odd = Odd::new(Flaw::None, trouble);
        assert_eq!(odd.create("l"), Ok(CreateOutcome::Created), "{trouble:?}");
        odd.requests();
        assert_eq!(odd.create("m"), Ok(CreateOutcome::Created), "{trouble:?}");
        assert_eq!(odd.requests(), 3, "{trouble:?}");
        let leases = Leases::new(odd.store());
        let acquired = block_on(leases.acquire("l", &wish()));
        let acquired = acquired.unwrap();
        let held = matches!(acquired, AcquireOutcome::Acquired(_));
        assert!(held, "{trouble:?}: {acquired:?}");
    }
}

/// A store that limits the writes to one key hides behind 429 that it ignores
/// conditions, but not for long.
#[test]
fn a_limit_does_not_hide_a_flaw() {
    for flaw in [Flaw::IgnoresAbsent, Flaw::IgnoresMatches, Flaw::IgnoresBoth] {
        let odd = Odd::new(flaw, Trouble::Limits);
        let created = odd.create("l");
        assert!(matches!(created, Err(Error::Unsupported(_))), "{flaw:?}");
        assert_eq!(odd.created(), [""; 0], "{flaw:?}");
    }
}

/// One that never refuses a write for its condition has not shown that it would.
#[test]
fn a_limit_alone_shows_nothing() {
    let odd = Odd::new(Flaw::None, Trouble::ThrottlesLosers);
    let created = odd.create("l");
    assert!(matches!(created, Err(Error::Unavailable(_))), "{created:?}");
    assert_eq!(odd.created(), [""; 0]);
    assert_eq!(odd.keys("_doctor/passed"), [""; 0]);
}

#[test]
fn a_check_whose_replies_are_lost_is_neither_passed_nor_failed() {
    for flaw in [Flaw::None, Flaw::IgnoresBoth] {
        let odd = Odd::new(flaw, Trouble::LosesReplies(u32::MAX));
        let created = odd.create("l");
        assert!(matches!(created, Err(Error::Unavailable(_))), "{created:?}");
        assert_eq!(odd.created(), [""; 0]);
        assert_eq!(odd.keys("_doctor/passed"), [""; 0]);
        // The next one tells.
        odd.0.trouble.set(Trouble::None);
        match flaw {
            Flaw::None => assert_eq!(odd.create("l"), Ok(CreateOutcome::Created)),
            _ => assert!(matches!(odd.create("l"), Err(Error::Unsupported(_)))),
        }
    }
}

#[test]
fn a_note_that_was_copied_or_damaged_is_not_believed() {
    let key = "_doctor/passed";
    let good = Odd::new(Flaw::None, Trouble::None);
    good.create("l").unwrap();
    let note = good.0.objects.borrow()[key].clone();
    let copy = |change: fn(&mut Stored)| {
        let odd = Odd::new(Flaw::IgnoresMatches, Trouble::None);
        let mut note = note.clone();
        note.iter_mut().for_each(change);
        odd.0.objects.borrow_mut().insert(key.to_owned(), note);
        odd.create("l")
    };
    assert_eq!(copy(|_| {}), Ok(CreateOutcome::Created));
    let changes: [fn(&mut Stored); 4] = [
        |note| note.at_ms += 11 * 60_000,
        |note| note.at_ms -= 11 * 60_000,
        |note| note.body.truncate(20),
        |note| note.body[0] ^= 1,
    ];
    for change in changes {
        assert!(matches!(copy(change), Err(Error::Unsupported(_))));
    }
    // Where the store is good, it is replaced by a better one.
    let odd = Odd::new(Flaw::None, Trouble::None);
    let mut old = note;
    old[0].at_ms -= 11 * 60_000;
    odd.0.objects.borrow_mut().insert(key.to_owned(), old);
    odd.create("l").unwrap();
    odd.requests();
    odd.create("m").unwrap();
    assert_eq!(odd.requests(), 3);
}

/// All orders of the requests of several instances on one good store, sampled. Twins
/// draw the same random bits, and so try the same keys at the same time.
#[test]
fn instances_that_check_a_good_store_at_once_disturb_nobody() {
    for seed in 0..300 {
        let world = World::new();
        let seeds = match seed % 3 {
            0 => [1, 1, 1],
            1 => [seed, seed, seed + 1],
            _ => [seed, seed + 1, seed + 2],
        };
        let logs = seeds.map(|seed| Rc::new(Logs::new(world.unchecked_store(seed))));
        let mut ops: Vec<_> = logs
            .iter()
            .map(|logs| world.start(logs.create("l", Grace::DEFAULT)))
            .collect();
        let mut dice = seed + 1;
        loop {
            let waiting: Vec<_> = ops
                .iter_mut()
                .enumerate()
                .filter_map(|(at, op)| op.request().map(|_| at))
                .collect();
            if waiting.is_empty() {
                break;
            }
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ops[waiting[(dice >> 33) as usize % waiting.len()]].serve();
        }
        for op in ops {
            let outcome = op.done();
            assert!(
                matches!(
                    outcome,
                    Ok(CreateOutcome::Created | CreateOutcome::Exists(_))
                ),
                "seed {seed}: {outcome:?}"
            );
        }
    }
}

/// The checks that did not pass.
fn problems(report: &Report) -> Vec<(Check, Verdict)> {
    let findings = report.findings.iter();
    findings
        .filter(|finding| finding.verdict != Verdict::Passed)
        .inspect(|finding| assert!(!finding.detail.is_empty()))
        .map(|finding| (finding.check, finding.verdict))
        .collect()
}

#[test]
fn scenario_54_an_examination_names_what_is_wrong() {
    use Check::{Create, Listing, RacingCreates, RacingReplaces, Replace};
    let both = &[Create, Replace, RacingCreates, RacingReplaces];
    let cases: [(Flaw, &[Check]); 14] = [
        (Flaw::None, &[]),
        (Flaw::IgnoresAbsent, &[Create, RacingCreates]),
        (Flaw::IgnoresMatches, &[Replace, RacingReplaces]),
        (Flaw::IgnoresBoth, both),
        (Flaw::CreatesAtOnce(2), &[RacingCreates]),
        (Flaw::CreatesAtOnce(8), &[RacingCreates]),
        (Flaw::ReplacesAtOnce(3), &[RacingReplaces]),
        (Flaw::ReplacesNothing, &[Replace]),
        (Flaw::ReplacesOld, &[Replace, RacingReplaces]),
        (Flaw::RefusesReplaces, &[Replace]),
        (Flaw::ReadsLate, &[Check::Read]),
        (Flaw::ListsNothing, &[Listing]),
        (Flaw::ListsOutOfOrder, &[Listing]),
        (Flaw::KeepsDeleted, &[Check::Deletion]),
    ];
    for (flaw, checks) in cases {
        let odd = Odd::new(flaw, Trouble::None);
        let report = odd.examine();
        let failed: Vec<_> = problems(&report)
            .into_iter()
            .filter(|(check, verdict)| {
                // What was read and listed late differs in more than one place.
                *verdict == Verdict::Failed && (flaw != Flaw::ReadsLate || checks.contains(check))
            })
            .map(|(check, _)| check)
            .collect();
        assert_eq!(failed, checks, "{flaw:?}: {report:?}");
        assert_eq!(report.findings.len(), 9, "{flaw:?}");
        assert_eq!(report.verdict() == Verdict::Failed, flaw != Flaw::None);
        if flaw != Flaw::KeepsDeleted {
            assert_eq!(odd.keys(""), [""; 0], "{flaw:?}: nothing is left behind");
        }
    }
}

#[test]
fn an_examination_tells_what_costs_more() {
    for (trouble, check) in [
        (Trouble::TellsNoTime, Check::Time),
        (Trouble::ClocksDiffer, Check::Time),
        (Trouble::RefusesDeletes, Check::Deletion),
        (Trouble::SendsUnchanged, Check::UnchangedRead),
    ] {
        let report = Odd::new(Flaw::None, trouble).examine();
        assert_eq!(
            problems(&report),
            [(check, Verdict::Limited)],
            "{trouble:?}"
        );
        assert_eq!(report.verdict(), Verdict::Limited);
    }
    let odd = Odd::new(Flaw::None, Trouble::Limits);
    assert_eq!(odd.examine().verdict(), Verdict::Passed);
    let odd = Odd::new(Flaw::None, Trouble::LosesReplies(1));
    let lost = block_on(odd.store().examine());
    assert!(matches!(lost, Err(Error::Unavailable(_))), "{lost:?}");
    let odd = Odd::new(Flaw::None, Trouble::None);
    assert_eq!(odd.examine().verdict(), Verdict::Passed);
    assert!(odd.requests() <= 150);
}

#[test]
fn what_is_created_is_usable_at_once() {
    let odd = Odd::new(Flaw::None, Trouble::None);
    let logs = Logs::new(odd.store());
    let appended = block_on(logs.append("l", &batch("a"), &AppendOptions::SHARED)).unwrap();
    assert!(matches!(appended, AppendOutcome::Appended(_)));
    let manifests = Manifests::new(odd.store());
    let committed = block_on(manifests.commit("m", &change(0, "a=1"))).unwrap();
    assert!(matches!(committed, CommitOutcome::Committed(1)));
}
