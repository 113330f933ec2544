//! Goal: merging never loses, doubles, revives or hides a record, whoever sleeps or
//! dies at which step, and makes a long history cheap to read.
//!
//! Method: instances of the core on the model store of `tests/model`. What a merged
//! log answers is compared with what it answered before. Numbers in names are those
//! of `docs/SCENARIOS.md`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod model;

use std::rc::Rc;

use ifmatch::bucket::{PutOutcome, StoreTime};
use ifmatch::error::Error;
use ifmatch::log::{
    AppendOptions, AppendOutcome, Cursor, Entry, Keep, Logs, MergeOptions, MergeReport, PinOutcome,
    ReadLimit, ReadOutcome, TrimLimit, TrimReport,
};
use ifmatch::slots::Grace;
use ifmatch::token::Epoch;
use model::log::{ALL, appended, batch, fenced, produced};
use model::{Answer, HOUR_MS, ModelBucket, ModelEnv, Request, World};

type Instance = Rc<Logs<ModelBucket, ModelEnv>>;

const SHARED: AppendOptions = AppendOptions::SHARED;

/// Everything that may be merged.
const WHOLE: MergeOptions = MergeOptions {
    spare: Keep::Records(0),
    at_least: 1,
};

/// Everything before a record.
fn before(offset: u64) -> MergeOptions {
    MergeOptions {
        spare: Keep::Start(offset),
        at_least: 1,
    }
}

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

/// A log of so many records in as many segments, old enough to be merged.
fn filled(records: u64) -> World {
    let world = World::new();
    fill(&world, &world.instance(), 0..records);
    world.advance_ms(2 * HOUR_MS);
    world
}

fn merge(world: &World, options: &MergeOptions) -> MergeReport {
    world.run(world.instance().merge("l", options)).unwrap()
}

fn trim(world: &World, keep: Keep) -> TrimReport {
    world.run(world.instance().trim("l", keep)).unwrap()
}

/// What a fresh reader finds at a cursor.
fn read_at(world: &World, cursor: Cursor) -> ReadOutcome {
    world.run(world.instance().read("l", cursor, ALL)).unwrap()
}

fn read(world: &World, offset: u64) -> ReadOutcome {
    read_at(world, Cursor::at(offset))
}

/// Everything from a cursor to the tail, in reads of at most so many records.
fn entries(world: &World, reader: &Instance, start: Cursor, records: u32) -> Vec<Entry> {
    let limit = ReadLimit {
        records,
        bytes: 1 << 20,
    };
    let (mut all, mut cursor) = (Vec::new(), start);
    for _ in 0..100_000 {
        match world.run(reader.read("l", cursor, limit)).unwrap() {
            ReadOutcome::Records(entries, _) if entries.is_empty() => return all,
            ReadOutcome::Records(mut entries, next) => {
                all.append(&mut entries);
                cursor = next;
            }
            ReadOutcome::Trimmed(kept) => panic!("trimmed up to {kept:?}"),
        }
    }
    panic!("the log does not end");
}

fn whole(world: &World) -> Vec<Entry> {
    entries(world, &world.instance(), Cursor::at(0), 10_000)
}

/// Checks that the log holds one record for each number, whoever reads it how.
fn check_numbers(world: &World, numbers: std::ops::Range<u64>) {
    for cursor in [numbers.start, (numbers.start + numbers.end) / 2] {
        let found = entries(world, &world.instance(), Cursor::at(cursor), 10_000);
        let expected: Vec<u64> = (cursor..numbers.end).collect();
        let offsets: Vec<u64> = found.iter().map(|entry| entry.offset).collect();
        assert_eq!(offsets, expected);
        for entry in found {
            assert_eq!(entry.body, entry.offset.to_string().into_bytes());
        }
    }
}

/// The key of a slot of the log.
fn key(slot: u64) -> String {
    format!("log/l/_slot/{:016x}.{slot}", u64::MAX - slot)
}

fn pack_key(start: u64, end: u64, slot: u64) -> String {
    format!("log/l/_pack/{end:016x}.{start:016x}.{slot:016x}")
}

fn pack_keys(world: &World) -> Vec<String> {
    let mut keys = world.keys();
    keys.retain(|key| key.contains("_pack/"));
    keys
}

/// Cursors as readers had them in front of each segment.
fn cursors(world: &World, records: u64) -> Vec<Cursor> {
    let reader = world.instance();
    let one = ReadLimit {
        records: 1,
        bytes: 1_000,
    };
    let mut cursors = Vec::from([world.run(reader.tail("l")).unwrap()]);
    let mut cursor = Cursor::at(0);
    for _ in 0..records {
        match world.run(reader.read("l", cursor, one)).unwrap() {
            ReadOutcome::Records(_, next) => cursor = next,
            ReadOutcome::Trimmed(_) => panic!("nothing is trimmed yet"),
        }
        cursors.push(cursor);
    }
    cursors
}

