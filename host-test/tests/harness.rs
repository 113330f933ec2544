//! Goal: the harness does what the other suites take for granted: virtual time,
//! repeatable runs, and faults that do what their names say.
//!
//! Method: `bucket-s3.wasm` against the in-process store, one fault at a time;
//! what the component reports is compared with what the store really holds.

use anyhow::Result;
use host_test::artifact::Artifact;
use host_test::bindings::bucket::{Error, Found, Precondition, PutOutcome, Read, Span, Write};
use host_test::bindings::log::{
    AppendOptions, AppendOutcome, Cursor, Extent, ReadLimit, ReadOutcome, Writer,
};
use host_test::faults::{Clocks, Fault, Loss, Moment, Pause, Rates, on};
use host_test::host::Instance;
use host_test::store::Kind;
use host_test::world::{World, simulate};
use std::time::Duration;

async fn bucket(world: &World, name: &str) -> Result<Instance> {
    world.instance(name).artifact(Artifact::BucketS3).await
}

fn create(key: &str, body: &str) -> Write {
    Write {
        key: key.to_owned(),
        body: body.as_bytes().to_vec(),
        precondition: Precondition::Absent,
    }
}

fn whole(key: &str) -> Read {
    Read {
        key: key.to_owned(),
        span: Span::All,
        unless: None,
    }
}

#[test]
fn a_component_talks_to_the_store_in_virtual_time() -> Result<()> {
    let began = std::time::Instant::now();
    simulate(1, async |world| {
        world.faults().latency(Duration::from_secs(10));
        let mut a = bucket(world, "a").await?;
        let written = a.bucket().put(&create("k", "body")).await?;
        let Ok(PutOutcome::Written(written)) = written else {
            panic!("{written:?}");
        };
        // 2026-01-01T00:00:05Z: the clock of the store, half way through.
        assert_eq!(written.observed_at, Some(1_767_225_605_000));
        let lost = a.bucket().put(&create("k", "other")).await?;
        assert_eq!(lost, Ok(PutOutcome::PreconditionFailed));
        let reply = a.bucket().get(&whole("k")).await?;
        let Ok(Found::Object(object)) = reply.map(|reply| reply.found) else {
            panic!("no object");
        };
        assert_eq!(object.body, b"body");
        assert_eq!(object.metadata.version, written.version);
        assert_eq!(object.metadata.modified_at, Some(1_767_225_605_000));
        assert_eq!(world.clock().elapsed(), Duration::from_secs(30));
        let totals = world.store().totals();
        assert_eq!(
            (totals.of(Kind::Put), totals.of(Kind::Get), totals.all()),
            (2, 1, 3)
        );
        assert_eq!(totals.unconditional_puts, 0);
        assert!(a.fuel_used() > 10_000, "{}", a.fuel_used());
        Ok(())
    })?;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "time was not virtual"
    );
    Ok(())
}

/// A run with many faults, as text.
fn rough_run(seed: u64) -> Result<String> {
    let mut report = String::new();
    simulate(seed, async |world| {
        world
            .faults()
            .rates(Rates::bad_day())
            .latency(Duration::from_millis(40));
        let (mut a, mut b) = (bucket(world, "a").await?, bucket(world, "b").await?);
        for round in 0..20 {
            let key = format!("k{round}");
            let (write_a, write_b) = (create(&key, "a"), create(&key, "b"));
            let (mut put_a, mut put_b) = (a.bucket(), b.bucket());
            let (a, b) = tokio::join!(put_a.put(&write_a), put_b.put(&write_b));
            report.push_str(&format!("{a:?} {b:?}\n"));
        }
        world.settle().await;
        report.push_str(&world.report());
        report.push_str(&world.store().request_log());
        Ok(())
    })?;
    Ok(report)
}

#[test]
fn a_seed_repeats_a_run_exactly() -> Result<()> {
    let first = rough_run(42)?;
    assert_eq!(first, rough_run(42)?);
    assert_ne!(first, rough_run(43)?);
    Ok(())
}

/// What a create reports under a fault, and whether the object is there then, and
/// when everything has settled.
fn put_under(fault: Fault) -> Result<(Result<PutOutcome, Error>, bool, bool)> {
    let mut seen = None;
    simulate(3, async |world| {
        world.faults().script(on(Kind::Put).then(fault));
        let mut a = bucket(world, "a").await?;
        let outcome = a.bucket().put(&create("k", "body")).await?;
        let then = world.store().object("k").is_some();
        world.settle().await;
        seen = Some((outcome, then, world.store().object("k").is_some()));
        Ok(())
    })?;
    seen.ok_or_else(|| anyhow::anyhow!("the test did not run"))
}

