//! The bucket with counting, waiting and the retries that are always safe.

use core::cell::Cell;
use core::ops::RangeInclusive;
use maybe_async::maybe_async;

use crate::bucket::{Bucket, BucketError, Deletion, Page, PutOutcome, Read, Reply, Write};
use crate::env::Env;
use crate::receipt::Receipt;

/// How often a read is tried in all.
const READ_ATTEMPTS_MAX: u32 = 4;

/// The first wait is drawn from 0 to this, and each later one from twice as much.
const BACKOFF_FIRST_MS: u64 = 25;

/// No single wait is drawn from more than this.
const BACKOFF_MAX_MS: u64 = 2_000;

/// A round trip is taken to last at most this long.
pub(crate) const ROUND_TRIP_US_MAX: u64 = 2_000_000;

/// A store may ask for a longer wait than our own, but not for more than this.
const THROTTLE_MAX_MS: u64 = 10_000;

/// A [`Bucket`] and an [`Env`], with a count of what was used.
#[derive(Debug)]
pub struct Store<B, E> {
    bucket: B,
    env: E,
    receipt: Cell<Receipt>,
    /// Whether the store is known to keep conditions.
    checked: Cell<bool>,
    round_trip_us: Cell<Option<u64>>,
}

#[maybe_async(AFIT)]
impl<B: Bucket, E: Env> Store<B, E> {
    /// Wraps a bucket and an environment. Before anything is created there, the bucket
    /// is checked, or a note found that it was.
    pub fn new(bucket: B, env: E) -> Store<B, E> {
        Store {
            bucket,
            env,
            receipt: Cell::default(),
            checked: Cell::new(false),
            round_trip_us: Cell::default(),
        }
    }

    /// The same for a bucket that is known to keep conditions, such as a model.
    pub fn trusting(bucket: B, env: E) -> Store<B, E> {
        let store = Store::new(bucket, env);
        store.set_checked();
        store
    }

    /// Whether the bucket is known to keep conditions.
    pub(crate) fn is_checked(&self) -> bool {
        self.checked.get()
    }

    /// From now on the bucket is known to keep conditions.
    pub(crate) fn set_checked(&self) {
        self.checked.set(true);
    }

    /// Returns what was used since the last call, and starts anew.
    pub fn take_receipt(&self) -> Receipt {
        self.receipt.take()
    }

