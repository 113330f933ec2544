//! Goal: what is acknowledged holds on a real server too, through a network that loses
//! and repeats, and while the server is killed in the middle of its work.
//!
//! Method: SeaweedFS, and a proxy before it that spoils what passes. Writers append to a
//! log, committers change a manifest, candidates take a lease, for a limited time in
//! which the server is killed and started again twice. Then the proxy is calm, what is
//! late arrives, and an instance that goes past the proxy reads everything back. Every
//! answer that anybody was given is compared with that, as in the simulations.

use anyhow::{Context, Result, bail, ensure};
use host_test::bindings::lease::{self, AcquireOutcome};
use host_test::bindings::log::{AppendOptions, AppendOutcome, Error, Producer, Writer};
use host_test::bindings::manifest::{
    AtOutcome, Change, CommitOutcome, Dependency, Edit, Error as ManifestError, Item,
};
use host_test::faults::{Rates, Spans};
use host_test::history::{Attempt, Ending, History};
use host_test::proxy::Proxy;
use host_test::random::Seeded;
use host_test::readback::through_component;
use host_test::seaweed::Seaweed;
use host_test::world::{Endpoint, Site};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// For how long the workload runs.
const WORK: Duration = Duration::from_secs(25);
/// When the server is killed, since the work began.
const KILLS: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(16)];
/// The longest that everything may take: no call waits for ever.
const LIMIT: Duration = Duration::from_secs(240);
/// How long a component waits for a reply. Losers on one key wait a second for each
/// other one there.
const REQUEST_MS: &str = "4000";
/// For how long a lease holds. Nobody renews it.
const LEASE_MS: u32 = 4_000;

/// What one of those who work was told.
#[derive(Default)]
struct Told {
    attempts: Vec<Attempt>,
    /// Version, key and value of every commit that was acknowledged.
    commits: Vec<(u64, String, String)>,
    /// Tokens in the order in which they were granted.
    tokens: Vec<u64>,
}

#[derive(Clone)]
struct Worker {
    site: Site,
    name: String,
    until: Instant,
    seed: u64,
}

impl Worker {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    /// A producer, which repeats each batch until it knows, or one that sends it once.
    async fn append(self, repeats: bool) -> Result<Told> {
        let mut instance = self.site.instance(&self.name).await?;
        let mut dice = Seeded::fork(self.seed, &self.name);
        let mut told = Told::default();
        for sequence in 0.. {
            if !self.goes_on() {
                break;
            }
            let bodies = [format!("{}.{sequence}", self.name).into_bytes()];
            let mut attempt = Attempt {
                label: format!("{} {sequence}", self.name),
                bodies: bodies.to_vec(),
                began: self.site.clock().elapsed(),
                ended: None,
                ending: Ending::Unknown,
            };
            let options = AppendOptions {
                writer: Writer::Shared,
                expected: None,
                producer: repeats.then(|| Producer {
                    id: self.name.clone(),
                    sequence,
                    started_at: 0,
                }),
            };
            loop {
                match instance.log().append("l", &bodies, &options).await? {
                    Ok(AppendOutcome::Appended(extent)) => {
                        attempt.ending = Ending::Acknowledged(extent.start, extent.end);
                    }
                    Ok(AppendOutcome::Indeterminate(_)) => attempt.ending = Ending::Unknown,
                    Err(Error::Unavailable(_) | Error::Throttled(_)) => {
                        if !repeats {
                            attempt.ending = Ending::Rejected;
                        }
                    }
                    other => bail!("{}: {other:?}", attempt.label),
                }
                if !repeats || matches!(attempt.ending, Ending::Acknowledged(..)) {
                    break;
                }
                if !self.goes_on() {
                    attempt.ending = Ending::Unknown;
                    break;
                }
                sleep(Duration::from_millis(100)).await;
                if dice.below(4) == 0 {
                    // As after a crash: another instance repeats the batch.
                    instance = self.site.instance(&self.name).await?;
                }
            }
            attempt.ended = Some(self.site.clock().elapsed());
            told.attempts.push(attempt);
            sleep(Duration::from_millis(dice.below(300))).await;
        }
        Ok(told)
    }

    /// Sets a key of its own to one number after the other.
    async fn commit(self) -> Result<Told> {
        let mut instance = self.site.instance(&self.name).await?;
        let mut told = Told::default();
        let mut base = 0;
        for number in 0.. {
            if !self.goes_on() {
                break;
            }
            let change = Change {
                base,
                depends_on: Dependency::Edits,
                edits: vec![Edit::Set(Item {
                    key: self.name.clone(),
                    value: number.to_string().into_bytes(),
                    blobs: Vec::new(),
                })],
                writer: Writer::Shared,
                author: self.name.clone(),
                message: String::new(),
                id: None,
            };
            match instance.manifest().commit("m", &change).await? {
                Ok(CommitOutcome::Committed(version)) => {
                    ensure!(version > base, "{version} behind {base}");
                    base = version;
                    let value = number.to_string();
                    told.commits.push((version, self.name.clone(), value));
                }
                // Nobody else changes this key: an earlier commit of one's own that was
                // in doubt.
                Ok(CommitOutcome::Conflict(conflict)) => base = conflict.latest,
                Ok(CommitOutcome::Indeterminate(_)) => {}
                Err(ManifestError::Unavailable(_) | ManifestError::Throttled(_)) => {}
                other => bail!("{} {number}: {other:?}", self.name),
            }
        }
        Ok(told)
    }

