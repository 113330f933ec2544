//! Goal: changes of several manifests take effect together or not at all, whoever
//! dies, waits or comes late.
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

use std::collections::BTreeMap;

use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::error::Error;
use ifmatch::manifest::{
    At, Change, CommitOutcome, Dependency, KeepVersions, Part, State, TransactionOutcome,
};
use model::manifest::{Instance, change, fenced, words};
use model::{Answer, HOUR_MS, Op, World};

fn part(name: &str, change: Change) -> Part {
    Part {
        name: name.to_owned(),
        change,
    }
}

fn parts(base: u64, a: &str, b: &str) -> Vec<Part> {
    vec![part("a", change(base, a)), part("b", change(base, b))]
}

/// Two manifests with `x=0` each.
fn begun() -> (World, Instance) {
    let world = World::new();
    let instance = world.manifests();
    for name in ["a", "b"] {
        commit_to(&world, &instance, name, &change(0, "x=0"));
    }
    world.take_counts();
    (world, instance)
}

fn commit_to(world: &World, instance: &Instance, name: &str, change: &Change) -> u64 {
    match world.run(instance.commit(name, change)).unwrap() {
        CommitOutcome::Committed(version) => version,
        other => panic!("{other:?}"),
    }
}

/// The latest version and items of a manifest, as this instance reads them.
fn seen_by(world: &World, instance: &Instance, name: &str) -> (u64, String) {
    let snapshot = world.run(instance.latest(name)).unwrap().unwrap();
    (snapshot.summary.version, words(&snapshot.items))
}

/// The same as a fresh instance reads it.
fn latest(world: &World, name: &str) -> (u64, String) {
    seen_by(world, &world.manifests(), name)
}

fn state_at(world: &World, name: &str, version: u64) -> Option<(State, String)> {
    let history = world
        .run(world.manifests().history(name, Some(version + 1), 1))
        .unwrap();
    match world
        .run(world.manifests().at(name, version, None))
        .unwrap()
    {
        At::Snapshot(snapshot) => {
            assert_eq!(history.first(), Some(&snapshot.summary));
            Some((snapshot.summary.state, words(&snapshot.items)))
        }
        At::Absent => None,
        other => panic!("{other:?}"),
    }
}

/// Serves a transaction until it is about to be decided.
fn serve_until_decision<T>(op: &mut Op<'_, T>) {
    loop {
        let put = op.serve_until("PUT");
        if put.key().starts_with("_transaction/") {
            return;
        }
        op.serve();
    }
}

/// Serves anything until it is about to look at a decision.
fn serve_until_look<T>(op: &mut Op<'_, T>) {
    while !op.request().unwrap().key().starts_with("_transaction/") {
        op.serve();
    }
}

/// Deletes the only decision.
fn collect_decision(world: &World) {
    let keys = world.keys();
    let decision = keys.iter().find(|key| key.starts_with("_transaction/"));
    world.0.borrow_mut().objects.remove(decision.unwrap());
}

#[test]
fn a_transaction_costs_its_preparations_and_one_request() {
    let (world, instance) = begun();
    let both = parts(1, "x=1", "x=2");
    let outcome = world.run(instance.transact(&both)).unwrap();
    assert_eq!(outcome, TransactionOutcome::Committed(vec![2, 2]));
    assert_eq!(world.take_total(), 3, "two PUTs, and the decision");
    for reader in [&instance, &world.manifests()] {
        assert_eq!(seen_by(&world, reader, "a"), (2, "x=1".to_owned()));
        assert_eq!(seen_by(&world, reader, "b"), (2, "x=2".to_owned()));
    }
    // What comes behind says what was decided, so nobody has to ask again.
    assert_eq!(commit_to(&world, &instance, "a", &change(2, "y=3")), 3);
    world.take_counts();
    assert_eq!(latest(&world, "a"), (3, "x=1 y=3".to_owned()));
    assert_eq!(world.take_total(), 2);
    assert_eq!(
        state_at(&world, "a", 2),
        Some((State::Committed, "x=1".to_owned()))
    );
}

