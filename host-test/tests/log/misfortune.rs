//! One fault at a time, at every request of an append.

use crate::calls::{SHARED, append, append_as, appended, batch, contents, fenced, words};
use anyhow::{Context, Result, ensure};
use host_test::bindings::log::{AppendOutcome, Token};
use host_test::faults::{Clocks, Fault, Loss, Moment, Pause, on};
use host_test::readback::through_component;
use host_test::store::Kind;
use host_test::world::{World, simulate};
use std::time::Duration;

/// Everything that can happen to a write and leaves a way to go on.
fn to_writes() -> Vec<Fault> {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let pause = |moment, clocks| {
        Fault::Pause(Pause {
            moment,
            length: minutes(180),
            clocks,
        })
    };
    vec![
        Fault::Refuse,
        Fault::LoseRequest(Loss::Reset),
        Fault::LoseRequest(Loss::Silence),
        Fault::LoseReply(Loss::Reset),
        Fault::LoseReply(Loss::Silence),
        Fault::Duplicate(Duration::from_millis(1)),
        Fault::Duplicate(minutes(10)),
        Fault::Late(Duration::from_secs(29)),
        Fault::Late(Duration::from_secs(31)),
        Fault::Late(minutes(10)),
        Fault::Conflict,
        Fault::SlowDown(429),
        Fault::SlowDown(503),
        Fault::FailBefore(500),
        Fault::FailBefore(503),
        Fault::FailAfter(500),
        Fault::FailAfter(503),
        Fault::OmitDate,
        Fault::HoldRequest(Duration::from_secs(20)),
        Fault::HoldReply(Duration::from_secs(20)),
        pause(Moment::BeforeSending, Clocks::Run),
        pause(Moment::BeforeSending, Clocks::Stop),
        pause(Moment::AfterApplying, Clocks::Run),
        pause(Moment::AfterApplying, Clocks::Stop),
    ]
}

/// Everything that can happen to a read.
fn to_reads() -> Vec<Fault> {
    vec![
        Fault::Refuse,
        Fault::LoseRequest(Loss::Silence),
        Fault::LoseReply(Loss::Reset),
        Fault::SlowDown(503),
        Fault::FailBefore(500),
        Fault::TruncateReply,
        Fault::BreakReply,
        Fault::OmitDate,
    ]
}

/// Scenarios 2, 5, 17, 18 and 19: whatever happens to the write of an append, it is
/// acknowledged once, and is in the log once, also when everything has arrived.
#[test]
fn a_write_survives_every_fault() -> Result<()> {
    for fault in to_writes() {
        // The first write of a log, one of an instance that knows the tail, and one of
        // an instance that does not.
        for before in 0..3 {
            let case = format!("{fault}, {before} before");
            simulate(1, async |world| {
                let mut writer = world.instance("writer").await?;
                for number in 0..before {
                    append(&mut writer, "l", &format!("a{number}")).await?;
                }
                if before == 2 {
                    writer = world.instance("writer").await?;
                }
                world.faults().script(on(Kind::Put).then(fault.clone()));
                let told = append(&mut writer, "l", "x y").await?;
                ensure!(told == (before, before + 2), "{told:?}");
                ensure!(world.faults().count(fault.name()) == 1, "it did not happen");
                let told = append(&mut writer, "l", "z").await?;
                ensure!(told == (before + 2, before + 3), "{told:?}");
                world.settle().await;
                let log = words(&contents(world.site(), "l").await?);
                let expected = ["x y z", "a0 x y z", "a0 a1 x y z"][usize::try_from(before)?];
                ensure!(log == expected, "{log}");
                Ok(())
            })
            .context(case)?;
        }
    }
    Ok(())
}

#[test]
fn reads_and_listings_survive_every_fault() -> Result<()> {
    for kind in [Kind::Get, Kind::List] {
        for fault in to_reads() {
            let case = format!("{kind}: {fault}");
            simulate(2, async |world| {
                let mut writer = world.instance("writer").await?;
                for text in ["a b", "c", "d e"] {
                    append(&mut writer, "l", text).await?;
                }
                for nth in 1..=3 {
                    world
                        .faults()
                        .calm()
                        .script(on(kind).nth(nth).then(fault.clone()));
                    let mut reader = world.instance("reader").await?;
                    let read = through_component(&mut reader, "l").await;
                    let log = read.with_context(|| format!("{nth}"))?;
                    ensure!(
                        words(&log).starts_with("a b c d e"),
                        "{nth}: {}",
                        words(&log)
                    );
                    let mut cold = world.instance("cold").await?;
                    world
                        .faults()
                        .calm()
                        .script(on(kind).nth(nth).then(fault.clone()));
                    let (start, _) = append(&mut cold, "l", "more").await?;
                    ensure!(start == 4 + u64::from(nth), "{start}");
                }
                Ok(())
            })
            .context(case)?;
        }
    }
    Ok(())
}