#[test]
fn a_merged_log_reads_as_before_and_holds_few_objects() {
    let world = filled(2_500);
    let known = whole(&world);
    let report = merge(&world, &WHOLE);
    assert_eq!(
        report,
        MergeReport {
            merged_until: 2_499,
            packs: 3,
            segments: 2_499,
            deleted: 2_498,
            more: false,
        }
    );
    assert_eq!(
        world.keys().len(),
        6,
        "3 packs, the first, the newest, the state"
    );
    let again = whole(&world);
    assert_eq!(again, known, "offsets, bodies and the times of acceptance");
    fill(&world, &world.instance(), 2_500..2_510);
    check_numbers(&world, 0..2_510);
    // What was the newest is the only one that can be merged now. Then nothing is
    // left, and that is cheap.
    assert_eq!(merge(&world, &WHOLE).segments, 1);
    world.take_counts();
    assert_eq!(merge(&world, &WHOLE).packs, 0);
    assert!(world.take_total() <= 8);
}

#[test]
fn replaying_ten_thousand_segments_takes_a_hundredth_of_the_requests() {
    let world = filled(10_000);
    world.take_counts();
    let known = whole(&world);
    let before = world.take_total();
    let report = merge(&world, &WHOLE);
    assert_eq!((report.packs, report.more), (10, false));
    world.take_counts();
    let again = whole(&world);
    let after = world.take_total();
    assert!(again == known);
    assert!(
        after * 100 <= before,
        "{after} instead of {before} requests"
    );
}

#[test]
fn a_merge_costs_a_read_for_each_segment_and_a_few_requests_for_each_pack() {
    let world = filled(2_001);
    world.take_counts();
    assert_eq!(merge(&world, &WHOLE).packs, 2);
    let counts = world.take_counts();
    // For each pack the look before it is written and that at the change of state.
    assert!(counts["GET"] <= 2_000 + 2 + 1 + 2 * 2 + 1, "{counts:?}");
    assert!(counts["PUT"] <= 2 * 2 + 1, "{counts:?}");
    assert!(counts["LIST"] <= 2 + 3 + 3, "{counts:?}");
    assert!(counts["DELETE"] <= 2, "{counts:?}");
}

#[test]
fn a_cold_read_in_a_pack_takes_five_requests_and_a_resumed_one_six() {
    let world = filled(300);
    let cursors = cursors(&world, 299);
    merge(&world, &before(200));
    for offset in 0..300 {
        world.take_counts();
        let limit = ReadLimit {
            records: 1,
            bytes: 1_000,
        };
        let outcome = world
            .run(world.instance().read("l", Cursor::at(offset), limit))
            .unwrap();
        let ReadOutcome::Records(entries, _) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(entries[0].offset, offset);
        let requests = world.take_total();
        assert!(
            requests <= if offset < 200 { 5 } else { 14 },
            "{offset}: {requests}"
        );
    }
    for cursor in &cursors {
        world.take_counts();
        let outcome = read_at(&world, Cursor { ..*cursor });
        assert!(matches!(outcome, ReadOutcome::Records(..)), "{outcome:?}");
        if cursor.offset < 200 {
            let limit = 6 + (300 - 200) + 3;
            assert!(world.take_total() <= limit);
        }
    }
}

#[test]
fn a_reader_that_takes_a_few_records_at_a_time_reads_each_pack_once() {
    let world = filled(2_500);
    merge(&world, &WHOLE);
    let reader = world.instance();
    world.take_counts();
    let all = entries(&world, &reader, Cursor::at(0), 7);
    assert_eq!(all.len(), 2_500);
    let requests = world.take_total();
    assert!(requests <= 14, "{requests}");
}

#[test]
fn the_young_the_newest_and_what_is_spared_are_not_merged() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..4);
    world.advance_ms(HOUR_MS);
    fill(&world, &writer, 4..8);
    assert_eq!(merge(&world, &before(2)).merged_until, 2);
    assert_eq!(merge(&world, &WHOLE).merged_until, 4, "the grace period");
    world.advance_ms(HOUR_MS);
    assert_eq!(merge(&world, &WHOLE).merged_until, 7, "the newest");
    assert_eq!(
        pack_keys(&world),
        [pack_key(0, 2, 0), pack_key(2, 4, 2), pack_key(4, 7, 4)]
    );
    check_numbers(&world, 0..8);
}

#[test]
fn a_rest_that_is_too_small_stays_until_it_has_grown() {
    let world = filled(1_063);
    let often = MergeOptions {
        at_least: 64,
        ..WHOLE
    };
    assert_eq!(merge(&world, &often).merged_until, 1_000);
    fill(&world, &world.instance(), 1_063..1_065);
    world.advance_ms(2 * HOUR_MS);
    assert_eq!(merge(&world, &often).merged_until, 1_064);
    assert_eq!(pack_keys(&world).len(), 2);
    for at_least in [0, 1_001] {
        let result = world.run(
            world
                .instance()
                .merge("l", &MergeOptions { at_least, ..WHOLE }),
        );
        assert!(matches!(result, Err(Error::InvalidArgument(_))));
    }
}

