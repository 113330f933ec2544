//! Goal: trimming never loses or revives a version, whoever sleeps for how long, and
//! a pin keeps what it names or says that it does not.
//!
//! Method: instances of the core on the model store of `tests/model`. A writer or
//! reader that sleeps is an operation that is not stepped while the store's clock
//! goes on. Numbers in names are those of `docs/SCENARIOS.md`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod model;

use ifmatch::bucket::StoreTime;
use ifmatch::error::Error;
use ifmatch::log::TrimLimit;
use ifmatch::manifest::{
    At, Change, CommitOutcome, Conflict, Dependency, KeepVersions, VersionPin, VersionsReport,
};
use model::manifest::{Instance, at, change, commit, key, latest, latest_of, words};
use model::{HOUR_MS, World};

/// A manifest with versions up to `count`; version n sets `k=n`.
fn filled(count: u64) -> (World, Instance) {
    let world = World::new();
    let instance = world.manifests();
    for version in 1..=count {
        let text = format!("k={version}");
        assert_eq!(
            commit(&world, &instance, &change(version - 1, &text)),
            version
        );
    }
    (world, instance)
}

fn trim(world: &World, keep: KeepVersions) -> VersionsReport {
    world.run(world.manifests().trim("m", keep)).unwrap()
}

fn read_at(world: &World, version: u64, reader: Option<&str>) -> At {
    world
        .run(world.manifests().at("m", version, reader))
        .unwrap()
}

fn pin(world: &World, version: u64, ttl_ms: u32) -> VersionPin {
    world
        .run(world.manifests().pin("m", "r", version, ttl_ms))
        .unwrap()
}

#[test]
fn a_trim_removes_what_it_was_asked_to_and_readers_learn_of_it() {
    let (world, writer) = filled(10);
    assert_eq!(
        trim(&world, KeepVersions::From(6)).limited_by,
        TrimLimit::Grace
    );
    world.advance_ms(2 * HOUR_MS);
    let report = trim(&world, KeepVersions::From(6));
    assert_eq!(
        (report.first_kept, report.deleted, report.more),
        (6, 4, false)
    );
    assert_eq!(report.limited_by, TrimLimit::None);
    for version in 1..6 {
        assert_eq!(read_at(&world, version, None), At::Trimmed(6));
    }
    for version in 6..=10 {
        assert_eq!(at(&world, version), format!("k={version}"));
    }
    assert_eq!(read_at(&world, 11, None), At::Absent);
    let history = world.run(writer.history("m", None, 100)).unwrap();
    let versions: Vec<u64> = history.iter().map(|summary| summary.version).collect();
    assert_eq!(versions, [10, 9, 8, 7, 6]);
    // Who read a version that is trimmed now cannot be told what changed since.
    let stale = Change {
        depends_on: Dependency::Keys(vec!["other".to_owned()]),
        ..change(3, "x=1")
    };
    let unknown = CommitOutcome::Conflict(Conflict {
        latest: 10,
        keys: Vec::new(),
    });
    let outcome = world.run(world.manifests().commit("m", &stale)).unwrap();
    assert_eq!(outcome, unknown);
    assert_eq!(commit(&world, &writer, &stale), 11, "this one was there");
    assert_eq!(
        trim(&world, KeepVersions::Newest(0)).limited_by,
        TrimLimit::Newest
    );
}

#[test]
fn scenario_112_a_trim_that_sleeps_through_another_is_not_told_that_a_version_is_missing() {
    for steps in 0..6 {
        let (world, _) = filled(10);
        world.advance_ms(2 * HOUR_MS);
        let sleeper = world.manifests();
        let mut trims = world.start(sleeper.trim("m", KeepVersions::From(4)));
        for _ in 0..steps {
            if trims.request().is_some() {
                trims.serve();
            }
        }
        assert_eq!(trim(&world, KeepVersions::From(8)).first_kept, 8);
        match trims.finish() {
            Ok(report) => assert_eq!(report.first_kept, 8),
            Err(Error::Unavailable(what)) => assert!(what.contains("trimmed"), "{what}"),
            Err(other) => panic!("{steps}: {other:?}"),
        }
        assert_eq!(read_at(&world, 7, None), At::Trimmed(8));
        assert_eq!(at(&world, 8), "k=8");
    }
    // A version that is gone although it is kept is still reported.
    let (world, _) = filled(10);
    world.advance_ms(2 * HOUR_MS);
    world.0.borrow_mut().objects.remove(&key(4));
    let trimmed = world.run(world.manifests().trim("m", KeepVersions::From(4)));
    assert!(matches!(trimmed, Err(Error::Corrupt(_))), "{trimmed:?}");
}

