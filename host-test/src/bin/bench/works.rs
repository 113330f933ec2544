//! What is done, by whom, and in which order: contestants take turns, operation by
//! operation, so that whatever disturbs the machine disturbs all of them.

use crate::actor::{Actor, Who};
use crate::native;
use crate::peer::{Peer, Program};
use crate::place::{Kind, Place};
use crate::sample::{Reported, Sample};
use anyhow::{Context, Result, anyhow, bail, ensure};
use host_test::artifact::Artifact;
use host_test::bindings::lease::{AcquireOutcome, Grant, ReleaseOutcome, RenewOutcome, Request};
use host_test::bindings::log::Writer;
use host_test::bindings::manifest::{Change, CommitOutcome, Dependency, Edit, Item};
use host_test::host::Instance;
use host_test::world::simulate;
use ifmatch::keys::{ChainKeys, Family, Name, Slot};
use ifmatch::log as core;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Turns, without and with a latency.
    pub turns: (usize, usize),
    /// Segments of the log whose tail is looked for, and which is replayed.
    pub segments: usize,
    /// Bytes of the log of large segments that is replayed.
    pub replay_bytes: usize,
    /// For how long competitors begin one operation after the other, without and with a
    /// latency. What they begin they end.
    pub contest: (Duration, Duration),
    /// How many writers compete.
    pub writers: &'static [usize],
    /// Keys of the large manifest.
    pub keys: usize,
}

impl Scale {
    /// For figures to keep.
    pub const WHOLE: Self = Self {
        turns: (200, 40),
        segments: 10_000,
        replay_bytes: 1 << 30,
        contest: (Duration::from_secs(1), Duration::from_secs(3)),
        writers: &[1, 4, 16, 64],
        keys: 10_000,
    };
    /// For a look in passing.
    pub const QUICK: Self = Self {
        turns: (40, 6),
        segments: 250,
        replay_bytes: 64 << 20,
        contest: (Duration::from_millis(150), Duration::from_millis(2_500)),
        writers: &[16],
        keys: 10_000,
    };

    fn turns(self, place: &Place) -> usize {
        match place.latency.is_zero() {
            true => self.turns.0,
            false => self.turns.1,
        }
    }

    fn contest(self, place: &Place) -> Duration {
        match place.latency.is_zero() {
            true => self.contest.0,
            false => self.contest.1,
        }
    }
}

/// One line of the result.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was done.
    pub work: String,
    /// By whom.
    pub who: &'static str,
    /// On which store.
    pub kind: Kind,
    /// With which latency.
    pub latency: Duration,
    /// Records that one operation appended or read.
    pub records: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// What was measured.
    pub sample: Sample,
}

/// Everything that was measured, and what could not be.
#[derive(Default)]
pub struct Book {
    /// Lines in the order in which they were measured.
    pub rows: Vec<Row>,
    /// Who took no part in what, and why.
    pub left_out: Vec<(String, String)>,
}

/// Segments and records of the log of large segments.
const LARGE_RECORD_BYTES: usize = 64 << 10;
const LARGE_SEGMENT_RECORDS: usize = 64;
/// Appends that are not measured, with which everybody becomes warm.
const WARM_UP: usize = 3;
/// On SeaweedFS, those that wait for one key wait for each other, by the second.
const SEAWEED_WRITERS_MAX: usize = 4;
const LEASE_MS: u32 = 10_000;

/// Contestants of one work, with what they did.
struct Contest<'a> {
    place: &'a Place,
    entries: Vec<(&'static str, Actor, Sample)>,
}

impl<'a> Contest<'a> {
    async fn of(place: &'a Place, who: &[Who], name: &str) -> Result<Self> {
        let mut entries = Vec::new();
        for who in who {
            let name = format!(
                "{name}-{}",
                who.name().split(',').next().unwrap_or_default()
            );
            let actor = who.start(place, &name.replace(' ', "-")).await?;
            entries.push((who.name(), actor, Sample::default()));
        }
        Ok(Self { place, entries })
    }

