//! A reader that follows a log has the next segments on their way before it asks, and
//! nothing that may happen to those requests changes what it reads.

use crate::calls::{SHARED, entries};
use anyhow::{Context, Result, ensure};
use host_test::bindings::log::{AppendOutcome, ReadLimit};
use host_test::faults::{Fault, Loss, on};
use host_test::host::Instance;
use host_test::readback::START;
use host_test::store::{BUCKET, Kind};
use host_test::wire::Sent;
use host_test::world::{World, simulate};
use std::collections::BTreeSet;
use std::time::Duration;

const SEGMENTS: u8 = 40;
const LATENCY: Duration = Duration::from_millis(20);
/// What two segments hold.
const LIMIT: ReadLimit = ReadLimit {
    records: 4,
    bytes: u32::MAX,
};

/// A log of segments with two records each.
async fn write(world: &World) -> Result<()> {
    let mut writer = world.instance("writer").await?;
    for number in 0..SEGMENTS {
        let batch = [vec![number; 3], vec![number; 40_000]];
        let outcome = writer.log().append("l", &batch, &SHARED).await??;
        ensure!(matches!(outcome, AppendOutcome::Appended(_)), "{outcome:?}");
    }
    world.faults().latency(LATENCY);
    Ok(())
}

/// Reads so many times, from the start, and leaves the store time in between. How long
/// each read took.
async fn read(world: &World, reader: &mut Instance, reads: u8) -> Result<Vec<Duration>> {
    let mut cursor = START;
    let mut waits = Vec::new();
    for number in 0..reads {
        let began = world.clock().elapsed();
        let (read, next) = entries(reader.log().read("l", cursor, LIMIT).await?)?;
        waits.push(world.clock().elapsed() - began);
        ensure!(read.len() == 4, "{} records", read.len());
        for (at, entry) in (0..).zip(&read) {
            ensure!(entry.offset == u64::from(number) * 4 + at);
            ensure!(
                entry
                    .body
                    .iter()
                    .all(|byte| u64::from(*byte) == entry.offset / 2)
            );
        }
        cursor = next;
        world.pass(LATENCY * 4).await;
    }
    Ok(waits)
}

/// The segments that the store was asked for whole.
fn asked(world: &World) -> Vec<String> {
    let is_whole = |sent: &Sent| {
        sent.request.kind == Kind::Get
            && sent.request.key.contains("/_slot/")
            && sent.outcome.as_deref() != Some("206")
    };
    let sent = world.sent().into_iter();
    let by_reader = sent.filter(|sent| sent.instance == "reader" && is_whole(sent));
    by_reader.map(|sent| sent.request.key).collect()
}

/// How many requests that were.
fn segments(world: &World) -> usize {
    asked(world).len()
}

