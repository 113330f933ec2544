//! The exported functions: values of the WIT to values of [`crate::s3::port`]
//! and back. No rule of S3 is here.

use std::rc::Rc;

use crate::bindings::exports::ifmatch::bucket::types;
use crate::bindings::exports::ifmatch::bucket::{bucket as wit, deletion, presign};
use crate::bindings::wasi::cli::environment;
use crate::overlap::{run, run_all};
use crate::s3::bucket::Bucket;
use crate::s3::config::Config;
use crate::s3::port::{
    Error, Found, MAX_BATCH, Metadata, Page, Precondition, Presigned, PutOutcome, Read, Reply,
    Span, Version, Write,
};
use crate::wasi_http::WasiHttp;

/// Implements the exports.
pub struct Component;

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

/// The result of a batch of one.
fn only<T>(mut results: Vec<Result<T, types::Error>>) -> Result<T, types::Error> {
    results
        .pop()
        .unwrap_or_else(|| Err(types::Error::Other("the batch has no result".to_owned())))
}

impl wit::Guest for Component {
    fn get(read: wit::Read) -> Result<wit::Reply, types::Error> {
        only(Self::get_many(vec![read]))
    }

    fn get_many(reads: Vec<wit::Read>) -> Vec<Result<wit::Reply, types::Error>> {
        let bucket = match batch(reads.len()) {
            Ok(bucket) => bucket,
            Err(error) => return reads.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let budget = bucket.budget();
        let (bucket, budget) = (&bucket, &budget);
        let tasks = reads.into_iter().map(|read| async move {
            let reply = bucket.get(&read.into(), budget).await;
            reply.map(Into::into).map_err(Into::into)
        });
        run_all(tasks, bucket.config().limits.in_flight)
    }

    fn put(write: wit::Write) -> Result<wit::PutOutcome, types::Error> {
        only(Self::put_many(vec![write]))
    }

    fn put_many(writes: Vec<wit::Write>) -> Vec<Result<wit::PutOutcome, types::Error>> {
        let bucket = match batch(writes.len()) {
            Ok(bucket) => bucket,
            Err(error) => return writes.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let bucket = &bucket;
        let tasks = writes.into_iter().map(|write| async move {
            let outcome = bucket.put(write.into()).await;
            outcome.map(Into::into).map_err(Into::into)
        });
        run_all(tasks, bucket.config().limits.in_flight)
    }

    fn list_objects(
        prefix: String,
        start_after: Option<String>,
        limit: u32,
    ) -> Result<wit::Page, types::Error> {
        Ok(run(bucket()?.list(&prefix, start_after.as_deref(), limit))?.into())
    }
}

impl deletion::Guest for Component {
    fn delete_many(keys: Vec<String>) -> Result<(), types::Error> {
        Ok(run(bucket()?.delete_many(&keys))?)
    }
}

impl presign::Guest for Component {
    fn presign_put(upload: presign::Upload) -> Result<presign::Request, types::Error> {
        Ok(bucket()?
            .presign_put(&upload.key, &upload.sha256, upload.expires_in_s)?
            .into())
    }

    fn presign_get(key: String, expires_in_s: u32) -> Result<presign::Request, types::Error> {
        Ok(bucket()?.presign_get(&key, expires_in_s)?.into())
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidArgument(text) => Self::InvalidArgument(text),
            Error::Misconfigured(text) => Self::Misconfigured(text),
            Error::AccessDenied(text) => Self::AccessDenied(text),
            Error::NoSuchBucket(bucket) => Self::NoSuchBucket(bucket),
            Error::TooLarge(limit) => Self::TooLarge(limit),
            Error::Throttled(ms) => Self::Throttled(ms),
            Error::Unavailable(text) => Self::Unavailable(text),
            Error::Unsupported(text) => Self::Unsupported(text),
            Error::Other(text) => Self::Other(text),
        }
    }
}

impl From<Version> for types::Version {
    fn from(version: Version) -> Self {
        Self {
            token: version.token().to_owned(),
        }
    }
}

impl From<Metadata> for types::Metadata {
    fn from(metadata: Metadata) -> Self {
        Self {
            key: metadata.key.as_str().to_owned(),
            version: metadata.version.into(),
            size: metadata.size,
            modified_at: metadata.modified_at,
        }
    }
}

impl From<wit::Read> for Read {
    fn from(read: wit::Read) -> Self {
        Self {
            key: read.key,
            span: match read.span {
                wit::Span::All => Span::All,
                wit::Span::First(bytes) => Span::First(bytes),
            },
            unless: read.unless.map(|version| version.token),
        }
    }
}

impl From<Reply> for wit::Reply {
    fn from(reply: Reply) -> Self {
        Self {
            found: match reply.found {
                Found::Absent => wit::Found::Absent,
                Found::Unchanged => wit::Found::Unchanged,
                Found::Object { metadata, body } => wit::Found::Object(wit::Object {
                    metadata: metadata.into(),
                    body,
                }),
            },
            observed_at: reply.observed_at,
        }
    }
}

impl From<wit::Write> for Write {
    fn from(write: wit::Write) -> Self {
        Self {
            key: write.key,
            body: write.body,
            precondition: match write.precondition {
                wit::Precondition::Absent => Precondition::Absent,
                wit::Precondition::Matches(version) => Precondition::Matches(version.token),
            },
        }
    }
}

impl From<PutOutcome> for wit::PutOutcome {
    fn from(outcome: PutOutcome) -> Self {
        match outcome {
            PutOutcome::Written {
                version,
                observed_at,
            } => Self::Written(wit::Written {
                version: version.into(),
                observed_at,
            }),
            PutOutcome::PreconditionFailed => Self::PreconditionFailed,
            PutOutcome::Indeterminate(why) => Self::Indeterminate(why),
        }
    }
}

impl From<Page> for wit::Page {
    fn from(page: Page) -> Self {
        Self {
            objects: page.objects.into_iter().map(Into::into).collect(),
            more: page.more,
            observed_at: page.observed_at,
        }
    }
}

impl From<Presigned> for presign::Request {
    fn from(request: Presigned) -> Self {
        Self {
            method: request.method.to_owned(),
            url: request.url,
            headers: request.headers,
        }
    }
}