    /// Everybody in turn, and in each round another one first.
    async fn run(
        &mut self,
        turns: usize,
        operation: impl AsyncFn(&mut Actor, &str, usize) -> Result<Option<Reported>>,
    ) -> Result<()> {
        let count = self.entries.len();
        for turn in 0..turns + WARM_UP {
            for at in 0..count {
                let (who, actor, sample) = &mut self.entries[(at + turn) % count];
                let fuel = actor.fuel();
                let mut ignored = Sample::default();
                let noted = if turn < WARM_UP { &mut ignored } else { sample };
                let log = log_of(who, self.place);
                noted
                    .measure(self.place, operation(actor, &log, turn))
                    .await
                    .context(*who)?;
                note_guest(noted, actor, fuel);
            }
        }
        Ok(())
    }

    fn rows(self, book: &mut Book, work: &str, records: u64, bytes: u64) {
        for (who, _, sample) in self.entries {
            book.rows.push(Row {
                work: work.to_owned(),
                who,
                kind: self.place.kind,
                latency: self.place.latency,
                records,
                bytes,
                sample,
            });
        }
    }
}

fn note_guest(sample: &mut Sample, actor: &Actor, fuel_before: Option<u64>) {
    if let (Some(before), Some(after)) = (fuel_before, actor.fuel()) {
        *sample.fuel.get_or_insert_default() += after - before;
    }
    sample.memory_bytes = sample.memory_bytes.max(actor.memory_bytes());
}

/// Each contestant has a log of its own.
fn log_of(who: &str, place: &Place) -> String {
    format!("{}-{}", plain(who), place.latency.as_millis())
}

/// As it can stand in a name.
fn plain(text: &str) -> String {
    text.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One writer.
    Appends,
    Leases,
    Manifests,
    /// Competing writers.
    Writers,
    /// Tails and replays.
    Reads,
    /// The first append of a fresh instance.
    Starts,
}

impl Subject {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::Appends,
        Self::Leases,
        Self::Manifests,
        Self::Writers,
        Self::Reads,
        Self::Starts,
    ];

    /// What a person types.
    pub fn name(self) -> &'static str {
        match self {
            Self::Appends => "appends",
            Self::Leases => "leases",
            Self::Manifests => "manifests",
            Self::Writers => "writers",
            Self::Reads => "reads",
            Self::Starts => "starts",
        }
    }

    /// Measures it in one place.
    pub async fn measure(
        self,
        book: &mut Book,
        place: &Place,
        scale: Scale,
        peers: &[Program],
    ) -> Result<()> {
        place.set_slow(true);
        match self {
            Self::Appends => appends(book, place, scale, peers).await,
            Self::Leases => leases(book, place, scale).await,
            Self::Manifests => manifests(book, place, scale).await,
            Self::Writers => competition(book, place, scale, peers).await,
            Self::Reads => reads(book, place, scale).await,
            Self::Starts => first_calls(book, place, scale).await,
        }
    }
}

async fn appends(book: &mut Book, place: &Place, scale: Scale, peers: &[Program]) -> Result<()> {
    for (work, records, bytes) in [
        ("append 1 KiB", 1, 1 << 10),
        ("append 64 KiB", 1, 64 << 10),
        ("append 100 x 1 KiB", 100, 1 << 10),
    ] {
        let who = [
            Who::NativeFloor,
            Who::GuestFloor,
            Who::Port,
            Who::Ifmatch,
            Who::Composed,
            Who::Core,
            Who::ByHand,
        ];
        let mut contest = Contest::of(place, &who, work).await?;
        for program in peers.iter().filter(|_| place.endpoint.is_some()) {
            match started(program, place, work).await {
                Ok(peer) => {
                    let entry = (program.name, Actor::Peer(Box::new(peer)), Sample::default());
                    contest.entries.push(entry);
                }
                Err(error) => book.left_out.push((
                    format!("{} on {}, {work}", program.name, place.kind.name()),
                    format!("{error:#}"),
                )),
            }
        }
        let batch = vec![vec![b'x'; bytes]; records];
        contest
            .run(scale.turns(place), async |actor, log, turn| {
                actor
                    .append(&format!("{log}-{bytes}x{records}"), turn, &batch)
                    .await
            })
            .await
            .context(work)?;
        contest.rows(book, work, records as u64, (records * bytes) as u64);
    }
    Ok(())
}