#[test]
fn packs_have_a_bounded_size() {
    let world = World::new();
    let writer = world.instance();
    let sizes = [400_000, 500_000, 200_000, 3_000_000, 10, 20, 1_000_000, 30];
    for size in sizes {
        world
            .run(writer.append("l", &[vec![7; size]], &SHARED))
            .unwrap();
    }
    world.advance_ms(2 * HOUR_MS);
    let known = whole(&world);
    assert_eq!(merge(&world, &WHOLE).merged_until, 7);
    let starts = [(0, 2), (2, 3), (3, 4), (4, 7)];
    let expected = starts.map(|(start, end)| pack_key(start, end, start));
    assert_eq!(pack_keys(&world), expected);
    assert_eq!(whole(&world), known);
}

#[test]
fn one_call_does_a_bounded_amount_of_work() {
    let world = World::new();
    let writer = world.instance();
    for _ in 0..20 {
        world
            .run(writer.append("l", &[vec![7; 1 << 20]], &SHARED))
            .unwrap();
    }
    world.advance_ms(2 * HOUR_MS);
    let report = merge(&world, &WHOLE);
    assert_eq!(
        (report.packs, report.merged_until, report.more),
        (16, 16, true)
    );
    let report = merge(&world, &WHOLE);
    assert_eq!(
        (report.packs, report.merged_until, report.more),
        (3, 19, false)
    );
    assert_eq!(whole(&world).len(), 20);
}

#[test]
fn scenario_70_cursors_from_before_a_merge_go_on_without_a_gap() {
    let world = filled(30);
    let cursors = cursors(&world, 30);
    let follower = world.instance();
    // This one has read ahead into what is merged next.
    let some = entries(&world, &follower, Cursor::at(20), 1);
    assert_eq!(some.len(), 10);
    for end in [1, 10, 17, 29] {
        merge(&world, &before(end));
        for cursor in &cursors {
            for records in [1, 4, 10_000] {
                let found = entries(&world, &world.instance(), *cursor, records);
                let offsets: Vec<u64> = found.iter().map(|entry| entry.offset).collect();
                assert_eq!(offsets, (cursor.offset..30).collect::<Vec<_>>());
            }
        }
    }
    fill(&world, &world.instance(), 30..33);
    for cursor in cursors {
        assert_eq!(
            entries(&world, &follower, cursor, 10_000).len() as u64,
            33 - cursor.offset
        );
    }
}

#[test]
fn scenario_70_a_reader_that_a_merge_overtakes_in_mid_read_sees_no_gap() {
    // A merge of everything happens before each single request of a read.
    for step in 0..60 {
        let world = filled(40);
        let reader = world.instance();
        let mut op = world.start(reader.read("l", Cursor::at(3), ALL));
        for _ in 0..step {
            if op.request().is_some() {
                op.serve();
            }
        }
        merge(&world, &WHOLE);
        let ReadOutcome::Records(mut found, next) = op.finish().unwrap() else {
            panic!("nothing is trimmed");
        };
        found.append(&mut entries(&world, &reader, next, 10_000));
        let offsets: Vec<u64> = found.iter().map(|entry| entry.offset).collect();
        assert_eq!(offsets, (3..40).collect::<Vec<_>>(), "step {step}");
    }
}

/// Runs a merge up to a certain request, and either loses that request, or applies
/// it and loses the reply.
fn die_at(world: &World, step: usize, applied: bool) -> bool {
    let merger = world.instance();
    let options = before(11);
    let mut op = world.start(merger.merge("l", &options));
    for _ in 0..step {
        if op.request().is_none() {
            return false;
        }
        op.serve();
    }
    match op.request() {
        None => return false,
        Some(request) if applied => drop(world.apply(&request)),
        Some(_) => {}
    }
    true
}

#[test]
fn scenario_71_a_merge_that_dies_at_any_step_is_finished_by_the_next() {
    for applied in [false, true] {
        for step in 0..200 {
            let world = filled(13);
            let old = cursors(&world, 12);
            if !die_at(&world, step, applied) {
                assert!(step > 20, "{step}");
                break;
            }
            check_numbers(&world, 0..13);
            fill(&world, &world.instance(), 13..15);
            for cursor in &old {
                let found = entries(&world, &world.instance(), *cursor, 3);
                assert_eq!(found.len() as u64, 15 - cursor.offset, "step {step}");
            }
            let report = merge(&world, &before(11));
            assert_eq!((report.merged_until, report.more), (11, false));
            check_numbers(&world, 0..15);
            assert_eq!(pack_keys(&world), [pack_key(0, 11, 0)], "step {step}");
            assert_eq!(world.keys().len(), 4 + 3, "step {step}");
        }
    }
}

