//! Goal: trimming never loses, doubles or revives a record, whoever sleeps for how
//! long, and costs what it should.
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

use std::rc::Rc;

use ifmatch::bucket::{PutOutcome, StoreTime};
use ifmatch::error::Error;
use ifmatch::keys::Slot;
use ifmatch::log::{
    AppendOptions, AppendOutcome, CreateOutcome, Cursor, Keep, Logs, PinOutcome, ReadOutcome,
    TrimLimit, TrimReport,
};
use ifmatch::slots::Grace;
use ifmatch::token::Epoch;
use model::log::{ALL, appended, batch, fenced, produced};
use model::{Answer, HOUR_MS, ModelBucket, ModelEnv, World};

type Instance = Rc<Logs<ModelBucket, ModelEnv>>;

const SHARED: AppendOptions = AppendOptions::SHARED;

/// Appends one record for each number.
fn fill(world: &World, writer: &Instance, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let records = batch(&number.to_string());
        assert_eq!(
            world.run(writer.append("l", &records, &SHARED)).unwrap(),
            appended(number, number + 1)
        );
    }
}

fn trim(world: &World, keep: Keep) -> TrimReport {
    world.run(world.instance().trim("l", keep)).unwrap()
}

/// What a fresh reader finds from `offset` on.
fn read(world: &World, offset: u64) -> ReadOutcome {
    world
        .run(world.instance().read("l", Cursor::at(offset), ALL))
        .unwrap()
}

fn offsets(outcome: ReadOutcome) -> Vec<u64> {
    match outcome {
        ReadOutcome::Records(entries, _) => entries.iter().map(|entry| entry.offset).collect(),
        ReadOutcome::Trimmed(kept) => panic!("trimmed up to {kept:?}"),
    }
}

fn bodies(outcome: ReadOutcome) -> Vec<String> {
    match outcome {
        ReadOutcome::Records(entries, _) => entries
            .into_iter()
            .map(|entry| String::from_utf8(entry.body).unwrap())
            .collect(),
        ReadOutcome::Trimmed(kept) => panic!("trimmed up to {kept:?}"),
    }
}

/// The key of a slot of the log.
fn key(slot: u64) -> String {
    format!("log/l/_slot/{:016x}.{slot}", u64::MAX - slot)
}

#[test]
fn a_trim_removes_what_it_was_asked_to_and_readers_learn_of_it() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..10);
    world.advance_ms(2 * HOUR_MS);
    let report = trim(&world, Keep::Start(6));
    assert_eq!(report.first_kept.offset, 6);
    assert_eq!(
        (report.deleted, report.more),
        (5, false),
        "the first object stays"
    );
    assert_eq!(report.limited_by, TrimLimit::None);
    for offset in 0..6 {
        let ReadOutcome::Trimmed(kept) = read(&world, offset) else {
            panic!("offset {offset} is trimmed");
        };
        assert_eq!((kept.offset, kept.slot), (6, Some(Slot(6))));
        assert_eq!(
            offsets(world.run(world.instance().read("l", kept, ALL)).unwrap()),
            [6, 7, 8, 9]
        );
    }
    assert_eq!(offsets(read(&world, 6)), [6, 7, 8, 9]);
    fill(&world, &writer, 10..12);
    assert_eq!(offsets(read(&world, 8)), [8, 9, 10, 11]);
}

