//! The port on this host's bucket, as plain functions: what the component exports,
//! and what a component calls that has this crate linked in.

use core::cell::RefCell;
use core::pin::Pin;
use std::rc::Rc;

use crate::bindings::wasi::cli::environment;
use crate::overlap::{self, Task, run, run_all};
use crate::s3::bucket::Bucket;
use crate::s3::config::Config;
use crate::s3::port::{Error, Found, MAX_BATCH, Page, Presigned, PutOutcome, Read, Reply, Write};
use crate::s3::response::Budget;
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

/// A read under way.
type Begun = Pin<Box<dyn Future<Output = Result<Reply, Error>>>>;

thread_local! {
    /// Reads under way that nobody has asked for yet.
    static EXPECTED: RefCell<Vec<(Read, Begun)>> = const { RefCell::new(Vec::new()) };

    /// What the replies of one call may hold, those to reads begun before it included:
    /// no body is taken before it is asked for.
    static BUDGET: Rc<Budget> = Rc::new(Budget::new(0));
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

fn begin(bucket: Rc<Bucket<WasiHttp>>, read: Read, budget: Rc<Budget>) -> Begun {
    Box::pin(async move { bucket.get(&read, &budget).await })
}

/// Begins to read whole objects that will probably be asked for next, and gives up
/// what was begun before and is no longer expected.
///
/// Sends as many requests as may be under way, none if that is 1. Their replies stay
/// with the host until [`get_many`] asks for them. That an instance is dropped or
/// stopped meanwhile wastes them and nothing else.
pub fn expect(keys: Vec<String>) {
    let Ok(bucket) = bucket() else {
        return;
    };
    let most = bucket.config().limits.in_flight;
    let most = if most > 1 { most } else { 0 };
    let mut before = EXPECTED.take();
    let mut expected = Vec::new();
    let budget = BUDGET.with(Rc::clone);
    for key in keys.into_iter().take(most) {
        let read = Read::all(key);
        let at = before.iter().position(|(begun, _)| *begun == read);
        let mut reply = match at {
            Some(at) => before.swap_remove(at).1,
            None => begin(bucket.clone(), read.clone(), budget.clone()),
        };
        // Its first step sends the request. What fails there will fail again. A reply
        // that is there by then is left with the host.
        if at.is_some() || overlap::begin(reply.as_mut()).is_pending() {
            expected.push((read, reply));
        }
    }
    EXPECTED.set(expected);
}

/// The results of several reads, in their order. Their requests overlap.
pub fn get_many(reads: Vec<Read>) -> Vec<Result<Reply, Error>> {
    let bucket = match batch(reads.len()) {
        Ok(bucket) => bucket,
        Err(error) => return vec![Err(error); reads.len()],
    };
    let mut replies = vec![Err(UNFINISHED); reads.len()];
    let budget = BUDGET.with(Rc::clone);
    budget.refill(bucket.config().limits.batch_bytes);
    let mut tasks = Vec::with_capacity(reads.len());
    for (reply, read) in replies.iter_mut().zip(reads) {
        let begun = EXPECTED.with_borrow_mut(|expected| {
            let at = expected.iter().position(|(begun, _)| *begun == read)?;
            Some(expected.swap_remove(at).1)
        });
        let (bucket, budget) = (&bucket, &budget);
        let task = async move {
            // What was begun before it was asked for tells of an object that it is
            // there. Anything else may have been true only then.
            if let Some(begun) = begun {
                *reply = begun.await;
            }
            let is_there = matches!(reply, Ok(reply) if matches!(reply.found, Found::Object(_)));
            if !is_there {
                *reply = begin(bucket.clone(), read, budget.clone()).await;
            }
        };
        tasks.push(Box::pin(task) as Task<'_>);
    }
    run_all(tasks, bucket.config().limits.in_flight);
    replies
}

/// The results of several writes, in their order. Their requests overlap.
pub fn put_many(writes: &[Write]) -> Vec<Result<PutOutcome, Error>> {
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
