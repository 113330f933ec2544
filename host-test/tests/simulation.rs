//! Goal: the simulation finds what is wrong, and one seed gives one history.
//!
//! Method: seeds are run twice; stores that break their word are put under it; and
//! what a store holds is changed behind the back of each check, which must notice.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use host_test::bindings::lease::{AcquireOutcome, ClockBounds, RenewOutcome, Request};
use host_test::bindings::log::{AppendOptions, AppendOutcome, Cursor, Settings, Token, Writer};
use host_test::bindings::retention::Keep;
use host_test::sim::reigns::check_versions;
use host_test::sim::{Extent, SCENARIOS, Scenario, chain, run};
use host_test::store::{Deed, Quirk};
use host_test::world::{World, simulate};
use ifmatch::codec::Header;
use ifmatch::token::Epoch;
use std::collections::BTreeSet;
use std::time::Duration;

/// Seeds within which a store that breaks its word must be noticed.
const SEEDS_MAX: u64 = 20;
const LOG: &str = "l";

fn mixed() -> Result<&'static Scenario> {
    SCENARIOS.first().context("there are no scenarios")
}

#[test]
fn a_seed_gives_one_history_and_another_seed_another() -> Result<()> {
    let mut digests = BTreeSet::new();
    for seed in 1..=3 {
        let once = run(seed, mixed()?, &Extent::default())?;
        let twice = run(seed, mixed()?, &Extent::default())?;
        ensure!(once.violations.is_empty(), "{:?}", once.violations);
        ensure!(once.trace == twice.trace && once.digest == twice.digest);
        ensure!(once.calls() >= 100, "only {} calls", once.calls());
        digests.insert(once.digest);
    }
    ensure!(digests.len() == 3);
    Ok(())
}

/// A store that breaks its word in one way is noticed, whatever else goes wrong.
#[test]
fn stores_that_break_their_word_are_noticed() -> Result<()> {
    for quirk in [
        Quirk::IgnoresIfNoneMatch,
        Quirk::IgnoresIfMatch,
        Quirk::ChecksConditionsLate(Duration::from_secs(2)),
    ] {
        let extent = Extent {
            quirks: BTreeSet::from([quirk.clone()]),
            ..Extent::default()
        };
        let mut found = None;
        for seed in 1..=SEEDS_MAX {
            let violations = run(seed, mixed()?, &extent)?.violations;
            if let Some(violation) = violations.first() {
                found = Some((seed, violation.clone()));
                break;
            }
        }
        let (seed, violation) = found.with_context(|| format!("{quirk:?} passed"))?;
        println!("{quirk:?}: seed {seed}: {violation}");
    }
    Ok(())
}

/// Everything that was written and deleted in a log of six segments, the last of
/// them under epoch 5, of which the first three are trimmed.
async fn diary_of_a_log(world: &World) -> Result<Vec<Deed>> {
    world.store().tamper(|store| store.keep_diary())?;
    let mut a = world.instance("a").await?;
    let settings = Settings {
        grace_ms: 1_000,
        clock_margin_ms: 0,
    };
    a.log().create(LOG, settings).await??;
    for number in 0..5 {
        let options = AppendOptions {
            writer: match number {
                4 => Writer::Fenced(Token { epoch: 5 }),
                _ => Writer::Shared,
            },
            expected: None,
            producer: None,
        };
        let records = [format!("record {number}").into_bytes()];
        match a.log().append(LOG, &records, &options).await?? {
            AppendOutcome::Appended(extent) => ensure!(extent.start == number),
            other => bail!("{other:?}"),
        }
        world.pass(Duration::from_secs(5)).await;
    }
    a.retention().trim(LOG, Keep::Start(1)).await??;
    let report = a.retention().trim(LOG, Keep::Start(2)).await??;
    ensure!(
        report.first_kept
            == Cursor {
                slot: Some(3),
                ..report.first_kept
            }
    );
    world.store().tamper(|store| store.diary().to_vec())
}

fn says(diary: &[Deed], what: &str) -> Result<()> {
    let violations = chain::check(LOG, diary)?.violations;
    ensure!(
        violations.iter().any(|violation| violation.contains(what)),
        "not \"{what}\" but {violations:?}"
    );
    Ok(())
}

