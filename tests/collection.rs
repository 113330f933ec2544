//! Goal: nothing that a kept version names is ever missing, whoever sleeps for how
//! long, and what nobody names goes.
//!
//! Method: instances of the core on the model store of `tests/model`, stepped by
//! hand where the order of requests matters. Numbers in names are those of
//! `docs/SCENARIOS.md`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod model;

use std::cell::RefCell;
use std::rc::Rc;

use ifmatch::blob::{Digest, Generation, Reference};
use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::collection::{Act, Reason, Removal, Report};
use ifmatch::error::Error;
use ifmatch::manifest::{
    At, Change, CommitOutcome, Dependency, Edit, KeepVersions, Part, TransactionOutcome, VersionPin,
};
use model::dice::Dice;
use model::manifest::{Instance, change, commit, fenced, key, latest_of};
use model::{Answer, HOUR_MS, Op, Request, World};

/// Stores a blob under a generation, as a fresh instance.
fn put(world: &World, generation: u32, body: &str) -> Reference {
    let bodies = vec![body.as_bytes().to_vec()];
    let blobs = world.blobs();
    let references = world.run(blobs.put("m", Generation(generation), bodies));
    references.unwrap()[0]
}

/// A change that sets one key to a value that names these blobs.
fn naming(base: u64, key: &str, blobs: &[Reference]) -> Change {
    let edit = Edit {
        key: key.to_owned(),
        value: Some(b"value".to_vec()),
        blobs: blobs.to_vec(),
    };
    Change {
        edits: vec![edit],
        ..change(base, "")
    }
}

/// What an item names.
fn named(world: &World, instance: &Instance, key: &str) -> Option<Vec<Reference>> {
    let snapshot = latest_of(world, instance).unwrap();
    let item = snapshot.items.into_iter().find(|item| item.key == key)?;
    assert_eq!(item.value, b"value");
    Some(item.blobs)
}

#[test]
fn an_item_names_blobs_until_it_is_changed() {
    let world = World::new();
    let writer = world.manifests();
    let (one, two) = (put(&world, 0, "one"), put(&world, 0, "two"));
    commit(&world, &writer, &naming(0, "a", &[one, two]));
    commit(&world, &writer, &naming(1, "b", &[two]));
    for reader in [writer.clone(), world.manifests()] {
        assert_eq!(named(&world, &reader, "a"), Some(vec![one, two]));
        assert_eq!(named(&world, &reader, "b"), Some(vec![two]));
    }
    commit(&world, &writer, &naming(2, "a", &[]));
    commit(&world, &writer, &change(3, "b-"));
    assert_eq!(named(&world, &world.manifests(), "a"), Some(vec![]));
    assert_eq!(named(&world, &world.manifests(), "b"), None);
}