/// A contestant in a process of its own that has made its first append.
async fn started(program: &Program, place: &Place, work: &str) -> Result<Peer> {
    ensure!(place.endpoint.is_some(), "a process of its own needs HTTP");
    let name = work.replace(' ', "-");
    let mut peer = Peer::start(program, &place.natives, &name)?;
    peer.append(1, 1)?;
    Ok(peer)
}

fn keys_of(log: &str, slots: u64) -> Result<Vec<String>> {
    let name = Name::parse(log).map_err(|error| anyhow!("{error}"))?;
    let keys = ChainKeys::new(Family::Log, name);
    Ok((0..slots).map(|slot| keys.slot(Slot(slot))).collect())
}

/// Writes a log, as fast as the store allows.
async fn prepare(place: &Place, log: &str, segments: usize, batch: &[Vec<u8>]) -> Result<()> {
    place.set_slow(false);
    let writer = native::logs(&place.natives, "prepare")?;
    for _ in 0..segments {
        let outcome = writer
            .append(log, batch, &core::AppendOptions::SHARED)
            .await;
        match outcome.map_err(|error| anyhow!("{error}"))? {
            core::AppendOutcome::Appended(_) => {}
            other => bail!("{other:?}"),
        }
    }
    place.set_slow(true);
    Ok(())
}

async fn reads(book: &mut Book, place: &Place, scale: Scale) -> Result<()> {
    const READERS: [Who; 5] = [
        Who::NativeFloor,
        Who::Port,
        Who::Ifmatch,
        Who::Composed,
        Who::Core,
    ];
    let segments = scale.segments;
    let log = format!("small-{}", place.latency.as_millis());
    prepare(place, &log, segments, &[vec![b'x'; 128]]).await?;
    let keys = keys_of(&log, segments as u64)?;
    let newest = keys.last().context("no segments")?;

    let work = format!("tail from cold, {segments} segments");
    let mut samples = vec![Sample::default(); READERS.len()];
    for turn in 0..scale.turns(place) {
        for at in 0..READERS.len() {
            let at = (at + turn) % READERS.len();
            let mut actor = READERS[at].start(place, &format!("tail-{turn}")).await?;
            let found = async {
                actor.tail(&log, newest, segments as u64).await?;
                Ok(None)
            };
            samples[at].measure(place, found).await.context("tail")?;
            note_guest(&mut samples[at], &actor, Some(0));
        }
    }
    note(book, place, &work, READERS, samples, (0, 0));

    let work = format!("replay of {segments} segments of 128 B");
    replays(
        book,
        place,
        &work,
        &READERS,
        &log,
        &keys,
        segments as u64,
        128,
    )
    .await?;

    let records = scale.replay_bytes / LARGE_RECORD_BYTES;
    let large = format!("large-{}", place.latency.as_millis());
    let batch = vec![vec![b'x'; LARGE_RECORD_BYTES]; LARGE_SEGMENT_RECORDS];
    let segments = records / LARGE_SEGMENT_RECORDS;
    prepare(place, &large, segments, &batch).await?;
    let keys = keys_of(&large, segments as u64)?;
    let work = format!("replay of {} MiB", scale.replay_bytes >> 20);
    let records = records as u64;
    let record_bytes = LARGE_RECORD_BYTES as u64;
    replays(
        book,
        place,
        &work,
        &READERS,
        &large,
        &keys,
        records,
        record_bytes,
    )
    .await
}

