//! Goal: whatever the order of requests, and whatever happens to them, writers that
//! offer their batches to each other lose nothing, double nothing and are told the
//! truth.
//!
//! Method: a few writers, a leader and a collector on the model store. A seed draws
//! whose request is next and what becomes of it: answered, lost, applied without an
//! answer, applied much later, delivered twice, refused. A failure names its seed.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a test fails by panicking, and names its seed"
)]

mod model;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::log::{AppendOutcome, Cursor, Extent, Keep, MergeOptions, ReadOutcome};
use ifmatch::slots::Grace;
use ifmatch::token::Epoch;
use model::dice::Dice;
use model::log::{ALL, batch, produced};
use model::{Answer, Op, Request, World};

const GRACE: Grace = Grace {
    period_ms: 10_000,
    margin_ms: 2_000,
};

/// What a schedule consists of.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// Writers with a batch each, over and over.
    writers: u64,
    appends: u64,
    /// Two instances that send the same batches of one producer.
    producers: bool,
    /// A leader claims the log at some moment.
    leader: bool,
    /// A collector trims it from time to time.
    trims: bool,
    /// Somebody merges it from time to time.
    merges: bool,
    /// Of a hundred requests, so many go wrong.
    faults: u64,
}

/// What the callers were told.
#[derive(Default)]
struct Told {
    /// What each instance was asked to append, in that order.
    asked: Vec<Vec<String>>,
    acknowledged: BTreeMap<String, Extent>,
    open: Vec<String>,
    refused: Vec<String>,
}

impl Told {
    fn note(&mut self, text: &str, outcome: Result<AppendOutcome, ifmatch::error::Error>) {
        match outcome {
            Ok(AppendOutcome::Appended(extent)) => {
                let before = self.acknowledged.insert(text.to_owned(), extent);
                assert!(
                    before.is_none_or(|it| it == extent),
                    "{text}: {before:?}, {extent:?}"
                );
            }
            Ok(AppendOutcome::Indeterminate(_)) => self.open.push(text.to_owned()),
            Ok(_) | Err(_) => self.refused.push(text.to_owned()),
        }
    }
}

/// How often offers were taken in all.
#[derive(Default)]
struct Reached {
    offers: usize,
    taken: usize,
    fenced: usize,
    open: usize,
    trimmed: usize,
    packs: usize,
}

fn play(seed: u64, plan: Plan, reached: &mut Reached) {
    let world = World::new();
    let mut dice = Dice(seed);
    world.run(world.instance().create("l", GRACE)).unwrap();
    let told = Rc::new(RefCell::new(Told::default()));
    let mut actors: Vec<Op<'_, ()>> = Vec::new();
    let options_of = |writer: u64, number: u64| match writer {
        // The last two are one producer.
        it if plan.producers && it + 2 >= plan.writers => produced("p", number),
        _ => ifmatch::log::AppendOptions::SHARED,
    };
    let text_of = |writer: u64, number: u64| match writer {
        it if plan.producers && it + 2 >= plan.writers => format!("p.{number}"),
        it => format!("{it}.{number}"),
    };
    for writer in 0..plan.writers {
        let (world, told) = (world.clone(), told.clone());
        let cold = dice.chance(30);
        let shared = world.instance();
        told.borrow_mut().asked.push(Vec::new());
        let asked_before = told.borrow().asked.len() - 1;
        actors.push(world.clone().start(async move {
            for number in 0..plan.appends {
                let instance = if cold {
                    world.instance()
                } else {
                    shared.clone()
                };
                let text = text_of(writer, number);
                let options = options_of(writer, number);
                if !cold {
                    told.borrow_mut().asked[asked_before].push(text.clone());
                }
                let outcome = instance.append("l", &batch(&text), &options).await;
                let ended = matches!(outcome, Ok(AppendOutcome::Appended(_)));
                told.borrow_mut().note(&text, outcome);
                if !ended && options.producer.is_some() {
                    break;
                }
            }
        }));
    }
    if plan.leader {
        let leader = world.instance();
        actors.push(world.start(async move {
            for _ in 0..30 {
                leader.tail("l").await.ok();
            }
            for _ in 0..5 {
                leader.claim("l", Epoch(1)).await.ok();
            }
        }));
    }
    if plan.trims {
        let collector = world.instance();
        actors.push(world.start(async move {
            for _ in 0..20 {
                collector.trim("l", Keep::Records(0)).await.ok();
            }
        }));
    }
    if plan.merges {
        let collector = world.instance();
        actors.push(world.start(async move {
            let options = MergeOptions {
                spare: Keep::Records(2),
                at_least: 1,
            };
            for _ in 0..10 {
                collector.merge("l", &options).await.ok();
            }
        }));
    }
    let mut late: Vec<Request> = Vec::new();
    for _ in 0..100_000 {
        if actors.is_empty() {
            break;
        }
        let at = dice.below(actors.len() as u64) as usize;
        let Some(request) = actors[at].request() else {
            actors.swap_remove(at).done();
            continue;
        };
        world.advance_ms(dice.below(4));
        if (plan.trims || plan.merges) && dice.chance(1) {
            world.advance_ms(dice.below(2 * u64::from(GRACE.period_ms)));
        }
        if !late.is_empty() && dice.chance(3) {
            let chosen = dice.below(late.len() as u64) as usize;
            world.apply(&late.swap_remove(chosen));
        }
        if let Request::Put(write) = &request
            && write.key.contains("-o")
        {
            reached.offers += 1;
        }
        if !dice.chance(plan.faults) {
            actors[at].serve();
            continue;
        }
        let open = || Answer::Put(Ok(PutOutcome::Indeterminate("no answer".to_owned())));
        let down = || BucketError::Unavailable("down".to_owned());
        match (&request, dice.below(5)) {
            (Request::Put(_), 0) => actors[at].answer(open()),
            (Request::Put(_), 1) => {
                world.apply(&request);
                actors[at].answer(open());
            }
            (Request::Put(_), 2) => {
                late.push(request);
                actors[at].answer(open());
            }
            (Request::Put(_), 3) => actors[at].answer(Answer::Put(Err(BucketError::Throttled(1)))),
            (Request::Put(_), _) => {
                late.push(request);
                actors[at].serve();
            }
            (Request::Get(_), _) => actors[at].answer(Answer::Get(Err(down()))),
            (Request::List { .. }, _) => actors[at].answer(Answer::List(Err(down()))),
            (Request::Delete(_), _) => actors[at].answer(Answer::Delete(Err(down()))),
        }
    }
    assert!(actors.is_empty(), "somebody is still at work");
    for request in late {
        world.apply(&request);
    }
    check(&world, &told.borrow(), reached);
}

