//! Where the instances run: a store in this process where much goes wrong, or a real
//! bucket.

use crate::arguments::Arguments;
use anyhow::{Context, Result, bail};
use host_test::artifact::Artifact;
use host_test::bindings::bucket::{Found, Read, Span};
use host_test::bindings::log::{AppendOptions, AppendOutcome, Writer};
use host_test::faults::{Rates, Spans};
use host_test::host::Instance;
use host_test::readback::slots_prefix;
use host_test::store::Kind;
use host_test::wire::Sent;
use host_test::world::{Site, World};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The log that everybody uses.
pub const LOG: &str = "demo";
/// The log that is appended to once, before anybody is killed.
const REHEARSAL: &str = "rehearsal";
/// Keys on one page of a listing, and in one deletion.
const PAGE_KEYS: u32 = 1_000;
/// Objects in one batch of reads.
const BATCH_OBJECTS: usize = 64;
/// How long a component waits for a reply of the store in this process, where some
/// never come.
const TIMEOUT_MS: &str = "400";
/// How often the requests so far are counted. The harness remembers a limited number.
const COUNTING_INTERVAL: Duration = Duration::from_millis(200);

/// A store in this process on a day on which much goes wrong.
fn bad_minute() -> Rates {
    Rates {
        refuse: 0.005,
        lose_request: 0.015,
        lose_reply: 0.04,
        duplicate: 0.03,
        late: 0.015,
        conflict: 0.01,
        slow_down: 0.01,
        fail_before: 0.01,
        fail_after: 0.025,
        truncate_reply: 0.005,
        break_reply: 0.005,
        ..Rates::default()
    }
}

/// Times of a store nearby.
fn spans() -> Spans {
    let ms = Duration::from_millis;
    Spans {
        request: ms(1)..=ms(6),
        reply: ms(1)..=ms(6),
        late: ms(20)..=ms(4_000),
        ..Spans::default()
    }
}

/// How often each kind of request was sent.
pub type Requests = BTreeMap<Kind, u64>;

/// The place.
pub struct Stage {
    site: Site,
    world: Option<World>,
    prefix: String,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    last: u64,
    by_instance: BTreeMap<String, Requests>,
}