#[test]
fn each_bound_keeps_what_it_names() {
    let size = {
        let world = World::new();
        fill(&world, &world.instance(), 0..6);
        world.object(&key(5)).unwrap().body.len() as u64
    };
    let cases = [
        (Keep::Start(4), 4, TrimLimit::None),
        (Keep::Start(0), 0, TrimLimit::None),
        (Keep::Start(99), 5, TrimLimit::Newest),
        (Keep::Records(2), 4, TrimLimit::None),
        (Keep::Records(0), 5, TrimLimit::Newest),
        (Keep::Records(99), 0, TrimLimit::None),
        (Keep::Bytes(2 * size + 60), 4, TrimLimit::None),
        (Keep::Bytes(0), 5, TrimLimit::Newest),
        (Keep::Bytes(1 << 40), 0, TrimLimit::None),
        // Segment n was accepted 5 − n hours before the last.
        (Keep::AgeMs(2 * HOUR_MS + 1), 3, TrimLimit::None),
        (Keep::AgeMs(0), 5, TrimLimit::Newest),
    ];
    for (keep, first_kept, limited_by) in cases {
        let world = World::new();
        let writer = world.instance();
        for number in 0..6 {
            fill(&world, &writer, number..number + 1);
            world.advance_ms(if number < 5 { HOUR_MS } else { 0 });
        }
        if !matches!(keep, Keep::AgeMs(_)) {
            world.advance_ms(HOUR_MS);
        }
        let report = trim(&world, keep);
        assert_eq!(report.first_kept.offset, first_kept, "{keep:?}");
        assert_eq!(report.limited_by, limited_by, "{keep:?}");
        assert_eq!(offsets(read(&world, first_kept)).first(), Some(&first_kept));
    }
}

#[test]
fn a_trim_of_n_segments_costs_four_requests_and_two_for_each_thousand() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..2_500);
    world.advance_ms(2 * HOUR_MS);
    world.take_counts();
    let report = trim(&world, Keep::Records(1));
    assert_eq!((report.first_kept.offset, report.deleted), (2_499, 2_498));
    let requests = world.take_total();
    assert!(requests <= 4 + 2 * 3, "{requests}");
    assert_eq!(world.keys().len(), 3, "the first, the newest, the state");
    // Nothing is left to do, and that is cheap.
    trim(&world, Keep::Records(1));
    assert!(world.take_total() <= 4);
}

#[test]
fn nothing_younger_than_the_grace_period_is_trimmed() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..3);
    world.advance_ms(HOUR_MS);
    fill(&world, &writer, 3..6);
    let report = trim(&world, Keep::Records(1));
    assert_eq!(report.first_kept.offset, 3);
    assert_eq!(report.limited_by, TrimLimit::Grace);
    let report = trim(&world, Keep::Start(1));
    assert_eq!(report.first_kept.offset, 3, "the watermark never goes back");
}

#[test]
fn scenario_04_a_lost_reply_whose_slot_was_trimmed_is_never_appended_again() {
    for producer in [true, false] {
        let world = World::new();
        let (writer, other) = (world.instance(), world.instance());
        fill(&world, &other, 0..1);
        let records = batch("1");
        let options = if producer { produced("p", 0) } else { SHARED };
        let mut op = world.start(writer.append("l", &records, &options));
        let put = op.serve_until("PUT");
        world.apply(&put);
        fill(&world, &other, 2..5);
        world.advance_ms(2 * HOUR_MS);
        assert_eq!(trim(&world, Keep::Start(4)).first_kept.offset, 4);
        op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
            "reset".to_owned(),
        ))));
        let outcome = op.finish().unwrap();
        assert!(
            matches!(outcome, AppendOutcome::Indeterminate(_)),
            "{outcome:?}"
        );
        // With a producer, the next attempt learns the offsets.
        if producer {
            assert_eq!(
                world.run(writer.append("l", &records, &options)).unwrap(),
                appended(1, 2)
            );
        }
        assert_eq!(bodies(read(&world, 4)), ["4"]);
    }
}

