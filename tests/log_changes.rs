//! Goal: a log stays in order while what surrounds it changes: its writers go over
//! from shared to fenced, newer programs write to it, its host copies instances,
//! and credentials expire.
//!
//! Method: instances of the core on the model store of `tests/model`, stepped by
//! hand. Where the order of requests matters, every order is tried. What a newer
//! program writes is made from what this one does, with the checksums right.
//! Numbers in names are those of `docs/SCENARIOS.md`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod model;

use std::collections::BTreeSet;

use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::codec::{Header, Section, Tag, crc32c};
use ifmatch::error::Error;
use ifmatch::log::{AppendOptions, AppendOutcome, Cursor, Extent, Keep, ReadOutcome};
use ifmatch::slots::Grace;
use ifmatch::token::Epoch;
use model::log::{ALL, appended, batch, contents, fenced, produced};
use model::{Answer, World};

/// The object in the second slot.
const SECOND: &str = "log/l/_slot/fffffffffffffffe.1";

/// No operation here takes more requests.
const REQUESTS_MAX: u32 = 9;

fn shared_append(world: &World, text: &str) -> Result<AppendOutcome, Error> {
    world.run(
        world
            .instance()
            .append("l", &batch(text), &AppendOptions::SHARED),
    )
}

/// Where an acknowledged record went.
fn extent(outcome: &AppendOutcome) -> Extent {
    match outcome {
        AppendOutcome::Appended(extent) => *extent,
        other => panic!("{other:?}"),
    }
}

#[test]
fn scenario_50_shared_appends_on_their_way_are_before_the_claim_or_have_no_effect() {
    let (mut before, mut refused) = (0, 0);
    // Which of the two goes next, at each step; and whether the writer is cold.
    for order in 0..1_u32 << REQUESTS_MAX {
        for warm in [false, true] {
            let world = World::new();
            shared_append(&world, "old").unwrap();
            let (writer, leader) = (world.instance(), world.instance());
            if warm {
                world.run(writer.tail("l")).unwrap();
            }
            let records = batch("shared");
            let options = AppendOptions::SHARED;
            let mut append = world.start(writer.append("l", &records, &options));
            let mut claim = world.start(leader.claim("l", Epoch(7)));
            for step in 0..REQUESTS_MAX {
                let op = if order >> step & 1 == 0 {
                    &mut append
                } else {
                    &mut claim
                };
                if op.request().is_some() {
                    op.serve();
                }
            }
            let (outcome, claimed) = (append.finish().unwrap(), claim.finish().unwrap());
            let led_at = extent(&claimed).start;
            world
                .run(leader.append("l", &batch("led"), &fenced(7)))
                .unwrap();
            match outcome {
                AppendOutcome::Appended(extent) => {
                    before += 1;
                    assert!(
                        extent.end <= led_at,
                        "{order:b}: {extent:?} behind {led_at}"
                    );
                    assert_eq!(contents(&world), ["old", "shared", "led"]);
                }
                AppendOutcome::Fenced(by) => {
                    refused += 1;
                    assert_eq!(by, Epoch(7));
                    assert_eq!(contents(&world), ["old", "led"]);
                }
                other => panic!("{order:b}: {other:?}"),
            }
        }
    }
    assert!(before > 0 && refused > 0, "{before} and {refused}");
}

#[test]
fn scenario_50_a_shared_append_that_arrives_after_the_claim_has_no_effect() {
    let world = World::new();
    let (writer, leader) = (world.instance(), world.instance());
    shared_append(&world, "old").unwrap();
    let records = batch("shared");
    let options = AppendOptions::SHARED;
    let mut append = world.start(writer.append("l", &records, &options));
    let kept = append.serve_until("PUT");
    world.run(leader.claim("l", Epoch(7))).unwrap();
    append.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    assert_eq!(append.finish().unwrap(), AppendOutcome::Fenced(Epoch(7)));
    let late = world.apply(&kept);
    assert!(matches!(
        late,
        Answer::Put(Ok(PutOutcome::PreconditionFailed))
    ));
    assert_eq!(contents(&world), ["old"]);
}

/// What a newer program may have written in place of `object`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Newer {
    Major,
    Flag,
    Kind,
    RequiredSection,
    Minor,
    OptionalSection,
}

