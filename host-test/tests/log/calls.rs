//! Calls as the tests of this suite make them.

use anyhow::{Context, Result, bail};
use host_test::artifact::Artifact;
use host_test::bindings::bucket::{Found, Read, Span};
use host_test::bindings::log::{
    AppendOptions, AppendOutcome, Cursor, Entry, Error, Producer, ReadLimit, ReadOutcome, Token,
    Writer,
};
use host_test::host::Instance;
use host_test::readback::{from_objects, slots_prefix, through_component};
use host_test::seaweed::Seaweed;
use host_test::world::Site;

pub const SHARED: AppendOptions = AppendOptions {
    writer: Writer::Shared,
    expected: None,
    producer: None,
};

pub fn fenced(epoch: u64) -> AppendOptions {
    AppendOptions {
        writer: Writer::Fenced(Token { epoch }),
        ..SHARED
    }
}

pub fn produced(id: &str, sequence: u64) -> AppendOptions {
    AppendOptions {
        producer: Some(Producer {
            id: id.to_owned(),
            sequence,
            started_at: 0,
        }),
        ..SHARED
    }
}

/// The words of a text, as records.
pub fn batch(text: &str) -> Vec<Vec<u8>> {
    text.split_whitespace()
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

/// Records as one text.
pub fn words(records: &[Vec<u8>]) -> String {
    let words: Vec<_> = records
        .iter()
        .map(|record| String::from_utf8_lossy(record))
        .collect();
    words.join(" ")
}

/// Appends as a shared writer, and returns the offsets.
pub async fn append(instance: &mut Instance, log: &str, text: &str) -> Result<(u64, u64)> {
    append_as(instance, log, text, &SHARED).await
}

/// Appends, and returns the offsets.
pub async fn append_as(
    instance: &mut Instance,
    log: &str,
    text: &str,
    options: &AppendOptions,
) -> Result<(u64, u64)> {
    appended(instance.log().append(log, &batch(text), options).await?)
}

/// The offsets of a batch that was appended.
pub fn appended(outcome: Result<AppendOutcome, Error>) -> Result<(u64, u64)> {
    match outcome? {
        AppendOutcome::Appended(extent) => Ok((extent.start, extent.end)),
        other => bail!("{other:?}"),
    }
}

/// At most so many records.
pub fn first(records: u32) -> ReadLimit {
    ReadLimit {
        records,
        bytes: 1 << 20,
    }
}

/// The records of a read, and where to go on.
pub fn entries(outcome: Result<ReadOutcome, Error>) -> Result<(Vec<Entry>, Cursor)> {
    match outcome? {
        ReadOutcome::Records(batch) => Ok((batch.entries, batch.next)),
        other => bail!("{other:?}"),
    }
}

/// What an error says, with the name of its kind in front.
pub fn said(error: &Error) -> String {
    let (kind, text) = match error {
        Error::InvalidArgument(text) => ("invalid-argument", text.as_str()),
        Error::Misconfigured(text) => ("misconfigured", text.as_str()),
        Error::AccessDenied(text) => ("access-denied", text.as_str()),
        Error::Corrupt(text) => ("corrupt", text.as_str()),
        Error::Throttled(_) => ("throttled", ""),
        Error::Unavailable(text) => ("unavailable", text.as_str()),
        Error::Unsupported(text) => ("unsupported", text.as_str()),
        Error::Other(text) => ("other", text.as_str()),
    };
    format!("{kind}: {text}")
}

/// The whole log, as a fresh instance reads it and as the raw objects hold it.
pub async fn contents(site: &Site, log: &str) -> Result<Vec<Vec<u8>>> {
    let mut judge = site.instance("judge").await?;
    let read = through_component(&mut judge, log).await?;
    let raw = from_objects(log, raw_segments(site, log).await?)?;
    anyhow::ensure!(read == raw, "read {read:?}, but the objects hold {raw:?}");
    Ok(read)
}

/// The segments of a log as they lie in the bucket.
pub async fn raw_segments(site: &Site, log: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let mut port = site
        .instance("auditor")
        .artifact(Artifact::BucketS3)
        .await?;
    let mut segments: Vec<(String, Vec<u8>)> = Vec::new();
    loop {
        let after = segments.last().map(|(key, _)| key.clone());
        let page = port
            .bucket()
            .list_objects(&slots_prefix(log)?, after.as_deref(), 1_000)
            .await??;
        for object in page.objects {
            let read = Read {
                key: object.key.clone(),
                span: Span::All,
                unless: None,
            };
            match port.bucket().get(&read).await??.found {
                Found::Object(found) => segments.push((object.key, found.body)),
                other => bail!("{}: {other:?}", object.key),
            }
        }
        if !page.more {
            return Ok(segments);
        }
    }
}

/// Runs a case against a real server, in a corner of its own.
pub fn on_seaweedfs(corner: &str, test: impl AsyncFnOnce(&Site) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seaweed = Seaweed::shared()?;
    runtime.block_on(async {
        let site = Site::on_this_machine(&seaweed.endpoint(), 7)
            // On one hot key its losers wait about a second for each waiter before them.
            .with("IFMATCH_REQUEST_TIMEOUT_MS", "60000")
            .with("IFMATCH_PREFIX", &format!("log-suite/{corner}"));
        test(&site).await.context("on SeaweedFS")
    })
}
