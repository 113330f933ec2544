//! Goal: the finished component refuses a store that does not keep conditions before
//! anything is created there, and tells what is wrong with it when it is asked.
//!
//! Method: the store of this process with the flaws that occur in the field, and
//! without any, on good and on bad days; and a real SeaweedFS.

use anyhow::{Context, Result, bail, ensure};
use host_test::bindings::doctor::{Check, Report, Verdict};
use host_test::bindings::lease;
use host_test::bindings::log::{AppendOptions, CreateOutcome, Error, Settings, Writer};
use host_test::bindings::manifest;
use host_test::faults::Rates;
use host_test::host::Instance;
use host_test::seaweed::Seaweed;
use host_test::store::{Options, Quirk};
use host_test::world::{NOTE_KEY, Site, World, virtual_time};
use std::time::Duration;

const SETTINGS: Settings = Settings {
    grace_ms: 3_600_000,
    clock_margin_ms: 300_000,
};

const SHARED: AppendOptions = AppendOptions {
    writer: Writer::Shared,
    expected: None,
    producer: None,
};

/// Conditions are checked a little later than racing writes arrive.
const RACY: Quirk = Quirk::ChecksConditionsLate(Duration::from_millis(15));

/// A store that nobody has checked yet.
fn unchecked(seed: u64, quirks: &[Quirk]) -> World {
    let options = Options {
        quirks: quirks.iter().cloned().collect(),
        ..Options::default()
    };
    let world = World::unchecked(seed, options);
    world.faults().latency(Duration::from_millis(20));
    world
}

/// Stores that must be refused, and what an examination finds there.
fn flaws() -> [(Vec<Quirk>, Vec<Check>); 4] {
    use Check::{Create, RacingCreates, RacingReplaces, Replace};
    let both = vec![Create, Replace, RacingCreates, RacingReplaces];
    [
        (vec![Quirk::IgnoresIfNoneMatch], vec![Create, RacingCreates]),
        (vec![Quirk::IgnoresIfMatch], vec![Replace, RacingReplaces]),
        (vec![Quirk::IgnoresIfNoneMatch, Quirk::IgnoresIfMatch], both),
        // Right as long as nobody else writes.
        (vec![RACY], vec![RacingCreates, RacingReplaces]),
    ]
}

/// The checks that ended so.
fn checks(report: &Report, verdict: Verdict) -> Vec<Check> {
    let findings = report.findings.iter();
    findings
        .filter(|finding| finding.verdict == verdict)
        .map(|finding| finding.check)
        .collect()
}

#[test]
fn scenario_54_nothing_is_created_where_conditions_are_not_kept() -> Result<()> {
    for (quirks, _) in flaws() {
        virtual_time()?
            .block_on(async {
                let world = unchecked(1, &quirks);
                for attempt in ["a", "b"] {
                    let mut instance = world.instance(attempt).await?;
                    let created = instance.log().create("l", SETTINGS).await?;
                    ensure!(matches!(created, Err(Error::Unsupported(_))), "{created:?}");
                    let record = [b"record".to_vec()];
                    let appended = instance.log().append("l", &record, &SHARED).await?;
                    ensure!(
                        matches!(appended, Err(Error::Unsupported(_))),
                        "{appended:?}"
                    );
                    let request = lease::Request {
                        holder: attempt.to_owned(),
                        duration_ms: 10_000,
                        note: String::new(),
                        bounds: None,
                    };
                    let acquired = instance.lease().acquire("l", &request).await?;
                    ensure!(
                        matches!(acquired, Err(lease::Error::Unsupported(_))),
                        "{acquired:?}"
                    );
                    let created = instance.manifest().create("m", SETTINGS).await?;
                    ensure!(
                        matches!(created, Err(manifest::Error::Unsupported(_))),
                        "{created:?}"
                    );
                }
                let keys = world.store().keys("");
                ensure!(
                    keys.iter().all(|key| key.starts_with("_doctor/probe.")),
                    "{keys:?}"
                );
                anyhow::Ok(())
            })
            .with_context(|| format!("{quirks:?}"))?;
    }
    Ok(())
}