#[test]
fn nothing_of_a_transaction_is_seen_before_it_is_decided_and_then_all() {
    let (world, instance) = begun();
    let both = parts(1, "x=1", "x=1");
    let mut op = world.start(instance.transact(&both));
    let warm = world.manifests();
    for name in ["a", "b"] {
        seen_by(&world, &warm, name);
    }
    loop {
        let request = op.request().unwrap();
        if request.key().starts_with("_transaction/") {
            break;
        }
        op.serve();
        for name in ["a", "b"] {
            assert_eq!(latest(&world, name), (1, "x=0".to_owned()));
            assert_eq!(seen_by(&world, &warm, name), (1, "x=0".to_owned()));
            assert_eq!(state_at(&world, name, 2), None);
        }
    }
    let history = world.run(warm.history("a", None, 9)).unwrap();
    assert_eq!(history[0].state, State::Pending);
    op.serve();
    for name in ["a", "b"] {
        assert_eq!(latest(&world, name), (2, "x=1".to_owned()));
        assert_eq!(seen_by(&world, &warm, name), (2, "x=1".to_owned()));
        assert_eq!(
            state_at(&world, name, 2),
            Some((State::Committed, "x=1".to_owned()))
        );
    }
    assert_eq!(
        op.finish().unwrap(),
        TransactionOutcome::Committed(vec![2, 2])
    );
}

#[test]
fn a_trim_keeps_the_version_before_an_undecided_one() {
    let (world, instance) = begun();
    commit_to(&world, &instance, "a", &change(1, "x=1"));
    let driver = world.manifests();
    let parts = parts(1, "y=1", "y=1");
    let mut op = world.start(driver.transact(&parts));
    serve_until_decision(&mut op);
    world.advance_ms(2 * HOUR_MS);
    let report = world.run(instance.trim("a", KeepVersions::Newest(1)));
    assert_eq!(report.unwrap().first_kept, 2);
    assert_eq!(latest(&world, "a"), (2, "x=1".to_owned()));
}

#[test]
fn a_conflict_in_one_manifest_leaves_the_others_as_they_were() {
    let (world, instance) = begun();
    commit_to(&world, &world.manifests(), "b", &change(1, "x=9"));
    let outcome = world
        .run(instance.transact(&parts(1, "x=1", "x=1")))
        .unwrap();
    let TransactionOutcome::Conflict(name, conflict) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((name.as_str(), conflict.keys), ("b", vec!["x".to_owned()]));
    assert_eq!(latest(&world, "a"), (2, "x=0".to_owned()));
    assert_eq!(
        state_at(&world, "a", 2),
        Some((State::Aborted, "x=0".to_owned()))
    );
    // Nobody waits for it, and it is in nobody's way.
    let before = world.now();
    assert_eq!(
        commit_to(&world, &world.manifests(), "a", &change(1, "x=2")),
        3
    );
    assert_eq!(world.now().since_ms(before), 0);
    assert_eq!(latest(&world, "a"), (3, "x=2".to_owned()));
}

#[test]
fn a_fenced_part_stops_the_transaction() {
    let (world, instance) = begun();
    commit_to(&world, &instance, "b", &fenced(1, "y=1", 7));
    let outcome = world
        .run(instance.transact(&parts(1, "z=1", "z=1")))
        .unwrap();
    assert!(matches!(outcome, TransactionOutcome::Fenced(name, _) if name == "b"));
    assert_eq!(latest(&world, "a"), (2, "x=0".to_owned()));
}