#[test]
fn scenario_04_another_object_in_the_trimmed_slot_tells_nothing_about_an_own_attempt() {
    let world = World::new();
    let (writer, late, other) = (world.instance(), world.instance(), world.instance());
    fill(&world, &other, 0..1);
    let (records, of_late) = (batch("1"), batch("late"));
    let mut op = world.start(writer.append("l", &records, &SHARED));
    let put = op.serve_until("PUT");
    let mut op_late = world.start(late.append("l", &of_late, &SHARED));
    op_late.serve_until("PUT");
    world.apply(&put);
    fill(&world, &other, 2..5);
    world.advance_ms(2 * HOUR_MS);
    assert_eq!(trim(&world, Keep::Start(4)).first_kept.offset, 4);
    // The late one puts its batch where the first one has been, in vain.
    op_late.serve();
    assert!(world.object(&key(1)).is_some());
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    let outcome = op.finish().unwrap();
    assert!(
        matches!(outcome, AppendOutcome::Indeterminate(_)),
        "{outcome:?}"
    );
    assert_eq!(bodies(read(&world, 4)), ["4"]);
}

#[test]
fn scenario_06_a_copy_that_arrives_after_a_trim_is_invisible() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..2);
    let records = batch("2");
    let mut op = world.start(writer.append("l", &records, &SHARED));
    let put = op.serve_until("PUT");
    op.serve();
    assert_eq!(op.finish().unwrap(), appended(2, 3));
    fill(&world, &writer, 3..6);
    // A reader stands at the segment that is trimmed next.
    let ReadOutcome::Records(_, cursor) = world
        .run(world.instance().read("l", Cursor::at(0), model::log::two()))
        .unwrap()
    else {
        panic!("nothing is trimmed yet");
    };
    assert_eq!(cursor.slot, Some(Slot(2)));
    world.advance_ms(2 * HOUR_MS);
    assert_eq!(trim(&world, Keep::Start(5)).first_kept.offset, 5);
    assert!(matches!(
        world.apply(&put),
        Answer::Put(Ok(PutOutcome::Written { .. }))
    ));
    for cursor in [
        cursor,
        Cursor::at(2),
        Cursor {
            slot: Some(Slot(2)),
            ..Cursor::at(2)
        },
    ] {
        let outcome = world.run(world.instance().read("l", cursor, ALL)).unwrap();
        assert!(
            matches!(outcome, ReadOutcome::Trimmed(kept) if kept.offset == 5),
            "{cursor:?}: {outcome:?}"
        );
    }
    assert_eq!(world.run(world.instance().tail("l")).unwrap().offset, 6);
    // The next trim collects it.
    let report = trim(&world, Keep::Start(5));
    assert_eq!(
        (report.deleted, world.object(&key(2)).is_some()),
        (1, false)
    );
}

/// A writer that knows slot n as the next, sleeps until n is filled and trimmed,
/// and wakes up to find it empty.
fn sleeper(pause_ms: u64, tells_time: bool, options: &AppendOptions) -> (World, AppendOutcome) {
    let world = World::new();
    let (writer, other) = (world.instance(), world.instance());
    fill(&world, &other, 0..3);
    let records = batch("mine");
    let mut op = world.start(writer.append("l", &records, options));
    op.serve_until("PUT");
    fill(&world, &other, 3..6);
    world.advance_ms(pause_ms);
    trim(&world, Keep::Start(5));
    world.0.borrow_mut().tells_time = tells_time;
    assert_eq!(op.serve().kind(), "PUT");
    let outcome = op.finish().unwrap();
    world.0.borrow_mut().tells_time = true;
    (world, outcome)
}

#[test]
fn scenario_07_a_writer_that_slept_through_a_trim_appends_at_the_true_tail() {
    let (world, outcome) = sleeper(2 * HOUR_MS, true, &SHARED);
    assert_eq!(outcome, appended(6, 7));
    assert_eq!(bodies(read(&world, 5)), ["5", "mine"]);
}

#[test]
fn scenario_07_without_the_stores_time_the_caller_is_told() {
    let (world, outcome) = sleeper(2 * HOUR_MS, false, &SHARED);
    assert!(
        matches!(outcome, AppendOutcome::Indeterminate(_)),
        "{outcome:?}"
    );
    assert_eq!(bodies(read(&world, 5)), ["5"]);
}

