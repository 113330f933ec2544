//! Goal: a fork begins with what its parent had and depends on it no more, and
//! settings hold for a manifest's whole life.
//!
//! Method: instances of the core on the model store of `tests/model`. Numbers in
//! names are those of `docs/SCENARIOS.md`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod model;

use ifmatch::blob::{Blobs, Generation};
use ifmatch::bucket::PutOutcome;
use ifmatch::collection::Act;
use ifmatch::error::Error;
use ifmatch::log::CreateOutcome;
use ifmatch::manifest::{ForkOutcome, KeepVersions, Version};
use ifmatch::slots::Grace;
use model::manifest::{change, commit, key, latest, words};
use model::{Answer, HOUR_MS, World};

fn items_of(world: &World, name: &str) -> (u64, String) {
    let snapshot = world.run(world.manifests().latest(name)).unwrap().unwrap();
    (snapshot.summary.version, words(&snapshot.items))
}

#[test]
fn scenario_49_a_fork_outlives_what_its_parent_forgets() {
    let world = World::new();
    let writer = world.manifests();
    let blobs = Blobs::new(world.store());
    let stored = world
        .run(blobs.put("m", Generation(0), vec![b"shared".to_vec()]))
        .unwrap();
    let mut first = change(0, "a=1 b=2");
    first.edits[0].blobs = stored.clone();
    commit(&world, &writer, &first);
    commit(&world, &writer, &change(1, "a=3"));
    let fork = || world.run(world.manifests().fork("m", 1, "child")).unwrap();
    assert_eq!(fork(), ForkOutcome::Forked);
    assert_eq!(world.run(writer.pins("m")).unwrap(), []);
    // The parent moves on, and everything of that version goes.
    world.advance_ms(2 * HOUR_MS);
    world
        .run(writer.trim("m", KeepVersions::Newest(1)))
        .unwrap();
    let blob_keys: Vec<String> = world
        .keys()
        .into_iter()
        .filter(|key| key.starts_with("blob/m/"))
        .collect();
    for key in blob_keys {
        world.0.borrow_mut().objects.remove(&key);
    }
    assert_eq!(items_of(&world, "child"), (1, "a=1 b=2".to_owned()));
    let snapshot = world
        .run(world.manifests().latest("child"))
        .unwrap()
        .unwrap();
    let named = &snapshot.items[0].blobs;
    let bodies = world.run(blobs.get("child", named)).unwrap();
    assert_eq!(bodies, [Some(b"shared".to_vec())]);
    // Neither knows the other any more.
    let child = world.manifests();
    world.run(child.commit("child", &change(1, "c=4"))).unwrap();
    assert_eq!(items_of(&world, "child"), (2, "a=1 b=2 c=4".to_owned()));
    assert_eq!(latest(&world), (2, "a=3 b=2".to_owned()));
    let first = world.object(&key(1).replace("/m/", "/child/")).unwrap();
    let origin = Version::decode(&first.body).unwrap().origin.unwrap();
    assert_eq!((origin.name.as_str(), origin.version), ("m", 1));
}

#[test]
fn scenario_49_what_a_fork_copies_stays_while_it_is_copied() {
    let world = World::new();
    let writer = world.manifests();
    // Short, so that a collector is through before the fork's pin ends.
    let grace = Grace {
        period_ms: 10_000,
        margin_ms: 2_000,
    };
    world.run(writer.create("m", grace)).unwrap();
    let blobs = Blobs::new(world.store());
    let stored = blobs.put("m", Generation(0), vec![b"shared".to_vec()]);
    let mut first = change(1, "a=1");
    first.edits[0].blobs = world.run(stored).unwrap();
    commit(&world, &writer, &first);
    commit(&world, &writer, &change(2, "a=3"));
    let forker = world.manifests();
    let mut op = world.start(forker.fork("m", 2, "child"));
    while !op.request().unwrap().key().starts_with("blob/m/") {
        op.serve();
    }
    for _ in 0..3 {
        world.advance_ms(60_000);
        let trimmed = world.run(writer.trim("m", KeepVersions::Newest(1)));
        assert_eq!(trimmed.unwrap().first_kept, 2);
        world
            .run(writer.collect("m", KeepVersions::From(1), Act::Sweep))
            .unwrap();
    }
    assert_eq!(op.finish().unwrap(), ForkOutcome::Forked);
    assert_eq!(items_of(&world, "child"), (1, "a=1".to_owned()));
}