#[test]
fn a_commit_waits_for_the_decision_and_takes_it_into_account() {
    let (world, instance) = begun();
    let both = parts(1, "x=1", "x=1");
    let mut op = world.start(instance.transact(&both));
    serve_until_decision(&mut op);
    let (other, another) = (world.manifests(), world.manifests());
    let (touching, free) = (change(1, "x=5"), change(1, "y=5"));
    let mut conflicting = world.start(other.commit("a", &touching));
    let mut harmless = world.start(another.commit("b", &free));
    for op in [&mut conflicting, &mut harmless] {
        for _ in 0..6 {
            assert_ne!(
                op.serve().kind(),
                "PUT",
                "nothing goes behind a pending version"
            );
        }
    }
    op.serve();
    assert!(matches!(
        conflicting.finish().unwrap(),
        CommitOutcome::Conflict(conflict) if conflict.keys == ["x"] && conflict.latest == 2
    ));
    assert_eq!(harmless.finish().unwrap(), CommitOutcome::Committed(3));
    assert_eq!(
        op.finish().unwrap(),
        TransactionOutcome::Committed(vec![2, 2])
    );
    assert_eq!(latest(&world, "b"), (3, "x=1 y=5".to_owned()));
}

#[test]
fn scenario_48_of_two_who_decide_one_wins_and_both_report_it() {
    for driver_first in [true, false] {
        let (world, instance) = begun();
        let both = parts(1, "x=1", "x=1");
        let mut driver = world.start(instance.transact(&both));
        serve_until_decision(&mut driver);
        world.advance_ms(11_000);
        let other = world.manifests();
        let behind = change(1, "y=2");
        let mut waiter = world.start(other.commit("a", &behind));
        let put = waiter.serve_until("PUT");
        assert!(put.key().starts_with("_transaction/"), "{put:?}");
        let (commits, expected) = if driver_first {
            driver.serve();
            waiter.serve();
            (TransactionOutcome::Committed(vec![2, 2]), "x=1")
        } else {
            waiter.serve();
            driver.serve();
            (TransactionOutcome::Aborted, "x=0")
        };
        assert_eq!(driver.finish().unwrap(), commits);
        assert_eq!(waiter.finish().unwrap(), CommitOutcome::Committed(3));
        assert_eq!(latest(&world, "a"), (3, format!("{expected} y=2")));
        assert_eq!(latest(&world, "b"), (2, expected.to_owned()));
    }
}

#[test]
fn a_transaction_whose_driver_died_is_decided_by_whoever_comes() {
    for prepared in 1..=2 {
        let (world, instance) = begun();
        let both = parts(1, "x=1", "x=1");
        let mut driver = world.start(instance.transact(&both));
        for _ in 0..prepared {
            driver.serve_until("PUT");
            driver.serve();
        }
        drop(driver);
        let before = world.now();
        assert_eq!(
            commit_to(&world, &world.manifests(), "a", &change(1, "x=7")),
            3
        );
        assert!((10_000..20_000).contains(&world.now().since_ms(before)));
        assert_eq!(latest(&world, "a"), (3, "x=7".to_owned()));
        assert_eq!(latest(&world, "b").1, "x=0");
    }
}

#[test]
fn a_lost_reply_to_the_decision_is_resolved() {
    for applied in [true, false] {
        let (world, instance) = begun();
        let both = parts(1, "x=1", "x=1");
        let mut op = world.start(instance.transact(&both));
        serve_until_decision(&mut op);
        let put = op.request().unwrap();
        if applied {
            world.apply(&put);
        }
        op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
            "reset".to_owned(),
        ))));
        let outcome = op.finish().unwrap();
        assert_eq!(outcome, TransactionOutcome::Committed(vec![2, 2]));
        world.apply(&put);
        assert_eq!(latest(&world, "a").1, "x=1");
        assert_eq!(latest(&world, "b").1, "x=1");
    }
}

#[test]
fn a_decision_that_cannot_be_made_leaves_nothing_behind_or_is_indeterminate() {
    let (world, instance) = begun();
    let both = parts(1, "x=1", "x=1");
    let mut op = world.start(instance.transact(&both));
    serve_until_decision(&mut op);
    op.answer(Answer::Put(Err(BucketError::AccessDenied("no".to_owned()))));
    assert!(matches!(op.done(), Err(Error::AccessDenied(_))));
    assert_eq!(
        commit_to(&world, &world.manifests(), "a", &change(1, "x=7")),
        3
    );

    let (world, instance) = begun();
    let mut op = world.start(instance.transact(&both));
    serve_until_decision(&mut op);
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    while let Some(request) = op.request() {
        let down = BucketError::Unavailable("down".to_owned());
        op.answer(match request.kind() {
            "PUT" => Answer::Put(Err(down)),
            _ => Answer::Get(Err(down)),
        });
    }
    assert!(matches!(
        op.done().unwrap(),
        TransactionOutcome::Indeterminate(_)
    ));
}

