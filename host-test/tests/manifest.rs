//! Goal: manifests, transactions and collection keep their promises through the
//! artifact that is shipped.
//!
//! Method: several instances of `ifmatch.wasm` under wasmtime, in virtual time against
//! the store in this process, where faults are injected and instances are killed; and
//! the same workloads against a real SeaweedFS. What was acknowledged is compared with
//! what fresh instances read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use host_test::artifact::Artifact;
use host_test::bindings::blob::Reference;
use host_test::bindings::bucket::presign::Upload;
use host_test::bindings::collection::{KeepVersions, Limit, Reason, Report, Target};
use host_test::bindings::log::{CreateOutcome, Settings, Writer};
use host_test::bindings::manifest::{
    AtOutcome, Change, CommitOutcome, Conflict, Dependency, Edit, ForkOutcome, Item, PinOutcome,
    Snapshot, VersionState,
};
use host_test::bindings::transaction::{Outcome, Part};
use host_test::conformance::to_http;
use host_test::faults::{Fault, Loss, Rates, on};
use host_test::host::Instance;
use host_test::random::Seeded;
use host_test::seaweed::Seaweed;
use host_test::store::Kind;
use host_test::world::{Site, World, simulate};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Old enough to be trimmed after this time.
const GRACE_MS: u32 = 3_000;

fn item(key: &str, value: &str, blobs: &[Reference]) -> Item {
    Item {
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
        blobs: blobs.to_vec(),
    }
}

/// A change that sets keys and depends on those.
fn change(base: u64, items: impl IntoIterator<Item = Item>) -> Change {
    Change {
        base,
        depends_on: Dependency::Edits,
        edits: items.into_iter().map(Edit::Set).collect(),
        writer: Writer::Shared,
        author: "test".to_owned(),
        message: String::new(),
        id: None,
    }
}

fn sets(base: u64, key: &str, value: &str) -> Change {
    change(base, [item(key, value, &[])])
}

async fn commit(instance: &mut Instance, name: &str, change: &Change) -> Result<u64> {
    match instance.manifest().commit(name, change).await?? {
        CommitOutcome::Committed(version) => Ok(version),
        other => bail!("{other:?}"),
    }
}

async fn latest(instance: &mut Instance, name: &str) -> Result<Snapshot> {
    let snapshot = instance.manifest().latest(name).await??;
    snapshot.with_context(|| format!("there is no {name}"))
}

/// Values by key.
fn values(snapshot: &Snapshot) -> Result<BTreeMap<String, String>> {
    let items = snapshot.items.iter();
    items
        .map(|item| Ok((item.key.clone(), String::from_utf8(item.value.clone())?)))
        .collect()
}

fn number(values: &BTreeMap<String, String>, key: &str) -> Result<i64> {
    Ok(values
        .get(key)
        .with_context(|| format!("no {key}"))?
        .parse()?)
}

async fn at(instance: &mut Instance, name: &str, version: u64) -> Result<Snapshot> {
    match instance.manifest().at(name, version, None).await?? {
        AtOutcome::Snapshot(snapshot) => Ok(snapshot),
        other => bail!("{other:?}"),
    }
}

async fn create(instance: &mut Instance, name: &str) -> Result<()> {
    let settings = Settings {
        grace_ms: GRACE_MS,
        clock_margin_ms: 0,
    };
    match instance.manifest().create(name, settings).await?? {
        CreateOutcome::Created => Ok(()),
        other => bail!("{other:?}"),
    }
}

/// Lets so much time go by that everything is old enough.
async fn age() {
    sleep(Duration::from_millis(u64::from(GRACE_MS) + 2_000)).await;
}

fn on_seaweedfs(corner: &str, test: impl AsyncFnOnce(&Site) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seaweed = Seaweed::shared()?;
    runtime.block_on(async {
        let site = Site::on_this_machine(&seaweed.endpoint(), 9)
            // On one hot key its losers wait about a second for each waiter before them.
            .with("IFMATCH_REQUEST_TIMEOUT_MS", "60000")
            .with("IFMATCH_PREFIX", &format!("manifest-suite/{corner}"));
        test(&site).await.context("on SeaweedFS")
    })
}

