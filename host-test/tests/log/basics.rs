//! What every function does, alone and undisturbed.

use crate::calls::{
    SHARED, append, append_as, batch, contents, entries, fenced, first, on_seaweedfs, produced,
    words,
};
use anyhow::{Result, bail};
use host_test::bindings::collection::{Keep, Limit};
use host_test::bindings::log::{
    AppendOptions, AppendOutcome, CreateOutcome, Cursor, ReadOutcome, SequenceProblem, Settings,
    Token,
};
use host_test::bindings::retention::PinOutcome;
use host_test::readback::{ALL, START};
use host_test::store::{Kind, Totals};
use host_test::world::{Site, simulate};
use std::time::Duration;

fn at(offset: u64) -> Cursor {
    Cursor { offset, ..START }
}

/// Records come back as they were, in order, from any place, to anybody.
async fn appends_and_reads(site: &Site) -> Result<()> {
    let mut writer = site.instance("writer").await?;
    let mut reader = site.instance("reader").await?;
    assert_eq!(reader.log().tail("l").await??.offset, 0);
    let (nothing, at_start) = entries(reader.log().read("l", START, ALL).await?)?;
    assert!(nothing.is_empty() && at_start.offset == 0);
    assert_eq!(append(&mut writer, "l", "a b c").await?, (0, 3));
    assert_eq!(append(&mut writer, "l", "d").await?, (3, 4));
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend_from_slice(b"\r\n\0");
    let odd = [Vec::new(), bytes.clone(), vec![0; 300_000]];
    let outcome = writer.log().append("l", &odd, &SHARED).await??;
    let AppendOutcome::Appended(extent) = outcome else {
        bail!("{outcome:?}");
    };
    assert_eq!((extent.start, extent.end), (4, 7));
    // Another log is another log.
    assert_eq!(append(&mut writer, "l/other", "x").await?, (0, 1));

    let (read, next) = entries(reader.log().read("l", START, ALL).await?)?;
    let bodies: Vec<&[u8]> = read.iter().map(|entry| entry.body.as_slice()).collect();
    let expected: [&[u8]; 7] = [b"a", b"b", b"c", b"d", b"", &bytes, &[0; 300_000]];
    assert!(bodies == expected, "other bodies");
    assert!(
        (0..)
            .zip(&read)
            .all(|(offset, entry)| entry.offset == offset)
    );
    assert!(
        read.iter()
            .all(|entry| entry.token.is_none() && entry.appended_at.is_some())
    );
    assert_eq!(next.offset, 7);
    for offset in 0..7 {
        let mut fresh = site.instance("fresh").await?;
        let (found, next) = entries(fresh.log().read("l", at(offset), first(1)).await?)?;
        assert_eq!(
            (found.len(), found[0].offset, next.offset),
            (1, offset, offset + 1)
        );
        // A cursor goes on anywhere.
        let (rest, _) = entries(reader.log().read("l", next, ALL).await?)?;
        assert_eq!(rest.len() as u64, 6 - offset);
    }
    let (beyond, _) = entries(reader.log().read("l", at(99), ALL).await?)?;
    assert!(beyond.is_empty());
    assert_eq!(reader.log().tail("l").await??.offset, 7);
    assert_eq!(words(&contents(site, "l/other").await?), "x");
    Ok(())
}

/// Limits hold, and at least one record comes.
async fn reads_have_limits(site: &Site) -> Result<()> {
    let mut writer = site.instance("writer").await?;
    append(&mut writer, "limits", "aaaa bbbb cccc").await?;
    append(&mut writer, "limits", "dddd eeee").await?;
    for (records, bytes, expected) in [
        (1, 100, 1),
        (4, 100, 4),
        (100, 8, 2),
        (100, 11, 2),
        (100, 16, 4),
        (100, 1, 1),
        (9, 99, 5),
    ] {
        let limit = host_test::bindings::log::ReadLimit { records, bytes };
        let (read, next) = entries(writer.log().read("limits", START, limit).await?)?;
        assert_eq!(
            (read.len(), next.offset),
            (expected, expected as u64),
            "{limit:?}"
        );
    }
    Ok(())
}

