//! The same code without WebAssembly: the S3 half and the core, compiled natively.

use bucket_s3::s3::bucket::{Bucket as S3, Http};
use bucket_s3::s3::config::Config;
use bucket_s3::s3::request::{Method, SignedRequest};
use bucket_s3::s3::response::{Collector, End, Failure, Headers, Reading, Response};
use bytes::Bytes;
use host_test::clock::{GuestClock, WorldClock};
use host_test::pool::whole;
use host_test::random::Seeded;
use host_test::wire::{Sender, Wire};
use host_test::world::Site;
use http_body_util::BodyExt;
use ifmatch::bucket::{
    BATCH_OBJECTS_MAX, Bucket, BucketError, Found, Page, PutOutcome, Read, Reply, Write,
};
use ifmatch::env::Env;
use ifmatch::log::Logs;
use ifmatch::store::Store;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wasmtime_wasi_http::RequestOptions;

/// Requests of one batch that are under way at once: the default of the component.
const IN_FLIGHT: usize = 16;

/// Sends the requests of the S3 half over a wire.
pub struct NativeHttp {
    wire: Arc<Wire>,
    clock: WorldClock,
    sender: Sender,
    authority: String,
}

impl Http for NativeHttp {
    async fn exchange(
        &self,
        request: &SignedRequest<'_>,
        reading: Reading<'_>,
    ) -> Result<Response, Failure> {
        let method = match request.method {
            Method::Get => http::Method::GET,
            Method::Put => http::Method::PUT,
            Method::Post => http::Method::POST,
        };
        let uri = ["http://", &self.authority, &request.target].concat();
        let mut builder = http::Request::builder().method(method).uri(uri);
        builder = builder.header(http::header::HOST, &self.authority);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let body = Bytes::copy_from_slice(request.body.unwrap_or_default());
        let unsent = |error: http::Error| Failure::Unsent(error.to_string());
        let request = builder.body(whole(body)).map_err(unsent)?;
        let wire = self.wire.clone();
        let sent = wire.send(self.sender.clone(), request, RequestOptions::default());
        let response = sent
            .await
            .map_err(|error| Failure::Lost(error.to_string()))?;
        let (parts, mut body) = response.into_parts();
        let headers = Headers::collect(&|name| {
            let values = parts.headers.get_all(name).iter();
            values.map(|value| value.as_bytes().to_vec()).collect()
        });
        let status = parts.status.as_u16();
        let mut collector = Collector::new(status, &headers, reading);
        let mut end = End::Cut;
        while collector.wanted() > 0 {
            match body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        collector.push(data);
                    }
                }
                Some(Err(error)) => {
                    end = End::Broken(error.to_string());
                    break;
                }
                None => {
                    end = End::Complete;
                    break;
                }
            }
        }
        Ok(collector.finish(status, headers, end))
    }

    fn wall_ms(&self) -> u64 {
        self.clock.now_ms().0
    }

    async fn sleep(&self, ms: u32) {
        tokio::time::sleep(Duration::from_millis(ms.into())).await;
    }
}

/// A bucket as the core sees it. Clones are the same.
#[derive(Clone)]
pub struct NativeBucket(Rc<S3<NativeHttp>>);

impl NativeBucket {
    /// The bucket of a site.
    pub fn new(site: &Site, name: &str) -> anyhow::Result<Self> {
        let variables: Vec<_> = site.settings().clone().into_iter().collect();
        let config = Config::from_variables(&variables)
            .map_err(|error| anyhow::anyhow!("the settings of the bench: {error:?}"))?;
        let http = NativeHttp {
            wire: site.wire().clone(),
            clock: *site.clock(),
            sender: Sender {
                instance: name.to_owned(),
                gate: Default::default(),
                clock: GuestClock::right(*site.clock()),
                tape: None,
            },
            authority: config.address.authority.clone(),
        };
        Ok(Self(Rc::new(S3::new(config, http))))
    }

    /// Runs one operation for each item, so many at once, and gives the results in
    /// order.
    async fn overlapped<I, T, F>(&self, items: Vec<I>, run: impl Fn(Self, I) -> F) -> Vec<T>
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        let permits = Rc::new(Semaphore::new(IN_FLIGHT));
        let mut tasks = JoinSet::new();
        let count = items.len();
        for (number, item) in items.into_iter().enumerate() {
            let (permits, operation) = (permits.clone(), run(self.clone(), item));
            tasks.spawn_local(async move {
                // Nobody closes it.
                let _permit = permits.acquire().await;
                (number, operation.await)
            });
        }
        let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
        while let Some(Ok((number, result))) = tasks.join_next().await {
            results[number] = Some(result);
        }
        results.into_iter().flatten().collect()
    }
}

impl Bucket for NativeBucket {
    async fn get(&self, read: Read) -> Result<Reply, BucketError> {
        self.0.get(&read, &self.0.budget()).await
    }

    async fn get_many(&self, reads: Vec<Read>) -> Vec<Result<Reply, BucketError>> {
        self.overlapped(reads, |bucket, read| async move { bucket.get(read).await })
            .await
    }

    async fn put(&self, write: &Write) -> Result<PutOutcome, BucketError> {
        self.0.put(write).await
    }

    async fn put_many(&self, writes: &[Write]) -> Vec<Result<PutOutcome, BucketError>> {
        self.overlapped(writes.to_vec(), |bucket, write| async move {
            bucket.put(&write).await
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> Result<Page, BucketError> {
        self.0.list(prefix, start_after, limit).await
    }
}

/// Time and randomness of this process.
pub struct NativeEnv {
    clock: WorldClock,
    random: RefCell<Seeded>,
}

impl Env for NativeEnv {
    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep_ms(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn random_u128(&self) -> u128 {
        let mut random = self.random.borrow_mut();
        u128::from(random.draw()) << 64 | u128::from(random.draw())
    }
}

/// The logs of the core, compiled natively.
pub type NativeLogs = Logs<NativeBucket, NativeEnv>;

/// A fresh instance of the core.
pub fn logs(site: &Site, name: &str) -> anyhow::Result<NativeLogs> {
    let env = NativeEnv {
        clock: *site.clock(),
        random: RefCell::new(Seeded::fork(site.seed(), name)),
    };
    let store = Store::new(NativeBucket::new(site, name)?, env);
    Ok(Logs::new(Rc::new(store)))
}

/// Reads objects whole, as many at once as the component does.
pub async fn read_all(bucket: &NativeBucket, keys: &[String]) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for keys in keys.chunks(BATCH_OBJECTS_MAX) {
        let reads = keys.iter().cloned().map(Read::all).collect();
        for reply in bucket.get_many(reads).await {
            match reply.map_err(|error| anyhow::anyhow!("{error}"))?.found {
                Found::Object(object) => bytes += object.body.len() as u64,
                other => anyhow::bail!("{other:?}"),
            }
        }
    }
    Ok(bytes)
}