/// Commits on other keys are rebased, those on the same are refused with what the
/// winner changed, and a change with an id is made once.
async fn rebase_and_conflict(site: &Site) -> Result<()> {
    let (mut a, mut b) = (site.instance("a").await?, site.instance("b").await?);
    ensure!(commit(&mut a, "m", &sets(0, "x", "0")).await? == 1);
    latest(&mut b, "m").await?;
    ensure!(commit(&mut a, "m", &sets(1, "x", "1")).await? == 2);
    ensure!(
        commit(&mut b, "m", &sets(1, "y", "1")).await? == 3,
        "rebased"
    );
    let refused = b.manifest().commit("m", &sets(1, "x", "2")).await??;
    let expected = CommitOutcome::Conflict(Conflict {
        latest: 3,
        keys: vec!["x".to_owned()],
    });
    ensure!(refused == expected, "{refused:?}");
    let read = Change {
        depends_on: Dependency::Keys(vec!["y".to_owned()]),
        ..sets(2, "z", "1")
    };
    let refused = a.manifest().commit("m", &read).await??;
    ensure!(
        matches!(&refused, CommitOutcome::Conflict(conflict) if conflict.keys == ["y"]),
        "{refused:?}"
    );
    let once = Change {
        id: Some("order-7".to_owned()),
        ..sets(3, "z", "7")
    };
    ensure!(commit(&mut a, "m", &once).await? == 4);
    ensure!(commit(&mut b, "m", &sets(4, "x", "4")).await? == 5);
    let mut repeats = site.instance("c").await?;
    ensure!(commit(&mut repeats, "m", &once).await? == 4, "it was made");
    let seen = values(&latest(&mut repeats, "m").await?)?;
    let seen: Vec<_> = seen
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    ensure!(seen == ["x=4", "y=1", "z=7"], "{seen:?}");
    ensure!(values(&at(&mut repeats, "m", 2).await?)?.len() == 1);
    let history = repeats.manifest().history("m", None, 10).await??;
    let versions: Vec<u64> = history.iter().map(|summary| summary.version).collect();
    ensure!(versions == [5, 4, 3, 2, 1], "{versions:?}");
    Ok(())
}

#[test]
fn commits_are_rebased_or_refused() -> Result<()> {
    simulate(21, async |world| rebase_and_conflict(world.site()).await)
}

#[test]
fn commits_are_rebased_or_refused_on_a_real_server() -> Result<()> {
    on_seaweedfs("rebase", async |site| rebase_and_conflict(site).await)
}

/// What a writer was told of the changes that it asked for, by their keys.
#[derive(Default)]
struct Told {
    done: BTreeSet<String>,
    unknown: BTreeSet<String>,
    refused: u64,
}

impl Told {
    fn add(&mut self, other: Told) {
        self.done.extend(other.done);
        self.unknown.extend(other.unknown);
        self.refused += other.refused;
    }
}

/// Counts one up, and leaves a key of its own, `commits` times, whatever comes between.
async fn count_up(site: Site, writer: u64, commits: u64) -> Result<Told> {
    let mut told = Told::default();
    let mut instance = site.instance(&format!("writer-{writer}")).await?;
    for round in 0..commits {
        for attempt in 0..60 {
            let Ok(Some(snapshot)) = instance.manifest().latest("m").await? else {
                continue;
            };
            let count = number(&values(&snapshot)?, "count")? + 1;
            let key = format!("done/{writer}-{round}-{attempt}");
            let items = [item("count", &count.to_string(), &[]), item(&key, "", &[])];
            let change = change(snapshot.summary.version, items);
            match instance.manifest().commit("m", &change).await? {
                Ok(CommitOutcome::Committed(_)) => {
                    told.done.insert(key);
                    break;
                }
                Ok(CommitOutcome::Indeterminate(_)) => {
                    told.unknown.insert(key);
                    break;
                }
                Ok(CommitOutcome::Conflict(conflict)) => {
                    ensure!(conflict.keys == ["count"], "{conflict:?}");
                    told.refused += 1;
                }
                Ok(other) => bail!("{other:?}"),
                // Certainly not committed.
                Err(_) => {}
            }
        }
    }
    Ok(told)
}

