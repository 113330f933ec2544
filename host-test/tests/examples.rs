//! Goal: the examples do what their READMEs say.
//!
//! Method: the composed application runs in the harness like any other component,
//! on the store in this process, in virtual time, with whatever faults it has to bear.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use host_test::artifact::Artifact;
use host_test::bindings::collection::{KeepVersions, Reason, Target};
use host_test::bindings::log::Settings;
use host_test::bindings::orders::Placed;
use host_test::bindings::tables::Outcome;
use host_test::faults::Rates;
use host_test::host::Instance;
use host_test::random::Seeded;
use host_test::world::{Site, World, simulate};
use tokio::task::JoinSet;
use tokio::time::timeout;

#[test]
fn orders_are_placed_by_one_leader_at_a_time() -> Result<()> {
    simulate(1, async |world| {
        let mut a = world.instance("a").artifact(Artifact::OrdersApp).await?;
        let mut b = world.instance("b").artifact(Artifact::OrdersApp).await?;
        for number in 0..3 {
            let placed = a.orders().place("a", &format!("order {number}")).await?;
            assert_eq!(placed, Ok(Placed::Number(number)));
        }
        let shipped = a.orders().ship("a", 1, "Main Street").await?;
        assert_eq!(shipped, Ok(Placed::Number(1)));
        let placed = b.orders().place("b", "too early").await?;
        assert_eq!(placed, Ok(Placed::LedBy("a".to_owned())));
        // The leader falls silent, and its lease ends.
        world.pass(Duration::from_secs(20)).await;
        let placed = b.orders().place("b", "order 3").await?;
        assert_eq!(placed, Ok(Placed::Number(3)));
        let placed = a.orders().place("a", "too late").await?;
        assert_eq!(placed, Ok(Placed::LedBy("b".to_owned())));
        let shipped = b.orders().ship("b", 2, "Side Street").await?;
        assert_eq!(shipped, Ok(Placed::Number(2)));
        let shipped = a.orders().ship("a", 2, "too late").await?;
        assert_eq!(shipped, Ok(Placed::LedBy("b".to_owned())));
        for (number, address) in [
            (0, None),
            (1, Some("Main Street")),
            (2, Some("Side Street")),
        ] {
            let noted = a.orders().shipped_to(number).await?;
            assert_eq!(noted, Ok(address.map(str::to_owned)), "order {number}");
        }
        let orders = a.orders().since(0).await?;
        let expected: Vec<String> = (0..4).map(|number| format!("order {number}")).collect();
        assert_eq!(orders, Ok(expected));
        Ok(())
    })
}

/// Accounts of the bank, and what each has at first.
const ACCOUNTS: u64 = 5;
const DEPOSIT: i64 = 100;
const CLERKS: u64 = 4;
const TRANSFERS: u64 = 8;
const SEEDS: u64 = 6;

/// What became of transfers, by their names, and how many conflicts there were.
#[derive(Default)]
struct Book {
    committed: BTreeSet<String>,
    unknown: BTreeSet<String>,
    conflicts: u64,
    collected: u64,
    audits: u64,
}

fn account(number: u64) -> String {
    format!("account/{number}")
}

/// A transfer as a row, under its name: from, to, how much.
fn transfer_row(from: u64, to: u64, amount: i64) -> String {
    format!("{from} {to} {amount}")
}

