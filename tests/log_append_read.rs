//! Goal: the log does what `wit/protocols/log.wit` promises, at the stated number
//! of requests, against races, lost replies and bad input.
//!
//! Method: instances of the core on the model store of `tests/model`, stepped by
//! hand where the order of requests matters. Numbers in names are those of
//! `docs/SCENARIOS.md`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::type_complexity,
    reason = "a test fails by panicking"
)]

mod model;

use ifmatch::bucket::{BucketError, PutOutcome};
use ifmatch::codec::Header;
use ifmatch::error::Error;
use ifmatch::keys::Slot;
use ifmatch::log::{AppendOptions, AppendOutcome, Cursor, ReadLimit, ReadOutcome, SequenceProblem};
use ifmatch::slots::Grace;
use ifmatch::token::Epoch;
use model::log::{ALL, appended, batch, contents, fenced, produced};
use model::{Answer, World};

#[test]
fn an_append_costs_three_requests_cold_and_one_warm() {
    let world = World::new();
    let first = world.instance();
    let append = |writer: &std::rc::Rc<_>, text: &str| {
        let writer: &ifmatch::log::Logs<_, _> = writer;
        world
            .run(writer.append("l", &batch(text), &AppendOptions::SHARED))
            .unwrap()
    };
    assert_eq!(append(&first, "a b"), appended(0, 2));
    assert_eq!(world.take_total(), 2, "an empty log: LIST and PUT");
    assert_eq!(append(&first, "c"), appended(2, 3));
    assert_eq!(world.take_total(), 1);
    let second = world.instance();
    assert_eq!(append(&second, "d"), appended(3, 4));
    assert_eq!(world.take_total(), 3, "LIST, GET, PUT");
    assert_eq!(append(&first, "e"), appended(4, 5));
    assert_eq!(world.take_total(), 3, "lost race: PUT, GET, PUT");
    assert_eq!(contents(&world), ["a", "b", "c", "d", "e"]);
}

#[test]
fn tail_costs_two_requests_cold_and_one_warm() {
    let world = World::new();
    let writer = world.instance();
    world
        .run(writer.append("l", &batch("a b c"), &AppendOptions::SHARED))
        .unwrap();
    world.take_counts();
    let reader = world.instance();
    assert_eq!(world.run(reader.tail("l")).unwrap().offset, 3);
    assert_eq!(world.take_total(), 2);
    assert_eq!(world.run(reader.tail("l")).unwrap().offset, 3);
    assert_eq!(world.take_total(), 1);
    world
        .run(writer.append("l", &batch("d"), &AppendOptions::SHARED))
        .unwrap();
    world.take_counts();
    assert_eq!(world.run(reader.tail("l")).unwrap().offset, 4);
    assert_eq!(
        world.take_total(),
        2,
        "one for the new segment, one behind it"
    );
    assert_eq!(world.run(reader.tail("none")).unwrap().offset, 0);
}

#[test]
fn scenario_01_two_writers_at_one_slot_have_one_winner() {
    let world = World::new();
    let (a, b) = (world.instance(), world.instance());
    let (first, second) = (batch("first"), batch("second"));
    let mut op_a = world.start(a.append("l", &first, &AppendOptions::SHARED));
    let mut op_b = world.start(b.append("l", &second, &AppendOptions::SHARED));
    op_a.serve_until("PUT");
    op_b.serve_until("PUT");
    op_b.serve();
    op_a.serve();
    assert_eq!(op_b.done().unwrap(), appended(0, 1));
    assert_eq!(op_a.finish().unwrap(), appended(1, 2));
    assert_eq!(contents(&world), ["second", "first"]);
}

#[test]
fn scenario_02_a_lost_reply_is_acknowledged_once() {
    let world = World::new();
    let writer = world.instance();
    let records = batch("a");
    let mut op = world.start(writer.append("l", &records, &AppendOptions::SHARED));
    let put = op.serve_until("PUT");
    world.apply(&put);
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    assert_eq!(op.finish().unwrap(), appended(0, 1));
    assert_eq!(contents(&world), ["a"]);
}

