//! What operations use, as far as it can be counted, compared with what they used when
//! somebody last looked: requests, bytes, and WebAssembly instructions.
//!
//! Everything happens in virtual time, so that two runs on the same components give the
//! same figures. Whoever makes something dearer on purpose writes the file anew, and the
//! change shows in review.

use anyhow::{Context, Result, bail, ensure};
use host_test::artifact::{Artifact, target};
use host_test::bindings::lease::{AcquireOutcome, Grant, ReleaseOutcome, RenewOutcome, Request};
use host_test::bindings::log::{AppendOptions, AppendOutcome, ReadOutcome, Writer};
use host_test::bindings::manifest::{Change, CommitOutcome, Dependency, Edit, Item};
use host_test::host::Instance;
use host_test::readback::{ALL, START};
use host_test::world::{World, simulate};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
usage: cargo xtask counts [--write]

Counts requests, bytes and fuel of each operation, and compares them and the size of
the component with bench/counts.txt. Fails if one is higher than there: requests at
all, bytes by 1 %, fuel by 5 %, size by 2 %, and anything in a race by 10 %. Fuel and size are only compared where
components are built with everything that makes them smaller.

  --write  make what was counted the file
";

/// Set where components are built with everything that makes them smaller: otherwise
/// their instructions are others.
const SMALL_VARIABLE: &str = "IFMATCH_SMALL_BUILD";
const SEED: u64 = 1;
const LATENCY: Duration = Duration::from_millis(20);
const LEASE_MS: u32 = 10_000;

/// A figure: its name, and by how many thousandths it may grow.
const COLUMNS: [(&str, u64); 4] = [
    ("requests", 0),
    ("sent", 10),
    ("received", 10),
    ("fuel", 50),
];
const FUEL: &str = "fuel";
const SIZE: &str = "size";
const SIZE_GROWTH: u64 = 20;
/// Any change shifts the order of events in a race.
const RACE_GROWTH: u64 = 100;

/// Figures by operation and column.
type Counts = BTreeMap<(String, String), u64>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let write = match arguments[..] {
        [] => false,
        ["--write"] => true,
        ["--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::FAILURE;
        }
    };
    match run(write) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(worse) => {
            eprintln!(
                "error: {worse} figures are higher than in bench/counts.txt; if that is meant, \
                 `cargo xtask counts --write`"
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(write: bool) -> Result<usize> {
    let counts = count()?;
    let path = file()?;
    if write {
        fs::write(&path, text(&counts)).context("cannot write bench/counts.txt")?;
        println!("{}", path.display());
        return Ok(0);
    }
    let before = fs::read_to_string(&path).context("cannot read bench/counts.txt")?;
    let before = parse(&before)?;
    let is_small = std::env::var_os(SMALL_VARIABLE).is_some();
    if !is_small {
        println!("fuel and size are not compared: this is not the smallest build");
    }
    let verdicts = compare(&before, &counts, is_small);
    for verdict in &verdicts {
        println!("{}", verdict.line);
    }
    Ok(verdicts.iter().filter(|verdict| verdict.is_worse).count())
}

fn file() -> Result<PathBuf> {
    let workspace = target().parent().map(PathBuf::from);
    Ok(workspace.context("no workspace")?.join("bench/counts.txt"))
}

/// One figure beside what it was.
struct Verdict {
    line: String,
    is_worse: bool,
}

fn compare(before: &Counts, now: &Counts, is_small: bool) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for ((operation, column), value) in now {
        let key = (operation.clone(), column.clone());
        let depends_on_build = [FUEL, SIZE].contains(&column.as_str());
        let known = COLUMNS.iter().find(|(name, _)| name == column);
        let growth = known.map_or(SIZE_GROWTH, |(_, growth)| *growth);
        let growth = match operation.contains("writers") {
            true => growth.max(RACE_GROWTH),
            false => growth,
        };
        let (is_worse, told) = match before.get(&key) {
            None => (true, "is not in the file".to_owned()),
            Some(_) if depends_on_build && !is_small => (false, "not compared".to_owned()),
            Some(was) if *value > was + was * growth / 1_000 => (true, format!("was {was}")),
            Some(was) if *value < was - was * growth / 1_000 => {
                (false, format!("was {was}, better"))
            }
            Some(_) => (false, String::new()),
        };
        let mark = if is_worse { "WORSE" } else { "" };
        let line = format!("{operation:34} {column:8} {value:>12} {mark:5} {told}");
        verdicts.push(Verdict {
            line: line.trim_end().to_owned(),
            is_worse,
        });
    }
    for key in before.keys().filter(|key| !now.contains_key(*key)) {
        verdicts.push(Verdict {
            line: format!("{:34} {:8} is no longer counted", key.0, key.1),
            is_worse: true,
        });
    }
    verdicts
}

fn text(counts: &Counts) -> String {
    let mut text = String::from("# operation, figure, value: `cargo xtask counts --write`\n");
    for ((operation, column), value) in counts {
        let _ = writeln!(text, "{operation}, {column}, {value}");
    }
    text
}

fn parse(text: &str) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(", ").collect();
        let [operation, column, value] = words[..] else {
            bail!("`{line}` is not an operation, a figure and a value");
        };
        let key = (operation.to_owned(), column.to_owned());
        ensure!(
            counts.insert(key, value.parse()?).is_none(),
            "`{line}` stands there twice"
        );
    }
    Ok(counts)
}

