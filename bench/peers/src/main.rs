//! What others would use in place of `ifmatch`, in a process of its own.
//!
//! `bench-peers by-hand|slatedb NAME` finds its store in the same environment variables
//! as the components. It reads one command a line and answers each with one line,
//! `ok NUMBER...` or `error TEXT`; times are in nanoseconds, and those of processors are
//! of the whole process:
//!
//! ```text
//! hello                      ok
//! append RECORDS BYTES       ok WALL CPU
//! compete WRITERS MS         ok WALL CPU TIME...
//! ```

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use slatedb::{Db, WriteBatch};
use tokio::task::JoinSet;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, name] = words.as_slice() else {
        bail!("usage: bench-peers by-hand|slatedb NAME");
    };
    // One thread, as for the components.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(store()?);
        let mut contestant = match kind.as_str() {
            "by-hand" => Contestant::ByHand(ByHand::new(store, name)),
            "slatedb" => {
                let path = format!("slatedb/{name}-{}", std::process::id());
                let database = Db::builder(path, store).build().await?;
                Contestant::SlateDb(database, 0)
            }
            other => bail!("unknown contestant {other}"),
        };
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            let answer = match contestant.obey(&line).await {
                Ok(numbers) => {
                    let numbers: Vec<_> = numbers.iter().map(u128::to_string).collect();
                    ["ok", &numbers.join(" ")].join(" ")
                }
                Err(error) => format!("error {error:#}").replace('\n', " "),
            };
            println!("{answer}");
            std::io::stdout().flush()?;
        }
        Ok(())
    })
}

fn store() -> Result<object_store::aws::AmazonS3> {
    let setting = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    Ok(AmazonS3Builder::new()
        .with_endpoint(setting("AWS_ENDPOINT_URL_S3")?)
        .with_region(setting("AWS_REGION")?)
        .with_bucket_name(setting("IFMATCH_BUCKET")?)
        .with_access_key_id(setting("AWS_ACCESS_KEY_ID")?)
        .with_secret_access_key(setting("AWS_SECRET_ACCESS_KEY")?)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_allow_http(true)
        .build()?)
}

/// Processor time of this process.
fn cpu() -> Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes to `time`, which outlives it, and to nothing else.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    if result != 0 {
        bail!("no clock of processor time");
    }
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

enum Contestant {
    ByHand(ByHand),
    SlateDb(Db, u64),
}

impl Contestant {
    async fn obey(&mut self, line: &str) -> Result<Vec<u128>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (cpu_before, began) = (cpu()?, Instant::now());
        let times = match words[..] {
            ["hello"] => return Ok(Vec::new()),
            ["append", records, bytes] => {
                self.append(records.parse()?, bytes.parse()?).await?;
                Vec::new()
            }
            ["compete", writers, ms] => match self {
                Self::ByHand(log) => {
                    compete(log, writers.parse()?, Duration::from_millis(ms.parse()?)).await?
                },
                Self::SlateDb(..) => bail!("one writer at a time by design"),
            },
            _ => bail!("unknown command {line}"),
        };
        let mut numbers = vec![began.elapsed().as_nanos(), (cpu()? - cpu_before).as_nanos()];
        numbers.extend(times.iter().map(Duration::as_nanos));
        Ok(numbers)
    }

    /// Returns when the records are durable.
    async fn append(&mut self, records: usize, bytes: usize) -> Result<()> {
        match self {
            Self::ByHand(log) => log.append(vec![b'x'; records * bytes].into()).await,
            Self::SlateDb(database, next) => {
                let mut batch = WriteBatch::new();
                for _ in 0..records {
                    batch.put(next.to_be_bytes(), vec![b'x'; bytes]);
                    *next += 1;
                }
                database.write(batch).await?;
                // At once, rather than after the interval at which it would by itself.
                database.flush().await?;
                Ok(())
            }
        }
    }
}

/// A log as one would write it in an afternoon: each record under the next number that
/// is free.
#[derive(Clone)]
struct ByHand {
    store: Arc<dyn ObjectStore>,
    name: String,
    next: u64,
}

impl ByHand {
    fn new(store: Arc<dyn ObjectStore>, name: &str) -> Self {
        let name = format!("by-hand-object-store/{name}-{}", std::process::id());
        Self {
            store,
            name,
            next: 0,
        }
    }

    async fn append(&mut self, body: Bytes) -> Result<()> {
        loop {
            let path = Path::from(format!("{}/{:020}", self.name, self.next));
            self.next += 1;
            let options = PutOptions::from(PutMode::Create);
            let payload = PutPayload::from(body.clone());
            match self.store.put_opts(&path, payload, options).await {
                Ok(_) => return Ok(()),
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Several writers, each with its own idea of what comes next.
async fn compete(log: &ByHand, writers: usize, lasts: Duration) -> Result<Vec<Duration>> {
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        let mut log = log.clone();
        tasks.spawn(async move {
            let (body, mut times) = (Bytes::from(vec![b'x'; 1 << 10]), Vec::new());
            let started = Instant::now();
            while started.elapsed() < lasts {
                let began = Instant::now();
                log.append(body.clone()).await?;
                times.push(began.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    Ok(times)
}