impl Newer {
    const REFUSED: [Newer; 4] = [
        Newer::Major,
        Newer::Flag,
        Newer::Kind,
        Newer::RequiredSection,
    ];
    const READ: [Newer; 2] = [Newer::Minor, Newer::OptionalSection];

    /// Writes `object` as that program would have.
    fn rewrite(self, object: &mut Vec<u8>) {
        let (byte, value) = match self {
            Newer::Major => (8, 2),
            Newer::Minor => (10, 1),
            Newer::Flag => (12, 1),
            Newer::Kind => (16, 200),
            Newer::RequiredSection => return with_section(object, true),
            Newer::OptionalSection => return with_section(object, false),
        };
        let length = Header::length(object).unwrap();
        object[byte] = value;
        let checksum = crc32c(&[&object[..124], &object[128..length]]);
        object[124..128].copy_from_slice(&checksum.to_le_bytes());
    }
}

fn with_section(object: &mut Vec<u8>, required: bool) {
    let payload = object[Header::length(object).unwrap()..].to_vec();
    let mut header = Header::decode(object, object.len() as u64).unwrap();
    header.sections.push(Section {
        tag: Tag(999),
        required,
        data: b"of a later version".to_vec(),
    });
    *object = header.encode().unwrap();
    object.extend_from_slice(&payload);
}

/// Whether a call refused an object that is too new, and named it.
fn refused_as_newer<T: std::fmt::Debug>(result: Result<T, Error>, key: &str) {
    match result {
        Err(Error::Unsupported(text)) => assert!(text.contains(key), "{text}"),
        other => panic!("{other:?}"),
    }
}

/// A log of which a newer program has written the second segment.
fn upgraded(newer: Newer) -> World {
    let world = World::new();
    shared_append(&world, "old").unwrap();
    shared_append(&world, "new").unwrap();
    world.corrupt(SECOND, |object| newer.rewrite(object));
    world
}

#[test]
fn scenario_50_an_older_writer_does_not_go_on_behind_a_newer_segment() {
    for newer in Newer::REFUSED {
        for fence in [false, true] {
            let world = upgraded(newer);
            let options = if fence {
                fenced(7)
            } else {
                AppendOptions::SHARED
            };
            // One that starts after the upgrade, and one that has the tail from before.
            let keys = world.keys();
            let cold = world.instance();
            refused_as_newer(world.run(cold.append("l", &batch("x"), &options)), SECOND);
            refused_as_newer(world.run(cold.claim("l", Epoch(7))), SECOND);
            refused_as_newer(world.run(cold.tail("l")), SECOND);
            assert_eq!(world.keys(), keys, "{newer:?}: it was written behind");
        }
    }
}

#[test]
fn scenario_50_an_append_on_its_way_loses_to_a_newer_segment_and_is_refused() {
    for newer in Newer::REFUSED {
        for lost in [false, true] {
            let world = World::new();
            shared_append(&world, "old").unwrap();
            let writer = world.instance();
            let records = batch("late");
            let options = AppendOptions::SHARED;
            let mut append = world.start(writer.append("l", &records, &options));
            let put = append.serve_until("PUT");
            shared_append(&world, "new").unwrap();
            world.corrupt(SECOND, |object| newer.rewrite(object));
            let keys = world.keys();
            if lost {
                // Whether its own segment is there cannot be told any more.
                append.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
                    "reset".to_owned(),
                ))));
                let outcome = append.finish().unwrap();
                let told =
                    matches!(&outcome, AppendOutcome::Indeterminate(why) if why.contains(SECOND));
                assert!(told, "{newer:?}: {outcome:?}");
            } else {
                refused_as_newer(append.finish(), SECOND);
            }
            world.apply(&put);
            refused_as_newer(world.run(writer.append("l", &records, &options)), SECOND);
            assert_eq!(world.keys(), keys, "{newer:?}: it was written behind");
        }
    }
}