/// Scenario 3: the reply is lost, and others have gone on when the writer looks.
#[test]
fn a_lost_reply_is_resolved_behind_many_later_appends() -> Result<()> {
    simulate(3, async |world| {
        let (mut writer, mut other) = (
            world.instance("writer").await?,
            world.instance("other").await?,
        );
        append(&mut other, "l", "first").await?;
        world.faults().script(
            on(Kind::Put)
                .by("writer")
                .then(Fault::LoseReply(Loss::Silence)),
        );
        let records = batch("mine");
        let mut log = writer.log();
        let others = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for number in 0..50 {
                append(&mut other, "l", &format!("o{number}")).await?;
            }
            anyhow::Ok(())
        };
        let (told, others) = tokio::join!(log.append("l", &records, &SHARED), others);
        others?;
        ensure!(appended(told?)? == (1, 2));
        let log = words(&contents(world.site(), "l").await?);
        ensure!(
            log.starts_with("first mine o0 o1") && log.ends_with("o49"),
            "{log}"
        );
        Ok(())
    })
}

/// Scenario 14: whatever happens to a claim, its caller leads, and is not fenced by
/// itself.
#[test]
fn a_claim_survives_every_fault() -> Result<()> {
    for fault in to_writes() {
        simulate(4, async |world| {
            let (mut old, mut new) = (world.instance("old").await?, world.instance("new").await?);
            append_as(&mut old, "l", "old", &fenced(1)).await?;
            world.faults().script(on(Kind::Put).then(fault.clone()));
            let claimed = appended(new.log().claim("l", Token { epoch: 2 }).await?)?;
            ensure!(claimed == (1, 1), "{claimed:?}");
            ensure!(append_as(&mut new, "l", "new", &fenced(2)).await? == (1, 2));
            let late = old.log().append("l", &batch("late"), &fenced(1)).await??;
            ensure!(
                late == AppendOutcome::Fenced(Token { epoch: 2 }),
                "{late:?}"
            );
            world.settle().await;
            ensure!(words(&contents(world.site(), "l").await?) == "old new");
            Ok(())
        })
        .with_context(|| format!("{fault}"))?;
    }
    Ok(())
}

/// When nothing helps, the caller is told so, and told the truth.
#[test]
fn an_outage_is_indeterminate_or_an_error() -> Result<()> {
    let outage = |world: &World, fault: Fault| {
        for kind in [Kind::Put, Kind::Get, Kind::List] {
            world.faults().script(on(kind).always().then(fault.clone()));
        }
    };
    // Not one byte was sent: certainly not applied.
    simulate(5, async |world| {
        let mut writer = world.instance("writer").await?;
        append(&mut writer, "l", "a").await?;
        outage(world, Fault::Refuse);
        let told = writer.log().append("l", &batch("b"), &SHARED).await?;
        ensure!(told.is_err(), "{told:?}");
        world.faults().calm();
        ensure!(words(&contents(world.site(), "l").await?) == "a");
        ensure!(append(&mut writer, "l", "c").await? == (1, 2));
        Ok(())
    })?;
    // Every reply is lost: nobody can tell, and the truth is that it was applied.
    simulate(6, async |world| {
        let mut writer = world.instance("writer").await?;
        append(&mut writer, "l", "a").await?;
        outage(world, Fault::LoseReply(Loss::Reset));
        let options = crate::calls::produced("p", 0);
        let told = writer.log().append("l", &batch("b"), &options).await?;
        ensure!(
            matches!(told, Ok(AppendOutcome::Indeterminate(_))),
            "{told:?}"
        );
        world.faults().calm();
        world.settle().await;
        ensure!(words(&contents(world.site(), "l").await?) == "a b");
        // Asked again with the same sequence, it finds what it did.
        ensure!(append_as(&mut writer, "l", "b", &options).await? == (1, 2));
        ensure!(append(&mut writer, "l", "c").await? == (2, 3));
        Ok(())
    })
}

/// An instance that dies in the middle of an append, and its replacement.
#[test]
fn a_killed_writer_is_replaced() -> Result<()> {
    for after_ms in (0..60).step_by(3) {
        simulate(7, async |world| {
            world.faults().latency(Duration::from_millis(20));
            let mut other = world.instance("other").await?;
            append(&mut other, "l", "a").await?;
            let options = crate::calls::produced("p", 0);
            {
                let mut victim = world.instance("victim").await?;
                let records = batch("b c");
                let mut log = victim.log();
                let dying = log.append("l", &records, &options);
                let _ = tokio::time::timeout(Duration::from_millis(after_ms), dying).await;
            }
            append(&mut other, "l", "d").await?;
            let mut heir = world.instance("heir").await?;
            let (start, end) = append_as(&mut heir, "l", "b c", &options).await?;
            world.settle().await;
            let log = contents(world.site(), "l").await?;
            let at = usize::try_from(start)?..usize::try_from(end)?;
            ensure!(words(&log[at]) == "b c", "{}", words(&log));
            ensure!(log.len() == 4, "{}", words(&log));
            Ok(())
        })
        .with_context(|| format!("killed after {after_ms} ms"))?;
    }
    Ok(())
}
