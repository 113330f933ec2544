//! What every provider of the port must do, on every store.
//!
//! [`run`] calls every function of `ifmatch:bucket` through real instances of
//! `bucket-s3.wasm` and checks each outcome that the interface names. It assumes
//! nothing about the store but the contract, and works in a folder of its own.

use crate::artifact::Artifact;
use crate::bindings::bucket::{
    Error, Found, Metadata, Object, Page, Precondition, PutOutcome, Read, Reply, Span, Version,
    Write, Written, presign::Upload,
};
use crate::host::Instance;
use crate::random::Seeded;
use crate::store::{Request, auth};
use crate::world::Site;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

/// How hard a run tries.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Instances that race for one key.
    pub racers: usize,
    /// Races of either kind.
    pub rounds: usize,
    /// Objects in the listing that is read in pages.
    pub listed: usize,
    /// Checks that this store is known not to pass.
    pub known_differences: &'static [&'static str],
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            racers: 8,
            rounds: 5,
            listed: 70,
            known_differences: &[],
        }
    }
}

/// How one check ended.
#[derive(Debug)]
pub struct Check {
    /// What it was about.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a check ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The contract was kept.
    Kept,
    /// The contract was broken, as is known of this store.
    Differs(String),
    /// The contract was broken.
    Broken(String),
}

impl Verdict {
    fn of(name: &str, result: Result<()>, effort: &Effort) -> Self {
        let Err(error) = result else {
            return Self::Kept;
        };
        let problem = format!("{error:#}");
        match effort.known_differences.contains(&name) {
            true => Self::Differs(problem),
            false => Self::Broken(problem),
        }
    }
}

/// How all checks ended.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order in which they ran.
    pub checks: Vec<Check>,
}

impl Report {
    /// Fails if any check failed.
    pub fn into_result(self) -> Result<Self> {
        match self
            .checks
            .iter()
            .any(|check| matches!(check.verdict, Verdict::Broken(_)))
        {
            false => Ok(self),
            true => bail!("the store or the provider breaks the contract\n{self}"),
        }
    }

