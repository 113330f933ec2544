//! Several writers at once.

use crate::calls::{append, appended, batch, contents, on_seaweedfs, produced, words};
use anyhow::{Context, Result, ensure};
use host_test::bindings::log::{AppendOutcome, Token};
use host_test::history::{Attempt, Ending, History};
use host_test::readback::slots_prefix;
use host_test::world::{Site, simulate};
use std::time::Duration;
use tokio::task::JoinSet;

/// Writers that append as fast as they can, each with an instance of its own.
async fn competing(site: &Site, writers: u64, appends: u64) -> Result<()> {
    let mut at_work = JoinSet::new();
    for writer in 0..writers {
        let site = site.clone();
        at_work.spawn(async move {
            let mut instance = site.instance(&format!("writer-{writer}")).await?;
            let mut attempts = Vec::new();
            for number in 0..appends {
                let text = format!("w{writer}a{number}r0 w{writer}a{number}r1");
                let began = site.clock().elapsed();
                let (start, end) = append(&mut instance, "l", &text).await?;
                attempts.push(Attempt {
                    bodies: batch(&text),
                    label: text,
                    began,
                    ended: Some(site.clock().elapsed()),
                    ending: Ending::Acknowledged(start, end),
                });
            }
            anyhow::Ok(attempts)
        });
    }
    let mut history = History::default();
    while let Some(written) = at_work.join_next().await {
        history.attempts.append(&mut written??);
    }
    let verdict = history.check(&contents(site, "l").await?).into_result()?;
    let expected = usize::try_from(writers * appends)?;
    ensure!(verdict.found == expected, "{verdict}");
    Ok(())
}

#[test]
fn nothing_is_lost_doubled_or_moved() -> Result<()> {
    for (seed, writers) in [(1, 2), (2, 4), (3, 8)] {
        simulate(seed, async |world| {
            world.faults().spans(host_test::faults::Spans {
                request: Duration::from_millis(1)..=Duration::from_millis(30),
                reply: Duration::from_millis(1)..=Duration::from_millis(30),
                ..Default::default()
            });
            competing(world.site(), writers, 25).await?;
            let lost = world.store().totals().statuses.get(&412).copied();
            let keys = world.store().keys(&slots_prefix("l")?);
            let offers = keys.iter().filter(|key| key.contains("-o")).count();
            ensure!(
                lost >= Some(2) && offers >= 2,
                "there was no competition: {lost:?}, {offers} offers"
            );
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn nothing_is_lost_doubled_or_moved_on_a_real_server() -> Result<()> {
    on_seaweedfs("contention", async |site| competing(site, 3, 6).await)
}

/// Instances that all know the same tail, and write at the same moment.
async fn at_one_slot(site: &Site, log: &str, instances: usize) -> Result<()> {
    let mut first = site.instance("first").await?;
    append(&mut first, log, "before").await?;
    let mut racing = JoinSet::new();
    for number in 0..instances {
        let mut instance = site.instance(&format!("racer-{number}")).await?;
        instance.log().tail(log).await??;
        let log = log.to_owned();
        racing.spawn(async move {
            let place = append(&mut instance, &log, &format!("racer-{number}")).await?;
            anyhow::Ok((place.0, format!("racer-{number}")))
        });
    }
    let mut told = vec![(0, "before".to_owned())];
    while let Some(raced) = racing.join_next().await {
        told.push(raced??);
    }
    told.sort();
    let log = contents(site, log).await?;
    let found: Vec<(u64, String)> = (0..)
        .zip(&log)
        .map(|(at, body)| (at, words(std::slice::from_ref(body))))
        .collect();
    ensure!(told == found, "told {told:?}, found {found:?}");
    Ok(())
}

/// Scenario 1.
#[test]
fn several_instances_at_one_slot() -> Result<()> {
    for instances in [2, 3, 10] {
        simulate(4, async |world| {
            world.faults().latency(Duration::from_millis(20));
            at_one_slot(world.site(), "l", instances).await
        })?;
    }
    Ok(())
}

#[test]
fn several_instances_at_one_slot_on_a_real_server() -> Result<()> {
    on_seaweedfs("one-slot", async |site| at_one_slot(site, "l", 3).await)
}

/// Two instances send the same batch of one producer at once, as after a failover
/// in which the first was not dead.
#[test]
fn a_batch_that_two_instances_send_is_in_the_log_once() -> Result<()> {
    for seed in 0..20 {
        simulate(seed, async |world| {
            world.faults().spans(host_test::faults::Spans {
                request: Duration::ZERO..=Duration::from_millis(50),
                reply: Duration::ZERO..=Duration::from_millis(50),
                ..Default::default()
            });
            let (mut a, mut b) = (world.instance("a").await?, world.instance("b").await?);
            append(&mut a, "l", "first").await?;
            let records = batch("x y");
            let options = produced("p", 0);
            let (mut log_a, mut log_b) = (a.log(), b.log());
            let (told_a, told_b) = tokio::join!(
                log_a.append("l", &records, &options),
                log_b.append("l", &records, &options)
            );
            let (told_a, told_b) = (appended(told_a?)?, appended(told_b?)?);
            ensure!(
                told_a == (1, 3) && told_b == (1, 3),
                "{told_a:?} {told_b:?}"
            );
            ensure!(words(&contents(world.site(), "l").await?) == "first x y");
            Ok(())
        })
        .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

/// Scenarios 13 and 16: of candidates for one term, and of successive leaders, at
/// most one goes on.
#[test]
fn claims_race() -> Result<()> {
    for seed in 0..20 {
        simulate(seed, async |world| {
            world.faults().spans(host_test::faults::Spans {
                request: Duration::ZERO..=Duration::from_millis(50),
                reply: Duration::ZERO..=Duration::from_millis(50),
                ..Default::default()
            });
            let mut leading = JoinSet::new();
            for epoch in 1..=4 {
                let site = world.site().clone();
                leading.spawn(async move {
                    let mut leader = site.instance(&format!("leader-{epoch}")).await?;
                    let outcome = leader.log().claim("l", Token { epoch }).await??;
                    if let AppendOutcome::Fenced(by) = outcome {
                        ensure!(by.epoch > epoch, "{epoch} fenced by {by:?}");
                        return Ok(0);
                    }
                    let mut written = 0;
                    for number in 0..10 {
                        let text = format!("{epoch}.{number}");
                        let options = crate::calls::fenced(epoch);
                        match leader.log().append("l", &batch(&text), &options).await?? {
                            AppendOutcome::Appended(_) => written += 1,
                            AppendOutcome::Fenced(by) if by.epoch > epoch => break,
                            other => anyhow::bail!("{other:?}"),
                        }
                    }
                    anyhow::Ok(written)
                });
            }
            let mut written = 0;
            while let Some(leader) = leading.join_next().await {
                written += leader??;
            }
            let log = words(&contents(world.site(), "l").await?);
            let epochs: Vec<&str> = log.split(' ').collect();
            ensure!(epochs.is_sorted(), "{log}");
            ensure!(epochs.len() == written, "{written} acknowledged: {log}");
            ensure!(
                log.contains("4.9"),
                "the last leader was not let through: {log}"
            );
            Ok(())
        })
        .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}
