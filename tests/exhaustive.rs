//! Goal: no order of requests, with any one fault among them, breaks a promise.
//!
//! Method: two or three instances of the core on the model store of `tests/model`,
//! each with an operation or two. From each state, every next step is tried: any
//! waiting request is served, or meets the one fault of the run; a late copy arrives;
//! or the clock goes on by two hours. A run is repeated from its start for each step
//! more, so nothing has to be copied. A state that was met before is not explored
//! again: it consists of the objects, the time, what is on its way, and of what each
//! instance was answered and when, from which follows what it will do, for each draws
//! random bits of its own.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and tells how much it tried"
)]

mod model;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::rc::Rc;

use ifmatch::blob::{Blobs, Generation, Reference};
use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::collection::Act;
use ifmatch::error::Error;
use ifmatch::lease::{AcquireOutcome, Leases, RenewOutcome, Request as Wish};
use ifmatch::log::{AppendOptions, AppendOutcome, Cursor, Extent, Keep, Logs, ReadOutcome};
use ifmatch::manifest::{At, Change, CommitOutcome, Edit, KeepVersions, Manifests};
use ifmatch::token::Epoch;
use model::log::{ALL, batch, fenced};
use model::manifest::{change, commit, latest};
use model::{Answer, HOUR_MS, ModelBucket, ModelEnv, Op, Request, World};

/// No case has more states than this.
const STATES_MAX: usize = 400_000;

/// What one operation told its caller.
#[derive(Debug)]
enum Told {
    Append(&'static str, Result<AppendOutcome, Error>),
    Claim(u64, Result<AppendOutcome, Error>),
    Acquire(Result<AcquireOutcome, Error>),
    Renew(Result<RenewOutcome, Error>),
    Commit(&'static str, Result<CommitOutcome, Error>),
    Trim,
    Sweep,
}

type Actor = Pin<Box<dyn Future<Output = Vec<Told>>>>;

/// One small world.
struct Case {
    name: &'static str,
    /// Prepares the world, and gives the actors.
    actors: fn(&World) -> Vec<Actor>,
    /// How often two hours may pass at some moment.
    sleeps: u32,
    faults: u32,
    /// Panics if a promise is broken. All actors are done.
    check: fn(&World, &[Told]),
}

/// One step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Serve(usize),
    LoseRequest(usize),
    LoseReply(usize),
    /// The sender gives up; the request arrives later.
    Late(usize),
    /// It is served, and arrives again later.
    Duplicate(usize),
    /// 429; nothing is applied.
    Throttle(usize),
    /// What is late arrives.
    Arrive,
    Sleep,
}

/// A run as far as it has come.
struct Run<'c> {
    case: &'c Case,
    world: World,
    actors: Vec<Op<'static, Vec<Told>>>,
    /// What each was answered, and when.
    answered: Vec<String>,
    late: Option<Request>,
    faults_left: u32,
    sleeps_left: u32,
}

impl<'c> Run<'c> {
    fn new(case: &'c Case) -> Run<'c> {
        let world = World::new();
        let actors: Vec<_> = (case.actors)(&world)
            .into_iter()
            .map(|actor| world.start(actor))
            .collect();
        Run {
            case,
            answered: vec![String::new(); actors.len()],
            actors,
            world,
            late: None,
            faults_left: case.faults,
            sleeps_left: case.sleeps,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Serve(actor) => {
                let request = self.actors[actor].request().unwrap();
                let answer = self.world.apply(&request);
                self.answer(actor, answer);
            }
            Step::Arrive => {
                let request = self.late.take().unwrap();
                self.world.apply(&request);
            }
            Step::Sleep => {
                self.sleeps_left -= 1;
                self.world.advance_ms(2 * HOUR_MS);
            }
            Step::LoseRequest(actor)
            | Step::LoseReply(actor)
            | Step::Late(actor)
            | Step::Duplicate(actor)
            | Step::Throttle(actor) => {
                self.faults_left -= 1;
                let request = self.actors[actor].request().unwrap();
                let mut answer = match &request {
                    Request::Put(_) => {
                        Answer::Put(Ok(PutOutcome::Indeterminate("no answer".to_owned())))
                    }
                    other => failed(other, BucketError::Unavailable("no answer".to_owned())),
                };
                match step {
                    Step::LoseReply(_) => drop(self.world.apply(&request)),
                    Step::Late(_) => self.late = Some(request),
                    Step::Duplicate(_) => {
                        answer = self.world.apply(&request);
                        self.late = Some(request);
                    }
                    Step::Throttle(_) => answer = failed(&request, BucketError::Throttled(0)),
                    _ => {}
                }
                self.answer(actor, answer);
            }
        }
    }

    fn answer(&mut self, actor: usize, answer: Answer) {
        let now = self.world.elapsed_ms();
        self.answered[actor].push_str(&format!("{now} {answer:?};"));
        self.actors[actor].answer(answer);
    }

    /// Everything that can come next. Nothing, if all are done.
    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for actor in 0..self.actors.len() {
            let Some(request) = self.actors[actor].request() else {
                continue;
            };
            steps.push(Step::Serve(actor));
            if self.faults_left > 0 {
                steps.extend([Step::LoseRequest(actor), Step::Throttle(actor)]);
                if matches!(request, Request::Put(_) | Request::Delete(_)) {
                    steps.extend([
                        Step::LoseReply(actor),
                        Step::Late(actor),
                        Step::Duplicate(actor),
                    ]);
                }
            }
        }
        if !steps.is_empty() {
            steps.extend(self.late.is_some().then_some(Step::Arrive));
            steps.extend((self.sleeps_left > 0).then_some(Step::Sleep));
        }
        steps
    }

