//! Goal: the decision of a transaction goes when nobody has to ask for it any more,
//! and whoever slept until then does no harm.
//!
//! Method: instances of the core on the model store of `tests/model`, stepped by
//! hand or by dice. Numbers in names are those of `docs/SCENARIOS.md`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod model;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::collection::{Act, Reason, Report};
use ifmatch::manifest::{
    At, Change, CommitOutcome, KeepVersions, Part, Snapshot, State, TransactionOutcome,
};
use model::dice::Dice;
use model::manifest::{Instance, change, words};
use model::{Answer, HOUR_MS, Op, Request, World};

const NAMES: [&str; 2] = ["a", "b"];

fn parts(base: u64, text: &str) -> Vec<Part> {
    let part = |name: &str| Part {
        name: name.to_owned(),
        change: change(base, text),
    };
    NAMES.map(part).to_vec()
}

/// Two manifests with `x=0` each.
fn begun() -> (World, Instance) {
    let world = World::new();
    let instance = world.manifests();
    for name in NAMES {
        commit_to(&world, name, &change(0, "x=0"));
    }
    (world, instance)
}

fn commit_to(world: &World, name: &str, change: &Change) -> u64 {
    match world.run(world.manifests().commit(name, change)).unwrap() {
        CommitOutcome::Committed(version) => version,
        other => panic!("{other:?}"),
    }
}

fn latest(world: &World, name: &str) -> Snapshot {
    world.run(world.manifests().latest(name)).unwrap().unwrap()
}

fn decisions(world: &World) -> Vec<String> {
    let mut keys = world.keys();
    keys.retain(|key| key.starts_with("_transaction/"));
    keys
}

fn collect(world: &World, act: Act) -> Report {
    world.run(world.manifests().collect_decisions(act)).unwrap()
}

/// How many decisions a sweep deletes now, as a plan says before.
fn sweep(world: &World) -> u64 {
    let before = decisions(world);
    let planned = collect(world, Act::Plan);
    assert_eq!(decisions(world), before, "a plan changes nothing");
    assert_eq!(collect(world, Act::Sweep), planned);
    let gone = before.len() - decisions(world).len();
    assert_eq!(planned.count(Reason::Settled), gone as u64);
    for removal in planned.removals {
        assert!(removal.keys.iter().all(|key| before.contains(key)));
    }
    gone as u64
}

fn serve_until_decision<T>(op: &mut Op<'_, T>) {
    for _ in 0..1_000 {
        let request = op.request().unwrap();
        if request.key().starts_with("_transaction/") {
            return;
        }
        op.serve();
    }
    panic!("it does not come to a decision");
}

#[test]
fn a_decision_goes_when_all_its_manifests_have_gone_on() {
    let (world, instance) = begun();
    world.run(instance.transact(&parts(1, "x=1"))).unwrap();
    world.advance_ms(2 * HOUR_MS);
    assert_eq!(sweep(&world), 0, "both parts are the newest versions");
    commit_to(&world, "a", &change(2, "y=1"));
    assert_eq!(sweep(&world), 0, "b still needs it");
    commit_to(&world, "b", &change(2, "y=1"));
    world.take_counts();
    collect(&world, Act::Sweep);
    assert_eq!(
        world.take_total(),
        7,
        "a listing, the decision, two for each manifest, and the deletion"
    );
    assert_eq!(decisions(&world), [""; 0]);
    for name in NAMES {
        let at = world.run(world.manifests().at(name, 2, None)).unwrap();
        let At::Snapshot(snapshot) = at else {
            panic!("{at:?}");
        };
        assert_eq!(snapshot.summary.state, State::Committed);
        assert_eq!(words(&snapshot.items), "x=1");
        assert_eq!(words(&latest(&world, name).items), "x=1 y=1");
    }
}

#[test]
fn a_decision_stays_while_one_that_comes_later_could_count() {
    for (age_ms, gone) in [(HOUR_MS - 1, 0), (HOUR_MS, 1)] {
        let (world, instance) = begun();
        world.run(instance.transact(&parts(1, "x=1"))).unwrap();
        for name in NAMES {
            commit_to(&world, name, &change(2, "y=1"));
        }
        world.advance_ms(age_ms);
        assert_eq!(sweep(&world), gone, "after {age_ms} ms");
    }
    // Where the clocks of the store may disagree by more, it takes longer.
    let world = World::new();
    let grace = ifmatch::slots::Grace {
        period_ms: 24 * 3_600_000,
        margin_ms: 2 * 3_600_000,
    };
    let instance = world.manifests();
    world.run(instance.create("a", grace)).unwrap();
    commit_to(&world, "b", &change(0, "x=0"));
    world.run(instance.transact(&parts(1, "x=1"))).unwrap();
    for name in NAMES {
        commit_to(&world, name, &change(2, "y=1"));
    }
    world.advance_ms(4 * HOUR_MS + 599_999);
    assert_eq!(sweep(&world), 0);
    world.advance_ms(1);
    assert_eq!(sweep(&world), 1);
}