    /// Whether one check found the contract broken.
    pub fn is_broken(&self, name: &str) -> bool {
        let mut checks = self.checks.iter();
        checks.any(|check| check.name == name && matches!(check.verdict, Verdict::Broken(_)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            write!(f, "{:>7} ms  {}: ", check.took.as_millis(), check.name)?;
            match &check.verdict {
                Verdict::Kept => writeln!(f, "ok")?,
                Verdict::Differs(why) => writeln!(f, "differs, as known: {why}")?,
                Verdict::Broken(why) => writeln!(f, "BROKEN: {why}")?,
            }
        }
        Ok(())
    }
}

/// Runs every check.
pub async fn run(site: &Site, effort: Effort) -> Result<Report> {
    let mut dice = Seeded::new(site.seed() ^ site.clock().now_ms().0);
    let folder = format!("conformance-{:016x}", dice.draw());
    let site = site.clone().with("IFMATCH_PREFIX", &folder);
    let mut suite = Suite {
        bucket: site.instance("main").artifact(Artifact::BucketS3).await?,
        site,
        folder,
        effort,
    };
    let mut report = Report::default();
    macro_rules! check {
        ($($name:ident),* $(,)?) => {$({
            let began = Instant::now();
            let verdict = Verdict::of(stringify!($name), suite.$name().await, &effort);
            report.checks.push(Check { name: stringify!($name), took: began.elapsed(), verdict });
        })*};
    }
    check!(
        create_wins_once,
        replace_needs_the_version,
        keys_of_every_kind,
        keys_that_others_continue,
        bodies_of_every_size,
        reads_of_first_bytes,
        reads_unless_unchanged,
        reads_in_batches,
        writes_in_batches,
        listings_in_pages,
        listings_across_folders,
        listings_show_writes_at_once,
        deletions,
        presigned_upload,
        presigned_download,
        arguments_out_of_bounds,
        prefixes_are_apart,
        racing_creates,
        racing_replaces,
    );
    Ok(report)
}

struct Suite {
    site: Site,
    folder: String,
    bucket: Instance,
    effort: Effort,
}

fn write(key: &str, body: impl Into<Vec<u8>>, precondition: Precondition) -> Write {
    Write {
        key: key.to_owned(),
        body: body.into(),
        precondition,
    }
}

fn create(key: &str, body: impl Into<Vec<u8>>) -> Write {
    write(key, body, Precondition::Absent)
}

fn replace(key: &str, body: impl Into<Vec<u8>>, version: &Version) -> Write {
    write(key, body, Precondition::Matches(version.clone()))
}

fn whole(key: &str) -> Read {
    Read {
        key: key.to_owned(),
        span: Span::All,
        unless: None,
    }
}

fn first(key: &str, bytes: u32) -> Read {
    Read {
        span: Span::First(bytes),
        ..whole(key)
    }
}

fn written(outcome: Result<PutOutcome, Error>) -> Result<Written> {
    match outcome? {
        PutOutcome::Written(written) => Ok(written),
        other => bail!("not written: {other:?}"),
    }
}

fn lost(outcome: Result<PutOutcome, Error>) -> Result<()> {
    match outcome? {
        PutOutcome::PreconditionFailed => Ok(()),
        other => bail!("the precondition did not fail: {other:?}"),
    }
}

fn object(reply: Result<Reply, Error>) -> Result<Object> {
    match reply?.found {
        Found::Object(object) => Ok(object),
        other => bail!("not an object: {other:?}"),
    }
}

fn absent(reply: Result<Reply, Error>) -> Result<()> {
    match reply?.found {
        Found::Absent => Ok(()),
        other => bail!("not absent: {other:?}"),
    }
}

fn keys(page: &Page) -> Vec<&str> {
    page.objects
        .iter()
        .map(|metadata| metadata.key.as_str())
        .collect()
}

impl Suite {
    async fn put(&mut self, write: &Write) -> Result<Result<PutOutcome, Error>> {
        self.bucket.bucket().put(write).await
    }

    async fn get(&mut self, read: &Read) -> Result<Result<Reply, Error>> {
        self.bucket.bucket().get(read).await
    }

    async fn create_wins_once(&mut self) -> Result<()> {
        let key = "create/k";
        absent(self.get(&whole(key)).await?)?;
        let created = written(self.put(&create(key, "one")).await?)?;
        lost(self.put(&create(key, "two")).await?)?;
        lost(self.put(&create(key, "one")).await?).context("the same bytes again")?;
        let object = object(self.get(&whole(key)).await?)?;
        ensure!(object.body == b"one", "the loser's body is there");
        ensure!(
            object.metadata.version == created.version,
            "another version than was written"
        );
        ensure!(
            object.metadata.key == key && object.metadata.size == 3,
            "{:?}",
            object.metadata
        );
        Ok(())
    }

    async fn replace_needs_the_version(&mut self) -> Result<()> {
        let key = "replace/k";
        let one = written(self.put(&create(key, "one")).await?)?;
        let two = written(self.put(&replace(key, "two", &one.version)).await?)?;
        ensure!(one.version != two.version, "two contents have one version");
        lost(self.put(&replace(key, "three", &one.version)).await?)?;
        lost(
            self.put(&replace("replace/missing", "x", &one.version))
                .await?,
        )
        .context("a missing key")?;
        absent(self.get(&whole("replace/missing")).await?)?;
        let object = object(self.get(&whole(key)).await?)?;
        ensure!(object.body == b"two" && object.metadata.version == two.version);
        if let (Some(first), Some(second)) = (one.observed_at, two.observed_at) {
            ensure!(first <= second, "the store's clock went back");
            let modified_at = object
                .metadata
                .modified_at
                .context("it tells the time, but not of objects")?;
            let tolerance = 2000;
            ensure!(modified_at <= second + tolerance && modified_at + tolerance >= first);
        }
        Ok(())
    }

