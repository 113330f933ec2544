//! Goal: no acknowledged record is lost or doubled, and no reader sees a gap, while
//! writers, readers, trims, merges and pins get in each other's way.
//!
//! Method: seeded random runs on the model store. Every request of every instance is
//! a step of its own, in random order: served, lost, applied without a reply, or
//! applied once more much later. Instances die at any request, and time jumps far
//! beyond the grace period while others stand still. What anybody was told is
//! compared with what is in the log at the end. `IFMATCH_SEED=n` runs one seed again,
//! `IFMATCH_SEEDS=n` that many.

#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and seeds come from the environment"
)]

mod model;

use std::collections::BTreeMap;

use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::error::Error;
use ifmatch::log::{
    AppendOptions, AppendOutcome, Cursor, Keep, MergeOptions, MergeReport, PinOutcome, ReadLimit,
    ReadOutcome, TrimReport,
};
use ifmatch::slots::Grace;
use model::dice::Dice;
use model::log::{ALL, batch, produced};
use model::{Answer, Op, Request, World};

const SEEDS: u64 = 100;
const STEPS: u32 = 4_000;
const GRACE: Grace = Grace {
    period_ms: 60_000,
    margin_ms: 5_000,
};

/// How an operation ended.
enum Ended {
    Append(Result<AppendOutcome, Error>),
    Read(Result<ReadOutcome, Error>),
    Trim(Result<TrimReport, Error>),
    Merge(Result<MergeReport, Error>),
    Pin(Result<PinOutcome, Error>),
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// Numbers its batches and repeats each until it is acknowledged.
    Producer,
    /// Sends each batch once.
    Once,
    /// Reads from where it is, or from anywhere.
    Reader,
    Trimmer,
    Merger,
    Pinner,
}

const ROLES: [Role; 9] = [
    Role::Producer,
    Role::Once,
    Role::Once,
    Role::Reader,
    Role::Reader,
    Role::Trimmer,
    Role::Merger,
    Role::Merger,
    Role::Pinner,
];

struct Actor {
    name: usize,
    role: Role,
    logs: std::rc::Rc<ifmatch::log::Logs<model::ModelBucket, model::ModelEnv>>,
    op: Option<Op<'static, Ended>>,
    /// The words of the batch that is sent, and how many there were before.
    words: Vec<String>,
    sequence: u64,
    cursor: Cursor,
}

/// What anybody was told.
#[derive(Default)]
struct Told {
    /// By offset.
    records: BTreeMap<u64, String>,
    acknowledged: usize,
    read: usize,
    trimmed_to: u64,
    trims: usize,
    packs: u32,
    trimmed_readers: usize,
}

impl Told {
    fn record(&mut self, offset: u64, word: &str) {
        let known = self
            .records
            .entry(offset)
            .or_insert_with(|| word.to_owned());
        assert_eq!(known, word, "two records at {offset}");
    }
}

fn start(world: &World, actor: &mut Actor, dice: &mut Dice, told: &Told) {
    let logs = actor.logs.clone();
    let end = told.records.keys().next_back().map_or(0, |last| last + 1);
    actor.op = Some(match actor.role {
        Role::Producer | Role::Once => {
            if actor.words.is_empty() {
                let (name, number) = (actor.name, actor.sequence);
                actor.words = (0..=dice.below(3))
                    .map(|record| format!("{name}.{number}.{record}"))
                    .collect();
            }
            let records = batch(&actor.words.join(" "));
            let options = if actor.role == Role::Producer {
                produced(&format!("p{}", actor.name), actor.sequence)
            } else {
                AppendOptions::SHARED
            };
            world.start(async move { Ended::Append(logs.append("l", &records, &options).await) })
        }
        Role::Reader => {
            if dice.one_in(10) {
                actor.cursor = Cursor::at(dice.below(end + 1));
            }
            let cursor = actor.cursor;
            let limit = ReadLimit {
                records: 1 + dice.below(30) as u32,
                bytes: 10_000,
            };
            world.start(async move { Ended::Read(logs.read("l", cursor, limit).await) })
        }
        Role::Trimmer => {
            let keep = match dice.below(4) {
                0 => Keep::Records(20 + dice.below(100)),
                1 => Keep::Start(end.saturating_sub(30 + dice.below(100))),
                2 => Keep::AgeMs(60_000 * dice.below(10)),
                _ => Keep::Bytes(2_000 + dice.below(10_000)),
            };
            world.start(async move { Ended::Trim(logs.trim("l", keep).await) })
        }
        Role::Merger => {
            let options = MergeOptions {
                spare: match dice.below(2) {
                    0 => Keep::Records(dice.below(40)),
                    _ => Keep::AgeMs(60_000 * dice.below(3)),
                },
                at_least: 1 + dice.below(5) as u32,
            };
            world.start(async move { Ended::Merge(logs.merge("l", &options).await) })
        }
        Role::Pinner => {
            let at = Cursor::at(end.saturating_sub(dice.below(60)));
            world.start(async move { Ended::Pin(logs.pin("l", "r", at, 100_000).await) })
        }
    });
}