#[test]
fn scenario_07_a_producer_finds_out_what_happened() {
    let (world, outcome) = sleeper(2 * HOUR_MS, false, &produced("p", 0));
    assert!(
        matches!(outcome, AppendOutcome::Indeterminate(_)),
        "{outcome:?}"
    );
    let again = world.instance();
    assert_eq!(
        world
            .run(again.append("l", &batch("mine"), &produced("p", 0)))
            .unwrap(),
        appended(6, 7)
    );
    assert_eq!(bodies(read(&world, 5)), ["5", "mine"]);
}

#[test]
fn scenario_08_a_pause_behind_the_stores_answer_changes_nothing() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..3);
    let records = batch("3");
    let mut op = world.start(writer.append("l", &records, &SHARED));
    let put = op.serve_until("PUT");
    let answer = world.apply(&put);
    world.advance_ms(5 * HOUR_MS);
    world.take_counts();
    op.answer(answer);
    assert_eq!(
        op.done().unwrap(),
        appended(3, 4),
        "without another request"
    );
    assert_eq!(offsets(read(&world, 0)), [0, 1, 2, 3]);
}

#[test]
fn scenario_09_no_clock_of_the_instance_matters() {
    // The instance's monotonic clock stands still in its sleep, and it has no other.
    let world = World::new();
    let (writer, other) = (world.instance(), world.instance());
    fill(&world, &other, 0..3);
    let records = batch("mine");
    let mut op = world.start(writer.append("l", &records, &SHARED));
    op.serve_until("PUT");
    fill(&world, &other, 3..6);
    world.advance_ms(2 * HOUR_MS);
    trim(&world, Keep::Start(5));
    let answer = {
        let request = op.request().unwrap();
        world.apply(&request)
    };
    op.answer(answer);
    assert_eq!(op.finish().unwrap(), appended(6, 7));
}

#[test]
fn scenario_15_a_claim_that_falls_into_a_trimmed_slot_does_not_lead() {
    let world = World::new();
    let (candidate, other) = (world.instance(), world.instance());
    fill(&world, &other, 0..3);
    let mut op = world.start(candidate.claim("l", Epoch(7)));
    op.serve_until("PUT");
    fill(&world, &other, 3..5);
    world.run(other.claim("l", Epoch(9))).unwrap();
    world
        .run(other.append("l", &batch("5"), &fenced(9)))
        .unwrap();
    world.advance_ms(2 * HOUR_MS);
    trim(&world, Keep::Start(5));
    assert_eq!(op.finish().unwrap(), AppendOutcome::Fenced(Epoch(9)));
    assert_eq!(bodies(read(&world, 5)), ["5"]);
}

#[test]
fn scenario_22_a_reader_that_is_overtaken_by_a_trim_learns_the_first_record_kept() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..6);
    let reader = world.instance();
    let ReadOutcome::Records(_, cursor) = world
        .run(reader.read("l", Cursor::at(0), model::log::two()))
        .unwrap()
    else {
        panic!("nothing is trimmed yet");
    };
    world.advance_ms(2 * HOUR_MS);
    trim(&world, Keep::Start(4));
    for reader in [reader, world.instance()] {
        let outcome = world.run(reader.read("l", cursor, ALL)).unwrap();
        assert!(
            matches!(outcome, ReadOutcome::Trimmed(kept) if kept.offset == 4),
            "{outcome:?}"
        );
    }
}

#[test]
fn scenario_23_a_reader_at_the_tail_that_sleeps_through_a_trim_learns_of_it() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..3);
    let reader = world.instance();
    let tail = world.run(reader.tail("l")).unwrap();
    let ReadOutcome::Records(entries, cursor) = world.run(reader.read("l", tail, ALL)).unwrap()
    else {
        panic!("nothing is trimmed yet");
    };
    assert!(entries.is_empty());
    fill(&world, &writer, 3..6);
    world.advance_ms(2 * HOUR_MS);
    trim(&world, Keep::Start(5));
    for reader in [reader, world.instance()] {
        let outcome = world.run(reader.read("l", cursor, ALL)).unwrap();
        assert!(
            matches!(outcome, ReadOutcome::Trimmed(kept) if kept.offset == 5),
            "{outcome:?}"
        );
    }
}

