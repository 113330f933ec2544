//! Merging old segments into packs.

use crate::calls::{SHARED, append, appended, batch, entries, first, on_seaweedfs, raw_segments};
use anyhow::{Context, Result, bail, ensure};
use host_test::bindings::collection::{Keep, Limit, MergeOptions};
use host_test::bindings::log::{CreateOutcome, Cursor, Entry, ReadOutcome, Settings};
use host_test::bindings::retention::PinOutcome;
use host_test::faults::{Clocks, Fault, Moment, Pause, on};
use host_test::host::Instance;
use host_test::readback::{ALL, START, through_component};
use host_test::store::Kind;
use host_test::world::{Site, World, simulate};
use std::time::Duration;

const WHOLE: MergeOptions = MergeOptions {
    spare: Keep::Records(0),
    at_least: 1,
};

fn at(offset: u64) -> Cursor {
    Cursor { offset, ..START }
}

/// Everything from a cursor on, a few records at a time.
async fn from(reader: &mut Instance, start: Cursor, records: u32) -> Result<Vec<Entry>> {
    let (mut all, mut cursor) = (Vec::new(), start);
    loop {
        let read = reader.log().read("m", cursor, first(records)).await?;
        let (mut some, next) = entries(read)?;
        if some.is_empty() {
            return Ok(all);
        }
        all.append(&mut some);
        cursor = next;
    }
}

/// A log of so many segments, old enough to be merged.
async fn filled(site: &Site, segments: u64, pass: impl AsyncFn(u64)) -> Result<Instance> {
    let mut writer = site.instance("writer").await?;
    let settings = Settings {
        grace_ms: 1_000,
        clock_margin_ms: 0,
    };
    ensure!(writer.log().create("m", settings).await?? == CreateOutcome::Created);
    for number in 0..segments {
        append(&mut writer, "m", &format!("r{number}")).await?;
    }
    pass(2_100).await;
    Ok(writer)
}

async fn merges(site: &Site, segments: u64, pass: impl AsyncFn(u64)) -> Result<()> {
    let mut writer = filled(site, segments, pass).await?;
    let mut reader = site.instance("reader").await?;
    let known = from(&mut reader, START, 1_000).await?;
    ensure!(known.len() as u64 == segments);
    let (_, middle) = entries(reader.log().read("m", at(3), first(4)).await?)?;
    let report = writer.collection().merge("m", WHOLE).await??;
    // The segment that created the log is one more; the newest stays.
    ensure!(
        (report.segments, report.merged_until, report.more) == (segments, segments - 1, false),
        "{report:?}"
    );
    ensure!(
        report.deleted == segments - 1,
        "the first stays: {report:?}"
    );
    ensure!(raw_segments(site, "m").await?.len() == 2);
    // Nobody notices: neither those that read before, nor those that come now.
    let mut fresh = site.instance("fresh").await?;
    for reader in [&mut reader, &mut fresh] {
        for records in [7, 1_000] {
            let again = from(reader, START, records).await?;
            ensure!(again == known, "{again:?}");
            let rest = from(reader, middle, records).await?;
            ensure!(rest == known[7..], "{rest:?}");
        }
        for offset in [0, 1, segments / 2, segments - 2, segments - 1] {
            let (one, _) = entries(reader.log().read("m", at(offset), first(1)).await?)?;
            ensure!(one == known[usize::try_from(offset)?..][..1]);
        }
    }
    let time = known[5].appended_at.context("no time")?;
    let found = fresh.log().locate("m", time + 1).await??.offset;
    let expected = known
        .iter()
        .position(|entry| entry.appended_at > Some(time));
    ensure!(found == expected.map_or(segments, |offset| offset as u64));
    // Pins and trims go into the pack.
    let pinned = fresh
        .retention()
        .pin("m", "slow-reader", at(4), 600_000)
        .await??;
    ensure!(matches!(pinned, PinOutcome::Pinned(_)), "{pinned:?}");
    let report = writer.collection().trim("m", Keep::Records(1)).await??;
    ensure!(report.limited_by == Limit::Pin("slow-reader".to_owned()));
    ensure!(
        (report.first_kept, report.objects()) == (4, 0),
        "{report:?}"
    );
    match fresh.log().read("m", at(3), ALL).await?? {
        ReadOutcome::Trimmed(kept) => ensure!(kept.offset == 4),
        other => bail!("{other:?}"),
    }
    ensure!(from(&mut fresh, at(4), 10).await? == known[4..]);
    fresh.retention().unpin("m", "slow-reader").await??;
    let report = writer.collection().trim("m", Keep::Records(1)).await??;
    ensure!(
        (report.first_kept, report.objects()) == (segments - 1, 1),
        "{report:?}"
    );
    ensure!(append(&mut writer, "m", "more").await? == (segments, segments + 1));
    Ok(())
}