async fn creation(site: &Site) -> Result<()> {
    let mut a = site.instance("a").await?;
    let settings = Settings {
        grace_ms: 60_000,
        clock_margin_ms: 2_000,
    };
    let other = Settings {
        grace_ms: 120_000,
        ..settings
    };
    assert_eq!(
        a.log().create("made", settings).await?,
        Ok(CreateOutcome::Created)
    );
    let mut b = site.instance("b").await?;
    assert_eq!(
        b.log().create("made", other).await?,
        Ok(CreateOutcome::Exists(settings))
    );
    append(&mut b, "made", "a").await?;
    assert_eq!(
        a.log().create("made", other).await?,
        Ok(CreateOutcome::Exists(settings))
    );
    append(&mut b, "born", "a").await?;
    let defaults = Settings {
        grace_ms: 3_600_000,
        clock_margin_ms: 300_000,
    };
    assert_eq!(
        a.log().create("born", other).await?,
        Ok(CreateOutcome::Exists(defaults))
    );
    assert_eq!(words(&contents(site, "made").await?), "a");
    Ok(())
}

/// A claim fences whoever came before, and shared writers for good.
async fn fencing(site: &Site) -> Result<()> {
    let (mut old, mut new) = (site.instance("old").await?, site.instance("new").await?);
    let mut sharing = site.instance("sharing").await?;
    append(&mut sharing, "f", "shared").await?;
    let claimed = old.log().claim("f", Token { epoch: 5 }).await??;
    assert!(matches!(&claimed, AppendOutcome::Appended(e) if (e.start, e.end) == (1, 1)));
    assert_eq!(append_as(&mut old, "f", "five", &fenced(5)).await?, (1, 2));
    let claimed = new.log().claim("f", Token { epoch: 7 }).await??;
    assert!(matches!(&claimed, AppendOutcome::Appended(e) if (e.start, e.end) == (2, 2)));
    for (instance, options) in [(&mut old, fenced(5)), (&mut sharing, SHARED)] {
        let outcome = instance
            .log()
            .append("f", &batch("late"), &options)
            .await??;
        // The first higher token that it meets.
        let by = [5, 7].map(|epoch| AppendOutcome::Fenced(Token { epoch }));
        assert!(by.contains(&outcome), "{outcome:?}");
        let outcome = instance.log().claim("f", Token { epoch: 6 }).await??;
        assert_eq!(outcome, AppendOutcome::Fenced(Token { epoch: 7 }));
    }
    assert_eq!(append_as(&mut new, "f", "seven", &fenced(7)).await?, (2, 3));
    // Claiming again changes nothing, wherever it is done.
    let before = crate::calls::raw_segments(site, "f").await?.len();
    let mut again = site.instance("again").await?;
    for instance in [&mut new, &mut again] {
        let claimed = instance.log().claim("f", Token { epoch: 7 }).await??;
        assert!(matches!(&claimed, AppendOutcome::Appended(e) if (e.start, e.end) == (3, 3)));
    }
    assert_eq!(crate::calls::raw_segments(site, "f").await?.len(), before);
    let (read, _) = entries(new.log().read("f", START, ALL).await?)?;
    let epochs: Vec<_> = read
        .iter()
        .map(|entry| entry.token.map(|token| token.epoch))
        .collect();
    assert_eq!(epochs, [None, Some(5), Some(7)]);
    assert_eq!(words(&contents(site, "f").await?), "shared five seven");
    Ok(())
}