#[test]
fn without_a_time_of_the_store_decisions_stay() {
    let (world, instance) = begun();
    world.0.borrow_mut().tells_time = false;
    let done = world.run(instance.transact(&parts(1, "x=1"))).unwrap();
    assert_eq!(done, TransactionOutcome::Committed(vec![2, 2]));
    for name in NAMES {
        commit_to(&world, name, &change(2, "y=1"));
    }
    world.advance_ms(1_000 * HOUR_MS);
    assert_eq!(sweep(&world), 0);
}

#[test]
fn an_aborted_transaction_goes_as_well_and_so_does_what_a_late_driver_decides() {
    let (world, instance) = begun();
    let both = parts(1, "x=1");
    let mut driver = world.start(instance.transact(&both));
    driver.serve_until("PUT");
    driver.serve(); // a is prepared
    world.advance_ms(11_000);
    commit_to(&world, "a", &change(1, "y=2"));
    world.advance_ms(HOUR_MS);
    assert_eq!(sweep(&world), 1, "b has never heard of it");
    // It goes on with b, and decides for itself: too late for everybody.
    assert_eq!(driver.finish().unwrap(), TransactionOutcome::Aborted);
    assert_eq!(words(&latest(&world, "a").items), "x=0 y=2");
    assert_eq!(words(&latest(&world, "b").items), "x=0");
    assert_eq!(latest(&world, "b").summary.state, State::Aborted);
    world.advance_ms(HOUR_MS);
    assert_eq!(sweep(&world), 0, "b has not gone on");
    commit_to(&world, "b", &change(1, "x=3"));
    assert_eq!(sweep(&world), 1);
    assert_eq!(words(&latest(&world, "b").items), "x=3");
}

#[test]
fn a_driver_that_was_not_told_when_it_began_does_not_decide_late() {
    let (world, instance) = begun();
    let both = parts(1, "x=1");
    let mut driver = world.start(instance.transact(&both));
    let put = driver.serve_until("PUT");
    let answer = match world.apply(&put) {
        Answer::Put(Ok(PutOutcome::Written { version, .. })) => PutOutcome::Written {
            version,
            observed_at: None,
        },
        other => panic!("{other:?}"),
    };
    driver.answer(Answer::Put(Ok(answer)));
    world.advance_ms(11_000);
    commit_to(&world, "a", &change(1, "y=2"));
    world.advance_ms(HOUR_MS);
    assert_eq!(sweep(&world), 1);
    assert_eq!(driver.finish().unwrap(), TransactionOutcome::Aborted);
    assert_eq!(words(&latest(&world, "a").items), "x=0 y=2");
    assert_eq!(words(&latest(&world, "b").items), "x=0");
}

#[test]
fn a_driver_whose_decision_was_collected_before_it_learned_of_it_is_not_told_otherwise() {
    for trimmed in [false, true] {
        let (world, instance) = begun();
        let both = parts(1, "x=1");
        let mut driver = world.start(instance.transact(&both));
        serve_until_decision(&mut driver);
        let put = driver.request().unwrap();
        world.apply(&put);
        // It took effect; the reply is lost for hours.
        for name in NAMES {
            for version in 2..5 {
                let all = Change {
                    edits: Vec::new(),
                    ..change(version, "")
                };
                commit_to(&world, name, &all);
            }
        }
        world.advance_ms(2 * HOUR_MS);
        assert_eq!(sweep(&world), 1);
        if trimmed {
            let newest = KeepVersions::Newest(1);
            let report = world.run(world.manifests().trim("a", newest)).unwrap();
            assert!(report.first_kept > 3, "{report:?}");
        }
        driver.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
            "reset".to_owned(),
        ))));
        let outcome = driver.finish().unwrap();
        match trimmed {
            false => assert_eq!(outcome, TransactionOutcome::Committed(vec![2, 2])),
            true => assert!(
                matches!(outcome, TransactionOutcome::Indeterminate(_)),
                "{outcome:?}"
            ),
        }
        assert_eq!(words(&latest(&world, "a").items), "x=1");
    }
}