#[test]
fn each_bound_keeps_what_it_names() {
    for (keep, first_kept, limited_by) in [
        (KeepVersions::From(4), 4, TrimLimit::None),
        (KeepVersions::From(99), 6, TrimLimit::Newest),
        (KeepVersions::Newest(2), 5, TrimLimit::None),
        (KeepVersions::Newest(99), 1, TrimLimit::None),
        // Version n was accepted 6 − n hours before the last.
        (KeepVersions::AgeMs(2 * HOUR_MS + 1), 4, TrimLimit::None),
        (KeepVersions::AgeMs(0), 6, TrimLimit::Newest),
    ] {
        let world = World::new();
        let writer = world.manifests();
        for version in 1..=6 {
            commit(&world, &writer, &change(version - 1, "k=1"));
            world.advance_ms(if version < 6 { HOUR_MS } else { 0 });
        }
        if !matches!(keep, KeepVersions::AgeMs(_)) {
            world.advance_ms(HOUR_MS);
        }
        let report = trim(&world, keep);
        assert_eq!(report.first_kept, first_kept, "{keep:?}");
        if !matches!(keep, KeepVersions::AgeMs(0)) {
            assert_eq!(report.limited_by, limited_by, "{keep:?}");
        }
    }
}

#[test]
fn a_trim_keeps_the_full_version_that_the_first_kept_one_needs() {
    let world = World::new();
    let writer = world.manifests();
    let first: String = (0..200)
        .map(|n| format!("key-{n:04}=a-value-of-some-length "))
        .collect();
    commit(&world, &writer, &change(0, &first));
    let mut states = vec![latest(&world).1];
    for version in 1..300_u64 {
        let text = format!("key-{:04}={version}", version % 200);
        commit(&world, &writer, &change(version, &text));
        states.push(latest(&world).1);
    }
    world.advance_ms(2 * HOUR_MS);
    for asked in [7, 100, 180, 299] {
        let report = trim(&world, KeepVersions::From(asked));
        assert!(report.first_kept <= asked, "{report:?}");
        assert!(!report.more);
        for version in report.first_kept..=300 {
            assert_eq!(
                at(&world, version),
                states[usize::try_from(version).unwrap() - 1]
            );
        }
    }
    // A commit without edits is full, so everything before it can go.
    commit(
        &world,
        &writer,
        &Change {
            edits: Vec::new(),
            ..change(300, "")
        },
    );
    world.advance_ms(2 * HOUR_MS);
    let report = trim(&world, KeepVersions::Newest(1));
    assert_eq!(report.first_kept, 301);
    assert_eq!(
        world.keys(),
        [key(301), key(1), "manifest/m/_state".to_owned()]
    );
    assert_eq!(latest(&world), (301, states[299].clone()));
}

#[test]
fn scenario_44_a_pin_holds_or_fails_never_both() {
    // Whichever of the two replaces the state first decides.
    for pin_first in [true, false] {
        let (world, _) = filled(10);
        world.advance_ms(2 * HOUR_MS);
        let (reader, collector) = (world.manifests(), world.manifests());
        let mut pinning = world.start(reader.pin("m", "r", 3, 60_000));
        let mut trimming = world.start(collector.trim("m", KeepVersions::From(8)));
        pinning.serve_until("PUT");
        trimming.serve_until("PUT");
        if pin_first {
            pinning.serve();
        } else {
            trimming.serve();
        }
        let report = trimming.finish().unwrap();
        let pinned = pinning.finish().unwrap();
        if pin_first {
            assert!(matches!(pinned, VersionPin::Pinned(_)));
            assert_eq!(
                (report.first_kept, report.limited_by),
                (3, TrimLimit::Pin("r".to_owned()))
            );
            assert!(matches!(read_at(&world, 3, Some("r")), At::Snapshot(_)));
        } else {
            assert_eq!(pinned, VersionPin::Trimmed(8));
            assert_eq!(read_at(&world, 3, None), At::Trimmed(8));
        }
    }
}

#[test]
fn scenario_45_a_reader_whose_pin_ends_is_told_so() {
    let (world, _) = filled(10);
    world.advance_ms(2 * HOUR_MS);
    let until = world.now().unix_ms + 60_000;
    assert_eq!(
        pin(&world, 3, 60_000),
        VersionPin::Pinned(StoreTime { unix_ms: until })
    );
    assert_eq!(trim(&world, KeepVersions::From(8)).first_kept, 3);
    assert!(matches!(read_at(&world, 3, Some("r")), At::Snapshot(_)));
    assert_eq!(
        read_at(&world, 2, Some("r")),
        At::PinExpired,
        "it was never pinned"
    );
    world.advance_ms(60_000);
    assert_eq!(read_at(&world, 3, Some("r")), At::PinExpired);
    assert_eq!(trim(&world, KeepVersions::From(8)).first_kept, 8);
    assert_eq!(read_at(&world, 3, Some("r")), At::PinExpired);
    assert_eq!(read_at(&world, 3, None), At::Trimmed(8));
    assert_eq!(pin(&world, 3, 60_000), VersionPin::Trimmed(8));
    world.run(world.manifests().unpin("m", "r")).unwrap();
    assert_eq!(world.run(world.manifests().pins("m")).unwrap(), []);
}