#[test]
fn a_commit_with_blobs_costs_one_request_more_than_there_are_blobs() {
    let world = World::new();
    let writer = world.manifests();
    commit(&world, &writer, &change(0, "a=1"));
    world.take_total();
    let bodies = vec![b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
    let blobs = world.run(world.blobs().put("m", Generation(0), bodies));
    commit(&world, &writer, &naming(1, "a", &blobs.unwrap()));
    assert_eq!(world.take_total(), 4);
}

#[test]
fn what_no_item_can_name_is_refused() {
    let world = World::new();
    let writer = world.manifests();
    commit(&world, &writer, &change(0, "a=1"));
    let blob = put(&world, 0, "one");
    let later = Reference {
        generation: Generation(1),
        digest: Digest::of(b"one"),
    };
    let mut removed = naming(1, "a", &[blob]);
    removed.edits[0].value = None;
    for refused in [
        naming(1, "a", &[blob; 256]),
        naming(1, "a", &[blob, later]),
        removed,
    ] {
        let ended = world.run(writer.commit("m", &refused));
        assert!(matches!(ended, Err(Error::InvalidArgument(_))), "{ended:?}");
    }
    commit(&world, &writer, &naming(1, "a", &[blob; 255]));
}

const ALL: KeepVersions = KeepVersions::From(1);

/// How many blobs went.
fn unnamed(swept: &Report) -> u64 {
    swept.count(Reason::Unnamed)
}

/// A sweep by a fresh instance, an hour after whatever came before.
fn sweep(world: &World) -> Report {
    world.advance_ms(HOUR_MS);
    world
        .run(world.manifests().collect("m", ALL, Act::Sweep))
        .unwrap()
}

fn is_stored(world: &World, blob: Reference) -> bool {
    let stored = world.run(world.blobs().contains("m", &[blob]));
    stored.unwrap()[0]
}

/// Every version is as it was committed, and every blob that it names is there.
fn check_all(world: &World) {
    let latest = latest_of(world, &world.manifests()).unwrap();
    for version in 1..=latest.summary.version {
        let at = world.run(world.manifests().at("m", version, None)).unwrap();
        let snapshot = match at {
            At::Snapshot(snapshot) => snapshot,
            At::Trimmed(first_kept) if first_kept > version => continue,
            at => panic!("version {version}: {at:?}"),
        };
        for item in snapshot.items {
            let bodies = world.run(world.blobs().get("m", &item.blobs)).unwrap();
            assert!(
                bodies.iter().all(Option::is_some),
                "version {version} names a blob that is gone: {item:?}"
            );
        }
    }
}

#[test]
fn a_blob_that_nobody_names_goes_with_the_second_sweep_after_it_was_stored() {
    let world = World::new();
    let writer = world.manifests();
    let (kept, idle) = (put(&world, 0, "kept"), put(&world, 0, "idle"));
    commit(&world, &writer, &naming(0, "a", &[kept]));
    let first = sweep(&world);
    assert_eq!((first.generation, unnamed(&first)), (Generation(1), 0));
    let young = put(&world, 1, "young");
    let soon = world
        .run(world.manifests().collect("m", ALL, Act::Sweep))
        .unwrap();
    assert_eq!((soon.generation, unnamed(&soon)), (Generation(1), 0));

    world.advance_ms(HOUR_MS);
    let before = world.keys();
    let planned = world
        .run(world.manifests().collect("m", ALL, Act::Plan))
        .unwrap();
    assert_eq!(world.keys(), before, "a plan changes nothing");
    world.take_total();
    let done = world
        .run(world.manifests().collect("m", ALL, Act::Sweep))
        .unwrap();
    assert_eq!(world.take_total(), 11, "8 and the versions");
    assert_eq!(done, planned);
    assert_eq!((done.generation, done.named), (Generation(2), 1));
    let expected = Removal {
        reason: Reason::Unnamed,
        objects: 1,
        bytes: 4,
        keys: vec![idle.key("m").unwrap()],
    };
    assert_eq!(done.removals, [expected]);
    assert!(!done.more);
    assert!(!is_stored(&world, idle));
    assert!(is_stored(&world, kept) && is_stored(&world, young));
    let none = world.run(world.manifests().collect("other", ALL, Act::Sweep));
    assert_eq!(none.unwrap().removals, []);
    check_all(&world);
}

#[test]
fn what_is_named_already_can_be_named_again_whatever_its_age() {
    let world = World::new();
    let writer = world.manifests();
    let (old, idle) = (put(&world, 0, "old"), put(&world, 0, "idle"));
    commit(&world, &writer, &naming(0, "a", &[old]));
    sweep(&world);
    sweep(&world);
    let base = latest_of(&world, &writer).unwrap().summary.version;
    let moved = Change {
        edits: [naming(0, "b", &[old]).edits, change(0, "a-").edits].concat(),
        ..naming(base, "b", &[])
    };
    let base = commit(&world, &writer, &moved);
    let ended = world.run(writer.commit("m", &naming(base, "c", &[old, idle])));
    assert_eq!(ended, Ok(CommitOutcome::Expired(Generation(2))));
    check_all(&world);
}

#[test]
fn scenario_44_what_only_trimmed_versions_named_goes_unless_it_is_pinned() {
    for pinned in [true, false] {
        let world = World::new();
        let writer = world.manifests();
        let (old, new) = (put(&world, 0, "old"), put(&world, 0, "new"));
        commit(&world, &writer, &naming(0, "a", &[old]));
        commit(&world, &writer, &naming(1, "a", &[new]));
        sweep(&world);
        if pinned {
            let day = 24 * 3_600_000;
            let pin = world.run(writer.pin("m", "reader", 1, day)).unwrap();
            assert!(matches!(pin, VersionPin::Pinned(_)), "{pin:?}");
        }
        world.advance_ms(HOUR_MS);
        let trimmed = world
            .run(writer.trim("m", KeepVersions::Newest(1)))
            .unwrap();
        assert_eq!(trimmed.first_kept == 1, pinned, "{trimmed:?}");
        assert_eq!(unnamed(&sweep(&world)), u64::from(!pinned));
        assert_eq!(is_stored(&world, old), pinned);
        check_all(&world);
    }
}

#[test]
fn scenario_41_the_blobs_of_a_commit_whose_outcome_is_unknown_stay_until_it_is_decided() {
    for arrives in [true, false] {
        let world = World::new();
        let writer = world.manifests();
        commit(&world, &writer, &change(0, "a=1"));
        let blob = put(&world, 0, "one");
        let change = naming(1, "b", &[blob]);
        let mut op = world.start(writer.commit("m", &change));
        let mut sent = Vec::new();
        while let Some(request) = op.request() {
            match request {
                Request::Put(_) => {
                    sent.push(request);
                    let lost = PutOutcome::Indeterminate("lost".to_owned());
                    op.answer(Answer::Put(Ok(lost)));
                }
                _ => drop(op.serve()),
            }
        }
        assert!(matches!(op.done(), Ok(CommitOutcome::Indeterminate(_))));
        if arrives {
            world.apply(&sent[0]);
        }
        for _ in 0..3 {
            sweep(&world);
        }
        // A copy that comes later meets its slot taken.
        world.apply(&sent[0]);
        assert_eq!(is_stored(&world, blob), arrives);
        assert_eq!(named(&world, &world.manifests(), "b").is_some(), arrives);
        check_all(&world);
    }
}

#[test]
fn scenario_42_a_commit_that_slept_past_two_sweeps_stores_its_blobs_again() {
    let world = World::new();
    let writer = world.manifests();
    commit(&world, &writer, &change(0, "a=1"));
    let blob = put(&world, 0, "one");
    sweep(&world);
    assert!(is_stored(&world, blob));
    sweep(&world);
    assert!(!is_stored(&world, blob));
    let ended = world.run(writer.commit("m", &naming(1, "a", &[blob])));
    assert_eq!(ended, Ok(CommitOutcome::Expired(Generation(2))));
    assert_eq!(named(&world, &writer, "b"), None);
    let blob = put(&world, 2, "one");
    commit(&world, &writer, &naming(1, "a", &[blob]));
    check_all(&world);
}

#[test]
fn scenario_42_a_commit_on_its_way_comes_before_the_sweep_or_not_at_all() {
    for first in [true, false] {
        let world = World::new();
        let writer = world.manifests();
        commit(&world, &writer, &change(0, "a=1"));
        let blob = put(&world, 0, "one");
        sweep(&world);
        let (change, other) = (naming(1, "b", &[blob]), world.manifests());
        world.run(other.latest("m")).unwrap();
        let mut op = world.start(other.commit("m", &change));
        op.serve_until("PUT");
        if first {
            op.serve();
        }
        let swept = sweep(&world);
        assert_eq!(unnamed(&swept), u64::from(!first));
        let expected = match first {
            true => CommitOutcome::Committed(3),
            false => CommitOutcome::Expired(Generation(2)),
        };
        assert_eq!(op.finish(), Ok(expected));
        check_all(&world);
    }
}

#[test]
fn scenario_43_a_blob_that_is_used_again_while_it_is_swept() {
    for committed_before in [true, false] {
        let world = World::new();
        let writer = world.manifests();
        commit(&world, &writer, &change(0, "a=1"));
        let blob = put(&world, 0, "one");
        sweep(&world);
        world.advance_ms(HOUR_MS);
        let collector = world.manifests();
        let mut op = world.start(collector.collect("m", ALL, Act::Sweep));
        if committed_before {
            // It was there already, and is named before the sweep raises.
            assert_eq!(put(&world, 0, "one"), blob);
            commit(&world, &writer, &naming(1, "b", &[blob]));
            assert_eq!(unnamed(&op.finish().unwrap()), 0);
        } else {
            // The collector has made its list, and sleeps.
            op.serve_until("DELETE");
            assert_eq!(put(&world, 0, "one"), blob);
            let ended = world.run(writer.commit("m", &naming(1, "b", &[blob])));
            assert_eq!(ended, Ok(CommitOutcome::Expired(Generation(2))));
            assert_eq!(unnamed(&op.finish().unwrap()), 1);
        }
        check_all(&world);
    }
}

#[test]
fn scenario_46_a_list_of_blobs_that_is_a_day_old_deletes_nothing_live() {
    let world = World::new();
    let writer = world.manifests();
    commit(&world, &writer, &change(0, "a=1"));
    put(&world, 0, "one");
    sweep(&world);
    world.advance_ms(HOUR_MS);
    let collector = world.manifests();
    let mut asleep = world.start(collector.collect("m", ALL, Act::Sweep));
    asleep.serve_until("DELETE");
    for day in 2..26 {
        let blob = put(&world, day, "one");
        let base = latest_of(&world, &writer).unwrap().summary.version;
        commit(&world, &writer, &naming(base, "b", &[blob]));
        assert_eq!(sweep(&world).generation, Generation(day + 1));
    }
    asleep.finish().unwrap();
    check_all(&world);
}

#[test]
fn what_a_transaction_names_stays() {
    let world = World::new();
    let writer = world.manifests();
    commit(&world, &writer, &change(0, "a=1"));
    world.run(writer.commit("n", &change(0, "a=1"))).unwrap();
    let blob = put(&world, 0, "one");
    let parts =
        [("m", naming(1, "b", &[blob])), ("n", change(1, "b=1"))].map(|(name, change)| Part {
            name: name.to_owned(),
            change,
        });
    let outcome = world.run(writer.transact(&parts)).unwrap();
    assert!(matches!(outcome, TransactionOutcome::Committed(_)));
    commit(&world, &writer, &change(2, "c=1"));
    for _ in 0..4 {
        sweep(&world);
    }
    assert!(is_stored(&world, blob));
    check_all(&world);
}

#[test]
fn a_sweep_that_sleeps_through_a_trim_begins_again() {
    let world = World::new();
    let writer = world.manifests();
    let blob = put(&world, 0, "one");
    commit(&world, &writer, &naming(0, "k", &[blob]));
    sweep(&world);
    sweep(&world);
    let sleepy = world.manifests();
    latest_of(&world, &sleepy);
    let removal = Change {
        depends_on: Dependency::Nothing,
        ..change(3, "k-")
    };
    let mut ghost = world.start(sleepy.commit("m", &removal));
    ghost.serve_until("PUT");
    assert_eq!(commit(&world, &writer, &change(3, "x=1")), 4);
    world.advance_ms(2 * HOUR_MS);
    let trim = |keep| world.run(world.manifests().trim("m", keep)).unwrap();
    assert_eq!(trim(KeepVersions::Newest(1)).first_kept, 4);
    // The collector has raised the generation, and read that version 4 is kept.
    let collector = world.manifests();
    let mut op = world.start(collector.collect("m", ALL, Act::Sweep));
    op.serve_until("PUT");
    op.serve();
    while op.request().unwrap().key() != key(4) {
        op.serve();
    }
    // Then that is trimmed, and somebody who slept puts a version in its place that
    // counts for nothing, and does not name the blob.
    world.advance_ms(2 * HOUR_MS);
    assert_eq!(commit(&world, &writer, &change(5, "x=2")), 6);
    assert_eq!(trim(KeepVersions::From(5)).first_kept, 5);
    assert!(world.object(&key(4)).is_none());
    ghost.serve();
    assert!(world.object(&key(4)).is_some());
    op.finish().unwrap();
    assert!(is_stored(&world, blob));
}

#[test]
fn two_sweeps_at_once_raise_the_generation_once() {
    let world = World::new();
    let writer = world.manifests();
    commit(&world, &writer, &change(0, "a=1"));
    world.advance_ms(HOUR_MS);
    let (one, other) = (world.manifests(), world.manifests());
    let mut slow = world.start(one.collect("m", ALL, Act::Sweep));
    slow.serve_until("PUT");
    let quick = world.run(other.collect("m", ALL, Act::Sweep)).unwrap();
    assert_eq!(quick.generation, Generation(1));
    assert_eq!(slow.finish().unwrap().generation, Generation(1));
    assert_eq!(latest_of(&world, &writer).unwrap().summary.version, 2);
}

#[test]
fn a_sweep_fences_nobody() {
    let world = World::new();
    let leader = world.manifests();
    commit(&world, &leader, &fenced(0, "a=1", 7));
    sweep(&world);
    commit(&world, &leader, &fenced(1, "a=2", 7));
    let shared = world.run(leader.commit("m", &change(2, "a=3")));
    assert!(matches!(shared, Ok(CommitOutcome::Fenced(_))), "{shared:?}");
    assert_eq!(sweep(&world).generation, Generation(2));
}

#[test]
fn without_a_time_of_the_store_nothing_is_condemned_by_itself() {
    let world = World::new();
    world.0.borrow_mut().tells_time = false;
    commit(&world, &world.manifests(), &change(0, "a=1"));
    for _ in 0..3 {
        assert_eq!(sweep(&world).generation, Generation(1));
    }
}

/// How often each thing happened.
#[derive(Default)]
struct Seen {
    committed: u64,
    expired: u64,
    deleted: u64,
    trimmed: u64,
}

/// Stores one of a few blobs and names it, several times, with what it knew before
/// it slept.
async fn write(world: World, number: u64, seen: Rc<RefCell<Seen>>) {
    let (manifests, blobs) = (world.manifests(), world.blobs());
    for round in 0..6 {
        let Ok(Some(latest)) = manifests.latest("m").await else {
            continue;
        };
        let mut generation = latest.summary.generation;
        let body = vec![u8::try_from((number + round) % 3).unwrap()];
        for _ in 0..4 {
            let put = blobs.put("m", generation, vec![body.clone()]).await;
            let Ok(references) = put else { break };
            let change = Change {
                depends_on: Dependency::Nothing,
                ..naming(
                    latest.summary.version,
                    &format!("{}", number % 2),
                    &references,
                )
            };
            match manifests.commit("m", &change).await {
                Ok(CommitOutcome::Expired(current)) => {
                    seen.borrow_mut().expired += 1;
                    generation = current;
                }
                Ok(CommitOutcome::Committed(_)) => {
                    seen.borrow_mut().committed += 1;
                    break;
                }
                _ => break,
            }
        }
    }
}

async fn collect(world: World, seen: Rc<RefCell<Seen>>) {
    for _ in 0..4 {
        world.advance_ms(HOUR_MS);
        let newest = KeepVersions::Newest(1);
        let swept = world.manifests().collect("m", newest, Act::Sweep).await;
        if let Ok(swept) = swept {
            let mut seen = seen.borrow_mut();
            seen.trimmed += swept.count(Reason::Trimmed);
            seen.deleted += unnamed(&swept);
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

#[test]
fn in_any_order_of_requests_no_version_names_a_blob_that_is_gone() {
    let seen = Rc::new(RefCell::new(Seen::default()));
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let world = World::new();
        commit(&world, &world.manifests(), &change(0, "a=1"));
        let mut ops: Vec<Op<'_, ()>> = (0..3)
            .map(|number| world.start(write(world.clone(), number, seen.clone())))
            .collect();
        ops.extend((0..2).map(|_| world.start(collect(world.clone(), seen.clone()))));
        let mut late = Vec::new();
        while !ops.is_empty() {
            let at = usize::try_from(dice.below(ops.len() as u64)).unwrap();
            // Some sleep while others take many steps.
            for _ in 0..=dice.below(12) {
                if ops[at].request().is_none() {
                    ops.remove(at);
                    break;
                }
                if dice.below(16) > 0 || !delay(&mut ops[at], &mut late) {
                    ops[at].serve();
                }
            }
            if dice.below(6) == 0 && !late.is_empty() {
                let at = usize::try_from(dice.below(late.len() as u64)).unwrap();
                world.apply(&late.remove(at));
            }
        }
        late.iter().for_each(|request| drop(world.apply(request)));
        check_all(&world);
    }
    let seen = seen.borrow();
    assert!(seen.committed > 1_000, "{} commits", seen.committed);
    assert!(seen.expired > 100, "{} expired", seen.expired);
    assert!(seen.deleted > 100, "{} deleted", seen.deleted);
    assert!(seen.trimmed > 100, "{} trimmed", seen.trimmed);
}