#[test]
fn scenario_72_two_merges_at_once_make_the_same_packs() {
    for first in 0..40 {
        for second in 0..30 {
            let world = filled(8);
            let (a, b) = (world.instance(), world.instance());
            let (part, rest) = (before(5), before(7));
            let mut op_a = world.start(a.merge("l", &part));
            for _ in 0..first {
                if op_a.request().is_some() {
                    op_a.serve();
                }
            }
            let mut op_b = world.start(b.merge("l", &rest));
            for _ in 0..second {
                if op_b.request().is_some() {
                    op_b.serve();
                }
            }
            op_a.finish().unwrap();
            check_numbers(&world, 0..8);
            assert_eq!(op_b.finish().unwrap().merged_until, 7);
            check_numbers(&world, 0..8);
            let keys = pack_keys(&world);
            let two = [pack_key(0, 5, 0), pack_key(5, 7, 5)];
            assert!(
                keys == two || keys == [pack_key(0, 7, 0)],
                "{first}, {second}: {keys:?}"
            );
        }
    }
}

#[test]
fn scenario_73_a_pack_that_arrives_late_is_harmless_and_goes_with_the_next_trim() {
    let world = filled(20);
    let sleepy = world.instance();
    let options = before(10);
    let mut op = world.start(sleepy.merge("l", &options));
    // Up to the pack itself, behind the change of state for the plan.
    op.serve_until("PUT");
    op.serve();
    let put = op.serve_until("PUT");
    assert_eq!(put.key(), pack_key(0, 10, 0));
    // A trim cuts into the planned run, so another run is merged.
    assert_eq!(trim(&world, Keep::Start(4)).first_kept.offset, 4);
    assert_eq!(merge(&world, &before(12)).merged_until, 12);
    assert_eq!(pack_keys(&world), [pack_key(4, 12, 4)]);
    // The first pack arrives: nothing in it is wrong, nothing below the watermark is
    // seen, and what is above is not doubled.
    op.serve();
    assert_eq!(pack_keys(&world).len(), 2);
    assert!(matches!(read(&world, 3), ReadOutcome::Trimmed(kept) if kept.offset == 4));
    check_numbers(&world, 4..20);
    op.finish().unwrap();
    check_numbers(&world, 4..20);
    // It is there again after everything in it has been trimmed.
    assert_eq!(trim(&world, Keep::Start(12)).first_kept.offset, 12);
    assert!(pack_keys(&world).is_empty());
    world.apply(&put);
    for offset in 0..12 {
        let outcome = read(&world, offset);
        assert!(
            matches!(outcome, ReadOutcome::Trimmed(kept) if kept.offset == 12),
            "{outcome:?}"
        );
    }
    check_numbers(&world, 12..20);
    assert_eq!(trim(&world, Keep::Start(12)).deleted, 1);
    assert!(pack_keys(&world).is_empty());
}

#[test]
fn scenario_74_a_writer_that_slept_through_a_merge_appends_at_the_true_tail() {
    let world = World::new();
    let (writer, other) = (world.instance(), world.instance());
    fill(&world, &other, 0..3);
    let records = batch("7");
    let mut op = world.start(writer.append("l", &records, &SHARED));
    op.serve_until("PUT");
    fill(&world, &other, 3..7);
    world.advance_ms(2 * HOUR_MS);
    merge(&world, &WHOLE);
    assert!(world.object(&key(3)).is_none());
    op.serve();
    assert!(world.object(&key(3)).is_some(), "the slot was filled again");
    for offset in [0, 2, 3, 4] {
        let found = entries(&world, &world.instance(), Cursor::at(offset), 2);
        assert_eq!(found.len() as u64, 7 - offset);
    }
    assert_eq!(op.finish().unwrap(), appended(7, 8));
    check_numbers(&world, 0..8);
    // A reader that stands there does not take the object for the record.
    let cursor = Cursor {
        slot: Some(ifmatch::keys::Slot(3)),
        ..Cursor::at(3)
    };
    let found = entries(&world, &world.instance(), cursor, 10);
    assert_eq!(found[0].body, b"3");
    // A later merge collects it.
    merge(&world, &WHOLE);
    assert!(world.object(&key(3)).is_none());
}