    fn state(&mut self) -> (u64, u64) {
        let waiting: Vec<_> = self.actors.iter_mut().map(|op| op.request()).collect();
        let shared = self.world.0.borrow();
        let objects: Vec<_> = shared.objects.iter().collect();
        let text = format!(
            "{objects:?} {} {waiting:?} {:?} {:?} {} {}",
            shared.now_ms, self.answered, self.late, self.faults_left, self.sleeps_left
        );
        // Two hashes of 64 bits: no two states of a run are taken for one.
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, &text).hash(&mut hasher);
            hasher.finish()
        };
        (hash(0), hash(1))
    }

    /// All are done: nothing may be wrong now, nor after what is late has arrived.
    fn finish(mut self) {
        let told: Vec<Told> = self.actors.drain(..).flat_map(Op::done).collect();
        (self.case.check)(&self.world, &told);
        if let Some(request) = self.late.take() {
            self.world.apply(&request);
            (self.case.check)(&self.world, &told);
        }
    }
}

fn failed(request: &Request, error: BucketError) -> Answer {
    match request {
        Request::Get(_) => Answer::Get(Err(error)),
        Request::Put(_) => Answer::Put(Err(error)),
        Request::List { .. } => Answer::List(Err(error)),
        Request::Delete(_) => Answer::Delete(Err(error)),
    }
}

/// Prints the steps of a run that panics.
struct Trace<'a>(&'a str, &'a [Step]);

impl Drop for Trace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {:?}", self.0, self.1);
        }
    }
}

fn explore(case: &Case) -> (usize, usize) {
    let mut known = BTreeSet::new();
    let mut ends = 0;
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let trace = Trace(case.name, &path);
        let mut run = Run::new(case);
        for step in &path {
            run.take(*step);
        }
        if known.insert(run.state()) {
            let steps = run.steps();
            if steps.is_empty() {
                ends += 1;
                run.finish();
            }
            open.extend(steps.into_iter().map(|step| {
                let mut longer = path.clone();
                longer.push(step);
                longer
            }));
        }
        drop(trace);
        assert!(known.len() <= STATES_MAX, "{}: too many states", case.name);
    }
    eprintln!("{}: {} states, {ends} ends", case.name, known.len());
    (known.len(), ends)
}

fn logs(world: &World, seed: u64) -> Rc<Logs<ModelBucket, ModelEnv>> {
    Rc::new(Logs::new(world.store_drawing(seed)))
}

fn leases(world: &World, seed: u64) -> Rc<Leases<ModelBucket, ModelEnv>> {
    Rc::new(Leases::new(world.store_drawing(seed)))
}

fn manifests(world: &World, seed: u64) -> Rc<Manifests<ModelBucket, ModelEnv>> {
    Rc::new(Manifests::new(world.store_drawing(seed)))
}

