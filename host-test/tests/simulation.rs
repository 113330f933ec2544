//! Goal: the simulation finds what is wrong, and one seed gives one history.
//!
//! Method: seeds are run twice; stores that break their word are put under it; and
//! what a store holds is changed behind the back of each check, which must notice.

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use host_test::bindings::blob::Reference;
use host_test::bindings::collection::{Keep, KeepVersions, MergeOptions, Target};
use host_test::bindings::lease::{AcquireOutcome, ClockBounds, RenewOutcome, Request};
use host_test::bindings::log::{AppendOptions, AppendOutcome, Settings, Token, Writer};
use host_test::bindings::manifest::{Change, CommitOutcome, Dependency, Edit, ForkOutcome, Item};
use host_test::bindings::transaction::{Outcome, Part};
use host_test::sim::reigns::check_versions;
use host_test::sim::versions::{self, Changes};
use host_test::sim::{Extent, SCENARIOS, Scenario, chain, run, slots};
use host_test::store::{Deed, Quirk};
use host_test::world::{World, simulate};
use ifmatch::codec::{Header, Tag};
use ifmatch::keys::{ChainKeys, Family, Slot};
use ifmatch::slots::ChainState;
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
    a.collection().trim(LOG, Keep::Start(1)).await??;
    let report = a.collection().trim(LOG, Keep::Start(2)).await??;
    ensure!(report.first_kept == 2, "{report:?}");
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
        let places: Vec<usize> = (0..6)
            .filter_map(|slot| {
                let key = keys.slot(ifmatch::keys::Slot(slot));
                diary.iter().position(|deed| deed.key == key)
            })
            .collect();
        ensure!(places.len() == 6);
        let last = diary.last().context("no diary")?.clone();
        let with = |change: &dyn Fn(&mut Vec<Deed>)| {
            let mut changed = diary.clone();
            change(&mut changed);
            changed
        };
        let more = |slot: usize, body: bool| {
            let deed = &diary[places[slot]];
            Deed {
                body: deed.body.clone().filter(|_| body),
                ..last.clone()
            }
            .at(&deed.key)
        };
        says(&with(&|d| drop(d.remove(places[2]))), "before slot 2")?;
        says(&with(&|d| d.swap(places[1], places[2])), "before slot 1")?;
        says(
            &with(&|d| d.push(more(5, false))),
            "although it is not trimmed",
        )?;
        says(
            &with(&|d| d.push(more(0, false))),
            "the first object is deleted",
        )?;
        says(&with(&|d| d.push(more(4, true))), "written again")?;
        // Nobody looks there.
        let late = with(&|d| d.push(more(1, true)));
        ensure!(chain::check(LOG, &late)?.violations.is_empty());
        says(
            &with(&|d| {
                let body = d[places[3]].body.as_ref().map(|body| {
                    let mut body = body.to_vec();
                    body[40] ^= 1;
                    Bytes::from(body)
                });
                d[places[3]].body = body;
            }),
            "",
        )?;
        says(
            &with(&|d| d[places[3]].body = d[places[2]].body.clone()),
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
                d.insert(places[2], state);
            }),
            "passes the newest",
        )?;
        says(
            &with(&|d| d[places[2]].at = d[states[1]].at),
            "ms after it was written",
        )?;
        // A segment under a lower epoch, as a leader writes it that nobody fenced.
        let lower = with(&|d| {
            for (slot, epoch) in [(4, 6), (5, 5)] {
                let deed = &mut d[places[slot]];
                deed.body = rewritten(deed, |header| header.epoch = Epoch(epoch));
            }
        });
        says(&lower, "epoch 5 follows on epoch 6")?;
        Ok(())
    })
}

