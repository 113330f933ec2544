//! The port on this host's bucket, as plain functions: what the component exports,
//! and what a component calls that has this crate linked in.

use std::rc::Rc;

use crate::bindings::wasi::cli::environment;
use crate::overlap::{Task, run, run_all};
use crate::s3::bucket::Bucket;
use crate::s3::config::Config;
use crate::s3::port::{Error, MAX_BATCH, Page, Presigned, PutOutcome, Read, Reply, Write};
use crate::wasi_http::WasiHttp;

/// What a task that was never run would leave. None is.
const UNFINISHED: Error = Error::Other(String::new());

type Instance = Result<Rc<Bucket<WasiHttp>>, Error>;

thread_local! {
    /// The settings are read once: what an instance does never changes.
    static INSTANCE: Instance = Config::from_variables(&environment::get_environment())
        .map(|config| {
            let http = WasiHttp::new(&config);
            Rc::new(Bucket::new(config, http))
        });
}

fn bucket() -> Instance {
    INSTANCE.with(Clone::clone)
}

/// The bucket, for a batch of so many reads or writes.
fn batch(size: usize) -> Instance {
    if size > MAX_BATCH {
        let text = "at most 64 reads or writes can be sent at once";
        return Err(Error::InvalidArgument(text.to_owned()));
    }
    bucket()
}

/// The results of several reads, in their order. Their requests overlap.
pub fn get_many(reads: Vec<Read>) -> Vec<Result<Reply, Error>> {
    let bucket = match batch(reads.len()) {
        Ok(bucket) => bucket,
        Err(error) => return vec![Err(error); reads.len()],
    };
    let mut replies = vec![Err(UNFINISHED); reads.len()];
    let budget = bucket.budget();
    let mut tasks = Vec::with_capacity(reads.len());
    for (reply, read) in replies.iter_mut().zip(&reads) {
        let task = async { *reply = bucket.get(read, &budget).await };
        tasks.push(Box::pin(task) as Task<'_>);
    }
    run_all(tasks, bucket.config().limits.in_flight);
    replies
}

/// The results of several writes, in their order. Their requests overlap.
pub fn put_many(writes: Vec<Write>) -> Vec<Result<PutOutcome, Error>> {
    let bucket = match batch(writes.len()) {
        Ok(bucket) => bucket,
        Err(error) => return vec![Err(error); writes.len()],
    };
    let mut outcomes = vec![Err(UNFINISHED); writes.len()];
    let mut tasks = Vec::with_capacity(writes.len());
    for (outcome, write) in outcomes.iter_mut().zip(writes) {
        let task = async { *outcome = bucket.put(write).await };
        tasks.push(Box::pin(task) as Task<'_>);
    }
    run_all(tasks, bucket.config().limits.in_flight);
    outcomes
}

/// The result of a batch of one.
///
/// # Errors
/// As the result that it takes out.
pub fn only<T>(mut results: Vec<Result<T, Error>>) -> Result<T, Error> {
    results
        .pop()
        .unwrap_or_else(|| Err(Error::Other("the batch has no result".to_owned())))
}

/// One page of a listing.
///
/// # Errors
/// As the port describes.
pub fn list(prefix: &str, start_after: Option<&str>, limit: u32) -> Result<Page, Error> {
    run(bucket()?.list(prefix, start_after, limit))
}

/// Deletes objects.
///
/// # Errors
/// As the port describes.
pub fn delete_many(keys: &[String]) -> Result<(), Error> {
    run(bucket()?.delete_many(keys))
}

/// A request that somebody without credentials can send to upload an object.
///
/// # Errors
/// As the port describes.
pub fn presign_put(key: &str, sha256: &str, expires_in_s: u32) -> Result<Presigned, Error> {
    bucket()?.presign_put(key, sha256, expires_in_s)
}

/// A request that somebody without credentials can send to read an object.
///
/// # Errors
/// As the port describes.
pub fn presign_get(key: &str, expires_in_s: u32) -> Result<Presigned, Error> {
    bucket()?.presign_get(key, expires_in_s)
}