/// Several instances count one number up. None of them is lost, none is there twice.
async fn competing(site: &Site, writers: u64, commits: u64) -> Result<Told> {
    let mut working = JoinSet::new();
    for writer in 0..writers {
        working.spawn(count_up(site.clone(), writer, commits));
    }
    let mut told = Told::default();
    while let Some(done) = working.join_next().await {
        told.add(done??);
    }
    Ok(told)
}

/// What was acknowledged is there, what was refused is not, and each counted once.
async fn check_count(site: &Site, told: &Told) -> Result<()> {
    let mut judge = site.instance("judge").await?;
    let snapshot = latest(&mut judge, "m").await?;
    let seen = values(&snapshot)?;
    let found: BTreeSet<String> = seen
        .keys()
        .filter(|key| key.starts_with("done/"))
        .cloned()
        .collect();
    let lost: Vec<_> = told.done.difference(&found).collect();
    ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let known: BTreeSet<String> = told.done.union(&told.unknown).cloned().collect();
    ensure!(found.is_subset(&known), "refused, and there: {found:?}");
    let count = number(&seen, "count")?;
    ensure!(count == i64::try_from(found.len())?, "{count}: {found:?}");
    // Each version is the one before, counted one up.
    for version in 1..=snapshot.summary.version {
        let values = values(&at(&mut judge, "m", version).await?)?;
        ensure!(number(&values, "count")? == i64::try_from(version)? - 1);
    }
    Ok(())
}

#[test]
fn of_commits_that_compete_none_is_lost_on_a_bad_day() -> Result<()> {
    let (mut done, mut refused) = (0, 0);
    for seed in 0..4 {
        simulate(seed, async |world: &World| {
            let mut opener = world.instance("opener").await?;
            commit(&mut opener, "m", &sets(0, "count", "0")).await?;
            world.faults().rates(Rates::bad_day());
            let told = competing(world.site(), 4, 6).await?;
            world.faults().calm();
            world.settle().await;
            done += told.done.len();
            refused += told.refused;
            check_count(world.site(), &told).await
        })
        .with_context(|| format!("seed {seed}"))?;
    }
    assert!(done > 70, "{done} of 96");
    assert!(refused > 0, "nobody was in anybody's way");
    Ok(())
}

#[test]
fn of_commits_that_compete_none_is_lost_on_a_real_server() -> Result<()> {
    on_seaweedfs("compete", async |site| {
        let mut opener = site.instance("opener").await?;
        commit(&mut opener, "m", &sets(0, "count", "0")).await?;
        let told = competing(site, 3, 4).await?;
        ensure!(told.done.len() == 12 && told.unknown.is_empty());
        check_count(site, &told).await
    })
}

const BANKS: [&str; 2] = ["bank/east", "bank/west"];
const ACCOUNTS: u64 = 3;
const DEPOSIT: i64 = 100;

async fn open_banks(site: &Site) -> Result<()> {
    let mut opener = site.instance("opener").await?;
    for bank in BANKS {
        let accounts = (0..ACCOUNTS).map(|at| item(&at.to_string(), &DEPOSIT.to_string(), &[]));
        commit(&mut opener, bank, &change(0, accounts)).await?;
    }
    Ok(())
}