#[test]
fn scenario_54_an_examination_finds_what_is_wrong() -> Result<()> {
    for (quirks, failed) in flaws() {
        virtual_time()?
            .block_on(async {
                let world = unchecked(2, &quirks);
                let mut instance = world.instance("a").await?;
                let report = instance.doctor().examine().await??;
                ensure!(report.verdict == Verdict::Failed, "{report:?}");
                let found = checks(&report, Verdict::Failed);
                ensure!(found == failed, "{report:?}");
                ensure!(world.store().keys("").is_empty());
                anyhow::Ok(())
            })
            .with_context(|| format!("{quirks:?}"))?;
    }
    virtual_time()?.block_on(async {
        let world = unchecked(3, &[Quirk::TellsNoTime]);
        let mut instance = world.instance("a").await?;
        let report = instance.doctor().examine().await??;
        assert_eq!(report.verdict, Verdict::Limited);
        assert_eq!(checks(&report, Verdict::Limited), [Check::Time]);
        let world = unchecked(3, &[Quirk::UnsortedListings]);
        let mut instance = world.instance("a").await?;
        let report = instance.doctor().examine().await??;
        assert_eq!(checks(&report, Verdict::Failed), [Check::Listing]);
        Ok(())
    })
}

async fn create(instance: &mut Instance, log: &str) -> Result<()> {
    match instance.log().create(log, SETTINGS).await?? {
        CreateOutcome::Created | CreateOutcome::Exists(_) => Ok(()),
        other => bail!("{other:?}"),
    }
}

#[test]
fn a_store_that_keeps_conditions_is_checked_once() -> Result<()> {
    virtual_time()?.block_on(async {
        let world = unchecked(4, &[]);
        create(&mut world.instance("a").await?, "a").await?;
        assert_eq!(world.store().keys("_doctor/").len(), 3);
        assert!(world.store().object(NOTE_KEY).is_some());
        let before = world.store().totals();
        create(&mut world.instance("b").await?, "b").await?;
        assert_eq!(world.store().totals().since(&before).all(), 3);
        let mut instance = world.instance("c").await?;
        let report = instance.doctor().examine().await??;
        assert_eq!(report.verdict, Verdict::Passed, "{report:?}");
        assert_eq!(world.store().keys("_doctor/").len(), 3);
        assert_eq!(world.store().totals().unconditional_puts, 0);
        Ok(())
    })
}

/// Whatever gets lost, no good store is refused and no bad one accepted.
#[test]
fn on_a_bad_day_the_check_is_right_all_the_same() -> Result<()> {
    let mut created = 0;
    for seed in 0..20 {
        for quirks in [vec![], vec![Quirk::IgnoresIfMatch]] {
            virtual_time()?.block_on(async {
                let world = unchecked(100 + seed, &quirks);
                world.faults().rates(Rates::bad_day());
                for name in ["a", "b", "c"] {
                    let mut instance = world.instance(name).await?;
                    match instance.log().create("l", SETTINGS).await? {
                        Ok(CreateOutcome::Created | CreateOutcome::Exists(_)) => {
                            ensure!(quirks.is_empty(), "it was accepted");
                            created += 1;
                        }
                        Err(Error::Unsupported(why)) => {
                            ensure!(!quirks.is_empty(), "it was refused: {why}");
                        }
                        Ok(CreateOutcome::Indeterminate(_)) => ensure!(quirks.is_empty()),
                        Err(Error::Unavailable(_) | Error::Throttled(_)) => {}
                        Err(other) => bail!("{other:?}"),
                    }
                }
                Ok(())
            })?;
        }
    }
    assert!(created > 40, "{created} of 60");
    Ok(())
}

/// A store with a limit on the writes to one key, as R2 has it.
#[test]
fn a_limit_on_writes_to_one_key_does_no_harm() -> Result<()> {
    for (quirks, verdict) in [
        (vec![], Verdict::Passed),
        (vec![Quirk::IgnoresIfMatch], Verdict::Failed),
        (vec![Quirk::IgnoresIfNoneMatch], Verdict::Failed),
    ] {
        virtual_time()?
            .block_on(async {
                let world = unchecked(5, &quirks);
                let interval = Some(Duration::from_secs(1));
                world.faults().one_write_per_key_in(interval);
                let mut instance = world.instance("a").await?;
                let created = instance.log().create("l", SETTINGS).await?;
                match verdict {
                    Verdict::Passed => ensure!(created == Ok(CreateOutcome::Created)),
                    _ => ensure!(matches!(created, Err(Error::Unsupported(_)))),
                }
                let report = instance.doctor().examine().await??;
                ensure!(report.verdict == verdict, "{report:?}");
                anyhow::Ok(())
            })
            .with_context(|| format!("{quirks:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn seaweedfs_passes() -> Result<()> {
    let site = Site::on_this_machine(&Seaweed::shared()?.endpoint(), 6);
    let site = site.with("IFMATCH_PREFIX", "doctor");
    create(&mut site.instance("a").await?, "l").await?;
    let report = site.instance("b").await?.doctor().examine().await??;
    assert_eq!(checks(&report, Verdict::Failed), [], "{report:?}");
    assert_eq!(checks(&report, Verdict::Unclear), [], "{report:?}");
    Ok(())
}
