//! What every operation costs: requests counted at the store, beside the documented
//! maximum.
//!
//! The component is the one that is shipped; the store is in this process, or, for
//! a log of a million segments, behind a socket on loopback. A row over its maximum
//! makes the command fail. An operation is added by one `charge` where the state of
//! the log is right for it.

use anyhow::{Context, Result, bail, ensure};
use host_test::artifact::Artifact;
use host_test::bindings::blob::Reference;
use host_test::bindings::collection::{Keep, KeepVersions, MergeOptions, Reason, Target};
use host_test::bindings::doctor::Verdict;
use host_test::bindings::lease::{AcquireOutcome, Grant, ReleaseOutcome, RenewOutcome, Request};
use host_test::bindings::log::{
    AppendOptions, AppendOutcome, CreateOutcome, Cursor, ReadLimit, ReadOutcome, Settings, Token,
    Writer,
};
use host_test::bindings::manifest::{
    AtOutcome, Change, CommitOutcome, Dependency, Edit, ForkOutcome, Item,
};
use host_test::bindings::retention::PinOutcome;
use host_test::bindings::tables::Outcome;
use host_test::bindings::transaction;
use host_test::clock::{UnixMs, WorldClock};
use host_test::host::Instance;
use host_test::random::Seeded;
use host_test::readback::{ALL, START};
use host_test::store::{Options, SharedStore, Totals};
use host_test::synthetic::{SyntheticLog, SyntheticServer};
use host_test::world::{Site, World, simulate, virtual_time};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "\
usage: cargo xtask budget [--json]

Runs every operation on the finished component, counts the requests that reach the
store, and compares them with the documented maximum. Fails if one is over.

  --json  print only [{\"operation\":...,\"measured\":...,\"maximum\":...}, ...]
";

/// Segments of the log in which a place is searched.
const MANY_SEGMENTS: u64 = 1_000_000;
/// Searches among them, besides those at the edges.
const MANY_SEARCHES: usize = 12;
/// Segments of the log that is read from its start to its end.
const READ_SEGMENTS: u64 = 200;
/// Segments that are trimmed at once.
const TRIMMED_SEGMENTS: u64 = 1_000;
/// Small segments of the history that is replayed before and after they are merged.
const REPLAYED_SEGMENTS: u64 = 10_000;
/// How many times fewer requests a replay must take then.
const REPLAY_GAIN_MIN: u64 = 100;
/// For how long the leases here hold, and how often their holders renew them.
const LEASE_MS: u32 = 10_000;
const RENEWAL_MS: u64 = LEASE_MS as u64 / 3;
/// Requests of writers that compete take so long, and they compete for so long.
const COMPETITION_ROUND_TRIP_MS: u64 = 20;
const COMPETITION_MS: u64 = 3_000;
/// The longest time from a crash to the next holder: up to a second more than the
/// duration where the store tells whole seconds, half a second over which candidates
/// spread, and what their requests take.
const TAKE_OVER_MS_MAX: u64 = LEASE_MS as u64 + 2_000;
/// The longest wait of the first acquisition of a lease, with the default bounds.
const FIRST_WAIT_MS_MAX: u64 = 2_700;
/// Crashes, at as many different moments between two renewals.
const CRASHES: u64 = 25;
/// Instances that are started to find out how long one takes.
const STARTS: usize = 301;
/// The longest median start in a release build, in microseconds.
const START_US_MAX: u64 = 100;
const HOUR: Duration = Duration::from_secs(3_600);
/// How long each request takes where serial steps are counted.
const STEP: Duration = Duration::from_millis(100);
const SEED: u64 = 1;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--json"] => true,
        ["--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::FAILURE;
        }
    };
    let mut book = Book::default();
    if let Err(error) = measure(&mut book) {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    match json {
        true => println!("{}", book.json()),
        false => print!("{}", book.table()),
    }
    match book.over() {
        0 => ExitCode::SUCCESS,
        over => {
            eprintln!("error: {over} over the maximum");
            ExitCode::FAILURE
        }
    }
}

/// One line of the result.
struct Row {
    operation: &'static str,
    measured: u64,
    maximum: u64,
    /// For people: what was counted.
    note: String,
}

impl Row {
    fn is_over(&self) -> bool {
        self.measured > self.maximum
    }
}

/// Everything that was measured.
#[derive(Default)]
struct Book {
    rows: Vec<Row>,
    /// Figures without a maximum: name, value.
    figures: Vec<(String, String)>,
}

impl Book {
    /// Runs an operation and notes the requests that reached the store meanwhile. Of
    /// several charges under one name, the dearest counts.
    async fn charge<T>(
        &mut self,
        operation: &'static str,
        maximum: u64,
        store: &SharedStore,
        run: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let before = store.totals();
        let result = run.await.context(operation)?;
        let used = store.totals().since(&before);
        self.note(Row {
            operation,
            measured: used.all(),
            maximum,
            note: kinds(&used),
        });
        Ok(result)
    }

    fn note(&mut self, row: Row) {
        match self
            .rows
            .iter_mut()
            .find(|other| other.operation == row.operation)
        {
            Some(other) if other.measured >= row.measured => {}
            Some(other) => *other = row,
            None => self.rows.push(row),
        }
    }

    fn figure(&mut self, name: &str, value: String) {
        self.figures.push((name.to_owned(), value));
    }

    fn over(&self) -> usize {
        self.rows.iter().filter(|row| row.is_over()).count()
    }

    fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let Row {
                operation,
                measured,
                maximum,
                ..
            } = row;
            format!(r#"{{"operation":"{operation}","measured":{measured},"maximum":{maximum}}}"#)
        });
        format!("[{}]", rows.collect::<Vec<_>>().join(",\n "))
    }

    fn table(&self) -> String {
        let operations = self.rows.iter().map(|row| row.operation.len());
        let names = self.figures.iter().map(|(name, _)| name.len());
        let width = operations.chain(names).max().unwrap_or(0);
        let mut text = format!("{:width$}  measured  maximum\n", "requests");
        for row in &self.rows {
            let Row {
                operation,
                measured,
                maximum,
                note,
            } = row;
            let mark = if row.is_over() { "OVER" } else { "    " };
            let line = format!("{operation:width$}  {measured:8}  {maximum:7}  {mark} {note}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !self.figures.is_empty() {
            text.push('\n');
        }
        for (name, value) in &self.figures {
            let _ = writeln!(text, "{name:width$}  {value}");
        }
        text
    }
}