/// Moves amounts between accounts of the two banks, each in one transaction, by
/// instances that may be killed in the middle of one.
async fn move_amounts(site: Site, clerk: u64, transfers: u64, kills: bool) -> Result<Told> {
    let mut told = Told::default();
    let mut dice = Seeded::fork(site.seed(), &format!("clerk-{clerk}"));
    let mut idle = None;
    for transfer in 0..transfers {
        for attempt in 0..60 {
            let mut instance: Instance = match idle.take() {
                Some(instance) => instance,
                None => site.instance(&format!("clerk-{clerk}")).await?,
            };
            let key = format!("done/{clerk}-{transfer}-{attempt}");
            let amount = 1 + i64::try_from(dice.below(20))?;
            let mut parts = Vec::new();
            for (bank, amount) in BANKS.into_iter().zip([-amount, amount]) {
                let account = dice.below(ACCOUNTS).to_string();
                let Ok(Some(snapshot)) = instance.manifest().latest(bank).await? else {
                    break;
                };
                let balance = number(&values(&snapshot)?, &account)? + amount;
                let items = [
                    item(&account, &balance.to_string(), &[]),
                    item(&key, "", &[]),
                ];
                parts.push(Part {
                    manifest: bank.to_owned(),
                    change: change(snapshot.summary.version, items),
                });
            }
            if parts.len() < BANKS.len() {
                idle = Some(instance);
                continue;
            }
            let patience_ms = match dice.below(6) {
                0 if kills => dice.below(400),
                _ => 3_600_000,
            };
            let mut transaction = instance.transaction();
            let committing = transaction.commit(&parts);
            let Ok(ended) = timeout(Duration::from_millis(patience_ms), committing).await else {
                told.unknown.insert(key);
                break;
            };
            idle = Some(instance);
            match ended? {
                Ok(Outcome::Committed(_)) => {
                    told.done.insert(key);
                    break;
                }
                Ok(Outcome::Indeterminate(_)) => {
                    told.unknown.insert(key);
                    break;
                }
                Ok(Outcome::Conflict(_) | Outcome::Aborted) => told.refused += 1,
                Ok(other) => bail!("{other:?}"),
                // Certainly not committed.
                Err(_) => {}
            }
        }
    }
    Ok(told)
}

/// Both banks have every transfer or none of them, and nothing is lost or made.
async fn check_banks(site: &Site, told: &Told) -> Result<()> {
    let mut judge = site.instance("judge").await?;
    let (mut sum, mut found) = (0, Vec::new());
    for bank in BANKS {
        // Decides what somebody left behind who was killed.
        let last = Change {
            depends_on: Dependency::Nothing,
            ..sets(0, "end", "")
        };
        commit(&mut judge, bank, &last).await?;
        let seen = values(&latest(&mut judge, bank).await?)?;
        for account in 0..ACCOUNTS {
            sum += number(&seen, &account.to_string())?;
        }
        let done = seen.into_keys().filter(|key| key.starts_with("done/"));
        found.push(done.collect::<BTreeSet<String>>());
    }
    let whole = i64::try_from(ACCOUNTS)? * DEPOSIT * 2;
    ensure!(sum == whole, "{sum} instead of {whole}");
    let [east, west] = found.as_slice() else {
        bail!("two banks");
    };
    ensure!(east == west, "half a transfer: {east:?}, {west:?}");
    ensure!(told.done.is_subset(east), "acknowledged and lost: {east:?}");
    let known: BTreeSet<String> = told.done.union(&told.unknown).cloned().collect();
    ensure!(east.is_subset(&known), "refused, and there: {east:?}");
    Ok(())
}

async fn transfers(site: &Site, clerks: u64, transfers: u64, kills: bool) -> Result<Told> {
    let mut working = JoinSet::new();
    for clerk in 0..clerks {
        working.spawn(move_amounts(site.clone(), clerk, transfers, kills));
    }
    let mut told = Told::default();
    while let Some(done) = working.join_next().await {
        told.add(done??);
    }
    Ok(told)
}

#[test]
fn transfers_between_two_manifests_never_change_the_sum() -> Result<()> {
    let (mut done, mut unknown, mut refused) = (0, 0, 0);
    for seed in 0..5 {
        simulate(seed, async |world: &World| {
            open_banks(world.site()).await?;
            world.faults().rates(Rates::bad_day());
            let told = transfers(world.site(), 3, 6, true).await?;
            world.faults().calm();
            world.settle().await;
            done += told.done.len();
            unknown += told.unknown.len();
            refused += told.refused;
            check_banks(world.site(), &told).await
        })
        .with_context(|| format!("seed {seed}"))?;
    }
    assert!(done > 45, "{done} of 90");
    assert!(unknown > 3, "nobody was killed");
    assert!(refused > 0, "nobody was in anybody's way");
    Ok(())
}