#[test]
fn scenario_51_an_older_reader_reads_up_to_a_newer_segment_and_names_it() {
    for newer in Newer::REFUSED {
        let world = upgraded(newer);
        let reader = world.instance();
        let start = Cursor::at(0);
        let read = match world.run(reader.read("l", start, ALL)) {
            // What comes before is read, now or in a call before the refusal.
            Ok(ReadOutcome::Records(entries, next)) => {
                assert_eq!(entries.len(), 1);
                world.run(reader.read("l", next, ALL))
            }
            other => other,
        };
        refused_as_newer(read, SECOND);
        refused_as_newer(
            world.run(world.instance().read("l", Cursor::at(1), ALL)),
            SECOND,
        );
    }
}

#[test]
fn scenario_51_what_an_older_program_can_overlook_it_reads_and_goes_on_behind() {
    for newer in Newer::READ {
        let world = upgraded(newer);
        assert_eq!(shared_append(&world, "older").unwrap(), appended(2, 3));
        assert_eq!(contents(&world), ["old", "new", "older"]);
        let claimed = world.run(world.instance().claim("l", Epoch(7))).unwrap();
        assert_eq!(claimed, appended(3, 3));
    }
}

#[test]
fn scenario_51_an_older_program_does_not_replace_newer_state() {
    const STATE: &str = "log/l/_state";
    for newer in Newer::REFUSED {
        let world = World::new();
        let writer = world.instance();
        let grace = Grace {
            period_ms: 10_000,
            margin_ms: 2_000,
        };
        world.run(writer.create("l", grace)).unwrap();
        for text in ["a", "b", "c", "d"] {
            shared_append(&world, text).unwrap();
            world.advance_ms(20_000);
        }
        world.run(writer.trim("l", Keep::Records(3))).unwrap();
        world.corrupt(STATE, |object| newer.rewrite(object));
        world.0.borrow_mut().objects.get_mut(STATE).unwrap().version = 1_000_000;
        let before = world.object(STATE).unwrap().body;
        let keys = world.keys();
        let stranger = world.instance();
        refused_as_newer(world.run(stranger.trim("l", Keep::Records(1))), STATE);
        assert_eq!(world.object(STATE).unwrap().body, before, "{newer:?}");
        assert_eq!(world.keys(), keys, "{newer:?}: it deleted");
    }
}

/// The commit ids of all segments ever stored.
fn commit_ids(world: &World) -> Vec<u128> {
    let shared = world.0.borrow();
    let segments = shared
        .history
        .iter()
        .filter(|(key, _)| key.starts_with("log/l/_slot/"));
    segments
        .map(|(_, body)| Header::decode(body, body.len() as u64).unwrap().commit_id)
        .collect()
}

/// Starts an append, takes a snapshot of the instance when this many requests have
/// been answered, and lets two copies go on, one after the other. Up to the snapshot
/// they are one: what it drew, and what it was told, both know.
fn resume_twice(options: &AppendOptions, served: usize) -> (World, [Extent; 2]) {
    let world = World::new();
    shared_append(&world, "old").unwrap();
    let (a, b) = (world.instance(), world.instance());
    let records = batch("once");
    let mut first = world.start(a.append("l", &records, options));
    let mut second = world.start(b.append("l", &records, options));
    let before = world.random();
    first.request();
    let after = world.random();
    world.set_random(before);
    second.request();
    assert_eq!(world.random(), after, "the copies drew differently");
    for _ in 0..served {
        let request = first.request().unwrap();
        let alike = format!("{:?}", second.request().unwrap());
        assert_eq!(format!("{request:?}"), alike);
        let answer = world.apply(&request);
        first.answer(answer.clone());
        second.answer(answer);
    }
    let told = [first.finish(), second.finish()].map(|outcome| extent(&outcome.unwrap()));
    for (instance, text) in [(&a, "a"), (&b, "b")] {
        world
            .run(instance.append("l", &batch(text), &AppendOptions::SHARED))
            .unwrap();
    }
    (world, told)
}

#[test]
fn scenario_52_two_copies_of_a_writer_are_told_of_one_record() {
    // Of LIST, GET and PUT: before the header is read, before the write and after it.
    for served in 1..=3 {
        let (world, told) = resume_twice(&AppendOptions::SHARED, served);
        assert_eq!(told, [Extent { start: 1, end: 2 }; 2], "{served}");
        assert_eq!(contents(&world), ["old", "once", "a", "b"], "{served}");
        let ids = commit_ids(&world);
        let different: BTreeSet<u128> = ids.iter().copied().collect();
        assert_eq!(different.len(), ids.len(), "{served}: an id twice");
    }
}

