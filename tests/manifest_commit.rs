//! Goal: manifests do what `wit/protocols/manifest.wit` promises, at the stated
//! number of requests, against races, lost replies and bad input.
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

use ifmatch::bucket::PutOutcome;
use ifmatch::manifest::{Change, CommitOutcome, Conflict, Dependency};
use model::manifest::{at, change, commit, edits, latest, latest_of};
use model::{Answer, World};

#[test]
fn a_commit_costs_one_request_warm_and_two_more_for_a_rebase() {
    let world = World::new();
    let (first, second) = (world.manifests(), world.manifests());
    assert_eq!(commit(&world, &first, &change(0, "a=1 b=2")), 1);
    assert_eq!(world.take_total(), 2, "LIST and PUT");
    assert_eq!(commit(&world, &first, &change(1, "c=3")), 2);
    assert_eq!(world.take_total(), 1);
    assert_eq!(commit(&world, &second, &change(2, "a=4")), 3);
    assert_eq!(world.take_total(), 3, "LIST, GET, PUT");
    assert_eq!(commit(&world, &first, &change(2, "b=5")), 4);
    assert_eq!(world.take_total(), 3, "PUT, GET, PUT");
    assert_eq!(latest(&world), (4, "a=4 b=5 c=3".to_owned()));
    assert_eq!(world.take_total(), 2, "LIST, GET");
    assert_eq!(latest_of(&world, &first).unwrap().summary.version, 4);
    assert_eq!(world.take_total(), 1);
}

#[test]
fn every_version_is_read_as_it_was() {
    let world = World::new();
    let writer = world.manifests();
    let mut expected = std::collections::BTreeMap::new();
    let mut states = Vec::new();
    let first: String = (0..300)
        .map(|n| format!("key-{n:04}=first-value-of-it "))
        .collect();
    commit(&world, &writer, &change(0, &first));
    for edit in edits(&first) {
        expected.insert(edit.key, edit.value.unwrap());
    }
    states.push(expected.clone());
    for number in 1..1_100_u64 {
        let key = format!("key-{:04}", number * 7 % 310);
        let text = if number % 5 == 0 {
            expected.remove(&key);
            format!("{key}-")
        } else {
            expected.insert(key.clone(), number.to_string().into_bytes());
            format!("{key}={number}")
        };
        assert_eq!(commit(&world, &writer, &change(number, &text)), number + 1);
        states.push(expected.clone());
    }
    let reader = world.manifests();
    for version in (1..=1_100).step_by(13) {
        let state = states[version - 1]
            .iter()
            .map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(value)))
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(at(&world, version as u64), state, "version {version}");
    }
    let history = world.run(reader.history("m", None, 10)).unwrap();
    let versions: Vec<u64> = history.iter().map(|summary| summary.version).collect();
    assert_eq!(versions, (1_091..=1_100).rev().collect::<Vec<_>>());
}

#[test]
fn scenario_38_commits_that_do_not_conflict_both_appear_once() {
    let world = World::new();
    let (a, b) = (world.manifests(), world.manifests());
    commit(&world, &a, &change(0, "x=0"));
    let (one, two) = (change(1, "a=1"), change(1, "b=2"));
    let mut op_a = world.start(a.commit("m", &one));
    let mut op_b = world.start(b.commit("m", &two));
    op_a.serve_until("PUT");
    op_b.serve_until("PUT");
    op_b.serve();
    op_a.serve();
    assert_eq!(op_b.done().unwrap(), CommitOutcome::Committed(2));
    assert_eq!(op_a.finish().unwrap(), CommitOutcome::Committed(3));
    assert_eq!(latest(&world), (3, "a=1 b=2 x=0".to_owned()));
    assert_eq!(at(&world, 2), "b=2 x=0");
}

#[test]
fn scenario_39_of_commits_that_conflict_one_learns_the_version_and_the_keys() {
    let world = World::new();
    let (a, b) = (world.manifests(), world.manifests());
    commit(&world, &a, &change(0, "x=0 y=0 z=0"));
    commit(&world, &b, &change(1, "x=1 y=1"));
    let conflict = |keys: &[&str]| {
        CommitOutcome::Conflict(Conflict {
            latest: 2,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        })
    };
    let by = |depends_on: Dependency, text: &str| Change {
        depends_on,
        ..change(1, text)
    };
    let keys = |key: &str| Dependency::Keys(vec![key.to_owned()]);
    for (attempt, keys) in [
        (change(1, "x=2 z=2"), &["x"][..]),
        (by(keys("y"), "z=2"), &["y"]),
        (by(Dependency::All, "w=2"), &["x", "y"]),
    ] {
        for instance in [&a, &world.manifests()] {
            let outcome = world.run(instance.commit("m", &attempt)).unwrap();
            assert_eq!(outcome, conflict(keys), "{attempt:?}");
        }
    }
    assert_eq!(commit(&world, &a, &by(Dependency::Nothing, "x=3")), 3);
    assert_eq!(commit(&world, &a, &by(keys("w"), "z=3")), 4);
    assert_eq!(latest(&world), (4, "x=3 y=1 z=3".to_owned()));
}

#[test]
fn scenario_40_a_commit_that_meets_itself_is_committed() {
    let world = World::new();
    let (writer, other) = (world.manifests(), world.manifests());
    commit(&world, &writer, &change(0, "x=0"));
    let attempt = change(1, "x=1");
    let mut op = world.start(writer.commit("m", &attempt));
    let put = op.serve_until("PUT");
    world.apply(&put);
    for version in 2..30 {
        commit(&world, &other, &change(version, "x=9"));
    }
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    assert_eq!(op.finish().unwrap(), CommitOutcome::Committed(2));
    // By name, also by another instance.
    let named = Change {
        id: Some("change-7".to_owned()),
        ..change(30, "x=2")
    };
    assert_eq!(commit(&world, &writer, &named), 31);
}