#[test]
fn transfers_between_two_manifests_on_a_real_server() -> Result<()> {
    on_seaweedfs("transfers", async |site| {
        open_banks(site).await?;
        let told = transfers(site, 2, 4, true).await?;
        ensure!(told.done.len() + told.unknown.len() == 8);
        check_banks(site, &told).await
    })
}

/// The driver of a transaction is killed at any moment. Whoever comes to either
/// manifest first decides, and both say the same.
#[test]
fn a_transaction_whose_driver_is_killed_is_decided_by_whoever_comes() -> Result<()> {
    let mut ends = BTreeMap::new();
    for after_ms in (0..120).step_by(7) {
        simulate(after_ms, async |world: &World| {
            open_banks(world.site()).await?;
            world.faults().latency(Duration::from_millis(10));
            {
                let mut driver = world.instance("driver").await?;
                let part = |bank: &str| Part {
                    manifest: bank.to_owned(),
                    change: sets(1, "0", "7"),
                };
                let parts = BANKS.map(part);
                let mut transaction = driver.transaction();
                let dying = transaction.commit(&parts);
                let _ = timeout(Duration::from_millis(after_ms), dying).await;
            }
            let mut states = BTreeSet::new();
            for bank in BANKS {
                let mut comer = world.instance("comer").await?;
                let before = world.clock().elapsed();
                let free = sets(1, "free", "1");
                let version = commit(&mut comer, bank, &free).await?;
                let waited = world.clock().elapsed() - before;
                ensure!(waited < Duration::from_secs(25), "{waited:?}");
                let snapshot = latest(&mut comer, bank).await?;
                states.insert(match values(&snapshot)?.get("0").map(String::as_str) {
                    Some("7") => VersionState::Committed as u8,
                    _ => VersionState::Aborted as u8,
                });
                let history = comer.manifest().history(bank, Some(version), 1).await??;
                let before = history.first().context("no history")?.state;
                ensure!(before != VersionState::Pending, "{before:?}");
            }
            ensure!(states.len() == 1, "one bank has it and the other has not");
            *ends.entry(states.pop_first()).or_insert(0) += 1;
            Ok(())
        })
        .with_context(|| format!("killed after {after_ms} ms"))?;
    }
    assert_eq!(ends.len(), 2, "it was always the same end: {ends:?}");
    Ok(())
}

/// The reply to a decision is lost, and the store is silent for an hour. By then, the
/// decision is collected; the driver learns from the manifests what became of it.
#[test]
fn a_driver_that_sleeps_while_its_decision_is_collected_is_told_what_is_so() -> Result<()> {
    simulate(31, async |world: &World| {
        open_banks(world.site()).await?;
        let mut driver = world.instance("driver").await?;
        for bank in BANKS {
            latest(&mut driver, bank).await?;
        }
        let hours = Fault::HoldReply(Duration::from_secs(7_500));
        let decision = on(Kind::Put).under("_transaction/").by("driver");
        world.faults().script(decision.then(hours));
        let driving = tokio::spawn(async move {
            let part = |bank: &str| Part {
                manifest: bank.to_owned(),
                change: sets(1, "0", "7"),
            };
            driver.transaction().commit(&BANKS.map(part)).await
        });
        world.pass(Duration::from_secs(2)).await;
        let mut comer = world.instance("comer").await?;
        for bank in BANKS {
            commit(&mut comer, bank, &sets(2, "free", "1")).await?;
        }
        world.pass(Duration::from_secs(3_700)).await;
        let planned = comer.collection().plan(&Target::Decisions).await??;
        let swept = comer.collection().sweep(&Target::Decisions).await??;
        ensure!(swept == planned, "{swept:?} instead of {planned:?}");
        ensure!(swept.count(Reason::Settled) == 1, "{swept:?}");
        ensure!(world.store().keys("_transaction/").is_empty());
        let told = driving.await???;
        ensure!(told == Outcome::Committed(vec![2, 2]), "{told:?}");
        for bank in BANKS {
            let seen = values(&latest(&mut world.instance("judge").await?, bank).await?)?;
            ensure!(number(&seen, "0")? == 7, "{seen:?}");
        }
        Ok(())
    })
}