#[test]
fn scenario_74_a_reader_does_not_read_ahead_into_what_stands_in_merged_slots() {
    // Two writers that slept fill slots 3 and 4 again, where a pack ends and the next
    // begins. A reader that has come up to slot 3 meets both at once.
    let world = World::new();
    let (first, second, other) = (world.instance(), world.instance(), world.instance());
    fill(&world, &other, 0..3);
    let (one, two) = (batch("one"), batch("two"));
    let mut op_first = world.start(first.append("l", &one, &SHARED));
    op_first.serve_until("PUT");
    fill(&world, &other, 3..4);
    let mut op_second = world.start(second.append("l", &two, &SHARED));
    op_second.serve_until("PUT");
    fill(&world, &other, 4..9);
    let reader = world.instance();
    let one_record = ReadLimit {
        records: 1,
        bytes: 1_000,
    };
    let mut cursor = Cursor::at(0);
    for _ in 0..3 {
        match world.run(reader.read("l", cursor, one_record)).unwrap() {
            ReadOutcome::Records(_, next) => cursor = next,
            ReadOutcome::Trimmed(_) => panic!("nothing is trimmed"),
        }
    }
    world.advance_ms(2 * HOUR_MS);
    merge(&world, &before(4));
    merge(&world, &before(7));
    op_first.serve();
    op_second.serve();
    assert!(world.object(&key(3)).is_some() && world.object(&key(4)).is_some());
    let found = entries(&world, &reader, cursor, 10_000);
    let bodies: Vec<String> = found
        .into_iter()
        .map(|entry| String::from_utf8(entry.body).unwrap())
        .collect();
    assert_eq!(bodies, ["3", "4", "5", "6", "7", "8"]);
    assert_eq!(op_first.finish().unwrap(), appended(9, 10));
    assert_eq!(op_second.finish().unwrap(), appended(10, 11));
}

#[test]
fn scenario_75_a_merge_that_slept_does_not_pack_what_stands_in_merged_slots() {
    // The run is the one slot that a sleeping writer fills again, with two records
    // instead of one.
    let world = World::new();
    let (writer, other, sleepy) = (world.instance(), world.instance(), world.instance());
    fill(&world, &other, 0..3);
    let records = batch("bogus bogus");
    let mut late = world.start(writer.append("l", &records, &SHARED));
    late.serve_until("PUT");
    fill(&world, &other, 3..6);
    world.advance_ms(2 * HOUR_MS);
    merge(&world, &before(3));
    let options = before(4);
    let mut op = world.start(sleepy.merge("l", &options));
    op.serve_until("PUT");
    op.serve();
    let get = op.serve_until("GET");
    assert_eq!(get.key(), key(3));
    // Others finish the plan, and the writer wakes up.
    merge(&world, &before(4));
    late.serve();
    assert!(world.object(&key(3)).is_some());
    op.finish().unwrap();
    assert_eq!(pack_keys(&world), [pack_key(0, 3, 0), pack_key(3, 4, 3)]);
    check_numbers(&world, 0..6);
    assert_eq!(late.finish().unwrap(), appended(6, 8));
}

#[test]
fn scenario_76_a_trim_at_any_step_of_a_merge_leaves_what_it_should() {
    for cut in [3, 8, 11] {
        for step in 0..60 {
            let world = filled(14);
            let merger = world.instance();
            let options = before(10);
            let mut op = world.start(merger.merge("l", &options));
            for _ in 0..step {
                if op.request().is_some() {
                    op.serve();
                }
            }
            let report = trim(&world, Keep::Start(cut));
            assert_eq!(report.first_kept.offset, cut);
            check_numbers(&world, cut..14);
            op.finish().unwrap();
            check_numbers(&world, cut..14);
            for offset in 0..cut {
                let outcome = read(&world, offset);
                assert!(
                    matches!(outcome, ReadOutcome::Trimmed(kept) if kept.offset == cut),
                    "cut {cut}, step {step}: {outcome:?}"
                );
            }
            merge(&world, &WHOLE);
            check_numbers(&world, cut..14);
            assert_eq!(trim(&world, Keep::Records(0)).first_kept.offset, 13);
            assert_eq!(pack_keys(&world), [""; 0], "cut {cut}, step {step}");
        }
    }
}

/// A log of batches of several sizes and ages, with claims between them.
fn varied() -> World {
    let world = World::new();
    let writer = world.instance();
    for number in 0..40_u64 {
        world.advance_ms(number % 3 * 60_000);
        let text = vec!["word"; 1 + number as usize % 3].join(" ");
        let epoch = 1 + number / 10;
        if number % 10 == 0 {
            world.run(writer.claim("l", Epoch(epoch))).unwrap();
        }
        let outcome = world
            .run(writer.append("l", &batch(&text), &fenced(epoch)))
            .unwrap();
        assert!(matches!(outcome, AppendOutcome::Appended(_)), "{outcome:?}");
    }
    world.advance_ms(2 * HOUR_MS);
    world
}

/// Merges in three steps, so that there are packs of several sizes.
fn varied_and_merged() -> World {
    let world = varied();
    for end in [13, 40, 60] {
        merge(&world, &before(end));
    }
    assert_eq!(pack_keys(&world).len(), 3);
    world
}