impl Stage {
    /// Makes the place, and checks that it is usable.
    pub async fn set(arguments: &Arguments) -> Result<Self> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
        // Runs against one bucket keep apart.
        let prefix = format!(
            "ifmatch-demo/{:x}-{:x}",
            since_epoch.as_millis(),
            std::process::id()
        );
        let (site, world) = match &arguments.bucket {
            Some(endpoint) => {
                let site = Site::on_this_machine(endpoint, arguments.seed);
                (site.with("IFMATCH_PREFIX", &prefix), None)
            }
            None => {
                let world = World::in_process(arguments.seed);
                world.faults().spans(spans()).rates(bad_minute());
                let site = world.site().clone();
                (
                    site.with("IFMATCH_REQUEST_TIMEOUT_MS", TIMEOUT_MS),
                    Some(world),
                )
            }
        };
        // Compiles the component, which takes a moment after each build.
        let mut usher = site.instance("usher").await?;
        if world.is_none() {
            // Wrong settings are told before the curtain rises.
            usher.log().tail(LOG).await??;
        }
        Ok(Self {
            site,
            world,
            prefix,
            counted: Mutex::default(),
        })
    }

    /// Appends once. Whoever writes first in a bucket checks what its conditions are
    /// worth, with writes that race: where a server makes those wait for each other,
    /// no writer here would live that long.
    pub async fn rehearse(&self) -> Result<()> {
        let options = AppendOptions {
            writer: Writer::Shared,
            expected: None,
            producer: None,
        };
        let record = b"may this bucket be used?".to_vec();
        let mut usher = self.instance("usher").await?;
        match usher.log().append(REHEARSAL, &[record], &options).await?? {
            AppendOutcome::Appended(_) => Ok(()),
            other => bail!("the first append ended with {other:?}"),
        }
    }

    /// Where the log lies, for people.
    pub fn place(&self) -> String {
        match &self.world {
            Some(_) => "a bucket in this process".to_owned(),
            None => {
                let setting = |name| self.site.settings().get(name).map_or("", String::as_str);
                let (url, bucket) = (setting("AWS_ENDPOINT_URL_S3"), setting("IFMATCH_BUCKET"));
                format!("the bucket {bucket} at {url}")
            }
        }
    }

    /// Whether requests are spoilt.
    pub fn is_rough(&self) -> bool {
        self.world.is_some()
    }

    /// Time since the stage was made.
    pub fn now(&self) -> Duration {
        self.site.clock().elapsed()
    }

    /// A new instance of the component.
    pub async fn instance(&self, name: &str) -> Result<Instance> {
        self.site.instance(name).await
    }

    /// What went wrong so far, and how often.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.world
            .as_ref()
            .map(|world| world.faults().counts().clone())
            .unwrap_or_default()
    }

    /// Lets what is still on its way arrive. From now on nothing goes wrong.
    pub async fn calm_down(&self) {
        if let Some(world) = &self.world {
            world.faults().calm();
            world.settle().await;
        }
    }

    /// Counts requests until it is dropped.
    pub async fn keep_counting(&self) {
        loop {
            self.count();
            tokio::time::sleep(COUNTING_INTERVAL).await;
        }
    }

    fn count(&self) {
        let sent: Vec<Sent> = self.site.sent();
        let Ok(mut counted) = self.counted.lock() else {
            return;
        };
        let last = counted.last;
        for Sent {
            number,
            instance,
            request,
            ..
        } in sent
        {
            if number > last {
                counted.last = number;
                let requests = counted.by_instance.entry(instance).or_default();
                *requests.entry(request.kind).or_default() += 1;
            }
        }
    }

    /// The requests of all instances whose names start like this.
    pub fn requests_of(&self, names: &str) -> Requests {
        self.count();
        let mut sum = Requests::new();
        let Ok(counted) = self.counted.lock() else {
            return sum;
        };
        for (name, requests) in &counted.by_instance {
            if name.starts_with(names) {
                requests
                    .iter()
                    .for_each(|(kind, count)| *sum.entry(*kind).or_default() += count);
            }
        }
        sum
    }

    /// The segments of a log, byte by byte as they lie in the bucket: out of the
    /// store's memory, or through the port without the protocols.
    pub async fn raw_segments(&self, log: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let prefix = slots_prefix(log)?;
        if let Some(world) = &self.world {
            let keys = world.store().keys(&prefix).into_iter();
            let objects = keys.map(|key| {
                let object = world.store().object(&key).context("an object went away")?;
                Ok((key, object.body.to_vec()))
            });
            return objects.collect();
        }
        let mut port = self.port().await?;
        let keys = list(&mut port, &prefix).await?;
        let mut objects = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH_OBJECTS) {
            let reads: Vec<Read> = keys
                .iter()
                .map(|key| Read {
                    key: key.clone(),
                    span: Span::All,
                    unless: None,
                })
                .collect();
            for (key, reply) in keys.iter().zip(port.bucket().get_many(&reads).await?) {
                match reply?.found {
                    Found::Object(object) => objects.push((key.clone(), object.body)),
                    other => bail!("{key}: {other:?}"),
                }
            }
        }
        Ok(objects)
    }

    /// Deletes what this run left in a real bucket.
    pub async fn clear(&self) -> Result<()> {
        if self.world.is_some() {
            return Ok(());
        }
        let mut port = self.port().await?;
        let keys = list(&mut port, "").await.context("cannot clear up")?;
        for keys in keys.chunks(PAGE_KEYS as usize) {
            let deleted = port.deletion().delete_many(keys).await?;
            deleted.with_context(|| format!("cannot delete {}/...", self.prefix))?;
        }
        Ok(())
    }

    async fn port(&self) -> Result<Instance> {
        self.site
            .instance("auditor")
            .artifact(Artifact::BucketS3)
            .await
    }
}

/// All keys with a prefix.
async fn list(port: &mut Instance, prefix: &str) -> Result<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let after = keys.last().cloned();
        let page = port
            .bucket()
            .list_objects(prefix, after.as_deref(), PAGE_KEYS)
            .await??;
        keys.extend(page.objects.into_iter().map(|object| object.key));
        if !page.more {
            return Ok(keys);
        }
    }
}