/// Everything that was written and deleted in a log of six segments, of which the
/// first five are merged into two packs, and the first of these is trimmed.
async fn diary_of_a_merged_log(world: &World) -> Result<Vec<Deed>> {
    world.store().tamper(|store| store.keep_diary())?;
    let mut a = world.instance("a").await?;
    let settings = Settings {
        grace_ms: 1_000,
        clock_margin_ms: 0,
    };
    a.log().create(LOG, settings).await??;
    let options = AppendOptions {
        writer: Writer::Shared,
        expected: None,
        producer: None,
    };
    for number in 0..5 {
        let records = [format!("record {number}").into_bytes()];
        a.log().append(LOG, &records, &options).await??;
        world.pass(Duration::from_secs(5)).await;
        if number == 2 || number == 4 {
            let merge = MergeOptions {
                spare: Keep::Records(0),
                at_least: 1,
            };
            let report = a.collection().merge(LOG, merge).await??;
            ensure!(
                report.packs == 1 && report.merged_until == number,
                "{report:?}"
            );
        }
    }
    let report = a.collection().trim(LOG, Keep::Start(2)).await??;
    ensure!(report.first_kept == 2, "{report:?}");
    world.store().tamper(|store| store.diary().to_vec())
}

#[test]
fn the_check_of_a_merged_log_notices_every_kind_of_damage() -> Result<()> {
    simulate(1, async |world| {
        let diary = diary_of_a_merged_log(world).await?;
        let truth = chain::check(LOG, &diary)?;
        ensure!(truth.violations.is_empty(), "{:?}", truth.violations);
        ensure!(truth.records.len() == 5 && truth.first_kept == 2);
        let keys = chain::keys(LOG)?;
        let written = |part: &str| -> Vec<usize> {
            let part = format!("log/{LOG}/{part}");
            let here = |at: &usize| diary[*at].key.starts_with(&part) && diary[*at].body.is_some();
            (0..diary.len()).filter(here).collect()
        };
        let (packs, states) = (written("_pack/"), written("_state"));
        ensure!(packs.len() == 2, "{packs:?}");
        let slot = |slot: u64| -> Result<usize> {
            let key = keys.slot(Slot(slot));
            let found = diary.iter().position(|deed| deed.key == key);
            found.with_context(|| format!("nobody wrote {key}"))
        };
        let (third, fourth) = (slot(2)?, slot(3)?);
        let last = *states.last().context("no state")?;
        let deleted = |place: usize| Deed {
            body: None,
            ..diary[place].clone()
        };
        type Damage<'a> = Box<dyn Fn(&mut Vec<Deed>) + 'a>;
        let damages: Vec<(&str, Damage<'_>)> = vec![
            (
                "record 2 is kept, and in no pack or slot",
                Box::new(|d| d.push(deleted(packs[1]))),
            ),
            (
                "record 0 is kept, and in no pack or slot",
                Box::new(|d| drop(d.remove(packs[0]))),
            ),
            (
                "the pack was written for another place",
                Box::new(|d| d[packs[1]].key = diary[packs[0]].key.clone()),
            ),
            (
                "which nobody has filled",
                Box::new(|d| d.insert(third, diary[packs[0]].clone())),
            ),
            (
                "it holds something else than slot 3 did",
                Box::new(|d| d[fourth].body = rewritten(&diary[fourth], |it| it.epoch = Epoch(1))),
            ),
            (
                "it has another time for slot 2",
                Box::new(|d| d[third].at = d[third].at.offset_ms(-2_000)),
            ),
            (
                "the watermark at slot",
                Box::new(|d| {
                    d[last].body = moved(&diary[last], |state| state.first_kept_offset += 1)
                }),
            ),
            (
                "the watermark at slot",
                Box::new(|d| {
                    d[last].body = moved(&diary[last], |state| {
                        let merged = state.merged.iter_mut();
                        merged.for_each(|merged| merged.end_offset += 1);
                    });
                }),
            ),
            (
                "although it is not trimmed",
                Box::new(|d| d.insert(packs[1], deleted(fourth))),
            ),
        ];
        for (what, damage) in damages {
            let mut damaged = diary.clone();
            damage(&mut damaged);
            says(&damaged, what)?;
        }
        Ok(())
    })
}