#[test]
fn a_merged_log_is_trimmed_as_if_it_were_not() {
    let end = whole(&varied()).len() as u64;
    let mut keeps = Vec::new();
    for number in 0..=end + 1 {
        keeps.push(Keep::Start(number));
        keeps.push(Keep::Records(number));
        keeps.push(Keep::AgeMs(2 * HOUR_MS + number * 30_000));
    }
    for keep in keeps {
        let (plain, packed) = (varied(), varied_and_merged());
        let expected = trim(&plain, keep);
        let found = trim(&packed, keep);
        assert_eq!(found.limited_by, expected.limited_by, "{keep:?}");
        let first = expected.first_kept.offset;
        assert_eq!(found.first_kept.offset, first, "{keep:?}");
        // Readers learn the same, from wherever they come.
        if first > 0 {
            for offset in [0, first - 1] {
                let outcome = read(&packed, offset);
                assert!(
                    matches!(outcome, ReadOutcome::Trimmed(kept) if kept.offset == first),
                    "{keep:?}: {outcome:?}"
                );
            }
        }
        let (expected, found) = (read(&plain, first), read_at(&packed, found.first_kept));
        let (ReadOutcome::Records(expected, _), ReadOutcome::Records(found, _)) = (expected, found)
        else {
            panic!("{keep:?}");
        };
        assert_eq!(found, expected, "{keep:?}");
        for key in pack_keys(&packed) {
            let name = key.strip_prefix("log/l/_pack/").unwrap();
            let end = u64::from_str_radix(name.split('.').next().unwrap(), 16).unwrap();
            assert!(end > first, "{key} holds nothing that is kept");
        }
    }
}

#[test]
fn a_merged_log_is_trimmed_to_a_number_of_bytes() {
    // Of those with records; a claim has the same base offset as what follows.
    let sizes: Vec<(u64, u64)> = {
        let world = varied();
        let keys = world.keys();
        let slots = keys.iter().filter(|key| key.contains("_slot/"));
        let mut sizes: Vec<(u64, u64)> = slots
            .filter_map(|key| {
                let body = world.object(key).unwrap().body;
                let header = ifmatch::log::Segment::decode(body.clone()).unwrap().header;
                (header.record_count > 0).then_some((header.base_offset, body.len() as u64))
            })
            .collect();
        sizes.sort_unstable();
        sizes
    };
    let all: u64 = sizes.iter().map(|(_, size)| size).sum();
    for bytes in (0..all + 2_000).step_by(97) {
        let packed = varied_and_merged();
        let first = trim(&packed, Keep::Bytes(bytes)).first_kept.offset;
        // Headers of packs count as well, which is at most this much.
        let overhead = 3 * 200 + 20 * 60 + 4 * 200;
        let above: u64 = sizes
            .iter()
            .filter(|(base, _)| *base >= first)
            .map(|(_, size)| size)
            .sum();
        let newest = sizes.last().unwrap();
        assert!(
            above <= bytes || first == newest.0,
            "{bytes}: {above} from {first}"
        );
        assert!(
            above + overhead + newest.1 + 500 >= bytes.min(all),
            "{bytes}: {above}"
        );
    }
}