/// Appends words one after the other.
fn append(
    logs: Rc<Logs<ModelBucket, ModelEnv>>,
    words: &'static [&'static str],
    options: AppendOptions,
) -> Actor {
    Box::pin(async move {
        let mut told = Vec::new();
        for word in words {
            let outcome = logs.append("l", &batch(word), &options).await;
            told.push(Told::Append(word, outcome));
        }
        told
    })
}

/// All records from the first kept on: offset, epoch, body.
fn records(world: &World) -> Vec<(u64, u64, String)> {
    let reader = world.instance();
    let mut cursor = Cursor::at(0);
    let mut found = Vec::new();
    loop {
        match world.run(reader.read("l", cursor, ALL)).unwrap() {
            ReadOutcome::Trimmed(kept) => cursor = kept,
            ReadOutcome::Records(entries, _) if entries.is_empty() => return found,
            ReadOutcome::Records(entries, next) => {
                for entry in entries {
                    let body = String::from_utf8(entry.body).unwrap();
                    let epoch = entry.epoch.map_or(0, |epoch| epoch.0);
                    found.push((entry.offset, epoch, body));
                }
                cursor = next;
            }
        }
    }
}

/// Every acknowledged record is where its caller was told, no record is there twice,
/// and none that was refused is there.
fn check_log(world: &World, told: &[Told]) {
    let found = records(world);
    for (at, (offset, _, body)) in found.iter().enumerate() {
        assert_eq!(*offset, found[0].0 + at as u64, "{found:?}");
        let copies = found.iter().filter(|(_, _, other)| other == body);
        assert_eq!(copies.count(), 1, "{body} in {found:?}");
    }
    let place = |word: &str| found.iter().find(|(_, _, body)| body == word);
    for told in told {
        match told {
            Told::Append(word, Ok(AppendOutcome::Appended(Extent { start, .. }))) => {
                let at = place(word).map(|(offset, ..)| offset);
                assert_eq!(at, Some(start), "{word} in {found:?}");
            }
            Told::Append(_, Ok(AppendOutcome::Indeterminate(_))) => {}
            Told::Append(word, refused) => {
                assert!(place(word).is_none(), "{refused:?}, and {found:?}");
            }
            Told::Claim(epoch, Ok(AppendOutcome::Appended(extent))) => {
                let lower = found
                    .iter()
                    .find(|(offset, under, _)| offset >= &extent.start && under < epoch);
                assert!(lower.is_none(), "{lower:?} behind the claim of {epoch}");
            }
            _ => {}
        }
    }
}

#[test]
fn append_and_append() {
    let (states, _) = explore(&Case {
        name: "append/append",
        actors: |world| {
            vec![
                append(logs(world, 1), &["a"], AppendOptions::SHARED),
                append(logs(world, 2), &["b"], AppendOptions::SHARED),
            ]
        },
        sleeps: 0,
        faults: 1,
        check: check_log,
    });
    assert!(states > 100);
}

#[test]
fn three_appends() {
    let (states, _) = explore(&Case {
        name: "append/append/append",
        actors: |world| {
            let warm = logs(world, 1);
            world
                .run(warm.append("l", &batch("0"), &AppendOptions::SHARED))
                .unwrap();
            vec![
                append(warm, &["a"], AppendOptions::SHARED),
                append(logs(world, 2), &["b"], AppendOptions::SHARED),
                append(logs(world, 3), &["c"], AppendOptions::SHARED),
            ]
        },
        sleeps: 0,
        faults: 0,
        check: check_log,
    });
    assert!(states > 100);
}

/// The writer knows slot 2 as the next since long ago; a trim deletes it.
fn append_and_trim(name: &'static str, sleeps: u32, faults: u32) -> Case {
    Case {
        name,
        actors: |world| {
            let (writer, other) = (logs(world, 1), logs(world, 2));
            let fill = |words: &[&str]| {
                for word in words {
                    let options = AppendOptions::SHARED;
                    world
                        .run(other.append("l", &batch(word), &options))
                        .unwrap();
                }
            };
            fill(&["0", "1"]);
            world.run(writer.tail("l")).unwrap();
            fill(&["2"]);
            world.advance_ms(2 * HOUR_MS);
            fill(&["3"]);
            let collector = logs(world, 3);
            let trim: Actor = Box::pin(async move {
                let _ = collector.trim("l", Keep::Start(3)).await;
                vec![Told::Trim]
            });
            vec![append(writer, &["a"], AppendOptions::SHARED), trim]
        },
        sleeps,
        faults,
        check: check_log,
    }
}