#[test]
fn a_driver_that_sleeps_until_its_decision_was_collected_decides_nothing() {
    let (world, instance) = begun();
    let both = parts(1, "x=1", "x=1");
    let mut driver = world.start(instance.transact(&both));
    driver.serve_until("PUT");
    driver.serve(); // a is prepared
    world.advance_ms(11_000);
    commit_to(&world, &world.manifests(), "a", &change(1, "y=2"));
    // Both chains have gone on for long, and the decision against it is collected.
    world.advance_ms(2 * HOUR_MS);
    collect_decision(&world);
    // It prepares b, and decides for itself. That comes too late for everybody.
    serve_until_decision(&mut driver);
    driver.serve();
    assert_eq!(driver.finish().unwrap(), TransactionOutcome::Aborted);
    assert_eq!(latest(&world, "a"), (3, "x=0 y=2".to_owned()));
    assert_eq!(latest(&world, "b"), (2, "x=0".to_owned()));
}

#[test]
fn a_waiter_that_sleeps_until_the_decision_was_collected_does_no_harm() {
    let (world, instance) = begun();
    let both = parts(1, "x=1", "x=1");
    let mut driver = world.start(instance.transact(&both));
    serve_until_decision(&mut driver);
    let (waiter, reader) = (world.manifests(), world.manifests());
    let behind = change(1, "y=2");
    let mut waiting = world.start(waiter.commit("a", &behind));
    let mut reading = world.start(reader.latest("a"));
    serve_until_look(&mut waiting);
    serve_until_look(&mut reading);
    driver.serve();
    assert_eq!(
        driver.finish().unwrap(),
        TransactionOutcome::Committed(vec![2, 2])
    );
    for name in ["a", "b"] {
        commit_to(&world, &world.manifests(), name, &change(2, "z=3"));
    }
    world.advance_ms(2 * HOUR_MS);
    collect_decision(&world);
    assert_eq!(waiting.finish().unwrap(), CommitOutcome::Committed(4));
    assert_eq!(latest(&world, "a"), (4, "x=1 y=2 z=3".to_owned()));
    let read = reading.finish().unwrap().unwrap();
    assert_ne!(words(&read.items), "x=0", "that was long ago");
}

#[test]
fn a_refusal_behind_the_collection_of_a_decision_changes_nothing() {
    let (world, instance) = begun();
    let both = parts(1, "x=1", "x=1");
    let mut driver = world.start(instance.transact(&both));
    serve_until_decision(&mut driver);
    let (waiter, reader) = (world.manifests(), world.manifests());
    let behind = change(1, "y=2");
    let mut waiting = world.start(waiter.commit("a", &behind));
    let mut reading = world.start(reader.at("a", 2, None));
    serve_until_look(&mut waiting);
    serve_until_look(&mut reading);
    // It takes effect, and the driver, who does not learn of it, sleeps.
    world.apply(&driver.request().unwrap());
    let lost = PutOutcome::Indeterminate("reset".to_owned());
    driver.answer(Answer::Put(Ok(lost)));
    for name in ["a", "b"] {
        commit_to(&world, &world.manifests(), name, &change(2, "z=3"));
    }
    world.advance_ms(2 * HOUR_MS);
    collect_decision(&world);
    // The waiter finds no decision, and refuses.
    assert_eq!(waiting.finish().unwrap(), CommitOutcome::Committed(4));
    assert!(
        world
            .keys()
            .iter()
            .any(|key| key.starts_with("_transaction/"))
    );
    let outcome = driver.finish().unwrap();
    assert_eq!(outcome, TransactionOutcome::Committed(vec![2, 2]));
    let At::Snapshot(seen) = reading.finish().unwrap() else {
        panic!("the version is there");
    };
    assert_eq!(seen.summary.state, State::Committed);
    assert_eq!(words(&seen.items), "x=1");
}