#[test]
fn a_merged_log_is_searched_by_time_as_if_it_were_not() {
    let (plain, packed) = (varied(), varied_and_merged());
    let times: Vec<u64> = whole(&plain)
        .iter()
        .map(|entry| entry.appended_at.unwrap().unix_ms)
        .collect();
    for unix_ms in times
        .iter()
        .flat_map(|time| [time - 1, *time, time + 1])
        .chain([0, u64::MAX])
    {
        let time = StoreTime { unix_ms };
        let expected = plain.run(plain.instance().locate("l", time)).unwrap();
        packed.take_counts();
        let found = packed.run(packed.instance().locate("l", time)).unwrap();
        let requests = packed.take_total();
        assert!(requests <= 10, "{requests}");
        assert_eq!(found.offset, expected.offset, "{unix_ms}");
        let (ReadOutcome::Records(expected, _), ReadOutcome::Records(found, _)) =
            (read_at(&plain, expected), read_at(&packed, found))
        else {
            panic!("nothing is trimmed");
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn scenario_70_a_reader_that_a_merge_overtakes_among_claims_goes_on() {
    let world = World::new();
    let writer = world.instance();
    fill(&world, &writer, 0..1);
    for epoch in 1..4 {
        world.run(writer.claim("l", Epoch(epoch))).unwrap();
    }
    for offset in 1..3 {
        let outcome = world.run(writer.append("l", &batch("x"), &fenced(3)));
        assert_eq!(outcome.unwrap(), appended(offset, offset + 1));
    }
    world.advance_ms(2 * HOUR_MS);
    // Behind the first claim, the reader has seen no record.
    let reader = world.instance();
    let cursor = Cursor {
        slot: Some(ifmatch::keys::Slot(1)),
        ..Cursor::at(1)
    };
    let mut op = world.start(reader.read("l", cursor, ALL));
    while op.serve().key() != key(1) {}
    assert!(
        op.serve().key().ends_with("_state"),
        "nothing is merged yet"
    );
    merge(&world, &before(2));
    assert!(world.object(&key(2)).is_none());
    let outcome = op.finish().unwrap();
    assert!(
        matches!(&outcome, ReadOutcome::Records(entries, _) if entries[0].offset == 1),
        "{outcome:?}"
    );
}

#[test]
fn a_search_by_time_finds_nothing_that_was_trimmed_out_of_a_pack() {
    let world = varied_and_merged();
    let times: Vec<StoreTime> = whole(&world)
        .iter()
        .map(|entry| entry.appended_at.unwrap())
        .collect();
    let kept = trim(&world, Keep::Start(30)).first_kept.offset;
    assert_eq!((kept, pack_keys(&world).len()), (30, 2));
    for time in times {
        let found = world.run(world.instance().locate("l", time)).unwrap();
        assert!(found.offset >= kept, "{} of {kept}", found.offset);
    }
}

#[test]
fn pins_hold_trims_back_in_merged_logs() {
    for offset in 0..60 {
        let world = varied_and_merged();
        let reader = world.instance();
        let pinned = world
            .run(reader.pin("l", "r", Cursor::at(offset), 60_000))
            .unwrap();
        assert!(matches!(pinned, PinOutcome::Pinned(_)), "{pinned:?}");
        let report = trim(&world, Keep::Records(1));
        assert!(report.first_kept.offset <= offset);
        assert!(
            report.first_kept.offset + 3 > offset,
            "a whole segment at most"
        );
        assert_eq!(report.limited_by, TrimLimit::Pin("r".to_owned()));
        let found = entries(&world, &world.instance(), Cursor::at(offset), 10);
        assert_eq!(found[0].offset, offset);
        // A merge moves what a pin points to, and the pin still holds.
        merge(&world, &WHOLE);
        assert!(trim(&world, Keep::Records(1)).first_kept.offset <= offset);
        if report.first_kept.offset > 0 {
            let late = report.first_kept.offset - 1;
            let late = world.run(reader.pin("l", "s", Cursor::at(late), 60_000));
            assert!(matches!(late, Ok(PinOutcome::Trimmed(_))), "{late:?}");
        }
    }
}

#[test]
fn a_pin_that_was_set_before_a_merge_holds_after_it() {
    let world = filled(12);
    let cursors = cursors(&world, 11);
    let reader = world.instance();
    world
        .run(reader.pin("l", "r", cursors[5], HOUR_MS as u32))
        .unwrap();
    let offset = cursors[5].offset;
    merge(&world, &WHOLE);
    let report = trim(&world, Keep::Records(1));
    assert_eq!(report.first_kept.offset, offset);
    check_numbers(&world, offset..12);
}

#[test]
fn runs_of_claims_alone_are_merged_as_well() {
    let world = World::new();
    let writer = world.instance();
    world.run(writer.append("l", &batch("0"), &SHARED)).unwrap();
    for epoch in 1..6 {
        world.run(writer.claim("l", Epoch(epoch))).unwrap();
    }
    world
        .run(writer.append("l", &batch("1"), &fenced(5)))
        .unwrap();
    world
        .run(writer.append("l", &batch("2"), &fenced(5)))
        .unwrap();
    world.advance_ms(2 * HOUR_MS);
    let old = cursors(&world, 3);
    let slot = |slot| Cursor {
        slot: Some(ifmatch::keys::Slot(slot)),
        ..Cursor::at(1)
    };
    // Each claim in a pack of its own: they have no records, so all end at 1.
    for _ in 0..2 {
        let sleepy = world.instance();
        let mut op = world.start(sleepy.merge("l", &WHOLE));
        op.serve_until("PUT");
    }
    merge(&world, &before(1));
    merge(&world, &WHOLE);
    for cursor in old.into_iter().chain((0..6).map(slot)) {
        let found = entries(&world, &world.instance(), cursor, 1);
        assert_eq!(found.len() as u64, 3 - cursor.offset);
    }
    check_numbers(&world, 0..3);
    assert_eq!(trim(&world, Keep::Records(1)).first_kept.offset, 2);
    check_numbers(&world, 2..3);
}

#[test]
fn scenario_04_a_producer_finds_its_batch_although_its_slot_was_merged() {
    let world = World::new();
    let (writer, other) = (world.instance(), world.instance());
    fill(&world, &other, 0..1);
    let records = batch("1");
    let options = produced("p", 0);
    let mut op = world.start(writer.append("l", &records, &options));
    let put = op.serve_until("PUT");
    world.apply(&put);
    fill(&world, &other, 2..5);
    world.advance_ms(2 * HOUR_MS);
    merge(&world, &WHOLE);
    op.answer(Answer::Put(Ok(PutOutcome::Indeterminate(
        "reset".to_owned(),
    ))));
    let outcome = op.finish().unwrap();
    assert!(
        matches!(outcome, AppendOutcome::Indeterminate(_)),
        "{outcome:?}"
    );
    assert_eq!(
        world.run(writer.append("l", &records, &options)).unwrap(),
        appended(1, 2)
    );
    check_numbers(&world, 0..5);
}

#[test]
fn on_a_store_without_time_merges_need_no_age() {
    let world = World::new();
    world.0.borrow_mut().tells_time = false;
    let writer = world.instance();
    let grace = Grace {
        period_ms: 0,
        margin_ms: 0,
    };
    world.run(writer.create("l", grace)).unwrap();
    fill(&world, &writer, 0..5);
    assert_eq!(merge(&world, &WHOLE).merged_until, 4);
    check_numbers(&world, 0..5);
    fill(&world, &writer, 5..6);
    assert_eq!(trim(&world, Keep::Start(2)).first_kept.offset, 2);
    check_numbers(&world, 2..6);
    let time = StoreTime { unix_ms: 5 };
    let located = world.run(world.instance().locate("l", time));
    assert!(matches!(located, Err(Error::Unsupported(_))), "{located:?}");
}

#[test]
fn damage_to_a_pack_is_reported_with_its_key() {
    let damages: [fn(&mut Vec<u8>); 4] = [
        |body| body[0] ^= 1,
        |body| *body.last_mut().unwrap() ^= 1,
        |body| body.truncate(body.len() - 1),
        |body| body.push(0),
    ];
    for damage in damages {
        let world = filled(30);
        merge(&world, &before(10));
        merge(&world, &before(20));
        let broken = pack_key(10, 20, 10);
        world.corrupt(&broken, damage);
        let ReadOutcome::Records(found, next) = read(&world, 5) else {
            panic!("nothing is trimmed");
        };
        assert_eq!(found.len(), 5, "what precedes it is still returned");
        for cursor in [next, Cursor::at(10), Cursor::at(19)] {
            let result = world.run(world.instance().read("l", cursor, ALL));
            assert!(
                matches!(&result, Err(Error::Corrupt(text)) if text.contains(&broken)),
                "{result:?}"
            );
        }
        assert!(matches!(read(&world, 20), ReadOutcome::Records(..)));
    }
}

#[test]
fn a_pack_that_is_missing_or_another_ones_is_corrupt_and_not_a_gap() {
    let world = filled(30);
    merge(&world, &before(10));
    merge(&world, &before(20));
    let (first, second) = (pack_key(0, 10, 0), pack_key(10, 20, 10));
    let body = world.object(&first).unwrap().body;
    world.corrupt(&second, |other| *other = body);
    let result = world.run(world.instance().read("l", Cursor::at(12), ALL));
    assert!(matches!(&result, Err(Error::Corrupt(text)) if text.contains(&second)));
    world.0.borrow_mut().objects.remove(&second);
    let result = world.run(world.instance().read("l", Cursor::at(12), ALL));
    assert!(
        matches!(&result, Err(Error::Corrupt(text)) if text.contains("no pack holds record 12")),
        "{result:?}"
    );
    let ReadOutcome::Records(found, _) = read(&world, 0) else {
        panic!("nothing is trimmed");
    };
    assert_eq!(found.len(), 10);
}

#[test]
fn a_merge_refuses_segments_that_are_damaged_or_do_not_follow() {
    let damages: [fn(&World); 3] = [
        |world| world.corrupt(&key(4), |body| *body.last_mut().unwrap() ^= 1),
        |world| drop(world.0.borrow_mut().objects.remove(&key(4))),
        |world| {
            let body = world.object(&key(3)).unwrap().body;
            world.corrupt(&key(4), |other| *other = body);
        },
    ];
    for damage in damages {
        let world = filled(9);
        damage(&world);
        let result = world.run(world.instance().merge("l", &WHOLE));
        assert!(
            matches!(&result, Err(Error::Corrupt(text)) if text.contains(&key(4))),
            "{result:?}"
        );
        assert_eq!(pack_keys(&world), [""; 0]);
        assert!(world.object(&key(8)).is_some(), "nothing is deleted");
        assert!(matches!(read(&world, 0), ReadOutcome::Records(found, _) if found.len() == 4));
    }
}

#[test]
fn a_pack_of_other_segments_under_the_same_key_is_noticed() {
    let world = filled(9);
    let merger = world.instance();
    let options = before(4);
    let mut op = world.start(merger.merge("l", &options));
    op.serve_until("PUT");
    op.serve();
    let put = op.serve_until("PUT");
    // As another log of the same name would have it: the same run, other commits.
    let foreign = World::new();
    foreign.set_random(7);
    fill(&foreign, &foreign.instance(), 0..9);
    foreign.advance_ms(2 * HOUR_MS);
    merge(&foreign, &before(4));
    let Request::Put(mut write) = put else {
        panic!("a PUT");
    };
    let body = foreign.object(&write.key).unwrap().body;
    assert_ne!(write.body, body);
    write.body = body;
    world.apply(&Request::Put(write));
    let result = op.finish();
    assert!(matches!(result, Err(Error::Corrupt(_))), "{result:?}");
    check_numbers(&world, 0..9);
}