    /// Changes the counts.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Receipt)) {
        let mut receipt = self.receipt.get();
        change(&mut receipt);
        self.receipt.set(receipt);
    }

    /// The instance's monotonic clock.
    pub(crate) fn monotonic_ms(&self) -> u64 {
        self.env.monotonic_ms()
    }

    /// How long a request usually takes, in microseconds, or 0 before the first.
    ///
    /// Much less than a millisecond shows as 0. Serves waiting alone.
    pub(crate) fn round_trip_us(&self) -> u64 {
        self.round_trip_us.get().unwrap_or(0)
    }

    /// Takes in how long a request took that was sent at `began_ms` and answered.
    ///
    /// Follows the median: one that took very long, or lost its way, hardly counts.
    fn note_round_trip(&self, began_ms: u64) {
        let sample_us = self
            .monotonic_ms()
            .saturating_sub(began_ms)
            .saturating_mul(1_000);
        let usual_us = self.round_trip_us.get().unwrap_or(sample_us);
        let step_us = usual_us / 4 + 100;
        let near_us = usual_us.saturating_sub(step_us)..=usual_us.saturating_add(step_us);
        self.round_trip_us
            .set(Some(sample_us.clamp(*near_us.start(), *near_us.end())));
    }

    /// A fresh commit id. Never 0, which stands for "none".
    pub(crate) fn draw_id(&self) -> u128 {
        self.env.random_u128().max(1)
    }

    /// Waits before attempt number `round` (from 1): full jitter, so that instances
    /// which failed together do not come back together. This is liveness only;
    /// no protocol relies on how long it takes.
    pub(crate) async fn back_off(&self, round: u32, error: Option<&BucketError>) {
        let ceiling = BACKOFF_FIRST_MS
            .saturating_mul(1 << round.saturating_sub(1).min(16))
            .min(BACKOFF_MAX_MS);
        let drawn = self.draw_below(ceiling + 1);
        let asked = match error {
            Some(BucketError::Throttled(ms)) => u64::from(*ms).min(THROTTLE_MAX_MS),
            _ => 0,
        };
        self.sleep_ms(asked + drawn).await;
    }

    /// Waits, and counts it.
    pub(crate) async fn sleep_ms(&self, ms: u64) {
        self.count(|receipt| receipt.slept_ms += ms);
        self.env.sleep_ms(ms).await;
    }

    /// Waits for so many hundredths of a round trip, drawn from `range`, to the nearest
    /// millisecond: not at all where the store is nearer than a timer is exact.
    pub(crate) async fn pause(&self, range: RangeInclusive<u64>) {
        let round_trip_us = self.round_trip_us().min(ROUND_TRIP_US_MAX);
        let width_us = round_trip_us * range.end().saturating_sub(*range.start()) / 100;
        let drawn_us = self.draw_below(width_us + 1);
        let ms = (round_trip_us * range.start() / 100 + drawn_us + 500) / 1_000;
        if ms > 0 {
            self.sleep_ms(ms).await;
        }
    }

    /// A random number below `end`, or 0 if that is 0.
    pub(crate) fn draw_below(&self, end: u64) -> u64 {
        // The low half is as random as the whole, and much cheaper to divide.
        let drawn = self.env.random_u128() & u128::from(u64::MAX);
        u64::try_from(drawn).unwrap_or(0) % end.max(1)
    }

    /// Reads one object. Transient errors are retried: a read changes nothing.
    pub(crate) async fn get(&self, read: Read) -> Result<Reply, BucketError> {
        let mut round = 0;
        loop {
            round += 1;
            self.count(|receipt| {
                receipt.gets += 1;
                receipt.retries += u32::from(round > 1);
            });
            let began_ms = self.monotonic_ms();
            match self.bucket.get(read.clone()).await {
                Err(error) if error.is_transient() && round < READ_ATTEMPTS_MAX => {
                    self.back_off(round, Some(&error)).await;
                }
                result => {
                    self.note_round_trip(began_ms);
                    return result;
                }
            }
        }
    }

    /// Reads several objects, overlapped. Those that fail transiently are read
    /// again one by one.
    pub(crate) async fn get_many(&self, reads: Vec<Read>) -> Vec<Result<Reply, BucketError>> {
        if let [read] = reads.as_slice() {
            let reply = self.get(read.clone()).await;
            return Vec::from([reply]);
        }
        self.count(|receipt| {
            receipt.gets += u32::try_from(reads.len()).unwrap_or(u32::MAX);
        });
        let mut replies = self.bucket.get_many(reads.clone()).await;
        replies.resize_with(reads.len(), || {
            Err(BucketError::Other(
                "the provider answered fewer reads than it was given".to_owned(),
            ))
        });
        for (reply, read) in replies.iter_mut().zip(reads) {
            if reply.as_ref().is_err_and(BucketError::is_transient) {
                self.count(|receipt| receipt.retries += 1);
                *reply = self.get(read).await;
            }
        }
        replies
    }

    /// Tells which objects will probably be read whole next. Counts when they are.
    pub(crate) fn expect(&self, keys: Vec<String>) {
        self.bucket.expect(keys);
    }

    /// Sends one write, once. The caller decides what follows.
    pub(crate) async fn put(&self, write: &Write) -> Result<PutOutcome, BucketError> {
        self.count(|receipt| receipt.puts += 1);
        let began_ms = self.monotonic_ms();
        let result = self.bucket.put(write).await;
        if matches!(
            result,
            Ok(PutOutcome::Written { .. } | PutOutcome::PreconditionFailed)
        ) {
            self.note_round_trip(began_ms);
        }
        result
    }

    /// Sends several writes, overlapped, each once.
    pub(crate) async fn put_many(&self, writes: &[Write]) -> Vec<Result<PutOutcome, BucketError>> {
        let count = u32::try_from(writes.len()).unwrap_or(u32::MAX);
        self.count(|receipt| receipt.puts += count);
        let mut outcomes = self.bucket.put_many(writes).await;
        // Nobody knows what became of a write that the provider did not answer.
        outcomes.resize_with(writes.len(), || {
            Ok(PutOutcome::Indeterminate(
                "the provider answered fewer writes than it was given".to_owned(),
            ))
        });
        outcomes
    }

    /// Lists one page, with retries.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> Result<Page, BucketError> {
        let mut round = 0;
        loop {
            round += 1;
            self.count(|receipt| {
                receipt.lists += 1;
                receipt.retries += u32::from(round > 1);
            });
            let began_ms = self.monotonic_ms();
            match self.bucket.list(prefix, start_after, limit).await {
                Err(error) if error.is_transient() && round < READ_ATTEMPTS_MAX => {
                    self.back_off(round, Some(&error)).await;
                }
                result => {
                    self.note_round_trip(began_ms);
                    return result;
                }
            }
        }
    }
}

#[maybe_async(AFIT)]
impl<B: Bucket + Deletion, E: Env> Store<B, E> {
    /// Deletes objects, with retries: deleting again is harmless.
    pub(crate) async fn delete_many(&self, keys: Vec<String>) -> Result<(), BucketError> {
        let mut round = 0;
        loop {
            round += 1;
            self.count(|receipt| {
                receipt.deletes += 1;
                receipt.retries += u32::from(round > 1);
            });
            match self.bucket.delete_many(keys.clone()).await {
                Err(error) if error.is_transient() && round < READ_ATTEMPTS_MAX => {
                    self.back_off(round, Some(&error)).await;
                }
                result => return result,
            }
        }
    }
}