#[test]
fn what_aborted_transactions_changed_is_in_no_version() {
    let (world, instance) = begun();
    // So large that versions build on each other.
    let mut expected: BTreeMap<String, String> = (0..300)
        .map(|number| (format!("k{number:04}"), "a-first-value".to_owned()))
        .collect();
    let all = |expected: &BTreeMap<String, String>| {
        let words = expected.iter().map(|(key, value)| format!("{key}={value}"));
        words.collect::<Vec<_>>().join(" ")
    };
    commit_to(&world, &instance, "a", &change(1, &all(&expected)));
    expected.insert("x".to_owned(), "0".to_owned());
    commit_to(&world, &instance, "b", &change(1, "x=1"));
    for number in 0..20 {
        let base = 2 + 2 * number;
        // b has changed since, so a is prepared in vain.
        let both = [
            part("a", change(base, &format!("k{number:04}=never"))),
            part("b", change(1, "x=2")),
        ];
        let outcome = world.run(instance.transact(&both)).unwrap();
        assert!(matches!(outcome, TransactionOutcome::Conflict(..)));
        let key = format!("k{:04}", 100 + number);
        let edit = change(base + 1, &format!("{key}={number}"));
        assert_eq!(commit_to(&world, &instance, "a", &edit), base + 2);
        expected.insert(key, number.to_string());
        assert_eq!(latest(&world, "a"), (base + 2, all(&expected)));
    }
}

#[test]
fn a_transaction_can_create_manifests_and_shares_a_slot_with_nobody() {
    let world = World::new();
    let instance = world.manifests();
    let both = parts(0, "x=1", "y=1");
    let mut op = world.start(instance.transact(&both));
    serve_until_decision(&mut op);
    assert_eq!(world.run(world.manifests().latest("a")).unwrap(), None);
    op.serve();
    assert_eq!(
        op.finish().unwrap(),
        TransactionOutcome::Committed(vec![1, 1])
    );
    assert_eq!(latest(&world, "a"), (1, "x=1".to_owned()));
    // Many, one behind the other, and commits between them: every state is right.
    let mut expected = Vec::new();
    for number in 1..=40_u64 {
        let text = format!("k{}={number} big{number}={}", number % 7, "v".repeat(400));
        let both = vec![
            part(
                "a",
                Change {
                    depends_on: Dependency::All,
                    ..change(2 * number - 1, &text)
                },
            ),
            part("b", change(2 * number - 1, "y-")),
        ];
        let outcome = world.run(instance.transact(&both)).unwrap();
        let version = 2 * number;
        assert_eq!(
            outcome,
            TransactionOutcome::Committed(vec![version, version])
        );
        expected.push((version, latest(&world, "a").1));
        for name in ["a", "b"] {
            commit_to(
                &world,
                &instance,
                name,
                &change(version, &format!("z={number}")),
            );
        }
        expected.push((version + 1, latest(&world, "a").1));
    }
    for (version, state) in expected {
        assert_eq!(
            state_at(&world, "a", version),
            Some((State::Committed, state))
        );
    }
}

#[test]
fn what_is_no_transaction_is_refused() {
    let (world, instance) = begun();
    let named = Change {
        id: Some("n".to_owned()),
        ..change(1, "x=1")
    };
    let one = || part("a", change(1, "x=1"));
    for parts in [
        vec![],
        vec![one()],
        vec![one(), one()],
        vec![one(), part("b", named)],
        (0..9)
            .map(|n| part(&format!("m{n}"), change(0, "x=1")))
            .collect(),
    ] {
        let outcome = world.run(instance.transact(&parts));
        assert!(
            matches!(outcome, Err(Error::InvalidArgument(_))),
            "{outcome:?}"
        );
    }
    assert_eq!(world.take_total(), 0);
}