#[test]
fn the_check_of_a_log_notices_every_kind_of_damage() -> Result<()> {
    simulate(1, async |world| {
        let diary = diary_of_a_log(world).await?;
        let truth = chain::check(LOG, &diary)?;
        ensure!(truth.violations.is_empty(), "{:?}", truth.violations);
        ensure!(truth.records.len() == 5 && truth.first_kept == 2);
        ensure!(truth.epochs == [0, 0, 0, 0, 5]);

        let keys = chain::keys(LOG)?;
        let slots: Vec<usize> = (0..6)
            .filter_map(|slot| {
                let key = keys.slot(ifmatch::keys::Slot(slot));
                diary.iter().position(|deed| deed.key == key)
            })
            .collect();
        ensure!(slots.len() == 6);
        let last = diary.last().context("no diary")?.clone();
        let with = |change: &dyn Fn(&mut Vec<Deed>)| {
            let mut changed = diary.clone();
            change(&mut changed);
            changed
        };
        let more = |slot: usize, body: bool| {
            let deed = &diary[slots[slot]];
            Deed {
                body: deed.body.clone().filter(|_| body),
                ..last.clone()
            }
            .at(&deed.key)
        };
        says(&with(&|d| drop(d.remove(slots[2]))), "before slot 2")?;
        says(&with(&|d| d.swap(slots[1], slots[2])), "before slot 1")?;
        says(
            &with(&|d| d.push(more(5, false))),
            "although it is not trimmed",
        )?;
        says(
            &with(&|d| d.push(more(0, false))),
            "the first segment is deleted",
        )?;
        says(&with(&|d| d.push(more(4, true))), "written again")?;
        // Nobody looks there.
        let late = with(&|d| d.push(more(1, true)));
        ensure!(chain::check(LOG, &late)?.violations.is_empty());
        says(
            &with(&|d| {
                let body = d[slots[3]].body.as_ref().map(|body| {
                    let mut body = body.to_vec();
                    body[40] ^= 1;
                    Bytes::from(body)
                });
                d[slots[3]].body = body;
            }),
            "",
        )?;
        says(
            &with(&|d| d[slots[3]].body = d[slots[2]].body.clone()),
            "for another place",
        )?;
        // The watermark: two versions of it, in the other order.
        let states: Vec<usize> = (0..diary.len())
            .filter(|at| diary[*at].key == keys.state())
            .collect();
        ensure!(states.len() == 2);
        says(
            &with(&|d| {
                let first = d[states[0]].clone();
                d.push(first);
            }),
            "the watermark falls",
        )?;
        says(
            &with(&|d| {
                let state = d[states[1]].clone();
                d.insert(slots[2], state);
            }),
            "passes the newest",
        )?;
        says(
            &with(&|d| d[slots[2]].at = d[states[1]].at),
            "ms after it was written",
        )?;
        // A segment under a lower epoch, as a leader writes it that nobody fenced.
        let lower = with(&|d| {
            for (slot, epoch) in [(4, 6), (5, 5)] {
                let body = d[slots[slot]].body.clone().unwrap_or_default();
                d[slots[slot]].body = under_epoch(&body, epoch);
            }
        });
        says(&lower, "epoch 5 follows on epoch 6")?;
        Ok(())
    })
}

trait At {
    fn at(self, key: &str) -> Self;
}

impl At for Deed {
    fn at(mut self, key: &str) -> Self {
        self.key = key.to_owned();
        self
    }
}

/// A segment with another epoch in its header.
fn under_epoch(body: &[u8], epoch: u64) -> Option<Bytes> {
    let (mut header, payload) = Header::decode_object(body).ok()?;
    header.epoch = Epoch(epoch);
    let mut changed = header.encode().ok()?;
    changed.extend_from_slice(payload);
    Some(Bytes::from(changed))
}

#[test]
fn the_check_of_a_lease_notices_every_kind_of_damage() -> Result<()> {
    simulate(1, async |world| {
        world.store().tamper(|store| store.keep_diary())?;
        let mut a = world.instance("a").await?;
        let request = |holder: &str| Request {
            holder: holder.to_owned(),
            duration_ms: 5_000,
            note: String::new(),
            bounds: Some(ClockBounds {
                rate_ppm: 1_000,
                margin_ms: 1_000,
            }),
        };
        let AcquireOutcome::Acquired(grant) = a.lease().acquire("x", &request("a")).await?? else {
            bail!("not acquired");
        };
        let RenewOutcome::Renewed(_) = a.lease().renew(&grant, 5_000).await?? else {
            bail!("not renewed");
        };
        world.pass(Duration::from_secs(60)).await;
        let AcquireOutcome::Acquired(_) = a.lease().acquire("x", &request("b")).await?? else {
            bail!("not acquired again");
        };
        let diary = world.store().tamper(|store| store.diary().to_vec())?;
        // A reservation, a term, its renewal, and the next term.
        ensure!(diary.len() == 4);
        ensure!(check_versions(&diary).is_empty());
        let damaged = |change: &dyn Fn(&mut Vec<Deed>)| {
            let mut changed = diary.clone();
            change(&mut changed);
            check_versions(&changed)
        };
        for (what, found) in [
            ("token", damaged(&|d| d.swap(2, 3))),
            ("deleted", damaged(&|d| d[2].body = None)),
            ("nonce", damaged(&|d| d[2].body = d[1].body.clone())),
            (
                "x/_lease",
                damaged(&|d| d[2].body = Some(Bytes::from_static(b"{}"))),
            ),
        ] {
            let said = found.iter().any(|violation| violation.contains(what));
            ensure!(said, "not \"{what}\" but {found:?}");
        }
        Ok(())
    })
}