/// One clerk: transfers between two accounts, each in one transaction, by instances
/// that may die in the middle.
async fn clerk(site: Site, number: u64) -> Result<Book> {
    let mut dice = Seeded::fork(site.seed(), &format!("clerk-{number}"));
    let mut book = Book::default();
    let mut instance = None;
    for transfer in 0..TRANSFERS {
        for attempt in 0..50_u32 {
            let name = format!("transfer/{number}-{transfer}-{attempt}");
            let running = match instance.take() {
                Some(running) => running,
                None => {
                    let name = format!("clerk-{number}");
                    site.instance(&name)
                        .artifact(Artifact::AcidTableApp)
                        .await?
                }
            };
            let mut running: Instance = running;
            let from = dice.below(ACCOUNTS);
            let to = (from + 1 + dice.below(ACCOUNTS - 1)) % ACCOUNTS;
            let amount = 1 + i64::try_from(dice.below(30))?;
            let Ok(transaction) = running.tables().begin("bank", &name).await? else {
                instance = Some(running);
                continue;
            };
            let keys = [account(from), account(to)];
            let Ok(rows) = running.tables().read(transaction, &keys).await? else {
                instance = Some(running);
                continue;
            };
            for (row, (key, change)) in rows.into_iter().zip(keys.iter().zip([-amount, amount])) {
                let balance: i64 = row.context("an account is missing")?.parse()?;
                let balance = (balance + change).to_string();
                let mut tables = running.tables();
                tables.write(transaction, key, Some(&balance)).await?;
            }
            let row = transfer_row(from, to, amount);
            running
                .tables()
                .write(transaction, &name, Some(&row))
                .await?;
            let patience = match dice.below(8) {
                0 => Duration::from_millis(dice.below(300)),
                _ => Duration::from_secs(7 * 24 * 3_600),
            };
            let mut tables = running.tables();
            match timeout(patience, tables.commit(transaction)).await {
                // The instance is killed in the middle of it.
                Err(_) => {
                    book.unknown.insert(name);
                    break;
                }
                Ok(ended) => match ended? {
                    Ok(Outcome::Committed(_)) => {
                        book.committed.insert(name);
                        instance = Some(running);
                        break;
                    }
                    Ok(Outcome::Unknown(_)) => {
                        book.unknown.insert(name);
                        instance = Some(running);
                        break;
                    }
                    Ok(Outcome::Conflict(_)) => book.conflicts += 1,
                    // Certainly not committed.
                    Err(_) => {}
                },
            }
            instance = Some(running);
        }
    }
    Ok(book)
}

/// All rows of the table in one snapshot, or `None` if the store did not answer.
async fn snapshot(instance: &mut Instance, name: &str) -> Result<Option<BTreeMap<String, String>>> {
    let Ok(transaction) = instance.tables().begin("bank", name).await? else {
        return Ok(None);
    };
    let keys = instance.tables().keys(transaction).await?;
    let Ok(rows) = instance.tables().read(transaction, &keys).await? else {
        return Ok(None);
    };
    let rows = keys.into_iter().zip(rows);
    let rows = rows.map(|(key, row)| row.map(|row| (key, row)));
    rows.collect::<Option<_>>()
        .context("a row is missing")
        .map(Some)
}

fn balances(rows: &BTreeMap<String, String>) -> Result<Vec<i64>> {
    let accounts = (0..ACCOUNTS).map(|number| {
        let row = rows.get(&account(number)).context("no account")?;
        Ok(row.parse()?)
    });
    accounts.collect()
}

async fn bank(world: &World) -> Result<Book> {
    let mut auditor = world
        .instance("auditor")
        .artifact(Artifact::AcidTableApp)
        .await?;
    // Versions and blobs of the table go as soon as nobody needs them any more.
    let mut collector = world.instance("collector").await?;
    let settings = Settings {
        grace_ms: 10_000,
        clock_margin_ms: 2_000,
    };
    collector.manifest().create("bank", settings).await??;
    let opening = auditor.tables().begin("bank", "opening").await?;
    let opening = opening.map_err(|error| anyhow!(error))?;
    for number in 0..ACCOUNTS {
        let (key, deposit) = (account(number), DEPOSIT.to_string());
        auditor
            .tables()
            .write(opening, &key, Some(&deposit))
            .await?;
    }
    let opened = auditor.tables().commit(opening).await?;
    ensure!(opened == Ok(Outcome::Committed(2)), "{opened:?}");

    world.faults().rates(Rates::bad_day());
    let mut working = JoinSet::new();
    for number in 0..CLERKS {
        working.spawn(clerk(world.site().clone(), number));
    }
    let mut book = Book::default();
    let sum = DEPOSIT * i64::try_from(ACCOUNTS)?;
    while !working.is_empty() {
        if let Some(rows) = snapshot(&mut auditor, "audit").await? {
            let balances = balances(&rows)?;
            ensure!(balances.iter().sum::<i64>() == sum, "{balances:?}");
            book.audits += 1;
        }
        // Whatever goes wrong with these, the next ones go on.
        let table = Target::manifest("bank", KeepVersions::Newest(1));
        if let Ok(report) = collector.collection().sweep(&table).await? {
            book.collected += report.count(Reason::Unnamed);
        }
        if let Ok(Some(done)) = timeout(Duration::from_secs(1), working.join_next()).await {
            let done = done??;
            book.committed.extend(done.committed);
            book.unknown.extend(done.unknown);
            book.conflicts += done.conflicts;
        }
    }

    // Everything has arrived; each transfer is there as a whole or not at all.
    world.faults().calm();
    world.settle().await;
    let rows = snapshot(&mut auditor, "audit").await?;
    let rows = rows.context("the store does not answer")?;
    let mut expected = vec![DEPOSIT; usize::try_from(ACCOUNTS)?];
    let mut found = BTreeSet::new();
    for (name, row) in rows.iter().filter(|(key, _)| key.starts_with("transfer/")) {
        let words: Vec<i64> = row.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        expected[usize::try_from(words[0])?] -= words[2];
        expected[usize::try_from(words[1])?] += words[2];
        found.insert(name.clone());
    }
    ensure!(balances(&rows)? == expected, "{rows:?}");
    let lost: Vec<_> = book.committed.difference(&found).collect();
    ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let told: BTreeSet<_> = book.committed.union(&book.unknown).cloned().collect();
    let refused: Vec<_> = found.difference(&told).collect();
    ensure!(refused.is_empty(), "refused, and there: {refused:?}");
    Ok(book)
}