/// Requests as people count them.
fn kinds(totals: &Totals) -> String {
    let each = totals
        .requests
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"));
    each.collect::<Vec<_>>().join(" + ")
}

fn measure(book: &mut Book) -> Result<()> {
    simulate(SEED, async |world| appends(world, book).await)?;
    new_installation(book)?;
    simulate(SEED, async |world| tails_and_reads(world, book).await)?;
    simulate(SEED, async |world| retention(world, book).await)?;
    simulate(SEED, async |world| replays(world, book).await)?;
    simulate(SEED, async |world| leases(world, book).await)?;
    simulate(SEED, async |world| blobs(world, book).await)?;
    simulate(SEED, async |world| manifests(world, book).await)?;
    simulate(SEED, async |world| large_manifest(world, book).await)?;
    simulate(SEED, async |world| collection(world, book).await)?;
    simulate(SEED, async |world| transfer(world, book).await)?;
    take_overs(book)?;
    let machine = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    machine.block_on(among_many(book))?;
    competitions(book)?;
    simulate(SEED, async |world| starts(world, book).await)?;
    simulate(SEED, async |world| fuel(world, book).await)
}

const SHARED: AppendOptions = AppendOptions {
    writer: Writer::Shared,
    expected: None,
    producer: None,
};

const SETTINGS: Settings = Settings {
    grace_ms: 3_600_000,
    clock_margin_ms: 300_000,
};

async fn append(instance: &mut Instance, log: &str) -> Result<()> {
    append_records(instance, log, &[b"record".to_vec()]).await
}