#[test]
fn faults_do_what_their_names_say() -> Result<()> {
    let minute = Duration::from_secs(60);
    let unsure =
        |outcome: &Result<PutOutcome, Error>| matches!(outcome, Ok(PutOutcome::Indeterminate(_)));
    let written =
        |outcome: &Result<PutOutcome, Error>| matches!(outcome, Ok(PutOutcome::Written(_)));

    for loss in [Loss::Reset, Loss::Silence] {
        let (outcome, then, settled) = put_under(Fault::LoseRequest(loss))?;
        assert!(
            unsure(&outcome) && !then && !settled,
            "{loss:?}: {outcome:?}"
        );
        let (outcome, then, settled) = put_under(Fault::LoseReply(loss))?;
        assert!(unsure(&outcome) && then && settled, "{loss:?}: {outcome:?}");
    }
    let (outcome, then, settled) = put_under(Fault::Late(10 * minute))?;
    assert!(unsure(&outcome) && !then && settled, "{outcome:?}");
    let (outcome, then, settled) = put_under(Fault::Duplicate(minute))?;
    assert!(written(&outcome) && then && settled, "{outcome:?}");
    let (outcome, then, _) = put_under(Fault::FailAfter(500))?;
    assert!(unsure(&outcome) && then, "{outcome:?}");
    let (outcome, then, _) = put_under(Fault::FailBefore(500))?;
    assert!(unsure(&outcome) && !then, "{outcome:?}");
    let (outcome, then, _) = put_under(Fault::Refuse)?;
    assert!(
        matches!(outcome, Err(Error::Unavailable(_))) && !then,
        "{outcome:?}"
    );
    Ok(())
}

#[test]
fn a_duplicate_reaches_the_store_twice() -> Result<()> {
    simulate(4, async |world| {
        world
            .faults()
            .script(on(Kind::Put).then(Fault::Duplicate(Duration::from_secs(300))));
        let mut a = bucket(world, "a").await?;
        a.bucket().put(&create("k", "body")).await??;
        world.store().tamper(|store| store.remove("bucket", "k"))?;
        world.settle().await;
        let statuses: Vec<u16> = world
            .store()
            .requests()
            .iter()
            .map(|entry| entry.status)
            .collect();
        assert_eq!(
            statuses,
            [200, 200],
            "the copy finds the slot empty and fills it"
        );
        assert_eq!(world.sent().len(), 1);
        Ok(())
    })
}

#[test]
fn a_paused_instance_sees_its_reply_afterwards() -> Result<()> {
    let two_hours = Duration::from_secs(7200);
    for (moment, written_at) in [
        (Moment::BeforeSending, two_hours),
        (Moment::AfterApplying, Duration::ZERO),
    ] {
        simulate(5, async |world| {
            let pause = Pause {
                moment,
                length: two_hours,
                clocks: Clocks::Stop,
            };
            world
                .faults()
                .script(on(Kind::Put).then(Fault::Pause(pause)));
            let mut a = bucket(world, "a").await?;
            let guest_before = a.clock().monotonic_ns();
            let outcome = a.bucket().put(&create("k", "body")).await?;
            assert!(
                matches!(outcome, Ok(PutOutcome::Written(_))),
                "{moment:?}: {outcome:?}"
            );
            assert_eq!(world.clock().elapsed().as_secs(), 7200);
            assert!(a.clock().monotonic_ns() - guest_before < 1_000_000_000);
            let object = world.store().object("k").expect("it was written");
            assert_eq!(
                object.modified_at.seconds(),
                1_767_225_600 + written_at.as_secs()
            );
            Ok(())
        })?;
    }
    Ok(())
}

fn shared() -> AppendOptions {
    AppendOptions {
        writer: Writer::Shared,
        expected: None,
        producer: None,
    }
}

#[test]
fn the_composed_component_appends_to_a_log() -> Result<()> {
    simulate(7, async |world| {
        let mut a = world.instance("a").await?;
        let first = a
            .log()
            .append("orders", &[b"one".to_vec()], &shared())
            .await?;
        assert_eq!(
            first,
            Ok(AppendOutcome::Appended(Extent { start: 0, end: 1 }))
        );
        let before = world.store().totals();
        let second = a
            .log()
            .append("orders", &[b"two".to_vec(), b"three".to_vec()], &shared())
            .await?;
        assert_eq!(
            second,
            Ok(AppendOutcome::Appended(Extent { start: 1, end: 3 }))
        );
        let used = world.store().totals().since(&before);
        assert_eq!(
            (used.of(Kind::Put), used.all()),
            (1, 1),
            "a warm append: {used}"
        );

        let mut b = world.instance("b").await?;
        let limit = ReadLimit {
            records: 10,
            bytes: 1 << 20,
        };
        let Ok(ReadOutcome::Records(batch)) = b.log().read("orders", Cursor::at(0), limit).await?
        else {
            panic!("nothing to read");
        };
        let bodies: Vec<&[u8]> = batch
            .entries
            .iter()
            .map(|entry| entry.body.as_slice())
            .collect();
        assert_eq!(bodies, [&b"one"[..], b"two", b"three"]);
        assert!(b.receipts().take().await?.gets > 0);
        Ok(())
    })
}

#[test]
fn the_memory_limit_is_enforced() -> Result<()> {
    simulate(6, async |world| {
        let body = "x".repeat(8 << 20);
        let mut small = world
            .instance("small")
            .artifact(Artifact::BucketS3)
            .memory_bytes(4 << 20)
            .await?;
        assert!(
            small.bucket().put(&create("k", &body)).await.is_err(),
            "8 MiB fitted into 4 MiB"
        );
        let mut large = bucket(world, "large").await?;
        large.bucket().put(&create("k", &body)).await??;
        Ok(())
    })
}