async fn conditions_and_producers(site: &Site) -> Result<()> {
    let (mut a, mut b) = (site.instance("a").await?, site.instance("b").await?);
    let expecting = |offset| AppendOptions {
        expected: Some(offset),
        ..SHARED
    };
    assert_eq!(append_as(&mut a, "c", "one", &expecting(0)).await?, (0, 1));
    assert_eq!(append(&mut b, "c", "two").await?, (1, 2));
    // `a` does not know of it yet.
    let outcome = a.log().append("c", &batch("x"), &expecting(1)).await??;
    assert_eq!(outcome, AppendOutcome::Mismatch(2));
    assert_eq!(
        append_as(&mut a, "c", "three", &expecting(2)).await?,
        (2, 3)
    );
    // Scenario 24: a repetition is recognised, also by another instance.
    assert_eq!(
        append_as(&mut a, "c", "p0 p0x", &produced("p", 0)).await?,
        (3, 5)
    );
    for instance in [&mut a, &mut b] {
        assert_eq!(
            append_as(instance, "c", "p0 p0x", &produced("p", 0)).await?,
            (3, 5)
        );
    }
    assert_eq!(
        append_as(&mut b, "c", "p1", &produced("p", 1)).await?,
        (5, 6)
    );
    for (sequence, problem) in [
        (0, SequenceProblem::Superseded(1)),
        (3, SequenceProblem::Gap(2)),
    ] {
        let outcome = b
            .log()
            .append("c", &batch("x"), &produced("p", sequence))
            .await??;
        assert_eq!(outcome, AppendOutcome::OutOfSequence(problem));
    }
    assert_eq!(
        words(&contents(site, "c").await?),
        "one two three p0 p0x p1"
    );
    Ok(())
}

/// A waiting reader gets what is appended, and nothing when nothing is.
async fn waiting(site: &Site) -> Result<()> {
    let (mut reader, mut writer) = (site.instance("r").await?, site.instance("w").await?);
    append(&mut writer, "w", "a").await?;
    let (_, next) = entries(reader.log().read("w", START, ALL).await?)?;
    let began = site.clock().elapsed();
    let (nothing, next) = entries(reader.log().wait("w", next, ALL, 700).await?)?;
    let waited = site.clock().elapsed() - began;
    assert!(nothing.is_empty() && next.offset == 1);
    assert!(waited >= Duration::from_millis(690), "{waited:?}");
    let mut reading = reader.log();
    let appending = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        append(&mut writer, "w", "b c").await
    };
    let (read, written) = tokio::join!(reading.wait("w", next, ALL, 60_000), appending);
    assert_eq!(written?, (1, 3));
    let (read, next) = entries(read?)?;
    assert_eq!((read.len(), next.offset), (2, 3));
    Ok(())
}

/// What can be told only where time can be made to pass.
async fn times_and_trims(site: &Site, pass: impl AsyncFn(u64)) -> Result<()> {
    let mut writer = site.instance("writer").await?;
    let settings = Settings {
        grace_ms: 1_000,
        clock_margin_ms: 0,
    };
    assert_eq!(
        writer.log().create("t", settings).await?,
        Ok(CreateOutcome::Created)
    );
    for text in ["a0 a1", "b", "c0 c1 c2", "d"] {
        append(&mut writer, "t", text).await?;
        pass(2_100).await;
    }
    let (all, _) = entries(writer.log().read("t", START, ALL).await?)?;
    let time = |offset: usize| all[offset].appended_at.unwrap_or_default();
    // By time, in another instance. Times are whole seconds, and all differ.
    let mut finder = site.instance("finder").await?;
    for (ms, offset) in [
        (time(0), 0),
        (time(2), 2),
        (time(2) + 1, 3),
        (time(3) - 1, 3),
        (time(6) + 1, 7),
        (0, 0),
    ] {
        assert_eq!(finder.log().locate("t", ms).await??.offset, offset, "{ms}");
    }
    // A pin holds a trim back, and what lies before it goes.
    let pinned = finder
        .retention()
        .pin("t", "slow-reader", at(2), 600_000)
        .await??;
    assert!(matches!(pinned, PinOutcome::Pinned(_)), "{pinned:?}");
    let report = writer.collection().trim("t", Keep::Records(1)).await??;
    assert_eq!(report.limited_by, Limit::Pin("slow-reader".to_owned()));
    assert_eq!(report.first_kept, 2);
    assert_eq!(finder.retention().pins("t").await??.len(), 1);
    finder.retention().unpin("t", "slow-reader").await??;
    let report = writer.collection().trim("t", Keep::Start(6)).await??;
    assert_eq!((report.first_kept, report.more), (6, false));
    // Scenario 22: a trimmed record is said to be trimmed, to everybody.
    for instance in [&mut writer, &mut finder] {
        match instance.log().read("t", START, ALL).await?? {
            ReadOutcome::Trimmed(kept) => assert_eq!(kept.offset, 6),
            other => bail!("{other:?}"),
        }
    }
    let (kept, next) = entries(finder.log().read("t", at(6), ALL).await?)?;
    assert_eq!(
        (kept.len(), kept[0].body.as_slice(), next.offset),
        (1, b"d".as_slice(), 7)
    );
    // The newest stays, and the log goes on behind it.
    let report = writer.collection().trim("t", Keep::Records(0)).await??;
    assert_eq!(report.limited_by, Limit::Newest);
    assert_eq!(append(&mut finder, "t", "e").await?, (7, 8));
    Ok(())
}