#[test]
fn scenario_02_a_retry_that_meets_itself_is_acknowledged_once() {
    let world = World::new();
    let writer = world.instance();
    let records = batch("a");
    let mut op = world.start(writer.append("l", &records, &AppendOptions::SHARED));
    let put = op.serve_until("PUT");
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "time-out".to_owned(),
    ))));
    // Nothing is there yet when the writer looks; then the first attempt arrives,
    // and the second is refused.
    op.serve_until("PUT");
    world.apply(&put);
    op.serve();
    assert_eq!(op.finish().unwrap(), appended(0, 1));
    assert_eq!(contents(&world), ["a"]);
}

#[test]
fn scenario_03_a_lost_reply_is_resolved_behind_later_appends() {
    let world = World::new();
    let (writer, other) = (world.instance(), world.instance());
    let records = batch("mine");
    let mut op = world.start(writer.append("l", &records, &AppendOptions::SHARED));
    let put = op.serve_until("PUT");
    world.apply(&put);
    for number in 0..50 {
        world
            .run(other.append("l", &batch(&number.to_string()), &AppendOptions::SHARED))
            .unwrap();
    }
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    assert_eq!(op.finish().unwrap(), appended(0, 1));
    assert_eq!(contents(&world).len(), 51);
}

#[test]
fn scenario_05_a_second_delivery_changes_nothing() {
    let world = World::new();
    let writer = world.instance();
    let records = batch("a");
    let mut op = world.start(writer.append("l", &records, &AppendOptions::SHARED));
    let put = op.serve_until("PUT");
    op.serve();
    assert_eq!(op.finish().unwrap(), appended(0, 1));
    world.advance_ms(300_000);
    assert!(matches!(
        world.apply(&put),
        Answer::Put(Ok(PutOutcome::PreconditionFailed))
    ));
    assert_eq!(contents(&world), ["a"]);
}

#[test]
fn scenario_17_a_store_that_asks_to_wait_did_not_decide_a_race() {
    let world = World::new();
    let writer = world.instance();
    let records = batch("a");
    let mut op = world.start(writer.append("l", &records, &AppendOptions::SHARED));
    op.serve_until("PUT");
    op.answer(Answer::Put(Err(BucketError::Throttled(40))));
    let before = world.now();
    assert_eq!(op.finish().unwrap(), appended(0, 1));
    assert!(world.now().since_ms(before) >= 40, "no hot retry");
}

#[test]
fn scenario_18_a_throttled_loser_looks_and_goes_on() {
    let world = World::new();
    let (writer, other) = (world.instance(), world.instance());
    let records = batch("late");
    let mut op = world.start(writer.append("l", &records, &AppendOptions::SHARED));
    op.serve_until("PUT");
    world
        .run(other.append("l", &batch("early"), &AppendOptions::SHARED))
        .unwrap();
    op.answer(Answer::Put(Err(BucketError::Throttled(1000))));
    assert_eq!(op.finish().unwrap(), appended(1, 2));
    assert_eq!(contents(&world), ["early", "late"]);
}

#[test]
fn scenario_19_an_error_after_applying_is_resolved() {
    let world = World::new();
    let writer = world.instance();
    let records = batch("a");
    let mut op = world.start(writer.append("l", &records, &AppendOptions::SHARED));
    let put = op.serve_until("PUT");
    world.apply(&put);
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "HTTP 500".to_owned(),
    ))));
    assert_eq!(op.finish().unwrap(), appended(0, 1));
    assert_eq!(contents(&world), ["a"]);
}

#[test]
fn an_append_whose_fate_stays_open_is_indeterminate_and_the_slot_decides_it() {
    for late in [true, false] {
        let world = World::new();
        let writer = world.instance();
        let records = batch("a");
        let options = produced("p", 0);
        let mut op = world.start(writer.append("l", &records, &options));
        let put = op.serve_until("PUT");
        op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
            "reset".to_owned(),
        ))));
        // From here on the store does not answer.
        let down = || BucketError::Unavailable("down".to_owned());
        while let Some(request) = op.request() {
            op.answer(match request.kind() {
                "PUT" => Answer::Put(Err(down())),
                _ => Answer::Get(Err(down())),
            });
        }
        let outcome = op.done().unwrap();
        assert!(
            matches!(outcome, AppendOutcome::Indeterminate(_)),
            "{outcome:?}"
        );
        // It comes back. The first attempt arrives late, in the middle of the next
        // one or never; either way there is one copy.
        let mut again = world.start(writer.append("l", &records, &options));
        again.serve_until("PUT");
        if late {
            world.apply(&put);
        }
        assert_eq!(again.finish().unwrap(), appended(0, 1));
        world.apply(&put);
        assert_eq!(contents(&world), ["a"]);
    }
}