/// A state of the log with other watermarks.
fn moved(deed: &Deed, change: impl Fn(&mut ChainState)) -> Option<Bytes> {
    let (header, mut state) = ChainState::decode_object(deed.body.as_ref()?).ok()?;
    change(&mut state);
    let body = state.encode_object(header.identity, header.commit_id);
    body.ok().map(Bytes::from)
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

const MANIFESTS: [&str; 2] = ["one", "two"];
const FORK: &str = "fork";
const ALL: [&str; 3] = [MANIFESTS[0], MANIFESTS[1], FORK];

/// Two manifests with a blob and a transaction, of which old versions are trimmed, with
/// a fork of the first, and what was asked for.
async fn diary_of_manifests(world: &World) -> Result<(Vec<Deed>, Changes)> {
    world.store().tamper(|store| store.keep_diary())?;
    let mut a = world.instance("a").await?;
    let settings = Settings {
        grace_ms: 1_000,
        clock_margin_ms: 0,
    };
    let mut changes = Changes::new();
    let mut change = |name: &'static str, message: &str, value: usize, blobs: Vec<Reference>| {
        let item = Item {
            key: message.to_owned(),
            value: vec![b'v'; value],
            blobs,
        };
        let change = Change {
            base: 0,
            depends_on: Dependency::Nothing,
            edits: vec![Edit::Set(item)],
            writer: Writer::Shared,
            author: String::new(),
            message: message.to_owned(),
            id: None,
        };
        changes.insert((name, message.to_owned()), change.clone());
        change
    };
    for name in MANIFESTS {
        a.manifest().create(name, settings).await??;
    }
    let one = MANIFESTS[0];
    let blobs = a.blob().put(one, 0, &[b"blob".to_vec()]).await??;
    // Large, so that the versions behind it are not full.
    for (message, value, blobs) in [("large", 20_000, Vec::new()), ("small", 1, blobs)] {
        let change = change(one, message, value, blobs);
        let outcome = a.manifest().commit(one, &change).await??;
        ensure!(
            matches!(outcome, CommitOutcome::Committed(_)),
            "{outcome:?}"
        );
        world.pass(Duration::from_secs(5)).await;
    }
    let all = Target::manifest(one, KeepVersions::Start(1));
    a.collection().sweep(&all).await??;
    let parts = MANIFESTS.map(|name| Part {
        manifest: name.to_owned(),
        change: change(name, "both", 1, Vec::new()),
    });
    let outcome = a.transaction().commit(&parts).await??;
    ensure!(outcome == Outcome::Committed(vec![5, 2]), "{outcome:?}");
    let after = change(one, "after", 1, Vec::new());
    a.manifest().commit(one, &after).await??;
    world.pass(Duration::from_secs(5)).await;
    let later = Target::manifest(one, KeepVersions::Start(3));
    let report = a.collection().sweep(&later).await??;
    ensure!(report.first_kept == 3, "{report:?}");
    let forked = a.manifest().fork(one, 3, FORK).await??;
    ensure!(forked == ForkOutcome::Forked, "{forked:?}");
    let diary = world.store().tamper(|store| store.diary().to_vec())?;
    Ok((diary, changes))
}