#[test]
fn a_waiter_whose_decision_was_collected_still_conflicts_with_what_took_effect() {
    let (world, instance) = begun();
    let both = parts(1, "x=1");
    let mut driver = world.start(instance.transact(&both));
    serve_until_decision(&mut driver);
    let waiter = world.manifests();
    let touching = change(1, "x=5");
    let mut waiting = world.start(waiter.commit("a", &touching));
    serve_until_decision(&mut waiting);
    driver.serve();
    driver.finish().unwrap();
    for name in NAMES {
        commit_to(&world, name, &change(2, "z=3"));
    }
    world.advance_ms(2 * HOUR_MS);
    assert_eq!(sweep(&world), 1);
    // It finds no decision, decides against it, and learns from the next version that
    // it took effect after all.
    assert!(matches!(
        waiting.finish().unwrap(),
        CommitOutcome::Conflict(conflict) if conflict.keys == ["x"] && conflict.latest == 3
    ));
    assert_eq!(words(&latest(&world, "a").items), "x=1 z=3");
}

#[test]
fn a_reader_that_finds_a_decision_made_anew_looks_at_what_follows() {
    let (world, instance) = begun();
    // Times tell this reader nothing: it is well within the grace period.
    let both = parts(1, "x=1");
    let mut driver = world.start(instance.transact(&both));
    serve_until_decision(&mut driver);
    let (reader, waiter) = (world.manifests(), world.manifests());
    let mut reading = world.start(reader.latest("a"));
    serve_until_decision(&mut reading);
    let behind = change(1, "y=1");
    let mut waiting = world.start(waiter.commit("a", &behind));
    serve_until_decision(&mut waiting);
    driver.serve();
    driver.finish().unwrap();
    for name in NAMES {
        commit_to(&world, name, &change(2, "z=1"));
    }
    // What a collector does an hour later, as these two see it.
    let key = decisions(&world).pop().unwrap();
    world.0.borrow_mut().objects.remove(&key);
    world.advance_ms(11_000);
    let put = waiting.serve_until("PUT");
    assert_eq!(put.key(), key);
    waiting.serve();
    let read = reading.finish().unwrap().unwrap();
    assert_eq!(words(&read.items), "x=1 z=1");
    assert_eq!(waiting.finish().unwrap(), CommitOutcome::Committed(4));
}

#[test]
fn a_decision_that_is_damaged_or_misplaced_is_named_and_stays() {
    let (world, instance) = begun();
    world.run(instance.transact(&parts(1, "x=1"))).unwrap();
    for name in NAMES {
        commit_to(&world, name, &change(2, "y=1"));
    }
    let key = decisions(&world).pop().unwrap();
    let object = world.object(&key).unwrap();
    let other = format!("_transaction/{:032x}", 7);
    for damaged in [&key, &other] {
        let mut stored = object.clone();
        if damaged == &key {
            stored.body[140] ^= 1;
        }
        let mut shared = world.0.borrow_mut();
        shared.objects.remove(&key);
        shared.objects.insert(damaged.clone(), stored);
        drop(shared);
        world.advance_ms(HOUR_MS);
        let swept = world.run(world.manifests().collect_decisions(Act::Sweep));
        assert!(
            matches!(&swept, Err(ifmatch::error::Error::Corrupt(text)) if text.contains(damaged)),
            "{swept:?}"
        );
        assert_eq!(decisions(&world), std::slice::from_ref(damaged));
    }
}

/// How an operation ended, as its caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Done,
    NotDone,
    Unknown,
}

/// What became of the operations, by the key that they set.
type Book = Rc<RefCell<BTreeMap<String, (usize, Told)>>>;

/// Each operation counts one up in the manifests that it changes, and leaves a key
/// of its own there.
async fn write(world: World, number: usize, book: Book) {
    let own = world.manifests();
    for round in 0..4_usize {
        let mut read = Vec::new();
        for name in NAMES {
            if let Ok(Some(snapshot)) = own.latest(name).await {
                read.push(snapshot);
            }
        }
        if read.len() < 2 {
            continue;
        }
        let key = format!("t{number}.{round}");
        // Which manifest alone, or both.
        let which = (number + round) % 3;
        book.borrow_mut()
            .insert(key.clone(), (which, Told::Unknown));
        let mut parts = Vec::new();
        for (at, name) in NAMES.iter().enumerate() {
            let count = count_of(&read[at]);
            parts.push(Part {
                name: (*name).to_owned(),
                change: change(
                    read[at].summary.version,
                    &format!("c={} {key}=1", count + 1),
                ),
            });
        }
        let told = if which < 2 {
            match own.commit(NAMES[which], &parts[which].change).await {
                Ok(CommitOutcome::Committed(_)) => Told::Done,
                Ok(CommitOutcome::Indeterminate(_)) => Told::Unknown,
                Ok(_) | Err(_) => Told::NotDone,
            }
        } else {
            match own.transact(&parts).await {
                Ok(TransactionOutcome::Committed(_)) => Told::Done,
                Ok(TransactionOutcome::Indeterminate(_)) => Told::Unknown,
                Ok(_) | Err(_) => Told::NotDone,
            }
        };
        book.borrow_mut().insert(key, (which, told));
    }
}

