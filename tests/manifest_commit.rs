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

use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::codec::{Header, crc32c};
use ifmatch::error::Error;
use ifmatch::lease::AcquireOutcome;
use ifmatch::log::{AppendOptions, AppendOutcome};
use ifmatch::manifest::{At, Change, CommitOutcome, Conflict, Dependency, ForkOutcome, Version};
use ifmatch::token::{Epoch, Writer};
use model::manifest::{Instance, at, change, commit, edits, key, latest, latest_of, words};
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
fn scenario_111_a_version_that_is_committed_while_it_is_read_is_not_missing() {
    let world = World::new();
    let writer = world.manifests();
    commit(&world, &writer, &change(0, "a=1"));
    let reader = world.manifests();
    // Both look for version 2 before it is there, and list when it is.
    let mut read = world.start(reader.at("m", 2, None));
    let mut fork = world.start(reader.fork("m", 2, "f"));
    read.serve_until("LIST");
    fork.serve_until("LIST");
    commit(&world, &writer, &change(1, "b=2"));
    match read.finish().unwrap() {
        At::Snapshot(found) => assert_eq!(words(&found.items), "a=1 b=2"),
        other => panic!("{other:?}"),
    }
    assert_eq!(fork.finish(), Ok(ForkOutcome::Forked));
    // A version that is gone although it is kept is still reported.
    commit(&world, &writer, &change(2, "c=3"));
    world.0.borrow_mut().objects.remove(&key(2));
    let missing = world.run(world.manifests().at("m", 2, None));
    assert!(matches!(missing, Err(Error::Corrupt(_))), "{missing:?}");
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
}

#[test]
fn scenario_47_a_state_put_together_wrongly_is_refused() {
    let world = World::new();
    let (writer, follower) = (world.manifests(), world.manifests());
    commit(&world, &writer, &change(0, "a=1 b=1"));
    commit(&world, &writer, &change(1, "a=2"));
    latest_of(&world, &follower);
    commit(&world, &writer, &change(2, "b=2"));
    // What a writer would store that missed version 2: the checksums are right, and
    // the hash that it takes over from version 2 is, too.
    world.corrupt(&key(3), |body| {
        let length = Header::length(body).unwrap();
        let at = body
            .windows(3)
            .rposition(|bytes| bytes == b"a\x002")
            .unwrap()
            + 2;
        body[at] = b'1';
        let payload_crc = crc32c(&[&body[length..]]);
        body[32..36].copy_from_slice(&payload_crc.to_le_bytes());
        let header_crc = crc32c(&[&body[..124], &body[128..length]]);
        body[124..128].copy_from_slice(&header_crc.to_le_bytes());
    });
    Version::decode(&world.object(&key(3)).unwrap().body).unwrap();
    let is_corrupt = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, Error::Corrupt(text) if text.starts_with(&key(3))),
            "{error:?}"
        );
    };
    let fresh = || world.manifests();
    is_corrupt(world.run(fresh().latest("m")).map(drop));
    is_corrupt(world.run(fresh().at("m", 3, None)).map(drop));
    is_corrupt(world.run(fresh().commit("m", &change(3, "c=1"))).map(drop));
    assert_eq!(world.keys().len(), 3, "nothing is built on it");
    assert_eq!(at(&world, 2), "a=2 b=1");
    // Who followed commit by commit has what is right, and writes that.
    assert_eq!(commit(&world, &follower, &change(3, "c=1")), 4);
    assert_eq!(latest(&world), (4, "a=2 b=2 c=1".to_owned()));
}

#[test]
fn scenario_47_a_version_that_does_not_follow_is_refused() {
    // The same changes twice, under other commit ids.
    let worlds = [1, 2].map(|random| {
        let world = World::new();
        world.set_random(random);
        let writer = world.manifests();
        commit(&world, &writer, &change(0, "a=1"));
        let follower = world.manifests();
        latest_of(&world, &follower);
        commit(&world, &writer, &change(1, "b=2"));
        (world, follower)
    });
    let [(world, follower), (foreign, _)] = worlds;
    let body = foreign.object(&key(2)).unwrap().body;
    world.corrupt(&key(2), |own| *own = body);
    let followed = world.run(follower.latest("m")).map(drop);
    let listed = world
        .run(world.manifests().history("m", None, 10))
        .map(drop);
    for result in [followed, listed] {
        assert!(
            matches!(&result, Err(Error::Corrupt(text)) if text.contains(&key(2))),
            "{result:?}"
        );
    }
}