/// Notes what instances used during something.
async fn charge<T>(
    counts: &mut Counts,
    world: &World,
    operation: &str,
    instance: &mut Instance,
    run: impl AsyncFnOnce(&mut Instance) -> Result<T>,
) -> Result<T> {
    let (before, fuel) = (world.store().totals(), instance.fuel_used());
    let result = run(instance).await.context(operation.to_owned())?;
    let used = world.store().totals().since(&before);
    let fuel = instance.fuel_used() - fuel;
    note(
        counts,
        operation,
        [used.all(), used.bytes_in, used.bytes_out, fuel],
    );
    Ok(result)
}

fn note(counts: &mut Counts, operation: &str, values: [u64; 4]) {
    for ((column, _), value) in COLUMNS.iter().zip(values) {
        counts.insert((operation.to_owned(), (*column).to_owned()), value);
    }
}

fn count() -> Result<Counts> {
    let mut counts = Counts::new();
    simulate(SEED, async |world| logs(world, &mut counts).await)?;
    simulate(SEED, async |world| leases(world, &mut counts).await)?;
    simulate(SEED, async |world| manifests(world, &mut counts).await)?;
    for writers in [4, 16] {
        simulate(SEED, async |world| {
            competition(world, &mut counts, writers).await
        })?;
    }
    for artifact in [Artifact::BucketS3, Artifact::Protocols, Artifact::Ifmatch] {
        let bytes = artifact.read()?.len() as u64;
        counts.insert((artifact.file_name().to_owned(), SIZE.to_owned()), bytes);
    }
    Ok(counts)
}

async fn append(instance: &mut Instance, log: &str, records: &[Vec<u8>]) -> Result<()> {
    let options = AppendOptions {
        writer: Writer::Shared,
        expected: None,
        producer: None,
    };
    match instance.log().append(log, records, &options).await?? {
        AppendOutcome::Appended(_) => Ok(()),
        other => bail!("{other:?}"),
    }
}