#[test]
fn scenario_13_nothing_of_an_old_leader_comes_after_the_claim() {
    let world = World::new();
    let (old, new) = (world.instance(), world.instance());
    world.run(old.append("l", &batch("a"), &fenced(1))).unwrap();
    let records = batch("zombie");
    let options = fenced(1);
    let mut zombie = world.start(old.append("l", &records, &options));
    zombie.serve_until("PUT");
    world.take_counts();
    assert_eq!(world.run(new.claim("l", Epoch(2))).unwrap(), appended(1, 1));
    assert!(world.take_total() <= 3, "LIST, GET, PUT");
    assert_eq!(zombie.finish().unwrap(), AppendOutcome::Fenced(Epoch(2)));
    world.run(new.append("l", &batch("b"), &fenced(2))).unwrap();
    assert_eq!(contents(&world), ["a", "b"]);
    assert_eq!(
        world
            .run(old.append("l", &batch("c"), &AppendOptions::SHARED))
            .unwrap(),
        AppendOutcome::Fenced(Epoch(2)),
        "shared writers are refused once a fenced write exists"
    );
}

#[test]
fn scenario_14_a_claim_whose_reply_was_lost_does_not_fence_itself() {
    let world = World::new();
    let leader = world.instance();
    let mut op = world.start(leader.claim("l", Epoch(5)));
    let put = op.serve_until("PUT");
    world.apply(&put);
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    assert_eq!(op.finish().unwrap(), appended(0, 0));
    // Another instance of the same leader claims again: nothing is written.
    let again = world.instance();
    let objects = world.keys();
    assert_eq!(
        world.run(again.claim("l", Epoch(5))).unwrap(),
        appended(0, 0)
    );
    assert_eq!(world.keys(), objects);
    assert_eq!(
        world
            .run(leader.append("l", &batch("a"), &fenced(5)))
            .unwrap(),
        appended(0, 1)
    );
}

#[test]
fn scenario_16_of_two_claims_with_one_token_only_the_first_is_written() {
    let world = World::new();
    let (a, b) = (world.instance(), world.instance());
    let mut op_a = world.start(a.claim("l", Epoch(3)));
    let mut op_b = world.start(b.claim("l", Epoch(3)));
    op_a.serve_until("PUT");
    op_b.serve_until("PUT");
    op_a.serve();
    op_b.serve();
    assert_eq!(op_a.done().unwrap(), appended(0, 0));
    assert_eq!(op_b.finish().unwrap(), appended(0, 0));
    assert_eq!(world.keys().len(), 1);
}

#[test]
fn scenario_20_a_listing_out_of_order_is_refused() {
    let world = World::new();
    let writer = world.instance();
    for text in ["a", "b", "c"] {
        world
            .run(writer.append("l", &batch(text), &AppendOptions::SHARED))
            .unwrap();
    }
    // A store that ignores the limit is harmless, one that ignores the order is not.
    for (reversed, right) in [(false, true), (true, false)] {
        let reader = world.instance();
        let mut op = world.start(reader.tail("l"));
        op.serve_until("LIST");
        let Answer::List(Ok(mut page)) = world.apply(&model::Request::List {
            prefix: "log/l/_slot/".to_owned(),
            start_after: None,
            limit: 1000,
        }) else {
            panic!("a LIST gets a page");
        };
        if reversed {
            page.objects.reverse();
        }
        op.answer(Answer::List(Ok(page)));
        let result = op.finish();
        assert_eq!(result.clone().is_ok_and(|tail| tail.offset == 3), right);
        assert_eq!(matches!(result, Err(Error::Unsupported(_))), !right);
    }
}