#[test]
fn scenario_26_one_token_fences_a_log_and_a_manifest() {
    let world = World::new();
    let (old, new) = (world.leases(), world.leases());
    let request = |holder: &str| ifmatch::lease::Request {
        holder: holder.to_owned(),
        duration_ms: 10_000,
        note: String::new(),
        bounds: None,
    };
    let acquired = |outcome| match outcome {
        AcquireOutcome::Acquired(grant) => grant.token,
        other => panic!("{other:?}"),
    };
    let first = acquired(world.run(old.acquire("lead", &request("old"))).unwrap());
    let (log, manifest) = (world.instance(), world.manifests());
    let as_holder = |base, text: &str, epoch: Epoch| Change {
        writer: Writer::Fenced(epoch),
        ..change(base, text)
    };
    commit(&world, &manifest, &as_holder(0, "leader=old", first));
    let appended = |epoch| AppendOptions {
        writer: Writer::Fenced(epoch),
        ..AppendOptions::SHARED
    };
    let records = vec![b"old".to_vec()];
    world
        .run(log.append("l", &records, &appended(first)))
        .unwrap();
    // Its write to the manifest is ready to go when it is frozen.
    let late = as_holder(1, "late=1", first);
    let mut zombie = world.start(manifest.commit("m", &late));
    zombie.serve_until("PUT");
    world.advance_ms(60_000);
    let second = acquired(world.run(new.acquire("lead", &request("new"))).unwrap());
    assert!(second > first);
    let (other_log, other) = (world.instance(), world.manifests());
    world.run(other_log.claim("l", second)).unwrap();
    // A commit without edits fences, like a claim.
    assert_eq!(commit(&world, &other, &as_holder(1, "", second)), 2);
    assert_eq!(zombie.finish().unwrap(), CommitOutcome::Fenced(second));
    let outcome = world.run(log.append("l", &records, &appended(first)));
    assert_eq!(outcome, Ok(AppendOutcome::Fenced(second)));
    for instance in [&manifest, &world.manifests()] {
        for attempt in [as_holder(2, "x=1", first), change(2, "x=1")] {
            let outcome = world.run(instance.commit("m", &attempt)).unwrap();
            assert_eq!(outcome, CommitOutcome::Fenced(second));
        }
    }
    assert_eq!(latest(&world), (2, "leader=old".to_owned()));
    assert_eq!(
        commit(&world, &other, &as_holder(2, "leader=new", second)),
        3
    );
}

#[test]
fn a_named_change_is_committed_once_whoever_repeats_it() {
    let world = World::new();
    let writer = world.manifests();
    commit(&world, &writer, &change(0, "x=0"));
    let named = Change {
        id: Some("order-7".to_owned()),
        ..change(1, "x=1")
    };
    let follower = world.manifests();
    latest_of(&world, &follower);
    let mut op = world.start(writer.commit("m", &named));
    let put = op.serve_until("PUT");
    world.apply(&put);
    let down = || BucketError::Unavailable("down".to_owned());
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    while let Some(request) = op.request() {
        op.answer(match request.kind() {
            "PUT" => Answer::Put(Err(down())),
            _ => Answer::Get(Err(down())),
        });
    }
    let outcome = op.done().unwrap();
    assert!(
        matches!(outcome, CommitOutcome::Indeterminate(_)),
        "{outcome:?}"
    );
    // One that followed to this version, and one that comes to it later.
    latest_of(&world, &follower);
    assert_eq!(commit(&world, &follower, &named), 2);
    let other = world.manifests();
    for version in 2..80 {
        commit(&world, &other, &change(version, "x=9"));
    }
    for instance in [&writer, &other, &world.manifests()] {
        assert_eq!(commit(&world, instance, &named), 2);
    }
    assert_eq!(latest(&world), (80, "x=9".to_owned()));
    // Without a name, nobody can tell it from another that conflicts.
    let unnamed = Change { id: None, ..named };
    let outcome = world.run(other.commit("m", &unnamed)).unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict(_)));
}

#[test]
fn a_commit_to_many_keys_that_changes_one_writes_little() {
    const KEYS: usize = 10_000;
    const COMMITS: u64 = 2_100;
    let world = World::new();
    let writer = world.manifests();
    let all: String = (0..KEYS)
        .map(|n| format!("tables/part-{n:06}=rows-000{n:05}-bytes-0000{n:06} "))
        .collect();
    commit(&world, &writer, &change(0, &all));
    let size = |version: u64| world.object(&key(version)).unwrap().body.len();
    let full = size(1);
    let mut written = 0;
    for version in 1..=COMMITS {
        let number = version * 7919 % 10_000;
        let text = format!("tables/part-{number:06}=rows-111{version:05}-bytes-1111{version:06}");
        assert_eq!(
            commit(&world, &writer, &change(version, &text)),
            version + 1
        );
        written += size(version + 1);
    }
    let average = written / usize::try_from(COMMITS).unwrap();
    println!("a state of {full} bytes, {average} bytes written by a commit on average");
    assert!(average < 4096, "{average}");
    assert!(full > 500_000, "{full}");
    // Whichever version is asked for, few objects are read, in three steps.
    for version in [1, 2, 1023, 1024, 1025, 1536, 2047, 2048, COMMITS] {
        world.take_counts();
        let cold = world.manifests();
        let (read, steps) = world.start(cold.at("m", version, None)).finish_in_steps();
        assert!(matches!(read, Ok(At::Snapshot(_))), "{read:?}");
        assert!(world.take_total() <= 12, "version {version}");
        assert!(steps <= 3, "version {version}: {steps} steps");
    }
    let cold = world.manifests();
    let (read, steps) = world.start(cold.latest("m")).finish_in_steps();
    assert_eq!(read.unwrap().unwrap().summary.version, COMMITS + 1);
    assert!(world.take_total() <= 12);
    assert!(steps <= 2, "{steps} steps");
}