/// Commits one item that names a blob under the generation in force.
async fn store_row(
    instance: &mut Instance,
    name: &str,
    key: &str,
    body: &str,
) -> Result<Reference> {
    let snapshot = latest(instance, name).await?;
    let generation = snapshot.summary.generation;
    let bodies = [body.as_bytes().to_vec()];
    let blobs = instance.blob().put(name, generation, &bodies).await??;
    let naming = change(snapshot.summary.version, [item(key, "", &blobs)]);
    commit(instance, name, &naming).await?;
    blobs.into_iter().next().context("no blob")
}

/// A plan says what the sweep behind it does.
async fn sweep(instance: &mut Instance, target: &Target) -> Result<Report> {
    let planned = instance.collection().plan(target).await??;
    let again = instance.collection().plan(target).await??;
    ensure!(planned == again, "a plan changed something: {again:?}");
    let swept = instance.collection().sweep(target).await??;
    ensure!(swept == planned, "{swept:?} instead of {planned:?}");
    Ok(swept)
}

/// Blobs are stored, uploaded by others, named, pinned, forked, and collected when
/// nobody needs them.
async fn life_of_blobs(site: &Site) -> Result<()> {
    let (mut a, mut b) = (site.instance("a").await?, site.instance("b").await?);
    create(&mut a, "m").await?;
    let old = store_row(&mut a, "m", "row", "old").await?;
    // Somebody without credentials uploads exactly this blob, which is then named.
    let digits = old.digest.trim_start_matches("sha256:");
    let upload = Upload {
        key: b.blob().key("m", &old).await??,
        sha256: digits.to_owned(),
        expires_in_s: 300,
    };
    let request = b.presign().presign_put(&upload).await??;
    let forged = site.send(to_http(&request, "0ld")?).await?;
    ensure!(forged.status().is_client_error(), "{forged:?}");
    let idle = b.blob().put("m", 0, &[b"idle".to_vec()]).await??;
    let pinned = a.manifest().pin("m", "reader", 2, 20_000).await??;
    ensure!(matches!(pinned, PinOutcome::Pinned(_)), "{pinned:?}");
    let new = store_row(&mut b, "m", "row", "new").await?;
    match a.manifest().fork("m", 2, "fork").await?? {
        ForkOutcome::Forked => {}
        other => bail!("{other:?}"),
    }
    let newest = Target::manifest("m", KeepVersions::Newest(1));
    for generation in 1..=2 {
        age().await;
        let swept = sweep(&mut a, &newest).await?;
        ensure!(swept.generation == generation, "{swept:?}");
        ensure!(
            swept.limited_by == Limit::Pin("reader".to_owned()),
            "{swept:?}"
        );
        // What nobody ever named goes with the second sweep, what is pinned stays.
        let unnamed = swept.count(Reason::Unnamed);
        ensure!(unnamed == u64::from(generation - 1), "{swept:?}");
    }
    let kept = b.manifest().at("m", 2, Some("reader")).await??;
    let AtOutcome::Snapshot(kept) = kept else {
        bail!("{kept:?}");
    };
    ensure!(kept.items == [item("row", "", std::slice::from_ref(&old))]);
    let blobs = [old.clone(), new.clone(), idle[0].clone()];
    let stored = b.blob().contains("m", &blobs).await??;
    ensure!(stored == [true, true, false], "{stored:?}");
    // A commit that names what was condemned is refused, for good.
    let base = latest(&mut b, "m").await?.summary.version;
    let stale = change(base, [item("late", "", &idle)]);
    let refused = b.manifest().commit("m", &stale).await??;
    ensure!(refused == CommitOutcome::Expired(2), "{refused:?}");

    sleep(Duration::from_secs(15)).await;
    let ended = b.manifest().at("m", 2, Some("reader")).await??;
    ensure!(ended == AtOutcome::PinExpired, "{ended:?}");
    let swept = sweep(&mut b, &newest).await?;
    ensure!(swept.ended_pins == ["reader"], "{swept:?}");
    ensure!(a.manifest().pins("m").await??.is_empty());
    ensure!(swept.count(Reason::Trimmed) > 0, "{swept:?}");
    ensure!(swept.count(Reason::Unnamed) == 1, "{swept:?}");
    match b.manifest().at("m", 2, None).await?? {
        AtOutcome::Trimmed(first_kept) => ensure!(first_kept == swept.first_kept),
        other => bail!("{other:?}"),
    }
    let stored = b.blob().contains("m", &blobs).await??;
    ensure!(stored == [false, true, false], "{stored:?}");
    // The fork has copies of its own.
    let forked = latest(&mut b, "fork").await?;
    let named = &forked.items.first().context("no item")?.blobs;
    let bodies = b.blob().get("fork", named).await??;
    ensure!(bodies == [Some(b"old".to_vec())], "{bodies:?}");
    Ok(())
}