async fn all(site: &Site) -> Result<()> {
    appends_and_reads(site).await?;
    reads_have_limits(site).await?;
    creation(site).await?;
    fencing(site).await?;
    conditions_and_producers(site).await?;
    waiting(site).await
}

#[test]
fn in_virtual_time() -> Result<()> {
    simulate(1, async |world| {
        world.faults().latency(Duration::from_millis(20));
        all(world.site()).await?;
        assert_eq!(world.store().totals().unconditional_puts, 0);
        Ok(())
    })
}

#[test]
fn retention_in_virtual_time() -> Result<()> {
    simulate(2, async |world| {
        times_and_trims(world.site(), async |ms| {
            world.pass(Duration::from_millis(ms)).await
        })
        .await
    })
}

#[test]
fn on_a_real_server() -> Result<()> {
    on_seaweedfs("basics", async |site| all(site).await)
}

#[test]
fn retention_on_a_real_server() -> Result<()> {
    on_seaweedfs("retention", async |site| {
        let pass = async |ms| tokio::time::sleep(Duration::from_millis(ms)).await;
        times_and_trims(site, pass).await
    })
}

/// What an instance says that it used is what the store saw.
#[test]
fn receipts_agree_with_the_store() -> Result<()> {
    simulate(3, async |world| {
        let mut before = world.store().totals();
        let mut a = world.instance("a").await?;
        let mut b = world.instance("b").await?;
        a.receipts().take().await?;
        for round in 0..12 {
            let mut sum = (0, 0, 0, 0);
            for (number, instance) in [&mut a, &mut b].into_iter().enumerate() {
                match (round + number) % 6 {
                    0 | 1 => drop(append(instance, "l", "x y").await?),
                    2 => drop(instance.log().tail("l").await??),
                    3 => drop(instance.log().read("l", START, ALL).await??),
                    4 => drop(instance.retention().pin("l", "r", START, 60_000).await??),
                    _ => drop(instance.collection().trim("l", Keep::Records(3)).await??),
                }
                let used = instance.receipts().take().await?;
                sum.0 += used.gets;
                sum.1 += used.puts;
                sum.2 += used.lists;
                sum.3 += used.deletes;
                assert_eq!(used.retries, 0);
            }
            world.pass(Duration::from_secs(3_600)).await;
            let now = world.store().totals();
            let seen: Totals = now.since(&before);
            let of = |kind| u32::try_from(seen.of(kind)).unwrap_or(u32::MAX);
            let counted = (
                of(Kind::Get),
                of(Kind::Put),
                of(Kind::List),
                of(Kind::DeleteMany),
            );
            assert_eq!(sum, counted, "round {round}");
            before = now;
        }
        assert_eq!(a.receipts().take().await?.gets, 0);
        Ok(())
    })
}