#[test]
fn scenario_23_an_instance_that_sleeps_through_a_trim_finds_the_true_tail() {
    let world = World::new();
    let sleepy = world.instance();
    fill(&world, &sleepy, 0..3);
    fill(&world, &world.instance(), 3..6);
    world.advance_ms(2 * HOUR_MS);
    trim(&world, Keep::Start(5));
    assert!(world.object(&key(3)).is_none());
    assert_eq!(world.run(sleepy.tail("l")).unwrap().offset, 6);
}

#[test]
fn scenario_23_what_is_put_into_a_trimmed_slot_between_listing_and_look_is_not_the_tail() {
    let world = World::new();
    let (late, asker, other) = (world.instance(), world.instance(), world.instance());
    fill(&world, &other, 0..3);
    let (options, records) = (produced("p", 0), batch("late"));
    let mut op_late = world.start(late.append("l", &records, &options));
    op_late.serve_until("PUT");
    fill(&world, &other, 3..4);
    // Slot 3 is listed as the newest, and then trimmed, and then filled again.
    let mut op_tail = world.start(asker.tail("l"));
    op_tail.serve_until("GET");
    fill(&world, &other, 4..8);
    world.advance_ms(2 * HOUR_MS);
    trim(&world, Keep::Start(7));
    op_late.serve();
    assert!(world.object(&key(3)).is_some());
    let answer = op_tail.finish();
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
}

#[test]
fn a_reader_at_the_tail_polls_with_one_request_for_as_long_as_absence_is_proof() {
    let world = World::new();
    fill(&world, &world.instance(), 0..3);
    let mut cursor = world.run(world.instance().tail("l")).unwrap();
    for minute in 0..180 {
        world.take_counts();
        let ReadOutcome::Records(entries, next) =
            world.run(world.instance().read("l", cursor, ALL)).unwrap()
        else {
            panic!("nothing is trimmed");
        };
        assert!(entries.is_empty());
        let requests = world.take_total();
        assert!(
            requests == 1 || (minute % 50 == 0 && requests == 3),
            "minute {minute}: {requests}"
        );
        cursor = next;
        world.advance_ms(60_000);
    }
}

#[test]
fn scenario_56_what_stands_in_a_trimmed_slot_does_not_refresh_a_losers_knowledge() {
    // Two writers sleep with slot 3 as the next. Both wake up behind a trim. The
    // first fills slot 3 again, in vain. The second meets it there, and must not
    // believe that slot 4 was empty a moment ago.
    let world = World::new();
    let (first, second, other) = (world.instance(), world.instance(), world.instance());
    fill(&world, &other, 0..3);
    let (one, two) = (batch("one"), batch("two"));
    let options = produced("p", 0);
    let mut op_first = world.start(first.append("l", &one, &options));
    op_first.serve_until("PUT");
    let mut op_second = world.start(second.append("l", &two, &options));
    op_second.serve_until("PUT");
    fill(&world, &other, 3..8);
    world.advance_ms(2 * HOUR_MS);
    trim(&world, Keep::Start(7));
    op_first.serve();
    assert!(world.object(&key(3)).is_some(), "the slot was filled again");
    op_second.serve();
    assert!(world.object(&key(4)).is_none());
    // Nor may it take the producer's batch there for its own.
    assert_eq!(op_second.finish().unwrap(), appended(8, 9));
    assert_eq!(bodies(read(&world, 7)), ["7", "two"]);
    // The first is told the same, since it is the same batch of the same producer.
    assert_eq!(op_first.finish().unwrap(), appended(8, 9));
    assert_eq!(bodies(read(&world, 7)), ["7", "two"]);
}