#[test]
fn scenario_52_copies_that_have_not_read_the_tail_yet_append_once_with_a_producer() {
    for served in 0..=3 {
        let (world, told) = resume_twice(&produced("p", 0), served);
        assert_eq!(told, [Extent { start: 1, end: 2 }; 2], "{served}");
        assert_eq!(contents(&world), ["old", "once", "a", "b"], "{served}");
    }
    // Without one, a copy that reads the tail when the other is done appends as well,
    // and each is told of its own record.
    let (world, told) = resume_twice(&AppendOptions::SHARED, 0);
    assert_eq!(told.map(|extent| extent.start), [1, 2]);
    assert_eq!(contents(&world), ["old", "once", "once", "a", "b"]);
    let ids = commit_ids(&world);
    let different: BTreeSet<u128> = ids.iter().copied().collect();
    assert_eq!(different.len(), ids.len(), "an id twice");
}

#[test]
fn scenario_52_copies_that_are_asked_for_different_records_do_not_take_each_others() {
    for before_tail_is_known in [false, true] {
        let world = World::new();
        shared_append(&world, "old").unwrap();
        let (a, b) = (world.instance(), world.instance());
        if !before_tail_is_known {
            for instance in [&a, &b] {
                world.run(instance.tail("l")).unwrap();
            }
        }
        let (one, other) = (batch("one"), batch("other"));
        let options = AppendOptions::SHARED;
        let mut first = world.start(a.append("l", &one, &options));
        let mut second = world.start(b.append("l", &other, &options));
        first.serve_until("PUT");
        second.serve_until("PUT");
        let second = extent(&second.finish().unwrap());
        let first = extent(&first.finish().unwrap());
        assert_eq!((second.start, first.start), (1, 2));
        assert_eq!(contents(&world), ["old", "other", "one"]);
    }
}

#[test]
fn scenario_53_an_append_whose_outcome_credentials_hid_is_resolved_by_the_next_call() {
    let expired = || BucketError::AccessDenied("the credentials have expired".to_owned());
    for applied in [false, true] {
        for same_instance in [false, true] {
            let world = World::new();
            shared_append(&world, "old").unwrap();
            let writer = world.instance();
            let records = batch("once");
            let options = produced("p", 0);
            let mut append = world.start(writer.append("l", &records, &options));
            let put = append.serve_until("PUT");
            if applied {
                world.apply(&put);
            }
            append.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
                "reset".to_owned(),
            ))));
            append.serve_until("GET");
            append.answer(Answer::Get(Err(expired())));
            let outcome = append.done().unwrap();
            let told =
                matches!(&outcome, AppendOutcome::Indeterminate(why) if why.contains("expired"));
            assert!(told, "{outcome:?}");
            // The next calls say so, too, until there are new ones.
            let mut denied = world.start(writer.append("l", &records, &options));
            denied.request();
            denied.answer(Answer::List(Err(expired())));
            assert!(
                matches!(denied.done(), Err(Error::AccessDenied(text)) if text.contains("expired"))
            );
            let next = if same_instance {
                writer
            } else {
                world.instance()
            };
            let outcome = world.run(next.append("l", &records, &options)).unwrap();
            assert_eq!(outcome, appended(1, 2));
            world.apply(&put);
            assert_eq!(contents(&world), ["old", "once"]);
        }
    }
}

#[test]
fn scenario_53_a_write_that_is_refused_for_its_credentials_was_not_applied() {
    let world = World::new();
    shared_append(&world, "old").unwrap();
    let writer = world.instance();
    let records = batch("refused");
    let options = AppendOptions::SHARED;
    let mut append = world.start(writer.append("l", &records, &options));
    append.serve_until("PUT");
    append.answer(Answer::Put(Err(BucketError::AccessDenied(
        "the credentials have expired".to_owned(),
    ))));
    let result = append.done();
    assert!(
        matches!(&result, Err(Error::AccessDenied(text)) if text.contains("expired")),
        "{result:?}"
    );
    assert_eq!(contents(&world), ["old"]);
}