#[test]
fn the_check_of_manifests_notices_every_kind_of_damage() -> Result<()> {
    simulate(1, async |world| {
        let (diary, changes) = diary_of_manifests(world).await?;
        let violations = |diary: &[Deed], changes: &Changes| -> Result<Vec<String>> {
            Ok(versions::check(&ALL, changes, diary)?.violations)
        };
        let found = violations(&diary, &changes)?;
        ensure!(found.is_empty(), "{found:?}");
        let truth = versions::check(&ALL, &changes, &diary)?;
        ensure!(truth.origins == [(FORK, (MANIFESTS[0].to_owned(), 3))].into());
        let forked = &truth.versions[FORK][0];
        ensure!(!forked.took_effect && forked.touched == ["large", "small"]);
        let keys = MANIFESTS.map(|name| slots::keys(Family::Manifest, name));
        let [Ok(one), Ok(two)] = keys else {
            bail!("these are names");
        };
        let at = |key: &str| {
            let found = diary.iter().position(|deed| deed.key.starts_with(key));
            found.with_context(|| format!("nobody wrote {key}"))
        };
        let version = |keys: &ChainKeys, number: u64| at(&keys.slot(Slot(number - 1)));
        let (blob, decision) = (at("blob/one/")?, at("_transaction/")?);
        let (copy, fork) = (at("blob/fork/")?, at("manifest/fork/")?);
        let (small, part) = (version(&one, 3)?, version(&two, 2)?);
        let (before, after) = (version(&one, 5)?, version(&one, 6)?);
        let state = at(&one.state())?;
        let deleted = |place: usize| Deed {
            body: None,
            ..diary[place].clone()
        };
        let deleted_later = |place: usize| Deed {
            at: diary[place].at.offset_ms(2 * 3_600_000),
            ..deleted(place)
        };
        let kept_from = |slot: u64| -> Result<Option<Bytes>> {
            let state = ChainState {
                first_kept: Slot(slot),
                ..ChainState::NEW
            };
            let body = state.encode_object(one.identity(), 7);
            Ok(Some(Bytes::from(body.map_err(|error| anyhow!("{error}"))?)))
        };
        let not_full = kept_from(5)?;
        type Damage<'a> = Box<dyn Fn(&mut Vec<Deed>) + 'a>;
        let damages: Vec<(&str, Damage<'_>)> = vec![
            ("before slot", Box::new(|d| drop(d.remove(small)))),
            (
                "does not follow",
                Box::new(|d| d[after].body = with_other_past(&diary[after])),
            ),
            ("not trimmed", Box::new(|d| d.push(deleted(after)))),
            (
                "it is deleted after 0 ms",
                Box::new(|d| d.push(deleted(decision))),
            ),
            (
                "it is deleted although one waits for it",
                Box::new(|d| d.insert(after, deleted_later(decision))),
            ),
            (
                "for it, after its decision was collected",
                Box::new(|d| d.extend([deleted_later(decision), diary[decision].clone()])),
            ),
            (
                "there is no version 3 of one to fork",
                Box::new(|d| d.insert(small, diary[fork].clone())),
            ),
            (
                "version 1 of fork names",
                Box::new(|d| drop(d.remove(copy))),
            ),
            (
                "decided twice",
                Box::new(|d| d.push(diary[decision].clone())),
            ),
            ("was decided", Box::new(|d| drop(d.remove(decision)))),
            ("in 1 of 2 manifests", Box::new(|d| drop(d.remove(part)))),
            ("which is not there", Box::new(|d| drop(d.remove(blob)))),
            (
                "is deleted, and version",
                Box::new(|d| d.push(deleted(blob))),
            ),
            (
                "another digest",
                Box::new(|d| d[blob].body = Some(Bytes::from_static(b"blog"))),
            ),
            (
                "generation is below",
                Box::new(|d| d[before].body = without_generation(&diary[before])),
            ),
            (
                "and not full",
                Box::new(|d| d[state].body = not_full.clone()),
            ),
            (
                "passes the newest",
                Box::new(|d| d.insert(small, diary[state].clone())),
            ),
        ];
        for (what, damage) in damages {
            let mut damaged = diary.clone();
            damage(&mut damaged);
            let found = violations(&damaged, &changes)?;
            let said = found.iter().any(|violation| violation.contains(what));
            ensure!(said, "not \"{what}\" but {found:?}");
        }
        let found = violations(&diary, &Changes::new())?;
        ensure!(
            found.len() == 5 && found[0].contains("nobody's"),
            "{found:?}"
        );
        Ok(())
    })
}

/// A version that follows on another than the one before it.
fn with_other_past(deed: &Deed) -> Option<Bytes> {
    rewritten(deed, |header| header.previous_id ^= 1)
}

/// A version with generation 0.
fn without_generation(deed: &Deed) -> Option<Bytes> {
    const SWEEP: Tag = Tag(7);
    rewritten(deed, |header| {
        let sections = header.sections.iter_mut();
        for section in sections.filter(|section| section.tag == SWEEP) {
            section.data[..4].fill(0);
        }
    })
}

/// An object with another header.
fn rewritten(deed: &Deed, change: impl Fn(&mut Header)) -> Option<Bytes> {
    let (mut header, payload) = Header::decode_object(deed.body.as_ref()?).ok()?;
    change(&mut header);
    let mut body = header.encode().ok()?;
    body.extend_from_slice(payload);
    Some(Bytes::from(body))
}