/// Compares what is in the log with what was told.
fn check(world: &World, told: &Told, reached: &mut Reached) {
    let reader = world.instance();
    let mut found: Vec<(u64, String)> = Vec::new();
    let mut cursor = Cursor::at(0);
    let mut first_kept = 0;
    loop {
        match world.run(reader.read("l", cursor, ALL)).unwrap() {
            ReadOutcome::Trimmed(kept) => {
                reached.trimmed += 1;
                first_kept = kept.offset;
                cursor = kept;
            }
            ReadOutcome::Records(entries, _) if entries.is_empty() => break,
            ReadOutcome::Records(entries, next) => {
                for entry in entries {
                    let expected = first_kept + found.len() as u64;
                    assert_eq!(entry.offset, expected);
                    found.push((expected, String::from_utf8(entry.body).unwrap()));
                }
                cursor = next;
            }
        }
    }
    let mut places: BTreeMap<&str, u64> = BTreeMap::new();
    for (offset, text) in &found {
        let before = places.insert(text, *offset);
        assert_eq!(before, None, "{text} is in the log twice");
        assert!(
            !told.refused.contains(text)
                || told.acknowledged.contains_key(text)
                || text.starts_with('p'),
            "{text} was refused"
        );
    }
    for asked in &told.asked {
        let order: Vec<u64> = asked
            .iter()
            .filter_map(|it| places.get(it.as_str()).copied())
            .collect();
        assert!(order.is_sorted(), "{asked:?} are in the log at {order:?}");
    }
    for (text, extent) in &told.acknowledged {
        let expected = (extent.start >= first_kept).then_some(extent.start);
        assert_eq!(places.get(text.as_str()).copied(), expected, "{text}");
    }
    reached.open += told.open.len();
    reached.fenced += told.refused.len();
    for key in world.keys() {
        reached.packs += usize::from(key.contains("/_pack/"));
        if let Some(stored) = world.object(&key)
            && let Ok(segment) = ifmatch::log::Segment::decode(stored.body)
        {
            reached.taken += segment.offers().len();
        }
    }
}

fn play_all(plan: Plan, seeds: u64) -> Reached {
    let mut reached = Reached::default();
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            play(seed, plan, &mut reached);
        }));
        if let Err(panic) = outcome {
            eprintln!("seed {seed} of {plan:?}");
            std::panic::resume_unwind(panic);
        }
    }
    reached
}

const CROWD: Plan = Plan {
    writers: 4,
    appends: 5,
    producers: false,
    leader: false,
    trims: false,
    merges: false,
    faults: 0,
};

#[test]
fn any_order_of_requests_is_safe() {
    let reached = play_all(CROWD, 400);
    assert!(reached.taken > 400, "{} offers were taken", reached.taken);
}

#[test]
fn any_order_of_requests_is_safe_with_faults() {
    let reached = play_all(
        Plan {
            faults: 15,
            ..CROWD
        },
        1_000,
    );
    assert!(reached.taken > 400, "{} offers were taken", reached.taken);
}

#[test]
fn any_order_is_safe_for_one_producer_at_two_instances() {
    let plan = Plan {
        producers: true,
        faults: 10,
        ..CROWD
    };
    let reached = play_all(plan, 400);
    assert!(reached.taken > 400, "{} offers were taken", reached.taken);
}

#[test]
fn any_order_is_safe_when_a_leader_claims_the_log() {
    let plan = Plan {
        leader: true,
        faults: 10,
        ..CROWD
    };
    let reached = play_all(plan, 400);
    assert!(reached.taken > 40, "{} offers were taken", reached.taken);
    assert!(reached.fenced > 40, "{} were fenced", reached.fenced);
}

#[test]
fn any_order_is_safe_while_the_log_is_trimmed() {
    let plan = Plan {
        trims: true,
        faults: 10,
        appends: 10,
        ..CROWD
    };
    let reached = play_all(plan, 400);
    assert!(reached.offers > 400, "{} offers", reached.offers);
    assert!(reached.trimmed > 40, "{} were trimmed", reached.trimmed);
}

#[test]
fn any_order_is_safe_while_the_log_is_merged() {
    let plan = Plan {
        merges: true,
        faults: 10,
        appends: 10,
        ..CROWD
    };
    let reached = play_all(plan, 400);
    assert!(reached.offers > 400, "{} offers", reached.offers);
    assert!(reached.packs > 40, "{} packs", reached.packs);
}