#[expect(clippy::too_many_arguments, reason = "they describe one log")]
async fn replays(
    book: &mut Book,
    place: &Place,
    work: &str,
    readers: &[Who],
    log: &str,
    keys: &[String],
    records: u64,
    record_bytes: u64,
) -> Result<()> {
    let mut samples = vec![Sample::default(); readers.len()];
    // Thousands of requests that take their time are an average by themselves.
    let turns = match place.latency.is_zero() || keys.len() < 1_000 {
        true => 2,
        false => 1,
    };
    for turn in 0..turns {
        for at in 0..readers.len() {
            let at = (at + turn) % readers.len();
            let mut actor = readers[at].start(place, &format!("replay-{turn}")).await?;
            let read = async {
                let bytes = actor.replay(log, keys, records).await?;
                ensure!(bytes >= records * record_bytes, "only {bytes} bytes");
                Ok(None)
            };
            let measured = samples[at].measure(place, read).await;
            measured.with_context(|| format!("{work}, {}", readers[at].name()))?;
            note_guest(&mut samples[at], &actor, Some(0));
        }
    }
    let sizes = (records, records * record_bytes);
    note(book, place, work, readers.iter().copied(), samples, sizes);
    Ok(())
}

fn note(
    book: &mut Book,
    place: &Place,
    work: &str,
    who: impl IntoIterator<Item = Who>,
    samples: Vec<Sample>,
    (records, bytes): (u64, u64),
) {
    for (who, sample) in who.into_iter().zip(samples) {
        book.rows.push(Row {
            work: work.to_owned(),
            who: who.name(),
            kind: place.kind,
            latency: place.latency,
            records,
            bytes,
            sample,
        });
    }
}

/// The first append of a fresh instance to a log that exists.
async fn first_calls(book: &mut Book, place: &Place, scale: Scale) -> Result<()> {
    const WHO: [Who; 4] = [
        Who::NativeFloor,
        Who::GuestFloor,
        Who::Ifmatch,
        Who::Composed,
    ];
    let log = format!("cold-{}", place.latency.as_millis());
    let record = vec![vec![b'x'; 1 << 10]];
    prepare(place, &log, 3, &record).await?;
    let mut samples = vec![Sample::default(); WHO.len()];
    for turn in 0..scale.turns(place) {
        for at in 0..WHO.len() {
            let at = (at + turn) % WHO.len();
            let mut started = None;
            let run = async {
                // The start counts here: this is what a host does for each request.
                let mut actor = WHO[at].start(place, &format!("cold-{turn}-{at}")).await?;
                actor.append(&log, turn * WHO.len() + at, &record).await?;
                started = Some(actor);
                Ok(None)
            };
            samples[at]
                .measure(place, run)
                .await
                .context("first call")?;
            if let Some(actor) = &started {
                note_guest(&mut samples[at], actor, Some(0));
            }
        }
    }
    note(
        book,
        place,
        "start and first append",
        WHO,
        samples,
        (1, 1 << 10),
    );
    Ok(())
}

fn holder(name: &str) -> Request {
    Request {
        holder: name.to_owned(),
        duration_ms: LEASE_MS,
        note: String::new(),
        bounds: None,
    }
}

async fn acquire(instance: &mut Instance, lease: &str) -> Result<Grant> {
    let request = holder(instance.name());
    match instance.lease().acquire(lease, &request).await?? {
        AcquireOutcome::Acquired(grant) => Ok(grant),
        other => bail!("{other:?}"),
    }
}

async fn release(instance: &mut Instance, grant: &Grant) -> Result<()> {
    match instance.lease().release(grant, None).await?? {
        ReleaseOutcome::Released => Ok(()),
        other => bail!("{other:?}"),
    }
}