/// Serves one request at a front end whose clock differs from true time.
fn serve_with_clock(world: &World, skew_ms: i64, op: &mut model::Op<'_, impl Sized>) {
    let true_ms = world.0.borrow().now_ms;
    world.0.borrow_mut().now_ms = true_ms.saturating_add_signed(skew_ms);
    op.serve();
    world.0.borrow_mut().now_ms = true_ms;
}

#[test]
fn scenario_58_front_ends_whose_clocks_disagree_within_the_margin_do_no_harm() {
    let world = World::new();
    let (writer, other, trimmer) = (world.instance(), world.instance(), world.instance());
    let grace = Grace {
        period_ms: 10_000,
        margin_ms: 2_000,
    };
    world.run(other.create("l", grace)).unwrap();
    fill(&world, &other, 0..2);
    // The writer learns from a fast clock that slot 3 is empty.
    let records = batch("mine");
    let mut op = world.start(writer.append("l", &records, &SHARED));
    op.serve_until("LIST");
    serve_with_clock(&world, 1_000, &mut op);
    op.serve_until("PUT");
    // A slow clock tells when it was filled.
    world.advance_ms(100);
    let two = batch("2");
    let mut fills = world.start(other.append("l", &two, &SHARED));
    fills.serve_until("PUT");
    serve_with_clock(&world, -1_000, &mut fills);
    assert_eq!(fills.finish().unwrap(), appended(2, 3));
    fill(&world, &other, 3..4);
    // A fast clock makes it old enough to go.
    world.advance_ms(9_100);
    let mut trims = world.start(trimmer.trim("l", Keep::Start(3)));
    while trims.request().is_some() {
        serve_with_clock(&world, 1_000, &mut trims);
    }
    assert_eq!(trims.finish().unwrap().first_kept.offset, 3);
    assert!(world.object(&key(3)).is_none());
    // A slow clock tells when the writer's own was accepted.
    world.advance_ms(100);
    serve_with_clock(&world, -1_000, &mut op);
    assert_eq!(op.finish().unwrap(), appended(4, 5));
    assert_eq!(bodies(read(&world, 3)), ["3", "mine"]);
}

#[test]
fn scenario_58_a_clock_that_is_far_off_is_not_believed() {
    let world = World::new();
    let (writer, other) = (world.instance(), world.instance());
    fill(&world, &other, 0..3);
    let records = batch("mine");
    let mut op = world.start(writer.append("l", &records, &SHARED));
    op.serve_until("LIST");
    serve_with_clock(&world, 24 * 3_600_000, &mut op);
    op.serve_until("PUT");
    fill(&world, &other, 3..6);
    world.advance_ms(2 * HOUR_MS);
    trim(&world, Keep::Start(5));
    assert_eq!(op.finish().unwrap(), appended(6, 7));
    assert_eq!(bodies(read(&world, 5)), ["5", "mine"]);
}

#[test]
fn scenario_57_a_writer_that_saw_no_log_long_ago_cannot_re_open_its_first_slot() {
    let world = World::new();
    let (writer, other) = (world.instance(), world.instance());
    let records = batch("mine");
    let mut op = world.start(writer.append("l", &records, &SHARED));
    op.serve_until("PUT");
    let grace = Grace {
        period_ms: 1_000,
        margin_ms: 0,
    };
    assert_eq!(
        world.run(other.create("l", grace)).unwrap(),
        CreateOutcome::Created
    );
    fill(&world, &other, 0..3);
    // Far less than the default grace, but more than the log's own.
    world.advance_ms(2_000);
    trim(&world, Keep::Records(1));
    assert!(world.object(&key(1)).is_none());
    assert_eq!(op.finish().unwrap(), appended(3, 4));
    assert_eq!(bodies(read(&world, 2)), ["2", "mine"]);
}