async fn append_records(instance: &mut Instance, log: &str, records: &[Vec<u8>]) -> Result<()> {
    match instance.log().append(log, records, &SHARED).await?? {
        AppendOutcome::Appended(_) => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn claim(instance: &mut Instance, epoch: u64) -> Result<()> {
    match instance.log().claim("l", Token { epoch }).await?? {
        AppendOutcome::Appended(_) => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn create(instance: &mut Instance, log: &str, created: bool) -> Result<()> {
    match instance.log().create(log, SETTINGS).await?? {
        CreateOutcome::Created if created => Ok(()),
        CreateOutcome::Exists(_) if !created => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn tail(instance: &mut Instance, log: &str, expected: u64) -> Result<Cursor> {
    let cursor = instance.log().tail(log).await??;
    ensure!(
        cursor.offset == expected,
        "the tail is at {}",
        cursor.offset
    );
    Ok(cursor)
}

/// Reads exactly one record, and returns where to go on.
async fn read_one(instance: &mut Instance, log: &str, start: Cursor) -> Result<Cursor> {
    let limit = ReadLimit {
        records: 1,
        bytes: 1 << 20,
    };
    match instance.log().read(log, start, limit).await?? {
        ReadOutcome::Records(batch) if batch.entries.len() == 1 => {
            ensure!(batch.entries[0].offset == start.offset, "another record");
            Ok(batch.next)
        }
        other => bail!("{other:?}"),
    }
}

async fn poll(instance: &mut Instance, log: &str, start: Cursor) -> Result<Cursor> {
    match instance.log().read(log, start, ALL).await?? {
        ReadOutcome::Records(batch) if batch.entries.is_empty() => Ok(batch.next),
        other => bail!("{other:?}"),
    }
}

fn at(offset: u64) -> Cursor {
    Cursor { offset, ..START }
}

async fn appends(world: &World, book: &mut Book) -> Result<()> {
    let store = world.store();
    let (mut a, mut b) = (world.instance("a").await?, world.instance("b").await?);
    // The first of an instance looks whether the store was checked.
    book.charge("create", 3, store, create(&mut a, "created", true))
        .await?;
    book.charge("create.another", 2, store, create(&mut a, "another", true))
        .await?;
    book.charge("create.exists", 2, store, create(&mut b, "created", false))
        .await?;
    book.charge("append.first", 2, store, append(&mut a, "l"))
        .await?;
    book.charge("append.warm", 1, store, append(&mut a, "l"))
        .await?;
    book.charge("append.cold", 3, store, append(&mut b, "l"))
        .await?;
    book.charge("append.lost-race", 3, store, append(&mut a, "l"))
        .await?;
    let (mut first, mut second) = (world.instance("c").await?, world.instance("d").await?);
    book.charge("claim", 3, store, claim(&mut first, 7)).await?;
    book.charge("claim.again", 2, store, claim(&mut first, 7))
        .await?;
    book.charge("claim.takeover", 3, store, claim(&mut second, 8))
        .await?;
    let mut restarted = world.instance("d").await?;
    book.charge("claim.again", 2, store, claim(&mut restarted, 8))
        .await
}

/// The first creation in an installation, with the check of the store, and an
/// examination.
fn new_installation(book: &mut Book) -> Result<()> {
    virtual_time()?.block_on(async {
        let world = World::unchecked(SEED, Options::default());
        let store = world.store();
        let mut instance = world.instance("a").await?;
        let created = create(&mut instance, "l", true);
        book.charge("create.first-of-all", 36, store, created)
            .await?;
        let examined = async {
            let report = instance.doctor().examine().await??;
            ensure!(report.verdict == Verdict::Passed, "{report:?}");
            Ok(())
        };
        book.charge("doctor.examine", 150, store, examined).await
    })
}

async fn tails_and_reads(world: &World, book: &mut Book) -> Result<()> {
    let store = world.store();
    let mut writer = world.instance("writer").await?;
    for _ in 0..READ_SEGMENTS {
        append(&mut writer, "l").await?;
    }
    let mut reader = world.instance("reader").await?;
    book.charge("tail.cold", 2, store, tail(&mut reader, "l", READ_SEGMENTS))
        .await?;
    let end = book
        .charge("tail.warm", 1, store, tail(&mut reader, "l", READ_SEGMENTS))
        .await?;
    book.charge("read.at-tail", 1, store, poll(&mut reader, "l", end))
        .await?;
    let (to_search, to_check) = (u64::from(READ_SEGMENTS.ilog2() + 1), 1);
    // The tail (2), the watermark (1), the search, the watermark again where the
    // segment is young (1), and the segment itself (1).
    let cold = 2 + 1 + to_search + to_check + 1;
    for offset in 0..READ_SEGMENTS {
        let mut fresh = world.instance("cold").await?;
        book.charge(
            "read.cold-by-offset",
            cold,
            store,
            read_one(&mut fresh, "l", at(offset)),
        )
        .await?;
    }
    // The start costs the tail (2), the watermark (1) and its check (1).
    let mut fresh = world.instance("sequential").await?;
    let whole = READ_SEGMENTS + 2 + 1 + to_check;
    book.charge(
        "read.sequential-200",
        whole,
        store,
        read_in_pieces(&mut fresh),
    )
    .await?;
    let mut known = world.instance("resumed").await?;
    let middle = reader_at(&mut fresh, READ_SEGMENTS / 2).await?;
    book.charge("read.resumed", 1, store, read_one(&mut known, "l", middle))
        .await?;
    let mut waiter = world.instance("waiter").await?;
    book.charge("wait.ready", 1, store, wait_one(&mut waiter, middle))
        .await?;
    Ok(())
}

/// Reads a log as a consumer does, a few records at a time.
async fn read_in_pieces(instance: &mut Instance) -> Result<()> {
    let (mut cursor, limit) = (
        START,
        ReadLimit {
            records: 10,
            bytes: 1 << 20,
        },
    );
    while cursor.offset < READ_SEGMENTS {
        match instance.log().read("l", cursor, limit).await?? {
            ReadOutcome::Records(batch) if !batch.entries.is_empty() => cursor = batch.next,
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

/// The cursor that a reader has after it read up to `offset`.
async fn reader_at(instance: &mut Instance, offset: u64) -> Result<Cursor> {
    read_one(instance, "l", at(offset - 1)).await
}

async fn wait_one(instance: &mut Instance, start: Cursor) -> Result<()> {
    let limit = ReadLimit {
        records: 1,
        bytes: 1 << 20,
    };
    match instance.log().wait("l", start, limit, 1_000).await?? {
        ReadOutcome::Records(batch) if batch.entries.len() == 1 => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn blobs(world: &World, book: &mut Book) -> Result<()> {
    let store = world.store();
    let mut a = world.instance("a").await?;
    let bodies: Vec<Vec<u8>> = (0..8).map(|body| vec![body; 100]).collect();
    let put = async |a: &mut Instance, bodies: &[Vec<u8>]| {
        let references = a.blob().put("s", 0, bodies).await??;
        anyhow::Ok(references)
    };
    let blobs = book
        .charge("blob.put-8", 8, store, put(&mut a, &bodies))
        .await?;
    book.charge("blob.put.again", 2, store, put(&mut a, &bodies[..1]))
        .await?;
    book.charge("blob.get-8", 8, store, async {
        let read = a.blob().get("s", &blobs).await??;
        ensure!(read.into_iter().flatten().eq(bodies), "other bodies");
        Ok(())
    })
    .await?;
    book.charge("blob.contains", 1, store, async {
        ensure!(a.blob().contains("s", &blobs[..1]).await?? == [true]);
        Ok(())
    })
    .await?;
    let item = |blob: &Reference| Item {
        key: blob.digest.clone(),
        value: Vec::new(),
        blobs: vec![blob.clone()],
    };
    let commit = async |a: &mut Instance, base: u64, blobs: &[Reference]| {
        let change = Change {
            base,
            depends_on: Dependency::Edits,
            edits: blobs.iter().map(item).map(Edit::Set).collect(),
            writer: Writer::Shared,
            author: String::new(),
            message: String::new(),
            id: None,
        };
        match a.manifest().commit("s", &change).await?? {
            CommitOutcome::Committed(_) => Ok(()),
            other => bail!("{other:?}"),
        }
    };
    commit(&mut a, 0, &blobs).await?;
    book.charge("commit.with-4-new-blobs", 5, store, async {
        let bodies: Vec<Vec<u8>> = (0..4).map(|body| vec![body; 200]).collect();
        let blobs = put(&mut a, &bodies).await?;
        commit(&mut a, 1, &blobs).await
    })
    .await?;
    Ok(())
}

async fn retention(world: &World, book: &mut Book) -> Result<()> {
    let store = world.store();
    let mut writer = world.instance("writer").await?;
    // The first segment stays, and so does the newest.
    for _ in 0..TRIMMED_SEGMENTS + 2 {
        append(&mut writer, "l").await?;
    }
    world.pass(2 * HOUR).await;
    let mut reader = world.instance("reader").await?;
    let place = read_one(&mut reader, "l", at(TRIMMED_SEGMENTS)).await?;
    book.charge("pin.at-cursor", 3, store, pin(&mut reader, "l", place))
        .await?;
    book.charge("pins", 1, store, pins(&mut reader, "l", 1))
        .await?;
    let maximum = 4 + 2 * TRIMMED_SEGMENTS.div_ceil(1_000);
    let trimmed = async {
        let keep = Keep::Start(TRIMMED_SEGMENTS + 1);
        let report = reader.collection().trim("l", keep).await??;
        ensure!(
            report.objects() == TRIMMED_SEGMENTS && !report.more,
            "{report:?}"
        );
        Ok(())
    };
    book.charge("trim.1000", maximum, store, trimmed).await?;
    let unpinned = async { Ok(reader.retention().unpin("l", "r").await??) };
    book.charge("unpin", 2, store, unpinned).await
}

async fn pin(instance: &mut Instance, log: &str, place: Cursor) -> Result<()> {
    match instance.retention().pin(log, "r", place, 60_000).await?? {
        PinOutcome::Pinned(_) => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn pins(instance: &mut Instance, log: &str, expected: usize) -> Result<()> {
    let pins = instance.retention().pins(log).await??;
    ensure!(pins.len() == expected, "{pins:?}");
    Ok(())
}

/// A long history, before and after it is merged.
async fn replays(world: &World, book: &mut Book) -> Result<()> {
    let store = world.store();
    let mut writer = world.instance("writer").await?;
    for _ in 0..REPLAYED_SEGMENTS {
        append(&mut writer, "l").await?;
    }
    world.pass(2 * HOUR).await;
    let mut reader = world.instance("reader").await?;
    let whole = replay(&mut reader, "l");
    let before = REPLAYED_SEGMENTS + 4;
    book.charge("replay.10000", before, store, whole).await?;
    let options = MergeOptions {
        spare: Keep::Records(0),
        at_least: 64,
    };
    // One for each segment, five for each pack, two for each thousand deleted objects,
    // and the tail (2), the watermark (1), its grace (1), and the first plan (3).
    let packs = REPLAYED_SEGMENTS.div_ceil(1_000);
    let maximum = REPLAYED_SEGMENTS + 7 * packs + 7;
    let merging = async {
        let report = writer.collection().merge("l", options).await??;
        ensure!(
            report.segments == REPLAYED_SEGMENTS - 1 && !report.more,
            "{report:?}"
        );
        Ok(())
    };
    book.charge("merge.10000", maximum, store, merging).await?;
    let mut reader = world.instance("reader").await?;
    let whole = replay(&mut reader, "l");
    let maximum = REPLAYED_SEGMENTS / REPLAY_GAIN_MIN;
    book.charge("replay.10000-merged", maximum, store, whole)
        .await?;
    for offset in (0..REPLAYED_SEGMENTS - 1).step_by(997) {
        // The tail (2), the watermark (1), the packs (1) and one of them.
        let mut cold = world.instance("cold").await?;
        let read = read_one(&mut cold, "l", at(offset));
        book.charge("read.cold-merged", 5, store, read).await?;
    }
    Ok(())
}

/// Reads a log from its start to its end.
async fn replay(instance: &mut Instance, log: &str) -> Result<()> {
    let mut cursor = START;
    while cursor.offset < REPLAYED_SEGMENTS {
        match instance.log().read(log, cursor, ALL).await?? {
            ReadOutcome::Records(batch) if !batch.entries.is_empty() => cursor = batch.next,
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

async fn leases(world: &World, book: &mut Book) -> Result<()> {
    let store = world.store();
    let (mut a, mut b) = (world.instance("a").await?, world.instance("b").await?);
    let began_at = world.clock().now_ms();
    let grant = book
        .charge("lease.acquire.first", 4, store, acquire(&mut a))
        .await?;
    book.note(Row {
        operation: "lease.acquire.first-ms",
        measured: world.clock().now_ms().0 - began_at.0,
        maximum: FIRST_WAIT_MS_MAX,
        note: "ms, of which all but the requests is waited, once in the life of a lease".to_owned(),
    });
    let observed = observe(&mut b);
    book.charge("lease.observe.cold", 1, store, observed)
        .await?;
    let before = store.totals();
    let observed = observe(&mut b);
    book.charge("lease.observe.known", 1, store, observed)
        .await?;
    let statuses = store.totals().since(&before).statuses;
    ensure!(
        statuses == [(304, 1)].into(),
        "a version that is known is read with its body: {statuses:?}"
    );
    let renewed = book
        .charge("lease.renew", 1, store, renew(&mut a, &grant))
        .await?;
    book.charge("lease.release", 1, store, release(&mut a, &renewed))
        .await?;
    // The next two know that it is free: one has been told, one has released it.
    observe(&mut b).await?;
    let grant = book
        .charge("lease.acquire.known", 1, store, acquire(&mut b))
        .await?;
    release(&mut b, &grant).await?;
    let grant = book
        .charge("lease.acquire.known", 1, store, acquire(&mut b))
        .await?;
    // Another instance, with nothing but the grant.
    let mut moved = world.instance("moved").await?;
    let grant = book
        .charge("lease.renew", 1, store, renew(&mut moved, &grant))
        .await?;
    let mut moved = world.instance("moved").await?;
    book.charge("lease.release", 1, store, release(&mut moved, &grant))
        .await?;
    let mut cold = world.instance("cold").await?;
    book.charge("lease.acquire.cold", 2, store, acquire(&mut cold))
        .await?;
    Ok(())
}

fn as_holder(instance: &Instance) -> Request {
    Request {
        holder: instance.name().to_owned(),
        duration_ms: LEASE_MS,
        note: String::new(),
        bounds: None,
    }
}

async fn acquire(instance: &mut Instance) -> Result<Grant> {
    let request = as_holder(instance);
    acquired(instance.lease().acquire("l", &request).await??)
}

fn acquired(outcome: AcquireOutcome) -> Result<Grant> {
    match outcome {
        AcquireOutcome::Acquired(grant) => Ok(grant),
        other => bail!("{other:?}"),
    }
}

async fn renew(instance: &mut Instance, grant: &Grant) -> Result<Grant> {
    match instance.lease().renew(grant, LEASE_MS).await?? {
        RenewOutcome::Renewed(grant) => Ok(grant),
        other => bail!("{other:?}"),
    }
}

async fn release(instance: &mut Instance, grant: &Grant) -> Result<()> {
    match instance.lease().release(grant, None).await?? {
        ReleaseOutcome::Released => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn observe(instance: &mut Instance) -> Result<()> {
    let status = instance.lease().observe("l").await??;
    ensure!(status.is_some(), "no lease");
    Ok(())
}

/// Crashes of a holder at all moments between two renewals, on a store that tells
/// whole seconds, with three candidates that wait. In virtual time.
fn take_overs(book: &mut Book) -> Result<()> {
    let mut times_ms = Vec::new();
    for crash in 0..CRASHES {
        simulate(SEED + crash, async |world| {
            let after_renewal_ms = crash * RENEWAL_MS / CRASHES;
            times_ms.push(take_over(world, after_renewal_ms).await?);
            Ok(())
        })?;
    }
    times_ms.sort_unstable();
    let (least, median) = (times_ms[0], times_ms[times_ms.len() / 2]);
    book.note(Row {
        operation: "lease.take-over-ms",
        measured: *times_ms.last().context("no crash")?,
        maximum: TAKE_OVER_MS_MAX,
        note: format!(
            "ms after a crash at worst, {median} in the median, {least} at best; lease of {LEASE_MS}"
        ),
    });
    Ok(())
}

/// The time from a crash, so long after a renewal, to the next grant.
async fn take_over(world: &World, after_renewal_ms: u64) -> Result<u64> {
    world.faults().latency(Duration::from_millis(20));
    // The store's seconds begin at another moment in each run.
    world
        .pass(Duration::from_millis(world.site().seed() * 137 % 1_000))
        .await;
    let mut leader = world.instance("leader").await?;
    let grant = acquire(&mut leader).await?;
    let mut candidates = tokio::task::JoinSet::new();
    for number in 0..3 {
        let mut candidate = world.instance(&format!("candidate-{number}")).await?;
        let clock = *world.clock();
        candidates.spawn(async move {
            let request = as_holder(&candidate);
            let outcome = candidate.lease().campaign("l", &request, 60_000).await??;
            anyhow::Ok((acquired(outcome)?, clock.now_ms()))
        });
    }
    world.pass(Duration::from_millis(RENEWAL_MS)).await;
    let grant = renew(&mut leader, &grant).await?;
    world.pass(Duration::from_millis(after_renewal_ms)).await;
    drop(leader);
    let crashed_at = world.clock().now_ms();
    let (next, at) = candidates.join_next().await.context("nobody")???;
    ensure!(next.token.epoch > grant.token.epoch, "{next:?}");
    Ok(at.0 - crashed_at.0)
}

/// Everything that has to find a place, in a log of a million segments.
async fn among_many(book: &mut Book) -> Result<()> {
    const MAXIMUM: u64 = 25;
    const INTERVAL_MS: u64 = 1_000;
    let clock = WorldClock::of_machine();
    let started_at = UnixMs(clock.now_ms().0 - (MANY_SEGMENTS + 60) * INTERVAL_MS);
    let log = SyntheticLog::new("many", MANY_SEGMENTS, started_at, INTERVAL_MS)?;
    let server = SyntheticServer::start(log.clone(), clock).await?;
    let store = server.store();
    let site = Site::on_this_machine(server.endpoint(), SEED);
    let mut dice = Seeded::fork(SEED, "places");
    // The edges, where the pointers are fewest and most, and anywhere.
    let mut slots = vec![
        0,
        1,
        (1 << 19) - 1,
        1 << 19,
        999_999,
        983_039,
        524_287 + 262_144,
    ];
    slots.extend((0..MANY_SEARCHES).map(|_| dice.below(MANY_SEGMENTS)));
    for (number, slot) in (0..).zip(slots) {
        let (base, time) = (log.base_offset(slot), log.written_at(slot).0);
        let name = format!("i{number}");
        let mut reader = site.instance(&name).await?;
        let read = read_one(&mut reader, "many", at(base));
        book.charge("read.cold-in-million", MAXIMUM, store, read)
            .await?;
        let mut finder = site.instance(&name).await?;
        let located = async {
            let found = finder.log().locate("many", time).await??;
            ensure!(found.offset == base, "{} instead of {base}", found.offset);
            Ok(())
        };
        book.charge("locate.in-million", MAXIMUM, store, located)
            .await?;
        let mut pinner = site.instance(&name).await?;
        book.charge(
            "pin.in-million",
            MAXIMUM,
            store,
            pin(&mut pinner, "many", at(base)),
        )
        .await?;
    }
    let mut cold = site.instance("cold").await?;
    book.charge(
        "tail.in-million",
        2,
        store,
        tail(&mut cold, "many", log.end_offset()),
    )
    .await?;
    let mut writer = site.instance("writer").await?;
    book.charge("append.in-million", 3, store, append(&mut writer, "many"))
        .await
}

/// Requests for 100 acknowledged appends of writers that compete, in a closed loop: each
/// with an instance of its own, or with a new one for each append.
fn competitions(book: &mut Book) -> Result<()> {
    const ROWS: [(&str, u64, bool, u64); 8] = [
        ("contention.1-warm, 100 appends", 1, false, 110),
        ("contention.4-warm, 100 appends", 4, false, 300),
        ("contention.16-warm, 100 appends", 16, false, 300),
        ("contention.64-warm, 100 appends", 64, false, 300),
        ("contention.1-cold, 100 appends", 1, true, 300),
        ("contention.4-cold, 100 appends", 4, true, 650),
        ("contention.16-cold, 100 appends", 16, true, 650),
        ("contention.64-cold, 100 appends", 64, true, 550),
    ];
    for (operation, writers, cold, maximum) in ROWS {
        simulate(SEED, async |world| {
            let (appends, used) = compete(world, writers, cold).await?;
            let per_hundred = |requests: u64| (requests * 100).div_ceil(appends.max(1));
            let spent_ms = COMPETITION_MS / COMPETITION_ROUND_TRIP_MS;
            book.note(Row {
                operation,
                measured: per_hundred(used.all()),
                maximum,
                note: format!("{appends} appends in {spent_ms} round trips"),
            });
            Ok(())
        })?;
    }
    Ok(())
}

/// How many appends were acknowledged, and what they took.
async fn compete(world: &World, writers: u64, cold: bool) -> Result<(u64, Totals)> {
    let mut first = world.instance("first").await?;
    append(&mut first, "l").await?;
    let latency = Duration::from_millis(COMPETITION_ROUND_TRIP_MS);
    world.faults().latency(latency);
    let before = world.store().totals();
    let end = tokio::time::Instant::now() + Duration::from_millis(COMPETITION_MS);
    let mut at_work = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let site = world.site().clone();
        at_work.spawn(async move {
            let name = format!("writer-{writer}");
            let mut instance = site.instance(&name).await?;
            let mut appends = 0;
            while tokio::time::Instant::now() < end {
                if cold {
                    instance = site.instance(&name).await?;
                }
                append(&mut instance, "l").await?;
                appends += 1;
            }
            anyhow::Ok(appends)
        });
    }
    let mut appends = 0;
    while let Some(done) = at_work.join_next().await {
        appends += done??;
    }
    Ok((appends, world.store().totals().since(&before)))
}

/// A change that sets some keys and depends on those.
fn sets(base: u64, keys: impl IntoIterator<Item = String>) -> Change {
    let item = |key: String| Item {
        value: format!("a value of {key}, {base}").into_bytes(),
        key,
        blobs: Vec::new(),
    };
    Change {
        base,
        depends_on: Dependency::Edits,
        edits: keys.into_iter().map(|key| Edit::Set(item(key))).collect(),
        writer: Writer::Shared,
        author: "budget".to_owned(),
        message: String::new(),
        id: None,
    }
}

/// Commits one key behind `base`, which becomes this version.
async fn set_one(
    instance: &mut Instance,
    manifest: &str,
    base: u64,
    key: &str,
    version: u64,
) -> Result<()> {
    let change = sets(base, [key.to_owned()]);
    match instance.manifest().commit(manifest, &change).await?? {
        CommitOutcome::Committed(committed) if committed == version => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn latest(instance: &mut Instance, manifest: &str, version: u64) -> Result<()> {
    let snapshot = instance.manifest().latest(manifest).await??;
    let found = snapshot.map(|snapshot| snapshot.summary.version);
    ensure!(found == Some(version), "{found:?}");
    Ok(())
}

async fn at_version(instance: &mut Instance, manifest: &str, version: u64) -> Result<()> {
    match instance.manifest().at(manifest, version, None).await?? {
        AtOutcome::Snapshot(snapshot) if snapshot.summary.version == version => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn manifests(world: &World, book: &mut Book) -> Result<()> {
    let store = world.store();
    let (mut a, mut b) = (world.instance("a").await?, world.instance("b").await?);
    let committed = set_one(&mut a, "m", 0, "x", 1);
    book.charge("manifest.commit.first", 3, store, committed)
        .await?;
    let committed = set_one(&mut a, "m", 1, "x", 2);
    book.charge("manifest.commit.warm", 1, store, committed)
        .await?;
    let read = latest(&mut a, "m", 2);
    book.charge("manifest.latest.warm", 1, store, read).await?;
    let mut cold = world.instance("cold").await?;
    let read = latest(&mut cold, "m", 2);
    book.charge("manifest.latest.cold", 2, store, read).await?;
    let committed = set_one(&mut b, "m", 2, "y", 3);
    book.charge("manifest.commit.cold", 3, store, committed)
        .await?;
    let committed = set_one(&mut a, "m", 2, "z", 4);
    book.charge("manifest.commit.rebased", 3, store, committed)
        .await?;
    let read = at_version(&mut cold, "m", 1);
    book.charge("manifest.at", 2, store, read).await?;
    let history = async {
        let history = cold.manifest().history("m", None, 10).await??;
        ensure!(history.len() == 4, "{history:?}");
        Ok(())
    };
    book.charge("manifest.history-4", 6, store, history).await?;
    set_one(&mut a, "n", 0, "x", 1).await?;
    let part = |manifest: &str, base| transaction::Part {
        manifest: manifest.to_owned(),
        change: sets(base, ["both".to_owned()]),
    };
    let parts = [part("m", 4), part("n", 1)];
    let both = async {
        match a.transaction().commit(&parts).await?? {
            transaction::Outcome::Committed(versions) if versions == [5, 2] => Ok(()),
            other => bail!("{other:?}"),
        }
    };
    book.charge("transaction.2-manifests", 3, store, both)
        .await?;
    let fork = async {
        match a.manifest().fork("m", 3, "fork").await?? {
            ForkOutcome::Forked => Ok(()),
            other => bail!("{other:?}"),
        }
    };
    book.charge("manifest.fork", 6, store, fork).await
}

/// Commits that change one key of many.
async fn large_manifest(world: &World, book: &mut Book) -> Result<()> {
    const KEYS: u64 = 10_000;
    const COMMITS: u64 = 1_100;
    let store = world.store();
    let mut writer = world.instance("writer").await?;
    let key = |number: u64| format!("tables/part-{:06}", number * 7_919 % KEYS);
    let all = sets(0, (0..KEYS).map(key));
    match writer.manifest().commit("large", &all).await?? {
        CommitOutcome::Committed(1) => {}
        other => bail!("{other:?}"),
    }
    let before = store.totals();
    for version in 1..=COMMITS {
        set_one(&mut writer, "large", version, &key(version), version + 1).await?;
    }
    let written = store.totals().since(&before);
    // In quick succession, one in 32 looks for others.
    ensure!(written.all() <= COMMITS + COMMITS / 25, "{written:?}");
    book.note(Row {
        operation: "manifest.commit-bytes.10000-keys",
        measured: written.bytes_in / COMMITS,
        maximum: 4_095,
        note: "bytes written on average by a commit that changes one".to_owned(),
    });
    // What is sent together is answered together, so the time tells the steps.
    world.faults().latency(STEP);
    let steps = |since: Duration| {
        let took = world.clock().elapsed().saturating_sub(since);
        u64::try_from((took + STEP / 2).as_millis() / STEP.as_millis())
    };
    for version in [2, 1_024, 1_101] {
        let mut cold = world.instance("cold").await?;
        let began = world.clock().elapsed();
        let read = at_version(&mut cold, "large", version);
        book.charge("manifest.at.10000-keys", 12, store, read)
            .await?;
        book.note(Row {
            operation: "manifest.at.10000-keys.steps",
            measured: steps(began)?,
            maximum: 3,
            note: "one after the other".to_owned(),
        });
    }
    let mut cold = world.instance("cold").await?;
    let began = world.clock().elapsed();
    let read = latest(&mut cold, "large", COMMITS + 1);
    book.charge("manifest.latest.10000-keys", 12, store, read)
        .await?;
    book.note(Row {
        operation: "manifest.latest.10000-keys.steps",
        measured: steps(began)?,
        maximum: 2,
        note: "one after the other".to_owned(),
    });
    Ok(())
}

/// What collection costs: of blobs that nobody names, and of decisions.
async fn collection(world: &World, book: &mut Book) -> Result<()> {
    const BLOBS: u8 = 200;
    const DECISIONS: u64 = 20;
    let store = world.store();
    let mut a = world.instance("a").await?;
    let manifest = Target::manifest("m", KeepVersions::Newest(1));
    set_one(&mut a, "m", 0, "x", 1).await?;
    let bodies: Vec<Vec<u8>> = (0..BLOBS).map(|body| vec![body; 100]).collect();
    for bodies in bodies.chunks(50) {
        a.blob().put("m", 0, bodies).await??;
    }
    world.pass(2 * HOUR).await;
    a.collection().sweep(&manifest).await??;
    world.pass(2 * HOUR).await;
    let planned = book
        .charge("collection.plan-manifest", 12, store, async {
            Ok(a.collection().plan(&manifest).await??)
        })
        .await?;
    // Two versions are kept until the sweep, and one more raises the generation.
    let swept = book
        .charge("collection.sweep-200-blobs", 12 + 3 + 2, store, async {
            Ok(a.collection().sweep(&manifest).await??)
        })
        .await?;
    ensure!(swept == planned && swept.count(Reason::Unnamed) == u64::from(BLOBS));
    let snapshot = a.manifest().latest("m").await??.context("no m")?;
    set_one(&mut a, "n", 0, "x", 1).await?;
    let mut base = [snapshot.summary.version, 1];
    for _ in 0..DECISIONS {
        let part = |name: &str, base| transaction::Part {
            manifest: name.to_owned(),
            change: sets(base, ["both".to_owned()]),
        };
        let parts = [part("m", base[0]), part("n", base[1])];
        match a.transaction().commit(&parts).await?? {
            transaction::Outcome::Committed(versions) => base = [versions[0], versions[1]],
            other => bail!("{other:?}"),
        }
    }
    set_one(&mut a, "m", base[0], "x", base[0] + 1).await?;
    set_one(&mut a, "n", base[1], "x", base[1] + 1).await?;
    world.pass(2 * HOUR).await;
    let maximum = DECISIONS + 2 * 2 + 2;
    let swept = book
        .charge("collection.sweep-20-decisions", maximum, store, async {
            Ok(a.collection().sweep(&Target::Decisions).await??)
        })
        .await?;
    ensure!(swept.count(Reason::Settled) == DECISIONS, "{swept:?}");
    Ok(())
}

/// A transfer of `examples/acid-table`: three rows, of which two are read before.
async fn transfer(world: &World, book: &mut Book) -> Result<()> {
    let store = world.store();
    let mut table = world
        .instance("table")
        .artifact(Artifact::AcidTableApp)
        .await?;
    let keys = ["account/1".to_owned(), "account/2".to_owned()];
    for round in 0..2 {
        let name = format!("transfer/{round}");
        let run = async {
            let begun = table.tables().begin("t", &name).await?;
            let transaction = begun.map_err(|error| anyhow::anyhow!(error))?;
            let read = table.tables().read(transaction, &keys).await?;
            ensure!(read.is_ok(), "{read:?}");
            for key in keys.iter().chain([&name]) {
                let row = format!("{key} {round}");
                table.tables().write(transaction, key, Some(&row)).await?;
            }
            let ended = table.tables().commit(transaction).await?;
            ensure!(ended == Ok(Outcome::Committed(round + 1)), "{ended:?}");
            Ok(())
        };
        match round {
            0 => run.await?,
            // The version, two rows, three blobs, and the commit.
            _ => {
                book.charge("acid-table.transfer", 1 + 2 + 3 + 1, store, run)
                    .await?;
            }
        }
    }
    Ok(())
}

async fn starts(world: &World, book: &mut Book) -> Result<()> {
    let mut times_us = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let began = Instant::now();
        let instance = world.instance("started").await?;
        times_us.push(u64::try_from(began.elapsed().as_micros())?);
        drop(instance);
    }
    times_us.sort_unstable();
    let median = times_us[STARTS / 2];
    let bytes = Artifact::Ifmatch.read()?.len();
    book.figure("component", format!("{bytes} bytes"));
    match cfg!(debug_assertions) {
        true => book.figure(
            "instantiation",
            format!("{median} µs in the median, by a debug build of the host (not judged)"),
        ),
        false => book.note(Row {
            operation: "instantiation-us",
            measured: median,
            maximum: START_US_MAX,
            note: "microseconds in the median, by a release build of the host".to_owned(),
        }),
    }
    Ok(())
}

async fn fuel(world: &World, book: &mut Book) -> Result<()> {
    const APPENDS: u64 = 100;
    const RECORDS: u64 = 1_000;
    let mut writer = world.instance("writer").await?;
    let record = vec![vec![b'x'; 1024]];
    append_records(&mut writer, "l", &record).await?;
    let before = writer.fuel_used();
    for _ in 0..APPENDS {
        append_records(&mut writer, "l", &record).await?;
    }
    let each = (writer.fuel_used() - before) / APPENDS;
    book.figure("append.warm of 1 KiB", format!("{each} fuel"));
    let batch = vec![vec![b'x'; 1024]; usize::try_from(RECORDS)?];
    append_records(&mut writer, "batch", &batch).await?;
    for (log, records, name) in [
        ("l", APPENDS + 1, "read of 1 KiB, one per segment"),
        ("batch", RECORDS, "read of 1 KiB, 1000 per segment"),
    ] {
        let mut reader = world.instance("reader").await?;
        tail(&mut reader, log, records).await?;
        let before = reader.fuel_used();
        match reader.log().read(log, START, ALL).await?? {
            ReadOutcome::Records(batch) if batch.entries.len() as u64 == records => {}
            other => bail!("{other:?}"),
        }
        let each = (reader.fuel_used() - before) / records;
        book.figure(name, format!("{each} fuel"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(operation: &'static str, measured: u64) -> Row {
        Row {
            operation,
            measured,
            maximum: 2,
            note: String::new(),
        }
    }

    #[test]
    fn a_row_over_its_maximum_is_marked_and_counted() {
        let mut book = Book::default();
        book.note(row("a", 2));
        assert_eq!(book.over(), 0);
        book.note(row("b.longer", 3));
        assert_eq!(book.over(), 1);
        let table = book.table();
        assert!(
            !table.contains("a         OVER") && table.contains("3        2  OVER"),
            "{table}"
        );
        assert_eq!(
            book.json(),
            "[{\"operation\":\"a\",\"measured\":2,\"maximum\":2},\n \
             {\"operation\":\"b.longer\",\"measured\":3,\"maximum\":2}]"
        );
    }

    #[test]
    fn the_dearest_run_of_an_operation_counts() {
        let mut book = Book::default();
        for measured in [1, 3, 2] {
            book.note(row("a", measured));
        }
        assert_eq!((book.rows.len(), book.rows[0].measured), (1, 3));
    }
}