    async fn keys_of_every_kind(&mut self) -> Result<()> {
        let long = "k".repeat(200) + "/" + &"k".repeat(200);
        let odd = [
            "a",
            "A",
            "0",
            "a.b",
            "a_b",
            "a=b",
            "a-b",
            "=",
            "-",
            "_",
            ".a",
            "a.",
            "...",
            "a/b/c/d/e",
            "x=1/y=2",
            &long,
        ];
        for key in odd {
            let key = format!("keys/{key}");
            written(self.put(&create(&key, key.as_str())).await?).with_context(|| key.clone())?;
            let object = object(self.get(&whole(&key)).await?).with_context(|| key.clone())?;
            ensure!(object.body == key.as_bytes(), "{key} holds something else");
        }
        let page = self
            .bucket
            .bucket()
            .list_objects("keys/a=", None, 1000)
            .await??;
        ensure!(keys(&page) == ["keys/a=b"], "listed as {:?}", keys(&page));
        for wrong in [
            "", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a b", "é", "a%20b", "a+b", "a?b",
        ] {
            let refusals = (
                self.put(&create(wrong, "")).await?,
                self.get(&whole(wrong)).await?,
            );
            ensure!(
                matches!(
                    refusals,
                    (
                        Err(Error::InvalidArgument(_)),
                        Err(Error::InvalidArgument(_))
                    )
                ),
                "{wrong:?} was not refused: {refusals:?}"
            );
        }
        Ok(())
    }

    /// To an object store, a key with slashes is a key like any other.
    async fn keys_that_others_continue(&mut self) -> Result<()> {
        let (longer, shorter) = ("continued/a/b", "continued/a");
        written(self.put(&create(longer, "longer")).await?)?;
        absent(self.get(&whole(shorter)).await?)?;
        let version = written(self.put(&create(shorter, "shorter")).await?)?.version;
        written(self.put(&replace(shorter, "replaced", &version)).await?)?;
        ensure!(object(self.get(&whole(longer)).await?)?.body == b"longer");
        self.bucket
            .deletion()
            .delete_many(&[shorter.to_owned()])
            .await??;
        ensure!(
            object(self.get(&whole(longer)).await?)?.body == b"longer",
            "deleted with the other"
        );
        Ok(())
    }

    async fn listings_across_folders(&mut self) -> Result<()> {
        // In byte order, which is not the order of folders.
        let expected = [
            "folders/a",
            "folders/a-b",
            "folders/a.b",
            "folders/a/b",
            "folders/a/b-c",
            "folders/a/b/c",
            "folders/a0",
        ];
        for key in expected {
            written(self.put(&create(key, "")).await?)?;
        }
        for limit in [1000, 1] {
            let mut found: Vec<String> = Vec::new();
            loop {
                let page = self
                    .bucket
                    .bucket()
                    .list_objects("folders/", found.last().map(String::as_str), limit)
                    .await??;
                found.extend(page.objects.into_iter().map(|metadata| metadata.key));
                if !page.more || found.len() > expected.len() {
                    break;
                }
            }
            ensure!(found == expected, "in pages of {limit}: {found:?}");
        }
        Ok(())
    }

    async fn bodies_of_every_size(&mut self) -> Result<()> {
        for size in [0, 1, 2, 1023, 65_536, 1_048_577, 5 << 20] {
            let mut body = vec![0; size];
            rand_core::TryRng::try_fill_bytes(&mut Seeded::new(size as u64), &mut body)?;
            let key = format!("sizes/{size}");
            written(self.put(&create(&key, body.clone())).await?).with_context(|| key.clone())?;
            let object = object(self.get(&whole(&key)).await?).with_context(|| key.clone())?;
            ensure!(object.body == body, "{key} came back otherwise");
            ensure!(
                object.metadata.size == size as u64,
                "{key}: {:?}",
                object.metadata
            );
        }
        Ok(())
    }