/// Reads a log from its start to its end.
async fn replay(instance: &mut Instance, log: &str, records: u64) -> Result<()> {
    let mut cursor = START;
    while cursor.offset < records {
        match instance.log().read(log, cursor, ALL).await?? {
            ReadOutcome::Records(batch) if !batch.entries.is_empty() => cursor = batch.next,
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

async fn logs(world: &World, counts: &mut Counts) -> Result<()> {
    const SEGMENTS: u64 = 1_000;
    let mut writer = world.instance("writer").await?;
    for (operation, log, records, bytes) in [
        ("append 1 KiB", "a", 1, 1 << 10),
        ("append 64 KiB", "b", 1, 64 << 10),
        ("append 100 x 1 KiB", "c", 100, 1 << 10),
    ] {
        let batch = vec![vec![b'x'; bytes]; records];
        append(&mut writer, log, &batch).await?;
        charge(counts, world, operation, &mut writer, async |writer| {
            append(writer, log, &batch).await
        })
        .await?;
    }
    let mut unsigned = world
        .instance("unsigned")
        .with("AWS_ENDPOINT_URL_S3", "https://s3.test")
        .with("IFMATCH_PAYLOAD", "unsigned")
        .await?;
    for (operation, bytes) in [
        ("append 1 KiB with an unsigned payload", 1 << 10),
        ("append 64 KiB with an unsigned payload", 64 << 10),
    ] {
        let batch = [vec![b'x'; bytes]];
        append(&mut unsigned, "d", &batch).await?;
        charge(counts, world, operation, &mut unsigned, async |writer| {
            append(writer, "d", &batch).await
        })
        .await?;
    }
    for _ in 0..SEGMENTS {
        append(&mut writer, "small", &[vec![b'x'; 128]]).await?;
    }
    let mut cold = world.instance("cold").await?;
    charge(counts, world, "tail from cold", &mut cold, async |cold| {
        let cursor = cold.log().tail("small").await??;
        ensure!(cursor.offset == SEGMENTS, "{cursor:?}");
        Ok(())
    })
    .await?;
    let mut cold = world.instance("cold").await?;
    charge(counts, world, "append from cold", &mut cold, async |cold| {
        append(cold, "small", &[vec![b'x'; 1 << 10]]).await
    })
    .await?;
    let mut reader = world.instance("reader").await?;
    charge(
        counts,
        world,
        "replay of 1000 segments",
        &mut reader,
        async |reader| replay(reader, "small", SEGMENTS).await,
    )
    .await?;
    let megabytes = vec![vec![b'x'; 64 << 10]; 64];
    for _ in 0..8 {
        append(&mut writer, "large", &megabytes).await?;
    }
    let mut reader = world.instance("reader").await?;
    charge(
        counts,
        world,
        "replay of 32 MiB",
        &mut reader,
        async |reader| replay(reader, "large", 8 * 64).await,
    )
    .await
}

async fn acquire(instance: &mut Instance) -> Result<Grant> {
    let request = Request {
        holder: instance.name().to_owned(),
        duration_ms: LEASE_MS,
        note: String::new(),
        bounds: None,
    };
    match instance.lease().acquire("l", &request).await?? {
        AcquireOutcome::Acquired(grant) => Ok(grant),
        other => bail!("{other:?}"),
    }
}

async fn leases(world: &World, counts: &mut Counts) -> Result<()> {
    let mut first = world.instance("first").await?;
    let grant = acquire(&mut first).await?;
    let grant = charge(
        counts,
        world,
        "lease: renew",
        &mut first,
        async |first| match first.lease().renew(&grant, LEASE_MS).await?? {
            RenewOutcome::Renewed(grant) => Ok(grant),
            other => bail!("{other:?}"),
        },
    )
    .await?;
    let released = charge(counts, world, "lease: release", &mut first, async |first| {
        Ok(first.lease().release(&grant, None).await??)
    });
    ensure!(matches!(released.await?, ReleaseOutcome::Released));
    let mut cold = world.instance("cold").await?;
    charge(
        counts,
        world,
        "lease: acquire from cold",
        &mut cold,
        acquire,
    )
    .await?;
    // The holder is gone.
    world.pass(Duration::from_secs(60)).await;
    let mut next = world.instance("next").await?;
    charge(counts, world, "lease: take-over", &mut next, acquire).await?;
    Ok(())
}

async fn commit(
    instance: &mut Instance,
    manifest: &str,
    base: u64,
    keys: impl IntoIterator<Item = usize>,
) -> Result<()> {
    let item = |number: usize| Item {
        key: format!("tables/part-{number:06}"),
        value: format!("a value of {number}, {base}").into_bytes(),
        blobs: Vec::new(),
    };
    let change = Change {
        base,
        depends_on: Dependency::Edits,
        edits: keys.into_iter().map(|key| Edit::Set(item(key))).collect(),
        writer: Writer::Shared,
        author: "counts".to_owned(),
        message: String::new(),
        id: None,
    };
    match instance.manifest().commit(manifest, &change).await?? {
        CommitOutcome::Committed(_) => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn manifests(world: &World, counts: &mut Counts) -> Result<()> {
    for keys in [10, 10_000] {
        let manifest = format!("m-{keys}");
        let mut writer = world.instance("writer").await?;
        commit(&mut writer, &manifest, 0, 0..keys).await?;
        let operation = format!("manifest: commit 1 of {keys} keys");
        charge(counts, world, &operation, &mut writer, async |writer| {
            commit(writer, &manifest, 1, [7]).await
        })
        .await?;
        let mut cold = world.instance("cold").await?;
        let operation = format!("manifest: latest of {keys} keys");
        charge(counts, world, &operation, &mut cold, async |cold| {
            let found = cold.manifest().latest(&manifest).await??;
            ensure!(found.is_some_and(|found| found.items.len() == keys));
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Writers that append to one log at once, in one order of events of many.
async fn competition(world: &World, counts: &mut Counts, writers: u64) -> Result<()> {
    const APPENDS: usize = 12;
    world.faults().latency(LATENCY);
    let before = world.store().totals();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..writers {
        let mut writer = world.instance(&format!("writer-{number}")).await?;
        tasks.spawn(async move {
            for _ in 0..APPENDS {
                append(&mut writer, "l", &[vec![b'x'; 1 << 10]]).await?;
            }
            anyhow::Ok(writer.fuel_used())
        });
    }
    let mut fuel = 0;
    while let Some(ended) = tasks.join_next().await {
        fuel += ended??;
    }
    let used = world.store().totals().since(&before);
    let operation = format!("{APPENDS} appends of each of {writers} writers");
    note(
        counts,
        &operation,
        [used.all(), used.bytes_in, used.bytes_out, fuel],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u64, fuel: u64) -> Counts {
        let figure = |column: &str| ("a".to_owned(), column.to_owned());
        [(figure("requests"), requests), (figure(FUEL), fuel)].into()
    }

    fn worse(before: &Counts, now: &Counts, is_small: bool) -> usize {
        let verdicts = compare(before, now, is_small);
        verdicts.iter().filter(|verdict| verdict.is_worse).count()
    }

    #[test]
    fn one_request_more_is_worse_and_a_little_fuel_is_not() {
        let before = counts(3, 1_000);
        assert_eq!(worse(&before, &counts(3, 1_050), true), 0);
        assert_eq!(worse(&before, &counts(3, 1_051), true), 1);
        assert_eq!(worse(&before, &counts(4, 1_051), true), 2);
        assert_eq!(worse(&before, &counts(2, 900), true), 0);
        // Another build: its instructions are not these.
        assert_eq!(worse(&before, &counts(4, 9_999), false), 1);
    }

    #[test]
    fn what_appears_or_disappears_is_worse() {
        let before = counts(3, 1_000);
        assert_eq!(worse(&Counts::new(), &before, true), 2);
        assert_eq!(worse(&before, &Counts::new(), true), 2);
    }

    #[test]
    fn the_file_says_what_was_counted() {
        let before = counts(3, 1_000);
        assert_eq!(parse(&text(&before)).unwrap(), before);
        assert!(parse("a, requests").is_err());
        assert!(parse("a, requests, 1\na, requests, 2").is_err());
    }
}