#[test]
fn transfers_between_accounts_never_change_the_sum() -> Result<()> {
    let (mut committed, mut conflicts, mut collected, mut audits) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        simulate(seed, async |world| {
            let book = bank(world).await?;
            committed += book.committed.len();
            conflicts += book.conflicts;
            collected += book.collected;
            audits += book.audits;
            Ok(())
        })?;
    }
    let all = usize::try_from(SEEDS * CLERKS * TRANSFERS)?;
    assert!(committed > all / 2, "{committed} of {all}");
    assert!(conflicts > 0, "nobody was in anybody's way");
    assert!(audits > 20, "only {audits} audits");
    assert!(collected > 50, "only {collected} blobs were collected");
    Ok(())
}

#[test]
fn transactions_on_other_rows_go_through_and_stale_ones_do_not() -> Result<()> {
    simulate(7, async |world| {
        let start = || world.instance("a").artifact(Artifact::AcidTableApp);
        let (mut a, mut b) = (start().await?, start().await?);
        let begin = async |instance: &mut Instance, name: &str| {
            let begun = instance.tables().begin("t", name).await?;
            begun.map_err(|error| anyhow!(error))
        };
        let first = begin(&mut a, "first").await?;
        a.tables().write(first, "x", Some("1")).await?;
        a.tables().write(first, "y", Some("1")).await?;
        assert_eq!(a.tables().commit(first).await?, Ok(Outcome::Committed(1)));

        let (one, other) = (begin(&mut a, "one").await?, begin(&mut b, "other").await?);
        let keys = ["x".to_owned(), "y".to_owned(), "z".to_owned()];
        let read = a.tables().read(one, &keys[..1]).await?;
        assert_eq!(read, Ok(vec![Some("1".to_owned())]));
        a.tables().write(one, "y", Some("2")).await?;
        b.tables().write(other, "z", Some("3")).await?;
        assert_eq!(a.tables().commit(one).await?, Ok(Outcome::Committed(2)));
        // It still sees the table as it was, and does not touch what changed.
        let read = b.tables().read(other, &keys[..1]).await?;
        assert_eq!(read, Ok(vec![Some("1".to_owned())]));
        assert_eq!(b.tables().commit(other).await?, Ok(Outcome::Committed(3)));

        // Two that read what the other writes: one of them is refused.
        let (one, other) = (begin(&mut a, "3").await?, begin(&mut b, "4").await?);
        a.tables()
            .read(one, &keys[..1])
            .await?
            .map_err(|error| anyhow!(error))?;
        b.tables()
            .read(other, &keys[1..2])
            .await?
            .map_err(|error| anyhow!(error))?;
        a.tables().write(one, "y", Some("4")).await?;
        b.tables().write(other, "x", None).await?;
        assert_eq!(a.tables().commit(one).await?, Ok(Outcome::Committed(4)));
        let refused = b.tables().commit(other).await?;
        assert_eq!(refused, Ok(Outcome::Conflict(vec!["y".to_owned()])));
        let last = begin(&mut b, "5").await?;
        assert_eq!(b.tables().keys(last).await?, ["x", "y", "z"]);
        Ok(())
    })
}