#[test]
fn scenario_46_a_trim_that_resumes_a_day_later_deletes_nothing_live() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..6);
    world.advance_ms(2 * HOUR_MS);
    let sleepy = world.instance();
    let mut op = world.start(sleepy.trim("l", Keep::Start(4)));
    op.serve_until("DELETE");
    fill(&world, &writer, 6..9);
    world.advance_ms(24 * HOUR_MS);
    trim(&world, Keep::Start(7));
    fill(&world, &writer, 9..11);
    op.finish().unwrap();
    assert_eq!(offsets(read(&world, 7)), [7, 8, 9, 10]);
}

#[test]
fn two_trims_at_once_end_at_the_higher_watermark() {
    let world = World::new();
    fill(&world, &world.instance(), 0..8);
    world.advance_ms(2 * HOUR_MS);
    let (a, b) = (world.instance(), world.instance());
    let mut op_a = world.start(a.trim("l", Keep::Start(3)));
    let mut op_b = world.start(b.trim("l", Keep::Start(6)));
    op_a.serve_until("PUT");
    op_b.serve_until("PUT");
    op_b.serve();
    op_a.serve();
    let (report_a, report_b) = (op_a.finish().unwrap(), op_b.finish().unwrap());
    assert_eq!(report_b.first_kept.offset, 6);
    assert_eq!(
        report_a.first_kept.offset, 6,
        "a lower watermark is never written"
    );
    assert_eq!(offsets(read(&world, 6)), [6, 7]);
}

#[test]
fn a_trim_whose_reply_is_lost_is_resolved() {
    let world = World::new();
    fill(&world, &world.instance(), 0..5);
    world.advance_ms(2 * HOUR_MS);
    let trimmer = world.instance();
    let mut op = world.start(trimmer.trim("l", Keep::Start(3)));
    let put = op.serve_until("PUT");
    world.apply(&put);
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    let report = op.finish().unwrap();
    assert_eq!((report.first_kept.offset, report.deleted), (3, 2));
}

#[test]
fn pins_hold_a_trim_back_until_they_expire() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..6);
    world.advance_ms(2 * HOUR_MS);
    let reader = world.instance();
    let pinned = world
        .run(reader.pin("l", "r1", Cursor::at(2), 60_000))
        .unwrap();
    let until = StoreTime {
        unix_ms: world.now().unix_ms + 60_000,
    };
    assert_eq!(pinned, PinOutcome::Pinned(until));
    let report = trim(&world, Keep::Start(5));
    assert_eq!(report.first_kept.offset, 2);
    assert_eq!(report.limited_by, TrimLimit::Pin("r1".to_owned()));
    let late = world
        .run(reader.pin("l", "r2", Cursor::at(1), 60_000))
        .unwrap();
    assert!(
        matches!(late, PinOutcome::Trimmed(kept) if kept.offset == 2),
        "what is trimmed cannot be pinned: {late:?}"
    );
    world.advance_ms(60_000);
    assert_eq!(trim(&world, Keep::Start(4)).first_kept.offset, 4);
    assert!(world.run(reader.pins("l")).unwrap().is_empty());
    // A pin moves, at the tail as well, and goes on request.
    world
        .run(reader.pin("l", "r1", Cursor::at(4), 60_000))
        .unwrap();
    let tail = world.run(reader.tail("l")).unwrap();
    world.run(reader.pin("l", "r1", tail, 60_000)).unwrap();
    let pins = world.run(reader.pins("l")).unwrap();
    assert_eq!((pins.len(), pins[0].offset), (1, 6));
    world.run(reader.unpin("l", "r1")).unwrap();
    world.run(reader.unpin("l", "r1")).unwrap();
    assert!(world.run(reader.pins("l")).unwrap().is_empty());
}