#[test]
fn append_and_trim_while_time_passes() {
    let (states, _) = explore(&append_and_trim("append/trim, time passes", 1, 0));
    assert!(states > 100);
}

#[test]
fn append_and_trim_with_a_fault() {
    let (states, _) = explore(&append_and_trim("append/trim, a fault", 0, 1));
    assert!(states > 100);
}

#[test]
fn claim_and_append() {
    let (states, _) = explore(&Case {
        name: "claim/append",
        actors: |world| {
            let old = logs(world, 1);
            world.run(old.append("l", &batch("0"), &fenced(5))).unwrap();
            let new = logs(world, 2);
            let claim: Actor = Box::pin(async move {
                let claimed = Told::Claim(7, new.claim("l", Epoch(7)).await);
                let appended = new.append("l", &batch("c"), &fenced(7)).await;
                vec![claimed, Told::Append("c", appended)]
            });
            vec![append(old, &["a", "b"], fenced(5)), claim]
        },
        sleeps: 0,
        faults: 1,
        check: check_log,
    });
    assert!(states > 100);
}

fn wish(holder: &str) -> Wish {
    Wish {
        holder: holder.to_owned(),
        duration_ms: 10_000,
        note: String::new(),
        bounds: None,
    }
}

fn acquire(leases: Rc<Leases<ModelBucket, ModelEnv>>, holder: &'static str) -> Actor {
    Box::pin(async move { vec![Told::Acquire(leases.acquire("l", &wish(holder)).await)] })
}

/// At most one of them holds the lease.
fn check_lease(_: &World, told: &[Told]) {
    let holds = |told: &&Told| {
        matches!(
            told,
            Told::Acquire(Ok(AcquireOutcome::Acquired(_)))
                | Told::Renew(Ok(RenewOutcome::Renewed(_)))
        )
    };
    assert!(told.iter().filter(holds).count() <= 1, "{told:?}");
}

#[test]
fn acquire_and_acquire() {
    let (states, _) = explore(&Case {
        name: "acquire/acquire",
        actors: |world| {
            vec![
                acquire(leases(world, 1), "a"),
                acquire(leases(world, 2), "b"),
                acquire(leases(world, 3), "c"),
            ]
        },
        sleeps: 0,
        faults: 1,
        check: check_lease,
    });
    assert!(states > 100);
}

#[test]
fn renew_and_take_over() {
    let (states, _) = explore(&Case {
        name: "renew/take-over",
        actors: |world| {
            let holder = leases(world, 1);
            let outcome = world.run(holder.acquire("l", &wish("a"))).unwrap();
            let AcquireOutcome::Acquired(grant) = outcome else {
                panic!("{outcome:?}");
            };
            world.advance_ms(14_000);
            let renew: Actor =
                Box::pin(async move { vec![Told::Renew(holder.renew(&grant, 10_000).await)] });
            vec![
                renew,
                acquire(leases(world, 2), "b"),
                acquire(leases(world, 3), "c"),
            ]
        },
        sleeps: 0,
        faults: 1,
        check: check_lease,
    });
    assert!(states > 100);
}

fn committer(manifests: Rc<Manifests<ModelBucket, ModelEnv>>, edits: &'static str) -> Actor {
    Box::pin(async move {
        let outcome = manifests.commit("m", &change(1, edits)).await;
        vec![Told::Commit(edits, outcome)]
    })
}

/// Of two commits of one key, at most one takes effect; of two of different keys, each
/// that was acknowledged, and none that was refused.
fn check_commits(world: &World, told: &[Told]) {
    let (_, items) = latest(world);
    let mut committed = Vec::new();
    for told in told {
        let Told::Commit(edits, outcome) = told else {
            continue;
        };
        let there = items.split(' ').any(|item| item == *edits);
        match outcome {
            Ok(CommitOutcome::Committed(_)) => {
                assert!(there, "{edits} in {items}");
                committed.push(edits.split('=').next());
            }
            Ok(CommitOutcome::Indeterminate(_)) => {}
            refused => assert!(!there, "{refused:?}, and {items}"),
        }
    }
    let keys: BTreeSet<_> = committed.iter().collect();
    assert_eq!(keys.len(), committed.len(), "{told:?}");
}