#[test]
fn in_virtual_time() -> Result<()> {
    simulate(1, async |world| {
        let pass = async |ms| world.pass(Duration::from_millis(ms)).await;
        merges(world.site(), 300, pass).await?;
        ensure!(world.store().totals().unconditional_puts == 0);
        Ok(())
    })
}

#[test]
fn on_a_real_server() -> Result<()> {
    on_seaweedfs("merging", async |site| {
        let pass = async |ms| tokio::time::sleep(Duration::from_millis(ms)).await;
        merges(site, 40, pass).await
    })
}

/// Scenario 71: a merge is killed at any moment; the next one finishes it, and the log
/// is whole all the time.
#[test]
fn a_killed_merge_is_finished_by_the_next() -> Result<()> {
    for after_ms in (0..400).step_by(13) {
        simulate(after_ms, async |world: &World| {
            let pass = async |ms| world.pass(Duration::from_millis(ms)).await;
            let mut writer = filled(world.site(), 30, pass).await?;
            world.faults().latency(Duration::from_millis(10));
            {
                let mut victim = world.instance("victim").await?;
                let mut collection = victim.collection();
                let dying = collection.merge("m", WHOLE);
                let _ = tokio::time::timeout(Duration::from_millis(after_ms), dying).await;
            }
            let mut judge = world.instance("judge").await?;
            ensure!(through_component(&mut judge, "m").await?.len() == 30);
            let report = writer.collection().merge("m", WHOLE).await??;
            ensure!(
                (report.merged_until, report.more) == (29, false),
                "{report:?}"
            );
            world.settle().await;
            ensure!(through_component(&mut judge, "m").await?.len() == 30);
            ensure!(raw_segments(world.site(), "m").await?.len() == 2);
            Ok(())
        })
        .with_context(|| format!("killed after {after_ms} ms"))?;
    }
    Ok(())
}

/// Scenario 74: a writer sleeps while its slot is filled, merged and deleted. What it
/// stores there is not taken for the record, and it appends at the true tail.
#[test]
fn a_writer_that_slept_through_a_merge_appends_at_the_true_tail() -> Result<()> {
    for clocks in [Clocks::Run, Clocks::Stop] {
        simulate(3, async |world: &World| {
            let pass = async |ms| world.pass(Duration::from_millis(ms)).await;
            let mut writer = filled(world.site(), 4, pass).await?;
            let mut sleeper = world.instance("sleeper").await?;
            sleeper.log().tail("m").await??;
            let sleep = Fault::Pause(Pause {
                moment: Moment::BeforeSending,
                length: Duration::from_secs(600),
                clocks,
            });
            world.faults().script(on(Kind::Put).then(sleep));
            let sleeping = tokio::spawn(async move {
                let told = sleeper.log().append("m", &batch("late"), &SHARED).await?;
                appended(told)
            });
            world.pass(Duration::from_secs(1)).await;
            for number in 4..8 {
                append(&mut writer, "m", &format!("r{number}")).await?;
            }
            world.pass(Duration::from_secs(60)).await;
            let report = writer.collection().merge("m", WHOLE).await??;
            ensure!(report.merged_until == 7, "{report:?}");
            ensure!(sleeping.await?? == (8, 9));
            let mut judge = world.instance("judge").await?;
            let log = through_component(&mut judge, "m").await?;
            ensure!(log.concat() == b"r0r1r2r3r4r5r6r7late", "{log:?}");
            Ok(())
        })?;
    }
    Ok(())
}
