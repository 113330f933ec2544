//! Goal: whatever the store and the network do, the history of each manifest is one
//! serial order of the commits that were acknowledged, and transactions are all or
//! nothing.
//!
//! Method: several instances at once in virtual time on a store with latency and
//! faults (`tests/model/timed.rs`). Writers move amounts between accounts in two
//! manifests, with single commits, named commits that are repeated, and transactions;
//! some die on the way. A judge then reads every version and replays them from what
//! the writers asked for. A failure prints its seed.

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

use ifmatch::manifest::{
    At, Change, CommitOutcome, Dependency, Edit, Item, Manifests, Part, State, TransactionOutcome,
};
use ifmatch::token::Writer;
use model::clock::Clock;
use model::timed::{Faults, Timed, TimedBucket, TimedEnv, Weather};

type Instance = Rc<Manifests<TimedBucket, TimedEnv>>;

const SEEDS: u64 = 120;
const WRITERS: u64 = 4;
const OPERATIONS: u64 = 10;
const ACCOUNTS: u64 = 3;
const OPENING: i64 = 100;
const NAMES: [&str; 2] = ["a", "b"];

const FAULTS: Faults = Faults {
    lost_request: 30,
    lost_reply: 50,
    late: 40,
    duplicate: 40,
    throttled: 30,
    throttled_applied: 20,
    read_failed: 20,
    slow: 30,
};

/// What became of an operation, as its writer was told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// In these versions of these manifests.
    Done(Vec<(usize, u64)>),
    NotDone,
    Unknown,
}

/// What a writer asked for: the new values, by manifest.
#[derive(Clone, Debug)]
struct Asked {
    edits: BTreeMap<usize, Vec<(String, i64)>>,
    told: Told,
}

type Ledger = Rc<RefCell<BTreeMap<String, Asked>>>;

fn amounts(items: &[Item]) -> BTreeMap<String, i64> {
    let amount = |item: &Item| {
        let text = String::from_utf8(item.value.clone()).unwrap();
        (item.key.clone(), text.parse().unwrap())
    };
    items.iter().map(amount).collect()
}

fn change(base: u64, edits: &[(String, i64)], message: &str) -> Change {
    let edit = |(key, amount): &(String, i64)| Edit {
        key: key.clone(),
        value: Some(amount.to_string().into_bytes()),
        blobs: Vec::new(),
    };
    Change {
        base,
        depends_on: Dependency::Edits,
        edits: edits.iter().map(edit).collect(),
        writer: Writer::Shared,
        author: String::new(),
        message: message.to_owned(),
        id: None,
    }
}

/// Moves an amount from one account to another, of the same manifest or not.
async fn transfer(timed: &Timed, instance: &Instance, ledger: &Ledger, message: &str) {
    let (from, to) = (timed.chance(500), timed.chance(500));
    let (from, to) = (usize::from(from), usize::from(to));
    let (source, target) = (timed.draw_in(0..ACCOUNTS), timed.draw_in(0..ACCOUNTS));
    if from == to && source == target {
        return;
    }
    let mut read = Vec::new();
    for name in [NAMES[from], NAMES[to]] {
        match instance.latest(name).await {
            Ok(Some(snapshot)) => read.push((snapshot.summary.version, amounts(&snapshot.items))),
            _ => return,
        }
    }
    let (source, target) = (format!("account-{source}"), format!("account-{target}"));
    let mut edits: BTreeMap<usize, Vec<(String, i64)>> = BTreeMap::new();
    let single = from == to;
    let second = if single { 0 } else { 1 };
    let (source_has, target_has) = (read[0].1[&source], read[second].1[&target]);
    edits
        .entry(from)
        .or_default()
        .push((source, source_has - 1));
    edits.entry(to).or_default().push((target, target_has + 1));
    let asked = Asked {
        edits: edits.clone(),
        told: Told::Unknown,
    };
    ledger.borrow_mut().insert(message.to_owned(), asked);
    let told = if single {
        let mut change = change(read[0].0, &edits[&from], message);
        if timed.chance(500) {
            change.id = Some(message.to_owned());
        }
        let mut outcome = instance.commit(NAMES[from], &change).await;
        for _ in 0..3 {
            if change.id.is_some() && matches!(outcome, Ok(CommitOutcome::Indeterminate(_))) {
                outcome = instance.commit(NAMES[from], &change).await;
            }
        }
        match outcome {
            Ok(CommitOutcome::Committed(version)) => Told::Done(vec![(from, version)]),
            Ok(CommitOutcome::Indeterminate(_)) => Told::Unknown,
            // A named change that was sent before may still be on its way.
            Err(_) if change.id.is_some() => Told::Unknown,
            Ok(_) | Err(_) => Told::NotDone,
        }
    } else {
        let part = |at: usize, base: u64| Part {
            name: NAMES[at].to_owned(),
            change: change(base, &edits[&at], message),
        };
        let parts = [part(from, read[0].0), part(to, read[1].0)];
        match instance.transact(&parts).await {
            Ok(TransactionOutcome::Committed(versions)) => {
                Told::Done(vec![(from, versions[0]), (to, versions[1])])
            }
            Ok(TransactionOutcome::Indeterminate(_)) => Told::Unknown,
            Ok(_) | Err(_) => Told::NotDone,
        }
    };
    ledger.borrow_mut().get_mut(message).unwrap().told = told;
}

fn instance(timed: &Timed) -> Instance {
    Rc::new(Manifests::new(timed.store(&Clock::default()).1))
}