#[test]
fn blobs_live_as_long_as_somebody_needs_them() -> Result<()> {
    simulate(41, async |world| life_of_blobs(world.site()).await)
}

#[test]
fn blobs_live_as_long_as_somebody_needs_them_on_a_real_server() -> Result<()> {
    on_seaweedfs("blobs", async |site| life_of_blobs(site).await)
}

/// A collector is killed at any moment, on a bad day, while others commit. Whoever
/// comes next goes on, and nothing that is named is missing.
#[test]
fn a_killed_collector_is_followed_by_the_next() -> Result<()> {
    let mut collected = 0;
    for after_ms in (0..300).step_by(23) {
        simulate(after_ms, async |world: &World| {
            let mut writer = world.instance("writer").await?;
            create(&mut writer, "m").await?;
            let newest = Target::manifest("m", KeepVersions::Newest(1));
            for round in 0..3 {
                for row in 0..3 {
                    let body = format!("{round}-{row}");
                    store_row(&mut writer, "m", &row.to_string(), &body).await?;
                }
                age().await;
                world.faults().latency(Duration::from_millis(10));
                let lost = Fault::LoseReply(Loss::Reset);
                world.faults().script(on(Kind::DeleteMany).then(lost));
                let mut victim = world.instance("victim").await?;
                let mut collection = victim.collection();
                let dying = collection.sweep(&newest);
                let _ = timeout(Duration::from_millis(after_ms), dying).await;
                world.faults().calm();
                let mut next = world.instance("next").await?;
                let swept = next.collection().sweep(&newest).await??;
                collected += swept.count(Reason::Unnamed);
            }
            world.settle().await;
            let mut judge = world.instance("judge").await?;
            let snapshot = latest(&mut judge, "m").await?;
            for row in 0..3 {
                let item = &snapshot.items[row];
                let bodies = judge.blob().get("m", &item.blobs).await??;
                let expected = format!("2-{row}").into_bytes();
                ensure!(bodies == [Some(expected)], "{bodies:?}");
            }
            Ok(())
        })
        .with_context(|| format!("killed after {after_ms} ms"))?;
    }
    assert!(collected > 10, "{collected}");
    Ok(())
}

/// `ifmatch-manifest.wasm` is cut out of the whole: what it exports must work with it.
#[test]
fn manifests_alone_and_the_whole_share_a_manifest_and_its_blobs() -> Result<()> {
    simulate(38, async |world| {
        let mut part = world
            .instance("part")
            .artifact(Artifact::IfmatchManifest)
            .await?;
        let mut whole = world.instance("whole").await?;
        create(&mut part, "m").await?;
        let version = commit(&mut part, "m", &sets(0, "a", "1")).await?;
        let version = commit(&mut whole, "m", &sets(version, "b", "2")).await?;
        let newest = Target::manifest("m", KeepVersions::Newest(1));
        let report = sweep(&mut whole, &newest).await;
        ensure!(report.is_ok(), "{report:?}");
        let read = values(&at(&mut part, "m", version).await?)?;
        ensure!(
            read.len() == 2 && read["a"] == "1" && read["b"] == "2",
            "{read:?}"
        );
        let error = part.log().tail("m").await.unwrap_err();
        ensure!(error.to_string().contains("does not export"), "{error:?}");
        Ok(())
    })
}