    /// Takes the lease whenever it is free, and lets it end by itself.
    async fn lead(self) -> Result<Told> {
        let mut instance = self.site.instance(&self.name).await?;
        let mut told = Told::default();
        while self.goes_on() {
            let request = lease::Request {
                holder: self.name.clone(),
                duration_ms: LEASE_MS,
                note: String::new(),
                bounds: None,
            };
            match instance.lease().campaign("l", &request, 5_000).await? {
                Ok(AcquireOutcome::Acquired(grant)) => told.tokens.push(grant.token.epoch),
                Ok(AcquireOutcome::Held(_) | AcquireOutcome::Indeterminate(_)) => {}
                Err(lease::Error::Unavailable(_) | lease::Error::Throttled(_)) => {}
                Err(other) => bail!("{}: {other:?}", self.name),
            }
            sleep(Duration::from_millis(500)).await;
        }
        Ok(told)
    }
}

#[test]
fn what_is_acknowledged_survives_a_bad_network_and_a_server_that_is_killed() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let done = runtime.block_on(async { timeout(LIMIT, run(20_261_122)).await });
    // Whoever still waits for a lost reply is not waited for.
    runtime.shutdown_background();
    done.context("it took too long")?
}

async fn run(seed: u64) -> Result<()> {
    let mut seaweed = Seaweed::start()?;
    let proxy = Proxy::start(seaweed.address(), seed).await?;
    let direct = Site::on_this_machine(&seaweed.endpoint(), seed);
    let spoilt = Endpoint {
        url: proxy.url(),
        ..seaweed.endpoint()
    };
    let spoilt =
        Site::on_this_machine(&spoilt, seed).with("IFMATCH_REQUEST_TIMEOUT_MS", REQUEST_MS);
    proxy
        .faults()
        .rates(Rates {
            // Only a simulated store can do these.
            short_page: 0.0,
            pause: 0.0,
            skew_store: 0.0,
            ..Rates::bad_day()
        })
        .spans(Spans {
            late: Duration::from_millis(100)..=Duration::from_secs(8),
            ..Spans::default()
        });

    let began = Instant::now();
    let worker = |name: &str| Worker {
        site: spoilt.clone(),
        name: name.to_owned(),
        until: began + WORK,
        seed,
    };
    let mut work = JoinSet::new();
    work.spawn(worker("p-0").append(true));
    work.spawn(worker("p-1").append(true));
    work.spawn(worker("w-2").append(false));
    work.spawn(worker("c-0").commit());
    work.spawn(worker("c-1").commit());
    work.spawn(worker("l-0").lead());
    work.spawn(worker("l-1").lead());
    for kill in KILLS {
        sleep(kill.saturating_sub(began.elapsed())).await;
        seaweed = tokio::task::spawn_blocking(move || {
            seaweed.restart()?;
            anyhow::Ok(seaweed)
        })
        .await??;
    }
    let mut told = Told::default();
    while let Some(done) = work.join_next().await {
        let done = done??;
        told.attempts.extend(done.attempts);
        told.commits.extend(done.commits);
        told.tokens.extend(done.tokens);
    }
    proxy.faults().calm();
    proxy.settle().await;

    let mut judge = direct.instance("judge").await?;
    let log = through_component(&mut judge, "l").await?;
    let history = History {
        attempts: told.attempts,
        ..History::default()
    };
    let verdict = history.check(&log).into_result()?;
    for (version, key, value) in &told.commits {
        let item = match judge.manifest().at("m", *version, None).await?? {
            AtOutcome::Snapshot(snapshot) => {
                snapshot.items.into_iter().find(|item| item.key == *key)
            }
            other => bail!("version {version}: {other:?}"),
        };
        let item = item.with_context(|| format!("{key} is not in version {version}"))?;
        ensure!(
            item.value == value.as_bytes(),
            "{key} in {version}: {item:?}"
        );
    }
    let mut tokens = told.tokens.clone();
    tokens.sort_unstable();
    tokens.dedup();
    ensure!(tokens.len() == told.tokens.len(), "{:?}", told.tokens);

    let faults = proxy.faults().counts().clone();
    println!(
        "{verdict}; {} commits, {} terms; {faults:?}",
        told.commits.len(),
        tokens.len()
    );
    // A run in which little happens proves little.
    ensure!(verdict.acknowledged >= 10, "{verdict}");
    ensure!(told.commits.len() >= 10 && tokens.len() >= 2);
    for kind in ["lose-reply", "late", "duplicate", "fail-after", "slow-down"] {
        ensure!(faults.contains_key(kind), "no {kind} in {faults:?}");
    }
    Ok(())
}