async fn writer(timed: Timed, number: u64, ledger: Ledger) {
    let mut own = instance(&timed);
    for operation in 0..OPERATIONS {
        timed.sleep(timed.draw_in(0..3_000)).await;
        if timed.chance(200) {
            own = instance(&timed);
        }
        let message = format!("{number}-{operation}");
        transfer(&timed, &own, &ledger, &message).await;
    }
}

/// Dies in the middle of what it does.
async fn mortal(timed: Timed, number: u64, ledger: Ledger) {
    let own = instance(&timed);
    timed.sleep(timed.draw_in(0..20_000)).await;
    let message = format!("mortal-{number}");
    let life_ms = timed.draw_in(20..600);
    let mut death = Box::pin(timed.sleep(life_ms));
    let mut act = Box::pin(transfer(&timed, &own, &ledger, &message));
    std::future::poll_fn(|context| {
        if death.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(());
        }
        act.as_mut().poll(context)
    })
    .await;
}

/// Replays the versions of both manifests, and compares them with what was told.
async fn judge(timed: Timed, ledger: Ledger) {
    let own = instance(&timed);
    let mut found: BTreeMap<String, Vec<(usize, u64)>> = BTreeMap::new();
    let mut total = 0;
    for (at, name) in NAMES.iter().enumerate() {
        let mut expected = BTreeMap::new();
        // Settles what somebody left behind who died.
        let end = change(0, &[("end".to_owned(), 0)], "end");
        let settled = Change {
            depends_on: Dependency::Nothing,
            ..end
        };
        let outcome = own.commit(name, &settled).await.unwrap();
        let CommitOutcome::Committed(last) = outcome else {
            panic!("{outcome:?}");
        };
        let mut history = own.history(name, None, 1_000).await.unwrap();
        history.reverse();
        assert_eq!(history.len() as u64, last);
        for (version, summary) in (1..).zip(history) {
            assert_eq!(summary.version, version);
            let message = summary.message.as_str();
            match summary.state {
                State::Pending => panic!("version {version} of {name} is not decided"),
                State::Aborted => {}
                State::Committed if message == "open" => {
                    for account in 0..ACCOUNTS {
                        expected.insert(format!("account-{account}"), OPENING);
                    }
                }
                State::Committed if message == "end" => {
                    expected.insert("end".to_owned(), 0);
                }
                State::Committed => {
                    let asked = ledger.borrow()[message].clone();
                    expected.extend(asked.edits[&at].iter().cloned());
                    found
                        .entry(message.to_owned())
                        .or_default()
                        .push((at, version));
                }
            }
            match own.at(name, version, None).await.unwrap() {
                At::Snapshot(snapshot) => {
                    assert_eq!(
                        amounts(&snapshot.items),
                        expected,
                        "version {version} of {name}"
                    );
                }
                other => panic!("version {version} of {name}: {other:?}"),
            }
        }
        total += expected.values().sum::<i64>();
    }
    assert_eq!(total, 2 * i64::try_from(ACCOUNTS).unwrap() * OPENING);
    for (message, asked) in ledger.borrow().iter() {
        let mut found = found.remove(message).unwrap_or_default();
        found.sort_unstable();
        match &asked.told {
            Told::Done(told) => {
                let mut told = told.clone();
                told.sort_unstable();
                assert_eq!(found, told, "{message}");
            }
            Told::NotDone => assert_eq!(found, [], "{message}"),
            Told::Unknown => {
                let whole: Vec<usize> = asked.edits.keys().copied().collect();
                let parts: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
                assert!(parts.is_empty() || parts == whole, "{message}: {found:?}");
            }
        }
    }
}

fn run(seed: u64) -> BTreeMap<&'static str, usize> {
    let timed = Timed::new(seed);
    let ledger = Ledger::default();
    let opening = timed.clone();
    timed.spawn(async move {
        let own = instance(&opening);
        for name in NAMES {
            let edits: Vec<(String, i64)> = (0..ACCOUNTS)
                .map(|account| (format!("account-{account}"), OPENING))
                .collect();
            own.commit(name, &change(0, &edits, "open")).await.unwrap();
        }
    });
    assert!(timed.run_until(60_000));
    timed.set_weather(Weather {
        faults: FAULTS,
        skew_ms: Some(2_000),
        ..Weather::default()
    });
    for number in 0..WRITERS {
        timed.spawn(writer(timed.clone(), number, ledger.clone()));
        timed.spawn(mortal(timed.clone(), number, ledger.clone()));
    }
    assert!(timed.run_until(3_600_000), "the writers hang");
    timed.set_weather(Weather::default());
    let calm = timed.clone();
    // What is still on its way arrives.
    timed.spawn(async move { calm.sleep(60_000).await });
    assert!(timed.run_until(7_200_000));
    timed.spawn(judge(timed.clone(), ledger.clone()));
    assert!(timed.run_until(10_800_000), "the judge hangs");
    let mut counts = BTreeMap::new();
    for asked in ledger.borrow().values() {
        let kind = match (&asked.told, asked.edits.len()) {
            (Told::Done(_), 1) => "committed",
            (Told::Done(_), _) => "transactions",
            (Told::NotDone, _) => "refused",
            (Told::Unknown, _) => "unknown",
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

#[test]
fn histories_are_one_serial_order_and_transactions_are_all_or_nothing() {
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..SEEDS {
        println!("seed {seed}");
        for (kind, count) in run(seed) {
            *totals.entry(kind).or_default() += count;
        }
    }
    println!("{totals:?}");
    // Every kind of end was seen, so the judge had something to judge.
    for (kind, at_least) in [
        ("committed", 500),
        ("transactions", 500),
        ("refused", 100),
        ("unknown", 50),
    ] {
        assert!(totals[kind] >= at_least, "{totals:?}");
    }
}