#[test]
fn a_writer_that_slept_through_a_trim_commits_behind_the_latest_version() {
    for tells_time in [true, false] {
        let (world, writer) = filled(3);
        let late = change(3, "late=1");
        let mut op = world.start(writer.commit("m", &late));
        op.serve_until("PUT");
        let other = world.manifests();
        for version in 3..20 {
            commit(&world, &other, &change(version, &format!("k={version}")));
        }
        world.advance_ms(2 * HOUR_MS);
        assert_eq!(trim(&world, KeepVersions::From(15)).first_kept, 15);
        assert!(world.object(&key(4)).is_none());
        world.0.borrow_mut().tells_time = tells_time;
        op.serve();
        assert!(world.object(&key(4)).is_some(), "the store accepts it");
        let outcome = op.finish().unwrap();
        if tells_time {
            // Nobody can tell any more whether something touched what it depends on.
            let conflict = matches!(
                outcome,
                CommitOutcome::Conflict(Conflict { latest: 20, .. })
            );
            assert!(conflict, "{outcome:?}");
        } else {
            assert!(
                matches!(outcome, CommitOutcome::Indeterminate(_)),
                "{outcome:?}"
            );
        }
        world.0.borrow_mut().tells_time = true;
        assert_eq!(latest(&world), (20, "k=19".to_owned()));
        assert_eq!(
            read_at(&world, 4, None),
            At::Trimmed(15),
            "what stands there does not count"
        );
        // Nor for one that sleeps with the same version, and meets it.
        assert_eq!(commit(&world, &other, &change(20, "x=1")), 21);
    }
}

#[test]
fn an_instance_that_slept_through_a_trim_reads_the_latest_version() {
    let (world, sleepy) = filled(3);
    let other = world.manifests();
    for version in 3..20 {
        commit(&world, &other, &change(version, &format!("k={version}")));
    }
    world.advance_ms(2 * HOUR_MS);
    trim(&world, KeepVersions::From(15));
    assert!(world.object(&key(4)).is_none());
    let snapshot = latest_of(&world, &sleepy).unwrap();
    assert_eq!(snapshot.summary.version, 20);
}

#[test]
fn what_stands_in_a_trimmed_slot_is_neither_read_nor_followed() {
    let (world, _) = filled(3);
    let (first, second, reader) = (world.manifests(), world.manifests(), world.manifests());
    for instance in [&first, &second, &reader] {
        latest_of(&world, instance);
    }
    let blind = |text: &str| Change {
        depends_on: Dependency::Nothing,
        ..change(3, text)
    };
    let (one, two) = (blind("one=1"), blind("two=2"));
    let mut ops = [
        world.start(first.commit("m", &one)),
        world.start(second.commit("m", &two)),
    ];
    for op in &mut ops {
        op.serve_until("PUT");
    }
    let (other, late) = (world.manifests(), world.manifests());
    commit(&world, &other, &change(3, "k=3"));
    // A reader has seen in a listing that this is the newest, and sleeps as well.
    let mut sleeper = world.start(late.latest("m"));
    sleeper.serve();
    for version in 4..20 {
        commit(&world, &other, &change(version, &format!("k={version}")));
    }
    world.advance_ms(2 * HOUR_MS);
    trim(&world, KeepVersions::From(15));
    // Both wake up. One fills the slot again, the other meets that.
    for op in &mut ops {
        op.serve();
    }
    assert_eq!(latest_of(&world, &reader).unwrap().summary.version, 20);
    let seen = sleeper.finish().unwrap().unwrap();
    assert_eq!(seen.summary.version, 20);
    let [a, b] = ops;
    assert_eq!(a.finish().unwrap(), CommitOutcome::Committed(21));
    assert_eq!(b.finish().unwrap(), CommitOutcome::Committed(22));
    let snapshot = latest_of(&world, &reader).unwrap();
    assert_eq!(words(&snapshot.items), "k=19 one=1 two=2");
}

#[test]
fn what_cannot_be_pinned_is_refused() {
    let (world, instance) = filled(3);
    for (reader, version, ttl_ms) in [
        ("", 1, 1_000),
        ("r", 0, 1_000),
        ("r", 4, 1_000),
        ("r", 1, 999),
    ] {
        let outcome = world.run(instance.pin("m", reader, version, ttl_ms));
        assert!(
            matches!(outcome, Err(Error::InvalidArgument(_))),
            "{reader} {version}"
        );
    }
}