    async fn reads_of_first_bytes(&mut self) -> Result<()> {
        let version = written(self.put(&create("first/k", "0123456789")).await?)?.version;
        for (bytes, body) in [
            (1, "0"),
            (9, "012345678"),
            (10, "0123456789"),
            (11, "0123456789"),
            (u32::MAX, "0123456789"),
        ] {
            let object = object(self.get(&first("first/k", bytes)).await?)
                .with_context(|| format!("first({bytes})"))?;
            ensure!(
                object.body == body.as_bytes(),
                "first({bytes}) is {:?}",
                object.body
            );
            ensure!(
                object.metadata.size == 10,
                "first({bytes}) tells another size: {:?}",
                object.metadata
            );
            ensure!(object.metadata.version == version);
        }
        written(self.put(&create("first/empty", "")).await?)?;
        let empty =
            object(self.get(&first("first/empty", 64)).await?).context("an empty object")?;
        ensure!(
            empty.body.is_empty() && empty.metadata.size == 0,
            "{empty:?}"
        );
        absent(self.get(&first("first/missing", 64)).await?)?;
        let zero = self.get(&first("first/k", 0)).await?;
        ensure!(
            matches!(zero, Err(Error::InvalidArgument(_))),
            "first(0): {zero:?}"
        );
        Ok(())
    }

    async fn reads_unless_unchanged(&mut self) -> Result<()> {
        let key = "unless/k";
        let unless = |version: &Version| Read {
            unless: Some(version.clone()),
            ..whole(key)
        };
        let one = written(self.put(&create(key, "one")).await?)?.version;
        let reply = self.get(&unless(&one)).await??;
        ensure!(reply.found == Found::Unchanged, "{reply:?}");
        let with_span = Read {
            span: Span::First(2),
            ..unless(&one)
        };
        let reply = self.get(&with_span).await??;
        ensure!(reply.found == Found::Unchanged, "with a span: {reply:?}");
        let two = written(self.put(&replace(key, "two", &one)).await?)?.version;
        let changed = object(self.get(&unless(&one)).await?)?;
        ensure!(changed.body == b"two" && changed.metadata.version == two);
        let missing = Read {
            key: "unless/missing".to_owned(),
            ..unless(&one)
        };
        absent(self.get(&missing).await?)
    }

    async fn reads_in_batches(&mut self) -> Result<()> {
        for number in 0..8 {
            written(
                self.put(&create(&format!("batch/{number}"), vec![number; 100]))
                    .await?,
            )?;
        }
        let reads: Vec<Read> = (0..64u32)
            .map(|n| match n % 16 {
                8.. => whole(&format!("batch/missing-{n}")),
                n => first(&format!("batch/{n}"), 10 + n),
            })
            .collect();
        let replies = self.bucket.bucket().get_many(&reads).await?;
        ensure!(replies.len() == 64, "{} replies", replies.len());
        for (n, reply) in (0..64u32).zip(replies) {
            match n % 16 {
                8.. => absent(reply)?,
                n => ensure!(
                    object(reply)?.body == vec![n as u8; 10 + n as usize],
                    "reply {n} is another's"
                ),
            }
        }
        ensure!(self.bucket.bucket().get_many(&[]).await?.is_empty());
        let many: Vec<Read> = (0..65).map(|n| whole(&format!("batch/{n}"))).collect();
        let replies = self.bucket.bucket().get_many(&many).await?;
        ensure!(
            replies
                .iter()
                .all(|reply| matches!(reply, Err(Error::InvalidArgument(_)))),
            "65 reads were not refused"
        );
        Ok(())
    }