async fn leases(book: &mut Book, place: &Place, scale: Scale) -> Result<()> {
    const WHO: [Who; 4] = [
        Who::NativeFloor,
        Who::GuestFloor,
        Who::Ifmatch,
        Who::Composed,
    ];
    let body = vec![vec![b'x'; 256]];
    let turns = scale.turns(place).min(40);
    for work in [
        "lease: acquire, released",
        "lease: acquire, from cold",
        "lease: renew",
    ] {
        let mut contest = Contest::of(place, &WHO, work).await?;
        // The first acquisition of all waits; it is not what is measured here.
        let mut grants = Vec::new();
        for (who, actor, _) in &mut contest.entries {
            let lease = log_of(who, place);
            if let Some(instance) = actor.guest() {
                let grant = acquire(instance, &lease).await.context(work)?;
                match work {
                    "lease: renew" => grants.push(Some(grant)),
                    _ => {
                        release(instance, &grant).await?;
                        grants.push(None);
                    }
                }
            } else {
                grants.push(None);
            }
        }
        let count = contest.entries.len();
        for turn in 0..turns {
            for at in 0..count {
                let at = (at + turn) % count;
                let (who, actor, sample) = &mut contest.entries[at];
                let lease = log_of(who, place);
                if work == "lease: acquire, from cold"
                    && let Some(artifact) = artifact_of(who)
                {
                    let name = format!("cold-{turn}");
                    let fresh = place.guests.instance(&name).artifact(artifact).await?;
                    *actor = Actor::Guest(Box::new(fresh));
                }
                let fuel = actor.fuel();
                let mut granted = None;
                let run = async {
                    if actor.guest().is_none() {
                        return actor
                            .append(&format!("{}-{lease}", plain(work)), turn, &body)
                            .await;
                    }
                    let instance = actor.guest().context("a guest")?;
                    granted = Some(match &grants[at] {
                        None => acquire(instance, &lease).await?,
                        Some(grant) => match instance.lease().renew(grant, LEASE_MS).await?? {
                            RenewOutcome::Renewed(grant) => grant,
                            other => bail!("{other:?}"),
                        },
                    });
                    Ok(None)
                };
                sample.measure(place, run).await.context(work)?;
                note_guest(sample, actor, fuel);
                if let (Some(granted), Some(instance)) = (granted, actor.guest()) {
                    match &mut grants[at] {
                        Some(grant) => *grant = granted,
                        None => release(instance, &granted).await?,
                    }
                }
            }
        }
        for (at, (_, actor, _)) in contest.entries.iter_mut().enumerate() {
            if let (Some(grant), Some(instance)) = (&grants[at], actor.guest()) {
                release(instance, grant).await?;
            }
        }
        contest.rows(book, work, 0, 0);
    }
    Ok(())
}

fn artifact_of(who: &str) -> Option<Artifact> {
    [Who::Ifmatch, Who::Composed]
        .into_iter()
        .find(|candidate| candidate.name() == who)
        .map(|who| match who {
            Who::Composed => Artifact::IfmatchComposed,
            _ => Artifact::Ifmatch,
        })
}

/// A lease whose holder crashed is taken over: in virtual time, because the duration
/// of the lease has to pass first.
pub fn take_over(book: &mut Book, latency: Duration) -> Result<()> {
    let mut sample = Sample::default();
    simulate(1, async |world| {
        world.faults().latency(latency);
        let mut crashed = world.instance("crashed").await?;
        for turn in 0..10 {
            let grant = acquire(&mut crashed, "l").await?;
            world.pass(Duration::from_secs(30)).await;
            let mut next = world.instance(&format!("next-{turn}")).await?;
            let (before, began) = (world.store().totals(), world.clock().elapsed());
            let taken = acquire(&mut next, "l").await?;
            ensure!(taken.token.epoch > grant.token.epoch, "{taken:?}");
            let took = world.clock().elapsed() - began;
            sample.times.push(took);
            sample.elapsed += took;
            let after = world.store().totals();
            sample.counted += crate::sample::Counted::between(&before, &after);
            *sample.fuel.get_or_insert_default() += next.fuel_used();
            sample.memory_bytes = sample.memory_bytes.max(Some(next.memory_bytes()));
            release(&mut next, &taken).await?;
        }
        Ok(())
    })?;
    book.rows.push(Row {
        work: "lease: take-over, expired (virtual time)".to_owned(),
        who: Who::Ifmatch.name(),
        kind: Kind::Process,
        latency,
        records: 0,
        bytes: 0,
        sample,
    });
    Ok(())
}