fn count_of(snapshot: &Snapshot) -> usize {
    let mut items = snapshot.items.iter();
    let count = items.find(|item| item.key == "c").unwrap();
    String::from_utf8(count.value.clone())
        .unwrap()
        .parse()
        .unwrap()
}

/// Collects everything that can be, an hour later each time.
async fn tidy(world: World, gone: Rc<RefCell<(u64, u64)>>) {
    for _ in 0..5 {
        world.advance_ms(HOUR_MS + 1);
        let own = world.manifests();
        if let Ok(report) = own.collect_decisions(Act::Sweep).await {
            gone.borrow_mut().0 += report.objects();
        }
        for name in NAMES {
            let newest = KeepVersions::Newest(1);
            if let Ok(swept) = own.collect(name, newest, Act::Sweep).await {
                gone.borrow_mut().1 += swept.count(Reason::Trimmed);
            }
        }
    }
}

/// Takes a write or deletion away, to be applied later, and lets its sender believe
/// that it was lost.
fn delay(op: &mut Op<'_, ()>, late: &mut Vec<Request>) -> bool {
    let answer = match op.request() {
        Some(Request::Put(_)) => Answer::Put(Ok(PutOutcome::Indeterminate("lost".to_owned()))),
        Some(Request::Delete(_)) => {
            Answer::Delete(Err(BucketError::Unavailable("lost".to_owned())))
        }
        _ => return false,
    };
    late.extend(op.request());
    op.answer(answer);
    true
}

/// What was counted is what is there, in both manifests or in neither, and as told.
fn judge(world: &World, book: &Book) {
    let mut found = Vec::new();
    for name in NAMES {
        // Settles what somebody left behind.
        let version = latest(world, name).summary.version;
        commit_to(world, name, &change(version, "end=1"));
        let snapshot = latest(world, name);
        let keys: Vec<String> = snapshot.items.iter().map(|item| item.key.clone()).collect();
        let keys: Vec<String> = keys
            .into_iter()
            .filter(|key| key.starts_with('t'))
            .collect();
        assert_eq!(
            count_of(&snapshot),
            keys.len(),
            "an update of {name} is lost"
        );
        found.push(keys);
    }
    for (key, (which, told)) in book.borrow().iter() {
        let there: Vec<bool> = found.iter().map(|keys| keys.contains(key)).collect();
        let whole = match which {
            0 => [true, false],
            1 => [false, true],
            _ => [true, true],
        };
        match told {
            Told::Done => assert_eq!(there, whole, "{key}"),
            Told::NotDone => assert_eq!(there, [false, false], "{key}"),
            Told::Unknown => assert!(there == whole || there == [false, false], "{key}"),
        }
    }
}

#[test]
fn scenario_110_in_any_order_transactions_are_all_or_nothing_while_decisions_go() {
    let gone = Rc::new(RefCell::new((0, 0)));
    let mut told: BTreeMap<(bool, Told), usize> = BTreeMap::new();
    for seed in 0..600 {
        let mut dice = Dice(seed);
        let world = World::new();
        for name in NAMES {
            commit_to(&world, name, &change(0, "c=0"));
        }
        let book = Book::default();
        let mut ops: Vec<Op<'_, ()>> = (0..3)
            .map(|number| world.start(write(world.clone(), number, book.clone())))
            .collect();
        ops.push(world.start(tidy(world.clone(), gone.clone())));
        let mut late = Vec::new();
        while !ops.is_empty() {
            let at = usize::try_from(dice.below(ops.len() as u64)).unwrap();
            // Some sleep while others take many steps.
            for _ in 0..=dice.below(24) {
                if ops[at].request().is_none() {
                    ops.remove(at);
                    break;
                }
                if dice.below(24) > 0 || !delay(&mut ops[at], &mut late) {
                    ops[at].serve();
                }
            }
            if dice.below(6) == 0 && !late.is_empty() {
                let at = usize::try_from(dice.below(late.len() as u64)).unwrap();
                world.apply(&late.remove(at));
            }
        }
        late.iter().for_each(|request| drop(world.apply(request)));
        println!("seed {seed}");
        judge(&world, &book);
        for (which, ended) in book.borrow().values() {
            *told.entry((*which == 2, *ended)).or_default() += 1;
        }
    }
    let (settled, trimmed) = *gone.borrow();
    println!("{told:?}, {settled} decisions and {trimmed} versions went");
    assert!(settled > 300, "{settled} decisions went");
    assert!(trimmed > 300, "{trimmed} versions went");
    assert!(told[&(true, Told::Done)] > 300, "{told:?}");
    assert!(told[&(true, Told::NotDone)] > 300, "{told:?}");
    assert!(told[&(false, Told::Done)] > 300, "{told:?}");
}