/// One request of one actor, or the end of its operation.
fn step(actor: &mut Actor, dice: &mut Dice, late: &mut Vec<Request>, world: &World) -> bool {
    let Some(op) = &mut actor.op else {
        return false;
    };
    let Some(request) = op.request() else {
        return true;
    };
    let lost = |request: &Request| match request {
        Request::Get(_) => Answer::Get(Err(BucketError::Unavailable("reset".to_owned()))),
        Request::List { .. } => Answer::List(Err(BucketError::Unavailable("reset".to_owned()))),
        Request::Delete(_) => Answer::Delete(Err(BucketError::Unavailable("reset".to_owned()))),
        Request::Put(_) => Answer::Put(Ok(PutOutcome::Indeterminate("reset".to_owned()))),
    };
    match dice.below(40) {
        0 => {
            world.apply(&request);
            op.answer(lost(&request));
        }
        1 => op.answer(lost(&request)),
        2 => {
            // The network keeps a copy, or the original.
            late.push(request.clone());
            if dice.one_in(2) {
                op.serve();
            } else {
                op.answer(lost(&request));
            }
        }
        _ => drop(op.serve()),
    }
    false
}

fn finish(world: &World, actor: &mut Actor, told: &mut Told) {
    let transient = |error: &Error| matches!(error, Error::Unavailable(_) | Error::Throttled(_));
    let op = actor.op.take().unwrap();
    match op.done() {
        Ended::Append(Ok(AppendOutcome::Appended(extent))) => {
            assert_eq!(extent.end - extent.start, actor.words.len() as u64);
            for (offset, word) in (extent.start..).zip(std::mem::take(&mut actor.words)) {
                told.record(offset, &word);
                told.acknowledged += 1;
            }
            actor.sequence += 1;
        }
        Ended::Append(Ok(AppendOutcome::Indeterminate(_))) => {
            if actor.role == Role::Once {
                actor.words.clear();
                actor.sequence += 1;
            }
        }
        Ended::Append(Err(error)) if transient(&error) => {}
        Ended::Append(other) => panic!("{other:?}"),
        Ended::Read(Ok(ReadOutcome::Records(entries, next))) => {
            for (expected, entry) in (actor.cursor.offset..).zip(&entries) {
                assert_eq!(entry.offset, expected, "a gap");
                told.record(entry.offset, core::str::from_utf8(&entry.body).unwrap());
                told.read += 1;
            }
            assert_eq!(next.offset, actor.cursor.offset + entries.len() as u64);
            actor.cursor = next;
        }
        Ended::Read(Ok(ReadOutcome::Trimmed(kept))) => {
            assert!(kept.offset > actor.cursor.offset, "{kept:?}");
            assert!(kept.offset <= watermark(world), "{kept:?} is not trimmed");
            actor.cursor = kept;
            told.trimmed_readers += 1;
        }
        Ended::Trim(Ok(report)) => {
            told.trims += usize::from(report.first_kept.offset > told.trimmed_to);
            told.trimmed_to = told.trimmed_to.max(report.first_kept.offset);
        }
        Ended::Merge(Ok(report)) => told.packs += report.packs,
        Ended::Pin(Ok(_)) => {}
        Ended::Read(Err(error))
        | Ended::Trim(Err(error))
        | Ended::Merge(Err(error))
        | Ended::Pin(Err(error)) => {
            let beyond = matches!(error, Error::InvalidArgument(_)) && actor.role == Role::Pinner;
            assert!(transient(&error) || beyond, "{error}");
        }
    }
}

/// The first record that is kept, straight from the state object.
fn watermark(world: &World) -> u64 {
    let Some(stored) = world.object("log/l/_state") else {
        return 0;
    };
    let (_, state) = ifmatch::slots::ChainState::decode_object(&stored.body).unwrap();
    state.first_kept_offset
}