#[test]
fn scenario_49_a_fork_that_sleeps_past_its_pin_is_told_that_its_version_was_trimmed() {
    let world = World::new();
    let writer = world.manifests();
    let blobs = Blobs::new(world.store());
    let stored = blobs.put("m", Generation(0), vec![b"gone".to_vec()]);
    let mut first = change(0, "a=1");
    first.edits[0].blobs = world.run(stored).unwrap();
    commit(&world, &writer, &first);
    commit(&world, &writer, &change(1, "a=3"));
    let forker = world.manifests();
    let mut op = world.start(forker.fork("m", 1, "child"));
    while !op.request().unwrap().key().starts_with("blob/m/") {
        op.serve();
    }
    for _ in 0..3 {
        world.advance_ms(2 * HOUR_MS);
        let swept = writer.collect("m", KeepVersions::Newest(1), Act::Sweep);
        world.run(swept).unwrap();
    }
    let kept = world.run(world.manifests().trim("m", KeepVersions::From(1)));
    let kept = kept.unwrap().first_kept;
    assert_eq!(op.finish(), Ok(ForkOutcome::Trimmed(kept)));
    assert_eq!(world.run(writer.latest("child")).unwrap(), None);
    // A blob that is gone although a kept version names it is still reported.
    let stored = blobs.put("m", Generation(3), vec![b"lost".to_vec()]);
    let stored = world.run(stored).unwrap();
    let mut last = change(kept, "b=1");
    last.edits[0].blobs = stored.clone();
    let version = commit(&world, &writer, &last);
    let lost = stored[0].key("m").unwrap();
    world.0.borrow_mut().objects.remove(&lost);
    match world.run(writer.fork("m", version, "child")) {
        Err(Error::Corrupt(what)) => assert!(what.contains(&lost), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fork_is_made_once() {
    let world = World::new();
    let writer = world.manifests();
    for version in 0..5 {
        commit(&world, &writer, &change(version, &format!("k={version}")));
    }
    let fork =
        |name: &str, version, child: &str| world.run(world.manifests().fork(name, version, child));
    assert_eq!(fork("m", 9, "child"), Ok(ForkOutcome::Absent));
    assert_eq!(fork("none", 1, "child"), Ok(ForkOutcome::Absent));
    assert_eq!(fork("m", 3, "child"), Ok(ForkOutcome::Forked));
    assert_eq!(items_of(&world, "child"), (1, "k=2".to_owned()));
    assert_eq!(
        fork("m", 3, "child"),
        Ok(ForkOutcome::Forked),
        "the same again"
    );
    assert_eq!(fork("m", 4, "child"), Ok(ForkOutcome::Exists));
    assert_eq!(fork("m", 3, "m"), Ok(ForkOutcome::Exists));
    assert!(matches!(fork("m", 0, "x"), Err(Error::InvalidArgument(_))));
    world.advance_ms(2 * HOUR_MS);
    world.run(writer.trim("m", KeepVersions::From(4))).unwrap();
    assert_eq!(fork("m", 3, "late"), Ok(ForkOutcome::Trimmed(4)));
    // A lost reply is resolved.
    let instance = world.manifests();
    let mut op = world.start(instance.fork("m", 4, "lost"));
    let put = op.serve_until("PUT");
    world.apply(&put);
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    assert_eq!(op.finish(), Ok(ForkOutcome::Forked));
}

#[test]
fn settings_are_those_of_the_creation() {
    let world = World::new();
    let instance = world.manifests();
    let grace = Grace {
        period_ms: 10_000,
        margin_ms: 2_000,
    };
    let create = |grace| world.run(instance.create("m", grace));
    assert_eq!(create(grace), Ok(CreateOutcome::Created));
    assert_eq!(create(Grace::DEFAULT), Ok(CreateOutcome::Exists(grace)));
    let too_short = Grace {
        period_ms: 1,
        margin_ms: 0,
    };
    assert!(matches!(create(too_short), Err(Error::InvalidArgument(_))));
    assert_eq!(latest(&world), (1, String::new()));
    for version in 1..5 {
        commit(&world, &instance, &change(version, "k=1"));
    }
    assert_eq!(
        world
            .run(instance.trim("m", KeepVersions::Newest(1)))
            .unwrap()
            .first_kept,
        1
    );
    world.advance_ms(10_000);
    assert_eq!(
        world
            .run(instance.trim("m", KeepVersions::Newest(1)))
            .unwrap()
            .first_kept,
        5
    );
    assert_eq!(create(Grace::DEFAULT), Ok(CreateOutcome::Exists(grace)));
}

#[test]
fn on_a_store_without_times_manifests_work() {
    let world = World::new();
    world.0.borrow_mut().tells_time = false;
    let instance = world.manifests();
    let grace = Grace {
        period_ms: 0,
        margin_ms: 0,
    };
    world.run(instance.create("m", grace)).unwrap();
    for version in 1..5 {
        let text = format!("k={version}");
        assert_eq!(
            commit(&world, &instance, &change(version, &text)),
            version + 1
        );
        assert_eq!(latest(&world), (version + 1, text));
    }
    assert_eq!(
        world
            .run(instance.trim("m", KeepVersions::From(3)))
            .unwrap()
            .first_kept,
        3
    );
    assert_eq!(commit(&world, &instance, &change(5, "k=6")), 6);
}