#[test]
fn a_listing_tells_what_to_read_at_once() {
    let world = World::new();
    let writer = world.manifests();
    let first: String = (0..200)
        .map(|n| format!("key-{n:04}=a-value-of-some-length "))
        .collect();
    commit(&world, &writer, &change(0, &first));
    for version in 1..200 {
        commit(&world, &writer, &change(version, "key-0001=x"));
        let reader = world.manifests();
        let mut op = world.start(reader.latest("m"));
        assert_eq!(op.serve().kind(), "LIST");
        // All that is needed is asked for before any of it is answered.
        let mut asked = 0;
        while op.request().is_some_and(|request| request.kind() == "GET") {
            op.serve();
            asked += 1;
        }
        assert!(op.done().unwrap().is_some());
        let needed = (version).count_ones() + 1;
        assert!(asked <= needed, "version {version}: {asked} requests");
    }
}

#[test]
fn bad_changes_are_refused_without_a_request() {
    let world = World::new();
    let instance = world.manifests();
    let long = "k".repeat(1025);
    let many: String = (0..10_001).map(|n| format!("k{n}=1 ")).collect();
    for attempt in [
        change(0, "=1"),
        change(0, &format!("{long}=1")),
        change(0, "a=1 a=2"),
        change(0, &many),
        Change {
            author: "a".repeat(201),
            ..change(0, "a=1")
        },
        Change {
            message: "m".repeat(1025),
            ..change(0, "a=1")
        },
        Change {
            id: Some(String::new()),
            ..change(0, "a=1")
        },
        Change {
            writer: Writer::Fenced(Epoch::SHARED),
            ..change(0, "a=1")
        },
    ] {
        let outcome = world.run(instance.commit("m", &attempt));
        assert!(
            matches!(outcome, Err(Error::InvalidArgument(_))),
            "{outcome:?}"
        );
    }
    assert_eq!(world.take_total(), 0);
    commit(&world, &instance, &change(0, "a=1"));
    let outcome = world.run(instance.commit("m", &change(2, "a=1")));
    assert!(
        matches!(outcome, Err(Error::InvalidArgument(_))),
        "a base of the future"
    );
    let big = Change {
        edits: vec![ifmatch::manifest::Edit {
            key: "big".to_owned(),
            value: Some(vec![0; 8 * 1024 * 1024]),
            blobs: Vec::new(),
        }],
        ..change(1, "")
    };
    let outcome = world.run(instance.commit("m", &big));
    assert!(
        matches!(outcome, Err(Error::InvalidArgument(_))),
        "{outcome:?}"
    );
}

/// A manifest whose versions are not full, and two instances that have met: the second
/// knows version 3, and the first has gone on to version 8.
fn met(text: &str) -> (World, Instance, Instance) {
    let world = World::new();
    let (first, second) = (world.manifests(), world.manifests());
    let many: String = (0..300)
        .map(|n| format!("key-{n:04}=of-some-length "))
        .collect();
    commit(&world, &first, &change(0, &many));
    commit(&world, &second, &change(1, "a=1"));
    commit(&world, &first, &change(1, "b=1"));
    for version in 3..8 {
        let text = if version == 5 { text } else { "b=2" };
        commit(&world, &first, &change(version, text));
    }
    (world, first, second)
}

#[test]
fn scenario_113_who_was_left_behind_reads_the_newest_version_alone() {
    let (world, first, second) = met("c=3 key-0007-");
    world.take_total();
    assert_eq!(commit(&world, &second, &change(2, "a=2")), 9);
    // PUT and GET in a race that it loses; the version at the end of a turn, which is not
    // there, with what that would need; LIST, and versions 8, 7 and 5; PUT.
    assert_eq!(world.take_total(), 2 + 3 + 1 + 3 + 1);
    // What it put together from there is what everybody else reads.
    let own = latest_of(&world, &second).unwrap().items;
    assert_eq!(words(&own), latest(&world).1);
    assert_eq!(latest_of(&world, &first).unwrap().items, own);
}

#[test]
fn scenario_113_a_mark_of_a_recent_version_is_looked_up() {
    let (world, _, second) = met("c=3");
    let outcome = world.run(second.commit("m", &change(2, "c=4")));
    let conflict = Conflict {
        latest: 8,
        keys: vec!["c".to_owned()],
    };
    assert_eq!(outcome, Ok(CommitOutcome::Conflict(conflict)));
}

#[test]
fn scenario_113_what_marks_do_not_reach_is_read() {
    // More keys than a version is told of: marks begin behind it.
    let many: String = (0..300).map(|n| format!("new-{n:04}=1 ")).collect();
    let (world, _, second) = met(&many);
    let outcome = world.run(second.commit("m", &change(2, "new-0250=2")));
    let conflict = Conflict {
        latest: 8,
        keys: vec!["new-0250".to_owned()],
    };
    assert_eq!(outcome, Ok(CommitOutcome::Conflict(conflict)));
}