#[test]
fn commit_and_commit() {
    let (states, _) = explore(&Case {
        name: "commit/commit",
        actors: |world| {
            let first = manifests(world, 1);
            commit(world, &first, &change(0, "a=0 b=0"));
            vec![
                committer(first, "a=1"),
                committer(manifests(world, 2), "a=2"),
                committer(manifests(world, 3), "b=3"),
            ]
        },
        sleeps: 0,
        faults: 1,
        check: check_commits,
    });
    assert!(states > 100);
}

/// Two that have met, wait for each other and tell of what they changed, and a third.
#[test]
fn commits_in_turns() {
    let (states, _) = explore(&Case {
        name: "commit/commit, in turns",
        actors: |world| {
            let (first, second) = (manifests(world, 1), manifests(world, 2));
            commit(world, &first, &change(0, "a=0 b=0"));
            for version in [1, 3] {
                commit(world, &second, &change(version, "c=0"));
                commit(world, &first, &change(version + 1, "d=0"));
            }
            vec![
                committer(first, "a=1"),
                committer(second, "a=2"),
                committer(manifests(world, 3), "b=3"),
            ]
        },
        sleeps: 0,
        faults: 1,
        check: check_commits,
    });
    assert!(states > 100);
}

type Stocks = Rc<Blobs<ModelBucket, ModelEnv>>;

/// Names a blob that was stored a while ago, and stores it again if that is too long.
fn naming(
    manifests: Rc<Manifests<ModelBucket, ModelEnv>>,
    blobs: Stocks,
    blob: Reference,
) -> Actor {
    let named = |blob| Change {
        edits: vec![Edit {
            key: "b".to_owned(),
            value: Some(b"1".to_vec()),
            blobs: vec![blob],
        }],
        ..change(1, "")
    };
    Box::pin(async move {
        let mut outcome = manifests.commit("m", &named(blob)).await;
        if let Ok(CommitOutcome::Expired(generation)) = outcome {
            let again = blobs.put("m", generation, vec![BLOB.to_vec()]).await;
            outcome = match again {
                Ok(again) => manifests.commit("m", &named(again[0])).await,
                Err(error) => Err(error),
            };
        }
        vec![Told::Commit("b=1", outcome)]
    })
}

const BLOB: &[u8] = b"a blob";

/// Whatever is named is there, in every version; and commits are as always.
fn check_blobs(world: &World, told: &[Told]) {
    check_commits(world, told);
    let (last, _) = latest(world);
    for version in 1..=last {
        let At::Snapshot(snapshot) = world.run(world.manifests().at("m", version, None)).unwrap()
        else {
            panic!("version {version} is gone");
        };
        for blob in snapshot.items.iter().flat_map(|item| &item.blobs) {
            let key = blob.key("m").unwrap();
            assert!(world.object(&key).is_some(), "{version}: {key} is missing");
        }
    }
}

/// A blob was stored, a sweep has run since, and another is about to condemn it, when
/// a commit names it.
fn commit_and_collect(name: &'static str, sleeps: u32, faults: u32) -> Case {
    Case {
        name,
        actors: |world| {
            let writer = manifests(world, 1);
            commit(world, &writer, &change(0, "a=0"));
            let blobs = Rc::new(Blobs::new(world.store_drawing(2)));
            let stored = world.run(blobs.put("m", Generation(0), vec![BLOB.to_vec()]));
            world.advance_ms(2 * HOUR_MS);
            let collector = manifests(world, 3);
            world
                .run(collector.collect("m", KeepVersions::From(1), Act::Sweep))
                .unwrap();
            world.advance_ms(2 * HOUR_MS);
            let sweep: Actor = Box::pin(async move {
                let _ = collector
                    .collect("m", KeepVersions::From(1), Act::Sweep)
                    .await;
                vec![Told::Sweep]
            });
            vec![naming(writer, blobs, stored.unwrap()[0]), sweep]
        },
        sleeps,
        faults,
        check: check_blobs,
    }
}

#[test]
fn commit_and_collect_while_time_passes() {
    let (states, _) = explore(&commit_and_collect("commit/collect, time passes", 1, 0));
    assert!(states > 100);
}

#[test]
fn commit_and_collect_with_a_fault() {
    let (states, _) = explore(&commit_and_collect("commit/collect, a fault", 0, 1));
    assert!(states > 100);
}