fn run(seed: u64) -> Told {
    let world = World::new();
    let mut dice = Dice(seed);
    let mut told = Told::default();
    world.run(world.instance().create("l", GRACE)).unwrap();
    let mut actors: Vec<Actor> = ROLES
        .into_iter()
        .enumerate()
        .map(|(name, role)| Actor {
            name,
            role,
            logs: world.instance(),
            op: None,
            words: Vec::new(),
            sequence: 0,
            cursor: Cursor::at(0),
        })
        .collect();
    let mut late = Vec::new();
    for _ in 0..STEPS {
        let count = actors.len() as u64;
        let actor = &mut actors[dice.below(count) as usize];
        if actor.op.is_none() {
            // Writers and readers do more than the others.
            let rare = matches!(actor.role, Role::Trimmer | Role::Pinner);
            if !rare || dice.one_in(10) {
                start(&world, actor, &mut dice, &told);
            }
        } else if dice.one_in(150) {
            // It dies. What it has sent may still arrive.
            let mut op = actor.op.take().unwrap();
            if let Some(request) = op.request() {
                late.push(request);
            }
            actor.logs = world.instance();
            if actor.role == Role::Once {
                actor.words.clear();
                actor.sequence += 1;
            }
        } else {
            // Some at once, so that most operations end before time jumps.
            for _ in 0..=dice.below(12) {
                if step(actor, &mut dice, &mut late, &world) {
                    finish(&world, actor, &mut told);
                    break;
                }
            }
        }
        match dice.below(60) {
            0 => world.advance_ms(dice.below(150_000)),
            1..20 => world.advance_ms(dice.below(500)),
            20..24 if !late.is_empty() => {
                let number = late.len() as u64;
                let request = late.swap_remove(dice.below(number) as usize);
                world.apply(&request);
            }
            _ => {}
        }
    }
    // Everything that is on its way arrives; then the log is read.
    for actor in &mut actors {
        let Some(op) = &mut actor.op else { continue };
        while op.request().is_some() {
            op.serve();
        }
        finish(&world, actor, &mut told);
    }
    for request in late {
        world.apply(&request);
    }
    judge(&world, &mut told, seed);
    told
}

/// Compares what was told with the log.
fn judge(world: &World, told: &mut Told, seed: u64) {
    let reader = world.instance();
    let mut cursor = Cursor::at(0);
    let mut log: BTreeMap<u64, String> = BTreeMap::new();
    let first_kept = watermark(world);
    loop {
        match world.run(reader.read("l", cursor, ALL)).unwrap() {
            ReadOutcome::Trimmed(kept) => {
                assert_eq!((cursor.offset, kept.offset), (0, first_kept));
                cursor = kept;
            }
            ReadOutcome::Records(entries, _) if entries.is_empty() => break,
            ReadOutcome::Records(entries, next) => {
                for (expected, entry) in (cursor.offset..).zip(entries) {
                    assert_eq!(entry.offset, expected, "a gap");
                    log.insert(expected, String::from_utf8(entry.body).unwrap());
                }
                cursor = next;
            }
        }
    }
    for (offset, word) in told.records.range(first_kept..) {
        assert_eq!(log.get(offset), Some(word), "seed {seed}: record {offset}");
    }
    let mut words: Vec<&String> = log.values().collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(
        words.len(),
        log.len(),
        "seed {seed}: a record is there twice"
    );
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_happens_while_a_log_is_trimmed_and_merged_every_answer_is_true() {
    let seeds = match (variable("IFMATCH_SEED"), variable("IFMATCH_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(SEEDS),
    };
    let count = (seeds.end - seeds.start) as usize;
    let mut sum = Told::default();
    for seed in seeds {
        println!("IFMATCH_SEED={seed}");
        let told = run(seed);
        sum.acknowledged += told.acknowledged;
        sum.read += told.read;
        sum.trims += told.trims;
        sum.packs += told.packs;
        sum.trimmed_readers += told.trimmed_readers;
    }
    println!(
        "{count} seeds: {} records acknowledged, {} read, {} trims, {} packs, {} readers overtaken",
        sum.acknowledged, sum.read, sum.trims, sum.packs, sum.trimmed_readers
    );
    // A run in which nothing happens proves nothing.
    assert!(sum.acknowledged > 100 * count && sum.read > 100 * count);
    assert!(sum.trims > count && sum.packs as usize > count && sum.trimmed_readers > count / 2);
}