#[test]
fn scenario_21_damage_is_reported_with_the_key() {
    let key = "log/l/_slot/fffffffffffffffe.1";
    let damages: [(&str, fn(&mut Vec<u8>)); 5] = [
        ("flipped payload", |body| body[130] ^= 1),
        ("flipped header", |body| body[60] ^= 1),
        ("truncated", |body| body.truncate(20)),
        ("foreign", |body| *body = b"hello".to_vec()),
        ("empty", Vec::clear),
    ];
    for (what, damage) in damages {
        let world = World::new();
        let writer = world.instance();
        for text in ["a", "b", "c"] {
            world
                .run(writer.append("l", &batch(text), &AppendOptions::SHARED))
                .unwrap();
        }
        world.corrupt(key, damage);
        let reader = world.instance();
        let first = world.run(reader.read("l", Cursor::at(0), ALL)).unwrap();
        let ReadOutcome::Records(entries, next) = first else {
            panic!("{what}: {first:?}");
        };
        assert_eq!(entries.len(), 1, "{what}: what precedes the damage is read");
        match world.run(reader.read("l", next, ALL)) {
            Err(Error::Corrupt(text)) => assert!(text.contains(key), "{what}: {text}"),
            other => panic!("{what}: {other:?}"),
        }
        // A writer that needs what is damaged does not go on behind it. It reads
        // headers only: a damaged payload does not stop it.
        world.corrupt("log/l/_slot/fffffffffffffffd.2", damage);
        let records = batch("d");
        let writer = world.instance();
        match world.run(writer.append("l", &records, &AppendOptions::SHARED)) {
            Err(Error::Corrupt(text)) => assert!(text.contains("/_slot/"), "{what}: {text}"),
            Ok(AppendOutcome::Appended(_)) if what == "flipped payload" => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn scenario_21_a_segment_of_another_place_is_corrupt() {
    let world = World::new();
    let writer = world.instance();
    for name in ["l", "other"] {
        for text in ["a", "b"] {
            world
                .run(writer.append(name, &batch(text), &AppendOptions::SHARED))
                .unwrap();
        }
    }
    for foreign in [
        "log/other/_slot/fffffffffffffffe.1",
        "log/l/_slot/ffffffffffffffff.0",
    ] {
        let body = world.object(foreign).unwrap().body;
        let key = "log/l/_slot/fffffffffffffffe.1";
        let kept = world.object(key).unwrap().body;
        world.corrupt(key, |own| *own = body);
        match world.run(world.instance().tail("l")) {
            Err(Error::Corrupt(text)) => assert!(text.contains(key), "{text}"),
            other => panic!("{other:?}"),
        }
        world.corrupt(key, |own| *own = kept);
    }
}

#[test]
fn scenario_21_a_segment_that_does_not_follow_is_corrupt() {
    let key = "log/l/_slot/fffffffffffffffd.2";
    type Change = fn(&mut Header);
    let changes: [(&str, Change, bool); 4] = [
        ("previous id", |header| header.previous_id ^= 1, true),
        ("base offset", |header| header.base_offset += 1, true),
        ("epoch", |header| header.epoch = Epoch(3), true),
        ("grace", |header| header.grace_ms += 1, false),
    ];
    for (what, change, readers_check) in changes {
        let world = World::new();
        let (writer, other) = (world.instance(), world.instance());
        world
            .run(writer.append("l", &batch("a"), &fenced(7)))
            .unwrap();
        for text in ["b", "c"] {
            world
                .run(other.append("l", &batch(text), &fenced(7)))
                .unwrap();
        }
        // Checksums, identity and slot are right; only the place in history is not.
        world.corrupt(key, |body| {
            let (mut header, payload) = Header::decode_object(body).unwrap();
            change(&mut header);
            let mut changed = header.encode().unwrap();
            changed.extend_from_slice(payload);
            *body = changed;
        });
        let says_so = |result: &Result<String, Error>| matches!(result, Err(Error::Corrupt(text)) if text.contains(key));
        let records = batch("d");
        let appended = world
            .run(writer.append("l", &records, &fenced(7)))
            .map(|outcome| format!("{outcome:?}"));
        assert!(says_so(&appended), "{what}: {appended:?}");
        let start = Cursor {
            slot: Some(Slot(0)),
            ..Cursor::at(0)
        };
        let reader = world.instance();
        let ReadOutcome::Records(entries, next) = world.run(reader.read("l", start, ALL)).unwrap()
        else {
            panic!("nothing is trimmed");
        };
        assert_eq!(entries.len(), if readers_check { 2 } else { 3 }, "{what}");
        assert_eq!(next.offset, entries.len() as u64);
    }
}

#[test]
fn scenario_24_a_repetition_by_a_new_instance_gets_the_original_offsets() {
    let world = World::new();
    world
        .run(
            world
                .instance()
                .append("l", &batch("a b"), &produced("p", 0)),
        )
        .unwrap();
    world
        .run(
            world
                .instance()
                .append("l", &batch("x"), &AppendOptions::SHARED),
        )
        .unwrap();
    let again = world.instance();
    assert_eq!(
        world
            .run(again.append("l", &batch("a b"), &produced("p", 0)))
            .unwrap(),
        appended(0, 2)
    );
    assert_eq!(
        world
            .run(again.append("l", &batch("c"), &produced("p", 2)))
            .unwrap(),
        AppendOutcome::OutOfSequence(SequenceProblem::Gap(1))
    );
    assert_eq!(
        world
            .run(again.append("l", &batch("c"), &produced("p", 1)))
            .unwrap(),
        appended(3, 4)
    );
    assert_eq!(
        world
            .run(again.append("l", &batch("a b"), &produced("p", 0)))
            .unwrap(),
        AppendOutcome::OutOfSequence(SequenceProblem::Superseded(1))
    );
    assert_eq!(contents(&world), ["a", "b", "x", "c"]);
}

#[test]
fn scenario_25_an_append_at_the_wrong_offset_writes_nothing() {
    let world = World::new();
    let (stale, other) = (world.instance(), world.instance());
    let at = |expected| AppendOptions {
        expected: Some(expected),
        ..AppendOptions::SHARED
    };
    assert_eq!(
        world.run(stale.append("l", &batch("a"), &at(0))).unwrap(),
        appended(0, 1)
    );
    world.run(other.append("l", &batch("b"), &at(1))).unwrap();
    let objects = world.keys();
    // The stale instance believes that the tail is 1, and loses.
    assert_eq!(
        world.run(stale.append("l", &batch("c"), &at(1))).unwrap(),
        AppendOutcome::Mismatch(2)
    );
    assert_eq!(
        world.run(stale.append("l", &batch("c"), &at(7))).unwrap(),
        AppendOutcome::Mismatch(2)
    );
    assert_eq!(world.keys(), objects);
    // It believes that 2 is not the tail yet, which a look corrects.
    world.run(other.append("l", &batch("c"), &at(2))).unwrap();
    assert_eq!(
        world.run(stale.append("l", &batch("d"), &at(3))).unwrap(),
        appended(3, 4)
    );
}

#[test]
fn bad_input_is_refused_before_any_request() {
    let world = World::new();
    let logs = world.instance();
    let many = vec![Vec::new(); 10_001];
    let large = vec![vec![0; 8 * 1024 * 1024 + 1]];
    let good = batch("a");
    let shared = AppendOptions::SHARED;
    let long = "x".repeat(65);
    let cases: Vec<(&str, &[Vec<u8>], AppendOptions)> = vec![
        ("", &good, shared.clone()),
        ("Upper", &good, shared.clone()),
        ("a//b", &good, shared.clone()),
        ("l", &[], shared.clone()),
        ("l", &many, shared.clone()),
        ("l", &large, shared.clone()),
        ("l", &good, fenced(0)),
        ("l", &good, produced("", 0)),
        ("l", &good, produced("a/b", 0)),
        ("l", &good, produced(&long, 0)),
        ("l", &good, produced("p", u64::MAX)),
    ];
    for (name, records, options) in cases {
        let result = world.run(logs.append(name, records, &options));
        assert!(
            matches!(result, Err(Error::InvalidArgument(_))),
            "{name} {result:?}"
        );
    }
    let none = ReadLimit {
        records: 0,
        bytes: 1,
    };
    assert!(matches!(
        world.run(logs.read("l", Cursor::at(0), none)),
        Err(Error::InvalidArgument(_))
    ));
    for (period_ms, margin_ms) in [(999, 0), (604_800_001, 0), (10_000, 2_501), (0, 1)] {
        let grace = Grace {
            period_ms,
            margin_ms,
        };
        assert!(matches!(
            world.run(logs.create("l", grace)),
            Err(Error::InvalidArgument(_))
        ));
    }
    assert_eq!(world.take_total(), 0);
}

#[test]
fn the_largest_batches_are_accepted() {
    let world = World::new();
    let logs = world.instance();
    let many = vec![Vec::new(); 10_000];
    let large = vec![vec![7; 8 * 1024 * 1024]];
    for records in [many, large] {
        world
            .run(logs.append("l", &records, &AppendOptions::SHARED))
            .unwrap();
    }
    let reader = world.instance();
    let tail = world.run(reader.tail("l")).unwrap();
    assert_eq!(tail.offset, 10_001);
    let ReadOutcome::Records(entries, next) = world
        .run(reader.read("l", Cursor::at(10_000), ALL))
        .unwrap()
    else {
        panic!("nothing is trimmed");
    };
    assert_eq!((entries.len(), entries[0].body.len()), (1, 8 * 1024 * 1024));
    assert_eq!(next.offset, 10_001);
}

#[test]
fn a_read_respects_its_limits_and_reads_each_segment_once() {
    let world = World::new();
    let writer = world.instance();
    for start in (0..100).step_by(4) {
        let words: Vec<String> = (start..start + 4)
            .map(|number: u32| number.to_string())
            .collect();
        world
            .run(writer.append("l", &batch(&words.join(" ")), &AppendOptions::SHARED))
            .unwrap();
    }
    let reader = world.instance();
    let mut cursor = Cursor {
        slot: Some(Slot(0)),
        ..Cursor::at(0)
    };
    world.take_counts();
    let mut found = Vec::new();
    for _ in 0..50 {
        let limit = ReadLimit {
            records: 3,
            bytes: 1000,
        };
        match world.run(reader.read("l", cursor, limit)).unwrap() {
            ReadOutcome::Records(entries, next) => {
                assert!(entries.len() <= 3);
                found.extend(
                    entries
                        .into_iter()
                        .map(|entry| String::from_utf8(entry.body).unwrap()),
                );
                cursor = next;
            }
            ReadOutcome::Trimmed(_) => panic!("nothing is trimmed"),
        }
    }
    let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(found, expected);
    let counts = world.take_counts();
    assert_eq!(
        counts.get("LIST"),
        None,
        "a reader that keeps its cursor never lists"
    );
    // 25 segments, one check of the watermark at the start, polls at the tail.
    let polls = 50 - 34;
    assert!(counts["GET"] <= 25 + 1 + polls + 3, "{counts:?}");
    // Bytes are a bound as well, but one record is always returned.
    let limit = ReadLimit {
        records: 10,
        bytes: 1,
    };
    let ReadOutcome::Records(entries, _) =
        world.run(reader.read("l", Cursor::at(20), limit)).unwrap()
    else {
        panic!("nothing is trimmed");
    };
    assert_eq!(entries.len(), 1);
}

#[test]
fn a_reader_that_follows_a_writer_asks_once_more_than_there_are_segments() {
    let world = World::new();
    let (writer, reader) = (world.instance(), world.instance());
    let exact = world.instance();
    let mut cursor = world.run(reader.tail("l")).unwrap();
    for number in 0..20 {
        let records = batch(&number.to_string());
        world
            .run(writer.append("l", &records, &AppendOptions::SHARED))
            .unwrap();
        world.take_counts();
        let ReadOutcome::Records(entries, next) = world.run(reader.read("l", cursor, ALL)).unwrap()
        else {
            panic!("nothing is trimmed");
        };
        assert_eq!(entries.len(), 1);
        // The segment, and the one behind it. The first cursor is that of an empty
        // log, which proves nothing of a segment: one look at the watermark.
        let most = if number == 0 { 3 } else { 2 };
        let counts = world.take_counts();
        assert!(counts.values().sum::<u32>() <= most, "segment {number}");
        assert_eq!(counts.get("LIST"), None, "segment {number}");
        // A limit that ends the read spares the second.
        let limit = ReadLimit {
            records: 1,
            bytes: 1_000,
        };
        let again = world.run(exact.read("l", cursor, limit)).unwrap();
        assert_eq!(again, ReadOutcome::Records(entries, next));
        if number > 0 {
            assert_eq!(world.take_total(), 1, "segment {number}");
        }
        cursor = next;
    }
}

#[test]
fn a_replay_in_order_reads_each_segment_once() {
    // Of one record each, and in all more than instances keep between reads.
    for (segments, bytes) in [(20_u32, 4 << 20), (300, 100), (5, 8 << 20)] {
        let world = World::new();
        let writer = world.instance();
        for _ in 0..segments {
            world
                .run(writer.append("l", &[vec![b'x'; bytes]], &AppendOptions::SHARED))
                .unwrap();
        }
        world.take_counts();
        let reader = world.instance();
        let mut cursor = Cursor::at(0);
        while cursor.offset < segments.into() {
            match world.run(reader.read("l", cursor, ALL)).unwrap() {
                ReadOutcome::Records(entries, next) if !entries.is_empty() => cursor = next,
                other => panic!("{other:?}"),
            }
        }
        let counts = world.take_counts();
        // The newest header, the state, which a record that is as old as the reply needs
        // again, and the slot behind the end.
        let most = segments + 4;
        assert!(
            counts.get("GET").is_some_and(|gets| *gets <= most) && counts.get("LIST") <= Some(&2),
            "{segments} of {bytes} bytes: {counts:?}"
        );
    }
}

#[test]
fn a_large_segment_is_read_once_however_little_each_read_takes() {
    let world = World::new();
    let records = vec![vec![b'x'; 2 << 20]; 4];
    world
        .run(
            world
                .instance()
                .append("l", &records, &AppendOptions::SHARED),
        )
        .unwrap();
    let reader = world.instance();
    let limit = ReadLimit {
        records: 1,
        bytes: 1_000,
    };
    let mut cursor = Cursor::at(0);
    for number in 0..4 {
        world.take_counts();
        match world.run(reader.read("l", cursor, limit)).unwrap() {
            ReadOutcome::Records(entries, next) if entries.len() == 1 => cursor = next,
            other => panic!("{other:?}"),
        }
        assert_eq!(world.take_total() == 0, number > 0, "record {number}");
    }
}

#[test]
fn any_offset_and_time_is_found_in_a_logarithmic_number_of_requests() {
    let world = World::new();
    let writer = world.instance();
    let segments = 1_500_u64;
    for number in 0..segments {
        let words: Vec<String> = (0..=number % 3)
            .map(|part| format!("{number}.{part}"))
            .collect();
        world
            .run(writer.append("l", &batch(&words.join(" ")), &AppendOptions::SHARED))
            .unwrap();
        world.advance_ms(1_000);
    }
    let total = world.run(writer.tail("l")).unwrap().offset;
    for offset in (0..total).step_by(7) {
        let reader = world.instance();
        world.take_counts();
        let limit = ReadLimit {
            records: 1,
            bytes: 1000,
        };
        let ReadOutcome::Records(entries, _) = world
            .run(reader.read("l", Cursor::at(offset), limit))
            .unwrap()
        else {
            panic!("nothing is trimmed");
        };
        assert_eq!(entries[0].offset, offset);
        let requests = world.take_total();
        assert!(requests <= 4 + 11, "offset {offset}: {requests} requests");
    }
    let start = world.now().unix_ms - segments * 1_000;
    for number in (0..segments).step_by(13) {
        let reader = world.instance();
        let time = ifmatch::bucket::StoreTime {
            unix_ms: start + number * 1_000 - 1,
        };
        world.take_counts();
        let cursor = world.run(reader.locate("l", time)).unwrap();
        assert!(world.take_total() <= 4 + 12);
        assert_eq!(cursor.slot, Some(Slot(number)), "{cursor:?}");
        let limit = ReadLimit {
            records: 1,
            bytes: 1000,
        };
        let ReadOutcome::Records(entries, _) = world.run(reader.read("l", cursor, limit)).unwrap()
        else {
            panic!("nothing is trimmed");
        };
        assert_eq!(entries[0].body, format!("{number}.0").into_bytes());
    }
    let late = world.now();
    assert_eq!(
        world
            .run(world.instance().locate("l", late))
            .unwrap()
            .offset,
        total
    );
}