fn change(base: u64, keys: impl IntoIterator<Item = String>) -> Change {
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
        author: "bench".to_owned(),
        message: String::new(),
        id: None,
    }
}

async fn commit(
    instance: &mut Instance,
    manifest: &str,
    base: u64,
    keys: impl IntoIterator<Item = String>,
) -> Result<u64> {
    let change = change(base, keys);
    match instance.manifest().commit(manifest, &change).await?? {
        CommitOutcome::Committed(version) => Ok(version),
        other => bail!("{other:?}"),
    }
}

/// The same among others. Who is left far behind is told where the manifest is, and
/// begins anew from there.
async fn commit_among_others(
    instance: &mut Instance,
    manifest: &str,
    mut base: u64,
    key: &str,
) -> Result<u64> {
    for _ in 0..100 {
        let change = change(base, [key.to_owned()]);
        match instance.manifest().commit(manifest, &change).await?? {
            CommitOutcome::Committed(version) => return Ok(version),
            CommitOutcome::Conflict(conflict) if conflict.keys.is_empty() => base = conflict.latest,
            other => bail!("{other:?}"),
        }
    }
    bail!("left behind again and again")
}

async fn manifests(book: &mut Book, place: &Place, scale: Scale) -> Result<()> {
    const WHO: [Who; 4] = [
        Who::NativeFloor,
        Who::GuestFloor,
        Who::Ifmatch,
        Who::Composed,
    ];
    let body = vec![vec![b'x'; 256]];
    for keys in [10, scale.keys] {
        let work = format!("manifest: commit 1 of {keys} keys");
        let mut contest = Contest::of(place, &WHO, &work).await?;
        let key = |number: usize| format!("tables/part-{number:06}");
        for (who, actor, _) in &mut contest.entries {
            if let Some(instance) = actor.guest() {
                let manifest = format!("{}-{keys}", log_of(who, place));
                commit(instance, &manifest, 0, (0..keys).map(key)).await?;
            }
        }
        contest
            .run(scale.turns(place).min(60), async |actor, log, turn| {
                let manifest = format!("{log}-{keys}");
                if let Some(instance) = actor.guest() {
                    let base = turn as u64 + 1;
                    commit(instance, &manifest, base, [key(turn % keys)]).await?;
                    return Ok(None);
                }
                actor.append(&manifest, turn, &body).await
            })
            .await
            .context(work.clone())?;
        contest.rows(book, &work, 0, 0);
    }
    let committers = if place.kind == Kind::Seaweed {
        SEAWEED_WRITERS_MAX
    } else {
        16
    };
    for committers in [1, committers] {
        let work = format!("manifest: {committers} competing committers");
        let manifest = format!("contested-{committers}-{}", place.latency.as_millis());
        let (lasts, mut sample) = (scale.contest(place), Sample::default());
        let mut instances = Vec::new();
        for number in 0..committers {
            instances.push(
                place
                    .guests
                    .instance(&format!("committer-{number}"))
                    .await?,
            );
        }
        commit(&mut instances[0], &manifest, 0, ["x".to_owned()]).await?;
        let outcome = together(place, &mut sample, instances, |mut instance, number| {
            let manifest = manifest.clone();
            async move {
                let (mut base, mut times) = (1, Vec::new());
                let started = Instant::now();
                while started.elapsed() < lasts {
                    let began = Instant::now();
                    let key = format!("key-{number}-{}", times.len());
                    base = commit_among_others(&mut instance, &manifest, base, &key).await?;
                    times.push(began.elapsed());
                }
                Ok((times, Actor::Guest(Box::new(instance))))
            }
        });
        outcome.await.context(work.clone())?;
        push(book, place, work, Who::Ifmatch.name(), sample, 0);
    }
    Ok(())
}