#[test]
fn a_pin_and_a_trim_at_once_never_pass_each_other() {
    for pin_first in [true, false] {
        let world = World::new();
        fill(&world, &world.instance(), 0..6);
        world.advance_ms(2 * HOUR_MS);
        let (reader, trimmer) = (world.instance(), world.instance());
        let mut pin = world.start(reader.pin("l", "r", Cursor::at(2), 60_000));
        let mut trim = world.start(trimmer.trim("l", Keep::Start(5)));
        pin.serve_until("PUT");
        trim.serve_until("PUT");
        if pin_first {
            pin.serve();
            assert_eq!(trim.finish().unwrap().first_kept.offset, 2);
            assert!(matches!(pin.done().unwrap(), PinOutcome::Pinned(_)));
            assert_eq!(offsets(read(&world, 2)), [2, 3, 4, 5]);
        } else {
            trim.serve();
            assert!(matches!(pin.finish().unwrap(), PinOutcome::Trimmed(_)));
            assert_eq!(trim.finish().unwrap().first_kept.offset, 5);
        }
    }
}

#[test]
fn on_a_store_without_time_every_append_checks_the_watermark_and_trims_need_no_age() {
    let world = World::new();
    world.0.borrow_mut().tells_time = false;
    let writer = world.instance();
    let grace = Grace {
        period_ms: 0,
        margin_ms: 0,
    };
    assert_eq!(
        world.run(writer.create("l", grace)).unwrap(),
        CreateOutcome::Created
    );
    fill(&world, &writer, 0..5);
    world.take_counts();
    fill(&world, &writer, 5..6);
    assert_eq!(world.take_total(), 2, "PUT and GET of the watermark");
    assert_eq!(trim(&world, Keep::Start(4)).first_kept.offset, 4);
    assert_eq!(offsets(read(&world, 4)), [4, 5]);
    fill(&world, &writer, 6..8);
    // With the default grace, such a store cannot trim, and says so.
    world.run(writer.append("m", &batch("a"), &SHARED)).unwrap();
    world.run(writer.append("m", &batch("b"), &SHARED)).unwrap();
    let result = world.run(writer.trim("m", Keep::Records(1)));
    assert!(matches!(result, Err(Error::Unsupported(_))), "{result:?}");
    let result = world.run(writer.pin("l", "r", Cursor::at(4), 60_000));
    assert!(matches!(result, Err(Error::Unsupported(_))), "{result:?}");
}

#[test]
fn settings_are_fixed_when_the_log_is_created() {
    let world = World::new();
    let grace = Grace {
        period_ms: 10_000,
        margin_ms: 1_000,
    };
    let other = Grace {
        period_ms: 20_000,
        margin_ms: 1_000,
    };
    let logs = world.instance();
    assert_eq!(
        world.run(logs.create("l", grace)).unwrap(),
        CreateOutcome::Created
    );
    assert_eq!(
        world.run(world.instance().create("l", other)).unwrap(),
        CreateOutcome::Exists(grace)
    );
    fill(&world, &world.instance(), 0..2);
    assert_eq!(
        world.run(world.instance().create("l", other)).unwrap(),
        CreateOutcome::Exists(grace)
    );
    // Two that create at once agree.
    let (a, b) = (world.instance(), world.instance());
    let mut op_a = world.start(a.create("m", grace));
    let mut op_b = world.start(b.create("m", other));
    op_a.serve_until("PUT");
    op_b.serve_until("PUT");
    op_b.serve();
    assert_eq!(op_b.done().unwrap(), CreateOutcome::Created);
    assert_eq!(op_a.finish().unwrap(), CreateOutcome::Exists(other));
}

#[test]
fn the_producer_table_survives_trims() {
    let world = World::new();
    let writer = world.instance();
    world
        .run(writer.append("l", &batch("0"), &produced("p", 0)))
        .unwrap();
    fill(&world, &writer, 1..6);
    world.advance_ms(2 * HOUR_MS);
    assert_eq!(trim(&world, Keep::Records(1)).first_kept.offset, 5);
    assert_eq!(
        world
            .run(world.instance().append("l", &batch("0"), &produced("p", 0)))
            .unwrap(),
        appended(0, 1)
    );
}