/// For how many segments.
fn distinct(world: &World) -> usize {
    asked(world).into_iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn a_reader_in_order_soon_waits_for_nothing() -> Result<()> {
    simulate(11, async |world| {
        write(world).await?;
        let mut reader = world.instance("reader").await?;
        let waits = read(world, &mut reader, 20).await?;
        assert_eq!(segments(world), usize::from(SEGMENTS), "each once");
        // A listing; the newest header; the state; two segments at once, as they are taken
        // to be as large as the newest; the state again, as they are very young.
        assert!(waits[0] <= LATENCY * 5, "{waits:?}");
        assert!(waits[1..4].iter().all(|wait| *wait <= LATENCY), "{waits:?}");
        assert!(waits[4..].iter().all(Duration::is_zero), "{waits:?}");
        Ok(())
    })
}

#[test]
fn who_stops_reading_has_wasted_no_more_than_was_read() -> Result<()> {
    for reads in 1..20 {
        simulate(12, async |world| {
            write(world).await?;
            let mut reader = world.instance("reader").await?;
            read(world, &mut reader, reads).await?;
            let (used, asked) = (usize::from(reads) * 2, segments(world));
            let wasted = asked - used;
            assert!(wasted <= (used - 2).min(6), "{wasted} after {used}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn nothing_is_sent_early_where_one_request_is_allowed_at_a_time() -> Result<()> {
    simulate(13, async |world| {
        write(world).await?;
        let one = world.instance("reader").with("IFMATCH_MAX_IN_FLIGHT", "1");
        let mut reader = one.await?;
        let waits = read(world, &mut reader, 8).await?;
        assert_eq!(segments(world), 16);
        assert!(waits.iter().all(|wait| *wait >= LATENCY * 2), "{waits:?}");
        Ok(())
    })
}

#[test]
fn what_becomes_of_a_request_that_was_sent_early_changes_nothing() -> Result<()> {
    let faults = [
        Fault::Refuse,
        Fault::LoseRequest(Loss::Reset),
        Fault::LoseReply(Loss::Silence),
        Fault::FailBefore(500),
        Fault::SlowDown(503),
        Fault::TruncateReply,
        Fault::BreakReply,
        Fault::HoldReply(Duration::from_secs(600)),
    ];
    for fault in faults {
        simulate(14, async |world| {
            write(world).await?;
            let mut reader = world.instance("reader").await?;
            // Most of these were sent early.
            for nth in [12, 15, 16, 17, 30] {
                let rule = on(Kind::Get).by("reader").nth(nth);
                world.faults().script(rule.then(fault.clone()));
            }
            read(world, &mut reader, 20).await.map(drop)
        })
        .with_context(|| fault.name())?;
    }
    Ok(())
}

#[test]
fn a_reader_that_pauses_for_an_hour_goes_on() -> Result<()> {
    simulate(15, async |world| {
        write(world).await?;
        let mut reader = world.instance("reader").await?;
        let mut cursor = START;
        for number in 0..20_u64 {
            let (read, next) = entries(reader.log().read("l", cursor, LIMIT).await?)?;
            ensure!(read.first().is_some_and(|first| first.offset == number * 4));
            ensure!(read.len() == 4);
            cursor = next;
            world.pass(Duration::from_secs(3600)).await;
        }
        Ok(())
    })
}

#[test]
fn a_reply_that_is_there_at_once_is_not_asked_for_again() -> Result<()> {
    // On a host that sends requests on a thread of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let world = World::in_process(18);
        write(&world).await?;
        world.faults().latency(Duration::ZERO);
        for _ in 0..50 {
            let mut reader = world.instance("reader").await?;
            let mut cursor = START;
            for _ in 0..20 {
                let (read, next) = entries(reader.log().read("l", cursor, LIMIT).await?)?;
                ensure!(read.len() == 4, "{} records", read.len());
                cursor = next;
            }
        }
        assert_eq!(segments(&world), 50 * usize::from(SEGMENTS), "each once");
        Ok(())
    })
}

#[test]
fn an_absence_counts_only_if_it_was_seen_after_it_was_asked_for() -> Result<()> {
    simulate(16, async |world| {
        write(world).await?;
        let keys = world.store().keys("log/l/_slot/");
        let key = keys.iter().find(|key| key.ends_with(".10"));
        let key = key.context("no such segment")?;
        let mut reader = world.instance("reader").await?;
        let mut cursor = START;
        for number in 0..20 {
            // The early requests of the fourth read reach as far as this segment.
            let gone = match number {
                3 => world.store().tamper(|store| store.remove(BUCKET, key))?,
                _ => None,
            };
            ensure!(gone.is_some() == (number == 3));
            let (read, next) = entries(reader.log().read("l", cursor, LIMIT).await?)?;
            ensure!(read.len() == 4, "{} records in read {number}", read.len());
            cursor = next;
            world.pass(LATENCY * 4).await;
            if let Some(gone) = gone {
                let (body, modified_at) = (gone.body.clone(), gone.modified_at);
                world
                    .store()
                    .tamper(|store| store.place(BUCKET, key, body, modified_at))?;
            }
        }
        ensure!(segments(world) == usize::from(SEGMENTS) + 1, "sent again");
        Ok(())
    })
}

#[test]
fn early_replies_and_others_share_what_a_call_may_hold() -> Result<()> {
    simulate(17, async |world| {
        write(world).await?;
        // One segment and a quarter.
        let small = world.instance("reader");
        let mut reader = small.with("IFMATCH_MAX_BATCH_BYTES", "50000").await?;
        let mut cursor = START;
        for records in [2, 2, 2, 2, 2, 6] {
            ensure!(segments(world) == distinct(world), "sent again");
            let limit = ReadLimit { records, ..LIMIT };
            let (read, next) = entries(reader.log().read("l", cursor, limit).await?)?;
            ensure!(read.len() as u64 == u64::from(records));
            cursor = next;
            world.pass(LATENCY * 4).await;
        }
        // Two of the last three did not fit, although other reads had sent for them.
        ensure!(segments(world) >= distinct(world) + 2, "not sent again");
        Ok(())
    })
}