/// Runs one task for each competitor and measures all of them as one.
async fn together<A, F>(
    place: &Place,
    sample: &mut Sample,
    competitors: Vec<A>,
    task: impl Fn(A, usize) -> F,
) -> Result<()>
where
    A: 'static,
    F: Future<Output = Result<(Vec<Duration>, Actor)>> + 'static,
{
    let mut tasks = JoinSet::new();
    let mut whole = Sample::default();
    let mut times = Vec::new();
    let mut actors = Vec::new();
    for (number, competitor) in competitors.into_iter().enumerate() {
        tasks.spawn_local(task(competitor, number));
    }
    let run = async {
        while let Some(ended) = tasks.join_next().await {
            let (own, actor) = ended??;
            times.extend(own);
            actors.push(actor);
        }
        Ok(None)
    };
    whole.measure(place, run).await?;
    sample.counted += whole.counted;
    sample.cpu += whole.cpu;
    sample.elapsed += whole.elapsed;
    sample.times.extend(times);
    for actor in &actors {
        note_guest(sample, actor, Some(0));
    }
    Ok(())
}

fn push(
    book: &mut Book,
    place: &Place,
    work: String,
    who: &'static str,
    sample: Sample,
    bytes: u64,
) {
    book.rows.push(Row {
        work,
        who,
        kind: place.kind,
        latency: place.latency,
        records: u64::from(bytes > 0),
        bytes,
        sample,
    });
}

/// Writers that append 1 KiB each to one log, all at once.
async fn competition(
    book: &mut Book,
    place: &Place,
    scale: Scale,
    peers: &[Program],
) -> Result<()> {
    for writers in scale.writers.iter().copied() {
        if place.kind == Kind::Seaweed && writers > SEAWEED_WRITERS_MAX {
            let ms = place.latency.as_millis();
            book.left_out.push((
                format!("{writers} competing writers on SeaweedFS, {ms} ms"),
                "its requests for one key wait for each other by the second".to_owned(),
            ));
            continue;
        }
        let lasts = scale.contest(place);
        let work = format!("append 1 KiB, {writers} competing writers");
        for who in [Who::Ifmatch, Who::Core, Who::ByHand] {
            let mut sample = Sample::default();
            let log = format!("contested-{writers}-{}", log_of(who.name(), place));
            let mut actors = Vec::new();
            for number in 0..writers {
                actors.push(who.start(place, &format!("writer-{number}")).await?);
            }
            let ended = together(place, &mut sample, actors, |mut actor, _| {
                let log = log.clone();
                async move {
                    let (record, mut times) = (vec![vec![b'x'; 1 << 10]], Vec::new());
                    let started = Instant::now();
                    while started.elapsed() < lasts {
                        let began = Instant::now();
                        actor.append(&log, times.len(), &record).await?;
                        times.push(began.elapsed());
                    }
                    Ok((times, actor))
                }
            });
            match ended.await {
                Ok(()) => push(book, place, work.clone(), who.name(), sample, 1 << 10),
                Err(error) => book.left_out.push((
                    format!("{} on {}, {work}", who.name(), place.kind.name()),
                    format!("{error:#}"),
                )),
            }
        }
        for program in peers.iter().filter(|program| program.competes) {
            let mut sample = Sample::default();
            match compete(program, place, writers, lasts, &mut sample) {
                Ok(()) => push(book, place, work.clone(), program.name, sample, 1 << 10),
                Err(error) if place.endpoint.is_some() => book.left_out.push((
                    format!("{} on {}, {work}", program.name, place.kind.name()),
                    format!("{error:#}"),
                )),
                Err(_) => {}
            }
        }
    }
    Ok(())
}

fn compete(
    program: &Program,
    place: &Place,
    writers: usize,
    lasts: Duration,
    sample: &mut Sample,
) -> Result<()> {
    ensure!(place.endpoint.is_some(), "a process of its own needs HTTP");
    let mut peer = Peer::start(program, &place.natives, &format!("contested-{writers}"))?;
    let before = place.totals();
    let done = peer.compete(writers, lasts)?;
    sample.counted += crate::sample::Counted::between(&before, &place.totals());
    sample.times = done.times;
    sample.elapsed = done.elapsed;
    sample.cpu = done.cpu;
    Ok(())
}