    async fn writes_in_batches(&mut self) -> Result<()> {
        let writes: Vec<Write> = (0..64u8)
            .map(|n| create(&format!("puts/{n}"), vec![n]))
            .collect();
        let outcomes = self.bucket.bucket().put_many(&writes).await?;
        ensure!(outcomes.len() == 64, "{} outcomes", outcomes.len());
        let mut versions = Vec::new();
        for outcome in outcomes {
            versions.push(written(outcome)?.version);
        }
        // Every other one with its right version, the rest with a neighbour's.
        let writes: Vec<Write> = (0..64usize)
            .map(|n| replace(&format!("puts/{n}"), vec![n as u8; 2], &versions[n | 1]))
            .collect();
        for (n, outcome) in self
            .bucket
            .bucket()
            .put_many(&writes)
            .await?
            .into_iter()
            .enumerate()
        {
            match n % 2 {
                1 => drop(written(outcome).with_context(|| format!("write {n}"))?),
                _ => lost(outcome).with_context(|| format!("write {n}"))?,
            }
        }
        let mut refused = writes.clone();
        refused.push(create("puts/one-too-many", ""));
        let outcomes = self.bucket.bucket().put_many(&refused).await?;
        ensure!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Err(Error::InvalidArgument(_)))),
            "65 writes were not refused"
        );
        absent(self.get(&whole("puts/one-too-many")).await?)
    }

    async fn listings_in_pages(&mut self) -> Result<()> {
        let count = self.effort.listed;
        let expected: Vec<String> = (0..count).map(|n| format!("list/{n:04}")).collect();
        for chunk in expected.chunks(64) {
            let writes: Vec<Write> = chunk.iter().map(|key| create(key, key.as_str())).collect();
            for outcome in self.bucket.bucket().put_many(&writes).await? {
                written(outcome)?;
            }
        }
        for outside in ["lisa", "lisu", "list-a", "list0"] {
            written(self.put(&create(outside, "")).await?)?;
        }
        for limit in [1000, 64, 7] {
            let mut found: Vec<Metadata> = Vec::new();
            loop {
                let after = found.last().map(|last| last.key.clone());
                let page = self
                    .bucket
                    .bucket()
                    .list_objects("list/", after.as_deref(), limit)
                    .await??;
                ensure!(
                    page.objects.len() <= limit as usize,
                    "a page of {limit} holds {}",
                    page.objects.len()
                );
                ensure!(
                    !page.more || !page.objects.is_empty(),
                    "an empty page says that there are more"
                );
                found.extend(page.objects);
                ensure!(found.len() <= count, "more objects than were written");
                if !page.more {
                    break;
                }
            }
            let listed: Vec<&str> = found.iter().map(|metadata| metadata.key.as_str()).collect();
            ensure!(listed == expected, "in pages of {limit}: {listed:?}");
        }
        let page = self
            .bucket
            .bucket()
            .list_objects("list/", Some("list/0010"), 1)
            .await??;
        ensure!(keys(&page) == ["list/0011"] && page.more, "{page:?}");
        let version = object(self.get(&whole("list/0011")).await?)?.metadata;
        ensure!(
            page.objects[0].version == version.version,
            "the listing tells another version"
        );
        ensure!(page.objects[0].size == 9, "{page:?}");
        let last = expected.last().map(String::as_str);
        let page = self
            .bucket
            .bucket()
            .list_objects("list/", last, 10)
            .await??;
        ensure!(
            page.objects.is_empty() && !page.more,
            "after the end: {page:?}"
        );
        let page = self
            .bucket
            .bucket()
            .list_objects("list/none", None, 10)
            .await??;
        ensure!(
            page.objects.is_empty() && !page.more,
            "a prefix of nothing: {page:?}"
        );
        Ok(())
    }

    async fn listings_show_writes_at_once(&mut self) -> Result<()> {
        for n in 0..5 {
            // Inverted, as slots are, so that each new key comes first.
            let key = format!("newest/{:04}", 9999 - n);
            written(self.put(&create(&key, "")).await?)?;
            let page = self
                .bucket
                .bucket()
                .list_objects("newest/", None, 1)
                .await??;
            ensure!(keys(&page) == [key.as_str()], "{page:?}");
            ensure!(page.more == (n > 0), "{page:?}");
        }
        Ok(())
    }

    async fn deletions(&mut self) -> Result<()> {
        let all: Vec<String> = (0..5).map(|n| format!("delete/{n}=x")).collect();
        for key in &all {
            written(self.put(&create(key, "x")).await?)?;
        }
        let mut gone = all[..3].to_vec();
        gone.push("delete/missing".to_owned());
        self.bucket.deletion().delete_many(&gone).await??;
        self.bucket
            .deletion()
            .delete_many(&gone)
            .await?
            .context("a second time")?;
        self.bucket
            .deletion()
            .delete_many(&[])
            .await?
            .context("nothing")?;
        let page = self
            .bucket
            .bucket()
            .list_objects("delete/", None, 10)
            .await??;
        ensure!(keys(&page) == all[3..], "{page:?}");
        for key in &gone {
            absent(self.get(&whole(key)).await?)?;
        }
        written(self.put(&create(&all[0], "again")).await?)
            .context("a key that was deleted is free")?;
        let many: Vec<String> = (0..1001).map(|n| format!("delete/many/{n}")).collect();
        self.bucket
            .deletion()
            .delete_many(&many[..1000])
            .await?
            .context("1000 keys")?;
        let refused = self.bucket.deletion().delete_many(&many).await?;
        ensure!(
            matches!(refused, Err(Error::InvalidArgument(_))),
            "1001 keys: {refused:?}"
        );
        Ok(())
    }

    async fn presigned_upload(&mut self) -> Result<()> {
        let key = "presigned/up=1";
        let body = "exactly this";
        let upload = Upload {
            key: key.to_owned(),
            sha256: auth::hex(&Sha256::digest(body)),
            expires_in_s: 300,
        };
        let request = self.bucket.presign().presign_put(&upload).await??;
        ensure!(request.method == "PUT", "{request:?}");
        ensure!(
            self.send(&request, "exactly thiz").await? >= 400,
            "another body was accepted"
        );
        ensure!(
            self.send(&request, "exactly this and more").await? >= 400,
            "a longer body was accepted"
        );
        absent(self.get(&whole(key)).await?)?;
        let response = self.site.send(to_http(&request, body)?).await?;
        ensure!(
            response.status() == 200,
            "the right body was refused: {response:?} {request:?}"
        );
        ensure!(object(self.get(&whole(key)).await?)?.body == body.as_bytes());
        ensure!(
            self.send(&request, body).await? == 412,
            "a second upload was accepted"
        );
        let mut elsewhere = request.clone();
        elsewhere.url = elsewhere
            .url
            .replace("up%3D1", "up%3D2")
            .replace("up=1", "up=2");
        ensure!(
            elsewhere.url != request.url,
            "the key is not in {}",
            request.url
        );
        ensure!(
            self.send(&elsewhere, body).await? == 403,
            "another key was accepted"
        );
        let wrong = Upload {
            sha256: "x".repeat(64),
            ..upload
        };
        let refused = self.bucket.presign().presign_put(&wrong).await?;
        ensure!(
            matches!(refused, Err(Error::InvalidArgument(_))),
            "{refused:?}"
        );
        Ok(())
    }

    async fn presigned_download(&mut self) -> Result<()> {
        let key = "presigned/down";
        written(self.put(&create(key, "read me")).await?)?;
        let presigned = self.bucket.presign().presign_get(key, 300).await??;
        let response = self.site.send(to_http(&presigned, "")?).await?;
        ensure!(response.status() == 200, "{response:?}");
        ensure!(response.body() == "read me", "{response:?}");
        for seconds in [0, 604_801] {
            let refused = self.bucket.presign().presign_get(key, seconds).await?;
            ensure!(
                matches!(refused, Err(Error::InvalidArgument(_))),
                "{seconds} s: {refused:?}"
            );
        }
        Ok(())
    }

    async fn send(
        &self,
        request: &crate::bindings::bucket::presign::Request,
        body: &str,
    ) -> Result<u16> {
        let response = self.site.send(to_http(request, body)?).await?;
        Ok(response.status().as_u16())
    }

    async fn arguments_out_of_bounds(&mut self) -> Result<()> {
        for limit in [0, 1001] {
            let refused = self.bucket.bucket().list_objects("", None, limit).await?;
            ensure!(
                matches!(refused, Err(Error::InvalidArgument(_))),
                "limit {limit}: {refused:?}"
            );
        }
        let long = "k".repeat(513);
        let refused = self.put(&create(&long, "")).await?;
        ensure!(
            matches!(refused, Err(Error::InvalidArgument(_))),
            "513 bytes: {refused:?}"
        );
        let wrong = Version {
            token: "a\r\nx-injected: yes".to_owned(),
        };
        let refused = self.put(&replace("bounds/k", "", &wrong)).await?;
        ensure!(
            !matches!(refused, Ok(PutOutcome::Written(_))),
            "{refused:?}"
        );
        Ok(())
    }

    /// Two installations in one bucket do not see each other, even if the name of
    /// one begins with that of the other.
    async fn prefixes_are_apart(&mut self) -> Result<()> {
        let longer = format!("{}x", self.folder);
        let neighbour = self.site.instance("neighbour").artifact(Artifact::BucketS3);
        let mut neighbour = neighbour.with("IFMATCH_PREFIX", &longer).await?;
        written(neighbour.bucket().put(&create("apart/k", "theirs")).await?)?;
        absent(self.get(&whole("apart/k")).await?)?;
        written(self.put(&create("apart/k", "ours")).await?)?;
        let page = neighbour.bucket().list_objects("", None, 1000).await??;
        ensure!(keys(&page) == ["apart/k"], "{page:?}");
        ensure!(object(neighbour.bucket().get(&whole("apart/k")).await?)?.body == b"theirs");
        Ok(())
    }

    async fn racing_creates(&mut self) -> Result<()> {
        self.race(async |suite, round| {
            let key = format!("race/create-{round}");
            let writes = (0..suite.effort.racers)
                .map(|n| create(&key, format!("racer {n}")))
                .collect();
            Ok((key, writes))
        })
        .await
    }

    async fn racing_replaces(&mut self) -> Result<()> {
        self.race(async |suite, round| {
            let key = format!("race/replace-{round}");
            let version = written(suite.put(&create(&key, "before")).await?)?.version;
            let writes = (0..suite.effort.racers)
                .map(|n| replace(&key, format!("racer {n}"), &version))
                .collect();
            Ok((key, writes))
        })
        .await
    }

    /// Lets every write of a round be sent at once by an instance of its own.
    /// Exactly one may win, and the object must be the winner's.
    async fn race(
        &mut self,
        mut prepare: impl AsyncFnMut(&mut Self, usize) -> Result<(String, Vec<Write>)>,
    ) -> Result<()> {
        for round in 0..self.effort.rounds {
            let (key, writes) = prepare(self, round).await?;
            let mut racers = tokio::task::JoinSet::new();
            for (n, write) in writes.into_iter().enumerate() {
                let mut racer = self
                    .site
                    .instance(&format!("racer-{n}"))
                    .artifact(Artifact::BucketS3)
                    .await?;
                racers.spawn(async move { (n, racer.bucket().put(&write).await) });
            }
            let mut winners = BTreeSet::new();
            while let Some(finished) = racers.join_next().await {
                let (n, outcome) = finished?;
                match outcome? {
                    Ok(PutOutcome::Written(written)) => {
                        _ = winners.insert((n, written.version.token))
                    }
                    Ok(PutOutcome::PreconditionFailed) | Err(Error::Throttled(_)) => {}
                    other => bail!("round {round}, racer {n}: {other:?}"),
                }
            }
            ensure!(
                winners.len() == 1,
                "round {round}: the winners are {winners:?}"
            );
            let object = object(self.get(&whole(&key)).await?)?;
            for (n, version) in winners {
                let expected = format!("racer {n}");
                ensure!(
                    object.body == expected.as_bytes(),
                    "round {round}: the object is not the winner's"
                );
                ensure!(
                    object.metadata.version.token == version,
                    "round {round}: another version"
                );
            }
        }
        Ok(())
    }
}

/// A presigned request as it is sent, with this body.
///
/// # Errors
/// If it is not valid HTTP.
pub fn to_http(request: &crate::bindings::bucket::presign::Request, body: &str) -> Result<Request> {
    let mut builder = http::Request::builder()
        .method(request.method.as_str())
        .uri(&request.url);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    Ok(builder.body(Bytes::copy_from_slice(body.as_bytes()))?)
}
